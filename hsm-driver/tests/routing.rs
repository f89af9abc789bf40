//! Who gets work: slow devices are asked last, returning ones little at first, callers take turns, retries have a
//! budget, and a second device is asked early only where the site says so.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{AppId, KeyId};
use hsm_driver::{Algorithm, Ask, Fleet, HsmError, State};
use support::{BOUND, Workshop, import, settings, spec, start_with, state, until, until_ready};

fn key() -> KeyId {
    KeyId::parse("demo-sm2").unwrap()
}

async fn fleet_of(workshop: &Workshop, count: usize, settings: &config::Fleet) -> Arc<Fleet> {
    let devices: Vec<_> = (1..=count)
        .map(|n| workshop.simulated(&format!("d{n}"), "bureau", vec![import("demo-sm2", "demo-sm2")]))
        .collect();
    let fleet = start_with(settings, &devices, vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    Arc::new(fleet)
}

/// Signs from several tasks at once until something is true of the fleet.
async fn sign_until(fleet: &Arc<Fleet>, what: &str, holds: impl Fn(&Fleet) -> bool) {
    let started = Instant::now();
    while !holds(fleet) {
        assert!(started.elapsed() < BOUND, "{what}: {:#?}", fleet.status());
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let fleet = Arc::clone(fleet);
            calls.spawn(async move {
                let digest = std::array::from_fn(|_| fastrand::u8(..));
                support::sign(&fleet, &key(), Algorithm::Sm2, digest).await.unwrap();
            });
        }
        calls.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_much_slower_than_its_group_is_asked_last_until_it_has_mended() {
    let workshop = Workshop::new();
    let fleet = fleet_of(&workshop, 4, &settings()).await;
    workshop.fault("d1", "latency_ms = 200.0\n");
    sign_until(&fleet, "d1 told apart", |fleet| fleet.status()[0].slow).await;
    assert_eq!(state(&fleet, "d1"), State::Degraded);
    let before = fleet.status()[0].signed;
    for _ in 0..100 {
        support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap();
    }
    assert_eq!(fleet.status()[0].signed, before, "asked although others could");
    let told = fleet.telemetry(&"d1".parse().unwrap()).unwrap();
    assert!(told.latency.minute.max_us >= 200_000, "{:?}", told.latency.minute);
    assert!(told.states.changes.iter().any(|change| change.to == State::Degraded));
    // Alone it still serves.
    for device in ["d2", "d3", "d4"] {
        fleet.maintain(&device.parse().unwrap()).unwrap();
    }
    assert_eq!(support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap().device.as_str(), "d1");
    for device in ["d2", "d3", "d4"] {
        fleet.resume(&device.parse().unwrap()).unwrap();
    }
    workshop.fault("d1", "");
    sign_until(&fleet, "d1 back among the others", |fleet| !fleet.status()[0].slow).await;
    assert_eq!(state(&fleet, "d1"), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_returns_gets_little_at_first() {
    let workshop = Workshop::new();
    let slow_ramp = config::Fleet { ramp: Duration::from_secs(600), ..settings() };
    let fleet = fleet_of(&workshop, 3, &slow_ramp).await;
    // The others have been there for long.
    let no_ramp = config::Fleet { ramp: Duration::ZERO, ..settings() };
    fleet.reconfigure(&no_ramp, &workshop.devices(), vec![spec("demo-sm2", "bureau")]).await.unwrap();
    for _ in 0..60 {
        support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap();
    }
    fleet.reconfigure(&slow_ramp, &workshop.devices(), vec![spec("demo-sm2", "bureau")]).await.unwrap();
    fleet.maintain(&"d1".parse().unwrap()).unwrap();
    fleet.resume(&"d1".parse().unwrap()).unwrap();
    until_ready(&fleet).await;
    // One of its few answers that came late keeps it out for a round; it is not kept out for ever.
    let started = Instant::now();
    loop {
        let before = fleet.status()[0].signed;
        for _ in 0..300 {
            support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap();
        }
        let got = fleet.status()[0].signed - before;
        assert!(got <= 60, "{got} of 300 went to the device that has just returned");
        if got > 0 {
            break;
        }
        assert!(started.elapsed() < BOUND, "nothing goes to it: {:#?}", fleet.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_caller_waits_behind_itself_and_a_quiet_one_is_served() {
    let workshop = Workshop::new();
    let small = config::Fleet { queue: 60, ..settings() };
    let fleet = fleet_of(&workshop, 1, &small).await;
    workshop.fault("d1", "throughput = 100\n");
    let noisy = AppId::parse("noisy").unwrap();
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let (fleet, noisy) = (Arc::clone(&fleet), noisy.clone());
        flood.spawn(async move {
            let ask = Ask {
                caller: &noisy,
                key: &key(),
                algorithm: Algorithm::Sm2,
                digest: [7; 32],
                deadline: None,
            };
            fleet.sign(ask).await.err()
        });
    }
    until(&fleet, "the queue is full", |fleet| fleet.status()[0].queued >= 50).await;
    let quiet = AppId::parse("quiet").unwrap();
    for _ in 0..5 {
        let ask =
            Ask { caller: &quiet, key: &key(), algorithm: Algorithm::Sm2, digest: [8; 32], deadline: None };
        fleet.sign(ask).await.unwrap();
    }
    let refused: Vec<_> = flood.join_all().await.into_iter().flatten().collect();
    assert!(refused.len() >= 100, "{} of 300 were refused", refused.len());
    let orderly = |error: &HsmError| {
        matches!(
            error,
            HsmError::Overloaded { .. }
                | HsmError::DeadlineExceeded { .. }
                | HsmError::RetriesExhausted { .. }
                | HsmError::NoDevice { .. }
        )
    };
    assert!(refused.iter().all(orderly), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_beyond_the_budget_are_not_made() {
    let workshop = Workshop::new();
    let none = config::Fleet { retry_percent: 0, ..settings() };
    let fleet = fleet_of(&workshop, 2, &none).await;
    // Busy answers take no device out, so that every request is retried.
    for device in ["d1", "d2"] {
        workshop.fault(
            device,
            "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_FUNCTION_FAILED\"\nprobability = 0.7\n",
        );
    }
    let mut exhausted = 0;
    for _ in 0..4_000 {
        let signed = support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await;
        exhausted += usize::from(matches!(signed, Err(HsmError::RetriesExhausted { .. })));
        if exhausted > 20 {
            return;
        }
    }
    panic!("the budget never ran out: {:#?}", fleet.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_device_is_asked_early_only_where_the_site_says_so() {
    let slow = "[[fault]]\nfunction = \"C_Sign\"\naction = \"delay\"\nms = 400\n";
    let workshop = Workshop::new();
    let fleet = fleet_of(&workshop, 2, &settings()).await;
    workshop.fault("d1", slow);
    let hedging = config::Fleet { hedge_after: Some(Duration::from_millis(20)), ..settings() };
    fleet.reconfigure(&hedging, &workshop.devices(), vec![spec("demo-sm2", "bureau")]).await.unwrap();
    let mut slow_answers = 0;
    for _ in 0..40 {
        let signed = support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap();
        slow_answers += usize::from(signed.device.as_str() == "d1");
    }
    assert_eq!(slow_answers, 0, "the slow device's answer came first");
    // Without it, whoever meets the slow device waits for it.
    fleet.reconfigure(&settings(), &workshop.devices(), vec![spec("demo-sm2", "bureau")]).await.unwrap();
    let waited = Instant::now();
    while support::sign(&fleet, &key(), Algorithm::Sm2, [1; 32]).await.unwrap().device.as_str() != "d1" {
        assert!(waited.elapsed() < BOUND, "d1 is never asked");
    }
}
