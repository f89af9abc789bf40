//! What becomes of sessions and logins in the transaction that records it.

use super::acting::Act;
use super::{AuditEntry, AuditLog, Keeping};
use crate::StoreError;
use crate::oidc::LoginChange;
use crate::scan_sessions::ScanChange;

impl AuditLog {
    /// Appends the entry about a session's next state, takes the session there, and keeps the answer if there is one to be
    /// kept: all is durable, or nothing of it is there. Never thrown away.
    ///
    /// # Errors
    /// As for [`AuditLog::append`]; [`StoreError::Changed`] when another change came first.
    pub async fn append_scan(
        &self,
        entry: AuditEntry,
        change: ScanChange,
        keeping: Option<Keeping>,
    ) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Scan(Box::new(change));
        self.append_all(entry.canonical_json()?, keeping, Some(act)).await?.ok_or(forestalled)
    }

    /// Appends the entry about a login's next step, and makes the step: both are durable, or neither is there. Never thrown away.
    ///
    /// # Errors
    /// As for [`Self::append_scan`].
    pub async fn append_login(&self, entry: AuditEntry, change: LoginChange) -> Result<u64, StoreError> {
        let forestalled = change.refused();
        let act = Act::Login(Box::new(change));
        self.append_all(entry.canonical_json()?, None, Some(act)).await?.ok_or(forestalled)
    }
}
