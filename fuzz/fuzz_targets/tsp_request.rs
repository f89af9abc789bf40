//! Requests for timestamps: read from anybody.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_messages.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::timestamp_request(input));
