//! What must hold of documents for any input: used by the fuzz target and, over its corpus, by the tests.
#![allow(dead_code)] // each target uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use formats::license_file::{self, FileForm, LicenseFileInput};
use formats::pdf::{Document, Limits, PdfInput, verify};
use formats::{TrustStore, Verdict};
use time::OffsetDateTime;

/// Small enough that an input of a few kilobytes cannot ask for much.
const LIMITS: Limits = Limits {
    octets: 1 << 20,
    objects: 10_000,
    sections: 32,
    nesting: 32,
    object: 1 << 16,
    stream: 1 << 20,
    streams: 4 << 20,
    pages: 1_000,
    fields: 1_000,
};

/// Nobody is trusted, so nothing can be valid; revisions follow each other without a gap.
pub(crate) fn pdf(input: &[u8]) {
    if let Ok(document) = Document::open_within(input, LIMITS) {
        let mut end = 0;
        for (number, revision) in document.revisions().iter().enumerate() {
            assert!(revision.octets.start == end && revision.octets.end <= input.len(), "{revision:?}");
            end = revision.octets.end;
            let view = document.view(number);
            let _ = view.pages();
            let _ = view.signature_fields();
        }
        assert_eq!(document.trailing().len(), input.len() - end);
    }
    let trust = TrustStore::default();
    let at = OffsetDateTime::UNIX_EPOCH;
    let report =
        verify(&PdfInput { pdf: input, limits: LIMITS, signer_id: b"1234567812345678", trust: &trust, at });
    assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    assert!(report.readable || report.judgement.has("malformed"), "{report:?}");
    let (octets, form) = (input, FileForm::Pdf);
    let file = LicenseFileInput { octets, form, documents: &trust, licenses: &trust, at, sandbox: false };
    assert_ne!(license_file::judge(&file).judgement.verdict, Verdict::Valid);
}
