//! The account as PDF/A-2u (ISO 19005-2): fonts embedded, text that can be copied and searched, the same octets for
//! the same account.

use krilla::color::rgb;
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::embed::{AssociationKind, EmbeddedFile, MimeType};
use krilla::geom::{PathBuilder, Point, Rect, Size, Transform};
use krilla::image::Image;
use krilla::metadata::{DateTime, Metadata};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::{GlyphId, KrillaGlyph};
use krilla::{Document, SerializeSettings};
use thiserror::Error;
use time::{OffsetDateTime, UtcOffset};

use super::layout::{BLACK, Ink, MARGIN, Mark, PAGE, QUIET, Run, Sheet, Style, WIDTH};
use super::{
    ALL_CHECKED, FINDINGS, Item, NO_FINDINGS, NOTICE, Report, Row, Section, TITLE, UNCHECKED, VERDICT,
    head_rows, heading,
};
use crate::edition::Attachment;
use crate::font::Font;
use crate::verdict::{Finding, Judgement, Verdict};
use crate::words::{self, Language, Words};

/// The most pages of a report; what does not fit is left out, which the last page says.
pub const MOST_PAGES: usize = 100;

const LABEL_WIDTH: f32 = 118.0;
const LABEL: Style = Style::new(9.0, BLACK);
const BESIDE: Style = Style::new(7.0, QUIET);
const VALUE: Style = Style::new(9.0, BLACK);
const SMALL: Style = Style::new(7.5, QUIET);

const CUT: Words =
    Words::new("页数已达上限，其余内容未列出", "the report is cut off here: it has as many pages as it may");
const SUMMARY: Words = Words::new("概览", "Summary");

/// Why there is no report. What is judged cannot cause it.
#[derive(Debug, Error)]
#[error("the report cannot be set as PDF: {0}")]
pub struct ReportError(String);

impl Report {
    /// The report as PDF, its language first and the other beside it.
    ///
    /// # Errors
    /// The font cannot be embedded as PDF/A asks.
    pub fn to_pdf(&self, font: &Font) -> Result<Vec<u8>, ReportError> {
        let shapes = font.shapes();
        let mut composer = Composer { sheet: Sheet::new(&shapes, MOST_PAGES), language: self.language };
        composer.report(self);
        let Composer { sheet, .. } = composer;
        let footers: Vec<_> = (1..=sheet.count()).map(|page| footer(&sheet, self, page)).collect();
        let pages = sheet.finish();
        let title = format!("{} {}", TITLE.said_in(self.language), TITLE.said_beside(self.language));
        write_pages(
            font,
            self.made_at,
            self.language,
            title,
            PAGE,
            &[],
            pages.into_iter().zip(footers).map(|(mut page, footer)| {
                page.extend(footer);
                page
            }),
        )
    }
}

/// Sets a line with a font that somebody brings, to see whether it can be embedded.
pub(crate) fn try_font(font: &Font, sample: &str) -> Result<(), ReportError> {
    let shapes = font.shapes();
    let mut sheet = Sheet::new(&shapes, 1);
    let lines = sheet.lines(sample, VALUE, WIDTH);
    sheet.put(MARGIN, &lines);
    let pages = sheet.finish();
    write_pages(
        font,
        OffsetDateTime::UNIX_EPOCH,
        Language::Zh,
        sample.to_owned(),
        PAGE,
        &[],
        pages.into_iter(),
    )
    .map(|_| ())
}

fn footer(sheet: &Sheet<'_>, report: &Report, page: usize) -> Vec<Mark> {
    let count = sheet.count();
    let number = match report.language {
        Language::Zh => format!("第 {page} 页，共 {count} 页  Page {page} of {count}"),
        Language::En => format!("Page {page} of {count}  第 {page} 页，共 {count} 页"),
    };
    let top = PAGE.1 - 44.0;
    let mut marks = vec![Mark::Fill([MARGIN, top - 6.0, WIDTH, 0.5], super::layout::RULE)];
    for line in sheet.lines(&number, SMALL, WIDTH) {
        marks.extend(line.marks(MARGIN + WIDTH - line.width(), top));
    }
    if sheet.is_full() && page == count {
        let style = Style::new(SMALL.size, ink(Verdict::Invalid));
        let said = format!("{}  {}", CUT.said_in(report.language), CUT.said_beside(report.language));
        for line in sheet.lines(&said, style, WIDTH) {
            marks.extend(line.marks(MARGIN, top - 6.0 - style.leading()));
        }
    }
    let left = report.reference.as_deref().unwrap_or(&report.maker);
    if let Some(line) = sheet.lines(left, SMALL, WIDTH * 0.6).first() {
        marks.extend(line.marks(MARGIN, top));
    }
    marks
}

