//! Request bodies of every kind.

#![no_main]

#[path = "../../gateway/tests/support/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzzed::body(input);
});
