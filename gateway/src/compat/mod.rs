//! The national front's protocol (`/authenticationService`), for business systems and phones that were written for it: messages of
//! header and content, asked by their `businesstype`. It is another way to say what the native routes say and no other thing to
//! be said: sessions, library and decisions are the gateway's own, and who asks needs the same scopes and grants.

mod business;
mod fields;
pub(crate) mod file;
pub(crate) mod message;
pub(crate) mod phone;
mod shown;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::CompatSystem;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use store::{KeyPurpose, RECEIPT, ScanSession};
use time::OffsetDateTime;
use verify_front::SessionTerms;

use crate::auth::{Authenticated, Envelope, claims_an_app};
use crate::body::{self, Patience};
use crate::edge::RefusedInProtocol;
use crate::problem::Problem;
use crate::state::Gateway;
pub(crate) use message::Message;
use message::{Received, answer, no_store, refusal, said_by_site, time_text};

/// Where business systems ask.
const SYSTEMS: &str = "/authenticationService/httpserver.do";
/// Where phones answer.
pub(crate) const PHONES: &str = "/authenticationService/appserver.do";
/// Where business systems fetch a license's file.
pub(crate) const FILE: &str = "/authenticationService/getLicencePdf.do";
/// What can be asked.
pub(crate) const BUSINESS_TYPES: [&str; 5] = ["003", "004", "005", "011", "901"];
/// Octets of a message at most.
const LARGEST: usize = 64 << 10;
/// Octets of a refusal that is put into the protocol's form.
const LARGEST_REFUSAL: usize = 1 << 20;

/// What is answered, where the site speaks the protocol.
pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route(SYSTEMS, post(post_message))
        .route(PHONES, post(phone::post_phone_message))
        .route(FILE, get(file::get_license_pdf).post(file::post_license_pdf))
}

/// Has every refusal of these routes leave in the protocol's form.
pub(crate) fn spoken(routes: Router<Gateway>) -> Router<Gateway> {
    routes.layer(from_fn(in_protocol))
}

/// A problem document in the protocol's form. What is wrong with a message is told as the protocol tells it, with status 200; who
/// may not ask at all and what the gateway cannot do now keep their status, by which others than the caller see it.
async fn in_protocol(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    // By its form: one that was kept under an idempotency key has no more than that.
    let form = response.headers().get(header::CONTENT_TYPE);
    if form.is_none_or(|form| form != "application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let octets = http_body_util::Limited::new(body, LARGEST_REFUSAL).collect().await;
    let problem: Value =
        octets.ok().and_then(|octets| serde_json::from_slice(&octets.to_bytes()).ok()).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default();
    let keeps_status = parts.status.is_server_error()
        || matches!(
            parts.status,
            StatusCode::UNAUTHORIZED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::TOO_MANY_REQUESTS
        );
    if !keeps_status {
        parts.extensions.insert(RefusedInProtocol(parts.status));
        parts.status = StatusCode::OK;
    }
    let (form, body) = refusal(parts.status, member("code"), member("detail")).into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(form.headers);
    Response::from_parts(parts, Body::new(body))
}

/// What is said to a message.
pub(super) struct Said {
    content: Map<String, Value>,
    /// Whether the site signs it.
    signed: bool,
    /// Whether it may say something of persons: it is not kept under idempotency keys.
    private: bool,
}

impl Said {
    /// With the site's signature over it.
    pub(super) fn signed(content: Map<String, Value>) -> Self {
        Self { content, signed: true, private: true }
    }

    /// The same, of nobody.
    pub(super) fn impersonal(content: Map<String, Value>) -> Self {
        Self { content, signed: true, private: false }
    }

    /// Without, where there is nothing to vouch for.
    pub(super) fn unsigned(content: Map<String, Value>) -> Self {
        Self { content, signed: false, private: true }
    }
}

/// Ask in the national front's protocol: `businesstype` `003` begins a session, `004` asks how far it is, `011` fetches what it came
/// to, `005` resolves a license code that a phone shows, `901` lists the business items.
#[utoipa::path(
    post, path = "/authenticationService/httpserver.do", tag = "compatibility", request_body = Message,
    responses(
        (status = 200, description = "`message_header` with `errorCode` `0`, or the code of why not; `message_content`", body = Object),
        (status = "4XX", description = "nobody who may ask; in the same form", body = Object),
        (status = 503, description = "not now; in the same form", body = Object),
    )
)]
pub(crate) async fn post_message(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let proved = match claims_an_app(&parts) {
        true => Some(Authenticated::from_request_parts(&mut parts, &gateway).await?),
        false => None,
    };
    let octets = body::read(body, LARGEST, Patience::of(&gateway.config.server)).await?;
    let received = Message::read(&octets)?;
    let version = received.version()?;
    let system = gateway.config.compat.system(received.syscode()?);
    let caller = match proved {
        Some(caller) => caller,
        None => {
            let envelope = Envelope {
                app: system.map(|system| &system.app),
                authcode: received.header.authcode.as_deref(),
                sign: received.sign(),
                made_at: received.made_at()?,
                text: &received.text,
            };
            Authenticated::of_envelope(&mut parts, &gateway, &envelope).await?
        }
    };
    let system =
        system.filter(|system| system.app == *caller.app_id()).ok_or_else(Problem::syscode_unknown)?;
    let kind = received.kind()?;
    let said = told(&gateway, &caller, system, kind, &received).await;
    gateway.metrics.compat(kind_label(kind), said.as_ref().map_or_else(Problem::code, |_| "ok"));
    let Said { content, signed, private } = said?;
    let sign = if signed { signature(&gateway, &content).await? } else { String::new() };
    let answer = answer(version, &sign, content);
    Ok(if private { no_store(answer) } else { answer })
}

