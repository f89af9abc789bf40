//! Group commit: one task owns the connection that writes.
//!
//! It takes whatever is waiting, writes it in one transaction and answers every waiter after the commit, so that
//! requests which arrive together share one durable write and a lone request waits for nobody. Invariants: an index is
//! given out only after its entry is on disk; indices are dense from 0; a batch is in the log wholly or not at all, with
//! the tiles of the tree that it fills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::checkpoint::{self, NewCheckpoint};
use super::tiles::{self, End};
use super::tree::{Hash, TILE, leaf_hash};
use super::{AuditEntry, DEFAULT_REPLICA, LogId, LogRecord, StoredCheckpoint, StoredEntry, stored};
use crate::database::{DedicatedConnection, Query, Transaction, query};
use crate::idempotency::keep_in;
use crate::{Claim, KeptAnswer, Store, StoreError};

/// Most entries that may wait; the next one is refused.
const QUEUE: usize = 4096;
/// Most entries in one transaction.
const BATCH: usize = 512;
/// Longest time an append waits for its commit.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Longest time a batch may take, when nobody waits for it any more.
const LONGEST_COMMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most rows of one statement. There is a statement for each number of rows, so that a batch of the usual size is one
/// round trip; fewer than the connection keeps prepared.
const ROWS: usize = 64;

/// The open end of the log. Clones append to the same log.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Work>,
    counters: Arc<Counters>,
    head: watch::Receiver<u64>,
    record: Arc<LogRecord>,
    store: Store,
    /// Counts what it throws away instead of writing it.
    discarded: Option<Arc<AtomicU64>>,
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

enum Work {
    Entry(Waiting),
    Checkpoint(Box<NewCheckpoint>, oneshot::Sender<StoredCheckpoint>),
}

struct Waiting {
    entry: Vec<u8>,
    leaf_hash: Hash,
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
    /// Starts the writer of the log that [`DEFAULT_REPLICA`] writes.
    ///
    /// # Errors
    /// See [`AuditLog::start_for`].
    pub async fn start(store: &Store) -> Result<(AuditLog, AuditWriter), StoreError> {
        Self::start_for(store, DEFAULT_REPLICA).await
    }

    /// Starts the writer of a replica's log on a connection of its own; the log is made if it is new. A log has one
    /// writer: start it once.
    ///
    /// # Errors
    /// The connection cannot be opened, or the end of the log cannot be read.
    pub async fn start_for(store: &Store, replica: &str) -> Result<(AuditLog, AuditWriter), StoreError> {
        let record = store.audit_log_of(replica).await?;
        let mut connection = store.dedicated_connection().await?;
        let end = tiles::load_end(&mut connection, record.id).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let (heads, head) = watch::channel(end.edge.size());
        let counters = Arc::new(Counters::default());
        let task = Task {
            store: store.clone(),
            log: record.id,
            open: Some((connection, end)),
            inserts: (1..=ROWS).map(insert_statement).collect(),
            counters: counters.clone(),
            heads,
        };
        let task = tokio::spawn(task.run(waiting, stopped));
        let record = Arc::new(record);
        let log = AuditLog { queue, counters, head, record, store: store.clone(), discarded: None };
        Ok((log, AuditWriter { stop, task }))
    }

    /// The same log, but what is appended here is thrown away: for measuring what the record costs.
    #[must_use]
    pub fn discarding(self) -> Self {
        Self { discarded: Some(Arc::default()), ..self }
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
        if let Some(discarded) = &self.discarded {
            return self.discard(discarded, keeping).await;
        }
        let entry = entry.canonical_json()?;
        let (answer, index) = oneshot::channel();
        let waiting = Waiting { leaf_hash: leaf_hash(&entry), entry, keeping, answer };
        self.hand_over(Work::Entry(waiting), index).await
    }

    /// Throws an entry away; an answer that goes with it is kept all the same.
    async fn discard(&self, discarded: &AtomicU64, keeping: Option<Keeping>) -> Result<u64, StoreError> {
        let index = discarded.fetch_add(1, Ordering::Relaxed);
        if let Some(Keeping { claim, answer }) = keeping
            && !self.store.keep_answer(&claim, &answer(index)).await?
        {
            return Err(StoreError::AuditUnavailable);
        }
        Ok(index)
    }

    /// Stores a checkpoint with the next commit.
    pub(crate) async fn store_checkpoint(&self, new: NewCheckpoint) -> Result<StoredCheckpoint, StoreError> {
        let (answer, stored) = oneshot::channel();
        self.hand_over(Work::Checkpoint(Box::new(new), answer), stored).await
    }

    async fn hand_over<T>(&self, work: Work, answer: oneshot::Receiver<T>) -> Result<T, StoreError> {
        self.queue.try_send(work).map_err(|_| StoreError::AuditUnavailable)?;
        match tokio::time::timeout(LONGEST_WAIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(StoreError::AuditUnavailable),
        }
    }

    /// Entries from `from` on, at most `limit` and at most 1,000.
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        self.store.audit_entries_of(self.record.id, from, limit).await
    }

    /// Which log this is.
    #[must_use]
    pub fn record(&self) -> &LogRecord {
        &self.record
    }

    /// The database it stands in.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// How many entries are durable; changes with every commit that adds some.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
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

