//! Seals and seal signatures of version 4, in two steps: what is to be signed, and the whole.

use der::asn1::{
    BitStringRef, GeneralizedTime, Ia5StringRef, OctetStringRef, PrintableStringRef, Utf8StringRef,
};
use der::{DateTime, Encode, Tag, TagNumber};
use time::OffsetDateTime;

use super::structure::{MAX_HOLDERS, Picture, Seal};
use crate::algorithm::Algorithm;
use crate::chain::may_sign_documents;
use crate::cms::structure::{context, element};
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::x509::Certificate;

const VERSION: u8 = 4;

/// Who may use a seal that is to be made.
#[derive(Clone, Debug)]
pub enum Holders {
    /// The certificates themselves are listed.
    Certificates(Vec<Certificate>),
    /// Their SM3 digests are listed.
    Digests(Vec<Certificate>),
}

/// What a seal is to be made of.
#[derive(Clone, Debug)]
pub struct SealPlan {
    /// The maker's mark, ASCII.
    pub vendor: String,
    /// The seal's number, ASCII.
    pub id: String,
    /// The kind of seal, by the maker's numbering.
    pub kind: u32,
    /// The name of the seal.
    pub name: String,
    /// Who may use it.
    pub holders: Holders,
    /// When it is made, written to the second.
    pub created: OffsetDateTime,
    /// The first moment of its validity, to the second.
    pub valid_from: OffsetDateTime,
    /// The last second of its validity.
    pub valid_until: OffsetDateTime,
    /// How it looks.
    pub picture: Picture,
    /// The maker's certificate.
    pub maker: Certificate,
    /// How the maker signs.
    pub algorithm: Algorithm,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
}

/// What a seal signature is to be made of.
#[derive(Clone, Debug)]
pub struct SealSignaturePlan {
    /// The seal that is set.
    pub seal: Seal,
    /// When, written to the second.
    pub signed_at: OffsetDateTime,
    /// The digest of what is sealed: SM3 for SM2, SHA-256 otherwise.
    pub data_hash: [u8; 32],
    /// Where that stands, ASCII: in OFD the path of Signature.xml.
    pub property_info: String,
    /// The signer's certificate; the seal must list it.
    pub signer: Certificate,
    /// How the signer signs.
    pub algorithm: Algorithm,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
}

/// What both wait for: octets, the digest of them that a device signs, and by whom.
#[derive(Clone, Debug)]
struct ToSign {
    octets: Vec<u8>,
    digest: [u8; 32],
    certificate: Certificate,
    algorithm: Algorithm,
    key: PublicKey,
}

/// A seal that waits for its maker's signature.
#[derive(Clone, Debug)]
pub struct PendingSeal(ToSign);

/// A seal signature that waits for its signature.
#[derive(Clone, Debug)]
pub struct PendingSealSignature(ToSign);

impl ToSign {
    fn new(
        octets: der::Result<Vec<u8>>,
        certificate: Certificate,
        algorithm: Algorithm,
        signer_id: &[u8],
    ) -> Result<Self, FormatError> {
        if !may_sign_documents(&certificate)? {
            return Err(FormatError::Plan("the certificate is not for signing documents"));
        }
        let octets = octets.map_err(|_| FormatError::Plan("a text or time of the seal cannot be encoded"))?;
        let key = certificate.public_key()?;
        let digest = key.digest(algorithm, signer_id, &octets)?;
        Ok(Self { octets, digest, certificate, algorithm, key })
    }

    /// `SEQUENCE { signed, certificate, algorithm, signature, timestamp? }`.
    fn finish(self, signature: &[u8], timestamp: Option<&[u8]>) -> Result<Vec<u8>, FormatError> {
        self.key.verify_digest(self.algorithm, &self.digest, signature)?;
        self.whole(signature, timestamp).map_err(|error| FormatError::der("seal", error))
    }

    fn whole(&self, signature: &[u8], timestamp: Option<&[u8]>) -> der::Result<Vec<u8>> {
        let timestamp = match timestamp {
            Some(token) => {
                element(context(TagNumber::N0, true), &[&BitStringRef::from_bytes(token)?.to_der()?])?
            }
            None => Vec::new(),
        };
        element(
            Tag::Sequence,
            &[
                &self.octets,
                &OctetStringRef::new(self.certificate.der())?.to_der()?,
                &SignatureScheme::from(self.algorithm).identifier().oid.to_der()?,
                &BitStringRef::from_bytes(signature)?.to_der()?,
                &timestamp,
            ],
        )
    }
}

