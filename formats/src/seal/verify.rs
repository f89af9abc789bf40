//! Judging seals and seal signatures, in the order of GB/T 38540-2020, 7.

use const_oid::ObjectIdentifier;
use serde::Serialize;
use spki::AlgorithmIdentifierOwned;
use time::{Duration, OffsetDateTime};

use super::structure::{HolderList, Seal, SealSignature, SealVersion, Tolerance};
use crate::algorithm::Algorithm;
use crate::chain::{TrustStore, Usage, validate};
use crate::cms::{Content, SignerReport, error_code};
use crate::error::FormatError;
use crate::scheme::{HashAlgorithm, SignatureScheme};
use crate::tsp::{self, TokenInput, TokenReport};
use crate::verdict::{Judgement, Verdict};
use crate::x509::Certificate;

/// How far a signer's clock may be ahead of the judge's.
pub const CLOCK_TOLERANCE: Duration = Duration::minutes(5);

/// A seal and what to judge it by.
#[derive(Clone, Debug)]
pub struct SealInput<'a> {
    /// `SESeal` in DER.
    pub seal: &'a [u8],
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs, for makers, signers and timestamps.
    pub trust: &'a TrustStore,
    /// The time the seal and its maker's certificate are judged at.
    pub at: OffsetDateTime,
}

/// A seal signature and what to judge it by.
#[derive(Clone, Debug)]
pub struct SealSignatureInput<'a> {
    /// `SES_Signature` in DER.
    pub signature: &'a [u8],
    /// What is sealed: in OFD the octets of Signature.xml, in PDF those of the ByteRange.
    pub protected: Option<Content>,
    /// The identifier in SM2's Z.
    pub signer_id: &'a [u8],
    /// Anchors, intermediates and CRLs, for makers, signers and timestamps.
    pub trust: &'a TrustStore,
    /// The time everything is judged at, unless a valid timestamp proves an earlier one.
    pub at: OffsetDateTime,
}

/// What a seal says; to be believed only if it is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SealFacts {
    /// Which standard it follows.
    pub version: SealVersion,
    /// The maker's mark.
    pub vendor: String,
    /// Its number.
    pub id: String,
    /// The kind, by the maker's numbering.
    pub kind: u32,
    /// Its name.
    pub name: String,
    /// How many certificates may use it.
    pub holders: usize,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The first moment of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub valid_from: OffsetDateTime,
    /// The last second of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub valid_until: OffsetDateTime,
    /// `PNG`, `JPG` …
    pub picture_kind: String,
    /// Width and height in millimetres.
    pub picture_size: [u32; 2],
    /// The maker's name (RFC 4514), if its certificate can be read.
    pub maker: Option<String>,
}

/// The answer on a seal.
#[derive(Clone, Debug)]
pub struct SealReport {
    /// Everything together.
    pub judgement: Judgement,
    /// The seal; none when it cannot be read.
    pub seal: Option<Seal>,
    /// The maker's certificate, if it can be read.
    pub maker: Option<Certificate>,
    /// The timestamp over the maker's signature (version 5).
    pub timestamp: Option<TokenReport>,
}

impl SealReport {
    /// What the seal says.
    pub fn facts(&self) -> Option<SealFacts> {
        let seal = self.seal.as_ref()?;
        let info = seal.info();
        Some(SealFacts {
            version: seal.version(),
            vendor: info.vendor.clone(),
            id: info.id.clone(),
            kind: info.kind,
            name: info.name.clone(),
            holders: match &info.holders {
                HolderList::Certificates(certificates) => certificates.len(),
                HolderList::Digests(digests) => digests.len(),
            },
            created: info.created,
            valid_from: info.valid_from,
            valid_until: info.valid_until,
            picture_kind: info.picture.kind.clone(),
            picture_size: [info.picture.width, info.picture.height],
            maker: self.maker.as_ref().map(Certificate::subject),
        })
    }
}

/// The answer on a seal signature.
#[derive(Clone, Debug)]
pub struct SealSignatureReport {
    /// Everything together: the seal, the signer, the digest, the timestamp.
    pub judgement: Judgement,
    /// Which standard it follows; none when it cannot be read.
    pub version: Option<SealVersion>,
    /// On the seal in it.
    pub seal: Option<SealReport>,
    /// On the signer alone. A timestamp stands among its timestamps.
    pub signer: Option<SignerReport>,
    /// Where what is sealed stands, as the signature says.
    pub property_info: Option<String>,
    /// The time it was judged at: the timestamp's, if that is valid.
    pub judged_at: OffsetDateTime,
}

