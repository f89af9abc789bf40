//! The soak in short: devices break under load, nothing wrong or lost comes of it, nothing is left over; and a
//! soak that must fail does.

use std::process::Command;

use serde_json::Value;
use tests::{Ran, Scratch, gateway, hsm_sim};

/// `load soak` with blank-separated arguments; what it printed, and its JSON if it got so far.
fn soak(arguments: &str) -> (Ran, Value) {
    let scratch = Scratch::new();
    let out = scratch.path().join("soak.json");
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"));
    load.arg("soak").args(arguments.split_whitespace()).arg("--out").arg(&out);
    load.env("LICENSE_GATEWAY_BIN", gateway()).env("HSM_SIM_MODULE", hsm_sim());
    let ran = Ran::of(&mut load);
    let json = std::fs::read(&out).ok().and_then(|json| serde_json::from_slice(&json).ok());
    (ran, json.unwrap_or_default())
}

#[test]
fn a_short_soak_breaks_devices_and_gives_nothing_wrong_and_loses_nothing() {
    let (ran, json) = soak("--seconds 8 --rate 60 --seed 12");
    let ran = ran.expect("the soak passes");
    assert_eq!((&json["wrong"], &json["audit"]["lost"]), (&0.into(), &0.into()), "{}", ran.text);
    assert_eq!(json["audit"]["found"], json["signatures_verified"]);
    assert!(json["signatures_verified"].as_u64().is_some_and(|verified| verified > 100), "{json}");
    let breakdowns = json["breakdowns"].as_array().expect("breakdowns are listed");
    let sum = |what: &str| breakdowns.iter().filter_map(|kind| kind[what].as_u64()).sum::<u64>();
    assert!(sum("times") >= 5 && sum("noticed") >= 3, "{json}");
}

#[test]
fn a_soak_with_lying_devices_and_no_output_check_fails() {
    let lying = "--only wrong --only flipped --only cut";
    let (ran, json) = soak(&format!("--seconds 5 --rate 60 --seed 2 --output-check first-use {lying}"));
    assert!(!ran.ok, "{}", ran.text);
    assert!(json["wrong"].as_u64().is_some_and(|wrong| wrong > 0), "{}", ran.text);
    assert!(ran.text.contains("wrong results"), "{}", ran.text);
}
