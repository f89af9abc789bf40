//! Test enterprises that are made at a running sandbox: whoever has one can verify, look up, sign in with and fetch what there is of
//! it at once, in every standing; a site for production makes none and takes none.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::{Answer, Browser, Folder, Ran, Scratch, Signer, Site, base64, eventually};

use crate::phone::Phone;
use crate::sessions::{begun, id, order, refused};

const PATH: &str = "/sandbox/enterprises";
const SOON: std::time::Duration = std::time::Duration::from_secs(90);

/// A site of these tests' own.
static SITE: LazyLock<Site> = LazyLock::new(Site::start);

fn make(site: &Site, order: &Value) -> Answer {
    site.stranger(None).post(PATH, order)
}

fn made(order: &Value) -> Value {
    make(&SITE, order).expect(201).json()
}

fn uscc(enterprise: &Value) -> &str {
    enterprise["uscc"].as_str().unwrap()
}

fn change(enterprise: &Value, what: &Value) -> Value {
    SITE.stranger(None).post(&format!("{PATH}/{}/status", uscc(enterprise)), what).expect(200).json()
}

fn remove(code: &str) -> Answer {
    SITE.stranger(None).send("DELETE", &format!("{PATH}/{code}"), &[], None)
}

fn verified(enterprise: &Value) -> Value {
    let license = json!({"license": enterprise["license"]["certificate"]});
    SITE.app().post("/v1/licenses:verify", &license).expect(200).json()
}

