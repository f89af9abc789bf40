//! Why there is no license file.

use axum::http::StatusCode;
use store::StoreError;

use super::Problem;

impl Problem {
    pub(crate) fn license_file_unknown() -> Self {
        let detail = "the library holds no such file of this entity";
        Self::new(StatusCode::NOT_FOUND, "license_file_unknown", "License file unknown", detail)
    }

    pub(crate) fn license_file_removed() -> Self {
        let detail = "this file was taken out of the library";
        Self::new(StatusCode::GONE, "license_file_removed", "License file removed", detail)
    }

    /// The entity's license is not to be used any more; only who keeps archives has its file.
    pub(crate) fn license_ended(code: i64, text: &str) -> Self {
        let detail = format!(
            "status {code}: {text}; files of licenses that have ended are for callers with the grant license_file_archive"
        );
        Self::new(StatusCode::FORBIDDEN, "license_ended", "License ended", detail)
    }

    pub(crate) fn range_not_satisfiable(octets: u64) -> Self {
        let detail = format!("the file has {octets} octets, and the range lies behind them");
        let title = "Range not satisfiable";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", title, detail)
    }

    /// What the store answered about a license file.
    pub(crate) fn from_license_files(error: &StoreError) -> Self {
        const WHAT: &str = "license file";
        match error {
            StoreError::Altered { what: WHAT, id } => {
                let said = format!("the contents {id} are damaged or not there");
                Self::internal("license_file_broken", said)
            }
            StoreError::Corrupt { what: WHAT, id, column } => {
                let said = format!("the row of license file {id}: column {column}");
                Self::internal("license_file_broken", said)
            }
            error => Self::database(error),
        }
    }
}
