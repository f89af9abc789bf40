//! The ASN.1 of seals and seal signatures, read element by element so that everything signed keeps its octets.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use serde::Serialize;
use time::OffsetDateTime;

use crate::cms::structure::{context, element, elements, explicit, optional, sequence};
use crate::error::FormatError;
use crate::tsp::generalized_time;
use crate::x509::time_of;

const SEAL: &str = "electronic seal";
const SIGNATURE: &str = "seal signature";

/// The most certificates or digests in the list of a seal.
pub const MAX_HOLDERS: usize = 1_000;

/// Which standard a seal follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum SealVersion {
    /// GM/T 0031-2014.
    #[serde(rename = "gmt0031-2014")]
    V1,
    /// GB/T 38540-2020.
    #[serde(rename = "gbt38540-2020")]
    V4,
    /// GM/T 0031-2025.
    #[serde(rename = "gmt0031-2025")]
    V5,
}

/// What makers write otherwise than the standards have it, and what is read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tolerance {
    /// `extDatas` without its tag `[0]`.
    UntaggedExtensions,
    /// `extDatas` under an IMPLICIT `[0]`.
    ImplicitExtensions,
    /// A text in another string type of ASN.1.
    StringType,
    /// UTCTime where GeneralizedTime belongs, or the other way round.
    TimeType,
    /// A timestamp as OCTET STRING, or bare, where a BIT STRING belongs.
    TimestampForm,
}

impl Tolerance {
    /// The name in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::UntaggedExtensions => "untagged_ext_datas",
            Self::ImplicitExtensions => "implicit_ext_datas",
            Self::StringType => "string_type",
            Self::TimeType => "time_type",
            Self::TimestampForm => "timestamp_form",
        }
    }
}

/// The picture of a seal (`SES_ESPictrueInfo`; the standard spells it so).
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// `PNG`, `JPG`, `SVG`, `OFD` …
    pub kind: String,
    /// The file.
    pub octets: Vec<u8>,
    /// In millimetres.
    pub width: u32,
    /// In millimetres.
    pub height: u32,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} octets, {} mm by {} mm", self.kind, self.octets.len(), self.width, self.height)
    }
}

/// Who may use a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderList {
    /// Certificates in DER.
    Certificates(Vec<Vec<u8>>),
    /// Digests of certificates.
    Digests(Vec<CertificateDigest>),
}

/// A digest that stands for a certificate (`CertDigestObj`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDigest {
    /// What the maker calls it; the standard leaves it open.
    pub kind: String,
    /// The digest.
    pub value: Vec<u8>,
}

/// What a seal's maker signed (`SES_SealInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealInfo {
    /// The version that the header names.
    pub header_version: u32,
    /// The maker's mark (`Vid`).
    pub vendor: String,
    /// The seal's number.
    pub id: String,
    /// The kind of seal, by the maker's numbering.
    pub kind: u32,
    /// The name of the seal.
    pub name: String,
    /// Who may use it.
    pub holders: HolderList,
    /// When it was made.
    pub created: OffsetDateTime,
    /// The first moment of its validity.
    pub valid_from: OffsetDateTime,
    /// The last second of its validity.
    pub valid_until: OffsetDateTime,
    /// How it looks.
    pub picture: Picture,
    /// Extensions that must be understood; none is known here.
    pub critical_extensions: Vec<ObjectIdentifier>,
}

/// A seal and the octets it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub(super) octets: Vec<u8>,
    pub(super) version: SealVersion,
    pub(super) info: SealInfo,
    /// The maker's certificate in DER.
    pub(super) maker: Vec<u8>,
    pub(super) algorithm: ObjectIdentifier,
    /// What the maker signed.
    pub(super) signed: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) timestamp: Option<Vec<u8>>,
    pub(super) tolerated: Vec<Tolerance>,
}

