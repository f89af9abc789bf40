//! `POST /v1/timestamps`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::scheme::HashAlgorithm;
use formats::tsp::{Imprint, Nonce, TimestampRequest};
use serde::{Deserialize, Serialize};
use signing::{Asker, SigningError, TimestampError, TimestampForm};
use store::AuditEntry;
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;

use super::outside::OutsideToken;
use super::policy;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Object};
use crate::judging::beside;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// The hash functions by the names callers use.
const HASHES: [(&str, HashAlgorithm); 4] = [
    ("sm3", HashAlgorithm::Sm3),
    ("sha256", HashAlgorithm::Sha256),
    ("sha384", HashAlgorithm::Sha384),
    ("sha512", HashAlgorithm::Sha512),
];

/// What is to be stamped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimestampRequestBody {
    /// What to stamp.
    #[schema(value_type = StampedInput)]
    input: Object<StampedInput>,
    /// The hash function: `sm3`, `sha256`, `sha384` or `sha512`. Default `sm3`, with the form `rfc3161` `sha256`.
    #[schema(example = "sm3")]
    algorithm: Option<String>,
    /// `gbt20520`: GB/T 20520 with SM2, over SM3. `rfc3161`: RFC 3161 with P-256 or RSA. Default: what goes with the
    /// hash function.
    #[schema(example = "gbt20520")]
    form: Option<String>,
    /// base64: 1 to 63 octets that the token repeats, as a number whose most significant octet comes first.
    nonce: Option<String>,
    /// The policy, dotted; the authority's usual one if absent.
    policy: Option<String>,
    /// Whether the token holds the authority's certificate. Default true.
    certificates: Option<bool>,
    /// `own` (default): the site's authority. `outside`: the one outside that the site is configured with; `form` and
    /// `nonce` have no meaning then.
    source: Option<String>,
}

/// Exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampedInput {
    /// The digest, base64, as long as the hash function makes it.
    digest: Option<String>,
    /// The data, base64; it is hashed here.
    data: Option<String>,
}

/// A timestamp that is on record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimestampResponse {
    /// base64: TimeStampToken, DER.
    token: String,
    /// `rfc3161` or `gbt20520`; absent of one from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    /// Its serial number, lower-case hexadecimal.
    #[schema(example = "1f00000000000000a7")]
    serial: String,
    /// The time it vouches for.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    gen_time: OffsetDateTime,
    /// How far that may be off, in milliseconds; absent if the authority does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_ms: Option<f64>,
    /// The policy it was made under.
    policy: String,
    /// The key; absent of one from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The device; absent of one from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// Which log that is, where several gateways share a database.
    audit_log: String,
    /// The request's id.
    request_id: String,
}

/// Who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Own,
    Outside,
}

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct Order {
    maker: Maker,
    form: Option<TimestampForm>,
    request: TimestampRequest,
}

impl TimestampRequestBody {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(self) -> Result<Order, Problem> {
        const MAKERS: [(&str, Maker); 2] = [("own", Maker::Own), ("outside", Maker::Outside)];
        let mut faults = Faults::default();
        let maker = faults.word("source", self.source.as_deref(), &MAKERS, Maker::Own);
        let known = TimestampForm::NAMES.map(|(name, form)| (name, Some(form)));
        let form = faults.word("form", self.form.as_deref(), &known, None);
        let usual = match form.flatten() {
            Some(TimestampForm::Rfc3161) => HashAlgorithm::Sha256,
            Some(TimestampForm::Gbt20520) | None => HashAlgorithm::Sm3,
        };
        let hash = faults.word("algorithm", self.algorithm.as_deref(), &HASHES, usual);
        let national = form.flatten() == Some(TimestampForm::Gbt20520);
        if national && hash.is_some_and(|hash| hash != HashAlgorithm::Sm3) {
            faults.add("algorithm", "hash_not_supported", "GB/T 20520 timestamps are over digests by SM3");
        }
        let imprint = hash.and_then(|hash| self.input.0.imprint(hash, &mut faults));
        let nonce = self.nonce.as_deref().and_then(|text| nonce(text, &mut faults));
        let policy =
            self.policy.as_deref().and_then(|text| faults.parse("policy", "invalid_value", policy(text)));
        if maker == Some(Maker::Outside) {
            for (field, given) in [
                ("form", self.form.is_some()),
                ("nonce", self.nonce.is_some()),
                ("certificates", self.certificates.is_some()),
            ] {
                if given {
                    faults.add(field, "not_applicable", "has no meaning with source outside");
                }
            }
        }
        let certificates = self.certificates.unwrap_or(true);
        let order = (|| {
            let request = TimestampRequest { imprint: imprint?, policy, nonce, certificates };
            Some(Order { maker: maker?, form: form?, request })
        })();
        faults.into_result(order)
    }
}

impl StampedInput {
    /// The digest or the data, whichever there is.
    pub(super) fn one(&self, faults: &mut Faults) -> Option<(Option<&str>, Option<&str>)> {
        match (&self.digest, &self.data) {
            (None, None) => faults.add("input", "missing_field", "digest or data is required"),
            (Some(_), Some(_)) => {
                faults.add("input", "ambiguous_input", "digest and data exclude each other");
            }
            (digest, data) => return Some((digest.as_deref(), data.as_deref())),
        }
        None
    }

