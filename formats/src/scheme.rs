//! Signature schemes as certificates, CRLs and CMS name them: wider than the
//! [`Algorithm`]s callers may ask for, because certificate authorities sign with more.

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use der::asn1::{Any, AnyRef};
use der::{Decode, Encode, Sequence};
use sm3::{Digest, Sm3};
use spki::AlgorithmIdentifierOwned;

use crate::algorithm::Algorithm;
use crate::error::FormatError;
use crate::oid;

/// A hash function signatures are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SM3 (GB/T 32905).
    Sm3,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-384 (FIPS 180-4).
    Sha384,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

impl HashAlgorithm {
    /// By a digestAlgorithm. Some products write SM2-with-SM3 where SM3 belongs; that is read as SM3.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedAlgorithm`] for all others, SHA-1 and MD5 among them, and for
    /// parameters other than NULL.
    pub fn from_identifier(identifier: &AlgorithmIdentifierOwned) -> Result<Self, FormatError> {
        let hash = match identifier.oid {
            oid::SM3 | oid::SM3_PLAIN | oid::SM2_WITH_SM3 => Self::Sm3,
            oid::SHA256 => Self::Sha256,
            oid::SHA384 => Self::Sha384,
            oid::SHA512 => Self::Sha512,
            unknown => return Err(FormatError::UnsupportedAlgorithm(unknown.to_string())),
        };
        without_parameters(identifier).map(|()| hash)
    }

    /// The identifier written in digestAlgorithms.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sm3 => oid::SM3,
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
        }
    }

    /// The digest of `message`, [`len`](Self::len) bytes.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        match self.aws() {
            None => Sm3::digest(message).to_vec(),
            Some(algorithm) => digest::digest(algorithm, message).as_ref().to_vec(),
        }
    }

    /// The digest of a message that comes in parts.
    pub fn digest_parts(self, parts: &[&[u8]]) -> Vec<u8> {
        match self.aws() {
            None => {
                let mut hasher = Sm3::new();
                parts.iter().for_each(|part| hasher.update(part));
                hasher.finalize().to_vec()
            }
            Some(algorithm) => {
                let mut context = digest::Context::new(algorithm);
                parts.iter().for_each(|part| context.update(part));
                context.finish().as_ref().to_vec()
            }
        }
    }

    /// The length of a digest in bytes.
    #[allow(clippy::len_without_is_empty)] // a digest is never empty
    pub fn len(self) -> usize {
        self.aws().map_or(32, digest::Algorithm::output_len)
    }

    pub(crate) fn aws(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::Sm3 => None,
            Self::Sha256 => Some(&digest::SHA256),
            Self::Sha384 => Some(&digest::SHA384),
            Self::Sha512 => Some(&digest::SHA512),
        }
    }
}

/// A digest that is made piece by piece.
pub(crate) enum Hasher {
    Sm3(Sm3),
    Aws(digest::Context),
}

impl Hasher {
    pub(crate) fn new(hash: HashAlgorithm) -> Self {
        hash.aws()
            .map_or_else(|| Self::Sm3(Sm3::new()), |algorithm| Self::Aws(digest::Context::new(algorithm)))
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sm3(hasher) => hasher.update(piece),
            Self::Aws(context) => context.update(piece),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sm3(hasher) => hasher.finalize().to_vec(),
            Self::Aws(context) => context.finish().as_ref().to_vec(),
        }
    }
}

/// A signature scheme with its hash; the curve comes with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// SM2 with SM3 (GB/T 32918.2).
    Sm2Sm3,
    /// ECDSA (FIPS 186-5, 6).
    Ecdsa(HashAlgorithm),
    /// RSASSA-PKCS1-v1_5 (RFC 8017, 8.2).
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS (RFC 8017, 8.1) with MGF1 over the same hash and as much salt as a digest has.
    RsaPss(HashAlgorithm),
}

/// `RSASSA-PSS-params` (RFC 8017, A.2.3); the defaults, all of SHA-1, are refused.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_length: Option<u8>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

