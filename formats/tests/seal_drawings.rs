//! Pictures of seals as areas and lines: drawn alike into the seal and into PDF, and refused by name where they are hostile.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::fmt::Write as _;
use std::io::Cursor;

use formats::pdf::sign::{Look, PageRect, Pages, Picture, Place, SignaturePlan};
use formats::seal::{PictureError, Vector};

use crate::pki::Key;
use crate::signed_pdf::{Folder, Site, sample};

const SEAL: &str = include_str!("data/seal.svg");

/// Decoded dots of a PNG: width, and red, green, blue and opacity of each.
fn decoded(png: &[u8]) -> (usize, Vec<[u8; 4]>) {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut dots = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut dots).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgba, png::BitDepth::Eight));
    (info.width as usize, dots.as_chunks::<4>().0.to_vec())
}

fn read(svg: &str) -> Result<Vector, PictureError> {
    Vector::read(svg.to_owned(), 42, 42)
}

/// A file with that in it.
fn with(inner: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 100 100">{inner}</svg>"#
    )
}

#[test]
fn a_drawing_goes_into_the_seal_in_610_dots_an_inch_with_its_transparency() {
    let drawing = read(SEAL).unwrap();
    assert_eq!((drawing.source(), drawing.size()), (SEAL, (42, 42)));
    let picture = drawing.picture().unwrap();
    assert_eq!((picture.kind.as_str(), picture.width, picture.height), ("PNG", 42, 42));
    assert_eq!(formats::seal::Picture::png(picture.octets.clone(), 42, 42).as_ref(), Ok(&picture));
    assert_eq!(drawing.picture().unwrap(), picture, "the same every time");
    let (width, dots) = decoded(&picture.octets);
    assert_eq!((width, dots.len()), (1008, 1008 * 1008));
    // By tenths of a millimetre, as the drawing is measured.
    let dot = |x: usize, y: usize| dots[(y * 24 / 10) * width + x * 24 / 10];
    let red = [0xD0, 0x12, 0x1B, 0xFF];
    for (x, y, expected, what) in [
        (12, 210, red, "the ring"),
        (210, 210, red, "the star"),
        (210, 90, red, "the dot"),
        (120, 305, red, "the frame"),
        (200, 320, [0; 4], "within the frame"),
        (30, 210, [0; 4], "between ring and dashes"),
        (2, 2, [0; 4], "the corner"),
        (410, 30, red, "what goes on outside"),
    ] {
        assert_eq!(dot(x, y), expected, "{what}");
    }
    let half = dot(65, 200);
    assert!((126..=129).contains(&half[3]), "{half:?}");
    assert_eq!(dot(97, 200), half, "what overlaps in a layer is as opaque as the rest");
    let blue = dot(320, 200);
    assert!(blue[2] > blue[0] && (101..=103).contains(&blue[3]), "{blue:?}");
    // Of the dashed ring two thirds are there.
    let dashes = (0..720_u16).filter(|half| {
        let (sine, cosine) = (f32::from(*half) / 2.0).to_radians().sin_cos();
        dot((210.0 + 170.0 * cosine) as usize, (210.0 + 170.0 * sine) as usize)[3] > 128
    });
    let dashes = dashes.count();
    assert!((430..530).contains(&dashes), "dashes: {dashes} of 720");
}

