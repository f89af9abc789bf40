//! What only a probe asks of a library: facts, lists, session objects, ciphers and wrapping. Every call is
//! announced before it is made, so that a library that hangs is caught with the call's name, and every refusal
//! is counted.

use std::collections::BTreeMap;
use std::os::raw::c_void;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys as sys;

use super::{
    Class, MAX_SIGNATURE, Mechanism, Module, ObjectHandle, SessionHandle, Slot, check, length, text,
};
use crate::error::{ReturnValue, StartError};

/// Longest ciphertext, digest or wrapped key that a probe looks at, octets.
const MAX_OUTPUT: usize = 8192;

/// A call and what it answered, when that was not CKR_OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The C function.
    pub(crate) function: &'static str,
    /// Its answer.
    pub(crate) rv: ReturnValue,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}", self.function, self.rv)
    }
}

pub(crate) type Asked<T> = Result<T, Refusal>;

/// A session of the probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session(SessionHandle);

/// An object the probe made or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object(ObjectHandle);

/// A mechanism with its parameter as it lies in memory: octets, or a structure without pointers.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) number: u64,
    parameter: Vec<u8>,
}

impl Means {
    pub(crate) fn plain(number: u64) -> Self {
        Self { number, parameter: Vec::new() }
    }

    pub(crate) fn with(number: u64, parameter: &[u8]) -> Self {
        Self { number, parameter: parameter.to_vec() }
    }

    /// RSASSA-PSS over a SHA-256 digest, 32 octets of salt: `CK_RSA_PKCS_PSS_PARAMS` is three numbers.
    pub(crate) fn pss() -> Self {
        let numbers: [sys::CK_ULONG; 3] = [sys::CKM_SHA256, sys::CKG_MGF1_SHA256, 32];
        let parameter = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        Self { number: sys::CKM_RSA_PKCS_PSS, parameter }
    }

    fn raw(&mut self) -> sys::CK_MECHANISM {
        let pointer = match self.parameter.is_empty() {
            true => ptr::null_mut(),
            false => self.parameter.as_mut_ptr().cast::<c_void>(),
        };
        sys::CK_MECHANISM {
            mechanism: self.number,
            pParameter: pointer,
            ulParameterLen: length(&self.parameter),
        }
    }
}

/// One attribute of a template.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    kind: u64,
    value: Vec<u8>,
}

impl Attribute {
    pub(crate) fn flag(kind: u64, value: bool) -> Self {
        Self { kind, value: vec![u8::from(value)] }
    }

    pub(crate) fn number(kind: u64, value: u64) -> Self {
        Self { kind, value: value.to_ne_bytes().to_vec() }
    }

    pub(crate) fn octets(kind: u64, value: &[u8]) -> Self {
        Self { kind, value: value.to_vec() }
    }

    pub(crate) fn kind(&self) -> u64 {
        self.kind
    }
}

fn raw(template: &mut [Attribute]) -> Vec<sys::CK_ATTRIBUTE> {
    template
        .iter_mut()
        .map(|attribute| sys::CK_ATTRIBUTE {
            type_: attribute.kind,
            pValue: attribute.value.as_mut_ptr().cast::<c_void>(),
            ulValueLen: length(&attribute.value),
        })
        .collect()
}

/// CK_INFO.
pub(crate) struct LibraryInfo {
    pub(crate) manufacturer: String,
    pub(crate) description: String,
    pub(crate) version: String,
    pub(crate) cryptoki: String,
}

/// What a probe wants of CK_TOKEN_INFO.
pub(crate) struct TokenInfo {
    pub(crate) slot: u64,
    pub(crate) label: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) firmware: String,
    pub(crate) flags: u64,
    /// ulMaxSessionCount; 0 is "no limit", nothing "not said".
    pub(crate) max_sessions: Option<u64>,
    /// ulSessionCount.
    pub(crate) open_sessions: Option<u64>,
}

