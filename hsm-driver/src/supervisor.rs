//! Owns one device's worker process and everything in flight: starts it, has it prove its keys, feeds it, kills
//! it when it is stuck, starts the next. Nobody else touches the socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::device::{Device, Job, KeyState, WorkerCommand, lock};
use crate::dialect::Dialect;
use crate::error::{AttemptError, Blame, StartError};
use crate::fleet::KeyTable;
use crate::frame::{
    AnswerFrame, Found, FrameBuffer, Function, KeyOrder, START_ID, SignFrame, StartAnswer, StartOrder,
    Started, monotonic, put_json,
};
use crate::health::{Event, State};
use crate::key::{Algorithm, KeySpec};

pub(crate) struct Supervisor {
    pub(crate) device: Arc<Device>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) dialect: Dialect,
    pub(crate) command: WorkerCommand,
    pub(crate) settings: config::Fleet,
}

/// A worker process and its end of the socket.
struct Worker {
    child: Child,
    stream: UnixStream,
    buffer: FrameBuffer,
}

/// A proof that is asked of a key: its place in the fleet and in this worker's order, and how it signs.
#[derive(Clone, Copy)]
struct Proof {
    index: usize,
    local: u16,
    algorithm: Algorithm,
    digest: [u8; 32],
}

enum Work {
    Job(Job),
    Probe(Proof),
}

struct InFlight {
    work: Work,
    sent: Instant,
    give_up: Instant,
}

/// What a worker has been given, and the octets on their way to it.
struct Outbox {
    in_flight: HashMap<u64, InFlight>,
    bytes: Vec<u8>,
    next_id: u64,
}

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Probes in a row that fail before the worker is replaced: some libraries recover only by a new process.
const PROBES_BEFORE_RESTART: u32 = 6;
const SWEEP_EVERY: Duration = Duration::from_millis(50);
/// Logins that fail for no clear reason before the PIN is held to be refused: vendors have their own words for
/// that, and a token locks after a few.
const UNCLEAR_LOGINS: u32 = 2;

impl Supervisor {
    /// Runs until the fleet is dropped, which ends this task.
    pub(crate) async fn run(mut self) {
        let (mut losses, mut unclear_logins): (u32, u32) = (0, 0);
        loop {
            self.device.on(Event::WorkerStarting);
            let started = Instant::now();
            let error = match self.start_within_limit().await {
                Ok(mut worker) => {
                    info!(device = %self.device.config.id, took = ?started.elapsed(), "device proved");
                    unclear_logins = 0;
                    self.feed(&mut worker).await
                }
                Err(error) => error,
            };
            self.device.worker_pid.store(0, Ordering::Relaxed);
            self.device.silent_since.store(0, Ordering::Relaxed);
            self.device.on(Event::WorkerLost);
            warn!(device = %self.device.config.id, %error, "worker lost");
            *lock(&self.device.last_error) = Some(error.to_string());
            unclear_logins += u32::from(is_unclear_login(&error));
            if matches!(error, StartError::PinRefused { .. }) || unclear_logins >= UNCLEAR_LOGINS {
                // Trying again would lock the token: out until the gateway is started anew.
                while self.jobs.recv().await.is_some() {}
                return;
            }
            losses = if started.elapsed() > Duration::from_secs(30) { 0 } else { losses.saturating_add(1) };
            self.wait_before_restart(losses).await;
        }
    }

