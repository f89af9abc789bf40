//! SignedData as others make it, good and bad, put together here octet by octet.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pieces;
use crate::pki;

use const_oid::ObjectIdentifier;
use der::{Encode, Tag};
use formats::cms::{Content, SignedDataReport, VerifyInput, verify};
use formats::scheme::SignatureScheme;
use formats::{TrustStore, Verdict, oid};
use pieces::{CONTENT, Pieces, Signer, algorithm, attribute, element, octets, sequence};
use pki::{Key, NOW, SIGNER_ID, codes};

#[track_caller]
fn assert_judged(report: &SignedDataReport, verdict: Verdict, expected: &[&str]) {
    let found: Vec<_> =
        codes(&report.judgement).into_iter().filter(|code| *code != "revocation_not_checked").collect();
    assert_eq!((report.judgement.verdict, found), (verdict, expected.to_vec()), "{report:?}");
}

#[track_caller]
fn assert_verdict(signer: &Signer, pieces: Pieces, verdict: Verdict, expected: &[&str]) {
    let cms = pieces.build(signer);
    assert_judged(&signer.judge(&cms, None), verdict, expected);
}

#[test]
fn algorithm_identifiers_are_taken_as_products_write_them() {
    let signer = Signer::sm2();
    for digest_algorithm in [oid::SM3, oid::SM3_PLAIN, oid::SM2_WITH_SM3] {
        for signature_algorithm in [oid::SM2_SIGN, oid::SM2_WITH_SM3, oid::EC_PUBLIC_KEY] {
            for (signed_data, inner) in
                [(oid::CMS_SIGNED_DATA, oid::CMS_DATA), (oid::GM_SIGNED_DATA, oid::GM_DATA)]
            {
                let mut pieces = Pieces { digest_algorithm, signature_algorithm, ..Pieces::of(&signer) };
                pieces.signed_data = signed_data;
                pieces.content_type = inner;
                let attributes = pieces.attributes.as_mut().unwrap();
                attributes[0] = attribute(oid::CONTENT_TYPE, &[inner.to_der().unwrap()]);
                assert_verdict(&signer, pieces, Verdict::Valid, &[]);
            }
        }
    }
}

#[test]
fn a_signature_straight_over_the_content_verifies() {
    for key in [Key::sm2(7), Key::p256(), Key::p384(), Key::rsa()] {
        let signer = Signer::with(key);
        let report = signer.judge(&Pieces { attributes: None, ..Pieces::of(&signer) }.build(&signer), None);
        assert_judged(&report, Verdict::Valid, &[]);
        assert_eq!(report.content.as_deref(), Some(CONTENT));
        let detached = || Pieces { attributes: None, content: None, ..Pieces::of(&signer) }.build(&signer);
        let given = |content| signer.judge(&detached(), Some(content));
        assert_judged(&given(Content::Bytes(CONTENT.to_vec())), Verdict::Valid, &[]);
        assert_judged(&given(Content::Bytes(b"other".to_vec())), Verdict::Invalid, &["signature_invalid"]);
        assert_judged(&signer.judge(&detached(), None), Verdict::Indeterminate, &["content_absent"]);
    }
}

#[test]
fn without_attributes_a_digest_serves_for_all_but_sm2() {
    let detached =
        |signer: &Signer| Pieces { attributes: None, content: None, ..Pieces::of(signer) }.build(signer);
    let digest = |signer: &Signer| signer.key.scheme().hash().digest(CONTENT).try_into().unwrap();
    for key in [Key::p256(), Key::rsa()] {
        let signer = Signer::with(key);
        let report = signer.judge(&detached(&signer), Some(Content::Digest(digest(&signer))));
        assert_judged(&report, Verdict::Valid, &[]);
        let report = signer.judge(&detached(&signer), Some(Content::Digest([1; 32])));
        assert_judged(&report, Verdict::Invalid, &["signature_invalid"]);
    }
    let signer = Signer::sm2();
    let report = signer.judge(&detached(&signer), Some(Content::Digest(digest(&signer))));
    assert_judged(&report, Verdict::Indeterminate, &["content_absent"]);
}

#[test]
fn a_p384_signer_verifies_though_callers_cannot_ask_for_one() {
    let signer = Signer::with(Key::p384());
    let report = signer.judge(&Pieces::of(&signer).build(&signer), None);
    assert_judged(&report, Verdict::Valid, &[]);
    assert_eq!(report.signers[0].algorithm, None);
    let cms = Pieces { content: None, ..Pieces::of(&signer) }.build(&signer);
    let report = signer.judge(&cms, Some(Content::Digest([1; 32])));
    assert_judged(&report, Verdict::Indeterminate, &["content_absent"]);
}