struct Composer<'f> {
    sheet: Sheet<'f>,
    language: Language,
}

impl Composer<'_> {
    fn report(&mut self, report: &Report) {
        self.sheet.put_centred(TITLE.said_in(self.language), Style::new(22.0, BLACK));
        self.sheet.put_centred(TITLE.said_beside(self.language), Style::new(11.0, QUIET));
        self.sheet.top += 10.0;
        let [first, rest @ ..] = &*report.items else { return };
        if !rest.is_empty() {
            self.heading(SUMMARY, None, 0);
            for item in &report.items {
                let name = item.rows.first().map_or("", |row| &row.value);
                self.row_of(item.judgement.verdict.words(), name, ink(item.judgement.verdict));
            }
            self.sheet.top += 12.0;
        }
        self.item(first, &head_rows(report));
        for item in rest {
            self.sheet.next_page();
            self.item(item, &[]);
        }
        self.sheet.top += 12.0;
        for words in [NOTICE.said_in(self.language), NOTICE.said_beside(self.language)] {
            let lines = self.sheet.lines(words, SMALL, WIDTH);
            self.sheet.put(MARGIN, &lines);
        }
    }

    fn item(&mut self, item: &Item, head: &[Row]) {
        self.verdict(item);
        for row in head.iter().chain(&item.rows) {
            self.row(row);
        }
        self.heading(FINDINGS, None, 0);
        self.findings(&item.judgement);
        for section in &item.sections {
            self.section(section);
        }
        self.heading(UNCHECKED, None, 0);
        let unchecked = item.unchecked();
        if unchecked.is_empty() {
            self.row_of(ALL_CHECKED, "", BLACK);
        }
        for finding in unchecked {
            self.finding(finding);
        }
    }

    /// The verdict, large, with what decided it.
    fn verdict(&mut self, item: &Item) {
        const LARGE: f32 = 17.0;
        let verdict = item.judgement.verdict;
        let colour = ink(verdict);
        let said = verdict.words();
        let mut lines =
            self.sheet.lines(said.said_in(self.language), Style::new(LARGE, colour), WIDTH - 32.0);
        let beside = format!(
            "{}  ·  {} {}",
            said.said_beside(self.language),
            item.kind.said_in(self.language),
            item.kind.said_beside(self.language)
        );
        lines.extend(self.sheet.lines(&beside, Style::new(9.0, QUIET), WIDTH - 32.0));
        let reasons = reasons(&item.judgement);
        for reason in &reasons {
            let text = format!("{}  {}", reason.said_in(self.language), reason.said_beside(self.language));
            lines.extend(self.sheet.lines(&text, Style::new(10.0, BLACK), WIDTH - 32.0));
        }
        let height = lines.iter().map(|line| line.leading()).sum::<f32>() + 16.0;
        self.sheet.room(height);
        let top = self.sheet.top;
        self.sheet.fill([MARGIN, top, WIDTH, height], pale(verdict));
        self.sheet.fill([MARGIN, top, 4.0, height], colour);
        self.sheet.top += 8.0;
        self.sheet.put(MARGIN + 18.0, &lines);
        self.sheet.top = top + height + 10.0;
    }

    fn section(&mut self, section: &Section) {
        self.heading(section.heading, Some(section), section.depth);
        if let Some(judgement) = &section.judgement {
            let verdict = judgement.verdict;
            let said = verdict.words();
            let text = format!("{}  {}", said.said_in(self.language), said.said_beside(self.language));
            self.row_of(VERDICT, &text, ink(verdict));
        }
        for row in &section.rows {
            self.row(row);
        }
        if let Some(judgement) = &section.judgement {
            self.findings(judgement);
        }
    }

    fn heading(&mut self, words: Words, section: Option<&Section>, depth: usize) {
        let size = if depth == 0 { 12.0 } else { 10.5 };
        let numbered =
            |words: &str| section.map_or_else(|| words.to_owned(), |section| heading(section, words));
        let indent = MARGIN + 12.0 * depth as f32;
        let first = self.sheet.lines(&numbered(words.said_in(self.language)), Style::new(size, BLACK), WIDTH);
        let beside = self.sheet.lines(words.said_beside(self.language), Style::new(8.5, QUIET), WIDTH);
        self.sheet.top += 10.0;
        self.sheet.room(70.0); // a heading does not stand alone at a page's end
        let top = self.sheet.top;
        self.sheet.put(indent, &first);
        if let (Some(first), Some(beside)) = (first.last(), beside.first()) {
            self.sheet.put_at(indent + first.width() + 8.0, top + size - 8.5, beside);
        }
        self.sheet.top += 2.0;
        self.sheet.rule();
        self.sheet.top += 3.0;
    }

    fn findings(&mut self, judgement: &Judgement) {
        if judgement.findings.is_empty() {
            self.row_of(NO_FINDINGS, "", BLACK);
        }
        for finding in &judgement.findings {
            self.finding(finding);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let words = words::finding(finding.code).unwrap_or(Words::new("其他", "other"));
        let colour = if finding.effect == Verdict::Valid { BLACK } else { ink(finding.effect) };
        let mut value = self.sheet.lines(&finding.detail, VALUE, WIDTH - LABEL_WIDTH);
        value.extend(self.sheet.lines(finding.code, SMALL, WIDTH - LABEL_WIDTH));
        self.columns(words, colour, &value);
    }

    fn row(&mut self, row: &Row) {
        self.row_of(row.label, &row.value, BLACK);
    }

    fn row_of(&mut self, label: Words, value: &str, colour: Ink) {
        let lines = self.sheet.lines(value, Style::new(VALUE.size, colour), WIDTH - LABEL_WIDTH);
        self.columns(label, BLACK, &lines);
    }

    /// A label in both languages on the left, lines on the right, a rule below.
    fn columns(&mut self, label: Words, colour: Ink, value: &[super::layout::Line]) {
        let width = LABEL_WIDTH - 12.0;
        let mut labels =
            self.sheet.lines(label.said_in(self.language), Style::new(LABEL.size, colour), width);
        labels.extend(self.sheet.lines(label.said_beside(self.language), BESIDE, width));
        let label_height: f32 = labels.iter().map(|line| line.leading()).sum();
        let value_height: f32 = value.iter().map(|line| line.leading()).sum();
        self.sheet.top += 3.0;
        // Short values stay in one piece; long ones begin where they come.
        self.sheet.room(label_height.max(value_height.min(120.0)));
        let (top, page) = (self.sheet.top, self.sheet.count());
        let mut label_top = top;
        for line in &labels {
            self.sheet.put_at(MARGIN, label_top, line);
            label_top += line.leading();
        }
        self.sheet.put(MARGIN + LABEL_WIDTH, value);
        if self.sheet.count() == page {
            self.sheet.top = self.sheet.top.max(top + label_height);
        }
        self.sheet.top += 3.0;
        self.sheet.rule();
    }
}

