//! `/oauth2`: access tokens for apps (OAuth 2.0, `client_credentials`). An app proves itself by an assertion that its
//! key signed (RFC 7523, `private_key_jwt`) or by its client certificate (RFC 8705), which the token is then bound to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use config::{AppId, OwnName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{AuditEntry, KeyPurpose, NonceSpace};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::bearer::{self, Claims, Confirmation};
use crate::auth::jws::{self, Jws};
use crate::auth::mutual_tls::{self, ClientCertificate};
use crate::auth::register::{KnownApp, KnownCredential, Register};
use crate::auth::throttle::Attempt;
use crate::auth::{self, Peer, Scope, admitted, holding, signed};
use crate::body::{self, Patience};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// Octets of a token request.
const LARGEST: usize = 16 << 10;
/// The longest time ahead that an assertion may end.
const LONGEST_ASSERTION: Duration = Duration::minutes(10);
/// What clocks may differ by where something begins to hold.
const LEEWAY: Duration = Duration::seconds(60);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A token request (RFC 6749, 4.4.2). Parameters that are not known are passed over, as 3.2 wants.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `client_credentials`
    grant_type: String,
    /// Scopes between blanks; without them all that the app has.
    scope: Option<String>,
    /// The app's id; needed with a client certificate only.
    client_id: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`
    client_assertion_type: Option<String>,
    /// A JWT by `ES256` or `SM2`: `iss` and `sub` the app's id, `aud` the site's issuer or its token endpoint, `exp` at
    /// most ten minutes ahead, `jti` never used before.
    client_assertion: Option<String>,
}

/// An access token (RFC 6749, 5.1).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenResponse {
    /// For `authorization: Bearer …`.
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds that it holds for.
    expires_in: i64,
    /// What it may be used for, between blanks.
    scope: String,
}

/// A refusal as OAuth clients read it (RFC 6749, 5.2), with the members of a problem document.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenProblem {
    /// `invalid_client`, `invalid_request`, `invalid_scope`, `invalid_grant`, `unauthorized_client`, `unsupported_grant_type` or
    /// `temporarily_unavailable`.
    error: &'static str,
    /// For people.
    error_description: String,
    #[serde(flatten)]
    #[schema(value_type = ProblemDocument)]
    problem: ProblemDocument,
}

/// What an assertion says (RFC 7523, 3).
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, wanted: &str) -> bool {
        match self {
            Self::One(name) => name == wanted,
            Self::Many(names) => names.iter().any(|name| name == wanted),
        }
    }
}

/// An app that proved itself, and by what.
pub(crate) struct Client {
    pub(crate) app: Arc<KnownApp>,
    pub(crate) credential: String,
    pub(crate) bound: Option<ClientCertificate>,
}

/// What an app shows to prove itself at an endpoint of OAuth.
pub(crate) struct ClientProof<'p> {
    pub(crate) client_id: Option<&'p str>,
    pub(crate) assertion_type: Option<&'p str>,
    pub(crate) assertion: Option<&'p str>,
    pub(crate) certificate: Option<ClientCertificate>,
    /// Paths of endpoints whose URLs are audiences for assertions, beside the issuer.
    pub(crate) paths: &'static [&'static str],
}

/// Give an access token to an app.
#[utoipa::path(
    post, path = "/oauth2/token", tag = "tokens",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "an access token, and on record", body = TokenResponse),
        (status = 400, description = "`invalid_request`, `invalid_scope`, `unsupported_grant_type`", body = TokenProblem),
        (status = 401, description = "`invalid_client`: unknown app, wrong key, an assertion for somebody else, late or used before", body = TokenProblem),
        (status = 429, description = "too many failures", body = TokenProblem),
        (status = 503, description = "no device signs", body = TokenProblem),
    )
)]
pub(crate) async fn post_token(State(gateway): State<Gateway>, request: Request) -> Response {
    match token(&gateway, request).await {
        Ok(answer) => {
            let mut response = Json(answer).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err((error, problem)) => refusal(error, problem),
    }
}

type Refused = (&'static str, Problem);

async fn token(gateway: &Gateway, request: Request) -> Result<TokenResponse, Refused> {
    let (parts, body) = request.into_parts();
    let form: TokenRequest =
        form(gateway, &parts.headers, body).await.map_err(|problem| ("invalid_request", problem))?;
    if form.grant_type != "client_credentials" {
        return Err(("unsupported_grant_type", Problem::unsupported_grant_type("client_credentials")));
    }
    let mut attempt = Attempt::by(parts.extensions.get::<Peer>().cloned());
    let certificate = mutual_tls::certificate(&parts);
    let proof = ClientProof {
        client_id: form.client_id.as_deref(),
        assertion_type: form.client_assertion_type.as_deref(),
        assertion: form.client_assertion.as_deref(),
        certificate,
        paths: &["/oauth2/token"],
    };
    let client = match client(gateway, proof, &mut attempt).await {
        Ok(client) => client,
        Err(problem) => {
            let unavailable = problem.is_unavailable();
            let problem = attempt.refused(&parts.extensions, gateway, problem).await;
            return Err((if unavailable { "temporarily_unavailable" } else { "invalid_client" }, problem));
        }
    };
    attempt.succeeded(gateway);
    let app = &client.app.app;
    if let Some(slot) = parts.extensions.get::<CallerSlot>() {
        slot.fill(app.id.to_string());
    }
    auth::admit(&parts.extensions, gateway, app).map_err(|problem| ("temporarily_unavailable", problem))?;
    let scope = match &form.scope {
        None => app.scopes.iter().map(String::as_str).collect::<Vec<_>>(),
        Some(wanted) => wanted.split(' ').filter(|scope| !scope.is_empty()).collect(),
    };
    if let Some(missing) = scope.iter().find(|scope| !app.scopes.contains(**scope)) {
        return Err(("invalid_scope", Problem::invalid_scope(missing)));
    }
    issue(gateway, &client, scope.join(" ")).await.map_err(|problem| ("temporarily_unavailable", problem))
}

/// The parameters of a form.
///
/// # Errors
/// It is none, too large, or has not what is wanted.
pub(crate) async fn form<T: DeserializeOwned>(
    gateway: &Gateway,
    headers: &axum::http::HeaderMap,
    body: axum::body::Body,
) -> Result<T, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let detail = "the request body must be application/x-www-form-urlencoded";
        return Err(Problem::token_request(detail));
    }
    let body = body::read(body, LARGEST, Patience::of(&gateway.config.server)).await?;
    let wrong = |error: serde_urlencoded::de::Error| Problem::token_request(error.to_string());
    serde_urlencoded::from_bytes(&body).map_err(wrong)
}

/// The app that proves itself.
///
/// # Errors
/// It does not, or may not now.
pub(crate) async fn client(
    gateway: &Gateway,
    proof: ClientProof<'_>,
    attempt: &mut Attempt,
) -> Result<Client, Problem> {
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let now = OffsetDateTime::now_utc();
    if let Some(assertion) = proof.assertion {
        if proof.assertion_type != Some(ASSERTION_TYPE) {
            return Err(Problem::client_refused(format!("client_assertion_type must be {ASSERTION_TYPE}")));
        }
        return asserted(gateway, &register, assertion, &proof, attempt, now).await;
    }
    let Some(certificate) = proof.certificate else {
        return Err(Problem::client_refused(
            "an app proves itself by client_assertion or by a client certificate",
        ));
    };
    // By its id only if it can be one: what is remembered of strangers is small.
    let claimed = proof.client_id.and_then(|id| AppId::parse(id).ok());
    match &claimed {
        Some(app) => attempt.claims_app(app),
        None => attempt.claims(OwnName::Certificate.as_str()),
    }
    attempt.admit(gateway)?;
    let (app, known) =
        mutual_tls::whose(&certificate, &register, now).ok_or_else(Problem::certificate_unknown)?;
    if proof.client_id != Some(app.app.id.as_str()) {
        return Err(Problem::certificate_unknown());
    }
    attempt.proved(&app.app.id);
    admitted(app, now)?;
    Ok(Client { app: Arc::clone(app), credential: known.credential.id.clone(), bound: Some(certificate) })
}

/// What is said of an assertion that proves nothing, whatever is wrong with it: who it is by is not known then.
const NOT_PROVED: &str = "the client assertion is not by a key of this app";

async fn asserted(
    gateway: &Gateway,
    register: &Register,
    text: &str,
    proof: &ClientProof<'_>,
    attempt: &mut Attempt,
    now: OffsetDateTime,
) -> Result<Client, Problem> {
    let not_proved = || Problem::client_refused(NOT_PROVED);
    let jws = Jws::parse(text).ok_or_else(not_proved)?;
    let assertion: Assertion = jws.claims().ok_or_else(not_proved)?;
    let id = AppId::parse(&assertion.iss).map_err(|_| not_proved())?;
    attempt.claims_app(&id);
    attempt.admit(gateway)?;
    let app = register.app(&id);
    let signer = signer(gateway, app, &jws, now).ok_or_else(not_proved)?;
    let Some(app) = app.filter(|_| assertion.sub == assertion.iss) else { return Err(not_proved()) };
    if proof.client_id.is_some_and(|client_id| client_id != id.as_str()) {
        return Err(not_proved());
    }
    attempt.proved(&app.app.id);
    let issuer = &gateway.config.callers.issuer;
    let audience = &assertion.aud;
    let is_here = |path: &&str| audience.names(&format!("{issuer}{path}"));
    if !audience.names(issuer) && !proof.paths.iter().any(is_here) {
        return Err(Problem::client_refused(format!("aud must be {issuer}")));
    }
    let time = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let Some(end) = time(assertion.exp).filter(|end| *end > now && *end <= now + LONGEST_ASSERTION + LEEWAY)
    else {
        return Err(Problem::assertion_time(now));
    };
    if assertion.nbf.is_some_and(|since| time(since).is_none_or(|since| since > now + LEEWAY)) {
        return Err(Problem::assertion_time(now));
    }
    if !(8..=128).contains(&assertion.jti.len()) || assertion.jti.contains('\0') {
        return Err(Problem::client_refused("jti must be 8 to 128 octets"));
    }
    admitted(app, now)?;
    let first = gateway
        .callers
        .nonces
        .first_use(NonceSpace::Assertion, &id, &assertion.jti, end + signed::REMEMBERED)
        .await;
    match first {
        Ok(true) => {
            Ok(Client { app: Arc::clone(app), credential: signer.credential.id.clone(), bound: None })
        }
        Ok(false) => Err(Problem::replay()),
        Err(error) => Err(Problem::database(&error)),
    }
}

/// The credential whose key signed the assertion. Where none did, as much has been checked as there may be keys.
fn signer<'a>(
    gateway: &Gateway,
    app: Option<&'a Arc<KnownApp>>,
    jws: &Jws<'_>,
    now: OffsetDateTime,
) -> Option<&'a KnownCredential> {
    let mut checked = 0;
    for known in app.into_iter().flat_map(|app| holding(app, now)) {
        let Some(key) = known.key.as_ref().filter(|key| jws.fits(key)) else { continue };
        checked += 1;
        if jws.is_by(key) {
            return Some(known);
        }
    }
    for _ in checked..signed::MOST_OF_A_KIND {
        std::hint::black_box(gateway.callers.nobody.made(jws));
    }
    None
}

async fn issue(gateway: &Gateway, client: &Client, scope: String) -> Result<TokenResponse, Problem> {
    let callers = &gateway.config.callers;
    let (now, app) = (OffsetDateTime::now_utc(), &client.app.app);
    let bound = client.bound.as_ref().map(ClientCertificate::thumbprint);
    let lifetime = i64::try_from(callers.token_lifetime.as_secs()).unwrap_or(600);
    let mut jti = [0; 16];
    getrandom::fill(&mut jti).map_err(|error| Problem::no_random(&error))?;
    let claims = Claims {
        iss: callers.issuer.clone(),
        aud: callers.issuer.clone(),
        sub: app.id.to_string(),
        client_id: app.id.to_string(),
        iat: now.unix_timestamp(),
        exp: now.unix_timestamp() + lifetime,
        jti: jws::encode(&jti),
        scope: scope.clone(),
        credential: client.credential.clone(),
        cnf: bound.map(|thumbprint| Confirmation { thumbprint: jws::encode(&thumbprint) }),
    };
    let said = json!(claims);
    let input = |key: &formats::PublicKey| {
        jws::signing_input(&json!({"alg": "ES256", "typ": bearer::TYPE, "kid": bearer::key_id(key)}), &said)
    };
    let made = gateway.system.sign(KeyPurpose::Token, |_, copy| input(&copy.public_key).into_bytes()).await?;
    let signature = formats::ecdsa::der_to_fixed(&made.signature).ok_or_else(Problem::token_key_unfit)?;
    let access_token = jws::compact(&input(&made.copy.public_key), &signature);
    record(gateway, client, &claims, &made).await?;
    Ok(TokenResponse { access_token, token_type: "Bearer", expires_in: lifetime, scope })
}

async fn record(
    gateway: &Gateway,
    client: &Client,
    claims: &Claims,
    made: &signing::SystemSignature,
) -> Result<(), Problem> {
    let entry = AuditEntry {
        action: "token.issue".to_owned(),
        actor: client.app.app.id.to_string(),
        at: OffsetDateTime::now_utc(),
        device: Some(made.device.to_string()),
        input_digest: None,
        key: Some(made.key.to_string()),
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(format!("token {} by credential {}", claims.jti, client.credential)),
    };
    let recorded = gateway.audit.append(entry).await;
    recorded.map(drop).map_err(|error| Problem::record_unavailable(&error))
}

/// A refusal in the words of OAuth.
pub(crate) fn refusal(error: &'static str, problem: Problem) -> Response {
    problem.respond("application/json", |problem| TokenProblem {
        error,
        error_description: problem.detail.clone(),
        problem,
    })
}

/// The public keys that access tokens are signed with (RFC 7517).
#[utoipa::path(
    get, path = "/oauth2/jwks", tag = "tokens",
    responses((status = 200, description = "a JWK set; empty without a key for tokens", body = Object))
)]
pub(crate) async fn get_jwks(State(gateway): State<Gateway>) -> Json<Value> {
    let ring = gateway.system.keys();
    let jwk = |key: &bearer::TokenKey<'_>| match key.key {
        formats::PublicKey::P256(point) => {
            let sec1 = point.as_sec1();
            let (x, y) = (jws::encode(&sec1[1..33]), jws::encode(&sec1[33..]));
            Some(
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": key.kid}),
            )
        }
        _ => None,
    };
    Json(json!({"keys": bearer::token_keys(&ring).iter().filter_map(jwk).collect::<Vec<_>>()}))
}

/// What OAuth clients find the token endpoint by (RFC 8414).
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "tokens",
    responses((status = 200, description = "metadata", body = Object))
)]
pub(crate) async fn get_metadata(State(gateway): State<Gateway>) -> Json<Value> {
    let issuer = &gateway.config.callers.issuer;
    let scopes = Scope::ALL.map(Scope::name);
    Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": scopes,
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "SM2"],
        "tls_client_certificate_bound_access_tokens": true,
    }))
}
