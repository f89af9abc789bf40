//! Whether what a source of revocation sent may be taken: signed by whom it has to be, whatever it says.

use time::OffsetDateTime;

use super::search::Search;
use super::{JudgedTime, TrustStore, crl, ocsp, subject_of};
use crate::ocsp::{OcspResponse, Status};
use crate::verdict::Finding;
use crate::x509::{Certificate, Crl};

/// What an OCSP response says about one certificate (RFC 6960, 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspAnswer {
    /// Its word.
    pub status: OcspStatus,
    /// Since when that is known to be so.
    pub this_update: OffsetDateTime,
    /// When there will be newer word, if that is promised.
    pub next_update: Option<OffsetDateTime>,
}

/// A responder's word on one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspStatus {
    /// It is not revoked.
    Good,
    /// It is revoked, or held.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

impl TrustStore {
    /// The certificate of this store whose key has signed `crl` and may sign CRLs.
    ///
    /// # Errors
    /// Why there is none: `crl_signature_invalid`, `crl_not_supported`.
    pub fn signer_of(&self, crl: &Crl) -> Result<&Certificate, Finding> {
        let mut objection = None;
        for candidate in self.certificates().filter(|candidate| crl::may_be_by(crl, candidate)) {
            match crl::check_signature(crl, candidate, &self.verifier) {
                Ok(()) => return Ok(candidate),
                Err(finding) => objection = objection.or(Some(finding)),
            }
        }
        Err(objection.unwrap_or_else(|| {
            let detail = format!("there is no certificate of its issuer {}", crl.issuer());
            Finding::indeterminate("crl_signature_invalid", detail)
        }))
    }

    /// What `response` says about `certificate`, which `issuer` has issued, at `at`; the newest, if it says several
    /// things.
    ///
    /// # Errors
    /// Why it does not count: `ocsp_signature_invalid`, `ocsp_not_supported`, `ocsp_status_unknown` when it does not
    /// speak of the certificate.
    pub fn answer_of(
        &self,
        response: &OcspResponse,
        certificate: &Certificate,
        issuer: &Certificate,
        at: OffsetDateTime,
    ) -> Result<OcspAnswer, Finding> {
        let at = JudgedTime::new(at);
        let mut search = Search::new(self, &[], false, &at);
        ocsp::check_signature(&mut search, response, &[certificate, issuer])
            .map_err(|detail| Finding::indeterminate("ocsp_signature_invalid", detail))?;
        let Some(newest) = response.about(certificate, issuer).max_by_key(|one| one.this_update()) else {
            let detail = format!("it does not speak of {}", subject_of(certificate));
            return Err(Finding::indeterminate("ocsp_status_unknown", detail));
        };
        if let Some(unknown) = response.critical_extension().or_else(|| newest.critical_extension()) {
            let detail = format!("it has the critical extension {unknown}, which is not known");
            return Err(Finding::indeterminate("ocsp_not_supported", detail));
        }
        let status = match newest.status() {
            Status::Good => OcspStatus::Good,
            Status::Revoked { .. } => OcspStatus::Revoked,
            Status::Unknown => OcspStatus::Unknown,
        };
        Ok(OcspAnswer { status, this_update: newest.this_update(), next_update: newest.next_update() })
    }
}
