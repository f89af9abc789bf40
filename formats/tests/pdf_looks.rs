//! What signatures look like on pages, seen by drawing the pages with poppler.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;
use crate::signed_pdf;

use formats::pdf::sign::{
    Caption, Edge, FieldPlan, Look, Occurrence, PageRect, Pages, Picture, Place, SignaturePlan, TextPlace,
};
use formats::words::Language;
use pki::Key;
use signed_pdf::{Dots, Folder, Site, at, sample, seal};
use time::macros::datetime;

const RESOLUTION: u32 = 96;

fn dots(millimetres: f32) -> f32 {
    millimetres / 25.4 * RESOLUTION as f32
}

/// What is red on the page is so many millimetres from the left and upper edge and so large; a dot and a half may be missing.
#[track_caller]
fn assert_red(page: &Dots, [left, top, width, height]: [f32; 4], what: &str) {
    let found = page.red().unwrap_or_else(|| panic!("{what}: nothing is red"));
    let expected = [left, top, left + width, top + height].map(dots);
    for (found, expected) in found.iter().zip(expected) {
        assert!((*found as f32 - expected).abs() < 2.6, "{what}: {found} is not {expected}");
    }
}

/// The seal's ring leaves a fortieth of its size free on each side.
fn ring(left: f32, top: f32, size: f32) -> [f32; 4] {
    let free = size * 5.0 / 400.0;
    [left + free, top + free, size - 2.0 * free, size - 2.0 * free]
}

#[test]
fn a_seal_is_where_it_was_put_on_turned_cropped_and_large_pages() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    for name in
        ["reportlab", "reportlab-landscape", "pypdf-rotated", "pypdf-cropped", "pypdf-inherited", "chromium"]
    {
        let rect = PageRect { left: 60.0, top: 25.0, width: 42.0, height: 42.0 };
        let signed = site.sign(&sample(name), &site.sealed(vec![Place::Rect { pages: Pages::All, rect }]));
        folder.write("a.pdf", &signed);
        folder.assert_sound("a.pdf");
        for number in 1..=3 {
            let page = folder.dots("a.pdf", number, RESOLUTION);
            assert_red(&page, ring(60.0, 25.0, 42.0), &format!("{name}, page {number}"));
            // The bar is in the upper left quarter: nothing is turned or mirrored.
            let dot = |x: f32, y: f32| page.is_red(dots(60.0 + x) as usize, dots(25.0 + y) as usize);
            assert!(dot(13.0, 13.0) && !dot(29.0, 13.0) && !dot(13.0, 29.0), "{name}, page {number}");
            assert!(dot(30.5, 21.0), "{name}, page {number}");
        }
    }
}

#[test]
fn millimetres_are_millimetres_where_a_unit_is_larger_than_a_point() {
    // poppler draws as if there were no UserUnit, so the rectangle itself is read: 42 mm are 119.06 points, 59.53 units.
    let site = Site::with(Key::p256());
    let signed = site.sign(&sample("pypdf-userunit"), &site.sealed(vec![at(10.0, 20.0, 42.0, 42.0)]));
    let update = String::from_utf8_lossy(&signed[sample("pypdf-userunit").len()..]).into_owned();
    let rect =
        update.split("/Rect").nth(1).unwrap().trim_start().trim_start_matches('[').split(']').next().unwrap();
    let numbers: Vec<f32> = rect.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let height = 841.889_8;
    let expected = [14.173, height - 28.346 - 59.528, 14.173 + 59.528, height - 28.346];
    for (number, expected) in numbers.iter().zip(expected) {
        assert!((number - expected).abs() < 0.01, "{numbers:?} {expected:?}");
    }
}

