//! Large documents: judged, and for no more memory than a stated multiple of their size. One test, so that nothing else
//! runs in this process while it is measured.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod pdf;
mod pki;
#[path = "pdf/signed.rs"]
mod signed;

use formats::Verdict;
use formats::pdf::Limits;
use pdf::{Maker, ROOT, base, placeholder, text_field};
use signed::Signatory;

/// Octets that judging may take beside the document itself, as a multiple of its size, and those it may take besides.
const MULTIPLE: usize = 2;
const BESIDES: usize = 24 << 20;

/// The most that this process has had in memory since it was last asked, octets (Linux, proc(5)).
fn peak_since_reset() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn reset_peak() -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_since_reset()
}

#[test]
fn a_large_document_a_thousand_pages_and_a_thousand_objects_more_are_judged() {
    let by = Signatory::p256();
    // As large as may be, with an update after the signature that makes the judge walk through all of it.
    let room = Limits::default().octets - (200 << 10);
    let padding: Vec<u8> = (0..room).map(|octet| (octet % 251) as u8).collect();
    let document = base().object(24, "<< /Big 25 0 R >>").stream(25, "", &padding).table(ROOT);
    drop(padding);
    let octets = by.fill(placeholder(Maker::update(&document), 30, &[30], "", "").table(ROOT));
    drop(document);
    let octets = Maker::update(&octets).object(21, text_field("(Shanghai)")).stream(22, "", b"x").table(ROOT);
    assert!(octets.len() > 63 << 20);
    let before = reset_peak();
    let report = by.judge(&octets);
    let taken = peak_since_reset() - before;
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    println!("{} MiB of document, {} MiB to judge it", octets.len() >> 20, taken >> 20);
    assert!(taken <= MULTIPLE * octets.len() + BESIDES, "{taken}");
    assert!(by.judge(&[&octets, &*vec![b' '; 1 << 20]].concat()).judgement.has("too_large"));

    // A thousand pages, each with contents of its own.
    let mut maker = base();
    let kids: String = (0..1_000).map(|page| format!("{} 0 R ", 1_000 + 2 * page)).collect();
    for page in 0..1_000_u32 {
        let number = 1_000 + 2 * page;
        let dictionary =
            format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents {} 0 R >>", number + 1);
        maker = maker.object(number, dictionary).stream(number + 1, "", format!("({page})").as_bytes());
    }
    let document =
        maker.object(2, format!("<< /Type /Pages /Kids [3 0 R {kids}] /Count 1001 >>")).table(ROOT);
    let octets = by.sign(&document, 30, &[30]);
    let filled = Maker::update(&octets).object(21, text_field("(Shanghai)")).stream(22, "", b"x").table(ROOT);
    assert_eq!(by.judge(&filled).judgement.verdict, Verdict::Valid);
    let evil = Maker::update(&octets).stream(2_001, "", b"(evil)").table(ROOT);
    assert!(by.judge(&evil).judgement.has("content_changed"));

    // Update after update: more of them than are read is said, and as many as are read come to an end.
    let mut many = octets;
    for _ in 0..200 {
        many = Maker::update(&many).object(21, text_field("(again)")).table(ROOT);
    }
    let report = by.judge(&many);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
    assert_eq!(report.revisions, 202);
    for _ in 0..100 {
        many = Maker::update(&many).object(21, text_field("(again)")).table(ROOT);
    }
    assert!(by.judge(&many).judgement.has("too_large"));
}
