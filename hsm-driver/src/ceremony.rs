//! Moving key material between devices, so that nothing but wrapped octets is ever outside one: secrets under a
//! one-time transport key of the receiving device, key pairs under the group's wrapping key. Whether it may be done
//! is decided by whoever calls; every step here is one order to one device and can be repeated after a failure.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use config::{DeviceId, GroupId};
use serde::Serialize;

use crate::device::KeyState;
use crate::dialect::Dialect;
use crate::error::HsmError;
use crate::fleet::Fleet;
use crate::key::KeySpec;
use crate::order::{Answer, KeyObject, Order, SecretKind};
use crate::provision::{ProvisionOrder, provision};

/// CKO_PRIVATE_KEY and CKO_SECRET_KEY (PKCS#11 §2).
const PRIVATE: u64 = 3;
const SECRET: u64 = 4;

/// Longest time of one step; making an RSA transport key takes seconds on some devices.
const STEP: Duration = Duration::from_secs(60);
/// How long a device that was set up may take to come up.
const COMES_UP: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A secret key that every device of a group is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    /// CKA_ID.
    pub cka_id: Vec<u8>,
    /// CKA_LABEL.
    pub label: String,
    /// What it is for.
    pub kind: SecretKind,
}

/// What became of one key on a device that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The key, by its name or CKA_ID.
    pub key: String,
    /// Where it came from; none if the device had it already.
    pub from: Option<DeviceId>,
    /// Why it is not there.
    pub error: Option<String>,
}

impl Fleet {
    /// A device's key objects.
    ///
    /// # Errors
    /// As [`Fleet::order`].
    pub async fn inventory(&self, id: &DeviceId) -> Result<Vec<KeyObject>, HsmError> {
        match self.order(id, Order::Inventory, STEP).await? {
            Answer::Objects(objects) => Ok(objects),
            _ => Err(wrong(id, "no list of objects")),
        }
    }

    /// Sees to it that a device holds a secret key of its group: from a device that has it, under a transport key
    /// that ends with this.
    ///
    /// # Errors
    /// [`HsmError::NoSource`] if no other device holds it; else the failing step's.
    pub async fn share_secret(&self, spec: &SecretSpec, to: &DeviceId) -> Result<Option<DeviceId>, HsmError> {
        let of = |object: &KeyObject| object.class == SECRET && object.cka_id == spec.cka_id;
        if self.inventory(to).await?.iter().any(of) {
            return Ok(None);
        }
        let from = self.source(to, of, &spec.label).await?;
        let transport = format!("transport-{:016x}", fastrand::u64(..)).into_bytes();
        let public = match self.order(to, Order::Transport { cka_id: transport.clone() }, STEP).await? {
            Answer::PublicKey(public) => public,
            _ => return Err(wrong(to, "no transport key")),
        };
        let order = Order::WrapFor { cka_id: spec.cka_id.clone(), transport: public };
        let blob = self.blob(&from, order).await?;
        let order = Order::Install {
            blob,
            transport,
            cka_id: spec.cka_id.clone(),
            label: spec.label.clone(),
            kind: spec.kind,
        };
        self.order(to, order, STEP).await?;
        Ok(Some(from))
    }

    /// Sees to it that a device holds a key pair of its group: from a device that has it, under the group's
    /// wrapping key. The copy proves itself by a signature before it is used.
    ///
    /// # Errors
    /// [`HsmError::NoSource`] if no other device holds it; [`HsmError::WrongAnswer`] if the copy signs wrongly: it is
    /// removed then; else the failing step's, `CKR_KEY_UNEXTRACTABLE` among them for a key that may not leave.
    pub async fn spread_key(
        &self,
        spec: &KeySpec,
        label: &str,
        wrapping: &[u8],
        extractable: bool,
        to: &DeviceId,
    ) -> Result<Option<DeviceId>, HsmError> {
        let of = |object: &KeyObject| object.class == PRIVATE && object.cka_id == spec.cka_id;
        if self.inventory(to).await?.iter().any(of) {
            return Ok(None);
        }
        let from = self.source(to, of, spec.id.as_str()).await?;
        let order = Order::WrapOut { cka_id: spec.cka_id.clone(), wrapping: wrapping.to_vec() };
        let blob = self.blob(&from, order).await?;
        let digest = std::array::from_fn(|_| fastrand::u8(..));
        let order = Order::UnwrapIn {
            blob,
            wrapping: wrapping.to_vec(),
            cka_id: spec.cka_id.clone(),
            label: label.to_owned(),
            public_key: spec.public_key.clone(),
            extractable,
            digest,
        };
        let Answer::Octets(signature) = self.order(to, order, STEP).await? else {
            return Err(wrong(to, "no signature by the copy"));
        };
        if !self.is_signature(spec, &digest, &signature) {
            self.order(to, Order::Destroy { cka_id: spec.cka_id.clone() }, STEP).await?;
            return Err(wrong(to, "the copy is not the key"));
        }
        Ok(Some(from))
    }

