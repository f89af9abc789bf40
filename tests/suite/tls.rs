//! The HTTPS listener, seen by curl and by OpenSSL's client.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Authority, Folder, Ran, Site, eventually, shared};

const BOUND: Duration = Duration::from_secs(60);

fn s_client(options: &[&str]) -> Ran {
    let address = shared().site.tls().trim_start_matches("https://").to_owned();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-brief"]).args(options);
    Ran::of(command.stdin(Stdio::null()))
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

#[test]
fn http_2_and_http_1_1_are_spoken_as_the_client_wishes() {
    let site = &shared().site;
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", option, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"]);
        let ran = Ran::of(curl.arg(site.ca_file()).arg(format!("{}/livez", site.tls()))).expect("curl");
        assert_eq!(ran.text, format!("{version} 200"));
    }
}

/// A site of its own with a section `[tls]`.
fn site_with(tls: &str) -> Site {
    let folder = Folder::init();
    folder.configure("[database]\n", &format!("[tls]\n{tls}\n\n[database]\n"));
    folder.serve()
}

#[test]
fn a_site_may_admit_tls_1_2_and_choose_its_suites() {
    let suites = r#"["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]"#;
    let site = site_with(&format!("minimum = \"1.2\"\nsuites = {suites}"));
    let try_with = |options: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-brief", "-connect", site.tls().trim_start_matches("https://")]);
        Ran::of(command.args(options).stdin(Stdio::null()))
    };
    let seen = try_with(&["-tls1_2"]).expect("TLS 1.2");
    assert!(seen.text.contains("ECDHE-ECDSA-AES128-GCM-SHA256"), "{}", seen.text);
    let seen = try_with(&["-tls1_3"]).expect("TLS 1.3");
    assert!(seen.text.contains("TLS_AES_128_GCM_SHA256"), "{}", seen.text);
    for options in [
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
        ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ] {
        assert!(!try_with(&options).ok, "{options:?}");
    }
}

#[test]
fn a_certificate_is_replaced_under_load_without_a_failed_request() {
    // New connections all the time, by a client that trusts the old root and the new one.
    const LOAD: &str = "
import ssl, sys, urllib.request, threading
context = ssl.create_default_context(cafile=sys.argv[2])
over, counts = threading.Event(), []
def ask():
    done = failed = 0
    while not over.is_set():
        try:
            urllib.request.urlopen(sys.argv[1] + '/livez', context=context).read()
            done += 1
            sys.stdout.write('answered\\n')
            sys.stdout.flush()
        except Exception as error:
            print(error, file=sys.stderr)
            failed += 1
    counts.append((done, failed))
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
sys.stdin.readline()
over.set()
for thread in threads: thread.join()
print(sum(done for done, _ in counts), sum(failed for _, failed in counts))
";
    let site = site_with("watch_ms = 50");
    let (first, second) = (Authority::new("First"), Authority::new("Second"));
    let (chain, key) = (site.data().join("pki/tls/chain.pem"), site.data().join("pki/private/tls.pem"));
    let mut roots = std::fs::read(site.ca_file()).unwrap();
    for authority in [&first, &second] {
        authority.issue_for("server", "server");
        roots.extend(std::fs::read(authority.path("ca.pem")).unwrap());
    }
    let bundle = site.data().join("roots.pem");
    std::fs::write(&bundle, roots).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", LOAD, site.tls()]).arg(&bundle).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut load = python.stderr(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(load.stdout.take().unwrap());
    let mut go_on = || {
        for _ in 0..10 {
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            assert_eq!(line, "answered\n");
        }
    };
    let shown_by = |authority: &Authority| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--cacert"]).arg(authority.path("ca.pem")).arg(format!("{}/livez", site.tls()));
        Ran::of(&mut curl).ok
    };
    for authority in [&first, &second, &first, &second] {
        go_on();
        // One after the other, as most tools do it: for a moment they do not belong together.
        for (from, to) in [("server.pem", &chain), ("server.key", &key)] {
            let part = to.with_extension("part");
            std::fs::copy(authority.path(from), &part).unwrap();
            std::fs::rename(part, to).unwrap();
        }
        eventually("the new certificate is shown", BOUND, || shown_by(authority).then_some(()));
    }
    go_on();
    drop(load.stdin.take());
    let mut text = String::new();
    answers.read_to_string(&mut text).unwrap();
    let errors = String::from_utf8_lossy(&load.wait_with_output().unwrap().stderr).into_owned();
    let counts: Vec<u64> = text.lines().last().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(counts[0] >= 50 && counts[1] == 0, "{counts:?} {errors}");
    let taken = site.audit().into_iter().filter(|entry| entry["actor"] == "gateway:tls-files");
    assert!(taken.filter(|entry| entry["outcome"] == "ok").count() >= 4);
}
