//! Enterprises stamp by the key of their license, on a phone: what it signed gets into the document, and nothing else does.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Site, base64, eventually, repository, shared, unbase64};

use crate::phone::Phone;
use crate::sessions::{begun, consume, id, refused};

const SOON: Duration = Duration::from_secs(60);
const PATH: &str = "/v1/sessions:stamp";

fn pdf() -> Value {
    let document = std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap();
    json!({
        "format": "pdf", "document": base64(&document), "field": "Enterprise", "reason": "年度报告",
        "appearance": {
            "text": ["电子营业执照签章", "{stamp_id}", "{check_code}"],
            "places": [{"kind": "rect", "pages": "1", "left": 120.0, "top": 20.0, "width": 70.0, "height": 25.0}],
        },
    })
}

fn ofd() -> Value {
    let document = std::fs::read(repository().join("formats/tests/data/easyofd.ofd")).unwrap();
    json!({"format": "ofd", "document": base64(&document)})
}

/// What is asked of whom.
fn order(stamp: &Value) -> Value {
    let session = json!({
        "flow": "sign", "item": "annual-report", "item_name": "年度报告", "text": "年度报告书",
    });
    json!({"session": session, "stamp": stamp})
}

fn foreseen(app: &Caller, stamp: &Value) -> Value {
    app.post(PATH, &order(stamp)).expect(201).json()
}

/// Has a phone sign what a session asks.
fn confirmed(site: &Site, session: &Value) -> Phone {
    let phone = Phone::good(site);
    let asked = phone.scan(site, session).expect(200).json();
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    phone
}

fn stamped(app: &Caller, stamp: &Value, session: &Value) -> Answer {
    let mut stamp = stamp.clone();
    stamp["signer"] = json!({"session": session["session"]});
    app.post("/v1/stamps", &stamp)
}

/// What an answer says of a stamp.
fn told(answer: &Value) -> Value {
    let mut told = answer.clone();
    told.as_object_mut().unwrap().remove("request_id");
    told
}

fn told_again(answer: Answer) -> Value {
    told(&answer.expect(201).json())
}

fn judged(site: &Site, document: &Value) -> Value {
    site.app().post("/v1/stamps:verify", &json!({"document": document})).expect(200).json()
}

#[test]
fn what_a_phone_signed_is_in_the_document_and_verifies() {
    let site = &shared().site;
    let app = site.app();
    for (order, format) in [(pdf(), "pdf"), (ofd(), "ofd")] {
        let session = foreseen(app, &order);
        refused(stamped(app, &order, &session), 409, "session_not_confirmed");
        let phone = confirmed(site, &session);
        refused(stamped(app, &order, &session), 409, "session_not_consumed");
        consume(app, &session).expect(200);
        let answer = stamped(app, &order, &session).expect(201).json();
        assert_eq!(
            (&answer["stamp_id"], &answer["device"]),
            (&session["stamp_id"], &json!("phone")),
            "{answer}"
        );
        assert_eq!(answer["certificate"].as_str().unwrap().trim(), phone.license.trim());

        let verdict = judged(site, &answer["document"]);
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        assert_eq!(verdict["signatures"].as_array().unwrap().len(), 1, "{verdict:#}");
        // The register has it, and whoever has its code is shown whose license signed.
        let found =
            app.get(&format!("/v1/stamps/{}", answer["stamp_id"].as_str().unwrap())).expect(200).json();
        assert_eq!((&found["format"], &found["level"]), (&json!(format), &json!("B-B")));
        assert!(found["key"].as_str().unwrap().starts_with("license."), "{found}");
        let check = format!("/verify/{}", answer["check_code"].as_str().unwrap());
        let accept = [("accept", "application/json")];
        let page = site.stranger(None).send("GET", &check, &accept, None).expect(200).json();
        assert_eq!(page["signer"]["certificate"].as_str().unwrap().trim(), phone.license.trim(), "{page}");
        let entry = site.audit().into_iter().find(|entry| entry["subject"] == answer["stamp_id"]).unwrap();
        assert_eq!(
            (&entry["device"], &entry["key"], &entry["outcome"]),
            (&json!("phone"), &found["key"], &json!("ok"))
        );

        // Once: whoever lost the answer is told the same again, and nothing more is on record.
        assert_eq!(told_again(stamped(app, &order, &session)), told(&answer));
        let about = |entry: &&Value| entry["subject"] == answer["stamp_id"];
        assert_eq!(site.audit().iter().filter(about).count(), 1);
    }
}

