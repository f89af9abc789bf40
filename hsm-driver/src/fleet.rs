//! The fleet: all devices behind one call that is bounded, routed, checked and honest about failure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use config::{DeviceId, GroupId, KeyId, OutputCheck};
use serde::Serialize;
use sm2_verify::{Verifier, VerifierOptions};
use tokio::task::JoinSet;
use tracing::warn;

use crate::device::{Device, KeyState, WorkerCommand};
use crate::dialect::Dialect;
use crate::error::{AttemptError, Blame, HsmError};
use crate::frame::TokenFacts;
use crate::health::{Event, State};
use crate::key::{Algorithm, Checker, KeySpec};
use crate::route::{Candidate, choose};
use crate::supervisor::Supervisor;

/// The keys of a site, with what is needed to check their signatures.
pub(crate) struct KeyTable {
    keys: Vec<(KeySpec, Checker)>,
    by_id: HashMap<KeyId, u16>,
}

impl KeyTable {
    fn new(specs: Vec<KeySpec>) -> Result<Self, HsmError> {
        let mut table = Self { keys: Vec::new(), by_id: HashMap::new() };
        let verifier = Arc::new(Verifier::new(VerifierOptions::default()));
        for spec in specs {
            let bad = |reason| HsmError::BadKey { key: spec.id.clone(), reason };
            let checker =
                Checker::new(&spec.public_key, &verifier).ok_or_else(|| bad("its public key is not one"))?;
            let index =
                u16::try_from(table.keys.len()).map_err(|_| bad("more keys than an index can name"))?;
            if table.by_id.insert(spec.id.clone(), index).is_some() {
                return Err(bad("declared twice"));
            }
            table.keys.push((spec, checker));
        }
        Ok(table)
    }

    pub(crate) fn specs(&self) -> impl Iterator<Item = (usize, &KeySpec)> {
        self.keys.iter().map(|(spec, _)| spec).enumerate()
    }

    pub(crate) fn checker(&self, index: usize) -> &Checker {
        &self.keys[index].1
    }
}

/// A signature that left a device and was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Strict DER for SM2 and ECDSA, the octets of the integer for RSA.
    pub signature: Vec<u8>,
    /// Who made it.
    pub device: DeviceId,
    /// How many devices were asked.
    pub attempts: usize,
}

/// What is known of one key on one device.
#[derive(Debug, Clone, Serialize)]
pub struct KeyStatus {
    /// The key.
    pub id: KeyId,
    /// Whether the device holds it.
    pub state: KeyState,
}

/// What is known of one device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub id: DeviceId,
    /// Its wall.
    pub group: GroupId,
    /// What it is fit for.
    pub state: State,
    /// Requests in flight and waiting.
    pub load: usize,
    /// Sessions in use.
    pub lanes: usize,
    /// Smoothed time of one signature inside the worker and device, microseconds.
    pub latency_us: u64,
    /// Signatures delivered.
    pub signed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Worker processes started so far; one on a good day.
    pub worker_starts: u64,
    /// Process id of the worker, 0 while there is none.
    pub worker_pid: u32,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// What the token says of itself.
    pub token: Option<TokenFacts>,
    /// The keys of its group.
    pub keys: Vec<KeyStatus>,
}

/// A device with requests waiting that answers none of them for so long is held to be hung.
const SILENT: Duration = Duration::from_millis(250);

/// The whole fleet; dropping it ends all workers.
pub struct Fleet {
    devices: Vec<Arc<Device>>,
    groups: BTreeMap<GroupId, Vec<usize>>,
    keys: Arc<KeyTable>,
    settings: config::Fleet,
    _supervisors: JoinSet<()>,
}

