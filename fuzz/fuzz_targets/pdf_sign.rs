//! PDFs: signed and opened again.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_signing.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::pdf_sign(input));
