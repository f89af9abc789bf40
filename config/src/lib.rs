//! What an operator can say, as types: one TOML file read into values that are valid by construction, or a
//! report of *everything* that is wrong with it, each with its line.
//!
//! Invariants: no value of this crate's types breaks a rule its documentation states; relative paths are
//! relative to the file they stand in; nothing here reads the environment or opens what a path names.

mod administration;
mod alarms;
mod archive_packages;
mod audit;
mod callers;
mod change;
mod compat;
mod database;
mod device;
mod error;
mod inspections;
mod library;
mod names;
mod outbound;
mod own_names;
mod people;
mod policy;
mod query_certificates;
mod read;
mod retentions;
mod secret;
mod server;
mod stamp_evidence;
mod stamp_jobs;
mod status;
mod timestamps;
mod tls;
mod traces;
mod trust;

use std::path::{Path, PathBuf};

pub use administration::Administration;
pub use alarms::{AlarmRule, Alarms};
pub use archive_packages::ArchivePackages;
pub use audit::Audit;
pub use callers::Callers;
pub use change::{Change, Effect};
pub use compat::{Compat, CompatSystem};
pub use database::Database;
pub use device::{Device, Fleet, Isolation, OutputCheck};
pub use error::{ConfigError, Mistake};
pub use inspections::Inspections;
pub use library::Library;
pub use names::{
    AccountName, AccountNameError, AppId, AppIdError, DeviceId, GroupId, KeyId, MandateNumber, NameError,
    SealNumber, TemplateId,
};
pub use outbound::Outbound;
pub use own_names::OwnName;
pub use people::People;
pub use policy::Policy;
pub use query_certificates::QueryCertificates;
use read::Reader;
pub use retentions::Retentions;
pub use secret::Secret;
pub use server::{Ceremony, Documents, Server, Site};
pub use stamp_evidence::StampEvidence;
pub use stamp_jobs::StampJobs;
pub use status::{NationalStatus, Status};
pub use timestamps::{ClockWatch, OutsideAuthority, TimeServer, Timestamps};
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
    /// The national front's protocol.
    pub compat: Compat,
    /// How people sign in.
    pub people: People,
    /// How the site is changed.
    pub administration: Administration,
    /// What apps may sign that no rule speaks of.
    pub policy: Policy,
    /// When callers' behaviour is told to people.
    pub alarms: Alarms,
    /// What apps are told.
    pub outbound: Outbound,
    /// Documents that are stamped many at a time.
    pub stamp_jobs: StampJobs,
    /// The license library's files.
    pub library: Library,
    /// Licenses that apps keep as they were shown.
    pub retentions: Retentions,
    /// Where registration statuses come from.
    pub status: Status,
    /// Where traces go.
    pub traces: Traces,
    /// How keys are made and ended.
    pub ceremony: Ceremony,
    /// How the audit log is signed, kept and shown to others.
    pub audit: Audit,
    /// How documents that the gateway makes are set.
    pub documents: Documents,
    /// How query certificates are made, where they are.
    pub query_certificates: Option<QueryCertificates>,
    /// When inspections are made by themselves.
    pub inspections: Inspections,
    /// The timestamp authority.
    pub timestamps: Timestamps,
    /// What is kept so that stamps can be verified later.
    pub stamp_evidence: StampEvidence,
    /// Archive packages of stamps; none without the section.
    pub archive_packages: Option<ArchivePackages>,
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
            let compat = root.section("compat", |section| Compat::read(section, &site));
            let people = root.section("people", People::read);
            let administration =
                root.section("administration", |section| Administration::read(section, site.sandbox));
            let policy = root.section("policy", Policy::read);
            let alarms = root.section("alarms", Alarms::read);
            let outbound = root.section("outbound", Outbound::read);
            let stamp_jobs = root.section("stamp_jobs", StampJobs::read);
            let library = root.section("library", Library::read);
            let retentions = root.section("retentions", Retentions::read);
            let status = root.section("status", Status::read);
            let traces = root.section("traces", Traces::read);
            let ceremony = root.section("ceremony", |section| Ceremony::read(section, site.sandbox));
            let audit = root.section("audit", |section| Audit::read(section, site.sandbox, &trust.fetch));
            let documents = root.section("documents", Documents::read);
            let certifying = root.has("query_certificates");
            let query_certificates =
                certifying.then(|| root.section("query_certificates", QueryCertificates::read)).flatten();
            let inspections = root.section("inspections", Inspections::read);
            let timestamps =
                root.section("timestamps", |section| Timestamps::read(section, site.sandbox, &trust.fetch));
            let stamp_evidence = root
                .section("stamp_evidence", |section| StampEvidence::read(section, site.sandbox, &timestamps));
            let archiving = root.has("archive_packages");
            let archive_packages =
                archiving.then(|| root.section("archive_packages", ArchivePackages::read)).flatten();
            let fleet = root.section("fleet", Fleet::read);
            let devices = root.list("device", Device::read);
            root.finish();
            let config = Self {
                site,
                server,
                tls,
                database,
                trust,
                callers,
                compat,
                people,
                administration,
                policy,
                alarms,
                outbound,
                stamp_jobs,
                library,
                retentions,
                status,
                traces,
                ceremony,
                audit,
                documents,
                query_certificates,
                inspections,
                timestamps,
                stamp_evidence,
                archive_packages,
                fleet,
                devices: Vec::new(),
                folder: folder.to_owned(),
            };
            (config, devices)
        });
        let Some((config, devices)) = config else { return Err(reader.into_mistakes()) };
        let Self { site, server, tls, database, .. } = &config;
        device::check_all(&devices, &reader);
        server::check_together(site, server, &reader);
        tls::check_together(tls, server, &reader);
        database::check_together(site, database, &reader);
        let mistakes = reader.into_mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let devices = devices.into_iter().filter_map(|(_, device)| device).collect();
        Ok(Self { devices, ..config })
    }
}
