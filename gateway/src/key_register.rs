//! `/v1/admin/keys`: the whole register with versions and copies; certification requests; which keys an app may use.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use config::{AppId, DeviceId, KeyId};
use formats::{Certificate, PublicKey};
use hsm_driver::{DeviceStatus, KeyState as Held};
use serde::{Deserialize, Serialize};
use signing::driver_key;
use store::{AuditEntry, KeyCopy, KeyPurpose, KeyRecord, KeyState, KeyVersion, Spread, Terms, WrappingKey};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::ceremonies::{admit, ceremonies, operator};
use crate::keys::SOON;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A key of the register.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredKey {
    /// Its name.
    #[schema(value_type = String)]
    id: KeyId,
    /// The wall it lives behind.
    #[schema(value_type = String)]
    group: config::GroupId,
    /// `sm2`, `p256`, `rsa2048`, or of a secret key `aes256`, `hmac-sha256`.
    algorithm: String,
    /// What it is for.
    #[schema(value_type = String)]
    purpose: KeyPurpose,
    /// CKA_LABEL of its objects.
    label: String,
    /// When it was entered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// Whether a certificate of its active version ends within 30 days or has ended.
    expires_soon: bool,
    /// Oldest first.
    versions: Vec<RegisteredVersion>,
}

/// A version of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredVersion {
    /// Its number, from 1.
    version: u32,
    /// `pending`, `active`, `retiring`, `retired` or `destroyed`.
    #[schema(value_type = String)]
    state: KeyState,
    /// `wrap`, `clone` or `per-device`.
    #[schema(value_type = String)]
    spread: Spread,
    /// What it was wrapped under to be spread.
    #[schema(value_type = Option<Object>)]
    wrapping_key: Option<WrappingKey>,
    /// CKA_ID of its objects, hexadecimal.
    cka_id: String,
    /// What a pending one lacks before it can be activated.
    lacks: Option<&'static str>,
    /// Since when it signs.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    activates_at: Option<OffsetDateTime>,
    /// Until when it overlaps with its successor; of a retired one when that was.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    retires_at: Option<OffsetDateTime>,
    /// Since when no device holds it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    destroyed_at: Option<OffsetDateTime>,
    /// One for the group, or one for each device.
    copies: Vec<RegisteredCopy>,
}

/// A copy of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredCopy {
    /// The one device that holds it; null for a copy that is the same in every device of the group.
    #[schema(value_type = Option<String>)]
    device: Option<DeviceId>,
    /// PEM; null for a secret key.
    public_key: Option<String>,
    /// PEM, the copy's own first; empty when it has none.
    certificate_chain: String,
    /// Devices proved to hold it; of secret keys none are shown.
    #[schema(value_type = Vec<String>)]
    held_by: Vec<DeviceId>,
    /// When the first certificate of its chain ends.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<OffsetDateTime>,
    /// Whether that is within 30 days, or has been.
    expires_soon: bool,
}

/// The register.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisterList {
    /// By name.
    items: Vec<RegisteredKey>,
    /// Always null.
    next: Option<String>,
}

impl RegisteredKey {
    fn new(key: &KeyRecord, devices: &[DeviceStatus], at: OffsetDateTime) -> Self {
        let versions = key.versions.iter().map(|version| RegisteredVersion::new(key, version, devices, at));
        let versions: Vec<_> = versions.collect();
        let active = versions.iter().filter(|version| version.state == KeyState::Active);
        Self {
            id: key.id.clone(),
            group: key.group.clone(),
            algorithm: key.algorithm.clone(),
            purpose: key.purpose,
            label: key.label.clone(),
            created_at: key.created_at,
            expires_soon: active.flat_map(|version| &version.copies).any(|copy| copy.expires_soon),
            versions,
        }
    }
}

impl RegisteredVersion {
    fn new(key: &KeyRecord, version: &KeyVersion, devices: &[DeviceStatus], at: OffsetDateTime) -> Self {
        let copy = |copy: &KeyCopy| RegisteredCopy::new(key, version, copy, devices, at);
        Self {
            version: version.version,
            state: version.state,
            spread: version.spread,
            wrapping_key: version.wrapping_key.clone(),
            cka_id: hex::encode(&version.cka_id),
            lacks: (version.state == KeyState::Pending).then(|| key.lacks(version)).flatten(),
            activates_at: version.activates_at,
            retires_at: version.retires_at,
            destroyed_at: version.destroyed_at,
            copies: version.copies.iter().map(copy).collect(),
        }
    }
}

