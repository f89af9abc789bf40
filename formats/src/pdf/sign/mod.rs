//! Signing a PDF as an incremental update: the document's octets stay as they are, so what earlier signers signed
//! stays signed.
//!
//! [`prepare`] builds the update with room for the signature and digests everything but that room. Whoever holds the
//! key makes a CMS over the digest ([`crate::cms::prepare`] with [`Content::Digest`](crate::cms::Content)), and
//! [`Prepared::finish`] gives the octets to be put behind the document:
//!
//! | level (EN 319 142-1) | what is done |
//! |---|---|
//! | B-B | CMS without signing time ([`SignedDataPlan::signing_time`](crate::cms::SignedDataPlan) is none), /M tells it |
//! | B-T | [`crate::cms::timestamped`] puts a token over [`crate::cms::signature_value`] into that CMS before `finish` |
//! | B-LT | [`add_validation_data`], a further update |
//! | B-LTA | [`prepare`] with [`SubFilter::Timestamp`]: the digest is the token's imprint, the token goes to `finish` |
//!
//! An electronic seal (GB/T 38540) is set with [`SubFilter::Sm2Seal`]: [`Prepared::seal`] takes the seal and its user's
//! certificate, and [`PreparedSeal::finish`] that user's signature.
//!
//! A document with cross-reference streams gets one, others a table. Memory: of the document only what the update needs
//! is read (page tree, form, the pages that are touched; contents and fonts where a keyword is looked for).

mod error;
mod field;
mod keyword;
mod look;
mod page;
mod permission;
mod place;
mod seal;
mod shown;
mod source;
mod update;
mod validation;

use std::ops::Range;

use lopdf::{Dictionary, Object, dictionary, text_string};
use sm3::{Digest, Sm3};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::verify::MAX_SIGNATURES;
use super::{Document, SignatureField};
use crate::scheme::HashAlgorithm;
use field::{add_field, change_form, enlist, fill_field, flag, new_name};
use permission::{Allowed, Permitted, is_seen, seed_value};
use source::Source;
use update::Update;

pub use error::SignError;
pub(crate) use look::Arranged;
pub use look::{Caption, Look, Picture, TextPlace};
pub use page::PageRect;
pub use place::{Edge, MAX_PLACES, Occurrence, Pages, Place};
pub use seal::{PdfSealError, PreparedSeal, Sealing};
pub(crate) use shown::license_content;
pub use validation::{SignatureValidation, add_validation_data};

/// Octets of room for a signature: a CMS with a chain and a timestamp has 4 to 10 KiB.
pub const USUAL_ROOM: usize = 24 << 10;
/// Octets of room for a seal signature: it has the seal with its picture in it.
pub const SEAL_ROOM: usize = 256 << 10;
const MAX_ROOM: usize = 1 << 20;
const MAX_TEXT: usize = 1_000;

/// What the highest level makes of a signature: itself, validation data, and a document timestamp, which is a signature
/// too. So much is left below the limits of those who judge.
const UPDATES: usize = 3;
const SIGNATURES: usize = 2;

/// What /Contents holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubFilter {
    /// CMS as PAdES asks (EN 319 142-1): P-256 and RSA.
    Cades,
    /// CMS as ISO 32000-1 asks; also with SM2, which readers made abroad cannot judge.
    Pkcs7,
    /// A GB/T 38540 seal signature by SM2 and SM3, as Chinese readers know it.
    Sm2Seal,
    /// An RFC 3161 token: a document timestamp.
    Timestamp,
}

impl SubFilter {
    fn name(self) -> &'static str {
        match self {
            Self::Cades => "ETSI.CAdES.detached",
            Self::Pkcs7 => "adbe.pkcs7.detached",
            Self::Sm2Seal => "GM.sm2seal",
            Self::Timestamp => "ETSI.RFC3161",
        }
    }
}

/// Which field takes the signature.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldPlan {
    /// A new one.
    New {
        /// `Signature1` or the next free number if none is given.
        name: Option<String>,
        /// Where it is seen; nowhere if empty.
        places: Vec<Place>,
    },
    /// One that is there and empty, by its full name. The look fills its place.
    Existing(String),
}

