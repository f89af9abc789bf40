//! Why there is no query certificate.

use std::fmt;

use axum::http::StatusCode;
use store::StoreError;

use super::Problem;

impl Problem {
    pub(crate) fn query_certificates_not_offered() -> Self {
        let detail = "this site makes no query certificates: its configuration has no [query_certificates]";
        Self::new(StatusCode::NOT_FOUND, "query_certificates_not_offered", "Not offered", detail)
    }

    pub(crate) fn unknown_query_certificate() -> Self {
        let detail = "there is no query certificate with this number";
        Self::new(StatusCode::NOT_FOUND, "unknown_query_certificate", "Unknown query certificate", detail)
    }

    /// An app had as many made as it may; `seconds` until there are some again.
    pub(crate) fn query_certificates_used_up(limit: u64, seconds: i64) -> Self {
        let detail = format!("this app has had {limit} query certificates made today, and may have no more");
        let code = "query_certificates_used_up";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, "Limit of the day reached", detail);
        Self { retry_after: Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)), ..problem }
    }

    /// What the configuration names to certify with cannot do it.
    pub(crate) fn agency_not_ready(detail: impl Into<String>) -> Self {
        Self::unavailable("agency_not_ready", "Agency's key or seal not ready", detail)
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
            error => Self::database(error),
        }
    }
}
