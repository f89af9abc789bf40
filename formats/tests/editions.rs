//! Public editions of licenses and pictures of seals: set once, written as PDF and OFD, sealed and read back.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::path::PathBuf;
use std::process::Command;

use formats::edition::{EditionError, PublicEdition};
use formats::font::Font;
use formats::ofd::{OfdSigner, Placement, pages};
use formats::seal::{DrawError, SealDesign, SealPlan};
use formats::{Judgement, Verdict};
use tiny_skia::Pixmap;

use crate::packaging::{Parts, judge, plan, sign};
use crate::pki::{NOW, codes};
use crate::sealing::Site;

/// Kept for people to look at.
fn keep(name: &str, octets: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, octets).unwrap();
    path
}

fn agency() -> SealDesign {
    SealDesign::Round {
        name: "测试市市场监督管理局".to_owned(),
        purpose: Some("营业执照专用章".to_owned()),
        code: Some("3101150000001".to_owned()),
        diameter: 42,
    }
}

fn person() -> SealDesign {
    SealDesign::Square { text: "测试印章".to_owned(), side: 20 }
}

fn edition() -> PublicEdition {
    let fact = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    PublicEdition {
        title: "营业执照".to_owned(),
        kind: "公示版".to_owned(),
        facts: vec![
            fact("统一社会信用代码", "91310000TEST000001"),
            fact("名称", "测试（上海）智能科技有限公司"),
            fact("类型", "有限责任公司（自然人独资）"),
            fact("法定代表人", "测*"),
            fact("注册资本", "人民币100.0000万元整"),
            fact("成立日期", "2021年03月15日"),
            fact("住所", "测试市测试区测试路 100 号 8 幢 301 室"),
            fact("经营范围", &"一般项目：技术服务、技术开发、技术咨询、技术交流、技术转让、技术推广；软件开发；信息系统集成服务。".repeat(2)),
        ],
        authority: "测试市市场监督管理局".to_owned(),
        date: "2026年05月20日".to_owned(),
        notice: "仅用于测试 TEST ONLY".to_owned(),
        link: Some("https://example.org/verify/ABCDEFGH".to_owned()),
        emblem: Some(person().draw(Font::built_in()).unwrap().octets.into()),
        attached: None,
    }
}

fn telling(judgement: &Judgement) -> Vec<&'static str> {
    codes(judgement).into_iter().filter(|code| *code != "revocation_not_checked").collect()
}

#[test]
fn seals_are_drawn_red_on_nothing_in_their_size() {
    for (design, size, name) in [(agency(), 42, "seal-agency.png"), (person(), 20, "seal-person.png")] {
        let picture = design.draw(Font::built_in()).unwrap();
        assert_eq!((&*picture.kind, picture.width, picture.height), ("PNG", size, size));
        keep(name, &picture.octets);
        let pixmap = Pixmap::decode_png(&picture.octets).unwrap();
        assert_eq!((pixmap.width(), pixmap.height()), (size * 24, size * 24));
        let alpha = |x: u32, y: u32| pixmap.pixel(x, y).unwrap().alpha();
        // A round one has empty corners, both have empty room and are red where there is something.
        let edge = size * 24 - 1;
        if matches!(design, SealDesign::Round { .. }) {
            assert_eq!([alpha(0, 0), alpha(edge, 0), alpha(0, edge), alpha(edge, edge)], [0; 4]);
            assert_eq!(alpha(size * 12, size * 12), 255, "the star");
        }
        let inked = pixmap.pixels().iter().filter(|pixel| pixel.alpha() == 255).count();
        let share = inked as f64 / f64::from(pixmap.width() * pixmap.height());
        assert!((0.08..0.6).contains(&share), "{name}: {share}");
        assert!(pixmap.pixels().iter().filter(|p| p.alpha() == 255).all(|p| p.red() > 180 && p.green() < 60));
        // The same design gives the same picture.
        assert_eq!(design.draw(Font::built_in()).unwrap().octets, picture.octets);
    }
    // The ring's outermost dots are there on all four sides.
    let pixmap = Pixmap::decode_png(&agency().draw(Font::built_in()).unwrap().octets).unwrap();
    let side = pixmap.width();
    for (x, y) in [(side / 2, 15), (side / 2, side - 15), (15, side / 2), (side - 15, side / 2)] {
        assert_eq!(pixmap.pixel(x, y).unwrap().alpha(), 255, "{x} {y}");
    }
}

