//! `/sandbox/…`: pages to try a sandbox by. One plays an integrating system that people sign in to ([`demo`]), one the phone
//! that they scan with, which has the test enterprises' licenses on it ([`wallet`]). A site for production has neither.

mod demo;
mod wallet;

use std::path::Path;
use std::sync::Arc;

use axum::extract::Path as InPath;
use axum::http::HeaderMap;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use config::Config;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pages::{self, File, HTML, SCRIPT, STYLE};
use crate::state::Gateway;
use demo::Demo;
use wallet::Wallet;

/// As of the console; pictures may stand in an answer besides, as QR codes do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal as $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../../sandbox/", $name)))),*]
    };
}

const FILES: &[File] = files![
    "annual-report.pdf" as "application/pdf",
    "demo.html" as HTML,
    "demo.js" as SCRIPT,
    "phone.html" as HTML,
    "phone.js" as SCRIPT,
    "sandbox.css" as STYLE,
    "words.js" as SCRIPT,
];

/// The description of a sandbox, as far as it is needed here.
#[derive(Deserialize)]
struct Described {
    apps: Vec<DescribedApp>,
}

#[derive(Deserialize)]
struct DescribedApp {
    id: String,
    api_key: Zeroizing<String>,
}

/// What the pages call, and the pages: none outside a sandbox, and none of a sandbox that `init` did not make. `api` is what
/// integrating systems call.
pub(crate) fn routes(config: &Config, api: &Router) -> (Router<Gateway>, Router<Gateway>) {
    let Some((wallet, demo)) = parts(config, api) else { return (Router::new(), Router::new()) };
    let calls = Router::new()
        .route("/sandbox/phone/licenses", get(wallet::list_licenses))
        .route("/sandbox/phone/licenses/{license}/sign", post(wallet::sign))
        .layer(Extension(Arc::new(wallet)));
    let of_demo = Router::new()
        .route("/sandbox/demo/sessions", post(demo::begin))
        .route("/sandbox/demo/sessions/{id}/events", get(demo::events))
        .route("/sandbox/demo/sessions/{id}/result", post(demo::result))
        .route("/sandbox/demo/sessions/{id}/stamp", post(demo::stamp))
        .layer(Extension(Arc::new(demo)));
    let page = |name| get(async move |headers: HeaderMap| pages::file(FILES, POLICY, name, &headers));
    let pages = Router::new()
        .route("/sandbox", get(async || Redirect::temporary("/sandbox/demo")))
        .route("/sandbox/demo", page("demo.html"))
        .route("/sandbox/phone", page("phone.html"))
        .route("/sandbox/{file}", get(get_file));
    (calls.merge(of_demo), pages)
}

fn parts(config: &Config, api: &Router) -> Option<(Wallet, Demo)> {
    if !config.site.sandbox {
        return None;
    }
    let app = first_app(&config.folder.join("sandbox.json"))?;
    let wallet = Wallet::of(config.folder.join("pki"))?;
    Some((wallet, Demo::new(api.clone(), app.id, app.api_key)))
}

/// The app that the demonstration is: the first one, which may see all that a license shows.
fn first_app(description: &Path) -> Option<DescribedApp> {
    let text = Zeroizing::new(std::fs::read_to_string(description).ok()?);
    serde_json::from_str::<Described>(&text).ok()?.apps.into_iter().next()
}

async fn get_file(InPath(name): InPath<String>, headers: HeaderMap) -> Response {
    pages::file(FILES, POLICY, &name, &headers)
}