impl SealPlan {
    /// Settles what the maker signs: `SES_SealInfo`.
    ///
    /// # Errors
    /// [`FormatError::Plan`] for a plan that makes no sense or a certificate not meant for signatures,
    /// [`FormatError::AlgorithmMismatch`] for a key that cannot sign so, [`FormatError::SignerIdLength`].
    pub fn prepare(self) -> Result<PendingSeal, FormatError> {
        let listed = match &self.holders {
            Holders::Certificates(holders) | Holders::Digests(holders) => holders.len(),
        };
        if !(1..=MAX_HOLDERS).contains(&listed) {
            return Err(FormatError::Plan("a seal lists from 1 to 1,000 certificates"));
        }
        if self.valid_until < self.valid_from {
            return Err(FormatError::Plan("the seal's validity ends before it begins"));
        }
        if self.picture.octets.is_empty() || self.picture.width == 0 || self.picture.height == 0 {
            return Err(FormatError::Plan("the seal's picture is empty"));
        }
        if matches!(self.algorithm, Algorithm::RsaPssSha256) {
            return Err(FormatError::Plan("a seal names its algorithm without the parameters RSA-PSS needs"));
        }
        ToSign::new(self.seal_info(), self.maker, self.algorithm, &self.signer_id).map(PendingSeal)
    }

    fn seal_info(&self) -> der::Result<Vec<u8>> {
        let header = element(
            Tag::Sequence,
            &[
                &Ia5StringRef::new("ES")?.to_der()?,
                &VERSION.to_der()?,
                &Ia5StringRef::new(&self.vendor)?.to_der()?,
            ],
        )?;
        let (list_type, list) = match &self.holders {
            Holders::Certificates(holders) => {
                let one = |holder: &Certificate| OctetStringRef::new(holder.der())?.to_der();
                (1u8, holders.iter().map(one).collect::<der::Result<Vec<_>>>()?)
            }
            Holders::Digests(holders) => {
                let one = |holder: &Certificate| {
                    let digest = HashAlgorithm::Sm3.digest(holder.der());
                    let kind = PrintableStringRef::new("SM3")?.to_der()?;
                    element(Tag::Sequence, &[&kind, &OctetStringRef::new(&digest)?.to_der()?])
                };
                (2u8, holders.iter().map(one).collect::<der::Result<Vec<_>>>()?)
            }
        };
        let property = element(
            Tag::Sequence,
            &[
                &self.kind.to_der()?,
                &Utf8StringRef::new(&self.name)?.to_der()?,
                &list_type.to_der()?,
                &element(Tag::Sequence, &list.iter().map(Vec::as_slice).collect::<Vec<_>>())?,
                &time(self.created)?,
                &time(self.valid_from)?,
                &time(self.valid_until)?,
            ],
        )?;
        let picture = element(
            Tag::Sequence,
            &[
                &Ia5StringRef::new(&self.picture.kind)?.to_der()?,
                &OctetStringRef::new(&self.picture.octets)?.to_der()?,
                &self.picture.width.to_der()?,
                &self.picture.height.to_der()?,
            ],
        )?;
        let id = Ia5StringRef::new(&self.id)?.to_der()?;
        element(Tag::Sequence, &[&header, &id, &property, &picture])
    }
}

impl PendingSeal {
    /// `SES_SealInfo` in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.0.octets
    }

    /// e (SM2) or the SHA-256 of [`to_be_signed`](Self::to_be_signed): for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts it in.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`].
    pub fn finish(self, signature: &[u8]) -> Result<Seal, FormatError> {
        Seal::from_der(&self.0.finish(signature, None)?)
    }
}

impl SealSignaturePlan {
    /// Settles what the signer signs: `TBS_Sign`. Whether the seal is good is not judged here.
    ///
    /// # Errors
    /// As [`SealPlan::prepare`].
    pub fn prepare(self) -> Result<PendingSealSignature, FormatError> {
        if matches!(self.algorithm, Algorithm::RsaPssSha256) {
            return Err(FormatError::Plan("a seal names its algorithm without the parameters RSA-PSS needs"));
        }
        let to_sign = self.to_sign();
        ToSign::new(to_sign, self.signer, self.algorithm, &self.signer_id).map(PendingSealSignature)
    }

    fn to_sign(&self) -> der::Result<Vec<u8>> {
        element(
            Tag::Sequence,
            &[
                &VERSION.to_der()?,
                self.seal.der(),
                &time(self.signed_at)?,
                &BitStringRef::from_bytes(&self.data_hash)?.to_der()?,
                &Ia5StringRef::new(&self.property_info)?.to_der()?,
            ],
        )
    }
}

impl PendingSealSignature {
    /// `TBS_Sign` in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.0.octets
    }

    /// e (SM2) or the SHA-256 of [`to_be_signed`](Self::to_be_signed): for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts everything together: `SES_Signature` in DER, with a
    /// timestamp token (DER) over the octets of `signature`, if there is one.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`].
    pub fn finish(self, signature: &[u8], timestamp: Option<&[u8]>) -> Result<Vec<u8>, FormatError> {
        self.0.finish(signature, timestamp)
    }
}

/// GeneralizedTime in UTC, to the second.
fn time(time: OffsetDateTime) -> der::Result<Vec<u8>> {
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| Tag::GeneralizedTime.value_error())?;
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
    GeneralizedTime::from_date_time(date).to_der()
}
