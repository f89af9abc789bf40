//! Which calls a fault strikes: functions, counts, keys, sessions, chance.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use cryptoki::{error::RvError, object::Attribute, session::Session};
use device::*;

const E: [u8; 32] = [3; 32];

fn id(id: u8) -> Vec<Attribute> {
    vec![Attribute::Id(vec![id])]
}

#[test]
fn a_return_value_comes_by_name_by_number_and_from_the_vendors_range() {
    let turn = Turn::take();
    let session = fresh_session();
    let (_, key) = sm2_pair(&session, &[]);
    for (rv, error) in [
        ("'CKR_DEVICE_ERROR'", RvError::DeviceError),
        ("'CKR_FUNCTION_FAILED'", RvError::FunctionFailed),
        ("0x91", RvError::OperationNotInitialized),
        ("0x8000_0123", RvError::VendorDefined(0x8000_0123)),
    ] {
        turn.set(&format!("[[fault]]\nfunction = 'C_Sign'\naction = 'error'\nrv = {rv}\ncount = 1\n"));
        assert_eq!(refused(session.sign(&vendor(SM2), key, &E)), error);
        // The failed call ended its operation, so the next one begins.
        session.sign(&vendor(SM2), key, &E).unwrap();
    }
}

#[test]
fn skip_lets_calls_pass_and_count_ends_the_fault() {
    let turn = Turn::take();
    let session = fresh_session();
    turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'error'\nrv = 5\nskip = 2\ncount = 3\n");
    let outcomes: Vec<_> = (0..8).map(|_| session.generate_random_vec(8).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, false, false, true, true, true]);
}

#[test]
fn a_list_of_functions_and_all_of_them() {
    let turn = Turn::take();
    let session = fresh_session();
    let (_, key) = sm2_pair(&session, &[]);
    turn.set("[[fault]]\nfunction = ['C_FindObjectsInit', 'C_GenerateRandom']\naction = 'error'\nrv = 5\n");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::GeneralError);
    assert_eq!(refused(session.find_objects(&[])), RvError::GeneralError);
    session.sign(&vendor(SM2), key, &E).unwrap();
    turn.set("[[fault]]\nfunction = '*'\naction = 'error'\nrv = 5\n");
    assert_eq!(refused(session.sign(&vendor(SM2), key, &E)), RvError::GeneralError);
    assert_eq!(refused(DEVICE.pkcs11.get_all_slots()), RvError::GeneralError);
}

#[test]
fn counts_are_exact_while_eight_threads_call() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'error'\nrv = 5\nskip = 150\ncount = 100\n");
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
                let errors = (0..100).filter(|_| own.generate_random_vec(8).is_err()).count();
                failed.fetch_add(errors, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(failed.into_inner(), 100);
}

#[test]
fn one_key_fails_from_the_beginning_of_its_operation_to_the_end_and_others_do_not() {
    let turn = Turn::take();
    let session = fresh_session();
    let ((_, good), (_, bad)) = (sm2_pair(&session, &id(0x0A)), sm2_pair(&session, &id(0xB0)));
    for function in ["C_SignInit", "C_Sign"] {
        turn.set(&format!("[[fault]]\nfunction = '{function}'\nkey = 'b0'\naction = 'error'\nrv = 0x68\n"));
        session.sign(&vendor(SM2), good, &E).unwrap();
        let outcome = session.sign(&vendor(SM2), bad, &E);
        assert_eq!(refused(outcome), RvError::KeyFunctionNotPermitted, "{function}");
    }
}

#[test]
fn one_session_fails_and_others_do_not() {
    let turn = Turn::take();
    let first = fresh_session();
    let slot = first.get_session_info().unwrap().slot_id();
    let second = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    // The module numbers sessions from 1 in the order of their opening.
    let nth = second.handle();
    turn.set(&format!("[[fault]]\nfunction = '*'\nsession = {nth}\naction = 'error'\nrv = 5\n"));
    let works = |session: &Session| session.generate_random_vec(8).is_ok();
    assert_eq!((works(&first), works(&second)), (true, false));
}

#[test]
fn chance_follows_the_seed() {
    let turn = Turn::take();
    let session = fresh_session();
    let run = |seed: u64| -> Vec<bool> {
        turn.set(&format!(
            "seed = {seed}\n[[fault]]\nfunction = 'C_GenerateRandom'\nprobability = 0.5\naction = 'error'\nrv = 5\n"
        ));
        (0..64).map(|_| session.generate_random_vec(8).is_ok()).collect()
    };
    let first = run(1);
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(run(1), first);
    assert_ne!(run(2), first);
}
