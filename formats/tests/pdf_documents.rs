//! PDFs of every structure are read as they are written, and what is damaged, encrypted or a bomb is refused by name.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;

use formats::pdf::{Document, Limits, PdfError, Place};
use lopdf::Object;
use pdf::{Entry, Maker, ROOT, page, page_with};

fn title(document: &Document<'_>) -> Vec<u8> {
    let view = document.latest();
    let Ok(Object::Stream(contents)) = view.object((4, 0)) else { panic!("the page has contents") };
    view.content(&contents).unwrap()
}

#[track_caller]
fn refused(octets: &[u8], code: &str) -> PdfError {
    let error = match Document::open(octets) {
        Err(error) => error,
        // What stands behind the structure shows when it is read.
        Ok(document) => {
            let view = document.latest();
            view.pages().and_then(|_| view.signature_fields().map(drop)).unwrap_err()
        }
    };
    assert_eq!(error.code(), code, "{error}");
    error
}

#[test]
fn tables_streams_hybrids_and_object_streams_are_read_alike() {
    let within = |maker: Maker| maker.members(9, &[(7, "<< /A 1 >>"), (8, "[ (x) 2 ]")]);
    let files = [
        page("Hello").table(ROOT),
        page("Hello").xref_stream(6, ROOT),
        within(page("Hello")).xref_stream(6, ROOT),
        within(page("Hello")).hybrid(6, ROOT),
    ];
    for file in &files {
        let document = Document::open(file).unwrap();
        assert_eq!(document.revisions().len(), 1);
        assert_eq!(document.revisions()[0].octets, 0..file.len() - 1, "the last end of line is not its own");
        assert_eq!(document.trailing(), b"\n");
        assert_eq!(document.latest().pages().unwrap(), [(3, 0)]);
        assert!(String::from_utf8(title(&document)).unwrap().contains("(Hello)"));
    }
    for file in &files[2..] {
        let document = Document::open(file).unwrap();
        let (object, place) = document.latest().located((8, 0)).unwrap().unwrap();
        assert_eq!(place, Place::Within(9));
        assert_eq!(object.as_array().unwrap().len(), 2);
    }
    let kinds = files.map(|file| {
        let document = Document::open(&file).unwrap();
        (document.revisions()[0].is_xref_stream, document.revisions()[0].is_hybrid)
    });
    assert_eq!(kinds, [(false, false), (true, false), (true, false), (false, true)]);
}

