//! Judging a SignedData. Total: whatever comes in, a report comes out.

use const_oid::ObjectIdentifier;
use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::structure::{SignedAttributes, SignedData, SignerIdentifier, SignerInfo};
use super::{Content, Family};
use crate::algorithm::Algorithm;
use crate::chain::{TrustStore, Usage, validate};
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::oid;
use crate::scheme::{HashAlgorithm, SignatureScheme, without_parameters};
use crate::verdict::{Judgement, Verdict};
use crate::x509::{Certificate, moment};

/// The most signers of one SignedData: each may cost a whole search for a path.
pub const MAX_SIGNERS: usize = 20;

/// The most certificates in one SignedData.
pub const MAX_CERTIFICATES: usize = 100;

/// A SignedData and what to judge it by.
#[derive(Clone, Debug)]
pub struct VerifyInput<'a> {
    /// A ContentInfo in DER, of either family.
    pub cms: &'a [u8],
    /// The content of a detached signature; given for an attached one, it must be the same.
    pub content: Option<Content>,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs.
    pub trust: &'a TrustStore,
    /// The time the certificates are judged at.
    pub at: OffsetDateTime,
}

/// The answer for a whole SignedData.
#[derive(Clone, Debug)]
pub struct SignedDataReport {
    /// All signers' judgements together: valid when every one is.
    pub judgement: Judgement,
    /// None when it could not be read.
    pub family: Option<Family>,
    /// In the order of the SignedData.
    pub signers: Vec<SignerReport>,
    /// The attached content, unless anything was found invalid or any signature could not be checked.
    pub content: Option<Vec<u8>>,
}

/// The answer for one signer.
#[derive(Clone, Debug)]
pub struct SignerReport {
    /// RFC 4514; None when the certificate is not at hand.
    pub subject: Option<String>,
    /// RFC 4514; None when the certificate is not at hand and the signer is named by key identifier.
    pub issuer: Option<String>,
    /// The certificate's serial number in lower-case hex; None as for the issuer.
    pub serial: Option<String>,
    /// None for schemes callers cannot ask for, such as ECDSA on P-384.
    pub algorithm: Option<Algorithm>,
    /// What the signer claims.
    pub signing_time: Option<OffsetDateTime>,
    /// On this signer alone.
    pub judgement: Judgement,
    /// The signer's certificate, from the SignedData or else from the trust store.
    pub certificate: Option<Certificate>,
}

/// Judges a SignedData. Beside the codes of [`chain`](crate::chain) there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `malformed` `ber_not_supported` `signature_invalid` `digest_mismatch` `content_type_mismatch` `algorithm_mismatch` `signing_certificate_mismatch` `signed_attributes_absent` `ambiguous_content` |
/// | indeterminate | `content_absent` `signer_certificate_absent` `unsupported_algorithm` |
/// | unsigned | `no_signers` |
/// | note | `certificate_unreadable` |
pub fn verify(input: VerifyInput<'_>) -> SignedDataReport {
    let mut judgement = Judgement::new();
    let signed_data = match SignedData::decode(input.cms).and_then(bounded) {
        Ok(signed_data) => signed_data,
        Err(error) => {
            judgement.invalid(error_code(&error), error.to_string());
            return SignedDataReport { judgement, family: None, signers: Vec::new(), content: None };
        }
    };
    let mut certificates = Vec::new();
    for der in &signed_data.certificates {
        match Certificate::from_der(der) {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => judgement.note("certificate_unreadable", error.to_string()),
        }
    }
    if signed_data.signers.is_empty() {
        judgement.unsigned("no_signers", "there are no signers");
    }
    let context = Context { input: &input, signed_data: &signed_data, certificates: &certificates };
    let mut all_checked = true;
    let mut signers = Vec::new();
    for signer in &signed_data.signers {
        let (report, checked) = context.signer(signer);
        judgement.merge(report.judgement.clone());
        all_checked &= checked;
        signers.push(report);
    }
    let verified = all_checked && !signers.is_empty() && judgement.verdict != Verdict::Invalid;
    SignedDataReport {
        judgement,
        family: Some(signed_data.family),
        signers,
        content: signed_data.content.filter(|_| verified).map(<[u8]>::to_vec),
    }
}

fn bounded(signed_data: SignedData<'_>) -> Result<SignedData<'_>, FormatError> {
    if signed_data.signers.len() > MAX_SIGNERS || signed_data.certificates.len() > MAX_CERTIFICATES {
        return Err(FormatError::malformed("CMS SignedData", "it has too many signers or certificates"));
    }
    Ok(signed_data)
}

fn error_code(error: &FormatError) -> &'static str {
    match error {
        FormatError::BerNotSupported { .. } => "ber_not_supported",
        FormatError::SignatureInvalid => "signature_invalid",
        FormatError::AlgorithmMismatch { .. } | FormatError::AlgorithmsDiffer => "algorithm_mismatch",
        FormatError::UnsupportedAlgorithm(_)
        | FormatError::UnsupportedKey(_)
        | FormatError::RsaModulus { .. } => "unsupported_algorithm",
        FormatError::Malformed { .. } | FormatError::SignerIdLength(_) | FormatError::Plan(_) => "malformed",
    }
}

