//! Logging in by OpenID Connect: a well-kept library of relying parties, a real browser and a browser without scripts are logged
//! in by what a phone confirms; the app is told what it may know.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::{
    Answer, Browser, Caller, Folder, Postgres, Ran, Scratch, Signer, Site, eventually, repository, shared,
    unbase64,
};

use crate::phone::Phone;

const BOUND: Duration = Duration::from_secs(90);
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const CALLBACK: &str = "https://app.example/cb?from=login";
/// A verifier, and SHA-256 of it (RFC 7636, appendix B).
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Has people log in to a new app, which may see these fields, and which proves itself by a key of its own.
pub(crate) fn client(site: &Site, id: &str, fields: &[&str], changes: &Value) -> Signer {
    let scratch = Scratch::new();
    let mut oidc = json!({
        "redirect_uris": [CALLBACK], "post_logout_redirect_uris": ["https://app.example/bye"],
        "scopes": ["license", "license.face", "operator", "offline_access"],
        "item": "annual-report", "item_name": "登录办事大厅",
    });
    for (name, value) in changes.as_object().unwrap() {
        oidc[name] = value.clone();
    }
    let file = scratch.write("oidc.json", oidc.to_string());
    let mut arguments =
        vec!["create", id, "--name", "办事大厅", "--oidc", file.to_str().unwrap(), "--reason", "test"];
    for field in fields {
        arguments.extend(["--field", field]);
    }
    site.app_command(&arguments);
    let signer = Signer::new(id, "p256");
    // An app that has a key proves itself by it.
    if oidc.get("public").is_none() {
        signer.enter(site);
    }
    signer
}

