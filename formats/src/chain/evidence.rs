//! What somebody needs to judge a certificate later as it is judged now: for the validation data of signed documents.

use time::OffsetDateTime;

use super::revocation::Word;
use super::search::Search;
use super::{JudgedTime, OcspStatus, TrustStore, Usage, crl, ocsp, subject_of};
use crate::ocsp::OcspResponse;
use crate::x509::{Certificate, Crl};

/// A path, and word of every certificate on it but the anchor that it was not revoked.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// From the leaf to the anchor.
    pub certificates: Vec<Certificate>,
    /// Lists that speak of them.
    pub crls: Vec<Crl>,
    /// OCSP answers (OCSPResponse in DER) that do.
    pub ocsps: Vec<Vec<u8>>,
}

impl TrustStore {
    /// The evidence about `leaf` at `at`, as far as this store has it. OCSP answers are preferred: they are smaller.
    ///
    /// # Errors
    /// The subjects of the certificates that there is no path for, or no word that counts of their not being revoked.
    pub fn evidence(
        &self,
        leaf: &Certificate,
        extra_intermediates: &[Certificate],
        usage: Usage,
        at: OffsetDateTime,
    ) -> Result<Evidence, Vec<String>> {
        let moment = at;
        let at = JudgedTime::new(moment);
        let mut search = Search::new(self, extra_intermediates, usage == Usage::License, &at);
        let path = search.path(leaf);
        if path.is_empty() {
            return Err(vec![subject_of(leaf).to_string()]);
        }
        let mut evidence =
            Evidence { certificates: path.iter().copied().cloned().collect(), ..Evidence::default() };
        let mut missing = Vec::new();
        for position in 0..path.len() - 1 {
            let (certificate, issuer) = (path[position], path[position + 1]);
            let mut answered = Word::default();
            ocsp::ask(&mut search, &path[position..], &mut answered);
            let mut listed = Word::default();
            crl::ask(&mut search, &path[position..], &mut listed);
            let revoked = answered.revocation().is_some() || listed.revocation().is_some();
            if !revoked && answered.good {
                let clears = |one: &OcspResponse| {
                    let about = one.about(certificate, issuer).next().is_some();
                    let answer = about.then(|| self.answer_of(one, certificate, issuer, moment));
                    answer.is_some_and(|answer| answer.is_ok_and(|said| said.status == OcspStatus::Good))
                };
                let clearing = self.ocsp.iter().filter(|one| clears(one));
                evidence.ocsps.extend(clearing.map(|one| one.der().to_vec()));
            } else if !revoked && listed.good {
                let about = self.crls.iter().filter(|one| {
                    one.issuer_name() == certificate.issuer_name()
                        && crl::check_signature(one, issuer, &self.verifier).is_ok()
                });
                for list in about {
                    if !evidence.crls.iter().any(|known| known.der() == list.der()) {
                        evidence.crls.push(Crl::clone(list));
                    }
                }
            } else {
                missing.push(subject_of(certificate).to_string());
            }
        }
        if missing.is_empty() { Ok(evidence) } else { Err(missing) }
    }
}
