//! `/v1/admin/stamp-templates`: what stamps look like and where they go, said once for all orders that name it, and
//! `/v1/stamp-templates` for apps. Orders are resolved by `resolve`.

pub(crate) mod act;
pub(crate) mod form;
mod own;
mod resolve;
pub(crate) mod view;

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use config::{AppId, TemplateId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{StampTemplate, StoreError, TemplateState, TemplateVersion};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::apps::ReasonRequest;
use crate::auth::{Authenticated, Scope};
use crate::body::{JsonBody, QueryOf, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::stamps::form::open_members;
use crate::state::Gateway;
use act::{TemplateAct, TemplateOrder};
use form::TemplateRequest;
pub(crate) use own::*;
pub(crate) use resolve::Templates;
use resolve::members;

/// A stamp template.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplateResponse {
    /// Its id.
    #[schema(value_type = String)]
    id: TemplateId,
    /// `enabled` or `disabled`.
    #[schema(value_type = String)]
    state: TemplateState,
    /// The version in force; older ones stay as they were.
    version: u32,
    /// What it is for.
    description: String,
    /// Who may use it; null for every app that stamps.
    #[schema(value_type = Option<Vec<String>>)]
    apps: Option<BTreeSet<AppId>>,
    /// What an order can say besides `document` or `digest`, and `signer`.
    open: Vec<String>,
    /// Why it was changed last.
    reason: String,
    /// By whom.
    actor: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    changed_at: OffsetDateTime,
}

/// A stamp template, and what one of its versions says.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplateDetail {
    #[serde(flatten)]
    template: TemplateResponse,
    /// The version in force, or the one that was asked for.
    shown: TemplateVersionResponse,
}

/// A version of a stamp template.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplateVersionResponse {
    /// From 1 on, without gaps.
    version: u32,
    /// What it is for.
    description: String,
    /// Who might use it; null for every app that stamps.
    #[schema(value_type = Option<Vec<String>>)]
    apps: Option<BTreeSet<AppId>>,
    /// Members of the body of `POST /v1/stamps`.
    #[schema(value_type = Object)]
    stamp: Map<String, Value>,
    /// Why it was set.
    reason: String,
    /// By whom.
    actor: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    at: OffsetDateTime,
}

/// The register of templates.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplateList {
    /// By id.
    items: Vec<TemplateResponse>,
    /// Always null.
    next: Option<String>,
}

/// A template after an act on it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplateActed {
    #[serde(flatten)]
    template: TemplateResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Which version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateQuery {
    version: Option<u32>,
}

impl TemplateResponse {
    fn of(template: StampTemplate) -> Result<Self, Problem> {
        let StampTemplate { id, state, current, reason, actor, changed_at, .. } = template;
        let open = open_members(&members(&current)?);
        let TemplateVersion { version, description, apps, .. } = current;
        Ok(Self { id, state, version, description, apps, open, reason, actor, changed_at })
    }
}

impl TemplateVersionResponse {
    fn of(version: TemplateVersion) -> Result<Self, Problem> {
        let stamp = members(&version)?;
        let TemplateVersion { version, description, apps, reason, actor, at, .. } = version;
        Ok(Self { version, description, apps, stamp, reason, actor, at })
    }
}

