//! Two gateways on one PostgreSQL database behave as one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Site, audit_on, base64, eventually};

const SOON: Duration = Duration::from_secs(60);

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
fn an_apps_rate_is_one_rate_at_both() {
    const RATE: f64 = 20.0;
    const BURST: f64 = 5.0;
    let pair = pair();
    let app = pair.first.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    act(&pair.first, &["app", "change", &app, "--rate", "20", "--burst", "5", "--reason", "test"]);
    let passes = |site: &Site| match site.app().get("/v1/keys") {
        answer if answer.status == 429 => false,
        answer => answer.expect(200).status == 200,
    };
    for site in [&pair.first, &pair.second] {
        // Several at once: one after the other may be slower than the rate.
        eventually("the rate holds", SOON, || {
            let all_pass = std::thread::scope(|scope| {
                let callers = [(); 4].map(|()| scope.spawn(|| (0..10).all(|_| passes(site))));
                callers.into_iter().all(|caller| caller.join().unwrap())
            });
            (!all_pass).then_some(())
        });
    }
    let (start, mut passed) = (Instant::now(), 0.0);
    // Long enough that a second or two in which the one heard nothing of the other does not look like twice the rate.
    while start.elapsed() < Duration::from_secs(12) {
        for site in [&pair.first, &pair.second] {
            passed += f64::from(u8::from(passes(site)));
        }
    }
    // Counted by each alone it would be twice the rate. Between the two there is room for what is told late.
    let most = 1.5 * RATE * start.elapsed().as_secs_f64() + 2.0 * BURST;
    assert!(passed > BURST && passed < most, "{passed} calls passed, at most {most}");
    let Pair { first, second, server } = pair;
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

/// Has callers end, also where an assertion fails.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends an order under its number as key; each kind of order has its turn.
fn send(base: &str, api_key: &str, number: u64) -> Option<Answer> {
    let id = format!("both-{number}");
    let data = base64(format!("sent to both {number}").as_bytes());
    let order = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": data}});
    let (path, body) = if number.is_multiple_of(3) {
        ("/v1/signatures:batch", json!({"items": [order, order]}))
    } else {
        ("/v1/signatures", order)
    };
    let headers =
        [("content-type", "application/json"), ("idempotency-key", &id), ("x-request-id", id.as_str())];
    Caller::new(base, Some(api_key)).try_send("POST", path, &headers, Some(body.to_string().as_bytes())).ok()
}

/// How often each order was carried out.
fn times_done(server: &Postgres, database: &str) -> BTreeMap<String, usize> {
    let mut done = BTreeMap::new();
    for entry in audit_on(server, database).iter().filter(|entry| entry["outcome"] == "ok") {
        let id = entry["request_id"].as_str().unwrap();
        if id.starts_with("both-") {
            *done.entry(id.to_owned()).or_default() += 1;
        }
    }
    done
}

#[test]
fn the_same_order_sent_to_both_at_once_is_carried_out_once_and_answered_alike() {
    const ROUNDS: u64 = 60;
    const EACH: usize = 3;
    let server = Postgres::start();
    let database = server.database();
    let first = Folder::init_in(&server, &database).serve();
    let second = Folder::beside(&first, "second").serve();
    let api_key = first.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let start = Barrier::new(2 * EACH);
    let answers: Mutex<BTreeMap<u64, Vec<Option<Answer>>>> = Mutex::default();
    std::thread::scope(|scope| {
        for site in [&first, &second].into_iter().cycle().take(2 * EACH) {
            let (start, answers) = (&start, &answers);
            scope.spawn(move || {
                for number in 0..ROUNDS {
                    start.wait();
                    let answer = send(site.base(), api_key, number);
                    answers.lock().unwrap().entry(number).or_default().push(answer);
                }
            });
        }
    });
    for (number, answers) in answers.into_inner().unwrap() {
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        assert_eq!(answers.len(), 2 * EACH, "an answer came to each: {number}");
        assert!(answers.iter().all(|answer| answer.status < 300), "{number}: {answers:?}");
        assert!(answers.iter().all(|answer| answer.text() == answers[0].text()), "{number}: {answers:?}");
        let carried_out = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty());
        assert_eq!(carried_out.count(), 1, "{number}");
    }
    let done = times_done(&server, &database);
    assert_eq!(done.len() as u64, ROUNDS);
    assert!(done.values().all(|times| *times == 1), "{done:?}");
    drop((first, second));
    drop(server);
}

#[test]
fn orders_sent_to_both_are_carried_out_once_while_one_of_them_is_killed_again_and_again() {
    const KILLS: u64 = 5;
    const BETWEEN: u64 = 25;
    let server = Postgres::start();
    let database = server.database();
    let first = Folder::init_in(&server, &database).serve();
    let mut second = Folder::beside(&first, "second").serve();
    let api_key = first.sandbox()["apps"][0]["api_key"].as_str().unwrap().to_owned();
    let moving = RwLock::new(second.base().to_owned());
    let (over, next, finished) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let answered: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let until_answered = |base: &dyn Fn() -> String, number: u64| {
        let began = Instant::now();
        loop {
            match send(&base(), &api_key, number) {
                Some(answer) if answer.status < 300 => return answer.text(),
                Some(answer) => {
                    let later = answer.status == 503 || answer.json()["code"] == "idempotency_in_progress";
                    assert!(later, "{number}: {}", answer.text());
                }
                None => {}
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{number} was not answered");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let call = || {
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (one, other) = std::thread::scope(|scope| {
                let twin = scope.spawn(|| until_answered(&|| moving.read().unwrap().clone(), number));
                (until_answered(&|| first.base().to_owned(), number), twin.join().unwrap())
            });
            assert_eq!(one, other, "{number}");
            answered.lock().unwrap().insert(number, one);
            finished.fetch_add(1, Ordering::Relaxed);
        }
    };
    second = std::thread::scope(|scope| {
        let _end = End(&over);
        for _ in 0..6 {
            scope.spawn(call);
        }
        for _ in 0..KILLS {
            let before = finished.load(Ordering::Relaxed);
            eventually("orders are carried out", SOON, || {
                (finished.load(Ordering::Relaxed) >= before + BETWEEN).then_some(())
            });
            second = second.kill().serve();
            second.base().clone_into(&mut moving.write().unwrap());
        }
        second
    });
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() as u64 >= KILLS * BETWEEN);
    for (number, answer) in &answered {
        for site in [&first, &second] {
            let again = send(site.base(), &api_key, *number).expect("an answer comes");
            assert_eq!(&again.text(), answer, "{number}");
        }
    }
    let done = times_done(&server, &database);
    assert_eq!(done.len(), answered.len(), "what was not answered was not carried out");
    assert!(done.values().all(|times| *times == 1), "{done:?}");
    drop((first, second));
    drop(server);
}
