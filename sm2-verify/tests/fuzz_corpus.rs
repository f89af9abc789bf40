//! The fuzz target's corpus, input by input.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/differential.rs"]
mod differential;

use std::fs;
use std::path::Path;

#[test]
fn all_agree_on_every_input_of_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sm2_verify");
    let mut checked = 0;
    for file in fs::read_dir(&folder).unwrap() {
        differential::check(&fs::read(file.unwrap().path()).unwrap());
        checked += 1;
    }
    assert!(checked >= 20, "{checked} inputs in {}", folder.display());
}
