//! Changes whose record did not answer in time: they may have been made, or be made yet.

use std::time::Duration;

use store::{AuditEntry, AuditQuery, StoreError};

use crate::error::with_causes;
use crate::problem::Problem;
use crate::state::Gateway;

/// How often, and how many times, it is looked for a change whose record did not answer: the log gives a batch ten seconds.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 12;

/// Where the change stands in the log, as soon as the register says so.
///
/// # Errors
/// Nobody knows whether it was made.
pub(crate) async fn look_for<F>(on_record: impl Fn() -> F) -> Result<u64, Problem>
where
    F: Future<Output = Result<Option<u64>, StoreError>>,
{
    let mut looks = tokio::time::interval(LOOK);
    for _ in 0..LOOKS {
        looks.tick().await;
        match on_record().await {
            Ok(Some(audit_index)) => return Ok(audit_index),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "whether a change was made is not known yet");
            }
        }
    }
    Err(Problem::record_unavailable(&StoreError::AuditUnavailable))
}

/// Where an entry stands in this gateway's log, if it does.
pub(crate) async fn on_record(gateway: &Gateway, entry: &AuditEntry) -> Result<Option<u64>, StoreError> {
    let wanted = AuditQuery {
        action: Some(entry.action.clone()),
        outcome: Some(entry.outcome.clone()),
        subject: entry.subject.clone(),
        request_id: Some(entry.request_id.clone()),
        limit: 1,
        ..AuditQuery::default()
    };
    let found = gateway.store.search_audit(gateway.audit.record().id, &wanted).await?;
    Ok(found.items.first().map(|(index, _)| *index))
}
