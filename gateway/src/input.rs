//! `input: {digest}|{data}` and its neighbours, shared by signing and verifying.

use formats::{Algorithm, DEFAULT_SIGNER_ID};
use serde::Deserialize;
use signing::Input;
use utoipa::ToSchema;

use crate::body::Faults;
use crate::people::form::is_unseen;

/// What a signature is over: exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputBody {
    /// 32 octets, base64. Format raw: e = SM3(Z‖M) for `sm2-sm3`, SHA-256 otherwise. Format cms: SM3 or
    /// SHA-256 of the content, detached only.
    digest: Option<String>,
    /// The message or content, base64.
    data: Option<String>,
}

impl InputBody {
    pub(crate) fn check(&self, faults: &mut Faults) -> Option<Input> {
        match (&self.digest, &self.data) {
            (Some(digest), None) => {
                let octets = faults.base64("input.digest", digest)?;
                let length = octets.len();
                let digest = <[u8; 32]>::try_from(octets).map_err(|_| {
                    faults.add("input.digest", "digest_length", format!("must be 32 octets, not {length}"))
                });
                digest.ok().map(Input::Digest)
            }
            (None, Some(data)) => faults.base64("input.data", data).map(Input::Data),
            (None, None) => {
                faults.add("input", "missing_field", "digest or data is required");
                None
            }
            (Some(_), Some(_)) => {
                faults.add("input", "ambiguous_input", "digest and data exclude each other");
                None
            }
        }
    }
}

pub(crate) fn algorithm(faults: &mut Faults, text: &str) -> Option<Algorithm> {
    let names: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    let parsed = text.parse::<Algorithm>().map_err(|_| format!("must be one of: {}", names.join(", ")));
    faults.parse("algorithm", "unknown_algorithm", parsed)
}

/// The identifier in SM2's Z: text, 1 to 8,191 octets; the default of GM/T 0009 when absent.
pub(crate) fn signer_id(faults: &mut Faults, text: Option<&str>) -> Option<Vec<u8>> {
    // GM/T 0009 §10 names the default.
    let id = text.map_or(DEFAULT_SIGNER_ID, str::as_bytes);
    if (1..=8191).contains(&id.len()) {
        return Some(id.to_vec());
    }
    faults.add("signer_id", "signer_id_length", "must be 1 to 8191 octets");
    None
}

/// A reason for the record: 1 to 500 characters that are seen, blanks around it apart.
pub(crate) fn reason<'t>(faults: &mut Faults, text: &'t str) -> Option<&'t str> {
    let text = text.trim();
    let sane = (1..=500).contains(&text.chars().count()) && !text.chars().any(is_unseen);
    if !sane {
        faults.add("reason", "invalid_value", "must be 1 to 500 characters, without control characters");
    }
    sane.then_some(text)
}

/// `raw` or `cms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    Cms,
}

pub(crate) const FORMS: [(&str, Form); 2] = [("raw", Form::Raw), ("cms", Form::Cms)];

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Option<&str> {
        reason(&mut Faults::default(), text)
    }

    #[test]
    fn a_reason_holds_nothing_that_no_database_takes_or_nobody_sees() {
        assert_eq!(given("  设备 d4 更换 \n"), Some("设备 d4 更换"));
        for text in ["", " ", "a\0b", "a\nb", "a\u{202e}b", "a\u{1b}[2J", &"长".repeat(501)] {
            assert_eq!(given(text), None, "{text:?}");
        }
    }
}
