//! Signing with the site's own keys, on simulated devices behind real workers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use formats::{Algorithm, DEFAULT_SIGNER_ID};
use hsm_driver::Fleet;
use signing::{KeyRing, SigningError, SystemDesk};
use store::{KeyCopy, KeyPurpose, KeyRecord, KeyState, KeyVersion};
use support::{Site, copy, device_id, import, key_id, stamp, start, version};

fn record(id: &str, algorithm: &str, purpose: KeyPurpose, copies: Vec<KeyCopy>) -> KeyRecord {
    let version = KeyVersion { cka_id: id.into(), ..version(1, KeyState::Active, copies) };
    KeyRecord { id: key_id(id), algorithm: algorithm.to_owned(), purpose, ..stamp(vec![version]) }
}

/// An audit key, a token key and a service key, the same in two devices.
async fn desk(site: &Site) -> (Arc<Fleet>, SystemDesk) {
    let keys = || {
        vec![import("sys-audit", "sys-audit"), import("sys-token", "sys-token"), import("stamp", "demo-sm2")]
    };
    let devices = [site.device("d1", keys()), site.device("d2", keys())];
    let (ring, left_out) = KeyRing::load(vec![
        record("sys-audit", "sm2", KeyPurpose::Audit, vec![copy(None, "sys-audit")]),
        record("sys-token", "p256", KeyPurpose::Token, vec![copy(None, "sys-token")]),
        record("stamp", "sm2", KeyPurpose::Service, vec![copy(None, "demo-sm2")]),
    ]);
    assert!(left_out.is_empty(), "{left_out:?}");
    let fleet = start(&devices, ring.specs()).await;
    (Arc::clone(&fleet), SystemDesk::new(Arc::new(ring), fleet))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_key_is_found_by_its_purpose_and_signs_what_names_its_copy() {
    let site = Site::new().await;
    let (fleet, desk) = desk(&site).await;
    for (purpose, id, algorithm) in [
        (KeyPurpose::Audit, "sys-audit", Algorithm::Sm2Sm3),
        (KeyPurpose::Token, "sys-token", Algorithm::EcdsaP256Sha256),
    ] {
        let message = |copy: &str| format!("signed with {copy}").into_bytes();
        let signed = desk.sign(purpose, |_, copy| message(copy.driver_key.as_str())).await.unwrap();
        assert_eq!((signed.key.as_str(), signed.version, signed.algorithm), (id, 1, algorithm));
        let message = message(id);
        signed
            .copy
            .public_key
            .verify_message(algorithm, DEFAULT_SIGNER_ID, &message, &signed.signature)
            .unwrap();
    }
    fleet.maintain(&device_id("d1")).unwrap();
    let signed = desk.sign(KeyPurpose::Audit, |_, _| b"x".to_vec()).await.unwrap();
    assert_eq!(signed.device, device_id("d2"));
    fleet.maintain(&device_id("d2")).unwrap();
    let refused = desk.sign(KeyPurpose::Audit, |_, _| b"x".to_vec()).await.unwrap_err();
    assert_eq!(refused.code(), "devices_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_act_for_somebody_else_never_sign_for_the_gateway() {
    let site = Site::new().await;
    let (_fleet, desk) = desk(&site).await;
    for purpose in [KeyPurpose::Service, KeyPurpose::Personal, KeyPurpose::Kek, KeyPurpose::Tsa] {
        let refused = desk.sign(purpose, |_, _| unreachable!("nothing is to be signed")).await.unwrap_err();
        assert!(matches!(refused, SigningError::NoSystemKey(p) if p == purpose), "{refused}");
    }
    desk.replace_keys(Arc::default());
    let refused = desk.sign(KeyPurpose::Audit, |_, _| Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), "system_key_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_with_copies_of_their_own_share_the_work_and_stand_in_for_each_other() {
    let site = Site::new().await;
    let devices = [
        site.device("d1", vec![import("sys-audit", "sys-audit")]),
        site.device("d2", vec![import("sys-audit", "front-sm2")]),
    ];
    let copies = vec![copy(Some("d1"), "sys-audit"), copy(Some("d2"), "front-sm2")];
    let (ring, _) = KeyRing::load(vec![record("sys-audit", "sm2", KeyPurpose::Audit, copies)]);
    let fleet = start(&devices, ring.specs()).await;
    let desk = SystemDesk::new(Arc::new(ring), fleet);
    let mut used = BTreeSet::new();
    for n in 0..40 {
        if n == 20 {
            site.fault(
                "d1",
                "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n",
            );
        }
        let named = Mutex::default();
        let message = |copy: &signing::SigningCopy| {
            *named.lock().unwrap() = Some(copy.driver_key.clone());
            copy.driver_key.to_string().into_bytes()
        };
        let signed = desk.sign(KeyPurpose::Audit, |_, copy| message(copy)).await.unwrap();
        assert_eq!(
            named.into_inner().unwrap(),
            Some(signed.copy.driver_key.clone()),
            "the last copy asked signed"
        );
        let message = signed.copy.driver_key.to_string();
        let key = &signed.copy.public_key;
        key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, message.as_bytes(), &signed.signature)
            .unwrap();
        assert!(n < 20 || signed.device == device_id("d2"));
        used.insert(signed.device);
    }
    assert_eq!(used.len(), 2);
}
