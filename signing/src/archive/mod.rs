//! Archive packages (归档包): a stamped document with all that it is verified with later, in one ZIP that needs no gateway.
//!
//! A package has a manifest, which names every other file by its length, SM3 and SHA-256; the manifest's signature by a key of
//! the site (CMS, detached); and an evidence package about that signature, so that it is good for as long as its timestamp is.
//! The files are the stamped document, the evidence package of its stamp ([`EvidencePackage`]) and the report on what the site found when
//! it made the package. What counts is judged anew by whoever reads it: the report is for people and for the record.

mod judge;

use formats::font::Font;
use formats::report::{Item, Report, ReportError};
use formats::scheme::HashAlgorithm;
use formats::words::Language;
use formats::{Certificate, TrustStore, Usage, Verdict};
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::Stamp;
use time::OffsetDateTime;

pub use judge::{
    ArchiveAnswer, ArchivedAnswer, MOST_ARCHIVED_EVIDENCE, ManifestAnswer, judge_archive, judge_manifest,
};

use crate::account::archived_item;
use crate::{
    EVIDENCE_FORMAT, EvidenceAnswer, EvidenceCore, EvidencePackage, EvidenceRecord, Judged, ValidationData,
    evidence_leaf, judge_evidence, merged_reports, validation_report,
};

/// What a manifest says that it is.
pub const ARCHIVE_FORMAT: &str = "license-gateway archive package 1";
/// The manifest's name; it is the first file.
pub const MANIFEST: &str = formats::opened::ARCHIVE_MANIFEST;
/// The name of the signature over the manifest.
pub const MANIFEST_SIGNATURE: &str = "archive-manifest.p7s";
/// The name of the evidence package about that signature.
pub const MANIFEST_EVIDENCE: &str = "archive-manifest.evidence.json";

/// What a package holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`ARCHIVE_FORMAT`].
    pub format: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    /// By which program.
    pub maker: String,
    /// At which site.
    pub site: String,
    /// The stamp that it is about.
    pub stamp: ArchivedStamp,
    /// What the site found of the stamped document then: `valid`, `invalid`, `indeterminate` or `unsigned`.
    pub verdict: String,
    /// Every other file but the manifest's own signature and evidence.
    pub members: Vec<Member>,
}

/// The stamp that a package is about, as the site's register has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedStamp {
    /// Its number.
    pub stamp_id: String,
    /// `pdf`, `ofd` or `digest`.
    pub format: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub stamped_at: OffsetDateTime,
    /// SM3 of the stamped document, or of the CMS over a digest; hexadecimal.
    pub document_sm3: String,
    /// The digest that was stamped, if one was; hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name, without folders.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// What it is.
    pub media_type: String,
    /// Its length.
    pub octets: u64,
    /// Hexadecimal.
    pub sm3: String,
    /// Hexadecimal.
    pub sha256: String,
}

/// What a file of a package is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The stamped document, or the CMS over a digest; one.
    Stamped,
    /// What a stamped digest is of; one at most.
    Content,
    /// The stamp's evidence package; one.
    Evidence,
    /// The report on what the site found; in several forms.
    Report,
}

/// What a package is made of.
pub struct ArchiveParts<'a> {
    /// The site's name.
    pub site: &'a str,
    /// The stamp, as the register has it.
    pub stamp: &'a Stamp,
    /// The stamped document, or the CMS over a digest: what [`Stamp::result_digest`] is of.
    pub stamped: Vec<u8>,
    /// What a stamped digest is of, if it is to be in the package.
    pub content: Option<Vec<u8>>,
    /// The stamp's evidence.
    pub evidence: EvidencePackage,
    /// When.
    pub made_at: OffsetDateTime,
}

/// A package whose manifest is to be signed.
#[derive(Debug)]
pub struct PreparedArchive {
    /// The manifest's text.
    pub manifest: String,
    /// What was found of the stamped document.
    pub verdict: Verdict,
    /// The files that it names, in their order.
    pub members: Vec<(String, Vec<u8>)>,
}

impl PreparedArchive {
    /// The word for the verdict, as the manifest has it.
    #[must_use]
    pub fn verdict_name(&self) -> &'static str {
        self.verdict.name()
    }
}

