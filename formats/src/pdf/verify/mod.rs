//! Judging what a PDF was signed with: each signature, what it covers, and what came after it.

mod change;
mod dss;
mod form;
mod integrity;
mod range;
mod step;

use std::collections::HashMap;

use lopdf::{Dictionary, Object, decode_text_string};
use serde::Serialize;
use time::OffsetDateTime;

use self::change::Change;
use self::range::Covered;
use super::document::{Document, Place, View, is_blank};
use super::fields::{SignatureField, SignatureValue};
use super::{Limits, PdfError};
use crate::chain::{TrustStore, Usage};
use crate::cms::{self, Content, Family, Role, SignerReport};
use crate::seal::{self, SealFacts, SealReport, SealSignatureInput};
use crate::tsp::{self, TokenInfo, TokenInput};
use crate::verdict::{Judgement, Verdict};

pub use change::ChangeReport;
pub(in crate::pdf) use change::{Needs, Permissions};
pub(in crate::pdf) use form::is_visible;

/// Changes after a signature that are told one by one; as many more may be told that are not permitted.
const MOST_TOLD: usize = 200;

/// The most signatures judged in one document.
pub const MAX_SIGNATURES: usize = 100;

/// A document and what to judge it by.
#[derive(Clone, Debug)]
pub struct PdfInput<'a> {
    /// The file.
    pub pdf: &'a [u8],
    /// How much of it is read.
    pub limits: Limits,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs.
    pub trust: &'a TrustStore,
    /// The time the certificates are judged at, unless a timestamp proves that a signature is older.
    pub at: OffsetDateTime,
}

/// The answer for a document.
#[derive(Clone, Debug)]
pub struct PdfReport {
    /// All signatures' judgements together.
    pub judgement: Judgement,
    /// It could be read.
    pub readable: bool,
    /// How often it was saved.
    pub revisions: usize,
    /// In the order of the form.
    pub signatures: Vec<PdfSignature>,
}

/// What a signature dictionary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PdfSignatureKind {
    /// Somebody signed.
    Signature,
    /// A timestamp over the document (ETSI EN 319 142-1, 5.4.3).
    DocumentTimestamp,
    /// Somebody sealed: a seal signature of GB/T 38540 or GM/T 0031.
    Seal,
}

/// The octets that a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The revision whose end is the end of what is covered, counted from 1.
    pub revision: usize,
    /// The length of that revision in octets, with those before it.
    pub octets: usize,
    /// Nothing came after it.
    pub whole_document: bool,
}

/// The answer for one signature.
#[derive(Clone, Debug)]
pub struct PdfSignature {
    /// The field's fully qualified name.
    pub field: String,
    /// What it is.
    pub kind: PdfSignatureKind,
    /// The form of the signature, such as `ETSI.CAdES.detached`.
    pub sub_filter: String,
    /// On this signature alone.
    pub judgement: Judgement,
    /// What it covers; none where that is no revision.
    pub coverage: Option<Coverage>,
    /// What it permits as a certification: 1 nothing, 2 forms and signatures, 3 annotations too.
    pub certification: Option<i64>,
    /// Name, reason, place, contact and time, as the signature dictionary claims them.
    pub claims: Claims,
    /// Whose object identifiers it has.
    pub family: Option<Family>,
    /// Who signed.
    pub signers: Vec<SignerReport>,
    /// What a document timestamp says; to be believed only if the verdict is valid.
    pub timestamp: Option<TokenInfo>,
    /// What the seal says; to be believed only if the verdict is valid.
    pub seal: Option<SealFacts>,
    /// The time a timestamp proves the signature to have existed at.
    pub proven_at: Option<OffsetDateTime>,
    /// What later revisions changed.
    pub changes: Vec<ChangeReport>,
}

