//! Signatures made to meet what random ones never meet. Whoever holds a private key can make them.

use std::sync::LazyLock;

use proptest::prelude::*;
use sm2::elliptic_curve::PrimeField as _;
use sm2::elliptic_curve::ops::Reduce;
use sm2::elliptic_curve::point::AffineCoordinates as _;
use sm2::elliptic_curve::sec1::ToSec1Point as _;
use sm2::{FieldBytes, ProjectivePoint, Scalar};

use super::{G_WIDTH, KEY_WIDTH, Tabled, verify, verify_by_rustcrypto, verify_together, verify_with};
use crate::multiples::Multiples;
use crate::scalar::{Digits, ORDER, Scalar as OurScalar};
use crate::{PublicKey, Signature, Sm2Error};

type Answer = Result<(), Sm2Error>;
const MISMATCH: Answer = Err(Sm2Error::Mismatch);

fn scalar(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*bytes))
}

fn bytes(scalar: &Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}

fn signature(r: &Scalar, s: &Scalar) -> Option<Signature> {
    Signature::from_raw(&[bytes(r), bytes(s)].concat()).ok()
}

/// A signature that stands beside others.
struct Neighbour {
    keyed: Keyed,
    e: [u8; 32],
    signature: Signature,
}

impl Neighbour {
    fn tabled(&self) -> Tabled<'_> {
        (&self.keyed.table, &self.e, &self.signature)
    }
}

/// A good one and a bad one.
static NEIGHBOURS: LazyLock<(Neighbour, Neighbour)> = LazyLock::new(|| {
    let [secret, s, t] = [0x00dd_5eed_u64, 0x5157, 0x7157].map(Scalar::from);
    let q = ProjectivePoint::GENERATOR * (s + t * secret);
    let (r, x) = (t - s, scalar(&q.to_affine().x().into()));
    let neighbour = |e| Neighbour {
        keyed: Keyed::from_secret(secret),
        e: bytes(&e),
        signature: signature(&r, &s).unwrap(),
    };
    (neighbour(r - x), neighbour(r - x + Scalar::ONE))
});

/// A key with its table, made once.
struct Keyed {
    key: PublicKey,
    point: ProjectivePoint,
    table: Multiples<KEY_WIDTH>,
}

impl Keyed {
    fn of(point: ProjectivePoint) -> Self {
        let sec1 = point.to_affine().to_sec1_point(false);
        let key = PublicKey::from_sec1(sec1.as_bytes()).unwrap();
        let table = Multiples::of(key.point());
        Self { key, point, table }
    }

    fn from_secret(secret: Scalar) -> Self {
        Self::of(ProjectivePoint::GENERATOR * secret)
    }

    /// The answer on which all agree, with and without a table.
    fn answer(&self, e: &[u8; 32], signature: &Signature) -> Answer {
        let answer = verify(&self.key, e, signature);
        let others = [verify_by_rustcrypto(&self.key, e, signature), verify_with(&self.table, e, signature)];
        assert_eq!(others, [answer; 2], "{:?} {e:02x?} {signature:02x?}", self.key);
        // Beside others, to which it must not matter: one that holds and one that does not.
        let (good, bad) = &*NEIGHBOURS;
        let this = (&self.table, e, signature);
        let answers = verify_together(&[good.tabled(), this, bad.tabled(), this, good.tabled()]);
        let expected = [Ok(()), answer, MISMATCH, answer, Ok(())];
        assert_eq!(answers, expected, "{:?} {e:02x?} {signature:02x?}", self.key);
        answer
    }

    /// r, s and e that satisfy s·G + t·P = Q and r = e + x mod n are accepted, any other e is not.
    fn accepts(&self, s: &Scalar, t: &Scalar) {
        let (r, q) = (t - s, ProjectivePoint::GENERATOR * s + self.point * t);
        let Some(signature) = signature(&r, s) else { return };
        if q == ProjectivePoint::IDENTITY {
            for e in [bytes(&r), [0; 32]] {
                assert_eq!(self.answer(&e, &signature), MISMATCH, "the point at infinity has no x");
            }
            return;
        }
        let x: [u8; 32] = q.to_affine().x().into();
        let e = r - scalar(&x);
        assert_eq!(self.answer(&bytes(&e), &signature), Ok(()));
        assert_eq!(self.answer(&bytes(&(e + Scalar::ONE)), &signature), MISMATCH);
    }
}

/// A key under which r and s are a signature with the point `q`: P = (Q − s·G) / t.
fn key_for(q: &ProjectivePoint, r: &Scalar, s: &Scalar) -> Option<ProjectivePoint> {
    let t = Option::<Scalar>::from((r + s).invert())?;
    Some((q - &(ProjectivePoint::GENERATOR * s)) * t)
}

