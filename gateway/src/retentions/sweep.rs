//! Takes away what is kept no longer: records and files whose time is over, and blobs that nothing names.

use std::time::Duration;

use config::OwnName;
use store::{AuditEntry, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::record::RetentionRecord;
use crate::error::with_causes;
use crate::state::Gateway;
use crate::timestamps::WatchedClock;

/// How often it is looked for what is over.
const EVERY: Duration = Duration::from_secs(60);
/// In which rounds all blobs are looked through.
const LEFTOVERS: u64 = 60;
/// A blob that nothing names is nobody's by then: one that is being written gets its row within minutes.
const NAMELESS: time::Duration = time::Duration::days(1);
/// Retentions looked for at a time.
const MOST: u32 = 500;

/// Takes away until it is dropped.
pub(crate) async fn sweep(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u64.. {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        // What is taken away cannot be had back.
        if let Err(reason) = clock.believed() {
            tracing::warn!(reason, "retentions past their time stay for now");
            continue;
        }
        if let Err(error) = round(&gateway, count % LEFTOVERS == 0, OffsetDateTime::now_utc()).await {
            tracing::warn!(error = with_causes(&error), "retentions past their time stay for now");
        }
    }
}

async fn round(gateway: &Gateway, leftovers: bool, now: OffsetDateTime) -> Result<(), StoreError> {
    let (mut ended, mut last) = (0, None);
    loop {
        let due = gateway.store.due_retentions(now, last.as_ref(), MOST).await?;
        for one in &due {
            match end(gateway, &one.id, now).await {
                Ok(is_ended) => ended += u64::from(is_ended),
                // What is not as it was is for people to look at; the others have their time, however many of it there are.
                Err(StoreError::Altered { what, id } | StoreError::Corrupt { what, id, .. }) => {
                    tracing::error!(what, id, "a retention is not as the audit log has it, and stays");
                }
                Err(error) => return Err(error),
            }
        }
        match due.into_iter().next_back() {
            Some(due) => last = Some(due),
            None => break,
        }
    }
    if ended > 0 {
        tracing::info!(count = ended, "retentions past their time were taken away");
    }
    if !leftovers {
        return Ok(());
    }
    for name in gateway.retained.older_than(now - NAMELESS).await? {
        if !gateway.store.is_retained(&name).await? {
            gateway.retained.remove(&name).await?;
        }
    }
    Ok(())
}

/// Ends one, if its record says that its time is over: the row alone is not believed. Says whether it was this gateway.
async fn end(gateway: &Gateway, id: &str, now: OffsetDateTime) -> Result<bool, StoreError> {
    let altered = || StoreError::Altered { what: "retention", id: id.to_owned() };
    let Some(kept) = gateway.store.retention(id).await? else { return Ok(false) };
    if kept.record.is_none() {
        return Ok(false); // another gateway has ended it
    }
    // It is read as of the moment before its end: one that says another end is another one.
    let read = RetentionRecord::of(&kept, kept.keep_until - time::Duration::SECOND).map_err(|_| altered())?;
    let entry = |outcome: &str| AuditEntry {
        action: "retention.end".to_owned(),
        actor: OwnName::Gateway.as_str().to_owned(),
        at: now,
        device: None,
        input_digest: Some(read.file.sm3.clone()),
        key: None,
        outcome: outcome.to_owned(),
        request_id: format!("{:032x}", fastrand::u128(..)),
        result_digest: Some(hex::encode(kept.digest)),
        subject: Some(id.to_owned()),
    };
    // On record before: whoever asks for it later finds out why it is gone.
    gateway.audit.append(entry("intended")).await?;
    let is_ended = gateway.store.end_retention(id).await?;
    // Whoever finds what was intended finds what came of it, too.
    gateway.audit.append(entry(if is_ended { "ok" } else { "ended_elsewhere" })).await?;
    Ok(is_ended)
}
