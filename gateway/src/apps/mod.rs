//! `/v1/admin/apps`: the register of apps, what they prove themselves by, and the one act that ends an attack.

mod act;
mod evidence;
pub(crate) mod form;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::{AppId, GroupId, KeyId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{App, AppState, Credential, CredentialKind, Material, OidcClient};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change, KeptCredential};
use crate::auth::register::KnownApp;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::oidc::client::OidcClientRequest;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use act::CarriedOut;
pub(crate) use act::{AppAct, AppOrder, carry_out, sm3_hex};
pub(crate) use form::{AppRequest, CredentialRequest};

/// An app of the register. It names people, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppResponse {
    /// Its id.
    #[schema(value_type = String)]
    id: AppId,
    /// What people call it.
    name: String,
    /// `enabled`, `disabled` or `locked`.
    #[schema(value_type = String)]
    state: AppState,
    /// Why it is in that state; empty where nobody said.
    state_reason: String,
    /// What it may call.
    scopes: BTreeSet<String>,
    /// Service keys it may use.
    #[schema(value_type = Vec<String>)]
    keys: BTreeSet<KeyId>,
    /// Groups whose service keys it may use.
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupId>,
    /// License face fields it may see; `*` for all.
    fields: BTreeSet<String>,
    /// Metered packages it may draw on.
    packages: BTreeSet<String>,
    /// How the people behind it are reached.
    contacts: Vec<String>,
    /// How people log in to it with their license by OpenID Connect; null where they do not.
    #[schema(value_type = Option<OidcClientRequest>)]
    oidc: Option<OidcClient>,
    /// How often it may ask; null without a limit of its own.
    rate: Option<RateResponse>,
    /// Since when it is served.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    not_before: Option<OffsetDateTime>,
    /// Until when it is served.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    not_after: Option<OffsetDateTime>,
    /// By age, those that ended included.
    credentials: Vec<CredentialResponse>,
}

/// A token bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RateResponse {
    /// Requests a second in the long run.
    per_second: u32,
    /// Requests at once after a pause.
    burst: u32,
}

/// What an app proves itself by. A secret is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialResponse {
    /// Its id.
    id: String,
    /// How it proves something.
    #[schema(value_type = String)]
    kind: CredentialKind,
    /// For people.
    label: String,
    /// Whether it proves something now.
    in_force: bool,
    /// SHA-256 of the certificate, SM3 of a public key; null of what is secret.
    fingerprint: Option<String>,
    /// Since when it proves something.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    not_before: OffsetDateTime,
    /// Until when.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    not_after: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    revoked_at: Option<OffsetDateTime>,
    /// Why.
    revoked_reason: Option<String>,
}

/// The register.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppList {
    /// By id.
    items: Vec<AppResponse>,
    /// Always null.
    next: Option<String>,
}

/// An app after an act on it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppActed {
    #[serde(flatten)]
    app: AppResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A credential that was entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialAdded {
    #[serde(flatten)]
    credential: CredentialResponse,
    /// What the app proves itself by, of a kind that is secret. It is shown here and never again.
    secret: Option<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A frozen app.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppFrozen {
    #[serde(flatten)]
    app: AppResponse,
    /// The folder, on the gateway's host, in which what is known of the app is being kept. The audit entry `app.evidence` of
    /// the same request says when it is whole, with the SM3 of its `manifest.json`.
    evidence: String,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonRequest {
    /// For the record: 1 to 500 characters.
    reason: String,
}

impl AppResponse {
    pub(super) fn new(known: &KnownApp) -> Self {
        let (app, at) = (&*known.app, OffsetDateTime::now_utc());
        let credentials = known.credentials.iter();
        Self {
            id: app.id.clone(),
            name: app.name.clone(),
            state: app.state,
            state_reason: app.reason.clone(),
            scopes: app.scopes.clone(),
            keys: app.keys.clone(),
            groups: app.groups.clone(),
            fields: app.fields.clone(),
            packages: app.packages.clone(),
            contacts: app.contacts.clone(),
            oidc: app.oidc.clone(),
            rate: app.rate.map(|rate| RateResponse { per_second: rate.per_second, burst: rate.burst }),
            not_before: app.not_before,
            not_after: app.not_after,
            credentials: credentials.map(|known| CredentialResponse::new(&known.credential, at)).collect(),
        }
    }
}

impl CredentialResponse {
    fn new(credential: &Credential, at: OffsetDateTime) -> Self {
        let fingerprint = match &credential.material {
            Material::Certificate(digest) => Some(hex::encode(digest)),
            Material::Sm2(key) | Material::P256(key) => Some(sm3_hex(key)),
            Material::CertificateName { .. }
            | Material::ApiKey(_)
            | Material::HmacSm3(_)
            | Material::HmacSha256(_) => None,
        };
        let revoked = credential.revoked.as_ref();
        Self {
            id: credential.id.clone(),
            kind: credential.material.kind(),
            label: credential.label.clone(),
            in_force: credential.holds_at(at),
            fingerprint,
            not_before: credential.not_before,
            not_after: credential.not_after,
            revoked_at: revoked.map(|(at, _)| *at),
            revoked_reason: revoked.map(|(_, reason)| reason.clone()),
        }
    }
}

/// The register of apps.
#[utoipa::path(
    get, path = "/v1/admin/apps", tag = "administration",
    responses((status = 200, description = "all of them", body = AppList))
)]
pub(crate) async fn list_apps(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<AppList>, Problem> {
    caller.with(Scope::Apps)?;
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let items = register.apps().into_iter().map(|known| AppResponse::new(known)).collect();
    Ok(Json(AppList { items, next: None }))
}

/// One app of the register.
#[utoipa::path(
    get, path = "/v1/admin/apps/{id}", tag = "administration",
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "with its credentials", body = AppResponse),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<AppResponse>, Problem> {
    caller.with(Scope::Apps)?;
    Ok(Json(AppResponse::new(&*known(&gateway, &id).await?)))
}