/// A business type as a label.
fn kind_label(kind: &str) -> &'static str {
    BUSINESS_TYPES.into_iter().find(|known| *known == kind).unwrap_or("other")
}

async fn told(
    gateway: &Gateway,
    caller: &Authenticated,
    system: &CompatSystem,
    kind: &str,
    received: &Received,
) -> Result<Said, Problem> {
    received.made_at()?;
    match kind {
        "003" => business::begin(gateway, caller, system, received).await,
        "004" => business::poll(gateway, caller, received).await,
        "005" => shown::resolve(gateway, caller, received).await,
        "011" => business::fetch(gateway, caller, received).await,
        "901" => business::items(gateway, caller),
        _ => Err(Problem::businesstype_unknown()),
    }
}

/// base64: the site's SM2 signature over a content, its members in alphabetical order, without blanks.
async fn signature(gateway: &Gateway, content: &Map<String, Value>) -> Result<String, Problem> {
    let text = Value::Object(content.clone()).to_string();
    let signed = gateway.system.sign(KeyPurpose::Front, |_, _| text.clone().into_bytes()).await;
    Ok(STANDARD.encode(signed.map_err(|error| Problem::front_not_ready(&error))?.signature))
}

/// What an app is told of its session that is confirmed, if it was begun in this protocol and the app is told anything: which one,
/// and no more than that. What it came to is for who asks for it.
pub(crate) async fn receipt(
    gateway: &Gateway,
    session: &ScanSession,
    terms: &SessionTerms,
) -> Result<Option<(&'static str, Value)>, Problem> {
    let Some(qrtype) = &terms.qrtype else { return Ok(None) };
    let webhook = gateway.store.webhook(&session.app).await.map_err(|error| Problem::database(&error))?;
    if webhook.is_none() {
        return Ok(None);
    }
    let content = object([
        ("operflag", "0".to_owned()),
        ("opertime", time_text(OffsetDateTime::now_utc())),
        ("qrid", session.id.clone()),
        ("qrtype", qrtype.clone()),
    ]);
    let sign = signature(gateway, &content).await?;
    Ok(Some((RECEIPT, said_by_site("1", &sign, content))))
}

/// Members with texts.
fn object<const N: usize>(members: [(&str, String); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
}
