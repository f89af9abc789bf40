use std::fmt;
use std::hash::{Hash, Hasher};

use sm2::dsa::VerifyingKey;
use sm2::dsa::signature::hazmat::PrehashVerifier;

use crate::{Signature, Sm2Error};

/// An SM2 public key: a point on the curve that is not the point at infinity.
#[derive(Clone)]
pub struct PublicKey {
    sec1: [u8; 65],
    point: VerifyingKey,
}

impl PublicKey {
    /// Reads `04 ‖ X ‖ Y`, the only form GB/T 35276 knows.
    ///
    /// # Errors
    /// [`Sm2Error::PublicKey`] for any other form and for a point off the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, Sm2Error> {
        let sec1: [u8; 65] = bytes.try_into().map_err(|_| Sm2Error::PublicKey)?;
        if sec1[0] != 4 {
            return Err(Sm2Error::PublicKey);
        }
        // Only digests are given to this verifier, so its own identifier is never used.
        let point = VerifyingKey::from_sec1_bytes("", &sec1).map_err(|_| Sm2Error::PublicKey)?;
        Ok(Self { sec1, point })
    }

    /// `04 ‖ X ‖ Y`.
    pub fn to_sec1(&self) -> [u8; 65] {
        self.sec1
    }

    /// X ‖ Y.
    pub(crate) fn coordinates(&self) -> &[u8] {
        &self.sec1[1..]
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.sec1 == other.sec1
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sec1.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.sec1.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Is `signature` the one of `key` over `e` (GB/T 32918.2, 7.1 from step B5 on)?
///
/// # Errors
/// [`Sm2Error::Mismatch`] when it is not.
pub fn verify(key: &PublicKey, e: &[u8; 32], signature: &Signature) -> Result<(), Sm2Error> {
    let signature = sm2::dsa::Signature::from_slice(&signature.to_raw()).map_err(|_| Sm2Error::Mismatch)?;
    key.point.verify_prehash(e, &signature).map_err(|_| Sm2Error::Mismatch)
}
