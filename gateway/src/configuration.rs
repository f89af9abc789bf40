//! `POST /v1/admin/config:reload`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A configuration that was taken over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadResponse {
    /// What is different now, for people; empty if nothing is.
    #[schema(example = json!(["server.body_limit 1048576 -> 2097152", "device d9 removed"]))]
    changes: Vec<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Read the configuration file, the files it names and the key register anew, and take them over without dropping a
/// request. Everything is checked first: what is wrong anywhere leaves all as it was.
#[utoipa::path(
    post, path = "/v1/admin/config:reload", tag = "administration",
    responses(
        (status = 200, description = "taken over", body = ReloadResponse),
        (status = 409, description = "`restart_required`: `errors` names every field that cannot change live; nothing was changed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`config_invalid` or `config_unusable`: `errors` holds every mistake as `FILE:LINE: message`; nothing was changed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`reload_busy` and others: not now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_reload(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<ReloadResponse>, Problem> {
    caller.with(Scope::Maintenance)?;
    let request_id = crate::request_id::current();
    let done = gateway.reloads.ask(caller.actor(), request_id.clone()).await?;
    Ok(Json(ReloadResponse { changes: done.changes, audit_index: done.audit_index, request_id }))
}
