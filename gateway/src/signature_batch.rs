//! `POST /v1/signatures:batch`: many orders for signatures, one answer each, one entry in the audit log over all of them.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::KeyId;
use formats::Algorithm;
use serde::Serialize;
use signing::{ItemOutcome, ItemSignature, MadeBatch, MadeItem, OrderFacts, SignOrder};
use store::Keeping;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::batch::{self, Answers, Item, Orders};
use crate::body;
use crate::idempotency::{self, Held, Kept};
use crate::policies;
use crate::problem::{Problem, ProblemDocument};
use crate::signatures::{SignatureRequest, permit};
use crate::state::Gateway;

/// Of a request's time so much is left for recording and answering: this part of it.
const RESERVE: u32 = 10;

/// Up to 1,000 orders.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is read item by item")]
pub(crate) struct SignatureBatch {
    items: Vec<SignatureRequest>,
}

/// What came of a batch.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an answer that is written item by item")]
pub(crate) struct SignatureBatchResponse {
    /// One answer for each order, in order.
    items: Vec<ItemAnswer>,
    /// Where the batch stands in the audit log.
    audit_index: u64,
    /// Hexadecimal: Merkle root (RFC 9162 with SM3) over the items' `audit_record`; `input_digest` of that entry.
    items_root: String,
    /// The request's id.
    request_id: String,
}

/// The answer to one order of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ItemAnswer {
    /// A signature that verified in software and is on record.
    Signed {
        /// base64: the signature, or the whole SignedData.
        signature: String,
        /// As ordered.
        #[schema(value_type = String)]
        algorithm: Algorithm,
        /// As ordered.
        #[schema(value_type = String)]
        key: KeyId,
        /// The device that made it.
        device: String,
        /// The key's certificate, PEM.
        certificate: Option<String>,
        /// The text whose leaf hash stands for the item in `items_root`.
        audit_record: String,
    },
    /// An order that was not carried out.
    Refused {
        /// Why.
        problem: ProblemDocument,
        /// The text whose leaf hash stands for the item in `items_root`.
        audit_record: String,
    },
}

/// Sign up to 1,000 digests or messages with service keys.
#[utoipa::path(
    post, path = "/v1/signatures:batch", tag = "signatures", request_body = SignatureBatch,
    responses(
        (status = 200, description = "each item signed, verified and recorded, or refused with `problem`, in order", body = SignatureBatchResponse),
        (status = "4XX", description = "the batch cannot be read; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "nothing of it was recorded, so nothing leaves; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_signature_batch(
    caller: Authenticated,
    held: Option<Extension<Held>>,
    State(gateway): State<Gateway>,
    Orders { items, place }: Orders,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Signatures)?;
    let mut parts = Vec::new();
    for chunk in batch::chunks(items) {
        let reading = move || chunk.iter().map(read).collect::<Vec<_>>();
        parts.push(gateway.judging.run(reading).await?);
    }
    let keys = gateway.desk.keys();
    let mut permitted = Vec::new();
    for part in parts {
        for read in part.await.map_err(|_| Problem::panicked())? {
            permitted.push(read.and_then(|order| permit(app, &keys, &order.key).map(|()| order)));
        }
    }
    let facts: Vec<_> = permitted.iter().map(|order| order.as_ref().ok().map(OrderFacts::of)).collect();
    let (admission, refused) = policies::admit_each(&gateway, app, &facts).await?;
    let (mut orders, mut problems) = (Vec::new(), Vec::new());
    for (order, refused) in permitted.into_iter().zip(refused) {
        let (order, problem) = match refused.map_or(order, Err) {
            Ok(order) => (Ok(order), None),
            Err(problem) => (Err(problem.code()), Some(problem)),
        };
        orders.push(order);
        problems.push(problem);
    }
    let mut on_behalf = caller.caller();
    let reserve = gateway.config.server.request_deadline / RESERVE;
    on_behalf.deadline = on_behalf.deadline.map(|deadline| earlier(deadline, reserve));
    let kept = held.is_some();
    let signing = gateway.clone();
    // In a task of its own: a caller that hangs up does not keep what keys did off the record.
    let work = async move {
        let _place = place;
        let made = signing.desk.make_batch(&on_behalf, orders).await;
        for (place, item) in made.items.iter().enumerate() {
            if matches!(item.outcome, ItemOutcome::Failed(_)) {
                admission.not_signed(place);
            }
        }
        if let Some(problem) = for_the_moment(&made) {
            signing.desk.record_batch(&on_behalf, &made, None).await?;
            return Err(problem);
        }
        let (body, index_at) = written(&made, problems, &on_behalf.request_id);
        let answer = idempotency::ok(body, index_at);
        let keeping = held.map(|Extension(Held(claim))| {
            let answer = idempotency::fitting(answer.clone(), &on_behalf.request_id);
            Keeping { claim, answer }
        });
        let index = signing.desk.record_batch(&on_behalf, &made, keeping).await?;
        for item in &made.items {
            if let ItemOutcome::Signed(signature) = &item.outcome {
                signing.metrics.signed(signature.device.as_str(), signature.algorithm.name());
            }
        }
        Ok(answer.placed(index).body)
    };
    let body = tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())??;
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, json)], body).into_response();
    if kept {
        response.extensions_mut().insert(Kept);
    }
    Ok(response)
}

