//! PDFs: opened, walked through and judged without anybody to trust.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_documents.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::pdf(input));
