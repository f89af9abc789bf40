//! What bounds logins by OpenID Connect and what ends them: what nobody scans leaves nothing, and tokens hold no longer than what they rest
//! on: the credential, the address, the license and its standing.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Authority, Folder, Ran, Scratch, Signer, Site, eventually, shared};

use crate::license_status::National;
use crate::oidc::{
    Begun, CALLBACK, VERIFIER, agree, answered, ask, client, code, encoded, issuer, part, redeem, refresh,
    text, userinfo,
};
use crate::phone::Phone;

const BOUND: Duration = Duration::from_secs(90);
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What the audit log has about something.
fn about(site: &Site, name: &str) -> Vec<Value> {
    let is_about = |entry: &Value| entry["subject"].as_str().is_some_and(|subject| subject.contains(name));
    site.audit().into_iter().filter(is_about).collect()
}

fn sql(site: &Site, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    // The gateway writes beside.
    sqlite.args(["-cmd", ".timeout 60000"]).arg(site.data().join("gateway.db")).arg(statement);
    Ran::of(&mut sqlite).expect(statement);
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
}

#[test]
fn what_nobody_scans_leaves_nothing_and_what_somebody_scans_is_no_session_of_the_app() {
    let site = &shared().site;
    let signer = client(site, "ends-unscanned", &["*"], &json!({}));
    site.app_command(&["change", "ends-unscanned", "--scope", "sessions", "--reason", "test"]);
    let webhook = json!({"url": "https://127.0.0.1:9/nobody", "reason": "test"}).to_string();
    let path = "/v1/admin/apps/ends-unscanned/webhook";
    let set = site.app_number(2).send(
        "PUT",
        path,
        &[("content-type", "application/json")],
        Some(webhook.as_bytes()),
    );
    set.expect(200);
    let (browser, phone) = (site.stranger(None), Phone::good(site));
    let before = site.audit().len();
    let given_up = Begun::at(&browser, &ask("ends-unscanned", &[]));
    let seen = given_up.seen(&browser);
    let (_, told) = answered(&given_up.press(&browser, "cancel"));
    assert_eq!((&told["error"], &told["state"]), (&json!("access_denied"), &json!("the state")));
    refused(&phone.scan(site, &seen), 404, "unknown_session");
    assert_eq!(given_up.page(&browser).status, 410);
    assert!(about(site, given_up.id()).is_empty(), "{:?}", about(site, given_up.id()));
    assert!(site.audit().len() >= before);

    // The same by a form; it goes on as the other does.
    let target = ask("ends-unscanned", &[]);
    let (path, form) = target.split_once('?').unwrap();
    let answer = browser.send("POST", path, &[FORM], Some(form.as_bytes())).expect(303);
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let begun = Begun { path: answer.header("location").to_owned(), cookie };
    let asked = agree(&phone, site, &begun.seen(&browser), &json!({}));
    let session = text(&asked, "qrid");
    for (method, path) in [
        ("GET", format!("/v1/sessions/{session}")),
        ("GET", format!("/v1/sessions/{session}/events")),
        ("POST", format!("/v1/sessions/{session}/consume")),
        ("POST", format!("/v1/sessions/{session}/cancel")),
    ] {
        let request = signer.request(method, &path, b"");
        refused(&request.send(site), 404, "unknown_session");
    }
    let (_, told) = answered(&begun.press(&browser, "continue"));
    redeem(site, Some(&signer), text(&told, "code"), &[]).expect(200);
    let deliveries = site.app_number(2).get("/v1/admin/deliveries?app=ends-unscanned").expect(200).json();
    let kinds: Vec<_> =
        deliveries["items"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert!(
        kinds.iter().all(|kind| !kind.as_str().is_some_and(|kind| kind.starts_with("session."))),
        "{kinds:?}"
    );
}

#[test]
fn who_begins_too_often_is_told_to_wait_and_too_many_pages_of_one_login_do_not_wait() {
    let site = &Site::start();
    client(site, "ends-many", &["*"], &json!({}));
    let browser = site.stranger(None);
    let begun = Begun::at(&browser, &ask("ends-many", &[]));
    let state = format!("{}/state?version=1", begun.path);
    // Of eight that wait four do; the others are told at once.
    std::thread::scope(|scope| {
        let (told, heard) = std::sync::mpsc::channel();
        for _ in 0..8 {
            let (told, state, begun) = (told.clone(), &state, &begun);
            scope.spawn(move || {
                told.send(site.stranger(None).send("GET", state, &[("cookie", &begun.cookie)], None))
                    .unwrap();
            });
        }
        for _ in 0..4 {
            refused(&heard.recv_timeout(BOUND).expect("an answer"), 503, "overloaded");
        }
        Phone::good(site).scan(site, &begun.seen(&browser)).expect(200);
        for _ in 0..4 {
            let answer = heard.recv_timeout(BOUND).expect("an answer").expect(200);
            assert_eq!(answer.json()["scanning"], "scanned");
        }
    });
    let answer = (0..1000).map(|_| browser.get(&ask("nobody", &[]))).find(|answer| answer.status == 429);
    let answer = answer.expect("who begins again and again is told to wait");
    assert!(!answer.header("retry-after").is_empty() && answer.text().contains("rate_limited"));
    assert_eq!(browser.get("/oidc/logout").status, 429);
    // Who has begun goes on.
    assert!(begun.page(&browser).expect(200).text().contains("已扫描"));
}

#[test]
fn a_token_is_worth_no_more_than_the_credential_and_an_assertion_counts_once() {
    let site = &shared().site;
    let signer = client(site, "ends-keys", &["*"], &json!({}));
    let second = Signer::new("ends-keys", "p256");
    let id = second.enter(site);
    let tokens = redeem(site, Some(&second), &code(site, "ends-keys", &[]), &[]).expect(200).json();
    userinfo(site, text(&tokens, "access_token")).expect(200);
    site.app_command(&["credential", "revoke", "ends-keys", &id, "--reason", "test"]);
    refused(&userinfo(site, text(&tokens, "access_token")), 401, "token_invalid");
    refused(&refresh(site, &second, text(&tokens, "refresh_token")), 401, "client_refused");
    // The app goes on by its other key.
    let next = refresh(site, &signer, text(&tokens, "refresh_token")).expect(200).json();
    userinfo(site, text(&next, "access_token")).expect(200);

    let assertion = signer.assertion(&issuer(site), &json!({}));
    let send = || {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "nothing"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ];
        site.stranger(None).send("POST", "/oidc/token", &[FORM], Some(encoded(&form).as_bytes()))
    };
    refused(&send(), 400, "refresh_token_unknown");
    refused(&send(), 401, "replay");
}

