//! License files judged: what is shown, what is carried, and the certificate they belong to.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod packaging;
mod pieces;
mod pki;
mod sealing;

use formats::TrustStore;
use formats::Verdict;
use formats::edition::{Attached, PublicEdition};
use formats::font::Font;
use formats::license_file::{EditionData, FileForm, LicenseFileInput, LicenseFileReport, judge};
use formats::ofd::{OfdSigner, Placement};
use lopdf::{Object, dictionary};

use crate::packaging::{Parts, plan, sign};
use crate::pki::{NOW, codes};
use crate::sealing::Site;

const PAGE: &str = "Doc_0/Pages/Page_0/Content.xml";

fn edition() -> PublicEdition {
    let fact = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    PublicEdition {
        title: "营业执照".to_owned(),
        kind: "公示版".to_owned(),
        facts: vec![
            fact("统一社会信用代码", "91610100MAXTA001XX"),
            fact("名称", "测试（上海）\u{20BB7}智能科技有限公司"),
            fact("住所", "测试市测试区测试路 100 号 8 幢 301 室"),
            fact("经营范围", &"一般项目：技术服务、技术开发、技术咨询、技术交流；软件开发。".repeat(4)),
        ],
        authority: "测试市市场监督管理局".to_owned(),
        date: "2026年05月20日".to_owned(),
        notice: "仅用于测试 TEST ONLY".to_owned(),
        link: Some("https://example.org/verify/ABCDEFGH".to_owned()),
        emblem: None,
        attached: None,
    }
}

/// With data that say what it shows, and a certificate that is none: the page alone is looked at.
fn with_data() -> PublicEdition {
    let mut edition = edition();
    edition.attached = Some(Attached { data: edition.data(), certificate: b"no certificate".to_vec() });
    edition
}

fn judge_file(site: &Site, octets: &[u8], form: FileForm) -> LicenseFileReport {
    let (documents, licenses) = (&site.trust(), &TrustStore::default());
    judge(&LicenseFileInput { octets, form, documents, licenses, at: NOW, sandbox: false })
}

fn sealed(site: &Site, ofd: &[u8]) -> Vec<u8> {
    let signer = OfdSigner::Seal {
        seal: Box::new(site.make(site.seal_plan())),
        certificate: Box::new(site.signer.clone()),
        stamps: vec![Placement { page: 0, boundary: PublicEdition::seal_place(42.0, 42.0), clip: None }],
    };
    sign(site, plan(site, ofd, signer))
}

/// The codes on the file with its page written otherwise before it was sealed.
fn with_page(site: &Site, change: impl Fn(&str) -> String) -> Vec<&'static str> {
    let mut parts = Parts::of(&with_data().to_ofd(Font::built_in(), NOW).unwrap());
    let page = parts.text(PAGE);
    let changed = change(&page);
    assert_ne!(changed, page, "nothing was changed");
    parts.set(PAGE, &changed);
    let report = judge_file(site, &sealed(site, &parts.zip()), FileForm::Ofd);
    shown(&report)
}

/// What there is of the page, and not of seals and certificates.
fn shown(report: &LicenseFileReport) -> Vec<&'static str> {
    codes(&report.judgement)
        .into_iter()
        .filter(|code| code.starts_with("shown") || code.starts_with("face"))
        .collect()
}

#[test]
fn what_an_edition_shows_is_read_back_from_both_forms() {
    let site = Site::sm2();
    let ofd = sealed(&site, &with_data().to_ofd(Font::built_in(), NOW).unwrap());
    let report = judge_file(&site, &ofd, FileForm::Ofd);
    assert_eq!(shown(&report), [""; 0], "{report:#?}");
    assert_eq!(report.data, Some(with_data().data()));
    assert!(report.license.is_some_and(|license| license.judgement.has("malformed")));
    let pdf = with_data().to_pdf(Font::built_in(), NOW).unwrap();
    let report = judge_file(&site, &pdf, FileForm::Pdf);
    assert_eq!(shown(&report), [""; 0], "{report:#?}");
    assert_eq!(report.data, Some(with_data().data()));
    assert!(report.judgement.has("license_file_unsealed"));
    assert_eq!(report.judgement.verdict, Verdict::Invalid);
}

#[test]
fn a_page_that_shows_something_else_than_its_data_is_found_however_it_does() {
    type Change = Box<dyn Fn(&str) -> String>;
    let site = Site::sm2();
    let white = "<ofd:PathObject ID=\"9001\" Boundary=\"55 30 200 100\" Fill=\"true\"/></ofd:Layer>";
    let changes: [(&str, Change, &str); 8] = [
        ("another value", Box::new(|page| page.replace("301", "302")), "shown_text_differs"),
        ("another authority", Box::new(|page| page.replace("市场监督", "市场管理")), "shown_text_differs"),
        ("another label", Box::new(|page| page.replace(">住所<", ">地址<")), "shown_text_differs"),
        ("something over it", Box::new(|page| page.replace("</ofd:Layer>", white)), "shown_text_differs"),
        ("white text", Box::new(|page| page.replace("28 28 28", "250 250 250")), "shown_text_differs"),
        (
            "text out of its boundary",
            Box::new(|page| page.replacen("<ofd:TextCode X=\"0\"", "<ofd:TextCode X=\"900\"", 1)),
            "shown_text_differs",
        ),
        (
            "text that is turned",
            Box::new(|page| page.replacen("<ofd:TextObject ", "<ofd:TextObject CTM=\"-1 0 0 1 0 0\" ", 1)),
            "shown_text_not_compared",
        ),
        (
            "what editions do not have",
            Box::new(|page| page.replace("<ofd:Content>", "<ofd:Template TemplateID=\"1\"/><ofd:Content>")),
            "shown_text_not_compared",
        ),
    ];
    for (what, change, code) in changes {
        let found = with_page(&site, change);
        assert!(found.contains(&code), "{what}: {found:?}");
    }
}

