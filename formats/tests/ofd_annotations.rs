//! Text and codes that come into OFD packages with their first signature, and keywords that are found in them.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use crate::sealing;

use formats::Verdict;
use formats::ofd::{
    Drawing, Keywords, MAX_DRAWN, OfdError, OfdPlan, Placed, Placement, PreparedOfd, Provider, Rect,
};
use formats::pdf::sign::{Look, Picture};
use formats::seal::SealSignaturePlan;

use crate::packaging::{BOX, Parts, judge, sealed};
use crate::pki::SIGNER_ID;
use crate::sealing::{SIGNED_AT, Site};

const AREA: Rect = Rect { x: 20.0, y: 30.0, width: 60.0, height: 20.0 };
const NS: &str = "xmlns:ofd=\"http://www.ofdspec.org/2016\"";

fn drawing(page: usize) -> Drawing {
    let look = Look::of_text(vec!["核准 approved".to_owned()]);
    Placed::new(&look, page, AREA).unwrap().drawing.unwrap()
}

fn prepared(site: &Site, ofd: &[u8], drawings: &[Drawing]) -> Result<PreparedOfd, OfdError> {
    let (seal, stamps) = (site.seal(), [Placement { page: 0, boundary: BOX, clip: None }]);
    let provider =
        Provider { name: "license-gateway".to_owned(), version: "1".to_owned(), company: String::new() };
    let plan = OfdPlan {
        ofd,
        document: 0,
        seal: Some((&seal, &stamps)),
        drawings,
        algorithm: site.algorithm,
        signed_at: SIGNED_AT,
        provider,
    };
    plan.prepare()
}

/// Sealed, with drawings.
fn drawn(site: &Site, ofd: &[u8], drawings: &[Drawing]) -> Parts {
    let prepared = prepared(site, ofd, drawings).unwrap();
    let plan = SealSignaturePlan {
        seal: site.seal(),
        signed_at: SIGNED_AT,
        data_hash: prepared.digest(),
        property_info: prepared.location(),
        signer: site.signer.clone(),
        algorithm: site.algorithm,
        signer_id: SIGNER_ID.to_vec(),
    };
    let pending = plan.prepare().unwrap();
    let signature = site.key.sign(pending.to_be_signed());
    let value = pending.finish(&signature, None);
    let ofd = prepared.finish(ofd, value.unwrap()).unwrap();
    let report = judge(site, &ofd);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    assert_eq!(report.signatures[0].uncovered.len(), 0, "{report:#?}");
    Parts::of(&ofd)
}

#[test]
fn what_is_drawn_is_protected_by_the_signature_that_brings_it() {
    let site = Site::sm2();
    let parts = drawn(&site, &Parts::plain(3).zip(), &[drawing(2), drawing(0), drawing(2)]);
    let list = parts.text("Doc_0/Annots/Annotations.xml");
    assert!(
        list.contains("PageID=\"10\"") && list.contains("PageID=\"12\"") && !list.contains("PageID=\"11\"")
    );
    assert_eq!(parts.text("Doc_0/Annots/Page_12/Annotation.xml").matches("<ofd:Annot ").count(), 2);
    let document = parts.text("Doc_0/Document.xml");
    assert!(
        document.ends_with("<ofd:Annotations>/Doc_0/Annots/Annotations.xml</ofd:Annotations></ofd:Document>")
    );
    // Three annotations of a line each: numbers 100 to 105.
    assert!(document.contains("<ofd:MaxUnitID>105</ofd:MaxUnitID>"), "{document}");
    // Nobody can move or take it away.
    let mut moved = parts.clone();
    moved.replace("Doc_0/Annots/Page_10/Annotation.xml", "20 30 60 20", "20 90 60 20");
    assert_eq!(judge(&site, &moved.zip()).judgement.verdict, Verdict::Invalid);
    let mut gone = parts.clone();
    gone.replace("Doc_0/Document.xml", "/Doc_0/Annots/Annotations.xml", "/Doc_0/Annots/None.xml");
    assert_eq!(judge(&site, &gone.zip()).judgement.verdict, Verdict::Invalid);
    // What needs nothing drawn leaves the document as it is.
    let plain = drawn(&site, &Parts::plain(1).zip(), &[]);
    assert_eq!(plain.text("Doc_0/Document.xml"), Parts::plain(1).text("Doc_0/Document.xml"));
}

