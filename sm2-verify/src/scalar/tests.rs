use num_bigint::{BigInt, BigUint};
use proptest::prelude::*;

use super::{Digits, N, ORDER, P_MINUS_N, Scalar};
use crate::multiples::{G_WIDTH, KEY_WIDTH};

fn number(limbs: &[u64; 4]) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |number, limb| (number << 64) + *limb)
}

fn n() -> BigUint {
    BigUint::from_bytes_be(&ORDER)
}

fn value(scalar: &Scalar) -> BigUint {
    assert!(number(&scalar.0) < n(), "{scalar:x?} is not reduced");
    number(&scalar.0)
}

fn bytes(number: &BigUint) -> [u8; 32] {
    let digits = number.to_bytes_be();
    let mut bytes = [0; 32];
    bytes[32 - digits.len()..].copy_from_slice(&digits);
    bytes
}

/// The edges of the range and numbers with long runs of equal bits, in which windows are zero.
fn boundaries() -> Vec<[u8; 32]> {
    let one = BigUint::from(1u8);
    let mut numbers = vec![BigUint::ZERO, n() - 1u8, n() - 2u8, n(), n() + 1u8, n() >> 1, (n() >> 1) + 1u8];
    for bit in (0..256).step_by(5).chain([31, 32, 63, 64, 127, 128, 191, 192, 254, 255]) {
        let power: BigUint = &one << bit;
        numbers.extend([&power - 1u8, &power + 1u8, power.clone(), (&one << 256) - &power]);
        if power < n() {
            numbers.push(n() - power);
        }
    }
    numbers.iter().map(bytes).collect()
}

fn agree(a: &[u8; 32], b: &[u8; 32]) {
    let (x, y, n) = (BigUint::from_bytes_be(a) % n(), BigUint::from_bytes_be(b) % n(), n());
    let (a, b) = (Scalar::reduce(a), Scalar::reduce(b));
    assert_eq!((value(&a), value(&b)), (x.clone(), y.clone()));
    assert_eq!(value(&a.add(&b)), (&x + &y) % &n);
    assert_eq!(value(&a.sub(&b)), (&x + &n - &y) % &n);
    assert_eq!(a.is_zero(), x == BigUint::ZERO);
}

fn digits_add_up<const WIDTH: usize>(scalar: &Scalar) {
    let windows = 256usize.div_ceil(WIDTH);
    let digits = scalar.odd_digits(&Digits::bias(windows * WIDTH));
    let sum: BigInt = (0..windows)
        .map(|window| {
            let (half, negative) = digits.at(window * WIDTH, WIDTH);
            assert!(half < 1 << (WIDTH - 1));
            let digit = BigInt::from(2 * half + 1) << (window * WIDTH);
            if negative { -digit } else { digit }
        })
        .sum();
    let n = BigInt::from(n());
    assert_eq!(((sum % &n) + &n) % &n, BigInt::from(value(scalar)), "{scalar:x?} in {WIDTH} bits");
}

fn recode(scalar: &Scalar) {
    digits_add_up::<G_WIDTH>(scalar);
    digits_add_up::<KEY_WIDTH>(scalar);
    digits_add_up::<8>(scalar);
    let form = scalar.non_adjacent_form(5);
    let sum: BigInt = form.iter().enumerate().map(|(bit, digit)| BigInt::from(*digit) << bit).sum();
    assert_eq!(sum, BigInt::from(value(scalar)));
    for (bit, digit) in form.iter().enumerate().filter(|(_, digit)| **digit != 0) {
        assert!(digit % 2 != 0 && digit.abs() < 16, "{digit}");
        assert!(form[bit + 1..].iter().take(4).all(|next| *next == 0), "{form:?}");
    }
}

#[test]
fn constants_are_those_of_the_standard() {
    let p = BigUint::parse_bytes(b"FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF", 16);
    assert_eq!(number(&N), n());
    assert_eq!(number(&P_MINUS_N), p.unwrap() - n());
}

#[test]
fn boundary_operands_give_what_integers_give() {
    for a in boundaries() {
        recode(&Scalar::reduce(&a));
        for b in boundaries() {
            agree(&a, &b);
        }
    }
}

#[test]
fn only_numbers_below_p_minus_n_can_have_n_added() {
    let limit = number(&P_MINUS_N);
    for below in [BigUint::ZERO, BigUint::from(1u8), &limit - 1u8] {
        let sum = Scalar::reduce(&bytes(&below)).plus_order_below_p();
        assert_eq!(number(&sum.unwrap()), below + n());
    }
    for above in [limit.clone(), limit + 1u8, n() - 1u8] {
        assert_eq!(Scalar::reduce(&bytes(&above)).plus_order_below_p(), None);
    }
}

proptest! {
    #[test]
    fn any_operands_give_what_integers_give(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
        agree(&a, &b);
        recode(&Scalar::reduce(&a));
    }
}
