//! Taking over a changed configuration while requests run: on SIGHUP, `POST /v1/admin/config:reload` and
//! `license-gateway reload`. All of the new one is read and checked before anything changes; then everything
//! changes, or nothing. Reloads come one after another, from one task.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use config::{Change, Config, ConfigError, Effect};
use formats::font::Font;
use hsm_driver::{Fleet, KeySpec};
use outbound::Figures;
use signing::{KeyRing, MandateKeys, SigningCopy, SigningDesk, SystemDesk};
use store::{AuditEntry, AuditLog, Blobs, CheckpointRules, EvidenceItems, LicenseFiles, Store, StoreError};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use verify_front::{CarefulRegister, DecisionTable, LicenseFront, StatusRules};

use crate::admission::Admission;
use crate::audit::{self, AuditView};
use crate::auth::Callers;
use crate::batch::Places;
use crate::behaviour::Behaviour;
use crate::ceremonies::Attempts;
use crate::error::with_causes;
use crate::idempotency::Instance;
use crate::judging::Judging;
use crate::listen::Served;
use crate::material::{self, Digests, Material, Unusable};
use crate::metrics::Metrics;
use crate::routes::Routers;
use crate::serve::Overrides;
use crate::sessions::waiting::Waiting;
use crate::stamp_jobs::StampJobs;
use crate::state::{Gateway, Parts};
use crate::tally::Tally;
use crate::timestamps::Timekeeping;
use crate::tls_device::TlsDevices;
use crate::trust::TrustKeeper;

/// Why a new configuration was not taken over. The old one stays.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("a restart is needed for {}", .0.iter().map(|change| change.field.as_str()).collect::<Vec<_>>().join(", "))]
    Restart(Vec<Change>),
    #[error("{} file(s) cannot be used", .0.len())]
    Unusable(Vec<Unusable>),
    #[error("the key register cannot be read: {0}")]
    Register(StoreError),
    #[error("devices: {0}")]
    Devices(#[from] hsm_driver::HsmError),
    #[error("the record could not be written: {0}")]
    Record(StoreError),
    #[error("another reload is under way")]
    Busy,
    #[error("the gateway is stopping")]
    Stopping,
}

impl ReloadError {
    /// The stable code, in problems and in the record.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config_invalid",
            Self::Restart(_) => "restart_required",
            Self::Unusable(_) | Self::Devices(_) => "config_unusable",
            Self::Register(_) => "database_unavailable",
            Self::Record(_) => "audit_unavailable",
            Self::Busy => "reload_busy",
            Self::Stopping => "stopping",
        }
    }

    /// Everything that is wrong: the field and what is said of it, for a mistake with file and line.
    pub(crate) fn reasons(&self) -> Vec<(String, String)> {
        match self {
            Self::Config(ConfigError::Mistakes { path, mistakes }) => mistakes
                .iter()
                .map(|mistake| {
                    // `server.body_limit: must be …`; what is no TOML at all names no field.
                    let field = mistake.message.split_once(": ").map(|(field, _)| field);
                    let field = field.filter(|field| !field.contains(' ')).unwrap_or("(file)");
                    (field.to_owned(), format!("{}:{}: {}", path.display(), mistake.line, mistake.message))
                })
                .collect(),
            Self::Restart(changes) => {
                let said = |change: &Change| format!("{change}: this needs a restart");
                changes.iter().map(|change| (change.field.clone(), said(change))).collect()
            }
            Self::Unusable(files) => {
                files.iter().map(|file| (file.field.to_owned(), file.to_string())).collect()
            }
            Self::Config(ConfigError::Unreadable { .. }) => vec![("(file)".to_owned(), with_causes(self))],
            Self::Devices(_) => vec![("device".to_owned(), with_causes(self))],
            Self::Register(_) | Self::Record(_) | Self::Busy | Self::Stopping => Vec::new(),
        }
    }
}

/// A configuration that was taken over.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// What is different now, each in a few words.
    pub(crate) changes: Vec<String>,
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
}

