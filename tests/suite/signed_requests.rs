//! Signed requests, and what is tried against them.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;
use tests::{Answer, Scratch, SignedRequest, Signer, Site, eventually, nonce, now, raw};

/// A site of these tests' own: guesses here slow nobody else down.
static SITE: LazyLock<(Site, Signer)> = LazyLock::new(|| {
    let site = Site::start();
    let signer = site.signing_app("signing", "sm2");
    // More is forgiven where an app is known; these tests refuse it often.
    signer.request("GET", "/v1/keys", b"").send(&site).expect(200);
    (site, signer)
});

fn site() -> &'static Site {
    &SITE.0
}

fn signer() -> &'static Signer {
    &SITE.1
}

const ORDER: &[u8] = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;

fn order() -> SignedRequest {
    signer().request("POST", "/v1/signatures", ORDER)
}

fn list() -> SignedRequest {
    signer().request("GET", "/v1/keys", b"")
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (status, code), "{}", answer.text());
}

/// Each refusal proves itself at this source first, so that the refusals before it do not slow it down.
fn known() {
    list().send(site()).expect(200);
}

#[test]
fn a_request_signed_by_sm2_or_p256_is_served_once() {
    let p256 = site().signing_app("signing-p256", "p256");
    for signer in [signer(), &p256] {
        let request = signer.request("POST", "/v1/signatures", ORDER);
        request.send(site()).expect(201);
        refused(&request.send(site()), 401, "replay");
        refused(&request.send(site()), 401, "replay");
    }
    let entries = site().audit();
    assert!(entries.iter().any(|entry| entry["actor"] == "signing-p256" && entry["outcome"] == "ok"));
}

#[test]
fn of_the_same_request_on_many_connections_one_is_served() {
    for _ in 0..5 {
        let request = order();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let send = || request.send_by(&site().stranger(None)).status;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 7, "{answers:?}");
    }
}

#[test]
fn a_replay_is_refused_after_a_restart_too() {
    let site = Site::start();
    let signer = site.signing_app("restarted", "p256");
    let request = signer.request("GET", "/v1/keys", b"");
    request.send(&site).expect(200);
    let (folder, _) = site.stop();
    let site = folder.serve();
    refused(&request.send(&site), 401, "replay");
    signer.request("GET", "/v1/keys", b"").send(&site).expect(200);
}

#[test]
fn a_clock_that_is_wrong_is_told_the_servers_time() {
    for skew in [-3600, -310, 310, 3600] {
        let answer = signer().request_at(now() + skew, &nonce(), "GET", "/v1/keys", b"").send(site());
        refused(&answer, 401, "clock_skew");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let shown = detail.split([' ', ',']).filter_map(|word| word.parse::<i64>().ok()).max().unwrap();
        assert!((shown - now()).abs() < 60, "{detail}");
        known();
    }
    for skew in [-240, 240] {
        signer().request_at(now() + skew, &nonce(), "GET", "/v1/keys", b"").send(site()).expect(200);
    }
}

#[test]
fn what_is_signed_cannot_be_changed() {
    let other = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG9v"}}"#;
    let query = signer().request(
        "GET",
        "/v1/devices/d1/history?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        b"",
    );
    let earlier = order();
    let two_seconds_before = earlier.header("x-timestamp").parse::<i64>().unwrap() - 2;
    let spoilt = [
        SignedRequest { body: other.to_vec(), ..order() },
        SignedRequest { body: Vec::new(), ..order() },
        SignedRequest { method: "PUT".to_owned(), ..order() },
        SignedRequest { target: "/v1/verifications".to_owned(), ..order() },
        SignedRequest { target: "/v1/signatures?x=1".to_owned(), ..order() },
        SignedRequest { target: "/v1/keys/demo-sm2".to_owned(), ..list() },
        SignedRequest { target: query.target.replace("01-02", "01-03"), ..query },
        order().with("x-nonce", &nonce()),
        earlier.with("x-timestamp", &two_seconds_before.to_string()),
        order().with("x-app-id", "sandbox-registration"),
    ];
    for request in spoilt {
        let answer = request.send(site());
        // A method that the path does not take is refused as that.
        let expected = if request.method == "PUT" {
            (405, "method_not_allowed")
        } else {
            (401, "client_signature_invalid")
        };
        refused(&answer, expected.0, expected.1);
        known();
    }
}

