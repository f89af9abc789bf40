//! `POST /v1/admin/data-key:rotate`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::{AuditEntry, StoreError, UnlockError};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::JsonBody;
use crate::error::with_causes;
use crate::maintenance::MaintenanceRequest;
use crate::problem::{Problem, ProblemDocument};
use crate::protection::Devices;
use crate::state::Gateway;

const ACTION: &str = "data_key.rotate";

/// A data key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DataKeyResponse {
    /// Its version.
    version: u32,
    /// From when on it is used; until then every gateway on the database takes it into memory.
    #[serde(with = "time::serde::rfc3339")]
    used_from: OffsetDateTime,
    /// Where the act's outcome stands in the audit log; its intent stands before.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Make a new data key: what is stored from a minute later on is protected under it, and rows get their codes anew.
/// What was sealed before stays readable.
#[utoipa::path(
    post, path = "/v1/admin/data-key:rotate", tag = "administration", request_body = MaintenanceRequest,
    responses(
        (status = 200, description = "made", body = DataKeyResponse),
        (status = 409, description = "`data_key_pending`: the last one is not used yet", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`devices_unavailable`: no device of the group wraps it; `data_locked`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn rotate_data_key(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<DataKeyResponse>, Problem> {
    caller.with(Scope::Maintenance)?;
    let (reason, actor) = (request.check()?.to_owned(), caller.actor());
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = crate::request_id::carried(async move { rotate(&gateway, &actor, &reason).await });
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?.map(Json)
}

async fn rotate(gateway: &Gateway, actor: &str, reason: &str) -> Result<DataKeyResponse, Problem> {
    record(gateway, actor, "intended", reason.to_owned()).await?;
    let made = gateway.store.make_data_key(&Devices(&gateway.fleet), OffsetDateTime::now_utc()).await;
    let made = made.map_err(|error| problem(&error));
    let (outcome, subject) = match &made {
        Ok(next) => ("ok", format!("version {}: {reason}", next.version)),
        Err(problem) => (problem.code(), reason.to_owned()),
    };
    let audit_index = record(gateway, actor, outcome, subject).await?;
    let (next, request_id) = (made?, crate::request_id::current());
    Ok(DataKeyResponse { version: next.version, used_from: next.used_from, audit_index, request_id })
}

fn problem(error: &UnlockError) -> Problem {
    match error {
        UnlockError::Store(error @ StoreError::AlreadyExists { .. }) => Problem::data_key_pending(error),
        UnlockError::Store(error) => Problem::database(error),
        UnlockError::Devices(_)
        | UnlockError::Gone
        | UnlockError::NotOpened(_)
        | UnlockError::NoWrappingKey { .. } => Problem::data_key_not_wrapped(with_causes(error)),
    }
}

async fn record(gateway: &Gateway, actor: &str, outcome: &str, subject: String) -> Result<u64, Problem> {
    let entry = AuditEntry {
        action: ACTION.to_owned(),
        actor: actor.to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(subject),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
