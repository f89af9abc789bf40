//! What binds a login to the browser that began it: a secret in a cookie of that login, and what is derived from it for the forms of
//! its pages.

use axum::http::{HeaderMap, HeaderValue, header};
use sm3::{Digest, Sm3};
use store::Login;

use super::digest;
use crate::problem::Problem;

/// Seconds that a login may take in a browser.
pub(super) const LONGEST: i64 = 900;

/// The cookie's name. By its prefix browsers take it from this host over TLS only, and no neighbour under the same domain can set it.
fn name(login: &str) -> String {
    format!("__Host-login-{login}")
}

/// Has the browser keep a secret for a login.
pub(super) fn set(login: &str, secret: &str) -> Option<HeaderValue> {
    let name = name(login);
    HeaderValue::try_from(format!(
        "{name}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={LONGEST}"
    ))
    .ok()
}

/// Has the browser forget it.
pub(super) fn clear(login: &str) -> Option<HeaderValue> {
    let name = name(login);
    HeaderValue::try_from(format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")).ok()
}

/// The secret that the browser keeps for this login.
///
/// # Errors
/// It keeps none, or another one: it is another browser.
pub(super) fn shown<'h>(headers: &'h HeaderMap, login: &Login) -> Result<&'h str, Problem> {
    let name = name(&login.id);
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let secret = pairs.find(|(of, _)| *of == name).map(|(_, secret)| secret);
    // Digests are compared: how many octets agree tells nobody anything.
    let is_same = |secret: &&str| digest(secret) == login.browser;
    secret.filter(is_same).ok_or_else(Problem::login_other_browser)
}

/// What the forms of the login's pages carry, so that no other site's form is taken for one of them.
pub(super) fn form_token(secret: &str) -> String {
    hex::encode(Sm3::new().chain_update("license-gateway login form ").chain_update(secret).finalize())
}

/// Whether a form is of the login's page in this browser.
pub(super) fn is_form_token(secret: &str, token: &str) -> bool {
    digest(&form_token(secret)) == digest(token)
}
