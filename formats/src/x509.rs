//! X.509 certificates and CRLs (RFC 5280; GB/T 20518 for SM2), parsed strictly and kept in their
//! original octets.

use std::ops::Range;

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Header, Reader, SliceReader};
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::crl::CertificateList;
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::error::FormatError;
use crate::key::PublicKey;
use crate::scheme::SignatureScheme;
use crate::{oid, pem};

/// The identifier SM2 certificate authorities sign with (GB/T 35276, 10).
pub(crate) const CA_SIGNER_ID: &[u8] = sm2_verify::DEFAULT_ID;

const CERTIFICATE: &str = "certificate";
const CERTIFICATE_LABEL: &str = "CERTIFICATE";
const CRL: &str = "CRL";
const CRL_LABEL: &str = "X509 CRL";

/// A certificate and the octets it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Signed,
    issuer_der: Vec<u8>,
    subject_der: Vec<u8>,
    inner: x509_cert::Certificate,
}

impl Certificate {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        let inner = x509_cert::Certificate::from_der(der).map_err(|e| FormatError::der(CERTIFICATE, e))?;
        let signed = Signed::locate(der).map_err(|e| FormatError::der(CERTIFICATE, e))?;
        let name_der = |name: &Name| name.to_der().map_err(|e| FormatError::der(CERTIFICATE, e));
        let issuer_der = name_der(&inner.tbs_certificate.issuer)?;
        let subject_der = name_der(&inner.tbs_certificate.subject)?;
        Ok(Self { der: der.to_vec(), signed, issuer_der, subject_der, inner })
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
        PublicKey::from_spki(&self.inner.tbs_certificate.subject_public_key_info)
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
        self.signed.verify(&self.der, self.signature_scheme()?, CA_SIGNER_ID, issuer)
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
    pub(crate) fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The subject's name in DER.
    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The content of subjectKeyIdentifier, if it is there and readable.
    pub(crate) fn subject_key_identifier(&self) -> Option<&[u8]> {
        let identifier: der::asn1::OctetStringRef<'_> =
            self.extension(oid::SUBJECT_KEY_IDENTIFIER).ok().flatten()?;
        Some(identifier.as_bytes())
    }
}

/// A CRL (RFC 5280, 5) and the octets it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    signed: Signed,
    issuer_der: Vec<u8>,
    inner: CertificateList,
}

impl Crl {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] and [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        let inner = CertificateList::from_der(der).map_err(|e| FormatError::der(CRL, e))?;
        let signed = Signed::locate(der).map_err(|e| FormatError::der(CRL, e))?;
        let issuer_der = inner.tbs_cert_list.issuer.to_der().map_err(|e| FormatError::der(CRL, e))?;
        Ok(Self { der: der.to_vec(), signed, issuer_der, inner })
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

    /// Checks its signature with an issuer's key.
    ///
    /// # Errors
    /// As [`Certificate::verify_signature`].
    pub fn verify_signature(&self, issuer: &PublicKey) -> Result<(), FormatError> {
        let scheme = scheme(&self.inner.signature_algorithm, &self.inner.tbs_cert_list.signature)?;
        self.signed.verify(&self.der, scheme, CA_SIGNER_ID, issuer)
    }

    /// The issuer's name in DER.
    pub(crate) fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
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
        let signature = BitStringRef::decode(&mut reader)?
            .as_bytes()
            .ok_or_else(|| der::Tag::BitString.value_error())?
            .to_vec();
        Ok(Self { part: start..end, signature })
    }

    pub(crate) fn verify(
        &self,
        der: &[u8],
        scheme: SignatureScheme,
        signer_id: &[u8],
        signer: &PublicKey,
    ) -> Result<(), FormatError> {
        signer.verify_scheme(scheme, signer_id, &der[self.part.clone()], &self.signature)
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

fn single_extension<'a, T: Decode<'a>>(
    what: &'static str,
    extensions: &'a [x509_cert::ext::Extension],
    id: const_oid::ObjectIdentifier,
) -> Result<Option<T>, FormatError> {
    let mut found = extensions.iter().filter(|extension| extension.extn_id == id);
    let Some(extension) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(FormatError::malformed(what, format!("its extension {id} is there twice")));
    }
    T::from_der(extension.extn_value.as_bytes())
        .map(Some)
        .map_err(|error| FormatError::malformed(what, format!("its extension {id}: {error}")))
}

pub(crate) fn moment(time: &Time) -> OffsetDateTime {
    let seconds = time.to_unix_duration().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .expect("X.509 times end with the year 9999")
}
