//! `/oidc/token`: an app exchanges what the browser brought it, and later one refresh token for the next. A code or a refresh token
//! that comes twice ends all that came of the login: one of the two who had it is a thief.

#![expect(
    clippy::result_large_err,
    reason = "a request is refused once, and what it is refused with is its answer"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::AppId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signing::SystemSignature;
use store::{
    App, AuditEntry, KeyPurpose, Login, LoginChange, LoginState, NewToken, OidcClient, StoreError, TokenKind,
};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::claims::{self, Known};
use super::login::CODE;
use super::request::Asked;
use super::{LICENSE, OFFLINE, device, digest, entry, issuer, page, revoke, secret, source, whole};
use crate::auth::bucket::Pace;
use crate::auth::mutual_tls::{self, ClientCertificate, thumbprint};
use crate::auth::register::KnownApp;
use crate::auth::throttle::Attempt;
use crate::auth::{Peer, admit, admitted, bearer, holding, jws};
use crate::metrics::LoginStep;
use crate::problem::Problem;
use crate::sessions::login::still_stands;
use crate::state::Gateway;
use crate::tally::CallerSlot;
use crate::tokens::{self, ClientProof, TokenProblem};

/// How long somebody stays logged in when nobody is there: after that a code is scanned again.
const STAYS: Duration = Duration::hours(12);
/// How often one source may ask in the name of apps that keep no key.
const KEYLESS: Pace = Pace { rate: 10.0, burst: 200.0 };

/// A token request (OpenID Connect Core 1.0, 3.1.3.1 and 12.1). Parameters that are not known are passed over.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OidcTokenRequest {
    /// `authorization_code`, `refresh_token` or `urn:ietf:params:oauth:grant-type:device_code`.
    grant_type: String,
    /// The authorization code.
    code: Option<String>,
    /// As it was when the code was asked for.
    redirect_uri: Option<String>,
    /// What `code_challenge` is the digest of (RFC 7636).
    code_verifier: Option<String>,
    /// The refresh token.
    refresh_token: Option<String>,
    /// What a device asks with (RFC 8628).
    pub(super) device_code: Option<String>,
    /// Of a refresh token's scopes some; it has all of them in any case.
    scope: Option<String>,
    #[serde(flatten)]
    proof: ClientForm,
}

/// What an app proves itself by.
#[derive(Deserialize, ToSchema)]
pub(super) struct ClientForm {
    /// The app's id; needed with a client certificate, and of an app that keeps no key.
    client_id: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`
    client_assertion_type: Option<String>,
    /// As at `/oauth2/token`; `aud` the site's issuer, its `/oidc/token` or its `/oidc/par`.
    client_assertion: Option<String>,
}

/// Who logged in (OpenID Connect Core 1.0, 3.1.3.3).
#[derive(Serialize, ToSchema)]
pub(crate) struct OidcTokenResponse {
    /// For `/oidc/userinfo`.
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds that it holds for.
    expires_in: i64,
    /// What was granted, between blanks.
    scope: String,
    /// A JWT by `ES256` with a key of `/oauth2/jwks`.
    id_token: String,
    /// For the next tokens, once; with `offline_access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// The claims of the granted scopes beside those of the ID token: JSON, octet by octet as it is signed. With `license`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gw_result: Option<String>,
    /// base64: the site's SM2 signature over it, DER, identifier `1234567812345678`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gw_sig: Option<String>,
    /// The site's key of purpose `front` that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    gw_key: Option<String>,
}

/// An app that people log in to, and that may ask now.
pub(super) struct Caller {
    pub(super) app: Arc<KnownApp>,
    pub(super) client: OidcClient,
    bound: Option<ClientCertificate>,
    /// What it proved itself by; nothing by an app that keeps no key.
    credential: Option<String>,
}

