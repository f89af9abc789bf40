//! What is stored is locked until a device gives the data key, and what somebody else wrote is not used.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::{Answer, Caller, Folder, Ran, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(60);
/// The devices that hold the key which gives the data key back.
const BUREAU: [&str; 7] = ["d1", "d2", "d3", "d4", "d5", "d6", "d7"];

fn sign(app: &Caller, key: &str) -> Answer {
    let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"kept")}});
    app.post("/v1/signatures", &body)
}

fn sql(folder: &Folder, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(statement)).expect(statement);
}

#[test]
fn with_every_device_of_the_group_down_a_gateway_starts_locked_and_unlocks_itself() {
    let (folder, _) = Site::start().stop();
    let pin = |device: &str| folder.data().join("hsm").join(device).join("pin");
    let hidden = |device: &str| pin(device).with_extension("hidden");
    let moves: Vec<_> = BUREAU.iter().map(|device| (hidden(device), pin(device))).collect();
    for (hidden, pin) in &moves {
        std::fs::rename(pin, hidden).unwrap();
    }
    let site =
        folder.serve_until(&[], |answer| answer.status == 503 && answer.json()["groups"]["portal"] == 2);
    let anybody = site.stranger(None);
    assert_eq!(anybody.get("/readyz").expect(503).json()["locked"], true);
    anybody.get("/livez").expect(200);
    let refused = sign(site.app(), "portal-sm2").expect(503);
    assert_eq!(refused.json()["code"], "data_locked", "although the portal's devices could");
    // Whoever mends the devices gets in.
    assert!(site.command(&["device", "list"]).status.success());

    for (hidden, pin) in &moves {
        std::fs::rename(hidden, pin).unwrap();
    }
    eventually("the gateway unlocks itself", SOON, || (anybody.get("/readyz").status == 200).then_some(()));
    for key in ["portal-sm2", "demo-sm2"] {
        eventually("the keys sign again", SOON, || (sign(site.app(), key).status == 201).then_some(()));
    }
}

#[test]
fn a_key_whose_row_was_altered_in_the_database_signs_no_more() {
    let site = Site::start();
    sign(site.app(), "demo-sm2").expect(201);
    let made = site.audit();
    let made: Vec<_> = made.iter().filter(|entry| entry["action"] == "data_key.create").collect();
    assert_eq!(made.len(), 1, "{made:?}");

    let (folder, _) = site.stop();
    sql(&folder, "UPDATE key_versions SET retires_at = 4102444800 WHERE key_id = 'demo-sm2'");
    let site = folder.serve();
    let refused = sign(site.app(), "demo-sm2");
    assert_ne!(refused.status, 201, "{:?}", refused.json());
    sign(site.app(), "demo-p256").expect(422); // the wrong algorithm: the key itself is there
    assert!(site.log().contains("a row was altered outside the gateway"), "{}", site.log());
}

#[test]
fn an_app_that_was_given_scopes_or_a_credential_in_the_database_is_nobody() {
    let site = Site::start();
    let mut signer = site.signing_app("modest", "p256");
    signer.request("GET", "/v1/keys", b"").send(&site).expect(200);
    let (folder, _) = site.stop();
    sql(&folder, "UPDATE apps SET scopes = '[\"apps\",\"keys\"]' WHERE id = 'modest'");
    sql(
        &folder,
        "INSERT INTO app_credentials (id, app, kind, material, label, not_before, created_at, revision, code)
         SELECT 'copied', 'sandbox-operations', kind, material, label, not_before, created_at, revision, code
         FROM app_credentials WHERE app = 'modest'",
    );
    let site = folder.serve();
    for (app, path) in [("modest", "/v1/keys"), ("sandbox-operations", "/v1/admin/apps")] {
        signer.app = app.to_owned();
        let refused = signer.request("GET", path, b"").send(&site).expect(401).json();
        assert_eq!(refused["code"], "client_signature_invalid", "{app}");
    }
    site.app_number(2).get("/v1/admin/apps").expect(200); // its own credential holds
    let altered = ["apps modest", "app_credentials copied"];
    eventually("both are on record", SOON, || {
        let audit = site.audit();
        let named = |row: &&str| {
            audit.iter().any(|entry| entry["action"] == "row.altered" && entry["subject"] == **row)
        };
        altered.iter().all(named).then_some(())
    });
}

