//! Real devices for a test: hsm-sim and SoftHSM2 tokens in a temporary folder, driven through real workers.

// Each test program uses its own part of this.
#![allow(dead_code)]
// And it is a test: what cannot be set up fails it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use certs_test::{Options, PrivateParts};
use config::{AppId, DeviceId, GroupId, KeyId};
use hsm_driver::provision::{ImportKey, KeyParts, ProvisionOrder, provision};
use hsm_driver::{
    Algorithm, Answer, Ask, Dialect, Fleet, HsmError, KeySpec, Order, PublicKey, SecretKind, Signed, State,
    WorkerCommand,
};

pub(crate) const PIN: &str = "12345678";
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

pub(crate) struct Workshop {
    folder: tempfile::TempDir,
    devices: std::sync::Mutex<Vec<config::Device>>,
}

pub(crate) fn settings() -> config::Fleet {
    config::Fleet {
        deadline: Duration::from_secs(3),
        kill_after: Duration::from_millis(300),
        start_timeout: Duration::from_secs(3),
        queue: 256,
        ..config::Fleet::default()
    }
}

pub(crate) fn worker(argument: Option<&str>) -> WorkerCommand {
    WorkerCommand {
        program: env!("CARGO_BIN_EXE_hsm-worker").into(),
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

/// `demo-sm2`, `demo-p256` and `demo-rsa2048` of one test PKI.
fn services() -> &'static [certs_test::ServiceKey] {
    static SERVICES: OnceLock<Vec<certs_test::ServiceKey>> = OnceLock::new();
    SERVICES.get_or_init(|| {
        let at = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        certs_test::generate(&Options { seed: [7; 32], at }).unwrap().services
    })
}

fn service(id: &str) -> &'static certs_test::ServiceKey {
    services().iter().find(|service| service.id == id).unwrap()
}

/// The key as a site declares it.
pub(crate) fn spec(id: &str, group: &str) -> KeySpec {
    let public_key = match &service(id).private {
        PrivateParts::Sm2 { public, .. } => PublicKey::Sm2(public.to_vec()),
        PrivateParts::P256 { public, .. } => PublicKey::P256(public.to_vec()),
        PrivateParts::Rsa { n, e, .. } => PublicKey::Rsa { modulus: n.clone(), exponent: e.clone() },
    };
    let (id, group) = (KeyId::parse(id).unwrap(), GroupId::parse(group).unwrap());
    KeySpec { cka_id: id.as_str().as_bytes().to_vec(), id, group, public_key, devices: None }
}

/// The private half of `of`, to be imported under the CKA_ID of `id`.
pub(crate) fn import(id: &str, of: &str) -> ImportKey {
    let parts = match &service(of).private {
        PrivateParts::Sm2 { scalar, public } => {
            KeyParts::Sm2 { scalar: scalar.to_vec().into(), point: public.to_vec() }
        }
        PrivateParts::P256 { scalar, public } => {
            KeyParts::P256 { scalar: scalar.to_vec().into(), point: public.to_vec() }
        }
        PrivateParts::Rsa { n, e, d, p, q, dp, dq, qinv } => KeyParts::Rsa {
            modulus: n.clone(),
            exponent: e.clone(),
            private_exponent: d.clone().into(),
            crt: vec![p.clone(), q.clone(), dp.clone(), dq.clone(), qinv.clone()].into(),
        },
    };
    ImportKey { label: id.to_owned(), cka_id: id.as_bytes().to_vec(), parts, extractable: true }
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), devices: Vec::new().into() }
    }

    /// All that were made, in their order.
    pub(crate) fn devices(&self) -> Vec<config::Device> {
        self.devices.lock().unwrap().clone()
    }

    pub(crate) fn home(&self, device: &str) -> PathBuf {
        self.folder.path().join(device)
    }

    /// A simulated device that holds these keys.
    pub(crate) fn simulated(&self, device: &str, group: &str, keys: Vec<ImportKey>) -> config::Device {
        self.simulated_in("standard", device, group, keys)
    }

    /// The same, speaking a vendor's dialect.
    pub(crate) fn simulated_in(
        &self,
        dialect: &str,
        device: &str,
        group: &str,
        keys: Vec<ImportKey>,
    ) -> config::Device {
        let home = self.home(device);
        std::fs::create_dir(&home).unwrap();
        let serial = format!("SIM-{device}");
        let text = format!(
            "store = \"tokens\"\nfault_file = \"fault.toml\"\ndialect = \"{dialect}\"\nsession_limit = 64\n[[slot]]\nid = 0\nserial = \"{serial}\"\nmodel = \"SIM\"\n"
        );
        std::fs::write(home.join("hsm-sim.toml"), text).unwrap();
        let env = ("HSM_SIM_CONFIG".to_owned(), home.join("hsm-sim.toml").display().to_string());
        self.device(dialect, (device, group), (simulator(), Some(serial)), env, keys)
    }

    /// A SoftHSM2 token that holds these keys.
    pub(crate) fn softhsm(&self, device: &str, group: &str, keys: Vec<ImportKey>) -> config::Device {
        assert!(Path::new(SOFTHSM).is_file(), "this test needs SoftHSM2: apt-get install softhsm2");
        let home = self.home(device);
        std::fs::create_dir_all(home.join("tokens")).unwrap();
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", home.join("tokens").display());
        std::fs::write(home.join("softhsm2.conf"), text).unwrap();
        let env = ("SOFTHSM2_CONF".to_owned(), home.join("softhsm2.conf").display().to_string());
        self.device("standard", (device, group), (SOFTHSM.into(), None), env, keys)
    }

    fn device(
        &self,
        dialect: &str,
        (device, group): (&str, &str),
        (module, serial): (PathBuf, Option<String>),
        env: (String, String),
        keys: Vec<ImportKey>,
    ) -> config::Device {
        let home = self.home(device);
        std::fs::write(home.join("pin"), PIN).unwrap();
        std::fs::write(home.join("so-pin"), "87654321").unwrap();
        let env = [env].into();
        let order = ProvisionOrder {
            module: module.display().to_string(),
            serial: serial.clone(),
            label: device.to_owned(),
            so_pin: "87654321".to_owned(),
            pin: PIN.to_owned(),
            dialect: Dialect::shipped(dialect).unwrap(),
            keys,
        };
        // Twice: setting up what is set up changes nothing.
        for _ in 0..2 {
            provision(&worker(Some("provision")), &env, &home, &order).unwrap();
        }
        let device = config::Device {
            id: DeviceId::parse(device).unwrap(),
            group: GroupId::parse(group).unwrap(),
            module,
            token: device.to_owned(),
            serial,
            pin_file: home.join("pin"),
            so_pin_file: Some(home.join("so-pin")),
            dialect: dialect.to_owned(),
            lanes: 2,
            env,
            folder: home,
        };
        self.devices.lock().unwrap().push(device.clone());
        device
    }

    /// Commands a simulated device's breakdown; an empty text ends it.
    pub(crate) fn fault(&self, device: &str, toml: &str) {
        self.put_fault(device, toml);
        // The simulator looks no more often than every 10 ms.
        std::thread::sleep(Duration::from_millis(30));
    }

    /// The same without waiting until the simulator has seen it.
    pub(crate) fn put_fault(&self, device: &str, toml: &str) {
        let (path, temporary) = (self.home(device).join("fault.toml"), self.home(device).join("fault.new"));
        std::fs::write(&temporary, toml).unwrap();
        std::fs::rename(&temporary, &path).unwrap();
    }
}

