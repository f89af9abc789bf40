//! What a signature locks and a certification permits, however it is written and whatever shows it.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;
use crate::signed;

use formats::Verdict;
use formats::pdf::PdfReport;
use formats::pdf::sign::{FieldPlan, SignaturePlan, SubFilter, prepare};
use formats::scheme::HashAlgorithm;
use pdf::{Maker, ROOT, base, page_object, placeholder, text_field, value};
use signed::Signatory;

const NOWHERE: &str = "/Rect [0 0 0 0]";
const SOMEWHERE: &str = "/Rect [0 0 595 842]";

/// An empty field for a signature; `more` are its rectangle and its value.
fn empty(more: &str) -> String {
    format!("<< /T (second) /FT /Sig /Type /Annot /Subtype /Widget /P 3 0 R {more} >>")
}

/// A document signed in field 30, with an empty field 40 that has the rectangle.
fn signed(by: &Signatory, of_value: &str, of_field: &str, rectangle: &str) -> Vec<u8> {
    let first = base().object(60, "/Include").object(61, "[62 0 R]").object(62, "(town)").table(ROOT);
    let update = placeholder(Maker::update(&first), 30, &[30, 40], of_value, of_field);
    let octets = by.fill(update.object(40, empty(rectangle)).table(ROOT));
    let report = by.judge(&octets);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    octets
}

fn certified(level: u8) -> String {
    format!("/Reference [ << /TransformMethod /DocMDP /TransformParams << /P {level} /V /1.2 >> >> ]")
}

/// Field 40 filled in with a signature or timestamp.
fn filled(by: &Signatory, document: &[u8], rectangle: &str, sub_filter: &str) -> Vec<u8> {
    let update = Maker::update(document).object(40, empty(&format!("{rectangle} /V 41 0 R")));
    by.fill(update.object(41, value(&format!("/SubFilter /{sub_filter}"))).table(ROOT))
}

/// The first signature lets pass what came after it.
#[track_caller]
fn assert_permitted(report: &PdfReport, code: &str) {
    let changes = &report.signatures[0].changes;
    assert!(changes.iter().any(|change| change.code == code), "{changes:?}");
    assert!(changes.iter().all(|change| change.permitted), "{changes:?}");
    assert_eq!(report.signatures[0].judgement.verdict, Verdict::Valid);
}

#[track_caller]
fn assert_objected(report: &PdfReport, objection: &str) {
    let judgement = &report.signatures[0].judgement;
    assert_eq!(judgement.verdict, Verdict::Invalid, "{judgement:?}");
    assert!(judgement.has(objection), "{judgement:?}");
}

#[test]
fn locks_are_read_through_references_and_what_cannot_be_read_locks_all() {
    let by = Signatory::p256();
    for (rule, locked) in [
        ("/Action 60 0 R /Fields 61 0 R", true),
        ("/Action /Include /Fields 61 0 R", true),
        ("/Action /Include /Fields [62 0 R]", true),
        ("/Action /Include /Fields [(country)]", false),
        ("/Action /Exclude /Fields 61 0 R", false),
        ("/Action /Exclude /Fields [42]", true),
        ("/Action /Include /Fields [42]", true),
        ("/Action /Other /Fields [(country)]", true),
        ("/Action (Include) /Fields [(country)]", true),
        ("/Fields [(country)]", true),
    ] {
        let of_value =
            format!("/Reference [ << /TransformMethod /FieldMDP /TransformParams << {rule} >> >> ]");
        let of_field = format!("/Lock << /Type /SigFieldLock {rule} >>");
        for document in [signed(&by, &of_value, "", NOWHERE), signed(&by, "", &of_field, NOWHERE)] {
            let update = Maker::update(&document).object(21, text_field("(Shanghai)")).table(ROOT);
            let report = by.judge(&update);
            match locked {
                true => assert_objected(&report, "locked_field_changed"),
                false => assert_permitted(&report, "form_filled"),
            }
        }
    }
}

#[test]
fn a_locked_field_is_not_signed() {
    let by = Signatory::p256();
    for (rule, locked) in [
        ("/Action /All", true),
        ("/Action /Include /Fields [(second)]", true),
        ("/Action /Exclude /Fields [(second)]", false),
    ] {
        let document = signed(&by, "", &format!("/Lock << {rule} >>"), NOWHERE);
        let report = by.judge(&filled(&by, &document, NOWHERE, "adbe.pkcs7.detached"));
        match locked {
            true => assert_objected(&report, "locked_field_changed"),
            false => assert_permitted(&report, "signature_added"),
        }
    }
}

