//! The audit log from outside: entries, checkpoints and proofs over HTTP, a verifier that shares no code with the gateway,
//! and what happens to whoever changes the log.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Scratch, Site, base64, eventually, gateway, repository};

const SOON: Duration = Duration::from_secs(60);

fn sign(app: &Caller) -> Value {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"recorded")}});
    app.post("/v1/signatures", &body).expect(201).json()
}

fn index(answer: &Value) -> u64 {
    answer["audit_index"].as_u64().expect("it has a place in the log")
}

/// The answer to a path once it is 200: a checkpoint takes a moment.
fn once_signed(caller: &Caller, path: &str) -> Value {
    eventually("a checkpoint covers it", SOON, || {
        let answer = caller.get(path);
        (answer.status == 200).then(|| answer.json())
    })
}

fn offline(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(gateway());
    command
        .arg("audit")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .expect("license-gateway can be started")
}

fn verified(data: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let ran = offline(data, &[&["verify", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&ran.stdout);
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&ran.stderr)));
    (ran.status.code(), json)
}

/// The key that an export says it is signed by, PEM.
fn signer_of(export: &Path) -> String {
    let text = std::fs::read_to_string(export).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let signer = lines.find(|line| line["type"] == "signer").expect("it names its signer");
    signer["public_key"].as_str().unwrap().to_owned()
}

fn python(export: &Path) -> Output {
    let script = repository().join("tests/audit_verify.py");
    Command::new("python3").arg(script).arg(export).output().expect("python3 is installed")
}

#[test]
fn a_caller_proves_that_its_own_signature_was_recorded_and_no_other_app_sees_it() {
    let site = Site::start();
    let answer = sign(site.app());
    let place = index(&answer);
    let path = format!("/v1/audit/proofs/{place}");
    let proof = once_signed(site.app(), &path);
    let entry: Value = serde_json::from_str(proof["entry"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&entry["actor"], &entry["request_id"]),
        (&site.sandbox()["apps"][0]["id"], &answer["request_id"])
    );
    assert_eq!((entry["action"].as_str(), entry["key"].as_str()), (Some("signature.raw"), Some("demo-sm2")));
    assert_eq!(proof["checkpoint"]["size"], proof["size"]);
    let signer = &proof["checkpoint"]["signer"];
    assert_eq!(signer["name"], "sys-audit");
    assert!(signer["certificate_chain"].as_str().unwrap().contains("BEGIN CERTIFICATE"), "{signer}");

    let auditor = site.app_number(2);
    assert_eq!(auditor.get(&path).expect(200).json()["entry"], proof["entry"]);
    assert_eq!(site.app_number(1).get(&path).expect(403).json()["code"], "scope_missing");
    for (caller, path, status, code) in [
        (site.app(), "/v1/audit/entries", 403, "scope_missing"),
        (site.app(), "/v1/audit/checkpoint", 403, "scope_missing"),
        (site.app(), "/v1/audit/proofs:consistency?first=0", 403, "scope_missing"),
        (&auditor, "/v1/audit/proofs/999999", 404, "unknown_audit_entry"),
        (&auditor, "/v1/audit/proofs/-1", 404, "unknown_audit_entry"),
        (&auditor, "/v1/audit/proofs/0?size=0", 422, "tree_size"),
        (&auditor, "/v1/audit/proofs/0?size=999999", 422, "tree_size"),
        (&auditor, "/v1/audit/proofs/0?size=x", 422, "invalid_query"),
        (&auditor, "/v1/audit/proofs:consistency?first=2&second=1", 422, "tree_size"),
        (&auditor, "/v1/audit/checkpoint?size=999999", 404, "checkpoint_missing"),
        (&auditor, "/v1/audit/entries?limit=0", 422, "invalid_value"),
        (&auditor, "/v1/audit/entries?order=best", 422, "invalid_value"),
        (&auditor, "/v1/audit/entries?from=yesterday", 422, "invalid_time"),
        (&auditor, "/v1/audit/entries?cursor=x", 422, "invalid_value"),
        (&auditor, "/v1/audit/entries?colour=red", 422, "invalid_query"),
        (&auditor, "/v1/audit/entries?log=other", 404, "unknown_log"),
    ] {
        let refused: Answer = caller.get(path).expect(status);
        assert_eq!(refused.json()["code"], code, "{path}");
    }
}

