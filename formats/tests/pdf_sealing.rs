//! Electronic seals (GB/T 38540) set in PDFs of other makers, and what may be wrong with them: each is found by name.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;
use crate::sealing;
use crate::signed_pdf;

use formats::pdf::sign::{
    FieldPlan, Look, PdfSealError, SEAL_ROOM, Sealing, SignError, SignaturePlan, SubFilter, prepare,
};
use formats::pdf::{Limits, PdfInput, PdfReport, PdfSignatureKind, verify};
use formats::scheme::HashAlgorithm;
use formats::seal::{Seal, SealSignature};
use formats::{FormatError, TrustStore, Verdict};
use pki::{Key, NOW, Plan, SIGNER_ID};
use sealing::{SIGNED_AT, Site, token};
use signed_pdf::{Folder, at, sample};
use time::macros::datetime;

/// An SM2 seal seen on the first page.
fn plan() -> SignaturePlan {
    SignaturePlan {
        look: Some(Look::of_picture(signed_pdf::seal())),
        field: FieldPlan::New { name: None, places: vec![at(20.0, 20.0, 42.0, 42.0)] },
        time: Some(SIGNED_AT),
        ..SignaturePlan::new(SubFilter::Sm2Seal, HashAlgorithm::Sm3)
    }
}

fn by(site: &Site, seal: Seal) -> Sealing {
    Sealing { seal, signer: site.signer.clone(), signed_at: SIGNED_AT, signer_id: SIGNER_ID.to_vec() }
}

/// The document sealed, and the signature value in the seal signature.
fn sealed_with(site: &Site, document: &[u8], sealing: Sealing) -> (Vec<u8>, Vec<u8>) {
    let prepared = prepare(document, &plan()).unwrap().seal(sealing).unwrap();
    let signature = site.key.sign(prepared.to_be_signed());
    let update = prepared.finish(&signature, None).unwrap();
    ([document, &update].concat(), signature)
}

fn sealed(site: &Site, document: &[u8]) -> Vec<u8> {
    sealed_with(site, document, by(site, site.seal())).0
}

fn judge(trust: &TrustStore, pdf: &[u8]) -> PdfReport {
    verify(&PdfInput { pdf, limits: Limits::default(), signer_id: SIGNER_ID, trust, at: NOW })
}

/// Judged by the site's own root: invalid for this reason.
#[track_caller]
fn found(site: &Site, pdf: &[u8], code: &str) {
    let report = judge(&site.trust(), pdf);
    assert_eq!(report.judgement.verdict, Verdict::Invalid, "{code}: {:?}", report.judgement);
    assert!(report.judgement.has(code), "{code}: {:?}", report.judgement);
}

fn patched(octets: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = octets.windows(from.len()).position(|window| window == from).unwrap();
    [&octets[..place], to, &octets[place + from.len()..]].concat()
}

