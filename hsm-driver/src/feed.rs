//! Feeding a worker: what is in flight, what comes back, probes, and the end of calls that hang.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::device::{Control, Job, KeyState, Task};
use crate::error::{AttemptError, StartError};
use crate::frame::{AnswerFrame, Answered, Function, KEYS_PER_FRAME, SignFrame, monotonic, put_order};
use crate::health::{Event, State};
use crate::order::{Answer, Order, OrderFailure, OrderOutcome};
use crate::plan::Copy;
use crate::process::Worker;
use crate::supervisor::{Proof, Supervisor, key_order, restarted};

/// Why feeding ended.
pub(crate) enum Ended {
    /// The worker is of no use any more.
    Lost(StartError),
    /// The device is given up.
    Stopped,
}

enum Work {
    Job(Job),
    Probe(Proof),
    Order(oneshot::Sender<OrderOutcome>),
    /// Keys that were told to the worker.
    Keys(Vec<Arc<Copy>>),
    /// A sign of life of a device that has no key to be proved by.
    SignOfLife,
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
    failed_probes: u32,
}

const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Probes in a row that fail before the worker is replaced: some libraries recover only by a new process.
const PROBES_BEFORE_RESTART: u32 = 6;
/// Octets that a device without keys is asked for.
const SIGN_OF_LIFE: u16 = 16;
const SWEEP_EVERY: Duration = Duration::from_millis(50);

fn gone(reason: &str) -> Ended {
    Ended::Lost(StartError::Worker { reason: reason.to_owned() })
}

impl Supervisor {
    /// Feeds the worker until it is lost. Credit of 1.25 × lanes bounds what a worker can take with it.
    pub(crate) async fn feed(&mut self, worker: &mut Worker) -> Ended {
        let device = Arc::clone(&self.device);
        let mut jobs = Vec::new();
        // Ids below were used while proving.
        let mut outbox =
            Outbox { in_flight: HashMap::new(), bytes: Vec::new(), next_id: 1 << 32, failed_probes: 0 };
        self.tell_keys(&mut outbox); // the list may have changed while it was being proved
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut probe = tokio::time::interval(PROBE_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        probe.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let lanes = device.lanes();
            let credit = lanes + lanes.div_ceil(4);
            let room = credit.saturating_sub(outbox.in_flight.len());
            let write = if outbox.bytes.is_empty() { Interest::READABLE } else { Interest::WRITABLE };
            tokio::select! {
                ready = worker.ready(Interest::READABLE | write) => {
                    if let Err(error) = ready.and_then(|()| worker.read_available()) {
                        return gone(&error.to_string());
                    }
                    if let Err(error) = self.take_answers(worker, &mut outbox) {
                        return Ended::Lost(error);
                    }
                }
                _ = device.line.pop_many(&mut jobs, room), if room > 0 => {
                    for job in jobs.drain(..) {
                        self.send(&mut outbox, job);
                    }
                }
                control = self.control.recv() => match control {
                    Some(Control::Order { order, deadline, reply }) => {
                        self.send_order(&mut outbox, &order, deadline, Work::Order(reply));
                    }
                    Some(Control::KeysChanged) => self.tell_keys(&mut outbox),
                    Some(Control::Restart) => {
                        worker.kill();
                        return Ended::Lost(restarted());
                    }
                    Some(Control::Stop) | None => return Ended::Stopped,
                },
                _ = sweep.tick() => {
                    if outbox.in_flight.is_empty() {
                        device.fade();
                    }
                    if device.state() == State::Draining && device.load() == 0 {
                        device.on(Event::Emptied);
                    }
                    let now = Instant::now();
                    if outbox.in_flight.values().any(|waiting| now >= waiting.give_up) {
                        worker.kill();
                        return gone("a call hung; killed");
                    }
                }
                _ = probe.tick() => {
                    if device.state() == State::Ready {
                        outbox.failed_probes = 0;
                    }
                    if outbox.failed_probes >= PROBES_BEFORE_RESTART {
                        return gone("does not recover; replaced");
                    }
                    if let Some(proof) = self.due_probe() {
                        self.send_probe(&mut outbox, proof);
                    } else if self.is_in_doubt() && device.copies().is_empty() {
                        let order = Order::Random { octets: SIGN_OF_LIFE };
                        let deadline = Instant::now() + device.settings().deadline;
                        self.send_order(&mut outbox, &order, deadline, Work::SignOfLife);
                    }
                }
            }
            if let Err(error) = worker.write_available(&mut outbox.bytes) {
                return gone(&error.to_string());
            }
        }
    }

