//! Numbers modulo the order n of the base point, as far as verification needs them: sums,
//! differences, and the digits in which multiples of points are looked up.

#[cfg(test)]
mod tests;

use crate::field::{less, limbs};

/// The order n of the base point (GB/T 32918.5, 3), big endian.
pub(crate) const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
    0x72, 0x03, 0xdf, 0x6b, 0x21, 0xc6, 0x05, 0x2b, 0x53, 0xbb, 0xf4, 0x09, 0x39, 0xd5, 0x41, 0x23, //
];

/// n as limbs, least significant first.
const N: [u64; 4] =
    [0x53bb_f409_39d5_4123, 0x7203_df6b_21c6_052b, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff];

/// p − n: the numbers below it have n added to them and are still x coordinates.
const P_MINUS_N: [u64; 4] = [0xac44_0bf6_c62a_bedc, 0x8dfc_2093_de39_fad5, 0, 0];

/// A number in \[0, n−1\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar([u64; 4]);

impl Scalar {
    pub(crate) const ZERO: Self = Self([0; 4]);
    pub(crate) const ONE: Self = Self([1, 0, 0, 0]);

    /// A big-endian number modulo n. Numbers of 32 bytes are below 2n.
    pub(crate) fn reduce(bytes: &[u8; 32]) -> Self {
        let number = limbs(bytes);
        if less(&number, &N) { Self(number) } else { Self(subtract(&number, &N).0) }
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        let (sum, carry) = add(&self.0, &other.0);
        if carry || !less(&sum, &N) { Self(subtract(&sum, &N).0) } else { Self(sum) }
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = subtract(&self.0, &other.0);
        if borrow { Self(add(&difference, &N).0) } else { Self(difference) }
    }

    /// The number itself.
    pub(crate) fn limbs(&self) -> [u64; 4] {
        self.0
    }

    /// This number plus n, if that is below p.
    pub(crate) fn plus_order_below_p(&self) -> Option<[u64; 4]> {
        less(&self.0, &P_MINUS_N).then(|| add(&self.0, &N).0)
    }

    /// This number in `windows` digits of `width` bits that are all odd and have a sign:
    /// `bias` is [`Digits::bias`] of the same.
    pub(crate) fn odd_digits(&self, bias: &Self) -> Digits {
        // With b the bits of k' = (k + 2^L − 1) / 2, k = Σ (2b_i − 1)·2^i: bits that count as −1
        // or +1, so that no window of them is zero.
        let sum = self.add(bias);
        let (numerator, carry) = if sum.0[0] & 1 == 1 { add(&sum.0, &N) } else { (sum.0, false) };
        let [a, b, c, d] = numerator;
        let half = [a >> 1 | b << 63, b >> 1 | c << 63, c >> 1 | d << 63, d >> 1 | u64::from(carry) << 63];
        Digits([half[0], half[1], half[2], half[3], 0])
    }

    /// The digits of this number in the non-adjacent form of width `width`: odd numbers below
    /// 2^(width−1) in amount, with at least `width` − 1 zeros after each.
    pub(crate) fn non_adjacent_form(&self, width: u32) -> [i8; 257] {
        let mut form = [0; 257];
        let mut rest = [self.0[0], self.0[1], self.0[2], self.0[3], 0];
        let mut position = 0;
        while rest != [0; 5] && position < form.len() {
            let zeros = rest[0].trailing_zeros().min(32);
            if zeros > 0 {
                shift_right(&mut rest, zeros);
                position += zeros as usize;
                continue;
            }
            let window = (rest[0] & ((1 << width) - 1)) as i16;
            let digit = if window >> (width - 1) == 1 { window - (1 << width) } else { window };
            form[position] = digit as i8;
            let mut carry = false;
            if digit >= 0 {
                rest[0] -= digit as u64;
            } else {
                (rest[0], carry) = rest[0].overflowing_add(u64::from(digit.unsigned_abs()));
            }
            for limb in &mut rest[1..] {
                (*limb, carry) = limb.carrying_add(0, carry);
            }
        }
        form
    }
}

/// The digits of a scalar, all odd: see [`Scalar::odd_digits`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits([u64; 5]);

impl Digits {
    /// 2^`length` − 1 modulo n, for numbers written in `length` bits altogether.
    pub(crate) fn bias(length: usize) -> Scalar {
        let power = (0..length).fold(Scalar::ONE, |power, _| power.add(&power));
        power.sub(&Scalar::ONE)
    }

    /// The digit of `width` bits at bit `position`: half its amount, rounded down, and whether it
    /// is negative.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize, width: usize) -> (usize, bool) {
        let (limb, offset) = (position / 64, position % 64);
        let (low, high) = match self.0.get(limb..limb + 2) {
            Some(&[low, high]) => (low >> offset, high << 1 << (63 - offset)),
            _ => (0, 0),
        };
        let window = (low | high) as usize & ((1 << width) - 1);
        // The digit is 2·window − (2^width − 1).
        let half = 1 << (width - 1);
        if window >= half { (window - half, false) } else { (half - 1 - window, true) }
    }
}

#[inline(always)]
fn add(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (s0, c) = a[0].overflowing_add(b[0]);
    let (s1, c) = a[1].carrying_add(b[1], c);
    let (s2, c) = a[2].carrying_add(b[2], c);
    let (s3, c) = a[3].carrying_add(b[3], c);
    ([s0, s1, s2, s3], c)
}

#[inline(always)]
fn subtract(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (d0, c) = a[0].overflowing_sub(b[0]);
    let (d1, c) = a[1].borrowing_sub(b[1], c);
    let (d2, c) = a[2].borrowing_sub(b[2], c);
    let (d3, c) = a[3].borrowing_sub(b[3], c);
    ([d0, d1, d2, d3], c)
}

fn shift_right(number: &mut [u64; 5], bits: u32) {
    for i in 0..5 {
        let above = number.get(i + 1).map_or(0, |limb| limb << (64 - bits));
        number[i] = number[i] >> bits | above;
    }
}
