//! `license-gateway serve`: brings the parts up in order, serves, and stops without losing what is in flight.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{AppId, Config, OwnName};
use hsm_driver::{Fleet, WorkerCommand};
use serde::Serialize;
use signing::{MandateKeys, SystemDesk};
use store::{AuditLog, Blobs, EvidenceItems, LicenseFiles, Nonces, RegisterWatch, Store};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::AdminSocket;
use crate::admission::Admission;
use crate::audit::{self, Auditing};
use crate::auth::{self, Callers};
use crate::batch::Places;
use crate::behaviour;
use crate::ceremonies;
use crate::error::StartupError;
use crate::idempotency::{self, Instance};
use crate::judging::Judging;
use crate::listen::{Entrance, Listener, Served};
use crate::logging::Slow;
use crate::material::{self, Material};
use crate::metrics::Metrics;
use crate::reload::{self, Foundation, Reloader};
use crate::routes::{Door, Routers};
use crate::sessions::waiting::Waiting;
use crate::stamp_jobs::{self, StampJobs};
use crate::tally::Tally;
use crate::timestamps::{self, Timekeeping};
use crate::tls_device::TlsDevices;
use crate::trust::TrustKeeper;
use crate::{
    approvals, database, evidence, history, incidents, inspections, people, protection, query_certificates,
    register, replicas, retentions, sessions, webhooks,
};

/// What is said where one person changes the site.
pub(crate) const ONE_PERSON: &str = "administration.two_person is off: ONE PERSON ALONE CHANGES what apps, keys and \
    people may do";
/// What is said where whoever may sign documents may make seals.
pub(crate) const ANY_MAKER: &str = "trust.seal_makers is not set: WHOEVER MAY SIGN DOCUMENTS can make an electronic seal \
    of any name";
/// How long the last counts, the last checkpoint and its anchoring may take at a stop, at least.
const CLOSING: Duration = Duration::from_secs(20);

/// Is a site in earnest without the list of those whose seals count?
pub(crate) fn takes_any_maker(config: &Config) -> bool {
    !config.site.sandbox && config.trust.seal_makers.is_empty()
}

/// What the command line says beside the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overrides {
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https: Option<SocketAddr>,
}

impl Overrides {
    /// The configuration as it is to be served; a listener that the file does not have is not added.
    pub(crate) fn applied_to(self, mut config: Config) -> Config {
        config.server.http = config.server.http.and(self.http.or(config.server.http));
        config.server.https = config.server.https.and(self.https.or(config.server.https));
        config
    }
}

/// Where the gateway listens, written beside the configuration for scripts that chose port 0.
#[derive(Serialize)]
struct Listening {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    mutual: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    pid: u32,
}

