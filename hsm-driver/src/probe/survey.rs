//! The numbers a probe tries: `dialects/survey.toml`.

use serde::Deserialize;

/// What one family of devices calls its SM2, SM3 and SM4.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Family {
    /// A shipped dialect's name, or another maker's.
    pub(super) name: String,
    /// CKK of an SM2 key.
    pub(super) key_type: u64,
    /// CKM that generates an SM2 pair; absent where none is known.
    pub(super) generate: Option<u64>,
    /// Every CKM that signs with an SM2 key, whatever it does to its input first.
    pub(super) sign: Vec<SignNumber>,
    /// CKM of SM3, as sources have it.
    pub(super) sm3: Vec<u64>,
    pub(super) sm4: Option<Sm4Numbers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignNumber {
    pub(super) number: u64,
    /// The vendor's name for it.
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sm4Numbers {
    /// CKK of an SM4 key.
    pub(super) key_type: u64,
    pub(super) generate: Option<u64>,
    #[serde(default)]
    pub(super) ecb: Vec<u64>,
    #[serde(default)]
    pub(super) cbc: Vec<u64>,
    #[serde(default)]
    pub(super) cbc_pad: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Survey {
    family: Vec<Family>,
}

/// Every family, in the order in which they are tried.
pub(super) fn families() -> Vec<Family> {
    let survey: Result<Survey, _> = toml::from_str(include_str!("../../dialects/survey.toml"));
    survey.map(|survey| survey.family).unwrap_or_default() // a test below reads the file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn every_shipped_dialect_is_surveyed_with_its_own_numbers() {
        let families = families();
        for name in ["standard", "sansec", "tass", "luna", "westone", "ibm"] {
            let numbers = Dialect::shipped(name).unwrap().sm2.unwrap();
            let family = families.iter().find(|family| family.name == name).unwrap();
            assert_eq!(family.key_type, numbers.key_type, "{name}");
            assert!(family.sign.iter().any(|sign| sign.number == numbers.sign), "{name}");
            assert_eq!(family.generate, Some(numbers.generate), "{name}");
            assert!(!family.sm3.is_empty(), "{name}");
        }
    }
}
