//! OpenSSL's opinion, with keys made on the spot.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sm2_verify::{PublicKey, Signature, Sm2Error, Verifier, VerifierOptions, e, verify};
use support::{key_pair, sign};

/// What comes before `04 ‖ X ‖ Y` in a SubjectPublicKeyInfo of an SM2 key.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x81,
    0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, 0x03, 0x42, 0x00,
];

/// Identifiers and messages of several lengths, among them those at the ends of SM3's blocks.
const CASES: [(&str, usize); 5] = [
    ("1234567812345678", 0),
    ("1234567812345678", 256),
    ("ALICE123@YAHOO.COM", 23),
    ("9", 24),
    ("91110000100000000X", 5_000),
];

fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").current_dir(folder).args(arguments).output().expect("openssl is installed")
}

fn succeed(folder: &Path, arguments: &[&str]) {
    let output = openssl(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 251) as u8).collect()
}

#[test]
fn what_openssl_signs_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The first use is without a table, the second with one.
    let verifier = Verifier::new(VerifierOptions { table_after: 2, ..VerifierOptions::default() });
    for (id, length) in CASES {
        succeed(folder.path(), &["ecparam", "-name", "SM2", "-genkey", "-noout", "-out", "key.pem"]);
        succeed(folder.path(), &["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "key.der"]);
        fs::write(at("message"), message(length)).unwrap();
        let id_option = format!("distid:{id}");
        succeed(
            folder.path(),
            &[
                "pkeyutl",
                "-sign",
                "-inkey",
                "key.pem",
                "-rawin",
                "-digest",
                "sm3",
                "-pkeyopt",
                &id_option,
                "-in",
                "message",
                "-out",
                "signature",
            ],
        );
        let spki = fs::read(at("key.der")).unwrap();
        let key = PublicKey::from_sec1(spki.strip_prefix(&SPKI_PREFIX).unwrap()).unwrap();
        let signature = Signature::from_der(&fs::read(at("signature")).unwrap()).unwrap();
        let e = e(id.as_bytes(), &key, &message(length)).unwrap();
        let mut altered = e;
        altered[31] ^= 1;
        assert_eq!(verify(&key, &e, &signature), Ok(()), "{id} {length}");
        assert_eq!(verify(&key, &altered, &signature), Err(Sm2Error::Mismatch));
        for _ in 0..2 {
            assert_eq!(verifier.verify(&key, &e, &signature), Ok(()), "{id} {length}");
            assert_eq!(verifier.verify(&key, &altered, &signature), Err(Sm2Error::Mismatch));
        }
    }
    assert_eq!(verifier.tables().0, CASES.len());
}

#[test]
fn openssl_verifies_the_same_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (number, (id, length)) in (1..).zip(CASES) {
        let (signing, key) = key_pair(&[number; 32]).unwrap();
        fs::write(at("key.der"), [&SPKI_PREFIX[..], &key.to_sec1()].concat()).unwrap();
        succeed(folder.path(), &["pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-out", "key.pem"]);
        let e = e(id.as_bytes(), &key, &message(length)).unwrap();
        let signature = sign(&signing, &e);
        let id_option = format!("distid:{id}");
        let opinion = |message: Vec<u8>, signature: &Signature| {
            fs::write(at("message"), message).unwrap();
            fs::write(at("signature"), signature.to_der()).unwrap();
            let arguments = [
                "dgst",
                "-sm3",
                "-verify",
                "key.pem",
                "-sigopt",
                &id_option,
                "-signature",
                "signature",
                "message",
            ];
            openssl(folder.path(), &arguments).status.success()
        };
        assert!(verify(&key, &e, &signature).is_ok());
        assert!(opinion(message(length), &signature), "{id} {length}");
        assert!(!opinion(message(length + 1), &signature));

        let mut raw = signature.to_raw();
        raw[40] ^= 2;
        let altered = Signature::from_raw(&raw).unwrap();
        assert!(verify(&key, &e, &altered).is_err());
        assert!(!opinion(message(length), &altered));
    }
}
