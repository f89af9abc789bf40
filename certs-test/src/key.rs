//! Software keys: with hsm-sim's, the only private keys of the workspace that live outside a device.

use std::fmt;

use const_oid::ObjectIdentifier;
use der::Decode;
use der::asn1::Any;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::rand_core::RngCore as _;
use rsa::sha2::{Digest, Sha256};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

use crate::error::CertsTestError;
use crate::seed::Seed;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SM2_WITH_SM3: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.501");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// The signer id every SM2 certificate is signed with (GM/T 0009).
const SIGNER_ID: &str = "1234567812345678";

/// A private key in the parts a PKCS#11 `C_CreateObject` wants. `Debug` shows the algorithm alone.
#[derive(Clone)]
pub enum PrivateParts {
    /// An SM2 key.
    Sm2 {
        /// d, big-endian.
        scalar: Zeroizing<[u8; 32]>,
        /// The point, `04 || X || Y`.
        public: [u8; 65],
    },
    /// A P-256 key.
    P256 {
        /// d, big-endian.
        scalar: Zeroizing<[u8; 32]>,
        /// The point, `04 || X || Y`.
        public: [u8; 65],
    },
    /// An RSA key; every part is an unsigned big-endian integer without leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Public exponent.
        e: Vec<u8>,
        /// Private exponent.
        d: Vec<u8>,
        /// First prime.
        p: Vec<u8>,
        /// Second prime.
        q: Vec<u8>,
        /// d mod (p - 1).
        dp: Vec<u8>,
        /// d mod (q - 1).
        dq: Vec<u8>,
        /// q⁻¹ mod p.
        qinv: Vec<u8>,
    },
}

impl PrivateParts {
    /// The key as a PKCS#8 PEM file. Fails when the parts, which anybody may fill in, make no key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, CertsTestError> {
        let pem = match self {
            Self::Sm2 { scalar, .. } => sm2::SecretKey::from_slice(scalar.as_slice())
                .ok()
                .and_then(|key| key.to_pkcs8_pem(p256::pkcs8::LineEnding::LF).ok()),
            Self::P256 { scalar, .. } => p256::SecretKey::from_slice(scalar.as_slice())
                .ok()
                .and_then(|key| key.to_pkcs8_pem(p256::pkcs8::LineEnding::LF).ok()),
            Self::Rsa { n, e, d, p, q, .. } => {
                let integer = |bytes: &Vec<u8>| BigUint::from_bytes_be(bytes);
                RsaPrivateKey::from_components(
                    integer(n),
                    integer(e),
                    integer(d),
                    vec![integer(p), integer(q)],
                )
                .ok()
                .and_then(|key| key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).ok())
            }
        };
        pem.ok_or(CertsTestError::Key)
    }
}

impl fmt::Debug for PrivateParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sm2 { .. } => "PrivateParts::Sm2(..)",
            Self::P256 { .. } => "PrivateParts::P256(..)",
            Self::Rsa { .. } => "PrivateParts::Rsa(..)",
        })
    }
}

/// Which kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Sm2,
    P256,
    Rsa2048,
}

/// A key that signs certificates.
#[derive(Clone)]
pub(crate) enum SoftwareKey {
    Sm2(sm2::dsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
    Rsa(Box<RsaPrivateKey>),
}

impl SoftwareKey {
    /// The key of one label; the same label gives the same key.
    pub(crate) fn derive(kind: KeyKind, seed: &Seed, label: &str) -> Result<Self, CertsTestError> {
        let mut stream = seed.stream(&format!("key {label}"));
        let mut scalar = Zeroizing::new([0; 32]);
        stream.fill_bytes(scalar.as_mut_slice());
        // A draw outside [1, n-1] happens once in 2³² seeds, which is then an error: take another seed.
        match kind {
            KeyKind::Sm2 => {
                sm2::dsa::SigningKey::from_slice(SIGNER_ID, scalar.as_slice()).map(Self::Sm2).ok()
            }
            KeyKind::P256 => p256::ecdsa::SigningKey::from_slice(scalar.as_slice()).map(Self::P256).ok(),
            KeyKind::Rsa2048 => {
                RsaPrivateKey::new(&mut stream, 2048).map(|key| Self::Rsa(Box::new(key))).ok()
            }
        }
        .ok_or(CertsTestError::Key)
    }

