use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use time::UtcOffset;
use time::macros::{format_description, offset};

use crate::SourceUrl;
use crate::read::{Reader, Section};
use crate::tls::{CLIENT_AUTH, ClientAuth};

/// What kind of site this is.
#[derive(Debug, Clone)]
pub struct Site {
    /// A name for logs and reports.
    pub name: String,
    /// Test identities, `x-api-key` and plain HTTP are admitted; never true where real licenses are judged.
    pub sandbox: bool,
    /// This gateway's name among those on the same database: 1 to 64 characters. Default `gateway`.
    pub replica: String,
    /// What the site's clocks show against UTC: days and times of day go by it. Default `+08:00`.
    pub utc_offset: UtcOffset,
}

/// Listeners and the limits of a request.
#[derive(Debug, Clone)]
pub struct Server {
    /// Plain HTTP: only in a sandbox and only on a loopback address.
    pub http: Option<SocketAddr>,
    /// HTTPS for callers.
    pub https: Option<SocketAddr>,
    /// HTTPS for callers who show a certificate.
    pub mutual: Option<SocketAddr>,
    /// HTTPS for administration, metrics and console. Without it they answer at the admin socket, and in a sandbox
    /// everywhere.
    pub admin: Option<SocketAddr>,
    /// Whether `https` asks for a certificate. Default off.
    pub client_auth: ClientAuth,
    /// Whether `admin` asks for a certificate. Default off.
    pub admin_client_auth: ClientAuth,
    /// PEM chain of the HTTPS listeners, server certificate first.
    pub tls_certificate: Option<PathBuf>,
    /// PEM private key (PKCS#8) of that certificate.
    pub tls_key: Option<PathBuf>,
    /// Where people reach this site, such as `https://stamps.example.gov.cn`: what stands before `/verify/{code}` in the QR
    /// codes on documents. Without it there are none.
    pub public_url: Option<SourceUrl>,
    /// Largest request body, octets. Default 1 MiB.
    pub body_limit: usize,
    /// Largest head of a request, octets. Default 16 KiB.
    pub header_limit: usize,
    /// How long a client may take for a TLS handshake, a request's head and its body, each. Default 10 s.
    pub read_timeout: Duration,
    /// Octets a second that let a body take longer than `read_timeout`. Default 16 KiB.
    pub min_body_rate: u64,
    /// How long a client may take none of its answer. Default 30 s.
    pub write_timeout: Duration,
    /// How long a connection may be idle. Default 75 s.
    pub keep_alive: Duration,
    /// How long a request may take once it is here, whatever it waits for; operators' acts apart. Default 10 s.
    pub request_deadline: Duration,
    /// Requests being worked on at once; one more is answered 503 at once. Default 4,096.
    pub max_in_flight: usize,
    /// Open connections; one more waits until another closes. Default 10,000.
    pub max_connections: usize,
    /// Open connections from one address; one more is closed. Default `max_connections`.
    pub max_connections_per_address: usize,
    /// Balancers whose connections begin with who the client is (PROXY protocol version 2). Default none.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Requests at once on one HTTP/2 connection. Default 100.
    pub http2_streams: u32,
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
            utc_offset: utc_offset(section),
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

fn utc_offset(section: &mut Section<'_>) -> UtcOffset {
    const FORM: &[time::format_description::BorrowedFormatItem<'_>] =
        format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    if !section.has("utc_offset") {
        return offset!(+8);
    }
    let parse = |text: &str| UtcOffset::parse(text, FORM).map_err(|_| "must have the form +08:00");
    section.parsed("utc_offset", parse).unwrap_or(offset!(+8))
}

impl Server {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let max_connections = section.count("max_connections", 10_000, 1..=1_000_000);
        let per_address = section.count("max_connections_per_address", max_connections as u64, 1..=1_000_000);
        let server = Self {
            http: section.address("http"),
            https: section.address("https"),
            mutual: section.address("mutual"),
            admin: section.address("admin"),
            client_auth: section.choice("client_auth", &CLIENT_AUTH, ClientAuth::Off),
            admin_client_auth: section.choice("admin_client_auth", &CLIENT_AUTH, ClientAuth::Off),
            tls_certificate: section.file("tls_certificate"),
            tls_key: section.file("tls_key"),
            public_url: public_url(section),
            body_limit: section.count("body_limit", 1 << 20, 1024..=64 << 20),
            header_limit: section.count("header_limit", 16 << 10, 8 << 10..=256 << 10),
            read_timeout: section.milliseconds("read_timeout_ms", 10_000, 100..=600_000),
            min_body_rate: section.integer("min_body_rate", 16 << 10, 1..=1 << 30),
            write_timeout: section.milliseconds("write_timeout_ms", 30_000, 100..=600_000),
            keep_alive: section.milliseconds("keep_alive_ms", 75_000, 100..=3_600_000),
            request_deadline: section.milliseconds("request_deadline_ms", 10_000, 100..=600_000),
            max_in_flight: section.count("max_in_flight", 4096, 1..=1_000_000),
            max_connections,
            max_connections_per_address: per_address,
            proxy_protocol_from: section.networks("proxy_protocol_from"),
            http2_streams: u32::try_from(section.integer("http2_streams", 100, 1..=10_000)).unwrap_or(100),
            shutdown_grace: section.milliseconds("shutdown_grace_ms", 20_000, 0..=600_000),
        };
        if server.http.is_none() && server.https.is_none() && server.mutual.is_none() {
            section.mistake("https", "at least one of http, https and mutual is required");
        }
        if server.http.is_some_and(|address| !address.ip().is_loopback()) {
            section.mistake("http", "plain HTTP is allowed on a loopback address only");
        }
        server
    }
}

fn public_url(section: &mut Section<'_>) -> Option<SourceUrl> {
    let url = section.has("public_url").then(|| section.parsed("public_url", SourceUrl::parse)).flatten();
    if url.as_ref().is_some_and(|url| url.as_str().contains('?')) {
        section.mistake("public_url", "must have no part after a ?");
    }
    url
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
