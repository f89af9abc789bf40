//! Signing where copies differ from device to device, and while the keys are changed; on simulated devices behind
//! real workers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use formats::Algorithm;
use hsm_driver::Fleet;
use signing::{Caller, Input, KeyRing, Receipt, SignOrder, SignatureFormat, SigningDesk, SigningError};
use store::{KeyRecord, KeyState};
use support::{
    AT, Site, app, chain, copy, device_id, import, key_id, settings, stamp, start, until, version,
};

const ID: &[u8] = b"1234567812345678";

fn ring(records: Vec<KeyRecord>) -> KeyRing {
    let (ring, left_out) = KeyRing::load(records);
    assert!(left_out.is_empty(), "{left_out:?}");
    ring
}

fn order(input: Input) -> SignOrder {
    SignOrder {
        key: key_id("stamp"),
        group: None,
        algorithm: Algorithm::Sm2Sm3,
        input,
        format: SignatureFormat::Raw,
        signer_id: ID.to_vec(),
    }
}

async fn sign(desk: &SigningDesk, input: Input) -> Result<Receipt, SigningError> {
    let caller =
        Caller { app: app(), request_id: "r-1".into(), at: AT, deadline: None, signed: Arc::default() };
    desk.sign(&caller, order(input)).await
}

/// Signs a text and checks the signature under the certificate that came with it.
async fn sign_text(desk: &SigningDesk, text: &str) -> Receipt {
    let receipt = sign(desk, Input::Data(text.as_bytes().to_vec())).await.unwrap();
    let key = receipt.certificate.as_ref().unwrap().public_key().unwrap();
    key.verify_message(Algorithm::Sm2Sm3, ID, text.as_bytes(), &receipt.signature).unwrap();
    receipt
}