#[test]
fn entries_are_found_page_by_page_by_what_they_say() {
    let site = Site::start();
    let places: Vec<_> = (0..5).map(|_| index(&sign(site.app()))).collect();
    let auditor = site.app_number(2);
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/v1/audit/entries?actor={app}&action=signature.&key=demo-sm2&outcome=ok&limit=2{cursor}"
        );
        let page = auditor.get(&path).expect(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        found.extend(items.iter().map(|item| item["index"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(found.iter().eq(places.iter().rev()), "{found:?} against {places:?}");
    let oldest =
        auditor.get("/v1/audit/entries?order=oldest&action=signature.raw&limit=1").expect(200).json();
    assert_eq!(oldest["items"][0]["index"], places[0]);
    let none = auditor.get("/v1/audit/entries?until=2020-01-01T00:00:00Z").expect(200).json();
    assert_eq!((&none["items"], &none["next"]), (&json!([]), &Value::Null));
}

#[test]
fn refusals_are_on_record_by_caller_and_reason_and_so_is_what_was_verified_and_retained() {
    let site = Site::start();
    let auditor = site.app_number(2);
    for _ in 0..3 {
        let body = json!({"key": "sys-audit", "algorithm": "sm2-sm3", "input": {"data": ""}});
        site.app().post("/v1/signatures", &body).expect(403);
    }
    site.stranger(Some("nobody's")).get("/v1/keys").expect(401);
    let found = |filter: &str| {
        eventually(filter, SOON, || {
            let page = auditor.get(&format!("/v1/audit/entries?{filter}")).expect(200).json();
            page["items"].as_array().unwrap().first().cloned()
        })
    };
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap();
    let refused = found(&format!("action=request.refused&actor={app}&outcome=key_not_permitted"));
    assert!(refused["subject"].as_str().unwrap().contains("POST /v1/signatures"), "{refused}");
    let stranger = found("action=request.refused&outcome=api_key_invalid");
    assert_eq!(stranger["actor"], "anonymous:127.0.0.1");

    let signed = sign(site.app());
    let key = site.app().get("/v1/keys/demo-sm2").expect(200).json()["public_key"].clone();
    let mut body = json!({
        "algorithm": "sm2-sm3", "input": {"data": base64(b"recorded")}, "signature": signed["signature"],
        "public_key": key,
    });
    let plain = site.app().post("/v1/verifications", &body).expect(200).json();
    assert!(plain.get("audit_index").is_none(), "{plain}");
    body["retain"] = true.into();
    let retained = site.app().post("/v1/verifications", &body).expect(200).json();
    let proof = once_signed(site.app(), &format!("/v1/audit/proofs/{}", index(&retained)));
    let entry: Value = serde_json::from_str(proof["entry"].as_str().unwrap()).unwrap();
    assert_eq!(entry["action"], "verification.retained");
    assert_eq!(entry["subject"], "valid trust_not_judged");
    assert!(entry["input_digest"].is_string() && entry["result_digest"].is_string(), "{entry}");
    let batch = site.app().post("/v1/verifications:batch", &json!({"items": [body]})).expect(200).json();
    assert_eq!(batch["items"][0]["problem"]["code"], "not_applicable");
    let usage = found(&format!("action=usage.verifications&actor={app}"));
    assert!(usage["subject"].as_str().unwrap().contains("signature valid: "), "{usage}");
}

#[test]
fn a_stranger_verifies_an_export_and_both_verifiers_find_what_is_changed_in_it() {
    let site = Site::start();
    for _ in 0..300 {
        sign(site.app());
    }
    let other_key =
        site.app().get("/v1/keys/demo-sm2").expect(200).json()["public_key"].as_str().unwrap().to_owned();
    let (folder, status) = site.stop();
    assert_eq!(status.code(), Some(0));
    let data = folder.data();
    let (whole, part, bare) = (data.join("whole.jsonl"), data.join("part.jsonl"), data.join("bare.jsonl"));
    for (file, options) in
        [(&whole, &[][..]), (&part, &["--from", "250", "--to", "280"]), (&bare, &["--no-proofs"])]
    {
        let ran = offline(&data, &[&["export", "--out", file.to_str().unwrap()], options].concat());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let theirs = python(file);
        assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
        let (key, another) = (data.join("audit-key.pem"), data.join("another-key.pem"));
        std::fs::write(&key, signer_of(file)).unwrap();
        std::fs::write(&another, &other_key).unwrap();
        // Roots alone vouch for every key they certify: only who names the log's key knows that it is the log's.
        for (named, trusted) in
            [(None, Value::Null), (Some(&key), true.into()), (Some(&another), false.into())]
        {
            let mut ours = Command::new(gateway());
            let roots = data.join("pki/roots/sm2.pem");
            ours.args(["audit", "verify", "--json", "--export"]).arg(file);
            match (named, trusted.as_bool()) {
                (Some(key), Some(false)) => ours.arg("--key").arg(key),
                (Some(key), _) => ours.arg("--trust").arg(roots).arg("--key").arg(key),
                (None, _) => ours.arg("--trust").arg(roots),
            };
            let ours = ours.output().unwrap();
            let json: Value = serde_json::from_slice(&ours.stdout).unwrap();
            let intact = trusted != Value::Bool(false);
            assert_eq!(ours.status.success(), intact, "{json}");
            assert_eq!((&json["intact"], &json["keys"][0]["trusted"]), (&intact.into(), &trusted), "{json}");
        }
    }
    let text = std::fs::read_to_string(&part).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let edited = text.replacen("demo-sm2", "demo-sm3", 1);
    let without = [&lines[..8], &lines[9..]].concat().join("\n");
    let cut = lines[..20].join("\n");
    let other_note = text.replacen("\\nat 20", "\\nat 19", 1);
    for (what, bad) in
        [("an edit", edited), ("a deletion", without), ("a cut", cut), ("another note", other_note)]
    {
        assert_ne!(bad, text, "{what}");
        let file = data.join("bad.jsonl");
        std::fs::write(&file, bad).unwrap();
        let theirs = python(&file);
        assert_eq!(theirs.status.code(), Some(1), "{what}: {}", String::from_utf8_lossy(&theirs.stdout));
        assert!(String::from_utf8_lossy(&theirs.stderr).contains("BROKEN"), "{what}");
        let mut ours = Command::new(gateway());
        let ours = ours.args(["audit", "verify", "--export"]).arg(&file).output().unwrap();
        assert_eq!(ours.status.code(), Some(1), "{what}: {}", String::from_utf8_lossy(&ours.stdout));
    }
    let ran = Command::new(gateway())
        .args(["audit", "verify", "--export"])
        .arg(data.join("gateway.toml"))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2), "what is no export is unreadable");
}

#[test]
fn a_stop_signs_the_log_and_whoever_changes_it_afterwards_is_found_out() {
    let site = Site::start();
    for _ in 0..19 {
        sign(site.app());
    }
    let place = index(&sign(site.app()));
    let (folder, _) = site.stop();
    let data = folder.data();
    let (code, good) = verified(&data, &[]);
    assert_eq!((code, &good["intact"], &good["unsigned"]), (Some(0), &true.into(), &0.into()), "{good}");
    assert_eq!(good["keys"][0]["trusted"], true, "{good}");
    let shown = offline(&data, &["show", &place.to_string(), "--count", "1"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("signature.raw"), "{shown:?}");
    let found = |options: &[&str]| -> Vec<u64> {
        let ran = offline(&data, &[&["show", "--json"], options].concat());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let lines = String::from_utf8(ran.stdout).unwrap();
        let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.map(|entry| entry["index"].as_u64().unwrap()).collect()
    };
    let signatures =
        found(&["--action", "signature.", "--key", "demo-sm2", "--outcome", "ok", "--count", "50"]);
    assert_eq!((signatures.len(), signatures.last()), (20, Some(&place)), "{signatures:?}");
    assert_eq!(found(&["--action", "signature.raw", "--count", "3"]), signatures[17..]);
    assert!(found(&["--until", "2020-01-01T00:00:00Z"]).is_empty());

    let sql = |statement: &str| {
        let mut sqlite = Command::new("sqlite3");
        let ran = sqlite.arg(data.join("gateway.db")).arg(statement).output().expect("sqlite3 is installed");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    sql(&format!(
        "DROP TRIGGER audit_entries_no_update;
         UPDATE audit_entries SET entry = CAST(replace(CAST(entry AS TEXT), 'demo-sm2', 'demo-sm3') AS BLOB)
             WHERE idx = {place}"
    ));
    let (code, bad) = verified(&data, &[]);
    assert_eq!(
        (code, &bad["intact"], &bad["first_broken"]),
        (Some(1), &false.into(), &place.into()),
        "{bad}"
    );
    let said = offline(&data, &["verify"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains(&format!("the first broken entry is {place}")), "{said}");
}

#[test]
fn without_a_device_that_can_sign_entries_go_on_and_are_signed_when_one_is_back() {
    let site = Site::start();
    for device in ["d1", "d2", "d3", "d4", "d5", "d6", "d7"] {
        site.fault(
            device,
            "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n",
        );
    }
    let auditor = site.app_number(2);
    let ready = || site.stranger(None).get("/readyz").json();
    // Refused requests and look-ups are recorded without the bureau's devices.
    let uscc = site.sandbox()["licenses"][0].as_str().unwrap();
    eventually("the end of the log is unsigned", SOON, || {
        site.app().get(&format!("/v1/licenses/{uscc}/status")).expect(200);
        ready()["audit"]["unsigned_since"].is_string().then_some(())
    });
    let metrics = site.stranger(None).get("/metrics").text();
    assert!(metrics.contains("license_gateway_audit_signing_failed 1"), "{metrics}");
    assert!(site.log().contains("cannot be signed now"), "{}", site.log());
    for device in ["d1", "d2", "d3", "d4", "d5", "d6", "d7"] {
        site.mend(device);
    }
    eventually("the log is signed again", SOON, || {
        let ready = ready();
        (ready["audit"]["unsigned_since"].is_null() && ready["audit"]["unsigned_entries"] == 0).then_some(())
    });
    let newest = auditor.get("/v1/audit/checkpoint").expect(200).json();
    assert_eq!(newest["unsigned_since"], Value::Null);
    let path = format!("/v1/audit/proofs:consistency?first=1&second={}", newest["size"]);
    assert!(!auditor.get(&path).expect(200).json()["path"].as_array().unwrap().is_empty());
}

#[test]
fn an_entry_that_was_inserted_between_two_runs_is_not_signed_and_readyz_and_metrics_say_so() {
    let site = Site::start();
    let place = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{place}"));
    let (folder, _) = site.stop();
    assert_eq!(verified(&folder.data(), &[]).0, Some(0));
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(folder.data().join("gateway.db")).arg(
        "INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash)
         SELECT log, idx + 1, written_at, entry, leaf_hash FROM audit_entries ORDER BY idx DESC LIMIT 1",
    );
    assert!(sqlite.status().unwrap().success());
    let site = folder.serve();
    let ready = || site.stranger(None).get("/readyz").json();
    eventually("readyz says so", SOON, || {
        (ready()["audit"]["unsigned_reason"] == "log_altered").then_some(())
    });
    let later = index(&sign(site.app()));
    assert!(later > place + 1, "entries go on");
    assert!(ready()["audit"]["unsigned_entries"].as_u64().unwrap() >= 2);
    let metrics = site.stranger(None).get("/metrics").text();
    assert!(metrics.contains("license_gateway_audit_altered 1"), "{metrics}");
    assert!(site.log().contains("is not what this gateway signed and wrote"), "{}", site.log());
    site.app().get(&format!("/v1/audit/proofs/{later}")).expect(404);
}

#[test]
fn a_sandbox_without_an_audit_key_starts_and_says_that_its_log_is_not_signed() {
    let folder = Folder::init();
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(folder.data().join("gateway.db")).arg(
        "DROP TRIGGER keys_no_delete; DROP TRIGGER key_versions_no_delete; DROP TRIGGER key_copies_no_delete;
         DELETE FROM key_copies WHERE key_id LIKE 'sys-a%'; DELETE FROM key_versions WHERE key_id LIKE 'sys-a%';
         DELETE FROM keys WHERE id LIKE 'sys-a%';",
    );
    assert!(sqlite.status().unwrap().success());
    let site = folder.serve();
    sign(site.app());
    eventually("readyz says so", SOON, || {
        let ready = site.stranger(None).get("/readyz").expect(200).json();
        ready["audit"]["unsigned_since"].is_string().then_some(())
    });
    assert!(site.log().contains("the site has no key of purpose audit"), "{}", site.log());
}

#[test]
fn checkpoints_go_to_a_file_and_to_an_address_and_a_log_cut_off_is_found_by_them() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut text, mut part) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&text).contains("\u{2014} ") {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "the request ends early");
            text.extend_from_slice(&part[..read]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8(text).unwrap()
    });
    let folder = Folder::init();
    let section = format!(
        "[audit]\nanchor_file = \"anchors.txt\"\nanchor_url = \"http://{address}/log\"\nanchor_every = 1\n\n[fleet]\n"
    );
    folder.configure("[fleet]\n", &section);
    let site = folder.serve();
    let place = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{place}"));
    let posted = received.join().unwrap();
    assert!(
        posted.starts_with("POST /log HTTP/1.1") && posted.contains("license-gateway/audit/"),
        "{posted}"
    );
    let (folder, _) = site.stop();
    let data = folder.data();
    let anchors = data.join("anchors.txt");
    let known = ["--checkpoint", anchors.to_str().unwrap()];
    assert_eq!(verified(&data, &known).0, Some(0));
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(data.join("gateway.db")).arg(
        "DROP TRIGGER audit_entries_leave_for_the_archive_only; DROP TRIGGER audit_checkpoints_newest_stays;
         DELETE FROM audit_entries; DELETE FROM audit_checkpoints;",
    );
    assert!(sqlite.status().unwrap().success());
    assert_eq!(verified(&data, &[]).0, Some(0), "an empty log looks like a new one");
    let (code, cut) = verified(&data, &known);
    assert_eq!((code, &cut["first_broken"]), (Some(1), &0.into()), "{cut}");
}

