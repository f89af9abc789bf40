//! The files that a configuration names, read whole before any of them is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::Config;
use formats::font::Font;
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
    /// What reports are set in.
    pub(crate) font: Font,
    /// Of the TLS files and the font.
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
        let font = match &config.documents.font {
            Some(path) => {
                let read = read_font(path, config.documents.font_face, &mut digests);
                read.map_err(|reason| unusable.push(Unusable { field: FONT, reason })).ok()
            }
            None => None,
        };
        let font = font.unwrap_or_else(|| Font::built_in().clone());
        match TrustFiles::read(&config.trust) {
            Ok(trust) if unusable.is_empty() => Ok(Self { tls, trust, font, digests }),
            Ok(_) => Err(unusable),
            Err(others) => Err([unusable, others].into_iter().flatten().collect()),
        }
    }
}

const TLS: &str = "server.tls_certificate";
const FONT: &str = "documents.font";

fn read_font(path: &Path, face: u32, digests: &mut Digests) -> Result<Font, StartupError> {
    let octets = std::fs::read(path).map_err(|error| StartupError::file(path, error))?;
    digests.note(FONT, &octets);
    Font::of_site(octets, face).map_err(|error| StartupError::file(path, error))
}

fn read_tls(
    certificate: &Path,
    key: &Path,
    digests: &mut Digests,
) -> Result<Arc<ServerConfig>, StartupError> {
    digests.note(TLS, &std::fs::read(certificate).unwrap_or_default()); // an unreadable file is reported just below
    tls::server_config(certificate, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_font_that_cannot_be_used_is_said_and_one_that_can_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("font.otf");
        let mut digests = Digests::default();
        assert!(read_font(&file, 0, &mut digests).is_err());
        std::fs::write(&file, "no font").unwrap();
        let said = read_font(&file, 0, &mut digests).err().unwrap().to_string();
        assert!(said.contains("font.otf") && said.contains("no OpenType font"), "{said}");
        let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../formats/fonts/NotoSansSC-GB2312.otf");
        let before = digests.clone();
        assert!(read_font(Path::new(built_in), 0, &mut digests).is_ok());
        assert_eq!(before.changes_to(&digests), [FONT]);
    }
}
