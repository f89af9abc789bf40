//! Why there is no query certificate.

use std::fmt;

use axum::http::StatusCode;
use store::StoreError;
use verify_front::FrontError;

use super::Problem;

/// Seconds after which a register may say more.
const STATUS_AGAIN: u32 = 10;

impl Problem {
    pub(crate) fn query_certificates_not_offered() -> Self {
        let detail = "this site makes no query certificates: its configuration has no [query_certificates]";
        Self::new(StatusCode::NOT_FOUND, "query_certificates_not_offered", "Not offered", detail)
    }

    pub(crate) fn unknown_query_certificate() -> Self {
        let detail = "there is no query certificate with this number";
        Self::new(StatusCode::NOT_FOUND, "unknown_query_certificate", "Unknown query certificate", detail)
    }

    /// An app has fewer left today than it wants; `seconds` until there are some again.
    pub(crate) fn query_certificates_used_up(limit: u64, seconds: i64) -> Self {
        let detail = format!(
            "an app may have {limit} query certificates on a day, and fewer are left today than are wanted"
        );
        let code = "query_certificates_used_up";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, "Limit of the day reached", detail);
        Self { retry_after: Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)), ..problem }
    }

    /// What the configuration names to certify with cannot do it.
    pub(crate) fn agency_not_ready(detail: impl Into<String>) -> Self {
        Self::unavailable("agency_not_ready", "Agency's key or seal not ready", detail)
    }

    /// The register says nothing that could be certified now.
    pub(crate) fn status_not_certified(error: &FrontError) -> Self {
        let code = match error {
            FrontError::StatusUnfit { code: "status_malformed", .. } => "status_malformed",
            FrontError::StatusUnfit { .. } => "status_stale",
            _ => "status_unavailable",
        };
        let problem = Self::unavailable(code, "Status not known", error.to_string());
        Self { retry_after: Some(STATUS_AGAIN), ..problem }
    }

    /// The document could not be set.
    pub(crate) fn query_certificate_failed(error: &impl fmt::Display) -> Self {
        Self::internal("query_certificate_failed", format!("a query certificate could not be set: {error}"))
    }

    /// What the register of query certificates answered.
    pub(crate) fn from_query_certificates(error: &StoreError) -> Self {
        const WHAT: &str = "query certificate";
        match error {
            StoreError::Altered { what: WHAT | "query_certificates", id }
            | StoreError::Corrupt { what: WHAT, id, .. } => {
                let said = format!("query certificate {id} is not as the audit log has it");
                Self::internal("query_certificate_register_broken", said)
            }
            // As rare as it is: so many numbers of a day are there that another one is free.
            StoreError::AlreadyExists { .. } => Self::unavailable(
                "number_taken",
                "Number taken",
                "the number that was drawn for it is another's; the next one will not be",
            ),
            error => Self::database(error),
        }
    }
}
