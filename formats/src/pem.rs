//! Textual encodings (RFC 7468), read leniently: any line width, text between the blocks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::pem::{LineEnding, encode_string};

use crate::error::FormatError;

/// The DER of every block labelled `label`, in order; blocks with other labels are passed over.
///
/// `what` names the expected structure in errors.
pub(crate) fn blocks(what: &'static str, label: &str, text: &str) -> Result<Vec<Vec<u8>>, FormatError> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after_begin)) = rest.split_once(&begin) {
        let (body, after_end) = after_begin
            .split_once(&end)
            .ok_or_else(|| FormatError::malformed(what, "its PEM block has no end"))?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|error| FormatError::malformed(what, format!("its PEM block: {error}")))?;
        found.push(der);
        rest = after_end;
    }
    Ok(found)
}

/// The DER of the one block labelled `label`.
pub(crate) fn single(what: &'static str, label: &str, text: &str) -> Result<Vec<u8>, FormatError> {
    let mut found = blocks(what, label, text)?;
    match (found.pop(), found.is_empty()) {
        (Some(der), true) => Ok(der),
        (Some(_), false) => Err(FormatError::malformed(what, "there are several PEM blocks")),
        (None, _) => Err(FormatError::malformed(what, format!("there is no PEM block {label}"))),
    }
}

/// A block with lines of 64 characters and a final line feed.
pub(crate) fn encode(label: &'static str, der: &[u8]) -> String {
    encode_string(label, LineEnding::LF, der)
        .expect("the label is one of this crate's own and memory holds every input length")
}