impl Seal {
    /// Reads DER; trailing octets are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(octets: &[u8]) -> Result<Self, FormatError> {
        Self::decode(octets).map_err(|error| FormatError::der(SEAL, error))
    }

    /// The octets it was read from.
    pub fn der(&self) -> &[u8] {
        &self.octets
    }

    /// Which standard it follows.
    pub fn version(&self) -> SealVersion {
        self.version
    }

    /// What its maker signed.
    pub fn info(&self) -> &SealInfo {
        &self.info
    }

    fn decode(octets: &[u8]) -> der::Result<Self> {
        AnyRef::from_der(octets)?.tag().assert_eq(Tag::Sequence)?;
        let members = elements(octets)?;
        let mut tolerated = Vec::new();
        let [info_der, rest @ ..] = &*members else { return Err(Tag::Sequence.value_error()) };
        // GM/T 0031-2014 has two members: the second holds certificate, algorithm and signature.
        let first = rest.len() == 1;
        let info = SealInfo::decode(info_der, first, &mut tolerated)?;
        let (version, maker, algorithm, signature, timestamp) = match rest {
            [sign_info] => {
                let parts = elements(sign_info)?;
                AnyRef::from_der(sign_info)?.tag().assert_eq(Tag::Sequence)?;
                let [certificate, algorithm, signature] = *parts else {
                    return Err(Tag::Sequence.value_error());
                };
                (SealVersion::V1, certificate, algorithm, signature, None)
            }
            [certificate, algorithm, signature] => {
                (info.version()?, *certificate, *algorithm, *signature, None)
            }
            [certificate, algorithm, signature, timestamp] => {
                let version = info.version()?;
                if version != SealVersion::V5 {
                    return Err(Tag::Sequence.value_error());
                }
                let timestamp = read_timestamp(timestamp, &mut tolerated)?;
                (version, *certificate, *algorithm, *signature, Some(timestamp))
            }
            _ => return Err(Tag::Sequence.value_error()),
        };
        let signed = match version {
            SealVersion::V1 => element(Tag::Sequence, &[info_der, maker, algorithm])?,
            SealVersion::V4 | SealVersion::V5 => info_der.to_vec(),
        };
        Ok(Self {
            octets: octets.to_vec(),
            version,
            info,
            maker: OctetStringRef::from_der(maker)?.as_bytes().to_vec(),
            algorithm: ObjectIdentifier::from_der(algorithm)?,
            signed,
            signature: bits(signature)?.to_vec(),
            timestamp,
            tolerated: unique(tolerated),
        })
    }
}

impl SealInfo {
    fn version(&self) -> der::Result<SealVersion> {
        match self.header_version {
            4 => Ok(SealVersion::V4),
            5 => Ok(SealVersion::V5),
            _ => Err(Tag::Integer.value_error()),
        }
    }

    fn decode(der: &[u8], first: bool, tolerated: &mut Vec<Tolerance>) -> der::Result<Self> {
        sequence(der, |reader| {
            let (header_version, vendor) = sequence(reader.tlv_bytes()?, |header| {
                if text(header, Tag::Ia5String, tolerated)? != "ES" {
                    return Err(Tag::Ia5String.value_error());
                }
                Ok((u32::decode(header)?, text(header, Tag::Ia5String, tolerated)?))
            })?;
            let id = text(reader, Tag::Ia5String, tolerated)?;
            let property = reader.tlv_bytes()?;
            let (kind, name, holders, [created, valid_from, valid_until]) = sequence(property, |property| {
                let kind = u32::decode(property)?;
                let name = text(property, Tag::Utf8String, tolerated)?;
                let holders = match first {
                    true => certificates(property.tlv_bytes()?)?,
                    false => match u32::decode(property)? {
                        1 => certificates(property.tlv_bytes()?)?,
                        2 => digests(property.tlv_bytes()?, tolerated)?,
                        _ => return Err(Tag::Integer.value_error()),
                    },
                };
                let expected = if first { Tag::UtcTime } else { Tag::GeneralizedTime };
                let mut time = || moment(AnyRef::decode(property)?, expected, tolerated);
                Ok((kind, name, holders, [time()?, time()?, time()?]))
            })?;
            let picture = sequence(reader.tlv_bytes()?, |picture| {
                Ok(Picture {
                    kind: text(picture, Tag::Ia5String, tolerated)?,
                    octets: OctetStringRef::decode(picture)?.as_bytes().to_vec(),
                    width: u32::decode(picture)?,
                    height: u32::decode(picture)?,
                })
            })?;
            let critical_extensions = extensions(reader, tolerated)?;
            Ok(Self {
                header_version,
                vendor,
                id,
                kind,
                name,
                holders,
                created,
                valid_from,
                valid_until,
                picture,
                critical_extensions,
            })
        })
    }
}

/// A seal signature and the octets it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealSignature {
    pub(super) version: SealVersion,
    pub(super) seal: Seal,
    /// When it claims to be made; none when the time cannot be read (version 1 has bits there).
    pub(super) time: Option<OffsetDateTime>,
    pub(super) data_hash: Vec<u8>,
    pub(super) property_info: String,
    /// The signer's certificate in DER.
    pub(super) certificate: Vec<u8>,
    pub(super) algorithm: ObjectIdentifier,
    pub(super) signed: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) timestamp: Option<Vec<u8>>,
    pub(super) critical_extensions: Vec<ObjectIdentifier>,
    pub(super) tolerated: Vec<Tolerance>,
}