/// All stamp templates.
#[utoipa::path(
    get, path = "/v1/admin/stamp-templates", tag = "administration",
    responses((status = 200, description = "by id", body = TemplateList))
)]
pub(crate) async fn list_stamp_templates(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<TemplateList>, Problem> {
    caller.with(Scope::Seals)?;
    let items = all(&gateway).await?.into_iter().map(TemplateResponse::of).collect::<Result<_, _>>()?;
    Ok(Json(TemplateList { items, next: None }))
}

/// A stamp template, and what its version in force or another one says.
#[utoipa::path(
    get, path = "/v1/admin/stamp-templates/{id}", tag = "administration",
    params(
        ("id" = String, Path, description = "its id"),
        ("version" = Option<u32>, Query, description = "the version to be shown; the one in force if absent"),
    ),
    responses(
        (status = 200, description = "the template", body = TemplateDetail),
        (status = 404, description = "`unknown_template`, `unknown_template_version`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stamp_template(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<TemplateQuery>,
) -> Result<Json<TemplateDetail>, Problem> {
    caller.with(Scope::Seals)?;
    let template = known(&gateway, &id).await?;
    let shown = match query.version {
        None => template.current.clone(),
        Some(version) => {
            let found = gateway.store.stamp_template_version(&template.id, version).await;
            found.map_err(|error| match error {
                StoreError::NotFound { .. } => Problem::unknown_template_version(&id, version),
                error => Problem::from_templates(&error),
            })?
        }
    };
    let shown = TemplateVersionResponse::of(shown)?;
    Ok(Json(TemplateDetail { template: TemplateResponse::of(template)?, shown }))
}

/// Say what a stamp template says: enter it, or have a new version of it be in force.
#[utoipa::path(
    put, path = "/v1/admin/stamp-templates/{id}", tag = "administration", request_body = TemplateRequest,
    params(("id" = String, Path, description = "its id: 1 to 64 of `a-z A-Z 0-9 . _ -`")),
    responses(
        (status = 200, description = "in force, and on record", body = TemplateActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 409, description = "`template_changed`: another version is in force than the one to be replaced; `too_many_templates`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field: what the template says is read as orders for stamps are", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_stamp_template(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<TemplateRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let id = TemplateId::parse(&id)
        .map_err(|error| Problem::faults(vec![Fault::new("id", "invalid_value", error.to_string())]))?;
    let reason = request.check()?;
    let replaces = match gateway.store.stamp_template(&id).await {
        Ok(template) => template.current.version,
        Err(StoreError::NotFound { .. }) => 0,
        Err(error) => return Err(Problem::from_templates(&error)),
    };
    if request.replaces.is_some_and(|expected| expected != replaces) {
        return Err(Problem::template_changed());
    }
    let template = Box::new(request.template.0);
    if gateway.config.administration.two_person {
        // Nobody is asked for what cannot be done.
        template.draft(&gateway).await?;
    }
    asked_or_done(&gateway, &caller, TemplateAct::Set { id, template, replaces }, reason).await
}

/// Let nobody stamp by a template for now. It waits for nobody's approval.
#[utoipa::path(
    post, path = "/v1/admin/stamp-templates/{id}/disable", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "in force, and on record", body = TemplateActed),
        (status = 404, description = "`unknown_template`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`template_state`: it is disabled", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn disable_stamp_template(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let (reason, id) = (request.check()?, known(&gateway, &id).await?.id);
    done(&gateway, &caller, TemplateAct::Disable { id }, reason).await
}

/// Let a disabled template be used again.
#[utoipa::path(
    post, path = "/v1/admin/stamp-templates/{id}/enable", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "in force, and on record", body = TemplateActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_template`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`template_state`: it is enabled", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn enable_stamp_template(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let (reason, template) = (request.check()?, known(&gateway, &id).await?);
    if template.state == TemplateState::Enabled {
        return Err(Problem::template_enabled(&id));
    }
    asked_or_done(&gateway, &caller, TemplateAct::Enable { id: template.id }, reason).await
}

/// Has the act wait for a second person where the site wants two, or does it.
async fn asked_or_done(
    gateway: &Gateway,
    caller: &Authenticated,
    act: TemplateAct,
    reason: String,
) -> Result<Response, Problem> {
    let change = || Change::StampTemplate { act: act.clone() };
    if let Some(asked) = approvals::ask(gateway, caller, change, &reason, None).await? {
        return Ok(asked);
    }
    done(gateway, caller, act, reason).await
}

async fn done(
    gateway: &Gateway,
    caller: &Authenticated,
    act: TemplateAct,
    reason: String,
) -> Result<Response, Problem> {
    let (id, request_id) = (act.template().clone(), crate::request_id::current());
    let order =
        TemplateOrder { act, reason, actor: caller.actor(), request_id: request_id.clone(), since: None };
    let audit_index = act::carry_out(gateway, order).await?;
    let template = TemplateResponse::of(known(gateway, id.as_str()).await?)?;
    Ok((StatusCode::OK, Json(TemplateActed { template, audit_index, request_id })).into_response())
}

/// The template, as the register has it now; what cannot be an id is the id of no template.
async fn known(gateway: &Gateway, id: &str) -> Result<StampTemplate, Problem> {
    let id = TemplateId::parse(id).map_err(|_| Problem::unknown_template(id))?;
    gateway.store.stamp_template(&id).await.map_err(|error| Problem::from_templates(&error))
}

/// All templates but those that were altered outside the gateway.
async fn all(gateway: &Gateway) -> Result<Vec<StampTemplate>, Problem> {
    let refused = |error| Problem::from_templates(&error);
    let mut templates = Vec::new();
    // One by one: each may have pictures.
    for id in gateway.store.stamp_template_ids().await.map_err(refused)? {
        match gateway.store.stamp_template(&id).await {
            Ok(template) => templates.push(template),
            Err(StoreError::Altered { .. } | StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(templates)
}
