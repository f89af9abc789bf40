//! Stamps on PDFs: signed inside, judged by us and by others, on record, and shown to whoever has the check code.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Folder, Postgres, Ran, Scratch, Site, base64, gateway, repository, shared, unbase64};

fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

fn order(document: &[u8], key: &str) -> Value {
    json!({"format": "pdf", "document": base64(document), "signer": {"key": key}})
}

fn with(mut order: Value, more: Value) -> Value {
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

/// An order for a stamp over a digest of whatever the caller has.
fn digest_order(digest: &[u8], key: &str) -> Value {
    json!({"format": "digest", "digest": base64(digest), "signer": {"key": key}})
}

fn sealed_ofd(site: &Site) -> Vec<u8> {
    std::fs::read(site.data().join("pki/documents/edition.ofd")).unwrap()
}

fn stamped(site: &Site, order: &Value) -> Value {
    site.app().post("/v1/stamps", order).expect(201).json()
}

fn document(answer: &Value) -> Vec<u8> {
    unbase64(answer["document"].as_str().unwrap())
}

fn judged(site: &Site, document: &[u8]) -> Value {
    site.app().post("/v1/stamps:verify", &json!({"document": base64(document)})).expect(200).json()
}

/// What the check page says, as JSON.
fn checked(site: &Site, code: &str) -> Value {
    let path = format!("/verify/{code}");
    site.stranger(None).send("GET", &path, &[("accept", "application/json")], None).expect(200).json()
}

#[test]
fn every_kind_of_key_stamps_and_each_stamp_leaves_the_earlier_ones_valid() {
    let site = &shared().site;
    let mut current = contract();
    for (key, algorithm, profile) in [
        ("demo-sm2", "sm2-sm3", "adbe.pkcs7.detached"),
        ("demo-p256", "ecdsa-p256-sha256", "ETSI.CAdES.detached"),
        ("demo-rsa2048", "rsa-pkcs1-sha256", "ETSI.CAdES.detached"),
    ] {
        let answer = stamped(site, &order(&current, key));
        assert_eq!((&answer["key"], &answer["algorithm"]), (&json!(key), &json!(algorithm)));
        let next = document(&answer);
        assert!(next.starts_with(&current), "the document's octets stay");
        let verdict = judged(site, &next);
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        let last = verdict["signatures"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["sub_filter"], &last["field"]), (&json!(profile), &answer["field"]), "{last:#}");
        current = next;
    }
    assert_eq!(judged(site, &current)["signatures"].as_array().unwrap().len(), 3);

    // Another reader: poppler computes the same over the two that it knows.
    let scratch = Scratch::new();
    let file = scratch.write("stamped.pdf", &current);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert_eq!(said.matches("Signature is Valid").count(), 2, "{said}");
    Ran::of(Command::new("qpdf").arg("--check").arg(&file)).expect("qpdf --check");
}

#[test]
fn a_seen_stamp_stands_where_it_was_ordered_with_its_own_numbers() {
    let site = &shared().site;
    let appearance = json!({
        "text": ["审核通过", "{stamp_id}", "{check_code}"],
        "places": [
            {"kind": "rect", "pages": "1", "left": 120.0, "top": 20.0, "width": 70.0, "height": 25.0},
        ],
    });
    let answer = stamped(
        site,
        &with(
            order(&contract(), "demo-p256"),
            json!({
                "appearance": appearance, "field": "审核", "reason": "审核", "location": "西安", "signer_name": "登记窗口",
                "certify": "form-filling",
            }),
        ),
    );
    assert_eq!(answer["field"], "审核");
    let scratch = Scratch::new();
    let file = scratch.write("seen.pdf", document(&answer));
    let text =
        Ran::of(Command::new("pdftotext").args(["-l", "1"]).arg(&file).arg("-")).expect("pdftotext").text;
    for part in ["审核通过", answer["stamp_id"].as_str().unwrap(), answer["check_code"].as_str().unwrap()]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let verdict = judged(site, &document(&answer));
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    assert_eq!(verdict["signatures"][0]["certification"], 2, "{verdict:#}");
}

