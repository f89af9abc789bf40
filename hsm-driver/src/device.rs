//! One device as the gateway sees it: a bounded queue, a worker process behind a socket, and what is known of
//! its health. What happens behind the queue is the supervisor's business.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use config::AppId;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::error::AttemptError;
use crate::frame::{AnswerFrame, TokenFacts, monotonic};
use crate::group_load::{GroupLoad, Level, Raised};
use crate::health::{Event, Health, State};
use crate::key::Algorithm;
use crate::line::{Line, Refused};
use crate::order::{Order, OrderOutcome};
use crate::plan::Copy;
use crate::queue::Evicted;
use crate::self_test::SelfTest;
use crate::telemetry::{StateLog, Tally, Window};

/// How a worker process is started: this program and its first arguments; the device's id follows.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The executable, normally `/proc/self/exe`.
    pub program: PathBuf,
    /// Arguments before the device's id.
    pub arguments: Vec<String>,
    /// Arguments of the process that sets a token up.
    pub provision: Vec<String>,
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

/// Where a fading latency figure ends, nanoseconds.
const FADED: u64 = 100_000;

/// Error codes told apart since the start; a device that invents codes fills no memory.
const ERROR_CODES: usize = 64;

/// Orders that may wait for a supervisor.
const CONTROLS: usize = 32;

/// Busy answers in a row from which on each speaks against the device.
const BUSY_IN_A_ROW: u32 = 20;

/// What an attempt asks for; either way the answer is a signature.
#[derive(Clone)]
pub(crate) enum Task {
    /// By a key of the device.
    Sign { copy: Arc<Copy>, algorithm: Algorithm, digest: [u8; 32] },
    /// By a key that lives outside.
    Order(Arc<Order>),
}

/// One attempt at one signature.
pub(crate) struct Job {
    pub(crate) task: Task,
    /// After it nobody waits for the answer.
    pub(crate) deadline: Instant,
    pub(crate) submitted: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<u8>, AttemptError>>,
    /// Taken when it leaves the queue.
    pub(crate) waiting: Option<Raised>,
    _load: LoadGuard,
    _group_load: Raised,
}

/// What a supervisor is told beside work.
pub(crate) enum Control {
    /// The device's list of keys changed.
    KeysChanged,
    /// For this device alone, whatever its state. A reply that is dropped means that there is no worker.
    Order { order: Box<Order>, deadline: Instant, reply: oneshot::Sender<OrderOutcome> },
    /// A new worker, also after a PIN that was refused.
    Restart,
    /// The device is given up.
    Stop,
}

/// What a device has been doing lately, for people.
pub(crate) struct Record {
    pub(crate) latency: Window,
    pub(crate) errors: Tally,
    /// Errors by code since the start. The codes are return values and a few words, so few.
    pub(crate) error_totals: BTreeMap<String, u64>,
    pub(crate) states: StateLog,
    pub(crate) lanes: Vec<LaneFigures>,
}