impl Fleet {
    /// Starts a supervisor and a worker for each device and returns at once: no device's start waits for
    /// another's. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// An unknown dialect or a key that cannot be one; nothing is started then.
    pub fn start(
        settings: &config::Fleet,
        devices: &[config::Device],
        keys: Vec<KeySpec>,
        command: &WorkerCommand,
    ) -> Result<Self, HsmError> {
        let keys = Arc::new(KeyTable::new(keys)?);
        let dialects =
            devices.iter().map(|device| Dialect::shipped(&device.dialect)).collect::<Result<Vec<_>, _>>()?;
        let mut groups: BTreeMap<GroupId, Vec<usize>> = BTreeMap::new();
        for (index, device) in devices.iter().enumerate() {
            groups.entry(device.group.clone()).or_default().push(index);
        }
        let mut supervisors = JoinSet::new();
        let devices = devices
            .iter()
            .zip(dialects)
            .map(|(config, dialect)| {
                let (device, jobs) = Device::new(config.clone(), settings.queue, keys.keys.len());
                let supervisor = Supervisor {
                    device: Arc::clone(&device),
                    jobs,
                    keys: Arc::clone(&keys),
                    dialect,
                    command: command.clone(),
                    settings: settings.clone(),
                };
                supervisors.spawn(supervisor.run());
                device
            })
            .collect();
        Ok(Self { devices, groups, keys, settings: settings.clone(), _supervisors: supervisors })
    }

