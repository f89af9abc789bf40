//! The driver over kryoptic, a token in Rust: signs, survives its worker, and what it cannot do is known.
//!
//! Kryoptic is built from its published crates, which takes minutes, so these tests run when asked for:
//! `sh tests/install-kryoptic.sh`, then `cargo test -p hsm-driver --test conformance_kryoptic -- --ignored`.

mod makers;
mod support;

use support::Workshop;

/// What the gateway could use and kryoptic 1.5.4 refuses, and what it does. It has no CKM_AES_KEY_WRAP_PAD, the old
/// number of RFC 5649.
const TABLE: [(&str, &str); 5] = [
    ("SM2", "C_GenerateKeyPair answered CKR_MECHANISM_INVALID"),
    ("SM3", "under none of the known numbers"),
    ("SM4", "none of the known numbers is offered"),
    ("CKM_AES_KEY_WRAP_KWP", "works"),
    ("CKM_AES_CBC_PAD", "works"),
];

#[test]
#[ignore = "needs kryoptic: sh tests/install-kryoptic.sh"]
fn what_kryoptic_refuses_is_what_the_table_says() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", |home, _| makers::kryoptic(home));
    makers::does_and_refuses(&makers::examined(&device), &TABLE);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kryoptic: sh tests/install-kryoptic.sh"]
async fn kryoptic_signs_and_its_worker_is_replaced() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", |home, _| makers::kryoptic(home));
    makers::signs_and_survives_its_worker(device).await;
}
