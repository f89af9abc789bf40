//! License files judged: what is shown, what is carried, and the certificate they belong to.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::signed_pdf;

use formats::edition::{Attached, PublicEdition};
use formats::font::Font;
use formats::license_file::{EditionData, FileForm, LicenseFileInput, LicenseFileReport, judge};
use formats::ofd::{OfdSigner, Placement, Rect};
use formats::pdf::sign::{
    FieldPlan, Look, PageRect, Pages, Place, Sealing, SignaturePlan, SubFilter, prepare,
};
use formats::scheme::HashAlgorithm;
use formats::seal::SealPlan;
use formats::{TrustStore, Verdict, oid};
use lopdf::{Object, dictionary};

use crate::packaging::{Parts, plan, sign};
use crate::pki::{Key, NOW, Plan, SIGNER_ID, codes};
use crate::sealing::{SIGNED_AT, Site};

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

/// With the certificate of a license that says what it shows.
fn proven(site: &Site) -> PublicEdition {
    let mut edition = edition();
    let mut plan = Plan { serial: 77, ..Plan::leaf("CN=License") };
    let face = [(13, 0), (18, 1), (29, 2), (39, 3)].map(|(number, fact)| (number, &*edition.facts[fact].1));
    let foot = [(42, &*edition.authority), (43, &*edition.date)];
    for (number, text) in face.into_iter().chain(foot) {
        let id = oid::LICENSE_FACE_ARC.push_arc(number).unwrap();
        plan.extensions.push((id, false, text.as_bytes().to_vec()));
    }
    let certificate = site.root.issue(&plan, &Key::sm2(50)).der().to_vec();
    edition.attached = Some(Attached { data: edition.data(), certificate });
    edition
}

/// With the seal of a name, shown where the enterprise's name stands.
fn sealed_over_the_name(site: &Site, document: &[u8], form: FileForm, seal: &str) -> Vec<u8> {
    let seal = site.make(SealPlan { name: seal.to_owned(), ..site.seal_plan() });
    let (left, top, width, height) = (55.0, 40.0, 200.0, 20.0);
    match form {
        FileForm::Ofd => {
            let boundary = Rect { x: left, y: top, width, height };
            let signer = OfdSigner::Seal {
                seal: Box::new(seal),
                certificate: Box::new(site.signer.clone()),
                stamps: vec![Placement { page: 0, boundary, clip: None }],
            };
            sign(site, plan(site, document, signer))
        }
        FileForm::Pdf => {
            let [left, top, width, height] = [left, top, width, height].map(|number| number as f32);
            let rect = PageRect { left, top, width, height };
            let plan = SignaturePlan {
                look: Some(Look::of_picture(signed_pdf::seal())),
                field: FieldPlan::New { name: None, places: vec![Place::Rect { pages: Pages::All, rect }] },
                time: Some(SIGNED_AT),
                ..SignaturePlan::new(SubFilter::Sm2Seal, HashAlgorithm::Sm3)
            };
            let signer = site.signer.clone();
            let sealing = Sealing { seal, signer, signed_at: SIGNED_AT, signer_id: SIGNER_ID.to_vec() };
            let prepared = prepare(document, &plan).unwrap().seal(sealing).unwrap();
            let signature = site.key.sign(prepared.to_be_signed());
            [document, &prepared.finish(&signature, None).unwrap()].concat()
        }
    }
}

const AUTHORITY: &str = "测试市市场监督管理局";

#[test]
fn a_file_is_the_authoritys_only_if_each_of_its_seals_is() {
    let site = Site::sm2();
    let files = [
        (proven(&site).to_ofd(Font::built_in(), NOW).unwrap(), FileForm::Ofd),
        (proven(&site).to_pdf(Font::built_in(), NOW).unwrap(), FileForm::Pdf),
    ];
    for (plain, form) in files {
        let judged = |octets: &[u8]| {
            let report = judge_file(&site, octets, form);
            let codes: Vec<_> = codes(&report.judgement);
            let known = ["revocation_not_checked", "later_changes_permitted"];
            let telling = codes.into_iter().filter(|code| !known.contains(code)).collect::<Vec<_>>();
            (report.judgement.verdict, telling, report.sealed_by)
        };
        let seal = |document: &[u8], name: &str| sealed_over_the_name(&site, document, form, name);
        let own = seal(&plain, &format!("{AUTHORITY}营业执照专用章（1）"));
        assert!(
            matches!(judged(&own), (Verdict::Valid, found, by) if by.len() == 1 && found.is_empty()),
            "{form:?} {:?}",
            judged(&own)
        );
        let twice = seal(&own, AUTHORITY);
        assert_eq!(judged(&twice).0, Verdict::Valid, "{form:?}");
        for other in
            ["某某贸易有限公司", "测试市市场监督管理局机关服务中心", "测试市市场监督管理局机关服务中心公章"]
        {
            // Beside the authority's, and alone.
            for (document, count) in [(&own, 2), (&plain, 1)] {
                let (verdict, found, by) = judged(&seal(document, other));
                assert_eq!(verdict, Verdict::Indeterminate, "{form:?} {other}: {found:?}");
                assert_eq!((found, by.len()), (vec!["seal_not_of_authority"], count), "{form:?} {other}");
            }
        }
    }
}

