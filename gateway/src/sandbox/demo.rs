//! An integrating system, played: it begins sessions with its own credentials, follows them and fetches their results, by
//! the same calls and as a stranger to the gateway's insides. Whose browser began a session is known by a ticket, so that
//! nobody who only saw the QR code is let in.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID, PublicKey};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use tower::ServiceExt;
use zeroize::Zeroizing;

use crate::auth::Peer;
use crate::body::{JsonBody, QueryOf, Segment};
use crate::problem::{Fault, Problem};
use crate::routes::Door;

/// What people sign here.
const DOCUMENT: &[u8] = include_bytes!("../../sandbox/annual-report.pdf");
/// Which fields the system asks to read.
const FIELDS: [&str; 5] =
    ["name", "legal_representative", "registered_capital", "domicile", "registration_authority"];
/// Longest answer of the API that is read whole: a document in base64 and what is around it.
const LONGEST: usize = 4 << 20;

/// The system.
pub(super) struct Demo {
    api: Router,
    app: String,
    key: Zeroizing<String>,
    tickets: hmac::Key,
}

/// What a visitor wants to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginRequest {
    /// `login`, `authorise` or `stamp`.
    what: String,
    /// For how many seconds the QR code is good.
    ttl: Option<u32>,
}

/// Asks for a result.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultRequest {
    ticket: String,
    /// Says that it is the same question again: what went wrong on the way costs nobody the result.
    once: Option<String>,
}

/// By what a browser shows that it began a session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    ticket: String,
}

/// A result, and what the system found when it verified it.
#[derive(Serialize)]
pub(super) struct ResultItem {
    result: Value,
    checks: Checks,
    /// What the license's key signed, octet by octet.
    consent: Option<String>,
    /// Where the result was fetched on record.
    audit_index: Value,
}

/// What an integrating system verifies itself instead of believing it.
#[derive(Serialize)]
struct Checks {
    /// The site's key signed the result.
    result_signature: bool,
    /// The license's key signed the consent.
    consent_signature: bool,
    /// And that is a consent to this session, given to this system.
    consent_session: bool,
}

/// An answer of the API that is a refusal: the visitor is shown it as it is.
pub(super) struct Refusal(Box<Response>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem.into_response()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl Demo {
    pub(super) fn new(api: Router, app: String, key: Zeroizing<String>) -> Self {
        let tickets = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        Self { api, app, key, tickets }
    }

    fn ticket(&self, session: &str) -> String {
        hex::encode(hmac::sign(&self.tickets, session.as_bytes()))
    }

    /// Refuses whoever did not begin the session.
    fn admit(&self, session: &str, ticket: &str) -> Result<(), Problem> {
        let tag = hex::decode(ticket).map_err(|_| Problem::unknown_session())?;
        hmac::verify(&self.tickets, session.as_bytes(), &tag).map_err(|_| Problem::unknown_session())
    }

    /// One call of the API by the app's key, which is taken from this machine only: the visitor's address is the caller's.
    async fn call(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
        fields: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<Response, Problem> {
        let octets = body.map(|body| Body::from(body.to_string())).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).body(octets);
        let mut request = request.map_err(|_| Problem::unknown_session())?; // an id that is no part of a path
        let key = HeaderValue::from_str(&self.key).map_err(|_| Problem::panicked())?;
        request.headers_mut().extend(fields.clone());
        request.headers_mut().insert("x-api-key", key);
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(Door::Public);
        Ok(self.api.clone().oneshot(request).await.unwrap_or_else(|never| match never {}))
    }

    /// The same, of what answers JSON.
    async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        self.ask_with(peer, method, path, &HeaderMap::new(), body).await
    }

    async fn ask_with(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
        fields: &HeaderMap,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let mut response = self.call(peer, method, path, fields, body).await?;
        let wait = response.headers_mut().remove(header::RETRY_AFTER);
        let (status, octets) = whole(response).await?;
        if !status.is_success() {
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            let mut refusal = (status, kind, octets).into_response();
            if let Some(wait) = wait {
                refusal.headers_mut().insert(header::RETRY_AFTER, wait);
            }
            return Err(Refusal(Box::new(refusal)));
        }
        Ok(serde_json::from_slice(&octets).map_err(|_| Problem::panicked())?)
    }

    /// Verifies what was fetched, with nothing but the API's published keys.
    async fn checked(&self, peer: &Peer, session: &str, answer: &Value) -> Result<Checks, Refusal> {
        let text = |name: &str| answer[name].as_str().unwrap_or_default();
        let key = self.ask(peer, Method::GET, &format!("/v1/keys/{}", text("key")), None).await?;
        let site = PublicKey::from_pem(key["public_key"].as_str().unwrap_or_default()).ok();
        let license = Certificate::from_pem(text("license")).and_then(|license| license.public_key()).ok();
        let verifies = |key: &Option<PublicKey>, signed: &str, signature: &str| {
            let signature = STANDARD.decode(signature).unwrap_or_default();
            key.as_ref().is_some_and(|key| {
                key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, signed.as_bytes(), &signature)
                    .is_ok()
            })
        };
        let consent: Value = serde_json::from_str(text("consent")).unwrap_or_default();
        let consent_sm3 = hex::encode(Sm3::digest(text("consent").as_bytes()));
        let signed: Value = serde_json::from_str(text("result_text")).unwrap_or_default();
        Ok(Checks {
            result_signature: signed == answer["result"]
                && verifies(&site, text("result_text"), text("result_signature")),
            consent_signature: verifies(&license, text("consent"), text("consent_signature"))
                && signed["consent_sm3"] == consent_sm3,
            consent_session: consent["qrid"] == session && consent["app"] == *self.app,
        })
    }
}