impl RegisteredCopy {
    fn new(
        key: &KeyRecord,
        version: &KeyVersion,
        copy: &KeyCopy,
        devices: &[DeviceStatus],
        at: OffsetDateTime,
    ) -> Self {
        // The store read it when it came in; what it cannot read any more ends never and is in the log.
        let chain = Certificate::many_from_pem(&copy.certificate_chain).unwrap_or_default();
        let expires_at = chain.iter().map(Certificate::not_after).min();
        let name = driver_key(&key.id, version.version, copy.device.as_ref()).ok();
        let holds = |device: &&DeviceStatus| {
            device.keys.iter().any(|held| Some(&held.id) == name.as_ref() && held.state == Held::Held)
        };
        let public_key = copy.public_key.as_deref().and_then(|der| PublicKey::from_spki_der(der).ok());
        Self {
            device: copy.device.clone(),
            public_key: public_key.map(|key| key.to_pem()),
            certificate_chain: copy.certificate_chain.clone(),
            held_by: devices.iter().filter(holds).map(|device| device.id.clone()).collect(),
            expires_at,
            expires_soon: expires_at.is_some_and(|end| end <= at.saturating_add(SOON)),
        }
    }
}

/// The whole register: versions, copies, who holds them, when certificates end.
#[utoipa::path(
    get, path = "/v1/admin/keys", tag = "administration",
    responses((status = 200, description = "all of them", body = RegisterList))
)]
pub(crate) async fn list_register(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<RegisterList>, Problem> {
    admit(&caller)?;
    let keys = gateway.store.keys().await.map_err(|error| Problem::database(&error))?;
    let (devices, at) = (gateway.fleet.status(), OffsetDateTime::now_utc());
    let items = keys.iter().map(|key| RegisteredKey::new(key, &devices, at)).collect();
    Ok(Json(RegisterList { items, next: None }))
}

/// One key of the register.
#[utoipa::path(
    get, path = "/v1/admin/keys/{id}", tag = "administration",
    params(("id" = String, Path, description = "the key's name")),
    responses(
        (status = 200, description = "with all its versions", body = RegisteredKey),
        (status = 404, description = "`unknown_key`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_registered(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<RegisteredKey>, Problem> {
    admit(&caller)?;
    let unknown = || Problem::unknown_key(&id);
    let name = KeyId::parse(&id).map_err(|_| unknown())?;
    let key = gateway.store.key(&name).await.map_err(|error| Problem::database(&error))?;
    let key = key.ok_or_else(unknown)?;
    Ok(Json(RegisteredKey::new(&key, &gateway.fleet.status(), OffsetDateTime::now_utc())))
}

/// What a certification request is to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsrRequest {
    /// The key's version.
    version: u32,
    /// The device whose copy it is, where copies differ.
    device: Option<String>,
    /// The name asked for (RFC 4514), most specific part first.
    #[schema(example = "CN=license signing,O=bureau,C=CN")]
    subject: String,
}

impl CsrRequest {
    /// The device named, if one is.
    pub(crate) fn device(&self) -> Result<Option<DeviceId>, Problem> {
        let mut faults = Faults::default();
        let device = match &self.device {
            None => Some(None),
            Some(device) => faults.parse("device", "invalid_value", DeviceId::parse(device)).map(Some),
        };
        faults.into_result(device)
    }
}

/// A certification request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CsrResponse {
    /// PEM (PKCS #10), signed by the copy it is about.
    csr: String,
    /// The request's id.
    request_id: String,
}

