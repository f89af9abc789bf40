//! What is wrong with stamp templates, and with stamping by them.

use axum::http::StatusCode;
use store::StoreError;

use super::{Fault, Problem};

impl Problem {
    /// There is none, or it is not this caller's to use.
    pub(crate) fn unknown_template(id: &str) -> Self {
        let detail = format!("there is no stamp template {id:?}");
        Self::about_template(
            "template",
            StatusCode::NOT_FOUND,
            "unknown_template",
            "Unknown template",
            detail,
        )
    }

    pub(crate) fn unknown_template_version(id: &str, version: u32) -> Self {
        let detail = format!("the stamp template {id} has no version {version}");
        let (field, title) = ("template_version", "Unknown version of a template");
        Self::about_template(field, StatusCode::NOT_FOUND, "unknown_template_version", title, detail)
    }

    pub(crate) fn template_disabled(id: &str) -> Self {
        let detail = format!("the stamp template {id} is disabled");
        Self::about_template(
            "template",
            StatusCode::FORBIDDEN,
            "template_disabled",
            "Template disabled",
            detail,
        )
    }

    fn about_template(
        field: &str,
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: String,
    ) -> Self {
        let errors = vec![Fault::new(field, code, detail.clone())];
        Self { errors, ..Self::new(status, code, title, detail) }
    }

    pub(crate) fn template_enabled(id: &str) -> Self {
        let detail = format!("the stamp template {id} is enabled already");
        Self::new(StatusCode::CONFLICT, "template_state", "Not in this state", detail)
    }

    pub(crate) fn template_changed() -> Self {
        let detail = "another version is in force than the one that was to be replaced";
        Self::new(StatusCode::CONFLICT, "template_changed", "Template changed", detail)
    }

    /// What the register of templates refused, or could not do.
    pub(crate) fn from_templates(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "stamp template", id } => Self::unknown_template(id),
            StoreError::NotAllowed { what: "stamp template", state: "changed", .. }
            | StoreError::AlreadyExists { what: "stamp template", .. } => Self::template_changed(),
            StoreError::NotAllowed { what: "stamp template", .. } => {
                Self::new(StatusCode::CONFLICT, "template_state", "Not in this state", error.to_string())
            }
            StoreError::Full { what: "stamp template", most, .. } => {
                let detail = format!("there are {most} stamp templates, which is as many as there may be");
                Self::new(StatusCode::CONFLICT, "too_many_templates", "Too many templates", detail)
            }
            StoreError::Changed { .. } => Self::changed_meanwhile(),
            other => Self::database(other),
        }
    }
}
