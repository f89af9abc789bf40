//! A token in two steps, as [`cms`](crate::cms) makes a SignedData, and the responses that carry it or say why there
//! is none.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::{BitStringRef, OctetStringRef, Uint};
use der::{Encode, Tag, TagNumber};
use time::OffsetDateTime;

use super::request::{Imprint, Nonce, Refusal};
use crate::algorithm::Algorithm;
use crate::chain::may_timestamp;
use crate::cms::Family;
use crate::cms::assemble::{self, Assembly};
use crate::cms::structure::{context, element};
use crate::error::FormatError;
use crate::key::PublicKey;
use crate::oid;
use crate::scheme::SignatureScheme;
use crate::x509::Certificate;

/// What a token is to be made of.
#[derive(Clone, Debug)]
pub struct TokenPlan<'a> {
    /// Whose object identifiers the SignedData has.
    pub family: Family,
    /// How the authority's key signs. SM2 signs under the default identifier.
    pub algorithm: Algorithm,
    /// Over what.
    pub imprint: &'a Imprint,
    /// Under which policy.
    pub policy: ObjectIdentifier,
    /// The serial number, which no other token of the authority has.
    pub serial: u128,
    /// The time it vouches for, written to the microsecond.
    pub time: OffsetDateTime,
    /// How far that time may be off, to the microsecond; at most 2^32 − 1 seconds.
    pub accuracy: Duration,
    /// Whether tokens of the authority can be put in order by their times alone.
    pub ordering: bool,
    /// What the asker sent along.
    pub nonce: Option<&'a Nonce>,
    /// The authority's certificate and those above it.
    pub chain: &'a [Certificate],
    /// Whether they are put into the token.
    pub certificates: bool,
}

/// A token that waits for its signature. It is used up by [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct PendingToken<'a> {
    plan: TokenPlan<'a>,
    key: PublicKey,
    info: Vec<u8>,
    signed_attributes: Vec<u8>,
    digest: [u8; 32],
}

/// Settles everything that is to be signed: TSTInfo, and signed attributes of which one names the certificate (RFC
/// 3161, 2.4.2; RFC 5816).
///
/// # Errors
/// [`FormatError::Plan`] for a certificate that is not for timestamps alone or not good at that time, and for a time
/// or accuracy that cannot be written; [`FormatError::AlgorithmMismatch`] for a key that cannot sign so.
pub fn prepare(plan: TokenPlan<'_>) -> Result<PendingToken<'_>, FormatError> {
    let signer =
        plan.chain.first().ok_or(FormatError::Plan("the chain lacks the authority's certificate"))?;
    if !may_timestamp(signer)? {
        return Err(FormatError::Plan("the certificate is not for timestamps alone"));
    }
    if !(signer.not_before()..=signer.not_after()).contains(&plan.time) {
        return Err(FormatError::Plan("the certificate is not good at this time"));
    }
    let key = signer.public_key()?;
    let der = |error| FormatError::der("TSTInfo", error);
    let info = info(&plan)?.map_err(der)?;
    let hash = SignatureScheme::from(plan.algorithm).hash();
    let attributes = || {
        assemble::attributes(vec![
            (oid::CONTENT_TYPE, oid::TST_INFO.to_der()?),
            (oid::MESSAGE_DIGEST, OctetStringRef::new(&hash.digest(&info))?.to_der()?),
            (oid::SIGNING_CERTIFICATE_V2, assemble::signing_certificate(hash, signer)?),
        ])
    };
    let signed_attributes = attributes().map_err(der)?;
    let digest = key.digest(plan.algorithm, crate::DEFAULT_SIGNER_ID, &signed_attributes)?;
    Ok(PendingToken { plan, key, info, signed_attributes, digest })
}

impl PendingToken<'_> {
    /// The signed attributes, a SET OF in DER: the message for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.signed_attributes
    }

    /// e (SM2) or the SHA-256 of the signed attributes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts everything together: a TimeStampToken in DER.
    ///
    /// # Errors
    /// [`FormatError::SignatureInvalid`].
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, FormatError> {
        let Self { plan, key, info, signed_attributes, digest } = self;
        key.verify_digest(plan.algorithm, &digest, signature)?;
        let assembly = Assembly {
            family: plan.family,
            algorithm: plan.algorithm,
            // RFC 5652, 5.1 asks for 3 over TSTInfo; GB/T 35275 knows 1 alone.
            version: match plan.family {
                Family::Rfc5652 => 3,
                Family::Gbt35275 => 1,
            },
            content_type: oid::TST_INFO,
            content: Some(&info),
            certificates: if plan.certificates { plan.chain } else { &[] },
            signer: &plan.chain[0],
            signed_attributes: &signed_attributes,
        };
        assembly.content_info(signature).map_err(|error| FormatError::der("TimeStampToken", error))
    }
}