#[test]
fn annotations_that_are_there_stay_and_more_come_behind_them() {
    let site = Site::sm2();
    let mut parts = Parts::plain(2);
    parts.replace(
        "Doc_0/Document.xml",
        "</ofd:Document>",
        "<ofd:Annotations>Notes/List.xml</ofd:Annotations><ofd:Attachments>/none.xml</ofd:Attachments></ofd:Document>",
    );
    parts.set(
        "Doc_0/Notes/List.xml",
        "<o:Annotations xmlns:o=\"http://www.ofdspec.org/2016\"><o:Page PageID=\"10\"><o:FileLoc>p.xml</o:FileLoc></o:Page>\
         </o:Annotations>",
    );
    let note = format!("<ofd:PageAnnot {NS}><ofd:Annot ID=\"98\" Type=\"Link\"/></ofd:PageAnnot>");
    parts.set("Doc_0/Notes/p.xml", &note);
    let after = drawn(&site, &parts.zip(), &[drawing(0), drawing(1)]);
    let page = after.text("Doc_0/Notes/p.xml");
    assert!(
        page.starts_with(note.strip_suffix("</ofd:PageAnnot>").unwrap()) && page.contains("Type=\"Stamp\"")
    );
    assert!(after.text("Doc_0/Notes/Page_11/Annotation.xml").contains("Type=\"Stamp\""));
    let list = after.text("Doc_0/Notes/List.xml");
    assert!(list.contains("<o:FileLoc>p.xml</o:FileLoc>") && list.contains("PageID=\"11\""), "{list}");

    // Named before what stands behind annotations, and where an empty element stands for none.
    let before = "<ofd:Annotations>/Doc_0/Annots/Annotations.xml</ofd:Annotations><ofd:Attachments>";
    for there in ["", "<ofd:Annotations/>", "<ofd:Annotations> </ofd:Annotations>"] {
        let mut parts = Parts::plain(1);
        let more = format!("{there}<ofd:Attachments>/none.xml</ofd:Attachments></ofd:Document>");
        parts.replace("Doc_0/Document.xml", "</ofd:Document>", &more);
        let document = drawn(&site, &parts.zip(), &[drawing(0)]).text("Doc_0/Document.xml");
        assert!(document.contains(before) && document.matches("Annotations>").count() == 2, "{document}");
    }
}

#[test]
fn parts_that_begin_with_a_byte_order_mark_are_added_to_at_the_right_place() {
    let (site, mut parts) = (Site::sm2(), Parts::plain(1));
    let named = "<ofd:Annotations>list.xml</ofd:Annotations></ofd:Document>";
    parts.replace("Doc_0/Document.xml", "</ofd:Document>", named);
    let list = format!("<ofd:Annotations {NS}></ofd:Annotations>");
    parts.set("Doc_0/list.xml", &list);
    for part in ["OFD.xml", "Doc_0/Document.xml", "Doc_0/list.xml"] {
        let marked = format!("\u{feff}{}", parts.text(part));
        parts.set(part, &marked);
    }
    let after = drawn(&site, &parts.zip(), &[drawing(0)]);
    let list = after.text("Doc_0/list.xml");
    assert!(list.ends_with("</ofd:FileLoc></ofd:Page></ofd:Annotations>"), "{list}");
    let ofd = after.text("OFD.xml");
    assert!(ofd.contains("Signatures.xml</") && ofd.ends_with("</ofd:OFD>"), "{ofd}");
}

