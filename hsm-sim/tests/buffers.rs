//! The C calling conventions that a wrapper hides: lengths, null pointers, operations that stay alive.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![allow(unsafe_code, reason = "the C functions are called as a C program would")]

mod device;

use std::ptr::null_mut;

use cryptoki::object::Attribute;
use cryptoki_sys::*;
use device::*;

/// The module's own function list.
fn functions() -> &'static CK_FUNCTION_LIST {
    // SAFETY: the module stays loaded for the program's whole life, and the list with it.
    unsafe {
        let library = Box::leak(Box::new(libloading::Library::new(module_path()).unwrap()));
        let get: libloading::Symbol<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList").unwrap();
        let mut list = null_mut();
        assert_eq!(get(&mut list), CKR_OK);
        assert_eq!(get(null_mut()), CKR_ARGUMENTS_BAD);
        &*list
    }
}

/// Calls a function of the list.
macro_rules! c {
    ($name:ident($($argument:expr),*)) => {
        // SAFETY: pointers are to live locals, or null on purpose.
        unsafe { functions().$name.unwrap()($($argument),*) }
    };
}

fn mechanism(number: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: number, pParameter: null_mut(), ulParameterLen: 0 }
}

fn ask(type_: CK_ATTRIBUTE_TYPE, room: Option<&mut [u8]>) -> CK_ATTRIBUTE {
    match room {
        None => CK_ATTRIBUTE { type_, pValue: null_mut(), ulValueLen: 0 },
        Some(room) => {
            CK_ATTRIBUTE { type_, pValue: room.as_mut_ptr().cast(), ulValueLen: room.len() as CK_ULONG }
        }
    }
}

#[test]
fn a_length_query_and_a_short_buffer_keep_the_signature_alive() {
    let session = fresh_session();
    let handle = session.handle();
    let (_, key) = sm2_pair(&session, &[]);
    let (mut sm2, mut e, mut signature) = (mechanism(SM2), [7_u8; 32], [0_u8; 64]);
    assert_eq!(c!(C_SignInit(handle, &mut sm2, key.handle())), CKR_OK);
    assert_eq!(c!(C_SignInit(handle, &mut sm2, key.handle())), CKR_OPERATION_ACTIVE);
    let mut len = 0;
    assert_eq!(c!(C_Sign(handle, e.as_mut_ptr(), 32, null_mut(), &mut len)), CKR_OK);
    assert_eq!(len, 64);
    len = 63;
    assert_eq!(
        c!(C_Sign(handle, e.as_mut_ptr(), 32, signature.as_mut_ptr(), &mut len)),
        CKR_BUFFER_TOO_SMALL
    );
    assert_eq!((len, signature), (64, [0; 64]));
    assert_eq!(c!(C_Sign(handle, e.as_mut_ptr(), 32, signature.as_mut_ptr(), &mut len)), CKR_OK);
    assert_ne!(signature, [0; 64]);
    assert_eq!(
        c!(C_Sign(handle, e.as_mut_ptr(), 32, signature.as_mut_ptr(), &mut len)),
        CKR_OPERATION_NOT_INITIALIZED
    );
}

