//! The audit log: append-only entries, each a leaf of an RFC 9162 Merkle tree over SM3.
//!
//! One task owns the connection that writes. It takes whatever is waiting, writes it in one transaction and
//! answers every waiter after the commit, so that requests which arrive together share one durable write and
//! a lone request waits for nobody. Invariants: an index is given out only after its entry is on disk;
//! indices are dense from 0; a batch is in the log wholly or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use sqlx::AssertSqlSafe;
use time::{OffsetDateTime, UtcOffset};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::database::{AdvisoryLock, DedicatedConnection, Transaction, query};
use crate::idempotency::keep_in;
use crate::{Claim, KeptAnswer, Store, StoreError};

/// Most entries that may wait; the next one is refused.
const QUEUE: usize = 4096;
/// Most entries in one transaction.
const BATCH: usize = 512;
/// Longest time an append waits for its commit.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Most entries in one answer of [`Store::audit_entries`].
const PAGE: u32 = 1000;
/// Rows per insert statement, largest first: few statements per batch, all of them prepared once.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

/// What happened. Texts hold ids and digests, never the content they stand for.
///
/// The stored form is this struct as JSON (RFC 8785): its fields stand in the order of their names, absent
/// ones are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// What was asked for.
    pub action: String,
    /// Who asked: an app, an operator or the gateway itself.
    pub actor: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The device that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Digest of the input, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<String>,
    /// The key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How it ended: `ok` or the stable code of the error.
    pub outcome: String,
    /// The request it belongs to.
    pub request_id: String,
    /// Digest of the result, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl AuditEntry {
    /// The bytes that are stored and hashed.
    ///
    /// # Errors
    /// [`StoreError::AuditTime`]: RFC 3339 cannot write the time.
    pub fn canonical_json(mut self) -> Result<Vec<u8>, StoreError> {
        self.at = self.at.checked_to_offset(UtcOffset::UTC).ok_or(StoreError::AuditTime)?;
        serde_json::to_vec(&self).map_err(|_| StoreError::AuditTime)
    }
}

/// Leaf hash of an entry: SM3(0x00 ‖ entry), RFC 9162 section 2.1.1 with SM3.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sm3::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// Root over leaf hashes, RFC 9162 section 2.1.1 with SM3; of none, SM3 of nothing.
#[must_use]
pub fn root_of(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sm3::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sm3::new()
                .chain_update([1])
                .chain_update(root_of(left))
                .chain_update(root_of(right))
                .finalize()
                .into()
        }
    }
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place, dense from 0.
    pub index: u64,
    /// The canonical JSON that was hashed.
    pub entry: Vec<u8>,
    /// The hash stored beside it, not recomputed: see [`leaf_hash`].
    pub leaf_hash: [u8; 32],
}

/// The open end of the log. Clones append to the same log.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Waiting>,
    counters: Arc<Counters>,
    store: Store,
}

/// The task that writes. Dropping it stops the log as [`AuditWriter::finish`] does, without waiting.
pub struct AuditWriter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    entries: AtomicU64,
}

struct Waiting {
    entry: Vec<u8>,
    leaf_hash: [u8; 32],
    keeping: Option<Keeping>,
    answer: oneshot::Sender<u64>,
}

/// The answer to a request that holds an idempotency key, to be kept with the entry about what it did.
pub struct Keeping {
    /// The claim that holds the key.
    pub claim: Arc<Claim>,
    /// Makes the answer; it is given the entry's index.
    pub answer: Box<dyn FnOnce(u64) -> KeptAnswer + Send + Sync>,
}

impl AuditLog {
    /// Starts the writer on a connection of its own. A database has one log: start it once.
    ///
    /// # Errors
    /// The connection cannot be opened.
    pub async fn start(store: &Store) -> Result<(AuditLog, AuditWriter), StoreError> {
        let connection = store.dedicated_connection().await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let task = Task {
            store: store.clone(),
            connection: Some(connection),
            inserts: CHUNKS.map(|rows| (rows, insert_statement(rows))),
            counters: counters.clone(),
        };
        let task = tokio::spawn(task.run(waiting, stopped));
        Ok((AuditLog { queue, counters, store: store.clone() }, AuditWriter { stop, task }))
    }

    /// Appends an entry and answers its index once it is durable.
    ///
    /// Dropping the future does not take the entry back.
    ///
    /// # Errors
    /// [`StoreError::AuditUnavailable`] at once when the queue is full or the log has stopped, when the commit
    /// failed, and when it took more than five seconds: then the entry may still be written.
    pub async fn append(&self, entry: AuditEntry) -> Result<u64, StoreError> {
        self.append_keeping(entry, None).await
    }

    /// Appends an entry and keeps the answer to the request that it is about: both are durable, or neither is there.
    ///
    /// # Errors
    /// As for [`AuditLog::append`], and [`StoreError::AuditUnavailable`] too when the request does not hold its
    /// idempotency key any more: another one does, and will answer.
    pub async fn append_keeping(
        &self,
        entry: AuditEntry,
        keeping: Option<Keeping>,
    ) -> Result<u64, StoreError> {
        let entry = entry.canonical_json()?;
        let (answer, index) = oneshot::channel();
        let waiting = Waiting { leaf_hash: leaf_hash(&entry), entry, keeping, answer };
        self.queue.try_send(waiting).map_err(|_| StoreError::AuditUnavailable)?;
        match tokio::time::timeout(LONGEST_WAIT, index).await {
            Ok(Ok(index)) => Ok(index),
            _ => Err(StoreError::AuditUnavailable),
        }
    }

