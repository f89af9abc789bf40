//! How long a connection may be slow or idle. What it waits for says how long: a head that has begun must end soon,
//! an answer must be taken, and a connection that nobody uses is closed. While a request is worked on nothing is due
//! here: reading its body and doing its work have limits of their own.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use hyper::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long each may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A head, from its first octet.
    pub(crate) head: Duration,
    /// An answer of which the client takes nothing.
    pub(crate) write: Duration,
    /// A connection that is not used.
    pub(crate) idle: Duration,
}

/// Why a connection was ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Idle,
    SlowHead,
    SlowReader,
}

impl Cause {
    /// The word in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// What a connection is at. Times are milliseconds since it began.
pub(crate) struct Pace {
    began: Instant,
    /// Requests that are worked on.
    served: AtomicUsize,
    /// Answers that the client has not taken whole.
    answering: AtomicUsize,
    /// When something of a request or an answer moved last.
    moved: AtomicU64,
    /// When a head began that has not ended, plus one; 0 if none has.
    head: AtomicU64,
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            served: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            head: AtomicU64::new(1), // who connects is about to ask
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request came whole in its head; it is worked on until the guard says otherwise.
    pub(crate) fn begin(self: &Arc<Self>) -> InHand {
        self.head.store(0, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        InHand(Arc::clone(self))
    }

    /// When the connection is to be ended if nothing moves, and why.
    fn due(&self, limits: &Limits) -> Option<(Instant, Cause)> {
        if self.served.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let moved = self.moved.load(Ordering::Relaxed);
        let (since, limit, cause) = match self.head.load(Ordering::Relaxed) {
            _ if self.answering.load(Ordering::Relaxed) > 0 => (moved, limits.write, Cause::SlowReader),
            0 => (moved, limits.idle, Cause::Idle),
            head => (head - 1, limits.head, Cause::SlowHead),
        };
        Some((self.began + Duration::from_millis(since) + limit, cause))
    }

    fn heard(&self) {
        let busy = self.served.load(Ordering::Relaxed) > 0 || self.answering.load(Ordering::Relaxed) > 0;
        if !busy && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.now() + 1, Ordering::Relaxed);
        }
    }
}

/// A request that is worked on.
pub(crate) struct InHand(Arc<Pace>);

impl InHand {
    /// The answer is there; now the client is to take it.
    pub(crate) fn answered(self, response: Response<Body>) -> Response<Answer> {
        self.0.moved.store(self.0.now(), Ordering::Relaxed);
        self.0.answering.fetch_add(1, Ordering::Relaxed);
        let sending = Sending(Arc::clone(&self.0));
        response.map(|body| Answer { body, sending })
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Sending(Arc<Pace>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.moved.store(self.0.now(), Ordering::Relaxed);
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, of which every part that is taken counts as a move.
pub(crate) struct Answer {
    body: Body,
    sending: Sending,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let pace = &self.sending.0;
        pace.moved.store(pace.now(), Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells when a head begins. For HTTP/1 only: on an HTTP/2 connection octets come for other reasons.
pub(crate) struct Heard<S> {
    pub(crate) stream: S,
    pub(crate) pace: Arc<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.pace.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How a connection ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    #[error("{}", .0.name())]
    Slow(Cause),
}

/// Drives a connection to its end: its own, the gateway's (after what is in flight), or when something is due. An
/// idle one is asked to end first, so that an HTTP/2 client learns that it may ask elsewhere.
pub(crate) async fn attend<C>(
    connection: C,
    ask_to_end: impl Fn(Pin<&mut C>),
    pace: &Pace,
    limits: &Limits,
    mut closing: watch::Receiver<bool>,
) -> Result<(), Ended>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut stopping = pin!(closing.wait_for(|closing| *closing));
    let mut alarm = pin!(tokio::time::sleep(limits.idle));
    let mut asked = false;
    let mut last = None;
    poll_fn(|context| {
        if !asked && stopping.as_mut().poll(context).is_ready() {
            asked = true;
            ask_to_end(connection.as_mut());
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(match last {
                    Some(_) => Err(Ended::Slow(Cause::Idle)),
                    None => ended.map_err(Ended::from),
                });
            }
            let Some((mut due, cause)) = pace.due(limits) else { return Poll::Pending };
            if let Some(last) = last {
                due = last;
            }
            let now = Instant::now();
            if due <= now {
                if cause == Cause::Idle && last.is_none() {
                    last = Some(now + limits.head);
                    asked = true;
                    ask_to_end(connection.as_mut());
                    continue;
                }
                return Poll::Ready(Err(Ended::Slow(cause)));
            }
            if due < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(due);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}
