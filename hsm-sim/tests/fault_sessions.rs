//! Sessions and logins that the device loses.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{thread, time::Duration, time::Instant};

use cryptoki::{
    error::RvError,
    object::Attribute,
    session::{Session, SessionState, UserType},
};
use device::*;

const E: [u8; 32] = [3; 32];

#[test]
fn a_dropped_session_is_gone_and_the_others_stay() {
    let turn = Turn::take();
    let (kept, lost) = (fresh_session(), fresh_session());
    let (_, key) = sm2_pair(&lost, &[]);
    turn.set(&format!(
        "[[fault]]\nfunction = 'C_Sign'\nsession = {}\naction = 'drop_session'\ncount = 1\n",
        lost.handle()
    ));
    assert_eq!(refused(lost.sign(&vendor(SM2), key, &E)), RvError::SessionHandleInvalid);
    assert_eq!(refused(lost.generate_random_vec(8)), RvError::SessionHandleInvalid);
    assert!(lost.get_session_info().is_err());
    kept.generate_random_vec(8).unwrap();
}

#[test]
fn all_sessions_are_lost_at_once_and_new_ones_need_a_login() {
    let turn = Turn::take();
    let sessions = [fresh_session(), fresh_session()];
    let slot = sessions[0].get_session_info().unwrap().slot_id();
    turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'lose_sessions'\ncount = 1\n");
    for session in &sessions {
        assert_eq!(refused(session.generate_random_vec(8)), RvError::SessionHandleInvalid);
    }
    let session = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    assert_eq!(session.get_session_info().unwrap().session_state(), SessionState::RoPublic);
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
}

#[test]
fn a_lost_login_says_so_until_somebody_logs_in_again() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let wanted = [Attribute::Token(true), Attribute::Id(vec![1])];
    let (_, key) = sm2_pair(&session, &wanted);
    let other = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    turn.set("[[fault]]\nfunction = 'C_Sign'\naction = 'lose_login'\ncount = 1\n");
    assert_eq!(refused(session.sign(&vendor(SM2), key, &E)), RvError::UserNotLoggedIn);
    assert_eq!(refused(session.sign(&vendor(SM2), key, &E)), RvError::UserNotLoggedIn);
    assert_eq!(refused(other.sign(&vendor(SM2), key, &E)), RvError::UserNotLoggedIn);
    assert_eq!(other.get_session_info().unwrap().session_state(), SessionState::RoPublic);
    other.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    let found = session.find_objects(&wanted).unwrap();
    session.sign(&vendor(SM2), found[0], &E).unwrap();
}

#[test]
fn an_operation_stays_active_although_it_is_done() {
    let turn = Turn::take();
    let session = fresh_session();
    let (public, key) = sm2_pair(&session, &[]);
    turn.set("[[fault]]\nfunction = 'C_Sign'\naction = 'leave_active'\ncount = 1\n");
    let signature = session.sign(&vendor(SM2), key, &E).unwrap();
    session.verify(&vendor(SM2), public, &E, &signature).unwrap();
    assert_eq!(refused(session.sign(&vendor(SM2), key, &E)), RvError::OperationActive);
    // A new session has no such trouble, which is the cure.
    let slot = session.get_session_info().unwrap().slot_id();
    DEVICE.pkcs11.open_ro_session(slot).unwrap().sign(&vendor(SM2), key, &E).unwrap();
}

/// Lets sessions be idle for longer than three seconds, but for one that is used ten times a second.
fn rest_but_for(busy: &Session) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(3200) {
        busy.generate_random_vec(8).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_session_unused_for_too_long_is_gone_and_one_in_use_is_not() {
    let turn = Turn::take();
    let idle = fresh_session();
    let busy = fresh_session();
    turn.set("[[fault]]\naction = 'idle_drop'\nms = 3000\n");
    idle.generate_random_vec(8).unwrap();
    rest_but_for(&busy);
    assert_eq!(refused(idle.generate_random_vec(8)), RvError::SessionHandleInvalid);
    busy.generate_random_vec(8).unwrap();
}

#[test]
fn a_forgotten_connection_hangs_at_its_next_use_and_no_other() {
    let turn = Turn::take();
    let (idle, busy) = (fresh_session(), fresh_session());
    turn.set("[[fault]]\naction = 'idle_drop'\nms = 3000\nhang = true\n");
    idle.generate_random_vec(8).unwrap();
    rest_but_for(&busy);
    thread::scope(|scope| {
        let hung = scope.spawn(move || idle.generate_random_vec(8));
        // Time enough for it to begin.
        thread::sleep(Duration::from_millis(100));
        busy.generate_random_vec(8).unwrap();
        assert!(!hung.is_finished(), "the other one hangs still");
        turn.set("");
        hung.join().unwrap().unwrap();
    });
}
