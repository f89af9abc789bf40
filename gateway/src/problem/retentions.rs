//! Why there is no retention.

use axum::http::StatusCode;
use store::{ScanState, StoreError};

use super::Problem;

impl Problem {
    pub(crate) fn unknown_retention() -> Self {
        let detail = "there is no retention with this number";
        Self::new(StatusCode::NOT_FOUND, "unknown_retention", "Unknown retention", detail)
    }

    pub(crate) fn retention_over() -> Self {
        let detail =
            "its time is over: file and record were taken away, their digests stand in the audit log";
        Self::new(StatusCode::GONE, "retention_over", "Retention over", detail)
    }

    /// What is kept of it is not what was kept.
    pub(crate) fn retention_broken(id: &str, what: &str) -> Self {
        Self::internal("retention_broken", format!("retention {id}: {what}"))
    }

    /// The license in a session is another one than what is to be retained.
    pub(crate) fn retention_of_another() -> Self {
        let detail = "the session was confirmed with the license of another enterprise";
        Self::new(StatusCode::CONFLICT, "session_other_license", "Another license", detail)
    }

    /// Nobody confirmed the session, or not any more.
    pub(crate) fn session_not_retainable(state: ScanState) -> Self {
        let detail = format!("the session is {}: nothing was confirmed in it", state.as_str());
        Self::new(StatusCode::CONFLICT, "session_not_confirmed", "Not confirmed", detail)
    }

    pub(crate) fn session_result_gone() -> Self {
        let detail = "what the session came to is kept for a day after it was fetched, and that is over";
        Self::new(StatusCode::GONE, "session_result_gone", "Session over", detail)
    }

    /// A file of the library is larger than what is retained.
    pub(crate) fn license_file_too_large(most: usize) -> Self {
        let detail = format!(
            "a file that is kept, or answered in one piece, has at most {most} octets; larger ones are fetched by /v1/licenses"
        );
        Self::new(StatusCode::CONFLICT, "license_file_too_large", "License file too large", detail)
    }

    /// What the register of retentions answered about one of this number.
    pub(crate) fn from_retentions(error: &StoreError) -> Self {
        const WHAT: &str = "retention";
        match error {
            StoreError::Altered { what: WHAT | "retentions", id }
            | StoreError::Corrupt { what: WHAT | "retained file", id, .. } => {
                Self::retention_broken(id, "its row is not as the audit log has it")
            }
            StoreError::AlreadyExists { .. } => Self::unavailable(
                "number_taken",
                "Number taken",
                "the number that was drawn for it is another's; the next one will not be",
            ),
            error => Self::database(error),
        }
    }
}
