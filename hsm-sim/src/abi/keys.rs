//! `C_GenerateKey` to `C_DeriveKey`.

use cryptoki_sys::*;

use super::{
    memory::{octets, output, template, write},
    parameter, run,
};
use crate::{breakdown::Visit, error::Error, function::Function};

pub(super) unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::GenerateKey, session), |module| {
        if key.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let (call, template) = unsafe { (parameter::call(module, mechanism)?, template(entries, count)?) };
        let handle = module.generate_key(session, call, template)?;
        unsafe { write(key, handle) }
    })
}

pub(super) unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::GenerateKeyPair, session), |module| {
        if public_key.is_null() || private_key.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let call = unsafe { parameter::call(module, mechanism) }?;
        let (public, private) =
            unsafe { (template(public, public_count)?, template(private, private_count)?) };
        let (public, private) = module.generate_key_pair(session, call, public, private)?;
        unsafe {
            write(public_key, public)?;
            write(private_key, private)
        }
    })
}

pub(super) unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    place: *mut CK_BYTE,
    place_len: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::WrapKey, session).on(&[wrapping, key]), |module| unsafe {
        let call = parameter::call(module, mechanism)?;
        output(place, place_len, |room| module.wrap_key(session, &call, wrapping, key, room))
    })
}

pub(super) unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_len: CK_ULONG,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::UnwrapKey, session).on(&[unwrapping]), |module| {
        if key.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let (call, template) = unsafe { (parameter::call(module, mechanism)?, template(entries, count)?) };
        let wrapped = unsafe { octets(wrapped, wrapped_len) }?;
        let handle = module.unwrap_key(session, &call, unwrapping, wrapped, template)?;
        unsafe { write(key, handle) }
    })
}

pub(super) unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::DeriveKey, session).on(&[base]), |module| {
        if key.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let (call, template) = unsafe { (parameter::call(module, mechanism)?, template(entries, count)?) };
        let handle = module.derive_key(session, &call, base, template)?;
        unsafe { write(key, handle) }
    })
}
