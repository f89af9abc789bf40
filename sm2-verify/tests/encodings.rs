//! What is and what is not a signature, in its three forms.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod support;

use proptest::prelude::*;
use sm2_verify::{Signature, Sm2Error};
use support::standard;

const RANGE: Result<Signature, Sm2Error> = Err(Sm2Error::Range);

fn number(hex_digits: &str) -> Vec<u8> {
    hex::decode(format!("{hex_digits:0>64}")).unwrap()
}

fn plus(number: &[u8; 32], addend: i16) -> Vec<u8> {
    let mut sum = *number;
    let mut carry = addend;
    for byte in sum.iter_mut().rev() {
        let digit = i16::from(*byte) + carry;
        *byte = digit.rem_euclid(256) as u8;
        carry = digit.div_euclid(256);
    }
    sum.to_vec()
}

#[test]
fn r_and_s_are_from_1_to_n_minus_1_and_their_sum_is_not_n() {
    let n = standard().n;
    let (zero, one, two) = (number("0"), number("1"), number("2"));
    let (n_minus_1, n_minus_2, n_itself, n_plus_1) = (plus(&n, -1), plus(&n, -2), n.to_vec(), plus(&n, 1));
    let all_ones = vec![0xff; 32];
    let from = |r: &[u8], s: &[u8]| Signature::from_raw(&[r, s].concat());

    for out in [&zero, &n_itself, &n_plus_1, &all_ones] {
        assert_eq!(from(out, &one), RANGE, "r = {out:02x?}");
        assert_eq!(from(&one, out), RANGE, "s = {out:02x?}");
    }
    for (r, s) in [(&one, &n_minus_1), (&n_minus_1, &one), (&two, &n_minus_2), (&n_minus_2, &two)] {
        assert_eq!(from(r, s), RANGE, "r + s = n");
    }
    for (r, s) in [(&one, &one), (&n_minus_1, &n_minus_1), (&one, &n_minus_2), (&n_minus_1, &two)] {
        assert!(from(r, s).is_ok(), "{r:02x?} {s:02x?}");
    }
}

