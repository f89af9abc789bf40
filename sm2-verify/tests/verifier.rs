//! What a verifier remembers changes no answer, and is bounded.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod support;

use sm2::dsa::SigningKey;
use sm2_verify::{
    Implementation, PublicKey, Signature, Sm2Error, Verification, Verifier, VerifierOptions, verify,
};
use support::{key_pair, sign};

const E: [u8; 32] = [0xe5; 32];

fn key(number: u16) -> (SigningKey, PublicKey) {
    let mut seed = [0x11; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    key_pair(&seed).unwrap()
}

/// A key with its signature over [`E`].
fn signed(number: u16) -> (PublicKey, Signature) {
    let (signing, public) = key(number);
    let signature = sign(&signing, &E);
    (public, signature)
}

fn options(table_bytes: usize, table_after: u32) -> VerifierOptions {
    VerifierOptions { table_bytes, table_after, ..VerifierOptions::default() }
}

/// What one table takes.
fn table_bytes() -> usize {
    let verifier = Verifier::new(options(usize::MAX, 1));
    let (key, signature) = signed(0);
    verifier.verify(&key, &E, &signature).unwrap();
    let (keys, bytes) = verifier.tables();
    assert_eq!(keys, 1);
    assert!((80 << 10..90 << 10).contains(&bytes), "{bytes}");
    bytes
}

#[test]
fn a_key_gets_a_table_when_it_has_come_often_enough_and_answers_stay_the_same() {
    let verifier = Verifier::new(options(1 << 20, 3));
    let (key, signature) = signed(1);
    let (_, of_another) = signed(2);
    for tables in [0, 0, 1, 1, 1] {
        verifier.verify(&key, &E, &signature).unwrap();
        assert_eq!(verifier.tables().0, tables);
    }
    assert_eq!(verifier.verify(&key, &E, &of_another), Err(Sm2Error::Mismatch));
    assert_eq!(verifier.verify(&key, &[0; 32], &signature), Err(Sm2Error::Mismatch));
}

#[test]
fn tables_take_no_more_memory_than_allowed() {
    let table = table_bytes();
    let verifier = Verifier::new(options(3 * table + table / 2, 1));
    let signed: Vec<_> = (0..5).map(signed).collect();
    for (i, tables) in [(0, 1), (1, 2), (2, 3), (0, 3), (3, 3), (4, 3)] {
        verifier.verify(&signed[i].0, &E, &signed[i].1).unwrap();
        assert_eq!(verifier.tables(), (tables, tables * table));
    }
    let shown = format!("{verifier:?}");
    assert!(shown.contains("3 tables"), "{shown}");
}

#[test]
fn keys_that_never_come_again_get_nothing() {
    let verifier = Verifier::new(options(1 << 20, 2));
    for number in 0..300 {
        let (key, signature) = signed(number);
        verifier.verify(&key, &E, &signature).unwrap();
    }
    assert_eq!(verifier.tables(), (0, 0));
}

#[test]
fn without_memory_there_are_no_tables() {
    let table = table_bytes();
    for (allowed, tables) in [(0, 0), (table - 1, 0), (table, 1)] {
        let verifier = Verifier::new(options(allowed, 1));
        let (key, signature) = signed(1);
        for _ in 0..5 {
            verifier.verify(&key, &E, &signature).unwrap();
        }
        assert_eq!(verifier.tables().0, tables);
    }
}

#[test]
fn threads_share_a_verifier() {
    let verifier = Verifier::new(options(4 * table_bytes(), 2));
    let signed: Vec<_> = (0..8).map(signed).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (verifier, signed) = (&verifier, &signed);
            scope.spawn(move || {
                for turn in 0..400 {
                    let (key, signature) = &signed[(turn * (thread + 1)) % 8];
                    let (_, of_another) = &signed[(turn * (thread + 1) + 1) % 8];
                    assert_eq!(verifier.verify(key, &E, signature), Ok(()));
                    assert_eq!(verifier.verify(key, &E, of_another), Err(Sm2Error::Mismatch));
                    assert!(verifier.tables().0 <= 4);
                }
            });
        }
    });
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let signed: Vec<_> = (0..4).map(signed).collect();
    let pairs = [(0, 0), (0, 1), (1, 1), (2, 3), (3, 3), (0, 0)];
    let batch = pairs.map(|(key, signature)| Verification {
        key: &signed[key].0,
        e: &E,
        signature: &signed[signature].1,
    });
    let verifier = Verifier::new(options(1 << 20, 2));
    for _ in 0..3 {
        let answers: Vec<_> =
            verifier.verify_batch(&batch).into_iter().map(|answer| answer.is_ok()).collect();
        assert_eq!(answers, pairs.map(|(key, signature)| key == signature));
    }
    assert!(verifier.verify_batch(&[]).is_empty());
}

/// Keys with a table and without one, more than are summed up together and fewer than are worth it.
#[test]
fn a_long_batch_is_answered_in_its_order() {
    let signed: Vec<_> = (0..12).map(signed).collect();
    let verifier = Verifier::new(options(6 * table_bytes(), 2));
    for length in [7, 8, 31, 32, 33, 40, 100] {
        let pair = |turn: usize| (turn % 12, (turn + turn % 7 / 5) % 12);
        let batch: Vec<_> = (0..length)
            .map(|turn| Verification {
                key: &signed[pair(turn).0].0,
                e: &E,
                signature: &signed[pair(turn).1].1,
            })
            .collect();
        let answers: Vec<_> = verifier.verify_batch(&batch).iter().map(Result::is_ok).collect();
        let expected: Vec<_> = (0..length).map(|turn| pair(turn).0 == pair(turn).1).collect();
        assert_eq!(answers, expected);
        assert!(expected.contains(&false) && expected.contains(&true));
    }
}

#[test]
fn the_other_implementation_answers_the_same_and_keeps_nothing() {
    let verifier =
        Verifier::new(VerifierOptions { implementation: Implementation::RustCrypto, ..options(1 << 20, 1) });
    let (key, signature) = signed(1);
    assert_eq!(verifier.verify(&key, &E, &signature), Ok(()));
    assert_eq!(verify(&key, &E, &signature), Ok(()));
    assert_eq!(verifier.verify(&key, &[1; 32], &signature), Err(Sm2Error::Mismatch));
    assert_eq!(verifier.tables(), (0, 0));
}
