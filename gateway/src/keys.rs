//! `/v1/keys`: public keys and certificates of the keys an app may sign with.

use axum::Json;
use axum::extract::State;
use config::{DeviceId, GroupId, KeyId};
use formats::Algorithm;
use hsm_driver::{DeviceStatus, KeyState};
use serde::Serialize;
use signing::SigningKey;
use store::KeyPurpose;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::Segment;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A certificate that ends within this time is to be renewed now.
pub(crate) const SOON: Duration = Duration::days(30);

/// One key's public side.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyResponse {
    /// Its name.
    #[schema(value_type = String)]
    id: KeyId,
    /// The wall it lives behind.
    #[schema(value_type = String)]
    group: GroupId,
    /// What it is for.
    #[schema(value_type = String)]
    purpose: KeyPurpose,
    /// The algorithm it signs with by default.
    #[schema(value_type = String)]
    algorithm: Option<Algorithm>,
    /// Every algorithm it signs with.
    #[schema(value_type = Vec<String>)]
    algorithms: Vec<Algorithm>,
    /// The version that signs.
    version: u32,
    /// PEM.
    public_key: String,
    /// PEM, the key's own certificate first.
    certificate_chain: String,
    /// When the first certificate of its chains ends.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<OffsetDateTime>,
    /// Whether that is within 30 days, or has been.
    expires_soon: bool,
    /// Devices proved to hold it.
    #[schema(value_type = Vec<String>)]
    devices: Vec<DeviceId>,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    items: Vec<KeyResponse>,
    /// Where the next page begins; always null, all fit on one.
    next: Option<String>,
}

impl KeyResponse {
    fn new(key: &SigningKey, devices: &[DeviceStatus]) -> Self {
        let is_copy = |id: &KeyId| key.current.copies.iter().any(|copy| copy.driver_key == *id);
        let holds = |device: &&DeviceStatus| {
            device.keys.iter().any(|held| is_copy(&held.id) && held.state == KeyState::Held)
        };
        let shown = key.shown();
        let chains = key.current.copies.iter().flat_map(|copy| &copy.chain);
        let expires_at = chains.map(formats::Certificate::not_after).min();
        let soon = OffsetDateTime::now_utc().saturating_add(SOON);
        let algorithms: Vec<_> =
            Algorithm::ALL.into_iter().filter(|a| shown.public_key.supports(*a)).collect();
        Self {
            id: key.id.clone(),
            group: key.group.clone(),
            purpose: key.purpose,
            algorithm: algorithms.first().copied(),
            algorithms,
            version: key.current.version,
            public_key: shown.public_key.to_pem(),
            certificate_chain: shown.chain_pem(),
            expires_at,
            expires_soon: expires_at.is_some_and(|end| end <= soon),
            devices: devices.iter().filter(holds).map(|device| device.id.clone()).collect(),
        }
    }
}

/// The keys the app may sign with.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    responses((status = 200, description = "all of them", body = KeyList))
)]
pub(crate) async fn list_keys(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<KeyList>, Problem> {
    let app = caller.with(Scope::Keys)?;
    let devices = gateway.fleet.status();
    let usable = |key: &&SigningKey| {
        key.purpose == KeyPurpose::Service && (app.keys.contains(&key.id) || app.groups.contains(&key.group))
    };
    let items =
        gateway.desk.keys().iter().filter(usable).map(|key| KeyResponse::new(key, &devices)).collect();
    Ok(Json(KeyList { items, next: None }))
}

/// One key by name, of any purpose: what is shown is public.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "the key's name")),
    responses(
        (status = 200, description = "its public side", body = KeyResponse),
        (status = 404, description = "`unknown_key`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_key(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<KeyResponse>, Problem> {
    caller.with(Scope::Keys)?;
    let keys = gateway.desk.keys();
    let key = KeyId::parse(&id).ok().and_then(|id| keys.get(&id));
    let key = key.ok_or_else(|| Problem::unknown_key(&id))?;
    Ok(Json(KeyResponse::new(key, &gateway.fleet.status())))
}
