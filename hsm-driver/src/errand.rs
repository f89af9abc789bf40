//! One signature wanted, over as many attempts as it takes: which device, for how long, and what a failure means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use config::{AppId, GroupId, KeyId, OutputCheck};
use tracing::{Instrument, warn};

use crate::device::{Device, KeyState, Task};
use crate::error::{AttemptError, Blame, HsmError};
use crate::fleet::Signed;
use crate::health::Event;
use crate::key::{Algorithm, Checker};
use crate::order::Order;
use crate::plan::{Entry, Key, Plan};
use crate::route::{Candidate, choose};

/// A device with requests waiting that answers none of them for so long is held to be hung.
const SILENT: Duration = Duration::from_millis(250);
/// How long it waits, once, when every device was asked: a worker that was lost is back within milliseconds.
const SECOND_ROUND: Duration = Duration::from_millis(20);

/// What signs.
pub(crate) enum What {
    /// A key that devices hold.
    Key(Arc<Key>),
    /// A key that lives outside: whoever unwraps it can sign.
    Wrapped(Arc<Order>),
}

/// What is wanted, for whom, until when.
pub(crate) struct Errand<'e> {
    pub(crate) plans: &'e ArcSwap<Plan>,
    /// The plan it began with.
    pub(crate) plan: Arc<Plan>,
    pub(crate) what: What,
    pub(crate) checker: &'e Checker,
    pub(crate) caller: &'e AppId,
    /// The key, as errors name it.
    pub(crate) key: &'e KeyId,
    pub(crate) group: &'e GroupId,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
    pub(crate) deadline: Instant,
}

/// One attempt: a device and what it is asked.
struct Attempt {
    device: Arc<Device>,
    task: Task,
}

