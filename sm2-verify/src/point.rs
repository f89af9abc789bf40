//! Points of the curve y² = x³ − 3x + b, and their addition, complete: equal points, opposite
//! points and the point at infinity give what the group law says.

#[cfg(test)]
mod tests;

use crate::field::FieldElement;
use crate::hash::CURVE;

/// A point that is not the point at infinity, by its coordinates.
// Tables are read in no order: no point lies across two cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct AffinePoint {
    pub(crate) x: FieldElement,
    pub(crate) y: FieldElement,
}

impl AffinePoint {
    /// Reads X ‖ Y; `None` for coordinates of p or more and for a point off the curve.
    pub(crate) fn from_coordinates(coordinates: &[u8; 64]) -> Option<Self> {
        let (numbers, _) = coordinates.as_chunks();
        let point =
            Self { x: FieldElement::from_bytes(&numbers[0])?, y: FieldElement::from_bytes(&numbers[1])? };
        point.is_on_curve().then_some(point)
    }

    /// The base point G.
    pub(crate) fn generator() -> Self {
        let [.., x, y] = CURVE.as_chunks().0 else { unreachable!("the constant has four numbers") };
        let coordinate = |bytes| FieldElement::from_bytes(bytes).expect("the standard's number is below p");
        Self { x: coordinate(x), y: coordinate(y) }
    }

    fn is_on_curve(&self) -> bool {
        let b = FieldElement::from_bytes(&CURVE.as_chunks().0[1]).expect("the standard's number is below p");
        let three = FieldElement::ONE.double().add(&FieldElement::ONE);
        let x_squared = self.x.square();
        self.y.square() == x_squared.sub(&three).mul(&self.x).add(&b)
    }

    /// The sum with a point of another x, given the inverse of that x less this one.
    #[inline(always)]
    pub(crate) fn add_with(&self, other: &Self, inverse: &FieldElement) -> Self {
        let slope = other.y.sub(&self.y).mul(inverse);
        let x = slope.square().sub(&self.x).sub(&other.x);
        Self { x, y: slope.mul(&self.x.sub(&x)).sub(&self.y) }
    }

    /// The opposite point if `negative`, without a branch: digits have random signs.
    #[inline(always)]
    pub(crate) fn negate_if(&self, negative: bool) -> Self {
        Self { x: self.x, y: self.y.negate_if(negative) }
    }
}

/// A point as (X, Y, Z², Z³) with x = X/Z² and y = Y/Z³; Z = 0 is the point at infinity.
///
/// Against Jacobian coordinates an addition of an affine point has one square less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) x: FieldElement,
    pub(crate) y: FieldElement,
    pub(crate) zz: FieldElement,
    pub(crate) zzz: FieldElement,
}

impl From<AffinePoint> for Point {
    fn from(point: AffinePoint) -> Self {
        Self { x: point.x, y: point.y, zz: FieldElement::ONE, zzz: FieldElement::ONE }
    }
}

impl Point {
    pub(crate) const INFINITY: Self =
        Self { x: FieldElement::ONE, y: FieldElement::ONE, zz: FieldElement::ZERO, zzz: FieldElement::ZERO };

    pub(crate) fn is_infinity(&self) -> bool {
        self.zz.is_zero()
    }

    pub(crate) fn opposite(&self) -> Self {
        Self { y: self.y.negate_if(true), ..*self }
    }

    pub(crate) fn double(&self) -> Self {
        // The point at infinity stays: Z² and Z³ are multiplied. No point has y = 0, as n is odd.
        let u = self.y.double();
        let v = u.square();
        let w = u.mul(&v);
        let s = self.x.mul(&v);
        let slope = self.x.sub(&self.zz).mul(&self.x.add(&self.zz));
        let m = slope.double().add(&slope);
        let x = m.square().sub(&s).sub(&s);
        let y = FieldElement::mul_sub_mul(&m, &s.sub(&x), &w, &self.y);
        Self { x, y, zz: v.mul(&self.zz), zzz: w.mul(&self.zzz) }
    }

    pub(crate) fn add_affine(&self, other: &AffinePoint) -> Self {
        if self.is_infinity() {
            return (*other).into();
        }
        let p = other.x.mul(&self.zz).sub(&self.x);
        let r = other.y.mul(&self.zzz).sub(&self.y);
        if p.is_zero() {
            return if r.is_zero() { self.double() } else { Self::INFINITY };
        }
        Self::sum(p, r, (&self.x, &self.y), (&self.zz, &self.zzz))
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        if self.is_infinity() {
            return *other;
        }
        if other.is_infinity() {
            return *self;
        }
        let (x1, x2) = (self.x.mul(&other.zz), other.x.mul(&self.zz));
        let (y1, y2) = (self.y.mul(&other.zzz), other.y.mul(&self.zzz));
        let (p, r) = (x2.sub(&x1), y2.sub(&y1));
        if p.is_zero() {
            return if r.is_zero() { self.double() } else { Self::INFINITY };
        }
        let (zz, zzz) = (self.zz.mul(&other.zz), self.zzz.mul(&other.zzz));
        Self::sum(p, r, (&x1, &y1), (&zz, &zzz))
    }

    /// The end of both additions: over the common denominators Z² and Z³ the first point has the
    /// numerators X and Y, and the second is `p` and `r` away from it, `p` not zero.
    #[inline(always)]
    fn sum(
        p: FieldElement,
        r: FieldElement,
        (x1, y1): (&FieldElement, &FieldElement),
        (zz, zzz): (&FieldElement, &FieldElement),
    ) -> Self {
        let pp = p.square();
        let ppp = p.mul(&pp);
        let q = x1.mul(&pp);
        let x = r.square().sub(&ppp).sub(&q).sub(&q);
        let y = FieldElement::mul_sub_mul(&r, &q.sub(&x), y1, &ppp);
        Self { x, y, zz: zz.mul(&pp), zzz: zzz.mul(&ppp) }
    }

    /// The coordinates of points none of which is infinite.
    pub(crate) fn normalize(points: &[Self]) -> Vec<AffinePoint> {
        let mut inverses: Vec<_> = points.iter().map(|point| point.zzz).collect();
        FieldElement::invert_all(&mut inverses);
        let affine = |(point, zzz_inverse): (&Self, FieldElement)| {
            let z_inverse = point.zz.mul(&zzz_inverse);
            let zz_inverse = z_inverse.square();
            AffinePoint { x: point.x.mul(&zz_inverse), y: point.y.mul(&zzz_inverse) }
        };
        points.iter().zip(inverses).map(affine).collect()
    }
}
