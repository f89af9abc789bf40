//! Sums of points for many signatures at once: affine additions, which need half the products of others, at the price
//! of an inversion that they all share.

use crate::field::FieldElement;
use crate::point::AffinePoint;

/// The sum of each run of `length` points; `None` where equal or opposite points meet on the way, which affine
/// additions leave out.
///
/// Neighbours are added in pairs until one point is left of each run: every round has one inversion for all runs.
pub(crate) fn sums(mut points: Vec<AffinePoint>, length: usize) -> Vec<Option<AffinePoint>> {
    let mut exceptional = vec![false; points.len() / length];
    let mut differences = Vec::with_capacity(points.len() / 2);
    let mut left = length;
    while left > 1 {
        let pairs = left / 2;
        differences.clear();
        for (run, exceptional) in points.chunks_exact(length).zip(&mut exceptional) {
            differences.extend(run[..left].as_chunks().0.iter().map(|[a, b]| {
                let difference = b.x.sub(&a.x);
                *exceptional |= difference.is_zero();
                // One that has no inverse would spoil those of all others.
                if difference.is_zero() { FieldElement::ONE } else { difference }
            }));
        }
        FieldElement::invert_all(&mut differences);
        for (run, inverses) in points.chunks_exact_mut(length).zip(differences.chunks_exact(pairs)) {
            for (pair, inverse) in inverses.iter().enumerate() {
                run[pair] = run[2 * pair].add_with(&run[2 * pair + 1], inverse);
            }
            if left % 2 == 1 {
                run[pairs] = run[left - 1];
            }
        }
        left = left.div_ceil(2);
    }
    let runs = points.chunks_exact(length).zip(exceptional);
    runs.map(|(run, exceptional)| (!exceptional).then_some(run[0])).collect()
}
