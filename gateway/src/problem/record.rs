//! What callers are told of the record: of the audit log, its archive, and the register of stamps that rests on it.

use axum::http::StatusCode;
use store::StoreError;

use super::{Fault, Problem};

impl Problem {
    pub(crate) fn unknown_audit_entry(index: &str) -> Self {
        let detail = format!("the audit log has no entry {index:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_audit_entry", "Unknown entry", detail)
    }

    pub(crate) fn unknown_stamp() -> Self {
        let detail = "there is no stamp with this number or check code";
        Self::new(StatusCode::NOT_FOUND, "unknown_stamp", "Unknown stamp", detail)
    }

    pub(crate) fn no_evidence() -> Self {
        let detail = "there is no evidence of this stamp: it is taken within seconds where the site keeps it, and has its time";
        Self::new(StatusCode::NOT_FOUND, "no_evidence", "No evidence", detail)
    }

    pub(crate) fn evidence_too_large(most: u64) -> Self {
        let detail =
            format!("the evidence of this stamp has more than {most} octets, or more parts than are read");
        Self::new(StatusCode::CONFLICT, "evidence_too_large", "Evidence too large", detail)
    }

    pub(crate) fn archive_packages_not_offered() -> Self {
        let detail = "this site makes no archive packages: its configuration has no [archive_packages]";
        Self::new(StatusCode::NOT_FOUND, "archive_packages_not_offered", "Not offered", detail)
    }

    /// What the configuration names to sign manifests with cannot do it, or nobody timestamps the signature.
    pub(crate) fn archivist_not_ready(detail: impl Into<String>) -> Self {
        Self::unavailable("archivist_not_ready", "Key of archive packages not ready", detail)
    }

    /// The register of stamps and the audit log say different things of a stamp.
    pub(crate) fn stamp_register_broken(id: &str) -> Self {
        Self::internal("stamp_register_broken", format!("stamp {id} is not as the audit log has it"))
    }

    /// The database has another log than the one that was signed: nothing is said to be proved by it.
    pub(crate) fn audit_altered(replica: &str, reason: &str) -> Self {
        Self::internal("audit_altered", format!("the audit log of {replica}: {reason}"))
    }

    /// What the register of stamps answered.
    pub(crate) fn from_stamps(error: &StoreError) -> Self {
        match error {
            StoreError::Altered { what: "stamp", id } | StoreError::Corrupt { what: "stamp", id, .. } => {
                Self::stamp_register_broken(id)
            }
            error => Self::database(error),
        }
    }

    /// A level that takes timestamps, at a site that has none.
    pub(crate) fn no_timestamp_authority() -> Self {
        let detail = "this site neither makes timestamps nor asks an authority outside; B-B takes none";
        Self::faults(vec![Fault::new("level", "no_timestamp_authority", detail)])
    }

    pub(crate) fn unknown_log(name: &str) -> Self {
        let detail = format!("there is no audit log {name:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_log", "Unknown log", detail)
    }

    pub(crate) fn checkpoint_missing(size: Option<u64>) -> Self {
        let detail = match size {
            Some(size) => format!("no checkpoint covers {size} entries yet"),
            None => "there is no checkpoint yet".to_owned(),
        };
        let title = "No checkpoint";
        Self { retry_after: Some(1), ..Self::new(StatusCode::NOT_FOUND, "checkpoint_missing", title, detail) }
    }

    pub(crate) fn tree_size(entries: u64) -> Self {
        let detail = format!("must cover the entry, follow one another, and not exceed {entries}");
        Self::faults(vec![Fault::new("size", "tree_size", detail)])
    }

    pub(crate) fn archive_unavailable(reason: String) -> Self {
        let title = "Archive unavailable";
        let problem = Self::unavailable("archive_unavailable", title, "the archive did not answer");
        Self { internal: Some(reason), ..problem }
    }
}
