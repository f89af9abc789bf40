//! What is seen of a stamp on an OFD package: the seal over a keyword, text, and the check page's QR code as a scanner reads it.

use serde_json::{Value, json};
use tests::{Scratch, repository};

use crate::seal_stamps::{BUREAU, PUBLIC, document, ofd_order, unpacked, with};

/// Three pages of 140 by 90 mm with text, made by easyofd: 合同 第N页 （盖章处）.
fn package() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/data/easyofd-text.ofd")).unwrap()
}

fn measures(shown: &Value) -> [f64; 4] {
    ["x", "y", "width", "height"].map(|name| shown["boundary"][name].as_f64().unwrap())
}

#[track_caller]
fn near(found: &[f64], wanted: &[f64]) {
    let is_near = found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1.0);
    assert!(is_near && found.len() == wanted.len(), "{found:?} is not {wanted:?}");
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Vec<&'t str> {
    text.split(begin).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// An annotation: its boundary, and each path with its colour and the outlines that it fills, as points from its corner.
struct Annotation {
    boundary: Vec<f64>,
    paths: Vec<(String, Vec<Vec<f64>>)>,
}

fn annotations(xml: &str) -> Vec<Annotation> {
    let of = |annotation: &str| {
        let path = |path: &str| {
            let data = between(path, "<ofd:AbbreviatedData>", "</ofd:AbbreviatedData>")[0];
            let outlines = data.split('M').skip(1).map(numbers).collect();
            (between(path, "<ofd:FillColor Value=\"", "\"")[0].to_owned(), outlines)
        };
        Annotation {
            boundary: numbers(between(annotation, "<ofd:Appearance Boundary=\"", "\"")[0]),
            paths: between(annotation, "<ofd:PathObject ", "</ofd:PathObject>")
                .into_iter()
                .map(path)
                .collect(),
        }
    };
    between(xml, "<ofd:Annot ", "</ofd:Annot>").into_iter().map(of).collect()
}

/// What a scanner reads of an annotation that is drawn on a white page, ten dots to a millimetre.
fn scanned(annotation: &Annotation, (width, height): (usize, usize)) -> Vec<String> {
    let (across, down) = (width * 10, height * 10);
    let mut dots = vec![255u8; across * down];
    let corner = &annotation.boundary;
    for (colour, outlines) in &annotation.paths {
        let ink = if colour == "255 255 255" { 255 } else { 0 };
        for outline in outlines {
            let [left, top, _, _, right, bottom, ..] = **outline else { panic!("{outline:?}") };
            let dot = |millimetres: f64| (millimetres * 10.0).round() as usize;
            for y in dot(corner[1] + top)..dot(corner[1] + bottom) {
                for x in dot(corner[0] + left)..dot(corner[0] + right) {
                    dots[y * across + x] = ink;
                }
            }
        }
    }
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(across, down, |x, y| dots[y * across + x]);
    picture.detect_grids().iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
}

