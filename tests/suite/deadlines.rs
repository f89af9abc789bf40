//! A request has so long and no longer, whatever it waits for: what is late is a 503 that says when to come back, and
//! no signature leaves without its entry in the audit log.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::{Answer, Caller, Folder, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(60);

fn site_with(request_deadline_ms: u32) -> Site {
    let folder = Folder::init();
    folder.configure("[server]\n", &format!("[server]\nrequest_deadline_ms = {request_deadline_ms}\n"));
    folder.configure("[fleet]\n", "[fleet]\ndeadline_ms = 60000\n");
    folder.serve()
}

fn sign(app: &Caller, key: &str) -> Answer {
    let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"in time")}});
    app.post("/v1/signatures", &body)
}

/// A busy machine may be late once or twice.
fn expect_signed_in_the_end(app: &Caller) {
    eventually("it signs", SOON, || (sign(app, "demo-sm2").status == 201).then_some(()));
}

#[track_caller]
fn expect_late(answer: &Answer) {
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (503, &json!("deadline_exceeded")), "{problem}");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1, "{:?}", answer.headers);
    assert!(problem.get("signature").is_none(), "{problem}");
}

/// The outcomes of what was signed or was to be, oldest first.
fn outcomes(site: &Site) -> Vec<String> {
    let entries = site.audit().into_iter().filter(|entry| entry["action"] == "signature.raw");
    entries.map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect()
}

/// Another connection that holds the database's write lock.
struct WriteLock {
    sqlite: Child,
    input: ChildStdin,
}

impl WriteLock {
    fn take(site: &Site) -> Self {
        let mut sqlite = Command::new("sqlite3")
            .arg(site.data().join("gateway.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 can be started");
        let mut input = sqlite.stdin.take().unwrap();
        input.write_all(b".timeout 20000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n").unwrap();
        let mut line = String::new();
        BufReader::new(sqlite.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self { sqlite, input }
    }

    fn release(mut self) {
        self.input.write_all(b"ROLLBACK;\n").unwrap();
        drop(self.input);
        assert!(self.sqlite.wait().unwrap().success());
    }
}

#[test]
fn devices_that_take_longer_than_the_request_has_are_a_503_and_on_record() {
    let site = site_with(1_500);
    for device in ["d8", "d9"] {
        site.fault(device, "latency_ms = 600000.0\n");
    }
    eventually("the portal's devices are slow", SOON, || {
        let answer = sign(site.app(), "portal-sm2");
        (answer.status != 201).then(|| expect_late(&answer))
    });
    eventually("what was refused is on record", SOON, || {
        outcomes(&site).contains(&"deadline_exceeded".to_owned()).then_some(())
    });
    expect_signed_in_the_end(site.app());
}

#[test]
fn while_the_record_cannot_be_written_no_signature_leaves_and_answers_come_in_time() {
    let site = site_with(1_500);
    expect_signed_in_the_end(site.app());
    let uscc = site.sandbox()["licenses"][0].as_str().unwrap().to_owned();

    let lock = WriteLock::take(&site);
    let before = outcomes(&site).len();
    expect_late(&sign(site.app(), "demo-sm2"));
    expect_late(&site.app().get(&format!("/v1/licenses/{uscc}/status")));
    assert_eq!(outcomes(&site).len(), before, "nothing was written");
    // What writes nothing is answered as ever.
    let nonsense = json!({"algorithm": "sm2-sm3", "input": {"data": ""}, "signature": "", "public_key": ""});
    eventually("it is refused", SOON, || {
        (site.app().post("/v1/verifications", &nonsense).status == 422).then_some(())
    });
    lock.release();

    let signed = eventually("it signs again", SOON, || {
        let answer = sign(site.app(), "demo-sm2");
        (answer.status == 201).then(|| answer.json())
    });
    let entry = &site.audit()[usize::try_from(signed["audit_index"].as_u64().unwrap()).unwrap()];
    assert_eq!((&entry["outcome"], &entry["action"]), (&json!("ok"), &json!("signature.raw")), "{entry}");
}

#[test]
fn a_body_that_comes_slowly_has_a_limit_of_its_own() {
    let folder = Folder::init();
    folder.configure("[server]\n", "[server]\nrequest_deadline_ms = 1500\nread_timeout_ms = 60000\n");
    let site = folder.serve();
    let body =
        json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"slow")}}).to_string();
    // A busy machine may be late once or twice with what comes after the body.
    eventually("it signs", SOON, || (sent_slowly(&site, &body) == "201").then_some(()));
}

/// Sends a body longer than a request has once it is here; the status.
fn sent_slowly(site: &Site, body: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}", "-T", "-", "-X", "POST"]);
    curl.args(["-H", "expect:", "-H", "content-type: application/json", "-H"]);
    curl.arg(format!("x-api-key: {}", site.sandbox()["apps"][0]["api_key"].as_str().unwrap()));
    curl.arg(format!("{}/v1/signatures", site.base())).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut curl = curl.spawn().unwrap();
    let mut input = curl.stdin.take().unwrap();
    let (first, rest) = body.split_at(10);
    input.write_all(first.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let _ = input.write_all(rest.as_bytes()); // where it was refused before, the status says so
    drop(input);
    String::from_utf8_lossy(&curl.wait_with_output().unwrap().stdout).into_owned()
}
