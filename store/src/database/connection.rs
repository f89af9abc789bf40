//! Pools, connections and transactions of either database.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Sqlite};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::access::{Address, CONNECT_TIMEOUT, LOCK_TIMEOUT};
use super::query::{Executor, Query};

const READERS: u32 = 8;
/// SQLite has one writer; PostgreSQL's wait for each other only where they must.
const POSTGRES_WRITERS: u32 = 8;

/// The advisory locks that gateways on one PostgreSQL take. Numbers are given once and not used again.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(crate) enum AdvisoryLock {
    /// Held by a transaction that reads before it writes; what SQLite's write lock is.
    Write = 1,
}

/// The first number of every lock, so that they do not meet another program's.
const LOCK_SPACE: i32 = 0x4c47; // "LG"
/// The same for locks of replicas' names.
pub(crate) const NAME_SPACE: i32 = 0x4c48;

/// Whose turn it is to write. SQLite lets one connection write at a time and has the others try again after a pause;
/// those that write all the time take turns instead, so that none of them starves. In PostgreSQL there are no turns.
#[derive(Clone, Default)]
pub(crate) struct Turns(Option<Arc<Mutex<()>>>);

/// Somebody's turn, until it is dropped.
#[derive(Default)]
pub(crate) struct Turn {
    _guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    pub(super) fn of(address: &Address) -> Self {
        Self(match address {
            Address::Sqlite(_) => Some(Arc::default()),
            Address::Postgres(_) => None,
        })
    }

    /// Waits for one's turn; first come, first served.
    pub(crate) async fn take(&self) -> Turn {
        match &self.0 {
            Some(turn) => Turn { _guard: Some(Arc::clone(turn).lock_owned().await) },
            None => Turn::default(),
        }
    }
}

/// How the connections of a pool are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    /// `read` or `write`.
    pub pool: &'static str,
    /// Connections that are open.
    pub size: u32,
    /// Of them those at work.
    pub in_use: u32,
}

/// Connections for one use. Clones share them.
#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// Connections that cannot write.
    pub(super) async fn of_readers(address: &Address, slow: Duration) -> Result<Self, sqlx::Error> {
        Ok(match address {
            Address::Sqlite(options) => {
                let options = options.clone().pragma("query_only", "ON");
                let pool = SqlitePoolOptions::new()
                    .acquire_timeout(LOCK_TIMEOUT)
                    .acquire_slow_threshold(slow)
                    .max_connections(READERS);
                Self::Sqlite(pool.connect_with(options).await?)
            }
            Address::Postgres(options) => {
                let options = options.clone().options([("default_transaction_read_only", "on")]);
                let pool = PgPoolOptions::new()
                    .acquire_timeout(LOCK_TIMEOUT)
                    .acquire_slow_threshold(slow)
                    .max_connections(READERS);
                Self::Postgres(pool.connect_with(options).await?)
            }
        })
    }

    /// Connections that write.
    pub(super) async fn of_writers(address: &Address, slow: Duration) -> Result<Self, sqlx::Error> {
        Ok(match address {
            Address::Sqlite(options) => {
                let pool = SqlitePoolOptions::new()
                    .acquire_timeout(LOCK_TIMEOUT)
                    .acquire_slow_threshold(slow)
                    .max_connections(1);
                Self::Sqlite(pool.connect_with(options.clone()).await?)
            }
            Address::Postgres(options) => {
                let pool = PgPoolOptions::new()
                    .acquire_timeout(LOCK_TIMEOUT)
                    .acquire_slow_threshold(slow)
                    .max_connections(POSTGRES_WRITERS);
                Self::Postgres(pool.connect_with(options.clone()).await?)
            }
        })
    }

    /// How they are used now.
    pub(super) fn figures(&self, pool: &'static str) -> PoolFigures {
        let (size, idle) = match self {
            Self::Sqlite(pool) => (pool.size(), pool.num_idle()),
            Self::Postgres(pool) => (pool.size(), pool.num_idle()),
        };
        let in_use = size.saturating_sub(u32::try_from(idle).unwrap_or(u32::MAX));
        PoolFigures { pool, size, in_use }
    }

    /// A transaction that reads: all its statements see the database as it was at the first.
    pub(super) async fn begin_read(&self) -> Result<Transaction<'static>, sqlx::Error> {
        let connection = match self {
            Self::Sqlite(pool) => Connection::Sqlite(pool.begin().await?),
            Self::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Connection::Postgres(pool.begin_with(begin).await?)
            }
        };
        Ok(Transaction { connection, _turn: Turn::default() })
    }

    /// A transaction that may write from its start.
    pub(super) async fn begin_write(&self, turns: &Turns) -> Result<Transaction<'static>, sqlx::Error> {
        let turn = turns.take().await;
        let connection = match self {
            Self::Sqlite(pool) => Connection::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Connection::Postgres(pool.begin().await?),
        };
        Ok(Transaction { connection, _turn: turn })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction; dropping it rolls it back.
