//! Sessions of people who scan with their license (扫码): what the license's key agreed to is what the app gets, once, at
//! whichever gateway and whoever dies in between; nothing else goes through.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Answer, Caller, Scratch, Site, base64, shared, unbase64};

use crate::license_status::{National, site as national_site};
use crate::phone::{Phone, in_database, to_sign};

pub(crate) const PATH: &str = "/v1/sessions";

pub(crate) fn now(ahead: i64) -> String {
    let at = tests::now() + ahead;
    let scratch = Scratch::new();
    let mut date = std::process::Command::new("date");
    date.args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%SZ"]).current_dir(scratch.path());
    tests::Ran::of(&mut date).expect("date").text.trim().to_owned()
}

pub(crate) fn order() -> Value {
    json!({"flow": "login", "item": "annual-report", "item_name": "年度报告", "biz_no": "2026-0001"})
}

pub(crate) fn begun(app: &Caller, order: &Value) -> Value {
    app.post(PATH, order).expect(201).json()
}

/// What entries say of a session of the first app: what they are about, and whose it is and what for, as [`order`] has it.
pub(crate) fn subject_of(site: &Site, about: &str) -> String {
    format!("{about} for {} login annual-report", first_app(site))
}

/// What they say where a phone's answer was refused.
fn refusal_of(site: &Site, session: &Value) -> String {
    format!("{} for {} - -", id(session), first_app(site))
}

fn first_app(site: &Site) -> &str {
    site.sandbox()["apps"][0]["id"].as_str().unwrap()
}

pub(crate) fn id(session: &Value) -> &str {
    session["session"].as_str().unwrap()
}

fn state(app: &Caller, session: &Value) -> Value {
    app.get(&format!("{PATH}/{}", id(session))).expect(200).json()["state"].clone()
}

pub(crate) fn consume(app: &Caller, session: &Value) -> Answer {
    app.post(&format!("{PATH}/{}/consume", id(session)), &json!({}))
}

pub(crate) fn refused(answer: Answer, status: u16, code: &str) {
    let problem = answer.expect(status).json();
    assert_eq!(problem["code"], code, "{problem:#}");
}

/// Checks an SM2 signature with OpenSSL.
pub(crate) fn verifies(public_key: &str, text: impl AsRef<[u8]>, signature: &str) -> bool {
    let scratch = Scratch::new();
    scratch.write("public.pem", public_key);
    scratch.write("text", text);
    scratch.write("signature", unbase64(signature));
    let check = "dgst -sm3 -verify public.pem -sigopt distid:1234567812345678 -signature signature text";
    scratch.openssl(check).ok
}

