//! No bytes from outside make any parser panic.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use formats::chain::{TrustStore, Usage, validate};
use formats::cms::{Content, VerifyInput, verify};
use formats::{Certificate, Crl, PublicKey, Verdict};
use pki::{CrlPlan, Key, NOW, Plan, SIGNER_ID};
use proptest::prelude::*;

fn feed(bytes: &[u8]) {
    let _ = PublicKey::from_spki_der(bytes);
    let _ = Crl::from_der(bytes);
    if let Ok(certificate) = Certificate::from_der(bytes) {
        let _ = (certificate.subject(), certificate.serial_hex(), certificate.not_after());
        let trust = TrustStore::new(vec![certificate.clone()], vec![certificate.clone()], vec![]);
        for usage in [Usage::DocumentSigning, Usage::License] {
            let _ = validate(&certificate, &[], &trust, usage, NOW);
        }
    }
    let trust = TrustStore::default();
    for content in [None, Some(Content::Digest([0; 32]))] {
        let report =
            verify(VerifyInput { cms: bytes, content, signer_id: SIGNER_ID, trust: &trust, at: NOW });
        assert_ne!(report.judgement.verdict, Verdict::Valid);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = PublicKey::from_pem(&text);
    let _ = Certificate::many_from_pem(&text);
    let _ = Crl::many_from_pem(&text);
}

/// Good input of every kind, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let root = Plan::authority("CN=Root").root(Key::sm2(1));
    let leaf = root.issue(&Plan::leaf("CN=Leaf"), &Key::p256());
    vec![
        Key::rsa().spki(),
        Key::sm2(1).spki(),
        root.certificate.der().to_vec(),
        leaf.der().to_vec(),
        root.crl(&CrlPlan::fresh()).der().to_vec(),
        leaf.to_pem().into_bytes(),
    ]
}

#[test]
fn cut_input_never_panics() {
    for sample in samples() {
        (0..sample.len()).for_each(|end| feed(&sample[..end]));
    }
}

#[test]
fn lengths_that_promise_gigabytes_cost_nothing() {
    for promise in [&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &[0x30, 0x83, 0xff, 0xff, 0xff, 0x06]] {
        feed(promise);
    }
    feed(&[0x30, 0x80].repeat(100_000));
    feed(&[0x31, 0x7f].repeat(100_000));
}

proptest! {
    #[test]
    fn arbitrary_input_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    #[test]
    fn damaged_input_never_panics(
        sample in 0usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = samples().swap_remove(sample);
        for (position, value) in damage {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        feed(&bytes);
    }
}
