//! `Idempotency-Key`: a request that changes something is carried out once, however often it is sent.
//!
//! The key belongs to its caller and the route, and the first request that comes under it settles what it stands for:
//! target and body. A request that has a key runs to its end even if its sender goes away, so that who asks again
//! learns what came of it. A second one waits for the first. What was refused is not kept: nothing was done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use sm3::{Digest, Sm3};
use store::{Claim, Claimed, IdempotencyId, KeptAnswer, LARGEST_ANSWER, Moment, Store, UnplacedAnswer};
use tracing::Instrument;

use crate::auth::Authenticated;
use crate::batch::Place;
use crate::body::{self, Patience};
use crate::deadline::Unfinished;
use crate::judging::beside;
use crate::problem::{Fault, Problem};
use crate::request_id;
use crate::stamps::document::{self, DocumentPlace};
use crate::state::Gateway;
use crate::timestamps::WatchedClock;

/// Name of the header.
const HEADER: &str = "idempotency-key";
/// Marks an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// Fields of an answer that belong to it; the others are made for each sending.
const KEPT_FIELDS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::ETAG, header::LOCATION];
/// POST routes that change nothing, or of which each call is for itself: to do them again is no harm, and their answers
/// are not kept.
const HARMLESS: [&str; 28] = [
    "/authenticationService/appserver.do",
    "/authenticationService/getLicencePdf.do",
    "/oauth2/token",
    "/oidc/authorize",
    "/oidc/device_authorization",
    "/oidc/login/{id}/cancel",
    "/oidc/login/{id}/continue",
    "/oidc/logout",
    "/oidc/par",
    "/oidc/revoke",
    "/oidc/token",
    "/oidc/userinfo",
    "/tsa",
    "/v1/admin/policies:evaluate",
    "/v1/identifiers:check",
    "/v1/licenses:verify",
    "/v1/licenses:verify-batch",
    "/v1/phone/sessions/{id}/confirm",
    "/v1/phone/sessions/{id}/deny",
    "/v1/phone/sessions:scan",
    "/v1/sign-in",
    "/v1/sign-in:second-factor",
    "/v1/sign-out",
    "/v1/stamps/{id}/archive", // far larger than answers that are kept; one more signature by the site's key says the same
    "/v1/stamps:verify",
    "/v1/timestamps:verify",
    "/v1/verifications",
    "/v1/verifications:batch",
];
/// Routes whose handlers keep the answer in the transaction that puts the act on record: with no answer kept, nothing
/// is on record and nothing left the gateway, so that a request that was interrupted may be carried out anew.
const ATOMIC: [&str; 4] = ["/v1/signatures", BATCH, "/v1/stamps", "/v1/sessions/{id}/consume"];
/// The one of these that takes a batch.
const BATCH: &str = "/v1/signatures:batch";
/// How often a waiting request looks whether the first one is done.
const LOOKS: [u64; 5] = [10, 20, 40, 80, 160];
/// How much longer than it may take a request holds its key: what a key of a device did may be recorded late.
const MARGIN: Duration = Duration::from_secs(30);
/// How often keys whose time is over are removed; some thousand each time.
const SWEEP: Duration = Duration::from_secs(10);

/// The run of this gateway that holds keys.
#[derive(Debug, Clone)]
pub(crate) struct Instance(Arc<str>);

impl Instance {
    /// `NAME/RUN`.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// A new run of the gateway of this name.
    pub(crate) fn of(replica: &str) -> Self {
        Self(format!("{replica}/{:032x}", fastrand::u128(..)).into())
    }
}

/// In the extensions of a request that holds a key: its handler can keep the answer with the record of the act.
#[derive(Clone)]
pub(crate) struct Held(pub(crate) Arc<Claim>);

/// In the extensions of an answer that its handler has kept.
#[derive(Clone)]
pub(crate) struct Kept;

/// In the extensions of an answer that tells of what was done before and is made anew for whoever asks: nothing was done under
/// the key, and no answer is kept under it.
#[derive(Clone)]
pub(crate) struct ToldAgain;

/// Removes keys whose time is over, until it is dropped; none while time servers say that the clock is wrong.
pub(crate) async fn forget(store: Store, clock: WatchedClock) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        if clock.is_off() {
            continue;
        }
        let removed = async {
            let now = store.time_to_remove(Moment::now()).await?;
            store.forget_idempotency(now).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, "idempotency keys whose time is over could not be removed");
        }
    }
}

/// Whether an `Idempotency-Key` has a meaning for these requests.
pub(crate) fn applies(method: &Method, route: &str) -> bool {
    method == Method::POST && !HARMLESS.contains(&route)
}

