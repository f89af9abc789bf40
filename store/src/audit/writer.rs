//! Group commit: one task owns the connection that writes.
//!
//! It takes whatever is waiting, writes it in one transaction and answers every waiter after the commit, so that
//! requests which arrive together share one durable write and a lone request waits for nobody. Where many requests are
//! under way, a batch waits a moment for more of them: the processors that one commit costs are shared by more entries,
//! which then are answered sooner and not later. Invariants: an index is
//! given out only after its entry is on disk; indices are dense from 0; a batch is in the log wholly or not at all, with
//! the tiles of the tree that it fills.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::acting::{Act, Waiting, carry_out};
use super::checkpoint::{self, NewCheckpoint};
use super::guard::Guard;
use super::keeping::Keeping;
use super::tiles;
use super::tree::{Edge, Hash, TILE, Tile, leaf_hash};
use super::{AuditEntry, DEFAULT_REPLICA, LogId, LogRecord, StoredCheckpoint, StoredEntry, stored};
use crate::database::{DedicatedConnection, Query, query};
use crate::seals::SealChange;
use crate::stamp_jobs::StampedDocument;
use crate::stamps::{STAMP, Stamp};
use crate::{Moment, Store, StoreError, UnusedAccount};

/// Most entries that may wait; the next one is refused.
const QUEUE: usize = 4096;
/// Most entries in one transaction.
const BATCH: usize = 512;
/// Longest time an append waits for its commit.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Longest time a batch may take, when nobody waits for it any more.
const LONGEST_COMMIT: Duration = Duration::from_secs(10);
/// From so many requests under way on, a batch of more than one entry waits for others.
const COMPANY: usize = 32;
/// How long it does.
const GATHERING: Duration = Duration::from_millis(2);
/// Most rows of one statement. There is a statement for each number of rows, so that a batch of the usual size is one
/// round trip; fewer than the connection keeps prepared.
const ROWS: usize = 64;
/// Heads that commits without an answer would have led to, of which as many are kept.
const IN_DOUBT: usize = 10_000;

/// The open end of the log. Clones append to the same log.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Work>,
    counters: Arc<Counters>,
    head: watch::Receiver<u64>,
    record: Arc<LogRecord>,
    store: Store,
    guard: Option<Arc<Guard>>,
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
    /// Requests under way, as those say who serve them.
    under_way: Arc<AtomicUsize>,
}

enum Work {
    Entry(Waiting),
    Checkpoint(Box<NewCheckpoint>, oneshot::Sender<Option<StoredCheckpoint>>),
    Head(oneshot::Sender<Result<TreeHead, StoreError>>),
}

