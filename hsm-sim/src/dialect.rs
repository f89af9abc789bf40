//! A dialect is data: which number a vendor gave to which mechanism and key type, and how it shows SM2 points.
//!
//! PKCS#11 v2.40 has no numbers for SM2, SM3 and SM4, so every vendor chose its own. README.md has the tables, and
//! says where sources disagree.

use cryptoki_sys::*;

use crate::{
    crypto::ec,
    mechanism::{
        Block,
        Encoding::{self, Der, Raw},
        Hash, KeyKind, Mechanism,
        Sm2Input::{self, Message, MessageWithId, MessageWithZ},
    },
};

/// One vendor's numbers.
#[derive(Debug)]
pub struct Dialect {
    name: &'static str,
    /// How `CKA_EC_POINT` of an SM2 key is laid out: as an OCTET STRING, or bare.
    point: Encoding,
    /// Whether SM2 private keys have `CKA_EC_POINT` too.
    point_on_private: bool,
    key_types: &'static [(CK_KEY_TYPE, KeyKind)],
    mechanisms: &'static [(CK_MECHANISM_TYPE, Mechanism)],
}

/// The numbers PKCS#11 itself gives; every dialect has them.
const COMMON_KEY_TYPES: &[(CK_KEY_TYPE, KeyKind)] = &[
    (CKK_RSA, KeyKind::Rsa),
    (CKK_EC, KeyKind::Ec),
    (CKK_AES, KeyKind::Aes),
    (CKK_GENERIC_SECRET, KeyKind::Generic),
];

const COMMON_MECHANISMS: &[(CK_MECHANISM_TYPE, Mechanism)] = &[
    (CKM_RSA_PKCS_KEY_PAIR_GEN, Mechanism::RsaKeyPairGen),
    (CKM_RSA_PKCS, Mechanism::RsaPkcs),
    (CKM_SHA1_RSA_PKCS, Mechanism::RsaPkcsHash(Hash::Sha1)),
    (CKM_SHA256_RSA_PKCS, Mechanism::RsaPkcsHash(Hash::Sha256)),
    (CKM_SHA384_RSA_PKCS, Mechanism::RsaPkcsHash(Hash::Sha384)),
    (CKM_SHA512_RSA_PKCS, Mechanism::RsaPkcsHash(Hash::Sha512)),
    (CKM_RSA_PKCS_PSS, Mechanism::RsaPss),
    (CKM_SHA256_RSA_PKCS_PSS, Mechanism::RsaPssHash(Hash::Sha256)),
    (CKM_RSA_PKCS_OAEP, Mechanism::RsaOaep),
    (CKM_EC_KEY_PAIR_GEN, Mechanism::EcKeyPairGen),
    (CKM_ECDSA, Mechanism::Ecdsa),
    (CKM_ECDSA_SHA256, Mechanism::EcdsaHash(Hash::Sha256)),
    (CKM_ECDSA_SHA384, Mechanism::EcdsaHash(Hash::Sha384)),
    (CKM_ECDH1_DERIVE, Mechanism::Ecdh1Derive),
    (CKM_GENERIC_SECRET_KEY_GEN, Mechanism::GenericSecretKeyGen),
    (CKM_SHA_1, Mechanism::Digest(Hash::Sha1)),
    (CKM_SHA256, Mechanism::Digest(Hash::Sha256)),
    (CKM_SHA384, Mechanism::Digest(Hash::Sha384)),
    (CKM_SHA512, Mechanism::Digest(Hash::Sha512)),
    (CKM_SHA256_HMAC, Mechanism::Hmac(Hash::Sha256)),
    (CKM_AES_KEY_GEN, Mechanism::BlockKeyGen(Block::Aes)),
    (CKM_AES_ECB, Mechanism::Ecb(Block::Aes)),
    (CKM_AES_CBC, Mechanism::Cbc(Block::Aes)),
    (CKM_AES_CBC_PAD, Mechanism::CbcPad(Block::Aes)),
    (CKM_AES_CTR, Mechanism::Ctr(Block::Aes)),
    (CKM_AES_GCM, Mechanism::Gcm(Block::Aes)),
    (CKM_AES_KEY_WRAP, Mechanism::AesKeyWrap),
    (CKM_AES_KEY_WRAP_PAD, Mechanism::AesKeyWrapPad),
];

