//! What is stored is locked until a device gives the data key, and what somebody else wrote is not used.

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