/// Serves the configuration read from `path` until SIGTERM or SIGINT; SIGHUP has it read again.
pub(crate) async fn serve(
    path: PathBuf,
    read: Config,
    overrides: Overrides,
    slow: Arc<Slow>,
) -> Result<(), StartupError> {
    let config = overrides.applied_to(read.clone());
    if let Some(address) = config.server.http.filter(|address| !address.ip().is_loopback()) {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "plain HTTP is for loopback only");
        return Err(StartupError::Listen { address, source });
    }
    // Signals first: one that comes while starting is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    raise_descriptor_limit(config.server.max_connections);
    let tls_devices = Arc::<TlsDevices>::default();
    let material = Material::read(&config, &tls_devices).map_err(StartupError::Unusable)?;

    let _only_one = database::lock(&config.database)?;
    let store = Store::open(database::access(&config.database)?).await?;
    store.migrate().await?;
    let membership = store.join(&config.site.replica, OffsetDateTime::now_utc()).await?;
    let (audit, audit_writer) =
        AuditLog::start_guarded(&store, &config.site.replica, &config.folder.join(audit::GUARD)).await?;
    let audit = if config.audit.discard {
        tracing::error!("audit.discard is set: NOTHING IS RECORDED");
        audit.discarding()
    } else {
        audit
    };
    let mut registers = RegisterWatch::open(&store, &config.folder.join(audit::GUARD))?;
    registers.look_at_all(OffsetDateTime::now_utc()).await?; // before anything is done by what they say
    if !config.administration.two_person {
        tracing::warn!("{ONE_PERSON}");
    }
    if takes_any_maker(&config) {
        tracing::warn!("{ANY_MAKER}");
    }
    let archive = audit::archive(&config)?;
    let (nonces, nonce_writer) = Nonces::start(&store).await?;
    ceremonies::end_abandoned(&store, &audit, membership.joined_at()).await?;
    let keys = reload::key_ring(&store).await?;
    let worker = WorkerCommand {
        program: PathBuf::from("/proc/self/exe"),
        arguments: vec!["hsm-worker".to_owned()],
        provision: vec!["hsm-provision".to_owned()],
    };
    let fleet = Arc::new(Fleet::start(&config.fleet, &config.devices, keys.specs(), &worker)?);

    let whose = AppId::of(OwnName::TlsListener);
    let system = SystemDesk::new(Arc::clone(&keys), Arc::clone(&fleet));
    tls_devices.attach(Arc::clone(&fleet), system.clone(), whose);
    if config.tls.key.is_some() {
        // Now that the register is there: it must have that key.
        material::read_tls(&config, &tls_devices).0.map_err(StartupError::Unusable)?;
    }

    let http = bind(config.server.http).await?;
    let https = bind(config.server.https).await?;
    let mutual = bind(config.server.mutual).await?;
    let admin = bind(config.server.admin).await?;
    let admin_socket = AdminSocket::bind(&config.folder)?;
    let metrics = Arc::new(Metrics::new(slow));
    let callers = if config.site.sandbox { Door::Whole } else { Door::Public };
    let (folder, site, limits) = (config.folder.clone(), config.site.name.clone(), config.server.clone());
    let Material { tls, trust, font, decisions, digests } = material;
    let anchors = trust.fetcher(&config.trust.fetch)?;
    let blobs = Blobs::folder(&config.stamp_jobs.folder, store.protection())?;
    let evidence = EvidenceItems::folder(&config.stamp_evidence.folder)?;
    let license_files = LicenseFiles::folder(&config.library.folder)?;
    let retained = Blobs::folder(&config.retentions.folder, store.protection())?;
    let (gateways, current) = watch::channel(None);
    let waiting = Arc::<Waiting>::default();
    let expiring = sessions::waiting::sweep(current.clone());
    let deliveries = Arc::default();
    let (tls_client, signer) = (trust.tls_client(&config.trust.fetch)?, system.clone());
    let courier = webhooks::courier(&config, store.clone(), tls_client, signer, Arc::clone(&deliveries))?;
    let register = register::open(&config, store.clone(), trust.tls_client(&config.trust.fetch)?)?;
    let timekeeping = Timekeeping::new(&config, store.clone(), trust.fetcher(&config.trust.fetch)?)?;
    let sweeping = stamp_jobs::sweep(current.clone(), timekeeping.watch(&config));
    let taking_away = query_certificates::forget(current.clone(), timekeeping.watch(&config));
    let ending = retentions::sweep(current.clone(), timekeeping.watch(&config));
    let keeping_evidence = evidence::keep(current.clone(), timekeeping.watch(&config));
    let inspecting = inspections::watch(current.clone(), timekeeping.watch(&config));
    let watching_incidents = incidents::watch::watch(current.clone());
    let watching_clock = timestamps::clock::watch(timekeeping.clock(), config.timestamps.clock.clone());
    let trust = TrustKeeper::start(config.trust.clone(), trust, audit.clone()).await?;
    let (reloads, orders) = reload::orders();
    store.protection().lock();
    let (unlocked_log, unlocked_keys) = (audit.clone(), reloads.clone());
    let read_again = reloads.clone();
    let (living_log, followed_keys, kept_log) = (audit.clone(), reloads.clone(), audit.clone());
    let sandbox = config.site.sandbox.then(|| config.folder.clone());
    let known = Arc::new(Callers::new(store.clone(), nonces));
    let counting_callers = Arc::clone(&known);
    let surroundings = audit::Surroundings {
        archive,
        desk: system.clone(),
        fetcher: anchors,
        clock: timekeeping.watch(&config),
    };
    let (sweeping_clock, clock_figures) = (timekeeping.watch(&config), Arc::clone(&metrics));
    let auditing = Auditing::start(&config, &store, &audit, surroundings).await?;
    let tally = Arc::new(Tally::default());
    let (behaviour, seen) = behaviour::queue(Arc::clone(&metrics));
    let watcher = behaviour::Watch::new(store.clone(), audit.clone(), Arc::clone(&metrics));
    let foundation = Foundation {
        store: store.clone(),
        audit: audit.clone(),
        auditing: auditing.view(),
        checkpoints: auditing.checkpoints(),
        tally: Arc::clone(&tally),
        behaviour,
        callers: Arc::clone(&known),
        fleet: Arc::clone(&fleet),
        system,
        mandates: MandateKeys::new(Arc::clone(&fleet), store.clone()),
        timekeeping,
        judging: Arc::new(Judging::new(std::thread::available_parallelism().map_or(1, usize::from))),
        places: Places::default(),
        metrics: Arc::clone(&metrics),
        admission: Arc::new(Admission::counting_in(audit.under_way())),
        attempts: Arc::default(),
        instance: Instance::of(&config.site.replica),
        stamp_jobs: Arc::new(StampJobs::new(blobs)),
        evidence,
        showing: Arc::default(),
        license_files,
        retained,
        waiting: Arc::clone(&waiting),
        register: Arc::new(register),
        gateways,
        deliveries,
        reloads,
        trust: Arc::clone(&trust),
        tls_devices,
    };
    let gateway = foundation.gateway(config, &keys, font, decisions);
    let desk = gateway.desk.clone();
    let served = Arc::new(Served::new(Routers::new(&gateway), tls, &limits, metrics));
    let listening = Listening {
        http: http.as_ref().and_then(|socket| socket.local_addr().ok()),
        https: https.as_ref().and_then(|socket| socket.local_addr().ok()),
        mutual: mutual.as_ref().and_then(|socket| socket.local_addr().ok()),
        admin: admin.as_ref().and_then(|socket| socket.local_addr().ok()),
        pid: std::process::id(),
    };
    let announced = announce(&folder, &listening)?;
    tracing::info!(site, http = ?listening.http, https = ?listening.https, "listening");

    let (stop, stopping) = watch::channel(false);
    // Refusals come until the listeners have ended.
    let (stop_counting, counting_ends) = watch::channel(false);
    let alarming = tokio::spawn(watcher.keep(seen, counting_ends.clone()));
    let delivering = tokio::spawn(courier.run(counting_ends.clone()));
    let counting = tokio::spawn(Arc::clone(&tally).keep(audit, counting_ends));
    let history = history::keep(Arc::clone(&fleet), store.clone(), stopping.clone());
    let history = tokio::spawn(history);
    // The name is this gateway's until it has written its last: another one may take over what is begun under it.
    let (leave, leaving) = watch::channel(false);
    let living = replicas::keep_alive(membership, store.clone(), living_log, leaving);
    let (living, following_fleet) = (tokio::spawn(living), Arc::clone(&fleet));
    let mut listeners = tokio::task::JoinSet::new();
    for (socket, entrance, door) in [
        (http, Entrance::Http, callers),
        (https, Entrance::Https, callers),
        (mutual, Entrance::Mutual, callers),
        (admin, Entrance::Admin, Door::Admin),
    ] {
        let Some(socket) = socket else { continue };
        let listener = Listener { socket, entrance, door, served: Arc::clone(&served) };
        listeners.spawn(listener.run(stopping.clone()));
    }
    let working_ends = stopping.clone();
    listeners.spawn(admin_socket.run(Arc::clone(&served), stopping));
    let (grace, grace_now) = watch::channel(limits.shutdown_grace);
    let reloader = Reloader { path, overrides, config: read, keys, desk, digests, foundation, served, grace };
    let reloading = tokio::spawn(reloader.run(orders, hangup));
    let watching = tokio::spawn(ceremonies::watch(store.clone()));
    let unlocking =
        tokio::spawn(protection::keep_unlocked(store.clone(), fleet, unlocked_log, unlocked_keys, sandbox));
    let watching_registers =
        tokio::spawn(protection::watch_registers(store.clone(), registers, Arc::clone(&known), read_again));
    let sharing = tokio::spawn(auth::rate::share(store.clone(), Arc::clone(&known)));
    let keeping = tokio::spawn(people::keep::keep(store.clone(), kept_log, Arc::clone(&known)));
    let following = tokio::spawn(replicas::follow(store.clone(), following_fleet, known, followed_keys));
    let hearing = tokio::spawn(sessions::waiting::follow(store.clone(), Arc::clone(&waiting)));
    let expiring = tokio::spawn(expiring);
    let looking = tokio::spawn(Arc::clone(&trust).watch());
    let stamping = tokio::spawn(stamp_jobs::work(current, working_ends));
    let sweeping = tokio::spawn(sweeping);
    let forgetting = tokio::spawn(idempotency::forget(store.clone(), sweeping_clock));
    let comparing_clocks = tokio::spawn(database::watch_clock(store.clone(), clock_figures));
    let taking_away = tokio::spawn(taking_away);
    let ending = tokio::spawn(ending);
    let keeping_evidence = tokio::spawn(keeping_evidence);
    let inspecting = tokio::spawn(inspecting);
    let watching_incidents = tokio::spawn(watching_incidents);
    let approving = tokio::spawn(approvals::watch(gateway));
    let watching_clock = tokio::spawn(watching_clock);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = listeners.join_next() => Err(StartupError::ListenerEnded),
    };
    tracing::info!("finishing what is in flight");
    let _ = stop.send(true); // the listeners are all that could listen
    waiting.close(); // who waits for a session asks another gateway
    let grace = *grace_now.borrow();
    let finished =
        tokio::time::timeout(grace, async { while listeners.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!(?grace, "some requests did not finish in time");
    }
    trust.stop();
    for task in [
        sweeping,
        watching,
        unlocking,
        sharing,
        keeping,
        following,
        looking,
        forgetting,
        taking_away,
        ending,
        keeping_evidence,
        inspecting,
        watching_incidents,
        approving,
        watching_clock,
        comparing_clocks,
        watching_registers,
        hearing,
        expiring,
    ] {
        task.abort();
        let _ = task.await;
    }
    reloading.abort(); // whoever asked for a reload has been answered, or is past the time
    let _ = reloading.await;
    let closing = async {
        let _ = history.await; // it writes what it has and ends
        let _ = stamping.await; // it brings to its end what it has begun
        let _ = stop_counting.send(true); // it listens until then
        let _ = counting.await;
        let _ = alarming.await;
        let _ = delivering.await;
        nonce_writer.finish().await;
        counting_callers.counts.finish().await;
        auditing.finish().await;
        audit_writer.finish().await;
        let _ = leave.send(true); // it listens until then
        let _ = living.await;
        store.close().await;
    };
    // Requests may have little grace; the record of what was done has this much at least.
    let grace = grace.max(CLOSING);
    if tokio::time::timeout(grace, closing).await.is_err() {
        tracing::error!(?grace, "the database did not finish in time");
    }
    let _ = std::fs::remove_file(announced); // it names a process that is about to end
    tracing::info!("stopped");
    ended
}

/// Takes as many descriptors as the system lets this process have: what a shell or service manager gives by default
/// would end connections long before their limit.
fn raise_descriptor_limit(connections: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard).or(Ok(soft)));
    // Devices, database and files need some too.
    let needed = connections as u64 + 256;
    match raised {
        Ok(limit) if limit < needed => {
            tracing::warn!(
                limit,
                needed,
                "too few descriptors for server.max_connections; raise LimitNOFILE"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on descriptors is not known"),
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartupError> {
    let Some(address) = address else { return Ok(None) };
    let socket =
        TcpListener::bind(address).await.map_err(|source| StartupError::Listen { address, source })?;
    Ok(Some(socket))
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
    replace_file(path, format!("{value:#}\n").as_bytes()).map_err(|error| StartupError::file(path, error))
}

/// Writes a file so that a reader sees the old one or the new one; readable by its owner only.
pub(crate) fn replace_file(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}.tmp", fastrand::u32(..))); // two writers do not meet
    let temporary = path.with_file_name(name);
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
