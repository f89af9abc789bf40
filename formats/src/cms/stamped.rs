//! A signature timestamp (EN 319 122-1, 5.3) put into a SignedData that is finished: unsigned attributes come last.

use der::asn1::AnyRef;
use der::{Decode, Encode, Tag, TagNumber, Tagged};

use super::structure::{SignedData, context, element, elements, set_of};
use crate::error::FormatError;
use crate::oid;

const WHAT: &str = "CMS SignedData";

/// What a signature timestamp is over: the signature of the one signer.
///
/// # Errors
/// [`FormatError::Malformed`] for anything but a SignedData in DER; [`FormatError::Plan`] if it has not one signer.
pub fn signature_value(cms: &[u8]) -> Result<Vec<u8>, FormatError> {
    match &SignedData::decode(cms)?.signers[..] {
        [signer] => Ok(signer.signature.to_vec()),
        _ => Err(FormatError::Plan("a timestamp is for a SignedData with one signer")),
    }
}

/// The SignedData with a timestamp token (RFC 3161) over its [`signature_value`] among the unsigned attributes.
///
/// # Errors
/// As for [`signature_value`], and [`FormatError::Malformed`] if the token is no SignedData.
pub fn timestamped(cms: &[u8], token: &[u8]) -> Result<Vec<u8>, FormatError> {
    signature_value(cms)?;
    SignedData::decode(token)?;
    with_attribute(cms, token).map_err(|error| FormatError::der(WHAT, error))
}

fn with_attribute(cms: &[u8], token: &[u8]) -> der::Result<Vec<u8>> {
    let attribute =
        element(Tag::Sequence, &[&oid::SIGNATURE_TIMESTAMP.to_der()?, &element(Tag::Set, &[token])?])?;
    // ContentInfo, [0] EXPLICIT, SignedData, signerInfos, SignerInfo.
    changed_last(cms, |explicit| {
        changed_last(explicit, |signed_data| {
            changed_last(signed_data, |signers| {
                changed_last(signers, |signer| {
                    let mut parts = elements(signer)?;
                    let unsigned = context(TagNumber::N1, true);
                    let mut attributes = vec![attribute.as_slice()];
                    if let Some(present) = parts.pop_if(|part| part.first() == Some(&unsigned.octet())) {
                        attributes.extend(elements(present)?);
                    }
                    let mut attributes = set_of(attributes)?;
                    attributes[0] = unsigned.octet(); // IMPLICIT in place of the SET tag
                    parts.push(&attributes);
                    element(Tag::Sequence, &parts)
                })
            })
        })
    })
}

/// The constructed element with another last element within.
fn changed_last(der: &[u8], change: impl FnOnce(&[u8]) -> der::Result<Vec<u8>>) -> der::Result<Vec<u8>> {
    let tag = AnyRef::from_der(der)?.tag();
    let mut parts = elements(der)?;
    let last = parts.pop().ok_or_else(|| tag.value_error())?;
    let last = change(last)?;
    parts.push(&last);
    element(tag, &parts)
}
