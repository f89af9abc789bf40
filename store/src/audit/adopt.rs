//! After a backup was put back the log ends earlier than the gateway remembers, and nothing is signed. An operator who put
//! it back himself says so: the act is on record first, and then the remembered checkpoint is set aside.

use std::path::PathBuf;

use super::history::{ADOPTED, Doubt, holds, leads_to, tail};
use super::{AuditEntry, AuditLog, Note};
use crate::StoreError;

/// How a log differs from what its gateway remembers of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// What does not fit.
    pub reason: String,
    /// Entries that the remembered checkpoint covers; 0 when none is remembered.
    pub remembered: u64,
    /// The remembered checkpoint; empty when there is none.
    pub note: String,
    /// Entries that are there.
    pub entries: u64,
    /// Entries that the newest checkpoint in the database covers; 0 when there is none.
    pub signed: u64,
    /// What is the matter with the entries after it, if they are not all this gateway's.
    pub foreign: Option<String>,
}

impl AuditLog {
    /// How the log differs from what this gateway remembers outside the database: its name, the last checkpoint; where none
    /// is remembered, the secret of its codes. Nothing where it does not.
    ///
    /// # Errors
    /// The folder or the database cannot be read.
    pub async fn departure(&self) -> Result<Option<Departure>, StoreError> {
        let Some(guard) = self.guard() else { return Ok(None) };
        let head = self.tree_head().await?;
        let newest = self.store().audit_checkpoint(self.record().id, None).await?;
        let signed = newest.map_or(0, |newest| newest.size.min(head.size));
        let note = guard.remembered()?;
        let held = match (guard.is_of_another(), &note) {
            (Some(reason), _) => Err(Doubt::Altered(reason)),
            (None, Some(note)) => {
                let what = "the last checkpoint that this gateway remembers";
                leads_to(self, note, head, what).await.map(drop)
            }
            (None, None) => match guard.adopted()? {
                Some(tree) => match holds(self, tree, head, ADOPTED).await {
                    Ok(size) => tail(self, signed.max(size), head.size, true).await,
                    Err(doubt) => Err(doubt),
                },
                None => tail(self, signed, head.size, false).await,
            },
        };
        let reason = match held {
            Ok(()) => return Ok(None),
            Err(Doubt::Altered(reason)) => reason,
            Err(Doubt::Later(_)) => return Err(StoreError::Interrupted),
        };
        let note = note.unwrap_or_default();
        let foreign = match tail(self, signed, head.size, true).await {
            Ok(()) => None,
            Err(Doubt::Altered(reason) | Doubt::Later(reason)) => Some(reason),
        };
        let remembered = Note::parse(&note).map_or(0, |note| note.size);
        Ok(Some(Departure { reason, remembered, note, entries: head.size, signed, foreign }))
    }

    /// Takes the log as it is for this gateway's: `entry`, which says so, is on disk before the remembered checkpoint is set
    /// aside. Answers where the entry stands and the file that has the checkpoint now.
    ///
    /// # Errors
    /// The entry cannot be written, or the file not moved: then nothing is signed as before.
    pub async fn adopt(&self, entry: AuditEntry) -> Result<(u64, Option<PathBuf>), StoreError> {
        let name = entry.at.unix_timestamp();
        let index = self.append(entry).await?;
        let Some(guard) = self.guard() else { return Ok((index, None)) };
        guard.remember_adopted(self.tree_head().await?)?;
        let aside = guard.set_aside(name)?;
        if let Some(path) = &aside {
            tracing::warn!(index, path = %path.display(), "the audit log is taken as it is");
        }
        Ok((index, aside))
    }
}
