//! `/sandbox/…`: pages to try a sandbox by. One plays an integrating system that people sign in to ([`demo`]), one the phone
//! that they scan with, which has the test enterprises' licenses on it ([`wallet`]), and on one test enterprises are made
//! ([`enterprises`]). A site for production has none.

mod demo;
mod enterprise_form;
mod enterprises;
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
use enterprises::Enterprises;
use wallet::Wallet;

/// As of the console; pictures may stand in an answer besides, as QR codes do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Of the document to be signed: it loads nothing, and a browser's viewer, which embeds it as an object, may show it.
const PDF_POLICY: &str =
    "default-src 'none'; object-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal as $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../../sandbox/", $name)))),*]
    };
}

const FILES: &[File] = files![
    "annual-report.pdf" as "application/pdf",
    "demo.html" as HTML,
    "demo.js" as SCRIPT,
    "enterprises.html" as HTML,
    "enterprises.js" as SCRIPT,
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

/// What the pages call, and the pages: none outside a sandbox, of one that takes no API keys, and of one that `init` did not make.
/// `api` is what integrating systems call.
pub(crate) fn routes(config: &Config, api: &Router) -> (Router<Gateway>, Router<Gateway>) {
    let Some((wallet, demo, enterprises)) = parts(config, api) else { return (Router::new(), Router::new()) };
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
    let of_enterprises = Router::new()
        .route("/sandbox/enterprises", get(enterprises::list).post(enterprises::make))
        .route("/sandbox/enterprises/{uscc}", get(enterprises::get).delete(enterprises::remove))
        .route("/sandbox/enterprises/{uscc}/status", post(enterprises::change))
        .layer(Extension(Arc::new(enterprises)));
    let page = |name| get(async move |headers: HeaderMap| pages::file(FILES, POLICY, name, &headers));
    let pages = Router::new()
        .route("/sandbox", get(async || Redirect::temporary("/sandbox/demo")))
        .route("/sandbox/demo", page("demo.html"))
        .route("/sandbox/phone", page("phone.html"))
        .route("/sandbox/{file}", get(get_file));
    (calls.merge(of_demo).merge(of_enterprises), pages)
}

fn parts(config: &Config, api: &Router) -> Option<(Wallet, Demo, Enterprises)> {
    // By an API key the one acts, and the other as anybody's phone: both are for where such keys are taken.
    if !config.site.sandbox || !config.callers.api_keys {
        return None;
    }
    let app = first_app(&config.folder.join("sandbox.json"))?;
    let pki = config.folder.join("pki");
    let wallet = Wallet::of(pki.clone())?;
    Some((wallet, Demo::new(api.clone(), app.id, app.api_key), Enterprises::of(pki)))
}

/// The app that the demonstration is: the first one, which may see all that a license shows.
fn first_app(description: &Path) -> Option<DescribedApp> {
    let text = Zeroizing::new(std::fs::read_to_string(description).ok()?);
    serde_json::from_str::<Described>(&text).ok()?.apps.into_iter().next()
}

async fn get_file(InPath(name): InPath<String>, headers: HeaderMap) -> Response {
    let policy = if name.ends_with(".pdf") { PDF_POLICY } else { POLICY };
    pages::file(FILES, policy, &name, &headers)
}

#[cfg(test)]
mod tests {
    use formats::Verdict;
    use store::{ScanFlow, ScanState};
    use verify_front::{FACE_FIELDS, Role};

    /// That both languages have the same words is tested in a browser.
    #[test]
    fn there_is_a_word_for_everything_that_the_api_says() {
        let words = include_str!("../../sandbox/words.js");
        let (of, flows) = (|prefix: &str, name: &str| format!("{prefix}_{name}"), ScanFlow::NAMES.iter());
        let verdicts = [Verdict::Valid, Verdict::Invalid, Verdict::Indeterminate, Verdict::Unsigned];
        let kinds = ["good", "expired", "revoked", "tampered", "wrong-uscc"];
        let all = FACE_FIELDS
            .iter()
            .map(|name| of("field", name))
            .chain(Role::NAMES.iter().map(|(name, _)| of("role", name)))
            .chain(ScanState::NAMES.iter().map(|(name, _)| of("state", name)))
            .chain(flows.map(|(name, _)| of("asks", name)))
            .chain(verdicts.map(|verdict| of("verdict", verdict.name())))
            .chain(kinds.map(|name| of("kind", name)));
        for word in all {
            let places =
                [format!(" {word}: '"), format!(" '{word}': '")].map(|key| words.matches(&key).count());
            assert_eq!(places.iter().sum::<usize>(), 2, "{word} in Chinese and in English");
        }
    }
}
