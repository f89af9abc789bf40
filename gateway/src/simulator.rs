//! `license-gateway status-simulator`: plays the national service of registration statuses for a sandbox and for tests. What
//! it answers stands in a file that is read at each question, so that it can be changed, and broken, while it runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::Listener;
use axum::{Json, Router};
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::StartupError;

/// What is played, and where.
#[derive(Args)]
pub(crate) struct SimulatorArguments {
    /// What it knows: `{"entities": {CODE: {"status", "flags"?, "as_of"?, "face"?, "history"?}}, "fault"?, "token"?}`.
    #[arg(long, value_name = "FILE")]
    register: PathBuf,
    /// Where it listens; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Its certificate chain, PEM; without one it speaks HTTP.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    entities: BTreeMap<String, Entity>,
    /// How it is broken.
    fault: Option<Fault>,
    /// Whoever does not bring it gets 401.
    token: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    /// It never answers.
    Hang,
    /// It answers 503.
    Error,
    /// It answers what is not JSON.
    Malformed,
    /// It answers about somebody else.
    OtherEntity,
    /// It answers more than anybody wants to read.
    Endless,
    /// It sends the caller elsewhere.
    Redirect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entity {
    status: i64,
    #[serde(default)]
    flags: Vec<String>,
    /// RFC 3339; now where it is not said.
    as_of: Option<String>,
    face: Option<Map<String, Value>>,
    #[serde(default)]
    history: Vec<Former>,
}

/// How an entity stood until a time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Former {
    status: i64,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    as_of: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

#[derive(Deserialize)]
struct Question {
    uscc: String,
    #[serde(default, with = "time::serde::rfc3339::option")]
    at: Option<OffsetDateTime>,
}

/// Plays until it is ended.
///
/// # Errors
/// The address, the certificate or the key cannot be used.
pub(crate) async fn run(arguments: SimulatorArguments) -> Result<(), StartupError> {
    let SimulatorArguments { register, listen, certificate, key } = arguments;
    let tls = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
        _ => None,
    };
    let tcp = TcpListener::bind(listen).await;
    let tcp = tcp.map_err(|source| StartupError::Listen { address: listen, source })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    say(&json!({"url": format!("{scheme}://{}/status", tcp.local_addr()?)}));
    let router = Router::new().route("/status", post(answer)).with_state(Arc::new(register));
    match tls {
        Some(tls) => axum::serve(TlsListener { tcp, tls }, router).await?,
        None => axum::serve(tcp, router).await?,
    }
    Ok(())
}

/// A line for whoever started it.
fn say(line: &Value) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush()); // a closed pipe is no failure
}

async fn answer(State(file): State<Arc<PathBuf>>, headers: HeaderMap, body: Bytes) -> Response {
    let read = std::fs::read(file.as_path()).map_err(|error| error.to_string());
    let read = read
        .and_then(|octets| serde_json::from_slice::<Register>(&octets).map_err(|error| error.to_string()));
    let register = match read {
        Ok(register) => register,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}", file.display()))
                .into_response();
        }
    };
    let Ok(question) = serde_json::from_slice::<Question>(&body) else {
        return (StatusCode::BAD_REQUEST, "not a question").into_response();
    };
    say(&json!({"asked": question.uscc, "at": question.at.and_then(|at| at.format(&Rfc3339).ok())}));
    let brought = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let wanted = register.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && brought != wanted.as_deref() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match register.fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Error) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Malformed) => "<html>".into_response(),
        Some(Fault::Endless) => Body::from(vec![b' '; 16 << 20]).into_response(),
        Some(Fault::Redirect) => {
            (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:9/")]).into_response()
        }
        fault => {
            let uscc = if fault.is_some() { "91440300708461136T" } else { question.uscc.as_str() };
            let entity = register.entities.get(&question.uscc);
            Json(json!({"uscc": uscc, "standing": entity.and_then(|entity| entity.standing(question.at))}))
                .into_response()
        }
    }
}

impl Entity {
    /// How it stands, or stood at a time.
    fn standing(&self, at: Option<OffsetDateTime>) -> Option<Value> {
        let former =
            at.and_then(|at| self.history.iter().find(|former| former.as_of <= at && at < former.until));
        let text = |time: OffsetDateTime| time.format(&Rfc3339).ok();
        if let Some(Former { status, flags, as_of, until }) = former {
            return Some(
                json!({"status": status, "flags": flags, "as_of": text(*as_of)?, "until": text(*until)?}),
            );
        }
        let as_of = self.as_of.clone().or_else(|| text(OffsetDateTime::now_utc()))?;
        let known_since = OffsetDateTime::parse(&as_of, &Rfc3339).ok()?;
        if at.is_some_and(|at| at < known_since) {
            return None;
        }
        Some(json!({"status": self.status, "flags": self.flags, "as_of": as_of, "face": self.face}))
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, StartupError> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| StartupError::file(certificate, error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| StartupError::file(key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
