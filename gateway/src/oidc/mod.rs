//! Logging in to apps with an electronic license by OpenID Connect: this site is the provider, the code of `/v1/sessions` its login page,
//! the phone the place where somebody consents. [`authorize`] and [`login`] are the browser's side, [`tokens`], [`userinfo`] and
//! [`revoke`] the app's.

pub(crate) mod authorize;
pub(crate) mod browsers;
mod claims;
pub(crate) mod client;
mod cookie;
pub(crate) mod device;
pub(crate) mod discovery;
mod hint;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod page;
pub(crate) mod pushed;
mod request;
pub(crate) mod revoke;
pub(crate) mod tokens;
pub(crate) mod userinfo;

use std::net::IpAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sm3::{Digest, Sm3};
use store::AuditEntry;
use time::OffsetDateTime;
use tracing::Instrument;

use crate::auth::bucket::Pace;
use crate::auth::{Peer, throttle};
use crate::problem::Problem;
use crate::state::Gateway;

/// The scope that makes a request one of OpenID Connect.
const OPENID: &str = "openid";
/// The enterprise: code, name, standing; and the result that the site signed.
const LICENSE: &str = "license";
/// The license's face, as much as the app may see and the holder agrees to.
const FACE: &str = "license.face";
/// As whom somebody acts, and who.
const OPERATOR: &str = "operator";
/// To stay logged in when nobody is there.
const OFFLINE: &str = "offline_access";
/// What an app can be registered for.
const SCOPES: [&str; 4] = [LICENSE, FACE, OFFLINE, OPERATOR];

/// A secret that is handed out: 256 random bits, base64url.
fn secret() -> Result<String, Problem> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| Problem::no_random(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// What is kept of a secret.
fn digest(secret: &str) -> [u8; 32] {
    Sm3::digest(secret.as_bytes()).into()
}

/// A browser, as the audit log has it.
fn browser(digest: &[u8; 32]) -> String {
    format!("browser:{}", &hex::encode(digest)[..16])
}

/// The site's issuer, if it can be one of ID tokens.
fn issuer(gateway: &Gateway) -> Result<&str, Problem> {
    let issuer = gateway.config.callers.issuer.as_str();
    if issuer.starts_with("https://") { Ok(issuer) } else { Err(Problem::oidc_not_configured()) }
}

/// How often one source may begin to log in or log out: a hall of people behind one address.
const LOGINS: Pace = Pace { rate: 3.0, burst: 120.0 };

/// Counts a browser that begins or ends something, at its source.
///
/// # Errors
/// It does so too often.
fn paced(gateway: &Gateway, peer: &Peer) -> Result<(), Problem> {
    let wait = source(peer).and_then(|source| gateway.callers.logins.take(source, LOGINS, Instant::now()));
    wait.map_or(Ok(()), |wait| Err(Problem::too_many_logins(wait)))
}

/// Where somebody is, if that is an address.
fn source(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Network(address) => Some(throttle::source(address.ip())),
        Peer::Local(_) => None,
    }
}

/// Does something whole in a task of its own: who hangs up in the middle leaves nothing half done.
async fn whole<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    let work = crate::request_id::carried(work).in_current_span();
    tokio::spawn(work).await.map_err(|_| Problem::panicked())
}

/// An entry of the audit log about a login.
fn entry(actor: &str, action: &'static str, subject: String, outcome: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: actor.to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(subject),
    }
}
