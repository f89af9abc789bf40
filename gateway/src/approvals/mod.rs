//! `/v1/admin/approvals`: changes that one person asks for and another one approves.
//!
//! A handler that is about to change something gives the change to [`ask`]; where the site wants two people for it, the
//! change is kept, and carried out when somebody else has approved it (`act`), through the same single place that the
//! handler would have gone through.

mod act;
mod change;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Approval, ApprovalState};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::apps::ReasonRequest;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use act::Content;
pub(crate) use act::{Carrying, watch};
pub(crate) use change::{Change, KeptCredential};

/// What would be different in one field.
#[derive(Serialize, ToSchema)]
pub(crate) struct Difference {
    /// Its name.
    field: String,
    /// As it was when the change was asked for.
    #[schema(value_type = Object)]
    before: Value,
    /// As it is to be.
    #[schema(value_type = Object)]
    after: Value,
}

/// A change that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalResponse {
    /// Its id.
    id: String,
    /// Such as `app.change` or `policy.set`.
    action: String,
    /// What it is done to.
    subject: String,
    /// `pending`, `approved` (it is being carried out), `done`, `failed`, `rejected`, `withdrawn` or `expired`.
    #[schema(value_type = String)]
    state: ApprovalState,
    /// What would be different.
    difference: Vec<Difference>,
    /// What it rests on and leaves as it is, by name: of an account that is enabled or reset also its roles and the
    /// scopes that they give.
    #[schema(value_type = Object)]
    context: Map<String, Value>,
    /// Why it was asked for.
    reason: String,
    /// By whom.
    asked_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    asked_at: OffsetDateTime,
    /// Until when somebody may decide.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// Who decided.
    decided_by: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    decided_at: Option<OffsetDateTime>,
    /// Why so.
    decision: Option<String>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    finished_at: Option<OffsetDateTime>,
    /// Of one that was approved: `ok`, or the code of what went wrong.
    outcome: Option<String>,
}

/// The latest of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalList {
    /// Newest first, 1,000 at most.
    items: Vec<ApprovalResponse>,
    /// Always null.
    next: Option<String>,
}

/// A change that waits for a second person; nothing was changed yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalAsked {
    /// Its id: `/v1/admin/approvals/{id}` tells how far it is.
    approval: String,
    /// `pending`.
    #[schema(value_type = String)]
    state: ApprovalState,
    /// What would be different.
    difference: Vec<Difference>,
    /// Until when somebody may decide.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// What an app proves itself by once the change is approved, of a credential that is secret. It is shown here and
    /// never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Which of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalQuery {
    /// Only those in this state.
    state: Option<String>,
}

/// Has a change wait for a second person, if the site wants two for it: the answer to whoever asked.
///
/// # Errors
/// It cannot be asked for, or not be kept.
pub(crate) async fn ask(
    gateway: &Gateway,
    caller: &Authenticated,
    change: impl FnOnce() -> Change,
    reason: &str,
    secret: Option<Secret<String>>,
) -> Result<Option<Response>, Problem> {
    if !gateway.config.administration.two_person {
        return Ok(None);
    }
    let change = change();
    if act::is_first_of_people(gateway, caller, &change).await? {
        return Ok(None);
    }
    let (approval, content, audit_index) = act::ask(gateway, caller, change, reason).await?;
    let location = HeaderValue::try_from(format!("/v1/admin/approvals/{}", approval.id));
    let asked = ApprovalAsked {
        approval: approval.id,
        state: approval.state,
        difference: differences(&content),
        expires_at: approval.expires_at,
        secret: secret.map(|secret| secret.expose().clone()),
        audit_index,
        request_id: crate::request_id::current(),
    };
    let mut answer = (StatusCode::ACCEPTED, Json(asked)).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = location {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(Some(answer))
}

/// The latest changes that were asked for.
#[utoipa::path(
    get, path = "/v1/admin/approvals", tag = "administration", 
    params(("state" = Option<String>, Query, description = "only those in this state, such as `pending`")),
    responses((status = 200, description = "newest first", body = ApprovalList))
)]
pub(crate) async fn list_approvals(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<ApprovalQuery>,
) -> Result<Json<ApprovalList>, Problem> {
    caller.with(Scope::Approvals)?;
    const STATES: [ApprovalState; 7] = [
        ApprovalState::Pending,
        ApprovalState::Approved,
        ApprovalState::Done,
        ApprovalState::Failed,
        ApprovalState::Rejected,
        ApprovalState::Withdrawn,
        ApprovalState::Expired,
    ];
    let mut faults = Faults::default();
    let words = STATES.map(|state| (state.as_str(), Some(state)));
    let state = faults.word("state", query.state.as_deref(), &words, None);
    let state = faults.into_result(state)?;
    let found = gateway.store.approvals(state).await.map_err(|error| Problem::from_approvals(&error))?;
    Ok(Json(ApprovalList { items: found.iter().map(ApprovalResponse::of).collect(), next: None }))
}

