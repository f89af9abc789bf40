//! Certificate policies (RFC 5280, 6.1.2 to 6.1.5).
//!
//! In place of the standard's tree, which a chain of a few kilobytes can make grow exponentially, stands the
//! graph of policies that are valid at each depth: as large as the certificates' own lists.

use std::collections::{BTreeMap, BTreeSet};

use const_oid::ObjectIdentifier;
use x509_cert::ext::pkix::{CertificatePolicies, InhibitAnyPolicy, PolicyConstraints, PolicyMappings};

use super::subject_of;
use crate::error::FormatError;
use crate::oid;
use crate::verdict::Judgement;
use crate::x509::Certificate;

/// Which certificate policies a path must be valid for (the inputs (c) to (f) of RFC 5280, 6.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRequirements {
    /// The policies that are acceptable (user-initial-policy-set); none means any.
    pub acceptable: Vec<ObjectIdentifier>,
    /// Must the path be valid for one of them, even if no certificate asks for that?
    pub explicit: bool,
    /// Are policy mappings without effect?
    pub inhibit_mapping: bool,
    /// Does anyPolicy stand for no policy?
    pub inhibit_any: bool,
}

/// The policies that are valid at one depth.
#[derive(Default)]
struct Level {
    /// Each with those of the level above that it comes from; none: it comes from anyPolicy.
    policies: BTreeMap<ObjectIdentifier, BTreeSet<ObjectIdentifier>>,
    /// Is every other policy valid too?
    any: bool,
}

/// Judges `path`, leaf first. The anchor's own extensions about policies are not asked.
pub(super) fn judge(path: &[&Certificate], requirements: &PolicyRequirements) -> Judgement {
    let mut judgement = Judgement::new();
    match is_valid(path, requirements) {
        Ok(true) => {}
        Ok(false) => judgement.invalid(
            "policy_not_permitted",
            format!("the path to {} is valid for no acceptable certificate policy", subject_of(path[0])),
        ),
        Err(error) => judgement.invalid("malformed", error.to_string()),
    }
    judgement
}

fn is_valid(path: &[&Certificate], requirements: &PolicyRequirements) -> Result<bool, FormatError> {
    let certificates = &path[..path.len() - 1];
    let limit = |now: bool| if now { 0 } else { certificates.len() + 1 };
    let mut explicit = limit(requirements.explicit);
    let mut mapping = limit(requirements.inhibit_mapping);
    let mut any = limit(requirements.inhibit_any);
    let mut level = Level { any: true, ..Level::default() };
    let mut levels = Vec::with_capacity(certificates.len());

    for (position, certificate) in certificates.iter().enumerate().rev() {
        let is_leaf = position == 0;
        let is_renewal = !is_leaf && certificate.is_self_issued();
        level.narrow(certificate, any > 0 || is_renewal)?;
        if explicit == 0 && level.is_empty() {
            return Ok(false);
        }
        if !is_leaf {
            let next = level.map(certificate, mapping > 0)?;
            levels.push(std::mem::replace(&mut level, next));
        }
        if !is_renewal {
            for counter in [&mut explicit, &mut mapping, &mut any] {
                *counter = counter.saturating_sub(1);
            }
        }
        let lower = |counter: &mut usize, limit: Option<u32>| {
            if let Some(limit) = limit {
                *counter = (*counter).min(limit as usize);
            }
        };
        let constraints: Option<PolicyConstraints> = certificate.extension(oid::POLICY_CONSTRAINTS)?;
        if let Some(constraints) = constraints {
            if is_leaf {
                // Only a zero still matters (6.1.5 (b)).
                lower(&mut explicit, constraints.require_explicit_policy.filter(|skip| *skip == 0));
            } else {
                lower(&mut explicit, constraints.require_explicit_policy);
                lower(&mut mapping, constraints.inhibit_policy_mapping);
            }
        }
        let inhibit: Option<InhibitAnyPolicy> = certificate.extension(oid::INHIBIT_ANY_POLICY)?;
        lower(&mut any, inhibit.map(|skip| skip.0));
    }
    levels.push(level);
    Ok(explicit > 0 || has_acceptable(&levels, &requirements.acceptable))
}

