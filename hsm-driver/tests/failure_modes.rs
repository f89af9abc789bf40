//! The twenty ways in which PKCS#11 devices fail, each provoked in a real module in a real worker. What holds
//! for all: nobody who asks for a signature notices as long as another device can serve.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use config::KeyId;
use hsm_driver::{Algorithm, Fleet, HsmError, KeyState, State};
use support::{BOUND, Workshop, import, spec, start, state, until, until_ready};

/// Two devices of one group, of which d1 breaks.
struct Pair {
    workshop: Workshop,
    fleet: Fleet,
}

impl Pair {
    async fn new() -> Self {
        Self::speaking("standard").await
    }

    async fn speaking(dialect: &str) -> Self {
        let workshop = Workshop::new();
        let devices = ["d1", "d2"].map(|device| {
            workshop.simulated_in(dialect, device, "bureau", vec![import("demo-sm2", "demo-sm2")])
        });
        let fleet = start(&devices, vec![spec("demo-sm2", "bureau")]);
        until_ready(&fleet).await;
        Self { workshop, fleet }
    }

    fn break_d1(&self, fault: &str) {
        self.workshop.fault("d1", fault);
    }

    fn mend_d1(&self) {
        self.workshop.fault("d1", "");
    }

    /// Asks for signatures one after the other; each must come, and it verified before it came.
    async fn sign(&self, times: usize) {
        for _ in 0..times {
            let key = KeyId::parse("demo-sm2").unwrap();
            let digest = std::array::from_fn(|_| fastrand::u8(..));
            support::sign(&self.fleet, &key, Algorithm::Sm2, digest).await.unwrap();
        }
    }

    /// Signs until something is true of d1, which may not be asked for a while: so many at a time, each of which must
    /// come.
    async fn sign_until(&self, what: &str, times: usize, holds: impl Fn(&hsm_driver::DeviceStatus) -> bool) {
        let started = Instant::now();
        loop {
            self.sign(times).await;
            let d1 = self.d1();
            if holds(&d1) {
                return;
            }
            assert!(started.elapsed() < BOUND, "{what}: {d1:#?}");
        }
    }

    async fn until(&self, what: &str, wanted: State) {
        until(&self.fleet, what, |fleet| state(fleet, "d1") == wanted).await;
    }

    /// Signs until d1 has signed once more: it is back at work.
    async fn until_d1_signs(&self) {
        let before = self.d1().signed;
        let started = Instant::now();
        while self.d1().signed == before {
            assert!(started.elapsed() < BOUND, "{:#?}", self.d1());
            self.sign(1).await;
        }
    }

    fn d1(&self) -> hsm_driver::DeviceStatus {
        self.fleet.status().remove(0)
    }
}

