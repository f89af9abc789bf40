//! `POST /v1/timestamps:verify`.

use axum::Json;
use axum::extract::State;
use formats::{DEFAULT_SIGNER_ID, TrustStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::{CmsVerification, Input, TimestampAnswer, verify_timestamp, verify_timestamp_digest};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::order::StampedInput;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Object};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A timestamp to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimestampVerificationRequest {
    /// base64: a TimeStampToken, or the whole TimeStampResp.
    token: String,
    /// What it should be over; a digest by the hash function that the token names. Without it the verdict on a good one
    /// is `indeterminate` (`content_absent`).
    #[schema(value_type = Option<StampedInput>)]
    input: Option<Object<StampedInput>>,
    /// RFC 3339: the time the authority's certificate must have been good at. Default now.
    at: Option<String>,
}

/// A verdict; also a bad timestamp is an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimestampVerification {
    /// `{verdict, findings:[{code, detail}], family, timestamp, signers:[…]}`
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: TimestampAnswer,
    /// The request's id.
    request_id: String,
}

/// A request that was checked.
pub(crate) struct Order {
    token: Vec<u8>,
    stamped: Option<Stamped>,
    at: OffsetDateTime,
}

enum Stamped {
    Data(Vec<u8>),
    Digest(Vec<u8>),
}

impl TimestampVerificationRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(self, now: OffsetDateTime) -> Result<Order, Problem> {
        let mut faults = Faults::default();
        let token = faults.base64("token", &self.token);
        let at = faults.time("at", self.at.as_deref(), now);
        let stamped = self.input.and_then(|input| input.0.stamped(&mut faults));
        let order = (|| Some(Order { token: token?, stamped, at: at? }))();
        faults.into_result(order)
    }
}

impl StampedInput {
    fn stamped(&self, faults: &mut Faults) -> Option<Stamped> {
        match self.one(faults)? {
            (Some(digest), _) => faults.base64("input.digest", digest).map(Stamped::Digest),
            (None, data) => faults.base64("input.data", data?).map(Stamped::Data),
        }
    }
}

impl Order {
    /// Judges it.
    pub(crate) fn judge(self, trust: &TrustStore) -> TimestampAnswer {
        let asked = |input| CmsVerification {
            signature: &self.token,
            input,
            signer_id: DEFAULT_SIGNER_ID,
            at: self.at,
        };
        match &self.stamped {
            Some(Stamped::Digest(digest)) => verify_timestamp_digest(trust, &asked(None), digest),
            Some(Stamped::Data(data)) => verify_timestamp(trust, asked(Some(Input::Data(data.clone())))),
            None => verify_timestamp(trust, asked(None)),
        }
    }
}

/// Judge a timestamp, of whichever authority.
#[utoipa::path(
    post, path = "/v1/timestamps:verify", tag = "timestamps", request_body = TimestampVerificationRequest,
    responses(
        (status = 200, description = "judged: `verdict` is valid, invalid, indeterminate or unsigned", body = TimestampVerification),
        (status = "4XX", description = "could not be judged; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_timestamp_verify(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<TimestampVerificationRequest>,
) -> Result<Json<Value>, Problem> {
    let app = caller
        .using(Scope::Timestamps, &gateway)
        .or_else(|_| caller.using(Scope::Verifications, &gateway))?;
    let order = request.check(OffsetDateTime::now_utc())?;
    // A SignedData may hold many signers: off the threads that keep the devices fed.
    let judging = gateway.clone();
    let judge = move || order.judge(&judging.documents.current());
    let answer = tokio::task::spawn_blocking(judge).await.map_err(|_| Problem::panicked())?;
    gateway.metrics.judged("timestamp", answer.judgement.verdict);
    gateway.tally.verified(app.id.as_str(), "timestamp", answer.judgement.verdict);
    let request_id = crate::request_id::current();
    // Through Value, because the verdict's fields stand beside request_id.
    Ok(Json(serde_json::to_value(TimestampVerification { answer, request_id }).unwrap_or_default()))
}
