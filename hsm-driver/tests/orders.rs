//! What a device can be told beside signing with its own keys: making, moving, wrapping and removing keys, and
//! proving itself; on simulated devices of every dialect and on SoftHSM2.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use config::{AppId, DeviceId, GroupId, KeyId};
use hsm_driver::{
    Algorithm, Answer, Ask, CheckOutcome, Fleet, HsmError, KeyKind, KeySpec, KeyState, Order, SecretKind,
    State, WrappedKey,
};
use support::{
    LIMIT, Workshop, import, settings, share_secret, spec, start, state, tell, until, until_ready,
};

const WRAPPING: &[u8] = b"sys-kek";

fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}

fn algorithm(kind: KeyKind) -> Algorithm {
    match kind {
        KeyKind::Sm2 => Algorithm::Sm2,
        KeyKind::P256 => Algorithm::EcdsaP256,
        KeyKind::Rsa2048 => Algorithm::RsaPss,
    }
}

async fn pair_of(devices: [config::Device; 2]) -> Fleet {
    let fleet = start(&devices, vec![spec("demo-p256", "bureau")]);
    until_ready(&fleet).await;
    fleet
}

fn keys() -> Vec<hsm_driver::provision::ImportKey> {
    vec![import("demo-p256", "demo-p256")]
}

/// Makes a key pair in d1, spreads it to d2 under the wrapping key, and has both sign with it as one key.
async fn spread(fleet: &Fleet, devices: &[config::Device], kind: KeyKind) {
    let name = format!("spread-{}", kind.as_str());
    let (cka_id, label) = (name.clone().into_bytes(), name.clone());
    let order = Order::GeneratePair { cka_id: cka_id.clone(), label: label.clone(), kind, extractable: true };
    let Answer::PublicKey(public_key) = tell(fleet, "d1", order.clone()).await else { panic!("no key") };
    let again = fleet.order(&id("d1"), order, LIMIT).await;
    assert!(matches!(again, Err(HsmError::OrderFailed { .. })), "a CKA_ID is given once: {again:?}");
    let order = Order::WrapOut { cka_id: cka_id.clone(), wrapping: WRAPPING.to_vec() };
    let Answer::Wrapped { blob, .. } = tell(fleet, "d1", order).await else { panic!("not wrapped") };
    let order = Order::UnwrapIn {
        blob,
        wrapping: WRAPPING.to_vec(),
        cka_id: cka_id.clone(),
        label,
        public_key: public_key.clone(),
        extractable: false,
        digest: [5; 32],
    };
    assert!(matches!(tell(fleet, "d2", order).await, Answer::Octets(_)));
    let key = KeySpec {
        id: KeyId::parse(&name).unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        cka_id: cka_id.clone(),
        public_key,
        devices: None,
    };
    let specs = vec![spec("demo-p256", "bureau"), key.clone()];
    let report = fleet.reconfigure(&settings(), devices, specs).await.unwrap();
    assert_eq!(report.keys_changed, std::slice::from_ref(&key.id));
    let both_hold_it = async || {
        until(fleet, "both hold it", |fleet| {
            fleet.status().iter().all(|status| status.keys.iter().all(|key| key.state == KeyState::Held))
        })
        .await;
    };
    both_hold_it().await;
    for device in ["d1", "d2"] {
        fleet.maintain(&id(device)).unwrap();
        for _ in 0..3 {
            let signed = support::sign(fleet, &key.id, algorithm(kind), [9; 32]).await.unwrap();
            assert_ne!(signed.device, id(device));
        }
        fleet.resume(&id(device)).unwrap();
        until_ready(fleet).await;
        both_hold_it().await;
    }
    // Gone from both, and the fleet notices.
    for device in ["d1", "d2"] {
        assert_eq!(tell(fleet, device, Order::Destroy { cka_id: cka_id.clone() }).await, Answer::Done(2));
    }
    let gone = support::sign(fleet, &key.id, algorithm(kind), [9; 32]).await;
    assert!(matches!(gone, Err(HsmError::NoDevice { .. })), "{gone:?}");
    fleet.reconfigure(&settings(), devices, vec![spec("demo-p256", "bureau")]).await.unwrap();
}

