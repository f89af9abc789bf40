//! X.509 certificates and CRLs (RFC 5280; GB/T 20518 for SM2), parsed strictly and kept in their
//! original octets.
//!
//! Both remember the last key whose signature they were found to have, as a trust store's are checked again
//! and again under one key.

use std::ops::Range;
use std::sync::OnceLock;

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Header, Reader, SliceReader};
use sm2_verify::Verifier;
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::error::FormatError;
use crate::key::PublicKey;
use crate::name::FoldedName;
use crate::scheme::SignatureScheme;
use crate::{oid, pem, sets};

/// The identifier SM2 certificate authorities sign with (GB/T 35276, 10).
pub(crate) const CA_SIGNER_ID: &[u8] = sm2_verify::DEFAULT_ID;

const CERTIFICATE: &str = "certificate";
const CERTIFICATE_LABEL: &str = "CERTIFICATE";
const CRL: &str = "CRL";
const CRL_LABEL: &str = "X509 CRL";

/// A certificate and the octets it came in.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Signed,
    issuer_der: Vec<u8>,
    subject_der: Vec<u8>,
    issuer_name: FoldedName,
    subject_name: FoldedName,
    inner: x509_cert::Certificate,
    public_key: OnceLock<Result<PublicKey, FormatError>>,
    signed_by: OnceLock<PublicKey>,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl Certificate {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        sets::check(CERTIFICATE, der)?;
        let inner = x509_cert::Certificate::from_der(der).map_err(|e| FormatError::der(CERTIFICATE, e))?;
        let signed = Signed::locate(der).map_err(|e| FormatError::der(CERTIFICATE, e))?;
        let name_der = |name: &Name| name.to_der().map_err(|e| FormatError::der(CERTIFICATE, e));
        let issuer_der = name_der(&inner.tbs_certificate.issuer)?;
        let subject_der = name_der(&inner.tbs_certificate.subject)?;
        let issuer_name = FoldedName::new(&inner.tbs_certificate.issuer);
        let subject_name = FoldedName::new(&inner.tbs_certificate.subject);
        Ok(Self {
            der: der.to_vec(),
            signed,
            issuer_der,
            subject_der,
            issuer_name,
            subject_name,
            inner,
            public_key: OnceLock::new(),
            signed_by: OnceLock::new(),
        })
    }

    /// Reads the one `CERTIFICATE` block in `text`.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der), and for text without such a block or with several.
    pub fn from_pem(text: &str) -> Result<Self, FormatError> {
        Self::from_der(&pem::single(CERTIFICATE, CERTIFICATE_LABEL, text)?)
    }

    /// Reads every `CERTIFICATE` block in `text`, in order; there may be none.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der), for the first block at fault.
    pub fn many_from_pem(text: &str) -> Result<Vec<Self>, FormatError> {
        pem::blocks(CERTIFICATE, CERTIFICATE_LABEL, text)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The octets it was read from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// As a `CERTIFICATE` block.
    pub fn to_pem(&self) -> String {
        pem::encode(CERTIFICATE_LABEL, &self.der)
    }

    /// The subject's public key.
    ///
    /// # Errors
    /// As [`PublicKey::from_spki_der`]: a certificate may be well formed and hold a key of a kind
    /// not known here.
    pub fn public_key(&self) -> Result<PublicKey, FormatError> {
        self.key().cloned()
    }

    /// The same without a copy; it is read once.
    pub(crate) fn key(&self) -> Result<&PublicKey, FormatError> {
        let read = || PublicKey::from_spki(&self.inner.tbs_certificate.subject_public_key_info);
        self.public_key.get_or_init(read).as_ref().map_err(FormatError::clone)
    }

    /// The subject's name (RFC 4514).
    pub fn subject(&self) -> String {
        self.inner.tbs_certificate.subject.to_string()
    }

    /// The issuer's name (RFC 4514).
    pub fn issuer(&self) -> String {
        self.inner.tbs_certificate.issuer.to_string()
    }

    /// The serial number in lower-case hex, without a sign octet.
    pub fn serial_hex(&self) -> String {
        let serial = self.inner.tbs_certificate.serial_number.as_bytes();
        hex::encode(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial))
    }

    /// The first second of validity.
    pub fn not_before(&self) -> OffsetDateTime {
        moment(&self.inner.tbs_certificate.validity.not_before)
    }

    /// The last second of validity.
    pub fn not_after(&self) -> OffsetDateTime {
        moment(&self.inner.tbs_certificate.validity.not_after)
    }

    /// The parsed structure.
    pub fn inner(&self) -> &x509_cert::Certificate {
        &self.inner
    }

    /// How it was signed.
    ///
    /// # Errors
    /// [`FormatError::AlgorithmsDiffer`] when its two AlgorithmIdentifiers are not equal,
    /// [`FormatError::UnsupportedAlgorithm`].
    pub fn signature_scheme(&self) -> Result<SignatureScheme, FormatError> {
        scheme(&self.inner.signature_algorithm, &self.inner.tbs_certificate.signature)
    }

    /// Checks its signature with an issuer's key.
    ///
    /// # Errors
    /// As [`signature_scheme`](Self::signature_scheme) and [`PublicKey::verify_scheme`].
    pub fn verify_signature(&self, issuer: &PublicKey) -> Result<(), FormatError> {
        self.verify_signature_with(issuer, None)
    }

    /// The same with `verifier`'s tables for SM2 keys that come often.
    pub(crate) fn verify_signature_with(
        &self,
        issuer: &PublicKey,
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        if self.signed_by.get() == Some(issuer) {
            return Ok(());
        }
        self.signed.verify(&self.der, self.signature_scheme()?, CA_SIGNER_ID, issuer, verifier)?;
        self.signed_by.get_or_init(|| issuer.clone());
        Ok(())
    }

    /// The content of its extension `id`, if it is there.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when it is there twice or is no `T`.
    pub(crate) fn extension<'a, T: Decode<'a>>(
        &'a self,
        id: const_oid::ObjectIdentifier,
    ) -> Result<Option<T>, FormatError> {
        let extensions = self.inner.tbs_certificate.extensions.as_deref().unwrap_or_default();
        single_extension(CERTIFICATE, extensions, id)
    }

    /// The issuer's name in DER, by which issuers are compared.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The subject's name in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The issuer's name for comparison by RFC 5280, 7.1.
    pub(crate) fn issuer_name(&self) -> &FoldedName {
        &self.issuer_name
    }

    /// The subject's name for comparison by RFC 5280, 7.1.
    pub(crate) fn subject_name(&self) -> &FoldedName {
        &self.subject_name
    }

    /// Is issuer and subject one (RFC 5280, 3.2)?
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer_name == self.subject_name
    }

    /// The content of subjectKeyIdentifier, if it is there and readable.
    pub(crate) fn subject_key_identifier(&self) -> Option<&[u8]> {
        let identifier: der::asn1::OctetStringRef<'_> =
            self.extension(oid::SUBJECT_KEY_IDENTIFIER).ok().flatten()?;
        Some(identifier.as_bytes())
    }
}

