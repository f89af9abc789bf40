//! OCSP responses (RFC 6960) as a source of revocation beside CRLs. [`chain`](crate::chain) judges by them.

use const_oid::ObjectIdentifier;
use der::asn1::{Any, AnyRef, OctetString, OctetStringRef};
use der::{Decode, Encode, Header, Reader, SliceReader, Tag, TagNumber, Tagged};
use sm2_verify::Verifier;
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::CrlReason;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponseStatus, ResponderId,
    SingleResponse, TbsRequest,
};

use crate::error::FormatError;
use crate::key::PublicKey;
use crate::name::FoldedName;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::x509::{CA_SIGNER_ID, Certificate, Signed, time_of};
use crate::{oid, sets};

const WHAT: &str = "OCSP response";

/// A successful basic response (RFC 6960, 4.2.1) and the octets it came in.
#[derive(Clone, Debug)]
pub struct OcspResponse {
    der: Vec<u8>,
    /// The BasicOCSPResponse, which is the part that is signed.
    basic_der: Vec<u8>,
    signed: Signed,
    basic: BasicOcspResponse,
    certificates: Vec<Certificate>,
    responder: Responder,
}

/// Who says that it made the response.
#[derive(Clone, Debug)]
enum Responder {
    Name(FoldedName),
    /// The SHA-1 of its key (RFC 6960, 4.2.1).
    Key(Vec<u8>),
}

/// What a response says about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    Revoked { at: OffsetDateTime, reason: CrlReason },
    Unknown,
}

impl PartialEq for OcspResponse {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for OcspResponse {}

impl OcspResponse {
    /// Reads DER; trailing bytes are refused.
    ///
    /// # Errors
    /// [`FormatError::Malformed`], for a responder's word that it does not answer too, and
    /// [`FormatError::BerNotSupported`].
    pub fn from_der(der: &[u8]) -> Result<Self, FormatError> {
        let failed = |error| FormatError::der(WHAT, error);
        let outer = x509_ocsp::OcspResponse::from_der(der).map_err(failed)?;
        if let Some(refusal) = refusal(outer.response_status) {
            return Err(FormatError::malformed(WHAT, format!("the responder says {refusal}")));
        }
        let Some(bytes) = outer.response_bytes.filter(|bytes| bytes.response_type == oid::OCSP_BASIC) else {
            return Err(FormatError::malformed(WHAT, "it is no basic response"));
        };
        let basic_der = bytes.response.into_bytes();
        sets::check(WHAT, &basic_der)?;
        let basic = BasicOcspResponse::from_der(&basic_der).map_err(failed)?;
        let signed = Signed::locate(&basic_der).map_err(failed)?;
        let certificates = certificates(&basic_der).map_err(failed)?;
        let certificates =
            certificates.into_iter().map(Certificate::from_der).collect::<Result<Vec<_>, _>>()?;
        let responder = match &basic.tbs_response_data.responder_id {
            ResponderId::ByName(name) => Responder::Name(FoldedName::new(name)),
            ResponderId::ByKey(hash) => Responder::Key(hash.as_bytes().to_vec()),
        };
        Ok(Self { der: der.to_vec(), basic_der, signed, basic, certificates, responder })
    }

    /// The octets it was read from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The time it was signed.
    pub fn produced_at(&self) -> OffsetDateTime {
        moment(&self.basic.tbs_response_data.produced_at)
    }

    /// The certificates that came along.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The serial numbers of the certificates that it speaks of, with repetitions.
    pub(crate) fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.basic.tbs_response_data.responses.iter().map(|one| one.cert_id.serial_number.as_bytes())
    }

    /// The nonce of the request it answers, if it repeats one (RFC 6960, 4.4.1).
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when it is there and no OCTET STRING.
    pub fn nonce(&self) -> Result<Option<&[u8]>, FormatError> {
        let extensions = self.basic.tbs_response_data.response_extensions.as_deref().unwrap_or_default();
        let nonce: Option<OctetStringRef<'_>> =
            crate::x509::single_extension(WHAT, extensions, oid::OCSP_NONCE)?;
        Ok(nonce.map(|nonce| nonce.as_bytes()))
    }

