//! Timestamps: read and judged without anybody to trust.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_messages.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::timestamp(input));
