//! Timestamp tokens of both families, put together octet by octet, and what may be wrong with each part.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pieces;
use crate::pki;

use const_oid::ObjectIdentifier;
use der::{Encode, Tag, TagNumber};
use formats::cms::Content;
use formats::scheme::{HashAlgorithm, SignatureScheme};
use formats::tsp::{TokenInput, TokenReport, verify};
use formats::{TrustStore, Verdict, oid};
use pieces::{CONTENT, Pieces, Signer, algorithm, attribute, context, element, octets, sequence};
use pki::{Key, NOW, Plan, SIGNER_ID, codes};
use time::OffsetDateTime;
use time::macros::datetime;

/// What a TSTInfo is made of.
struct Info {
    version: u8,
    hash: ObjectIdentifier,
    digest: Vec<u8>,
    time: &'static str,
    tail: Vec<Vec<u8>>,
}

impl Info {
    fn of(hash: HashAlgorithm) -> Self {
        Self {
            version: 1,
            hash: hash.oid(),
            digest: hash.digest(CONTENT),
            time: "20260601115959.25Z",
            tail: Vec::new(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let mut parts = vec![
            self.version.to_der().unwrap(),
            ObjectIdentifier::new_unwrap("1.2.3.4").to_der().unwrap(),
            sequence(&[algorithm(self.hash), octets(&self.digest)]),
            vec![0x02, 0x02, 0x00, 0xff],
            element(Tag::GeneralizedTime, &[self.time.as_bytes().to_vec()]),
        ];
        parts.extend(self.tail.clone());
        sequence(&parts)
    }
}

/// An authority whose certificate has the extKeyUsage `purposes`, critical or not.
fn authority(key: Key, purposes: Option<(&[ObjectIdentifier], bool)>) -> Signer {
    let root = Plan::authority("CN=Root").root(Key::sm2(1));
    let mut plan = Plan::leaf("CN=TSA");
    if let Some((purposes, critical)) = purposes {
        let purposes: Vec<_> = purposes.iter().map(|purpose| purpose.to_der().unwrap()).collect();
        plan.extensions.push((oid::EXT_KEY_USAGE, critical, sequence(&purposes)));
    }
    let certificate = root.issue(&plan, &key);
    Signer { root, key, certificate }
}

fn good_authority(key: Key) -> Signer {
    authority(key, Some((&[oid::TIME_STAMPING], true)))
}

fn names(signer: &Signer) -> Vec<u8> {
    let hash = octets(&HashAlgorithm::Sm3.digest(signer.certificate.der()));
    let identifier = sequence(&[algorithm(oid::SM3), hash]);
    attribute(oid::SIGNING_CERTIFICATE_V2, &[sequence(&[sequence(&[identifier])])])
}

/// The pieces of a token over a TSTInfo.
fn pieces(signer: &Signer, info: &[u8]) -> Pieces {
    let scheme = signer.key.scheme();
    Pieces {
        signed_data: oid::CMS_SIGNED_DATA,
        content_type: oid::TST_INFO,
        content: Some(info.to_vec()),
        attributes: Some(vec![
            attribute(oid::CONTENT_TYPE, &[oid::TST_INFO.to_der().unwrap()]),
            attribute(oid::MESSAGE_DIGEST, &[octets(&scheme.hash().digest(info))]),
            names(signer),
        ]),
        ..Pieces::of(signer)
    }
}

fn token(signer: &Signer, info: &Info) -> Vec<u8> {
    pieces(signer, &info.der()).build(signer)
}

fn response(status: u8, token: Option<&[u8]>) -> Vec<u8> {
    let mut parts = vec![sequence(&[status.to_der().unwrap()])];
    parts.extend(token.map(<[u8]>::to_vec));
    sequence(&parts)
}

fn judge_at(signer: &Signer, token: &[u8], content: Option<Content>, at: OffsetDateTime) -> TokenReport {
    let trust = TrustStore::new(vec![signer.root.certificate.clone()], Vec::new(), Vec::new());
    verify(TokenInput { token, content, signer_id: SIGNER_ID, trust: &trust, at })
}

fn judge(signer: &Signer, token: &[u8]) -> TokenReport {
    judge_at(signer, token, Some(Content::Bytes(CONTENT.to_vec())), NOW)
}

#[track_caller]
fn assert_judged(report: &TokenReport, verdict: Verdict, expected: &[&str]) {
    let found: Vec<_> =
        codes(&report.judgement).into_iter().filter(|code| *code != "revocation_not_checked").collect();
    assert_eq!((report.judgement.verdict, found), (verdict, expected.to_vec()), "{report:?}");
}

#[test]
fn tokens_of_sm2_p256_and_rsa_authorities_are_valid_bare_and_in_responses() {
    for key in [Key::sm2(7), Key::p256(), Key::rsa()] {
        let signer = good_authority(key);
        for hash in [HashAlgorithm::Sm3, HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
            let token = token(&signer, &Info::of(hash));
            for whole in [token.clone(), response(0, Some(&token)), response(1, Some(&token))] {
                let report = judge(&signer, &whole);
                assert_judged(&report, Verdict::Valid, &[]);
                let info = report.info.unwrap();
                assert_eq!(info.time, datetime!(2026-06-01 11:59:59.25 UTC));
                assert_eq!((info.serial.as_str(), info.policy.as_str()), ("ff", "1.2.3.4"));
            }
        }
    }
}

#[test]
fn tokens_of_the_national_family_are_valid_also_without_naming_their_certificate() {
    let signer = good_authority(Key::sm2(7));
    let info = Info::of(HashAlgorithm::Sm3).der();
    let of = |family| Pieces { signed_data: family, ..pieces(&signer, &info) };
    assert_judged(&judge(&signer, &of(oid::GM_SIGNED_DATA).build(&signer)), Verdict::Valid, &[]);
    let unnamed = |family| {
        let mut pieces = of(family);
        pieces.attributes.as_mut().unwrap().pop();
        pieces.build(&signer)
    };
    let report = judge(&signer, &unnamed(oid::GM_SIGNED_DATA));
    assert_judged(&report, Verdict::Valid, &["signing_certificate_absent"]);
    let report = judge(&signer, &unnamed(oid::CMS_SIGNED_DATA));
    assert_judged(&report, Verdict::Invalid, &["signing_certificate_absent"]);
}

#[test]
fn everything_that_may_stand_in_a_tstinfo_is_read() {
    let signer = good_authority(Key::sm2(7));
    let name = sequence(&[element(
        Tag::Set,
        &[sequence(&[
            ObjectIdentifier::new_unwrap("2.5.4.3").to_der().unwrap(),
            element(Tag::Utf8String, &["时间戳".as_bytes().to_vec()]),
        ])],
    )]);
    let info = Info {
        tail: vec![
            sequence(&[vec![0x02, 1, 2], vec![0x80, 1, 3], vec![0x81, 1, 4]]),
            vec![0x01, 1, 0xff],
            vec![0x02, 2, 0x12, 0x34],
            context(TagNumber::N0, &[context(TagNumber::N4, &[name])]),
            context(
                TagNumber::N1,
                &[sequence(&[ObjectIdentifier::new_unwrap("1.2.3.4.5").to_der().unwrap(), octets(&[5, 0])])],
            ),
        ],
        ..Info::of(HashAlgorithm::Sm3)
    };
    let report = judge(&signer, &token(&signer, &info));
    assert_judged(&report, Verdict::Valid, &[]);
    let info = report.info.unwrap();
    assert_eq!(info.accuracy_us, Some(2_003_004));
    assert!(info.ordering);
    assert_eq!(info.nonce.as_deref(), Some("1234"));
    assert_eq!(info.authority.as_deref(), Some("CN=时间戳"));
}

#[test]
fn a_critical_extension_is_not_passed_over() {
    let signer = good_authority(Key::sm2(7));
    let id = ObjectIdentifier::new_unwrap("1.2.3.4.5").to_der().unwrap();
    let extension = sequence(&[id, vec![0x01, 1, 0xff], octets(&[5, 0])]);
    let info = Info { tail: vec![context(TagNumber::N1, &[extension])], ..Info::of(HashAlgorithm::Sm3) };
    let report = judge(&signer, &token(&signer, &info));
    assert_judged(&report, Verdict::Invalid, &["unknown_critical_extension"]);
}

#[test]
fn what_was_stamped_must_be_given_and_be_the_same() {
    let signer = good_authority(Key::sm2(7));
    let token = token(&signer, &Info::of(HashAlgorithm::Sm3));
    let judged = |content| judge_at(&signer, &token, content, NOW);
    let digest = |content| Content::Digest(HashAlgorithm::Sm3.digest(content).try_into().unwrap());
    assert_judged(&judged(Some(digest(CONTENT))), Verdict::Valid, &[]);
    assert_judged(&judged(Some(digest(b"other"))), Verdict::Invalid, &["digest_mismatch"]);
    let other = Some(Content::Bytes(b"other".to_vec()));
    assert_judged(&judged(other), Verdict::Invalid, &["digest_mismatch"]);
    assert_judged(&judged(None), Verdict::Indeterminate, &["content_absent"]);
}

#[test]
fn only_a_certificate_for_timestamps_alone_makes_timestamps() {
    let critical = true;
    for purposes in [
        None,
        Some((&[oid::TIME_STAMPING][..], !critical)),
        Some((&[oid::TIME_STAMPING, oid::CLIENT_AUTH][..], critical)),
        Some((&[oid::CLIENT_AUTH][..], critical)),
    ] {
        let signer = authority(Key::sm2(7), purposes);
        let report = judge(&signer, &token(&signer, &Info::of(HashAlgorithm::Sm3)));
        assert_judged(&report, Verdict::Invalid, &["key_usage_not_permitted"]);
    }
}

#[test]
fn the_time_lies_in_the_certificates_validity_and_not_after_the_judgement() {
    let signer = good_authority(Key::sm2(7));
    let at = |time| judge(&signer, &token(&signer, &Info { time, ..Info::of(HashAlgorithm::Sm3) }));
    assert_judged(&at("20260601115959Z"), Verdict::Valid, &[]);
    assert_judged(&at("20201231235959Z"), Verdict::Invalid, &["timestamp_outside_validity"]);
    assert_judged(&at("20260601120001Z"), Verdict::Invalid, &["timestamp_in_future"]);
    let info = Info {
        time: "20260601120001Z",
        tail: vec![sequence(&[vec![0x02, 1, 2]])],
        ..Info::of(HashAlgorithm::Sm3)
    };
    assert_judged(&judge(&signer, &token(&signer, &info)), Verdict::Valid, &[]);
}

#[test]
fn a_tstinfo_that_is_none_is_malformed() {
    let signer = good_authority(Key::sm2(7));
    let good = || Info::of(HashAlgorithm::Sm3);
    for info in [
        Info { version: 2, ..good() },
        Info { time: "20260601115959", ..good() },
        Info { time: "202606011159Z", ..good() },
        Info { time: "20260631115959Z", ..good() },
        Info { time: "20260601115959.Z", ..good() },
        Info { time: "20260601115959.1234567890Z", ..good() },
        Info { time: "20260601115959+0800", ..good() },
        Info { tail: vec![vec![0x05, 0]], ..good() },
        Info { tail: vec![vec![0x02, 1, 1], vec![0x02, 1, 1]], ..good() },
    ] {
        assert_judged(&judge(&signer, &token(&signer, &info)), Verdict::Invalid, &["malformed"]);
    }
    let short = Info { digest: vec![1; 31], ..good() };
    assert_judged(&judge(&signer, &token(&signer, &short)), Verdict::Invalid, &["imprint_length"]);
    let sha1 = Info { hash: ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), ..good() };
    let report = judge(&signer, &token(&signer, &sha1));
    assert_judged(&report, Verdict::Indeterminate, &["unsupported_algorithm"]);
}

#[test]
fn a_refusal_has_nothing_signed_and_a_contradiction_is_malformed() {
    let signer = good_authority(Key::sm2(7));
    let token = token(&signer, &Info::of(HashAlgorithm::Sm3));
    assert_judged(&judge(&signer, &response(2, None)), Verdict::Unsigned, &["timestamp_refused"]);
    for whole in [response(0, None), response(2, Some(&token)), b"".to_vec(), b"hello".to_vec()] {
        let report = judge(&signer, &whole);
        assert_judged(&report, Verdict::Invalid, &["malformed"]);
    }
}

#[test]
fn a_signature_over_something_else_is_not_a_timestamp_and_two_signers_are_one_too_many() {
    let signer = good_authority(Key::sm2(7));
    let cms = Pieces::of(&signer).build(&signer);
    assert_judged(&judge(&signer, &cms), Verdict::Invalid, &["not_a_timestamp"]);
    let info = Info::of(HashAlgorithm::Sm3).der();
    let two = Pieces { copies: 2, ..pieces(&signer, &info) }.build(&signer);
    assert_judged(&judge(&signer, &two), Verdict::Invalid, &["several_signers"]);
}

#[test]
fn no_changed_byte_leaves_a_token_valid() {
    let signer = good_authority(Key::sm2(7));
    let good = response(0, Some(&token(&signer, &Info::of(HashAlgorithm::Sm3))));
    for position in 0..good.len() {
        let mut altered = good.clone();
        altered[position] ^= 1 << (position % 8);
        let verdict = judge(&signer, &altered).judgement.verdict;
        // Nobody signed the status, where 1 is granted too, and the version, where 5 is known too.
        let unsigned = altered[..10] != good[..10] || good[position - 2..=position] == [0x02, 0x01, 0x01];
        assert!(verdict != Verdict::Valid || unsigned, "byte {position}");
    }
}

#[test]
fn a_signatures_timestamp_is_reported_with_the_signature_it_is_over() {
    let tsa = good_authority(Key::sm2(9));
    let key = Key::sm2(7);
    let certificate = tsa.root.issue(&Plan { serial: 5, ..Plan::leaf("CN=Signer") }, &key);
    let tsa_der = tsa.certificate.der().to_vec();
    let signer = Signer { root: Plan::authority("CN=Root").root(Key::sm2(1)), key, certificate };
    for (over, verdict) in [(None, Verdict::Valid), (Some(b"another signature"), Verdict::Invalid)] {
        let stamp = {
            let (scheme, certificate) = (tsa.key.scheme(), tsa.certificate.clone());
            assert_eq!(scheme, SignatureScheme::Sm2Sm3);
            let tsa =
                Signer { root: Plan::authority("CN=Root").root(Key::sm2(1)), key: Key::sm2(9), certificate };
            move |signature: &[u8]| {
                let digest = HashAlgorithm::Sm3.digest(over.map_or(signature, |other| &other[..]));
                let info = Info { digest, ..Info::of(HashAlgorithm::Sm3) };
                attribute(oid::SIGNATURE_TIMESTAMP, &[token(&tsa, &info)])
            }
        };
        let mut pieces = Pieces::of(&signer);
        pieces.certificates.push(tsa_der.clone());
        pieces.unsigned.push(Box::new(stamp));
        let report = signer.judge(&pieces.build(&signer), None);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
        let [timestamp] = &report.signers[0].timestamps[..] else { panic!("{report:?}") };
        assert_eq!(timestamp.judgement.verdict, verdict, "{timestamp:?}");
        assert_eq!(report.judgement.has("timestamp_invalid"), verdict == Verdict::Invalid);
    }
}