    /// Signs a digest with a key, on whatever device of its group can, within the site's deadline.
    ///
    /// # Errors
    /// See [`HsmError`]; a failed or slow device is not an error as long as another serves in time.
    pub async fn sign(
        &self,
        key: &KeyId,
        algorithm: Algorithm,
        digest: [u8; 32],
    ) -> Result<Signed, HsmError> {
        let index = *self.keys.by_id.get(key).ok_or_else(|| HsmError::UnknownKey { key: key.clone() })?;
        let (spec, checker) = &self.keys.keys[usize::from(index)];
        if !spec.public_key.signs_with(algorithm) {
            return Err(HsmError::AlgorithmMismatch { key: key.clone(), algorithm: algorithm.name() });
        }
        let deadline = Instant::now() + self.settings.deadline;
        let mut tried = Vec::new();
        let mut attempts = 0;
        let mut second_round = false;
        let mut all_full = true;
        let mut cannot = None;
        loop {
            let Some(chosen) = self.choose(&spec.group, index, algorithm, &tried) else {
                if tried.is_empty() || second_round || cannot.is_some() {
                    break;
                }
                // Everybody was asked once. A worker that was lost is back within milliseconds: ask once more.
                second_round = true;
                tried.clear();
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let device = &self.devices[chosen];
            let now = Instant::now();
            if now >= deadline {
                return Err(HsmError::DeadlineExceeded { attempts });
            }
            attempts += 1;
            let until = deadline.min(now + self.attempt_timeout(device));
            let result = self.attempt(device, (index, checker), algorithm, digest, until).await;
            match result {
                Ok(signature) => {
                    device.note_success();
                    return Ok(Signed { signature, device: device.config.id.clone(), attempts });
                }
                Err(error) => {
                    if let AttemptError::Call { function, rv } = &error
                        && matches!(rv.blame(), Blame::Request | Blame::Algorithm)
                    {
                        let (device, function, rv) = (device.config.id.clone(), *function, *rv);
                        cannot = Some(HsmError::Refused { device, function, rv });
                    }
                    if !error.retry() {
                        break;
                    }
                    all_full &= error == AttemptError::QueueFull;
                    tried.push(chosen);
                }
            }
        }
        if let Some(cannot) = cannot {
            Err(cannot)
        } else if Instant::now() >= deadline {
            Err(HsmError::DeadlineExceeded { attempts })
        } else if attempts > 0 && all_full {
            Err(HsmError::Overloaded { group: spec.group.clone() })
        } else {
            Err(HsmError::NoDevice { key: key.clone(), group: spec.group.clone() })
        }
    }

    fn choose(&self, group: &GroupId, key: u16, algorithm: Algorithm, tried: &[usize]) -> Option<usize> {
        let members = self.groups.get(group)?;
        let mut candidates = Vec::with_capacity(members.len());
        for &member in members {
            let device = &self.devices[member];
            if !tried.contains(&member) && device.takes_work() && device.serves(usize::from(key), algorithm) {
                candidates.push(Candidate {
                    device: member,
                    load: device.load(),
                    latency: device.latency(),
                    lanes: device.lanes(),
                });
            }
        }
        choose(&candidates, fastrand::f64)
    }

    /// min(deadline / 3, max(50 ms, 10 × what the device's slow answers took lately)).
    fn attempt_timeout(&self, device: &Device) -> Duration {
        let usual = (device.peak() * 10).max(Duration::from_millis(50));
        usual.min(self.settings.deadline / 3)
    }

    async fn attempt(
        &self,
        device: &Arc<Device>,
        (index, checker): (u16, &Checker),
        algorithm: Algorithm,
        digest: [u8; 32],
        until: Instant,
    ) -> Result<Vec<u8>, AttemptError> {
        let outcome = match device.submit(index, algorithm, digest, until) {
            Err(error) => Err(error),
            Ok(answer) => match tokio::time::timeout_at(until.into(), answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(AttemptError::WorkerLost),
                Err(_) => Err(AttemptError::TimedOut),
            },
        };
        let outcome = outcome.and_then(|answer| {
            let signature = checker.canonical(&answer).ok_or(AttemptError::WrongResult)?;
            // Every key proved itself by every algorithm when the device's worker came up, so first uses are
            // covered.
            let checked = self.settings.output_check == OutputCheck::FirstUse
                || checker.accepts(algorithm, &digest, &signature);
            if checked { Ok(signature) } else { Err(AttemptError::WrongResult) }
        });
        if let Err(error) = &outcome {
            warn!(device = %device.config.id, %error, "attempt failed");
            let event = match error {
                AttemptError::WrongResult => Some(Event::WrongResult),
                // Late is not dead: a host that is short of processors makes every device late at once. What
                // counts is that nothing at all comes back; lateness shows in the load and in the timeouts.
                AttemptError::TimedOut => (device.silent_for() >= SILENT).then_some(Event::Failure),
                AttemptError::Call { rv, .. } => match rv.blame() {
                    Blame::Device => Some(Event::Failure),
                    Blame::Busy => device.note_busy(),
                    Blame::Key => {
                        // Not asked for this key again until the supervisor's probe finds it back.
                        device.set_key_state(usize::from(index), KeyState::Missing);
                        None
                    }
                    Blame::Algorithm | Blame::Request => None,
                },
                // The supervisor knows about a lost worker; a full queue speaks for the load, not the device.
                AttemptError::WorkerLost | AttemptError::QueueFull => None,
            };
            device.note_failure(error, event);
        }
        outcome
    }

    /// Takes a device out of service: it finishes what it has and takes nothing new. `None` if there is no such
    /// device, else its state afterwards.
    #[must_use]
    pub fn drain(&self, id: &DeviceId) -> Option<State> {
        self.operate(id, Event::Drain)
    }

    /// Puts a drained or quarantined device back: it takes work again once a signature of it verified. `None`
    /// if there is no such device, else its state afterwards (`down` until it is proved).
    #[must_use]
    pub fn resume(&self, id: &DeviceId) -> Option<State> {
        self.operate(id, Event::Resume)
    }

    fn operate(&self, id: &DeviceId, event: Event) -> Option<State> {
        let device = self.devices.iter().find(|device| device.config.id == *id)?;
        device.on(event);
        Some(device.state())
    }

    /// For each group how many devices take work and hold a key at least.
    #[must_use]
    pub fn usable(&self) -> BTreeMap<GroupId, usize> {
        let usable = |member: &&usize| {
            let device = &self.devices[**member];
            device.takes_work() && self.keys.specs().any(|(index, _)| device.holds(index))
        };
        let counts =
            self.groups.iter().map(|(group, members)| (group.clone(), members.iter().filter(usable).count()));
        counts.collect()
    }

    /// Whether no device is still on its first start.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.devices.iter().all(|device| device.state() != State::Starting)
    }

    /// What is known of each device, in the site's order.
    #[must_use]
    pub fn status(&self) -> Vec<DeviceStatus> {
        self.devices.iter().map(|device| self.device_status(device)).collect()
    }

    fn device_status(&self, device: &Device) -> DeviceStatus {
        let keys = self.keys.specs().filter(|(_, spec)| spec.group == device.config.group);
        DeviceStatus {
            id: device.config.id.clone(),
            group: device.config.group.clone(),
            state: device.state(),
            load: device.load(),
            lanes: device.lanes(),
            latency_us: u64::try_from(device.latency().as_micros()).unwrap_or(u64::MAX),
            signed: device.signed.load(Ordering::Relaxed),
            failed: device.failed.load(Ordering::Relaxed),
            worker_starts: device.worker_starts.load(Ordering::Relaxed),
            worker_pid: device.worker_pid.load(Ordering::Relaxed),
            last_error: device.last_error(),
            token: device.facts(),
            keys: keys
                .map(|(index, spec)| KeyStatus { id: spec.id.clone(), state: device.key_state(index) })
                .collect(),
        }
    }
}