    /// A key of SM2 that is kept in a file.
    pub(crate) fn of_sm2(key: &sm2::SecretKey) -> Result<Self, CertsTestError> {
        let key = sm2::dsa::SigningKey::new(SIGNER_ID, key);
        key.map(Self::Sm2).map_err(|_| CertsTestError::Key)
    }

    /// Signs a message as a certificate's signature: DER for the curves, PKCS#1 v1.5 for RSA. Nonces are
    /// RFC 6979's, so the same message gives the same signature.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertsTestError> {
        match self {
            Self::Sm2(key) => key
                .try_sign(message)
                .map(|signature: sm2::dsa::Signature| signature.to_der().as_bytes().to_vec())
                .ok(),
            Self::P256(key) => key
                .try_sign(message)
                .map(|signature: p256::ecdsa::Signature| signature.to_der().as_bytes().to_vec())
                .ok(),
            Self::Rsa(key) => key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message)).ok(),
        }
        .ok_or(CertsTestError::Key)
    }

    /// The algorithm identifier that goes with [`Self::sign`]; SM2 and ECDSA have no parameters, RSA has
    /// NULL.
    pub(crate) fn signature_algorithm(&self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::Sm2(_) => (SM2_WITH_SM3, None),
            Self::P256(_) => (ECDSA_WITH_SHA256, None),
            Self::Rsa(_) => (SHA256_WITH_RSA, Some(Any::null())),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }

    /// The public key as certificates carry it.
    pub(crate) fn spki(&self) -> Result<SubjectPublicKeyInfoOwned, CertsTestError> {
        let der = match self {
            Self::Sm2(key) => sm2::SecretKey::from(key.as_nonzero_scalar())
                .public_key()
                .to_public_key_der()
                .map(|document| document.into_vec())
                .ok(),
            Self::P256(key) => {
                key.verifying_key().to_public_key_der().map(|document| document.into_vec()).ok()
            }
            Self::Rsa(key) => {
                key.to_public_key().to_public_key_der().map(|document| document.into_vec()).ok()
            }
        };
        SubjectPublicKeyInfoOwned::from_der(&der.ok_or(CertsTestError::Key)?)
            .map_err(|source| CertsTestError::Encode { what: "a public key", source })
    }

    /// The parts, for a device to import.
    pub(crate) fn private_parts(&self) -> Result<PrivateParts, CertsTestError> {
        let point = |sec1: &[u8]| <[u8; 65]>::try_from(sec1).map_err(|_| CertsTestError::Key);
        Ok(match self {
            Self::Sm2(key) => PrivateParts::Sm2 {
                scalar: Zeroizing::new(key.to_bytes().into()),
                public: point(&sm2::SecretKey::from(key.as_nonzero_scalar()).public_key().to_sec1_bytes())?,
            },
            Self::P256(key) => PrivateParts::P256 {
                scalar: Zeroizing::new(key.to_bytes().into()),
                public: point(key.verifying_key().to_sec1_point(false).as_bytes())?,
            },
            Self::Rsa(key) => {
                let [p, q] = key.primes() else { return Err(CertsTestError::Key) };
                let exponent = |part: Option<&BigUint>| part.map(BigUint::to_bytes_be);
                PrivateParts::Rsa {
                    n: key.n().to_bytes_be(),
                    e: key.e().to_bytes_be(),
                    d: key.d().to_bytes_be(),
                    p: p.to_bytes_be(),
                    q: q.to_bytes_be(),
                    dp: exponent(key.dp()).ok_or(CertsTestError::Key)?,
                    dq: exponent(key.dq()).ok_or(CertsTestError::Key)?,
                    qinv: exponent(key.crt_coefficient().as_ref()).ok_or(CertsTestError::Key)?,
                }
            }
        })
    }
}
