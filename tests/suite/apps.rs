//! The register of apps: who administers it, what it refuses, rotation with overlap, rates, and the one act that
//! ends an attack.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use tests::{Folder, Scratch, Signer, Site, eventually, shared};

/// A site of these tests' own.
static SITE: LazyLock<Site> = LazyLock::new(Site::start);

fn put(site: &Site, path: &str, body: &Value) -> tests::Answer {
    let json = [("content-type", "application/json")];
    site.app_number(2).send("PUT", path, &json, Some(body.to_string().as_bytes()))
}

fn app(changes: Value) -> Value {
    let mut body = json!({"id": "made", "name": "网上登记平台", "reason": "test"});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn an_app_is_entered_changed_and_shown() {
    let (site, admin) = (&*SITE, SITE.app_number(2));
    let full = app(json!({
        "scopes": ["keys", "signatures"], "keys": ["demo-sm2"], "groups": ["portal"], "fields": ["*"],
        "packages": ["sms"], "contacts": ["值班室"], "rate": {"per_second": 50, "burst": 100},
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2099-01-01T00:00:00Z",
    }));
    let made = admin.post("/v1/admin/apps", &full).expect(201).json();
    assert!(made["audit_index"].is_u64() && made["credentials"] == json!([]), "{made}");
    let shown = admin.get("/v1/admin/apps/made").expect(200).json();
    for member in [
        "name",
        "scopes",
        "keys",
        "groups",
        "fields",
        "packages",
        "contacts",
        "rate",
        "not_before",
        "not_after",
    ] {
        assert_eq!(shown[member], full[member], "{member}");
    }
    assert_eq!((&shown["state"], &shown["state_reason"]), (&json!("enabled"), &json!("")));
    assert_eq!(admin.post("/v1/admin/apps", &full).expect(409).json()["code"], "app_exists");
    let changed =
        put(site, "/v1/admin/apps/made", &json!({"name": "other", "scopes": ["keys"], "reason": "less"}));
    let changed = changed.expect(200).json();
    assert_eq!((&changed["scopes"], &changed["rate"]), (&json!(["keys"]), &Value::Null));
    let list = admin.get("/v1/admin/apps").expect(200).json();
    let ids: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.contains(&"made") && ids.contains(&"sandbox-portal"), "{ids:?}");
    let acts = site.audit();
    let of = |action: &str| {
        acts.iter()
            .filter(|entry| {
                entry["action"] == action
                    && entry["subject"].as_str().unwrap_or_default().starts_with("made: ")
            })
            .map(|entry| entry["outcome"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("app.create"), ["intended", "ok", "intended", "app_exists"]);
    assert_eq!(of("app.change"), ["intended", "ok"]);
    let text = acts.iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains("值班室"), "contacts are not for the record");
}

#[test]
fn what_cannot_be_an_app_is_refused_with_every_fault() {
    let admin = shared().site.app_number(2);
    let cases = [
        (app(json!({"id": "a b"})), "id", "invalid_value"),
        (app(json!({"id": "网"})), "id", "invalid_value"),
        (app(json!({"id": "gateway"})), "id", "invalid_value"),
        (app(json!({"id": "Trust_Fi1es"})), "id", "invalid_value"),
        (app(json!({"id": "person.wang.lei"})), "id", "invalid_value"),
        (app(json!({"name": ""})), "name", "invalid_value"),
        (app(json!({"name": "a\nb"})), "name", "invalid_value"),
        (app(json!({"scopes": ["everything"]})), "scopes", "unknown_scope"),
        (app(json!({"keys": ["none"]})), "keys", "unknown_key"),
        (app(json!({"keys": ["front-sm2"]})), "keys", "key_not_permitted"),
        (app(json!({"groups": ["none"]})), "groups", "unknown_group"),
        (app(json!({"rate": {"per_second": 0, "burst": 1}})), "rate.per_second", "invalid_value"),
        (app(json!({"rate": {"per_second": 1, "burst": 2_000_000}})), "rate.burst", "invalid_value"),
        (app(json!({"not_after": "tomorrow"})), "not_after", "invalid_time"),
        (
            app(json!({"not_before": "2027-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"})),
            "not_after",
            "invalid_value",
        ),
        (
            app(json!({"contacts": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]})),
            "contacts",
            "invalid_value",
        ),
        (app(json!({"reason": " "})), "reason", "invalid_value"),
        (app(json!({"colour": 1})), "colour", "unknown_field"),
    ];
    for (body, field, code) in cases {
        let answer = admin.post("/v1/admin/apps", &body).expect(422).json();
        let errors = answer["errors"].as_array().unwrap();
        assert!(
            errors.iter().any(|error| error["field"] == field && error["code"] == code),
            "{body}: {answer}"
        );
    }
    for path in ["/v1/admin/apps/none", "/v1/admin/apps/n%20o", "/v1/admin/apps/%00"] {
        assert_eq!(admin.get(path).expect(404).json()["code"], "unknown_app", "{path}");
    }
    let business = shared().site.app();
    for answer in [business.get("/v1/admin/apps"), business.post("/v1/admin/apps", &app(json!({})))] {
        assert_eq!(answer.expect(403).json()["code"], "scope_missing");
    }
}

