//! What administrators say of a seal that is to be made. It is kept as it came while it waits for a second person, and read
//! anew when it is made.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::SealNumber;
use formats::chain::validate;
use formats::seal::{Holders, Picture, PictureError, Vector};
use formats::{Certificate, PublicKey, Usage, Uscc, Verdict, subject};
use serde::{Deserialize, Serialize};
use signing::SealOrder;
use store::{SealHolder, SealKind};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::body::{Faults, Object};
use crate::people::form::is_unseen;
use crate::problem::Problem;
use crate::state::Gateway;

/// Most certificates in a list of the register; GB/T 38540 itself knows no limit.
const MOST_CERTIFICATES: usize = 100;

/// A seal that is to be made, or is to take another one's place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealRequest {
    /// The seal.
    #[schema(value_type = SealBody)]
    pub(super) seal: Object<SealBody>,
    /// For the record: 1 to 500 characters.
    pub(super) reason: String,
}

/// A seal, before it is made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealBody {
    /// Its number (`esID`), for good: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    #[schema(example = "31011500000002")]
    number: String,
    /// `agency`, `enterprise` or `person`.
    kind: String,
    /// What it is called, 1 to 100 characters.
    name: String,
    /// Whose it is.
    #[schema(value_type = HolderBody)]
    holder: Object<HolderBody>,
    /// RFC 3339, to the second.
    valid_from: String,
    /// Its last second, RFC 3339.
    valid_until: String,
    /// How it looks.
    #[schema(value_type = PictureBody)]
    picture: Object<PictureBody>,
    /// Who may use it: SM2 certificates of the holder, PEM, 1 to 100.
    certificates: Vec<String>,
    /// `certificates` (default), or `digests`: the seal holds SM3 digests of them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<String>,
}

/// Whose seal it is.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HolderBody {
    /// The name as the certificates have it (CN or O), 1 to 100 characters.
    name: String,
    /// The unified social credit code; required but of a person's seal.
    #[serde(skip_serializing_if = "Option::is_none")]
    uscc: Option<String>,
}

/// How a seal looks.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PictureBody {
    /// A PNG file, base64: 256 KiB and 4 million dots at most. This or `svg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    png: Option<String>,
    /// An SVG file, base64: 256 KiB at most, of outlines filled and stroked in plain colours. PDF documents show it as it
    /// is; the seal itself holds it as PNG.
    #[serde(skip_serializing_if = "Option::is_none")]
    svg: Option<String>,
    /// Width on paper, 1 to 200.
    width_mm: u32,
    /// Height on paper, 1 to 200.
    height_mm: u32,
}

/// A seal as it is to be made.
#[derive(Clone)]
pub(crate) struct SealDraft {
    pub(super) number: SealNumber,
    pub(super) kind: SealKind,
    pub(super) name: String,
    pub(super) holder: SealHolder,
    pub(super) valid_from: OffsetDateTime,
    pub(super) valid_until: OffsetDateTime,
    pub(super) picture: Picture,
    /// What the picture was made of, if it was drawn.
    pub(super) drawing: Option<Vector>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) by_digest: bool,
}

impl SealRequest {
    /// The draft and the reason, as far as they can be judged by themselves.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn check(&self) -> Result<(SealDraft, String), Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason).map(str::to_owned);
        let draft = self.seal.0.read("seal.", &mut faults);
        faults.into_result(draft.zip(reason))
    }
}

impl SealBody {
    /// The draft, of a body that was checked before.
    ///
    /// # Errors
    /// Every fault at once.
    pub(super) fn draft(&self) -> Result<SealDraft, Problem> {
        let mut faults = Faults::default();
        let draft = self.read("seal.", &mut faults);
        faults.into_result(draft)
    }

