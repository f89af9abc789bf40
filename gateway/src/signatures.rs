//! `POST /v1/signatures`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{GroupId, KeyId};
use formats::Algorithm;
use formats::cms::Family;
use serde::{Deserialize, Serialize};
use signing::{Input, Keep, KeyRing, OrderFacts, Receipt, SignOrder, SignatureFormat, SigningError};
use store::App;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Object};
use crate::idempotency::{self, Held, Kept};
use crate::input::{FORMS, Form, InputBody, algorithm, signer_id};
use crate::policies;
use crate::problem::{Problem, ProblemDocument};
use crate::request_id;
use crate::state::Gateway;

/// An order for one signature.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignatureRequest {
    /// Which key; `GET /v1/keys` lists those the app may use.
    #[schema(example = "demo-sm2")]
    key: String,
    /// `sm2-sm3`, `ecdsa-p256-sha256`, `rsa-pkcs1-sha256` or `rsa-pss-sha256`.
    #[schema(example = "sm2-sm3")]
    algorithm: String,
    /// What to sign.
    #[schema(value_type = InputBody)]
    input: Object<InputBody>,
    /// `raw` (default): the signature alone, DER for SM2 and ECDSA. `cms`: a SignedData with signed attributes.
    format: Option<String>,
    /// With `cms`: leave the content out. Default false; a digest can only be signed detached.
    detached: Option<bool>,
    /// With `cms`: `rfc5652` (default) or `gbt35275`.
    family: Option<String>,
    /// Identifier in SM2's Z; default `1234567812345678`.
    signer_id: Option<String>,
    /// The group the key must live in; refused if it lives in another.
    group: Option<String>,
}

/// A signature that verified in software and is on record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignatureResponse {
    /// Where it stands in the audit log.
    audit_index: u64,
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
    /// Which log that is, where several gateways share a database.
    audit_log: String,
    /// The request's id.
    request_id: String,
}

/// Sign a digest or a message with a service key.
#[utoipa::path(
    post, path = "/v1/signatures", tag = "signatures", request_body = SignatureRequest,
    responses(
        (status = 201, description = "signed, verified and recorded", body = SignatureResponse),
        (status = 409, description = "`key_not_active`: no version of the key signs now", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "no device could do it now or in time; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_signature(
    caller: Authenticated,
    held: Option<Extension<Held>>,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<SignatureRequest>,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Signatures)?;
    let order = request.check()?;
    permit(app, &gateway.desk.keys(), &order.key)?;
    request_id::note_key(&order.key);
    let admission = policies::admit(&gateway, app, OrderFacts::of(&order)).await?;
    let algorithm = order.algorithm;
    let caller = caller.caller();
    let (request_id, audit_log) = (caller.request_id.clone(), gateway.audit.record().origin.clone());
    let answer = Answer { algorithm, key: order.key.clone(), audit_log, request_id };
    let kept = held.is_some();
    let keep = held.map(|Extension(Held(claim))| {
        let answer = answer.clone();
        let kept = move |receipt: &Receipt| {
            let (body, index_at) = idempotency::unplaced(&answer.of(receipt));
            idempotency::created(body, index_at)
        };
        Keep { claim, answer: Box::new(kept) }
    });
    // In a task of its own: a caller that hangs up does not keep what its key did off the record.
    let (desk, on_behalf) = (gateway.desk.clone(), caller);
    let work = async move {
        let signed = desk.sign_keeping(&on_behalf, order, keep).await;
        // A signature whose record is in doubt was made, and counts.
        if signed.as_ref().is_err_and(|error| !matches!(error, SigningError::Record(_))) {
            admission.not_signed(0);
        }
        signed
    };
    let signing = tokio::spawn(work.in_current_span());
    let receipt = signing.await.map_err(|_| Problem::panicked())??;
    gateway.metrics.signed(receipt.device.as_str(), algorithm.name());
    let mut response = (StatusCode::CREATED, Json(answer.of(&receipt))).into_response();
    if kept {
        response.extensions_mut().insert(Kept);
    }
    Ok(response)
}

/// The part of an answer that is known before the signature.
#[derive(Clone)]
struct Answer {
    algorithm: Algorithm,
    key: KeyId,
    audit_log: String,
    request_id: String,
}

impl Answer {
    fn of(&self, receipt: &Receipt) -> SignatureResponse {
        SignatureResponse {
            audit_index: receipt.audit_index,
            signature: STANDARD.encode(&receipt.signature),
            algorithm: self.algorithm,
            key: self.key.clone(),
            device: receipt.device.to_string(),
            certificate: receipt.certificate.as_ref().map(formats::Certificate::to_pem),
            audit_log: self.audit_log.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

/// Whether the app may sign with the key: named by id or through its group.
pub(crate) fn permit(app: &App, keys: &KeyRing, key: &KeyId) -> Result<(), Problem> {
    let group = keys.group(key).ok_or_else(|| Problem::unknown_key(key.as_str()))?;
    if app.keys.contains(key) || app.groups.contains(group) {
        Ok(())
    } else {
        Err(Problem::key_not_permitted(key))
    }
}

impl SignatureRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(self) -> Result<SignOrder, Problem> {
        // A key's name that breaks the rule of names is the name of no key.
        let key = KeyId::parse(&self.key).map_err(|_| Problem::unknown_key(&self.key))?;
        let mut faults = Faults::default();
        let algorithm = algorithm(&mut faults, &self.algorithm);
        let input = self.input.0.check(&mut faults);
        let format = self.format(&mut faults, input.as_ref());
        let signer_id = signer_id(&mut faults, self.signer_id.as_deref());
        let group =
            self.group.as_deref().map(|group| faults.parse("group", "invalid_value", GroupId::parse(group)));
        let order = (|| {
            Some(SignOrder {
                key,
                group: group.flatten(),
                algorithm: algorithm?,
                input: input?,
                format: format?,
                signer_id: signer_id?,
            })
        })();
        faults.into_result(order)
    }

    fn format(&self, faults: &mut Faults, input: Option<&Input>) -> Option<SignatureFormat> {
        const FAMILIES: [(&str, Family); 2] = [("rfc5652", Family::Rfc5652), ("gbt35275", Family::Gbt35275)];
        let form = faults.word("format", self.format.as_deref(), &FORMS, Form::Raw)?;
        let family = faults.word("family", self.family.as_deref(), &FAMILIES, Family::Rfc5652);
        if form == Form::Raw {
            for (field, given) in [("detached", self.detached.is_some()), ("family", self.family.is_some())] {
                if given {
                    faults.add(field, "not_applicable", "has a meaning with format cms only");
                }
            }
            return Some(SignatureFormat::Raw);
        }
        let detached = self.detached.unwrap_or(false);
        if matches!(input, Some(Input::Digest(_))) && !detached {
            faults.add("detached", "digest_needs_detached", "a digest can only be signed detached");
        }
        Some(SignatureFormat::Cms { family: family?, detached })
    }
}
