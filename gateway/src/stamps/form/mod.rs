//! What an order for a stamp says, turned into a plan: the order (here), how and where a stamp is seen (`appearance`,
//! `place`), what is particular to a kind of document (`pdf`, `ofd`, `digest`, `list`), what several signers each have (`several`), and what a
//! template says of it (`template`).

mod appearance;
mod cosign;
mod digest;
mod list;
mod ofd;
mod pdf;
mod place;
mod several;
mod template;

use std::sync::Arc;

use bytes::Bytes;
use formats::Algorithm;
use formats::cms::Family;
use formats::list::List;
use formats::opened::Kind;
use formats::pdf::sign::{SignaturePlan, SubFilter};
use formats::seal::Seal;
use serde::Deserialize;
use signing::{Level, StampSubject};
use store::RegisteredSeal;
use time::OffsetDateTime;
use utoipa::ToSchema;

use appearance::{AppearanceBody, Seen};

pub(crate) use appearance::seal_picture;
pub(crate) use template::open_members;

use super::document::{self, DocumentText};
use super::signer::SignerBody;
use crate::body::{Faults, Object};
use crate::problem::Problem;

/// An order for a stamp.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampRequest {
    /// `pdf`, `ofd`, or `digest` of whatever the caller has: the answer is a detached CMS over it. Required unless the
    /// template says it.
    pub(super) format: Option<String>,
    /// The template that says what the stamp looks like and where it goes; `GET /v1/stamp-templates` lists those that the app
    /// may use. What it says the order must not say.
    #[schema(example = "contract-last-page")]
    pub(crate) template: Option<String>,
    /// Which of its versions; the one in force if it is absent.
    pub(crate) template_version: Option<u32>,
    /// The document, base64; up to 16 MiB of it.
    #[schema(value_type = Option<String>)]
    document: Option<DocumentText>,
    /// The document, where it does not come in the order.
    #[serde(skip)]
    at_hand: Option<Bytes>,
    /// Of a digest: 32 octets, base64: SM3 with `sm2-sm3`, else SHA-256.
    digest: Option<String>,
    /// In place of a digest: up to 10,000 items, each with one. One signature is made over the list of them, and the answer has
    /// a proof for each.
    #[schema(value_type = Option<Vec<list::ListItemBody>>)]
    items: Option<list::Items>,
    /// Who signs. Required, unless there are `signers` or the template says it.
    #[schema(value_type = Option<SignerBody>)]
    pub(super) signer: Option<Object<SignerBody>>,
    /// In place of `signer`: up to 8 that sign a PDF or an OFD package one after the other, all of them or none. Each has a `signer`
    /// and those of the members below that are its own; `format`, `document` and `template` are the whole order's.
    #[schema(value_type = Option<Vec<StampRequest>>, no_recursion)]
    signers: Option<several::Signers>,
    /// `sm2-sm3`, `ecdsa-p256-sha256`, `rsa-pkcs1-sha256` or `rsa-pss-sha256`; the key's own if it is absent.
    pub(super) algorithm: Option<String>,
    /// The number of a registered seal that is in force and lists the signer. It is set in an OFD package (without one the
    /// package is signed alone), and in a PDF with the profile `gm-seal`; with the other profiles it is its picture alone
    /// that is shown.
    #[schema(example = "31011500000002")]
    pub(super) seal: Option<String>,
    /// Of a PDF: `pades` (`ETSI.CAdES.detached`; P-256 and RSA, and their default), `pkcs7` (`adbe.pkcs7.detached`; the default
    /// for SM2), or `gm-seal` (`GM.sm2seal`, by SM2: the signature of a GB/T 38540 seal).
    profile: Option<String>,
    /// With SM2: `rfc5652` (default) or `gbt35275`.
    family: Option<String>,
    /// The level of EN 319 142-1: `B-B` (default), with the profile `pades` also `B-T`, `B-LT` and `B-LTA`. Of a digest,
    /// by P-256 and RSA: `B-B` or `B-T` (EN 319 122-1).
    level: Option<String>,
    /// Of a PDF, like the next six: the name of the new field; `Signature1` or the next free number if it is absent.
    field: Option<String>,
    /// The name of an empty field of the document that takes the signature.
    existing_field: Option<String>,
    /// Who signs, for people: at most 1,000 characters, like the next two.
    signer_name: Option<String>,
    /// Why.
    reason: Option<String>,
    /// Where.
    location: Option<String>,
    /// The first signature can certify the document: `no-changes`, `form-filling` or `annotations` remain allowed.
    certify: Option<String>,
    /// How and where it is seen; nowhere if it is absent. In an OFD package text and QR codes come with the first signature alone.
    #[schema(value_type = Option<AppearanceBody>)]
    appearance: Option<Object<AppearanceBody>>,
}

/// What an order is read with: what is known of the stamp before it is made.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// How the signer signs.
    pub(crate) algorithm: Algorithm,
    /// The time of the order.
    pub(crate) at: OffsetDateTime,
    /// The stamp's number.
    pub(crate) id: &'a str,
    /// The stamp's check code.
    pub(crate) check_code: &'a str,
    /// The address of its check page, where the site has one that people reach.
    pub(crate) check_page: Option<&'a str>,
    /// The seal that the order names, which is in force.
    pub(crate) seal: Option<&'a RegisteredSeal>,
    /// It is a template that is read: what it does not say an order will.
    pub(crate) is_template: bool,
}

/// An order, read.
pub(crate) struct Ordered {
    pub(super) family: Family,
    pub(super) level: Level,
    what: What,
}

