//! Both databases for a test: a SQLite file in a temporary folder, a database on a PostgreSQL server that the tests
//! of one binary share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, reason = "another crate's file, where it is public and used")]
#[path = "../../../tests/harness/postgres.rs"]
mod postgres;

use std::borrow::Cow;
use std::sync::LazyLock;

use config::Secret;
pub(crate) use postgres::Postgres;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use store::{DatabaseAccess, Store};
use tempfile::TempDir;

/// Makes every function named a test on SQLite (`sqlite::…`) and a test on PostgreSQL (`postgres::…`).
macro_rules! on_both_databases {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&crate::support::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&crate::support::Database::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_both_databases;

/// A database that no store has opened yet.
pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres(String),
}

/// The server of this test binary; started by whoever needs it first.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);
    &SERVER
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(server().database())
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join("gateway.db").display()),
            Self::Postgres(name) => server().url(name),
        }
    }

    pub(crate) fn access(&self) -> DatabaseAccess {
        let access = DatabaseAccess::new(self.url());
        match self {
            Self::Sqlite(_) => access,
            Self::Postgres(_) => access.with_password(Secret::new(server().password().to_owned())),
        }
    }

    /// Another database with the same content, of one that no store has open.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Sqlite(folder) => {
                let copy = tempfile::tempdir().unwrap();
                // The last connection to close takes the write-ahead log away, and is a thread of its own.
                let names =
                    || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
                let is_closing = || names().any(|name| name.to_string_lossy().ends_with("-wal"));
                for _ in 0..12_000 {
                    if !is_closing() {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                    std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
                }
                Self::Sqlite(copy)
            }
            Self::Postgres(name) => Self::Postgres(server().copy(name)),
        }
    }

    /// An open store with the newest schema.
    pub(crate) async fn create(&self) -> Store {
        Store::create(self.access()).await.unwrap()
    }

    /// A connection beside the store's, for what no function of the store does. It makes a SQLite file.
    pub(crate) async fn raw(&self) -> Raw {
        match self {
            Self::Sqlite(_) => {
                let options: SqliteConnectOptions = self.url().parse().unwrap();
                Raw::Sqlite(options.create_if_missing(true).connect().await.unwrap())
            }
            Self::Postgres(_) => {
                let options: PgConnectOptions = self.url().parse().unwrap();
                Raw::Postgres(options.password(server().password()).connect().await.unwrap())
            }
        }
    }

    /// Ends every session on the database, as an administrator can.
    pub(crate) fn cut_connections(&self) {
        let Self::Postgres(name) = self else { return };
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
                   AND pid <> pg_backend_pid()";
        server().query(name, end);
    }

    /// All that is stored, as octets to look for something in.
    pub(crate) fn contents(&self) -> Vec<u8> {
        match self {
            Self::Sqlite(folder) => {
                let files = std::fs::read_dir(folder.path()).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Self::Postgres(name) => server().dump(name).into_bytes(),
        }
    }
}

/// A connection for plain SQL. Octets are written as in SQLite (`x'00'`).
pub(crate) enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(self.translated(sql).into_owned());
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Self::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
        }
    }

    /// A statement that the database refuses by a rule of its own: in one of these words, not for being no good as it stands.
    pub(crate) async fn refused(&mut self, sql: &str, words: &[&str]) {
        let error = self.execute(sql).await.expect_err(sql).to_string();
        assert!(words.iter().any(|words| error.contains(words)), "{sql}: {error}");
    }

    /// The texts in the first column.
    pub(crate) async fn texts(&mut self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::raw_sql(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(connection) => {
                let rows = sqlx::raw_sql(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Keeps everybody else from writing to a table until [`Raw::release`].
    pub(crate) async fn block_writers(&mut self, table: &str) {
        let lock = match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE".to_owned(),
            Self::Postgres(_) => format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE"),
        };
        self.execute(&lock).await.unwrap();
    }

    pub(crate) async fn release(&mut self) {
        self.execute("ROLLBACK").await.unwrap();
    }

    fn translated<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        if matches!(self, Self::Sqlite(_)) {
            return Cow::Borrowed(sql);
        }
        Cow::Owned(sql.replace("x'", "'\\x"))
    }
}
