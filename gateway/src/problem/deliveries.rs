//! What is wrong with webhooks, and with what is on its way to them.

use axum::http::StatusCode;
use store::StoreError;

use super::Problem;

impl Problem {
    pub(crate) fn no_webhook(app: &str) -> Self {
        let detail = format!("app {app} has no webhook");
        Self::new(StatusCode::NOT_FOUND, "no_webhook", "No webhook", detail)
    }

    /// What the store refused, or could not do.
    pub(crate) fn from_deliveries(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "delivery", id } => {
                let detail = format!("there is no delivery {id:?}");
                Self::new(StatusCode::NOT_FOUND, "unknown_delivery", "Unknown delivery", detail)
            }
            StoreError::NotAllowed { what: "delivery", state, .. } => {
                let detail = format!("only a dead delivery is made again; this one is {state}");
                Self::new(StatusCode::CONFLICT, "delivery_not_dead", "Not dead", detail)
            }
            other => Self::database(other),
        }
    }
}