    fn read(&self, at: &str, faults: &mut Faults) -> Option<SealDraft> {
        const LISTS: [(&str, bool); 2] = [("certificates", false), ("digests", true)];

        let field = |name: &str| format!("{at}{name}");
        let number = faults.parse(&field("number"), "invalid_value", SealNumber::parse(&self.number));
        let kind = SealKind::NAMES.iter().find(|(word, _)| *word == self.kind).map(|(_, kind)| *kind);
        if kind.is_none() {
            faults.add(&field("kind"), "invalid_value", "must be one of: agency, enterprise, person");
        }
        let name = seen(&field("name"), &self.name, faults);
        let holder = self.holder(at, kind, faults);
        let time = |name: &str, text: &str, faults: &mut Faults| {
            let time = faults.time(&field(name), Some(text), OffsetDateTime::UNIX_EPOCH)?;
            OffsetDateTime::from_unix_timestamp(time.unix_timestamp()).ok()
        };
        let valid_from = time("valid_from", &self.valid_from, faults);
        let valid_until = time("valid_until", &self.valid_until, faults);
        if valid_from.zip(valid_until).is_some_and(|(from, until)| until <= from) {
            faults.add(&field("valid_until"), "invalid_validity", "must be after valid_from");
        }
        let picture = self.picture.0.read(&field("picture."), faults);
        let certificates = self.certificates(&field("certificates"), faults);
        let by_digest = faults.word(&field("list"), self.list.as_deref(), &LISTS, false);
        let (picture, drawing) = picture?;
        let draft = SealDraft {
            number: number?,
            kind: kind?,
            name: name?,
            holder: holder?,
            valid_from: valid_from?,
            valid_until: valid_until?,
            picture,
            drawing,
            certificates: certificates?,
            by_digest: by_digest?,
        };
        draft.judge_certificates(at, faults);
        Some(draft)
    }

    fn holder(&self, at: &str, kind: Option<SealKind>, faults: &mut Faults) -> Option<SealHolder> {
        let HolderBody { name, uscc } = &self.holder.0;
        let name = seen(&format!("{at}holder.name"), name, faults);
        let field = format!("{at}holder.uscc");
        let uscc = match uscc {
            Some(uscc) => Some(faults.parse(&field, "uscc_invalid", Uscc::parse_sandbox(uscc))?),
            None if kind == Some(SealKind::Person) => None,
            None => {
                faults.add(&field, "missing_field", "is required but of a person's seal");
                return None;
            }
        };
        Some(SealHolder { name: name?, uscc })
    }

    fn certificates(&self, field: &str, faults: &mut Faults) -> Option<Vec<Certificate>> {
        if !(1..=MOST_CERTIFICATES).contains(&self.certificates.len()) {
            faults.add(field, "invalid_value", format!("must be 1 to {MOST_CERTIFICATES}"));
            return None;
        }
        let mut found: Vec<Certificate> = Vec::with_capacity(self.certificates.len());
        for (number, pem) in self.certificates.iter().enumerate() {
            let field = format!("{field}.{number}");
            let read = faults.parse(&field, "invalid_certificate", Certificate::from_pem(pem))?;
            if found.iter().any(|known| known.der() == read.der()) {
                faults.add(&field, "duplicate_certificate", "stands twice in the list");
                return None;
            }
            found.push(read);
        }
        Some(found)
    }
}

impl PictureBody {
    /// The picture that goes into the seal, and the drawing that it was made of.
    fn read(&self, at: &str, faults: &mut Faults) -> Option<(Picture, Option<Vector>)> {
        let (field, text) = match (&self.png, &self.svg) {
            (Some(png), None) => (format!("{at}png"), png),
            (None, Some(svg)) => (format!("{at}svg"), svg),
            (Some(_), Some(_)) => {
                faults.add(&format!("{at}svg"), "ambiguous_input", "png and svg exclude each other");
                return None;
            }
            (None, None) => {
                faults.add(&format!("{at}png"), "missing_field", "png or svg is required");
                return None;
            }
        };
        // Decoded no further than what may be in it.
        if text.len() > formats::seal::MAX_PICTURE.div_ceil(3) * 4 {
            faults.add(&field, "picture_too_large", PictureError::TooLarge.to_string());
            return None;
        }
        let octets = faults.base64(&field, text)?;
        let read = match &self.png {
            Some(_) => Picture::png(octets, self.width_mm, self.height_mm).map(|picture| (picture, None)),
            None => self.drawn(octets),
        };
        read.map_err(|error| {
            let (field, code) = match &error {
                PictureError::Size => (format!("{at}width_mm"), "picture_size"),
                PictureError::NotPng => (field, "picture_not_png"),
                PictureError::NotSvg(_) => (field, "picture_not_svg"),
                PictureError::Refused(_) => (field, "picture_svg_refused"),
                PictureError::TooComplex(_) => (field, "picture_too_complex"),
                PictureError::Blank => (field, "picture_blank"),
                PictureError::TooLarge => (field, "picture_too_large"),
            };
            faults.add(&field, code, error.to_string());
        })
        .ok()
    }

