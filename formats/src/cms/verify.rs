//! Judging a SignedData. Total: whatever comes in, a report comes out.

use std::borrow::Cow;
use std::cell::Cell;

use const_oid::ObjectIdentifier;
use time::OffsetDateTime;

use super::signer::{Context, Signed};
use super::structure::SignedData;
use super::{Content, Family};
use crate::algorithm::Algorithm;
use crate::ber;
use crate::chain::{TrustStore, Usage};
use crate::error::FormatError;
use crate::tsp::TokenReport;
use crate::verdict::{Judgement, Verdict};
use crate::x509::Certificate;

/// The most signers of one SignedData: each may cost a whole search for a path.
pub const MAX_SIGNERS: usize = 20;

/// The most counter-signatures and timestamps judged in one SignedData.
pub const MAX_NESTED: usize = 20;

/// The most certificates in one SignedData.
pub const MAX_CERTIFICATES: usize = 100;

/// A SignedData and what to judge it by.
#[derive(Clone, Debug)]
pub struct VerifyInput<'a> {
    /// A ContentInfo in DER or BER, of either family.
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
    /// The signature was checked and holds for the content.
    pub checked: bool,
    /// The signer's certificate, from the SignedData or else from the trust store.
    pub certificate: Option<Certificate>,
    /// What stands beside the signature, signed attributes first.
    pub attributes: Vec<AttributeReport>,
    /// Signatures over this signature (RFC 5652, 11.4). Anybody can add one, so none changes the verdict.
    pub counter_signatures: Vec<SignerReport>,
    /// Timestamps over this signature (RFC 3161, appendix A). They do not change the verdict either.
    pub timestamps: Vec<TokenReport>,
}

/// An attribute of a signer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AttributeReport {
    /// Its type, dotted.
    pub oid: String,
    /// The name that its standard gives it, where it is known here.
    pub name: Option<&'static str>,
    /// The signature covers it.
    pub signed: bool,
}

/// What a SignedData is judged as.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    /// What the signers' certificates must be good for.
    pub(crate) usage: Usage,
    /// Counter-signatures and timestamps are judged too.
    pub(crate) nested: bool,
}

/// A SignedData that was read, beside the report on it.
pub(crate) struct Inside {
    pub(crate) content_type: ObjectIdentifier,
    /// The attached content, whatever the verdict.
    pub(crate) content: Option<Vec<u8>>,
}

/// Judges a SignedData. Beside the codes of [`chain`](crate::chain) there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `malformed` `signature_invalid` `digest_mismatch` `content_type_mismatch` `algorithm_mismatch` `algorithm_protection_mismatch` `signing_certificate_mismatch` `signed_attributes_absent` `ambiguous_content` |
/// | indeterminate | `content_absent` `signer_certificate_absent` `unsupported_algorithm` |
/// | unsigned | `no_signers` |
/// | note | `ber_encoding` `certificate_unreadable` `unsigned_attributes_unreadable` `counter_signature_invalid` `counter_signature_indeterminate` `counter_signatures_not_judged` `timestamp_invalid` `timestamp_indeterminate` |
pub fn verify(input: VerifyInput<'_>) -> SignedDataReport {
    let (mut report, inside) = judge(&input, Role { usage: Usage::DocumentSigning, nested: true });
    let verified = report.signers.iter().all(|signer| signer.checked) && !report.signers.is_empty();
    report.content = inside
        .and_then(|inside| inside.content)
        .filter(|_| verified && report.judgement.verdict != Verdict::Invalid);
    report
}

/// The certificates in a SignedData that can be read; none when it cannot be.
pub fn certificates(octets: &[u8]) -> Vec<Certificate> {
    let Ok(der) = ber::to_der(octets) else { return Vec::new() };
    let Ok(signed_data) = SignedData::decode(&der).and_then(bounded) else { return Vec::new() };
    let certificates = signed_data.certificates.iter();
    certificates.filter_map(|der| Certificate::from_der(der).ok()).collect()
}

/// Judges a SignedData in a role. The report has no content; what was read stands beside it.
pub(crate) fn judge(input: &VerifyInput<'_>, role: Role) -> (SignedDataReport, Option<Inside>) {
    let mut judgement = Judgement::new();
    let unreadable = |mut judgement: Judgement, error: FormatError| {
        judgement.invalid(error_code(&error), error.to_string());
        (SignedDataReport { judgement, family: None, signers: Vec::new(), content: None }, None)
    };
    // Whole or not at all: what is broken in a part that is read late, or never, is refused too.
    let der = match ber::to_der(input.cms) {
        Ok(der) => der,
        Err(error) => return unreadable(judgement, error),
    };
    let signed_data = match SignedData::decode(&der).and_then(bounded) {
        Ok(signed_data) => signed_data,
        Err(error) => return unreadable(judgement, error),
    };
    if matches!(der, Cow::Owned(_)) {
        judgement.note("ber_encoding", "it is BER and was read as the DER of the same values");
    }
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
    let context = Context {
        signer_id: input.signer_id,
        trust: input.trust,
        at: input.at,
        certificates: &certificates,
        usage: role.usage,
        nested_left: Cell::new(if role.nested { MAX_NESTED } else { 0 }),
    };
    let signed = Signed {
        content_type: Some(signed_data.content_type),
        attached: signed_data.content,
        given: input.content.as_ref(),
        digest_algorithms: Some(&signed_data.digest_algorithms),
    };
    let mut signers = Vec::new();
    for signer in &signed_data.signers {
        let mut report = context.signer(signer, &signed);
        if role.nested {
            context.unsigned_attributes(signer, &mut report);
        }
        judgement.merge(report.judgement.clone());
        signers.push(report);
    }
    let inside =
        Inside { content_type: signed_data.content_type, content: signed_data.content.map(<[u8]>::to_vec) };
    (SignedDataReport { judgement, family: Some(signed_data.family), signers, content: None }, Some(inside))
}

/// DER as it came; what is no DER but BER, in DER's form. What is neither stays, for the reader to complain.
pub(crate) fn in_der(octets: &[u8]) -> Cow<'_, [u8]> {
    ber::to_der(octets).unwrap_or(Cow::Borrowed(octets))
}

fn bounded(signed_data: SignedData<'_>) -> Result<SignedData<'_>, FormatError> {
    if signed_data.signers.len() > MAX_SIGNERS || signed_data.certificates.len() > MAX_CERTIFICATES {
        return Err(FormatError::malformed("CMS SignedData", "it has too many signers or certificates"));
    }
    Ok(signed_data)
}

pub(crate) fn error_code(error: &FormatError) -> &'static str {
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
