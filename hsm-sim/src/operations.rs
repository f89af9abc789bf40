//! Digest, sign, verify, encrypt and decrypt, in one part or several, and random octets.
//!
//! An operation is taken out of its session while it is worked on, so no lock is held. It goes back when the
//! caller only asked for a length or gave too small a buffer (PKCS#11 v2.40, section 11.2).

use cryptoki_sys::*;

use crate::{
    crypto::{cipher::Direction, digest::digest, operate},
    error::{Error, Result},
    function::Function,
    mechanism::{Call, Hash, Mechanism, Usage},
    module::Module,
    session::{Input, Operation, Session},
};

/// The caller's output buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// None: tell the length.
    Query,
    /// So many octets.
    Octets(usize),
}

/// What goes into the caller's output buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Nothing yet; this many octets would do.
    Length(usize),
    /// Nothing; this many octets are needed.
    TooSmall(usize),
    /// The result, which fits.
    Octets(Vec<u8>),
}

impl Output {
    /// The result if it fits.
    pub fn fit(octets: Vec<u8>, room: Room) -> Self {
        match room {
            Room::Query => Output::Length(octets.len()),
            Room::Octets(room) if octets.len() > room => Output::TooSmall(octets.len()),
            Room::Octets(_) => Output::Octets(octets),
        }
    }
}

impl Module {
    /// `C_SignInit`, `C_VerifyInit`, `C_EncryptInit`, `C_DecryptInit`
    pub fn begin(
        &self,
        handle: CK_SESSION_HANDLE,
        usage: Usage,
        call: Call,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let session = self.session(handle)?;
        session.check_idle(usage)?;
        call.check(usage)?;
        let object = session.slot.object(key).ok_or(Error::KeyHandleInvalid)?;
        object.permit(&call, usage)?;
        operate::check(&call, usage, object.key()?)?;
        session.begin(usage, Operation::new(call, Some(object)))
    }

    /// `C_DigestInit`
    pub fn begin_digest(&self, handle: CK_SESSION_HANDLE, call: Call) -> Result<()> {
        let session = self.session(handle)?;
        call.check(Usage::Digest)?;
        if call.mechanism == Mechanism::Sm3WithZ {
            operate::digest_with_z(&call, b"")?;
        }
        session.begin(Usage::Digest, Operation::new(call, None))
    }

    /// The `…Update` calls: the input is gathered and processed at the end.
    pub fn update(&self, handle: CK_SESSION_HANDLE, usage: Usage, part: &[u8]) -> Result<()> {
        self.session(handle)?.gather(usage, part)
    }

    /// Ends an operation whose `…Init` was given no mechanism (PKCS#11 v2.40 errata 01).
    pub fn cancel(&self, handle: CK_SESSION_HANDLE, usage: Usage) -> Result<()> {
        self.session(handle)?.cancel(usage);
        Ok(())
    }

    /// `C_Sign`
    pub fn sign(&self, handle: CK_SESSION_HANDLE, data: &[u8], room: Room) -> Result<Output> {
        self.finish(handle, Function::Sign, Usage::Sign, Input::Whole(data), room)
    }

    /// `C_SignFinal`
    pub fn sign_final(&self, handle: CK_SESSION_HANDLE, room: Room) -> Result<Output> {
        self.finish(handle, Function::SignFinal, Usage::Sign, Input::Parts, room)
    }

    /// `C_Encrypt`
    pub fn encrypt(&self, handle: CK_SESSION_HANDLE, data: &[u8], room: Room) -> Result<Output> {
        self.finish(handle, Function::Encrypt, Usage::Encrypt, Input::Whole(data), room)
    }

    /// `C_EncryptFinal`
    pub fn encrypt_final(&self, handle: CK_SESSION_HANDLE, room: Room) -> Result<Output> {
        self.finish(handle, Function::EncryptFinal, Usage::Encrypt, Input::Parts, room)
    }

    /// `C_Decrypt`
    pub fn decrypt(&self, handle: CK_SESSION_HANDLE, data: &[u8], room: Room) -> Result<Output> {
        self.finish(handle, Function::Decrypt, Usage::Decrypt, Input::Whole(data), room)
    }

    /// `C_DecryptFinal`
    pub fn decrypt_final(&self, handle: CK_SESSION_HANDLE, room: Room) -> Result<Output> {
        self.finish(handle, Function::DecryptFinal, Usage::Decrypt, Input::Parts, room)
    }

    /// `C_Digest`
    pub fn digest(&self, handle: CK_SESSION_HANDLE, data: &[u8], room: Room) -> Result<Output> {
        self.finish(handle, Function::Digest, Usage::Digest, Input::Whole(data), room)
    }