/// Judges a seal. Beside the codes of [`chain`](crate::chain), of its maker, there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `malformed` `seal_forged` `seal_not_yet_valid` `seal_expired` `algorithm_mismatch` `unknown_critical_extension` `timestamp_invalid` |
/// | indeterminate | `unsupported_algorithm` `seal_maker_not_trusted` |
/// | note | `seal_encoding_tolerated` `timestamp_indeterminate` `seal_maker_not_checked` |
pub fn verify_seal(input: &SealInput<'_>) -> SealReport {
    match Seal::from_der(input.seal) {
        Ok(seal) => {
            let mut report = judge_seal(seal, input.signer_id, input.trust, input.at);
            if let Some(seal) = &report.seal {
                tolerated(&seal.tolerated, &mut report.judgement);
            }
            report
        }
        Err(error) => {
            let mut judgement = Judgement::new();
            judgement.invalid(error_code(&error), error.to_string());
            SealReport { judgement, seal: None, maker: None, timestamp: None }
        }
    }
}

fn judge_seal(seal: Seal, signer_id: &[u8], trust: &TrustStore, at: OffsetDateTime) -> SealReport {
    let mut judgement = Judgement::new();
    let maker = match Certificate::from_der(&seal.maker) {
        Ok(maker) => Some(maker),
        Err(error) => {
            judgement.invalid("malformed", format!("the seal maker's certificate: {error}"));
            None
        }
    };
    if let Some(maker) = &maker {
        let checked = check(maker, seal.algorithm, &seal.signed, &seal.signature, signer_id, trust);
        if let Err(error) = checked {
            complain(&error, "seal_forged", "the seal maker's signature", &mut judgement);
        }
        let path = validate(maker, &[], trust, Usage::DocumentSigning, at);
        let counts = path.verdict == Verdict::Valid;
        judgement.merge(path);
        // Whoever may sign documents could make himself a seal of any name. Of others nobody asks.
        match trust.is_seal_maker(maker) {
            _ if !counts => {}
            Some(true) => {}
            Some(false) => {
                let detail = format!("{} is none of those whose seals count", maker.subject());
                judgement.indeterminate("seal_maker_not_trusted", detail);
            }
            None => {
                let detail = "any certificate for signing documents counts as a seal maker's";
                judgement.note("seal_maker_not_checked", detail);
            }
        }
    }
    let info = seal.info();
    if info.valid_until < info.valid_from {
        judgement.invalid("malformed", "the seal's validity ends before it begins");
    } else if at < info.valid_from {
        judgement
            .invalid("seal_not_yet_valid", format!("{} is valid from {} on", info.name, info.valid_from));
    } else if at >= after(info.valid_until) {
        judgement.invalid("seal_expired", format!("{} was valid until {}", info.name, info.valid_until));
    }
    for id in &info.critical_extensions {
        let detail = format!("the seal has the critical extension {id}, which is not known");
        judgement.invalid("unknown_critical_extension", detail);
    }
    let timestamp = seal
        .timestamp
        .as_ref()
        .map(|token| judge_timestamp(token, &seal.signature, signer_id, trust, at, &mut judgement));
    SealReport { judgement, seal: Some(seal), maker, timestamp }
}

/// The whole last second counts.
fn after(last: OffsetDateTime) -> OffsetDateTime {
    last.checked_add(Duration::SECOND).unwrap_or(last)
}

