//! `POST /v1/verifications` and the same over many signatures.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use formats::FormatError;
use formats::chain::TrustStore;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::{
    CmsVerification, Input, Judged, JudgedSigner, RawVerification, Signer, VerificationAnswer,
    validation_report, verify_cms, verify_raw,
};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::batch::{self, Batch, Item};
use crate::body::{self, Faults, JsonBody, Object};
use crate::input::{FORMS, Form, InputBody, algorithm, signer_id};
use crate::judging::Judging;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A signature to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerificationRequest {
    /// `raw` (default) or `cms`.
    format: Option<String>,
    /// How it was made; required with `raw`, not used with `cms`.
    #[schema(example = "sm2-sm3")]
    algorithm: Option<String>,
    /// What was signed; required with `raw`, with `cms` only if detached.
    #[schema(value_type = Option<InputBody>)]
    input: Option<Object<InputBody>>,
    /// base64: DER signature (RSA: the octets), or the SignedData.
    signature: String,
    /// With `raw`: the signer's certificate, PEM; it is judged too.
    certificate: Option<String>,
    /// With `raw`, instead of a certificate: a bare public key, PEM.
    public_key: Option<String>,
    /// Identifier in SM2's Z; default `1234567812345678`.
    signer_id: Option<String>,
    /// RFC 3339: the time the certificates must have been good at. Default now.
    at: Option<String>,
    /// Ask for a `report` in the structure of ETSI TS 119 102-2. Default false.
    report: Option<bool>,
}

/// A verdict; also a bad signature is an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerificationResponse {
    /// `{verdict, findings:[{code, detail}], signers:[…]}`
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: Verified,
    /// The request's id.
    request_id: String,
}

/// The answer on one signature.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    #[serde(flatten)]
    answer: VerificationAnswer,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

