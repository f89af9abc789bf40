//! Certificates and revocation lists built part by part, so that wrong ones can be built too.

use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{Any, BitString, GeneralizedTime, OctetString, SetOfVec, UtcTime};
use der::{Decode, Encode, Tag};
use sm3::{Digest, Sm3};
use spki::SubjectPublicKeyInfoOwned;
use time::OffsetDateTime;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::CrlNumber;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlReason, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

use crate::error::CertsTestError;
use crate::key::SoftwareKey;

const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A distinguished name of the three attributes used here, in the order country, organisation, name;
/// the empty ones left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DistinguishedName {
    pub(crate) country: &'static str,
    pub(crate) organisation: String,
    pub(crate) common_name: String,
}

/// What a certificate can name somebody by.
pub(crate) trait Named {
    /// As certificates have it.
    fn encode(&self) -> Result<RdnSequence, der::Error>;
}

/// A name that somebody brings.
impl Named for RdnSequence {
    fn encode(&self) -> Result<RdnSequence, der::Error> {
        Ok(self.clone())
    }
}

impl Named for DistinguishedName {
    fn encode(&self) -> Result<RdnSequence, der::Error> {
        let attributes = [
            (COUNTRY, Tag::PrintableString, self.country),
            (ORGANISATION, Tag::Utf8String, &self.organisation),
            (COMMON_NAME, Tag::Utf8String, &self.common_name),
        ];
        let mut sequence = Vec::new();
        for (oid, tag, text) in attributes.into_iter().filter(|(_, _, text)| !text.is_empty()) {
            let attribute = AttributeTypeAndValue { oid, value: Any::new(tag, text.as_bytes())? };
            sequence.push(RelativeDistinguishedName(SetOfVec::try_from([attribute])?));
        }
        Ok(RdnSequence(sequence))
    }
}

/// What goes into one certificate beside its issuer's part.
pub(crate) struct Request<N = DistinguishedName> {
    pub(crate) serial: [u8; 16],
    pub(crate) subject: N,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) key: SubjectPublicKeyInfoOwned,
    pub(crate) extensions: Vec<Extension>,
}

/// Signs a certificate under an issuer's name and key; the two need not belong together.
pub(crate) fn issue(
    request: Request<impl Named>,
    issuer: &impl Named,
    signer: &SoftwareKey,
) -> Result<Vec<u8>, CertsTestError> {
    let validity =
        Validity { not_before: x509_time(request.not_before)?, not_after: x509_time(request.not_after)? };
    let build = || {
        Ok(TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&request.serial)?,
            signature: signer.signature_algorithm(),
            issuer: issuer.encode()?,
            validity,
            subject: request.subject.encode()?,
            subject_public_key_info: request.key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(request.extensions),
        })
    };
    let tbs_certificate = build().map_err(encoding("a certificate"))?;
    let to_be_signed = tbs_certificate.to_der().map_err(encoding("a certificate"))?;
    Certificate {
        tbs_certificate,
        signature_algorithm: signer.signature_algorithm(),
        signature: signature_bits(signer, &to_be_signed)?,
    }
    .to_der()
    .map_err(encoding("a certificate"))
}

/// A certificate on a revocation list.
pub(crate) struct Revocation {
    pub(crate) serial: [u8; 16],
    pub(crate) at: OffsetDateTime,
    pub(crate) reason: CrlReason,
}

/// Signs a version 2 revocation list, number 1.
pub(crate) fn revoke(
    revoked: &[Revocation],
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    issuer: &DistinguishedName,
    signer: &SoftwareKey,
) -> Result<Vec<u8>, CertsTestError> {
    let what = "a revocation list";
    let mut entries = Vec::new();
    for Revocation { serial, at, reason } in revoked {
        entries.push(RevokedCert {
            serial_number: SerialNumber::new(serial).map_err(encoding(what))?,
            revocation_date: x509_time(*at)?,
            crl_entry_extensions: Some(vec![extension(reason, false)?]),
        });
    }
    let number = CrlNumber(der::asn1::Uint::new(&[1]).map_err(encoding(what))?);
    let tbs_cert_list = TbsCertList {
        version: Version::V2,
        signature: signer.signature_algorithm(),
        issuer: issuer.encode().map_err(encoding(what))?,
        this_update: x509_time(this_update)?,
        next_update: Some(x509_time(next_update)?),
        // RFC 5280 5.1.2.6: absent, never empty.
        revoked_certificates: (!entries.is_empty()).then_some(entries),
        crl_extensions: Some(vec![authority_key(&signer.spki()?)?, extension(&number, false)?]),
    };
    let to_be_signed = tbs_cert_list.to_der().map_err(encoding(what))?;
    CertificateList {
        tbs_cert_list,
        signature_algorithm: signer.signature_algorithm(),
        signature: signature_bits(signer, &to_be_signed)?,
    }
    .to_der()
    .map_err(encoding(what))
}

