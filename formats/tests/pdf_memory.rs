//! How much memory it takes to look for a keyword on a page that is made to take much: a bounded amount, whatever stands
//! on it. One test alone in its process, because it looks at the process.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod pdf;

use formats::pdf::sign::{FieldPlan, Look, Occurrence, Pages, Place, SignaturePlan, SubFilter, prepare};
use formats::scheme::HashAlgorithm;
use pdf::{Maker, ROOT};

const MIB: u64 = 1 << 20;

/// Octets of memory, by the kernel's word on this process.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

/// How far memory grew at its highest while `act` ran.
fn grown<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = memory("VmRSS:");
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the highest mark begins anew
    let result = act();
    (result, memory("VmHWM:").saturating_sub(before))
}

/// A page with this content, in a font whose only code means this much text.
fn document(content: &[u8], meaning: usize) -> Vec<u8> {
    let map = format!(
        "/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> endcodespacerange\n\
         1 beginbfchar <61> <{}> endbfchar endcmap end",
        "0041".repeat(meaning)
    );
    Maker::new()
        .object(1, "<< /Type /Catalog /Pages 2 0 R >>")
        .object(2, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        .object(
            3,
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> >> >>",
        )
        .stream(4, "", content)
        .object(5, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>")
        .stream(6, "", map.as_bytes())
        .table(ROOT)
}

#[test]
fn a_page_of_16_mebibytes_takes_no_gigabyte() {
    const LARGEST: usize = 15 << 20;
    let text = |string: &[u8]| [b"BT /F1 9 Tf (", string, b") Tj ET"].concat();
    let array = [b"BT /F1 9 Tf [".as_slice(), &b"0 ".repeat(LARGEST / 2), b"] TJ ET"].concat();
    let place = Place::Keyword {
        keyword: "seal".to_owned(),
        pages: Pages::All,
        occurrence: Occurrence::First,
        size: (12.0, 12.0),
        offset: (0.0, 0.0),
    };
    let plan = SignaturePlan {
        look: Some(Look::of_text(vec!["text".to_owned()])),
        field: FieldPlan::New { name: None, places: vec![place] },
        ..SignaturePlan::new(SubFilter::Cades, HashAlgorithm::Sha256)
    };
    for (what, content, meaning) in [
        ("operations", b"q ".repeat(LARGEST / 2), 1),
        ("operands", b"0 ".repeat(LARGEST / 2), 1),
        ("an array", array, 1),
        ("characters", text(&b"a".repeat(LARGEST)), 1),
        ("text of one code", text(&b"a".repeat(LARGEST)), 100_000),
    ] {
        let document = document(&content, meaning);
        drop(content);
        let (answer, growth) = grown(|| prepare(&document, &plan).map(drop));
        println!("{what}: {} MiB", growth / MIB);
        assert_eq!(answer.unwrap_err().code(), "too_large", "{what}");
        assert!(growth < 256 * MIB, "{what}: {growth}");
    }
}
