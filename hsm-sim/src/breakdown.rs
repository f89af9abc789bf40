//! What faults do to the module: everything a fault file can command happens here, before a call is done or to its
//! result. Nothing here holds a lock while it waits.

use std::{collections::BTreeMap, sync::Arc};

use cryptoki_sys::*;

use crate::{
    crypto::operate,
    error::{Error, Result},
    fault::{Action, Breakdown, Fault, Moment},
    function::{self, Function},
    mechanism::Usage,
    module::Module,
    object::Object,
    session::{Operation, Session},
    slot::Slot,
};

/// One call, as faults see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    function: Function,
    session: Option<CK_SESSION_HANDLE>,
    objects: &'a [CK_OBJECT_HANDLE],
}

impl<'a> Visit<'a> {
    /// A call outside of any session.
    pub(crate) fn new(function: Function) -> Self {
        Self { function, session: None, objects: &[] }
    }

    /// A call in a session.
    pub(crate) fn in_session(function: Function, session: CK_SESSION_HANDLE) -> Self {
        Self { function, session: Some(session), objects: &[] }
    }

    /// The same call with the objects it names.
    pub(crate) fn on(self, objects: &'a [CK_OBJECT_HANDLE]) -> Self {
        Self { objects, ..self }
    }
}

impl Module {
    /// What happens before a call is done; an error is the call's answer, and ends the operation it went on with.
    pub(crate) fn enter(&self, visit: &Visit<'_>) -> std::result::Result<(), CK_RV> {
        let outcome = self.undergo(visit);
        if outcome.is_err_and(|rv| rv != CKR_BUFFER_TOO_SMALL)
            && let (Some(session), Some(usage)) = (self.session_of(visit), usage(visit.function))
        {
            session.cancel(usage);
        }
        outcome
    }

    fn undergo(&self, visit: &Visit<'_>) -> std::result::Result<(), CK_RV> {
        let breakdown = self.faults.current();
        if visit.function.crosses_network() {
            self.faults.reach(&breakdown)?;
        }
        for fault in &breakdown.faults {
            let moment = fault.entry.action.moment();
            let begins = moment == Moment::Before || moment == Moment::FromThenOn && !fault.stands();
            if begins && self.concerns(fault, visit) && fault.strikes() {
                self.strike(fault, visit)?;
            }
        }
        self.bear(&breakdown, visit)?;
        Ok(())
    }

    /// What happens after a call.
    pub(crate) fn leave(&self, visit: &Visit<'_>) {
        if let Some(session) = self.session_of(visit) {
            session.touch();
        }
    }

    fn session_of(&self, visit: &Visit<'_>) -> Option<Arc<Session>> {
        self.session(visit.session?).ok()
    }

    fn concerns(&self, fault: &Fault, visit: &Visit<'_>) -> bool {
        let ids = || self.objects_of(visit).iter().map(|object| object.id().to_vec()).collect();
        let idle = match fault.entry.action {
            Action::IdleDrop { after, .. } => {
                self.session_of(visit).is_some_and(|session| session.idle() >= after)
            }
            _ => true,
        };
        idle && fault.concerns(visit.function, visit.session, ids)
    }

    /// The objects a call names, or the key of the operation it goes on with.
    fn objects_of(&self, visit: &Visit<'_>) -> Vec<Arc<Object>> {
        let Some(session) = self.session_of(visit) else { return Vec::new() };
        if !visit.objects.is_empty() {
            return visit.objects.iter().filter_map(|handle| session.slot.object(*handle)).collect();
        }
        usage(visit.function).and_then(|usage| session.object_in_work(usage)).into_iter().collect()
    }

    fn strike(&self, fault: &Fault, visit: &Visit<'_>) -> std::result::Result<(), CK_RV> {
        match &fault.entry.action {
            Action::VanishKey(_) | Action::RemoveToken | Action::RenumberSlots => fault.begin(),
            Action::DropSession | Action::IdleDrop { hang: false, .. } => self.drop_session(visit),
            Action::IdleDrop { hang: true, .. } => self.faults.hang(&fault.entry, None),
            Action::LoseSessions => self.slots().for_each(|slot| self.close_sessions(slot)),
            Action::LoseLogin => {
                if let Some(session) = self.session_of(visit) {
                    self.lose_login(&session.slot);
                }
            }
            Action::ReuseHandles => self.slots().for_each(|slot| slot.swap_handles()),
            _ => self.faults.strike(&fault.entry)?,
        }
        Ok(())
    }

    fn drop_session(&self, visit: &Visit<'_>) {
        if let Some(session) = visit.session {
            // A session that is no more cannot be dropped, which comes to the same.
            let _ = self.close_session(session);
        }
    }

    fn lose_login(&self, slot: &Slot) {
        if self.log_out(slot).is_ok() {
            slot.set_login_lost();
        }
    }

