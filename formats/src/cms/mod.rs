//! CMS SignedData in both families of object identifiers: RFC 5652, and GB/T 35275 (GM/T 0010), which
//! has the shape of PKCS #7 1.5.
//!
//! [`prepare`] a plan, have the key sign, [`finish`](Pending::finish); [`verify`] answers for any bytes.
//! What is built always has signed attributes. Counter-signatures and signature timestamps are judged and reported
//! beside the signature they stand at. BER is read as the DER of the same values ([`crate::ber`]).

pub(crate) mod assemble;
mod build;
mod signer;
mod stamped;
pub(crate) mod structure;
mod unsigned;
mod verify;

use crate::oid;
use const_oid::ObjectIdentifier;

pub use build::{Pending, SignedDataPlan, attributes_over, prepare};
pub use stamped::{signature_value, timestamped};
pub use verify::{
    AttributeReport, MAX_CERTIFICATES, MAX_NESTED, MAX_SIGNERS, SignedDataReport, SignerReport, VerifyInput,
    certificates, verify,
};
pub(crate) use verify::{Role, error_code, in_der, judge};

/// Whose object identifiers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// RFC 5652 (IETF).
    Rfc5652,
    /// GB/T 35275 (China).
    Gbt35275,
}

impl Family {
    /// The name callers use.
    pub fn name(self) -> &'static str {
        match self {
            Family::Rfc5652 => "rfc5652",
            Family::Gbt35275 => "gbt35275",
        }
    }

    fn signed_data(self) -> ObjectIdentifier {
        match self {
            Family::Rfc5652 => oid::CMS_SIGNED_DATA,
            Family::Gbt35275 => oid::GM_SIGNED_DATA,
        }
    }

    fn data(self) -> ObjectIdentifier {
        match self {
            Family::Rfc5652 => oid::CMS_DATA,
            Family::Gbt35275 => oid::GM_DATA,
        }
    }
}

/// What is signed. `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The content itself.
    Bytes(Vec<u8>),
    /// SM3 (for SM2) or SHA-256 of the content; for detached signatures only.
    Digest([u8; 32]),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Content::Digest(_) => f.write_str("Digest"),
        }
    }
}
