//! How much memory a large package takes: beside the package itself a bounded amount to be judged, and once its size to be
//! signed. One test alone in its process, because it looks at the process.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod packaging;
mod pieces;
mod pki;
mod sealing;

use crate::packaging::{Parts, judge, plan, sealed_by, sign};
use crate::sealing::Site;

const MIB: u64 = 1 << 20;

/// Octets of memory, by the kernel's word on this process.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

/// How far memory grew at its highest while `act` ran.
fn grown<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = memory("VmRSS:");
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the highest mark begins anew
    let result = act();
    (result, memory("VmHWM:").saturating_sub(before))
}

#[test]
fn a_package_of_64_mebibytes_is_judged_in_a_few_and_signed_in_once_its_size() {
    let site = Site::sm2();
    let ofd = {
        let mut parts = Parts::plain(1_000);
        let mut state = 7u32;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        parts.put("Doc_0/Res/large.bin", &(0..60 * MIB).map(|_| noise()).collect::<Vec<_>>());
        parts.zip()
    };
    let size = ofd.len() as u64;
    assert!(size > 60 * MIB);
    let (signed, growth) = grown(|| sign(&site, plan(&site, &ofd, sealed_by(&site))));
    println!("signing {} MiB took {} MiB", size / MIB, growth / MIB);
    assert!(growth < size + size / 4 + 24 * MIB, "{growth}");
    drop(ofd);
    let (report, growth) = grown(|| judge(&site, &signed));
    println!("judging {} MiB took {} MiB", size / MIB, growth / MIB);
    assert!(report.is_valid(), "{:?}", report.judgement);
    assert_eq!(report.pages, 1_000);
    assert!(growth < 32 * MIB, "{growth}");
}
