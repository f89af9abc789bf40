//! ECDSA and ECDH on P-256 and P-384.

use getrandom::SysRng;
use p256::{
    ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier},
    elliptic_curve::Generate,
    pkcs8::{
        AssociatedOid, DecodePrivateKey, EncodePrivateKey, ObjectIdentifier,
        der::{Decode, Encode, asn1::OctetStringRef},
    },
};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// SM2's curve (GM/T 0006).
pub(crate) const SM2_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.301");

/// A NIST curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// From `CKA_EC_PARAMS`: a DER object identifier. Explicit parameters and curve names are not offered.
    pub(crate) fn from_params(der: &[u8]) -> Result<Self> {
        match ObjectIdentifier::from_der(der) {
            Ok(p256::NistP256::OID) => Ok(Curve::P256),
            Ok(p384::NistP384::OID) => Ok(Curve::P384),
            _ => Err(Error::CurveNotSupported),
        }
    }

    pub(crate) fn params(self) -> Vec<u8> {
        oid_der(match self {
            Curve::P256 => p256::NistP256::OID,
            Curve::P384 => p384::NistP384::OID,
        })
    }

    /// A field element's length in octets.
    pub(crate) fn field_len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

/// The DER of an object identifier, as `CKA_EC_PARAMS` has it.
pub(crate) fn oid_der(oid: ObjectIdentifier) -> Vec<u8> {
    oid.to_der().expect("an identifier from a constant is short enough for DER")
}

/// `CKA_EC_POINT`: a DER OCTET STRING round the point.
pub(crate) fn wrap_point(sec1: &[u8]) -> Result<Vec<u8>> {
    OctetStringRef::new(sec1).and_then(|octets| octets.to_der()).map_err(|_| Error::AttributeValueInvalid)
}

/// The point inside `CKA_EC_POINT`; callers often leave the OCTET STRING off, and so may these.
pub(crate) fn unwrap_point(value: &[u8]) -> &[u8] {
    <&OctetStringRef>::from_der(value).map_or(value, OctetStringRef::as_bytes)
}

/// The octets as a big-endian number of exactly `N` octets, unless it is too large.
pub(crate) fn left_padded<const N: usize>(octets: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let significant = &octets[octets.iter().position(|b| *b != 0).unwrap_or(octets.len())..];
    let mut padded = Zeroizing::new([0; N]);
    let start = N.checked_sub(significant.len())?;
    padded[start..].copy_from_slice(significant);
    Some(padded)
}

/// A private key, ready to sign.
pub(crate) enum PrivateKey {
    P256(p256::SecretKey, p256::ecdsa::SigningKey),
    P384(p384::SecretKey, p384::ecdsa::SigningKey),
}

/// A public key on its curve.
pub(crate) enum PublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

/// The same expression for either curve, with its names bound to the variant's fields.
macro_rules! on_curve {
    ($type:ident, $key:expr, $($name:pat_param),+ => $body:expr) => {
        match $key {
            $type::P256($($name),+) => $body,
            $type::P384($($name),+) => $body,
        }
    };
}

impl PrivateKey {
    pub(crate) fn generate(curve: Curve) -> Result<Self> {
        let failed = |_| Error::FunctionFailed;
        Ok(match curve {
            Curve::P256 => p256::SecretKey::try_generate_from_rng(&mut SysRng).map_err(failed)?.into(),
            Curve::P384 => p384::SecretKey::try_generate_from_rng(&mut SysRng).map_err(failed)?.into(),
        })
    }

    pub(crate) fn from_scalar(curve: Curve, scalar: &[u8]) -> Option<Self> {
        Some(match curve {
            Curve::P256 => p256::SecretKey::from_slice(left_padded::<32>(scalar)?.as_slice()).ok()?.into(),
            Curve::P384 => p384::SecretKey::from_slice(left_padded::<48>(scalar)?.as_slice()).ok()?.into(),
        })
    }

