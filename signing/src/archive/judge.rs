//! Judging an archive package from what is in it and the anchors of whoever asks; as of the stamp's time.
//!
//! Codes of findings, beside those on the document, its evidence and the manifest's signature:
//!
//! | verdict | codes |
//! |---|---|
//! | invalid | `archive_malformed` `archive_too_large` `archive_unsafe_path` `archive_encrypted` `archive_member_missing` `archive_member_added` `archive_member_duplicated` `archive_member_renamed` `archive_member_altered` `archive_manifest_unsigned` `archive_of_another_stamp` `archive_time_contradicted` |
//! | note | `archive_verdict_differs` |

use std::collections::BTreeMap;

use formats::ofd::{OfdError, Package};
use formats::scheme::HashAlgorithm;
use formats::{Judgement, TrustStore, Verdict};
use serde::Serialize;
use sm3::{Digest, Sm3};
use time::{Duration, OffsetDateTime};

use super::{ARCHIVE_FORMAT, ArchivedStamp, MANIFEST, MANIFEST_EVIDENCE, MANIFEST_SIGNATURE, Manifest, Role};
use crate::{
    CmsVerification, EvidenceAnswer, EvidenceCore, EvidencePackage, Input, SignerSummary, StampVerification,
    StampedAnswer, StampedFormat, VerificationAnswer, judge_evidence, verify_cms, verify_stamped,
};

/// Octets of a manifest and of its signature, each at most.
const MOST_OF_MANIFEST: u64 = 4 << 20;
/// Octets of each evidence package at most: its contents in base64, and what is around them.
pub const MOST_ARCHIVED_EVIDENCE: u64 = 48 << 20;
/// How far the time of a manifest may be from the one that its timestamp proves: as far as clocks and slow devices bring it.
const MOST_APART: Duration = Duration::DAY;
/// Files that a manifest names at most.
const MOST_MEMBERS: usize = 64;

/// The answer on an archive package.
#[derive(Debug, Clone, Serialize)]
pub struct ArchiveAnswer {
    /// Verdict and findings over all of it.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it says that it holds, to be believed if the verdict is valid; null where that cannot be read.
    pub manifest: Option<Manifest>,
    /// On the signature over the manifest.
    pub manifest_signature: Option<ManifestAnswer>,
    /// On the evidence of the stamp.
    pub evidence: Option<EvidenceAnswer>,
    /// On the stamped document, judged as of the time that its evidence proves.
    pub document: Option<ArchivedAnswer>,
    /// It is a package at all.
    #[serde(skip)]
    pub readable: bool,
}

/// The answer on the signature over a manifest.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestAnswer {
    /// Verdict and findings.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Since when it is proved to exist, which is when it was judged.
    #[serde(with = "time::serde::rfc3339::option")]
    pub proven_at: Option<OffsetDateTime>,
    /// Who signed.
    pub signers: Vec<SignerSummary>,
}

/// The answer on what was stamped.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ArchivedAnswer {
    /// On a document.
    Document(StampedAnswer),
    /// On the CMS over a digest.
    Digest(VerificationAnswer),
}

impl ArchivedAnswer {
    /// Verdict and findings over all signatures.
    #[must_use]
    pub fn judgement(&self) -> &Judgement {
        match self {
            Self::Document(answer) => answer.judgement(),
            Self::Digest(answer) => &answer.judgement,
        }
    }

    /// Who signed, over all signatures.
    #[must_use]
    pub fn signers(&self) -> Vec<SignerSummary> {
        match self {
            Self::Document(StampedAnswer::Pdf(answer)) => {
                answer.signatures.iter().flat_map(|signature| signature.signers.clone()).collect()
            }
            Self::Document(StampedAnswer::Ofd(answer)) => {
                answer.signatures.iter().flat_map(|signature| signature.signers.clone()).collect()
            }
            Self::Document(StampedAnswer::List(answer)) => answer.signers.clone(),
            Self::Digest(answer) => answer.signers.clone(),
        }
    }
}

