//! The vendor's library at its C ABI: the only `unsafe` of this crate.
//!
//! Every function here is a thin, bounded crossing: fixed buffers, lengths checked on return, no pointer kept
//! past the call. The `cryptoki` crate is not used on this path because it needs three calls for a signature,
//! hides vendor key types below 0x80000000 and cannot forget a stale session without closing its successor.

#![allow(unsafe_code)]

use std::os::raw::c_void;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys as sys;
use libloading::Library;
use zeroize::Zeroizing;

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
/// Octets of the longest wrapped key (RSA-8192 as PKCS#8, padded).
const MAX_WRAPPED: usize = 8192;

pub(super) enum Class {
    Public,
    Private,
    Secret,
}

pub(super) enum Mechanism {
    /// No parameter.
    Plain(u64),
    /// CKM_RSA_PKCS_PSS over a SHA-256 digest, 32 octets of salt.
    Pss,
    /// CKM_RSA_PKCS_OAEP with SHA-256 and no label.
    Oaep,
    /// The same with SHA-1, all that some tokens have; OAEP asks no collision resistance of its hash.
    OaepSha1,
}

/// What an object shall be, attribute by attribute.
#[derive(Default)]
pub(super) struct Template(Vec<(sys::CK_ATTRIBUTE_TYPE, Zeroizing<Vec<u8>>)>);

impl Template {
    pub(super) fn octets(mut self, kind: sys::CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        self.0.push((kind, Zeroizing::new(value.to_vec())));
        self
    }

    pub(super) fn number(self, kind: sys::CK_ATTRIBUTE_TYPE, value: u64) -> Self {
        self.octets(kind, &value.to_ne_bytes())
    }

    pub(super) fn flag(self, kind: sys::CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.octets(kind, &[u8::from(value)])
    }

    /// As the C ABI wants it; the pointers live as long as the template.
    fn raw(&self) -> Vec<sys::CK_ATTRIBUTE> {
        let attribute = |(kind, value): &(_, Zeroizing<Vec<u8>>)| sys::CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_ptr().cast_mut().cast::<c_void>(),
            ulValueLen: length(value),
        };
        self.0.iter().map(attribute).collect()
    }
}

/// Runs `call` with a mechanism in the form of the C ABI, its parameter alive meanwhile.
fn with_raw<T>(mechanism: &Mechanism, call: impl FnOnce(&mut sys::CK_MECHANISM) -> T) -> T {
    let mut pss =
        sys::CK_RSA_PKCS_PSS_PARAMS { hashAlg: sys::CKM_SHA256, mgf: sys::CKG_MGF1_SHA256, sLen: 32 };
    let (hash, mgf) = match mechanism {
        Mechanism::OaepSha1 => (sys::CKM_SHA_1, sys::CKG_MGF1_SHA1),
        Mechanism::Plain(_) | Mechanism::Pss | Mechanism::Oaep => (sys::CKM_SHA256, sys::CKG_MGF1_SHA256),
    };
    let mut oaep = sys::CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: hash,
        mgf,
        source: sys::CKZ_DATA_SPECIFIED,
        pSourceData: ptr::null_mut(),
        ulSourceDataLen: 0,
    };
    let mut raw = match mechanism {
        Mechanism::Plain(number) => {
            sys::CK_MECHANISM { mechanism: *number, pParameter: ptr::null_mut(), ulParameterLen: 0 }
        }
        Mechanism::Pss => sys::CK_MECHANISM {
            mechanism: sys::CKM_RSA_PKCS_PSS,
            pParameter: (&raw mut pss).cast::<c_void>(),
            ulParameterLen: size_of::<sys::CK_RSA_PKCS_PSS_PARAMS>() as sys::CK_ULONG,
        },
        Mechanism::Oaep | Mechanism::OaepSha1 => sys::CK_MECHANISM {
            mechanism: sys::CKM_RSA_PKCS_OAEP,
            pParameter: (&raw mut oaep).cast::<c_void>(),
            ulParameterLen: size_of::<sys::CK_RSA_PKCS_OAEP_PARAMS>() as sys::CK_ULONG,
        },
    };
    call(&mut raw)
}

