//! A slot and the token in it: who is logged in, which objects there are.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cryptoki_sys::*;

use crate::{
    attributes::Attributes,
    config::SlotConfig,
    crypto::Key,
    dialect::Dialect,
    error::{Error, Result},
    folder::{Folder, ObjectName, StoredObject, TokenRecord},
    lock::{lock, read, write},
    mechanism::KeyKind,
    object::{Home, Object},
    rules::is_key_material,
    seal::{PinLock, TokenKey},
};

/// The shortest and longest PIN, in octets.
pub(crate) const PIN_LENGTHS: std::ops::RangeInclusive<usize> = 4..=64;
/// Wrong PINs in a row that lock a PIN.
pub(crate) const MOST_FAILURES: u32 = 10;

/// More than the steps in which file systems count time.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// Who is logged in; the same for all sessions of the token.
#[derive(Clone)]
pub(crate) enum Login {
    Nobody,
    User(Arc<TokenKey>),
    SecurityOfficer(Arc<TokenKey>),
}

impl Login {
    pub(crate) fn is_user(&self) -> bool {
        matches!(self, Login::User(_))
    }

    pub(crate) fn is_security_officer(&self) -> bool {
        matches!(self, Login::SecurityOfficer(_))
    }

    fn key(&self) -> Option<&TokenKey> {
        match self {
            Login::Nobody => None,
            Login::User(key) | Login::SecurityOfficer(key) => Some(key),
        }
    }
}

struct State {
    login: Login,
    objects: BTreeMap<CK_OBJECT_HANDLE, Arc<Object>>,
}

/// A slot with its token.
pub(crate) struct Slot {
    pub(crate) config: SlotConfig,
    dialect: &'static Dialect,
    folder: Folder,
    next_object: Arc<AtomicU64>,
    state: RwLock<State>,
    /// Held by whoever changes the folder or compares it with `objects`; signing never waits for it. Inside: the
    /// folder's modification time at the last comparison.
    storage: Mutex<Option<SystemTime>>,
    /// Whether a fault, not the caller, ended the last login.
    login_lost: AtomicBool,
}

impl Slot {
    pub(crate) fn new(
        config: SlotConfig,
        dialect: &'static Dialect,
        folder: Folder,
        next_object: Arc<AtomicU64>,
    ) -> Self {
        let state = RwLock::new(State { login: Login::Nobody, objects: BTreeMap::new() });
        Self {
            config,
            dialect,
            folder,
            next_object,
            state,
            storage: Mutex::new(None),
            login_lost: AtomicBool::new(false),
        }
    }

    pub(crate) fn login(&self) -> Login {
        read(&self.state).login.clone()
    }

    /// The token's record as it stands on disk now; another process may have changed it.
    pub(crate) fn record(&self) -> Result<Option<TokenRecord>> {
        self.folder.record()
    }

    /// Makes the token anew: all objects and the user's PIN go.
    pub(crate) fn initialize(&self, pin: &[u8], label: String) -> Result<()> {
        let _storage = lock(&self.storage);
        if let Some(mut record) = self.folder.record()? {
            self.prove(&mut record, pin, Who::SecurityOfficer)?;
        }
        check_pin(pin)?;
        for name in self.folder.objects()? {
            self.folder.remove_object(&name)?;
        }
        write(&self.state).objects.clear();
        let so = PinLock::lock(pin, &TokenKey::generate()?)?;
        self.folder.write_record(&TokenRecord { label, so_failures: 0, user_failures: 0, so, user: None })
    }

    /// Logs in and brings private objects into view.
    pub(crate) fn log_in(&self, user: CK_USER_TYPE, pin: &[u8]) -> Result<()> {
        let mut storage = lock(&self.storage);
        let who = Who::from_user(user)?;
        match (self.login(), who) {
            (Login::Nobody, _) => {}
            (Login::User(_), Who::User) | (Login::SecurityOfficer(_), Who::SecurityOfficer) => {
                return Err(Error::UserAlreadyLoggedIn);
            }
            _ => return Err(Error::UserAnotherAlreadyLoggedIn),
        }
        let mut record = self.folder.record()?.ok_or(Error::TokenNotRecognized)?;
        let key = Arc::new(self.prove(&mut record, pin, who)?);
        write(&self.state).login = match who {
            Who::User => Login::User(key),
            Who::SecurityOfficer => Login::SecurityOfficer(key),
        };
        self.login_lost.store(false, Ordering::Release);
        *storage = None;
        self.compare(&mut storage)
    }

    pub(crate) fn set_login_lost(&self) {
        self.login_lost.store(true, Ordering::Release);
    }

    /// Whether the token lost its login and nobody has logged in since.
    pub(crate) fn login_is_lost(&self) -> bool {
        self.login_lost.load(Ordering::Acquire)
    }

