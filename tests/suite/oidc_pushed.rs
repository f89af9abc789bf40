//! Requests for logins that apps push (RFC 9126): the browser brings a name, which is good once, for its app and for a short time.

use serde_json::json;
use tests::{Answer, Folder, Postgres, Scratch, Signer, Site, eventually, shared};

use crate::oidc::{
    Begun, CALLBACK, agree, answered, ask, client, encoded, issuer, redeem, send, text, userinfo,
};
use crate::phone::Phone;

const BOUND: std::time::Duration = std::time::Duration::from_secs(90);
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What an app pushes, with changes: an empty value takes a parameter away.
fn push(site: &Site, signer: Option<&Signer>, client: &str, changes: &[(&str, &str)]) -> Answer {
    let target = ask(client, changes);
    let (_, query) = target.split_once('?').unwrap();
    let assertion = signer.map(|signer| signer.assertion(&format!("{}/oidc/par", issuer(site)), &json!({})));
    let proof = assertion.as_ref().map(|assertion| {
        format!("&{}", encoded(&[("client_assertion_type", ASSERTION), ("client_assertion", assertion)]))
    });
    let form = format!("{query}{}", proof.unwrap_or_default());
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    site.stranger(None).send("POST", "/oidc/par", &fields, Some(form.as_bytes()))
}

/// The name of what an app pushed.
fn pushed(site: &Site, signer: &Signer, client: &str, changes: &[(&str, &str)]) -> String {
    let answer = push(site, Some(signer), client, changes).expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["expires_in"], 90);
    text(&answer, "request_uri").to_owned()
}

/// Where the browser is sent with it.
fn brought(client: &str, request_uri: &str) -> String {
    format!("/oidc/authorize?{}", encoded(&[("client_id", client), ("request_uri", request_uri)]))
}

#[track_caller]
fn unknown(answer: &Answer) {
    assert_eq!((answer.status, answer.header("location")), (400, ""), "{}", answer.text());
    assert!(answer.text().contains("<code>request_uri_unknown</code>"), "{}", answer.text());
}

#[track_caller]
fn refused(answer: &Answer, error: &str, code: &str) {
    let body = answer.json();
    assert_eq!((&body["error"], &body["code"]), (&json!(error), &json!(code)), "{}", answer.text());
    assert!(matches!(answer.status, 400 | 401), "{}", answer.status);
}

#[test]
fn somebody_is_logged_in_by_what_was_pushed_and_by_nothing_that_stands_beside_it() {
    let site = &shared().site;
    let signer = client(site, "par-plain", &["*"], &json!({}));
    let found = site.stranger(None).get("/.well-known/openid-configuration").expect(200).json();
    assert_eq!(found["pushed_authorization_request_endpoint"], format!("{}/oidc/par", issuer(site)));
    let name = pushed(site, &signer, "par-plain", &[]);
    assert!(name.starts_with("urn:ietf:params:oauth:request_uri:") && name.len() > 70, "{name}");
    let browser = site.stranger(None);
    let beside = encoded(&[
        ("state", "another"),
        ("redirect_uri", "https://evil.example/cb"),
        ("code_challenge", "x"),
        ("scope", "openid license.face"),
    ]);
    let begun = Begun::at(&browser, &format!("{}&{beside}", brought("par-plain", &name)));
    agree(&Phone::good(site), site, &begun.seen(&browser), &json!({}));
    let (place, told) = answered(&begun.press(&browser, "continue"));
    assert_eq!((place.as_str(), &told["state"]), ("https://app.example/cb", &json!("the state")));
    let tokens = redeem(site, Some(&signer), text(&told, "code"), &[]).expect(200).json();
    assert_eq!(tokens["scope"], "license offline_access openid operator");
    userinfo(site, text(&tokens, "access_token")).expect(200);
    let metrics = browser.get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_oidc_logins_total{step=\"pushed\"}"), "{metrics}");
    // It was good once.
    unknown(&browser.get(&brought("par-plain", &name)));
}

#[test]
fn a_name_is_good_for_its_app_only_and_what_is_no_name_leads_nowhere() {
    let site = &shared().site;
    let signer = client(site, "par-own", &["*"], &json!({}));
    client(site, "par-other", &["*"], &json!({}));
    let browser = site.stranger(None);
    let name = pushed(site, &signer, "par-own", &[]);
    unknown(&browser.get(&brought("par-other", &name)));
    unknown(&browser.get(&brought("par-own", &format!("{name}x"))));
    unknown(&browser.get(&brought("par-own", "urn:ietf:params:oauth:request_uri:")));
    // What others tried did not use it up.
    Begun::at(&browser, &brought("par-own", &name));
    // Addresses are not fetched, whoever names them.
    let foreign = ask("par-own", &[("request_uri", "https://evil.example/request")]);
    let (_, told) = answered(&browser.get(&foreign));
    assert_eq!(told["error"], "request_uri_not_supported");
}

