//! What was used once and must not be used again: nonces of signed requests and ids of client assertions, in one
//! table that all replicas share.
//!
//! One task owns the connection that writes. It takes whatever is waiting, inserts it in one transaction and answers
//! every waiter after the commit, so that requests which arrive together share one write. The commit is not waited
//! for on disk: the database writes its log in order, so whatever a request did that *is* waited for on disk (its
//! audit entry above all) takes the request's nonce there before it. A power cut can forget the nonces of the last
//! moment's requests that left no such trace, which are reads; a crash of the gateway forgets none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use config::AppId;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::database::{DedicatedConnection, query};
use crate::words::words;
use crate::{Moment, Store, StoreError};

/// Most nonces that may wait; the next one is refused.
const QUEUE: usize = 4096;
/// Most nonces in one transaction.
const BATCH: usize = 512;
/// Rows per insert statement, largest first: few statements per batch, all of them prepared once.
const CHUNKS: [usize; 4] = [128, 16, 4, 1];
/// Longest time somebody waits for the commit.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Longest time a batch may take, when nobody waits for it any more.
const LONGEST_COMMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// How often expired nonces are removed, after a batch.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(30);

words! {
    /// What kind of thing was used once.
    NonceSpace {
        /// The nonce of a signed request.
        Request = "request",
        /// The id (`jti`) of a client assertion.
        Assertion = "assertion",
    }
}

/// The guard against replays. Clones share it.
#[derive(Clone)]
pub struct Nonces {
    queue: mpsc::Sender<Waiting>,
}

/// The task behind [`Nonces`].
pub struct NonceWriter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Waiting {
    nonce: Used,
    expires_at: i64,
    answer: oneshot::Sender<bool>,
}

type Used = (NonceSpace, String, String);

impl Nonces {
    /// Starts the writer on a connection of its own.
    ///
    /// # Errors
    /// The connection cannot be opened.
    pub async fn start(store: &Store) -> Result<(Self, NonceWriter), StoreError> {
        let connection = connect(store).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = Task {
            store: store.clone(),
            connection: Some(connection),
            inserts: CHUNKS.map(|rows| (rows, insert_statement(rows))),
            swept: None,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(task.run(waiting, stopped));
        Ok((Self { queue }, NonceWriter { stop, task }))
    }

    /// Whether this is the first use of a nonce by this app, on any replica. From then on it is used, until
    /// `expires_at`.
    ///
    /// # Errors
    /// [`StoreError::NoncesUnavailable`] when too many wait, the writer has stopped, or the commit failed or took
    /// more than five seconds: nobody knows then, so nothing may be done.
    pub async fn first_use(
        &self,
        space: NonceSpace,
        app: &AppId,
        nonce: &str,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let (answer, first) = oneshot::channel();
        let nonce = (space, app.to_string(), nonce.to_owned());
        let waiting = Waiting { nonce, expires_at: expires_at.unix_timestamp(), answer };
        self.queue.try_send(waiting).map_err(|_| StoreError::NoncesUnavailable)?;
        match tokio::time::timeout(LONGEST_WAIT, first).await {
            Ok(Ok(first)) => Ok(first),
            _ => Err(StoreError::NoncesUnavailable),
        }
    }
}

impl Store {
    /// Removes nonces whose time is over; answers how many.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_nonces(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let removed = query("DELETE FROM nonces WHERE expires_at < $1").bind(now.unix_timestamp());
        Ok(removed.execute(self.writer()).await?.rows_affected())
    }
}

impl NonceWriter {
    /// Refuses further nonces, writes those that wait and closes the connection.
    pub async fn finish(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the writer of nonces ended badly");
        }
    }
}

struct Task {
    store: Store,
    /// Absent after a failure: the next batch opens a fresh one, which cannot hold half a transaction.
    connection: Option<DedicatedConnection>,
    inserts: [(usize, Arc<str>); CHUNKS.len()],
    /// When expired nonces were removed last.
    swept: Option<Instant>,
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
            // A server that vanished without a word must not hold the others for as long as the system waits for it.
            let commit = tokio::time::timeout(LONGEST_COMMIT, self.commit(&batch));
            match commit.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(mut fresh) => {
                    for waiting in batch.drain(..) {
                        // Taken out, so that of two in one batch only one is the first.
                        let _ = waiting.answer.send(fresh.remove(&waiting.nonce));
                    }
                    self.sweep().await;
                }
                Err(error) => {
                    tracing::error!(%error, nonces = batch.len(), "nonces could not be written");
                    batch.clear(); // the waiters learn it by their dropped channels
                }
            }
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the connection for nonces did not close cleanly");
        }
    }

    /// Makes a batch's nonces used and answers those that were not before.
    async fn commit(&mut self, batch: &[Waiting]) -> Result<HashSet<Used>, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.store).await?,
        };
        // Each once, and the longest-lived of equals.
        let mut used: HashMap<&Used, i64> = HashMap::with_capacity(batch.len());
        for waiting in batch {
            let expires_at = used.entry(&waiting.nonce).or_default();
            *expires_at = waiting.expires_at.max(*expires_at);
        }
        let mut used: Vec<_> = used.into_iter().collect();
        used.sort_unstable(); // replicas that insert the same ones in one order do not wait for each other in a circle
        let mut transaction = connection.begin_write().await?;
        let mut fresh = HashSet::with_capacity(used.len());
        let mut rest = &used[..];
        for (rows, statement) in &self.inserts {
            while rest.len() >= *rows {
                let (chunk, after) = rest.split_at(*rows);
                let mut insert = query(AssertSqlSafe(statement.clone()));
                for ((space, app, nonce), expires_at) in chunk {
                    insert = insert.bind(space.as_str()).bind(app).bind(nonce).bind(*expires_at);
                }
                for row in insert.fetch_all(&mut *transaction).await? {
                    let space: String = row.try_get("space")?;
                    let Some(space) = NonceSpace::parse(&space) else { continue };
                    fresh.insert((space, row.try_get("app")?, row.try_get("nonce")?));
                }
                rest = after;
            }
        }
        transaction.commit().await?;
        self.connection = Some(connection);
        Ok(fresh)
    }

    /// Removes what has expired, now and then. It is no part of a batch: replicas that remove the same rows may get in
    /// each other's way, and no request is to fail for that.
    async fn sweep(&mut self) {
        if self.swept.is_some_and(|swept| swept.elapsed() < SWEEP) {
            return;
        }
        self.swept = Some(Instant::now());
        let removed = async {
            let now = self.store.time_to_remove(Moment::now()).await?;
            self.store.forget_nonces(now).await
        };
        if let Err(error) = removed.await {
            let error = crate::error::with_causes(&error);
            tracing::warn!(error, "expired nonces could not be removed; they are tried again later");
        }
    }
}

async fn connect(store: &Store) -> Result<DedicatedConnection, sqlx::Error> {
    let mut connection = store.dedicated_connection().await?;
    connection.leave_the_disk_to_others().await?;
    Ok(connection)
}

fn insert_statement(rows: usize) -> Arc<str> {
    let row = |row: usize| {
        let [space, app, nonce, expires_at] = [1, 2, 3, 4].map(|column| row * 4 + column);
        format!("(${space}, ${app}, ${nonce}, ${expires_at})")
    };
    let values: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO nonces (space, app, nonce, expires_at) VALUES {} ON CONFLICT DO NOTHING \
         RETURNING space, app, nonce",
        values.join(", ")
    )
    .into()
}
