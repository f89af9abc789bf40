//! Setting an electronic seal (GB/T 38540) in a PDF: the seal signature is over the digest of the update.

use thiserror::Error;
use time::OffsetDateTime;

use super::{Prepared, SignError, SubFilter};
use crate::algorithm::Algorithm;
use crate::error::FormatError;
use crate::seal::{PendingSealSignature, Seal, SealSignaturePlan};
use crate::x509::Certificate;

/// Which seal is set, by whom and when. Whether the seal is good, and the signer's to use, is not judged here.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The seal.
    pub seal: Seal,
    /// The signer's certificate; the seal must list it.
    pub signer: Certificate,
    /// The time the signer claims, written to the second.
    pub signed_at: OffsetDateTime,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
}

/// Why a seal cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PdfSealError {
    /// The document's side of it.
    #[error(transparent)]
    Document(#[from] SignError),
    /// The seal's side of it.
    #[error(transparent)]
    Seal(#[from] FormatError),
}

/// A document with a seal that waits for the signature of who sets it. It is used up by [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct PreparedSeal {
    prepared: Prepared,
    pending: PendingSealSignature,
}

impl Prepared {
    /// Settles what the signer of a seal signature signs.
    ///
    /// # Errors
    /// [`SignError::Plan`] if the document was prepared for another form of signature; as
    /// [`SealSignaturePlan::prepare`].
    pub fn seal(self, sealing: Sealing) -> Result<PreparedSeal, PdfSealError> {
        let data_hash = <[u8; 32]>::try_from(self.digest.as_slice());
        let (SubFilter::Sm2Seal, Ok(data_hash)) = (self.sub_filter, data_hash) else {
            return Err(SignError::Plan("the document is not prepared for a seal").into());
        };
        let plan = SealSignaturePlan {
            seal: sealing.seal,
            signed_at: sealing.signed_at,
            data_hash,
            property_info: self.location(),
            signer: sealing.signer,
            algorithm: Algorithm::Sm2Sm3,
            signer_id: sealing.signer_id,
        };
        Ok(PreparedSeal { pending: plan.prepare()?, prepared: self })
    }

    /// What is protected, as the update says it and a seal signature's `propertyInfo` repeats it.
    pub fn location(&self) -> String {
        let (start, end) = (self.document + self.gap.start, self.document + self.gap.end);
        format!("/ByteRange [0 {start} {end} {}]", self.update.len() - self.gap.end)
    }
}

impl PreparedSeal {
    /// `TBS_Sign` in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        self.pending.to_be_signed()
    }

    /// e: for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        self.pending.digest()
    }

    /// Checks `signature` (SM2 in DER) and gives the octets to put behind the document; with a timestamp token (DER)
    /// over the octets of `signature`, if there is one.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`]; [`SignError::Room`] if seal and signature are longer than the plan left room for.
    pub fn finish(self, signature: &[u8], timestamp: Option<&[u8]>) -> Result<Vec<u8>, PdfSealError> {
        let sealed = self.pending.finish(signature, timestamp)?;
        Ok(self.prepared.finish(&sealed)?)
    }
}
