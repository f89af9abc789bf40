//! ZIPs that are written while they go out: no more of one is held than what is on its way.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use http_body_util::channel::Sender;
use time::{OffsetDateTime, UtcOffset};
use zip::ZipWriter;
use zip::write::StreamWriter;

/// Parts that are ready before they are taken.
pub(crate) const AHEAD: usize = 2;

/// Nobody takes it any more.
#[derive(Debug, thiserror::Error)]
#[error("its reader has gone")]
pub(crate) struct Gone;

/// What a ZIP's writer wrote, until it is sent.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// A ZIP that is written here.
    pub(crate) fn zip(&self) -> ZipWriter<StreamWriter<Self>> {
        ZipWriter::new_stream(self.clone())
    }

    /// Hands over what is written by now, as soon as somebody takes it.
    pub(crate) async fn send(&self, sender: &mut Sender<Bytes, io::Error>) -> Result<(), Gone> {
        let octets = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        sender.send_data(Bytes::from(octets)).await.map_err(|_| Gone)
    }
}

impl Write for Written {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As ZIP has times: of a clock on the wall, from 1980 on.
pub(crate) fn written_at(at: OffsetDateTime, offset: UtcOffset) -> Option<zip::DateTime> {
    let at = at.to_offset(offset);
    let year = u16::try_from(at.year()).ok()?;
    zip::DateTime::from_date_and_time(year, at.month().into(), at.day(), at.hour(), at.minute(), at.second())
        .ok()
}
