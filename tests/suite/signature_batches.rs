//! `POST /v1/signatures:batch`: each order has its answer, one entry in the audit log stands for all.

use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use sm3::{Digest as _, Sm3};
use tests::{Answer, Caller, Folder, Scratch, Site, base64, items_root, shared, unbase64};

const PATH: &str = "/v1/signatures:batch";

fn order(key: &str, algorithm: &str, message: &str) -> Value {
    json!({"key": key, "algorithm": algorithm, "input": {"data": base64(message.as_bytes())}})
}

fn sm2(message: &str) -> Value {
    order("demo-sm2", "sm2-sm3", message)
}

fn post(app: &Caller, key: Option<&str>, items: &[Value]) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    app.send("POST", PATH, &headers, Some(json!({"items": items}).to_string().as_bytes()))
}

/// A site whose time is never up, however busy the machine is.
fn patient() -> &'static Site {
    static PATIENT: LazyLock<Site> = LazyLock::new(|| {
        let folder = Folder::init();
        folder.configure("[server]\n", "[server]\nrequest_deadline_ms = 300000\n");
        folder.configure("[fleet]\n", "[fleet]\ndeadline_ms = 60000\n");
        folder.serve()
    });
    &PATIENT
}

/// Somebody who waits as long as that site takes.
fn patient_app(number: usize) -> Caller {
    let key = patient().sandbox()["apps"][number]["api_key"].as_str();
    Caller::patient(patient().base(), key, Duration::from_secs(360))
}

/// The one entry about a batch; that it was refused may be on record besides.
fn entry(site: &Site, answer: &Answer) -> Value {
    let id = answer.json()["request_id"].clone();
    let mut entries = site.audit();
    entries.retain(|entry| entry["request_id"] == id && entry["action"] == "signature.batch");
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

#[test]
fn good_orders_are_signed_bad_ones_refused_and_all_stand_behind_one_entry() {
    let site = &shared().site;
    let items = [
        sm2("one"),
        json!({}),
        order("demo-p256", "ecdsa-p256-sha256", "two"),
        order("no-such-key", "sm2-sm3", "three"),
        json!("text"),
        order("demo-p256", "sm2-sm3", "four"),
        order("front-sm2", "sm2-sm3", "five"),
        json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"digest": "AAAA"}, "group": "bureau"}),
        json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": ""}, "format": "cms"}),
        order("demo-rsa2048", "rsa-pss-sha256", "six"),
    ];
    let codes = [
        "",
        "missing_field",
        "",
        "unknown_key",
        "invalid_type",
        "algorithm_mismatch",
        "key_not_permitted",
        "digest_length",
        "",
        "",
    ];
    let answer = post(site.app(), None, &items).expect(200);
    let json = answer.json();
    let answers = json["items"].as_array().unwrap();
    assert_eq!(answers.len(), items.len());
    let mut records = Vec::new();
    for ((item, code), order) in answers.iter().zip(codes).zip(&items) {
        let text = item["audit_record"].as_str().unwrap();
        let record: Value = serde_json::from_str(text).unwrap();
        records.push(text);
        if code.is_empty() {
            assert_eq!((&item["key"], &item["algorithm"]), (&order["key"], &order["algorithm"]), "{item}");
            let signature = unbase64(item["signature"].as_str().unwrap());
            assert_eq!(record["result_digest"], hex::encode(Sm3::digest(&signature)), "{record}");
            assert_eq!((&record["device"], &record["outcome"]), (&item["device"], &json!("ok")));
            assert_eq!(record["input_digest"].as_str().unwrap().len(), 64);
        } else {
            let problem = &item["problem"];
            assert_eq!((&problem["code"], &record["outcome"]), (&json!(code), &json!(code)), "{item}");
            assert_eq!(problem["request_id"], json["request_id"]);
            assert!(item["signature"].is_null());
        }
    }
    let entry = entry(site, &answer);
    assert_eq!(json["items_root"], items_root(&records));
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("signature.batch"), &json!("ok")));
    assert_eq!(entry["input_digest"], json["items_root"]);
    assert_eq!(entry["subject"], "4 of 10 signed: demo-p256 1, demo-rsa2048 1, demo-sm2 2");
    let at = usize::try_from(json["audit_index"].as_u64().unwrap()).unwrap();
    assert_eq!(site.audit()[at], entry);
}

#[test]
fn openssl_accepts_every_signature_of_a_batch_over_its_own_message() {
    let site = &shared().site;
    let scratch = Scratch::new();
    let kinds = [("demo-sm2", "sm2-sm3", "-sm3"), ("demo-p256", "ecdsa-p256-sha256", "-sha256")];
    let mut items = Vec::new();
    for number in 0..12 {
        let (key, algorithm, _) = kinds[number % kinds.len()];
        items.push(order(key, algorithm, &format!("message {number}")));
    }
    let answer = post(site.app(), None, &items).expect(200).json();
    for (key, ..) in kinds {
        let public_key = site.app().get(&format!("/v1/keys/{key}")).expect(200).json();
        scratch.write(&format!("{key}.pem"), public_key["public_key"].as_str().unwrap());
    }
    for (number, item) in answer["items"].as_array().unwrap().iter().enumerate() {
        let (key, _, digest) = kinds[number % kinds.len()];
        scratch.write("message", format!("message {number}"));
        scratch.write("signature", unbase64(item["signature"].as_str().unwrap()));
        let key = format!("{key}.pem");
        let id = if digest == "-sm3" { "-sigopt distid:1234567812345678" } else { "" };
        let verify = format!("dgst {digest} -verify {key} {id} -signature signature message");
        scratch.openssl(&verify).expect("openssl verifies it");
    }
}

