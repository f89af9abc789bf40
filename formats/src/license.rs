//! The electronic business license (电子营业执照): a certificate whose private extensions carry the
//! license's face (照面).
//!
//! A face attribute is an extension with the OID 0.6.3.1040.N whose OCTET STRING holds UTF-8 text as it
//! stands, without an ASN.1 string around it; N is the attribute's number in the registration
//! authority's templates. The unified social credit code is attribute 13 and not in the subject. The
//! license serial is the certificate's serial number, 32 decimal digits written as nibbles.
//!
//! What real licenses lack (key usage, key identifiers, pointers to revocation) is relaxed by name in
//! [`Usage::License`](crate::chain::Usage::License). What this module tolerates: blank padding, absent
//! attributes, unknown attributes, dates in words. What it refuses: an attribute given twice, text that
//! is not UTF-8, a key that is not SM2, a code that breaks GB 32100.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use time::{Date, Month, OffsetDateTime};

use crate::chain::{self, TrustStore, Usage};
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::uscc::Uscc;
use crate::verdict::{Finding, Judgement};
use crate::x509::Certificate;

/// The arcs before the attribute number.
const FACE_ARC: [u32; 4] = [0, 6, 3, 1040];

/// What a license shows (照面). Texts come without the blanks that pad them; `attributes` has them as
/// they stand in the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Face {
    /// 统一社会信用代码 (13), exactly as written; empty when absent, unchecked in any case.
    pub uscc: String,
    /// 注册号 (17), the registration number before 2015.
    pub registration_number: Option<String>,
    /// 名称 (18).
    pub name: Option<String>,
    /// The document's title (19), 电子营业执照.
    pub title: Option<String>,
    /// 法定代表人, 负责人 or 执行事务合伙人 (20).
    pub legal_representative: Option<String>,
    /// 注册资本 (25).
    pub registered_capital: Option<String>,
    /// 住所 (29).
    pub domicile: Option<String>,
    /// 成立日期 (33).
    pub established: Option<FaceDate>,
    /// 经营期限自 (35).
    pub term_from: Option<FaceDate>,
    /// 经营期限至 (38).
    pub term_to: Option<FaceDate>,
    /// 经营范围 (39).
    pub business_scope: Option<String>,
    /// 业务范围 (40).
    pub service_scope: Option<String>,
    /// 登记机关 (42).
    pub registration_authority: Option<String>,
    /// 登记日期 or 发照日期 (43).
    pub registered: Option<FaceDate>,
    /// 公示系统网址 (44).
    pub publicity_url: Option<String>,
    /// 监制机关 (45).
    pub supervising_authority: Option<String>,
    /// Version of the license format (46), such as V2.0.
    pub format_version: Option<String>,
    /// 外国企业名称 (49).
    pub foreign_name: Option<String>,
    /// 外国企业住所 (50).
    pub foreign_domicile: Option<String>,
    /// Version of the license entity (51), such as 1.0.
    pub entity_version: Option<String>,
    /// The person this entity was made for (58).
    pub holder: Option<String>,
    /// Template letter (90): A 内资公司, B 内资非公司企业, C 合伙企业 … I 外国企业.
    pub template: Option<char>,
    /// 主体类型 number (91).
    pub subject_type: Option<String>,
    /// 行政区划 code (93).
    pub area_code: Option<String>,
    /// Every face attribute by number, untrimmed, unknown ones too.
    pub attributes: BTreeMap<u16, String>,
}

/// A date as a license writes it, and as a calendar has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaceDate {
    /// As written.
    pub text: String,
    /// The day, where the text is `yyyyMMdd` or `yyyy年M月d日`.
    #[serde(serialize_with = "iso_date")]
    pub date: Option<Date>,
    /// The text is 长期: without end.
    pub long_term: bool,
}

impl FaceDate {
    /// Reads a date in any of the forms seen on licenses; a text in none of them is kept unread.
    pub fn read(text: &str) -> Self {
        Self { text: text.to_owned(), date: calendar_date(text), long_term: text == "长期" }
    }
}

