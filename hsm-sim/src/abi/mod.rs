//! The C ABI: the one place with `unsafe`, and the one with a global.
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
    sync::{Arc, RwLock},
};

use cryptoki_sys::{CK_RV, CKR_OK};

use crate::{
    error::{Error, Result},
    lock::read,
    module::Module,
};

static MODULE: RwLock<Option<Arc<Module>>> = RwLock::new(None);

/// Runs a function that the library answers by itself.
fn local(body: impl FnOnce(&Module) -> Result<()>) -> CK_RV {
    guarded(|| body(&*initialised()?))
}

/// Runs a function that crosses the network to the device.
fn remote(body: impl FnOnce(&Module) -> Result<()>) -> CK_RV {
    guarded(|| {
        let module = initialised()?;
        module.reach()?;
        body(&module)
    })
}

/// The rim: whatever happens inside, the caller gets a return value.
fn guarded(body: impl FnOnce() -> Result<()>) -> CK_RV {
    // No state is left half-changed by a panic, see `lock`.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(error)) => error.rv(),
        Err(_) => Error::GeneralError.rv(),
    }
}

fn initialised() -> Result<Arc<Module>> {
    read(&MODULE).clone().ok_or(Error::CryptokiNotInitialized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_return_value() {
        assert_eq!(guarded(|| panic!("on purpose")), Error::GeneralError.rv());
    }

    #[test]
    fn nothing_works_before_initialisation() {
        assert_eq!(remote(|_| Ok(())), Error::CryptokiNotInitialized.rv());
    }
}