#[test]
fn a_signature_without_a_seal_is_the_authoritys_by_its_certificate() {
    let mut site = Site::sm2();
    let plain = proven(&site).to_ofd(Font::built_in(), NOW).unwrap();
    for (number, subject, is_authority) in [
        (0, "CN=测试市市场监督管理局", true),
        (1, "CN=张某,O=测试市市场监督管理局", true),
        (2, "CN=测试市市场监督管理局机关服务中心", false),
        (3, "CN=某某贸易有限公司,OU=测试市市场监督管理局", false),
    ] {
        site.signer = site.root.issue(&Plan { serial: 60 + number, ..Plan::leaf(subject) }, &site.key);
        let signer = OfdSigner::Sign { chain: vec![site.signer.clone()] };
        let report = judge_file(&site, &sign(&site, plan(&site, &plain, signer)), FileForm::Ofd);
        assert_eq!(report.judgement.has("seal_not_of_authority"), !is_authority, "{subject}: {report:#?}");
        assert_eq!(report.judgement.verdict == Verdict::Valid, is_authority, "{subject}: {report:#?}");
    }
}

#[test]
fn who_tells_the_time_needs_not_be_the_authority_as_long_as_nothing_is_shown() {
    let site = Site::sm2();
    let plain = proven(&site).to_pdf(Font::built_in(), NOW).unwrap();
    let own = sealed_over_the_name(&site, &plain, FileForm::Pdf, AUTHORITY);
    let of_time = signed_pdf::Site::with(Key::p256());
    let documents = TrustStore::new(
        vec![site.root.certificate.clone(), of_time.root.certificate.clone()],
        Vec::new(),
        Vec::new(),
    );
    let judged = |octets: &[u8]| {
        let licenses = &TrustStore::default();
        let at = time::OffsetDateTime::now_utc();
        let input = LicenseFileInput {
            octets,
            form: FileForm::Pdf,
            documents: &documents,
            licenses,
            at,
            sandbox: false,
        };
        judge(&input)
    };
    let report = judged(&of_time.stamp(&own));
    assert!(!report.judgement.has("seal_not_of_authority"), "{report:#?}");
    assert_eq!(report.sealed_by, [AUTHORITY, "CN=Test TSA"]);
    let known = ["revocation_not_checked", "seal_maker_not_checked", "later_changes_permitted"];
    assert!(codes(&report.judgement).iter().all(|code| known.contains(code)), "{report:#?}");
    // Seen, it shows what whoever asked for the time wants. We write none such, so its field gets an area afterwards.
    let prepared = prepare(&own, &SignaturePlan::new(SubFilter::Timestamp, HashAlgorithm::Sha256)).unwrap();
    let room = of_time.token(prepared.digest());
    let mut seen = [&own[..], &prepared.finish(&room).unwrap()].concat();
    let rect = own.len() + place_of(&seen[own.len()..], b"/Rect");
    let corners = rect + place_of(&seen[rect..], b"0 0 0 0");
    seen[corners..corners + 7].copy_from_slice(b"0 0 9 9");
    let start = own.len() + place_of(&seen[own.len()..], b"/ByteRange");
    let numbers: Vec<usize> = seen[start..]
        .split(|octet| *octet == b']')
        .next()
        .map(|range| String::from_utf8_lossy(range).into_owned())
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let [0, gap, behind, _] = numbers[..] else { panic!("{numbers:?}") };
    let covered = [&seen[..gap], &seen[behind..]].concat();
    let token = hex::encode(of_time.token(&HashAlgorithm::Sha256.digest(&covered)));
    seen[gap + 1..behind - 1].fill(b'0');
    seen[gap + 1..gap + 1 + token.len()].copy_from_slice(token.as_bytes());
    let report = judged(&seen);
    assert!(report.judgement.has("seal_not_of_authority"), "{report:#?}");
    assert_ne!(report.judgement.verdict, Verdict::Valid);
}

fn place_of(octets: &[u8], text: &[u8]) -> usize {
    octets.windows(text.len()).position(|window| window == text).unwrap()
}

#[test]
fn data_of_another_version_are_not_read() {
    let json = |version: u32| serde_json::to_vec(&EditionData { version, ..edition().data() }).unwrap();
    assert_eq!(EditionData::from_json(&json(1)), Ok(edition().data()));
    assert!(EditionData::from_json(&json(2)).is_err());
}
