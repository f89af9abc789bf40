//! What is kept of a license that was shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signing::ValidationNames;
use store::KeptRetention;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::problem::Problem;

/// What a record says that it is.
pub(super) const FORMAT: &str = "license-gateway retention 1";

/// A license as it was shown, and what was found of it then. Its JSON text is kept sealed, and its SM3 stands in the audit
/// log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct RetentionRecord {
    /// `license-gateway retention 1`.
    pub(super) format: String,
    /// Its number.
    #[schema(example = "20261122-7QX2M0K4T9")]
    pub(super) id: String,
    /// Whose it is.
    pub(super) app: String,
    /// Where it came from: `library`, `file` or `session`.
    pub(super) source: String,
    /// Unified social credit code, where the license has a right one.
    pub(super) uscc: Option<String>,
    /// The enterprise's name as the license has it, as far as the app may see it.
    pub(super) name: Option<String>,
    /// The code of the business item (业务事项).
    pub(super) item: String,
    /// The app's own number for the business.
    pub(super) biz_no: String,
    /// What it is kept for.
    pub(super) purpose: Option<String>,
    /// As whom somebody showed it.
    pub(super) role: ShownBy,
    /// Who, as far as the app may see it; of a session.
    pub(super) operator: Option<String>,
    /// `{id, items, until}`: under what an agent acted; of a session.
    #[schema(value_type = Option<Object>)]
    pub(super) authorisation: Option<Value>,
    /// In which session it was shown.
    pub(super) session: Option<String>,
    /// The file.
    pub(super) file: RetainedFile,
    /// How it was judged: `valid`, `invalid`, `indeterminate` or `unsigned`.
    pub(super) verdict: String,
    /// `{code, detail, message}` each.
    #[schema(value_type = Vec<Object>)]
    pub(super) findings: Vec<Value>,
    /// `{serial, issuer, subject, not_before, not_after}` of the license certificate.
    #[schema(value_type = Option<Object>)]
    pub(super) license: Option<Value>,
    /// What the license shows, as far as the app might see it: field name to text or date.
    #[schema(value_type = Option<Object>)]
    pub(super) face: Option<Map<String, Value>>,
    /// `{code, text, flags, as_of}`: what the register said of the holder.
    #[schema(value_type = Option<Object>)]
    pub(super) status: Option<Value>,
    /// Where that came from.
    #[schema(value_type = Option<Object>)]
    pub(super) status_origin: Option<Value>,
    /// Whether the license could be retained for this by who showed it, by the site's table (use `file`).
    #[schema(value_type = Object)]
    pub(super) decision: Value,
    /// `{certificates, crls, ocsps, missing}`: what license and seals were judged by, by SM3, and of whom nobody could say
    /// that they were not revoked.
    #[schema(value_type = Object)]
    pub(super) evidence: ValidationNames,
    /// When it was judged and kept.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    pub(super) retained_at: OffsetDateTime,
    /// Until when it is kept.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    pub(super) keep_until: OffsetDateTime,
}

/// As whom somebody showed a license.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct ShownBy {
    /// 0 法定代表人, 1 证照管理员, 2 办事人.
    pub(super) opertype: u8,
    /// `legal_representative`, `administrator` or `agent`.
    pub(super) name: String,
    /// Who says so: `session`, where the license's key signed it, or `app`.
    pub(super) told_by: String,
}

/// The file of a retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RetainedFile {
    /// `ofd`, `pdf`, `certificate`, or `session` for the signed result of one.
    pub(super) kind: String,
    /// `application/ofd`, `application/pdf`, `application/pkix-cert` or `application/json`.
    pub(super) media_type: String,
    /// How many there are.
    pub(super) octets: u64,
    /// SM3 over it, hexadecimal.
    pub(super) sm3: String,
    /// SHA-256 over it, hexadecimal.
    pub(super) sha256: String,
}

