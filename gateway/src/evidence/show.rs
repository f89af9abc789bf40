//! Evidence packages, for whoever may see a stamp or holds its check code.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use signing::{EVIDENCE_FORMAT, EvidencePackage};
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Peer};
use crate::body::Segment;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::{check, make};
use crate::state::Gateway;

/// What a stamp will be verified with when its certificates are no more.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "it describes what is written from another crate's type")]
pub(crate) struct EvidenceDocument {
    /// `license-gateway stamp evidence 1`.
    format: String,
    /// What it is about: document's SM3, number and time of the stamp, and SM3 of what its certificates were judged by; JSON.
    core: String,
    /// Timestamps over the core and the records before, JSON each.
    records: Vec<String>,
    /// base64 by SM3: certificates, CRLs, OCSP answers, timestamps and proofs of the audit log.
    #[schema(value_type = Object)]
    items: BTreeMap<String, String>,
}

/// How it stands with a stamp's evidence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceState {
    /// How often it was timestamped.
    timestamps: usize,
    /// When it will be again, RFC 3339.
    renewal_due: String,
}

/// How it stands with the evidence of a stamp; none before it was taken.
pub(crate) async fn state(gateway: &Gateway, stamp: &str) -> Result<Option<EvidenceState>, Problem> {
    let kept = gateway.store.evidence(stamp).await.map_err(|error| Problem::database(&error))?;
    Ok(kept.map(|kept| EvidenceState {
        timestamps: kept.records.len(),
        renewal_due: kept.due_at.format(&Rfc3339).unwrap_or_default(),
    }))
}

/// The evidence package of a stamp: keep it beside the document, and give it to who verifies it later.
#[utoipa::path(
    get, path = "/v1/stamps/{id}/evidence", tag = "stamps",
    params(("id" = String, Path, description = "the stamp's number, `stamp_id` in answers")),
    responses(
        (status = 200, description = "the package", body = EvidenceDocument),
        (status = 404, description = "`unknown_stamp`; `no_evidence`: it is not taken yet, or not kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_evidence(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let found = make::stamp_for(&caller, &gateway, &id).await?;
    package(&gateway, &found.stamp.id).await
}

/// The evidence package of a stamp, for whoever holds the document. No credentials are needed; the code is one.
#[utoipa::path(
    get, path = "/verify/{code}/evidence", tag = "stamps",
    params(("code" = String, Path, description = "the check code, with or without its hyphens")),
    responses(
        (status = 200, description = "the package", body = EvidenceDocument),
        (status = "4XX", description = "refused; `unknown_stamp`, `no_evidence`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_evidence_of_code(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    Segment(code): Segment,
) -> Result<Response, Problem> {
    let found = check::stamp_of_code(&gateway, &peer, &code).await?;
    package(&gateway, &found.stamp.id).await
}

async fn package(gateway: &Gateway, stamp: &str) -> Result<Response, Problem> {
    let failed = |error| Problem::database(&error);
    let kept = gateway.store.evidence(stamp).await.map_err(failed)?.ok_or_else(Problem::no_evidence)?;
    let mut items = BTreeMap::new();
    for digest in kept.items {
        let octets = gateway.evidence.get(&digest).await.map_err(failed)?;
        items.insert(hex::encode(digest), STANDARD.encode(octets));
    }
    let package =
        EvidencePackage { format: EVIDENCE_FORMAT.to_owned(), core: kept.core, records: kept.records, items };
    let named = format!("attachment; filename=\"evidence-{stamp}.json\"");
    let fields = [
        (header::CONTENT_DISPOSITION, named),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((fields, Json(package)).into_response())
}