#[test]
fn a_seal_stands_over_the_keyword_with_text_beside_it_and_the_check_page_as_qr_code() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("ofd-look-1", |_| {});
    let over =
        json!({"kind": "keyword", "keyword": "（盖章处）", "occurrence": "2", "width": 60, "height": 20});
    let code = json!({"kind": "rect", "pages": "1", "left": 100, "top": 50});
    let appearance = json!({
        "text": ["登记窗口", "{stamp_id}"], "text_size": 8, "places": [over], "qr": {"places": [code]},
    });
    let order = with(ofd_order(&package()), json!({"seal": number, "appearance": appearance}));
    let first = bureau.stamped(&order);
    let once = document(&first);
    // Others sign after it.
    let second = bureau.stamped(&ofd_order(&once));
    let verdict = bureau.judged(&document(&second));
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    let signatures = verdict["signatures"].as_array().unwrap();
    assert!(signatures.iter().all(|one| one["uncovered"] == json!([])), "{verdict:#}");
    // Half of the place is the seal's, as large as fits; the keyword is at 17 to 29 mm, 17 mm down, on the second page.
    let stamps = signatures[0]["stamps"].as_array().unwrap();
    assert_eq!((stamps.len(), &stamps[0]["page"]), (1, &json!("2")));
    near(&measures(&stamps[0]), &[5.0, 7.3, 20.0, 20.0]);

    let scratch = Scratch::new();
    let folder = unpacked(&scratch, "look", &once);
    let part = |name: &str| std::fs::read_to_string(folder.join("Doc_0").join(name)).unwrap();
    assert_eq!(between(&part("Annots/Annotations.xml"), "PageID=\"", "\""), ["1", "2"]);
    assert_eq!(between(&part("Document.xml"), "<ofd:Annotations>", "<"), ["/Doc_0/Annots/Annotations.xml"]);
    // Text beside the seal: within the place's right half.
    let text = annotations(&part("Annots/Page_2/Annotation.xml"));
    assert_eq!(text.len(), 1);
    near(&text[0].boundary, &[0.0, 7.3, 60.0, 20.0]);
    let points =
        text[0].paths.iter().flat_map(|(_, outlines)| outlines).flat_map(|outline| outline.chunks(2));
    let points: Vec<_> = points.collect();
    assert!(points.len() > 500, "{} points", points.len());
    assert!(points.iter().all(|at| (30.0..60.0).contains(&at[0]) && (0.0..20.0).contains(&at[1])));
    // The code, where it was ordered.
    let codes = annotations(&part("Annots/Page_1/Annotation.xml"));
    near(&codes[0].boundary, &[100.0, 50.0, 25.0, 25.0]);
    let page = format!("{PUBLIC}/verify/{}", first["check_code"].as_str().unwrap());
    assert_eq!(scanned(&codes[0], (140, 90)), [page]);
    // No number stands twice, and none is above the highest.
    let highest: u64 = between(&part("Document.xml"), "<ofd:MaxUnitID>", "<")[0].parse().unwrap();
    let added = ["Annots/Page_1/Annotation.xml", "Annots/Page_2/Annotation.xml"].map(&part).concat();
    let mut ids: Vec<u64> = between(&added, " ID=\"", "\"").iter().map(|id| id.parse().unwrap()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), ids.last()), (count, Some(&highest)));
}

#[test]
fn what_would_break_earlier_signatures_or_cannot_be_seen_is_refused_by_name() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("ofd-look-2", |_| {});
    let ofd = package();
    let rect = json!({"kind": "rect", "pages": "1", "left": 5, "top": 5, "width": 60, "height": 20});
    let alone = |appearance: Value| with(ofd_order(&ofd), json!({"appearance": appearance}));
    let seam = json!({"kind": "seam", "offset": 10, "width": 30, "height": 30});
    let missing = json!({"kind": "keyword", "keyword": "没有", "width": 20, "height": 20});
    let fourth =
        json!({"kind": "keyword", "keyword": "盖章处", "occurrence": "4", "width": 20, "height": 20});
    let odd = json!({"kind": "keyword", "keyword": "盖章处", "occurrence": "0", "width": 20, "height": 20});
    for (order, field, code) in [
        (alone(json!({"text": ["x"], "places": [missing]})), "appearance.places", "keyword_not_found"),
        (alone(json!({"text": ["x"], "places": [fourth]})), "appearance.places", "keyword_not_found"),
        (alone(json!({"text": ["x"], "places": [odd]})), "appearance.places[0].occurrence", "invalid_value"),
        (alone(json!({"text": ["长".repeat(900)], "places": [rect]})), "appearance", "appearance_unusable"),
        (alone(json!({"picture": "AAAA", "places": [rect]})), "appearance.picture", "not_applicable"),
        (alone(json!({"text": ["x"]})), "appearance.places", "missing_field"),
        (
            with(alone(json!({"text": ["x"], "places": [seam]})), json!({"seal": number})),
            "appearance.places",
            "not_applicable",
        ),
    ] {
        bureau.refused(&order, field, code);
    }
    // Text alone, without a seal; then nothing more can be drawn, but a seal can be set.
    let once = document(&bureau.stamped(&alone(json!({"text": ["收讫"], "places": [rect]}))));
    for appearance in [json!({"text": ["x"], "places": [rect]}), json!({"qr": {"places": [rect]}})] {
        let again = with(ofd_order(&once), json!({"appearance": appearance}));
        bureau.refused(&again, "document", "document_not_permitted");
    }
    let sealed = json!({"seal": number, "appearance": {"places": [rect]}});
    let twice = document(&bureau.stamped(&with(ofd_order(&once), sealed)));
    assert_eq!(bureau.judged(&twice)["verdict"], "valid");
}
