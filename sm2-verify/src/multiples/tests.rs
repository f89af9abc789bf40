use proptest::prelude::*;
use sm2::elliptic_curve::PrimeField as _;
use sm2::elliptic_curve::sec1::ToSec1Point as _;
use sm2::{FieldBytes, ProjectivePoint};

use super::{G, G_WIDTH, KEY_WIDTH, Multiples, multiply};
use crate::point::{AffinePoint, Point};
use crate::scalar::{ORDER, Scalar};

fn here(point: &ProjectivePoint) -> Option<AffinePoint> {
    let sec1 = point.to_affine().to_sec1_point(false);
    AffinePoint::from_coordinates(sec1.as_bytes().get(1..)?.try_into().ok()?)
}

fn affine(point: &Point) -> Option<AffinePoint> {
    (!point.is_infinity()).then(|| Point::normalize(&[*point])[0])
}

fn sum(terms: &[AffinePoint]) -> Point {
    terms.iter().fold(Point::INFINITY, |sum, term| sum.add_affine(term))
}

fn check(point: &ProjectivePoint, table: &Multiples<KEY_WIDTH>, scalar: &[u8; 32]) {
    let Some(theirs) = Option::<sm2::Scalar>::from(sm2::Scalar::from_repr(FieldBytes::from(*scalar))) else {
        return;
    };
    let ours = Scalar::reduce(scalar);
    let expected = here(&(point * &theirs));
    let affine_point = here(point).unwrap();
    let terms: [_; Multiples::<KEY_WIDTH>::WINDOWS] = table.terms(&ours);
    assert_eq!(affine(&sum(&terms)), expected, "{scalar:02x?} with a table");
    assert_eq!(affine(&multiply(&ours, &affine_point)), expected, "{scalar:02x?} without");
    let terms: [_; Multiples::<G_WIDTH>::WINDOWS] = G.terms(&ours);
    assert_eq!(affine(&sum(&terms)), here(&(ProjectivePoint::GENERATOR * theirs)), "{scalar:02x?} times G");
}

#[test]
fn scalars_with_empty_windows_and_at_the_edges_give_the_right_multiples() {
    let point = ProjectivePoint::GENERATOR * sm2::Scalar::from(0x1234_5678_9abc_def1u64);
    let table = Multiples::of(&here(&point).unwrap());
    let mut scalars = vec![[0; 32]];
    for bit in 0..256 {
        let mut power = [0; 32];
        power[31 - bit / 8] = 1 << (bit % 8);
        let mut ones = [0; 32];
        ones[32 - bit / 8..].fill(0xff);
        scalars.extend([power, ones]);
    }
    for back in 1..=64 {
        let mut from_the_end = ORDER;
        from_the_end[31] = from_the_end[31].wrapping_sub(back);
        if back <= ORDER[31] {
            scalars.push(from_the_end);
        }
        let mut from_the_start = [0; 32];
        from_the_start[31] = back;
        scalars.push(from_the_start);
    }
    for scalar in scalars {
        check(&point, &table, &scalar);
    }
}

#[test]
fn a_table_holds_what_it_says() {
    let point = ProjectivePoint::GENERATOR * sm2::Scalar::from(77u64);
    let table = Multiples::<KEY_WIDTH>::of(&here(&point).unwrap());
    let mut base = point;
    for window in table.points.chunks_exact(1 << (KEY_WIDTH - 1)) {
        let mut multiple = base;
        for entry in window {
            assert_eq!(Some(*entry), here(&multiple));
            multiple += base + base;
        }
        for _ in 0..KEY_WIDTH {
            base = base + base;
        }
    }
    assert_eq!(
        table.points.len() * size_of::<AffinePoint>() + size_of_val(&table),
        Multiples::<KEY_WIDTH>::BYTES
    );
    // The last windows reach beyond the order, where multiples could meet: for G as well.
    let last = G.points.chunks_exact(1 << (G_WIDTH - 1)).next_back().unwrap();
    let mut base = ProjectivePoint::GENERATOR;
    for _ in 0..G_WIDTH * (Multiples::<G_WIDTH>::WINDOWS - 1) {
        base = base + base;
    }
    let mut multiple = base;
    for entry in last {
        assert_eq!(Some(*entry), here(&multiple));
        multiple += base + base;
    }
}

proptest! {
    #[test]
    fn any_scalar_gives_the_right_multiple(scalar in any::<[u8; 32]>(), secret in 1u64..) {
        let point = ProjectivePoint::GENERATOR * sm2::Scalar::from(secret);
        check(&point, &Multiples::of(&here(&point).unwrap()), &scalar);
    }
}