#[test]
fn a_timestamp_in_a_field_that_is_seen_is_what_a_signature_there_is() {
    let by = Signatory::p256();
    for (level, rectangle, permitted) in
        [(1, NOWHERE, true), (1, SOMEWHERE, false), (2, NOWHERE, true), (2, SOMEWHERE, true)]
    {
        let document = signed(&by, &certified(level), "", rectangle);
        let report = by.judge(&filled(&by, &document, rectangle, "ETSI.RFC3161"));
        match permitted {
            true => assert_permitted(&report, "timestamp_added"),
            false => assert_objected(&report, "change_not_permitted"),
        }
    }
    // What it looks like is what the signer saw: neither another look nor the same one drawn anew.
    let shape = "/Type /XObject /Subtype /Form /BBox [0 0 595 842]";
    let look = format!("{SOMEWHERE} /AP << /N 43 0 R >>");
    let document = {
        let first = base().stream(43, shape, b"(good)").table(ROOT);
        let update = placeholder(Maker::update(&first), 30, &[30, 40], "", "");
        by.fill(update.object(40, empty(&look)).table(ROOT))
    };
    let evil = |number, look: &str| {
        let update = Maker::update(&document).object(40, empty(&format!("{look} /V 41 0 R")));
        let update = update.object(41, value("/SubFilter /ETSI.RFC3161"));
        by.judge(&by.fill(update.stream(number, shape, b"(evil)").table(ROOT)))
    };
    assert_objected(&evil(44, &look.replace("43", "44")), "field_changed");
    assert_objected(&evil(43, &look), "content_changed");
    // Its widget may stand by itself.
    for (rectangle, permitted) in [(NOWHERE, true), (SOMEWHERE, false)] {
        let first =
            base().object(42, format!("<< /Type /Annot /Subtype /Widget /Parent 40 0 R {rectangle} >>"));
        let update = placeholder(Maker::update(&first.table(ROOT)), 30, &[30, 40], &certified(1), "");
        let update = update.object(3, page_object(" 30 0 R 42 0 R"));
        let field = |more: &str| format!("<< /T (second) /FT /Sig /Kids [42 0 R] {more} >>");
        let document = by.fill(update.object(40, field("")).table(ROOT));
        let update = Maker::update(&document).object(40, field("/V 41 0 R"));
        let report = by.judge(&by.fill(update.object(41, value("/SubFilter /ETSI.RFC3161")).table(ROOT)));
        match permitted {
            true => assert_permitted(&report, "timestamp_added"),
            false => assert_objected(&report, "change_not_permitted"),
        }
    }
}

#[test]
fn new_widgets_of_an_empty_field_count_as_what_they_show() {
    let by = Signatory::p256();
    let first = base().table(ROOT);
    let field = |more: &str| format!("<< /T (second) /FT /Sig {more} >>");
    for (level, rectangle, unsigned, signed) in [
        (None, SOMEWHERE, "field_added", ""),
        (None, "/Rect [0 0 595 842] /F 2", "", ""),
        (None, "/Rect [0 0 595 842] /F 2 /AP << /N 22 0 R >>", "field_added", ""),
        (Some(2), NOWHERE, "", ""),
        (Some(2), SOMEWHERE, "field_added", "change_not_permitted"),
        // What cannot be read as a rectangle may be one to others.
        (Some(2), "/Rect [0 0 595]", "field_added", "change_not_permitted"),
        (Some(2), "/Rect 63 0 R", "field_added", "change_not_permitted"),
        (Some(3), SOMEWHERE, "field_added", "change_not_permitted"),
    ] {
        let of_value = level.map(certified).unwrap_or_default();
        let update = placeholder(Maker::update(&first), 30, &[30, 40], &of_value, "");
        let update = update.object(3, page_object(" 30 0 R")).object(40, field(""));
        let document = by.fill(update.object(63, "[0 0 595 842]").table(ROOT));
        let widget = format!("<< /Type /Annot /Subtype /Widget /Parent 40 0 R /P 3 0 R {rectangle} >>");
        let update = |more: &str| {
            let update = Maker::update(&document).object(40, field(&format!("/Kids [42 0 R] {more}")));
            update.object(42, &widget).object(3, page_object(" 30 0 R 42 0 R"))
        };
        let with_value = update("/V 41 0 R").object(41, value("/SubFilter /ETSI.CAdES.detached"));
        let stamped = update("/V 41 0 R").object(41, value("/SubFilter /ETSI.RFC3161"));
        let stamped = by.judge(&by.fill(stamped.table(ROOT)));
        if rectangle == SOMEWHERE {
            assert_objected(&stamped, "field_added");
        }
        for (octets, objection) in
            [(update("").table(ROOT), unsigned), (by.fill(with_value.table(ROOT)), signed)]
        {
            let report = by.judge(&octets);
            if !objection.is_empty() {
                assert_objected(&report, objection);
                continue;
            }
            let changes = &report.signatures[0].changes;
            assert!(changes.iter().all(|change| change.permitted), "{changes:?}");
            assert_eq!(report.signatures[0].judgement.verdict, Verdict::Valid, "{report:#?}");
        }
    }
}

/// An invisible signature in a new field, which gets this name if it gets one.
fn invisible(name: Option<&str>) -> SignaturePlan {
    let field = FieldPlan::New { name: name.map(str::to_owned), places: Vec::new() };
    SignaturePlan { field, ..SignaturePlan::new(SubFilter::Cades, HashAlgorithm::Sha256) }
}

