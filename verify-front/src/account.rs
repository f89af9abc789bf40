//! What a report for people says of a license.

use formats::Certificate;
use formats::chain::{self, Usage};
use formats::opened::Kind;
use formats::report::{Item, Row, Section, rows};
use formats::words::Words;
use time::OffsetDateTime;

use crate::{LicenseAnswer, LicenseFront, StatusAnswer};

impl LicenseFront {
    /// The path that a license was judged by; empty when there is none.
    #[must_use]
    pub fn path(&self, license: &[u8], at: OffsetDateTime) -> Vec<Certificate> {
        let Ok(certificate) = Certificate::from_der(license) else { return Vec::new() };
        chain::path(&certificate, &[], &self.trust(), Usage::License, at)
    }

    /// The account of a license that was judged.
    #[must_use]
    pub fn account(&self, license: &[u8], answer: &LicenseAnswer, at: OffsetDateTime) -> Item {
        let mut known = rows::digests(license).to_vec();
        known.extend(rows::policy(Usage::License, &self.trust(), at));
        let mut sections = Vec::new();
        if let Some(face) = &answer.face {
            sections.push(Section::new(Words::new("照面信息", "License face"), rows::face(face)));
        }
        if let Some(status) = &answer.status {
            sections.push(Section::new(Words::new("登记状态", "Registration status"), status_rows(status)));
        }
        if let Some(summary) = &answer.license {
            let mut rows =
                vec![Row::new(Words::new("执照序列号", "License serial"), summary.serial.as_str())];
            rows.extend(Certificate::from_der(license).iter().flat_map(rows::certificate));
            rows.extend(rows::path(&self.path(license, at)));
            sections.push(Section::new(Words::new("执照证书", "License certificate"), rows));
        }
        Item { kind: Kind::License.words(), judgement: answer.judgement.clone(), rows: known, sections }
    }
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