/// What is to be read anew, and where the answer goes.
enum Order {
    /// Everything, for somebody.
    Configuration { actor: String, request_id: String, reply: oneshot::Sender<Result<Reloaded, ReloadError>> },
    /// The key register alone, after a key ceremony; a mistake in the configuration does not concern it. Answers what
    /// is different.
    Keys(oneshot::Sender<Result<Vec<String>, ReloadError>>),
}

/// Where handlers ask for a reload.
#[derive(Clone)]
pub(crate) struct Reloads(mpsc::Sender<Order>);

/// What the reloading task listens to.
pub(crate) struct Orders(mpsc::Receiver<Order>);

/// The two ends.
pub(crate) fn orders() -> (Reloads, Orders) {
    let (sender, receiver) = mpsc::channel(1);
    (Reloads(sender), Orders(receiver))
}

impl Reloads {
    /// Has the configuration reloaded on behalf of `actor`.
    pub(crate) async fn ask(&self, actor: String, request_id: String) -> Result<Reloaded, ReloadError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Order::Configuration { actor, request_id, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadError::Stopping,
        })?;
        answer.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Has the key register read anew, after whatever is under way. Who changed it is on record already.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, ReloadError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Order::Keys(reply)).await.map_err(|_| ReloadError::Stopping)?;
        answer.await.unwrap_or(Err(ReloadError::Stopping))
    }
}

/// What stays while configurations come and go.
pub(crate) struct Foundation {
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    pub(crate) auditing: AuditView,
    /// When checkpoints are due.
    pub(crate) checkpoints: watch::Sender<CheckpointRules>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) behaviour: Behaviour,
    pub(crate) callers: Arc<Callers>,
    pub(crate) fleet: Arc<Fleet>,
    /// Signs with the site's own keys.
    pub(crate) system: SystemDesk,
    /// The keys of standing mandates.
    pub(crate) mandates: MandateKeys,
    pub(crate) timekeeping: Timekeeping,
    pub(crate) judging: Arc<Judging>,
    pub(crate) places: Places,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) instance: Instance,
    pub(crate) stamp_jobs: Arc<StampJobs>,
    pub(crate) evidence: EvidenceItems,
    pub(crate) showing: Arc<Admission>,
    pub(crate) license_files: LicenseFiles,
    pub(crate) retained: Blobs,
    pub(crate) waiting: Arc<Waiting>,
    /// Where registration statuses come from.
    pub(crate) register: Arc<CarefulRegister>,
    /// The gateway as requests have it now, for those who work without one.
    pub(crate) gateways: watch::Sender<Option<Gateway>>,
    pub(crate) deliveries: Arc<Figures>,
    pub(crate) reloads: Reloads,
    pub(crate) trust: Arc<TrustKeeper>,
    pub(crate) tls_devices: Arc<TlsDevices>,
}

impl Foundation {
    /// A gateway by this configuration.
    pub(crate) fn gateway(
        &self,
        config: Config,
        keys: &Arc<KeyRing>,
        font: Font,
        decisions: Arc<DecisionTable>,
    ) -> Gateway {
        self.callers.unused_days.store(config.people.unused_days, Ordering::Relaxed);
        let rules = StatusRules { max_age: config.status.max_age, required: config.status.required };
        let gateway = Gateway::new(Parts {
            desk: SigningDesk::new(Arc::clone(keys), Arc::clone(&self.fleet), self.audit.clone()),
            licenses: LicenseFront::new(
                self.store.clone(),
                self.trust.licenses(),
                self.trust.documents(),
                Arc::clone(&self.register),
                decisions,
                config.site.sandbox,
            )
            .with_rules(rules),
            register: Arc::clone(&self.register),
            documents: self.trust.documents(),
            trust: Arc::clone(&self.trust),
            font,
            store: self.store.clone(),
            audit: self.audit.clone(),
            auditing: self.auditing.clone(),
            tally: Arc::clone(&self.tally),
            behaviour: self.behaviour.clone(),
            callers: Arc::clone(&self.callers),
            fleet: Arc::clone(&self.fleet),
            timestamps: self.timekeeping.configured(&config, &self.system, &self.audit),
            system: self.system.clone(),
            mandates: self.mandates.clone(),
            judging: Arc::clone(&self.judging),
            places: self.places.clone(),
            metrics: Arc::clone(&self.metrics),
            admission: Arc::clone(&self.admission),
            attempts: Arc::clone(&self.attempts),
            instance: self.instance.clone(),
            stamp_jobs: Arc::clone(&self.stamp_jobs),
            evidence: self.evidence.clone(),
            showing: Arc::clone(&self.showing),
            license_files: self.license_files.clone(),
            retained: self.retained.clone(),
            waiting: Arc::clone(&self.waiting),
            deliveries: Arc::clone(&self.deliveries),
            reloads: self.reloads.clone(),
            config,
        });
        self.gateways.send_replace(Some(gateway.clone()));
        gateway
    }
}

