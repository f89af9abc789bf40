//! Keys as the fleet knows them: which group, which public key, which CKA_ID, and the check of what a device
//! answers.

use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use config::{DeviceId, GroupId, KeyId};
use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};
use serde::{Deserialize, Serialize};
use sm2_verify::{Verifier, VerifierOptions};

use crate::order::KeyKind;

/// A signature algorithm over a 32-octet digest: e for SM2, SHA-256 otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// SM2 with SM3 (GB/T 32918.2); the digest is e = SM3(Z‖M).
    Sm2,
    /// ECDSA on P-256 (FIPS 186-5).
    EcdsaP256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).
    RsaPkcs1,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256, 32 octets of salt (RFC 8017 §8.1).
    RsaPss,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Sm2, Self::EcdsaP256, Self::RsaPkcs1, Self::RsaPss];

    /// A bit of its own in a set of algorithms.
    pub(crate) fn bit(self) -> u8 {
        match self {
            Self::Sm2 => 1,
            Self::EcdsaP256 => 2,
            Self::RsaPkcs1 => 4,
            Self::RsaPss => 8,
        }
    }

    /// The name used in the HTTP interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm2 => "sm2-sm3",
            Self::EcdsaP256 => "ecdsa-p256-sha256",
            Self::RsaPkcs1 => "rsa-pkcs1-sha256",
            Self::RsaPss => "rsa-pss-sha256",
        }
    }
}

/// The public half of a key, in the parts a token's object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublicKey {
    /// SM2 point, 65 octets `04‖X‖Y`.
    Sm2(Vec<u8>),
    /// P-256 point, 65 octets `04‖X‖Y`.
    P256(Vec<u8>),
    /// RSA, big-endian without leading zeros.
    Rsa {
        /// CKA_MODULUS.
        modulus: Vec<u8>,
        /// CKA_PUBLIC_EXPONENT.
        exponent: Vec<u8>,
    },
}

/// `RSAPublicKey` of RFC 8017 A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

impl PublicKey {
    /// From DER `RSAPublicKey` (RFC 8017 A.1.1); nothing if it is none.
    #[must_use]
    pub fn rsa_from_pkcs1(der: &[u8]) -> Option<Self> {
        let key = RsaPublicKey::from_der(der).ok()?;
        Some(Self::Rsa {
            modulus: key.modulus.as_bytes().to_vec(),
            exponent: key.public_exponent.as_bytes().to_vec(),
        })
    }

    /// What kind of key it is; RSA of any length counts as the kind devices make.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Sm2(_) => KeyKind::Sm2,
            Self::P256(_) => KeyKind::P256,
            Self::Rsa { .. } => KeyKind::Rsa2048,
        }
    }

    /// Whether a key of this kind signs with the algorithm.
    #[must_use]
    pub fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms().contains(&algorithm)
    }

    /// The canonical form of a signature as a device gave it (strict DER for SM2 and ECDSA), if it is this key's
    /// over the digest.
    #[must_use]
    pub fn canonical(&self, algorithm: Algorithm, digest: &[u8; 32], answer: &[u8]) -> Option<Vec<u8>> {
        let checker = Checker::new(self, &Arc::new(Verifier::new(VerifierOptions::default())))?;
        let signature = checker.canonical(answer)?;
        checker.accepts(algorithm, digest, &signature).then_some(signature)
    }

    /// The algorithms it signs with, the usual one first: that proves that a device holds the key.
    pub(crate) fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Sm2(_) => &[Algorithm::Sm2],
            Self::P256(_) => &[Algorithm::EcdsaP256],
            Self::Rsa { .. } => &[Algorithm::RsaPkcs1, Algorithm::RsaPss],
        }
    }
}

/// A key as the site declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// Its name.
    pub id: KeyId,
    /// The wall behind which it lives.
    pub group: GroupId,
    /// CKA_ID of its objects, the same in every device of the group.
    pub cka_id: Vec<u8>,
    /// What every signature is checked against, and every device's copy compared with.
    pub public_key: PublicKey,
    /// The devices that are asked for it, where not all of the group are: keys that may not leave their device
    /// differ from device to device, and are keys of their own here.
    pub devices: Option<Vec<DeviceId>>,
}

impl KeySpec {
    /// Whether a device of this name and group is to hold the key.
    pub(crate) fn belongs_on(&self, device: &config::Device) -> bool {
        self.group == device.group && self.devices.as_ref().is_none_or(|only| only.contains(&device.id))
    }
}

/// A public key made ready for checking signatures, once.
pub(crate) enum Checker {
    Sm2 {
        key: sm2_verify::PublicKey,
        /// Shared by a site's keys: each soon has its table of multiples.
        verifier: Arc<Verifier>,
    },
    P256(ParsedPublicKey),
    Rsa {
        pkcs1: ParsedPublicKey,
        pss: ParsedPublicKey,
    },
}

impl Checker {
    /// Nothing if the octets are not a public key of their kind.
    pub(crate) fn new(key: &PublicKey, verifier: &Arc<Verifier>) -> Option<Self> {
        let parse = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            ParsedPublicKey::new(algorithm, bytes).ok()
        };
        Some(match key {
            PublicKey::Sm2(point) => {
                let key = sm2_verify::PublicKey::from_sec1(point).ok()?;
                Self::Sm2 { key, verifier: Arc::clone(verifier) }
            }
            PublicKey::P256(point) => Self::P256(parse(&ECDSA_P256_SHA256_ASN1, point)?),
            PublicKey::Rsa { modulus, exponent } => {
                let numbers = RsaPublicKey {
                    modulus: UintRef::new(modulus).ok()?,
                    public_exponent: UintRef::new(exponent).ok()?,
                };
                let der = numbers.to_der().ok()?;
                Self::Rsa {
                    pkcs1: parse(&RSA_PKCS1_2048_8192_SHA256, &der)?,
                    pss: parse(&RSA_PSS_2048_8192_SHA256, &der)?,
                }
            }
        })
    }

    /// Turns what a device answered (r‖s, DER, or a vendor's sloppy DER) into the canonical form that leaves:
    /// strict DER for SM2 and ECDSA, the integer for RSA. Nothing if it is no signature at all.
    pub(crate) fn canonical(&self, answer: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sm2 { .. } => Some(sm2_verify::Signature::from_vendor(answer).ok()?.to_der()),
            Self::P256(_) => {
                let signature = match answer.len() {
                    64 => p256::ecdsa::Signature::from_slice(answer),
                    _ => p256::ecdsa::Signature::from_der(answer),
                };
                Some(signature.ok()?.to_der().as_bytes().to_vec())
            }
            Self::Rsa { .. } => Some(answer.to_vec()),
        }
    }

    /// Whether a canonical signature is the key's over the digest.
    pub(crate) fn accepts(&self, algorithm: Algorithm, digest: &[u8; 32], signature: &[u8]) -> bool {
        let parsed = match (self, algorithm) {
            (Self::Sm2 { key, verifier }, Algorithm::Sm2) => {
                return sm2_verify::Signature::from_der(signature)
                    .is_ok_and(|signature| verifier.verify(key, digest, &signature).is_ok());
            }
            (Self::P256(key), Algorithm::EcdsaP256) => key,
            (Self::Rsa { pkcs1, .. }, Algorithm::RsaPkcs1) => pkcs1,
            (Self::Rsa { pss, .. }, Algorithm::RsaPss) => pss,
            _ => return false,
        };
        Digest::import_less_safe(digest, &digest::SHA256)
            .is_ok_and(|digest| parsed.verify_digest_sig(&digest, signature).is_ok())
    }
}
