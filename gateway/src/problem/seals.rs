//! What is wrong with seals, and with what is to become of them.

use axum::http::StatusCode;
use store::{SealRefusal, StoreError};

use super::{Fault, Problem};

impl Problem {
    pub(crate) fn unknown_seal(id: &str) -> Self {
        let detail = format!("there is no seal {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_seal", "Unknown seal", detail)
    }

    pub(crate) fn seal_exists(id: &str) -> Self {
        let fault = Fault::new(
            "number",
            "seal_exists",
            format!("the number {id} was given, and is never given again"),
        );
        let problem = Self::new(StatusCode::CONFLICT, "seal_exists", "Seal exists", fault.detail.clone());
        Self { errors: vec![fault], ..problem }
    }

    /// Every reason why a seal cannot be used as ordered.
    pub(crate) fn seal_not_usable(refusals: &[SealRefusal]) -> Self {
        let fault = |refusal: &SealRefusal| Fault::new("seal", refusal.code(), refusal.to_string());
        Self::faults(refusals.iter().map(fault).collect())
    }

    /// What the register of seals refused, or could not do.
    pub(crate) fn from_seals(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "seal", id } => Self::unknown_seal(id),
            StoreError::AlreadyExists { what: "seal", id } => Self::seal_exists(id),
            StoreError::NotAllowed { what: "seal", .. } => {
                Self::new(StatusCode::CONFLICT, "seal_state", "Not in this state", error.to_string())
            }
            StoreError::Changed { .. } => Self::changed_meanwhile(),
            StoreError::AuditUnavailable | StoreError::AuditTime => Self::record_unavailable(error),
            other => Self::database(other),
        }
    }
}
