//! `POST /v1/verifications` and the same over many signatures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use formats::chain::TrustStore;
use formats::report::Item as Account;
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, Certificate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::{
    CmsVerification, Input, Judged, RawVerification, SignatureKind, Signer, VerificationAnswer,
    signature_item, signer_paths, validation_report, verify_cms, verify_raw,
};
use store::AuditEntry;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::batch::{self, Answers, Batch, Item};
use crate::body::{self, Faults, JsonBody, Object};
use crate::input::{FORMS, Form, InputBody, algorithm, signer_id};
use crate::judging::Judging;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::rendition::{Form as Shape, Rendition};
use crate::state::Gateway;
use crate::trust::TrustKeeper;

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
    /// Have the judgement put on record with digests of the signature and the answer; not in a batch. Default false.
    retain: Option<bool>,
}

/// A verdict; also a bad signature is an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerificationResponse {
    /// `{verdict, findings:[{code, detail}], signers:[…]}`
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: Verified,
    /// With `retain`: where the judgement stands in the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_index: Option<u64>,
    /// Which log that is, where several gateways share a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_log: Option<String>,
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
    /// For people, where somebody asked for that.
    #[serde(skip)]
    account: Option<Account>,
}

/// Verify a raw or CMS signature.
#[utoipa::path(
    post, path = "/v1/verifications", tag = "verifications", request_body = VerificationRequest,
    params(("accept-language" = Option<String>, Header, description = "language of a report: `zh` (default) or `en`")),
    responses(
        (status = 200, description = "judged: `verdict` is valid, invalid or indeterminate. With `Accept: application/pdf` or `text/plain` the report for people, the verdict in the header `x-verdict`, and what `audit_index` is otherwise in `x-audit-index`",
            content((VerificationResponse = "application/json"), (String = "application/pdf"), (String = "text/plain"))),
        (status = "4XX", description = "could not be judged; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_verification(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    rendition: Rendition,
    JsonBody(request): JsonBody<VerificationRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Verifications)?;
    let retained = request.retain.unwrap_or(false).then(|| request.signature.clone());
    // A SignedData may hold many signers: off the threads that keep the devices fed.
    let (judging, now) = (gateway.clone(), OffsetDateTime::now_utc());
    let judge = move || {
        let documents = judging.documents.current();
        let judge = Judge::new(&documents, &judging.judging, now).telling(&judging.trust);
        Judge { account: rendition.form != Shape::Json, ..judge }.one(&request)
    };
    let mut answer = tokio::task::spawn_blocking(judge).await.map_err(|_| Problem::panicked())??;
    gateway.metrics.judged("signature", answer.answer.judgement.verdict);
    gateway.tally.verified(&caller.actor(), "signature", answer.answer.judgement.verdict);
    let audit_index = match retained {
        Some(signature) => Some(retain(&gateway, &caller, &signature, &answer).await?),
        None => None,
    };
    if let Some(account) = answer.account.take() {
        let mut response = rendition.report(&gateway, now, move || account).await?;
        if let Some(index) = audit_index {
            response.headers_mut().insert("x-audit-index", HeaderValue::from(index));
        }
        return Ok(response);
    }
    let audit_log = audit_index.map(|_| gateway.audit.record().origin.clone());
    let request_id = crate::request_id::current();
    let response = VerificationResponse { answer, audit_index, audit_log, request_id };
    // Through Value, because the verdict's fields stand beside request_id.
    Ok(Json(serde_json::to_value(response).unwrap_or_default()).into_response())
}