impl Errand<'_> {
    /// Asks one device after the other until a checked signature is there, the deadline is over, nobody is left to
    /// ask, or too much has been asked twice of late.
    pub(crate) async fn run(self) -> Result<Signed, HsmError> {
        let mut tried: Vec<Arc<Device>> = Vec::new();
        let (mut attempts, mut second_round, mut all_full) = (0, false, true);
        let mut cannot = None;
        let mut last_was_full = false;
        let budget = self.plan.budget(self.group);
        budget.deposit();
        loop {
            let Some(attempt) = self.choose(&tried) else {
                if tried.is_empty() || second_round || cannot.is_some() {
                    break;
                }
                second_round = true;
                tried.clear();
                tokio::time::sleep(SECOND_ROUND).await;
                continue;
            };
            let now = Instant::now();
            if now >= self.deadline {
                return Err(HsmError::DeadlineExceeded { attempts });
            }
            // A full queue cost no device anything.
            if attempts > 0 && !last_was_full && !budget.withdraw(now) {
                return Err(HsmError::RetriesExhausted { group: self.group.clone() });
            }
            attempts += 1;
            let settings = attempt.device.settings();
            let (device, result) = match settings.hedge_after {
                Some(patience) => self.hedged(attempt, patience, &tried).await,
                None => (Arc::clone(&attempt.device), self.attempt(&attempt).await),
            };
            match result {
                Ok(signature) => {
                    device.note_success();
                    return Ok(Signed { signature, device: device.config.id.clone(), attempts });
                }
                Err(error) => {
                    if let AttemptError::Call { function, rv } = &error
                        && matches!(rv.blame(), Blame::Request | Blame::Algorithm)
                    {
                        let (device, function) = (device.config.id.clone(), function.clone().into_owned());
                        cannot = Some(HsmError::Refused { device, function, rv: *rv });
                    }
                    if !error.retry() {
                        break;
                    }
                    last_was_full = error == AttemptError::QueueFull;
                    all_full &= last_was_full;
                    tried.push(device);
                }
            }
        }
        if let Some(cannot) = cannot {
            Err(cannot)
        } else if Instant::now() >= self.deadline {
            Err(HsmError::DeadlineExceeded { attempts })
        } else if attempts > 0 && all_full {
            Err(HsmError::Overloaded { group: self.group.clone() })
        } else {
            Err(HsmError::NoDevice { key: self.key.clone(), group: self.group.clone() })
        }
    }

    /// One of the devices that could serve and were not asked yet, by what is known of them now.
    fn choose(&self, tried: &[Arc<Device>]) -> Option<Attempt> {
        let plan = self.plans.load();
        let fit = |device: &Arc<Device>| !tried.iter().any(|other| Arc::ptr_eq(other, device));
        match &self.what {
            What::Key(key) => {
                let entry = self.entry(&plan, key)?;
                let able = entry.able(self.algorithm).filter(|(_, holder)| fit(&holder.device));
                let holder = &entry.holders[pick(able.map(|(at, holder)| (at, &holder.device)))?];
                let (copy, algorithm, digest) = (Arc::clone(&holder.copy), self.algorithm, self.digest);
                let task = Task::Sign { copy, algorithm, digest };
                Some(Attempt { device: Arc::clone(&holder.device), task })
            }
            What::Wrapped(order) => {
                let able = plan.able(self.group).filter(|(_, device)| fit(device));
                let device = &plan.groups.get(self.group)?[pick(able)?];
                Some(Attempt { device: Arc::clone(device), task: Task::Order(Arc::clone(order)) })
            }
        }
    }

    /// The key's present holders; those it had at the beginning if the name means another key by now.
    fn entry<'p>(&'p self, now: &'p Plan, key: &Arc<Key>) -> Option<&'p Entry> {
        let of = |plan: &'p Plan| plan.keys.get(self.key).filter(|entry| Arc::ptr_eq(&entry.key, key));
        of(now).or_else(|| of(&self.plan))
    }

    /// min(deadline / 3, max(50 ms, 10 × what the device's slow answers took lately)).
    fn until(&self, device: &Device) -> Instant {
        let usual = (device.peak() * 10).max(Duration::from_millis(50));
        self.deadline.min(Instant::now() + usual.min(device.settings().deadline / 3))
    }

    /// Asks a second device when the first takes its time, and takes what comes first. A signature is harmless to
    /// make twice. Who lost is the device in the answer only if both failed.
    async fn hedged(
        &self,
        first: Attempt,
        patience: Duration,
        tried: &[Arc<Device>],
    ) -> (Arc<Device>, Result<Vec<u8>, AttemptError>) {
        let one = self.attempt(&first);
        tokio::pin!(one);
        let waited = tokio::time::timeout(patience, &mut one).await;
        if let Ok(result) = waited {
            return (Arc::clone(&first.device), result);
        }
        let mut asked = tried.to_vec();
        asked.push(Arc::clone(&first.device));
        let second = self.choose(&asked).filter(|_| self.plan.budget(self.group).withdraw(Instant::now()));
        let Some(second) = second else {
            return (Arc::clone(&first.device), one.await);
        };
        let other = self.attempt(&second);
        tokio::pin!(other);
        let (quick, result) = tokio::select! {
            result = &mut one => (&first, result),
            result = &mut other => (&second, result),
        };
        if result.is_ok() {
            let slow = if std::ptr::eq(quick, &first) { &second } else { &first };
            if slow.device.silent_for() >= SILENT {
                slow.device.note_failure(&AttemptError::TimedOut, Some(Event::Failure));
            }
            return (Arc::clone(&quick.device), result);
        }
        if std::ptr::eq(quick, &first) {
            (Arc::clone(&second.device), other.await)
        } else {
            (Arc::clone(&first.device), one.await)
        }
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<Vec<u8>, AttemptError> {
        let span = tracing::debug_span!("device.attempt", device = %attempt.device.config.id);
        self.attempted(attempt).instrument(span).await
    }

    async fn attempted(&self, attempt: &Attempt) -> Result<Vec<u8>, AttemptError> {
        let device = &attempt.device;
        let until = self.until(device);
        let outcome = match device.submit(self.caller, attempt.task.clone(), until) {
            Err(error) => Err(error),
            Ok(answer) => match tokio::time::timeout_at(until.into(), answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(AttemptError::WorkerLost),
                Err(_) => Err(AttemptError::TimedOut),
            },
        };
        let outcome = outcome.and_then(|answer| self.check(device, &answer));
        if let Err(error) = &outcome {
            warn!(device = %device.config.id, %error, "attempt failed");
            device.note_failure(error, self.verdict(attempt, error));
        }
        outcome
    }

    fn check(&self, device: &Device, answer: &[u8]) -> Result<Vec<u8>, AttemptError> {
        let signature = self.checker.canonical(answer).ok_or(AttemptError::WrongResult)?;
        // Every key of a device proved itself by every algorithm when its worker came up, so first uses are
        // covered; an unwrapped key is compared with its public half by this check alone.
        let may_skip =
            device.settings().output_check == OutputCheck::FirstUse && matches!(self.what, What::Key(_));
        let good = may_skip || self.checker.accepts(self.algorithm, &self.digest, &signature);
        if good { Ok(signature) } else { Err(AttemptError::WrongResult) }
    }

    /// What a failed attempt says of the device's health.
    fn verdict(&self, attempt: &Attempt, error: &AttemptError) -> Option<Event> {
        let device = &attempt.device;
        match error {
            // A wrong signature by a key from outside may be the wrapped form's fault: it has no proof of its own.
            AttemptError::WrongResult => {
                Some(if matches!(self.what, What::Key(_)) { Event::WrongResult } else { Event::Failure })
            }
            // Late is not dead: a host that is short of processors makes every device late at once. What counts
            // is that nothing at all comes back; lateness shows in the load and in the timeouts.
            AttemptError::TimedOut => (device.silent_for() >= SILENT).then_some(Event::Failure),
            AttemptError::Call { rv, .. } => match rv.blame() {
                Blame::Device => Some(Event::Failure),
                Blame::Busy => device.note_busy(),
                Blame::Key => {
                    if let Task::Sign { copy, .. } = &attempt.task {
                        // Not asked for this key again until the supervisor's probe finds it back.
                        copy.set_state(KeyState::Missing);
                    }
                    None
                }
                Blame::Algorithm | Blame::Request => None,
            },
            // The supervisor knows about a lost worker; a full queue speaks for the load, not the device.
            AttemptError::WorkerLost | AttemptError::QueueFull => None,
        }
    }
}

/// One of the devices, by their numbers; one that is much slower than its group only if there is no other.
fn pick<'d>(able: impl Iterator<Item = (usize, &'d Arc<Device>)>) -> Option<usize> {
    let (mut candidates, mut slow) = (Vec::new(), Vec::new());
    for (at, device) in able {
        let candidate = Candidate {
            device: at,
            load: device.load(),
            latency: device.latency(),
            lanes: device.lanes(),
            share: device.share(),
        };
        if device.is_ejected() { slow.push(candidate) } else { candidates.push(candidate) }
    }
    choose(if candidates.is_empty() { &slow } else { &candidates }, fastrand::f64)
}