/// A CRL (RFC 5280, 5) and the octets it came in.
#[derive(Clone, Debug)]
pub struct Crl {
    der: Vec<u8>,
    signed: Signed,
    issuer_name: FoldedName,
    inner: CertificateList,
    /// The places of its entries, sorted by serial number.
    by_serial: Vec<u32>,
    /// A critical extension of an entry that is not known here.
    critical_entry_extension: Option<const_oid::ObjectIdentifier>,
    signed_by: OnceLock<PublicKey>,
    digest: OnceLock<[u8; 32]>,
}

impl PartialEq for Crl {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Crl {}

impl Crl {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        sets::check(CRL, der)?;
        let inner = CertificateList::from_der(der).map_err(|e| FormatError::der(CRL, e))?;
        let signed = Signed::locate(der).map_err(|e| FormatError::der(CRL, e))?;
        let issuer_name = FoldedName::new(&inner.tbs_cert_list.issuer);
        let entries = inner.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        // DER is at most 256 MiB long, so the places fit.
        let mut by_serial: Vec<u32> = (0..entries.len() as u32).collect();
        by_serial.sort_by_key(|&place| entries[place as usize].serial_number.as_bytes());
        let critical_entry_extension = entries
            .iter()
            .flat_map(|entry| entry.crl_entry_extensions.iter().flatten())
            .find(|e| e.critical && !matches!(e.extn_id, oid::CRL_REASON | oid::INVALIDITY_DATE))
            .map(|extension| extension.extn_id);
        Ok(Self {
            der: der.to_vec(),
            signed,
            issuer_name,
            inner,
            by_serial,
            critical_entry_extension,
            signed_by: OnceLock::new(),
            digest: OnceLock::new(),
        })
    }