impl Level {
    fn is_empty(&self) -> bool {
        self.policies.is_empty() && !self.any
    }

    /// 6.1.3 (d) and (e): what remains of the expected policies is what the certificate asserts.
    fn narrow(&mut self, certificate: &Certificate, any_permitted: bool) -> Result<(), FormatError> {
        let asserted: Option<CertificatePolicies> = certificate.extension(oid::CERTIFICATE_POLICIES)?;
        let mut policies = BTreeSet::new();
        for policy in asserted.map_or(Vec::new(), |asserted| asserted.0) {
            if !policies.insert(policy.policy_identifier) {
                return Err(malformed(certificate, "asserts a policy twice"));
            }
        }
        let asserts_any = policies.remove(&oid::ANY_POLICY);
        let were_all_expected = self.any;
        if !(asserts_any && any_permitted) {
            self.policies.retain(|policy, _| policies.contains(policy));
            self.any = false;
        }
        if were_all_expected {
            for policy in policies {
                self.policies.entry(policy).or_default();
            }
        }
        Ok(())
    }

    /// 6.1.4 (a) and (b): the policies expected of the next certificate.
    fn map(&mut self, certificate: &Certificate, permitted: bool) -> Result<Self, FormatError> {
        let mappings: Option<PolicyMappings> = certificate.extension(oid::POLICY_MAPPINGS)?;
        let mut mappings = mappings.map_or(Vec::new(), |mappings| mappings.0);
        let of_any = |policy: &ObjectIdentifier| *policy == oid::ANY_POLICY;
        if mappings.iter().any(|m| of_any(&m.issuer_domain_policy) || of_any(&m.subject_domain_policy)) {
            return Err(malformed(certificate, "maps anyPolicy"));
        }
        if !permitted {
            for mapping in mappings.drain(..) {
                self.policies.remove(&mapping.issuer_domain_policy);
            }
        } else if self.any {
            for mapping in &mappings {
                self.policies.entry(mapping.issuer_domain_policy).or_default();
            }
        }
        let mapped: BTreeSet<_> = mappings.iter().map(|mapping| mapping.issuer_domain_policy).collect();
        let unmapped = self.policies.keys().filter(|policy| !mapped.contains(policy)).map(|p| (*p, *p));
        let mapped = mappings.iter().map(|m| (m.issuer_domain_policy, m.subject_domain_policy));
        let mut next = Self { any: self.any, ..Self::default() };
        for (from, to) in unmapped.chain(mapped) {
            if self.policies.contains_key(&from) {
                next.policies.entry(to).or_default().insert(from);
            }
        }
        Ok(next)
    }
}

/// 6.1.5 (g): is one of the leaf's policies, traced back to where it comes from anyPolicy, acceptable?
fn has_acceptable(levels: &[Level], acceptable: &[ObjectIdentifier]) -> bool {
    let Some(last) = levels.last().filter(|last| !last.is_empty()) else { return false };
    if acceptable.is_empty() || acceptable.contains(&oid::ANY_POLICY) || last.any {
        return true;
    }
    let mut reached: BTreeSet<_> = last.policies.keys().copied().collect();
    for level in levels.iter().rev() {
        let mut above = BTreeSet::new();
        for (policy, parents) in level.policies.iter().filter(|(policy, _)| reached.contains(policy)) {
            if parents.is_empty() && acceptable.contains(policy) {
                return true;
            }
            above.extend(parents.iter().copied());
        }
        reached = above;
    }
    false
}

fn malformed(certificate: &Certificate, what: &str) -> FormatError {
    FormatError::malformed("certificate", format!("{} {what}", subject_of(certificate)))
}
