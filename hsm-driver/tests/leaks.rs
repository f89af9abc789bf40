//! A thousand faults against one fleet: afterwards this process has as many children, threads and descriptors as
//! before, and with the fleet the last of them go. Alone in its program, so that nobody else's are counted.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use config::KeyId;
use hsm_driver::{Algorithm, Fleet, State};
use support::{BOUND, Workshop, import, spec, start, until, until_ready};

const DEVICES: usize = 9;
const FAULTS: usize = 1_000;
/// Rounds of faults that cost the worker; each loss makes the next start wait longer.
const FATAL_ROUNDS: usize = 5;

/// Faults that a worker outlives, each of which strikes once. At most two in a row speak against the device, which
/// therefore stays in service.
const PASSING: [&str; 10] = [
    "function = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"",
    "function = \"C_Sign\"\naction = \"delay\"\nms = 5\nskip = 1",
    "function = \"C_SignInit\"\naction = \"drop_session\"\nskip = 2",
    "function = \"C_SignInit\"\naction = \"lose_sessions\"\nskip = 3",
    "function = \"C_SignInit\"\naction = \"lose_login\"\nskip = 4",
    "function = \"C_Sign\"\naction = \"leave_active\"\nskip = 5",
    "function = \"C_SignInit\"\naction = \"error\"\nrv = \"CKR_KEY_HANDLE_INVALID\"\nskip = 6",
    "function = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_SESSION_CLOSED\"\nskip = 7",
    "function = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_FUNCTION_FAILED\"\nskip = 8",
    "function = \"C_Sign\"\naction = \"hang\"\nfor_ms = 5\nskip = 9",
];

/// Faults that cost the worker; the empty one is SIGKILL.
const FATAL: [&str; 5] = [
    "",
    "function = \"C_Sign\"\naction = \"crash\"",
    "function = \"C_Sign\"\naction = \"segfault\"",
    "function = \"C_SignInit\"\naction = \"exit\"",
    "function = \"C_Sign\"\naction = \"hang\"",
];

