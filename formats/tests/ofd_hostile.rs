//! Packages made to mislead or to exhaust: each is refused by name, before anything large is unpacked.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::io::Write;

use formats::Verdict;
use formats::ofd::{MAX_ENTRIES, Package};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::packaging::{Parts, judge, plan, sealed, sealed_by, sign};
use crate::sealing::Site;

/// Judges it, and gives the code of what was found.
fn refused(ofd: &[u8]) -> &'static str {
    let report = judge(&Site::sm2(), ofd);
    let code = report.judgement.findings[0].code;
    // What cannot be read may be good.
    let expected = match code {
        "encrypted" | "too_large" => Verdict::Indeterminate,
        _ => Verdict::Invalid,
    };
    assert_eq!(report.judgement.verdict, expected, "{:?}", report.judgement);
    code
}

/// Every place of `from` becomes `to`, which is as long.
fn patched(octets: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut octets = octets.to_vec();
    let places: Vec<_> = (0..=octets.len() - from.len()).filter(|&p| octets[p..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| octets[place..place + to.len()].copy_from_slice(to));
    octets
}

/// The place of the header with this signature that holds `name`.
fn header(octets: &[u8], signature: &[u8; 4], name: &str) -> usize {
    let to_name = if signature == b"PK\x03\x04" { 30 } else { 46 };
    let place = (0..octets.len()).find(|&p| {
        octets[p..].starts_with(signature)
            && octets.get(p + to_name..).is_some_and(|rest| rest.starts_with(name.as_bytes()))
    });
    place.unwrap()
}

fn with(name: &str) -> Vec<u8> {
    let mut parts = Parts::plain(1);
    parts.set("Doc_0/zz.xml", "<a/>");
    patched(&parts.zip(), b"Doc_0/zz.xml", name.as_bytes())
}

#[test]
fn names_that_lead_elsewhere_or_come_twice_are_refused() {
    for name in
        ["../../zz.xml", "/Doc_0zz.xml", "Doc_0\\zz.xml", "Doc_0//z.xml", "Doc_0/./.xml", "C:c_0/zz.xml"]
    {
        assert_eq!(refused(&with(name)), "ofd_unsafe_path", "{name}");
    }
    let not_utf8 = patched(&with("Doc_0/zz.xml"), b"Doc_0/zz.xml", b"Doc_0/\xce\xc4.xml");
    assert_eq!(refused(&not_utf8), "ofd_unsafe_path");
    for name in ["Doc_0/aa.xml", "DOC_0/AA.XML"] {
        let mut parts = Parts::plain(1);
        parts.set("Doc_0/zz.xml", "<a/>");
        parts.set("Doc_0/aa.xml", "<b/>");
        let twice = patched(&parts.zip(), b"Doc_0/zz.xml", name.as_bytes());
        assert_eq!(refused(&twice), "ofd_duplicate_entry", "{name}");
    }
    assert_eq!(judge(&Site::sm2(), &with("Doc_0/yy.xml")).judgement.verdict, Verdict::Unsigned);
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let ofd = sealed(&Site::sm2(), 1);
    let local = |name| header(&ofd, b"PK\x03\x04", name);
    let central = |name| header(&ofd, b"PK\x01\x02", name);
    let altered = |place: usize, octets: &[u8]| {
        let mut altered = ofd.clone();
        altered[place..place + octets.len()].copy_from_slice(octets);
        altered
    };
    // The local header has another name than the directory.
    assert_eq!(refused(&altered(local("Doc_0/Document.xml") + 30, b"Doc_1")), "malformed");
    // Two entries in one place.
    let elsewhere = u32::try_from(local("OFD.xml")).unwrap().to_le_bytes();
    assert_eq!(refused(&altered(central("Doc_0/Document.xml") + 42, &elsewhere)), "malformed");
    // Encrypted.
    let mut encrypted = altered(local("OFD.xml") + 6, &[1]);
    let place = central("OFD.xml") + 8;
    encrypted[place] |= 1;
    assert_eq!(refused(&encrypted), "encrypted");
    // It unpacks to more, and to less, than it says.
    for size in [10u32, 100_000] {
        let mut lying = altered(local("OFD.xml") + 22, &size.to_le_bytes());
        let place = central("OFD.xml") + 24;
        lying[place..place + 4].copy_from_slice(&size.to_le_bytes());
        assert_eq!(refused(&lying), "malformed");
    }
    // Octets before, behind and between: each may be another package to another reader.
    assert_eq!(refused(&[b"junk", &ofd[..]].concat()), "malformed");
    assert_eq!(refused(&[&ofd[..], b"junk"].concat()), "malformed");
    assert_eq!(refused(&[&ofd[..], &ofd[..]].concat()), "malformed");
}

#[test]
fn bombs_are_refused_by_what_they_say_before_they_are_unpacked() {
    let pack = |octets: &[u8]| {
        let mut parts = Parts::plain(1);
        parts.put("Doc_0/Res/large.bin", octets);
        parts.zip()
    };
    assert_eq!(refused(&pack(&vec![0; 8 << 20])), "too_large");
    // As large, and not a bomb.
    let mut state = 7u32;
    let noise: Vec<u8> = (0..8 << 20)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect();
    assert_eq!(judge(&Site::sm2(), &pack(&noise)).judgement.verdict, Verdict::Unsigned);

    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for number in 0..=MAX_ENTRIES {
        writer.start_file(number.to_string(), options).unwrap();
    }
    assert_eq!(refused(&writer.finish().unwrap().into_inner()), "too_large");
}

#[test]
fn archives_written_as_a_stream_are_read() {
    let parts = Parts::of(&sealed(&Site::sm2(), 2));
    let mut writer = ZipWriter::new_stream(Vec::new());
    for (name, octets) in &parts.0 {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(octets).unwrap();
    }
    let ofd = writer.finish().unwrap().into_inner();
    // Sizes stand behind the content, in data descriptors.
    assert!(ofd.windows(4).any(|window| window == b"PK\x07\x08"));
    assert_eq!(judge(&Site::sm2(), &ofd).judgement.verdict, Verdict::Valid);
}

#[test]
fn parts_that_are_no_honest_xml_are_refused() {
    let deep = "<a>".repeat(100) + &"</a>".repeat(100);
    let entity = "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><x>&a;</x>";
    for content in [entity, deep.as_str(), "", "text", "<OFD/>", "<ofd:OFD/>", "\u{0}"] {
        let mut parts = Parts::plain(1);
        parts.set("OFD.xml", content);
        assert_eq!(refused(&parts.zip()), "malformed", "{content}");
    }
    let good = Parts::of(&sealed(&Site::sm2(), 1));
    const LIST: &str = "Doc_0/Signs/Signatures.xml";
    for (part, from, to) in [
        (LIST, "Type=\"Seal\"", "Type=\"Other\""),
        (LIST, "</ofd:Signatures>", "<ofd:Signature ID=\"1\" BaseLoc=\"/OFD.xml\"/></ofd:Signatures>"),
        ("Doc_0/Signs/Sign_0/Signature.xml", "<ofd:SignedInfo>", "<ofd:SignedInfo/><ofd:SignedInfo>"),
        ("Doc_0/Signs/Sign_0/Signature.xml", "<ofd:CheckValue>", "<ofd:CheckValue>!"),
        ("Doc_0/Signs/Sign_0/Signature.xml", "120 200 42 42", "120 200 inf 42"),
    ] {
        let mut parts = good.clone();
        parts.replace(part, from, to);
        assert_eq!(refused(&parts.zip()), "malformed", "{part}: {to}");
    }
}

#[test]
fn names_that_every_element_would_repeat_and_locations_without_end_are_refused() {
    let mut parts = Parts::plain(1);
    let long = format!("xmlns=\"{}\"><ofd:DocBody>{}", "n".repeat(3 << 20), "<b/>".repeat(150_000));
    parts.replace("OFD.xml", "><ofd:DocBody>", &format!(" {long}"));
    assert_eq!(refused(&parts.zip()), "malformed");

    // Two steps each time: where a location leads is not found out at any price, and not passed over.
    let site = Site::sm2();
    const RES: &str = "Doc_0/DocumentRes.xml";
    for (from, to) in [
        (">logo.png<", format!(">{}logo.png<", "./".repeat(1 << 20))),
        ("BaseLoc=\"Res\"", format!("BaseLoc=\"{}Res\"", "./".repeat(1 << 20))),
    ] {
        let mut parts = Parts::plain(1);
        parts.replace(RES, from, &to);
        let unsigned = parts.zip();
        let report = judge(&site, &sign(&site, plan(&site, &unsigned, sealed_by(&site))));
        assert_eq!(report.judgement.verdict, Verdict::Indeterminate, "{:?}", report.judgement);
        assert!(report.judgement.has("ofd_part_unreadable"));
    }
}

#[test]
fn pages_and_documents_that_stand_there_again_and_again_are_refused_before_they_are_read() {
    const PAGE: &str = "<ofd:Page ID=\"10\" BaseLoc=\"Pages/Page_0/Content.xml\"/>";
    for again in ["Pages/Page_0/Content.xml", "./Pages/Page_0/../Page_0/Content.xml"] {
        let mut parts = Parts::plain(1);
        let twice = format!("{PAGE}<ofd:Page ID=\"11\" BaseLoc=\"{again}\"/>");
        parts.replace("Doc_0/Document.xml", PAGE, &twice);
        assert_eq!(refused(&parts.zip()), "malformed", "{again}");
    }
    for again in ["Doc_0/Document.xml", "/Doc_0/Document.xml"] {
        let mut parts = Parts::plain(1);
        let body = format!("</ofd:DocBody><ofd:DocBody><ofd:DocRoot>{again}</ofd:DocRoot></ofd:DocBody>");
        parts.replace("OFD.xml", "</ofd:DocBody>", &body);
        assert_eq!(refused(&parts.zip()), "malformed", "{again}");
    }
}

#[test]
fn no_package_cut_short_or_with_an_octet_altered_is_valid() {
    let site = Site::sm2();
    let ofd = sealed(&site, 1);
    for length in (0..ofd.len()).step_by(7) {
        assert!(Package::open(&ofd[..length]).is_err(), "{length}");
    }
    let mut valid = 0;
    for place in (0..ofd.len()).step_by(3) {
        let mut altered = ofd.clone();
        altered[place] ^= 0x40;
        let report = judge(&site, &altered);
        // Times of entries and the like are nobody's content.
        if report.judgement.verdict == Verdict::Valid {
            valid += 1;
            assert_eq!(report.signatures[0].uncovered.len(), 0);
            let (before, after) = (Parts::of(&ofd).0, Parts::of(&altered).0);
            assert_eq!(before, after, "octet {place}");
        }
    }
    assert!(valid < ofd.len() / 12, "{valid}");
}

#[test]
fn an_unprotected_part_that_only_some_readers_find_leaves_it_undecided() {
    let site = Site::sm2();
    // What was signed names a picture that is not there; the one that comes later has its name to some systems.
    for (named, later) in [
        ("missing.png", "Doc_0/Res/MISSING.PNG"),
        ("Missing.PNG", "Doc_0/res/missing.png"),
        ("sub\\missing.png", "Doc_0/Res/sub/missing.png"),
        ("\\Doc_0\\Res\\missing.png", "Doc_0/Res/missing.png"),
        ("missing.png.", "Doc_0/Res/missing.png"),
        ("missing.png", "Doc_0/Res/missing.png."),
        ("../../../Doc_0/Res/missing.png", "Doc_0/Res/missing.png"),
    ] {
        let mut parts = Parts::plain(1);
        let image = format!("<ofd:MediaFile>logo.png</ofd:MediaFile><ofd:MediaFile>{named}</ofd:MediaFile>");
        parts.replace("Doc_0/DocumentRes.xml", "<ofd:MediaFile>logo.png</ofd:MediaFile>", &image);
        let unsigned = parts.zip();
        let signed = sign(&site, plan(&site, &unsigned, sealed_by(&site)));
        assert_eq!(judge(&site, &signed).judgement.verdict, Verdict::Valid, "{named}");
        let mut parts = Parts::of(&signed);
        parts.set(later, "a picture");
        let report = judge(&site, &parts.zip());
        assert_eq!(
            report.judgement.verdict,
            Verdict::Indeterminate,
            "{named} {later}: {:?}",
            report.judgement
        );
        assert!(report.judgement.has("ofd_part_ambiguous"), "{named} {later}: {:?}", report.judgement);
        // Protected it is what was signed, whoever finds it.
        let unsigned = {
            let mut parts = Parts::of(&unsigned);
            parts.set(later, "a picture");
            parts.zip()
        };
        let report = judge(&site, &sign(&site, plan(&site, &unsigned, sealed_by(&site))));
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{named} {later}: {:?}", report.judgement);
    }
}

#[test]
fn what_a_part_leads_to_that_only_some_readers_find_counts_too() {
    let site = Site::sm2();
    let mut parts = Parts::plain(1);
    parts.replace("Doc_0/Document.xml", ">DocumentRes.xml<", ">documentres.xml<");
    let without_picture = {
        let mut parts = parts.clone();
        parts.remove("Doc_0/Res/logo.png");
        parts.zip()
    };
    let signed = sign(&site, plan(&site, &without_picture, sealed_by(&site)));
    assert_eq!(judge(&site, &signed).judgement.verdict, Verdict::Valid);
    let mut parts = Parts::of(&signed);
    parts.set("Doc_0/Res/logo.png", "a picture");
    let report = judge(&site, &parts.zip());
    assert!(report.judgement.has("ofd_part_ambiguous"), "{:?}", report.judgement);
    assert_eq!(report.judgement.verdict, Verdict::Indeterminate);
}