/// Cuts a buffer to the length a call reported, which is the vendor's word only.
fn cut(mut buffer: Vec<u8>, size: sys::CK_ULONG) -> Call<Vec<u8>> {
    match usize::try_from(size) {
        Ok(size) if size <= buffer.len() => buffer.truncate(size),
        _ => return Err(ReturnValue(sys::CKR_BUFFER_TOO_SMALL)),
    }
    Ok(buffer)
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

pub(crate) mod probing;

fn length(bytes: &[u8]) -> sys::CK_ULONG {
    bytes.len() as sys::CK_ULONG
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end_matches([' ', '\0']).to_owned()
}

impl Module {
    /// Loads the library and calls C_Initialize. `alone` unless this process may have it initialised already.
    pub(super) fn load(path: &Path, alone: bool) -> Result<Self, StartError> {
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
        // Threads that share a library must not initialise it at once: SoftHSM2 does not survive that.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = (!alone).then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
        match call!(module, C_Initialize, (&raw mut arguments).cast::<c_void>()) {
            Err(ReturnValue(sys::CKR_CRYPTOKI_ALREADY_INITIALIZED)) if !alone => Ok(module),
            Err(rv) => Err(StartError::Call { function: "C_Initialize".to_owned(), rv }),
            Ok(()) => Ok(module),
        }
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

    /// A session; `writes` if it shall make or remove objects of the token.
    pub(super) fn open_session(&self, slot: Slot, writes: bool) -> Call<SessionHandle> {
        let mut handle = 0;
        let flags = sys::CKF_SERIAL_SESSION | if writes { sys::CKF_RW_SESSION } else { 0 };
        call!(self, C_OpenSession, slot.0, flags, ptr::null_mut(), None, &raw mut handle)?;
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
            Class::Secret => sys::CKO_SECRET_KEY,
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
        with_raw(mechanism, |raw| call!(self, C_SignInit, session.0, &raw mut *raw, key.0))
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
        cut(signature, size)
    }

    /// Every object of a class, or with a CKA_ID, or both; at most 4,096.
    pub(super) fn find(&self, session: SessionHandle, template: &Template) -> Call<Vec<ObjectHandle>> {
        let mut raw = template.raw();
        call!(self, C_FindObjectsInit, session.0, raw.as_mut_ptr(), raw.len() as sys::CK_ULONG)?;
        let mut handles = vec![0; 4096];
        let mut total = 0;
        let found = loop {
            let room = &mut handles[total..];
            let mut count = 0;
            let room_length = room.len() as sys::CK_ULONG;
            let found = call!(self, C_FindObjects, session.0, room.as_mut_ptr(), room_length, &raw mut count);
            total = handles.len().min(total + usize::try_from(count).unwrap_or_default());
            if found.is_err() || count == 0 || total == handles.len() {
                break found;
            }
        };
        call!(self, C_FindObjectsFinal, session.0)?;
        found?;
        handles.truncate(total);
        Ok(handles.into_iter().map(ObjectHandle).collect())
    }

    /// The octets of an attribute that fits a fixed buffer.
    pub(super) fn value(
        &self,
        session: SessionHandle,
        object: ObjectHandle,
        kind: sys::CK_ATTRIBUTE_TYPE,
    ) -> Call<Vec<u8>> {
        self.attribute(session, object, kind)
    }

    /// Makes a key pair: the handles of the public key and of the private one.
    pub(super) fn generate_pair(
        &self,
        session: SessionHandle,
        mechanism: u64,
        (public, private): (&Template, &Template),
    ) -> Call<(ObjectHandle, ObjectHandle)> {
        let (mut public, mut private) = (public.raw(), private.raw());
        let (mut public_handle, mut private_handle) = (0, 0);
        with_raw(&Mechanism::Plain(mechanism), |raw| {
            call!(
                self,
                C_GenerateKeyPair,
                session.0,
                &raw mut *raw,
                public.as_mut_ptr(),
                public.len() as sys::CK_ULONG,
                private.as_mut_ptr(),
                private.len() as sys::CK_ULONG,
                &raw mut public_handle,
                &raw mut private_handle
            )
        })?;
        Ok((ObjectHandle(public_handle), ObjectHandle(private_handle)))
    }

    pub(super) fn generate_key(
        &self,
        session: SessionHandle,
        mechanism: u64,
        template: &Template,
    ) -> Call<ObjectHandle> {
        let (mut raw_template, mut handle) = (template.raw(), 0);
        with_raw(&Mechanism::Plain(mechanism), |raw| {
            call!(
                self,
                C_GenerateKey,
                session.0,
                &raw mut *raw,
                raw_template.as_mut_ptr(),
                raw_template.len() as sys::CK_ULONG,
                &raw mut handle
            )
        })?;
        Ok(ObjectHandle(handle))
    }

    pub(super) fn wrap(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        wrapping: ObjectHandle,
        key: ObjectHandle,
    ) -> Call<Vec<u8>> {
        let mut blob = vec![0u8; MAX_WRAPPED];
        let mut size = length(&blob);
        with_raw(mechanism, |raw| {
            call!(
                self,
                C_WrapKey,
                session.0,
                &raw mut *raw,
                wrapping.0,
                key.0,
                blob.as_mut_ptr(),
                &raw mut size
            )
        })?;
        cut(blob, size)
    }

    pub(super) fn unwrap(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        wrapping: ObjectHandle,
        blob: &[u8],
        template: &Template,
    ) -> Call<ObjectHandle> {
        let (mut raw_template, mut handle) = (template.raw(), 0);
        with_raw(mechanism, |raw| {
            call!(
                self,
                C_UnwrapKey,
                session.0,
                &raw mut *raw,
                wrapping.0,
                blob.as_ptr().cast_mut(),
                length(blob),
                raw_template.as_mut_ptr(),
                raw_template.len() as sys::CK_ULONG,
                &raw mut handle
            )
        })?;
        Ok(ObjectHandle(handle))
    }

    pub(super) fn create_object(&self, session: SessionHandle, template: &Template) -> Call<ObjectHandle> {
        let (mut raw, mut handle) = (template.raw(), 0);
        call!(
            self,
            C_CreateObject,
            session.0,
            raw.as_mut_ptr(),
            raw.len() as sys::CK_ULONG,
            &raw mut handle
        )?;
        Ok(ObjectHandle(handle))
    }

    pub(super) fn destroy_object(&self, session: SessionHandle, object: ObjectHandle) -> Call<()> {
        call!(self, C_DestroyObject, session.0, object.0)
    }

    pub(super) fn digest(&self, session: SessionHandle, mechanism: u64, data: &[u8]) -> Call<Vec<u8>> {
        with_raw(&Mechanism::Plain(mechanism), |raw| call!(self, C_DigestInit, session.0, &raw mut *raw))?;
        let mut digest = vec![0u8; 64];
        let mut size = length(&digest);
        call!(
            self,
            C_Digest,
            session.0,
            data.as_ptr().cast_mut(),
            length(data),
            digest.as_mut_ptr(),
            &raw mut size
        )?;
        cut(digest, size)
    }

    /// Enciphers what is at most 1,024 octets long.
    pub(super) fn encrypt(
        &self,
        session: SessionHandle,
        mechanism: u64,
        key: ObjectHandle,
        data: &[u8],
    ) -> Call<Vec<u8>> {
        with_raw(&Mechanism::Plain(mechanism), |raw| {
            call!(self, C_EncryptInit, session.0, &raw mut *raw, key.0)
        })?;
        let mut output = vec![0u8; 2048];
        let mut size = length(&output);
        call!(
            self,
            C_Encrypt,
            session.0,
            data.as_ptr().cast_mut(),
            length(data),
            output.as_mut_ptr(),
            &raw mut size
        )?;
        cut(output, size)
    }

    pub(super) fn random(&self, session: SessionHandle, octets: u16) -> Call<Vec<u8>> {
        let mut random = vec![0u8; usize::from(octets)];
        call!(self, C_GenerateRandom, session.0, random.as_mut_ptr(), length(&random))?;
        Ok(random)
    }
}