/// What all signers of one SignedData share.
struct Context<'a> {
    input: &'a VerifyInput<'a>,
    signed_data: &'a SignedData<'a>,
    certificates: &'a [Certificate],
}

impl Context<'_> {
    /// The report, and whether the signature was checked and holds.
    fn signer(&self, signer: &SignerInfo<'_>) -> (SignerReport, bool) {
        let certificate = self.certificate(&signer.identifier);
        let (issuer, serial) = match (certificate, &signer.identifier) {
            (Some(certificate), _) => (Some(certificate.issuer()), Some(certificate.serial_hex())),
            (None, SignerIdentifier::IssuerAndSerial { issuer, serial }) => {
                (Name::from_der(issuer).ok().map(|name| name.to_string()), Some(hex::encode(serial)))
            }
            (None, SignerIdentifier::KeyIdentifier(_)) => (None, None),
        };
        let mut report = SignerReport {
            subject: certificate.map(Certificate::subject),
            issuer,
            serial,
            algorithm: None,
            signing_time: None,
            judgement: Judgement::new(),
            certificate: certificate.cloned(),
        };
        let Some(certificate) = certificate else {
            report
                .judgement
                .indeterminate("signer_certificate_absent", "the signer's certificate is not at hand");
            return (report, false);
        };
        let checked = match self.signature(signer, certificate, &mut report) {
            Ok(checked) => checked,
            Err(error) => {
                match error_code(&error) {
                    code @ "unsupported_algorithm" => report.judgement.indeterminate(code, error.to_string()),
                    code => report.judgement.invalid(code, error.to_string()),
                }
                false
            }
        };
        report.judgement.merge(validate(
            certificate,
            self.certificates,
            self.input.trust,
            Usage::DocumentSigning,
            self.input.at,
        ));
        (report, checked)
    }

    /// Judges all of a signer but the path of its certificate; true when its signature was checked
    /// and holds for the content.
    fn signature(
        &self,
        signer: &SignerInfo<'_>,
        certificate: &Certificate,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let key = certificate.public_key()?;
        let hash = HashAlgorithm::from_identifier(&signer.digest_algorithm)?;
        let announced = &self.signed_data.digest_algorithms;
        if !announced.iter().any(|algorithm| HashAlgorithm::from_identifier(algorithm) == Ok(hash)) {
            return Err(FormatError::malformed(
                "CMS SignedData",
                "a signer's hash is not among its digestAlgorithms",
            ));
        }
        let scheme = signer_scheme(&signer.signature_algorithm, hash, &key)?;
        if scheme.hash() != hash {
            return Err(FormatError::AlgorithmsDiffer);
        }
        report.algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| SignatureScheme::from(*algorithm) == scheme && key.supports(*algorithm));
        match &signer.signed_attributes {
            Some(attributes) => {
                key.verify_scheme(scheme, self.input.signer_id, &attributes.der, signer.signature)?;
                self.attributes(attributes, hash, certificate, report)
            }
            None => self.content_signature(signer, scheme, &key, report),
        }
    }

    /// Judges attributes whose signature holds (RFC 5652, 5.6 and 11).
    fn attributes(
        &self,
        attributes: &SignedAttributes<'_>,
        hash: HashAlgorithm,
        certificate: &Certificate,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let judgement = &mut report.judgement;
        let content_type: ObjectIdentifier = required(attributes, oid::CONTENT_TYPE)?;
        if content_type != self.signed_data.content_type {
            judgement.invalid(
                "content_type_mismatch",
                format!("signed as {content_type}, carried as {}", self.signed_data.content_type),
            );
        }
        report.signing_time = single::<Time>(attributes, oid::SIGNING_TIME)?.as_ref().map(moment);
        if let Some(binding) = single::<SigningCertificateV2>(attributes, oid::SIGNING_CERTIFICATE_V2)?
            && !binding.names(certificate)?
        {
            judgement.invalid(
                "signing_certificate_mismatch",
                "the signature was made for another certificate than the one at hand",
            );
        }
        let signed: OctetStringRef<'_> = required(attributes, oid::MESSAGE_DIGEST)?;
        let mut compared = false;
        if let Some(attached) = self.signed_data.content {
            compared = true;
            if hash.digest(attached) != signed.as_bytes() {
                judgement.invalid("digest_mismatch", "the attached content is not what was signed");
            }
        }
        match &self.input.content {
            Some(Content::Digest(digest)) if digest.len() != hash.len() => judgement.indeterminate(
                "content_absent",
                format!("the digest given has not the {} bytes of the signer's", hash.len()),
            ),
            Some(Content::Digest(digest)) => {
                compared = true;
                if digest != signed.as_bytes() {
                    judgement.invalid("digest_mismatch", "the digest given is not what was signed");
                }
            }
            Some(Content::Bytes(content)) => {
                compared = true;
                if hash.digest(content) != signed.as_bytes() {
                    judgement.invalid("digest_mismatch", "the content given is not what was signed");
                }
            }
            None if compared => {}
            None => judgement.indeterminate("content_absent", "the content is detached and was not given"),
        }
        Ok(compared)
    }

    /// Judges a signature straight over the content, without signed attributes.
    fn content_signature(
        &self,
        signer: &SignerInfo<'_>,
        scheme: SignatureScheme,
        key: &PublicKey,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let judgement = &mut report.judgement;
        if ![oid::CMS_DATA, oid::GM_DATA].contains(&self.signed_data.content_type) {
            // RFC 5652, 5.3: other types than data are never signed without attributes.
            judgement.invalid("signed_attributes_absent", "content of this type needs signed attributes");
        }
        let mut checked = false;
        let given = match &self.input.content {
            Some(Content::Bytes(content)) => Some(content.as_slice()),
            _ => None,
        };
        for content in self.signed_data.content.into_iter().chain(given) {
            if is_signed_attributes(content) {
                // Signed attributes of another signature, passed off as content, would verify too.
                judgement.invalid("ambiguous_content", "the content is itself a set of signed attributes");
            }
            key.verify_scheme(scheme, self.input.signer_id, content, signer.signature)?;
            checked = true;
        }
        match &self.input.content {
            Some(Content::Digest(digest)) if scheme != SignatureScheme::Sm2Sm3 => {
                key.verify_scheme_digest(scheme, digest, signer.signature)?;
                Ok(true)
            }
            Some(Content::Digest(_)) => {
                judgement.indeterminate(
                    "content_absent",
                    "SM2 without signed attributes is over Z and the content: a digest of the content is not enough",
                );
                Ok(false)
            }
            _ => {
                if !checked {
                    judgement.indeterminate("content_absent", "the content is detached and was not given");
                }
                Ok(checked)
            }
        }
    }

    fn certificate(&self, identifier: &SignerIdentifier<'_>) -> Option<&Certificate> {
        self.certificates.iter().chain(self.input.trust.certificates()).find(|certificate| match identifier {
            SignerIdentifier::IssuerAndSerial { issuer, serial } => {
                let found = &certificate.inner().tbs_certificate.serial_number;
                found.as_bytes() == *serial && certificate.issuer_der() == *issuer
            }
            SignerIdentifier::KeyIdentifier(id) => certificate.subject_key_identifier() == Some(*id),
        })
    }
}