#[test]
fn a_failure_ends_the_operation_and_a_null_mechanism_cancels_it() {
    let session = fresh_session();
    let handle = session.handle();
    let (_, key) = sm2_pair(&session, &[]);
    let (mut sm2, mut e, mut signature, mut len) = (mechanism(SM2), [7_u8; 31], [0_u8; 64], 64);
    assert_eq!(c!(C_SignInit(handle, &mut sm2, key.handle())), CKR_OK);
    let mut sign = || c!(C_Sign(handle, e.as_mut_ptr(), 31, signature.as_mut_ptr(), &mut len));
    assert_eq!(sign(), CKR_DATA_LEN_RANGE);
    assert_eq!(sign(), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_SignInit(handle, &mut sm2, key.handle())), CKR_OK);
    assert_eq!(c!(C_SignInit(handle, null_mut(), 0)), CKR_OK);
    assert_eq!(sign(), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn the_two_ways_of_giving_data_do_not_mix() {
    let session = fresh_session();
    let handle = session.handle();
    let (mut sha, mut part, mut digest, mut len) = (mechanism(CKM_SHA256), *b"abc", [0_u8; 32], 32);
    assert_eq!(c!(C_DigestInit(handle, &mut sha)), CKR_OK);
    assert_eq!(c!(C_DigestUpdate(handle, part.as_mut_ptr(), 3)), CKR_OK);
    assert_eq!(
        c!(C_Digest(handle, part.as_mut_ptr(), 3, digest.as_mut_ptr(), &mut len)),
        CKR_OPERATION_ACTIVE
    );
    assert_eq!(c!(C_DigestFinal(handle, null_mut(), &mut len)), CKR_OK);
    assert_eq!(c!(C_DigestFinal(handle, digest.as_mut_ptr(), &mut len)), CKR_OK);
    assert_eq!(digest[..4], [0xBA, 0x78, 0x16, 0xBF]);
}

#[test]
fn decryption_asks_for_a_bound_and_takes_a_buffer_that_just_fits() {
    let session = fresh_session();
    let handle = session.handle();
    let key = session.generate_key(&vendor(SM4_KEY_GEN), &[]).unwrap();
    let mut iv = [1_u8; 16];
    let mut ciphertext = session.encrypt(&vendor_with(SM4_CBC_PAD, Some(&iv)), key, b"five!").unwrap();
    let mut pad = mechanism(SM4_CBC_PAD);
    (pad.pParameter, pad.ulParameterLen) = (iv.as_mut_ptr().cast(), 16);
    assert_eq!(c!(C_DecryptInit(handle, &mut pad, key.handle())), CKR_OK);
    let (mut plaintext, mut len) = ([0_u8; 5], 0);
    let mut decrypt =
        |place, len: &mut CK_ULONG| c!(C_Decrypt(handle, ciphertext.as_mut_ptr(), 16, place, len));
    assert_eq!(decrypt(null_mut(), &mut len), CKR_OK);
    assert_eq!(len, 16);
    len = 4;
    assert_eq!(decrypt(plaintext.as_mut_ptr(), &mut len), CKR_BUFFER_TOO_SMALL);
    assert_eq!(len, 5);
    assert_eq!(decrypt(plaintext.as_mut_ptr(), &mut len), CKR_OK);
    assert_eq!((&plaintext, len), (b"five!", 5));
}

#[test]
fn attributes_are_answered_one_by_one_even_when_the_call_fails() {
    let session = fresh_session();
    let handle = session.handle();
    let (_, key) = sm2_pair(&session, &[Attribute::Label(b"label".to_vec())]);
    let (mut label, mut class) = ([0_u8; 4], [0_u8; 8]);
    let mut template = [
        ask(CKA_VALUE, None),
        ask(CKA_MODULUS, None),
        ask(CKA_LABEL, Some(&mut label)),
        ask(CKA_CLASS, Some(&mut class)),
        ask(CKA_EC_POINT, None),
    ];
    let rv = c!(C_GetAttributeValue(handle, key.handle(), template.as_mut_ptr(), 5));
    assert_eq!(rv, CKR_ATTRIBUTE_SENSITIVE);
    let lens = template.map(|entry| entry.ulValueLen);
    let unavailable = CK_UNAVAILABLE_INFORMATION;
    assert_eq!(lens, [unavailable, unavailable, unavailable, 8, 67]);
    assert_eq!(class, CKO_PRIVATE_KEY.to_ne_bytes());

    let one = |type_, room: Option<&mut [u8]>| {
        let mut template = [ask(type_, room)];
        (c!(C_GetAttributeValue(handle, key.handle(), template.as_mut_ptr(), 1)), template[0].ulValueLen)
    };
    assert_eq!(one(CKA_MODULUS, None), (CKR_ATTRIBUTE_TYPE_INVALID, unavailable));
    assert_eq!(one(CKA_LABEL, Some(&mut label)), (CKR_BUFFER_TOO_SMALL, unavailable));
    assert_eq!(one(CKA_LABEL, None), (CKR_OK, 5));
    assert_eq!(one(CKA_LABEL, Some(&mut [0; 9])), (CKR_OK, 5));
}

#[test]
fn lists_tell_their_length_and_refuse_a_short_buffer() {
    let slot = fresh_slot().id();
    let _ = &*DEVICE;
    let mut count = 0;
    assert_eq!(c!(C_GetSlotList(CK_TRUE, null_mut(), &mut count)), CKR_OK);
    assert_eq!(count, SLOTS);
    let mut slots = [0; SLOTS as usize];
    count = 1;
    assert_eq!(c!(C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count)), CKR_BUFFER_TOO_SMALL);
    assert_eq!(count, SLOTS);
    assert_eq!(c!(C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count)), CKR_OK);
    assert_eq!(c!(C_GetMechanismList(slot, null_mut(), &mut count)), CKR_OK);
    let mut numbers = vec![0; count as usize];
    assert_eq!(c!(C_GetMechanismList(slot, numbers.as_mut_ptr(), &mut count)), CKR_OK);
    for number in numbers {
        let mut info = CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
        assert_eq!(c!(C_GetMechanismInfo(slot, number, &mut info)), CKR_OK, "{number:x}");
        assert!(info.flags & !CKF_HW != 0 && info.ulMinKeySize <= info.ulMaxKeySize, "{number:x}");
    }
}

