//! What can go wrong between this program and its database.

use std::path::PathBuf;

/// Why the store refused or failed.
///
/// Messages name rows by their ids only: they never carry a row's content.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database URL names a database this build cannot speak to.
    #[error("the database url must have the form sqlite:///path/to/file.db or postgres://user@host/database")]
    UnsupportedUrl,
    /// The database file, or the server, could not be opened.
    #[error("cannot open database {}", path.display())]
    Open {
        /// The file named by the URL, or the database and its server.
        path: PathBuf,
        /// What the database answered.
        #[source]
        source: sqlx::Error,
    },
    /// The PostgreSQL server would lose what it confirms, or cannot hold what is to be stored.
    #[error("the PostgreSQL server cannot be used: {reason}")]
    UnfitServer {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A newer release has migrated this database; running on would risk its data.
    #[error("database schema {found} is newer than this program, which knows {known}: run the newer release")]
    SchemaTooNew {
        /// Latest migration applied to the database.
        found: i64,
        /// Latest migration this program contains.
        known: i64,
    },
    /// What a gateway remembers of its audit log outside the database cannot be read or written.
    #[error("cannot use {}", path.display())]
    AuditGuard {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The end of the audit log in the database is not what its writer wrote: it is not signed any more.
    #[error("the audit log was altered outside the gateway: {reason}")]
    AuditAltered {
        /// What does not fit.
        reason: String,
    },
    /// A migration failed; the schema is as it was before that migration.
    #[error("cannot migrate the database")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row with this identity exists.
    #[error("{what} {id} exists already")]
    AlreadyExists {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The row refers to another one that does not exist.
    #[error("{what} {id} refers to something that does not exist")]
    MissingReference {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The row breaks a rule of the schema.
    #[error("{what} {id} breaks a rule of the schema")]
    RuleBroken {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
        /// Which rule, in the database's words.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what this program writes.
    #[error("column {column} of {what} {id} holds an unreadable value")]
    Corrupt {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
        /// The column.
        column: &'static str,
    },
    /// No row has this identity.
    #[error("there is no {what} {id}")]
    NotFound {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// What was asked for is not allowed in the state the row is in; nothing was changed.
    #[error("{what} {id} is {state}: {reason}")]
    NotAllowed {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
        /// Its state.
        state: &'static str,
        /// Why that does not do.
        reason: &'static str,
    },
    /// It was changed since the change of it was decided on; nothing was changed.
    #[error("{what} {id} was changed meanwhile")]
    Changed {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// There are as many of its kind as there may be.
    #[error("there are {most} of this kind already: {what}")]
    Full {
        /// Kind of row.
        what: &'static str,
        /// How many there may be.
        most: usize,
        /// Of those in force, not of all there ever were.
        in_force: bool,
    },
    /// The request itself is wrong, whatever is stored.
    #[error("{what} {id}: {reason}")]
    Unacceptable {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The data key is not there yet: no device has unwrapped it since the start.
    #[error("what is stored is locked until a device has given the data key")]
    Locked,
    /// A stored value or row is not as this gateway wrote it, and is not used.
    #[error("{what} {id} was altered outside the gateway")]
    Altered {
        /// Kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A computation did not come to its end; the process is stopping or it panicked.
    #[error("a computation was interrupted")]
    Interrupted,
    /// The folder of documents cannot be written or read.
    #[error("the documents' store failed: {reason}")]
    Blobs {
        /// Why.
        reason: String,
    },
    /// Whether an idempotency key is free cannot be told: too many are asked for, or the database did not answer.
    #[error("the idempotency key cannot be claimed")]
    ClaimsUnavailable,
    /// The entry is not in the audit log: its queue is full, its writer has stopped, or its commit failed.
    /// Whatever was to be recorded must not be answered as done.
    #[error("the audit log cannot take the entry")]
    AuditUnavailable,
    /// Whether a nonce was used before cannot be told: too many wait, the writer has stopped, or its commit failed.
    #[error("nonces cannot be recorded")]
    NoncesUnavailable,
    /// The time of an audit entry lies outside the years 0 to 9999 that RFC 3339 can write.
    #[error("the time of an audit entry lies outside the years 0 to 9999")]
    AuditTime,
    /// Any other failure of the database.
    #[error("database query failed")]
    Query(#[from] sqlx::Error),
}

/// An error with all its causes, for logs and operators.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

impl StoreError {
    /// Sorts a failed insert of the row `id` of kind `what`.
    pub(crate) fn from_insert(what: &'static str, id: &str, error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        let id = id.to_owned();
        if matches!(error, sqlx::Error::Encode(_)) {
            return StoreError::RuleBroken { what, id, source: error };
        }
        match error.as_database_error().map(|e| e.kind()) {
            Some(ErrorKind::UniqueViolation) => StoreError::AlreadyExists { what, id },
            Some(ErrorKind::ForeignKeyViolation) => StoreError::MissingReference { what, id },
            Some(ErrorKind::CheckViolation | ErrorKind::NotNullViolation) => {
                StoreError::RuleBroken { what, id, source: error }
            }
            _ => StoreError::Query(error),
        }
    }
}
