//! HTTP/1.1, octet by octet.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use tests::{Site, eventually};

use super::{
    BOUND, connect, ended, exchange, expect_served, impatient, patient, resident, rest, statuses, told,
};

/// What somebody hopes to have read as a request of its own.
const SMUGGLED: &str = "GET /livez HTTP/1.1\r\nhost: smuggled\r\n\r\n";

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/signatures HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn no_shape_of_a_request_has_two_readings() {
    let site = impatient();
    let before = resident(&site);
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    // What is not the last of its connection would be answered after: so one answer, whatever follows it.
    let shapes: &[(&str, Vec<u8>, &[u16])] = &[
        (
            "a length, then a coding",
            post("content-length: 4\r\ntransfer-encoding: chunked\r\n", &chunked),
            &[401, 400, 415],
        ),
        (
            "a coding, then a length",
            post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &chunked),
            &[401, 400, 415],
        ),
        ("two lengths", post("content-length: 0\r\ncontent-length: 44\r\n", SMUGGLED), &[400]),
        ("two lengths in one field", post("content-length: 0, 44\r\n", SMUGGLED), &[400]),
        ("a length below zero", post("content-length: -1\r\n", SMUGGLED), &[400]),
        ("a length with a sign", post("content-length: +0\r\n", SMUGGLED), &[400]),
        ("a length in hex", post("content-length: 0x10\r\n", SMUGGLED), &[400]),
        ("a length past 64 bits", post("content-length: 99999999999999999999999\r\n", SMUGGLED), &[400]),
        ("another coding", post("transfer-encoding: xchunked\r\n", &chunked), &[400]),
        ("chunked, but not last", post("transfer-encoding: chunked, identity\r\n", &chunked), &[400]),
        (
            "a coding of 1.0",
            b"POST /v1/signatures HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            &[400],
        ),
        ("a folded field", post("x-folded: a\r\n b\r\n", ""), &[400]),
        ("a blank before the colon", post("content-length : 0\r\n", ""), &[400]),
        ("a field without a name", post(": nameless\r\n", ""), &[400]),
        ("a null in a field", post("x-null: a\0b\r\n", ""), &[400]),
        ("a null in the path", b"GET /livez\0 HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), &[400]),
        ("a bare CR in a field", post("x-cr: a\rb\r\n", ""), &[400]),
        ("a version of the future", b"GET /livez HTTP/3.0\r\nhost: a\r\n\r\n".to_vec(), &[400, 505]),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
        ("nothing but line ends", b"\r\n\r\n\r\n\r\n".to_vec(), &[]),
        ("noise", (0..4096u32).map(|octet| (octet * 37 % 251) as u8).collect(), &[400]),
    ];
    for (name, octets, accepted) in shapes {
        println!("{name}");
        // What is no request at all may be closed without a word.
        told(&site, octets, |got| match got {
            [] => accepted.is_empty() || accepted.contains(&400),
            [only] => accepted.contains(only),
            _ => false,
        });
        expect_served(&site);
    }
    let grown = resident(&site).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
}

