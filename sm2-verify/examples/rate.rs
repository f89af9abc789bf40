//! How many signatures one core verifies in a second of its time: `rate [SECONDS]` prints one JSON object with the
//! figures of this crate (one by one, together, without tables), of RustCrypto, of OpenSSL and, on P-256, of aws-lc-rs,
//! for 1,000 keys in rotation; hashes of Z and of a message of 256 bytes included.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a figure that cannot be taken ends the program

use std::process::Command;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use rustix::time::{ClockId, clock_gettime};
use sm2::dsa::signature::Signer as _;
use sm2_verify::{
    DEFAULT_ID, Implementation, PublicKey, Signature, Verification, Verifier, VerifierOptions, e,
};

const KEYS: u32 = 1_000;
const MESSAGE: usize = 256;
/// Signatures verified together.
const BATCH: usize = 32;

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

fn rate(options: VerifierOptions, batch: usize, all: &[Signed], seconds: f64) -> f64 {
    let verifier = Verifier::new(options);
    passes(seconds, || {
        for some in all.chunks(batch) {
            let digest = |one: &Signed| e(DEFAULT_ID, &one.key, &one.message).unwrap();
            let digests: Vec<_> = some.iter().map(digest).collect();
            let asked = some.iter().zip(&digests);
            let asked = asked.map(|(one, e)| Verification { key: &one.key, e, signature: &one.signature });
            assert!(verifier.verify_batch(&asked.collect::<Vec<_>>()).iter().all(Result::is_ok));
        }
    })
}

/// Verifications in a second, of which `pass` makes one with each key.
fn passes(seconds: f64, pass: impl Fn()) -> f64 {
    pass(); // tables are made, caches are warm
    let start = spent();
    let mut verified = 0;
    while (spent() - start).as_secs_f64() < seconds {
        pass();
        verified += KEYS;
    }
    f64::from(verified) / (spent() - start).as_secs_f64()
}

/// aws-lc-rs on P-256, a curve for which it has assembly.
fn p256(seconds: f64) -> f64 {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let all: Vec<_> = (0..KEYS)
        .map(|number| {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
            let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key()).unwrap();
            let message = vec![number as u8; MESSAGE];
            let signature = pair.sign(&random, &message).unwrap();
            (key, message, signature)
        })
        .collect();
    passes(seconds, || {
        for (key, message, signature) in &all {
            key.verify_sig(message, signature.as_ref()).unwrap();
        }
    })
}

/// What OpenSSL says of itself, with one key and a message of 20 bytes; nothing where it is not installed.
fn openssl(seconds: f64) -> Option<f64> {
    let seconds = seconds.ceil().to_string();
    let output = Command::new("openssl").args(["speed", "-seconds", &seconds, "-mr", "sm2"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find(|line| line.starts_with("+F7:"))?.rsplit(':').next()?.parse().ok()
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let all: Vec<_> = (0..KEYS).map(signed).collect();
    let mut figures = serde_json::Map::new();
    let tables = VerifierOptions { table_after: 1, ..VerifierOptions::default() };
    let bare = VerifierOptions { table_bytes: 0, ..VerifierOptions::default() };
    let rustcrypto = VerifierOptions { implementation: Implementation::RustCrypto, ..bare.clone() };
    for (name, batch, options) in [
        ("windowed", 1, tables.clone()),
        ("together", BATCH, tables),
        ("without_tables", 1, bare),
        ("rustcrypto", 1, rustcrypto),
    ] {
        figures.insert(name.to_owned(), rate(options, batch, &all, seconds).round().into());
    }
    figures.insert("aws_lc_p256".to_owned(), p256(seconds).round().into());
    figures.insert("openssl".to_owned(), openssl(seconds).into());
    println!("{}", serde_json::Value::from(figures));
}
