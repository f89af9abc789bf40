//! What each certificate of a path must be, apart from its signature and revocation.

use std::collections::HashSet;

use const_oid::ObjectIdentifier;
use time::Duration;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::{JudgedTime, Usage, stamp, subject_of};
use crate::oid;
use crate::verdict::Judgement;
use crate::x509::Certificate;

/// Extensions that are understood here, or whose being ignored cannot widen trust.
const KNOWN_EXTENSIONS: [ObjectIdentifier; 13] = [
    oid::SUBJECT_KEY_IDENTIFIER,
    oid::KEY_USAGE,
    oid::SUBJECT_ALT_NAME,
    oid::ISSUER_ALT_NAME,
    oid::BASIC_CONSTRAINTS,
    oid::CRL_DISTRIBUTION_POINTS,
    oid::NAME_CONSTRAINTS,
    oid::CERTIFICATE_POLICIES,
    oid::POLICY_MAPPINGS,
    oid::AUTHORITY_KEY_IDENTIFIER,
    oid::POLICY_CONSTRAINTS,
    oid::EXT_KEY_USAGE,
    oid::INHIBIT_ANY_POLICY,
];

pub(super) fn leaf(certificate: &Certificate, usage: Usage, at: &JudgedTime) -> Judgement {
    let mut judgement = any(certificate, usage == Usage::License, at);
    match usage.permitted_by(certificate) {
        Ok(true) => {}
        Ok(false) => judgement.invalid(
            "key_usage_not_permitted",
            format!("the key of {} is not for {}", subject_of(certificate), usage.purpose()),
        ),
        Err(error) => judgement.invalid("malformed", error.to_string()),
    }
    judgement
}

/// `anchor_exempt`: an anchor without basicConstraints is let pass.
pub(super) fn authority(
    certificate: &Certificate,
    intermediates_below: usize,
    anchor_exempt: bool,
    license: bool,
    at: &JudgedTime,
) -> Judgement {
    let mut judgement = any(certificate, license, at);
    let subject = subject_of(certificate);
    match certificate.extension::<BasicConstraints>(oid::BASIC_CONSTRAINTS) {
        Ok(Some(constraints)) if constraints.ca => {
            let limit = constraints.path_len_constraint.map(usize::from);
            if limit.is_some_and(|limit| intermediates_below > limit) {
                judgement.invalid(
                    "path_length_exceeded",
                    format!("{intermediates_below} authorities follow {subject}, more than it permits"),
                );
            }
        }
        Ok(None) if anchor_exempt => {}
        Ok(_) => judgement.invalid("not_a_ca", format!("{subject} is no certificate authority")),
        Err(error) => judgement.invalid("malformed", error.to_string()),
    }
    match certificate.extension::<KeyUsage>(oid::KEY_USAGE) {
        Ok(key_usage) if key_usage.is_none_or(|usage| usage.key_cert_sign()) => {}
        Ok(_) => judgement.invalid(
            "key_usage_not_permitted",
            format!("the key of {subject} is not for signing certificates"),
        ),
        Err(error) => judgement.invalid("malformed", error.to_string()),
    }
    judgement
}

/// What holds for every certificate; `license`: the license's private extensions are known.
pub(super) fn any(certificate: &Certificate, license: bool, at: &JudgedTime) -> Judgement {
    let mut judgement = Judgement::new();
    let subject = subject_of(certificate);
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if at.is_before(not_before) {
        judgement.invalid("not_yet_valid", format!("{subject} is valid from {} on", stamp(not_before)));
    }
    // Validity includes the whole last second; the year 9999 has no end.
    let end = not_after.checked_add(Duration::SECOND);
    if end.is_some_and(|end| !at.is_before(end)) {
        judgement.invalid("expired", format!("{subject} was valid until {}", stamp(not_after)));
    }
    let extensions = certificate.inner().tbs_certificate.extensions.as_deref().unwrap_or_default();
    if !extensions.is_empty() && certificate.inner().tbs_certificate.version != x509_cert::Version::V3 {
        judgement.invalid("malformed", format!("{subject} has extensions and is not of version 3"));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = extensions.iter().find(|extension| !seen.insert(extension.extn_id)) {
        judgement.invalid("malformed", format!("{subject} has the extension {} twice", twice.extn_id));
    }
    let is_known = |id: ObjectIdentifier| {
        KNOWN_EXTENSIONS.contains(&id) || license && id.parent() == Some(oid::LICENSE_FACE_ARC)
    };
    if let Some(unknown) = extensions.iter().find(|e| e.critical && !is_known(e.extn_id)) {
        judgement.invalid(
            "unknown_critical_extension",
            format!("{subject} has the critical extension {}, which is not known", unknown.extn_id),
        );
    }
    judgement
}