#[test]
fn what_is_wrong_is_told_the_app_at_once() {
    let site = &shared().site;
    let signer = client(site, "par-wrong", &["*"], &json!({"scopes": ["license"]}));
    let other = client(site, "par-stranger", &["*"], &json!({}));
    let asked = |changes: &[(&str, &str)]| push(site, Some(&signer), "par-wrong", changes);
    let scope = ("scope", "openid license");
    asked(&[scope]).expect(201);
    for (change, error, code) in [
        (("redirect_uri", "https://evil.example/cb"), "invalid_request", "redirect_uri_unknown"),
        (("redirect_uri", ""), "invalid_request", "redirect_uri_unknown"),
        (("scope", "openid operator"), "invalid_scope", "invalid_scope"),
        (("scope", "license"), "invalid_scope", "invalid_scope"),
        (("response_type", "token"), "unsupported_response_type", "unsupported_response_type"),
        (("code_challenge_method", "plain"), "invalid_request", "invalid_request"),
        (("prompt", "none"), "login_required", "login_required"),
        (("request_uri", "urn:ietf:params:oauth:request_uri:x"), "invalid_request", "invalid_request"),
        (("request", "x"), "request_not_supported", "request_not_supported"),
        (("id_token_hint", "x"), "invalid_request", "invalid_request"),
    ] {
        refused(&asked(&[scope, change]), error, code);
    }
    // Whoever pushes proves to be the app.
    refused(&push(site, None, "par-wrong", &[scope]), "invalid_client", "client_refused");
    refused(&push(site, Some(&other), "par-wrong", &[scope]), "invalid_client", "client_refused");
    let elsewhere = signer.assertion("https://elsewhere.example/oidc/par", &json!({}));
    let form = [("client_assertion_type", ASSERTION), ("client_assertion", elsewhere.as_str())];
    refused(&send(site, "/oidc/par", None, &form), "invalid_client", "client_refused");
    site.app_command(&["create", "par-none", "--name", "none", "--reason", "test"]);
    let none = Signer::new("par-none", "p256");
    none.enter(site);
    refused(&push(site, Some(&none), "par-none", &[]), "unauthorized_client", "unauthorized_client");
    // A program that keeps no key pushes as well.
    client(site, "par-public", &["*"], &json!({"public": true}));
    push(site, None, "par-public", &[]).expect(201);
}

#[test]
fn an_app_that_pushes_its_requests_is_asked_for_in_no_other_way() {
    let site = &shared().site;
    let signer = client(site, "par-only", &["*"], &json!({"require_pushed_authorization_requests": true}));
    let shown = site.app_command(&["show", "par-only"]);
    assert_eq!(shown["oidc"]["require_pushed_authorization_requests"], true, "{shown}");
    let browser = site.stranger(None);
    let (_, told) = answered(&browser.get(&ask("par-only", &[])));
    assert_eq!((&told["error"], &told["state"]), (&json!("invalid_request"), &json!("the state")));
    Begun::at(&browser, &brought("par-only", &pushed(site, &signer, "par-only", &[])));
}

/// One gateway keeps what another takes; of all browsers that come at once one is let in; what was withdrawn since counts.
#[test]
fn over_two_gateways_a_name_is_good_once_and_for_what_the_app_may_have_then() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let signer = client(&first, "par-two", &["*"], &json!({}));
    eventually("the other gateway knows the app", BOUND, || {
        (second.stranger(None).get(&ask("par-two", &[])).status == 303).then_some(())
    });
    let name = pushed(&first, &signer, "par-two", &[]);
    let target = brought("par-two", &name);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let target = &target;
        let at = |site| scope.spawn(move || Site::stranger(site, None).get(target));
        let threads = [at(&first), at(&second), at(&first), at(&second)];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let (begun, late): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 303);
    assert_eq!((begun.len(), late.len()), (1, 3));
    late.into_iter().for_each(unknown);

    let name = pushed(&first, &signer, "par-two", &[]);
    let oidc = json!({
        "redirect_uris": ["https://app.example/elsewhere"], "scopes": ["license"], "item": "annual-report", "item_name": "登录",
    });
    let scratch = Scratch::new();
    let file = scratch.write("oidc.json", oidc.to_string());
    first.app_command(&["change", "par-two", "--oidc", file.to_str().unwrap(), "--reason", "moved"]);
    let answer = first.stranger(None).get(&brought("par-two", &name)).expect(400);
    assert!(answer.text().contains("redirect_uri_unknown"), "{}", answer.text());
    assert!(!answer.text().contains(CALLBACK));
}
