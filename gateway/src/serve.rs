//! `license-gateway serve`: brings the parts up in order, serves, and stops without losing what is in flight.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use formats::chain::TrustStore;
use formats::{Certificate, Crl, FormatError};
use hsm_driver::{Fleet, WorkerCommand};
use serde::Serialize;
use signing::{KeyRing, SigningDesk};
use store::{AuditLog, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use verify_front::LicenseFront;

use crate::auth::Apps;
use crate::error::StartupError;
use crate::listen::Listener;
use crate::metrics::Metrics;
use crate::state::{Gateway, Parts};
use crate::{routes, tls};

/// What the command line says beside the configuration.
pub(crate) struct Overrides {
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https: Option<SocketAddr>,
}

/// Where the gateway listens, written beside the configuration for scripts that chose port 0.
#[derive(Serialize)]
struct Listening {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    pid: u32,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(mut config: Config, overrides: Overrides) -> Result<(), StartupError> {
    config.server.http = config.server.http.and(overrides.http.or(config.server.http));
    config.server.https = config.server.https.and(overrides.https.or(config.server.https));
    if let Some(address) = config.server.http.filter(|address| !address.ip().is_loopback()) {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "plain HTTP is for loopback only");
        return Err(StartupError::Listen { address, source });
    }
    // Signals first: one that comes while starting is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let acceptor = match (&config.server.tls_certificate, &config.server.tls_key) {
        (Some(certificate), Some(key)) if config.server.https.is_some() => {
            Some(tls::acceptor(certificate, key)?)
        }
        _ => None,
    };
    let documents = trust(&config.trust, &config.trust.anchors)?;
    let license_trust = trust(&config.trust, &config.trust.license_anchors)?;

    let _only_one = lock_database(&config.database.url)?;
    let store = Store::open(&config.database.url).await?;
    store.migrate().await?;
    let (audit, audit_writer) = AuditLog::start(&store).await?;
    let (keys, left_out) = KeyRing::load(store.keys().await?);
    for error in left_out {
        tracing::warn!(%error, "a key of the register cannot sign and is left out");
    }
    let keys = Arc::new(keys);
    let worker =
        WorkerCommand { program: PathBuf::from("/proc/self/exe"), arguments: vec!["hsm-worker".to_owned()] };
    let fleet = Arc::new(Fleet::start(&config.fleet, &config.devices, keys.specs()?, &worker)?);

    let http = bind(config.server.http).await?;
    let https = bind(config.server.https).await?;
    let (read_timeout, grace, folder) =
        (config.server.read_timeout, config.server.shutdown_grace, config.folder.clone());
    let connections = Arc::new(Semaphore::new(config.server.max_connections));
    let gateway = Gateway::new(Parts {
        apps: Apps::new(store.clone()),
        desk: SigningDesk::new(Arc::clone(&keys), Arc::clone(&fleet), audit.clone()),
        licenses: LicenseFront::new(store.clone(), license_trust, config.site.sandbox),
        metrics: Metrics::new(),
        in_flight: Default::default(),
        store,
        audit,
        keys,
        fleet,
        documents,
        config,
    });
    let listening = Listening {
        http: http.as_ref().and_then(|socket| socket.local_addr().ok()),
        https: https.as_ref().and_then(|socket| socket.local_addr().ok()),
        pid: std::process::id(),
    };
    let announced = announce(&folder, &listening)?;
    tracing::info!(site = %gateway.config.site.name, http = ?listening.http, https = ?listening.https, "listening");

    let (stop, stopping) = watch::channel(false);
    let router = routes::router(gateway.clone());
    let mut listeners = tokio::task::JoinSet::new();
    for (socket, tls) in [(http, None), (https, acceptor)] {
        let Some(socket) = socket else { continue };
        let connections = Arc::clone(&connections);
        let listener = Listener { socket, tls, router: router.clone(), read_timeout, connections };
        listeners.spawn(listener.run(stopping.clone()));
    }
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = listeners.join_next() => Err(StartupError::ListenerEnded),
    };
    tracing::info!("finishing what is in flight");
    let _ = stop.send(true); // the listeners are all that could listen
    let finished =
        tokio::time::timeout(grace, async { while listeners.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!(?grace, "some requests did not finish in time");
    }
    let closing = async {
        audit_writer.finish().await;
        gateway.store.clone().close().await;
    };
    if tokio::time::timeout(grace, closing).await.is_err() {
        tracing::error!(?grace, "the database did not finish in time");
    }
    let _ = std::fs::remove_file(announced); // it names a process that is about to end
    tracing::info!("stopped");
    ended
}

/// One gateway writes one audit log: a second on the same database file is refused. The lock ends with the
/// process, however that ends.
fn lock_database(url: &str) -> Result<Option<std::fs::File>, StartupError> {
    let Some(file) = url.strip_prefix("sqlite://") else { return Ok(None) };
    let path = PathBuf::from(format!("{file}.lock"));
    let lock = std::fs::File::create(&path).map_err(|error| StartupError::file(&path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(error) => {
            Err(StartupError::file(&path, format!("another gateway runs on this database ({error})")))
        }
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartupError> {
    let Some(address) = address else { return Ok(None) };
    let socket =
        TcpListener::bind(address).await.map_err(|source| StartupError::Listen { address, source })?;
    Ok(Some(socket))
}

fn trust(files: &config::Trust, anchors: &[PathBuf]) -> Result<TrustStore, StartupError> {
    Ok(TrustStore::new(
        read_all(anchors, Certificate::many_from_pem)?,
        read_all(&files.intermediates, Certificate::many_from_pem)?,
        read_all(&files.crls, Crl::many_from_pem)?,
    ))
}

fn read_all<T>(
    paths: &[PathBuf],
    parse: impl Fn(&str) -> Result<Vec<T>, FormatError>,
) -> Result<Vec<T>, StartupError> {
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| StartupError::file(path, error))?;
        all.extend(parse(&text).map_err(|error| StartupError::file(path, error))?);
    }
    Ok(all)
}

/// Writes `listening.json`, and the sandbox's addresses into `sandbox.json`, whole or not at all.
fn announce(folder: &Path, listening: &Listening) -> Result<PathBuf, StartupError> {
    let path = folder.join("listening.json");
    write_whole(&path, &serde_json::json!(listening))?;
    let sandbox = folder.join("sandbox.json");
    if let Ok(text) = std::fs::read_to_string(&sandbox)
        && let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&text)
    {
        value["base_url"] = serde_json::json!(listening.http.map(|address| format!("http://{address}")));
        value["tls_url"] = serde_json::json!(listening.https.map(|address| format!("https://{address}")));
        write_whole(&sandbox, &value)?;
    }
    Ok(path)
}

/// Writes a JSON file so that a reader sees the old one or the new one; readable by its owner only.
pub(crate) fn write_whole(path: &Path, value: &serde_json::Value) -> Result<(), StartupError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("json.tmp");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{value:#}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error: std::io::Error| StartupError::file(path, error))
}
