//! What a reload may change, as one immutable value: the devices, the walls between them, the keys and the limits.
//! Requests take the plan that holds when they begin an attempt; a new one takes its place whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::Instant;

use config::{DeviceId, GroupId, KeyId};
use sm2_verify::Verifier;

use crate::budget::{BudgetSize, RetryBudget};
use crate::device::{Device, KeyState};
use crate::error::HsmError;
use crate::key::{Algorithm, Checker, KeySpec};

/// A key of the site and what checks its signatures.
pub(crate) struct Key {
    pub(crate) spec: KeySpec,
    pub(crate) checker: Checker,
}

/// What one device makes of a key.
pub(crate) struct Copy {
    pub(crate) key: Arc<Key>,
    state: AtomicU8,
    /// The algorithms proved, as `Algorithm::bit` has them.
    proved: AtomicU8,
    /// The key's number in the present worker's list; [`UNNUMBERED`] while it has none.
    number: AtomicU16,
    /// Algorithms whose proof is on its way.
    awaited: AtomicU8,
}

const UNNUMBERED: u16 = u16::MAX;

const KEY_STATES: [KeyState; 5] =
    [KeyState::Unknown, KeyState::Held, KeyState::Missing, KeyState::Different, KeyState::Unusable];

impl Copy {
    pub(crate) fn new(key: Arc<Key>) -> Arc<Self> {
        let (state, proved, number) = (AtomicU8::new(0), AtomicU8::new(0), AtomicU16::new(UNNUMBERED));
        Arc::new(Self { key, state, proved, number, awaited: AtomicU8::new(0) })
    }

    pub(crate) fn state(&self) -> KeyState {
        let index = usize::from(self.state.load(Ordering::Acquire));
        KEY_STATES.get(index).copied().unwrap_or(KeyState::Unknown)
    }

    pub(crate) fn set_state(&self, state: KeyState) {
        let index = KEY_STATES.iter().position(|s| *s == state).unwrap_or_default();
        self.state.store(u8::try_from(index).unwrap_or_default(), Ordering::Release);
    }

    /// Whether the device proved that it signs with the key by this algorithm, and nothing speaks against it.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        self.state() == KeyState::Held && self.proved.load(Ordering::Acquire) & algorithm.bit() != 0
    }

    /// Takes note of a good signature. The key is held as soon as no other proof of it is on its way: one that is
    /// said to be held serves every algorithm it is ever going to.
    pub(crate) fn set_proved(&self, algorithm: Algorithm) {
        self.proved.fetch_or(algorithm.bit(), Ordering::AcqRel);
        if self.awaited.load(Ordering::Acquire) & !algorithm.bit() == 0 {
            self.set_state(KeyState::Held);
        }
    }

    /// Takes note that the device is asked to prove itself by these.
    pub(crate) fn set_awaited(&self, algorithms: &[Algorithm]) {
        self.awaited.store(algorithms.iter().fold(0, |bits, a| bits | a.bit()), Ordering::Release);
    }

    /// Takes note that a proof was answered, well or not; call it after what the answer says was taken note of.
    pub(crate) fn set_answered(&self, algorithm: Algorithm) {
        let before = self.awaited.fetch_and(!algorithm.bit(), Ordering::AcqRel);
        let last = before == algorithm.bit();
        if last && self.state() == KeyState::Unusable && self.proved.load(Ordering::Acquire) != 0 {
            self.set_state(KeyState::Held);
        }
    }

    /// Forgets what a former worker proved, and under which number it knew the key.
    pub(crate) fn forget(&self) {
        self.proved.store(0, Ordering::Release);
        self.awaited.store(0, Ordering::Release);
        self.number.store(UNNUMBERED, Ordering::Release);
    }

    pub(crate) fn number(&self) -> Option<u16> {
        Some(self.number.load(Ordering::Acquire)).filter(|number| *number != UNNUMBERED)
    }

    pub(crate) fn set_number(&self, number: u16) {
        self.number.store(number, Ordering::Release);
    }
}

/// A device that is to hold a key.
pub(crate) struct Holder {
    pub(crate) device: Arc<Device>,
    pub(crate) copy: Arc<Copy>,
}

/// A key and everybody who is to hold it.
pub(crate) struct Entry {
    pub(crate) key: Arc<Key>,
    pub(crate) holders: Vec<Holder>,
}

pub(crate) struct Plan {
    pub(crate) settings: Arc<config::Fleet>,
    /// In the site's order.
    pub(crate) devices: Vec<Arc<Device>>,
    pub(crate) groups: BTreeMap<GroupId, Vec<Arc<Device>>>,
    budgets: BTreeMap<GroupId, Arc<RetryBudget>>,
    /// For keys of a group that has no device.
    no_budget: Arc<RetryBudget>,
    pub(crate) keys: HashMap<KeyId, Entry>,
}

impl Entry {
    /// Who can sign with it by this algorithm now, with their numbers.
    pub(crate) fn able(&self, algorithm: Algorithm) -> impl Iterator<Item = (usize, &Holder)> {
        let able = move |holder: &Holder| holder.device.takes_work() && holder.copy.serves(algorithm);
        self.holders.iter().enumerate().filter(move |(_, holder)| able(holder))
    }
}

impl Plan {
    /// The devices of a group that can sign with keys from outside now, with their numbers: whatever keys of the site they
    /// have.
    pub(crate) fn able(&self, group: &GroupId) -> impl Iterator<Item = (usize, &Arc<Device>)> {
        let members = self.groups.get(group).map_or(&[][..], Vec::as_slice);
        members.iter().enumerate().filter(|(_, device)| device.takes_work())
    }