    fn drawn(&self, octets: Vec<u8>) -> Result<(Picture, Option<Vector>), PictureError> {
        let text =
            String::from_utf8(octets).map_err(|_| PictureError::NotSvg("it is not UTF-8".to_owned()))?;
        let drawing = Vector::read(text, self.width_mm, self.height_mm)?;
        Ok((drawing.picture()?, Some(drawing)))
    }
}

impl SealDraft {
    /// What a device is asked for.
    pub(super) fn order(&self) -> SealOrder {
        let certificates = self.certificates.clone();
        SealOrder {
            id: self.number.to_string(),
            kind: self.kind.number(),
            name: self.name.clone(),
            holders: match self.by_digest {
                true => Holders::Digests(certificates),
                false => Holders::Certificates(certificates),
            },
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            picture: self.picture.clone(),
        }
    }

    /// Whether each certificate is SM2, the holder's, and valid as long as the seal.
    fn judge_certificates(&self, at: &str, faults: &mut Faults) {
        for (number, certificate) in self.certificates.iter().enumerate() {
            let field = format!("{at}certificates.{number}");
            if !matches!(certificate.public_key(), Ok(PublicKey::Sm2(_))) {
                faults.add(&field, "certificate_not_sm2", "must certify an SM2 key");
            }
            let SealHolder { name, uscc } = &self.holder;
            if !subject::is_of_holder(certificate, name, uscc.as_ref()) {
                let detail = format!("its subject {} is not the holder's", certificate.subject());
                faults.add(&field, "certificate_not_for_holder", detail);
            }
            let (from, until) = (certificate.not_before(), certificate.not_after());
            let outside = format!("{field} is valid from {from} to {until} only");
            if self.valid_from < from {
                faults.add(&format!("{at}valid_from"), "validity_outside_certificate", outside.clone());
            }
            if self.valid_until > until {
                faults.add(&format!("{at}valid_until"), "validity_outside_certificate", outside);
            }
        }
    }

    /// Whether the seal could be made here and now: whose code it bears, whether its time has passed, whether the site
    /// trusts the certificates, and whether its maker's certificate lasts as long.
    ///
    /// # Errors
    /// Every fault at once; there is no seal maker key.
    pub(super) fn judge(&self, gateway: &Gateway, now: OffsetDateTime) -> Result<(), Problem> {
        let mut faults = Faults::default();
        if !gateway.config.site.sandbox && self.holder.uscc.as_ref().is_some_and(Uscc::is_test) {
            let detail = "test enterprises exist in a sandbox only";
            faults.add("seal.holder.uscc", "test_identity_in_production", detail);
        }
        if self.valid_until <= now {
            faults.add("seal.valid_until", "validity_over", "has passed");
        }
        let trust = gateway.documents.current();
        for (number, certificate) in self.certificates.iter().enumerate() {
            let judgement = validate(certificate, &[], &trust, Usage::DocumentSigning, now);
            if judgement.verdict != Verdict::Valid {
                let found: Vec<_> =
                    judgement.findings.iter().map(|finding| finding.detail.as_str()).collect();
                let field = format!("seal.certificates.{number}");
                faults.add(&field, "certificate_refused", found.join("; "));
            }
        }
        faults.into_result(Some(()))?;
        gateway.system.may_make_seal(self.valid_from, self.valid_until).map_err(|error| Problem::from(&error))
    }
}

/// A name that people can see: one name must not pass for another.
fn seen(field: &str, text: &str, faults: &mut Faults) -> Option<String> {
    let text = text.trim();
    if (1..=100).contains(&text.chars().count()) && !text.chars().any(is_unseen) {
        return Some(text.to_owned());
    }
    faults.add(field, "invalid_value", "must be 1 to 100 characters that can be seen");
    None
}

/// base64 of a picture or seal.
pub(super) fn encoded(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}
