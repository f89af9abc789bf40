//! The admin socket and the commands that speak over it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Ran, Scratch, Site, eventually, gateway, shared, signal};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must end with this code.
#[track_caller]
fn run(site: &Site, arguments: &[&str], code: i32) -> Output {
    let output = site.command(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    output
}

fn run_json(site: &Site, arguments: &[&str]) -> Value {
    let output = run(site, &[arguments, &["--json"]].concat(), 0);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {}", stdout(&output)))
}

/// `curl` at the socket; the answer's body, and its status in the last line.
fn curl(site: &Site, options: &[&str], path: &str) -> (String, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(site.admin_socket()).args(["-w", "\n%{http_code}"]).args(options);
    let ran = Ran::of(curl.arg(format!("http://localhost{path}"))).expect("curl at the admin socket");
    let (body, status) = ran.text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

/// Who this test is, as the kernel will tell the gateway.
fn me() -> String {
    let id = |option| {
        let ran = Ran::of(Command::new("id").arg(option)).expect("id");
        ran.text.trim().to_owned()
    };
    format!("unix:{}({})", id("-un"), id("-u"))
}

#[test]
fn the_socket_is_its_owners_alone_and_takes_no_business() {
    let site = &shared().site;
    let mode = std::fs::metadata(site.admin_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let (status, devices) = curl(site, &[], "/v1/devices");
    assert_eq!((status.as_str(), devices["items"].as_array().unwrap().len()), ("200", 9));

    let order = r#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
    let key = format!("x-api-key: {}", site.sandbox()["apps"][0]["api_key"].as_str().unwrap());
    for headers in [&[][..], &["-H", &key]] {
        let (status, refused) = curl(site, &[headers, &["--json", order]].concat(), "/v1/signatures");
        assert_eq!((status.as_str(), &refused["code"]), ("403", &json!("scope_missing")), "{refused}");
    }
}

#[test]
fn an_act_at_the_socket_is_recorded_with_the_user_who_did_it() {
    let site = Site::start();
    let answer = run_json(&site, &["device", "drain", "d2", "--reason", "firmware", "--wait"]);
    assert_eq!(site.device_state("d2"), "maintenance");
    let entries = site.audit();
    let drained: Vec<_> = entries.iter().filter(|entry| entry["action"] == "device.drain").collect();
    let outcomes: Vec<_> = drained.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["intended", "ok"], "{drained:?}");
    for entry in &drained {
        assert_eq!(entry["actor"], me(), "{entry}");
        assert_eq!((&entry["device"], &entry["subject"]), (&json!("d2"), &json!("firmware")));
    }
    let index = usize::try_from(answer["audit_index"].as_u64().unwrap()).unwrap();
    assert_eq!(entries[index], *drained[1], "the answer names the outcome's place");

    run(&site, &["device", "resume", "d2", "--reason", "done"], 0);
    eventually("d2 is back", Duration::from_secs(60), || (site.device_state("d2") == "ready").then_some(()));
    let maintained = run_json(&site, &["device", "maintain", "d3", "--reason", "cable"]);
    assert_eq!(maintained["state"], "maintenance");
}

#[test]
fn the_socket_goes_with_the_gateway_and_a_stale_one_is_replaced() {
    let site = Site::start();
    let socket = site.admin_socket();
    let (folder, status) = site.stop();
    assert_eq!(status.code(), Some(0));
    assert!(!socket.exists());

    let site = folder.serve();
    signal(site.pid(), "KILL");
    let (folder, _) = site.stop();
    assert!(socket.exists(), "nobody removes it after a kill");
    let site = folder.serve();
    run(&site, &["device", "list"], 0);
}

#[test]
fn without_a_gateway_or_with_wrong_usage_a_command_says_so() {
    let scratch = Scratch::new();
    let nowhere = scratch.path().join("gateway.toml");
    let output = Command::new(gateway()).args(["device", "list", "--config"]).arg(&nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no gateway runs at"), "{}", stderr(&output));
    assert!(stderr(&output).contains("admin.sock"), "{}", stderr(&output));

    let site = &shared().site;
    let unexplained = run(site, &["device", "drain", "d1"], 2);
    assert!(stderr(&unexplained).contains("--reason"), "{}", stderr(&unexplained));
    run(site, &["device", "juggle", "d1"], 2);
    let unknown = run(site, &["device", "show", "d99"], 1);
    assert!(stderr(&unknown).contains("d99") && stderr(&unknown).contains("unknown_device"));
    let unknown = run(site, &["device", "show", "d99", "--json"], 1);
    let problem: Value = serde_json::from_slice(&unknown.stdout).unwrap();
    assert_eq!(problem["code"], "unknown_device");
    let odd = run(site, &["device", "show", "../keys"], 1);
    assert!(stderr(&odd).contains("name of no device"), "{}", stderr(&odd));
}

#[test]
fn the_list_is_a_table_for_people_and_json_for_scripts() {
    let site = &shared().site;
    let table = stdout(&run(site, &["device", "list"], 0));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 10, "{table}");
    assert!(lines[0].starts_with("ID") && lines[0].contains("STATE"), "{table}");
    let column = lines[0].find("GROUP").unwrap();
    for line in &lines[1..=7] {
        assert!(line[column..].starts_with("bureau"), "{table}");
    }
    assert_eq!(run_json(site, &["device", "list"])["items"].as_array().unwrap().len(), 9);
    let shown = stdout(&run(site, &["device", "show", "d8"], 0));
    assert!(shown.contains("portal") && shown.contains("portal-sm2"), "{shown}");
    let device = run_json(site, &["device", "show", "d8"]);
    assert_eq!(device["configured"]["token"], "d8", "{device}");
}

#[test]
fn a_self_test_shows_each_check_and_a_device_that_fails_it_ends_with_one() {
    let site = Site::start();
    let test = run_json(&site, &["device", "self-test", "d1", "--reason", "monthly"]);
    assert_eq!(test["self_test"]["passed"], true, "{test}");
    let checks = test["self_test"]["checks"].as_array().unwrap();
    for name in ["key demo-sm2", "key demo-p256", "key demo-rsa2048", "random"] {
        let found = checks.iter().any(|check| check["name"].as_str().unwrap().starts_with(name));
        assert!(found, "{name}: {test}");
    }
    run(&site, &["device", "drain", "d1", "--reason", "test", "--wait"], 0);
    site.fault("d1", "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n");
    let failed = run(&site, &["device", "self-test", "d1", "--reason", "broken"], 1);
    assert!(stdout(&failed).contains("failed"), "{}", stdout(&failed));
    assert!(stderr(&failed).contains("d1 failed its self-test"), "{}", stderr(&failed));
    let outcomes: Vec<_> = site
        .audit()
        .into_iter()
        .filter(|entry| entry["action"] == "device.self_test" && entry["outcome"] != "intended")
        .map(|entry| entry["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["ok", "self_test_failed"]);
}

#[test]
fn a_lying_device_comes_back_by_its_release_only_and_only_if_it_passes() {
    let site = Site::start();
    site.fault("d8", "[[fault]]\nfunction = \"C_Sign\"\naction = \"wrong_signature\"\n");
    let body = json!({"key": "portal-sm2", "algorithm": "sm2-sm3", "input": {"data": ""}});
    eventually("d8 is in quarantine", Duration::from_secs(60), || {
        site.app().post("/v1/signatures", &body).expect(201);
        (site.device_state("d8") == "quarantined").then_some(())
    });
    let refused = run(&site, &["device", "resume", "d8", "--reason", "hope"], 1);
    assert!(stderr(&refused).contains("device_quarantined"), "{}", stderr(&refused));
    let refused = run(&site, &["device", "release", "d8", "--reason", "hope"], 1);
    assert!(stderr(&refused).contains("self_test_failed"), "{}", stderr(&refused));
    assert_eq!(site.device_state("d8"), "quarantined");
    site.mend("d8");
    eventually("the mended device passes and is released", Duration::from_secs(60), || {
        site.command(&["device", "release", "d8", "--reason", "mended"]).status.success().then_some(())
    });
    eventually("d8 is back", Duration::from_secs(60), || (site.device_state("d8") == "ready").then_some(()));
    let twice = run(&site, &["device", "release", "d8", "--reason", "again"], 1);
    assert!(stderr(&twice).contains("not_quarantined"), "{}", stderr(&twice));
}

#[test]
fn a_fault_is_commanded_shown_and_mended_and_stands_in_the_record() {
    let site = Site::start();
    let none = run_json(&site, &["device", "fault", "d4"]);
    assert!(none["fault"].is_null(), "{none}");
    run(&site, &["device", "fault", "d4", "--set", "unreachable = true"], 0);
    assert_eq!(run_json(&site, &["device", "show", "d4"])["fault"], "unreachable = true");
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": ""}});
    eventually("d4 is down", Duration::from_secs(60), || {
        site.app().post("/v1/signatures", &body).expect(201);
        (site.device_state("d4") == "down").then_some(())
    });
    run(&site, &["device", "fault", "d4", "--clear"], 0);
    eventually("d4 is back", Duration::from_secs(60), || (site.device_state("d4") == "ready").then_some(()));
    run(&site, &["device", "fault", "d4", "--clear"], 0);

    let malformed = run(&site, &["device", "fault", "d4", "--set", "latency_ms ="], 1);
    assert!(stderr(&malformed).contains("fault_malformed"), "{}", stderr(&malformed));
    run(&site, &["device", "fault", "d4", "--clear", "--set", ""], 2);
    let put = |app: usize, path: &str, body: &Value| {
        let headers = [("content-type", "application/json")];
        site.app_number(app).send("PUT", path, &headers, Some(body.to_string().as_bytes()))
    };
    put(0, "/v1/devices/d4/fault", &json!({})).expect(403);
    put(2, "/v1/devices/d99/fault", &json!({})).expect(404);
    let slow = put(2, "/v1/devices/d5/fault", &json!({"latency_ms": 1.5})).expect(200).json();
    assert_eq!(slow["fault"], "latency_ms = 1.5\n", "{slow}");
    let commanded = std::fs::read_to_string(site.data().join("hsm/d5/fault.toml")).unwrap();
    assert_eq!(commanded, "latency_ms = 1.5\n");

    let recorded: Vec<_> =
        site.audit().into_iter().filter(|entry| entry["action"] == "device.fault").collect();
    let subjects: Vec<_> = recorded.iter().map(|entry| entry["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["unreachable = true", "mended", "mended", "latency_ms = 1.5\n"]);
    assert_eq!(recorded[0]["actor"], me());
    assert_eq!(recorded[3]["actor"], "sandbox-operations");
}

#[test]
fn what_a_device_did_is_kept_over_a_restart() {
    let site = Site::start();
    let body = json!({"key": "portal-sm2", "algorithm": "sm2-sm3", "input": {"data": ""}});
    for _ in 0..40 {
        site.app().post("/v1/signatures", &body).expect(201);
    }
    let (folder, _) = site.stop();
    let site = folder.serve();
    let signed: u64 = ["d8", "d9"]
        .iter()
        .flat_map(|id| run_json(&site, &["device", "history", id])["items"].as_array().unwrap().clone())
        .map(|span| span["signed"].as_u64().unwrap())
        .sum();
    assert_eq!(signed, 40);
    let table = stdout(&run(&site, &["device", "history", "d8", "--step", "900"], 0));
    assert!(table.starts_with("START") && table.contains("ready"), "{table}");
    let odd = run(&site, &["device", "history", "d8", "--from", "2026-01-01T00:00:00+08:00"], 1);
    assert!(stderr(&odd).contains("8640"), "{}", stderr(&odd));
    run(&site, &["device", "history", "d99"], 1);
    let unknown = site.app_number(2).get("/v1/devices/d8/history?colour=red").expect(422).json();
    assert_eq!(unknown["errors"][0]["field"], "query", "{unknown}");
}
