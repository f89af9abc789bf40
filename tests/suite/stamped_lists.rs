//! Lists that are stamped with one signature: each item is proved by itself, by us and by a verifier that shares no code.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Folder, Postgres, Ran, Scratch, Site, base64, gateway, repository, shared, unbase64};

use crate::mandates::{Ca, in_force, mandate, signer, site_of, with};

const BRANCHES: [&str; 2] = ["91610100MA0000015Q", "91610100MA0000023K"];

fn openssl_digest(hash: &str, content: &str) -> String {
    let scratch = Scratch::new();
    scratch.write("content", content);
    base64(&scratch.openssl(&format!("dgst -{hash} -binary content")).expect("openssl digests").stdout)
}

/// Items about contents `content 0` and so on.
fn items(hash: &str, size: usize) -> Vec<Value> {
    let item =
        |n| json!({"id": format!("年报/{n}"), "digest": openssl_digest(hash, &format!("content {n}"))});
    (0..size).map(item).collect()
}

fn order(items: &[Value], signer: Value) -> Value {
    json!({"format": "digest", "items": items, "signer": signer})
}

fn stamped(site: &Site, order: &Value) -> Value {
    site.app().post("/v1/stamps", order).expect(201).json()
}

/// The proof of an item, put together as integrators are told to.
fn proof(answer: &Value, items: &[Value], index: usize) -> Value {
    let list = &answer["list"];
    json!({
        "format": "license-gateway list proof 1", "hash": list["hash"], "size": list["size"], "root": list["root"],
        "index": index, "item": items[index], "path": list["paths"][index], "signature": answer["signature"],
    })
}

fn judged(site: &Site, proof: &Value) -> Value {
    let shown = json!({"document": base64(proof.to_string().as_bytes())});
    site.app().post("/v1/stamps:verify", &shown).expect(200).json()
}

