//! A lane: one thread, one PKCS#11 session, its cached key handles.
//!
//! Invariants: the session is used by this thread alone from open to close; a handle found in one session is
//! never used in the next; no lock is held across a C call.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cryptoki_sys as sys;
use lru::LruCache;

use super::module::{Call, Class, Mechanism, Module, ObjectHandle, SessionHandle, Slot};
use crate::dialect::Dialect;
use crate::error::{ReturnValue, StartError};
use crate::frame::{Found, Function, KeyOrder, StartOrder};
use crate::key::{Algorithm, PublicKey};

/// ASN.1 `DigestInfo` of SHA-256 up to the digest (RFC 8017 §9.2 note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// What all lanes of a worker share.
pub(super) struct Shared {
    pub(super) module: Module,
    pub(super) slot: Slot,
    pub(super) order: StartOrder,
    /// Only ever grows: a key's number is its place.
    keys: RwLock<Vec<Arc<KeyOrder>>>,
    login: Mutex<LoginState>,
    login_done: Condvar,
    /// Logins done; a lane that finds one it did not know of need not do another.
    logins: AtomicU64,
}

/// One lane logs in again for all: several at once with a PIN changed meanwhile would lock the token.
#[derive(Default)]
struct LoginState {
    under_way: bool,
    /// What the token said of the PIN, once it refused it: then nobody tries again.
    refused: Option<ReturnValue>,
}

pub(super) type Failure = (Function, ReturnValue);

const LONGEST_LOGIN: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) fn new(module: Module, slot: Slot, order: StartOrder, keys: Vec<KeyOrder>) -> Self {
        Self {
            module,
            slot,
            order,
            keys: RwLock::new(keys.into_iter().map(Arc::new).collect()),
            login: Mutex::default(),
            login_done: Condvar::new(),
            logins: AtomicU64::new(0),
        }
    }

    fn key(&self, number: usize) -> Option<Arc<KeyOrder>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(number).cloned()
    }

    fn key_count(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn login_state(&self) -> MutexGuard<'_, LoginState> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in after the device forgot it, or waits for the lane that does. `seen` is the count of logins when
    /// the caller last signed; afterwards it is the present one.
    fn login_again(&self, session: SessionHandle, seen: &mut u64) -> Call<()> {
        let mut state = self.login_state();
        if state.under_way {
            let waited = self.login_done.wait_timeout_while(state, LONGEST_LOGIN, |state| state.under_way);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(refused) = state.refused {
            return Err(refused);
        }
        if state.under_way {
            return Err(ReturnValue(sys::CKR_USER_NOT_LOGGED_IN));
        }
        let count = self.logins.load(Ordering::Relaxed);
        if count != std::mem::replace(seen, count) {
            return Ok(());
        }
        state.under_way = true;
        drop(state);
        let result = self.module.login(session, &self.order.pin);
        let mut state = self.login_state();
        state.under_way = false;
        match result {
            Ok(()) => *seen = self.logins.fetch_add(1, Ordering::Relaxed) + 1,
            Err(rv) if rv.refuses_pin() => state.refused = Some(rv),
            Err(_) => {}
        }
        self.login_done.notify_all();
        result
    }
}

pub(super) struct Lane<'s> {
    shared: &'s Shared,
    session: Option<SessionHandle>,
    handles: Vec<Option<ObjectHandle>>,
    /// Which keys this lane ever found.
    found: Vec<bool>,
    /// Keys that live outside and were unwrapped in this session, by their wrapped form.
    unwrapped: Option<LruCache<Vec<u8>, ObjectHandle>>,
    logins_seen: u64,
    last_used: Instant,
}