#[test]
fn a_pdf_that_shows_something_else_than_its_data_is_found() {
    let site = Site::sm2();
    let mut other = with_data();
    other.facts[2].1 = other.facts[2].1.replace("301", "302");
    let report = judge_file(&site, &other.to_pdf(Font::built_in(), NOW).unwrap(), FileForm::Pdf);
    assert_eq!(shown(&report), ["shown_text_differs"]);
    let finding = report.judgement.findings.iter().find(|finding| finding.code == "shown_text_differs");
    assert_eq!(finding.unwrap().detail, "住所", "the label, and no value");
}

#[test]
fn a_field_for_a_signature_that_nobody_made_is_no_seal() {
    let site = Site::sm2();
    let pdf = with_data().to_pdf(Font::built_in(), NOW).unwrap();
    let found = |value: Option<&str>, place: [i64; 4]| {
        let mut document = lopdf::Document::load_mem(&pdf).unwrap();
        let mut widget = dictionary! {
            "Type" => "Annot",
            "Subtype" => "Widget",
            "FT" => "Sig",
            "Rect" => place.map(Object::from).to_vec(),
        };
        if let Some(form) = value {
            widget.set("V", dictionary! { "SubFilter" => form });
        }
        let widget = document.add_object(widget);
        let page = document.page_iter().next().unwrap();
        let page = document.get_dictionary_mut(page).unwrap();
        page.set("Annots", vec![widget.into()]);
        let mut octets = Vec::new();
        document.save_to(&mut octets).unwrap();
        shown(&judge_file(&site, &octets, FileForm::Pdf))
    };
    let page = [0, 0, 595, 842];
    assert_eq!(found(Some("GM.sm2seal"), page), [""; 0]);
    assert_eq!(found(Some("ETSI.RFC3161"), [0; 4]), [""; 0]);
    assert_eq!(found(None, page), ["shown_text_not_compared"]);
    assert_eq!(found(Some("ETSI.RFC3161"), page), ["shown_text_not_compared"]);
}

#[test]
fn files_of_others_without_data_are_undecided_and_say_so() {
    let site = Site::sm2();
    let ofd = sealed(&site, &edition().to_ofd(Font::built_in(), NOW).unwrap());
    let pdf = edition().to_pdf(Font::built_in(), NOW).unwrap();
    for (octets, form) in [(ofd, FileForm::Ofd), (pdf, FileForm::Pdf)] {
        let report = judge_file(&site, &octets, form);
        assert_eq!(shown(&report), ["face_data_absent"], "{report:#?}");
        assert!(report.judgement.has("license_certificate_absent"));
        assert_ne!(report.judgement.verdict, Verdict::Valid);
    }
}

#[test]
fn data_that_are_none_or_come_twice_are_refused() {
    let site = Site::sm2();
    let plain = with_data().to_ofd(Font::built_in(), NOW).unwrap();
    for data in ["", "{}", "[]", "{\"version\":2}", "not json"] {
        let mut parts = Parts::of(&plain);
        parts.set("Doc_0/Attachs/face.json", data);
        let report = judge_file(&site, &sealed(&site, &parts.zip()), FileForm::Ofd);
        assert_eq!(shown(&report), ["face_data_malformed"], "{data}");
    }
    let mut parts = Parts::of(&plain);
    let list = parts.text("Doc_0/Attachs/Attachments.xml");
    let start = list.find("<ofd:Attachment ID").unwrap();
    let end = list.find("</ofd:Attachment>").unwrap() + "</ofd:Attachment>".len();
    parts.set("Doc_0/Attachs/Attachments.xml", &(list[..end].to_owned() + &list[start..]));
    let report = judge_file(&site, &sealed(&site, &parts.zip()), FileForm::Ofd);
    assert_eq!(shown(&report), ["shown_text_not_compared"], "another reader may take the other: {report:#?}");
    let mut parts = Parts::of(&plain);
    parts.set("Doc_0/Attachs/face.json", &" ".repeat(65 << 10));
    let report = judge_file(&site, &sealed(&site, &parts.zip()), FileForm::Ofd);
    assert_eq!(shown(&report), ["shown_text_not_compared"], "{report:#?}");
}

#[test]
fn data_of_another_version_are_not_read() {
    let json = |version: u32| serde_json::to_vec(&EditionData { version, ..edition().data() }).unwrap();
    assert_eq!(EditionData::from_json(&json(1)), Ok(edition().data()));
    assert!(EditionData::from_json(&json(2)).is_err());
}
