//! What must hold of archive packages for any input: used by the fuzz target and, over its corpus, by the tests.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::io::{Cursor, Write};

use formats::ofd::Package;
use formats::{TrustStore, Verdict};
use signing::{MANIFEST, MANIFEST_EVIDENCE, MANIFEST_SIGNATURE, judge_archive};
use time::OffsetDateTime;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Nobody is trusted, so nothing can be valid; what is no ZIP that all readers understand alike is told so.
pub(crate) fn archive(input: &[u8]) {
    let answer = judge_archive(&TrustStore::default(), input, OffsetDateTime::UNIX_EPOCH);
    assert_ne!(answer.judgement.verdict, Verdict::Valid, "{answer:?}");
    assert_eq!(answer.readable, Package::open(input).is_ok());
    assert!(!answer.judgement.findings.is_empty());
}

/// The files, put into a package: reaches behind the ZIP. Items of the input: which file, then its content up to a NUL.
pub(crate) fn archive_parts(input: &[u8]) {
    const NAMES: [&str; 6] =
        [MANIFEST, MANIFEST_SIGNATURE, MANIFEST_EVIDENCE, "evidence.json", "signature.p7s", "content"];
    let mut parts: [&[u8]; 6] = [b""; 6];
    for item in input.split(|octet| *octet == 0) {
        if let [which, content @ ..] = item {
            parts[usize::from(*which) % NAMES.len()] = content;
        }
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in NAMES.iter().zip(parts) {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    archive(&writer.finish().unwrap().into_inner());
}
