//! Key ceremonies: making, spreading, certifying, replacing and destroying keys, each confirmed by custodians.
//!
//! [`KeyCeremonies::open`] says what is to be done, [`KeyCeremonies::confirm`] collects the custodians' word for
//! exactly that, [`KeyCeremonies::carry_out`] does it once. Every step is in the audit log before its answer, and
//! that a ceremony begins is there before the first device hears of it.
//!
//! A key's way: `Create` makes it in a device, `Spread` brings it to the others of its group, [`KeyCeremonies::csr`]
//! asks for its certificate, `Install` takes that in, `Rotate` has it sign from now on. Its next version goes the
//! same way from `Next` on; the version before is then ended by `Retire` and `Destroy`. After `Rotate`, `Retire` and
//! `Install` whoever serves reloads the [`KeyRing`](crate::KeyRing); the devices' driver learns of the keys first.

mod material;
mod request;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use config::{DeviceId, GroupId, KeyId};
use formats::FormatError;
use formats::scheme::HashAlgorithm;
use hsm_driver::{Answer, Fleet, HsmError, Order};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    AuditEntry, AuditLog, Ceremony, KeyPurpose, KeyRecord, KeyState, KeyVersion, NewCeremony, NewKey, Spread,
    Store, StoreError, VersionPlan, WrappingKey,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

pub(crate) use material::spki;

use crate::driver_key;

/// Longest time a device may take for one order: RSA keys are slow to make.
const ORDER_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// The devices as a ceremony sees them.
pub trait KeyDevices: Send + Sync {
    /// The devices of a group, in the site's order.
    fn members(&self, group: &GroupId) -> Vec<DeviceId>;

    /// Tells one device to do something; it is never given to another.
    fn order(&self, device: &DeviceId, order: Order)
    -> impl Future<Output = Result<Answer, HsmError>> + Send;
}

impl KeyDevices for Fleet {
    fn members(&self, group: &GroupId) -> Vec<DeviceId> {
        let of_group = self.status().into_iter().filter(|status| status.group == *group);
        of_group.map(|status| status.id).collect()
    }

    async fn order(&self, device: &DeviceId, order: Order) -> Result<Answer, HsmError> {
        Fleet::order(self, device, order, ORDER_LIMIT).await
    }
}

/// What a ceremony does: what custodians see and confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
pub enum KeyAct {
    /// Enters a new key and makes its version 1: in one device, or in each where none may leave.
    Create {
        /// Its name.
        key: KeyId,
        /// The wall behind which it is to live.
        group: GroupId,
        /// `sm2`, `p256`, `rsa2048`, or of a secret key `aes256`, `hmac-sha256`.
        algorithm: String,
        /// What it is for, for good.
        purpose: KeyPurpose,
        /// CKA_LABEL of its objects.
        label: String,
        /// How it is spread.
        spread: Spread,
        /// What it is wrapped under for that.
        wrapping_key: Option<WrappingKey>,
    },
    /// Makes the next version of a key.
    Next {
        /// The key.
        key: KeyId,
        /// How it is spread.
        spread: Spread,
        /// What it is wrapped under for that.
        wrapping_key: Option<WrappingKey>,
    },
    /// Brings a version into all devices of its group that lack it, and has each prove it.
    Spread {
        /// The key.
        key: KeyId,
        /// Its version.
        version: u32,
    },
    /// Takes the certificates of a copy in.
    Install {
        /// The key.
        key: KeyId,
        /// Its version.
        version: u32,
        /// The device whose copy it is, where copies differ.
        device: Option<DeviceId>,
        /// PEM, the copy's own first.
        certificate_chain: String,
    },
    /// Has the pending version sign from now on.
    Rotate {
        /// The key.
        key: KeyId,
        /// The pending version.
        version: u32,
        /// For how many days the version before stays; 0 retires it at once.
        overlap_days: u16,
        /// Devices that are out of order and need not prove the version now; they prove it when they come back.
        without: Vec<DeviceId>,
    },
    /// Takes a version out of use.
    Retire {
        /// The key.
        key: KeyId,
        /// Its version.
        version: u32,
    },
    /// Removes a version from all devices.
    Destroy {
        /// The key.
        key: KeyId,
        /// Its version.
        version: u32,
        /// Devices that cannot be told any more and are known to be erased.
        erased: Vec<DeviceId>,
    },
}