    /// Logs out: private objects, and session objects that are private, are gone.
    pub(crate) fn log_out(&self) -> Result<()> {
        let mut state = write(&self.state);
        if matches!(state.login, Login::Nobody) {
            return Err(Error::UserNotLoggedIn);
        }
        state.login = Login::Nobody;
        state.objects.retain(|_, object| !object.flag(CKA_PRIVATE));
        Ok(())
    }

    /// Sets the user's PIN, as the security officer.
    pub(crate) fn init_pin(&self, pin: &[u8]) -> Result<()> {
        let _storage = lock(&self.storage);
        let login = self.login();
        let (true, Some(key)) = (login.is_security_officer(), login.key()) else {
            return Err(Error::UserNotLoggedIn);
        };
        check_pin(pin)?;
        let mut record = self.folder.record()?.ok_or(Error::TokenNotRecognized)?;
        record.user = Some(PinLock::lock(pin, key)?);
        record.user_failures = 0;
        self.folder.write_record(&record)
    }

    /// Changes the PIN of whoever is logged in; the user's if nobody is.
    pub(crate) fn set_pin(&self, old: &[u8], new: &[u8]) -> Result<()> {
        let _storage = lock(&self.storage);
        let who = if self.login().is_security_officer() { Who::SecurityOfficer } else { Who::User };
        let mut record = self.folder.record()?.ok_or(Error::TokenNotRecognized)?;
        let key = self.prove(&mut record, old, who)?;
        check_pin(new)?;
        let locked = PinLock::lock(new, &key)?;
        match who {
            Who::User => record.user = Some(locked),
            Who::SecurityOfficer => record.so = locked,
        }
        self.folder.write_record(&record)
    }

    /// Checks a PIN and counts failures.
    fn prove(&self, record: &mut TokenRecord, pin: &[u8], who: Who) -> Result<TokenKey> {
        let (pin_lock, failures) = match who {
            Who::User => {
                (record.user.as_ref().ok_or(Error::UserPinNotInitialized)?, &mut record.user_failures)
            }
            Who::SecurityOfficer => (&record.so, &mut record.so_failures),
        };
        if *failures >= MOST_FAILURES {
            return Err(Error::PinLocked);
        }
        let key = pin_lock.unlock(pin);
        let before = *failures;
        *failures = if key.is_some() { 0 } else { before + 1 };
        let locked = *failures >= MOST_FAILURES;
        if *failures != before {
            self.folder.write_record(record)?;
        }
        key.ok_or(if locked { Error::PinLocked } else { Error::PinIncorrect })
    }

    /// An object the present login may see.
    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<Arc<Object>> {
        let state = read(&self.state);
        let object = state.objects.get(&handle)?;
        (!object.flag(CKA_PRIVATE) || state.login.is_user()).then(|| object.clone())
    }

