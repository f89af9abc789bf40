//! `GET /v1/stamp-jobs…`: how far jobs are, and what came of their documents, which is fetched one by one or in a package.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::AppId;
use serde::{Deserialize, Serialize};
use store::{
    Blob, Blobs, DocumentCounts, DocumentState, Failure, JobDocument, JobKind, Stamp, StampJob, StampJobState,
};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::enter::failure;
use super::{asking, entry, found, names, own, record};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf, Segment};
use crate::content::Content;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::make::grouped;
use crate::state::Gateway;

/// Documents in one answer.
pub(super) const PAGE: u32 = 100;
/// Jobs in one answer.
const MOST_JOBS: u32 = 1_000;

/// A job, and how far it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobItem {
    /// Its id.
    job: String,
    /// Whose.
    #[schema(value_type = String)]
    app: AppId,
    /// `running` or `finished`.
    #[schema(value_type = String)]
    state: StampJobState,
    /// Of how many documents.
    total: u32,
    /// When it was ordered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When it was cancelled.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    cancelled_at: Option<OffsetDateTime>,
    /// When the last of its documents ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    finished_at: Option<OffsetDateTime>,
}

/// Jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobList {
    /// The newest first, at most 1,000.
    items: Vec<StampJobItem>,
    /// Always null.
    next: Option<String>,
}

/// A job with its documents.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobResponse {
    #[serde(flatten)]
    job: StampJobItem,
    /// Documents that are stamped.
    done: u64,
    /// Documents that will not be.
    failed: u64,
    /// Documents that had not begun when it was cancelled.
    cancelled: u64,
    /// Documents that are worked on.
    working: u64,
    /// Documents that have not begun, or are tried again.
    waiting: u64,
    /// At most 100 of them, in the order's order; of another app's job none.
    documents: Vec<StampJobDocument>,
    /// The `cursor` for the next ones; null where there are none.
    next: Option<String>,
}

/// A document of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobDocument {
    /// Its number, from 1 on.
    n: u32,
    /// What its owner calls it.
    name: String,
    /// `waiting`, `working`, `stamped`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: DocumentState,
    /// Its stamp's number.
    stamp_id: Option<String>,
    /// What `/verify/{code}` takes.
    check_code: Option<String>,
    /// Octets of the stamped document; of a digest, of the CMS over it.
    octets: Option<u64>,
    /// SM3 over them, hexadecimal.
    sm3: Option<String>,
    /// Why it failed, or why it is tried again: a code as `POST /v1/stamps` has them.
    code: Option<String>,
    /// The same for people.
    detail: Option<String>,
}

/// A job that was cancelled.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobCancelled {
    /// Its id.
    job: String,
    /// Documents that had not begun, and will not be stamped.
    cancelled: u64,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Which documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampJobQuery {
    cursor: Option<String>,
}

impl From<StampJob> for StampJobItem {
    fn from(job: StampJob) -> Self {
        let StampJob { id, app, total, state, created_at, cancelled_at, finished_at, kind: _ } = job;
        Self { job: id, app, state, total, created_at, cancelled_at, finished_at }
    }
}

impl From<JobDocument> for StampJobDocument {
    fn from(document: JobDocument) -> Self {
        let JobDocument { n, name, state, stamp_id, check_code, result, failure } = document;
        let (octets, sm3) = result.map(|blob| (blob.octets, hex::encode(blob.sm3))).unzip();
        let (code, detail) = failure.map(|failure| (failure.code, failure.detail)).unzip();
        let check_code = check_code.as_deref().map(grouped);
        Self { n, name, state, stamp_id, check_code, octets, sm3, code, detail }
    }
}

impl StampJobDocument {
    /// Says why what came of it cannot be had.
    pub(super) fn fail(&mut self, problem: Problem) {
        let Failure { code, detail } = failure(problem);
        (self.code, self.detail) = (Some(code), Some(detail));
    }
}

impl StampJobResponse {
    fn new(job: StampJob, counts: DocumentCounts, documents: Vec<JobDocument>) -> Self {
        let DocumentCounts { waiting, working, stamped, failed, cancelled } = counts;
        let last = documents.last().map(|document| document.n).filter(|last| *last < job.total);
        Self {
            job: job.into(),
            done: stamped,
            failed,
            cancelled,
            working,
            waiting,
            documents: documents.into_iter().map(Into::into).collect(),
            next: last.map(|last| last.to_string()),
        }
    }
}

