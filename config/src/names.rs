//! Newtypes for what must not be mixed up. All share one rule: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with
//! a letter or digit, so that a name is safe in a path, a metric label and a log line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
pub struct NameError;

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks a text against the rule of names.
            ///
            /// # Errors
            /// [`NameError`] when it breaks the rule; nothing is trimmed or folded.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(NameError) }
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
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
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
}
