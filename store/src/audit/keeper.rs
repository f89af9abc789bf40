//! Keeps a log's head signed: a checkpoint a second or a thousand entries after the last one, whichever comes first, and
//! one at the end. Entries never wait for it. While nobody can sign, the log goes on and says since when its tail is
//! unsigned. What is signed is the tree that the writer holds, after it was held once against what was signed before.

use std::time::Duration;

use formats::PublicKey;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::checkpoint::NewCheckpoint;
use super::history::{Doubt, signed_here, vouch};
use super::tree::Hash;
use super::writer::TreeHead;
use super::{AuditLog, Note, StoredCheckpoint, checkpoint_text, signed_note};
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

    /// Whether this is a key that signs or once signed checkpoints for the site.
    ///
    /// The error, that it cannot be told now, is for the log and for operators.
    fn trusts(&self, key: &PublicKey) -> impl Future<Output = Result<bool, String>> + Send;
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
    /// Whether the log was held against what was signed before, and was the same.
    pub vouched: bool,
    /// What is the matter, while signing fails.
    pub unsigned: Option<Unsigned>,
    /// Since when checkpoints are signed and not remembered outside the database. Until one is, an earlier state of the
    /// database would pass for the newest at a start.
    pub unremembered_since: Option<OffsetDateTime>,
}

