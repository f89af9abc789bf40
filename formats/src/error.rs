//! Why bytes could not be read, built or verified.

use sm2_verify::Sm2Error;

use crate::algorithm::Algorithm;

/// The one error of this crate. Verdicts on signatures are [`Judgement`](crate::Judgement)s; this
/// is for what cannot be judged or built at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are not the structure named.
    #[error("not a {what}: {reason}")]
    Malformed {
        /// The structure expected, such as `certificate`.
        what: &'static str,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// BER with indefinite lengths, where only DER is read.
    #[error("the {what} is BER with indefinite lengths, only DER is read")]
    BerNotSupported {
        /// The structure expected.
        what: &'static str,
    },
    /// A public key of a kind or curve this crate does not verify with.
    #[error("public key algorithm {0} is not supported")]
    UnsupportedKey(String),
    /// An RSA modulus under 2048 or over 8192 bits.
    #[error("an RSA modulus of {bits} bits, from 2048 to 8192 are accepted")]
    RsaModulus {
        /// The modulus length found, in bits.
        bits: usize,
    },
    /// A signature or digest algorithm this crate does not verify.
    #[error("signature or digest algorithm {0} is not supported")]
    UnsupportedAlgorithm(String),
    /// The algorithm is not one for this kind of key.
    #[error("{algorithm} does not go with a key of type {key}")]
    AlgorithmMismatch {
        /// The signature algorithm asked for.
        algorithm: String,
        /// The kind of key, such as `P-256`.
        key: &'static str,
    },
    /// The two places of a certificate, CRL or signer that name the algorithm disagree.
    #[error("the signature algorithm is named twice, differently")]
    AlgorithmsDiffer,
    /// The signature does not verify, or is not in its strict encoding.
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// A signer identifier that is too long (GB/T 32918.2, 5.5).
    #[error("the signer identifier has {0} bytes, at most 8191 fit")]
    SignerIdLength(usize),
    /// A plan to build something that would not be valid.
    #[error("{0}")]
    Plan(&'static str),
}

impl FormatError {
    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }

    pub(crate) fn der(what: &'static str, error: der::Error) -> Self {
        match error.kind() {
            der::ErrorKind::IndefiniteLength => Self::BerNotSupported { what },
            _ => Self::malformed(what, error),
        }
    }

    pub(crate) fn mismatch(algorithm: Algorithm, key: &'static str) -> Self {
        Self::AlgorithmMismatch { algorithm: algorithm.to_string(), key }
    }
}

impl From<Sm2Error> for FormatError {
    fn from(error: Sm2Error) -> Self {
        match error {
            Sm2Error::IdLength(length) => Self::SignerIdLength(length),
            Sm2Error::PublicKey => Self::malformed("SM2 public key", error),
            _ => Self::SignatureInvalid,
        }
    }
}
