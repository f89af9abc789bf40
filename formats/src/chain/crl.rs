//! What CRLs say about a certificate (RFC 5280, 6.3.3): direct ones, for a part of the certificates and
//! reasons perhaps. Deltas count for what they list only.

use der::Decode;
use der::asn1::GeneralizedTime;
use der::flagset::FlagSet;
use sm2_verify::Verifier;
use time::OffsetDateTime;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::crl::dp::{DistributionPoint, IssuingDistributionPoint, Reasons};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, CrlReason, KeyUsage,
};

use super::revocation::{Freshness, Word, freshness};
use super::search::{Search, is_key_of};
use super::{JudgedTime, rules, stamp, subject_of};
use crate::error::FormatError;
use crate::name::FoldedName;
use crate::oid;
use crate::verdict::{Finding, Verdict};
use crate::x509::{Certificate, Crl, moment, time_of};

/// How deep paths of CRLs' signers may need other CRLs' signers.
const MAX_SIGNERS_SOUGHT: usize = 2;

type CoveredReasons = FlagSet<Reasons>;

/// A CRL that may speak about the certificate, and for which reasons it may.
struct Usable<'a> {
    crl: &'a Crl,
    reasons: CoveredReasons,
    /// Does it tell only what has changed since another CRL?
    is_delta: bool,
}

/// Lets the CRLs speak about the first certificate of `path`, which goes on to its issuer and the anchor.
pub(super) fn ask<'a>(search: &mut Search<'a>, path: &[&'a Certificate], word: &mut Word) {
    let &[certificate, issuer, ..] = path else { return };
    let points = match certificate.extension::<CrlDistributionPoints>(oid::CRL_DISTRIBUTION_POINTS) {
        Ok(points) => points.map_or(Vec::new(), |points| points.0),
        Err(error) => return word.obstacles.invalid("malformed", error.to_string()),
    };
    let mut usable = Vec::new();
    for crl in &search.trust.crls {
        let told = match scope(crl, certificate, &points) {
            Ok(None) => continue,
            Ok(Some(reasons)) => signer_objection(search, crl, path).map(|()| {
                let is_delta = crl.is_delta();
                usable.push(Usable { crl, reasons, is_delta });
            }),
            Err(detail) => Err(Some(Finding::indeterminate("crl_not_supported", detail))),
        };
        if let Err(Some(Finding { code, detail, .. })) = told {
            word.obstacles.indeterminate(code, format!("a CRL of {}: {detail}", subject_of(issuer)));
        }
    }
    if !usable.is_empty() {
        read(&usable, certificate, issuer, search, word);
    }
}