#[test]
fn the_strips_of_a_cross_page_seal_make_the_whole_seal() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    for (edge, down) in [(Edge::Right, false), (Edge::Left, false), (Edge::Top, true), (Edge::Bottom, true)] {
        let seam = Place::Seam { pages: Pages::All, edge, size: (42.0, 42.0), offset: 100.0, most_pages: 20 };
        let signed = site.sign(&sample("reportlab"), &site.sealed(vec![seam]));
        folder.write("seam.pdf", &signed);
        folder.assert_sound("seam.pdf");
        let pages: Vec<Dots> = (1..=3).map(|page| folder.dots("seam.pdf", page, 300)).collect();
        let strip = 42.0 / 3.0 / 25.4 * 300.0;
        let start = 100.0 / 25.4 * 300.0;
        let mut red = 0;
        let mut wrong = 0;
        let whole = (3.0 * strip) as usize;
        for along in 0..whole {
            for across in 0..whole {
                let place = (across as f32 / strip) as usize;
                let within = across as f32 - place as f32 * strip;
                let (page, outer) = match edge {
                    Edge::Right | Edge::Bottom => (&pages[place.min(2)], true),
                    Edge::Left | Edge::Top => (&pages[2 - place.min(2)], false),
                };
                let far = if down { page.height } else { page.width } as f32;
                let at = (if outer { far - strip } else { 0.0 } + within) as usize;
                let (x, y) = if down { (start as usize + along, at) } else { (at, start as usize + along) };
                let (x, y) = (x.min(page.width - 1), y.min(page.height - 1));
                let is_red = page.is_red(x, y);
                // The seal's own geometry, of 400 dots.
                let scale = 400.0 / whole as f32;
                let (a, b) = if down { (along, across) } else { (across, along) };
                let (a, b) = (a as f32 * scale - 200.0, b as f32 * scale - 200.0);
                let radius = a.hypot(b);
                let expected = (170.0..195.0).contains(&radius)
                    || (radius < 150.0 && a < 0.0 && b < 0.0 && (a + b).abs() > 60.0)
                    || (a - 90.0).hypot(b) < 25.0;
                red += usize::from(expected);
                wrong += usize::from(expected != is_red);
            }
        }
        assert!(wrong * 20 < red, "{edge:?}: {wrong} dots of {red} differ");
        let judged = folder.pyhanko(&["seam.pdf"]);
        assert_eq!(judged[0]["ok"], true, "{judged:?}");
    }
}

#[test]
fn many_pages_share_seals_evenly_and_one_page_has_no_seam() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let seam = |most_pages| Place::Seam {
        pages: Pages::All,
        edge: Edge::Right,
        size: (42.0, 42.0),
        offset: 100.0,
        most_pages,
    };
    // Five pages, three to a seal: two and three.
    folder.write("seams.pdf", &site.sign(&sample("poppler-unite"), &site.sealed(vec![seam(3)])));
    let width = |page| {
        let [left, _, right, _] = folder.dots("seams.pdf", page, RESOLUTION).red().unwrap();
        (right - left) as f32 / dots(1.0)
    };
    assert!((width(1) - 20.0).abs() < 2.0 && (width(2) - 20.0).abs() < 2.0, "{} {}", width(1), width(2));
    assert!((3..=5).all(|page| (width(page) - 13.5).abs() < 1.5), "{} {} {}", width(3), width(4), width(5));
    let alone =
        |most_pages, sample_name| site.try_sign(&sample(sample_name), &site.sealed(vec![seam(most_pages)]));
    assert_eq!(alone(3, "hybrid").unwrap_err().code(), "seam_needs_pages");
    assert_eq!(alone(1, "reportlab").unwrap_err().code(), "plan");
}

