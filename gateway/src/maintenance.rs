//! `/v1/devices/{id}/…`: acts of operators on one device. Each is on record with its reason before it is done, and
//! with its outcome before the answer leaves.

use axum::Json;
use axum::extract::State;
use config::DeviceId;
use hsm_driver::{CheckOutcome, HsmError, SelfTest, State as DeviceState};
use serde::{Deserialize, Serialize};
use store::Hold;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::devices::{known_device, record};
use crate::input;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// Why an operator does something to a device.
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
    /// Where the act's outcome stands in the audit log; its intent stands before.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// What a device showed of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelfTestResponse {
    /// The device.
    #[schema(value_type = String)]
    id: DeviceId,
    /// Its state, which the test does not change.
    #[schema(value_type = String)]
    state: DeviceState,
    /// `{passed, at, took_ms, checks: [{name, outcome, detail}]}`; an outcome is passed, failed or not_available.
    #[schema(value_type = Object)]
    self_test: SelfTest,
    /// Where the test stands in the audit log.
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
        (status = 409, description = "`device_quarantined`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn drain_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, Act::Drain).await
}

/// Take a device out of service at once; what it has is answered, or tried on another device.
#[utoipa::path(
    post, path = "/v1/devices/{id}/maintain", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "`maintenance`", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`device_quarantined`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn maintain_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, Act::Maintain).await
}

/// Put a device back that was drained: it takes work again once a signature of it verified.
#[utoipa::path(
    post, path = "/v1/devices/{id}/resume", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "`down` until it is proved, then `ready`", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`device_quarantined`: that needs a release", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, Act::Resume).await
}

/// End a device's quarantine. It must pass a self-test first, which is made here; one without a worker proves every
/// key when its next worker comes up.
#[utoipa::path(
    post, path = "/v1/devices/{id}/release", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "`down` until it is proved, then `ready`", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`self_test_failed`: `errors` names every check that failed; `not_quarantined`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn release_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, Act::Release).await
}

/// Give a device a new worker, also after a PIN that was refused. What it has in flight is tried on other devices.
#[utoipa::path(
    post, path = "/v1/devices/{id}/restart", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "ordered; the state as it was", body = MaintenanceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn restart_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<MaintenanceResponse>, Problem> {
    operate(&caller, &gateway, &id, &request, Act::Restart).await
}

/// Have a device prove itself, in service or out of it: every key it is to hold signs, what standards publish is
/// computed, its random numbers do not repeat.
#[utoipa::path(
    post, path = "/v1/devices/{id}/self-test", tag = "devices", request_body = MaintenanceRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "tested; `self_test.passed` says how it went", body = SelfTestResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`device_not_running`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MaintenanceRequest>,
) -> Result<Json<SelfTestResponse>, Problem> {
    const ACTION: &str = "device.self_test";
    let (device, reason) = admit(&caller, &gateway, &id, &request)?;
    record(&gateway, &caller, ACTION, device, "intended", reason).await?;
    let tested = gateway.fleet.self_test(device).await.map_err(Problem::from);
    let outcome = match &tested {
        Ok(test) if test.passed => "ok",
        Ok(_) => "self_test_failed",
        Err(problem) => problem.code(),
    };
    let audit_index = record(&gateway, &caller, ACTION, device, outcome, reason).await?;
    let (self_test, request_id) = (tested?, crate::request_id::current());
    let state = state(&gateway, device)?;
    Ok(Json(SelfTestResponse { id: device.clone(), state, self_test, audit_index, request_id }))
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Drain,
    Maintain,
    Resume,
    Release,
    Restart,
}

