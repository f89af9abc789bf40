//! The vendor's library at its C ABI: the only `unsafe` of this crate.
//!
//! Every function here is a thin, bounded crossing: fixed buffers, lengths checked on return, no pointer kept
//! past the call. The `cryptoki` crate is not used on this path because it needs three calls for a signature,
//! hides vendor key types below 0x80000000 and cannot forget a stale session without closing its successor.

#![allow(unsafe_code)]

use std::os::raw::c_void;
use std::path::Path;
use std::ptr;

use cryptoki_sys as sys;
use libloading::Library;

use crate::error::{ReturnValue, StartError};
use crate::frame::TokenFacts;

/// A session handle; valid in this process until it is closed or the device forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionHandle(sys::CK_SESSION_HANDLE);

/// An object handle; only meaningful in the session generation that found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectHandle(sys::CK_OBJECT_HANDLE);

/// A slot that holds the wanted token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(sys::CK_SLOT_ID);

/// Octets of the longest signature a device can give (RSA-8192).
const MAX_SIGNATURE: usize = 1024;
const MAX_ATTRIBUTE: usize = 1024;

pub(super) enum Class {
    Public,
    Private,
}

pub(super) enum Mechanism {
    /// No parameter.
    Plain(u64),
    /// CKM_RSA_PKCS_PSS over a SHA-256 digest, 32 octets of salt.
    Pss,
}

pub(super) type Call<T> = Result<T, ReturnValue>;

/// A loaded and initialised library. It lives as long as the process: vendors' libraries start threads of
/// their own, so unloading one is never safe.
pub(super) struct Module {
    functions: &'static sys::CK_FUNCTION_LIST,
}

// SAFETY: C_Initialize was given CKF_OS_LOCKING_OK, so the library promises to be called from several threads
// (PKCS#11 v2.40 §5.4); the function list itself is immutable.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

fn check(rv: sys::CK_RV) -> Call<()> {
    if rv == sys::CKR_OK { Ok(()) } else { Err(ReturnValue(rv)) }
}

macro_rules! call {
    ($module:expr, $function:ident, $($argument:expr),* $(,)?) => {
        match $module.functions.$function {
            // SAFETY: the pointer came from the library's own list; arguments are live locals or null where
            // the standard allows it, and every length says what the pointer before it holds.
            Some(function) => check(unsafe { function($($argument),*) }),
            None => Err(ReturnValue(sys::CKR_FUNCTION_NOT_SUPPORTED)),
        }
    };
}

fn length(bytes: &[u8]) -> sys::CK_ULONG {
    bytes.len() as sys::CK_ULONG
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end_matches([' ', '\0']).to_owned()
}

