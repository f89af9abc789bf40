//! The HTTPS listener, seen by curl and by OpenSSL's client.

use std::process::Command;

use tests::{Ran, shared};

fn s_client(options: &[&str]) -> Ran {
    let address = shared().site.tls().trim_start_matches("https://").to_owned();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-brief"]).args(options);
    Ran::of(command.stdin(std::process::Stdio::null()))
}

#[test]
fn curl_reaches_the_https_port_with_the_sandbox_roots_and_not_without() {
    let site = &shared().site;
    let url = format!("{}/livez", site.tls());
    let curl = |options: &[&str]| Ran::of(Command::new("curl").args(["-sS", "--fail", &url]).args(options));
    curl(&["--cacert", site.ca_file().to_str().unwrap()]).expect("curl with the sandbox's roots");
    let refused = curl(&[]);
    assert!(!refused.ok && refused.text.contains("certificate"), "{}", refused.text);
}

#[test]
fn a_signature_is_made_over_https() {
    let site = &shared().site;
    let key = format!("x-api-key: {}", site.sandbox()["apps"][0]["api_key"].as_str().unwrap());
    let body = r#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--cacert", site.ca_file().to_str().unwrap(), "-H", &key, "--json", body]);
    curl.args(["-w", "\n%{http_code}", &format!("{}/v1/signatures", site.tls())]);
    let answer = Ran::of(&mut curl).expect("curl");
    assert!(answer.text.ends_with("\n201"), "{}", answer.text);
}

#[test]
fn the_handshake_is_tls_1_3_under_a_certificate_that_verifies() {
    let ca = shared().site.ca_file();
    let options =
        ["-tls1_3", "-CAfile", ca.to_str().unwrap(), "-verify_return_error", "-verify_ip", "127.0.0.1"];
    let seen = s_client(&options).expect("a TLS 1.3 handshake");
    assert!(seen.text.contains("Protocol version: TLSv1.3"), "{}", seen.text);
    assert!(seen.text.contains("Verification: OK"), "{}", seen.text);
}

#[test]
fn older_protocols_are_refused() {
    for version in ["-tls1_1", "-tls1_2"] {
        let seen = s_client(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!seen.ok, "{version}: {}", seen.text);
    }
}