/// What one lane of the present worker has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LaneFigures {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) busy_us: u64,
    pub(crate) last: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            latency: Window::new(now),
            errors: Tally::new(now),
            error_totals: BTreeMap::new(),
            states: StateLog::new(now, State::Starting),
            lanes: Vec::new(),
        }
    }
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
    settings: ArcSwap<config::Fleet>,
    /// What waits for the worker, one line for each caller.
    pub(crate) line: Line<AppId, Job>,
    pub(crate) control: mpsc::Sender<Control>,
    copies: ArcSwap<Vec<Arc<Copy>>>,
    load: AtomicUsize,
    group_load: GroupLoad,
    health: Mutex<Health>,
    /// Much slower than its group: asked last, and shown as degraded.
    ejected: AtomicBool,
    record: Mutex<Record>,
    takes_work: AtomicBool,
    /// CLOCK_MONOTONIC in nanoseconds since which it has been in service again; 0 when that is long ago.
    returned: AtomicU64,
    pub(crate) latency: AtomicU64, // of the worker and device, smoothed, nanoseconds
    peak: AtomicU64,               // of the whole way with its queue, a slowly falling maximum, nanoseconds
    /// CLOCK_MONOTONIC in nanoseconds since which requests wait and none was answered; 0 while none waits.
    pub(crate) silent_since: AtomicU64,
    pub(crate) lanes: AtomicUsize,
    /// Answers in a row that the device is busy.
    busy: AtomicU32,
    pub(crate) signed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Good answers, those to probes among them.
    pub(crate) samples: AtomicU64,
    pub(crate) worker_starts: AtomicU64,
    /// Workers that ended without being told to, or never came up.
    pub(crate) crashes: AtomicU64,
    /// Signatures by keys from outside for which the session still had the key.
    pub(crate) wrapped_hits: AtomicU64,
    /// Those for which it had to be unwrapped.
    pub(crate) wrapped_misses: AtomicU64,
    pub(crate) worker_pid: AtomicU32,
    pub(crate) facts: Mutex<Option<TokenFacts>>,
    pub(crate) last_error: Mutex<Option<String>>,
    pub(crate) last_self_test: Mutex<Option<SelfTest>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub(crate) fn new(
        config: config::Device,
        settings: Arc<config::Fleet>,
        group_load: GroupLoad,
    ) -> (Arc<Self>, mpsc::Receiver<Control>) {
        let (control, receiver) = mpsc::channel(CONTROLS);
        let device = Self {
            lanes: AtomicUsize::new(config.lanes),
            config,
            line: Line::new(settings.queue),
            settings: ArcSwap::new(settings),
            control,
            copies: ArcSwap::default(),
            load: AtomicUsize::new(0),
            group_load,
            health: Mutex::new(Health::new()),
            ejected: AtomicBool::new(false),
            record: Mutex::new(Record::new(Instant::now())),
            takes_work: AtomicBool::new(false),
            returned: AtomicU64::new(0),
            latency: AtomicU64::new(1_000_000),
            // Nothing is known yet: the first attempts get all the time there is.
            peak: AtomicU64::new(1_000_000_000),
            silent_since: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            signed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            worker_starts: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            wrapped_hits: AtomicU64::new(0),
            wrapped_misses: AtomicU64::new(0),
            worker_pid: AtomicU32::new(0),
            facts: Mutex::new(None),
            last_error: Mutex::new(None),
            last_self_test: Mutex::new(None),
        };
        (Arc::new(device), receiver)
    }

    /// Puts one attempt into the queue; the receiver ends with an error if the worker is lost.
    pub(crate) fn submit(
        self: &Arc<Self>,
        caller: &AppId,
        task: Task,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Vec<u8>, AttemptError>>, AttemptError> {
        let (reply, receiver) = oneshot::channel();
        self.load.fetch_add(1, Ordering::Relaxed);
        let job = Job {
            task,
            deadline,
            submitted: Instant::now(),
            reply,
            waiting: Some(Level::raise(&self.group_load.waiting)),
            _load: LoadGuard(Arc::clone(self)),
            _group_load: Level::raise(&self.group_load.load),
        };
        match self.line.try_push(caller.clone(), job) {
            Ok(None) => Ok(receiver),
            Ok(Some(Evicted(other))) => {
                let _ = other.reply.send(Err(AttemptError::QueueFull)); // its caller may have given up
                Ok(receiver)
            }
            Err(Refused::Full(_)) => Err(AttemptError::QueueFull),
            Err(Refused::Closed(_)) => Err(AttemptError::WorkerLost),
        }
    }

    /// Tells the supervisor; one that has ended needs to be told nothing.
    pub(crate) async fn tell(&self, control: Control) {
        let _ = self.control.send(control).await;
    }

    /// Takes over what operators did to the device before.
    pub(crate) fn inherit(&self, before: &Self) {
        match before.state() {
            State::Draining | State::Maintenance => self.on(Event::Maintain),
            State::Quarantined => self.on(Event::WrongResult),
            State::Starting | State::Ready | State::Degraded | State::Down => {}
        }
    }

    pub(crate) fn settings(&self) -> Arc<config::Fleet> {
        self.settings.load_full()
    }

    pub(crate) fn set_settings(&self, settings: Arc<config::Fleet>) {
        self.line.set_capacity(settings.queue);
        self.settings.store(settings);
    }

    /// The keys it is to hold.
    pub(crate) fn copies(&self) -> Arc<Vec<Arc<Copy>>> {
        self.copies.load_full()
    }

    pub(crate) fn set_copies(&self, copies: Vec<Arc<Copy>>) {
        self.copies.store(Arc::new(copies));
    }

    /// Takes note that there is no worker any more.
    pub(crate) fn worker_lost(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
        lock(&self.record).lanes.clear();
        self.worker_pid.store(0, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
        self.on(Event::WorkerLost);
    }

    /// Takes an answer into the record of the device and of the lane that gave it.
    pub(crate) fn count(&self, answer: &AnswerFrame, whole: Duration) {
        let now = Instant::now();
        let mut record = lock(&self.record);
        let lane = usize::from(answer.lane);
        // One that got its session late is known from its first answer on.
        self.lanes.fetch_max(lane + 1, Ordering::Relaxed);
        if record.lanes.len() <= lane {
            record.lanes.resize(lane + 1, LaneFigures::default());
        }
        let figures = &mut record.lanes[lane];
        figures.done += 1;
        figures.failed += u64::from(answer.outcome.is_err());
        figures.busy_us += u64::from(answer.micros);
        figures.last = Some(now);
        if answer.outcome.is_ok() {
            record.latency.record(now, u64::try_from(whole.as_micros()).unwrap_or(u64::MAX));
            drop(record);
            self.samples.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it has been doing lately.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Has it asked last, or like the others again.
    pub(crate) fn set_ejected(&self, ejected: bool) {
        if self.ejected.swap(ejected, Ordering::Relaxed) != ejected {
            info!(device = %self.config.id, ejected, "much slower than its group");
            if !ejected {
                self.returned.store(monotonic(), Ordering::Relaxed);
            }
            self.note_state();
        }
    }

    fn note_state(&self) {
        let state = self.state();
        lock(&self.record).states.note(Instant::now(), state);
    }

    pub(crate) fn takes_work(&self) -> bool {
        self.takes_work.load(Ordering::Acquire)
    }

    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// How much of its usual work it shall get: little when it has just returned.
    pub(crate) fn share(&self) -> f64 {
        let since = self.returned.load(Ordering::Relaxed);
        if since == 0 {
            return 1.0;
        }
        let (back, ramp) =
            (Duration::from_nanos(monotonic().saturating_sub(since)), self.settings.load().ramp);
        if back >= ramp {
            self.returned.store(0, Ordering::Relaxed); // no need to look at the clock again
            return 1.0;
        }
        crate::weight::ramp(back, ramp)
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
        match lock(&self.health).state() {
            State::Ready if self.is_ejected() => State::Degraded,
            state => state,
        }
    }

    pub(crate) fn on(&self, event: Event) {
        let mut health = lock(&self.health);
        let before = health.state();
        health.on(event);
        let after = health.state();
        let takes_work = health.takes_work();
        if takes_work && !self.takes_work.swap(takes_work, Ordering::AcqRel) {
            self.returned.store(monotonic(), Ordering::Relaxed);
        }
        self.takes_work.store(takes_work, Ordering::Release);
        drop(health);
        if before != after {
            info!(device = %self.config.id, ?before, ?after, ?event, "device state changed");
            self.note_state();
        }
    }

    /// Notes a failed call; `Busy` is not held against the device.
    pub(crate) fn note_failure(&self, error: &AttemptError, event: Option<Event>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        {
            let (code, mut record) = (error.code(), lock(&self.record));
            record.errors.note(Instant::now(), &code);
            let known = record.error_totals.len() < ERROR_CODES || record.error_totals.contains_key(&*code);
            let code = if known { code.into_owned() } else { "other".to_owned() };
            *record.error_totals.entry(code).or_default() += 1;
        }
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

    /// Counts a signature by a key from outside: the session still had the key, or it was unwrapped.
    pub(crate) fn note_unwrapping(&self, kept: bool) {
        let counter = if kept { &self.wrapped_hits } else { &self.wrapped_misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_success(&self) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.busy.store(0, Ordering::Relaxed);
        if lock(&self.health).state() == State::Degraded {
            self.on(Event::Success);
        }
    }

    /// Lets the latency figure of an idle device fade, so that one that was slow once is tried again. One that is
    /// asked last mends its figure by probes alone.
    pub(crate) fn fade(&self) {
        if self.is_ejected() {
            return;
        }
        let latency = self.latency.load(Ordering::Relaxed);
        self.latency.store((latency - latency / 16).max(FADED), Ordering::Relaxed);
    }

    /// Takes a good answer's times into the figures that routing and timeouts go by. Only the supervisor
    /// writes them.
    pub(crate) fn observe(&self, in_device: Duration, whole: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.latency.load(Ordering::Relaxed);
        // Probes are few: each counts more.
        let parts = if self.is_ejected() { 4 } else { 16 };
        let latency = mean - mean / parts + nanoseconds(in_device) / parts;
        self.latency.store(latency, Ordering::Relaxed);
        let peak = self.peak.load(Ordering::Relaxed);
        self.peak.store((peak - peak / 64).max(nanoseconds(whole)), Ordering::Relaxed);
    }
}