#[test]
fn what_cannot_be_a_credential_is_refused() {
    let site = &*SITE;
    let signer = site.signing_app("credentials", "p256");
    let admin = site.app_number(2);
    let path = "/v1/admin/apps/credentials/credentials";
    let key = signer.public_key();
    let chain = site.app().get("/v1/keys/demo-sm2").expect(200).json()["certificate_chain"].clone();
    let cases = [
        (json!({"kind": "rsa", "reason": "r"}), "kind", "invalid_value"),
        (json!({"kind": "p256", "reason": "r"}), "public_key", "missing_field"),
        (json!({"kind": "sm2", "public_key": key, "reason": "r"}), "public_key", "algorithm_mismatch"),
        (json!({"kind": "p256", "public_key": "x", "reason": "r"}), "public_key", "invalid_public_key"),
        (json!({"kind": "certificate", "reason": "r"}), "certificate", "missing_field"),
        (
            json!({"kind": "certificate", "certificate": "x", "reason": "r"}),
            "certificate",
            "invalid_certificate",
        ),
        (
            json!({"kind": "p256", "public_key": key, "certificate": chain, "reason": "r"}),
            "certificate",
            "invalid_value",
        ),
        (
            json!({"kind": "p256", "public_key": key, "not_after": "2020-01-01T00:00:00Z", "reason": "r"}),
            "not_after",
            "invalid_value",
        ),
        (
            json!({"kind": "p256", "public_key": key, "overlap_s": 5, "reason": "r"}),
            "overlap_s",
            "invalid_value",
        ),
        (json!({"kind": "p256", "public_key": key, "reason": ""}), "reason", "invalid_value"),
    ];
    for (body, field, code) in cases {
        let answer = admin.post(path, &body).expect(422).json();
        let errors = answer["errors"].as_array().unwrap();
        assert!(
            errors.iter().any(|error| error["field"] == field && error["code"] == code),
            "{body}: {answer}"
        );
    }
    let unknown = json!({"kind": "p256", "public_key": key, "replaces": "none", "reason": "r"});
    assert_eq!(admin.post(path, &unknown).expect(404).json()["code"], "unknown_credential");
    let first = site.app_command(&["show", "credentials"])["credentials"][0]["id"].clone();
    let far = json!({"kind": "p256", "public_key": key, "replaces": first, "not_before": "9999-12-31T23:59:59Z", "reason": "r"});
    assert_eq!(admin.post(path, &far).expect(422).json()["errors"][0]["field"], "not_before");
    let revoke = format!("{path}/none/revoke");
    assert_eq!(admin.post(&revoke, &json!({"reason": "r"})).expect(404).json()["code"], "unknown_credential");
    admin.post(path, &json!({"kind": "p256", "public_key": key, "reason": "r"})).expect(201);
    let third =
        admin.post(path, &json!({"kind": "p256", "public_key": key, "reason": "r"})).expect(409).json();
    assert_eq!(third["code"], "too_many_credentials");
}

