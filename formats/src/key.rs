//! Public keys, and whether a signature is theirs.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{self as aws, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitString, UintRef};
use der::{Decode, Encode, Sequence};
use sm2_verify::{Verification, Verifier};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::algorithm::Algorithm;
use crate::error::FormatError;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::{oid, pem};

/// A public key, valid by construction: a point on its curve, or an RSA modulus of 2048 to 8192 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// SM2 (GB/T 32918.5).
    Sm2(sm2_verify::PublicKey),
    /// P-256 (FIPS 186-5).
    P256(EcPoint),
    /// P-384 (FIPS 186-5).
    P384(EcPoint),
    /// RSA (RFC 8017).
    Rsa(RsaKey),
}

/// An uncompressed point `04 ‖ X ‖ Y` that was found on its curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcPoint(Vec<u8>);

impl EcPoint {
    /// `04 ‖ X ‖ Y`.
    pub fn as_sec1(&self) -> &[u8] {
        &self.0
    }
}

/// An RSA public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaKey {
    pkcs1: Vec<u8>,
    bits: usize,
}

impl RsaKey {
    /// `RSAPublicKey` in DER (RFC 8017, A.1.1).
    pub fn as_pkcs1(&self) -> &[u8] {
        &self.pkcs1
    }

    /// The length of the modulus in bits.
    pub fn bits(&self) -> usize {
        self.bits
    }
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

const WHAT: &str = "public key";
const LABEL: &str = "PUBLIC KEY";

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for anything that is not one, trailing bytes included;
    /// [`FormatError::UnsupportedKey`] for kinds and curves not known here;
    /// [`FormatError::RsaModulus`] for RSA keys too short or too long.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, FormatError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(der).map_err(|e| FormatError::der(WHAT, e))?;
        Self::from_spki(&spki)
    }

    /// Reads the one `PUBLIC KEY` block in `text`.
    ///
    /// # Errors
    /// As [`from_spki_der`](Self::from_spki_der), and for text without such a block or with several.
    pub fn from_pem(text: &str) -> Result<Self, FormatError> {
        Self::from_spki_der(&pem::single(WHAT, LABEL, text)?)
    }

    /// An SM2 key from its point `04 ‖ X ‖ Y`.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when that is no point of the curve.
    pub fn sm2_from_sec1(point: &[u8]) -> Result<Self, FormatError> {
        Ok(Self::Sm2(sm2_verify::PublicKey::from_sec1(point)?))
    }

    /// A P-256 key from its point `04 ‖ X ‖ Y`.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when that is no point of the curve.
    pub fn p256_from_sec1(sec1: &[u8]) -> Result<Self, FormatError> {
        point(sec1, 65, &aws::ECDSA_P256_SHA256_ASN1).map(Self::P256)
    }

    /// An RSA key from modulus and exponent, both big-endian.
    ///
    /// # Errors
    /// [`FormatError::RsaModulus`], and [`FormatError::Malformed`] for numbers that are no key.
    pub fn rsa_from_parts(modulus: &[u8], exponent: &[u8]) -> Result<Self, FormatError> {
        let failed = |error| FormatError::der("RSA public key", error);
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(failed)?,
            public_exponent: UintRef::new(exponent).map_err(failed)?,
        };
        rsa(&key.to_der().map_err(failed)?).map(Self::Rsa)
    }

    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, FormatError> {
        let key = spki
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| FormatError::malformed(WHAT, "its bits are no whole octets"))?;
        let curve =
            || spki.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        match (spki.algorithm.oid, curve()) {
            (oid::EC_PUBLIC_KEY, Some(oid::SM2_CURVE)) => {
                Ok(Self::Sm2(sm2_verify::PublicKey::from_sec1(key)?))
            }
            (oid::EC_PUBLIC_KEY, Some(oid::P256_CURVE)) => {
                point(key, 65, &aws::ECDSA_P256_SHA256_ASN1).map(Self::P256)
            }
            (oid::EC_PUBLIC_KEY, Some(oid::P384_CURVE)) => {
                point(key, 97, &aws::ECDSA_P384_SHA384_ASN1).map(Self::P384)
            }
            (oid::EC_PUBLIC_KEY, Some(other)) => Err(FormatError::UnsupportedKey(other.to_string())),
            (oid::RSA_ENCRYPTION, _) => rsa(key).map(Self::Rsa),
            (other, _) => Err(FormatError::UnsupportedKey(other.to_string())),
        }
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> Vec<u8> {
        let (oid, parameters, key) = match self {
            Self::Sm2(key) => (oid::EC_PUBLIC_KEY, Any::from(oid::SM2_CURVE), key.to_sec1().to_vec()),
            Self::P256(point) => (oid::EC_PUBLIC_KEY, Any::from(oid::P256_CURVE), point.0.clone()),
            Self::P384(point) => (oid::EC_PUBLIC_KEY, Any::from(oid::P384_CURVE), point.0.clone()),
            Self::Rsa(key) => (oid::RSA_ENCRYPTION, Any::null(), key.pkcs1.clone()),
        };
        let algorithm = AlgorithmIdentifierOwned { oid, parameters: Some(parameters) };
        BitString::from_bytes(&key)
            .and_then(|subject_public_key| {
                SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der()
            })
            .expect("a key of at most a few kilobytes always encodes")
    }

    /// The SubjectPublicKeyInfo as a `PUBLIC KEY` block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.spki_der())
    }

    /// Can this key have made signatures of `algorithm`?
    pub fn supports(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Sm2(_), Algorithm::Sm2Sm3)
                | (Self::P256(_), Algorithm::EcdsaP256Sha256)
                | (Self::Rsa(_), Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256)
        )
    }

    /// The 32 bytes a device signs for `message`: e of GB/T 32918.2 for SM2, SHA-256 otherwise,
    /// when `signer_id` plays no part.
    ///
    /// # Errors
    /// [`FormatError::AlgorithmMismatch`], and [`FormatError::SignerIdLength`].
    pub fn digest(
        &self,
        algorithm: Algorithm,
        signer_id: &[u8],
        message: &[u8],
    ) -> Result<[u8; 32], FormatError> {
        match self {
            Self::Sm2(key) if algorithm == Algorithm::Sm2Sm3 => Ok(sm2_verify::e(signer_id, key, message)?),
            _ if self.supports(algorithm) => {
                let mut digest = [0; 32];
                digest.copy_from_slice(&HashAlgorithm::Sha256.digest(message));
                Ok(digest)
            }
            _ => Err(FormatError::mismatch(algorithm, self.kind())),
        }
    }

    /// Checks a signature over `message`. ECDSA and SM2 signatures are strict DER.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`], [`FormatError::AlgorithmMismatch`] and
    /// [`FormatError::SignerIdLength`].
    pub fn verify_message(
        &self,
        algorithm: Algorithm,
        signer_id: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), FormatError> {
        self.verify_digest(algorithm, &self.digest(algorithm, signer_id, message)?, signature)
    }

    /// Checks a signature over a digest as [`digest`](Self::digest) makes it.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`] and [`FormatError::AlgorithmMismatch`].
    pub fn verify_digest(
        &self,
        algorithm: Algorithm,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<(), FormatError> {
        self.verify_digest_with(algorithm, digest, signature, None)
    }

    /// [`verify_digest`](Self::verify_digest) with `verifier`'s tables for SM2 keys that come often.
    ///
    /// # Errors
    /// As [`verify_digest`](Self::verify_digest).
    pub fn verify_digest_with(
        &self,
        algorithm: Algorithm,
        digest: &[u8; 32],
        signature: &[u8],
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        match (self, verifier) {
            _ if !self.supports(algorithm) => Err(FormatError::mismatch(algorithm, self.kind())),
            (Self::Sm2(key), Some(verifier)) => {
                Ok(verifier.verify(key, digest, &sm2_verify::Signature::from_der(signature)?)?)
            }
            _ => self.verify_scheme_digest(algorithm.into(), digest, signature),
        }
    }

    /// Checks a signature over `message` by any scheme a certificate authority may have used.
    ///
    /// # Errors
    /// As [`verify_message`](Self::verify_message).
    pub fn verify_scheme(
        &self,
        scheme: SignatureScheme,
        signer_id: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), FormatError> {
        self.verify_scheme_with(scheme, signer_id, message, signature, None)
    }

    /// [`verify_scheme`](Self::verify_scheme) with `verifier`'s tables for SM2 keys that come often.
    ///
    /// # Errors
    /// As [`verify_message`](Self::verify_message).
    pub fn verify_scheme_with(
        &self,
        scheme: SignatureScheme,
        signer_id: &[u8],
        message: &[u8],
        signature: &[u8],
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        match (self, scheme) {
            (Self::Sm2(key), SignatureScheme::Sm2Sm3) => {
                let e = sm2_verify::e(signer_id, key, message)?;
                let signature = sm2_verify::Signature::from_der(signature)?;
                match verifier {
                    Some(verifier) => verifier.verify(key, &e, &signature)?,
                    None => sm2_verify::verify(key, &e, &signature)?,
                }
                Ok(())
            }
            _ => self.verify_scheme_digest(scheme, &scheme.hash().digest(message), signature),
        }
    }

    /// Checks a signature over a digest: e for SM2, the scheme's hash of the message otherwise.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`] and [`FormatError::AlgorithmMismatch`].
    pub fn verify_scheme_digest(
        &self,
        scheme: SignatureScheme,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), FormatError> {
        let mismatch =
            || FormatError::AlgorithmMismatch { algorithm: format!("{scheme:?}"), key: self.kind() };
        let invalid = |_| FormatError::SignatureInvalid;
        if let (Self::Sm2(key), SignatureScheme::Sm2Sm3) = (self, scheme) {
            let e: &[u8; 32] = digest.try_into().map_err(|_| FormatError::SignatureInvalid)?;
            return Ok(sm2_verify::verify(key, e, &sm2_verify::Signature::from_der(signature)?)?);
        }
        let (verifier, key) = self.aws_verifier(scheme).ok_or_else(mismatch)?;
        let algorithm = scheme.hash().aws().ok_or_else(mismatch)?;
        let digest = Digest::import_less_safe(digest, algorithm).map_err(invalid)?;
        UnparsedPublicKey::new(verifier, key).verify_digest(&digest, signature).map_err(invalid)
    }

    /// For people: `SM2`, `P-256`, `P-384` or `RSA`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sm2(_) => "SM2",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Rsa(_) => "RSA",
        }
    }

    fn aws_verifier(&self, scheme: SignatureScheme) -> Option<(&'static dyn VerificationAlgorithm, &[u8])> {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        use SignatureScheme::{Ecdsa, RsaPkcs1, RsaPss};
        let (verifier, key): (&'static dyn VerificationAlgorithm, &[u8]) = match (self, scheme) {
            (Self::P256(point), Ecdsa(Sha256)) => (&aws::ECDSA_P256_SHA256_ASN1, &point.0),
            (Self::P256(point), Ecdsa(Sha384)) => (&aws::ECDSA_P256_SHA384_ASN1, &point.0),
            (Self::P256(point), Ecdsa(Sha512)) => (&aws::ECDSA_P256_SHA512_ASN1, &point.0),
            (Self::P384(point), Ecdsa(Sha256)) => (&aws::ECDSA_P384_SHA256_ASN1, &point.0),
            (Self::P384(point), Ecdsa(Sha384)) => (&aws::ECDSA_P384_SHA384_ASN1, &point.0),
            (Self::P384(point), Ecdsa(Sha512)) => (&aws::ECDSA_P384_SHA512_ASN1, &point.0),
            (Self::Rsa(key), RsaPkcs1(Sha256)) => (&aws::RSA_PKCS1_2048_8192_SHA256, &key.pkcs1),
            (Self::Rsa(key), RsaPkcs1(Sha384)) => (&aws::RSA_PKCS1_2048_8192_SHA384, &key.pkcs1),
            (Self::Rsa(key), RsaPkcs1(Sha512)) => (&aws::RSA_PKCS1_2048_8192_SHA512, &key.pkcs1),
            (Self::Rsa(key), RsaPss(Sha256)) => (&aws::RSA_PSS_2048_8192_SHA256, &key.pkcs1),
            (Self::Rsa(key), RsaPss(Sha384)) => (&aws::RSA_PSS_2048_8192_SHA384, &key.pkcs1),
            (Self::Rsa(key), RsaPss(Sha512)) => (&aws::RSA_PSS_2048_8192_SHA512, &key.pkcs1),
            _ => return None,
        };
        Some((verifier, key))
    }
}

