//! `/v1/uploads` and `/v1/stamp-jobs`: documents stamped many at a time. What was sent is kept (`uploads`), an order is
//! read (`order`) and entered (`enter`), gateways work on it beside what they are asked (`work`), and its owner sees how far
//! it is and fetches what came of it (`view`), one by one or all in a package (`package`). What is over is removed (`sweep`).
//! Jobs of query certificates are ordered elsewhere (`query_certificates::jobs`), and are jobs for all the rest.

pub(crate) mod enter;
pub(crate) mod order;
pub(crate) mod package;
mod sweep;
pub(crate) mod uploads;
pub(crate) mod view;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::{AuditEntry, Blobs, DocumentCounts, JobKind, StampJob};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::auth::{Authenticated, Scope};
use crate::problem::Problem;
use crate::state::Gateway;
pub(crate) use sweep::sweep;
pub(crate) use work::work;

/// Uploads that are received at a time, no app's all of them; one more is answered 503.
const MOST_UPLOADING: usize = 32;

/// What outlives reloads of the configuration.
pub(crate) struct StampJobs {
    pub(crate) blobs: Blobs,
    /// There is something to do.
    ordered: Notify,
    uploading: Arc<Admission>,
    pub(crate) packing: Arc<Admission>,
    pub(crate) figures: Figures,
}

/// What became of documents since the start.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) stamped: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) again: AtomicU64,
    /// Over all gateways, as was seen last.
    pub(crate) waiting: AtomicU64,
    pub(crate) working: AtomicU64,
}

impl StampJobs {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            ordered: Notify::new(),
            uploading: Arc::default(),
            packing: Arc::default(),
            figures: Figures::default(),
        }
    }
}

fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

/// What jobs of a kind are called.
pub(crate) struct Names {
    /// What it takes to order one.
    pub(crate) scope: Scope,
    /// Where they are.
    pub(crate) path: &'static str,
    /// What their ids begin with.
    id: &'static str,
    /// What the audit log says of them, with a verb behind.
    action: &'static str,
}

/// What jobs of this kind are called.
pub(crate) fn names(kind: JobKind) -> Names {
    match kind {
        JobKind::Stamps => {
            Names { scope: Scope::Signatures, path: "/v1/stamp-jobs", id: "sj", action: "stamp_job" }
        }
        JobKind::QueryCertificates => Names {
            scope: Scope::QueryCertificates,
            path: "/v1/query-certificate-jobs",
            id: "qj",
            action: "query_certificate_job",
        },
    }
}

/// The app that asks; a person or a user of this machine has no documents kept.
pub(crate) fn asking(caller: &Authenticated, kind: JobKind) -> Result<&store::App, Problem> {
    let app = caller.with(names(kind).scope)?;
    if caller.person().is_some() || caller.is_local_user() { Err(Problem::apps_only()) } else { Ok(app) }
}

/// A job, for the app that ordered it, and for who looks after the site.
async fn found(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    id: &str,
) -> Result<(StampJob, DocumentCounts), Problem> {
    let found = gateway.store.stamp_job(id).await.map_err(|error| Problem::from_stamp_jobs(&error))?;
    let own = |job: &StampJob| asking(caller, kind).is_ok_and(|app| app.id == job.app);
    match found.filter(|(job, _)| job.kind == kind) {
        Some(found) if own(&found.0) => {
            caller.using(names(kind).scope, gateway)?;
            Ok(found)
        }
        Some(found) if caller.using(Scope::Maintenance, gateway).is_ok() => Ok(found),
        _ => Err(Problem::unknown_stamp_job(id)),
    }
}

/// The same, for the app that ordered it alone: who looks after the site does not see documents.
async fn own(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    id: &str,
) -> Result<StampJob, Problem> {
    let app = asking(caller, kind)?;
    let (job, _) = found(caller, gateway, kind, id).await?;
    if job.app == app.id { Ok(job) } else { Err(Problem::unknown_stamp_job(id)) }
}

fn entry(kind: JobKind, verb: &str, actor: String, request_id: String, subject: String) -> AuditEntry {
    let action = format!("{}.{verb}", names(kind).action);
    AuditEntry {
        action,
        actor,
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: "intended".to_owned(),
        request_id,
        result_digest: None,
        subject: Some(subject),
    }
}

async fn record(gateway: &Gateway, entry: &AuditEntry, outcome: &str) -> Result<u64, Problem> {
    let entry = AuditEntry { outcome: outcome.to_owned(), at: OffsetDateTime::now_utc(), ..entry.clone() };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