/// Make a certification request for a copy of a key. Its extensions follow from the key's purpose.
#[utoipa::path(
    post, path = "/v1/admin/keys/{id}/csr", tag = "administration", request_body = CsrRequest,
    params(("id" = String, Path, description = "the key's name")),
    responses(
        (status = 201, description = "made, and on record", body = CsrResponse),
        (status = 404, description = "`unknown_key`, `unknown_key_version`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`ceremony_not_possible`, `not_signable`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 502, description = "`device_failed`: `errors` names each device", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_csr(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<CsrRequest>,
) -> Result<(axum::http::StatusCode, Json<CsrResponse>), Problem> {
    admit(&caller)?;
    let key = KeyId::parse(&id).map_err(|_| Problem::unknown_key(&id))?;
    let device = request.device()?;
    let by = operator(caller.actor());
    let of = (&key, request.version);
    let csr = ceremonies(&gateway).csr(&by, of, device.as_ref(), &request.subject).await?;
    Ok((axum::http::StatusCode::CREATED, Json(CsrResponse { csr, request_id: by.request_id })))
}

/// Which keys an app is to use.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppKeysRequest {
    /// All of them: those that are not named are taken away.
    keys: Vec<String>,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// Which keys an app may use by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppKeysResponse {
    /// The app.
    #[schema(value_type = String)]
    id: AppId,
    /// Its keys, from a second after this at the latest.
    #[schema(value_type = Vec<String>)]
    keys: BTreeSet<KeyId>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Say anew which service keys an app may use by name.
#[utoipa::path(
    put, path = "/v1/admin/apps/{id}/keys", tag = "administration", request_body = AppKeysRequest,
    params(("id" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "on record", body = AppKeysResponse),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`unknown_key`, `key_not_permitted`: a key that is none, or not for callers", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_app_keys(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<AppKeysRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Apps)?;
    let app = AppId::parse(&id).map_err(|_| Problem::unknown_app(&id))?;
    let register = gateway.store.keys().await.map_err(|error| Problem::database(&error))?;
    let mut faults = Faults::default();
    let reason = crate::input::reason(&mut faults, &request.reason);
    let mut keys = BTreeSet::new();
    for name in &request.keys {
        match register.iter().find(|key| key.id.as_str() == name) {
            Some(key) if key.purpose == KeyPurpose::Service => {
                keys.insert(key.id.clone());
            }
            Some(_) => faults.add("keys", "key_not_permitted", format!("{name} is not for callers")),
            None => faults.add("keys", "unknown_key", format!("there is no key {name:?}")),
        }
    }
    let reason = faults.into_result(reason)?.to_owned();
    let change = || Change::AppKeys { app: app.clone(), keys: keys.clone() };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, None).await? {
        return Ok(asked);
    }
    let order = Arc::new(AppKeysOrder {
        app,
        keys,
        reason,
        actor: caller.actor(),
        request_id: crate::request_id::current(),
        since: None,
    });
    let audit_index = carry_out(&gateway, &order).await?;
    let AppKeysOrder { app: id, keys, request_id, .. } = &*order;
    let (id, keys, request_id) = (id.clone(), keys.clone(), request_id.clone());
    Ok(Json(AppKeysResponse { id, keys, audit_index, request_id }).into_response())
}

/// The keys that an app is to use by name, by whom and why.
#[derive(Debug)]
pub(crate) struct AppKeysOrder {
    pub(crate) app: AppId,
    pub(crate) keys: BTreeSet<KeyId>,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The revision of the register on which it was decided, where it must not have changed since.
    pub(crate) since: Option<i64>,
}

/// The one place where keys are given to apps by name: on record as intended before, with its outcome after, whether or
/// not the caller waits for it. Answers the audit index.
///
/// # Errors
/// `unknown_app`, or the database did not do it.
pub(crate) async fn carry_out(gateway: &Gateway, order: &Arc<AppKeysOrder>) -> Result<u64, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::clone(order));
    let act = async move { act(&gateway, &order).await };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn act(gateway: &Gateway, order: &AppKeysOrder) -> Result<u64, Problem> {
    let AppKeysOrder { app, keys, reason, .. } = order;
    let names = keys.iter().map(KeyId::as_str).collect::<Vec<_>>().join(" ");
    let subject = format!("{app}: [{names}] {reason}");
    record(gateway, order, &subject, "intended").await?;
    let terms = Terms::from(OffsetDateTime::now_utc()).since(order.since);
    let done = gateway.store.set_app_keys(app, keys, terms).await;
    let done = done.map_err(|error| Problem::from_register(&error));
    let read = gateway.callers.apps.read_anew().await.map_err(|error| Problem::database(&error));
    let done = done.and(read.map(drop));
    let outcome = done.as_ref().map_or_else(Problem::code, |()| "ok");
    let audit_index = record(gateway, order, &subject, outcome).await?;
    done.map(|()| audit_index)
}

async fn record(
    gateway: &Gateway,
    order: &AppKeysOrder,
    subject: &str,
    outcome: &str,
) -> Result<u64, Problem> {
    let entry = AuditEntry {
        action: "app.keys".to_owned(),
        actor: order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: None,
        subject: Some(subject.to_owned()),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
