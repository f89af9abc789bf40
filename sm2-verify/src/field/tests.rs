use std::sync::LazyLock;

use num_bigint::BigUint;
use proptest::prelude::*;

use super::{FieldElement, MODULUS};

fn number(limbs: &[u64; 4]) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |number, limb| (number << 64) + *limb)
}

fn p() -> BigUint {
    number(&MODULUS)
}

static INVERSE_OF_R: LazyLock<BigUint> =
    LazyLock::new(|| BigUint::from(2u8).pow(256).modpow(&(p() - 2u8), &p()));

/// The number an element stands for: its limbs are that number times 2²⁵⁶.
fn value(element: FieldElement) -> BigUint {
    assert!(number(&element.0) < p(), "{element:x?} is not reduced");
    number(&element.0) * &*INVERSE_OF_R % p()
}

/// Elements whose limbs are at the edges of what arithmetic on limbs gets wrong.
fn boundaries() -> Vec<FieldElement> {
    const WORDS: [u64; 8] =
        [0, 1, 0xffff_ffff, 1 << 32, 0xffff_fffe_ffff_ffff, 0xffff_ffff_0000_0000, u64::MAX - 1, u64::MAX];
    let mut elements = Vec::new();
    for a in WORDS {
        for b in WORDS {
            elements.extend([
                [a, b, a, b],
                [a, a, b, b],
                [a, b, b, a],
                [b, a, a, a],
                [a, a, a, b],
                [b, b, a, b],
            ]);
        }
    }
    elements.extend([
        [MODULUS[0] - 1, MODULUS[1], MODULUS[2], MODULUS[3]],
        [MODULUS[0] - 2, MODULUS[1], MODULUS[2], MODULUS[3]],
        [0, MODULUS[1], MODULUS[2], MODULUS[3]],
    ]);
    elements.retain(|limbs| number(limbs) < p());
    elements.sort_unstable();
    elements.dedup();
    elements.into_iter().map(FieldElement).collect()
}

fn agree(a: FieldElement, b: FieldElement) {
    let (x, y, p) = (value(a), value(b), p());
    assert_eq!(value(a.add(&b)), (&x + &y) % &p, "{a:x?} + {b:x?}");
    assert_eq!(value(a.sub(&b)), (&x + &p - &y) % &p, "{a:x?} - {b:x?}");
    assert_eq!(value(a.mul(&b)), &x * &y % &p, "{a:x?} * {b:x?}");
}

fn agree_alone(a: FieldElement) {
    let (x, p) = (value(a), p());
    assert_eq!(value(a.square()), &x * &x % &p, "{a:x?} squared");
    assert_eq!(value(a.double()), (&x + &x) % &p, "{a:x?} doubled");
    assert_eq!(value(a.negate_if(true)), (&p - &x) % &p, "-{a:x?}");
    assert_eq!(a.negate_if(false), a);
    assert_eq!(a.is_zero(), x == BigUint::ZERO);
    assert_eq!(value(a.invert()), x.modpow(&(&p - 2u8), &p), "1 / {a:x?}");
}

fn agree_on_products(a: FieldElement, b: FieldElement, c: FieldElement, d: FieldElement) {
    let (p, minus) = (p(), value(c) * value(d));
    let expected = (value(a) * value(b) + &p * &p - minus) % &p;
    assert_eq!(value(FieldElement::mul_sub_mul(&a, &b, &c, &d)), expected, "{a:x?} {b:x?} {c:x?} {d:x?}");
}

fn element() -> impl Strategy<Value = FieldElement> {
    let boundaries = boundaries();
    let random = any::<[u64; 4]>().prop_filter("below p", |limbs| number(limbs) < p()).prop_map(FieldElement);
    prop_oneof![random, (0..boundaries.len()).prop_map(move |i| boundaries[i])]
}

#[test]
fn boundary_operands_give_what_integers_give() {
    let boundaries = boundaries();
    assert!(boundaries.len() > 200, "{}", boundaries.len());
    for (i, &a) in boundaries.iter().enumerate() {
        agree_alone(a);
        for &b in &boundaries {
            agree(a, b);
        }
        for (j, &b) in boundaries.iter().enumerate().step_by(11) {
            let other = |k: usize| boundaries[k % boundaries.len()];
            agree_on_products(a, b, other(i + j), other(i * 3 + j * 7));
            agree_on_products(a, b, b, a);
            agree_on_products(FieldElement::ZERO, a, b, b);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_operands_give_what_integers_give(a in element(), b in element(), c in element(), d in element()) {
        agree(a, b);
        agree_alone(c);
        agree_on_products(a, b, c, d);
    }
}

#[test]
fn bytes_below_p_are_elements_and_no_others() {
    let bytes = |number: BigUint| <[u8; 32]>::try_from(number.to_bytes_be()).unwrap();
    assert_eq!(FieldElement::from_bytes(&bytes(p())), None);
    assert_eq!(FieldElement::from_bytes(&bytes(p() + 1u8)), None);
    assert_eq!(FieldElement::from_bytes(&[0xff; 32]), None);
    assert_eq!(FieldElement::from_bytes(&[0; 32]), Some(FieldElement::ZERO));
    for number in [p() - 1u8, p() >> 1, BigUint::from(1u8) << 255] {
        assert_eq!(value(FieldElement::from_bytes(&bytes(number.clone())).unwrap()), number);
    }
}

#[test]
fn many_are_inverted_as_each_is() {
    for count in [0, 1, 2, 200] {
        let elements: Vec<_> = boundaries().into_iter().filter(|e| !e.is_zero()).take(count).collect();
        let mut inverses = elements.clone();
        FieldElement::invert_all(&mut inverses);
        assert!(elements.iter().map(FieldElement::invert).eq(inverses));
    }
}
