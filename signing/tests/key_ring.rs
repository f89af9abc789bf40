//! The ring of keys as it is made from the register.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hsm_driver::KeySpec;
use signing::{KeyRing, SigningError, driver_key};
use store::{KeyPurpose, KeyState};
use support::{AT, chain, copy, device_id, key_id, stamp, version};
use time::Duration;

fn named(specs: &[KeySpec]) -> Vec<(&str, &str, Option<&str>)> {
    let device = |spec: &KeySpec| spec.devices.as_ref().map(|only| only[0].clone());
    let mut named: Vec<_> = specs
        .iter()
        .map(|spec| {
            let cka_id = std::str::from_utf8(&spec.cka_id).unwrap();
            let only = device(spec).map(|device| if device.as_str() == "d1" { "d1" } else { "d2" });
            (spec.id.as_str(), cka_id, only)
        })
        .collect();
    named.sort_unstable();
    named
}

fn reasons(left_out: &[SigningError]) -> Vec<String> {
    left_out.iter().map(ToString::to_string).collect()
}

#[test]
fn copies_are_called_by_key_version_and_device_in_the_devices() {
    let (id, d1) = (key_id("stamp"), device_id("d1"));
    assert_eq!(driver_key(&id, 1, None).unwrap().as_str(), "stamp");
    assert_eq!(driver_key(&id, 2, None).unwrap().as_str(), "stamp.v2");
    assert_eq!(driver_key(&id, 1, Some(&d1)).unwrap().as_str(), "stamp.v1.d1");
    assert!(driver_key(&key_id(&"x".repeat(62)), 10, None).is_err());
}

#[test]
fn the_active_version_signs_earlier_ones_are_kept_and_pending_ones_are_proved() {
    let record = stamp(vec![
        version(1, KeyState::Retired, vec![copy(None, "demo-sm2")]),
        version(2, KeyState::Active, vec![copy(None, "portal-sm2")]),
        version(3, KeyState::Pending, vec![copy(Some("d1"), "front-sm2"), copy(Some("d2"), "demo-sm2")]),
    ]);
    let (ring, left_out) = KeyRing::load(vec![record]);
    assert!(left_out.is_empty(), "{left_out:?}");
    let key = ring.get(&key_id("stamp")).unwrap();
    assert_eq!(key.current.version, 2);
    assert_eq!(key.shown().chain, chain("portal-sm2"));
    let versions: Vec<_> = key.versions().map(|version| (version.version, version.state)).collect();
    assert_eq!(versions, [(1, KeyState::Retired), (2, KeyState::Active)]);
    assert_eq!(
        named(&ring.specs()),
        [
            ("stamp.v2", "stamp#2", None),
            ("stamp.v3.d1", "stamp#3", Some("d1")),
            ("stamp.v3.d2", "stamp#3", Some("d2"))
        ]
    );
}

#[test]
fn a_copy_that_cannot_sign_costs_that_copy_only() {
    let mut uncertified = copy(Some("d2"), "demo-sm2");
    uncertified.certificate_chain.clear();
    let record = stamp(vec![version(1, KeyState::Active, vec![copy(Some("d1"), "portal-sm2"), uncertified])]);
    let (ring, left_out) = KeyRing::load(vec![record]);
    assert_eq!(ring.get(&key_id("stamp")).unwrap().current.copies.len(), 1);
    assert_eq!(named(&ring.specs()), [("stamp.v1.d1", "stamp", Some("d1"))]);
    assert_eq!(reasons(&left_out), ["key stamp in the register: version 1 in d2: it has no certificate"]);
}

