//! `POST /v1/stamps:verify`: what a document was stamped with.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use formats::opened::Kind;
use serde::{Deserialize, Serialize};
use signing::{
    EvidenceAnswer, EvidencePackage, StampVerification, StampedAnswer, StampedFormat, judge_evidence,
    stamped_octets, verify_stamped,
};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::document::{self, DocumentBody, DocumentText};
use crate::auth::{Authenticated, Scope};
use crate::body::Faults;
use crate::input::signer_id;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// What a document is, as far as the caller says.
const FORMATS: [(&str, Option<StampedFormat>); 4] = [
    ("auto", None),
    ("list-proof", Some(StampedFormat::List)),
    ("ofd", Some(StampedFormat::Ofd)),
    ("pdf", Some(StampedFormat::Pdf)),
];

/// A stamped document to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampVerifyRequest {
    /// `auto` (default), `ofd`, `pdf`, or `list-proof`: an item of a stamped list with its proof.
    format: Option<String>,
    /// The document, base64; up to 16 MiB of it.
    #[schema(value_type = String)]
    document: DocumentText,
    /// Identifier in SM2's Z; default `1234567812345678`.
    signer_id: Option<String>,
    /// The stamp's evidence package, as `GET /v1/stamps/{id}/evidence` gives it: the document is judged at the time that it proves
    /// it to have existed at, by what the package brings.
    #[schema(value_type = Option<Object>)]
    evidence: Option<EvidencePackage>,
    /// RFC 3339: the time the certificates must have been good at, where no timestamp proves another. Default now.
    at: Option<String>,
}

/// A verdict on a document; also a forged one is an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StampVerifyResponse {
    /// `{verdict, findings:[{code, detail}], format, signatures:[…]}`; a PDF's `revisions`, an OFD package's `documents` and
    /// `pages`. Of an item of a list `proof:{item, index, size, hash}` and `signers:[…]` in place of `signatures`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: StampedAnswer,
    /// On the evidence package: `{verdict, findings, stamp_id, proven_at, records:[{verdict, findings, time, logged,
    /// good_until}]}`. One that is not valid has no say in the document's verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    evidence: Option<EvidenceAnswer>,
    /// The request's id.
    request_id: String,
}

/// Judge every signature of a stamped document: PDF or OFD; or an item of a stamped list.
#[utoipa::path(
    post, path = "/v1/stamps:verify", tag = "stamps", request_body = StampVerifyRequest,
    responses(
        (status = 200, description = "judged: `verdict` is valid, invalid, indeterminate or unsigned; each signature with what it covers and what came after it", body = StampVerifyResponse),
        (status = "4XX", description = "could not be judged; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_stamp_verify(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<StampVerifyRequest>,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Verifications)?;
    let (judging, now) = (gateway.clone(), OffsetDateTime::now_utc());
    let judge = move || {
        let document = request.check(now)?;
        let evidence = request.evidence.clone();
        let answer = document.judge(evidence.as_ref(), &judging.documents.current());
        drop(place);
        Ok::<_, Problem>(answer)
    };
    let (answer, evidence) = gateway.judging.run(judge).await?.await.map_err(|_| Problem::panicked())??;
    gateway.metrics.judged("document", answer.judgement().verdict);
    gateway.tally.verified(app.id.as_str(), "document", answer.judgement().verdict);
    let response = StampVerifyResponse { answer, evidence, request_id: crate::request_id::current() };
    // Through Value, because the verdict's fields stand beside request_id.
    Ok(Json(serde_json::to_value(response).unwrap_or_default()).into_response())
}

/// A document to be judged, read.
pub(crate) struct Stamped {
    octets: Bytes,
    format: StampedFormat,
    signer_id: Vec<u8>,
    at: OffsetDateTime,
}

impl StampVerifyRequest {
    /// The evidence that comes with it.
    pub(crate) fn evidence(&self) -> Option<&EvidencePackage> {
        self.evidence.as_ref()
    }

    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(&self, now: OffsetDateTime) -> Result<Stamped, Problem> {
        let mut faults = Faults::default();
        let at = faults.time("at", self.at.as_deref(), now);
        let signer_id = signer_id(&mut faults, self.signer_id.as_deref());
        let format = faults.word("format", self.format.as_deref(), &FORMATS, None);
        let octets = self.document.octets(&mut faults);
        let format = match (format, &octets) {
            (Some(Some(format)), _) => Some(format),
            (Some(None), Some(octets)) => {
                let found = recognised(octets);
                if found.is_none() {
                    faults.add(
                        "document",
                        "document_not_recognised",
                        "is neither a PDF nor an OFD package, nor a list proof",
                    );
                }
                found
            }
            _ => None,
        };
        let stamped =
            (|| Some(Stamped { octets: octets?, format: format?, signer_id: signer_id?, at: at? }))();
        faults.into_result(stamped)
    }
}

fn recognised(octets: &[u8]) -> Option<StampedFormat> {
    match document::recognised(octets)? {
        Kind::Pdf => Some(StampedFormat::Pdf),
        Kind::Ofd => Some(StampedFormat::Ofd),
        Kind::ListProof => Some(StampedFormat::List),
        _ => None,
    }
}

impl Stamped {
    /// With evidence that holds, at the time that it proves and by what it brings.
    pub(crate) fn judge(
        &self,
        evidence: Option<&EvidencePackage>,
        trust: &formats::TrustStore,
    ) -> (StampedAnswer, Option<EvidenceAnswer>) {
        let stamped = stamped_octets(&self.octets, self.format);
        let evidence = evidence.map(|package| judge_evidence(trust, package, &stamped, self.at));
        let grounds = evidence.as_ref().and_then(EvidenceAnswer::grounds);
        let (trust, at) = grounds.unwrap_or((trust, self.at));
        let answer = verify_stamped(
            trust,
            StampVerification { document: &self.octets, format: self.format, signer_id: &self.signer_id, at },
        );
        (answer, evidence)
    }
}
