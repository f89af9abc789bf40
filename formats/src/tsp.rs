//! Timestamps: RFC 3161, and GB/T 20520 (GM/T 0033), which has the same structure with SM3 and SM2. A token is a
//! SignedData of either family over a TSTInfo.
//!
//! TSTInfo is read here and not with `x509-tsp`, whose times have whole seconds only. What an authority reads and
//! writes is in [`TimestampRequest`], [`prepare`], [`granted`] and [`rejected`]; what an asker needs of an answer is in
//! [`answer`].

mod request;
mod token;

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Reader, Sequence, SliceReader, Tag, TagNumber, Tagged};
use serde::Serialize;
use spki::AlgorithmIdentifierOwned;
use time::{Duration, OffsetDateTime};
use x509_cert::ext::pkix::name::GeneralName;

use crate::chain::{TrustStore, Usage};
use crate::cms::structure::{context, explicit, optional, sequence};
use crate::cms::{self, Content, Family, Role, SignerReport, VerifyInput, in_der};
use crate::error::FormatError;
use crate::oid;
use crate::scheme::HashAlgorithm;
use crate::verdict::Judgement;
use crate::x509::Certificate;

pub use request::{Failure, Imprint, MAX_REQUEST, Nonce, Refusal, TimestampRequest};
pub use token::{PendingToken, TokenPlan, granted, prepare, rejected};

const WHAT: &str = "timestamp";

/// What a token should be over.
#[derive(Clone, Copy)]
enum Stamped<'a> {
    Content(&'a Content),
    Imprint(&'a Imprint),
    /// By whatever hash function the token names.
    Digest(&'a [u8]),
}

/// A timestamp and what to judge it by.
#[derive(Clone, Debug)]
pub struct TokenInput<'a> {
    /// A TimeStampResp or a bare TimeStampToken, in DER or BER.
    pub token: &'a [u8],
    /// What it should be over.
    pub content: Option<Content>,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs.
    pub trust: &'a TrustStore,
    /// The time the authority's certificate is judged at.
    pub at: OffsetDateTime,
}

/// The answer on a timestamp.
#[derive(Clone, Debug)]
pub struct TokenReport {
    /// Everything together.
    pub judgement: Judgement,
    /// None when there is no SignedData to be read.
    pub family: Option<Family>,
    /// What the token says; none when it cannot be read. To be believed only if the verdict is valid.
    pub info: Option<TokenInfo>,
    /// The authority, and who else signed: anything but one is invalid.
    pub signers: Vec<SignerReport>,
    /// The octets are a response or a token, whatever they are worth.
    pub readable: bool,
}

/// TSTInfo (RFC 3161, 2.4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// The time that the authority vouches for.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// How far the true time may be off, in microseconds; none if the authority does not say.
    pub accuracy_us: Option<u64>,
    /// Tokens of this authority can be put in order by their times alone.
    pub ordering: bool,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
    /// The policy it was made under, dotted.
    pub policy: String,
    /// The hash function of the imprint, dotted.
    pub hash_algorithm: String,
    /// The digest of what was stamped, in lower-case hexadecimal.
    pub imprint: String,
    /// What the asker sent along, in lower-case hexadecimal.
    pub nonce: Option<String>,
    /// The name that the authority gives itself.
    pub authority: Option<String>,
    #[serde(skip)]
    hash: AlgorithmIdentifierOwned,
    #[serde(skip)]
    digest: Vec<u8>,
}

/// Judges a timestamp. Beside the codes of [`cms::verify`] and [`chain`](crate::chain) there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `not_a_timestamp` `several_signers` `signing_certificate_absent` `imprint_length` `timestamp_outside_validity` `timestamp_in_future` `unknown_critical_extension` |
/// | unsigned | `timestamp_refused` |
///
/// `digest_mismatch` and `content_absent` are said of what was stamped.
pub fn verify(input: TokenInput<'_>) -> TokenReport {
    judge(&input, input.content.as_ref().map(Stamped::Content))
}

