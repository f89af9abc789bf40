//! Verification against RustCrypto's, and the readers of keys and signatures.

#![no_main]

#[path = "../../sm2-verify/tests/support/differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|input: &[u8]| differential::check(input));
