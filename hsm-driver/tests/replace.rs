//! A device is destroyed and a blank one put in its place: it gets its keys from the others, under load.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use config::{DeviceId, KeyId};
use hsm_driver::provision::{ImportKey, KeyParts};
use hsm_driver::{Algorithm, Answer, Fleet, HsmError, KeyState, Order, SecretKind, SecretSpec, State};
use support::{LIMIT, Workshop, import, spec, start, state, until, until_ready};

const WRAPPING: &[u8] = b"sys-kek";

fn secrets() -> Vec<SecretSpec> {
    let secret = |id: &str, kind| SecretSpec { cka_id: id.as_bytes().to_vec(), label: id.to_owned(), kind };
    vec![secret("sys-kek", SecretKind::Wrapping), secret("sys-mac", SecretKind::Mac)]
}

fn keys() -> Vec<ImportKey> {
    let secret = |id: &str, octet: u8, kind| ImportKey {
        label: id.to_owned(),
        cka_id: id.as_bytes().to_vec(),
        parts: KeyParts::Secret { value: vec![octet; 32].into(), kind },
        extractable: true,
    };
    let mut keys: Vec<_> = ["demo-sm2", "demo-p256", "demo-rsa2048"].map(|id| import(id, id)).into();
    keys.push(secret("sys-kek", 3, SecretKind::Wrapping));
    keys.push(secret("sys-mac", 4, SecretKind::Mac));
    keys
}

/// Signs without pause until told to stop; how many failed, and how many did not.
async fn load(fleet: Arc<Fleet>, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for (id, algorithm) in [("demo-sm2", Algorithm::Sm2), ("demo-p256", Algorithm::EcdsaP256)] {
            let digest = std::array::from_fn(|_| fastrand::u8(..));
            match support::sign(&fleet, &KeyId::parse(id).unwrap(), algorithm, digest).await {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                Err(error) => failures.push(error.to_string()),
            }
        }
    }
    failures
}

/// As if a blank device of the same make had been put into the rack.
fn make_blank(workshop: &Workshop, fleet: &Fleet, device: &str) {
    let (tokens, gone) = (workshop.home(device).join("tokens"), workshop.home(device).join("tokens.gone"));
    std::fs::rename(&tokens, &gone).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    let pid = fleet.status().iter().find(|status| status.id.as_str() == device).unwrap().worker_pid;
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

async fn replaced_under_load(workshop: Workshop, devices: &[config::Device], ids: &[&str]) {
    let fleet = Arc::new(start(devices, ids.iter().map(|id| spec(id, "bureau")).collect()));
    until_ready(&fleet).await;
    let d3 = DeviceId::parse("d3").unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = ids.contains(&"demo-sm2").then(|| {
        let callers = (0..4).map(|_| tokio::spawn(load(fleet.clone(), stop.clone(), done.clone())));
        callers.collect::<Vec<_>>()
    });

    make_blank(&workshop, &fleet, "d3");
    until(&fleet, "d3 down", |fleet| state(fleet, "d3") == State::Down).await;
    let report = fleet.take_in(&d3, &secrets(), WRAPPING).await.unwrap();
    assert!(report.iter().all(|spread| spread.error.is_none() && spread.from.is_some()), "{report:#?}");
    assert_eq!(report.len(), ids.len() + 2);
    until_ready(&fleet).await;
    let held = |fleet: &Fleet| fleet.status()[2].keys.iter().all(|key| key.state == KeyState::Held);
    assert!(held(&fleet), "{:#?}", fleet.status()[2]);

    // It is a full member: it gives its keys to the next blank device, all the others being out.
    for device in devices.iter().filter(|device| !["d3", "d1"].contains(&device.id.as_str())) {
        fleet.maintain(&device.id).unwrap();
    }
    make_blank(&workshop, &fleet, "d1");
    let d1 = DeviceId::parse("d1").unwrap();
    until(&fleet, "d1 down", |fleet| state(fleet, "d1") == State::Down).await;
    let report = fleet.take_in(&d1, &secrets(), WRAPPING).await;
    let report = report.unwrap_or_else(|error| panic!("{error}: {:#?}", fleet.status()[0]));
    assert!(report.iter().all(|spread| spread.from == Some(d3.clone())), "{report:#?}");
    until(&fleet, "d1 ready", |fleet| state(fleet, "d1") == State::Ready).await;
    // Done twice, it changes nothing.
    let again = fleet.take_in(&d1, &secrets(), WRAPPING).await.unwrap();
    assert!(again.iter().all(|spread| spread.from.is_none() && spread.error.is_none()), "{again:#?}");
    let derive = Order::Derive { cka_id: b"sys-mac".to_vec(), text: "x".to_owned() };
    let one = fleet.order(&d1, derive.clone(), LIMIT).await.unwrap();
    assert_eq!(one, fleet.order(&d3, derive, LIMIT).await.unwrap());
    assert!(matches!(one, Answer::Octets(_)));

    stop.store(true, Ordering::Relaxed);
    for caller in callers.into_iter().flatten() {
        assert_eq!(caller.await.unwrap(), Vec::<String>::new());
        assert!(done.load(Ordering::Relaxed) > 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_simulated_device_of_nine_is_back_in_service_under_load() {
    let workshop = Workshop::new();
    let devices: Vec<_> = (1..=9).map(|n| workshop.simulated(&format!("d{n}"), "bureau", keys())).collect();
    replaced_under_load(workshop, &devices, &["demo-sm2", "demo-p256", "demo-rsa2048"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_softhsm2_token_is_back_in_service() {
    let keys = || keys().into_iter().filter(|key| key.label != "demo-sm2").collect::<Vec<_>>();
    let workshop = Workshop::new();
    let devices: Vec<_> = (1..=3).map(|n| workshop.softhsm(&format!("d{n}"), "bureau", keys())).collect();
    replaced_under_load(workshop, &devices, &["demo-p256", "demo-rsa2048"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_is_named_and_the_rest_is() {
    let workshop = Workshop::new();
    let fixed = || {
        let mut keys = keys();
        keys[0].extractable = false;
        keys
    };
    let [d1, d2, d3] = ["d1", "d2", "d3"].map(|device| workshop.simulated(device, "bureau", fixed()));
    let no_so_pin = config::Device { so_pin_file: None, ..d2.clone() };
    let devices = [d1, no_so_pin, d3.clone()];
    let fleet = start(&devices, vec![spec("demo-sm2", "bureau"), spec("demo-p256", "bureau")]);
    until_ready(&fleet).await;
    make_blank(&workshop, &fleet, "d3");
    until(&fleet, "d3 down", |fleet| state(fleet, "d3") == State::Down).await;
    let report = fleet.take_in(&d3.id, &secrets(), WRAPPING).await.unwrap();
    let wrong: Vec<_> = report.iter().filter(|spread| spread.error.is_some()).collect();
    assert_eq!(wrong.len(), 1, "{report:#?}");
    assert_eq!(wrong[0].key, "demo-sm2");
    until(&fleet, "d3 serves what it holds", |fleet| state(fleet, "d3") == State::Ready).await;
    assert_eq!(
        fleet.status()[2].keys.iter().map(|key| key.state).collect::<Vec<_>>(),
        [KeyState::Missing, KeyState::Held]
    );
    make_blank(&workshop, &fleet, "d2");
    until(&fleet, "d2 down", |fleet| state(fleet, "d2") == State::Down).await;
    let refused = fleet.take_in(&d2.id, &secrets(), WRAPPING).await;
    assert!(matches!(refused, Err(HsmError::SetUp { .. })), "{refused:?}");
}
