//! `C_InitToken` to `C_Logout`.

use std::ffi::c_void;

use cryptoki_sys::*;

use super::{
    memory::{octets, write},
    run,
};
use crate::{breakdown::Visit, error::Error, function::Function};

/// `CK_TOKEN_INFO.label`'s length.
const LABEL: CK_ULONG = 32;

pub(super) unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    run(Visit::new(Function::InitToken), |module| {
        let (pin, label) = unsafe { (octets(pin, pin_len)?, octets(label, LABEL)?) };
        module.init_token(slot, pin, label)
    })
}

pub(super) unsafe extern "C" fn C_InitPIN(
    session: CK_SESSION_HANDLE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::InitPIN, session), |module| {
        module.init_pin(session, unsafe { octets(pin, pin_len) }?)
    })
}

pub(super) unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: *mut CK_UTF8CHAR,
    old_len: CK_ULONG,
    new: *mut CK_UTF8CHAR,
    new_len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::SetPIN, session), |module| {
        let (old, new) = unsafe { (octets(old, old_len)?, octets(new, new_len)?) };
        module.set_pin(session, old, new)
    })
}

pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    run(Visit::new(Function::OpenSession), |module| {
        if session.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let handle = module.open_session(slot, flags)?;
        unsafe { write(session, handle) }
    })
}

pub(super) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    run(Visit::in_session(Function::CloseSession, session), |module| module.close_session(session))
}

pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    run(Visit::new(Function::CloseAllSessions), |module| module.close_all_sessions(slot))
}

pub(super) unsafe extern "C" fn C_GetSessionInfo(
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> CK_RV {
    run(Visit::in_session(Function::GetSessionInfo, session), |module| {
        let session = module.session_info(session)?;
        unsafe {
            write(
                info,
                CK_SESSION_INFO {
                    slotID: session.slot,
                    state: session.state,
                    flags: session.flags,
                    ulDeviceError: 0,
                },
            )
        }
    })
}

pub(super) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::Login, session), |module| {
        module.login(session, user, unsafe { octets(pin, pin_len) }?)
    })
}

pub(super) unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    run(Visit::in_session(Function::Logout, session), |module| module.logout(session))
}