/// Enter an app. It has no credential yet.
#[utoipa::path(
    post, path = "/v1/admin/apps", tag = "administration", request_body = AppRequest,
    responses(
        (status = 201, description = "entered, and on record", body = AppActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 409, description = "`app_exists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<AppRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let keys = gateway.store.keys().await.map_err(|error| Problem::database(&error))?;
    let (app, reason) = request.read(None, &keys, &gateway.config.devices)?;
    has_known_item(&gateway, &app)?;
    let change = || Change::CreateApp { app: Box::new(app.clone()) };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, None).await? {
        return Ok(asked);
    }
    let acted = acted(&gateway, &caller, AppAct::Create(app), reason).await?;
    Ok((StatusCode::CREATED, Json(acted)).into_response())
}

/// Say anew what an app is called, may do and how often. State and credentials stay.
#[utoipa::path(
    put, path = "/v1/admin/apps/{id}", tag = "administration", request_body = AppRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = AppActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn change_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<AppRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    known(&gateway, &id).await?;
    let keys = gateway.store.keys().await.map_err(|error| Problem::database(&error))?;
    let (app, reason) = request.read(Some(&id), &keys, &gateway.config.devices)?;
    has_known_item(&gateway, &app)?;
    let change = || Change::ChangeApp { app: Box::new(app.clone()) };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, None).await? {
        return Ok(asked);
    }
    Ok(Json(acted(&gateway, &caller, AppAct::Change(app), reason).await?).into_response())
}

/// Whether the site's decision table knows what logging in to an app is, if people do.
fn has_known_item(gateway: &Gateway, app: &App) -> Result<(), Problem> {
    match &app.oidc {
        Some(oidc) if gateway.licenses.roles_for(&oidc.item).is_none() => {
            Err(Problem::session_item_unknown(&oidc.item).within("oidc"))
        }
        _ => Ok(()),
    }
}

/// Have an app served.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/enable", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = AppActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn enable_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let (app, reason) = (known(&gateway, &id).await?.app.id.clone(), request.check()?);
    let change = || Change::EnableApp { app: app.clone() };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, None).await? {
        return Ok(asked);
    }
    let act = AppAct::SetState(app, AppState::Enabled);
    Ok(Json(acted(&gateway, &caller, act, reason).await?).into_response())
}

/// Have an app served no longer. Its credentials stay.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/disable", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = AppActed),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn disable_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<AppActed>, Problem> {
    set_state(&gateway, &caller, &id, request, AppState::Disabled).await
}

/// Lock an app that something is wrong with. Its credentials stay.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/lock", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = AppActed),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn lock_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<AppActed>, Problem> {
    set_state(&gateway, &caller, &id, request, AppState::Locked).await
}

/// Answer an attack: lock the app, revoke all its credentials and with them its access tokens. No replica takes a request of
/// the app a second later. The evidence is kept beside that, in a folder whose digest goes into the audit log.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/freeze", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "frozen, and on record", body = AppFrozen),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn freeze_app(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<AppFrozen>, Problem> {
    caller.with(Scope::Apps)?;
    let id = known(&gateway, &id).await?.app.id.clone();
    let order = order(&caller, AppAct::Freeze(id.clone()), request.check()?);
    let CarriedOut { audit_index, evidence } = carry_out(&gateway, &order).await?;
    let evidence = evidence.ok_or_else(|| Problem::unknown_app(id.as_str()))?;
    Ok(Json(AppFrozen {
        app: AppResponse::new(&*known(&gateway, id.as_str()).await?),
        evidence: evidence.display().to_string(),
        audit_index,
        request_id: order.request_id.clone(),
    }))
}

