//! `C_EncryptInit` to `C_VerifyFinal`, and random numbers.

use cryptoki_sys::*;

use super::{
    memory::{buffer, octets, output},
    parameter, run,
};
use crate::{
    breakdown::Visit,
    error::Error,
    function::Function,
    mechanism::Usage,
    operations::{Output, Room},
};

/// `…Init` with a key; a null mechanism ends what is under way.
unsafe fn begin(
    function: Function,
    session: CK_SESSION_HANDLE,
    usage: Usage,
    mechanism: *const CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(function, session).on(&[key]), |module| {
        if mechanism.is_null() {
            return module.cancel(session, usage);
        }
        module.begin(session, usage, unsafe { parameter::call(module, mechanism) }?, key)
    })
}

/// `…Update` without output.
unsafe fn update(
    function: Function,
    session: CK_SESSION_HANDLE,
    usage: Usage,
    part: *const CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(function, session), |module| {
        module.update(session, usage, unsafe { octets(part, len) }?)
    })
}

/// `…Update` of a cipher: the whole output comes with `…Final`.
unsafe fn update_cipher(
    function: Function,
    session: CK_SESSION_HANDLE,
    usage: Usage,
    part: *const CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(function, session), |module| unsafe {
        let part = octets(part, len)?;
        output(place, place_len, |room| match room {
            Room::Query => Ok(Output::Length(0)),
            Room::Octets(_) => module.update(session, usage, part).map(|()| Output::Octets(Vec::new())),
        })
    })
}

pub(super) unsafe extern "C" fn C_EncryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    unsafe { begin(Function::EncryptInit, session, Usage::Encrypt, mechanism, key) }
}

pub(super) unsafe extern "C" fn C_Encrypt(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Encrypt, session), |module| unsafe {
        let data = octets(data, len)?;
        output(place, place_len, |room| module.encrypt(session, data, room))
    })
}

pub(super) unsafe extern "C" fn C_EncryptUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    unsafe { update_cipher(Function::EncryptUpdate, session, Usage::Encrypt, part, len, place, place_len) }
}

pub(super) unsafe extern "C" fn C_EncryptFinal(
    session: CK_SESSION_HANDLE,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::EncryptFinal, session), |module| unsafe {
        output(place, place_len, |room| module.encrypt_final(session, room))
    })
}

pub(super) unsafe extern "C" fn C_DecryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    unsafe { begin(Function::DecryptInit, session, Usage::Decrypt, mechanism, key) }
}

pub(super) unsafe extern "C" fn C_Decrypt(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Decrypt, session), |module| unsafe {
        let data = octets(data, len)?;
        output(place, place_len, |room| module.decrypt(session, data, room))
    })
}

pub(super) unsafe extern "C" fn C_DecryptUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    unsafe { update_cipher(Function::DecryptUpdate, session, Usage::Decrypt, part, len, place, place_len) }
}

pub(super) unsafe extern "C" fn C_DecryptFinal(
    session: CK_SESSION_HANDLE,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::DecryptFinal, session), |module| unsafe {
        output(place, place_len, |room| module.decrypt_final(session, room))
    })
}

pub(super) unsafe extern "C" fn C_DigestInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
) -> CK_RV {
    run(Visit::in_session(Function::DigestInit, session), |module| {
        if mechanism.is_null() {
            return module.cancel(session, Usage::Digest);
        }
        module.begin_digest(session, unsafe { parameter::call(module, mechanism) }?)
    })
}

pub(super) unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Digest, session), |module| unsafe {
        let data = octets(data, len)?;
        output(place, place_len, |room| module.digest(session, data, room))
    })
}

pub(super) unsafe extern "C" fn C_DigestUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    unsafe { update(Function::DigestUpdate, session, Usage::Digest, part, len) }
}

pub(super) unsafe extern "C" fn C_DigestFinal(
    session: CK_SESSION_HANDLE,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::DigestFinal, session), |module| unsafe {
        output(place, place_len, |room| module.digest_final(session, room))
    })
}

pub(super) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    unsafe { begin(Function::SignInit, session, Usage::Sign, mechanism, key) }
}

pub(super) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Sign, session), |module| unsafe {
        let data = octets(data, len)?;
        output(place, place_len, |room| module.sign(session, data, room))
    })
}

pub(super) unsafe extern "C" fn C_SignUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    unsafe { update(Function::SignUpdate, session, Usage::Sign, part, len) }
}

pub(super) unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::SignFinal, session), |module| unsafe {
        output(place, place_len, |room| module.sign_final(session, room))
    })
}

pub(super) unsafe extern "C" fn C_VerifyInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    unsafe { begin(Function::VerifyInit, session, Usage::Verify, mechanism, key) }
}

pub(super) unsafe extern "C" fn C_Verify(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Verify, session), |module| {
        let (data, signature) = unsafe { (octets(data, len)?, octets(signature, signature_len)?) };
        module.verify(session, data, signature)
    })
}

pub(super) unsafe extern "C" fn C_VerifyUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    unsafe { update(Function::VerifyUpdate, session, Usage::Verify, part, len) }
}

pub(super) unsafe extern "C" fn C_VerifyFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut CK_BYTE,
    signature_len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::VerifyFinal, session), |module| {
        module.verify_final(session, unsafe { octets(signature, signature_len) }?)
    })
}

pub(super) unsafe extern "C" fn C_SeedRandom(
    session: CK_SESSION_HANDLE,
    _seed: *mut CK_BYTE,
    _len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::SeedRandom, session), |module| {
        module.session_info(session).and(Err(Error::RandomSeedNotSupported))
    })
}

pub(super) unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    place: *mut CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::GenerateRandom, session), |module| {
        module.random(session, unsafe { buffer(place, len) }?)
    })
}