#[test]
fn a_keyword_is_found_in_documents_of_other_makers() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    for (name, keyword) in [
        ("reportlab", "盖章处"),
        ("reportlab", "sign here"),
        ("chromium", "盖章处"),
        ("libreoffice", "盖章处"),
        ("cairo", "盖章处"),
        ("mupdf", "盖章处"),
        ("mupdf", "signhere"),
        ("ghostscript", "sign here"),
        ("ghostscript-13", "sign here"),
        ("hybrid", "sign here"),
        ("pypdf-rotated", "盖章处"),
        ("pypdf-cropped", "盖章处"),
        ("fpdf2", "sign here"),
        ("qpdf-xref-stream", "盖章处"),
    ] {
        let place = Place::Keyword {
            keyword: keyword.to_owned(),
            pages: Pages::All,
            occurrence: Occurrence::First,
            size: (12.0, 12.0),
            offset: (0.0, 0.0),
        };
        let signed = site.sign(&sample(name), &site.sealed(vec![place]));
        folder.write("k.pdf", &signed);
        let page = if name == "libreoffice" { 2 } else { 1 }; // its first page is empty
        let red = folder.dots("k.pdf", page, RESOLUTION).red();
        let [left, top, right, bottom] = red.unwrap_or_else(|| panic!("{name} {keyword}: nothing is red"));
        // Where poppler finds the first word of it.
        let said = folder.ask(
            "pdftotext",
            &["-cropbox", "-bbox-layout", "-f", &page.to_string(), "-l", &page.to_string(), "k.pdf", "-"],
        );
        let first = keyword.chars().next().unwrap();
        let line = said
            .lines()
            .filter(|line| line.contains("<word") && line.contains(keyword.split(' ').next().unwrap()));
        let line =
            line.chain(said.lines().filter(|line| line.contains("<word") && line.contains(first))).next();
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        let number = |key: &str| -> f32 {
            let from = line.find(key).unwrap() + key.len() + 2;
            line[from..].split('"').next().unwrap().parse().unwrap()
        };
        let scale = RESOLUTION as f32 / 72.0;
        let middle = ((left + right) as f32 / 2.0 / scale, (top + bottom) as f32 / 2.0 / scale);
        assert!(
            middle.0 > number("xMin") - 20.0
                && middle.0 < number("xMax") + 60.0
                && middle.1 > number("yMin") - 8.0
                && middle.1 < number("yMax") + 8.0,
            "{name}: {middle:?} is not at {line}"
        );
    }
    let missing = Place::Keyword {
        keyword: "没有".to_owned(),
        pages: Pages::All,
        occurrence: Occurrence::All,
        size: (12.0, 12.0),
        offset: (0.0, 0.0),
    };
    let refused = site.try_sign(&sample("reportlab"), &site.sealed(vec![missing]));
    assert_eq!(refused.unwrap_err().code(), "keyword_not_found");
}

#[test]
fn occurrences_are_taken_as_asked() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    for (occurrence, expected) in [
        (Occurrence::All, [true, true, true]),
        (Occurrence::First, [true, false, false]),
        (Occurrence::Last, [false, false, true]),
        (Occurrence::Nth(2), [false, true, false]),
    ] {
        let place = Place::Keyword {
            keyword: "盖章处".to_owned(),
            pages: Pages::Range(1, 3),
            occurrence,
            size: (12.0, 12.0),
            offset: (20.0, 10.0),
        };
        folder.write("o.pdf", &site.sign(&sample("reportlab"), &site.sealed(vec![place])));
        let found: Vec<bool> = (1..=3).map(|page| folder.dots("o.pdf", page, 48).red().is_some()).collect();
        assert_eq!(found, expected, "{occurrence:?}");
    }
}

#[test]
fn chinese_text_beside_a_seal_can_be_read_and_copied() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let caption = Caption {
        signer: Some("西安市市场监督管理局".to_owned()),
        time: Some(datetime!(2026-06-02 08:00:05 +8)),
        reason: Some("核准登记".to_owned()),
        location: None,
    };
    let look =
        Look { text: caption.lines(Language::Zh), text_place: TextPlace::Right, ..Look::of_picture(seal()) };
    let plan = SignaturePlan {
        look: Some(look),
        field: FieldPlan::New { name: None, places: vec![at(20.0, 40.0, 90.0, 40.0)] },
        ..site.plan()
    };
    folder.write("t.pdf", &site.sign(&sample("fpdf2"), &plan));
    folder.assert_sound("t.pdf");
    let text = folder.ask("pdftotext", &["-l", "1", "t.pdf", "-"]).replace([' ', '\n'], "");
    for said in ["签名人：西安市市场监督管理局", "2026-06-0208:00:05+08:00", "签名原因：核准登记"]
    {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    let fonts = folder.ask("pdffonts", &["t.pdf"]);
    assert!(
        fonts.lines().any(|line| line.contains("NotoSansCJK") && line.contains("yes yes yes")),
        "{fonts}"
    );
}

