//! The 15-digit registration number (注册号) of market entities before the social credit code, GS 15-2006:
//! six digits of registration authority, eight of sequence, one check digit (ISO 7064 MOD 11,10).

use std::fmt;
use std::str::FromStr;

const LENGTH: usize = 15;

/// A number that keeps the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationNumber([u8; LENGTH]);

/// Why a text is not a registration number. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationNumberError {
    /// Not 15 characters long.
    #[error("a registration number has 15 digits, this has {found} characters")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// Something other than a digit.
    #[error("position {position}: {found:?} is not a digit")]
    Character {
        /// Where, 1 to 15.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// The check digit is wrong.
    #[error("position 15: the check digit should be {expected}, not {found}")]
    Check {
        /// What the fourteen digits before it call for.
        expected: u8,
        /// What stands there.
        found: u8,
    },
}

impl RegistrationNumberError {
    /// The layer that failed, as a finding's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "length_wrong",
            Self::Character { .. } => "character_not_permitted",
            Self::Check { .. } => "check_wrong",
        }
    }
}

impl RegistrationNumber {
    /// Parses a number as it is written, nothing trimmed, nothing folded.
    ///
    /// # Errors
    /// The first of [`RegistrationNumber::faults`].
    pub fn parse(text: &str) -> Result<Self, RegistrationNumberError> {
        checked(text).map(Self).map_err(|mut faults| faults.swap_remove(0))
    }

    /// Everything that is wrong with a text; empty exactly if [`RegistrationNumber::parse`] takes it.
    pub fn faults(text: &str) -> Vec<RegistrationNumberError> {
        checked(text).err().unwrap_or_default()
    }

    /// The 15 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the constructor admits ASCII only")
    }
}

fn checked(text: &str) -> Result<[u8; LENGTH], Vec<RegistrationNumberError>> {
    let found = text.chars().count();
    let mut faults = Vec::new();
    if found != LENGTH {
        faults.push(RegistrationNumberError::Length { found });
    }
    faults.extend(
        text.chars()
            .enumerate()
            .filter(|(_, character)| !character.is_ascii_digit())
            .map(|(index, found)| RegistrationNumberError::Character { position: index + 1, found }),
    );
    let digits = match <[u8; LENGTH]>::try_from(text.as_bytes()) {
        Ok(digits) if faults.is_empty() => digits,
        _ => return Err(faults),
    };
    let product = digits[..LENGTH - 1].iter().fold(10, |product, digit| {
        let sum = match (product + u32::from(digit - b'0')) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    let expected = ((11 - product) % 10) as u8;
    let found = digits[LENGTH - 1] - b'0';
    if expected == found { Ok(digits) } else { Err(vec![RegistrationNumberError::Check { expected, found }]) }
}

impl fmt::Display for RegistrationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RegistrationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistrationNumber({self})")
    }
}

impl FromStr for RegistrationNumber {
    type Err = RegistrationNumberError;

    fn from_str(text: &str) -> Result<Self, RegistrationNumberError> {
        Self::parse(text)
    }
}