/// What made the verdict what it is, each once.
fn reasons(judgement: &Judgement) -> Vec<Words> {
    let mut reasons = Vec::new();
    for finding in &judgement.findings {
        let decisive = judgement.verdict != Verdict::Valid && finding.effect == judgement.verdict;
        if let Some(words) = words::finding(finding.code).filter(|words| decisive && !reasons.contains(words))
        {
            reasons.push(words);
        }
    }
    reasons.truncate(4);
    reasons
}

fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Valid => Ink(0x13, 0x6F, 0x3A),
        Verdict::Unsigned => QUIET,
        Verdict::Indeterminate => Ink(0x8A, 0x5A, 0x00),
        Verdict::Invalid => Ink(0xB3, 0x26, 0x1E),
    }
}

fn pale(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Valid => Ink(0xEA, 0xF5, 0xEE),
        Verdict::Unsigned => Ink(0xF2, 0xF3, 0xF4),
        Verdict::Indeterminate => Ink(0xFB, 0xF3, 0xE2),
        Verdict::Invalid => Ink(0xFB, 0xEC, 0xEB),
    }
}

/// Pages of a size in points, as PDF/A; with attachments as PDF/A-3 (ISO 19005-3), which alone admits any.
pub(crate) fn write_pages(
    font: &Font,
    made_at: OffsetDateTime,
    language: Language,
    title: String,
    size: (f32, f32),
    attachments: &[Attachment],
    pages: impl Iterator<Item = Vec<Mark>>,
) -> Result<Vec<u8>, ReportError> {
    let failed = |reason: &dyn std::fmt::Debug| ReportError(format!("{reason:?}"));
    let archival = if attachments.is_empty() { Archival::A2_U } else { Archival::A3_U };
    let configuration = ConfigurationBuilder::new().with_archival_validator(archival).finish();
    let configuration = configuration.map_err(|error| failed(&error))?;
    let mut document =
        Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
    let tag = match language {
        Language::Zh => "zh-CN",
        Language::En => "en",
    };
    let metadata = Metadata::new()
        .title(title)
        .language(tag.to_owned())
        .creator(concat!("license-gateway ", env!("CARGO_PKG_VERSION")).to_owned())
        .creation_date(date(made_at));
    document.set_metadata(metadata);
    for attachment in attachments {
        let file = EmbeddedFile {
            path: attachment.name.to_owned(),
            mime_type: MimeType::new(attachment.media_type),
            description: Some(attachment.description.to_owned()),
            association_kind: AssociationKind::Data,
            data: attachment.octets.clone().into(),
            modification_date: Some(date(made_at)),
            compress: Some(true),
            location: None,
        };
        document.embed_file(file).ok_or_else(|| failed(&"two attachments have one name"))?;
    }
    for marks in pages {
        let settings = PageSettings::from_wh(size.0, size.1).ok_or_else(|| failed(&"page size"))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        for mark in &marks {
            draw(&mut surface, font, mark).map_err(|reason| failed(&reason))?;
        }
        surface.finish();
        page.finish();
    }
    document.finish().map_err(|error| failed(&error))
}