/// Judges a seal signature. Beside the codes of [`verify_seal`] and [`chain`](crate::chain) there are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `signature_invalid` `signer_not_in_seal` `signed_outside_seal_validity` `signed_outside_certificate_validity` `signing_time_in_future` `digest_mismatch` |
/// | indeterminate | `content_absent` |
/// | note | `signing_time_unreadable` |
pub fn verify_signature(input: &SealSignatureInput<'_>) -> SealSignatureReport {
    let mut report = SealSignatureReport {
        judgement: Judgement::new(),
        version: None,
        seal: None,
        signer: None,
        property_info: None,
        judged_at: input.at,
    };
    let signature = match SealSignature::from_der(input.signature) {
        Ok(signature) => signature,
        Err(error) => {
            report.judgement.invalid(error_code(&error), error.to_string());
            return report;
        }
    };
    report.version = Some(signature.version);
    report.property_info = Some(signature.property_info.clone());

    // The timestamp is judged first and reported last: the time it proves is the one for all certificates.
    let mut on_timestamp = Judgement::new();
    let timestamp = signature.timestamp.as_ref().map(|token| {
        let SealSignatureInput { signer_id, trust, at, .. } = *input;
        judge_timestamp(token, &signature.signature, signer_id, trust, at, &mut on_timestamp)
    });
    if let Some(proved) = timestamp.as_ref().filter(|token| token.judgement.verdict == Verdict::Valid)
        && let Some(info) = &proved.info
    {
        report.judged_at = info.time.min(input.at);
    }

    let seal = judge_seal(signature.seal.clone(), input.signer_id, input.trust, report.judged_at);
    report.judgement.merge(seal.judgement.clone());
    let mut signer = judge_signer(&signature, input, report.judged_at);
    judge_times(&signature, signer.certificate.as_ref(), input.at, &mut signer.judgement);
    judge_data_hash(&signature, input.protected.as_ref(), &mut signer.judgement);
    for id in &signature.critical_extensions {
        let detail = format!("the signature has the critical extension {id}, which is not known");
        signer.judgement.invalid("unknown_critical_extension", detail);
    }
    signer.judgement.merge(on_timestamp);
    signer.timestamps.extend(timestamp);
    report.judgement.merge(signer.judgement.clone());
    tolerated(&signature.tolerated, &mut report.judgement);
    report.seal = Some(seal);
    report.signer = Some(signer);
    report
}

/// Signature value, certificate, and whether the seal is the signer's to use.
fn judge_signer(
    signature: &SealSignature,
    input: &SealSignatureInput<'_>,
    at: OffsetDateTime,
) -> SignerReport {
    let mut judgement = Judgement::new();
    let certificate = match Certificate::from_der(&signature.certificate) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            judgement.invalid("malformed", format!("the signer's certificate: {error}"));
            None
        }
    };
    let mut checked = false;
    if let Some(certificate) = &certificate {
        let SealSignature { algorithm, signed, signature: value, .. } = signature;
        match check(certificate, *algorithm, signed, value, input.signer_id, input.trust) {
            Ok(()) => checked = true,
            Err(error) => complain(&error, "signature_invalid", "the seal signature", &mut judgement),
        }
        judgement.merge(validate(certificate, &[], input.trust, Usage::DocumentSigning, at));
        judge_holder(signature, certificate, &mut judgement);
    }
    let scheme = scheme(signature.algorithm).ok();
    SignerReport {
        subject: certificate.as_ref().map(Certificate::subject),
        issuer: certificate.as_ref().map(Certificate::issuer),
        serial: certificate.as_ref().map(Certificate::serial_hex),
        algorithm: Algorithm::ALL.into_iter().find(|one| Some(SignatureScheme::from(*one)) == scheme),
        signing_time: signature.time,
        judgement,
        checked,
        certificate,
        attributes: Vec::new(),
        counter_signatures: Vec::new(),
        timestamps: Vec::new(),
    }
}

fn judge_holder(signature: &SealSignature, certificate: &Certificate, judgement: &mut Judgement) {
    let seal = signature.seal.info();
    let (mut listed, mut unknown) = (false, None);
    match &seal.holders {
        HolderList::Certificates(holders) => {
            listed = holders.iter().any(|holder| holder == certificate.der());
        }
        HolderList::Digests(holders) => {
            for holder in holders {
                match digest_of(&holder.kind, holder.value.len()) {
                    Some(hash) => listed |= hash.digest(certificate.der()) == holder.value,
                    None => unknown = Some(holder),
                }
            }
        }
    }
    let subject = certificate.subject();
    match unknown {
        _ if listed => {}
        Some(holder) => {
            let detail =
                format!("a certificate digest of the kind {} in the list of {}", holder.kind, seal.name);
            judgement.indeterminate("unsupported_algorithm", detail);
        }
        None => judgement.invalid("signer_not_in_seal", format!("{subject} may not use {}", seal.name)),
    }
}

