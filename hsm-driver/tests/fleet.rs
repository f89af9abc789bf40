//! The fleet over real workers and real modules: signs everywhere, survives what breaks, never lies.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::KeyId;
use hsm_driver::{Algorithm, Fleet, HsmError, KeyState, State};
use support::{BOUND, Workshop, import, spec, start, state, until, until_ready};

const DIGEST: [u8; 32] = [0x42; 32];

fn key(id: &str) -> KeyId {
    KeyId::parse(id).unwrap()
}

async fn sign(fleet: &Fleet, id: &str, algorithm: Algorithm) -> Result<hsm_driver::Signed, HsmError> {
    support::sign(fleet, &key(id), algorithm, DIGEST).await
}

fn pid(fleet: &Fleet, device: &str) -> u32 {
    fleet.status().into_iter().find(|status| status.id.as_str() == device).unwrap().worker_pid
}

fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_signs_in_simulated_devices_and_the_work_is_spread() {
    let workshop = Workshop::new();
    let ids = ["demo-sm2", "demo-p256", "demo-rsa2048"];
    let keys = || ids.iter().map(|id| import(id, id)).collect();
    let devices = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = start(&devices, ids.iter().map(|id| spec(id, "bureau")).collect());
    until_ready(&fleet).await;
    let mut used = BTreeSet::new();
    for _ in 0..20 {
        for (id, algorithm) in [
            ("demo-sm2", Algorithm::Sm2),
            ("demo-p256", Algorithm::EcdsaP256),
            ("demo-rsa2048", Algorithm::RsaPkcs1),
            ("demo-rsa2048", Algorithm::RsaPss),
        ] {
            used.insert(sign(&fleet, id, algorithm).await.unwrap().device.to_string());
        }
    }
    assert_eq!(used.len(), 2, "{used:?}");
    let wrong = sign(&fleet, "demo-sm2", Algorithm::EcdsaP256).await;
    assert!(matches!(wrong, Err(HsmError::AlgorithmMismatch { .. })), "{wrong:?}");
    let unknown = sign(&fleet, "nobody", Algorithm::Sm2).await;
    assert!(matches!(unknown, Err(HsmError::UnknownKey { .. })), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p256_and_rsa_sign_in_softhsm2_under_the_same_worker() {
    let workshop = Workshop::new();
    let ids = ["demo-p256", "demo-rsa2048"];
    let devices =
        ["s1", "s2"].map(|d| workshop.softhsm(d, "bureau", ids.iter().map(|id| import(id, id)).collect()));
    let fleet = start(&devices, ids.iter().map(|id| spec(id, "bureau")).collect());
    until_ready(&fleet).await;
    for _ in 0..10 {
        sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
        sign(&fleet, "demo-rsa2048", Algorithm::RsaPkcs1).await.unwrap();
        sign(&fleet, "demo-rsa2048", Algorithm::RsaPss).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_workers_while_they_sign_loses_no_signature() {
    let workshop = Workshop::new();
    let devices =
        ["d1", "d2", "d3"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-p256", "demo-p256")]));
    let fleet = Arc::new(start(&devices, vec![spec("demo-p256", "bureau")]));
    until_ready(&fleet).await;
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let fleet = Arc::clone(&fleet);
            tokio::spawn(async move {
                for _ in 0..100 {
                    sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
                }
            })
        })
        .collect();
    for device in ["d1", "d2", "d1"] {
        tokio::time::sleep(Duration::from_millis(60)).await;
        until(&fleet, "a worker to kill", |fleet| state(fleet, device) == State::Ready).await;
        kill(pid(&fleet, device));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    until_ready(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_device_goes_down_unnoticed_and_comes_back_proved() {
    let workshop = Workshop::new();
    let devices = ["d1", "d2"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-sm2", "demo-sm2")]));
    let fleet = start(&devices, vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    workshop.fault("d1", "unreachable = true\n");
    let started = Instant::now();
    while state(&fleet, "d1") != State::Down {
        assert!(started.elapsed() < BOUND, "{:#?}", fleet.status());
        for _ in 0..40 {
            let signed = sign(&fleet, "demo-sm2", Algorithm::Sm2).await.unwrap();
            assert_eq!(signed.device.as_str(), "d2");
        }
    }
    assert_eq!(state(&fleet, "d2"), State::Ready);
    workshop.fault("d1", "");
    until(&fleet, "d1 ready again", |fleet| state(fleet, "d1") == State::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_a_wall() {
    let workshop = Workshop::new();
    // Each device holds the other group's key as well: only the wall keeps it from being asked.
    let both = || vec![import("demo-sm2", "demo-sm2"), import("portal-sm2", "portal-sm2")];
    let devices = [workshop.simulated("d1", "bureau", both()), workshop.simulated("d2", "portal", both())];
    let fleet = start(&devices, vec![spec("demo-sm2", "bureau"), spec("portal-sm2", "portal")]);
    until_ready(&fleet).await;
    workshop.fault("d2", "unreachable = true\n");
    for _ in 0..5 {
        let refused = sign(&fleet, "portal-sm2", Algorithm::Sm2).await;
        assert!(matches!(refused, Err(HsmError::NoDevice { .. })), "{refused:?}");
        assert_eq!(sign(&fleet, "demo-sm2", Algorithm::Sm2).await.unwrap().device.as_str(), "d1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_different_key_is_found_at_start_and_never_routed_to() {
    let workshop = Workshop::new();
    let devices = [
        workshop.simulated("d1", "bureau", vec![import("demo-sm2", "demo-sm2")]),
        workshop.simulated("d2", "bureau", vec![]),
        workshop.simulated("d3", "bureau", vec![import("demo-sm2", "portal-sm2")]),
    ];
    let fleet = start(&devices, vec![spec("demo-sm2", "bureau")]);
    until(&fleet, "all settled", Fleet::has_settled).await;
    let states: Vec<_> = fleet.status().iter().map(|status| status.keys[0].state).collect();
    assert_eq!(states, [KeyState::Held, KeyState::Missing, KeyState::Different]);
    for _ in 0..30 {
        assert_eq!(sign(&fleet, "demo-sm2", Algorithm::Sm2).await.unwrap().device.as_str(), "d1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once_and_never_again() {
    let workshop = Workshop::new();
    let wrong = workshop.simulated("d1", "bureau", vec![import("demo-sm2", "demo-sm2")]);
    let right = workshop.simulated("d2", "bureau", vec![import("demo-sm2", "demo-sm2")]);
    std::fs::write(&wrong.pin_file, "00000000").unwrap();
    let fleet = start(&[wrong, right], vec![spec("demo-sm2", "bureau")]);
    until(&fleet, "d1 down", |fleet| state(fleet, "d1") == State::Down).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let status = fleet.status().into_iter().find(|status| status.id.as_str() == "d1").unwrap();
    assert_eq!((status.worker_starts, status.state), (1, State::Down));
    assert!(status.last_error.unwrap().contains("CKR_PIN_INCORRECT"));
    until(&fleet, "d2 ready", |fleet| state(fleet, "d2") == State::Ready).await;
    assert_eq!(sign(&fleet, "demo-sm2", Algorithm::Sm2).await.unwrap().device.as_str(), "d2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_slower_than_its_attempt_may_last_costs_one_attempt_not_the_request() {
    let workshop = Workshop::new();
    let devices =
        ["d1", "d2"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-p256", "demo-p256")]));
    let fleet = start(&devices, vec![spec("demo-p256", "bureau")]);
    until_ready(&fleet).await;
    for _ in 0..50 {
        sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
    }
    workshop.fault("d1", "latency_ms = 60000\n");
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap().device.as_str(), "d2");
    }
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "nobody waited for its answer: {:?}",
        started.elapsed()
    );
    until(&fleet, "d1 down", |fleet| state(fleet, "d1") == State::Down).await;
    // Its lanes are stuck in the module: the worker is killed and replaced.
    until(&fleet, "d1's worker replaced", |fleet| fleet.status()[0].worker_starts > 1).await;
    workshop.fault("d1", "");
    until_ready(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_module_or_token_keeps_one_device_down_and_no_other() {
    let workshop = Workshop::new();
    let good = workshop.simulated("d1", "bureau", vec![import("demo-sm2", "demo-sm2")]);
    let no_module =
        config::Device { id: "d2".parse().unwrap(), module: workshop.home("nowhere.so"), ..good.clone() };
    let no_token = config::Device { id: "d3".parse().unwrap(), token: "other".to_owned(), ..good.clone() };
    let fleet = start(&[good, no_module, no_token], vec![spec("demo-sm2", "bureau")]);
    until(&fleet, "all settled", Fleet::has_settled).await;
    assert_eq!(sign(&fleet, "demo-sm2", Algorithm::Sm2).await.unwrap().device.as_str(), "d1");
    let errors: Vec<_> =
        fleet.status().into_iter().map(|status| status.last_error.unwrap_or_default()).collect();
    assert!(errors[1].starts_with("module not usable"), "{errors:?}");
    assert!(errors[2].starts_with("no token labelled \"other\""), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_under_load_loses_nothing_and_a_resumed_device_works_again() {
    let workshop = Workshop::new();
    let devices =
        ["d1", "d2"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-p256", "demo-p256")]));
    let fleet = Arc::new(start(&devices, vec![spec("demo-p256", "bureau")]));
    until_ready(&fleet).await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let fleet = Arc::clone(&fleet);
            tokio::spawn(async move {
                for _ in 0..100 {
                    sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let d1 = "d1".parse().unwrap();
    assert_eq!(fleet.drain(&d1).unwrap(), State::Draining);
    until(&fleet, "d1 empty", |fleet| state(fleet, "d1") == State::Maintenance).await;
    let before = fleet.status()[0].signed;
    for caller in callers {
        caller.await.unwrap();
    }
    let status = fleet.status().remove(0);
    assert_eq!((status.signed, status.failed, status.worker_starts), (before, 0, 1), "{status:?}");
    assert_eq!(fleet.resume(&d1).unwrap(), State::Down);
    until(&fleet, "d1 ready again", |fleet| state(fleet, "d1") == State::Ready).await;
    assert!(matches!(fleet.drain(&"nobody".parse().unwrap()), Err(HsmError::UnknownDevice { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_slow_once_soon_gets_its_share_again() {
    let workshop = Workshop::new();
    let devices =
        ["d1", "d2"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-p256", "demo-p256")]));
    let fleet = start(&devices, vec![spec("demo-p256", "bureau")]);
    until_ready(&fleet).await;
    workshop.fault("d1", "latency_ms = 100.0\n");
    while fleet.status()[0].latency_us < 5_000 {
        sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
    }
    workshop.fault("d1", "");
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < BOUND, "{:#?}", fleet.status());
        let before = fleet.status()[0].signed;
        for _ in 0..50 {
            sign(&fleet, "demo-p256", Algorithm::EcdsaP256).await.unwrap();
        }
        if fleet.status()[0].signed - before >= 10 {
            return;
        }
    }
}
