//! Incidents that are taken further in the transaction that records it.

use super::acting::Act;
use super::{AuditEntry, AuditLog, Keeping};
use crate::StoreError;
use crate::incidents::IncidentChange;

impl AuditLog {
    /// Appends the entry about a change of an incident, makes the change, and keeps the answer if there is one to be kept: all is
    /// durable, or nothing of it is there.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::AlreadyExists`] where one that is the same is open; [`StoreError::Changed`] where
    /// another change came first.
    pub async fn append_incident(
        &self,
        entry: AuditEntry,
        change: IncidentChange,
        keeping: Option<Keeping>,
    ) -> Result<u64, StoreError> {
        let refused = change.refused();
        let act = Act::Incident(Box::new(change));
        self.append_all(entry.canonical_json()?, keeping, Some(act)).await?.ok_or(refused)
    }
}
