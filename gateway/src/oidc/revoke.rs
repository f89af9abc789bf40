//! `/oidc/revoke` (RFC 7009): an app gives its tokens up. With one of them all that came of the login ends.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::{Login, LoginChange, StoreError};
use utoipa::ToSchema;

use super::tokens::{Caller, ClientForm, Refused, unavailable};
use super::{digest, entry, page};
use crate::metrics::LoginStep;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::tokens::{self, TokenProblem};

/// A token that is to hold no longer.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RevocationRequest {
    /// An access or a refresh token.
    token: String,
    #[serde(flatten)]
    proof: ClientForm,
}

/// End a login by one of its tokens. That there is no such token of the app is no error.
#[utoipa::path(
    post, path = "/oidc/revoke", tag = "oidc",
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "no token of that login holds any more"),
        (status = 400, description = "`invalid_request`, `unauthorized_client`", body = TokenProblem),
        (status = 401, description = "`invalid_client`", body = TokenProblem),
        (status = "4XX", description = "refused; see `code`", body = TokenProblem),
        (status = 503, description = "not now; see `code`", body = TokenProblem),
    )
)]
pub(crate) async fn post_revoke(State(gateway): State<Gateway>, request: Request) -> Response {
    match revoked(&gateway, request).await {
        Ok(()) => (StatusCode::OK, page::quiet()).into_response(),
        Err((error, problem)) => tokens::refusal(error, problem),
    }
}

async fn revoked(gateway: &Gateway, request: Request) -> Result<(), Refused> {
    let (parts, body) = request.into_parts();
    let form: RevocationRequest =
        tokens::form(gateway, &parts.headers, body).await.map_err(|problem| ("invalid_request", problem))?;
    let caller = Caller::of(gateway, &parts, &form.proof).await?;
    let found = gateway.store.login_of_token(&digest(&form.token)).await;
    let found = found.map_err(|error| unavailable(Problem::from_logins(&error)))?;
    match found.filter(|(login, _)| login.app == *caller.id()) {
        Some((login, _)) => {
            ended(gateway, &login, caller.id().as_str(), ("oidc.revoke", "ok")).await.map_err(unavailable)
        }
        None => Ok(()),
    }
}

/// Ends a login; one that had ended stays so.
pub(super) async fn ended(
    gateway: &Gateway,
    login: &Login,
    actor: &str,
    (action, outcome): (&'static str, &'static str),
) -> Result<(), Problem> {
    let entry = entry(actor, action, format!("{} {}", login.id, login.app), outcome);
    match gateway.audit.append_login(entry, LoginChange::end(login)).await {
        Ok(_) => {
            gateway.metrics.login(LoginStep::Ended);
            Ok(())
        }
        Err(StoreError::Changed { .. }) => Ok(()),
        Err(error) => Err(Problem::record_unavailable(&error)),
    }
}