#[test]
fn an_unknown_app_and_a_wrong_key_are_told_the_same() {
    let stranger = Signer::new("nobody-of-that-name", "sm2");
    let thief = Signer::new("signing", "sm2");
    let answers = [stranger, thief].map(|signer| signer.request("GET", "/v1/keys", b"").send(site()));
    let told = answers.map(|answer| {
        refused(&answer, 401, "client_signature_invalid");
        let mut problem = answer.json();
        problem["request_id"].take();
        (problem, answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>())
    });
    assert_eq!(told[0], told[1]);
    known();
}

#[test]
fn a_key_signs_by_its_own_algorithm_only() {
    // A P-256 key's signature under an app whose credential is an SM2 key, and the other way round.
    let p256 = site().signing_app("confused", "p256");
    let sm2_in_its_name = Signer::new("confused", "sm2");
    let p256_in_the_other = Signer::new("signing", "p256");
    for signer in [&sm2_in_its_name, &p256_in_the_other] {
        refused(&signer.request("GET", "/v1/keys", b"").send(site()), 401, "client_signature_invalid");
    }
    // A public key is no shared secret.
    let request = p256.request("GET", "/v1/keys", b"");
    let scratch = Scratch::new();
    scratch.write(
        "text",
        tests::canonical("GET", "/v1/keys", "confused", now(), request.header("x-nonce"), b""),
    );
    let secret = hex::encode(p256.public_key());
    for digest in ["sha256", "sm3"] {
        let options = format!("mac -digest {digest} -macopt hexkey:{secret} -binary -in text HMAC");
        let mac = scratch.openssl(&options).expect("openssl mac").stdout;
        let forged = request.clone().with("x-signature", &tests::base64(&mac));
        refused(&forged.send(site()), 401, "client_signature_invalid");
    }
    known();
}

/// A shared secret of an app's, as octets in hexadecimal.
fn shared_secret(app: &str, digest: &str) -> (String, String) {
    let kind = format!("hmac-{digest}");
    let added = site().app_command(&["credential", "add", app, "--kind", &kind, "--reason", "test"]);
    let shown = added["secret"].as_str().unwrap();
    assert!(!site().app_command(&["show", app]).to_string().contains(shown) && !site().log().contains(shown));
    (added["id"].as_str().unwrap().to_owned(), hex::encode(tests::unbase64(shown)))
}

/// A request by HMAC under a secret, with OpenSSL's hands.
fn by_secret(signer: &Signer, digest: &str, secret: &str) -> SignedRequest {
    let request = signer.request("POST", "/v1/signatures", ORDER);
    let (at, nonce) = (request.header("x-timestamp").parse().unwrap(), request.header("x-nonce"));
    let scratch = Scratch::new();
    scratch.write("text", tests::canonical("POST", "/v1/signatures", &signer.app, at, nonce, ORDER));
    let options = format!("mac -digest {digest} -macopt hexkey:{secret} -binary -in text HMAC");
    let mac = scratch.openssl(&options).expect("openssl mac").stdout;
    request.with("x-signature", &tests::base64(&mac))
}

#[test]
fn a_shared_secret_signs_by_its_own_algorithm_and_whole() {
    let signer = site().signing_app("shared", "p256");
    let (id, sm3) = shared_secret("shared", "sm3");
    let (_, sha256) = shared_secret("shared", "sha256");
    for (digest, secret) in [("sm3", &sm3), ("sha256", &sha256)] {
        let request = by_secret(&signer, digest, secret);
        request.send(site()).expect(201);
        refused(&request.send(site()), 401, "replay");
        let swapped = SignedRequest { body: b"{}".to_vec(), ..by_secret(&signer, digest, secret) };
        refused(&swapped.send(site()), 401, "client_signature_invalid");
        let late = by_secret(&signer, digest, secret).with("x-timestamp", &(now() - 600).to_string());
        refused(&late.send(site()), 401, "clock_skew");
        let whole = by_secret(&signer, digest, secret);
        let octets = tests::unbase64(whole.header("x-signature"));
        for shortened in [&octets[..31], &octets[..16], &octets[..1]] {
            let request = whole.clone().with("x-signature", &tests::base64(shortened));
            refused(&request.send(site()), 401, "client_signature_invalid");
        }
    }
    for (digest, secret) in [("sm3", &sha256), ("sha256", &sm3), ("sm3", &"00".repeat(32))] {
        refused(&by_secret(&signer, digest, secret).send(site()), 401, "client_signature_invalid");
    }
    // The name of a credential chooses nothing but that credential.
    by_secret(&signer, "sm3", &sm3).with("x-credential", &id).send(site()).expect(201);
    let other = by_secret(&signer, "sha256", &sha256).with("x-credential", &id);
    refused(&other.send(site()), 401, "client_signature_invalid");
    site().app_command(&["credential", "revoke", "shared", &id, "--reason", "test"]);
    refused(&by_secret(&signer, "sm3", &sm3).send(site()), 401, "client_signature_invalid");
    by_secret(&signer, "sha256", &sha256).send(site()).expect(201);
    known();
}