#[test]
fn what_the_licenses_key_agreed_to_is_what_the_app_gets_once() {
    let site = &shared().site;
    let app = site.app();
    let phone = Phone::good(site);
    let session = begun(app, &order());
    assert_eq!((&session["state"], &session["version"]), (&json!("created"), &json!(1)));
    let svg = String::from_utf8(unbase64(session["qr_svg"].as_str().unwrap())).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");

    // The code is signed by the site's key of the portal, for whoever has OpenSSL.
    let front = app.get("/v1/keys/front-sm2").expect(200).json();
    let public = front["public_key"].as_str().unwrap();
    let qr_text = session["qr_text"].as_str().unwrap();
    let qr: Value = serde_json::from_str(qr_text).unwrap();
    let (signed, _) = qr_text.split_once(",\"sign\"").unwrap();
    assert!(verifies(public, format!("{signed}}}"), qr["sign"].as_str().unwrap()), "{qr_text}");
    assert_eq!(qr["qrid"], session["session"]);

    let asked = phone.scan(site, &session).expect(200).json();
    assert_eq!(
        (&asked["app"], &asked["item_name"], &asked["state"]),
        (&site.sandbox()["apps"][0]["id"], &json!("年度报告"), &json!("scanned"))
    );
    // An answer that was lost is given again, to the same phone.
    assert_eq!(phone.scan(site, &session).expect(200).json(), asked);
    refused(consume(app, &session), 409, "session_not_confirmed");

    let mut consent = phone.consent(&asked);
    consent["role"] = "legal_representative".into();
    let confirmed = phone.confirm(site, &consent).expect(200).json();
    assert_eq!((&confirmed["state"], &confirmed["version"]), (&json!("confirmed"), &json!(3)));
    assert_eq!(phone.confirm(site, &consent).expect(200).json(), confirmed);
    assert_eq!(phone.scan(site, &session).expect(200).json()["state"], "confirmed");
    // What it is confirmed by stays: another consent is not taken for it.
    let mut other = consent.clone();
    other["role"] = "administrator".into();
    refused(phone.confirm(site, &other), 409, "session_confirmed");
    refused(phone.bring(site, id(&session), "{", "AAAA"), 409, "session_confirmed");
    let of_another = Phone { secret: phone.secret.clone(), ..Phone::with(site, "A-good-2") };
    refused(of_another.confirm(site, &consent), 409, "session_confirmed");
    refused(phone.deny(site, id(&session)), 409, "session_confirmed");
    refused(app.post(&format!("{PATH}/{}/cancel", id(&session)), &json!({})), 409, "session_confirmed");

    let answer = consume(app, &session).expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    let result = &answer["result"];
    assert_eq!(result["uscc"], phone.uscc, "{result:#}");
    assert_eq!(result["role"], json!({"opertype": 0, "name": "legal_representative"}));
    assert_eq!((&result["biz_no"], &result["status"]["code"]), (&json!("2026-0001"), &json!(1)));
    assert_eq!(result["decision"]["standing"], "存续");
    assert_eq!(result["decision"]["marked"], false);
    assert_eq!(result["decision"]["table_digest"].as_str().unwrap().len(), 64, "{result:#}");
    assert_eq!(result["assurance"], "urn:cn:elicense:2");
    let text = answer["result_text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *result);
    assert!(verifies(public, text, answer["result_signature"].as_str().unwrap()));
    let scratch = Scratch::new();
    scratch.write("license.pem", answer["license"].as_str().unwrap());
    let license_key = scratch.openssl("x509 -in license.pem -noout -pubkey").expect("a certificate").text;
    let consented = answer["consent"].as_str().unwrap();
    assert!(verifies(&license_key, consented, answer["consent_signature"].as_str().unwrap()));
    assert_eq!(serde_json::from_str::<Value>(consented).unwrap(), consent);

    refused(consume(app, &session), 409, "session_consumed");
    // A phone whose answer was lost is told so, also now; one that brings another consent, or none, is not.
    let late = phone.confirm(site, &consent).expect(200).json();
    assert_eq!((&late["state"], &late["version"]), (&json!("consumed"), &json!(4)));
    refused(phone.confirm(site, &other), 409, "session_confirmed");
    let stranger = Phone { secret: base64(&[7; 32]), ..Phone::good(site) };
    refused(stranger.confirm(site, &consent), 409, "session_consumed");
    refused(phone.deny(site, id(&session)), 409, "session_consumed");
    assert_eq!(state(app, &session), "consumed");

    // Each step is on record, and the person is not in it.
    let about = |entry: &Value| entry["subject"].as_str().is_some_and(|text| text.starts_with(id(&session)));
    let entries: Vec<_> = site.audit().into_iter().filter(about).collect();
    let done: Vec<_> = entries.iter().filter(|entry| entry["outcome"] == "ok").collect();
    let actions: Vec<_> = done.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["session.create", "session.scan", "session.confirm", "session.consume"]);
    assert_eq!(done[2]["subject"], subject_of(site, &format!("{} {}", id(&session), phone.uscc)));
    let late = entries.iter().filter(|entry| entry["outcome"] == "session_consumed").count();
    assert_eq!(late, 1, "the phone's late refusal: {entries:#?}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_sessions_total{state=\"consumed\"}"), "{metrics}");
}

