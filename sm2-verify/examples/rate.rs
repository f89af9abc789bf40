//! How many signatures one core verifies in a second of its time: `rate [SECONDS]` prints one JSON object with the
//! figures of both implementations, for 1,000 keys in rotation, SM3 of Z and of a message of 256 bytes included.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a figure that cannot be taken ends the program

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sm2::dsa::signature::Signer as _;
use sm2_verify::{DEFAULT_ID, Implementation, PublicKey, Signature, Verifier, VerifierOptions, e};

const KEYS: u32 = 1_000;
const MESSAGE: usize = 256;

struct Signed {
    key: PublicKey,
    message: Vec<u8>,
    signature: Signature,
}

fn signed(number: u32) -> Signed {
    let mut secret = [7; 32];
    secret[28..].copy_from_slice(&number.to_be_bytes());
    let key = sm2::dsa::SigningKey::from_slice("1234567812345678", &secret).unwrap();
    let message = vec![number as u8; MESSAGE];
    let signature: sm2::dsa::Signature = key.sign(&message);
    Signed {
        key: PublicKey::from_sec1(&key.verifying_key().to_sec1_bytes()).unwrap(),
        message,
        signature: Signature::from_raw(&signature.to_bytes()).unwrap(),
    }
}

/// CPU time of this thread: a busy machine shows the same as an idle one.
fn spent() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn rate(implementation: Implementation, all: &[Signed], seconds: f64) -> f64 {
    let options = VerifierOptions { implementation, table_after: 1, ..VerifierOptions::default() };
    let verifier = Verifier::new(options);
    let pass = || {
        for one in all {
            let digest = e(DEFAULT_ID, &one.key, &one.message).unwrap();
            verifier.verify(&one.key, &digest, &one.signature).unwrap();
        }
    };
    pass(); // tables are made, caches are warm
    let start = spent();
    let mut verified = 0;
    while (spent() - start).as_secs_f64() < seconds {
        pass();
        verified += all.len();
    }
    verified as f64 / (spent() - start).as_secs_f64()
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let all: Vec<_> = (0..KEYS).map(signed).collect();
    let windowed = rate(Implementation::Windowed, &all, seconds);
    let rustcrypto = rate(Implementation::RustCrypto, &all, seconds);
    println!("{{\"windowed\": {windowed:.0}, \"rustcrypto\": {rustcrypto:.0}}}");
}
