//! Sessions and what is under way in them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    lock::lock,
    mechanism::{Call, Usage},
    object::Object,
    slot::{Login, Slot},
};

/// The most octets a multi-part operation gathers.
const MOST_GATHERED: usize = 64 << 20;

/// An operation begun by an `…Init` call.
pub(crate) struct Operation {
    pub(crate) call: Call,
    /// None for digests.
    pub(crate) object: Option<Arc<Object>>,
    /// The parts so far.
    gathered: Zeroizing<Vec<u8>>,
    /// Whether an `…Update` came, after which only `…Final` may.
    in_parts: bool,
}

impl Operation {
    pub(crate) fn new(call: Call, object: Option<Arc<Object>>) -> Self {
        Self { call, object, gathered: Zeroizing::new(Vec::new()), in_parts: false }
    }

    /// The `CKA_ID` of the key, if there is one.
    pub(crate) fn key_ids(&self) -> Vec<Vec<u8>> {
        self.object.iter().map(|object| object.id().to_vec()).collect()
    }
}

/// The input of the last call of an operation.
pub(crate) enum Input<'a> {
    /// All of it at once: `C_Sign`.
    Whole(&'a [u8]),
    /// The parts given before: `C_SignFinal`.
    Parts,
}

impl Input<'_> {
    /// The octets to process; refuses to mix the two ways.
    pub(crate) fn octets<'o>(&'o self, operation: &'o Operation) -> Result<&'o [u8]> {
        match self {
            Input::Whole(_) if operation.in_parts => Err(Error::OperationActive),
            Input::Whole(octets) => Ok(octets),
            Input::Parts => Ok(&operation.gathered),
        }
    }
}

#[derive(Default)]
struct Work {
    search: Option<std::vec::IntoIter<CK_OBJECT_HANDLE>>,
    sign: Option<Operation>,
    verify: Option<Operation>,
    encrypt: Option<Operation>,
    decrypt: Option<Operation>,
    digest: Option<Operation>,
}

impl Work {
    fn of(&mut self, usage: Usage) -> &mut Option<Operation> {
        match usage {
            Usage::Sign => &mut self.sign,
            Usage::Verify => &mut self.verify,
            Usage::Encrypt => &mut self.encrypt,
            Usage::Decrypt => &mut self.decrypt,
            _ => &mut self.digest,
        }
    }
}

/// An open session.
pub(crate) struct Session {
    pub(crate) handle: CK_SESSION_HANDLE,
    pub(crate) slot: Arc<Slot>,
    pub(crate) read_write: bool,
    opened: Instant,
    /// Microseconds after `opened` when the last call ended.
    last_used: AtomicU64,
    work: Mutex<Work>,
}

impl Session {
    pub(crate) fn new(handle: CK_SESSION_HANDLE, slot: Arc<Slot>, read_write: bool) -> Self {
        Self {
            handle,
            slot,
            read_write,
            opened: Instant::now(),
            last_used: AtomicU64::new(0),
            work: Mutex::default(),
        }
    }

    /// Notes that the session was used.
    pub(crate) fn touch(&self) {
        self.last_used.store(self.opened.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// How long ago it was used.
    pub(crate) fn idle(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_micros(self.last_used.load(Ordering::Relaxed)))
    }

    /// The key that an operation under way works with.
    pub(crate) fn object_in_work(&self, usage: Usage) -> Option<Arc<Object>> {
        lock(&self.work).of(usage).as_ref()?.object.clone()
    }

    /// The `CKS_` state.
    pub(crate) fn state(&self) -> CK_STATE {
        match (self.slot.login(), self.read_write) {
            (Login::Nobody, false) => CKS_RO_PUBLIC_SESSION,
            (Login::Nobody, true) => CKS_RW_PUBLIC_SESSION,
            (Login::User(_), false) => CKS_RO_USER_FUNCTIONS,
            (Login::User(_), true) => CKS_RW_USER_FUNCTIONS,
            (Login::SecurityOfficer(_), _) => CKS_RW_SO_FUNCTIONS,
        }
    }

    /// Ends everything under way.
    pub(crate) fn abandon(&self) {
        *lock(&self.work) = Work::default();
    }

    /// Refuses to begin a second operation of a kind.
    pub(crate) fn check_idle(&self, usage: Usage) -> Result<()> {
        if lock(&self.work).of(usage).is_some() { Err(Error::OperationActive) } else { Ok(()) }
    }

    /// Begins an operation.
    pub(crate) fn begin(&self, usage: Usage, operation: Operation) -> Result<()> {
        let mut work = lock(&self.work);
        let place = work.of(usage);
        if place.is_some() {
            return Err(Error::OperationActive);
        }
        *place = Some(operation);
        Ok(())
    }

    /// Ends an operation without a result, if there is one.
    pub(crate) fn cancel(&self, usage: Usage) {
        *lock(&self.work).of(usage) = None;
    }

    /// Adds a part to an operation; one that grows beyond the bound ends.
    pub(crate) fn gather(&self, usage: Usage, part: &[u8]) -> Result<()> {
        let mut work = lock(&self.work);
        let place = work.of(usage);
        let operation = place.as_mut().ok_or(Error::OperationNotInitialized)?;
        if operation.gathered.len() + part.len() > MOST_GATHERED {
            *place = None;
            return Err(Error::DataLenRange);
        }
        operation.in_parts = true;
        operation.gathered.extend_from_slice(part);
        Ok(())
    }

    /// Takes an operation out, so that the work on it holds no lock. Whoever only asked for a length puts it back.
    pub(crate) fn take(&self, usage: Usage) -> Result<Operation> {
        lock(&self.work).of(usage).take().ok_or(Error::OperationNotInitialized)
    }

    /// Puts a taken operation back.
    pub(crate) fn put_back(&self, usage: Usage, operation: Operation) {
        lock(&self.work).of(usage).get_or_insert(operation);
    }

    /// Begins a search with its result.
    pub(crate) fn begin_search(&self, found: Vec<CK_OBJECT_HANDLE>) -> Result<()> {
        let mut work = lock(&self.work);
        if work.search.is_some() {
            return Err(Error::OperationActive);
        }
        work.search = Some(found.into_iter());
        Ok(())
    }

    /// The next handles of a search.
    pub(crate) fn continue_search(&self, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut work = lock(&self.work);
        let search = work.search.as_mut().ok_or(Error::OperationNotInitialized)?;
        Ok(search.take(most).collect())
    }

    /// Ends a search.
    pub(crate) fn end_search(&self) -> Result<()> {
        lock(&self.work).search.take().map(drop).ok_or(Error::OperationNotInitialized)
    }
}