#[test]
fn a_session_is_its_apps_and_the_first_phones() {
    let site = &shared().site;
    let (mine, other) = (site.app(), site.app_number(1));
    let session = begun(mine, &order());
    for answer in [
        other.get(&format!("{PATH}/{}", id(&session))),
        other.get(&format!("{PATH}/{}/events", id(&session))),
        other.post(&format!("{PATH}/{}/cancel", id(&session)), &json!({})),
        consume(&other, &session),
    ] {
        refused(answer, 404, "unknown_session");
    }
    refused(site.app_number(2).post(PATH, &order()), 403, "scope_missing");
    let mut replacing = order();
    replacing["replaces"] = session["session"].clone();
    refused(other.post(PATH, &replacing), 404, "unknown_session");

    let (first, second) = (Phone::good(site), Phone::with(site, "A-good-2"));
    refused(first.deny(site, id(&session)), 409, "session_not_scanned");
    let asked = first.scan(site, &session).expect(200).json();
    refused(second.scan(site, &session), 409, "session_taken");
    refused(second.confirm(site, &second.consent(&asked)), 409, "session_taken");
    refused(second.deny(site, id(&session)), 409, "session_taken");
    let denied = first.deny(site, id(&session)).expect(200).json();
    assert_eq!(denied["state"], "rejected");
    assert_eq!(first.deny(site, id(&session)).expect(200).json(), denied, "an answer that was lost");
    refused(second.deny(site, id(&session)), 410, "session_rejected");
    // What strangers were refused is not on record with the session: anybody can be one, as often as he likes.
    let about = |entry: &Value| entry["subject"].as_str().is_some_and(|text| text.starts_with(id(&session)));
    let outcomes: BTreeSet<_> =
        site.audit().iter().filter(|entry| about(entry)).map(|entry| entry["outcome"].to_string()).collect();
    assert_eq!(outcomes, BTreeSet::from(["\"ok\"".to_owned()]));
    refused(first.confirm(site, &first.consent(&asked)), 410, "session_rejected");

    // Another code in its place; the old one is of no more use.
    let old = begun(mine, &order());
    replacing["replaces"] = old["session"].clone();
    let new = begun(mine, &replacing);
    refused(first.scan(site, &old), 410, "session_replaced");
    let shown = mine.get(&format!("{PATH}/{}", id(&old))).expect(200).json();
    assert_eq!((&shown["state"], &shown["replaced_by"]), (&json!("replaced"), &new["session"]));
    refused(mine.post(PATH, &replacing), 410, "session_replaced");
    assert_eq!(
        mine.post(&format!("{PATH}/{}/cancel", id(&new)), &json!({})).expect(200).json()["state"],
        "cancelled"
    );
    refused(first.scan(site, &new), 410, "session_cancelled");
    refused(mine.get(&format!("{PATH}/nothing")), 404, "unknown_session");
}