    /// Reads the one `X509 CRL` block in `text`.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der), and for text without such a block or with several.
    pub fn from_pem(text: &str) -> Result<Self, FormatError> {
        Self::from_der(&pem::single(CRL, CRL_LABEL, text)?)
    }

    /// Reads every `X509 CRL` block in `text`, in order; there may be none.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der), for the first block at fault.
    pub fn many_from_pem(text: &str) -> Result<Vec<Self>, FormatError> {
        pem::blocks(CRL, CRL_LABEL, text)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The octets it was read from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The time it was issued.
    pub fn this_update(&self) -> OffsetDateTime {
        moment(&self.inner.tbs_cert_list.this_update)
    }

    /// The time by which its successor is promised, if one is.
    pub fn next_update(&self) -> Option<OffsetDateTime> {
        self.inner.tbs_cert_list.next_update.as_ref().map(moment)
    }

    /// The parsed structure.
    pub fn inner(&self) -> &CertificateList {
        &self.inner
    }

    /// Its issuer's name (RFC 4514).
    pub fn issuer(&self) -> String {
        self.inner.tbs_cert_list.issuer.to_string()
    }

    /// Its number (RFC 5280, 5.2.3), big-endian without leading zeros, if it has one that can be read.
    pub fn number(&self) -> Option<Vec<u8>> {
        let number: der::asn1::UintRef<'_> = self.extension(oid::CRL_NUMBER).ok().flatten()?;
        Some(number.as_bytes().to_vec())
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.by_serial.len()
    }

    /// Does it list nothing?
    pub fn is_empty(&self) -> bool {
        self.by_serial.is_empty()
    }

    /// The SHA-256 of its octets; made once, as CRLs may be long.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        use aws_lc_rs::digest::{SHA256, digest};
        let make = || {
            let mut octets = [0; 32];
            octets.copy_from_slice(digest(&SHA256, &self.der).as_ref());
            octets
        };
        self.digest.get_or_init(make)
    }

    /// Checks its signature with an issuer's key.
    ///
    /// # Errors
    /// As [`Certificate::verify_signature`].
    pub fn verify_signature(&self, issuer: &PublicKey) -> Result<(), FormatError> {
        self.verify_signature_with(issuer, None)
    }

    /// The same with `verifier`'s tables for SM2 keys that come often.
    pub(crate) fn verify_signature_with(
        &self,
        issuer: &PublicKey,
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        if self.signed_by.get() == Some(issuer) {
            return Ok(());
        }
        let scheme = scheme(&self.inner.signature_algorithm, &self.inner.tbs_cert_list.signature)?;
        self.signed.verify(&self.der, scheme, CA_SIGNER_ID, issuer, verifier)?;
        self.signed_by.get_or_init(|| issuer.clone());
        Ok(())
    }

    /// The issuer's name for comparison by RFC 5280, 7.1.
    pub(crate) fn issuer_name(&self) -> &FoldedName {
        &self.issuer_name
    }

    /// Do both speak of the same certificates and reasons, so that the newer one is all that counts for what they do
    /// not list?
    pub fn is_of_same_scope(&self, other: &Self) -> bool {
        let scope = |crl: &Self| {
            let ids = [oid::ISSUING_DISTRIBUTION_POINT, oid::AUTHORITY_KEY_IDENTIFIER];
            let extensions = crl.inner.tbs_cert_list.crl_extensions.as_deref().unwrap_or_default();
            let value =
                |id| extensions.iter().find(|e| e.extn_id == id).map(|e| e.extn_value.as_bytes().to_vec());
            (ids.map(value), crl.is_delta())
        };
        self.issuer_name == other.issuer_name && scope(self) == scope(other)
    }

