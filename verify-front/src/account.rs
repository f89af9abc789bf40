//! What a report for people says of a license.

use formats::Certificate;
use formats::chain::{self, Usage};
use formats::license_file::FileForm;
use formats::opened::Kind;
use formats::report::{Item, Row, Section, rows};
use formats::words::Words;
use time::OffsetDateTime;

use crate::{FileSummary, LicenseAnswer, LicenseFront, StatusAnswer};

impl LicenseFront {
    /// The path that a license was judged by; empty when there is none.
    #[must_use]
    pub fn path(&self, answer: &LicenseAnswer, at: OffsetDateTime) -> Vec<Certificate> {
        let Some(certificate) = &answer.certificate else { return Vec::new() };
        chain::path(certificate, &[], &self.trust(), Usage::License, at)
    }

    /// The account of a license that was judged.
    #[must_use]
    pub fn account(&self, license: &[u8], answer: &LicenseAnswer, at: OffsetDateTime) -> Item {
        let mut known = rows::digests(license).to_vec();
        known.extend(rows::policy(Usage::License, &self.trust(), at));
        let mut sections: Vec<Section> = answer.file.iter().map(file_section).collect();
        if let Some(face) = &answer.face {
            sections.push(Section::new(Words::new("照面信息", "License face"), rows::face(face)));
        }
        if let Some(status) = &answer.status {
            sections.push(Section::new(Words::new("登记状态", "Registration status"), status_rows(status)));
        }
        if let Some(summary) = &answer.license {
            let mut rows =
                vec![Row::new(Words::new("执照序列号", "License serial"), summary.serial.as_str())];
            rows.extend(answer.certificate.iter().flat_map(rows::certificate));
            rows.extend(rows::path(&self.path(answer, at)));
            sections.push(Section::new(Words::new("执照证书", "License certificate"), rows));
        }
        Item { kind: Kind::License.words(), judgement: answer.judgement.clone(), rows: known, sections }
    }
}

/// What a report says of a license file; whether the page shows these data, the findings say.
#[must_use]
pub fn file_section(file: &FileSummary) -> Section {
    let form = match file.form {
        FileForm::Ofd => "OFD (GB/T 33190)",
        FileForm::Pdf => "PDF (ISO 32000)",
    };
    let mut rows = vec![Row::new(Words::new("文件格式", "Form"), form)];
    let by = file.sealed_by.iter();
    rows.extend(by.map(|name| Row::new(Words::new("签章", "Sealed by"), name.as_str())));
    let facts = file.data.iter().flat_map(|data| &data.facts);
    let shown = Words::new("照面数据", "Face data");
    rows.extend(facts.map(|(label, value)| Row::new(shown, format!("{label} {value}"))));
    Section::new(Words::new("执照文件", "License file"), rows)
}

fn status_rows(status: &StatusAnswer) -> Vec<Row> {
    let mut rows =
        vec![Row::new(Words::new("登记状态", "Status"), format!("{} {}", status.code, status.text))];
    if !status.flags.is_empty() {
        rows.push(Row::new(Words::new("提示信息", "On file"), status.flags.join("、")));
    }
    rows.push(Row::at(Words::new("数据时间", "As of"), status.as_of));
    rows
}