/// Give an app one more credential, or one in the place of another: then both hold until the overlap ends.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/credentials", tag = "administration", request_body = CredentialRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 201, description = "entered, and on record; `secret` is shown this once", body = CredentialAdded),
        (status = 202, description = "it waits for a second person; `secret` is shown this once", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`, `unknown_credential`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`credential_exists`, `too_many_credentials`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_credential(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<CredentialRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    let made = request.read(gateway.config.callers.api_keys, OffsetDateTime::now_utc())?;
    let change = || Change::AddCredential {
        app: app.clone(),
        credential: KeptCredential::of(&made.credential),
        replaces: made.replaces.clone().map(|(id, _)| (id, made.overlap.into())),
    };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &made.reason, made.secret.clone()).await? {
        return Ok(asked);
    }
    let (secret, credential) = (made.secret, made.credential.id.clone());
    let act = AppAct::AddCredential { app, credential: made.credential, replaces: made.replaces };
    let order = order(&caller, act, made.reason);
    let CarriedOut { audit_index, .. } = carry_out(&gateway, &order).await?;
    let known = known(&gateway, &id).await?;
    let entered = known.credentials.iter().find(|known| known.credential.id == credential);
    let entered = entered.ok_or_else(|| Problem::unknown_credential(&credential))?;
    let added = CredentialAdded {
        credential: CredentialResponse::new(&entered.credential, OffsetDateTime::now_utc()),
        secret: secret.map(|secret| secret.expose().clone()),
        audit_index,
        request_id: order.request_id.clone(),
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::CREATED, [no_store], Json(added)).into_response())
}

/// Take a credential away for good, and with it the access tokens that were given for it.
#[utoipa::path(
    post, path = "/v1/admin/apps/{id}/credentials/{credential}/revoke", tag = "administration",
    request_body = ReasonRequest,
    params(
        ("id" = String, Path, description = "the app's id"),
        ("credential" = String, Path, description = "the credential's id"),
    ),
    responses(
        (status = 200, description = "revoked, and on record", body = AppActed),
        (status = 404, description = "`unknown_app`, `unknown_credential`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn revoke_credential(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    axum::extract::Path((id, credential)): axum::extract::Path<(String, String)>,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Json<AppActed>, Problem> {
    caller.with(Scope::Apps)?;
    let known = known(&gateway, &id).await?;
    if !known.credentials.iter().any(|known| known.credential.id == credential) {
        return Err(Problem::unknown_credential(&credential));
    }
    let act = AppAct::RevokeCredential { app: known.app.id.clone(), credential };
    acted(&gateway, &caller, act, request.check()?).await.map(Json)
}

impl ReasonRequest {
    pub(crate) fn check(&self) -> Result<String, Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason);
        faults.into_result(reason.map(str::to_owned))
    }
}

async fn set_state(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    request: ReasonRequest,
    state: AppState,
) -> Result<Json<AppActed>, Problem> {
    caller.with(Scope::Apps)?;
    let app = known(gateway, id).await?.app.id.clone();
    acted(gateway, caller, AppAct::SetState(app, state), request.check()?).await.map(Json)
}

/// The app, as the register has it now.
pub(crate) async fn known(gateway: &Gateway, id: &str) -> Result<Arc<KnownApp>, Problem> {
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let known = AppId::parse(id).ok().and_then(|id| register.app(&id).cloned());
    known.ok_or_else(|| Problem::unknown_app(id))
}

/// What a caller orders in this request.
pub(crate) fn order(caller: &Authenticated, act: AppAct, reason: String) -> Arc<AppOrder> {
    let request_id = crate::request_id::current();
    Arc::new(AppOrder { act, reason, actor: caller.actor(), request_id, since: None })
}

async fn acted(
    gateway: &Gateway,
    caller: &Authenticated,
    act: AppAct,
    reason: String,
) -> Result<AppActed, Problem> {
    let order = order(caller, act, reason);
    let CarriedOut { audit_index, .. } = carry_out(gateway, &order).await?;
    let app = AppResponse::new(&*known(gateway, order.act.app().as_str()).await?);
    Ok(AppActed { app, audit_index, request_id: order.request_id.clone() })
}