    /// How it was signed.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedAlgorithm`].
    pub fn signature_scheme(&self) -> Result<SignatureScheme, FormatError> {
        SignatureScheme::from_identifier(&self.basic.signature_algorithm)
    }

    /// Checks its signature with a responder's key.
    ///
    /// # Errors
    /// As [`signature_scheme`](Self::signature_scheme) and [`PublicKey::verify_scheme`].
    pub fn verify_signature(&self, responder: &PublicKey) -> Result<(), FormatError> {
        self.verify_signature_with(responder, None)
    }

    pub(crate) fn verify_signature_with(
        &self,
        responder: &PublicKey,
        verifier: Option<&Verifier>,
    ) -> Result<(), FormatError> {
        let scheme = self.signature_scheme()?;
        self.signed.verify(&self.basic_der, scheme, CA_SIGNER_ID, responder, verifier)
    }

    /// Is the holder of `certificate` the one who says that it made the response?
    pub(crate) fn is_from(&self, certificate: &Certificate) -> bool {
        match &self.responder {
            Responder::Name(name) => name == certificate.subject_name(),
            Responder::Key(hash) => *hash == sha1(key_bits(certificate)),
        }
    }

    /// What it says about `certificate`, issued by `issuer`.
    pub(crate) fn about<'a>(
        &'a self,
        certificate: &Certificate,
        issuer: &Certificate,
    ) -> impl Iterator<Item = Word<'a>> {
        let serial = certificate.inner().tbs_certificate.serial_number.clone();
        let (name, key) = (certificate.issuer_der().to_vec(), key_bits(issuer).to_vec());
        self.basic
            .tbs_response_data
            .responses
            .iter()
            .filter(move |response| {
                response.cert_id.serial_number == serial && is_issued_by(&response.cert_id, &name, &key)
            })
            .map(Word)
    }

    /// The critical extensions of the response as a whole.
    pub(crate) fn critical_extension(&self) -> Option<ObjectIdentifier> {
        critical(self.basic.tbs_response_data.response_extensions.as_deref())
    }
}

/// By which hash function a request names the issuer (RFC 6960, 4.1.1). No secret depends on it: a responder may know
/// one only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuerHash {
    /// SHA-1, which every responder knows (RFC 5019, 2.1.1).
    #[default]
    Sha1,
    /// SHA-256 (RFC 9654's profile of today).
    Sha256,
    /// SM3, for responders of national systems.
    Sm3,
}

/// A request for the status of `certificate`, issued by `issuer` (RFC 6960, 4.1), in DER; unsigned. A `nonce` is of 32
/// octets (RFC 9654, 2.1).
///
/// # Errors
/// [`FormatError::Malformed`] for what cannot be written in DER.
pub fn request(
    certificate: &Certificate,
    issuer: &Certificate,
    hash: IssuerHash,
    nonce: Option<&[u8; 32]>,
) -> Result<Vec<u8>, FormatError> {
    let failed = |error| FormatError::der("OCSP request", error);
    let digest = |message: &[u8]| match hash {
        IssuerHash::Sha1 => sha1(message),
        IssuerHash::Sha256 => HashAlgorithm::Sha256.digest(message),
        IssuerHash::Sm3 => HashAlgorithm::Sm3.digest(message),
    };
    let oid = match hash {
        IssuerHash::Sha1 => oid::SHA1,
        IssuerHash::Sha256 => oid::SHA256,
        IssuerHash::Sm3 => oid::SM3,
    };
    let octets = |octets: &[u8]| OctetString::new(octets).map_err(failed);
    let id = CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) },
        issuer_name_hash: octets(&digest(certificate.issuer_der()))?,
        issuer_key_hash: octets(&digest(key_bits(issuer)))?,
        serial_number: certificate.inner().tbs_certificate.serial_number.clone(),
    };
    let nonce = match nonce {
        None => None,
        Some(nonce) => {
            let value = octets(&octets(nonce)?.to_der().map_err(failed)?)?;
            Some(vec![Extension { extn_id: oid::OCSP_NONCE, critical: false, extn_value: value }])
        }
    };
    let asked = vec![x509_ocsp::Request { req_cert: id, single_request_extensions: None }];
    let tbs_request = TbsRequest { request_list: asked, request_extensions: nonce, ..TbsRequest::default() };
    OcspRequest { tbs_request, optional_signature: None }.to_der().map_err(failed)
}

