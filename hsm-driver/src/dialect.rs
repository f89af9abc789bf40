//! What differs from vendor to vendor, as data: SM2 has no standard mechanism, so each device's profile says
//! which numbers its vendor chose. Z and e are always computed here and the raw-e mechanism is used, because
//! the same number hashes differently from vendor to vendor.

use serde::{Deserialize, Serialize};

use crate::error::HsmError;

/// A vendor profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// The name a site's configuration uses.
    pub name: String,
    /// SM2 numbers; absent on a device without SM2.
    pub sm2: Option<Sm2Numbers>,
    /// SM3 numbers; absent on a device without SM3.
    pub sm3: Option<Sm3Numbers>,
    /// SM4 numbers; absent on a device without SM4.
    pub sm4: Option<Sm4Numbers>,
}

/// A vendor's numbers for SM2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm2Numbers {
    /// CKK of an SM2 key.
    pub key_type: u64,
    /// CKM that signs a 32-octet e.
    pub sign: u64,
    /// CKM that makes a key pair.
    pub generate: u64,
}

/// A vendor's number for SM3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm3Numbers {
    /// CKM that digests.
    pub digest: u64,
}

/// A vendor's numbers for SM4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm4Numbers {
    /// CKK of an SM4 key.
    pub key_type: u64,
    /// CKM of single blocks (ECB), for known answers.
    pub ecb: Option<u64>,
}

const SHIPPED: [(&str, &str); 6] = [
    ("standard", include_str!("../dialects/standard.toml")),
    ("sansec", include_str!("../dialects/sansec.toml")),
    ("tass", include_str!("../dialects/tass.toml")),
    ("luna", include_str!("../dialects/luna.toml")),
    ("westone", include_str!("../dialects/westone.toml")),
    ("ibm", include_str!("../dialects/ibm.toml")),
];

impl Dialect {
    /// A shipped profile by name.
    ///
    /// # Errors
    /// [`HsmError::UnknownDialect`] when there is none of that name.
    pub fn shipped(name: &str) -> Result<Self, HsmError> {
        let unknown = || HsmError::UnknownDialect { name: name.to_owned() };
        let (_, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).ok_or_else(unknown)?;
        toml::from_str(text).map_err(|_| unknown())
    }

    /// CKM that digests by SM3.
    pub(crate) fn sm3_digest(&self) -> Option<u64> {
        self.sm3.as_ref().map(|numbers| numbers.digest)
    }

    /// CKK of SM4 and CKM of its single blocks.
    pub(crate) fn sm4_block(&self) -> Option<(u64, u64)> {
        self.sm4.as_ref().and_then(|numbers| Some((numbers.key_type, numbers.ecb?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_parses_under_its_own_name() {
        for (name, _) in SHIPPED {
            assert_eq!(Dialect::shipped(name).unwrap().name, name);
        }
        assert!(Dialect::shipped("nobody").is_err());
    }
}
