//! Newtypes for what must not be mixed up. Nearly all share one rule: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with
//! a letter or digit, so that a name is safe in a path, a metric label and a log line. Names of people are narrower.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::OwnName;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
pub struct NameError;

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Why a text is not the id of an app.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppIdError {
    /// It is no name at all.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The gateway calls itself so.
    #[error(
        "is, or looks like, {0:?}, which the gateway calls itself or others in its records; choose another id"
    )]
    Reserved(&'static str),
}

/// One form for each name of a person: neither capitals nor letters of other scripts that look alike.
fn is_account_name(text: &str) -> bool {
    (2..=48).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

/// Why a text is not the name of an account.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be 2 to 48 of a-z 0-9 . _ - and begin with a letter")]
pub struct AccountNameError;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        name!($(#[$doc])* $name, is_name, NameError);
    };
    ($(#[$doc:meta])* $name:ident, $rule:ident, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks a text against the rule of names.
            ///
            /// # Errors
            /// When it breaks the rule; nothing is trimmed or folded.
            pub fn parse(text: &str) -> Result<Self, $error> {
                if $rule(text) { Ok(Self(text.to_owned())) } else { Err($error) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// One PKCS#11 device, such as `d1`.
    DeviceId
);
name!(
    /// A wall: the devices that may stand in for each other, such as `bureau`.
    GroupId
);
name!(
    /// A logical key, held by one or more devices of one group, such as `demo-sm2`.
    KeyId
);
name!(
    /// An integrating system that calls the gateway.
    AppId
);
name!(
    /// An electronic seal's number, the `esID` of GB/T 38540.
    SealNumber
);
name!(
    /// The number of an enterprise's standing mandate.
    MandateNumber
);
name!(
    /// A template that says what stamps look like and where they go, such as `contract-last-page`.
    TemplateId
);
name!(
    /// A person who operates the gateway, by the name to sign in with: 2 to 48 of `a-z 0-9 . _ -`, beginning with a
    /// letter.
    AccountName,
    is_account_name,
    AccountNameError
);

impl AppId {
    /// The id that a part of the gateway, or who is no app, has where apps have theirs.
    #[must_use]
    pub fn of(name: OwnName) -> Self {
        Self(name.as_str().to_owned())
    }

    /// An app's id, as it may be entered into the register.
    ///
    /// # Errors
    /// When it is no name, or one that the gateway has for itself.
    pub fn parse_registered(text: &str) -> Result<Self, AppIdError> {
        let id = Self::parse(text)?;
        match id.reserved_as() {
            Some(name) => Err(AppIdError::Reserved(name)),
            None => Ok(id),
        }
    }

    /// The gateway's own name that this is, or could be mistaken for: no app may be called so.
    #[must_use]
    pub fn reserved_as(&self) -> Option<&'static str> {
        OwnName::seen_in(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_plain_and_begins_with_a_letter_or_digit() {
        for good in ["d1", "demo-sm2", "a.b_c", &"x".repeat(64)] {
            assert_eq!(KeyId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-d1", ".x", "d 1", "d/1", "é", &"x".repeat(65)] {
            assert_eq!(KeyId::parse(bad), Err(NameError), "{bad:?}");
        }
    }

    #[test]
    fn a_name_to_sign_in_with_has_one_form() {
        for good in ["li", "wang.lei-2", &"x".repeat(48)] {
            assert_eq!(AccountName::parse(good).unwrap().as_str(), good);
        }
        // Among them a Cyrillic a, a full-width l, a final zero-width joiner, and an a with a combining ring.
        let alike = ["Li", "w\u{430}ng", "\u{ff4c}i", "li\u{200d}", "a\u{30a}ke", "王雷"];
        for bad in ["", "l", "1i", ".li", "li ", "li/x", &"x".repeat(49)].into_iter().chain(alike) {
            assert_eq!(AccountName::parse(bad), Err(AccountNameError), "{bad:?}");
        }
    }
}
