//! The audit log: append-only entries, each a leaf of an RFC 9162 Merkle tree over SM3, with signed checkpoints.
//!
//! `docs/audit-format.md` says it for outsiders. Each gateway on a database writes a log of its own, so that an append
//! waits for no other process.

mod acting;
mod adopt;
mod archive;
mod checkpoint;
mod entry;
mod export;
mod guard;
mod history;
mod incidents;
mod keeper;
mod keeping;
mod mandated;
mod retained;
mod ruled;
mod scanned;
mod search;
mod tiles;
mod tree;
mod verify;
mod verify_store;
mod witness;
mod writer;

use std::fmt;
use std::path::Path;

use time::OffsetDateTime;

use crate::database::{Row, query};
use crate::{Store, StoreError};

pub use adopt::Departure;
pub use archive::{Archive, ArchiveError, Segment};
pub(crate) use guard::stem as memory_stem;

pub use checkpoint::{AuditSigner, Note, NoteError, StoredCheckpoint, checkpoint_text, signed_note};
pub use entry::{AuditEntry, StoredEntry};
pub use export::{ExportError, ExportOrder, proof_text};
pub use keeper::{
    CheckpointKeeper, CheckpointRules, CheckpointSignature, CheckpointSigner, Signed, Unsigned,
};
pub use keeping::Keeping;
pub use search::{AuditPage, AuditQuery};
pub use tree::{Hash, is_consistent, leaf_hash, root_from_inclusion, root_of};
pub use verify::{
    Broken, ExportUnreadable, JudgedKey, REMOVAL, Verification, removal_subject, verify_export,
};
pub use verify_store::VerifyOrder;
pub use witness::{WITNESS, Witness};
pub use writer::{AuditLog, AuditWriter, TreeHead};

/// The gateway whose log is written when no other is named: the default of `site.replica`.
pub const DEFAULT_REPLICA: &str = "gateway";

/// Which log of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub(crate) i64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A log as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number in the database.
    pub id: LogId,
    /// The gateway that writes it.
    pub replica: String,
    /// Its name in checkpoints, never given twice.
    pub origin: String,
}

impl Store {
    /// All logs of the database, oldest first.
    pub async fn audit_logs(&self) -> Result<Vec<LogRecord>, StoreError> {
        let rows = query("SELECT id, replica, origin FROM audit_logs ORDER BY id");
        let rows = rows.fetch_all(self.readers()).await?;
        let read = |row: &Row| log_record(row).map_err(StoreError::from);
        rows.iter().map(read).collect()
    }

    /// The log that a replica remembers outside the database, in `folder`, when this database does not have it: it was
    /// another database's. Nothing where it has, or where nothing is remembered.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`] when the folder cannot be read; the database cannot be.
    pub async fn log_of_another_database(
        &self,
        folder: &Path,
        replica: &str,
    ) -> Result<Option<String>, StoreError> {
        let Some(origin) = guard::remembered_log(folder, replica)? else { return Ok(None) };
        let is_here = self.audit_logs().await?.iter().any(|log| log.origin == origin);
        Ok((!is_here).then_some(origin))
    }

    /// The log that this replica writes; registered if it is new.
    pub(crate) async fn audit_log_of(&self, replica: &str) -> Result<LogRecord, StoreError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| StoreError::Interrupted)?;
        // Two gateways that start at once take one number after the other.
        let mut transaction = self.begin_write().await?;
        query(
            "INSERT INTO audit_logs (id, replica, origin, created_at)
             SELECT (SELECT coalesce(max(id), 0) + 1 FROM audit_logs), $1, $2, $3
             WHERE NOT EXISTS (SELECT 1 FROM audit_logs WHERE replica = $1)",
        )
        .bind(replica)
        .bind(format!("license-gateway/audit/{}", hex::encode(random)))
        .bind(OffsetDateTime::now_utc().unix_timestamp())
        .execute(&mut *transaction)
        .await?;
        let row = query("SELECT id, replica, origin FROM audit_logs WHERE replica = $1");
        let record = log_record(&row.bind(replica).fetch_one(&mut *transaction).await?)?;
        transaction.commit().await?;
        Ok(record)
    }
}

fn log_record(row: &Row) -> Result<LogRecord, sqlx::Error> {
    Ok(LogRecord {
        id: LogId(row.try_get("id")?),
        replica: row.try_get("replica")?,
        origin: row.try_get("origin")?,
    })
}

/// A number of the tree as databases keep it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from the database.
fn read_number(number: i64, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(number, column))
}

fn corrupt(id: impl fmt::Display, column: &'static str) -> StoreError {
    StoreError::Corrupt { what: "audit log", id: id.to_string(), column }
}
