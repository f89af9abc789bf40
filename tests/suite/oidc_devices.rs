//! Logging in at a device without a browser (RFC 8628): it shows what is scanned, or what somebody types in elsewhere, and asks until the
//! holder has confirmed.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Signer, Site, eventually, shared};

use crate::oidc::{agree, ask, client, issuer, part, refresh, send, text, userinfo};
use crate::phone::Phone;

const BOUND: Duration = Duration::from_secs(90);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Has people log in to a new app at devices.
fn at_devices(site: &Site, id: &str) -> Signer {
    client(site, id, &["*"], &json!({"device_flow": true}))
}

fn begin(site: &Site, signer: Option<&Signer>, form: &[(&str, &str)]) -> Answer {
    send(site, "/oidc/device_authorization", signer, form)
}

fn began(site: &Site, signer: &Signer) -> Value {
    let scope = [("scope", "openid license operator offline_access")];
    begin(site, Some(signer), &scope).expect(200).json()
}

fn asks(site: &Site, signer: Option<&Signer>, device: &Value, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", GRANT), ("device_code", text(device, "device_code"))], more].concat();
    send(site, "/oidc/token", signer, &form)
}

/// Asks as a device does that waits in between, and longer when it is told to.
fn waits(site: &Site, signer: &Signer, device: &Value) -> Answer {
    eventually("the device is told", BOUND, || {
        let answer = asks(site, Some(signer), device, &[]);
        if answer.status == 400 && answer.json()["error"] == "slow_down" {
            std::thread::sleep(Duration::from_secs(2));
            return None;
        }
        Some(answer)
    })
}

#[track_caller]
fn refused(answer: &Answer, error: &str, code: &str) {
    let body = answer.json();
    assert_eq!((&body["error"], &body["code"]), (&json!(error), &json!(code)), "{}", answer.text());
    assert!(matches!(answer.status, 400 | 401), "{}", answer.status);
}

fn code(device: &Value) -> Value {
    json!({"qr_text": device["gw_qr_text"]})
}

fn page(caller: &Caller, user_code: &str) -> Answer {
    caller.get(&format!("/oidc/device?user_code={user_code}"))
}