/// One SingleResponse (RFC 6960, 4.2.1).
pub(crate) struct Word<'a>(&'a SingleResponse);

impl Word<'_> {
    pub(crate) fn status(&self) -> Status {
        match &self.0.cert_status {
            CertStatus::Good(_) => Status::Good,
            CertStatus::Revoked(info) => Status::Revoked {
                at: moment(&info.revocation_time),
                reason: info.revocation_reason.unwrap_or(CrlReason::Unspecified),
            },
            CertStatus::Unknown(_) => Status::Unknown,
        }
    }

    pub(crate) fn this_update(&self) -> OffsetDateTime {
        moment(&self.0.this_update)
    }

    pub(crate) fn next_update(&self) -> Option<OffsetDateTime> {
        self.0.next_update.as_ref().map(moment)
    }

    pub(crate) fn critical_extension(&self) -> Option<ObjectIdentifier> {
        critical(self.0.single_extensions.as_deref())
    }
}

fn moment(time: &OcspGeneralizedTime) -> OffsetDateTime {
    time_of(time.0.to_unix_duration())
}

fn critical(extensions: Option<&[Extension]>) -> Option<ObjectIdentifier> {
    extensions.unwrap_or_default().iter().find(|e| e.critical).map(|e| e.extn_id)
}

/// The octets of the subjectPublicKey, as key hashes are made over them.
fn key_bits(certificate: &Certificate) -> &[u8] {
    certificate.inner().tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
}

fn is_issued_by(id: &CertId, issuer_name: &[u8], issuer_key: &[u8]) -> bool {
    let hash = |message: &[u8]| match id.hash_algorithm.oid {
        oid::SHA1 => Some(sha1(message)),
        _ => HashAlgorithm::from_identifier(&id.hash_algorithm).ok().map(|hash| hash.digest(message)),
    };
    hash(issuer_name).as_deref() == Some(id.issuer_name_hash.as_bytes())
        && hash(issuer_key).as_deref() == Some(id.issuer_key_hash.as_bytes())
}

/// A mere name for keys here (RFC 6960, 4.2.1 and 4.3): whoever finds a second key of one hash has gained
/// nothing, as the signature is checked.
fn sha1(message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    digest(&SHA1_FOR_LEGACY_USE_ONLY, message).as_ref().to_vec()
}

fn refusal(status: OcspResponseStatus) -> Option<&'static str> {
    match status {
        OcspResponseStatus::Successful => None,
        OcspResponseStatus::MalformedRequest => Some("malformedRequest"),
        OcspResponseStatus::InternalError => Some("internalError"),
        OcspResponseStatus::TryLater => Some("tryLater"),
        OcspResponseStatus::SigRequired => Some("sigRequired"),
        OcspResponseStatus::Unauthorized => Some("unauthorized"),
    }
}

/// The octets of each certificate after the signature: `[0] EXPLICIT SEQUENCE OF Certificate OPTIONAL`.
fn certificates(basic: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(basic)?;
    Header::decode(&mut reader)?;
    for _ in 0..3 {
        AnyRef::decode(&mut reader)?;
    }
    if reader.is_finished() {
        return Ok(Vec::new());
    }
    let explicit = AnyRef::decode(&mut reader)?;
    let expected = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    explicit.tag().assert_eq(expected)?;
    let list = AnyRef::from_der(explicit.value())?;
    list.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(list.value())?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(reader.tlv_bytes()?);
    }
    Ok(found)
}