#[test]
fn a_stamp_is_on_record_and_whoever_has_its_code_sees_that_it_is() {
    let site = &shared().site;
    let answer = stamped(site, &order(&contract(), "demo-sm2"));
    let code = answer["check_code"].as_str().unwrap();
    site.proved(&answer);
    let found = checked(site, code);
    assert_eq!(found["stamp_id"], answer["stamp_id"]);
    assert_eq!(found["document_sm3"], answer["document_sm3"]);
    assert_eq!(found["proof"]["index"], answer["audit_index"]);
    assert_eq!(found["proof"]["entry"], Value::Null, "the entry names the app: it is not for strangers");
    assert!(found["signer"]["subject"].as_str().unwrap().contains("CN="), "{found:#}");
    let scratch = Scratch::new();
    scratch.write("content", document(&answer));
    let digest = scratch.openssl("dgst -sm3 -r content").expect("openssl knows SM3").text;
    assert!(digest.starts_with(found["document_sm3"].as_str().unwrap()), "{digest}");

    // The record says the same.
    let index = answer["audit_index"].as_u64().unwrap();
    let proof = site.app().get(&format!("/v1/audit/proofs/{index}")).expect(200).json();
    let entry: Value = serde_json::from_str(proof["entry"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&entry["action"], &entry["subject"]),
        (&json!("stamp.pdf"), &answer["stamp_id"]),
        "{entry:#}"
    );
    assert_eq!(entry["result_digest"], found["document_sm3"]);
    assert_eq!(proof["leaf_hash"], found["proof"]["leaf_hash"]);

    // For people, in two languages, however the code is typed; nothing runs or is loaded.
    let typed = code.to_ascii_lowercase().replace('-', "");
    for (lang, word) in [("zh", "签章查验"), ("en", "Stamp check")] {
        let page = site.stranger(None).get(&format!("/verify/{typed}?lang={lang}")).expect(200);
        assert!(page.text().contains(word) && page.text().contains(code), "{}", page.text());
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    for wrong in ["00000-00000-00000-00000", "x", "%2e%2e"] {
        let refused = site.stranger(None).get(&format!("/verify/{wrong}")).expect(404).json();
        assert_eq!(refused["code"], "unknown_stamp", "{wrong}");
    }

    // The number is for the app that had it made, and for auditors.
    let path = format!("/v1/stamps/{}", answer["stamp_id"].as_str().unwrap());
    let item = site.app().get(&path).expect(200).json();
    assert_eq!((&item["check_code"], &item["audit_index"]), (&answer["check_code"], &answer["audit_index"]));
    assert_eq!(site.app_number(1).get(&path).expect(404).json()["code"], "unknown_stamp");
    site.app_number(2).get(&path).expect(200);
    site.stranger(None).get(&path).expect(401);
}

#[test]
fn an_order_sent_again_is_carried_out_once() {
    let site = &shared().site;
    let body = order(&contract(), "demo-p256").to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "stamp-once")];
    let send = || site.app().send("POST", "/v1/stamps", &headers, Some(body.as_bytes())).expect(201);
    let (first, second) = (send(), send());
    assert_eq!(first.text(), second.text());
    assert_eq!(second.header("idempotency-replayed"), "true");
}

