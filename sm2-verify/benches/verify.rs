//! Verifications per core, SM3 of Z and of a message of 256 bytes included, for keys in rotation.
//!
//! Time is the CPU time of the thread, so that a busy machine shows the same figures as an idle one, less the
//! caches it shares.

#![allow(missing_docs)] // criterion's macros make public functions
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark that cannot be set up ends

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use aws_lc_rs::signature as aws;
use aws_lc_rs::signature::KeyPair as _;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use sm2::dsa::signature::{Signer as _, Verifier as _};
use sm2_verify::{DEFAULT_ID, PublicKey, Signature, Verification, Verifier, VerifierOptions, e, verify};

const KEYS: [usize; 3] = [1, 100, 1_000];
/// Signatures made for each number of keys: more than one of a key, as its table is not in the caches for each.
const SIGNATURES: usize = 4_000;
const MESSAGE: usize = 256;
/// Signatures verified together.
const BATCH: usize = 32;

struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// One signed message of each of two kinds.
struct Signed {
    message: Vec<u8>,
    key: PublicKey,
    signature: Signature,
    rustcrypto_key: sm2::dsa::VerifyingKey,
    rustcrypto_signature: sm2::dsa::Signature,
}

fn signed(keys: usize) -> Vec<Signed> {
    let id = std::str::from_utf8(DEFAULT_ID).unwrap();
    let signing: Vec<_> = (0..keys)
        .map(|i| {
            let mut secret = [0x5a; 32];
            secret[..8].copy_from_slice(&i.to_le_bytes());
            let signing = sm2::dsa::SigningKey::from_slice(id, &secret).unwrap();
            let key = PublicKey::from_sec1(&signing.verifying_key().to_sec1_bytes()).unwrap();
            (signing, key)
        })
        .collect();
    (0..SIGNATURES)
        .map(|i| {
            let (signing, key) = &signing[i % keys];
            let message: Vec<u8> = i.to_le_bytes().into_iter().cycle().take(MESSAGE).collect();
            let rustcrypto_signature: sm2::dsa::Signature = signing.sign(&message);
            Signed {
                message,
                key: key.clone(),
                signature: Signature::from_raw(&rustcrypto_signature.to_bytes()).unwrap(),
                rustcrypto_key: signing.verifying_key().clone(),
                rustcrypto_signature,
            }
        })
        .collect()
}

/// What `verify` says of each in turn.
fn row<T>(
    group: &mut BenchmarkGroup<'_, ThreadTime>,
    name: &str,
    keys: usize,
    signed: &[T],
    verify: impl Fn(&T) -> bool,
) {
    assert!(signed.iter().all(&verify), "{name}");
    let mut turn = signed.iter().cycle();
    group.bench_function(format!("{name}/{keys} keys"), |bencher| {
        bencher.iter(|| turn.next().is_some_and(|one| verify(black_box(one))));
    });
}

fn sm2(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("sm2");
    group.throughput(Throughput::Elements(1));
    let digest = |one: &Signed| e(DEFAULT_ID, &one.key, &one.message).unwrap();
    for keys in KEYS {
        let signed = signed(keys);
        let verifier = Verifier::new(VerifierOptions { table_after: 1, ..VerifierOptions::default() });
        row(&mut group, "tables", keys, &signed, |one| {
            verifier.verify(&one.key, &digest(one), &one.signature).is_ok()
        });
        assert_eq!(verifier.tables().0, keys);
        let batches: Vec<&[Signed]> = signed.chunks_exact(BATCH).collect();
        group.throughput(Throughput::Elements(BATCH as u64));
        row(&mut group, "tables, in batches", keys, &batches, |some| {
            let digests: Vec<_> = some.iter().map(digest).collect();
            let batch = some.iter().zip(&digests);
            let batch = batch.map(|(one, e)| Verification { key: &one.key, e, signature: &one.signature });
            verifier.verify_batch(&batch.collect::<Vec<_>>()).iter().all(Result::is_ok)
        });
        group.throughput(Throughput::Elements(1));
        row(&mut group, "no tables", keys, &signed, |one| {
            verify(&one.key, &digest(one), &one.signature).is_ok()
        });
        row(&mut group, "rustcrypto", keys, &signed, |one| {
            one.rustcrypto_key.verify(&one.message, &one.rustcrypto_signature).is_ok()
        });
    }
    let signed = signed(1_000);
    let verifier = Verifier::new(VerifierOptions { table_after: 1, ..VerifierOptions::default() });
    row(&mut group, "tables, key and Z anew", 1_000, &signed, |one| {
        let key = PublicKey::from_sec1(&one.key.to_sec1()).unwrap();
        let digest = e(DEFAULT_ID, &key, &one.message).unwrap();
        verifier.verify(&key, &digest, &one.signature).is_ok()
    });
    let mut turn = signed.iter().cycle();
    group.bench_function("making a table", |bencher| {
        bencher.iter(|| {
            let verifier = Verifier::new(VerifierOptions { table_after: 1, ..VerifierOptions::default() });
            turn.next().is_some_and(|one| verifier.verify(&one.key, &[0; 32], &one.signature).is_ok())
        });
    });
    group.finish();
}

fn p256(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("p256");
    group.throughput(Throughput::Elements(1));
    let random = aws_lc_rs::rand::SystemRandom::new();
    for keys in KEYS {
        let pairs: Vec<_> = (0..keys)
            .map(|_| aws::EcdsaKeyPair::generate(&aws::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
            .collect();
        let signed: Vec<_> = (0..SIGNATURES)
            .map(|i| {
                let pair = &pairs[i % keys];
                let message: Vec<u8> = i.to_le_bytes().into_iter().cycle().take(MESSAGE).collect();
                let key = aws::ParsedPublicKey::new(&aws::ECDSA_P256_SHA256_ASN1, pair.public_key()).unwrap();
                let signature = pair.sign(&random, &message).unwrap();
                (key, message, signature)
            })
            .collect();
        row(&mut group, "aws-lc-rs", keys, &signed, |(key, message, signature)| {
            key.verify_sig(message, signature.as_ref()).is_ok()
        });
    }
    group.finish();
}

/// OpenSSL measures itself, with one key and a message of 20 bytes; it has no part in the processor time of this
/// program.
fn openssl(_: &mut Criterion<ThreadTime>) {
    let speed = Command::new("openssl").args(["speed", "-seconds", "2", "-mr", "sm2"]).output();
    let text = speed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let rate = text.lines().find(|line| line.starts_with("+F7:")).and_then(|line| line.rsplit(':').next());
    println!("sm2/openssl/1 keys: {} verifications in a second", rate.unwrap_or("no openssl:"));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = sm2, p256, openssl
}
criterion_main!(benches);