/// The tree as its writer holds it in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Entries in it.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl TreeHead {
    fn of(edge: &Edge) -> Self {
        Self { size: edge.size(), root: edge.root() }
    }
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
        Self::start_writer(store, record, None).await
    }

    /// The same for a gateway with a folder of its own: there it keeps what tells its entries from those that others
    /// insert, and the last checkpoint it signed.
    ///
    /// # Errors
    /// As for [`AuditLog::start_for`], and [`StoreError::AuditGuard`].
    pub async fn start_guarded(
        store: &Store,
        replica: &str,
        folder: &Path,
    ) -> Result<(AuditLog, AuditWriter), StoreError> {
        let record = store.audit_log_of(replica).await?;
        let guard = Guard::open(folder, replica, &record.origin)?;
        Self::start_writer(store, record, Some(Arc::new(guard))).await
    }

    async fn start_writer(
        store: &Store,
        record: LogRecord,
        guard: Option<Arc<Guard>>,
    ) -> Result<(AuditLog, AuditWriter), StoreError> {
        let mut connection = store.dedicated_connection().await?;
        let end = tiles::load_end(&mut connection, record.id).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let (heads, head) = watch::channel(end.edge.size());
        let counters = Arc::new(Counters::default());
        let task = Task {
            store: store.clone(),
            log: record.id,
            open: Some(connection),
            edge: end.edge,
            written_at: end.written_at,
            tried: None,
            in_doubt: VecDeque::new(),
            altered: None,
            guard: guard.clone(),
            inserts: (1..=ROWS).map(insert_statement).collect(),
            counters: counters.clone(),
            heads,
        };
        let task = tokio::spawn(task.run(waiting, stopped));
        let record = Arc::new(record);
        let log = AuditLog { queue, counters, head, record, store: store.clone(), guard, discarded: None };
        Ok((log, AuditWriter { stop, task }))
    }

    /// How many requests are under way of which each may append: whoever serves them counts them here, and where there are
    /// many, more of them share a commit.
    #[must_use]
    pub fn under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.counters.under_way)
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
        let appended = self.append_all(entry.canonical_json()?, keeping, None).await?;
        appended.ok_or(StoreError::AuditUnavailable)
    }

    /// Appends the entry about a stamp, with the digest of what the register will say of it, and with it the stamp to the
    /// register and the answer to the request: all of it is durable, or nothing is there.
    ///
    /// # Errors
    /// As for [`AuditLog::append_keeping`], and [`StoreError::Changed`] when there is a stamp of its number by now.
    pub async fn append_stamp(
        &self,
        entry: AuditEntry,
        stamp: Stamp,
        keeping: Option<Keeping>,
    ) -> Result<u64, StoreError> {
        if let Some(discarded) = &self.discarded {
            return self.discard(discarded, keeping).await;
        }
        let entry = entry.canonical_json_with(&stamp.digest())?;
        let forestalled = StoreError::Changed { what: STAMP, id: stamp.id.clone() };
        self.append_all(entry, keeping, Some(Act::Stamp(Box::new(stamp)))).await?.ok_or(forestalled)
    }

    /// The same of a stamp that was ordered among many: with the entry and the stamp, the document has its result; or nothing
    /// of it is there.
    ///
    /// # Errors
    /// As for [`AuditLog::append`], and [`StoreError::Changed`] when somebody else holds the document by now.
    pub async fn append_job_stamp(
        &self,
        entry: AuditEntry,
        stamp: Stamp,
        document: StampedDocument,
    ) -> Result<u64, StoreError> {
        let changed = || StoreError::Changed { what: "stamp job", id: document.job.clone() };
        if let Some(discarded) = &self.discarded {
            let done = self.store.stamped_unrecorded(&document, &stamp.id).await?;
            return if done { Ok(discarded.fetch_add(1, Ordering::Relaxed)) } else { Err(changed()) };
        }
        let forestalled = changed();
        let entry = entry.canonical_json_with(&stamp.digest())?;
        let act = Act::JobStamp(Box::new((stamp, document)));
        self.append_all(entry, None, Some(act)).await?.ok_or(forestalled)
    }

    /// Turns an account off that nobody uses, and appends the entry that says so: both are durable, or neither is there. No
    /// index, and no entry, if the account was used meanwhile, or is turned off already.
    ///
    /// # Errors
    /// As for [`AuditLog::append`].
    pub async fn append_turning_off(
        &self,
        entry: AuditEntry,
        unused: UnusedAccount,
    ) -> Result<Option<u64>, StoreError> {
        if let Some(discarded) = &self.discarded {
            let done = self.store.turn_off_unrecorded(&unused).await?;
            return Ok(done.then(|| discarded.fetch_add(1, Ordering::Relaxed)));
        }
        self.append_all(entry.canonical_json()?, None, Some(Act::TurnOff(Box::new(unused)))).await
    }

    /// Appends the entry about a change of a seal, and makes the change: both are durable, or neither is there. Never
    /// thrown away: who may use a seal is not to be changed without a record.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::NotAllowed`] and [`StoreError::AlreadyExists`] when another change came
    /// first: then there is no entry either.
    pub async fn append_seal(&self, entry: AuditEntry, change: SealChange) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Seal(Box::new(change));
        self.append_all(entry.canonical_json()?, None, Some(act)).await?.ok_or(forestalled)
    }

    pub(super) async fn append_all(
        &self,
        entry: Vec<u8>,
        keeping: Option<Keeping>,
        act: Option<Act>,
    ) -> Result<Option<u64>, StoreError> {
        let keeping = match keeping {
            Some(keeping) => Some(keeping.sealed(&self.store).await?),
            None => None,
        };
        let (answer, index) = oneshot::channel();
        let waiting = Waiting { leaf_hash: leaf_hash(&entry), entry, keeping, act, answer };
        self.hand_over(Work::Entry(waiting), index).await
    }

    /// Throws an entry away; an answer that goes with it is kept all the same.
    async fn discard(&self, discarded: &AtomicU64, keeping: Option<Keeping>) -> Result<u64, StoreError> {
        let index = discarded.fetch_add(1, Ordering::Relaxed);
        if let Some(Keeping { claim, answer }) = keeping
            && !self.store.keep_answer(&claim, &answer.placed(index)).await?
        {
            return Err(StoreError::AuditUnavailable);
        }
        Ok(index)
    }

    /// Stores a checkpoint with the next commit. Answers the one that is stored: another where one over as many entries
    /// was there.
    ///
    /// # Errors
    /// [`StoreError::AuditAltered`] when one over more entries is there.
    pub(crate) async fn store_checkpoint(&self, new: NewCheckpoint) -> Result<StoredCheckpoint, StoreError> {
        let (answer, stored) = oneshot::channel();
        let size = new.size;
        let stored = self.hand_over(Work::Checkpoint(Box::new(new), answer), stored).await?;
        stored.ok_or_else(|| StoreError::AuditAltered {
            reason: format!("the database has another checkpoint, over more than {size} entries"),
        })
    }

    /// The tree as the writer holds it: what the database says of it is not asked.
    ///
    /// # Errors
    /// [`StoreError::AuditAltered`] once the database had other entries than those that were written;
    /// [`StoreError::AuditUnavailable`].
    pub async fn tree_head(&self) -> Result<TreeHead, StoreError> {
        let (answer, head) = oneshot::channel();
        self.hand_over(Work::Head(answer), head).await?
    }

    pub(crate) fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
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
    open: Option<DedicatedConnection>,
    /// The tree over what was committed for sure.
    edge: Edge,
    /// When the last entry was written.
    written_at: i64,
    /// The tree with the batch that is being committed.
    tried: Option<Edge>,
    /// Heads of trees with a batch whose commit was not answered: one of them may be in the database.
    in_doubt: VecDeque<TreeHead>,
    /// What somebody else did to the end of the log, once he has.
    altered: Option<String>,
    guard: Option<Arc<Guard>>,
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
            if count > 1 && !stopping && self.counters.under_way.load(Ordering::Relaxed) >= COMPANY {
                tokio::time::sleep(GATHERING).await;
                while taken.len() < BATCH
                    && let Ok(work) = queue.try_recv()
                {
                    taken.push(work);
                }
            }
            let (mut entries, mut checkpoints, mut heads) =
                (Vec::with_capacity(taken.len()), Vec::new(), Vec::new());
            for work in taken.drain(..) {
                match work {
                    Work::Entry(waiting) => entries.push(waiting),
                    Work::Checkpoint(new, answer) => checkpoints.push((new, answer)),
                    Work::Head(answer) => heads.push(answer),
                }
            }
            if self.open.is_none() || !entries.is_empty() || !checkpoints.is_empty() {
                self.write(entries, checkpoints).await;
            }
            for answer in heads {
                let _ = answer.send(self.head()); // who has gone away does not matter
            }
        }
        if let Some(connection) = self.open
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "audit connection did not close cleanly");
        }
    }

    /// Writes a batch and answers it; on failure the waiters learn it by their dropped channels.
    async fn write(
        &mut self,
        mut entries: Vec<Waiting>,
        checkpoints: Vec<(Box<NewCheckpoint>, oneshot::Sender<Option<StoredCheckpoint>>)>,
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
                    let _ = waiting.answer.send(Some(index));
                }
                for (stored, answer) in stored.into_iter().zip(asking) {
                    let _ = answer.send(stored); // likewise
                }
            }
            Err(error) => {
                if let Some(tried) = self.tried.take().filter(|tried| tried.size() > self.edge.size()) {
                    self.in_doubt.truncate(IN_DOUBT - 1);
                    self.in_doubt.push_front(TreeHead::of(&tried));
                }
                let error = crate::error::with_causes(&error);
                tracing::error!(error, entries = entries.len(), "audit commit failed");
            }
        }
    }

    fn head(&self) -> Result<TreeHead, StoreError> {
        match &self.altered {
            Some(reason) => Err(StoreError::AuditAltered { reason: reason.clone() }),
            None if self.open.is_none() => Err(StoreError::AuditUnavailable),
            None => Ok(TreeHead::of(&self.edge)),
        }
    }

    /// Opens a fresh connection and looks where the log ends: where this writer left it, or after one of the batches
    /// whose commit was not answered. Anything else was written by somebody else. Then entries go on, and nothing is
    /// signed any more.
    async fn reopen(&mut self) -> Result<DedicatedConnection, StoreError> {
        let mut connection = self.store.dedicated_connection().await?;
        let end = tiles::load_end(&mut connection, self.log).await?;
        let (found, known) = (TreeHead::of(&end.edge), TreeHead::of(&self.edge));
        if found != known {
            if !self.in_doubt.contains(&found) && self.altered.is_none() {
                let (entries, written) = (found.size, known.size);
                let reason =
                    format!("its tree of {entries} entries is not the one of {written} that was written");
                tracing::error!(
                    entries,
                    written,
                    "the audit log was altered outside the gateway; it is not signed any more"
                );
                self.altered = Some(reason);
            }
            self.in_doubt.clear();
        }
        (self.edge, self.written_at) = (end.edge, end.written_at);
        // What a commit wrote whose answer was lost is to be signed too, and that a log was altered to be said.
        let altered = self.altered.is_some();
        self.heads.send_if_modified(|head| {
            let is_news = altered || *head != found.size;
            *head = found.size;
            is_news
        });
        Ok(connection)
    }

    /// Makes a batch durable and answers the index of its first entry. Entries about requests that do not hold their
    /// idempotency keys any more, and those about what others forestalled or what cannot be done, are taken out of the batch.
    async fn commit(
        &mut self,
        entries: &mut Vec<Waiting>,
        checkpoints: &[Box<NewCheckpoint>],
    ) -> Result<(u64, Vec<Option<StoredCheckpoint>>), StoreError> {
        let mut connection = match self.open.take() {
            Some(open) => open,
            None => self.reopen().await?,
        };
        let first = self.edge.size();
        // A clock that was set back does not show in the log, and one that was set far ahead does not stay in it.
        let written_at = self.written_at.max(self.store.reckoned(Moment::now()).unix_timestamp());
        let keeps = entries.iter().any(|waiting| waiting.keeping.is_some());
        let fills_a_tile = first / TILE != (first + entries.len() as u64) / TILE;
        let acts = entries.iter().any(|waiting| waiting.act.is_some());
        let one_statement = (1..=ROWS).contains(&entries.len()) && !keeps && !acts && !fills_a_tile;
        if one_statement && checkpoints.is_empty() {
            self.grown(entries);
            connection.execute(self.insertion(entries, first, written_at)).await?;
            self.committed(connection, written_at);
            return Ok((first, Vec::new()));
        }
        let mut transaction = connection.begin_write().await?;
        if acts || keeps {
            carry_out(&mut transaction, self.store.protection(), (self.log, first), entries).await?;
        }
        let full = self.grown(entries);
        let mut index = first;
        for chunk in entries.chunks(ROWS) {
            self.insertion(chunk, index, written_at).execute(&mut *transaction).await?;
            index += chunk.len() as u64;
        }
        tiles::insert_tiles(&mut transaction, self.log, &full).await?;
        let mut stored = Vec::new();
        for new in checkpoints {
            stored.push(checkpoint::insert(&mut transaction, self.log, new).await?);
        }
        transaction.commit().await?;
        self.committed(connection, written_at);
        Ok((first, stored))
    }

    /// Tries the tree with a batch; answers the tiles that it fills.
    fn grown(&mut self, entries: &[Waiting]) -> Vec<Tile> {
        let (mut edge, mut full) = (self.edge.clone(), Vec::new());
        for waiting in entries {
            edge.push(waiting.leaf_hash, &mut full);
        }
        self.tried = Some(edge);
        full
    }

    fn committed(&mut self, connection: DedicatedConnection, written_at: i64) {
        if let Some(edge) = self.tried.take() {
            if edge.size() > self.edge.size() {
                self.in_doubt.clear(); // their places are taken
            }
            self.edge = edge;
        }
        (self.open, self.written_at) = (Some(connection), written_at);
    }

    /// The statement that inserts these entries, of which the first gets the index `first`: 1 to [`ROWS`] of them.
    fn insertion<'q>(&self, entries: &'q [Waiting], first: u64, written_at: i64) -> Query<'q> {
        let mut insert = query(AssertSqlSafe(self.inserts[entries.len() - 1].clone()));
        for (index, waiting) in (first..).zip(entries) {
            insert = insert.bind(self.log.0).bind(stored(index)).bind(written_at);
            insert = insert.bind(&waiting.entry[..]).bind(&waiting.leaf_hash[..]);
            insert = insert.bind(self.guard.as_ref().map(|guard| guard.code(index, &waiting.leaf_hash)));
        }
        insert
    }
}

fn insert_statement(rows: usize) -> Arc<str> {
    const COLUMNS: usize = 6;
    let row = |row: usize| {
        let places: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", places.join(", "))
    };
    let values: Vec<_> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash, code) VALUES {}",
        values.join(", ")
    )
    .into()
}