/// A refusal, with its code in OAuth.
pub(super) type Refused = (&'static str, Problem);

pub(super) fn grant_refused(code: &'static str) -> Refused {
    ("invalid_grant", Problem::invalid_grant(code))
}

pub(super) fn unavailable(problem: Problem) -> Refused {
    ("temporarily_unavailable", problem)
}

impl Caller {
    /// The app that proves itself, or that need not.
    pub(super) async fn of(gateway: &Gateway, parts: &Parts, proof: &ClientForm) -> Result<Self, Refused> {
        issuer(gateway).map_err(|problem| ("invalid_request", problem))?;
        if let Some(app) = public(gateway, proof).await.map_err(unavailable)? {
            keyless(gateway, parts).map_err(unavailable)?;
            // Anybody can name it: why it is not served is for those who prove to be it.
            let served = admitted(&app, OffsetDateTime::now_utc());
            served.map_err(|_| ("invalid_client", Problem::login_client_unknown()))?;
            return Self::registered(app, None, None);
        }
        let mut attempt = Attempt::by(parts.extensions.get::<Peer>().cloned());
        let shown = ClientProof {
            client_id: proof.client_id.as_deref(),
            assertion_type: proof.client_assertion_type.as_deref(),
            assertion: proof.client_assertion.as_deref(),
            certificate: mutual_tls::certificate(parts),
            // Libraries name the token endpoint wherever they prove themselves, or where they are (RFC 9126, 2).
            paths: &["/oidc/token", "/oidc/par"],
        };
        let proved = match tokens::client(gateway, shown, &mut attempt).await {
            Ok(proved) => proved,
            Err(problem) => {
                let unavailable = problem.is_unavailable();
                let problem = attempt.refused(&parts.extensions, gateway, problem).await;
                return Err((
                    if unavailable { "temporarily_unavailable" } else { "invalid_client" },
                    problem,
                ));
            }
        };
        attempt.succeeded(gateway);
        counted(gateway, &parts.extensions, &proved.app.app)?;
        Self::registered(proved.app, proved.bound, Some(proved.credential))
    }

    fn registered(
        app: Arc<KnownApp>,
        bound: Option<ClientCertificate>,
        credential: Option<String>,
    ) -> Result<Self, Refused> {
        match app.app.oidc.clone() {
            Some(client) => Ok(Self { app, client, bound, credential }),
            None => Err(("unauthorized_client", Problem::unauthorized_client())),
        }
    }

    pub(super) fn id(&self) -> &AppId {
        &self.app.app.id
    }

    /// Counts the request of an app that keeps no key, once it has brought what only it has: until then anybody asks in its name.
    pub(super) fn admit_keyless(&self, gateway: &Gateway, extensions: &Extensions) -> Result<(), Refused> {
        match self.credential {
            None => counted(gateway, extensions, &self.app.app),
            Some(_) => Ok(()), // it was, when it had proved itself
        }
    }
}

/// Counts a request as this app's.
fn counted(gateway: &Gateway, extensions: &Extensions, app: &App) -> Result<(), Refused> {
    if let Some(slot) = extensions.get::<CallerSlot>() {
        slot.fill(app.id.to_string());
    }
    admit(extensions, gateway, app).map_err(unavailable)
}

/// Counts a request in the name of an app that keeps no key, at its source.
fn keyless(gateway: &Gateway, parts: &Parts) -> Result<(), Problem> {
    let source = parts.extensions.get::<Peer>().and_then(source);
    let wait = source.and_then(|source| gateway.callers.keyless.take(source, KEYLESS, Instant::now()));
    wait.map_or(Ok(()), |wait| Err(Problem::too_many_logins(wait)))
}

/// The app that is named, if it is one that keeps no key and shows none. One that has a key proves itself by it, also where it is registered
/// as one that could not.
async fn public(gateway: &Gateway, proof: &ClientForm) -> Result<Option<Arc<KnownApp>>, Problem> {
    let id = proof.client_id.as_deref().and_then(|id| AppId::parse(id).ok());
    let Some(id) = id.filter(|_| proof.client_assertion.is_none()) else { return Ok(None) };
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let now = OffsetDateTime::now_utc();
    let is_public = |app: &&Arc<KnownApp>| {
        app.app.oidc.as_ref().is_some_and(|client| client.public) && holding(app, now).next().is_none()
    };
    Ok(register.app(&id).filter(is_public).map(Arc::clone))
}

/// Give an app tokens for its authorization code, or for its refresh token.
#[utoipa::path(
    post, path = "/oidc/token", tag = "oidc",
    request_body(content = OidcTokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "who logged in, and on record", body = OidcTokenResponse),
        (status = 400, description = "`invalid_request`, `invalid_scope`, `unsupported_grant_type`, `unauthorized_client`, `invalid_grant`; see `code`", body = TokenProblem),
        (status = 401, description = "`invalid_client`", body = TokenProblem),
        (status = 429, description = "too many failures", body = TokenProblem),
        (status = "4XX", description = "refused; see `code`", body = TokenProblem),
        (status = 503, description = "not now; see `code`", body = TokenProblem),
    )
)]
pub(crate) async fn post_oidc_token(State(gateway): State<Gateway>, request: Request) -> Response {
    let done = whole(async move { token(&gateway, request).await }).await;
    match done.unwrap_or_else(|problem| Err(unavailable(problem))) {
        Ok(answer) => (page::quiet(), Json(answer)).into_response(),
        Err((error, problem)) => tokens::refusal(error, problem),
    }
}

