//! Slow devices, devices with a queue, devices with fewer sessions than they say.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    thread,
    time::{Duration, Instant},
};

use cryptoki::error::RvError;
use device::*;

const BOUND: Duration = Duration::from_secs(60);

/// Tries until it was quick: a busy machine makes anything slow for once. What is too quick fails at once.
#[track_caller]
fn until_within(times: std::ops::Range<u128>, mut attempt: impl FnMut() -> u128) {
    let start = Instant::now();
    loop {
        let took = attempt();
        assert!(took >= times.start, "{took} ms");
        if took < times.end {
            return;
        }
        assert!(start.elapsed() < BOUND, "{took} ms");
    }
}

fn milliseconds(work: impl FnOnce()) -> u128 {
    let start = Instant::now();
    work();
    start.elapsed().as_millis()
}

#[test]
fn latency_is_drawn_from_its_distribution() {
    let turn = Turn::take();
    let session = fresh_session();
    turn.set("seed = 1\nlatency_ms = { distribution = 'uniform', min = 20, max = 40 }\n");
    for _ in 0..5 {
        until_within(20..200, || milliseconds(|| drop(session.generate_random_vec(8).unwrap())));
    }
    for distribution in
        ["'normal', mean = 30, deviation = 0", "'pareto', min = 30, shape = 1000", "'exponential', mean = 0"]
    {
        turn.set(&format!("latency_ms = {{ distribution = {distribution} }}\n"));
        let wanted = if distribution.ends_with("mean = 0") { 0..30 } else { 30..u128::MAX };
        until_within(wanted, || milliseconds(|| drop(session.generate_random_vec(8).unwrap())));
    }
}

#[test]
fn a_device_with_a_throughput_makes_all_sessions_wait_in_one_queue() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    // Twenty operations at fifty a second.
    until_within(400..1_500, || {
        turn.set("throughput = 50\n");
        milliseconds(|| {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
                        (0..5).for_each(|_| drop(own.generate_random_vec(8).unwrap()));
                    });
                }
            });
        })
    });
}

#[test]
fn a_delay_is_one_calls_own() {
    let turn = Turn::take();
    let session = fresh_session();
    let search = || milliseconds(|| drop(session.find_objects(&[]).unwrap()));
    until_within(0..60, || {
        turn.set("[[fault]]\nfunction = 'C_FindObjectsInit'\naction = 'delay'\nms = 60\ncount = 1\n");
        let (first, second) = (search(), search());
        assert!(first >= 60, "{first} ms");
        second
    });
}

#[test]
fn the_device_takes_fewer_sessions_than_it_says() {
    let turn = Turn::take();
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let open = |more: usize| (0..more).map(|_| DEVICE.pkcs11.open_ro_session(slot)).collect::<Vec<_>>();
    turn.set("session_limit = 4\n");
    let opened = open(5);
    assert_eq!(opened.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert_eq!(refused(DEVICE.pkcs11.open_ro_session(slot)), RvError::SessionCount);
    // What is open stays open below the limit.
    turn.set("session_limit = 1\n");
    session.generate_random_vec(8).unwrap();
    turn.set("");
    assert!(open(5).iter().all(Result::is_ok));
}