/// Judges what was stamped as of the time that its evidence proves; of evidence that does not hold, as of `at`.
pub(super) fn archived(
    trust: &TrustStore,
    stamp: &ArchivedStamp,
    stamped: &[u8],
    content: Option<&[u8]>,
    evidence: &EvidenceAnswer,
    at: OffsetDateTime,
) -> ArchivedAnswer {
    let (trust, at) = evidence.grounds().unwrap_or((trust, at));
    let signer_id = formats::DEFAULT_SIGNER_ID;
    let format = match stamp.format.as_str() {
        "pdf" => StampedFormat::Pdf,
        "ofd" => StampedFormat::Ofd,
        _ => {
            let digest = stamp.digest.as_ref().and_then(|digest| hex::decode(digest).ok()?.try_into().ok());
            let by = |input| verify_cms(trust, CmsVerification { signature: stamped, input, signer_id, at });
            let mut answer = by(digest.map(Input::Digest));
            if let Some(content) = content {
                // Both are what was stamped, or one of them is not.
                let of_content = by(Some(Input::Data(content.to_vec())));
                if of_content.judgement.verdict != answer.judgement.verdict {
                    answer.judgement.merge(of_content.judgement);
                }
            }
            return ArchivedAnswer::Digest(answer);
        }
    };
    let asked = StampVerification { document: stamped, format, signer_id, at };
    ArchivedAnswer::Document(verify_stamped(trust, asked))
}

/// Judges a package by the anchors of `trust`; total. `at` is when it is asked: the last timestamps have to be good then.
#[must_use]
pub fn judge_archive(trust: &TrustStore, archive: &[u8], at: OffsetDateTime) -> ArchiveAnswer {
    let mut answer = ArchiveAnswer {
        judgement: Judgement::new(),
        manifest: None,
        manifest_signature: None,
        evidence: None,
        document: None,
        readable: false,
    };
    if let Err((code, detail)) = answer.read(trust, archive, at) {
        answer.judgement.invalid(code, detail);
    }
    answer
}

/// Judges the signature over a manifest at the time that the evidence about it proves, as [`judge_archive`] does; total.
#[must_use]
pub fn judge_manifest(
    trust: &TrustStore,
    manifest: Vec<u8>,
    signature: &[u8],
    proof: &EvidencePackage,
    at: OffsetDateTime,
) -> ManifestAnswer {
    let proved = judge_evidence(trust, proof, signature, at);
    let (trust, at) = proved.grounds().unwrap_or((trust, at));
    let asked = CmsVerification {
        signature,
        input: Some(Input::Data(manifest)),
        signer_id: formats::DEFAULT_SIGNER_ID,
        at,
    };
    let VerificationAnswer { mut judgement, signers, .. } = verify_cms(trust, asked);
    if proved.judgement.verdict != Verdict::Valid {
        judgement.merge(proved.judgement);
    }
    ManifestAnswer { judgement, proven_at: proved.proven_at, signers }
}