fn codes(said: &Value) -> Vec<&str> {
    said["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// A phone with the license of a test enterprise.
fn phone_of(site: &Site, enterprise: &Value) -> Phone {
    let uscc = uscc(enterprise).to_owned();
    Phone {
        license: enterprise["license"]["certificate"].as_str().unwrap().to_owned(),
        key: site.data().join(format!("pki/private/license-{uscc}.pem")),
        uscc,
        ..Phone::good(site)
    }
}

/// Has the enterprise's license agree to a login, in a role.
fn confirm(site: &Site, enterprise: &Value, role: &str) -> (Value, Answer) {
    let phone = phone_of(site, enterprise);
    let session = begun(site.app(), &order());
    let asked = phone.scan(site, &session).expect(200).json();
    let mut consent = phone.consent(&asked);
    consent["role"] = json!(role);
    if role == "agent" {
        let until = crate::sessions::now(3600);
        consent["authorisation"] = json!({"items": [asked["item"]], "until": until});
    }
    let answer = phone.confirm(site, &consent);
    (session, answer)
}

#[test]
fn one_of_every_template_is_good_for_all_at_once() {
    for letter in ["A", "B", "C", "D", "E", "F", "G", "H", "I"] {
        let kind = if letter < "E" { "test" } else { "uscc" };
        let enterprise = made(&json!({"template": letter, "code_kind": kind}));
        let code = uscc(&enterprise);
        assert_eq!(code.starts_with("ZZJGD"), kind == "test", "{enterprise:#}");
        let name = enterprise["name"].as_str().unwrap();
        assert!(name.contains("测试"), "{enterprise:#}");
        let certificate = enterprise["license"]["certificate"].as_str().unwrap();
        let scratch = Scratch::new();
        scratch.write("license.pem", certificate);
        let issuer = scratch.openssl("x509 -noout -issuer -nameopt utf8 -in license.pem").expect("openssl");
        assert!(issuer.text.contains("TEST ONLY"), "{}", issuer.text);

        let said = verified(&enterprise);
        assert_eq!(said["verdict"], "valid", "{letter}: {said:#}");
        assert_eq!(said["face"]["template"], letter, "{said:#}");
        let found = SITE.app().get(&format!("/v1/licenses/{code}/face")).expect(200).json();
        assert_eq!(found["face"]["name"], enterprise["name"], "{found:#}");
        // 49 and 50 are for foreign ones, 业务范围 for cooperatives.
        assert_eq!(found["face"].get("foreign_name").is_some(), letter == "I", "{found:#}");
        assert_eq!(found["face"].get("service_scope").is_some(), letter == "D", "{found:#}");

        let files = enterprise["files"].as_array().unwrap();
        assert_eq!(files.len(), 2, "{enterprise:#}");
        for file in files {
            let answer = SITE.app().get(file["path"].as_str().unwrap()).expect(200);
            let body = json!({"license": base64(&answer.body), "type": file["kind"]});
            let said = SITE.app().post("/v1/licenses:verify", &body).expect(200).json();
            assert_eq!(said["verdict"], "valid", "{letter} {}: {said:#}", file["kind"]);
            if file["kind"] == "pdf" {
                scratch.write("edition.pdf", &answer.body);
                let mut words = Command::new("pdftotext");
                let words = words.args(["edition.pdf", "-"]).current_dir(scratch.path());
                let text = Ran::of(words).expect("pdftotext").text;
                assert!(text.contains("公示版") && text.contains("TEST ONLY"), "{text}");
            }
        }
    }
}

#[test]
fn it_is_found_by_name_and_its_people_sign_in() {
    let enterprise = made(&json!({"name": "测试灞上云锦贸易有限公司"}));
    let found = SITE.app().get("/v1/licenses?name=%E7%81%9E%E4%B8%8A%E4%BA%91%E9%94%A6").expect(200).json();
    assert_eq!(found["items"][0]["uscc"], enterprise["uscc"], "{found:#}");
    for person in enterprise["people"].as_array().unwrap() {
        let role = person["role"].as_str().unwrap();
        let (session, answer) = confirm(&SITE, &enterprise, role);
        answer.expect(200);
        let result = crate::sessions::consume(SITE.app(), &session).expect(200).json();
        assert_eq!(result["result"]["uscc"], enterprise["uscc"], "{result:#}");
        assert_eq!(result["result"]["role"]["name"], role, "{result:#}");
    }
    // The simulator's phone has it, and its key is where those of the samples are, for its owner alone.
    let licenses = SITE.stranger(None).get("/sandbox/phone/licenses").expect(200).json();
    let on_phone = licenses.as_array().unwrap().iter().find(|one| one["id"] == enterprise["uscc"]);
    assert_eq!(on_phone.unwrap()["people"], enterprise["people"], "{licenses:#}");
    let key = SITE.data().join(format!("pki/private/license-{}.pem", uscc(&enterprise)));
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!enterprise.to_string().contains("PRIVATE KEY"));
}

#[test]
fn every_standing_can_be_had_and_counts_at_once() {
    for (status, permitted) in
        [(1, true), (2, false), (3, false), (4, false), (5, false), (6, false), (9, false)]
    {
        let enterprise = made(&json!({"status": status, "flags": ["经营异常名录"]}));
        let said = SITE.app().get(&format!("/v1/licenses/{}/status", uscc(&enterprise))).expect(200).json();
        assert_eq!((&said["code"], &said["flags"]), (&json!(status), &json!(["经营异常名录"])), "{said:#}");
        let (_, answer) = confirm(&SITE, &enterprise, "legal_representative");
        assert_eq!(answer.status == 200, permitted, "{status}: {}", answer.text());
    }
    let expired = made(&json!({"license": "expired"}));
    assert!(codes(&verified(&expired)).contains(&"expired"), "{:#}", verified(&expired));
    refused(confirm(&SITE, &expired, "legal_representative").1, 403, "license_expired");
    let revoked = made(&json!({"license": "revoked"}));
    assert!(codes(&verified(&revoked)).contains(&"revoked"), "{:#}", verified(&revoked));
    refused(confirm(&SITE, &revoked, "legal_representative").1, 403, "license_revoked");
}

#[test]
fn a_standing_is_changed_and_the_former_license_is_no_longer_its_own() {
    let first = made(&json!({"template": "C"}));
    let changed = change(&first, &json!({"status": 4, "flags": ["歇业"]}));
    assert_eq!((&changed["status"], &changed["flags"]), (&json!(4), &json!(["歇业"])));
    assert!(codes(&verified(&first)).contains(&"status_not_permitted"), "{:#}", verified(&first));
    let changed = change(&first, &json!({"status": 1, "flags": []}));
    assert_eq!(verified(&changed)["verdict"], "valid");
    let revoked = change(&first, &json!({"license": "revoked"}));
    assert_eq!(revoked["license"]["serial"], first["license"]["serial"]);
    assert!(codes(&verified(&first)).contains(&"revoked"), "{:#}", verified(&first));
    // A new one comes in its place.
    let renewed = change(&first, &json!({"license": "good"}));
    assert_ne!(renewed["license"]["serial"], first["license"]["serial"]);
    assert_eq!(verified(&renewed)["verdict"], "valid", "{:#}", verified(&renewed));
    assert_ne!(renewed["files"], first["files"]);
    confirm(&SITE, &renewed, "administrator").1.expect(200);
    let path = format!("{PATH}/{}/status", uscc(&first));
    refused(SITE.stranger(None).post(&path, &json!({})), 422, "missing_field");
    refused(SITE.stranger(None).post(&path, &json!({"status": 7})), 422, "invalid_value");
    let actions: Vec<_> = SITE
        .audit()
        .into_iter()
        .filter(|entry| entry["subject"] == first["uscc"])
        .map(|entry| entry["action"].clone())
        .collect();
    assert!(actions.contains(&json!("sandbox.enterprise.make")), "{actions:?}");
    assert!(actions.contains(&json!("sandbox.enterprise.change")), "{actions:?}");
}

#[test]
fn one_that_is_taken_away_is_deregistered_and_may_come_again() {
    let code = "ZZJGD1609314154607";
    let enterprise = made(&json!({"code": code}));
    refused(make(&SITE, &json!({"code": code})), 409, "enterprise_exists");
    let path = format!("{PATH}/{code}");
    assert_eq!(SITE.stranger(None).get(&path).expect(200).json(), enterprise);
    remove(code).expect(204);
    refused(SITE.stranger(None).get(&path), 404, "unknown_enterprise");
    refused(remove(code), 404, "unknown_enterprise");
    for key in [format!("private/license-{code}.pem"), format!("licenses/{code}.der")] {
        assert!(!SITE.data().join("pki").join(&key).exists(), "{key}");
    }
    let listed = SITE.stranger(None).get(PATH).expect(200).json();
    assert!(listed["items"].as_array().unwrap().iter().all(|one| one["uscc"] != code), "{listed:#}");
    assert!(codes(&verified(&enterprise)).contains(&"status_not_permitted"));
    let sign = format!("/sandbox/phone/licenses/{code}/sign");
    assert_eq!(SITE.stranger(None).post(&sign, &json!({"consent": "{}"})).status, 404);
    let file = SITE.app().get(enterprise["files"][0]["path"].as_str().unwrap());
    assert!([403, 410].contains(&file.status), "{}", file.text());
    let again = made(&json!({"code": code, "template": "I"}));
    assert_eq!(verified(&again)["verdict"], "valid");
    // The samples are nobody's to take away, and what is no code is none.
    let sample = SITE.sandbox()["licenses"][0].as_str().unwrap();
    for other in [sample, "..%2f..%2fsandbox", "ZZJGD"] {
        refused(remove(other), 404, "unknown_enterprise");
    }
    // Every mistake is told at once.
    let wrong = json!({"code": sample, "name": "秦风", "template": "K"});
    let problem = make(&SITE, &wrong).expect(422).json();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem:#}");
}

#[test]
fn one_that_was_made_by_half_stands_in_nobodys_way() {
    let good = made(&json!({}));
    let half = made(&json!({}));
    let site = &*SITE;
    // As if the gateway had died before the license came into the library.
    let record = site.data().join(format!("pki/enterprises/{}.json", uscc(&half)));
    let mut said: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    said["serial"] = json!("none");
    std::fs::write(&record, said.to_string()).unwrap();
    let one = site.stranger(None).get(&format!("{PATH}/{}", uscc(&half)));
    assert_eq!((one.status, &one.json()["code"]), (500, &json!("test_enterprise_broken")));
    let all = site.stranger(None).get(PATH).expect(200).json();
    let codes: Vec<_> = all["items"].as_array().unwrap().iter().map(uscc).collect();
    assert!(codes.contains(&uscc(&good)) && !codes.contains(&uscc(&half)), "{codes:?}");
    assert_eq!(remove(uscc(&half)).status, 204);
}

#[test]
fn what_was_made_is_there_after_a_restart_and_an_older_sandbox_says_that_it_cannot() {
    let site = Folder::init().serve();
    let enterprise = make(&site, &json!({"license": "revoked"})).expect(201).json();
    let (folder, _) = site.stop();
    let site = folder.serve();
    let path = format!("{PATH}/{}", uscc(&enterprise));
    assert_eq!(site.stranger(None).get(&path).expect(200).json(), enterprise);
    let license = json!({"license": enterprise["license"]["certificate"]});
    let said = site.app().post("/v1/licenses:verify", &license).expect(200).json();
    assert!(codes(&said).contains(&"revoked"), "{said:#}");
    std::fs::remove_file(site.data().join("pki/private/license-issuing.pem")).unwrap();
    refused(make(&site, &json!({})), 409, "sandbox_outdated");
}

/// The same folder as a site for production, and an app that signs its requests to it; a credential is entered while that
/// takes one person.
fn production(site: Site) -> (Site, Signer) {
    let signer = Signer::new(site.sandbox()["apps"][0]["id"].as_str().unwrap(), "sm2");
    signer.enter(&site);
    let (folder, _) = site.stop();
    folder.configure("sandbox = true", "sandbox = false");
    folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
    (folder.serve(), signer)
}

/// One who asks a site for production over TLS, by signed requests.
fn signed(site: &Site, signer: &Signer, method: &str, target: &str, body: &Value) -> Value {
    let octets = if body.is_null() { String::new() } else { body.to_string() };
    let request = signer.request(method, target, octets.as_bytes());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-X", method, "--cacert"]).arg(site.ca_file());
    for (name, value) in &request.headers {
        curl.args(["-H", &format!("{name}: {value}")]);
    }
    if !body.is_null() {
        curl.args(["--data-binary", &octets]);
    }
    let said = Ran::of(curl.arg(format!("https://{}{target}", site.listener("https")))).expect("curl");
    serde_json::from_str(&said.text).unwrap_or_else(|_| panic!("{target}: {}", said.text))
}

#[test]
fn a_site_for_production_makes_no_test_enterprise_and_takes_none_that_is_there() {
    let site = Folder::init().serve();
    let enterprise = make(&site, &json!({"name": "测试渭上织云有限公司"})).expect(201).json();
    let code = uscc(&enterprise).to_owned();
    let (site, signer) = production(site);
    // What makes them is not there, at no door and for nobody.
    for (method, path) in [
        ("GET", PATH.to_owned()),
        ("POST", PATH.to_owned()),
        ("GET", format!("{PATH}/{code}")),
        ("DELETE", format!("{PATH}/{code}")),
        ("POST", format!("{PATH}/{code}/status")),
        ("GET", "/sandbox/enterprises.js".to_owned()),
        ("POST", format!("/sandbox/phone/licenses/{code}/sign")),
    ] {
        for listener in ["https", "admin"] {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "--cacert"]);
            let url = format!("https://{}{path}", site.listener(listener));
            let said = Ran::of(curl.arg(site.ca_file()).arg(&url)).expect("curl");
            assert_eq!(said.text, "404", "{method} {url}");
        }
    }
    // Its code, which a sandbox left in the library, is refused by whatever takes a code.
    let ask = |method: &str, target: &str, body: &Value| signed(&site, &signer, method, target, body);
    let certified = json!({"uscc": code, "purpose": "test"});
    for (method, target, body) in [
        ("GET", format!("/v1/licenses/{code}/status"), Value::Null),
        ("GET", format!("/v1/licenses/{code}/face"), Value::Null),
        ("GET", format!("/v1/licenses/{code}/files"), Value::Null),
        ("GET", format!("/v1/licenses/{code}/files/pdf"), Value::Null),
        ("POST", "/v1/query-certificates".to_owned(), certified),
    ] {
        let said = ask(method, &target, &body);
        assert_eq!(said["code"], "test_identity_in_production", "{target}: {said:#}");
    }
    let found = ask("GET", "/v1/licenses?name=%E6%B8%AD%E4%B8%8A%E7%BB%87%E4%BA%91", &Value::Null);
    assert_eq!(found["items"], json!([]), "{found:#}");
    let license = json!({"license": enterprise["license"]["certificate"]});
    let said = ask("POST", "/v1/licenses:verify", &license);
    assert_eq!(said["verdict"], "invalid", "{said:#}");
    assert!(codes(&said).contains(&"test_identity_in_production"), "{said:#}");
    // And its license lets nobody in.
    let session = ask("POST", "/v1/sessions", &order());
    let phone = phone_of(&site, &enterprise);
    let brought = |path: &str, body: &Value| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-H", "content-type: application/json", "--cacert"]).arg(site.ca_file());
        curl.args(["-d", &body.to_string()]);
        let said = Ran::of(curl.arg(format!("https://{}{path}", site.listener("https")))).expect("curl");
        serde_json::from_str::<Value>(&said.text).unwrap()
    };
    let asked = brought("/v1/phone/sessions:scan", &json!({"qr": session["qr_text"], "phone": phone.secret}));
    let text = phone.consent(&asked).to_string();
    let said = brought(
        &format!("/v1/phone/sessions/{}/confirm", id(&session)),
        &json!({"phone": phone.secret, "license": phone.license, "signature": phone.sign(&text), "consent": text}),
    );
    assert_eq!(said["code"], "test_identity_in_production", "{said:#}");
}

