//! `/oidc/par` (RFC 9126): an app pushes what it asks for before it sends the browser, which then brings a name only. So nobody on the
//! way reads or changes it, and the app is told at once what is wrong with it.

#![expect(
    clippy::result_large_err,
    reason = "a request is refused once, and what it is refused with is its answer"
)]

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use config::AppId;
use serde::{Deserialize, Serialize};
use store::NewPushed;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::authorize::expected;
use super::request::{Denied, Parameters};
use super::tokens::{Caller, ClientForm, Refused, unavailable};
use super::{digest, issuer, page, secret};
use crate::metrics::LoginStep;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::tokens::{self, TokenProblem};

/// What stands before the secret in a request's name (RFC 9126, 2.2).
const NAME: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a browser may take from the app to here.
const HOLDS: Duration = Duration::seconds(90);
/// Most that hold at a time: of one app, and of all.
const MOST: (u32, u32) = (2_000, 10_000);
/// When to try again where so many hold.
const LATER: std::time::Duration = std::time::Duration::from_secs(30);

/// A request for a login, with what the app proves itself by.
#[derive(Deserialize)]
struct PushedForm {
    #[serde(flatten)]
    proof: ClientForm,
    #[serde(flatten)]
    asked: Parameters,
}

/// What a browser is to bring (RFC 9126, 2.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct PushedResponse {
    /// For `/oidc/authorize`, once, with `client_id`.
    #[schema(example = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c")]
    request_uri: String,
    /// Seconds that it holds for.
    expires_in: i64,
}

/// Push a request for a login. It is checked as at `/oidc/authorize`, and once more when the browser comes. Nothing of it is on record until somebody scans.
#[utoipa::path(
    post, path = "/oidc/par", tag = "oidc",
    request_body(content = Object, content_type = "application/x-www-form-urlencoded", description = "the parameters of `/oidc/authorize`, and `client_assertion_type` with `client_assertion` as at `/oidc/token`, whose `aud` may be this endpoint too"),
    responses(
        (status = 201, description = "what the browser is to bring", body = PushedResponse),
        (status = 400, description = "as `/oidc/authorize` tells the app: `invalid_request`, `invalid_scope`, `login_required`, …; `redirect_uri_unknown`, `unauthorized_client`; see `code`", body = TokenProblem),
        (status = 401, description = "`invalid_client`", body = TokenProblem),
        (status = 429, description = "too many requests or failures", body = TokenProblem),
        (status = "4XX", description = "refused; see `code`", body = TokenProblem),
        (status = 503, description = "not now; see `code`", body = TokenProblem),
    )
)]
pub(crate) async fn post_par(State(gateway): State<Gateway>, request: Request) -> Response {
    match push(&gateway, request).await {
        Ok(answer) => (StatusCode::CREATED, page::quiet(), Json(answer)).into_response(),
        Err((error, problem)) => tokens::refusal(error, problem),
    }
}

async fn push(gateway: &Gateway, request: Request) -> Result<PushedResponse, Refused> {
    let (parts, body) = request.into_parts();
    let form: PushedForm =
        tokens::form(gateway, &parts.headers, body).await.map_err(|problem| ("invalid_request", problem))?;
    let caller = Caller::of(gateway, &parts, &form.proof).await?;
    let pushed = serde_json::to_vec(&form.asked);
    let pushed = pushed.map_err(|_| unavailable(Problem::login_broken("request")))?;
    checked(gateway, &caller, form.asked)?;

    let name = secret().map_err(unavailable)?;
    let now = OffsetDateTime::now_utc();
    let new = NewPushed {
        digest: digest(&name),
        app: caller.id(),
        request: &pushed,
        times: (now, now + HOLDS),
        most: MOST,
    };
    let kept = gateway.store.push_request(&new).await;
    if !kept.map_err(|error| unavailable(Problem::from_logins(&error)))? {
        return Err(unavailable(Problem::too_many_logins(LATER)));
    }
    gateway.metrics.login(LoginStep::Pushed);
    Ok(PushedResponse { request_uri: format!("{NAME}{name}"), expires_in: HOLDS.whole_seconds() })
}

/// Refuses what would be refused when the browser comes.
fn checked(gateway: &Gateway, caller: &Caller, asked: Parameters) -> Result<(), Refused> {
    let issuer = issuer(gateway).map_err(|problem| ("invalid_request", problem))?;
    if asked.request_uri.is_some() {
        let why = "request_uri is what this endpoint answers, and not what it takes".to_owned();
        return Err(refused(Denied("invalid_request", why)));
    }
    let redirect_uri = asked.redirect_uri.clone().unwrap_or_default();
    if !caller.client.redirect_uris.contains(&redirect_uri) {
        return Err(("invalid_request", Problem::redirect_uri_unknown("redirect_uri")));
    }
    if let Some(hint) = &asked.id_token_hint {
        expected(gateway, issuer, &caller.app, hint).map_err(refused)?;
    }
    asked.check(&caller.client, &redirect_uri).map_err(refused)?;
    Ok(())
}

fn refused(Denied(error, why): Denied) -> Refused {
    (error, Problem::login_request_refused(error, why))
}

/// The secret in what a browser brought as `request_uri`, if it is the name of a pushed request.
pub(super) fn name(request_uri: &str) -> Option<&str> {
    request_uri.strip_prefix(NAME)
}

/// Takes what the app pushed under a name: a second browser that comes with it finds nothing.
///
/// # Errors
/// The app pushed nothing under it, it was taken before or its time is over.
pub(super) async fn taken(gateway: &Gateway, app: &AppId, name: &str) -> Result<Parameters, Problem> {
    let taken = gateway.store.take_pushed(&digest(name), app, OffsetDateTime::now_utc()).await;
    let taken = taken.map_err(|error| Problem::from_logins(&error))?;
    let taken = taken.ok_or_else(Problem::request_uri_unknown)?;
    serde_json::from_slice(&taken).map_err(|_| Problem::login_broken("request"))
}
