//! OFD packages: as archives, and as parts in an archive that is whole.

#![no_main]

#[path = "../../formats/tests/support/fuzzed_seals.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzzed::ofd(input);
    fuzzed::ofd_parts(input);
});
