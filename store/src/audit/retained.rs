//! Licenses that are retained in the transaction that records it.

use super::acting::Act;
use super::{AuditEntry, AuditLog, Keeping};
use crate::StoreError;
use crate::retentions::NewRetention;

impl AuditLog {
    /// Appends the entry about a retention, keeps it, and keeps the answer if there is one to be kept: all is durable, or
    /// nothing of it is there. Never thrown away. The entry's subject is [`crate::retention_subject`], its `result_digest`
    /// SM3 of the record.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::AlreadyExists`] where its number is taken.
    pub async fn append_retention(
        &self,
        entry: AuditEntry,
        new: NewRetention,
        keeping: Option<Keeping>,
    ) -> Result<u64, StoreError> {
        let taken = new.taken();
        let act = Act::Retention(Box::new(new));
        self.append_all(entry.canonical_json()?, keeping, Some(act)).await?.ok_or(taken)
    }
}
