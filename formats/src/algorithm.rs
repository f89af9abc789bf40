//! The signature algorithms callers may ask for, by the names used on every interface.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signature algorithm with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// SM2 with SM3 (GB/T 32918.2), signatures in DER.
    #[serde(rename = "sm2-sm3")]
    Sm2Sm3,
    /// ECDSA on P-256 with SHA-256, signatures in DER.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2).
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaPkcs1Sha256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and 32 bytes of salt (RFC 8017, 8.1).
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
}

impl Algorithm {
    /// Every algorithm, SM2 first.
    pub const ALL: [Algorithm; 4] =
        [Algorithm::Sm2Sm3, Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256];

    /// The name on every interface, such as `sm2-sm3`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sm2Sm3 => "sm2-sm3",
            Algorithm::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Algorithm::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Algorithm::RsaPssSha256 => "rsa-pss-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no [`Algorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is one of sm2-sm3, ecdsa-p256-sha256, rsa-pkcs1-sha256, rsa-pss-sha256")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}
