//! What is done to mandates and stamp templates in the transaction that records it.

use std::sync::{Arc, OnceLock};

use super::acting::Act;
use super::{AuditEntry, AuditLog};
use crate::StoreError;
use crate::mandates::{MandateChange, MandateRefusal, MandateUse, MandateWork};
use crate::templates::TemplateChange;

impl AuditLog {
    /// Appends the entry about a change of a mandate, and makes the change: both are durable, or neither is there. Never
    /// thrown away.
    ///
    /// # Errors
    /// As for [`AuditLog::append_seal`].
    pub async fn append_mandate(&self, entry: AuditEntry, change: MandateChange) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Mandate(Box::new(MandateWork::Change(Box::new(change))));
        self.append_all(entry.canonical_json()?, None, Some(act)).await?.ok_or(forestalled)
    }

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

    /// Appends the entry about the intention to sign under a mandate, and takes one of its signatures: both are durable, or
    /// there is neither and the reason why not. Never thrown away: how often an enterprise's key signs is its own limit.
    ///
    /// # Errors
    /// As for [`AuditLog::append`].
    pub async fn append_mandate_use(
        &self,
        entry: AuditEntry,
        wanted: MandateUse,
    ) -> Result<Result<u64, MandateRefusal>, StoreError> {
        let refused = Arc::new(OnceLock::new());
        let act = Act::Mandate(Box::new(MandateWork::Take(wanted, Arc::clone(&refused))));
        match self.append_all(entry.canonical_json()?, None, Some(act)).await? {
            Some(index) => Ok(Ok(index)),
            None => refused.get().cloned().map(Err).ok_or(StoreError::AuditUnavailable),
        }
    }

    /// Appends the entry that says that a signature under a mandate was not made, and gives it back.
    ///
    /// # Errors
    /// As for [`AuditLog::append`].
    pub async fn append_mandate_unused(
        &self,
        entry: AuditEntry,
        unused: MandateUse,
    ) -> Result<u64, StoreError> {
        let act = Act::Mandate(Box::new(MandateWork::GiveBack(unused)));
        let appended = self.append_all(entry.canonical_json()?, None, Some(act)).await?;
        appended.ok_or(StoreError::AuditUnavailable)
    }
}