/// `stamp` with a copy of its own in each of two devices.
async fn two_copies(site: &Site) -> (Arc<Fleet>, SigningDesk) {
    let devices = [
        site.device("d1", vec![import("stamp", "demo-sm2")]),
        site.device("d2", vec![import("stamp", "portal-sm2")]),
    ];
    let copies = vec![copy(Some("d1"), "demo-sm2"), copy(Some("d2"), "portal-sm2")];
    let ring = ring(vec![stamp(vec![version(1, KeyState::Active, copies)])]);
    let fleet = start(&devices, ring.specs()).await;
    let desk = SigningDesk::new(Arc::new(ring), Arc::clone(&fleet), site.audit.clone());
    (fleet, desk)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_device_signs_under_its_own_certificate_and_stands_in_for_the_other() {
    let site = Site::new().await;
    let (fleet, desk) = two_copies(&site).await;
    let mut used = BTreeSet::new();
    for n in 0..40 {
        let receipt = sign_text(&desk, &format!("document {n}")).await;
        let of = if receipt.device == device_id("d1") { "demo-sm2" } else { "portal-sm2" };
        assert_eq!(receipt.certificate.as_ref(), chain(of).first());
        used.insert(receipt.device);
    }
    assert_eq!(used.len(), 2, "both devices share the work: {used:?}");
    let recorded: BTreeSet<_> =
        site.recorded("signature").await.into_iter().map(|entry| entry.key.unwrap()).collect();
    assert_eq!(recorded, ["stamp.v1.d1".to_owned(), "stamp.v1.d2".to_owned()].into());

    fleet.maintain(&device_id("d1")).unwrap();
    for n in 0..10 {
        assert_eq!(sign_text(&desk, &format!("without d1 {n}")).await.device, device_id("d2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_device_fails_only_when_asked_gives_way_to_another_copy() {
    let site = Site::new().await;
    let (_fleet, desk) = two_copies(&site).await;
    for fault in ["action = \"hang\"", "action = \"error\"\nrv = \"CKR_DEVICE_ERROR\""] {
        site.fault("d1", &format!("[[fault]]\nfunction = \"C_Sign\"\n{fault}\n"));
        // d1 stands for a usable device until it is asked: with ten orders it is, almost surely.
        for n in 0..10 {
            assert_eq!(sign_text(&desk, &format!("{fault} {n}")).await.device, device_id("d2"));
        }
        site.fault("d1", "");
        until("d1 back", || _fleet.can_serve(&key_id("stamp.v1.d1"))).await;
    }
    let outcomes: BTreeSet<_> =
        site.recorded("signature").await.into_iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, ["ok".to_owned()].into(), "one entry for each order: what came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_holds_a_public_key_goes_to_that_keys_copy_only() {
    let site = Site::new().await;
    let (fleet, desk) = two_copies(&site).await;
    let keys = desk.keys();
    let shown = &keys.get(&key_id("stamp")).unwrap().shown().public_key;
    let e = shown.digest(Algorithm::Sm2Sm3, ID, b"document").unwrap();
    for _ in 0..10 {
        let receipt = sign(&desk, Input::Digest(e)).await.unwrap();
        assert_eq!(receipt.device, device_id("d1"));
        shown.verify_message(Algorithm::Sm2Sm3, ID, b"document", &receipt.signature).unwrap();
    }
    fleet.maintain(&device_id("d1")).unwrap();
    let refused = sign(&desk, Input::Digest(e)).await.unwrap_err();
    assert_eq!(refused.code(), "devices_unavailable", "a signature under another key would be useless");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_while_orders_run_and_none_fails() {
    let site = Site::new().await;
    let both = || vec![import("stamp", "demo-sm2"), import("stamp#2", "portal-sm2")];
    let devices = [site.device("d1", both()), site.device("d2", both())];
    let first = || version(1, KeyState::Active, vec![copy(None, "demo-sm2")]);
    let before = ring(vec![stamp(vec![first()])]);
    let fleet = start(&devices, before.specs()).await;
    let desk = SigningDesk::new(Arc::new(before), Arc::clone(&fleet), site.audit.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let made: Arc<[AtomicUsize; 4]> = Arc::default();
    let signers: Vec<_> = (0..4)
        .map(|signer| {
            let (desk, stop, made) = (desk.clone(), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let mut versions = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    versions.push(sign_text(&desk, &format!("document of {signer}")).await.version);
                    made[signer].fetch_add(1, Ordering::Relaxed);
                }
                versions
            })
        })
        .collect();
    let counts = || made.each_ref().map(|made| made.load(Ordering::Relaxed));
    until("each has signed", || counts().iter().all(|made| *made > 0)).await;

    // The driver hears of the new version first and proves it; then the desk takes it.
    let pending = version(2, KeyState::Pending, vec![copy(None, "portal-sm2")]);
    let during = ring(vec![stamp(vec![first(), pending])]);
    fleet.reconfigure(&settings(), &devices, during.specs()).await.unwrap();
    until("version 2 proved", || fleet.can_serve(&key_id("stamp.v2"))).await;
    let after = ring(vec![stamp(vec![
        version(1, KeyState::Retiring, vec![copy(None, "demo-sm2")]),
        version(2, KeyState::Active, vec![copy(None, "portal-sm2")]),
    ])]);
    fleet.reconfigure(&settings(), &devices, after.specs()).await.unwrap();
    desk.replace_keys(Arc::new(after));
    let newest = sign_text(&desk, "after").await;
    assert_eq!((newest.version, newest.certificate.as_ref()), (2, chain("portal-sm2").first()));
    // The one that was under way at the change, and one that began after it.
    let changed = counts();
    until("each has signed again", || counts().iter().zip(changed).all(|(made, then)| *made > then + 1))
        .await;
    stop.store(true, Ordering::Relaxed);
    for signer in signers {
        let versions = signer.await.unwrap();
        assert!(versions.is_sorted(), "an old version after a new one: {versions:?}");
        assert_eq!((versions.first(), versions.last()), (Some(&1), Some(&2)));
    }
}
