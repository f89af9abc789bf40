//! Key ceremonies on simulated devices behind real workers, with certificates of an authority that OpenSSL plays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use config::KeyId;
use formats::{Algorithm, Certificate};
use hsm_driver::{Answer, Fleet, KeySpec, Order};
use serde_json::json;
use signing::{
    Caller, CeremonyError, Input, KeyAct, KeyCeremonies, KeyRing, Operator, SignOrder, SignatureFormat,
    SigningDesk,
};
use store::{Ceremony, CeremonyState, KeyPurpose, KeyState, Spread, StoreError, WrappingKey};
use support::{Site, app, device_id, group, import, key_id, settings, start, until};
use time::{Duration, OffsetDateTime};

const SECRET: &str = "a secret of the custodian";

/// A bureau of devices, two custodians and an operator.
struct Bureau {
    site: Site,
    devices: Vec<config::Device>,
    fleet: Arc<Fleet>,
    ceremonies: KeyCeremonies<Fleet>,
}

fn by(name: &str) -> Operator {
    Operator { name: name.into(), request_id: "r-7".into(), at: OffsetDateTime::now_utc() }
}

impl Bureau {
    async fn new(devices: &[&str]) -> Self {
        let site = Site::new().await;
        // A device is ready once it has proved a key, so each has one.
        let devices: Vec<_> =
            devices.iter().map(|device| site.device(device, vec![import("first", "demo-sm2")])).collect();
        let fleet = start(&devices, vec![Self::first()]).await;
        for name in ["custodian-a", "custodian-b"] {
            site.store.add_custodian(name, SECRET, OffsetDateTime::now_utc()).await.unwrap();
        }
        let ceremonies = KeyCeremonies::new(site.store.clone(), Arc::clone(&fleet), site.audit.clone());
        Self { site, devices, fleet, ceremonies }
    }

    fn first() -> KeySpec {
        let certs_test::PrivateParts::Sm2 { public, .. } = &support::service("demo-sm2").private else {
            panic!("an SM2 key")
        };
        KeySpec {
            id: key_id("first"),
            group: group(),
            cka_id: b"first".to_vec(),
            public_key: hsm_driver::PublicKey::Sm2(public.to_vec()),
            devices: None,
        }
    }

    /// Opens a ceremony, has both custodians confirm it and carries it out.
    async fn hold(&self, act: KeyAct) -> Ceremony {
        let opened =
            self.ceremonies.open(&by("operator"), &act, "test", 2, Duration::hours(1)).await.unwrap();
        for name in ["custodian-a", "custodian-b"] {
            self.ceremonies.confirm(&by(name), opened.id, SECRET).await.unwrap();
        }
        self.ceremonies.carry_out(&by("operator"), opened.id).await.unwrap()
    }

    async fn done(&self, act: KeyAct) -> serde_json::Value {
        let ended = self.hold(act).await;
        assert_eq!(ended.state, CeremonyState::Done, "{ended:?}");
        ended.result.unwrap()
    }

    async fn state(&self, key: &str, version: u32) -> KeyState {
        self.site.store.key(&key_id(key)).await.unwrap().unwrap().version(version).unwrap().state
    }

    /// How many devices show an object with this CKA_ID.
    async fn holders(&self, cka_id: &str) -> usize {
        let mut holders = 0;
        for device in &self.devices {
            let limit = std::time::Duration::from_secs(60);
            let Ok(Answer::Objects(objects)) = self.fleet.order(&device.id, Order::Inventory, limit).await
            else {
                panic!("no inventory of {}", device.id)
            };
            holders += usize::from(objects.iter().any(|object| object.cka_id == cka_id.as_bytes()));
        }
        holders
    }

    /// Makes the bureau's wrapping key, in all devices and active.
    async fn wrapping_key(&self) -> WrappingKey {
        let kek = KeyAct::Create {
            key: key_id("sys-kek"),
            group: group(),
            algorithm: "aes256".into(),
            purpose: KeyPurpose::Kek,
            label: "wrapping key".into(),
            spread: Spread::Clone,
            wrapping_key: None,
        };
        self.done(kek).await;
        self.done(KeyAct::Spread { key: key_id("sys-kek"), version: 1 }).await;
        self.done(rotate("sys-kek", 1, 0)).await;
        WrappingKey { id: key_id("sys-kek"), version: 1 }
    }

