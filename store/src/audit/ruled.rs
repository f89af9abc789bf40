//! What is said about stamping and signing (templates, policies) in the transaction that records it.

use super::acting::Act;
use super::{AuditEntry, AuditLog};
use crate::StoreError;
use crate::policies::PolicyChange;
use crate::templates::TemplateChange;

impl AuditLog {
    /// Appends the entry about a change of a stamp template, and makes the change: both are durable, or neither is there. Never
    /// thrown away.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::NotAllowed`] when another change came first: then there is no entry either.
    pub async fn append_stamp_template(
        &self,
        entry: AuditEntry,
        change: TemplateChange,
    ) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Template(Box::new(change));
        self.append_all(entry.canonical_json()?, None, Some(act)).await?.ok_or(forestalled)
    }

    /// Appends the entry about a change of a signing policy, and makes the change: both are durable, or neither is there. Never
    /// thrown away.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::NotAllowed`] when another change came first: then there is no entry either.
    pub async fn append_policy(&self, entry: AuditEntry, change: PolicyChange) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Policy(Box::new(change));
        self.append_all(entry.canonical_json()?, None, Some(act)).await?.ok_or(forestalled)
    }
}
