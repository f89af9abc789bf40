//! The client certificate of the connection. That it chains to an anchor, is in date and not revoked was the TLS
//! listener's to find out; here is said which app it belongs to.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::request::Parts;
use config::OwnName;
use formats::Certificate;
use store::CredentialKind;
use time::OffsetDateTime;

use super::register::{KnownApp, KnownCredential, Register};
use super::throttle::Attempt;
use super::{Proved, admitted};
use crate::client_certificate::ClientChain;
use crate::problem::Problem;

/// A connection's client certificate, as the listener verified it.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    /// The certificate in DER.
    pub(crate) der: Arc<[u8]>,
}

impl ClientCertificate {
    /// SHA-256 of it, as RFC 8705 binds tokens to it.
    pub(crate) fn thumbprint(&self) -> [u8; 32] {
        thumbprint(&self.der)
    }
}

/// SHA-256 of a certificate in DER.
pub(crate) fn thumbprint(der: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, der).as_ref());
    octets
}

/// The client certificate of the request's connection.
pub(crate) fn certificate(parts: &Parts) -> Option<ClientCertificate> {
    let chain = parts.extensions.get::<ClientChain>()?;
    chain.certificates().first().map(|own| ClientCertificate { der: Arc::from(own.as_ref()) })
}

pub(crate) fn prove(
    certificate: &ClientCertificate,
    register: &Register,
    attempt: &mut Attempt,
) -> Result<Proved, Problem> {
    attempt.claims(OwnName::Certificate.as_str());
    let at = OffsetDateTime::now_utc();
    let (app, known) = whose(certificate, register, at).ok_or_else(Problem::certificate_unknown)?;
    crate::request_id::note_credential(&known.credential.id);
    attempt.proved(&app.app.id);
    admitted(app, at)?;
    Ok(Proved { app: Arc::clone(app), restricted: None })
}

/// The app that a certificate proves now: one that names exactly it before one that names its names.
pub(crate) fn whose<'r>(
    certificate: &ClientCertificate,
    register: &'r Register,
    at: OffsetDateTime,
) -> Option<(&'r Arc<KnownApp>, &'r KnownCredential)> {
    let parsed = Certificate::from_der(&certificate.der).ok()?;
    // A connection may outlive the certificate it was opened with.
    if at < parsed.not_before() || at > parsed.not_after() {
        return None;
    }
    let is_certificate =
        |found: &(_, &KnownCredential)| found.1.credential.material.kind() == CredentialKind::Certificate;
    let by_digest = register.by_digest(&certificate.thumbprint()).filter(is_certificate);
    let found = by_digest
        .or_else(|| register.by_names(parsed.issuer_der().to_vec(), parsed.subject_der().to_vec()))?;
    found.1.credential.holds_at(at).then_some(found)
}