/// A tail that nobody could sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Since when.
    pub since: OffsetDateTime,
    /// Why, as the signer said it the last time.
    pub reason: String,
    /// Whether it is because the log was altered outside the gateway. That does not pass by itself.
    pub altered: bool,
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
        // What the database says is looked into before anything is signed over it.
        let size = *log.head().borrow();
        let signed =
            last.map(|last| Signed { size: last.size.min(size), at: Some(last.at), ..Signed::default() });
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
        let Some(mut signed) = self.vouched(&mut stopped).await else { return };
        let mut heads = self.log.head();
        let (mut uncovered, mut retry): (Option<Instant>, Option<Instant>) = (None, None);
        let mut pause = RETRY.0;
        loop {
            let stopping = *stopped.borrow_and_update();
            let head = *heads.borrow_and_update();
            let rules = *self.rules.borrow();
            let mut wake = None;
            if head <= signed
                && let Err(reason) = self.stands(head, signed).await
            {
                return self.refuse(reason);
            }
            if head > signed {
                let now = Instant::now();
                let since = *uncovered.get_or_insert(now);
                let due = if head - signed >= rules.entries { now } else { since + rules.interval };
                let due = retry.map_or(due, |retry| retry.max(due));
                if stopping || due <= now {
                    let made = tokio::time::timeout(LAST, self.make()).await;
                    match made.unwrap_or_else(|_| Err(Doubt::Later("it took too long".to_owned()))) {
                        Ok(checkpoint) => {
                            self.good(&checkpoint);
                            signed = checkpoint.size;
                            (uncovered, retry, pause) = (None, None, RETRY.0);
                            let _ = self.made.try_send(checkpoint); // bounded: who is too slow misses it
                        }
                        Err(Doubt::Altered(reason)) => return self.refuse(reason),
                        Err(Doubt::Later(reason)) => {
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

    /// Holds the log against what was signed before, until it can be told. Answers how many entries are signed, and
    /// nothing when none will be any more.
    async fn vouched(&self, stopped: &mut watch::Receiver<bool>) -> Option<u64> {
        let mut pause = RETRY.0;
        loop {
            match vouch(&self.log, &self.signer).await {
                Ok(size) => {
                    self.state.send_modify(|signed| (signed.size, signed.vouched) = (size, true));
                    return Some(size);
                }
                Err(Doubt::Altered(reason)) => {
                    self.refuse(reason);
                    return None;
                }
                Err(Doubt::Later(reason)) => {
                    let entries = self.log.head().borrow().saturating_sub(self.state.borrow().size);
                    self.bad(entries, reason);
                }
            }
            if *stopped.borrow_and_update() {
                return None;
            }
            let _ = tokio::time::timeout(pause, stopped.changed()).await; // a stop gets a last try
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Whether what was signed is still the log: no more entries come to a log that was cut that could tell otherwise.
    async fn stands(&self, head: u64, signed: u64) -> Result<(), String> {
        match self.log.tree_head().await {
            Err(StoreError::AuditAltered { reason }) => Err(reason),
            _ if head < signed => Err(format!("it has {head} entries, and {signed} are signed")),
            _ => Ok(()),
        }
    }

    async fn make(&self) -> Result<StoredCheckpoint, Doubt> {
        let super::LogRecord { origin, .. } = self.log.record();
        let TreeHead { size, root } = self.log.tree_head().await?;
        let at = OffsetDateTime::now_utc();
        let text = checkpoint_text(origin, size, &root, at);
        let signed = self.signer.sign(text.clone()).await.map_err(Doubt::Later)?;
        let new = NewCheckpoint {
            size,
            at: at.unix_timestamp(),
            note: signed_note(&text, origin, &signed.public_key, &signed.signature),
            signer_name: signed.name,
            public_key: signed.public_key.spki_der(),
            certificate_chain: signed.certificate_chain,
        };
        let note = new.note.clone();
        let stored = self.log.store_checkpoint(new).await?;
        if stored.note != note {
            self.signed_before(&stored, &root).await?;
        }
        self.remember(&stored).await;
        Ok(stored)
    }

    /// A checkpoint whose answer was lost is there when it comes again; then the first one counts, if it is one.
    async fn signed_before(&self, stored: &StoredCheckpoint, root: &Hash) -> Result<(), Doubt> {
        let size = stored.size;
        let same = Note::parse(&stored.note).is_ok_and(|note| {
            note.origin == self.log.record().origin && note.size == size && note.root == *root
        });
        if !same {
            let reason = format!("the database has another checkpoint over {size} entries");
            return Err(Doubt::Altered(reason));
        }
        signed_here(&self.log, &self.signer, stored).await
    }

    /// A checkpoint that is not remembered is signed all the same: the one before it is remembered still.
    async fn remember(&self, checkpoint: &StoredCheckpoint) {
        let Some(guard) = self.log.guard().cloned() else { return };
        let note = checkpoint.note.clone();
        let remembered = tokio::task::spawn_blocking(move || guard.remember(&note)).await;
        let failure = match remembered {
            Ok(Ok(())) => {
                self.state.send_modify(|signed| signed.unremembered_since = None);
                return;
            }
            Ok(Err(error)) => crate::error::with_causes(&error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(error = failure, "the last checkpoint is not remembered outside the database");
        self.state.send_modify(|signed| {
            signed.unremembered_since.get_or_insert_with(OffsetDateTime::now_utc);
        });
    }

    /// Nothing is signed any more: a signature would make what somebody else did to the log the gateway's own word.
    fn refuse(&self, reason: String) {
        tracing::error!(
            reason,
            "the audit log is not what this gateway signed and wrote; it is not signed any more"
        );
        self.unsigned(reason, true);
    }

    fn good(&self, checkpoint: &StoredCheckpoint) {
        let failing = self.state.borrow().unsigned.is_some();
        if failing {
            tracing::info!(size = checkpoint.size, "the audit log is signed again");
        }
        let (size, at) = (checkpoint.size, Some(checkpoint.at));
        self.state.send_modify(|signed| {
            let unremembered_since = signed.unremembered_since;
            *signed = Signed { size, at, vouched: true, unsigned: None, unremembered_since };
        });
    }

    fn bad(&self, entries: u64, reason: String) {
        let since = self.state.borrow().unsigned.as_ref().map(|unsigned| unsigned.since);
        if since.is_none() {
            tracing::warn!(entries, reason, "the end of the audit log cannot be signed now; entries go on");
        }
        self.unsigned(reason, false);
    }

    fn unsigned(&self, reason: String, altered: bool) {
        let since = self.state.borrow().unsigned.as_ref().map(|unsigned| unsigned.since);
        let since = since.unwrap_or_else(OffsetDateTime::now_utc);
        self.state.send_modify(|signed| signed.unsigned = Some(Unsigned { since, reason, altered }));
    }
}
