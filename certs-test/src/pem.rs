//! PEM text of certificates and revocation lists.

use der::pem::{LineEnding, encode_string};

use crate::error::CertsTestError;

/// Certificates one after the other.
pub(crate) fn certificates<'a>(
    ders: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Result<String, CertsTestError> {
    encode("CERTIFICATE", ders)
}

/// Revocation lists one after the other.
pub(crate) fn revocation_lists<'a>(
    ders: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Result<String, CertsTestError> {
    encode("X509 CRL", ders)
}

fn encode<'a>(
    label: &'static str,
    ders: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Result<String, CertsTestError> {
    ders.into_iter()
        .map(|der| encode_string(label, LineEnding::LF, der))
        .collect::<Result<_, _>>()
        .map_err(|error| CertsTestError::Encode { what: "PEM", source: error.into() })
}