#[test]
fn a_consent_to_anything_else_is_refused_by_its_field() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let mut order = order();
    order["flow"] = "login_sign".into();
    order["digest"] = base64(&[7; 32]).into();
    order["text"] = "年度报告书".into();
    let session = begun(site.app(), &order);
    let asked = phone.scan(site, &session).expect(200).json();
    assert_eq!(asked["digest"], "07".repeat(32));
    assert_eq!(asked["to_sign"], base64(&to_sign(&"07".repeat(32))), "as anybody makes it of the digest");
    assert_eq!(asked["consent_version"], 2, "{asked}");
    let good = phone.consent(&asked);
    for (field, value, code) in [
        ("item", json!("liquidation"), "consent_item"),
        ("flow", json!("login"), "consent_item"),
        ("app", json!("sandbox-portal"), "consent_app"),
        ("nonce", json!("00".repeat(16)), "consent_session"),
        ("digest", json!("08".repeat(32)), "consent_digest"),
        ("digest", Value::Null, "consent_digest"),
        ("fields", json!(["name"]), "consent_fields"),
        ("uscc", json!("91610200MAXTA00240"), "consent_enterprise"),
        ("at", json!(now(-1000)), "clock_skew"),
        ("at", json!(now(1000)), "clock_skew"),
        ("at", json!("today"), "consent_malformed"),
        ("role", json!("owner"), "consent_malformed"),
        ("v", json!(1), "consent_malformed"),
        ("v", json!(3), "consent_malformed"),
        // What the phone showed is what is signed, word for word.
        ("app_name", json!("税务局"), "consent_shown"),
        ("app_name", Value::Null, "consent_shown"),
        ("item_name", json!("注销登记"), "consent_shown"),
        ("item_name", Value::Null, "consent_shown"),
        ("biz_no", json!("2026-0002"), "consent_shown"),
        ("biz_no", Value::Null, "consent_shown"),
        ("text", json!("借款合同"), "consent_shown"),
        ("text", Value::Null, "consent_shown"),
        ("stamp_id", json!("20260101-0000000000"), "consent_shown"),
        ("stamp_id", Value::Null, "consent_shown"),
        ("more", json!(1), "consent_malformed"),
    ] {
        let mut consent = good.clone();
        consent[field] = value;
        refused(phone.confirm(site, &consent), 422, code);
    }
    let text = good.to_string();
    let signature = phone.sign(&text);
    let other = Phone::with(site, "A-good-2");
    refused(phone.bring(site, id(&session), &text, &other.sign(&text)), 422, "consent_signature_invalid");
    let altered = text.replace("\"v\":2", "\"v\": 2");
    refused(phone.bring(site, id(&session), &altered, &signature), 422, "consent_signature_invalid");
    refused(phone.bring(site, id(&session), &text, "AAAA"), 422, "consent_signature_invalid");
    refused(phone.bring(site, id(&session), &text, "!"), 422, "invalid_base64");
    refused(phone.bring(site, id(&session), "{", &signature), 422, "consent_malformed");

    // The digest is signed by the same key, as it is signed in a document, or nothing is agreed to.
    let co_signed = |of: Option<&str>| phone.bring_all(site, id(&session), &text, &signature, of);
    refused(co_signed(None), 422, "missing_field");
    let attributes = to_sign(&"07".repeat(32));
    for wrong in [
        other.sign(&attributes),
        phone.sign(to_sign(&"08".repeat(32))),
        phone.sign([7; 32]),
        signature.clone(),
        "AAAA".to_owned(),
    ] {
        refused(co_signed(Some(&wrong)), 422, "digest_signature_invalid");
    }
    refused(co_signed(Some("!")), 422, "invalid_base64");

    for (role, authorisation, code) in [
        ("agent", Value::Null, "authorisation_missing"),
        ("agent", json!({"id": "A1", "items": ["other"], "until": now(600)}), "authorisation_not_for_item"),
        ("agent", json!({"id": "A1", "until": now(-1)}), "authorisation_expired"),
        ("administrator", json!({"id": "A1", "until": now(600)}), "role_not_permitted"),
    ] {
        let mut consent = good.clone();
        consent["role"] = role.into();
        consent["authorisation"] = authorisation;
        refused(phone.confirm(site, &consent), 403, code);
    }
    let mut stranger = good.clone();
    stranger["role"] = "legal_representative".into();
    stranger["operator"] = "无此人".into();
    refused(phone.confirm(site, &stranger), 403, "role_not_permitted");

    // None of it used the session up.
    let mut consent = good;
    consent["role"] = "agent".into();
    consent["authorisation"] = json!({"id": "A1", "items": ["annual-report"], "until": now(600)});
    phone.confirm(site, &consent).expect(200);
    let result = consume(site.app(), &session).expect(200).json()["result"].clone();
    assert_eq!((&result["digest"], &result["role"]["opertype"]), (&json!("07".repeat(32)), &json!(2)));
    assert_eq!(result["authorisation"]["id"], "A1");
    assert_eq!(result["assurance"], "urn:cn:elicense:3");
    // The co-signature is one that others read and judge: what the license's key signed of this digest.
    let signed = result["digest_signature"].as_str().unwrap();
    for (digest, verdict) in [(7, "valid"), (8, "invalid")] {
        let question = json!({
            "format": "cms", "algorithm": "sm2-sm3", "input": {"digest": base64(&[digest; 32])}, "signature": signed,
        });
        let answer = site.app().post("/v1/verifications", &question).expect(200);
        answer.expect_verdict(verdict);
    }
}