impl ArchiveParts<'_> {
    /// Judges the document, writes the report and the manifest.
    ///
    /// # Errors
    /// The report cannot be set in this font.
    pub fn prepared(self, trust: &TrustStore, font: &Font) -> Result<PreparedArchive, ReportError> {
        let Self { site, stamp, stamped, content, evidence, made_at } = self;
        let is_digest = stamp.format == "digest";
        let about = ArchivedStamp {
            stamp_id: stamp.id.clone(),
            format: stamp.format.clone(),
            stamped_at: stamp.at,
            document_sm3: hex::encode(stamp.result_digest),
            digest: is_digest.then(|| hex::encode(stamp.input_digest)),
        };
        let (name, media_type) = match stamp.format.as_str() {
            "pdf" => ("document.pdf", "application/pdf"),
            "ofd" => ("document.ofd", "application/ofd"),
            _ => ("signature.p7s", "application/cms"),
        };
        let judged = judge_evidence(trust, &evidence, &stamped, made_at);
        let answer = judge::archived(trust, &about, &stamped, content.as_deref(), &judged, made_at);
        let verdict = answer.judgement().verdict;
        let maker = concat!("license-gateway ", env!("CARGO_PKG_VERSION")).to_owned();
        let [text, pdf, validation] =
            report((trust, font), &maker, name, &stamped, (&answer, &judged), made_at)?;
        let evidence = serde_json::to_vec(&evidence).expect("texts are JSON");
        let content = content.map(|content| ("content", Role::Content, "application/octet-stream", content));
        let files = [
            Some((name, Role::Stamped, media_type, stamped)),
            content,
            Some(("evidence.json", Role::Evidence, "application/json", evidence)),
            Some(("report.json", Role::Report, "application/json", validation)),
            Some(("report.pdf", Role::Report, "application/pdf", pdf)),
            Some(("report.txt", Role::Report, "text/plain; charset=utf-8", text)),
        ];
        let (mut listed, mut members) = (Vec::new(), Vec::new());
        for (name, role, media_type, octets) in files.into_iter().flatten() {
            listed.push(Member {
                name: name.to_owned(),
                role,
                media_type: media_type.to_owned(),
                octets: octets.len() as u64,
                sm3: hex::encode(Sm3::digest(&octets)),
                sha256: hex::encode(HashAlgorithm::Sha256.digest(&octets)),
            });
            members.push((name.to_owned(), octets));
        }
        let manifest = Manifest {
            format: ARCHIVE_FORMAT.to_owned(),
            made_at,
            maker,
            site: site.to_owned(),
            stamp: about,
            verdict: verdict.name().to_owned(),
            members: listed,
        };
        let manifest = serde_json::to_string_pretty(&manifest).expect("texts and numbers are JSON") + "\n";
        Ok(PreparedArchive { manifest, verdict, members })
    }
}

/// The report on what was found: text, PDF, and in the structure of ETSI TS 119 102-2.
fn report(
    (trust, font): (&TrustStore, &Font),
    maker: &str,
    name: &str,
    stamped: &[u8],
    (answer, evidence): (&ArchivedAnswer, &EvidenceAnswer),
    made_at: OffsetDateTime,
) -> Result<[Vec<u8>; 3], ReportError> {
    let (grounds, at) = evidence.grounds().unwrap_or((trust, made_at));
    let signers = answer.signers();
    let judged = Judged {
        name: Some(name),
        signature: stamped,
        input: None,
        at,
        judged_at: made_at,
        judgement: answer.judgement(),
        signers: &signers,
        paths: &[],
    };
    let validation = merged_reports(vec![validation_report(&judged)]);
    let item: Item = archived_item(grounds, name, stamped, answer, evidence, at);
    let maker = maker.to_owned();
    let report = Report {
        language: Language::Zh,
        made_at,
        maker,
        reference: evidence.stamp_id.clone(),
        items: vec![item],
    };
    let pdf = report.to_pdf(font)?;
    Ok([report.to_text().into_bytes(), pdf, format!("{validation:#}\n").into_bytes()])
}

/// What is to be timestamped so that a signature over a manifest is good for as long as the timestamp is.
pub struct ManifestEvidence {
    core: String,
    data: ValidationData,
}

impl ManifestEvidence {
    /// Of the signature over a manifest, by what its certificate is judged by now.
    #[must_use]
    pub fn new(
        trust: &TrustStore,
        signer: &Certificate,
        signature: &[u8],
        stamp_id: &str,
        at: OffsetDateTime,
    ) -> Self {
        let data = ValidationData::of(trust, signer, &[], Usage::DocumentSigning, at);
        let core = EvidenceCore {
            data: data.names.clone(),
            document_sm3: hex::encode(Sm3::digest(signature)),
            format: "digest".to_owned(),
            octets: signature.len() as u64,
            proof: None,
            stamp_id: stamp_id.to_owned(),
            stamped_at: at,
        };
        Self { core: core.to_json(), data }
    }

    /// What the token is to be over: the root of a tree with one leaf.
    #[must_use]
    pub fn root(&self) -> store::Hash {
        evidence_leaf::<&str>(&self.core, &[])
    }

    /// The package, with the token; none where the token names nobody.
    #[must_use]
    pub fn finish(self, trust: &TrustStore, token: Vec<u8>, at: OffsetDateTime) -> Option<EvidencePackage> {
        let (authority, _) = ValidationData::of_token(trust, &token, at)?;
        let record = EvidenceRecord {
            data: authority.names,
            index: 0,
            log: None,
            path: Vec::new(),
            size: 1,
            token: hex::encode(Sm3::digest(&token)),
        };
        let items = self.data.items.into_iter().chain(authority.items).chain([token]);
        Some(EvidencePackage {
            format: EVIDENCE_FORMAT.to_owned(),
            core: self.core,
            records: vec![record.to_json()],
            items: items.map(|item| EvidencePackage::item(&item)).collect(),
        })
    }
}
