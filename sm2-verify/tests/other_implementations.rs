//! Two further opinions: RustCrypto `sm2` signs what is verified here, and the `sm-crypto` crate, an
//! implementation of its own, says the same. The latter checks no ranges and panics on bad input, so
//! it only ever sees keys and signatures that were checked here, and never leaves the tests.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod support;

use proptest::prelude::*;
use sm2_verify::{DEFAULT_ID, PublicKey, Signature, e, verify};
use support::{key_pair, sign, standard};

fn third_opinion(key: &PublicKey, e: &[u8; 32], signature: &Signature) -> bool {
    let point = hex::encode(&key.to_sec1()[1..]);
    sm_crypto::sm2::Verify::new_with_id(DEFAULT_ID, &point).verify_der(e, &signature.to_der(), false)
}

#[test]
fn all_agree_on_the_example_of_the_standard() {
    let example = standard();
    let signature = Signature::from_raw(&example.raw).unwrap();
    assert!(third_opinion(&example.key, &example.e, &signature));
    let other = e(b"other", &example.key, &example.message).unwrap();
    assert!(!third_opinion(&example.key, &other, &signature));
}

#[test]
fn a_signature_by_the_third_implementation_verifies() {
    let example = standard();
    let private_key = hex::encode(&example.private_key);
    let der = sm_crypto::sm2::Sign::new(&private_key).sign_der(&example.message, true);
    let signature = Signature::from_der(&der).unwrap();
    verify(&example.key, &example.e, &signature).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_agree_on_good_and_altered_signatures(
        seed in any::<[u8; 32]>(),
        message in proptest::collection::vec(any::<u8>(), 0..200),
        flipped in 0usize..512,
    ) {
        let Some((signing, public)) = key_pair(&seed) else { return Ok(()) };
        let e = e(DEFAULT_ID, &public, &message).unwrap();
        let good = sign(&signing, &e);
        prop_assert!(verify(&public, &e, &good).is_ok());
        prop_assert!(third_opinion(&public, &e, &good));

        let mut raw = good.to_raw();
        raw[flipped / 8] ^= 1 << (flipped % 8);
        if let Ok(altered) = Signature::from_raw(&raw) {
            prop_assert!(verify(&public, &e, &altered).is_err());
            prop_assert!(!third_opinion(&public, &e, &altered));
        }
    }
}
