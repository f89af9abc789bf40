//! Test enterprises (ZZJGD and 13 digits) exist in a sandbox; a site for production takes none of them.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Folder, Ran, Scratch, Site};

use crate::mandates::{self, mandate, with};
use crate::seals;

const TEST_CODE: &str = "ZZJGD1609314154606";

/// What the site answers whoever administers it from its own machine.
fn administered(site: &Site, path: &str, body: &Value) -> Value {
    let scratch = Scratch::new();
    let body = scratch.write("body.json", body.to_string());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-H", "content-type: application/json", "--unix-socket"]).arg(site.admin_socket());
    let ran = Ran::of(
        curl.arg("--data-binary").arg(format!("@{}", body.display())).arg(format!("http://localhost{path}")),
    );
    serde_json::from_slice(&ran.expect("curl").stdout).expect("JSON")
}

#[track_caller]
fn refused(answer: &Value, field: &str) {
    let fault = json!({"field": field, "code": "test_identity_in_production"});
    let faults = answer["errors"].as_array().cloned().unwrap_or_default();
    let is_it = |found: &Value| found["field"] == fault["field"] && found["code"] == fault["code"];
    assert!(faults.iter().any(is_it), "{field}: {answer:#}");
}

#[test]
fn a_site_for_production_takes_no_test_enterprise() {
    let folder = Folder::init();
    folder.configure("sandbox = true", "sandbox = false");
    folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
    let site = folder.serve();
    let enterprise = json!({"enterprise": {"name": "测试企业", "uscc": TEST_CODE}});
    let entered = json!({"mandate": with(mandate(&site, "M-1"), enterprise), "reason": "r"});
    refused(&administered(&site, mandates::PATH, &entered), "mandate.enterprise.uscc");
    let branch = with(mandate(&site, "M-2"), json!({"branches": [TEST_CODE]}));
    let entered = json!({"mandate": branch, "reason": "r"});
    refused(&administered(&site, mandates::PATH, &entered), "mandate.branches");
    let mut seal = seals::seal(&site, "S-1");
    seal["holder"]["uscc"] = json!(TEST_CODE);
    refused(&administered(&site, seals::PATH, &seals::order(&seal)), "seal.holder.uscc");
}