#[test]
fn a_license_of_a_test_authority_is_nothing_to_a_site_that_trusts_others() {
    let enterprise = made(&json!({"code_kind": "uscc"}));
    // Of another sandbox's authority, as of one that nobody trusts.
    let (site, signer) = production(Folder::init().serve());
    let license = json!({"license": enterprise["license"]["certificate"]});
    let said = signed(&site, &signer, "POST", "/v1/licenses:verify", &license);
    assert_ne!(said["verdict"], "valid", "{said:#}");
    let found = codes(&said);
    assert!(
        found.iter().any(|code| ["no_path", "issuer_signature_invalid"].contains(code)),
        "{found:?}: {said:#}"
    );
}

#[test]
fn somebody_makes_an_enterprise_on_the_page_and_signs_in_with_it() {
    let site = Folder::init().serve();
    let page = Browser::start(1280, 900);
    page.open(&format!("{}/sandbox/enterprises", site.base()));
    page.sees("还没有测试企业");
    let choose = |id: &str, value: &str| {
        page.script(&format!(
            "const choice = document.getElementById('{id}'); choice.value = '{value}'; \
             choice.dispatchEvent(new Event('change')); return choice.value"
        ))
    };
    page.type_into("name", "测试终南云鹤有限公司");
    choose("template", "I");
    page.click("#make");
    page.sees("测试终南云鹤有限公司");
    page.sees("存续 · 有效");
    page.sees("测试乙（证照管理员）");
    // The phone has it chosen; the demo lets its holder in.
    let link = page.script("return document.querySelector('.enterprises a').href");
    let phone = Browser::start(390, 844);
    phone.open(link.as_str().unwrap());
    phone.sees("测试终南云鹤有限公司");
    let demo = Browser::start(1280, 900);
    demo.open(&format!("{}/sandbox/demo", site.base()));
    demo.click("#begin-login");
    let payload = eventually("a QR code", SOON, || {
        let said = demo.script("return document.getElementById('payload')?.textContent ?? ''");
        said.as_str().filter(|said| !said.is_empty()).map(str::to_owned)
    });
    phone.type_into("qr", &payload);
    phone.press("识别");
    phone.sees("请求登录");
    phone.click("#role-administrator");
    let operator = phone.script("return document.getElementById('operator').value");
    assert_eq!(operator, "测试乙");
    phone.press("确认");
    phone.sees("请回到电脑上继续");
    demo.sees("欢迎，测试终南云鹤有限公司");
    // Its standing changes on the page, and what is refused says so in both languages.
    let code = page.script("return document.querySelector('.enterprises li').dataset.uscc");
    choose(&format!("status-{}", code.as_str().unwrap()), "4");
    page.sees("注销 · 有效");
    choose(&format!("license-{}", code.as_str().unwrap()), "revoked");
    page.sees("注销 · 已吊销");
    page.press("English");
    page.sees("deregistered · revoked");
    page.type_into("name", "Example");
    page.click("#make");
    page.sees("must say 测试");
    page.press("Take away");
    page.sees("There are no test enterprises yet.");
    let beyond = page.script("return document.documentElement.scrollWidth - window.innerWidth");
    assert!(beyond.as_i64().unwrap() <= 0, "{beyond}");
}