    fn send(&self, outbox: &mut Outbox, mut job: Job) {
        drop(job.waiting.take());
        let now = Instant::now();
        if job.deadline <= now {
            let _ = job.reply.send(Err(AttemptError::TimedOut)); // nobody waits for it any more
            return;
        }
        let left = u64::try_from((job.deadline - now).as_nanos()).unwrap_or(u64::MAX);
        let give_up = job.deadline + self.device.settings().kill_after;
        match &job.task {
            Task::Sign { copy, algorithm, digest } => {
                // Dropped, a job goes to another device.
                let Some(key) = copy.number() else { return };
                let deadline = monotonic().saturating_add(left);
                let frame =
                    SignFrame { id: outbox.next_id, key, algorithm: *algorithm, deadline, digest: *digest };
                frame.put(&mut outbox.bytes);
                self.note(outbox, InFlight { work: Work::Job(job), sent: now, give_up });
            }
            Task::Order(order) => {
                let order = Arc::clone(order);
                self.send_order(outbox, &order, job.deadline, Work::Job(job));
            }
        }
    }

    fn send_order(&self, outbox: &mut Outbox, order: &Order, deadline: Instant, work: Work) {
        // What is too long for a frame is dropped, and with it whoever waits is told.
        if put_order(&mut outbox.bytes, outbox.next_id, order).is_ok() {
            let give_up = deadline + self.device.settings().kill_after;
            self.note(outbox, InFlight { work, sent: Instant::now(), give_up });
        }
    }

    fn send_probe(&self, outbox: &mut Outbox, proof: Proof) {
        let Some(key) = proof.copy.number() else { return };
        let Proof { algorithm, digest, .. } = proof;
        let frame = SignFrame { id: outbox.next_id, key, algorithm, deadline: u64::MAX, digest };
        frame.put(&mut outbox.bytes);
        let (sent, settings) = (Instant::now(), self.device.settings());
        let give_up = sent + settings.deadline + settings.kill_after;
        self.note(outbox, InFlight { work: Work::Probe(proof), sent, give_up });
    }

    /// Takes note of what was just put on the way.
    fn note(&self, outbox: &mut Outbox, sent: InFlight) {
        if outbox.in_flight.is_empty() {
            self.device.silent_since.store(monotonic(), Ordering::Relaxed);
        }
        outbox.in_flight.insert(outbox.next_id, sent);
        outbox.next_id += 1;
    }

    /// Tells the worker of keys it does not know yet.
    fn tell_keys(&self, outbox: &mut Outbox) {
        let told: Vec<_> = outbox
            .in_flight
            .values()
            .filter_map(|sent| match &sent.work {
                Work::Keys(copies) => Some(copies),
                Work::Job(_) | Work::Probe(_) | Work::Order(_) | Work::SignOfLife => None,
            })
            .flatten()
            .map(Arc::as_ptr)
            .collect();
        let copies = self.device.copies();
        let new = copies.iter().filter(|copy| copy.number().is_none() && !told.contains(&Arc::as_ptr(copy)));
        let new: Vec<_> = new.map(Arc::clone).collect();
        let settings = self.device.settings();
        for copies in new.chunks(KEYS_PER_FRAME) {
            let order = Order::AddKeys(copies.iter().map(|copy| key_order(copy)).collect());
            self.send_order(outbox, &order, Instant::now() + settings.deadline, Work::Keys(copies.to_vec()));
        }
    }

    fn is_in_doubt(&self) -> bool {
        matches!(self.device.state(), State::Down | State::Degraded)
    }

    /// The probe that is due: of a proved key for a device in doubt, else of a key that is missing and may be
    /// back.
    fn due_probe(&self) -> Option<Proof> {
        let copies = self.device.copies();
        let of = |wanted: KeyState| {
            let copies: Vec<_> = copies.iter().filter(|copy| copy.state() == wanted).collect();
            (!copies.is_empty()).then(|| copies[fastrand::usize(..copies.len())])
        };
        let held = if self.is_in_doubt() { of(KeyState::Held) } else { None };
        let copy = held.or_else(|| of(KeyState::Missing))?;
        Some(Proof::of(copy, copy.key.spec.public_key.algorithms()[0]))
    }

    fn take_answers(&self, worker: &mut Worker, outbox: &mut Outbox) -> Result<(), StartError> {
        let nonsense = || StartError::Worker { reason: "nonsense on the socket".to_owned() };
        while let Some((id, payload)) = worker.buffer.next().map_err(|_| nonsense())? {
            match Answered::parse(id, payload).ok_or_else(nonsense)? {
                Answered::Sign(answer) => self.take_signature(outbox, answer)?,
                Answered::Order { id, outcome } => self.take_outcome(outbox, id, outcome)?,
            }
        }
        Ok(())
    }

    fn done(&self, outbox: &mut Outbox, id: u64) -> Option<InFlight> {
        let done = outbox.in_flight.remove(&id)?;
        let since = if outbox.in_flight.is_empty() { 0 } else { monotonic() };
        self.device.silent_since.store(since, Ordering::Relaxed);
        Some(done)
    }