/// Carries a request out that has no key, or whose key is new; answers any other from what is known of its key.
pub(crate) async fn once(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    if !request.headers().contains_key(HEADER) || !applies(request.method(), &route) {
        return next.run(request).await;
    }
    match claim(&gateway, route, request).await {
        Ok(Mine { request, claim }) => carry_out(gateway, claim, request, next).await,
        Err(Settled::Answer(answer)) => {
            gateway.metrics.idempotency("replayed");
            replay(answer)
        }
        Err(Settled::Refused(problem)) => {
            gateway.metrics.idempotency("refused");
            problem.into_response()
        }
    }
}

/// A request to be carried out, and the claim that lets it.
struct Mine {
    request: Request,
    claim: Arc<Claim>,
}

/// What a request gets that is not carried out.
enum Settled {
    Answer(KeptAnswer),
    Refused(Problem),
}

impl From<Problem> for Settled {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

async fn claim(gateway: &Gateway, route: String, request: Request) -> Result<Mine, Settled> {
    let key = key(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let caller = Authenticated::from_request_parts(&mut parts, gateway).await?;
    let server = &gateway.config.server;
    if route == BATCH {
        // First the place: a body that nobody may work on is not read into memory.
        Place::from_request_parts(&mut parts, gateway).await?;
    }
    if document::is_document(&route) {
        DocumentPlace::of(&mut parts.extensions, gateway)?;
    }
    let body = body::read(body, body::limit_of(&route, server), Patience::of(server)).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fingerprint = Sm3::new()
        .chain_update(parts.method.as_str())
        .chain_update([0])
        .chain_update(target)
        .chain_update([0])
        // Who may do less than at the first time is not given what was done then.
        .chain_update(caller.scopes())
        .chain_update([0])
        // Nor who may see less.
        .chain_update(caller.fields())
        .chain_update([0]);
    let octets = body.clone();
    let fingerprint = beside(body.len(), move || fingerprint.chain_update(octets).finalize()).await?;
    let claim = Claim {
        repeatable: ATOMIC.contains(&route.as_str()),
        lease: server.request_deadline + MARGIN,
        id: IdempotencyId { actor: caller.actor(), route: format!("{} {route}", parts.method), key },
        fingerprint: fingerprint.into(),
        request_id: request_id::current(),
        instance: gateway.instance.0.to_string(),
        holder: format!("{:032x}", fastrand::u128(..)),
    };
    let mut looks = LOOKS.into_iter().chain(std::iter::repeat(LOOKS[LOOKS.len() - 1]));
    let waiting_until = Instant::now() + server.request_deadline;
    loop {
        // A clock that jumps makes no kept answer one whose time is over.
        let now = gateway.store.reckoned(Moment::now());
        let claimed = gateway.store.claim_idempotency(&claim, now);
        // Who gives up waiting for a database that does not answer leaves its key free.
        let claimed = tokio::time::timeout_at(waiting_until.into(), claimed).await;
        let claimed = claimed.map_err(|_| Problem::too_late())?;
        match claimed.map_err(|error| Problem::database(&error))? {
            Claimed::Ours => break,
            Claimed::Answered(answer) => return Err(Settled::Answer(answer)),
            Claimed::Mismatch => return Err(Problem::idempotency_mismatch().into()),
            Claimed::Unresolved(began) => return Err(Problem::idempotency_unresolved(&began).into()),
            Claimed::Running if Instant::now() >= waiting_until => {
                return Err(Problem::idempotency_in_progress().into());
            }
            Claimed::Running => {
                tokio::time::sleep(Duration::from_millis(looks.next().unwrap_or(160))).await;
            }
        }
    }
    let claim = Arc::new(claim);
    parts.extensions.insert(Held(Arc::clone(&claim)));
    Ok(Mine { request: Request::from_parts(parts, Body::from(body)), claim })
}

/// The key: 1 to 255 visible characters, in quotation marks (RFC 8941 string, as the draft of the header has it) or
/// without.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |code, detail| Problem::faults(vec![Fault::new(HEADER, code, detail)]);
    let mut values = headers.get_all(HEADER).iter();
    let (value, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(wrong("header_repeated", "must be there once"));
    }
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let visible = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b',');
    if (1..=255).contains(&bare.len()) && bare.bytes().all(visible) {
        Ok(bare.to_owned())
    } else {
        Err(wrong("header_malformed", "must be 1 to 255 visible ASCII characters without \" \\ and comma"))
    }
}

/// Runs a request to its end, whoever still waits for it, and keeps its answer.
async fn carry_out(gateway: Gateway, claim: Arc<Claim>, request: Request, next: Next) -> Response {
    let settle = async move {
        let response = next.run(request).await;
        settle(&gateway, &claim, response).await
    };
    let running = tokio::spawn(request_id::carried(settle).in_current_span());
    match running.await {
        Ok(response) => response,
        // What it had done by then nobody knows: the key stays as it is.
        Err(_) => Problem::panicked().into_response(),
    }
}

