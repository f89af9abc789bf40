//! One device as the gateway sees it: a bounded queue, a worker process behind a socket, and what is known of
//! its health. What happens behind the queue is the supervisor's business.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::error::AttemptError;
use crate::frame::{TokenFacts, monotonic};
use crate::health::{Event, Health, State};
use crate::key::Algorithm;

/// How a worker process is started: this program and its first arguments; the device's id follows.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The executable, normally `/proc/self/exe`.
    pub program: PathBuf,
    /// Arguments before the device's id.
    pub arguments: Vec<String>,
}

/// Whether a device holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// The device has not been up yet.
    Unknown,
    /// Same public key, proved by a verified signature.
    Held,
    /// No object with that CKA_ID, or no longer.
    Missing,
    /// An object with that CKA_ID and another public key.
    Different,
    /// The right key, with which the device does not sign.
    Unusable,
}

const KEY_STATES: [KeyState; 5] =
    [KeyState::Unknown, KeyState::Held, KeyState::Missing, KeyState::Different, KeyState::Unusable];

/// Where a fading latency figure ends, nanoseconds.
const FADED: u64 = 100_000;

/// Busy answers in a row from which on each speaks against the device.
const BUSY_IN_A_ROW: u32 = 20;

/// One attempt at one signature.
pub(crate) struct Job {
    pub(crate) key: u16,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
    /// After it nobody waits for the answer.
    pub(crate) deadline: Instant,
    pub(crate) submitted: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<u8>, AttemptError>>,
    _load: LoadGuard,
}

