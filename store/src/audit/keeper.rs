//! Keeps a log's head signed: a checkpoint a second or a thousand entries after the last one, whichever comes first, and
//! one at the end. Entries never wait for it. While nobody can sign, the log goes on and says since when its tail is
//! unsigned.

use std::time::Duration;

use formats::PublicKey;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::checkpoint::NewCheckpoint;
use super::{AuditLog, StoredCheckpoint, checkpoint_text, signed_note};
use crate::StoreError;

/// How long after a failure signing is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long the last checkpoint may take.
const LAST: Duration = Duration::from_secs(5);

/// Signs checkpoints; filled by whoever reaches the devices.
pub trait CheckpointSigner: Send + Sync + 'static {
    /// Signs the text with the site's audit key.
    ///
    /// The error is for the log and for operators.
    fn sign(&self, text: String) -> impl Future<Output = Result<CheckpointSignature, String>> + Send;
}

/// A signature over a checkpoint's text.
#[derive(Debug, Clone)]
pub struct CheckpointSignature {
    /// Strict DER for SM2 and ECDSA.
    pub signature: Vec<u8>,
    /// The copy of the key that signed, as the devices' driver calls it.
    pub name: String,
    /// The key.
    pub public_key: PublicKey,
    /// Its certificates, PEM, signer first; empty when it has none.
    pub certificate_chain: String,
}

/// When a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointRules {
    /// Entries after the last one.
    pub entries: u64,
    /// Time after the first entry that none covers.
    pub interval: Duration,
}

impl Default for CheckpointRules {
    fn default() -> Self {
        Self { entries: 1000, interval: Duration::from_secs(1) }
    }
}

/// How far the log is signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    /// Entries that the newest checkpoint covers.
    pub size: u64,
    /// When it was made, in Unix seconds; nothing when there is none.
    pub at: Option<i64>,
    /// What is the matter, while signing fails.
    pub unsigned: Option<Unsigned>,
}

/// A tail that nobody could sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Since when.
    pub since: OffsetDateTime,
    /// Why, as the signer said it the last time.
    pub reason: String,
}

/// The task that keeps the log signed.
pub struct CheckpointKeeper {
    signed: watch::Receiver<Signed>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl CheckpointKeeper {
    /// Starts to keep a log signed. Every new checkpoint is offered to `made` as well; when nobody takes it there, it is
    /// not waited for.
    ///
    /// # Errors
    /// The last checkpoint cannot be read.
    pub async fn start(
        log: AuditLog,
        signer: impl CheckpointSigner,
        rules: watch::Receiver<CheckpointRules>,
        made: mpsc::Sender<StoredCheckpoint>,
    ) -> Result<Self, StoreError> {
        let last = log.store().audit_checkpoint(log.record().id, None).await?;
        let signed = last.map(|last| Signed { size: last.size, at: Some(last.at), unsigned: None });
        let (state, signed) = watch::channel(signed.unwrap_or_default());
        let (stop, stopped) = watch::channel(false);
        let task = Task { log, signer, rules, made, state };
        Ok(Self { signed, stop, task: tokio::spawn(task.run(stopped)) })
    }

    /// How far the log is signed, now and from now on.
    #[must_use]
    pub fn signed(&self) -> watch::Receiver<Signed> {
        self.signed.clone()
    }

    /// Signs what is there and ends. To be called when no more entries come and before the log's writer ends.
    pub async fn finish(self) {
        let _ = self.stop.send(true); // it may have ended with the log
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the keeper of checkpoints ended badly");
        }
    }
}

struct Task<S> {
    log: AuditLog,
    signer: S,
    rules: watch::Receiver<CheckpointRules>,
    made: mpsc::Sender<StoredCheckpoint>,
    state: watch::Sender<Signed>,
}

impl<S: CheckpointSigner> Task<S> {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut heads = self.log.head();
        let mut signed = self.state.borrow().size;
        let (mut uncovered, mut retry): (Option<Instant>, Option<Instant>) = (None, None);
        let mut pause = RETRY.0;
        loop {
            let stopping = *stopped.borrow_and_update();
            let head = *heads.borrow_and_update();
            let rules = *self.rules.borrow();
            let mut wake = None;
            if head > signed {
                let now = Instant::now();
                let since = *uncovered.get_or_insert(now);
                let due = if head - signed >= rules.entries { now } else { since + rules.interval };
                let due = retry.map_or(due, |retry| retry.max(due));
                if stopping || due <= now {
                    let made = tokio::time::timeout(LAST, self.make(head)).await;
                    match made.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                        Ok(checkpoint) => {
                            self.good(&checkpoint);
                            signed = head;
                            (uncovered, retry, pause) = (None, None, RETRY.0);
                            let _ = self.made.try_send(checkpoint); // bounded: who is too slow misses it
                        }
                        Err(reason) => {
                            self.bad(head - signed, reason);
                            retry = Some(Instant::now() + pause);
                            pause = (pause * 2).min(RETRY.1);
                        }
                    }
                    if !stopping {
                        continue;
                    }
                }
                wake = Some(due);
            }
            if stopping {
                return;
            }
            let due = async {
                match wake {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return },
                changed = stopped.changed() => if changed.is_err() { return },
                () = due => {}
            }
        }
    }

    async fn make(&self, size: u64) -> Result<StoredCheckpoint, String> {
        let super::LogRecord { id, origin, .. } = self.log.record();
        let said = |error: StoreError| crate::error::with_causes(&error);
        let root = self.log.store().audit_root(*id, size).await.map_err(said)?;
        let at = OffsetDateTime::now_utc();
        let text = checkpoint_text(origin, size, &root, at);
        let signed = self.signer.sign(text.clone()).await?;
        let new = NewCheckpoint {
            size,
            at: at.unix_timestamp(),
            note: signed_note(&text, origin, &signed.public_key, &signed.signature),
            signer_name: signed.name,
            public_key: signed.public_key.spki_der(),
            certificate_chain: signed.certificate_chain,
        };
        self.log.store_checkpoint(new).await.map_err(said)
    }

    fn good(&self, checkpoint: &StoredCheckpoint) {
        let failing = self.state.borrow().unsigned.is_some();
        if failing {
            tracing::info!(size = checkpoint.size, "the audit log is signed again");
        }
        self.state.send_replace(Signed { size: checkpoint.size, at: Some(checkpoint.at), unsigned: None });
    }

    fn bad(&self, entries: u64, reason: String) {
        let since = self.state.borrow().unsigned.as_ref().map(|unsigned| unsigned.since);
        if since.is_none() {
            tracing::warn!(entries, reason, "the end of the audit log cannot be signed now; entries go on");
        }
        let since = since.unwrap_or_else(OffsetDateTime::now_utc);
        self.state.send_modify(|signed| signed.unsigned = Some(Unsigned { since, reason }));
    }
}
