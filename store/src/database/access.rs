//! Where the database is and how to get in.

use std::path::PathBuf;
use std::time::Duration;

use config::Secret;
use log::LevelFilter;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::StoreError;

/// How long a statement waits for what another connection has locked.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that takes longer is logged, if the site says nothing else.
const SLOW: Duration = Duration::from_millis(500);
/// How long connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway sets for each of its sessions in PostgreSQL.
const SESSION: [(&str, &str); 4] = [
    // Whatever the server's default is: what was answered must stand.
    ("synchronous_commit", "on"),
    ("lock_timeout", "5s"),
    // A gateway that hangs between two statements must not hold the others up.
    ("idle_in_transaction_session_timeout", "30s"),
    ("client_min_messages", "warning"),
];

/// The address of a database, and the password for it. `Debug` shows neither.
#[derive(Clone)]
pub struct DatabaseAccess {
    url: String,
    password: Option<Secret<String>>,
    pub(super) slow: Duration,
}

impl DatabaseAccess {
    /// `sqlite:///path/file.db`, or `postgres://user@host:port/database` with libpq's `sslmode` and `sslrootcert`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), password: None, slow: SLOW }
    }

    /// The password of the user that a `postgres://` address names.
    #[must_use]
    pub fn with_password(mut self, password: Secret<String>) -> Self {
        self.password = Some(password);
        self
    }

    /// From how long on a statement is logged as a warning of the target `sqlx::query`, and a wait for a connection
    /// of `sqlx::pool::acquire`; neither shows values.
    #[must_use]
    pub fn with_slow_statements(mut self, slow: Duration) -> Self {
        self.slow = slow;
        self
    }
}

impl From<&str> for DatabaseAccess {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for DatabaseAccess {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl std::fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseAccess").finish_non_exhaustive()
    }
}

/// An address that was understood.
#[derive(Clone)]
pub(super) enum Address {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Address {
    pub(super) fn of(access: &DatabaseAccess) -> Result<Self, StoreError> {
        let url = &access.url;
        if url.starts_with("sqlite://") && !url.contains(":memory:") {
            let options: SqliteConnectOptions = url.parse().map_err(|_| StoreError::UnsupportedUrl)?;
            return Ok(Self::Sqlite(
                options
                    .create_if_missing(false)
                    .foreign_keys(true)
                    .busy_timeout(LOCK_TIMEOUT)
                    .journal_mode(SqliteJournalMode::Wal)
                    // In WAL mode NORMAL would lose the last commits in a power cut: what was answered must stand.
                    .synchronous(SqliteSynchronous::Full)
                    .log_slow_statements(LevelFilter::Warn, access.slow),
            ));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse().map_err(|_| StoreError::UnsupportedUrl)?;
            let options = options
                .application_name("license-gateway")
                .options(SESSION)
                .log_slow_statements(LevelFilter::Warn, access.slow);
            return Ok(Self::Postgres(match &access.password {
                Some(password) => options.password(password.expose()),
                None => options,
            }));
        }
        Err(StoreError::UnsupportedUrl)
    }

    /// What an error says about where the database is: never the user or a password.
    pub(super) fn name(&self) -> PathBuf {
        match self {
            Self::Sqlite(options) => options.get_filename().to_owned(),
            Self::Postgres(options) => {
                let at = options.get_socket().map_or_else(
                    || format!("{}:{}", options.get_host(), options.get_port()),
                    |socket| socket.display().to_string(),
                );
                format!("{} at {at}", options.get_database().unwrap_or("(of the user's name)")).into()
            }
        }
    }

    pub(super) fn opening(&self, source: sqlx::Error) -> StoreError {
        StoreError::Open { path: self.name(), source }
    }
}