/// Status and body of an answer.
async fn whole(response: Response) -> Result<(StatusCode, Bytes), Problem> {
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), LONGEST).collect().await;
    Ok((status, body.map_err(|_| Problem::panicked())?.to_bytes()))
}

/// The order for the stamp; the same each time.
fn stamp_order() -> Value {
    json!({
        "format": "pdf", "document": STANDARD.encode(DOCUMENT), "field": "Enterprise", "reason": "年度报告",
        "appearance": {
            "text": ["电子营业执照签章", "编号 {stamp_id}", "验证码 {check_code}"], "text_size": 9,
            "places": [{
                "kind": "keyword", "keyword": "企业签章", "occurrence": "last",
                "right": 45.0, "down": 0.0, "width": 62.0, "height": 18.0,
            }],
        },
    })
}

pub(super) async fn begin(
    Extension(demo): Extension<Arc<Demo>>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<BeginRequest>,
) -> Result<Response, Refusal> {
    let mut order = json!({"item": "annual-report", "item_name": "年度报告网上填报"});
    if let Some(ttl) = request.ttl {
        order["ttl"] = ttl.into();
    }
    let (path, order) = match request.what.as_str() {
        "login" => {
            order["flow"] = "login".into();
            ("/v1/sessions", order)
        }
        "authorise" => {
            order["flow"] = "authorise".into();
            order["fields"] = json!(FIELDS);
            ("/v1/sessions", order)
        }
        "stamp" => {
            order["flow"] = "sign".into();
            order["text"] = "年度报告书（演示）annual-report.pdf".into();
            ("/v1/sessions:stamp", json!({"session": order, "stamp": stamp_order()}))
        }
        _ => {
            let detail = "must be login, authorise or stamp";
            return Err(Problem::faults(vec![Fault::new("what", "invalid_value", detail)]).into());
        }
    };
    let mut begun = demo.ask(&peer, Method::POST, path, Some(&order)).await?;
    begun["ticket"] = demo.ticket(begun["session"].as_str().unwrap_or_default()).into();
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(begun)).into_response())
}

pub(super) async fn events(
    Extension(demo): Extension<Arc<Demo>>,
    Extension(peer): Extension<Peer>,
    Segment(id): Segment,
    QueryOf(Ticket { ticket }): QueryOf<Ticket>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    demo.admit(&id, &ticket)?;
    let known = headers.get("last-event-id").map(|known| ("last-event-id", known.clone()));
    let fields = known.into_iter().map(|(name, value)| (header::HeaderName::from_static(name), value));
    let path = format!("/v1/sessions/{id}/events");
    let response = demo.call(&peer, Method::GET, &path, &fields.collect(), None).await?;
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or_else(|| HeaderValue::from_static("application/problem+json"));
    let fields =
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((parts.status, fields, body).into_response())
}

pub(super) async fn result(
    Extension(demo): Extension<Arc<Demo>>,
    Extension(peer): Extension<Peer>,
    Segment(id): Segment,
    JsonBody(ResultRequest { ticket, once }): JsonBody<ResultRequest>,
) -> Result<Response, Refusal> {
    demo.admit(&id, &ticket)?;
    let path = format!("/v1/sessions/{id}/consume");
    let mut fields = HeaderMap::new();
    if let Some(once) = once {
        let key = HeaderValue::try_from(once).map_err(|_| {
            let detail = "must be visible characters of ASCII";
            Problem::faults(vec![Fault::new("once", "invalid_value", detail)])
        })?;
        fields.insert("idempotency-key", key);
    }
    let mut answer = demo.ask_with(&peer, Method::POST, &path, &fields, Some(&json!({}))).await?;
    let checks = demo.checked(&peer, &id, &answer).await?;
    let consent = answer["consent"].as_str().map(str::to_owned);
    let item = ResultItem {
        checks,
        consent,
        audit_index: answer["audit_index"].take(),
        result: answer["result"].take(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(item)).into_response())
}

pub(super) async fn stamp(
    Extension(demo): Extension<Arc<Demo>>,
    Extension(peer): Extension<Peer>,
    Segment(id): Segment,
    JsonBody(Ticket { ticket }): JsonBody<Ticket>,
) -> Result<Response, Refusal> {
    demo.admit(&id, &ticket)?;
    let mut order = stamp_order();
    order["signer"] = json!({"session": id});
    let mut stamped = demo.ask(&peer, Method::POST, "/v1/stamps", Some(&order)).await?;
    let judged = json!({"document": stamped["document"]});
    let mut verdict = demo.ask(&peer, Method::POST, "/v1/stamps:verify", Some(&judged)).await?;
    stamped["verdict"] = verdict["verdict"].take();
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(stamped)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_comes_from_where_the_visitor_is() {
        let api = Router::new().fallback(async |Extension(peer): Extension<Peer>| {
            let asked = [(header::RETRY_AFTER, "7")];
            match peer.is_local() {
                true => Json(json!({"peer": peer.to_string()})).into_response(),
                false => (StatusCode::UNAUTHORIZED, asked, peer.to_string()).into_response(),
            }
        });
        let demo = Demo::new(api, "demo".to_owned(), Zeroizing::new("key".to_owned()));
        let ask = async |peer: &str| {
            let peer = Peer::Network(peer.parse().expect("an address"));
            demo.ask(&peer, Method::GET, "/v1/keys", None).await
        };
        let here = ask("127.0.0.1:9").await;
        assert!(here.is_ok_and(|answer| answer == json!({"peer": "127.0.0.1:9"})));
        let Err(Refusal(refusal)) = ask("192.0.2.7:9").await else { panic!("a stranger acts as the app") };
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.headers()[header::RETRY_AFTER], "7");
        let (_, octets) = whole(*refusal).await.expect("it is short");
        assert_eq!(octets, "192.0.2.7:9");
    }
}
