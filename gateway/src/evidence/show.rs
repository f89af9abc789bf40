//! Evidence packages, for whoever may see a stamp or holds its check code.

use std::collections::BTreeMap;
use std::io;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use serde_json::json;
use signing::{EVIDENCE_FORMAT, EvidencePackage, MOST_EVIDENCE_ITEMS};
use store::{KeptEvidence, StoreError};
use time::format_description::well_known::Rfc3339;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::admission::Place;
use crate::auth::{Authenticated, Peer, throttle};
use crate::body::Segment;
use crate::error::with_causes;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::{check, show};
use crate::state::Gateway;
use crate::zipped::AHEAD;

/// Octets of a package at most, before its contents are written in base64. A body of `/v1/stamps:verify` has room for document and
/// package of 16 MiB together; the command judges whatever leaves. That of a site with lists of usual size has some ten thousand.
const MOST_OCTETS: u64 = 16 << 20;
/// Packages that go to strangers at a time, and to one source: each may hold a content of [`MOST_OCTETS`] while it is read slowly.
const MOST_SHOWING: usize = 8;
const MOST_OF_A_SOURCE: usize = 2;
/// Octets of a content that are written at a time; in base64 they end without padding.
const PART: usize = 192 << 10;

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
        (status = 409, description = "`evidence_too_large`: it has more than 16 MiB", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_evidence(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let found = show::stamp_for(&caller, &gateway, &id).await?;
    streamed(gateway, &found.stamp.id, None).await
}

/// The evidence package of a stamp, for whoever holds the document. No credentials are needed; the code is one.
#[utoipa::path(
    get, path = "/verify/{code}/evidence", tag = "stamps",
    params(("code" = String, Path, description = "the check code, with or without its hyphens")),
    responses(
        (status = 200, description = "the package", body = EvidenceDocument),
        (status = "4XX", description = "refused; `unknown_stamp`, `no_evidence`, `evidence_too_large`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; `overloaded`: too many packages go out at a time, or to this source; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_evidence_of_code(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    Segment(code): Segment,
) -> Result<Response, Problem> {
    let found = check::stamp_of_code(&gateway, &peer, &code).await?;
    let source = match peer {
        Peer::Network(address) => Some(throttle::source(address.ip())),
        Peer::Local(_) => None,
    };
    let place = gateway.showing.arrive_by(MOST_SHOWING, source, MOST_OF_A_SOURCE);
    let place = place.ok_or_else(Problem::overloaded)?;
    streamed(gateway, &found.stamp.id, Some(place)).await
}

/// What there is of a stamp, if it is no more than leaves the gateway.
async fn kept(gateway: &Gateway, stamp: &str) -> Result<KeptEvidence, Problem> {
    let failed = |error| Problem::database(&error);
    let kept = gateway.store.evidence(stamp).await.map_err(failed)?.ok_or_else(Problem::no_evidence)?;
    let texts = kept.records.iter().chain([&kept.core]);
    let mut octets = texts.map(|text| text.len() as u64).sum::<u64>();
    if kept.items.len() > MOST_EVIDENCE_ITEMS {
        tracing::warn!(stamp, "the evidence of a stamp has more contents than leave the gateway");
        return Err(Problem::evidence_too_large(MOST_OCTETS));
    }
    for digest in &kept.items {
        octets += gateway.evidence.octets(digest).await.map_err(failed)?;
        if octets > MOST_OCTETS {
            tracing::warn!(stamp, "the evidence of a stamp is larger than what leaves the gateway");
            return Err(Problem::evidence_too_large(MOST_OCTETS));
        }
    }
    Ok(kept)
}

/// The package of a stamp, whole.
pub(super) async fn package(gateway: &Gateway, stamp: &str) -> Result<EvidencePackage, Problem> {
    let KeptEvidence { core, records, items: named, .. } = kept(gateway, stamp).await?;
    let mut items = BTreeMap::new();
    for digest in named {
        let octets = gateway.evidence.get(&digest).await.map_err(|error| Problem::database(&error))?;
        items.insert(hex::encode(digest), STANDARD.encode(octets));
    }
    Ok(EvidencePackage { format: EVIDENCE_FORMAT.to_owned(), core, records, items })
}

/// The package as it goes out: written piece by piece, so that who reads slowly keeps no more than a content of it here. A
/// stranger's place is held until it has gone.
async fn streamed(gateway: Gateway, stamp: &str, place: Option<Place>) -> Result<Response, Problem> {
    let kept = kept(&gateway, stamp).await?;
    // Each is read before anything leaves: what is damaged is told by a problem, and not by a package that ends early.
    for digest in &kept.items {
        gateway.evidence.get(digest).await.map_err(|error| Problem::database(&error))?;
    }
    let fields = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"evidence-{stamp}.json\"")),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(AHEAD);
    let writing = async move {
        let _place = place;
        if let Err(error) = write(&gateway, kept, &mut sender).await {
            tracing::error!(
                error = with_causes(&error),
                "an evidence package could not be written to its end"
            );
            sender.abort(io::Error::other("the package could not be written to its end"));
        }
    };
    tokio::spawn(writing.in_current_span());
    Ok((fields, Body::new(body)).into_response())
}

async fn write(
    gateway: &Gateway,
    kept: KeptEvidence,
    sender: &mut Sender<Bytes, io::Error>,
) -> Result<(), StoreError> {
    let KeptEvidence { core, records, items, .. } = kept;
    let texts = json!({"format": EVIDENCE_FORMAT, "core": core, "records": records}).to_string();
    // One object: the contents are put in before its end.
    let head = format!("{},\"items\":{{", texts.strip_suffix('}').unwrap_or(&texts));
    let mut piece = head.into_bytes();
    for (index, digest) in items.iter().enumerate() {
        let octets = gateway.evidence.get(digest).await?;
        let begin = format!("{}\"{}\":\"", if index == 0 { "" } else { "," }, hex::encode(digest));
        piece.extend_from_slice(begin.as_bytes());
        for part in octets.chunks(PART) {
            piece.extend_from_slice(STANDARD.encode(part).as_bytes());
            if piece.len() >= PART && !sent(sender, &mut piece).await {
                return Ok(());
            }
        }
        piece.push(b'"');
    }
    piece.extend_from_slice(b"}}");
    sent(sender, &mut piece).await;
    Ok(())
}

/// Hands a piece over as soon as somebody takes it; false where nobody does any more.
async fn sent(sender: &mut Sender<Bytes, io::Error>, piece: &mut Vec<u8>) -> bool {
    sender.send_data(Bytes::from(std::mem::take(piece))).await.is_ok()
}