/// What a signature dictionary says for people (ISO 32000-2, table 255). Nobody checks any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// /Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// /Reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// /Location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// /ContactInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// /M, a PDF date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// Judges a document; total. Beside the codes of [`cms::verify`], [`tsp::verify`],
/// [`seal::verify_signature`] and [`chain`](crate::chain) there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `byte_range_invalid` `contents_mismatch` `contents_trailing_data` `coverage_incomplete` `signature_misplaced` `signature_removed` `content_attached` `several_signers` `ambiguous_object` `object_misplaced` `unlisted_octets` `trailing_data` `document_changed` `page_changed` `content_changed` `font_changed` `field_added` `field_changed` `signature_replaced` `signature_appearance_changed` `change_not_permitted` `locked_field_changed` |
/// | indeterminate | `encrypted` `too_large` `sub_filter_not_supported` |
/// | unsigned | `no_signatures` |
/// | note | `later_changes_permitted` `active_content` `validation_data_unreadable` |
///
/// Later revisions may bring validation data, document timestamps and metadata to any document, fill in forms and add
/// signatures unless it is certified otherwise or fields are locked (to a certified document only invisible ones), and
/// change annotations where it is certified so. A new field that is seen must have a signature that is no timestamp.
pub fn verify(input: &PdfInput<'_>) -> PdfReport {
    let mut report =
        PdfReport { judgement: Judgement::new(), readable: true, revisions: 0, signatures: Vec::new() };
    let document = match Document::open_within(input.pdf, input.limits) {
        Ok(document) => document,
        Err(error) => {
            report.readable = !matches!(error, PdfError::Malformed { .. });
            object(&mut report.judgement, &error);
            return report;
        }
    };
    report.revisions = document.revisions().len();
    if let Err(error) = judge(input, &document, &mut report) {
        report.readable = !matches!(error, PdfError::Malformed { .. });
        object(&mut report.judgement, &error);
    }
    for signature in &report.signatures {
        report.judgement.merge(signature.judgement.clone());
    }
    report
}

fn object(judgement: &mut Judgement, error: &PdfError) {
    match error {
        PdfError::Malformed { .. } => judgement.invalid(error.code(), error.to_string()),
        PdfError::Encrypted | PdfError::TooLarge { .. } => {
            judgement.indeterminate(error.code(), error.to_string());
        }
    }
}

fn judge(input: &PdfInput<'_>, document: &Document<'_>, report: &mut PdfReport) -> Result<(), PdfError> {
    let view = document.latest();
    let signed: Vec<(SignatureField, SignatureValue)> = view
        .signature_fields()?
        .into_iter()
        .filter_map(|field| field.value.clone().map(|value| (field, value)))
        .collect();
    removed(document, &signed, &mut report.judgement);
    if signed.is_empty() {
        report.judgement.unsigned("no_signatures", "no signature field has a value");
        return Ok(());
    }
    if signed.len() > MAX_SIGNATURES {
        return Err(PdfError::TooLarge { what: "signatures", limit: MAX_SIGNATURES });
    }
    if !is_blank(document.trailing()) {
        let detail = format!("{} octets stand behind the last %%EOF", document.trailing().len());
        report.judgement.invalid("trailing_data", detail);
    }
    if has_active_content(&view)? {
        report.judgement.note("active_content", "the document has scripts or actions that run by themselves");
    }
    let trust = dss::with_validation_data(&view, input.trust, &mut report.judgement)?;
    let mut judge = Judge { input, document, trust, steps: HashMap::new(), proofs: Vec::new() };
    let mut places: Vec<_> = signed.iter().map(|(field, value)| judge.place(field, value)).collect();
    // Later timestamps prove when earlier signatures existed, so the last comes first.
    let mut order: Vec<usize> = (0..signed.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(places[*index].revision));
    for index in order {
        let (field, value) = &signed[index];
        judge.signature(field, value, &mut places[index])?;
    }
    report.signatures = places.into_iter().map(|place| place.signature).collect();
    Ok(())
}

/// A signature that an earlier revision had and the latest has not.
fn removed(document: &Document<'_>, signed: &[(SignatureField, SignatureValue)], judgement: &mut Judgement) {
    for revision in 0..document.revisions().len() - 1 {
        let before = document.view(revision).signature_fields().unwrap_or_default();
        for field in before.into_iter().filter(|field| field.value.is_some()) {
            if !signed.iter().any(|(now, _)| now.name == field.name) {
                let detail = format!("{} was signed in revision {}", field.name, revision + 1);
                judgement.invalid("signature_removed", detail);
                return;
            }
        }
    }
}

