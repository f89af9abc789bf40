//! The report on an inspection (《日常巡检报告》): what was looked at, what was measured and by what it was judged, as PDF. What it
//! says is put together by whoever inspects.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::font::Font;
use crate::report::layout::{BLACK, Ink, Line, MARGIN, Mark, PAGE, QUIET, RULE, Sheet, Style, WIDTH};
use crate::report::{ReportError, Row, pdf};
use crate::words::{Language, Words};

/// The most pages; what does not fit is left out, which the last page says.
const MOST_PAGES: usize = 60;
const LABEL_WIDTH: f32 = 118.0;
const LABEL: Style = Style::new(9.0, BLACK);
const VALUE: Style = Style::new(9.0, BLACK);
const SMALL: Style = Style::new(7.5, QUIET);

const CUT: Words =
    Words::new("页数已达上限，其余内容未列出", "the report is cut off here: it has as many pages as it may");
const MEASURED: Words = Words::new("实测", "measured");
const LIMIT: Words = Words::new("阈值", "threshold");
const EVIDENCE: Words = Words::new("依据", "evidence");
const ADVICE: Words = Words::new("处置建议", "what to do");

/// How a check came out, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It could not be measured; nothing is known.
    Unmeasured,
    /// Somebody should look at it.
    Attention,
    /// Not as it must be.
    Abnormal,
}

impl Grade {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Unmeasured, Self::Attention, Self::Abnormal];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unmeasured => "unmeasured",
            Self::Attention => "attention",
            Self::Abnormal => "abnormal",
        }
    }

    /// The words for people.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Ok => Words::new("正常", "ok"),
            Self::Unmeasured => Words::new("未能测得", "could not be measured"),
            Self::Attention => Words::new("需关注", "attention"),
            Self::Abnormal => Words::new("异常", "abnormal"),
        }
    }

    fn ink(self) -> Ink {
        match self {
            Self::Ok => Ink(0x13, 0x6F, 0x3A),
            Self::Unmeasured => Ink(0x6B, 0x6F, 0x76),
            Self::Attention => Ink(0x8A, 0x5A, 0x00),
            Self::Abnormal => Ink(0xA6, 0x1E, 0x22),
        }
    }
}

/// A report on an inspection.
#[derive(Clone, Debug)]
pub struct InspectionReport {
    /// The language that leads; the other one stands beside it.
    pub language: Language,
    /// When it was made.
    pub made_at: OffsetDateTime,
    /// What it is called.
    pub title: Words,
    /// The inspection's number.
    pub number: String,
    /// Of the whole.
    pub grade: Grade,
    /// Who, when, where, why.
    pub rows: Vec<Row>,
    /// What was looked at.
    pub groups: Vec<CheckGroup>,
}

/// Checks of one kind of thing.
#[derive(Clone, Debug)]
pub struct CheckGroup {
    /// What they are about.
    pub heading: Words,
    /// The checks.
    pub checks: Vec<ReportedCheck>,
}

/// One check and what came of it.
#[derive(Clone, Debug)]
pub struct ReportedCheck {
    /// Its stable code.
    pub code: String,
    /// What was looked at.
    pub what: Words,
    /// Which one of several; empty if there is one.
    pub subject: String,
    /// How it came out.
    pub grade: Grade,
    /// What was measured.
    pub measured: String,
    /// By what it was judged, in Chinese and English.
    pub threshold: [String; 2],
    /// What the verdict rests on beside that.
    pub evidence: String,
    /// What to do, where something is to be done.
    pub advice: Option<Words>,
}

impl InspectionReport {
    /// The report as PDF/A-2u, its language first and the other beside it.
    ///
    /// # Errors
    /// The font cannot be embedded as PDF/A asks.
    pub fn to_pdf(&self, font: &Font) -> Result<Vec<u8>, ReportError> {
        let shapes = font.shapes();
        let mut sheet = Sheet::new(&shapes, MOST_PAGES);
        self.head(&mut sheet);
        for group in &self.groups {
            self.heading(&mut sheet, group.heading);
            for check in &group.checks {
                self.check(&mut sheet, check);
            }
        }
        let footers: Vec<_> = (1..=sheet.count()).map(|page| self.footer(&sheet, page)).collect();
        let pages = sheet.finish().into_iter().zip(footers).map(|(mut page, footer)| {
            page.extend(footer);
            page
        });
        let title = format!("{} {}", self.title.said_in(self.language), self.number);
        pdf::write_pages(font, self.made_at, self.language, title, PAGE, &[], pages)
    }

    /// How many checks came out like that.
    #[must_use]
    pub fn count(&self, grade: Grade) -> usize {
        self.groups.iter().flat_map(|group| &group.checks).filter(|check| check.grade == grade).count()
    }