    fn stamp(&self, spread: Spread, wrapping_key: Option<WrappingKey>) -> KeyAct {
        KeyAct::Create {
            key: key_id("stamp"),
            group: group(),
            algorithm: "p256".into(),
            purpose: KeyPurpose::Service,
            label: "stamp".into(),
            spread,
            wrapping_key,
        }
    }

    /// Has a copy's certificate issued and installed.
    async fn certify(&self, version: u32, device: Option<&str>) {
        let device = device.map(device_id);
        let stamp = (&key_id("stamp"), version);
        let request =
            self.ceremonies.csr(&by("operator"), stamp, device.as_ref(), "CN=stamp,C=CN").await.unwrap();
        let certificate_chain = issue(&self.site.path("ca"), &request);
        self.done(KeyAct::Install { key: key_id("stamp"), version, device, certificate_chain }).await;
    }

    /// Reloads driver and keys as a gateway does after a ceremony, and answers a desk.
    async fn desk(&self) -> SigningDesk {
        let (ring, left_out) = KeyRing::load(self.site.store.keys().await.unwrap());
        assert!(left_out.is_empty(), "{left_out:?}");
        let mut specs = ring.specs();
        let names: Vec<KeyId> = specs.iter().map(|spec| spec.id.clone()).collect();
        specs.push(Self::first());
        self.fleet.reconfigure(&settings(), &self.devices, specs).await.unwrap();
        until("the keys proved", || names.iter().all(|name| self.fleet.can_serve(name))).await;
        SigningDesk::new(Arc::new(ring), Arc::clone(&self.fleet), self.site.audit.clone())
    }
}

fn rotate(key: &str, version: u32, overlap_days: u16) -> KeyAct {
    KeyAct::Rotate { key: key_id(key), version, overlap_days, without: Vec::new() }
}

/// Signs with `stamp` and answers which version did, its signature checked.
async fn sign(desk: &SigningDesk) -> u32 {
    let order = SignOrder {
        key: key_id("stamp"),
        group: None,
        algorithm: Algorithm::EcdsaP256Sha256,
        input: Input::Data(b"document".to_vec()),
        format: SignatureFormat::Raw,
        signer_id: b"1234567812345678".to_vec(),
    };
    let caller = Caller {
        app: app(),
        request_id: "r-8".into(),
        at: OffsetDateTime::now_utc(),
        deadline: None,
        signed: Arc::default(),
    };
    let receipt = desk.sign(&caller, order).await.unwrap();
    let key = receipt.certificate.unwrap().public_key().unwrap();
    key.verify_message(Algorithm::EcdsaP256Sha256, b"", b"document", &receipt.signature).unwrap();
    receipt.version
}