/// A TimeStampResp that grants this token.
///
/// # Errors
/// [`FormatError::Malformed`] for a token over 256 MiB.
pub fn granted(token: &[u8]) -> Result<Vec<u8>, FormatError> {
    let encode = || {
        let status = element(Tag::Sequence, &[&0u8.to_der()?])?;
        element(Tag::Sequence, &[&status, token])
    };
    encode().map_err(|error| FormatError::der("TimeStampResp", error))
}

/// A TimeStampResp that says why there is no token (status 2, rejection).
///
/// # Errors
/// [`FormatError::Malformed`] never: it is what the encoder could answer.
pub fn rejected(refusal: Refusal) -> Result<Vec<u8>, FormatError> {
    let encode = || {
        let text = element(Tag::Sequence, &[&element(Tag::Utf8String, &[refusal.text.as_bytes()])?])?;
        // A named bit list without trailing zero bits (X.690, 11.2.2).
        let bit = refusal.failure as u8;
        let mut octets = vec![0; usize::from(bit / 8) + 1];
        octets[usize::from(bit / 8)] = 0x80 >> (bit % 8);
        let bits = BitStringRef::new(7 - bit % 8, &octets)?.to_der()?;
        let status = element(Tag::Sequence, &[&2u8.to_der()?, &text, &bits])?;
        element(Tag::Sequence, &[&status])
    };
    encode().map_err(|error| FormatError::der("TimeStampResp", error))
}

fn info(plan: &TokenPlan<'_>) -> Result<der::Result<Vec<u8>>, FormatError> {
    let (time, accuracy) = (generalized_time(plan.time)?, accuracy(plan.accuracy)?);
    let encode = || {
        let serial = Uint::new(&plan.serial.to_be_bytes())?.to_der()?;
        let ordering = if plan.ordering { true.to_der()? } else { Vec::new() };
        let nonce = plan.nonce.map(Nonce::to_der).transpose()?.unwrap_or_default();
        element(
            Tag::Sequence,
            &[
                &1u8.to_der()?,
                &plan.policy.to_der()?,
                &plan.imprint.to_der()?,
                &serial,
                &element(Tag::GeneralizedTime, &[time.as_bytes()])?,
                &element(Tag::Sequence, &accuracy.each_ref().map(Vec::as_slice))?,
                &ordering,
                &nonce,
            ],
        )
    };
    Ok(encode())
}

/// `YYYYMMDDhhmmss[.f…]Z` without zeros at the end of the fraction (RFC 3161, 2.4.2).
fn generalized_time(time: OffsetDateTime) -> Result<String, FormatError> {
    let out_of_range = FormatError::Plan("the time is not between 1970 and 9999");
    let time = time.checked_to_offset(time::UtcOffset::UTC).ok_or(out_of_range.clone())?;
    if !(1970..=9999).contains(&time.year()) {
        return Err(out_of_range);
    }
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let fraction = format!(".{:06}", time.microsecond());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    Ok(format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{fraction}Z"))
}

/// The parts of Accuracy that are not zero, in DER.
fn accuracy(accuracy: Duration) -> Result<[Vec<u8>; 3], FormatError> {
    let whole =
        u32::try_from(accuracy.as_secs()).map_err(|_| FormatError::Plan("the accuracy is too long"))?;
    let micros = accuracy.subsec_micros();
    let part = |tag: Tag, number: u32| -> der::Result<Vec<u8>> {
        if number == 0 {
            return Ok(Vec::new());
        }
        let mut der = number.to_der()?;
        der[0] = tag.octet(); // IMPLICIT
        Ok(der)
    };
    let encode = || -> der::Result<_> {
        Ok([
            part(Tag::Integer, whole)?,
            part(context(TagNumber::N0, false), micros / 1000)?,
            part(context(TagNumber::N1, false), micros % 1000)?,
        ])
    };
    encode().map_err(|error| FormatError::der("Accuracy", error))
}