    fn imprint(&self, hash: HashAlgorithm, faults: &mut Faults) -> Option<Imprint> {
        let digest = match self.one(faults)? {
            (Some(digest), _) => faults.base64("input.digest", digest)?,
            (None, data) => hash.digest(&faults.base64("input.data", data?)?),
        };
        let imprint = Imprint::new(hash, &digest).ok();
        if imprint.is_none() {
            let detail = format!("must be {} octets, not {}", hash.len(), digest.len());
            faults.add("input.digest", "digest_length", detail);
        }
        imprint
    }
}

fn nonce(text: &str, faults: &mut Faults) -> Option<Nonce> {
    let octets = faults.base64("nonce", text)?;
    let nonce = if octets.len() <= 63 { Nonce::from_unsigned(&octets) } else { None };
    if nonce.is_none() {
        faults.add("nonce", "invalid_value", "must be 1 to 63 octets");
    }
    nonce
}

/// Have a timestamp made.
#[utoipa::path(
    post, path = "/v1/timestamps", tag = "timestamps", request_body = TimestampRequestBody,
    responses(
        (status = 201, description = "signed, verified and recorded", body = TimestampResponse),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 502, description = "`outside_timestamp`: the authority outside gave no good one", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`clock_unreliable`, or no device could do it now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_timestamp(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<TimestampRequestBody>,
) -> Result<(StatusCode, Json<TimestampResponse>), Problem> {
    caller.with(Scope::Timestamps)?;
    let octets = request.input.0.data.as_ref().map_or(0, String::len);
    let order = beside(octets, || request.check()).await??;
    // In a task of its own: a caller that hangs up does not keep what a key did off the record.
    let (making, asker) = (gateway.clone(), caller.asker());
    let making = async move {
        match order.maker {
            Maker::Own => own(&making, asker, order).await,
            Maker::Outside if making.timestamps.outside.is_none() => Err(Problem::no_outside_authority()),
            Maker::Outside => outside(&making, asker, order.request).await,
        }
    };
    let making = tokio::spawn(making.in_current_span());
    let response = making.await.map_err(|_| Problem::panicked())??;
    gateway.metrics.timestamp(response.form.unwrap_or("outside"));
    Ok((StatusCode::CREATED, Json(response)))
}

async fn own(gateway: &Gateway, asker: Asker, order: Order) -> Result<TimestampResponse, Problem> {
    let desk = gateway.timestamps.own()?;
    let stamp = desk.stamp(&asker, order.form, &order.request).await.map_err(|error| {
        gateway.metrics.timestamp_refused(error.refusal().failure.name());
        Problem::from(&error)
    })?;
    Ok(TimestampResponse {
        token: STANDARD.encode(&stamp.token),
        form: Some(stamp.form.name()),
        serial: stamp.serial,
        gen_time: stamp.time,
        accuracy_ms: Some(stamp.accuracy.as_secs_f64() * 1e3),
        policy: stamp.policy.to_string(),
        key: Some(stamp.key.to_string()),
        device: Some(stamp.device.to_string()),
        audit_index: stamp.audit_index,
        audit_log: gateway.audit.record().origin.clone(),
        request_id: asker.request_id,
    })
}

async fn outside(
    gateway: &Gateway,
    asker: Asker,
    request: TimestampRequest,
) -> Result<TimestampResponse, Problem> {
    let asked = asked_outside(gateway, &asker, request).await;
    let (got, audit_index) = asked.map_err(|error| Problem::from(&error))?;
    Ok(TimestampResponse {
        token: STANDARD.encode(&got.token),
        form: None,
        serial: got.info.serial,
        gen_time: got.info.time,
        accuracy_ms: got.info.accuracy_us.map(|us| us as f64 / 1e3),
        policy: got.info.policy,
        key: None,
        device: None,
        audit_index,
        audit_log: gateway.audit.record().origin.clone(),
        request_id: asker.request_id,
    })
}

/// A token of the authority outside, on record, and where; a refusal is on record too.
pub(super) async fn asked_outside(
    gateway: &Gateway,
    asker: &Asker,
    request: TimestampRequest,
) -> Result<(OutsideToken, u64), TimestampError> {
    let no_authority =
        || TimestampError::Outside { code: "no_outside_authority", detail: "there is none".to_owned() };
    let desk = gateway.timestamps.outside.as_ref().ok_or_else(no_authority)?;
    let input_digest = hex::encode(request.imprint.digest());
    let asked = desk.ask(request.imprint, request.policy).await;
    let entry = AuditEntry {
        action: "timestamp.outside".to_owned(),
        actor: asker.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: Some(input_digest),
        key: None,
        outcome: asked.as_ref().map_or_else(|error| error.code(), |_| "ok").to_owned(),
        request_id: asker.request_id.clone(),
        result_digest: asked.as_ref().ok().map(|got| hex::encode(HashAlgorithm::Sm3.digest(&got.token))),
        subject: asked
            .as_ref()
            .ok()
            .map(|got| format!("serial {} policy {}", got.info.serial, got.info.policy)),
    };
    let audit_index = gateway.audit.append(entry).await.map_err(SigningError::from)?;
    Ok((asked?, audit_index))
}