/// Judges a timestamp over a digest of any length; the content in `input` has no say.
pub fn verify_digest(input: &TokenInput<'_>, digest: &[u8]) -> TokenReport {
    judge(input, Some(Stamped::Digest(digest)))
}

/// Judges a response to a request of one's own: as [`verify`] does, and `nonce_mismatch` and `policy_mismatch` are
/// invalid. With it comes the token alone, if there is one.
pub fn answer(input: &TokenInput<'_>, request: &TimestampRequest) -> (TokenReport, Option<Vec<u8>>) {
    let mut report = judge(input, Some(Stamped::Imprint(&request.imprint)));
    if let Some(info) = &report.info {
        if info.nonce != request.nonce.as_ref().map(Nonce::to_hex) {
            report.judgement.invalid("nonce_mismatch", "it does not repeat the nonce of the request");
        }
        if request.policy.is_some_and(|policy| policy.to_string() != info.policy) {
            let detail = format!("it was made under the policy {}", info.policy);
            report.judgement.invalid("policy_mismatch", detail);
        }
    }
    let octets = in_der(input.token);
    let token = match token(&octets) {
        Ok(Response::Token(token)) => Some(token.to_vec()),
        Ok(Response::Refused(_)) | Err(_) => None,
    };
    (report, token)
}

fn judge(input: &TokenInput<'_>, stamped: Option<Stamped<'_>>) -> TokenReport {
    let mut judgement = Judgement::new();
    let response = in_der(input.token);
    let token = match token(&response) {
        Ok(Response::Token(token)) => token,
        Ok(Response::Refused(status)) => {
            judgement.unsigned("timestamp_refused", format!("the response has status {status} and no token"));
            return TokenReport { judgement, family: None, info: None, signers: Vec::new(), readable: true };
        }
        Err(error) => {
            judgement.invalid("malformed", FormatError::der(WHAT, error).to_string());
            return TokenReport { judgement, family: None, info: None, signers: Vec::new(), readable: false };
        }
    };
    if response.as_ref() != input.token {
        judgement.note("ber_encoding", "it is BER and was read as the DER of the same values");
    }
    let (report, inside) = cms::judge(
        &VerifyInput {
            cms: token,
            content: None,
            signer_id: input.signer_id,
            trust: input.trust,
            at: input.at,
        },
        Role { usage: Usage::TimeStamping, nested: false },
    );
    judgement.merge(report.judgement);
    let mut answer = TokenReport {
        judgement,
        family: report.family,
        info: None,
        signers: report.signers,
        readable: inside.is_some(),
    };
    let Some(inside) = inside else { return answer };
    if inside.content_type != oid::TST_INFO {
        let detail = format!("it holds {} and no TSTInfo", inside.content_type);
        answer.judgement.invalid("not_a_timestamp", detail);
        return answer;
    }
    // RFC 3161, 2.4.2: the authority's signature alone.
    if answer.signers.len() > 1 {
        answer.judgement.invalid("several_signers", format!("{} signers", answer.signers.len()));
    }
    let Some(content) = inside.content else { return answer };
    match TokenInfo::decode(&content) {
        Ok((info, unknown)) => {
            for extension in unknown {
                let detail = format!("the timestamp has the critical extension {extension}");
                answer.judgement.invalid("unknown_critical_extension", detail);
            }
            judge_info(&info, input.at, stamped, &mut answer);
            answer.info = Some(info);
        }
        Err(error) => answer.judgement.invalid("malformed", FormatError::der(WHAT, error).to_string()),
    }
    answer
}

