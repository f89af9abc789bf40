//! The fleet: all devices behind one call that is bounded, routed, checked and honest about failure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use config::{AppId, DeviceId, GroupId, KeyId};
use serde::Serialize;
use sm2_verify::{Verifier, VerifierOptions};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::device::{Control, Device, KeyState, WorkerCommand};
use crate::dialect::Dialect;
use crate::errand::{Errand, What};
use crate::error::HsmError;
use crate::group_load::GroupLoad;
use crate::health::{Event, State};
use crate::key::{Algorithm, Checker, KeySpec, PublicKey};
use crate::order::{Answer, KeyKind, Order, OrderFailure};
use crate::plan::Plan;
use crate::supervisor::Supervisor;
use crate::weight::{Change, Ejector, Rules, Seen};

/// A signature that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// For whom: callers take turns where they wait.
    pub caller: &'a AppId,
    /// The key.
    pub key: &'a KeyId,
    /// How.
    pub algorithm: Algorithm,
    /// What: e for SM2, SHA-256 otherwise.
    pub digest: [u8; 32],
    /// When nobody waits for it any more; at the latest after the site's deadline.
    pub deadline: Option<Instant>,
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

/// A key that lives outside: only a device of its group can make it usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The wall behind which its wrapping key lives.
    pub group: GroupId,
    /// CKA_ID of the wrapping key.
    pub wrapping: Vec<u8>,
    /// The private key as the device wrapped it.
    pub blob: Vec<u8>,
    /// What every signature is checked against.
    pub public_key: PublicKey,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconfigured {
    /// Devices that are new.
    pub added: Vec<DeviceId>,
    /// Devices that are given up, once they have finished what they have.
    pub removed: Vec<DeviceId>,
    /// Devices whose settings changed: a new worker took over.
    pub replaced: Vec<DeviceId>,
    /// Of the added and replaced ones those that were not ready in time; they go on trying.
    pub not_ready: Vec<DeviceId>,
    /// Keys that are new or changed.
    pub keys_changed: Vec<KeyId>,
    /// Keys that are gone.
    pub keys_removed: Vec<KeyId>,
}

/// How long a reload waits for new workers before it goes on without them.
const TAKE_OVER: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the devices of a group are compared; a probe comes in between.
const ROUND: Duration = Duration::from_millis(600);

