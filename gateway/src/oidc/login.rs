//! `/oidc/login/{id}`: what a browser shows while somebody scans, and how it goes back to the app. Only the browser that began sees
//! it and goes on.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use store::{Login, LoginState};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::claims::{self, Kept};
use super::request::{Asked, answered};
use super::{cookie, digest, issuer, page, secret, source, whole};
use crate::admission::Place;
use crate::auth::register::KnownApp;
use crate::auth::{Peer, admitted};
use crate::body::{QueryOf, Segment};
use crate::metrics::LoginStep;
use crate::problem::{Problem, ProblemDocument};
use crate::sessions::login::{LoginRecord, Scanning, consume, end, enter, fetch, scanning, wait};
use crate::state::Gateway;
use crate::tokens;

/// How long an authorization code is good for.
pub(super) const CODE: Duration = Duration::seconds(60);
/// How long it is remembered, so that one that comes late is told from one that never was.
pub(super) const REMEMBERED: Duration = Duration::minutes(15);

/// How far a login is.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoginProgress {
    /// `shown`, `scanned`, `confirmed` or `over`.
    scanning: &'static str,
    /// Counts the states.
    version: u32,
}

/// For what to wait.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgressQuery {
    /// The version that is known.
    version: Option<u32>,
}

/// What the page's forms send.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LoginForm {
    /// That it is the page's form.
    form: String,
}

/// A login with what it asks, in the browser that began it.
struct Here {
    login: Login,
    asked: Asked,
    app: Arc<KnownApp>,
    secret: String,
}

async fn here(gateway: &Gateway, id: &str, headers: &HeaderMap) -> Result<Here, Problem> {
    let login = gateway.store.login(id, OffsetDateTime::now_utc()).await;
    let login = login.map_err(|error| Problem::from_logins(&error))?;
    let secret = cookie::shown(headers, &login)?.to_owned();
    if login.state != LoginState::Open {
        return Err(Problem::login_over());
    }
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let app = register.app(&login.app).map(Arc::clone).ok_or_else(Problem::login_client_unknown)?;
    admitted(&app, OffsetDateTime::now_utc()).map_err(|_| Problem::login_client_unknown())?;
    let asked = claims::asked(&login)?;
    // What the app has withdrawn since leads nowhere any more.
    let client = app.app.oidc.as_ref().ok_or_else(Problem::login_client_unknown)?;
    if !client.redirect_uris.contains(&asked.redirect_uri) {
        return Err(Problem::redirect_uri_unknown("redirect_uri"));
    }
    Ok(Here { asked, login, app, secret })
}

pub(super) fn prefers_english(headers: &HeaderMap) -> bool {
    let languages = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    languages.is_some_and(|languages| languages.starts_with("en"))
}

