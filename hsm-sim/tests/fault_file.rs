//! The fault file itself: it changes while calls run, and nonsense in it changes nothing.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cryptoki::error::RvError;
use device::*;

#[test]
fn faults_come_and_go_while_four_threads_call() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let stop = AtomicBool::new(false);
    // What each thread's last call came to.
    let last = [const { Mutex::new(None) }; 4];
    let call = |last: &Mutex<Option<RvError>>| {
        let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let outcome = own.generate_random_vec(8);
            *last.lock().unwrap() = outcome.is_err().then(|| refused(outcome));
        }
    };
    thread::scope(|scope| {
        for last in &last {
            scope.spawn(|| call(last));
        }
        // Files of the same length, one after the other.
        for (rv, error) in [(5, RvError::GeneralError), (6, RvError::FunctionFailed), (8, RvError::NoEvent)] {
            turn.set(&format!("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'error'\nrv = {rv}\n"));
            until(|| last.iter().all(|last| *last.lock().unwrap() == Some(error)));
        }
        turn.set("");
        until(|| last.iter().all(|last| last.lock().unwrap().is_none()));
        stop.store(true, Ordering::Relaxed);
    });
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "not within a minute");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_cannot_be_understood_leaves_everything_as_it_was() {
    let turn = Turn::take();
    let session = fresh_session();
    turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'error'\nrv = 6\n");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::FunctionFailed);
    for nonsense in [
        "unreachable = maybe\n",
        "[[fault]]\naction = 'sulk'\n",
        "[[fault]]\naction = 'hang'\nfunction = 'C_Sing'\n",
        "colour = 'red'\n",
    ] {
        turn.set(nonsense);
        assert_eq!(refused(session.generate_random_vec(8)), RvError::FunctionFailed, "{nonsense}");
    }
    fs::remove_file(DEVICE.site.path().join("fault.toml")).unwrap();
    thread::sleep(Duration::from_millis(25));
    session.generate_random_vec(8).unwrap();
}

#[test]
fn the_same_file_again_starts_its_counters_again() {
    let turn = Turn::take();
    let session = fresh_session();
    for _ in 0..3 {
        turn.set("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'error'\nrv = 5\ncount = 1\n");
        assert_eq!(refused(session.generate_random_vec(8)), RvError::GeneralError);
        session.generate_random_vec(8).unwrap();
    }
}