/// What is to be stamped.
enum What {
    Pdf { document: Bytes, plan: Box<SignaturePlan>, seal: Option<Arc<Seal>> },
    Ofd { document: Bytes, seal: Option<Arc<Seal>>, seen: Seen, at: OffsetDateTime },
    Digest([u8; 32]),
    List(Arc<List>),
}

/// The kinds of what is stamped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pdf,
    Ofd,
    Digest,
}

impl StampRequest {
    /// The order, about this document.
    pub(crate) fn about(self, document: Bytes) -> Self {
        Self { at_hand: Some(document), ..self }
    }

    /// Has the order be about this document, which is decoded.
    pub(crate) fn set_document(&mut self, document: Bytes) {
        (self.at_hand, self.document) = (Some(document), None);
    }

    /// What is read of the document is elsewhere.
    pub(crate) fn forget_document(&mut self) {
        (self.at_hand, self.document) = (None, None);
    }

    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(&self, setting: &Setting<'_>) -> Result<Ordered, Problem> {
        let mut faults = Faults::default();
        let ordered = self.read(&mut faults, setting);
        faults.into_result(ordered)
    }

    fn read(&self, faults: &mut Faults, setting: &Setting<'_>) -> Option<Ordered> {
        const FORMATS: [(&str, Format); 3] =
            [("pdf", Format::Pdf), ("ofd", Format::Ofd), ("digest", Format::Digest)];
        const PROFILES: [(&str, SubFilter); 3] =
            [("pades", SubFilter::Cades), ("pkcs7", SubFilter::Pkcs7), ("gm-seal", SubFilter::Sm2Seal)];
        const FAMILIES: [(&str, Family); 2] = [("rfc5652", Family::Rfc5652), ("gbt35275", Family::Gbt35275)];
        if self.format.is_none() {
            faults.add("format", "missing_field", "is required");
        }
        let format = faults.word("format", self.format.as_deref(), &FORMATS, Format::Pdf);
        let level = faults.word("level", self.level.as_deref(), &Level::NAMES, Level::B);
        let is_sm2 = setting.algorithm == Algorithm::Sm2Sm3;
        let usual = if is_sm2 { SubFilter::Pkcs7 } else { SubFilter::Cades };
        let profile = faults.word("profile", self.profile.as_deref(), &PROFILES, usual);
        if is_sm2 && profile == Some(SubFilter::Cades) {
            faults.add(
                "profile",
                "not_applicable",
                "PAdES does not know SM2; its profiles are pkcs7 and gm-seal",
            );
        }
        let is_sealed = format == Some(Format::Ofd) || profile == Some(SubFilter::Sm2Seal);
        if is_sealed && !is_sm2 {
            let detail = "OFD packages are signed and seals are set with SM2 (GB/T 33190, GB/T 38540)";
            faults.add("signer", "not_applicable", detail);
        }
        if !is_sm2 && self.family.is_some() {
            faults.add("family", "not_applicable", "has a meaning with SM2 only");
        }
        let family = faults.word("family", self.family.as_deref(), &FAMILIES, Family::Rfc5652);
        if level.is_some_and(|level| level > Level::B) && (is_sealed || profile == Some(SubFilter::Pkcs7)) {
            let detail =
                "the levels are those of PAdES and CAdES with P-256 or RSA; what is made with SM2 has B-B";
            faults.add("level", "not_applicable", detail);
        }
        let what = match format {
            Some(Format::Digest) => {
                self.only_digest(faults, level);
                match &self.items {
                    Some(_) => self.list(faults, setting).map(What::List),
                    None => self.digest(faults).map(What::Digest),
                }
            }
            Some(Format::Ofd) => self.ofd(faults, setting),
            _ => self.pdf(faults, setting, profile),
        };
        Some(Ordered { family: family?, level: level?, what: what? })
    }
}

impl StampRequest {
    /// The document, which is of the kind as far as one sees at once.
    fn document(&self, faults: &mut Faults, kind: Kind) -> Option<Bytes> {
        let octets = match (&self.at_hand, &self.document) {
            (Some(octets), _) => octets.clone(),
            (None, Some(text)) => text.octets(faults)?,
            (None, None) => {
                let detail = format!("is required with the format {}", kind.name());
                faults.add("document", "missing_field", detail);
                return None;
            }
        };
        let found = document::recognised(&octets).filter(|found| *found != kind);
        if let Some(found) = found {
            let detail = format!("is of the kind {}, not {}", found.name(), kind.name());
            faults.add("document", "document_format", detail);
        }
        Some(octets)
    }

    /// Says of digests that a document is not stamped by them.
    fn no_digest(&self, faults: &mut Faults) {
        for (name, is_said) in [("digest", self.digest.is_some()), ("items", self.items.is_some())] {
            if is_said {
                faults.add(name, "not_applicable", "is for the format digest");
            }
        }
    }

    /// Says of each member about a signature that is there, and has no meaning, that it has none.
    fn only(&self, faults: &mut Faults, meant: &[&str], what: &str) {
        for name in self.of_one_signature().into_iter().filter(|name| !meant.contains(name)) {
            faults.add(name, "not_applicable", format!("has no meaning for {what}"));
        }
    }
}

impl Ordered {
    /// What is to be stamped; of a document what is put into it, with room for the signature.
    pub(crate) fn prepared(self) -> Result<StampSubject, Problem> {
        match self.what {
            What::Digest(digest) => Ok(StampSubject::Digest(digest)),
            What::List(list) => Ok(StampSubject::List(list)),
            What::Pdf { document, plan, seal } => pdf::prepared(document, &plan, seal),
            What::Ofd { document, seal, seen, at } => ofd::prepared(document, seal, &seen, at),
        }
    }
}
