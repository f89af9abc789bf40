//! The fuzz targets' corpora, input by input, and the same at random.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/fuzzed.rs"]
mod fuzzed;

use std::path::Path;

use proptest::prelude::*;

fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        check(&input);
        // And damaged everywhere.
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
fn certificates() {
    run("certificate", fuzzed::certificate);
}

#[test]
fn crls() {
    run("crl", fuzzed::crl);
}

#[test]
fn ocsp_responses() {
    run("ocsp", fuzzed::ocsp);
}

#[test]
fn requests() {
    run("csr", fuzzed::request);
}

#[test]
fn paths() {
    run("path", fuzzed::path);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for check in [fuzzed::certificate, fuzzed::crl, fuzzed::ocsp, fuzzed::request, fuzzed::path] {
            check(&bytes);
        }
    }
}