/// What a row says that its record says too.
struct RowOf<'a> {
    id: &'a str,
    app: &'a str,
    file: &'a str,
    keep_until: OffsetDateTime,
}

impl RetentionRecord {
    /// What was kept, if its time is not over.
    ///
    /// # Errors
    /// `retention_over`; `retention_broken` of what is none, or speaks of another row.
    pub(super) fn of(kept: &KeptRetention, now: OffsetDateTime) -> Result<Self, Problem> {
        let row =
            RowOf { id: &kept.id, app: kept.app.as_str(), file: &kept.file, keep_until: kept.keep_until };
        Self::read(kept.record.as_ref().map(|text| &text[..]), &row, now)
    }

    fn read(text: Option<&[u8]>, row: &RowOf<'_>, now: OffsetDateTime) -> Result<Self, Problem> {
        let text = text.ok_or_else(Problem::retention_over)?;
        let read: Self = serde_json::from_slice(text)
            .map_err(|_| Problem::retention_broken(row.id, "its record cannot be read"))?;
        let same = read.format == FORMAT
            && read.id == row.id
            && read.app == row.app
            && read.file.sm3 == row.file
            && read.keep_until.unix_timestamp() == row.keep_until.unix_timestamp();
        if !same {
            return Err(Problem::retention_broken(row.id, "its record is of another row"));
        }
        if read.keep_until > now { Ok(read) } else { Err(Problem::retention_over()) }
    }

    /// How the file ends.
    pub(super) fn extension(&self) -> &'static str {
        match self.file.kind.as_str() {
            "ofd" => "ofd",
            "pdf" => "pdf",
            "session" => "json",
            _ => "cer",
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const MADE: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
    const UNTIL: OffsetDateTime = datetime!(2034-05-04 07:08:09 UTC);
    const ROW: RowOf<'_> = RowOf { id: "one", app: "window", file: "aa", keep_until: UNTIL };

    fn record() -> Vec<u8> {
        let file = serde_json::json!({
            "kind": "certificate", "media_type": "application/pkix-cert", "octets": 1, "sm3": "aa", "sha256": "bb",
        });
        let record = serde_json::json!({
            "format": FORMAT, "id": "one", "app": "window", "source": "file", "uscc": null, "name": null,
            "item": "annual-report", "biz_no": "1", "purpose": null,
            "role": {"opertype": 2, "name": "agent", "told_by": "app"}, "operator": null, "authorisation": null,
            "session": null, "file": file, "verdict": "invalid", "findings": [], "license": null, "face": null,
            "status": null, "status_origin": null, "decision": {},
            "evidence": {"certificates": [], "crls": [], "ocsps": []},
            "retained_at": "2024-05-06T07:08:09Z", "keep_until": "2034-05-04T07:08:09Z",
        });
        serde_json::to_vec(&record).unwrap()
    }

    fn code(text: Option<&[u8]>, row: &RowOf<'_>, now: OffsetDateTime) -> Option<&'static str> {
        RetentionRecord::read(text, row, now).err().map(|problem| problem.code())
    }

    #[test]
    fn a_record_is_read_until_its_time_is_over() {
        let record = record();
        assert_eq!(code(Some(&record), &ROW, UNTIL - time::Duration::SECOND), None);
        assert_eq!(code(Some(&record), &ROW, UNTIL), Some("retention_over"));
        assert_eq!(code(None, &ROW, MADE), Some("retention_over"));
    }

    #[test]
    fn a_record_of_another_row_is_none() {
        let record = record();
        for row in [
            RowOf { id: "two", ..ROW },
            RowOf { app: "portal", ..ROW },
            RowOf { file: "ab", ..ROW },
            RowOf { keep_until: UNTIL + time::Duration::SECOND, ..ROW },
        ] {
            assert_eq!(code(Some(&record), &row, MADE), Some("retention_broken"));
        }
        assert_eq!(code(Some(b"{}"), &ROW, MADE), Some("retention_broken"));
    }
}
