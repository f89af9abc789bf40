//! Judging electronic seals and sealed documents: a verdict is an answer, never an error.

use formats::Judgement;
use formats::chain::TrustStore;
use formats::cms::Content;
use formats::ofd::{self, OfdInput, OfdSignatureReport, SignatureKind, Stamp};
use formats::seal::{self, SealFacts, SealInput, SealSignature, SealSignatureInput, SealVersion};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{CmsVerification, SignerSummary, StampedFormat};

/// The answer on an electronic seal, or on a signature with one.
#[derive(Debug, Clone, Serialize)]
pub struct SealAnswer {
    /// Verdict and findings.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the seal says.
    pub seal: Option<SealFacts>,
    /// Which standard the signature follows; absent for a seal that nobody has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SealVersion>,
    /// Where what is sealed stands, as the signature says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property_info: Option<String>,
    /// The time it was judged at: a valid timestamp's, if it has one.
    #[serde(with = "time::serde::rfc3339")]
    pub judged_at: OffsetDateTime,
    /// Who set the seal.
    pub signers: Vec<SignerSummary>,
    /// The octets are a seal or a seal signature at all.
    #[serde(skip)]
    pub readable: bool,
}

/// The answer on an OFD package.
#[derive(Debug, Clone, Serialize)]
pub struct OfdAnswer {
    /// Verdict and findings over all signatures.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it was judged as.
    pub format: StampedFormat,
    /// How many documents it holds.
    pub documents: usize,
    /// How many pages they have.
    pub pages: usize,
    /// Its signatures.
    pub signatures: Vec<OfdSignatureAnswer>,
    /// It is a package at all.
    #[serde(skip)]
    pub readable: bool,
}

/// The answer on one signature of an OFD package.
#[derive(Debug, Clone, Serialize)]
pub struct OfdSignatureAnswer {
    /// Verdict and findings on this signature alone.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Its number in the package.
    pub id: String,
    /// With a seal, or alone.
    pub kind: SignatureKind,
    /// Its Signature.xml.
    pub part: String,
    /// The software that made it, as it says.
    pub provider: Option<String>,
    /// The time in Signature.xml.
    #[serde(with = "time::serde::rfc3339::option")]
    pub described_time: Option<OffsetDateTime>,
    /// The time it was judged at: a valid timestamp's, if it has one.
    #[serde(with = "time::serde::rfc3339")]
    pub judged_at: OffsetDateTime,
    /// How many parts it protects.
    pub protected_parts: usize,
    /// The parts that are shown and that it does not protect.
    pub uncovered: Vec<String>,
    /// Where its seal is shown.
    pub stamps: Vec<Stamp>,
    /// What its seal says.
    pub seal: Option<SealFacts>,
    /// Who signed.
    pub signers: Vec<SignerSummary>,
}

/// Judges an electronic seal (`SESeal`) or a signature with one (`SES_Signature`), over the input if one is given.
#[must_use]
pub fn verify_seal(trust: &TrustStore, asked: CmsVerification<'_>) -> SealAnswer {
    let CmsVerification { signature, input, signer_id, at } = asked;
    if SealSignature::from_der(signature).is_err() {
        let report = seal::verify_seal(&SealInput { seal: signature, signer_id, trust, at });
        return SealAnswer {
            seal: report.facts(),
            readable: report.seal.is_some(),
            judgement: report.judgement,
            signature: None,
            property_info: None,
            judged_at: at,
            signers: Vec::new(),
        };
    }
    let protected = input.map(Content::from);
    let report = seal::verify_signature(&SealSignatureInput { signature, protected, signer_id, trust, at });
    SealAnswer {
        seal: report.seal.as_ref().and_then(seal::SealReport::facts),
        readable: report.version.is_some(),
        judgement: report.judgement,
        signature: report.version,
        property_info: report.property_info,
        judged_at: report.judged_at,
        signers: report.signer.into_iter().map(SignerSummary::from).collect(),
    }
}

/// Judges every signature of an OFD package.
#[must_use]
pub fn verify_ofd(trust: &TrustStore, ofd: &[u8], signer_id: &[u8], at: OffsetDateTime) -> OfdAnswer {
    let report = ofd::verify(&OfdInput { ofd, signer_id, trust, at });
    OfdAnswer {
        judgement: report.judgement,
        format: StampedFormat::Ofd,
        documents: report.documents,
        pages: report.pages,
        signatures: report.signatures.into_iter().map(OfdSignatureAnswer::from).collect(),
        readable: report.readable,
    }
}

impl From<OfdSignatureReport> for OfdSignatureAnswer {
    fn from(report: OfdSignatureReport) -> Self {
        Self {
            judgement: report.judgement,
            id: report.id,
            kind: report.kind,
            part: report.part,
            provider: report.provider,
            described_time: report.described_time,
            judged_at: report.judged_at,
            protected_parts: report.protected_parts,
            uncovered: report.uncovered,
            stamps: report.stamps,
            seal: report.seal,
            signers: report.signers.into_iter().map(SignerSummary::from).collect(),
        }
    }
}
