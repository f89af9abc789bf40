//! TimeStampReq (RFC 3161, 2.4.1; GB/T 20520 has the same): read from anybody, and written for another authority.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;

use crate::cms::structure::{context, element, optional, sequence};
use crate::error::FormatError;
use crate::scheme::HashAlgorithm;

/// The largest request that is read, octets: an imprint, a policy and a nonce take less than 300.
pub const MAX_REQUEST: usize = 4096;
/// The largest nonce, octets.
const MAX_NONCE: usize = 64;

/// What is to be stamped: a hash function and what it made of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imprint {
    hash: HashAlgorithm,
    /// As it came: the token must repeat it (RFC 3161, 2.4.2).
    identifier: AlgorithmIdentifierOwned,
    digest: Vec<u8>,
}

impl Imprint {
    /// An imprint by one of the hash functions that this crate knows.
    ///
    /// # Errors
    /// [`FormatError::Plan`] for a digest of another length than the hash function makes.
    pub fn new(hash: HashAlgorithm, digest: &[u8]) -> Result<Self, FormatError> {
        if digest.len() != hash.len() {
            return Err(FormatError::Plan("the hash function makes digests of another length"));
        }
        let identifier = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None };
        Ok(Self { hash, identifier, digest: digest.to_vec() })
    }

    /// The hash function.
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// What it made, as many octets as it makes.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// MessageImprint in DER.
    pub(super) fn to_der(&self) -> der::Result<Vec<u8>> {
        let digest = OctetStringRef::new(&self.digest)?.to_der()?;
        element(Tag::Sequence, &[&self.identifier.to_der()?, &digest])
    }
}

/// What an asker sends along to know its answer again: an INTEGER of up to 64 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// The non-negative number that these octets are, the most significant first; none of no or too many octets.
    pub fn from_unsigned(octets: &[u8]) -> Option<Self> {
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let mut number = octets.get(zeros..).unwrap_or_default().to_vec();
        if octets.is_empty() || number.len() >= MAX_NONCE {
            return None;
        }
        if number.first().is_none_or(|first| first & 0x80 != 0) {
            number.insert(0, 0);
        }
        Some(Self(number))
    }

    /// In lower-case hexadecimal, as a token's is told.
    pub fn to_hex(&self) -> String {
        super::hexadecimal(&self.0)
    }

    /// The content of an INTEGER, in the fewest octets (X.690, 8.3.2).
    fn from_content(octets: &[u8]) -> Option<Self> {
        let padded = matches!(octets, [0, second, ..] if second & 0x80 == 0)
            || matches!(octets, [0xff, second, ..] if second & 0x80 != 0);
        ((1..=MAX_NONCE).contains(&octets.len()) && !padded).then(|| Self(octets.to_vec()))
    }

    pub(super) fn to_der(&self) -> der::Result<Vec<u8>> {
        element(Tag::Integer, &[&self.0])
    }
}

/// A request for a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampRequest {
    /// Over what.
    pub imprint: Imprint,
    /// Under which policy; any of the authority's if none.
    pub policy: Option<ObjectIdentifier>,
    /// What the token has to repeat.
    pub nonce: Option<Nonce>,
    /// Whether the token is to hold the authority's certificate.
    pub certificates: bool,
}

/// PKIFailureInfo (RFC 3161, 2.4.2), with the numbers of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The hash function is not known, or not trusted.
    BadAlg = 0,
    /// Not permitted or not supported.
    BadRequest = 2,
    /// It has the wrong form.
    BadDataFormat = 5,
    /// The authority's time source is not available.
    TimeNotAvailable = 14,
    /// The policy is not one of the authority's.
    UnacceptedPolicy = 15,
    /// The authority does not support the extension.
    UnacceptedExtension = 16,
    /// The additional information cannot be understood, or is not there.
    AddInfoNotAvailable = 17,
    /// The authority failed.
    SystemFailure = 25,
}

impl Failure {
    /// Its name in RFC 3161.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadAlg => "badAlg",
            Self::BadRequest => "badRequest",
            Self::BadDataFormat => "badDataFormat",
            Self::TimeNotAvailable => "timeNotAvailable",
            Self::UnacceptedPolicy => "unacceptedPolicy",
            Self::UnacceptedExtension => "unacceptedExtension",
            Self::AddInfoNotAvailable => "addInfoNotAvailable",
            Self::SystemFailure => "systemFailure",
        }
    }
}

/// Why a request is not answered with a token, for the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub failure: Failure,
    /// For people, in English.
    pub text: &'static str,
}

impl Refusal {
    fn new(failure: Failure, text: &'static str) -> Self {
        Self { failure, text }
    }
}

