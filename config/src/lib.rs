//! What an operator can say, as types: one TOML file read into values that are valid by construction, or a
//! report of *everything* that is wrong with it, each with its line.
//!
//! Invariants: no value of this crate's types breaks a rule its documentation states; relative paths are
//! relative to the file they stand in; nothing here reads the environment or opens what a path names.

mod audit;
mod callers;
mod change;
mod database;
mod device;
mod error;
mod names;
mod read;
mod secret;
mod server;
mod tls;
mod traces;
mod trust;

use std::path::{Path, PathBuf};

pub use audit::Audit;
pub use callers::Callers;
pub use change::{Change, Effect};
pub use database::Database;
pub use device::{Device, Fleet, Isolation, OutputCheck};
pub use error::{ConfigError, Mistake};
pub use names::{AppId, DeviceId, GroupId, KeyId, NameError};
use read::Reader;
pub use secret::Secret;
pub use server::{Ceremony, Documents, Server, Site};
pub use tls::{ClientAuth, Tls, TlsVersion};
pub use traces::Traces;
pub use trust::{CrlSource, Fetch, OcspHash, OcspSource, PolicyId, Revocation, SourceUrl, Trust, TrustRules};

/// A whole site: how it listens, what it trusts, and the devices behind it.
#[derive(Debug, Clone)]
pub struct Config {
    /// What kind of site this is.
    pub site: Site,
    /// Listeners and the limits of a request.
    pub server: Server,
    /// What the HTTPS listeners have in common.
    pub tls: Tls,
    /// Where state lives.
    pub database: Database,
    /// What certificates are judged against.
    pub trust: Trust,
    /// How apps prove themselves.
    pub callers: Callers,
    /// Where traces go.
    pub traces: Traces,
    /// How keys are made and ended.
    pub ceremony: Ceremony,
    /// How the audit log is signed, kept and shown to others.
    pub audit: Audit,
    /// How documents that the gateway makes are set.
    pub documents: Documents,
    /// How devices are used.
    pub fleet: Fleet,
    /// The devices, in the file's order; ids are unique and there is at least one.
    pub devices: Vec<Device>,
    /// The folder the file stands in.
    pub folder: PathBuf,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, or [`ConfigError::Mistakes`] with all of them in the file's order.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = std::path::absolute(folder)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, &folder)
            .map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }

    /// Checks a file's text; relative paths are taken from `folder`.
    ///
    /// # Errors
    /// Every mistake of the text, ordered by line.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(text, folder);
        let config = reader.root().map(|mut root| {
            let site = root.section("site", Site::read);
            let server = root.section("server", Server::read);
            let tls = root.section("tls", Tls::read);
            let database = root.section("database", Database::read);
            let trust = root.section("trust", Trust::read);
            let callers = root.section("callers", |section| Callers::read(section, &site));
            let traces = root.section("traces", Traces::read);
            let ceremony = root.section("ceremony", |section| Ceremony::read(section, site.sandbox));
            let audit = root.section("audit", |section| Audit::read(section, site.sandbox, &trust.fetch));
            let documents = root.section("documents", Documents::read);
            let fleet = root.section("fleet", Fleet::read);
            let devices = root.list("device", Device::read);
            root.finish();
            (site, server, tls, database, trust, callers, traces, ceremony, audit, documents, fleet, devices)
        });
        let Some((
            site,
            server,
            tls,
            database,
            trust,
            callers,
            traces,
            ceremony,
            audit,
            documents,
            fleet,
            devices,
        )) = config
        else {
            return Err(reader.into_mistakes());
        };
        device::check_all(&devices, &reader);
        server::check_together(&site, &server, &reader);
        tls::check_together(&tls, &server, &reader);
        database::check_together(&site, &database, &reader);
        let mistakes = reader.into_mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let devices = devices.into_iter().filter_map(|(_, device)| device).collect();
        Ok(Self {
            site,
            server,
            tls,
            database,
            trust,
            callers,
            traces,
            ceremony,
            audit,
            documents,
            fleet,
            devices,
            folder: folder.to_owned(),
        })
    }
}