/// Keeps an answer, or gives the key back where nothing was done.
async fn settle(gateway: &Gateway, claim: &Claim, response: Response) -> Response {
    if response.extensions().get::<Kept>().is_some() {
        gateway.metrics.idempotency("carried_out");
        return response;
    }
    if response.extensions().get::<Unfinished>().is_some() {
        // Its work goes on and keeps its answer, for whoever asks again; if it fails, the lease ends.
        return response;
    }
    let status = response.status();
    let is_told_again = response.extensions().get::<ToldAgain>().is_some();
    if is_told_again || status.is_client_error() || status.is_server_error() {
        // A refusal did nothing, and of a signature nothing is on record. How far an act came when the gateway or a
        // device failed, nobody knows.
        let settled = if is_told_again || status.is_client_error() || claim.repeatable {
            gateway.store.release_idempotency(claim).await
        } else {
            gateway.store.leave_unresolved(claim).await
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "an idempotency key could not be given back; it is held until its lease ends");
        }
        return response;
    }
    gateway.metrics.idempotency("carried_out");
    let (parts, body) = response.into_parts();
    let secret = parts.headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store");
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Problem::panicked().into_response(),
    };
    let kept = if secret || body.len() > LARGEST_ANSWER {
        let again = Problem::idempotency_answer_not_kept(&claim.request_id).into_response();
        of_response(again).await
    } else {
        KeptAnswer { status: parts.status.as_u16(), headers: fields(&parts.headers), body: body.to_vec() }
    };
    match gateway.store.keep_answer(claim, &kept).await {
        Ok(true) => {}
        // The act is done and on record, and the key cannot be taken for another: the answer may leave.
        Ok(false) => tracing::warn!("an answer took longer than its idempotency key is held"),
        Err(error) => tracing::warn!(%error, "an answer could not be kept under its idempotency key"),
    }
    Response::from_parts(parts, Body::from(body))
}

/// The fields of an answer that are kept with it.
fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| KEPT_FIELDS.contains(name));
    kept.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

/// What a body begins with that names the place in the audit log first, while that is not known.
const UNPLACED: &[u8] = br#"{"audit_index":0"#;
/// Octets that the place in the audit log may add.
pub(crate) const INDEX_ROOM: usize = 20;

/// A JSON body whose first member is `audit_index`, 0 for now, without that number, and where the number goes.
pub(crate) fn unplaced<T: Serialize>(body: &T) -> (Vec<u8>, usize) {
    // What is answered is made of texts and numbers, which is always JSON.
    let mut body = serde_json::to_vec(body).unwrap_or_default();
    let at = UNPLACED.len() - 1;
    debug_assert!(body.starts_with(UNPLACED));
    body.drain(at..UNPLACED.len());
    (body, at)
}

/// The answer 201 with a JSON body without the place in the audit log, which goes to `index_at`.
pub(crate) fn created(body: Vec<u8>, index_at: usize) -> UnplacedAnswer {
    UnplacedAnswer { answer: json(StatusCode::CREATED, body), index_at: Some(index_at) }
}

/// The answer 200, likewise.
pub(crate) fn ok(body: Vec<u8>, index_at: usize) -> UnplacedAnswer {
    UnplacedAnswer { answer: json(StatusCode::OK, body), index_at: Some(index_at) }
}

/// An answer as it is kept: one that is too large is not.
pub(crate) fn fitting(unplaced: UnplacedAnswer, request_id: &str) -> UnplacedAnswer {
    let fits = unplaced.answer.body.len() + INDEX_ROOM <= LARGEST_ANSWER;
    if fits { unplaced } else { too_large(request_id).into() }
}

fn json(status: StatusCode, body: Vec<u8>) -> KeptAnswer {
    let headers = vec![(header::CONTENT_TYPE.to_string(), "application/json".to_owned())];
    KeptAnswer { status: status.as_u16(), headers, body }
}

/// What is kept in the place of an answer that is too large.
fn too_large(request_id: &str) -> KeptAnswer {
    let headers = vec![(header::CONTENT_TYPE.to_string(), "application/problem+json".to_owned())];
    let problem = Problem::idempotency_answer_not_kept(request_id).document(request_id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    KeptAnswer { status: StatusCode::CONFLICT.as_u16(), headers, body }
}

async fn of_response(response: Response) -> KeptAnswer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    KeptAnswer { status: parts.status.as_u16(), headers: fields(&parts.headers), body }
}

fn replay(answer: KeptAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
