//! The citizen identity number (公民身份号码), GB 11643-1999: six digits of region, eight of birth date, three of
//! sequence, one check character (ISO 7064 MOD 11-2).
//!
//! Personal data: nothing here keeps a number, and no fault repeats a part of one.

use time::{Date, Month};

const LENGTH: usize = 18;

/// The first two digits of a region (GB/T 2260): provinces, and what is written for them abroad.
const PROVINCES: [u8; 35] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54,
    61, 62, 63, 64, 65, 71, 81, 82, 83,
];

/// Why a text is not a citizen identity number. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResidentIdError {
    /// Not 18 characters long.
    #[error("an identity number has 18 characters, this has {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// Something other than a digit, or than a digit or X at the end.
    #[error("position {position}: not a digit{}", if *position == LENGTH { " or X" } else { "" })]
    Character {
        /// Where, 1 to 18.
        position: usize,
    },
    /// Positions 1 and 2 name no province.
    #[error("positions 1 and 2 name no province")]
    Region,
    /// Positions 7 to 14 are no day of the calendar.
    #[error("positions 7 to 14 are no date of birth")]
    BirthDate,
    /// The check character is wrong.
    #[error("position 18: the check character is wrong")]
    Check,
}

impl ResidentIdError {
    /// The layer that failed, as a finding's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "length_wrong",
            Self::Character { .. } => "character_not_permitted",
            Self::Region => "region_unknown",
            Self::BirthDate => "birth_date_wrong",
            Self::Check => "check_wrong",
        }
    }
}

/// Everything that is wrong with a text; empty for a number that keeps the rules.
pub fn faults(text: &str) -> Vec<ResidentIdError> {
    let found = text.chars().count();
    let mut faults = Vec::new();
    if found != LENGTH {
        faults.push(ResidentIdError::Length { found });
    }
    let permitted = |(index, character): (usize, char)| {
        character.is_ascii_digit() || index + 1 == LENGTH && character == 'X'
    };
    faults.extend(
        text.chars()
            .enumerate()
            .filter(|place| !permitted(*place))
            .map(|(index, _)| ResidentIdError::Character { position: index + 1 }),
    );
    let Ok(number) = <[u8; LENGTH]>::try_from(text.as_bytes()) else { return faults };
    if !faults.is_empty() {
        return faults;
    }
    let digits = |range: std::ops::Range<usize>| {
        number[range].iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'))
    };
    if !PROVINCES.map(u16::from).contains(&digits(0..2)) {
        faults.push(ResidentIdError::Region);
    }
    if birth_date(digits(6..10), digits(10..12), digits(12..14)).is_none() {
        faults.push(ResidentIdError::BirthDate);
    }
    if number[17] != check_character(&number) {
        faults.push(ResidentIdError::Check);
    }
    faults
}

fn birth_date(year: u16, month: u16, day: u16) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    // Nobody who lives was born before.
    let year = Some(i32::from(year)).filter(|year| *year >= 1880)?;
    Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()
}

/// ISO 7064 MOD 11-2: weights 2^(18-i) modulo 11.
fn check_character(number: &[u8; LENGTH]) -> u8 {
    let sum = number[..LENGTH - 1].iter().fold(0, |sum, digit| (sum + u32::from(digit - b'0')) * 2 % 11);
    b"10X98765432"[(sum % 11) as usize]
}
