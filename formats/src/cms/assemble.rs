//! The one shape of SignedData that is built here: one signer, named by issuer and serial, with signed attributes.

use const_oid::ObjectIdentifier;
use der::asn1::OctetStringRef;
use der::{Encode, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;

use super::Family;
use super::structure::{context, element, set_of};
use crate::algorithm::Algorithm;
use crate::oid;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::x509::Certificate;

/// Everything a SignedData consists of.
pub(crate) struct Assembly<'a> {
    pub(crate) family: Family,
    pub(crate) algorithm: Algorithm,
    /// Of the SignedData: 1 over data, 3 over anything else (RFC 5652, 5.1).
    pub(crate) version: u8,
    /// What kind of content it is over.
    pub(crate) content_type: ObjectIdentifier,
    /// None in a detached one.
    pub(crate) content: Option<&'a [u8]>,
    /// Those included; none leaves the field out.
    pub(crate) certificates: &'a [Certificate],
    pub(crate) signer: &'a Certificate,
    /// DER, a universal SET OF.
    pub(crate) signed_attributes: &'a [u8],
}

impl Assembly<'_> {
    /// A ContentInfo in DER.
    pub(crate) fn content_info(&self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let hash = SignatureScheme::from(self.algorithm).hash();
        let digest_algorithm = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None }.to_der()?;
        let content = match self.content {
            Some(content) => {
                let octets = element(Tag::OctetString, &[content])?;
                element(context(TagNumber::N0, true), &[&octets])?
            }
            None => Vec::new(),
        };
        let encapsulated = element(Tag::Sequence, &[&self.content_type.to_der()?, &content])?;
        let certificates = match self.certificates {
            [] => Vec::new(),
            all => implicit(set_of(all.iter().map(Certificate::der).collect())?),
        };
        // Only here: what is signed has the SET tag.
        let signed_attributes = implicit(self.signed_attributes.to_vec());
        let signer_info = element(
            Tag::Sequence,
            &[
                &1u8.to_der()?,
                &issuer_and_serial(self.signer)?,
                &digest_algorithm,
                &signed_attributes,
                &signature_algorithm(self.family, self.algorithm).to_der()?,
                &OctetStringRef::new(signature)?.to_der()?,
            ],
        )?;
        let signed_data = element(
            Tag::Sequence,
            &[
                &self.version.to_der()?,
                &set_of(vec![digest_algorithm])?,
                &encapsulated,
                &certificates,
                &set_of(vec![signer_info])?,
            ],
        )?;
        let explicit = element(context(TagNumber::N0, true), &[&signed_data])?;
        element(Tag::Sequence, &[&self.family.signed_data().to_der()?, &explicit])
    }
}

/// A SET OF attributes with one value each, the value in DER.
pub(crate) fn attributes(attributes: Vec<(ObjectIdentifier, Vec<u8>)>) -> der::Result<Vec<u8>> {
    let attributes = attributes
        .into_iter()
        .map(|(id, value)| element(Tag::Sequence, &[&id.to_der()?, &element(Tag::Set, &[&value])?]))
        .collect::<der::Result<Vec<_>>>()?;
    set_of(attributes)
}

/// SigningCertificateV2 with one ESSCertIDv2 (RFC 5035, 3 and 4): the signer's certificate cannot be
/// exchanged for another with the same key.
pub(crate) fn signing_certificate(hash: HashAlgorithm, signer: &Certificate) -> der::Result<Vec<u8>> {
    let hash_algorithm = match hash {
        HashAlgorithm::Sha256 => Vec::new(), // the DEFAULT, which DER leaves out
        _ => AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None }.to_der()?,
    };
    let certificate_hash = OctetStringRef::new(&hash.digest(signer.der()))?.to_der()?;
    let certificate_id = element(Tag::Sequence, &[&hash_algorithm, &certificate_hash])?;
    let certificate_ids = element(Tag::Sequence, &[&certificate_id])?;
    element(Tag::Sequence, &[&certificate_ids])
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

fn issuer_and_serial(certificate: &Certificate) -> der::Result<Vec<u8>> {
    let serial = certificate.inner().tbs_certificate.serial_number.to_der()?;
    element(Tag::Sequence, &[certificate.issuer_der(), &serial])
}