/// What a certified document still allows (DocMDP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certification {
    /// Nothing but validation data and document timestamps.
    NoChanges,
    /// Filling in the form and signing.
    FormFilling,
    /// Annotations too.
    Annotations,
}

/// How a document is to be signed.
#[derive(Clone, Debug)]
pub struct SignaturePlan {
    /// What will be given to [`Prepared::finish`].
    pub sub_filter: SubFilter,
    /// Where it goes.
    pub field: FieldPlan,
    /// What it looks like; needed where there are places.
    pub look: Option<Look>,
    /// What else of a new field is seen, and where: a QR code beside a seal.
    pub beside: Vec<(Look, Vec<Place>)>,
    /// What the document is digested with: SM3 for SM2, SHA-256 for P-256 and RSA.
    pub hash: HashAlgorithm,
    /// Octets to leave for the signature: [`USUAL_ROOM`], or [`SEAL_ROOM`].
    pub room: usize,
    /// The time the signer claims (/M).
    pub time: Option<OffsetDateTime>,
    /// Who signs (/Name).
    pub signer: Option<String>,
    /// Why (/Reason).
    pub reason: Option<String>,
    /// Where (/Location).
    pub location: Option<String>,
    /// Whether the signature certifies the document, which only the first one can.
    pub certification: Option<Certification>,
}

impl SignaturePlan {
    /// An invisible signature in a new field, with the room that its form needs.
    pub fn new(sub_filter: SubFilter, hash: HashAlgorithm) -> Self {
        Self {
            sub_filter,
            field: FieldPlan::New { name: None, places: Vec::new() },
            look: None,
            beside: Vec::new(),
            hash,
            room: if sub_filter == SubFilter::Sm2Seal { SEAL_ROOM } else { USUAL_ROOM },
            time: None,
            signer: None,
            reason: None,
            location: None,
            certification: None,
        }
    }

    fn check(&self) -> Result<(), SignError> {
        if !(1..=MAX_ROOM).contains(&self.room) {
            return Err(SignError::Plan("the room for the signature is from 1 octet to 1 MiB"));
        }
        let texts = [&self.signer, &self.reason, &self.location];
        if texts.into_iter().flatten().any(|text| text.chars().count() > MAX_TEXT) {
            return Err(SignError::Plan("signer, reason and location have 1,000 characters at most each"));
        }
        let is_timestamp = self.sub_filter == SubFilter::Timestamp;
        let is_seen = self.look.is_some() || !self.beside.is_empty();
        if is_timestamp && (self.certification.is_some() || is_seen) {
            return Err(SignError::Plan("a document timestamp is not seen and certifies nothing"));
        }
        if self.sub_filter == SubFilter::Sm2Seal && self.hash != HashAlgorithm::Sm3 {
            return Err(SignError::Plan("a seal in a PDF is set over SM3"));
        }
        match &self.field {
            FieldPlan::New { places, .. } if places.is_empty() != self.look.is_none() => {
                Err(SignError::Plan("a look needs places and places need a look"))
            }
            FieldPlan::Existing(_) if !self.beside.is_empty() => {
                Err(SignError::Plan("a field that is there has one place"))
            }
            _ => Ok(()),
        }
    }
}

/// An update that waits for its signature. It is used up by [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Prepared {
    update: Vec<u8>,
    gap: Range<usize>,
    digest: Vec<u8>,
    field: String,
    sub_filter: SubFilter,
    /// Octets of the document that the update goes behind.
    document: usize,
}

impl Prepared {
    /// The digest of the document and the update without the room for the signature.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The full name of the field that is signed.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The octets to put behind the document.
    ///
    /// # Errors
    /// [`SignError::Room`] if the signature is longer than the plan left room for.
    pub fn finish(mut self, signature: &[u8]) -> Result<Vec<u8>, SignError> {
        let digits = self.gap.start + 1..self.gap.end - 1;
        let room = digits.len() / 2;
        if signature.is_empty() || signature.len() > room {
            return Err(SignError::Room { found: signature.len(), room });
        }
        let filled = digits.start..digits.start + 2 * signature.len();
        hex::encode_to_slice(signature, &mut self.update[filled]).expect("two digits for each octet");
        Ok(self.update)
    }
}

