//! The public edition of a license (公示版): what anybody may see of it, on one page, as PDF and as OFD. Both are set once
//! and look alike; the issuing seal is put on afterwards ([`crate::ofd`]).

use std::sync::Arc;

use thiserror::Error;
use time::OffsetDateTime;

use crate::font::Font;
use crate::license::{Face, FaceDate};
use crate::license_file::{CERTIFICATE_NAME, EditionData, FACE_NAME};
use crate::ofd::{self, OfdError, Rect};
use crate::qr::QrCode;
use crate::report::layout::{BLACK, Ink, Mark, QUIET, Sheet, Style};
use crate::report::{ReportError, pdf};
use crate::words::Language;

/// A file that an edition carries.
pub(crate) struct Attachment {
    pub(crate) name: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) description: &'static str,
    pub(crate) octets: Vec<u8>,
}

/// A4 across, in points.
const PAGE: (f32, f32) = (841.89, 595.276);
/// From the page's edge to the frame.
const FRAME: f32 = 28.0;
/// From the page's edge to what is written.
pub(crate) const MARGIN: f32 = 72.0;
pub(crate) const LABEL_WIDTH: f32 = 96.0;
/// How large labels and values are set.
pub(crate) const FACT_SIZE: f32 = 12.5;
const GOLD: Ink = Ink(0xB8, 0x8A, 0x2E);
/// A QR code's side, in points.
const CODE: f32 = 84.0;
/// The side of the space for the seal: 42 millimetres and some.
const SEAL: f32 = 120.0;

/// What a public edition shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicEdition {
    /// 营业执照
    pub title: String,
    /// What kind of copy it is: 副本, 公示版.
    pub kind: String,
    /// The registered facts, in order: label and value.
    pub facts: Vec<(String, String)>,
    /// The registering authority.
    pub authority: String,
    /// The date of registration, as it is written.
    pub date: String,
    /// What is said below the frame.
    pub notice: String,
    /// Where it can be checked, as QR code.
    pub link: Option<String>,
    /// A picture above the title (PNG), square.
    pub emblem: Option<Arc<[u8]>>,
    /// What programs read beside what is shown.
    pub attached: Option<Attached>,
}

/// What an edition carries for programs (ADR 0036): the data that it shows, and the license certificate they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The data, `face.json`.
    pub data: EditionData,
    /// The license certificate, DER, `license.cer`.
    pub certificate: Vec<u8>,
}

