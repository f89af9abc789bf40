//! `POST /tsa`: RFC 3161 over HTTP (3.4). What the authority says to a request stands in its response; a problem
//! document is for what did not come that far.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::{AppId, OwnName};
use formats::tsp::{self, MAX_REQUEST, TimestampRequest};
use signing::{Asker, TimestampDesk, TimestampError, TimestampForm};
use tracing::Instrument;

use super::public;
use crate::auth::{Authenticated, Peer, Scope, claims_an_app};
use crate::body::{self, Patience};
use crate::edge::RefusedInProtocol;
use crate::error::with_causes;
use crate::problem::{Problem, ProblemCode, ProblemDocument};
use crate::request_id;
use crate::state::Gateway;

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

/// Have a timestamp made, as RFC 3161 has it.
///
/// The kind of token goes with the hash function: SM3 is answered by GB/T 20520 with SM2, the others by RFC 3161 with
/// P-256 or RSA.
#[utoipa::path(
    post, path = "/tsa", tag = "timestamps",
    request_body(content = String, content_type = "application/timestamp-query", description = "TimeStampReq in DER"),
    responses(
        (status = 200, description = "TimeStampResp in DER: a token, or the reason why there is none", body = String, content_type = "application/timestamp-reply"),
        (status = "4XX", description = "no request for a timestamp came, or not from who may ask; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `Retry-After`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_tsa(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let (asker, place) = asker(&gateway, &mut parts).await?;
    let desk = gateway.timestamps.own()?.clone();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(QUERY)) {
        return Err(Problem::timestamp_media_type());
    }
    let body = body::read(body, MAX_REQUEST, Patience::of(&gateway.config.server)).await?;
    let request = match TimestampRequest::from_der(&body) {
        Ok(request) => request,
        Err(refusal) => return refused(&gateway, &TimestampError::Refused(refusal)),
    };
    match stamped(desk, asker, request, place).await? {
        Ok((form, response)) => {
            gateway.metrics.timestamp(form.name());
            Ok(reply(response))
        }
        Err(error) => {
            if matches!(error, TimestampError::Signing(_) | TimestampError::Serials(_)) {
                tracing::error!(error = %with_causes(&error), "no timestamp was made");
            }
            refused(&gateway, &error)
        }
    }
}

/// In a task of its own: a caller that hangs up does not keep what the key did off the record, and holds its place until
/// that is done.
async fn stamped(
    desk: TimestampDesk,
    asker: Asker,
    request: TimestampRequest,
    place: Option<public::Place>,
) -> Result<Result<(TimestampForm, Vec<u8>), TimestampError>, Problem> {
    let stamping = async move {
        let _place = place;
        let stamp = desk.stamp(&asker, None, &request).await?;
        let response = tsp::granted(&stamp.token).map_err(signing::SigningError::from)?;
        Ok((stamp.form, response))
    };
    tokio::spawn(stamping.in_current_span()).await.map_err(|_| Problem::panicked())
}

/// Who asks: an app with the scope, or, where the site lets anybody, a stranger within the limits for strangers.
async fn asker(gateway: &Gateway, parts: &mut Parts) -> Result<(Asker, Option<public::Place>), Problem> {
    let address = match parts.extensions.get() {
        Some(Peer::Network(address)) => Some(address.ip()),
        _ => None,
    };
    let limits = &gateway.config.timestamps;
    let Some(address) = address.filter(|_| limits.public && !claims_an_app(parts)) else {
        let caller = Authenticated::from_request_parts(parts, gateway).await?;
        caller.using(Scope::Timestamps, gateway)?;
        return Ok((caller.asker(), None));
    };
    let place = gateway.timestamps.strangers.admit(limits, address)?;
    let line = AppId::of(OwnName::TsaPublic);
    let asker = Asker {
        line,
        actor: format!("anonymous:{address}"),
        request_id: request_id::current(),
        deadline: crate::deadline::current(),
    };
    Ok((asker, Some(place)))
}

fn refused(gateway: &Gateway, error: &TimestampError) -> Result<Response, Problem> {
    let refusal = error.refusal();
    gateway.metrics.timestamp_refused(refusal.failure.name());
    let response = tsp::rejected(refusal).map_err(|_| Problem::panicked())?;
    let mut response = reply(response);
    response.extensions_mut().insert(ProblemCode(error.code()));
    if matches!(error, TimestampError::Refused(_)) {
        response.extensions_mut().insert(RefusedInProtocol(StatusCode::BAD_REQUEST));
    }
    Ok(response)
}

fn reply(response: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, REPLY)], Body::from(response)).into_response()
}
