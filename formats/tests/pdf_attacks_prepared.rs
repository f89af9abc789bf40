//! Documents prepared before they are signed, so that a later update shows something else through what the signature
//! lets pass: empty fields, metadata, forms, objects that reach behind what is signed.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;
use crate::signed;

use formats::Verdict;
use pdf::{Entry, Maker, ROOT, base, field, form, page_object, placeholder, text_field, value};
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

/// What a signed document is prepared as: its last object is a content stream whose Length leads over the signature and
/// the end of the revision to where the update has the end of a stream.
fn reaching(length: impl Fn(usize) -> String, more: impl Fn(Maker) -> Maker) -> (Signed, Vec<u8>, usize) {
    // Where the update will have its hidden octets.
    let end = 60_000;
    let mut start = 0;
    let mut signed = None;
    for _ in 0..2 {
        let by = Signatory::p256();
        let document = more(placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", ""));
        let offset = document.octets.len();
        let head = format!("4 0 obj\n<< /Length {} >>\nstream\n", length(end - start));
        start = offset + head.len();
        let content = format!("{head}BT /F1 24 Tf 72 720 Td (Hello) Tj ET\n");
        let document = document.raw(content.as_bytes()).entry(4, Entry::At(offset)).table(ROOT);
        signed = Some(Signed { octets: by.fill(document), by });
    }
    let signed = signed.unwrap();
    let hidden = b"(Evil) Tj\nendstream\nendobj\n".to_vec();
    let place = end - b"(Evil) Tj".len();
    (signed, hidden, place)
}

#[test]
fn a_stream_of_the_signed_revision_that_reaches_into_the_update() {
    let reach = |signed: &Signed, hidden: &[u8], place: usize, number: u32, text: &dyn Fn(&str) -> String| {
        // A string whose octets hold what ends the stream: to the section it is one object.
        let update = signed.update();
        let (before, after) = text("\0").split_once('\0').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let offset = update.octets.len();
        let head = format!("{number} 0 obj\n{before}(");
        let padding = vec![b' '; place - offset - head.len()];
        let octets = [head.as_bytes(), &padding, hidden, format!("){after}\nendobj\n").as_bytes()].concat();
        update.raw(&octets).entry(number, Entry::At(offset)).table(ROOT)
    };
    let plain: &dyn Fn(Maker) -> Maker = &|maker| maker;
    let behind: &dyn Fn(Maker) -> Maker = &|maker| maker.object(25, "54321");
    let direct: &dyn Fn(usize) -> String = &|length| format!("{length:05}");
    let indirect: &dyn Fn(usize) -> String = &|_| "25 0 R".to_owned();
    let filled: &dyn Fn(&str) -> String = &text_field;
    let unused: &dyn Fn(&str) -> String = &str::to_owned;
    for text in [filled, unused] {
        let number = if text("(x)").contains("town") { 21 } else { 90 };
        for (length, more) in [(direct, plain), (indirect, behind)] {
            let (signed, hidden, place) = reaching(length, more);
            let update = reach(&signed, &hidden, place, number, text);
            let report = signed.by.judge(&update);
            assert_eq!(report.judgement.verdict, Verdict::Invalid, "{report:#?}");
            assert!(report.judgement.has("object_misplaced"), "{report:#?}");
        }
    }
}

#[test]
fn a_stream_without_an_end_in_the_signed_revision() {
    // Readers that find no end where the Length says look for the next one.
    let (signed, ..) = reaching(|_| "00012".to_owned(), |maker| maker);
    let value = "(Evil) Tj\nendstream\nendobj\n";
    let filled = signed.update().object(21, text_field(&format!("({value})")));
    signed.found(&filled.table(ROOT), "object_misplaced");
}

#[test]
fn a_hybrid_table_whose_stream_stands_in_the_update() {
    let by = Signatory::p256();
    let place = 60_000;
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let document = by.fill(document.table(&format!("/XRefStm {place} {ROOT}")));
    // Readers that know streams see another object than is judged, or none.
    let update = Maker::update(&document);
    let padding = vec![b' '; place - update.octets.len()];
    let stream = "/Type /XRef /W [1 4 2] /Index [80 1] /Size 100";
    let update = update.raw(&padding).stream(90, stream, &[1, 0, 0, 0, 0, 0, 0]);
    let report = by.judge(&update.table(ROOT));
    assert_eq!(report.judgement.verdict, Verdict::Invalid, "{report:#?}");
    assert!(report.judgement.has("object_misplaced"), "{report:#?}");
}

#[test]
fn what_an_honest_document_has_wrong_is_no_reach() {
    // A stream with a wrong Length that nothing needs, and an entry at which no object stands.
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let offset = document.octets.len();
    let document = document.raw(b"70 0 obj\n<< /Length 3 >>\nstream\n(unused)\nendstream\nendobj\n");
    let document = document.entry(70, Entry::At(offset)).entry(71, Entry::At(offset + 40));
    let signed = Signed { octets: by.fill(document.table(ROOT)), by };
    signed.permitted(&signed.update().object(21, text_field("(Shanghai)")).table(ROOT), "form_filled");
}

#[test]
fn annotations_that_are_no_objects_of_their_own() {
    let note = |text: &str| format!("<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents ({text}) >>");
    let page = |more: &str| page_object(&format!(" {} {more} 30 0 R", note("one")));
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let signed = Signed { octets: by.fill(document.object(3, page(&note("two"))).table(ROOT)), by };
    let with = |page: String| {
        let update = signed.update().object(20, form(&[30, 40])).object(3, page);
        signed.by.fill(update.object(40, field(40, "")).object(41, value("")).table(ROOT))
    };
    signed.permitted(&with(page(&note("two")).replace("30 0 R]", "30 0 R 40 0 R]")), "signature_added");
    for evil in [note("three"), String::new(), note("two") + &note("three")] {
        signed.found(&with(page(&evil).replace("30 0 R]", "30 0 R 40 0 R]")), "change_not_permitted");
    }
}

/// A document in whose form is what the page draws.
fn form_of(fields: &str, page: &str, more: impl Fn(Maker) -> Maker) -> Signed {
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let document = document.object(20, format!("<< /Fields {fields} /SigFlags 3 >>")).object(3, page);
    let document = more(document.stream(60, SHAPE, b"(Good) Tj"));
    let signed = Signed { octets: by.fill(document.table(ROOT)), by };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    signed
}

#[test]
fn fields_forms_and_catalogs_that_the_page_draws() {
    let page =
        |number: u32| page_object(" 30 0 R").replace("/Font <<", &format!("/XObject {number} 0 R /Font <<"));
    let all = "[21 0 R 30 0 R 9 0 R]";
    for (what, key) in [
        ("", "V"),
        ("/FT /Tx /T (a)", "V"),
        ("/FT /Tx /T (a)", "AP"),
        ("/FT /Ch /T (a)", "DA"),
        ("/FT /Tx /T (a)", "I"),
        ("/FT /Btn /T (a)", "V"),
    ] {
        let resources = |number: u32| format!("<< {what} /{key} {number} 0 R >>");
        let signed = form_of(all, &page(9), |maker| maker.object(9, resources(60)));
        let update = signed.update().stream(61, SHAPE, b"(Evil) Tj").object(9, resources(61));
        let report = signed.by.judge(&update.table(ROOT));
        assert_eq!(report.judgement.verdict, Verdict::Invalid, "{what} {key}: {report:#?}");
        // The same object, and what it names drawn anew.
        let update = signed.update().stream(60, SHAPE, b"(Evil) Tj").table(ROOT);
        signed.found(&update, "content_changed");
    }
    // A widget of a field, and an annotation that a certification lets change.
    let kid = |number: u32| format!("<< /Type /Annot /Subtype /Widget /Parent 8 0 R /AP {number} 0 R >>");
    let signed = form_of("[21 0 R 30 0 R 8 0 R]", &page(9), |maker| {
        maker.object(8, "<< /FT /Tx /T (a) /Kids [9 0 R] >>").object(9, kid(60))
    });
    let update = signed.update().stream(61, SHAPE, b"(Evil) Tj").object(9, kid(61)).table(ROOT);
    signed.found(&update, "document_changed");
    // The form and the catalog.
    let form = |number: u32| format!("<< /Fields [21 0 R 30 0 R] /SigFlags 3 /DA {number} 0 R >>");
    let signed = form_of("[]", &page(20), |maker| maker.object(20, form(60)));
    let update = signed.update().stream(61, SHAPE, b"(Evil) Tj").object(20, form(61)).table(ROOT);
    signed.found(&update, "document_changed");
    let catalog =
        |number: u32| format!("<< /Type /Catalog /Pages 2 0 R /AcroForm 20 0 R /Version {number} 0 R >>");
    let signed = form_of("[21 0 R 30 0 R]", &page(1), |maker| maker.object(1, catalog(60)));
    let update = signed.update().stream(61, SHAPE, b"(Evil) Tj").object(1, catalog(61)).table(ROOT);
    signed.found(&update, "document_changed");
}

#[test]
fn an_annotation_that_the_page_draws() {
    let by = Signatory::p256();
    let level = "/Reference [ << /TransformMethod /DocMDP /TransformParams << /P 3 >> >> ]";
    let page = page_object(" 30 0 R").replace("/Font <<", "/XObject 23 0 R /Font <<");
    let link = |number: u32| format!("<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /X {number} 0 R >>");
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], level, "").object(3, page);
    let document = document.stream(60, SHAPE, b"(Good) Tj").object(23, link(60));
    let signed = Signed { octets: by.fill(document.table(ROOT)), by };
    let update = signed.update().stream(61, SHAPE, b"(Evil) Tj").object(23, link(61)).table(ROOT);
    signed.found(&update, "document_changed");
}

