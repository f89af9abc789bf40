//! `GET /v1/sessions/{id}`: at once, or when something happened; and `…/events`, one stream for each session.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http_body::Frame;
use serde::Deserialize;
use store::{ScanProgress, Store};
use time::OffsetDateTime;
use tokio::time::Instant;
use verify_front::SessionProgress;

use super::SessionItem;
use super::waiting::Waiter;
use crate::admission::Place;
use crate::auth::{Authenticated, Scope};
use crate::body::{QueryOf, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// How long somebody may wait for an answer, in seconds.
pub(super) const LONGEST: u64 = 25;
/// How often a stream that has nothing to say says that it is there; more often than a slow reader is given up.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// For what to wait.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchQuery {
    /// The version that is known.
    version: Option<u32>,
    /// For how many seconds to wait for a later one.
    wait: Option<u64>,
}

/// How far a session is; with `version` and `wait` as soon as it is further than that.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(
        ("id" = String, Path, description = "its id"),
        ("version" = Option<u32>, Query, description = "the version that is known: the answer waits for a later one"),
        ("wait" = Option<u64>, Query, description = "for so many seconds at most, 0 to 25; default 0"),
    ),
    responses(
        (status = 200, description = "how far it is, also when nothing happened in that time", body = SessionItem),
        (status = 404, description = "`unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`: too many wait", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_session(
    caller: Authenticated,
    place: Option<Extension<Arc<Place>>>,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<WatchQuery>,
) -> Result<Json<SessionItem>, Problem> {
    let app = caller.with(Scope::Sessions)?.id.clone();
    let wait = query.wait.unwrap_or(0);
    if wait > LONGEST {
        let detail = format!("must be 0 to {LONGEST} seconds");
        return Err(Problem::faults(vec![Fault::new("wait", "out_of_range", detail)]));
    }
    let mut seen = seen(&gateway.store, &id, &app).await?;
    if wait == 0 || query.version.is_none_or(|known| known < seen.item.version) || seen.item.state.is_final()
    {
        return Ok(Json(seen.item));
    }
    let known = seen.item.version;
    let mut waiter = gateway.waiting.enter(&id, &app).ok_or_else(Problem::overloaded)?;
    if let Some(Extension(place)) = place {
        place.give_back();
    }
    let end = Instant::now() + Duration::from_secs(wait);
    loop {
        waiter.mark();
        seen = self::seen(&gateway.store, &id, &app).await?;
        let left = end.saturating_duration_since(Instant::now());
        if seen.item.version > known || left.is_zero() || waiter.is_over() {
            return Ok(Json(seen.item));
        }
        waiter.wait(left.min(seen.left)).await;
    }
}

/// How far a session is, as server-sent events: `event: state`, the version as `id`, JSON as of `GET /v1/sessions/{id}`. It ends
/// with the session; `Last-Event-ID` says what is known.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/events", tag = "sessions",
    params(
        ("id" = String, Path, description = "its id"),
        ("last-event-id" = Option<String>, Header, description = "the version that is known"),
    ),
    responses(
        (status = 200, description = "one event for each state from now on", body = String, content_type = "text/event-stream"),
        (status = 404, description = "`unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`: too many wait", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_session_events(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Sessions)?.id.clone();
    seen(&gateway.store, &id, &app).await?;
    let waiter = gateway.waiting.enter(&id, &app).ok_or_else(Problem::overloaded)?;
    let known = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    // Not the gateway: a stream may outlive a configuration.
    let store = gateway.store.clone();
    let feed = Feed { store, waiter, app, id, known: known.unwrap_or(0), left: Duration::ZERO, over: false };
    let events = Events { next: Some(Box::pin(feed.next())) };
    let fields = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    Ok((fields, Body::new(events)).into_response())
}

/// How far a session is, and how long that can last.
pub(super) struct Seen {
    pub(super) item: SessionItem,
    pub(super) left: Duration,
}

async fn seen(store: &Store, id: &str, app: &config::AppId) -> Result<Seen, Problem> {
    looked(store, id, |progress| progress.app == *app && progress.login.is_none()).await
}

/// How far a session is for whoever it is of.
pub(super) async fn looked(
    store: &Store,
    id: &str,
    is_theirs: impl FnOnce(&ScanProgress) -> bool,
) -> Result<Seen, Problem> {
    let progress = store.scan_progress(id).await.map_err(|error| Problem::from_sessions(&error))?;
    if !is_theirs(&progress) {
        return Err(Problem::unknown_session());
    }
    let ScanProgress { state, version, phone, replaced_by, expires_at, .. } = progress;
    let now = OffsetDateTime::now_utc();
    let shown = SessionProgress { state, phone, expires_at }.seen(now);
    // What is over is over before it is written down, and has the version that it will have then.
    let version = version + u32::from(shown != state);
    let left = Duration::try_from(expires_at - now).unwrap_or(Duration::ZERO);
    let left = if shown.is_final() { HEARTBEAT } else { left };
    Ok(Seen {
        item: SessionItem { session: id.to_owned(), state: shown, version, expires_at, replaced_by },
        left,
    })
}

/// What a stream goes on with.
struct Feed {
    store: Store,
    waiter: Waiter,
    app: config::AppId,
    id: String,
    known: u32,
    /// How long the known state can last.
    left: Duration,
    over: bool,
}

impl Feed {
    /// What the stream says next; nothing when it is over.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over || self.waiter.is_over() {
            return None;
        }
        let mut look = self.left.is_zero(); // at first, and when its time may be over
        let beat = Instant::now() + HEARTBEAT;
        loop {
            if look {
                self.waiter.mark();
                let Seen { item, left } = seen(&self.store, &self.id, &self.app).await.ok()?;
                self.left = left.max(Duration::from_millis(1));
                if item.version > self.known {
                    self.known = item.version;
                    self.over = item.state.is_final();
                    return Some((event(&item), self));
                }
                if item.state.is_final() {
                    return None; // it is known how it ended
                }
            }
            let until_beat = beat.saturating_duration_since(Instant::now());
            if until_beat.is_zero() {
                self.left = self.left.saturating_sub(HEARTBEAT);
                return Some((Bytes::from_static(b": \n\n"), self));
            }
            look = self.waiter.wait(until_beat.min(self.left)).await || self.left <= until_beat;
            if self.waiter.is_over() {
                return None;
            }
        }
    }
}

fn event(item: &SessionItem) -> Bytes {
    let data = serde_json::to_string(item).unwrap_or_default(); // texts and numbers
    Bytes::from(format!("id: {}\nevent: state\ndata: {data}\n\n", item.version))
}

/// What comes next, and what goes on after it.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of a stream.
struct Events {
    next: Option<Next>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let said = ready!(next.as_mut().poll(context));
        let said = said.map(|(octets, feed)| {
            self.next = Some(Box::pin(feed.next()));
            Ok(Frame::data(octets))
        });
        if said.is_none() {
            self.next = None;
        }
        Poll::Ready(said)
    }
}

#[cfg(test)]
mod tests {
    use store::ScanState;

    use super::*;

    #[test]
    fn an_event_is_one_block_of_lines() {
        let item = SessionItem {
            session: "A".to_owned(),
            state: ScanState::Expired,
            version: 3,
            expires_at: OffsetDateTime::UNIX_EPOCH,
            replaced_by: None,
        };
        let wanted = "id: 3\nevent: state\ndata: {\"session\":\"A\",\"state\":\"expired\",\"version\":3,\
                      \"expires_at\":\"1970-01-01T00:00:00Z\"}\n\n";
        assert_eq!(event(&item), wanted);
    }
}
