//! One device as the gateway sees it: a bounded queue, a worker process behind a socket, and what is known of
//! its health. A supervisor task owns the worker and everything in flight; nobody else touches the socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::dialect::Dialect;
use crate::error::{AttemptError, StartError};
use crate::fleet::KeyTable;
use crate::frame::{
    AnswerFrame, FrameBuffer, KeyOrder, START_ID, SignFrame, StartAnswer, StartOrder, Started, TokenFacts,
    monotonic, put_json,
};
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
    /// No object with that CKA_ID.
    Missing,
    /// An object with that CKA_ID and another public key.
    Different,
}

const KEY_STATES: [KeyState; 4] = [KeyState::Unknown, KeyState::Held, KeyState::Missing, KeyState::Different];

/// One attempt at one signature.
pub(crate) struct Job {
    pub(crate) key: u16,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
    /// After it nobody waits for the answer.
    pub(crate) deadline: Instant,
    submitted: Instant,
    reply: oneshot::Sender<Result<Vec<u8>, AttemptError>>,
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
    latency: AtomicU64, // of the worker and device, smoothed, nanoseconds
    peak: AtomicU64,    // of the whole way with its queue, a slowly falling maximum, nanoseconds
    /// CLOCK_MONOTONIC in nanoseconds since which requests wait and none was answered; 0 while none waits.
    silent_since: AtomicU64,
    lanes: AtomicUsize,
    keys: Vec<AtomicU8>,
    pub(crate) signed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) worker_starts: AtomicU64,
    pub(crate) worker_pid: AtomicU32,
    facts: Mutex<Option<TokenFacts>>,
    last_error: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    fn set_key_state(&self, key: usize, state: KeyState) {
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
        *lock(&self.last_error) = Some(error.to_string());
        if let Some(event) = event {
            self.on(event);
        }
    }

    pub(crate) fn note_success(&self) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        if lock(&self.health).state() == State::Degraded {
            self.on(Event::Success);
        }
    }

    /// Takes a good answer's times into the figures that routing and timeouts go by. Only the supervisor
    /// writes them.
    fn observe(&self, in_device: Duration, whole: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.latency.load(Ordering::Relaxed);
        self.latency.store(mean - mean / 16 + nanoseconds(in_device) / 16, Ordering::Relaxed);
        let peak = self.peak.load(Ordering::Relaxed);
        self.peak.store((peak - peak / 64).max(nanoseconds(whole)), Ordering::Relaxed);
    }
}

/// Why a run of a worker ended.
#[derive(Debug)]
enum End {
    Lost(StartError),
    /// The fleet was dropped.
    Closed,
}

/// Owns a device's worker: starts it, feeds it, kills it when it is stuck, starts the next.
pub(crate) struct Supervisor {
    pub(crate) device: Arc<Device>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) dialect: Dialect,
    pub(crate) command: WorkerCommand,
    pub(crate) settings: config::Fleet,
}

struct Worker {
    child: Child,
    stream: UnixStream,
    buffer: FrameBuffer,
}

struct InFlight {
    /// Nothing for a probe of the supervisor's own.
    job: Option<Job>,
    probe: [u8; 32],
    sent: Instant,
    give_up: Instant,
}

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Probes in a row that fail before the worker is replaced: some libraries recover only by a new process.
const PROBES_BEFORE_RESTART: u32 = 6;
const SWEEP_EVERY: Duration = Duration::from_millis(50);

