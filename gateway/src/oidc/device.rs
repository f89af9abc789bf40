//! Logging in at a device without a browser, such as a terminal in a hall (RFC 8628). It shows the code to scan itself, or has
//! somebody open `/oidc/device` elsewhere, and asks until the holder has confirmed on the phone. What it asks with is an
//! authorization code from then on.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use store::{Login, LoginState, NewDevice};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::authorize::entered;
use super::claims::{self, Kept};
use super::login::{CODE, REMEMBERED, prefers_english};
use super::page::{self, DevicePage};
use super::request::{Asked, Denied, english, scopes};
use super::tokens::{
    Caller, ClientForm, OidcTokenRequest, OidcTokenResponse, Refused, grant_refused, replayed, unavailable,
    wanted,
};
use super::{digest, issuer, secret, source, tokens as granting};
use crate::auth::bucket::Pace;
use crate::auth::{Peer, admitted};
use crate::metrics::LoginStep;
use crate::problem::{Problem, ProblemDocument};
use crate::sessions::login::{LoginRecord, SCANNED_WITHIN, Scanning, consume, end, fetch, scanning};
use crate::stamps::make::{grouped, random, typed};
use crate::state::Gateway;
use crate::tokens::{self, TokenProblem};

/// The grant that a device asks for (RFC 8628, 3.4).
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Characters of what a person types in: 50 bits.
const USER_CODE: usize = 10;
/// Seconds between two questions of a device.
const INTERVAL: u32 = 5;
/// The same as a pace; one that comes a little early is let in.
const ASKS: Pace = Pace { rate: 1.0 / (INTERVAL as f64), burst: 3.0 };
/// How often people at one source may look for a login by what they typed in; their pages look again every few seconds.
const LOOKS: Pace = Pace { rate: 10.0, burst: 200.0 };

/// A request for a login at a device (RFC 8628, 3.1). Parameters that are not known are passed over.
#[derive(Deserialize, ToSchema)]
pub(crate) struct DeviceAuthorizationRequest {
    /// `openid`, and of the app's scopes some.
    scope: Option<String>,
    /// `zh` or `en`: the language of `/oidc/device`.
    ui_locales: Option<String>,
    #[serde(flatten)]
    proof: ClientForm,
}

/// What a device shows and asks with (RFC 8628, 3.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceAuthorizationResponse {
    /// For `/oidc/token`; a secret.
    device_code: String,
    /// For whoever opens `verification_uri`.
    #[schema(example = "7QX2M-0K4T9")]
    user_code: String,
    /// Where the code to scan can be seen too.
    verification_uri: String,
    /// The same with the user code in it.
    verification_uri_complete: String,
    /// Seconds within which somebody has to scan.
    expires_in: i64,
    /// Seconds to wait before each question.
    interval: u32,
    /// The text of the QR code that the electronic license scans: a device that can show a picture needs no other page.
    gw_qr_text: String,
}

/// What a person typed in.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeviceQuery {
    user_code: Option<String>,
    ui_locales: Option<String>,
}

/// Begin a login at a device without a browser. Nothing of it is on record until somebody scans.
#[utoipa::path(
    post, path = "/oidc/device_authorization", tag = "oidc",
    request_body(content = DeviceAuthorizationRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "what to show, and to ask with", body = DeviceAuthorizationResponse),
        (status = 400, description = "`invalid_request`, `invalid_scope`, `unauthorized_client`; see `code`", body = TokenProblem),
        (status = 401, description = "`invalid_client`", body = TokenProblem),
        (status = 429, description = "too many requests or failures", body = TokenProblem),
        (status = "4XX", description = "refused; see `code`", body = TokenProblem),
        (status = 503, description = "not now; see `code`", body = TokenProblem),
    )
)]
pub(crate) async fn post_device_authorization(State(gateway): State<Gateway>, request: Request) -> Response {
    match begun(&gateway, request).await {
        Ok(answer) => (page::quiet(), Json(answer)).into_response(),
        Err((error, problem)) => tokens::refusal(error, problem),
    }
}

