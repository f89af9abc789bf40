use crate::scalar::{ORDER, Scalar};
use crate::{Sm2Error, der};

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

    pub(crate) fn r(&self) -> &[u8; 32] {
        &self.r
    }

    pub(crate) fn s(&self) -> &[u8; 32] {
        &self.s
    }

    fn new(r: [u8; 32], s: [u8; 32]) -> Result<Self, Sm2Error> {
        // Arrays of big-endian bytes compare as the numbers they write.
        let in_range = |number: &[u8; 32]| *number != [0; 32] && *number < ORDER;
        if !in_range(&r) || !in_range(&s) || Scalar::reduce(&r).add(&Scalar::reduce(&s)).is_zero() {
            return Err(Sm2Error::Range);
        }
        Ok(Self { r, s })
    }
}
