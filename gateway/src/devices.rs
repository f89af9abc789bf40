//! `/v1/devices`: what is known of each device.

use axum::Json;
use axum::extract::State;
use hsm_driver::DeviceStatus;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::problem::Problem;
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