/// Why there is no edition.
#[derive(Debug, Error)]
pub enum EditionError {
    /// The facts do not fit on the page.
    #[error("the facts do not fit on one page")]
    TooLong,
    /// The link is too long for a QR code.
    #[error("the link is too long for a QR code")]
    Link,
    /// The PDF could not be made.
    #[error(transparent)]
    Pdf(#[from] ReportError),
    /// The package could not be made.
    #[error(transparent)]
    Ofd(#[from] OfdError),
}

impl PublicEdition {
    /// The edition of a license: what its certificate's face says, with the certificate and the data attached.
    #[must_use]
    pub fn of_license(face: &Face, certificate: Vec<u8>, kind: &str, notice: &str) -> Self {
        let date = |date: &Option<FaceDate>| date.as_ref().map(|date| date.text.clone());
        let (representative, domicile) = match face.template {
            Some('C') => ("执行事务合伙人", "主要经营场所"),
            Some('B') => ("负责人", "住所"),
            _ => ("法定代表人", "住所"),
        };
        let facts = [
            ("统一社会信用代码", Some(face.uscc.trim().to_owned())),
            ("名称", face.name.clone()),
            (representative, face.legal_representative.clone()),
            ("注册资本", face.registered_capital.clone()),
            ("成立日期", date(&face.established)),
            ("营业期限自", date(&face.term_from)),
            ("营业期限至", date(&face.term_to)),
            (domicile, face.domicile.clone()),
            ("经营范围", face.business_scope.clone()),
            ("业务范围", face.service_scope.clone()),
        ];
        let facts = facts.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?)));
        let mut edition = Self {
            title: "营业执照".to_owned(),
            kind: kind.to_owned(),
            facts: facts.filter(|(_, value)| !value.is_empty()).collect(),
            authority: face.registration_authority.clone().unwrap_or_default(),
            date: date(&face.registered).unwrap_or_default(),
            notice: notice.to_owned(),
            link: None,
            emblem: None,
            attached: None,
        };
        edition.attached = Some(Attached { data: edition.data(), certificate });
        edition
    }

    /// What it shows, for programs.
    #[must_use]
    pub fn data(&self) -> EditionData {
        EditionData {
            version: EditionData::VERSION,
            title: self.title.clone(),
            kind: self.kind.clone(),
            facts: self.facts.clone(),
            authority: self.authority.clone(),
            date: self.date.clone(),
            notice: self.notice.clone(),
        }
    }

    fn attachments(&self) -> Vec<Attachment> {
        let Some(attached) = &self.attached else { return Vec::new() };
        vec![
            Attachment {
                name: FACE_NAME,
                media_type: "application/json",
                description: "照面数据 license face",
                octets: attached.data.to_json(),
            },
            Attachment {
                name: CERTIFICATE_NAME,
                media_type: "application/pkix-cert",
                description: "执照证书 license certificate",
                octets: attached.certificate.clone(),
            },
        ]
    }

    /// As PDF/A.
    ///
    /// # Errors
    /// [`EditionError`].
    pub fn to_pdf(&self, font: &Font, made_at: OffsetDateTime) -> Result<Vec<u8>, EditionError> {
        let marks = self.marks(font)?;
        let title = self.name();
        let attachments = self.attachments();
        Ok(pdf::write_pages(font, made_at, Language::Zh, title, PAGE, &attachments, [marks].into_iter())?)
    }

    /// As OFD.
    ///
    /// # Errors
    /// [`EditionError`].
    pub fn to_ofd(&self, font: &Font, made_at: OffsetDateTime) -> Result<Vec<u8>, EditionError> {
        let pages = [self.marks(font)?];
        let title = self.name();
        Ok(ofd::write::write(&ofd::write::Written {
            font,
            title: &title,
            made_at,
            page: PAGE,
            pages: &pages,
            attachments: &self.attachments(),
        })?)
    }

    /// Where the issuing seal belongs, in millimetres: over the authority and the date.
    pub fn seal_place(width: f64, height: f64) -> Rect {
        let to_millimetres = |points: f32| f64::from(points) * 25.4 / 72.0;
        let middle =
            (to_millimetres(PAGE.0 - MARGIN - SEAL / 2.0), to_millimetres(PAGE.1 - MARGIN - SEAL / 2.0));
        Rect { x: middle.0 - width / 2.0, y: middle.1 - height / 2.0, width, height }
    }

    fn name(&self) -> String {
        format!("{}（{}）", self.title, self.kind)
    }

    /// The page.
    fn marks(&self, font: &Font) -> Result<Vec<Mark>, EditionError> {
        let shapes = font.shapes();
        let sheet = Sheet::new(&shapes, 1);
        let mut marks = frame();
        let mut top = MARGIN - 18.0;
        if let Some(emblem) = &self.emblem {
            const SIDE: f32 = 44.0;
            marks.push(Mark::Picture([(PAGE.0 - SIDE) / 2.0, top - 12.0, SIDE, SIDE], emblem.clone()));
            top += SIDE - 8.0;
        }
        let mut centred = |text: &str, style: Style, top: &mut f32| {
            for line in sheet.lines(text, style, PAGE.0 - 2.0 * MARGIN) {
                marks.extend(line.marks((PAGE.0 - line.width()) / 2.0, *top));
                *top += line.leading();
            }
        };
        centred(&self.title, Style::new(34.0, BLACK), &mut top);
        centred(&self.kind, Style::new(13.0, QUIET), &mut top);
        top += 10.0;
        let bottom = self.facts(&sheet, top, &mut marks);
        if bottom > PAGE.1 - MARGIN {
            return Err(EditionError::TooLong);
        }
        let style = Style::new(13.0, BLACK);
        let mut foot = PAGE.1 - MARGIN - 52.0;
        for text in [&self.authority, &self.date] {
            for line in sheet.lines(text, style, SEAL * 2.0) {
                marks.extend(line.marks(PAGE.0 - MARGIN - SEAL / 2.0 - line.width() / 2.0, foot));
                foot += line.leading() + 4.0;
            }
        }
        for line in sheet.lines(&self.notice, Style::new(8.0, QUIET), PAGE.0 - 2.0 * MARGIN) {
            marks.extend(line.marks((PAGE.0 - line.width()) / 2.0, PAGE.1 - FRAME - 24.0));
        }
        if let Some(link) = &self.link {
            let code = QrCode::of(link).ok_or(EditionError::Link)?;
            let (left, top, cell) = (PAGE.0 - MARGIN - CODE, MARGIN - 24.0, CODE / code.side() as f32);
            marks.extend(code.areas(left, top, cell).map(|area| Mark::Fill(area, BLACK)));
        }
        Ok(marks)
    }

    /// Labels and values below one another, beside the space for the seal; where they end.
    fn facts(&self, sheet: &Sheet<'_>, mut top: f32, marks: &mut Vec<Mark>) -> f32 {
        let style = Style::new(FACT_SIZE, BLACK);
        for (label, value) in &self.facts {
            // Above the seal's space lines may be longer.
            let right = if top > PAGE.1 - MARGIN - SEAL - 40.0 { SEAL + 24.0 } else { CODE * 0.5 };
            let width = PAGE.0 - 2.0 * MARGIN - LABEL_WIDTH - right;
            let mut label_top = top;
            for line in sheet.lines(label, Style::new(FACT_SIZE, QUIET), LABEL_WIDTH - 10.0) {
                marks.extend(line.marks(MARGIN, label_top));
                label_top += line.leading();
            }
            for line in sheet.lines(value, style, width) {
                marks.extend(line.marks(MARGIN + LABEL_WIDTH, top));
                top += line.leading();
            }
            top = top.max(label_top) + 5.0;
        }
        top
    }
}

/// Two lines around the page.
fn frame() -> Vec<Mark> {
    let mut marks = Vec::new();
    for (inset, thick) in [(FRAME, 3.0), (FRAME + 6.0, 0.8)] {
        let (width, height) = (PAGE.0 - 2.0 * inset, PAGE.1 - 2.0 * inset);
        let (right, bottom) = (inset + width - thick, inset + height - thick);
        for area in [
            [inset, inset, width, thick],
            [inset, bottom, width, thick],
            [inset, inset, thick, height],
            [right, inset, thick, height],
        ] {
            marks.push(Mark::Fill(area, GOLD));
        }
    }
    marks
}