/// Who acts, when, under which request.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The account.
    pub name: String,
    /// The request's id.
    pub request_id: String,
    /// The time of the request.
    pub at: OffsetDateTime,
}

/// Why a ceremony could not be held.
#[derive(Debug, Error)]
pub enum CeremonyError {
    /// The register or the audit log refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name and secret are not an enabled custodian's.
    #[error("the custodian's name or secret is wrong")]
    NotACustodian,
    /// The parameters make no sense.
    #[error("{0}")]
    Act(&'static str),
    /// Some devices did not do their part; what the others did stands.
    #[error("not all devices did it: {}", list(.0))]
    Devices(BTreeMap<DeviceId, String>),
    /// What was to be signed could not be prepared.
    #[error("cannot prepare what is to be signed")]
    Format(#[from] FormatError),
}

fn list(failed: &BTreeMap<DeviceId, String>) -> String {
    let each: Vec<_> = failed.iter().map(|(device, why)| format!("{device}: {why}")).collect();
    each.join("; ")
}

impl KeyAct {
    /// The word for it, as in `key.create`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "key.create",
            Self::Next { .. } => "key.next",
            Self::Spread { .. } => "key.spread",
            Self::Install { .. } => "key.install",
            Self::Rotate { .. } => "key.rotate",
            Self::Retire { .. } => "key.retire",
            Self::Destroy { .. } => "key.destroy",
        }
    }

    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        match self {
            Self::Create { key, .. }
            | Self::Next { key, .. }
            | Self::Spread { key, .. }
            | Self::Install { key, .. }
            | Self::Rotate { key, .. }
            | Self::Retire { key, .. }
            | Self::Destroy { key, .. } => key,
        }
    }
}

/// Holds key ceremonies over a register, devices and an audit log.
pub struct KeyCeremonies<D> {
    store: Store,
    devices: Arc<D>,
    audit: AuditLog,
}

impl<D: KeyDevices> KeyCeremonies<D> {
    /// Ceremonies over these.
    #[must_use]
    pub fn new(store: Store, devices: Arc<D>, audit: AuditLog) -> Self {
        Self { store, devices, audit }
    }

    /// Opens a ceremony that `needed` custodians must confirm before it expires.
    ///
    /// # Errors
    /// [`CeremonyError::Store`] when it cannot be held so: see [`Store::open_ceremony`].
    pub async fn open(
        &self,
        by: &Operator,
        act: &KeyAct,
        reason: &str,
        needed: u32,
        lifetime: Duration,
    ) -> Result<Ceremony, CeremonyError> {
        let new = NewCeremony {
            action: act.name().to_owned(),
            parameters: json!(act),
            reason: reason.to_owned(),
            begun_by: by.name.clone(),
            begun_at: by.at,
            expires_at: by.at.saturating_add(lifetime),
            needed,
        };
        let opened = self.store.open_ceremony(&new).await?;
        self.record(by, "ceremony.open", &opened, "ok").await?;
        Ok(opened)
    }

