//! A report on what was judged, for people: one account, set as PDF ([`Report::to_pdf`]) or as text
//! ([`Report::to_text`]). What the account says is put together by those who judge.

pub(crate) mod layout;
pub(crate) mod pdf;
pub mod rows;
mod text;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::verdict::{Finding, Judgement};
use crate::words::{Language, Words, leaves_unchecked};

pub(crate) use pdf::try_font;
pub use pdf::{MOST_PAGES, ReportError};

/// A report on one or several things.
#[derive(Clone, Debug)]
pub struct Report {
    /// The language that leads; labels and words stand in the other one beside it.
    pub language: Language,
    /// When it was made.
    pub made_at: OffsetDateTime,
    /// Who made it: product, version, site.
    pub maker: String,
    /// What finds the judgement again, such as a request's id; none offline.
    pub reference: Option<String>,
    /// What was judged.
    pub items: Vec<Item>,
}

/// One judged thing.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is.
    pub kind: Words,
    /// Verdict and findings on all of it.
    pub judgement: Judgement,
    /// What identifies it, and by what it was judged.
    pub rows: Vec<Row>,
    /// Its signers, its license, its certificate.
    pub sections: Vec<Section>,
}

/// A part of what was judged.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is.
    pub heading: Words,
    /// Which of several; none if there is one.
    pub number: Option<usize>,
    /// 0 for a part, 1 for a part of a part.
    pub depth: usize,
    /// Verdict and findings on this part alone, where there is one.
    pub judgement: Option<Judgement>,
    /// What there is to know of it.
    pub rows: Vec<Row>,
}

/// Something that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub label: Words,
    /// It may come from a stranger: shown by the rules of [`crate::visible`].
    pub value: String,
}

/// The title.
pub const TITLE: Words = Words::new("验证报告", "Verification report");

const FINDINGS: Words = Words::new("判定依据", "Findings");
const NO_FINDINGS: Words = Words::new("无异常", "nothing to report");
const UNCHECKED: Words = Words::new("未核查事项", "Not checked");
const ALL_CHECKED: Words = Words::new("无", "nothing was left unchecked");
const VERDICT: Words = Words::new("结论", "Verdict");
const NOTICE: Words = Words::new(
    "本报告由程序生成，仅说明按上列时间与策略核查所得的结论；报告本身未签名。",
    "Made by a program. It states what was found at the time and by the policy named above, and is not itself signed.",
);

impl Row {
    /// A row.
    pub fn new(label: Words, value: impl Into<String>) -> Self {
        Self { label, value: value.into() }
    }

    /// A row of words, in both languages.
    pub fn of_words(label: Words, value: Words) -> Self {
        Self::new(label, format!("{}  {}", value.zh, value.en))
    }

    /// A row of a time.
    pub fn at(label: Words, time: OffsetDateTime) -> Self {
        Self::new(label, stamp(time))
    }
}

impl Section {
    /// A part that has no verdict of its own.
    pub fn new(heading: Words, rows: Vec<Row>) -> Self {
        Self { heading, number: None, depth: 0, judgement: None, rows }
    }
}

/// A time in UTC, to the second.
fn stamp(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    utc.replace_nanosecond(0).ok().and_then(|utc| utc.format(&Rfc3339).ok()).unwrap_or_default()
}

impl Item {
    /// What was not checked, each once, from all its parts.
    fn unchecked(&self) -> Vec<&Finding> {
        let parts = self.sections.iter().filter_map(|section| section.judgement.as_ref());
        let mut found: Vec<&Finding> = Vec::new();
        for finding in std::iter::once(&self.judgement).chain(parts).flat_map(|judgement| &judgement.findings)
        {
            if leaves_unchecked(finding.code) && !found.contains(&finding) {
                found.push(finding);
            }
        }
        found
    }
}

/// What stands above everything.
fn head_rows(report: &Report) -> Vec<Row> {
    let mut rows = vec![
        Row::at(Words::new("验证时间", "Judged at"), report.made_at),
        Row::new(Words::new("验证者", "Judged by"), report.maker.as_str()),
    ];
    if let Some(reference) = &report.reference {
        rows.push(Row::new(Words::new("请求编号", "Request id"), reference.as_str()));
    }
    rows
}

/// The section's heading with its number.
fn heading(section: &Section, words: &str) -> String {
    section.number.map_or_else(|| words.to_owned(), |number| format!("{words} {number}"))
}