type Announce = Box<dyn Fn(&'static str) + Send + Sync>;

/// A library under examination.
pub(crate) struct Library {
    module: Module,
    announce: Announce,
    refusals: Mutex<BTreeMap<(&'static str, u64), u64>>,
}

macro_rules! ask {
    ($library:expr, $function:ident, $($argument:expr),* $(,)?) => {{
        let library: &Library = $library;
        (library.announce)(stringify!($function));
        library.noted(stringify!($function), call!(library.module, $function, $($argument),*))
    }};
}

fn version(version: sys::CK_VERSION) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// CK_UNAVAILABLE_INFORMATION means that a token does not say.
fn said(count: sys::CK_ULONG) -> Option<u64> {
    (count != sys::CK_UNAVAILABLE_INFORMATION).then_some(count)
}

impl Library {
    /// Loads and initialises it. `announce` hears of every call before it is made.
    pub(crate) fn load(path: &Path, announce: Announce) -> Result<Self, StartError> {
        announce("C_Initialize");
        Ok(Self { module: Module::load(path, true)?, announce, refusals: Mutex::default() })
    }

    fn noted<T>(&self, function: &'static str, result: Result<T, ReturnValue>) -> Asked<T> {
        result.map_err(|rv| {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            *refusals.entry((function, rv.0)).or_default() += 1;
            Refusal { function, rv }
        })
    }

    /// Every refusal so far: function, answer, how often.
    pub(crate) fn refusals(&self) -> Vec<(&'static str, ReturnValue, u64)> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().map(|((function, rv), count)| (*function, ReturnValue(*rv), *count)).collect()
    }

    pub(crate) fn info(&self) -> Asked<LibraryInfo> {
        let mut info = sys::CK_INFO::default();
        ask!(self, C_GetInfo, &raw mut info)?;
        Ok(LibraryInfo {
            manufacturer: text(&info.manufacturerID),
            description: text(&info.libraryDescription),
            version: version(info.libraryVersion),
            cryptoki: version(info.cryptokiVersion),
        })
    }

    /// Every slot with a token in it.
    pub(crate) fn tokens(&self) -> Asked<Vec<TokenInfo>> {
        let mut count: sys::CK_ULONG = 0;
        ask!(self, C_GetSlotList, sys::CK_TRUE, ptr::null_mut(), &raw mut count)?;
        let mut slots = vec![0; usize::try_from(count).unwrap_or_default().min(4096)];
        count = slots.len() as sys::CK_ULONG;
        ask!(self, C_GetSlotList, sys::CK_TRUE, slots.as_mut_ptr(), &raw mut count)?;
        slots.truncate(usize::try_from(count).unwrap_or_default());
        Ok(slots.into_iter().filter_map(|slot| self.token(slot).ok()).collect())
    }

    fn token(&self, slot: u64) -> Asked<TokenInfo> {
        let mut info = sys::CK_TOKEN_INFO::default();
        ask!(self, C_GetTokenInfo, slot, &raw mut info)?;
        Ok(TokenInfo {
            slot,
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            firmware: version(info.firmwareVersion),
            flags: info.flags,
            max_sessions: said(info.ulMaxSessionCount),
            open_sessions: said(info.ulSessionCount),
        })
    }

    pub(crate) fn mechanisms(&self, slot: u64) -> Asked<Vec<u64>> {
        let mut count: sys::CK_ULONG = 0;
        ask!(self, C_GetMechanismList, slot, ptr::null_mut(), &raw mut count)?;
        let mut numbers = vec![0; usize::try_from(count).unwrap_or_default().min(4096)];
        count = numbers.len() as sys::CK_ULONG;
        ask!(self, C_GetMechanismList, slot, numbers.as_mut_ptr(), &raw mut count)?;
        numbers.truncate(usize::try_from(count).unwrap_or_default());
        Ok(numbers)
    }

    /// Smallest and largest key, and the CKF_ flags, of a mechanism.
    pub(crate) fn mechanism(&self, slot: u64, number: u64) -> Asked<(u64, u64, u64)> {
        let mut info = sys::CK_MECHANISM_INFO::default();
        ask!(self, C_GetMechanismInfo, slot, number, &raw mut info)?;
        Ok((info.ulMinKeySize, info.ulMaxKeySize, info.flags))
    }

    /// Opens a session; a read-only one cannot make token objects, whatever a template says.
    pub(crate) fn open(&self, slot: u64, read_write: bool) -> Asked<Session> {
        if !read_write {
            (self.announce)("C_OpenSession");
            return self.noted("C_OpenSession", self.module.open_session(Slot(slot), false)).map(Session);
        }
        let (mut handle, flags) = (0, sys::CKF_SERIAL_SESSION | sys::CKF_RW_SESSION);
        ask!(self, C_OpenSession, slot, flags, ptr::null_mut(), None, &raw mut handle)?;
        Ok(Session(SessionHandle(handle)))
    }

    pub(crate) fn close(&self, session: Session) -> Asked<()> {
        ask!(self, C_CloseSession, session.0.0)
    }

    /// C_Login as the user, exactly once.
    pub(crate) fn login(&self, session: Session, pin: &str) -> Asked<()> {
        let (pointer, size) = (pin.as_ptr().cast_mut(), length(pin.as_bytes()));
        ask!(self, C_Login, session.0.0, sys::CKU_USER, pointer, size)
    }

    pub(crate) fn logout(&self, session: Session) -> Asked<()> {
        ask!(self, C_Logout, session.0.0)
    }

    /// The first private or public key with that CKA_ID.
    pub(crate) fn find(&self, session: Session, private: bool, cka_id: &[u8]) -> Asked<Option<Object>> {
        (self.announce)("C_FindObjects");
        let class = if private { Class::Private } else { Class::Public };
        let found = self.module.find_key(session.0, &class, cka_id);
        Ok(self.noted("C_FindObjects", found)?.map(Object))
    }

    /// Any private key that lives on the token.
    pub(crate) fn any_private_key(&self, session: Session) -> Asked<Option<Object>> {
        let mut template =
            [Attribute::number(sys::CKA_CLASS, sys::CKO_PRIVATE_KEY), Attribute::flag(sys::CKA_TOKEN, true)];
        let mut template = raw(&mut template);
        let size = template.len() as sys::CK_ULONG;
        ask!(self, C_FindObjectsInit, session.0.0, template.as_mut_ptr(), size)?;
        let (mut handle, mut count) = (0, 0);
        let found = ask!(self, C_FindObjects, session.0.0, &raw mut handle, 1, &raw mut count);
        ask!(self, C_FindObjectsFinal, session.0.0)?;
        found?;
        Ok((count == 1).then_some(Object(ObjectHandle(handle))))
    }

    pub(crate) fn attribute(&self, session: Session, object: Object, kind: u64) -> Asked<Vec<u8>> {
        (self.announce)("C_GetAttributeValue");
        self.noted("C_GetAttributeValue", self.module.attribute(session.0, object.0, kind))
    }

    pub(crate) fn generate_pair(
        &self,
        session: Session,
        means: &Means,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Asked<(Object, Object)> {
        let (mut means, mut public, mut private) = (means.clone(), public.to_vec(), private.to_vec());
        let mut mechanism = means.raw();
        let (mut public, mut private) = (raw(&mut public), raw(&mut private));
        let (mut public_key, mut private_key) = (0, 0);
        ask!(
            self,
            C_GenerateKeyPair,
            session.0.0,
            &raw mut mechanism,
            public.as_mut_ptr(),
            public.len() as sys::CK_ULONG,
            private.as_mut_ptr(),
            private.len() as sys::CK_ULONG,
            &raw mut public_key,
            &raw mut private_key,
        )?;
        Ok((Object(ObjectHandle(public_key)), Object(ObjectHandle(private_key))))
    }

    pub(crate) fn generate(&self, session: Session, means: &Means, template: &[Attribute]) -> Asked<Object> {
        let (mut means, mut template) = (means.clone(), template.to_vec());
        let (mut mechanism, mut template) = (means.raw(), raw(&mut template));
        let (count, mut key) = (template.len() as sys::CK_ULONG, 0);
        ask!(
            self,
            C_GenerateKey,
            session.0.0,
            &raw mut mechanism,
            template.as_mut_ptr(),
            count,
            &raw mut key
        )?;
        Ok(Object(ObjectHandle(key)))
    }

    pub(crate) fn create(&self, session: Session, template: &[Attribute]) -> Asked<Object> {
        let mut template = template.to_vec();
        let mut template = raw(&mut template);
        let (count, mut object) = (template.len() as sys::CK_ULONG, 0);
        ask!(self, C_CreateObject, session.0.0, template.as_mut_ptr(), count, &raw mut object)?;
        Ok(Object(ObjectHandle(object)))
    }

    pub(crate) fn destroy(&self, session: Session, object: Object) -> Asked<()> {
        ask!(self, C_DestroyObject, session.0.0, object.0.0)
    }

    pub(crate) fn sign_init(&self, session: Session, means: &Means, key: Object) -> Asked<()> {
        let mut means = means.clone();
        let mut mechanism = means.raw();
        ask!(self, C_SignInit, session.0.0, &raw mut mechanism, key.0.0)
    }

    /// C_Sign without a length query.
    pub(crate) fn sign(&self, session: Session, data: &[u8]) -> Asked<Vec<u8>> {
        (self.announce)("C_Sign");
        self.noted("C_Sign", self.module.sign(session.0, data))
    }

    /// C_SignInit and C_Sign as the driver's lanes call them, neither announced nor counted: for measuring.
    pub(crate) fn sign_fast(
        &self,
        session: Session,
        means: &Means,
        key: Object,
        data: &[u8],
    ) -> Asked<Vec<u8>> {
        let mechanism = match means.number {
            sys::CKM_RSA_PKCS_PSS => Mechanism::Pss,
            number => Mechanism::Plain(number),
        };
        let refused = |function| move |rv| Refusal { function, rv };
        self.module.sign_init(session.0, &mechanism, key.0).map_err(refused("C_SignInit"))?;
        self.module.sign(session.0, data).map_err(refused("C_Sign"))
    }

    pub(crate) fn digest(&self, session: Session, number: u64, data: &[u8]) -> Asked<Vec<u8>> {
        let mut means = Means::plain(number);
        let mut mechanism = means.raw();
        ask!(self, C_DigestInit, session.0.0, &raw mut mechanism)?;
        output(MAX_SIGNATURE, |buffer, size| {
            ask!(self, C_Digest, session.0.0, data.as_ptr().cast_mut(), length(data), buffer, size)
        })
    }

    pub(crate) fn encrypt(
        &self,
        session: Session,
        means: &Means,
        key: Object,
        data: &[u8],
    ) -> Asked<Vec<u8>> {
        let mut means = means.clone();
        let mut mechanism = means.raw();
        ask!(self, C_EncryptInit, session.0.0, &raw mut mechanism, key.0.0)?;
        output(MAX_OUTPUT, |buffer, size| {
            ask!(self, C_Encrypt, session.0.0, data.as_ptr().cast_mut(), length(data), buffer, size)
        })
    }

    pub(crate) fn decrypt(
        &self,
        session: Session,
        means: &Means,
        key: Object,
        data: &[u8],
    ) -> Asked<Vec<u8>> {
        let mut means = means.clone();
        let mut mechanism = means.raw();
        ask!(self, C_DecryptInit, session.0.0, &raw mut mechanism, key.0.0)?;
        output(MAX_OUTPUT, |buffer, size| {
            ask!(self, C_Decrypt, session.0.0, data.as_ptr().cast_mut(), length(data), buffer, size)
        })
    }

    pub(crate) fn wrap(
        &self,
        session: Session,
        means: &Means,
        wrapping: Object,
        key: Object,
    ) -> Asked<Vec<u8>> {
        let mut means = means.clone();
        let mut mechanism = means.raw();
        output(MAX_OUTPUT, |buffer, size| {
            ask!(self, C_WrapKey, session.0.0, &raw mut mechanism, wrapping.0.0, key.0.0, buffer, size)
        })
    }

    pub(crate) fn unwrap(
        &self,
        session: Session,
        means: &Means,
        unwrapping: Object,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Asked<Object> {
        let (mut means, mut template) = (means.clone(), template.to_vec());
        let (mut mechanism, mut template) = (means.raw(), raw(&mut template));
        let (count, mut key) = (template.len() as sys::CK_ULONG, 0);
        ask!(
            self,
            C_UnwrapKey,
            session.0.0,
            &raw mut mechanism,
            unwrapping.0.0,
            wrapped.as_ptr().cast_mut(),
            length(wrapped),
            template.as_mut_ptr(),
            count,
            &raw mut key,
        )?;
        Ok(Object(ObjectHandle(key)))
    }

    pub(crate) fn random(&self, session: Session, octets: usize) -> Asked<Vec<u8>> {
        let mut random = vec![0; octets];
        let size = length(&random);
        ask!(self, C_GenerateRandom, session.0.0, random.as_mut_ptr(), size)?;
        Ok(random)
    }
}

/// Calls with a buffer of `room` octets and returns what was written.
fn output(
    room: usize,
    call: impl FnOnce(*mut sys::CK_BYTE, *mut sys::CK_ULONG) -> Asked<()>,
) -> Asked<Vec<u8>> {
    let mut buffer = vec![0; room];
    let mut size = length(&buffer);
    call(buffer.as_mut_ptr(), &raw mut size)?;
    // A library that claims to have written more than there was room for is not believed.
    buffer.truncate(usize::try_from(size).unwrap_or_default().min(room));
    Ok(buffer)
}