    /// Ties devices and keys together; what a device is known to make of a key stays known.
    pub(crate) fn new(settings: Arc<config::Fleet>, devices: Vec<Arc<Device>>, keys: Vec<Arc<Key>>) -> Self {
        let mut groups: BTreeMap<GroupId, Vec<Arc<Device>>> = BTreeMap::new();
        for device in &devices {
            groups.entry(device.config.group.clone()).or_default().push(Arc::clone(device));
            let before = device.copies();
            let of = |key: &Arc<Key>| {
                let known = before.iter().find(|copy| Arc::ptr_eq(&copy.key, key));
                known.map_or_else(|| Copy::new(Arc::clone(key)), Arc::clone)
            };
            let mine = keys.iter().filter(|key| key.spec.belongs_on(&device.config));
            device.set_copies(mine.map(of).collect());
        }
        let entry = |key: Arc<Key>| {
            let holder = |device: &Arc<Device>| {
                let copies = device.copies();
                let copy = copies.iter().find(|copy| Arc::ptr_eq(&copy.key, &key)).map(Arc::clone)?;
                Some(Holder { device: Arc::clone(device), copy })
            };
            let holders = devices.iter().filter_map(holder).collect();
            (key.spec.id.clone(), Entry { key, holders })
        };
        let keys = keys.into_iter().map(entry).collect();
        let size = BudgetSize { ratio: f64::from(settings.retry_percent) / 100.0, ..BudgetSize::default() };
        let budget = |size| Arc::new(RetryBudget::new(size, Instant::now()));
        let budgets = groups.keys().map(|group| (group.clone(), budget(size))).collect();
        Self { settings, devices, groups, budgets, no_budget: budget(size), keys }
    }

    /// A group's retries.
    pub(crate) fn budget(&self, group: &GroupId) -> Arc<RetryBudget> {
        Arc::clone(self.budgets.get(group).unwrap_or(&self.no_budget))
    }

    pub(crate) fn device(&self, id: &DeviceId) -> Option<&Arc<Device>> {
        self.devices.iter().find(|device| device.config.id == *id)
    }

    pub(crate) fn entry(&self, id: &KeyId) -> Result<&Entry, HsmError> {
        self.keys.get(id).ok_or_else(|| HsmError::UnknownKey { key: id.clone() })
    }

    /// Makes keys ready for use; one that is the same as before stays the same object, and with it everything
    /// known of it.
    pub(crate) fn ready_keys(
        specs: Vec<KeySpec>,
        before: Option<&Plan>,
        verifier: &Arc<Verifier>,
    ) -> Result<Vec<Arc<Key>>, HsmError> {
        let mut keys: Vec<Arc<Key>> = Vec::with_capacity(specs.len());
        let mut seen = std::collections::HashSet::new();
        for spec in specs {
            let bad = |reason| HsmError::BadKey { key: spec.id.clone(), reason };
            if !seen.insert(spec.id.clone()) {
                return Err(bad("declared twice"));
            }
            let known = before.and_then(|plan| plan.keys.get(&spec.id)).map(|entry| &entry.key);
            keys.push(match known.filter(|key| key.spec == spec) {
                Some(same) => Arc::clone(same),
                None => {
                    let checker = Checker::new(&spec.public_key, verifier);
                    let checker = checker.ok_or_else(|| bad("its public key is not one"))?;
                    Arc::new(Key { spec, checker })
                }
            });
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use p256::elliptic_curve::sec1::ToSec1Point;

    use super::*;
    use crate::key::PublicKey;

    fn copy() -> Arc<Copy> {
        let base = p256::AffinePoint::GENERATOR.to_sec1_point(false);
        let public_key = PublicKey::P256(base.as_bytes().to_vec());
        let verifier = Arc::new(Verifier::new(sm2_verify::VerifierOptions::default()));
        let checker = Checker::new(&public_key, &verifier).expect("the base point is one");
        let (id, group) = (KeyId::parse("k").expect("an id"), GroupId::parse("g").expect("an id"));
        let spec = KeySpec { id, group, cka_id: vec![1], public_key, devices: None };
        let copy = Copy::new(Arc::new(Key { spec, checker }));
        copy.set_state(KeyState::Unusable); // found, and not proved yet
        copy
    }

    #[test]
    fn a_key_is_held_when_the_last_of_its_proofs_was_answered_and_one_was_good() {
        let both = [Algorithm::RsaPkcs1, Algorithm::RsaPss];
        for [first, last] in [both, [both[1], both[0]]] {
            let copy = copy();
            copy.set_awaited(&both);
            copy.set_proved(first);
            copy.set_answered(first);
            assert_eq!(copy.state(), KeyState::Unusable, "a caller may ask for the other one at once");
            copy.set_proved(last);
            copy.set_answered(last);
            assert!(copy.serves(first) && copy.serves(last));
        }
    }

    #[test]
    fn an_algorithm_that_a_device_refuses_keeps_no_key_back() {
        let both = [Algorithm::RsaPkcs1, Algorithm::RsaPss];
        for [good, refused] in [both, [both[1], both[0]]] {
            for refused_first in [false, true] {
                let copy = copy();
                copy.set_awaited(&both);
                if refused_first {
                    copy.set_answered(refused);
                }
                copy.set_proved(good);
                copy.set_answered(good);
                copy.set_answered(refused);
                assert!(copy.serves(good) && !copy.serves(refused));
            }
        }
        let copy = copy();
        copy.set_awaited(&both);
        copy.set_answered(both[0]);
        copy.set_answered(both[1]);
        assert_eq!(copy.state(), KeyState::Unusable, "nothing was proved");
    }
}
