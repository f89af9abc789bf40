//! Signed PDFs as other people's programs judge them: pyHanko, poppler, qpdf.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;
use crate::signed_pdf;

use formats::Verdict;
use formats::pdf::sign::{
    Certification, FieldPlan, SignaturePlan, SignatureValidation, SubFilter, add_validation_data, prepare,
};
use formats::scheme::HashAlgorithm;
use pki::Key;
use signed_pdf::{Folder, SAMPLES, Site, at, sample};

/// As they come pyHanko does not read them: the first free entry has generation 65536, and the table of the first revision
/// has numbers above its trailer's `Size`. Poppler, qpdf and we do.
const UNREAD: [&str; 2] = ["ghostscript-picture.pdf", "poppler-unite.pdf"];

#[test]
fn documents_of_all_makers_signed_twice_are_accepted_and_sound() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let mut files = Vec::new();
    for name in SAMPLES {
        let document = sample(name);
        let once = site.sign(&document, &site.sealed(vec![at(5.0, 5.0, 30.0, 30.0)]));
        let twice = site.sign(&once, &site.sealed(vec![at(45.0, 5.0, 30.0, 30.0)]));
        assert!(twice.starts_with(&once) && once.starts_with(&document), "{name}");
        let file = format!("{name}.pdf");
        folder.write(&file, &twice);
        folder.assert_sound(&file);
        files.push(file);
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let read: Vec<&str> = files.iter().copied().filter(|file| !UNREAD.contains(file)).collect();
    assert_eq!(read.len() + UNREAD.len(), files.len());
    let judged = folder.pyhanko(&read);
    assert_eq!(judged.len(), 2 * read.len());
    for (number, one) in judged.iter().enumerate() {
        assert_eq!(one["ok"], true, "{one}");
        let expected =
            if number % 2 == 0 { ("ENTIRE_REVISION", "FORM_FILLING") } else { ("ENTIRE_FILE", "NONE") };
        assert_eq!((one["coverage"].as_str().unwrap(), one["changes"].as_str().unwrap()), expected, "{one}");
    }
    for file in files {
        let report = site.judge(&std::fs::read(folder.path(file)).unwrap());
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{file}: {report:#?}");
        assert_eq!(report.signatures.len(), 2, "{file}");
        let said = folder.pdfsig(file);
        assert_eq!(said.matches("Signature is Valid").count(), 2, "{said}");
        assert_eq!(said.matches("Certificate is Trusted").count(), 2, "{said}");
        assert!(said.contains("ETSI.CAdES.detached") && said.contains("Total document signed"), "{said}");
    }
}

#[test]
fn every_level_of_pades_is_accepted_with_p256_and_rsa() {
    for key in [Key::p256(), Key::rsa()] {
        let site = Site::with(key);
        let folder = Folder::with(&site);
        for name in ["reportlab", "qpdf-xref-stream"] {
            let document = sample(name);
            let b = site.sign(&document, &site.plan());
            let t = site.sign_stamped(&document, &site.plan());
            let validation = SignatureValidation {
                field: "Signature1".to_owned(),
                certificates: vec![site.certificate.clone(), site.tsa.clone(), site.root.certificate.clone()],
                crls: vec![site.crl()],
                ocsps: Vec::new(),
            };
            let data = std::slice::from_ref(&validation);
            let lt = [&t[..], &add_validation_data(&t, data).unwrap()].concat();
            let lta = site.stamp(&lt);
            // The same data for the document timestamp adds no stream twice.
            let further = SignatureValidation { field: "Signature2".to_owned(), ..validation.clone() };
            let again = add_validation_data(&lta, &[further]).unwrap();
            assert!(again.len() < 2_500, "{} octets", again.len());
            let lta = site.stamp(&[&lta[..], &again].concat());
            for (file, octets) in [("b.pdf", &b), ("t.pdf", &t), ("lt.pdf", &lt), ("lta.pdf", &lta)] {
                folder.write(file, octets);
                folder.assert_sound(file);
                let report = site.judge(octets);
                assert_eq!(report.judgement.verdict, Verdict::Valid, "{file}: {report:#?}");
                let said = folder.pdfsig(file);
                assert!(
                    said.contains("Signature is Valid") && said.contains("Certificate is Trusted"),
                    "{said}"
                );
            }
            let judged = folder.pyhanko(&["b.pdf", "t.pdf", "lt.pdf", "lta.pdf"]);
            assert_eq!(judged.len(), 6, "{judged:?}");
            assert!(judged.iter().all(|one| one["ok"] == true), "{judged:#?}");
            let stamped: Vec<bool> = judged.iter().map(|one| one["stamped"] == true).collect();
            assert_eq!(stamped[..4], [false, true, true, true], "{judged:#?}");
        }
    }
}

#[test]
fn an_sm2_and_a_p256_signature_stand_in_one_document() {
    let (chinese, foreign) = (Site::with(Key::sm2(7)), Site::with(Key::p256()));
    let folder = Folder::with(&foreign);
    let once = chinese.sign(&sample("reportlab"), &chinese.sealed(vec![at(20.0, 20.0, 40.0, 40.0)]));
    let twice = foreign.sign(&once, &foreign.plan());
    folder.write("both.pdf", &twice);
    folder.assert_sound("both.pdf");
    let judged = chinese.judge(&once);
    assert_eq!(judged.judgement.verdict, Verdict::Valid, "{judged:#?}");
    let said = folder.pdfsig("both.pdf");
    assert!(said.contains("adbe.pkcs7.detached") && said.contains("ETSI.CAdES.detached"), "{said}");
    assert_eq!(said.matches("Signature is Valid").count(), 1, "{said}");
}

#[test]
fn a_certified_document_is_signed_as_far_as_its_certification_allows() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let certified = |certification| {
        let plan = SignaturePlan { certification: Some(certification), ..site.plan() };
        site.sign(&sample("reportlab"), &plan)
    };
    let visible = site.sealed(vec![at(5.0, 5.0, 30.0, 30.0)]);
    let closed = certified(Certification::NoChanges);
    assert_eq!(site.try_sign(&closed, &site.plan()).unwrap_err().code(), "not_permitted");
    let stamped = site.stamp(&closed);
    let form = certified(Certification::FormFilling);
    assert_eq!(site.try_sign(&form, &visible).unwrap_err().code(), "not_permitted");
    let invisible = site.sign(&form, &site.plan());
    let open = certified(Certification::Annotations);
    assert_eq!(site.try_sign(&open, &visible).unwrap_err().code(), "not_permitted");
    let open = site.sign(&open, &site.plan());
    let twice = SignaturePlan { certification: Some(Certification::FormFilling), ..site.plan() };
    assert_eq!(site.try_sign(&open, &twice).unwrap_err().code(), "not_permitted");
    for (file, octets) in [("closed.pdf", &stamped), ("form.pdf", &invisible), ("open.pdf", &open)] {
        folder.write(file, octets);
        folder.assert_sound(file);
        let report = site.judge(octets);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{file}: {report:#?}");
    }
    let judged = folder.pyhanko(&["closed.pdf", "form.pdf", "open.pdf"]);
    let accepted: Vec<bool> = judged.iter().map(|one| one["ok"] == true).collect();
    assert_eq!(accepted, [true; 6], "{judged:#?}");
}

#[test]
fn a_signature_longer_than_its_room_is_refused_and_a_short_one_leaves_zeros() {
    let plan = SignaturePlan { room: 100, ..SignaturePlan::new(SubFilter::Pkcs7, HashAlgorithm::Sm3) };
    let prepared = prepare(&sample("reportlab"), &plan).unwrap();
    assert_eq!(prepared.digest().len(), 32);
    assert_eq!(prepared.field(), "Signature1");
    assert_eq!(prepared.clone().finish(&[1; 101]).unwrap_err().code(), "room");
    assert_eq!(prepared.clone().finish(&[]).unwrap_err().code(), "room");
    let update = String::from_utf8_lossy(&prepared.finish(&[0xAB; 98]).unwrap()).into_owned();
    assert!(update.contains(&format!("/Contents <{}0000>", "ab".repeat(98))), "{update}");
}

#[test]
fn what_cannot_be_signed_has_a_code() {
    let site = Site::with(Key::p256());
    let code = |document: &[u8], plan: &SignaturePlan| site.try_sign(document, plan).unwrap_err().code();
    let plan = site.plan();
    assert_eq!(code(&sample("encrypted"), &plan), "encrypted");
    assert_eq!(code(&sample("encrypted-user"), &plan), "encrypted");
    for junk in [&b""[..], b"%PDF-", b"%PDF-1.7\n", b"hello", &sample("reportlab")[..1_000]] {
        assert_eq!(code(junk, &plan), "malformed");
    }
    let document = sample("reportlab");
    let named = |name: &str| SignaturePlan {
        field: FieldPlan::New { name: Some(name.to_owned()), places: Vec::new() },
        ..site.plan()
    };
    let existing = |name: &str| SignaturePlan { field: FieldPlan::Existing(name.to_owned()), ..site.plan() };
    let signed = site.sign(&document, &named("审批"));
    assert_eq!(code(&signed, &named("审批")), "field_taken");
    assert_eq!(code(&signed, &existing("审批")), "field_signed");
    assert_eq!(code(&signed, &existing("无")), "field_unknown");
    for name in ["", "a.b", "a\nb", "a\0", "\u{7f}", "\u{85}", &"名".repeat(129)] {
        assert_eq!(code(&document, &named(name)), "field_name");
    }
    assert_eq!(code(&sample("reportlab-form"), &named("name")), "field_taken");
    assert_eq!(code(&document, &SignaturePlan { room: 0, ..site.plan() }), "plan");
    assert_eq!(code(&document, &site.sealed(Vec::new())), "plan");
    for (left, top, width, height) in [
        (200.0, 5.0, 30.0, 30.0),
        (5.0, 290.0, 30.0, 30.0),
        (-1.0, 5.0, 9.0, 9.0),
        (5.0, 5.0, 0.0, 9.0),
        (f32::NAN, 5.0, 9.0, 9.0),
    ] {
        assert_eq!(code(&document, &site.sealed(vec![at(left, top, width, height)])), "off_page");
    }
}