pub(crate) struct Transaction<'c> {
    connection: Connection<'c>,
    _turn: Turn, // after the transaction it is for
}

/// The connection of a transaction, as functions take it that are a part of one.
pub(crate) enum Connection<'c> {
    Sqlite(sqlx::Transaction<'c, Sqlite>),
    Postgres(sqlx::Transaction<'c, Postgres>),
}

impl Transaction<'_> {
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.connection {
            Connection::Sqlite(transaction) => transaction.commit().await,
            Connection::Postgres(transaction) => transaction.commit().await,
        }
    }

    /// Waits for an advisory lock and holds it until the transaction ends. SQLite needs none: a transaction that
    /// may write is the only one.
    pub(crate) async fn lock(&mut self, lock: AdvisoryLock) -> Result<(), sqlx::Error> {
        if let Connection::Postgres(transaction) = &mut self.connection {
            sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
                .bind(LOCK_SPACE)
                .bind(lock as i32)
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }
}

impl<'c> Deref for Transaction<'c> {
    type Target = Connection<'c>;

    fn deref(&self) -> &Connection<'c> {
        &self.connection
    }
}

impl<'c> DerefMut for Transaction<'c> {
    fn deref_mut(&mut self) -> &mut Connection<'c> {
        &mut self.connection
    }
}

/// A connection outside the pools, for a task that owns it.
pub(crate) enum DedicatedConnection {
    Sqlite(SqliteConnection, Turns),
    Postgres(PgConnection),
}

impl DedicatedConnection {
    pub(super) async fn open(address: &Address, turns: &Turns) -> Result<Self, sqlx::Error> {
        let connecting = async {
            match address {
                Address::Sqlite(options) => {
                    options.connect().await.map(|connection| Self::Sqlite(connection, turns.clone()))
                }
                Address::Postgres(options) => options.connect().await.map(Self::Postgres),
            }
        };
        let timed_out = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
    }

    /// A transaction that may write from its start.
    pub(crate) async fn begin_write(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection, turns) => {
                let turn = turns.take().await;
                let begun = connection.begin_with("BEGIN IMMEDIATE").await?;
                Transaction { connection: Connection::Sqlite(begun), _turn: turn }
            }
            Self::Postgres(connection) => {
                let begun = connection.begin().await?;
                Transaction { connection: Connection::Postgres(begun), _turn: Turn::default() }
            }
        })
    }

    /// Runs one statement that writes; it is a transaction by itself, in one round trip instead of three.
    pub(crate) async fn execute(&mut self, statement: Query<'_>) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection, turns) => {
                let _turn = turns.take().await;
                statement.execute(Executor::Sqlite(connection)).await?;
            }
            Self::Postgres(connection) => {
                statement.execute(Executor::Postgres(connection)).await?;
            }
        }
        Ok(())
    }

    /// Takes a name's lock for as long as the connection is there; false if somebody else has it. A SQLite file has
    /// one gateway, which locks the file itself.
    pub(crate) async fn try_hold(&mut self, name: &str) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(..) => Ok(true),
            Self::Postgres(connection) => {
                let lock = "SELECT pg_try_advisory_lock($1, hashtext($2))";
                sqlx::query_scalar(lock).bind(NAME_SPACE).bind(name).fetch_one(connection).await
            }
        }
    }

    /// Gives a name's lock back: a connection that is closed holds it until the server has noticed.
    pub(crate) async fn let_go(&mut self, name: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(connection) => {
                let unlock = "SELECT pg_advisory_unlock($1, hashtext($2))";
                sqlx::query(unlock).bind(NAME_SPACE).bind(name).execute(connection).await.map(drop)
            }
        }
    }

    /// Whether the other end answers.
    pub(crate) async fn is_alive(&mut self) -> bool {
        match self {
            Self::Sqlite(..) => true,
            Self::Postgres(connection) => connection.ping().await.is_ok(),
        }
    }

    /// From now on a commit on this connection does not wait for the disk: it is there with the next commit that does,
    /// of whichever connection.
    pub(crate) async fn leave_the_disk_to_others(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection, _) => {
                sqlx::query("PRAGMA synchronous = NORMAL").execute(connection).await.map(drop)
            }
            Self::Postgres(connection) => {
                sqlx::query("SET synchronous_commit = off").execute(connection).await.map(drop)
            }
        }
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection, _) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}
