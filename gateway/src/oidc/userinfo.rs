//! `/oidc/userinfo` (OpenID Connect Core 1.0, 5.3): who logged in, by the access token of the login.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use store::{LoginState, TokenKind};
use time::OffsetDateTime;

use super::claims::{self, Known};
use super::request::Asked;
use super::{digest, entry, page};
use crate::auth::{admit, admitted, bearer, holding, mutual_tls};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// Who logged in: `sub`, and the claims of the granted scopes as far as the app may see them now.
#[utoipa::path(
    get, path = "/oidc/userinfo", tag = "oidc",
    params(("authorization" = String, Header, description = "`Bearer` and an access token of `/oidc/token`")),
    responses(
        (status = 200, description = "the claims, and on record", body = Object),
        (status = 401, description = "`token_invalid`, `token_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_userinfo(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    told(&gateway, request).await
}

/// The same.
#[utoipa::path(
    post, path = "/oidc/userinfo", tag = "oidc",
    params(("authorization" = String, Header, description = "`Bearer` and an access token of `/oidc/token`")),
    responses(
        (status = 200, description = "the claims, and on record", body = Object),
        (status = 401, description = "`token_invalid`, `token_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_userinfo(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    told(&gateway, request).await
}

async fn told(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let token = match parts.headers.contains_key("authorization") {
        true => bearer::shown(&parts.headers)?,
        false => {
            return Err(Problem::token_invalid("the authorization field must be Bearer and an access token"));
        }
    };
    let found = gateway.store.login_of_token(&digest(token)).await;
    let found = found.map_err(|error| Problem::from_logins(&error))?;
    let unknown = || Problem::token_invalid("this is no access token of a login, or the login has ended");
    let found =
        found.filter(|(login, token)| token.kind == TokenKind::Access && login.state == LoginState::Redeemed);
    let (login, token) = found.ok_or_else(unknown)?;
    let now = OffsetDateTime::now_utc();
    if now >= token.expires_at {
        return Err(Problem::token_expired());
    }
    let shown = mutual_tls::certificate(&parts).map(|certificate| certificate.thumbprint());
    if token.bound.is_some() && token.bound != shown {
        return Err(Problem::token_invalid("this access token is bound to another client certificate"));
    }
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let app = register.app(&login.app).ok_or_else(unknown)?;
    // A token is worth no more than the credential that it was given for.
    let is_held = |id: &String| holding(app, now).any(|known| known.credential.id == *id);
    if !token.credential.as_ref().is_none_or(is_held) {
        return Err(Problem::token_invalid("what this access token was given for does not hold any more"));
    }
    admitted(app, now)?;
    if let Some(slot) = parts.extensions.get::<CallerSlot>() {
        slot.fill(app.app.id.to_string());
    }
    admit(&parts.extensions, gateway, &app.app)?;
    let client = app.app.oidc.as_ref().ok_or_else(unknown)?;
    let known = Known::of(&login)?;
    let Asked { mut scopes, sector, .. } = claims::asked(&login)?;
    scopes.retain(|scope| client.scopes.contains(scope));
    let mut told = known.claims(&scopes, &app.app);
    told.insert("sub".to_owned(), claims::subject(gateway, &sector, &known.uscc).await?.into());
    let subject = format!("{} {}", login.id, known.uscc);
    let entry = entry(app.app.id.as_str(), "oidc.userinfo", subject, "ok");
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok((page::quiet(), Json(Value::from(told))).into_response())
}
