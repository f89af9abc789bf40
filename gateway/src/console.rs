//! `/console`: the maintenance console's pages. They are files of the binary, the same for everybody; what they show
//! they ask of the API with the token of whoever signed in, so that nobody can do more by them than without.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Redirect, Response};
use axum::routing::get;

use crate::pages::{self, File, HTML, PICTURE, SCRIPT, STYLE};
use crate::state::Gateway;

/// Nothing but the console's own files runs or is shown, nothing can frame it, and no text can become markup or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
const SIGNED_OUT: &str = "signed-out";

macro_rules! files {
    ($($name:literal as $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../console/", $name)))),*]
    };
}

const FILES: &[File] = files![
    "account.js" as SCRIPT,
    "api.js" as SCRIPT,
    "approvals.js" as SCRIPT,
    "apps.js" as SCRIPT,
    "audit.js" as SCRIPT,
    "charts.js" as SCRIPT,
    "console.css" as STYLE,
    "device.js" as SCRIPT,
    "dialogs.js" as SCRIPT,
    "dom.js" as SCRIPT,
    "door.js" as SCRIPT,
    "fleet.js" as SCRIPT,
    "icon.svg" as PICTURE,
    "index.html" as HTML,
    "inspections.js" as SCRIPT,
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
    pages::file(FILES, POLICY, name, headers)
}
