//! Multiples of a point out of a table of all its windows' odd multiples: no doubling is left to do.

#[cfg(test)]
mod tests;

use std::array;
use std::sync::LazyLock;

use crate::field::FieldElement;
use crate::point::{AffinePoint, Point};
use crate::scalar::{Digits, Scalar};

/// Bits of a digit of a multiple of G: 464 KiB, part of a second-level cache.
pub(crate) const G_WIDTH: usize = 9;
/// Bits of a digit of a multiple of a public key.
pub(crate) const KEY_WIDTH: usize = 6;

/// The multiples of the base point.
pub(crate) static G: LazyLock<Multiples<G_WIDTH>> =
    LazyLock::new(|| Multiples::of(&AffinePoint::generator()));

/// For each window i of `WIDTH` bits the points 1, 3, 5 … 2^`WIDTH` − 1 times 2^(i·`WIDTH`)·P.
pub(crate) struct Multiples<const WIDTH: usize> {
    points: Box<[AffinePoint]>,
    bias: Scalar,
}

impl<const WIDTH: usize> Multiples<WIDTH> {
    /// How many windows a scalar has, and so points to add for a multiple.
    pub(crate) const WINDOWS: usize = 256usize.div_ceil(WIDTH);
    /// The memory it takes.
    pub(crate) const BYTES: usize =
        size_of::<Self>() + Self::WINDOWS * Self::PER_WINDOW * size_of::<AffinePoint>();
    const PER_WINDOW: usize = 1 << (WIDTH - 1);
    const BITS: usize = WIDTH * Self::WINDOWS;

    pub(crate) fn of(point: &AffinePoint) -> Self {
        let mut powers = Vec::with_capacity(Self::BITS);
        let mut power = Point::from(*point);
        for _ in 0..Self::BITS {
            powers.push(power);
            power = power.double();
        }
        let powers = Point::normalize(&powers);

        let mut points = vec![*point; Self::WINDOWS * Self::PER_WINDOW];
        for (window, points) in points.chunks_exact_mut(Self::PER_WINDOW).enumerate() {
            points[0] = powers[window * WIDTH];
        }
        // 1 and 2 give 3; 1, 3 and 4 give 5, 7; and so on, all windows together, for the sake of
        // one inversion. No sum is exceptional: the multiples are smaller than the order of P.
        let mut differences = Vec::new();
        for level in 0..WIDTH - 1 {
            let known = 1 << level;
            let step = |window: usize| &powers[window * WIDTH + level + 1];
            differences.clear();
            for (window, points) in points.chunks_exact(Self::PER_WINDOW).enumerate() {
                differences.extend(points[..known].iter().map(|point| step(window).x.sub(&point.x)));
            }
            FieldElement::invert_all(&mut differences);
            let windows = points.chunks_exact_mut(Self::PER_WINDOW).zip(differences.chunks_exact(known));
            for (window, (points, inverses)) in windows.enumerate() {
                let (known, new) = points.split_at_mut(known);
                for ((new, point), inverse) in new.iter_mut().zip(known).zip(inverses) {
                    *new = point.add_with(step(window), inverse);
                }
            }
        }
        Self { points: points.into(), bias: Digits::bias(Self::BITS) }
    }

    /// The points whose sum is `scalar` times P.
    ///
    /// They are all read before anything is done with them: the reads do not depend on each other,
    /// so that the processor waits for several of them at once.
    #[inline(always)]
    pub(crate) fn terms<const COUNT: usize>(&self, scalar: &Scalar) -> [AffinePoint; COUNT] {
        const { assert!(COUNT == Self::WINDOWS) };
        let digits = scalar.odd_digits(&self.bias);
        array::from_fn(|window| {
            let (index, negative) = digits.at(window * WIDTH, WIDTH);
            self.points[window * Self::PER_WINDOW + index].negate_if(negative)
        })
    }
}

/// `scalar` times `point` without a table: 256 doublings and some forty additions.
pub(crate) fn multiply(scalar: &Scalar, point: &AffinePoint) -> Point {
    const WIDTH: u32 = 5;
    // 1, 3, 5 … 15 times the point.
    let single = Point::from(*point);
    let double = single.double();
    let mut odd = [single; 1 << (WIDTH - 2)];
    for i in 1..odd.len() {
        odd[i] = odd[i - 1].add(&double);
    }
    let form = scalar.non_adjacent_form(WIDTH);
    let mut product = Point::INFINITY;
    for digit in form.into_iter().rev().skip_while(|digit| *digit == 0) {
        product = product.double();
        if digit != 0 {
            let multiple = &odd[usize::from(digit.unsigned_abs() / 2)];
            product = if digit > 0 { product.add(multiple) } else { product.add(&multiple.opposite()) };
        }
    }
    product
}
