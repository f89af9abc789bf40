//! The module under other people's programs: OpenSC's `pkcs11-tool` drives it, OpenSSL judges its signatures.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::fs;

use cryptoki::{
    context::Pkcs11,
    object::{Attribute, AttributeType},
    slot::Slot,
};
use device::*;

fn site_with_token() -> Site {
    let site = Site::new(1, 16);
    tool(&site, &["--init-token", "--slot", "0", "--label", "tool", "--so-pin", SO_PIN]);
    let so = ["--init-pin", "--login", "--login-type", "so", "--so-pin", SO_PIN, "--pin", USER_PIN];
    tool(&site, &so);
    fs::write(site.path().join("message"), "message").unwrap();
    site
}

#[test]
fn a_token_is_made_and_listed() {
    let site = Site::new(1, 16);
    assert!(tool(&site, &["--list-slots"]).contains("uninitialized"));
    drop(site);
    let site = site_with_token();
    let slots = tool(&site, &["--list-slots"]);
    for expected in ["tool", "SIM000000", "SIM-SM2", "PIN initialized"] {
        assert!(slots.contains(expected), "{expected}: {slots}");
    }
}

#[test]
fn openssl_accepts_what_generated_keys_sign() {
    let site = site_with_token();
    user(&site, &["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "ec"]);
    user(&site, &["--keypairgen", "--key-type", "rsa:2048", "--id", "02", "--label", "rsa"]);
    for (id, mechanism) in [("01", "ECDSA-SHA256"), ("02", "SHA256-RSA-PKCS")] {
        let files = ["--input-file", "message", "--output-file", "signature"];
        let sign = ["--sign", "--mechanism", mechanism, "--id", id, "--signature-format", "openssl"];
        user(&site, &[&sign[..], &files].concat());
        tool(&site, &["--read-object", "--type", "pubkey", "--id", id, "--output-file", "key.der"]);
        run(&site, "openssl", &["pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-out", "key.pem"]);
        let judged = ["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message"];
        assert!(run(&site, "openssl", &judged).contains("Verified OK"));
        let verify = ["--verify", "--mechanism", mechanism, "--id", id, "--signature-format", "openssl"];
        let files = ["--input-file", "message", "--signature-file", "signature"];
        assert!(user(&site, &[&verify[..], &files].concat()).contains("Signature is valid"));
    }
}

#[test]
fn the_tools_own_test_finds_no_errors() {
    let site = site_with_token();
    user(&site, &["--keypairgen", "--key-type", "rsa:2048", "--id", "02", "--usage-sign", "--usage-decrypt"]);
    user(&site, &["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"]);
    let report = user(&site, &["--test"]);
    assert!(report.trim_end().lines().any(|line| line == "No errors"), "{report}");
    assert!(report.contains("RSA-PKCS: OK"), "nothing was tested: {report}");
}

#[test]
fn openssl_accepts_an_sm2_signature() {
    let site = Site::new(1, 16);
    site.select();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    let slot = Slot::try_from(0_u64).unwrap();
    initialize_token(&pkcs11, slot);
    let session = log_in(&pkcs11, slot);
    let (public, private) = sm2_pair(&session, &[]);
    let Attribute::EcPoint(point) = attribute(&session, public, AttributeType::EcPoint) else { panic!() };
    let signature = session.sign(&vendor(SM2_SM3), private, b"message").unwrap();

    // SubjectPublicKeyInfo: { { id-ecPublicKey, sm2p256v1 }, BIT STRING }
    let mut spki = vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
    spki.extend_from_slice(SM2_CURVE);
    spki.extend_from_slice(&[0x03, 0x42, 0x00]);
    spki.extend_from_slice(&point[2..]);
    fs::write(site.path().join("key.der"), spki).unwrap();
    fs::write(site.path().join("signature"), der(&signature)).unwrap();
    fs::write(site.path().join("message"), b"message").unwrap();
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key.der",
        "-keyform",
        "DER",
        "-rawin",
        "-digest",
        "sm3",
        "-pkeyopt",
        "distid:1234567812345678",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ];
    assert!(run(&site, "openssl", &verify).contains("Verified Successfully"));
}

/// r‖s as SEQUENCE { INTEGER, INTEGER }; OpenSSL takes nothing else.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let mut octets = number[number.iter().take_while(|octet| **octet == 0).count()..].to_vec();
        if octets.first().is_none_or(|first| first & 0x80 != 0) {
            octets.insert(0, 0);
        }
        [&[0x02, octets.len() as u8], octets.as_slice()].concat()
    };
    let content = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [&[0x30, content.len() as u8], content.as_slice()].concat()
}