#[test]
fn strict_der_accepts_one_encoding_only() {
    let der = standard().der;
    let (r, s) = (&der[5..37], &der[40..72]);
    let integer = |content: &[u8]| [&[2, content.len() as u8], content].concat();
    let sequence = |content: &[u8]| [&[0x30, content.len() as u8], content].concat();
    let signed = |number: &[u8]| integer(&[&[0], number].concat());
    assert_eq!(sequence(&[signed(r), signed(s)].concat()), der);

    let refused: [(&str, Vec<u8>); 17] = [
        ("nothing", vec![]),
        ("a trailing byte", [&der[..], &[0]].concat()),
        ("a trailing byte inside", sequence(&[signed(r), signed(s), vec![0]].concat())),
        ("a third integer", sequence(&[signed(r), signed(s), integer(&[1])].concat())),
        ("one integer", sequence(&signed(r))),
        ("a cut end", der[..der.len() - 1].to_vec()),
        ("a length in two octets", [&[0x30, 0x81], &der[1..]].concat()),
        ("an indefinite length", [&[0x30, 0x80], &der[2..], &[0, 0]].concat()),
        ("a negative r", sequence(&[integer(r), signed(s)].concat())),
        ("a negative s", sequence(&[signed(r), integer(s)].concat())),
        ("a superfluous zero", sequence(&[integer(&[&[0, 0], r].concat()), signed(s)].concat())),
        ("an empty integer", sequence(&[integer(&[]), signed(s)].concat())),
        ("a set", [&[0x31], &der[1..]].concat()),
        ("an octet string", sequence(&[vec![4, 1, 1], signed(s)].concat())),
        ("a long length that runs out", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        ("a length of lengths", vec![0x30, 0xff]),
        ("raw bytes", standard().raw),
    ];
    for (what, bytes) in refused {
        assert!(matches!(Signature::from_der(&bytes), Err(Sm2Error::Encoding(_))), "{what}");
    }
    let over_long = sequence(&[integer(&[&[1], r].concat()), signed(s)].concat());
    assert_eq!(Signature::from_der(&over_long), RANGE);
    let zero = sequence(&[integer(&[0]), signed(s)].concat());
    assert_eq!(Signature::from_der(&zero), RANGE);
}

#[test]
fn the_lenient_form_takes_what_devices_answer() {
    let example = standard();
    let (r, s) = (&example.raw[..32], &example.raw[32..]);
    let expected = Signature::from_raw(&example.raw).unwrap();
    let integer = |content: &[u8]| [&[2, content.len() as u8], content].concat();
    let sequence = |content: &[u8]| [&[0x30, content.len() as u8], content].concat();
    let padded = |zeros: usize, number: &[u8]| integer(&[&vec![0; zeros][..], number].concat());

    for (what, bytes) in [
        ("raw", example.raw.clone()),
        ("DER", example.der.clone()),
        ("no sign octets", sequence(&[integer(r), integer(s)].concat())),
        ("one sign octet", sequence(&[padded(1, r), integer(s)].concat())),
        ("padding to 36 bytes", sequence(&[padded(4, r), padded(4, s)].concat())),
        ("a long length", [&[0x30, 0x82, 0x00], &example.der[1..]].concat()),
    ] {
        assert_eq!(Signature::from_vendor(&bytes), Ok(expected), "{what}");
    }
}

#[test]
fn the_lenient_form_reads_a_number_without_its_sign_octet_as_positive() {
    // r has 31 bytes and its highest bit set.
    let r = [&[0xec, 0xa4][..], &[0x11; 29]].concat();
    let s = [0x22; 32];
    let sloppy = [&[0x30, 67, 2, 31][..], &r, &[2, 32], &s].concat();
    let signature = Signature::from_vendor(&sloppy).unwrap();
    assert_eq!(signature.to_raw().to_vec(), [&[0][..], &r, &s].concat());
    assert_eq!(signature.to_der(), [&[0x30, 68, 2, 32, 0][..], &r, &[2, 32], &s].concat());
    assert!(Signature::from_der(&sloppy).is_err());
}

#[test]
fn the_lenient_form_keeps_to_the_range_and_to_the_end() {
    let example = standard();
    let trailing = [&example.der[..], &[0]].concat();
    assert!(matches!(Signature::from_vendor(&trailing), Err(Sm2Error::Encoding(_))));
    assert!(matches!(Signature::from_vendor(&example.raw[..63]), Err(Sm2Error::Encoding(_))));
    assert!(matches!(Signature::from_vendor(&[]), Err(Sm2Error::Encoding(_))));

    // r + 2^256 and s, as one known library would accept.
    let shifted = [&[0x30, 70, 2, 33, 1][..], &example.raw[..32], &[2, 33, 0], &example.raw[32..]].concat();
    assert_eq!(Signature::from_vendor(&shifted), RANGE);
    let zero = [&[0x30, 38, 2, 1, 0, 2, 33, 0][..], &example.raw[32..]].concat();
    assert_eq!(Signature::from_vendor(&zero), RANGE);
}

#[test]
fn small_numbers_have_short_encodings() {
    let signature = Signature::from_raw(&[number("1"), number("80")].concat()).unwrap();
    assert_eq!(signature.to_der(), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
    assert_eq!(Signature::from_der(&signature.to_der()), Ok(signature));
}

proptest! {
    #[test]
    fn every_signature_survives_each_of_its_forms(raw in proptest::collection::vec(any::<u8>(), 64)) {
        prop_assume!(Signature::from_raw(&raw).is_ok());
        let signature = Signature::from_raw(&raw).unwrap();
        prop_assert_eq!(Signature::from_raw(&signature.to_raw()), Ok(signature));
        prop_assert_eq!(Signature::from_der(&signature.to_der()), Ok(signature));
        prop_assert_eq!(Signature::from_vendor(&signature.to_der()), Ok(signature));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_strict_means_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Signature::from_raw(&bytes);
        let _ = Signature::from_vendor(&bytes);
        if let Ok(signature) = Signature::from_der(&bytes) {
            prop_assert_eq!(signature.to_der(), bytes);
        }
    }

    #[test]
    fn bytes_shaped_like_der_never_panic(
        r in proptest::collection::vec(any::<u8>(), 0..40),
        s in proptest::collection::vec(any::<u8>(), 0..40),
        lengths in any::<[u8; 3]>(),
    ) {
        let bytes = [&[0x30, lengths[0], 2, lengths[1]], &r[..], &[2, lengths[2]], &s[..]].concat();
        let _ = Signature::from_vendor(&bytes);
        if let Ok(signature) = Signature::from_der(&bytes) {
            prop_assert_eq!(signature.to_der(), bytes);
        }
    }
}
