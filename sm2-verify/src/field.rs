//! The prime field of the curve: p = 2²⁵⁶ − 2²²⁴ − 2⁹⁶ + 2⁶⁴ − 1.
//!
//! Elements are kept in Montgomery form with R = 2²⁵⁶, as four 64-bit limbs, least significant
//! first, and always fully reduced: equal elements have equal limbs.

#[cfg(test)]
mod tests;

use std::hint::{black_box, select_unpredictable};

/// An element of the prime field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldElement([u64; 4]);

/// p.
const MODULUS: [u64; 4] =
    [0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff];

/// 2⁵¹² mod p.
const R_SQUARED: FieldElement = FieldElement([
    0x0000_0002_0000_0003,
    0x0000_0002_ffff_ffff,
    0x0000_0001_0000_0001,
    0x0000_0004_0000_0002,
]);

impl FieldElement {
    pub(crate) const ZERO: Self = Self([0; 4]);
    /// 2²⁵⁶ − p, which is 1 in Montgomery form.
    pub(crate) const ONE: Self = Self([1, 0xffff_ffff, 0, 1 << 32]);

    /// Reads a big-endian number below p.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let limbs = limbs(bytes);
        less(&limbs, &MODULUS).then(|| Self::from_limbs(limbs))
    }

    /// The element that a number below p stands for.
    pub(crate) fn from_limbs(limbs: [u64; 4]) -> Self {
        debug_assert!(less(&limbs, &MODULUS));
        Self(limbs).mul(&R_SQUARED)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    #[inline(always)]
    pub(crate) fn add(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        let (s0, carry) = a[0].overflowing_add(b[0]);
        let (s1, carry) = a[1].carrying_add(b[1], carry);
        let (s2, carry) = a[2].carrying_add(b[2], carry);
        let (s3, carry) = a[3].carrying_add(b[3], carry);
        fold([s0, s1, s2, s3], carry)
    }

    #[inline(always)]
    pub(crate) fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(crate) fn sub(&self, other: &Self) -> Self {
        let (a, b) = (&self.0, &other.0);
        let (d0, borrow) = a[0].overflowing_sub(b[0]);
        let (d1, borrow) = a[1].borrowing_sub(b[1], borrow);
        let (d2, borrow) = a[2].borrowing_sub(b[2], borrow);
        let (d3, borrow) = a[3].borrowing_sub(b[3], borrow);
        Self(add_modulus_if([d0, d1, d2, d3], borrow))
    }

    /// The opposite if `negative`, without a branch.
    #[inline(always)]
    pub(crate) fn negate_if(&self, negative: bool) -> Self {
        let opposite = Self::ZERO.sub(self);
        let choose = |i: usize| select_unpredictable(negative, opposite.0[i], self.0[i]);
        Self([choose(0), choose(1), choose(2), choose(3)])
    }

    // One body each: inlined into the point formulas, they would not fit the instruction cache.
    #[inline(never)]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        reduce(&product(&self.0, &other.0))
    }

    #[inline(never)]
    pub(crate) fn square(&self) -> Self {
        reduce(&square(&self.0))
    }

    /// `a`·`b` − `c`·`d`, with one reduction for both products.
    #[inline(never)]
    pub(crate) fn mul_sub_mul(a: &Self, b: &Self, c: &Self, d: &Self) -> Self {
        let (plus, minus) = (product(&a.0, &b.0), product(&c.0, &d.0));
        let mut difference = [0; 8];
        let mut borrow = false;
        for i in 0..8 {
            (difference[i], borrow) = plus[i].borrowing_sub(minus[i], borrow);
        }
        // p·2²⁵⁶ is added if it is negative, so that it is reducible: in [0, p·2²⁵⁶).
        let [low @ .., d4, d5, d6, d7] = difference;
        let [d4, d5, d6, d7] = add_modulus_if([d4, d5, d6, d7], borrow);
        let [d0, d1, d2, d3] = low;
        reduce(&[d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// 1 / `self`, and zero for zero: `self` to the power of p − 2.
    ///
    /// p − 2 in binary is 31 ones, 0, 128 ones, 32 zeros, 62 ones, 01.
    pub(crate) fn invert(&self) -> Self {
        // `ones_k` is `self` to the power of 2^k − 1.
        let join = |high: &Self, k: u32, low: &Self| high.square_times(k).mul(low);
        let ones_2 = join(self, 1, self);
        let ones_4 = join(&ones_2, 2, &ones_2);
        let ones_8 = join(&ones_4, 4, &ones_4);
        let ones_16 = join(&ones_8, 8, &ones_8);
        let ones_24 = join(&ones_16, 8, &ones_8);
        let ones_28 = join(&ones_24, 4, &ones_4);
        let ones_30 = join(&ones_28, 2, &ones_2);
        let ones_31 = join(&ones_30, 1, self);
        let ones_32 = join(&ones_31, 1, self);
        let ones_62 = join(&ones_31, 31, &ones_31);
        let ones_64 = join(&ones_32, 32, &ones_32);
        let ones_128 = join(&ones_64, 64, &ones_64);
        let power = join(&ones_31, 1 + 128, &ones_128);
        let power = join(&power, 32 + 62, &ones_62);
        join(&power, 2, self)
    }

    /// Replaces each element, none of which is zero, by its inverse, with one inversion for all.
    pub(crate) fn invert_all(elements: &mut [Self]) {
        let mut prefix = Vec::with_capacity(elements.len());
        let mut product = Self::ONE;
        for element in elements.iter() {
            prefix.push(product);
            product = product.mul(element);
        }
        let mut inverse = product.invert();
        for (element, prefix) in elements.iter_mut().zip(prefix).rev() {
            let next = inverse.mul(element);
            *element = inverse.mul(&prefix);
            inverse = next;
        }
    }

    fn square_times(&self, times: u32) -> Self {
        (0..times).fold(*self, |power, _| power.square())
    }
}

/// The limbs of a big-endian number.
pub(crate) fn limbs(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks();
    [3, 2, 1, 0].map(|word| u64::from_be_bytes(words[word]))
}

/// `a` < `b`.
pub(crate) fn less(a: &[u64; 4], b: &[u64; 4]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// `low` + `carry`·2²⁵⁶, which is below 2p, modulo p.
#[inline(always)]
fn fold([t0, t1, t2, t3]: [u64; 4], carry: bool) -> FieldElement {
    let [m0, m1, m2, m3] = FieldElement::ONE.0;
    // It is p or more exactly if adding 2²⁵⁶ − p carries, or the sum has carried before.
    let (_, c) = t0.overflowing_add(m0);
    let (_, c) = t1.carrying_add(m1, c);
    let (_, c) = t2.carrying_add(m2, c);
    let (_, c) = t3.carrying_add(m3, c);
    // Half of all sums are: a branch, which the compiler would make, is mispredicted too often.
    let mask = black_box(u64::from(c | carry)).wrapping_neg();
    let (r0, c) = t0.overflowing_add(m0 & mask);
    let (r1, c) = t1.carrying_add(m1 & mask, c);
    let (r2, c) = t2.carrying_add(m2 & mask, c);
    let (r3, _) = t3.carrying_add(m3 & mask, c);
    FieldElement([r0, r1, r2, r3])
}

/// Adds p if `negative`, modulo 2²⁵⁶.
#[inline(always)]
fn add_modulus_if([t0, t1, t2, t3]: [u64; 4], negative: bool) -> [u64; 4] {
    let mask = u64::from(negative).wrapping_neg();
    let (r0, c) = t0.overflowing_add(MODULUS[0] & mask);
    let (r1, c) = t1.carrying_add(MODULUS[1] & mask, c);
    let (r2, c) = t2.carrying_add(MODULUS[2] & mask, c);
    let (r3, _) = t3.carrying_add(MODULUS[3] & mask, c);
    [r0, r1, r2, r3]
}

/// The product of two numbers of four limbs, row by row.
#[inline(always)]
fn product(a: &[u64; 4], b: &[u64; 4]) -> [u64; 8] {
    let mut sum = [0u64; 8];
    for i in 0..4 {
        let (l0, h0) = a[i].carrying_mul(b[0], 0);
        let (l1, h1) = a[i].carrying_mul(b[1], 0);
        let (l2, h2) = a[i].carrying_mul(b[2], 0);
        let (l3, h3) = a[i].carrying_mul(b[3], 0);
        let (l1, c) = l1.overflowing_add(h0);
        let (l2, c) = l2.carrying_add(h1, c);
        let (l3, c) = l3.carrying_add(h2, c);
        let l4 = h3.wrapping_add(u64::from(c));
        let c;
        (sum[i], c) = sum[i].overflowing_add(l0);
        let (s1, c) = sum[i + 1].carrying_add(l1, c);
        let (s2, c) = sum[i + 2].carrying_add(l2, c);
        let (s3, c) = sum[i + 3].carrying_add(l3, c);
        (sum[i + 1], sum[i + 2], sum[i + 3]) = (s1, s2, s3);
        sum[i + 4] = l4.wrapping_add(u64::from(c));
    }
    sum
}

/// The square of a number of four limbs.
#[inline(always)]
fn square(a: &[u64; 4]) -> [u64; 8] {
    // Each product of two different limbs counts twice.
    let (t1, c) = a[0].carrying_mul(a[1], 0);
    let (t2, c) = a[0].carrying_mul(a[2], c);
    let (t3, t4) = a[0].carrying_mul(a[3], c);
    let (t3, c) = a[1].carrying_mul_add(a[2], t3, 0);
    let (t4, t5) = a[1].carrying_mul_add(a[3], t4, c);
    let (t5, t6) = a[2].carrying_mul_add(a[3], t5, 0);
    let t7 = t6 >> 63;
    let t6 = t6 << 1 | t5 >> 63;
    let t5 = t5 << 1 | t4 >> 63;
    let t4 = t4 << 1 | t3 >> 63;
    let t3 = t3 << 1 | t2 >> 63;
    let t2 = t2 << 1 | t1 >> 63;
    let t1 = t1 << 1;
    let (t0, h0) = a[0].carrying_mul(a[0], 0);
    let (l1, h1) = a[1].carrying_mul(a[1], 0);
    let (l2, h2) = a[2].carrying_mul(a[2], 0);
    let (l3, h3) = a[3].carrying_mul(a[3], 0);
    let (t1, c) = t1.overflowing_add(h0);
    let (t2, c) = t2.carrying_add(l1, c);
    let (t3, c) = t3.carrying_add(h1, c);
    let (t4, c) = t4.carrying_add(l2, c);
    let (t5, c) = t5.carrying_add(h2, c);
    let (t6, c) = t6.carrying_add(l3, c);
    let (t7, _) = t7.carrying_add(h3, c);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// `t` / 2²⁵⁶ modulo p, for `t` below p·2²⁵⁶ (Montgomery).
///
/// p = −1 modulo 2⁶⁴, so the multiple of p that clears the lowest limb q is q·p, and q + q·p has
/// only shifts of q: (q·p + q) / 2⁶⁴ = q·(2¹⁹² − 2¹⁶⁰ − 2³² + 1).
#[inline(always)]
fn reduce(t: &[u64; 8]) -> FieldElement {
    let mut low = [t[0], t[1], t[2], t[3]];
    for _ in 0..4 {
        let q = low[0];
        let (up, down) = (q << 32, q >> 32);
        let (m0, b) = q.overflowing_sub(up);
        let (m1, b) = 0u64.borrowing_sub(down, b);
        let (m2, b) = 0u64.borrowing_sub(up, b);
        let (m3, _) = q.borrowing_sub(down, b);
        let (s0, c) = low[1].overflowing_add(m0);
        let (s1, c) = low[2].carrying_add(m1, c);
        let (s2, c) = low[3].carrying_add(m2, c);
        // No carry: what is left of `low` is below 2¹⁹², the multiple below 2²⁵⁶ − 2²²³.
        low = [s0, s1, s2, m3.wrapping_add(u64::from(c))];
    }
    let (h0, c) = t[4].overflowing_add(low[0]);
    let (h1, c) = t[5].carrying_add(low[1], c);
    let (h2, c) = t[6].carrying_add(low[2], c);
    let (h3, c) = t[7].carrying_add(low[3], c);
    fold([h0, h1, h2, h3], c)
}
