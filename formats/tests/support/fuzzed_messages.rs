//! What must hold of SignedData, timestamps, BER and identifiers for any input: used by the fuzz targets and, over
//! their corpora and at random, by the tests.
#![allow(dead_code)] // each target uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::borrow::Cow;

use formats::ber;
use formats::cert_id::CertificateId;
use formats::cms::{self, Content, VerifyInput};
use formats::identifier::{IdentifierKind, MAX_CHARACTERS, check};
use formats::opened::open;
use formats::tsp::{self, TimestampRequest, TokenInput};
use formats::uscc::Uscc;
use formats::{TrustStore, Verdict};
use time::OffsetDateTime;

/// Nobody is trusted, so nothing can be valid; what can be read stays the same when it is read again.
pub(crate) fn signed_data(input: &[u8]) {
    let trust = TrustStore::default();
    let judge = |cms: &[u8], content: Option<Content>| {
        cms::verify(VerifyInput {
            cms,
            content,
            signer_id: b"1234567812345678",
            trust: &trust,
            at: OffsetDateTime::UNIX_EPOCH,
        })
    };
    for content in [None, Some(Content::Bytes(input.to_vec())), Some(Content::Digest([7; 32]))] {
        let report = judge(input, content);
        assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
        assert!(report.signers.len() <= cms::MAX_SIGNERS);
    }
    let report = judge(input, None);
    if report.family.is_some() {
        let der = ber::to_der(input).unwrap();
        let again = judge(&der, None);
        assert_eq!(again.signers.len(), report.signers.len());
        assert_eq!(again.judgement.verdict, report.judgement.verdict);
    }
    let _ = open(input);
}

/// The same of timestamps; a response and its token are judged alike.
pub(crate) fn timestamp(input: &[u8]) {
    let trust = TrustStore::default();
    let report = tsp::verify(TokenInput {
        token: input,
        content: Some(Content::Bytes(b"content".to_vec())),
        signer_id: b"1234567812345678",
        trust: &trust,
        at: OffsetDateTime::UNIX_EPOCH,
    });
    assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    if let Some(info) = report.info {
        assert!(report.readable);
        assert!(!info.serial.is_empty() && !info.policy.is_empty());
    }
}

/// What can be read of a request is written as it was read, but for a certReq that says what goes without saying.
pub(crate) fn timestamp_request(input: &[u8]) {
    match TimestampRequest::from_der(input) {
        Ok(request) => {
            assert!(input.len() <= tsp::MAX_REQUEST);
            let written = request.to_der().unwrap();
            assert!(written == input || !request.certificates && written.len() + 3 == input.len());
            assert_eq!(TimestampRequest::from_der(&written), Ok(request));
        }
        Err(refusal) => {
            let response = tsp::rejected(refusal).unwrap();
            let trust = TrustStore::default();
            let report = tsp::verify(TokenInput {
                token: &response,
                content: None,
                signer_id: b"1234567812345678",
                trust: &trust,
                at: OffsetDateTime::UNIX_EPOCH,
            });
            assert!(report.judgement.has("timestamp_refused"), "{report:?}");
        }
    }
}

/// What comes out is DER's form, bounded in size, and stays as it is.
pub(crate) fn transcoded(input: &[u8]) {
    let Ok(der) = ber::to_der(input) else { return };
    assert!(der.len() <= 2 * input.len());
    let again = ber::to_der(&der).unwrap();
    assert!(matches!(again, Cow::Borrowed(_)), "{input:02x?}");
}

/// An identifier parses exactly if nothing is wrong with it, and what is offered in its place is valid.
pub(crate) fn identifier(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(Uscc::parse(text).is_ok(), Uscc::faults(text).is_empty());
    assert_eq!(CertificateId::parse(text).is_ok(), CertificateId::faults(text).is_empty());
    if let Ok(id) = CertificateId::parse(text) {
        assert_eq!(id.as_str(), text);
        let made = CertificateId::new(id.type_code(), id.issuer(), id.serial(), id.version());
        assert_eq!(made.as_ref(), Ok(&id));
    }
    for (_, kind) in IdentifierKind::NAMES {
        for sandbox in [false, true] {
            let report = check(kind, text, sandbox);
            let valid = report.judgement.verdict == Verdict::Valid;
            assert!(valid || !report.judgement.findings.is_empty());
            assert!(report.judgement.findings.len() <= MAX_CHARACTERS + 4);
            if let Some(meant) = report.normalised {
                assert_eq!(check(kind, &meant, sandbox).judgement.verdict, Verdict::Valid);
            }
        }
    }
}