/// Scripts, and actions that need no click (ISO 32000-2, 12.6.3).
fn has_active_content(view: &View<'_, '_>) -> Result<bool, PdfError> {
    let catalog = view.catalog()?;
    let names = view.dictionary(&catalog, b"Names")?.unwrap_or_default();
    let action = view.get(&catalog, b"OpenAction")?;
    Ok(catalog.has(b"AA") || names.has(b"JavaScript") || matches!(action, Some(Object::Dictionary(_))))
}

/// What judges the signatures of one document.
struct Judge<'i, 'd, 'a> {
    input: &'i PdfInput<'i>,
    document: &'d Document<'a>,
    /// With the document's own validation data.
    trust: TrustStore,
    /// What each revision changed, as far as it was asked for.
    steps: HashMap<usize, Vec<Change>>,
    /// Valid document timestamps: the revision they cover, and when.
    proofs: Vec<(usize, OffsetDateTime)>,
}

/// A signature and where it stands.
struct Placed {
    signature: PdfSignature,
    /// The revision that it covers, from 0.
    revision: Option<usize>,
    covered: Option<Covered>,
    /// The signature's own octets.
    octets: Option<Vec<u8>>,
}

impl Judge<'_, '_, '_> {
    /// Finds out what a signature covers.
    fn place(&self, field: &SignatureField, value: &SignatureValue) -> Placed {
        let dictionary = &value.dictionary;
        let name = |key: &[u8]| dictionary.get(key).and_then(Object::as_name).unwrap_or_default();
        let sub_filter = String::from_utf8_lossy(name(b"SubFilter")).into_owned();
        let kind = match sub_filter.as_str() {
            "ETSI.RFC3161" => PdfSignatureKind::DocumentTimestamp,
            "GM.sm2seal" => PdfSignatureKind::Seal,
            _ => PdfSignatureKind::Signature,
        };
        let mut judgement = Judgement::new();
        let file = self.document.octets();
        let covered = Covered::read(dictionary, file.len(), &mut judgement);
        let octets = covered
            .as_ref()
            .and_then(|covered| range::contents(self.document, value, covered, &mut judgement));
        let revision = covered.as_ref().filter(|_| octets.is_some()).and_then(|covered| {
            let revision = covered.revision(self.document);
            if revision.is_none() {
                let detail = format!("what it covers ends at {}, where no revision ends", covered.after.end);
                judgement.invalid("coverage_incomplete", detail);
            }
            revision.filter(|revision| self.stands_in(*revision, field, value, &mut judgement))
        });
        let coverage = revision.map(|revision| Coverage {
            revision: revision + 1,
            octets: self.document.revisions()[revision].octets.end,
            whole_document: revision + 1 == self.document.revisions().len(),
        });
        let signature = PdfSignature {
            field: field.name.clone(),
            kind,
            sub_filter,
            judgement,
            coverage,
            certification: None,
            claims: Claims::read(dictionary),
            family: None,
            signers: Vec::new(),
            timestamp: None,
            seal: None,
            proven_at: None,
            changes: Vec::new(),
        };
        Placed { signature, revision, covered, octets }
    }

    /// The revision that is covered has the signature, and what it has it has within itself.
    fn stands_in(
        &self,
        revision: usize,
        field: &SignatureField,
        value: &SignatureValue,
        judgement: &mut Judgement,
    ) -> bool {
        let own = &self.document.revisions()[revision].octets;
        let inside = matches!(&value.place, Some(Place::File(place)) if own.start <= place.start && place.end <= own.end);
        let fields = self.document.view(revision).signature_fields().unwrap_or_default();
        let there = fields.iter().any(|then| {
            let same = |then: &SignatureValue| then.id == value.id && then.place == value.place;
            then.name == field.name && then.value.as_ref().is_some_and(same)
        });
        if !inside || !there {
            let detail = format!("revision {} that it covers is not the one that has it", revision + 1);
            judgement.invalid("signature_misplaced", detail);
            return false;
        }
        match self.document.beyond(revision) {
            Ok(None) => true,
            Ok(Some(what)) => {
                let detail = format!("{what} of a signed revision stands or reaches behind it");
                judgement.invalid("object_misplaced", detail);
                false
            }
            Err(error) => {
                object(judgement, &error);
                false
            }
        }
    }

    /// Judges a signature whose place is known.
    fn signature(
        &mut self,
        field: &SignatureField,
        value: &SignatureValue,
        placed: &mut Placed,
    ) -> Result<(), PdfError> {
        let (Some(covered), Some(octets)) = (&placed.covered, &placed.octets) else { return Ok(()) };
        let answer = &mut placed.signature;
        let content = Content::Bytes(covered.octets(self.document.octets()));
        let Some(element) = range::element(octets, &mut answer.judgement) else { return Ok(()) };
        let later = placed.revision.unwrap_or(usize::MAX);
        let proofs = self.proofs.iter().filter(|(revision, _)| *revision > later);
        let at = proofs.map(|(_, time)| *time).min();
        match answer.sub_filter.as_str() {
            "ETSI.CAdES.detached" | "adbe.pkcs7.detached" => self.signed_data(element, content, at, answer),
            "GM.sm2seal" => self.sealed(element, content, at, answer),
            "ETSI.RFC3161" => {
                self.timestamp(element, content, at, answer);
                if let (Some(revision), Some(info), Verdict::Valid) =
                    (placed.revision, &answer.timestamp, answer.judgement.verdict)
                {
                    self.proofs.push((revision, info.time));
                }
            }
            other => {
                let detail = format!("signatures of the form {other:?} are not judged");
                answer.judgement.indeterminate("sub_filter_not_supported", detail);
            }
        }
        if let Some(revision) = placed.revision {
            self.later(revision, field, value, answer)?;
        }
        Ok(())
    }

    fn asked<'s>(&'s self, element: &'s [u8], content: Content, at: OffsetDateTime) -> cms::VerifyInput<'s> {
        let signer_id = self.input.signer_id;
        cms::VerifyInput { cms: element, content: Some(content), signer_id, trust: &self.trust, at }
    }

    /// Judges a SignedData, at the time that a timestamp proves it to have existed at if one does.
    fn signed_data(
        &self,
        element: &[u8],
        content: Content,
        proven: Option<OffsetDateTime>,
        answer: &mut PdfSignature,
    ) {
        let role = Role { usage: Usage::DocumentSigning, nested: true };
        let mut asked = self.asked(element, content, proven.unwrap_or(self.input.at));
        let (mut report, inside) = cms::judge(&asked, role);
        let stamped = report.signers.iter().flat_map(|signer| &signer.timestamps);
        let stamped = stamped.filter(|token| token.judgement.verdict == Verdict::Valid);
        let stamped = stamped.filter_map(|token| token.info.as_ref().map(|info| info.time)).min();
        if let Some(time) = stamped.filter(|time| *time < asked.at) {
            asked.at = time;
            let (mut then, _) = cms::judge(&asked, Role { nested: false, ..role });
            // What stands beside the signature was judged above, at its own time.
            for (signer, now) in then.signers.iter_mut().zip(&report.signers) {
                signer.timestamps.clone_from(&now.timestamps);
                signer.counter_signatures.clone_from(&now.counter_signatures);
                for note in &now.judgement.findings {
                    if ["timestamp_", "counter_"].iter().any(|kind| note.code.starts_with(kind)) {
                        signer.judgement.note(note.code, note.detail.clone());
                        then.judgement.note(note.code, note.detail.clone());
                    }
                }
            }
            report = then;
        }
        answer.proven_at = proven.into_iter().chain(stamped).min();
        answer.family = report.family;
        answer.judgement.merge(report.judgement);
        if report.signers.len() > 1 {
            answer.judgement.invalid("several_signers", format!("{} signers", report.signers.len()));
        }
        answer.signers = report.signers;
        // ISO 32000-2, 12.8.3.3: the document is the content, nothing else is.
        if inside.is_some_and(|inside| inside.content.is_some()) {
            answer.judgement.invalid("content_attached", "the signature brings a content of its own");
        }
    }

    fn timestamp(
        &self,
        element: &[u8],
        content: Content,
        proven: Option<OffsetDateTime>,
        answer: &mut PdfSignature,
    ) {
        let report = tsp::verify(TokenInput {
            token: element,
            content: Some(content),
            signer_id: self.input.signer_id,
            trust: &self.trust,
            at: proven.unwrap_or(self.input.at),
        });
        answer.proven_at = proven;
        answer.family = report.family;
        answer.judgement.merge(report.judgement);
        answer.signers = report.signers;
        answer.timestamp = report.info;
    }

    fn sealed(
        &self,
        element: &[u8],
        content: Content,
        proven: Option<OffsetDateTime>,
        answer: &mut PdfSignature,
    ) {
        let at = proven.unwrap_or(self.input.at);
        let report = seal::verify_signature(&SealSignatureInput {
            signature: element,
            protected: Some(content),
            signer_id: self.input.signer_id,
            trust: &self.trust,
            at,
        });
        answer.proven_at = proven.or(Some(report.judged_at).filter(|judged_at| *judged_at < at));
        answer.judgement.merge(report.judgement);
        answer.seal = report.seal.as_ref().and_then(SealReport::facts);
        answer.signers.extend(report.signer);
    }

    /// What later revisions changed, and whether the signature lets it pass.
    fn later(
        &mut self,
        revision: usize,
        field: &SignatureField,
        value: &SignatureValue,
        answer: &mut PdfSignature,
    ) -> Result<(), PdfError> {
        let view = self.document.view(revision);
        let (mut permissions, certification) =
            Permissions::read(&view, &value.dictionary, &field.dictionary)?;
        answer.certification = certification;
        let (certified, most) = self.certified(revision)?;
        permissions.certified = certified;
        permissions.most = permissions.most.min(most);
        let (mut objections, mut changes) = (Vec::new(), 0_usize);
        for later in revision + 1..self.document.revisions().len() {
            for change in self.step(later)? {
                let objection = permissions.objection(change);
                if let Some(code) = objection
                    && !objections.contains(&code)
                {
                    objections.push(code);
                    let detail = format!("revision {}: {} ({})", later + 1, change.detail, change.code);
                    answer.judgement.invalid(code, detail);
                }
                changes += 1;
                let told = answer.changes.len();
                if told < MOST_TOLD || objection.is_some() && told < 2 * MOST_TOLD {
                    answer.changes.push(ChangeReport {
                        revision: later + 1,
                        object: change.object,
                        code: change.code,
                        detail: change.detail.clone(),
                        permitted: objection.is_none(),
                    });
                }
            }
        }
        if objections.is_empty() && revision + 1 < self.document.revisions().len() {
            let detail = format!("{changes} changes after revision {}", revision + 1);
            answer.judgement.note("later_changes_permitted", detail);
        }
        Ok(())
    }

    /// Whether the revision certifies the document, and what it permits by that.
    fn certified(&self, revision: usize) -> Result<(bool, Needs), PdfError> {
        let view = self.document.view(revision);
        let mut most = Needs::Annotations;
        let mut certified = false;
        for field in view.signature_fields()? {
            let Some(value) = &field.value else { continue };
            let (permissions, certification) =
                Permissions::read(&view, &value.dictionary, &Dictionary::new())?;
            if certification.is_some() {
                certified = true;
                most = most.min(permissions.most);
            }
        }
        Ok((certified, if certified { most } else { Needs::FormFilling }))
    }

    fn step(&mut self, revision: usize) -> Result<&[Change], PdfError> {
        if !self.steps.contains_key(&revision) {
            let changes = step::changes(self.document, revision)?;
            self.steps.insert(revision, changes);
        }
        Ok(&self.steps[&revision])
    }
}

impl Claims {
    fn read(dictionary: &Dictionary) -> Self {
        let text = |key: &[u8]| {
            let text = dictionary.get(key).ok().and_then(|text| decode_text_string(text).ok())?;
            // Long enough for anybody's reason.
            Some(text.chars().take(500).collect())
        };
        Self {
            name: text(b"Name"),
            reason: text(b"Reason"),
            location: text(b"Location"),
            contact: text(b"ContactInfo"),
            time: text(b"M"),
        }
    }
}