impl Module {
    /// Loads the library and calls C_Initialize.
    pub(super) fn load(path: &Path) -> Result<Self, StartError> {
        let unusable = |reason: String| StartError::Module { reason };
        // SAFETY: loading runs the library's initialisers, which is what a worker process exists for.
        let library = unsafe { Library::new(path) }.map_err(|error| unusable(error.to_string()))?;
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the symbol's type is fixed by PKCS#11 §5.4.
        let get_list = unsafe {
            library.get::<unsafe extern "C" fn(*mut *mut sys::CK_FUNCTION_LIST) -> sys::CK_RV>(
                b"C_GetFunctionList\0",
            )
        }
        .map_err(|error| unusable(error.to_string()))?;
        let mut list = ptr::null_mut();
        // SAFETY: `list` is a live out-pointer.
        let rv = unsafe { get_list(&raw mut list) };
        // SAFETY: on CKR_OK the library hands out a list that lives as long as it is loaded, here for ever.
        let functions = match unsafe { list.as_ref() } {
            Some(functions) if rv == sys::CKR_OK => functions,
            _ => return Err(unusable(format!("C_GetFunctionList answered {}", ReturnValue(rv)))),
        };
        let module = Self { functions };
        let mut arguments = sys::CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: sys::CKF_OS_LOCKING_OK,
            pReserved: ptr::null_mut(),
        };
        call!(module, C_Initialize, (&raw mut arguments).cast::<c_void>())
            .map_err(|rv| StartError::Call { function: "C_Initialize".to_owned(), rv })?;
        Ok(module)
    }

    /// Finds a token by label and serial, whatever slot it shows up in.
    pub(super) fn find_token(
        &self,
        label: &str,
        serial: Option<&str>,
    ) -> Result<(Slot, TokenFacts), StartError> {
        let failed = |function: &str| {
            let function = function.to_owned();
            move |rv| StartError::Call { function, rv }
        };
        let mut count: sys::CK_ULONG = 0;
        call!(self, C_GetSlotList, sys::CK_TRUE, ptr::null_mut(), &raw mut count)
            .map_err(failed("C_GetSlotList"))?;
        let mut slots = vec![0; usize::try_from(count).unwrap_or_default().min(4096)];
        count = slots.len() as sys::CK_ULONG;
        call!(self, C_GetSlotList, sys::CK_TRUE, slots.as_mut_ptr(), &raw mut count)
            .map_err(failed("C_GetSlotList"))?;
        slots.truncate(usize::try_from(count).unwrap_or_default());
        for slot in slots {
            let mut info = sys::CK_TOKEN_INFO::default();
            if call!(self, C_GetTokenInfo, slot, &raw mut info).is_err() {
                continue; // another token's trouble is not this one's
            }
            let facts = TokenFacts {
                manufacturer: text(&info.manufacturerID),
                model: text(&info.model),
                serial: text(&info.serialNumber),
                firmware: format!("{}.{}", info.firmwareVersion.major, info.firmwareVersion.minor),
            };
            if text(&info.label) == label && serial.is_none_or(|serial| serial == facts.serial) {
                return Ok((Slot(slot), facts));
            }
        }
        Err(StartError::TokenAbsent { label: label.to_owned(), serial: serial.map(str::to_owned) })
    }

    pub(super) fn open_session(&self, slot: Slot) -> Call<SessionHandle> {
        let mut handle = 0;
        call!(self, C_OpenSession, slot.0, sys::CKF_SERIAL_SESSION, ptr::null_mut(), None, &raw mut handle)?;
        Ok(SessionHandle(handle))
    }

    pub(super) fn close_session(&self, session: SessionHandle) -> Call<()> {
        call!(self, C_CloseSession, session.0)
    }

    /// C_Login as the user; being logged in already is success (the state is the token's, not the session's).
    pub(super) fn login(&self, session: SessionHandle, pin: &str) -> Call<()> {
        let result =
            call!(self, C_Login, session.0, sys::CKU_USER, pin.as_ptr().cast_mut(), length(pin.as_bytes()));
        match result {
            Err(ReturnValue(sys::CKR_USER_ALREADY_LOGGED_IN)) => Ok(()),
            other => other,
        }
    }

    /// The first object of a class with that CKA_ID.
    pub(super) fn find_key(
        &self,
        session: SessionHandle,
        class: &Class,
        cka_id: &[u8],
    ) -> Call<Option<ObjectHandle>> {
        let mut class = match class {
            Class::Public => sys::CKO_PUBLIC_KEY,
            Class::Private => sys::CKO_PRIVATE_KEY,
        };
        let mut template = [
            sys::CK_ATTRIBUTE {
                type_: sys::CKA_CLASS,
                pValue: (&raw mut class).cast::<c_void>(),
                ulValueLen: size_of::<sys::CK_OBJECT_CLASS>() as sys::CK_ULONG,
            },
            sys::CK_ATTRIBUTE {
                type_: sys::CKA_ID,
                pValue: cka_id.as_ptr().cast_mut().cast::<c_void>(),
                ulValueLen: length(cka_id),
            },
        ];
        call!(self, C_FindObjectsInit, session.0, template.as_mut_ptr(), template.len() as sys::CK_ULONG)?;
        let (mut handle, mut count) = (0, 0);
        let found = call!(self, C_FindObjects, session.0, &raw mut handle, 1, &raw mut count);
        call!(self, C_FindObjectsFinal, session.0)?;
        found?;
        Ok((count == 1).then_some(ObjectHandle(handle)))
    }

    /// One attribute's octets.
    fn attribute(
        &self,
        session: SessionHandle,
        object: ObjectHandle,
        kind: sys::CK_ATTRIBUTE_TYPE,
    ) -> Call<Vec<u8>> {
        let mut value = vec![0u8; MAX_ATTRIBUTE];
        let mut template = sys::CK_ATTRIBUTE {
            type_: kind,
            pValue: value.as_mut_ptr().cast::<c_void>(),
            ulValueLen: length(&value),
        };
        call!(self, C_GetAttributeValue, session.0, object.0, &raw mut template, 1)?;
        match usize::try_from(template.ulValueLen) {
            Ok(length) if length <= value.len() => value.truncate(length),
            _ => return Err(ReturnValue(sys::CKR_ATTRIBUTE_TYPE_INVALID)),
        }
        Ok(value)
    }

    pub(super) fn ec_point(&self, session: SessionHandle, object: ObjectHandle) -> Call<Vec<u8>> {
        self.attribute(session, object, sys::CKA_EC_POINT)
    }

    /// CKA_MODULUS and CKA_PUBLIC_EXPONENT.
    pub(super) fn rsa_numbers(
        &self,
        session: SessionHandle,
        object: ObjectHandle,
    ) -> Call<(Vec<u8>, Vec<u8>)> {
        let modulus = self.attribute(session, object, sys::CKA_MODULUS)?;
        Ok((modulus, self.attribute(session, object, sys::CKA_PUBLIC_EXPONENT)?))
    }

    pub(super) fn sign_init(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        key: ObjectHandle,
    ) -> Call<()> {
        let mut pss =
            sys::CK_RSA_PKCS_PSS_PARAMS { hashAlg: sys::CKM_SHA256, mgf: sys::CKG_MGF1_SHA256, sLen: 32 };
        let mut mechanism = match mechanism {
            Mechanism::Plain(number) => {
                sys::CK_MECHANISM { mechanism: *number, pParameter: ptr::null_mut(), ulParameterLen: 0 }
            }
            Mechanism::Pss => sys::CK_MECHANISM {
                mechanism: sys::CKM_RSA_PKCS_PSS,
                pParameter: (&raw mut pss).cast::<c_void>(),
                ulParameterLen: size_of::<sys::CK_RSA_PKCS_PSS_PARAMS>() as sys::CK_ULONG,
            },
        };
        call!(self, C_SignInit, session.0, &raw mut mechanism, key.0)
    }

    /// C_Sign into a fixed buffer: no length query, so one crossing to the device.
    pub(super) fn sign(&self, session: SessionHandle, data: &[u8]) -> Call<Vec<u8>> {
        let mut signature = vec![0u8; MAX_SIGNATURE];
        let mut size = length(&signature);
        call!(
            self,
            C_Sign,
            session.0,
            data.as_ptr().cast_mut(),
            length(data),
            signature.as_mut_ptr(),
            &raw mut size
        )?;
        match usize::try_from(size) {
            Ok(size) if size <= signature.len() => signature.truncate(size),
            _ => return Err(ReturnValue(sys::CKR_BUFFER_TOO_SMALL)),
        }
        Ok(signature)
    }
}
