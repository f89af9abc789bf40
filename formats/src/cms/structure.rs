//! The ASN.1 of SignedData (RFC 5652, 5; GB/T 35275, 7), read by element rather than into typed
//! sets: certificates, names and attributes keep the octets they came in, and a SET OF is read in
//! any order, without duplicates being an error or the sorting being quadratic.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, ErrorKind, Header, Reader, SliceReader, Tag, TagNumber, Tagged};
use spki::AlgorithmIdentifierOwned;

use super::Family;
use crate::error::FormatError;
use crate::oid;

const WHAT: &str = "CMS SignedData";

pub(crate) const fn context(number: TagNumber, constructed: bool) -> Tag {
    Tag::ContextSpecific { number, constructed }
}

pub(super) struct SignedData<'a> {
    pub(super) family: Family,
    pub(super) digest_algorithms: Vec<AlgorithmIdentifierOwned>,
    pub(super) content_type: ObjectIdentifier,
    pub(super) content: Option<&'a [u8]>,
    /// The DER of each certificate, attribute certificates and other kinds left out.
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signers: Vec<SignerInfo<'a>>,
}

pub(super) struct SignerInfo<'a> {
    pub(super) identifier: SignerIdentifier<'a>,
    pub(super) digest_algorithm: AlgorithmIdentifierOwned,
    pub(super) signed_attributes: Option<SignedAttributes<'a>>,
    pub(super) signature_algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: &'a [u8],
    /// `[1] IMPLICIT` as it came: nobody signed it, so nothing in it may keep the rest from being read.
    unsigned_attributes: Option<&'a [u8]>,
}

pub(super) enum SignerIdentifier<'a> {
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    KeyIdentifier(&'a [u8]),
}

/// Attributes by type, each with the DER of its values.
pub(super) type AttributeList<'a> = Vec<(ObjectIdentifier, Vec<&'a [u8]>)>;

pub(super) struct SignedAttributes<'a> {
    /// What is signed: the attributes as a SET OF in DER (RFC 5652, 5.4).
    pub(super) der: Vec<u8>,
    pub(super) list: AttributeList<'a>,
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo that holds SignedData.
    pub(super) fn decode(cms: &'a [u8]) -> Result<Self, FormatError> {
        Self::content_info(cms)
            .map_err(|error| FormatError::der(WHAT, error))?
            .ok_or_else(|| FormatError::malformed(WHAT, "its content type is neither of the two signedData"))
    }

    fn content_info(cms: &'a [u8]) -> der::Result<Option<Self>> {
        sequence(cms, |reader| {
            let content_type = ObjectIdentifier::decode(reader)?;
            let content = explicit(reader.tlv_bytes()?)?;
            let family =
                [Family::Rfc5652, Family::Gbt35275].into_iter().find(|f| f.signed_data() == content_type);
            family.map(|family| Self::decode_content(family, content)).transpose()
        })
    }

    fn decode_content(family: Family, signed_data: &'a [u8]) -> der::Result<Self> {
        sequence(signed_data, |reader| {
            let version = u8::decode(reader)?;
            let digest_algorithms = set(reader.tlv_bytes()?)?
                .into_iter()
                .map(AlgorithmIdentifierOwned::from_der)
                .collect::<der::Result<_>>()?;
            let (content_type, content) = sequence(reader.tlv_bytes()?, |reader| {
                let content_type = ObjectIdentifier::decode(reader)?;
                let content = optional(reader, context(TagNumber::N0, true))?
                    .map(|content| OctetStringRef::from_der(explicit(content)?))
                    .transpose()?;
                Ok((content_type, content.map(|content| content.as_bytes())))
            })?;
            let mut certificates = match optional(reader, context(TagNumber::N0, true))? {
                Some(set) => elements(set)?,
                None => Vec::new(),
            };
            let all = certificates.len();
            certificates.retain(|certificate| certificate.first() == Some(&Tag::Sequence.octet()));
            let other_certificates = certificates.len() < all;
            // CRLs that come along are not used: revocation is judged by what the caller trusts.
            let crls = optional(reader, context(TagNumber::N1, true))?.is_some();
            let signers = set(reader.tlv_bytes()?)?;
            let signers: Vec<_> = signers.into_iter().map(SignerInfo::decode).collect::<der::Result<_>>()?;

            // RFC 5652, 5.1: a plain one has version 1; what the others have is not worth a refusal.
            let plain = [oid::CMS_DATA, oid::GM_DATA].contains(&content_type)
                && signers.iter().all(|s| matches!(s.identifier, SignerIdentifier::IssuerAndSerial { .. }))
                && !(crls || other_certificates);
            if version != 1 && (plain || ![3, 4, 5].contains(&version)) {
                return Err(Tag::Integer.value_error());
            }
            Ok(Self { family, digest_algorithms, content_type, content, certificates, signers })
        })
    }
}