/// Settles everything that is to be signed.
///
/// # Errors
/// [`SignError`] for a document that cannot be signed or not as planned.
pub fn prepare(document: &[u8], plan: &SignaturePlan) -> Result<Prepared, SignError> {
    settle(document, None, plan)
}

/// The same for who has SM3 over the document already, not finished: where the plan wants SM3, that is gone on with, and
/// the document is not digested once more.
///
/// # Errors
/// As for [`prepare`].
pub fn prepare_begun(document: &[u8], begun: &Sm3, plan: &SignaturePlan) -> Result<Prepared, SignError> {
    settle(document, Some(begun), plan)
}

fn settle(document: &[u8], begun: Option<&Sm3>, plan: &SignaturePlan) -> Result<Prepared, SignError> {
    plan.check()?;
    let opened = Document::open(document)?;
    let source = Source::of(&opened)?;
    let fields = source.signature_fields()?;
    permit(&source, &fields, plan)?;

    let mut update = Update::of(&source);
    let signature = update.reserve();
    let mut dictionary = signature_dictionary(plan);
    let mut references = Vec::new();
    let name = match &plan.field {
        FieldPlan::New { name, places } => {
            let name = new_name(&source.field_names()?, name.as_deref())?;
            let mut seen: Vec<(&Look, &[Place])> = plan.look.iter().map(|look| (look, &**places)).collect();
            seen.extend(plan.beside.iter().map(|(look, places)| (look, &**places)));
            let field = add_field(&source, &mut update, signature, &name, &seen)?;
            enlist(&source, &mut update, field)?;
            name
        }
        FieldPlan::Existing(name) => {
            let field = fields.iter().find(|field| field.name == *name);
            let field = field.ok_or_else(|| SignError::FieldUnknown(name.clone()))?;
            references.extend(lock_reference(&source, field));
            fill_field(&source, &mut update, signature, field, plan.look.as_ref())?;
            change_form(&source, &mut update, flag)?;
            name.clone()
        }
    };
    if let Some(certification) = plan.certification {
        references.push(certification_reference(certification));
        let mut permissions = Dictionary::new();
        let (root, catalog) = source.catalog()?;
        if let Some(present) = source.dictionary(catalog, b"Perms") {
            permissions = present.clone();
        }
        permissions.set("DocMDP", signature);
        update.change(&source, root)?.set("Perms", permissions);
    }
    if !references.is_empty() {
        dictionary.set("Reference", references);
    }
    update.set_signature(signature, dictionary, plan.room);
    let written = update.write(&source)?;
    source.sound()?;
    if document.len() + written.octets.len() > opened.limits().octets {
        return Err(SignError::TooLarge("octets"));
    }
    let (before, after) = (&written.octets[..written.gap.start], &written.octets[written.gap.end..]);
    let digest = match begun {
        Some(begun) if plan.hash == HashAlgorithm::Sm3 => {
            begun.clone().chain_update(before).chain_update(after).finalize().to_vec()
        }
        _ => plan.hash.digest_parts(&[document, before, after]),
    };
    Ok(Prepared {
        digest,
        update: written.octets,
        gap: written.gap,
        field: name,
        sub_filter: plan.sub_filter,
        document: document.len(),
    })
}

