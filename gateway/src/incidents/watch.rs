//! Has the clocks of open incidents looked at: who has to keep a promise is warned when three quarters of its time are over, and again when
//! it is missed, each once over all gateways.

use std::time::Duration;

use config::OwnName;
use maintenance::{Clock, Level, Standing};
use store::{IncidentChange, IncidentQuery, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{Known, entry, now};
use crate::error::with_causes;
use crate::state::Gateway;

const EVERY: Duration = Duration::from_secs(10);
/// Open incidents that are looked at; with more, the oldest wait.
const MOST: u32 = 1_000;

/// What is told of a promise: its name, and the bits of its warning and of its being missed.
const PROMISES: [(&str, u32, u32); 2] = [("response", 1, 2), ("resolution", 4, 8)];

/// Looks until it is aborted.
pub(crate) async fn watch(gateways: watch::Receiver<Option<Gateway>>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        if let Err(error) = round(&gateway, now()).await {
            tracing::warn!(error = %with_causes(&error), "the clocks of incidents could not be looked at");
        }
    }
}

async fn round(gateway: &Gateway, now: OffsetDateTime) -> Result<(), StoreError> {
    let which = IncidentQuery { open: Some(true), ..IncidentQuery::default() };
    let mut open = [0_usize; 4];
    for row in gateway.store.incidents(&which, MOST).await? {
        let id = row.id.clone();
        let Ok(known) = Known::of(row) else {
            tracing::error!(id, "an incident was altered outside the gateway");
            continue;
        };
        let level = known.incident.level.unwrap_or(Level::FIRST);
        open[usize::from(level.number()) - 1] += 1;
        let clocks = [known.incident.response(now), known.incident.resolution(now)];
        for ((name, warned, missed), clock) in PROMISES.into_iter().zip(clocks) {
            let (action, bits) = match clock.standing {
                Standing::Warned => ("incident.warned", warned),
                Standing::Overdue => ("incident.missed", missed),
                Standing::Running | Standing::Met | Standing::Late => continue,
            };
            if known.row.told & bits == 0 {
                tell(gateway, &known, (name, action, bits), &clock).await?;
            }
        }
    }
    gateway.metrics.incidents_open(open);
    Ok(())
}

async fn tell(
    gateway: &Gateway,
    known: &Known,
    (promise, action, of): (&str, &'static str, u32),
    clock: &Clock,
) -> Result<(), StoreError> {
    let id = &known.row.id;
    let due = clock.due.unix_timestamp();
    let subject = format!("{id} {promise} due {due}");
    let entry = entry(OwnName::Gateway.as_str(), action, subject, "");
    let entry = store::AuditEntry { input_digest: None, ..entry };
    match gateway.audit.append_incident(entry, IncidentChange::Told { id: id.clone(), of }, None).await {
        Ok(_) => {
            gateway.metrics.incident_step(action.trim_start_matches("incident."));
            let level = known.incident.level.unwrap_or(Level::FIRST).number();
            tracing::warn!(id, promise, action, level, due, "a promise about an incident");
            Ok(())
        }
        // Another gateway told it, or somebody closed the incident.
        Err(StoreError::Changed { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
