//! Orders that a license's key signs on its holder's phone.

use super::StampRequest;
use crate::body::Faults;
use crate::problem::Problem;

impl StampRequest {
    /// Whether a license's key can sign it: once, by SM2, as GB/T 35275 has it, and without a seal.
    ///
    /// # Errors
    /// Everything that it says otherwise.
    pub(crate) fn fits_a_license(&self) -> Result<(), Problem> {
        let mut faults = Faults::default();
        for (field, said, fitting) in [
            ("algorithm", &self.algorithm, Some("sm2-sm3")),
            ("family", &self.family, Some("gbt35275")),
            ("level", &self.level, Some("B-B")),
            ("profile", &self.profile, Some("pkcs7")),
            ("seal", &self.seal, None),
        ] {
            if said.is_some() && said.as_deref() != fitting {
                let detail = match fitting {
                    Some(fitting) => format!("what a license's key signs has {fitting}"),
                    None => "a license's key sets no seal".to_owned(),
                };
                faults.add(field, "not_applicable", detail);
            }
        }
        faults.into_result(Some(()))
    }

    /// Whether it says who signs.
    pub(crate) fn names_signers(&self) -> bool {
        self.signer.is_some() || self.signers.is_some()
    }
}