    fn take_signature(&self, outbox: &mut Outbox, answer: AnswerFrame) -> Result<(), StartError> {
        let Some(done) = self.done(outbox, answer.id) else { return Ok(()) };
        if let Err((Function::Login, rv)) = answer.outcome
            && rv.refuses_pin()
        {
            return Err(StartError::PinRefused { rv });
        }
        self.device.count(&answer, done.sent.elapsed());
        if answer.outcome.is_ok() {
            let from = if let Work::Job(job) = &done.work { job.submitted } else { done.sent };
            self.device.observe(done.sent.elapsed(), from.elapsed());
        }
        match done.work {
            Work::Job(job) => {
                let result = answer.outcome.map_err(|failure| match failure {
                    (Function::Expired, _) => AttemptError::TimedOut,
                    (function, rv) => AttemptError::Call { function: Cow::Borrowed(function.name()), rv },
                });
                let _ = job.reply.send(result); // a caller that gave up is no concern here
            }
            Work::Probe(proof) => self.take_probe(&proof, answer, outbox),
            Work::Order(_) | Work::Keys(_) | Work::SignOfLife => {} // a signature answers no order: who waits is told so by the drop
        }
        Ok(())
    }

    fn take_outcome(&self, outbox: &mut Outbox, id: u64, outcome: OrderOutcome) -> Result<(), StartError> {
        let Some(done) = self.done(outbox, id) else { return Ok(()) };
        if let Err(OrderFailure { function, rv }) = &outcome
            && function == Function::Login.name()
            && rv.refuses_pin()
        {
            return Err(StartError::PinRefused { rv: *rv });
        }
        match done.work {
            Work::Order(reply) => drop(reply.send(outcome)), // a caller that gave up is no concern here
            Work::Job(job) => {
                if outcome.is_ok() {
                    self.device.observe(done.sent.elapsed(), job.submitted.elapsed());
                }
                let result = match outcome {
                    Ok(Answer::SignedWrapped { signature, kept }) => {
                        self.device.note_unwrapping(kept);
                        Ok(signature)
                    }
                    Ok(_) => Err(AttemptError::WrongResult),
                    Err(OrderFailure { function, rv }) => {
                        Err(AttemptError::Call { function: Cow::Owned(function), rv })
                    }
                };
                let _ = job.reply.send(result);
            }
            Work::Keys(copies) => {
                if let Ok(Answer::Keys { first, found }) = outcome {
                    self.take_keys(outbox, first, &copies, &found);
                }
            }
            Work::SignOfLife => match outcome {
                Ok(_) => {
                    outbox.failed_probes = 0;
                    self.device.on(Event::Proved);
                }
                Err(_) => {
                    outbox.failed_probes += 1;
                    self.device.on(Event::Failure);
                }
            },
            Work::Probe(_) => {}
        }
        Ok(())
    }

    /// Keys that the worker knows now: each is compared, and proved by signatures before anything is routed here.
    fn take_keys(
        &self,
        outbox: &mut Outbox,
        first: u16,
        copies: &[Arc<Copy>],
        found: &[crate::frame::Found],
    ) {
        for (place, copy) in copies.iter().enumerate() {
            let Some(number) = u16::try_from(place).ok().and_then(|place| first.checked_add(place)) else {
                continue;
            };
            copy.set_number(number);
            if self.compare(copy, found.get(place)) {
                let algorithms = copy.key.spec.public_key.algorithms();
                copy.set_awaited(algorithms);
                for &algorithm in algorithms {
                    self.send_probe(outbox, Proof::of(copy, algorithm));
                }
            }
        }
    }

    fn take_probe(&self, proof: &Proof, answer: AnswerFrame, outbox: &mut Outbox) {
        let (signed, was_missing) = (answer.outcome.is_ok(), proof.copy.state() == KeyState::Missing);
        let algorithms = proof.copy.key.spec.public_key.algorithms();
        if signed && was_missing {
            proof.copy.set_awaited(algorithms);
        }
        match self.judge_proof(proof, answer) {
            Ok(true) if signed => {
                outbox.failed_probes = 0;
                self.device.on(Event::Proved);
                // Back, and proved by one algorithm: whatever else it is to serve is asked for before it is held.
                if proof.copy.state() == KeyState::Missing {
                    proof.copy.set_state(KeyState::Unusable);
                    for &algorithm in algorithms.iter().filter(|algorithm| **algorithm != proof.algorithm) {
                        self.send_probe(outbox, Proof::of(&proof.copy, algorithm));
                    }
                }
            }
            // The device answers; the key, or one algorithm of it, is what is wrong.
            Ok(true) if proof.copy.state() == KeyState::Held => {
                if proof.algorithm == algorithms[0] {
                    proof.copy.set_state(KeyState::Missing);
                }
            }
            Ok(true) => {}
            // Something else came to lie under the CKA_ID of a key that was missing.
            Ok(false) if was_missing => proof.copy.set_state(KeyState::Different),
            Ok(false) => self.device.on(Event::WrongResult),
            Err(_) => {
                outbox.failed_probes += 1;
                self.device.on(Event::Failure);
            }
        }
        proof.copy.set_answered(proof.algorithm);
    }
}
