//! Access tokens (RFC 6750, in the shape of RFC 9068): made by `tokens`, signed by the site's `token` key, checked
//! here at every request. A token is worth no more than the credential it was given for: whatever ends that, or the
//! app, ends the token.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{AppId, OwnName};
use formats::PublicKey;
use serde::{Deserialize, Serialize};
use signing::KeyRing;
use store::{App, KeyPurpose, KeyState};
use time::OffsetDateTime;

use super::jws::{self, Jws};
use super::register::Register;
use super::throttle::Attempt;
use super::{Proved, admitted, mutual_tls};
use crate::problem::Problem;
use crate::state::Gateway;

/// The type that access tokens have in their header, so that nothing else that the key signed is one (RFC 9068, 2.1).
pub(crate) const TYPE: &str = "at+jwt";

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    pub(crate) client_id: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    /// What it may be used for, between blanks.
    pub(crate) scope: String,
    /// The credential that its app proved itself by.
    pub(crate) credential: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cnf: Option<Confirmation>,
}

/// What a token is bound to (RFC 8705, 3.1).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    /// SHA-256 of the client certificate, base64url.
    #[serde(rename = "x5t#S256")]
    pub(crate) thumbprint: String,
}

/// A public key that access tokens are verified with.
pub(crate) struct TokenKey<'k> {
    pub(crate) kid: String,
    pub(crate) key: &'k PublicKey,
}

/// The site's keys for tokens: of the versions that sign and of those that signed until lately.
pub(crate) fn token_keys(ring: &KeyRing) -> Vec<TokenKey<'_>> {
    let versions = ring.iter().filter(|key| key.purpose == KeyPurpose::Token).flat_map(|key| key.versions());
    let usable = versions.filter(|version| matches!(version.state, KeyState::Active | KeyState::Retiring));
    let keys = usable.flat_map(|version| &version.copies);
    keys.map(|copy| TokenKey { kid: key_id(&copy.public_key), key: &copy.public_key }).collect()
}

/// The name of a key in tokens and key sets: its JWK thumbprint would do the same, and this is of any key.
pub(crate) fn key_id(key: &PublicKey) -> String {
    jws::encode(&mutual_tls::thumbprint(&key.spki_der())[..16])
}

/// The token that a request shows.
pub(crate) fn shown(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut shown = headers.get_all("authorization").iter();
    let (Some(shown), None) = (shown.next(), shown.next()) else {
        return Err(Problem::header_repeated("authorization"));
    };
    let text = shown.to_str().ok().and_then(|text| text.split_once(' '));
    match text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, token)) => Ok(token),
        None => Err(Problem::token_invalid("the authorization field must be Bearer and an access token")),
    }
}

pub(crate) fn prove(
    parts: &Parts,
    gateway: &Gateway,
    register: &Register,
    attempt: &mut Attempt,
) -> Result<Proved, Problem> {
    let token = shown(&parts.headers)?;
    attempt.claims(OwnName::Authorization.as_str());
    let no_token = || Problem::token_invalid("this is no access token");
    let jws = Jws::parse(token).filter(|jws| jws.header.typ.as_deref() == Some(TYPE)).ok_or_else(no_token)?;
    let claims: Claims = jws.claims().ok_or_else(no_token)?;
    // Nothing of what it says is believed yet: failures are counted for the app that it names.
    if let Ok(app) = AppId::parse_registered(&claims.client_id) {
        attempt.claims_app(&app);
    }
    attempt.admit(gateway)?;
    if !is_ours(&jws, gateway) {
        return Err(no_token());
    }
    let now = OffsetDateTime::now_utc();
    let issuer = gateway.config.callers.issuer.as_str();
    if claims.iss != issuer || claims.aud != issuer {
        return Err(Problem::token_invalid("this access token is for somebody else"));
    }
    let revoked = || Problem::token_invalid("what this access token was given for does not hold any more");
    let id = AppId::parse(&claims.client_id).map_err(|_| revoked())?;
    let app = register.app(&id).ok_or_else(revoked)?;
    if claims.exp <= now.unix_timestamp() {
        attempt.proved(&app.app.id); // it was this app's once: nobody guesses
        return Err(Problem::token_expired());
    }
    let held = app.credentials.iter().find(|known| known.credential.id == claims.credential);
    if !held.is_some_and(|known| known.credential.holds_at(now)) {
        return Err(revoked());
    }
    crate::request_id::note_credential(&claims.credential);
    if let Some(bound) = &claims.cnf {
        let wanted = URL_SAFE_NO_PAD.decode(&bound.thumbprint).unwrap_or_default();
        let shown = mutual_tls::certificate(parts).map(|certificate| certificate.thumbprint());
        if shown.is_none_or(|shown| shown[..] != wanted[..]) {
            return Err(Problem::token_invalid("this access token is bound to another client certificate"));
        }
    }
    attempt.proved(&app.app.id);
    admitted(app, now)?;
    Ok(Proved { restricted: restricted(&app.app, &claims.scope), app: Arc::clone(app) })
}

/// Whether a key of the site's for tokens signed it.
pub(crate) fn is_ours(jws: &Jws<'_>, gateway: &Gateway) -> bool {
    let ring = gateway.system.keys();
    let keys = token_keys(&ring);
    let named = keys.iter().find(|key| jws.header.kid.as_deref() == Some(&key.kid));
    named.is_some_and(|named| jws.is_by(named.key))
}

/// The app with the scopes of its token only, if those are fewer.
fn restricted(app: &Arc<App>, scope: &str) -> Option<Arc<App>> {
    let granted: BTreeSet<String> =
        scope.split(' ').filter(|scope| app.scopes.contains(*scope)).map(str::to_owned).collect();
    (granted != app.scopes).then(|| Arc::new(App { scopes: granted, ..App::clone(app) }))
}
