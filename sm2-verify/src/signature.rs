use crate::{Sm2Error, der};

/// The order n of the base point (GB/T 32918.5, 3), big endian.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
    0x72, 0x03, 0xdf, 0x6b, 0x21, 0xc6, 0x05, 0x2b, 0x53, 0xbb, 0xf4, 0x09, 0x39, 0xd5, 0x41, 0x23, //
];

/// An SM2 signature: r and s in \[1, n-1\], r + s ≠ 0 mod n, whatever form it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    r: [u8; 32],
    s: [u8; 32],
}

impl Signature {
    /// Reads r ‖ s, 32 bytes each, big endian.
    ///
    /// # Errors
    /// [`Sm2Error::Encoding`] for any other length, [`Sm2Error::Range`] for values no signature has.
    pub fn from_raw(rs: &[u8]) -> Result<Self, Sm2Error> {
        let rs: &[u8; 64] = rs.try_into().map_err(|_| Sm2Error::Encoding("r and s make 64 bytes"))?;
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&rs[..32]);
        s.copy_from_slice(&rs[32..]);
        Self::new(r, s)
    }

    /// Reads DER strictly: one signature has exactly one accepted encoding.
    ///
    /// # Errors
    /// [`Sm2Error::Encoding`] for anything but the canonical encoding, [`Sm2Error::Range`] for
    /// values no signature has.
    pub fn from_der(der: &[u8]) -> Result<Self, Sm2Error> {
        let (r, s) = der::decode_lenient(der)?;
        if der::encode(&r, &s) != der {
            return Err(Sm2Error::Encoding("it is not canonical DER"));
        }
        Self::new(r, s)
    }

    /// Reads what devices answer: r ‖ s, DER, or DER with sign octets missing or superfluous, or
    /// with lengths in a longer form than needed. 64 bytes are always taken for r ‖ s.
    ///
    /// # Errors
    /// [`Sm2Error::Encoding`] for bytes in none of these forms, [`Sm2Error::Range`] for values no
    /// signature has.
    pub fn from_vendor(bytes: &[u8]) -> Result<Self, Sm2Error> {
        if bytes.len() == 64 {
            return Self::from_raw(bytes);
        }
        let (r, s) = der::decode_lenient(bytes)?;
        Self::new(r, s)
    }

    /// The canonical DER encoding, 8 to 72 bytes.
    pub fn to_der(&self) -> Vec<u8> {
        der::encode(&self.r, &self.s)
    }

    /// r ‖ s, 32 bytes each, big endian.
    pub fn to_raw(&self) -> [u8; 64] {
        let mut rs = [0; 64];
        rs[..32].copy_from_slice(&self.r);
        rs[32..].copy_from_slice(&self.s);
        rs
    }

    fn new(r: [u8; 32], s: [u8; 32]) -> Result<Self, Sm2Error> {
        // Arrays of big-endian bytes compare as the numbers they write.
        let in_range = |number: &[u8; 32]| *number != [0; 32] && *number < N;
        if !in_range(&r) || !in_range(&s) || s == n_minus(&r) {
            return Err(Sm2Error::Range);
        }
        Ok(Self { r, s })
    }
}

/// n - `number`, for a number in \[0, n\].
fn n_minus(number: &[u8; 32]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for i in (0..32).rev() {
        let digit = i16::from(N[i]) - i16::from(number[i]) - borrow;
        borrow = i16::from(digit < 0);
        difference[i] = digit.rem_euclid(256) as u8;
    }
    difference
}