#[test]
fn what_the_judge_objects_to_is_not_signed() {
    let by = Signatory::p256();
    let parameters = |rule: &str, method: &str| {
        format!("/Reference [ << /TransformMethod /{method} /TransformParams << {rule} >> >> ]")
    };
    let include = |name: &str| format!("/Action /Include /Fields [({name})]");
    let second = SignaturePlan {
        field: FieldPlan::Existing("second".to_owned()),
        ..SignaturePlan::new(SubFilter::Cades, HashAlgorithm::Sha256)
    };
    for (of_value, of_field, plan, permitted) in [
        // The catalog says nothing of a certification, the signature does.
        (certified(1), String::new(), invisible(None), false),
        (certified(0), String::new(), invisible(None), false),
        (certified(9), String::new(), invisible(None), false),
        (parameters("/P (2)", "DocMDP"), String::new(), invisible(None), false),
        (parameters("", "DocMDP"), String::new(), invisible(None), true),
        (certified(2), String::new(), invisible(None), true),
        (certified(2), "/Lock << /Action /Include /Fields [] /P 1 >>".to_owned(), invisible(None), false),
        // The signature says nothing of a lock, its field does.
        (String::new(), "/Lock << /Action /All >>".to_owned(), invisible(None), false),
        (String::new(), format!("/Lock << {} >>", include("second")), second.clone(), false),
        (String::new(), format!("/Lock << {} >>", include("first")), second.clone(), true),
        (String::new(), format!("/Lock << {} >>", include("mine")), invisible(Some("mine")), false),
        (String::new(), format!("/Lock << {} >>", include("Signature1")), invisible(None), false),
        (parameters(&include("second"), "FieldMDP"), String::new(), second.clone(), false),
        (parameters(&include("town"), "FieldMDP"), String::new(), second, true),
    ] {
        let document = signed(&by, &of_value, &of_field, NOWHERE);
        match by.stamp(&document, &plan) {
            Ok(stamped) => {
                assert!(permitted, "{of_value} {of_field}");
                let report = by.judge(&stamped);
                assert_eq!(report.judgement.verdict, Verdict::Valid, "{of_value} {of_field}: {report:#?}");
            }
            Err(error) => {
                assert_eq!((error.code(), permitted), ("not_permitted", false), "{of_value} {of_field}");
            }
        }
    }
    for (rectangle, permitted) in [(NOWHERE, true), (SOMEWHERE, false)] {
        let document = signed(&by, &certified(1), "", rectangle);
        let plan = SignaturePlan {
            field: FieldPlan::Existing("second".to_owned()),
            ..SignaturePlan::new(SubFilter::Timestamp, HashAlgorithm::Sha256)
        };
        assert_eq!(prepare(&document, &plan).is_ok(), permitted, "{rectangle}");
    }
}

#[test]
fn a_page_that_has_a_key_twice_is_signed_and_has_it_once() {
    let by = Signatory::p256();
    for more in ["/Rotate 0 /Rotate 0", "/Group << /S /Transparency /S /Transparency >>"] {
        let page = page_object("").replace("/Type /Page ", &format!("/Type /Page {more} "));
        let stamped = by.stamp(&base().object(3, page).table(ROOT), &invisible(None)).unwrap();
        let twice = by.stamp(&stamped, &invisible(None)).unwrap();
        let report = by.judge(&twice);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{more}: {report:#?}");
    }
}

#[test]
fn a_document_at_the_limits_takes_no_more() {
    let by = Signatory::p256();
    let timestamp = SignaturePlan::new(SubFilter::Timestamp, HashAlgorithm::Sha256);
    let code =
        |document: &[u8], plan: &SignaturePlan| prepare(document, plan).map_err(|error| error.code()).err();
    // Fields that have a value are signatures, whatever it is.
    for (signatures, invisibly, stamped) in
        [(98, None, None), (99, Some("too_large"), None), (100, Some("too_large"), Some("too_large"))]
    {
        let numbers: Vec<u32> = (100..100 + signatures).collect();
        let mut document = base().object(20, pdf::form(&numbers));
        for number in numbers {
            document = document.object(number, format!("<< /FT /Sig /T (s{number}) /V << /Type /Sig >> >>"));
        }
        let document = document.table(ROOT);
        assert_eq!(code(&document, &invisible(None)), invisibly, "{signatures}");
        assert_eq!(code(&document, &timestamp), stamped, "{signatures}");
    }
    for (updates, invisibly, stamped) in
        [(252, None, None), (253, Some("too_large"), None), (255, Some("too_large"), Some("too_large"))]
    {
        let mut document = base().table(ROOT);
        for _ in 0..updates {
            document = Maker::update(&document).object(90, "(more)").table(ROOT);
        }
        assert_eq!(code(&document, &invisible(None)), invisibly, "{updates}");
        assert_eq!(code(&document, &timestamp), stamped, "{updates}");
        if invisibly.is_none() {
            let signed = by.stamp(&document, &invisible(None)).unwrap();
            assert_eq!(by.judge(&signed).judgement.verdict, Verdict::Valid);
        }
    }
}
