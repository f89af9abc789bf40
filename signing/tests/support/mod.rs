//! Simulated devices driven through real workers, a register and an audit log, in a temporary folder.

// Each test program uses its own part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use certs_test::{Options, PrivateParts, Sandbox, ServiceKey};
use config::{AppId, DeviceId, GroupId, KeyId};
use formats::Certificate;
use hsm_driver::provision::{ImportKey, KeyParts, ProvisionOrder, provision};
use hsm_driver::{Dialect, Fleet, KeySpec, State, WorkerCommand};
use store::{AuditLog, KeyCopy, KeyPurpose, KeyRecord, KeyState, KeyVersion, Spread, Store};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const PIN: &str = "12345678";

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| certs_test::generate(&Options { seed: [7; 32], at: AT }).unwrap());

pub(crate) fn service(id: &str) -> &'static ServiceKey {
    SANDBOX.services.iter().find(|service| service.id == id).unwrap()
}

pub(crate) fn chain(id: &str) -> Vec<Certificate> {
    service(id).chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
}

pub(crate) fn key_id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

pub(crate) fn device_id(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

pub(crate) fn group() -> GroupId {
    GroupId::parse("bureau").unwrap()
}

pub(crate) fn app() -> AppId {
    AppId::parse("window").unwrap()
}

/// A copy with the key and certificate of a sandbox service.
pub(crate) fn copy(device: Option<&str>, of: &str) -> KeyCopy {
    let chain = chain(of);
    KeyCopy {
        device: device.map(device_id),
        public_key: Some(chain[0].public_key().unwrap().spki_der()),
        certificate_chain: chain.iter().map(Certificate::to_pem).collect(),
        created_at: AT,
    }
}

pub(crate) fn version(number: u32, state: KeyState, copies: Vec<KeyCopy>) -> KeyVersion {
    let per_device = copies.iter().any(|copy| copy.device.is_some());
    KeyVersion {
        version: number,
        state,
        spread: if per_device { Spread::PerDevice } else { Spread::Clone },
        cka_id: if number == 1 { b"stamp".to_vec() } else { format!("stamp#{number}").into_bytes() },
        wrapping_key: None,
        created_at: AT,
        activates_at: (state != KeyState::Pending).then_some(AT),
        retires_at: None,
        destroyed_at: None,
        copies,
    }
}

/// The service key `stamp`.
pub(crate) fn stamp(versions: Vec<KeyVersion>) -> KeyRecord {
    KeyRecord {
        id: key_id("stamp"),
        group: group(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Service,
        label: "stamp".into(),
        created_at: AT,
        versions,
    }
}

/// The private half of a sandbox service's key, SM2 or P-256, to be imported under a CKA_ID.
pub(crate) fn import(cka_id: &str, of: &str) -> ImportKey {
    let parts = match &service(of).private {
        PrivateParts::Sm2 { scalar, public } => {
            KeyParts::Sm2 { scalar: scalar.to_vec().into(), point: public.to_vec() }
        }
        PrivateParts::P256 { scalar, public } => {
            KeyParts::P256 { scalar: scalar.to_vec().into(), point: public.to_vec() }
        }
        PrivateParts::Rsa { .. } => panic!("{of} is an RSA key"),
    };
    ImportKey { label: "stamp".to_owned(), cka_id: cka_id.as_bytes().to_vec(), parts, extractable: false }
}

pub(crate) struct Site {
    folder: TempDir,
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    _writer: store::AuditWriter,
}

pub(crate) fn settings() -> config::Fleet {
    config::Fleet {
        deadline: Duration::from_secs(4),
        kill_after: Duration::from_millis(300),
        start_timeout: Duration::from_secs(5),
        ..config::Fleet::default()
    }
}

fn worker(argument: Option<&str>) -> WorkerCommand {
    WorkerCommand {
        program: env!("CARGO_BIN_EXE_signing-test-worker").into(),
        arguments: argument.map(str::to_owned).into_iter().collect(),
        provision: vec!["provision".to_owned()],
    }
}

/// The simulator's module, which cargo builds into the folder of this test or the one above.
fn simulator() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let found = executable.ancestors().skip(1).take(2).map(|folder| folder.join("libhsm_sim.so"));
    found.into_iter().find(|path| path.is_file()).expect("libhsm_sim.so is built with these tests")
}

impl Site {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(&url).await.unwrap();
        let (audit, _writer) = AuditLog::start(&store).await.unwrap();
        Self { folder, store, audit, _writer }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A simulated device of the group `bureau` that holds these keys.
    pub(crate) fn device(&self, device: &str, keys: Vec<ImportKey>) -> config::Device {
        let home = self.path(device);
        std::fs::create_dir(&home).unwrap();
        let serial = format!("SIM-{device}");
        let text = format!(
            "store = \"tokens\"\nfault_file = \"fault.toml\"\nsession_limit = 64\n[[slot]]\nid = 0\n\
             serial = \"{serial}\"\nmodel = \"SIM\"\n"
        );
        std::fs::write(home.join("hsm-sim.toml"), text).unwrap();
        std::fs::write(home.join("pin"), PIN).unwrap();
        let env = [("HSM_SIM_CONFIG".to_owned(), home.join("hsm-sim.toml").display().to_string())].into();
        let order = ProvisionOrder {
            module: simulator().display().to_string(),
            serial: Some(serial.clone()),
            label: device.to_owned(),
            so_pin: "87654321".to_owned(),
            pin: PIN.to_owned(),
            dialect: Dialect::shipped("standard").unwrap(),
            keys,
        };
        provision(&worker(Some("provision")), &env, &home, &order).unwrap();
        config::Device {
            id: device_id(device),
            group: group(),
            module: simulator(),
            token: device.to_owned(),
            serial: Some(serial),
            pin_file: home.join("pin"),
            so_pin_file: None,
            dialect: "standard".to_owned(),
            lanes: 2,
            env,
            folder: home,
        }
    }

    /// Commands a device's breakdown; an empty text ends it.
    pub(crate) fn fault(&self, device: &str, toml: &str) {
        let (path, new) = (self.path(device).join("fault.toml"), self.path(device).join("fault.new"));
        std::fs::write(&new, toml).unwrap();
        std::fs::rename(&new, &path).unwrap();
        // The simulator looks no more often than every 10 ms.
        std::thread::sleep(Duration::from_millis(30));
    }

    /// What the audit log holds of some actions, in its order.
    pub(crate) async fn recorded(&self, prefix: &str) -> Vec<store::AuditEntry> {
        let all = self.store.audit_entries(0, 1000).await.unwrap();
        let all =
            all.iter().map(|stored| serde_json::from_slice::<store::AuditEntry>(&stored.entry).unwrap());
        all.filter(|entry| entry.action.starts_with(prefix)).collect()
    }
}

pub(crate) async fn start(devices: &[config::Device], keys: Vec<KeySpec>) -> Arc<Fleet> {
    let fleet = Arc::new(Fleet::start(&settings(), devices, keys, &worker(None)).unwrap());
    until("every device ready", || fleet.status().iter().all(|status| status.state == State::Ready)).await;
    fleet
}

/// Waits, within a bound, for something to become true.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
