//! What is done to signed PDFs so that they show something else and still look signed: each kind is found by name.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;
use crate::pki;
use crate::signed;

use formats::Verdict;
use pdf::{
    Entry, Maker, RANGE, ROOT, base, empty_contents, field, fill, form, page_object, placeholder, text_field,
    value,
};
use pki::codes;
use signed::{Signatory, Signed};

fn replaced(octets: &[u8], from: &str, to: &str) -> Vec<u8> {
    let place = octets.windows(from.len()).rposition(|found| found == from.as_bytes()).unwrap();
    [&octets[..place], to.as_bytes(), &octets[place + from.len()..]].concat()
}

/// The document whose signature was made over the range that is written in place of the right one.
fn with_range(range: &str) -> (Signed, Vec<u8>) {
    let signed = Signed::new();
    let place = signed.octets.windows(12).rposition(|found| found == b"/ByteRange [").unwrap();
    let end = place + RANGE.len();
    let octets = [&signed.octets[..place], format!("{range:<47}").as_bytes(), &signed.octets[end..]].concat();
    (signed, octets)
}

#[test]
fn ranges_that_are_none() {
    for range in [
        "",
        "/ByteRange null",
        "/ByteRange []",
        "/ByteRange [0 100 200]",
        "/ByteRange [0 100 200 100 400 10]",
        "/ByteRange [1 100 200 100]",
        "/ByteRange [0 -100 200 100]",
        "/ByteRange [0 100 50 100]",
        "/ByteRange [0 100 100 100]",
        "/ByteRange [0 0 100 100]",
        "/ByteRange [0 100 200 9999999999]",
        "/ByteRange [0 100 200 9223372036854775807]",
        "/ByteRange [0 100 200 (x)]",
    ] {
        assert_eq!(range.len().max(RANGE.len()), RANGE.len());
        let (signed, octets) = with_range(range);
        signed.found(&octets, "byte_range_invalid");
    }
}

#[test]
fn gaps_that_are_not_the_contents() {
    let (signed, _) = with_range("/ByteRange [0 1 2 3]");
    let start = signed.octets.windows(13).rposition(|found| found == b"/Contents <30").unwrap() + 10;
    let end = signed.octets[start..].iter().position(|octet| *octet == b'>').unwrap() + start + 1;
    let length = signed.octets.len();
    for (start, end) in
        [(start - 1, end), (start, end + 1), (start + 1, end - 1), (start - 40, end), (15, 60)]
    {
        let (_, octets) = with_range(&format!("/ByteRange [0 {start} {end} {}]", length - end));
        signed.found(&octets, "contents_mismatch");
    }
}

#[test]
fn a_range_that_ends_where_no_revision_does() {
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "").table(ROOT);
    // All but the last octets are signed: what could be appended there is not.
    let cut = document.len() - 12;
    let octets = fill(document[..cut].to_vec(), |content| by.cms(content));
    let octets = [&octets, &document[cut..]].concat();
    let report = by.judge(&octets);
    assert!(report.judgement.has("coverage_incomplete"), "{report:#?}");
    assert_eq!(report.judgement.verdict, Verdict::Invalid);
    assert!(report.signatures[0].coverage.is_none());
}

#[test]
fn contents_that_are_empty_absent_or_followed_by_more() {
    let signed = Signed::new();
    let start = signed.octets.windows(13).rposition(|found| found == b"/Contents <30").unwrap() + 11;
    let end = signed.octets[start..].iter().position(|octet| *octet == b'>').unwrap() + start;
    let mut zeros = signed.octets.clone();
    zeros[start..end].fill(b'0');
    signed.found(&zeros, "malformed");
    let mut padded = signed.octets.clone();
    padded[end - 1] = b'1';
    signed.found(&padded, "contents_trailing_data");
    let absent = replaced(&signed.octets, "/Contents <30", "/Kontents <30");
    signed.found(&absent, "contents_mismatch");
    let mut other = signed.octets.clone();
    other[start + 700] ^= 1;
    assert_eq!(signed.by.judge(&other).judgement.verdict, Verdict::Invalid);
}

