//! `/v1/admin/custodians`: the people who confirm key ceremonies. They are entered at the admin socket only: an app
//! that could enter custodians could confirm its own ceremonies.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use store::AuditEntry;
use time::OffsetDateTime;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::auth::Authenticated;
use crate::body::{JsonBody, Segment};
use crate::ceremonies::admit;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A custodian to be entered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustodianRequest {
    /// Name to confirm under, 1 to 64 characters.
    name: String,
    /// Twelve characters at least; only its hash is kept.
    #[schema(value_type = String)]
    secret: Zeroizing<String>,
}

/// A custodian.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustodianResponse {
    /// Name to confirm under.
    name: String,
    /// A disabled one confirms nothing.
    enabled: bool,
    /// When the custodian was entered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
}

/// All custodians.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustodianList {
    /// By name.
    items: Vec<CustodianResponse>,
    /// Always null.
    next: Option<String>,
}

/// A change to a custodian that is on record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustodianChanged {
    /// The custodian.
    name: String,
    /// Whether the custodian may confirm now.
    enabled: bool,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// All custodians by name.
#[utoipa::path(
    get, path = "/v1/admin/custodians", tag = "administration",
    responses((status = 200, description = "all of them", body = CustodianList))
)]
pub(crate) async fn list_custodians(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<CustodianList>, Problem> {
    admit(&caller)?;
    let all = gateway.store.custodians().await.map_err(|error| Problem::database(&error))?;
    let items = all
        .into_iter()
        .map(|custodian| CustodianResponse {
            name: custodian.name,
            enabled: custodian.enabled,
            created_at: custodian.created_at,
        })
        .collect();
    Ok(Json(CustodianList { items, next: None }))
}

/// Enter a custodian; at the admin socket only.
#[utoipa::path(
    post, path = "/v1/admin/custodians", tag = "administration", request_body = CustodianRequest,
    responses(
        (status = 201, description = "may confirm from now on", body = CustodianChanged),
        (status = 403, description = "`socket_only`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`custodian_exists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "a name or secret that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_custodian(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<CustodianRequest>,
) -> Result<(StatusCode, Json<CustodianChanged>), Problem> {
    const ACTION: &str = "custodian.add";
    admit(&caller)?;
    if !caller.is_local_user() {
        return Err(Problem::socket_only());
    }
    record(&gateway, &caller, ACTION, &request.name, "intended").await?;
    let added = gateway.store.add_custodian(&request.name, &request.secret, OffsetDateTime::now_utc()).await;
    let done = finish(&gateway, &caller, ACTION, request.name, true, added).await?;
    Ok((StatusCode::CREATED, done))
}

/// Have a custodian confirm nothing more; what was confirmed stands. At the admin socket only.
#[utoipa::path(
    post, path = "/v1/admin/custodians/{name}/disable", tag = "administration",
    params(("name" = String, Path, description = "the custodian")),
    responses(
        (status = 200, description = "disabled", body = CustodianChanged),
        (status = 403, description = "`socket_only`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_custodian`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn disable_custodian(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(name): Segment,
) -> Result<Json<CustodianChanged>, Problem> {
    enable(&gateway, &caller, name, false).await
}

/// Have a disabled custodian confirm again. At the admin socket only.
#[utoipa::path(
    post, path = "/v1/admin/custodians/{name}/enable", tag = "administration",
    params(("name" = String, Path, description = "the custodian")),
    responses(
        (status = 200, description = "enabled", body = CustodianChanged),
        (status = 403, description = "`socket_only`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_custodian`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn enable_custodian(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(name): Segment,
) -> Result<Json<CustodianChanged>, Problem> {
    enable(&gateway, &caller, name, true).await
}

async fn enable(
    gateway: &Gateway,
    caller: &Authenticated,
    name: String,
    enabled: bool,
) -> Result<Json<CustodianChanged>, Problem> {
    admit(caller)?;
    if !caller.is_local_user() {
        return Err(Problem::socket_only());
    }
    let action = if enabled { "custodian.enable" } else { "custodian.disable" };
    record(gateway, caller, action, &name, "intended").await?;
    let done = gateway.store.enable_custodian(&name, enabled).await;
    finish(gateway, caller, action, name, enabled, done).await
}

async fn finish(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    name: String,
    enabled: bool,
    done: Result<(), store::StoreError>,
) -> Result<Json<CustodianChanged>, Problem> {
    let done = done.map_err(|error| Problem::from_register(&error));
    let outcome = done.as_ref().map_or_else(Problem::code, |()| "ok");
    let audit_index = record(gateway, caller, action, &name, outcome).await?;
    done?;
    Ok(Json(CustodianChanged { name, enabled, audit_index, request_id: crate::request_id::current() }))
}

async fn record(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    name: &str,
    outcome: &str,
) -> Result<u64, Problem> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: caller.actor(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(name.chars().take(64).collect()),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
