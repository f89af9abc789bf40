//! The function list: every one of PKCS#11 v2.40's 68 functions has an entry.

use cryptoki_sys::*;

use super::{general, keys, objects, operations, run, sessions};
use crate::{breakdown::Visit, error::Error, function::Function};

/// Functions that only say no.
macro_rules! refusing {
    ($error:ident: $($name:ident = $function:ident(CK_SESSION_HANDLE $(, $argument:ty)*);)+) => {
        $(unsafe extern "C" fn $name(session: CK_SESSION_HANDLE $(, _: $argument)*) -> CK_RV {
            run(Visit::in_session(Function::$function, session), |_| Err(Error::$error))
        })+
    };
}

refusing! { FunctionNotSupported:
    C_GetOperationState = GetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, *mut CK_ULONG);
    C_SetOperationState = SetOperationState(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);
    C_DigestKey = DigestKey(CK_SESSION_HANDLE, CK_OBJECT_HANDLE);
    C_SignRecoverInit = SignRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_SignRecover = SignRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_VerifyRecoverInit = VerifyRecoverInit(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE);
    C_VerifyRecover = VerifyRecover(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DigestEncryptUpdate = DigestEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DecryptDigestUpdate = DecryptDigestUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_SignEncryptUpdate = SignEncryptUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
    C_DecryptVerifyUpdate = DecryptVerifyUpdate(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG);
}

refusing! { FunctionNotParallel:
    C_GetFunctionStatus = GetFunctionStatus(CK_SESSION_HANDLE);
    C_CancelFunction = CancelFunction(CK_SESSION_HANDLE);
}

pub(super) static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    version: CK_VERSION { major: 2, minor: 40 },
    C_Initialize: Some(general::C_Initialize),
    C_Finalize: Some(general::C_Finalize),
    C_GetInfo: Some(general::C_GetInfo),
    C_GetFunctionList: Some(general::C_GetFunctionList),
    C_GetSlotList: Some(general::C_GetSlotList),
    C_GetSlotInfo: Some(general::C_GetSlotInfo),
    C_GetTokenInfo: Some(general::C_GetTokenInfo),
    C_GetMechanismList: Some(general::C_GetMechanismList),
    C_GetMechanismInfo: Some(general::C_GetMechanismInfo),
    C_InitToken: Some(sessions::C_InitToken),
    C_InitPIN: Some(sessions::C_InitPIN),
    C_SetPIN: Some(sessions::C_SetPIN),
    C_OpenSession: Some(sessions::C_OpenSession),
    C_CloseSession: Some(sessions::C_CloseSession),
    C_CloseAllSessions: Some(sessions::C_CloseAllSessions),
    C_GetSessionInfo: Some(sessions::C_GetSessionInfo),
    C_GetOperationState: Some(C_GetOperationState),
    C_SetOperationState: Some(C_SetOperationState),
    C_Login: Some(sessions::C_Login),
    C_Logout: Some(sessions::C_Logout),
    C_CreateObject: Some(objects::C_CreateObject),
    C_CopyObject: Some(objects::C_CopyObject),
    C_DestroyObject: Some(objects::C_DestroyObject),
    C_GetObjectSize: Some(objects::C_GetObjectSize),
    C_GetAttributeValue: Some(objects::C_GetAttributeValue),
    C_SetAttributeValue: Some(objects::C_SetAttributeValue),
    C_FindObjectsInit: Some(objects::C_FindObjectsInit),
    C_FindObjects: Some(objects::C_FindObjects),
    C_FindObjectsFinal: Some(objects::C_FindObjectsFinal),
    C_EncryptInit: Some(operations::C_EncryptInit),
    C_Encrypt: Some(operations::C_Encrypt),
    C_EncryptUpdate: Some(operations::C_EncryptUpdate),
    C_EncryptFinal: Some(operations::C_EncryptFinal),
    C_DecryptInit: Some(operations::C_DecryptInit),
    C_Decrypt: Some(operations::C_Decrypt),
    C_DecryptUpdate: Some(operations::C_DecryptUpdate),
    C_DecryptFinal: Some(operations::C_DecryptFinal),
    C_DigestInit: Some(operations::C_DigestInit),
    C_Digest: Some(operations::C_Digest),
    C_DigestUpdate: Some(operations::C_DigestUpdate),
    C_DigestKey: Some(C_DigestKey),
    C_DigestFinal: Some(operations::C_DigestFinal),
    C_SignInit: Some(operations::C_SignInit),
    C_Sign: Some(operations::C_Sign),
    C_SignUpdate: Some(operations::C_SignUpdate),
    C_SignFinal: Some(operations::C_SignFinal),
    C_SignRecoverInit: Some(C_SignRecoverInit),
    C_SignRecover: Some(C_SignRecover),
    C_VerifyInit: Some(operations::C_VerifyInit),
    C_Verify: Some(operations::C_Verify),
    C_VerifyUpdate: Some(operations::C_VerifyUpdate),
    C_VerifyFinal: Some(operations::C_VerifyFinal),
    C_VerifyRecoverInit: Some(C_VerifyRecoverInit),
    C_VerifyRecover: Some(C_VerifyRecover),
    C_DigestEncryptUpdate: Some(C_DigestEncryptUpdate),
    C_DecryptDigestUpdate: Some(C_DecryptDigestUpdate),
    C_SignEncryptUpdate: Some(C_SignEncryptUpdate),
    C_DecryptVerifyUpdate: Some(C_DecryptVerifyUpdate),
    C_GenerateKey: Some(keys::C_GenerateKey),
    C_GenerateKeyPair: Some(keys::C_GenerateKeyPair),
    C_WrapKey: Some(keys::C_WrapKey),
    C_UnwrapKey: Some(keys::C_UnwrapKey),
    C_DeriveKey: Some(keys::C_DeriveKey),
    C_SeedRandom: Some(operations::C_SeedRandom),
    C_GenerateRandom: Some(operations::C_GenerateRandom),
    C_GetFunctionStatus: Some(C_GetFunctionStatus),
    C_CancelFunction: Some(C_CancelFunction),
    C_WaitForSlotEvent: Some(general::C_WaitForSlotEvent),
};
