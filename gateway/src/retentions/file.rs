//! `GET /v1/retentions/{id}/file`: the file of a retention, held against its digests whenever it leaves.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use formats::scheme::HashAlgorithm;
use store::{KeptRetention, StoreError};

use super::record::RetentionRecord;
use super::show::{record, refused, seen};
use crate::auth::Authenticated;
use crate::body::Segment;
use crate::library::delivery::{Delivered, Wanted};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

const ACTION: &str = "retention.file";

/// The file of a license that is kept, octet for octet as it was shown.
#[utoipa::path(
    get, path = "/v1/retentions/{id}/file", tag = "licenses",
    params(
        ("id" = String, Path, description = "its number"),
        ("if-none-match" = Option<String>, Header, description = "`ETag`s of answers before"),
        ("range" = Option<String>, Header, description = "one range of octets; several are answered by the whole"),
        ("if-range" = Option<String>, Header, description = "the `ETag` that the range is about"),
    ),
    responses(
        (status = 200, description = "the file, which is held against SM3 and SHA-256 of its record first; `ETag` is its SM3",
            content((String = "application/ofd"), (String = "application/pdf"), (String = "application/pkix-cert"), (String = "application/json"))),
        (status = 206, description = "the range of it",
            content((String = "application/ofd"), (String = "application/pdf"), (String = "application/pkix-cert"), (String = "application/json"))),
        (status = 304, description = "it is the same"),
        (status = 404, description = "`unknown_retention`: there is none, or it is another app's and the scope `audit` is missing", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`retention_over`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`retention_broken`: what is kept is not what was kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_retained_file(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (kept, read) = seen(&gateway, &caller, &id, ACTION).await?;
    let octets = match contents(&gateway, &kept, &read).await {
        Ok(octets) => octets,
        Err(problem) => {
            gateway.metrics.retained_file("broken");
            return Err(refused(&gateway, &caller, ACTION, &kept.id, problem).await);
        }
    };
    let tag = format!("\"{}\"", read.file.sm3);
    let name = format!("{}.{}", kept.id, read.extension());
    let total = octets.len() as u64;
    let delivered = Delivered { tag: &tag, media_type: &read.file.media_type, name: &name, octets: total };
    let (code, range, outcome) = match Wanted::of(&headers, &tag, total) {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, None, "not_modified"),
        Wanted::Unsatisfiable => {
            let problem = Problem::range_not_satisfiable(total);
            return delivered.unsatisfiable(refused(&gateway, &caller, ACTION, &kept.id, problem).await);
        }
        Wanted::Whole => (StatusCode::OK, Some(0..=total.saturating_sub(1)), "whole"),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range), "partial"),
    };
    let is_head = method == Method::HEAD;
    let outcome = if is_head { "head" } else { outcome };
    // Before the first octet leaves.
    let recorded = if outcome == "whole" { "ok" } else { outcome };
    record(&gateway, &caller, ACTION, recorded, (kept.id.clone(), Some(read.file.sm3.clone()))).await?;
    gateway.metrics.retained_file(outcome);
    let body = match &range {
        Some(range) if !is_head => {
            let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(octets.len());
            let (start, end) = (place(*range.start()), place(range.end() + 1));
            Body::from(Bytes::from(octets).slice(start..end))
        }
        _ => Body::empty(),
    };
    delivered.answer(code, range.as_ref(), body, None)
}

/// The file, whole and as it was kept.
///
/// # Errors
/// `retention_broken` of one that is damaged or not there.
pub(super) async fn contents(
    gateway: &Gateway,
    kept: &KeptRetention,
    read: &RetentionRecord,
) -> Result<Vec<u8>, Problem> {
    let broken = |what: &str| Problem::retention_broken(&kept.id, what);
    let blob = gateway.store.retained_file(kept).await.map_err(|error| Problem::from_retentions(&error))?;
    let blob = blob.ok_or_else(|| broken("its file has no row"))?;
    // What the row says of its length decides what is read: the record says it too, and cannot be changed.
    if blob.octets != read.file.octets {
        return Err(broken("its file's row is not as it was"));
    }
    let octets = gateway.retained.read(&blob).await.map_err(|error| match error {
        StoreError::Altered { .. } | StoreError::Blobs { .. } => broken("its file is damaged or not there"),
        error => Problem::database(&error),
    })?;
    let hashed = tokio::task::spawn_blocking(move || {
        let digests =
            [HashAlgorithm::Sm3, HashAlgorithm::Sha256].map(|hash| hex::encode(hash.digest(&octets)));
        (digests, octets)
    });
    let ([sm3, sha256], octets) = hashed.await.map_err(|_| Problem::panicked())?;
    if sm3 == read.file.sm3 && sha256 == read.file.sha256 {
        Ok(octets)
    } else {
        Err(broken("its file is another one"))
    }
}