/// The page with the code to scan. It needs no script.
#[utoipa::path(
    get, path = "/oidc/login/{id}", tag = "oidc",
    params(("id" = String, Path, description = "the login")),
    responses(
        (status = 200, description = "a page", body = String, content_type = "text/html"),
        (status = "4XX", description = "a page: `login_other_browser`, `login_unknown`, `login_over`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn get_login(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Segment(id): Segment,
) -> Response {
    let shown = async {
        let Here { login, asked, app, secret } = here(&gateway, &id, &headers).await?;
        let client = app.app.oidc.as_ref().ok_or_else(Problem::login_client_unknown)?;
        let (scanning, version) = scanning(&gateway, &login).await?;
        let page = page::LoginPage {
            login: &login.id,
            app_name: &app.app.name,
            item_name: &client.item_name,
            redirect_uri: &asked.redirect_uri,
            qr_text: &asked.qr_text,
            form_token: &cookie::form_token(&secret),
            scanning,
            version,
            english: asked.english,
        };
        page.response()
    };
    shown.await.unwrap_or_else(|problem: Problem| problem.into_page(prefers_english(&headers)))
}

/// How far a login is, as soon as it is further than `version`, after 25 seconds in any case: for the page's script.
#[utoipa::path(
    get, path = "/oidc/login/{id}/state", tag = "oidc",
    params(
        ("id" = String, Path, description = "the login"),
        ("version" = Option<u32>, Query, description = "the version that is known: the answer waits for a later one"),
    ),
    responses(
        (status = 200, description = "how far it is", body = LoginProgress),
        (status = 403, description = "`login_other_browser`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`login_unknown`, `login_over`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`: too many wait", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_login_state(
    State(gateway): State<Gateway>,
    place: Option<Extension<Arc<Place>>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Segment(id): Segment,
    QueryOf(query): QueryOf<ProgressQuery>,
) -> Result<Response, Problem> {
    let Here { login, .. } = here(&gateway, &id, &headers).await?;
    let (scanning, version) = match query.version {
        Some(known) => {
            let waiter = enter(&gateway, &login, source(&peer))?;
            if let Some(Extension(place)) = place {
                place.give_back();
            }
            wait(&gateway, waiter, &login, known).await?
        }
        None => scanning(&gateway, &login).await?,
    };
    let progress = LoginProgress { scanning: scanning.name(), version };
    Ok((page::quiet(), Json(progress)).into_response())
}

/// Go on: back to the app with a code if the holder confirmed, to the page if nobody has yet, else to the app with `access_denied`.
#[utoipa::path(
    post, path = "/oidc/login/{id}/continue", tag = "oidc",
    params(("id" = String, Path, description = "the login")),
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "not given: a browser is always sent on"),
        (status = 303, description = "to the app with `code` or `error`, `state` and `iss`; or to the page"),
        (status = "4XX", description = "a page: `login_other_browser`, `login_forged`, `login_unknown`, `login_over`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn continue_login(
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    request: Request,
) -> Response {
    sent(gateway, id, request, true).await
}

/// Give up: back to the app with `access_denied`.
#[utoipa::path(
    post, path = "/oidc/login/{id}/cancel", tag = "oidc",
    params(("id" = String, Path, description = "the login")),
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "not given: a browser is always sent on"),
        (status = 303, description = "to the app with `access_denied`, `state` and `iss`"),
        (status = "4XX", description = "a page: `login_other_browser`, `login_forged`, `login_unknown`, `login_over`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn cancel_login(
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    request: Request,
) -> Response {
    sent(gateway, id, request, false).await
}

async fn sent(gateway: Gateway, id: String, request: Request, goes_on: bool) -> Response {
    let (parts, body) = request.into_parts();
    let english = prefers_english(&parts.headers);
    let work = async move {
        let here = here(&gateway, &id, &parts.headers).await?;
        let form: LoginForm = tokens::form(&gateway, &parts.headers, body).await?;
        if !cookie::is_form_token(&here.secret, &form.form) {
            return Err(Problem::login_forged());
        }
        match goes_on {
            true => granted(&gateway, &here).await,
            false => denied(&gateway, &here, ("access_denied", "cancelled")).await,
        }
    };
    let done = whole(work).await.and_then(|answer| answer);
    done.unwrap_or_else(|problem: Problem| problem.into_page(english))
}

async fn granted(gateway: &Gateway, here: &Here) -> Result<Response, Problem> {
    let login = &here.login;
    match scanning(gateway, login).await?.0 {
        Scanning::Shown | Scanning::Scanned => return page::see_other(&format!("/oidc/login/{}", login.id)),
        Scanning::Over => return denied(gateway, here, ("access_denied", "not_confirmed")).await,
        Scanning::Confirmed => {}
    }
    let fetched = fetch(gateway, login, &here.app.app).await?;
    if let Some(expected) = &here.asked.expected
        && claims::subject(gateway, &here.asked.sector, &fetched.uscc).await? != *expected
    {
        return denied(gateway, here, ("login_required", "somebody_else")).await;
    }
    let (code, at) = (secret()?, OffsetDateTime::now_utc());
    let record = LoginRecord {
        actor: &super::browser(&login.browser),
        action: "oidc.grant",
        subject: format!("{} {} session {}", login.id, login.app, login.session),
    };
    let kept = Kept::new(&fetched).write();
    let grant = gateway.store.login_grant(login, digest(&code), &kept, (at, at + CODE + REMEMBERED));
    let grant = grant.map_err(|error| Problem::from_logins(&error))?;
    consume(gateway, &fetched, &record, grant).await?;
    gateway.metrics.login(LoginStep::Granted);
    back(gateway, here, &[("code", code.as_str())])
}

/// Ends a login that comes to nothing.
async fn denied(
    gateway: &Gateway,
    here: &Here,
    (error, outcome): (&'static str, &'static str),
) -> Result<Response, Problem> {
    let login = &here.login;
    let record = LoginRecord {
        actor: &super::browser(&login.browser),
        action: "oidc.deny",
        subject: format!("{} {} session {}", login.id, login.app, login.session),
    };
    end(gateway, login, &record, outcome).await?;
    gateway.metrics.login(LoginStep::Denied);
    back(gateway, here, &[("error", error), ("error_description", outcome)])
}

/// Back to the app; the browser need not remember the login any more.
fn back(gateway: &Gateway, here: &Here, answer: &[(&str, &str)]) -> Result<Response, Problem> {
    let Asked { redirect_uri, state, .. } = &here.asked;
    let location = answered(issuer(gateway)?, redirect_uri, state.as_deref(), answer);
    let mut response = page::see_other(&location.ok_or_else(|| Problem::login_broken("address"))?)?;
    let forget: Option<HeaderValue> = cookie::clear(&here.login.id);
    response.headers_mut().extend(forget.map(|forget| (header::SET_COOKIE, forget)));
    Ok(response)
}
