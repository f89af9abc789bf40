//! `/v1/query-certificate-jobs`: many query certificates in one order. Each is made as one alone is, when the gateway has
//! time; for all else they are documents of a job ([`crate::stamp_jobs`]).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use signing::KeepStamp;
use store::{App, ClaimedDocument, DocumentOrder, JobKind, NewDocument, StampedDocument, StoreError};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;
use verify_front::FieldGrant;

use super::{Asked, QueryCertificateRequest, make};
use crate::auth::Authenticated;
use crate::body::{self, QueryOf, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::stamp_jobs::enter::{ReadJob, StampJobTaken, document_name, enter, failure};
use crate::stamp_jobs::view::{self, StampJobCancelled, StampJobList, StampJobQuery, StampJobResponse};
use crate::stamp_jobs::{asking, package};
use crate::stamps::document::{DocumentBody, DocumentPlace};
use crate::stamps::make::StampAsked;
use crate::state::Gateway;

/// The most certificates of one order.
pub(crate) const MOST: usize = 10_000;
/// Octets of the defaults as JSON: they are read anew with each certificate.
const MOST_DEFAULTS: usize = 4 << 10;
const KIND: JobKind = JobKind::QueryCertificates;

/// Up to 10,000 query certificates to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryCertificateJobRequest {
    /// What all orders have in common: `purpose` and `applicant`, as `POST /v1/query-certificates` takes them.
    #[serde(default)]
    #[schema(value_type = Object)]
    defaults: Map<String, Value>,
    /// For each certificate the `uscc`, a `name` (for its owner; up to 200 characters), and `purpose` and `applicant` in
    /// place of those of `defaults`.
    #[schema(value_type = Vec<Object>)]
    certificates: Vec<Value>,
}

/// An order of many, read.
pub(crate) struct ReadOrders {
    defaults: Map<String, Value>,
    documents: Vec<NewDocument>,
}

impl QueryCertificateJobRequest {
    /// Reads every order; what is wrong with one is said of that one.
    ///
    /// # Errors
    /// There are none, or too many; nothing of it can be carried out.
    pub(crate) fn read(self, sandbox: bool) -> Result<ReadOrders, Problem> {
        let Self { defaults, certificates } = self;
        let total = certificates.len();
        if !(1..=MOST).contains(&total) {
            let detail = format!("a job has 1 to {MOST} certificates, not {total}");
            return Err(Problem::faults(vec![Fault::new("certificates", "batch_size", detail)]));
        }
        let octets = serde_json::to_vec(&defaults).map_or(usize::MAX, |json| json.len());
        if octets > MOST_DEFAULTS {
            let detail = format!("must have at most {MOST_DEFAULTS} octets as JSON");
            return Err(Problem::faults(vec![Fault::new("defaults", "invalid_value", detail)]));
        }
        let mut read = Vec::with_capacity(total);
        for (certificate, n) in certificates.into_iter().zip(1_usize..) {
            let mut order = DocumentOrder { name: n.to_string(), order: "{}".to_owned(), source: None };
            let refused = take_order(&defaults, certificate, &mut order, sandbox).err();
            read.push((order, refused));
        }
        if read.iter().all(|(_, refused)| refused.is_some()) {
            // Nothing of it can be carried out: that is said at once, and of the first.
            let first = read.into_iter().find_map(|(_, refused)| refused);
            return Err(first.unwrap_or_else(Problem::panicked));
        }
        let kept =
            |(order, refused): (_, Option<Problem>)| NewDocument { order, failed: refused.map(failure) };
        Ok(ReadOrders { defaults, documents: read.into_iter().map(kept).collect() })
    }
}

impl ReadOrders {
    /// How many of them can be carried out.
    pub(crate) fn sound(&self) -> usize {
        self.documents.iter().filter(|document| document.failed.is_none()).count()
    }
}

/// Reads one order into what is kept of it.
fn take_order(
    defaults: &Map<String, Value>,
    certificate: Value,
    kept: &mut DocumentOrder,
    sandbox: bool,
) -> Result<(), Problem> {
    let Value::Object(mut order) = certificate else {
        let fault = Fault::new("(certificate)", "invalid_type", "must be an object");
        return Err(Problem::faults(vec![fault]));
    };
    if let Some(name) = document_name(&mut order)? {
        kept.name = name;
    }
    asked(defaults, order.clone(), sandbox)?;
    kept.order = Value::Object(order).to_string();
    Ok(())
}

/// The order for one certificate, as one alone is ordered.
fn asked(defaults: &Map<String, Value>, order: Map<String, Value>, sandbox: bool) -> Result<Asked, Problem> {
    let mut merged = defaults.clone();
    merged.extend(order);
    let request: QueryCertificateRequest = body::parse(&serde_json::to_vec(&merged).unwrap_or_default())?; // it was JSON
    request.check(sandbox)
}

/// Have up to 10,000 query certificates made one after the other. Each ends by itself: what is wrong with one is said of
/// that one. They count for the day on which they are ordered.
#[utoipa::path(
    post, path = "/v1/query-certificate-jobs", tag = "licenses", request_body = QueryCertificateJobRequest,
    responses(
        (status = 202, description = "taken, and on record; `Location` says where it is", body = StampJobTaken),
        (status = 404, description = "`query_certificates_not_offered`: this site makes none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused as a whole; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_stamp_jobs`: as many of the app run as may; `query_certificates_used_up`: of today fewer are left than these", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_query_certificate_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<QueryCertificateJobRequest>,
) -> Result<Response, Problem> {
    let app = asking(&caller, KIND)?.clone();
    let request_id = crate::request_id::current();
    // In a task of its own: a caller that hangs up leaves no order half taken.
    let work = async move {
        let _place = place;
        take(&gateway, &app, request, request_id).await
    };
    let taken = tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())??;
    taken.answer(KIND)
}