/// Reads one order.
pub(crate) fn read(item: &Item) -> Result<SignOrder, Problem> {
    body::parse::<SignatureRequest>(item.get().as_bytes())?.check()
}

/// What the devices are given of the time until `deadline`.
fn earlier(deadline: Instant, reserve: Duration) -> Instant {
    deadline.checked_sub(reserve).unwrap_or(deadline)
}

/// Why nothing of a batch was signed, if that may be different in a moment: then it is refused as a whole, and can be
/// sent again under its idempotency key.
fn for_the_moment(made: &MadeBatch) -> Option<Problem> {
    let mut failures = made.failures().map(Problem::from);
    if made.has_signatures() { None } else { failures.find(Problem::may_pass) }
}

/// The whole body without the place in the audit log, and where that goes.
fn written(made: &MadeBatch, problems: Vec<Option<Problem>>, request_id: &str) -> (Vec<u8>, usize) {
    let mut answers = Answers::default();
    for (item, problem) in made.items.iter().zip(problems) {
        answers.push(Ok(ItemAnswer::of(item, problem, request_id)), request_id);
    }
    let mut body = batch::opened(&[answers]);
    body.extend_from_slice(b",\"audit_index\":");
    let index_at = body.len();
    // A root is hexadecimal, an id of letters, digits and `._-`.
    let items_root = hex::encode(made.root);
    let tail = format!(",\"items_root\":\"{items_root}\",\"request_id\":\"{request_id}\"}}");
    body.extend_from_slice(tail.as_bytes());
    (body, index_at)
}

impl ItemAnswer {
    /// `problem`: what the order was refused with before anybody was asked.
    fn of(item: &MadeItem, problem: Option<Problem>, request_id: &str) -> Self {
        let audit_record = item.record.clone();
        let problem = match (&item.outcome, problem) {
            (ItemOutcome::Signed(signed), _) => return Self::signed(signed, audit_record),
            (ItemOutcome::Refused, Some(problem)) => problem,
            (ItemOutcome::Refused, None) => Problem::panicked(), // only what has a problem is given as refused
            (ItemOutcome::Failed(error), _) => error.into(),
        };
        Self::Refused { problem: problem.document(request_id.to_owned()), audit_record }
    }

    fn signed(item: &ItemSignature, audit_record: String) -> Self {
        Self::Signed {
            signature: STANDARD.encode(&item.signature),
            algorithm: item.algorithm,
            key: item.key.clone(),
            device: item.device.to_string(),
            certificate: item.certificate.as_ref().map(formats::Certificate::to_pem),
            audit_record,
        }
    }
}
