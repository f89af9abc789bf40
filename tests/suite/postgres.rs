//! A site whose state is in PostgreSQL.

use std::time::Duration;

use serde_json::json;
use tests::{Answer, Caller, Folder, Postgres, base64, eventually};

const SOON: Duration = Duration::from_secs(60);

fn sign(app: &Caller) -> Answer {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"kept")}});
    app.post("/v1/signatures", &body)
}

fn index(answer: &Answer) -> u64 {
    answer.json()["audit_index"].as_u64().expect("a signature has a place in the log")
}

#[test]
fn a_site_on_postgresql_signs_looks_up_and_keeps_what_it_has_over_a_restart() {
    let server = Postgres::start();
    let site = Folder::init_on(&server).serve();
    assert!(!site.data().join("gateway.db").exists());
    let before = index(&sign(site.app()).expect(201));
    let uscc = site.sandbox()["licenses"][0].as_str().unwrap().to_owned();
    site.app().get(&format!("/v1/licenses/{uscc}/face")).expect(200);
    site.app().post("/v1/signatures", &json!({"key": "no-such", "input": {}})).expect(422);
    let first_log = site.log();

    let (folder, status) = site.stop();
    assert_eq!(status.code(), Some(0), "SIGTERM ends with {status}");
    let site = folder.serve();
    assert!(index(&sign(site.app()).expect(201)) > before);
    for log in [first_log, site.log(), std::fs::read_to_string(site.config()).unwrap()] {
        assert!(!log.contains(server.password()), "{log}");
    }
}

#[test]
fn while_the_server_is_away_nothing_is_signed_and_afterwards_all_goes_on() {
    let mut server = Postgres::start();
    let site = Folder::init_on(&server).serve();
    let before = index(&sign(site.app()).expect(201));
    server.kill();
    let refused = sign(site.app());
    assert_eq!(refused.status, 503, "{:?}", refused.json());
    site.stranger(None).get("/livez").expect(200);
    site.stranger(None).get("/readyz").expect(503);

    server.begin();
    let after = eventually("the gateway signs again", SOON, || {
        let answer = sign(site.app());
        (answer.status == 201).then(|| index(&answer))
    });
    assert!(after > before);
}
