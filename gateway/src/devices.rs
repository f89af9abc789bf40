//! `/v1/devices`: what is known of each device.

use axum::Json;
use axum::extract::State;
use config::DeviceId;
use hsm_driver::{DeviceStatus, DeviceTelemetry};
use serde::Serialize;
use store::AuditEntry;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::Segment;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceList {
    /// Each `{id, group, state, load, queued, lanes, latency_us, signed, failed, worker_starts, crashes, slow,
    /// worker_pid, last_error, last_self_test, token, keys}`; `state` is starting, ready, degraded, draining, maintenance, down or quarantined.
    #[schema(value_type = Vec<Object>)]
    items: Vec<DeviceStatus>,
    /// Where the next page begins; always null, all fit on one.
    next: Option<String>,
}

/// All devices, in the site's order.
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices",
    responses((status = 200, description = "all of them", body = DeviceList))
)]
pub(crate) async fn list_devices(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<DeviceList>, Problem> {
    caller.with(Scope::Devices)?;
    Ok(Json(DeviceList { items: gateway.fleet.status(), next: None }))
}

/// One device in depth.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceResponse {
    /// As in the list, and `latency` and `errors` of the last minute, hour and day, `states` since the start,
    /// `lane_figures` and the last `self_test`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    telemetry: DeviceTelemetry,
    /// What the configuration says of it.
    configured: ConfiguredDevice,
    /// Of a simulated device the fault file it is commanded by, TOML.
    fault: Option<String>,
}

/// What the configuration says of a device, without paths and environment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfiguredDevice {
    /// The vendor's library, without its folder.
    module: String,
    /// The token's label.
    token: String,
    /// The token's serial number.
    serial: Option<String>,
    /// The vendor profile.
    dialect: String,
    /// Sessions it is asked for.
    lanes: usize,
}

/// One device.
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "what the list says of it and more", body = DeviceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<DeviceResponse>, Problem> {
    caller.with(Scope::Devices)?;
    let device = known_device(&gateway, &id)?;
    let module = device.module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let configured = ConfiguredDevice {
        module,
        token: device.token.clone(),
        serial: device.serial.clone(),
        dialect: device.dialect.clone(),
        lanes: device.lanes,
    };
    Ok(Json(DeviceResponse {
        telemetry: gateway.fleet.telemetry(&device.id)?,
        configured,
        fault: crate::faults::current(&gateway, device).await,
    }))
}

/// The device of that name.
pub(crate) fn known_device<'g>(gateway: &'g Gateway, id: &str) -> Result<&'g config::Device, Problem> {
    let known = gateway.config.devices.iter().find(|device| device.id.as_str() == id);
    known.ok_or_else(|| Problem::unknown_device(id))
}

/// Puts an act on a device on record; on disk when this returns.
pub(crate) async fn record(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    device: &DeviceId,
    outcome: &str,
    subject: &str,
) -> Result<u64, Problem> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: caller.actor(),
        at: OffsetDateTime::now_utc(),
        device: Some(device.to_string()),
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(subject.to_owned()),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
