//! The C ABI: the one place with `unsafe`, and the one with globals.
//!
//! Every `C_` function turns the caller's memory into values, calls the safe [`Module`], and writes the answer back.
//!
//! SAFETY, for every block below: PKCS#11 obliges the caller to pass pointers that are null or valid for the length
//! given beside them, for the duration of the call, and output memory that nobody else touches meanwhile. Null and
//! impossible lengths are refused; nothing is assumed about alignment; no reference outlives the call. `memory`
//! holds all code that dereferences a pointer.
#![allow(unsafe_code, non_snake_case)]

mod general;
mod keys;
mod list;
mod memory;
mod objects;
mod operations;
mod parameter;
mod sessions;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, RwLock},
};

use cryptoki_sys::{CK_RV, CKR_OK};

use crate::{
    breakdown::Visit,
    error::{Error, Result},
    fault::Faults,
    lock::read,
    module::Module,
};

static MODULE: RwLock<Option<Arc<Module>>> = RwLock::new(None);

/// Outlives the module, since some faults last until `C_Initialize` or beyond.
static FAULTS: Mutex<Option<Arc<Faults>>> = Mutex::new(None);

/// Runs a function, unless what is broken forbids it.
fn run(visit: Visit<'_>, body: impl FnOnce(&Module) -> Result<()>) -> CK_RV {
    guarded(|| {
        let module = initialised()?;
        module.enter(&visit)?;
        let outcome = body(&module);
        module.leave(&visit);
        Ok(outcome?)
    })
}

/// The rim: whatever happens inside, the caller gets a return value.
fn guarded(body: impl FnOnce() -> std::result::Result<(), CK_RV>) -> CK_RV {
    // No state is left half-changed by a panic, see `lock`.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(rv)) => rv,
        Err(_) => Error::GeneralError.rv(),
    }
}

fn initialised() -> Result<Arc<Module>> {
    read(&MODULE).clone().ok_or(Error::CryptokiNotInitialized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Function;

    #[test]
    fn a_panic_becomes_a_return_value() {
        assert_eq!(guarded(|| panic!("on purpose")), Error::GeneralError.rv());
    }

    #[test]
    fn nothing_works_before_initialisation() {
        let outcome = run(Visit::new(Function::GetInfo), |_| Ok(()));
        assert_eq!(outcome, Error::CryptokiNotInitialized.rv());
    }
}
