//! Judging a package: every signature in it, what each protects, and what none does.

use std::collections::{BTreeSet, HashMap};

use time::OffsetDateTime;

use super::coverage::{Shown, shown};
use super::document::{Body, Deviations, Listed, SignatureKind, bodies, listed, pages};
use super::error::OfdError;
use super::package::Package;
use super::signature::{Description, Stamp};
use crate::chain::TrustStore;
use crate::cms::{self, Content, SignerReport, VerifyInput};
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::seal::{self, SealFacts, SealSignatureInput};
use crate::verdict::{Judgement, Verdict};

/// The most signatures of a package.
pub const MAX_SIGNATURES: usize = 100;
/// How many parts are named in a report; of more it says how many there are.
const MAX_NAMED: usize = 20;

/// A package and what to judge it by.
#[derive(Clone, Debug)]
pub struct OfdInput<'a> {
    /// The package.
    pub ofd: &'a [u8],
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs, for makers, signers and timestamps.
    pub trust: &'a TrustStore,
    /// The time everything is judged at, unless a valid timestamp proves an earlier one.
    pub at: OffsetDateTime,
}

/// The answer on a package.
#[derive(Clone, Debug)]
pub struct OfdReport {
    /// Everything together: valid when every signature is.
    pub judgement: Judgement,
    /// It is a package that can be read.
    pub readable: bool,
    /// How many documents it holds.
    pub documents: usize,
    /// How many pages they have.
    pub pages: usize,
    /// In the order of the lists.
    pub signatures: Vec<OfdSignatureReport>,
}

/// The answer on one signature.
#[derive(Clone, Debug)]
pub struct OfdSignatureReport {
    /// On this signature alone.
    pub judgement: Judgement,
    /// Its number in the list.
    pub id: String,
    /// With a seal, or alone.
    pub kind: SignatureKind,
    /// Its Signature.xml.
    pub part: String,
    /// The software that made it, as it says.
    pub provider: Option<String>,
    /// The time in Signature.xml, if it can be read.
    pub described_time: Option<OffsetDateTime>,
    /// The time it was judged at: a valid timestamp's, if it has one.
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
    pub signers: Vec<SignerReport>,
}

/// Judges a package. Beside the codes of [`seal`](crate::seal), [`cms`](crate::cms) and [`chain`](crate::chain) there
/// are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `malformed` `ofd_duplicate_entry` `ofd_unsafe_path` `ofd_part_missing` `ofd_part_altered` `ofd_part_uncovered` `seal_differs` `algorithm_mismatch` |
/// | indeterminate | `ofd_part_unreadable` `ofd_part_ambiguous` `unsupported_algorithm` `raw_signature` `encrypted` `too_large` |
/// | unsigned | `no_signatures` |
/// | note | `ofd_form_tolerated` `ofd_part_unreferenced` `ofd_stamp_page_unknown` |
pub fn verify(input: &OfdInput<'_>) -> OfdReport {
    let mut report = OfdReport {
        judgement: Judgement::new(),
        readable: false,
        documents: 0,
        pages: 0,
        signatures: Vec::new(),
    };
    if let Err(error) = judge(input, &mut report) {
        error.tell(&mut report.judgement);
    }
    report
}

fn judge(input: &OfdInput<'_>, report: &mut OfdReport) -> Result<(), OfdError> {
    let package = Package::open(input.ofd)?;
    let mut deviations = Deviations::default();
    let bodies = bodies(&package, &mut deviations)?;
    report.readable = true;
    report.documents = bodies.len();
    let mut lists = Vec::new();
    let mut page_ids = Vec::new();
    for body in &bodies {
        let pages = pages(&package, &body.root)?;
        report.pages += pages.len();
        page_ids.push(pages.into_iter().map(|page| page.id).collect::<BTreeSet<_>>());
        let signatures = match &body.signatures {
            Some(part) if package.has(part) => listed(&package, part, &mut deviations)?,
            _ => Vec::new(),
        };
        lists.push(signatures);
    }
    let count: usize = lists.iter().map(Vec::len).sum();
    if count > MAX_SIGNATURES {
        return Err(OfdError::TooLarge(format!("more than {MAX_SIGNATURES} signatures")));
    }
    let judge = match count {
        0 => None,
        _ => Some(Judge::new(input, &package, &bodies, lists.iter().flatten(), &mut deviations)?),
    };
    for name in deviations.into_names() {
        report.judgement.note("ofd_form_tolerated", name);
    }
    let Some(mut judge) = judge else {
        report.judgement.unsigned("no_signatures", "no document of the package has a signature");
        return Ok(());
    };
    for (signatures, page_ids) in lists.iter().zip(&page_ids) {
        for one in signatures {
            let answer = judge.signature(one, page_ids);
            report.judgement.merge(answer.judgement.clone());
            report.signatures.push(answer);
        }
    }
    Ok(())
}

/// What the signatures of a package share.
struct Judge<'a, 'p> {
    input: &'a OfdInput<'a>,
    package: &'p Package<'a>,
    shown: Shown,
    /// The lists and what they lead to: not shown, and never covered by an earlier signature.
    of_signatures: BTreeSet<String>,
    /// Several signatures protect the same parts.
    digests: HashMap<(String, HashAlgorithm), Result<Vec<u8>, OfdError>>,
}