#[test]
fn null_pointers_and_strange_flags_are_refused() {
    let session = fresh_session();
    let handle = session.handle();
    let slot = session.get_session_info().unwrap().slot_id().id();
    let mut other = 0;
    let bad = CKR_ARGUMENTS_BAD;
    assert_eq!(c!(C_OpenSession(slot, CKF_SERIAL_SESSION, null_mut(), None, null_mut())), bad);
    assert_eq!(
        c!(C_OpenSession(slot, CKF_RW_SESSION, null_mut(), None, &mut other)),
        CKR_SESSION_PARALLEL_NOT_SUPPORTED
    );
    assert_eq!(c!(C_GetSessionInfo(handle, null_mut())), bad);
    assert_eq!(c!(C_GetSessionInfo(handle + 1000, null_mut())), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(c!(C_GenerateRandom(handle, null_mut(), 8)), bad);
    assert_eq!(c!(C_FindObjectsInit(handle, null_mut(), 3)), bad);
    assert_eq!(c!(C_FindObjects(handle, null_mut(), 1, &mut other)), bad);
    assert_eq!(c!(C_FindObjectsFinal(handle)), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(c!(C_Login(handle, 77, null_mut(), 0)), CKR_USER_TYPE_INVALID);
    assert_eq!(c!(C_Initialize(null_mut())), CKR_CRYPTOKI_ALREADY_INITIALIZED);
}

#[test]
fn functions_not_offered_say_so() {
    let session = fresh_session();
    let handle = session.handle();
    let unsupported = CKR_FUNCTION_NOT_SUPPORTED;
    assert_eq!(c!(C_DigestKey(handle, 1)), unsupported);
    assert_eq!(c!(C_SignRecoverInit(handle, null_mut(), 1)), unsupported);
    assert_eq!(c!(C_GetOperationState(handle, null_mut(), null_mut())), unsupported);
    assert_eq!(c!(C_GetFunctionStatus(handle)), CKR_FUNCTION_NOT_PARALLEL);
    assert_eq!(c!(C_WaitForSlotEvent(CKF_DONT_BLOCK, null_mut(), null_mut())), CKR_NO_EVENT);
}
