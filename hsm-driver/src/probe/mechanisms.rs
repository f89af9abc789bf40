//! Names for the numbers of PKCS#11, where it has any.

use cryptoki::mechanism::MechanismType;
use cryptoki_sys as sys;

use super::survey::Family;

/// Lowest number of the vendors' range, for mechanisms and key types.
pub(super) const VENDOR_RANGE: u64 = sys::CKM_VENDOR_DEFINED;

macro_rules! named_by_the_standard {
    ($($name:ident),* $(,)?) => { &[$((sys::$name, stringify!($name))),*] };
}

/// Names that the crate in use does not have.
const MORE: &[(u64, &str)] = named_by_the_standard![
    CKM_AES_CCM,
    CKM_AES_CFB8,
    CKM_AES_CMAC_GENERAL,
    CKM_AES_CTS,
    CKM_AES_ECB_ENCRYPT_DATA,
    CKM_AES_GMAC,
    CKM_AES_KEY_WRAP_KWP,
    CKM_AES_MAC,
    CKM_AES_MAC_GENERAL,
    CKM_AES_OFB,
    CKM_ECDH1_COFACTOR_DERIVE,
    CKM_ECDSA_SHA224,
    CKM_PKCS5_PBKD2,
    CKM_SHA224,
    CKM_SHA224_RSA_PKCS,
    CKM_SHA224_RSA_PKCS_PSS,
    CKM_SHA256_HMAC_GENERAL,
    CKM_SHA512_256,
];

/// A mechanism's name: PKCS#11's own, or what the surveyed vendors call it.
pub(super) fn name(number: u64, families: &[Family]) -> Option<String> {
    if let Ok(known) = MechanismType::try_from(number)
        && number < VENDOR_RANGE
    {
        return Some(known.to_string());
    }
    if let Some((_, name)) = MORE.iter().find(|(known, _)| *known == number) {
        return Some((*name).to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    for family in families {
        let mut found = |name: &str| names.push(format!("{name} ({})", family.name));
        if family.generate == Some(number) {
            found("SM2 key pair");
        }
        if let Some(sign) = family.sign.iter().find(|sign| sign.number == number) {
            found(&sign.name);
        }
        if family.sm3.contains(&number) {
            found("SM3");
        }
        if let Some(sm4) = &family.sm4 {
            for (numbers, name) in
                [(&sm4.ecb, "SM4 ECB"), (&sm4.cbc, "SM4 CBC"), (&sm4.cbc_pad, "SM4 CBC padded")]
            {
                if numbers.contains(&number) {
                    found(name);
                }
            }
            if sm4.generate == Some(number) {
                found("SM4 key");
            }
        }
    }
    (!names.is_empty()).then(|| names.join(" or "))
}

/// CKF_ flags of CK_MECHANISM_INFO.
pub(super) fn uses(flags: u64) -> Vec<String> {
    named(
        flags,
        &[
            (sys::CKF_HW, "hardware"),
            (sys::CKF_ENCRYPT, "encrypt"),
            (sys::CKF_DECRYPT, "decrypt"),
            (sys::CKF_DIGEST, "digest"),
            (sys::CKF_SIGN, "sign"),
            (sys::CKF_VERIFY, "verify"),
            (sys::CKF_GENERATE, "generate"),
            (sys::CKF_GENERATE_KEY_PAIR, "generate pair"),
            (sys::CKF_WRAP, "wrap"),
            (sys::CKF_UNWRAP, "unwrap"),
            (sys::CKF_DERIVE, "derive"),
        ],
    )
}

/// CKF_ flags of CK_TOKEN_INFO.
pub(super) fn token_flags(flags: u64) -> Vec<String> {
    named(
        flags,
        &[
            (sys::CKF_RNG, "random numbers"),
            (sys::CKF_WRITE_PROTECTED, "write protected"),
            (sys::CKF_LOGIN_REQUIRED, "login required"),
            (sys::CKF_USER_PIN_INITIALIZED, "user PIN set"),
            (sys::CKF_PROTECTED_AUTHENTICATION_PATH, "PIN by a pad of its own"),
            (sys::CKF_DUAL_CRYPTO_OPERATIONS, "dual operations"),
            (sys::CKF_TOKEN_INITIALIZED, "initialised"),
            (sys::CKF_USER_PIN_COUNT_LOW, "a wrong PIN was given lately"),
            (sys::CKF_USER_PIN_FINAL_TRY, "one wrong PIN locks it"),
            (sys::CKF_USER_PIN_LOCKED, "user PIN locked"),
            (sys::CKF_USER_PIN_TO_BE_CHANGED, "user PIN must be changed"),
            (sys::CKF_ERROR_STATE, "error state"),
        ],
    )
}

fn named(flags: u64, names: &[(u64, &str)]) -> Vec<String> {
    names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::survey::families;

    #[test]
    fn a_number_is_named_by_the_standard_or_by_every_vendor_that_uses_it() {
        let families = families();
        assert_eq!(name(sys::CKM_ECDSA, &families).unwrap(), "CKM_ECDSA");
        assert_eq!(name(0x8000_0B21, &families).unwrap(), "CKM_SM2DSA (luna)");
        let shared = name(0x8000_8100, &families).unwrap();
        assert_eq!(shared, "CKM_SM3_SM2 (sansec) or CKM_SM3_SM2 (tass)");
        assert_eq!(name(0x8765_4321, &families), None);
    }
}
