//! BER brought into DER's form.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_messages.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::transcoded(input));