#[test]
fn an_empty_field_takes_signature_and_look_where_it_is() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    folder.write("plain.pdf", &sample("reportlab"));
    // 100..220 by 400..520 points from the lower left of page 2.
    let script = "from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter as W\n\
        from pyhanko.sign.fields import SigFieldSpec as S, append_signature_field as a, FieldMDPSpec, FieldMDPAction\n\
        w = W(open('plain.pdf', 'rb'))\n\
        a(w, S('approval', on_page=1, box=(100, 400, 220, 520), field_mdp_spec=FieldMDPSpec(FieldMDPAction.INCLUDE, fields=['name'])))\n\
        a(w, S('second', on_page=0, box=(10, 10, 50, 50)))\n\
        w.write(open('field.pdf', 'wb'))";
    folder.ask(python, &["-c", script]);
    let empty = std::fs::read(folder.path("field.pdf")).unwrap();
    let plan = |name: &str| SignaturePlan {
        look: Some(Look::of_picture(seal())),
        field: FieldPlan::Existing(name.to_owned()),
        ..site.plan()
    };
    let once = site.sign(&empty, &plan("approval"));
    folder.write("filled.pdf", &site.sign(&once, &plan("second")));
    folder.assert_sound("filled.pdf");
    let point = 25.4 / 72.0;
    let page = folder.dots("filled.pdf", 2, RESOLUTION);
    assert_red(&page, ring(100.0 * point, (841.89 - 520.0) * point, 120.0 * point), "page 2");
    let judged = folder.pyhanko(&["filled.pdf"]);
    assert_eq!(judged.len(), 2);
    assert!(judged.iter().all(|one| one["ok"] == true), "{judged:#?}");
}

#[test]
fn pictures_that_are_none_or_too_large_are_refused() {
    let code = |octets: &[u8]| Picture::new(octets.to_vec()).unwrap_err().code();
    assert_eq!(code(b"GIF89a"), "appearance");
    assert_eq!(code(b"\x89PNG\r\n\x1a\n"), "appearance");
    assert_eq!(code(&[0xFF, 0xD8, 0xFF, 0xE0]), "appearance");
    assert_eq!(code(&vec![0; (8 << 20) + 1]), "appearance");
    // A head that promises 60,000 by 60,000 dots.
    let mut octets = Vec::new();
    let mut encoder = png::Encoder::new(&mut octets, 60_000, 60_000);
    encoder.set_color(png::ColorType::Rgba);
    drop(encoder.write_header().unwrap());
    assert_eq!(code(&octets), "appearance");
    let site = Site::with(Key::p256());
    let no_size = Look { text_size: f32::NAN, ..Look::of_text(vec!["文".to_owned()]) };
    let plan = SignaturePlan { look: Some(no_size), ..site.sealed(vec![at(5.0, 5.0, 20.0, 10.0)]) };
    assert_eq!(site.try_sign(&sample("fpdf2"), &plan).unwrap_err().code(), "appearance");
    let long = Look::of_text(vec!["文".repeat(900)]);
    let plan = SignaturePlan { look: Some(long), ..site.sealed(vec![at(5.0, 5.0, 20.0, 10.0)]) };
    assert_eq!(site.try_sign(&sample("fpdf2"), &plan).unwrap_err().code(), "appearance");
}
