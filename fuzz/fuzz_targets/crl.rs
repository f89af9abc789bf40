//! CRLs: read, and what they do to a path.

#![no_main]

#[path = "../../formats/tests/support/fuzzed.rs"]
mod fuzzed;
#[path = "../../formats/tests/pki/mod.rs"]
mod pki;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::crl(input));