#[test]
fn seals_that_cannot_be_drawn_are_refused() {
    let square =
        |text: &str, side| SealDesign::Square { text: text.to_owned(), side }.draw(Font::built_in()).err();
    assert_eq!(square("", 20), Some(DrawError::Length));
    assert_eq!(square(&"章".repeat(41), 20), Some(DrawError::Length));
    assert_eq!(square("章", 9), Some(DrawError::Size));
    assert_eq!(square("章", 81), Some(DrawError::Size));
    assert_eq!(square("\u{20BB7}", 20), Some(DrawError::Lacks('\u{20BB7}')));
}

#[test]
fn an_edition_becomes_a_package_that_is_sealed_and_judged_valid() {
    let site = Site::sm2();
    let ofd = edition().to_ofd(Font::built_in(), NOW).unwrap();
    assert_eq!(ofd, edition().to_ofd(Font::built_in(), NOW).unwrap());
    let page = &pages(&ofd, 0).unwrap()[0];
    assert!((page.area.width - 297.0).abs() < 0.1 && (page.area.height - 210.0).abs() < 0.1);
    let parts = Parts::of(&ofd);
    let text = parts.text("Doc_0/Pages/Page_0/Content.xml");
    for shown in ["营业执照", "91310000TEST000001", "测试市市场监督管理局"] {
        assert!(text.contains(&format!(">{shown}</ofd:TextCode>")), "{shown}");
    }
    // The font is cut down to what is shown, and finds it by character.
    let font = parts.octets("Doc_0/Res/font_0.otf");
    assert!(font.len() < 150_000, "{}", font.len());
    let font = skrifa::FontRef::new(&font).unwrap();
    let characters = skrifa::MetadataProvider::charmap(&font);
    for shown in "营业执照测试市场监督管理局91310000TEST".chars() {
        assert!(characters.map(shown).is_some_and(|glyph| glyph.to_u32() != 0), "{shown}");
    }
    assert!(characters.map('龟').is_none_or(|glyph| glyph.to_u32() == 0));
    let plain = judge(&site, &ofd);
    assert_eq!((plain.judgement.verdict, plain.pages), (Verdict::Unsigned, 1));

    let seal = site.make(SealPlan { picture: agency().draw(Font::built_in()).unwrap(), ..site.seal_plan() });
    let boundary = PublicEdition::seal_place(42.0, 42.0);
    let signer = OfdSigner::Seal {
        seal: Box::new(seal),
        certificate: Box::new(site.signer.clone()),
        stamps: vec![Placement { page: 0, boundary, clip: None }],
    };
    let sealed = sign(&site, plan(&site, &ofd, signer));
    keep("edition.ofd", &sealed);
    let report = judge(&site, &sealed);
    assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
    // OFD.xml, Document.xml, both lists of resources, the font, the emblem and the page.
    assert_eq!(report.signatures[0].protected_parts, 7);
    assert!(boundary.x > 0.0 && boundary.x + 42.0 < page.area.width && boundary.y + 42.0 < page.area.height);
}

#[test]
fn the_pdf_shows_the_same_text() {
    let pdf = keep("edition.pdf", &edition().to_pdf(Font::built_in(), NOW).unwrap());
    let ran =
        Command::new("pdftotext").args(["-layout", "-enc", "UTF-8"]).arg(&pdf).arg("-").output().unwrap();
    assert!(ran.status.success());
    let text = String::from_utf8(ran.stdout).unwrap();
    for shown in ["营业执照", "91310000TEST000001", "测试（上海）智能科技有限公司", "测试市市场监督管理局"]
    {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert!(String::from_utf8_lossy(&ran.stderr).is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn what_does_not_fit_is_refused() {
    let long = PublicEdition {
        facts: vec![("经营范围".to_owned(), "软件开发；".repeat(600))], ..edition()
    };
    assert!(matches!(long.to_pdf(Font::built_in(), NOW), Err(EditionError::TooLong)));
    assert!(matches!(long.to_ofd(Font::built_in(), NOW), Err(EditionError::TooLong)));
    let link = PublicEdition { link: Some("x".repeat(4_000)), ..edition() };
    assert!(matches!(link.to_ofd(Font::built_in(), NOW), Err(EditionError::Link)));
}