#[test]
fn a_thousand_orders_are_signed_and_one_more_is_refused() {
    let (site, app) = (patient(), patient_app(0));
    let mut items: Vec<_> = (0..1_000).map(|number| sm2(&format!("of many {number}"))).collect();
    let answer = post(&app, Some("batch-thousand"), &items).expect(200);
    let json = answer.json();
    let signed: std::collections::BTreeSet<_> =
        json["items"].as_array().unwrap().iter().map(|item| item["signature"].as_str().unwrap()).collect();
    assert_eq!(signed.len(), 1_000);
    assert_eq!(entry(site, &answer)["subject"], "1000 of 1000 signed: demo-sm2 1000");
    let again = post(&app, Some("batch-thousand"), &items).expect(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert!(again.text() == answer.text(), "octet for octet");

    items.push(sm2("one too many"));
    let refused = post(site.app(), None, &items).expect(422).json();
    assert_eq!((&refused["code"], &refused["errors"][0]["field"]), (&json!("batch_size"), &json!("items")));
    assert_eq!(post(site.app(), None, &[]).expect(422).json()["code"], "batch_size");
}

#[test]
fn a_batch_larger_than_another_body_may_be_is_taken_with_and_without_a_key() {
    let site = &shared().site;
    let items: Vec<_> = (0..3).map(|_| sm2(&"x".repeat(600_000))).collect();
    for key in [None, Some("batch-large")] {
        let answer = post(site.app(), key, &items).expect(200).json();
        assert!(answer["items"].as_array().unwrap().iter().all(|item| item["signature"].is_string()));
    }
    let items: Vec<_> = (0..17).map(|_| sm2(&"x".repeat(900_000))).collect();
    for key in [None, Some("batch-too-large")] {
        assert_eq!(post(site.app(), key, &items).expect(413).json()["code"], "body_too_large");
    }
}

#[test]
fn an_answer_too_large_to_be_kept_is_said_to_be_so() {
    let site = &shared().site;
    let mut attached = sm2(&"x".repeat(800_000));
    attached["format"] = "cms".into();
    let items = vec![attached; 5];
    let first = post(site.app(), Some("batch-heavy"), &items).expect(200);
    assert!(first.body.len() > 4 << 20);
    let again = post(site.app(), Some("batch-heavy"), &items).expect(409);
    assert_eq!(again.json()["code"], "idempotency_answer_not_kept");
    assert_eq!(again.json()["request_id"], first.json()["request_id"], "the one that did it");
}

#[test]
fn a_batch_sent_by_many_at_once_under_one_key_is_carried_out_once() {
    const AT_ONCE: usize = 8;
    let site = &shared().site;
    let items = [sm2("a"), json!({}), order("demo-p256", "ecdsa-p256-sha256", "b")];
    let start = Barrier::new(AT_ONCE);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let send = || {
            let app = Caller::new(site.base(), site.sandbox()["apps"][0]["api_key"].as_str());
            start.wait();
            post(&app, Some("batch-together"), &items).expect(200)
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.text() == answers[0].text()));
    let done = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty());
    assert_eq!(done.count(), 1);
    entry(site, &answers[0]);
    let other = post(site.app(), Some("batch-together"), &[sm2("a")]).expect(409);
    assert_eq!(other.json()["code"], "idempotency_mismatch");
}

#[test]
fn a_batch_of_which_nothing_can_be_signed_now_is_refused_as_a_whole_and_its_key_stays_free() {
    let site = Site::start();
    let items = [order("portal-sm2", "sm2-sm3", "later"), json!({}), order("portal-sm2", "sm2-sm3", "also")];
    let operator = site.app_number(2);
    for device in ["d8", "d9"] {
        operator
            .post(&format!("/v1/devices/{device}/maintain"), &json!({"reason": "both at once"}))
            .expect(200);
    }
    let refused = post(site.app(), Some("batch-later"), &items).expect(503);
    assert_eq!(refused.json()["code"], "devices_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(entry(&site, &refused)["outcome"], "nothing_signed");
    // The other group's items are signed all the same.
    let mixed = post(site.app(), None, &[items[0].clone(), sm2("now")]).expect(200).json();
    assert_eq!(mixed["items"][0]["problem"]["code"], "devices_unavailable");
    assert!(mixed["items"][1]["signature"].is_string());

    for device in ["d8", "d9"] {
        operator.post(&format!("/v1/devices/{device}/resume"), &json!({"reason": "done"})).expect(200);
    }
    tests::eventually("the group signs again", Duration::from_secs(60), || {
        (post(site.app(), Some("batch-later"), &items).status == 200).then_some(())
    });
    let done = post(site.app(), Some("batch-later"), &items).expect(200);
    assert_eq!(done.header("idempotency-replayed"), "true");
    assert_eq!(done.json()["items"][1]["problem"]["code"], "missing_field");
}

#[test]
fn an_app_without_the_scope_signs_no_batch() {
    let site = &shared().site;
    let refused = post(&site.app_number(2), None, &[sm2("not mine")]).expect(403);
    assert_eq!(refused.json()["code"], "scope_missing");
}

#[test]
fn a_batch_leaves_room_for_single_signatures() {
    let (app, other) = (patient_app(0), patient_app(1));
    let items: Vec<_> = (0..1_000).map(|number| sm2(&format!("busy {number}"))).collect();
    std::thread::scope(|scope| {
        let batches: Vec<_> = (0..3).map(|_| scope.spawn(|| post(&app, None, &items).expect(200))).collect();
        let mut signed = 0;
        while !batches.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            other.post("/v1/signatures", &sm2("between")).expect(201);
            signed += 1;
        }
        assert!(signed > 0);
        for batch in batches {
            let answer = batch.join().unwrap().json();
            assert!(answer["items"].as_array().unwrap().iter().all(|item| item["signature"].is_string()));
        }
    });
}
