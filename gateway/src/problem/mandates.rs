//! What is wrong with mandates, with what is to become of them, and with signing under them.

use axum::http::StatusCode;
use store::{MandateRefusal, StoreError};

use super::{Fault, Problem};

impl Problem {
    /// There is none, or it is not this caller's to use.
    pub(crate) fn unknown_mandate(id: &str) -> Self {
        let detail = format!("there is no mandate {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_mandate", "Unknown mandate", detail)
    }

    pub(crate) fn mandate_exists(id: &str) -> Self {
        let detail = format!("the number {id} was given, and is never given again");
        let fault = Fault::new("mandate.number", "mandate_exists", detail);
        let status = StatusCode::CONFLICT;
        let problem = Self::new(status, "mandate_exists", "Mandate exists", fault.detail.clone());
        Self { errors: vec![fault], ..problem }
    }

    /// Why a mandate cannot be used: one reason at least.
    pub(crate) fn mandate_refused(refusals: &[MandateRefusal]) -> Self {
        let field = |refusal: &MandateRefusal| match refusal {
            MandateRefusal::Format(_) => "format",
            MandateRefusal::Purpose => "signer.purpose",
            MandateRefusal::TooLarge(_) => "document",
            MandateRefusal::NotCovered { .. } => "items",
            _ => "signer.mandate",
        };
        let faults: Vec<_> = refusals
            .iter()
            .map(|refusal| Fault::new(field(refusal), refusal.code(), refusal.to_string()))
            .collect();
        let code = refusals.first().map_or("mandate_not_active", MandateRefusal::code);
        let detail = faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ");
        Self { errors: faults, ..Self::new(StatusCode::FORBIDDEN, code, "Not within the mandate", detail) }
    }

    /// What the register of mandates refused, or could not do.
    pub(crate) fn from_mandates(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "mandate", id } => Self::unknown_mandate(id),
            StoreError::AlreadyExists { what: "mandate", id } => Self::mandate_exists(id),
            StoreError::NotAllowed { what: "mandate", .. } => {
                Self::new(StatusCode::CONFLICT, "mandate_state", "Not in this state", error.to_string())
            }
            StoreError::Changed { .. } => Self::changed_meanwhile(),
            StoreError::AuditUnavailable | StoreError::AuditTime => Self::record_unavailable(error),
            other => Self::database(other),
        }
    }
}
