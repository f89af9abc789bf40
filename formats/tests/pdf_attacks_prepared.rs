//! Documents prepared before they are signed, so that a later update shows something else through what the signature
//! lets pass: empty fields, metadata, forms, objects that reach behind what is signed.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod pdf;
mod pki;
#[path = "pdf/signed.rs"]
mod signed;

use formats::Verdict;
use pdf::{Entry, Maker, ROOT, base, form, page_object, placeholder, text_field};
use signed::{Signatory, Signed};

const SHAPE: &str = "/Type /XObject /Subtype /Form /BBox [0 0 595 842]";

#[test]
fn an_unsigned_signature_field_laid_over_the_page() {
    let signed = Signed::new();
    let laid = |field: &str| {
        let field = format!("<< /T (x) /FT /Sig /Type /Annot /Subtype /Widget /P 3 0 R {field} >>");
        let update = signed.update().stream(91, SHAPE, b"1 g 0 0 595 842 re f (Evil) Tj").object(90, field);
        update.object(20, form(&[30, 90])).object(3, page_object(" 30 0 R 90 0 R")).table(ROOT)
    };
    let page = "/Rect [0 0 595 842]";
    signed.found(&laid(&format!("{page} /AP << /N 91 0 R >>")), "field_added");
    signed.found(&laid(&format!("{page} /F 2 /AP << /N 91 0 R >>")), "field_added");
    signed.found(&laid(page), "field_added");
    signed.found(&laid("/Rect 91 0 R /AP << /N 91 0 R >>"), "field_added");
    // Signing programs add empty fields for the next signer, which show nothing.
    signed.permitted(&laid("/Rect [0 0 0 0]"), "signature_field_added");
    signed.permitted(&laid("/Rect [10 10 10 10] /AP << /N 91 0 R >>"), "signature_field_added");
    signed.permitted(&laid(&format!("{page} /F 2")), "signature_field_added");
    signed.permitted(&laid(""), "signature_field_added");
    // Its widget may stand by itself.
    let kid = format!("<< /Type /Annot /Subtype /Widget /Parent 90 0 R {page} /AP << /N 91 0 R >> >>");
    let update = signed.update().stream(91, SHAPE, b"(Evil) Tj").object(92, kid);
    let update = update.object(90, "<< /T (x) /FT /Sig /Kids [92 0 R] >>").object(20, form(&[30, 90]));
    signed.found(&update.object(3, page_object(" 30 0 R 92 0 R")).table(ROOT), "field_added");
}

#[test]
fn an_object_stream_that_metadata_or_an_appearance_names() {
    let page = page_object(" 30 0 R");
    let catalog = |more: &str| format!("<< /Type /Catalog /Pages 2 0 R /AcroForm 20 0 R {more} >>");
    let named = text_field("(Peking)").replace("22 0 R", "200 0 R");
    let link = "<< /Type /Annot /Subtype /Link /Rect [0 0 10 10] /AP << /N 200 0 R >> >>".to_owned();
    for (trailer, number, object) in [
        ("/Root 1 0 R /Info 200 0 R", 1, catalog("")),
        (ROOT, 1, catalog("/Metadata 200 0 R")),
        (ROOT, 1, catalog("/DSS 200 0 R")),
        (ROOT, 1, catalog("/DSS << /Certs [200 0 R] >>")),
        (ROOT, 21, named),
        (ROOT, 23, link),
    ] {
        let by = Signatory::p256();
        // Validation data must be a dictionary to be read at all.
        let read = !object.contains("/DSS 200");
        let level = "/Reference [ << /TransformMethod /DocMDP /TransformParams << /P 3 >> >> ]";
        let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], level, "");
        let document = document.object(number, &object).members(200, &[(3, &page)]);
        let octets = by.fill(document.xref_stream(201, trailer));
        let signed = Signed { by, octets };
        assert_eq!(signed.by.judge(&signed.octets).judgement.verdict == Verdict::Valid, read, "{object}");
        let evil = format!("3 0 {}", page.replace("/Contents 4 0 R", "/Contents 202 0 R"));
        let update = signed.update().stream(200, "/Type /ObjStm /N 1 /First 4", evil.as_bytes());
        let update = update.stream(202, "", b"BT (Evil) Tj ET").xref_stream(203, trailer);
        signed.found(&update, if read { "content_changed" } else { "malformed" });
    }
}

#[test]
fn the_length_of_an_object_stream() {
    let by = Signatory::p256();
    let page = page_object(" 30 0 R");
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let content = format!("3 0 {page}          ");
    let offset = document.octets.len();
    let container = format!(
        "200 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Length 201 0 R >>\nstream\n{content}\nendstream\nendobj\n"
    );
    let document = document.raw(container.as_bytes()).entry(200, Entry::At(offset));
    let short = 4 + page.len();
    let document = document.object(201, content.len().to_string()).entry(3, Entry::Within(200, 0));
    let octets = by.fill(document.xref_stream(203, ROOT));
    let signed = Signed { by, octets };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    let update = signed.update().object(201, short.to_string()).xref_stream(204, ROOT);
    signed.found(&update, "document_changed");
}
