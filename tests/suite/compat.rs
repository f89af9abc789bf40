//! The national front's protocol: business systems and phones that speak it get what the native routes give, in its own words, and
//! nothing more.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Answer, Authority, Folder, Ran, Reply, Scratch, Signer, Site, Source, base64, eventually, unbase64,
};

use crate::phone::{Phone, to_sign};
use crate::sessions::{self, id, verifies};

const SYSTEMS: &str = "/authenticationService/httpserver.do";
const PHONES: &str = "/authenticationService/appserver.do";
const FILE: &str = "/authenticationService/getLicencePdf.do";
const SYSCODES: [&str; 2] = ["SAIC_YWXT_000001", "SAIC_YWXT_000002"];
const SOON: Duration = Duration::from_secs(90);

/// A site of these tests' own, which delivers again soon.
static SITE: LazyLock<Site> = LazyLock::new(|| {
    let folder = Folder::init();
    folder.configure("[site]\n", "[outbound]\nretry_ms = 100\n[site]\n");
    folder.serve()
});

/// A message as a caller of the old protocol writes it, with a constant in place of a signature.
fn message(site: &Site, number: usize, kind: &str, content: &Value) -> Value {
    let key = &site.sandbox()["apps"][number]["api_key"];
    json!({
        "message_header": {
            "syscode": SYSCODES[number], "authcode": key, "businesstype": kind, "sign": "sign3", "version": "1",
        },
        "message_content": content,
    })
}

/// What is answered to a message; the header is there whatever comes of it.
fn answered(answer: &Answer) -> Value {
    let said = answer.json();
    let members: Vec<_> = said.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["message_content", "message_header"], "{said:#}");
    let members: Vec<_> = said["message_header"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["errorCode", "errorInfo", "sign", "version"], "{said:#}");
    said
}

fn sent(site: &Site, message: &Value) -> Answer {
    site.stranger(None).post(SYSTEMS, message)
}

/// The content of an answer that is none of a refusal.
#[track_caller]
fn told(site: &Site, number: usize, kind: &str, content: &Value) -> Value {
    let said = answered(&sent(site, &message(site, number, kind, content)).expect(200));
    assert_eq!(said["message_header"]["errorCode"], "0", "{said:#}");
    said["message_content"].clone()
}

/// A refusal in the protocol's form, by its code; what `info` says is in it.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, info: &str) {
    let said = answered(answer);
    let header = &said["message_header"];
    assert_eq!((answer.status, &header["errorCode"]), (status, &json!(code)), "{said:#}");
    assert!(header["errorInfo"].as_str().unwrap().contains(info), "{info}: {said:#}");
    assert_eq!(said["message_content"], json!({}));
}

/// The site's word over a content, checked with OpenSSL.
fn is_signed(site: &Site, said: &Value) -> bool {
    let front = site.app().get("/v1/keys/front-sm2").expect(200).json();
    let sign = said["message_header"]["sign"].as_str().unwrap();
    verifies(front["public_key"].as_str().unwrap(), said["message_content"].to_string(), sign)
}

fn phone_message(site: &Site, kind: &str, content: &Value) -> Answer {
    site.stranger(None)
        .post(PHONES, &json!({"message_header": {"businesstype": kind}, "message_content": content}))
}

fn scanned(site: &Site, phone: &Phone, begun: &Value) -> Value {
    let said = answered(&phone_message(site, "scan", &json!({"qr": begun["qrinfo"], "phone": phone.secret})));
    assert_eq!(said["message_header"]["errorCode"], "0", "{said:#}");
    said["message_content"].clone()
}

fn confirmed(site: &Site, phone: &Phone, consent: &Value) -> Answer {
    let text = consent.to_string();
    let mut content = json!({
        "qrid": consent["qrid"], "phone": phone.secret, "license": phone.license, "consent": text,
        "signature": phone.sign(&text),
    });
    if let Some(digest) = consent["digest"].as_str() {
        content["digest_signature"] = phone.sign(to_sign(digest)).into();
    }
    phone_message(site, "confirm", &content)
}