#[test]
fn documents_of_other_makers_are_sealed_and_say_by_whom() {
    let site = Site::sm2();
    let folder = Folder(tempfile::tempdir().unwrap());
    for name in ["reportlab", "libreoffice", "qpdf-xref-stream", "hybrid", "pypdf-rotated"] {
        let document = sample(name);
        let once = sealed(&site, &document);
        assert!(once.starts_with(&document) && once.len() > document.len() + 2 * SEAL_ROOM, "{name}");
        let twice = sealed(&site, &once);
        let report = judge(&site.trust(), &twice);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{name}: {report:#?}");
        let [first, second] = &report.signatures[..] else { panic!("{name}: {report:#?}") };
        for one in [first, second] {
            assert_eq!((one.kind, one.sub_filter.as_str()), (PdfSignatureKind::Seal, "GM.sm2seal"));
            assert_eq!(one.seal.as_ref().unwrap().name, "测试市场监督管理局");
            assert_eq!(one.seal.as_ref().unwrap().maker.as_deref(), Some("CN=Seal maker"));
            assert_eq!(one.signers[0].subject.as_deref(), Some("CN=Signer"));
            assert_eq!(one.signers[0].signing_time, Some(SIGNED_AT));
        }
        assert!(!first.coverage.unwrap().whole_document && second.coverage.unwrap().whole_document);
        assert!(first.changes.iter().all(|change| change.permitted && change.code == "signature_added"));
        let file = format!("{name}.pdf");
        folder.write(&file, &twice);
        folder.assert_sound(&file);
        assert!(folder.dots(&file, 1, 30).red().is_some(), "{name}: the seal is not seen");
    }
}

#[test]
fn what_is_signed_says_which_octets_it_protects() {
    let site = Site::sm2();
    let document = sample("reportlab");
    let octets = sealed(&site, &document);
    let start = octets.windows(11).rposition(|window| window == b"/Contents <").unwrap() + 10;
    let end = start + 2 * SEAL_ROOM + 2;
    assert_eq!(octets[end - 1], b'>');
    let contents = hex::decode(&octets[start + 1..end - 1]).unwrap();
    let length = 4 + usize::from(u16::from_be_bytes([contents[2], contents[3]]));
    let signature = SealSignature::from_der(&contents[..length]).unwrap();
    let range = format!("/ByteRange [0 {start} {end} {}]", octets.len() - end);
    assert_eq!(signature.property_info(), range);
    // The update says the same, with blanks behind its numbers.
    let text = String::from_utf8_lossy(&octets[document.len()..start]).into_owned();
    let words = text[text.find("/ByteRange").unwrap()..].split(']').next().unwrap();
    assert_eq!(words.split_whitespace().collect::<Vec<_>>().join(" ") + "]", range);
}

#[test]
fn a_seal_that_is_forged_expired_or_not_the_signers_to_use() {
    let site = Site::sm2();
    let document = sample("reportlab");
    let with = |sealing| sealed_with(&site, &document, sealing).0;

    let forged = Seal::from_der(&patched(site.seal().der(), b"TEST", b"REAL")).unwrap();
    found(&site, &with(by(&site, forged)), "seal_forged");

    let other = site.root.issue(&Plan { serial: 33, ..Plan::leaf("CN=Other") }, &site.key);
    found(&site, &with(Sealing { signer: other, ..by(&site, site.seal()) }), "signer_not_in_seal");

    let mut plan = site.seal_plan();
    plan.valid_until = datetime!(2026-05-25 0:00 UTC);
    let expired = site.make(plan);
    found(&site, &with(by(&site, expired.clone())), "seal_expired");
    let late = Sealing { signed_at: datetime!(2026-05-26 0:00 UTC), ..by(&site, expired) };
    found(&site, &with(late), "signed_outside_seal_validity");
    let ahead = Sealing { signed_at: NOW + time::Duration::hours(1), ..by(&site, site.seal()) };
    found(&site, &with(ahead), "signing_time_in_future");

    let strangers = judge(&TrustStore::default(), &sealed(&site, &document));
    assert_eq!(strangers.judgement.verdict, Verdict::Indeterminate, "{:?}", strangers.judgement);
}

#[test]
fn a_document_that_changed_or_a_signature_that_was_made_elsewhere() {
    let site = Site::sm2();
    let document = sample("reportlab");
    let (octets, signature) = sealed_with(&site, &document, by(&site, site.seal()));
    assert_eq!(judge(&site.trust(), &octets).judgement.verdict, Verdict::Valid);
    found(&site, &patched(&octets, b"%PDF-1.3", b"%PDF-1.4"), "digest_mismatch");

    let digits = hex::encode(&signature).into_bytes();
    let mut others = digits.clone();
    others[40] = if others[40] == b'0' { b'1' } else { b'0' };
    found(&site, &patched(&octets, &digits, &others), "signature_invalid");

    // The seal signature of one document in another of the same length.
    let sibling = patched(&document, b"%PDF-1.3", b"%PDF-1.4");
    let room = 2 * SEAL_ROOM;
    let gap = |octets: &[u8]| octets.windows(11).rposition(|window| window == b"/Contents <").unwrap() + 11;
    let (from, mut to) = (gap(&octets), sealed(&site, &sibling));
    let into = gap(&to);
    to[into..into + room].copy_from_slice(&octets[from..from + room]);
    found(&site, &to, "digest_mismatch");
}

#[test]
fn a_timestamp_proves_that_an_expired_seal_was_set_in_its_time() {
    let site = Site::sm2();
    let document = sample("reportlab");
    let mut expired = site.seal_plan();
    expired.valid_until = datetime!(2026-05-25 0:00 UTC);
    let expired = site.make(expired);
    let prepared = || prepare(&document, &plan()).unwrap().seal(by(&site, expired.clone())).unwrap();
    let stamped = |time: &str| {
        let prepared = prepared();
        let signature = site.key.sign(prepared.to_be_signed());
        let token = token(&site, &signature, time);
        [&*document, &prepared.finish(&signature, Some(&token)).unwrap()].concat()
    };
    let report = judge(&site.trust(), &stamped("20260521000000Z"));
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    assert_eq!(report.signatures[0].proven_at, Some(datetime!(2026-05-21 0:00 UTC)));
    found(&site, &stamped("20260526000000Z"), "seal_expired");
}

#[test]
fn a_seal_and_a_p256_signature_stand_in_one_document_in_either_order() {
    let (site, foreign) = (Site::sm2(), signed_pdf::Site::with(Key::p256()));
    let folder = Folder::with(&foreign);
    let roots = vec![site.root.certificate.clone(), foreign.root.certificate.clone()];
    let trust = TrustStore::new(roots, Vec::new(), Vec::new());
    let document = sample("reportlab");
    let cades = |document: &[u8]| foreign.sign(document, &foreign.plan());
    for (name, octets, kinds) in [
        (
            "seal-first.pdf",
            cades(&sealed(&site, &document)),
            [PdfSignatureKind::Seal, PdfSignatureKind::Signature],
        ),
        (
            "seal-last.pdf",
            sealed(&site, &cades(&document)),
            [PdfSignatureKind::Signature, PdfSignatureKind::Seal],
        ),
    ] {
        let report = judge(&trust, &octets);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{name}: {report:#?}");
        let found: Vec<_> = report.signatures.iter().map(|one| one.kind).collect();
        assert_eq!(found, kinds, "{name}");
        let [first, second] = &report.signatures[..] else { panic!("{name}: {report:#?}") };
        assert!(!first.changes.is_empty() && first.changes.iter().all(|change| change.permitted), "{name}");
        assert!(second.coverage.unwrap().whole_document, "{name}");
        folder.write(name, &octets);
        folder.assert_sound(name);
        // Readers from abroad judge the one that they know, whichever came first.
        let said = folder.pdfsig(name);
        assert!(said.contains("Signature Type: ETSI.CAdES.detached"), "{name}: {said}");
        assert_eq!(said.matches("Signature is Valid").count(), 1, "{name}: {said}");
        // Who trusts the one root alone decides the one signature alone.
        let half = judge(&site.trust(), &octets);
        assert_eq!(half.judgement.verdict, Verdict::Indeterminate, "{name}");
        for one in &half.signatures {
            let expected = match one.kind {
                PdfSignatureKind::Seal => Verdict::Valid,
                _ => Verdict::Indeterminate,
            };
            assert_eq!(one.judgement.verdict, expected, "{name}: {one:#?}");
        }
        // Neither survives a change of what both are over.
        let changed = judge(&trust, &patched(&octets, b"%PDF-1.3", b"%PDF-1.4"));
        assert!(changed.signatures.iter().all(|one| one.judgement.has("digest_mismatch")), "{name}");
    }
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let site = Site::sm2();
    let document = sample("reportlab");
    let refused = |plan: &SignaturePlan| prepare(&document, plan).unwrap_err().code();
    assert_eq!(refused(&SignaturePlan { hash: HashAlgorithm::Sha256, ..plan() }), "plan");

    let cms = prepare(&document, &SignaturePlan { sub_filter: SubFilter::Pkcs7, ..plan() }).unwrap();
    let error = cms.seal(by(&site, site.seal())).unwrap_err();
    assert!(matches!(error, PdfSealError::Document(SignError::Plan(_))), "{error:?}");

    let prepared = || prepare(&document, &plan()).unwrap();
    let p256 = site.root.issue(&Plan { serial: 34, ..Plan::leaf("CN=P-256") }, &Key::p256());
    let error = prepared().seal(Sealing { signer: p256, ..by(&site, site.seal()) }).unwrap_err();
    assert!(matches!(error, PdfSealError::Seal(FormatError::AlgorithmMismatch { .. })), "{error:?}");

    let pending = prepared().seal(by(&site, site.seal())).unwrap();
    let signature = Key::sm2(77).sign(pending.to_be_signed());
    let error = pending.finish(&signature, None).unwrap_err();
    assert_eq!(error, PdfSealError::Seal(FormatError::SignatureInvalid));

    // A seal whose picture alone fills the room.
    let mut large = site.seal_plan();
    large.picture.octets = vec![7; SEAL_ROOM];
    let pending = prepared().seal(by(&site, site.make(large))).unwrap();
    let signature = site.key.sign(pending.to_be_signed());
    let error = pending.finish(&signature, None).unwrap_err();
    assert!(matches!(error, PdfSealError::Document(SignError::Room { room: SEAL_ROOM, .. })), "{error:?}");
}