async fn take(
    gateway: &Gateway,
    app: &App,
    request: QueryCertificateJobRequest,
    request_id: String,
) -> Result<StampJobTaken, Problem> {
    let rules = gateway.config.query_certificates.as_ref();
    let rules = rules.ok_or_else(Problem::query_certificates_not_offered)?;
    let sandbox = gateway.config.site.sandbox;
    let reading = gateway.judging.run(move || request.read(sandbox)).await?;
    let orders = reading.await.map_err(|_| Problem::panicked())??;
    let limit = u64::from(rules.per_app_and_day.get());
    if orders.sound() as u64 > limit {
        let detail =
            format!("an app may have {limit} certificates on a day, and these are {}", orders.sound());
        return Err(Problem::faults(vec![Fault::new("certificates", "batch_size", detail)]));
    }
    let at = OffsetDateTime::now_utc();
    let counted = make::counted(gateway, rules, at);
    let defaults = serde_json::to_vec(&orders.defaults).unwrap_or_default(); // it was JSON
    let job = ReadJob {
        kind: KIND,
        defaults: &defaults,
        documents: &orders.documents,
        counted: Some(counted),
        request_id,
    };
    let refusal = |error: &StoreError| match error {
        StoreError::Full { what: "count of a day", .. } => make::used_up(gateway, counted, at),
        other => Problem::from_stamp_jobs(other),
    };
    enter(gateway, app, job, refusal).await
}

/// Makes the certificate that a document of a job is to be. `keep` is given the signed certificate before the stamp on it
/// is on record, as of any job.
///
/// # Errors
/// Why there is none; then no stamp is on record either.
pub(crate) async fn make_of_job(
    gateway: &Gateway,
    stamp: StampAsked<'_>,
    document: &ClaimedDocument,
    place: DocumentPlace,
    keep: impl FnOnce(&[u8]) -> Result<StampedDocument, StoreError> + Send + 'static,
) -> Result<(), Problem> {
    let (defaults, order) = (body::parse(&document.defaults)?, body::parse(document.order.order.as_bytes())?);
    let asked = asked(&defaults, order, gateway.config.site.sandbox)?;
    let grant = FieldGrant::new(stamp.app.fields.iter().cloned());
    let (caller, asker) = (stamp.caller, stamp.asker);
    let ready = make::looked_up(gateway, &caller, &grant, asked).await?;
    let gateway = gateway.clone();
    // In a task of its own: what the agency's key did is on record, however long somebody waits for it.
    let work = async move {
        let noted = KeepStamp::Document(StampedDocument::clone);
        let made = make::signed(&gateway, asker, &caller, ready, keep, Some(noted)).await;
        drop(place);
        made.map(|made| gateway.metrics.query_certificate(made.snapshot.status.in_force))
    };
    tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// Jobs of query certificates of the app that asks; for who has the scope `maintenance`, of all.
#[utoipa::path(
    get, path = "/v1/query-certificate-jobs", tag = "licenses",
    responses((status = 200, description = "the newest first", body = StampJobList))
)]
pub(crate) async fn list_query_certificate_jobs(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<StampJobList>, Problem> {
    view::listed(&caller, &gateway, KIND).await
}

/// How far a job is, and what came of each certificate: its number, which is `stamp_id`, or why there is none.
#[utoipa::path(
    get, path = "/v1/query-certificate-jobs/{id}", tag = "licenses",
    params(
        ("id" = String, Path, description = "its id"),
        ("cursor" = Option<String>, Query, description = "`next` of the answer before"),
    ),
    responses(
        (status = 200, description = "the job", body = StampJobResponse),
        (status = 404, description = "`unknown_stamp_job`: there is none, or it is another app's", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_query_certificate_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<StampJobQuery>,
) -> Result<Json<StampJobResponse>, Problem> {
    view::shown(&caller, &gateway, KIND, &id, query).await
}

/// Have those certificates not made that have not begun. They do not count for the day.
#[utoipa::path(
    post, path = "/v1/query-certificate-jobs/{id}/cancel", tag = "licenses",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "cancelled, and on record; what had begun comes to its end", body = StampJobCancelled),
        (status = 404, description = "`unknown_stamp_job`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`stamp_job_finished`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel_query_certificate_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<StampJobCancelled>, Problem> {
    view::cancelled(&caller, &gateway, KIND, &id).await
}

/// A query certificate of a job.
#[utoipa::path(
    get, path = "/v1/query-certificate-jobs/{id}/documents/{n}/content", tag = "licenses",
    params(
        ("id" = String, Path, description = "the job's id"),
        ("n" = String, Path, description = "the certificate's place in the order, from 1 on"),
        ("if-none-match" = Option<String>, Header, description = "an `ETag` of an answer before"),
    ),
    responses(
        (status = 200, description = "the certificate", content((String = "application/pdf"))),
        (status = 304, description = "it is the same"),
        (status = 404, description = "`unknown_stamp_job`, `unknown_document`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`not_stamped`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_query_certificate_of_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Path((id, n)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    view::content(&caller, &gateway, KIND, (&id, &n), &headers).await
}

/// The query certificates that are made by now, as one ZIP, with `results.json` for all that were ordered.
#[utoipa::path(
    get, path = "/v1/query-certificate-jobs/{id}/content", tag = "licenses",
    params(("id" = String, Path, description = "the job's id")),
    responses(
        (status = 200, description = "the certificates, each called by its place in the order and its number", content((String = "application/zip"))),
        (status = 404, description = "`unknown_stamp_job`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_query_certificates_of_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    package::packed(&caller, &gateway, KIND, &id).await
}
