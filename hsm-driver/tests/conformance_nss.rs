//! The driver over NSS's softokn: signs, survives its worker, and what softokn cannot do is known.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod makers;
mod support;

use std::path::{Path, PathBuf};

use hsm_driver::State;
use support::{Workshop, start, state, until};

/// What the gateway could use and softokn 3.87 refuses, and what it does. A private key on a curve comes back only
/// with an attribute of NSS's own, CKA_NSS_DB.
const TABLE: [(&str, &str); 6] = [
    ("SM2", "not offered"),
    ("SM3", "under none of the known numbers"),
    ("SM4", "none of the known numbers is offered"),
    ("CKM_AES_KEY_WRAP_PAD", "C_UnwrapKey answered CKR_TEMPLATE_INCOMPLETE"),
    ("CKM_AES_KEY_WRAP_KWP", "C_UnwrapKey answered CKR_TEMPLATE_INCOMPLETE"),
    ("CKM_AES_CBC_PAD", "C_UnwrapKey answered CKR_TEMPLATE_INCOMPLETE"),
];

#[test]
fn what_softokn_refuses_is_what_the_table_says() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", makers::nss);
    let report = makers::examined(&device);
    makers::does_and_refuses(&report, &TABLE);
    // Against the standard, its keys outlive the login.
    assert_eq!(report.behaviour.after_logout.as_deref(), Some("signs"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn softokn_signs_and_its_worker_is_replaced() {
    let workshop = Workshop::new();
    let device = makers::device(&workshop, "t1", makers::nss);
    makers::signs_and_survives_its_worker(device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn softokn_without_its_parameters_refuses_to_start_and_says_so() {
    let workshop = Workshop::new();
    let mut device = makers::device(&workshop, "t1", makers::nss);
    // The library itself, found by the loader: the driver gives C_Initialize what the standard has, and no more.
    device.module = PathBuf::from("libsoftokn3.so");
    assert!(!Path::new(&device.module).exists());
    let fleet = start(&[device], makers::specs());
    until(&fleet, "a refusal", |fleet| fleet.status()[0].last_error.is_some()).await;
    assert_eq!(state(&fleet, "t1"), State::Down);
    let said = fleet.status().remove(0).last_error.unwrap();
    assert!(said.contains("C_Initialize answered CKR_ARGUMENTS_BAD"), "{said}");
}
