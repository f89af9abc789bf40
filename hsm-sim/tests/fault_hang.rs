//! Calls that hang: they hold up themselves and nobody else.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    sync::mpsc::{RecvTimeoutError, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use cryptoki::session::UserType;
use device::*;

const E: [u8; 32] = [3; 32];
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_hung_signature_blocks_its_session_alone_until_the_fault_is_gone() {
    let turn = Turn::take();
    let hung = fresh_session();
    let slot = hung.get_session_info().unwrap().slot_id();
    let (_, key) = sm2_pair(&hung, &[]);
    let free = DEVICE.pkcs11.open_ro_session(slot).unwrap();
    turn.set(&format!("[[fault]]\nfunction = 'C_Sign'\nsession = {}\naction = 'hang'\n", hung.handle()));
    let (done, wait) = channel();
    thread::scope(|scope| {
        scope.spawn(move || done.send(hung.sign(&vendor(SM2), key, &E)).unwrap());
        assert_eq!(wait.recv_timeout(SHORT).unwrap_err(), RecvTimeoutError::Timeout);
        // Everything else goes on: signing, searching, sessions that come and go.
        free.sign(&vendor(SM2), key, &E).unwrap();
        free.find_objects(&[]).unwrap();
        DEVICE.pkcs11.open_rw_session(slot).unwrap().close().unwrap();
        assert_eq!(wait.try_recv().unwrap_err(), TryRecvError::Empty, "all this while it hangs still");
        turn.set("");
        assert!(wait.recv_timeout(LONG).unwrap().is_ok());
    });
}

#[test]
fn a_hung_login_leaves_other_tokens_alone() {
    let turn = Turn::take();
    let (hung, free) = (fresh_session(), fresh_session());
    hung.logout().unwrap();
    turn.set("[[fault]]\nfunction = 'C_Login'\naction = 'hang'\n");
    let (done, wait) = channel();
    thread::scope(|scope| {
        scope.spawn(move || done.send(hung.login(UserType::User, Some(&pin(USER_PIN)))).unwrap());
        assert_eq!(wait.recv_timeout(SHORT).unwrap_err(), RecvTimeoutError::Timeout);
        sm2_pair(&free, &[]);
        turn.set("");
        assert!(wait.recv_timeout(LONG).unwrap().is_ok());
    });
}

#[test]
fn a_hang_may_end_by_itself() {
    let turn = Turn::take();
    let session = fresh_session();
    turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'hang'\nfor_ms = 80\ncount = 1\n");
    let start = Instant::now();
    session.generate_random_vec(8).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(80));
}
