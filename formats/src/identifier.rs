//! The numbers people type, each judged by its own rules: what is missing, what is wrong, and where
//! (号码缺位、字符错误).

use serde::Serialize;

use crate::cert_id::CertificateId;
use crate::registration_number::RegistrationNumber;
use crate::resident_id;
use crate::uscc::Uscc;
use crate::verdict::Judgement;

/// Which rules a text is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifierKind {
    /// Unified social credit code (统一社会信用代码), GB 32100.
    Uscc,
    /// 15-digit registration number (注册号), GS 15.
    RegistrationNumber,
    /// Identifier of an electronic certificate (电子证照标识), GB/T 36904.
    CertId,
    /// Citizen identity number (公民身份号码), GB 11643.
    ResidentId,
    /// Mobile telephone number of the mainland (手机号码), 11 digits.
    MobilePhone,
}

impl IdentifierKind {
    /// All of them, with the names callers use.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("uscc", Self::Uscc),
        ("registration_number", Self::RegistrationNumber),
        ("cert_id", Self::CertId),
        ("resident_id", Self::ResidentId),
        ("mobile_phone", Self::MobilePhone),
    ];
}

/// What is to be said about a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentifierReport {
    /// Valid or invalid; each finding is one layer that failed, or one position.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The valid identifier that was probably meant: half-width, upper-case, without blanks. Absent where the
    /// text is valid as it stands or stays invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalised: Option<String>,
}

/// The most characters that are looked at; a longer text is none of these.
pub const MAX_CHARACTERS: usize = 256;

/// Judges a text as it stands: nothing is trimmed or folded. `sandbox` admits test enterprises.
pub fn check(kind: IdentifierKind, text: &str, sandbox: bool) -> IdentifierReport {
    let judgement = judge(kind, text, sandbox);
    let normalised = Some(normalise(text))
        .filter(|normalised| normalised != text && judgement.has_faults())
        .filter(|normalised| !judge(kind, normalised, sandbox).has_faults());
    IdentifierReport { judgement, normalised }
}

impl Judgement {
    fn has_faults(&self) -> bool {
        self.verdict != crate::verdict::Verdict::Valid
    }
}

fn judge(kind: IdentifierKind, text: &str, sandbox: bool) -> Judgement {
    let mut judgement = Judgement::new();
    let characters = text.chars().count();
    if characters > MAX_CHARACTERS {
        judgement
            .invalid("length_wrong", format!("{characters} characters are more than any identifier has"));
        return judgement;
    }
    match kind {
        IdentifierKind::Uscc => match Uscc::parse_sandbox(text) {
            Ok(uscc) if uscc.is_test() && sandbox => {
                judgement.note("test_identity", "a test enterprise, admitted in the sandbox only");
            }
            Ok(uscc) if uscc.is_test() => {
                judgement.invalid("test_identity_in_production", "a test enterprise outside the sandbox");
            }
            _ => {
                for fault in Uscc::faults(text) {
                    judgement.invalid(fault.code(), fault.to_string());
                }
                if RegistrationNumber::parse(text).is_ok() {
                    judgement.note("is_registration_number", "it is a 15-digit registration number");
                }
            }
        },
        IdentifierKind::RegistrationNumber => {
            for fault in RegistrationNumber::faults(text) {
                judgement.invalid(fault.code(), fault.to_string());
            }
        }
        IdentifierKind::CertId => {
            for fault in CertificateId::faults(text) {
                judgement.invalid(fault.code(), fault.to_string());
            }
        }
        IdentifierKind::ResidentId => {
            for fault in resident_id::faults(text) {
                judgement.invalid(fault.code(), fault.to_string());
            }
        }
        IdentifierKind::MobilePhone => mobile_phone(text, &mut judgement),
    }
    judgement
}

/// Eleven digits that begin with 13 to 19 (the national numbering plan). A fault repeats no digit: it is
/// personal data.
fn mobile_phone(text: &str, judgement: &mut Judgement) {
    let found = text.chars().count();
    if found != 11 {
        judgement
            .invalid("length_wrong", format!("a mobile number has 11 digits, this has {found} characters"));
    }
    for (index, _) in text.chars().enumerate().filter(|(_, character)| !character.is_ascii_digit()) {
        judgement.invalid("character_not_permitted", format!("position {}: not a digit", index + 1));
    }
    let known = matches!(text.as_bytes(), [b'1', b'3'..=b'9', ..]);
    if !judgement.has_faults() && !known {
        judgement.invalid("prefix_unknown", "mobile numbers begin with 13 to 19");
    }
}

/// Full-width forms become half-width (U+FF01 to U+FF5E), small letters capitals; blanks go.
pub fn normalise(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\u{ff01}'..='\u{ff5e}' => {
                char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character)
            }
            other => other,
        })
        .filter(|character| !character.is_whitespace())
        .map(|character| character.to_ascii_uppercase())
        .collect()
}