#[test]
fn contents_that_readers_see_twice() {
    let by = Signatory::p256();
    let twice = format!("/Contents <{}>", "00".repeat(40));
    for more in [&twice, "/ByteRange [0 1 2 3]", "/Reason (a) /Reason (b)"] {
        let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
        // The second one counts for lopdf, the first for others.
        let document = document.object(31, value("").replacen("<<", &format!("<< {more}"), 1));
        let octets = by.fill(document.table(ROOT));
        let report = by.judge(&octets);
        assert!(report.judgement.has("ambiguous_object"), "{more}: {:?}", codes(&report.judgement));
    }
}

#[test]
fn an_octet_of_the_signed_revision() {
    let signed = Signed::new();
    signed.found(&replaced(&signed.octets, "(Hello)", "(Jello)"), "digest_mismatch");
}

#[test]
fn a_signature_wrapped_into_a_later_update() {
    let signed = Signed::new();
    // The old value is copied into the update; its range still covers what was signed.
    let start = signed.octets.windows(9).rposition(|found| found == b"\n31 0 obj").unwrap() + 9;
    let end = start + signed.octets[start..].windows(6).position(|found| found == b"endobj").unwrap();
    let copy = String::from_utf8(signed.octets[start..end].to_vec()).unwrap();
    let update = signed.update().object(40, copy).object(30, field(39, "").replace("39", "30"));
    signed.found(&update.table(ROOT), "contents_mismatch");
}

#[test]
fn octets_behind_the_end_and_updates_that_no_section_lists() {
    let signed = Signed::new();
    let evil = b"4 0 obj\n<< /Length 6 >>\nstream\n(evil)\nendstream\nendobj\n";
    for trailing in [b"x".as_slice(), evil, b"%PDF-1.7\n", b"% a comment\n", b"\0\0\0%"] {
        signed.found(&[&signed.octets, trailing].concat(), "trailing_data");
    }
    assert_eq!(
        signed.by.judge(&[&signed.octets, b"\n\n \0".as_slice()].concat()).judgement.verdict,
        Verdict::Valid,
        "white space is nothing"
    );
    let hidden = signed.update().raw(evil).object(50, "(nothing)").table(ROOT);
    signed.found(&hidden, "unlisted_octets");
    let comment =
        [b"%".as_slice(), &evil.map(|octet| if octet == b'\n' { b' ' } else { octet }), b"\n"].concat();
    let hidden = signed.update().raw(&comment).object(50, "(nothing)").table(ROOT);
    signed.found(&hidden, "unlisted_octets");
    let harmless = signed.update().raw(b"% written by somebody\n\n").object(50, "(nothing)").table(ROOT);
    assert_eq!(signed.by.judge(&harmless).judgement.verdict, Verdict::Valid);
}

#[test]
fn content_replaced_hidden_or_restyled() {
    let signed = Signed::new();
    let content = signed.update().stream(4, "", b"BT (Evil) Tj ET").table(ROOT);
    signed.found(&content, "content_changed");
    signed.found(&signed.update().entry(4, Entry::Free).table(ROOT), "content_changed");
    let font = signed.update().object(5, "<< /Type /Font /Subtype /Type1 /BaseFont /ZapfDingbats >>");
    signed.found(&font.table(ROOT), "font_changed");
    let page = page_object(" 30 0 R").replace("/Contents 4 0 R", "/Contents 60 0 R");
    let page = signed.update().stream(60, "", b"(Evil)").object(3, page);
    signed.found(&page.table(ROOT), "page_changed");
    let tree = "<< /Type /Pages /Kids [3 0 R 61 0 R] /Count 2 >>";
    let more = signed.update().object(61, "<< /Type /Page /Parent 2 0 R >>").object(2, tree);
    signed.found(&more.table(ROOT), "page_changed");
}

