//! The life of one device's worker process: started, proved, fed (`feed.rs`), lost, replaced. Nobody else touches
//! its socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::device::{Control, Device, KeyState, WorkerCommand, lock};
use crate::dialect::Dialect;
use crate::error::{Blame, StartError};
use crate::feed::Ended;
use crate::frame::{
    AnswerFrame, Found, Function, KEYS_PER_FRAME, KeyOrder, SignFrame, StartAnswer, StartOrder, put_json,
};
use crate::health::{Event, State};
use crate::key::Algorithm;
use crate::plan::Copy;
use crate::process::Worker;

pub(crate) struct Supervisor {
    pub(crate) device: Arc<Device>,
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) dialect: Dialect,
    pub(crate) command: WorkerCommand,
}

/// A proof that is asked of a key, and how it signs.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) copy: Arc<Copy>,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
}

/// Logins that fail for no clear reason before the PIN is held to be refused: vendors have their own words for
/// that, and a token locks after a few.
const UNCLEAR_LOGINS: u32 = 2;
/// How often it is looked whether a device in quarantine was released.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Runs until the device is given up or the fleet is dropped, which ends this task.
    pub(crate) async fn run(mut self) {
        let (mut losses, mut unclear_logins): (u32, u32) = (0, 0);
        loop {
            self.device.on(Event::WorkerStarting);
            let started = Instant::now();
            let error = match self.start_within_limit().await {
                Some(Ok(mut worker)) => {
                    info!(device = %self.device.config.id, took = ?started.elapsed(), "device proved");
                    unclear_logins = 0;
                    match self.feed(&mut worker).await {
                        Ended::Lost(error) => error,
                        Ended::Stopped => break,
                    }
                }
                Some(Err(error)) => error,
                None => break,
            };
            self.device.worker_lost();
            warn!(device = %self.device.config.id, %error, "worker lost");
            *lock(&self.device.last_error) = Some(error.to_string());
            unclear_logins += u32::from(is_unclear_login(&error));
            if matches!(error, StartError::PinRefused { .. }) || unclear_logins >= UNCLEAR_LOGINS {
                // Trying again would lock the token: out until somebody says that the PIN was mended.
                if self.wait_for_restart().await.is_none() {
                    break;
                }
                (losses, unclear_logins) = (0, 0);
                continue;
            }
            losses = if started.elapsed() > Duration::from_secs(30) { 0 } else { losses.saturating_add(1) };
            if self.wait_before_restart(losses).await.is_none() {
                break;
            }
        }
        self.device.worker_lost();
        self.device.line.close();
        drop(self.device.line.drain());
        info!(device = %self.device.config.id, "device given up");
    }

    /// Refuses whatever is asked of a device without a worker. Nothing if the device is given up.
    fn refuse(&self, control: Option<Control>) -> Option<bool> {
        match control? {
            Control::Order { reply, .. } => drop(reply), // it reads as: not running
            Control::KeysChanged => {}                   // the next start takes the list as it is
            Control::Restart => return Some(true),
            Control::Stop => return None,
        }
        Some(false)
    }

    async fn wait_for_restart(&mut self) -> Option<()> {
        let device = Arc::clone(&self.device);
        let mut refused = Vec::new();
        loop {
            tokio::select! {
                control = self.control.recv() => if self.refuse(control)? { return Some(()) },
                _ = device.line.pop_many(&mut refused, 64) => refused.clear(), // dropped: tried elsewhere
            }
        }
    }

    /// Waits with jitter, and while the device is in quarantine; refuses what is queued, so that it goes
    /// elsewhere at once. Nothing if the device is given up.
    async fn wait_before_restart(&mut self, losses: u32) -> Option<()> {
        let most = Duration::from_millis(20).saturating_mul(1 << losses.min(8));
        let wait = if losses <= 1 { Duration::ZERO } else { most.mul_f64(0.5 + fastrand::f64() / 2.0) };
        let device = Arc::clone(&self.device);
        drop(device.line.drain());
        let mut refused = Vec::new();
        let mut until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                control = self.control.recv() => if self.refuse(control)? { return Some(()) },
                _ = device.line.pop_many(&mut refused, 64) => refused.clear(), // dropped: tried elsewhere
                () = tokio::time::sleep_until(until) => {
                    if device.state() != State::Quarantined {
                        return Some(());
                    }
                    until += LOOK_EVERY;
                }
            }
        }
    }

    /// Starts a worker; meanwhile whatever is still queued is refused. Nothing if the device is given up.
    async fn start_within_limit(&mut self) -> Option<Result<Worker, StartError>> {
        let limit = self.device.settings().start_timeout;
        let mut control = std::mem::replace(&mut self.control, mpsc::channel(1).1);
        let device = Arc::clone(&self.device);
        let mut refused = Vec::new();
        let result = {
            let start = tokio::time::timeout(limit, self.start());
            tokio::pin!(start);
            loop {
                tokio::select! {
                    result = &mut start => break Some(result),
                    asked = control.recv() => match self.refuse(asked) {
                        Some(false) => {}
                        // What it is starting with may be what is to be changed.
                        Some(true) => break Some(Ok(Err(restarted()))),
                        None => break None,
                    },
                    _ = device.line.pop_many(&mut refused, 64) => refused.clear(),
                }
            }
        };
        self.control = control;
        let timed_out = || Err(StartError::Worker { reason: format!("not ready within {limit:?}") });
        result.map(|result| result.unwrap_or_else(|_| timed_out()))
    }

    async fn start(&self) -> Result<Worker, StartError> {
        let lost = |what: &str, error: &dyn std::fmt::Display| StartError::Worker {
            reason: format!("{what}: {error}"),
        };
        let (config, settings) = (&self.device.config, self.device.settings());
        let pin =
            tokio::fs::read_to_string(&config.pin_file).await.map_err(|error| lost("PIN file", &error))?;
        let pin = Zeroizing::new(pin);
        let copies = self.device.copies();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let order = StartOrder {
            module: config.module.display().to_string(),
            token: config.token.clone(),
            serial: config.serial.clone(),
            pin: Zeroizing::new(pin.trim_end_matches(['\r', '\n']).to_owned()),
            lanes: config.lanes,
            dialect: self.dialect.clone(),
            key_frames: copies.chunks(KEYS_PER_FRAME).len(),
            keep_alive_ms: milliseconds(settings.keep_alive),
            stuck_ms: milliseconds(settings.deadline + settings.kill_after),
            wrapped_cache: settings.wrapped_cache,
        };
        let mut worker = Worker::spawn(config, &self.command, settings.isolation, &order.pin)
            .map_err(|error| lost("spawn", &error))?;
        self.device.worker_starts.fetch_add(1, Ordering::Relaxed);
        self.device.worker_pid.store(worker.pid(), Ordering::Relaxed);
        let mut frames = Zeroizing::new(Vec::new());
        put_json(&mut frames, &order).map_err(|error| lost("order", &error))?;
        for keys in copies.chunks(KEYS_PER_FRAME) {
            let keys: Vec<KeyOrder> = keys.iter().map(|copy| key_order(copy)).collect();
            put_json(&mut frames, &keys).map_err(|error| lost("order", &error))?;
        }
        worker.send(&frames).await.map_err(|error| lost("send", &error))?;
        let started = worker.receive_json::<StartAnswer>().await??;
        let mut found = Vec::with_capacity(copies.len());
        for _ in copies.chunks(KEYS_PER_FRAME) {
            found.extend(worker.receive_json::<Vec<Found>>().await?);
        }
        self.prove(&mut worker, &copies, &found).await?;
        self.device.lanes.store(started.lanes, Ordering::Relaxed);
        *lock(&self.device.facts) = Some(started.token);
        self.device.on(Event::Proved);
        Ok(worker)
    }

    /// Compares public keys with those declared and has every key sign once by every algorithm it may be asked
    /// for: only what is proved is routed here. A key that fails for reasons of its own costs that key only.
    async fn prove(
        &self,
        worker: &mut Worker,
        copies: &[Arc<Copy>],
        found: &[Found],
    ) -> Result<(), StartError> {
        let mut next_id = 1;
        for (number, copy) in copies.iter().enumerate() {
            copy.forget();
            copy.set_number(u16::try_from(number).unwrap_or(u16::MAX));
            if self.compare(copy, found.get(number)) {
                for (place, &algorithm) in copy.key.spec.public_key.algorithms().iter().enumerate() {
                    let proof = Proof::of(copy, algorithm);
                    let ask = SignFrame {
                        id: next_id,
                        key: copy.number().unwrap_or(u16::MAX),
                        algorithm,
                        deadline: u64::MAX,
                        digest: proof.digest,
                    };
                    let answer = worker.sign_once(&ask).await?;
                    next_id += 1;
                    let good = self.judge_proof(&proof, answer)?;
                    if !good && place == 0 {
                        self.device.on(Event::WrongResult);
                        let reason = format!("key {} gave a wrong signature", copy.key.spec.id);
                        return Err(StartError::Worker { reason });
                    }
                }
            }
            let state = copy.state();
            if state != KeyState::Held {
                let key = &copy.key.spec.id;
                warn!(device = %self.device.config.id, %key, ?state, "key is not usable on this device");
            }
        }
        Ok(())
    }

    /// Whether the token shows the key that was declared, so that it only has to be proved.
    pub(crate) fn compare(&self, copy: &Copy, found: Option<&Found>) -> bool {
        let state = match found {
            None | Some(Found::Nothing) => KeyState::Missing,
            Some(Found::Key(found)) if *found == copy.key.spec.public_key => KeyState::Unusable, // until proved
            Some(Found::Key(_) | Found::AnotherKind) => KeyState::Different,
        };
        copy.set_state(state);
        state == KeyState::Unusable
    }

    /// Takes note of a proof's answer. False if it is a signature and a wrong one; an error if the device, not
    /// the key, failed.
    pub(crate) fn judge_proof(&self, proof: &Proof, answer: AnswerFrame) -> Result<bool, StartError> {
        match answer.outcome {
            Ok(signature) => {
                let checker = &proof.copy.key.checker;
                let canonical = checker.canonical(&signature);
                let good = canonical.is_some_and(|s| checker.accepts(proof.algorithm, &proof.digest, &s));
                if good {
                    proof.copy.set_proved(proof.algorithm);
                }
                Ok(good)
            }
            Err((_, rv)) if matches!(rv.blame(), Blame::Key | Blame::Algorithm | Blame::Request) => Ok(true),
            Err((Function::Login, rv)) if rv.refuses_pin() => Err(StartError::PinRefused { rv }),
            Err((function, rv)) => Err(StartError::Call { function: function.name().to_owned(), rv }),
        }
    }
}

impl Proof {
    /// With a digest nobody asked to have signed; it need not be unpredictable, only fresh.
    pub(crate) fn of(copy: &Arc<Copy>, algorithm: Algorithm) -> Self {
        Self { copy: Arc::clone(copy), algorithm, digest: std::array::from_fn(|_| fastrand::u8(..)) }
    }
}

/// How a worker is told of a key: where it is and how it signs by default.
pub(crate) fn key_order(copy: &Copy) -> KeyOrder {
    let spec = &copy.key.spec;
    KeyOrder { cka_id: spec.cka_id.clone(), algorithm: spec.public_key.algorithms()[0] }
}

pub(crate) fn restarted() -> StartError {
    StartError::Worker { reason: "restarted by order".to_owned() }
}

/// Whether a login failed in words that may or may not mean the PIN.
fn is_unclear_login(error: &StartError) -> bool {
    matches!(error, StartError::Call { function, rv } if function == Function::Login.name() && !rv.is_transport())
}
