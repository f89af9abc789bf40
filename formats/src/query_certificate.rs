//! A query certificate (打印查询证明): what the register said of an entity at one time, on paper's size, numbered, with a
//! check code, and with the snapshot that it is set from attached. The agency's signature comes afterwards
//! ([`crate::pdf::sign`]).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sm3::{Digest, Sm3};
use thiserror::Error;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::edition::Attachment;
use crate::font::Font;
use crate::pdf::sign::PageRect;
use crate::qr::QrCode;
use crate::report::layout::{BLACK, BOTTOM, Ink, Line, MARGIN, Mark, PAGE, QUIET, RULE, Sheet, Style, WIDTH};
use crate::report::{ReportError, pdf};
use crate::visible::MOST_CHARACTERS;
use crate::words::Language;

/// The name of the file in the document that has the snapshot.
pub const SNAPSHOT_NAME: &str = "snapshot.json";
/// What the document is called.
pub const TITLE: &str = "市场主体登记信息查询证明";
/// What the service is called.
const KIND: &str = "打印查询证明";
/// A business scope of the longest kind takes three.
const MOST_PAGES: usize = 20;

const RED: Ink = Ink(0xA6, 0x1E, 0x22);
const GREEN: Ink = Ink(0x13, 0x6F, 0x3A);
const SHADE: Ink = Ink(0xF6, 0xF4, 0xF0);
const LABEL: Style = Style::new(10.0, QUIET);
const VALUE: Style = Style::new(10.5, BLACK);
const SMALL: Style = Style::new(8.0, QUIET);
const LABEL_WIDTH: f32 = 108.0;
/// Between a cell's edge and its text.
const PADDING: f32 = 4.0;
/// The QR code's side.
const CODE: f32 = 78.0;
/// What stands at the end, in one piece: signature, code and digest.
const END: f32 = 126.0;
/// From the right margin to the middle of the place for the seal.
const SEAL: f32 = 86.0;

/// What the register said, and for whom it was looked up: what is certified. Of the face only what the caller may see.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Of this form: [`Snapshot::VERSION`].
    pub version: u32,
    /// The certificate's number.
    pub number: String,
    /// Who certifies.
    pub agency: String,
    /// When it was looked up.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Unified social credit code (统一社会信用代码).
    pub uscc: String,
    /// Its standing.
    pub status: CertifiedStatus,
    /// Face fields (照面信息) by name.
    pub face: Map<String, Value>,
    /// What it is for.
    pub purpose: String,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicant: Option<String>,
}

/// An entity's standing, as the register had it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedStatus {
    /// The publicity system's code.
    pub code: i64,
    /// Its term.
    pub text: String,
    /// Whether that means that the entity is registered and may do business.
    pub in_force: bool,
    /// What is on file beside it, such as 经营异常名录.
    pub flags: Vec<String>,
    /// When the register said so.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
}

impl Snapshot {
    /// The only version there is.
    pub const VERSION: u32 = 1;