    /// From PKCS#8; the curve is whichever the document names.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let on_p256 = p256::SecretKey::from_pkcs8_der(der).ok().map(Self::from);
        on_p256.or_else(|| p384::SecretKey::from_pkcs8_der(der).ok().map(Self::from))
    }

    pub(crate) fn curve(&self) -> Curve {
        match self {
            PrivateKey::P256(..) => Curve::P256,
            PrivateKey::P384(..) => Curve::P384,
        }
    }

    pub(crate) fn scalar(&self) -> Zeroizing<Vec<u8>> {
        on_curve!(PrivateKey, self, secret, _ => Zeroizing::new(secret.to_bytes().to_vec()))
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let document = on_curve!(PrivateKey, self, secret, _ => secret.to_pkcs8_der());
        Ok(Zeroizing::new(document.map_err(|_| Error::FunctionFailed)?.as_bytes().to_vec()))
    }

    /// 04‖X‖Y.
    pub(crate) fn public_sec1(&self) -> Vec<u8> {
        on_curve!(PrivateKey, self, secret, _ => secret.public_key().to_sec1_bytes().to_vec())
    }

    /// Signs a digest of any length; answers r‖s.
    pub(crate) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>> {
        let digest = at_least_half_a_field(digest, self.curve())?;
        let failed = |_| Error::FunctionFailed;
        Ok(match self {
            PrivateKey::P256(_, signer) => {
                let signature: p256::ecdsa::Signature = signer.sign_prehash(&digest).map_err(failed)?;
                signature.to_bytes().to_vec()
            }
            PrivateKey::P384(_, signer) => {
                let signature: p384::ecdsa::Signature = signer.sign_prehash(&digest).map_err(failed)?;
                signature.to_bytes().to_vec()
            }
        })
    }

    /// The shared x coordinate with another's point.
    pub(crate) fn agree(&self, sec1: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let invalid = |_| Error::MechanismParamInvalid;
        Ok(Zeroizing::new(match self {
            PrivateKey::P256(secret, _) => {
                let other = p256::PublicKey::from_sec1_bytes(sec1).map_err(invalid)?;
                secret.diffie_hellman(&other).raw_secret_bytes().to_vec()
            }
            PrivateKey::P384(secret, _) => {
                let other = p384::PublicKey::from_sec1_bytes(sec1).map_err(invalid)?;
                secret.diffie_hellman(&other).raw_secret_bytes().to_vec()
            }
        }))
    }
}

impl From<p256::SecretKey> for PrivateKey {
    fn from(secret: p256::SecretKey) -> Self {
        let signer = (&secret).into();
        PrivateKey::P256(secret, signer)
    }
}

impl From<p384::SecretKey> for PrivateKey {
    fn from(secret: p384::SecretKey) -> Self {
        let signer = (&secret).into();
        PrivateKey::P384(secret, signer)
    }
}

impl PublicKey {
    pub(crate) fn from_sec1(curve: Curve, sec1: &[u8]) -> Option<Self> {
        Some(match curve {
            Curve::P256 => PublicKey::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(sec1).ok()?),
            Curve::P384 => PublicKey::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(sec1).ok()?),
        })
    }

    pub(crate) fn curve(&self) -> Curve {
        match self {
            PublicKey::P256(_) => Curve::P256,
            PublicKey::P384(_) => Curve::P384,
        }
    }

    /// 04‖X‖Y.
    pub(crate) fn to_sec1(&self) -> Vec<u8> {
        on_curve!(PublicKey, self, verifier => verifier.to_sec1_point(false).as_bytes().to_vec())
    }

    /// Verifies r‖s over a digest of any length.
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        if signature.len() != 2 * self.curve().field_len() {
            return Err(Error::SignatureLenRange);
        }
        let digest = at_least_half_a_field(digest, self.curve())?;
        let verdict = match self {
            PublicKey::P256(verifier) => p256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| verifier.verify_prehash(&digest, &signature)),
            PublicKey::P384(verifier) => p384::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| verifier.verify_prehash(&digest, &signature)),
        };
        verdict.map_err(|_| Error::SignatureInvalid)
    }
}

/// The `ecdsa` crate refuses digests under half a field; leading zeros leave the number as it is.
fn at_least_half_a_field(digest: &[u8], curve: Curve) -> Result<Vec<u8>> {
    if digest.is_empty() {
        return Err(Error::DataLenRange);
    }
    let mut padded = vec![0; curve.field_len().saturating_sub(digest.len())];
    padded.extend_from_slice(digest);
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_padded_on_the_left_and_never_cut() {
        assert_eq!(left_padded::<4>(&[1, 2]).unwrap().as_slice(), &[0, 0, 1, 2]);
        assert_eq!(left_padded::<2>(&[0, 0, 1, 2]).unwrap().as_slice(), &[1, 2]);
        assert!(left_padded::<2>(&[1, 0, 0]).is_none());
    }

    #[test]
    fn a_point_is_read_with_and_without_its_octet_string() {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        let sec1 = key.public_sec1();
        assert_eq!(unwrap_point(&wrap_point(&sec1).unwrap()), sec1);
        assert_eq!(unwrap_point(&sec1), sec1);
    }

    #[test]
    fn pkcs8_brings_the_same_key_back_on_both_curves() {
        for curve in [Curve::P256, Curve::P384] {
            let key = PrivateKey::generate(curve).unwrap();
            let again = PrivateKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
            assert_eq!((again.curve(), again.scalar()), (curve, key.scalar()));
        }
    }
}