fn judge_info(info: &TokenInfo, at: OffsetDateTime, stamped: Option<Stamped<'_>>, answer: &mut TokenReport) {
    let judgement = &mut answer.judgement;
    if let Some(signer) = answer.signers.first() {
        let named = [oid::SIGNING_CERTIFICATE, oid::SIGNING_CERTIFICATE_V2].map(|id| id.to_string());
        let names_signer =
            signer.attributes.iter().any(|attribute| attribute.signed && named.contains(&attribute.oid));
        match answer.family {
            _ if names_signer => {}
            // RFC 3161, 2.4.2 asks for it; tokens of the national family are in use without.
            Some(Family::Gbt35275) => {
                judgement.note("signing_certificate_absent", "the token does not name its certificate");
            }
            _ => judgement.invalid("signing_certificate_absent", "the token does not name its certificate"),
        }
        if let Some(certificate) = &signer.certificate
            && !(certificate.not_before()..=certificate.not_after()).contains(&info.time)
        {
            let detail = format!("made at {} outside the authority's validity", info.time);
            judgement.invalid("timestamp_outside_validity", detail);
        }
    }
    let tolerated =
        Duration::microseconds(info.accuracy_us.and_then(|us| i64::try_from(us).ok()).unwrap_or(0));
    if info.time - at > tolerated {
        judgement.invalid("timestamp_in_future", format!("made at {}, judged at {at}", info.time));
    }
    let hash = match HashAlgorithm::from_identifier(&info.hash) {
        Ok(hash) => hash,
        Err(error) => return judgement.indeterminate("unsupported_algorithm", error.to_string()),
    };
    if info.digest.len() != hash.len() {
        let detail = format!("{} octets, the hash function makes {}", info.digest.len(), hash.len());
        return judgement.invalid("imprint_length", detail);
    }
    let same = match stamped {
        Some(Stamped::Content(Content::Bytes(content))) => hash.digest(content) == info.digest,
        Some(Stamped::Content(Content::Digest(digest))) => digest[..] == info.digest,
        Some(Stamped::Imprint(imprint)) => imprint.hash() == hash && imprint.digest() == info.digest,
        Some(Stamped::Digest(digest)) => digest == info.digest,
        None => return judgement.indeterminate("content_absent", "what was stamped was not given"),
    };
    if !same {
        judgement.invalid("digest_mismatch", "the content given is not what was stamped");
    }
}

/// The certificates in a response or token that can be read; none when it cannot be.
pub fn certificates(octets: &[u8]) -> Vec<Certificate> {
    match token(&in_der(octets)) {
        Ok(Response::Token(token)) => cms::certificates(token),
        Ok(Response::Refused(_)) | Err(_) => Vec::new(),
    }
}

enum Response<'a> {
    Token(&'a [u8]),
    Refused(i64),
}

/// The token of a TimeStampResp (RFC 3161, 2.4.2), or the token that stands alone.
fn token(der: &[u8]) -> der::Result<Response<'_>> {
    sequence(der, |reader| {
        if reader.peek_tag()? == Tag::ObjectIdentifier {
            while !reader.is_finished() {
                reader.tlv_bytes()?;
            }
            return Ok(Response::Token(der));
        }
        let status = sequence(reader.tlv_bytes()?, |status| {
            let number = i64::decode(status)?;
            while !status.is_finished() {
                AnyRef::decode(status)?; // texts and bits for people
            }
            Ok(number)
        })?;
        let token = if reader.is_finished() { None } else { Some(reader.tlv_bytes()?) };
        // 0 granted, 1 granted with modifications: both come with a token, all others without.
        match (status, token) {
            (0 | 1, Some(token)) => Ok(Response::Token(token)),
            (0 | 1, None) | (_, Some(_)) => Err(Tag::Integer.value_error()),
            (status, None) => Ok(Response::Refused(status)),
        }
    })
}

/// RFC 3161, 2.4.2.
#[derive(Sequence)]
struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u32>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    milliseconds: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    microseconds: Option<u16>,
}