impl<'a, 'p> Judge<'a, 'p> {
    fn new<'l>(
        input: &'a OfdInput<'a>,
        package: &'p Package<'a>,
        bodies: &[Body],
        listed: impl Iterator<Item = &'l Listed>,
        deviations: &mut Deviations,
    ) -> Result<Self, OfdError> {
        let lists: Vec<String> = bodies.iter().filter_map(|body| body.signatures.clone()).collect();
        let shown = shown(package, &lists, deviations)?;
        let mut of_signatures: BTreeSet<String> = lists.into_iter().collect();
        for one in listed {
            of_signatures.insert(one.part.clone());
            // One that cannot be read is told of where it is judged.
            if let Ok(description) = Description::read(package, &one.part, &mut Deviations::default()) {
                of_signatures.extend(description.signed_value);
                of_signatures.extend(description.seal.and_then(|(_, part)| part));
            }
        }
        Ok(Self { input, package, shown, of_signatures, digests: HashMap::new() })
    }

    fn signature(&mut self, listed: &Listed, pages: &BTreeSet<String>) -> OfdSignatureReport {
        let mut report = OfdSignatureReport {
            judgement: Judgement::new(),
            id: listed.id.clone(),
            kind: listed.kind,
            part: listed.part.clone(),
            provider: None,
            described_time: None,
            judged_at: self.input.at,
            protected_parts: 0,
            uncovered: Vec::new(),
            stamps: Vec::new(),
            seal: None,
            signers: Vec::new(),
        };
        let mut deviations = Deviations::default();
        if let Err(error) = self.judge(listed, pages, &mut report, &mut deviations) {
            error.tell(&mut report.judgement);
        }
        for name in deviations.into_names() {
            report.judgement.note("ofd_form_tolerated", name);
        }
        report
    }

    fn judge(
        &mut self,
        listed: &Listed,
        pages: &BTreeSet<String>,
        report: &mut OfdSignatureReport,
        deviations: &mut Deviations,
    ) -> Result<(), OfdError> {
        let octets = self.package.read(&listed.part)?;
        let description = Description::read(self.package, &listed.part, deviations)?;
        report.provider.clone_from(&description.provider);
        report.described_time = description.time();
        if report.described_time.is_none() {
            deviations.add("SignatureDateTime in another form".to_owned());
        }
        report.stamps.clone_from(&description.stamps);
        for stamp in description.stamps.iter().filter(|stamp| !pages.contains(&stamp.page)) {
            let detail = format!("the stamp {} is for the page {}, which is not there", stamp.id, stamp.page);
            report.judgement.note("ofd_stamp_page_unknown", detail);
        }
        self.parts(&description, report);
        let value =
            description.signed_value.as_deref().ok_or(OfdError::PartMissing("SignedValue".to_owned()))?;
        let value = self.package.read(value)?;
        // A list that forgets the type says "Seal" (the default): what is there decides.
        let kind = match crate::opened::open(&value).kind {
            Some(crate::opened::Kind::Cms) if listed.kind == SignatureKind::Seal => {
                deviations.add("a signature without a seal under the type Seal".to_owned());
                SignatureKind::Sign
            }
            _ => listed.kind,
        };
        match kind {
            SignatureKind::Seal => self.seal_signature(&octets, &value, &description, report, deviations),
            SignatureKind::Sign => self.plain_signature(&octets, &value, report),
        }
        judge_method(&description, report);
        Ok(())
    }

    /// The digests of what is protected, and what is not.
    fn parts(&mut self, description: &Description, report: &mut OfdSignatureReport) {
        let covered: BTreeSet<&String> =
            description.references.iter().filter_map(|reference| reference.part.as_ref()).collect();
        report.protected_parts = covered.len();
        match description.hash() {
            Ok(hash) => {
                let mut altered = Vec::new();
                for reference in &description.references {
                    let Some(part) = &reference.part else {
                        let detail = format!("{} is protected and not there", reference.location);
                        report.judgement.invalid("ofd_part_missing", detail);
                        continue;
                    };
                    match self.digest(part, hash) {
                        Ok(digest) if digest == reference.check_value => {}
                        Ok(_) => altered.push(part.clone()),
                        Err(error) => error.tell(&mut report.judgement),
                    }
                }
                if !altered.is_empty() {
                    report.judgement.invalid("ofd_part_altered", named(&altered));
                }
            }
            Err(reason) => report.judgement.indeterminate("unsupported_algorithm", reason),
        }
        report.uncovered = self.shown.parts.iter().filter(|part| !covered.contains(part)).cloned().collect();
        if !report.uncovered.is_empty() {
            report.judgement.invalid("ofd_part_uncovered", named(&report.uncovered));
        }
        if !self.shown.unreadable.is_empty() {
            // What they lead to is not known, and so neither is whether that is protected.
            report.judgement.indeterminate("ofd_part_unreadable", named(&self.shown.unreadable));
        }
        let leniently = self.shown.leniently.iter().filter(|part| !covered.contains(part));
        let leniently: Vec<String> = leniently.cloned().collect();
        if !leniently.is_empty() {
            report.judgement.indeterminate("ofd_part_ambiguous", named(&leniently));
        }
        let loose = |part: &&str| {
            let part = (*part).to_owned();
            !covered.contains(&part)
                && !self.shown.parts.contains(&part)
                && !self.shown.leniently.contains(&part)
                && !self.of_signatures.contains(&part)
        };
        let loose: Vec<String> = self.package.names().filter(loose).map(str::to_owned).collect();
        if !loose.is_empty() {
            report.judgement.note("ofd_part_unreferenced", named(&loose));
        }
    }

    fn digest(&mut self, part: &str, hash: HashAlgorithm) -> Result<Vec<u8>, OfdError> {
        let known = self.digests.entry((part.to_owned(), hash));
        known.or_insert_with(|| self.package.digest(part, hash)).clone()
    }

    fn seal_signature(
        &self,
        signature_xml: &[u8],
        value: &[u8],
        description: &Description,
        report: &mut OfdSignatureReport,
        deviations: &mut Deviations,
    ) {
        if is_raw(value) {
            return raw_signature(report);
        }
        let OfdInput { signer_id, trust, at, .. } = *self.input;
        let protected = Some(Content::Bytes(signature_xml.to_vec()));
        let answer =
            seal::verify_signature(&SealSignatureInput { signature: value, protected, signer_id, trust, at });
        report.judgement.merge(answer.judgement);
        report.judged_at = answer.judged_at;
        report.signers.extend(answer.signer);
        let Some(inside) = answer.seal else { return };
        report.seal = inside.facts();
        let Some(seal) = inside.seal else { return };
        match &description.seal {
            None => deviations.add("no Seal part".to_owned()),
            Some((location, None)) => {
                let detail = format!("the seal's part {location} is not there");
                report.judgement.invalid("ofd_part_missing", detail);
            }
            Some((_, Some(part))) => match self.package.read(part) {
                Ok(octets) if octets == seal.der() => {}
                Ok(_) => {
                    let detail = format!("{part} is another seal than the one that was set");
                    report.judgement.invalid("seal_differs", detail);
                }
                Err(error) => error.tell(&mut report.judgement),
            },
        }
    }

    /// A SignedData over the SM3 digest of Signature.xml, as octets or in base64, or over Signature.xml itself; with the
    /// content inside or outside.
    fn plain_signature(&self, signature_xml: &[u8], value: &[u8], report: &mut OfdSignatureReport) {
        if is_raw(value) {
            return raw_signature(report);
        }
        let OfdInput { signer_id, trust, at, .. } = *self.input;
        let digest = HashAlgorithm::Sm3.digest(signature_xml);
        let in_base64 =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &digest).into_bytes();
        // What is right is found by what the judge says of each; the first is what the standard has.
        let judge = |content: &[u8]| {
            let content = Some(Content::Bytes(content.to_vec()));
            cms::verify(VerifyInput { cms: value, content, signer_id, trust, at })
        };
        let first = judge(&digest);
        let fits = |report: &cms::SignedDataReport| {
            !["digest_mismatch", "signature_invalid", "ambiguous_content"]
                .iter()
                .any(|code| report.judgement.has(code))
        };
        let others = || [&*in_base64, signature_xml].into_iter().map(judge).find(fits);
        let answer = if fits(&first) { first } else { others().unwrap_or(first) };
        report.judgement.merge(answer.judgement);
        report.signers.extend(answer.signers);
    }
}

