//! `/v1/devices/{id}/replace`: a blank device takes its place in its group.

use axum::Json;
use axum::extract::State;
use config::{DeviceId, GroupId};
use hsm_driver::{SecretKind, SecretSpec, Spread, State as DeviceState};
use serde::{Deserialize, Serialize};
use store::{Hold, KeyPurpose, KeyState};
use utoipa::ToSchema;

use crate::auth::Authenticated;
use crate::body::{Faults, JsonBody, Segment};
use crate::devices::{known_device, record};
use crate::maintenance::{admit_for, hold, state};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

const ACTION: &str = "device.replace";

/// Why a device is taken in, and for which other.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceRequest {
    /// For the record: 1 to 500 characters.
    reason: String,
    /// The device whose place it takes; it goes into maintenance. Absent if the blank device has the old one's
    /// name.
    old: Option<String>,
}

/// What a device that was taken in got.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplaceResponse {
    /// The device.
    #[schema(value_type = String)]
    id: DeviceId,
    /// Its state now; `ready` once every key was proved.
    #[schema(value_type = String)]
    state: DeviceState,
    /// Each secret and key: `{key, from, error}`; `from` is null if the device had it already.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Spread>,
    /// Where the act's outcome stands in the audit log; its intent stands before.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Take a blank device in: its token is initialised and gets its PIN, the secrets of its group come under a one-time
/// transport key and the keys under the group's wrapping key, from devices in service. Done again, it adds what is
/// lacking.
#[utoipa::path(
    post, path = "/v1/devices/{id}/replace", tag = "devices", request_body = ReplaceRequest,
    params(("id" = String, Path, description = "the blank device's name; the configuration has its so_pin_file")),
    responses(
        (status = 200, description = "taken in; `keys` says what became of each key", body = ReplaceResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`no_wrapping_key`: the group has none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 502, description = "`device_failed`: the token cannot be set up", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replace_device(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReplaceRequest>,
) -> Result<Json<ReplaceResponse>, Problem> {
    let (device, reason) = admit_for(&caller, &gateway, &id, &request.reason)?;
    let group = &known_device(&gateway, &id)?.group;
    let old = match request.old.as_deref().filter(|old| *old != id) {
        Some(old) => {
            let old = known_device(&gateway, old)?;
            if old.group != *group {
                let mut faults = Faults::default();
                faults.add("old", "invalid_value", "must be a device of the same group");
                return Err(faults.into_result::<()>(None).err().unwrap_or_else(Problem::not_found));
            }
            Some(&old.id)
        }
        None => None,
    };
    let (secrets, wrapping) = secrets_of(&gateway, group).await?;
    record(&gateway, &caller, ACTION, device, "intended", reason).await?;
    let done = async {
        if let Some(old) = old
            && state(&gateway, old)? != DeviceState::Quarantined
        {
            gateway.fleet.maintain(old)?;
            hold(&gateway, old, Hold::Maintenance).await?;
        }
        Ok::<_, Problem>(gateway.fleet.take_in(device, &secrets, &wrapping).await?)
    };
    let done = done.await;
    let outcome = match &done {
        Ok(keys) if keys.iter().all(|key| key.error.is_none()) => "ok",
        Ok(_) => "incomplete",
        Err(problem) => problem.code(),
    };
    let audit_index = record(&gateway, &caller, ACTION, device, outcome, reason).await?;
    let (keys, request_id) = (done?, crate::request_id::current());
    let (id, state) = (device.clone(), state(&gateway, device)?);
    Ok(Json(ReplaceResponse { id, state, keys, audit_index, request_id }))
}

/// The secrets that every device of a group holds, by the register, and the CKA_ID of the one that keys travel
/// under.
async fn secrets_of(gateway: &Gateway, group: &GroupId) -> Result<(Vec<SecretSpec>, Vec<u8>), Problem> {
    let records = gateway.store.keys().await.map_err(|error| Problem::record_unavailable(&error))?;
    let (mut secrets, mut wrapping) = (Vec::new(), None);
    for key in records.iter().filter(|key| key.group == *group && key.purpose == KeyPurpose::Kek) {
        let kind = match key.algorithm.as_str() {
            "aes256" => SecretKind::Wrapping,
            "hmac-sha256" => SecretKind::Mac,
            _ => continue,
        };
        let in_use = |state| matches!(state, KeyState::Active | KeyState::Retiring);
        for version in key.versions.iter().filter(|version| in_use(version.state)) {
            if kind == SecretKind::Wrapping && version.state == KeyState::Active {
                wrapping = Some(version.cka_id.clone());
            }
            secrets.push(SecretSpec { cka_id: version.cka_id.clone(), label: key.label.clone(), kind });
        }
    }
    Ok((secrets, wrapping.ok_or_else(|| Problem::no_wrapping_key(group))?))
}
