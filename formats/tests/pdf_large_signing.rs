//! Large documents: what they cost in memory, measured on this process, which does nothing else.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::fmt::Write;

use formats::pdf::sign::{
    Edge, FieldPlan, Look, Occurrence, PageRect, Pages, Place, SignaturePlan, SubFilter, prepare,
};
use formats::scheme::HashAlgorithm;

/// A document of pages with a line of text each, and one picture of so many octets.
fn document(pages: usize, picture: usize) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    let mut put = |out: &mut Vec<u8>, body: &[u8]| {
        places.push(out.len());
        out.extend_from_slice(format!("{} 0 obj\n", places.len()).as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\nendobj\n");
    };
    put(&mut out, b"<</Type/Catalog/Pages 2 0 R>>");
    let mut kids = String::new();
    (0..pages).for_each(|page| write!(kids, "{} 0 R ", 5 + 2 * page).unwrap());
    put(&mut out, format!("<</Type/Pages/Count {pages}/Kids[{kids}]>>").as_bytes());
    put(&mut out, b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>");
    let mut stream =
        format!("<</Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray/Length {picture}>>stream\n")
            .into_bytes();
    stream.resize(stream.len() + picture, 7);
    stream.extend_from_slice(b"\nendstream");
    put(&mut out, &stream);
    drop(stream);
    for page in 0..pages {
        let content = 6 + 2 * page;
        let resources = "<</Font<</F 3 0 R>>/XObject<</P 4 0 R>>>>";
        put(
            &mut out,
            format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {content} 0 R/Resources{resources}>>")
                .as_bytes(),
        );
        let text = format!("BT /F 12 Tf 72 700 Td (Page {page}: sign here) Tj ET");
        put(&mut out, format!("<</Length {}>>stream\n{text}\nendstream", text.len()).as_bytes());
    }
    let table = out.len();
    let mut tail = format!("xref\n0 {}\n0000000000 65535 f\r\n", places.len() + 1);
    places.iter().for_each(|place| write!(tail, "{place:010} 00000 n\r\n").unwrap());
    write!(tail, "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", places.len() + 1).unwrap();
    out.extend_from_slice(tail.as_bytes());
    out
}

/// The most memory this process ever had, in octets.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn text_plan(places: Vec<Place>) -> SignaturePlan {
    SignaturePlan {
        look: Some(Look::of_text(vec!["审核通过".to_owned()])),
        field: FieldPlan::New { name: None, places },
        ..SignaturePlan::new(SubFilter::Pkcs7, HashAlgorithm::Sm3)
    }
}

#[test]
fn memory_does_not_grow_with_what_an_update_does_not_touch() {
    let small = document(2, 1 << 10);
    let rect =
        |pages| Place::Rect { pages, rect: PageRect { left: 10.0, top: 10.0, width: 40.0, height: 20.0 } };
    prepare(&small, &text_plan(vec![rect(Pages::All)])).unwrap(); // what is loaded once
    // What is signed must fit as well, with the update.
    let large = document(2, (64 << 20) - (256 << 10));
    assert!(large.len() <= 64 << 20 && large.len() > (63 << 20));
    let before = peak();
    prepare(&large, &text_plan(vec![rect(Pages::All)])).unwrap();
    assert!(peak() - before < 4 << 20, "{} octets more", peak() - before);
    drop(large);

    // A thousand pages, each found by its text and each with a strip of a seal.
    let many = document(1_000, 1 << 10);
    let seam = Place::Seam {
        pages: Pages::All,
        edge: Edge::Right,
        size: (40.0, 40.0),
        offset: 50.0,
        most_pages: 20,
    };
    let keyword = Place::Keyword {
        keyword: "sign here".to_owned(),
        pages: Pages::All,
        occurrence: Occurrence::All,
        size: (30.0, 10.0),
        offset: (0.0, 15.0),
    };
    let prepared = prepare(&many, &text_plan(vec![seam, keyword])).unwrap();
    let update = prepared.finish(&[1; 64]).unwrap();
    let said = String::from_utf8_lossy(&update);
    assert_eq!(said.matches("/Subtype /Widget").count() + said.matches("/Subtype/Widget").count(), 2_000);
}
