//! Archive packages: as ZIPs, and as files in a ZIP that is whole.

#![no_main]

#[path = "../../signing/tests/support/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzzed::archive(input);
    fuzzed::archive_parts(input);
});
