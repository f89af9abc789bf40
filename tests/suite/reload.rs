//! A changed configuration is taken over whole while requests run, or refused whole.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Ran, Scratch, Site, base64, eventually, signal};

fn sign(app: &Caller, data: &[u8]) -> Answer {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(data)}});
    app.post("/v1/signatures", &body)
}

/// `license-gateway reload`: its exit code and both of its outputs.
fn reload(site: &Site) -> (i32, String) {
    let output = site.command(&["reload"]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
fn reload_well(site: &Site) -> String {
    let (code, text) = reload(site);
    assert_eq!(code, 0, "{text}");
    text
}

fn recorded(site: &Site) -> Vec<Value> {
    site.audit().into_iter().filter(|entry| entry["action"] == "config.reload").collect()
}

const SERVER: &str = "[server]\n";

#[test]
fn a_limit_changes_for_connections_that_are_open_by_command_by_signal_and_over_http() {
    let site = Site::start();
    let app = site.app_number(0);
    let large = vec![b'x'; 20_000];
    sign(&app, &large).expect(201);

    site.configure(&[(SERVER, "[server]\nbody_limit = 4096\n")]);
    sign(&app, &large).expect(201);
    let said = reload_well(&site);
    assert!(said.contains("server.body_limit 1048576 -> 4096"), "{said}");
    sign(&app, &large).expect(413);

    site.configure(&[("body_limit = 4096", "body_limit = 40960")]);
    signal(site.pid(), "HUP");
    eventually("the signal reloads", Duration::from_secs(60), || {
        (sign(&app, &large).status == 201).then_some(())
    });

    site.configure(&[("body_limit = 40960", "body_limit = 5000")]);
    let refused = app.post("/v1/admin/config:reload", &json!({})).expect(403);
    assert_eq!(refused.json()["code"], "scope_missing");
    let done = site.app_number(2).post("/v1/admin/config:reload", &json!({})).expect(200).json();
    assert_eq!(done["changes"], json!(["server.body_limit 40960 -> 5000"]), "{done}");
    sign(&app, &large).expect(413);
    assert!(reload_well(&site).contains("nothing differs"));

    let entries = recorded(&site);
    let done: Vec<_> = entries.iter().filter(|entry| entry["outcome"] == "ok").collect();
    assert_eq!((entries.len(), done.len()), (8, 4), "intent and outcome of each: {entries:?}");
    assert_eq!(done[1]["actor"], "signal:SIGHUP");
    assert_eq!(done[2]["actor"], "sandbox-operations");
    assert_eq!(done[2]["subject"], "server.body_limit 40960 -> 5000");
}

#[test]
fn a_file_with_mistakes_is_refused_whole_with_all_of_them() {
    let site = Site::start();
    let broken = "[server]\nbody_limit = 4096\nmax_in_flight = 0\ncolour = \"red\"\n";
    site.configure(&[(SERVER, broken), ("lanes = 4", "lanes = 100000")]);
    let (code, text) = reload(&site);
    assert_eq!(code, 1, "{text}");
    let file = site.config().display().to_string();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&file)).collect();
    assert_eq!(lines.len(), 11, "two mistakes and nine devices: {text}");
    let problem = site.app_number(2).post("/v1/admin/config:reload", &json!({})).expect(422).json();
    assert_eq!(problem["code"], "config_invalid");
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 11, "{problem}");
    for field in ["server.max_in_flight", "server.colour", "device.lanes"] {
        let error = errors.iter().find(|error| error["field"] == field);
        let error = error.unwrap_or_else(|| panic!("{field}: {problem}"));
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{file}:")) && detail.contains(field), "{detail}");
        assert!(site.log().contains(detail), "the log holds it too: {detail}");
    }
    sign(site.app(), &vec![b'x'; 20_000]).expect(201);
    assert!(recorded(&site).iter().all(|entry| entry["outcome"] == "config_invalid"));
    let workers = site.workers();
    assert_eq!(workers.len(), 9, "{workers:?}");
}

#[test]
fn what_cannot_change_live_is_refused_by_name_and_nothing_else_changes() {
    let site = Site::start();
    let database = std::fs::read_to_string(site.config()).unwrap();
    let changes = [
        ("sqlite://gateway.db", "sqlite://other.db"),
        ("http = \"127.0.0.1:8080\"", "http = \"127.0.0.1:8081\""),
        (SERVER, "[server]\nbody_limit = 4096\n"),
    ];
    site.configure(&changes);
    let problem = site.app_number(2).post("/v1/admin/config:reload", &json!({})).expect(409).json();
    assert_eq!(problem["code"], "restart_required");
    let fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["server.http", "database.url"], "{problem}");
    let (code, text) = reload(&site);
    assert!(code == 1 && text.contains("server.http") && text.contains("restart"), "{text}");
    sign(site.app(), &vec![b'x'; 20_000]).expect(201);
    std::fs::write(site.config(), database).unwrap();
    assert!(reload_well(&site).contains("nothing differs"));
}

