//! A time server in the test's hand (SNTP, RFC 5905), which may lie or keep silent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP begins, to 1970.
const ERAS: u64 = 2_208_988_800;

#[derive(Default)]
struct State {
    /// How far it is ahead, in milliseconds.
    ahead: AtomicI64,
    silent: AtomicBool,
    /// Answers nobody asked for: the request's time is not repeated.
    forged: AtomicBool,
    asked: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server; dropping it ends it.
pub struct TimeServer {
    address: SocketAddr,
    state: Arc<State>,
}

impl TimeServer {
    /// On a free port of loopback; it tells this machine's time.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
        let address = socket.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut request = [0; 128];
            while !shared.stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut request) else { continue };
                shared.asked.fetch_add(1, Ordering::Relaxed);
                if length >= 48 && !shared.silent.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&shared.answer(&request), from); // whoever asked may have gone
                }
            }
        });
        Self { address, state }
    }

    /// `127.0.0.1:PORT`
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// From now on its clock is so many milliseconds ahead of this machine's.
    pub fn set_ahead(&self, milliseconds: i64) {
        self.state.ahead.store(milliseconds, Ordering::Relaxed);
    }

    /// From now on it does not answer, or does again.
    pub fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }

    /// From now on it answers as somebody would who cannot see the requests.
    pub fn set_forged(&self, forged: bool) {
        self.state.forged.store(forged, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn answer(&self, request: &[u8]) -> [u8; 48] {
        let mut answer = [0; 48];
        // No leap second, version 4, server; stratum 2; poll and precision as usual.
        answer[..4].copy_from_slice(&[0b00_100_100, 2, 6, 0xec]);
        answer[12..16].copy_from_slice(&[127, 0, 0, 1]);
        let now = self.now().to_be_bytes();
        answer[16..24].copy_from_slice(&now);
        if !self.forged.load(Ordering::Relaxed) {
            answer[24..32].copy_from_slice(&request[40..48]);
        }
        answer[32..40].copy_from_slice(&now);
        answer[40..48].copy_from_slice(&now);
        answer
    }

    /// Its time in NTP's form: seconds and a fraction of 2^32.
    fn now(&self) -> u64 {
        let here = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        let here = i64::try_from(here).expect("it is before the end of time");
        let there = u64::try_from(here + self.ahead.load(Ordering::Relaxed)).expect("it is after 1970");
        ((there / 1000 + ERAS) << 32) | (((there % 1000) << 32) / 1000)
    }
}
