//! `GET /v1/stamp-jobs/{id}/content`: what came of a job's documents in one ZIP, written while it goes out. No more of it
//! is held than a part of one document, a few that are on their way, and a line for each document.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use store::{Blobs, JobDocument, JobKind, StampJob, StoreError};
use tracing::Instrument;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::own;
use super::view::{PAGE, StampJobDocument, StampedResult, result_of};
use crate::auth::Authenticated;
use crate::body::Segment;
use crate::error::with_causes;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use crate::zipped::{AHEAD, Gone, Written, written_at};

/// Packages that are written at a time, no app's all of them; one more is answered 503.
pub(crate) const MOST_PACKING: usize = 8;
/// The file that says what came of each document.
const RESULTS: &str = "results.json";

/// What came of a document, in the package's list.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    document: StampJobDocument,
    /// Its name in the package.
    file: Option<String>,
}

/// Why a package ends before its end.
#[derive(Debug, thiserror::Error)]
enum NotPacked {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("its documents were removed meanwhile")]
    Removed,
    #[error("what came of a document cannot be had now: {0}")]
    Later(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error(transparent)]
    Write(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What is stamped by now, as one ZIP, with `results.json` for all of the job's documents.
#[utoipa::path(
    get, path = "/v1/stamp-jobs/{id}/content", tag = "stamps",
    params(("id" = String, Path, description = "the job's id")),
    responses(
        (status = 200, description = "the stamped documents, each called by its number and its stamp's; of a digest, the CMS over it", content((String = "application/zip"))),
        (status = 404, description = "`unknown_stamp_job`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `share_exceeded`: too many packages are written at a time", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stamped_documents(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    packed(&caller, &gateway, JobKind::Stamps, &id).await
}

/// What came of a job of a kind.
pub(crate) async fn packed(
    caller: &Authenticated,
    gateway: &Gateway,
    kind: JobKind,
    id: &str,
) -> Result<Response, Problem> {
    let job = own(caller, gateway, kind, id).await?;
    let place = gateway.stamp_jobs.packing.arrive(MOST_PACKING, None).ok_or_else(Problem::overloaded)?;
    if !place.claim(&job.app) {
        return Err(Problem::share_exceeded());
    }
    let fields = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.zip\"", job.id)),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(AHEAD);
    let gateway = gateway.clone();
    // Each part waits until the one before it is taken: who reads slowly holds up nobody else.
    let writing = async move {
        let _place = place;
        match write(&gateway, &job, &mut sender).await {
            Ok(()) | Err(NotPacked::Gone(_)) => {}
            Err(error) => {
                tracing::error!(
                    job = job.id,
                    error = with_causes(&error),
                    "a package could not be written to its end"
                );
                sender.abort(io::Error::other("the package could not be written to its end"));
            }
        }
    };
    tokio::spawn(writing.in_current_span());
    Ok((fields, Body::new(body)).into_response())
}

async fn write(
    gateway: &Gateway,
    job: &StampJob,
    sender: &mut Sender<Bytes, io::Error>,
) -> Result<(), NotPacked> {
    let written = Written::default();
    let mut zip = written.zip();
    let (mut behind, mut results) = (0, b"[".to_vec());
    loop {
        let documents = gateway.store.stamp_job_documents(job, behind, PAGE).await?;
        let Some(last) = documents.last() else { break };
        behind = last.n;
        for document in documents {
            let line = put(gateway, document, &mut zip, &written, sender).await?;
            results.extend_from_slice(if results.len() > 1 { b",\n" } else { b"\n" });
            serde_json::to_writer(&mut results, &line)?;
        }
    }
    if behind != job.total {
        return Err(NotPacked::Removed);
    }
    results.extend_from_slice(b"\n]\n");
    zip.start_file(RESULTS, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))?;
    zip.write_all(&results)?;
    zip.finish()?;
    Ok(written.send(sender).await?)
}

/// Puts what came of a document into the package, if something did.
async fn put(
    gateway: &Gateway,
    document: JobDocument,
    zip: &mut ZipWriter<StreamWriter<Written>>,
    written: &Written,
    sender: &mut Sender<Bytes, io::Error>,
) -> Result<Line, NotPacked> {
    let (n, result) = (document.n, result_of(gateway, &document).await);
    let mut line = Line { document: document.into(), file: None };
    let StampedResult { blob, stamp, extension, .. } = match result {
        Ok(Some(result)) => result,
        Ok(None) => return Ok(line),
        Err(problem) if problem.may_pass() => return Err(NotPacked::Later(problem.code().to_owned())),
        Err(problem) => {
            // Of this one alone: the others are as the log has them.
            line.document.fail(problem);
            return Ok(line);
        }
    };
    let blobs = &gateway.stamp_jobs.blobs;
    let mut ready = match blobs.part(&blob, 0).await {
        Ok(ready) => ready,
        Err(error @ (StoreError::Altered { .. } | StoreError::Blobs { .. })) => {
            // One that is lost does not keep the others back.
            line.document.fail(Problem::from_stamp_jobs(&error));
            return Ok(line);
        }
        Err(error) => return Err(error.into()),
    };
    let name = format!("{n:05}-{}.{extension}", stamp.id);
    // PDF and OFD are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let at = written_at(stamp.at, gateway.config.site.utc_offset);
    zip.start_file(&name, at.map_or(options, |at| options.last_modified_time(at)))?;
    for part in 1..=Blobs::parts(&blob) {
        zip.write_all(&ready)?;
        written.send(sender).await?;
        if part < Blobs::parts(&blob) {
            ready = blobs.part(&blob, part).await?;
        }
    }
    line.file = Some(name);
    Ok(line)
}
