//! Reports as other people's programs read them: poppler and qpdf.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::path::PathBuf;
use std::process::Command;

use formats::Judgement;
use formats::font::{Font, FontError};
use formats::report::{Item, MOST_PAGES, Report, Row, Section, rows};
use formats::words::{Language, Words};
use time::macros::datetime;

const NAME: Words = Words::new("名称", "Name");

fn report(language: Language, name: &str) -> Report {
    let mut judgement = Judgement::new();
    judgement.invalid("expired", "CN=鑫淼商贸 expired on 2025-01-01T00:00:00Z");
    judgement.note("revocation_not_checked", "no CRL of CN=根");
    let mut rows = rows::digests(b"abc").to_vec();
    rows.push(Row::at(NAME, datetime!(2026-06-02 08:00 +8)));
    let section = Section {
        number: Some(2),
        judgement: Some(judgement.clone()),
        ..Section::new(Words::new("签名", "Signature"), vec![Row::new(NAME, name)])
    };
    Report {
        language,
        made_at: datetime!(2026-06-02 00:00 UTC),
        maker: "license-gateway test".to_owned(),
        reference: Some("request-7".to_owned()),
        items: vec![Item {
            kind: formats::opened::Kind::Cms.words(),
            judgement,
            rows,
            sections: vec![section],
        }],
    }
}

struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(octets: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("report.pdf"), octets).unwrap();
        Self { folder }
    }

    #[track_caller]
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(self.folder.path()).output();
        let output =
            output.unwrap_or_else(|error| panic!("{program}: {error} (tests/install-tools.sh installs it)"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn text(&self) -> String {
        self.ask("pdftotext", &["-layout", "report.pdf", "-"])
    }
}

fn written(report: &Report) -> Written {
    Written::new(&report.to_pdf(Font::built_in()).unwrap())
}

#[test]
fn a_report_says_everything_in_text_that_others_can_read() {
    let text = written(&report(Language::Zh, "西安市鑫淼商贸有限公司")).text();
    for said in [
        "验证报告",
        "Verification report",
        "无效",
        "invalid",
        "已过期",
        "expired",
        "CMS 签名",
        "签名 2",
        "Signature",
        "CN=鑫淼商贸 expired on 2025-01-01T00:00:00Z",
        "西安市鑫淼商贸有限公司",
        "未核查事项",
        "未核查吊销状态",
        "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
        "2026-06-02T00:00:00Z",
        "request-7",
        "第 1 页，共",
        "Page 1 of",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let english = written(&report(Language::En, "x")).text();
    let place = |said: &str| english.find(said).unwrap_or_else(|| panic!("{said} is not in\n{english}"));
    assert!(place("Verification report") < place("验证报告"));
}

#[test]
fn a_report_is_sound_archival_pdf_with_its_fonts_in_it() {
    let written = written(&report(Language::Zh, "名"));
    assert!(written.ask("qpdf", &["--check", "report.pdf"]).contains("No syntax or stream encoding errors"));
    let info = written.ask("pdfinfo", &["report.pdf"]);
    assert!(info.contains("验证报告 Verification report") && info.contains("A4"), "{info}");
    let metadata = written.ask("pdfinfo", &["-meta", "report.pdf"]);
    assert!(metadata.contains("<pdfaid:part>2</pdfaid:part>"), "{metadata}");
    assert!(metadata.contains("<pdfaid:conformance>U</pdfaid:conformance>"), "{metadata}");
    let fonts = written.ask("pdffonts", &["report.pdf"]);
    let font = fonts.lines().last().unwrap();
    // Embedded, a subset, with a map to Unicode.
    assert!(font.contains("NotoSansCJKsc") && font.contains("yes yes yes"), "{fonts}");
    written.ask("pdftoppm", &["-r", "40", "-png", "report.pdf", "page"]);
    assert!(written.folder.path().join("page-1.png").is_file());
}

#[test]
fn the_same_account_has_the_same_octets() {
    let pdf = || report(Language::Zh, "名称").to_pdf(Font::built_in()).unwrap();
    assert!(pdf() == pdf());
}

#[test]
fn names_made_to_deceive_are_shown_for_what_they_are() {
    let deceiving = "甲\u{202E}公司\u{0}\r\n结论：有效\u{200B}\u{1b}[2J\u{E000}\u{0301}\u{20BB7}\u{FEFF}";
    for text in [written(&report(Language::Zh, deceiving)).text(), report(Language::Zh, deceiving).to_text()]
    {
        assert!(
            text.contains("甲〖U+202E〗公司〖U+0000〗〖U+000D〗〖U+000A〗结论：有效〖U+200B〗"),
            "{text}"
        );
        assert!(
            !text.contains(['\u{202E}', '\u{0}', '\u{200B}', '\u{1b}', '\u{FEFF}', '\u{E000}']),
            "{text}"
        );
    }
    let text = written(&report(Language::Zh, "\u{20BB7}野家")).text();
    assert!(text.contains("〖U+20BB7〗野家"), "a character without a shape is said, not dropped: {text}");
}

#[test]
fn long_names_stay_within_the_margins_and_say_where_they_are_cut() {
    let mut long = report(Language::Zh, &"W".repeat(10_240));
    long.reference = Some("r".repeat(64));
    let written = written(&long);
    let boxes = written.ask("pdftotext", &["-bbox", "report.pdf", "-"]);
    let edges = boxes.lines().filter_map(|line| line.split("xMax=\"").nth(1)?.split('"').next());
    let edges: Vec<f32> = edges.map(|edge| edge.parse().unwrap()).collect();
    assert!(edges.len() > 100 && edges.iter().all(|edge| *edge < 595.3 - 55.0), "{edges:?}");
    let text: String = written.text().split_whitespace().collect();
    assert!(text.contains("〖+8240〗"), "{text}");
}

#[test]
fn a_report_has_no_more_pages_than_it_may_and_says_that_it_is_cut_off() {
    let mut endless = report(Language::Zh, "名");
    endless.items[0].rows = (0..500).map(|_| Row::new(NAME, "长".repeat(2_000))).collect();
    let written = written(&endless);
    let info = written.ask("pdfinfo", &["report.pdf"]);
    let pages = info.lines().find(|line| line.starts_with("Pages:")).unwrap();
    assert_eq!(pages.split_whitespace().last().unwrap(), MOST_PAGES.to_string());
    let last = written.ask("pdftotext", &["-f", &MOST_PAGES.to_string(), "report.pdf", "-"]);
    assert!(last.contains("页数已达上限"), "{last}");
}

#[test]
fn several_things_have_a_page_each_and_a_summary() {
    let mut several = report(Language::Zh, "名");
    let mut good = several.items[0].clone();
    good.judgement = Judgement::new();
    several.items.push(good);
    let text = written(&several).text();
    assert!(text.contains("概览"), "{text}");
    assert_eq!(text.split('\u{c}').filter(|page| page.contains("判定依据")).count(), 2, "{text}");
}

#[test]
fn a_sites_font_is_used_before_the_built_in_one_and_refused_where_it_cannot_serve() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fonts/NotoSansSC-GB2312.otf");
    let octets = std::fs::read(file).unwrap();
    let font = Font::of_site(octets.clone(), 0).unwrap();
    let text = Written::new(&report(Language::Zh, "名称").to_pdf(&font).unwrap()).text();
    assert!(text.contains("名称"), "{text}");
    assert_eq!(Font::of_site(octets.clone(), 1).unwrap_err(), FontError::Unreadable(1));
    assert_eq!(Font::of_site(b"no font".to_vec(), 0).unwrap_err(), FontError::Unreadable(0));
    for end in [4, 100, 1_000, 100_000] {
        assert!(Font::of_site(octets[..end].to_vec(), 0).is_err(), "{end} octets of a font");
    }
}