#[test]
fn what_a_phone_is_refused_is_on_record_so_many_times() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let session = begun(site.app(), &order());
    phone.scan(site, &session).expect(200);
    for _ in 0..22 {
        refused(phone.bring(site, id(&session), "{", "AAAA"), 422, "consent_malformed");
    }
    let about = |entry: &&Value| {
        entry["subject"] == refusal_of(site, &session) && entry["outcome"] == "consent_malformed"
    };
    assert_eq!(site.audit().iter().filter(about).count(), 20);
}

#[test]
fn a_consent_serves_its_own_session_only_and_nothing_where_none_was_asked_to_be_signed() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let (first, second) = (begun(site.app(), &order()), begun(site.app(), &order()));
    let asked = phone.scan(site, &first).expect(200).json();
    let again = phone.scan(site, &second).expect(200).json();
    assert_ne!(asked["nonce"], again["nonce"]);
    let text = phone.consent(&asked).to_string();
    let signature = phone.sign(&text);
    // The same app, matter, license and phone: what was signed for the one is none for the other.
    refused(phone.bring(site, id(&second), &text, &signature), 422, "consent_session");
    let mut forged = phone.consent(&asked);
    forged["qrid"] = second["session"].clone();
    refused(phone.confirm(site, &forged), 422, "consent_session");
    // Nothing was to be signed.
    let more = Some(signature.as_str());
    refused(phone.bring_all(site, id(&first), &text, &signature, more), 422, "unexpected_field");
    phone.bring(site, id(&first), &text, &signature).expect(200);
    consume(site.app(), &first).expect(200);
    // Nor does it bring back a session that is over: the phone is told how that ended, and it is had no second time.
    let late = phone.bring(site, id(&first), &text, &signature).expect(200).json();
    assert_eq!(late["state"], "consumed");
    refused(consume(site.app(), &first), 409, "session_consumed");
    assert_eq!(state(site.app(), &second), "scanned");
    // Each refusal is on record with the session that it was brought to.
    let refusals: Vec<_> = site
        .audit()
        .into_iter()
        .filter(|entry| entry["action"] == "session.confirm" && entry["outcome"] == "consent_session")
        .filter(|entry| entry["subject"] == refusal_of(site, &second))
        .collect();
    assert_eq!(refusals.len(), 2);
}

#[test]
fn who_may_not_see_a_license_gets_the_sites_word_and_not_the_license() {
    let site = &shared().site;
    let app = site.app_number(1);
    let phone = Phone::good(site);
    let mut signing = order();
    signing["flow"] = "sign".into();
    signing["digest"] = base64(&[9; 32]).into();
    signing["text"] = "承诺书".into();
    let session = begun(&app, &signing);
    let asked = phone.scan(site, &session).expect(200).json();
    let consent = phone.consent(&asked);
    phone.confirm(site, &consent).expect(200);
    let answer = consume(&app, &session).expect(200).json();
    for member in ["consent", "consent_signature", "license"] {
        assert!(answer.get(member).is_none(), "{member}: {answer:#}");
    }
    let result = &answer["result"];
    for member in ["digest_signature", "operator", "face"] {
        assert!(result.get(member).is_none(), "{member}: {result:#}");
    }
    assert_eq!((&result["uscc"], &result["digest"]), (&json!(phone.uscc), &json!("09".repeat(32))));
    let scratch = Scratch::new();
    scratch.write("consent", consent.to_string());
    let digest = scratch.openssl("dgst -sm3 -r consent").expect("openssl digests").text;
    assert_eq!(
        result["consent_sm3"],
        digest.split(' ').next().unwrap(),
        "what the site keeps can be asked for"
    );
    // Nor does a stamp show it the license.
    let stamp = json!({
        "format": "digest", "digest": base64(&[9; 32]), "signer": {"session": session["session"]},
    });
    refused(app.post("/v1/stamps", &stamp), 403, "license_not_granted");
    let known = site.app().get(&format!("/v1/licenses/{}/face", phone.uscc)).expect(200).json();
    let person = known["face"]["legal_representative"].as_str().unwrap();
    assert!(!answer.to_string().contains(person), "{person}: {answer:#}");
    let front = app.get("/v1/keys/front-sm2").expect(200).json();
    let (public, text) = (front["public_key"].as_str().unwrap(), answer["result_text"].as_str().unwrap());
    assert!(verifies(public, text, answer["result_signature"].as_str().unwrap()));
}