#[test]
fn of_many_who_exchange_one_refresh_token_at_once_one_does_and_the_login_ends() {
    let site = &shared().site;
    let signer = client(site, "ends-race", &["*"], &json!({}));
    let tokens = redeem(site, Some(&signer), &code(site, "ends-race", &[]), &[]).expect(200).json();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| refresh(site, &signer, text(&tokens, "refresh_token")));
        let threads: Vec<_> = (0..4).map(|_| one()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (done, late): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), late.len()), (1, 3));
    for answer in late {
        let code = answer.json()["code"].clone();
        assert!(["refresh_token_used", "login_ended"].contains(&code.as_str().unwrap()), "{code}");
    }
    refused(&userinfo(site, text(&done[0].json(), "access_token")), 401, "token_invalid");
}

#[test]
fn an_address_that_the_app_withdraws_leads_nowhere_any_more() {
    let site = &shared().site;
    let signer = client(site, "ends-address", &["*"], &json!({"sector": "ends"}));
    let taken = code(site, "ends-address", &[]);
    let browser = site.stranger(None);
    let begun = Begun::at(&browser, &ask("ends-address", &[]));
    agree(&Phone::good(site), site, &begun.seen(&browser), &json!({}));
    let before = redeem(site, Some(&signer), &code(site, "ends-address", &[]), &[]).expect(200).json();
    let scratch = Scratch::new();
    let other = json!({
        "redirect_uris": ["https://other.example/cb"], "sector": "elsewhere", "item": "annual-report", "item_name": "x",
        "scopes": ["license", "operator", "offline_access"],
    });
    let file = scratch.write("oidc.json", other.to_string());
    site.app_command(&["change", "ends-address", "--oidc", file.to_str().unwrap(), "--reason", "test"]);
    let page = begun.page(&browser).expect(400);
    assert!(page.text().contains("redirect_uri_unknown") && page.header("location").is_empty());
    refused(&redeem(site, Some(&signer), &taken, &[]), 400, "redirect_uri_unknown");
    // Who was logged in has the name that he had.
    let after = refresh(site, &signer, text(&before, "refresh_token")).expect(200).json();
    assert_eq!(part(text(&before, "id_token"), 1)["sub"], part(text(&after, "id_token"), 1)["sub"]);
}

