//! SignedData in two steps, so that whoever holds the key needs to know no ASN.1.

use der::Encode;
use der::asn1::OctetStringRef;
use time::OffsetDateTime;
use x509_cert::time::Time;

use super::assemble::{self, Assembly};
use super::{Content, Family};
use crate::algorithm::Algorithm;
use crate::chain::may_sign_documents;
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::oid;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::x509::Certificate;

/// What a SignedData with one signer is to be made of.
#[derive(Clone, Debug)]
pub struct SignedDataPlan {
    /// Whose object identifiers to write.
    pub family: Family,
    /// How the key signs.
    pub algorithm: Algorithm,
    /// What is signed.
    pub content: Content,
    /// Is the content left out of the result?
    pub detached: bool,
    /// The certificates to include, the signer's first.
    pub chain: Vec<Certificate>,
    /// The time the signer claims, written to the second; none where the document says it (EN 319 142-1, 6.3).
    pub signing_time: Option<OffsetDateTime>,
    /// The identifier in SM2's Z; the other algorithms do not use it.
    pub signer_id: Vec<u8>,
}

/// A SignedData that waits for its signature. It is used up by [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Pending {
    plan: SignedDataPlan,
    key: PublicKey,
    /// DER, a universal SET OF.
    signed_attributes: Vec<u8>,
    digest: [u8; 32],
}

/// Settles everything that is to be signed.
///
/// # Errors
/// [`FormatError::Plan`] for a plan that makes no sense or a certificate not meant for signatures,
/// [`FormatError::AlgorithmMismatch`] for a key that cannot sign so,
/// [`FormatError::SignerIdLength`], and those of [`Certificate::public_key`].
pub fn prepare(plan: SignedDataPlan) -> Result<Pending, FormatError> {
    let signer = plan.chain.first().ok_or(FormatError::Plan("the chain lacks the signer's certificate"))?;
    if !may_sign_documents(signer)? {
        return Err(FormatError::Plan("the signer's certificate is not for signing documents"));
    }
    let hash = SignatureScheme::from(plan.algorithm).hash();
    let message_digest = match &plan.content {
        Content::Bytes(content) => hash.digest(content),
        Content::Digest(digest) if plan.detached => digest.to_vec(),
        Content::Digest(_) => return Err(FormatError::Plan("a digest can only be signed detached")),
    };
    let signing_time = plan.signing_time.map(signing_time).transpose()?;
    let key = signer.public_key()?;
    let signed_attributes =
        signed_attributes(plan.family, hash, signer, &message_digest, signing_time.as_ref())
            .map_err(|error| FormatError::der("set of signed attributes", error))?;
    let digest = key.digest(plan.algorithm, &plan.signer_id, &signed_attributes)?;
    Ok(Pending { plan, key, signed_attributes, digest })
}

/// What a key signs over a digest in a detached SignedData of GB/T 35275 that tells no time: its signed attributes, a SET OF in DER.
/// They do not depend on the certificate, so that they are known before it is known who signs.
///
/// # Errors
/// [`FormatError::Malformed`], of what cannot be encoded.
pub fn attributes_over(digest: &[u8; 32]) -> Result<Vec<u8>, FormatError> {
    let attributes = || {
        assemble::attributes(vec![
            (oid::CONTENT_TYPE, Family::Gbt35275.data().to_der()?),
            (oid::MESSAGE_DIGEST, OctetStringRef::new(digest)?.to_der()?),
        ])
    };
    attributes().map_err(|error| FormatError::der("set of signed attributes", error))
}

impl Pending {
    /// The signed attributes, a SET OF in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.signed_attributes
    }

    /// e (SM2) or the SHA-256 of [`to_be_signed`](Self::to_be_signed): for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts everything together: a ContentInfo in DER.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`]; [`FormatError::Malformed`] for content over 256 MiB.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, FormatError> {
        self.key.verify_digest(self.plan.algorithm, &self.digest, signature)?;
        self.content_info(signature).map_err(|error| FormatError::der("CMS SignedData", error))
    }

    fn content_info(&self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let Self { plan, .. } = self;
        let content = match &plan.content {
            Content::Bytes(content) if !plan.detached => Some(&content[..]),
            _ => None,
        };
        Assembly {
            family: plan.family,
            algorithm: plan.algorithm,
            version: 1,
            content_type: plan.family.data(),
            content,
            certificates: &plan.chain,
            signer: &plan.chain[0],
            signed_attributes: &self.signed_attributes,
        }
        .content_info(signature)
    }
}

fn signed_attributes(
    family: Family,
    hash: HashAlgorithm,
    signer: &Certificate,
    message_digest: &[u8],
    signing_time: Option<&Time>,
) -> der::Result<Vec<u8>> {
    let mut attributes = vec![
        (oid::CONTENT_TYPE, family.data().to_der()?),
        (oid::MESSAGE_DIGEST, OctetStringRef::new(message_digest)?.to_der()?),
    ];
    if let Some(time) = signing_time {
        attributes.push((oid::SIGNING_TIME, time.to_der()?));
    }
    if family == Family::Rfc5652 {
        attributes.push((oid::SIGNING_CERTIFICATE_V2, assemble::signing_certificate(hash, signer)?));
    }
    assemble::attributes(attributes)
}

/// UTCTime to the end of 2049, GeneralizedTime after it (RFC 5652, 11.3).
fn signing_time(time: OffsetDateTime) -> Result<Time, FormatError> {
    let out_of_range = FormatError::Plan("the signing time is not between 1970 and 9999");
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| out_of_range.clone())?;
    let date_time = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))
        .map_err(|_| out_of_range.clone())?;
    if date_time.year() <= der::asn1::UtcTime::MAX_YEAR {
        der::asn1::UtcTime::from_date_time(date_time).map(Time::UtcTime).map_err(|_| out_of_range)
    } else {
        Ok(Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(date_time)))
    }
}