/// Reads the key register. A key that cannot sign is left out, with a word in the log.
pub(crate) async fn key_ring(store: &Store) -> Result<Arc<KeyRing>, StoreError> {
    let (keys, left_out) = KeyRing::load(store.keys().await?);
    for error in left_out {
        tracing::warn!(%error, "a key of the register cannot sign and is left out");
    }
    Ok(Arc::new(keys))
}

/// The task that takes configurations over.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) overrides: Overrides,
    /// As the file had it, without what the command line overrides.
    pub(crate) config: Config,
    pub(crate) keys: Arc<KeyRing>,
    /// Where requests sign now.
    pub(crate) desk: SigningDesk,
    pub(crate) digests: Digests,
    pub(crate) foundation: Foundation,
    pub(crate) served: Arc<Served>,
    /// The longest time a stop may take, for whoever stops the gateway.
    pub(crate) grace: watch::Sender<Duration>,
}

/// A new configuration, read and checked, of which nothing has been taken over.
struct Next {
    config: Config,
    keys: Arc<KeyRing>,
    specs: Vec<KeySpec>,
    material: Material,
    changes: Vec<String>,
}

impl Reloader {
    /// Does what is ordered, until it is dropped.
    pub(crate) async fn run(mut self, mut orders: Orders, mut hangup: Signal) {
        let every = self.config.tls.watch;
        let mut look = tokio::time::interval(if every.is_zero() { Duration::MAX / 2 } else { every });
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = None;
        loop {
            let order = tokio::select! {
                Some(order) = orders.0.recv() => order,
                _ = look.tick(), if !every.is_zero() => {
                    self.look_at_tls_files(&mut refused).await;
                    continue;
                }
                Some(()) = hangup.recv() => Order::Configuration {
                    actor: "signal:SIGHUP".to_owned(),
                    request_id: format!("{:032x}", fastrand::u128(..)),
                    reply: oneshot::channel().0,
                },
                else => return,
            };
            let (actor, request_id, reply) = match order {
                Order::Configuration { actor, request_id, reply } => (actor, request_id, reply),
                Order::Keys(reply) => {
                    self.reload_keys(reply).await;
                    continue;
                }
            };
            let result = self.reload(&actor, &request_id).await;
            match &result {
                Ok(done) => tracing::info!(actor, changes = ?done.changes, "reloaded"),
                Err(error) => {
                    for (_, reason) in error.reasons() {
                        tracing::error!("{reason}");
                    }
                    tracing::error!(actor, %error, "not reloaded; all is as it was");
                }
            }
            let _ = reply.send(result); // whoever asked may be gone
        }
    }

