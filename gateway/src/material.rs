//! The files that a configuration names, read whole before any of them is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use formats::Crl;
use formats::font::Font;
use formats::scheme::HashAlgorithm;
use verify_front::DecisionTable;

use crate::error::StartupError;
use crate::tls::{Fault, TlsFiles, TlsSet};
use crate::tls_device::TlsDevices;
use crate::trust::files::{self, TrustFiles};

/// What TLS and trust files hold.
pub(crate) struct Material {
    pub(crate) tls: Option<Arc<TlsSet>>,
    /// What certificates are judged against.
    pub(crate) trust: TrustFiles,
    /// What reports are set in.
    pub(crate) font: Font,
    /// Which status permits what.
    pub(crate) decisions: Arc<DecisionTable>,
    /// Of the TLS files, the font and that table.
    pub(crate) digests: Digests,
}

/// Of each field the digest of its files, to tell whether they hold something else the next time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Digests(BTreeMap<&'static str, Vec<u8>>);

impl Digests {
    /// The fields whose files hold something else in `next`.
    pub(crate) fn changes_to(&self, next: &Self) -> Vec<&'static str> {
        let fields = next.0.iter().filter(|(field, digest)| self.0.get(*field) != Some(*digest));
        fields.map(|(field, _)| *field).collect()
    }

    /// Takes over what `next` has of the fields that it names.
    pub(crate) fn update(&mut self, next: Self) {
        self.0.extend(next.0);
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
    pub(crate) fn read(config: &Config, devices: &Arc<TlsDevices>) -> Result<Self, Vec<Unusable>> {
        let mut reader = TlsReader::default();
        let tls = reader.set(config, devices);
        let TlsReader { mut digests, mut unusable } = reader;
        let font = match &config.documents.font {
            Some(path) => {
                let read = read_font(path, config.documents.font_face, &mut digests);
                read.map_err(|reason| unusable.push(Unusable { field: FONT, reason })).ok()
            }
            None => None,
        };
        let font = font.unwrap_or_else(|| Font::built_in().clone());
        let decisions = read_decisions(config.status.decisions.as_deref(), &mut digests);
        let decisions = decisions.map_err(|reason| unusable.push(Unusable { field: DECISIONS, reason })).ok();
        match (TrustFiles::read(&config.trust), decisions) {
            (Ok(trust), Some(decisions)) if unusable.is_empty() => {
                Ok(Self { tls, trust, font, decisions: Arc::new(decisions), digests })
            }
            (Ok(_), _) => Err(unusable),
            (Err(others), _) => Err([unusable, others].into_iter().flatten().collect()),
        }
    }
}

const FONT: &str = "documents.font";
const DECISIONS: &str = "status.decisions";

/// The site's table of decisions, or the one that comes with the gateway.
pub(crate) fn read_decisions(
    path: Option<&Path>,
    digests: &mut Digests,
) -> Result<DecisionTable, StartupError> {
    let Some(path) = path else {
        let built_in = DecisionTable::built_in();
        return built_in.map_err(|error| StartupError::file(Path::new("(built in)"), error));
    };
    let text = std::fs::read_to_string(path).map_err(|error| StartupError::file(path, error))?;
    digests.note(DECISIONS, text.as_bytes());
    DecisionTable::parse(&text).map_err(|error| StartupError::file(path, error))
}

fn read_font(path: &Path, face: u32, digests: &mut Digests) -> Result<Font, StartupError> {
    let octets = std::fs::read(path).map_err(|error| StartupError::file(path, error))?;
    digests.note(FONT, &octets);
    Font::of_site(octets, face).map_err(|error| StartupError::file(path, error))
}

/// The HTTPS listeners' files alone: what they hold, and their digests.
///
/// # Errors
/// Every file that cannot be used, beside the digests of what was read.
pub(crate) fn read_tls(
    config: &Config,
    devices: &Arc<TlsDevices>,
) -> (Result<Option<Arc<TlsSet>>, Vec<Unusable>>, Digests) {
    let mut reader = TlsReader::default();
    let tls = reader.set(config, devices);
    let read = if reader.unusable.is_empty() { Ok(tls) } else { Err(reader.unusable) };
    (read, reader.digests)
}

#[derive(Default)]
struct TlsReader {
    digests: Digests,
    unusable: Vec<Unusable>,
}

impl TlsReader {
    /// What the HTTPS listeners need, if there is one.
    fn set(&mut self, config: &Config, devices: &Arc<TlsDevices>) -> Option<Arc<TlsSet>> {
        let server = &config.server;
        server.https.or(server.mutual).or(server.admin)?;
        let files = TlsFiles {
            certificate: self.octets("server.tls_certificate", server.tls_certificate.as_slice()),
            key: self.octets("server.tls_key", server.tls_key.as_slice()),
            client_anchors: self.octets("tls.client_anchors", &config.tls.client_anchors),
            client_crls: self.crls(&config.tls.client_crls),
        };
        if !self.unusable.is_empty() {
            return None;
        }
        match TlsSet::new(config, &files, devices) {
            Ok(set) => Some(Arc::new(set)),
            Err(Fault { field, reason }) => {
                let named = match field {
                    "server.tls_key" => server.tls_key.as_deref(),
                    "server.tls_certificate" => server.tls_certificate.as_deref(),
                    _ => None,
                };
                let reason = StartupError::file(named.unwrap_or(Path::new("(configuration)")), reason);
                self.unusable.push(Unusable { field, reason });
                None
            }
        }
    }

    /// The revocation lists, PEM or DER. A path that holds none is at fault: without a list nobody's revocation is
    /// judged, and a file that was cut short must not bring that about.
    fn crls(&mut self, paths: &[PathBuf]) -> Vec<Crl> {
        const FIELD: &str = "tls.client_crls";
        let (mut all, mut content) = (Vec::new(), Vec::new());
        for path in paths {
            let before = all.len();
            let read = files::listed(path).map_err(|error| error.to_string()).and_then(|files| {
                files.iter().try_for_each(|file| {
                    let octets = files::read(file).map_err(|error| error.to_string())?;
                    content.extend(HashAlgorithm::Sha256.digest(&octets));
                    let (_, crls) = files::entries(&octets).map_err(|error| error.to_string())?;
                    all.extend(crls);
                    Ok(())
                })
            });
            let nothing = || Err("there is no certificate revocation list in it".to_owned());
            if let Err(reason) = read.and_then(|()| if all.len() > before { Ok(()) } else { nothing() }) {
                self.unusable.push(Unusable { field: FIELD, reason: StartupError::file(path, reason) });
            }
        }
        self.digests.note(FIELD, &content);
        all
    }

    /// The files one after another, as they are.
    fn octets(&mut self, field: &'static str, paths: &[PathBuf]) -> Vec<u8> {
        let mut all = Vec::new();
        for path in paths {
            let read = files::listed(path).and_then(|files| {
                files.iter().try_for_each(|file| {
                    all.extend(files::read(file)?);
                    all.push(b'\n');
                    Ok(())
                })
            });
            if let Err(error) = read {
                self.unusable.push(Unusable { field, reason: StartupError::file(path, error) });
            }
        }
        self.digests.note(field, &all);
        all
    }
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