type Refused = (&'static str, String);

impl ArchiveAnswer {
    /// What keeps the rest from being judged is the error.
    fn read(&mut self, trust: &TrustStore, archive: &[u8], at: OffsetDateTime) -> Result<(), Refused> {
        let package = Package::open(archive).map_err(refused)?;
        self.readable = true;
        let own = |name: &str, most: u64| match package.has(name) {
            true => package.read_up_to(name, most).map_err(refused),
            false => Err(("archive_member_missing", name.to_owned())),
        };
        let text = own(MANIFEST, MOST_OF_MANIFEST)?;
        let malformed = |detail: String| ("archive_malformed", detail);
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| malformed(format!("{MANIFEST}: {error}")))?;
        manifest.check().map_err(|detail| malformed(format!("{MANIFEST}: {detail}")))?;
        self.members(&package, &manifest)?;
        let signature = own(MANIFEST_SIGNATURE, MOST_OF_MANIFEST)?;
        let proof = own(MANIFEST_EVIDENCE, MOST_ARCHIVED_EVIDENCE)?;
        let proof = parse(MANIFEST_EVIDENCE, &proof).map_err(malformed)?;
        self.signature(judge_manifest(trust, text, &signature, &proof, at), manifest.made_at);
        let (mut stamped, mut content, mut evidence) = (None, None, None);
        for member in &manifest.members {
            let (place, most) = match member.role {
                Role::Stamped => (&mut stamped, u64::MAX),
                Role::Content => (&mut content, u64::MAX),
                Role::Evidence => (&mut evidence, MOST_ARCHIVED_EVIDENCE),
                Role::Report => continue,
            };
            if package.has(&member.name) {
                *place = Some((&member.name, package.read_up_to(&member.name, most).map_err(refused)?));
            }
        }
        if let (Some((_, stamped)), Some((name, evidence))) = (stamped, evidence) {
            let content = content.map(|(_, content)| content);
            let evidence = parse(name, &evidence).map_err(malformed)?;
            self.document(trust, &manifest, (&stamped, content.as_deref()), &evidence, at);
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Whether the files are those that the manifest names, and no others.
    fn members(&mut self, package: &Package<'_>, manifest: &Manifest) -> Result<(), Refused> {
        let own = [MANIFEST, MANIFEST_SIGNATURE, MANIFEST_EVIDENCE];
        let listed = |name: &str| manifest.members.iter().any(|member| member.name == name);
        let added = package.names().filter(|name| !own.contains(name) && !listed(name));
        let mut added = added
            .map(|name| Ok((package.digest(name, HashAlgorithm::Sm3)?, name)))
            .collect::<Result<BTreeMap<_, _>, OfdError>>()
            .map_err(refused)?;
        if package.entries() != package.names().count() {
            self.judgement.invalid("archive_member_added", "it has folders, which nothing in it needs");
        }
        for member in &manifest.members {
            if !package.has(&member.name) {
                let renamed = hex::decode(&member.sm3).ok().and_then(|digest| added.remove(&digest));
                match renamed {
                    Some(name) => {
                        let detail = format!("{} is called {name}", member.name);
                        self.judgement.invalid("archive_member_renamed", detail);
                    }
                    None => self.judgement.invalid("archive_member_missing", member.name.clone()),
                }
                continue;
            }
            let digest = |hash| package.digest(&member.name, hash).map(hex::encode).map_err(refused);
            let differs = match () {
                () if package.octets(&member.name) != Some(member.octets) => Some("length"),
                () if digest(HashAlgorithm::Sm3)? != member.sm3 => Some("SM3"),
                () if digest(HashAlgorithm::Sha256)? != member.sha256 => Some("SHA-256"),
                () => None,
            };
            if let Some(what) = differs {
                let detail = format!("{} has another {what} than the manifest says", member.name);
                self.judgement.invalid("archive_member_altered", detail);
            }
        }
        for name in added.into_values() {
            self.judgement.invalid("archive_member_added", name);
        }
        Ok(())
    }

    fn signature(&mut self, signature: ManifestAnswer, made_at: OffsetDateTime) {
        let codes: Vec<_> = signature.judgement.findings.iter().map(|finding| finding.code).collect();
        let detail = codes.join(", ");
        match signature.judgement.verdict {
            Verdict::Valid => {}
            Verdict::Indeterminate => self.judgement.indeterminate("archive_manifest_unsigned", detail),
            Verdict::Invalid | Verdict::Unsigned => {
                self.judgement.invalid("archive_manifest_unsigned", detail);
            }
        }
        if let Some(proven) = signature.proven_at.filter(|proven| (*proven - made_at).abs() > MOST_APART) {
            let detail = format!("the manifest is of {made_at}, its timestamp of {proven}");
            self.judgement.invalid("archive_time_contradicted", detail);
        }
        self.manifest_signature = Some(signature);
    }

    fn document(
        &mut self,
        trust: &TrustStore,
        manifest: &Manifest,
        (stamped, content): (&[u8], Option<&[u8]>),
        evidence: &EvidencePackage,
        at: OffsetDateTime,
    ) {
        let stamp = &manifest.stamp;
        if hex::encode(Sm3::digest(stamped)) != stamp.document_sm3 {
            let detail =
                format!("the stamped document of {} has the SM3 {}", stamp.stamp_id, stamp.document_sm3);
            self.judgement.invalid("archive_of_another_stamp", detail);
        }
        let core: Option<EvidenceCore> = serde_json::from_str(&evidence.core).ok();
        if let Some(core) = core
            && (&core.stamp_id, &core.format, core.stamped_at.unix_timestamp())
                != (&stamp.stamp_id, &stamp.format, stamp.stamped_at.unix_timestamp())
        {
            let detail =
                format!("the evidence is that of {}, the manifest of {}", core.stamp_id, stamp.stamp_id);
            self.judgement.invalid("archive_of_another_stamp", detail);
        }
        let judged = judge_evidence(trust, evidence, stamped, at);
        // Without evidence the document may be good today and prove nothing tomorrow: then it is no archive package.
        self.judgement.merge(judged.judgement.clone());
        let answer = archived(trust, stamp, stamped, content, &judged, at);
        self.judgement.merge(answer.judgement().clone());
        let now = answer.judgement().verdict.name();
        if now != manifest.verdict {
            let detail = format!("{} when the package was made, {now} now", manifest.verdict);
            self.judgement.note("archive_verdict_differs", detail);
        }
        self.evidence = Some(judged);
        self.document = Some(answer);
    }
}

impl Manifest {
    /// What is not as every manifest is.
    fn check(&self) -> Result<(), String> {
        if self.format != ARCHIVE_FORMAT {
            return Err(format!("its format is not {ARCHIVE_FORMAT:?}"));
        }
        let is_digest = match self.stamp.format.as_str() {
            "pdf" | "ofd" => false,
            "digest" => true,
            other => return Err(format!("its stamp has the format {other:?}")),
        };
        let digest = self.stamp.digest.as_ref();
        if digest.is_some() != is_digest {
            return Err("the stamp of a digest names that, and no other does".to_owned());
        }
        if digest.is_some_and(|digest| digest.len() != 64 || hex::decode(digest).is_err()) {
            return Err("its stamp's digest is not one of 32 octets in hexadecimal".to_owned());
        }
        if self.members.len() > MOST_MEMBERS {
            return Err(format!("it names more than {MOST_MEMBERS} files"));
        }
        let count = |role| self.members.iter().filter(|member| member.role == role).count();
        if count(Role::Stamped) != 1 || count(Role::Evidence) != 1 || count(Role::Content) > 1 {
            return Err("it does not name one stamped document and its evidence".to_owned());
        }
        if count(Role::Content) > 0 && !is_digest {
            return Err("there is a content beside a document".to_owned());
        }
        let own = [MANIFEST, MANIFEST_SIGNATURE, MANIFEST_EVIDENCE];
        for (index, member) in self.members.iter().enumerate() {
            let name = member.name.as_str();
            let again = self.members[..index].iter().any(|other| other.name.eq_ignore_ascii_case(name));
            if again || own.contains(&name) || name.contains('/') {
                return Err(format!("it names {name}, which it may not, or twice"));
            }
        }
        Ok(())
    }
}

fn parse(name: &str, octets: &[u8]) -> Result<EvidencePackage, String> {
    serde_json::from_slice(octets).map_err(|error| format!("{name}: {error}"))
}

fn refused(error: OfdError) -> Refused {
    let detail = error.to_string();
    match error {
        OfdError::DuplicateEntry(_) => ("archive_member_duplicated", detail),
        OfdError::UnsafePath(_) => ("archive_unsafe_path", detail),
        OfdError::TooLarge(_) => ("archive_too_large", detail),
        OfdError::Encrypted(_) => ("archive_encrypted", detail),
        OfdError::PartMissing(_) => ("archive_member_missing", detail),
        OfdError::Package(reason) => ("archive_malformed", format!("not an archive package: {reason}")),
        _ => ("archive_malformed", detail),
    }
}
