//! Electronic seals and signatures with them: read and judged without anybody to trust.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_seals.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::seal(input));
