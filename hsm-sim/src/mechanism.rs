//! Mechanisms as the device thinks of them, free of any vendor's numbers.

use cryptoki_sys::*;

use crate::error::{Error, Result};

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for old callers.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SM3 (GB/T 32905).
    Sm3,
}

impl Hash {
    /// The digest's length in octets.
    pub fn digest_len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 | Hash::Sm3 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// The hash that RSA parameters name by its mechanism number.
    pub fn from_mechanism(number: CK_MECHANISM_TYPE) -> Result<Self> {
        match number {
            CKM_SHA_1 => Ok(Hash::Sha1),
            CKM_SHA256 => Ok(Hash::Sha256),
            CKM_SHA384 => Ok(Hash::Sha384),
            CKM_SHA512 => Ok(Hash::Sha512),
            _ => Err(Error::MechanismParamInvalid),
        }
    }

    /// The hash inside an MGF1 number.
    pub fn from_mgf(number: CK_RSA_PKCS_MGF_TYPE) -> Result<Self> {
        match number {
            CKG_MGF1_SHA1 => Ok(Hash::Sha1),
            CKG_MGF1_SHA256 => Ok(Hash::Sha256),
            CKG_MGF1_SHA384 => Ok(Hash::Sha384),
            CKG_MGF1_SHA512 => Ok(Hash::Sha512),
            _ => Err(Error::MechanismParamInvalid),
        }
    }
}

/// A block cipher with 16-octet blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// AES-128, AES-192 or AES-256.
    Aes,
    /// SM4 (GB/T 32907).
    Sm4,
}

/// What a key is, free of any vendor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// A NIST curve.
    Ec,
    /// SM2 (GB/T 32918).
    Sm2,
    /// AES.
    Aes,
    /// SM4.
    Sm4,
    /// Octets for HMAC or derivation.
    Generic,
}

/// What an SM2 signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sm2Input {
    /// e, computed by the caller: 32 octets.
    Digest,
    /// A message; e is its SM3 digest, without Z.
    Message,
    /// A message; e has Z of the identity `1234567812345678`, and there is no parameter.
    MessageWithZ,
    /// A message; e has Z of the identity in the parameter, or of the usual one.
    MessageWithId,
}

/// How the numbers of a signature or ciphertext are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One after the other, each 32 octets.
    Raw,
    /// DER (GM/T 0009).
    Der,
}

/// What the device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the CKM_ mechanism of its name, see the table in README.md")]
pub enum Mechanism {
    RsaKeyPairGen,
    RsaPkcs,
    RsaPkcsHash(Hash),
    RsaPss,
    RsaPssHash(Hash),
    RsaOaep,
    EcKeyPairGen,
    Ecdsa,
    EcdsaHash(Hash),
    Ecdh1Derive,
    Digest(Hash),
    Hmac(Hash),
    GenericSecretKeyGen,
    BlockKeyGen(Block),
    Ecb(Block),
    Cbc(Block),
    CbcPad(Block),
    Ctr(Block),
    Gcm(Block),
    AesKeyWrap,
    AesKeyWrapPad,
    Sm2KeyPairGen,
    Sm2(Sm2Input, Encoding),
    Sm2Encrypt(Encoding),
    Sm3WithZ,
    EcbPad(Block),
}

/// What a caller wants from a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// `C_Sign…`
    Sign,
    /// `C_Verify…`
    Verify,
    /// `C_Encrypt…`
    Encrypt,
    /// `C_Decrypt…`
    Decrypt,
    /// `C_Digest…`
    Digest,
    /// `C_WrapKey`
    Wrap,
    /// `C_UnwrapKey`
    Unwrap,
    /// `C_DeriveKey`
    Derive,
    /// `C_GenerateKey`
    Generate,
    /// `C_GenerateKeyPair`
    GenerateKeyPair,
}

