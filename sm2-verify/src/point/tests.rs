use sm2::elliptic_curve::sec1::ToSec1Point;
use sm2::{ProjectivePoint, Scalar};

use super::{AffinePoint, Point};
use crate::field::FieldElement;

/// A point as RustCrypto has it, and here. The point at infinity has no coordinates.
fn here(point: &ProjectivePoint) -> Option<AffinePoint> {
    let sec1 = point.to_affine().to_sec1_point(false);
    let coordinates = sec1.as_bytes().get(1..)?;
    AffinePoint::from_coordinates(coordinates.try_into().ok()?)
}

fn multiple(k: u64) -> ProjectivePoint {
    ProjectivePoint::GENERATOR * Scalar::from(k)
}

fn projective(point: &ProjectivePoint) -> Point {
    here(point).map_or(Point::INFINITY, Point::from)
}

fn affine(point: &Point) -> Option<AffinePoint> {
    (!point.is_infinity()).then(|| Point::normalize(&[*point])[0])
}

/// The same point with another Z.
fn rescaled(point: &Point, z: u64) -> Point {
    let z = FieldElement::from_limbs([z, 0, 0, 0]);
    let (zz, zzz) = (z.square(), z.square().mul(&z));
    Point { x: point.x.mul(&zz), y: point.y.mul(&zzz), zz: point.zz.mul(&zz), zzz: point.zzz.mul(&zzz) }
}

#[test]
fn sums_are_complete() {
    // Infinity, small multiples and their opposites: every pair of them is summed, so each point
    // meets itself, its opposite and infinity.
    let points: Vec<_> = (0..=6).map(multiple).flat_map(|point| [point, -point]).collect();
    for a in &points {
        for (z, b) in (3..).zip(&points) {
            let expected = here(&(a + b));
            let (left, right) = (rescaled(&projective(a), z), rescaled(&projective(b), 2 * z + 1));
            assert_eq!(affine(&left.add(&right)), expected);
            if let Some(b) = here(b) {
                assert_eq!(affine(&left.add_affine(&b)), expected);
            }
        }
        let expected = here(&(a + a));
        assert_eq!(affine(&rescaled(&projective(a), 11).double()), expected);
        assert_eq!(affine(&rescaled(&projective(a), 5).opposite()), here(&-a));
    }
}

#[test]
fn only_coordinates_of_points_are_read() {
    let sec1 = multiple(7).to_affine().to_sec1_point(false);
    let good: [u8; 64] = sec1.as_bytes()[1..].try_into().unwrap();
    assert!(AffinePoint::from_coordinates(&good).is_some());
    for bit in 0..512 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(AffinePoint::from_coordinates(&bad), None, "bit {bit}");
    }
    assert_eq!(AffinePoint::from_coordinates(&[0; 64]), None);
    assert_eq!(Some(AffinePoint::generator()), here(&ProjectivePoint::GENERATOR));
}