#[test]
fn only_a_license_that_may_be_used_now_confirms() {
    let site = Site::start();
    for (stem, code) in [
        ("A-expired", "license_expired"),
        ("A-revoked", "license_revoked"),
        ("A-tampered", "license_chain_invalid"),
    ] {
        let phone = Phone::with(&site, stem);
        let session = begun(site.app(), &order());
        let asked = phone.scan(&site, &session).expect(200).json();
        refused(phone.confirm(&site, &phone.consent(&asked)), 403, code);
    }
    let phone = Phone::good(&site);
    let standing = |code| phone.stands(&site, code);
    // As the register has it at the moment of the consent, not of the scan.
    let session = begun(site.app(), &order());
    let asked = phone.scan(&site, &session).expect(200).json();
    for code in [2, 4] {
        standing(code);
        refused(phone.confirm(&site, &phone.consent(&asked)), 403, "status_not_permitted");
    }
    standing(2);
    // What the app takes the site's table may still refuse: as this enterprise stands, all but its liquidation.
    let mut winding_up = order();
    winding_up["statuses"] = json!([1, 2]);
    let session = begun(site.app(), &winding_up);
    let asked = phone.scan(&site, &session).expect(200).json();
    refused(phone.confirm(&site, &phone.consent(&asked)), 403, "item_not_permitted");
    winding_up["item"] = "liquidation".into();
    let session = begun(site.app(), &winding_up);
    let asked = phone.scan(&site, &session).expect(200).json();
    phone.confirm(&site, &phone.consent(&asked)).expect(200);
    let result = consume(site.app(), &session).expect(200).json()["result"].clone();
    assert_eq!((&result["status"]["code"], &result["decision"]["marked"]), (&json!(2), &json!(true)));
    assert_eq!(result["decision"]["standing"], "吊销,未注销");

    // An enterprise of another register is nobody here, however good its license is.
    let stranger = Phone::with(&site, "A-good-3");
    in_database(&site, &format!("DELETE FROM entities WHERE uscc = '{}'", stranger.uscc));
    let session = begun(site.app(), &order());
    let asked = stranger.scan(&site, &session).expect(200).json();
    refused(stranger.confirm(&site, &stranger.consent(&asked)), 404, "license_unknown");

    // What a holder lets be read is what is read.
    standing(1);
    let mut reading = order();
    reading["flow"] = "authorise".into();
    reading["fields"] = json!(["name", "domicile", "business_scope"]);
    let session = begun(site.app(), &reading);
    let asked = phone.scan(&site, &session).expect(200).json();
    let mut consent = phone.consent(&asked);
    consent["fields"] = json!(["name", "holder"]);
    refused(phone.confirm(&site, &consent), 422, "consent_fields");
    consent["fields"] = json!(["name", "domicile"]);
    phone.confirm(&site, &consent).expect(200);
    let face = consume(site.app(), &session).expect(200).json()["result"]["face"].clone();
    let names: Vec<_> = face.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["domicile", "name"]);
    reading["fields"] = json!(["name", "domicile"]);
    refused(site.app_number(1).post(PATH, &reading), 422, "field_not_granted");
}