fn two_to(power: usize) -> Scalar {
    (0..power).fold(Scalar::ONE, |scalar, _| scalar.double())
}

fn edges() -> Vec<Scalar> {
    let one = Scalar::ONE;
    let mut edges = vec![one, one + one, one + one + one];
    edges.extend([6, 9, 64, 128, 252, 255].map(two_to));
    edges.extend(edges.clone().iter().map(|edge| -edge));
    edges.extend([two_to(128) - one, two_to(255) - two_to(64), two_to(128) + one]);
    edges
}

/// The digits of a scalar as scalars, each at its place.
fn digits<const WIDTH: usize>(scalar: &Scalar) -> Vec<Scalar> {
    let windows = Multiples::<WIDTH>::WINDOWS;
    let digits = OurScalar::reduce(&bytes(scalar)).odd_digits(&Digits::bias(windows * WIDTH));
    let digit = |window: usize| {
        let (half, negative) = digits.at(window * WIDTH, WIDTH);
        let amount = Scalar::from(2 * half as u64 + 1) * two_to(window * WIDTH);
        if negative { -amount } else { amount }
    };
    let digits: Vec<_> = (0..windows).map(digit).collect();
    assert_eq!(digits.iter().sum::<Scalar>(), *scalar);
    digits
}

#[test]
fn r_s_and_t_at_the_edges_of_their_range() {
    let q = ProjectivePoint::GENERATOR * Scalar::from(0xdead_beefu64);
    let key = Keyed::of(q + q + q);
    for r in edges() {
        for s in edges().into_iter().step_by(3) {
            let Some(point) = key_for(&q, &r, &s) else {
                assert_eq!(signature(&r, &s), None, "r + s = n");
                continue;
            };
            Keyed::of(point).accepts(&s, &(r + s));
        }
        // t at the edges.
        let s = Scalar::from(0x0123_4567_89abu64);
        key.accepts(&s, &r);
    }
}

#[test]
fn s_times_g_meets_t_times_p() {
    for d in edges() {
        let key = Keyed::from_secret(d);
        for t in edges() {
            // Equal, opposite (the sum is infinite) and one beside.
            for s in [t * d, -(t * d), t * d + Scalar::ONE, Scalar::ONE - t * d] {
                key.accepts(&s, &t);
            }
        }
    }
}

#[test]
fn partial_sums_with_a_table_meet_the_next_term() {
    let t = scalar(&[0x6b; 32]);
    for d in [Scalar::ONE, -Scalar::ONE, Scalar::from(2u64), Scalar::from(0x5eed_5eedu64)] {
        let key = Keyed::from_secret(d);
        let mut before = Scalar::ZERO;
        for digit in digits::<KEY_WIDTH>(&t) {
            // After the terms of G the sum is s·G, then each term of t·P is added.
            for s in [d * digit, -(d * digit)].map(|meeting| meeting - before) {
                key.accepts(&s, &t);
            }
            before += d * digit;
        }
    }
}

#[test]
fn partial_sums_without_a_table_meet_the_next_term() {
    let s = scalar(&[0x3d; 32]);
    for d in [Scalar::ONE, -Scalar::ONE, Scalar::from(2u64), Scalar::from(0x5eed_5eedu64)] {
        let key = Keyed::from_secret(d);
        let mut before = Scalar::ZERO;
        for digit in digits::<G_WIDTH>(&s) {
            // After t·P the terms of s·G are added.
            for t in [digit, -digit].map(|meeting| (meeting - before) * d.invert().unwrap()) {
                key.accepts(&s, &t);
            }
            before += digit;
        }
    }
}

#[test]
fn the_terms_of_g_and_of_the_key_meet_among_themselves() {
    // The last window reaches beyond n: its term can equal what the others sum up to.
    let mut met = 0;
    let key = Keyed::from_secret(Scalar::from(0x0bad_5eedu64));
    let last_place = |width: usize| two_to(256usize.div_ceil(width) * width - width);
    for amount in (1..1 << G_WIDTH).rev().step_by(2).take(40) {
        let term = last_place(G_WIDTH) * Scalar::from(amount as u64);
        for s in [term + term, -(term + term)] {
            met += u32::from(digits::<G_WIDTH>(&s).last().is_some_and(|last| *last + last == s));
            key.accepts(&s, &Scalar::from(0x1234u64));
        }
    }
    assert!(met > 0);
    for amount in (1..1 << KEY_WIDTH).step_by(2) {
        let term = last_place(KEY_WIDTH) * Scalar::from(amount as u64);
        for t in [term + term, -(term + term)] {
            key.accepts(&Scalar::from(0x1234u64), &t);
        }
    }
}