#[test]
fn another_document_prepared_and_swapped_in() {
    let signed = Signed::new();
    let other = signed.update().object(70, "<< /Type /Catalog /Pages 71 0 R /AcroForm 20 0 R >>");
    let other = other.object(71, "<< /Type /Pages /Kids [] /Count 0 >>");
    signed.found(&other.table("/Root 70 0 R"), "document_changed");
    let bare = signed.update().object(70, "<< /Type /Catalog /Pages 71 0 R >>");
    let bare = bare.object(71, "<< /Type /Pages /Kids [] /Count 0 >>");
    signed.found(&bare.table("/Root 70 0 R"), "signature_removed");
    let catalog = "<< /Type /Catalog /Pages 71 0 R /AcroForm 20 0 R >>";
    let other = signed.update().object(1, catalog).object(71, "<< /Type /Pages /Kids [] /Count 0 >>");
    signed.found(&other.table(ROOT), "document_changed");
    let script =
        "<< /Type /Catalog /Pages 2 0 R /AcroForm 20 0 R /OpenAction << /S /JavaScript /JS (x) >> >>";
    let report = signed.found(&signed.update().object(1, script).table(ROOT), "document_changed");
    assert!(report.judgement.has("active_content"));
}

#[test]
fn an_object_hidden_in_the_signed_part_and_brought_up() {
    // Hide-and-replace: the evil contents are signed along, and an update only moves an offset.
    let by = Signatory::p256();
    let evil = b"4 0 obj\n<< /Length 6 >>\nstream\n(evil)\nendstream\nendobj\n";
    let first = base().raw(evil).table(ROOT);
    let offset = first.windows(evil.len()).position(|found| found == evil).unwrap();
    let octets = by.sign(&first, 30, &[30]);
    let signed = Signed { by, octets };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    let update = signed.update().entry(4, Entry::At(offset)).table(ROOT);
    signed.found(&update, "object_misplaced");
    // The other way round: the signed revision names an object that only an update brings.
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let document = document.entry(4, Entry::At(50_000)).table(ROOT);
    let octets = by.fill(document);
    let padding = vec![b' '; 50_000 - octets.len()];
    let octets = Maker::update(&[&octets, &*padding].concat()).raw(evil).object(80, "1").table(ROOT);
    let report = by.judge(&octets);
    assert!(report.judgement.has("object_misplaced"), "{:?}", codes(&report.judgement));
}

#[test]
fn forms_filled_within_what_is_permitted() {
    let signed = Signed::new();
    let filled = |signed: &Signed| {
        let update = signed.update().object(21, text_field("(Shanghai)"));
        let appearance = "/Type /XObject /Subtype /Form /BBox [0 0 100 20]";
        update.stream(22, appearance, b"BT (Shanghai) Tj ET").table(ROOT)
    };
    signed.permitted(&filled(&signed), "form_filled");
    let docmdp = |level| {
        format!(
            "/Reference [ << /Type /SigRef /TransformMethod /DocMDP /TransformParams << /P {level} /V /1.2 >> >> ]"
        )
    };
    for level in [2, 3] {
        let signed = Signed::with(&docmdp(level), "");
        signed.permitted(&filled(&signed), "form_filled");
        assert_eq!(signed.by.judge(&signed.octets).signatures[0].certification, Some(level));
    }
    for level in [0, 1, 9] {
        let signed = Signed::with(&docmdp(level), "");
        signed.found(&filled(&signed), "change_not_permitted");
    }
    let fieldmdp = |rule: &str| {
        format!("/Reference [ << /TransformMethod /FieldMDP /TransformParams << {rule} /V /1.2 >> >> ]")
    };
    for (rule, locked) in [
        ("/Action /All", true),
        ("/Action /Include /Fields [(town)]", true),
        ("/Action /Include /Fields [(country)]", false),
        ("/Action /Exclude /Fields [(town)]", false),
        ("/Action /Exclude /Fields [(country)]", true),
    ] {
        for signed in [Signed::with(&fieldmdp(rule), ""), Signed::with("", &format!("/Lock << {rule} >>"))] {
            match locked {
                true => drop(signed.found(&filled(&signed), "locked_field_changed")),
                false => signed.permitted(&filled(&signed), "form_filled"),
            }
        }
    }
}

