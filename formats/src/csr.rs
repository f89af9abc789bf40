//! Certification requests (PKCS #10, RFC 2986): made in two steps, so that whoever holds the key needs to
//! know no ASN.1, and read with proof of possession.

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitString, Ia5String, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::flagset::FlagSet;
use der::{Decode, Encode, Tag, Tagged};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version};

pub use x509_cert::ext::Extension;
pub use x509_cert::ext::pkix::KeyUsages;

use crate::algorithm::Algorithm;
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::scheme::SignatureScheme;
use crate::x509::Signed;
use crate::{oid, pem, sets};

const WHAT: &str = "certification request";
const LABEL: &str = "CERTIFICATE REQUEST";

/// What a request is to say.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// The name asked for (RFC 4514: most specific part first), such as `CN=d3,O=市场监管局,C=CN`. It may
    /// be empty where [`alternative_names`] say who it is.
    pub subject: String,
    /// The key to be certified.
    pub public_key: PublicKey,
    /// How that key signs the request.
    pub algorithm: Algorithm,
    /// The extensions asked for; the authority decides which of them it grants.
    pub extensions: Vec<Extension>,
    /// The identifier in SM2's Z; the other algorithms do not use it. Authorities expect
    /// [`sm2_verify::DEFAULT_ID`].
    pub signer_id: Vec<u8>,
}

/// A request that waits for its signature. It is used up by [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Pending {
    algorithm: Algorithm,
    key: PublicKey,
    info: CertReqInfo,
    to_be_signed: Vec<u8>,
    digest: [u8; 32],
}

/// Settles everything that is to be signed.
///
/// # Errors
/// [`FormatError::Malformed`] for a name that is none, [`FormatError::Plan`] for a request that names nobody
/// or asks for an extension twice, [`FormatError::AlgorithmMismatch`] for a key that cannot sign so,
/// [`FormatError::SignerIdLength`].
pub fn prepare(plan: RequestPlan) -> Result<Pending, FormatError> {
    let subject = distinguished_name(&plan.subject)?;
    let names = |id| plan.extensions.iter().filter(|extension| extension.extn_id == id).count();
    if plan.extensions.iter().any(|extension| names(extension.extn_id) > 1) {
        return Err(FormatError::Plan("the request asks for an extension twice"));
    }
    if subject.is_empty() && names(oid::SUBJECT_ALT_NAME) == 0 {
        return Err(FormatError::Plan("the request names nobody"));
    }
    let failed = |error| FormatError::der(WHAT, error);
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key: SubjectPublicKeyInfoOwned::from_der(&plan.public_key.spki_der()).map_err(failed)?,
        attributes: attributes(&plan.extensions).map_err(failed)?,
    };
    let to_be_signed = info.to_der().map_err(failed)?;
    let digest = plan.public_key.digest(plan.algorithm, &plan.signer_id, &to_be_signed)?;
    Ok(Pending { algorithm: plan.algorithm, key: plan.public_key, info, to_be_signed, digest })
}

impl Pending {
    /// The CertificationRequestInfo in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// e (SM2) or the SHA-256 of [`to_be_signed`](Self::to_be_signed): for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts everything together.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`].
    pub fn finish(self, signature: &[u8]) -> Result<Request, FormatError> {
        self.key.verify_digest(self.algorithm, &self.digest, signature)?;
        let failed = |error| FormatError::der(WHAT, error);
        let request = CertReq {
            info: self.info,
            algorithm: SignatureScheme::from(self.algorithm).identifier(),
            signature: BitString::from_bytes(signature).map_err(failed)?,
        };
        Request::from_der(&request.to_der().map_err(failed)?)
    }
}

/// A request and the octets it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    signed: Signed,
    inner: CertReq,
}