async fn begun(gateway: &Gateway, request: Request) -> Result<DeviceAuthorizationResponse, Refused> {
    let (parts, body) = request.into_parts();
    let form: DeviceAuthorizationRequest =
        tokens::form(gateway, &parts.headers, body).await.map_err(|problem| ("invalid_request", problem))?;
    let caller = Caller::of(gateway, &parts, &form.proof).await?;
    let issuer = issuer(gateway).map_err(unavailable)?;
    if !caller.client.device_flow {
        return Err(("unauthorized_client", Problem::unauthorized_client()));
    }
    let asked = scopes(form.scope.as_deref().unwrap_or_default(), &caller.client);
    let asked = asked.map_err(|Denied(error, why)| (error, Problem::login_request_refused(error, why)))?;
    let asked = Asked::at_device(asked, &caller.client, english(form.ui_locales.as_deref()));
    let (device_code, user_code) = (secret().map_err(unavailable)?, random(USER_CODE));
    let device = NewDevice {
        device_code: digest(&device_code),
        user_code: digest(&user_code),
        ends_at: OffsetDateTime::now_utc() + SCANNED_WITHIN,
    };
    let begun = entered(gateway, &caller.app, &caller.client, asked, device.device_code, Some(device)).await;
    let (_, gw_qr_text) = begun.map_err(unavailable)?;
    let (user_code, verification_uri) = (grouped(&user_code), format!("{issuer}/oidc/device"));
    Ok(DeviceAuthorizationResponse {
        device_code,
        verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
        user_code,
        verification_uri,
        expires_in: SCANNED_WITHIN.whole_seconds(),
        interval: INTERVAL,
        gw_qr_text,
    })
}

