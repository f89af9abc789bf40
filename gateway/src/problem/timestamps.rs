//! Why there is no timestamp.

use std::time::Duration;

use axum::http::StatusCode;
use formats::tsp::Failure;
use signing::TimestampError;

use super::{Fault, Problem};

impl Problem {
    pub(crate) fn timestamps_off() -> Self {
        let detail = "this site makes no timestamps";
        Self::new(StatusCode::NOT_FOUND, "timestamps_off", "No timestamps", detail)
    }

    pub(crate) fn no_outside_authority() -> Self {
        let detail = "this site asks no timestamp authority outside";
        let fault = Fault::new("source", "no_outside_authority", detail);
        Self::faults(vec![fault])
    }

    pub(crate) fn timestamp_media_type() -> Self {
        let detail = "the request body must be application/timestamp-query";
        let title = "Unsupported media type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title, detail)
    }

    pub(crate) fn too_many_timestamps(wait: Duration) -> Self {
        let detail = "this address asks for more timestamps than it may";
        Self::later("rate_limited", "Too many requests", detail, wait)
    }
}

impl From<&TimestampError> for Problem {
    fn from(error: &TimestampError) -> Self {
        let code = error.code();
        match error {
            TimestampError::Refused(refusal) => {
                let field = match refusal.failure {
                    Failure::UnacceptedPolicy => "policy",
                    Failure::BadAlg => "algorithm",
                    Failure::BadRequest
                    | Failure::BadDataFormat
                    | Failure::AddInfoNotAvailable
                    | Failure::UnacceptedExtension
                    | Failure::TimeNotAvailable
                    | Failure::SystemFailure => "input",
                };
                Self::faults(vec![Fault::new(field, code, refusal.text)])
            }
            TimestampError::Clock(_) => Self::unavailable(code, "Clock unreliable", error.to_string()),
            TimestampError::Signing(source) => Self::from(source),
            TimestampError::Serials(source) => Self::database(source),
            TimestampError::Outside { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, code, "No timestamp from outside", error.to_string())
            }
        }
    }
}
