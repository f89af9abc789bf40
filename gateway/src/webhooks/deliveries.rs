//! `/v1/admin/deliveries`: what was, is or should have been told to apps, and what is told once more.

use axum::Json;
use axum::extract::State;
use config::AppId;
use serde::{Deserialize, Serialize};
use store::{AuditEntry, Delivery, DeliveryState};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::apps::ReasonRequest;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A delivery. What it says is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryResponse {
    /// Its id, which goes out as `webhook-id`.
    id: String,
    /// Whom.
    #[schema(value_type = String)]
    app: AppId,
    /// Such as `app.alarm`.
    #[serde(rename = "type")]
    kind: String,
    /// `waiting`, `delivered` or `dead`.
    #[schema(value_type = String)]
    state: DeliveryState,
    /// How often it was tried, since it was put into the queue or sent again.
    attempts: u32,
    /// When it was put into the queue.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When it is tried next, if it waits.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    due_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    ended_at: Option<OffsetDateTime>,
    /// Why the last attempt failed; null where it did not.
    error: Option<String>,
    /// The HTTP status of the last answer; null where none came.
    status: Option<u16>,
}

/// Deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    /// The newest first, at most 1,000.
    items: Vec<DeliveryResponse>,
    /// Always null.
    next: Option<String>,
}

/// A delivery that is made again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryResent {
    #[serde(flatten)]
    delivery: DeliveryResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Which deliveries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryQuery {
    app: Option<String>,
    state: Option<String>,
}

impl From<Delivery> for DeliveryResponse {
    fn from(delivery: Delivery) -> Self {
        let Delivery {
            id,
            app,
            kind,
            state,
            attempts,
            created_at,
            since: _,
            due_at,
            ended_at,
            error,
            status,
        } = delivery;
        Self { id, app, kind, state, attempts, created_at, due_at, ended_at, error, status }
    }
}

/// What was, is or should have been told to apps. What ended is kept for 30 days.
#[utoipa::path(
    get, path = "/v1/admin/deliveries", tag = "administration",
    params(
        ("app" = Option<String>, Query, description = "only those to this app"),
        ("state" = Option<String>, Query, description = "only those in this state, such as `dead`"),
    ),
    responses((status = 200, description = "newest first", body = DeliveryList))
)]
pub(crate) async fn list_deliveries(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<DeliveryQuery>,
) -> Result<Json<DeliveryList>, Problem> {
    caller.with(Scope::Maintenance)?;
    const STATES: [DeliveryState; 3] =
        [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead];
    let mut faults = Faults::default();
    let words = STATES.map(|state| (state.as_str(), Some(state)));
    let state = faults.word("state", query.state.as_deref(), &words, None);
    let app = query.app.as_deref().map(AppId::parse).transpose();
    let app = faults.parse("app", "invalid_value", app);
    let (app, state) = faults.into_result(app.zip(state))?;
    let found = gateway.store.deliveries(app.as_ref(), state).await;
    let found = found.map_err(|error| Problem::from_deliveries(&error))?;
    Ok(Json(DeliveryList { items: found.into_iter().map(Into::into).collect(), next: None }))
}

/// A delivery, and how far it is.
#[utoipa::path(
    get, path = "/v1/admin/deliveries/{id}", tag = "administration",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "the delivery", body = DeliveryResponse),
        (status = 404, description = "`unknown_delivery`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_delivery(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<DeliveryResponse>, Problem> {
    caller.with(Scope::Maintenance)?;
    let found = gateway.store.delivery(&id).await.map_err(|error| Problem::from_deliveries(&error))?;
    Ok(Json(found.into()))
}

/// Have a dead delivery made again, with all its time.
#[utoipa::path(
    post, path = "/v1/admin/deliveries/{id}/resend", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "in the queue, and on record", body = DeliveryResent),
        (status = 404, description = "`unknown_delivery`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`delivery_not_dead`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resend_delivery(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<DeliveryResent>, Problem> {
    caller.with(Scope::Maintenance)?;
    let found = gateway.store.delivery(&id).await.map_err(|error| Problem::from_deliveries(&error))?;
    let entry = AuditEntry {
        action: "delivery.resend".to_owned(),
        actor: caller.actor(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: "intended".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(format!("{id}: {} {}: {}", found.app, found.kind, request.check()?)),
    };
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let work = async move { resend(&gateway, &id, entry).await };
    tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())?.map(Json)
}

async fn resend(gateway: &Gateway, id: &str, entry: AuditEntry) -> Result<DeliveryResent, Problem> {
    record(gateway, &entry, "intended").await?;
    let resent = gateway.store.resend_delivery(id, OffsetDateTime::now_utc()).await;
    let resent = resent.map_err(|error| Problem::from_deliveries(&error));
    let outcome = resent.as_ref().map_or_else(Problem::code, |_| "ok");
    let audit_index = record(gateway, &entry, outcome).await?;
    Ok(DeliveryResent { delivery: resent?.into(), audit_index, request_id: entry.request_id })
}

async fn record(gateway: &Gateway, entry: &AuditEntry, outcome: &str) -> Result<u64, Problem> {
    let entry = AuditEntry { outcome: outcome.to_owned(), at: OffsetDateTime::now_utc(), ..entry.clone() };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
