//! The unified social credit code (统一社会信用代码), GB 32100-2015.
//!
//! Eighteen characters, in this order:
//!
//! | position | part | rule |
//! |---|---|---|
//! | 1 | registration department | one of twelve |
//! | 2 | organisation category | depends on the department |
//! | 3–8 | region of the registration authority | digits |
//! | 9–16 | subject code (主体标识码), body | GB 11714 |
//! | 17 | subject code, check character | GB 11714, modulus 11 |
//! | 18 | check character | modulus 31 |
//!
//! Invariant: a [`Uscc`] comes only out of [`Uscc::parse`], [`Uscc::parse_sandbox`] or
//! [`Uscc::with_check_digits`], so whoever holds one holds a checked code. Nothing here trims or folds
//! case: two codes are the same code exactly when their bytes are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Characters in a code.
const LENGTH: usize = 18;

/// The 31 permitted characters (GB 32100 4.3); a character's value is its place in this list. I, O, S, V
/// and Z are left out because they are misread as digits.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// What the synthetic codes of test enterprises start with; Z keeps them out of the real alphabet.
const TEST_PREFIX: &[u8; 5] = b"ZZJGD";

/// A code that keeps every rule of GB 32100-2015, or a test enterprise's synthetic code where
/// [`Uscc::parse_sandbox`] admitted one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uscc([u8; LENGTH]);

/// Why a text is not a code. Positions count characters from 1, as the standard does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsccError {
    /// Not 18 characters long.
    #[error("a code has 18 characters, this has {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// A character outside the standard's 31 (digits and capitals without I, O, S, V, Z).
    #[error("position {position}: {found:?} is not one of the 31 permitted characters")]
    Character {
        /// Where, 1 to 18.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// Position 1 names no registration department (登记管理部门).
    #[error("position 1: {found:?} is not a registration department")]
    Department {
        /// What stands there.
        found: char,
    },
    /// Position 2 names no category (机构类别) of the department at position 1.
    #[error("position 2: department {department:?} has no category {found:?}")]
    Category {
        /// The department at position 1.
        department: char,
        /// What stands at position 2.
        found: char,
    },
    /// A letter in the region code (登记管理机关行政区划码).
    #[error("position {position}: the region code has digits only, not {found:?}")]
    Region {
        /// Where, 3 to 8.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// The subject code's own check character (GB 11714) is wrong.
    #[error("position 17: the subject code's check character should be {expected:?}, not {found:?}")]
    SubjectCheck {
        /// What the eight characters before it call for.
        expected: char,
        /// What stands there.
        found: char,
    },
    /// The check character of the whole code is wrong.
    #[error("position 18: the check character should be {expected:?}, not {found:?}")]
    Check {
        /// What the seventeen characters before it call for.
        expected: char,
        /// What stands there.
        found: char,
    },
}

impl UsccError {
    /// The layer that failed, as a finding's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "length_wrong",
            Self::Character { .. } => "character_not_permitted",
            Self::Department { .. } => "department_unknown",
            Self::Category { .. } => "category_unknown",
            Self::Region { .. } => "region_not_digits",
            Self::SubjectCheck { .. } => "subject_check_wrong",
            Self::Check { .. } => "check_wrong",
        }
    }

    /// The position to blame, 1 to 18; `None` when the length is wrong.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Length { .. } => None,
            Self::Character { position, .. } | Self::Region { position, .. } => Some(*position),
            Self::Department { .. } => Some(1),
            Self::Category { .. } => Some(2),
            Self::SubjectCheck { .. } => Some(17),
            Self::Check { .. } => Some(18),
        }
    }
}

impl Uscc {
    /// Parses a code as production takes it: every rule of GB 32100-2015, nothing trimmed, nothing
    /// folded. The error names the leftmost fault, alphabet before meaning before check characters.
    pub fn parse(text: &str) -> Result<Self, UsccError> {
        let code = permitted(text)?;
        match meaning(&code).next() {
            None => Ok(Self(code)),
            Some(fault) => Err(fault),
        }
    }

    /// Everything that is wrong with a text, layer by layer; empty exactly if [`Uscc::parse`] takes it. What a
    /// wrong length or a foreign character leaves without meaning is not looked at.
    pub fn faults(text: &str) -> Vec<UsccError> {
        let foreign: Vec<_> = foreign_characters(text).collect();
        let length = text.chars().count();
        if length != LENGTH {
            return [vec![UsccError::Length { found: length }], foreign].concat();
        }
        if !foreign.is_empty() {
            return foreign;
        }
        permitted(text).map_or_else(|fault| vec![fault], |code| meaning(&code).collect())
    }

    /// Parses a code as a sandbox takes it: as [`Uscc::parse`], and also the synthetic codes of test
    /// enterprises, `ZZJGD` followed by 13 digits. Outside a sandbox, whatever [`Uscc::is_test`] knows
    /// must be refused.
    pub fn parse_sandbox(text: &str) -> Result<Self, UsccError> {
        if let Ok(code) = <[u8; LENGTH]>::try_from(text.as_bytes())
            && code.strip_prefix(TEST_PREFIX).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
        {
            return Ok(Self(code));
        }
        Self::parse(text)
    }

