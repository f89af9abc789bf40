//! What every request passes: its id, the count of requests in flight, the log line, and a net under panics.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use tracing::field::Empty;

use crate::admission::Place;
use crate::auth::{Peer, throttle};
use crate::behaviour;
use crate::problem::{Problem, ProblemCode};
use crate::request_id::{self, Notes};
use crate::state::Gateway;
use crate::tally::{CallerSlot, Refusal};
use crate::traces;

/// Refuses at once what is more than the site allows to be worked on, and everything until what is stored is
/// unlocked.
pub(crate) fn bounded(routes: Router<Gateway>, gateway: &Gateway) -> Router<Gateway> {
    routes.layer(from_fn_with_state(gateway.clone(), bound))
}

/// Gives every request its id, counts it, logs it.
pub(crate) fn watched(routes: Router<Gateway>, gateway: &Gateway) -> Router<Gateway> {
    routes
        .layer(CatchPanicLayer::custom(|_| Problem::panicked().into_response()))
        .layer(from_fn_with_state(gateway.clone(), watch))
}

/// In the extensions of an answer that refuses in the words of its own protocol, with the status of a success: the status that it
/// would have elsewhere.
#[derive(Clone)]
pub(crate) struct RefusedInProtocol(pub(crate) StatusCode);

async fn bound(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    // Whoever comes to see why the gateway is overloaded is let in.
    if matches!(request.extensions().get(), Some(Peer::Local(_))) {
        return next.run(request).await;
    }
    if gateway.store.protection().is_locked() {
        return Problem::database(&store::StoreError::Locked).into_response();
    }
    let source = match request.extensions().get() {
        Some(Peer::Network(address)) => Some(throttle::source(address.ip())),
        _ => None,
    };
    let Some(place) = gateway.admission.arrive(gateway.config.server.max_in_flight, source) else {
        return Problem::overloaded().into_response();
    };
    // Authentication claims it for the app; it is held until the answer is there.
    let place = Arc::new(place);
    request.extensions_mut().insert(Arc::clone(&place));
    let sends = !request.body().is_end_stream();
    let unsent = Unsent { gateway: &gateway, place: &place, source: source.filter(|_| sends) };
    let response = next.run(request).await;
    unsent.answered(&response);
    drop(place);
    response
}

/// A request of which nobody knows yet whether its body comes to an end. One of a stranger whose body does not counts as
/// a failure of its source, also where the stranger hung up and nobody is left to be answered.
struct Unsent<'g> {
    gateway: &'g Gateway,
    place: &'g Place,
    source: Option<IpAddr>,
}

impl Unsent<'_> {
    fn answered(mut self, response: &Response) {
        if !response.extensions().get::<ProblemCode>().is_some_and(|code| throttle::is_unsent(code.0)) {
            self.source = None;
        }
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source.filter(|_| self.place.is_a_strangers()) {
            self.gateway.callers.throttle.unsent(source);
        }
    }
}

async fn watch(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id::choose(request.headers());
    let method = method(request.method());
    // The pattern, not the path: a path can hold what a log must not.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let trace = request_id::trace_id(request.headers()).map(str::to_owned);
    let span =
        tracing::info_span!("request", id = %id, trace, method, route = %route, app = Empty, key = Empty);
    traces::continue_trace(&span, request.headers());
    let caller = CallerSlot::default();
    let address = match request.extensions().get() {
        Some(Peer::Network(address)) => Some(address.ip()),
        _ => None,
    };
    let mut request = request.map(|body| Body::new(Drained { body: Some(body) }));
    request.extensions_mut().insert(caller.clone());
    let notes = Arc::<Notes>::default();
    let work = request_id::scope(id.clone(), Arc::clone(&notes), next.run(request));
    let mut response = work.instrument(span.clone()).await;
    let took = started.elapsed();
    let code = response.extensions().get::<ProblemCode>().map(|code| code.0);
    if let Some(code) = code {
        gateway.metrics.problem(code);
    }
    let status = response.status().as_u16();
    traces::answered(&span, status);
    let in_protocol = response.extensions().get::<RefusedInProtocol>().map(|refused| refused.0.as_u16());
    let refused = code.is_some() && is_refusal(in_protocol.unwrap_or(status));
    if let Some(code) = code.filter(|_| refused) {
        gateway.tally.refused(&Refusal {
            caller: &caller,
            address,
            code,
            method,
            route: &route,
            request_id: &id,
        });
    }
    gateway.behaviour.saw(&gateway.config.alarms, &caller, address, || behaviour::Request {
        credential: notes.credential.get().cloned(),
        refused,
        face: matches!(status, 200 | 206)
            && in_protocol.is_none()
            && matches!(
                &*route,
                behaviour::FACE | behaviour::SEARCH | behaviour::FILE | behaviour::COMPAT_FILE
            ),
        missed: status == 404 && route == behaviour::FACE,
    });
    gateway.metrics.answered(&route, method, status, took);
    if let Some(app) = notes.app.get() {
        gateway.metrics.answered_app(app, status, took);
        span.record("app", app.as_str());
    }
    if let Some(key) = notes.key.get() {
        gateway.metrics.answered_key(key, status, took);
        span.record("key", key.as_str());
    }
    span.in_scope(|| match code {
        Some(code) => tracing::info!(status, code, ?took, "refused"),
        None => tracing::debug!(status, ?took, "answered"),
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(request_id::HEADER, id);
    }
    response
}

/// Puts a TLS handshake on record in which a client certificate was refused: there is no request to speak of it.
pub(crate) fn refused_handshake(gateway: &Gateway, address: IpAddr) {
    let (caller, id) = (CallerSlot::default(), request_id::new());
    gateway.tally.refused(&Refusal {
        caller: &caller,
        address: Some(address),
        code: "client_certificate_refused",
        method: "TLS",
        route: "handshake",
        request_id: &id,
    });
    let request = || behaviour::Request { credential: None, refused: true, face: false, missed: false };
    gateway.behaviour.saw(&gateway.config.alarms, &caller, Some(address), request);
    tracing::info!(request_id = %id, %address, code = "client_certificate_refused", "a TLS handshake was refused");
}

/// Whether an answer refused what somebody asked for. Asking for what is not there is no such thing, and neither is a
/// client that stopped sending.
fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 404 | 405 | 408)
}

/// A method's name as a label; what is not one of the usual is `OTHER`, so that callers cannot make labels.
fn method(method: &Method) -> &'static str {
    const USUAL: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    USUAL.into_iter().find(|usual| method.as_str() == *usual).unwrap_or("OTHER")
}

/// A request body whose unread rest is read and thrown away after an early refusal, so that a client still
/// sending sees the answer instead of a reset connection.
struct Drained {
    body: Option<Body>,
}

const MOST_DRAINED: usize = 128 << 20;
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

impl http_body::Body for Drained {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map_or_else(|| http_body::SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        tokio::spawn(tokio::time::timeout(LONGEST_DRAIN, async move {
            let mut drained = 0;
            while let Some(Ok(frame)) = body.frame().await {
                drained += frame.data_ref().map_or(0, bytes::Bytes::len);
                if drained > MOST_DRAINED {
                    return;
                }
            }
        }));
    }
}