#[test]
fn a_key_no_copy_of_which_can_sign_is_left_out_and_the_others_stay() {
    let mut mixed_up = copy(None, "demo-sm2");
    mixed_up.public_key = copy(None, "portal-sm2").public_key;
    let mut broken = stamp(vec![version(1, KeyState::Active, vec![mixed_up])]);
    broken.id = key_id("broken");
    let mut empty = stamp(vec![version(1, KeyState::Active, Vec::new())]);
    empty.id = key_id("empty");
    let mut ended = stamp(vec![version(1, KeyState::Retired, vec![copy(None, "demo-sm2")])]);
    ended.id = key_id("ended");
    let mut secret = stamp(vec![version(1, KeyState::Active, Vec::new())]);
    (secret.id, secret.purpose, secret.algorithm) = (key_id("sys-kek"), KeyPurpose::Kek, "aes256".into());
    let good = stamp(vec![version(1, KeyState::Active, vec![copy(None, "demo-sm2")])]);
    let (ring, left_out) = KeyRing::load(vec![broken, empty, ended, secret, good]);
    assert_eq!(ring.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["stamp"]);
    let reasons = reasons(&left_out);
    assert_eq!(reasons.len(), 2, "an ended key and a secret key are no fault: {reasons:?}");
    assert!(reasons[0].contains("broken") && reasons[0].contains("another public key"), "{reasons:?}");
    assert!(reasons[1].contains("empty") && reasons[1].contains("no device holds it"), "{reasons:?}");

    for (key, code) in [
        ("broken", "key_register_broken"),
        ("empty", "key_register_broken"),
        ("ended", "key_not_active"),
        ("none", "unknown_key"),
    ] {
        assert_eq!(ring.service_key(&key_id(key)).unwrap_err().code(), code, "{key}");
        assert_eq!(ring.group(&key_id(key)).is_some(), key != "none", "{key}");
    }
    assert_eq!(ring.service_key(&key_id("stamp")).unwrap().id, key_id("stamp"));
}

#[test]
fn a_migrated_copy_without_a_public_key_takes_its_certificates() {
    let mut migrated = copy(None, "demo-sm2");
    migrated.public_key = None;
    let (ring, left_out) = KeyRing::load(vec![stamp(vec![version(1, KeyState::Active, vec![migrated])])]);
    assert!(left_out.is_empty(), "{left_out:?}");
    let key = ring.get(&key_id("stamp")).unwrap();
    assert_eq!(key.shown().public_key, chain("demo-sm2")[0].public_key().unwrap());
}

#[test]
fn a_key_named_like_another_keys_version_does_not_keep_the_site_from_starting() {
    let second = stamp(vec![version(2, KeyState::Active, vec![copy(None, "demo-sm2")])]);
    let mut impostor = stamp(vec![version(1, KeyState::Active, vec![copy(None, "portal-sm2")])]);
    impostor.id = key_id("stamp.v2");
    let (ring, left_out) = KeyRing::load(vec![second, impostor]);
    assert_eq!(ring.specs().len(), 1);
    assert!(reasons(&left_out)[0].contains("another key is called stamp.v2 too"), "{left_out:?}");
    assert!(ring.get(&key_id("stamp.v2")).is_none());
}

#[test]
fn certificates_that_end_soon_are_named_soonest_first() {
    let record = stamp(vec![
        version(1, KeyState::Retiring, vec![copy(None, "front-sm2")]),
        version(2, KeyState::Active, vec![copy(Some("d1"), "demo-sm2"), copy(Some("d2"), "portal-sm2")]),
    ]);
    let (ring, _) = KeyRing::load(vec![record]);
    let soonest = |of: &str| chain(of).iter().map(|certificate| certificate.not_after()).min().unwrap();
    let end = soonest("demo-sm2").max(soonest("portal-sm2"));
    let found = ring.expiring(end - Duration::days(30), Duration::days(30));
    let devices: Vec<_> = found.iter().map(|one| (one.version, one.device.clone().unwrap())).collect();
    assert_eq!(devices.len(), 2, "{found:?}");
    assert!(devices.iter().all(|(version, _)| *version == 2), "only what signs: {found:?}");
    assert!(found.is_sorted_by_key(|one| one.not_after));
    let first = soonest("demo-sm2").min(soonest("portal-sm2"));
    assert_eq!(found[0].not_after, first);
    assert!(ring.expiring(first - Duration::days(30), Duration::days(29)).is_empty());
    assert!(
        !ring.expiring(end + Duration::days(1), Duration::ZERO).is_empty(),
        "what has ended is named too"
    );
    assert!(ring.expiring(AT, Duration::ZERO).is_empty());
}
