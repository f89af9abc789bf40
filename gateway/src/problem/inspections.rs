//! Why there is no inspection, or no report on one.

use axum::http::StatusCode;
use store::StoreError;

use super::Problem;

impl Problem {
    pub(crate) fn unknown_inspection(id: &str) -> Self {
        let detail = format!("there is no inspection {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_inspection", "Unknown inspection", detail)
    }

    /// It runs, was broken off, or its report could not be set.
    pub(crate) fn no_inspection_report(why: &str) -> Self {
        let detail = format!("this inspection has no report: {why}");
        Self::new(StatusCode::CONFLICT, "no_inspection_report", "No report", detail)
    }

    pub(crate) fn inspection_running(id: &str) -> Self {
        let detail = format!("inspection {id} is being made; there is one at a time");
        let problem = Self::new(StatusCode::CONFLICT, "inspection_running", "Inspection running", detail);
        Self { retry_after: Some(5), ..problem }
    }

    /// The last one began so lately that there are `seconds` to wait.
    pub(crate) fn inspection_too_soon(seconds: i64) -> Self {
        let detail = format!(
            "inspections begin a minute apart, so that devices do not feel them: {seconds} s to wait"
        );
        let code = "inspection_too_soon";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, "Inspection too soon", detail);
        Self { retry_after: Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)), ..problem }
    }

    /// What the store answered about the inspection of a number.
    pub(crate) fn from_inspections(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "inspection", id } => Self::unknown_inspection(id),
            other => Self::database(other),
        }
    }
}
