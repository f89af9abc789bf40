use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use crate::Site;
use crate::read::{Reader, Section};

const SQLITE: &str = "sqlite://";

/// Where state lives.
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite://FILE` (relative to the configuration's folder, resolved here) or
    /// `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`. Never holds a password.
    pub url: String,
    /// The file with the password for PostgreSQL, on one line; without one the server must not ask for any.
    pub password_file: Option<PathBuf>,
    /// A statement, or a wait for a connection, that takes longer is counted and logged. Default 500 ms.
    pub slow_statement: Duration,
}

impl Database {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let url = section.required_text("url");
        let password_file = section.file("password_file");
        let url = match url.strip_prefix(SQLITE) {
            Some("") => {
                section.mistake("url", "sqlite:// needs a file name");
                url
            }
            Some(file) => format!("{SQLITE}{}", section.folder().join(file).display()),
            None if url.is_empty() => url,
            None => match server(&url, section.folder()) {
                Ok(url) => url.into(),
                Err(mistake) => {
                    section.mistake("url", mistake);
                    url
                }
            },
        };
        if password_file.is_some() && url.starts_with(SQLITE) {
            section.mistake("password_file", "is for postgres:// only");
        }
        let slow_statement = section.milliseconds("slow_statement_ms", 500, 1..=60_000);
        Self { url, password_file, slow_statement }
    }

    /// Whether it is a server that several gateways can share, rather than a file of one gateway's own.
    #[must_use]
    pub fn is_server(&self) -> bool {
        !self.url.starts_with(SQLITE)
    }
}

/// Checks the address of a PostgreSQL server; relative files of it are taken from `folder`. A mistake never repeats
/// the address, which may hold a password.
fn server(text: &str, folder: &Path) -> Result<Url, &'static str> {
    const FORM: &str = "must begin with sqlite:// or be like postgres://user@host/database";
    let mut url = Url::parse(text).map_err(|_| FORM)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(FORM);
    }
    if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
        return Err("holds a password: it belongs into the file that database.password_file names");
    }
    if url.username().is_empty() || url.path().trim_matches('/').is_empty() {
        return Err("must name a user and a database");
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let mut resolved = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "sslrootcert" | "sslcert" | "sslkey" => {
                resolved.push((name, folder.join(value).display().to_string()));
            }
            "sslmode" if matches!(value.as_str(), "disable" | "require" | "verify-ca" | "verify-full") => {
                resolved.push((name, value));
            }
            // `prefer` and `allow` do without TLS when somebody on the way wants it so.
            "sslmode" => return Err("sslmode must be one of: disable, require, verify-ca, verify-full"),
            "host" => resolved.push((name, value)),
            _ => return Err("may have the parameters host, sslmode, sslrootcert, sslcert and sslkey only"),
        }
    }
    url.set_query(None);
    if !resolved.is_empty() {
        url.query_pairs_mut().extend_pairs(resolved);
    }
    Ok(url)
}

/// Whether what is sent to the server stays on this machine.
fn is_near(url: &Url) -> bool {
    if let Some((_, host)) = url.query_pairs().find(|(name, _)| name == "host") {
        return host.starts_with('/') || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    }
    match url.host() {
        Some(Host::Domain(name)) => {
            name == "localhost"
                || name.starts_with("%2F")
                || name.starts_with("%2f")
                || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    }
}

/// A server elsewhere is spoken to over TLS, and outside a sandbox its certificate is verified.
pub(crate) fn check_together(site: &Site, database: &Database, reader: &Reader<'_>) {
    // One that cannot be read is a mistake already.
    let Ok(url) = Url::parse(&database.url) else { return };
    if !matches!(url.scheme(), "postgres" | "postgresql") || is_near(&url) {
        return;
    }
    let mode = url.query_pairs().find(|(name, _)| name == "sslmode").map(|(_, mode)| mode.into_owned());
    let verified = matches!(mode.as_deref(), Some("verify-ca" | "verify-full"));
    let accepted = verified || (site.sandbox && mode.is_some());
    if !accepted {
        let message = "database.url: a server on another machine needs sslmode=verify-full (or verify-ca)";
        reader.mistake_at(0, message.to_owned());
    }
}