impl Act {
    /// As the record has it.
    fn action(self) -> &'static str {
        match self {
            Self::Drain => "device.drain",
            Self::Maintain => "device.maintain",
            Self::Resume => "device.resume",
            Self::Release => "device.release",
            Self::Restart => "device.restart",
        }
    }

    async fn perform(self, gateway: &Gateway, device: &DeviceId) -> Result<DeviceState, Problem> {
        let fleet = &gateway.fleet;
        match self {
            Self::Drain => {
                let state = fleet.drain(device)?;
                hold(gateway, device, Hold::Draining).await?;
                Ok(state)
            }
            Self::Maintain => {
                let state = fleet.maintain(device)?;
                hold(gateway, device, Hold::Maintenance).await?;
                Ok(state)
            }
            Self::Resume => {
                let state = fleet.resume(device)?;
                gateway.store.release_device(device).await.map_err(|error| Problem::database(&error))?;
                Ok(state)
            }
            Self::Restart => {
                fleet.restart(device).await?;
                state(gateway, device)
            }
            Self::Release => {
                if state(gateway, device)? != DeviceState::Quarantined {
                    return Err(Problem::not_quarantined(device));
                }
                match fleet.self_test(device).await {
                    Ok(test) if test.passed => {}
                    Ok(test) => return Err(Problem::self_test_failed(device, failures(&test))),
                    // Its next worker proves every key before it takes work.
                    Err(HsmError::NotRunning { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(fleet.release(device)?)
            }
        }
    }
}

/// Has every gateway on the database keep a device out of service, also after a restart.
pub(crate) async fn hold(gateway: &Gateway, device: &DeviceId, hold: Hold) -> Result<(), Problem> {
    let held = gateway.store.hold_device(device, hold, OffsetDateTime::now_utc()).await;
    held.map_err(|error| Problem::database(&error))
}

/// The checks that failed.
fn failures(test: &SelfTest) -> Vec<Fault> {
    let failed = test.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
    let said = failed.map(|check| {
        let detail = check.detail.as_deref().unwrap_or("failed");
        Fault::new(check.name.clone(), "self_test_failed", detail)
    });
    said.collect()
}

pub(crate) fn state(gateway: &Gateway, device: &DeviceId) -> Result<DeviceState, Problem> {
    let status = gateway.fleet.status().into_iter().find(|status| status.id == *device);
    status.map(|status| status.state).ok_or_else(|| Problem::unknown_device(device.as_str()))
}

/// Who may, on which device, for which reason.
fn admit<'a>(
    caller: &Authenticated,
    gateway: &'a Gateway,
    id: &str,
    request: &'a MaintenanceRequest,
) -> Result<(&'a DeviceId, &'a str), Problem> {
    admit_for(caller, gateway, id, &request.reason)
}

/// The same for acts whose request says more.
pub(crate) fn admit_for<'a>(
    caller: &Authenticated,
    gateway: &'a Gateway,
    id: &str,
    reason: &'a str,
) -> Result<(&'a DeviceId, &'a str), Problem> {
    caller.with(Scope::Maintenance)?;
    let reason = recorded(reason)?;
    Ok((&known_device(gateway, id)?.id, reason))
}

/// The reason as it goes on record.
fn recorded(reason: &str) -> Result<&str, Problem> {
    let mut faults = Faults::default();
    let reason = input::reason(&mut faults, reason);
    faults.into_result(reason)
}

impl MaintenanceRequest {
    /// The reason as it goes on record.
    pub(crate) fn check(&self) -> Result<&str, Problem> {
        recorded(&self.reason)
    }
}

async fn operate(
    caller: &Authenticated,
    gateway: &Gateway,
    id: &str,
    request: &MaintenanceRequest,
    act: Act,
) -> Result<Json<MaintenanceResponse>, Problem> {
    let (device, reason) = admit(caller, gateway, id, request)?;
    record(gateway, caller, act.action(), device, "intended", reason).await?;
    let done = act.perform(gateway, device).await;
    let outcome = done.as_ref().map_or_else(Problem::code, |_| "ok");
    let audit_index = record(gateway, caller, act.action(), device, outcome, reason).await?;
    let request_id = crate::request_id::current();
    Ok(Json(MaintenanceResponse { id: device.clone(), state: done?, audit_index, request_id }))
}
