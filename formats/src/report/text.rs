//! The account as text, in one language.

use std::fmt::Write;

use super::{
    ALL_CHECKED, FINDINGS, Item, NO_FINDINGS, NOTICE, Report, Row, Section, TITLE, UNCHECKED, VERDICT,
    head_rows, heading,
};
use crate::verdict::{Finding, Judgement};
use crate::visible::visible;
use crate::words::{self, Language, Words};

impl Report {
    /// The report as text in its language, one line for each thing it says.
    pub fn to_text(&self) -> String {
        let mut writer = Writer { language: self.language, text: String::new() };
        writer.line(0, TITLE.said_in(self.language));
        for row in head_rows(self) {
            writer.row(0, &row);
        }
        for item in &self.items {
            writer.text.push('\n');
            writer.item(item);
        }
        writer.text.push('\n');
        writer.line(0, NOTICE.said_in(self.language));
        writer.text
    }
}

struct Writer {
    language: Language,
    text: String,
}

impl Writer {
    fn item(&mut self, item: &Item) {
        self.line(0, item.kind.said_in(self.language));
        self.judgement(0, &item.judgement);
        for row in &item.rows {
            self.row(0, row);
        }
        for section in &item.sections {
            self.section(section);
        }
        self.line(0, UNCHECKED.said_in(self.language));
        let unchecked = item.unchecked();
        if unchecked.is_empty() {
            self.line(1, ALL_CHECKED.said_in(self.language));
        }
        for finding in unchecked {
            self.finding(1, finding);
        }
    }

    fn section(&mut self, section: &Section) {
        self.line(section.depth, &heading(section, section.heading.said_in(self.language)));
        if let Some(judgement) = &section.judgement {
            self.judgement(section.depth + 1, judgement);
        }
        for row in &section.rows {
            self.row(section.depth + 1, row);
        }
    }

    fn judgement(&mut self, depth: usize, judgement: &Judgement) {
        self.labelled(depth, VERDICT, judgement.verdict.words().said_in(self.language));
        self.line(depth, FINDINGS.said_in(self.language));
        if judgement.findings.is_empty() {
            self.line(depth + 1, NO_FINDINGS.said_in(self.language));
        }
        for finding in &judgement.findings {
            self.finding(depth + 1, finding);
        }
    }

    fn finding(&mut self, depth: usize, finding: &Finding) {
        let words = words::finding(finding.code).map_or("", |words| words.said_in(self.language));
        self.line(depth, &format!("[{}] {words} {}", finding.code, visible(&finding.detail)));
    }

    fn row(&mut self, depth: usize, row: &Row) {
        self.labelled(depth, row.label, &visible(&row.value));
    }

    fn labelled(&mut self, depth: usize, label: Words, value: &str) {
        let (label, colon) = match self.language {
            Language::Zh => (label.zh, "："),
            Language::En => (label.en, ": "),
        };
        self.line(depth, &format!("{label}{colon}{value}"));
    }

    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.text, "{:1$}{text}", "", 2 * depth); // a String takes whatever is written
    }
}