    /// Whether this is a test enterprise's synthetic code.
    pub fn is_test(&self) -> bool {
        self.0.starts_with(TEST_PREFIX)
    }

    /// Completes a made-up code: 16 characters in (department, category, six digits of region, eight of
    /// subject), positions 17 and 18 computed. For synthetic data.
    pub fn with_check_digits(first_16: &str) -> Result<Self, UsccError> {
        let found = first_16.chars().count();
        if found != LENGTH - 2 {
            return Err(UsccError::Length { found: found + 2 });
        }
        let mut code = permitted(&format!("{first_16}00"))?;
        check_department(code[0], code[1])?;
        check_region(&code)?;
        code[16] = subject_check(&code);
        code[17] = check_character(&code);
        Ok(Self(code))
    }

    /// The 18 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor admits ASCII only")
    }
}

/// Eighteen characters of the alphabet, or the first that is not.
fn permitted(text: &str) -> Result<[u8; LENGTH], UsccError> {
    let found = text.chars().count();
    if found != LENGTH {
        return Err(UsccError::Length { found });
    }
    if let Some(foreign) = foreign_characters(text).next() {
        return Err(foreign);
    }
    // Characters of the alphabet are one byte each.
    text.as_bytes().try_into().map_err(|_| UsccError::Length { found })
}

/// The characters outside the alphabet.
fn foreign_characters(text: &str) -> impl Iterator<Item = UsccError> {
    text.chars()
        .enumerate()
        .filter(|(_, character)| !u8::try_from(*character).is_ok_and(|byte| ALPHABET.contains(&byte)))
        .map(|(index, found)| UsccError::Character { position: index + 1, found })
}

/// What is wrong with permitted characters, from left to right.
fn meaning(code: &[u8; LENGTH]) -> impl Iterator<Item = UsccError> {
    let subject = subject_check(code);
    let whole = check_character(code);
    [
        check_department(code[0], code[1]).err(),
        check_region(code).err(),
        (code[16] != subject)
            .then(|| UsccError::SubjectCheck { expected: subject.into(), found: code[16].into() }),
        (code[17] != whole).then(|| UsccError::Check { expected: whole.into(), found: code[17].into() }),
    ]
    .into_iter()
    .flatten()
}

/// GB 32100 table 1: which categories a department registers.
fn check_department(department: u8, category: u8) -> Result<(), UsccError> {
    let categories: &[u8] = match department {
        b'1' => b"1239",                    // 机构编制
        b'2' | b'4' | b'8' | b'A' => b"19", // 外交、文化、工会、军委
        b'3' => b"123459",                  // 司法行政
        b'5' | b'N' => b"1239",             // 民政、农业
        b'6' | b'7' => b"129",              // 旅游、宗教
        b'9' => b"123",                     // 工商（市场监管）
        b'Y' => b"1",                       // 其他
        _ => return Err(UsccError::Department { found: char::from(department) }),
    };
    if categories.contains(&category) {
        Ok(())
    } else {
        Err(UsccError::Category { department: char::from(department), found: char::from(category) })
    }
}

fn check_region(code: &[u8; LENGTH]) -> Result<(), UsccError> {
    match code[2..8].iter().position(|byte| !byte.is_ascii_digit()) {
        None => Ok(()),
        Some(offset) => Err(UsccError::Region { position: offset + 3, found: char::from(code[offset + 2]) }),
    }
}

/// GB 11714: the check character over positions 9 to 16, with A = 10 … Z = 35. It is a digit or X, and so
/// always in the alphabet.
fn subject_check(code: &[u8; LENGTH]) -> u8 {
    const WEIGHTS: [u8; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = code[8..16]
        .iter()
        .zip(WEIGHTS)
        .map(|(byte, weight)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 };
            u32::from(value) * u32::from(weight)
        })
        .sum();
    // 11 - remainder, where 10 is written X and 11 is written 0.
    b"0X987654321"[(sum % 11) as usize]
}

/// GB 32100 annex A: the check character over positions 1 to 17, weights 3^(i-1) modulo 31.
fn check_character(code: &[u8; LENGTH]) -> u8 {
    let mut sum = 0;
    let mut weight = 1;
    for byte in &code[..17] {
        let value = ALPHABET.iter().position(|permitted| permitted == byte);
        sum += weight * value.expect("`permitted` let only the alphabet through");
        weight = weight * 3 % 31;
    }
    ALPHABET[(31 - sum % 31) % 31]
}

impl fmt::Display for Uscc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Uscc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uscc({self})")
    }
}

impl AsRef<str> for Uscc {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Strict, as [`Uscc::parse`].
impl FromStr for Uscc {
    type Err = UsccError;

    fn from_str(text: &str) -> Result<Self, UsccError> {
        Self::parse(text)
    }
}

impl Serialize for Uscc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Strict, as [`Uscc::parse`]: a test enterprise's code does not come in this way.
impl<'de> Deserialize<'de> for Uscc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}