/// What earlier signatures and the field itself say to the plan.
fn permit(source: &Source<'_>, fields: &[SignatureField], plan: &SignaturePlan) -> Result<(), SignError> {
    let signed = fields.iter().filter(|field| field.value.is_some()).count();
    let (updates, signatures) = match plan.sub_filter {
        SubFilter::Timestamp => (1, 1),
        _ => (UPDATES, SIGNATURES),
    };
    if signed + signatures > MAX_SIGNATURES {
        return Err(SignError::TooLarge("signatures"));
    }
    if !source.has_room_for(updates) {
        return Err(SignError::TooLarge("updates"));
    }
    let is_signed = signed > 0;
    if plan.certification.is_some() && is_signed {
        return Err(SignError::NotPermitted("only the first signature can certify a document"));
    }
    if let FieldPlan::Existing(name) = &plan.field
        && let Some(field) = fields.iter().find(|field| field.name == *name)
    {
        if field.value.is_some() {
            return Err(SignError::FieldSigned(name.clone()));
        }
        seed_value(source, field, plan)?;
    }
    let permitted = Permitted::read(source, fields)?;
    if plan.sub_filter == SubFilter::Timestamp {
        // Always allowed (ISO 32000-2, 12.8.2.2.2), if it shows nothing.
        return match &plan.field {
            FieldPlan::Existing(name) if permitted.changes == Allowed::Nothing => {
                let field = fields.iter().find(|field| field.name == *name);
                match field.is_some_and(|field| is_seen(source, field)) {
                    true => {
                        Err(SignError::NotPermitted("the field is seen, and the document permits no changes"))
                    }
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        };
    }
    if permitted.changes == Allowed::Nothing {
        return Err(SignError::NotPermitted("the document is certified against every change"));
    }
    let (name, is_visible) = match &plan.field {
        FieldPlan::New { name, places } => (
            new_name(&source.field_names()?, name.as_deref())?,
            !places.is_empty() || !plan.beside.is_empty(),
        ),
        FieldPlan::Existing(name) => (name.clone(), false),
    };
    // Verifiers that compare revisions take no new visible field after a certification of any level.
    if is_visible && permitted.changes != Allowed::Everything {
        return Err(SignError::NotPermitted(
            "the document is certified against new things on its pages; a field that it has can be signed",
        ));
    }
    if permitted.locks(&name) {
        return Err(SignError::NotPermitted("an earlier signer locked the field"));
    }
    Ok(())
}

impl Certification {
    fn level(self) -> i64 {
        match self {
            Self::NoChanges => 1,
            Self::FormFilling => 2,
            Self::Annotations => 3,
        }
    }
}

fn signature_dictionary(plan: &SignaturePlan) -> Dictionary {
    let is_timestamp = plan.sub_filter == SubFilter::Timestamp;
    let mut dictionary = dictionary! {
        "Type" => if is_timestamp { "DocTimeStamp" } else { "Sig" },
        "Filter" => "Adobe.PPKLite",
        "SubFilter" => plan.sub_filter.name(),
    };
    let texts = [("Name", &plan.signer), ("Reason", &plan.reason), ("Location", &plan.location)];
    for (key, text) in texts {
        if let Some(text) = text {
            dictionary.set(key, text_string(text));
        }
    }
    if let Some(time) = plan.time {
        dictionary.set("M", Object::string_literal(date(time)));
    }
    dictionary
}

/// A date (ISO 32000-1, 7.9.4) in the offset it was given in.
fn date(time: OffsetDateTime) -> String {
    let shape = format_description!("D:[year][month][day][hour][minute][second]");
    let local = time.format(shape).unwrap_or_default();
    if time.offset() == UtcOffset::UTC {
        return format!("{local}Z");
    }
    let (hours, minutes, _) = time.offset().as_hms();
    let sign = if time.offset().is_negative() { '-' } else { '+' };
    format!("{local}{sign}{:02}'{:02}'", hours.abs(), minutes.abs())
}

fn certification_reference(certification: Certification) -> Object {
    let parameters = dictionary! {
        "Type" => "TransformParams",
        "P" => certification.level(),
        "V" => Object::Name(b"1.2".to_vec()),
    };
    reference("DocMDP", parameters)
}

/// A field with a lock has its signature say so (ISO 32000-1, 12.7.4.5).
fn lock_reference(source: &Source<'_>, field: &SignatureField) -> Option<Object> {
    let lock = source.dictionary(&field.dictionary, b"Lock")?;
    let mut parameters = dictionary! { "Type" => "TransformParams", "V" => Object::Name(b"1.2".to_vec()) };
    for key in [b"Action".as_slice(), b"Fields"] {
        if let Some(value) = source.entry(lock, key) {
            parameters.set(key, value.clone());
        }
    }
    Some(reference("FieldMDP", parameters))
}

fn reference(method: &str, parameters: Dictionary) -> Object {
    dictionary! { "Type" => "SigRef", "TransformMethod" => method, "TransformParams" => parameters }.into()
}