impl Usage {
    fn flag(self) -> CK_FLAGS {
        match self {
            Usage::Sign => CKF_SIGN,
            Usage::Verify => CKF_VERIFY,
            Usage::Encrypt => CKF_ENCRYPT,
            Usage::Decrypt => CKF_DECRYPT,
            Usage::Digest => CKF_DIGEST,
            Usage::Wrap => CKF_WRAP,
            Usage::Unwrap => CKF_UNWRAP,
            Usage::Derive => CKF_DERIVE,
            Usage::Generate => CKF_GENERATE,
            Usage::GenerateKeyPair => CKF_GENERATE_KEY_PAIR,
        }
    }

    /// The attribute a key must carry for this use, where a key is used at all.
    pub fn attribute(self) -> Option<CK_ATTRIBUTE_TYPE> {
        match self {
            Usage::Sign => Some(CKA_SIGN),
            Usage::Verify => Some(CKA_VERIFY),
            Usage::Encrypt => Some(CKA_ENCRYPT),
            Usage::Decrypt => Some(CKA_DECRYPT),
            Usage::Wrap => Some(CKA_WRAP),
            Usage::Unwrap => Some(CKA_UNWRAP),
            Usage::Derive => Some(CKA_DERIVE),
            Usage::Digest | Usage::Generate | Usage::GenerateKeyPair => None,
        }
    }
}

/// How the octets at `pParameter` are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterForm {
    /// There must be none.
    None,
    /// Plain octets: an IV, an SM2 identity, or what Z is made of.
    Octets,
    /// `CK_AES_CTR_PARAMS`
    Counter,
    /// `CK_GCM_PARAMS`
    Gcm,
    /// `CK_RSA_PKCS_PSS_PARAMS`
    Pss,
    /// `CK_RSA_PKCS_OAEP_PARAMS`
    Oaep,
    /// `CK_ECDH1_DERIVE_PARAMS`
    Ecdh,
}

/// A mechanism's parameter, copied out of the caller's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// None was given.
    None,
    /// An IV, an SM2 identity, or X‖Y and an identity; never empty.
    Octets(Vec<u8>),
    /// Counter mode.
    Counter {
        /// How many low bits count.
        bits: CK_ULONG,
        /// The first counter block.
        block: [u8; 16],
    },
    /// Galois/counter mode.
    Gcm {
        /// The nonce.
        iv: Vec<u8>,
        /// The additional authenticated data.
        aad: Vec<u8>,
        /// The tag's length in bits.
        tag_bits: CK_ULONG,
    },
    /// RSASSA-PSS; `hash` is also MGF1's.
    Pss {
        /// The message digest.
        hash: Hash,
        /// The salt's length in octets.
        salt_len: usize,
    },
    /// RSAES-OAEP.
    Oaep {
        /// The label's digest.
        hash: Hash,
        /// MGF1's digest.
        mgf: Hash,
        /// The label.
        label: Vec<u8>,
    },
    /// The other side's public point, plain or as a DER OCTET STRING.
    Ecdh(Vec<u8>),
}

/// A mechanism with its parameter: what `CK_MECHANISM` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The vendor's number, for `CKA_KEY_GEN_MECHANISM` and `CKA_ALLOWED_MECHANISMS`.
    pub number: CK_MECHANISM_TYPE,
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The parameter.
    pub parameter: Parameter,
}

impl Call {
    /// Refuses a mechanism for a purpose it does not have.
    pub fn check(&self, usage: Usage) -> Result<()> {
        if self.mechanism.flags() & usage.flag() == 0 { Err(Error::MechanismInvalid) } else { Ok(()) }
    }
}

impl Mechanism {
    /// How the parameter is laid out.
    pub fn parameter_form(self) -> ParameterForm {
        match self {
            Mechanism::Cbc(_) | Mechanism::CbcPad(_) => ParameterForm::Octets,
            Mechanism::Sm2(Sm2Input::MessageWithId, _) | Mechanism::Sm3WithZ => ParameterForm::Octets,
            Mechanism::AesKeyWrap | Mechanism::AesKeyWrapPad => ParameterForm::None,
            Mechanism::Ctr(_) => ParameterForm::Counter,
            Mechanism::Gcm(_) => ParameterForm::Gcm,
            Mechanism::RsaPss | Mechanism::RsaPssHash(_) => ParameterForm::Pss,
            Mechanism::RsaOaep => ParameterForm::Oaep,
            Mechanism::Ecdh1Derive => ParameterForm::Ecdh,
            _ => ParameterForm::None,
        }
    }

