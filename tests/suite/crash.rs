//! The crash test in short: the gateway is killed under load, nothing acknowledged is lost, nothing is done twice.

use std::process::Command;

use serde_json::Value;
use tests::{Ran, Scratch, gateway, hsm_sim};

#[test]
fn a_killed_gateway_loses_nothing_and_does_nothing_twice() {
    let scratch = Scratch::new();
    let out = scratch.path().join("crash.json");
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"));
    load.args(["crash", "--kills", "4", "--callers", "12", "--seed", "5", "--out"]).arg(&out);
    load.env("LICENSE_GATEWAY_BIN", gateway()).env("HSM_SIM_MODULE", hsm_sim());
    let ran = Ran::of(&mut load).expect("the crash test passes");
    let json: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!((&json["wrong"], &json["done_twice"]), (&0.into(), &0.into()), "{}", ran.text);
    assert!(json["signed"].as_u64() >= json["entries"].as_u64(), "the stop signed all of the log: {json}");
    assert!(json["acknowledged"].as_u64().is_some_and(|many| many > 50), "{json}");
    assert!(json["answered_again"].as_u64().is_some_and(|many| many > 0), "{json}");
}