/// What this process holds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    /// Ended ones that nobody has waited for included.
    children: usize,
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
        let own = std::process::id().to_string();
        let is_child = |entry: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            // The name before the bracket may itself hold blanks; then state and parent.
            (stat.rsplit_once(") ")?.1.split(' ').nth(1)? == own).then_some(())
        };
        Self {
            children: std::fs::read_dir("/proc").unwrap().filter_map(is_child).count(),
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
        }
    }

    /// Waits until no more is held than `before`, with exactly as many children.
    async fn back_to(before: Self) {
        let started = Instant::now();
        loop {
            let now = Self::now();
            let back = now.children == before.children
                && now.threads <= before.threads
                && now.descriptors <= before.descriptors;
            if back {
                return;
            }
            assert!(started.elapsed() < BOUND, "{now:?}, before: {before:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Site {
    workshop: Workshop,
    fleet: Arc<Fleet>,
    struck: usize,
}

impl Site {
    fn name(device: usize) -> String {
        format!("d{}", device + 1)
    }

    async fn fault_all(&self, toml: impl Fn(usize) -> String) {
        for device in 0..DEVICES {
            self.workshop.put_fault(&Self::name(device), &toml(device));
        }
        // The simulator looks no more often than every 10 ms.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }

    /// Signs until every device has signed so many more; whoever asks gets a signature all the while.
    async fn sign_everywhere(&self, times: u64) {
        let before = self.fleet.status();
        let done = |fleet: &Fleet| {
            let now = fleet.status();
            now.iter().zip(&before).all(|(now, before)| now.signed >= before.signed + times)
        };
        let over = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..6).map(|_| tokio::spawn(sign(self.fleet.clone(), over.clone()))).collect();
        until(&self.fleet, "every device signs", done).await;
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
    }

    /// Ten faults in each device. Every call strikes at least one that has not yet struck or brings it nearer, so
    /// twenty signatures use all of them up.
    async fn passing_round(&mut self) {
        let all: String = PASSING.iter().map(|fault| format!("[[fault]]\n{fault}\ncount = 1\n")).collect();
        self.fault_all(|_| all.clone()).await;
        self.sign_everywhere(20).await;
        self.struck += DEVICES * PASSING.len();
    }

    /// One fault in each device that costs it its worker, a different one in its neighbour.
    async fn fatal_round(&mut self, round: usize) {
        let before = self.fleet.status();
        let fatal = |device: usize| FATAL[(device + round) % FATAL.len()];
        self.fault_all(|device| match fatal(device) {
            "" => String::new(),
            fault => format!("[[fault]]\n{fault}\ncount = 1\n"),
        })
        .await;
        for (device, status) in before.iter().enumerate().filter(|(device, _)| fatal(*device).is_empty()) {
            let pid = status.worker_pid.to_string();
            let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
            assert!(killed.success(), "{}", Self::name(device));
        }
        let over = Arc::new(AtomicBool::new(false));
        let caller = tokio::spawn(sign_or_wait(self.fleet.clone(), over.clone()));
        until(&self.fleet, "every worker lost", |fleet| {
            fleet.status().iter().zip(&before).all(|(now, before)| now.worker_pid != before.worker_pid)
        })
        .await;
        over.store(true, Ordering::Relaxed);
        caller.await.unwrap();
        self.fault_all(|_| String::new()).await;
        until_ready(&self.fleet).await;
        self.struck += DEVICES;
    }

    /// Every device lies once, is found out, and is put back by an operator.
    async fn lying_round(&mut self) {
        for device in (0..DEVICES).map(Self::name) {
            self.workshop
                .fault(&device, "[[fault]]\nfunction = \"C_Sign\"\naction = \"flip_bit\"\ncount = 1\n");
            let over = Arc::new(AtomicBool::new(false));
            let caller = tokio::spawn(sign(self.fleet.clone(), over.clone()));
            until(&self.fleet, "it is found out", |fleet| {
                support::state(fleet, &device) == State::Quarantined
            })
            .await;
            over.store(true, Ordering::Relaxed);
            caller.await.unwrap();
            self.workshop.fault(&device, "");
            assert!(self.fleet.release(&device.parse().unwrap()).is_ok());
            until_ready(&self.fleet).await;
            self.struck += 1;
        }
    }
}

/// Signs until it is over; every signature must come.
async fn sign(fleet: Arc<Fleet>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        one(&fleet).await.unwrap();
    }
}

/// The same while every device may be lost at once.
async fn sign_or_wait(fleet: Arc<Fleet>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        if one(&fleet).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn one(fleet: &Fleet) -> Result<hsm_driver::Signed, hsm_driver::HsmError> {
    let digest = std::array::from_fn(|_| fastrand::u8(..));
    support::sign(fleet, &KeyId::parse("demo-p256").unwrap(), Algorithm::EcdsaP256, digest).await
}

#[test]
fn after_a_thousand_faults_no_process_thread_or_descriptor_is_left_over() {
    // Threads for blocking calls go when they are idle; here soon, so that what stays is what leaked.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_millis(200))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let workshop = Workshop::new();
        let devices: Vec<_> = (0..DEVICES)
            .map(|device| {
                workshop.simulated(&Site::name(device), "bureau", vec![import("demo-p256", "demo-p256")])
            })
            .collect();
        let at_first = Held::now();
        let fleet = Arc::new(start(&devices, vec![spec("demo-p256", "bureau")]));
        let mut site = Site { workshop, fleet, struck: 0 };
        until_ready(&site.fleet).await;
        site.sign_everywhere(5).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = Held::now();
        assert_eq!(before.children, DEVICES);

        for round in 0..FATAL_ROUNDS {
            site.fatal_round(round).await;
        }
        site.lying_round().await;
        while site.struck < FAULTS {
            site.passing_round().await;
        }
        site.fault_all(|_| String::new()).await;
        until_ready(&site.fleet).await;
        site.sign_everywhere(5).await;
        Held::back_to(before).await;

        drop(site.fleet);
        Held::back_to(at_first).await;
    });
}