impl<'s> Lane<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        let unwrapped = NonZeroUsize::new(shared.order.wrapped_cache).map(LruCache::new);
        Self {
            shared,
            session: None,
            handles: Vec::new(),
            found: Vec::new(),
            unwrapped,
            logins_seen: 0,
            last_used: Instant::now(),
        }
    }

    /// Opens the session, logs in and finds the keys, so that the first request does not pay for it.
    pub(super) fn open(&mut self) -> Result<(), StartError> {
        let call = |(function, rv): Failure| StartError::Call { function: function.name().to_owned(), rv };
        let session = self.session().map_err(call)?;
        match self.shared.module.login(session, &self.shared.order.pin) {
            Ok(()) => {}
            Err(rv) if rv.refuses_pin() => return Err(StartError::PinRefused { rv }),
            Err(rv) => return Err(call((Function::Login, rv))),
        }
        self.find_keys(session).map_err(call)
    }

    /// Opens a session beside those that work already, whose login holds for it too, and finds the keys. The PIN is
    /// not shown: should the login be lost, the first request sees to it as in any lane.
    pub(super) fn join(&mut self) -> Result<(), Failure> {
        let session = self.session()?;
        let found = self.find_keys(session);
        if found.is_err() {
            let _ = self.shared.module.close_session(session); // it is given up either way
            self.forget_session();
        }
        found
    }

    fn find_keys(&mut self, session: SessionHandle) -> Result<(), Failure> {
        for key in 0..self.shared.key_count() {
            match self.handle(session, key) {
                Ok(_) | Err((_, ReturnValue(sys::CKR_KEY_HANDLE_INVALID))) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Takes further keys into the list all lanes share: the number of the first.
    pub(super) fn remember(&self, keys: &[KeyOrder]) -> u16 {
        let mut list = self.shared.keys.write().unwrap_or_else(PoisonError::into_inner);
        let first = u16::try_from(list.len()).unwrap_or(u16::MAX);
        list.extend(keys.iter().cloned().map(Arc::new));
        first
    }

    /// What the token shows for each key from a number on.
    pub(super) fn public_keys(&mut self, first: usize) -> Result<Vec<Found>, StartError> {
        let shared = self.shared;
        (first..shared.key_count())
            .filter_map(|number| Some((number, shared.key(number)?)))
            .map(|(number, key)| match self.public_key(number, &key) {
                Ok(found) => Ok(found),
                Err((_, ReturnValue(sys::CKR_ATTRIBUTE_TYPE_INVALID))) => Ok(Found::AnotherKind),
                Err((function, rv)) => Err(StartError::Call { function: function.name().to_owned(), rv }),
            })
            .collect()
    }

    fn public_key(&mut self, index: usize, key: &KeyOrder) -> Result<Found, Failure> {
        let session = self.session()?;
        let failed = |rv| (Function::FindObjects, rv);
        match self.handle(session, index) {
            Ok(_) => {}
            // A public key without its private key signs nothing.
            Err((_, ReturnValue(sys::CKR_KEY_HANDLE_INVALID))) => return Ok(Found::Nothing),
            Err(failure) => return Err(failure),
        }
        let module = &self.shared.module;
        let Some(object) = module.find_key(session, &Class::Public, &key.cka_id).map_err(failed)? else {
            return Ok(Found::Nothing);
        };
        Ok(Found::Key(match key.algorithm {
            Algorithm::Sm2 => PublicKey::Sm2(point(module.ec_point(session, object).map_err(failed)?)),
            Algorithm::EcdsaP256 => PublicKey::P256(point(module.ec_point(session, object).map_err(failed)?)),
            Algorithm::RsaPkcs1 | Algorithm::RsaPss => {
                let (modulus, exponent) = module.rsa_numbers(session, object).map_err(failed)?;
                PublicKey::Rsa { modulus: without_zeros(modulus), exponent: without_zeros(exponent) }
            }
        }))
    }

    /// Makes one signature. What a lost session, handle or login costs is one more try on this device.
    pub(super) fn sign(
        &mut self,
        key: usize,
        algorithm: Algorithm,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, Failure> {
        match self.try_sign(key, algorithm, digest) {
            Err(failure) if self.recover(key, failure)? => self.try_sign(key, algorithm, digest),
            other => other,
        }
    }

    fn try_sign(&mut self, key: usize, algorithm: Algorithm, digest: &[u8; 32]) -> Result<Vec<u8>, Failure> {
        let session = self.session()?;
        let handle = self.handle(session, key)?;
        let module = &self.shared.module;
        let mechanism =
            mechanism(algorithm, &self.shared.order.dialect).map_err(|rv| (Function::SignInit, rv))?;
        module.sign_init(session, &mechanism, handle).map_err(|rv| (Function::SignInit, rv))?;
        let signed = if algorithm == Algorithm::RsaPkcs1 {
            module.sign(session, &digest_info(digest))
        } else {
            module.sign(session, digest)
        };
        let signature = signed.map_err(|rv| (Function::Sign, rv))?;
        self.logins_seen = self.shared.logins.load(Ordering::Relaxed);
        self.last_used = Instant::now();
        Ok(signature)
    }

    /// Mends what the failure says is broken; whether a second try makes sense, or what mending failed with.
    fn recover(&mut self, key: usize, failure: Failure) -> Result<bool, Failure> {
        match failure.1.0 {
            sys::CKR_SESSION_HANDLE_INVALID | sys::CKR_SESSION_CLOSED => {
                self.forget_session();
                // With its last session a token forgets the login too, and says so only by hiding private keys.
                self.login()?;
                Ok(true)
            }
            sys::CKR_OPERATION_ACTIVE => {
                if let Some(session) = self.session {
                    let _ = self.shared.module.close_session(session); // it is given up either way
                }
                self.forget_session();
                self.login()?;
                Ok(true)
            }
            sys::CKR_KEY_HANDLE_INVALID | sys::CKR_OBJECT_HANDLE_INVALID => {
                // A stale handle is looked up again. A key that was there and is not found may be hidden by a
                // lost login.
                if self.handles.get_mut(key).and_then(Option::take).is_none() {
                    if !self.found.get(key).copied().unwrap_or_default() {
                        return Ok(false);
                    }
                    self.login()?;
                }
                Ok(true)
            }
            sys::CKR_USER_NOT_LOGGED_IN => {
                self.login()?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn login(&mut self) -> Result<(), Failure> {
        self.handles.fill(None); // private objects may be other ones after a login
        let session = self.session()?;
        self.shared.login_again(session, &mut self.logins_seen).map_err(|rv| (Function::Login, rv))
    }

    /// Mends what a failed order says is broken; whether a second try makes sense.
    pub(super) fn mend(&mut self, rv: ReturnValue) -> Result<bool, Failure> {
        // Of no key in particular: an order that does not find a key says so.
        if matches!(rv.0, sys::CKR_KEY_HANDLE_INVALID | sys::CKR_OBJECT_HANDLE_INVALID) {
            return Ok(false);
        }
        self.recover(usize::MAX, (Function::Sign, rv))
    }

    /// How long the session may stay unused from now on; nothing if it needs no care.
    pub(super) fn until_care(&self) -> Option<Duration> {
        let every = Duration::from_millis(self.shared.order.keep_alive_ms);
        (!every.is_zero()).then(|| every.saturating_sub(self.last_used.elapsed()))
    }

    /// Signs once, so that nothing between here and the device forgets the connection; a session that was lost is
    /// mended before a request meets it. Whatever comes of it: a request will be told more exactly.
    pub(super) fn keep_alive(&mut self) {
        if let Some((number, key)) = self.proved_key() {
            let _ = self.sign(number, key.algorithm, &[0x5a; 32]);
        }
        self.last_used = Instant::now();
    }

    fn proved_key(&self) -> Option<(usize, Arc<KeyOrder>)> {
        let number = self.found.iter().position(|found| *found)?;
        Some((number, self.shared.key(number)?))
    }

    pub(super) fn module(&self) -> &'s Module {
        &self.shared.module
    }

    pub(super) fn slot(&self) -> Slot {
        self.shared.slot
    }

    pub(super) fn dialect(&self) -> &'s Dialect {
        &self.shared.order.dialect
    }

    /// The session's handle of a key that was unwrapped before.
    pub(super) fn unwrapped(&mut self, blob: &[u8]) -> Option<ObjectHandle> {
        self.unwrapped.as_mut()?.get(blob).copied()
    }

    pub(super) fn forget_unwrapped(&mut self, blob: &[u8]) {
        self.unwrapped.as_mut().and_then(|kept| kept.pop(blob));
    }

    /// Keeps an unwrapped key for its next use; the one unused for longest leaves the token's memory.
    pub(super) fn keep_unwrapped(&mut self, session: SessionHandle, blob: &[u8], handle: ObjectHandle) {
        let Some(kept) = self.unwrapped.as_mut() else { return };
        if let Some((_, oldest)) = kept.push(blob.to_vec(), handle) {
            let _ = self.shared.module.destroy_object(session, oldest); // it ends with the session at the latest
        }
    }

    /// Handles are looked up again: objects were removed.
    pub(super) fn forget_handles(&mut self) {
        self.handles.fill(None);
    }

    /// A session the device lost is forgotten, not closed: its number may already be another's.
    fn forget_session(&mut self) {
        self.session = None;
        self.handles.fill(None);
        if let Some(kept) = self.unwrapped.as_mut() {
            kept.clear(); // session objects ended with it
        }
    }

    pub(super) fn session(&mut self) -> Result<SessionHandle, Failure> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let opened = self.shared.module.open_session(self.shared.slot, false);
        let session = opened.map_err(|rv| (Function::OpenSession, rv))?;
        self.session = Some(session);
        Ok(session)
    }

    fn handle(&mut self, session: SessionHandle, key: usize) -> Result<ObjectHandle, Failure> {
        let unknown = (Function::FindObjects, ReturnValue(sys::CKR_KEY_HANDLE_INVALID));
        if let Some(Some(handle)) = self.handles.get(key) {
            return Ok(*handle);
        }
        let Some(order) = self.shared.key(key) else { return Err(unknown) };
        if self.handles.len() <= key {
            self.handles.resize(key + 1, None);
            self.found.resize(key + 1, false);
        }
        let found = self.shared.module.find_key(session, &Class::Private, &order.cka_id);
        let handle = found.map_err(|rv| (Function::FindObjects, rv))?.ok_or(unknown)?;
        self.handles[key] = Some(handle);
        self.found[key] = true;
        Ok(handle)
    }
}

/// What CKM_RSA_PKCS signs for RSASSA-PKCS1-v1_5 with SHA-256.
pub(super) fn digest_info(digest: &[u8; 32]) -> [u8; 51] {
    let mut info = [0; 51];
    info[..19].copy_from_slice(&SHA256_DIGEST_INFO);
    info[19..].copy_from_slice(digest);
    info
}

pub(super) fn mechanism(algorithm: Algorithm, dialect: &Dialect) -> Call<Mechanism> {
    Ok(match algorithm {
        Algorithm::Sm2 => {
            let numbers = dialect.sm2.as_ref().ok_or(ReturnValue(sys::CKR_MECHANISM_INVALID))?;
            Mechanism::Plain(numbers.sign)
        }
        Algorithm::EcdsaP256 => Mechanism::Plain(sys::CKM_ECDSA),
        Algorithm::RsaPkcs1 => Mechanism::Plain(sys::CKM_RSA_PKCS),
        Algorithm::RsaPss => Mechanism::Pss,
    })
}

/// CKA_EC_POINT is a DER OCTET STRING by the standard and the bare point with some vendors.
pub(super) fn point(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == 67 && value.starts_with(&[0x04, 0x41, 0x04]) {
        value.drain(..2);
    }
    value
}

pub(super) fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    number.drain(..zeros);
    number
}
