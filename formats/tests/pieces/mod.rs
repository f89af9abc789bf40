//! A SignedData put together octet by octet, every piece in the test's hand.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use const_oid::ObjectIdentifier;
use der::asn1::OctetStringRef;
use der::{Encode, Header, Tag, TagNumber};
use formats::cms::{Content, SignedDataReport, VerifyInput, verify};
use formats::{Certificate, TrustStore, oid};
use spki::AlgorithmIdentifierOwned;

use crate::pki::{Authority, Key, NOW, Plan, SIGNER_ID};

pub(crate) const CONTENT: &[u8] = b"content";

pub(crate) fn element(tag: Tag, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    [Header::new(tag, content.len()).unwrap().to_der().unwrap(), content].concat()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(Tag::Sequence, parts)
}

pub(crate) fn context(number: TagNumber, parts: &[Vec<u8>]) -> Vec<u8> {
    element(Tag::ContextSpecific { number, constructed: true }, parts)
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    OctetStringRef::new(bytes).unwrap().to_der().unwrap()
}

pub(crate) fn attribute(id: ObjectIdentifier, values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[id.to_der().unwrap(), element(Tag::Set, values)])
}

pub(crate) fn algorithm(oid: ObjectIdentifier) -> Vec<u8> {
    AlgorithmIdentifierOwned { oid, parameters: None }.to_der().unwrap()
}

pub(crate) struct Signer {
    pub(crate) root: Authority,
    pub(crate) key: Key,
    pub(crate) certificate: Certificate,
}

impl Signer {
    pub(crate) fn sm2() -> Self {
        Self::with(Key::sm2(7))
    }

    pub(crate) fn with(key: Key) -> Self {
        let root = Plan::authority("CN=Root").root(Key::sm2(1));
        let certificate = root.issue(&Plan::leaf("CN=Signer"), &key);
        Self { root, key, certificate }
    }

    pub(crate) fn by_serial(&self) -> Vec<u8> {
        let tbs = &self.certificate.inner().tbs_certificate;
        sequence(&[tbs.issuer.to_der().unwrap(), tbs.serial_number.to_der().unwrap()])
    }

    pub(crate) fn by_key_identifier(&self) -> Vec<u8> {
        let extensions = self.certificate.inner().tbs_certificate.extensions.as_ref().unwrap();
        let found = extensions.iter().find(|e| e.extn_id == oid::SUBJECT_KEY_IDENTIFIER).unwrap();
        let mut identifier = found.extn_value.as_bytes().to_vec();
        identifier[0] = 0x80;
        identifier
    }

    pub(crate) fn judge(&self, cms: &[u8], content: Option<Content>) -> SignedDataReport {
        let trust = TrustStore::new(vec![self.root.certificate.clone()], Vec::new(), Vec::new());
        verify(VerifyInput { cms, content, signer_id: SIGNER_ID, trust: &trust, at: NOW })
    }
}

/// Makes an attribute for a signature.
pub(crate) type MakeAttribute = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A SignedData in pieces.
pub(crate) struct Pieces {
    pub(crate) signed_data: ObjectIdentifier,
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) identifier: Vec<u8>,
    pub(crate) digest_algorithm: ObjectIdentifier,
    pub(crate) signature_algorithm: ObjectIdentifier,
    pub(crate) attributes: Option<Vec<Vec<u8>>>,
    /// In place of the signature over the attributes in DER, or over the content.
    pub(crate) signed: Option<Vec<u8>>,
    pub(crate) copies: usize,
    /// Unsigned attributes, by what they are made of: the signature's octets.
    pub(crate) unsigned: Vec<MakeAttribute>,
}

impl Pieces {
    pub(crate) fn of(signer: &Signer) -> Self {
        let scheme = signer.key.scheme();
        let digest = scheme.hash().digest(CONTENT);
        Self {
            signed_data: oid::GM_SIGNED_DATA,
            content_type: oid::GM_DATA,
            content: Some(CONTENT.to_vec()),
            certificates: vec![signer.certificate.der().to_vec()],
            identifier: signer.by_serial(),
            digest_algorithm: scheme.hash().oid(),
            signature_algorithm: scheme.identifier().oid,
            attributes: Some(vec![
                attribute(oid::CONTENT_TYPE, &[oid::GM_DATA.to_der().unwrap()]),
                attribute(oid::MESSAGE_DIGEST, &[octets(&digest)]),
            ]),
            signed: None,
            copies: 1,
            unsigned: Vec::new(),
        }
    }

    pub(crate) fn build(self, signer: &Signer) -> Vec<u8> {
        let content = self.content.as_ref().map(|content| context(TagNumber::N0, &[octets(content)]));
        let message = self.signed.clone().unwrap_or_else(|| match &self.attributes {
            Some(attributes) => {
                let mut sorted = attributes.clone();
                sorted.sort();
                element(Tag::Set, &sorted)
            }
            None => self.content.clone().unwrap_or_else(|| CONTENT.to_vec()),
        });
        let signature = signer.key.sign(&message);
        let unsigned: Vec<_> = self.unsigned.iter().map(|make| make(&signature)).collect();
        let unsigned = match unsigned.is_empty() {
            true => Vec::new(),
            false => context(TagNumber::N1, &unsigned),
        };
        let by_key_identifier = self.identifier[0] == 0x80;
        let version = if by_key_identifier { 3u8 } else { 1 }.to_der().unwrap();
        let signer_info = sequence(&[
            version.clone(),
            self.identifier.clone(),
            algorithm(self.digest_algorithm),
            self.attributes.map(|attributes| context(TagNumber::N0, &attributes)).unwrap_or_default(),
            algorithm(self.signature_algorithm),
            octets(&signature),
            unsigned,
        ]);
        let certificates = match self.certificates.is_empty() {
            true => Vec::new(),
            false => context(TagNumber::N0, &self.certificates),
        };
        let signed_data = sequence(&[
            version,
            element(Tag::Set, &[algorithm(self.digest_algorithm)]),
            sequence(&[self.content_type.to_der().unwrap(), content.unwrap_or_default()]),
            certificates,
            element(Tag::Set, &vec![signer_info; self.copies]),
        ]);
        sequence(&[self.signed_data.to_der().unwrap(), context(TagNumber::N0, &[signed_data])])
    }
}