#[test]
fn a_digest_that_a_phone_signed_is_entered_too() {
    let site = &shared().site;
    let app = site.app();
    let order = json!({"format": "digest", "digest": base64(&[3; 32])});
    let session = foreseen(app, &order);
    confirmed(site, &session);
    let result = consume(app, &session).expect(200).json()["result"].clone();
    assert_eq!(result["digest"], "03".repeat(32));
    let answer = stamped(app, &order, &session).expect(201).json();
    assert_eq!(answer["signature"], result["digest_signature"], "one signature, whoever asks for it");
    // A session that was begun for a digest alone serves as well: the app has the document elsewhere.
    let plain = json!({
        "flow": "sign", "item": "annual-report", "item_name": "年度报告", "text": "附件", "digest": base64(&[4; 32]),
    });
    let session = begun(app, &plain);
    confirmed(site, &session);
    consume(app, &session).expect(200);
    refused(stamped(app, &order, &session), 422, "stamp_differs");
    let order = json!({"format": "digest", "digest": base64(&[4; 32])});
    let answer = stamped(app, &order, &session).expect(201).json();
    // One signature, one stamp, whichever way the session was begun.
    assert_eq!(answer["stamp_id"], session["stamp_id"]);
    assert_eq!(told_again(stamped(app, &order, &session)), told(&answer));
    // Of something else there is none.
    let other = json!({"format": "digest", "digest": base64(&[3; 32])});
    refused(stamped(app, &other, &session), 422, "stamp_differs");
}

#[test]
fn the_gateway_beside_tells_again_in_whose_log_a_stamp_is() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let session = foreseen(first.app(), &pdf());
    confirmed(&first, &session);
    consume(first.app(), &session).expect(200);
    let answer = stamped(first.app(), &pdf(), &session).expect(201).json();
    assert_eq!(told_again(stamped(second.app(), &pdf(), &session)), told(&answer));
    // That one has another log.
    let mut own = pdf();
    own["signer"] = json!({"key": "demo-sm2"});
    let own = second.app().post("/v1/stamps", &own).expect(201).json();
    assert_ne!(own["audit_log"], answer["audit_log"], "{}", own["audit_log"]);
    drop((first, second));
    drop(server);
}

#[test]
fn an_answer_that_is_told_again_is_kept_under_no_key() {
    let site = &shared().site;
    let app = site.app();
    let mut order = json!({"format": "digest", "digest": base64(&[6; 32])});
    let session = foreseen(app, &order);
    confirmed(site, &session);
    consume(app, &session).expect(200);
    order["signer"] = json!({"session": session["session"]});
    let keyed = |key: &str, order: &Value| {
        let fields = [("content-type", "application/json"), ("idempotency-key", key)];
        app.send("POST", "/v1/stamps", &fields, Some(order.to_string().as_bytes()))
    };
    let key = |name: &str| format!("{name}-{}", id(&session));
    let replayed = |answer: &Answer| answer.header("idempotency-replayed") == "true";
    let made = keyed(&key("made"), &order).expect(201);
    assert!(!replayed(&made));
    let again = keyed(&key("made"), &order).expect(201);
    assert!(replayed(&again), "the stamp itself is kept under its key");
    let made = told(&made.json());
    for _ in 0..2 {
        let answer = keyed(&key("again"), &order).expect(201);
        assert!(!replayed(&answer), "told each time anew");
        assert_eq!(told(&answer.json()), made);
    }
    // Nothing was done under that key: it is free for what somebody does.
    let mut other = json!({"format": "digest", "digest": base64(&[6; 32]), "signer": {"key": "demo-sm2"}});
    other["algorithm"] = "sm2-sm3".into();
    keyed(&key("again"), &other).expect(201);
}

#[test]
fn of_orders_for_one_session_at_once_one_is_stamped() {
    let site = &shared().site;
    let app = site.app();
    let session = foreseen(app, &pdf());
    confirmed(site, &session);
    consume(app, &session).expect(200);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        // Who finds no place comes again.
        let order = || {
            eventually("there is a place", SOON, || {
                Some(stamped(app, &pdf(), &session)).filter(|answer| answer.status != 503)
            })
        };
        let orders: Vec<_> = (0..8).map(|_| scope.spawn(order)).collect();
        orders.into_iter().map(|order| order.join().unwrap()).collect()
    });
    let (made, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert!(!made.is_empty(), "one is made");
    for answer in late {
        refused(answer, 409, "stamp_exists"); // while it was being made
    }
    let told: Vec<Value> = made.into_iter().map(told_again).collect();
    assert!(told.iter().all(|answer| *answer == told[0]), "and all are told of that one");
    assert_eq!(told_again(stamped(app, &pdf(), &session)), told[0]);
    let about = |entry: &&Value| entry["subject"] == session["stamp_id"];
    let entries = site.audit();
    let made = entries.iter().filter(about).filter(|entry| entry["outcome"] == "ok");
    assert_eq!(made.count(), 1, "and is on record once");
}

