//! Logs in one database bear witness for each other: the head of each stands in the others, so that whoever rewrites one
//! has to rewrite all of them.

use time::OffsetDateTime;

use super::tree::Hash;
use super::{AuditEntry, LogId, LogRecord, Note, corrupt};
use crate::{Store, StoreError};

/// Entries that are looked at in one go.
const PAGE: u32 = 1000;
/// The action under which a log has another one's head.
pub const WITNESS: &str = "audit.witness";

/// The head of a log, as another one has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose head it is.
    pub origin: String,
    /// Entries in the tree.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Witness {
    /// The entry that says so.
    #[must_use]
    pub fn entry(&self, at: OffsetDateTime, request_id: String) -> AuditEntry {
        AuditEntry {
            action: WITNESS.to_owned(),
            actor: "gateway".to_owned(),
            at,
            device: None,
            input_digest: None,
            key: None,
            outcome: "ok".to_owned(),
            request_id,
            result_digest: Some(hex::encode(self.root)),
            subject: Some(format!("{} {}", self.origin, self.size)),
        }
    }

    /// What an entry bears witness of, if it does.
    fn of(entry: &[u8]) -> Option<Self> {
        let entry: AuditEntry = serde_json::from_slice(entry).ok().filter(is_witness)?;
        let (origin, size) = entry.subject.as_deref()?.rsplit_once(' ')?;
        let mut root = Hash::default();
        hex::decode_to_slice(entry.result_digest.as_deref()?, &mut root).ok()?;
        Some(Self { origin: origin.to_owned(), size: size.parse().ok()?, root })
    }
}

fn is_witness(entry: &AuditEntry) -> bool {
    entry.action == WITNESS && entry.outcome == "ok"
}

impl Store {
    /// The signed heads of the other logs of the database.
    ///
    /// # Errors
    /// The database does not answer, or holds a checkpoint that is none.
    pub async fn audit_heads_beside(&self, log: LogId) -> Result<Vec<(LogId, Witness)>, StoreError> {
        let mut heads = Vec::new();
        for other in self.audit_logs().await?.into_iter().filter(|other| other.id != log) {
            let Some(newest) = self.audit_checkpoint(other.id, None).await? else { continue };
            let note = Note::parse(&newest.note).map_err(|_| corrupt(newest.size, "note"))?;
            heads.push((other.id, Witness { origin: other.origin, size: note.size, root: note.root }));
        }
        Ok(heads)
    }

    /// What the other logs have of this one's head, as far as they are in the database.
    pub(crate) async fn witnesses_of(&self, log: &LogRecord) -> Result<Vec<Witness>, StoreError> {
        let mut found = Vec::new();
        for other in self.audit_logs().await?.into_iter().filter(|other| other.id != log.id) {
            let mut next = 0;
            loop {
                let page = self.audit_entries_of(other.id, next, PAGE).await?;
                let Some(last) = page.last() else { break };
                next = last.index + 1;
                let witnesses = page.iter().filter_map(|row| Witness::of(&row.entry));
                found.extend(witnesses.filter(|witness| witness.origin == log.origin));
            }
        }
        Ok(found)
    }
}
