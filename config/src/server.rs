use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::read::{Reader, Section};

/// What kind of site this is.
#[derive(Debug, Clone)]
pub struct Site {
    /// A name for logs and reports.
    pub name: String,
    /// Test identities, `x-api-key` and plain HTTP are admitted; never true where real licenses are judged.
    pub sandbox: bool,
    /// This gateway's name among those on the same database: 1 to 64 characters. Default `gateway`.
    pub replica: String,
}

/// Listeners and the limits of a request.
#[derive(Debug, Clone)]
pub struct Server {
    /// Plain HTTP: only in a sandbox and only on a loopback address.
    pub http: Option<SocketAddr>,
    /// HTTPS (TLS 1.3).
    pub https: Option<SocketAddr>,
    /// PEM chain of the HTTPS listener, server certificate first.
    pub tls_certificate: Option<PathBuf>,
    /// PEM private key (PKCS#8) of that certificate.
    pub tls_key: Option<PathBuf>,
    /// Largest request body, octets. Default 1 MiB.
    pub body_limit: usize,
    /// How long a client may take to send a request's head and body, each. Default 10 s.
    pub read_timeout: Duration,
    /// How long a request may take once it is here, whatever it waits for; operators' acts apart. Default 10 s.
    pub request_deadline: Duration,
    /// Requests being worked on at once; one more is answered 503 at once. Default 4,096.
    pub max_in_flight: usize,
    /// Open connections; one more waits until another closes. Default 10,000.
    pub max_connections: usize,
    /// How long a stop waits for what is in flight. Default 20 s.
    pub shutdown_grace: Duration,
}

/// How keys are made and ended.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// How many custodians must confirm a key ceremony. Default 2, and not fewer outside a sandbox.
    pub confirmations: u32,
}

/// How documents that the gateway makes are set.
#[derive(Debug, Clone)]
pub struct Documents {
    /// A font (OpenType) with more characters than the one that is built in.
    pub font: Option<PathBuf>,
    /// Which face of it, if it is a collection. Default 0.
    pub font_face: u32,
}

impl Site {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self {
            name: section.text("name").unwrap_or("license-gateway").to_owned(),
            sandbox: section.boolean("sandbox", false),
            replica: replica(section),
        }
    }
}

fn replica(section: &mut Section<'_>) -> String {
    let name = section.text("replica").unwrap_or("gateway");
    if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        section.mistake("replica", "must be 1 to 64 characters");
    }
    name.to_owned()
}

impl Server {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let server = Self {
            http: section.address("http"),
            https: section.address("https"),
            tls_certificate: section.file("tls_certificate"),
            tls_key: section.file("tls_key"),
            body_limit: usize::try_from(section.integer("body_limit", 1 << 20, 1024..=64 << 20))
                .unwrap_or(1 << 20),
            read_timeout: section.milliseconds("read_timeout_ms", 10_000, 100..=600_000),
            request_deadline: section.milliseconds("request_deadline_ms", 10_000, 100..=600_000),
            max_in_flight: usize::try_from(section.integer("max_in_flight", 4096, 1..=1_000_000))
                .unwrap_or(4096),
            max_connections: usize::try_from(section.integer("max_connections", 10_000, 1..=1_000_000))
                .unwrap_or(10_000),
            shutdown_grace: section.milliseconds("shutdown_grace_ms", 20_000, 0..=600_000),
        };
        if server.http.is_none() && server.https.is_none() {
            section.mistake("https", "at least one of http and https is required");
        }
        if server.https.is_some() {
            for (name, file) in [("tls_certificate", &server.tls_certificate), ("tls_key", &server.tls_key)] {
                if file.is_none() {
                    section.mistake(name, "is required with https");
                }
            }
        }
        if server.http.is_some_and(|address| !address.ip().is_loopback()) {
            section.mistake("http", "plain HTTP is allowed on a loopback address only");
        }
        server
    }
}

impl Documents {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let font = section.file("font");
        let font_face = section.integer("font_face", 0, 0..=255);
        Self { font, font_face: u32::try_from(font_face).unwrap_or(0) }
    }
}

impl Ceremony {
    /// `sandbox` is the site's: elsewhere nobody is alone with a key.
    pub(crate) fn read(section: &mut Section<'_>, sandbox: bool) -> Self {
        let fewest = if sandbox { 1 } else { 2 };
        let confirmations = section.integer("confirmations", 2, fewest..=16);
        Self { confirmations: u32::try_from(confirmations).unwrap_or(2) }
    }
}

pub(crate) fn check_together(site: &Site, server: &Server, reader: &Reader<'_>) {
    if server.http.is_some() && !site.sandbox {
        reader
            .mistake_at(0, "server.http: plain HTTP is for a sandbox only (site.sandbox = true)".to_owned());
    }
}
