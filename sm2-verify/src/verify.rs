//! The equation of GB/T 32918.2, 7.1 from step B5 on, in two ways: here, and by RustCrypto.

#[cfg(test)]
mod tests;

use sm2::dsa::VerifyingKey;
use sm2::dsa::signature::hazmat::PrehashVerifier;

use crate::field::FieldElement;
use crate::multiples::{G, G_WIDTH, KEY_WIDTH, Multiples, multiply};
use crate::point::{AffinePoint, Point};
use crate::scalar::Scalar;
use crate::sums::sums;
use crate::{PublicKey, Signature, Sm2Error};

/// Is `signature` the one of `key` over `e` (GB/T 32918.2, 7.1 from step B5 on)?
///
/// Nothing is remembered of the key: a [`Verifier`](crate::Verifier) is faster for keys that come
/// again.
///
/// # Errors
/// [`Sm2Error::Mismatch`] when it is not.
pub fn verify(key: &PublicKey, e: &[u8; 32], signature: &Signature) -> Result<(), Sm2Error> {
    let equation = Equation::of(e, signature);
    equation.check(&sum(multiply(&equation.t, key.point()), &equation.g_terms()))
}

/// The same with the multiples of the key at hand.
pub(crate) fn verify_with(
    key: &Multiples<KEY_WIDTH>,
    e: &[u8; 32],
    signature: &Signature,
) -> Result<(), Sm2Error> {
    let equation = Equation::of(e, signature);
    let key_terms = key.terms::<{ Multiples::<KEY_WIDTH>::WINDOWS }>(&equation.t);
    let g_terms = equation.g_terms();
    equation.check(&sum(sum(Point::INFINITY, &g_terms), &key_terms))
}

/// A signature, what should be signed, and the multiples of the key.
pub(crate) type Tabled<'a> = (&'a Multiples<KEY_WIDTH>, &'a [u8; 32], &'a Signature);

/// The answers of [`verify_with`] to each, in their order; quicker for some ten or more.
pub(crate) fn verify_together(all: &[Tabled<'_>]) -> Vec<Result<(), Sm2Error>> {
    const KEY_TERMS: usize = Multiples::<KEY_WIDTH>::WINDOWS;
    const TERMS: usize = Multiples::<G_WIDTH>::WINDOWS + KEY_TERMS;
    let equations: Vec<_> = all.iter().map(|(_, e, signature)| Equation::of(e, signature)).collect();
    let mut terms = Vec::with_capacity(all.len() * TERMS);
    for (equation, (key, ..)) in equations.iter().zip(all) {
        terms.extend(equation.g_terms());
        terms.extend(key.terms::<KEY_TERMS>(&equation.t));
    }
    let judge =
        |((equation, sum), (key, e, signature)): ((&Equation, Option<AffinePoint>), &Tabled<'_>)| match sum {
            Some(point) => equation.check(&point.into()),
            None => verify_with(key, e, signature),
        };
    equations.iter().zip(sums(terms, TERMS)).zip(all).map(judge).collect()
}

/// The same by RustCrypto's implementation.
pub(crate) fn verify_by_rustcrypto(
    key: &PublicKey,
    e: &[u8; 32],
    signature: &Signature,
) -> Result<(), Sm2Error> {
    // Only a digest is given to it, so its own signer identifier is never used.
    let key = VerifyingKey::from_sec1_bytes("", &key.to_sec1()).map_err(|_| Sm2Error::Mismatch)?;
    let signature = sm2::dsa::Signature::from_slice(&signature.to_raw()).map_err(|_| Sm2Error::Mismatch)?;
    key.verify_prehash(e, &signature).map_err(|_| Sm2Error::Mismatch)
}

/// r = e + x mod n, for x of the point s·G + t·P, with t = r + s mod n.
struct Equation {
    s: Scalar,
    t: Scalar,
    /// r − e mod n, which x has to be modulo n.
    x: Scalar,
}

impl Equation {
    fn of(e: &[u8; 32], signature: &Signature) -> Self {
        let (r, s) = (Scalar::reduce(signature.r()), Scalar::reduce(signature.s()));
        Self { s, t: r.add(&s), x: r.sub(&Scalar::reduce(e)) }
    }

    #[inline(always)]
    fn g_terms(&self) -> [AffinePoint; Multiples::<G_WIDTH>::WINDOWS] {
        G.terms(&self.s)
    }

    /// Does `point` have this x? Asked without a division: X = x·Z².
    fn check(&self, point: &Point) -> Result<(), Sm2Error> {
        let is_x = |x: [u64; 4]| FieldElement::from_limbs(x).mul(&point.zz) == point.x;
        // Coordinates are below p, which is a little more than n.
        let matches = is_x(self.x.limbs()) || self.x.plus_order_below_p().is_some_and(is_x);
        // The point at infinity has no x, whatever stands in its X.
        if matches && !point.is_infinity() { Ok(()) } else { Err(Sm2Error::Mismatch) }
    }
}

fn sum(start: Point, terms: &[AffinePoint]) -> Point {
    terms.iter().fold(start, |sum, term| sum.add_affine(term))
}
