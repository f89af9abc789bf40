//! The corpus of the fuzz target for documents, input by input, damaged in many places, and at random.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/fuzzed_documents.rs"]
mod fuzzed;

use std::path::Path;

use proptest::prelude::*;

/// Octets from one place that is damaged to the next: each damage takes as long as the whole document.
const STRIDE: usize = 7;

#[test]
fn pdfs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/pdf");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        fuzzed::pdf(&input);
        for position in (inputs % STRIDE..input.len()).step_by(STRIDE) {
            let mut damaged = input.clone();
            damaged[position] ^= 1 << (position % 8);
            fuzzed::pdf(&damaged);
            fuzzed::pdf(&input[..position]);
        }
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs}");
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzed::pdf(&bytes);
    }

    #[test]
    fn any_tail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = [b"%PDF-1.7\n1 0 obj\n".as_slice(), &bytes, b"\nxref\n0 1\n"];
        let offset = file.concat().len() - 9;
        let tail = format!("trailer<</Root 1 0 R>>\nstartxref\n{offset}\n%%EOF");
        fuzzed::pdf(&[&*file.concat(), tail.as_bytes()].concat());
    }
}