fn calendar_date(text: &str) -> Option<Date> {
    let (year, month, day) = if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        (&text[..4], &text[4..6], &text[6..])
    } else {
        let (year, rest) = text.split_once('年')?;
        let (month, rest) = rest.split_once('月')?;
        (year, month, rest.strip_suffix('日')?)
    };
    let number = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
        let plain = lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let month = Month::try_from(u8::try_from(number(month, 1..=2)?).ok()?).ok()?;
    let day = u8::try_from(number(day, 1..=2)?).ok()?;
    Date::from_calendar_date(i32::from(number(year, 4..=4)?), month, day).ok()
}

/// Do two texts of a face say the same? Blanks around them and the way a date is written do not count.
pub fn same_value(one: &str, other: &str) -> bool {
    let day = |text: &str| FaceDate::read(text.trim()).date;
    one.trim() == other.trim() || day(one).is_some_and(|one| Some(one) == day(other))
}

fn iso_date<S: Serializer>(date: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
    match date {
        Some(date) => serializer.collect_str(date),
        None => serializer.serialize_none(),
    }
}

/// Reads the face out of a license certificate.
///
/// The findings are notes: `serial_format`, `unknown_attribute`, `unknown_template`. Refused with an
/// error: an attribute given twice, text that is not UTF-8.
pub fn face(certificate: &Certificate) -> Result<(Face, Vec<Finding>), FormatError> {
    let mut face = Face::default();
    let mut notes = Vec::new();

    if license_serial(certificate).is_none() {
        let detail = format!("the serial {} is not 32 decimal digits", certificate.serial_hex());
        notes.push(Finding::note("serial_format", detail));
    }
    for extension in certificate.inner().tbs_certificate.extensions.iter().flatten() {
        let arcs: Vec<u32> = extension.extn_id.arcs().collect();
        let Some(&[number]) = arcs.strip_prefix(&FACE_ARC) else { continue };
        let Ok(number) = u16::try_from(number) else {
            notes.push(unknown_attribute(number));
            continue;
        };
        let text = std::str::from_utf8(extension.extn_value.as_bytes()).map_err(|error| {
            FormatError::malformed("license", format!("attribute {number} is not UTF-8: {error}"))
        })?;
        if face.attributes.insert(number, text.to_owned()).is_some() {
            return Err(FormatError::malformed("license", format!("attribute {number} is given twice")));
        }
        notes.extend(face.name_attribute(number, text));
    }
    Ok((face, notes))
}

impl Face {
    /// Files an attribute under its name; returns a note where it has none.
    fn name_attribute(&mut self, number: u16, text: &str) -> Option<Finding> {
        let trimmed = text.trim();
        let field = match number {
            13 => {
                self.uscc = text.to_owned();
                return None;
            }
            90 => {
                self.template = single_letter(trimmed);
                let detail = || format!("the template {trimmed:?} is not a letter from A to I");
                return self.template.is_none().then(|| Finding::note("unknown_template", detail()));
            }
            33 | 35 | 38 | 43 => {
                let date = match number {
                    33 => &mut self.established,
                    35 => &mut self.term_from,
                    38 => &mut self.term_to,
                    _ => &mut self.registered,
                };
                *date = Some(FaceDate::read(trimmed));
                return None;
            }
            17 => &mut self.registration_number,
            18 => &mut self.name,
            19 => &mut self.title,
            20 => &mut self.legal_representative,
            25 => &mut self.registered_capital,
            29 => &mut self.domicile,
            39 => &mut self.business_scope,
            40 => &mut self.service_scope,
            42 => &mut self.registration_authority,
            44 => &mut self.publicity_url,
            45 => &mut self.supervising_authority,
            46 => &mut self.format_version,
            49 => &mut self.foreign_name,
            50 => &mut self.foreign_domicile,
            51 => &mut self.entity_version,
            58 => &mut self.holder,
            91 => &mut self.subject_type,
            93 => &mut self.area_code,
            _ => return Some(unknown_attribute(u32::from(number))),
        };
        *field = Some(trimmed.to_owned());
        None
    }
}

fn unknown_attribute(number: u32) -> Finding {
    Finding::note("unknown_attribute", format!("attribute {number} has no known meaning"))
}

fn single_letter(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let letter = characters.next().filter(|letter| ('A'..='I').contains(letter));
    letter.filter(|_| characters.next().is_none())
}

