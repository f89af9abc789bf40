//! Tokens, PINs, sessions and who may do what.

mod device;

use cryptoki::{
    error::RvError,
    object::{Attribute, ObjectClass},
    session::{SessionState, UserType},
};
use device::*;

#[test]
fn a_new_token_shows_its_label_and_which_pins_it_has() {
    let (pkcs11, slot) = (&DEVICE.pkcs11, fresh_slot());
    let info = pkcs11.get_token_info(slot).unwrap();
    assert!(!info.token_initialized() && !info.user_pin_initialized() && info.login_required());
    assert_eq!(refused(pkcs11.open_rw_session(slot)), RvError::TokenNotRecognized);

    pkcs11.init_token(slot, &pin(SO_PIN), "执照 1").unwrap();
    let info = pkcs11.get_token_info(slot).unwrap();
    assert!(info.token_initialized() && !info.user_pin_initialized());
    assert_eq!((info.label(), info.model()), ("执照 1", "SIM-SM2"));
    assert_eq!(info.serial_number(), format!("SIM{:06}", slot.id()));

    let session = pkcs11.open_rw_session(slot).unwrap();
    assert_eq!(refused(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::UserPinNotInitialized);
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(USER_PIN)).unwrap();
    assert!(pkcs11.get_token_info(slot).unwrap().user_pin_initialized());
}

#[test]
fn initialising_again_needs_the_so_pin_and_takes_everything_away() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let pkcs11 = &DEVICE.pkcs11;
    sm2_pair(&session, &[Attribute::Token(true)]);
    assert_eq!(refused(pkcs11.init_token(slot, &pin(SO_PIN), "again")), RvError::SessionExists);
    session.close().unwrap();
    assert_eq!(refused(pkcs11.init_token(slot, &pin("wrong-so"), "again")), RvError::PinIncorrect);
    initialize_token(pkcs11, slot);
    assert_eq!(log_in(pkcs11, slot).find_objects(&[]).unwrap(), []);
}

#[test]
fn a_login_holds_for_every_session_of_the_token_and_ends_with_the_last() {
    let first = fresh_session();
    let slot = first.get_session_info().unwrap().slot_id();
    let second = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    assert_eq!(second.get_session_info().unwrap().session_state(), SessionState::RoUser);
    assert_eq!(refused(second.login(UserType::User, Some(&pin(USER_PIN)))), RvError::UserAlreadyLoggedIn);
    assert_eq!(refused(first.login(UserType::So, Some(&pin(SO_PIN)))), RvError::SessionReadOnlyExists);
    first.close().unwrap();
    assert_eq!(second.get_session_info().unwrap().session_state(), SessionState::RoUser);
    second.close().unwrap();
    let third = DEVICE.pkcs11.open_rw_session(slot).unwrap();
    assert_eq!(third.get_session_info().unwrap().session_state(), SessionState::RwPublic);
    third.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    assert_eq!(
        refused(third.login(UserType::User, Some(&pin(USER_PIN)))),
        RvError::UserAnotherAlreadyLoggedIn
    );
    assert_eq!(refused(DEVICE.pkcs11.open_ro_session(slot)), RvError::SessionReadWriteSoExists);
    third.logout().unwrap();
    assert_eq!(refused(third.logout()), RvError::UserNotLoggedIn);
}

#[test]
fn ten_wrong_pins_lock_the_user_out_until_the_security_officer_helps() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    session.logout().unwrap();
    let info = || DEVICE.pkcs11.get_token_info(slot).unwrap();
    for wrong in 1..=9 {
        assert_eq!(refused(session.login(UserType::User, Some(&pin("9999")))), RvError::PinIncorrect);
        assert!(info().user_pin_count_low(), "{wrong}");
        assert_eq!(info().user_pin_final_try(), wrong == 9);
    }
    assert_eq!(refused(session.login(UserType::User, Some(&pin("9999")))), RvError::PinLocked);
    assert!(info().user_pin_locked());
    assert_eq!(refused(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::PinLocked);

    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin("5678")).unwrap();
    session.logout().unwrap();
    assert!(!info().user_pin_locked());
    session.login(UserType::User, Some(&pin("5678"))).unwrap();
}

#[test]
fn a_good_login_forgets_earlier_mistakes() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    session.logout().unwrap();
    refused(session.login(UserType::User, Some(&pin("9999"))));
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    assert!(!DEVICE.pkcs11.get_token_info(slot).unwrap().user_pin_count_low());
}

#[test]
fn a_changed_pin_opens_what_the_old_one_did() {
    let session = fresh_session();
    let label = Attribute::Label(b"kept".to_vec());
    sm2_pair(&session, &[Attribute::Token(true), label.clone()]);
    assert_eq!(refused(session.set_pin(&pin(USER_PIN), &pin("123"))), RvError::PinLenRange);
    session.set_pin(&pin(USER_PIN), &pin("another pin")).unwrap();
    session.logout().unwrap();
    assert_eq!(refused(session.login(UserType::User, Some(&pin(USER_PIN)))), RvError::PinIncorrect);
    session.login(UserType::User, Some(&pin("another pin"))).unwrap();
    let found = session.find_objects(&[label]).unwrap();
    session.sign(&vendor(SM2), found[0], &[7; 32]).unwrap();
}

#[test]
fn only_the_security_officer_sets_the_users_pin() {
    let session = fresh_session();
    assert_eq!(refused(session.init_pin(&pin("5678"))), RvError::UserNotLoggedIn);
}

#[test]
fn private_objects_are_neither_seen_nor_made_without_the_user() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[Attribute::Token(true)]);
    session.logout().unwrap();
    assert_eq!(refused(session.sign(&vendor(SM2), private, &[7; 32])), RvError::KeyHandleInvalid);
    assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap(), []);
    // The public half is a session object, and public: it stays.
    assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap(), [public]);
    let outcome = session.generate_key_pair(&vendor(SM2_KEY_PAIR_GEN), &[], &[]);
    assert_eq!(refused(outcome), RvError::UserNotLoggedIn);
}

#[test]
fn a_read_only_session_changes_no_token_object() {
    let writing = fresh_session();
    let slot = writing.get_session_info().unwrap().slot_id();
    let (_, private) = sm2_pair(&writing, &[Attribute::Token(true)]);
    let reading = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    let token = [Attribute::Token(true)];
    let outcome = reading.generate_key_pair(&vendor(SM2_KEY_PAIR_GEN), &[], &token);
    assert_eq!(refused(outcome), RvError::SessionReadOnly);
    assert_eq!(refused(reading.destroy_object(private)), RvError::SessionReadOnly);
    let label = [Attribute::Label(b"new".to_vec())];
    assert_eq!(refused(reading.update_attributes(private, &label)), RvError::SessionReadOnly);
    // Session objects, and the use of token objects, are open to it.
    sm2_pair(&reading, &[]);
    reading.sign(&vendor(SM2), private, &[7; 32]).unwrap();
}

#[test]
fn an_unknown_slot_is_refused() {
    let slot = cryptoki::slot::Slot::try_from(SLOTS + 1).unwrap();
    assert_eq!(refused(DEVICE.pkcs11.get_token_info(slot)), RvError::SlotIdInvalid);
    assert_eq!(refused(DEVICE.pkcs11.open_rw_session(slot)), RvError::SlotIdInvalid);
}