/// A signature over a digest as [`PublicKey::digest`] makes it, and whose it should be.
#[derive(Clone, Copy, Debug)]
pub struct DigestSignature<'a> {
    /// Whose it should be.
    pub key: &'a PublicKey,
    /// How it was made.
    pub algorithm: Algorithm,
    /// Over what.
    pub digest: [u8; 32],
    /// Strict DER for SM2 and ECDSA.
    pub signature: &'a [u8],
}

/// What [`PublicKey::verify_digest_with`] says of each, in their order; those of SM2 are verified together.
pub fn verify_digests(all: &[DigestSignature<'_>], verifier: &Verifier) -> Vec<Result<(), FormatError>> {
    let of_sm2 = |one: &DigestSignature<'_>| match (one.key, one.algorithm) {
        (PublicKey::Sm2(_), Algorithm::Sm2Sm3) => sm2_verify::Signature::from_der(one.signature).ok(),
        _ => None,
    };
    let of_sm2: Vec<_> = all.iter().map(of_sm2).collect();
    let mut questions = Vec::with_capacity(all.len());
    for (one, signature) in all.iter().zip(&of_sm2) {
        if let (PublicKey::Sm2(key), Some(signature)) = (one.key, signature) {
            questions.push(Verification { key, e: &one.digest, signature });
        }
    }
    let mut together = verifier.verify_batch(&questions).into_iter();
    let answer = |(one, of_sm2): (&DigestSignature<'_>, &Option<_>)| match of_sm2 {
        Some(_) => Ok(together.next().expect("every question has its answer")?),
        None => one.key.verify_digest_with(one.algorithm, &one.digest, one.signature, Some(verifier)),
    };
    all.iter().zip(&of_sm2).map(answer).collect()
}

fn point(
    sec1: &[u8],
    length: usize,
    curve: &'static dyn VerificationAlgorithm,
) -> Result<EcPoint, FormatError> {
    if sec1.len() != length || sec1[0] != 4 {
        return Err(FormatError::malformed(WHAT, "its point is not uncompressed"));
    }
    ParsedPublicKey::new(curve, sec1)
        .map_err(|_| FormatError::malformed(WHAT, "its point is not on the curve"))?;
    Ok(EcPoint(sec1.to_vec()))
}

fn rsa(pkcs1: &[u8]) -> Result<RsaKey, FormatError> {
    let key = RsaPublicKey::from_der(pkcs1).map_err(|e| FormatError::der("RSA public key", e))?;
    let modulus = key.modulus.as_bytes();
    let leading = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    let bits = modulus.len() * 8 - leading.min(modulus.len() * 8);
    if !(2048..=8192).contains(&bits) {
        return Err(FormatError::RsaModulus { bits });
    }
    ParsedPublicKey::new(&aws::RSA_PKCS1_2048_8192_SHA256, pkcs1)
        .map_err(|_| FormatError::malformed("RSA public key", "its modulus or exponent is unusable"))?;
    Ok(RsaKey { pkcs1: pkcs1.to_vec(), bits })
}