/// The page for whoever logs in at a device that shows no picture: a field for what the device shows, then the code to scan. It needs no script, and nobody is let in by it.
#[utoipa::path(
    get, path = "/oidc/device", tag = "oidc",
    params(
        ("user_code" = Option<String>, Query, description = "what the device shows, however it is written"),
        ("ui_locales" = Option<String>, Query, description = "`zh` or `en`"),
    ),
    responses(
        (status = 200, description = "a page", body = String, content_type = "text/html"),
        (status = 404, description = "the page with its field again: no device waits with that code", body = String, content_type = "text/html"),
        (status = "4XX", description = "a page: `rate_limited`, `invalid_query`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn get_device(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let query = crate::body::query::<DeviceQuery>(request.uri());
    let locales = query.as_ref().ok().and_then(|query| query.ui_locales.as_deref());
    let in_english = locales.map_or_else(|| prefers_english(&headers), |locales| english(Some(locales)));
    let shown = async {
        issuer(&gateway)?;
        match query?.user_code {
            Some(user_code) => shown(&gateway, &peer, &user_code, in_english).await,
            None => Ok(page::device_field(StatusCode::OK, in_english)),
        }
    };
    shown.await.unwrap_or_else(|problem: Problem| problem.into_page(in_english))
}

async fn shown(
    gateway: &Gateway,
    peer: &Peer,
    user_code: &str,
    in_english: bool,
) -> Result<Response, Problem> {
    let wait = source(peer).and_then(|source| gateway.callers.user_codes.take(source, LOOKS, Instant::now()));
    if let Some(wait) = wait {
        return Err(Problem::too_many_logins(wait));
    }
    let now = OffsetDateTime::now_utc();
    let found = match typed(user_code, USER_CODE) {
        Some(user_code) => gateway.store.login_of_user_code(&digest(&user_code), now).await,
        None => Ok(None),
    };
    let Some(login) = found.map_err(|error| Problem::from_logins(&error))? else {
        return Ok(page::device_field(StatusCode::NOT_FOUND, in_english));
    };
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let app = register.app(&login.app).ok_or_else(Problem::login_client_unknown)?;
    admitted(app, now).map_err(|_| Problem::login_client_unknown())?;
    let client = app.app.oidc.as_ref().ok_or_else(Problem::login_client_unknown)?;
    // What came of it is gone from the session's row before the code's time is over.
    let (qr_text, scanning) = match login.state {
        LoginState::Open => (claims::asked(&login)?.qr_text, scanning(gateway, &login).await?.0),
        LoginState::Granted | LoginState::Redeemed => (String::new(), Scanning::Confirmed),
        LoginState::Ended => (String::new(), Scanning::Over),
    };
    let page = DevicePage {
        app_name: &app.app.name,
        item_name: &client.item_name,
        qr_text: &qr_text,
        scanning,
        english: in_english,
    };
    page.response()
}

/// Answers a device that asks whether somebody has confirmed.
pub(super) async fn exchanged(
    gateway: &Gateway,
    caller: &Caller,
    form: &OidcTokenRequest,
    extensions: &Extensions,
) -> Result<OidcTokenResponse, Refused> {
    let code = digest(wanted("device_code", form.device_code.as_ref())?);
    let found = gateway.store.login_of_device(&code).await;
    let found = found.map_err(|error| unavailable(Problem::from_logins(&error)))?;
    let device = found.ok_or_else(|| grant_refused("device_code_unknown"))?;
    // Nobody scanned, and nothing stayed.
    let Some(login) = device.login else { return Err(waiting("expired_token")) };
    if login.app != *caller.id() {
        return Err(grant_refused("device_code_unknown"));
    }
    if gateway.callers.devices_asking.take(login.id.clone(), ASKS, Instant::now()).is_some() {
        return Err(waiting("slow_down"));
    }
    caller.admit_keyless(gateway, extensions)?;
    // What the app may no longer do it does not finish either.
    if !caller.client.device_flow {
        return Err(("unauthorized_client", Problem::unauthorized_client()));
    }
    let login = match login.state {
        LoginState::Open => confirmed(gateway, caller, login, code, device.ends_at).await?,
        LoginState::Granted => login,
        LoginState::Redeemed => return Err(replayed(gateway, caller, &login, "device_code_used").await),
        LoginState::Ended => return Err(grant_refused("login_ended")),
    };
    if login.granted_at.is_none_or(|at| OffsetDateTime::now_utc() >= at + CODE) {
        return Err(waiting("expired_token"));
    }
    let asked = claims::asked(&login).map_err(unavailable)?;
    granting::exchanged(gateway, caller, &login, asked, ("device code", "device_code_used")).await
}

/// Takes over what the holder confirmed: what the device asks with is its authorization code from now on.
async fn confirmed(
    gateway: &Gateway,
    caller: &Caller,
    login: Login,
    code: [u8; 32],
    ends_at: OffsetDateTime,
) -> Result<Login, Refused> {
    let now = OffsetDateTime::now_utc();
    let subject = format!("{} {} session {}", login.id, login.app, login.session);
    let record = |action| LoginRecord { actor: caller.id().as_str(), action, subject: subject.clone() };
    match scanning(gateway, &login).await.map_err(unavailable)?.0 {
        Scanning::Shown | Scanning::Scanned if now < ends_at => return Err(waiting("authorization_pending")),
        Scanning::Shown | Scanning::Scanned => return Err(waiting("expired_token")),
        Scanning::Over => {
            // Another question of the device may have taken it over since: then it is that one's.
            let now_there = gateway.store.login(&login.id, now).await;
            let now_there = now_there.map_err(|error| unavailable(Problem::from_logins(&error)))?;
            if !matches!(now_there.state, LoginState::Open | LoginState::Ended) {
                return Err(waiting("slow_down"));
            }
            end(gateway, &login, &record("oidc.deny"), "not_confirmed").await.map_err(unavailable)?;
            gateway.metrics.login(LoginStep::Denied);
            return Err(waiting(if now < ends_at { "access_denied" } else { "expired_token" }));
        }
        Scanning::Confirmed => {}
    }
    let fetched = fetch(gateway, &login, &caller.app.app).await.map_err(not_fetched)?;
    let kept = Kept::new(&fetched).write();
    let grant = gateway.store.login_grant(&login, code, &kept, (now, now + CODE + REMEMBERED));
    let grant = grant.map_err(|error| unavailable(Problem::from_logins(&error)))?;
    consume(gateway, &fetched, &record("oidc.grant"), grant).await.map_err(not_fetched)?;
    gateway.metrics.login(LoginStep::Granted);
    let granted = gateway.store.login(&login.id, now).await;
    granted.map_err(|error| unavailable(Problem::from_logins(&error)))
}

/// What was confirmed is not there for this question.
fn not_fetched(problem: Problem) -> Refused {
    match problem.code() {
        "session_consumed" => waiting("slow_down"), // another question of the device came first
        "session_expired" => waiting("expired_token"),
        _ => unavailable(problem),
    }
}

/// What a device is told that has to ask again, or not any more (RFC 8628, 3.5).
fn waiting(code: &'static str) -> Refused {
    (code, Problem::device_waits(code))
}