/// 执照序列号: region (6), time of issue (14) and sequence (12), where the certificate's serial number
/// reads as 32 decimal digits.
pub fn license_serial(certificate: &Certificate) -> Option<String> {
    let bytes = certificate.inner().tbs_certificate.serial_number.as_bytes();
    // DER puts a zero octet before a serial that would otherwise read as negative.
    let digits = hex::encode(bytes.strip_prefix(&[0]).filter(|rest| rest.len() == 16).unwrap_or(bytes));
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// What is to be said about a license.
#[derive(Clone, Debug, Serialize)]
pub struct LicenseReport {
    /// The verdict over everything checked here: parse, code, key, chain, validity, revocation. The
    /// registration status is the register's to say and not part of it.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The face, where it could be read.
    pub face: Option<Face>,
    /// The code of the face, where it is one.
    pub uscc: Option<Uscc>,
    /// 执照序列号, where the serial number has its form.
    pub license_serial: Option<String>,
    /// The certificate's subject, RFC 4514.
    pub subject: Option<String>,
    /// The certificate's issuer, RFC 4514.
    pub issuer: Option<String>,
    /// The certificate's serial number in hexadecimal.
    pub serial: Option<String>,
    /// Start of validity.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    /// The certificate, where the bytes are one; its key signs what the enterprise confirms.
    #[serde(skip)]
    pub certificate: Option<Certificate>,
}

/// Judges a license certificate (DER) at a time. `sandbox` admits test enterprises.
///
/// Total: any bytes get a report. Codes beside those of [`chain::validate`]: invalid `malformed`,
/// `uscc_missing`, `uscc_invalid`, `test_identity_in_production`, `wrong_curve`; notes as of [`face`]
/// and `test_identity`.
pub fn judge(license_der: &[u8], trust: &TrustStore, at: OffsetDateTime, sandbox: bool) -> LicenseReport {
    let mut judgement = Judgement::new();
    let certificate = match Certificate::from_der(license_der) {
        Ok(certificate) => certificate,
        Err(error) => {
            judgement.invalid("malformed", error.to_string());
            return LicenseReport::unreadable(judgement);
        }
    };

    let face = match face(&certificate) {
        Ok((face, notes)) => {
            for note in notes {
                judgement.note(note.code, note.detail);
            }
            Some(face)
        }
        Err(error) => {
            judgement.invalid("malformed", error.to_string());
            None
        }
    };
    let uscc = face.as_ref().and_then(|face| judge_uscc(face, sandbox, &mut judgement));
    match certificate.public_key() {
        Ok(PublicKey::Sm2(_)) => {}
        Ok(_) => judgement.invalid("wrong_curve", "the license's key is not on the SM2 curve"),
        Err(error) => judgement.invalid("wrong_curve", format!("the license has no SM2 key: {error}")),
    }
    judgement.merge(chain::validate(&certificate, &[], trust, Usage::License, at));

    LicenseReport {
        judgement,
        face,
        uscc,
        license_serial: license_serial(&certificate),
        subject: Some(certificate.subject()),
        issuer: Some(certificate.issuer()),
        serial: Some(certificate.serial_hex()),
        not_before: Some(certificate.not_before()),
        not_after: Some(certificate.not_after()),
        certificate: Some(certificate),
    }
}

fn judge_uscc(face: &Face, sandbox: bool, judgement: &mut Judgement) -> Option<Uscc> {
    if !face.attributes.contains_key(&13) {
        judgement.invalid("uscc_missing", "the license has no unified social credit code");
        return None;
    }
    match Uscc::parse_sandbox(&face.uscc) {
        Ok(uscc) if uscc.is_test() && sandbox => {
            judgement.note("test_identity", "a test enterprise, admitted in the sandbox only");
            Some(uscc)
        }
        Ok(uscc) if uscc.is_test() => {
            judgement.invalid("test_identity_in_production", "a test enterprise outside the sandbox");
            None
        }
        Ok(uscc) => Some(uscc),
        Err(error) => {
            judgement.invalid("uscc_invalid", error.to_string());
            None
        }
    }
}

impl LicenseReport {
    fn unreadable(judgement: Judgement) -> Self {
        Self {
            judgement,
            face: None,
            uscc: None,
            license_serial: None,
            subject: None,
            issuer: None,
            serial: None,
            not_before: None,
            not_after: None,
            certificate: None,
        }
    }
}
