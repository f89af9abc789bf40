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
}

/// A vendor's numbers for SM2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm2Numbers {
    /// CKK of an SM2 key.
    pub key_type: u64,
    /// CKM that signs a 32-octet e.
    pub sign: u64,
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
