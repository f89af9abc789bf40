//! This gateway among others on the same database: its name, its sign of life, and what the others changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hsm_driver::{Fleet, State};
use store::{AuditLog, Change, Changes, Hold, Membership, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::auth::Callers;
use crate::ceremonies;
use crate::error::with_causes;
use crate::reload::Reloads;

/// How often a sign of life is given.
const BEAT: Duration = Duration::from_secs(5);
/// How long to wait before listening again.
const PAUSE: Duration = Duration::from_millis(500);

/// Gives signs of life until the gateway stops, then gives the name back. What a replica that died had begun is ended
/// by those that are there.
pub(crate) async fn keep_alive(
    mut membership: Membership,
    store: Store,
    audit: AuditLog,
    mut stopping: watch::Receiver<bool>,
) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = beats.tick() => {}
        }
        let now = OffsetDateTime::now_utc();
        if let Err(error) = membership.beat(now).await {
            tracing::error!(replica = membership.name(), error = %with_causes(&error), "no sign of life could be given");
        }
        if let Err(error) = ceremonies::end_abandoned(&store, &audit, membership.joined_at()).await {
            tracing::warn!(error = %with_causes(&error), "abandoned ceremonies could not be looked at");
        }
    }
    if let Err(error) = membership.leave().await {
        tracing::warn!(error = %with_causes(&error), "the replica's name could not be given back");
    }
}

/// Follows what other gateways change. Runs until it is dropped.
pub(crate) async fn follow(store: Store, fleet: Arc<Fleet>, callers: Arc<Callers>, reloads: Reloads) {
    loop {
        match store.changes().await {
            Ok(changes) => {
                let error = listen(changes, &store, &fleet, &callers, &reloads).await;
                tracing::warn!(error = %with_causes(&error), "changes of other gateways are not heard of");
            }
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "changes of other gateways cannot be listened to");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes every change over until that fails.
async fn listen(
    mut changes: Changes,
    store: &Store,
    fleet: &Fleet,
    callers: &Callers,
    reloads: &Reloads,
) -> StoreError {
    // What changed before somebody listened.
    let mut change = Change::Anything;
    loop {
        if matches!(change, Change::Keys | Change::Anything)
            && let Err(error) = reloads.keys().await
        {
            tracing::error!(%error, "the key register was not taken over");
        }
        // Requests would find it out too, half a second later at most.
        if matches!(change, Change::Apps | Change::Anything)
            && let Err(error) = callers.apps.read_anew().await
        {
            return error;
        }
        if matches!(change, Change::Devices | Change::Anything)
            && let Err(error) = hold(store, fleet).await
        {
            return error;
        }
        change = match changes.next().await {
            Ok(change) => change,
            Err(error) => return error,
        };
    }
}

/// Takes those devices out of service that operators took out in whichever gateway, and lets back those they let back.
async fn hold(store: &Store, fleet: &Fleet) -> Result<(), StoreError> {
    let holds: BTreeMap<_, _> = store.device_holds().await?.into_iter().collect();
    for device in fleet.status() {
        let done = match (holds.get(&device.id), device.state) {
            // A device in quarantine is out of service already, and stays so for its own reason.
            (_, State::Quarantined) => continue,
            (Some(_), State::Maintenance) | (Some(Hold::Draining), State::Draining) => continue,
            (Some(Hold::Draining), _) => fleet.drain(&device.id),
            (Some(Hold::Maintenance), _) => fleet.maintain(&device.id),
            (None, State::Draining | State::Maintenance) => fleet.resume(&device.id),
            (None, _) => continue,
        };
        match done {
            Ok(state) => tracing::info!(device = %device.id, ?state, "as operators have it at every gateway"),
            Err(error) => tracing::error!(device = %device.id, %error, "not as operators have it"),
        }
    }
    Ok(())
}
