//! Packages with parts in other encodings than UTF-8: those that producers in China declare are read, and what cannot be
//! read leaves undecided whether everything is protected.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use encoding_rs::{GB18030, GBK};
use formats::Verdict;
use formats::ofd::OfdReport;

use crate::packaging::{Parts, judge, plan, sealed_by, sign};
use crate::sealing::Site;

const DOCUMENT: &str = "Doc_0/Document.xml";
const PAGE: &str = "Doc_0/Pages/Page_0/Content.xml";
const RESOURCES: &str = "Doc_0/DocumentRes.xml";

/// A package of one page, of which `change` makes another before it is sealed.
fn sealed(site: &Site, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::plain(1);
    change(&mut parts);
    let ofd = parts.zip();
    sign(site, plan(site, &ofd, sealed_by(site)))
}

/// The part as it would be written in another encoding.
fn transcode(parts: &mut Parts, part: &str, encoding: &'static encoding_rs::Encoding, name: &str) {
    let text = format!("<?xml version=\"1.0\" encoding=\"{name}\"?>{}", parts.text(part));
    let (octets, _, lossy) = encoding.encode(&text);
    assert!(!lossy);
    parts.put(part, &octets);
}

fn notes(report: &OfdReport) -> Vec<&str> {
    let findings = report.judgement.findings.iter();
    findings.filter(|one| one.code == "ofd_form_tolerated").map(|one| one.detail.as_str()).collect()
}

#[test]
fn parts_that_declare_gbk_or_gb18030_are_read_and_said_to_be_so() {
    let site = Site::sm2();
    for (encoding, name) in [(GBK, "GBK"), (GB18030, "gb18030")] {
        let ofd = sealed(&site, |parts| {
            // A template whose name is Chinese, so that what is read decides what must be protected.
            parts.replace(
                DOCUMENT,
                "<ofd:DocumentRes>",
                "<ofd:TemplatePage ID=\"7\" BaseLoc=\"Tpls/模板.xml\"/><ofd:DocumentRes>",
            );
            transcode(parts, DOCUMENT, encoding, name);
            transcode(parts, PAGE, encoding, name);
        });
        let report = judge(&site, &ofd);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
        assert_eq!(notes(&report), [format!("encoding {name}")]);

        let mut altered = Parts::of(&ofd);
        let page = altered.octets(PAGE);
        let (page, _) = encoding.decode_without_bom_handling(&page);
        altered.put(PAGE, &encoding.encode(&page.replace('第', "弟")).0);
        assert!(judge(&site, &altered.zip()).judgement.has("ofd_part_altered"));

        let mut added = Parts::of(&ofd);
        added.set("Doc_0/Tpls/模板.xml", "<Page/>");
        let report = judge(&site, &added.zip());
        assert_eq!(report.judgement.verdict, Verdict::Invalid);
        assert_eq!(report.signatures[0].uncovered, ["Doc_0/Tpls/模板.xml"]);
    }
}

#[test]
fn a_shown_part_that_cannot_be_read_leaves_the_package_undecided() {
    let site = Site::sm2();
    let utf_16 = |text: &str| -> Vec<u8> {
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    // Declared as GBK, and the same octets in UTF-8 say something else.
    let both = b"<?xml version=\"1.0\" encoding=\"GBK\"?><a>\xd2\xbb</a>";
    for (name, octets) in [
        ("DocumentRes.xml", b"<!DOCTYPE Res><ofd:Res xmlns:ofd=\"http://www.ofdspec.org/2016\"/>".to_vec()),
        ("DocumentRes.xml", b"<?xml version=\"1.0\" encoding=\"Big5\"?><a/>".to_vec()),
        ("DocumentRes.xml", b"<?xml version=\"1.0\"?><a>\xce\xf7\xb0\xb2</a>".to_vec()),
        ("DocumentRes.xml", b"<a>".to_vec()),
        ("DocumentRes.xml", both.to_vec()),
        ("DocumentRes.xml", utf_16("<a/>")),
        ("Resources", utf_16("<a>Res/logo.png</a>")),
        ("Resources", [b" ".repeat(300), b"<!DOCTYPE a><a/>".to_vec()].concat()),
    ] {
        let ofd = sealed(&site, |parts| {
            parts.remove(RESOURCES);
            parts.replace(DOCUMENT, "DocumentRes.xml", name);
            parts.put(&format!("Doc_0/{name}"), &octets);
        });
        let report = judge(&site, &ofd);
        let told = format!("{name}: {} {:?}", String::from_utf8_lossy(&octets), report.judgement);
        assert_eq!(report.judgement.verdict, Verdict::Indeterminate, "{told}");
        assert_eq!(report.signatures[0].judgement.verdict, Verdict::Indeterminate, "{told}");
        assert!(report.judgement.has("ofd_part_unreadable"), "{told}");

        // What is wrong besides is wrong all the same.
        let mut altered = Parts::of(&ofd);
        altered.replace(PAGE, "20 20", "30 20");
        assert_eq!(judge(&site, &altered.zip()).judgement.verdict, Verdict::Invalid, "{told}");
    }
    // A picture is no part that could lead anywhere, and nor is what nothing leads to.
    let report = judge(&site, &sealed(&site, |parts| parts.set("Doc_0/loose.xml", "<!DOCTYPE a><a/>")));
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
}

#[test]
fn a_list_in_gbk_is_not_added_to() {
    let site = Site::sm2();
    let mut parts = Parts::plain(1);
    transcode(&mut parts, "OFD.xml", GBK, "GBK");
    // The declaration that was there before stands second now.
    let text = String::from_utf8(parts.octets("OFD.xml")).unwrap();
    parts.set("OFD.xml", &text.replacen("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "", 1));
    let ofd = parts.zip();
    assert_eq!(judge(&site, &ofd).judgement.verdict, Verdict::Unsigned);
    let refused = plan(&site, &ofd, sealed_by(&site)).prepare().unwrap_err();
    assert_eq!(refused.to_string(), "OFD.xml is GBK; only to UTF-8 can be added");
}
