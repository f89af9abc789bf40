//! `C_Initialize` to `C_GetMechanismInfo`.

use std::{ffi::c_void, path::PathBuf, sync::Arc};

use cryptoki_sys::*;

use super::{
    FAULTS, MODULE, guarded, list,
    memory::{padded, read, write, write_list},
    run,
};
use crate::{
    breakdown::Visit,
    config::Config,
    error::{Error, Result},
    fault::Faults,
    function::Function,
    lock,
    module::{Module, StartError},
};

const MANUFACTURER: &str = "hsm-sim";
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };
const CRYPTOKI: CK_VERSION = CK_VERSION { major: 2, minor: 40 };

pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    guarded(|| {
        if lock::read(&MODULE).is_some() {
            return Err(Error::CryptokiAlreadyInitialized.rv());
        }
        if !arguments.is_null() {
            check_arguments(unsafe { read(arguments.cast::<CK_C_INITIALIZE_ARGS>()) }?)?;
        }
        let unusable = |error| {
            complain(&error);
            Error::GeneralError
        };
        let config = Config::from_environment().map_err(|error| unusable(error.into()))?;
        let faults = faults(config.fault_file.clone());
        // This may hang; no lock is held.
        faults.before_initialize()?;
        let started = Module::start(config, faults).map_err(unusable)?;
        let mut module = lock::write(&MODULE);
        if module.is_some() {
            return Err(Error::CryptokiAlreadyInitialized.rv());
        }
        *module = Some(Arc::new(started));
        Ok(())
    })
}

/// The watch of that file: the one there was, unless it watched another.
fn faults(path: Option<PathBuf>) -> Arc<Faults> {
    let mut place = lock::lock(&FAULTS);
    match &*place {
        Some(faults) if faults.path() == path.as_deref() => faults.clone(),
        _ => place.insert(Arc::new(Faults::watch(path))).clone(),
    }
}

#[allow(clippy::print_stderr, reason = "CKR_GENERAL_ERROR alone would not say what to mend")]
fn complain(error: &StartError) {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    eprintln!("hsm-sim: {error}{cause}");
}

fn check_arguments(arguments: CK_C_INITIALIZE_ARGS) -> Result<()> {
    let mutexes = [
        arguments.CreateMutex.is_some(),
        arguments.DestroyMutex.is_some(),
        arguments.LockMutex.is_some(),
        arguments.UnlockMutex.is_some(),
    ];
    let (any, all) = (mutexes.contains(&true), !mutexes.contains(&false));
    if !arguments.pReserved.is_null() || any != all {
        return Err(Error::ArgumentsBad);
    }
    if all && arguments.flags & CKF_OS_LOCKING_OK == 0 {
        return Err(Error::CantLock);
    }
    Ok(())
}

pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    let outcome = run(Visit::new(Function::Finalize), |_| {
        if reserved.is_null() { Ok(()) } else { Err(Error::ArgumentsBad) }
    });
    if outcome != CKR_OK {
        return outcome;
    }
    // Calls under way in other threads hold the module until they end.
    guarded(|| {
        lock::write(&MODULE).take().map(drop).ok_or(Error::CryptokiNotInitialized)?;
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    run(Visit::new(Function::GetInfo), |_| unsafe {
        write(
            info,
            CK_INFO {
                cryptokiVersion: CRYPTOKI,
                manufacturerID: padded(MANUFACTURER),
                flags: 0,
                libraryDescription: padded("Simulated PKCS#11 device"),
                libraryVersion: VERSION,
            },
        )
    })
}

/// The one symbol a caller looks up.
///
/// # Safety
/// `place` is null or valid for writing a pointer.
#[unsafe(no_mangle)]
#[allow(unreachable_pub, reason = "exported from the library by its C name")]
pub unsafe extern "C" fn C_GetFunctionList(place: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    guarded(|| {
        unsafe { write(place, (&raw const list::FUNCTIONS).cast_mut()) }?;
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetSlotList(
    token_present: CK_BBOOL,
    place: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::new(Function::GetSlotList), |module| {
        let slots = module.slot_ids(token_present != CK_FALSE);
        unsafe { write_list(place, count, &slots) }
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    run(Visit::new(Function::GetSlotInfo), |module| {
        module.check_slot(slot)?;
        let description = format!("Simulated slot {slot}");
        let present = if module.tokens_are_present() { CKF_TOKEN_PRESENT } else { 0 };
        unsafe {
            write(
                info,
                CK_SLOT_INFO {
                    slotDescription: padded(&description),
                    manufacturerID: padded(MANUFACTURER),
                    flags: present | CKF_HW_SLOT,
                    hardwareVersion: VERSION,
                    firmwareVersion: VERSION,
                },
            )
        }
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    run(Visit::new(Function::GetTokenInfo), |module| {
        let token = module.token_info(slot)?;
        let pins = crate::slot::PIN_LENGTHS;
        unsafe {
            write(
                info,
                CK_TOKEN_INFO {
                    label: padded(&token.label),
                    manufacturerID: padded(MANUFACTURER),
                    model: padded(&token.model),
                    serialNumber: padded(&token.serial),
                    flags: token.flags,
                    ulMaxSessionCount: token.most_sessions,
                    ulSessionCount: token.sessions,
                    ulMaxRwSessionCount: token.most_sessions,
                    ulRwSessionCount: token.read_write_sessions,
                    ulMaxPinLen: *pins.end() as CK_ULONG,
                    ulMinPinLen: *pins.start() as CK_ULONG,
                    ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
                    ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
                    ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
                    ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
                    hardwareVersion: VERSION,
                    firmwareVersion: VERSION,
                    utcTime: padded(""),
                },
            )
        }
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    place: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::new(Function::GetMechanismList), |module| unsafe {
        write_list(place, count, &module.mechanisms(slot)?)
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    number: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    run(Visit::new(Function::GetMechanismInfo), |module| {
        module.check_slot(slot)?;
        let mechanism = module.mechanism(number)?;
        let (ulMinKeySize, ulMaxKeySize) = mechanism.key_sizes();
        unsafe { write(info, CK_MECHANISM_INFO { ulMinKeySize, ulMaxKeySize, flags: mechanism.flags() }) }
    })
}

pub(super) unsafe extern "C" fn C_WaitForSlotEvent(
    flags: CK_FLAGS,
    _slot: *mut CK_SLOT_ID,
    _reserved: *mut c_void,
) -> CK_RV {
    // Nobody is told when a token comes or goes.
    let dont_block = flags & CKF_DONT_BLOCK != 0;
    run(Visit::new(Function::WaitForSlotEvent), |_| {
        Err(if dont_block { Error::NoEvent } else { Error::FunctionNotSupported })
    })
}
