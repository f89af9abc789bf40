//! Wycheproof's corner cases for ECDSA and RSA, judged as certificates' and callers' signatures are.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::PublicKey;
use formats::scheme::{HashAlgorithm, SignatureScheme};
use serde::Deserialize;

const GROUPS: &str = include_str!("wycheproof/signatures.json");

#[derive(Deserialize)]
struct Group {
    set: String,
    key: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: u32,
    result: String,
    message: String,
    signature: String,
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

/// Judges all cases of a set; gives how many were accepted and how many refused.
fn judge(set: &str, scheme: SignatureScheme) -> (usize, usize) {
    let groups: Vec<Group> = serde_json::from_str(GROUPS).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in groups.iter().filter(|group| group.set == set) {
        let key = PublicKey::from_spki_der(&bytes(&group.key)).unwrap();
        for case in &group.tests {
            let verified = key.verify_scheme(scheme, b"", &bytes(&case.message), &bytes(&case.signature));
            // "acceptable" is what old signers got wrong; it is refused here.
            assert_eq!(verified.is_ok(), case.result == "valid", "{set} {}: {verified:?}", case.id);
            if verified.is_ok() {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    (accepted, refused)
}

#[test]
fn ecdsa() {
    assert_eq!(judge("ecdsa_secp256r1_sha256", SignatureScheme::Ecdsa(HashAlgorithm::Sha256)), (174, 310));
    assert_eq!(judge("ecdsa_secp384r1_sha384", SignatureScheme::Ecdsa(HashAlgorithm::Sha384)), (194, 310));
}

#[test]
fn rsa_pkcs1() {
    assert_eq!(
        judge("rsa_signature_2048_sha256", SignatureScheme::RsaPkcs1(HashAlgorithm::Sha256)),
        (9, 250)
    );
}

#[test]
fn rsa_pss() {
    assert_eq!(
        judge("rsa_pss_2048_sha256_mgf1_32", SignatureScheme::RsaPss(HashAlgorithm::Sha256)),
        (63, 45)
    );
}