async fn token(gateway: &Gateway, request: Request) -> Result<OidcTokenResponse, Refused> {
    let (parts, body) = request.into_parts();
    let form: OidcTokenRequest =
        tokens::form(gateway, &parts.headers, body).await.map_err(|problem| ("invalid_request", problem))?;
    if !["authorization_code", "refresh_token", device::GRANT].contains(&form.grant_type.as_str()) {
        let supported = format!("authorization_code, refresh_token or {}", device::GRANT);
        return Err(("unsupported_grant_type", Problem::unsupported_grant_type(&supported)));
    }
    let caller = Caller::of(gateway, &parts, &form.proof).await?;
    match form.grant_type.as_str() {
        "authorization_code" => redeemed(gateway, &caller, &form, &parts.extensions).await,
        device::GRANT => device::exchanged(gateway, &caller, &form, &parts.extensions).await,
        _ => refreshed(gateway, &caller, &form, &parts.extensions).await,
    }
}

pub(super) fn wanted<'f>(name: &str, value: Option<&'f String>) -> Result<&'f str, Refused> {
    value
        .map(String::as_str)
        .ok_or_else(|| ("invalid_request", Problem::token_request(format!("{name} is required"))))
}

/// What was brought a second time ends all that came of it.
pub(super) async fn replayed(
    gateway: &Gateway,
    caller: &Caller,
    login: &Login,
    code: &'static str,
) -> Refused {
    let entry = entry(caller.id().as_str(), "oidc.replay", login.id.clone(), code);
    let ended = gateway.audit.append_login(entry, LoginChange::end(login)).await;
    match ended {
        Ok(_) => gateway.metrics.login(LoginStep::Replayed),
        Err(StoreError::Changed { .. }) => {} // it had ended
        Err(error) => return unavailable(Problem::record_unavailable(&error)),
    }
    tracing::warn!(app = %caller.id(), login = login.id, code, "what came of a login has ended");
    grant_refused(code)
}

async fn redeemed(
    gateway: &Gateway,
    caller: &Caller,
    form: &OidcTokenRequest,
    extensions: &Extensions,
) -> Result<OidcTokenResponse, Refused> {
    let code = wanted("code", form.code.as_ref())?;
    let redirect_uri = wanted("redirect_uri", form.redirect_uri.as_ref())?;
    let verifier = wanted("code_verifier", form.code_verifier.as_ref())?;
    let found = gateway.store.login_of_code(&digest(code)).await;
    let found = found.map_err(|error| unavailable(Problem::from_logins(&error)))?;
    let login =
        found.filter(|login| login.app == *caller.id()).ok_or_else(|| grant_refused("code_unknown"))?;
    caller.admit_keyless(gateway, extensions)?;
    let now = OffsetDateTime::now_utc();
    match login.state {
        LoginState::Granted if login.granted_at.is_some_and(|at| now < at + CODE) => {}
        LoginState::Granted | LoginState::Open => return Err(grant_refused("code_expired")),
        LoginState::Redeemed => return Err(replayed(gateway, caller, &login, "code_used").await),
        LoginState::Ended => return Err(grant_refused("login_ended")),
    }
    let asked = claims::asked(&login).map_err(unavailable)?;
    if asked.redirect_uri != redirect_uri {
        return Err(grant_refused("redirect_uri_differs"));
    }
    if !caller.client.redirect_uris.contains(redirect_uri) {
        return Err(("invalid_grant", Problem::redirect_uri_unknown("redirect_uri"))); // it was withdrawn
    }
    let is_verifier =
        (43..=128).contains(&verifier.len()) && Some(thumbprint(verifier.as_bytes())) == asked.challenge;
    if !is_verifier {
        return Err(grant_refused("code_verifier_wrong"));
    }
    exchanged(gateway, caller, &login, asked, ("code", "code_used")).await
}

