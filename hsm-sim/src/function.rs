//! The functions of PKCS#11 v2.40 by name, and sets of them.

macro_rules! functions {
    ($($name:ident)+) => {
        /// A `C_` function. `C_GetFunctionList` is not among them: it comes before everything else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is the C_ function of its name")]
        pub enum Function { $($name),+ }

        const NAMED: &[(&str, Function)] = &[$((concat!("C_", stringify!($name)), Function::$name)),+];
    };
}

functions! {
    Initialize Finalize GetInfo GetSlotList GetSlotInfo GetTokenInfo GetMechanismList GetMechanismInfo InitToken
    InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo GetOperationState SetOperationState
    Login Logout CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue SetAttributeValue
    FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal DecryptInit
    Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate DigestKey DigestFinal SignInit Sign
    SignUpdate SignFinal SignRecoverInit SignRecover VerifyInit Verify VerifyUpdate VerifyFinal
    VerifyRecoverInit VerifyRecover DigestEncryptUpdate DecryptDigestUpdate SignEncryptUpdate
    DecryptVerifyUpdate GenerateKey GenerateKeyPair WrapKey UnwrapKey DeriveKey SeedRandom GenerateRandom
    GetFunctionStatus CancelFunction WaitForSlotEvent
}

use Function::*;

impl Function {
    /// The function of that name, `C_` included.
    pub fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(own, _)| *own == name).map(|(_, function)| *function)
    }

    /// Whether the call needs the device; the library itself answers all others.
    pub fn crosses_network(self) -> bool {
        !LIBRARY.contains(self)
    }
}

/// A set of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionSet(u128);

impl FunctionSet {
    /// Every function.
    pub const ALL: Self = Self((1 << NAMED.len()) - 1);

    /// The set of these.
    pub const fn of(functions: &[Function]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < functions.len() {
            bits |= 1 << functions[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    /// Whether the function is in the set.
    pub fn contains(self, function: Function) -> bool {
        self.0 & 1 << function as u32 != 0
    }

    /// What is in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in one of them.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one alone.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The module's own beginning and end.
const LIFE: FunctionSet = FunctionSet::of(&[Initialize, Finalize]);

/// What the library answers whatever the state of the device.
const LIBRARY: FunctionSet = LIFE.or(FunctionSet::of(&[
    GetInfo,
    GetSlotList,
    GetSlotInfo,
    GetMechanismList,
    GetMechanismInfo,
    WaitForSlotEvent,
    CloseSession,
    CloseAllSessions,
    GetSessionInfo,
    GetOperationState,
    SetOperationState,
    DigestKey,
    SignRecoverInit,
    SignRecover,
    VerifyRecoverInit,
    VerifyRecover,
    DigestEncryptUpdate,
    DecryptDigestUpdate,
    SignEncryptUpdate,
    DecryptVerifyUpdate,
    GetFunctionStatus,
    CancelFunction,
]));

/// What needs an initialised module.
pub(crate) const INITIALISED: FunctionSet = FunctionSet::ALL.without(LIFE);
/// What goes to the device.
pub(crate) const REMOTE: FunctionSet = FunctionSet::ALL.without(LIBRARY);
/// What names a slot and needs the token in it.
pub(crate) const TOKEN: FunctionSet =
    FunctionSet::of(&[GetTokenInfo, GetMechanismList, GetMechanismInfo, InitToken, OpenSession]);
/// What names a session.
pub(crate) const SESSION: FunctionSet = INITIALISED.without(TOKEN).without(FunctionSet::of(&[
    GetInfo,
    GetSlotList,
    GetSlotInfo,
    CloseAllSessions,
    WaitForSlotEvent,
]));
/// What works in a session, so that its loss is noticed.
pub(crate) const IN_SESSION: FunctionSet = SESSION.without(FunctionSet::of(&[CloseSession]));
/// What looks for objects.
pub(crate) const SEARCH: FunctionSet = FunctionSet::of(&[FindObjectsInit]);
/// What names an object without using it as a key.
pub(crate) const OBJECT: FunctionSet =
    FunctionSet::of(&[CopyObject, DestroyObject, GetObjectSize, GetAttributeValue, SetAttributeValue]);
/// What gives a signature.
pub(crate) const SIGNATURE: FunctionSet = FunctionSet::of(&[Sign, SignFinal]);
/// What gives an operation's result.
pub(crate) const RESULT: FunctionSet =
    SIGNATURE.or(FunctionSet::of(&[Encrypt, EncryptFinal, Decrypt, DecryptFinal, Digest, DigestFinal]));
/// What ends an operation.
pub(crate) const END: FunctionSet = RESULT.or(FunctionSet::of(&[Verify, VerifyFinal]));
/// What uses or makes private and secret keys.
pub(crate) const PRIVATE_KEY: FunctionSet = SIGNATURE.or(FunctionSet::of(&[
    SignInit,
    SignUpdate,
    EncryptInit,
    Encrypt,
    EncryptUpdate,
    EncryptFinal,
    DecryptInit,
    Decrypt,
    DecryptUpdate,
    DecryptFinal,
    GenerateKey,
    GenerateKeyPair,
    WrapKey,
    UnwrapKey,
    DeriveKey,
]));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_and_is_in_the_set_of_all() {
        assert_eq!(NAMED.len(), 67);
        for (name, function) in NAMED {
            assert_eq!(Function::named(name), Some(*function));
            assert!(FunctionSet::ALL.contains(*function));
        }
        assert_eq!(Function::named("C_GetFunctionList"), None);
        assert_eq!(Function::named("Sign"), None);
    }

    #[test]
    fn sets_hold_what_they_say() {
        assert!(SESSION.contains(Sign) && SESSION.contains(CloseSession) && !SESSION.contains(OpenSession));
        assert!(REMOTE.contains(Login) && !REMOTE.contains(GetSessionInfo));
        assert!(IN_SESSION.and(LIFE).is_empty());
    }
}
