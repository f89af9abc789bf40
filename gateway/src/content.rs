//! Kept contents on their way out, a part at a time.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use store::StoreError;

/// A part that is being read.
pub(crate) type Part = Pin<Box<dyn Future<Output = Result<Vec<u8>, StoreError>> + Send>>;

/// A body of parts, each of which is read when the one before has gone. A part that cannot be read ends it before its time,
/// and so the connection.
pub(crate) struct Content {
    parts: Range<u64>,
    left: u64,
    read: Box<dyn Fn(u64) -> Part + Send>,
    reading: Option<Part>,
    ready: Option<Vec<u8>>,
}

impl Content {
    /// These parts, which have so many octets together.
    pub(crate) fn new(parts: Range<u64>, octets: u64, read: impl Fn(u64) -> Part + Send + 'static) -> Self {
        Self { parts, left: octets, read: Box::new(read), reading: None, ready: None }
    }

    /// The same behind octets that are at hand already.
    pub(crate) fn behind(self, octets: Vec<u8>) -> Self {
        Self { left: self.left + octets.len() as u64, ready: Some(octets), ..self }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        let content = &mut *self;
        let part = if let Some(ready) = content.ready.take() {
            Ok(ready)
        } else {
            if content.reading.is_none() {
                let Some(next) = content.parts.next() else { return Poll::Ready(None) };
                content.reading = Some((content.read)(next));
            }
            let Some(reading) = content.reading.as_mut() else { return Poll::Ready(None) };
            let part = ready!(reading.as_mut().poll(context));
            content.reading = None;
            part
        };
        Poll::Ready(Some(match part {
            Ok(part) => {
                content.left = content.left.saturating_sub(part.len() as u64);
                Ok(Frame::data(Bytes::from(part)))
            }
            Err(error) => {
                tracing::error!(%error, "kept contents could not be read to their end");
                content.parts = 0..0;
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.reading.is_none() && self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