impl SignatureScheme {
    /// By the signatureAlgorithm of a certificate, CRL or CMS signer.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedAlgorithm`] for other algorithms or parameters, those with SHA-1
    /// among them.
    pub fn from_identifier(identifier: &AlgorithmIdentifierOwned) -> Result<Self, FormatError> {
        let unsupported = || FormatError::UnsupportedAlgorithm(identifier.oid.to_string());
        let scheme = match identifier.oid {
            oid::SM2_WITH_SM3 | oid::SM2_SIGN => Self::Sm2Sm3,
            oid::ECDSA_WITH_SHA256 => Self::Ecdsa(HashAlgorithm::Sha256),
            oid::ECDSA_WITH_SHA384 => Self::Ecdsa(HashAlgorithm::Sha384),
            oid::ECDSA_WITH_SHA512 => Self::Ecdsa(HashAlgorithm::Sha512),
            oid::SHA256_WITH_RSA => Self::RsaPkcs1(HashAlgorithm::Sha256),
            oid::SHA384_WITH_RSA => Self::RsaPkcs1(HashAlgorithm::Sha384),
            oid::SHA512_WITH_RSA => Self::RsaPkcs1(HashAlgorithm::Sha512),
            oid::RSASSA_PSS => {
                let parameters = identifier.parameters.as_ref().ok_or_else(unsupported)?;
                return pss_hash(parameters).map(Self::RsaPss).ok_or_else(unsupported);
            }
            _ => return Err(unsupported()),
        };
        without_parameters(identifier).map(|()| scheme)
    }

    /// The signatureAlgorithm to write in certificates, CRLs and RFC 5652 signers.
    pub fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::Sm2Sm3 => (oid::SM2_WITH_SM3, None),
            Self::Ecdsa(HashAlgorithm::Sha384) => (oid::ECDSA_WITH_SHA384, None),
            Self::Ecdsa(HashAlgorithm::Sha512) => (oid::ECDSA_WITH_SHA512, None),
            Self::Ecdsa(_) => (oid::ECDSA_WITH_SHA256, None),
            Self::RsaPkcs1(HashAlgorithm::Sha384) => (oid::SHA384_WITH_RSA, Some(Any::null())),
            Self::RsaPkcs1(HashAlgorithm::Sha512) => (oid::SHA512_WITH_RSA, Some(Any::null())),
            Self::RsaPkcs1(_) => (oid::SHA256_WITH_RSA, Some(Any::null())),
            Self::RsaPss(hash) => (oid::RSASSA_PSS, Some(pss_parameters(hash))),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }

    /// The hash that goes into the signature; for SM2 the one that makes Z and e.
    pub fn hash(self) -> HashAlgorithm {
        match self {
            Self::Sm2Sm3 => HashAlgorithm::Sm3,
            Self::Ecdsa(hash) | Self::RsaPkcs1(hash) | Self::RsaPss(hash) => hash,
        }
    }
}

impl From<Algorithm> for SignatureScheme {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sm2Sm3 => Self::Sm2Sm3,
            Algorithm::EcdsaP256Sha256 => Self::Ecdsa(HashAlgorithm::Sha256),
            Algorithm::RsaPkcs1Sha256 => Self::RsaPkcs1(HashAlgorithm::Sha256),
            Algorithm::RsaPssSha256 => Self::RsaPss(HashAlgorithm::Sha256),
        }
    }
}

/// Parameters are absent, or NULL, as is written for some algorithms and tolerated for all.
pub(crate) fn without_parameters(identifier: &AlgorithmIdentifierOwned) -> Result<(), FormatError> {
    match &identifier.parameters {
        Some(parameters) if !AnyRef::from(parameters).is_null() => {
            Err(FormatError::UnsupportedAlgorithm(format!("{} with parameters", identifier.oid)))
        }
        _ => Ok(()),
    }
}

fn pss_hash(parameters: &Any) -> Option<HashAlgorithm> {
    let parameters = PssParameters::from_der(&parameters.to_der().ok()?).ok()?;
    let hash = HashAlgorithm::from_identifier(&parameters.hash?).ok().filter(|h| h.aws().is_some())?;
    let mask = parameters.mask?;
    let mask_hash: AlgorithmIdentifierOwned = mask.parameters?.decode_as().ok()?;
    let as_expected = mask.oid == oid::MGF1
        && mask_hash.oid == hash.oid()
        && parameters.salt_length.map(usize::from) == Some(hash.len())
        && parameters.trailer.is_none_or(|trailer| trailer == 1);
    as_expected.then_some(hash)
}

fn pss_parameters(hash: HashAlgorithm) -> Any {
    let hash_identifier = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: Some(Any::null()) };
    let why = "a handful of short fields always encodes";
    let mask_hash = Any::encode_from(&hash_identifier).expect(why);
    let parameters = PssParameters {
        hash: Some(hash_identifier),
        mask: Some(AlgorithmIdentifierOwned { oid: oid::MGF1, parameters: Some(mask_hash) }),
        salt_length: Some(hash.len() as u8),
        trailer: None,
    };
    Any::encode_from(&parameters).expect(why)
}