fn fault(action: &str, more: &str) -> String {
    format!("[[fault]]\naction = \"{action}\"\n{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_1_a_hung_signature_is_answered_by_another_device_and_its_worker_replaced() {
    let pair = Pair::new().await;
    pair.break_d1(&fault("hang", "function = \"C_Sign\""));
    pair.sign_until("d1's worker replaced", 30, |d1| d1.worker_starts > 1).await;
    pair.mend_d1();
    pair.until("d1 ready", State::Ready).await;
    pair.until_d1_signs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_2_a_hang_while_starting_delays_no_other_device() {
    for function in ["C_Initialize", "C_Login"] {
        let workshop = Workshop::new();
        let devices =
            ["d1", "d2"].map(|d| workshop.simulated(d, "bureau", vec![import("demo-sm2", "demo-sm2")]));
        workshop.fault("d1", &fault("hang", &format!("function = \"{function}\"")));
        let fleet = start(&devices, vec![spec("demo-sm2", "bureau")]);
        until(&fleet, "d2 ready", |fleet| state(fleet, "d2") == State::Ready).await;
        assert_eq!(state(&fleet, "d1"), State::Starting, "{function}");
        let pair = Pair { workshop, fleet };
        pair.sign(5).await;
        pair.mend_d1();
        pair.until("d1 ready", State::Ready).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_3_an_idle_connection_that_was_dropped_costs_no_request() {
    let pair = Pair::new().await;
    pair.break_d1(&fault("idle_drop", "ms = 50"));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        pair.sign(2).await;
    }
    assert_eq!(pair.d1().worker_starts, 1);
    pair.until_d1_signs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_4_and_13_single_errors_and_busy_answers_go_to_another_device_and_take_none_out() {
    for rv in ["CKR_DEVICE_ERROR", "CKR_FUNCTION_FAILED"] {
        let pair = Pair::new().await;
        let one = format!("function = \"C_Sign\"\nrv = \"{rv}\"\ncount = 1");
        pair.break_d1(&fault("error", &one));
        pair.until_d1_signs().await;
        pair.sign(20).await;
        pair.until("d1 ready", State::Ready).await;
        assert_eq!(pair.d1().worker_starts, 1, "{rv}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_5_and_14_a_device_that_needs_a_new_process_gets_one() {
    for action in ["remove_token", "only_reinit", "only_restart"] {
        let pair = Pair::new().await;
        pair.break_d1(&fault(action, ""));
        pair.sign_until("d1 down", 60, |d1| d1.state == State::Down).await;
        pair.mend_d1();
        pair.until("d1 ready", State::Ready).await;
        pair.until_d1_signs().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_6_7_8_9_11_lost_sessions_handles_logins_and_operations_left_open_are_mended_in_place() {
    for (action, more) in [
        ("drop_session", "function = \"C_SignInit\"\ncount = 3"),
        ("lose_sessions", "function = \"C_SignInit\"\ncount = 2"),
        ("lose_login", "function = \"C_SignInit\"\ncount = 2"),
        ("leave_active", "function = \"C_Sign\"\ncount = 2"),
        ("reuse_handles", "count = 1"),
        ("error", "function = \"C_SignInit\"\nrv = \"CKR_KEY_HANDLE_INVALID\"\ncount = 2"),
        ("error", "function = \"C_Sign\"\nrv = \"CKR_SESSION_CLOSED\"\ncount = 2"),
    ] {
        let pair = Pair::new().await;
        pair.break_d1(&fault(action, more));
        for _ in 0..4 {
            pair.until_d1_signs().await;
        }
        pair.sign(30).await;
        pair.until(action, State::Ready).await;
        assert_eq!(pair.d1().worker_starts, 1, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_10_a_pin_that_is_refused_later_is_tried_once_and_never_again() {
    let pair = Pair::new().await;
    let refuse = fault("error", "function = \"C_Login\"\nrv = \"CKR_PIN_INCORRECT\"");
    pair.break_d1(&format!("{refuse}{}", fault("lose_login", "function = \"C_SignInit\"\ncount = 1")));
    pair.sign_until("d1 down", 60, |d1| d1.state == State::Down).await;
    pair.mend_d1();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let d1 = pair.d1();
    assert_eq!((d1.state, d1.worker_starts), (State::Down, 1), "{d1:?}");
    assert!(d1.last_error.unwrap().contains("PIN refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_12_a_device_with_fewer_sessions_than_asked_for_works_with_those_until_it_gives_more() {
    let workshop = Workshop::new();
    let keys = || vec![import("demo-sm2", "demo-sm2")];
    let devices = [
        config::Device { lanes: 6, ..workshop.simulated("d1", "bureau", keys()) },
        workshop.simulated("d2", "bureau", keys()),
    ];
    workshop.fault("d1", "session_limit = 2\n");
    let fleet = start(&devices, vec![spec("demo-sm2", "bureau")]);
    until_ready(&fleet).await;
    let pair = Pair { workshop, fleet };
    assert_eq!(pair.d1().lanes, 2);
    pair.until_d1_signs().await;
    pair.mend_d1();
    let started = Instant::now();
    while pair.d1().lanes < 6 {
        assert!(started.elapsed() < BOUND, "the limit is gone: {:#?}", pair.d1());
        tokio::join!(pair.sign(4), pair.sign(4), pair.sign(4), pair.sign(4));
    }
    assert_eq!(pair.d1().worker_starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_15_a_module_that_crashes_takes_its_own_worker_and_nothing_else() {
    for action in ["crash", "segfault", "exit"] {
        let pair = Pair::new().await;
        pair.break_d1(&fault(action, "function = \"C_Sign\"\nskip = 3\ncount = 1"));
        while pair.d1().worker_starts == 1 {
            pair.sign(1).await;
        }
        pair.mend_d1();
        pair.until("d1 ready", State::Ready).await;
        pair.until_d1_signs().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_16_a_slow_device_gets_little_work() {
    let pair = Pair::new().await;
    pair.break_d1("latency_ms = 200.0\n");
    pair.sign(20).await;
    let before = pair.d1().signed;
    pair.sign(200).await;
    let slow = pair.d1().signed - before;
    assert!(slow <= 20, "{slow} of 200 went to the slow device");
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_17_a_device_that_lies_is_quarantined_and_no_wrong_signature_leaves() {
    for action in ["wrong_signature", "flip_bit", "truncate"] {
        let pair = Pair::new().await;
        pair.break_d1(&fault(action, "function = \"C_Sign\""));
        // Each is verified, or it would be an error.
        pair.sign_until(action, 40, |d1| d1.state == State::Quarantined).await;
        pair.mend_d1();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(state(&pair.fleet, "d1"), State::Quarantined, "{action}");
        let d1 = "d1".parse().unwrap();
        assert!(matches!(pair.fleet.resume(&d1), Err(HsmError::Quarantined { .. })));
        assert_eq!(pair.fleet.release(&d1).unwrap(), State::Down);
        pair.until("d1 ready after its release", State::Ready).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_17_sloppy_der_of_a_vendor_is_read_and_leaves_strict() {
    let pair = Pair::speaking("tass").await;
    pair.break_d1(&fault("negative_integer", "function = \"C_Sign\""));
    for _ in 0..10 {
        pair.until_d1_signs().await;
    }
    assert_eq!(pair.d1().failed, 0, "{:?}", pair.d1());
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_18_a_key_that_vanishes_is_not_asked_for_until_it_is_back() {
    let pair = Pair::new().await;
    let id: String = "demo-sm2".bytes().map(|octet| format!("{octet:02x}")).collect();
    pair.break_d1(&fault("vanish_key", &format!("key = \"{id}\"")));
    pair.sign_until("the drift is seen", 40, |d1| d1.keys[0].state == KeyState::Missing).await;
    let signed = pair.d1().signed;
    pair.sign(20).await;
    assert_eq!((pair.d1().signed, pair.d1().worker_starts), (signed, 1));
    pair.mend_d1();
    until(&pair.fleet, "the key is back", |fleet| fleet.status()[0].keys[0].state == KeyState::Held).await;
    pair.until_d1_signs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_18_a_key_that_comes_late_serves_every_algorithm_once_it_is_held() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", vec![import("demo-rsa2048", "demo-rsa2048")]);
    let id: String = "demo-rsa2048".bytes().map(|octet| format!("{octet:02x}")).collect();
    workshop.fault("d1", &fault("vanish_key", &format!("key = \"{id}\"")));
    let fleet = start(&[device], vec![spec("demo-rsa2048", "bureau")]);
    until(&fleet, "it is missed", |fleet| fleet.status()[0].keys[0].state == KeyState::Missing).await;
    workshop.fault("d1", "");
    until(&fleet, "it is held", |fleet| fleet.status()[0].keys[0].state == KeyState::Held).await;
    let key = KeyId::parse("demo-rsa2048").unwrap();
    for algorithm in [Algorithm::RsaPss, Algorithm::RsaPkcs1] {
        support::sign(&fleet, &key, algorithm, [7; 32]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_19_one_device_left_of_nine_serves_what_it_can_and_refuses_the_rest_at_once() {
    let workshop = Workshop::new();
    let names: Vec<_> = (1..=9).map(|number| format!("d{number}")).collect();
    let devices: Vec<_> = names
        .iter()
        .map(|device| workshop.simulated(device, "bureau", vec![import("demo-sm2", "demo-sm2")]))
        .collect();
    let fleet = std::sync::Arc::new(start(&devices, vec![spec("demo-sm2", "bureau")]));
    until_ready(&fleet).await;
    for device in &names[1..] {
        workshop.fault(device, "unreachable = true\n");
    }
    workshop.fault("d1", "throughput = 100\n");
    let callers: Vec<_> = (0..600)
        .map(|_| {
            let fleet = std::sync::Arc::clone(&fleet);
            tokio::spawn(async move {
                let started = Instant::now();
                let key = KeyId::parse("demo-sm2").unwrap();
                (support::sign(&fleet, &key, Algorithm::Sm2, [1; 32]).await.is_ok(), started.elapsed())
            })
        })
        .collect();
    let mut served = 0;
    for caller in callers {
        let (good, took) = caller.await.unwrap();
        served += usize::from(good);
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    assert!(served >= 50, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_20_a_flapping_device_and_renumbered_slots_harm_nobody() {
    let pair = Pair::new().await;
    for _ in 0..5 {
        pair.break_d1("unreachable = true\n");
        pair.sign(8).await;
        pair.mend_d1();
        pair.sign(8).await;
    }
    pair.until("d1 ready", State::Ready).await;
    pair.break_d1(&fault("renumber_slots", ""));
    let pid = pair.d1().worker_pid;
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    pair.sign(10).await;
    until(&pair.fleet, "d1 found under its new slot", |fleet| {
        state(fleet, "d1") == State::Ready && fleet.status()[0].worker_pid != pid
    })
    .await;
    pair.until_d1_signs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendors_dialect_signs_end_to_end() {
    for dialect in ["standard", "sansec", "tass", "luna", "westone", "ibm"] {
        let pair = Pair::speaking(dialect).await;
        pair.until_d1_signs().await;
        assert_eq!(pair.d1().failed, 0, "{dialect}");
    }
}
