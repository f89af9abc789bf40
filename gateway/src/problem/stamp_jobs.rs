//! What is wrong with uploads and with jobs of stamps.

use axum::http::StatusCode;
use store::StoreError;

use super::{Fault, Problem};

impl Problem {
    pub(crate) fn unknown_stamp_job(id: &str) -> Self {
        let detail = format!("there is no stamp job {id:?} of this app");
        Self::new(StatusCode::NOT_FOUND, "unknown_stamp_job", "Unknown stamp job", detail)
    }

    pub(crate) fn unknown_document() -> Self {
        let detail = "the job has no document of this number";
        Self::new(StatusCode::NOT_FOUND, "unknown_document", "Unknown document", detail)
    }

    pub(crate) fn not_stamped(state: &str) -> Self {
        let detail = format!("only a stamped document can be fetched; this one is {state}");
        Self::new(StatusCode::CONFLICT, "not_stamped", "Not stamped", detail)
    }

    pub(crate) fn stamp_job_finished() -> Self {
        let detail = "all documents of this job have ended";
        Self::new(StatusCode::CONFLICT, "stamp_job_finished", "Finished", detail)
    }

    pub(crate) fn apps_only() -> Self {
        let detail = "only an app has documents kept and stamped later";
        Self::new(StatusCode::FORBIDDEN, "apps_only", "Not permitted", detail)
    }

    /// The app cannot prove itself any more: what it ordered when it could is not carried out.
    pub(crate) fn no_credential_holds() -> Self {
        let detail = "none of this app's credentials holds any more";
        Self::new(StatusCode::FORBIDDEN, "no_credential", "Not permitted", detail)
    }

    pub(crate) fn upload_media_type() -> Self {
        let detail = "the request body must be application/pdf, application/ofd or application/octet-stream";
        let title = "Unsupported media type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title, detail)
    }

    pub(crate) fn unknown_upload() -> Self {
        let fault = Fault::new(
            "upload",
            "unknown_upload",
            "there is no such upload of this app, or its time is over",
        );
        Self::faults(vec![fault])
    }

    /// What the store refused, or could not do.
    pub(crate) fn from_stamp_jobs(error: &StoreError) -> Self {
        match error {
            StoreError::Full { what: "upload", most, .. } => {
                let detail = format!(
                    "this app's uploads may have {most} octets together; old ones go with their time"
                );
                Self {
                    retry_after: Some(60),
                    ..Self::new(StatusCode::CONFLICT, "upload_quota", "Quota used up", detail)
                }
            }
            StoreError::Full { what: "stamp job", most, .. } => {
                let detail = format!("this app has {most} jobs running, which is as many as it may");
                Self::later(
                    "too_many_stamp_jobs",
                    "Too many jobs",
                    detail,
                    std::time::Duration::from_secs(10),
                )
            }
            StoreError::NotFound { what: "upload", .. } => Self::unknown_upload(),
            other => Self::database(other),
        }
    }
}
