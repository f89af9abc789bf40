//! HTTP/2, frame by frame, from a Python program that makes its frames by hand.

use std::process::Command;

use serde_json::Value;
use tests::{Ran, Site, eventually, repository};

use super::{BOUND, ended, expect_served, impatient, resident};

/// Mistreats the gateway; what it did about it.
fn mistreat(site: &Site, shape: &str) -> Value {
    let address = site.tls().trim_start_matches("https://");
    let mut python = Command::new("python3");
    python.arg(repository().join("tests/suite/torture/http2.py")).arg(address).arg(site.ca_file()).arg(shape);
    let ran = Ran::of(&mut python).expect(shape);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text))
}

#[test]
fn floods_end_their_own_connection_and_nothing_else() {
    let site = impatient();
    expect_served(&site);
    let before = resident(&site);
    for shape in ["rapid_reset", "continuation_flood", "empty_continuations"] {
        let seen = mistreat(&site, shape);
        assert!(seen["closed"] == true, "{shape}: {seen}");
        expect_served(&site);
    }
    for shape in ["ping_flood", "settings_flood", "empty_data", "huge_field", "no_such_frame"] {
        mistreat(&site, shape);
        expect_served(&site);
    }
    let grown = resident(&site).saturating_sub(before);
    assert!(grown < 96 << 10, "{grown} KiB more");
}

#[test]
fn who_opens_no_window_or_never_ends_a_head_is_ended() {
    let site = impatient();
    let before = resident(&site);
    let seen = mistreat(&site, "unread");
    assert!(seen["closed"] == true, "{seen}");
    eventually("it is counted", BOUND, || (ended(&site, "slow_reader") >= 1.0).then_some(()));
    let seen = mistreat(&site, "silent_head");
    assert!(seen["closed"] == true, "{seen}");
    let grown = resident(&site).saturating_sub(before);
    assert!(grown < 96 << 10, "{grown} KiB more");
    expect_served(&site);
}