    /// As it is attached, kept and digested.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and times are JSON")
    }

    /// SM3 of [`to_json`](Self::to_json).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sm3::digest(self.to_json()).into()
    }

    /// What it says of the entity, as people read it: label and value, in order. Times stand in `offset`.
    #[must_use]
    pub fn facts(&self, offset: UtcOffset) -> Vec<(String, String)> {
        let (representative, domicile) = match self.text("template") {
            Some("C") => ("执行事务合伙人", "主要经营场所"),
            Some("B") => ("负责人", "住所"),
            Some("A") => ("法定代表人", "住所"),
            // Of another kind, or the caller may not see of which.
            _ => ("法定代表人（负责人）", "住所（经营场所）"),
        };
        let mut facts = vec![("统一社会信用代码".to_owned(), self.uscc.clone())];
        let mut put = |label: &str, value: Option<String>| {
            facts.extend(value.map(|value| (label.to_owned(), value)));
        };
        for (name, label) in [
            ("name", "名称"),
            ("registration_number", "注册号"),
            ("legal_representative", representative),
            ("registered_capital", "注册资本"),
            ("established", "成立日期"),
        ] {
            put(label, self.value(name));
        }
        let term = match (self.value("term_from"), self.value("term_to")) {
            (Some(from), Some(to)) => Some(format!("{from} 至 {to}")),
            (Some(from), None) => Some(format!("自 {from}")),
            (None, Some(to)) => Some(format!("至 {to}")),
            (None, None) => None,
        };
        put("营业期限", term);
        for (name, label) in [
            ("domicile", domicile),
            ("business_scope", "经营范围"),
            ("service_scope", "业务范围"),
            ("registration_authority", "登记机关"),
            ("registered", "登记日期"),
            ("foreign_name", "外国企业名称"),
            ("foreign_domicile", "外国企业住所"),
            ("holder", "持有人"),
        ] {
            put(label, self.value(name));
        }
        let flags = &self.status.flags;
        let flags =
            if flags.is_empty() { "登记信息库中无记载".to_owned() } else { flags.join("、") };
        facts.extend([
            ("登记状态".to_owned(), self.status.text.clone()),
            ("状态截至".to_owned(), moment(self.status.as_of, offset)),
            ("其他公示信息".to_owned(), flags),
        ]);
        facts
    }

    /// What a face field says, unless that is nothing.
    fn value(&self, name: &str) -> Option<String> {
        let text = self.text(name)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The text of a face field: a string, or a date with its text.
    fn text(&self, name: &str) -> Option<&str> {
        let value = self.face.get(name)?;
        value.as_str().or_else(|| value.get("text")?.as_str())
    }

    /// What the certificate says of the standing; only of one in force that it is.
    fn conclusion(&self, offset: UtcOffset) -> String {
        let (as_of, text) = (moment(self.status.as_of, offset), &self.status.text);
        if self.status.in_force {
            format!("截至{as_of}，登记状态为“{text}”。")
        } else {
            format!("截至{as_of}，登记状态为“{text}”。本证明不证明其存续，不得作为其正在营业的依据。")
        }
    }
}

/// A query certificate, before it is signed.
pub struct QueryCertificate {
    /// What is certified.
    pub snapshot: Snapshot,
    /// As people read it.
    pub check_code: String,
    /// Where it can be checked, as QR code.
    pub link: String,
    /// The site's time.
    pub offset: UtcOffset,
    /// Made of test identities: it says that it has no legal effect.
    pub sandbox: bool,
}

/// A certificate that is set, and where the agency's seal belongs.
pub struct SetCertificate {
    /// The document.
    pub pdf: Vec<u8>,
    /// The page with the agency's name, from 1 on: the last.
    pub page: u32,
    /// The middle of the seal's place, in millimetres from the page's upper left corner.
    seal: (f32, f32),
}

