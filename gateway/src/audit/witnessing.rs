//! Gateways on one database put each other's heads on record: whoever rewrites one log has to rewrite all of them. A head
//! that no audit key signed, or that did not grow out of the one before, is not vouched for, and is reported. The one
//! before is the last on record: a new start forgets none.

use std::collections::HashMap;
use std::time::Duration;

use store::{AuditLog, LogId, Store, StoreError, Witness, is_consistent};
use time::OffsetDateTime;

use super::registered_keys;
use crate::error::with_causes;

pub(super) struct Witnessing {
    pub(super) store: Store,
    pub(super) log: AuditLog,
    pub(super) interval: Duration,
}

impl Witnessing {
    /// Works until it is aborted.
    pub(super) async fn run(self) {
        let mut known = None;
        loop {
            tokio::time::sleep(self.interval).await;
            if let Err(error) = self.once(&mut known).await {
                tracing::warn!(error = with_causes(&error), "the other gateways' logs are not vouched for");
            }
        }
    }

    /// `known`: by the other log's name the last head that was vouched for; read from the own log the first time.
    async fn once(&self, known: &mut Option<HashMap<String, Witness>>) -> Result<(), StoreError> {
        let own = self.log.record().id;
        let known = match known {
            Some(known) => known,
            None => {
                let vouched = self.store.audit_heads_vouched(own).await?;
                known.insert(vouched.into_iter().map(|head| (head.origin.clone(), head)).collect())
            }
        };
        let keys = registered_keys(&self.store).await?;
        for (log, head) in self.store.audit_heads_beside(own, &keys).await? {
            let Some(head) = head else {
                let origin = log.origin;
                tracing::error!(
                    origin,
                    "no audit key signed the newest checkpoint of another gateway's log: verify it"
                );
                continue;
            };
            if let Some(before) = known.get(&head.origin) {
                if before.size == head.size && before.root == head.root {
                    continue;
                }
                if !self.grew(log.id, before, &head).await? {
                    let (origin, from, to) = (&head.origin, before.size, head.size);
                    tracing::error!(origin, from, to, "another gateway's log is not what it was: verify it");
                    continue;
                }
            }
            let request_id = format!("{:032x}", fastrand::u128(..));
            self.log.append(head.entry(OffsetDateTime::now_utc(), request_id)).await?;
            known.insert(head.origin.clone(), head);
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