    /// The visible objects that match, in the order of their handles.
    pub(crate) fn find(&self, template: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)]) -> Result<Vec<CK_OBJECT_HANDLE>> {
        self.compare(&mut lock(&self.storage))?;
        let state = read(&self.state);
        let visible = |object: &Object| !object.flag(CKA_PRIVATE) || state.login.is_user();
        let matching = state.objects.iter().filter(|(_, object)| visible(object) && object.matches(template));
        Ok(matching.map(|(handle, _)| *handle).collect())
    }

    /// Adds an object, to the token's folder if it is a token object.
    pub(crate) fn add(
        &self,
        session: CK_SESSION_HANDLE,
        attributes: Attributes,
        key: Option<Key>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let kind = self.kind(&attributes);
        if !attributes.flag(CKA_TOKEN) {
            return Ok(self.admit(Object::new(attributes, Home::Session(session), kind, key)));
        }
        let _storage = lock(&self.storage);
        let name = ObjectName::random()?;
        self.folder.write_object(&name, &self.stored(&name, &attributes)?)?;
        Ok(self.admit(Object::new(attributes, Home::Token(name), kind, key)))
    }

    /// Puts changed attributes in an object's place; its key is parsed anew.
    pub(crate) fn replace(&self, handle: CK_OBJECT_HANDLE, attributes: Attributes) -> Result<()> {
        let _storage = lock(&self.storage);
        let old = self.object(handle).ok_or(Error::ObjectHandleInvalid)?;
        if let Home::Token(name) = old.home() {
            self.folder.write_object(name, &self.stored(name, &attributes)?)?;
        }
        let new = Object::new(attributes, old.home().clone(), old.kind(), None);
        write(&self.state).objects.insert(handle, Arc::new(new));
        Ok(())
    }

    /// Removes an object for good.
    pub(crate) fn remove(&self, handle: CK_OBJECT_HANDLE) -> Result<()> {
        let object = self.object(handle).ok_or(Error::ObjectHandleInvalid)?;
        if let Home::Token(name) = object.home() {
            let _storage = lock(&self.storage);
            self.folder.remove_object(name)?;
        }
        write(&self.state).objects.remove(&handle);
        Ok(())
    }

    /// Drops what lived in a session.
    pub(crate) fn forget_session(&self, session: CK_SESSION_HANDLE) {
        write(&self.state).objects.retain(|_, object| *object.home() != Home::Session(session));
    }

    /// Changes the table of objects; the folder stays as it is.
    pub(crate) fn rearrange(&self, change: impl FnOnce(&mut BTreeMap<CK_OBJECT_HANDLE, Arc<Object>>)) {
        let _storage = lock(&self.storage);
        change(&mut write(&self.state).objects);
    }

    fn admit(&self, object: Object) -> CK_OBJECT_HANDLE {
        let handle = self.next_object.fetch_add(1, Ordering::Relaxed) as CK_OBJECT_HANDLE;
        write(&self.state).objects.insert(handle, Arc::new(object));
        handle
    }

    fn kind(&self, attributes: &Attributes) -> Option<KeyKind> {
        self.dialect.key_kind(attributes.number(CKA_KEY_TYPE)?)
    }

    /// Splits an object into what anyone may read and what the token key seals.
    fn stored(&self, name: &ObjectName, attributes: &Attributes) -> Result<StoredObject> {
        let class = attributes.number(CKA_CLASS).ok_or(Error::TemplateIncomplete)?;
        let private = attributes.flag(CKA_PRIVATE);
        let (hidden, clear) = attributes.partition(|attribute| private || is_key_material(class, attribute));
        if hidden.iter().next().is_none() {
            return Ok(StoredObject { clear, sealed: Vec::new() });
        }
        let login = self.login();
        let key = login.key().ok_or(Error::UserNotLoggedIn)?;
        Ok(StoredObject { clear, sealed: key.seal(name.context(), &hidden.encode())? })
    }

    /// Brings the table in line with the folder, which another process or a login may have changed.
    fn compare(&self, last: &mut Option<SystemTime>) -> Result<()> {
        let changed = self.folder.changed();
        if changed.is_some() && changed == *last {
            return Ok(());
        }
        let names: HashSet<ObjectName> = self.folder.objects()?.into_iter().collect();
        let login = self.login();
        let mut known: BTreeMap<ObjectName, (CK_OBJECT_HANDLE, bool)> = BTreeMap::new();
        write(&self.state).objects.retain(|handle, object| match object.home() {
            Home::Session(_) => true,
            Home::Token(name) => {
                known.insert(name.clone(), (*handle, object.key_is_sealed()));
                names.contains(name)
            }
        });
        for name in names {
            let before = known.get(&name);
            if before.is_some_and(|(_, sealed)| !sealed || login.key().is_none()) {
                continue;
            }
            let Some(object) = self.load(&name, &login) else { continue };
            match before {
                Some((handle, _)) => drop(write(&self.state).objects.insert(*handle, Arc::new(object))),
                None => drop(self.admit(object)),
            }
        }
        // A younger time says little: files that come within the same tick of the clock leave it as it is.
        *last = changed.filter(|time| time.elapsed().is_ok_and(|age| age > CLOCK_TICK));
        Ok(())
    }

    /// Reads an object as far as the login allows; `None` if nothing of it may be seen or it is damaged.
    fn load(&self, name: &ObjectName, login: &Login) -> Option<Object> {
        let stored = self.folder.read_object(name)?;
        let mut attributes = stored.clear;
        if !stored.sealed.is_empty()
            && let Some(key) = login.key()
        {
            attributes.merge(&Attributes::decode(&key.open(name.context(), &stored.sealed)?)?);
        }
        attributes.number(CKA_CLASS)?;
        let kind = self.kind(&attributes);
        Some(Object::new(attributes, Home::Token(name.clone()), kind, None))
    }
}

/// Whose PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    User,
    SecurityOfficer,
}

impl Who {
    fn from_user(user: CK_USER_TYPE) -> Result<Self> {
        match user {
            CKU_USER => Ok(Who::User),
            CKU_SO => Ok(Who::SecurityOfficer),
            // No key of this device asks for a PIN per operation.
            CKU_CONTEXT_SPECIFIC => Err(Error::OperationNotInitialized),
            _ => Err(Error::UserTypeInvalid),
        }
    }
}

fn check_pin(pin: &[u8]) -> Result<()> {
    if PIN_LENGTHS.contains(&pin.len()) { Ok(()) } else { Err(Error::PinLenRange) }
}