/// The same list with one more certificate on it, or none if it is there, and the next number.
pub(crate) fn revoke_another(
    list: CertificateList,
    Revocation { serial, at, reason }: Revocation,
    next_update: OffsetDateTime,
    signer: &SoftwareKey,
) -> Result<Vec<u8>, CertsTestError> {
    let what = "a revocation list";
    let mut tbs_cert_list = list.tbs_cert_list;
    let serial_number = SerialNumber::new(&serial).map_err(encoding(what))?;
    let revoked = tbs_cert_list.revoked_certificates.get_or_insert_default();
    if !revoked.iter().any(|known| known.serial_number == serial_number) {
        let crl_entry_extensions = Some(vec![extension(&reason, false)?]);
        revoked.push(RevokedCert { serial_number, revocation_date: x509_time(at)?, crl_entry_extensions });
    }
    for part in tbs_cert_list.crl_extensions.iter_mut().flatten() {
        if part.extn_id == CrlNumber::OID {
            let number = CrlNumber::from_der(part.extn_value.as_bytes()).map_err(encoding(what))?;
            let number =
                number.0.as_bytes().iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
            let next = der::asn1::Uint::new(&(number + 1).to_be_bytes()).map_err(encoding(what))?;
            *part = extension(&CrlNumber(next), false)?;
        }
    }
    tbs_cert_list.this_update = x509_time(at)?;
    tbs_cert_list.next_update = Some(x509_time(next_update)?);
    let to_be_signed = tbs_cert_list.to_der().map_err(encoding(what))?;
    CertificateList {
        tbs_cert_list,
        signature_algorithm: signer.signature_algorithm(),
        signature: signature_bits(signer, &to_be_signed)?,
    }
    .to_der()
    .map_err(encoding(what))
}

/// The extensions of an authority; `path_length` 0 for one that issues to end entities only.
pub(crate) fn authority_extensions(
    key: &SubjectPublicKeyInfoOwned,
    issuer_key: &SubjectPublicKeyInfoOwned,
    path_length: Option<u8>,
) -> Result<Vec<Extension>, CertsTestError> {
    Ok(vec![
        extension(&BasicConstraints { ca: true, path_len_constraint: path_length }, true)?,
        extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign), true)?,
        subject_key(key)?,
        authority_key(issuer_key)?,
    ])
}

/// The extensions of a signer: a critical key usage and the two key identifiers.
pub(crate) fn end_entity_extensions(
    key: &SubjectPublicKeyInfoOwned,
    issuer_key: &SubjectPublicKeyInfoOwned,
    usage: KeyUsage,
) -> Result<Vec<Extension>, CertsTestError> {
    Ok(vec![extension(&usage, true)?, subject_key(key)?, authority_key(issuer_key)?])
}

/// One extension whose value is DER.
pub(crate) fn extension<T: AssociatedOid + Encode>(
    value: &T,
    critical: bool,
) -> Result<Extension, CertsTestError> {
    let content = value.to_der().map_err(encoding("an extension"))?;
    raw_extension(T::OID, critical, &content)
}

/// One extension whose value is given as it stands in the OCTET STRING.
pub(crate) fn raw_extension(
    oid: ObjectIdentifier,
    critical: bool,
    content: &[u8],
) -> Result<Extension, CertsTestError> {
    let extn_value = OctetString::new(content).map_err(encoding("an extension"))?;
    Ok(Extension { extn_id: oid, critical, extn_value })
}

/// The same certificate with one extension's content replaced and its signature left alone.
pub(crate) fn tamper(der: &[u8], oid: ObjectIdentifier, content: &[u8]) -> Result<Vec<u8>, CertsTestError> {
    let tampered = || {
        let mut certificate = Certificate::from_der(der)?;
        for extension in certificate.tbs_certificate.extensions.iter_mut().flatten() {
            if extension.extn_id == oid {
                extension.extn_value = OctetString::new(content)?;
            }
        }
        certificate.to_der()
    };
    tampered().map_err(encoding("a tampered certificate"))
}

/// RFC 7093 2: any method that gives unique values will do; here the first 160 bits of SM3.
fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> Result<OctetString, CertsTestError> {
    let digest = Sm3::digest(key.subject_public_key.raw_bytes());
    OctetString::new(&digest[..20]).map_err(encoding("a key identifier"))
}

fn subject_key(key: &SubjectPublicKeyInfoOwned) -> Result<Extension, CertsTestError> {
    extension(&SubjectKeyIdentifier(key_identifier(key)?), false)
}

fn authority_key(key: &SubjectPublicKeyInfoOwned) -> Result<Extension, CertsTestError> {
    let key_identifier = Some(key_identifier(key)?);
    extension(&AuthorityKeyIdentifier { key_identifier, ..Default::default() }, false)
}

fn signature_bits(signer: &SoftwareKey, message: &[u8]) -> Result<BitString, CertsTestError> {
    BitString::from_bytes(&signer.sign(message)?).map_err(encoding("a signature"))
}

/// RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime after.
fn x509_time(at: OffsetDateTime) -> Result<Time, CertsTestError> {
    let seconds = u64::try_from(at.unix_timestamp()).map_err(|_| CertsTestError::Time(at))?;
    let duration = std::time::Duration::from_secs(seconds);
    if at.to_offset(time::UtcOffset::UTC).year() <= 2049 {
        UtcTime::from_unix_duration(duration).map(Time::UtcTime)
    } else {
        GeneralizedTime::from_unix_duration(duration).map(Time::GeneralTime)
    }
    .map_err(|_| CertsTestError::Time(at))
}

fn encoding(what: &'static str) -> impl Fn(der::Error) -> CertsTestError {
    move |source| CertsTestError::Encode { what, source }
}