impl SetCertificate {
    /// Where a seal of this size in millimetres goes.
    #[must_use]
    pub fn seal_place(&self, width: f32, height: f32) -> PageRect {
        PageRect { left: self.seal.0 - width / 2.0, top: self.seal.1 - height / 2.0, width, height }
    }
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum QueryCertificateError {
    /// What is to be shown does not fit on the most pages.
    #[error("what is to be shown does not fit on {MOST_PAGES} pages")]
    TooLong,
    /// The link is too long for a QR code.
    #[error("the link is too long for a QR code")]
    Link,
    /// The PDF could not be made.
    #[error(transparent)]
    Pdf(#[from] ReportError),
}

impl QueryCertificate {
    /// The document: PDF/A-3 with the snapshot attached.
    ///
    /// # Errors
    /// [`QueryCertificateError`].
    pub fn to_pdf(&self, font: &Font) -> Result<SetCertificate, QueryCertificateError> {
        let shapes = font.shapes();
        let mut sheet = Sheet::new(&shapes, MOST_PAGES);
        self.head(&mut sheet);
        for (label, value) in self.snapshot.facts(self.offset) {
            let ink = match label.as_str() {
                "登记状态" if self.snapshot.status.in_force => GREEN,
                "登记状态" => RED,
                _ => BLACK,
            };
            row(&mut sheet, &label, &value, ink);
        }
        sheet.top += 12.0;
        self.said_below(&mut sheet);
        sheet.room(END);
        sheet.top = sheet.top.max(BOTTOM - END - 60.0);
        let seal = self.end(&mut sheet)?;
        if sheet.is_full() {
            return Err(QueryCertificateError::TooLong);
        }
        let count = sheet.count();
        let feet: Vec<Vec<Mark>> = (1..=count).map(|page| self.foot(&sheet, page, count)).collect();
        let mut pages = sheet.finish();
        for (page, foot) in pages.iter_mut().zip(feet) {
            page.extend(foot);
        }
        let attachment = Attachment {
            name: SNAPSHOT_NAME,
            media_type: "application/json",
            description: "所证明的登记信息快照 certified snapshot",
            octets: self.snapshot.to_json(),
        };
        let title = format!("{TITLE} {}", self.snapshot.number);
        let (at, pages) = (self.snapshot.at, pages.into_iter());
        let pdf = pdf::write_pages(font, at, Language::Zh, title, PAGE, &[attachment], pages)?;
        Ok(SetCertificate { pdf, page: u32::try_from(count).unwrap_or(u32::MAX), seal })
    }

    fn head(&self, sheet: &mut Sheet<'_>) {
        sheet.top = MARGIN - 6.0;
        if self.sandbox {
            sheet.put_centred("沙箱测试 · 无法律效力", Style::new(10.0, RED));
        }
        sheet.put_centred(TITLE, Style::new(23.0, BLACK));
        sheet.put_centred(KIND, Style::new(11.0, QUIET));
        sheet.top += 8.0;
        let number = sheet.lines(&format!("编号：{}", self.snapshot.number), VALUE, WIDTH);
        let made = sheet.lines(&format!("出具时间：{}", moment(self.snapshot.at, self.offset)), VALUE, WIDTH);
        let top = sheet.top;
        for line in &number {
            sheet.put_at(MARGIN, top, line);
        }
        for line in &made {
            sheet.put_at(PAGE.0 - MARGIN - line.width(), top, line);
        }
        sheet.top += VALUE.leading() + 3.0;
        sheet.fill([MARGIN, sheet.top, WIDTH, 1.4], RED);
        sheet.top += 10.0;
        let applicant = self.snapshot.applicant.as_ref();
        let applicant = applicant.map_or_else(String::new, |name| format!("应{name}申请，"));
        let said =
            format!("{applicant}为“{}”，经查询登记信息库，该市场主体的登记信息如下：", self.snapshot.purpose);
        let lines = sheet.lines(&said, VALUE, WIDTH);
        sheet.put(MARGIN, &lines);
        sheet.top += 8.0;
        sheet.fill([MARGIN, sheet.top, WIDTH, 0.6], RULE);
    }

    fn said_below(&self, sheet: &mut Sheet<'_>) {
        let conclusion = self.snapshot.conclusion(self.offset);
        let ink = if self.snapshot.status.in_force { BLACK } else { RED };
        let lines = sheet.lines(&conclusion, Style::new(11.0, ink), WIDTH);
        sheet.put(MARGIN, &lines);
        sheet.top += 4.0;
        let masked = ["legal_representative", "holder"];
        let masked =
            masked.iter().any(|name| self.snapshot.text(name).is_some_and(|text| text.contains('*')));
        let masked = if masked { "自然人姓名按查询权限以“*”隐去部分。" } else { "" };
        let notice = format!(
            "本证明只反映出具时登记信息库所载内容，此后的变更不在其内。{masked}\
             所证明的数据附于本文件（{SNAPSHOT_NAME}）。改动过的或打印的文件，以查验页面所示内容为准。"
        );
        let lines = sheet.lines(&notice, Style::new(9.0, QUIET), WIDTH);
        sheet.put(MARGIN, &lines);
        sheet.top += 14.0;
    }

    /// The code on the left, the agency on the right; the middle of the seal's place in millimetres.
    fn end(&self, sheet: &mut Sheet<'_>) -> Result<(f32, f32), QueryCertificateError> {
        let top = sheet.top;
        let code = QrCode::of(&self.link).ok_or(QueryCertificateError::Link)?;
        let areas = code.areas(MARGIN, top + 14.0, CODE / code.side() as f32);
        sheet.mark(areas.map(|area| Mark::Fill(area, BLACK)));
        let left = MARGIN + CODE + 12.0;
        let width = WIDTH - CODE - 24.0 - 2.0 * SEAL;
        let digest = hex::encode(self.snapshot.digest());
        let mut at = top + 14.0;
        for (text, style) in [
            ("扫码或输入查验码核对", SMALL),
            (self.check_code.as_str(), Style::new(9.5, BLACK)),
            ("快照 SM3 摘要", SMALL),
            (&digest[..32], Style::new(7.5, BLACK)),
            (&digest[32..], Style::new(7.5, BLACK)),
        ] {
            for line in sheet.lines(text, style, width) {
                sheet.put_at(left, at, &line);
                at += line.leading() + 1.5;
            }
        }
        let middle = PAGE.0 - MARGIN - SEAL;
        let mut at = top + 44.0;
        let date = self.snapshot.at.to_offset(self.offset);
        let date = date.format(format_description!("[year]年[month padding:none]月[day padding:none]日"));
        for text in [&self.snapshot.agency, &date.unwrap_or_default()] {
            for line in sheet.lines(text, Style::new(12.0, BLACK), 2.0 * SEAL) {
                sheet.put_at(middle - line.width() / 2.0, at, &line);
                at += line.leading() + 2.0;
            }
        }
        sheet.top = top + END;
        let millimetres = |points: f32| points * 25.4 / 72.0;
        Ok((millimetres(middle), millimetres(top + 62.0)))
    }

    fn foot(&self, sheet: &Sheet<'_>, page: usize, count: usize) -> Vec<Mark> {
        let mut marks = vec![Mark::Fill([MARGIN, PAGE.1 - 46.0, WIDTH, 0.5], RULE)];
        let number = format!("{TITLE}  {}", self.snapshot.number);
        let pages = format!("第 {page} 页，共 {count} 页");
        let mut put = |line: &Line, left: f32| marks.extend(line.marks(left, PAGE.1 - 40.0));
        for line in sheet.lines(&number, SMALL, WIDTH) {
            put(&line, MARGIN);
        }
        for line in sheet.lines(&pages, SMALL, WIDTH) {
            put(&line, PAGE.0 - MARGIN - line.width());
        }
        marks
    }
}

/// A row of the table, which goes on on the next page if it must.
fn row(sheet: &mut Sheet<'_>, label: &str, value: &str, ink: Ink) {
    let style = Style::new(VALUE.size, ink);
    let width = WIDTH - LABEL_WIDTH - 2.0 * PADDING;
    // What is shown of one text is bounded; a certificate leaves nothing out.
    let characters: Vec<char> = value.chars().collect();
    let pieces = characters.chunks(MOST_CHARACTERS).map(|piece| piece.iter().collect::<String>());
    let lines: Vec<Line> = pieces.flat_map(|piece| sheet.lines(&piece, style, width)).collect();
    let labels = sheet.lines(label, LABEL, LABEL_WIDTH - 2.0 * PADDING);
    let label_height = labels.len() as f32 * LABEL.leading();
    let mut rest = &lines[..];
    loop {
        let least = label_height.max(rest.len().min(3) as f32 * style.leading()) + 2.0 * PADDING;
        let before = sheet.count();
        sheet.room(least);
        if sheet.count() != before {
            sheet.fill([MARGIN, sheet.top, WIDTH, 0.6], RULE);
        }
        let room = ((BOTTOM - sheet.top - 2.0 * PADDING) / style.leading()).floor().max(1.0) as usize;
        let (now, later) = rest.split_at(room.min(rest.len()));
        cell(sheet, &labels, now, label_height);
        if later.is_empty() || sheet.is_full() {
            return;
        }
        rest = later;
        sheet.next_page();
        sheet.fill([MARGIN, sheet.top, WIDTH, 0.6], RULE);
    }
}

/// A part of a row that fits on the page: shaded label, value, lines around both.
fn cell(sheet: &mut Sheet<'_>, labels: &[Line], lines: &[Line], label_height: f32) {
    let top = sheet.top;
    let value_height: f32 = lines.iter().map(Line::leading).sum();
    let height = label_height.max(value_height) + 2.0 * PADDING;
    // The rule above stays seen.
    sheet.fill([MARGIN, top + 0.6, LABEL_WIDTH, height - 0.6], SHADE);
    for left in [MARGIN, MARGIN + LABEL_WIDTH, MARGIN + WIDTH - 0.6] {
        sheet.fill([left, top, 0.6, height], RULE);
    }
    sheet.fill([MARGIN, top + height, WIDTH, 0.6], RULE);
    for (left, lines) in [(MARGIN + PADDING, labels), (MARGIN + LABEL_WIDTH + PADDING, lines)] {
        let mut at = top + PADDING;
        for line in lines {
            sheet.put_at(left, at, line);
            at += line.leading();
        }
    }
    sheet.top = top + height;
}

/// A time as people write it, with its offset.
fn moment(at: OffsetDateTime, offset: UtcOffset) -> String {
    let form = format_description!(
        "[year]年[month padding:none]月[day padding:none]日 [hour]:[minute]:[second]（UTC[offset_hour sign:mandatory]:[offset_minute]）"
    );
    at.to_offset(offset).format(form).unwrap_or_default()
}
