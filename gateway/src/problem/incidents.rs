//! Why there is no incident, or why it does not go on.

use axum::http::StatusCode;
use store::StoreError;

use super::Problem;
use crate::body::Faults;

impl Problem {
    pub(crate) fn unknown_incident(id: &str) -> Self {
        let detail = format!("there is no incident {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_incident", "Unknown incident", detail)
    }

    /// One that is the same is open.
    pub(crate) fn incident_open(id: &str) -> Self {
        let detail = format!("incident {id} has that signature and is open: go on with it");
        Self::new(StatusCode::CONFLICT, "incident_open", "Incident open", detail)
    }

    /// Somebody made a step since.
    pub(crate) fn incident_changed(id: &str, version: u32) -> Self {
        let detail = format!("somebody made a step: incident {id} is at version {version}; look at it again");
        Self::new(StatusCode::CONFLICT, "incident_changed", "Incident changed", detail)
    }

    /// Another step comes next, or none.
    pub(crate) fn incident_step_refused(detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, "incident_step_refused", "Not the next step", detail)
    }

    /// A step says too little.
    pub(crate) fn incident_field(field: &str, code: &'static str, detail: String) -> Self {
        let mut faults = Faults::default();
        faults.add(field, code, detail);
        faults.into_result(None::<()>).err().unwrap_or_else(|| Self::incident_broken(""))
    }

    /// It is not closed.
    pub(crate) fn no_incident_report(id: &str) -> Self {
        let detail = format!("incident {id} is not closed, and a report is written when it is");
        Self::new(StatusCode::CONFLICT, "no_incident_report", "No report", detail)
    }

    /// Its steps do not follow one another.
    pub(crate) fn incident_broken(id: &str) -> Self {
        Self::internal("incident_broken", format!("incident {id} was altered outside the gateway"))
    }

    /// What the store answered about incidents.
    pub(crate) fn from_incidents(error: &StoreError) -> Self {
        const WHAT: &str = "incident";
        match error {
            StoreError::NotFound { what: WHAT, id } => Self::unknown_incident(id),
            StoreError::Corrupt { what: WHAT, id, .. } => Self::incident_broken(id),
            other => Self::database(other),
        }
    }
}
