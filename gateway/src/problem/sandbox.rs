//! Why a test enterprise is not made, changed or shown.

use axum::http::StatusCode;

use super::Problem;

impl Problem {
    /// There is an enterprise of this code.
    pub(crate) fn enterprise_exists() -> Self {
        let detail = "there is an enterprise of this code: take it away first, or take another code";
        Self::new(StatusCode::CONFLICT, "enterprise_exists", "Exists already", detail)
    }

    /// None was made here under this code.
    pub(crate) fn unknown_enterprise() -> Self {
        let detail = "no test enterprise of this code was made here";
        Self::new(StatusCode::NOT_FOUND, "unknown_enterprise", "Not found", detail)
    }

    /// There are as many as there may be.
    pub(crate) fn too_many_enterprises(most: usize) -> Self {
        let detail = format!("there are {most} test enterprises: take some away first");
        Self::new(StatusCode::CONFLICT, "too_many_enterprises", "Too many", detail)
    }

    /// The sandbox was made before there were keys for this.
    pub(crate) fn sandbox_outdated() -> Self {
        let detail = "this sandbox was made by an older build and keeps no license authority: make a new one";
        Self::new(StatusCode::CONFLICT, "sandbox_outdated", "Sandbox outdated", detail)
    }

    /// What the sandbox's folder has of an enterprise cannot be used.
    pub(crate) fn test_enterprise_broken(what: impl std::fmt::Display) -> Self {
        Self::internal("test_enterprise_broken", what.to_string())
    }
}