#[test]
fn a_key_is_rotated_with_an_overlap() {
    let site = &*SITE;
    let old = site.signing_app("rotating", "sm2");
    let first = site.app_command(&["show", "rotating"])["credentials"][0]["id"].as_str().unwrap().to_owned();
    let new = Signer::new("rotating", "sm2");
    let scratch = Scratch::new();
    let public = scratch.write("public.pem", new.public_key());
    let added = site.app_command(&[
        "credential",
        "add",
        "rotating",
        "--kind",
        "sm2",
        "--public-key",
        public.to_str().unwrap(),
        "--replaces",
        &first,
        "--overlap",
        "20",
        "--reason",
        "yearly",
    ]);
    let get = |signer: &Signer| signer.request("GET", "/v1/keys", b"").send(site).status;
    assert_eq!((get(&old), get(&new)), (200, 200), "both hold during the overlap");
    eventually("the old key ends", Duration::from_secs(120), || (get(&old) == 401).then_some(()));
    assert_eq!(get(&new), 200);
    // The new one can be named, the old one too, which is then refused.
    let named = |id: &str| new.request("GET", "/v1/keys", b"").with("x-credential", id).send(site).status;
    assert_eq!((named(&first), named(added["id"].as_str().unwrap())), (401, 200));
}

#[test]
fn an_api_key_is_shown_once_and_works_until_it_is_revoked() {
    let site = &*SITE;
    site.app_command(&["create", "keyed", "--name", "keyed", "--scope", "keys", "--reason", "test"]);
    let added = site.app_command(&["credential", "add", "keyed", "--kind", "api-key", "--reason", "test"]);
    let (id, key) = (added["id"].as_str().unwrap(), added["secret"].as_str().unwrap());
    site.stranger(Some(key)).get("/v1/keys").expect(200);
    let shown = site.app_command(&["show", "keyed"]).to_string();
    assert!(!shown.contains(key) && shown.contains(id), "{shown}");
    assert!(!site.log().contains(key));
    site.app_command(&["credential", "revoke", "keyed", id, "--reason", "test"]);
    assert_eq!(site.stranger(Some(key)).get("/v1/keys").expect(401).json()["code"], "api_key_invalid");
}

#[test]
fn an_app_that_is_not_served_is_told_why_once_it_has_proved_itself() {
    let site = &*SITE;
    let signer = site.signing_app("resting", "p256");
    let get = || signer.request("GET", "/v1/keys", b"").send(site);
    for (verb, code) in [("disable", "app_disabled"), ("lock", "app_locked")] {
        site.app_command(&[verb, "resting", "--reason", "test"]);
        assert_eq!(get().expect(403).json()["code"], code);
        let stranger = Signer::new("resting", "p256").request("GET", "/v1/keys", b"").send(site);
        assert_eq!(stranger.expect(401).json()["code"], "client_signature_invalid");
    }
    site.app_command(&["enable", "resting", "--reason", "test"]);
    get().expect(200);
    for times in [["--not-before", "2099-01-01T00:00:00Z"], ["--not-after", "2020-01-01T00:00:00Z"]] {
        site.app_command(&["change", "resting", times[0], times[1], "--reason", "test"]);
        assert_eq!(get().expect(403).json()["code"], "app_not_valid");
        site.app_command(&["change", "resting", times[0], "", "--reason", "test"]);
    }
    get().expect(200);
}

