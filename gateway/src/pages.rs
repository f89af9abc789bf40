//! Files of the binary that browsers are given: pages, what they look like and what runs in them.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::apps::sm3_hex;
use crate::problem::Problem;

/// Name, media type, content.
pub(crate) type File = (&'static str, &'static str, &'static [u8]);

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const PICTURE: &str = "image/svg+xml";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const STYLE: &str = "text/css; charset=utf-8";

/// The file of this name, with the policy of what may run and be shown in it; nothing of another origin reads it.
pub(crate) fn file(files: &[File], policy: &'static str, name: &str, headers: &HeaderMap) -> Response {
    let Some((_, kind, content)) = files.iter().find(|(known, ..)| *known == name) else {
        return Problem::not_found().into_response();
    };
    // Another build has other files under the same names: a browser asks each time whether its own are still these.
    let tag = format!("\"{}\"", sm3_hex(content));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let fields: [(HeaderName, HeaderValue); 8] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { (*content).into_response() };
    for (name, value) in fields {
        response.headers_mut().insert(name, value);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