#[test]
fn each_update_is_a_revision_with_its_own_view() {
    let first = page("one").table(ROOT);
    let second = Maker::update(&first).stream(4, "", b"(two)").table(ROOT);
    let third = Maker::update(&second).entry(5, Entry::Free).xref_stream(10, ROOT);
    let document = Document::open(&third).unwrap();
    let ends: Vec<_> = document.revisions().iter().map(|revision| revision.octets.end).collect();
    assert_eq!(ends, [first.len() - 1, second.len() - 1, third.len() - 1]);
    let contents = |revision| match document.view(revision).object((4, 0)).unwrap() {
        Object::Stream(stream) => String::from_utf8(stream.content).unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(contents(0).contains("(one)"));
    assert_eq!((contents(1), contents(2)), ("(two)".to_owned(), "(two)".to_owned()));
    assert!(document.view(1).object((5, 0)).unwrap().as_dict().is_ok());
    assert_eq!(document.view(2).object((5, 0)).unwrap(), Object::Null, "it was freed");
    assert_eq!(document.latest().next_number(), 100);
}

#[test]
fn signature_fields_are_found_by_their_whole_names() {
    let form = "/AcroForm << /Fields [10 0 R 13 0 R] >>";
    let file = page_with("x", form, "")
        .object(10, "<< /T (group) /FT /Sig /Kids [11 0 R 12 0 R] >>")
        .object(11, "<< /T (one) /Parent 10 0 R /V 14 0 R >>")
        .object(12, "<< /T <FEFF4E8C> /Parent 10 0 R /Kids [15 0 R] >>")
        .object(13, "<< /T (text) /FT /Tx /V (words) >>")
        .object(14, "<< /Type /Sig /Filter /Adobe.PPKLite >>")
        .object(15, "<< /Subtype /Widget /Parent 12 0 R >>")
        .table(ROOT);
    let fields = Document::open(&file).unwrap().latest().signature_fields().unwrap();
    let names: Vec<_> = fields.iter().map(|field| (&*field.name, field.value.is_some())).collect();
    assert_eq!(names, [("group.one", true), ("group.二", false)]);
    assert_eq!(fields[0].value.as_ref().unwrap().id, Some((14, 0)));
}

#[test]
fn what_is_encrypted_damaged_or_no_pdf_is_refused_by_name() {
    let good = page("x").table(ROOT);
    refused(&page("x").table("/Root 1 0 R /Encrypt << /Filter /Standard >>"), "encrypted");
    refused(b"", "malformed");
    refused(b"%PDF-1.7\n", "malformed");
    refused(b"PK\x03\x04", "malformed");
    refused(&[b"\n", &*good].concat(), "malformed");
    refused(&[&*good, &vec![b'x'; 2000]].concat(), "malformed");
    refused(&page("x").table(""), "malformed");
    for length in 0..good.len() - 1 {
        refused(&good[..length], "malformed");
    }
    let text = String::from_utf8_lossy(&good).into_owned();
    let startxref = text.rfind("startxref").unwrap();
    for wrong in
        ["startxref\n99999999\n%%EOF", "startxref\n0\n%%EOF", "startxref\n-1\n%%EOF", "startxref\n%%EOF"]
    {
        refused(&[&good[..startxref], wrong.as_bytes()].concat(), "malformed");
    }
}

#[test]
fn circles_and_contradictions_are_refused() {
    // Prev that comes back to itself.
    let file = page("x");
    let offset = file.octets.len();
    refused(&file.table(&format!("{ROOT} /Prev {offset}")), "malformed");
    // The page tree in a circle, and a page twice.
    for kids in ["[2 0 R]", "[3 0 R 3 0 R]"] {
        let file = page("x").object(2, format!("<< /Type /Pages /Kids {kids} /Count 1 >>")).table(ROOT);
        refused(&file, "malformed");
    }
    // Fields in a circle.
    let file = page_with("x", "/AcroForm << /Fields [10 0 R] >>", "")
        .object(10, "<< /T (a) /Kids [10 0 R] >>")
        .table(ROOT);
    refused(&file, "malformed");
    // Another object stands where the table says.
    let file = page("x").table(ROOT);
    let moved = String::from_utf8_lossy(&file).into_owned().find("3 0 obj").unwrap();
    let mut file = file;
    file[moved] = b'8';
    refused(&file, "malformed");
    // A stream whose Length is too short or reaches over the end.
    for length in [1, 5_000_000] {
        let stream = format!("<< /Length {length} >>\nstream\nabc\nendstream");
        let file = page("x").object(4, stream).table(ROOT);
        let document = Document::open(&file).unwrap();
        assert_eq!(document.latest().object((4, 0)).unwrap_err().code(), "malformed");
    }
    // Lengths that refer to each other without end.
    let file = page("x").object(4, "<< /Length 4 0 R >>\nstream\nabc\nendstream").table(ROOT);
    assert!(Document::open(&file).unwrap().latest().object((4, 0)).is_err());
}

#[test]
fn depth_number_and_size_are_bounded() {
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let file = page("x").object(5, &deep).table(ROOT);
    assert_eq!(Document::open(&file).unwrap().latest().object((5, 0)).unwrap_err().code(), "malformed");
    let long = format!("[{}]", "0 ".repeat(1 << 20));
    let file = page("x").object(5, &long).table(ROOT);
    assert_eq!(Document::open(&file).unwrap().latest().object((5, 0)).unwrap_err().code(), "malformed");

    let file = page("x").table(ROOT);
    for limits in [
        Limits { octets: 100, ..Limits::default() },
        Limits { objects: 5, ..Limits::default() },
        Limits { sections: 0, ..Limits::default() },
    ] {
        assert_eq!(Document::open_within(&file, limits).unwrap_err().code(), "too_large");
    }
    let updates = (0..5).fold(file, |file, _| Maker::update(&file).object(50, "1").table(ROOT));
    let limits = Limits { sections: 5, ..Limits::default() };
    assert_eq!(Document::open_within(&updates, limits).unwrap_err().code(), "too_large");
    assert_eq!(Document::open(&updates).unwrap().revisions().len(), 6);
}

#[test]
fn members_of_an_object_stream_cannot_share_octets() {
    let body = "<< /A 1 >> ";
    let head = "7 0 8 0 10 0 ";
    let data = format!("{head}{body}");
    let dictionary = format!("/Type /ObjStm /N 3 /First {}", head.len());
    let file = page("x")
        .stream(9, &dictionary, data.as_bytes())
        .entry(7, Entry::Within(9, 0))
        .entry(8, Entry::Within(9, 1))
        .entry(10, Entry::Within(9, 2))
        .xref_stream(6, ROOT);
    let document = Document::open(&file).unwrap();
    // The last of those at one place has the octets, the others have none.
    assert!(document.latest().object((7, 0)).is_err());
    assert!(document.latest().object((8, 0)).is_err());
    assert!(document.latest().object((10, 0)).is_ok());
}

#[test]
fn a_stream_that_inflates_beyond_the_limit_is_refused_and_so_is_the_sum() {
    // ASCIIHexDecode undone by RunLengthDecode: two octets make 128.
    let data: Vec<u8> = [129_u8, b' '].repeat(4_000);
    let file = page("x").stream(4, "/Filter /RunLengthDecode", &data).table(ROOT);
    let limits = Limits { stream: 100_000, ..Limits::default() };
    let document = Document::open_within(&file, limits).unwrap();
    let Object::Stream(stream) = document.latest().object((4, 0)).unwrap() else { panic!("a stream") };
    assert_eq!(document.latest().content(&stream).unwrap_err().code(), "too_large");
    let limits = Limits { streams: 800_000, ..Limits::default() };
    let document = Document::open_within(&file, limits).unwrap();
    assert_eq!(document.latest().content(&stream).unwrap().len(), 512_000);
    assert_eq!(document.latest().content(&stream).unwrap_err().code(), "too_large");
}

#[test]
fn octets_parsed_again_and_again_come_to_an_end() {
    let large = format!("[{}]", "0 ".repeat(400_000));
    let file = page("x").object(5, &large).table(ROOT);
    let document = Document::open(&file).unwrap();
    let reads = (0..1_000).take_while(|_| document.latest().object((5, 0)).is_ok()).count();
    assert!((5..50).contains(&reads), "{reads}");
}

#[test]
fn blanks_and_comments_around_objects_count_as_often_as_they_are_read() {
    for blanks in [b" ".repeat(1 << 20), [b"%".repeat(1 << 20), b"\n".to_vec()].concat()] {
        let before = page("x").raw(&blanks);
        let offset = before.octets.len() - blanks.len();
        let file = before.object(5, "1").entry(5, Entry::At(offset)).table(ROOT);
        let document = Document::open(&file).unwrap();
        let reads = (0..1_000).take_while(|_| document.latest().object((5, 0)).is_ok()).count();
        assert!((5..50).contains(&reads), "{reads}");
        assert_eq!(document.latest().object((5, 0)).unwrap_err().code(), "too_large");

        let before = page("x");
        let offset = before.octets.len();
        let before = before.raw(b"5 0 obj\n<< /Length 3 >>\nstream\nabc\n").raw(&blanks);
        let file = before.raw(b"endstream\nendobj\n").entry(5, Entry::At(offset)).table(ROOT);
        let document = Document::open(&file).unwrap();
        let reads = (0..1_000).take_while(|_| document.latest().object((5, 0)).is_ok()).count();
        assert!((5..200).contains(&reads), "{reads}");
        assert_eq!(document.latest().object((5, 0)).unwrap_err().code(), "too_large");
    }
}

#[test]
fn sections_that_share_octets_come_to_an_end() {
    // One large table that is the section before itself, as it stands at several places in front of it.
    let blanks = b" ".repeat(4 << 20);
    let before = page("x").raw(&blanks);
    let offset = before.octets.len() - blanks.len();
    let file = before.table(&format!("{ROOT} /Prev {}", offset + 1));
    let end = file.windows(9).rposition(|window| window == b"startxref").unwrap();
    let file = [&file[..end], format!("startxref\n{offset}\n%%EOF\n").as_bytes()].concat();
    refused(&file, "too_large");

    // Sections that each stand in a comment to all others, in front of comments that are behind them all.
    let sections = |comment: usize| {
        let mut file = page("x").table(ROOT);
        let mut previous = file.windows(6).position(|window| window == b"xref\n0").unwrap();
        for number in 50..70 {
            file.push(b'%');
            let offset = file.len();
            let dictionary = "/Type /XRef /Size 1 /W [1 4 2] /Length 7 /Root 1 0 R";
            let section = format!(
                "{number} 0 obj << {dictionary} /Prev {previous} >> stream\n%000000endstream endobj\n"
            );
            file.extend_from_slice(section.as_bytes());
            previous = offset;
        }
        file.extend_from_slice(&b"%".repeat(comment));
        file.extend_from_slice(format!("\nstartxref\n{previous}\n%%EOF\n").as_bytes());
        file
    };
    assert!(Document::open(&sections(1)).is_ok());
    refused(&sections(1 << 20), "too_large");
}

#[test]
fn a_large_table_is_read() {
    // 200,000 entries of 20 octets: nothing of it counts twice.
    let file = (10..200_000).fold(page("x"), |file, number| file.entry(number, Entry::Free)).table(ROOT);
    assert_eq!(Document::open(&file).unwrap().latest().pages().unwrap(), [(3, 0)]);
}

#[test]
fn lopdf_reads_the_same_objects() {
    for file in [page("Hello").table(ROOT), page("Hello").members(9, &[(7, "[1]")]).xref_stream(6, ROOT)] {
        let options = lopdf::LoadOptions { strict: true, ..Default::default() };
        let theirs = lopdf::Document::load_mem_with_options(&file, options).unwrap();
        let document = Document::open(&file).unwrap();
        for (id, theirs) in &theirs.objects {
            let ours = document.latest().object(*id).unwrap();
            match (ours, theirs) {
                (Object::Stream(ours), Object::Stream(theirs)) => {
                    assert_eq!((ours.dict, ours.content), (theirs.dict.clone(), theirs.content.clone()));
                }
                (ours, theirs) => assert_eq!(&ours, theirs),
            }
        }
    }
}
