//! `/v1/admin/apps/{id}/webhook`: where an app is told what concerns it.

pub(crate) mod deliveries;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::{AppId, Config, KeyId, Secret};
use outbound::{
    AddressRefused, AddressRules, Client, Courier, Figures, Patience, SECRET_LENGTH, secret_text,
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use signing::{SigningCopy, SystemDesk};
use store::{NewWebhook, Notice, Store, Webhook};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::apps::{AppAct, ReasonRequest, carry_out, known, order};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::error::{StartupError, with_causes};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Where an app is to be told what concerns it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookRequest {
    /// `https://…`; in a sandbox also `http://` with an address of this machine.
    url: String,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// Where an app is told what concerns it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookResponse {
    /// The app.
    #[schema(value_type = String)]
    app: AppId,
    /// Of this registration: another address or secret is another one.
    id: String,
    /// The address.
    url: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    set_at: OffsetDateTime,
    /// The site's keys one of which made the signature `vsm2`; without any there is no such signature.
    sm2_keys: Vec<WebhookKey>,
}

/// A key that signs what leaves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookKey {
    /// Its name, as in `/v1/keys/{id}`.
    #[schema(value_type = String)]
    key: KeyId,
    /// Its version.
    version: u32,
    /// PEM; several where each device has one of its own.
    public_keys: Vec<String>,
}

/// A webhook that was registered.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookSet {
    #[serde(flatten)]
    webhook: WebhookResponse,
    /// `whsec_…`, of the signature `v1`. It is shown here and never again.
    secret: String,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A webhook that is no more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookRemoved {
    /// The app.
    #[schema(value_type = String)]
    app: AppId,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A delivery that was put into the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestAsked {
    /// Its id: `GET /v1/admin/deliveries/{id}` says how far it is.
    delivery: String,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

impl WebhookRequest {
    /// Address and reason.
    pub(crate) fn check(&self, rules: &AddressRules) -> Result<(String, String), Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason).map(str::to_owned);
        let url = rules.read(&self.url).map(|url| url.to_string());
        let code = match url {
            Err(AddressRefused::NotPublic) => "address_not_permitted",
            _ => "invalid_value",
        };
        let url = faults.parse("url", code, url);
        faults.into_result(url.zip(reason))
    }
}

impl WebhookResponse {
    fn new(webhook: Webhook, gateway: &Gateway) -> Self {
        let keys = gateway.system.keys();
        let signs = keys.iter().filter(|key| SystemDesk::signs_outbound(key));
        let pem = |copy: &SigningCopy| copy.public_key.to_pem();
        let sm2_keys = signs.map(|key| WebhookKey {
            key: key.id.clone(),
            version: key.current.version,
            public_keys: key.current.copies.iter().map(pem).collect(),
        });
        let Webhook { app, id, url, set_at, .. } = webhook;
        Self { app, id, url, set_at, sm2_keys: sm2_keys.collect() }
    }
}

/// An app's webhook. Its secret is not shown.
#[utoipa::path(
    get, path = "/v1/admin/apps/{id}/webhook", tag = "administration",
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "where the app is told what concerns it", body = WebhookResponse),
        (status = 404, description = "`unknown_app`, `no_webhook`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_webhook(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<WebhookResponse>, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    Ok(Json(WebhookResponse::new(registered(&gateway, &app).await?, &gateway)))
}

/// Register where an app is told what concerns it, with a new secret, in place of what was registered before.
#[utoipa::path(
    put, path = "/v1/admin/apps/{id}/webhook", tag = "administration", request_body = WebhookRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = WebhookSet),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_webhook(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<WebhookRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    let (url, reason) = request.check(&rules(&gateway.config))?;
    let webhook = made(url)?;
    let secret = Secret::new(secret_text(webhook.secret.expose()));
    let change = || Change::webhook(&app, &webhook);
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, Some(secret.clone())).await? {
        return Ok(asked);
    }
    let order = order(&caller, AppAct::SetWebhook { app: app.clone(), webhook }, reason);
    let audit_index = carry_out(&gateway, &order).await?.audit_index;
    let set = WebhookSet {
        webhook: WebhookResponse::new(registered(&gateway, &app).await?, &gateway),
        secret: secret.expose().clone(),
        audit_index,
        request_id: order.request_id.clone(),
    };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(set)).into_response())
}

/// Tell an app nothing any more. What is on its way to it becomes dead.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/webhook/remove", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "removed, and on record", body = WebhookRemoved),
        (status = 404, description = "`unknown_app`, `no_webhook`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove_webhook(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<WebhookRemoved>, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    let order = order(&caller, AppAct::RemoveWebhook(app.clone()), request.check()?);
    let audit_index = carry_out(&gateway, &order).await?.audit_index;
    Ok(Json(WebhookRemoved { app, audit_index, request_id: order.request_id.clone() }))
}

/// Send an app a delivery of type `webhook.test`.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/webhook/test", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 202, description = "in the queue, and on record", body = TestAsked),
        (status = 404, description = "`unknown_app`, `no_webhook`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test_webhook(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    let reason = request.check()?;
    let data = serde_json::json!({"app": app});
    let notice = Notice::new(&app, "webhook.test", data).map_err(|error| Problem::database(&error))?;
    let delivery = notice.id.clone();
    let order = order(&caller, AppAct::TestWebhook(notice), reason);
    let audit_index = carry_out(&gateway, &order).await?.audit_index;
    let asked = TestAsked { delivery, audit_index, request_id: order.request_id.clone() };
    Ok((StatusCode::ACCEPTED, Json(asked)).into_response())
}

async fn registered(gateway: &Gateway, app: &AppId) -> Result<Webhook, Problem> {
    let webhook = gateway.store.webhook(app).await.map_err(|error| Problem::database(&error))?;
    webhook.ok_or_else(|| Problem::no_webhook(app.as_str()))
}

fn made(url: String) -> Result<NewWebhook, Problem> {
    let mut secret = vec![0; SECRET_LENGTH];
    getrandom::fill(&mut secret).map_err(|error| Problem::no_random(&error))?;
    Ok(NewWebhook { id: format!("wh_{:032x}", fastrand::u128(..)), url, secret: Secret::new(secret) })
}

/// Where the site lets be sent to.
fn rules(config: &Config) -> AddressRules {
    AddressRules::new(config.outbound.networks.clone(), config.site.sandbox)
}

/// What delivers; `tls` is how the gateway asks others.
///
/// # Errors
/// What of the configuration cannot be used.
pub(crate) fn courier(
    config: &Config,
    store: Store,
    tls: ClientConfig,
    system: SystemDesk,
    figures: Arc<Figures>,
) -> Result<Courier, StartupError> {
    let client = Client::new(tls, rules(config));
    let client = client.map_err(|error| StartupError::file(&config.folder, with_causes(&error)))?;
    let patience = Patience { first: config.outbound.retry, give_up: config.outbound.give_up };
    Ok(Courier::new(store, client, Arc::new(system), patience, figures))
}
