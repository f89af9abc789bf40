//! Gateways on one database put each other's heads on record: whoever rewrites one log has to rewrite all of them. A head
//! that did not grow out of the one before is not vouched for, and is reported.

use std::collections::HashMap;
use std::time::Duration;

use store::{AuditLog, LogId, Store, StoreError, Witness, is_consistent};
use time::OffsetDateTime;

use crate::error::with_causes;

pub(super) struct Witnessing {
    pub(super) store: Store,
    pub(super) log: AuditLog,
    pub(super) interval: Duration,
}

impl Witnessing {
    /// Works until it is aborted.
    pub(super) async fn run(self) {
        let mut known = HashMap::new();
        loop {
            tokio::time::sleep(self.interval).await;
            if let Err(error) = self.once(&mut known).await {
                tracing::warn!(error = with_causes(&error), "the other gateways' logs are not vouched for");
            }
        }
    }

    async fn once(&self, known: &mut HashMap<LogId, Witness>) -> Result<(), StoreError> {
        for (log, head) in self.store.audit_heads_beside(self.log.record().id).await? {
            if let Some(before) = known.get(&log) {
                if before.size == head.size && before.root == head.root {
                    continue;
                }
                if !self.grew(log, before, &head).await? {
                    let (origin, from, to) = (&head.origin, before.size, head.size);
                    tracing::error!(origin, from, to, "another gateway's log is not what it was: verify it");
                    continue;
                }
            }
            let request_id = format!("{:032x}", fastrand::u128(..));
            self.log.append(head.entry(OffsetDateTime::now_utc(), request_id)).await?;
            known.insert(log, head);
        }
        Ok(())
    }

    /// Whether the tree of the later head holds that of the earlier one unchanged.
    async fn grew(&self, log: LogId, before: &Witness, head: &Witness) -> Result<bool, StoreError> {
        if head.size < before.size {
            return Ok(false);
        }
        let path = self.store.audit_consistency(log, before.size, head.size).await?;
        Ok(is_consistent((before.size, &before.root), (head.size, &head.root), &path))
    }
}