/// Puts a judgement on record: digests of the signature and of the answer, by which whoever keeps both can show what was
/// judged, and how.
async fn retain(
    gateway: &Gateway,
    caller: &Authenticated,
    signature: &str,
    answer: &Verified,
) -> Result<u64, Problem> {
    let digest = |octets: &[u8]| hex::encode(HashAlgorithm::Sm3.digest(octets));
    let judgement = &answer.answer.judgement;
    let findings: Vec<_> = judgement.findings.iter().map(|finding| finding.code).collect();
    let document = serde_json::to_value(answer).unwrap_or_default();
    let verdict = document["verdict"].as_str().unwrap_or_default();
    let entry = AuditEntry {
        action: "verification.retained".to_owned(),
        actor: caller.actor(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: Some(digest(signature.as_bytes())),
        key: None,
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: Some(digest(document.to_string().as_bytes())),
        subject: Some(format!("{verdict} {}", findings.join(" ")).trim_end().to_owned()),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
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
    let actor: Arc<str> = caller.actor().into();
    let (request_id, now): (Arc<str>, _) = (crate::request_id::current().into(), OffsetDateTime::now_utc());
    let mut parts = Vec::new();
    for chunk in batch::chunks(batch.items) {
        let (judging, request_id, actor) = (gateway.clone(), Arc::clone(&request_id), Arc::clone(&actor));
        let judge = move || judge_items(&judging, &actor, &chunk, now, &request_id);
        parts.push(gateway.judging.run(judge).await?);
    }
    let mut answers = Vec::new();
    for part in parts {
        answers.push(part.await.map_err(|_| Problem::panicked())?);
    }
    drop(batch.place);
    Ok(batch::answer(&answers))
}

fn judge_items(
    gateway: &Gateway,
    actor: &str,
    items: &[Item],
    now: OffsetDateTime,
    request_id: &str,
) -> Answers {
    let documents = gateway.documents.current();
    let judge = Judge::new(&documents, &gateway.judging, now).telling(&gateway.trust);
    let mut answers = Answers::default();
    judge.items(items, |verified| {
        if let Ok(verified) = &verified {
            let verdict = verified.answer.judgement.verdict;
            gateway.metrics.judged("signature", verdict);
            gateway.tally.verified(actor, "signature", verdict);
        }
        answers.push(verified, request_id);
    });
    answers
}

/// A request that was checked.
struct Order {
    kind: Kind,
    signature: Vec<u8>,
    signer_id: Vec<u8>,
    at: OffsetDateTime,
    report: bool,
}

enum Kind {
    Raw {
        signer: Arc<Signer>,
        algorithm: Algorithm,
        input: Input,
    },
    /// It says itself who signed.
    SignedData {
        input: Option<Input>,
    },
}

impl Order {
    fn input(&self) -> Option<&Input> {
        match &self.kind {
            Kind::Raw { input, .. } => Some(input),
            Kind::SignedData { input } => input.as_ref(),
        }
    }

    fn signature_kind(&self) -> SignatureKind {
        match self.kind {
            Kind::Raw { .. } => SignatureKind::Raw,
            Kind::SignedData { .. } => SignatureKind::Cms,
        }
    }

    fn raw(&self) -> Option<RawVerification<'_>> {
        let Kind::Raw { signer, algorithm, input } = &self.kind else { return None };
        let (signature, signer_id) = (&self.signature, &self.signer_id);
        Some(RawVerification { signer, algorithm: *algorithm, input, signature, signer_id, at: self.at })
    }

    fn signed_data(&self) -> CmsVerification<'_> {
        let (signature, signer_id) = (&self.signature, &self.signer_id);
        CmsVerification { signature, input: self.input().cloned(), signer_id, at: self.at }
    }
}

/// Judges one request, or several at the same moment.
pub(crate) struct Judge<'g> {
    trust: &'g TrustStore,
    judging: &'g Judging,
    now: OffsetDateTime,
    /// Who is told of the certificates that come.
    keeper: Option<&'g TrustKeeper>,
    /// An account for people is asked for.
    account: bool,
}

impl<'g> Judge<'g> {
    pub(crate) fn new(trust: &'g TrustStore, judging: &'g Judging, now: OffsetDateTime) -> Self {
        Self { trust, judging, now, keeper: None, account: false }
    }