impl Request {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        sets::check(WHAT, der)?;
        let inner = CertReq::from_der(der).map_err(|e| FormatError::der(WHAT, e))?;
        let signed = Signed::locate(der).map_err(|e| FormatError::der(WHAT, e))?;
        Ok(Self { der: der.to_vec(), signed, inner })
    }

    /// Reads the one `CERTIFICATE REQUEST` block in `text`.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der), and for text without such a block or with several.
    pub fn from_pem(text: &str) -> Result<Self, FormatError> {
        Self::from_der(&pem::single(WHAT, LABEL, text)?)
    }

    /// The octets it was read from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// As a `CERTIFICATE REQUEST` block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der)
    }

    /// The name asked for (RFC 4514).
    pub fn subject(&self) -> String {
        self.inner.info.subject.to_string()
    }

    /// The key to be certified.
    ///
    /// # Errors
    /// As [`PublicKey::from_spki_der`].
    pub fn public_key(&self) -> Result<PublicKey, FormatError> {
        PublicKey::from_spki(&self.inner.info.public_key)
    }

    /// How it was signed.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedAlgorithm`].
    pub fn signature_scheme(&self) -> Result<SignatureScheme, FormatError> {
        SignatureScheme::from_identifier(&self.inner.algorithm)
    }

    /// The extensions asked for.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when the attribute is there twice or holds something else.
    pub fn extensions(&self) -> Result<Vec<Extension>, FormatError> {
        let mut requests = self.inner.info.attributes.iter().filter(|a| a.oid == oid::EXTENSION_REQUEST);
        let Some(attribute) = requests.next() else { return Ok(Vec::new()) };
        let (None, [value]) = (requests.next(), attribute.values.as_slice()) else {
            return Err(FormatError::malformed(WHAT, "its extensions are there twice"));
        };
        value.decode_as().map_err(|error| FormatError::der(WHAT, error))
    }

    /// Proves that whoever asks holds the private key: the request is signed with it.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`], [`FormatError::AlgorithmMismatch`],
    /// [`FormatError::SignerIdLength`], and those of [`public_key`](Self::public_key) and
    /// [`signature_scheme`](Self::signature_scheme).
    pub fn verify_possession(&self, signer_id: &[u8]) -> Result<(), FormatError> {
        self.signed.verify(&self.der, self.signature_scheme()?, signer_id, &self.public_key()?, None)
    }

    /// The parsed structure.
    pub fn inner(&self) -> &CertReq {
        &self.inner
    }
}

/// keyUsage (RFC 5280, 4.2.1.3), critical.
///
/// # Errors
/// None for any set of usages.
pub fn key_usage(usages: impl Into<FlagSet<KeyUsages>>) -> Result<Extension, FormatError> {
    extension(oid::KEY_USAGE, true, &KeyUsage(usages.into()))
}

/// extKeyUsage (RFC 5280, 4.2.1.12). `critical`: RFC 3161, 2.3 asks for it in a timestamping authority's.
///
/// # Errors
/// [`FormatError::Malformed`] for more purposes than a length can say.
pub fn extended_key_usage(purposes: &[ObjectIdentifier], critical: bool) -> Result<Extension, FormatError> {
    extension(oid::EXT_KEY_USAGE, critical, &ExtendedKeyUsage(purposes.to_vec()))
}

/// subjectAltName (RFC 5280, 4.2.1.6) with host names and addresses.
///
/// # Errors
/// [`FormatError::Malformed`] for a host name that is not ASCII.
pub fn alternative_names(hosts: &[&str], addresses: &[IpAddr]) -> Result<Extension, FormatError> {
    let hosts = hosts.iter().map(|host| Ia5String::new(host).map(GeneralName::DnsName));
    let addresses = addresses.iter().map(|address| Ok(GeneralName::from(*address)));
    let names: der::Result<Vec<_>> = hosts.chain(addresses).collect();
    let names = names.map_err(|error| FormatError::der("host name", error))?;
    extension(oid::SUBJECT_ALT_NAME, false, &SubjectAltName(names))
}

fn extension(id: ObjectIdentifier, critical: bool, value: &impl Encode) -> Result<Extension, FormatError> {
    value
        .to_der()
        .and_then(der::asn1::OctetString::new)
        .map(|extn_value| Extension { extn_id: id, critical, extn_value })
        .map_err(|error| FormatError::der(WHAT, error))
}

/// RFC 4514 text to a name whose strings hold only what their types may.
fn distinguished_name(text: &str) -> Result<Name, FormatError> {
    const NAME: &str = "distinguished name";
    if text.is_empty() {
        return Ok(Name::default());
    }
    let name: Name = text.parse().map_err(|error| FormatError::der(NAME, error))?;
    for attribute in name.0.iter().flat_map(|part| part.0.iter()) {
        let value = &attribute.value;
        let empty = value.value().is_empty();
        let checked = match value.tag() {
            Tag::PrintableString => PrintableStringRef::try_from(value).map(drop),
            Tag::Utf8String => Utf8StringRef::try_from(value).map(drop),
            _ => Ok(()),
        };
        checked.map_err(|error| FormatError::der(NAME, error))?;
        if empty || attribute.oid == oid::COUNTRY_NAME && value.value().len() != 2 {
            return Err(FormatError::malformed(NAME, "a part is empty, or the country has not two letters"));
        }
    }
    Ok(name)
}

fn attributes(extensions: &[Extension]) -> der::Result<SetOfVec<Attribute>> {
    let mut attributes = SetOfVec::new();
    if !extensions.is_empty() {
        let values = SetOfVec::try_from(vec![Any::encode_from(&extensions.to_vec())?])?;
        attributes.insert(Attribute { oid: oid::EXTENSION_REQUEST, values })?;
    }
    Ok(attributes)
}
