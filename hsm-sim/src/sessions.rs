//! `C_OpenSession` to `C_Logout`, and the PINs.

use std::sync::Arc;

use cryptoki_sys::*;

use crate::{
    error::{Error, Result},
    lock::write,
    module::Module,
    session::Session,
    slot::{Login, Slot},
};

/// What `C_GetSessionInfo` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionInfo {
    /// The slot's number.
    pub slot: CK_SLOT_ID,
    /// The `CKS_` state.
    pub state: CK_STATE,
    /// The `CKF_` flags it was opened with.
    pub flags: CK_FLAGS,
}

impl Module {
    /// `C_OpenSession`
    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
        let token = self.slot(slot)?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(Error::SessionParallelNotSupported);
        }
        if token.record()?.is_none() {
            return Err(Error::TokenNotRecognized);
        }
        let read_write = flags & CKF_RW_SESSION != 0;
        let limit = self.session_limit.min(self.faults.current().session_limit.unwrap_or(usize::MAX));
        let mut sessions = write(&self.sessions);
        if !read_write && token.login().is_security_officer() {
            return Err(Error::SessionReadWriteSoExists);
        }
        if sessions.len() >= limit {
            return Err(Error::SessionCount);
        }
        let handle = self.next_session_handle();
        sessions.insert(handle, Arc::new(Session::new(handle, token.clone(), read_write)));
        Ok(handle)
    }

    /// `C_CloseSession`; the token's last one logs out.
    pub fn close_session(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = write(&self.sessions).remove(&handle).ok_or(Error::SessionHandleInvalid)?;
        session.slot.forget_session(handle);
        self.log_out_if_unused(&session.slot);
        Ok(())
    }

    /// `C_CloseAllSessions`
    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<()> {
        self.close_sessions(self.slot(slot)?);
        Ok(())
    }

    pub(crate) fn close_sessions(&self, token: &Slot) {
        for session in self.sessions_of(token) {
            write(&self.sessions).remove(&session.handle);
            token.forget_session(session.handle);
        }
        self.log_out_if_unused(token);
    }

    fn log_out_if_unused(&self, token: &Slot) {
        if self.sessions_of(token).is_empty() && !matches!(token.login(), Login::Nobody) {
            // Somebody else may have logged out in between, which comes to the same.
            let _ = token.log_out();
        }
    }

    /// `C_GetSessionInfo`
    pub fn session_info(&self, handle: CK_SESSION_HANDLE) -> Result<SessionInfo> {
        let session = self.session(handle)?;
        let writing = if session.read_write { CKF_RW_SESSION } else { 0 };
        Ok(SessionInfo {
            slot: self.slot_number(&session.slot),
            state: session.state(),
            flags: CKF_SERIAL_SESSION | writing,
        })
    }

    /// `C_Login`
    pub fn login(&self, handle: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> Result<()> {
        let session = self.session(handle)?;
        let read_only_exists = || self.sessions_of(&session.slot).iter().any(|session| !session.read_write);
        if user == CKU_SO && read_only_exists() {
            return Err(Error::SessionReadOnlyExists);
        }
        session.slot.log_in(user, pin)
    }

    /// `C_Logout`; operations under way in the token's sessions end.
    pub fn logout(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.session(handle)?;
        self.log_out(&session.slot)
    }

    pub(crate) fn log_out(&self, token: &Slot) -> Result<()> {
        token.log_out()?;
        for session in self.sessions_of(token) {
            session.abandon();
        }
        Ok(())
    }

    /// `C_InitPIN`
    pub fn init_pin(&self, handle: CK_SESSION_HANDLE, pin: &[u8]) -> Result<()> {
        self.session(handle)?.slot.init_pin(pin)
    }

    /// `C_SetPIN`
    pub fn set_pin(&self, handle: CK_SESSION_HANDLE, old: &[u8], new: &[u8]) -> Result<()> {
        let session = self.session(handle)?;
        if !session.read_write {
            return Err(Error::SessionReadOnly);
        }
        session.slot.set_pin(old, new)
    }
}