/// What an authority answers to a request: the certificate and the authority's own.
fn issue(ca: &Path, request: &str) -> String {
    let run = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(ca).output().expect("openssl runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    if !ca.is_dir() {
        std::fs::create_dir(ca).unwrap();
        run(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=authority",
            "-days",
            "3650",
        ]);
    }
    std::fs::write(ca.join("request.pem"), request).unwrap();
    run(&["req", "-in", "request.pem", "-verify", "-noout"]);
    run(&[
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "365",
        "-copy_extensions",
        "copyall",
        "-out",
        "issued.pem",
    ]);
    let read = |name: &str| std::fs::read_to_string(ca.join(name)).unwrap();
    read("issued.pem") + &read("ca.pem")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_spread_certified_used_replaced_and_destroyed() {
    let bureau = Bureau::new(&["d1", "d2", "d3"]).await;
    let wrapping_key = Some(bureau.wrapping_key().await);
    assert_eq!(bureau.holders("sys-kek").await, 3);

    let made = bureau.done(bureau.stamp(Spread::Wrap, wrapping_key.clone())).await;
    assert_eq!(made, json!({"version": 1, "made_in": ["d1"]}));
    let spread = bureau.done(KeyAct::Spread { key: key_id("stamp"), version: 1 }).await;
    assert_eq!(spread, json!({"version": 1, "spread_to": ["d2", "d3"]}));
    bureau.certify(1, None).await;
    let rotated = bureau.done(rotate("stamp", 1, 0)).await;
    assert_eq!(rotated["proved"], json!(["d1", "d2", "d3"]));
    assert_eq!(sign(&bureau.desk().await).await, 1);

    bureau.done(KeyAct::Next { key: key_id("stamp"), spread: Spread::Wrap, wrapping_key }).await;
    bureau.done(KeyAct::Spread { key: key_id("stamp"), version: 2 }).await;
    bureau.certify(2, None).await;
    bureau.done(rotate("stamp", 2, 30)).await;
    assert_eq!(sign(&bureau.desk().await).await, 2);
    assert_eq!(bureau.state("stamp", 1).await, KeyState::Retiring);

    let destroy = || KeyAct::Destroy { key: key_id("stamp"), version: 1, erased: Vec::new() };
    let early = bureau.hold(destroy()).await;
    assert_eq!(early.state, CeremonyState::Failed, "its overlap has not ended: {early:?}");
    assert_eq!(bureau.holders("stamp").await, 3, "nothing was removed");
    let early = bureau.hold(KeyAct::Retire { key: key_id("stamp"), version: 1 }).await;
    assert!(early.result.unwrap()["error"].as_str().unwrap().contains("its overlap has not ended"));
    let later = OffsetDateTime::now_utc() + Duration::days(31);
    bureau.site.store.retire_key_version(&key_id("stamp"), 1, later).await.unwrap();
    let removed = bureau.done(destroy()).await;
    assert_eq!(removed["removed_from"], json!(["d1", "d2", "d3"]));
    assert_eq!((bureau.holders("stamp").await, bureau.holders("stamp#2").await), (0, 3));
    assert_eq!(bureau.state("stamp", 1).await, KeyState::Destroyed);
    assert_eq!(sign(&bureau.desk().await).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_may_not_export_have_keys_and_certificates_of_their_own() {
    let bureau = Bureau::new(&["d1", "d2"]).await;
    let made = bureau.done(bureau.stamp(Spread::PerDevice, None)).await;
    assert_eq!(made["made_in"], json!(["d1", "d2"]));
    bureau.certify(1, Some("d1")).await;
    let lacking = bureau.hold(rotate("stamp", 1, 0)).await;
    assert!(lacking.result.unwrap()["error"].as_str().unwrap().contains("a copy has no certificate"));
    bureau.certify(1, Some("d2")).await;
    bureau.done(rotate("stamp", 1, 0)).await;
    let desk = bureau.desk().await;
    let copies = &desk.keys();
    let copies = &copies.get(&key_id("stamp")).unwrap().current.copies;
    assert_ne!(copies[0].public_key, copies[1].public_key);
    let subjects: Vec<_> = copies.iter().map(|copy| Certificate::subject(&copy.chain[0])).collect();
    assert_eq!(subjects, ["CN=stamp,C=CN", "CN=stamp,C=CN"]);
    for _ in 0..10 {
        assert_eq!(sign(&desk).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_is_named_and_another_ceremony_goes_on_from_there() {
    let bureau = Bureau::new(&["d1", "d2"]).await;
    bureau.site.fault(
        "d2",
        "[[fault]]\nfunction = \"C_GenerateKeyPair\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n",
    );
    let failed = bureau.hold(bureau.stamp(Spread::PerDevice, None)).await;
    assert_eq!(failed.state, CeremonyState::Failed);
    let why = failed.result.unwrap();
    assert!(why["devices"]["d2"].as_str().unwrap().contains("C_GenerateKeyPair"), "{why}");
    assert_eq!(why["devices"].as_object().unwrap().len(), 1, "d1 did its part: {why}");
    assert_eq!(bureau.holders("stamp").await, 1);
    bureau.site.fault("d2", "");
    bureau.done(KeyAct::Spread { key: key_id("stamp"), version: 1 }).await;
    assert_eq!(bureau.holders("stamp").await, 2);

    // A key that lies in a device under the name of a new one is not touched.
    let other = KeyAct::Create {
        key: key_id("first"),
        group: group(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Audit,
        label: "first".into(),
        spread: Spread::PerDevice,
        wrapping_key: None,
    };
    assert_eq!(bureau.hold(other).await.state, CeremonyState::Failed);
    assert_eq!(bureau.holders("first").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_takes_over_when_every_device_proved_it_but_those_the_custodians_excepted() {
    let bureau = Bureau::new(&["d1", "d2"]).await;
    bureau.done(bureau.stamp(Spread::PerDevice, None)).await;
    bureau.certify(1, Some("d1")).await;
    bureau.certify(1, Some("d2")).await;
    for fault in ["action = \"error\"\nrv = \"CKR_DEVICE_ERROR\"", "action = \"flip_bit\""] {
        bureau.site.fault("d2", &format!("[[fault]]\nfunction = \"C_Sign\"\n{fault}\n"));
        let failed = bureau.hold(rotate("stamp", 1, 0)).await.result.unwrap();
        let named: Vec<_> = failed["devices"].as_object().unwrap().keys().collect();
        assert_eq!(named, ["d2"], "{failed}");
        assert_eq!(bureau.state("stamp", 1).await, KeyState::Pending);
    }
    let without = |devices: &[&str]| KeyAct::Rotate {
        key: key_id("stamp"),
        version: 1,
        overlap_days: 0,
        without: devices.iter().map(|device| device_id(device)).collect(),
    };
    let none = bureau.hold(without(&["d1", "d2"])).await;
    assert_eq!(none.state, CeremonyState::Failed, "somebody has to prove it: {none:?}");
    assert_eq!(bureau.done(without(&["d2"])).await["proved"], json!(["d1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happens_without_the_custodians_and_all_of_it_is_on_record() {
    let bureau = Bureau::new(&["d1"]).await;
    let act = bureau.stamp(Spread::PerDevice, None);
    let opened = bureau.ceremonies.open(&by("operator"), &act, "first", 2, Duration::hours(1)).await.unwrap();
    let wrong = bureau.ceremonies.confirm(&by("custodian-a"), opened.id, "a secret of nobody").await;
    assert!(matches!(wrong, Err(CeremonyError::NotACustodian)), "{wrong:?}");
    bureau.ceremonies.confirm(&by("custodian-a"), opened.id, SECRET).await.unwrap();
    let early = bureau.ceremonies.carry_out(&by("operator"), opened.id).await;
    assert!(matches!(early, Err(CeremonyError::Store(StoreError::NotAllowed { .. }))), "{early:?}");
    assert_eq!(bureau.holders("stamp").await, 0);
    bureau.ceremonies.call_off(&by("operator"), opened.id, "a test").await.unwrap();
    let late = bureau.ceremonies.confirm(&by("custodian-b"), opened.id, SECRET).await;
    assert!(matches!(late, Err(CeremonyError::Store(StoreError::NotAllowed { .. }))), "{late:?}");

    bureau.done(act).await;
    let recorded = bureau.site.recorded("ceremony").await;
    let said: Vec<_> = recorded
        .iter()
        .map(|entry| (entry.action.as_str(), entry.actor.as_str(), entry.outcome.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("ceremony.open", "operator", "ok"),
            ("ceremony.confirm", "custodian-a", "not_a_custodian"),
            ("ceremony.confirm", "custodian-a", "ok"),
            ("ceremony.finish", "operator", "called_off"),
            ("ceremony.open", "operator", "ok"),
            ("ceremony.confirm", "custodian-a", "ok"),
            ("ceremony.confirm", "custodian-b", "ok"),
            ("ceremony.start", "operator", "ok"),
            ("ceremony.finish", "operator", "ok"),
        ]
    );
    assert!(recorded.iter().all(|entry| entry.key.as_deref() == Some("stamp")));
    let folder = bureau.site.path("");
    for file in std::fs::read_dir(folder).unwrap().filter_map(|file| std::fs::read(file.unwrap().path()).ok())
    {
        assert!(!file.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    }
}
