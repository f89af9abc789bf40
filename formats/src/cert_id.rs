//! The identifier of an electronic certificate (电子证照标识), GB/T 36904-2018, such as that of a license file.
//!
//! `1.2.156.3005.2` and five parts, joined by dots:
//!
//! | part | characters | rule |
//! |---|---|---|
//! | type (证照类型代码) | 21 | social credit code of the body that defines the type, and three digits or capitals |
//! | issuer (颁发机构代码) | 18 | social credit code of the issuing body |
//! | serial (流水号) | 1 to 64 | digits and capitals |
//! | version (版本号) | 3 | digits, from 001 |
//! | check (校验位) | 1 | ISO 7064 MOD 37,36 over the four parts before it, without dots |
//!
//! Identifiers that are in use confirm the check; one public example that fails it is in the tests.

use std::fmt;
use std::str::FromStr;

use crate::uscc::{Uscc, UsccError};

/// The arc under which identifiers stand.
pub const ROOT: &str = "1.2.156.3005.2";

/// The type code that counters record for an electronic business license (电子营业执照).
pub const BUSINESS_LICENSE_TYPE: &str = "11100000MB0143028R001";

const SERIAL_MOST: usize = 64;

/// ISO 7064's 36 characters; a character's value is its place in this list.
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// An identifier that keeps every rule of GB/T 36904.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId {
    text: String,
    definer: Uscc,
    issuer: Uscc,
    version: u16,
}

/// Why a text is not an identifier. Positions count characters of the part named from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateIdError {
    /// It does not begin with [`ROOT`] and a dot.
    #[error("an identifier begins with {ROOT}.")]
    Root,
    /// Not five parts after the root.
    #[error("five parts follow the root: type, issuer, serial, version, check; here are {found}")]
    Parts {
        /// Parts found.
        found: usize,
    },
    /// A part that is too long or too short.
    #[error("the {part} has {wanted} characters, this has {found}")]
    Length {
        /// The part.
        part: &'static str,
        /// What the standard wants.
        wanted: &'static str,
        /// Characters found.
        found: usize,
    },
    /// A character that the part does not permit.
    #[error("the {part}, position {position}: {found:?} is not permitted")]
    Character {
        /// The part.
        part: &'static str,
        /// Where.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// The type's or the issuer's social credit code breaks GB 32100.
    #[error("the {part}'s social credit code: {fault}")]
    Body {
        /// The part.
        part: &'static str,
        /// What is wrong with the code.
        fault: UsccError,
    },
    /// Version 000.
    #[error("versions count from 001")]
    Version,
    /// The check character is wrong.
    #[error("the check character should be {expected:?}, not {found:?}")]
    Check {
        /// What the parts before it call for.
        expected: char,
        /// What stands there.
        found: char,
    },
}

impl CertificateIdError {
    /// The layer that failed, as a finding's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Root => "root_wrong",
            Self::Parts { .. } => "parts_wrong",
            Self::Length { .. } => "length_wrong",
            Self::Character { .. } => "character_not_permitted",
            Self::Body { .. } => "uscc_invalid",
            Self::Version => "version_wrong",
            Self::Check { .. } => "check_wrong",
        }
    }
}

impl CertificateId {
    /// Parses an identifier as it is written, nothing trimmed, nothing folded.
    ///
    /// # Errors
    /// The first of [`CertificateId::faults`].
    pub fn parse(text: &str) -> Result<Self, CertificateIdError> {
        let [kind, issuer, _, version, _] = checked(text).map_err(|mut faults| faults.swap_remove(0))?;
        let body =
            |part, code: &str| Uscc::parse(code).map_err(|fault| CertificateIdError::Body { part, fault });
        Ok(Self {
            text: text.to_owned(),
            definer: body(TYPE, &kind[..18])?,
            issuer: body(ISSUER, issuer)?,
            version: version.parse().map_err(|_| CertificateIdError::Version)?,
        })
    }

    /// Everything that is wrong with a text; empty exactly if [`CertificateId::parse`] takes it.
    pub fn faults(text: &str) -> Vec<CertificateIdError> {
        checked(text).err().unwrap_or_default()
    }