    /// Gives the fleet and the desk the keys that the register has now. The fleet knows new keys before requests do,
    /// and old ones until the requests that began with them are done.
    async fn reload_keys(&mut self, reply: oneshot::Sender<Result<Vec<String>, ReloadError>>) {
        let outcome = self.take_keys().await;
        match &outcome {
            Ok((changes, _)) => tracing::info!(?changes, "the key register was read anew"),
            Err(error) => tracing::error!(%error, "the key register was not taken over; all is as it was"),
        }
        let (answer, trim) = match outcome {
            Ok((changes, trim)) => (Ok(changes), trim),
            Err(error) => (Err(error), false),
        };
        let _ = reply.send(answer); // whoever asked may be gone
        if trim {
            tokio::time::sleep(self.foundation.fleet.deadline()).await;
            let (fleet, config) = (&self.foundation.fleet, &self.config);
            if let Err(error) = fleet.reconfigure(&config.fleet, &config.devices, self.keys.specs()).await {
                tracing::error!(%error, "the devices still know keys that are out of use");
            }
        }
    }

    /// What is different, and whether the fleet still knows keys that the ring does not.
    async fn take_keys(&mut self) -> Result<(Vec<String>, bool), ReloadError> {
        let keys = key_ring(&self.foundation.store).await.map_err(ReloadError::Register)?;
        let changes = key_changes(&self.keys, &keys);
        let mut specs = keys.specs();
        let mut old = self.keys.specs();
        old.retain(|spec| !specs.iter().any(|other| other.id == spec.id));
        let trim = !old.is_empty();
        specs.extend(old);
        self.foundation.fleet.reconfigure(&self.config.fleet, &self.config.devices, specs).await?;
        self.desk.replace_keys(Arc::clone(&keys));
        self.foundation.system.replace_keys(Arc::clone(&keys));
        self.keys = keys;
        Ok((changes, trim))
    }

