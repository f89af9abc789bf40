use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use crate::Sm2Error;
use crate::point::AffinePoint;

/// An SM2 public key: a point on the curve that is not the point at infinity.
#[derive(Clone)]
pub struct PublicKey {
    coordinates: [u8; 64],
    point: AffinePoint,
    /// Z under the identifier nearly everybody uses, once it was asked for.
    default_z: OnceLock<[u8; 32]>,
}

impl PublicKey {
    /// Reads `04 ‖ X ‖ Y`, the only form GB/T 35276 knows.
    ///
    /// # Errors
    /// [`Sm2Error::PublicKey`] for any other form and for a point off the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, Sm2Error> {
        let coordinates = bytes.strip_prefix(&[4]).ok_or(Sm2Error::PublicKey)?;
        let coordinates = coordinates.try_into().map_err(|_| Sm2Error::PublicKey)?;
        // The order of the curve is prime: every point on it but infinity, which has no
        // coordinates, is a key.
        let point = AffinePoint::from_coordinates(&coordinates).ok_or(Sm2Error::PublicKey)?;
        Ok(Self { coordinates, point, default_z: OnceLock::new() })
    }

    /// `04 ‖ X ‖ Y`.
    pub fn to_sec1(&self) -> [u8; 65] {
        let mut sec1 = [4; 65];
        sec1[1..].copy_from_slice(&self.coordinates);
        sec1
    }

    /// X ‖ Y.
    pub(crate) fn coordinates(&self) -> &[u8; 64] {
        &self.coordinates
    }

    pub(crate) fn point(&self) -> &AffinePoint {
        &self.point
    }

    /// Where Z under the default identifier is kept.
    pub(crate) fn default_z(&self) -> &OnceLock<[u8; 32]> {
        &self.default_z
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.coordinates == other.coordinates
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.coordinates.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.to_sec1().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