#[test]
fn somebody_is_logged_in_at_a_device_that_shows_the_code_itself() {
    let site = &shared().site;
    let signer = at_devices(site, "device-shown");
    let found = site.stranger(None).get("/.well-known/openid-configuration").expect(200).json();
    assert_eq!(found["device_authorization_endpoint"], format!("{}/oidc/device_authorization", issuer(site)));
    assert!(found["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)), "{found}");
    let device = began(site, &signer);
    assert_eq!((&device["expires_in"], &device["interval"]), (&json!(300), &json!(5)));
    refused(&asks(site, Some(&signer), &device, &[]), "authorization_pending", "authorization_pending");

    let phone = Phone::good(site);
    let asked = agree(&phone, site, &code(&device), &json!({"role": "legal_representative"}));
    assert_eq!((&asked["app"], &asked["item_name"]), (&json!("device-shown"), &json!("登录办事大厅")));
    let tokens = waits(site, &signer, &device).expect(200).json();
    let claims = part(text(&tokens, "id_token"), 1);
    assert_eq!((&claims["aud"], claims.get("nonce")), (&json!("device-shown"), None));
    let info = userinfo(site, text(&tokens, "access_token")).expect(200).json();
    assert_eq!((&info["sub"], &info["role"]), (&claims["sub"], &json!("legal_representative")));
    let next = refresh(site, &signer, text(&tokens, "refresh_token")).expect(200).json();
    // Each step is on record, by the app that asked.
    let login = text(&claims, "sid");
    let entries = site.audit();
    let about = entries
        .iter()
        .filter(|entry| entry["subject"].as_str().is_some_and(|subject| subject.contains(login)));
    let actions: Vec<_> = about.map(|entry| text(entry, "action")).collect();
    let wanted =
        ["session.scan", "session.confirm", "oidc.grant", "oidc.token", "oidc.userinfo", "oidc.token"];
    assert_eq!(actions, wanted);
    // What it asked with is worth nothing more: whoever brings it once more ends what came of it.
    refused(&waits(site, &signer, &device), "invalid_grant", "device_code_used");
    userinfo(site, text(&next, "access_token")).expect(401);
    refused(&waits(site, &signer, &device), "invalid_grant", "login_ended");
}

#[test]
fn somebody_types_in_what_the_device_shows_and_scans_elsewhere() {
    let site = &shared().site;
    let signer = at_devices(site, "device-typed");
    let device = began(site, &signer);
    let (browser, phone) = (site.stranger(None), Phone::good(site));
    let field = browser.get("/oidc/device").expect(200);
    assert!(field.text().contains("name=\"user_code\""), "{}", field.text());
    assert!(field.header("content-security-policy").contains("form-action 'self'"));
    let user_code = text(&device, "user_code");
    let place = text(&device, "verification_uri_complete").strip_prefix(&issuer(site)).unwrap();
    assert_eq!(place, format!("/oidc/device?user_code={user_code}"));
    // However it is written.
    for typed in [user_code.to_owned(), user_code.to_lowercase(), user_code.replace('-', "+")] {
        let shown = page(&browser, &typed).expect(200);
        assert!(shown.text().contains("http-equiv=\"refresh\"") && shown.text().contains("办事大厅"));
        assert_eq!((shown.header("x-frame-options"), shown.header("set-cookie")), ("DENY", ""));
        assert_eq!(crate::oidc::seen(&shown.text())["qr_text"], device["gw_qr_text"]);
    }
    let english = browser.get(&format!("{place}&ui_locales=en")).expect(200);
    assert!(english.text().contains("Log in at a device"), "{}", english.text());
    for wrong in ["00000-00000", "1", "", "%00", &format!("{user_code}0")] {
        let again = page(&browser, wrong).expect(404);
        assert!(again.text().contains("role=\"alert\"") && again.text().contains("name=\"user_code\""));
    }
    let asked = phone.scan(site, &code(&device)).expect(200).json();
    assert!(page(&browser, user_code).expect(200).text().contains("已扫描"));
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    // The page says so before the device has asked, and afterwards.
    assert!(page(&browser, user_code).expect(200).text().contains("请回到设备"));
    waits(site, &signer, &device).expect(200);
    let after = page(&browser, user_code).expect(200).text();
    assert!(after.contains("请回到设备") && !after.contains("http-equiv=\"refresh\""), "{after}");
}

#[test]
fn who_refuses_leaves_the_device_without_tokens() {
    let site = &shared().site;
    let signer = at_devices(site, "device-denied");
    let device = began(site, &signer);
    let phone = Phone::good(site);
    let asked = phone.scan(site, &code(&device)).expect(200).json();
    phone.deny(site, text(&asked, "qrid")).expect(200);
    refused(&waits(site, &signer, &device), "access_denied", "access_denied");
    refused(&waits(site, &signer, &device), "invalid_grant", "login_ended");
    assert!(page(&site.stranger(None), text(&device, "user_code")).expect(200).text().contains("未确认"));
}

#[test]
fn a_device_that_asks_too_often_is_told_so_and_loses_nothing() {
    let site = &shared().site;
    client(site, "device-often", &["*"], &json!({"device_flow": true, "public": true}));
    let named = ("client_id", "device-often");
    let device = begin(site, None, &[named, ("scope", "openid license")]).expect(200).json();
    let first = asks(site, None, &device, &[named]);
    refused(&first, "authorization_pending", "authorization_pending");
    eventually("it is told to slow down", BOUND, || {
        let told = asks(site, None, &device, &[named]).json()["error"].clone();
        assert!(told == "authorization_pending" || told == "slow_down", "{told}");
        (told == "slow_down").then_some(())
    });
    agree(&Phone::good(site), site, &code(&device), &json!({}));
    eventually("the device is told", BOUND, || {
        let answer = asks(site, None, &device, &[named]);
        if answer.status == 400 {
            std::thread::sleep(Duration::from_secs(2));
        }
        (answer.status == 200).then_some(())
    });
}

#[test]
fn what_is_somebody_elses_is_of_no_use() {
    let site = &shared().site;
    let signer = at_devices(site, "device-own");
    let other = at_devices(site, "device-other");
    let plain = client(site, "device-none", &["*"], &json!({}));
    let device = began(site, &signer);
    agree(&Phone::good(site), site, &code(&device), &json!({}));
    refused(&asks(site, Some(&other), &device, &[]), "invalid_grant", "device_code_unknown");
    let none = json!({"device_code": "nothing"});
    refused(&asks(site, Some(&signer), &none, &[]), "invalid_grant", "device_code_unknown");
    refused(&asks(site, None, &device, &[("client_id", "device-own")]), "invalid_client", "client_refused");
    // It is no authorization code, neither before nor afterwards.
    let as_code = [
        ("grant_type", "authorization_code"),
        ("code", text(&device, "device_code")),
        ("redirect_uri", ""),
        ("code_verifier", crate::oidc::VERIFIER),
    ];
    refused(&send(site, "/oidc/token", Some(&signer), &as_code), "invalid_grant", "code_unknown");
    waits(site, &signer, &device).expect(200);

    let scope = [("scope", "openid")];
    refused(&begin(site, Some(&plain), &scope), "unauthorized_client", "unauthorized_client");
    refused(&begin(site, None, &[("client_id", "device-own"), scope[0]]), "invalid_client", "client_refused");
    refused(&begin(site, Some(&signer), &[("scope", "license")]), "invalid_scope", "invalid_scope");
    refused(&begin(site, Some(&signer), &[]), "invalid_scope", "invalid_scope");
    refused(
        &send(site, "/oidc/token", Some(&signer), &[("grant_type", GRANT)]),
        "invalid_request",
        "invalid_request",
    );
}

/// An app of devices alone needs no address, and none that keeps no key a proof.
#[test]
fn a_terminal_that_keeps_no_key_and_has_no_address_logs_people_in() {
    let site = &shared().site;
    let terminal = json!({
        "device_flow": true, "public": true, "redirect_uris": [], "post_logout_redirect_uris": [], "sector": "hall",
    });
    client(site, "device-terminal", &["*"], &terminal);
    site.stranger(None).get(&ask("device-terminal", &[])).expect(400); // no browser is sent anywhere
    let named = ("client_id", "device-terminal");
    let device = begin(site, None, &[named, ("scope", "openid license")]).expect(200).json();
    agree(&Phone::good(site), site, &code(&device), &json!({}));
    let tokens = asks(site, None, &device, &[named]).expect(200).json();
    userinfo(site, text(&tokens, "access_token")).expect(200);
}

/// What one gateway began another goes on with; of all that ask at once one gets tokens.
#[test]
fn over_two_gateways_one_of_all_who_ask_at_once_gets_tokens() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let signer = at_devices(&first, "device-two");
    let device = eventually("the other gateway knows the app", BOUND, || {
        let begun = begin(&second, Some(&signer), &[("scope", "openid license")]);
        (begun.status == 200).then(|| begun.json())
    });
    assert!(page(&first.stranger(None), text(&device, "user_code")).expect(200).text().contains("办事大厅"));
    agree(&Phone::good(&first), &first, &code(&device), &json!({}));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let (signer, device) = (&signer, &device);
        let at = |site| scope.spawn(move || asks(site, Some(signer), device, &[]));
        let threads = [at(&first), at(&second), at(&first), at(&second)];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let got: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(got.len(), 1, "{:?}", answers.iter().map(Answer::text).collect::<Vec<_>>());
}