/// Copies a database from one folder to another, with the files beside it and nothing that was there before.
fn copy_database(from: &Path, to: &Path) {
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] {
        let _ = std::fs::remove_file(to.join(name)); // it may not be there
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_backup_that_was_put_back_is_signed_again_once_an_operator_has_said_so_on_record() {
    let backup = Scratch::new();
    let site = Site::start();
    let place = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{place}"));
    let adopt = |data: &Path, more: &[&str]| {
        offline(data, &[&["adopt", "--reason", "the disk was lost"], more].concat())
    };
    let running = adopt(&site.data(), &["--yes"]);
    assert_eq!(running.status.code(), Some(2), "a gateway runs: {running:?}");
    let (folder, _) = site.stop();
    let none = adopt(&folder.data(), &["--yes", "--json"]);
    let said: Value = serde_json::from_slice(&none.stdout).unwrap_or_else(|_| panic!("{none:?}"));
    assert_eq!((none.status.code(), &said["adopted"]), (Some(0), &false.into()), "{said}");

    copy_database(&folder.data(), backup.path());
    let site = folder.serve();
    let lost = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{lost}"));
    let (folder, _) = site.stop();
    copy_database(backup.path(), &folder.data());
    let altered = |site: &Site| {
        let ready = site.stranger(None).get("/readyz").json();
        (ready["audit"]["unsigned_reason"] == "log_altered").then_some(())
    };
    let site = folder.serve_until(&[], |_| true);
    eventually("nothing is signed", SOON, || altered(&site));
    let (folder, _) = site.stop();

    // Shown and asked: nobody says yes, and nothing is changed.
    let shown = adopt(&folder.data(), &[]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(2), "{shown:?}");
    assert!(said.contains("remembered") && said.contains("in the database"), "{said}");
    let adopted = adopt(&folder.data(), &["--yes", "--json"]);
    let said: Value = serde_json::from_slice(&adopted.stdout).unwrap_or_else(|_| panic!("{adopted:?}"));
    assert_eq!((adopted.status.code(), &said["adopted"]), (Some(0), &true.into()), "{said}");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("remembers")), "{said}");
    assert!(Path::new(said["checkpoint"].as_str().unwrap()).is_file(), "{said}");

    let site = folder.serve();
    let place = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{place}"));
    let entries = site.audit();
    let entry = &entries[usize::try_from(said["audit_index"].as_u64().unwrap()).unwrap()];
    assert_eq!(
        (&entry["action"], &said["audit_index"]),
        (&json!("audit.adopt"), &said["entries"]),
        "first of all"
    );
    let subject = entry["subject"].as_str().unwrap();
    assert!(
        entry["actor"].as_str().unwrap().starts_with("unix:") && subject.ends_with(": the disk was lost"),
        "{entry}"
    );
    let (code, whole) = verified(&site.data(), &[]);
    assert_eq!((code, &whole["intact"]), (Some(0), &true.into()), "{whole}");
}