/// Where the national service says how a holder stands, what it does not say lets nobody in, and what it says later does.
#[test]
fn nobody_is_let_in_on_a_standing_that_is_not_known() {
    let national = National::start(None);
    let site = national_site(&national, "failures = 1000\ncache_s = 0\ntimeout_ms = 20000", "");
    let phone = Phone::good(&site);
    let session = begun(site.app(), &order());
    let asked = phone.scan(&site, &session).expect(200).json();
    let known = |entity: Value| json!({"entities": {phone.uscc.as_str(): entity}});
    for (register, status, code) in [
        (json!({"fault": "error", "entities": {}}), 503, "status_unavailable"),
        (json!({"entities": {}}), 403, "status_unknown"),
        (known(json!({"status": 1, "as_of": "2020-01-01T00:00:00Z"})), 403, "status_stale"),
        (known(json!({"status": 1, "as_of": "2120-01-01T00:00:00Z"})), 403, "status_malformed"),
        (known(json!({"status": 4})), 403, "status_not_permitted"),
    ] {
        national.says(&register);
        let answer = phone.confirm(&site, &phone.consent(&asked));
        assert_eq!(answer.header("retry-after").is_empty(), status != 503, "{code}");
        refused(answer, status, code);
    }
    national.says(&known(json!({"status": 1})));
    phone.confirm(&site, &phone.consent(&asked)).expect(200);
    consume(site.app(), &session).expect(200);
    let about = |entry: &&Value| {
        entry["action"] == "session.confirm" && entry["subject"] == refusal_of(&site, &session)
    };
    let outcomes: BTreeSet<String> = site
        .audit()
        .iter()
        .filter(about)
        .map(|entry| entry["outcome"].as_str().unwrap().to_owned())
        .collect();
    let wanted =
        ["status_malformed", "status_not_permitted", "status_stale", "status_unavailable", "status_unknown"];
    assert_eq!(outcomes, BTreeSet::from(wanted.map(str::to_owned)), "each refusal is on record");
}

#[test]
fn a_code_of_another_site_or_with_another_text_is_none() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let session = begun(site.app(), &order());
    let text = session["qr_text"].as_str().unwrap();
    let moved = text.replace("\"expires\":", "\"expires\":1");
    let spaced = text.replace(",\"qrid\"", ", \"qrid\"");
    for (qr, code) in
        [(moved.as_str(), "qr_signature_invalid"), (&spaced, "qr_malformed"), ("", "qr_malformed")]
    {
        refused(phone.scan(site, &json!({"qr_text": qr})), 422, code);
    }
    assert_eq!(state(site.app(), &session), "created");
}

#[test]
fn a_bad_order_is_refused_by_field() {
    let site = &shared().site;
    for (field, value, code) in [
        ("flow", json!("show"), "invalid_value"),
        ("item", json!("no-such-item"), "item_unknown"),
        ("item", json!("a\nb"), "invalid_value"),
        ("item", json!(""), "invalid_value"),
        ("item_name", json!(" a"), "invalid_value"),
        ("biz_no", json!("a\nb"), "invalid_value"),
        ("roles", json!([]), "invalid_value"),
        ("roles", json!(["owner"]), "invalid_value"),
        ("statuses", json!([4]), "invalid_value"),
        ("digest", json!(base64(&[1; 32])), "unexpected_field"),
        ("fields", json!(["name"]), "invalid_value"),
        ("ttl", json!(29), "out_of_range"),
        ("ttl", json!(601), "out_of_range"),
    ] {
        let mut order = order();
        order[field] = value;
        let problem = site.app().post(PATH, &order).expect(422).json();
        assert_eq!(
            (&problem["code"], &problem["errors"][0]["field"]),
            (&json!(code), &json!(field)),
            "{problem:#}"
        );
    }
    // Fields are those of a face, each once: no word that a grant is made in.
    for fields in [json!(["*"]), json!(["holder_full"]), json!(["name", "nothing"]), json!(["name", "name"])]
    {
        let mut order = order();
        order["flow"] = "authorise".into();
        order["fields"] = fields;
        let problem = site.app().post(PATH, &order).expect(422).json();
        assert_eq!(
            (&problem["code"], &problem["errors"][0]["field"]),
            (&json!("invalid_value"), &json!("fields")),
            "{problem:#}"
        );
    }
    // Some items are for some roles; who may, the phone is told.
    let mut appointing = order();
    appointing["item"] = "appoint-administrator".into();
    let session = begun(site.app(), &appointing);
    let asked = Phone::good(site).scan(site, &session).expect(200).json();
    assert_eq!(asked["roles"], json!(["legal_representative"]));
    appointing["roles"] = json!(["administrator"]);
    refused(site.app().post(PATH, &appointing), 422, "role_not_permitted");

    let session = begun(site.app(), &order());
    let path = format!("{PATH}/{}?version=1&wait=26", id(&session));
    refused(site.app().get(&path), 422, "out_of_range");
    let short = json!({"qr": session["qr_text"], "phone": base64(b"short")});
    refused(site.stranger(None).post("/v1/phone/sessions:scan", &short), 422, "invalid_value");
}