#[test]
fn every_field_is_there_once_and_well_formed() {
    let cases = [
        (order().without("x-app-id"), "x-app-id", "header_missing"),
        (order().without("x-timestamp"), "x-timestamp", "header_missing"),
        (order().without("x-nonce"), "x-nonce", "header_missing"),
        (order().without("x-signature"), "x-signature", "header_missing"),
        (order().and("x-signature", "AAAA"), "x-signature", "header_repeated"),
        (order().and("x-app-id", "sandbox-registration"), "x-app-id", "header_repeated"),
        (order().and("X-Nonce", &nonce()), "x-nonce", "header_repeated"),
        (order().with("x-app-id", "sign ing"), "x-app-id", "header_malformed"),
        (order().with("x-timestamp", "1e9"), "x-timestamp", "header_malformed"),
        (order().with("x-timestamp", "-5"), "x-timestamp", "header_malformed"),
        (order().with("x-timestamp", "99999999999999999999"), "x-timestamp", "header_malformed"),
        (order().with("x-nonce", "short"), "x-nonce", "header_malformed"),
        (order().with("x-nonce", &"n".repeat(65)), "x-nonce", "header_malformed"),
        (order().with("x-signature", "not base64!"), "x-signature", "header_malformed"),
        (order().with("x-signature", &"A".repeat(4096)), "x-signature", "header_malformed"),
        (order().with("x-credential", "../x"), "x-credential", "header_malformed"),
    ];
    for (request, field, code) in cases {
        let answer = request.send(site());
        refused(&answer, 400, "signature_headers");
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        assert!(errors.iter().any(|error| error["field"] == field && error["code"] == code), "{errors:?}");
    }
}

#[test]
fn two_proofs_at_once_are_refused() {
    let key = site().sandbox()["apps"][0]["api_key"].as_str().unwrap();
    for request in [
        order().and("x-api-key", key),
        order().and("authorization", "Bearer x"),
        order().without("x-signature").and("x-api-key", key),
    ] {
        refused(&request.send(site()), 400, "credentials_ambiguous");
    }
    let both = site().stranger(Some(key)).send("GET", "/v1/keys", &[("authorization", "Bearer x")], None);
    refused(&both, 400, "credentials_ambiguous");
}

#[test]
fn look_alikes_are_nobody() {
    // Cyrillic а, full-width letters, a zero-width joiner, letter case, a trailing dot: as octets in the field.
    for id in ["sіgning", "ｓｉｇｎｉｎｇ", "sign\u{200d}ing", "Signing", "SIGNING", "signing.", "signing "]
    {
        let request = list().with("x-app-id", id);
        let (status, code) = request.send_raw(site(), "/v1/keys");
        let expected = match id {
            "Signing" | "SIGNING" | "signing." => (401, "client_signature_invalid"),
            // White space around a value is not part of it (RFC 9110, 5.5).
            "signing " => (200, ""),
            _ => (400, "signature_headers"),
        };
        assert_eq!((status, code.as_str()), expected, "{id:?}");
    }
}

#[test]
fn a_target_counts_as_it_was_sent() {
    for target in [
        "/v1//keys",
        "//v1/keys",
        "/v1/./keys",
        "/v1/x/../keys",
        "/v1/%6beys",
        "/v1/x/%2e%2e/keys",
        "/v1%2fkeys",
        "/v1/keys/",
    ] {
        let (status, code) = list().send_raw(site(), target);
        assert!(
            matches!((status, code.as_str()), (404, "not_found" | "unknown_key")) || status == 401,
            "{target}: {status} {code}"
        );
        // Signed as it is sent it is still not another path.
        let (status, code) = signer().request("GET", target, b"").send_raw(site(), target);
        assert_ne!(status, 200, "{target}: {code}");
        known();
    }
    // What is the same target in another form is signed by its path.
    let (status, _) = list().send_raw(site(), "http://somewhere.else/v1/keys");
    assert_eq!(status, 200);
    let (status, code) = list().send_raw(site(), "http://somewhere.else/v1/keys?x=1");
    assert_eq!((status, code.as_str()), (401, "client_signature_invalid"));
    known();
}

