//! The files that a configuration names, read whole before any of them is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use formats::chain::TrustStore;
use formats::scheme::HashAlgorithm;
use formats::{Certificate, Crl, FormatError};
use rustls::ServerConfig;

use crate::error::StartupError;
use crate::tls;

/// What TLS and trust files hold.
pub(crate) struct Material {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// What documents are judged against.
    pub(crate) documents: TrustStore,
    /// What licenses are judged against.
    pub(crate) licenses: TrustStore,
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
        let mut reader = Reader::default();
        let tls = match (&config.server.tls_certificate, &config.server.tls_key) {
            (Some(certificate), Some(key)) if config.server.https.is_some() => reader.tls(certificate, key),
            _ => None,
        };
        let trust = &config.trust;
        let mut store = |field, anchors: &[PathBuf]| {
            let anchors = reader.pem(field, anchors, Certificate::many_from_pem);
            let intermediates =
                reader.pem("trust.intermediates", &trust.intermediates, Certificate::many_from_pem);
            let crls = reader.pem("trust.crls", &trust.crls, Crl::many_from_pem);
            TrustStore::new(anchors, intermediates, crls)
        };
        let documents = store("trust.anchors", &trust.anchors);
        let licenses = store("trust.license_anchors", &trust.license_anchors);
        // One set of tables, and one bound on them, for the keys of both.
        let licenses = licenses.with_verifier(Arc::clone(documents.verifier()));
        let Reader { digests, mut unusable } = reader;
        // Both stores read intermediates and revocation lists.
        unusable.dedup_by_key(|unusable| unusable.to_string());
        if unusable.is_empty() { Ok(Self { tls, documents, licenses, digests }) } else { Err(unusable) }
    }
}

#[derive(Default)]
struct Reader {
    digests: Digests,
    unusable: Vec<Unusable>,
}

impl Reader {
    fn tls(&mut self, certificate: &Path, key: &Path) -> Option<Arc<ServerConfig>> {
        const FIELD: &str = "server.tls_certificate";
        let octets = std::fs::read(certificate).unwrap_or_default(); // an unreadable file is reported just below
        self.digests.0.insert(FIELD, HashAlgorithm::Sm3.digest(&octets).to_vec());
        let read = tls::server_config(certificate, key);
        read.map_err(|reason| self.unusable.push(Unusable { field: FIELD, reason })).ok()
    }

    /// The files that a path stands for: itself, or those in a folder, by name. What begins with a dot is passed
    /// over, so that a file can be written beside its place and renamed into it.
    fn files(&mut self, field: &'static str, path: &Path) -> Vec<PathBuf> {
        if !path.is_dir() {
            return vec![path.to_owned()];
        }
        let listed = std::fs::read_dir(path).and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<std::io::Result<Vec<_>>>()
        });
        let mut files = listed.unwrap_or_else(|error| {
            self.unusable.push(Unusable { field, reason: StartupError::file(path, error) });
            Vec::new()
        });
        let hidden =
            |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        files.retain(|path| !hidden(path) && path.is_file());
        files.sort();
        files
    }

    fn pem<T>(
        &mut self,
        field: &'static str,
        paths: &[PathBuf],
        parse: impl Fn(&str) -> Result<Vec<T>, FormatError>,
    ) -> Vec<T> {
        let (mut all, mut texts) = (Vec::new(), String::new());
        let files: Vec<PathBuf> = paths.iter().flat_map(|path| self.files(field, path)).collect();
        for path in &files {
            let read = std::fs::read_to_string(path).map_err(|error| StartupError::file(path, error));
            let parsed = read.and_then(|text| {
                texts.push_str(&text);
                parse(&text).map_err(|error| StartupError::file(path, error))
            });
            match parsed {
                Ok(parsed) => all.extend(parsed),
                Err(reason) => self.unusable.push(Unusable { field, reason }),
            }
        }
        self.digests.0.insert(field, HashAlgorithm::Sm3.digest(texts.as_bytes()).to_vec());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_files_and_one_bad_file_spoils_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let read = || {
            let mut reader = Reader::default();
            let paths = [folder.path().to_owned()];
            let count = reader.pem("trust.anchors", &paths, Certificate::many_from_pem).len();
            (count, reader.unusable.len(), reader.digests)
        };
        let options =
            certs_test::Options { seed: [1; 32], at: time::macros::datetime!(2026-01-01 00:00 UTC) };
        let sandbox = certs_test::generate(&options).unwrap();
        let pem = |index: usize| Certificate::from_der(&sandbox.authorities[index].root).unwrap().to_pem();
        write("a.pem", &pem(0));
        write(".b.pem.part", "not written yet");
        let (count, unusable, first) = read();
        assert_eq!((count, unusable), (1, 0));
        write("b.pem", &pem(1));
        let (count, unusable, second) = read();
        assert_eq!((count, unusable), (2, 0));
        assert_eq!(first.changes_to(&second), ["trust.anchors"]);
        write("c.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(read().1, 1);
    }
}