fn codes(verdict: &Value) -> Vec<&str> {
    let codes =
        verdict["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap());
    codes.filter(|code| *code != "revocation_not_checked").collect() // offline there are no lists
}

/// What the other verifier says, and whether it accepts.
fn python(proof: &Path, issuer: &Path, content: Option<&Path>) -> Ran {
    let script = repository().join("tests/list_verify.py");
    Ran::of(Command::new("python3").env("PYTHONUTF8", "1").arg(script).arg(proof).arg(issuer).args(content))
}

fn offline(root: &Path, proof: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut ours = Command::new(gateway());
    let ran = ours.args(["verify", "--json", "--trust"]).arg(root).args(more).arg(proof).output().unwrap();
    (ran.status.code(), serde_json::from_slice(&ran.stdout).expect("an object"))
}

#[test]
fn every_item_of_a_list_is_proved_by_itself_to_us_and_to_a_verifier_that_shares_no_code() {
    let site = &shared().site;
    let scratch = Scratch::new();
    for (key, hash, root) in [("demo-sm2", "sm3", "sm2"), ("demo-p256", "sha256", "p256")] {
        let items = items(hash, 5);
        let answer = stamped(site, &order(&items, json!({"key": key})));
        assert_eq!((&answer["list"]["hash"], &answer["list"]["size"]), (&json!(hash), &json!(5)));
        let issuer = site.data().join(format!("pki/issuing/{root}.pem"));
        let root = site.data().join(format!("pki/roots/{root}.pem"));
        for index in 0..items.len() {
            let good = proof(&answer, &items, index);
            let verdict = judged(site, &good);
            assert_eq!(
                (&verdict["verdict"], &verdict["format"], &verdict["proof"]["item"]),
                (&json!("valid"), &json!("list-proof"), &items[index]),
                "{verdict:#}"
            );
            let file = scratch.write("proof.json", good.to_string());
            let content = scratch.write("content", format!("content {index}"));
            let said = python(&file, &issuer, Some(&content)).expect("the other verifier accepts");
            assert!(said.text.starts_with(&format!("valid: 年报/{index} at {index} of 5")), "{}", said.text);
            let with_content = ["--content", content.to_str().unwrap()];
            let (status, ours) = offline(&root, &file, &with_content);
            assert_eq!((status, &ours["type"]), (Some(0), &json!("list-proof")), "{ours:#}");
            let other = scratch.write("other", "another content");
            let (status, ours) = offline(&root, &file, &["--content", other.to_str().unwrap()]);
            assert_eq!((status, codes(&ours)), (Some(1), vec!["list_content_differs"]), "{ours:#}");
            assert!(!python(&file, &issuer, Some(&other)).ok);
        }

        // What is signed is the statement, which anybody makes of the proof.
        let cms = json!({
            "format": "cms", "signature": answer["signature"],
            "input": {"data": base64(answer["list"]["statement"].as_str().unwrap().as_bytes())},
        });
        let verdict = site.app().post("/v1/verifications", &cms).expect(200).json();
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");

        // Register, record and check page say which list it was.
        let registered = format!("/v1/stamps/{}", answer["stamp_id"].as_str().unwrap());
        let registered = site.app().get(&registered).expect(200).json();
        let head = json!({"hash": hash, "size": 5, "root": answer["list"]["root"]});
        assert_eq!((&registered["list"], &registered["format"]), (&head, &json!("digest")), "{registered:#}");
        let page = format!("/verify/{}", answer["check_code"].as_str().unwrap());
        let checked = site.stranger(None).send("GET", &page, &[("accept", "application/json")], None);
        assert_eq!(checked.expect(200).json()["list"], head);
        assert!(site.stranger(None).get(&page).expect(200).text().contains(head["root"].as_str().unwrap()));
        let index = usize::try_from(answer["audit_index"].as_u64().unwrap()).unwrap();
        let entry = &site.audit()[index];
        assert_eq!(
            (&entry["action"], &entry["subject"], &entry["input_digest"]),
            (&json!("stamp.list"), &answer["stamp_id"], &registered["digest"]),
        );
    }
}

#[test]
fn an_altered_proof_is_refused_by_name_and_by_the_other_verifier_too() {
    let site = &shared().site;
    let items = items("sm3", 6);
    let answer = stamped(site, &order(&items, json!({"key": "demo-sm2"})));
    let other = stamped(site, &order(&items[..5], json!({"key": "demo-sm2"})));
    let good = proof(&answer, &items, 2);
    let path = unbase64(good["path"].as_str().unwrap());
    let bent = [&path[..31], &[path[31] ^ 1], &path[32..]].concat();
    let [root, issuer] = ["roots", "issuing"].map(|kind| site.data().join(format!("pki/{kind}/sm2.pem")));
    let scratch = Scratch::new();
    for (name, value, code) in [
        ("item", items[3].clone(), "list_item_not_proved"),
        ("item", with(items[2].clone(), json!({"enterprise": BRANCHES[0]})), "list_item_not_proved"),
        ("item", with(items[2].clone(), json!({"id": "年报/7"})), "list_item_not_proved"),
        ("index", json!(3), "list_item_not_proved"),
        ("index", json!(6), "list_index_out_of_range"),
        ("index", json!(u64::MAX), "list_index_out_of_range"),
        ("path", json!(base64(&bent)), "list_item_not_proved"),
        ("path", json!(base64(&path[..path.len() - 32])), "list_path_length"),
        ("path", json!(base64(&path[..path.len() - 1])), "list_path_length"),
        ("path", json!(base64(&[&path[..], &[0; 32]].concat())), "list_path_length"),
        ("path", json!(""), "list_path_length"),
        ("root", other["list"]["root"].clone(), "list_item_not_proved"),
        ("root", other["list"]["root"].clone(), "digest_mismatch"),
        ("size", json!(8), "digest_mismatch"),
        ("hash", json!("sha256"), "digest_mismatch"),
        ("signature", other["signature"].clone(), "digest_mismatch"),
    ] {
        let bad = with(good.clone(), json!({name: value}));
        let verdict = judged(site, &bad);
        assert_eq!(verdict["verdict"], "invalid", "{bad:#} {verdict:#}");
        assert!(codes(&verdict).contains(&code), "{code} of {name}: {verdict:#}");
        let file = scratch.write("proof.json", bad.to_string());
        let (status, ours) = offline(&root, &file, &[]);
        assert_eq!((status, codes(&ours)), (Some(1), codes(&verdict)), "{ours:#}");
        assert!(!python(&file, &issuer, None).ok, "{bad:#}");
    }
    // A whole list of another root, with another's signature.
    let foreign = with(proof(&other, &items, 2), json!({"signature": answer["signature"]}));
    assert_eq!(codes(&judged(site, &foreign)), ["digest_mismatch"]);
    // What is no proof.
    let file = scratch.write("proof.json", with(good.clone(), json!({"more": 1})).to_string());
    let (status, ours) = offline(&root, &file, &[]);
    assert_eq!((status, codes(&ours)), (Some(2), vec!["malformed"]), "{ours:#}");
    assert_eq!(judged(site, &with(good.clone(), json!({"hash": "md5"})))["verdict"], "invalid");
    let text =
        Ran::of(Command::new(gateway()).args(["verify", "--lang", "zh", "--trust"]).arg(&root).arg(&file))
            .text;
    assert!(text.contains("无效") && text.contains("清单"), "{text}");
}

#[test]
fn what_is_no_list_is_refused_before_anything_is_signed() {
    let site = &shared().site;
    let good = items("sha256", 3);
    let key = || json!({"key": "demo-p256"});
    let item = |change: Value| {
        let mut items = good.clone();
        items[1] = with(items[1].clone(), change);
        order(&items, key())
    };
    let before = site.audit().len();
    for (body, field, code) in [
        (order(&[], key()), "items", "batch_size"),
        (order(&vec![json!({"id": "a", "digest": "AA=="}); 10_001], key()), "items", "batch_size"),
        (item(json!({"id": good[0]["id"]})), "items[1].id", "duplicate_item"),
        (item(json!({"id": ""})), "items[1].id", "invalid_value"),
        (item(json!({"id": "a".repeat(65)})), "items[1].id", "invalid_value"),
        (item(json!({"id": "a\u{202e}b"})), "items[1].id", "invalid_value"),
        (item(json!({"id": 7})), "items[1].id", "invalid_type"),
        (item(json!({"digest": "?"})), "items[1].digest", "invalid_base64"),
        (item(json!({"digest": "AA=="})), "items[1].digest", "digest_length"),
        (item(json!({"enterprise": "91610100MA00000150"})), "items[1].enterprise", "uscc_invalid"),
        (item(json!({"name": "x"})), "items[1].name", "unknown_field"),
        (with(order(&good, key()), json!({"items": {}})), "items", "invalid_type"),
        (with(order(&good, key()), json!({"items": [[]]})), "items[0]", "invalid_type"),
        (with(order(&good, key()), json!({"digest": base64(&[0; 32])})), "items", "ambiguous_input"),
        (with(order(&good, key()), json!({"level": "B-LT"})), "level", "not_applicable"),
        (with(order(&good, key()), json!({"reason": "x"})), "reason", "not_applicable"),
        (with(order(&good, key()), json!({"document": "AAAA"})), "document", "not_applicable"),
        (
            json!({"format": "pdf", "document": "AAAA", "items": good, "signer": key()}),
            "items",
            "not_applicable",
        ),
        (
            json!({"format": "ofd", "document": "AAAA", "items": good, "signer": {"key": "demo-sm2"}}),
            "items",
            "not_applicable",
        ),
        (
            json!({"format": "pdf", "document": "AAAA", "signers": [{"signer": key(), "items": good}]}),
            "signers[0].items",
            "not_applicable",
        ),
    ] {
        let answer = site.app().post("/v1/stamps", &body).expect(422).json();
        let faults = answer["errors"].as_array().unwrap();
        let found = faults.iter().any(|fault| fault["field"] == field && fault["code"] == code);
        assert!(found, "{field} {code}: {answer:#}");
    }
    let job = json!({"documents": [order(&good, key())]});
    let answer = site.app().post("/v1/stamp-jobs", &job).expect(422).json();
    assert_eq!((&answer["errors"][0]["field"], &answer["code"]), (&json!("items"), &json!("not_applicable")));
    let since: Vec<Value> = site.audit().into_iter().skip(before).collect();
    assert!(!since.iter().any(|entry| entry["action"] == "stamp.list"), "{since:#?}");
}

#[test]
fn ten_thousand_items_take_one_signature() {
    let site = &shared().site;
    let digest = base64(&[7; 32]);
    let items: Vec<_> = (0..10_000).map(|n| json!({"id": n.to_string(), "digest": digest})).collect();
    let answer = stamped(site, &order(&items, json!({"key": "demo-p256"})));
    assert_eq!(answer["list"]["paths"].as_array().unwrap().len(), 10_000);
    for index in [0, 1, 8_191, 8_192, 9_999] {
        let verdict = judged(site, &proof(&answer, &items, index));
        assert_eq!(verdict["verdict"], "valid", "{index}: {verdict:#}");
    }
    let swapped = with(proof(&answer, &items, 8_192), json!({"item": items[8_193]}));
    assert_eq!(codes(&judged(site, &swapped)), ["list_item_not_proved"]);
    let stamps = |entry: &Value| entry["subject"] == answer["stamp_id"];
    assert_eq!(site.audit().iter().filter(|entry| stamps(entry)).count(), 1);
}

#[test]
fn a_head_company_acts_for_the_branches_that_its_mandate_names_and_each_item_counts() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    let covering = with(mandate(&site, "M-1"), json!({"branches": BRANCHES, "per_day": 7, "in_all": 9}));
    in_force(&site, &ca, &covering);
    in_force(&site, &ca, &mandate(&site, "M-2"));
    let own = signer(&site, "M-1")["enterprise"].clone();
    let item = |n: usize, enterprise: &Value| json!({"id": format!("report {n}"), "digest": base64(&[7; 32]), "enterprise": enterprise});
    let branch = |n: usize| json!(BRANCHES[n]);

    let granted = site.app_number(2).get("/v1/admin/mandates/M-1").expect(200).json();
    assert_eq!(granted["branches"], json!(BRANCHES), "{granted:#}");
    let shown = || site.app().get("/v1/mandates").expect(200).json()["items"][0].clone();
    assert_eq!((&shown()["branches"], &shown()["left_today"]), (&json!(BRANCHES), &json!(7)));

    // One signature of the head company's for itself and for its branches.
    let items = [item(0, &branch(0)), item(1, &branch(1)), item(2, &own), item(3, &branch(0))];
    let answer = stamped(&site, &order(&items, signer(&site, "M-1")));
    assert_eq!(shown()["left_today"], 3, "each item counts");
    for (index, item) in items.iter().enumerate() {
        let verdict = judged(&site, &proof(&answer, &items, index));
        assert_eq!((&verdict["verdict"], &verdict["proof"]["item"]), (&json!("valid"), item), "{verdict:#}");
        let expected: &[&str] = if item["enterprise"] == own { &[] } else { &["list_item_for_another"] };
        let noted: Vec<_> =
            codes(&verdict).into_iter().filter(|code| *code == "list_item_for_another").collect();
        assert_eq!(noted, expected, "{verdict:#}");
    }
    let scratch = Scratch::new();
    let file = scratch.write("proof.json", proof(&answer, &items, 1).to_string());
    python(&file, &ca.root(), None).expect("the other verifier accepts");

    // Whom the mandate does not name, and nobody, is refused before anything is taken.
    let stranger = json!("91610100MA0000031E");
    let nobody = json!({"id": "report 1", "digest": base64(&[7; 32])});
    for (number, items) in [
        ("M-1", vec![item(0, &branch(0)), nobody]),
        ("M-2", vec![item(0, &branch(0))]),
        ("M-1", vec![item(0, &own), item(1, &stranger)]),
    ] {
        let body = order(&items, signer(&site, number));
        let refused = site.app().post("/v1/stamps", &body).expect(403).json();
        let fault = &refused["errors"][0];
        assert_eq!(
            (&refused["code"], &fault["field"]),
            (&json!("mandate_branch"), &json!("items")),
            "{refused:#}"
        );
    }
    // More than the day has left, all or nothing of it.
    let items: Vec<_> = (0..4).map(|n| item(n, &own)).collect();
    let refused = site.app().post("/v1/stamps", &order(&items, signer(&site, "M-1"))).expect(403).json();
    assert_eq!(refused["code"], "mandate_used_up_today", "{refused:#}");
    assert_eq!(shown()["left_today"], 3);
    stamped(&site, &order(&items[..2], signer(&site, "M-1")));
    assert_eq!((&shown()["left_today"], &shown()["left_in_all"]), (&json!(1), &json!(3)));

    // What no mandate can name.
    for (branches, field, code) in [
        (json!(["91610100MA00000150"]), "mandate.branches.0", "uscc_invalid"),
        (json!([BRANCHES[0], BRANCHES[0]]), "mandate.branches.1", "invalid_value"),
        (json!([own]), "mandate.branches.0", "invalid_value"),
        (json!(vec![BRANCHES[0]; 1_001]), "mandate.branches", "invalid_value"),
    ] {
        let body =
            json!({"mandate": with(mandate(&site, "M-3"), json!({"branches": branches})), "reason": "r"});
        let refused = site.app_number(2).post(crate::mandates::PATH, &body).expect(422).json();
        let fault = &refused["errors"][0];
        assert_eq!((&fault["field"], &fault["code"]), (&json!(field), &json!(code)), "{refused:#}");
    }
}

#[test]
fn a_list_in_the_register_that_somebody_altered_is_not_shown() {
    let server = Postgres::start();
    let site = Folder::init_on(&server).serve();
    let answer = stamped(&site, &order(&items("sha256", 2), json!({"key": "demo-p256"})));
    let alter = r#"UPDATE stamps SET list = replace(list, '"size":2', '"size":3')"#;
    server.query("site_0", &format!("ALTER TABLE stamps DISABLE TRIGGER USER; {alter}"));
    let page = format!("/verify/{}", answer["check_code"].as_str().unwrap());
    let refused = site.stranger(None).send("GET", &page, &[("accept", "application/json")], None);
    assert_eq!(refused.expect(500).json()["code"], "stamp_register_broken");
    drop(site);
    drop(server);
}
