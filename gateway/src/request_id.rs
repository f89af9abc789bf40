//! The id of the request being worked on: taken from `x-request-id` if the caller sent a sane one, else made. And what
//! becomes known of the request on its way, for the log line and the figures.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, HeaderValue};
use config::{AppId, KeyId};

/// Name of the header in both directions.
pub(crate) const HEADER: &str = "x-request-id";

tokio::task_local! {
    static CURRENT: (String, Arc<Notes>);
}

/// Who asked, and with which key.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) app: OnceLock<AppId>,
    pub(crate) key: OnceLock<KeyId>,
    /// By what the app proved itself.
    pub(crate) credential: OnceLock<String>,
}

/// The caller's id if it is 1 to 64 of `a-z A-Z 0-9 . _ -`, else a fresh one of 128 bits.
pub(crate) fn choose(headers: &HeaderMap) -> String {
    let sent = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    sent.filter(sane).map_or_else(new, str::to_owned)
}

/// A fresh id of 128 bits.
pub(crate) fn new() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Runs a request under its id; what is noted on the way is in `notes`.
pub(crate) async fn scope<F: Future>(id: String, notes: Arc<Notes>, work: F) -> F::Output {
    CURRENT.scope((id, notes), work).await
}

/// Has another task work on the request that this task works on.
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let (id, notes) = CURRENT.try_with(Clone::clone).unwrap_or_default();
    scope(id, notes, work)
}

/// The id of the request this task works on; empty outside one.
pub(crate) fn current() -> String {
    CURRENT.try_with(|(id, _)| id.clone()).unwrap_or_default()
}

/// The request this task works on is this app's.
pub(crate) fn note_app(app: &AppId) {
    let _ = CURRENT.try_with(|(_, notes)| notes.app.set(app.clone())); // outside a request nobody counts
}

/// The app of the request this task works on proved itself by this credential.
pub(crate) fn note_credential(id: &str) {
    let _ = CURRENT.try_with(|(_, notes)| notes.credential.set(id.to_owned())); // as above
}

/// The request this task works on is about this key, which exists.
pub(crate) fn note_key(key: &KeyId) {
    let _ = CURRENT.try_with(|(_, notes)| notes.key.set(key.clone())); // as above
}

/// The trace id of a W3C `traceparent` header (version 00), if it is one.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent").map(HeaderValue::to_str)?.ok()?;
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    (version == "00" && trace.len() == 32 && hex(trace) && trace.bytes().any(|b| b != b'0')).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        assert_eq!(choose(&headers(HEADER, "abc-1")), "abc-1");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            let made = choose(&headers(HEADER, bad));
            assert_eq!(made.len(), 32, "{bad:?} gave {made}");
        }
        assert_ne!(choose(&HeaderMap::new()), choose(&HeaderMap::new()));
    }

    #[test]
    fn a_trace_id_comes_from_a_well_formed_traceparent_only() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&headers("traceparent", &good)), Some(trace));
        for bad in ["", "00-xyz-1-1", "00-00000000000000000000000000000000-1-1", "99"] {
            assert_eq!(trace_id(&headers("traceparent", bad)), None, "{bad}");
        }
    }
}