impl TimestampRequest {
    /// Reads a request in DER. Beyond DER only a certReq that is there and FALSE is let pass, which some write.
    ///
    /// # Errors
    /// The [`Refusal`] to answer: `badDataFormat` for what is no request, has a digest of a wrong length or a nonce of
    /// more than 64 octets; `badRequest` for another version; `badAlg` for hash functions other than SM3, SHA-256,
    /// SHA-384 and SHA-512; `unacceptedExtension` for any extension.
    pub fn from_der(der: &[u8]) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::new(Failure::BadDataFormat, "it is no TimeStampReq in DER");
        if der.len() > MAX_REQUEST {
            return Err(Refusal::new(Failure::BadDataFormat, "it is too long"));
        }
        let raw = Raw::decode(der).map_err(malformed)?;
        if raw.version != [1] {
            return Err(Refusal::new(Failure::BadRequest, "its version is not 1"));
        }
        if raw.extensions {
            return Err(Refusal::new(Failure::UnacceptedExtension, "no extension is supported"));
        }
        let hash = HashAlgorithm::from_identifier(&raw.hash)
            .map_err(|_| Refusal::new(Failure::BadAlg, "the hash function is not supported"))?;
        if raw.digest.len() != hash.len() {
            return Err(Refusal::new(
                Failure::BadDataFormat,
                "the digest has not the hash function's length",
            ));
        }
        let nonce = raw.nonce.map(|octets| {
            Nonce::from_content(octets)
                .ok_or(Refusal::new(Failure::BadDataFormat, "the nonce has more than 64 octets or is padded"))
        });
        Ok(Self {
            imprint: Imprint { hash, identifier: raw.hash, digest: raw.digest.to_vec() },
            policy: raw.policy,
            nonce: nonce.transpose()?,
            certificates: raw.certificates,
        })
    }

    /// The request in DER.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] never for what this crate made; it is what the encoder could answer.
    pub fn to_der(&self) -> Result<Vec<u8>, FormatError> {
        self.encode().map_err(|error| FormatError::der("TimeStampReq", error))
    }

    fn encode(&self) -> der::Result<Vec<u8>> {
        let policy = self.policy.map(|policy| policy.to_der()).transpose()?.unwrap_or_default();
        let nonce = self.nonce.as_ref().map(Nonce::to_der).transpose()?.unwrap_or_default();
        let certificates = if self.certificates { true.to_der()? } else { Vec::new() };
        element(Tag::Sequence, &[&1u8.to_der()?, &self.imprint.to_der()?, &policy, &nonce, &certificates])
    }
}

/// A request whose structure is right.
struct Raw<'a> {
    version: &'a [u8],
    hash: AlgorithmIdentifierOwned,
    digest: &'a [u8],
    policy: Option<ObjectIdentifier>,
    nonce: Option<&'a [u8]>,
    certificates: bool,
    extensions: bool,
}

impl<'a> Raw<'a> {
    fn decode(der: &'a [u8]) -> der::Result<Self> {
        sequence(der, |reader| {
            let version = integer(reader.tlv_bytes()?)?;
            let (hash, digest) = sequence(reader.tlv_bytes()?, |imprint| {
                let hash = AlgorithmIdentifierOwned::decode(imprint)?;
                Ok((hash, OctetStringRef::decode(imprint)?.as_bytes()))
            })?;
            let policy =
                optional(reader, Tag::ObjectIdentifier)?.map(ObjectIdentifier::from_der).transpose()?;
            let nonce = optional(reader, Tag::Integer)?.map(integer).transpose()?;
            let certificates = optional(reader, Tag::Boolean)?.map(bool::from_der).transpose()?;
            let extensions = optional(reader, context(TagNumber::N0, true))?;
            if let Some(extensions) = extensions {
                check_extensions(extensions)?;
            }
            Ok(Self {
                version,
                hash,
                digest,
                policy,
                nonce,
                certificates: certificates.unwrap_or(false),
                extensions: extensions.is_some(),
            })
        })
    }
}

/// The content of an INTEGER.
fn integer(der: &[u8]) -> der::Result<&[u8]> {
    let integer = AnyRef::from_der(der)?;
    der::Tagged::tag(&integer).assert_eq(Tag::Integer)?;
    Ok(integer.value())
}

/// Extensions are refused whatever they are; what is none is no request.
fn check_extensions(tagged: &[u8]) -> der::Result<()> {
    let mut reader = SliceReader::new(AnyRef::from_der(tagged)?.value())?;
    while !reader.is_finished() {
        x509_cert::ext::Extension::decode(&mut reader)?;
    }
    Ok(())
}