impl SealSignature {
    /// Reads DER; trailing octets are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(octets: &[u8]) -> Result<Self, FormatError> {
        Self::decode(octets).map_err(|error| FormatError::der(SIGNATURE, error))
    }

    /// The seal in it.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The digest of what is sealed.
    pub fn data_hash(&self) -> &[u8] {
        &self.data_hash
    }

    /// Where what is sealed stands: in OFD the path of Signature.xml.
    pub fn property_info(&self) -> &str {
        &self.property_info
    }

    /// When it claims to be made.
    pub fn time(&self) -> Option<OffsetDateTime> {
        self.time
    }

    fn decode(octets: &[u8]) -> der::Result<Self> {
        AnyRef::from_der(octets)?.tag().assert_eq(Tag::Sequence)?;
        let members = elements(octets)?;
        let mut tolerated = Vec::new();
        let [to_sign, rest @ ..] = &*members else { return Err(Tag::Sequence.value_error()) };
        let first = rest.len() == 1;
        let mut signature = sequence(to_sign, |reader| {
            let version = u32::decode(reader)?;
            let seal = Seal::decode(reader.tlv_bytes()?)?;
            let time = match first {
                true => time_in_bits(reader)?,
                false => Some(moment(AnyRef::decode(reader)?, Tag::GeneralizedTime, &mut tolerated)?),
            };
            let data_hash = bits(reader.tlv_bytes()?)?.to_vec();
            let property_info = text(reader, Tag::Ia5String, &mut tolerated)?;
            let (certificate, algorithm, critical_extensions) = match first {
                true => {
                    let certificate = OctetStringRef::decode(reader)?.as_bytes().to_vec();
                    (certificate, Some(ObjectIdentifier::decode(reader)?), Vec::new())
                }
                false => (Vec::new(), None, extensions(reader, &mut tolerated)?),
            };
            let version = match (first, version) {
                (true, _) => SealVersion::V1,
                (false, 5) => SealVersion::V5,
                (false, 4) => SealVersion::V4,
                (false, _) => return Err(Tag::Integer.value_error()),
            };
            Ok(Self {
                version,
                seal,
                time,
                data_hash,
                property_info,
                certificate,
                // Of the later versions it stands outside of what is signed.
                algorithm: algorithm.unwrap_or(crate::oid::SM2_WITH_SM3),
                signed: to_sign.to_vec(),
                signature: Vec::new(),
                timestamp: None,
                critical_extensions,
                tolerated: Vec::new(),
            })
        })?;
        match rest {
            [value] => signature.signature = bits(value)?.to_vec(),
            [certificate, algorithm, value, timestamp @ ..] if timestamp.len() < 2 => {
                signature.certificate = OctetStringRef::from_der(certificate)?.as_bytes().to_vec();
                signature.algorithm = ObjectIdentifier::from_der(algorithm)?;
                signature.signature = bits(value)?.to_vec();
                let timestamp = timestamp.first().map(|element| read_timestamp(element, &mut tolerated));
                signature.timestamp = timestamp.transpose()?;
            }
            _ => return Err(Tag::Sequence.value_error()),
        }
        tolerated.extend(&signature.seal.tolerated);
        signature.tolerated = unique(tolerated);
        Ok(signature)
    }
}

fn unique(mut tolerated: Vec<Tolerance>) -> Vec<Tolerance> {
    tolerated.sort();
    tolerated.dedup();
    tolerated
}

fn bits(der: &[u8]) -> der::Result<&[u8]> {
    BitStringRef::from_der(der)?.as_bytes().ok_or_else(|| Tag::BitString.value_error())
}

fn text(reader: &mut SliceReader<'_>, expected: Tag, tolerated: &mut Vec<Tolerance>) -> der::Result<String> {
    let element = AnyRef::decode(reader)?;
    if element.tag() != expected {
        if ![Tag::Ia5String, Tag::Utf8String, Tag::PrintableString].contains(&element.tag()) {
            return Err(element.tag().unexpected_error(Some(expected)));
        }
        tolerated.push(Tolerance::StringType);
    }
    let text = std::str::from_utf8(element.value()).map_err(|_| element.tag().value_error())?;
    if element.tag() == Tag::Ia5String && !text.is_ascii() {
        tolerated.push(Tolerance::StringType);
    }
    Ok(text.to_owned())
}

fn moment(element: AnyRef<'_>, expected: Tag, tolerated: &mut Vec<Tolerance>) -> der::Result<OffsetDateTime> {
    if element.tag() != expected {
        tolerated.push(Tolerance::TimeType);
    }
    match element.tag() {
        Tag::GeneralizedTime => generalized_time(element),
        Tag::UtcTime => Ok(time_of(element.decode_as::<UtcTime>()?.to_unix_duration())),
        other => Err(other.unexpected_error(Some(expected))),
    }
}

