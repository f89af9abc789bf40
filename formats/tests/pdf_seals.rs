//! PDFs with seal signatures (GB/T 38540, GM/T 0031) in place of a CMS.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;
use crate::pki;
use crate::sealing;
use crate::signed;

use formats::Verdict;
use formats::pdf::{PdfReport, PdfSignatureKind};
use pdf::{Maker, ROOT, base, fill, placeholder};
use pki::NOW;
use sealing::Site;
use signed::judge_at;

const FORM: &str = "/SubFilter /GM.sm2seal";

/// A document sealed by `site` over what `content` makes of the covered octets.
fn sealed(site: &Site, content: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let prepared = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], FORM, "").table(ROOT);
    fill(prepared, |covered| site.sign(site.plan(site.seal(), &content(covered))))
}

fn judge(site: &Site, document: &[u8]) -> PdfReport {
    judge_at(document, &site.trust(), NOW)
}

#[test]
fn a_sealed_document_is_valid_and_says_whose_seal_it_has() {
    let site = Site::sm2();
    let document = sealed(&site, <[u8]>::to_vec);
    let report = judge(&site, &document);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    let [signature] = &report.signatures[..] else { panic!("{report:#?}") };
    assert_eq!(signature.kind, PdfSignatureKind::Seal);
    assert_eq!(signature.seal.as_ref().unwrap().name, "测试市场监督管理局");
    assert_eq!(signature.signers[0].subject.as_deref(), Some("CN=Signer"));
    assert!(signature.coverage.unwrap().whole_document);
}

#[test]
fn a_seal_over_something_else_of_strangers_or_before_a_change_is_not() {
    let site = Site::sm2();
    let other = judge(&site, &sealed(&site, |_| b"something else".to_vec()));
    assert!(other.judgement.has("digest_mismatch"), "{other:#?}");
    let document = sealed(&site, <[u8]>::to_vec);
    let strangers = judge_at(&document, &formats::TrustStore::default(), NOW);
    assert_eq!(strangers.judgement.verdict, Verdict::Indeterminate, "{strangers:#?}");
    let changed = Maker::update(&document).stream(4, "", b"BT (Evil) Tj ET").table(ROOT);
    assert!(judge(&site, &changed).judgement.has("content_changed"));
    let prepared = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], FORM, "").table(ROOT);
    let nonsense = judge(&site, &fill(prepared, |_| vec![0x30, 0x00]));
    assert_eq!(nonsense.judgement.verdict, Verdict::Invalid, "{nonsense:#?}");
}
