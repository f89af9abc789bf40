//! The audit log at the gateway: who signs its checkpoints, where they and old entries go, and what callers may read.

mod anchor;
mod archiving;
mod counting;
mod doubt;
mod proving;
mod registered;
pub(crate) mod routes;
mod witnessing;

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use formats::{Certificate, PublicKey};
use signing::{Moment, SystemDesk};
use store::{
    Archive, ArchiveError, AuditLog, CheckpointKeeper, CheckpointRules, CheckpointSignature,
    CheckpointSigner, KeyPurpose, Signed, Store, StoreError,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::with_causes;
use crate::timestamps::WatchedClock;
use crate::trust::Fetcher;
use archiving::Archiving;
use counting::Counting;
use registered::AuditKeys;
use witnessing::Witnessing;

pub(crate) use anchor::{Anchored, Anchors};
pub(crate) use doubt::{look_for, on_record};
pub(crate) use routes::{
    InclusionResponse, get_checkpoint, get_consistency, get_inclusion, list_entries, proof_of,
};

/// The folder, beside the configuration, for what a gateway knows of its log outside the database.
pub(crate) const GUARD: &str = "audit-guard";

/// Signs checkpoints with the site's key of purpose `audit`.
struct DeviceSigner {
    desk: SystemDesk,
    store: Store,
}

/// The public keys of purpose `audit` that the register has, of all versions and copies: SubjectPublicKeyInfo, DER.
pub(crate) async fn registered_keys(store: &Store) -> Result<Vec<Vec<u8>>, StoreError> {
    let keys = store.keys().await?;
    let audit = keys.into_iter().filter(|key| key.purpose == KeyPurpose::Audit);
    let copies = audit.flat_map(|key| key.versions).flat_map(|version| version.copies);
    let public_key = |copy: store::KeyCopy| {
        let certified = || {
            let chain = Certificate::many_from_pem(&copy.certificate_chain).ok()?;
            Some(chain.first()?.public_key().ok()?.spki_der())
        };
        copy.public_key.clone().or_else(certified)
    };
    Ok(copies.filter_map(public_key).collect())
}

impl CheckpointSigner for DeviceSigner {
    async fn sign(&self, text: String) -> Result<CheckpointSignature, String> {
        let signed = self.desk.sign(KeyPurpose::Audit, |_, _| text.clone().into_bytes()).await;
        let signed = signed.map_err(|error| with_causes(&error))?;
        Ok(CheckpointSignature {
            signature: signed.signature,
            name: signed.copy.driver_key.to_string(),
            certificate_chain: signed.copy.chain.iter().map(Certificate::to_pem).collect(),
            public_key: signed.copy.public_key,
        })
    }

    async fn trusts(&self, key: &PublicKey) -> Result<bool, String> {
        let registered = registered_keys(&self.store).await.map_err(|error| with_causes(&error))?;
        Ok(registered.contains(&key.spki_der()))
    }
}

/// What handlers need of the log beside the log itself.
#[derive(Clone)]
pub(crate) struct AuditView {
    /// How far it is signed.
    pub(crate) signed: watch::Receiver<Signed>,
    /// What became of checkpoints on their way out of the house.
    pub(crate) anchors: watch::Receiver<Anchors>,
    /// Where old entries are.
    pub(crate) archive: Option<Archive>,
    /// Whose signatures of checkpoints count.
    pub(crate) keys: Arc<AuditKeys>,
}

/// What the tasks around the log need of the gateway.
pub(crate) struct Surroundings {
    /// Where old entries go.
    pub(crate) archive: Option<Archive>,
    /// Signs checkpoints.
    pub(crate) desk: SystemDesk,
    /// Sends them.
    pub(crate) fetcher: Fetcher,
    /// What is known of the clock, by which archived entries are removed.
    pub(crate) clock: WatchedClock,
}

/// The tasks around the log.
pub(crate) struct Auditing {
    keeper: CheckpointKeeper,
    anchoring: JoinHandle<()>,
    archiving: JoinHandle<()>,
    counting: JoinHandle<()>,
    witnessing: JoinHandle<()>,
    rules: watch::Sender<CheckpointRules>,
    view: AuditView,
}

/// When checkpoints are due, by the configuration.
pub(crate) fn rules(config: &config::Audit) -> CheckpointRules {
    CheckpointRules { entries: config.checkpoint_entries, interval: config.checkpoint_interval }
}

/// The archive that the configuration names.
pub(crate) fn archive(config: &Config) -> Result<Option<Archive>, ArchiveError> {
    config.audit.archive.as_deref().map(Archive::folder).transpose()
}

impl Auditing {
    /// Starts to keep the log signed, anchored and archived.
    pub(crate) async fn start(
        config: &Config,
        store: &Store,
        log: &AuditLog,
        around: Surroundings,
    ) -> Result<Self, StoreError> {
        let Surroundings { archive, desk, fetcher, clock } = around;
        let (rules, watched) = watch::channel(rules(&config.audit));
        let (made, anchors, anchoring) = anchor::start(&config.audit, fetcher);
        let signer = DeviceSigner { desk, store: store.clone() };
        let keeper = CheckpointKeeper::start(log.clone(), signer, watched, made).await?;
        let archiving = Archiving {
            store: store.clone(),
            log: log.clone(),
            archive: archive.clone(),
            after: config.audit.archive_after,
            retention: config.audit.retention,
            signed: keeper.signed(),
            clock,
            started: Moment::now(),
        };
        let archiving = tokio::spawn(archiving.run());
        let counting = Counting { store: store.clone(), log: log.clone(), archive: archive.clone() };
        let counting = tokio::spawn(counting.run());
        let witnessing =
            Witnessing { store: store.clone(), log: log.clone(), interval: config.audit.witness_interval };
        let witnessing = tokio::spawn(witnessing.run());
        let keys = Arc::new(AuditKeys::new(store.clone()));
        let view = AuditView { signed: keeper.signed(), anchors, archive, keys };
        Ok(Self { keeper, anchoring, archiving, counting, witnessing, rules, view })
    }

    pub(crate) fn view(&self) -> AuditView {
        self.view.clone()
    }

    /// Where a reload says when checkpoints are due from now on.
    pub(crate) fn checkpoints(&self) -> watch::Sender<CheckpointRules> {
        self.rules.clone()
    }

    /// Signs what is there, sends what waits, and ends. Before the log's writer ends.
    pub(crate) async fn finish(self) {
        // They leave nothing half-done that the next run does not mend.
        for task in [self.archiving, self.counting, self.witnessing] {
            task.abort();
            let _ = task.await;
        }
        self.keeper.finish().await;
        // The keeper dropped its end: the anchor sends what waits, and no longer than this.
        let mut anchoring = self.anchoring;
        if tokio::time::timeout(Duration::from_secs(3), &mut anchoring).await.is_err() {
            anchoring.abort();
        }
    }
}
