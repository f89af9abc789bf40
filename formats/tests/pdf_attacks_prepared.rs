//! Documents prepared before they are signed, so that a later update shows something else through what the signature
//! lets pass: empty fields, metadata, forms, objects that reach behind what is signed.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod pdf;
mod pki;
#[path = "pdf/signed.rs"]
mod signed;

use formats::Verdict;
use pdf::{Maker, ROOT, base, form, page_object, placeholder};
use signed::{Signatory, Signed};

const SHAPE: &str = "/Type /XObject /Subtype /Form /BBox [0 0 595 842]";

#[test]
fn an_unsigned_signature_field_laid_over_the_page() {
    let signed = Signed::new();
    let laid = |field: &str| {
        let field = format!("<< /T (x) /FT /Sig /Type /Annot /Subtype /Widget /P 3 0 R {field} >>");
        let update = signed.update().stream(91, SHAPE, b"1 g 0 0 595 842 re f (Evil) Tj").object(90, field);
        update.object(20, form(&[30, 90])).object(3, page_object(" 30 0 R 90 0 R")).table(ROOT)
    };
    let page = "/Rect [0 0 595 842]";
    signed.found(&laid(&format!("{page} /AP << /N 91 0 R >>")), "field_added");
    signed.found(&laid(&format!("{page} /F 2 /AP << /N 91 0 R >>")), "field_added");
    signed.found(&laid(page), "field_added");
    signed.found(&laid("/Rect 91 0 R /AP << /N 91 0 R >>"), "field_added");
    // Signing programs add empty fields for the next signer, which show nothing.
    signed.permitted(&laid("/Rect [0 0 0 0]"), "signature_field_added");
    signed.permitted(&laid("/Rect [10 10 10 10] /AP << /N 91 0 R >>"), "signature_field_added");
    signed.permitted(&laid(&format!("{page} /F 2")), "signature_field_added");
    signed.permitted(&laid(""), "signature_field_added");
    // Its widget may stand by itself.
    let kid = format!("<< /Type /Annot /Subtype /Widget /Parent 90 0 R {page} /AP << /N 91 0 R >> >>");
    let update = signed.update().stream(91, SHAPE, b"(Evil) Tj").object(92, kid);
    let update = update.object(90, "<< /T (x) /FT /Sig /Kids [92 0 R] >>").object(20, form(&[30, 90]));
    signed.found(&update.object(3, page_object(" 30 0 R 92 0 R")).table(ROOT), "field_added");
}