/// A change that was asked for, and how far it is.
#[utoipa::path(
    get, path = "/v1/admin/approvals/{id}", tag = "administration",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "the change", body = ApprovalResponse),
        (status = 404, description = "`unknown_approval`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_approval(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<ApprovalResponse>, Problem> {
    caller.with(Scope::Approvals)?;
    let found = gateway.store.approval(&id).await.map_err(|error| Problem::from_approvals(&error))?;
    Ok(Json(ApprovalResponse::of(&found)))
}

/// Approve a change that somebody else asked for: it is carried out, once, if things still stand as they did.
#[utoipa::path(
    post, path = "/v1/admin/approvals/{id}/approve", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "`done`, or `failed` with `outcome`", body = ApprovalResponse),
        (status = 403, description = "`own_approval`, `person_required`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_approval`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`approval_not_pending`; `approval_stale`: `errors` names what has changed since; `approval_busy`: another approved change of the same subject is under way", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn approve(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<ApprovalResponse>, Problem> {
    caller.with(Scope::Approvals)?;
    let ended = act::approve(&gateway, &caller, &id, request.check()?).await?;
    Ok(Json(ApprovalResponse::of(&ended)))
}

/// Reject a change that somebody else asked for.
#[utoipa::path(
    post, path = "/v1/admin/approvals/{id}/reject", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "rejected", body = ApprovalResponse),
        (status = 403, description = "`own_approval`, `person_required`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_approval`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`approval_not_pending`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn reject(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<ApprovalResponse>, Problem> {
    caller.with(Scope::Approvals)?;
    let ended = act::reject(&gateway, &caller, &id, &request.check()?).await?;
    Ok(Json(ApprovalResponse::of(&ended)))
}

/// Take back a change that one has asked for oneself.
#[utoipa::path(
    post, path = "/v1/admin/approvals/{id}/withdraw", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "withdrawn", body = ApprovalResponse),
        (status = 403, description = "`not_own_approval`; `scope_missing`: who asked may no longer ask for such a change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_approval`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`approval_not_pending`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn withdraw(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<ApprovalResponse>, Problem> {
    let ended = act::withdraw(&gateway, &caller, &id, &request.check()?).await?;
    Ok(Json(ApprovalResponse::of(&ended)))
}

impl ApprovalResponse {
    fn of(approval: &Approval) -> Self {
        // One of a release that knew other changes is shown without its difference.
        let content = Content::of(approval).ok();
        let decided = approval.decided.as_ref();
        Self {
            id: approval.id.clone(),
            action: approval.action.clone(),
            subject: approval.subject.clone(),
            state: approval.state,
            difference: content.as_ref().map(differences).unwrap_or_default(),
            context: content.map(|content| content.context()).unwrap_or_default(),
            reason: approval.reason.clone(),
            asked_by: approval.asked_by.clone(),
            asked_at: approval.asked_at,
            expires_at: approval.expires_at,
            decided_by: decided.map(|(by, ..)| by.clone()),
            decided_at: decided.map(|(_, at, _)| *at),
            decision: decided.map(|(.., said)| said.clone()),
            finished_at: approval.finished_at,
            outcome: approval.outcome.clone(),
        }
    }
}

fn differences(content: &Content) -> Vec<Difference> {
    let fields = content.difference().into_iter();
    fields.map(|(field, before, after)| Difference { field, before, after }).collect()
}