    /// Confirms a ceremony with a custodian's secret.
    ///
    /// # Errors
    /// [`CeremonyError::NotACustodian`], which is on record; [`CeremonyError::Store`]: see
    /// [`Store::confirm_ceremony`].
    pub async fn confirm(
        &self,
        by: &Operator,
        ceremony: i64,
        secret: &str,
    ) -> Result<Ceremony, CeremonyError> {
        if !self.store.verify_custodian(&by.name, secret).await? {
            if let Some(ceremony) = self.store.ceremony(ceremony).await? {
                self.record(by, "ceremony.confirm", &ceremony, "not_a_custodian").await?;
            }
            return Err(CeremonyError::NotACustodian);
        }
        let confirmed = self.store.confirm_ceremony(ceremony, &by.name, by.at).await?;
        self.record(by, "ceremony.confirm", &confirmed, "ok").await?;
        Ok(confirmed)
    }

    /// Ends a ceremony that nobody has begun to carry out.
    ///
    /// # Errors
    /// [`CeremonyError::Store`]: see [`Store::call_off_ceremony`].
    pub async fn call_off(
        &self,
        by: &Operator,
        ceremony: i64,
        reason: &str,
    ) -> Result<Ceremony, CeremonyError> {
        let result = json!({"error": "called off", "by": by.name, "reason": reason});
        let ended = self.store.call_off_ceremony(ceremony, &result, by.at).await?;
        self.record(by, "ceremony.finish", &ended, "called_off").await?;
        Ok(ended)
    }

    /// Carries a confirmed ceremony out, once. The answer is done or failed and says what came of it; what devices
    /// did before a failure stands, and another ceremony can go on from there.
    ///
    /// # Errors
    /// [`CeremonyError::Store`] when it may not be carried out, or its end could not be recorded.
    pub async fn carry_out(&self, by: &Operator, ceremony: i64) -> Result<Ceremony, CeremonyError> {
        let started = self.store.start_ceremony(ceremony, by.at).await?;
        // From here on the ceremony has to be ended whatever happens.
        let outcome = match self.record(by, "ceremony.start", &started, "ok").await {
            Ok(()) => self.perform(&started, by.at).await,
            Err(error) => Err(error),
        };
        let (done, result) = match outcome {
            Ok(result) => (true, result),
            Err(CeremonyError::Devices(failed)) => (false, json!({"error": "devices", "devices": failed})),
            Err(error) => (false, json!({"error": error.to_string()})),
        };
        let ended = self.store.finish_ceremony(ceremony, done, &result, by.at).await?;
        self.record(by, "ceremony.finish", &ended, if done { "ok" } else { "failed" }).await?;
        Ok(ended)
    }

    async fn perform(&self, ceremony: &Ceremony, at: OffsetDateTime) -> Result<Value, CeremonyError> {
        let act = serde_json::from_value(ceremony.parameters.clone())
            .map_err(|_| CeremonyError::Act("the ceremony's parameters are none of a key ceremony"))?;
        match act {
            KeyAct::Create { key, group, algorithm, purpose, label, spread, wrapping_key } => {
                let new = NewKey { id: key, group, algorithm, purpose, label };
                let plan = VersionPlan { spread, wrapping_key };
                material::kind(&new.algorithm, new.purpose)?;
                self.check_names(&new.id, &new.group, 1, spread)?;
                self.check_wrapping(&new.group, &plan).await?;
                let version = self.store.create_key(&new, &plan, at).await?;
                self.make(&new.id, version.version, at).await
            }
            KeyAct::Next { key, spread, wrapping_key } => {
                let record = self.key(&key).await?;
                let plan = VersionPlan { spread, wrapping_key };
                let number = record.versions.len();
                let number =
                    u32::try_from(number + 1).map_err(|_| CeremonyError::Act("too many versions"))?;
                self.check_names(&key, &record.group, number, spread)?;
                self.check_wrapping(&record.group, &plan).await?;
                let version = self.store.add_key_version(&key, &plan, at).await?;
                self.make(&key, version.version, at).await
            }
            KeyAct::Spread { key, version, .. } => self.spread(&key, version, at).await,
            KeyAct::Install { key, version, device, certificate_chain } => {
                let installed = self
                    .store
                    .install_certificate(&key, version, device.as_ref(), &certificate_chain, at)
                    .await?;
                let lacks = self.key(&key).await?.lacks(&installed);
                Ok(json!({"version": version, "device": device, "still_lacks": lacks}))
            }
            KeyAct::Rotate { key, version, overlap_days, without } => {
                let proved = self.prove_all(&key, version, &without).await?;
                let overlap =
                    (overlap_days > 0).then(|| at.saturating_add(Duration::days(i64::from(overlap_days))));
                self.store.activate_key_version(&key, version, at, overlap).await?;
                Ok(json!({"version": version, "proved": proved, "without": without}))
            }
            KeyAct::Retire { key, version } => {
                self.store.retire_key_version(&key, version, at).await?;
                Ok(json!({"version": version}))
            }
            KeyAct::Destroy { key, version, erased } => self.destroy(&key, version, &erased, at).await,
        }
    }

