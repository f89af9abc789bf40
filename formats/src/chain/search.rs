//! The search for a path, and the judgement on a complete one.

use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::{
    JudgedTime, MAX_PATH_LENGTH, MAX_SIGNATURE_CHECKS, TrustStore, names, policies, revocation, rules,
    subject_of,
};
use crate::error::FormatError;
use crate::oid;
use crate::verdict::{Judgement, Verdict};
use crate::x509::Certificate;

/// One search and those within it, which all draw on one budget of steps.
pub(super) struct Search<'a> {
    pub(super) trust: &'a TrustStore,
    pub(super) extra_intermediates: &'a [Certificate],
    /// Do the relaxations for licenses hold?
    pub(super) license: bool,
    pub(super) at: &'a JudgedTime,
    /// The one anchor admitted, when it is a CRL's signer that a path is sought for.
    pub(super) only_anchor: Option<&'a Certificate>,
    /// The signers of CRLs whose paths are being sought, from without to within.
    pub(super) seeking: Vec<&'a Certificate>,
    pub(super) steps_left: usize,
    /// Was something left untried because there were no steps left?
    pub(super) exhausted: bool,
}

/// What the search for one leaf has come to.
#[derive(Default)]
struct Outcome<'a> {
    /// The judgement on the best complete path so far.
    best: Option<Judgement>,
    /// That path, from the leaf on.
    best_path: Vec<&'a Certificate>,
    /// Why an issuer that was at hand could not be used; told when there is no complete path.
    obstacle: Option<Judgement>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        trust: &'a TrustStore,
        extra_intermediates: &'a [Certificate],
        license: bool,
        at: &'a JudgedTime,
    ) -> Self {
        Self {
            trust,
            extra_intermediates,
            license,
            at,
            only_anchor: None,
            seeking: Vec::new(),
            steps_left: MAX_SIGNATURE_CHECKS,
            exhausted: false,
        }
    }

    /// Takes a step, unless there is none left.
    pub(super) fn step(&mut self) -> bool {
        self.exhausted |= self.steps_left == 0;
        let taken = self.steps_left > 0;
        self.steps_left -= usize::from(taken);
        taken
    }

    /// Judges all but what concerns `leaf` alone.
    pub(super) fn judge(&mut self, leaf: &'a Certificate) -> Judgement {
        let mut outcome = Outcome::default();
        self.extend(&mut vec![leaf], &mut outcome);
        let Outcome { best, obstacle, .. } = outcome;
        best.or(obstacle).unwrap_or_else(|| {
            let mut judgement = Judgement::new();
            judgement
                .indeterminate("no_path", format!("no path from {} to a trust anchor", subject_of(leaf)));
            judgement
        })
    }

    /// The path that [`judge`](Self::judge) judges; empty when there is none.
    pub(super) fn path(&mut self, leaf: &'a Certificate) -> Vec<&'a Certificate> {
        let mut outcome = Outcome::default();
        self.extend(&mut vec![leaf], &mut outcome);
        outcome.best_path
    }

    /// Tries all ways on from the last certificate of `path`; true when a valid one was found.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>, outcome: &mut Outcome<'a>) -> bool {
        let Some(&tip) = path.last() else { return false };
        let is_anchor = match self.only_anchor {
            Some(anchor) => anchor == tip,
            None => self.trust.anchors.contains(tip),
        };
        if is_anchor {
            let judgement = self.judge_path(path);
            let valid = judgement.verdict == Verdict::Valid;
            if outcome.best.as_ref().is_none_or(|best| judgement.verdict < best.verdict) {
                outcome.best = Some(judgement);
                outcome.best_path.clone_from(path);
            }
            return valid;
        }
        if path.len() == MAX_PATH_LENGTH {
            return false;
        }
        let mut signed_by_one = false;
        let mut failure = None;
        for candidate in self.issuers(tip) {
            if path.contains(&candidate) {
                continue;
            }
            if !self.step() {
                break;
            }
            match self.is_signed_by(tip, candidate) {
                Ok(()) => {
                    signed_by_one = true;
                    path.push(candidate);
                    if self.extend(path, outcome) {
                        return true;
                    }
                    path.pop();
                }
                Err(error) => failure = Some(error),
            }
        }
        if let (false, Some(failure)) = (signed_by_one, failure) {
            outcome.obstacle = outcome.obstacle.take().or_else(|| obstacle(tip, &failure));
        }
        false
    }

    fn is_signed_by(&self, certificate: &Certificate, issuer: &Certificate) -> Result<(), FormatError> {
        certificate.verify_signature_with(issuer.key()?, Some(&self.trust.verifier))
    }

    /// Those whose name, and key identifier where both have one, is that of the issuer of `tip`.
    fn issuers(&self, tip: &Certificate) -> Vec<&'a Certificate> {
        let authority: Option<AuthorityKeyIdentifier> =
            tip.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
        self.certificates()
            .filter(|candidate| match self.license {
                true => candidate.subject_der() == tip.issuer_der(),
                false => candidate.subject_name() == tip.issuer_name(),
            })
            .filter(|candidate| is_key_of(authority.as_ref(), candidate))
            .collect()
    }

    /// All that may stand above a leaf.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &'a Certificate> + use<'a> {
        self.trust.certificates().chain(self.extra_intermediates)
    }

    fn judge_path(&mut self, path: &[&'a Certificate]) -> Judgement {
        let mut judgement = Judgement::new();
        let anchor = path.len() - 1;
        for (position, authority) in path.iter().enumerate().skip(1) {
            let intermediates_below = path[1..position].iter().filter(|c| !c.is_self_issued()).count();
            let anchor_exempt = position == anchor && self.license;
            let rules =
                rules::authority(authority, intermediates_below, anchor_exempt, self.license, self.at);
            judgement.merge(rules);
        }
        judgement.merge(names::judge(path));
        judgement.merge(policies::judge(path, &self.trust.policies));
        judgement.merge(revocation::judge(self, path));
        judgement
    }
}

/// Does an authorityKeyIdentifier speak of the key of `candidate`, or leave that open?
pub(super) fn is_key_of(authority: Option<&AuthorityKeyIdentifier>, candidate: &Certificate) -> bool {
    let wanted = authority.and_then(|authority| authority.key_identifier.as_ref());
    match (wanted, candidate.subject_key_identifier()) {
        (Some(wanted), Some(offered)) => wanted.as_bytes() == offered,
        _ => true,
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