impl Supervisor {
    pub(crate) async fn run(mut self) {
        let mut losses: u32 = 0;
        loop {
            self.device.on(Event::WorkerStarting);
            let started = Instant::now();
            let limit = self.settings.start_timeout;
            let up = match tokio::time::timeout(limit, self.start()).await {
                Ok(up) => up,
                Err(_) => Err(StartError::Worker { reason: format!("not ready within {limit:?}") }),
            };
            let error = match up {
                Ok(mut worker) => {
                    info!(device = %self.device.config.id, took = ?started.elapsed(), "device proved");
                    match self.feed(&mut worker).await {
                        End::Closed => return,
                        End::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.device.worker_pid.store(0, Ordering::Relaxed);
            self.device.silent_since.store(0, Ordering::Relaxed);
            self.device.on(Event::WorkerLost);
            warn!(device = %self.device.config.id, %error, "worker lost");
            *lock(&self.device.last_error) = Some(error.to_string());
            if matches!(error, StartError::PinRefused { .. }) {
                // Trying again would lock the token: out until the gateway is started anew.
                while self.jobs.recv().await.is_some() {}
                return;
            }
            losses = if started.elapsed() > Duration::from_secs(30) { 0 } else { losses.saturating_add(1) };
            if self.wait_before_restart(losses).await.is_err() {
                return;
            }
        }
    }

    /// Waits with jitter, refusing what is still queued; an error when the fleet is gone.
    async fn wait_before_restart(&mut self, losses: u32) -> Result<(), ()> {
        let most = Duration::from_millis(20).saturating_mul(1 << losses.min(8));
        let wait = if losses <= 1 { Duration::ZERO } else { most.mul_f64(0.5 + fastrand::f64() / 2.0) };
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                job = self.jobs.recv() => drop(job.ok_or(())?),
                () = &mut until => return Ok(()),
            }
        }
    }

    async fn start(&mut self) -> Result<Worker, StartError> {
        let lost = |what: &str, error: &dyn std::fmt::Display| StartError::Worker {
            reason: format!("{what}: {error}"),
        };
        let config = &self.device.config;
        let pin =
            tokio::fs::read_to_string(&config.pin_file).await.map_err(|error| lost("PIN file", &error))?;
        let order = StartOrder {
            module: config.module.display().to_string(),
            token: config.token.clone(),
            serial: config.serial.clone(),
            pin: pin.trim_end_matches(['\r', '\n']).to_owned(),
            lanes: config.lanes,
            dialect: self.dialect.clone(),
            keys: self
                .wanted()
                .map(|(_, spec)| KeyOrder {
                    cka_id: spec.cka_id.clone(),
                    algorithm: spec.public_key.proof_algorithm(),
                })
                .collect(),
        };
        let (child, stream) = self.spawn().map_err(|error| lost("spawn", &error))?;
        self.device.worker_starts.fetch_add(1, Ordering::Relaxed);
        self.device.worker_pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
        let mut worker = Worker { child, stream, buffer: FrameBuffer::default() };
        let mut frame = Vec::new();
        put_json(&mut frame, &order).map_err(|error| lost("order", &error))?;
        drop(zeroize::Zeroizing::new(order.pin));
        let sent = worker.stream.write_all(&frame).await;
        drop(zeroize::Zeroizing::new(frame));
        sent.map_err(|error| lost("send", &error))?;
        let answer: StartAnswer = worker
            .receive(|id, payload| (id == START_ID).then(|| serde_json::from_slice(payload).ok())?)
            .await?;
        let started = answer?;
        self.prove(&mut worker, started).await?;
        self.device.on(Event::Proved);
        Ok(worker)
    }

    /// The fleet's keys that live in this device's group, with their fleet-wide index.
    fn wanted(&self) -> impl Iterator<Item = (usize, &crate::key::KeySpec)> {
        let group = &self.device.config.group;
        self.keys.specs().filter(move |(_, spec)| spec.group == *group)
    }

    fn spawn(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&self.command.program)
            .args(&self.command.arguments)
            .arg(self.device.config.id.as_str())
            .envs(&self.device.config.env)
            .current_dir(&self.device.config.folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // A signal to the gateway's process group is the gateway's to handle: workers finish their work.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, UnixStream::from_std(ours)?))
    }

    /// Compares public keys with those declared and has every key sign once: only then does work come here.
    async fn prove(&self, worker: &mut Worker, started: Started) -> Result<(), StartError> {
        let wanted: Vec<_> = self.wanted().collect();
        let mut next_id = 1;
        for (local, (index, spec)) in wanted.into_iter().enumerate() {
            let state = match started.keys.get(local).cloned().flatten() {
                None => KeyState::Missing,
                Some(found) if found != spec.public_key => KeyState::Different,
                Some(_) => KeyState::Held,
            };
            if state != KeyState::Held {
                warn!(device = %self.device.config.id, key = %spec.id, ?state, "key is not usable on this device");
                self.device.set_key_state(index, state);
                continue;
            }
            let (id, digest, algorithm) = (next_id, random_digest(), spec.public_key.proof_algorithm());
            next_id += 1;
            let mut frame = Vec::new();
            let key = u16::try_from(local).unwrap_or(u16::MAX);
            SignFrame { id, key, algorithm, deadline: u64::MAX, digest }.put(&mut frame);
            let sent = worker.stream.write_all(&frame).await;
            sent.map_err(|error| StartError::Worker { reason: error.to_string() })?;
            let answer = worker.receive(AnswerFrame::parse).await?;
            let signature = answer
                .outcome
                .map_err(|(function, rv)| StartError::Call { function: function.name().to_owned(), rv })?;
            let checker = self.keys.checker(index);
            let good = checker.canonical(&signature).is_some_and(|s| checker.accepts(algorithm, &digest, &s));
            if !good {
                self.device.on(Event::WrongResult);
                return Err(StartError::Worker { reason: format!("key {} gave a wrong signature", spec.id) });
            }
            self.device.set_key_state(index, KeyState::Held);
        }
        self.device.lanes.store(started.lanes, Ordering::Relaxed);
        *lock(&self.device.facts) = Some(started.token);
        Ok(())
    }

    /// Feeds the worker until it is lost. Credit of 1.25 × lanes bounds what a worker can take with it.
    async fn feed(&mut self, worker: &mut Worker) -> End {
        let local: HashMap<u16, u16> = self
            .wanted()
            .enumerate()
            .filter_map(|(local, (index, _))| Some((u16::try_from(index).ok()?, u16::try_from(local).ok()?)))
            .collect();
        let lanes = self.device.lanes();
        let credit = lanes + lanes.div_ceil(4);
        let mut in_flight: HashMap<u64, InFlight> = HashMap::with_capacity(credit * 2);
        let mut jobs = Vec::with_capacity(credit);
        let mut out = Vec::new();
        // Ids below were used while proving.
        let mut next_id: u64 = 1 << 32;
        let mut failed_probes = 0;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut probe = tokio::time::interval(PROBE_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let room = credit.saturating_sub(in_flight.len());
            let interest =
                if out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            tokio::select! {
                ready = worker.stream.ready(interest) => {
                    if let Err(error) = ready.and_then(|_| worker.read_available()) {
                        return End::Lost(StartError::Worker { reason: error.to_string() });
                    }
                    loop {
                        let answer = match worker.buffer.next() {
                            Ok(Some((id, payload))) => AnswerFrame::parse(id, payload),
                            Ok(None) => break,
                            Err(_) => None,
                        };
                        let Some(answer) = answer else {
                            return End::Lost(StartError::Worker { reason: "nonsense on the socket".to_owned() });
                        };
                        let Some(done) = in_flight.remove(&answer.id) else { continue };
                        let since = if in_flight.is_empty() { 0 } else { monotonic() };
                        self.device.silent_since.store(since, Ordering::Relaxed);
                        self.finish(done, answer, &mut failed_probes);
                    }
                }
                taken = self.jobs.recv_many(&mut jobs, room), if room > 0 => {
                    if taken == 0 {
                        return End::Closed;
                    }
                    let now = Instant::now();
                    for job in jobs.drain(..) {
                        let Some(&key) = local.get(&job.key) else { continue };
                        if job.deadline <= now {
                            let _ = job.reply.send(Err(AttemptError::TimedOut)); // nobody waits for it any more
                            continue;
                        }
                        if in_flight.is_empty() {
                            self.device.silent_since.store(monotonic(), Ordering::Relaxed);
                        }
                        let left = u64::try_from((job.deadline - now).as_nanos()).unwrap_or(u64::MAX);
                        let deadline = monotonic().saturating_add(left);
                        SignFrame { id: next_id, key, algorithm: job.algorithm, deadline, digest: job.digest }.put(&mut out);
                        let give_up = job.deadline + self.settings.kill_after;
                        in_flight.insert(next_id, InFlight { job: Some(job), probe: [0; 32], sent: now, give_up });
                        next_id += 1;
                    }
                }
                _ = sweep.tick() => {
                    let now = Instant::now();
                    if in_flight.values().any(|waiting| now >= waiting.give_up) {
                        let _ = worker.child.start_kill(); // gone already is as good
                        return End::Lost(StartError::Worker { reason: "a call hung; killed".to_owned() });
                    }
                }
                _ = probe.tick() => {
                    if self.device.state() == State::Ready {
                        failed_probes = 0;
                    }
                    let proved = self.wanted().enumerate().find(|(_, (index, _))| self.device.holds(*index));
                    if matches!(self.device.state(), State::Down | State::Degraded)
                        && let Some((local, (_, spec))) = proved
                    {
                        if failed_probes >= PROBES_BEFORE_RESTART {
                            return End::Lost(StartError::Worker { reason: "does not recover; replaced".to_owned() });
                        }
                        let digest = random_digest();
                        let key = u16::try_from(local).unwrap_or(u16::MAX);
                        let algorithm = spec.public_key.proof_algorithm();
                        SignFrame { id: next_id, key, algorithm, deadline: u64::MAX, digest }.put(&mut out);
                        let now = Instant::now();
                        let give_up = now + self.settings.deadline + self.settings.kill_after;
                        in_flight.insert(next_id, InFlight { job: None, probe: digest, sent: now, give_up });
                        next_id += 1;
                    }
                }
            }
            if let Err(error) = worker.write_available(&mut out) {
                return End::Lost(StartError::Worker { reason: error.to_string() });
            }
        }
    }

    fn finish(&self, done: InFlight, answer: AnswerFrame, failed_probes: &mut u32) {
        if answer.outcome.is_ok() {
            let from = done.job.as_ref().map_or(done.sent, |job| job.submitted);
            self.device.observe(done.sent.elapsed(), from.elapsed());
        }
        if let Some(job) = done.job {
            let result =
                answer.outcome.map_err(|(function, rv)| AttemptError::Call { function: function.name(), rv });
            let _ = job.reply.send(result); // a caller that gave up is no concern here
            return;
        }
        let probed = self.wanted().find(|(index, _)| self.device.holds(*index));
        let good = probed.zip(answer.outcome.ok()).map(|((index, spec), signature)| {
            let checker = self.keys.checker(index);
            let algorithm = spec.public_key.proof_algorithm();
            checker.canonical(&signature).is_some_and(|s| checker.accepts(algorithm, &done.probe, &s))
        });
        match good {
            Some(true) => {
                *failed_probes = 0;
                self.device.on(Event::Proved);
            }
            Some(false) => self.device.on(Event::WrongResult),
            None => {
                *failed_probes += 1;
                self.device.on(Event::Failure);
            }
        }
    }
}

impl Worker {
    /// The next frame, while the worker is being brought up.
    async fn receive<T>(&mut self, parse: impl Fn(u64, &[u8]) -> Option<T>) -> Result<T, StartError> {
        let lost = |reason: &str| StartError::Worker { reason: reason.to_owned() };
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some((id, payload)) = self.buffer.next().map_err(|_| lost("nonsense on the socket"))? {
                return parse(id, payload).ok_or_else(|| lost("nonsense on the socket"));
            }
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Err(lost("ended while starting")),
                Ok(read) => self.buffer.extend(&chunk[..read]),
            }
        }
    }

    fn read_available(&mut self) -> io::Result<()> {
        let mut chunk = [0; 32 << 10];
        loop {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "process ended")),
                Ok(read) => self.buffer.extend(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn write_available(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while !out.is_empty() {
            match self.stream.try_write(out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A digest nobody asked to have signed; it need not be unpredictable, only fresh.
fn random_digest() -> [u8; 32] {
    std::array::from_fn(|_| fastrand::u8(..))
}