#[test]
fn fields_moved_restyled_or_laid_over_the_page() {
    let signed = Signed::new();
    let moved = text_field("(Peking)").replace("[10 10 110 30]", "[0 0 595 842]");
    signed.found(&signed.update().object(21, moved).table(ROOT), "field_changed");
    // A new text field whose appearance lies over the contents.
    let overlay = text_field("(x)").replace("(town)", "(overlay)").replace("[10 10 110 30]", "[0 0 595 842]");
    let update = signed.update().object(90, overlay);
    let update = update.object(20, form(&[30, 90])).object(3, page_object(" 30 0 R 90 0 R"));
    signed.found(&update.table(ROOT), "field_added");
    // The same as an annotation that is in no form.
    let update = signed.update().object(90, text_field("(x)")).object(3, page_object(" 30 0 R 90 0 R"));
    signed.found(&update.table(ROOT), "field_added");
    // A field taken off its page.
    let bare = page_object(" 30 0 R").replace("21 0 R ", "");
    signed.found(&signed.update().object(3, bare).table(ROOT), "field_changed");
    let fields = form(&[30]).replace("21 0 R ", "");
    signed.found(&signed.update().object(20, fields).table(ROOT), "field_changed");
}

#[test]
fn buttons_and_hidden_fields_that_would_show_something_else() {
    const BEFORE: &str = "/AP << /N 22 0 R >> /F 2 /AS /Off /V (x)";
    for (kind, after, code) in [
        ("/FT /Btn /Ff 65536", "/AP << /N 60 0 R >> /F 2 /AS /Off /V (x)", "field_changed"),
        ("/FT /Btn", "/AP << /N 60 0 R >> /F 2 /AS /Off /V (x)", "field_changed"),
        ("/FT /Btn", "/AP << /N 22 0 R >> /F 2 /AS /On /V (x)", ""),
        ("/FT /Tx", "/AP << /N 22 0 R >> /F 4 /AS /Off /V (x)", "field_changed"),
        ("/FT /Tx", "/AP << /N 60 0 R >> /F 2 /AS /Off /V (Shanghai)", ""),
    ] {
        let by = Signatory::p256();
        let field = |more: &str| {
            let body = "/T (town) /Type /Annot /Subtype /Widget /Rect [0 0 595 842] /P 3 0 R";
            format!("<< {kind} {body} {more} >>")
        };
        let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
        let octets = by.fill(document.object(21, field(BEFORE)).table(ROOT));
        let signed = Signed { by, octets };
        let shape = "/Type /XObject /Subtype /Form /BBox [0 0 100 20]";
        let update = signed.update().stream(60, shape, b"(evil)").object(21, field(after)).table(ROOT);
        match code {
            "" => signed.permitted(&update, "form_filled"),
            code => drop(signed.found(&update, code)),
        }
        let redrawn = signed.update().stream(22, shape, b"(evil)").table(ROOT);
        match kind.contains("Btn") {
            true => drop(signed.found(&redrawn, "content_changed")),
            false => signed.permitted(&redrawn, "form_filled"),
        }
    }
}

#[test]
fn one_bad_change_among_hundreds_of_good_ones() {
    let by = Signatory::p256();
    let text = |number: u32, value: &str| {
        format!(
            "<< /T (f{number}) /FT /Tx /V ({value}) /Type /Annot /Subtype /Widget /Rect [0 0 9 9] /P 3 0 R >>"
        )
    };
    let numbers: Vec<u32> = (1_000..1_500).collect();
    let mut document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let mut fields = vec![30];
    fields.extend(&numbers);
    document = document.object(24, form(&fields));
    for number in &numbers {
        document = document.object(*number, text(*number, "before"));
    }
    let catalog = "<< /Type /Catalog /Pages 2 0 R /AcroForm 24 0 R >>";
    let octets = by.fill(document.object(1, catalog).table(ROOT));
    let signed = Signed { by, octets };
    let filled = |mut maker: Maker| {
        for number in &numbers {
            maker = maker.object(*number, text(*number, "after"));
        }
        maker
    };
    signed.permitted(&filled(signed.update()).table(ROOT), "form_filled");
    let evil = filled(signed.update()).stream(4, "", b"BT (Evil) Tj ET").table(ROOT);
    let report = signed.found(&evil, "content_changed");
    assert!(report.signatures[0].changes.iter().any(|change| !change.permitted));
    assert!(report.signatures[0].changes.len() < 300);
}