#[test]
fn whoever_is_expected_is_logged_in_and_nobody_else() {
    let site = &shared().site;
    let signer = client(site, "ends-hint", &["*"], &json!({}));
    let tokens = redeem(site, Some(&signer), &code(site, "ends-hint", &[]), &[]).expect(200).json();
    let (browser, hint) = (site.stranger(None), [("id_token_hint", text(&tokens, "id_token"))]);
    let come_back = |phone: &Phone| {
        let begun = Begun::at(&browser, &ask("ends-hint", &hint));
        agree(phone, site, &begun.seen(&browser), &json!({}));
        answered(&begun.press(&browser, "continue")).1
    };
    assert!(come_back(&Phone::good(site))["code"].is_string());
    let other = come_back(&Phone::with(site, "A-good-2"));
    assert_eq!((&other["error"], other.get("code")), (&json!("login_required"), None), "{other}");
    // Another app's is no hint.
    client(site, "ends-hint-2", &["*"], &json!({}));
    let (_, told) = answered(&browser.get(&ask("ends-hint-2", &hint)));
    assert_eq!(told["error"], "invalid_request", "{told}");
}

#[test]
fn what_is_late_is_refused_as_late() {
    let site = Site::start();
    let signer = client(&site, "ends-late", &["*"], &json!({}));
    let login = |code: &str| {
        let tokens = redeem(&site, Some(&signer), code, &[]).expect(200).json();
        (text(&part(text(&tokens, "id_token"), 1), "sid").to_owned(), tokens)
    };
    let late = code(&site, "ends-late", &[]);
    sql(&site, "UPDATE oidc_logins SET granted_at = granted_at - 61 WHERE state = 'granted'");
    refused(&redeem(&site, Some(&signer), &late, &[]), 400, "code_expired");
    let (_, tokens) = login(&code(&site, "ends-late", &[]));
    sql(&site, "UPDATE oidc_tokens SET expires_at = expires_at - 3600 WHERE kind = 'access'");
    refused(&userinfo(&site, text(&tokens, "access_token")), 401, "token_expired");
    let next = refresh(&site, &signer, text(&tokens, "refresh_token")).expect(200).json();
    sql(&site, "UPDATE oidc_tokens SET expires_at = expires_at - 86400 WHERE kind = 'refresh'");
    refused(&refresh(&site, &signer, text(&next, "refresh_token")), 400, "refresh_token_expired");
    // A page whose code nobody scanned in time sends its browser back, and nothing is on record.
    let browser = site.stranger(None);
    let begun = Begun::at(&browser, &ask("ends-late", &[]));
    sql(&site, "UPDATE scan_sessions SET expires_at = expires_at - 301 WHERE state = 'created'");
    let (_, told) = answered(&begun.press(&browser, "continue"));
    assert_eq!(
        (&told["error"], &told["error_description"]),
        (&json!("access_denied"), &json!("not_confirmed"))
    );
    // And if nobody comes back it goes by itself.
    let left = Begun::at(&browser, &ask("ends-late", &[]));
    sql(&site, "UPDATE scan_sessions SET expires_at = expires_at - 421 WHERE state = 'created'");
    eventually("it is taken away", BOUND, || {
        left.page(&browser).text().contains("login_unknown").then_some(())
    });
    for id in [begun.id(), left.id()] {
        assert!(about(&site, id).is_empty(), "{:?}", about(&site, id));
    }
    assert!(site.audit().iter().all(|entry| entry["action"] != "session.expire"));
}

/// As long as tokens are renewed the enterprise has to stand as it must to log in.
#[test]
fn a_login_ends_when_the_license_may_not_be_used_any_more() {
    let national = National::start(None);
    let site = crate::license_status::site(&national, "failures = 1000\ncache_s = 0\ntimeout_ms = 20000", "");
    let signer = client(&site, "ends-standing", &["*"], &json!({}));
    let says =
        |entity: Value| national.says(&json!({"entities": {Phone::good(&site).uscc.as_str(): entity}}));
    says(json!({"status": 1}));
    let tokens = redeem(&site, Some(&signer), &code(&site, "ends-standing", &[]), &[]).expect(200).json();
    let next = refresh(&site, &signer, text(&tokens, "refresh_token")).expect(200).json();
    national.says(&json!({"fault": "error", "entities": {}}));
    let unknown = refresh(&site, &signer, text(&next, "refresh_token"));
    assert_eq!(
        (unknown.status, &unknown.json()["error"]),
        (503, &json!("temporarily_unavailable")),
        "{}",
        unknown.text()
    );
    userinfo(&site, text(&next, "access_token")).expect(200);
    says(json!({"status": 4}));
    refused(&refresh(&site, &signer, text(&next, "refresh_token")), 400, "license_refused");
    refused(&userinfo(&site, text(&next, "access_token")), 401, "token_invalid");
    let sid = text(&part(text(&tokens, "id_token"), 1), "sid").to_owned();
    let ended =
        about(&site, &sid).into_iter().find(|entry| entry["action"] == "oidc.end").expect("it is on record");
    assert_eq!(ended["outcome"], "status_not_permitted");
}

