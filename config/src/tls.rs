use std::path::PathBuf;
use std::time::Duration;

use crate::names::KeyId;
use crate::read::{Reader, Section};
use crate::server::Server;

/// Whether a listener asks its callers for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not.
    Off,
    /// It asks, and lets in who shows none. One that is shown must hold.
    Optional,
    /// It lets nobody in without one that holds.
    Required,
}

/// The oldest protocol that the HTTPS listeners speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}

/// What the HTTPS listeners have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The oldest protocol spoken. Default 1.3.
    pub minimum: TlsVersion,
    /// Cipher suites by IANA's names, best first; all that are sound when empty.
    pub suites: Vec<String>,
    /// The key of purpose `tls` in the devices that proves the certificate; instead of a key file.
    pub key: Option<KeyId>,
    /// Longest time for a handshake's signature by a device. Default 1 s.
    pub sign_timeout: Duration,
    /// How often the files are looked at for a change; never when zero. Default 10 s.
    pub watch: Duration,
    /// Roots of clients' certificates.
    pub client_anchors: Vec<PathBuf>,
    /// Revocation lists for clients' chains. With one, every authority of a chain needs a list that has not expired;
    /// without any, revocation is not judged.
    pub client_crls: Vec<PathBuf>,
}

/// The words of a field of [`ClientAuth`].
pub(crate) const CLIENT_AUTH: [(&str, ClientAuth); 3] =
    [("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];

impl Tls {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let key = section
            .text("key")
            .map(KeyId::parse)
            .and_then(|parsed| parsed.map_err(|error| section.mistake("key", &error.to_string())).ok());
        Self {
            minimum: section.choice("minimum", &versions, TlsVersion::Tls13),
            suites: section.strings("suites", "cipher suites"),
            key,
            sign_timeout: section.milliseconds("sign_timeout_ms", 1_000, 10..=60_000),
            watch: section.milliseconds("watch_ms", 10_000, 0..=3_600_000),
            client_anchors: section.files("client_anchors"),
            client_crls: section.files("client_crls"),
        }
    }
}

/// What the TLS section and the listeners want of each other.
pub(crate) fn check_together(tls: &Tls, server: &Server, reader: &Reader<'_>) {
    let mistake = |message: &str| reader.mistake_at(0, message.to_owned());
    let speaks_tls = server.https.is_some() || server.mutual.is_some() || server.admin.is_some();
    if speaks_tls {
        if server.tls_certificate.is_none() {
            mistake("server.tls_certificate: is required with https, mutual and admin");
        }
        match (&server.tls_key, &tls.key) {
            (None, None) => {
                mistake("server.tls_key: is required with https, mutual and admin, or tls.key in its place");
            }
            (Some(_), Some(_)) => mistake("tls.key: not together with server.tls_key"),
            _ => {}
        }
    }
    let asks = server.mutual.is_some()
        || server.client_auth != ClientAuth::Off
        || server.admin_client_auth != ClientAuth::Off;
    if asks && tls.client_anchors.is_empty() {
        mistake("tls.client_anchors: is required where clients are asked for certificates");
    }
}