    /// Entries from `from` on, at most `limit` and at most 1,000.
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        self.store.audit_entries(from, limit).await
    }

    /// Transactions committed since the start.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.counters.commits.load(Ordering::Relaxed)
    }

    /// Entries made durable since the start.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.counters.entries.load(Ordering::Relaxed)
    }

    /// Entries waiting to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl AuditWriter {
    /// Refuses further entries, writes those that wait and closes the connection.
    pub async fn finish(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "audit writer ended badly");
        }
    }
}

impl Store {
    /// Audit entries from `from` on, at most `limit` and at most 1,000.
    pub async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let rows =
            query("SELECT idx, entry, leaf_hash FROM audit_entries WHERE idx >= $1 ORDER BY idx LIMIT $2")
                .bind(from)
                .bind(i64::from(limit.min(PAGE)))
                .fetch_all(self.readers())
                .await?;
        rows.iter()
            .map(|row| {
                let index: i64 = row.try_get("idx")?;
                let corrupt =
                    |column| StoreError::Corrupt { what: "audit entry", id: index.to_string(), column };
                Ok(StoredEntry {
                    index: u64::try_from(index).map_err(|_| corrupt("idx"))?,
                    entry: row.try_get("entry")?,
                    leaf_hash: row
                        .try_get::<&[u8], _>("leaf_hash")?
                        .try_into()
                        .map_err(|_| corrupt("leaf_hash"))?,
                })
            })
            .collect()
    }
}

struct Task {
    store: Store,
    /// Absent after a failure: the next batch opens a fresh one, which cannot hold half a transaction.
    connection: Option<DedicatedConnection>,
    inserts: [(usize, Arc<str>); CHUNKS.len()],
    counters: Arc<Counters>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut stopping = false;
        loop {
            let taken = tokio::select! {
                biased;
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    queue.close();
                    continue;
                }
                taken = queue.recv_many(&mut batch, BATCH) => taken,
            };
            if taken == 0 {
                break;
            }
            self.write(&mut batch).await;
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "audit connection did not close cleanly");
        }
    }

    /// Writes a batch and answers it; on failure the waiters learn it by their dropped channels.
    async fn write(&mut self, batch: &mut Vec<Waiting>) {
        let entries = batch.len();
        match self.commit(batch).await {
            Ok(first) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.entries.fetch_add(batch.len() as u64, Ordering::Relaxed);
                for (index, waiting) in (first..).zip(batch.drain(..)) {
                    // A waiter that has gone away is no reason to stop: its entry is in the log.
                    let _ = waiting.answer.send(index);
                }
            }
            Err(error) => {
                tracing::error!(%error, entries, "audit commit failed");
                batch.clear();
            }
        }
    }

    /// Makes a batch durable and answers the index of its first entry. Entries about requests that do not hold their
    /// idempotency keys any more are taken out of the batch.
    async fn commit(&mut self, batch: &mut Vec<Waiting>) -> Result<u64, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.store.dedicated_connection().await?,
        };
        // The head is read inside the transaction, so that a commit whose answer was lost leaves no gap.
        let mut transaction = connection.begin_write(AdvisoryLock::AuditLog).await?;
        let head: i64 = query("SELECT coalesce(max(idx) + 1, 0) FROM audit_entries")
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        let first = u64::try_from(head).map_err(|error| sqlx::Error::Decode(error.into()))?;
        if batch.iter().any(|waiting| waiting.keeping.is_some()) {
            keep_answers(&mut transaction, first, batch).await?;
        }
        let mut index = head;
        let mut rest = &batch[..];
        for (rows, statement) in &self.inserts {
            while rest.len() >= *rows {
                let (chunk, after) = rest.split_at(*rows);
                let mut insert = query(AssertSqlSafe(statement.clone()));
                for waiting in chunk {
                    insert = insert.bind(index).bind(&waiting.entry[..]).bind(&waiting.leaf_hash[..]);
                    index += 1;
                }
                insert.execute(&mut *transaction).await?;
                rest = after;
            }
        }
        transaction.commit().await?;
        self.connection = Some(connection);
        Ok(first)
    }
}

/// Keeps the answers that go with a batch, whose first entry gets the index `first`. Who does not hold its key any more
/// is taken out of the batch.
async fn keep_answers(
    transaction: &mut Transaction<'_>,
    first: u64,
    batch: &mut Vec<Waiting>,
) -> Result<(), sqlx::Error> {
    for mut waiting in std::mem::take(batch) {
        if let Some(Keeping { claim, answer }) = waiting.keeping.take()
            && !keep_in(&mut **transaction, &claim, &answer(first + batch.len() as u64)).await?
        {
            tracing::warn!(
                "what a request did is not recorded: it does not hold its idempotency key any more"
            );
            continue;
        }
        batch.push(waiting);
    }
    Ok(())
}

fn insert_statement(rows: usize) -> Arc<str> {
    let values: Vec<String> =
        (0..rows).map(|row| format!("(${}, ${}, ${})", row * 3 + 1, row * 3 + 2, row * 3 + 3)).collect();
    format!("INSERT INTO audit_entries (idx, entry, leaf_hash) VALUES {}", values.join(", ")).into()
}

impl Store {
    /// How many entries the audit log has.
    pub async fn audit_length(&self) -> Result<u64, StoreError> {
        let row =
            query("SELECT coalesce(max(idx) + 1, 0) FROM audit_entries").fetch_one(self.readers()).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default())
    }
}