#[test]
fn a_list_of_fields_that_is_a_list_of_pages() {
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let document = document.object(2, "<< /Type /Pages /Kids 50 0 R /Count 1 >>").object(50, "[3 0 R]");
    let document = document.object(20, "<< /Fields 51 0 R /SigFlags 3 >>").object(51, "[30 0 R 3 0 R]");
    let signed = Signed { octets: by.fill(document.table(ROOT)), by };
    // The lists are two, and the page is a field.
    let renamed = page_object(" 30 0 R").replace("/Type /Page", "/Type /Template");
    signed.found(&signed.update().object(3, renamed).table(ROOT), "field_changed");
    // They are one, and a new field is a page.
    let by = Signatory::p256();
    let field = field(30, "").replace("/Subtype", "/MediaBox [0 0 595 842] /Subtype");
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "").object(30, field);
    let document =
        document.object(2, "<< /Type /Pages /Kids 50 0 R /Count 2 >>").object(50, "[3 0 R 30 0 R]");
    let document = document.object(20, "<< /Fields 50 0 R /SigFlags 3 >>");
    let signed = Signed { octets: by.fill(document.table(ROOT)), by };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    let update = signed.update().stream(60, "", b"BT (Evil) Tj ET");
    let page = "<< /FT /Sig /T (x) /Contents 60 0 R /MediaBox [0 0 595 842] >>";
    let update = update.object(90, page).object(50, "[3 0 R 30 0 R 90 0 R]").table(ROOT);
    signed.found(&update, "document_changed");
}

