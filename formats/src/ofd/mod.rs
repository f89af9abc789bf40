//! OFD packages (GB/T 33190-2016): opened, judged and signed.
//!
//! A package is a ZIP archive of XML parts. Signatures (chapter 18) hold the digests of the parts they protect, and are
//! made with an electronic seal (type Seal) or without (type Sign). [`verify`] judges all of them and says what none
//! protects; [`OfdSignPlan::prepare`] appends one and leaves the stored octets of all other parts alone.
//!
//! Digests are over the octets that are stored: no XML is written again.

mod annotations;
mod coverage;
mod document;
mod error;
mod keyword;
mod package;
mod shown;
mod sign;
mod signature;
mod splice;
mod stamps;
mod verify;
pub(crate) mod write;
mod xml;

pub use annotations::{Drawing, MAX_DRAWN, Placed};
pub use document::{Page, Rect, SignatureKind};
pub use error::OfdError;
pub use keyword::Keywords;
pub use package::{MAX_ENTRIES, MAX_PART, MAX_RATIO, MAX_TOTAL, Package, RATIO_FROM, resolve};
pub(crate) use shown::license_content;
pub use sign::{OfdPlan, OfdSignPlan, OfdSigner, PendingOfd, PreparedOfd, Provider};
pub use signature::Stamp;
pub use stamps::{Edge, Placement, across, on_every_page};
pub use verify::{MAX_SIGNATURES, OfdInput, OfdReport, OfdSignatureReport, verify};
pub use xml::{MAX_DEPTH, NAMESPACE};

/// The pages of a document of a package, counted from 0: what placements refer to.
///
/// # Errors
/// [`OfdError`]; [`OfdError::Plan`] if there is no such document.
pub fn pages(ofd: &[u8], document: usize) -> Result<Vec<Page>, OfdError> {
    let package = Package::open(ofd)?;
    let bodies = document::bodies(&package, &mut document::Deviations::default())?;
    let body =
        bodies.get(document).ok_or_else(|| OfdError::Plan(format!("there is no document {document}")))?;
    document::pages(&package, &body.root)
}