/// The kind of a certificate digest is the maker's to choose: what names no other hash of that length is SM3.
fn digest_of(kind: &str, length: usize) -> Option<HashAlgorithm> {
    let kind: String =
        kind.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let sha256 = ["sha256", "21684011013421"].contains(&kind.as_str());
    let refused = ["sha1", "md5"].iter().any(|weak| kind.contains(weak));
    match length {
        32 if sha256 => Some(HashAlgorithm::Sha256),
        32 if !refused => Some(HashAlgorithm::Sm3),
        _ => None,
    }
}

fn judge_times(
    signature: &SealSignature,
    certificate: Option<&Certificate>,
    at: OffsetDateTime,
    judgement: &mut Judgement,
) {
    let Some(time) = signature.time else {
        judgement.note("signing_time_unreadable", "the time of a version 1 signature cannot be read");
        return;
    };
    let seal = signature.seal.info();
    if !(seal.valid_from..after(seal.valid_until)).contains(&time) {
        let detail =
            format!("signed at {time}, the seal is valid {} to {}", seal.valid_from, seal.valid_until);
        judgement.invalid("signed_outside_seal_validity", detail);
    }
    if let Some(certificate) = certificate
        && !(certificate.not_before()..after(certificate.not_after())).contains(&time)
    {
        let detail = format!("signed at {time}, outside the validity of {}", certificate.subject());
        judgement.invalid("signed_outside_certificate_validity", detail);
    }
    if time > at.saturating_add(CLOCK_TOLERANCE) {
        judgement.invalid("signing_time_in_future", format!("signed at {time}, judged at {at}"));
    }
}

fn judge_data_hash(signature: &SealSignature, protected: Option<&Content>, judgement: &mut Judgement) {
    let Ok(scheme) = scheme(signature.algorithm) else { return };
    let digest = match protected {
        Some(Content::Bytes(octets)) => scheme.hash().digest(octets),
        Some(Content::Digest(digest)) => digest.to_vec(),
        None => return judgement.indeterminate("content_absent", "what is sealed was not given"),
    };
    if digest != signature.data_hash {
        judgement.invalid("digest_mismatch", "what is sealed is not what the signature was made for");
    }
}

/// A timestamp is over the octets of the signature it stands with.
fn judge_timestamp(
    token: &[u8],
    signature: &[u8],
    signer_id: &[u8],
    trust: &TrustStore,
    at: OffsetDateTime,
    on: &mut Judgement,
) -> TokenReport {
    let content = Some(Content::Bytes(signature.to_vec()));
    let report = tsp::verify(TokenInput { token, content, signer_id, trust, at });
    let codes: Vec<_> = report.judgement.findings.iter().map(|finding| finding.code).collect();
    match report.judgement.verdict {
        Verdict::Valid => {}
        Verdict::Invalid | Verdict::Unsigned => on.invalid("timestamp_invalid", codes.join(", ")),
        Verdict::Indeterminate => on.note("timestamp_indeterminate", codes.join(", ")),
    }
    report
}

fn scheme(algorithm: ObjectIdentifier) -> Result<SignatureScheme, FormatError> {
    SignatureScheme::from_identifier(&AlgorithmIdentifierOwned { oid: algorithm, parameters: None })
}

fn check(
    certificate: &Certificate,
    algorithm: ObjectIdentifier,
    signed: &[u8],
    signature: &[u8],
    signer_id: &[u8],
    trust: &TrustStore,
) -> Result<(), FormatError> {
    let scheme = scheme(algorithm)?;
    certificate.key()?.verify_scheme_with(scheme, signer_id, signed, signature, Some(trust.verifier()))
}

fn complain(error: &FormatError, forged: &'static str, what: &str, judgement: &mut Judgement) {
    let detail = format!("{what}: {error}");
    match error_code(error) {
        "signature_invalid" => judgement.invalid(forged, detail),
        code @ "unsupported_algorithm" => judgement.indeterminate(code, detail),
        code => judgement.invalid(code, detail),
    }
}

fn tolerated(all: &[Tolerance], judgement: &mut Judgement) {
    for one in all {
        judgement.note("seal_encoding_tolerated", one.name());
    }
}