#[test]
fn it_stands_in_the_middle_undistorted_and_coarser_where_it_is_large() {
    let wide = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100"><path fill="#d0121b" d="M0 0h200v100H0z"/></svg>"##;
    let (width, dots) = decoded(&read(wide).unwrap().picture().unwrap().octets);
    let rows: Vec<usize> = (0..width).filter(|row| dots[row * width + width / 2][3] > 0).collect();
    assert_eq!((rows[0], rows.len()), (252, 504), "half as high as wide");
    for (width, height, across) in
        [(85, 85, 2040), (86, 86, 1376), (160, 160, 1920), (200, 200, 1600), (200, 9, 4800)]
    {
        let drawing = Vector::read(wide.to_owned(), width, height).unwrap();
        let picture = drawing.picture().unwrap();
        assert_eq!(decoded(&picture.octets).0, across, "{width} by {height} mm");
        assert!(formats::seal::Picture::png(picture.octets, width, height).is_ok());
    }
    // So much in it that it is too large a PNG in 610 dots an inch.
    let mut noise = String::new();
    for number in 0..1_500u32 {
        let (x, y) = (number.wrapping_mul(7919) % 97, number.wrapping_mul(104_729) % 89);
        let _ = write!(noise, r##"<path stroke="#{:06x}" d="M{x} {y}l9 7"/>"##, number * 9_973 % 0x00FF_FFFF);
    }
    let picture = read(&with(&noise)).unwrap().picture().unwrap();
    assert!(decoded(&picture.octets).0 < 1008 && picture.octets.len() <= formats::seal::MAX_PICTURE);
}

#[test]
fn a_pdf_shows_the_drawing_as_areas_and_lines_that_look_as_the_seal_does() {
    let site = Site::with(Key::p256());
    let folder = Folder::with(&site);
    let drawing = read(SEAL).unwrap();
    let (width, dots) = decoded(&drawing.picture().unwrap().octets);
    let rect = PageRect { left: 60.0, top: 25.0, width: 42.0, height: 42.0 };
    let places = vec![Place::Rect { pages: Pages::These(vec![1]), rect }];
    let look = Some(Look::of_picture(Picture::vector(drawing)));
    let plan = SignaturePlan { look, ..site.sealed(places) };
    let blank = sample("pikepdf-blank");
    let signed = site.sign(&blank, &plan);
    folder.write("a.pdf", &signed);
    folder.assert_sound("a.pdf");
    let said = folder.ask("pdfimages", &["-list", "a.pdf"]);
    assert_eq!(said.lines().count(), 2, "no picture made of dots: {said}");

    let page = folder.dots("a.pdf", 1, 600);
    let (mut differ, mut coloured) = (0, 0);
    for y in 0..210 {
        for x in 0..210 {
            // The middle of every fifth of a millimetre.
            let (right, down) = ((x as f32 + 0.5) / 5.0, (y as f32 + 0.5) / 5.0);
            let (column, row) = ((right * 24.0) as usize, (down * 24.0) as usize);
            let dot = dots[row * width + column];
            // Where an edge runs depends on where the dots begin.
            let around = (row.max(3) - 3..(row + 4).min(width)).flat_map(|row| {
                (column.max(3) - 3..(column + 4).min(width)).map(move |column| (row, column))
            });
            if around.into_iter().any(|(row, column)| dots[row * width + column] != dot) {
                continue;
            }
            let [red, green, blue, opacity] = dot;
            let over = |ink: u8| 255 - (u16::from(255 - ink) * u16::from(opacity) / 255) as u8;
            let wanted = [red, green, blue].map(over);
            let inch = |millimetres: f32| (millimetres / 25.4 * 600.0) as usize;
            let found = page.rgb(inch(60.0 + right), inch(25.0 + down));
            let far = found.iter().zip(wanted).map(|(found, wanted)| found.abs_diff(wanted)).max().unwrap();
            differ += usize::from(far > 48);
            coloured += usize::from(opacity > 0);
        }
    }
    assert!(coloured > 3_000 && differ * 500 < coloured, "{differ} of {coloured}");
}

#[test]
fn what_a_seal_does_not_need_is_refused_by_name() {
    let path = r#"<path d="M0 0h9v9z"/>"#;
    assert!(read(&with(path)).is_ok());
    assert!(read(&with(&format!("<defs/><!-- = -->{path}"))).is_ok());
    let refused = [
        ("<script>alert(1)</script>", "script"),
        (r#"<path onload="alert(1)" d="M0 0h9v9z"/>"#, "onload"),
        (r#"<a href="http://example.com/"><path d="M0 0h9v9z"/></a>"#, "\"a\""),
        (r#"<image href="file:///etc/passwd" width="9" height="9"/>"#, "image"),
        (r##"<use href="#b"/>"##, "use"),
        (r#"<symbol id="b"/>"#, "symbol"),
        (r#"<defs><path d="M0 0h9v9z"/></defs>"#, "path"),
        ("<svg/>", "svg"),
        ("<switch/>", "switch"),
        ("<style>path{fill:red}</style>", "style"),
        (r#"<clipPath id="c"/>"#, "clipPath"),
        (r#"<mask id="m"/>"#, "mask"),
        (r#"<pattern id="p"/>"#, "pattern"),
        (r#"<marker id="p"/>"#, "marker"),
        (r#"<linearGradient id="l"/>"#, "linearGradient"),
        (r#"<filter id="f"/>"#, "filter"),
        (r#"<text x="9" y="9">公章</text>"#, "\"text\""),
        ("<foreignObject/>", "foreignObject"),
        ("<animate/>", "animate"),
        (r#"<path d="M0 0h9v9z"><path d="M0 0h9v9z"/></path>"#, "path"),
        (r#"<metadata><g/></metadata>"#, "\"g\""),
        (r#"<a:grid xmlns:a="http://example.com/drawing-program"/>"#, "grid"),
        (r#"<html:script xmlns:html="http://www.w3.org/1999/xhtml"/>"#, "script"),
        (r#"<path xmlns="" d="M0 0h9v9z"/>"#, "path"),
        (r#"<g xmlns:a="http://example.com/drawing-program" a:name="b"/>"#, "name"),
        (r#"<g xml:base="http://example.com/"/>"#, "base"),
        (r##"<g xlink:href="#b"/>"##, "href"),
        (r#"<g class="a"/>"#, "class"),
        (r#"<g systemLanguage="zh"/>"#, "systemLanguage"),
        (r##"<g clip-path="url(#c)"/>"##, "clip-path"),
        (r#"<path pathLength="9" d="M0 0h9v9z"/>"#, "pathLength"),
        (r#"<path vector-effect="non-scaling-stroke" d="M0 0h9v9z"/>"#, "vector-effect"),
        (r#"<path stroke="red" stroke-linejoin="miter-clip" d="M0 0h9v9z"/>"#, "mitres"),
        (r##"<path fill="url(#a)" d="M0 0h9v9z"/>"##, "the fill"),
        (r##"<path fill="url(#a) red" d="M0 0h9v9z"/>"##, "the fill"),
        (r#"<path style="fill:URL( 'a.svg#b' )" d="M0 0h9v9z"/>"#, "the fill"),
        (r#"<path style="fill:u\72l(a)" d="M0 0h9v9z"/>"#, "the fill"),
        (r#"<path style="fill:var(--a)" d="M0 0h9v9z"/>"#, "the fill"),
        (r#"<path style="fill:red!important" d="M0 0h9v9z"/>"#, "the fill"),
        (r#"<path style="fill/* */:red" d="M0 0h9v9z"/>"#, "the style"),
        (r#"<path style="--a:red" d="M0 0h9v9z"/>"#, "the style"),
        (r#"<g style="filter:blur(99px)"/>"#, "the style \"filter"),
        (r#"<g style="mix-blend-mode:multiply"/>"#, "the style \"mix-blend-mode"),
        ("<?xml-stylesheet href='http://example.com/a.css'?>", "a processing instruction"),
    ];
    for (inner, named) in refused {
        let error = read(&with(&format!("{inner}{path}"))).unwrap_err();
        let PictureError::Refused(what) = &error else { panic!("{inner}: {error:?}") };
        assert!(what.contains(named), "{inner}: {what}");
    }
    for declared in ["svg", "svg PUBLIC 'a' 'http://example.com/svg.dtd'", "svg [<!ENTITY a 'b'>]"] {
        let declared = read(&format!("<!DOCTYPE {declared}>{}", with(path))).unwrap_err();
        assert_eq!(declared, PictureError::Refused("a document type".to_owned()));
    }
    for damaged in [
        "",
        "<",
        "plain",
        "<svg",
        &with("<g>"),
        "<html/>",
        &SEAL[..500],
        r#"<svg xmlns="urn:other"/>"#,
        "<svg/>",
    ] {
        assert!(matches!(read(damaged), Err(PictureError::NotSvg(_))), "{damaged}: {:?}", read(damaged));
    }
    let empty = read(&with("")).unwrap();
    assert_eq!(empty.picture(), Err(PictureError::Blank));
    let flat = read(&with(r#"<path d="M20 20h60"/>"#)).unwrap();
    assert_eq!(flat.picture(), Err(PictureError::Blank), "an area without height");
    let outside = read(&with(r#"<path d="M200 200h9v9z"/>"#)).unwrap();
    assert_eq!(outside.picture(), Err(PictureError::Blank));
    for size in [(0, 42), (42, 201)] {
        assert_eq!(Vector::read(SEAL.to_owned(), size.0, size.1), Err(PictureError::Size));
    }
}

#[test]
fn what_would_cost_much_is_refused_before_it_is_drawn() {
    let path = r#"<path d="M0 0h9v9z"/>"#;
    let layers = format!("{}{path}{}", r#"<g opacity="0.9">"#.repeat(9), "</g>".repeat(9));
    let large = r#"<path d="M0 0h100v100H0z"/>"#.repeat(300);
    let corners = |count: usize| (0..count).map(|at| format!("h{}v1", at % 2)).collect::<String>();
    let ten_times = format!(r#"<path d="M0 0{}"/>"#, corners(4_900)).repeat(11);
    // Up and down the whole picture, with no area to speak of.
    let edges =
        |attributes: &str| format!(r#"<path {attributes} d="M0 0{}"/>"#, "l.01 100 0-100".repeat(1_000));
    let names: String = (0..32).map(|at| format!(r#" xmlns:n{at}="urn:n{at}""#)).collect();
    let attributes: String = (0..65).map(|at| format!(r#" a{at}="""#)).collect();
    for (svg, what) in [
        (with(&path.repeat(2_001)), "elements"),
        (with(&"<!-- -->".repeat(5_001)), "nodes"),
        (with(&format!("{}{path}{}", "<g>".repeat(70), "</g>".repeat(70))), "elements within each other"),
        (with(&format!("<g{names}/>")), "namespaces"),
        (with(&format!("<g{attributes}/>")), "attributes in one element"),
        (with(&layers), "layers within each other"),
        (with(&large), "dots that are painted over"),
        (with(&ten_times), "segments of paths"),
        (with(&format!(r#"<path d="M0 0{}"/>"#, corners(5_001))), "segments in one path"),
        (with(&edges("").repeat(9)), "dots that edges run through"),
        (
            with(&edges(r#"fill="none" stroke="red" stroke-width=".01""#).repeat(5)),
            "dots that edges run through",
        ),
        (with(r#"<path stroke="red" stroke-dasharray="0.001" d="M0 0h90v90"/>"#), "dashes"),
        (with(r#"<path d="M0 0h1e9v9z"/>"#), "millimetres from its edge"),
        (with(r#"<path d="M0 0h1e30v1e38z"/>"#), "millimetres from its edge"),
        (with(r#"<g transform="scale(1e12)"><path d="M0 0h9v9z"/></g>"#), "millimetres from its edge"),
        (with(r#"<path stroke="red" stroke-width="1e9" d="M0 0h9v9z"/>"#), "millimetres of a line's width"),
    ] {
        assert_eq!(read(&svg).map(|_| ()), Err(PictureError::TooComplex(what)), "{what}");
    }
    let long = with(&format!("<!--{}-->", " ".repeat(formats::seal::MAX_PICTURE)));
    assert_eq!(read(&long).map(|_| ()), Err(PictureError::TooLarge));
    // A large or tiny measure of its own costs nothing.
    for side in ["1e9", "1e-9", "1e30"] {
        let svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}"><rect width="{side}" height="{side}"/></svg>"##
        );
        let drawn = read(&svg).and_then(|drawing| drawing.picture());
        assert!(
            drawn.is_ok() || matches!(drawn, Err(PictureError::NotSvg(_) | PictureError::TooComplex(_))),
            "{drawn:?}"
        );
    }
}
