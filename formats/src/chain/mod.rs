//! Certificate paths (RFC 5280, 6.1) for SM2, P-256, P-384 and RSA, mixed as they come.
//!
//! Paths are searched from the leaf upward over all certificates whose subject is the issuer's name
//! in DER, octet for octet, and whose subjectKeyIdentifier does not contradict the
//! authorityKeyIdentifier. The search is bounded: [`MAX_PATH_LENGTH`] certificates,
//! [`MAX_SIGNATURE_CHECKS`] signature checks. The best path found is the one reported.
//!
//! Every certificate of the path must be within its validity, the anchor too. Certificate policies
//! are not evaluated; name constraints are not supported and so, being critical, are refused. A CRL
//! must be direct and complete. Findings' codes:
//!
//! | verdict | codes |
//! |---|---|
//! | invalid | `not_yet_valid` `expired` `revoked` `issuer_signature_invalid` `key_usage_not_permitted` `not_a_ca` `path_length_exceeded` `algorithm_mismatch` `unknown_critical_extension` `malformed` |
//! | indeterminate | `no_path` `unsupported_algorithm` `crl_signature_invalid` `crl_not_supported` `crl_stale` |
//! | note | `revocation_not_checked` `revoked_later` |
//!
//! # Relaxations under [`Usage::License`]
//!
//! Real license certificates do not keep to RFC 5280 and GB/T 20518. What is let pass, and only
//! under that usage:
//!
//! | relaxation | why | what still holds |
//! |---|---|---|
//! | `private_face_extensions` | the face is in extensions `0.6.3.1040.N`, which may be critical | other unknown critical extensions are refused |
//! | `anchor_without_basic_constraints` | the operator configured it as the authority | an anchor that has basicConstraints must be a CA; intermediates must have it |
//!
//! What needs no relaxation, because it is so under every usage: a leaf without keyUsage,
//! basicConstraints, authorityKeyIdentifier or revocation pointers; names with trailing blanks, as
//! they compare in DER, untrimmed; `notBefore` equal to `notAfter`, which is one second of validity.

mod revocation;
mod rules;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use crate::error::FormatError;
use crate::oid;
use crate::verdict::{Judgement, Verdict};
use crate::x509::{Certificate, Crl};

pub(crate) use rules::may_sign_documents;

/// The most certificates in a path, leaf and anchor included.
pub const MAX_PATH_LENGTH: usize = 10;

/// The most certificate signatures checked for one leaf.
pub const MAX_SIGNATURE_CHECKS: usize = 64;

/// What certificates are judged against.
#[derive(Clone, Debug, Default)]
pub struct TrustStore {
    anchors: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    crls: Vec<Crl>,
}

impl TrustStore {
    /// Anchors are trusted because the caller says so; intermediates only help to build paths; CRLs
    /// count for the authorities that signed them.
    pub fn new(anchors: Vec<Certificate>, intermediates: Vec<Certificate>, crls: Vec<Crl>) -> Self {
        Self { anchors, intermediates, crls }
    }

    /// Anchors, then intermediates.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().chain(&self.intermediates)
    }
}

/// What the leaf's key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Signing documents: keyUsage, when present, must hold digitalSignature or nonRepudiation, and
    /// extKeyUsage, when present, must not be only about servers, timestamps or OCSP.
    DocumentSigning,
    /// Being an electronic business license: the same, with the relaxations of this module's table.
    License,
}

/// Judges whether `leaf` is good for `usage` at `at`, by a path to an anchor of `trust` over its
/// intermediates and `extra_intermediates`.
pub fn validate(
    leaf: &Certificate,
    extra_intermediates: &[Certificate],
    trust: &TrustStore,
    usage: Usage,
    at: OffsetDateTime,
) -> Judgement {
    let mut search = Search {
        trust,
        extra_intermediates,
        usage,
        at,
        checks_left: MAX_SIGNATURE_CHECKS,
        best: None,
        obstacle: None,
    };
    search.extend(&mut vec![leaf]);

    let mut judgement = rules::leaf(leaf, usage, at);
    match (search.best, search.obstacle) {
        (Some(path), _) => judgement.merge(path),
        (None, Some(obstacle)) => judgement.merge(obstacle),
        (None, None) => {
            judgement.indeterminate("no_path", format!("no path from {} to a trust anchor", subject_of(leaf)))
        }
    }
    judgement
}