/// Between the consent and the stamp lies up to a day.
#[test]
fn a_stamp_is_made_by_a_license_that_may_be_used_when_it_is_made() {
    let site = Site::start();
    let order = json!({"format": "digest", "digest": base64(&[5; 32])});
    let session = foreseen(site.app(), &order);
    let phone = confirmed(&site, &session);
    consume(site.app(), &session).expect(200);
    phone.stands(&site, 4);
    refused(stamped(site.app(), &order, &session), 403, "status_not_permitted");
    phone.stands(&site, 1);
    let answer = stamped(site.app(), &order, &session).expect(201).json();
    // What was made then is told of later, however the enterprise stands now: no stamp is made.
    phone.stands(&site, 4);
    assert_eq!(told_again(stamped(site.app(), &order, &session)), told(&answer));
}

#[test]
fn what_was_not_signed_is_not_stamped() {
    let site = &shared().site;
    let app = site.app();
    let session = foreseen(app, &pdf());
    confirmed(site, &session);
    consume(app, &session).expect(200);
    // Another document, or another word about the same one.
    let mut document = unbase64(pdf()["document"].as_str().unwrap());
    document.extend_from_slice(b"\n% one line more\n");
    for (member, value) in [
        ("document", json!(base64(&document))),
        ("reason", json!("贷款合同")),
        ("field", json!("Other")),
        ("certify", json!("no-changes")),
    ] {
        let mut other = pdf();
        other[member] = value;
        refused(stamped(app, &other, &session), 422, "stamp_differs");
    }
    // Another app's session is nobody's.
    refused(stamped(&site.app_number(1), &pdf(), &session), 404, "unknown_session");
    refused(stamped(app, &pdf(), &json!({"session": "none"})), 404, "unknown_session");
    // One in which nothing was to be signed.
    let login = begun(app, &json!({"flow": "login", "item": "annual-report", "item_name": "年度报告"}));
    confirmed(site, &login);
    consume(app, &login).expect(200);
    refused(stamped(app, &pdf(), &login), 422, "session_signs_nothing");
    // Beside other signers, or a key.
    let mut several = pdf();
    several["signers"] = json!([{"signer": {"session": id(&session)}}, {"signer": {"key": "demo-sm2"}}]);
    for member in ["field", "reason", "appearance"] {
        several.as_object_mut().unwrap().remove(member);
    }
    let problem = app.post("/v1/stamps", &several).expect(422).json();
    assert_eq!(problem["errors"][0]["field"], "signers[0].signer.session", "{problem:#}");
    let mut both = pdf();
    both["signer"] = json!({"session": id(&session), "key": "demo-sm2"});
    refused(app.post("/v1/stamps", &both), 422, "ambiguous_input");
    // None of it used the signature up.
    stamped(app, &pdf(), &session).expect(201);
}

#[test]
fn a_stamp_that_a_license_cannot_sign_begins_no_session() {
    let app = shared().site.app();
    for (member, value, field) in [
        ("algorithm", json!("ecdsa-p256-sha256"), "stamp.algorithm"),
        ("family", json!("rfc5652"), "stamp.family"),
        ("level", json!("B-T"), "stamp.level"),
        ("profile", json!("gm-seal"), "stamp.profile"),
        ("seal", json!("31011500000002"), "stamp.seal"),
        ("signer", json!({"key": "demo-sm2"}), "stamp.signer"),
        ("format", json!("docx"), "stamp.format"),
        ("document", json!(base64(b"no document")), "stamp.document"),
        ("existing_field", json!("None"), "stamp.existing_field"),
    ] {
        let mut stamp = pdf();
        stamp[member] = value;
        let problem = app.post(PATH, &order(&stamp)).expect(422).json();
        assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
    }
    for (member, value, field) in [
        ("digest", json!(base64(&[1; 32])), "session.digest"),
        ("flow", json!("login"), "session.digest"),
        ("text", Value::Null, "session.text"),
        ("ttl", json!(1), "session.ttl"),
    ] {
        let mut order = order(&pdf());
        order["session"][member] = value;
        let problem = app.post(PATH, &order).expect(422).json();
        assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
    }
    let operations = shared().site.app_number(2);
    refused(operations.post(PATH, &order(&pdf())), 403, "scope_missing");
}