/// The scheme of a signatureAlgorithm that may name only the key's algorithm (RFC 3370, 3.2).
fn signer_scheme(
    identifier: &AlgorithmIdentifierOwned,
    hash: HashAlgorithm,
    key: &PublicKey,
) -> Result<SignatureScheme, FormatError> {
    match (identifier.oid, key) {
        (oid::RSA_ENCRYPTION, _) => without_parameters(identifier).map(|()| SignatureScheme::RsaPkcs1(hash)),
        (oid::EC_PUBLIC_KEY, PublicKey::Sm2(_)) => Ok(SignatureScheme::Sm2Sm3),
        (oid::EC_PUBLIC_KEY, _) => Ok(SignatureScheme::Ecdsa(hash)),
        _ => SignatureScheme::from_identifier(identifier),
    }
}

/// The one value of an attribute (RFC 5652, 11: attributes here have one value and are there once).
fn single<'a, T: Decode<'a>>(
    attributes: &SignedAttributes<'a>,
    id: ObjectIdentifier,
) -> Result<Option<T>, FormatError> {
    const WHAT: &str = "set of signed attributes";
    let mut found = attributes.list.iter().filter(|(found, _)| *found == id);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, values)), None) if values.len() == 1 => {
            T::from_der(values[0]).map(Some).map_err(|error| FormatError::der(WHAT, error))
        }
        _ => Err(FormatError::malformed(WHAT, format!("attribute {id} has not just one value"))),
    }
}

fn required<'a, T: Decode<'a>>(
    attributes: &SignedAttributes<'a>,
    id: ObjectIdentifier,
) -> Result<T, FormatError> {
    single(attributes, id)?
        .ok_or_else(|| FormatError::malformed("set of signed attributes", format!("{id} is missing")))
}

fn is_signed_attributes(content: &[u8]) -> bool {
    SignedAttributes::from_set(content)
        .is_ok_and(|attributes| attributes.list.iter().any(|(id, _)| *id == oid::MESSAGE_DIGEST))
}

/// RFC 5035, 3.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
    #[asn1(optional = "true")]
    policies: Option<der::Any>,
}

/// RFC 5035, 4.
#[derive(Sequence)]
struct EssCertIdV2 {
    /// SHA-256 when absent.
    #[asn1(optional = "true")]
    hash_algorithm: Option<AlgorithmIdentifierOwned>,
    cert_hash: der::asn1::OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<der::Any>,
}

impl SigningCertificateV2 {
    /// The first identifier is the signer's.
    fn names(&self, certificate: &Certificate) -> Result<bool, FormatError> {
        let Some(first) = self.certs.first() else { return Ok(false) };
        let hash = first
            .hash_algorithm
            .as_ref()
            .map_or(Ok(HashAlgorithm::Sha256), HashAlgorithm::from_identifier)?;
        Ok(hash.digest(certificate.der()) == first.cert_hash.as_bytes())
    }
}
