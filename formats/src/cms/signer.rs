//! Judging one signer: the signature, the signed attributes, the certificate.

use std::cell::Cell;

use const_oid::ObjectIdentifier;
use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use spki::AlgorithmIdentifierOwned;
use time::OffsetDateTime;
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::Content;
use super::structure::{SignedAttributes, SignerIdentifier, SignerInfo};
use super::unsigned::attribute_reports;
use super::verify::{SignerReport, error_code};
use crate::algorithm::Algorithm;
use crate::chain::{TrustStore, Usage, validate};
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::oid;
use crate::scheme::{HashAlgorithm, SignatureScheme, without_parameters};
use crate::verdict::Judgement;
use crate::x509::{Certificate, moment};

/// What all signers of one SignedData share.
pub(super) struct Context<'a> {
    pub(super) signer_id: &'a [u8],
    pub(super) trust: &'a TrustStore,
    pub(super) at: OffsetDateTime,
    pub(super) certificates: &'a [Certificate],
    pub(super) usage: Usage,
    /// How many more counter-signatures and timestamps are judged.
    pub(super) nested_left: Cell<usize>,
}

/// What a signer must have signed.
pub(super) struct Signed<'a> {
    /// None for a counter-signature, which names no type (RFC 5652, 11.4).
    pub(super) content_type: Option<ObjectIdentifier>,
    /// What comes along, or the signature that is counter-signed.
    pub(super) attached: Option<&'a [u8]>,
    /// What the caller gave.
    pub(super) given: Option<&'a Content>,
    /// What the SignedData announces; a counter-signature's are not announced.
    pub(super) digest_algorithms: Option<&'a [AlgorithmIdentifierOwned]>,
}

