//! The answer about a license that somebody shows.

use formats::Certificate;
use formats::license::{Face, LicenseReport};
use formats::license_file::{EditionData, FileForm, LicenseFileReport};
use formats::verdict::{Judgement, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::LicenseRecord;
use time::OffsetDateTime;

use crate::face::differences;
use crate::register::{RegisterError, Said, StatusOrigin, StatusQuestion, StatusRules, StatusSource};
use crate::{Decision, FrontError, StatusAnswer, status};

/// In what form a license is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LicenseType {
    /// The license certificate, DER.
    #[default]
    Certificate,
    /// The public edition (公示版) as OFD.
    Ofd,
    /// The public edition as PDF.
    Pdf,
}

impl LicenseType {
    /// What kind of file it is; none for a certificate.
    #[must_use]
    pub fn form(self) -> Option<FileForm> {
        match self {
            Self::Certificate => None,
            Self::Ofd => Some(FileForm::Ofd),
            Self::Pdf => Some(FileForm::Pdf),
        }
    }
}

/// What a license proves by itself, before the library is asked.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The license certificate; absent for a file that carries none.
    pub license: Option<LicenseReport>,
    /// The file that carries it, if it came as one; its own report on the license is the one above.
    pub file: Option<LicenseFileReport>,
}

impl Examined {
    /// The license certificate, where there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.license.as_ref()?.certificate.as_ref()
    }
}

/// A license file in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// What it was judged as.
    pub form: FileForm,
    /// The names of its seals; of signers where there is no seal.
    pub sealed_by: Vec<String>,
    /// The data that it carries, and that its page must show.
    pub data: Option<EditionData>,
}

/// Verdict, findings, and what is known of the license and its holder.
#[derive(Debug, Clone, Serialize)]
pub struct LicenseAnswer {
    /// Beside the codes of [`formats::license::judge`] and [`formats::license_file::judge`]: invalid `status_not_permitted`,
    /// `face_differs_from_register`; indeterminate `status_unavailable`, `status_stale`, `status_unknown`,
    /// `status_malformed`; notes `status_flagged`, `status_not_checked`, `license_not_current`.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the shown license says.
    pub face: Option<Face>,
    /// What the register says of the holder; absent when it does not know the holder.
    pub status: Option<StatusAnswer>,
    /// Where that comes from; absent when no register was asked, or none answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_origin: Option<StatusOrigin>,
    /// Whether it may be used for what was asked; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The license itself; absent when the bytes are no certificate.
    pub license: Option<LicenseSummary>,
    /// The file; absent for a license that came as a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSummary>,
    /// The license certificate, for reports.
    #[serde(skip)]
    pub certificate: Option<Certificate>,
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

/// What is known of the license's holder.
pub(crate) struct Holder {
    /// Which register was asked about him.
    pub(crate) source: StatusSource,
    /// What it said.
    pub(crate) said: Result<Said, RegisterError>,
    /// His face as the library has it, where the register gave none.
    pub(crate) face: Option<Map<String, Value>>,
    /// His license, as the library has it.
    pub(crate) current: Option<LicenseRecord>,
}

/// What can be found of a license that its authority did issue.
pub(crate) const OF_ISSUED: [&str; 15] = [
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

/// Adds what is known of the holder to what the license proves by itself.
pub(crate) fn complete(
    examined: Examined,
    holder: Option<Holder>,
    question: &StatusQuestion,
    rules: StatusRules,
) -> Result<LicenseAnswer, FrontError> {
    let Examined { license, file } = examined;
    let mut judgement = Judgement::new();
    let file = file.map(|file| {
        judgement.merge(file.judgement);
        FileSummary { form: file.form, sealed_by: file.sealed_by, data: file.data }
    });
    let (mut certificate, mut face, mut serial) = (None, None, None);
    if let Some(report) = license {
        judgement.merge(report.judgement);
        (certificate, face, serial) = (report.certificate, report.face, report.license_serial);
    }
    let (mut status, mut status_origin) = (None, None);
    if let Some(Holder { source, said, face: library_face, current }) = holder {
        let mut register_face = None;
        match said {
            Ok(said) => {
                status_origin = Some(StatusOrigin::of(source, &said, question));
                if let Some(standing) = said.standing {
                    let answer = StatusAnswer::of_standing(&standing)?;
                    if rules.judge_age(&standing, question, &mut judgement) {
                        status::judge(&answer, &mut judgement)?;
                    }
                    status = Some(answer);
                    register_face = standing.face;
                } else {
                    unknown(rules.required || question.is_particular(), &mut judgement);
                }
            }
            Err(RegisterError::Unavailable(code)) => {
                judgement
                    .indeterminate("status_unavailable", format!("the register cannot be asked: {code}"));
            }
            Err(RegisterError::Library(error)) => return Err(error.into()),
        }
        let register_face = register_face.or(library_face);
        // Who is known has a current license or has none, whoever knows the face.
        if let Some(certificate) =
            certificate.as_ref().filter(|_| status.is_some() || register_face.is_some())
        {
            let is_current = current.as_ref().is_some_and(|current| current.certificate == certificate.der());
            // Only the very certificate that the library holds as current is compared: a forged one must not serve to
            // probe, field by field, what the register says. A file is compared in any case: it shows its face to people
            // who know of no current one, and its certificate was issued, or the holder would not have been looked up.
            if let (Some(face), Some(register)) = (&face, &register_face)
                && (is_current || file.is_some())
            {
                compare(face, register, &mut judgement);
            }
            match current {
                Some(_) if is_current => {}
                Some(_) => judgement
                    .note("license_not_current", "the library holds another license as the current one"),
                None => judgement
                    .note("license_not_current", "the library holds no current license of the holder"),
            }
        }
    } else if certificate.is_some() {
        unknown(rules.required || question.is_particular(), &mut judgement);
    }
    let license = certificate.as_ref().map(|certificate| LicenseSummary {
        serial: serial.unwrap_or_else(|| certificate.serial_hex()),
        issuer: certificate.issuer(),
        subject: certificate.subject(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    });
    Ok(LicenseAnswer { judgement, face, status, status_origin, decision: None, license, file, certificate })
}

/// Says that nobody knows how the holder stands. Where somebody has to, that leaves the license undecided.
fn unknown(required: bool, judgement: &mut Judgement) {
    if required {
        judgement
            .indeterminate("status_unknown", "not issued by a trusted authority, or not in the register");
    } else {
        judgement.note("status_not_checked", "not issued by a trusted authority, or not in the library");
    }
}

fn compare(face: &Face, register: &Map<String, Value>, judgement: &mut Judgement) {
    let differing = register_differences(face, register);
    if !differing.is_empty() {
        judgement.invalid("face_differs_from_register", differing.join(", "));
    }
}

/// Names of the fields that a license's face and the register both state and that differ.
#[must_use]
pub fn register_differences(face: &Face, register: &Map<String, Value>) -> Vec<String> {
    let Ok(Value::Object(shown)) = serde_json::to_value(face) else { return Vec::new() };
    differences(&shown, register)
}
