//! What is wrong with changes that wait for a second person, and with whoever decides about them.

use axum::http::StatusCode;
use store::StoreError;

use super::{Fault, Problem};

impl Problem {
    fn not_yours(code: &'static str, detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Not permitted", detail)
    }

    pub(crate) fn own_approval() -> Self {
        Self::not_yours("own_approval", "whoever asked for a change does not decide about it")
    }

    pub(crate) fn not_own_approval() -> Self {
        Self::not_yours("not_own_approval", "only who asked for a change withdraws it")
    }

    pub(crate) fn unknown_approval(id: &str) -> Self {
        let detail = format!("no change {id:?} was asked for");
        Self::new(StatusCode::NOT_FOUND, "unknown_approval", "Unknown change", detail)
    }

    pub(crate) fn approval_not_pending(state: &str) -> Self {
        let detail = format!("nothing is to be decided about this change any more: it is {state}");
        Self::new(StatusCode::CONFLICT, "approval_not_pending", "Not pending", detail)
    }

    /// `changed` names what is different from when the change was asked for.
    pub(crate) fn approval_stale(changed: Vec<Fault>) -> Self {
        let names: Vec<_> = changed.iter().map(|fault| fault.field.as_str()).collect();
        let detail =
            format!("since the change was asked for, this has changed: {}; ask anew", names.join(", "));
        let problem = Self::new(StatusCode::CONFLICT, "approval_stale", "Stale", detail);
        Self { errors: changed, ..problem }
    }

    /// Of what an approved change is made to, in the moment between the last look at it and the change.
    pub(super) fn changed_meanwhile() -> Self {
        let detail = "it has changed since it was looked at";
        Self::new(StatusCode::CONFLICT, "approval_stale", "Stale", detail)
    }

    fn approval_busy() -> Self {
        let detail =
            "another approved change of the same subject is being carried out; decide again in a moment";
        Self::new(StatusCode::CONFLICT, "approval_busy", "Busy", detail)
    }

    fn too_many_approvals(most: usize) -> Self {
        let detail = format!("{most} changes wait for a decision, which is the most");
        Self::new(StatusCode::CONFLICT, "too_many_approvals", "Too many changes", detail)
    }

    pub(crate) fn approval_unreadable() -> Self {
        Self::internal("approval_unreadable", "a change that waits cannot be read, or not be written")
    }

    /// What the store refused, or could not do.
    pub(crate) fn from_approvals(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "approval", id } => Self::unknown_approval(id),
            StoreError::Full { what: "approval", most, .. } => Self::too_many_approvals(*most),
            StoreError::NotAllowed { what: "approval", state: "subject busy", .. } => Self::approval_busy(),
            StoreError::NotAllowed { what: "approval", state, .. } => Self::approval_not_pending(state),
            other => Self::database(other),
        }
    }
}
