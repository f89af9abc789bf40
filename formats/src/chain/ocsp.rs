//! What OCSP responses say about a certificate (RFC 6960, 3.2).

use std::collections::HashMap;
use std::sync::Arc;

use x509_cert::ext::pkix::{CrlReason, ExtendedKeyUsage, KeyUsage};

use super::revocation::{AGE_OF_OPEN_RESPONSE, Freshness, Word, freshness};
use super::search::Search;
use super::{JudgedTime, crl, rules, stamp, subject_of};
use crate::ocsp::{OcspResponse, Status};
use crate::oid;
use crate::verdict::Verdict;
use crate::x509::Certificate;

/// OCSP responses, found by the serial numbers they speak of: there may be one for each of thousands of certificates.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    all: Vec<Arc<OcspResponse>>,
    by_serial: HashMap<Vec<u8>, Vec<usize>>,
}

impl Answers {
    pub(super) fn new(all: Vec<Arc<OcspResponse>>) -> Self {
        let mut by_serial: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, response) in all.iter().enumerate() {
            for serial in response.serials() {
                let places = by_serial.entry(serial.to_vec()).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        Self { all, by_serial }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<OcspResponse>> {
        self.all.iter()
    }

    /// Those that speak of certificates with this serial number, in their order.
    fn with_serial(&self, serial: &[u8]) -> impl Iterator<Item = &OcspResponse> {
        let places = self.by_serial.get(serial).map_or(&[][..], Vec::as_slice);
        places.iter().map(|&place| &*self.all[place])
    }
}

/// Lets the responses speak about the first certificate of `path`, which goes on to its issuer and the
/// anchor.
pub(super) fn ask<'a>(search: &mut Search<'a>, path: &[&'a Certificate], word: &mut Word) {
    let &[certificate, issuer, ..] = path else { return };
    let trust = search.trust;
    let serial = certificate.inner().tbs_certificate.serial_number.as_bytes();
    for response in trust.ocsp.with_serial(serial) {
        let mut responses = response.about(certificate, issuer).peekable();
        if responses.peek().is_none() {
            continue;
        }
        let subject = subject_of(certificate);
        let mut object = |code, detail: String| {
            word.obstacles.indeterminate(code, format!("an OCSP response for {subject}: {detail}"));
        };
        if let Err(detail) = check_signature(search, response, path) {
            object("ocsp_signature_invalid", detail);
            continue;
        }
        for one in responses {
            if let Some(unknown) = response.critical_extension().or_else(|| one.critical_extension()) {
                word.obstacles.indeterminate(
                    "ocsp_not_supported",
                    format!("an OCSP response for {subject} has the critical extension {unknown}, not known"),
                );
                continue;
            }
            let told = one.this_update();
            match one.status() {
                Status::Revoked { at, reason: CrlReason::CertificateHold } => word.hold(told, at),
                Status::Revoked { at, reason } => word.revoke(at, reason),
                Status::Unknown => word.obstacles.indeterminate(
                    "ocsp_status_unknown",
                    format!("the OCSP responder does not know {subject}"),
                ),
                Status::Good => {
                    word.not_held(told);
                    let next = one.next_update();
                    let detail = || format!("the OCSP response for {subject} is of {}", stamp(told));
                    match freshness(trust.revocation, told, next, Some(AGE_OF_OPEN_RESPONSE), search.at) {
                        Freshness::Fresh => word.good = true,
                        Freshness::InGrace => word.in_grace.note("ocsp_overdue", detail()),
                        Freshness::Stale => word.obstacles.indeterminate("ocsp_stale", detail()),
                    }
                }
            }
        }
    }
}

/// The issuer signs itself, or whom it has certified for that (RFC 6960, 4.2.2.2).
pub(super) fn check_signature<'a>(
    search: &mut Search<'a>,
    response: &'a OcspResponse,
    path: &[&'a Certificate],
) -> Result<(), String> {
    let &[_, issuer, ..] = path else { return Err("there is no issuer".to_owned()) };
    let trust = search.trust;
    let verify = |signer: &Certificate| {
        let key = signer.key();
        key.and_then(|key| response.verify_signature_with(key, Some(&trust.verifier)))
            .map_err(|error| error.to_string())
    };
    if response.is_from(issuer) && verify(issuer).is_ok() {
        return Ok(());
    }
    let delegates = response.certificates().iter().chain(search.certificates());
    let delegates = delegates.filter(|d| response.is_from(d) && d.issuer_name() == issuer.subject_name());
    let mut objection = "it is signed neither by the issuer nor by a responder of its".to_owned();
    for delegate in delegates {
        if !search.step() {
            break;
        }
        let checked = verify(delegate).and_then(|()| check_delegate(search, response, delegate, path));
        match checked {
            Ok(()) => return Ok(()),
            Err(detail) => objection = detail,
        }
    }
    Err(objection)
}

/// Has the issuer certified `delegate` for signing OCSP responses?
fn check_delegate<'a>(
    search: &mut Search<'a>,
    response: &OcspResponse,
    delegate: &'a Certificate,
    path: &[&'a Certificate],
) -> Result<(), String> {
    let &[_, issuer, ..] = path else { return Err("there is no issuer".to_owned()) };
    let subject = subject_of(delegate);
    let text = |error: crate::FormatError| format!("its signer {subject}: {error}");
    let key = issuer.key().map_err(text)?;
    delegate.verify_signature_with(key, Some(&search.trust.verifier)).map_err(text)?;
    let purposes: Option<ExtendedKeyUsage> = delegate.extension(oid::EXT_KEY_USAGE).map_err(text)?;
    let usage: Option<KeyUsage> = delegate.extension(oid::KEY_USAGE).map_err(text)?;
    let signs = usage.is_none_or(|usage| usage.digital_signature() || usage.non_repudiation());
    if !signs || !purposes.is_some_and(|purposes| purposes.0.contains(&oid::OCSP_SIGNING)) {
        return Err(format!("its signer {subject} is not certified for OCSP"));
    }
    let produced = JudgedTime::new(response.produced_at());
    if rules::any(delegate, search.license, &produced).verdict != Verdict::Valid {
        return Err(format!("its signer {subject} was not valid when it was made"));
    }
    // id-pkix-ocsp-nocheck; without it CRLs may speak against the responder, not OCSP itself.
    let exempt: Option<der::asn1::Null> = delegate.extension(oid::OCSP_NO_CHECK).map_err(text)?;
    if exempt.is_none() {
        let mut about_delegate = Word::default();
        let mut own_path = vec![delegate];
        own_path.extend(&path[1..]);
        crl::ask(search, &own_path, &mut about_delegate);
        if about_delegate.revocation().is_some_and(|(when, _)| !search.at.is_before(when)) {
            return Err(format!("its signer {subject} is revoked"));
        }
    }
    Ok(())
}