    /// Does it list only what has changed since another CRL (RFC 5280, 5.2.4)?
    pub(crate) fn is_delta(&self) -> bool {
        let extensions = self.inner.tbs_cert_list.crl_extensions.as_deref().unwrap_or_default();
        extensions.iter().any(|extension| extension.extn_id == oid::DELTA_CRL_INDICATOR)
    }

    /// A critical extension of an entry that is not known here: such a CRL decides nothing (RFC 5280, 5.3).
    pub(crate) fn critical_entry_extension(&self) -> Option<const_oid::ObjectIdentifier> {
        self.critical_entry_extension
    }

    /// Its entries for a serial number.
    pub(crate) fn entries(&self, serial: &[u8]) -> impl Iterator<Item = &RevokedCert> {
        let entries = self.inner.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        let serial_at = move |place: u32| entries[place as usize].serial_number.as_bytes();
        let first = self.by_serial.partition_point(|&place| serial_at(place) < serial);
        let rest = self.by_serial[first..].iter();
        let here = rest.take_while(move |&&place| entries[place as usize].serial_number.as_bytes() == serial);
        here.map(move |&place| &entries[place as usize])
    }

    pub(crate) fn extension<'a, T: Decode<'a>>(
        &'a self,
        id: const_oid::ObjectIdentifier,
    ) -> Result<Option<T>, FormatError> {
        let extensions = self.inner.tbs_cert_list.crl_extensions.as_deref().unwrap_or_default();
        single_extension(CRL, extensions, id)
    }
}

/// Where in the original octets the signed part and the signature are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    part: Range<usize>,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads the shape that certificates, CRLs, requests and OCSP responses share:
    /// `SEQUENCE { signed part, AlgorithmIdentifier, BIT STRING, … }`.
    pub(crate) fn locate(der: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        Header::decode(&mut reader)?;
        let start = usize::try_from(reader.position())?;
        AnyRef::decode(&mut reader)?;
        let end = usize::try_from(reader.position())?;
        AlgorithmIdentifierOwned::decode(&mut reader)?;
        // Bits that are no whole octets are nobody's signature, as are none at all.
        let signature = BitStringRef::decode(&mut reader)?.as_bytes().unwrap_or_default().to_vec();
        Ok(Self { part: start..end, signature })
    }

    pub(crate) fn verify(
        &self,
        der: &[u8],
        scheme: SignatureScheme,
        signer_id: &[u8],
        signer: &PublicKey,
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        signer.verify_scheme_with(scheme, signer_id, &der[self.part.clone()], &self.signature, verifier)
    }
}

fn scheme(
    outer: &AlgorithmIdentifierOwned,
    signed: &AlgorithmIdentifierOwned,
) -> Result<SignatureScheme, FormatError> {
    if outer != signed {
        return Err(FormatError::AlgorithmsDiffer);
    }
    SignatureScheme::from_identifier(outer)
}

pub(crate) fn single_extension<'a, T: Decode<'a>>(
    what: &'static str,
    extensions: &'a [x509_cert::ext::Extension],
    id: const_oid::ObjectIdentifier,
) -> Result<Option<T>, FormatError> {
    let mut found = extensions.iter().filter(|extension| extension.extn_id == id);
    let Some(extension) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(FormatError::malformed(what, format!("its extension {id} is there twice")));
    }
    let value = extension.extn_value.as_bytes();
    sets::check(what, value)?;
    T::from_der(value)
        .map(Some)
        .map_err(|error| FormatError::malformed(what, format!("its extension {id}: {error}")))
}

pub(crate) fn moment(time: &Time) -> OffsetDateTime {
    time_of(time.to_unix_duration())
}

/// A time as `der` reads it.
pub(crate) fn time_of(since_1970: std::time::Duration) -> OffsetDateTime {
    i64::try_from(since_1970.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .expect("X.509 times end with the year 9999")
}