    /// The same; `keeper` is told of the certificates that come, which it may ask about later.
    fn telling(self, keeper: &'g TrustKeeper) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// Judges items of a batch; each has its answer, in their order.
    pub(crate) fn items(&self, items: &[Item], mut answer: impl FnMut(Result<Verified, Problem>)) {
        let read: Vec<_> = items.iter().map(|item| self.read(item)).collect();
        let orders: Vec<_> = read.iter().filter_map(|read| read.as_ref().ok()).collect();
        let mut judged = self.judge(&orders).into_iter();
        for read in read {
            let judged = read.and_then(|_| judged.next().expect("every order has its answer"));
            answer(judged);
        }
    }

    /// Reads one of a batch.
    fn read(&self, item: &Item) -> Result<Order, Problem> {
        let request: VerificationRequest = body::parse(item.get().as_bytes())?;
        if request.retain == Some(true) {
            let detail = "what is judged in a batch is not retained one by one";
            return Err(Problem::faults(vec![Fault::new("retain", "not_applicable", detail)]));
        }
        self.check(&request)
    }

    /// Turns words into types, reporting every fault at once.
    fn check(&self, asked: &VerificationRequest) -> Result<Order, Problem> {
        let mut faults = Faults::default();
        let signature = faults.base64("signature", &asked.signature);
        let at = faults.time("at", asked.at.as_deref(), self.now);
        let signer_id = signer_id(&mut faults, asked.signer_id.as_deref());
        let form = faults.word("format", asked.format.as_deref(), &FORMS, Form::Raw);
        let input = asked.input.as_ref().map(|input| input.0.check(&mut faults));
        let kind = if form == Some(Form::Raw) {
            self.raw(asked, input.flatten(), &mut faults)
        } else {
            for (field, given) in [("certificate", &asked.certificate), ("public_key", &asked.public_key)] {
                if given.is_some() {
                    faults.add(field, "not_applicable", "a SignedData names its signer itself");
                }
            }
            Some(Kind::SignedData { input: input.flatten() })
        };
        let report = asked.report.unwrap_or(false);
        let order =
            (|| Some(Order { kind: kind?, signature: signature?, signer_id: signer_id?, at: at?, report }))();
        faults.into_result(order)
    }

    /// Whose a raw signature should be, how it was made and over what.
    fn raw(&self, asked: &VerificationRequest, input: Option<Input>, faults: &mut Faults) -> Option<Kind> {
        if asked.algorithm.is_none() {
            faults.add("algorithm", "missing_field", "is required with format raw");
        }
        let algorithm = asked.algorithm.as_deref().and_then(|text| algorithm(faults, text));
        if asked.input.is_none() {
            faults.add("input", "missing_field", "is required with format raw");
        }
        let signer = self.signer(asked, faults);
        Some(Kind::Raw { signer: signer?, algorithm: algorithm?, input: input? })
    }

    /// Judges one request.
    pub(crate) fn one(&self, asked: &VerificationRequest) -> Result<Verified, Problem> {
        let order = self.check(asked)?;
        self.judge(&[&order]).pop().expect("one order has one answer")
    }

    /// Judges orders, raw signatures together.
    fn judge(&self, orders: &[&Order]) -> Vec<Result<Verified, Problem>> {
        let raw: Vec<_> = orders.iter().filter_map(|order| order.raw()).collect();
        let mut raw = verify_raw(self.trust, &raw).into_iter();
        let judge = |order: &&Order| {
            let answer = match order.raw() {
                Some(_) => raw.next().expect("every raw signature has its answer"),
                None => Ok(verify_cms(self.trust, order.signed_data())),
            };
            let answer = answer.map_err(|error| Problem::not_judgeable(&error))?;
            self.tell(order, &answer);
            Ok(self.verified(order, answer))
        };
        orders.iter().map(judge).collect()
    }

    /// The signers' certificates may be asked about later.
    fn tell(&self, order: &Order, answer: &VerificationAnswer) {
        let Some(keeper) = self.keeper.filter(|keeper| keeper.asks_about_callers()) else { return };
        match &order.kind {
            Kind::Raw { signer, .. } => signer.certificate().into_iter().for_each(|found| keeper.met(found)),
            Kind::SignedData { .. } => {
                let texts = answer.signers.iter().filter_map(|signer| signer.certificate.as_deref());
                for certificate in texts.filter_map(|pem| Certificate::from_pem(pem).ok()) {
                    keeper.met(&certificate);
                }
            }
        }
    }

    fn verified(&self, order: &Order, answer: VerificationAnswer) -> Verified {
        if !order.report && !self.account {
            return Verified { answer, report: None, account: None };
        }
        let (trust, kind) = (self.trust, order.signature_kind());
        let judged = Judged {
            name: None,
            signature: &order.signature,
            input: order.input(),
            at: order.at,
            judged_at: self.now,
            judgement: &answer.judgement,
            signers: &answer.signers,
            paths: &signer_paths(trust, kind, &order.signature, &answer.signers, order.at),
        };
        let report = order.report.then(|| validation_report(&judged));
        let account = self.account.then(|| signature_item(trust, kind, &judged, None));
        Verified { answer, report, account }
    }

    /// The signer; nothing if the request is at fault.
    fn signer(&self, asked: &VerificationRequest, faults: &mut Faults) -> Option<Arc<Signer>> {
        match (&asked.certificate, &asked.public_key) {
            (Some(pem), None) => {
                faults.parse("certificate", "invalid_certificate", self.judging.certificate(pem))
            }
            (None, Some(pem)) => {
                faults.parse("public_key", "invalid_public_key", self.judging.public_key(pem))
            }
            (None, None) => {
                let detail = "certificate or public_key is required with format raw";
                faults.add("certificate", "missing_field", detail);
                None
            }
            (Some(_), Some(_)) => {
                faults.add("public_key", "ambiguous_signer", "certificate and public_key exclude each other");
                None
            }
        }
    }
}