struct Search<'a> {
    trust: &'a TrustStore,
    extra_intermediates: &'a [Certificate],
    usage: Usage,
    at: OffsetDateTime,
    checks_left: usize,
    /// The judgement on the best complete path so far.
    best: Option<Judgement>,
    /// Why an issuer that was at hand could not be used; told when there is no complete path.
    obstacle: Option<Judgement>,
}

impl<'a> Search<'a> {
    /// Tries all ways on from the last certificate of `path`; true when a valid one was found.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> bool {
        let Some(&tip) = path.last() else { return false };
        if self.trust.anchors.contains(tip) {
            let judgement = self.judge(path);
            let valid = judgement.verdict == Verdict::Valid;
            if self.best.as_ref().is_none_or(|best| judgement.verdict < best.verdict) {
                self.best = Some(judgement);
            }
            return valid;
        }
        if path.len() == MAX_PATH_LENGTH {
            return false;
        }
        let mut signed_by_one = false;
        let mut failure = None;
        for candidate in self.candidates(tip) {
            if path.contains(&candidate) {
                continue;
            }
            if self.checks_left == 0 {
                break;
            }
            self.checks_left -= 1;
            match candidate.public_key().and_then(|key| tip.verify_signature(&key)) {
                Ok(()) => {
                    signed_by_one = true;
                    path.push(candidate);
                    if self.extend(path) {
                        return true;
                    }
                    path.pop();
                }
                Err(error) => failure = Some(error),
            }
        }
        if let (false, Some(failure)) = (signed_by_one, failure) {
            self.obstacle = self.obstacle.take().or_else(|| obstacle(tip, &failure));
        }
        false
    }

    /// Those whose name, and key identifier where both have one, is that of the issuer of `tip`.
    fn candidates(&self, tip: &Certificate) -> Vec<&'a Certificate> {
        let issuer = tip.issuer_der();
        let authority: Option<AuthorityKeyIdentifier> =
            tip.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
        let wanted = authority.as_ref().and_then(|a| a.key_identifier.as_ref()).map(|id| id.as_bytes());
        let (trust, extra) = (self.trust, self.extra_intermediates);
        trust
            .certificates()
            .chain(extra)
            .filter(|candidate| candidate.subject_der() == issuer)
            .filter(|candidate| match (wanted, candidate.subject_key_identifier()) {
                (Some(wanted), Some(offered)) => wanted == offered,
                _ => true,
            })
            .collect()
    }

    /// Judges all of a complete path but what concerns the leaf alone.
    fn judge(&self, path: &[&Certificate]) -> Judgement {
        let mut judgement = Judgement::new();
        let anchor = path.len() - 1;
        for (position, authority) in path.iter().enumerate().skip(1) {
            let intermediates_below = path[1..position].iter().filter(|c| !is_self_issued(c)).count();
            judgement.merge(rules::authority(
                authority,
                intermediates_below,
                position == anchor && self.usage == Usage::License,
                self.usage,
                self.at,
            ));
        }
        let mut unchecked = Vec::new();
        for pair in path.windows(2) {
            match revocation::judge(pair[0], pair[1], &self.trust.crls, self.at) {
                Some(revocation) => judgement.merge(revocation),
                None => unchecked.push(subject_of(pair[0])),
            }
        }
        if !unchecked.is_empty() {
            judgement.note("revocation_not_checked", format!("no CRL for {}", unchecked.join(", ")));
        }
        judgement
    }
}

fn obstacle(tip: &Certificate, failure: &FormatError) -> Option<Judgement> {
    let mut judgement = Judgement::new();
    let subject = subject_of(tip);
    match failure {
        FormatError::SignatureInvalid => judgement.invalid(
            "issuer_signature_invalid",
            format!("the signature of {subject} is not that of its issuer"),
        ),
        FormatError::AlgorithmsDiffer => {
            judgement.invalid("algorithm_mismatch", format!("{subject}: {failure}"))
        }
        FormatError::UnsupportedAlgorithm(_)
        | FormatError::UnsupportedKey(_)
        | FormatError::RsaModulus { .. } => {
            judgement.indeterminate("unsupported_algorithm", format!("{subject}: {failure}"));
        }
        // The issuer at hand has a key of another kind: it is a namesake of the one that signed.
        _ => return None,
    }
    Some(judgement)
}

fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.subject_der() == certificate.issuer_der()
}

/// The subject for findings: an empty name would vanish from the sentence.
fn subject_of(certificate: &Certificate) -> String {
    let name = certificate.subject();
    if name.is_empty() { "(empty name)".to_owned() } else { name }
}

/// A time for findings.
fn stamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