    async fn key(&self, id: &KeyId) -> Result<KeyRecord, CeremonyError> {
        let found = self.store.key(id).await?;
        found.ok_or_else(|| StoreError::NotFound { what: "key", id: id.to_string() }.into())
    }

    async fn version(&self, id: &KeyId, version: u32) -> Result<(KeyRecord, KeyVersion), CeremonyError> {
        let key = self.key(id).await?;
        let found = key.version(version).cloned();
        let missing =
            || StoreError::NotFound { what: "version of key", id: format!("{id} version {version}") };
        Ok((key, found.ok_or_else(missing)?))
    }

    /// What the devices' driver will call the copies must be names, and no other key's.
    fn check_names(
        &self,
        id: &KeyId,
        group: &GroupId,
        version: u32,
        spread: Spread,
    ) -> Result<(), CeremonyError> {
        let looks_like_a_copy = |part: &str| {
            part.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        if id.as_str().split('.').skip(1).any(looks_like_a_copy) {
            return Err(CeremonyError::Act("the key's name could be mistaken for a version of another"));
        }
        let members = self.devices.members(group);
        if members.is_empty() {
            return Err(CeremonyError::Act("the group has no devices"));
        }
        let named = match spread {
            Spread::PerDevice => members.iter().all(|device| driver_key(id, version, Some(device)).is_ok()),
            Spread::Wrap | Spread::Clone => driver_key(id, version, None).is_ok(),
        };
        named.then_some(()).ok_or(CeremonyError::Act("the key's name is too long for its copies' names"))
    }

    /// A wrapping key must be one, of the same group and in use.
    async fn check_wrapping(&self, group: &GroupId, plan: &VersionPlan) -> Result<(), CeremonyError> {
        let Some(wrapping) = &plan.wrapping_key else { return Ok(()) };
        let (key, version) = self.version(&wrapping.id, wrapping.version).await?;
        if key.purpose != KeyPurpose::Kek || key.group != *group || key.algorithm != "aes256" {
            return Err(CeremonyError::Act("the wrapping key is no wrapping key of the group"));
        }
        if version.state != KeyState::Active {
            return Err(CeremonyError::Act("the wrapping key's version is not active"));
        }
        Ok(())
    }

    async fn record(
        &self,
        by: &Operator,
        action: &str,
        ceremony: &Ceremony,
        outcome: &str,
    ) -> Result<(), CeremonyError> {
        let digest = |value: &Value| hex::encode(HashAlgorithm::Sm3.digest(value.to_string().as_bytes()));
        let entry = AuditEntry {
            action: action.to_owned(),
            actor: by.name.clone(),
            at: by.at,
            device: None,
            input_digest: Some(digest(&ceremony.parameters)),
            key: ceremony.parameters["key"].as_str().map(str::to_owned),
            outcome: outcome.to_owned(),
            request_id: by.request_id.clone(),
            result_digest: ceremony.result.as_ref().map(digest),
            subject: Some(format!("ceremony {} {}", ceremony.id, ceremony.action)),
        };
        self.audit.append(entry).await?;
        Ok(())
    }
}
