//! What callers are told of the devices.

use axum::http::StatusCode;
use hsm_driver::HsmError;
use signing::SigningError;

use super::{Fault, Problem};

impl From<HsmError> for Problem {
    fn from(error: HsmError) -> Self {
        SigningError::Device(error).into()
    }
}

impl Problem {
    pub(super) fn from_device(code: &'static str, error: &HsmError) -> Self {
        match error {
            HsmError::NoDevice { .. } | HsmError::Overloaded { .. } | HsmError::RetriesExhausted { .. } => {
                Self::unavailable(code, "No device available", error.to_string())
            }
            HsmError::DeadlineExceeded { .. } => {
                Self::unavailable(code, "Deadline exceeded", error.to_string())
            }
            HsmError::NotRunning { .. } => Self::unavailable(code, "Device not running", error.to_string()),
            HsmError::UnknownKey { key } => Self::unknown_key(key.as_str()),
            HsmError::UnknownDevice { device } => Self::unknown_device(device.as_str()),
            HsmError::AlgorithmMismatch { .. } => {
                Self::faults(vec![Fault::new("algorithm", code, error.to_string())])
            }
            HsmError::Refused { .. } => {
                let fault = Fault::new("algorithm", code, "the devices that hold this key cannot do this");
                Self { internal: Some(error.to_string()), ..Self::faults(vec![fault]) }
            }
            HsmError::Quarantined { .. } => {
                Self::new(StatusCode::CONFLICT, code, "Device in quarantine", error.to_string())
            }
            HsmError::NoSource { .. } => {
                Self::new(StatusCode::CONFLICT, code, "No device holds the key", error.to_string())
            }
            HsmError::OrderFailed { .. } | HsmError::WrongAnswer { .. } | HsmError::SetUp { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, code, "The device failed", error.to_string())
            }
            HsmError::UnknownDialect { .. } | HsmError::BadKey { .. } => {
                Self::internal(code, error.to_string())
            }
        }
    }
}