#[test]
fn what_cannot_take_a_drawing_is_refused() {
    let site = Site::sm2();
    let refused = |ofd: &[u8], drawings: &[Drawing]| prepared(&site, ofd, drawings).unwrap_err().to_string();
    let signed = sealed(&site, 1);
    assert!(refused(&signed, &[drawing(0)]).contains("signed already"));
    assert!(prepared(&site, &signed, &[]).is_ok());
    assert!(refused(&Parts::plain(1).zip(), &[drawing(1)]).contains("no page 2"));
    let with = |name: &str, from: &str, to: &str| {
        let mut parts = Parts::plain(1);
        parts.replace(name, from, to);
        parts
    };
    let named = |place: &str| {
        let named = format!("<ofd:Annotations>{place}</ofd:Annotations></ofd:Document>");
        with("Doc_0/Document.xml", "</ofd:Document>", &named)
    };
    assert!(
        refused(&named("../../x.xml").zip(), &[drawing(0)]).contains("../../x.xml"),
        "a list that is not there"
    );
    let mut broken = named("list.xml");
    broken
        .set("Doc_0/list.xml", &format!("<ofd:Annotations {NS}><ofd:Page PageID=\"10\"/></ofd:Annotations>"));
    assert!(refused(&broken.zip(), &[drawing(0)]).contains("missing"));
    broken.set("Doc_0/list.xml", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>");
    assert!(refused(&broken.zip(), &[drawing(0)]).contains("document type"));
    // One that lacks the highest number that it must have is given numbers far above.
    let without = with("Doc_0/Document.xml", "<ofd:MaxUnitID>99</ofd:MaxUnitID>", "");
    let parts = drawn(&site, &without.zip(), &[drawing(0)]);
    assert!(parts.text("Doc_0/Annots/Page_10/Annotation.xml").contains("ID=\"1000001\""));
    // More than there may be.
    let one = drawing(0);
    let many = vec![one.clone(); MAX_DRAWN / one.size() + 1];
    assert!(matches!(prepared(&site, &Parts::plain(1).zip(), &many), Err(OfdError::TooLarge(_))));
    let nowhere = Rect { width: 0.0, ..AREA };
    assert!(Placed::new(&Look::of_text(vec!["x".to_owned()]), 0, nowhere).is_err());
}

#[test]
fn a_code_is_drawn_in_the_middle_of_its_place_and_a_picture_is_left_to_the_seal() {
    let code = Look::of_picture(Picture::code("https://stamps.example.gov.cn/verify/0").unwrap());
    let placed = Placed::new(&code, 0, AREA).unwrap();
    assert!(placed.picture.is_none() && placed.drawing.is_some());
    let seal = Look::of_picture(Picture::new(sealing::PNG.to_vec()).unwrap());
    let placed = Placed::new(&seal, 0, AREA).unwrap();
    assert!(placed.drawing.is_none());
    let picture = placed.picture.unwrap();
    let middle = picture.x + picture.width / 2.0;
    assert!((middle - 50.0).abs() < 1e-3 && (picture.height - 20.0).abs() < 1e-3, "{picture:?}");
}

/// The places of one keyword.
fn occurrences(
    ofd: &[u8],
    document: usize,
    pages: &[usize],
    keyword: &str,
) -> Result<Vec<(usize, Rect)>, OfdError> {
    Keywords::open(ofd, document)?.places(pages, keyword)
}

#[test]
fn a_keyword_is_found_on_pages_and_in_their_templates() {
    let mut parts = Parts::plain(3);
    let ofd = parts.zip();
    let found = occurrences(&ofd, 0, &[0, 1, 2], "第1页").unwrap();
    assert_eq!(found.len(), 1);
    // Without steps glyph stands behind glyph: two wide ones, and three of half a width.
    let (page, area) = found[0];
    assert_eq!(page, 1);
    assert!((area.x - 20.0).abs() < 0.01 && (area.width - 17.5).abs() < 0.01, "{area:?}");
    assert!(area.y > 19.0 && area.y + area.height < 26.0, "{area:?}");
    assert_eq!(occurrences(&ofd, 0, &[0, 2, 1], "页").unwrap().len(), 3);
    assert!(occurrences(&ofd, 0, &[0], "没有").unwrap().is_empty());
    for (document, page, keyword) in [(1, 0, "页"), (0, 3, "页"), (0, 0, " "), (0, usize::MAX, "页")] {
        assert!(matches!(occurrences(&ofd, document, &[page], keyword), Err(OfdError::Plan(_))));
    }
    // A template's text stands on each page that is laid over it.
    parts.replace(
        "Doc_0/Document.xml",
        "</ofd:CommonData>",
        "<ofd:TemplatePage ID=\"7\" BaseLoc=\"Tpls/T.xml\"/></ofd:CommonData>",
    );
    let template = parts.text("Doc_0/Pages/Page_0/Content.xml").replace("第 0 页", "（盖章处）");
    parts.set("Doc_0/Tpls/T.xml", &template);
    for page in [0, 2] {
        let name = format!("Doc_0/Pages/Page_{page}/Content.xml");
        parts.replace(&name, "<ofd:Content>", "<ofd:Template TemplateID=\"7\"/><ofd:Content>");
    }
    let ofd = parts.zip();
    let mut keywords = Keywords::open(&ofd, 0).unwrap();
    let found = keywords.places(&[0, 1, 2], "盖章处").unwrap();
    assert_eq!(found.iter().map(|(page, _)| *page).collect::<Vec<_>>(), [0, 2]);
    // Three pages and the template are read once, however many keywords are looked for on them.
    assert_eq!(keywords.parts_read(), 4);
    for number in 0..64 {
        let found = keywords.places(&[2, 0, 1], &format!("第{}页", number % 3)).unwrap();
        assert_eq!(found.len(), 1, "{number}: {found:?}");
    }
    assert_eq!(keywords.parts_read(), 4);
}

#[test]
fn a_keyword_that_would_take_too_much_is_refused() {
    let mut parts = Parts::plain(3);
    let many = "页".repeat(900_000);
    parts.replace("Doc_0/Pages/Page_0/Content.xml", "第 0 页", &many);
    let place = "Doc_0/Pages/Page_1/Content.xml";
    parts.replace(place, "第 1 页", &many);
    let few = parts.zip();
    assert!(matches!(occurrences(&few, 0, &[0], "页"), Err(OfdError::TooLarge(_))), "places");
    assert!(occurrences(&few, 0, &[0, 1], "页码").unwrap().is_empty());
    // A page counts once, however often it is looked at; the characters of all pages count together.
    assert!(occurrences(&few, 0, &[0, 1, 0, 1, 0], "页码").unwrap().is_empty());
    parts.replace("Doc_0/Pages/Page_2/Content.xml", "第 2 页", &many);
    let refused = occurrences(&parts.zip(), 0, &[0, 1, 2], "页码");
    assert!(matches!(refused, Err(OfdError::TooLarge(_))), "characters");
    // What nearly matches everywhere is found as fast as what matches nowhere.
    let nearly = format!("{}码", "页".repeat(127));
    let mut keywords = Keywords::open(&few, 0).unwrap();
    for _ in 0..64 {
        assert!(keywords.places(&[0, 1], &nearly).unwrap().is_empty());
    }
    assert_eq!(keywords.parts_read(), 2);
}
