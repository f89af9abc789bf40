//! How long a request may take: everything that is done for it knows the end of its time, and whoever asked has an
//! answer by then.
//!
//! The time counts from the moment the whole request is here: a body that comes slowly has a limit of its own. Work
//! whose time is up ends where it waits, as when its caller hangs up; a signature runs in a task of its own, so that
//! what a key did is on record all the same, and never leaves late.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use tokio::sync::Notify;

use crate::problem::Problem;
use crate::state::Gateway;

tokio::task_local! {
    static CURRENT: Arc<Arrival>;
}

/// Has requests answered in time. For calls that may be made again; operators' acts have limits of their own.
pub(crate) fn limited(routes: Router<Gateway>, gateway: &Gateway) -> Router<Gateway> {
    routes.layer(from_fn_with_state(gateway.clone(), limit))
}

/// When the request that this task works on has to be answered at the latest; none outside one.
pub(crate) fn current() -> Option<Instant> {
    CURRENT.try_with(|arrival| arrival.deadline()).ok()
}

/// When a request was here as a whole.
struct Arrival {
    at: OnceLock<Instant>,
    /// When something of it was read last.
    moved: Mutex<Instant>,
    limit: Duration,
    happened: Notify,
}

impl Arrival {
    fn new(limit: Duration) -> Arc<Self> {
        let moved = Mutex::new(Instant::now());
        Arc::new(Self { at: OnceLock::new(), moved, limit, happened: Notify::new() })
    }

    fn moved(&self) -> MutexGuard<'_, Instant> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        if self.at.set(Instant::now()).is_ok() {
            self.happened.notify_one();
        }
    }

    fn deadline(&self) -> Instant {
        self.at.get().copied().unwrap_or_else(Instant::now) + self.limit
    }
}

/// In the extensions of an answer that came before the work was done: a signature may yet be made and recorded.
#[derive(Clone)]
pub(crate) struct Unfinished;

fn too_late() -> Response {
    let mut response = Problem::too_late().into_response();
    response.extensions_mut().insert(Unfinished);
    response
}

async fn limit(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let server = &gateway.config.server;
    let arrival = Arrival::new(server.request_deadline);
    let request = if http_body::Body::is_end_stream(request.body()) {
        arrival.note();
        request
    } else {
        let noted = Arc::clone(&arrival);
        request.map(|body| Body::new(Arriving { body, arrival: noted }))
    };
    let answer = CURRENT.scope(Arc::clone(&arrival), next.run(request));
    // A body may come slowly as long as it comes (`body::read` sees to that); one that nobody reads does not make
    // the time endless.
    let unread = server.read_timeout + server.request_deadline;
    let over = tokio::time::sleep(unread);
    tokio::pin!(answer, over);
    loop {
        tokio::select! {
            biased;
            response = &mut answer => return response,
            () = arrival.happened.notified() => break over.as_mut().reset(arrival.deadline().into()),
            () = &mut over => {
                let latest = *arrival.moved() + unread;
                if latest <= Instant::now() {
                    return too_late();
                }
                over.as_mut().reset(latest.into());
            }
        }
    }
    tokio::select! {
        biased;
        response = &mut answer => response,
        () = &mut over => too_late(),
    }
}

/// A request body that notes when all of it was read.
struct Arriving {
    body: Body,
    arrival: Arc<Arrival>,
}

impl http_body::Body for Arriving {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        *self.arrival.moved() = Instant::now();
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.arrival.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_time_counts_from_the_end_of_the_body() {
        let arrival = Arrival::new(Duration::from_secs(60));
        let arriving = Arriving { body: Body::from("all of it"), arrival: Arc::clone(&arrival) };
        assert!(arrival.at.get().is_none());
        assert_eq!(arriving.collect().await.unwrap().to_bytes(), "all of it");
        let arrived = *arrival.at.get().unwrap();
        arrival.note();
        assert_eq!(arrival.deadline(), arrived + Duration::from_secs(60), "noted once");
        arrival.happened.notified().await;
    }
}
