//! PDF (ISO 32000-2): documents opened within limits, and what they were signed with judged; [`sign`] puts signatures in.

mod document;
mod error;
mod fields;
mod lexical;
mod limits;
pub mod sign;
pub mod verify;
mod xref;

pub use document::{Document, Place, Revision, View};
pub use error::PdfError;
pub use fields::{SignatureField, SignatureValue};
pub use limits::Limits;
pub use verify::{PdfInput, PdfReport, PdfSignature, PdfSignatureKind, verify};
