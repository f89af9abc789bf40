//! `/console`: the maintenance console's pages. They are files of the binary, the same for everybody; what they show
//! they ask of the API with the token of whoever signed in, so that nobody can do more by them than without.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::apps::sm3_hex;
use crate::problem::Problem;
use crate::state::Gateway;

/// Nothing but the console's own files runs or is shown, nothing can frame it, and no text can become markup or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
const SIGNED_OUT: &str = "signed-out";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal as $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../console/", $name)))),*]
    };
}

/// Name, media type, content.
const FILES: &[(&str, &str, &str)] = files![
    "account.js" as SCRIPT,
    "api.js" as SCRIPT,
    "approvals.js" as SCRIPT,
    "apps.js" as SCRIPT,
    "audit.js" as SCRIPT,
    "charts.js" as SCRIPT,
    "console.css" as "text/css; charset=utf-8",
    "device.js" as SCRIPT,
    "dialogs.js" as SCRIPT,
    "dom.js" as SCRIPT,
    "door.js" as SCRIPT,
    "fleet.js" as SCRIPT,
    "icon.svg" as "image/svg+xml",
    "index.html" as HTML,
    "licenses.js" as SCRIPT,
    "main.js" as SCRIPT,
    "sessions.js" as SCRIPT,
    "signed-out.html" as HTML,
    "words.js" as SCRIPT,
];

/// The console's files, for the doors of people.
pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/console", get(async || Redirect::permanent("/console/")))
        .route("/console/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/console/{file}", get(get_file))
}

async fn get_file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    if name == SIGNED_OUT {
        let mut response = file("signed-out.html", &HeaderMap::new());
        // The browser forgets what it kept of this site, whatever the pages did or failed to do. Another site that leads here
        // does not have it forget who is signed in, and cookies, of which there are none, are those of a whole domain.
        if headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
            let what = HeaderValue::from_static("\"cache\", \"storage\"");
            response.headers_mut().insert("clear-site-data", what);
        }
        return response;
    }
    file(&name, &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Problem::not_found().into_response();
    };
    // Another build has other files under the same names: a browser asks each time whether its own are still these.
    let tag = format!("\"{}\"", sm3_hex(content.as_bytes()));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let fields: [(HeaderName, HeaderValue); 8] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
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
