//! Opening, migrating and closing the database.
//!
//! SQLite takes one writer at a time, so writes go through a pool of one connection, where they wait in
//! line instead of colliding; reads have a pool of their own, whose connections cannot write. The audit
//! log brings its own connection (`audit.rs`).

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, Transaction};
use tokio::sync::Semaphore;

use crate::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

const READERS: u32 = 8;
/// Most password hashes computed at a time: each takes 19 MiB.
const COMPUTATIONS: usize = 2;
/// How long a statement waits for another connection's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store(Arc<Connections>);

struct Connections {
    options: SqliteConnectOptions,
    readers: SqlitePool,
    writer: SqlitePool,
    computing: Semaphore,
}

impl Store {
    /// Opens the existing database at `url` (`sqlite:///path/file.db`).
    ///
    /// Refuses a schema newer than this program with [`StoreError::SchemaTooNew`]. An older schema is left
    /// for [`Store::migrate`], which has to run before anything else.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::connect(options(url)?).await
    }

    /// Opens the database at `url`, creating the file if there is none, and migrates it.
    pub async fn create(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let created = options.clone().create_if_missing(true).connect().await;
        let opening = |source| StoreError::Open { path: options.get_filename().to_owned(), source };
        created.map_err(opening)?.close().await?;
        let store = Self::connect(options).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Brings the schema to the version of this program; does nothing when it is there already.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(self.writer()).await?;
        Ok(())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Query`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.readers()).await?;
        Ok(())
    }

    /// Waits for running statements and closes every connection; clones fail from then on.
    pub async fn close(self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let opening = |source| StoreError::Open { path: options.get_filename().to_owned(), source };
        let writer = SqlitePoolOptions::new()
            .acquire_timeout(BUSY_TIMEOUT)
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        refuse_newer_schema(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .acquire_timeout(BUSY_TIMEOUT)
            .max_connections(READERS)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await
            .map_err(opening)?;
        let computing = Semaphore::new(COMPUTATIONS);
        Ok(Store(Arc::new(Connections { options, readers, writer, computing })))
    }

    /// Connections for reading.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.0.readers
    }

    /// The connection for writing.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.0.writer
    }

    /// A transaction that may write from its start: it cannot fail half-way because another writer came between
    /// its reading and its writing.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer().begin_with("BEGIN IMMEDIATE").await
    }

    /// Runs a computation that takes long and much memory; no more than a few at a time.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.0.computing.acquire().await.map_err(|_| StoreError::Interrupted)?;
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted);
        drop(permit);
        done
    }

    /// A connection outside the pools, for a task that owns it.
    pub(crate) async fn dedicated_connection(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.0.options.connect().await
    }
}

fn options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    if !url.starts_with("sqlite://") || url.contains(":memory:") {
        return Err(StoreError::UnsupportedUrl);
    }
    let options: SqliteConnectOptions = url.parse().map_err(|_| StoreError::UnsupportedUrl)?;
    Ok(options
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode NORMAL would lose the last commits in a power cut: what was answered must stand.
        .synchronous(SqliteSynchronous::Full))
}

async fn refuse_newer_schema(pool: &SqlitePool) -> Result<(), StoreError> {
    let migrated = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1")
        .bind(&*MIGRATIONS.table_name)
        .fetch_optional(pool)
        .await?;
    if migrated.is_none() {
        return Ok(());
    }
    let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await?
        .try_get(0)?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known { Err(StoreError::SchemaTooNew { found, known }) } else { Ok(()) }
}
