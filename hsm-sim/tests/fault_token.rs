//! Tokens that leave their slots, and slots that change their numbers.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{error::RvError, slot::Slot};
use device::*;

#[test]
fn a_removed_token_takes_its_sessions_along_and_comes_back_without_them() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    turn.set("[[fault]]\naction = 'remove_token'\n");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::DeviceRemoved);
    assert_eq!(refused(DEVICE.pkcs11.open_ro_session(slot)), RvError::TokenNotPresent);
    assert_eq!(refused(DEVICE.pkcs11.get_token_info(slot)), RvError::TokenNotPresent);
    assert_eq!(DEVICE.pkcs11.get_slots_with_token().unwrap(), []);
    assert_eq!(DEVICE.pkcs11.get_all_slots().unwrap().len(), SLOTS as usize);
    assert!(!DEVICE.pkcs11.get_slot_info(slot).unwrap().token_present());
    turn.set("");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::SessionHandleInvalid);
    log_in(&DEVICE.pkcs11, slot).generate_random_vec(8).unwrap();
}

#[test]
fn a_token_may_leave_in_the_middle_of_traffic() {
    let turn = Turn::take();
    let session = fresh_session();
    turn.set("[[fault]]\naction = 'remove_token'\nfunction = 'C_GenerateRandom'\nskip = 3\n");
    let outcomes: Vec<_> = (0..6).map(|_| session.generate_random_vec(8).is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, false, false, false]);
    assert_eq!(DEVICE.pkcs11.get_slots_with_token().unwrap(), []);
}

#[test]
fn renumbered_slots_hold_the_same_tokens() {
    let turn = Turn::take();
    let session = fresh_session();
    let before = session.get_session_info().unwrap().slot_id();
    let serial = |slot: Slot| DEVICE.pkcs11.get_token_info(slot).unwrap().serial_number().to_owned();
    let wanted = serial(before);
    turn.set("[[fault]]\naction = 'renumber_slots'\n");
    let slots = DEVICE.pkcs11.get_slots_with_token().unwrap();
    let now = slots.iter().copied().find(|slot| serial(*slot) == wanted).unwrap();
    assert_eq!(now.id(), before.id() + 1);
    assert_eq!(session.get_session_info().unwrap().slot_id(), now);
    let first = Slot::try_from(0_u64).unwrap();
    assert_eq!(refused(DEVICE.pkcs11.get_token_info(first)), RvError::SlotIdInvalid);
    DEVICE.pkcs11.open_ro_session(now).unwrap().close().unwrap();
    turn.set("");
    assert_eq!(serial(before), wanted);
}
