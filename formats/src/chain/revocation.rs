//! Revocation by CRLs (RFC 5280, 6.3): direct and complete ones, signed by the authority itself.

use der::Decode;
use time::OffsetDateTime;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlReason, KeyUsage};

use super::{stamp, subject_of};
use crate::error::FormatError;
use crate::oid;
use crate::verdict::Judgement;
use crate::x509::{Certificate, Crl, moment};

/// Is `certificate` revoked at `at`? None when there is no CRL of `issuer` to tell.
///
/// All usable CRLs count for what they list, because later ones may leave out certificates that have
/// expired; a hold counts only while the newest lists it.
pub(super) fn judge(
    certificate: &Certificate,
    issuer: &Certificate,
    crls: &[Crl],
    at: OffsetDateTime,
) -> Option<Judgement> {
    let mut judgement = Judgement::new();
    let mut obstacles = Judgement::new();
    let mut usable = Vec::new();
    for crl in crls.iter().filter(|crl| is_of(crl, issuer)) {
        match check(crl, issuer) {
            Ok(()) => usable.push(crl),
            Err((code, detail)) => obstacles.indeterminate(code, detail),
        }
    }
    let Some(newest) = usable.iter().map(|crl| crl.this_update()).max() else {
        return (!obstacles.findings.is_empty()).then_some(obstacles);
    };

    let subject = subject_of(certificate);
    for crl in &usable {
        let Some(entry) = entry(crl, certificate) else { continue };
        let reason = match reason(entry) {
            Ok(reason) => reason,
            Err(detail) => {
                judgement.indeterminate("crl_not_supported", detail);
                continue;
            }
        };
        let is_lifted_hold = reason == CrlReason::CertificateHold && crl.this_update() < newest;
        if reason == CrlReason::RemoveFromCRL || is_lifted_hold {
            continue;
        }
        let when = moment(&entry.revocation_date);
        let detail = format!("{subject} was revoked at {}, reason {}", stamp(when), reason_name(reason));
        if when <= at {
            judgement.invalid("revoked", detail);
        } else {
            judgement.note("revoked_later", detail);
        }
        return Some(judgement);
    }

    let fresh = |crl: &&Crl| crl.next_update().is_none_or(|next| next >= at);
    if !usable.iter().any(fresh) {
        judgement.indeterminate(
            "crl_stale",
            format!("the newest CRL of {} is of {}", subject_of(issuer), stamp(newest)),
        );
    }
    Some(judgement)
}

fn is_of(crl: &Crl, issuer: &Certificate) -> bool {
    let authority: Option<AuthorityKeyIdentifier> =
        crl.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
    let key = authority.as_ref().and_then(|a| a.key_identifier.as_ref()).map(|id| id.as_bytes());
    let same_key = match (key, issuer.subject_key_identifier()) {
        (Some(signer), Some(issuer)) => signer == issuer,
        _ => true,
    };
    crl.issuer_der() == issuer.subject_der() && same_key
}

fn check(crl: &Crl, issuer: &Certificate) -> Result<(), (&'static str, String)> {
    let subject = subject_of(issuer);
    let may_sign = issuer
        .extension::<KeyUsage>(oid::KEY_USAGE)
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.crl_sign()));
    if !may_sign {
        return Err(("crl_signature_invalid", format!("the key of {subject} is not for signing CRLs")));
    }
    issuer.public_key().and_then(|key| crl.verify_signature(&key)).map_err(|error| match error {
        FormatError::UnsupportedAlgorithm(_) | FormatError::UnsupportedKey(_) => {
            ("crl_not_supported", format!("a CRL of {subject}: {error}"))
        }
        _ => ("crl_signature_invalid", format!("a CRL of {subject}: {error}")),
    })?;
    // A critical extension says that the list is partial, indirect or a delta.
    let extensions = crl.inner().tbs_cert_list.crl_extensions.as_deref().unwrap_or_default();
    match extensions.iter().find(|extension| extension.critical) {
        None => Ok(()),
        Some(extension) => Err((
            "crl_not_supported",
            format!("a CRL of {subject} has the critical extension {}", extension.extn_id),
        )),
    }
}

fn entry<'a>(crl: &'a Crl, certificate: &Certificate) -> Option<&'a RevokedCert> {
    let serial = &certificate.inner().tbs_certificate.serial_number;
    let entries = crl.inner().tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
    entries.iter().find(|entry| entry.serial_number == *serial)
}

fn reason(entry: &RevokedCert) -> Result<CrlReason, String> {
    let extensions = entry.crl_entry_extensions.as_deref().unwrap_or_default();
    let mut reason = CrlReason::Unspecified;
    for extension in extensions {
        if extension.extn_id == oid::CRL_REASON {
            reason = CrlReason::from_der(extension.extn_value.as_bytes())
                .map_err(|error| format!("a revocation reason: {error}"))?;
        } else if extension.critical {
            return Err(format!("a CRL entry has the critical extension {}", extension.extn_id));
        }
    }
    Ok(reason)
}

/// The names of RFC 5280, 5.3.1.
fn reason_name(reason: CrlReason) -> &'static str {
    match reason {
        CrlReason::Unspecified => "unspecified",
        CrlReason::KeyCompromise => "keyCompromise",
        CrlReason::CaCompromise => "cACompromise",
        CrlReason::AffiliationChanged => "affiliationChanged",
        CrlReason::Superseded => "superseded",
        CrlReason::CessationOfOperation => "cessationOfOperation",
        CrlReason::CertificateHold => "certificateHold",
        CrlReason::RemoveFromCRL => "removeFromCRL",
        CrlReason::PrivilegeWithdrawn => "privilegeWithdrawn",
        CrlReason::AaCompromise => "aACompromise",
    }
}
