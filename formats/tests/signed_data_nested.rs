//! Counter-signatures, attributes and what protects them.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pieces;
use crate::pki;

use const_oid::ObjectIdentifier;
use der::{Encode, TagNumber};
use formats::cms::{MAX_NESTED, SignedDataReport};
use formats::scheme::SignatureScheme;
use formats::{Verdict, oid};
use pieces::{Pieces, Signer, algorithm, attribute, context, element, octets, sequence};
use pki::{Key, Plan, codes};

/// A counter-signature by `key` over a signature.
fn counter(
    signer: &Signer,
    serial: u32,
    key: Key,
    spoil: bool,
) -> (Vec<u8>, impl Fn(&[u8]) -> Vec<u8> + 'static) {
    let certificate = signer.root.issue(&Plan { serial, ..Plan::leaf("CN=Counter") }, &key);
    let tbs = &certificate.inner().tbs_certificate;
    let identifier = sequence(&[tbs.issuer.to_der().unwrap(), tbs.serial_number.to_der().unwrap()]);
    let make = move |signature: &[u8]| {
        let digest = SignatureScheme::Sm2Sm3.hash().digest(signature);
        let attributes = vec![attribute(oid::MESSAGE_DIGEST, &[octets(&digest)])];
        let mut signed = key.sign(&element(der::Tag::Set, &attributes));
        if spoil {
            *signed.last_mut().unwrap() ^= 1;
        }
        let info = sequence(&[
            1u8.to_der().unwrap(),
            identifier.clone(),
            algorithm(oid::SM3),
            context(TagNumber::N0, &attributes),
            algorithm(oid::SM2_WITH_SM3),
            octets(&signed),
        ]);
        attribute(oid::COUNTER_SIGNATURE, &[info])
    };
    (certificate.der().to_vec(), make)
}

fn countersigned(spoil: bool) -> (Signer, SignedDataReport) {
    let signer = Signer::sm2();
    let (certificate, make) = counter(&signer, 99, Key::sm2(9), spoil);
    let mut pieces = Pieces::of(&signer);
    pieces.certificates.push(certificate);
    pieces.unsigned.push(Box::new(make));
    let report = signer.judge(&pieces.build(&signer), None);
    (signer, report)
}

#[test]
fn a_counter_signature_is_judged_and_reported_beside_the_signer() {
    let (_, report) = countersigned(false);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    let [counter] = &report.signers[0].counter_signatures[..] else { panic!("{report:?}") };
    assert_eq!(counter.judgement.verdict, Verdict::Valid, "{report:?}");
    assert!(counter.checked);
    assert_eq!(counter.subject.as_deref(), Some("CN=Counter"));
    let names: Vec<_> = report.signers[0].attributes.iter().map(|found| (found.name, found.signed)).collect();
    assert_eq!(
        names,
        [(Some("contentType"), true), (Some("messageDigest"), true), (Some("counterSignature"), false)]
    );
}

#[test]
fn a_bad_counter_signature_is_a_note_on_a_signature_that_stays_valid() {
    let (_, report) = countersigned(true);
    assert_eq!(report.judgement.verdict, Verdict::Valid);
    assert!(report.judgement.has("counter_signature_invalid"), "{report:?}");
    let counter = &report.signers[0].counter_signatures[0];
    assert_eq!(codes(&counter.judgement)[0], "signature_invalid");
    assert!(!counter.checked);
}

#[test]
fn a_counter_signature_over_another_signature_is_invalid() {
    let signer = Signer::sm2();
    let (certificate, make) = counter(&signer, 99, Key::sm2(9), false);
    let mut pieces = Pieces::of(&signer);
    pieces.certificates.push(certificate);
    pieces.unsigned.push(Box::new(move |_| make(b"another signature")));
    let report = signer.judge(&pieces.build(&signer), None);
    let counter = &report.signers[0].counter_signatures[0];
    assert!(counter.judgement.has("digest_mismatch"), "{report:?}");
    assert_eq!(report.judgement.verdict, Verdict::Valid);
}

#[test]
fn only_so_many_counter_signatures_are_judged_and_the_rest_is_said_to_be_left_out() {
    let signer = Signer::sm2();
    let mut pieces = Pieces::of(&signer);
    for serial in 0..MAX_NESTED as u32 + 2 {
        let (_, make) = counter(&signer, 100 + serial, Key::sm2(9), false);
        pieces.unsigned.push(Box::new(make));
    }
    let report = signer.judge(&pieces.build(&signer), None);
    assert_eq!(report.signers[0].counter_signatures.len(), MAX_NESTED);
    assert!(report.judgement.has("counter_signatures_not_judged"), "{report:?}");
}

#[test]
fn nonsense_in_unsigned_attributes_keeps_nothing_from_being_judged() {
    let signer = Signer::sm2();
    let nonsense: [(&[u8], &str); 3] = [
        (&[0x05, 0x00], "unsigned_attributes_unreadable"),
        (&[0x30, 0x00], "unsigned_attributes_unreadable"),
        (&attribute(oid::COUNTER_SIGNATURE, &[vec![0x05, 0x00]]), "counter_signature_invalid"),
    ];
    for (attribute, code) in nonsense {
        let attribute = attribute.to_vec();
        let mut pieces = Pieces::of(&signer);
        pieces.unsigned.push(Box::new(move |_| attribute.clone()));
        let report = signer.judge(&pieces.build(&signer), None);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
        assert!(report.judgement.has(code), "{report:?}");
    }
}

#[test]
fn protected_algorithms_must_be_those_of_the_signer() {
    let signer = Signer::sm2();
    let judged = |digest: ObjectIdentifier, signature: ObjectIdentifier| {
        let mut implicit = algorithm(signature);
        implicit[0] = 0xa1;
        let protection = sequence(&[algorithm(digest), implicit]);
        let mut pieces = Pieces::of(&signer);
        pieces.attributes.as_mut().unwrap().push(attribute(oid::CMS_ALGORITHM_PROTECTION, &[protection]));
        signer.judge(&pieces.build(&signer), None).judgement
    };
    assert_eq!(judged(oid::SM3, oid::SM2_WITH_SM3).verdict, Verdict::Valid);
    for (digest, signature) in [(oid::SHA256, oid::SM2_WITH_SM3), (oid::SM3, oid::ECDSA_WITH_SHA256)] {
        let judgement = judged(digest, signature);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(judgement.has("algorithm_protection_mismatch"), "{judgement:?}");
    }
}
