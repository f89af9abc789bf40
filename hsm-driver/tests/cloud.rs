//! The sample site with two cloud HSMs, played by simulated devices: with either of them killed or hung under load,
//! nobody who signs notices, whether the key lives in the devices or outside.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use config::{AppId, Config, GroupId, KeyId};
use hsm_driver::{Algorithm, Ask, DeviceStatus, Fleet, KeyKind, SecretKind, State, WrappedKey};
use support::{Workshop, import, share_secret, spec, start_with, until, until_ready};

const CLOUD: [&str; 2] = ["c1", "c2"];
const WRAPPING: &[u8] = b"cloud-kek";

fn sample() -> Config {
    Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/cloud.toml")).unwrap()
}

fn status(fleet: &Fleet, device: &str) -> DeviceStatus {
    fleet.status().into_iter().find(|status| status.id.as_str() == device).unwrap()
}

/// Callers that sign without a break, each with a key of the devices and with one that lives outside in turn.
struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(fleet: &Arc<Fleet>, wrapped: &Arc<WrappedKey>) -> Self {
        let (over, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let caller = |number: u8| {
            let (fleet, wrapped) = (Arc::clone(fleet), Arc::clone(wrapped));
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                let caller = AppId::parse(&format!("app-{number}")).unwrap();
                let (held, outside) = (KeyId::parse("demo-sm2").unwrap(), KeyId::parse("person-1").unwrap());
                while !over.load(Ordering::Relaxed) {
                    let ask = |key| Ask {
                        caller: &caller,
                        key,
                        algorithm: Algorithm::Sm2,
                        digest: [number; 32],
                        deadline: None,
                    };
                    for signed in
                        [fleet.sign(ask(&held)).await, fleet.sign_wrapped(&wrapped, ask(&outside)).await]
                    {
                        let device = signed.expect("somebody signs").device;
                        assert!(CLOUD.contains(&device.as_str()), "{device} is behind another wall");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let callers = (0..8).map(caller).collect();
        Self { over, done, callers }
    }

    /// Waits until so many more signatures were made.
    async fn goes_on(&self, more: usize) {
        let (before, started) = (self.done.load(Ordering::Relaxed), Instant::now());
        while self.done.load(Ordering::Relaxed) < before + more {
            assert!(started.elapsed() < Duration::from_secs(60), "the load stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_two_cloud_hsms_down_nothing_is_lost_whatever_kind_of_key_signs() {
    let (sample, workshop) = (sample(), Workshop::new());
    let devices: Vec<_> = sample
        .devices
        .iter()
        .map(|device| {
            let (id, group) = (device.id.as_str(), device.group.as_str());
            let played = workshop.simulated(id, group, vec![import("demo-sm2", "demo-sm2")]);
            config::Device { lanes: device.lanes, ..played }
        })
        .collect();
    let cloud = sample.devices.iter().filter(|device| device.group.as_str() == "cloud");
    assert_eq!(cloud.map(|device| device.id.as_str()).collect::<Vec<_>>(), CLOUD);

    let fleet = Arc::new(start_with(&sample.fleet, &devices, vec![spec("demo-sm2", "cloud")]));
    until_ready(&fleet).await;
    share_secret(&fleet, CLOUD, WRAPPING, SecretKind::Wrapping).await;
    let (group, name) = (GroupId::parse("cloud").unwrap(), KeyId::parse("person-1").unwrap());
    let wrapped = fleet.generate_wrapped(&name, &group, KeyKind::Sm2, WRAPPING).await.unwrap();

    let load = Load::start(&fleet, &Arc::new(wrapped));
    for broken in CLOUD {
        load.goes_on(100).await;
        let before = status(&fleet, broken);
        let kill = ["-KILL", &before.worker_pid.to_string()].map(str::to_owned);
        assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
        until(&fleet, "the killed one is back", |fleet| {
            let now = status(fleet, broken);
            now.worker_starts > before.worker_starts && now.state == State::Ready
        })
        .await;

        load.goes_on(100).await;
        let before = status(&fleet, broken).worker_starts;
        workshop.fault(broken, "[[fault]]\naction = \"hang\"\nfunction = \"C_Sign\"\n");
        until(&fleet, "the hung one is given a new worker", |fleet| {
            status(fleet, broken).worker_starts > before
        })
        .await;
        load.goes_on(100).await;
        workshop.fault(broken, "");
        until(&fleet, "the mended one is back", |fleet| status(fleet, broken).state == State::Ready).await;
    }
    load.end().await;

    let figures = |fleet: &Fleet| fleet.groups().into_iter().find(|status| status.id == group).unwrap();
    until(&fleet, "nothing is left to do", |fleet| {
        let now = figures(fleet);
        (now.load, now.queued) == (0, 0)
    })
    .await;
    let peaks = figures(&fleet);
    assert!(peaks.load_peak >= 2 && peaks.queued_peak >= 1, "{peaks:?}");
}