#[test]
fn chunks_of_odd_sizes_are_refused_and_their_extensions_bounded() {
    let site = impatient();
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap().to_owned();
    let send = |chunks: &str, is_right: &dyn Fn(&[u16]) -> bool| {
        let headers =
            format!("x-api-key: {key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n");
        told(&site, &post(&headers, chunks), is_right)
    };
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000));
    for (name, chunks) in [
        ("below zero", "-1\r\n{}\r\n0\r\n\r\n"),
        ("past 64 bits", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("not a number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("longer than said", "1\r\n{}\r\n0\r\n\r\n"),
        ("an endless extension", &long),
        ("broken off", "ff\r\n{"),
    ] {
        println!("{name}");
        // What never ends takes its time.
        send(chunks, &|got| got == [400] || got.is_empty() || (name == "broken off" && got == [408]));
        expect_served(&site);
    }
    // A short extension is no mistake: the body is read, and refused for what it lacks.
    let said = send("2;name=value\r\n{}\r\n0\r\n\r\n", &|got| got == [422]);
    assert!(said.contains("missing_field"), "{said}");
    assert!(said.contains("connection: close"), "nothing is read after a coded body: {said}");
    // Much is said of a body that is none.
    send(&format!("200000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x20_0000)), &|got| got == [413]);
}

#[test]
fn a_head_is_bounded_in_size_and_in_fields() {
    let site = patient();
    let before = resident(&site);
    let ask = |fields: String| {
        let said = exchange(
            &site,
            format!("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n").as_bytes(),
        );
        statuses(&said)
    };
    assert_eq!(ask("x: y\r\n".repeat(90)), [200]);
    assert_eq!(ask("x: y\r\n".repeat(200)), [431]);
    assert_eq!(ask(format!("x: {}\r\n", "y".repeat(12 << 10))), [200]);
    for octets in [20 << 10, 1 << 20, 64 << 20] {
        let got = ask(format!("x: {}\r\n", "y".repeat(octets)));
        // A client that goes on sending may find the connection reset before it reads the answer.
        assert!(got == [431] || (octets > 64 << 10 && got.is_empty()), "{octets} octets: {got:?}");
        expect_served(&site);
    }
    let said = exchange(&site, format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(20 << 10)).as_bytes());
    assert!([414, 431].contains(&statuses(&said)[0]), "{said}");
    let grown = resident(&site).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
}

#[test]
fn slow_clients_are_ended_and_nobody_waits_for_them() {
    let site = impatient();
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let heads: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(&site);
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").unwrap();
            stream
        })
        .collect();
    let mut body = connect(&site);
    let headers = format!("x-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 400\r\n");
    body.write_all(&post(&headers, "{")).unwrap();
    let idle = connect(&site);
    let mut used = connect(&site);
    used.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    expect_served(&site);
    for mut stream in heads {
        // One octet now and then does not help.
        let start = Instant::now();
        while stream.write_all(b"x").is_ok() && start.elapsed() < BOUND {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(start.elapsed() < BOUND, "the head may take for ever");
    }
    let said = rest(&mut body);
    assert!(statuses(&said) == [408] && said.contains("body_timeout"), "{said}");
    for mut stream in [idle, used] {
        rest(&mut stream);
    }
    // Who begins so late that the site takes him for idle is ended for that.
    eventually("they are counted, and who never began one", BOUND, || {
        let (slow, idle) = (ended(&site, "slow_head"), ended(&site, "idle"));
        (slow >= 1.0 && idle >= 1.0 && slow + idle >= 52.0).then_some(())
    });
    expect_served(&site);
}

#[test]
fn who_does_not_read_is_ended_and_costs_no_more_than_a_buffer() {
    let site = impatient();
    let before = resident(&site);
    let greedy: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(&site);
            let asked = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(200);
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let _ = stream.write_all(asked.as_bytes()); // more than anybody takes
            stream
        })
        .collect();
    expect_served(&site);
    eventually("those who do not read are ended", BOUND, || {
        (ended(&site, "slow_reader") + ended(&site, "idle") >= 50.0).then_some(())
    });
    drop(greedy);
    let grown = resident(&site).saturating_sub(before);
    assert!(grown < 96 << 10, "{grown} KiB more");
    expect_served(&site);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_bad_one_ends_them() {
    let site = patient();
    let good = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let unknown = "GET /v1/nothing HTTP/1.1\r\nhost: a\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let said = exchange(&site, format!("{good}{unknown}{good}{last}{good}").as_bytes());
    assert_eq!(statuses(&said), [200, 404, 200, 200], "{said}");
    let said = exchange(&site, format!("{good}NONSENSE\r\n\r\n{good}").as_bytes());
    assert_eq!(statuses(&said), [200, 400], "{said}");
}

#[test]
fn a_client_that_half_closes_gets_its_answer_or_an_end() {
    let site = patient();
    for (sent, answers) in [
        ("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", &[200][..]),
        ("GET /livez HT", &[400]),
        ("POST /v1/signatures HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{", &[401]),
    ] {
        let mut stream = connect(&site);
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let got = statuses(&rest(&mut stream));
        assert!(got.is_empty() || got == answers, "{sent}: {got:?}");
        expect_served(&site);
    }
}

#[test]
fn odd_requests_are_answered_for_what_they_are() {
    let site = patient();
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let ask = |head: &str| statuses(&exchange(&site, head.as_bytes()));
    // The path counts, not the host in front of it: routing does not look at hosts.
    assert_eq!(
        ask("GET http://elsewhere.example/livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        [200]
    );
    assert_eq!(ask("CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), [404]);
    assert_eq!(ask("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), [404]);
    assert_eq!(ask("TRACE /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), [405]);
    assert_eq!(
        ask(
            "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        ),
        [200]
    );
    assert_eq!(
        ask(
            "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ),
        [200]
    );
    for path in
        ["/v1/keys/%2e%2e/livez", "/v1/../livez", "//livez", "/livez/", "/v1/keys/%00", "/v1/keys/%ff"]
    {
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
        assert_eq!(ask(&head), [404], "{path}");
    }
    expect_served(&site);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let site = patient();
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let body = r#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"YQ=="}}"#;
    let begin = |site: &Site, key: &str| {
        let mut stream = connect(site);
        let headers = format!(
            "x-api-key: {key}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\n\
             content-length: {}\r\n",
            body.len()
        );
        stream.write_all(&post(&headers, "")).unwrap();
        stream
    };
    let mut stream = begin(&site, key);
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(statuses(&rest(&mut stream)), [201]);
    // Who may not ask is told so at once.
    let said = rest(&mut begin(&site, "nobody"));
    assert!(statuses(&said).contains(&401), "{said}");
}
