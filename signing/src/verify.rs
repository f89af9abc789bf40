//! Judging signatures that somebody shows: a verdict is an answer, never an error.

use formats::chain::{TrustStore, Usage, validate};
use formats::cms::AttributeReport;
use formats::cms::{self, Family, SignerReport, VerifyInput};
use formats::describe::{CertificateFacts, describe};
use formats::tsp::{self, TokenInfo, TokenInput, TokenReport};
use formats::{Algorithm, Certificate, DigestSignature, FormatError, Judgement, PublicKey, verify_digests};
use serde::Serialize;
use time::OffsetDateTime;

use crate::Input;

/// Who is said to have signed, with what does not change from signature to signature: the same signers come again and
/// again.
#[derive(Debug)]
pub struct Signer {
    /// A certificate may be well formed and have a key of an unknown kind.
    key: Result<PublicKey, FormatError>,
    certificate: Option<(Certificate, SignerSummary)>,
}

/// A raw signature to be judged.
#[derive(Debug, Clone, Copy)]
pub struct RawVerification<'a> {
    /// Whose it should be.
    pub signer: &'a Signer,
    /// How it was made.
    pub algorithm: Algorithm,
    /// Over what.
    pub input: &'a Input,
    /// Strict DER for SM2 and ECDSA.
    pub signature: &'a [u8],
    /// The identifier in SM2's Z; without meaning for a digest, which has it in already.
    pub signer_id: &'a [u8],
    /// When the signer's certificate must have been good.
    pub at: OffsetDateTime,
}

/// A SignedData to be judged.
#[derive(Debug, Clone)]
pub struct CmsVerification<'a> {
    /// ContentInfo, DER or BER; for a timestamp, a response or a token.
    pub signature: &'a [u8],
    /// The content of a detached one.
    pub input: Option<Input>,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// When the certificates must have been good.
    pub at: OffsetDateTime,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationAnswer {
    /// Verdict and findings over all signers.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Whose object identifiers a SignedData has; absent for a raw signature and for what is no SignedData.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<&'static str>,
    /// Each signer; one for a raw signature with a certificate, none for a bare public key.
    pub signers: Vec<SignerSummary>,
}

/// One signer.
#[derive(Debug, Clone, Serialize)]
pub struct SignerSummary {
    /// Verdict and findings on this signer alone.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Subject, RFC 4514.
    pub subject: Option<String>,
    /// Issuer, RFC 4514.
    pub issuer: Option<String>,
    /// Serial number of the certificate, hexadecimal.
    pub serial: Option<String>,
    /// How this signer signed.
    pub algorithm: Option<Algorithm>,
    /// When the signer says it did.
    #[serde(with = "time::serde::rfc3339::option")]
    pub signing_time: Option<OffsetDateTime>,
    /// The certificate, PEM.
    pub certificate: Option<String>,
    /// What the certificate says, for people.
    pub facts: Option<CertificateFacts>,
    /// What stands beside the signature in a SignedData.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeReport>,
    /// Signatures over this signature, each judged by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_signatures: Vec<SignerSummary>,
    /// Timestamps over this signature, each judged by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timestamps: Vec<TimestampAnswer>,
}

/// The answer on a timestamp.
#[derive(Debug, Clone, Serialize)]
pub struct TimestampAnswer {
    /// Verdict and findings.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Whose object identifiers the token has; absent when there is no token to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<&'static str>,
    /// What the token says, to be believed if the verdict is valid.
    pub timestamp: Option<TokenInfo>,
    /// The authority.
    pub signers: Vec<SignerSummary>,
    /// The octets are a response or a token at all.
    #[serde(skip)]
    pub readable: bool,
}

impl Signer {
    /// The certificate, unless it is a bare key.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref().map(|(certificate, _)| certificate)
    }

    /// A certificate: it is judged too.
    #[must_use]
    pub fn of_certificate(certificate: Certificate) -> Self {
        let summary = SignerSummary {
            judgement: Judgement::new(),
            subject: Some(certificate.subject()),
            issuer: Some(certificate.issuer()),
            serial: Some(certificate.serial_hex()),
            algorithm: None,
            signing_time: None,
            certificate: Some(certificate.to_pem()),
            facts: describe(&certificate).ok(),
            attributes: Vec::new(),
            counter_signatures: Vec::new(),
            timestamps: Vec::new(),
        };
        Self { key: certificate.public_key(), certificate: Some((certificate, summary)) }
    }

    /// A bare public key: whose it is, is not judged.
    #[must_use]
    pub fn of_key(key: PublicKey) -> Self {
        Self { key: Ok(key), certificate: None }
    }

    fn judge(&self, trust: &TrustStore, at: OffsetDateTime) -> Judgement {
        if let Some((certificate, _)) = &self.certificate {
            return validate(certificate, &[], trust, Usage::DocumentSigning, at);
        }
        let mut judgement = Judgement::new();
        judgement.note("trust_not_judged", "a bare public key was given, not a certificate");
        judgement
    }
}

