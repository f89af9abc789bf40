//! `/oidc/authorize`: an app sends somebody here to log in.

use std::time::{Duration as Span, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use config::AppId;
use store::{NewDevice, NewLogin, OidcClient};
use time::{Duration, OffsetDateTime};

use super::hint::Hint;
use super::request::{Asked, Denied, Parameters, answered, english};
use super::{cookie, digest, issuer, paced, page, pushed, secret};
use crate::auth::bucket::Pace;
use crate::auth::register::KnownApp;
use crate::auth::{Peer, admitted};
use crate::metrics::LoginStep;
use crate::oidc::FACE;
use crate::problem::{Problem, ProblemDocument};
use crate::sessions::login::{LoginOrder, begin};
use crate::stamps::make::random;
use crate::state::Gateway;
use crate::tokens;

/// Characters of a login's id: 130 bits.
const ID_LENGTH: usize = 26;
/// How often people may begin to log in to one app at this gateway.
const LOGINS_OF_APP: Pace = Pace { rate: 20.0, burst: 400.0 };
/// Most logins at a time that wait for somebody to scan and confirm: of one app, and of all. One source alone does not come so far.
const MOST_OF_APP: u64 = 2_000;
const MOST: u64 = 10_000;
/// When to try again where so many wait.
const LATER: Span = Span::from_secs(30);

/// Log somebody in: checks the request, binds it to the browser and shows the code to scan. Requires PKCE by S256. Refusals go to the app, those about the app
/// or its address to the person as a page.
#[utoipa::path(
    get, path = "/oidc/authorize", tag = "oidc",
    params(
        ("client_id" = String, Query, description = "the app's id"),
        ("request_uri" = Option<String>, Query, description = "what `/oidc/par` answered: then nothing else is needed but `client_id`, and counts (RFC 9126)"),
        ("redirect_uri" = Option<String>, Query, description = "one that the app registered, octet by octet"),
        ("response_type" = Option<String>, Query, description = "`code`"),
        ("scope" = Option<String>, Query, description = "`openid`, and of `license`, `license.face`, `operator`, `offline_access` what the app is registered for"),
        ("code_challenge" = Option<String>, Query, description = "SHA-256 of the verifier, base64url (RFC 7636)"),
        ("code_challenge_method" = Option<String>, Query, description = "`S256`"),
        ("state" = Option<String>, Query, description = "comes back with the answer"),
        ("nonce" = Option<String>, Query, description = "comes back in the ID token"),
        ("prompt" = Option<String>, Query, description = "somebody is asked each time; `none` is refused by `login_required`"),
        ("max_age" = Option<u32>, Query, description = "somebody confirms each time, at `auth_time`"),
        ("id_token_hint" = Option<String>, Query, description = "an ID token of the app: whoever else scans is refused by `login_required`"),
        ("claims" = Option<String>, Query, description = "JSON: which claims of the granted scopes the ID token has as well"),
        ("ui_locales" = Option<String>, Query, description = "`zh` or `en`"),
    ),
    responses(
        (status = 200, description = "not given: a browser is always sent on"),
        (status = 303, description = "to the login's page, or to the app with `error`, `state` and `iss`"),
        (status = "4XX", description = "a page: `login_client_unknown`, `redirect_uri_unknown`, `request_uri_unknown`, `invalid_query`, `rate_limited`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn get_authorize(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let parameters = crate::body::query::<Parameters>(request.uri());
    answer(&gateway, &peer, parameters).await
}

/// The same by a form (OpenID Connect Core 1.0, 3.1.2.1).
#[utoipa::path(
    post, path = "/oidc/authorize", tag = "oidc",
    request_body(content = Object, content_type = "application/x-www-form-urlencoded", description = "as of GET"),
    responses(
        (status = 200, description = "not given: a browser is always sent on"),
        (status = 303, description = "as of GET"),
        (status = "4XX", description = "as of GET", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn post_authorize(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let parameters = tokens::form::<Parameters>(&gateway, &parts.headers, body).await;
    answer(&gateway, &peer, parameters).await
}

async fn answer(gateway: &Gateway, peer: &Peer, parameters: Result<Parameters, Problem>) -> Response {
    let in_english = parameters.as_ref().is_ok_and(|asked| english(asked.ui_locales.as_deref()));
    let answer = async {
        paced(gateway, peer)?;
        authorize(gateway, parameters?).await
    };
    answer.await.unwrap_or_else(|problem| problem.into_page(in_english))
}

async fn authorize(gateway: &Gateway, parameters: Parameters) -> Result<Response, Problem> {
    let issuer = issuer(gateway)?;
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let id = parameters.client_id.as_deref().and_then(|id| AppId::parse(id).ok());
    let app = id.and_then(|id| register.app(&id)).ok_or_else(Problem::login_client_unknown)?;
    let client = app.app.oidc.as_ref().ok_or_else(Problem::login_client_unknown)?;
    let name = parameters.request_uri.as_deref().and_then(pushed::name);
    let is_pushed = name.is_some();
    // What stands beside the name of a pushed request counts for nothing (RFC 9101, 6.3).
    let parameters = match name {
        Some(name) => pushed::taken(gateway, &app.app.id, name).await?,
        None => parameters,
    };
    let redirect_uri = parameters.redirect_uri.clone().unwrap_or_default();
    // Before this nothing that was sent can lead anywhere.
    if !client.redirect_uris.contains(&redirect_uri) {
        return Err(Problem::redirect_uri_unknown("redirect_uri"));
    }
    // Strangers are not told why it is not served.
    admitted(app, OffsetDateTime::now_utc()).map_err(|_| Problem::login_client_unknown())?;
    crate::request_id::note_app(&app.app.id);
    let state = parameters.state.clone();
    let hint = match &parameters.id_token_hint {
        Some(hint) => expected(gateway, issuer, app, hint).map(Some),
        None => Ok(None),
    };
    let asked = match client.require_pushed_authorization_requests && !is_pushed {
        true => Err(Denied("invalid_request", "the app pushes its requests to /oidc/par".to_owned())),
        false => parameters.check(client, &redirect_uri),
    };
    let began = match asked.and_then(|asked| Ok(Asked { expected: hint?, ..asked })) {
        Ok(asked) => begun(gateway, app, client, asked).await,
        Err(denied) => Err(denied),
    };
    match began {
        Ok(response) => Ok(response),
        Err(Denied(error, why)) => {
            gateway.metrics.login(LoginStep::Denied);
            // A state that is too long to be kept is too long to be sent.
            let state = state.as_deref().filter(|state| state.len() <= 4096);
            let answer = [("error", error), ("error_description", why.as_str())];
            let location = answered(issuer, &redirect_uri, state, &answer);
            page::see_other(&location.ok_or_else(|| Problem::login_broken("address"))?)
        }
    }
}

/// Whom the app expects, by an ID token that it got of him.
pub(super) fn expected(
    gateway: &Gateway,
    issuer: &str,
    app: &KnownApp,
    hint: &str,
) -> Result<String, Denied> {
    let hint = Hint::read(gateway, issuer, hint).ok().filter(|hint| hint.aud == app.app.id.as_str());
    let why = || "id_token_hint is no ID token of this site for this app".to_owned();
    hint.map(|hint| hint.sub).ok_or_else(|| Denied("invalid_request", why()))
}

/// Refuses while so many begin or have begun that those who scan could be shut out.
async fn bounded(gateway: &Gateway, app: &AppId, at: OffsetDateTime) -> Result<(), Problem> {
    if let Some(wait) = gateway.callers.logins_of_apps.take(app.clone(), LOGINS_OF_APP, Instant::now()) {
        return Err(Problem::too_many_logins(wait));
    }
    let open = gateway.store.open_logins(app, at).await;
    let (of_app, of_all) = open.map_err(|error| Problem::from_logins(&error))?;
    if of_app < MOST_OF_APP && of_all < MOST { Ok(()) } else { Err(Problem::too_many_logins(LATER)) }
}

async fn begun(
    gateway: &Gateway,
    app: &KnownApp,
    client: &OidcClient,
    asked: Asked,
) -> Result<Response, Denied> {
    let denied = |problem: Problem| {
        let error = if problem.may_pass() { "temporarily_unavailable" } else { "server_error" };
        tracing::warn!(code = problem.code(), app = %app.app.id, "a login could not begin");
        Denied(error, problem.code().to_owned())
    };
    let kept = secret().map_err(denied)?;
    let (id, _) = entered(gateway, app, client, asked, digest(&kept), None).await.map_err(denied)?;
    let mut response = page::see_other(&format!("/oidc/login/{id}")).map_err(denied)?;
    if let Some(cookie) = cookie::set(&id, &kept) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Enters a login of a browser, or of a device that has none; answers its id and the text of the code to scan.
pub(super) async fn entered(
    gateway: &Gateway,
    app: &KnownApp,
    client: &OidcClient,
    asked: Asked,
    browser: [u8; 32],
    device: Option<NewDevice>,
) -> Result<(String, String), Problem> {
    let at = OffsetDateTime::now_utc();
    bounded(gateway, &app.app.id, at).await?;
    let id = random(ID_LENGTH);
    let order =
        LoginOrder { item: &client.item, item_name: &client.item_name, face: asked.scopes.contains(FACE) };
    let mut scanned = String::new();
    let login = |session: &str, qr_text: &str| {
        qr_text.clone_into(&mut scanned);
        let asked = Asked { qr_text: qr_text.to_owned(), ..asked };
        let asked = serde_json::to_string(&asked).map_err(|_| Problem::login_broken("request"))?;
        let new = NewLogin {
            id: &id,
            app: &app.app.id,
            session,
            browser,
            request: asked.as_bytes(),
            times: (at, at + Duration::seconds(cookie::LONGEST)),
            device,
        };
        gateway.store.new_login(&new).map_err(|error| Problem::from_logins(&error))
    };
    begin(gateway, &app.app, &order, login).await?;
    gateway.metrics.login(LoginStep::Begun);
    Ok((id, scanned))
}
