//! Whose electronic seals count.

use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::TrustStore;
use crate::oid;
use crate::x509::Certificate;

impl TrustStore {
    /// With those whose electronic seals count: makers, each by its certificate, and authorities, for whom they have
    /// certified. Without this nobody is asked for: every certificate for signing documents is a maker's.
    #[must_use]
    pub fn with_seal_makers(self, makers: Vec<Certificate>) -> Self {
        Self { seal_makers: Some(makers), ..self.changed() }
    }

    /// Those whose electronic seals count; none if that is not asked.
    pub fn seal_makers(&self) -> Option<&[Certificate]> {
        self.seal_makers.as_deref()
    }

    /// Do this maker's seals count? None if that is not asked.
    pub(crate) fn is_seal_maker(&self, maker: &Certificate) -> Option<bool> {
        let listed = self.seal_makers()?;
        let certified_by = |authority: &&Certificate| {
            authority.subject_name() == maker.issuer_name()
                && is_authority(authority)
                && authority
                    .key()
                    .and_then(|key| maker.verify_signature_with(key, Some(&self.verifier)))
                    .is_ok()
        };
        Some(listed.contains(maker) || listed.iter().any(|one| certified_by(&one)))
    }
}

fn is_authority(certificate: &Certificate) -> bool {
    let constraints = certificate.extension::<BasicConstraints>(oid::BASIC_CONSTRAINTS);
    let usage = certificate.extension::<KeyUsage>(oid::KEY_USAGE);
    constraints.is_ok_and(|constraints| constraints.is_some_and(|constraints| constraints.ca))
        && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.key_cert_sign()))
}