fn date(time: OffsetDateTime) -> DateTime {
    let time = time.to_offset(UtcOffset::UTC);
    DateTime::new(u16::try_from(time.year()).unwrap_or(0))
        .month(u8::from(time.month()))
        .day(time.day())
        .hour(time.hour())
        .minute(time.minute())
        .second(time.second())
        .utc_offset_hour(0)
        .utc_offset_minute(0)
}

pub(crate) fn draw(surface: &mut Surface<'_>, font: &Font, mark: &Mark) -> Result<(), String> {
    match mark {
        Mark::Run(run) => draw_run(surface, font, run),
        Mark::Fill(area, ink) => fill(surface, *ink, [*area].into_iter()),
        Mark::Picture([left, top, width, height], octets) => {
            let Some(size) = Size::from_wh(*width, *height) else { return Ok(()) };
            let image = Image::from_png(octets.to_vec().into(), false)?;
            surface.push_transform(&Transform::from_translate(*left, *top));
            surface.draw_image(image, size);
            surface.pop();
        }
    }
    Ok(())
}

fn draw_run(surface: &mut Surface<'_>, font: &Font, run: &Run) {
    let Some((first, _)) = run.shapes.first() else { return };
    let glyph = |(shape, range): &(crate::font::Shape, std::ops::Range<usize>)| KrillaGlyph {
        glyph_id: GlyphId::new(shape.glyph),
        text_range: range.clone(),
        x_advance: shape.width,
        x_offset: 0.0,
        y_offset: 0.0,
        y_advance: 0.0,
        location: None,
    };
    let glyphs: Vec<_> = run.shapes.iter().map(glyph).collect();
    surface.set_fill(Some(paint(run.ink)));
    let start = Point::from_xy(run.left, run.base);
    surface.draw_glyphs(start, &glyphs, font.face(*first).clone(), &run.text, run.size, false);
}

/// Fills areas (left, top, width, height), which are one shape: between two that touch is no seam.
pub(crate) fn fill(surface: &mut Surface<'_>, ink: Ink, areas: impl Iterator<Item = [f32; 4]>) {
    let mut path = PathBuilder::new();
    for area in areas.filter_map(|[left, top, width, height]| Rect::from_xywh(left, top, width, height)) {
        path.push_rect(area);
    }
    let Some(path) = path.finish() else { return };
    surface.set_fill(Some(paint(ink)));
    surface.draw_path(&path);
}

fn paint(Ink(red, green, blue): Ink) -> Fill {
    Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() }
}