    /// Waits with jitter, and while the device is in quarantine; refuses what is queued, so that it goes
    /// elsewhere at once.
    async fn wait_before_restart(&mut self, losses: u32) {
        let most = Duration::from_millis(20).saturating_mul(1 << losses.min(8));
        let wait = if losses <= 1 { Duration::ZERO } else { most.mul_f64(0.5 + fastrand::f64() / 2.0) };
        while self.jobs.try_recv().is_ok() {}
        let mut until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                _ = self.jobs.recv() => {} // dropped: its caller tries another device
                () = tokio::time::sleep_until(until) => {
                    if self.device.state() != State::Quarantined {
                        return;
                    }
                    until += PROBE_EVERY;
                }
            }
        }
    }

    /// Starts a worker; meanwhile whatever is still queued is refused.
    async fn start_within_limit(&mut self) -> Result<Worker, StartError> {
        let limit = self.settings.start_timeout;
        let mut jobs = std::mem::replace(&mut self.jobs, mpsc::channel(1).1);
        let result = {
            let start = tokio::time::timeout(limit, self.start());
            tokio::pin!(start);
            loop {
                tokio::select! {
                    result = &mut start => break result,
                    _ = jobs.recv() => {}
                }
            }
        };
        self.jobs = jobs;
        result.unwrap_or_else(|_| Err(StartError::Worker { reason: format!("not ready within {limit:?}") }))
    }

    async fn start(&self) -> Result<Worker, StartError> {
        let lost = |what: &str, error: &dyn std::fmt::Display| StartError::Worker {
            reason: format!("{what}: {error}"),
        };
        let config = &self.device.config;
        let pin =
            tokio::fs::read_to_string(&config.pin_file).await.map_err(|error| lost("PIN file", &error))?;
        let pin = Zeroizing::new(pin);
        let usual = |spec: &KeySpec| spec.public_key.algorithms()[0];
        let order = StartOrder {
            module: config.module.display().to_string(),
            token: config.token.clone(),
            serial: config.serial.clone(),
            pin: Zeroizing::new(pin.trim_end_matches(['\r', '\n']).to_owned()),
            lanes: config.lanes,
            dialect: self.dialect.clone(),
            keys: self
                .wanted()
                .map(|(_, spec)| KeyOrder { cka_id: spec.cka_id.clone(), algorithm: usual(spec) })
                .collect(),
        };
        let (child, stream) = self.spawn().map_err(|error| lost("spawn", &error))?;
        self.device.worker_starts.fetch_add(1, Ordering::Relaxed);
        self.device.worker_pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
        let mut worker = Worker { child, stream, buffer: FrameBuffer::default() };
        let mut frame = Zeroizing::new(Vec::new());
        put_json(&mut frame, &order).map_err(|error| lost("order", &error))?;
        worker.stream.write_all(&frame).await.map_err(|error| lost("send", &error))?;
        let answer: StartAnswer = worker
            .receive(|id, payload| (id == START_ID).then(|| serde_json::from_slice(payload).ok())?)
            .await?;
        self.prove(&mut worker, answer?).await?;
        self.device.on(Event::Proved);
        Ok(worker)
    }

    /// The fleet's keys that live in this device's group, with their fleet-wide index, in the worker's order.
    fn wanted(&self) -> impl Iterator<Item = (usize, &KeySpec)> {
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

    /// Compares public keys with those declared and has every key sign once by every algorithm it may be asked
    /// for: only what is proved is routed here. A key that fails for reasons of its own costs that key only.
    async fn prove(&self, worker: &mut Worker, started: Started) -> Result<(), StartError> {
        let mut next_id = 1;
        for (local, (index, spec)) in self.wanted().enumerate() {
            self.device.forget_proofs(index);
            let state = match started.keys.get(local) {
                None | Some(Found::Nothing) => KeyState::Missing,
                Some(Found::Key(found)) if *found == spec.public_key => KeyState::Unusable, // until it is proved
                Some(Found::Key(_) | Found::AnotherKind) => KeyState::Different,
            };
            self.device.set_key_state(index, state);
            if state == KeyState::Unusable {
                let local = u16::try_from(local).unwrap_or(u16::MAX);
                for (place, &algorithm) in spec.public_key.algorithms().iter().enumerate() {
                    let proof = Proof { index, local, algorithm, digest: random_digest() };
                    let answer = worker.sign_once(next_id, proof).await?;
                    next_id += 1;
                    let good = self.judge_proof(proof, answer)?;
                    if !good && place == 0 {
                        self.device.on(Event::WrongResult);
                        return Err(StartError::Worker {
                            reason: format!("key {} gave a wrong signature", spec.id),
                        });
                    }
                }
            }
            let state = self.device.key_state(index);
            if state != KeyState::Held {
                warn!(device = %self.device.config.id, key = %spec.id, ?state, "key is not usable on this device");
            }
        }
        self.device.lanes.store(started.lanes, Ordering::Relaxed);
        *lock(&self.device.facts) = Some(started.token);
        Ok(())
    }

    /// Takes note of a proof's answer. False if it is a signature and a wrong one; an error if the device, not
    /// the key, failed.
    fn judge_proof(&self, proof: Proof, answer: AnswerFrame) -> Result<bool, StartError> {
        match answer.outcome {
            Ok(signature) => {
                let checker = self.keys.checker(proof.index);
                let canonical = checker.canonical(&signature);
                let good = canonical.is_some_and(|s| checker.accepts(proof.algorithm, &proof.digest, &s));
                if good {
                    self.device.set_proved(proof.index, proof.algorithm);
                }
                Ok(good)
            }
            Err((_, rv)) if matches!(rv.blame(), Blame::Key | Blame::Algorithm | Blame::Request) => Ok(true),
            Err((Function::Login, rv)) if rv.refuses_pin() => Err(StartError::PinRefused { rv }),
            Err((function, rv)) => Err(StartError::Call { function: function.name().to_owned(), rv }),
        }
    }

    /// Feeds the worker until it is lost. Credit of 1.25 × lanes bounds what a worker can take with it.
    async fn feed(&mut self, worker: &mut Worker) -> StartError {
        let gone = |reason: &str| StartError::Worker { reason: reason.to_owned() };
        let local: HashMap<u16, u16> = self
            .wanted()
            .enumerate()
            .filter_map(|(local, (index, _))| Some((u16::try_from(index).ok()?, u16::try_from(local).ok()?)))
            .collect();
        let lanes = self.device.lanes();
        let credit = lanes + lanes.div_ceil(4);
        let mut jobs = Vec::with_capacity(credit);
        // Ids below were used while proving.
        let mut outbox = Outbox { in_flight: HashMap::new(), bytes: Vec::new(), next_id: 1 << 32 };
        let mut failed_probes = 0;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut probe = tokio::time::interval(PROBE_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        probe.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let room = credit.saturating_sub(outbox.in_flight.len());
            let write = if outbox.bytes.is_empty() { Interest::READABLE } else { Interest::WRITABLE };
            tokio::select! {
                ready = worker.stream.ready(Interest::READABLE | write) => {
                    if let Err(error) = ready.and_then(|_| worker.read_available()) {
                        return gone(&error.to_string());
                    }
                    if let Err(error) = self.take_answers(worker, &mut outbox, &mut failed_probes) {
                        return error;
                    }
                }
                _ = self.jobs.recv_many(&mut jobs, room), if room > 0 => {
                    for job in jobs.drain(..) {
                        if let Some(&key) = local.get(&job.key) {
                            self.send(&mut outbox, key, job);
                        }
                    }
                }
                _ = sweep.tick() => {
                    if outbox.in_flight.is_empty() {
                        self.device.fade();
                    }
                    if self.device.state() == State::Draining && self.device.load() == 0 {
                        self.device.on(Event::Emptied);
                    }
                    let now = Instant::now();
                    if outbox.in_flight.values().any(|waiting| now >= waiting.give_up) {
                        let _ = worker.child.start_kill(); // gone already is as good
                        return gone("a call hung; killed");
                    }
                }
                _ = probe.tick() => {
                    if self.device.state() == State::Ready {
                        failed_probes = 0;
                    }
                    if failed_probes >= PROBES_BEFORE_RESTART {
                        return gone("does not recover; replaced");
                    }
                    if let Some(proof) = self.due_probe() {
                        self.send_probe(&mut outbox, proof);
                    }
                }
            }
            if let Err(error) = worker.write_available(&mut outbox.bytes) {
                return gone(&error.to_string());
            }
        }
    }

    fn send(&self, outbox: &mut Outbox, key: u16, job: Job) {
        let now = Instant::now();
        if job.deadline <= now {
            let _ = job.reply.send(Err(AttemptError::TimedOut)); // nobody waits for it any more
            return;
        }
        let left = u64::try_from((job.deadline - now).as_nanos()).unwrap_or(u64::MAX);
        let (algorithm, digest) = (job.algorithm, job.digest);
        let frame = SignFrame {
            id: outbox.next_id,
            key,
            algorithm,
            deadline: monotonic().saturating_add(left),
            digest,
        };
        let give_up = job.deadline + self.settings.kill_after;
        self.put(outbox, &frame, InFlight { work: Work::Job(job), sent: now, give_up });
    }

    fn send_probe(&self, outbox: &mut Outbox, proof: Proof) {
        let Proof { local, algorithm, digest, .. } = proof;
        let frame = SignFrame { id: outbox.next_id, key: local, algorithm, deadline: u64::MAX, digest };
        let sent = Instant::now();
        let give_up = sent + self.settings.deadline + self.settings.kill_after;
        self.put(outbox, &frame, InFlight { work: Work::Probe(proof), sent, give_up });
    }

    fn put(&self, outbox: &mut Outbox, frame: &SignFrame, sent: InFlight) {
        if outbox.in_flight.is_empty() {
            self.device.silent_since.store(monotonic(), Ordering::Relaxed);
        }
        frame.put(&mut outbox.bytes);
        outbox.in_flight.insert(frame.id, sent);
        outbox.next_id += 1;
    }

    /// The probe that is due: of a proved key for a device in doubt, else of a key that is missing and may be
    /// back.
    fn due_probe(&self) -> Option<Proof> {
        let in_doubt = matches!(self.device.state(), State::Down | State::Degraded);
        let of = |wanted: KeyState| {
            let keys = self.wanted().enumerate();
            let keys: Vec<_> =
                keys.filter(|(_, (index, _))| self.device.key_state(*index) == wanted).collect();
            (!keys.is_empty()).then(|| keys[fastrand::usize(..keys.len())])
        };
        let held = if in_doubt { of(KeyState::Held) } else { None };
        let (local, (index, spec)) = held.or_else(|| of(KeyState::Missing))?;
        let algorithm = spec.public_key.algorithms()[0];
        Some(Proof { index, local: u16::try_from(local).ok()?, algorithm, digest: random_digest() })
    }

    fn take_answers(
        &self,
        worker: &mut Worker,
        outbox: &mut Outbox,
        failed_probes: &mut u32,
    ) -> Result<(), StartError> {
        let nonsense = || StartError::Worker { reason: "nonsense on the socket".to_owned() };
        while let Some((id, payload)) = worker.buffer.next().map_err(|_| nonsense())? {
            let answer = AnswerFrame::parse(id, payload).ok_or_else(nonsense)?;
            let Some(done) = outbox.in_flight.remove(&id) else { continue };
            let since = if outbox.in_flight.is_empty() { 0 } else { monotonic() };
            self.device.silent_since.store(since, Ordering::Relaxed);
            if let Err((Function::Login, rv)) = answer.outcome
                && rv.refuses_pin()
            {
                return Err(StartError::PinRefused { rv });
            }
            if answer.outcome.is_ok() {
                let from = if let Work::Job(job) = &done.work { job.submitted } else { done.sent };
                self.device.observe(done.sent.elapsed(), from.elapsed());
            }
            match done.work {
                Work::Job(job) => {
                    let result = answer.outcome.map_err(|failure| match failure {
                        (Function::Expired, _) => AttemptError::TimedOut,
                        (function, rv) => AttemptError::Call { function: function.name(), rv },
                    });
                    let _ = job.reply.send(result); // a caller that gave up is no concern here
                }
                Work::Probe(proof) => self.take_probe(proof, answer, failed_probes),
            }
        }
        Ok(())
    }

    fn take_probe(&self, proof: Proof, answer: AnswerFrame, failed_probes: &mut u32) {
        let (signed, was_missing) =
            (answer.outcome.is_ok(), self.device.key_state(proof.index) == KeyState::Missing);
        match self.judge_proof(proof, answer) {
            Ok(true) if signed => {
                *failed_probes = 0;
                self.device.on(Event::Proved);
            }
            Ok(true) => {
                // The device answers; the key is what is wrong.
                self.device.set_key_state(proof.index, KeyState::Missing);
            }
            // Something else came to lie under the CKA_ID of a key that was missing.
            Ok(false) if was_missing => self.device.set_key_state(proof.index, KeyState::Different),
            Ok(false) => self.device.on(Event::WrongResult),
            Err(_) => {
                *failed_probes += 1;
                self.device.on(Event::Failure);
            }
        }
    }
}

/// Whether a login failed in words that may or may not mean the PIN.
fn is_unclear_login(error: &StartError) -> bool {
    matches!(error, StartError::Call { function, rv } if function == Function::Login.name() && !rv.is_transport())
}

impl Worker {
    /// One signature, while the worker is being brought up.
    async fn sign_once(&mut self, id: u64, proof: Proof) -> Result<AnswerFrame, StartError> {
        let Proof { local, algorithm, digest, .. } = proof;
        let mut frame = Vec::new();
        SignFrame { id, key: local, algorithm, deadline: u64::MAX, digest }.put(&mut frame);
        let sent = self.stream.write_all(&frame).await;
        sent.map_err(|error| StartError::Worker { reason: error.to_string() })?;
        self.receive(AnswerFrame::parse).await
    }

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