    /// `C_DigestFinal`
    pub fn digest_final(&self, handle: CK_SESSION_HANDLE, room: Room) -> Result<Output> {
        self.finish(handle, Function::DigestFinal, Usage::Digest, Input::Parts, room)
    }

    /// `C_Verify`
    pub fn verify(&self, handle: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> Result<()> {
        self.check_signature(handle, Function::Verify, Input::Whole(data), signature)
    }

    /// `C_VerifyFinal`
    pub fn verify_final(&self, handle: CK_SESSION_HANDLE, signature: &[u8]) -> Result<()> {
        self.check_signature(handle, Function::VerifyFinal, Input::Parts, signature)
    }

    /// `C_GenerateRandom`
    pub fn random(&self, handle: CK_SESSION_HANDLE, buffer: &mut [u8]) -> Result<()> {
        self.session(handle)?;
        self.faults.work();
        getrandom::fill(buffer).map_err(|_| Error::DeviceError)
    }

    fn check_signature(
        &self,
        handle: CK_SESSION_HANDLE,
        function: Function,
        input: Input<'_>,
        signature: &[u8],
    ) -> Result<()> {
        let session = self.session(handle)?;
        let operation = session.take(Usage::Verify)?;
        let data = match input.octets(&operation) {
            Ok(data) => data,
            Err(error) => {
                session.put_back(Usage::Verify, operation);
                return Err(error);
            }
        };
        let object = operation.object.as_ref().ok_or(Error::GeneralError)?;
        self.faults.work();
        let verdict = operate::verify(&operation.call, object.key()?, data, signature);
        if verdict.is_ok() && self.stays_active(function, &session, &operation) {
            session.put_back(Usage::Verify, operation);
        }
        verdict
    }

    fn finish(
        &self,
        handle: CK_SESSION_HANDLE,
        function: Function,
        usage: Usage,
        input: Input<'_>,
        room: Room,
    ) -> Result<Output> {
        let session = self.session(handle)?;
        let operation = session.take(usage)?;
        let outcome = match input.octets(&operation) {
            Ok(data) => self.outcome(function, &session, &operation, usage, data, room),
            Err(error) => {
                session.put_back(usage, operation);
                return Err(error);
            }
        };
        let goes_on = match outcome {
            Ok(Output::Length(_) | Output::TooSmall(_)) => true,
            Ok(Output::Octets(_)) => self.stays_active(function, &session, &operation),
            Err(_) => false,
        };
        if goes_on {
            session.put_back(usage, operation);
        }
        outcome
    }

    fn outcome(
        &self,
        function: Function,
        session: &Session,
        operation: &Operation,
        usage: Usage,
        data: &[u8],
        room: Room,
    ) -> Result<Output> {
        let (bound, exact) = output_len(operation, usage, data.len())?;
        match room {
            Room::Query => return Ok(Output::Length(bound)),
            Room::Octets(room) if exact && room < bound => return Ok(Output::TooSmall(bound)),
            Room::Octets(_) => {}
        }
        self.faults.work();
        let octets = self.spoil(function, session, operation, data, |data| result(operation, usage, data))?;
        Ok(Output::fit(octets, room))
    }
}

/// The most octets an operation can give, and whether a shorter buffer is refused before anything is done.
fn output_len(operation: &Operation, usage: Usage, input: usize) -> Result<(usize, bool)> {
    let call = &operation.call;
    match (usage, call.mechanism, &operation.object) {
        (Usage::Digest, Mechanism::Digest(hash), _) => Ok((hash.digest_len(), true)),
        (Usage::Digest, Mechanism::Sm3WithZ, _) => Ok((Hash::Sm3.digest_len(), true)),
        (Usage::Sign, _, Some(object)) => Ok((operate::signature_len(call, object.key()?), true)),
        (Usage::Encrypt, _, Some(object)) => {
            Ok((operate::cipher_len(call, object.key()?, Direction::Encrypt, input), true))
        }
        (Usage::Decrypt, _, Some(object)) => {
            Ok((operate::cipher_len(call, object.key()?, Direction::Decrypt, input), false))
        }
        _ => Err(Error::GeneralError),
    }
}

fn result(operation: &Operation, usage: Usage, data: &[u8]) -> Result<Vec<u8>> {
    let call = &operation.call;
    match (usage, call.mechanism, &operation.object) {
        (Usage::Digest, Mechanism::Digest(hash), _) => Ok(digest(hash, data)),
        (Usage::Digest, Mechanism::Sm3WithZ, _) => operate::digest_with_z(call, data),
        (Usage::Sign, _, Some(object)) => operate::sign(call, object.key()?, data),
        (Usage::Encrypt, _, Some(object)) => operate::encrypt(call, object.key()?, data),
        (Usage::Decrypt, _, Some(object)) => operate::decrypt(call, object.key()?, data),
        _ => Err(Error::GeneralError),
    }
}