    /// Whether its signatures are DER.
    pub fn signs_in_der(self) -> bool {
        matches!(self, Mechanism::Sm2(_, Encoding::Der))
    }

    /// The `CKF_` flags of `C_GetMechanismInfo`; the device plays hardware.
    pub fn flags(self) -> CK_FLAGS {
        CKF_HW | self.purposes()
    }

    fn purposes(self) -> CK_FLAGS {
        const CURVE: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
        const CIPHER: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP;
        match self {
            Mechanism::RsaKeyPairGen => CKF_GENERATE_KEY_PAIR,
            Mechanism::EcKeyPairGen | Mechanism::Sm2KeyPairGen => CKF_GENERATE_KEY_PAIR | CURVE,
            Mechanism::GenericSecretKeyGen | Mechanism::BlockKeyGen(_) => CKF_GENERATE,
            Mechanism::RsaPkcs => CKF_SIGN | CKF_VERIFY | CIPHER,
            Mechanism::RsaOaep => CIPHER,
            Mechanism::RsaPkcsHash(_) | Mechanism::RsaPss | Mechanism::RsaPssHash(_) | Mechanism::Hmac(_) => {
                CKF_SIGN | CKF_VERIFY
            }
            Mechanism::Ecdsa | Mechanism::EcdsaHash(_) | Mechanism::Sm2(..) => CKF_SIGN | CKF_VERIFY | CURVE,
            Mechanism::Ecdh1Derive => CKF_DERIVE | CURVE,
            Mechanism::Digest(_) | Mechanism::Sm3WithZ => CKF_DIGEST,
            Mechanism::Sm2Encrypt(_) => CIPHER | CURVE,
            Mechanism::Ecb(_)
            | Mechanism::EcbPad(_)
            | Mechanism::Cbc(_)
            | Mechanism::CbcPad(_)
            | Mechanism::Ctr(_)
            | Mechanism::Gcm(_)
            | Mechanism::AesKeyWrap
            | Mechanism::AesKeyWrapPad => CIPHER,
        }
    }

    /// The smallest and largest key: bits for RSA and curves, octets for symmetric keys, zero without a key.
    pub fn key_sizes(self) -> (CK_ULONG, CK_ULONG) {
        match self {
            Mechanism::RsaKeyPairGen
            | Mechanism::RsaPkcs
            | Mechanism::RsaPkcsHash(_)
            | Mechanism::RsaPss
            | Mechanism::RsaPssHash(_)
            | Mechanism::RsaOaep => (2048, 4096),
            Mechanism::EcKeyPairGen | Mechanism::Ecdsa | Mechanism::EcdsaHash(_) | Mechanism::Ecdh1Derive => {
                (256, 384)
            }
            Mechanism::Sm2KeyPairGen | Mechanism::Sm2(..) | Mechanism::Sm2Encrypt(_) => (256, 256),
            Mechanism::Digest(_) | Mechanism::Sm3WithZ => (0, 0),
            Mechanism::Hmac(_) | Mechanism::GenericSecretKeyGen => (1, 512),
            Mechanism::AesKeyWrap | Mechanism::AesKeyWrapPad => (16, 32),
            Mechanism::BlockKeyGen(block)
            | Mechanism::Ecb(block)
            | Mechanism::EcbPad(block)
            | Mechanism::Cbc(block)
            | Mechanism::CbcPad(block)
            | Mechanism::Ctr(block)
            | Mechanism::Gcm(block) => match block {
                Block::Aes => (16, 32),
                Block::Sm4 => (16, 16),
            },
        }
    }
}
