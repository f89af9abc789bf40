//! `POST /v1/verifications`.

use axum::Json;
use axum::extract::State;
use formats::{Certificate, FormatError, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::{CmsVerification, RawVerification, Signer, VerificationAnswer, verify_cms, verify_raw};
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Object};
use crate::input::{FORMS, Form, InputBody, algorithm, signer_id};
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
}

/// A verdict; also a bad signature is an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerificationResponse {
    /// `{verdict, findings:[{code, detail}], signers:[…]}`
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: VerificationAnswer,
    /// The request's id.
    request_id: String,
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
    let judged = tokio::task::spawn_blocking(move || request.judge(&judging)).await;
    let answer = judged.map_err(|_| Problem::panicked())??;
    gateway.metrics.judged("signature", answer.judgement.verdict);
    let response = VerificationResponse { answer, request_id: crate::request_id::current() };
    // Through Value, because the verdict's fields stand beside request_id.
    Ok(Json(serde_json::to_value(response).unwrap_or_default()))
}

impl VerificationRequest {
    fn judge(&self, gateway: &Gateway) -> Result<VerificationAnswer, Problem> {
        let mut faults = Faults::default();
        let signature = faults.base64("signature", &self.signature);
        let at = faults.time("at", self.at.as_deref());
        let signer_id = signer_id(&mut faults, self.signer_id.as_deref());
        let form = faults.word("format", self.format.as_deref(), &FORMS, Form::Raw);
        let input = self.input.as_ref().map(|input| input.0.check(&mut faults));
        if form != Some(Form::Raw) {
            for (field, given) in [("certificate", &self.certificate), ("public_key", &self.public_key)] {
                if given.is_some() {
                    faults.add(field, "not_applicable", "a SignedData names its signer itself");
                }
            }
            let parts = (|| Some((signature?, at?, signer_id?)))();
            let (signature, at, signer_id) = faults.into_result(parts)?;
            let asked =
                CmsVerification { signature: &signature, input: input.flatten(), signer_id: &signer_id, at };
            return Ok(verify_cms(&gateway.documents, asked));
        }
        if self.algorithm.is_none() {
            faults.add("algorithm", "missing_field", "is required with format raw");
        }
        let algorithm = self.algorithm.as_deref().and_then(|text| algorithm(&mut faults, text));
        if self.input.is_none() {
            faults.add("input", "missing_field", "is required with format raw");
        }
        let signer = self.signer(&mut faults);
        let parts = (|| Some((signature?, at?, signer_id?, algorithm?, input.flatten()?, signer?)))();
        let (signature, at, signer_id, algorithm, input, signer) = faults.into_result(parts)?;
        let asked =
            RawVerification { algorithm, input, signature: &signature, signer, signer_id: &signer_id, at };
        verify_raw(&gateway.documents, &asked).map_err(|error| Problem::not_judgeable(&error))
    }

    fn signer(&self, faults: &mut Faults) -> Option<Signer> {
        let mut read = |field, code, parsed: Result<Signer, FormatError>| faults.parse(field, code, parsed);
        match (&self.certificate, &self.public_key) {
            (Some(pem), None) => {
                let certificate = Certificate::from_pem(pem).map(|c| Signer::Certificate(Box::new(c)));
                read("certificate", "invalid_certificate", certificate)
            }
            (None, Some(pem)) => read(
                "public_key",
                "invalid_public_key",
                PublicKey::from_pem(pem).map(|key| Signer::PublicKey(Box::new(key))),
            ),
            (None, None) => {
                faults.add(
                    "certificate",
                    "missing_field",
                    "certificate or public_key is required with format raw",
                );
                None
            }
            (Some(_), Some(_)) => {
                faults.add("public_key", "ambiguous_signer", "certificate and public_key exclude each other");
                None
            }
        }
    }
}