/// Tokens that were got over a client certificate are of use over it only.
#[test]
fn a_login_over_a_client_certificate_is_bound_to_it() {
    let authority = Authority::new("Clients");
    for name in ["holder", "thief"] {
        authority.issue_for(name, "client");
    }
    let folder = Folder::init();
    folder.configure("[server]\n", "[server]\nmutual = \"127.0.0.1:0\"\n");
    let tls = format!("[tls]\nclient_anchors = [{:?}]\n\n[database]\n", authority.path("ca.pem"));
    folder.configure("[database]\n", &tls);
    let site = folder.serve();
    for name in ["holder", "thief"] {
        // Without a key of another kind.
        client(&site, name, &["*"], &json!({"public": true}));
        let certificate = authority.path(&format!("{name}.pem"));
        let add = ["credential", "add", name, "--kind", "certificate", "--certificate"];
        site.app_command(&[&add[..], &[certificate.to_str().unwrap(), "--reason", "test"]].concat());
    }
    let call = |client: &str, options: &[&str], path: &str| -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "--cacert"]).arg(site.ca_file()).args(options);
        curl.arg("--cert").arg(authority.path(&format!("{client}.pem")));
        curl.arg("--key").arg(authority.path(&format!("{client}.key")));
        let ran = Ran::of(curl.arg(format!("https://{}{path}", site.listener("mutual")))).expect("curl");
        let (body, status) = ran.text.rsplit_once('\n').unwrap();
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")),
        )
    };
    let taken = code(&site, "holder", &[]);
    let form = |app: &str| {
        encoded(&[
            ("grant_type", "authorization_code"),
            ("client_id", app),
            ("code", &taken),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ])
    };
    let (status, told) = call("thief", &["-d", &form("holder")], "/oidc/token");
    assert_eq!((status, &told["error"]), (401, &json!("invalid_client")), "{told}");
    let (status, told) = call("thief", &["-d", &form("thief")], "/oidc/token");
    assert_eq!((status, &told["code"]), (400, &json!("code_unknown")), "{told}");
    let (status, tokens) = call("holder", &["-d", &form("holder")], "/oidc/token");
    assert_eq!(status, 200, "{tokens}");
    let bearer = format!("authorization: Bearer {}", text(&tokens, "access_token"));
    let (status, info) = call("holder", &["-H", &bearer], "/oidc/userinfo");
    assert_eq!(status, 200, "{info}");
    assert_eq!(call("thief", &["-H", &bearer], "/oidc/userinfo").1["code"], "token_invalid");
    refused(&userinfo(&site, text(&tokens, "access_token")), 401, "token_invalid");
}

/// A program in a browser, on another site's page, may do what an app does that keeps no key, and nothing that goes by cookies.
#[test]
fn pages_of_other_sites_may_read_what_apps_are_told() {
    let site = &shared().site;
    client(site, "ends-page", &["*"], &json!({"public": true}));
    let (anybody, origin) = (site.stranger(None), ("origin", "https://app.example"));
    let open = |answer: &Answer| answer.header("access-control-allow-origin") == "*";
    for path in ["/.well-known/openid-configuration", "/oauth2/jwks"] {
        assert!(open(&anybody.send("GET", path, &[origin], None).expect(200)), "{path}");
    }
    let asks = [
        origin,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let allowed = anybody.send("OPTIONS", "/oidc/userinfo", &asks, None).expect(204);
    assert!(open(&allowed) && allowed.header("access-control-allow-headers").contains("authorization"));
    let form = encoded(&[
        ("grant_type", "authorization_code"),
        ("client_id", "ends-page"),
        ("code", &code(site, "ends-page", &[])),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]);
    let tokens = anybody.send("POST", "/oidc/token", &[origin, FORM], Some(form.as_bytes())).expect(200);
    assert!(open(&tokens));
    let bearer = format!("Bearer {}", text(&tokens.json(), "access_token"));
    assert!(open(
        &anybody.send("GET", "/oidc/userinfo", &[origin, ("authorization", &bearer)], None).expect(200)
    ));
    let refused =
        anybody.send("GET", "/oidc/userinfo", &[origin, ("authorization", "Bearer x")], None).expect(401);
    assert!(open(&refused), "a program is to see why");
    let begun = Begun::at(&anybody, &ask("ends-page", &[]));
    for path in [&begun.path, &format!("{}/state", begun.path)] {
        let answer = anybody.send("GET", path, &[origin, ("cookie", &begun.cookie)], None).expect(200);
        assert!(!open(&answer), "{path}");
    }
}
