//! Results that are wrong in ways a caller must notice.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{error::RvError, mechanism::Mechanism, object::Attribute};
use device::*;

const E: [u8; 32] = [3; 32];

fn fault(action: &str) -> String {
    format!("[[fault]]\nfunction = '*'\naction = '{action}'\ncount = 1\n")
}

#[test]
fn a_wrong_signature_is_good_for_another_value() {
    let turn = Turn::take();
    let session = fresh_session();
    let ((public, private), (rsa_public, rsa)) = (sm2_pair(&session, &[]), rsa_pair(&session, &[]));
    let mut other = E;
    other[31] ^= 1;
    turn.set(&fault("wrong_signature"));
    let signature = session.sign(&vendor(SM2), private, &E).unwrap();
    assert_eq!(refused(session.verify(&vendor(SM2), public, &E, &signature)), RvError::SignatureInvalid);
    session.verify(&vendor(SM2), public, &other, &signature).unwrap();
    // Counted once, although the length was asked for first.
    let signature = session.sign(&vendor(SM2), private, &E).unwrap();
    session.verify(&vendor(SM2), public, &E, &signature).unwrap();

    turn.set(&fault("wrong_signature"));
    let signature = session.sign(&Mechanism::Sha256RsaPkcs, rsa, b"message").unwrap();
    let outcome = session.verify(&Mechanism::Sha256RsaPkcs, rsa_public, b"message", &signature);
    assert_eq!(refused(outcome), RvError::SignatureInvalid);
    session.verify(&Mechanism::Sha256RsaPkcs, rsa_public, b"messagd", &signature).unwrap();
}

#[test]
fn only_the_named_keys_signatures_are_wrong() {
    let turn = Turn::take();
    let session = fresh_session();
    let pair = |id| sm2_pair(&session, &[Attribute::Id(vec![id])]);
    let ((good_public, good), (bad_public, bad)) = (pair(1), pair(2));
    turn.set("[[fault]]\nfunction = 'C_Sign'\nkey = '02'\naction = 'wrong_signature'\n");
    let signature = session.sign(&vendor(SM2), good, &E).unwrap();
    session.verify(&vendor(SM2), good_public, &E, &signature).unwrap();
    let signature = session.sign(&vendor(SM2), bad, &E).unwrap();
    refused(session.verify(&vendor(SM2), bad_public, &E, &signature));
}

#[test]
fn one_bit_is_wrong_in_signatures_and_digests() {
    let turn = Turn::take();
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    let digest = session.digest(&vendor(SM3), b"message").unwrap();
    turn.set(&fault("flip_bit"));
    let mut signature = session.sign(&vendor(SM2), private, &E).unwrap();
    assert_eq!(refused(session.verify(&vendor(SM2), public, &E, &signature)), RvError::SignatureInvalid);
    signature[63] ^= 1;
    session.verify(&vendor(SM2), public, &E, &signature).unwrap();
    turn.set(&fault("flip_bit"));
    let other = session.digest(&vendor(SM3), b"message").unwrap();
    let bits: u32 = digest.iter().zip(&other).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(bits, 1);
}

#[test]
fn a_truncated_signature_lacks_its_last_octet() {
    let turn = Turn::take();
    let session = fresh_session();
    let (_, private) = sm2_pair(&session, &[]);
    turn.set(&fault("truncate"));
    assert_eq!(session.sign(&vendor(SM2), private, &E).unwrap().len(), 63);
    assert_eq!(session.sign(&vendor(SM2), private, &E).unwrap().len(), 64);
}

#[test]
fn der_faults_pass_raw_signatures_by() {
    let turn = Turn::take();
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    turn.set(&[fault("malformed_der"), fault("negative_integer")].concat());
    let signature = session.sign(&vendor(SM2), private, &E).unwrap();
    session.verify(&vendor(SM2), public, &E, &signature).unwrap();
}