/// All usable CRLs count for what they list, because later ones may leave out certificates that have
/// expired.
fn read(
    usable: &[Usable<'_>],
    certificate: &Certificate,
    issuer: &Certificate,
    search: &Search<'_>,
    word: &mut Word,
) {
    let serial = certificate.inner().tbs_certificate.serial_number.as_bytes();
    let (mut covered, mut overdue, mut fresh) = (CoveredReasons::default(), CoveredReasons::default(), false);
    for Usable { crl, reasons, is_delta } in usable {
        let told = crl.this_update();
        let mut held = false;
        for entry in crl.entries(serial) {
            let when = moment(&entry.revocation_date);
            match read_entry(entry) {
                Ok((CrlReason::RemoveFromCRL, _)) => word.not_held(told),
                Ok((CrlReason::CertificateHold, _)) => {
                    held = true;
                    word.hold(told, when);
                }
                Ok((reason, invalid_since)) => {
                    word.revoke(invalid_since.map_or(when, |since| since.min(when)), reason);
                }
                Err(detail) => word.obstacles.indeterminate("crl_not_supported", detail),
            }
        }
        if *is_delta {
            continue;
        }
        if !held && reasons.contains(Reasons::CertificateHold) {
            word.not_held(told);
        }
        let (policy, next) = (search.trust.revocation, crl.next_update());
        let freshness = freshness(policy, told, next, None, search.at);
        if freshness != Freshness::Stale && lists_after_expiry(crl, certificate, search.at) {
            fresh = true;
            let reliable = if freshness == Freshness::Fresh { &mut covered } else { &mut overdue };
            *reliable |= *reasons;
        }
    }
    if covered == all_reasons() {
        word.good = true;
    } else if covered | overdue == all_reasons() {
        word.in_grace.note("crl_overdue", newest(usable, issuer).unwrap_or_default());
    } else if fresh {
        let detail = format!("the CRLs of {} do not cover all reasons", subject_of(issuer));
        word.obstacles.indeterminate("revocation_unknown", detail);
    } else if usable.iter().all(|usable| usable.is_delta) {
        let detail = format!("of {} there are delta CRLs only, not their base", subject_of(issuer));
        word.obstacles.indeterminate("crl_not_supported", detail);
    } else if let Some(detail) = newest(usable, issuer) {
        word.obstacles.indeterminate("crl_stale", detail);
    }
}

/// Of when the newest CRL is, deltas apart.
fn newest(usable: &[Usable<'_>], issuer: &Certificate) -> Option<String> {
    let newest = usable.iter().filter(|u| !u.is_delta).max_by_key(|u| u.crl.this_update())?.crl;
    let due = newest
        .next_update()
        .map_or(String::new(), |next| format!(", its successor was due at {}", stamp(next)));
    Some(format!("the newest CRL of {} is of {}{due}", subject_of(issuer), stamp(newest.this_update())))
}

fn all_reasons() -> CoveredReasons {
    CoveredReasons::full() - Reasons::Unused
}

/// Would the CRL still list the certificate? Once it has expired, only if the CRL says so. For a time after
/// the expiry that does not matter any more.
fn lists_after_expiry(crl: &Crl, certificate: &Certificate, at: &JudgedTime) -> bool {
    let expiry = certificate.not_after();
    let kept_from = || {
        let kept: GeneralizedTime = crl.extension(oid::EXPIRED_CERTS_ON_CRL).ok().flatten()?;
        Some(time_of(kept.to_unix_duration()))
    };
    at.is_after(expiry) || crl.this_update() <= expiry || kept_from().is_some_and(|from| from <= expiry)
}

/// The reasons for which the CRL speaks about the certificate, if it does.
fn scope(
    crl: &Crl,
    certificate: &Certificate,
    points: &[DistributionPoint],
) -> Result<Option<CoveredReasons>, String> {
    if crl.issuer_name() != certificate.issuer_name() {
        let indirect = points.iter().any(|point| names_issuer(point, crl.issuer_name()));
        return match indirect {
            true => Err("the certificate is on an indirect CRL, which is not supported".to_owned()),
            false => Ok(None),
        };
    }
    let extensions = crl.inner().tbs_cert_list.crl_extensions.as_deref().unwrap_or_default();
    let known = [
        oid::ISSUING_DISTRIBUTION_POINT,
        oid::AUTHORITY_KEY_IDENTIFIER,
        oid::CRL_NUMBER,
        oid::DELTA_CRL_INDICATOR,
    ];
    if let Some(unknown) = extensions.iter().find(|e| e.critical && !known.contains(&e.extn_id)) {
        return Err(format!("its critical extension {} is not known", unknown.extn_id));
    }
    let reasons = match crl.extension(oid::ISSUING_DISTRIBUTION_POINT) {
        Ok(None) => Some(all_reasons()),
        Ok(Some(part)) => scope_of_part(&part, certificate, points)?,
        Err(error) => return Err(error.to_string()),
    };
    match crl.critical_entry_extension().filter(|_| reasons.is_some()) {
        Some(unknown) => Err(format!("its entries' critical extension {unknown} is not known")),
        None => Ok(reasons),
    }
}

fn scope_of_part(
    part: &IssuingDistributionPoint,
    certificate: &Certificate,
    points: &[DistributionPoint],
) -> Result<Option<CoveredReasons>, String> {
    let only = [part.only_contains_user_certs, part.only_contains_ca_certs];
    let limits =
        only.iter().filter(|limit| **limit).count() + usize::from(part.only_contains_attribute_certs);
    if part.indirect_crl {
        return Err("it is an indirect CRL, which is not supported".to_owned());
    }
    if limits > 1 || limits == 0 && part.distribution_point.is_none() && part.only_some_reasons.is_none() {
        return Err("its issuingDistributionPoint says nothing".to_owned());
    }
    let constraints: Option<BasicConstraints> =
        certificate.extension(oid::BASIC_CONSTRAINTS).map_err(|error| error.to_string())?;
    let is_authority = constraints.is_some_and(|constraints| constraints.ca);
    if part.only_contains_attribute_certs
        || part.only_contains_user_certs && is_authority
        || part.only_contains_ca_certs && !is_authority
    {
        return Ok(None);
    }
    let reasons = part.only_some_reasons.map_or(all_reasons(), |some| some & all_reasons());
    let Some(name) = &part.distribution_point else { return Ok(Some(reasons)) };
    let issuer = certificate.issuer_name();
    let names = full_names(name, issuer);
    if points.is_empty() {
        // The point that a certificate without the extension has (RFC 5280, 6.3.3).
        let is_issuer = |name: &Place| matches!(name, Place::Directory(name) if name == issuer);
        return Ok(names.iter().any(is_issuer).then_some(reasons));
    }
    let mut covered = CoveredReasons::default();
    for point in points {
        let of_point: Vec<Place> = match (&point.distribution_point, &point.crl_issuer) {
            (Some(name), _) => full_names(name, issuer),
            (None, Some(issuers)) => issuers.iter().map(place).collect(),
            (None, None) => continue,
        };
        if of_point.iter().any(|name| names.contains(name)) {
            covered |= point.reasons.map_or(reasons, |some| some & reasons);
        }
    }
    Ok((!covered.is_empty()).then_some(covered))
}

/// A distribution point's name, for comparison.
#[derive(PartialEq)]
enum Place {
    Directory(FoldedName),
    Other(GeneralName),
}

fn place(name: &GeneralName) -> Place {
    match name {
        GeneralName::DirectoryName(name) => Place::Directory(FoldedName::new(name)),
        other => Place::Other(other.clone()),
    }
}

fn full_names(name: &DistributionPointName, issuer: &FoldedName) -> Vec<Place> {
    match name {
        DistributionPointName::FullName(names) => names.iter().map(place).collect(),
        DistributionPointName::NameRelativeToCRLIssuer(relative) => {
            vec![Place::Directory(issuer.with(relative))]
        }
    }
}

fn names_issuer(point: &DistributionPoint, issuer: &FoldedName) -> bool {
    let issuers = point.crl_issuer.as_deref().unwrap_or_default();
    issuers.iter().any(|name| matches!(place(name), Place::Directory(name) if name == *issuer))
}

/// Is the CRL signed by the issuer's key, or by another key of that name for which there is a path to the
/// same anchor? `Err(None)`: by one of a namesake that is not at hand.
fn signer_objection<'a>(
    search: &mut Search<'a>,
    crl: &Crl,
    path: &[&'a Certificate],
) -> Result<(), Option<Finding>> {
    let &[_, issuer, ..] = path else { return Err(None) };
    let Some(&anchor) = path.last() else { return Err(None) };
    let authority: Option<AuthorityKeyIdentifier> =
        crl.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
    let others = search.certificates().filter(|other| {
        other.subject_name() == crl.issuer_name() && *other != issuer && !search.seeking.contains(other)
    });
    let candidates: Vec<_> =
        std::iter::once(issuer).chain(others).filter(|c| is_key_of(authority.as_ref(), c)).collect();
    let mut objection = None;
    for candidate in candidates {
        // Namesakes may be anybody's, and are as many as somebody brings: each draws on the search's budget.
        if candidate != issuer && !search.step() {
            break;
        }
        match try_signer(search, crl, candidate, issuer, anchor) {
            Ok(()) => return Ok(()),
            Err(new) => objection = objection.or(Some(new)),
        }
    }
    Err(objection)
}

fn try_signer<'a>(
    search: &mut Search<'a>,
    crl: &Crl,
    candidate: &'a Certificate,
    issuer: &Certificate,
    anchor: &'a Certificate,
) -> Result<(), Finding> {
    check_signature(crl, candidate, &search.trust.verifier)?;
    if candidate == issuer || candidate == anchor {
        return Ok(());
    }
    let no_path = || signature_invalid(format!("no valid path to its signer {}", subject_of(candidate)));
    if search.seeking.len() == MAX_SIGNERS_SOUGHT {
        return Err(no_path());
    }
    let mut seeking = search.seeking.clone();
    seeking.push(candidate);
    let mut inner = Search { only_anchor: Some(anchor), seeking, ..*search };
    let mut judgement = rules::any(candidate, search.license, search.at);
    judgement.merge(inner.judge(candidate));
    (search.steps_left, search.exhausted) = (inner.steps_left, inner.exhausted);
    if judgement.verdict == Verdict::Valid { Ok(()) } else { Err(no_path()) }
}

fn signature_invalid(detail: String) -> Finding {
    Finding::indeterminate("crl_signature_invalid", detail)
}

/// Has `candidate` signed the CRL, and may it sign CRLs?
pub(super) fn check_signature(
    crl: &Crl,
    candidate: &Certificate,
    verifier: &Verifier,
) -> Result<(), Finding> {
    let may_sign = candidate
        .extension::<KeyUsage>(oid::KEY_USAGE)
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.crl_sign()));
    if !may_sign {
        return Err(signature_invalid(format!(
            "the key of {} is not for signing CRLs",
            subject_of(candidate)
        )));
    }
    candidate.key().and_then(|key| crl.verify_signature_with(key, Some(verifier))).map_err(
        |error| match error {
            FormatError::UnsupportedAlgorithm(_) | FormatError::UnsupportedKey(_) => {
                Finding::indeterminate("crl_not_supported", error.to_string())
            }
            _ => signature_invalid(error.to_string()),
        },
    )
}