#[test]
fn an_appearance_that_the_page_needs_too() {
    // The text field's appearance is drawn by the page as well: filling the field in would change the page.
    let by = Signatory::p256();
    let page = page_object(" 30 0 R").replace("/Font <<", "/XObject << /X 22 0 R >> /Font <<");
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "").object(3, page);
    let octets = by.fill(document.table(ROOT));
    let signed = Signed { by, octets };
    let appearance = "/Type /XObject /Subtype /Form /BBox [0 0 100 20]";
    let update = signed.update().stream(22, appearance, b"BT (Evil) Tj ET").table(ROOT);
    signed.found(&update, "content_changed");
}

#[test]
fn objects_that_the_signed_page_refers_to_without_having_them() {
    // Contents in two parts, of which the second comes after the signature.
    let by = Signatory::p256();
    let page = page_object(" 30 0 R").replace("/Contents 4 0 R", "/Contents [4 0 R 60 0 R]");
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "").object(3, page);
    let octets = by.fill(document.table(ROOT));
    let signed = Signed { by, octets };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    let update = signed.update().stream(60, "", b"BT (Evil) Tj ET").table(ROOT);
    signed.found(&update, "document_changed");
    assert_eq!(
        signed.by.judge(&signed.update().object(61, "(unused)").table(ROOT)).judgement.verdict,
        Verdict::Valid
    );
}

#[test]
fn resources_whose_names_are_those_of_ways_back_up() {
    for name in ["P", "Parent"] {
        let by = Signatory::p256();
        let page =
            page_object(" 30 0 R").replace("/Font <<", &format!("/XObject << /{name} 60 0 R >> /Font <<"));
        let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "").object(3, page);
        let shape = "/Type /XObject /Subtype /Form /BBox [0 0 9 9]";
        let octets = by.fill(document.stream(60, shape, b"(good)").table(ROOT));
        let signed = Signed { by, octets };
        signed.found(&signed.update().stream(60, shape, b"(evil)").table(ROOT), "content_changed");
    }
}

#[test]
fn annotations_as_the_certification_says() {
    let note = "<< /Type /Annot /Subtype /FreeText /Rect [0 0 595 842] /Contents (evil) >>";
    let noted = |signed: &Signed| {
        signed.update().object(95, note).object(3, page_object(" 30 0 R 95 0 R")).table(ROOT)
    };
    let changed = |signed: &Signed| signed.update().object(23, note).table(ROOT);
    let docmdp =
        |level| format!("/Reference [ << /TransformMethod /DocMDP /TransformParams << /P {level} >> >> ]");
    for signed in [Signed::new(), Signed::with(&docmdp(2), "")] {
        signed.found(&noted(&signed), "change_not_permitted");
        signed.found(&changed(&signed), "change_not_permitted");
    }
    let signed = Signed::with(&docmdp(3), "");
    signed.permitted(&noted(&signed), "annotation_changed");
    signed.permitted(&changed(&signed), "annotation_changed");
}

#[test]
fn signatures_replaced_restyled_or_removed() {
    let signed = Signed::new();
    let evil = signed.update().object(97, "<< /Type /Sig >>");
    let evil = evil.object(30, field(96, "").replace("signature 96", "signature 30"));
    signed.found(&evil.table(ROOT), "byte_range_invalid");
    let with_appearance = field(30, "/AP << /N 22 0 R >>");
    signed.found(&signed.update().object(30, with_appearance).table(ROOT), "signature_appearance_changed");
    let bare = signed.update().object(20, form(&[])).object(3, page_object(""));
    signed.found(&bare.table(ROOT), "signature_removed");
    let emptied = signed.update().object(30, field(30, "").replace("/V 31 0 R", ""));
    signed.found(&emptied.table(ROOT), "signature_removed");
    let freed = signed.update().entry(31, Entry::Free);
    signed.found(&freed.table(ROOT), "signature_removed");
}