/// Jobs of the app that asks; for who has the scope `maintenance`, of all.
#[utoipa::path(
    get, path = "/v1/stamp-jobs", tag = "stamps",
    responses((status = 200, description = "the newest first", body = StampJobList))
)]
pub(crate) async fn list_stamp_jobs(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<StampJobList>, Problem> {
    listed(&caller, &gateway, JobKind::Stamps).await
}

/// Jobs of a kind: of the app that asks, or of all.
pub(crate) async fn listed(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
) -> Result<Json<StampJobList>, Problem> {
    let whose = match asking(caller, kind) {
        Ok(app) => {
            caller.using(names(kind).scope, gateway)?;
            Some(app.id.clone())
        }
        Err(_) => caller.using(Scope::Maintenance, gateway).map(|_| None)?,
    };
    let jobs = gateway.store.stamp_jobs(kind, whose.as_ref(), MOST_JOBS).await;
    let jobs = jobs.map_err(|error| Problem::from_stamp_jobs(&error))?;
    Ok(Json(StampJobList { items: jobs.into_iter().map(Into::into).collect(), next: None }))
}

/// How far a job is, and what came of its documents.
#[utoipa::path(
    get, path = "/v1/stamp-jobs/{id}", tag = "stamps",
    params(
        ("id" = String, Path, description = "its id"),
        ("cursor" = Option<String>, Query, description = "`next` of the answer before"),
    ),
    responses(
        (status = 200, description = "the job", body = StampJobResponse),
        (status = 404, description = "`unknown_stamp_job`: there is none, or it is another app's", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stamp_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<StampJobQuery>,
) -> Result<Json<StampJobResponse>, Problem> {
    shown(&caller, &gateway, JobKind::Stamps, &id, query).await
}

/// A job of a kind.
pub(crate) async fn shown(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    id: &str,
    StampJobQuery { cursor }: StampJobQuery,
) -> Result<Json<StampJobResponse>, Problem> {
    let mut faults = Faults::default();
    let behind = cursor.as_deref().map_or(Ok(0), str::parse::<u32>);
    let behind = faults.parse("cursor", "invalid_value", behind);
    let behind = faults.into_result(behind)?;
    let (job, counts) = found(caller, gateway, kind, id).await?;
    // What documents are called is their owner's.
    let documents = match asking(caller, kind) {
        Ok(app) if app.id == job.app => gateway.store.stamp_job_documents(&job, behind, PAGE).await,
        _ => Ok(Vec::new()),
    };
    let documents = documents.map_err(|error| Problem::from_stamp_jobs(&error))?;
    Ok(Json(StampJobResponse::new(job, counts, documents)))
}

/// Have those documents of a job not stamped that have not begun.
#[utoipa::path(
    post, path = "/v1/stamp-jobs/{id}/cancel", tag = "stamps",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "cancelled, and on record; what had begun comes to its end", body = StampJobCancelled),
        (status = 404, description = "`unknown_stamp_job`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`stamp_job_finished`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel_stamp_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<StampJobCancelled>, Problem> {
    cancelled(&caller, &gateway, JobKind::Stamps, &id).await
}

/// Cancels a job of a kind.
pub(crate) async fn cancelled(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    id: &str,
) -> Result<Json<StampJobCancelled>, Problem> {
    let (job, _) = found(caller, gateway, kind, id).await?;
    let request_id = crate::request_id::current();
    let entry = entry(kind, "cancel", caller.actor(), request_id.clone(), job.id.clone());
    let gateway = gateway.clone();
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let work = async move {
        record(&gateway, &entry, "intended").await?;
        let now = OffsetDateTime::now_utc();
        let cancelled = gateway.store.cancel_stamp_job(&job.id, now).await;
        let cancelled = cancelled
            .map_err(|error| Problem::from_stamp_jobs(&error))
            .and_then(|cancelled| cancelled.ok_or_else(Problem::stamp_job_finished));
        let outcome = cancelled.as_ref().map_or_else(Problem::code, |_| "ok");
        let audit_index = record(&gateway, &entry, outcome).await?;
        let cancelled = cancelled?;
        let finished = gateway.store.finish_stamp_job(&job.id, now).await;
        finished.map_err(|error| Problem::from_stamp_jobs(&error))?;
        Ok(StampJobCancelled { job: job.id, cancelled, audit_index, request_id })
    };
    tokio::spawn(work).await.map_err(|_| Problem::panicked())?.map(Json)
}

/// What came of a document that was stamped.
pub(super) struct StampedResult {
    pub(super) blob: Blob,
    pub(super) stamp: Stamp,
    pub(super) media_type: &'static str,
    /// Of files that hold such.
    pub(super) extension: &'static str,
}

/// What came of a document: of one that is stamped, if it is what the audit log has.
///
/// # Errors
/// It is something else.
pub(super) async fn result_of(
    gateway: &Gateway,
    document: &JobDocument,
) -> Result<Option<StampedResult>, Problem> {
    let (Some(blob), Some(stamp_id)) = (&document.result, &document.stamp_id) else { return Ok(None) };
    let stamp = gateway.store.stamp(stamp_id).await.map_err(|error| Problem::from_stamps(&error))?;
    // What leaves is what the audit log has.
    let stamp = stamp.map(|recorded| recorded.stamp).filter(|stamp| stamp.result_digest == blob.sm3);
    let stamp = stamp.ok_or_else(|| Problem::stamp_register_broken(stamp_id))?;
    let (media_type, extension) = match stamp.format.as_str() {
        "pdf" => ("application/pdf", "pdf"),
        "ofd" => ("application/ofd", "ofd"),
        "digest" => ("application/cms", "p7s"),
        _ => ("application/octet-stream", "bin"),
    };
    Ok(Some(StampedResult { blob: blob.clone(), stamp, media_type, extension }))
}

/// A stamped document.
#[utoipa::path(
    get, path = "/v1/stamp-jobs/{id}/documents/{n}/content", tag = "stamps",
    params(
        ("id" = String, Path, description = "the job's id"),
        ("n" = String, Path, description = "the document's number, from 1 on"),
        ("if-none-match" = Option<String>, Header, description = "an `ETag` of an answer before"),
    ),
    responses(
        (status = 200, description = "the document; of a digest, the CMS over it",
            content((String = "application/pdf"), (String = "application/ofd"), (String = "application/cms"))),
        (status = 304, description = "it is the same"),
        (status = 404, description = "`unknown_stamp_job`, `unknown_document`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`not_stamped`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stamped_document(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Path((id, n)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    content(&caller, &gateway, JobKind::Stamps, (&id, &n), &headers).await
}

/// What came of a document of a job of a kind.
pub(crate) async fn content(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    (id, n): (&str, &str),
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let job = own(caller, gateway, kind, id).await?;
    let n: u32 =
        n.parse().ok().filter(|n| (1..=job.total).contains(n)).ok_or_else(Problem::unknown_document)?;
    let documents = gateway.store.stamp_job_documents(&job, n - 1, 1).await;
    let document = documents.map_err(|error| Problem::from_stamp_jobs(&error))?.pop();
    let document = document.ok_or_else(Problem::unknown_document)?;
    let result = result_of(gateway, &document).await?;
    let StampedResult { blob, media_type, .. } =
        result.ok_or_else(|| Problem::not_stamped(document.state.as_str()))?;
    let tag = format!("\"{}\"", hex::encode(blob.sm3));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known =
        known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag || one.trim() == "*"));
    let tag = HeaderValue::try_from(tag).map_err(|_| Problem::panicked())?;
    let private = HeaderValue::from_static("private, no-cache");
    let fields = [(header::ETAG, tag), (header::CACHE_CONTROL, private)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, fields).into_response());
    }
    let (blobs, parts, octets) = (gateway.stamp_jobs.blobs.clone(), Blobs::parts(&blob), blob.octets);
    let content = Content::new(0..parts, octets, move |part| {
        let (blobs, blob) = (blobs.clone(), blob.clone());
        Box::pin(async move { blobs.part(&blob, part).await })
    });
    Ok((fields, [(header::CONTENT_TYPE, media_type)], Body::new(content)).into_response())
}
