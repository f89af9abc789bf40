//! The files: reproducible, private where they must be, and read the same way by OpenSSL.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod sandbox;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use certs_test::{Options, generate};
use sandbox::{AT, OPTIONS, made};
use tempfile::TempDir;

/// The shared sandbox's files.
fn dir() -> &'static Path {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        made().write_to(dir.path()).unwrap();
        dir
    })
    .path()
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(root, root, &mut found);
    found
}

fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).current_dir(dir()).output().expect("openssl is installed")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// `openssl verify` of a file under an authority, with revocation, at the time of making.
fn openssl_verify(authority: &str, file: &str, more: &[&str]) -> Output {
    let at = AT.unix_timestamp().to_string();
    let root = format!("roots/{authority}.pem");
    let issuing = format!("issuing/{authority}.pem");
    let crls = format!("crls/{authority}.pem");
    let mut arguments = vec![
        "verify",
        "-attime",
        &at,
        "-crl_check_all",
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        "-CRLfile",
        &crls,
    ];
    arguments.extend_from_slice(more);
    arguments.push(file);
    openssl(&arguments)
}

#[test]
fn the_same_seed_and_time_make_the_same_bytes() {
    let again = tempfile::tempdir().unwrap();
    generate(&OPTIONS).unwrap().write_to(again.path()).unwrap();
    assert_eq!(files(dir()), files(again.path()));
}

#[test]
fn another_seed_makes_other_keys() {
    let other = tempfile::tempdir().unwrap();
    generate(&Options { seed: [8; 32], at: AT }).unwrap().write_to(other.path()).unwrap();
    let (ours, theirs) = (files(dir()), files(other.path()));
    assert!(ours.keys().eq(theirs.keys()));
    for (name, content) in ours {
        let same = theirs[&name] == content;
        let without_keys = ["README.txt", "manifest.json", "seals/agency.png"];
        assert_eq!(same, without_keys.contains(&&*name), "{name}");
    }
}

#[test]
fn private_keys_are_readable_by_their_owner_only() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir().join("private")), 0o700);
    let mut keys = 0;
    for (name, content) in files(dir()) {
        let private = name.starts_with("private/");
        assert_eq!(mode(&dir().join(&name)), if private { 0o600 } else { 0o644 }, "{name}");
        assert_eq!(String::from_utf8_lossy(&content).contains("PRIVATE KEY"), private, "{name}");
        keys += usize::from(private);
    }
    assert_eq!(keys, 9 + 1 + 1 + 25 + 2);
}

#[test]
fn writing_again_over_open_permissions_closes_them() {
    let dir = tempfile::tempdir().unwrap();
    made().write_to(dir.path()).unwrap();
    let key = dir.path().join("private/demo-sm2.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    made().write_to(dir.path()).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn everything_says_that_it_is_test_only() {
    assert!(fs::read_to_string(dir().join("README.txt")).unwrap().starts_with("TEST ONLY"));
    for authority in ["sm2", "p256", "rsa", "license", "tls"] {
        for level in ["roots", "issuing"] {
            let file = format!("{level}/{authority}.pem");
            let subject = text(&openssl(&["x509", "-noout", "-subject", "-nameopt", "utf8", "-in", &file]));
            assert!(subject.contains("TEST ONLY"), "{file}: {subject}");
        }
    }
}

#[test]
fn openssl_accepts_the_p256_and_rsa_chains_with_their_revocation_lists() {
    for (authority, service) in [("p256", "demo-p256"), ("rsa", "demo-rsa2048")] {
        let output = openssl_verify(authority, &format!("services/{service}/chain.pem"), &["-x509_strict"]);
        assert!(output.status.success(), "{service}: {}", text(&output));
    }
}

#[test]
fn openssl_accepts_the_tls_certificate_for_its_names() {
    for name in [["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"]] {
        let output = openssl_verify(
            "tls",
            "tls/chain.pem",
            &["-x509_strict", "-purpose", "sslserver", name[0], name[1]],
        );
        assert!(output.status.success(), "{name:?}: {}", text(&output));
    }
    let output = openssl_verify("tls", "tls/chain.pem", &["-verify_hostname", "example.com"]);
    assert!(!output.status.success());
}

#[test]
fn openssl_refuses_the_p256_and_rsa_negatives_for_the_same_reasons() {
    for authority in ["p256", "rsa"] {
        for (kind, reason) in [
            ("expired", "certificate has expired"),
            ("not-yet-valid", "certificate is not yet valid"),
            ("revoked", "certificate revoked"),
            ("wrong-issuer-signature", "certificate signature failure"),
        ] {
            let output = openssl_verify(authority, &format!("negatives/{authority}-{kind}.pem"), &[]);
            assert!(!output.status.success(), "{authority} {kind}");
            assert!(text(&output).contains(reason), "{authority} {kind}: {}", text(&output));
        }
    }
}

/// OpenSSL 3.0 sets the signer id for the certificate in question only, hence one level at a time.
#[test]
fn openssl_accepts_sm2_certificates_one_level_at_a_time() {
    let at = AT.unix_timestamp().to_string();
    for (trusted, file) in [
        ("roots/sm2.pem", "issuing/sm2.pem"),
        ("roots/license.pem", "issuing/license.pem"),
        ("issuing/sm2.pem", "services/demo-sm2/chain.pem"),
        ("issuing/license.pem", "licenses/A-good.pem"),
    ] {
        let verify = |id: &str| {
            openssl(&["verify", "-attime", &at, "-partial_chain", "-vfyopt", id, "-CAfile", trusted, file])
        };
        let output = verify("distid:1234567812345678");
        assert!(output.status.success(), "{file}: {}", text(&output));
        assert!(!verify("distid:another").status.success(), "{file} verifies under any id");
    }
}

#[test]
fn openssl_derives_the_certified_public_key_from_each_private_key() {
    for service in &made().services {
        let id = &service.id;
        let key = openssl(&["pkey", "-pubout", "-in", &format!("private/{id}.pem")]);
        let certified = openssl(&["x509", "-noout", "-pubkey", "-in", &format!("services/{id}/chain.pem")]);
        assert!(key.status.success() && certified.status.success(), "{id}: {}", text(&key));
        assert_eq!(text(&key), text(&certified), "{id}");
    }
    let key = openssl(&["pkey", "-pubout", "-in", "private/license-A-good.pem"]);
    assert_eq!(text(&key), text(&openssl(&["x509", "-noout", "-pubkey", "-in", "licenses/A-good.pem"])));
}

#[test]
fn the_manifest_names_every_license_negative_and_license_file() {
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(dir().join("manifest.json")).unwrap()).unwrap();
    for (part, count) in [("licenses", 24), ("negatives", 15), ("license_files", 14)] {
        let entries = manifest[part].as_array().unwrap();
        assert_eq!(entries.len(), count);
        for entry in entries {
            assert!(dir().join(entry["file"].as_str().unwrap()).is_file(), "{entry}");
        }
    }
}

#[test]
fn the_binary_writes_what_the_library_makes() {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certs-test"))
        .arg(out.path())
        .args(["--seed", &"07".repeat(32), "--at", "2026-11-22T16:00:00+08:00"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(files(dir()), files(out.path()));

    let refused =
        Command::new(env!("CARGO_BIN_EXE_certs-test")).args(["x", "--seed", "07"]).output().unwrap();
    assert!(!refused.status.success());
}
