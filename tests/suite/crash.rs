//! The crash test in short: gateway and database are killed under load, nothing acknowledged is lost, nothing is done
//! twice.

use std::process::Command;

use serde_json::Value;
use tests::{Ran, Scratch, gateway, hsm_sim};

/// Runs `load crash` and answers its report.
fn crash(options: &[&str]) -> Value {
    let scratch = Scratch::new();
    let out = scratch.path().join("crash.json");
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"));
    load.args(["crash", "--callers", "12", "--seed", "5", "--out"]).arg(&out).args(options);
    load.env("LICENSE_GATEWAY_BIN", gateway()).env("HSM_SIM_MODULE", hsm_sim());
    let ran = Ran::of(&mut load).expect("the crash test passes");
    let json: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!((&json["wrong"], &json["done_twice"]), (&0.into(), &0.into()), "{}", ran.text);
    for figure in ["signatures_with_key", "batches_with_key", "signatures_without_key", "faces"] {
        assert!(json["kinds"][figure].as_u64().is_some_and(|many| many > 5), "{figure}: {json}");
    }
    assert!(json["signed"].as_u64() >= json["entries"].as_u64(), "the stop signed all of the log: {json}");
    assert!(json["answered_again"].as_u64().is_some_and(|many| many > 0), "{json}");
    json
}

#[test]
fn a_killed_gateway_loses_nothing_and_does_nothing_twice() {
    crash(&["--kills", "4"]);
}

#[test]
fn nor_does_one_whose_database_server_is_killed_too() {
    let json = crash(&["--postgres", "--kills", "3", "--database-kills", "2"]);
    assert!(json["put_off"].as_u64().is_some_and(|many| many > 0), "some came while it was away: {json}");
    assert!(json["ready_after_database_ms"].is_number(), "{json}");
}
