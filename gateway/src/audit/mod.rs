//! The audit log at the gateway: who signs its checkpoints, where they and old entries go, and what callers may read.

mod anchor;
mod archiving;
pub(crate) mod routes;
mod witnessing;

use std::time::Duration;

use config::Config;
use formats::Certificate;
use signing::SystemDesk;
use store::{
    Archive, ArchiveError, AuditLog, CheckpointKeeper, CheckpointRules, CheckpointSignature,
    CheckpointSigner, KeyPurpose, Signed, Store, StoreError,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::with_causes;
use crate::trust::Fetcher;
use archiving::Archiving;
use witnessing::Witnessing;

pub(crate) use routes::{get_checkpoint, get_consistency, get_inclusion, list_entries};

/// Signs checkpoints with the site's key of purpose `audit`.
struct DeviceSigner(SystemDesk);

impl CheckpointSigner for DeviceSigner {
    async fn sign(&self, text: String) -> Result<CheckpointSignature, String> {
        let signed = self.0.sign(KeyPurpose::Audit, |_, _| text.clone().into_bytes()).await;
        let signed = signed.map_err(|error| with_causes(&error))?;
        Ok(CheckpointSignature {
            signature: signed.signature,
            name: signed.copy.driver_key.to_string(),
            certificate_chain: signed.copy.chain.iter().map(Certificate::to_pem).collect(),
            public_key: signed.copy.public_key,
        })
    }
}

/// What handlers need of the log beside the log itself.
#[derive(Clone)]
pub(crate) struct AuditView {
    /// How far it is signed.
    pub(crate) signed: watch::Receiver<Signed>,
    /// Where old entries are.
    pub(crate) archive: Option<Archive>,
}

/// The tasks around the log.
pub(crate) struct Auditing {
    keeper: CheckpointKeeper,
    anchoring: JoinHandle<()>,
    archiving: JoinHandle<()>,
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
        archive: Option<Archive>,
        desk: SystemDesk,
        fetcher: Fetcher,
    ) -> Result<Self, StoreError> {
        let (rules, watched) = watch::channel(rules(&config.audit));
        let (made, anchoring) = anchor::start(&config.audit, fetcher);
        let keeper = CheckpointKeeper::start(log.clone(), DeviceSigner(desk), watched, made).await?;
        let archiving = Archiving {
            store: store.clone(),
            log: log.clone(),
            archive: archive.clone(),
            after: config.audit.archive_after,
            retention: config.audit.retention,
        };
        let archiving = tokio::spawn(archiving.run());
        let witnessing =
            Witnessing { store: store.clone(), log: log.clone(), interval: config.audit.witness_interval };
        let witnessing = tokio::spawn(witnessing.run());
        let view = AuditView { signed: keeper.signed(), archive };
        Ok(Self { keeper, anchoring, archiving, witnessing, rules, view })
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
        for task in [self.archiving, self.witnessing] {
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