pub(crate) fn start(devices: &[config::Device], keys: Vec<KeySpec>) -> Fleet {
    start_with(&settings(), devices, keys)
}

pub(crate) fn start_with(settings: &config::Fleet, devices: &[config::Device], keys: Vec<KeySpec>) -> Fleet {
    Fleet::start(settings, devices, keys, &worker(None)).unwrap()
}

/// Signs for a caller of no importance.
pub(crate) async fn sign(
    fleet: &Fleet,
    key: &KeyId,
    algorithm: Algorithm,
    digest: [u8; 32],
) -> Result<Signed, HsmError> {
    let caller = AppId::parse("test").unwrap();
    fleet.sign(Ask { caller: &caller, key, algorithm, digest, deadline: None }).await
}

/// How long anything may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// How long an order may take.
pub(crate) const LIMIT: Duration = BOUND;

/// Has one device do something, which it must.
pub(crate) async fn tell(fleet: &Fleet, device: &str, order: Order) -> Answer {
    fleet.order(&device.parse().unwrap(), order, LIMIT).await.unwrap()
}

/// A secret key made in one device and sent to the other under that one's transport key.
pub(crate) async fn share_secret(fleet: &Fleet, [from, to]: [&str; 2], cka_id: &[u8], kind: SecretKind) {
    let (cka_id, label) = (cka_id.to_vec(), "secret".to_owned());
    tell(fleet, from, Order::GenerateSecret { cka_id: cka_id.clone(), label: label.clone(), kind }).await;
    let transport = b"transport".to_vec();
    let Answer::PublicKey(public) = tell(fleet, to, Order::Transport { cka_id: transport.clone() }).await
    else {
        panic!("no transport key")
    };
    let order = Order::WrapFor { cka_id: cka_id.clone(), transport: public };
    let Answer::Wrapped { blob, .. } = tell(fleet, from, order).await else { panic!("not wrapped") };
    tell(fleet, to, Order::Install { blob, transport, cka_id, label, kind }).await;
}

pub(crate) fn state(fleet: &Fleet, device: &str) -> State {
    fleet.status().into_iter().find(|status| status.id.as_str() == device).unwrap().state
}

/// Waits, within a bound, for something to become true of the fleet.
pub(crate) async fn until(fleet: &Fleet, what: &str, holds: impl Fn(&Fleet) -> bool) {
    let started = Instant::now();
    while !holds(fleet) {
        assert!(started.elapsed() < BOUND, "{what} did not come true: {:#?}", fleet.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn until_ready(fleet: &Fleet) {
    until(fleet, "every device ready", |fleet| {
        fleet.status().iter().all(|status| status.state == State::Ready)
    })
    .await;
}
