//! Traces reach a collector (OTLP over HTTP), as part of the trace that the caller began.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tests::{Folder, base64, eventually, free_port};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const DOCUMENT: &str = "CANARY-DOCUMENT-610102199001011234";

/// Takes everything that is posted to it, for as long as the test runs.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            into.lock().unwrap().extend(body);
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"); // it may be gone
        }
    });
    (endpoint, received)
}

#[test]
fn a_signature_is_traced_from_the_edge_to_the_device_and_the_record() {
    let (endpoint, received) = collector();
    let folder = Folder::init();
    folder.configure("[database]\n", &format!("[traces]\nendpoint = {endpoint:?}\n\n[database]\n"));
    let site = folder.serve();
    let body =
        json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(DOCUMENT.as_bytes())}});
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    site.app().send("POST", "/v1/signatures", &headers, Some(body.to_string().as_bytes())).expect(201);
    let trace = hex::decode(TRACE).unwrap();
    let spans = eventually("the spans arrive", Duration::from_secs(60), || {
        let received = received.lock().unwrap().clone();
        let holds = |what: &[u8]| received.windows(what.len()).any(|part| part == what);
        let all =
            [&b"license-gateway"[..], b"request", b"device.attempt", b"audit.append", b"/v1/signatures"];
        (all.into_iter().all(holds) && holds(&trace)).then_some(received)
    });
    // Edge, device and record are spans of the caller's trace.
    assert!(spans.windows(trace.len()).filter(|part| *part == trace).count() >= 3);
    for secret in
        [DOCUMENT, &base64(DOCUMENT.as_bytes()), site.sandbox()["apps"][0]["api_key"].as_str().unwrap()]
    {
        assert!(!spans.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} is traced");
    }
}

#[test]
fn a_collector_that_is_away_costs_no_request() {
    let folder = Folder::init();
    let port = free_port();
    folder.configure(
        "[database]\n",
        &format!("[traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\n\n[database]\n"),
    );
    let site = folder.serve();
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "YQ=="}});
    for _ in 0..50 {
        site.app().post("/v1/signatures", &body).expect(201);
    }
    assert!(site.stop().1.success());
}