#[test]
fn the_signer_is_found_by_key_identifier_and_in_the_trust_store() {
    let signer = Signer::sm2();
    let pieces = || Pieces { identifier: signer.by_key_identifier(), ..Pieces::of(&signer) };
    assert_verdict(&signer, pieces(), Verdict::Valid, &[]);

    let cms = Pieces { certificates: vec![], ..pieces() }.build(&signer);
    let report = signer.judge(&cms, None);
    assert_judged(&report, Verdict::Indeterminate, &["signer_certificate_absent"]);
    assert_eq!((report.content, report.signers[0].serial.clone()), (None, None));

    let anchors = vec![signer.root.certificate.clone()];
    let trust = TrustStore::new(anchors, vec![signer.certificate.clone()], Vec::new());
    let report =
        verify(VerifyInput { cms: &cms, content: None, signer_id: SIGNER_ID, trust: &trust, at: NOW });
    assert_judged(&report, Verdict::Valid, &[]);
}

#[test]
fn attributes_in_another_order_than_that_of_der_verify() {
    let signer = Signer::sm2();
    let mut pieces = Pieces::of(&signer);
    let attributes = pieces.attributes.as_mut().unwrap();
    attributes.sort();
    attributes.reverse();
    assert_verdict(&signer, pieces, Verdict::Valid, &[]);
}

#[test]
fn each_attribute_is_there_once_with_one_value() {
    let signer = Signer::sm2();
    let of = |attributes| Pieces { attributes: Some(attributes), ..Pieces::of(&signer) };
    let good = Pieces::of(&signer).attributes.unwrap();
    let content_type = good[0].clone();
    let digest = good[1].clone();
    let other = octets(&[1; 32]);
    for attributes in [
        vec![content_type.clone()],
        vec![digest.clone()],
        vec![],
        vec![content_type.clone(), digest.clone(), digest.clone()],
        vec![
            content_type.clone(),
            digest.clone(),
            attribute(oid::MESSAGE_DIGEST, std::slice::from_ref(&other)),
        ],
        vec![content_type.clone(), attribute(oid::MESSAGE_DIGEST, &[other.clone(), other.clone()])],
        vec![content_type.clone(), attribute(oid::MESSAGE_DIGEST, &[])],
        vec![content_type.clone(), attribute(oid::MESSAGE_DIGEST, &[vec![5, 0]])],
        vec![content_type, digest, attribute(oid::SIGNING_TIME, &[other])],
    ] {
        assert_verdict(&signer, of(attributes), Verdict::Invalid, &["malformed"]);
    }
}

#[test]
fn what_the_attributes_say_must_be_true() {
    let signer = Signer::sm2();
    // In place of the attribute at `index`, or after the last.
    let with = |index: usize, attribute: Vec<u8>| {
        let mut pieces = Pieces::of(&signer);
        let attributes = pieces.attributes.as_mut().unwrap();
        attributes.splice(index..attributes.len().min(index + 1), [attribute]);
        pieces
    };
    let other_type = attribute(oid::CONTENT_TYPE, &[oid::CMS_DATA.to_der().unwrap()]);
    assert_verdict(&signer, with(0, other_type), Verdict::Invalid, &["content_type_mismatch"]);

    let other_digest = attribute(oid::MESSAGE_DIGEST, &[octets(&[1; 32])]);
    assert_verdict(&signer, with(1, other_digest), Verdict::Invalid, &["digest_mismatch"]);

    let names = |certificate: &[u8]| {
        let hash = octets(&SignatureScheme::Sm2Sm3.hash().digest(certificate));
        let identifier = sequence(&[algorithm(oid::SM3), hash]);
        attribute(oid::SIGNING_CERTIFICATE_V2, &[sequence(&[sequence(&[identifier])])])
    };
    assert_verdict(&signer, with(2, names(signer.certificate.der())), Verdict::Valid, &[]);
    let other = with(2, names(signer.root.certificate.der()));
    assert_verdict(&signer, other, Verdict::Invalid, &["signing_certificate_mismatch"]);
}

#[test]
fn hash_and_key_must_go_with_the_signature_algorithm() {
    let signer = Signer::with(Key::rsa());
    let mixed = Pieces { signature_algorithm: oid::SHA512_WITH_RSA, ..Pieces::of(&signer) };
    assert_verdict(&signer, mixed, Verdict::Invalid, &["algorithm_mismatch"]);
    let other_key = Pieces { signature_algorithm: oid::ECDSA_WITH_SHA256, ..Pieces::of(&signer) };
    assert_verdict(&signer, other_key, Verdict::Invalid, &["algorithm_mismatch"]);
    let sha1 =
        Pieces { digest_algorithm: ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), ..Pieces::of(&signer) };
    assert_verdict(&signer, sha1, Verdict::Indeterminate, &["unsupported_algorithm"]);
}

#[test]
fn signed_attributes_cannot_be_passed_off_as_content() {
    let signer = Signer::sm2();
    let attributes = Pieces::of(&signer).attributes.unwrap();
    let as_content = element(Tag::Set, &attributes);
    let pieces = Pieces { attributes: None, content: Some(as_content), ..Pieces::of(&signer) };
    assert_verdict(&signer, pieces, Verdict::Invalid, &["ambiguous_content"]);
}

#[test]
fn other_content_than_data_needs_signed_attributes() {
    let signer = Signer::sm2();
    let timestamp_info = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
    let pieces = Pieces { attributes: None, content_type: timestamp_info, ..Pieces::of(&signer) };
    assert_verdict(&signer, pieces, Verdict::Invalid, &["signed_attributes_absent"]);
}

