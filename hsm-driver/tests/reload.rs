//! Devices, keys and limits change while requests run, and none is dropped.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use config::KeyId;
use hsm_driver::{Algorithm, Fleet, HsmError, State};
use support::{Workshop, import, settings, spec, start, state, until, until_ready};
use tokio::task::JoinSet;

/// Callers that sign without pause until they are told to stop; each failure is kept.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    callers: JoinSet<Vec<String>>,
}

impl Load {
    fn on(fleet: &Arc<Fleet>, callers: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (fleet, stop, done) = (Arc::clone(fleet), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                let key = KeyId::parse("demo-sm2").unwrap();
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let digest = std::array::from_fn(|_| fastrand::u8(..));
                    match support::sign(&fleet, &key, Algorithm::Sm2, digest).await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            });
        }
        Self { stop, done, callers: tasks }
    }

    /// Waits until so many more requests were answered.
    async fn goes_on(&self, more: usize) {
        let wanted = self.done.load(Ordering::Relaxed) + more;
        for _ in 0..9_000 {
            if self.done.load(Ordering::Relaxed) >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the load stands still");
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await.concat()
    }
}

fn keys() -> Vec<hsm_driver::provision::ImportKey> {
    ["demo-sm2", "demo-p256", "demo-rsa2048"].map(|id| import(id, id)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_keys_and_limits_change_under_load_and_no_request_fails() {
    let workshop = Workshop::new();
    let [d1, d2, d3] = ["d1", "d2", "d3"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = Arc::new(start(&[d1.clone(), d2.clone()], vec![spec("demo-sm2", "bureau")]));
    until_ready(&fleet).await;
    let load = Load::on(&fleet, 8);
    load.goes_on(100).await;

    // A device more, and two keys more.
    let more = vec![spec("demo-sm2", "bureau"), spec("demo-p256", "bureau"), spec("demo-rsa2048", "bureau")];
    let three = [d1.clone(), d2.clone(), d3.clone()];
    let report = fleet.reconfigure(&settings(), &three, more.clone()).await.unwrap();
    assert_eq!((report.added, report.removed), (vec!["d3".parse().unwrap()], vec![]));
    assert_eq!((report.keys_changed.len(), report.not_ready.len()), (2, 0));
    until_ready(&fleet).await;
    for (id, algorithm) in [("demo-p256", Algorithm::EcdsaP256), ("demo-rsa2048", Algorithm::RsaPss)] {
        let key = KeyId::parse(id).unwrap();
        until(&fleet, id, |fleet| fleet.can_serve(&key)).await;
        support::sign(&fleet, &key, algorithm, [1; 32]).await.unwrap();
    }
    load.goes_on(100).await;

    // A device less, another with other settings, other limits, a key less.
    let pids: Vec<_> = fleet.status().iter().map(|status| status.worker_pid).collect();
    let wider = config::Device { lanes: 4, ..d2.clone() };
    let other = config::Fleet { queue: 64, deadline: Duration::from_secs(2), ..settings() };
    let report = fleet.reconfigure(&other, &[wider.clone(), d3.clone()], more[..2].to_vec()).await.unwrap();
    assert_eq!(report.removed, ["d1".parse().unwrap()]);
    assert_eq!(report.replaced, ["d2".parse().unwrap()]);
    assert_eq!(report.keys_removed, [KeyId::parse("demo-rsa2048").unwrap()]);
    let status = fleet.status();
    assert_eq!((status.len(), status[0].lanes), (2, 4));
    assert_ne!(status[0].worker_pid, pids[1], "a new worker took over");
    assert_eq!(status[1].worker_pid, pids[2], "the other's was not touched");
    load.goes_on(100).await;
    // The workers of those that are gone end.
    for pid in &pids[..2] {
        for _ in 0..9_000 {
            if !std::path::Path::new(&format!("/proc/{pid}/stat")).exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!std::path::Path::new(&format!("/proc/{pid}/stat")).exists(), "worker {pid} is still there");
    }
    assert_eq!(load.end().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_is_refused_whole() {
    let workshop = Workshop::new();
    let [d1, d2] = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = start(std::slice::from_ref(&d1), vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    let strange = config::Device { dialect: "klingon".to_owned(), ..d2.clone() };
    let refused =
        fleet.reconfigure(&settings(), &[d1.clone(), strange], vec![spec("demo-sm2", "bureau")]).await;
    assert!(matches!(refused, Err(HsmError::UnknownDialect { .. })), "{refused:?}");
    let twice = vec![spec("demo-sm2", "bureau"), spec("demo-sm2", "bureau")];
    let refused = fleet.reconfigure(&settings(), &[d1, d2], twice).await;
    assert!(matches!(refused, Err(HsmError::BadKey { .. })), "{refused:?}");
    assert_eq!(fleet.status().len(), 1);
    support::sign(&fleet, &KeyId::parse("demo-sm2").unwrap(), Algorithm::Sm2, [2; 32]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_to_a_device_holds_for_its_successor() {
    let workshop = Workshop::new();
    let [d1, d2] = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let fleet = start(&[d1.clone(), d2.clone()], vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    fleet.drain(&d1.id).unwrap();
    until(&fleet, "d1 empty", |fleet| state(fleet, "d1") == State::Maintenance).await;
    let wider = config::Device { lanes: 3, ..d1.clone() };
    fleet.reconfigure(&settings(), &[wider, d2], vec![spec("demo-sm2", "bureau")]).await.unwrap();
    until(&fleet, "d1's new worker", |fleet| fleet.status()[0].lanes == 3).await;
    assert_eq!(state(&fleet, "d1"), State::Maintenance);
    fleet.resume(&d1.id).unwrap();
    until_ready(&fleet).await;
}

/// A key that cannot leave its device is a key of its own, asked of that device only.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_device_is_asked_of_that_device_only() {
    let workshop = Workshop::new();
    let [d1, d2] = ["d1", "d2"].map(|device| workshop.simulated(device, "bureau", keys()));
    let own = hsm_driver::KeySpec { devices: Some(vec![d2.id.clone()]), ..spec("demo-p256", "bureau") };
    let fleet = start(&[d1, d2.clone()], vec![spec("demo-sm2", "bureau"), own]);
    until_ready(&fleet).await;
    let key = KeyId::parse("demo-p256").unwrap();
    for _ in 0..20 {
        let signed = support::sign(&fleet, &key, Algorithm::EcdsaP256, [2; 32]).await.unwrap();
        assert_eq!(signed.device, d2.id);
    }
    assert_eq!(fleet.status()[0].keys.len(), 1);
    fleet.maintain(&d2.id).unwrap();
    assert!(!fleet.can_serve(&key));
}

/// The wait for a session's care is the worker's own, unseen by the fleet: the device counts it.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_signs_for_itself_and_no_request_meets_a_dropped_connection() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", keys());
    let keen = config::Fleet { keep_alive: Duration::from_millis(100), ..settings() };
    let fleet = start(std::slice::from_ref(&device), vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    fleet.reconfigure(&keen, std::slice::from_ref(&device), vec![spec("demo-sm2", "bureau")]).await.unwrap();
    until_ready(&fleet).await;
    // A connection unused for longer than this hangs at its next call: half-open, as a firewall leaves it.
    workshop.fault("d1", "[[fault]]\naction = \"idle_drop\"\nms = 4000\nhang = true\n");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let starts = fleet.status()[0].worker_starts;
    for _ in 0..8 {
        let key = KeyId::parse("demo-sm2").unwrap();
        support::sign(&fleet, &key, Algorithm::Sm2, [2; 32]).await.unwrap();
    }
    assert_eq!((fleet.status()[0].worker_starts, fleet.status()[0].failed), (starts, 0));
    // A session's own signature that hangs is not seen by the fleet: the worker gives itself up.
    workshop.fault("d1", "[[fault]]\nfunction = \"C_Sign\"\naction = \"hang\"\n");
    until(&fleet, "a new worker", |fleet| fleet.status()[0].worker_starts > starts).await;
    workshop.fault("d1", "");
    until_ready(&fleet).await;
}