    fn both(&self, words: Words) -> String {
        format!("{}  {}", words.said_in(self.language), words.said_beside(self.language))
    }

    fn head(&self, sheet: &mut Sheet<'_>) {
        sheet.put_centred(self.title.said_in(self.language), Style::new(22.0, BLACK));
        sheet.put_centred(self.title.said_beside(self.language), Style::new(11.0, QUIET));
        sheet.top += 10.0;
        let verdict = Style::new(15.0, self.grade.ink());
        sheet.put_centred(&self.both(self.grade.words()), verdict);
        let counts = Grade::ALL.map(|grade| format!("{} {}", self.both(grade.words()), self.count(grade)));
        sheet.put_centred(&counts.join("  ·  "), Style::new(9.0, QUIET));
        sheet.top += 8.0;
        for row in &self.rows {
            let value = sheet.lines(&row.value, VALUE, WIDTH - LABEL_WIDTH);
            self.columns(sheet, row.label, BLACK, &value);
        }
    }

    fn heading(&self, sheet: &mut Sheet<'_>, words: Words) {
        sheet.top += 12.0;
        sheet.room(80.0); // a heading does not stand alone at a page's end
        let lines = sheet.lines(&self.both(words), Style::new(12.0, BLACK), WIDTH);
        sheet.put(MARGIN, &lines);
        sheet.top += 2.0;
        sheet.rule();
    }

    fn check(&self, sheet: &mut Sheet<'_>, check: &ReportedCheck) {
        let width = WIDTH - LABEL_WIDTH;
        let [zh, en] = &check.threshold;
        let (limit, beside) = match self.language {
            Language::Zh => (zh, en),
            Language::En => (en, zh),
        };
        let subject = if check.subject.is_empty() { String::new() } else { format!("  [{}]", check.subject) };
        let mut lines = sheet.lines(&format!("{}{subject}", self.both(check.what)), VALUE, width);
        let measured = format!("{}: {}", self.both(MEASURED), check.measured);
        lines.extend(sheet.lines(&measured, Style::new(VALUE.size, check.grade.ink()), width));
        lines.extend(sheet.lines(&format!("{}: {limit}  {beside}", self.both(LIMIT)), SMALL, width));
        if !check.evidence.is_empty() {
            lines.extend(sheet.lines(&format!("{}: {}", self.both(EVIDENCE), check.evidence), SMALL, width));
        }
        if let Some(advice) = check.advice {
            let text = format!("{}: {}", self.both(ADVICE), self.both(advice));
            lines.extend(sheet.lines(&text, Style::new(8.0, BLACK), width));
        }
        lines.extend(sheet.lines(&check.code, SMALL, width));
        self.columns(sheet, check.grade.words(), check.grade.ink(), &lines);
    }

    /// A label in both languages on the left, lines on the right, a rule below.
    fn columns(&self, sheet: &mut Sheet<'_>, label: Words, colour: Ink, value: &[Line]) {
        let width = LABEL_WIDTH - 12.0;
        let mut labels = sheet.lines(label.said_in(self.language), Style::new(LABEL.size, colour), width);
        labels.extend(sheet.lines(label.said_beside(self.language), SMALL, width));
        let height = |lines: &[Line]| lines.iter().map(Line::leading).sum::<f32>();
        sheet.top += 3.0;
        sheet.room(height(&labels).max(height(value).min(160.0)));
        let (top, page) = (sheet.top, sheet.count());
        let mut label_top = top;
        for line in &labels {
            sheet.put_at(MARGIN, label_top, line);
            label_top += line.leading();
        }
        sheet.put(MARGIN + LABEL_WIDTH, value);
        if sheet.count() == page {
            sheet.top = sheet.top.max(top + height(&labels));
        }
        sheet.top += 3.0;
        sheet.rule();
    }

    fn footer(&self, sheet: &Sheet<'_>, page: usize) -> Vec<Mark> {
        let count = sheet.count();
        let top = PAGE.1 - 44.0;
        let mut marks = vec![Mark::Fill([MARGIN, top - 6.0, WIDTH, 0.5], RULE)];
        let number = format!("第 {page} 页，共 {count} 页  Page {page} of {count}");
        for line in sheet.lines(&number, SMALL, WIDTH) {
            marks.extend(line.marks(MARGIN + WIDTH - line.width(), top));
        }
        let cut = (sheet.is_full() && page == count).then(|| self.both(CUT));
        for line in sheet.lines(cut.as_deref().unwrap_or(&self.number), SMALL, WIDTH * 0.6).iter().take(1) {
            marks.extend(line.marks(MARGIN, top));
        }
        marks
    }
}