#[test]
fn objects_that_readers_read_differently() {
    let signed = Signed::new();
    let twice = "<< /Type /Catalog /Pages 71 0 R /Pages 2 0 R /AcroForm 20 0 R >>";
    let update = signed.update().object(1, twice).object(71, "<< /Type /Pages /Kids [] /Count 0 >>");
    signed.found(&update.table(ROOT), "ambiguous_object");
    let update =
        signed.update().members(98, &[(1, twice)]).object(71, "<< /Type /Pages /Kids [] /Count 0 >>");
    signed.found(&update.xref_stream(99, ROOT), "ambiguous_object");
}

#[test]
fn the_container_of_signed_objects() {
    let by = Signatory::p256();
    let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], "", "");
    let document = document.members(60, &[(5, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")]);
    let octets = by.fill(document.xref_stream(61, ROOT));
    let signed = Signed { by, octets };
    assert_eq!(signed.by.judge(&signed.octets).judgement.verdict, Verdict::Valid);
    let other = "5 0 << /Type /Font /Subtype /Type1 /BaseFont /ZapfDingbats >>";
    let update = signed.update().stream(60, "/Type /ObjStm /N 1 /First 4", other.as_bytes());
    signed.found(&update.xref_stream(62, ROOT), "content_changed");
}

#[test]
fn further_signatures_are_good_and_a_change_between_them_is_not() {
    let signed = Signed::new();
    let twice = signed.by.sign(&signed.octets, 40, &[30, 40]);
    signed.permitted(&twice, "signature_added");
    let report = signed.by.judge(&twice);
    let coverage: Vec<_> = report.signatures.iter().map(|signature| signature.coverage.unwrap()).collect();
    assert_eq!(coverage.iter().map(|coverage| coverage.revision).collect::<Vec<_>>(), [2, 3]);
    assert!(coverage[1].whole_document && report.signatures[1].changes.is_empty());
    // The second signer signs what somebody slipped in.
    let evil = signed.update().stream(4, "", b"BT (Evil) Tj ET").table(ROOT);
    let octets = signed.by.sign(&evil, 40, &[30, 40]);
    let report = signed.found(&octets, "content_changed");
    assert_eq!(report.signatures[0].judgement.verdict, Verdict::Invalid);
    assert_eq!(
        report.signatures[1].judgement.verdict,
        Verdict::Valid,
        "it signed the document as it was then"
    );
    // A certified document takes no new field that shows something (a visible one could show anything), and one that
    // shows nothing only where signatures are permitted.
    let invisible = |certified: &Signed| {
        let update = placeholder(certified.update(), 40, &[30, 40], "", "/Rect [0 0 0 0]");
        certified.by.fill(update.table(ROOT))
    };
    for level in [1, 2, 3] {
        let more = format!("/Reference [ << /TransformMethod /DocMDP /TransformParams << /P {level} >> >> ]");
        let certified = Signed::with(&more, "");
        let visible = certified.by.sign(&certified.octets, 40, &[30, 40]);
        certified.found(&visible, "change_not_permitted");
        match level {
            1 => drop(certified.found(&invisible(&certified), "change_not_permitted")),
            _ => certified.permitted(&invisible(&certified), "signature_added"),
        }
    }
}

#[test]
fn forms_of_signatures_that_are_not_judged_are_named() {
    let by = Signatory::p256();
    for form in ["adbe.pkcs7.sha1", "adbe.x509.rsa_sha1", "GM.unknown"] {
        let more = format!("/SubFilter /{form}");
        let document = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], &more, "").table(ROOT);
        let report = by.judge(&by.fill(document));
        assert_eq!(report.judgement.verdict, Verdict::Indeterminate, "{report:#?}");
        assert!(report.judgement.has("sub_filter_not_supported"));
        assert_eq!(report.signatures[0].sub_filter, form);
    }
}

#[test]
fn placeholders_have_the_lengths_that_the_tests_count_on() {
    assert!(value("").contains(&empty_contents()) && value("").contains(RANGE));
}
