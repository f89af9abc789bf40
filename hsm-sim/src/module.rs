//! The initialised module: what lives between `C_Initialize` and `C_Finalize`.
//!
//! The methods that stand behind the `C_` functions are spread over `module` (slots and tokens), `sessions`,
//! `objects`, `operations` and `keys`. All of them may be called from any thread. No lock is held while a
//! cryptographic operation runs.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cryptoki_sys::*;

use crate::{
    config::{Config, ConfigError},
    dialect::Dialect,
    error::{Error, Result},
    fault::Faults,
    folder::Folder,
    lock::read,
    mechanism::Mechanism,
    session::Session,
    slot::{MOST_FAILURES, Slot},
};

/// Why a module cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A token's folder cannot be made.
    #[error("cannot open the store of token {serial}")]
    Store {
        /// The token.
        serial: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What `C_GetTokenInfo` tells beyond constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Empty before initialisation.
    pub label: String,
    /// As configured.
    pub model: String,
    /// As configured.
    pub serial: String,
    /// The `CKF_` flags.
    pub flags: CK_FLAGS,
    /// The module's bound, over all slots.
    pub most_sessions: CK_ULONG,
    /// Open sessions of this token.
    pub sessions: CK_ULONG,
    /// Those of them that are read-write.
    pub read_write_sessions: CK_ULONG,
}

/// An initialised module.
pub struct Module {
    pub(crate) dialect: &'static Dialect,
    pub(crate) faults: Arc<Faults>,
    pub(crate) session_limit: usize,
    pub(crate) next_session: AtomicU64,
    pub(crate) sessions: RwLock<HashMap<CK_SESSION_HANDLE, Arc<Session>>>,
    slots: BTreeMap<CK_SLOT_ID, Arc<Slot>>,
}

impl Module {
    /// Opens the store of every configured token.
    pub fn start(config: Config, faults: Arc<Faults>) -> std::result::Result<Self, StartError> {
        let next_object = Arc::new(AtomicU64::new(1));
        let mut slots = BTreeMap::new();
        for slot in config.slots {
            let folder = Folder::open(&config.store, &slot.serial)
                .map_err(|source| StartError::Store { serial: slot.serial.clone(), source })?;
            slots.insert(slot.id, Arc::new(Slot::new(slot, config.dialect, folder, next_object.clone())));
        }
        Ok(Self {
            dialect: config.dialect,
            faults,
            session_limit: config.session_limit,
            next_session: AtomicU64::new(1),
            sessions: RwLock::default(),
            slots,
        })
    }

    /// The slots' numbers; of those with a token, or of all.
    pub fn slot_ids(&self, with_token: bool) -> Vec<CK_SLOT_ID> {
        if with_token && !self.tokens_are_present() {
            return Vec::new();
        }
        self.slots.values().map(|slot| self.slot_number(slot)).collect()
    }

    /// Refuses a number that is no slot's.
    pub fn check_slot(&self, slot: CK_SLOT_ID) -> Result<()> {
        self.slot(slot).map(|_| ())
    }

    /// A slot's number as callers know it now.
    pub(crate) fn slot_number(&self, slot: &Slot) -> CK_SLOT_ID {
        slot.config.id.wrapping_add(self.slot_shift())
    }

    pub(crate) fn slot(&self, slot: CK_SLOT_ID) -> Result<&Arc<Slot>> {
        self.slots.get(&slot.wrapping_sub(self.slot_shift())).ok_or(Error::SlotIdInvalid)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.values()
    }

    pub(crate) fn next_session_handle(&self) -> CK_SESSION_HANDLE {
        self.next_session.fetch_add(1, Ordering::Relaxed) as CK_SESSION_HANDLE
    }

    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        read(&self.sessions).get(&handle).cloned().ok_or(Error::SessionHandleInvalid)
    }

    pub(crate) fn sessions_of(&self, slot: &Slot) -> Vec<Arc<Session>> {
        let sessions = read(&self.sessions);
        sessions.values().filter(|session| session.slot.config.id == slot.config.id).cloned().collect()
    }

    /// `C_GetTokenInfo`
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<TokenInfo> {
        let token = self.slot(slot)?;
        let mut info = TokenInfo {
            label: String::new(),
            model: token.config.model.clone(),
            serial: token.config.serial.clone(),
            flags: CKF_RNG | CKF_LOGIN_REQUIRED,
            most_sessions: self.session_limit as CK_ULONG,
            sessions: 0,
            read_write_sessions: 0,
        };
        for session in self.sessions_of(token) {
            info.sessions += 1;
            info.read_write_sessions += CK_ULONG::from(session.read_write);
        }
        if let Some(record) = token.record()? {
            info.label = record.label;
            info.flags |= CKF_TOKEN_INITIALIZED;
            if record.user.is_some() {
                info.flags |= CKF_USER_PIN_INITIALIZED;
            }
            info.flags |= pin_flags(
                record.user_failures,
                [CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED],
            );
            info.flags |= pin_flags(
                record.so_failures,
                [CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED],
            );
        }
        Ok(info)
    }

    /// `C_InitToken`; the label comes with or without its padding.
    pub fn init_token(&self, slot: CK_SLOT_ID, pin: &[u8], label: &[u8]) -> Result<()> {
        let token = self.slot(slot)?;
        if !self.sessions_of(token).is_empty() {
            return Err(Error::SessionExists);
        }
        let label = std::str::from_utf8(label).map_err(|_| Error::ArgumentsBad)?;
        token.initialize(pin, label.trim_end_matches(' ').to_owned())
    }

    /// `C_GetMechanismList`
    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>> {
        self.check_slot(slot)?;
        Ok(self.dialect.mechanism_numbers())
    }

    /// What a mechanism's number means to this device.
    pub fn mechanism(&self, number: CK_MECHANISM_TYPE) -> Result<Mechanism> {
        self.dialect.mechanism(number).ok_or(Error::MechanismInvalid)
    }
}

fn pin_flags(failures: u32, [low, last_try, locked]: [CK_FLAGS; 3]) -> CK_FLAGS {
    match failures {
        0 => 0,
        MOST_FAILURES.. => low | locked,
        failures if failures == MOST_FAILURES - 1 => low | last_try,
        _ => low,
    }
}
