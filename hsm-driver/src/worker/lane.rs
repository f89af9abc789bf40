//! A lane: one thread, one PKCS#11 session, its cached key handles.
//!
//! Invariants: the session is used by this thread alone from open to close; a handle found in one session is
//! never used in the next; no lock is held across a C call.

use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys as sys;

use super::module::{Call, Class, Mechanism, Module, ObjectHandle, SessionHandle, Slot};
use crate::dialect::Dialect;
use crate::error::{ReturnValue, StartError};
use crate::frame::{Function, KeyOrder, StartOrder};
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
    /// One lane logs in again at a time: several at once with a PIN changed meanwhile would lock the token.
    logging_in: AtomicBool,
    pin_refused: AtomicBool,
}

pub(super) type Failure = (Function, ReturnValue);

impl Shared {
    pub(super) fn new(module: Module, slot: Slot, order: StartOrder) -> Self {
        Self { module, slot, order, logging_in: AtomicBool::new(false), pin_refused: AtomicBool::new(false) }
    }

    /// Logs in once more after the device forgot it.
    fn login_again(&self, session: SessionHandle) -> Call<()> {
        let forgotten = ReturnValue(sys::CKR_USER_NOT_LOGGED_IN);
        if self.pin_refused.load(Ordering::Acquire) || self.logging_in.swap(true, Ordering::AcqRel) {
            return Err(forgotten);
        }
        let result = self.module.login(session, &self.order.pin);
        if result.is_err_and(pin_was_refused) {
            self.pin_refused.store(true, Ordering::Release);
        }
        self.logging_in.store(false, Ordering::Release);
        result
    }
}

pub(super) fn pin_was_refused(rv: ReturnValue) -> bool {
    matches!(
        rv.0,
        sys::CKR_PIN_INCORRECT
            | sys::CKR_PIN_LOCKED
            | sys::CKR_PIN_EXPIRED
            | sys::CKR_PIN_INVALID
            | sys::CKR_PIN_LEN_RANGE
    )
}

pub(super) struct Lane<'s> {
    shared: &'s Shared,
    session: Option<SessionHandle>,
    handles: Vec<Option<ObjectHandle>>,
}

impl<'s> Lane<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        Self { shared, session: None, handles: vec![None; shared.order.keys.len()] }
    }

    /// Opens the session, logs in and finds the keys, so that the first request does not pay for it.
    pub(super) fn open(&mut self) -> Result<(), StartError> {
        let call = |(function, rv): Failure| StartError::Call { function: function.name().to_owned(), rv };
        let session = self.session().map_err(call)?;
        match self.shared.module.login(session, &self.shared.order.pin) {
            Ok(()) => {}
            Err(rv) if pin_was_refused(rv) => return Err(StartError::PinRefused { rv }),
            Err(rv) => return Err(call((Function::Login, rv))),
        }
        for key in 0..self.handles.len() {
            match self.handle(session, key) {
                Ok(_) | Err((_, ReturnValue(sys::CKR_KEY_HANDLE_INVALID))) => {}
                Err(failure) => return Err(call(failure)),
            }
        }
        Ok(())
    }

    /// The public key of each key of the order, as the token shows it.
    pub(super) fn public_keys(&mut self) -> Result<Vec<Option<PublicKey>>, StartError> {
        let shared = self.shared;
        shared
            .order
            .keys
            .iter()
            .enumerate()
            .map(|(index, key)| match self.public_key(index, key) {
                Ok(found) => Ok(found),
                Err((function, rv)) => Err(StartError::Call { function: function.name().to_owned(), rv }),
            })
            .collect()
    }

    fn public_key(&mut self, index: usize, key: &KeyOrder) -> Result<Option<PublicKey>, Failure> {
        let session = self.session()?;
        let failed = |rv| (Function::FindObjects, rv);
        if self.handles[index].is_none() {
            return Ok(None); // a public key without its private key signs nothing
        }
        let module = &self.shared.module;
        let Some(object) = module.find_key(session, &Class::Public, &key.cka_id).map_err(failed)? else {
            return Ok(None);
        };
        Ok(match key.algorithm {
            Algorithm::Sm2 => Some(PublicKey::Sm2(point(module.ec_point(session, object).map_err(failed)?))),
            Algorithm::EcdsaP256 => {
                Some(PublicKey::P256(point(module.ec_point(session, object).map_err(failed)?)))
            }
            Algorithm::RsaPkcs1 | Algorithm::RsaPss => {
                let (modulus, exponent) = module.rsa_numbers(session, object).map_err(failed)?;
                Some(PublicKey::Rsa { modulus: without_zeros(modulus), exponent: without_zeros(exponent) })
            }
        })
    }

    /// Makes one signature. What a lost session, handle or login costs is one more try on this device.
    pub(super) fn sign(
        &mut self,
        key: usize,
        algorithm: Algorithm,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, Failure> {
        match self.try_sign(key, algorithm, digest) {
            Err(failure) if self.recover(key, failure.1) => self.try_sign(key, algorithm, digest),
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
            let mut info = [0; 51];
            info[..19].copy_from_slice(&SHA256_DIGEST_INFO);
            info[19..].copy_from_slice(digest);
            module.sign(session, &info)
        } else {
            module.sign(session, digest)
        };
        signed.map_err(|rv| (Function::Sign, rv))
    }

    /// Mends what the return value says is broken; whether a second try makes sense.
    fn recover(&mut self, key: usize, rv: ReturnValue) -> bool {
        match rv.0 {
            sys::CKR_SESSION_HANDLE_INVALID | sys::CKR_SESSION_CLOSED => {
                self.forget_session();
                true
            }
            sys::CKR_OPERATION_ACTIVE => {
                if let Some(session) = self.session {
                    let _ = self.shared.module.close_session(session); // it is given up either way
                }
                self.forget_session();
                true
            }
            sys::CKR_KEY_HANDLE_INVALID | sys::CKR_OBJECT_HANDLE_INVALID => {
                self.handles[key].take().is_some()
            }
            sys::CKR_USER_NOT_LOGGED_IN => {
                self.handles.fill(None); // private objects may have been re-created at login
                self.session.is_some_and(|session| self.shared.login_again(session).is_ok())
            }
            _ => false,
        }
    }

    /// A session the device lost is forgotten, not closed: its number may already be another's.
    fn forget_session(&mut self) {
        self.session = None;
        self.handles.fill(None);
    }

    fn session(&mut self) -> Result<SessionHandle, Failure> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let opened = self.shared.module.open_session(self.shared.slot);
        let session = opened.map_err(|rv| (Function::OpenSession, rv))?;
        self.session = Some(session);
        Ok(session)
    }

    fn handle(&mut self, session: SessionHandle, key: usize) -> Result<ObjectHandle, Failure> {
        let unknown = (Function::FindObjects, ReturnValue(sys::CKR_KEY_HANDLE_INVALID));
        let Some(order) = self.shared.order.keys.get(key) else { return Err(unknown) };
        if let Some(handle) = self.handles[key] {
            return Ok(handle);
        }
        let found = self.shared.module.find_key(session, &Class::Private, &order.cka_id);
        let handle = found.map_err(|rv| (Function::FindObjects, rv))?.ok_or(unknown)?;
        self.handles[key] = Some(handle);
        Ok(handle)
    }
}

fn mechanism(algorithm: Algorithm, dialect: &Dialect) -> Call<Mechanism> {
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
fn point(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == 67 && value.starts_with(&[0x04, 0x41, 0x04]) {
        value.drain(..2);
    }
    value
}

fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    number.drain(..zeros);
    number
}
