//! What must hold of signing a document for any input: used by the fuzz target and, over its corpus, by the tests.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::sync::LazyLock;

use formats::pdf::Document;
use formats::pdf::sign::{
    Edge, FieldPlan, Look, Occurrence, PageRect, Pages, Picture, Place, SignaturePlan, SignatureValidation,
    SubFilter, add_validation_data, prepare,
};
use formats::scheme::HashAlgorithm;

/// One dot.
static LOOK: LazyLock<Look> = LazyLock::new(|| {
    let mut octets = Vec::new();
    let encoder = png::Encoder::new(&mut octets, 1, 1);
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    Look::of_picture(Picture::new(octets).unwrap())
});

fn plan(places: Vec<Place>) -> SignaturePlan {
    SignaturePlan {
        look: (!places.is_empty()).then(|| LOOK.clone()),
        field: FieldPlan::New { name: None, places },
        room: 8,
        ..SignaturePlan::new(SubFilter::Pkcs7, HashAlgorithm::Sm3)
    }
}

/// An update is refused with a code, or the document with it opens, has one more signature, and that one is where the
/// plan says.
pub(crate) fn pdf_sign(input: &[u8]) {
    let keyword = |keyword: &str| Place::Keyword {
        keyword: keyword.to_owned(),
        pages: Pages::All,
        occurrence: Occurrence::All,
        size: (5.0, 5.0),
        offset: (0.0, 0.0),
    };
    let rect = PageRect { left: 1.0, top: 1.0, width: 5.0, height: 5.0 };
    let places = [
        vec![],
        vec![Place::Rect { pages: Pages::Last, rect }],
        vec![keyword("e")],
        vec![Place::Seam {
            pages: Pages::All,
            edge: Edge::Right,
            size: (5.0, 5.0),
            offset: 1.0,
            most_pages: 3,
        }],
    ];
    for places in places {
        let prepared = match prepare(input, &plan(places)) {
            Ok(prepared) => prepared,
            Err(error) => {
                assert!(!error.code().is_empty() && !error.to_string().is_empty());
                continue;
            }
        };
        let before = Document::open(input).unwrap().latest().signature_fields().unwrap();
        let field = prepared.field().to_owned();
        let signed = [input, &prepared.finish(&[0xA5; 8]).unwrap()].concat();
        let fields = Document::open(&signed).unwrap().latest().signature_fields().unwrap();
        assert_eq!(fields.len(), before.len() + 1);
        let value = fields.iter().find(|one| one.name == field).unwrap().value.as_ref().unwrap();
        assert_eq!(value.dictionary.get(b"Contents").unwrap().as_str().unwrap(), [0xA5; 8]);
        let validation =
            SignatureValidation { field, ocsps: vec![vec![1]], ..SignatureValidation::default() };
        if let Ok(update) = add_validation_data(&signed, &[validation]) {
            Document::open(&[&signed[..], &update].concat()).unwrap();
        }
    }
}
