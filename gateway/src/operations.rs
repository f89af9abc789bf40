//! `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::auth::Peer;
use crate::problem::{Problem, ProblemDocument};
use crate::routes::Door;
use crate::state::Gateway;

/// How long a database may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process runs and answers.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "`ok`", body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok"
}

/// Whether requests should be sent here, and why not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    /// Of each group the devices that take work and hold a key.
    groups: BTreeMap<String, usize>,
    /// Whether the database answers.
    database: bool,
    /// Whether no device has given the data key yet.
    locked: bool,
    /// How far the audit log is signed. A log that cannot be signed for a while goes on, and the gateway is ready.
    audit: AuditReadiness,
}

/// How far the audit log is signed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditReadiness {
    /// Entries that no checkpoint covers yet.
    unsigned_entries: u64,
    /// Since when no device can sign them, RFC 3339; null while one can.
    unsigned_since: Option<String>,
    /// Why not: `signing_failed`, which passes when a device signs again; `log_altered`: the log in the database is not
    /// what this gateway signed and wrote, which does not pass by itself. Null while it is signed.
    unsigned_reason: Option<&'static str>,
    /// Since when checkpoints are signed and the gateway cannot remember them outside the database, RFC 3339; null while it
    /// can.
    unremembered_since: Option<String>,
}

/// Ready: every device had its first try, some group can sign, the database answers and is unlocked. One group down does not
/// make the gateway unready, because the other still serves.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "ready", body = Readiness),
        (status = 503, description = "not ready, and why", body = Readiness),
    )
)]
pub(crate) async fn readyz(State(gateway): State<Gateway>) -> (StatusCode, Json<Readiness>) {
    let usable = gateway.fleet.usable().into_iter();
    let groups: BTreeMap<_, _> = usable.map(|(group, count)| (group.to_string(), count)).collect();
    // A database that hangs must not hang whoever asks whether it does.
    let database = tokio::time::timeout(PATIENCE, gateway.store.ping()).await.is_ok_and(|ping| ping.is_ok());
    let locked = gateway.store.protection().is_locked();
    let ready =
        database && !locked && gateway.fleet.has_settled() && groups.values().any(|usable| *usable > 0);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let signed = gateway.auditing.signed.borrow().clone();
    let audit = AuditReadiness {
        unsigned_entries: gateway.audit.head().borrow().saturating_sub(signed.size),
        unsigned_reason: signed
            .unsigned
            .as_ref()
            .map(|unsigned| if unsigned.altered { "log_altered" } else { "signing_failed" }),
        unsigned_since: signed.unsigned.and_then(|unsigned| unsigned.since.format(&Rfc3339).ok()),
        unremembered_since: signed.unremembered_since.and_then(|since| since.format(&Rfc3339).ok()),
    };
    (status, Json(Readiness { ready, groups, database, locked, audit }))
}

/// Metrics in the OpenMetrics text format: at the listener for administration, and in a sandbox on this machine.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        (status = 404, description = "asked at another listener, or in a sandbox from another machine", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_metrics(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    Extension(door): Extension<Door>,
) -> Result<impl IntoResponse, Problem> {
    if door != Door::Admin && !peer.is_local() {
        return Err(Problem::not_found());
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], gateway.metrics.render(&gateway)))
}