    /// Refuses what standing faults and a lost login make impossible.
    fn bear(&self, breakdown: &Breakdown, visit: &Visit<'_>) -> Result<()> {
        for fault in breakdown.standing() {
            match &fault.entry.action {
                Action::RemoveToken => {
                    if fault.first_notice() {
                        self.slots().for_each(|slot| self.close_sessions(slot));
                    }
                    if function::SESSION.contains(visit.function) {
                        return Err(Error::DeviceRemoved);
                    }
                    if function::TOKEN.contains(visit.function) {
                        return Err(Error::TokenNotPresent);
                    }
                }
                Action::VanishKey(id) if self.objects_of(visit).iter().any(|object| object.id() == id) => {
                    let as_object = function::OBJECT.contains(visit.function);
                    return Err(if as_object { Error::ObjectHandleInvalid } else { Error::KeyHandleInvalid });
                }
                _ => {}
            }
        }
        let needs_login = function::PRIVATE_KEY.contains(visit.function);
        if needs_login && self.session_of(visit).is_some_and(|session| session.slot.login_is_lost()) {
            return Err(Error::UserNotLoggedIn);
        }
        Ok(())
    }

    /// What is found, without what has vanished.
    pub(crate) fn without_vanished(
        &self,
        slot: &Slot,
        mut found: Vec<CK_OBJECT_HANDLE>,
    ) -> Vec<CK_OBJECT_HANDLE> {
        for fault in self.faults.current().standing() {
            if let Action::VanishKey(id) = &fault.entry.action {
                found.retain(|handle| slot.object(*handle).is_none_or(|object| object.id() != id));
            }
        }
        found
    }

    /// Whether the tokens are in their slots.
    pub fn tokens_are_present(&self) -> bool {
        !self.faults.current().standing().any(|fault| fault.entry.action == Action::RemoveToken)
    }

    /// What is added to every slot's number.
    pub(crate) fn slot_shift(&self) -> CK_SLOT_ID {
        let renumbered =
            self.faults.current().standing().any(|fault| fault.entry.action == Action::RenumberSlots);
        CK_SLOT_ID::from(renumbered)
    }

    /// Whether an operation that is over stays active.
    pub(crate) fn stays_active(&self, function: Function, session: &Session, operation: &Operation) -> bool {
        self.faults.current().faults.iter().any(|fault| {
            fault.entry.action.moment() == Moment::End
                && fault.concerns(function, Some(session.handle), || operation.key_ids())
                && fault.strikes()
        })
    }

    /// An operation's result, spoilt as commanded; `compute` gives the result for an input.
    pub(crate) fn spoil(
        &self,
        function: Function,
        session: &Session,
        operation: &Operation,
        data: &[u8],
        compute: impl Fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut octets = compute(data)?;
        for fault in &self.faults.current().faults {
            let action = &fault.entry.action;
            let needs_der = matches!(action, Action::MalformedDer | Action::NegativeInteger);
            if action.moment() != Moment::Result
                || needs_der && !operation.call.mechanism.signs_in_der()
                || !fault.concerns(function, Some(session.handle), || operation.key_ids())
                || !fault.strikes()
            {
                continue;
            }
            match action {
                Action::WrongSignature => octets = compute(&altered(data))?,
                Action::FlipBit => octets.iter_mut().last().into_iter().for_each(|octet| *octet ^= 1),
                Action::Truncate => drop(octets.pop()),
                Action::MalformedDer => octets.iter_mut().skip(1).take(1).for_each(|len| *len += 1),
                Action::NegativeInteger => {
                    let object = operation.object.as_ref().ok_or(Error::GeneralError)?;
                    octets = operate::sign_with_negative_integer(&operation.call, object.key()?, data)?;
                }
                _ => {}
            }
        }
        Ok(octets)
    }
}

/// Another input of the same length, unless it is empty.
fn altered(data: &[u8]) -> Vec<u8> {
    let mut altered = data.to_vec();
    match altered.last_mut() {
        Some(last) => *last ^= 1,
        None => altered.push(0),
    }
    altered
}

/// The kind of operation a function goes on with.
fn usage(function: Function) -> Option<Usage> {
    use Function::*;
    match function {
        Sign | SignUpdate | SignFinal => Some(Usage::Sign),
        Verify | VerifyUpdate | VerifyFinal => Some(Usage::Verify),
        Encrypt | EncryptUpdate | EncryptFinal => Some(Usage::Encrypt),
        Decrypt | DecryptUpdate | DecryptFinal => Some(Usage::Decrypt),
        Digest | DigestUpdate | DigestFinal => Some(Usage::Digest),
        _ => None,
    }
}

impl Slot {
    /// Lets the keys of a kind swap their handles, each taking its neighbour's.
    fn swap_handles(&self) {
        self.rearrange(|objects| {
            let mut groups: BTreeMap<_, Vec<CK_OBJECT_HANDLE>> = BTreeMap::new();
            for (handle, object) in objects.iter().filter(|(_, object)| object.kind().is_some()) {
                let group = (object.class(), object.attributes().number(CKA_KEY_TYPE));
                groups.entry(group).or_default().push(*handle);
            }
            for handles in groups.into_values() {
                for pair in handles.windows(2) {
                    let [one, other] = [pair[0], pair[1]].map(|handle| objects.get(&handle).cloned());
                    if let (Some(one), Some(other)) = (one, other) {
                        objects.insert(pair[0], other);
                        objects.insert(pair[1], one);
                    }
                }
            }
        });
    }
}