    /// Takes a blank device in: initialises its token, sets its PIN, and gives it the secrets and keys of its group.
    /// A device that is set up already only gets what it lacks. Its worker starts when the token is there, and every
    /// key is proved as at any start.
    ///
    /// # Errors
    /// [`HsmError::SetUp`] if the token cannot be set up, [`HsmError::NotRunning`] if its worker does not come up.
    /// What fails for a single key is in the answer.
    pub async fn take_in(
        &self,
        id: &DeviceId,
        secrets: &[SecretSpec],
        wrapping: &[u8],
    ) -> Result<Vec<Spread>, HsmError> {
        let device = self.device(id)?;
        if self.inventory(id).await.is_err() {
            self.set_up_token(&device.config).await?;
            self.restart_and_wait(id).await?;
        }
        let told = |key: String, result: Result<Option<DeviceId>, HsmError>| match result {
            Ok(from) => Spread { key, from, error: None },
            Err(error) => Spread { key, from: None, error: Some(error.to_string()) },
        };
        let mut report = Vec::new();
        for secret in secrets {
            report.push(told(secret.label.clone(), self.share_secret(secret, id).await));
        }
        for copy in device.copies().iter() {
            let spec = &copy.key.spec;
            // A key that never leaves its device is not anybody's to give.
            if spec.devices.is_none() {
                let spread = self.spread_key(spec, spec.id.as_str(), wrapping, true, id).await;
                report.push(told(spec.id.to_string(), spread));
            }
        }
        let all_there = || device.copies().iter().all(|copy| copy.state() == KeyState::Held);
        if !all_there() {
            // Found and proved at once, not by the next probes.
            self.restart_and_wait(id).await?;
        }
        Ok(report)
    }

    async fn restart_and_wait(&self, id: &DeviceId) -> Result<(), HsmError> {
        let device = self.device(id)?;
        let starts = device.worker_starts.load(Ordering::Relaxed);
        self.restart(id).await?;
        let began = Instant::now();
        while device.worker_starts.load(Ordering::Relaxed) == starts || self.inventory(id).await.is_err() {
            if began.elapsed() > COMES_UP {
                return Err(HsmError::NotRunning { device: id.clone() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn set_up_token(&self, device: &config::Device) -> Result<(), HsmError> {
        let failed = |reason: String| HsmError::SetUp { device: device.id.clone(), reason };
        let Some(so_pin_file) = &device.so_pin_file else {
            return Err(failed("so_pin_file is not configured".to_owned()));
        };
        let pin = |path: std::path::PathBuf| {
            let failed = failed(format!("PIN file {} cannot be read", path.display()));
            async move {
                let text = tokio::fs::read_to_string(path).await.map_err(|_| failed)?;
                Ok::<_, HsmError>(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let order = ProvisionOrder {
            module: device.module.display().to_string(),
            serial: device.serial.clone(),
            label: device.token.clone(),
            so_pin: pin(so_pin_file.clone()).await?,
            pin: pin(device.pin_file.clone()).await?,
            dialect: Dialect::shipped(&device.dialect)?,
            keys: Vec::new(),
        };
        let (command, env, folder) = (self.provisioner(), device.env.clone(), device.folder.clone());
        let done = tokio::task::spawn_blocking(move || provision(&command, &env, &folder, &order)).await;
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the set-up ended early".to_owned())),
        }
    }

    /// Another device of the same group, with a worker, that holds such an object.
    async fn source(
        &self,
        to: &DeviceId,
        of: impl Fn(&KeyObject) -> bool,
        what: &str,
    ) -> Result<DeviceId, HsmError> {
        let group: GroupId = self.device(to)?.config.group.clone();
        let plan = self.plan();
        let members = plan.groups.get(&group).into_iter().flatten();
        // Those in service only: one that is not may be out because it is not trusted.
        for device in members.filter(|device| device.config.id != *to && device.takes_work()) {
            if self.inventory(&device.config.id).await.is_ok_and(|objects| objects.iter().any(&of)) {
                return Ok(device.config.id.clone());
            }
        }
        Err(HsmError::NoSource { what: what.to_owned(), group })
    }

    async fn blob(&self, from: &DeviceId, order: Order) -> Result<Vec<u8>, HsmError> {
        match self.order(from, order, STEP).await? {
            Answer::Wrapped { blob, .. } => Ok(blob),
            _ => Err(wrong(from, "nothing wrapped")),
        }
    }
}

fn wrong(device: &DeviceId, what: &'static str) -> HsmError {
    HsmError::WrongAnswer { device: device.clone(), what }
}