/// Signature.xml names the algorithm: it must be the one that was used, as far as it can be told.
fn judge_method(description: &Description, report: &mut OfdSignatureReport) {
    let Some(named) = description.method.as_deref().and_then(|text| text.parse().ok()) else { return };
    let identifier = spki::AlgorithmIdentifierOwned { oid: named, parameters: None };
    let Ok(named) = SignatureScheme::from_identifier(&identifier) else { return };
    let used = report.signers.first().and_then(|signer| signer.algorithm).map(SignatureScheme::from);
    if used.is_some_and(|used| used != named) {
        let detail = format!("Signature.xml names {named:?} and {used:?} was used");
        report.judgement.invalid("algorithm_mismatch", detail);
    }
}

/// Old producers store the bare SM2 signature: 64 octets, or a SEQUENCE of two integers.
fn is_raw(value: &[u8]) -> bool {
    value.len() == 64 || sm2_verify::Signature::from_der(value).is_ok()
}

fn raw_signature(report: &mut OfdSignatureReport) {
    let detail = "the signature value stands alone, without a certificate to verify it with";
    report.judgement.indeterminate("raw_signature", detail);
}

fn named(parts: &[String]) -> String {
    let first = parts[..parts.len().min(MAX_NAMED)].join(", ");
    match parts.len().checked_sub(MAX_NAMED) {
        Some(more @ 1..) => format!("{first} and {more} more"),
        _ => first,
    }
}

impl OfdReport {
    /// Is it signed, and every signature valid?
    pub fn is_valid(&self) -> bool {
        self.judgement.verdict == Verdict::Valid
    }
}