/// Version 1 has the time as bits: in DER or as its digits, as makers write it; some put a timestamp there.
fn time_in_bits(reader: &mut SliceReader<'_>) -> der::Result<Option<OffsetDateTime>> {
    let octets = bits(reader.tlv_bytes()?)?;
    let mut ignored = Vec::new();
    let in_der = AnyRef::from_der(octets)
        .ok()
        .and_then(|element| moment(element, Tag::GeneralizedTime, &mut ignored).ok());
    let digits = || {
        let tag = if octets.len() == 13 { Tag::UtcTime } else { Tag::GeneralizedTime };
        let element = AnyRef::new(tag, octets).ok()?;
        moment(element, tag, &mut Vec::new()).ok()
    };
    Ok(in_der.or_else(digits))
}

fn certificates(der: &[u8]) -> der::Result<HolderList> {
    AnyRef::from_der(der)?.tag().assert_eq(Tag::Sequence)?;
    let listed = elements(der)?;
    if listed.len() > MAX_HOLDERS {
        return Err(Tag::Sequence.value_error());
    }
    let one = |der: &&[u8]| Ok(OctetStringRef::from_der(der)?.as_bytes().to_vec());
    listed.iter().map(one).collect::<der::Result<_>>().map(HolderList::Certificates)
}

fn digests(der: &[u8], tolerated: &mut Vec<Tolerance>) -> der::Result<HolderList> {
    AnyRef::from_der(der)?.tag().assert_eq(Tag::Sequence)?;
    let listed = elements(der)?;
    if listed.len() > MAX_HOLDERS {
        return Err(Tag::Sequence.value_error());
    }
    let one = |der: &&[u8]| {
        sequence(der, |reader| {
            let kind = text(reader, Tag::PrintableString, tolerated)?;
            Ok(CertificateDigest { kind, value: OctetStringRef::decode(reader)?.as_bytes().to_vec() })
        })
    };
    listed.iter().map(one).collect::<der::Result<_>>().map(HolderList::Digests)
}

/// `extDatas`, if they come next; the identifiers of the critical ones.
fn extensions(
    reader: &mut SliceReader<'_>,
    tolerated: &mut Vec<Tolerance>,
) -> der::Result<Vec<ObjectIdentifier>> {
    let list = if let Some(tagged) = optional(reader, context(TagNumber::N0, true))? {
        let inside = explicit(tagged)?;
        // Explicit: one SEQUENCE OF. Implicit: the members, each beginning with its identifier.
        let first = inside.first().map(|_| SliceReader::new(inside)?.tlv_bytes()).transpose()?;
        let is_member = |der: &[u8]| {
            AnyRef::from_der(der)
                .is_ok_and(|element| element.value().first() == Some(&Tag::ObjectIdentifier.octet()))
        };
        match first {
            Some(first) if !is_member(first) => {
                if first.len() != inside.len() {
                    return Err(Tag::Sequence.length_error());
                }
                first
            }
            _ => {
                tolerated.push(Tolerance::ImplicitExtensions);
                tagged
            }
        }
    } else if let Some(untagged) = optional(reader, Tag::Sequence)? {
        tolerated.push(Tolerance::UntaggedExtensions);
        untagged
    } else {
        return Ok(Vec::new());
    };
    let mut critical = Vec::new();
    for member in elements(list)? {
        sequence(member, |extension| {
            let id = ObjectIdentifier::decode(extension)?;
            let is_critical = optional(extension, Tag::Boolean)?.map(bool::from_der).transpose()?;
            OctetStringRef::decode(extension)?;
            if is_critical == Some(true) {
                critical.push(id);
            }
            Ok(())
        })?;
    }
    Ok(critical)
}

/// `[0] EXPLICIT BIT STRING`, around a token.
fn read_timestamp(element: &[u8], tolerated: &mut Vec<Tolerance>) -> der::Result<Vec<u8>> {
    let tagged = AnyRef::from_der(element)?.tag() == context(TagNumber::N0, true);
    let inside = if tagged { explicit(element)? } else { element };
    let value = AnyRef::from_der(inside)?;
    let octets = match value.tag() {
        Tag::BitString => bits(inside)?,
        Tag::OctetString => OctetStringRef::from_der(inside)?.as_bytes(),
        Tag::Sequence if tagged => inside,
        other => return Err(other.unexpected_error(Some(Tag::BitString))),
    };
    if !tagged || value.tag() != Tag::BitString {
        tolerated.push(Tolerance::TimestampForm);
    }
    Ok(octets.to_vec())
}
