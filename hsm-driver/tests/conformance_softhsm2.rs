//! The driver over SoftHSM2: signs, survives its worker, and what SoftHSM2 cannot do is known.

mod makers;
mod support;

use support::Workshop;

/// What the gateway could use and SoftHSM2 2.6.1 refuses, and what it does.
const TABLE: [(&str, &str); 5] = [
    ("SM2", "C_GenerateKeyPair answered CKR_MECHANISM_INVALID"),
    ("SM3", "under none of the known numbers"),
    ("SM4", "none of the known numbers is offered"),
    ("CKM_AES_KEY_WRAP_PAD", "works"),
    ("CKM_AES_CBC_PAD", "C_WrapKey answered CKR_MECHANISM_INVALID"),
];

#[test]
fn what_softhsm2_refuses_is_what_the_table_says() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", |home, _| makers::softhsm2(home));
    makers::does_and_refuses(&makers::examined(&device), &TABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn softhsm2_signs_and_its_worker_is_replaced() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", |home, _| makers::softhsm2(home));
    makers::signs_and_survives_its_worker(device).await;
}