#[test]
fn what_cannot_be_stamped_is_refused_by_name_and_not_on_record_as_stamped() {
    let site = &shared().site;
    let pdf = |name: &str| std::fs::read(repository().join(format!("formats/tests/pdfs/{name}"))).unwrap();
    let plain = contract();
    let rect = json!({"kind": "rect", "left": 500.0, "top": 10.0, "width": 20.0, "height": 10.0});
    let keyword = json!({"kind": "keyword", "keyword": "没有这个词", "width": 20.0, "height": 10.0});
    let seen = |place: &Value| json!({"appearance": {"text": ["x"], "places": [place]}});
    for (order, field, code) in [
        (order(b"", "demo-p256"), "document", "document_malformed"),
        (order(b"no PDF", "demo-p256"), "document", "document_malformed"),
        (order(&plain[..plain.len() / 2], "demo-p256"), "document", "document_malformed"),
        (order(&pdf("encrypted.pdf"), "demo-p256"), "document", "document_encrypted"),
        (with(order(&plain, "demo-p256"), seen(&rect)), "appearance.places", "place_off_page"),
        (with(order(&plain, "demo-p256"), seen(&keyword)), "appearance.places", "keyword_not_found"),
        (
            with(order(&plain, "demo-p256"), json!({"existing_field": "none"})),
            "existing_field",
            "field_unknown",
        ),
        (with(order(&plain, "demo-sm2"), json!({"profile": "pades"})), "profile", "not_applicable"),
        (with(order(&plain, "demo-p256"), json!({"level": "B-X"})), "level", "invalid_value"),
        (with(order(&plain, "demo-sm2"), json!({"level": "B-T"})), "level", "not_applicable"),
        (
            with(order(&plain, "demo-p256"), json!({"level": "B-LT", "profile": "pkcs7"})),
            "level",
            "not_applicable",
        ),
        (with(order(&plain, "demo-p256"), json!({"digest": base64(&[0; 32])})), "digest", "not_applicable"),
        (json!({"format": "pdf", "signer": {"key": "demo-p256"}}), "document", "missing_field"),
        (order(&sealed_ofd(site), "demo-p256"), "document", "document_format"),
        (digest_order(&[0; 20], "demo-p256"), "digest", "digest_length"),
        (json!({"format": "digest", "signer": {"key": "demo-p256"}}), "digest", "missing_field"),
        (with(digest_order(&[0; 32], "demo-p256"), json!({"level": "B-LT"})), "level", "not_applicable"),
        (with(digest_order(&[0; 32], "demo-sm2"), json!({"level": "B-T"})), "level", "not_applicable"),
        (with(digest_order(&[0; 32], "demo-sm2"), json!({"reason": "x"})), "reason", "not_applicable"),
        (with(order(&plain, "demo-p256"), json!({"format": "docx"})), "format", "invalid_value"),
        (
            with(order(&plain, "demo-p256"), json!({"appearance": {"picture": "AAAA", "places": [rect]}})),
            "appearance.picture",
            "picture_unusable",
        ),
        (
            with(order(&plain, "demo-p256"), json!({"appearance": {"text": ["x"]}})),
            "appearance.places",
            "missing_field",
        ),
        (with(order(&plain, "demo-p256"), json!({"document": "*"})), "document", "invalid_base64"),
    ] {
        let refused = site.app().post("/v1/stamps", &order).expect(422).json();
        assert_eq!(
            (&refused["errors"][0]["field"], &refused["code"]),
            (&json!(field), &json!(code)),
            "{refused:#}"
        );
    }
    let unknown = site.app().post("/v1/stamps", &order(&plain, "nobodys")).expect(404).json();
    assert_eq!(unknown["code"], "unknown_key");
    site.app_number(2).post("/v1/stamps", &order(&plain, "demo-p256")).expect(403);

    // Signed for good by its first signature.
    let certified = with(order(&plain, "demo-p256"), json!({"certify": "no-changes"}));
    let certified = document(&stamped(site, &certified));
    let refused = site.app().post("/v1/stamps", &order(&certified, "demo-p256")).expect(422).json();
    assert_eq!(refused["code"], "document_not_permitted", "{refused:#}");
}