impl RawVerification<'_> {
    fn digested(&self) -> Result<DigestSignature<'_>, FormatError> {
        let (key, algorithm) = (self.signer.key.as_ref().map_err(FormatError::clone)?, self.algorithm);
        let digest = match self.input {
            Input::Digest(digest) => *digest,
            Input::Data(data) => key.digest(algorithm, self.signer_id, data)?,
        };
        Ok(DigestSignature { key, algorithm, digest, signature: self.signature })
    }

    fn answer(
        &self,
        trust: &TrustStore,
        checked: Result<(), FormatError>,
    ) -> Result<VerificationAnswer, FormatError> {
        let mut judgement = Judgement::new();
        match checked {
            Ok(()) => {}
            Err(error @ FormatError::SignatureInvalid) => {
                judgement.invalid("signature_invalid", error.to_string())
            }
            Err(error) => return Err(error),
        }
        judgement.merge(self.signer.judge(trust, self.at));
        let signers = self.signer.certificate.iter().map(|(_, summary)| SignerSummary {
            judgement: judgement.clone(),
            algorithm: Some(self.algorithm),
            ..summary.clone()
        });
        let signers = signers.collect();
        Ok(VerificationAnswer { judgement, family: None, signers })
    }
}

/// Judges raw signatures, and their signers' certificates where there are any; many together take less time than one by
/// one.
///
/// # Errors
/// Of each [`FormatError::UnsupportedKey`] for a certificate with such a key, [`FormatError::AlgorithmMismatch`] when
/// the key cannot have made such a signature, and [`FormatError::SignerIdLength`].
pub fn verify_raw(
    trust: &TrustStore,
    all: &[RawVerification<'_>],
) -> Vec<Result<VerificationAnswer, FormatError>> {
    let digested: Vec<_> = all.iter().map(RawVerification::digested).collect();
    let ready: Vec<_> = digested.iter().filter_map(|digested| digested.as_ref().ok().copied()).collect();
    let mut checked = verify_digests(&ready, trust.verifier()).into_iter();
    let answer = |(asked, digested): (&RawVerification<'_>, Result<_, FormatError>)| {
        digested?;
        asked.answer(trust, checked.next().expect("every signature that is ready was checked"))
    };
    all.iter().zip(digested).map(answer).collect()
}

/// Judges a SignedData of either family; total.
#[must_use]
pub fn verify_cms(trust: &TrustStore, asked: CmsVerification<'_>) -> VerificationAnswer {
    let report = cms::verify(VerifyInput {
        cms: asked.signature,
        content: asked.input.map(Into::into),
        signer_id: asked.signer_id,
        trust,
        at: asked.at,
    });
    VerificationAnswer {
        judgement: report.judgement,
        family: report.family.map(Family::name),
        signers: report.signers.into_iter().map(SignerSummary::from).collect(),
    }
}

impl From<SignerReport> for SignerSummary {
    fn from(report: SignerReport) -> Self {
        Self {
            judgement: report.judgement,
            subject: report.subject,
            issuer: report.issuer,
            serial: report.serial,
            algorithm: report.algorithm,
            signing_time: report.signing_time,
            facts: report.certificate.as_ref().and_then(|certificate| describe(certificate).ok()),
            certificate: report.certificate.map(|certificate| certificate.to_pem()),
            attributes: report.attributes,
            counter_signatures: report.counter_signatures.into_iter().map(Self::from).collect(),
            timestamps: report.timestamps.into_iter().map(TimestampAnswer::from).collect(),
        }
    }
}

/// Judges a timestamp (RFC 3161, GB/T 20520): a response or a bare token; total. The input is what was stamped.
#[must_use]
pub fn verify_timestamp(trust: &TrustStore, asked: CmsVerification<'_>) -> TimestampAnswer {
    TimestampAnswer::from(tsp::verify(TokenInput {
        token: asked.signature,
        content: asked.input.map(Into::into),
        signer_id: asked.signer_id,
        trust,
        at: asked.at,
    }))
}

/// Judges a timestamp over a digest by whatever hash function the token names; total. The input has no say.
#[must_use]
pub fn verify_timestamp_digest(
    trust: &TrustStore,
    asked: &CmsVerification<'_>,
    digest: &[u8],
) -> TimestampAnswer {
    let input =
        TokenInput { token: asked.signature, content: None, signer_id: asked.signer_id, trust, at: asked.at };
    TimestampAnswer::from(tsp::verify_digest(&input, digest))
}

impl From<TokenReport> for TimestampAnswer {
    fn from(report: TokenReport) -> Self {
        Self {
            judgement: report.judgement,
            family: report.family.map(Family::name),
            timestamp: report.info,
            signers: report.signers.into_iter().map(SignerSummary::from).collect(),
            readable: report.readable,
        }
    }
}
