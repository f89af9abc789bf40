//! One input, all opinions: used by the fuzz target and, over its corpus, by the tests.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::sync::LazyLock;

use sm2::elliptic_curve::PrimeField as _;
use sm2::elliptic_curve::ops::Reduce;
use sm2::elliptic_curve::point::AffineCoordinates as _;
use sm2::elliptic_curve::sec1::ToSec1Point as _;
use sm2::{FieldBytes, ProjectivePoint, Scalar};
use sm2_verify::{Implementation, PublicKey, Signature, Verification, Verifier, VerifierOptions, verify};

static WITH_TABLES: LazyLock<Verifier> = LazyLock::new(|| {
    Verifier::new(VerifierOptions { table_after: 1, table_bytes: 4 << 20, ..VerifierOptions::default() })
});
static RUSTCRYPTO: LazyLock<Verifier> = LazyLock::new(|| {
    Verifier::new(VerifierOptions {
        implementation: Implementation::RustCrypto,
        ..VerifierOptions::default()
    })
});

/// Panics if two opinions on what `input` stands for differ. Its first byte says what that is.
pub(crate) fn check(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Some([secret, r, s, e]) = numbers(rest) {
                judged_alike(&key(secret), r, s, e);
            }
        }
        1 => {
            if let Some([secret, s, t]) = numbers(rest) {
                accepted(secret, s, t);
            }
        }
        2 => read_strictly(rest),
        _ => read_as_key(rest),
    }
}

/// The same answer with and without a table and by RustCrypto.
fn judged_alike(key: &PublicKey, r: &[u8; 32], s: &[u8; 32], e: &[u8; 32]) -> Option<bool> {
    let raw = [*r, *s].concat();
    let read = Signature::from_raw(&raw);
    let theirs = sm2::dsa::Signature::from_slice(&raw);
    let zero_sum = scalar(r) + scalar(s) == Scalar::ZERO;
    assert_eq!(read.is_ok(), theirs.is_ok() && !zero_sum, "{raw:02x?}");
    let signature = read.ok()?;
    let answer = verify(key, e, &signature);
    assert_eq!(answer, WITH_TABLES.verify(key, e, &signature), "with a table: {key:?} {e:02x?} {raw:02x?}");
    assert_eq!(answer, RUSTCRYPTO.verify(key, e, &signature), "by RustCrypto: {key:?} {e:02x?} {raw:02x?}");
    let batch = [Verification { key, e, signature: &signature }; 9];
    assert_eq!(WITH_TABLES.verify_batch(&batch), [answer; 9], "together: {key:?} {e:02x?} {raw:02x?}");
    Some(answer.is_ok())
}

/// The signature with these s and t is accepted over the e that belongs to it.
fn accepted(secret: &[u8; 32], s: &[u8; 32], t: &[u8; 32]) {
    let (key, secret, s, t) = (key(secret), non_zero(secret), scalar(s), scalar(t));
    let point = ProjectivePoint::GENERATOR * (s + t * secret);
    let r = t - s;
    let x = scalar(&point.to_affine().x().into());
    let answer = judged_alike(&key, &bytes(&r), &bytes(&s), &bytes(&(r - x)));
    assert!(answer.is_none_or(|accepted| accepted == (point != ProjectivePoint::IDENTITY)));
}

/// What is read as strict DER is written the same, and read by the lenient reader as well.
fn read_strictly(der: &[u8]) {
    if let Ok(signature) = Signature::from_der(der) {
        assert_eq!(signature.to_der(), der);
        assert_eq!(Signature::from_raw(&signature.to_raw()), Ok(signature));
        assert!(der.len() == 64 || Signature::from_vendor(der) == Ok(signature));
    }
    if let Ok(signature) = Signature::from_vendor(der) {
        assert_eq!(Signature::from_der(&signature.to_der()), Ok(signature));
    }
}

/// A key is what RustCrypto reads as an uncompressed point.
fn read_as_key(sec1: &[u8]) {
    let theirs = sm2::PublicKey::from_sec1_bytes(sec1).is_ok() && sec1.len() == 65 && sec1[0] == 4;
    assert_eq!(PublicKey::from_sec1(sec1).is_ok(), theirs, "{sec1:02x?}");
    // Most bytes are no point; that of a compressed one nearly every second time is.
    if let Ok(point) = sm2::PublicKey::from_sec1_bytes(&[&[2], sec1.get(1..33).unwrap_or(&[])].concat()) {
        let sec1 = point.to_sec1_point(false);
        assert_eq!(PublicKey::from_sec1(sec1.as_bytes()).unwrap().to_sec1(), sec1.as_bytes());
    }
}

fn numbers<const COUNT: usize>(input: &[u8]) -> Option<&[[u8; 32]; COUNT]> {
    input.as_chunks().0.first_chunk()
}

fn key(secret: &[u8; 32]) -> PublicKey {
    let point = ProjectivePoint::GENERATOR * non_zero(secret);
    PublicKey::from_sec1(point.to_affine().to_sec1_point(false).as_bytes()).unwrap()
}

fn non_zero(bytes: &[u8; 32]) -> Scalar {
    let scalar = scalar(bytes);
    if scalar == Scalar::ZERO { Scalar::ONE } else { scalar }
}

fn scalar(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*bytes))
}

fn bytes(scalar: &Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}