/// Counts a job against its device until it is answered or dropped.
struct LoadGuard(Arc<Device>);

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct Device {
    pub(crate) config: config::Device,
    queue: mpsc::Sender<Job>,
    load: AtomicUsize,
    health: Mutex<Health>,
    takes_work: AtomicBool,
    pub(crate) latency: AtomicU64, // of the worker and device, smoothed, nanoseconds
    peak: AtomicU64,               // of the whole way with its queue, a slowly falling maximum, nanoseconds
    /// CLOCK_MONOTONIC in nanoseconds since which requests wait and none was answered; 0 while none waits.
    pub(crate) silent_since: AtomicU64,
    pub(crate) lanes: AtomicUsize,
    keys: Vec<AtomicU8>,
    /// For each key the algorithms proved, as `Algorithm::bit` has them.
    proved: Vec<AtomicU8>,
    /// Answers in a row that the device is busy.
    busy: AtomicU32,
    pub(crate) signed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) worker_starts: AtomicU64,
    pub(crate) worker_pid: AtomicU32,
    pub(crate) facts: Mutex<Option<TokenFacts>>,
    pub(crate) last_error: Mutex<Option<String>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub(crate) fn new(config: config::Device, queue: usize, keys: usize) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(queue);
        let device = Self {
            lanes: AtomicUsize::new(config.lanes),
            config,
            queue: sender,
            load: AtomicUsize::new(0),
            health: Mutex::new(Health::new()),
            takes_work: AtomicBool::new(false),
            latency: AtomicU64::new(1_000_000),
            // Nothing is known yet: the first attempts get all the time there is.
            peak: AtomicU64::new(1_000_000_000),
            silent_since: AtomicU64::new(0),
            keys: (0..keys).map(|_| AtomicU8::new(0)).collect(),
            proved: (0..keys).map(|_| AtomicU8::new(0)).collect(),
            busy: AtomicU32::new(0),
            signed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            worker_starts: AtomicU64::new(0),
            worker_pid: AtomicU32::new(0),
            facts: Mutex::new(None),
            last_error: Mutex::new(None),
        };
        (Arc::new(device), receiver)
    }

    /// Puts one attempt into the queue; the receiver ends with an error if the worker is lost.
    pub(crate) fn submit(
        self: &Arc<Self>,
        key: u16,
        algorithm: Algorithm,
        digest: [u8; 32],
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Vec<u8>, AttemptError>>, AttemptError> {
        let (reply, receiver) = oneshot::channel();
        self.load.fetch_add(1, Ordering::Relaxed);
        let submitted = Instant::now();
        let job =
            Job { key, algorithm, digest, deadline, submitted, reply, _load: LoadGuard(Arc::clone(self)) };
        match self.queue.try_send(job) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(AttemptError::QueueFull),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(AttemptError::WorkerLost),
        }
    }

    pub(crate) fn takes_work(&self) -> bool {
        self.takes_work.load(Ordering::Acquire)
    }

    pub(crate) fn holds(&self, key: usize) -> bool {
        self.key_state(key) == KeyState::Held
    }

    pub(crate) fn key_state(&self, key: usize) -> KeyState {
        let index = self.keys.get(key).map_or(0, |state| state.load(Ordering::Acquire));
        KEY_STATES.get(usize::from(index)).copied().unwrap_or(KeyState::Unknown)
    }

    /// Whether the device proved that it signs with the key by this algorithm, and nothing speaks against it.
    pub(crate) fn serves(&self, key: usize, algorithm: Algorithm) -> bool {
        self.holds(key)
            && self.proved.get(key).is_some_and(|bits| bits.load(Ordering::Acquire) & algorithm.bit() != 0)
    }

    /// Forgets what was proved of a key: a new worker proves it anew.
    pub(crate) fn forget_proofs(&self, key: usize) {
        self.proved[key].store(0, Ordering::Release);
    }

    pub(crate) fn set_proved(&self, key: usize, algorithm: Algorithm) {
        self.proved[key].fetch_or(algorithm.bit(), Ordering::AcqRel);
        self.set_key_state(key, KeyState::Held);
    }

    pub(crate) fn set_key_state(&self, key: usize, state: KeyState) {
        let index = KEY_STATES.iter().position(|s| *s == state).unwrap_or_default();
        self.keys[key].store(u8::try_from(index).unwrap_or_default(), Ordering::Release);
    }

    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency.load(Ordering::Relaxed))
    }

    /// What its slow answers took lately, queue included.
    pub(crate) fn peak(&self) -> Duration {
        Duration::from_nanos(self.peak.load(Ordering::Relaxed))
    }

    /// How long requests have been waiting without any answer.
    pub(crate) fn silent_for(&self) -> Duration {
        match self.silent_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_nanos(monotonic().saturating_sub(since)),
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.load(Ordering::Relaxed)
    }

    pub(crate) fn facts(&self) -> Option<TokenFacts> {
        lock(&self.facts).clone()
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.health).state()
    }

    pub(crate) fn on(&self, event: Event) {
        let mut health = lock(&self.health);
        let before = health.state();
        health.on(event);
        let after = health.state();
        self.takes_work.store(health.takes_work(), Ordering::Release);
        drop(health);
        if before != after {
            info!(device = %self.config.id, ?before, ?after, ?event, "device state changed");
        }
    }

    /// Notes a failed call; `Busy` is not held against the device.
    pub(crate) fn note_failure(&self, error: &AttemptError, event: Option<Event>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        // That a worker was lost its supervisor says better.
        if *error != AttemptError::WorkerLost {
            *lock(&self.last_error) = Some(error.to_string());
        }
        if let Some(event) = event {
            self.on(event);
        }
    }

    /// Counts an answer that the device is busy. One is nobody's fault; a device that says nothing else is
    /// not usable, and it would attract work by refusing it fast.
    pub(crate) fn note_busy(&self) -> Option<Event> {
        let in_a_row = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        (in_a_row >= BUSY_IN_A_ROW).then_some(Event::Failure)
    }

    pub(crate) fn note_success(&self) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.busy.store(0, Ordering::Relaxed);
        if lock(&self.health).state() == State::Degraded {
            self.on(Event::Success);
        }
    }

    /// Lets the latency figure of an idle device fade, so that one that was slow once is tried again.
    pub(crate) fn fade(&self) {
        let latency = self.latency.load(Ordering::Relaxed);
        self.latency.store((latency - latency / 16).max(FADED), Ordering::Relaxed);
    }

    /// Takes a good answer's times into the figures that routing and timeouts go by. Only the supervisor
    /// writes them.
    pub(crate) fn observe(&self, in_device: Duration, whole: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.latency.load(Ordering::Relaxed);
        self.latency.store(mean - mean / 16 + nanoseconds(in_device) / 16, Ordering::Relaxed);
        let peak = self.peak.load(Ordering::Relaxed);
        self.peak.store((peak - peak / 64).max(nanoseconds(whole)), Ordering::Relaxed);
    }
}
