//! SignedData in two steps, so that whoever holds the key needs to know no ASN.1.

use der::asn1::OctetStringRef;
use der::{Encode, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::time::Time;

use super::structure::{context, element, set_of};
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
    /// The time the signer claims, written to the second.
    pub signing_time: OffsetDateTime,
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
    let signing_time = signing_time(plan.signing_time)?;
    let key = signer.public_key()?;
    let signed_attributes = signed_attributes(plan.family, hash, signer, &message_digest, &signing_time)
        .map_err(|error| FormatError::der("set of signed attributes", error))?;
    let digest = key.digest(plan.algorithm, &plan.signer_id, &signed_attributes)?;
    Ok(Pending { plan, key, signed_attributes, digest })
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
        let hash = SignatureScheme::from(plan.algorithm).hash();
        let version = 1u8.to_der()?;
        let digest_algorithm = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None }.to_der()?;

        let content = match &plan.content {
            Content::Bytes(content) if !plan.detached => {
                let octets = element(Tag::OctetString, &[content])?;
                element(context(TagNumber::N0, true), &[&octets])?
            }
            _ => Vec::new(),
        };
        let encapsulated = element(Tag::Sequence, &[&plan.family.data().to_der()?, &content])?;
        let certificates = implicit(set_of(plan.chain.iter().map(Certificate::der).collect())?);
        // Only here: what is signed has the SET tag.
        let signed_attributes = implicit(self.signed_attributes.clone());
        let signer_info = element(
            Tag::Sequence,
            &[
                &version,
                &issuer_and_serial(&plan.chain[0])?,
                &digest_algorithm,
                &signed_attributes,
                &signature_algorithm(plan.family, plan.algorithm).to_der()?,
                &OctetStringRef::new(signature)?.to_der()?,
            ],
        )?;
        let signed_data = element(
            Tag::Sequence,
            &[
                &version,
                &set_of(vec![digest_algorithm])?,
                &encapsulated,
                &certificates,
                &set_of(vec![signer_info])?,
            ],
        )?;
        let explicit = element(context(TagNumber::N0, true), &[&signed_data])?;
        element(Tag::Sequence, &[&plan.family.signed_data().to_der()?, &explicit])
    }
}

/// `[0] IMPLICIT` in place of the SET tag.
fn implicit(mut set: Vec<u8>) -> Vec<u8> {
    set[0] = context(TagNumber::N0, true).octet();
    set
}

/// RSA PKCS #1 is written as rsaEncryption, which every reader knows (RFC 3370, 3.2).
fn signature_algorithm(family: Family, algorithm: Algorithm) -> AlgorithmIdentifierOwned {
    let mut identifier = SignatureScheme::from(algorithm).identifier();
    match (family, algorithm) {
        (Family::Gbt35275, Algorithm::Sm2Sm3) => identifier.oid = oid::SM2_SIGN,
        (_, Algorithm::RsaPkcs1Sha256) => identifier.oid = oid::RSA_ENCRYPTION,
        _ => {}
    }
    identifier
}

fn signed_attributes(
    family: Family,
    hash: HashAlgorithm,
    signer: &Certificate,
    message_digest: &[u8],
    signing_time: &Time,
) -> der::Result<Vec<u8>> {
    let mut attributes = vec![
        (oid::CONTENT_TYPE, family.data().to_der()?),
        (oid::SIGNING_TIME, signing_time.to_der()?),
        (oid::MESSAGE_DIGEST, OctetStringRef::new(message_digest)?.to_der()?),
    ];
    if family == Family::Rfc5652 {
        attributes.push((oid::SIGNING_CERTIFICATE_V2, signing_certificate(hash, signer)?));
    }
    let attributes = attributes
        .into_iter()
        .map(|(id, value)| element(Tag::Sequence, &[&id.to_der()?, &element(Tag::Set, &[&value])?]))
        .collect::<der::Result<Vec<_>>>()?;
    set_of(attributes)
}

/// SigningCertificateV2 with one ESSCertIDv2 (RFC 5035, 3 and 4): the signer's certificate cannot be
/// exchanged for another with the same key.
fn signing_certificate(hash: HashAlgorithm, signer: &Certificate) -> der::Result<Vec<u8>> {
    let hash_algorithm = match hash {
        HashAlgorithm::Sha256 => Vec::new(), // the DEFAULT, which DER leaves out
        _ => AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None }.to_der()?,
    };
    let certificate_hash = OctetStringRef::new(&hash.digest(signer.der()))?.to_der()?;
    let certificate_id = element(Tag::Sequence, &[&hash_algorithm, &certificate_hash])?;
    let certificate_ids = element(Tag::Sequence, &[&certificate_id])?;
    element(Tag::Sequence, &[&certificate_ids])
}

fn issuer_and_serial(certificate: &Certificate) -> der::Result<Vec<u8>> {
    let serial = certificate.inner().tbs_certificate.serial_number.to_der()?;
    element(Tag::Sequence, &[certificate.issuer_der(), &serial])
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
