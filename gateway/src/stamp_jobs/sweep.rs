//! Removes what is over: uploads whose time has come, jobs some days after they finished, blobs that nothing names.

use std::time::Duration;

use config::OwnName;
use store::StoreError;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{entry, record};
use crate::error::with_causes;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::timestamps::WatchedClock;

/// How often what is over is looked for.
const EVERY: Duration = Duration::from_secs(60);
/// In which rounds all blobs are looked through.
const LEFTOVERS: u64 = 60;
/// A blob that nothing names is nobody's by then: one that is being written gets its name within minutes.
const NAMELESS: time::Duration = time::Duration::days(1);
/// Jobs removed in one round.
const MOST: u32 = 100;

/// Sweeps until it is aborted.
pub(crate) async fn sweep(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in 0_u64.. {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        // What is removed cannot be had back.
        if let Err(reason) = clock.believed() {
            tracing::warn!(reason, "documents past their time stay for now");
            continue;
        }
        if let Err(error) = round(&gateway, count % LEFTOVERS == 0, OffsetDateTime::now_utc()).await {
            tracing::warn!(error = with_causes(&error), "documents past their time stay for now");
        }
    }
}

async fn round(gateway: &Gateway, leftovers: bool, now: OffsetDateTime) -> Result<(), StoreError> {
    let (store, blobs) = (&gateway.store, &gateway.stamp_jobs.blobs);
    for blob in store.forget_uploads(now).await? {
        blobs.remove(&blob).await?;
    }
    let before = now - gateway.config.stamp_jobs.retention;
    for job in store.stamp_jobs_finished_before(before, MOST).await? {
        let entry = entry(
            "stamp_job.remove",
            OwnName::Gateway.as_str().to_owned(),
            format!("{:032x}", fastrand::u128(..)),
            job.id.clone(),
        );
        // On record before: whoever asks for results later finds out why they are gone.
        let recorded = |outcome: Result<u64, Problem>| outcome.map_err(|_| StoreError::AuditUnavailable);
        recorded(record(gateway, &entry, "intended").await)?;
        for blob in store.forget_stamp_job(&job.id).await? {
            blobs.remove(&blob).await?;
        }
        recorded(record(gateway, &entry, "ok").await)?;
        tracing::info!(job = job.id, "a stamp job past its time was removed, with its results");
    }
    if !leftovers {
        return Ok(());
    }
    for name in blobs.older_than(now - NAMELESS).await? {
        if !store.is_blob_named(&name).await? {
            blobs.remove(&name).await?;
        }
    }
    Ok(())
}