/// Does the CRL's authorityKeyIdentifier speak of the key of `candidate`, or leave that open?
pub(super) fn may_be_by(crl: &Crl, candidate: &Certificate) -> bool {
    let authority: Option<AuthorityKeyIdentifier> =
        crl.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
    crl.issuer_name() == candidate.subject_name() && is_key_of(authority.as_ref(), candidate)
}

/// The reason, and the time from which on the key or certificate is suspected to be bad.
fn read_entry(entry: &RevokedCert) -> Result<(CrlReason, Option<OffsetDateTime>), String> {
    let extensions = entry.crl_entry_extensions.as_deref().unwrap_or_default();
    let (mut reason, mut invalid_since) = (CrlReason::Unspecified, None);
    for extension in extensions {
        let value = extension.extn_value.as_bytes();
        let failed = |error: der::Error| format!("an entry's extension {}: {error}", extension.extn_id);
        match extension.extn_id {
            oid::CRL_REASON => reason = CrlReason::from_der(value).map_err(failed)?,
            oid::INVALIDITY_DATE => {
                let date = GeneralizedTime::from_der(value).map_err(failed)?;
                invalid_since = Some(time_of(date.to_unix_duration()));
            }
            _ => {}
        }
    }
    Ok((reason, invalid_since))
}