#[test]
fn whoever_makes_a_new_database_is_told_that_the_gateway_remembers_another_one() {
    let site = Site::start();
    let place = index(&sign(site.app()));
    once_signed(site.app(), &format!("/v1/audit/proofs/{place}"));
    let (folder, _) = site.stop();
    let init = || {
        let config = folder.data().join("gateway.toml");
        let ran = Command::new(gateway()).args(["init", "--config"]).arg(config).output();
        let ran = ran.expect("license-gateway can be started");
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    assert_eq!(init(), "", "it is the gateway's own database");

    copy_database(Scratch::new().path(), &folder.data()); // nothing: the database is gone
    let said = init();
    assert!(said.contains("audit-guard is of another database"), "{said}");
    assert!(said.contains("license-gateway audit adopt --config"), "{said}");
    let adopted = offline(&folder.data(), &["adopt", "--reason", "a new database", "--yes", "--json"]);
    assert_eq!(adopted.status.code(), Some(0), "{adopted:?}");
    assert_eq!(init(), "", "an operator has said that it is right");
}

#[test]
fn gateways_on_one_database_vouch_for_each_other_and_a_log_that_was_cut_off_is_found_by_the_other() {
    let server = Postgres::start();
    let folder = Folder::init_on(&server);
    folder.configure("[fleet]\n", "[audit]\nwitness_interval_ms = 200\n\n[fleet]\n");
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    for _ in 0..2 {
        sign(second.app());
    }
    let signed = sign(second.app());
    let (place, log) = (index(&signed), signed["audit_log"].as_str().unwrap());
    sign(first.app());
    let proof = once_signed(first.app(), &format!("/v1/audit/proofs/{place}?log={log}"));
    assert_eq!(proof["log"], log, "a proof can be had from any gateway");
    assert!(proof["entry"].as_str().unwrap().contains(signed["request_id"].as_str().unwrap()), "{proof}");
    for (site, of) in [(&first, &second), (&second, &first)] {
        let origin = of.app_number(2).get("/v1/audit/entries?limit=1").expect(200).json()["log"].clone();
        eventually("the other's head is on record", SOON, || {
            let page = "/v1/audit/entries?action=audit.witness&limit=1";
            let newest = site.app_number(2).get(page).expect(200).json()["items"][0].clone();
            let (whose, size) = newest["subject"].as_str()?.rsplit_once(' ')?;
            assert_eq!(origin, whose);
            (size.parse::<u64>().unwrap() > place).then_some(())
        });
    }
    let verify = |log: &str| {
        let ran = first.command(&["audit", "verify", "--json", "--log", log]);
        let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
        (ran.status.code(), json)
    };
    let (code, good) = verify("second");
    assert_eq!((code, &good["intact"]), (Some(0), &true.into()), "{good}");
    assert!(good["witnesses"].as_u64().unwrap() > 0, "{good}");
    drop(second.stop());
    // All that it left of its log says that it had one entry.
    server.query(
        "site_0",
        "SET session_replication_role = replica; -- which is to say: no triggers
         DELETE FROM audit_checkpoints WHERE log = 2;
         DELETE FROM audit_tiles WHERE log = 2;
         DELETE FROM audit_entries WHERE log = 2 AND idx > 0",
    );
    let (code, cut) = verify("second");
    assert_eq!((code, &cut["first_broken"]), (Some(1), &1.into()), "{cut}");
    assert_eq!(verify("gateway").0, Some(0), "the other log is whole");
    drop(first);
    drop(server);
}