/// Gives tokens for a login whose code was brought; whoever brings it a second time ends it, by that code of refusal.
pub(super) async fn exchanged(
    gateway: &Gateway,
    caller: &Caller,
    login: &Login,
    asked: Asked,
    (by, used): (&str, &'static str),
) -> Result<OidcTokenResponse, Refused> {
    let now = OffsetDateTime::now_utc();
    let known = Known::of(login).map_err(unavailable)?;
    let most = (now + STAYS).min(known.holds_until);
    let made = Made::of(gateway, caller, login, &known, asked, (now, most)).await?;
    let ends_at = if made.refresh.is_some() { most } else { made.access_ends };
    let change = LoginChange::redeem(login, made.tokens(ends_at), ends_at);
    match made.record(gateway, caller, login, by, change).await {
        Ok(()) => {}
        // Two came with one code at the same time.
        Err(StoreError::Changed { .. }) => return Err(replayed(gateway, caller, login, used).await),
        Err(error) => return Err(unavailable(Problem::record_unavailable(&error))),
    }
    gateway.metrics.login(LoginStep::Redeemed);
    Ok(made.response)
}

async fn refreshed(
    gateway: &Gateway,
    caller: &Caller,
    form: &OidcTokenRequest,
    extensions: &Extensions,
) -> Result<OidcTokenResponse, Refused> {
    let refresh = digest(wanted("refresh_token", form.refresh_token.as_ref())?);
    let found = gateway.store.login_of_token(&refresh).await;
    let found = found.map_err(|error| unavailable(Problem::from_logins(&error)))?;
    let is_ours = |(login, token): &(Login, _)| {
        let token: &store::LoginToken = token;
        token.kind == TokenKind::Refresh && login.app == *caller.id()
    };
    let (login, token) = found.filter(is_ours).ok_or_else(|| grant_refused("refresh_token_unknown"))?;
    if login.state != LoginState::Redeemed {
        return Err(grant_refused("login_ended"));
    }
    if token.is_used {
        return Err(replayed(gateway, caller, &login, "refresh_token_used").await);
    }
    let now = OffsetDateTime::now_utc();
    if now >= token.expires_at {
        return Err(grant_refused("refresh_token_expired"));
    }
    caller.admit_keyless(gateway, extensions)?;
    let asked = claims::asked(&login).map_err(unavailable)?;
    let more = form.scope.iter().flat_map(|scope| scope.split(' '));
    if let Some(more) = more.filter(|scope| !scope.is_empty()).find(|scope| !asked.scopes.contains(*scope)) {
        return Err(("invalid_scope", Problem::invalid_scope(more)));
    }
    // What the app is registered for no more it does not get any more.
    if !caller.client.scopes.contains(OFFLINE) {
        return Err(grant_refused("login_ended"));
    }
    if let Err(problem) = still_stands(gateway, &login).await {
        if problem.is_unavailable() {
            return Err(unavailable(problem));
        }
        let ended = revoke::ended(gateway, &login, caller.id().as_str(), ("oidc.end", problem.code())).await;
        ended.map_err(unavailable)?;
        return Err(grant_refused("license_refused"));
    }
    let known = Known::of(&login).map_err(unavailable)?;
    // The nonce is that of the first ID token alone.
    let asked = Asked { nonce: None, ..asked };
    let made = Made::of(gateway, caller, &login, &known, asked, (now, login.ends_at)).await?;
    let change = LoginChange::exchange(&login, refresh, made.tokens(login.ends_at), now);
    match made.record(gateway, caller, &login, "refresh token", change).await {
        Ok(()) => {}
        Err(StoreError::Changed { .. }) => {
            return Err(replayed(gateway, caller, &login, "refresh_token_used").await);
        }
        Err(error) => return Err(unavailable(Problem::record_unavailable(&error))),
    }
    gateway.metrics.login(LoginStep::Refreshed);
    Ok(made.response)
}

/// Tokens that were made and are given out once it is on record.
struct Made {
    response: OidcTokenResponse,
    access: [u8; 32],
    access_ends: OffsetDateTime,
    refresh: Option<[u8; 32]>,
    bound: Option<[u8; 32]>,
    credential: Option<String>,
    signed: SystemSignature,
}

/// The claims of the granted scopes as the site signed them by SM2.
struct Vouched {
    text: String,
    /// base64.
    signature: String,
    key: String,
}

impl Made {
    /// Before anything changes: if no device signs, it can be tried again. The second time is when the login ends at the latest.
    async fn of(
        gateway: &Gateway,
        caller: &Caller,
        login: &Login,
        known: &Known,
        asked: Asked,
        (now, most): (OffsetDateTime, OffsetDateTime),
    ) -> Result<Self, Refused> {
        let kept = |scope: &String| scope == super::OPENID || caller.client.scopes.contains(scope);
        let scopes: BTreeSet<String> = asked.scopes.into_iter().filter(kept).collect();
        let access_token = secret().map_err(unavailable)?;
        let refresh_token = match scopes.contains(OFFLINE) {
            true => Some(secret().map_err(unavailable)?),
            false => None,
        };
        let access_ends = (now + gateway.config.callers.token_lifetime).min(most);
        let times = (now.unix_timestamp(), access_ends.unix_timestamp());
        let sub = claims::subject(gateway, &asked.sector, &known.uscc).await.map_err(unavailable)?;
        let own = json!({
            "iss": issuer(gateway).map_err(unavailable)?, "sub": sub, "aud": caller.id(), "iat": times.0,
            "exp": times.1, "auth_time": known.auth_time, "acr": known.acr, "amr": ["sm2"], "sid": login.id,
        });
        let mut own = own.as_object().cloned().unwrap_or_default();
        own.extend(asked.nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        let mut all = known.claims(&scopes, &caller.app.app);
        let mut in_id_token = all.clone();
        in_id_token.retain(|name, _| asked.in_id_token.contains(name));
        in_id_token.extend(own.clone());
        let half = thumbprint(access_token.as_bytes());
        in_id_token.insert("at_hash".to_owned(), jws::encode(&half[..16]).into());
        let (id_token, signed) = signed(gateway, &in_id_token.into()).await.map_err(unavailable)?;
        all.extend(own);
        let vouched = match scopes.contains(LICENSE) {
            true => Some(vouched(gateway, &all.into()).await.map_err(unavailable)?),
            false => None,
        };
        let (gw_result, gw_sig, gw_key) = match vouched {
            Some(Vouched { text, signature, key }) => (Some(text), Some(signature), Some(key)),
            None => (None, None, None),
        };
        Ok(Self {
            access: digest(&access_token),
            access_ends,
            refresh: refresh_token.as_deref().map(digest),
            bound: caller.bound.as_ref().map(ClientCertificate::thumbprint),
            credential: caller.credential.clone(),
            signed,
            response: OidcTokenResponse {
                access_token,
                token_type: "Bearer",
                expires_in: times.1 - times.0,
                scope: scopes.into_iter().collect::<Vec<_>>().join(" "),
                id_token,
                refresh_token,
                gw_result,
                gw_sig,
                gw_key,
            },
        })
    }

    /// What is kept of them, in a login that ends then.
    fn tokens(&self, ends_at: OffsetDateTime) -> Vec<NewToken> {
        let access = NewToken {
            digest: self.access,
            kind: TokenKind::Access,
            bound: self.bound,
            credential: self.credential.clone(),
            expires_at: self.access_ends.min(ends_at),
        };
        // Who exchanges it proves itself anew.
        let refresh = self.refresh.map(|digest| NewToken {
            digest,
            kind: TokenKind::Refresh,
            bound: None,
            credential: None,
            expires_at: ends_at,
        });
        std::iter::once(access).chain(refresh).collect()
    }

    async fn record(
        &self,
        gateway: &Gateway,
        caller: &Caller,
        login: &Login,
        by: &str,
        change: LoginChange,
    ) -> Result<(), StoreError> {
        let entry = entry(caller.id().as_str(), "oidc.token", format!("{} by {by}", login.id), "ok");
        let (device, key) = (Some(self.signed.device.to_string()), Some(self.signed.key.to_string()));
        let result_digest = self.response.gw_result.as_ref().map(|text| hex::encode(digest(text)));
        let entry = AuditEntry { device, key, result_digest, ..entry };
        gateway.audit.append_login(entry, change).await.map(drop)
    }
}

/// The type of an ID token: an access token has another one.
pub(super) const TYPE: &str = "JWT";

/// Claims, signed by the key that the site's access tokens are signed by.
async fn signed(gateway: &Gateway, claims: &Value) -> Result<(String, SystemSignature), Problem> {
    let input = |key: &formats::PublicKey| {
        jws::signing_input(&json!({"alg": "ES256", "typ": TYPE, "kid": bearer::key_id(key)}), claims)
    };
    let made = gateway.system.sign(KeyPurpose::Token, |_, copy| input(&copy.public_key).into_bytes()).await?;
    let signature = formats::ecdsa::der_to_fixed(&made.signature).ok_or_else(Problem::token_key_unfit)?;
    Ok((jws::compact(&input(&made.copy.public_key), &signature), made))
}

/// Claims, signed by the key that the site's answers to its front are signed by.
async fn vouched(gateway: &Gateway, claims: &Value) -> Result<Vouched, Problem> {
    let text = claims.to_string();
    let made = gateway.system.sign(KeyPurpose::Front, |_, _| text.clone().into_bytes()).await;
    let made = made.map_err(|error| Problem::front_not_ready(&error))?;
    Ok(Vouched { signature: STANDARD.encode(&made.signature), key: made.key.to_string(), text })
}
