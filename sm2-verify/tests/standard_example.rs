//! GB/T 32918.5-2017, annex A.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod support;

use sm2_verify::{DEFAULT_ID, MAX_ID_LEN, PublicKey, Signature, Sm2Error, e, verify, z};
use support::standard;

#[test]
fn the_example_of_the_standard_is_reproduced_to_the_last_bit() {
    let example = standard();
    assert_eq!(example.id, DEFAULT_ID);
    assert_eq!(z(&example.id, &example.key).unwrap().to_vec(), example.z);
    assert_eq!(e(&example.id, &example.key, &example.message).unwrap(), example.e);

    let signature = Signature::from_der(&example.der).unwrap();
    assert_eq!(signature.to_raw().to_vec(), example.raw);
    assert_eq!(signature, Signature::from_raw(&example.raw).unwrap());
    assert_eq!(signature.to_der(), example.der);
    verify(&example.key, &example.e, &signature).unwrap();
}

#[test]
fn any_changed_bit_of_digest_or_signature_is_a_mismatch() {
    let example = standard();
    let signature = Signature::from_raw(&example.raw).unwrap();
    for bit in 0..256 {
        let mut e = example.e;
        e[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify(&example.key, &e, &signature), Err(Sm2Error::Mismatch), "digest bit {bit}");
    }
    for bit in 0..512 {
        let mut raw = example.raw.clone();
        raw[bit / 8] ^= 1 << (bit % 8);
        if let Ok(signature) = Signature::from_raw(&raw) {
            assert_eq!(
                verify(&example.key, &example.e, &signature),
                Err(Sm2Error::Mismatch),
                "signature bit {bit}"
            );
        }
    }
}

#[test]
fn another_signer_identifier_gives_another_digest() {
    let example = standard();
    let other = e(b"ALICE123@YAHOO.COM", &example.key, &example.message).unwrap();
    assert_ne!(other, example.e);
    let signature = Signature::from_raw(&example.raw).unwrap();
    assert_eq!(verify(&example.key, &other, &signature), Err(Sm2Error::Mismatch));
}

#[test]
fn an_identifier_has_at_most_8191_bytes() {
    let key = standard().key;
    assert!(z(&[], &key).is_ok());
    assert!(z(&vec![0; MAX_ID_LEN], &key).is_ok());
    assert_eq!(z(&vec![0; MAX_ID_LEN + 1], &key), Err(Sm2Error::IdLength(8192)));
    assert_eq!(z(&vec![0; 65_536], &key), Err(Sm2Error::IdLength(65_536)));
}

#[test]
fn only_uncompressed_points_on_the_curve_are_keys() {
    let sec1 = standard().key.to_sec1();
    assert_eq!(PublicKey::from_sec1(&sec1).unwrap().to_sec1(), sec1);

    let mut off_curve = sec1;
    off_curve[64] ^= 1;
    let mut hybrid = sec1;
    hybrid[0] = 6;
    let mut coordinate_of_p = [0; 65];
    coordinate_of_p[0] = 4;
    coordinate_of_p[1..33].copy_from_slice(
        &hex::decode("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff").unwrap(),
    );
    let compressed = [&[2], &sec1[1..33]].concat();
    for refused in [&off_curve[..], &hybrid, &coordinate_of_p, &[4; 65], &[0], &[], &sec1[1..], &compressed] {
        assert_eq!(PublicKey::from_sec1(refused), Err(Sm2Error::PublicKey), "{refused:02x?}");
    }
}

#[test]
fn a_key_is_its_bytes_and_shows_them() {
    let key = standard().key;
    assert_eq!(key, key.clone());
    assert!(format!("{key:?}").starts_with("PublicKey(0409f9df311e5421a1"));
}