#[test]
fn what_was_answered_before_is_not_for_an_app_that_may_do_less_now() {
    let site = &*SITE;
    let signer = site.signing_app("narrowed", "p256");
    let order = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"AA=="}}"#;
    let sign_under =
        |key: &str| signer.request("POST", "/v1/signatures", order).with("idempotency-key", key).send(site);
    let sign = || sign_under("narrowed-1");
    let first = sign().expect(201);
    assert_eq!(sign().expect(201).text(), first.text());
    site.app_command(&["change", "narrowed", "--scope", "signatures", "--reason", "test"]);
    assert_eq!(sign().expect(409).json()["code"], "idempotency_mismatch");
    // Nor for one that may see something else.
    let second = sign_under("narrowed-2").expect(201);
    assert_eq!(sign_under("narrowed-2").expect(201).text(), second.text());
    site.app_command(&["change", "narrowed", "--field", "domicile", "--reason", "test"]);
    assert_eq!(sign_under("narrowed-2").expect(409).json()["code"], "idempotency_mismatch");
    site.app_command(&["change", "narrowed", "--scope", "keys", "--reason", "test"]);
    assert_eq!(sign().expect(403).json()["code"], "scope_missing");
}

#[test]
fn an_app_keeps_to_its_rate_and_nobody_else_has_to() {
    let site = &*SITE;
    let signers = ["noisy", "quiet"].map(|id| site.signing_app(id, "p256"));
    site.app_command(&["change", "noisy", "--rate", "1", "--burst", "3", "--reason", "test"]);
    let get = |signer: &Signer| signer.request("GET", "/v1/keys", b"").send(site);
    let limited = eventually("the burst is used up", Duration::from_secs(60), || {
        let answer = get(&signers[0]);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(limited.expect(429).json()["code"], "rate_limited");
    get(&signers[1]).expect(200);
    let again = eventually("a second later one more passes", Duration::from_secs(60), || {
        let answer = get(&signers[0]);
        match answer.status {
            429 => {
                assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
                None
            }
            _ => Some(answer),
        }
    });
    again.expect(200);
}

/// The manifest of the evidence on a frozen app, as soon as it is on record, and the audit entries that it holds.
fn evidence(site: &Site, frozen: &Value) -> (Value, Vec<Value>) {
    let entry = eventually("the evidence is on record", Duration::from_secs(60), || {
        let kept = |entry: &Value| {
            entry["action"] == "app.evidence"
                && entry["request_id"] == frozen["request_id"]
                && entry["outcome"] != "intended"
        };
        site.audit().into_iter().find(kept)
    });
    assert_eq!(entry["outcome"], "ok", "{entry}");
    let folder = std::path::PathBuf::from(frozen["evidence"].as_str().unwrap());
    let digest = |name: &str| hex::encode(Sm3::digest(std::fs::read(folder.join(name)).unwrap()));
    assert_eq!(entry["result_digest"], digest("manifest.json"));
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        assert_eq!(digest(file["name"].as_str().unwrap()), file["sm3"].as_str().unwrap(), "{file}");
    }
    let lines = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    (manifest, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn evidence_goes_back_into_the_archive_and_says_where_it_had_to_stop() {
    let folder = Folder::init();
    folder.configure("[callers]\n", "[audit]\narchive = \"archive\"\narchive_after_days = 0\n[callers]\n");
    let site = folder.serve();
    let signer = site.signing_app("archived", "p256");
    let order = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
    for _ in 0..520 {
        signer.request("POST", "/v1/signatures", order).send(&site).expect(201);
    }
    // Whole tiles that a checkpoint covers go.
    eventually("old entries are in the archive only", Duration::from_secs(120), || {
        (site.audit().len() < 200).then_some(())
    });
    let signed = |entries: &[Value]| {
        let signed = |line: &&Value| line["entry"]["actor"] == "archived" && line["entry"]["outcome"] == "ok";
        entries.iter().filter(signed).count()
    };
    let frozen = site.app_command(&["freeze", "archived", "--reason", "its key was stolen"]);
    let (manifest, entries) = evidence(&site, &frozen);
    assert_eq!((&manifest["audit_entries"]["complete"], signed(&entries)), (&json!(true), 520), "{manifest}");
    assert!(entries.is_sorted_by_key(|line| line["index"].as_u64()), "oldest first");

    // What cannot be read is not passed over in silence.
    let (folder, _) = site.stop();
    std::fs::rename(folder.data().join("archive"), folder.data().join("elsewhere")).unwrap();
    let site = folder.serve();
    let frozen = site.app_command(&["freeze", "archived", "--reason", "once more"]);
    let (manifest, entries) = evidence(&site, &frozen);
    let about = &manifest["audit_entries"];
    assert_eq!(
        (&about["complete"], &about["stopped"][0]["before"]),
        (&json!(false), &json!(512)),
        "{manifest}"
    );
    assert!(signed(&entries) < 520, "{manifest}");
}

#[test]
fn one_act_ends_an_attack_and_keeps_the_evidence() {
    let site = Site::start();
    let signer = site.signing_app("attacked", "sm2");
    let key = site.app_command(&["credential", "add", "attacked", "--kind", "api-key", "--reason", "test"]);
    let key = site.stranger(key["secret"].as_str());
    let order = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
    for _ in 0..3 {
        signer.request("POST", "/v1/signatures", order).send(&site).expect(201);
    }
    key.get("/v1/keys").expect(200);
    let thief = Signer::new("attacked", "sm2");
    thief.request("GET", "/v1/keys", b"").send(&site).expect(401);
    let claimed = |entry: &Value| entry["actor"] == "unproved:attacked:127.0.0.1";
    eventually("the guess is on record", Duration::from_secs(60), || {
        site.audit().iter().any(claimed).then_some(())
    });
    let frozen = site.app_command(&["freeze", "attacked", "--reason", "its key was stolen"]);
    assert_eq!((&frozen["state"], &frozen["state_reason"]), (&json!("locked"), &json!("its key was stolen")));
    // Contained: no proof of it opens anything, also on a connection that is open.
    assert_eq!(key.get("/v1/keys").expect(401).json()["code"], "api_key_invalid");
    let refused = signer.request("POST", "/v1/signatures", order).send(&site).expect(401).json();
    assert_eq!(refused["code"], "client_signature_invalid");
    assert!(
        frozen["credentials"].as_array().unwrap().iter().all(|held| held["in_force"] == false),
        "{frozen}"
    );
    let of_freeze = |entry: &&Value| entry["request_id"] == frozen["request_id"];
    let entry = site.audit().into_iter().rfind(|entry| entry["action"] == "app.freeze").unwrap();
    assert_eq!((&entry["outcome"], &entry["request_id"]), (&json!("ok"), &frozen["request_id"]));
    // The evidence is whole, and the audit log names it.
    let (manifest, entries) = evidence(&site, &frozen);
    assert_eq!(manifest["audit_entries"]["complete"], true, "{manifest}");
    let acts = site.audit();
    let acts: Vec<_> =
        acts.iter().filter(of_freeze).map(|entry| [&entry["action"], &entry["outcome"]]).collect();
    let expected = [
        ["app.freeze", "intended"],
        ["app.freeze", "ok"],
        ["app.evidence", "intended"],
        ["app.evidence", "ok"],
    ];
    assert_eq!(acts, expected);
    let folder = std::path::PathBuf::from(frozen["evidence"].as_str().unwrap());
    let signed =
        entries.iter().filter(|line| line["entry"]["actor"] == "attacked" && !line["entry"]["key"].is_null());
    assert_eq!(signed.count(), 3, "{entries:?}");
    assert!(entries.iter().any(|line| claimed(&line["entry"])), "{entries:?}");
    let requests = std::fs::read_to_string(folder.join("requests.txt")).unwrap();
    assert!(entries.iter().all(|line| requests.contains(line["entry"]["request_id"].as_str().unwrap())));
    // Restored: with a new key, by somebody who says so.
    let new = Signer::new("attacked", "sm2");
    new.enter(&site);
    assert_eq!(new.request("GET", "/v1/keys", b"").send(&site).expect(403).json()["code"], "app_locked");
    site.app_command(&["enable", "attacked", "--reason", "handled"]);
    new.request("GET", "/v1/keys", b"").send(&site).expect(200);
    signer.request("GET", "/v1/keys", b"").send(&site).expect(401);
}