#[test]
fn several_signers_are_judged_each_and_all_must_hold() {
    let signer = Signer::sm2();
    let report = signer.judge(&Pieces { copies: 3, ..Pieces::of(&signer) }.build(&signer), None);
    assert_judged(&report, Verdict::Valid, &[]);
    assert_eq!(report.signers.len(), 3);

    let mut cms = Pieces { copies: 2, ..Pieces::of(&signer) }.build(&signer);
    // The last octet belongs to the second signer's s.
    *cms.last_mut().unwrap() ^= 1;
    let report = signer.judge(&cms, None);
    assert_judged(&report, Verdict::Invalid, &["signature_invalid"]);
    assert_eq!(report.signers[0].judgement.verdict, Verdict::Valid);
    assert_eq!(report.signers[1].judgement.verdict, Verdict::Invalid);
    assert_eq!(report.content, None);
}

#[test]
fn without_signers_there_is_nothing_to_judge() {
    let signer = Signer::sm2();
    assert_verdict(&signer, Pieces { copies: 0, ..Pieces::of(&signer) }, Verdict::Unsigned, &["no_signers"]);
}

#[test]
fn the_number_of_signers_and_certificates_is_bounded() {
    let signer = Signer::sm2();
    let certificates = |count| vec![signer.certificate.der().to_vec(); count];
    let most = Pieces { copies: 20, certificates: certificates(100), ..Pieces::of(&signer) };
    assert_verdict(&signer, most, Verdict::Valid, &[]);
    for too_many in [
        Pieces { copies: 21, ..Pieces::of(&signer) },
        Pieces { certificates: certificates(101), ..Pieces::of(&signer) },
    ] {
        assert_verdict(&signer, too_many, Verdict::Invalid, &["malformed"]);
    }
}

#[test]
fn the_certificate_is_judged_at_the_given_time() {
    let signer = Signer::sm2();
    let cms = Pieces::of(&signer).build(&signer);
    let trust = TrustStore::new(vec![signer.root.certificate.clone()], Vec::new(), Vec::new());
    let at = time::macros::datetime!(2040-01-01 0:00 UTC);
    let report = verify(VerifyInput { cms: &cms, content: None, signer_id: SIGNER_ID, trust: &trust, at });
    assert_judged(&report, Verdict::Invalid, &["expired", "expired"]);
    let nobody = TrustStore::default();
    let report =
        verify(VerifyInput { cms: &cms, content: None, signer_id: SIGNER_ID, trust: &nobody, at: NOW });
    assert_judged(&report, Verdict::Indeterminate, &["no_path"]);
    assert_eq!(report.content.as_deref(), Some(CONTENT));
}

#[test]
fn a_certificate_that_cannot_be_read_is_noted() {
    let signer = Signer::sm2();
    let mut pieces = Pieces::of(&signer);
    pieces.certificates.push(sequence(&[]));
    assert_verdict(&signer, pieces, Verdict::Valid, &["certificate_unreadable"]);
}

#[test]
fn malformed_input_is_an_answer() {
    let signer = Signer::sm2();
    let good = Pieces::of(&signer).build(&signer);
    let trailing = [&good[..], &[0]].concat();
    let other_type = Pieces { signed_data: oid::CMS_DATA, ..Pieces::of(&signer) }.build(&signer);
    for cms in [&[][..], b"hello", &good[..good.len() - 1], &trailing, &other_type, signer.certificate.der()]
    {
        let report = signer.judge(cms, None);
        assert_judged(&report, Verdict::Invalid, &["malformed"]);
        assert_eq!(report.family, None);
    }
}

#[test]
fn ber_is_read_as_the_der_of_the_same_values() {
    let signer = Signer::sm2();
    let good = Pieces::of(&signer).build(&signer);
    let indefinite = [&[0x30, 0x80], &good[4..], &[0, 0]].concat();
    let report = signer.judge(&indefinite, None);
    assert_judged(&report, Verdict::Valid, &["ber_encoding"]);
    assert_eq!(report.content.as_deref(), Some(CONTENT));
    let trailing = [&indefinite[..], &[0]].concat();
    let unended = &indefinite[..indefinite.len() - 1];
    for cms in [&trailing[..], unended] {
        assert_eq!(signer.judge(cms, None).judgement.verdict, Verdict::Invalid);
    }
}

#[test]
fn no_changed_byte_leaves_it_valid() {
    for key in [Key::sm2(7), Key::p256(), Key::rsa()] {
        let signer = Signer::with(key);
        let good = Pieces::of(&signer).build(&signer);
        assert_eq!(signer.judge(&good, None).judgement.verdict, Verdict::Valid);
        for position in 0..good.len() {
            let mut altered = good.clone();
            altered[position] ^= 1 << (position % 8);
            let report = signer.judge(&altered, None);
            assert_ne!(report.judgement.verdict, Verdict::Valid, "byte {position} of {}", good.len());
        }
    }
}
