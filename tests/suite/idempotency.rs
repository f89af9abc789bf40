//! `Idempotency-Key`: a request is carried out once, however often it is sent.

use std::sync::Barrier;

use serde_json::{Value, json};
use tests::{Answer, Caller, Site, base64, shared};

const REPLAYED: &str = "idempotency-replayed";

fn order(message: &str) -> Value {
    json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(message.as_bytes())}})
}

fn post(app: &Caller, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send("POST", path, &headers, Some(body.to_string().as_bytes()))
}

fn sign(app: &Caller, key: &str, message: &str) -> Answer {
    post(app, "/v1/signatures", key, &order(message))
}

/// How often a request that began as `id` is on record.
fn recorded(site: &Site, id: &str) -> usize {
    site.audit().iter().filter(|entry| entry["request_id"] == id).count()
}

#[test]
fn the_same_request_gets_the_same_answer_and_is_done_once() {
    let site = &shared().site;
    let first = sign(site.app(), "once-1", "the same").expect(201);
    let again = sign(site.app(), "once-1", "the same").expect(201);
    assert_eq!(first.header(REPLAYED), "");
    assert_eq!(again.header(REPLAYED), "true");
    assert_eq!(first.text(), again.text(), "an SM2 signature is another one each time it is made");
    assert_eq!(again.header("content-type"), "application/json");
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    assert_eq!(recorded(site, first.header("x-request-id")), 1);
    assert_eq!(recorded(site, again.header("x-request-id")), 0);
    let quoted = post(site.app(), "/v1/signatures", "\"once-1\"", &order("the same")).expect(201);
    assert_eq!(quoted.text(), first.text(), "a quoted key is the key");
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let site = &shared().site;
    sign(site.app(), "mismatch-1", "one").expect(201);
    let other = sign(site.app(), "mismatch-1", "another").expect(409);
    assert_eq!(other.json()["code"], "idempotency_mismatch");
    // Octets count, not their meaning: what is a member's order to one reader is a difference to another.
    let spaced = format!("{} ", order("one"));
    let headers = [("content-type", "application/json"), ("idempotency-key", "mismatch-1")];
    let other = site.app().send("POST", "/v1/signatures", &headers, Some(spaced.as_bytes()));
    assert_eq!(other.expect(409).json()["code"], "idempotency_mismatch");
}

#[test]
fn a_key_belongs_to_its_app() {
    let site = &shared().site;
    let mine = sign(site.app(), "whose-1", "shared").expect(201);
    let theirs = sign(&site.app_number(1), "whose-1", "shared").expect(201);
    assert_eq!(theirs.header(REPLAYED), "");
    assert_ne!(mine.text(), theirs.text());
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let site = &shared().site;
    let bad = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"digest": "AAAA"}});
    assert_eq!(post(site.app(), "/v1/signatures", "free-1", &bad).expect(422).header(REPLAYED), "");
    let good = sign(site.app(), "free-1", "now it is right").expect(201);
    assert_eq!(good.header(REPLAYED), "");
}

#[test]
fn malformed_keys_are_refused_by_name() {
    let site = &shared().site;
    for bad in ["", "with space", "a\"b", "a,b", &"x".repeat(256)] {
        let refused = sign(site.app(), bad, "x").expect(422).json();
        assert_eq!(refused["code"], "header_malformed", "{bad:?}");
        assert_eq!(refused["errors"][0]["field"], "idempotency-key", "{bad:?}");
    }
    let twice = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    let refused = site.app().send("POST", "/v1/signatures", &twice, Some(order("x").to_string().as_bytes()));
    assert_eq!(refused.expect(422).json()["code"], "header_repeated");
}