struct Task {
    store: Store,
    log: LogId,
    /// Absent after a failure: the next batch opens a fresh connection, which cannot hold half a transaction, and reads
    /// the end of the log anew, because a commit whose answer was lost may have been made.
    open: Option<(DedicatedConnection, End)>,
    /// By the number of rows, from one on.
    inserts: Vec<Arc<str>>,
    counters: Arc<Counters>,
    heads: watch::Sender<u64>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Work>, mut stop: oneshot::Receiver<()>) {
        let mut taken = Vec::with_capacity(BATCH);
        let mut stopping = false;
        loop {
            let count = tokio::select! {
                biased;
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    queue.close();
                    continue;
                }
                count = queue.recv_many(&mut taken, BATCH) => count,
            };
            if count == 0 {
                break;
            }
            let (mut entries, mut checkpoints) = (Vec::with_capacity(count), Vec::new());
            for work in taken.drain(..) {
                match work {
                    Work::Entry(waiting) => entries.push(waiting),
                    Work::Checkpoint(new, answer) => checkpoints.push((new, answer)),
                }
            }
            self.write(entries, checkpoints).await;
        }
        if let Some((connection, _)) = self.open
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "audit connection did not close cleanly");
        }
    }

    /// Writes a batch and answers it; on failure the waiters learn it by their dropped channels.
    async fn write(
        &mut self,
        mut entries: Vec<Waiting>,
        checkpoints: Vec<(Box<NewCheckpoint>, oneshot::Sender<StoredCheckpoint>)>,
    ) {
        let (checkpoints, asking): (Vec<_>, Vec<_>) = checkpoints.into_iter().unzip();
        // A server that vanished without a word must not hold the log for as long as the system waits for it. The
        // connection goes with what is given up, and the next batch reads where the log ends.
        let commit = tokio::time::timeout(LONGEST_COMMIT, self.commit(&mut entries, &checkpoints));
        match commit.await.unwrap_or(Err(StoreError::AuditUnavailable)) {
            Ok((first, stored)) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                if !entries.is_empty() {
                    self.heads.send_replace(first + entries.len() as u64);
                }
                for (index, waiting) in (first..).zip(entries) {
                    // A waiter that has gone away is no reason to stop: its entry is in the log.
                    let _ = waiting.answer.send(index);
                }
                for (stored, answer) in stored.into_iter().zip(asking) {
                    let _ = answer.send(stored); // likewise
                }
            }
            Err(error) => {
                let error = crate::error::with_causes(&error);
                tracing::error!(error, entries = entries.len(), "audit commit failed");
            }
        }
    }

    /// Makes a batch durable and answers the index of its first entry. Entries about requests that do not hold their
    /// idempotency keys any more are taken out of the batch.
    async fn commit(
        &mut self,
        entries: &mut Vec<Waiting>,
        checkpoints: &[Box<NewCheckpoint>],
    ) -> Result<(u64, Vec<StoredCheckpoint>), StoreError> {
        let (mut connection, mut end) = match self.open.take() {
            Some(open) => open,
            None => {
                let mut connection = self.store.dedicated_connection().await?;
                let end = tiles::load_end(&mut connection, self.log).await?;
                // What a commit wrote whose answer was lost is to be signed too.
                self.heads.send_if_modified(|head| {
                    let is_news = *head != end.edge.size();
                    *head = end.edge.size();
                    is_news
                });
                (connection, end)
            }
        };
        let first = end.edge.size();
        // A clock that was set back does not show in the log.
        end.written_at = end.written_at.max(OffsetDateTime::now_utc().unix_timestamp());
        let keeps = entries.iter().any(|waiting| waiting.keeping.is_some());
        let fills_a_tile = first / TILE != (first + entries.len() as u64) / TILE;
        let one_statement = (1..=ROWS).contains(&entries.len()) && !keeps && !fills_a_tile;
        let mut full = Vec::new();
        if one_statement && checkpoints.is_empty() {
            connection.execute(self.insertion(entries, first, end.written_at)).await?;
            for waiting in entries.iter() {
                end.edge.push(waiting.leaf_hash, &mut full);
            }
            self.open = Some((connection, end));
            return Ok((first, Vec::new()));
        }
        let mut transaction = connection.begin_write().await?;
        if keeps {
            keep_answers(&mut transaction, first, entries).await?;
        }
        let mut index = first;
        for chunk in entries.chunks(ROWS) {
            self.insertion(chunk, index, end.written_at).execute(&mut *transaction).await?;
            index += chunk.len() as u64;
        }
        for waiting in entries.iter() {
            end.edge.push(waiting.leaf_hash, &mut full);
        }
        tiles::insert_tiles(&mut transaction, self.log, &full).await?;
        let mut stored = Vec::new();
        for new in checkpoints {
            stored.push(checkpoint::insert(&mut transaction, self.log, new).await?);
        }
        transaction.commit().await?;
        self.open = Some((connection, end));
        Ok((first, stored))
    }

    /// The statement that inserts these entries, of which the first gets the index `first`: 1 to [`ROWS`] of them.
    fn insertion<'q>(&self, entries: &'q [Waiting], first: u64, written_at: i64) -> Query<'q> {
        let mut insert = query(AssertSqlSafe(self.inserts[entries.len() - 1].clone()));
        for (index, waiting) in (first..).zip(entries) {
            insert = insert.bind(self.log.0).bind(stored(index)).bind(written_at);
            insert = insert.bind(&waiting.entry[..]).bind(&waiting.leaf_hash[..]);
        }
        insert
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
    const COLUMNS: usize = 5;
    let row = |row: usize| {
        let places: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", places.join(", "))
    };
    let values: Vec<_> = (0..rows).map(row).collect();
    format!("INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash) VALUES {}", values.join(", "))
        .into()
}