/// Makes keys that live outside and signs with them on both devices.
async fn wrapped(fleet: &Fleet, kind: KeyKind) {
    let (caller, name) = (AppId::parse("cloud").unwrap(), KeyId::parse("person-1").unwrap());
    let group = GroupId::parse("bureau").unwrap();
    let key = fleet.generate_wrapped(&name, &group, kind, WRAPPING).await.unwrap();
    let ask =
        Ask { caller: &caller, key: &name, algorithm: algorithm(kind), digest: [3; 32], deadline: None };
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..40 {
        used.insert(fleet.sign_wrapped(&key, ask).await.unwrap().device);
    }
    assert_eq!(used.len(), 2, "{used:?}");
    let (hits, misses) =
        fleet.status().iter().fold((0, 0), |sum, d| (sum.0 + d.wrapped_hits, sum.1 + d.wrapped_misses));
    assert!(misses >= 2 && hits > misses, "unwrapped once by each session: {hits} and {misses}");
    // The key of somebody else in this one's place is found by its signature, and costs no device its place.
    let other = fleet.generate_wrapped(&name, &group, kind, WRAPPING).await.unwrap();
    let mixed = WrappedKey { blob: other.blob, ..key.clone() };
    let refused = fleet.sign_wrapped(&mixed, ask).await;
    assert!(refused.is_err(), "{refused:?}");
    let mut damaged = key.clone();
    damaged.blob[10] ^= 1;
    assert!(fleet.sign_wrapped(&damaged, ask).await.is_err());
    until_ready(fleet).await;
    fleet.sign_wrapped(&key, ask).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_spread_wrapped_and_destroyed_in_simulated_devices_of_every_dialect() {
    for dialect in ["standard", "sansec", "tass", "luna", "westone", "ibm"] {
        let workshop = Workshop::new();
        let devices = ["d1", "d2"].map(|d| workshop.simulated_in(dialect, d, "bureau", keys()));
        let fleet = pair_of(devices.clone()).await;
        share_secret(&fleet, ["d1", "d2"], WRAPPING, SecretKind::Wrapping).await;
        spread(&fleet, &devices, KeyKind::Sm2).await;
        wrapped(&fleet, KeyKind::Sm2).await;
        if dialect == "standard" {
            for kind in [KeyKind::P256, KeyKind::Rsa2048] {
                spread(&fleet, &devices, kind).await;
                wrapped(&fleet, kind).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_spread_wrapped_and_destroyed_in_softhsm2() {
    let workshop = Workshop::new();
    let devices = ["d1", "d2"].map(|device| workshop.softhsm(device, "bureau", keys()));
    let fleet = pair_of(devices.clone()).await;
    share_secret(&fleet, ["d1", "d2"], WRAPPING, SecretKind::Wrapping).await;
    spread(&fleet, &devices, KeyKind::P256).await;
    wrapped(&fleet, KeyKind::P256).await;
    wrapped(&fleet, KeyKind::Rsa2048).await;
    // No SM2 there: refused, and said so.
    let group = GroupId::parse("bureau").unwrap();
    let none = fleet.generate_wrapped(&"x".parse().unwrap(), &group, KeyKind::Sm2, WRAPPING).await;
    assert!(matches!(none, Err(HsmError::OrderFailed { .. })), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_have_no_key_of_the_site_sign_with_keys_from_outside() {
    let workshop = Workshop::new();
    let devices = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = start(&devices, Vec::new());
    until_ready(&fleet).await;
    share_secret(&fleet, ["d1", "d2"], WRAPPING, SecretKind::Wrapping).await;
    let group = GroupId::parse("bureau").unwrap();
    assert_eq!(fleet.usable()[&group], 0, "no key of the site");
    assert!(fleet.can_unwrap(&group));
    assert!(!fleet.can_unwrap(&GroupId::parse("other").unwrap()));
    wrapped(&fleet, KeyKind::P256).await; // what is damaged takes them down; they come back
    for device in ["d1", "d2"] {
        assert!(fleet.can_unwrap(&group));
        fleet.maintain(&id(device)).unwrap();
    }
    assert!(!fleet.can_unwrap(&group), "none takes work");
    fleet.resume(&id("d1")).unwrap();
    until(&fleet, "it takes work again", |fleet| fleet.can_unwrap(&group)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_sign_by_what_its_devices_proved() {
    let workshop = Workshop::new();
    let fleet = pair_of(["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()))).await;
    let key = KeyId::parse("demo-p256").unwrap();
    until(&fleet, "it is proved", |fleet| fleet.can_serve(&key)).await;
    assert!(fleet.can_sign(&key, Algorithm::EcdsaP256) && !fleet.can_sign(&key, Algorithm::Sm2));
    assert!(!fleet.can_sign(&KeyId::parse("nobody").unwrap(), Algorithm::EcdsaP256));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_key_derives_the_same_in_every_device_and_differs_by_text() {
    let workshop = Workshop::new();
    let fleet = pair_of(["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()))).await;
    share_secret(&fleet, ["d1", "d2"], b"sys-mac", SecretKind::Mac).await;
    let derive = |text: &str| Order::Derive { cka_id: b"sys-mac".to_vec(), text: text.to_owned() };
    let one = tell(&fleet, "d1", derive("wrapped keys")).await;
    assert_eq!(one, tell(&fleet, "d2", derive("wrapped keys")).await);
    assert_ne!(one, tell(&fleet, "d1", derive("wrapped keys 2")).await);
    assert!(matches!(&one, Answer::Octets(octets) if octets.len() == 32));
    // It wraps nothing, and the wrapping key derives nothing.
    share_secret(&fleet, ["d1", "d2"], WRAPPING, SecretKind::Wrapping).await;
    let order = Order::GenerateWrapped { kind: KeyKind::Sm2, wrapping: b"sys-mac".to_vec() };
    assert!(fleet.order(&id("d1"), order, LIMIT).await.is_err());
    let order = Order::Derive { cka_id: WRAPPING.to_vec(), text: "x".to_owned() };
    assert!(fleet.order(&id("d1"), order, LIMIT).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_wrapped_keys_than_a_session_keeps_all_go_on_signing_and_no_object_is_left() {
    let workshop = Workshop::new();
    let devices = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let small = config::Fleet { wrapped_cache: 3, ..settings() };
    let fleet = pair_of(devices.clone()).await;
    share_secret(&fleet, ["d1", "d2"], WRAPPING, SecretKind::Wrapping).await;
    let report = fleet.reconfigure(&small, &devices, vec![spec("demo-p256", "bureau")]).await.unwrap();
    assert_eq!(report.replaced.len(), 2);
    until_ready(&fleet).await;
    let (caller, group) = (AppId::parse("cloud").unwrap(), GroupId::parse("bureau").unwrap());
    let mut keys = Vec::new();
    for number in 0..12 {
        let name = KeyId::parse(&format!("person-{number}")).unwrap();
        keys.push((fleet.generate_wrapped(&name, &group, KeyKind::Sm2, WRAPPING).await.unwrap(), name));
    }
    for round in 0..5 {
        for (key, name) in &keys {
            let digest = [round; 32];
            let ask = Ask { caller: &caller, key: name, algorithm: Algorithm::Sm2, digest, deadline: None };
            fleet.sign_wrapped(key, ask).await.unwrap();
        }
    }
    // demo-p256 (2), the wrapping key, and at most 3 for each of 2 sessions.
    for device in ["d1", "d2"] {
        let Answer::Objects(objects) = tell(&fleet, device, Order::Inventory).await else { panic!() };
        assert!((3..=9).contains(&objects.len()), "{objects:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_test_tells_a_healthy_device_from_one_that_lies_and_changes_no_state() {
    let workshop = Workshop::new();
    let devices = [workshop.simulated("d1", "bureau", keys()), workshop.softhsm("d2", "bureau", keys())];
    let fleet = pair_of(devices).await;
    for device in ["d1", "d2"] {
        let test = fleet.self_test(&id(device)).await.unwrap();
        assert!(test.passed, "{test:#?}");
        let outcome = |name: &str| test.checks.iter().find(|check| check.name == name).map(|c| c.outcome);
        assert_eq!(outcome("key demo-p256 ecdsa-p256-sha256"), Some(CheckOutcome::Passed));
        assert_eq!(outcome("known answer sha256"), Some(CheckOutcome::Passed), "{test:#?}");
        let sm3 = if device == "d1" { CheckOutcome::Passed } else { CheckOutcome::NotAvailable };
        assert_eq!((outcome("known answer sm3"), outcome("known answer sm4")), (Some(sm3), Some(sm3)));
    }
    fleet.maintain(&id("d1")).unwrap();
    workshop.fault("d1", "[[fault]]\nfunction = [\"C_Sign\", \"C_Digest\"]\naction = \"flip_bit\"\n");
    let test = fleet.self_test(&id("d1")).await.unwrap();
    assert!(!test.passed);
    let failed: Vec<_> = test.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed).collect();
    assert!(failed.len() >= 3, "{failed:?}");
    assert_eq!(state(&fleet, "d1"), State::Maintenance);
    assert_eq!(fleet.status()[0].last_self_test, Some(false));
    let nobody = fleet.self_test(&id("d9")).await;
    assert!(matches!(nobody, Err(HsmError::UnknownDevice { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_a_device_without_a_worker_is_refused_and_one_that_hangs_ends_by_its_limit() {
    let workshop = Workshop::new();
    let devices = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = pair_of(devices).await;
    workshop.fault("d1", "[[fault]]\nfunction = \"C_GenerateRandom\"\naction = \"hang\"\n");
    let late = fleet.order(&id("d1"), Order::Random { octets: 8 }, Duration::from_millis(200)).await;
    assert!(matches!(late, Err(HsmError::DeadlineExceeded { .. })), "{late:?}");
    until(&fleet, "a new worker", |fleet| fleet.status()[0].worker_starts > 1).await;
    workshop.fault("d1", "unreachable = true\n");
    fleet.restart(&id("d1")).await.unwrap();
    until(&fleet, "d1 down", |fleet| fleet.status()[0].worker_pid == 0).await;
    let order = Order::Random { octets: 8 };
    let refused = fleet.order(&id("d1"), order, LIMIT).await;
    assert!(matches!(refused, Err(HsmError::NotRunning { .. })), "{refused:?}");
    let empty = fleet.order(&id("d2"), Order::Destroy { cka_id: Vec::new() }, LIMIT).await;
    assert!(matches!(empty, Err(HsmError::OrderFailed { .. })), "an empty CKA_ID means no object: {empty:?}");
}