static STANDARD: Dialect = Dialect {
    name: "standard",
    point: Der,
    point_on_private: true,
    key_types: &[(0x80C1_0001, KeyKind::Sm2), (0x80C1_0002, KeyKind::Sm4)],
    mechanisms: &[
        (0x80C1_0010, Mechanism::Sm2KeyPairGen),
        (0x80C1_0011, Mechanism::Sm2(Sm2Input::Digest, Raw)),
        (0x80C1_0012, Mechanism::Sm2(MessageWithId, Raw)),
        (0x80C1_0013, Mechanism::Sm2Encrypt(Raw)),
        (0x80C1_0020, Mechanism::Digest(Hash::Sm3)),
        (0x80C1_0021, Mechanism::Hmac(Hash::Sm3)),
        (0x80C1_0030, Mechanism::BlockKeyGen(Block::Sm4)),
        (0x80C1_0031, Mechanism::Ecb(Block::Sm4)),
        (0x80C1_0032, Mechanism::Cbc(Block::Sm4)),
        (0x80C1_0033, Mechanism::CbcPad(Block::Sm4)),
        (0x80C1_0034, Mechanism::Ctr(Block::Sm4)),
        (0x80C1_0035, Mechanism::Gcm(Block::Sm4)),
    ],
};

static SANSEC: Dialect = Dialect {
    name: "sansec",
    point: Der,
    point_on_private: true,
    key_types: &[(0x8000_0004, KeyKind::Sm2), (0x8000_0106, KeyKind::Sm4)],
    mechanisms: &[
        (0x8000_8001, Mechanism::Sm2KeyPairGen),
        (0x8000_8100, Mechanism::Sm2(Message, Raw)),
        (0x8000_8101, Mechanism::Sm2(Message, Der)),
        (0x8000_8102, Mechanism::Sm2(MessageWithZ, Raw)),
        (0x8000_8103, Mechanism::Sm2(MessageWithZ, Der)),
        (0x8000_8104, Mechanism::Sm2(Sm2Input::Digest, Der)),
        (0x8000_8105, Mechanism::Sm2(Sm2Input::Digest, Raw)),
        (0x8000_8200, Mechanism::Sm2Encrypt(Raw)),
        (0x8000_8201, Mechanism::Sm2Encrypt(Der)),
        (0x8000_9001, Mechanism::Digest(Hash::Sm3)),
        (0x8000_0107, Mechanism::BlockKeyGen(Block::Sm4)),
        (0x8000_0108, Mechanism::Ecb(Block::Sm4)),
        (0x8000_0109, Mechanism::Cbc(Block::Sm4)),
        (0x8000_A101, Mechanism::EcbPad(Block::Sm4)),
        (0x8000_A201, Mechanism::CbcPad(Block::Sm4)),
    ],
};

static TASS: Dialect = Dialect {
    name: "tass",
    point: Raw,
    point_on_private: true,
    key_types: &[(0x8000_0004, KeyKind::Sm2), (0x8000_0002, KeyKind::Sm4)],
    mechanisms: &[
        (0x8000_8001, Mechanism::Sm2KeyPairGen),
        (0x8000_8000, Mechanism::Sm2(Sm2Input::Digest, Der)),
        (0x8000_8100, Mechanism::Sm2(Message, Der)),
        (0x8000_8101, Mechanism::Sm2(Message, Der)),
        (0x8000_8200, Mechanism::Sm2Encrypt(Raw)),
        (0x8000_0005, Mechanism::Digest(Hash::Sm3)),
        (0x8000_0006, Mechanism::Sm3WithZ),
        (0x8000_0107, Mechanism::BlockKeyGen(Block::Sm4)),
        (0x8000_0108, Mechanism::Ecb(Block::Sm4)),
        (0x8000_0109, Mechanism::Cbc(Block::Sm4)),
        (0x8000_010C, Mechanism::CbcPad(Block::Sm4)),
    ],
};

static LUNA: Dialect = Dialect {
    name: "luna",
    point: Der,
    point_on_private: true,
    key_types: &[(0x8000_0016, KeyKind::Sm2), (0x8000_0015, KeyKind::Sm4)],
    mechanisms: &[
        (0x8000_0B01, Mechanism::Digest(Hash::Sm3)),
        (0x8000_0B02, Mechanism::Hmac(Hash::Sm3)),
        (0x8000_0B10, Mechanism::BlockKeyGen(Block::Sm4)),
        (0x8000_0B11, Mechanism::Ecb(Block::Sm4)),
        (0x8000_0B12, Mechanism::Cbc(Block::Sm4)),
        (0x8000_0B13, Mechanism::CbcPad(Block::Sm4)),
        (0x8000_0B20, Mechanism::Sm2KeyPairGen),
        (0x8000_0B21, Mechanism::Sm2(Sm2Input::Digest, Raw)),
        (0x8000_0B22, Mechanism::Sm2(MessageWithId, Raw)),
    ],
};

