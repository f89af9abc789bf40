//! `PUT /v1/uploads`: a document that orders then speak of by its digest. It goes through the gateway in parts.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::AppId;
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::Serialize;
use store::{JobKind, Upload, UploadRoom};
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{MOST_UPLOADING, asking};
use crate::auth::Authenticated;
use crate::body::Patience;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Octets of an upload.
const MOST_OCTETS: u64 = 64 << 20;
/// Uploads of an app that are kept at a time.
const MOST_KEPT: u64 = 10_000;
const MEDIA_TYPES: [&str; 3] = ["application/pdf", "application/ofd", "application/octet-stream"];

/// A document that is kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct UploadResponse {
    /// What orders call it: SM3 over it, hexadecimal. The same document is the same upload.
    upload: String,
    /// Its octets.
    octets: u64,
    /// Until when it is kept; for as long as a job waits for it in any case.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// The request's id.
    request_id: String,
}

/// Keep a document that jobs of stamps are then about. To send it again has it kept for longer.
#[utoipa::path(
    put, path = "/v1/uploads", tag = "stamps",
    request_body(content(
        ("application/pdf"), ("application/ofd"), ("application/octet-stream"),
    ), description = "the document, up to 64 MiB; of a signed request up to `server.body_limit` times 24"),
    responses(
        (status = 201, description = "kept", body = UploadResponse),
        (status = 200, description = "it was there already, and is kept for longer", body = UploadResponse),
        (status = 409, description = "`upload_quota`: the app's uploads have as many octets as they may", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_upload(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let app = asking(&caller, JobKind::Stamps)?.id.clone();
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or_default();
    if !MEDIA_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Err(Problem::upload_media_type());
    }
    let place = gateway.stamp_jobs.uploading.arrive(MOST_UPLOADING, None).ok_or_else(Problem::overloaded)?;
    if !place.claim(&app) {
        return Err(Problem::share_exceeded());
    }
    let room = room(&gateway);
    let used = gateway.store.upload_use(&app).await.map_err(|error| Problem::from_stamp_jobs(&error))?;
    let left = room.octets.saturating_sub(used.0);
    if body.size_hint().lower() > MOST_OCTETS {
        return Err(Problem::body_too_large(limit()));
    }
    if left == 0 || body.size_hint().lower() > left {
        return Err(quota_used_up(room));
    }
    let blob = received(&gateway, &app, body, left.min(MOST_OCTETS), left < MOST_OCTETS).await?;
    let (Upload { blob, expires_at }, is_new) = keep(&gateway, blob).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let request_id = crate::request_id::current();
    let response =
        UploadResponse { upload: hex::encode(blob.sm3), octets: blob.octets, expires_at, request_id };
    Ok((status, Json(response)).into_response())
}

fn limit() -> usize {
    usize::try_from(MOST_OCTETS).unwrap_or(usize::MAX)
}

fn room(gateway: &Gateway) -> UploadRoom {
    UploadRoom { octets: gateway.config.stamp_jobs.upload_octets, count: MOST_KEPT }
}

fn quota_used_up(room: UploadRoom) -> Problem {
    let most = usize::try_from(room.octets).unwrap_or(usize::MAX);
    Problem::from_stamp_jobs(&store::StoreError::Full { what: "upload", most, in_force: true })
}

/// Writes a body as it comes. It may take its time only as long as it comes fast enough.
async fn received(
    gateway: &Gateway,
    app: &AppId,
    mut body: Body,
    most: u64,
    is_quota: bool,
) -> Result<store::Blob, Problem> {
    let failed = |error: store::StoreError| Problem::from_stamp_jobs(&error);
    let patience = Patience::of(&gateway.config.server);
    let start = Instant::now();
    let mut writer = gateway.stamp_jobs.blobs.writer(app).await.map_err(failed)?;
    let mut octets = 0_u64;
    loop {
        let earned = std::time::Duration::from_secs_f64(octets as f64 / patience.rate as f64);
        let frame = tokio::time::timeout_at(start + patience.time + earned, body.frame()).await;
        match frame.map_err(|_| Problem::body_timeout())? {
            None => return writer.finish().await.map_err(failed),
            Some(Err(_)) => return Err(Problem::body_broken()),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue }; // trailers say nothing to us
                octets += data.len() as u64;
                if octets > most {
                    return Err(if is_quota {
                        quota_used_up(room(gateway))
                    } else {
                        Problem::body_too_large(limit())
                    });
                }
                writer.write(&data).await.map_err(failed)?;
            }
        }
    }
}

/// Enters a document that was written; one that was there already is kept in its place.
async fn keep(gateway: &Gateway, blob: store::Blob) -> Result<(Upload, bool), Problem> {
    keep_all(gateway, std::slice::from_ref(&blob)).await?.pop().ok_or_else(Problem::panicked)
}

/// The same of documents of one app, all of them or none.
pub(super) async fn keep_all(
    gateway: &Gateway,
    blobs: &[store::Blob],
) -> Result<Vec<(Upload, bool)>, Problem> {
    let now = OffsetDateTime::now_utc();
    let expires_at = now + gateway.config.stamp_jobs.upload_lifetime;
    let kept = gateway.store.keep_uploads(blobs, room(gateway), expires_at, now).await;
    let unwanted = match &kept {
        Ok(kept) => kept.iter().zip(blobs).filter(|((_, is_new), _)| !is_new).map(|(_, blob)| blob).collect(),
        Err(store::StoreError::Full { .. }) => blobs.iter().collect(),
        // Whether they are entered is not known: if they are not, they are swept away.
        Err(_) => Vec::new(),
    };
    for blob in unwanted {
        if let Err(error) = gateway.stamp_jobs.blobs.remove(&blob.name).await {
            tracing::warn!(%error, "a document that nothing names stays until it is swept away");
        }
    }
    kept.map_err(|error| Problem::from_stamp_jobs(&error))
}