/// The whole fleet; dropping it ends all workers.
pub struct Fleet {
    plan: Arc<ArcSwap<Plan>>,
    verifier: Arc<Verifier>,
    command: WorkerCommand,
    /// Held while the plan is being changed.
    change: Mutex<()>,
    supervisors: std::sync::Mutex<JoinSet<()>>,
    /// Of every group there has been.
    group_loads: std::sync::Mutex<BTreeMap<GroupId, GroupLoad>>,
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
        let verifier = Arc::new(Verifier::new(VerifierOptions::default()));
        let keys = Plan::ready_keys(keys, None, &verifier)?;
        let dialects = dialects(devices)?;
        let settings = Arc::new(settings.clone());
        let fleet = Self {
            plan: Arc::new(ArcSwap::from_pointee(Plan::new(Arc::clone(&settings), Vec::new(), Vec::new()))),
            verifier,
            command: command.clone(),
            change: Mutex::default(),
            supervisors: std::sync::Mutex::default(),
            group_loads: std::sync::Mutex::default(),
        };
        let made: Vec<_> = devices.iter().map(|device| fleet.device_of(device, &settings)).collect();
        let plan = Plan::new(settings, made.iter().map(|(device, _)| Arc::clone(device)).collect(), keys);
        fleet.plan.store(Arc::new(plan));
        for ((device, control), dialect) in made.into_iter().zip(dialects) {
            fleet.supervise(Supervisor { device, control, dialect, command: command.clone() });
        }
        crate::device::lock(&fleet.supervisors).spawn(watch(Arc::clone(&fleet.plan)));
        Ok(fleet)
    }

    /// A device that is new to the fleet and has no supervisor yet.
    fn device_of(
        &self,
        config: &config::Device,
        settings: &Arc<config::Fleet>,
    ) -> (Arc<Device>, mpsc::Receiver<Control>) {
        let load = self.group_load(&config.group);
        Device::new(config.clone(), Arc::clone(settings), load)
    }

    /// A group's figures.
    pub(crate) fn group_load(&self, group: &GroupId) -> GroupLoad {
        crate::device::lock(&self.group_loads).entry(group.clone()).or_default().clone()
    }

    fn supervise(&self, supervisor: Supervisor) {
        let mut supervisors = crate::device::lock(&self.supervisors);
        while supervisors.try_join_next().is_some() {} // those of devices given up before
        supervisors.spawn(supervisor.run());
    }

    /// Changes devices, keys and limits while requests run; none is dropped. A device whose settings changed gets a
    /// new worker beside the old one, which finishes what it has once the new one is ready. What operators did to a
    /// device (drained, in quarantine) holds for its successor.
    ///
    /// # Errors
    /// An unknown dialect or a key that cannot be one: nothing is changed then.
    pub async fn reconfigure(
        &self,
        settings: &config::Fleet,
        devices: &[config::Device],
        keys: Vec<KeySpec>,
    ) -> Result<Reconfigured, HsmError> {
        let _alone = self.change.lock().await;
        let before = self.plan.load_full();
        let keys = Plan::ready_keys(keys, Some(&before), &self.verifier)?;
        let dialects = dialects(devices)?;
        let settings = Arc::new(settings.clone());
        let mut report = Reconfigured::default();
        for key in &keys {
            let same = before.keys.get(&key.spec.id).is_some_and(|entry| Arc::ptr_eq(&entry.key, key));
            if !same {
                report.keys_changed.push(key.spec.id.clone());
            }
        }
        let gone = before.keys.keys().filter(|id| !keys.iter().any(|key| key.spec.id == **id));
        report.keys_removed = gone.cloned().collect();
        report.keys_removed.sort();

        let workers_differ = before.settings.isolation != settings.isolation
            || before.settings.keep_alive != settings.keep_alive
            || before.settings.wrapped_cache != settings.wrapped_cache;
        let (mut members, mut new) = (Vec::new(), Vec::new());
        for (config, dialect) in devices.iter().zip(dialects) {
            let old = before.device(&config.id);
            if let Some(same) = old.filter(|old| old.config == *config && !workers_differ) {
                members.push(Arc::clone(same));
                continue;
            }
            let (device, control) = self.device_of(config, &settings);
            match old {
                Some(old) => {
                    device.inherit(old);
                    report.replaced.push(config.id.clone());
                }
                None => report.added.push(config.id.clone()),
            }
            members.push(Arc::clone(&device));
            new.push(Arc::clone(&device));
            let mine = keys.iter().filter(|key| key.spec.belongs_on(config));
            device.set_copies(mine.map(|key| crate::plan::Copy::new(Arc::clone(key))).collect());
            self.supervise(Supervisor { device, control, dialect, command: self.command.clone() });
        }
        let waiting = Instant::now();
        while new.iter().any(|device| device.state() == State::Starting) && waiting.elapsed() < TAKE_OVER {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let late = new.iter().filter(|device| device.state() == State::Starting);
        report.not_ready = late.map(|device| device.config.id.clone()).collect();

        for device in &members {
            device.set_settings(Arc::clone(&settings));
        }
        self.plan.store(Arc::new(Plan::new(settings, members.clone(), keys)));
        for device in &members {
            device.tell(Control::KeysChanged).await;
        }
        for old in &before.devices {
            if !members.iter().any(|member| Arc::ptr_eq(member, old)) {
                if !report.replaced.contains(&old.config.id) {
                    report.removed.push(old.config.id.clone());
                }
                tokio::spawn(retire(Arc::clone(old)));
            }
        }
        Ok(report)
    }

    /// Signs a digest with a key, on whatever device of its group can, within the deadline.
    ///
    /// # Errors
    /// See [`HsmError`]; a failed or slow device is not an error as long as another serves in time.
    pub async fn sign(&self, ask: Ask<'_>) -> Result<Signed, HsmError> {
        let plan = self.plan.load_full();
        let key = Arc::clone(&plan.entry(ask.key)?.key);
        if !key.spec.public_key.signs_with(ask.algorithm) {
            let (key, algorithm) = (ask.key.clone(), ask.algorithm.name());
            return Err(HsmError::AlgorithmMismatch { key, algorithm });
        }
        let group = key.spec.group.clone();
        let what = What::Key(Arc::clone(&key));
        self.errand(plan, ask, what, &group, &key.checker).run().await
    }

    /// Signs a digest with a key that lives outside, on whatever device of its group can unwrap it. Each signature
    /// is checked against the public key, whatever the site's output check says. `ask.key` only names it.
    ///
    /// # Errors
    /// See [`HsmError`]; [`HsmError::BadKey`] if the public key is none.
    pub async fn sign_wrapped(&self, key: &WrappedKey, ask: Ask<'_>) -> Result<Signed, HsmError> {
        let plan = self.plan.load_full();
        let bad = || HsmError::BadKey { key: ask.key.clone(), reason: "its public key is not one" };
        let checker = Checker::new(&key.public_key, &self.verifier).ok_or_else(bad)?;
        if !key.public_key.signs_with(ask.algorithm) {
            let (key, algorithm) = (ask.key.clone(), ask.algorithm.name());
            return Err(HsmError::AlgorithmMismatch { key, algorithm });
        }
        let order = Order::SignWrapped {
            blob: key.blob.clone(),
            kind: key.public_key.kind(),
            wrapping: key.wrapping.clone(),
            algorithm: ask.algorithm,
            digest: ask.digest,
        };
        self.errand(plan, ask, What::Wrapped(Arc::new(order)), &key.group, &checker).run().await
    }

    fn errand<'e>(
        &'e self,
        plan: Arc<Plan>,
        ask: Ask<'e>,
        what: What,
        group: &'e GroupId,
        checker: &'e Checker,
    ) -> Errand<'e> {
        let latest = Instant::now() + plan.settings.deadline;
        Errand {
            plans: &self.plan,
            plan,
            what,
            checker,
            caller: ask.caller,
            key: ask.key,
            group,
            algorithm: ask.algorithm,
            digest: ask.digest,
            deadline: ask.deadline.map_or(latest, |deadline| deadline.min(latest)),
        }
    }

    /// Tells one device to do something, whatever its state, and waits for `limit` at most. It is not given to
    /// another device, nor done twice.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`], [`HsmError::NotRunning`], [`HsmError::OrderFailed`];
    /// [`HsmError::DeadlineExceeded`] when it may or may not have been done.
    pub async fn order(&self, id: &DeviceId, order: Order, limit: Duration) -> Result<Answer, HsmError> {
        let device = self.device(id)?;
        let deadline = Instant::now() + limit;
        let (reply, answer) = oneshot::channel();
        let control = Control::Order { order: Box::new(order), deadline, reply };
        let not_running = || HsmError::NotRunning { device: id.clone() };
        device.control.try_send(control).map_err(|_| not_running())?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Err(_) => Err(HsmError::DeadlineExceeded { attempts: 1 }),
            Ok(Err(_)) => Err(not_running()),
            Ok(Ok(Err(OrderFailure { function, rv }))) => {
                Err(HsmError::OrderFailed { device: id.clone(), function, rv })
            }
            Ok(Ok(Ok(answer))) => Ok(answer),
        }
    }

    /// Makes a key pair that lives outside, on some device of the group that has the wrapping key.
    ///
    /// # Errors
    /// The last device's, or [`HsmError::NoDevice`].
    pub async fn generate_wrapped(
        &self,
        name: &KeyId,
        group: &GroupId,
        kind: KeyKind,
        wrapping: &[u8],
    ) -> Result<WrappedKey, HsmError> {
        let plan = self.plan.load_full();
        let mut members: Vec<_> = plan.groups.get(group).into_iter().flatten().collect();
        members.retain(|device| device.takes_work());
        fastrand::shuffle(&mut members);
        let mut last = HsmError::NoDevice { key: name.clone(), group: group.clone() };
        for device in members {
            let order = Order::GenerateWrapped { kind, wrapping: wrapping.to_vec() };
            match self.order(&device.config.id, order, plan.settings.deadline).await {
                Ok(Answer::Wrapped { blob, public_key: Some(public_key) }) => {
                    let (group, wrapping) = (group.clone(), wrapping.to_vec());
                    return Ok(WrappedKey { group, wrapping, blob, public_key });
                }
                // A pair that nobody has heard of does no harm: another device may make one.
                Ok(_) => {
                    let device = device.config.id.clone();
                    last = HsmError::WrongAnswer { device, what: "no wrapped key" };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes a device out of service: it finishes what it has and takes nothing new. Its state afterwards.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`], and [`HsmError::Quarantined`]: that one is out already.
    pub fn drain(&self, id: &DeviceId) -> Result<State, HsmError> {
        self.operate(id, Event::Drain, false)
    }

    /// Takes a device out of service as it is; what it has is answered or tried elsewhere. Its state afterwards.
    ///
    /// # Errors
    /// As [`Fleet::drain`].
    pub fn maintain(&self, id: &DeviceId) -> Result<State, HsmError> {
        self.operate(id, Event::Maintain, false)
    }

    /// Puts a drained device back: it takes work again once a signature of it verified. Its state afterwards
    /// (`down` until it is proved).
    ///
    /// # Errors
    /// As [`Fleet::drain`]: a device in quarantine comes back by [`Fleet::release`] only.
    pub fn resume(&self, id: &DeviceId) -> Result<State, HsmError> {
        self.operate(id, Event::Resume, false)
    }

    /// Ends a device's quarantine. If it has a worker, have it pass [`Fleet::self_test`] first; if it has none, its
    /// next worker proves every key before it takes work. Its state afterwards.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`].
    pub fn release(&self, id: &DeviceId) -> Result<State, HsmError> {
        self.operate(id, Event::Release, true)
    }

    fn operate(&self, id: &DeviceId, event: Event, in_quarantine_too: bool) -> Result<State, HsmError> {
        let device = self.device(id)?;
        if device.state() == State::Quarantined && !in_quarantine_too {
            return Err(HsmError::Quarantined { device: id.clone() });
        }
        device.on(event);
        Ok(device.state())
    }

    /// Gives a device a new worker, also after a PIN that was refused. What it has in flight is tried elsewhere.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`].
    pub async fn restart(&self, id: &DeviceId) -> Result<(), HsmError> {
        self.device(id)?.tell(Control::Restart).await;
        Ok(())
    }

    pub(crate) fn device(&self, id: &DeviceId) -> Result<Arc<Device>, HsmError> {
        let plan = self.plan.load();
        plan.device(id).map(Arc::clone).ok_or_else(|| HsmError::UnknownDevice { device: id.clone() })
    }

    /// How the process is started that sets a token up.
    pub(crate) fn provisioner(&self) -> WorkerCommand {
        let (program, arguments) = (self.command.program.clone(), self.command.provision.clone());
        WorkerCommand { program, arguments, provision: Vec::new() }
    }

    /// Whether a device's answer is a signature of the key over the digest, by its usual algorithm.
    pub(crate) fn is_signature(&self, spec: &KeySpec, digest: &[u8; 32], answer: &[u8]) -> bool {
        let Some(checker) = Checker::new(&spec.public_key, &self.verifier) else { return false };
        let usual = spec.public_key.algorithms()[0];
        checker.canonical(answer).is_some_and(|signature| checker.accepts(usual, digest, &signature))
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// How long a signature may take at most, over all devices.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.plan.load().settings.deadline
    }

    /// Whether some device takes work and has proved the key.
    #[must_use]
    pub fn can_serve(&self, id: &KeyId) -> bool {
        let plan = self.plan.load();
        let Some(entry) = plan.keys.get(id) else { return false };
        let able = |algorithm: &Algorithm| entry.able(*algorithm).next().is_some();
        entry.key.spec.public_key.algorithms().iter().any(able)
    }

    /// Whether some device takes work and has proved the key by this algorithm.
    #[must_use]
    pub fn can_sign(&self, id: &KeyId, algorithm: Algorithm) -> bool {
        let plan = self.plan.load();
        plan.keys.get(id).is_some_and(|entry| entry.able(algorithm).next().is_some())
    }

    /// Whether some device of the group takes work: it can sign with keys that live outside.
    #[must_use]
    pub fn can_unwrap(&self, group: &GroupId) -> bool {
        self.plan.load().able(group).next().is_some()
    }

    /// For each group how many devices take work and hold a key at least.
    #[must_use]
    pub fn usable(&self) -> BTreeMap<GroupId, usize> {
        let plan = self.plan.load();
        let usable = |device: &&Arc<Device>| {
            device.takes_work() && device.copies().iter().any(|copy| copy.state() == KeyState::Held)
        };
        let counts =
            plan.groups.iter().map(|(group, members)| (group.clone(), members.iter().filter(usable).count()));
        counts.collect()
    }

    /// Whether no device is still on its first start.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.plan.load().devices.iter().all(|device| device.state() != State::Starting)
    }
}

/// Compares the devices of each group at even intervals: one much slower than the others is asked last.
async fn watch(plans: Arc<ArcSwap<Plan>>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut plan = plans.load_full();
    let mut ejectors: BTreeMap<GroupId, Ejector> = BTreeMap::new();
    loop {
        rounds.tick().await;
        let now = plans.load_full();
        if !Arc::ptr_eq(&now, &plan) {
            // The numbers mean other devices now.
            ejectors.clear();
            now.devices.iter().for_each(|device| device.set_ejected(false));
            plan = now;
        }
        for (group, members) in &plan.groups {
            let seen = |(number, device): (usize, &Arc<Device>)| Seen {
                device: number,
                latency: device.latency(),
                samples: device.samples.load(Ordering::Relaxed),
                in_service: device.takes_work(),
            };
            let seen: Vec<_> = members.iter().enumerate().map(seen).collect();
            let ejector = ejectors.entry(group.clone()).or_insert_with(|| Ejector::new(Rules::default()));
            for change in ejector.round(&seen) {
                match change {
                    Change::Ejected(number) => members[number].set_ejected(true),
                    Change::Returned(number) => members[number].set_ejected(false),
                }
            }
        }
    }
}

fn dialects(devices: &[config::Device]) -> Result<Vec<Dialect>, HsmError> {
    devices.iter().map(|device| Dialect::shipped(&device.dialect)).collect()
}

/// Lets a device that is no longer in the plan finish what it has, then ends its worker.
async fn retire(device: Arc<Device>) {
    device.on(Event::Drain);
    let settings = device.settings();
    let longest = settings.deadline + settings.kill_after;
    let started = Instant::now();
    while device.load() > 0 && started.elapsed() < longest {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    device.tell(Control::Stop).await;
}