impl Context<'_> {
    /// The report, without what is in the unsigned attributes.
    pub(super) fn signer(&self, signer: &SignerInfo<'_>, signed: &Signed<'_>) -> SignerReport {
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
            checked: false,
            certificate: certificate.cloned(),
            attributes: attribute_reports(signer),
            counter_signatures: Vec::new(),
            timestamps: Vec::new(),
        };
        let Some(certificate) = certificate else {
            report
                .judgement
                .indeterminate("signer_certificate_absent", "the signer's certificate is not at hand");
            return report;
        };
        report.checked = match self.signature(signer, signed, certificate, &mut report) {
            Ok(checked) => checked,
            Err(error) => {
                match error_code(&error) {
                    code @ "unsupported_algorithm" => report.judgement.indeterminate(code, error.to_string()),
                    code => report.judgement.invalid(code, error.to_string()),
                }
                false
            }
        };
        report.judgement.merge(validate(certificate, self.certificates, self.trust, self.usage, self.at));
        report
    }

    /// Judges all of a signer but the path of its certificate; true when its signature was checked
    /// and holds for the content.
    fn signature(
        &self,
        signer: &SignerInfo<'_>,
        signed: &Signed<'_>,
        certificate: &Certificate,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let key = certificate.public_key()?;
        let hash = HashAlgorithm::from_identifier(&signer.digest_algorithm)?;
        let of_hash = |algorithm: &_| HashAlgorithm::from_identifier(algorithm) == Ok(hash);
        if signed.digest_algorithms.is_some_and(|announced| !announced.iter().any(of_hash)) {
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
                let verifier = Some(&**self.trust.verifier());
                key.verify_scheme_with(scheme, self.signer_id, &attributes.der, signer.signature, verifier)?;
                algorithm_protection(attributes, signer, &mut report.judgement)?;
                Self::attributes(attributes, signed, hash, certificate, report)
            }
            None => self.content_signature(signer, signed, scheme, &key, report),
        }
    }

    /// Judges attributes whose signature holds (RFC 5652, 5.6 and 11).
    fn attributes(
        attributes: &SignedAttributes<'_>,
        signed: &Signed<'_>,
        hash: HashAlgorithm,
        certificate: &Certificate,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let judgement = &mut report.judgement;
        if let Some(expected) = signed.content_type {
            let content_type: ObjectIdentifier = required(attributes, oid::CONTENT_TYPE)?;
            if content_type != expected {
                judgement.invalid(
                    "content_type_mismatch",
                    format!("signed as {content_type}, carried as {expected}"),
                );
            }
        }
        report.signing_time = single::<Time>(attributes, oid::SIGNING_TIME)?.as_ref().map(moment);
        if names_signer(attributes, certificate)? == Some(false) {
            judgement.invalid(
                "signing_certificate_mismatch",
                "the signature was made for another certificate than the one at hand",
            );
        }
        let digest: OctetStringRef<'_> = required(attributes, oid::MESSAGE_DIGEST)?;
        let mut compared = false;
        if let Some(attached) = signed.attached {
            compared = true;
            if hash.digest(attached) != digest.as_bytes() {
                judgement.invalid("digest_mismatch", "the attached content is not what was signed");
            }
        }
        match signed.given {
            Some(Content::Digest(given)) if given.len() != hash.len() => judgement.indeterminate(
                "content_absent",
                format!("the digest given has not the {} bytes of the signer's", hash.len()),
            ),
            Some(Content::Digest(given)) => {
                compared = true;
                if given != digest.as_bytes() {
                    judgement.invalid("digest_mismatch", "the digest given is not what was signed");
                }
            }
            Some(Content::Bytes(content)) => {
                compared = true;
                if hash.digest(content) != digest.as_bytes() {
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
        signed: &Signed<'_>,
        scheme: SignatureScheme,
        key: &PublicKey,
        report: &mut SignerReport,
    ) -> Result<bool, FormatError> {
        let judgement = &mut report.judgement;
        if signed.content_type.is_some_and(|found| ![oid::CMS_DATA, oid::GM_DATA].contains(&found)) {
            // RFC 5652, 5.3: other types than data are never signed without attributes.
            judgement.invalid("signed_attributes_absent", "content of this type needs signed attributes");
        }
        let mut checked = false;
        let given = match signed.given {
            Some(Content::Bytes(content)) => Some(content.as_slice()),
            _ => None,
        };
        for content in signed.attached.into_iter().chain(given) {
            if is_signed_attributes(content) {
                // Signed attributes of another signature, passed off as content, would verify too.
                judgement.invalid("ambiguous_content", "the content is itself a set of signed attributes");
            }
            key.verify_scheme(scheme, self.signer_id, content, signer.signature)?;
            checked = true;
        }
        match signed.given {
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
        self.certificates.iter().chain(self.trust.certificates()).find(|certificate| match identifier {
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

/// Does the signed attribute signing-certificate-v2 (RFC 5035, 3), or the older one, name this certificate? None if
/// neither is there.
pub(super) fn names_signer(
    attributes: &SignedAttributes<'_>,
    certificate: &Certificate,
) -> Result<Option<bool>, FormatError> {
    let newer = single::<SigningCertificateV2>(attributes, oid::SIGNING_CERTIFICATE_V2)?;
    let older = single::<SigningCertificate>(attributes, oid::SIGNING_CERTIFICATE)?;
    let by_newer = newer.map(|binding| binding.names(certificate)).transpose()?;
    let by_older = older.map(|binding| binding.names(certificate));
    Ok(match (by_newer, by_older) {
        (None, None) => None,
        (newer, older) => Some(newer.unwrap_or(true) && older.unwrap_or(true)),
    })
}

/// What cmsAlgorithmProtection (RFC 6211) says must be what the signer info says.
fn algorithm_protection(
    attributes: &SignedAttributes<'_>,
    signer: &SignerInfo<'_>,
    judgement: &mut Judgement,
) -> Result<(), FormatError> {
    let Some(protected) = single::<AlgorithmProtection>(attributes, oid::CMS_ALGORITHM_PROTECTION)? else {
        return Ok(());
    };
    let same = |one: &AlgorithmIdentifierOwned, other: &AlgorithmIdentifierOwned| {
        one == other
            || one.oid == other.oid && without_parameters(one).is_ok() && without_parameters(other).is_ok()
    };
    let signature = protected.signature_algorithm.as_ref();
    if !same(&protected.digest_algorithm, &signer.digest_algorithm)
        || !signature.is_some_and(|algorithm| same(algorithm, &signer.signature_algorithm))
    {
        judgement.invalid(
            "algorithm_protection_mismatch",
            "the signer's algorithms are not those its signed attributes protect",
        );
    }
    Ok(())
}

/// RFC 6211, 2.
#[derive(Sequence)]
struct AlgorithmProtection {
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    signature_algorithm: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    mac_algorithm: Option<AlgorithmIdentifierOwned>,
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

/// RFC 2634, 5.4: certificates by their SHA-1.
#[derive(Sequence)]
struct SigningCertificate {
    certs: Vec<EssCertId>,
    #[asn1(optional = "true")]
    policies: Option<der::Any>,
}

/// RFC 2634, 5.4.1.
#[derive(Sequence)]
struct EssCertId {
    cert_hash: der::asn1::OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<der::Any>,
}

impl SigningCertificate {
    /// The first identifier is the signer's. SHA-1 tells certificates of one key apart here, it proves nothing.
    fn names(&self, certificate: &Certificate) -> bool {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        let found = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        self.certs.first().is_some_and(|first| first.cert_hash.as_bytes() == found.as_ref())
    }
}