    /// Makes the identifier of a certificate: the check character is computed.
    ///
    /// # Errors
    /// As [`CertificateId::parse`].
    pub fn new(kind: &str, issuer: &Uscc, serial: &str, version: u16) -> Result<Self, CertificateIdError> {
        let version = format!("{version:03}");
        let covered = [kind, issuer.as_str(), serial, &version];
        // A foreign character is reported as such, whatever check it gets.
        let check = check_character(covered.concat().bytes()).map_or('0', char::from);
        Self::parse(&format!("{ROOT}.{}.{check}", covered.join(".")))
    }

    /// The identifier as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn part(&self, index: usize) -> &str {
        self.text[ROOT.len() + 1..].split('.').nth(index).unwrap_or_default()
    }

    /// The type code, 21 characters.
    pub fn type_code(&self) -> &str {
        self.part(0)
    }

    /// The body that defines the type.
    pub fn definer(&self) -> &Uscc {
        &self.definer
    }

    /// The issuing body.
    pub fn issuer(&self) -> &Uscc {
        &self.issuer
    }

    /// The serial.
    pub fn serial(&self) -> &str {
        self.part(2)
    }

    /// The version, from 1.
    pub fn version(&self) -> u16 {
        self.version
    }
}

const TYPE: &str = "type code";
const ISSUER: &str = "issuer code";
const SERIAL: &str = "serial";
const VERSION: &str = "version";
const CHECK: &str = "check character";

/// The five parts, if nothing is wrong with any.
fn checked(text: &str) -> Result<[&str; 5], Vec<CertificateIdError>> {
    let rest = text
        .strip_prefix(ROOT)
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or_else(|| vec![CertificateIdError::Root])?;
    let parts: Vec<&str> = rest.split('.').take(64).collect();
    let parts = <[&str; 5]>::try_from(parts)
        .map_err(|parts| vec![CertificateIdError::Parts { found: parts.len() }])?;
    let [kind, issuer, serial, version, check] = parts;
    let digit = |byte: u8| byte.is_ascii_digit();
    let plain = |byte: u8| ALPHABET.contains(&byte);
    let faults: Vec<_> = [
        sized(TYPE, kind, 21..=21, "21", plain),
        sized(ISSUER, issuer, 18..=18, "18", plain),
        sized(SERIAL, serial, 1..=SERIAL_MOST, "1 to 64", plain),
        sized(VERSION, version, 3..=3, "3", digit),
        sized(CHECK, check, 1..=1, "1", plain),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let body =
        |part, code: &str| Uscc::parse(code).err().map(|fault| CertificateIdError::Body { part, fault });
    let expected = check_character([kind, issuer, serial, version].concat().bytes());
    let found = check.bytes().next();
    let faults: Vec<_> = [
        body(TYPE, &kind[..18]),
        body(ISSUER, issuer),
        (version == "000").then_some(CertificateIdError::Version),
        expected.zip(found).filter(|(expected, found)| expected != found).map(|(expected, found)| {
            CertificateIdError::Check { expected: expected.into(), found: found.into() }
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if faults.is_empty() { Ok(parts) } else { Err(faults) }
}

fn sized(
    part: &'static str,
    text: &str,
    lengths: std::ops::RangeInclusive<usize>,
    wanted: &'static str,
    permitted: impl Fn(u8) -> bool,
) -> Option<CertificateIdError> {
    let found = text.chars().count();
    if !lengths.contains(&found) {
        return Some(CertificateIdError::Length { part, wanted, found });
    }
    text.chars()
        .enumerate()
        .find(|(_, character)| !u8::try_from(*character).is_ok_and(&permitted))
        .map(|(index, found)| CertificateIdError::Character { part, position: index + 1, found })
}

/// ISO 7064 MOD 37,36; none for characters it has no value for.
fn check_character(text: impl Iterator<Item = u8>) -> Option<u8> {
    let mut product = 36;
    for byte in text {
        let value = ALPHABET.iter().position(|permitted| *permitted == byte)?;
        let sum = match (product + value) % 36 {
            0 => 36,
            sum => sum,
        };
        product = sum * 2 % 37;
    }
    Some(ALPHABET[(37 - product) % 36])
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateId({self})")
    }
}

impl FromStr for CertificateId {
    type Err = CertificateIdError;

    fn from_str(text: &str) -> Result<Self, CertificateIdError> {
        Self::parse(text)
    }
}