impl<'a> SignerInfo<'a> {
    pub(super) fn decode(signer_info: &'a [u8]) -> der::Result<Self> {
        sequence(signer_info, |reader| {
            let version = u8::decode(reader)?;
            let identifier = SignerIdentifier::decode(reader.tlv_bytes()?)?;
            // RFC 5652, 5.3.
            let expected = match identifier {
                SignerIdentifier::IssuerAndSerial { .. } => 1,
                SignerIdentifier::KeyIdentifier(_) => 3,
            };
            if version != expected {
                return Err(Tag::Integer.value_error());
            }
            let digest_algorithm = AlgorithmIdentifierOwned::decode(reader)?;
            let signed_attributes = optional(reader, context(TagNumber::N0, true))?
                .map(|attributes| SignedAttributes::of(elements(attributes)?))
                .transpose()?;
            let signature_algorithm = AlgorithmIdentifierOwned::decode(reader)?;
            let signature = OctetStringRef::decode(reader)?.as_bytes();
            let unsigned_attributes = optional(reader, context(TagNumber::N1, true))?;
            Ok(Self {
                identifier,
                digest_algorithm,
                signed_attributes,
                signature_algorithm,
                signature,
                unsigned_attributes,
            })
        })
    }

    pub(super) fn unsigned_attributes(&self) -> der::Result<AttributeList<'a>> {
        self.unsigned_attributes.map_or(Ok(Vec::new()), |attributes| attribute_list(&elements(attributes)?))
    }
}

impl<'a> SignerIdentifier<'a> {
    fn decode(identifier: &'a [u8]) -> der::Result<Self> {
        let choice = AnyRef::from_der(identifier)?;
        if choice.tag() == context(TagNumber::N0, false) {
            return Ok(Self::KeyIdentifier(choice.value()));
        }
        sequence(identifier, |reader| {
            let issuer = reader.tlv_bytes()?;
            let serial = AnyRef::decode(reader)?;
            serial.tag().assert_eq(Tag::Integer)?;
            Ok(Self::IssuerAndSerial { issuer, serial: serial.value() })
        })
    }
}

impl<'a> SignedAttributes<'a> {
    /// Reads attributes that came as a universal SET OF, as they do nowhere in a SignedData.
    pub(super) fn from_set(der: &'a [u8]) -> der::Result<Self> {
        Self::of(set(der)?)
    }

    fn of(attributes: Vec<&'a [u8]>) -> der::Result<Self> {
        let list = attribute_list(&attributes)?;
        Ok(Self { der: set_of(attributes)?, list })
    }
}

fn attribute_list<'a>(attributes: &[&'a [u8]]) -> der::Result<AttributeList<'a>> {
    let read =
        |reader: &mut SliceReader<'a>| Ok((ObjectIdentifier::decode(reader)?, set(reader.tlv_bytes()?)?));
    attributes.iter().map(|attribute| sequence(attribute, read)).collect()
}

/// One element with the given tag and the concatenation of `parts` as its content.
pub(crate) fn element(tag: Tag, parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Header::new(tag, length)?.to_der()?;
    der.reserve_exact(length);
    parts.iter().for_each(|part| der.extend_from_slice(part));
    Ok(der)
}

/// A SET OF in DER: its elements in ascending order of their encodings (X.690, 11.6).
pub(super) fn set_of<T: AsRef<[u8]> + Ord>(mut elements: Vec<T>) -> der::Result<Vec<u8>> {
    elements.sort();
    let parts: Vec<&[u8]> = elements.iter().map(AsRef::as_ref).collect();
    element(Tag::Set, &parts)
}

/// What `read` makes of the content of the one SEQUENCE in `der`, all of which it must take.
pub(crate) fn sequence<'a, T>(
    der: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    let element = AnyRef::from_der(der)?;
    element.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(element.value())?;
    let value = read(&mut reader)?;
    reader.finish(value)
}

/// The DER of each element of the one SET in `der`.
fn set(der: &[u8]) -> der::Result<Vec<&[u8]>> {
    AnyRef::from_der(der)?.tag().assert_eq(Tag::Set)?;
    elements(der)
}

/// The DER of each element within the one constructed element in `der`.
pub(crate) fn elements(der: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(AnyRef::from_der(der)?.value())?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.tlv_bytes()?);
    }
    Ok(elements)
}

/// What `[0] EXPLICIT` wraps.
pub(crate) fn explicit(der: &[u8]) -> der::Result<&[u8]> {
    let element = AnyRef::from_der(der)?;
    element.tag().assert_eq(context(TagNumber::N0, true))?;
    Ok(element.value())
}

/// The next element if it has this tag.
pub(crate) fn optional<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<Option<&'a [u8]>> {
    match reader.peek_tag() {
        Ok(found) if found == tag => reader.tlv_bytes().map(Some),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::Incomplete { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
