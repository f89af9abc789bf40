//! The files that a configuration names, read whole before any of them is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::Config;
use formats::scheme::HashAlgorithm;
use rustls::ServerConfig;

use crate::error::StartupError;
use crate::tls;
use crate::trust::files::TrustFiles;

/// What TLS and trust files hold.
pub(crate) struct Material {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// What certificates are judged against.
    pub(crate) trust: TrustFiles,
    /// Of the TLS files.
    pub(crate) digests: Digests,
}

/// Of each field the digest of its files, to tell whether they hold something else the next time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digests(BTreeMap<&'static str, Vec<u8>>);

impl Digests {
    /// The fields whose files hold something else in `next`.
    pub(crate) fn changes_to(&self, next: &Self) -> Vec<&'static str> {
        let fields = next.0.iter().filter(|(field, digest)| self.0.get(*field) != Some(*digest));
        fields.map(|(field, _)| *field).collect()
    }

    /// Remembers what a field's files hold.
    pub(crate) fn note(&mut self, field: &'static str, content: &[u8]) {
        self.0.insert(field, HashAlgorithm::Sm3.digest(content));
    }
}

/// A file that cannot be used, and the field that names it.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) field: &'static str,
    pub(crate) reason: StartupError,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl Material {
    /// Reads all files; blocks while it does.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(crate) fn read(config: &Config) -> Result<Self, Vec<Unusable>> {
        let (mut digests, mut unusable) = (Digests::default(), Vec::new());
        let tls = match (&config.server.tls_certificate, &config.server.tls_key) {
            (Some(certificate), Some(key)) if config.server.https.is_some() => {
                let read = read_tls(certificate, key, &mut digests);
                read.map_err(|reason| unusable.push(Unusable { field: TLS, reason })).ok()
            }
            _ => None,
        };
        match TrustFiles::read(&config.trust) {
            Ok(trust) if unusable.is_empty() => Ok(Self { tls, trust, digests }),
            Ok(_) => Err(unusable),
            Err(others) => Err([unusable, others].into_iter().flatten().collect()),
        }
    }
}

const TLS: &str = "server.tls_certificate";

fn read_tls(
    certificate: &Path,
    key: &Path,
    digests: &mut Digests,
) -> Result<Arc<ServerConfig>, StartupError> {
    digests.note(TLS, &std::fs::read(certificate).unwrap_or_default()); // an unreadable file is reported just below
    tls::server_config(certificate, key)
}