#[test]
fn the_order_of_a_query_does_not_count_and_its_spelling_does() {
    let (one, other) = ("/v1/keys?b=2&a=1&a=0", "/v1/keys?a=0&a=1&b=2");
    let request = SignedRequest { target: other.to_owned(), ..signer().request("GET", one, b"") };
    request.send(site()).expect(200);
    let escaped =
        SignedRequest { target: "/v1/keys?a=%30&a=1&b=2".to_owned(), ..signer().request("GET", one, b"") };
    refused(&escaped.send(site()), 401, "client_signature_invalid");
    known();
}

#[test]
fn fields_that_would_change_the_request_change_nothing() {
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "PUT"),
        ("x-original-url", "/v1/admin/apps"),
        ("x-rewrite-url", "/v1/admin/apps"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "somewhere.else"),
        ("x-client-certificate", "-----BEGIN CERTIFICATE-----"),
    ] {
        let answer = list().and(name, value).send(site()).expect(200);
        assert!(answer.json()["items"].is_array(), "{name}");
    }
}

#[test]
fn the_case_of_field_names_does_not_count() {
    let mut request = list();
    for (name, _) in &mut request.headers {
        *name = name.to_uppercase();
    }
    assert_eq!(request.send_raw(site(), "/v1/keys"), (200, String::new()));
}

#[test]
fn a_very_long_field_is_refused_and_the_gateway_goes_on() {
    let request = list().with("x-nonce", &"n".repeat(100_000));
    let (status, _) = request.send_raw(site(), "/v1/keys");
    assert!(matches!(status, 400 | 431), "{status}");
    known();
}

#[test]
fn a_body_that_is_smuggled_past_its_length_is_not_served() {
    // Two lengths, and a length beside chunks.
    let request = order();
    let fields: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = request.body.len();
    for framing in [
        format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 1),
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        "transfer-encoding: xchunked\r\n".to_owned(),
    ] {
        let head = format!(
            "POST /v1/signatures HTTP/1.1\r\nhost: localhost\r\n{fields}{framing}connection: close\r\n\r\n"
        );
        let (status, code) = raw(site(), &[head.as_bytes(), &request.body].concat());
        assert!(status == 400 || status == 401, "{framing}: {status} {code}");
    }
    request.send(site()).expect(201);
}

#[test]
fn who_is_refused_whatever_the_body_is_is_refused_before_the_body_comes() {
    let head = |request: &SignedRequest| {
        let fields: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!(
            "POST /v1/signatures HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: 100000\r\n\
             connection: close\r\n\r\n"
        )
    };
    let late = order().with("x-timestamp", &(now() - 600).to_string());
    let malformed = order().with("x-nonce", "short");
    for (request, wanted) in [(late, (401, "clock_skew")), (malformed, (400, "signature_headers"))] {
        let (status, code) = raw(site(), head(&request).as_bytes());
        assert_eq!((status, code.as_str()), wanted);
    }
}

#[test]
fn guesses_in_an_apps_name_are_slowed_down_and_recorded() {
    let site = Site::start();
    let owner = site.signing_app("guessed", "p256");
    let thief = Signer::new("guessed", "p256");
    let codes: Vec<_> =
        (0..14).map(|_| thief.request("GET", "/v1/keys", b"").send(&site).json()["code"].clone()).collect();
    assert_eq!(codes[..10], vec![json!("client_signature_invalid"); 10]);
    assert_eq!(codes[10..], vec![json!("too_many_attempts"); 4]);
    let answer = thief.request("GET", "/v1/keys", b"").send(&site);
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    // On record by what was claimed and from where, with what it was refused for; not each by itself.
    let refused = |code: &str| -> u32 {
        let audit = site.audit();
        let entries = audit.iter().filter(|entry| {
            let by_guess = entry["actor"] == "unproved:guessed:127.0.0.1" && entry["outcome"] == code;
            entry["action"] == "request.refused" && by_guess
        });
        let counts = entries.map(|entry| entry["subject"].as_str().unwrap().split(' ').next().unwrap());
        counts.map(|count| count.parse::<u32>().unwrap()).sum()
    };
    eventually("all guesses are on record", Duration::from_secs(60), || {
        ((refused("client_signature_invalid"), refused("too_many_attempts")) == (10, 5)).then_some(())
    });
    // The app itself, behind the same address, is served: a stranger's failures are the stranger's.
    owner.request("GET", "/v1/keys", b"").send(&site).expect(200);
    let again = thief.request("GET", "/v1/keys", b"").send(&site).json()["code"].clone();
    assert!(again == "client_signature_invalid" || again == "too_many_attempts", "{again}");
    // Another name from the same place is not concerned.
    let other = site.signing_app("not-guessed", "p256");
    other.request("GET", "/v1/keys", b"").send(&site).expect(200);
}
