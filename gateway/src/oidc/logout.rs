//! `/oidc/logout` (OpenID Connect RP-Initiated Logout 1.0). This site keeps no browser logged in: what ends is the app's login, and the
//! browser goes where the app registered, or stays here.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use config::AppId;
use serde::Deserialize;
use store::StoreError;
use time::OffsetDateTime;
use url::Url;

use super::hint::Hint;
use super::request::{LONGEST, english};
use super::{browser, issuer, paced, page, revoke};
use crate::auth::Peer;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;
use crate::tokens;

/// What an app sends somebody here with.
#[derive(Default, Deserialize)]
struct Parameters {
    id_token_hint: Option<String>,
    client_id: Option<String>,
    post_logout_redirect_uri: Option<String>,
    state: Option<String>,
    ui_locales: Option<String>,
}

/// Log somebody out: end the login that `id_token_hint` is of, and send the browser back to where the app registered.
#[utoipa::path(
    get, path = "/oidc/logout", tag = "oidc",
    params(
        ("id_token_hint" = Option<String>, Query, description = "an ID token of the login, expired or not"),
        ("client_id" = Option<String>, Query, description = "the app's id; with a hint it must be its audience"),
        ("post_logout_redirect_uri" = Option<String>, Query, description = "one that the app registered, octet by octet"),
        ("state" = Option<String>, Query, description = "comes back"),
        ("ui_locales" = Option<String>, Query, description = "`zh` or `en`"),
    ),
    responses(
        (status = 200, description = "a page: it has ended", body = String, content_type = "text/html"),
        (status = 303, description = "to `post_logout_redirect_uri` with `state`"),
        (status = "4XX", description = "a page: `id_token_hint_invalid`, `redirect_uri_unknown`, `login_client_unknown`", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn get_logout(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let parameters = crate::body::query::<Parameters>(request.uri());
    answer(&gateway, &peer, parameters).await
}

/// The same by a form.
#[utoipa::path(
    post, path = "/oidc/logout", tag = "oidc",
    request_body(content = Object, content_type = "application/x-www-form-urlencoded", description = "as of GET"),
    responses(
        (status = 200, description = "as of GET", body = String, content_type = "text/html"),
        (status = 303, description = "as of GET"),
        (status = "4XX", description = "as of GET", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
        (status = 503, description = "not now; see Retry-After", content((String = "text/html"), (ProblemDocument = "application/problem+json"))),
    )
)]
pub(crate) async fn post_logout(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let parameters = tokens::form::<Parameters>(&gateway, &parts.headers, body).await;
    answer(&gateway, &peer, parameters).await
}

async fn answer(gateway: &Gateway, peer: &Peer, parameters: Result<Parameters, Problem>) -> Response {
    let english = parameters.as_ref().is_ok_and(|asked| english(asked.ui_locales.as_deref()));
    let answer = async {
        paced(gateway, peer)?;
        logged_out(gateway, parameters?, english).await
    };
    answer.await.unwrap_or_else(|problem| problem.into_page(english))
}

async fn logged_out(gateway: &Gateway, asked: Parameters, english: bool) -> Result<Response, Problem> {
    let issuer = issuer(gateway)?;
    let hint = match &asked.id_token_hint {
        Some(hint) => Some(Hint::read(gateway, issuer, hint)?),
        None => None,
    };
    if asked.state.as_ref().is_some_and(|state| state.len() > LONGEST) {
        let detail = format!("must be {LONGEST} octets at most");
        return Err(Problem::faults(vec![Fault::new("state", "out_of_range", detail)]));
    }
    let named = asked.client_id.as_deref();
    if hint.as_ref().is_some_and(|hint| named.is_some_and(|named| named != hint.aud)) {
        return Err(Problem::id_token_hint_invalid());
    }
    let client = hint.as_ref().map(|hint| hint.aud.as_str()).or(named);
    // Where it leads is settled before anything ends.
    let leads = match &asked.post_logout_redirect_uri {
        Some(uri) => Some(registered(gateway, client, uri).await?),
        None => None,
    };
    if let Some(Hint { sid, aud, .. }) = &hint {
        match gateway.store.login(sid, OffsetDateTime::now_utc()).await {
            Ok(login) if login.app.as_str() == aud => {
                revoke::ended(gateway, &login, &browser(&login.browser), ("oidc.logout", "ok")).await?;
            }
            Ok(_) => return Err(Problem::id_token_hint_invalid()),
            Err(StoreError::NotFound { .. }) => {} // it was over
            Err(error) => return Err(Problem::from_logins(&error)),
        }
    }
    match leads {
        Some(mut url) => {
            if let Some(state) = &asked.state {
                url.query_pairs_mut().append_pair("state", state);
            }
            page::see_other(url.as_str())
        }
        None => Ok(page::logged_out(english)),
    }
}

/// An address that the app registered.
async fn registered(gateway: &Gateway, client: Option<&str>, uri: &str) -> Result<Url, Problem> {
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let id = client.and_then(|id| AppId::parse(id).ok());
    let app = id.and_then(|id| register.app(&id)).ok_or_else(Problem::login_client_unknown)?;
    let client = app.app.oidc.as_ref().ok_or_else(Problem::login_client_unknown)?;
    if !client.post_logout_redirect_uris.contains(uri) {
        return Err(Problem::redirect_uri_unknown("post_logout_redirect_uri"));
    }
    Url::parse(uri).map_err(|_| Problem::login_broken("address"))
}
