//! The corpora of the fuzz targets for messages and identifiers, input by input, damaged everywhere, and at random.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/fuzzed_messages.rs"]
mod fuzzed;

use std::path::Path;

use proptest::prelude::*;

fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        check(&input);
        for position in 0..input.len() {
            let mut damaged = input.clone();
            damaged[position] ^= 1 << (position % 8);
            check(&damaged);
        }
        inputs += 1;
    }
    assert!(inputs > 0);
}

#[test]
fn signed_data() {
    run("cms", fuzzed::signed_data);
    run("cms", fuzzed::transcoded);
}

#[test]
fn timestamps() {
    run("tsp", fuzzed::timestamp);
    run("tsp", fuzzed::transcoded);
}

#[test]
fn timestamp_requests() {
    run("tsp_request", fuzzed::timestamp_request);
}

#[test]
fn transcoding() {
    run("ber", fuzzed::transcoded);
}

#[test]
fn identifiers() {
    run("identifier", fuzzed::identifier);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for check in [
            fuzzed::signed_data,
            fuzzed::timestamp,
            fuzzed::timestamp_request,
            fuzzed::transcoded,
            fuzzed::identifier,
        ] {
            check(&bytes);
        }
    }

    #[test]
    fn any_text(text in "\\PC{0,300}") {
        fuzzed::identifier(text.as_bytes());
    }
}