    async fn reload(&mut self, actor: &str, request_id: &str) -> Result<Reloaded, ReloadError> {
        let next = match self.prepare().await {
            Ok(next) => next,
            Err(error) => {
                self.record(actor, request_id, error.code(), &error.to_string()).await?;
                return Err(error);
            }
        };
        self.record(actor, request_id, "intended", &summary(&next.changes)).await?;
        let Next { config, keys, specs, material, mut changes } = next;
        let done = self.foundation.fleet.reconfigure(&config.fleet, &config.devices, specs).await;
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                let error = ReloadError::from(error);
                self.record(actor, request_id, error.code(), &with_causes(&error)).await?;
                return Err(error);
            }
        };
        changes.extend(done.not_ready.iter().map(|device| format!("device {device} is not ready yet")));
        let effective = self.overrides.applied_to(config.clone());
        let Material { tls, trust, font, decisions, digests } = material;
        let limits = effective.server.clone();
        if let Err(error) = self.foundation.trust.take(effective.trust.clone(), trust).await {
            changes.push(format!("revocations are not fetched: {}", with_causes(&error)));
        }
        let gateway = self.foundation.gateway(effective, &keys, font, decisions);
        self.desk = gateway.desk.clone();
        self.foundation.system.replace_keys(Arc::clone(&keys));
        self.served.replace(Routers::new(&gateway), tls, &limits);
        self.grace.send_replace(limits.shutdown_grace);
        self.foundation.checkpoints.send_replace(audit::rules(&config.audit));
        (self.config, self.keys, self.digests) = (config, keys, digests);
        let audit_index = self.record(actor, request_id, "ok", &summary(&changes)).await?;
        Ok(Reloaded { changes, audit_index })
    }

    /// Reads and checks everything; changes nothing.
    async fn prepare(&self) -> Result<Next, ReloadError> {
        let (path, overrides) = (self.path.clone(), self.overrides);
        let devices = Arc::clone(&self.foundation.tls_devices);
        let reading = tokio::task::spawn_blocking(move || {
            let config = Config::load(&path)?;
            let material = Material::read(&overrides.applied_to(config.clone()), &devices);
            Ok::<_, ReloadError>((config, material))
        });
        // The task ends early only if it panics, or with the runtime.
        let (config, material) = reading.await.map_err(|_| ReloadError::Stopping)??;
        let changes = self.config.changes_to(&config);
        let (fixed, live): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.effect == Effect::Restart);
        if !fixed.is_empty() {
            return Err(ReloadError::Restart(fixed));
        }
        let material = material.map_err(ReloadError::Unusable)?;
        let keys = key_ring(&self.foundation.store).await.map_err(ReloadError::Register)?;
        let specs = keys.specs();
        let mut changes: Vec<_> = live.iter().map(Change::to_string).collect();
        let trust_now = self.foundation.trust.files();
        let files = self.digests.changes_to(&material.digests);
        let trust_files = trust_now.digests().changes_to(material.trust.digests());
        changes.extend(
            files
                .into_iter()
                .chain(trust_files)
                .map(|field| format!("{field} read anew: the content differs")),
        );
        changes.extend(key_changes(&self.keys, &keys));
        Ok(Next { config, keys, specs, material, changes })
    }

    /// Takes over the HTTPS listeners' files if they hold something else, all of them or none: a certificate without
    /// its key is tried again when the key has come. `refused` is what was tried last in vain.
    async fn look_at_tls_files(&mut self, refused: &mut Option<Digests>) {
        let config = self.overrides.applied_to(self.config.clone());
        let devices = Arc::clone(&self.foundation.tls_devices);
        let reading = tokio::task::spawn_blocking(move || material::read_tls(&config, &devices));
        let Ok((read, digests)) = reading.await else { return };
        let changes = self.digests.changes_to(&digests);
        if changes.is_empty() || refused.as_ref() == Some(&digests) {
            return;
        }
        let subject = changes.join(", ");
        let request_id = format!("{:032x}", fastrand::u128(..));
        let outcome = match read {
            Ok(tls) => {
                self.served.replace_tls(tls);
                self.digests.update(digests);
                *refused = None;
                tracing::info!(files = subject, "TLS files were read anew");
                self.record(WATCHER, &request_id, "ok", &format!("{subject} read anew: the content differs"))
                    .await
            }
            Err(unusable) => {
                *refused = Some(digests);
                for file in &unusable {
                    tracing::error!("{file}");
                }
                tracing::error!(files = subject, "TLS files cannot be used; those from before stay");
                self.record(WATCHER, &request_id, "config_unusable", &subject).await
            }
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "a change of the TLS files is not on record");
        }
    }

    async fn record(
        &self,
        actor: &str,
        request_id: &str,
        outcome: &str,
        subject: &str,
    ) -> Result<u64, ReloadError> {
        let entry = AuditEntry {
            action: "config.reload".to_owned(),
            actor: actor.to_owned(),
            at: OffsetDateTime::now_utc(),
            device: None,
            input_digest: None,
            key: None,
            outcome: outcome.to_owned(),
            request_id: request_id.to_owned(),
            result_digest: None,
            subject: Some(subject.to_owned()),
        };
        self.foundation.audit.append(entry).await.map_err(ReloadError::Record)
    }
}

/// Who reads changed TLS files anew.
const WATCHER: &str = "gateway:tls-files";

/// The most characters of a summary that the record keeps.
const LONGEST_SUMMARY: usize = 2_000;

fn summary(changes: &[String]) -> String {
    if changes.is_empty() {
        return "nothing differs".to_owned();
    }
    changes.join("; ").chars().take(LONGEST_SUMMARY).collect()
}

fn key_changes(before: &KeyRing, after: &KeyRing) -> Vec<String> {
    let same = |key: &signing::SigningKey, other: &signing::SigningKey| {
        let chains = |key: &signing::SigningKey| -> Vec<_> {
            key.versions().flat_map(|version| &version.copies).map(SigningCopy::chain_pem).collect()
        };
        let version = |key: &signing::SigningKey| key.current.version;
        (&key.group, key.purpose, version(key), chains(key))
            == (&other.group, other.purpose, version(other), chains(other))
    };
    let gone = before.iter().filter(|key| after.get(&key.id).is_none());
    let mut changes: Vec<_> = gone.map(|key| format!("key {} removed", key.id)).collect();
    for key in after.iter() {
        match before.get(&key.id) {
            None => changes.push(format!("key {} added", key.id)),
            Some(other) if !same(key, other) => changes.push(format!("key {} changed", key.id)),
            Some(_) => {}
        }
    }
    changes
}
