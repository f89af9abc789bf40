//! Pictures of seals as SVG: read, drawn as dots and into PDF, or refused.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_seals.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::drawing(input));
