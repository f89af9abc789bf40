//! Why nobody is logged in by OpenID Connect.

use axum::http::StatusCode;
use axum::response::Response;
use store::StoreError;

use super::{Problem, ProblemCode};
use crate::oidc::page;

impl Problem {
    /// The answer as a page, for whoever sits before a browser.
    pub(crate) fn into_page(self, english: bool) -> Response {
        let (status, code, retry_after) = (self.status, self.code, self.retry_after);
        let document = self.document(crate::request_id::current());
        let mut response = page::refused(status, code, &document.detail, &document.request_id, english);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(ProblemCode(code));
        response
    }

    /// The site has no URL that could be an issuer.
    pub(crate) fn oidc_not_configured() -> Self {
        let detail = "this site has no https URL as callers.issuer, under which people could log in";
        Self::new(StatusCode::NOT_FOUND, "oidc_not_configured", "No logins here", detail)
    }

    /// A browser was sent here by nobody who may.
    pub(crate) fn login_client_unknown() -> Self {
        let detail = "client_id names no app that people log in to here";
        Self::new(StatusCode::BAD_REQUEST, "login_client_unknown", "Unknown app", detail)
    }

    pub(crate) fn redirect_uri_unknown(parameter: &str) -> Self {
        let detail = format!("{parameter} is not, octet by octet, one that the app registered");
        Self::new(StatusCode::BAD_REQUEST, "redirect_uri_unknown", "Unknown address", detail)
    }

    /// No browser is let in by this name of a pushed request.
    pub(crate) fn request_uri_unknown() -> Self {
        let detail = "request_uri names no request of this app, or one that was used before or is over";
        Self::new(StatusCode::BAD_REQUEST, "request_uri_unknown", "Unknown request", detail)
    }

    /// What an app asks of a login is refused by this code of OAuth.
    pub(crate) fn login_request_refused(error: &'static str, why: String) -> Self {
        Self::token_refused(error, why)
    }

    pub(crate) fn too_many_logins(wait: std::time::Duration) -> Self {
        Self::later("rate_limited", "Too many requests", "too many logins begin at this address", wait)
    }

    pub(crate) fn login_unknown() -> Self {
        let detail = "there is no such login, or not any more; begin again where you want to log in";
        Self::new(StatusCode::GONE, "login_unknown", "Unknown login", detail)
    }

    pub(crate) fn login_other_browser() -> Self {
        let detail = "this login was begun in another browser, and ends there";
        Self::new(StatusCode::FORBIDDEN, "login_other_browser", "Another browser", detail)
    }

    pub(crate) fn login_forged() -> Self {
        let detail = "the form that was sent is not the one of this login's page";
        Self::new(StatusCode::FORBIDDEN, "login_forged", "Not permitted", detail)
    }

    pub(crate) fn login_over() -> Self {
        let detail = "this login has come to its end; begin again where you want to log in";
        Self::new(StatusCode::GONE, "login_over", "Login over", detail)
    }

    /// An ID token that was brought as a hint is none of this site's.
    pub(crate) fn id_token_hint_invalid() -> Self {
        let detail = "id_token_hint is no ID token of this site, or another app's";
        Self::new(StatusCode::BAD_REQUEST, "id_token_hint_invalid", "Invalid request", detail)
    }

    /// What was to be exchanged for tokens is of no use.
    pub(crate) fn invalid_grant(code: &'static str) -> Self {
        let detail = match code {
            "code_unknown" => "there is no such authorization code of this app",
            "code_expired" => "the authorization code was not exchanged in time",
            "code_used" => "the authorization code was exchanged before; whatever came of it has ended",
            "redirect_uri_differs" => "redirect_uri is not the one that the code was asked for with",
            "code_verifier_wrong" => "code_verifier is not the one whose digest was sent as code_challenge",
            "device_code_unknown" => "there is no such device code of this app",
            "device_code_used" => "the device code was exchanged before; whatever came of it has ended",
            "refresh_token_unknown" => "there is no such refresh token of this app",
            "refresh_token_expired" => "the refresh token's time is over",
            "refresh_token_used" => "the refresh token was exchanged before; whatever came of it has ended",
            "login_ended" => "the login has ended",
            "license_refused" => "the license may not be used for this any more; the login has ended",
            _ => "what was brought is of no use",
        };
        Self::token_refused(code, detail)
    }

    /// A device that asks has to ask again, or not any more (RFC 8628, 3.5).
    pub(crate) fn device_waits(code: &'static str) -> Self {
        let detail = match code {
            "authorization_pending" => "nobody has confirmed yet; ask again",
            "slow_down" => "the device asks too often; wait longer each time from now on",
            "access_denied" => "the holder refused, or gave up",
            "expired_token" => "nobody confirmed in time; begin again",
            _ => "it cannot be told now",
        };
        Self::token_refused(code, detail)
    }

    pub(crate) fn unauthorized_client() -> Self {
        Self::token_refused("unauthorized_client", "people do not log in to this app by OpenID Connect")
    }

    /// Something that is always there is not.
    pub(crate) fn login_broken(what: &str) -> Self {
        Self::internal("login_broken", format!("a login's {what}"))
    }

    /// What the register of logins answered.
    pub(crate) fn from_logins(error: &StoreError) -> Self {
        const WHAT: &str = "login";
        match error {
            StoreError::NotFound { what: WHAT, .. } => Self::login_unknown(),
            StoreError::Altered { what: "oidc_logins" | "oidc_pushed" | "oidc_secrets", id }
            | StoreError::Corrupt { what: WHAT, id, .. } => {
                Self::internal("login_broken", format!("login {id} was altered outside the gateway"))
            }
            error => Self::database(error),
        }
    }
}
