//! Certificates: read, described, judged as leaf, intermediate and anchor.

#![no_main]

#[path = "../../formats/tests/support/fuzzed.rs"]
mod fuzzed;
#[path = "../../formats/tests/pki/mod.rs"]
mod pki;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::certificate(input));
