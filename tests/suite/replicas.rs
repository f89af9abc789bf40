//! Two gateways on one PostgreSQL database behave as one.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(30);

struct Pair {
    first: Site,
    second: Site,
    server: Postgres, // after the gateways
}

fn pair() -> Pair {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    Pair { first, second, server }
}

fn sign(app: &Caller) -> Answer {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"kept")}});
    app.post("/v1/signatures", &body)
}

fn act(site: &Site, arguments: &[&str]) -> Value {
    let output = site.command(&[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn becomes(site: &Site, device: &str, state: &str) {
    eventually(state, SOON, || (site.device_state(device) == state).then_some(()));
}

#[test]
fn each_signs_and_records_and_a_drain_at_one_drains_at_both() {
    let pair = pair();
    for site in [&pair.first, &pair.second] {
        for _ in 0..5 {
            sign(site.app()).expect(201);
        }
    }
    act(&pair.first, &["device", "drain", "d2", "--reason", "firmware", "--wait"]);
    becomes(&pair.second, "d2", "maintenance");
    act(&pair.second, &["device", "maintain", "d3", "--reason", "cable"]);
    becomes(&pair.first, "d3", "maintenance");

    // Also after a restart, until somebody lets it back, wherever that is.
    let Pair { first, second, server } = pair;
    let (folder, _) = first.stop();
    let first = folder.serve();
    becomes(&first, "d2", "maintenance");
    act(&second, &["device", "resume", "d2", "--reason", "done"]);
    for site in [&first, &second] {
        becomes(site, "d2", "ready");
        sign(site.app()).expect(201);
    }
    drop((first, second));
    drop(server);
}

#[test]
fn a_second_gateway_under_the_same_name_is_refused() {
    let Pair { first, second, server } = pair();
    let output = std::process::Command::new(tests::gateway())
        .args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--config"])
        .arg(Folder::beside(&first, "second").config())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("replica second exists already"), "{said}");
    sign(second.app()).expect(201);
    drop((first, second));
    drop(server);
}

#[test]
fn after_the_server_was_killed_both_go_on_and_still_hear_of_each_other() {
    let Pair { first, second, mut server } = pair();
    server.kill();
    assert_eq!(sign(first.app()).status, 503);
    server.begin();
    for site in [&first, &second] {
        eventually("it signs again", SOON, || (sign(site.app()).status == 201).then_some(()));
    }
    eventually("the drain is heard of", SOON, || {
        act(&first, &["device", "drain", "d4", "--reason", "a"]);
        (second.device_state("d4") == "maintenance").then_some(())
    });
    drop((first, second));
    drop(server);
}

/// Sends a request to both at the same moment, twice each.
fn race(pair: &Pair, send: impl Fn(&Site) -> u16 + Sync) -> Vec<u16> {
    let (start, send) = (Barrier::new(4), &send);
    std::thread::scope(|scope| {
        let sites = [&pair.first, &pair.second, &pair.first, &pair.second];
        let threads = sites.map(|site| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                send(site)
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_signature_or_an_assertion_counts_once_over_both() {
    let pair = pair();
    let signer = pair.first.signing_app("both", "p256");
    let list = || signer.request("GET", "/v1/keys", b"");
    eventually("the second knows the app", SOON, || (list().send(&pair.second).status == 200).then_some(()));
    let issuer = pair.first.stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json();
    let issuer = issuer["issuer"].as_str().unwrap().to_owned();
    assert_eq!(
        pair.second.stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json()["issuer"],
        issuer,
        "both are one to callers"
    );
    for _ in 0..20 {
        let request = list();
        let answers = race(&pair, |site| request.send_by(&site.stranger(None)).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 3, "{answers:?}");
    }
    for _ in 0..5 {
        let form = format!(
            "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&\
             client_assertion={}",
            signer.assertion(&issuer, &json!({}))
        );
        let answers = race(&pair, |site| {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            site.stranger(None).send("POST", "/oauth2/token", &headers, Some(form.as_bytes())).status
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 3, "{answers:?}");
    }
    // A token that one gave opens the other, and what one saw the other refuses also after a restart.
    let request = list();
    request.send(&pair.first).expect(200);
    let Pair { first, second, server } = pair;
    let (folder, _) = second.stop();
    let second = folder.serve();
    assert_eq!(request.send(&second).expect(401).json()["code"], "replay");
    drop((first, second));
    drop(server);
}

#[test]
fn an_app_that_one_freezes_is_out_at_both() {
    let pair = pair();
    let signer = pair.first.signing_app("frozen", "p256");
    let list = |site: &Site| signer.request("GET", "/v1/keys", b"").send(site);
    eventually("the second knows the app", SOON, || (list(&pair.second).status == 200).then_some(()));
    let frozen = pair.second.app_command(&["freeze", "frozen", "--reason", "its key was stolen"]);
    assert_eq!(frozen["state"], "locked");
    assert_eq!(list(&pair.second).expect(401).json()["code"], "client_signature_invalid");
    let out = eventually("the first refuses it", SOON, || {
        let answer = list(&pair.first);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(out.expect(401).json()["code"], "client_signature_invalid");
    let Pair { first, second, server } = pair;
    drop((first, second));
    drop(server);
}