#[test]
fn a_policy_binds_stamps_as_it_binds_signatures() {
    let site = Site::start();
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    let rules = site.data().join("rules.json");
    std::fs::write(&rules, r#"[{"name": "no-documents", "formats": ["raw", "cms"]}]"#).unwrap();
    let set = site.command(&[
        "policy",
        "set",
        &app,
        rules.to_str().unwrap(),
        "--replaces",
        "0",
        "--reason",
        "test",
    ]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let refused = site.app().post("/v1/stamps", &order(&contract(), "demo-p256")).expect(403).json();
    assert_eq!(refused["code"], "policy_format", "{refused:#}");
    // A digest is signed as any CMS is, by the same rules.
    stamped(&site, &digest_order(&[7; 32], "demo-p256"));
    std::fs::write(&rules, r#"[{"name": "data-only", "formats": ["raw", "cms"], "inputs": ["data"]}]"#)
        .unwrap();
    let set = site.command(&[
        "policy",
        "set",
        &app,
        rules.to_str().unwrap(),
        "--replaces",
        "1",
        "--reason",
        "test",
    ]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let refused = site.app().post("/v1/stamps", &digest_order(&[7; 32], "demo-p256")).expect(403).json();
    assert_eq!(refused["code"], "policy_input", "{refused:#}");
}

#[test]
fn nothing_is_said_to_be_proved_by_a_checkpoint_that_does_not_prove_it() {
    let server = Postgres::start();
    let site = Folder::init_on(&server).serve();
    let answer = stamped(&site, &order(&contract(), "demo-p256"));
    let (code, index) = (answer["check_code"].as_str().unwrap(), &answer["audit_index"]);
    site.proved(&answer);
    assert!(checked(&site, code)["proof"].is_object());
    let page = format!("/verify/{code}");
    assert!(site.stranger(None).get(&format!("{page}?lang=en")).expect(200).text().contains("proved by"));
    let proofs = [format!("/v1/audit/proofs/{index}"), "/v1/audit/proofs:consistency?first=1".to_owned()];
    let auditor = site.app_number(2);
    for path in &proofs {
        auditor.get(path).expect(200);
    }
    // Another entry's hash: the stamp and its own entry are as they were, and the tree is not the one that was signed.
    server.query(
        "site_0",
        "ALTER TABLE audit_entries DISABLE TRIGGER USER;
         UPDATE audit_entries SET leaf_hash = sha256('another') WHERE idx = 0",
    );
    for path in &proofs {
        assert_eq!(auditor.get(path).expect(500).json()["code"], "audit_altered", "{path}");
    }
    assert_eq!(site.stranger(None).get(&page).expect(500).json()["code"], "audit_altered");
    drop(site);
}

#[test]
fn a_stamp_altered_in_the_register_is_not_shown_and_on_postgresql_it_is_the_same() {
    let server = Postgres::start();
    let site = Folder::init_on(&server).serve();
    let answer = stamped(&site, &order(&contract(), "demo-p256"));
    let code = answer["check_code"].as_str().unwrap();
    assert_eq!(checked(&site, code)["stamp_id"], answer["stamp_id"]);
    server.query(
        "site_0",
        "ALTER TABLE stamps DISABLE TRIGGER USER; UPDATE stamps SET result_digest = input_digest",
    );
    let refused = site.stranger(None).get(&format!("/verify/{code}")).expect(500).json();
    assert_eq!(refused["code"], "stamp_register_broken", "{refused:#}");

    // What no page compares with the document is bound to the log too.
    let second = stamped(&site, &order(&contract(), "demo-p256"));
    let path = format!("/v1/stamps/{}", second["stamp_id"].as_str().unwrap());
    site.app().get(&path).expect(200);
    server.query("site_0", "UPDATE stamps SET field = 'another', octets = octets + 1");
    assert_eq!(site.app().get(&path).expect(500).json()["code"], "stamp_register_broken");
    let page = format!("/verify/{}", second["check_code"].as_str().unwrap());
    assert_eq!(site.stranger(None).get(&page).expect(500).json()["code"], "stamp_register_broken");
    drop(site);
    drop(server);
}

/// The offline judge's word, with the site's roots and lists and nothing else of it.
fn offline(site: &Site, scratch: &Scratch, file: &str, more: &[&str]) -> Value {
    let pki = site.data().join("pki");
    let mut ours = Command::new(gateway());
    ours.args(["verify", "--json", "--trust"]).arg(pki.join("roots/p256.pem")).args(more).arg(file);
    let ran = Ran::of(ours.current_dir(scratch.path()));
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text))
}

#[test]
fn every_level_of_pades_is_made_and_others_accept_it() {
    let folder = Folder::init();
    // Tokens are counted, and evidence takes some too.
    folder.configure("[fleet]\n", "[stamp_evidence]\nkeep = false\n\n[fleet]\n");
    let site = folder.serve();
    let scratch = Scratch::new();
    let in_folder = |program: &str, arguments: &[&str]| {
        Ran::of(Command::new(program).args(arguments).current_dir(scratch.path())).expect(program)
    };
    let pki = site.data().join("pki");
    std::fs::copy(pki.join("roots/p256.pem"), scratch.path().join("root.pem")).unwrap();
    std::fs::create_dir(scratch.path().join("nss")).unwrap();
    in_folder("certutil", &["-N", "-d", "sql:nss", "--empty-password"]);
    in_folder("certutil", &["-A", "-d", "sql:nss", "-n", "ca", "-t", "CT,C,C", "-i", "root.pem"]);
    for (level, file, timestamps, documents) in
        [("B-B", "b.pdf", 0, 0), ("B-T", "t.pdf", 1, 0), ("B-LT", "lt.pdf", 1, 0), ("B-LTA", "lta.pdf", 1, 1)]
    {
        let answer = stamped(&site, &with(order(&contract(), "demo-p256"), json!({"level": level})));
        assert_eq!(answer["level"], level);
        let stamped = document(&answer);
        scratch.write(file, &stamped);
        // With the root alone: path and revocation come from the document where its level says so.
        let verdict = offline(&site, &scratch, file, &[]);
        assert_eq!(verdict["verdict"], "valid", "{level}: {verdict:#}");
        let signatures = verdict["signatures"].as_array().unwrap();
        assert_eq!(signatures.len(), 1 + documents, "{level}: {verdict:#}");
        let over = signatures[0]["signers"][0]["timestamps"].as_array().map_or(0, Vec::len);
        assert_eq!(over, timestamps, "{level}: {verdict:#}");
        let unchecked = verdict["signatures"][0].to_string().contains("revocation_not_checked");
        assert_eq!(unchecked, matches!(level, "B-B" | "B-T"), "{level}: {verdict:#}");
        let said = in_folder("pdfsig", &["-nssdir", "sql:nss", file]).text;
        assert!(said.contains("Signature is Valid") && said.contains("Certificate is Trusted"), "{said}");
        in_folder("qpdf", &["--check", file]);
        assert_eq!(checked(&site, answer["check_code"].as_str().unwrap())["level"], level);
    }

    // By ETSI EN 319 102-1, with revocation that is known from the file alone.
    let mut theirs = Command::new(repository().join("target/venv/bin/python"));
    theirs
        .arg(repository().join("formats/tests/signed_pdf/pyhanko_judge.py"))
        .env("PYTHONWARNINGS", "ignore");
    theirs.args(["root.pem", "b.pdf", "t.pdf", "lt.pdf", "lta.pdf"]).current_dir(scratch.path());
    let said = String::from_utf8(Ran::of(&mut theirs).expect("pyHanko judges").stdout).unwrap();
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(said.iter().all(|one| one["ok"] == true), "{said:#?}");
    let with_time: Vec<bool> = said[..4].iter().map(|one| one["stamped"] == true).collect();
    assert_eq!(with_time, [false, true, true, true], "{said:#?}");

    // Each token is on record and counted as those of the timestamp service are: one, one, and two.
    let tokens: Vec<Value> =
        site.audit().into_iter().filter(|entry| entry["action"] == "timestamp").collect();
    assert_eq!(tokens.len(), 4, "{tokens:#?}");
    let app = site.sandbox()["apps"][0]["id"].clone();
    assert!(tokens.iter().all(|entry| entry["actor"] == app && entry["outcome"] == "ok"), "{tokens:#?}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_timestamps_total{form=\"rfc3161\"} 4"), "{metrics}");
}

#[test]
fn a_level_that_cannot_be_had_is_refused_by_name_before_a_key_is_used() {
    let folder = Folder::init();
    folder.configure("policies = [\"1.2.3.4.1\"]\npublic = true\n", "");
    let site = folder.serve();
    for level in ["B-T", "B-LT", "B-LTA"] {
        let wanted = with(order(&contract(), "demo-p256"), json!({"level": level}));
        let refused = site.app().post("/v1/stamps", &wanted).expect(422).json();
        assert_eq!(
            (&refused["code"], &refused["errors"][0]["field"]),
            (&json!("no_timestamp_authority"), &json!("level")),
            "{refused:#}"
        );
    }
    stamped(&site, &order(&contract(), "demo-p256"));

    let folder = Folder::init();
    folder.configure("\"pki/crls/p256.pem\", ", "");
    let site = folder.serve();
    let before = site.audit().len();
    let wanted = with(order(&contract(), "demo-p256"), json!({"level": "B-LT"}));
    let refused = site.app().post("/v1/stamps", &wanted).expect(422).json();
    assert_eq!(
        (&refused["code"], &refused["errors"][0]["field"]),
        (&json!("revocation_data_missing"), &json!("level")),
        "{refused:#}"
    );
    assert!(refused["detail"].as_str().unwrap().contains("CN="), "it names whose: {refused:#}");
    let since: Vec<Value> = site.audit().into_iter().skip(before).collect();
    let touched = |entry: &&Value| ["stamp.pdf", "timestamp"].iter().any(|action| entry["action"] == *action);
    assert_eq!(since.iter().filter(touched).count(), 0, "{since:#?}");
    // Without what it takes for its revocation a stamp with a time is good all the same.
    let wanted = with(order(&contract(), "demo-p256"), json!({"level": "B-T"}));
    assert_eq!(judged(&site, &document(&stamped(&site, &wanted)))["verdict"], "valid");
}

#[test]
fn a_digest_is_stamped_with_number_record_and_check_page() {
    let site = &shared().site;
    let content = b"whatever the caller has";
    let scratch = Scratch::new();
    scratch.write("content", content);
    for (key, hash, level) in
        [("demo-sm2", "sm3", "B-B"), ("demo-p256", "sha256", "B-T"), ("demo-rsa2048", "sha256", "B-B")]
    {
        let digest =
            scratch.openssl(&format!("dgst -{hash} -binary content")).expect("openssl digests").stdout;
        let answer = stamped(site, &with(digest_order(&digest, key), json!({"level": level})));
        assert_eq!((&answer["level"], &answer["document"]), (&json!(level), &Value::Null), "{answer:#}");
        let body = json!({
            "format": "cms", "signature": answer["signature"], "input": {"data": base64(content)},
        });
        let verdict = site.app().post("/v1/verifications", &body).expect(200).json();
        assert_eq!(verdict["verdict"], "valid", "{key}: {verdict:#}");
        let stamps = verdict["signers"][0]["timestamps"].as_array().map_or(0, Vec::len);
        assert_eq!(stamps, usize::from(level == "B-T"), "{verdict:#}");
        let other = json!({
            "format": "cms", "signature": answer["signature"], "input": {"data": base64(b"something else")},
        });
        assert_eq!(site.app().post("/v1/verifications", &other).expect(200).json()["verdict"], "invalid");

        let code = answer["check_code"].as_str().unwrap();
        let found = checked(site, code);
        assert_eq!((&found["format"], &found["level"]), (&json!("digest"), &json!(level)), "{found:#}");
        let hexadecimal: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(found["digest"], hexadecimal, "{found:#}");
        assert_eq!(found["signature_sm3"], answer["signature_sm3"]);
        let page = site.stranger(None).get(&format!("/verify/{code}")).expect(200).text();
        assert!(page.contains(&hexadecimal), "{page}");
        let index = usize::try_from(answer["audit_index"].as_u64().unwrap()).unwrap();
        let entry = &site.audit()[index];
        assert_eq!(
            (&entry["action"], &entry["subject"], &entry["input_digest"]),
            (&json!("stamp.digest"), &answer["stamp_id"], &json!(hexadecimal)),
            "{entry:#}"
        );
        let item = format!("/v1/stamps/{}", answer["stamp_id"].as_str().unwrap());
        assert_eq!(site.app().get(&item).expect(200).json()["digest"], hexadecimal);
    }
    // Another program accepts what P-256 signed.
    let digest = scratch.openssl("dgst -sha256 -binary content").expect("openssl digests").stdout;
    let answer = stamped(site, &digest_order(&digest, "demo-p256"));
    scratch.write("signature.der", unbase64(answer["signature"].as_str().unwrap()));
    std::fs::copy(site.data().join("pki/roots/p256.pem"), scratch.path().join("root.pem")).unwrap();
    scratch
        .openssl("cms -verify -binary -inform DER -in signature.der -content content -CAfile root.pem -purpose any -out o")
        .expect("openssl accepts the CMS");
}