#[test]
fn an_app_that_was_frozen_and_put_back_as_it_was_stays_out() {
    let site = Site::start();
    let signer = site.signing_app("modest", "p256");
    signer.request("GET", "/v1/keys", b"").send(&site).expect(200);
    let (folder, _) = site.stop();
    let data = folder.data().to_path_buf();
    let old = data.join("old.db");
    sql(&folder, &format!("VACUUM INTO '{}'", old.display()));
    let site = folder.serve();
    assert!(site.command(&["app", "freeze", "modest", "--reason", "stolen"]).status.success());
    signer.request("GET", "/v1/keys", b"").send(&site).expect(401);
    let seen =
        || std::fs::read_to_string(data.join("audit-guard/gateway.revisions.json")).unwrap_or_default();
    let frozen = format!("\"apps modest\":{}", revision(&data));
    eventually("the gateway has seen it", SOON, || seen().contains(&frozen).then_some(()));
    let (folder, _) = site.stop();
    sql(
        &folder,
        &format!(
            "DROP TRIGGER app_credentials_stay_revoked;
             ATTACH '{}' AS old;
             UPDATE apps SET (state, reason, changed_at, revision, code) =
                 (SELECT state, reason, changed_at, revision, code FROM old.apps WHERE id = 'modest')
             WHERE id = 'modest';
             UPDATE app_credentials SET (revoked_at, revoked_reason, revision, code) =
                 (SELECT revoked_at, revoked_reason, revision, code FROM old.app_credentials AS kept
                  WHERE kept.id = app_credentials.id)
             WHERE app = 'modest'",
            old.display()
        ),
    );
    let site = folder.serve();
    let refused = signer.request("GET", "/v1/keys", b"").send(&site).expect(401).json();
    assert_eq!(refused["code"], "client_signature_invalid");
    eventually("it is on record", SOON, || {
        let put_back =
            |entry: &serde_json::Value| entry["action"] == "row.altered" && entry["subject"] == "apps modest";
        site.audit().iter().any(put_back).then_some(())
    });
}

/// Of the app `modest`, by the database beside a running gateway.
fn revision(data: &Path) -> String {
    let mut sqlite = Command::new("sqlite3");
    let select = "SELECT revision FROM apps WHERE id = 'modest'";
    let found = Ran::of(sqlite.arg("-readonly").arg(data.join("gateway.db")).arg(select));
    assert!(found.ok, "{}", found.text);
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_new_data_key_is_made_on_command_once_at_a_time_and_on_record() {
    let site = Site::start();
    let rotate = |reason: &str| site.command(&["data-key", "rotate", "--json", "--reason", reason]);
    let answer = |output: std::process::Output| -> serde_json::Value {
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = rotate("five years are over");
    assert!(first.status.success());
    assert_eq!(answer(first)["version"], 2);
    let second = rotate("again");
    assert!(!second.status.success());
    assert_eq!(answer(second)["code"], "data_key_pending");
    let said: Vec<_> = site
        .audit()
        .into_iter()
        .filter(|entry| entry["action"] == "data_key.rotate")
        .map(|entry| (entry["outcome"].clone(), entry["subject"].clone()))
        .collect();
    let expected = [
        ("intended", "five years are over"),
        ("ok", "version 2: five years are over"),
        ("intended", "again"),
        ("data_key_pending", "again"),
    ];
    assert_eq!(said, expected.map(|(outcome, subject)| (json!(outcome), json!(subject))));
    sign(site.app(), "demo-sm2").expect(201);
    let (folder, _) = site.stop();
    sign(folder.serve().app(), "demo-sm2").expect(201);
}

#[test]
fn a_caller_that_hangs_up_leaves_no_new_data_key_without_its_outcome() {
    let site = Site::start();
    for device in BUREAU {
        site.fault(device, "latency_ms = 900.0\n");
    }
    let key = site.sandbox()["apps"][2]["api_key"].as_str().unwrap();
    let body = json!({"reason": "and away"}).to_string();
    let request = format!(
        "POST /v1/admin/data-key:rotate HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(site.base().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let outcomes = || -> Vec<_> {
        let entries = site.audit().into_iter().filter(|entry| entry["action"] == "data_key.rotate");
        entries.map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the act has begun", SOON, || (!outcomes().is_empty()).then_some(()));
    drop(stream);
    let said = eventually("it has ended", SOON, || Some(outcomes()).filter(|said| said.len() > 1));
    assert_eq!(said[0], "intended");
    assert_eq!(said.len(), 2, "{said:?}");
}