impl TokenInfo {
    /// What it says, and the critical extensions, of which none is known here.
    fn decode(der: &[u8]) -> der::Result<(Self, Vec<ObjectIdentifier>)> {
        sequence(der, |reader| {
            if u8::decode(reader)? != 1 {
                return Err(Tag::Integer.value_error());
            }
            let policy = ObjectIdentifier::decode(reader)?;
            let (hash, digest) = sequence(reader.tlv_bytes()?, |imprint| {
                let hash = AlgorithmIdentifierOwned::decode(imprint)?;
                Ok((hash, OctetStringRef::decode(imprint)?.as_bytes().to_vec()))
            })?;
            let serial = integer(reader)?;
            let time = generalized_time(AnyRef::decode(reader)?)?;
            let accuracy = optional(reader, Tag::Sequence)?.map(Accuracy::from_der).transpose()?;
            let ordering = optional(reader, Tag::Boolean)?.map(bool::from_der).transpose()?.unwrap_or(false);
            let nonce = optional(reader, Tag::Integer)?
                .map(|nonce| integer(&mut SliceReader::new(nonce)?))
                .transpose()?;
            let authority = optional(reader, context(TagNumber::N0, true))?
                .map(|authority| GeneralName::from_der(explicit(authority)?))
                .transpose()?;
            let unknown = optional(reader, context(TagNumber::N1, true))?
                .map(critical_extensions)
                .transpose()?
                .unwrap_or_default();
            let info = Self {
                time,
                accuracy_us: accuracy.map(|accuracy| {
                    u64::from(accuracy.seconds.unwrap_or(0)) * 1_000_000
                        + u64::from(accuracy.milliseconds.unwrap_or(0)) * 1_000
                        + u64::from(accuracy.microseconds.unwrap_or(0))
                }),
                ordering,
                serial,
                policy: policy.to_string(),
                hash_algorithm: hash.oid.to_string(),
                imprint: hex::encode(&digest),
                nonce,
                authority: authority.map(|authority| match authority {
                    GeneralName::DirectoryName(name) => name.to_string(),
                    other => format!("{other:?}"),
                }),
                hash,
                digest,
            };
            Ok((info, unknown))
        })
    }
}

/// An INTEGER of any size in hexadecimal.
fn integer(reader: &mut SliceReader<'_>) -> der::Result<String> {
    let integer = AnyRef::decode(reader)?;
    integer.tag().assert_eq(Tag::Integer)?;
    Ok(hexadecimal(integer.value()))
}

/// The content of an INTEGER without the octet that keeps it positive.
fn hexadecimal(octets: &[u8]) -> String {
    hex::encode(octets.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(octets))
}

/// `YYYYMMDDhhmmss[.f…]Z` (RFC 3161, 2.4.2).
pub(crate) fn generalized_time(element: AnyRef<'_>) -> der::Result<OffsetDateTime> {
    element.tag().assert_eq(Tag::GeneralizedTime)?;
    let wrong = || Tag::GeneralizedTime.value_error();
    let text = std::str::from_utf8(element.value()).map_err(|_| wrong())?;
    let text = text.strip_suffix('Z').ok_or_else(wrong)?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || fraction.is_some_and(|part| !digits(part) || part.len() > 9) {
        return Err(wrong());
    }
    let number = |range: std::ops::Range<usize>| whole[range].parse::<u8>().map_err(|_| wrong());
    let year: i32 = whole[..4].parse().map_err(|_| wrong())?;
    let nanoseconds: u32 =
        fraction.map_or(Ok(0), |part| format!("{part:0<9}").parse()).map_err(|_| wrong())?;
    let month = time::Month::try_from(number(4..6)?).map_err(|_| wrong())?;
    let date = time::Date::from_calendar_date(year, month, number(6..8)?).map_err(|_| wrong())?;
    let (hour, minute, second) = (number(8..10)?, number(10..12)?, number(12..14)?);
    let time = time::Time::from_hms_nano(hour, minute, second, nanoseconds).map_err(|_| wrong())?;
    Ok(date.with_time(time).assume_utc())
}

fn critical_extensions(tagged: &[u8]) -> der::Result<Vec<ObjectIdentifier>> {
    let mut reader = SliceReader::new(AnyRef::from_der(tagged)?.value())?;
    let mut critical = Vec::new();
    while !reader.is_finished() {
        let extension = x509_cert::ext::Extension::decode(&mut reader)?;
        if extension.critical {
            critical.push(extension.extn_id);
        }
    }
    Ok(critical)
}