#[test]
fn terms_that_are_added_in_pairs_meet() {
    // The pair of G's last term and the key's first one: the key is chosen so that they are equal, or opposite.
    let mut met = 0;
    for number in 1..20u64 {
        let (s, t) = (scalar(&[number as u8; 32]), scalar(&[0x51 + number as u8; 32]));
        let of_g = digits::<G_WIDTH>(&s);
        let place = of_g.len() - 1;
        assert_eq!(place % 2, 0, "the first of its pair");
        let quotient = of_g[place] * digits::<KEY_WIDTH>(&t)[0].invert().unwrap();
        for secret in [quotient, -quotient] {
            Keyed::from_secret(secret).accepts(&s, &t);
            met += 1;
        }
    }
    assert!(met > 0);
    // Sums of pairs that meet: the last two of G's with the key's first two.
    let (s, t) = (scalar(&[0x3d; 32]), scalar(&[0x6b; 32]));
    let (of_g, of_key) = (digits::<G_WIDTH>(&s), digits::<KEY_WIDTH>(&t));
    for count in 1..16 {
        let sum: Scalar = of_g[of_g.len() - count..].iter().sum();
        let key: Scalar = of_key[..count].iter().sum();
        let quotient = sum * key.invert().unwrap();
        for secret in [quotient, -quotient] {
            Keyed::from_secret(secret).accepts(&s, &t);
        }
    }
}

#[test]
fn x_from_n_up_to_p_counts_modulo_n() {
    // Points whose x is n or more are one in 2^128: they are made from their x.
    let mut made = 0;
    for above in 0..24u8 {
        let mut x = ORDER;
        x[31] += above;
        let Ok(q) = sm2::PublicKey::from_sec1_bytes(&[&[2], &x[..]].concat()) else { continue };
        for (r, s) in [(5u64, 7u64), (1, 1), (u64::MAX, 3)].map(|(r, s)| (Scalar::from(r), Scalar::from(s))) {
            let point = key_for(&q.to_projective(), &r, &s).unwrap();
            let key = Keyed::of(point);
            key.accepts(&s, &(r + s));
            // r − e is what x is above n.
            let e = r - Scalar::from(u64::from(above));
            assert_eq!(key.answer(&bytes(&e), &signature(&r, &s).unwrap()), Ok(()));
            made += 1;
        }
    }
    assert!(made > 10, "{made}");
}

#[test]
fn a_small_x_is_not_taken_for_one_above_n() {
    for small in 0..24u8 {
        let mut x = [0; 32];
        x[31] = small;
        let Ok(q) = sm2::PublicKey::from_sec1_bytes(&[&[3], &x[..]].concat()) else { continue };
        let (r, s) = (Scalar::from(9u64), Scalar::from(u64::MAX));
        let point = key_for(&q.to_projective(), &r, &s).unwrap();
        Keyed::of(point).accepts(&s, &(r + s));
    }
}

#[test]
fn e_is_taken_modulo_n() {
    let (d, s) = (Scalar::from(0x00c0_ffee_u64), Scalar::from(0x1357_9bdfu64));
    let mut p_minus_1 = [0xff; 32];
    p_minus_1[3] = 0xfe;
    p_minus_1[20..24].fill(0);
    p_minus_1[31] = 0xfe;
    let mut one_below_n = ORDER;
    one_below_n[31] -= 1;
    let mut one_above_n = ORDER;
    one_above_n[31] += 1;
    let mut one = [0; 32];
    one[31] = 1;
    for e in [[0; 32], one, one_below_n, ORDER, one_above_n, p_minus_1, [0xff; 32]] {
        // r and t follow from Q = k·G; s is what the key makes of them.
        let k = Scalar::from(0x2468_ace0u64) + s;
        let x: [u8; 32] = (ProjectivePoint::GENERATOR * k).to_affine().x().into();
        let r = scalar(&e) + scalar(&x);
        let s = (d + Scalar::ONE).invert().unwrap() * (k - r * d);
        let (key, signature) = (Keyed::from_secret(d), signature(&r, &s).unwrap());
        assert_eq!(key.answer(&e, &signature), Ok(()), "{e:02x?}");
        let mut other = e;
        other[0] ^= 0x40;
        assert_eq!(key.answer(&other, &signature), MISMATCH);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_signature_is_judged_alike(d in any::<[u8; 32]>(), s in any::<[u8; 32]>(), t in any::<[u8; 32]>()) {
        Keyed::from_secret(scalar(&d)).accepts(&scalar(&s), &scalar(&t));
    }

    #[test]
    fn any_numbers_are_judged_alike(
        d in any::<[u8; 32]>(),
        r in any::<[u8; 32]>(),
        s in any::<[u8; 32]>(),
        e in any::<[u8; 32]>(),
    ) {
        if let Some(signature) = signature(&scalar(&r), &scalar(&s)) {
            prop_assert_eq!(Keyed::from_secret(scalar(&d)).answer(&e, &signature), MISMATCH);
        }
    }
}
