//! The corpus of the fuzz target for signing documents, input by input, and damaged in many places.

#[path = "support/fuzzed_signing.rs"]
mod fuzzed;

use std::path::Path;

/// Octets from one place that is damaged to the next.
const STRIDE: usize = 23;

#[test]
fn documents_to_be_signed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/pdf_sign");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is in the tree") {
        let input = std::fs::read(entry.expect("a folder can be read").path()).expect("a file can be read");
        fuzzed::pdf_sign(&input);
        for position in (inputs % STRIDE..input.len()).step_by(STRIDE) {
            let mut damaged = input.clone();
            damaged[position] ^= 1 << (position % 8);
            fuzzed::pdf_sign(&damaged);
        }
        inputs += 1;
    }
    assert!(inputs > 3, "{inputs}");
}
