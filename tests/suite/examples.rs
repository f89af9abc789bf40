//! The programs for integrators in `docs/examples/`, each accepted by the gateway.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tests::{Ran, Scratch, Signer, Site, repository, shared};

const ORDER: &[u8] = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
const JARS: &str = "/usr/share/java/bcprov.jar:/usr/share/java/bcpkix.jar:/usr/share/java/bcutil.jar";

fn example(name: &str) -> PathBuf {
    repository().join("docs/examples").join(name)
}

/// An app for one example, and the file with its key.
fn app(id: &str, kind: &str) -> (Signer, PathBuf) {
    let signer = shared().site.signing_app(id, kind);
    let key = signer.private_key();
    (signer, key)
}

/// Runs an example twice: a call with a body, and one without whose query is out of order; then in another's name.
fn runs(id: &str, command: &dyn Fn(&str, &[&str]) -> Ran) {
    let site: &Site = &shared().site;
    let scratch = Scratch::new();
    let body = scratch.write("body.json", ORDER);
    let signed =
        command(id, &["POST", &format!("{}/v1/signatures", site.base()), body.to_str().unwrap()]).expect(id);
    let answer: Value =
        serde_json::from_slice(&signed.stdout).unwrap_or_else(|error| panic!("{error}: {}", signed.text));
    assert!(answer["signature"].is_string(), "{answer}");
    command(id, &["GET", &format!("{}/v1/keys?b=2&a=%31&a=0", site.base())]).expect(id);
    let refused = command("sandbox-registration", &["GET", &format!("{}/v1/keys", site.base())]);
    assert!(!refused.ok && refused.text.contains("client_signature_invalid"), "{}", refused.text);
}

#[test]
fn curl_and_openssl_sign_by_sm2_and_p256() {
    for kind in ["sm2", "p256"] {
        let (signer, key) = app(&format!("example-sh-{kind}"), kind);
        runs(&signer.app, &|app, rest| {
            Ran::of(Command::new("sh").arg(example("signed-request.sh")).arg(app).arg(&key).args(rest))
        });
    }
}

#[test]
fn python_signs_by_p256() {
    let (signer, key) = app("example-python", "p256");
    runs(&signer.app, &|app, rest| {
        Ran::of(Command::new("python3").arg(example("signed_request.py")).arg(app).arg(&key).args(rest))
    });
}

#[test]
fn python_signs_by_hmac_with_its_standard_library() {
    for digest in ["sm3", "sha256"] {
        let (site, id) = (&shared().site, format!("example-python-{digest}"));
        site.signing_app(&id, "p256");
        let kind = format!("hmac-{digest}");
        let added = site.app_command(&["credential", "add", &id, "--kind", &kind, "--reason", "test"]);
        let scratch = Scratch::new();
        let secret = scratch.write("secret", added["secret"].as_str().unwrap());
        runs(&id, &|app, rest| {
            let mut python = Command::new("python3");
            python.arg(example("signed_request.py")).arg(app).arg(&secret).args(rest);
            Ran::of(python.args(["--hmac", digest]))
        });
        assert!(!site.app_command(&["show", &id]).to_string().contains(added["secret"].as_str().unwrap()));
    }
}

/// The compiled program, and the folder it lies in.
static JAVA: LazyLock<Scratch> = LazyLock::new(|| {
    let classes = Scratch::new();
    let mut javac = Command::new("javac");
    // Its source is of Java 8.
    javac.args(["--release", "8", "-nowarn", "-Xlint:none", "-cp", JARS, "-d"]).arg(classes.path());
    Ran::of(javac.arg(example("SignedRequest.java"))).expect("javac");
    classes
});

fn java(classes: &Path, kind: &str, key: &Path, app: &str, rest: &[&str]) -> Ran {
    let path = format!("{}:{JARS}", classes.display());
    Ran::of(Command::new("java").args(["-cp", &path, "SignedRequest", app]).arg(key).arg(kind).args(rest))
}

#[test]
fn java_8_with_bouncycastle_signs_by_sm2_and_p256() {
    for kind in ["sm2", "p256"] {
        let (signer, key) = app(&format!("example-java-{kind}"), kind);
        runs(&signer.app, &|app, rest| java(JAVA.path(), kind, &key, app, rest));
    }
}
