//! Judging documents that somebody stamped: a verdict is an answer, never an error.

use formats::Judgement;
use formats::chain::TrustStore;
use formats::cms::Family;
use formats::pdf::verify::{ChangeReport, Claims, Coverage};
use formats::pdf::{Limits, PdfInput, PdfSignature, PdfSignatureKind, verify};
use formats::seal::SealFacts;
use formats::tsp::TokenInfo;
use serde::Serialize;
use time::OffsetDateTime;

use crate::SignerSummary;
use crate::document::{OfdAnswer, verify_ofd};
use crate::list::{ListAnswer, verify_list};

/// What a stamped document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StampedFormat {
    /// ISO 32000-2.
    Pdf,
    /// GB/T 33190.
    Ofd,
    /// An item of a signed list, with its proof.
    #[serde(rename = "list-proof")]
    List,
}

/// A stamped document to be judged.
#[derive(Debug, Clone, Copy)]
pub struct StampVerification<'a> {
    /// The file.
    pub document: &'a [u8],
    /// What it is.
    pub format: StampedFormat,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// When the certificates must have been good, unless a timestamp proves that a signature is older.
    pub at: OffsetDateTime,
}

/// The answer on a document.
#[derive(Debug, Clone, Serialize)]
pub struct StampAnswer {
    /// Verdict and findings over all signatures.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it was judged as.
    pub format: StampedFormat,
    /// How often it was saved; 0 where it cannot be read.
    pub revisions: usize,
    /// Each signature, in the order of the document's form.
    pub signatures: Vec<StampSignature>,
    /// It could be read.
    #[serde(skip)]
    pub readable: bool,
}

/// The answer on one signature of a document.
#[derive(Debug, Clone, Serialize)]
pub struct StampSignature {
    /// Verdict and findings on this signature alone.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The name of its field.
    pub field: String,
    /// `signature`, `document_timestamp` or `seal`.
    pub kind: PdfSignatureKind,
    /// Its form, such as `ETSI.CAdES.detached`.
    pub sub_filter: String,
    /// What it covers; null where that is no revision of the document.
    pub coverage: Option<Coverage>,
    /// What it permits as a certification: 1 nothing, 2 forms and signatures, 3 annotations too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certification: Option<i64>,
    /// What it says for people; nobody checks any of it.
    pub claims: Claims,
    /// Whose object identifiers it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<&'static str>,
    /// The time a timestamp proves it to have existed at, and its certificates were judged at.
    #[serde(with = "time::serde::rfc3339::option")]
    pub proven_at: Option<OffsetDateTime>,
    /// What a document timestamp says, to be believed if the verdict is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TokenInfo>,
    /// What a seal says, to be believed if the verdict is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealFacts>,
    /// Who signed.
    pub signers: Vec<SignerSummary>,
    /// What later revisions changed, and whether the signature lets it pass.
    pub changes: Vec<ChangeReport>,
}

/// The answer on a stamped document, in the shape of its format.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum StampedAnswer {
    /// On a PDF.
    Pdf(StampAnswer),
    /// On an OFD package.
    Ofd(OfdAnswer),
    /// On an item of a signed list.
    List(ListAnswer),
}

impl StampedAnswer {
    /// Verdict and findings over all signatures.
    #[must_use]
    pub fn judgement(&self) -> &Judgement {
        match self {
            Self::Pdf(answer) => &answer.judgement,
            Self::Ofd(answer) => &answer.judgement,
            Self::List(answer) => &answer.judgement,
        }
    }
}

/// Judges a stamped document by what it is; total.
#[must_use]
pub fn verify_stamped(trust: &TrustStore, asked: StampVerification<'_>) -> StampedAnswer {
    match asked.format {
        StampedFormat::Pdf => StampedAnswer::Pdf(verify_pdf(trust, asked)),
        StampedFormat::Ofd => {
            StampedAnswer::Ofd(verify_ofd(trust, asked.document, asked.signer_id, asked.at))
        }
        StampedFormat::List => StampedAnswer::List(verify_list(trust, asked, None)),
    }
}

/// Judges a PDF; total.
#[must_use]
pub fn verify_pdf(trust: &TrustStore, asked: StampVerification<'_>) -> StampAnswer {
    let report = verify(&PdfInput {
        pdf: asked.document,
        limits: Limits::default(),
        signer_id: asked.signer_id,
        trust,
        at: asked.at,
    });
    StampAnswer {
        judgement: report.judgement,
        format: StampedFormat::Pdf,
        revisions: report.revisions,
        signatures: report.signatures.into_iter().map(StampSignature::from).collect(),
        readable: report.readable,
    }
}

impl From<PdfSignature> for StampSignature {
    fn from(report: PdfSignature) -> Self {
        Self {
            judgement: report.judgement,
            field: report.field,
            kind: report.kind,
            sub_filter: report.sub_filter,
            coverage: report.coverage,
            certification: report.certification,
            claims: report.claims,
            family: report.family.map(Family::name),
            proven_at: report.proven_at,
            timestamp: report.timestamp,
            seal: report.seal,
            signers: report.signers.into_iter().map(SignerSummary::from).collect(),
            changes: report.changes,
        }
    }
}