#[test]
fn an_object_stream_whose_filter_is_said_elsewhere() {
    // Read raw it is one page, without its filter another.
    let page = page_object(" 30 0 R");
    let content = format!("3 0 {page}");
    let hex = hex::encode(content.replace("/Contents 4 0 R", "/Contents 60 0 R")) + ">";
    let members = "/Type /ObjStm /N 1 /First 4";
    for (filter, data, readable) in [
        ("", content.as_str(), true),
        ("/Filter null /DecodeParms [null]", &content, true),
        ("/Filter /ASCIIHexDecode", &hex, true),
        ("/Filter [/ASCIIHexDecode] /DecodeParms [null]", &hex, true),
        ("/Filter 61 0 R", &content, false),
        ("/Filter [61 0 R]", &content, false),
        ("/Filter (ASCIIHexDecode)", &content, false),
        ("/Filter /ASCIIHexDecode /DecodeParms 62 0 R", &hex, false),
        ("/Filter /ASCIIHexDecode /DecodeParms << /Predictor 62 0 R >>", &hex, false),
    ] {
        let document = base().object(61, "/ASCIIHexDecode").object(62, "null").stream(60, "", b"(Evil) Tj");
        let document = document.stream(70, &format!("{members} {filter}"), data.as_bytes());
        let octets = document.entry(3, Entry::Within(70, 0)).xref_stream(71, ROOT);
        let opened = formats::pdf::Document::open(&octets).unwrap();
        assert_eq!(opened.latest().object((3, 0)).is_ok(), readable, "{filter}");
    }
    // Other streams may say it elsewhere.
    let octets = base().object(61, "/ASCIIHexDecode").stream(60, "/Filter 61 0 R", b"4142>").table(ROOT);
    let opened = formats::pdf::Document::open(&octets).unwrap();
    let stream = opened.latest().object((60, 0)).unwrap();
    assert_eq!(opened.latest().content(stream.as_stream().unwrap()).unwrap(), b"AB");
}

#[test]
fn references_with_another_generation_hide_nothing() {
    // To readers `9 5 R` is null; what `9 0 R` refers to is drawn all the same.
    for (first, last) in [("", " /Other 9 5 R"), (" /Other 9 5 R", "")] {
        let page = page_object(" 30 0 R").replace("/Font <<", "/XObject 9 0 R /Font <<");
        let page = page.replacen("/Type /Page", &format!("/Type /Page{first}"), 1);
        let page = format!("{}{last} >>", page.strip_suffix(" >>").unwrap());
        let signed = form_of("[21 0 R 30 0 R]", &page, |maker| maker.object(9, "<< /X 60 0 R >>"));
        signed.found(&signed.update().stream(60, SHAPE, b"(Evil) Tj").table(ROOT), "content_changed");
    }
}
