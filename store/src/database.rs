//! Opening, migrating and closing the database.
//!
//! SQLite takes one writer at a time, so writes go through a pool of one connection, where they wait in
//! line instead of colliding. In PostgreSQL transactions that read before they write take an advisory lock, with
//! the same effect over all gateways; single statements need none. Reads have a pool of their own, whose
//! connections cannot write. The audit log brings its own connection (`audit.rs`).

mod access;
mod connection;
mod query;
mod schema;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection as _};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit};

use access::Address;
pub use access::DatabaseAccess;
pub use connection::PoolFigures;
pub(crate) use connection::{
    AdvisoryLock, Connection, DedicatedConnection, NAME_SPACE, Pool, Transaction, Turns,
};
pub(crate) use query::{Executor, Query, Row, query};

use crate::claims::ClaimQueue;
use crate::protection::Protection;
use crate::{Moment, StoreError};

/// Most password hashes computed at a time: each takes 19 MiB.
const COMPUTATIONS: usize = 2;

/// Which of the two databases it is, for the few places where their SQL differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A file that one gateway has to itself.
    Sqlite,
    /// A server that gateways share.
    Postgres,
}

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store(Arc<Connections>);

struct Connections {
    address: Address,
    readers: Pool,
    writer: Pool,
    turns: Turns,
    claims: ClaimQueue,
    computing: Semaphore,
    protection: Protection,
    opened: Moment,
    /// The name this gateway has joined under.
    replica: OnceLock<String>,
}

impl Store {
    /// Opens the database, which must exist: see [`DatabaseAccess::new`] for its address.
    ///
    /// An older schema is left for [`Store::migrate`], which has to run before anything else.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] for a schema that is newer than this program; [`StoreError::UnfitServer`] for
    /// a PostgreSQL server that would lose what it confirms; [`StoreError::Open`]; [`StoreError::UnsupportedUrl`].
    pub async fn open(access: impl Into<DatabaseAccess>) -> Result<Self, StoreError> {
        let access = access.into();
        Self::connect(Address::of(&access)?, access.slow).await
    }

    /// Opens the database and migrates it. A SQLite file that is not there is made; in PostgreSQL the database
    /// itself is made by whoever runs the server.
    ///
    /// # Errors
    /// Those of [`Store::open`] and [`Store::migrate`].
    pub async fn create(access: impl Into<DatabaseAccess>) -> Result<Self, StoreError> {
        let access = access.into();
        let address = Address::of(&access)?;
        if let Address::Sqlite(options) = &address {
            let created = options.clone().create_if_missing(true).connect().await;
            created.map_err(|source| address.opening(source))?.close().await?;
        }
        let store = Self::connect(address, access.slow).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Query`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        query("SELECT 1").execute(self.readers()).await?;
        Ok(())
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match &self.0.address {
            Address::Sqlite(_) => Dialect::Sqlite,
            Address::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The keys that what is stored is protected under.
    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.0.protection
    }

    /// The name this gateway has among those on the database; none before [`Store::join`].
    #[must_use]
    pub fn replica(&self) -> Option<&str> {
        self.0.replica.get().map(String::as_str)
    }

    /// Notes the name. The first one stays.
    pub(crate) fn named(&self, replica: &str) {
        let _ = self.0.replica.set(replica.to_owned());
    }

    /// Waits for running statements and closes every connection; clones fail from then on.
    pub async fn close(self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    /// How its connections are used now.
    #[must_use]
    pub fn pools(&self) -> [PoolFigures; 2] {
        [self.readers().figures("read"), self.writer().figures("write")]
    }

    async fn connect(address: Address, slow: Duration) -> Result<Self, StoreError> {
        // Pools try again for as long as they may and then say only that time is up: this says why.
        let turns = Turns::of(&address);
        let first =
            DedicatedConnection::open(&address, &turns).await.map_err(|source| address.opening(source))?;
        first.close().await?;
        let writer = Pool::of_writers(&address, slow).await.map_err(|source| address.opening(source))?;
        let readers = Pool::of_readers(&address, slow).await.map_err(|source| address.opening(source))?;
        let computing = Semaphore::new(COMPUTATIONS);
        let store = Store(Arc::new(Connections {
            address,
            readers,
            writer,
            turns,
            claims: ClaimQueue::default(),
            computing,
            protection: Protection::default(),
            opened: Moment::now(),
            replica: OnceLock::new(),
        }));
        store.refuse_unfit_server().await?;
        store.refuse_newer_schema().await?;
        Ok(store)
    }

    /// Connections for reading.
    pub(crate) fn readers(&self) -> &Pool {
        &self.0.readers
    }

    /// Connections for single statements that write.
    pub(crate) fn writer(&self) -> &Pool {
        &self.0.writer
    }

    /// Whose turn it is to write.
    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// When the store was opened.
    pub(crate) fn opened(&self) -> Moment {
        self.0.opened
    }

    /// Where idempotency keys are claimed.
    pub(crate) fn claims(&self) -> &ClaimQueue {
        &self.0.claims
    }

    /// A transaction that reads: all its statements see one picture.
    pub(crate) async fn begin_read(&self) -> Result<Transaction<'static>, sqlx::Error> {
        self.readers().begin_read().await
    }

    /// A transaction for reading first and writing then: no other of these, in whichever gateway, comes between.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static>, sqlx::Error> {
        let mut transaction = self.writer().begin_write(&self.0.turns).await?;
        transaction.lock(AdvisoryLock::Write).await?;
        Ok(transaction)
    }

    /// Runs a computation that takes long and much memory; no more than a few at a time.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        Self::compute_in(self.computing_place().await?, work).await
    }

    /// One of the few places for computations, for whoever needs memory before he can compute.
    pub(crate) async fn computing_place(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.0.computing.acquire().await.map_err(|_| StoreError::Interrupted)
    }

    /// Runs a computation in the place that was taken for it.
    pub(crate) async fn compute_in<T: Send + 'static>(
        place: SemaphorePermit<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted);
        drop(place);
        done
    }

    /// A connection outside the pools, for a task that owns it.
    pub(crate) async fn dedicated_connection(&self) -> Result<DedicatedConnection, sqlx::Error> {
        DedicatedConnection::open(&self.0.address, &self.0.turns).await
    }
}

/// A time in whole seconds; none when the column is empty.
///
/// # Errors
/// [`StoreError::Corrupt`] for a number beyond what a calendar has: read as an empty column, a row with such a one
/// would look like another row, whose code it could carry.
pub(crate) fn instant(row: &Row, column: &'static str) -> Result<Option<OffsetDateTime>, StoreError> {
    let seconds: Option<i64> = row.try_get(column)?;
    let beyond = |_| StoreError::Corrupt { what: "row", id: row.try_get("id").unwrap_or_default(), column };
    seconds.map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(beyond)).transpose()
}