#[test]
fn duplicates_at_the_same_time_wait_for_the_first() {
    const AT_ONCE: usize = 16;
    let site = &shared().site;
    let start = Barrier::new(AT_ONCE);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let send = || {
            let app = Caller::new(site.base(), site.sandbox()["apps"][0]["api_key"].as_str());
            start.wait();
            sign(&app, "together-1", "all at once").expect(201)
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let done: Vec<_> = answers.iter().filter(|answer| answer.header(REPLAYED).is_empty()).collect();
    assert_eq!(done.len(), 1, "one of them was carried out");
    assert!(answers.iter().all(|answer| answer.text() == answers[0].text()));
    let ids = answers.iter().map(|answer| answer.header("x-request-id"));
    assert_eq!(ids.map(|id| recorded(site, id)).sum::<usize>(), 1);
}

#[test]
fn an_act_on_a_device_is_done_once() {
    let site = Site::start();
    let operator = site.app_number(2);
    let why = json!({"reason": "a filter is changed"});
    let first = post(&operator, "/v1/devices/d3/drain", "drain-1", &why).expect(200);
    post(&operator, "/v1/devices/d3/resume", "resume-1", &json!({"reason": "it was changed"})).expect(200);
    let again = post(&operator, "/v1/devices/d3/drain", "drain-1", &why).expect(200);
    assert_eq!(again.header(REPLAYED), "true");
    assert_eq!(again.text(), first.text());
    assert_ne!(site.device_state("d3"), "draining", "an old order, sent again, is not carried out");
}

#[test]
fn answers_outlive_the_gateway() {
    let site = Site::start();
    let before = sign(site.app(), "restart-1", "kept").expect(201);
    let (folder, _) = site.stop();
    let site = folder.serve();
    let after = sign(site.app(), "restart-1", "kept").expect(201);
    assert_eq!(after.header(REPLAYED), "true");
    assert_eq!(after.text(), before.text());
    assert_eq!(sign(site.app(), "restart-1", "other").expect(409).json()["code"], "idempotency_mismatch");
}

#[test]
fn a_question_needs_no_key_and_ignores_it() {
    let site = &shared().site;
    for code in ["91350100M000100Y43", "914403001922038216"] {
        let ask = json!({"items": [{"type": "uscc", "value": code}]});
        let answer = post(site.app(), "/v1/identifiers:check", "question-1", &ask).expect(200);
        assert_eq!(answer.header(REPLAYED), "", "another question under the same key is answered like any");
        assert_eq!(answer.json()["items"][0]["verdict"], "valid");
    }
}

#[test]
fn every_post_that_changes_something_says_that_it_takes_a_key() {
    const HARMLESS: [&str; 28] = [
        "/authenticationService/appserver.do", // as of /v1/phone
        "/authenticationService/getLicencePdf.do",
        "/oauth2/token",   // who asks; an assertion counts once as it is
        "/oidc/authorize", // a browser may begin again
        "/oidc/device_authorization",
        "/oidc/login/{id}/cancel",
        "/oidc/login/{id}/continue",
        "/oidc/logout",
        "/oidc/par",
        "/oidc/revoke",
        "/oidc/token", // a code counts once as it is
        "/oidc/userinfo",
        "/tsa", // clients of RFC 3161 send none; another token does no harm
        "/v1/admin/policies:evaluate",
        "/v1/identifiers:check",
        "/v1/licenses:verify",
        "/v1/licenses:verify-batch",
        "/v1/phone/sessions/{id}/confirm", // a phone may ask again itself
        "/v1/phone/sessions/{id}/deny",
        "/v1/phone/sessions:scan",
        "/v1/sign-in", // each call is for itself
        "/v1/sign-in:second-factor",
        "/v1/sign-out",
        "/v1/stamps/{id}/archive", // a package is far larger than answers that are kept; one more signature by the site's key says the same
        "/v1/stamps:verify",
        "/v1/timestamps:verify",
        "/v1/verifications",
        "/v1/verifications:batch",
    ];
    let described = shared().site.app().get("/openapi.json").expect(200).json();
    for (path, item) in described["paths"].as_object().unwrap() {
        let Some(operation) = item.get("post") else { continue };
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let takes = parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key");
        assert_eq!(takes, !HARMLESS.contains(&path.as_str()), "{path}");
    }
}
