//! `license-gateway device probe`, as an operator runs it: beside a gateway that uses the same device.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{Ran, Site, base64, eventually, gateway};

/// `device probe` of a sandbox's first device, with more arguments.
fn probe(site: &Site, token: &str, more: &[&str]) -> Command {
    let (home, module) = (site.data().join("hsm/d1"), site.data().join("hsm/libhsm_sim.so"));
    let mut probe = Command::new(gateway());
    probe.args(["device", "probe", "--seconds", "0", "--token", token, "--module"]).arg(module);
    probe.arg("--env").arg(format!("HSM_SIM_CONFIG={}", home.join("hsm-sim.toml").display()));
    probe.args(more);
    probe
}

fn pin(site: &Site) -> String {
    site.data().join("hsm/d1/pin").display().to_string()
}

fn exit_code(command: &mut Command) -> Option<i32> {
    command.output().expect("the program runs").status.code()
}

fn sign(site: &Site) {
    let body = serde_json::json!({
        "key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"while it is examined")}
    });
    site.app().post("/v1/signatures", &body).expect(201);
}

#[test]
fn a_device_in_service_is_examined_and_goes_on_serving() {
    let site = Site::start();
    let pin = pin(&site);
    let ran = Ran::of(&mut probe(&site, "d1", &["--pin-file", &pin, "--json"])).expect("device probe");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("one JSON object on standard output");
    assert_eq!((&report["usable"], &report["dialect"]), (&true.into(), &"standard".into()), "{report}");
    assert!(report["device"].as_str().unwrap().contains("serial = \"SIM000001\""), "{report}");
    assert!(!ran.text.contains(std::fs::read_to_string(&pin).unwrap().trim()), "the PIN is shown");
    sign(&site);
    eventually("d1 is ready", Duration::from_secs(60), || (site.device_state("d1") == "ready").then_some(()));
}

#[test]
fn the_exit_code_says_usable_not_usable_or_wrong_usage() {
    let site = Site::start();
    let pin = pin(&site);
    let key = ["--existing-key", "64656d6f2d736d32", "--pin-file", &pin]; // demo-sm2
    assert_eq!(exit_code(&mut probe(&site, "d1", &key)), Some(0));
    assert_eq!(exit_code(&mut probe(&site, "nobody", &["--pin-file", &pin])), Some(1));
    assert_eq!(exit_code(&mut probe(&site, "d1", &[])), Some(1), "without a PIN no key is tried");
    assert_eq!(exit_code(&mut probe(&site, "d1", &["--pin-file", "/nonexistent"])), Some(2));
    assert_eq!(exit_code(&mut probe(&site, "d1", &["--existing-key", "xyz"])), Some(2));
    assert_eq!(exit_code(&mut probe(&site, "d1", &["--lanes", "0"])), Some(2));
}
