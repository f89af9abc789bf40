//! Every part of the benchmark starts, measures and ends: a part that has not run for a while is found here, not on the day
//! when its figure is wanted. The figures of such short runs mean nothing and are not looked at.

use std::process::Command;

use serde_json::Value;
use tests::{Ran, Scratch, gateway, hsm_sim};

/// What a row says of a machine that does other things besides, as one that runs tests does.
const BUSY: &str = "processors were the bound, not the devices";

/// Runs one part for as short as it can, and looks for its rows by name.
fn part(name: &str, rows: &[&str]) {
    let scratch = Scratch::new();
    let out = scratch.path().join("bench.json");
    let mut load = Command::new(env!("CARGO_BIN_EXE_load"));
    load.args(["bench", "--seconds", "1", "--rounds", "1", "--only", name, "--out"]).arg(&out);
    load.env("LICENSE_GATEWAY_BIN", gateway()).env("HSM_SIM_MODULE", hsm_sim());
    let ran = Ran::of(&mut load).expect("the part runs to its end");
    let json: Value = serde_json::from_slice(&std::fs::read(&out).expect("it wrote its rows")).unwrap();
    for wanted in rows {
        let mut found = json["rows"].as_array().unwrap().iter().filter(|row| row["name"] == *wanted);
        let row = found.next().unwrap_or_else(|| panic!("{name} has no row {wanted}: {}", ran.text));
        let measured = row["value"].as_f64().is_some_and(f64::is_finite) || row["why_null"] == BUSY;
        assert!(measured, "{row}");
    }
}

macro_rules! parts {
    ($($test:ident: $name:literal, $rows:expr;)*) => {
        $(#[test]
        fn $test() {
            part($name, $rows);
        })*
    };
}

parts! {
    the_cost_of_the_audit_log_is_measured: "audit", &["audit", "audit-postgres"];
    the_databases_are_measured: "database", &["database", "once_sqlite", "once_postgres"];
    the_edge_is_measured: "edge", &["edge"];
    broken_devices_are_measured: "fault", &["fault", "fault_p99"];
    slow_devices_are_measured: "fleet", &["fleet_use", "fleet_use_20ms"];
    idle_connections_are_measured: "idle", &["idle"];
    the_sandbox_is_measured: "sandbox", &["sign_sm2"];
    softhsm_is_measured: "softhsm", &["sign_p256", "sign_p256_p99", "sign_p256_p99_half"];
    stamps_are_measured: "stamps", &["stamp_pdf", "stamp_pdf_100", "stamp_ofd", "stamp_pdf_1m", "stamp_cost_1m"];
    verification_is_measured: "verify", &["verify_batch"];
    worker_processes_are_measured: "worker", &["worker", "worker_four", "worker_sim", "worker_sim_four"];
}
