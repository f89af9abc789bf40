//! An order for a stamp over a digest.

use signing::Level;

use super::StampRequest;
use crate::body::Faults;

impl StampRequest {
    /// Nothing goes with digests that is about a document.
    pub(super) fn only_digest(&self, faults: &mut Faults, level: Option<Level>) {
        if self.document.is_some() || self.at_hand.is_some() {
            faults.add("document", "not_applicable", "has no meaning for a digest");
        }
        self.only(faults, &["algorithm", "family", "level", "signer"], "a digest");
        if level.is_some_and(|level| level > Level::T) {
            faults.add("level", "not_applicable", "a digest has B-B or B-T: what it is of is not at hand");
        }
    }

    /// The digest.
    pub(super) fn digest(&self, faults: &mut Faults) -> Option<[u8; 32]> {
        let Some(text) = &self.digest else {
            faults.add("digest", "missing_field", "or items: one of them is required with the format digest");
            return None;
        };
        let octets = faults.base64("digest", text)?;
        let length = octets.len();
        let digest = octets.try_into().ok();
        if digest.is_none() {
            faults.add("digest", "digest_length", format!("must be 32 octets, not {length}"));
        }
        digest
    }
}
