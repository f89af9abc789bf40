//! How a job of either kind comes in: on record, with its documents, all of it or nothing.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{App, DayLimit, Failure, JobKind, NewDocument, NewStampJob, StoreError};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{entry, names, record};
use crate::problem::{Fault, Problem};
use crate::state::Gateway;

/// Characters of a document's name.
const LONGEST_NAME: usize = 200;

/// A job that was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampJobTaken {
    /// Its id.
    job: String,
    /// How many documents it has.
    total: usize,
    /// How many of them cannot be stamped as they are ordered.
    failed: usize,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A job that was read.
pub(crate) struct ReadJob<'a> {
    pub(crate) kind: JobKind,
    /// JSON: what all its documents' orders have in common.
    pub(crate) defaults: &'a [u8],
    pub(crate) documents: &'a [NewDocument],
    /// What each of them counts for.
    pub(crate) counted: Option<DayLimit<'a>>,
    pub(crate) request_id: String,
}

impl StampJobTaken {
    /// The answer to the order.
    pub(crate) fn answer(self, kind: JobKind) -> Result<Response, Problem> {
        let location = HeaderValue::try_from(format!("{}/{}", names(kind).path, self.job));
        let location = location.map_err(|_| Problem::panicked())?;
        Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(self)).into_response())
    }
}

/// Enters a job, and wakes those who work. `refusal` says what it means that the store refuses.
pub(crate) async fn enter(
    gateway: &Gateway,
    app: &App,
    job: ReadJob<'_>,
    refusal: impl FnOnce(&StoreError) -> Problem,
) -> Result<StampJobTaken, Problem> {
    let ReadJob { kind, defaults, documents, counted, request_id } = job;
    let failed = documents.iter().filter(|document| document.failed.is_some()).count();
    let id = format!("{}_{:032x}", names(kind).id, fastrand::u128(..));
    let most = gateway.config.stamp_jobs.most_running;
    let total = documents.len();
    let subject = format!("{id}: {total} documents");
    let entry = entry(kind, "order", app.id.to_string(), request_id.clone(), subject);
    record(gateway, &entry, "intended").await?;
    let job =
        NewStampJob { id: &id, app: &app.id, kind, counted, request_id: &request_id, defaults, documents };
    let inserted = gateway.store.insert_stamp_job(&job, most, OffsetDateTime::now_utc()).await;
    let inserted = inserted.map_err(|error| refusal(&error));
    let outcome = inserted.as_ref().map_or_else(Problem::code, |()| "ok");
    let audit_index = record(gateway, &entry, outcome).await?;
    inserted?;
    gateway.stamp_jobs.ordered.notify_one();
    Ok(StampJobTaken { job: id, total, failed, audit_index, request_id })
}

/// Takes what a document is called out of its order.
pub(crate) fn document_name(order: &mut Map<String, Value>) -> Result<Option<String>, Problem> {
    match order.remove("name") {
        None => Ok(None),
        Some(Value::String(name)) if (1..=LONGEST_NAME).contains(&name.chars().count()) => Ok(Some(name)),
        Some(_) => {
            let detail = format!("must be a text of 1 to {LONGEST_NAME} characters");
            Err(Problem::faults(vec![Fault::new("name", "invalid_value", detail)]))
        }
    }
}

/// A refusal as it is kept.
pub(crate) fn failure(problem: Problem) -> Failure {
    let code = problem.code().to_owned();
    Failure { code, detail: problem.document(String::new()).detail }
}