/// A session that somebody has agreed to.
fn agreed(site: &Site, number: usize, phone: &Phone, asked: &Value, operator: Option<&str>) -> Value {
    let begun = told(site, number, "003", asked);
    let shown = scanned(site, phone, &begun);
    let mut consent = phone.consent(&shown);
    consent["operator"] = operator.into();
    let said = answered(&confirmed(site, phone, &consent));
    assert_eq!(said["message_content"]["state"], "confirmed", "{said:#}");
    begun
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_login_goes_from_its_code_by_scan_and_receipt_to_its_parts() {
    let (site, source) = (&*SITE, Source::start());
    let received = Arc::new(Mutex::new(Vec::<Value>::new()));
    let kept = Arc::clone(&received);
    source.answer_with_fields("receipts", move |_, body| {
        let mut kept = kept.lock().unwrap();
        // Of each session by itself: other tests' are told here, too.
        let receipt: Value = serde_json::from_slice(body).unwrap();
        let session = receipt["message_content"]["qrid"].clone();
        kept.push(receipt);
        let of_it = kept.iter().filter(|kept| kept["message_content"]["qrid"] == session).count();
        // What the other side did not take, by its own word or for want of one, is told again.
        let says =
            |code: &str| Reply::Body(json!({"message_header": {"errorCode": code}}).to_string().into_bytes());
        match of_it {
            1 => Reply::Body(b"thanks".to_vec()),
            2 => says("1"),
            _ => says("0"),
        }
    });
    let admin = site.app_number(2);
    let webhook = json!({"url": source.url("receipts"), "reason": "test"}).to_string();
    let fields = [("content-type", "application/json")];
    let path = "/v1/admin/apps/sandbox-registration/webhook";
    admin.send("PUT", path, &fields, Some(webhook.as_bytes())).expect(200);

    let mut order = message(site, 0, "003", &json!({"qrtype": "1102", "rettype": "1", "qrinfotype": "0"}));
    order["message_header"]["bsuniqueid"] = "202600000001".into();
    order["message_header"]["version"] = "2".into();
    let said = answered(&sent(site, &order).expect(200));
    assert_eq!(said["message_header"]["version"], "2");
    assert!(is_signed(site, &said), "{said:#}");
    let begun = &said["message_content"];
    assert_eq!(members(begun), ["qrid", "qrimage", "qrinfo"]);
    assert!(unbase64(begun["qrimage"].as_str().unwrap()).starts_with(b"\x89PNG"));
    let code: Value = serde_json::from_str(begun["qrinfo"].as_str().unwrap()).unwrap();
    assert!(code["sys_url"].as_str().unwrap().ends_with(PHONES), "{code}");
    let plain = told(site, 0, "003", &json!({"qrtype": "1102", "rettype": "0"}));
    assert_eq!(members(&plain), ["qrid", "qrinfo"], "no image was asked for");

    let poll = json!({"qrtype": "1102", "qrid": begun["qrid"]});
    assert_eq!(told(site, 0, "004", &poll), json!({"operflag": "1"}));
    let fetch = |part: &str| json!({"qrtype": part, "qrid": begun["qrid"]});
    for part in ["1402", "1403", "1404"] {
        refused(&sent(site, &message(site, 0, "011", &fetch(part))), 200, "session_not_confirmed", "");
    }
    refused(&sent(site, &message(site, 1, "004", &poll)), 200, "unknown_session", "");
    refused(&sent(site, &message(site, 1, "011", &fetch("1402"))), 200, "unknown_session", "");

    let phone = Phone::good(site);
    let asked = scanned(site, &phone, begun);
    assert_eq!((&asked["biz_no"], &asked["item_name"]), (&json!("202600000001"), &json!("年度报告")));
    let mut consent = phone.consent(&asked);
    consent["role"] = "legal_representative".into();
    let said = answered(&confirmed(site, &phone, &consent));
    assert_eq!(said["message_content"]["state"], "confirmed", "{said:#}");

    // The receipt names the session and nobody; the third one is taken.
    let receipts = eventually("the receipt is taken", SOON, || {
        let mut got = received.lock().unwrap().clone();
        got.retain(|receipt| receipt["message_content"]["qrid"] == begun["qrid"]);
        (got.len() >= 3).then_some(got)
    });
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:#?}");
    let receipt = &receipts[0];
    assert_eq!(members(&receipt["message_content"]), ["operflag", "opertime", "qrid", "qrtype"]);
    assert_eq!(receipt["message_content"]["qrid"], begun["qrid"]);
    assert_eq!(receipt["message_content"]["operflag"], "0");
    assert!(is_signed(site, receipt), "{receipt:#}");
    let delivered = eventually("it is delivered", SOON, || {
        let items = admin.get("/v1/admin/deliveries?app=sandbox-registration").expect(200).json();
        let items = items["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["type"] == "compat.receipt" && item["state"] == "delivered")
    });
    assert!(delivered["attempts"].as_u64().unwrap() >= 3, "{delivered}");

    let said = answered(&sent(site, &message(site, 0, "004", &poll)).expect(200));
    assert!(is_signed(site, &said));
    let polled = &said["message_content"];
    assert_eq!(members(polled), ["entity", "operflag", "tragerSn"], "{polled:#}");
    assert_eq!(polled["operflag"], "0");
    let information = told(site, 0, "011", &fetch("1402"));
    assert_eq!(information["uniscid"], phone.uscc, "{information:#}");
    let register = site.app().get(&format!("/v1/licenses/{}/face", phone.uscc)).expect(200).json();
    for (theirs, own) in
        [("entname", "name"), ("name", "legal_representative"), ("regcap", "registered_capital")]
    {
        assert_eq!(information[theirs], register["face"][own], "{theirs}");
    }
    assert_eq!(information["licencesn"].as_str().unwrap().len(), 32);
    let entity = told(site, 0, "011", &fetch("1403"));
    assert_eq!(entity["licenceentity"], polled["entity"]);
    let scratch = Scratch::new();
    scratch.write("license.der", unbase64(entity["licenceentity"].as_str().unwrap()));
    let key = scratch.openssl("x509 -inform DER -in license.der -noout -pubkey").expect("a certificate").text;
    let told_key = told(site, 0, "011", &fetch("1404"))["licencepubkey"].as_str().unwrap().to_owned();
    let key: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(unbase64(&told_key), unbase64(&key));
    let authorisation = told(site, 0, "011", &fetch("1405"));
    assert_eq!((&authorisation["opertype"], &authorisation["operflag"]), (&json!("0"), &json!("0")));

    // The first of these was the fetch, and each is on record with the session.
    refused_natively(site, begun["qrid"].as_str().unwrap());
    let about = |entry: &Value| {
        entry["subject"].as_str().is_some_and(|text| text.starts_with(begun["qrid"].as_str().unwrap()))
    };
    let mut counts = BTreeMap::new();
    for entry in site.audit().iter().filter(|entry| about(entry)) {
        *counts.entry(entry["action"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let counted = |action: &str| counts.get(action).copied().unwrap_or_default();
    assert_eq!((counted("session.consume"), counted("session.read")), (1, 4), "{counts:?}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(
        metrics.contains("license_gateway_compat_messages_total{kind=\"011\",outcome=\"ok\"}"),
        "{metrics}"
    );
    site.app_number(2)
        .post("/v1/admin/apps/sandbox-registration/webhook/remove", &json!({"reason": "test"}))
        .expect(200);
}

/// A session whose parts were fetched is consumed for the native route as for anybody.
fn refused_natively(site: &Site, session: &str) {
    let path = format!("/v1/sessions/{session}/consume");
    assert_eq!(site.app().post(&path, &json!({})).expect(409).json()["code"], "session_consumed");
}

#[test]
fn a_co_signature_is_over_the_text_that_was_asked_for() {
    let site = &*SITE;
    let phone = Phone::good(site);
    let text = "同意提交2026年度报告";
    let begun = agreed(site, 0, &phone, &json!({"qrtype": "1101", "plainvalue": text}), Some("王五"));
    let parts = told(site, 0, "011", &json!({"qrtype": "1405", "qrid": begun["qrid"]}));
    assert_eq!((&parts["plainvalue"], &parts["oper"]), (&json!(text), &json!("王五")), "{parts:#}");
    for (signed, verdict) in [(text, "valid"), ("同意提交2025年度报告", "invalid")] {
        let question = json!({
            "format": "cms", "algorithm": "sm2-sm3", "input": {"data": base64(signed.as_bytes())},
            "signature": parts["signdata"],
        });
        site.app().post("/v1/verifications", &question).expect(200).expect_verdict(verdict);
    }
    // 1101 without a text logs in, as its callers have it.
    let login = told(site, 0, "003", &json!({"qrtype": "1101", "rettype": "1"}));
    assert_eq!(scanned(site, &phone, &login)["flow"], "login");
}

#[test]
fn who_refuses_and_what_phones_say_wrong_is_told_in_the_protocol() {
    let site = &*SITE;
    let phone = Phone::good(site);
    let begun = told(site, 0, "003", &json!({"qrtype": "1102"}));
    let poll = message(site, 0, "004", &json!({"qrtype": "1102", "qrid": begun["qrid"]}));
    let deny = json!({"qrid": begun["qrid"], "phone": phone.secret});
    refused(&phone_message(site, "deny", &deny), 200, "session_not_scanned", "");
    let asked = scanned(site, &phone, &begun);
    let mut consent = phone.consent(&asked);
    consent["item"] = "liquidation".into();
    refused(&confirmed(site, &phone, &consent), 200, "consent_item", "consent");
    let said = answered(&phone_message(site, "deny", &deny));
    assert_eq!(said["message_content"]["state"], "rejected", "{said:#}");
    refused(&sent(site, &poll), 200, "session_rejected", "");
    refused(&phone_message(site, "pay", &json!({})), 200, "businesstype_unknown", "businesstype");
    refused(&phone_message(site, "scan", &json!({"qr": "{}"})), 200, "missing_field", "phone");
    refused(&phone_message(site, "confirm", &json!({"phone": "AAAA"})), 200, "missing_field", "qrid");
    let forged = json!({"qr": begun["qrinfo"].as_str().unwrap().replace("expires\":1", "expires\":2"), "phone": phone.secret});
    refused(&phone_message(site, "scan", &forged), 200, "qr_signature_invalid", "");
}

#[test]
fn fields_that_were_not_granted_do_not_leave() {
    let site = &*SITE;
    let phone = Phone::good(site);
    // The portal may see few fields, persons masked, and asks the holder for three.
    let begun = agreed(site, 1, &phone, &json!({"qrtype": "1102"}), None);
    let polled = told(site, 1, "004", &json!({"qrtype": "1102", "qrid": begun["qrid"]}));
    assert_eq!(members(&polled), ["operflag", "tragerSn"], "no license");
    let fetch = |part: &str| message(site, 1, "011", &json!({"qrtype": part, "qrid": begun["qrid"]}));
    for part in ["1403", "1404"] {
        refused(&sent(site, &fetch(part)), 200, "license_not_granted", "");
    }
    refused(&sent(site, &fetch("1406")), 200, "field_not_granted", "license_file");
    let said = answered(&sent(site, &fetch("1402")).expect(200));
    let information = &said["message_content"];
    let wanted = ["entname", "licencesn", "name", "qrid", "regorg_cn", "type", "uniscid"];
    assert_eq!(members(information), wanted, "{information:#}");
    let whole = site.app().get(&format!("/v1/licenses/{}/face", phone.uscc)).expect(200).json();
    let name = whole["face"]["legal_representative"].as_str().unwrap();
    assert_ne!(information["name"], name, "masked");
    assert!(information["name"].as_str().unwrap().contains('*'));
    let said = answered(&sent(site, &fetch("1405")).expect(200));
    for secret in [name, whole["face"]["domicile"].as_str().unwrap_or("domicile")] {
        assert!(!said.to_string().contains(secret), "{said:#}");
    }
    assert!(said["message_content"].get("oper").is_none());
    // Nor by a code that a phone shows.
    let shown = shown(site, &phone);
    let resolved = told(site, 1, "005", &json!({"qrid": shown, "rettype": "5"}));
    let wanted = ["entname", "estdate", "licencesn", "name", "regorg_cn", "state", "type", "uniscid"];
    assert_eq!(members(&resolved), wanted, "{resolved:#}");
    assert!(!resolved.to_string().contains(name));
    let file = site.app_number(1).get(&format!("{FILE}?uniscid={}", phone.uscc));
    refused(&file, 200, "field_not_granted", "license_file");
    // Without the scope there is nothing at all.
    let operations = site.app_number(2);
    let fields = [("content-type", "application/json")];
    let mut order = message(site, 0, "901", &json!({}));
    order["message_header"].as_object_mut().unwrap().remove("authcode");
    refused(
        &operations.send("POST", SYSTEMS, &fields, Some(order.to_string().as_bytes())),
        200,
        "syscode_unknown",
        "",
    );
    refused(&operations.get(&format!("{FILE}?uniscid={}", phone.uscc)), 200, "scope_missing", "licenses");
}

/// What a phone signs to show its license, and its answer.
fn show(site: &Site, phone: &Phone, changes: &Value) -> Answer {
    let mut showing = json!({
        "at": sessions::now(0), "nonce": tests::nonce(), "role": "administrator", "uscc": phone.uscc, "v": 1,
    });
    for (name, value) in changes.as_object().unwrap() {
        showing[name] = value.clone();
    }
    let text = showing.to_string();
    let content = json!({"license": phone.license, "showing": text, "signature": phone.sign(&text)});
    phone_message(site, "show", &content)
}

fn shown(site: &Site, phone: &Phone) -> Value {
    let said = answered(&show(site, phone, &json!({})));
    assert_eq!(said["message_header"]["errorCode"], "0", "{said:#}");
    said["message_content"]["qrinfo"].clone()
}

/// A phone whose license has a file in the sandbox's library.
fn with_file(site: &Site) -> Phone {
    let manifest = std::fs::read(site.data().join("pki/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let has_file = |uscc: &str| {
        let files = site.app().get(&format!("/v1/licenses/{uscc}/files"));
        files.status == 200
            && files.json()["items"].as_array().unwrap().iter().any(|item| item["kind"] == "pdf")
    };
    let good = manifest["licenses"].as_array().unwrap().iter().filter_map(|entry| {
        let stem = entry["file"].as_str()?.strip_prefix("licenses/")?.strip_suffix(".der")?;
        (stem.contains("good") && has_file(entry["uscc"].as_str()?)).then_some(stem)
    });
    Phone::with(site, good.collect::<Vec<_>>().first().expect("a license with a file"))
}

#[test]
fn a_license_that_a_phone_shows_is_resolved_once_and_its_file_fetched() {
    let site = &*SITE;
    let phone = with_file(site);
    let code = shown(site, &phone);
    let ask = |code: &Value| message(site, 0, "005", &json!({"qrid": code, "rettype": "5", "opertime": ""}));
    refused(&sent(site, &message(site, 0, "005", &json!({"qrid": code}))), 200, "missing_field", "rettype");
    let other = code.as_str().unwrap().replace(&phone.uscc, "91350100M000100Y43");
    for wrong in ["", "https://example.com/", "{}", other.as_str()] {
        let wanted = if wrong.is_empty() { "missing_field" } else { "show_code_invalid" };
        refused(&sent(site, &ask(&json!(wrong))), 200, wanted, "qrid");
    }
    let said = answered(&sent(site, &ask(&code)).expect(200));
    assert!(is_signed(site, &said), "{said:#}");
    let resolved = &said["message_content"];
    assert_eq!((&resolved["uniscid"], &resolved["state"]), (&json!(phone.uscc), &json!("1")), "{resolved:#}");
    refused(&sent(site, &ask(&code)), 200, "show_code_used", "");

    let address = resolved["imageurl"].as_str().unwrap();
    let (_, query) = address.split_once(&format!("{FILE}?")).unwrap();
    let said = answered(&site.app().get(&format!("{FILE}?{query}")).expect(200));
    assert!(is_signed(site, &said));
    let pdf = unbase64(said["message_content"]["licencePDF"].as_str().unwrap());
    let native = site.app().get(&format!("/v1/licenses/{}/files/pdf", phone.uscc)).expect(200);
    assert!(pdf == native.body && pdf.starts_with(b"%PDF"));
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    let posted = answered(&site.app().send("POST", FILE, &fields, Some(query.as_bytes())).expect(200));
    assert_eq!(posted["message_content"], said["message_content"]);
    for (query, code, info) in [
        ("", "invalid_query", "uniscid"),
        ("uniscid=1", "uscc_invalid", "uscc"),
        (&*format!("uniscid={}&pdfcode=1", phone.uscc), "invalid_value", "pdfcode"),
        (&*format!("uniscid={}&pdfcode={}", phone.uscc, "00".repeat(32)), "license_file_unknown", ""),
        (&*format!("uniscid={}&pdfCode=1", phone.uscc), "invalid_query", "pdfcode"),
    ] {
        refused(&site.app().get(&format!("{FILE}?{query}")), 200, code, info);
    }
    refused(&site.stranger(None).get(&format!("{FILE}?{query}")), 401, "api_key_missing", "");

    // The same image comes with a session's information.
    let begun = agreed(site, 0, &phone, &json!({"qrtype": "1102"}), None);
    let image = told(site, 0, "011", &json!({"qrtype": "1406", "qrid": begun["qrid"]}));
    assert!(unbase64(image["image"].as_str().unwrap()) == pdf);
    assert_eq!(image["uniscid"], phone.uscc);

    for (changes, code, info) in [
        (json!({"uscc": "91350100M000100Y43"}), "showing_invalid", "another enterprise"),
        (json!({"at": sessions::now(-900)}), "showing_invalid", "clock"),
        (json!({"role": "agent"}), "authorisation_missing", ""),
        (json!({"v": 2}), "showing_invalid", "version"),
        (json!({"more": 1}), "showing_invalid", "JSON"),
    ] {
        refused(&show(site, &phone, &changes), 200, code, info);
    }
    let good = json!({"at": sessions::now(0), "nonce": tests::nonce(), "role": "administrator", "uscc": phone.uscc, "v": 1});
    let signed =
        |text: &str| json!({"license": phone.license, "showing": text, "signature": phone.sign("another")});
    refused(&phone_message(site, "show", &signed(&good.to_string())), 200, "showing_invalid", "signed");
    let text = good.to_string();
    let twice = json!({"license": phone.license, "showing": text, "signature": phone.sign(&text)});
    assert_eq!(answered(&phone_message(site, "show", &twice))["message_header"]["errorCode"], "0");
    refused(&phone_message(site, "show", &twice), 401, "replay", "");
    let revoked = Phone::with(site, "A-revoked");
    refused(&show(site, &revoked, &json!({})), 200, "license_revoked", "");
}

#[test]
fn what_is_wrong_with_a_message_is_told_by_code_and_field() {
    let site = &*SITE;
    let login = json!({"qrtype": "1102"});
    let with = |part: &str, name: &str, value: Value| {
        let mut message = message(site, 0, "003", &login);
        message[part][name] = value;
        message
    };
    for (message, code, info) in [
        (
            with("message_header", "businesstype", json!("001")),
            "businesstype_unknown",
            "message_header.businesstype",
        ),
        (with("message_header", "businesstype", Value::Null), "missing_field", "message_header.businesstype"),
        (
            with("message_header", "bussinesstype", json!("003")),
            "unknown_field",
            "message_header.bussinesstype",
        ),
        (with("message_header", "syscode", Value::Null), "missing_field", "message_header.syscode"),
        (with("message_header", "version", json!("9")), "invalid_value", "message_header.version"),
        (with("message_header", "itemcode", json!("nothing")), "item_unknown", "message_header.itemcode"),
        (with("message_header", "bsuniqueid", json!("1")), "invalid_value", "message_header.bsuniqueid"),
        (with("message_content", "qrType", json!("1102")), "unknown_field", "message_content.qrType"),
        (with("message_content", "qrtype", Value::Null), "missing_field", "message_content.qrtype"),
        (with("message_content", "qrtype", json!("1103")), "invalid_value", "message_content.qrtype"),
        (with("message_content", "qrtype", json!(1102)), "invalid_type", "message_content.qrtype"),
        (with("message_content", "rettype", json!("5")), "invalid_value", "message_content.rettype"),
        (with("message_content", "qrinfotype", json!("2")), "invalid_value", "message_content.qrinfotype"),
        (with("message_content", "opertime", json!("2026")), "invalid_time", "message_content.opertime"),
        (with("message_content", "plainvalue", json!("x")), "unexpected_field", "message_content.plainvalue"),
        (json!({"message_header": []}), "invalid_type", "message_header"),
        (json!({"head": {}}), "unknown_field", "head"),
        (message(site, 0, "004", &login), "missing_field", "message_content.qrid"),
        (message(site, 0, "011", &json!({"qrtype": "1401", "qrid": "x"})), "invalid_value", "1406"),
        (message(site, 0, "011", &json!({"qrtype": "1402", "qrid": "x"})), "unknown_session", ""),
    ] {
        refused(&sent(site, &message), 200, code, info);
    }
    let fields = [("content-type", "application/json")];
    let raw = |body: &str| site.app().send("POST", SYSTEMS, &fields, Some(body.as_bytes()));
    refused(&raw("{"), 200, "malformed_json", "");
    refused(&raw(&" ".repeat(70_000)), 413, "body_too_large", "65536");
    // Who asks: not the app of that name, nobody, or another app than the header field's.
    let mut wrong = message(site, 0, "003", &login);
    wrong["message_header"]["authcode"] = "00112233445566778899aabbccddeeff".into();
    refused(&sent(site, &wrong), 401, "authcode_invalid", "");
    wrong["message_header"]["authcode"] = Value::Null;
    refused(&sent(site, &wrong), 401, "message_not_proved", "x-api-key");
    let mut other = message(site, 0, "003", &login);
    other["message_header"]["syscode"] = SYSCODES[1].into();
    refused(&sent(site, &other), 401, "authcode_invalid", "");
    other["message_header"]["syscode"] = "SAIC_YWXT_999999".into();
    refused(&sent(site, &other), 401, "authcode_invalid", "");
    refused(&raw(&other.to_string()), 200, "syscode_unknown", "message_header.syscode");
    // A session of the native routes is none of this protocol's.
    let native = sessions::begun(site.app(), &sessions::order());
    let fetch = json!({"qrtype": "1402", "qrid": id(&native)});
    refused(&sent(site, &message(site, 0, "011", &fetch)), 200, "unknown_session", "");

    let items = told(site, 0, "901", &json!({"opertime": "20261123204500123"}));
    let items = items["tradeType"].as_array().unwrap();
    assert!(items.contains(&json!({"itemcode": "annual-report", "itemname": "年度报告"})), "{items:#?}");
    let order = with("message_header", "itemcode", json!("liquidation"));
    assert_eq!(answered(&sent(site, &order).expect(200))["message_header"]["errorCode"], "0");
}

#[test]
fn the_same_order_under_one_idempotency_key_is_one_session() {
    let site = &*SITE;
    let body = message(site, 0, "003", &json!({"qrtype": "1102"})).to_string();
    let fields = [("content-type", "application/json"), ("idempotency-key", "compat-1")];
    let send = || site.app().send("POST", SYSTEMS, &fields, Some(body.as_bytes()));
    let first = answered(&send().expect(200));
    assert_eq!(first["message_header"]["errorCode"], "0", "{first:#}");
    let again = send().expect(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(answered(&again), first);
    let other = message(site, 0, "003", &json!({"qrtype": "1102", "rettype": "0"})).to_string();
    let other = site.app().send("POST", SYSTEMS, &fields, Some(other.as_bytes()));
    refused(&other, 200, "idempotency_mismatch", "");
}

/// A site that takes no API keys: as for production, only a signature or a certificate proves who asks.
fn proving(authority: &Authority) -> Site {
    let folder = Folder::init();
    folder.configure("[server]\n", "[server]\nmutual = \"127.0.0.1:0\"\n");
    let tls = format!("[tls]\nclient_anchors = [{:?}]\n\n[database]\n", authority.path("ca.pem"));
    folder.configure("[database]\n", &tls);
    folder.configure("[callers]\n", "[callers]\napi_keys = false\n");
    let system = |code: &str, app: &str| {
        format!("[[compat.system]]\nsyscode = {code:?}\napp = {app:?}\nitem = \"annual-report\"\n\n")
    };
    let more = system("SAIC_YWXT_Sig001", "signs") + &system("SAIC_YWXT_Cert01", "shows");
    folder.configure("[query_certificates]\n", &format!("{more}[query_certificates]\n"));
    folder.serve()
}

/// A time of the protocol: China's, with milliseconds.
fn opertime(ahead: i64) -> String {
    let mut date = Command::new("date");
    let at = tests::now() + ahead;
    date.env("TZ", "Asia/Shanghai").args(["-d", &format!("@{at}"), "+%Y%m%d%H%M%S"]);
    Ran::of(&mut date).expect("date").text.trim().to_owned() + &nanoseconds()
}

/// Three digits that no two messages of a moment share.
fn nanoseconds() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{:03}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 1000)
}

/// A message that its app signed.
fn signed(signer: &Signer, syscode: &str, at: i64) -> Value {
    let mut message = json!({
        "message_header": {"authcode": "0123", "businesstype": "901", "syscode": syscode, "version": "1"},
        "message_content": {"opertime": opertime(at)},
    });
    message["message_header"]["sign"] = signer.sign(message.to_string().as_bytes()).into();
    message
}

#[test]
fn where_api_keys_are_not_taken_a_message_is_proved_by_its_signature_or_a_certificate() {
    let authority = Authority::new("Clients");
    authority.issue_for("client", "client");
    let site = proving(&authority);
    for app in ["signs", "shows"] {
        site.app_command(&["create", app, "--name", app, "--scope", "sessions", "--reason", "test"]);
    }
    let signer = Signer::new("signs", "sm2");
    signer.enter(&site);
    let certificate = authority.path("client.pem");
    let certificate = certificate.to_str().unwrap();
    let kind = ["--kind", "certificate", "--certificate", certificate, "--reason", "test"];
    site.app_command(&[&["credential", "add", "shows"][..], &kind].concat());

    // authcode proves nothing, whatever stands in it.
    refused(
        &sent(&site, &message(&site, 0, "901", &json!({}))),
        401,
        "message_not_proved",
        "authcode proves nothing",
    );
    let good = signed(&signer, "SAIC_YWXT_Sig001", 0);
    let said = answered(&sent(&site, &good).expect(200));
    assert_eq!(said["message_header"]["errorCode"], "0", "{said:#}");
    refused(&sent(&site, &good), 401, "replay", "");
    refused(&sent(&site, &signed(&signer, "SAIC_YWXT_Sig001", -900)), 401, "clock_skew", "");
    let mut altered = signed(&signer, "SAIC_YWXT_Sig001", 0);
    altered["message_header"]["version"] = "2".into();
    refused(&sent(&site, &altered), 401, "client_signature_invalid", "");
    let thief = Signer::new("signs", "sm2");
    for (signer, syscode) in
        [(&thief, "SAIC_YWXT_Sig001"), (&signer, "SAIC_YWXT_Cert01"), (&signer, "SAIC_YWXT_000000")]
    {
        refused(&sent(&site, &signed(signer, syscode, 0)), 401, "client_signature_invalid", "");
    }
    let mut undated = json!({"message_header": {"businesstype": "901", "syscode": "SAIC_YWXT_Sig001"}, "message_content": {}});
    undated["message_header"]["sign"] = signer.sign(undated.to_string().as_bytes()).into();
    refused(&sent(&site, &undated), 200, "missing_field", "message_content.opertime");

    let call = |syscode: &str| {
        let body = json!({"message_header": {"businesstype": "901", "syscode": syscode}}).to_string();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(site.ca_file());
        curl.arg("--cert").arg(authority.path("client.pem")).arg("--key").arg(authority.path("client.key"));
        curl.args(["-H", "content-type: application/json", "-d", &body]);
        let ran = Ran::of(curl.arg(format!("https://{}{SYSTEMS}", site.listener("mutual")))).expect("curl");
        serde_json::from_str::<Value>(&ran.text).unwrap()["message_header"]["errorCode"].clone()
    };
    assert_eq!(call("SAIC_YWXT_Cert01"), "0");
    assert_eq!(call("SAIC_YWXT_Sig001"), "syscode_unknown");
}

#[test]
fn a_site_for_production_speaks_it_only_where_that_is_said_and_takes_no_authcode() {
    for (enabled, wanted) in
        [("enabled = true", "message_not_proved"), ("enabled = false", "not_found"), ("", "not_found")]
    {
        let folder = Folder::init();
        folder.configure("sandbox = true", "sandbox = false");
        folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
        folder.configure("[compat]\nenabled = true\n", &format!("[compat]\n{enabled}\n"));
        let site = folder.serve();
        let body = message(&site, 0, "901", &json!({})).to_string();
        for listener in ["https", "admin"] {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--cacert"]).arg(site.ca_file());
            curl.args(["-H", "content-type: application/json", "-d", &body]);
            let said =
                Ran::of(curl.arg(format!("https://{}{SYSTEMS}", site.listener(listener)))).expect("curl");
            let said: Value = serde_json::from_str(&said.text).unwrap();
            let code = said["message_header"].get("errorCode").or(said.get("code"));
            let wanted = if listener == "admin" { "not_found" } else { wanted };
            assert_eq!(code, Some(&json!(wanted)), "{listener} {enabled}: {said}");
        }
    }
}
