//! `PUT /v1/devices/{id}/fault`: breaking and mending the simulated devices of a sandbox.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use config::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::devices::{known_device, record};
use crate::problem::{Problem, ProblemDocument};
use crate::serve::replace_file;
use crate::state::Gateway;

/// What a simulated device is to break down with. An empty object mends it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    /// A whole fault file of the simulator, TOML, 64 KiB at most; excludes the other fields.
    #[schema(example = "latency_ms = 50.0")]
    toml: Option<String>,
    /// Every call answers that the device cannot be reached.
    unreachable: Option<bool>,
    /// Every cryptographic operation takes so many milliseconds longer: 0 to 3,600,000.
    latency_ms: Option<f64>,
}

/// What a device is commanded to break down with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultResponse {
    /// The device.
    #[schema(value_type = String)]
    id: DeviceId,
    /// The fault file, TOML; null for a device without faults.
    fault: Option<String>,
    /// Where the act stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Largest fault file, octets.
const LARGEST: usize = 64 << 10;
/// An hour: what the simulator takes at most.
const LONGEST_MS: f64 = 3_600_000.0;

impl FaultRequest {
    /// The text of the fault file; empty for a sound device.
    pub(crate) fn check(self) -> Result<String, Problem> {
        let mut faults = Faults::default();
        if self.toml.is_some() {
            for (field, given) in
                [("unreachable", self.unreachable.is_some()), ("latency_ms", self.latency_ms.is_some())]
            {
                if given {
                    faults.add(field, "not_applicable", "excludes toml");
                }
            }
        }
        let mut text = self.toml.unwrap_or_default();
        if text.len() > LARGEST {
            faults.add("toml", "fault_too_large", format!("may have {LARGEST} octets at most"));
        } else if let Err(error) = text.parse::<toml::Table>() {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            faults.add("toml", "fault_malformed", format!("line {line}: {}", error.message()));
        }
        if self.unreachable == Some(true) {
            text.push_str("unreachable = true\n");
        }
        match self.latency_ms {
            Some(latency) if !(0.0..=LONGEST_MS).contains(&latency) => {
                faults.add("latency_ms", "invalid_value", format!("must be 0 to {LONGEST_MS}"));
            }
            Some(latency) => text.push_str(&format!("latency_ms = {latency:?}\n")),
            None => {}
        }
        faults.into_result(Some(text))
    }
}

/// Break a simulated device, or mend it. Only in a sandbox; takes effect with the device's next call.
#[utoipa::path(
    put, path = "/v1/devices/{id}/fault", tag = "devices", request_body = FaultRequest,
    params(("id" = String, Path, description = "the device's name")),
    responses(
        (status = 200, description = "commanded", body = FaultResponse),
        (status = 404, description = "`unknown_device`; `fault_not_possible`: no sandbox, or no simulated device", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`fault_malformed`, `fault_too_large`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_fault(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<FaultRequest>,
) -> Result<Json<FaultResponse>, Problem> {
    caller.with(Scope::Maintenance)?;
    let device = known_device(&gateway, &id)?;
    let file = fault_file(&gateway, device).await.ok_or_else(Problem::fault_not_possible)?;
    let text = request.check()?;
    let subject = if text.is_empty() { "mended".to_owned() } else { text.chars().take(500).collect() };
    let audit_index = record(&gateway, &caller, "device.fault", &device.id, "ok", &subject).await?;
    let written = text.clone();
    let write = tokio::task::spawn_blocking(move || command(&file, &written)).await;
    write.map_err(|_| Problem::panicked())?.map_err(|error| Problem::fault_file(&error))?;
    let fault = (!text.is_empty()).then_some(text);
    let request_id = crate::request_id::current();
    Ok(Json(FaultResponse { id: device.id.clone(), fault, audit_index, request_id }))
}

/// What a device is commanded to break down with; nothing for a sound one and for one that cannot be commanded.
pub(crate) async fn current(gateway: &Gateway, device: &config::Device) -> Option<String> {
    let file = fault_file(gateway, device).await?;
    let read = tokio::task::spawn_blocking(move || read_bounded(&file)).await;
    read.ok().flatten().filter(|text| !text.is_empty())
}

/// Where the simulator looks for faults, if this is a sandbox and the device is simulated.
async fn fault_file(gateway: &Gateway, device: &config::Device) -> Option<PathBuf> {
    let simulator = device.env.get("HSM_SIM_CONFIG").filter(|_| gateway.config.site.sandbox)?;
    let simulator = device.folder.join(simulator);
    tokio::task::spawn_blocking(move || named_in(&simulator)).await.ok().flatten()
}

/// The one field of the simulator's configuration that matters here.
#[derive(Deserialize)]
struct Simulator {
    fault_file: Option<PathBuf>,
}

fn named_in(simulator: &Path) -> Option<PathBuf> {
    let text = read_bounded(simulator)?;
    let named = toml::from_str::<Simulator>(&text).ok()?.fault_file?;
    Some(simulator.parent()?.join(named))
}

fn read_bounded(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LARGEST as u64).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Writes the fault file whole, or removes it.
fn command(file: &Path, text: &str) -> std::io::Result<()> {
    if !text.is_empty() {
        return replace_file(file, text.as_bytes());
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(body: &str) -> Result<String, String> {
        let request: FaultRequest = serde_json::from_str(body).unwrap();
        request.check().map_err(|problem| problem.code().to_owned())
    }

    #[test]
    fn each_form_becomes_the_simulators_file() {
        assert_eq!(checked("{}").unwrap(), "");
        assert_eq!(checked(r#"{"unreachable": false}"#).unwrap(), "");
        assert_eq!(
            checked(r#"{"unreachable": true, "latency_ms": 50}"#).unwrap(),
            "unreachable = true\nlatency_ms = 50.0\n"
        );
        assert_eq!(checked(r#"{"toml": "throughput = 5"}"#).unwrap(), "throughput = 5");
    }

    #[test]
    fn what_is_no_toml_too_large_or_out_of_range_is_refused() {
        let large = format!(r##"{{"toml": "#{}"}}"##, "x".repeat(LARGEST));
        for (body, code) in [
            (r#"{"toml": "latency_ms = "}"#, "fault_malformed"),
            (large.as_str(), "fault_too_large"),
            (r#"{"latency_ms": -1}"#, "invalid_value"),
            (r#"{"latency_ms": 1e300}"#, "invalid_value"),
            (r#"{"toml": "", "unreachable": true}"#, "not_applicable"),
        ] {
            assert_eq!(checked(body), Err(code.to_owned()), "{}", &body[..40.min(body.len())]);
        }
    }

    #[test]
    fn the_simulators_configuration_says_where_faults_go() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hsm-sim.toml");
        std::fs::write(&config, "store = 'tokens'\nfault_file = 'broken/fault.toml'\n").unwrap();
        assert_eq!(named_in(&config), Some(folder.path().join("broken/fault.toml")));
        std::fs::write(&config, "store = 'tokens'\n").unwrap();
        assert_eq!(named_in(&config), None);
    }
}
