//! `/v1/devices`: what is known of each device, and taking one out of service and back.

use axum::Json;
use axum::extract::State;
use config::DeviceId;
use hsm_driver::{DeviceStatus, Fleet, HsmError, State as DeviceState};
use serde::{Deserialize, Serialize};
use store::AuditEntry;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceList {
    /// Each `{id, group, state, load, lanes, latency_us, signed, failed, worker_starts, worker_pid, last_error,
    /// token, keys}`; `state` is starting, ready, degraded, draining, maintenance, down or quarantined.
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

/// Why somebody takes a device out or puts it back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceRequest {
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// A device after a maintenance act.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MaintenanceResponse {
    /// The device.
    #[schema(value_type = String)]
    id: DeviceId,
    /// Its state now.
    #[schema(value_type = String)]
    state: DeviceState,
    /// Where the act stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Take a device out of service: it finishes what it has and takes nothing new.
#[utoipa::path(
    post, path = "/v1/devices/{id}/drain", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "`draining`, and `maintenance` once it is empty", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn drain_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, "device.drain", Fleet::drain).await
}

/// Put a drained device back: it takes work again once a signature of it verified.
#[utoipa::path(
    post, path = "/v1/devices/{id}/resume", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "`down` until it is proved, then `ready`", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, "device.resume", Fleet::resume).await
}

/// An act on a device: on record with its reason before it is done, then done.
async fn operate(
    caller: &Authenticated,
    gateway: &Gateway,
    id: &str,
    request: &MaintenanceRequest,
    action: &str,
    act: fn(&Fleet, &DeviceId) -> Result<DeviceState, HsmError>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    caller.with(Scope::Maintenance)?;
    let mut faults = Faults::default();
    let sane = (1..=500).contains(&request.reason.trim().chars().count());
    if !sane {
        faults.add("reason", "invalid_value", "must be 1 to 500 characters");
    }
    faults.into_result(sane.then_some(()))?;
    let known = gateway.config.devices.iter().find(|device| device.id.as_str() == id);
    let device = known.ok_or_else(|| Problem::unknown_device(id))?.id.clone();
    let caller = caller.caller();
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: caller.app.to_string(),
        at: caller.at,
        device: Some(device.to_string()),
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: caller.request_id.clone(),
        result_digest: None,
        subject: Some(request.reason.trim().to_owned()),
    };
    let appended = gateway.audit.append(entry).await;
    let audit_index = appended.map_err(|error| Problem::record_unavailable(&error))?;
    let state = act(&gateway.fleet, &device)?;
    Ok(Json(MaintenanceResponse { id: device, state, audit_index, request_id: caller.request_id }))
}