static WESTONE: Dialect = Dialect {
    name: "westone",
    point: Raw,
    point_on_private: false,
    key_types: &[(0x8000_0001, KeyKind::Sm2), (0x8000_0005, KeyKind::Sm4)],
    mechanisms: &[
        (0x8000_0003, Mechanism::Sm2KeyPairGen),
        (0x8000_0004, Mechanism::Sm2(Sm2Input::Digest, Raw)),
        (0x8000_001F, Mechanism::Digest(Hash::Sm3)),
        (0x8000_0020, Mechanism::Hmac(Hash::Sm3)),
        (0x8000_0021, Mechanism::Sm3WithZ),
        (0x8000_0029, Mechanism::Ecb(Block::Sm4)),
        (0x8000_002A, Mechanism::Cbc(Block::Sm4)),
    ],
};

static IBM: Dialect = Dialect {
    name: "ibm",
    point: Der,
    point_on_private: false,
    key_types: &[(0x8005_0002, KeyKind::Sm2), (0x8005_0001, KeyKind::Sm4)],
    mechanisms: &[
        (0x8005_000A, Mechanism::Sm2KeyPairGen),
        (0x8005_000B, Mechanism::Sm2(Sm2Input::Digest, Raw)),
        (0x8005_000C, Mechanism::Sm2(Message, Raw)),
        (0x8005_000D, Mechanism::Sm2Encrypt(Raw)),
        (0x8005_000E, Mechanism::Digest(Hash::Sm3)),
        (0x8005_000F, Mechanism::Sm2(MessageWithZ, Raw)),
    ],
};

static DIALECTS: [&Dialect; 6] = [&STANDARD, &SANSEC, &TASS, &LUNA, &WESTONE, &IBM];

impl Dialect {
    /// The dialect of that name.
    pub fn named(name: &str) -> Option<&'static Dialect> {
        DIALECTS.into_iter().find(|dialect| dialect.name == name)
    }

    /// Every mechanism's number, in the order of the tables.
    pub fn mechanism_numbers(&self) -> Vec<CK_MECHANISM_TYPE> {
        COMMON_MECHANISMS.iter().chain(self.mechanisms).map(|(number, _)| *number).collect()
    }

    /// The mechanism behind a number.
    pub fn mechanism(&self, number: CK_MECHANISM_TYPE) -> Option<Mechanism> {
        find(COMMON_MECHANISMS, number).or_else(|| find(self.mechanisms, number))
    }

    /// The kind of key behind a `CKK_` number.
    pub fn key_kind(&self, number: CK_KEY_TYPE) -> Option<KeyKind> {
        find(COMMON_KEY_TYPES, number).or_else(|| find(self.key_types, number))
    }

    /// The `CKK_` number of a kind of key.
    pub fn key_type(&self, kind: KeyKind) -> Option<CK_KEY_TYPE> {
        COMMON_KEY_TYPES.iter().chain(self.key_types).find(|(_, k)| *k == kind).map(|(number, _)| *number)
    }
}

impl Dialect {
    /// An SM2 key's `CKA_EC_POINT` as the vendor shows it, from 04‖X‖Y as an OCTET STRING; none where it shows none.
    pub(crate) fn point(&self, class: CK_OBJECT_CLASS, wrapped: &[u8]) -> Option<Vec<u8>> {
        if class == CKO_PRIVATE_KEY && !self.point_on_private {
            return None;
        }
        Some(match self.point {
            Der => wrapped.to_vec(),
            Raw => ec::unwrap_point(wrapped).to_vec(),
        })
    }
}

fn find<T: Copy>(table: &[(CK_ULONG, T)], number: CK_ULONG) -> Option<T> {
    table.iter().find(|(n, _)| *n == number).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_dialect_gives_one_number_two_meanings() {
        for dialect in DIALECTS {
            let numbers = dialect.mechanism_numbers();
            let distinct: BTreeSet<_> = numbers.iter().collect();
            assert_eq!(distinct.len(), numbers.len(), "{}", dialect.name);
        }
    }

    #[test]
    fn key_types_translate_both_ways() {
        for dialect in DIALECTS {
            for kind in
                [KeyKind::Rsa, KeyKind::Ec, KeyKind::Sm2, KeyKind::Aes, KeyKind::Sm4, KeyKind::Generic]
            {
                let number = dialect.key_type(kind).unwrap();
                assert_eq!(dialect.key_kind(number), Some(kind), "{}", dialect.name);
            }
        }
    }
}
