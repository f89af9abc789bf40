//! The answer about a license that somebody shows.

use formats::license::{Face, LicenseReport};
use formats::verdict::{Judgement, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{EntityRecord, LicenseRecord};
use time::OffsetDateTime;

use crate::face::differences;
use crate::{FrontError, StatusAnswer, status};

/// In what form a license is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LicenseType {
    /// The license certificate, DER.
    #[default]
    Certificate,
}

/// Verdict, findings, and what is known of the license and its holder.
#[derive(Debug, Clone, Serialize)]
pub struct LicenseAnswer {
    /// Beside the codes of [`formats::license::judge`]: invalid `status_not_permitted`,
    /// `face_differs_from_register`; notes `status_flagged`, `status_not_checked`, `license_not_current`.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the shown license says.
    pub face: Option<Face>,
    /// What the register says of the holder; absent when it does not know the holder.
    pub status: Option<StatusAnswer>,
    /// The license itself; absent when the bytes are no certificate.
    pub license: Option<LicenseSummary>,
}

/// A license certificate in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LicenseSummary {
    /// The license serial (执照序列号) where the certificate's serial number has its form, else that number
    /// in hexadecimal.
    pub serial: String,
    /// Issuer, RFC 4514.
    pub issuer: String,
    /// Subject, RFC 4514.
    pub subject: String,
    /// Start of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// What the library knows of the license's holder.
pub(crate) struct Holder {
    pub(crate) entity: EntityRecord,
    pub(crate) current: Option<LicenseRecord>,
}

/// What can be found of a license that its authority did issue.
const OF_ISSUED: [&str; 15] = [
    "expired",
    "not_yet_valid",
    "revoked",
    "revoked_later",
    "revocation_not_checked",
    "revocation_unknown",
    "crl_overdue",
    "crl_stale",
    "ocsp_overdue",
    "ocsp_stale",
    "ocsp_status_unknown",
    "test_identity",
    "serial_format",
    "unknown_attribute",
    "unknown_template",
];

/// Whether the license's own proofs show that it was issued, whatever has become of it since.
pub(crate) fn was_issued(judgement: &Judgement) -> bool {
    judgement.verdict == Verdict::Valid
        || judgement.findings.iter().all(|finding| OF_ISSUED.contains(&finding.code))
}

/// Adds what the library knows to what the license proves by itself.
pub(crate) fn complete(report: LicenseReport, holder: Option<Holder>) -> Result<LicenseAnswer, FrontError> {
    let mut judgement = report.judgement;
    let status = match &holder {
        Some(Holder { entity, current }) => {
            status::judge(entity, &mut judgement)?;
            if let (Some(certificate), Some(face)) = (&report.certificate, &report.face) {
                compare(certificate.der(), face, entity, current.as_ref(), &mut judgement);
            }
            Some(StatusAnswer::of(entity)?)
        }
        None => {
            if report.certificate.is_some() {
                judgement
                    .note("status_not_checked", "not issued by a trusted authority, or not in the library");
            }
            None
        }
    };
    let license = report.certificate.map(|certificate| LicenseSummary {
        serial: report.license_serial.unwrap_or_else(|| certificate.serial_hex()),
        issuer: certificate.issuer(),
        subject: certificate.subject(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    });
    Ok(LicenseAnswer { judgement, face: report.face, status, license })
}

/// Compares only the very certificate that the library holds as current: a forged one must not serve to
/// probe, field by field, what the register says.
fn compare(
    der: &[u8],
    face: &Face,
    entity: &EntityRecord,
    current: Option<&LicenseRecord>,
    judgement: &mut Judgement,
) {
    match current {
        Some(current) if current.certificate == der => {
            let Ok(Value::Object(shown)) = serde_json::to_value(face) else { return };
            let differing = differences(&shown, &entity.face);
            if !differing.is_empty() {
                judgement.invalid("face_differs_from_register", differing.join(", "));
            }
        }
        Some(_) => {
            judgement.note("license_not_current", "the library holds another license as the current one")
        }
        None => judgement.note("license_not_current", "the library holds no current license of the holder"),
    }
}