#[test]
fn trust_files_are_read_anew_and_bad_ones_leave_the_old_set() {
    let site = Site::start();
    let license = std::fs::read_to_string(site.data().join("pki/licenses/A-good.pem")).unwrap();
    let verdict = || {
        let answer = site.app().post("/v1/licenses:verify", &json!({"license": license})).expect(200).json();
        answer["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict(), "valid");
    let root = site.data().join("pki/roots/license.pem");
    let kept = std::fs::read_to_string(&root).unwrap();
    std::fs::write(&root, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let (code, text) = reload(&site);
    assert!(code == 1 && text.contains("trust.license_anchors"), "{text}");
    assert_eq!(verdict(), "valid");

    std::fs::copy(site.data().join("pki/roots/p256.pem"), &root).unwrap();
    let said = reload_well(&site);
    assert!(said.contains("trust.license_anchors read anew"), "{said}");
    assert_ne!(verdict(), "valid");
    std::fs::write(&root, kept).unwrap();
    reload_well(&site);
    assert_eq!(verdict(), "valid");
}

#[test]
fn a_new_tls_certificate_is_shown_to_new_connections_and_a_wrong_key_changes_nothing() {
    let site = Site::start();
    let scratch = Scratch::new();
    for name in ["new", "other"] {
        scratch
            .openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 -subj /CN={name} \
                 -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
            ))
            .expect("openssl req");
    }
    let trusted = |ca: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert", ca, &format!("{}/livez", site.tls())]);
        Ran::of(&mut curl).ok
    };
    let (new, sandbox) = (scratch.path().join("new.pem"), site.ca_file());
    let (new, sandbox) = (new.to_str().unwrap(), sandbox.to_str().unwrap());
    assert!(trusted(sandbox) && !trusted(new));

    let place = |name: &str| scratch.path().join(name).display().to_string();
    site.configure(&[("pki/tls/chain.pem", &place("new.pem")), ("pki/private/tls.pem", &place("other.key"))]);
    let (code, text) = reload(&site);
    assert!(code == 1 && text.contains("server.tls_certificate"), "{text}");
    assert!(trusted(sandbox));

    site.configure(&[(&place("other.key"), &place("new.key"))]);
    reload_well(&site);
    assert!(trusted(new) && !trusted(sandbox));
}

#[test]
fn devices_come_go_and_change_without_a_restart() {
    let site = Site::start();
    let text = std::fs::read_to_string(site.config()).unwrap();
    let at = text.find("\n[[device]]\nid = \"d9\"").unwrap();
    std::fs::write(site.config(), &text[..at]).unwrap();
    site.configure(&[("id = \"d1\"\n", "id = \"d1\"\nserial_unused = 1\n")]);
    assert_eq!(reload(&site).0, 1, "an unknown field");
    assert_eq!(site.workers().len(), 9);

    site.configure(&[("serial_unused = 1\n", "")]);
    let changed = std::fs::read_to_string(site.config()).unwrap().replacen("lanes = 4", "lanes = 2", 1);
    std::fs::write(site.config(), changed).unwrap();
    let said = reload_well(&site);
    for change in ["device d1 changed: lanes", "device d9 removed"] {
        assert!(said.contains(change), "{said}");
    }
    eventually("eight workers, d9's is gone", Duration::from_secs(60), || {
        let workers = site.workers();
        (workers.len() == 8 && !workers.iter().any(|worker| worker.serves("d9"))).then_some(())
    });
    eventually("d1 works with two lanes", Duration::from_secs(60), || {
        let device = site.app_number(2).get("/v1/devices/d1").expect(200).json();
        (device["lanes"] == 2 && device["state"] == "ready").then_some(())
    });
    site.app_number(2).get("/v1/devices/d9").expect(404);

    std::fs::write(site.config(), text).unwrap();
    reload_well(&site);
    eventually("d9 is ready", Duration::from_secs(60), || (site.device_state("d9") == "ready").then_some(()));
}

/// Ends the load, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reloads_under_load_drop_no_request() {
    let site = Site::start();
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (site, over, done, key) = (&site, &over, &done, &key);
            scope.spawn(move || {
                // Half of them over connections that stay open, half over a new one each time.
                let kept = Caller::new(site.base(), Some(key));
                let body =
                    json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": ""}}).to_string();
                let close = [("content-type", "application/json"), ("connection", "close")];
                while !over.load(Ordering::Relaxed) {
                    let headers = if worker % 2 == 0 { &close[..1] } else { &close[..] };
                    kept.send("POST", "/v1/signatures", headers, Some(body.as_bytes())).expect(201);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = Stop(&over);
        let more = |than: usize| {
            eventually("the load goes on", Duration::from_secs(60), || {
                (done.load(Ordering::Relaxed) > than).then_some(())
            });
        };
        more(20);
        for round in 0..6 {
            let (from, to) =
                if round % 2 == 0 { ("lanes = 4", "lanes = 3") } else { ("lanes = 3", "lanes = 4") };
            let text = std::fs::read_to_string(site.config()).unwrap();
            std::fs::write(site.config(), text.replacen(from, to, 2)).unwrap();
            reload_well(&site);
            more(done.load(Ordering::Relaxed) + 20);
        }
    });
    assert_eq!(recorded(&site).iter().filter(|entry| entry["outcome"] == "ok").count(), 6);
}