pub(crate) fn escaped(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

pub(crate) fn encoded(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

/// A request for a login, with changes: an empty value takes a parameter away.
pub(crate) fn ask(client: &str, changes: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid license operator offline_access"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    format!("/oidc/authorize?{}", encoded(&pairs))
}

/// The parameters that a browser is sent back to the app with.
pub(crate) fn answered(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    parameters(answer.header("location"))
}

fn parameters(location: &str) -> (String, Value) {
    let (place, query) = location.split_once('?').unwrap_or((location, ""));
    let unescape = |text: &str| {
        let (mut octets, mut rest) = (Vec::new(), text.bytes());
        while let Some(octet) = rest.next() {
            octets.push(match octet {
                b'+' => b' ',
                b'%' => {
                    let pair = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
                }
                octet => octet,
            });
        }
        String::from_utf8(octets).unwrap()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (unescape(name), Value::from(unescape(value))));
    (place.to_owned(), pairs.collect::<serde_json::Map<_, _>>().into())
}

/// A browser that has begun to log in: where it is, and what it keeps.
pub(crate) struct Begun {
    pub(crate) path: String,
    pub(crate) cookie: String,
}

impl Begun {
    pub(crate) fn at(caller: &Caller, target: &str) -> Self {
        let answer = caller.get(target);
        assert_eq!(answer.status, 303, "{}", answer.text());
        let path = answer.header("location").to_owned();
        assert!(path.starts_with("/oidc/login/"), "{path}");
        let cookie = answer.header("set-cookie").to_owned();
        for wanted in ["__Host-login-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(cookie.contains(wanted), "{cookie}");
        }
        Self { path, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    /// The login.
    pub(crate) fn id(&self) -> &str {
        self.path.strip_prefix("/oidc/login/").unwrap()
    }

    pub(crate) fn page(&self, caller: &Caller) -> Answer {
        caller.send("GET", &self.path, &[("cookie", &self.cookie)], None)
    }

    /// Sends a form of the page, as a browser without scripts does when its button is pressed.
    pub(crate) fn press(&self, caller: &Caller, button: &str) -> Answer {
        let page = self.page(caller).expect(200).text();
        assert!(page.contains(&format!("action=\"{}/{button}\"", self.path)), "{page}");
        let (_, rest) = page.split_once("name=\"form\" value=\"").unwrap();
        self.send(caller, button, rest.split('"').next().unwrap())
    }

    pub(crate) fn send(&self, caller: &Caller, button: &str, form: &str) -> Answer {
        let fields =
            [("cookie", self.cookie.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        caller.send(
            "POST",
            &format!("{}/{button}", self.path),
            &fields,
            Some(format!("form={form}").as_bytes()),
        )
    }

    /// What the phone's camera sees on the page.
    pub(crate) fn seen(&self, caller: &Caller) -> Value {
        seen(&self.page(caller).expect(200).text())
    }
}

/// Reads the picture on a page.
pub(crate) fn seen(page: &str) -> Value {
    let (_, rest) = page.split_once("src=\"data:image/svg+xml;base64,").expect("there is a picture");
    let svg = String::from_utf8(unbase64(rest.split('"').next().unwrap())).unwrap();
    let (_, rest) = svg.split_once("viewBox=\"0 0 ").unwrap();
    let side: usize = rest.split(' ').next().unwrap().parse().unwrap();
    let (_, cells) = svg.rsplit_once("<path d=\"").unwrap();
    let mut dark = vec![false; side * side];
    for run in cells.split('"').next().unwrap().split('M').skip(1) {
        let (place, rest) = run.split_once('h').unwrap();
        let (column, row) = place.split_once(' ').unwrap();
        let (column, row): (usize, usize) = (column.parse().unwrap(), row.parse().unwrap());
        let length: usize = rest.split('v').next().unwrap().parse().unwrap();
        dark[row * side + column..][..length].fill(true);
    }
    const CELL: usize = 4;
    let whole = side * CELL;
    let shade = |x: usize, y: usize| if dark[y / CELL * side + x / CELL] { 0 } else { 255 };
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(whole, whole, shade);
    let grids = picture.detect_grids();
    let (_, text) = grids.first().expect("a code").decode().expect("it can be read");
    json!({"qr_text": text})
}

/// Scans what a page shows and agrees, by this role.
pub(crate) fn agree(phone: &Phone, site: &Site, code: &Value, changes: &Value) -> Value {
    let asked = phone.scan(site, code).expect(200).json();
    let mut consent = phone.consent(&asked);
    for (name, value) in changes.as_object().unwrap() {
        consent[name] = value.clone();
    }
    phone.confirm(site, &consent).expect(200);
    asked
}

/// A login up to its code.
pub(crate) fn code(site: &Site, client: &str, changes: &[(&str, &str)]) -> String {
    let browser = site.stranger(None);
    let begun = Begun::at(&browser, &ask(client, changes));
    agree(&Phone::good(site), site, &begun.seen(&browser), &json!({}));
    let (_, answer) = answered(&begun.press(&browser, "continue"));
    answer["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(crate) fn issuer(site: &Site) -> String {
    let found = site.stranger(None).get("/.well-known/openid-configuration").expect(200).json();
    found["issuer"].as_str().unwrap().to_owned()
}

/// Sends a form that the app proves itself by, unless it is public.
pub(crate) fn send(site: &Site, path: &str, signer: Option<&Signer>, form: &[(&str, &str)]) -> Answer {
    let assertion =
        signer.map(|signer| signer.assertion(&format!("{}/oidc/token", issuer(site)), &json!({})));
    let mut form = form.to_vec();
    if let Some(assertion) = &assertion {
        form.extend([("client_assertion_type", ASSERTION), ("client_assertion", assertion.as_str())]);
    }
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    site.stranger(None).send("POST", path, &fields, Some(encoded(&form).as_bytes()))
}

pub(crate) fn redeem(site: &Site, signer: Option<&Signer>, code: &str, changes: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    send(site, "/oidc/token", signer, &form)
}

pub(crate) fn refresh(site: &Site, signer: &Signer, token: &str) -> Answer {
    send(site, "/oidc/token", Some(signer), &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

pub(crate) fn userinfo(site: &Site, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    site.stranger(None).send("GET", "/oidc/userinfo", &[("authorization", &bearer)], None)
}

pub(crate) fn part(token: &str, part: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap()).unwrap()
}

pub(crate) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} in {value:#}"))
}

#[test]
fn a_browser_without_scripts_is_logged_in_by_what_the_phone_confirms() {
    let site = &shared().site;
    let signer = client(site, "oidc-plain", &["*"], &json!({}));
    let (browser, phone) = (site.stranger(None), Phone::good(site));
    let begun = Begun::at(&browser, &ask("oidc-plain", &[("claims", r#"{"id_token":{"uscc":null}}"#)]));
    let page = begun.page(&browser).expect(200);
    assert!(
        page.text().contains("<noscript><meta http-equiv=\"refresh\""),
        "it looks again by itself: {}",
        page.text()
    );
    // Nobody has scanned yet: the button leads back to the page.
    assert_eq!(begun.press(&browser, "continue").header("location"), begun.path);
    let asked = agree(&phone, site, &begun.seen(&browser), &json!({"role": "legal_representative"}));
    assert_eq!((&asked["app"], &asked["app_name"]), (&json!("oidc-plain"), &json!("办事大厅")));
    assert_eq!((&asked["flow"], &asked["item_name"]), (&json!("login"), &json!("登录办事大厅")));

    let answer = begun.press(&browser, "continue");
    assert!(answer.header("set-cookie").contains("Max-Age=0"), "{:?}", answer.headers);
    let (place, told) = answered(&answer);
    assert_eq!(place, "https://app.example/cb");
    assert_eq!(
        (&told["from"], &told["state"], &told["iss"]),
        (&json!("login"), &json!("the state"), &json!(issuer(site)))
    );
    let tokens = redeem(site, Some(&signer), text(&told, "code"), &[]).expect(200);
    assert_eq!(tokens.header("cache-control"), "no-store");
    let tokens = tokens.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["scope"]),
        (&json!("Bearer"), &json!("license offline_access openid operator"))
    );

    let claims = part(text(&tokens, "id_token"), 1);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["nonce"]),
        (&json!(issuer(site)), &json!("oidc-plain"), &json!("the nonce"))
    );
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("urn:cn:elicense:2"), &json!(["sm2"])));
    assert!((tests::now() - claims["auth_time"].as_i64().unwrap()).abs() < 300, "{claims}");
    assert!(claims.get("role").is_none(), "it is wanted at userinfo only: {claims}");
    let info = userinfo(site, text(&tokens, "access_token")).expect(200).json();
    assert_eq!((&info["sub"], &info["uscc"]), (&claims["sub"], &claims["uscc"]));
    assert_eq!(
        (&info["role"], &info["role_code"], &info["entity_status"]["code"]),
        (&json!("legal_representative"), &json!(0), &json!(1))
    );
    assert!(info["entity_name"].is_string(), "{info}");

    // The same, signed by SM2.
    let result = text(&tokens, "gw_result");
    let said: Value = serde_json::from_str(result).unwrap();
    for member in ["sub", "uscc", "entity_name", "role", "license"] {
        assert_eq!(said[member], info[member], "{member}");
    }
    assert_eq!((&said["aud"], &said["nonce"]), (&claims["aud"], &claims["nonce"]));
    let front = site.app().get(&format!("/v1/keys/{}", text(&tokens, "gw_key"))).expect(200).json();
    let scratch = Scratch::new();
    scratch.write("public.pem", text(&front, "public_key"));
    scratch.write("result", result);
    scratch.write("signature", unbase64(text(&tokens, "gw_sig")));
    let check = "dgst -sm3 -verify public.pem -sigopt distid:1234567812345678 -signature signature result";
    scratch.openssl(check).expect("the site signed it");

    // Each step is on record, from the scan on.
    let login = begun.id();
    let entries = site.audit();
    let about = entries
        .iter()
        .filter(|entry| entry["subject"].as_str().is_some_and(|subject| subject.contains(login)));
    let actions: Vec<_> = about.map(|entry| (text(entry, "action"), text(entry, "outcome"))).collect();
    let wanted = ["session.scan", "session.confirm", "oidc.grant", "oidc.token", "oidc.userinfo"];
    assert_eq!(actions, wanted.map(|action| (action, "ok")));
    let metrics = browser.get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_oidc_logins_total{step=\"redeemed\"}"), "{metrics}");
}

#[test]
fn an_app_is_told_what_its_scopes_and_fields_let_it_know_and_by_a_name_of_its_own() {
    let site = &shared().site;
    let known = |id: &str, fields: &[&str], changes: &Value, asked: &[(&str, &str)]| {
        let signer = client(site, id, fields, changes);
        let tokens = redeem(site, Some(&signer), &code(site, id, asked), &[]).expect(200).json();
        let info = userinfo(site, text(&tokens, "access_token")).expect(200).json();
        (tokens, info)
    };
    let (tokens, all) = known("oidc-all", &["*"], &json!({}), &[("scope", "openid license.face")]);
    assert!(all["license_face"]["name"].is_string() && all.get("uscc").is_none(), "{all}");
    assert!(tokens.get("refresh_token").is_none() && tokens.get("gw_result").is_none(), "{tokens}");
    let (_, some) = known(
        "oidc-some",
        &["name", "legal_representative"],
        &json!({}),
        &[("scope", "openid license license.face")],
    );
    let face: Vec<_> = some["license_face"].as_object().unwrap().keys().collect();
    assert_eq!(face, ["legal_representative", "name"]);
    assert!(text(&some["license_face"], "legal_representative").contains('*'), "{some}");
    assert!(some["entity_name"].is_string() && some.get("uscc").is_none(), "{some}");
    let (tokens, little) = known("oidc-little", &[], &json!({"sector": "other"}), &[]);
    assert!(little.get("uscc").is_none() && little.get("entity_name").is_none(), "{little}");
    // What is signed says no more than what was granted.
    let said: Value = serde_json::from_str(text(&tokens, "gw_result")).unwrap();
    for member in ["uscc", "entity_name", "license", "operator", "license_face", "authorisation", "session"] {
        assert!(said.get(member).is_none(), "{member} in {said}");
    }
    assert_eq!(said["sub"], little["sub"]);
    // One name for all apps of a sector, another for others.
    assert_eq!(all["sub"], some["sub"]);
    assert_ne!(all["sub"], little["sub"]);

    // A right that is taken away ends what is told, also of a login that there was.
    let (tokens, before) = known("oidc-less", &["*"], &json!({}), &[]);
    assert!(before["uscc"].is_string());
    site.app_command(&["change", "oidc-less", "--field", "", "--reason", "test"]);
    let after = userinfo(site, text(&tokens, "access_token")).expect(200).json();
    assert!(after.get("uscc").is_none() && after["sub"] == before["sub"], "{after}");
    let folder = Scratch::new();
    let nothing = folder.write("oidc.json", "null").display().to_string();
    site.app_command(&["change", "oidc-less", "--oidc", &nothing, "--reason", "test"]);
    assert_eq!(userinfo(site, text(&tokens, "access_token")).expect(401).json()["code"], "token_invalid");
}

#[test]
fn tokens_are_renewed_one_by_the_other_and_given_up_and_logging_out_leads_back() {
    let site = &shared().site;
    let signer = client(site, "oidc-stays", &["*"], &json!({}));
    let first = redeem(site, Some(&signer), &code(site, "oidc-stays", &[]), &[]).expect(200).json();
    let second = refresh(site, &signer, text(&first, "refresh_token")).expect(200).json();
    let (before, after) = (part(text(&first, "id_token"), 1), part(text(&second, "id_token"), 1));
    assert_eq!((&before["sub"], &before["auth_time"]), (&after["sub"], &after["auth_time"]));
    assert!(after.get("nonce").is_none(), "{after}");
    userinfo(site, text(&second, "access_token")).expect(200);
    let third = refresh(site, &signer, text(&second, "refresh_token")).expect(200).json();
    send(site, "/oidc/revoke", Some(&signer), &[("token", text(&third, "refresh_token"))]).expect(200);
    assert_eq!(userinfo(site, text(&second, "access_token")).expect(401).json()["code"], "token_invalid");
    assert_eq!(
        refresh(site, &signer, text(&third, "refresh_token")).expect(400).json()["code"],
        "login_ended"
    );
    send(site, "/oidc/revoke", Some(&signer), &[("token", "nothing")]).expect(200);

    let tokens = redeem(site, Some(&signer), &code(site, "oidc-stays", &[]), &[]).expect(200).json();
    let leave = [
        ("id_token_hint", text(&tokens, "id_token")),
        ("post_logout_redirect_uri", "https://app.example/bye"),
        ("state", "left"),
    ];
    let left = site.stranger(None).get(&format!("/oidc/logout?{}", encoded(&leave)));
    assert_eq!(left.expect(303).header("location"), "https://app.example/bye?state=left");
    userinfo(site, text(&tokens, "access_token")).expect(401);
    let page = site.stranger(None).get("/oidc/logout").expect(200);
    assert!(page.text().contains("已退出"), "{}", page.text());
}

#[test]
fn who_refuses_or_gives_up_goes_back_to_the_app_without_a_code() {
    let site = &shared().site;
    client(site, "oidc-denied", &["*"], &json!({}));
    let (browser, phone) = (site.stranger(None), Phone::good(site));
    let begun = Begun::at(&browser, &ask("oidc-denied", &[]));
    let code = begun.seen(&browser);
    let asked = phone.scan(site, &code).expect(200).json();
    assert!(begun.page(&browser).expect(200).text().contains("已扫描"));
    phone.deny(site, text(&asked, "qrid")).expect(200);
    let (_, told) = answered(&begun.press(&browser, "continue"));
    assert_eq!((&told["error"], &told["state"]), (&json!("access_denied"), &json!("the state")), "{told}");
    assert!(told.get("code").is_none() && told["iss"].is_string(), "{told}");
    assert_eq!(begun.page(&browser).status, 410);

    let begun = Begun::at(&browser, &ask("oidc-denied", &[]));
    let code = begun.seen(&browser);
    phone.scan(site, &code).expect(200);
    let (_, told) = answered(&begun.press(&browser, "cancel"));
    assert_eq!(told["error"], "access_denied", "{told}");
    crate::sessions::refused(phone.scan(site, &code), 410, "session_cancelled");
    let denied = |entry: &&Value| entry["subject"].as_str().is_some_and(|it| it.starts_with(begun.id()));
    let denied: Vec<_> = site.audit().iter().filter(denied).map(|entry| entry["action"].clone()).collect();
    assert_eq!(denied, ["oidc.deny"]);
}

/// Chromium runs the page's script, which goes on by itself: nothing is pressed.
#[test]
fn a_real_browser_goes_on_by_itself() {
    let site = &shared().site;
    // Somewhere that answers.
    let back = format!("{}/livez", site.base());
    let signer = client(site, "oidc-browser", &["*"], &json!({"redirect_uris": [back], "sector": "browser"}));
    let browser = Browser::start(900, 900);
    browser.open(&format!("{}{}", site.base(), ask("oidc-browser", &[("redirect_uri", &back)])));
    let page = browser.script("return document.documentElement.outerHTML");
    let phone = Phone::good(site);
    let asked = phone.scan(site, &seen(page.as_str().unwrap())).expect(200).json();
    eventually("the page says that it was scanned", BOUND, || {
        browser.text().contains("已扫描").then_some(())
    });
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    let url = eventually("the browser is back at the app", BOUND, || {
        Some(browser.url()).filter(|url| url.starts_with(&back))
    });
    let (_, told) = parameters(&url);
    redeem(site, Some(&signer), text(&told, "code"), &[("redirect_uri", &back)]).expect(200);
}

/// A site whose issuer is where it is: a relying party compares both.
fn at_its_issuer() -> Site {
    let site = Site::start();
    let before = issuer(&site);
    let (from, to) = (format!("issuer = {before:?}"), format!("issuer = {:?}", site.tls()));
    site.configure(&[(from.as_str(), to.as_str())]);
    assert!(site.command(&["reload"]).status.success());
    site
}

/// Authlib finds the endpoints, checks the ID token and asks who it is, over TLS, by itself.
#[test]
fn a_library_of_relying_parties_logs_somebody_in() {
    let site = at_its_issuer();
    let signer = client(&site, "authlib", &["*"], &json!({}));
    client(&site, "authlib-public", &["*"], &json!({"public": true}));
    let (browser, phone) = (site.stranger(None), Phone::good(&site));
    for (app, key) in
        [("authlib", signer.private_key().display().to_string()), ("authlib-public", String::new())]
    {
        let scratch = Scratch::new();
        let step = |name: &str, more: &[&str]| {
            let mut python = Command::new(repository().join("target/venv/bin/python"));
            python.current_dir(scratch.path()).arg(repository().join("tests/oidc_login.py")).arg(name);
            python.args([site.tls(), app, CALLBACK, key.as_str()]).arg(site.ca_file()).args(more);
            String::from_utf8(Ran::of(&mut python).expect(name).stdout).unwrap()
        };
        let url = step("begin", &[]);
        let target = url.trim().strip_prefix(site.tls()).expect("it found the endpoint").to_owned();
        let begun = Begun::at(&browser, &target);
        agree(&phone, &site, &begun.seen(&browser), &json!({}));
        let answer = begun.press(&browser, "continue");
        let told: Value = serde_json::from_str(&step("end", &[answer.header("location")])).unwrap();
        assert_eq!(told["id_token"]["sub"], told["userinfo"]["sub"], "{told:#}");
        assert!(told["userinfo"]["uscc"].is_string() && told["refreshed"] == true, "{told:#}");
    }
}

/// Another library, of other people: it was written beside the conformance tests of the OpenID Foundation.
#[test]
fn a_second_library_of_relying_parties_logs_somebody_in() {
    let site = at_its_issuer();
    let signer = client(&site, "idpyoidc", &["*"], &json!({}));
    let (browser, phone) = (site.stranger(None), Phone::good(&site));
    let mut python = Command::new(repository().join("target/venv/bin/python"));
    python.arg(repository().join("tests/oidc_login_idpyoidc.py")).args([site.tls(), "idpyoidc", CALLBACK]);
    python.arg(signer.private_key()).arg(site.ca_file());
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next().expect("it says where the browser goes").unwrap();
    let target = url.strip_prefix(site.tls()).unwrap_or_else(|| panic!("{url}")).to_owned();
    let begun = Begun::at(&browser, &target);
    agree(&phone, &site, &begun.seen(&browser), &json!({}));
    let answer = begun.press(&browser, "continue");
    writeln!(child.stdin.take().unwrap(), "{}", answer.header("location")).unwrap();
    let told = lines.next().expect("it says what it was told").unwrap();
    assert!(child.wait().unwrap().success());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["id_token"]["sub"], told["userinfo"]["sub"], "{told:#}");
    assert!(told["userinfo"]["uscc"].is_string() && told["refreshed"] == true, "{told:#}");
}

/// What one gateway began another goes on with; of two that exchange one code at once one does.
#[test]
fn two_gateways_serve_one_login_and_one_exchange_succeeds_over_both() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let signer = client(&first, "oidc-two", &["*"], &json!({}));
    let (here, there) = (first.stranger(None), second.stranger(None));
    eventually("the other gateway knows the app", BOUND, || {
        (there.get(&ask("oidc-two", &[])).status == 303).then_some(())
    });
    let phone = Phone::good(&first);
    let begun = Begun::at(&here, &ask("oidc-two", &[]));
    agree(&phone, &second, &begun.seen(&there), &json!({}));
    let (_, told) = answered(&begun.press(&there, "continue"));
    let tokens = redeem(&first, Some(&signer), text(&told, "code"), &[]).expect(200).json();
    userinfo(&second, text(&tokens, "access_token")).expect(200);
    let next = refresh(&second, &signer, text(&tokens, "refresh_token")).expect(200).json();
    assert_eq!(part(text(&tokens, "id_token"), 1)["sub"], part(text(&next, "id_token"), 1)["sub"]);

    let begun = Begun::at(&here, &ask("oidc-two", &[]));
    agree(&phone, &first, &begun.seen(&here), &json!({}));
    let (_, told) = answered(&begun.press(&there, "continue"));
    let code = text(&told, "code");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let signer = &signer;
        let at = |site| scope.spawn(move || redeem(site, Some(signer), code, &[]));
        let threads = [at(&first), at(&second), at(&first), at(&second)];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), refused.len()), (1, 3));
    for answer in refused {
        assert!(["code_used", "login_ended"].contains(&text(&answer.json(), "code")), "{}", answer.text());
    }
    // Nobody knows which of them was the thief.
    userinfo(&second, text(&done[0].json(), "access_token")).expect(401);
}