/// Verify a raw or CMS signature.
#[utoipa::path(
    post, path = "/v1/verifications", tag = "verifications", request_body = VerificationRequest,
    responses(
        (status = 200, description = "judged: `verdict` is valid, invalid or indeterminate", body = VerificationResponse),
        (status = "4XX", description = "could not be judged; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_verification(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<VerificationRequest>,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Verifications)?;
    // A SignedData may hold many signers: off the threads that keep the devices fed.
    let judging = gateway.clone();
    let judged = tokio::task::spawn_blocking(move || {
        Judge::new(&judging.documents, &judging.judging).verification(&request)
    })
    .await;
    let answer = judged.map_err(|_| Problem::panicked())??;
    gateway.metrics.judged("signature", answer.answer.judgement.verdict);
    let response = VerificationResponse { answer, request_id: crate::request_id::current() };
    // Through Value, because the verdict's fields stand beside request_id.
    Ok(Json(serde_json::to_value(response).unwrap_or_default()))
}

/// Up to 1,000 signatures.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is read item by item")]
pub(crate) struct VerificationBatch {
    items: Vec<VerificationRequest>,
}

/// Verify up to 1,000 raw or CMS signatures.
#[utoipa::path(
    post, path = "/v1/verifications:batch", tag = "verifications", request_body = VerificationBatch,
    responses(
        (status = 200, description = "`{items, request_id}`; each item as from `/v1/verifications`, or `{problem}` if it cannot be judged, in order", body = Object),
        (status = "4XX", description = "the batch cannot be read; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_verification_batch(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    batch: Batch,
) -> Result<Response, Problem> {
    caller.with(Scope::Verifications)?;
    let request_id: Arc<str> = crate::request_id::current().into();
    let mut parts = Vec::new();
    for chunk in batch::chunks(batch.items) {
        let (judging, request_id) = (gateway.clone(), Arc::clone(&request_id));
        parts.push(gateway.judging.run(move || judge_items(&judging, &chunk, &request_id)).await?);
    }
    let mut answers = Vec::new();
    for part in parts {
        answers.extend(part.await.map_err(|_| Problem::panicked())?);
    }
    drop(batch.place);
    Ok(batch::answer(&answers))
}

fn judge_items(gateway: &Gateway, items: &[Item], request_id: &str) -> Vec<Vec<u8>> {
    let mut judge = Judge::new(&gateway.documents, &gateway.judging);
    let mut item = |item: &Item| {
        let answer = judge.item(item)?;
        gateway.metrics.judged("signature", answer.answer.judgement.verdict);
        Ok(answer)
    };
    items.iter().map(|raw| batch::written(item(raw), request_id)).collect()
}

/// Judges one request, or several at the same moment, whose signers it judges once.
pub(crate) struct Judge<'g> {
    trust: &'g TrustStore,
    judging: &'g Judging,
    now: OffsetDateTime,
    /// By PEM text and time.
    signers: HashMap<(String, OffsetDateTime), Arc<JudgedSigner>>,
}

impl<'g> Judge<'g> {
    pub(crate) fn new(trust: &'g TrustStore, judging: &'g Judging) -> Self {
        Self { trust, judging, now: OffsetDateTime::now_utc(), signers: HashMap::new() }
    }

    /// Judges one of a batch.
    pub(crate) fn item(&mut self, item: &Item) -> Result<Verified, Problem> {
        let request: VerificationRequest = body::parse(item.get().as_bytes())?;
        self.verification(&request)
    }

    pub(crate) fn verification(&mut self, asked: &VerificationRequest) -> Result<Verified, Problem> {
        let mut faults = Faults::default();
        let signature = faults.base64("signature", &asked.signature);
        let at = faults.time("at", asked.at.as_deref(), self.now);
        let signer_id = signer_id(&mut faults, asked.signer_id.as_deref());
        let form = faults.word("format", asked.format.as_deref(), &FORMS, Form::Raw);
        let input = asked.input.as_ref().map(|input| input.0.check(&mut faults));
        if form != Some(Form::Raw) {
            for (field, given) in [("certificate", &asked.certificate), ("public_key", &asked.public_key)] {
                if given.is_some() {
                    faults.add(field, "not_applicable", "a SignedData names its signer itself");
                }
            }
            let parts = (|| Some((signature?, at?, signer_id?)))();
            let (signature, at, signer_id) = faults.into_result(parts)?;
            let input = input.flatten();
            let order =
                CmsVerification { signature: &signature, input: input.clone(), signer_id: &signer_id, at };
            let answer = verify_cms(self.trust, order);
            return Ok(self.verified(asked, answer, &signature, input.as_ref(), at));
        }
        if asked.algorithm.is_none() {
            faults.add("algorithm", "missing_field", "is required with format raw");
        }
        let algorithm = asked.algorithm.as_deref().and_then(|text| algorithm(&mut faults, text));
        if asked.input.is_none() {
            faults.add("input", "missing_field", "is required with format raw");
        }
        let signer = self.signer(asked, at, &mut faults);
        let parts = (|| Some((signature?, at?, signer_id?, algorithm?, input.flatten()?, signer?)))();
        let (signature, at, signer_id, algorithm, input, signer) = faults.into_result(parts)?;
        let order = RawVerification { algorithm, input, signature: &signature, signer_id: &signer_id };
        let answer = signer
            .and_then(|signer| verify_raw(self.trust, &signer, &order))
            .map_err(|error| Problem::not_judgeable(&error))?;
        Ok(self.verified(asked, answer, &signature, Some(&order.input), at))
    }

    fn verified(
        &self,
        asked: &VerificationRequest,
        answer: VerificationAnswer,
        signature: &[u8],
        input: Option<&Input>,
        at: OffsetDateTime,
    ) -> Verified {
        let report = asked.report.unwrap_or(false).then(|| {
            validation_report(&Judged {
                signature,
                input,
                at,
                judged_at: self.now,
                judgement: &answer.judgement,
                signers: &answer.signers,
            })
        });
        Verified { answer, report }
    }

    /// The signer, or why it cannot be judged; nothing if the request is at fault.
    fn signer(
        &mut self,
        asked: &VerificationRequest,
        at: Option<OffsetDateTime>,
        faults: &mut Faults,
    ) -> Option<Result<Arc<JudgedSigner>, FormatError>> {
        let judging = self.judging;
        let (pem, read): (&str, Result<Signer, FormatError>) = match (&asked.certificate, &asked.public_key) {
            (Some(pem), None) => (pem, judging.certificate(pem)),
            (None, Some(pem)) => (pem, judging.public_key(pem)),
            (None, None) => {
                let detail = "certificate or public_key is required with format raw";
                faults.add("certificate", "missing_field", detail);
                return None;
            }
            (Some(_), Some(_)) => {
                faults.add("public_key", "ambiguous_signer", "certificate and public_key exclude each other");
                return None;
            }
        };
        let signer = match asked.certificate {
            Some(_) => faults.parse("certificate", "invalid_certificate", read)?,
            None => faults.parse("public_key", "invalid_public_key", read)?,
        };
        let key = (pem.to_owned(), at?);
        if let Some(judged) = self.signers.get(&key) {
            return Some(Ok(Arc::clone(judged)));
        }
        let judged = JudgedSigner::new(self.trust, &signer, key.1).map(Arc::new);
        if let Ok(judged) = &judged {
            self.signers.insert(key, Arc::clone(judged));
        }
        Some(judged)
    }
}
