//! What devices do in a ceremony: make a key, hand it on, prove it, forget it.
//!
//! A step that fails in one device does not keep the others from theirs; all failures are answered together. A
//! device is never told to remove an object that the register does not know.

use std::collections::BTreeMap;

use config::{DeviceId, KeyId};
use hsm_driver::{Algorithm, Answer, HsmError, KeyKind, Order, PublicKey, SecretKind};
use serde_json::{Value, json};
use store::{KeyPurpose, KeyRecord, KeyState, KeyVersion, Spread};
use time::OffsetDateTime;

use super::{CeremonyError, KeyCeremonies, KeyDevices};
use crate::keys::device_key;

/// CKO_PRIVATE_KEY and CKO_SECRET_KEY (PKCS#11 v2.40): what makes a device a holder.
const PRIVATE_KEY: u64 = 3;
const SECRET_KEY: u64 = 4;

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pair(KeyKind),
    Secret(SecretKind),
}

/// The kind of key that an algorithm and a purpose ask for.
pub(super) fn kind(algorithm: &str, purpose: KeyPurpose) -> Result<Kind, CeremonyError> {
    match (algorithm, purpose) {
        ("aes256", KeyPurpose::Kek) => Ok(Kind::Secret(SecretKind::Wrapping)),
        ("hmac-sha256", KeyPurpose::Kek) => Ok(Kind::Secret(SecretKind::Mac)),
        (_, KeyPurpose::Kek) => Err(CeremonyError::Act("a wrapping key is aes256 or hmac-sha256")),
        ("sm2", _) => Ok(Kind::Pair(KeyKind::Sm2)),
        ("p256", _) => Ok(Kind::Pair(KeyKind::P256)),
        ("rsa2048", _) => Ok(Kind::Pair(KeyKind::Rsa2048)),
        _ => Err(CeremonyError::Act("devices make no such keys")),
    }
}

/// The algorithm by which a key of a kind proves itself.
pub(super) fn usual(key: &PublicKey) -> Algorithm {
    match key.kind() {
        KeyKind::Sm2 => Algorithm::Sm2,
        KeyKind::P256 => Algorithm::EcdsaP256,
        KeyKind::Rsa2048 => Algorithm::RsaPkcs1,
    }
}

/// Why one device did not do its part.
type Why = String;

fn said(error: HsmError) -> Why {
    error.to_string()
}

fn all_or(failed: BTreeMap<DeviceId, Why>, result: Value) -> Result<Value, CeremonyError> {
    if failed.is_empty() { Ok(result) } else { Err(CeremonyError::Devices(failed)) }
}

impl<D: KeyDevices> KeyCeremonies<D> {
    /// Makes what there is not yet: the copy for the group in the first device that can, or each device's own.
    pub(super) async fn make(
        &self,
        id: &KeyId,
        number: u32,
        at: OffsetDateTime,
    ) -> Result<Value, CeremonyError> {
        let (key, version) = self.version(id, number).await?;
        let kind = kind(&key.algorithm, key.purpose)?;
        let members = self.devices.members(&key.group);
        let (mut made, mut failed) = (Vec::new(), BTreeMap::new());
        if version.spread == Spread::PerDevice {
            for device in members {
                if version.copy(Some(&device)).is_some() {
                    continue;
                }
                match self.make_in(&device, &key, &version, kind).await {
                    Ok(public_key) => {
                        let spki = public_key.as_deref();
                        self.store.record_key_copy(id, number, Some(&device), spki, at).await?;
                        made.push(device);
                    }
                    Err(why) => drop(failed.insert(device, why)),
                }
            }
        } else if version.copy(None).is_none() {
            for device in members {
                match self.make_in(&device, &key, &version, kind).await {
                    Ok(public_key) => {
                        self.store.record_key_copy(id, number, None, public_key.as_deref(), at).await?;
                        made.push(device);
                        failed.clear();
                        break;
                    }
                    Err(why) => {
                        failed.insert(device, why);
                    }
                }
            }
        }
        all_or(failed, json!({"version": number, "made_in": made}))
    }

    /// Makes a key in one device and has it proved; its public key in DER, if it has one.
    async fn make_in(
        &self,
        device: &DeviceId,
        key: &KeyRecord,
        version: &KeyVersion,
        kind: Kind,
    ) -> Result<Option<Vec<u8>>, Why> {
        let (cka_id, label) = (version.cka_id.clone(), key.label.clone());
        match kind {
            Kind::Pair(kind) => {
                let extractable = version.spread == Spread::Wrap;
                let order = Order::GeneratePair { cka_id, label, kind, extractable };
                let public_key = match self.devices.order(device, order).await.map_err(said)? {
                    Answer::PublicKey(public_key) if public_key.kind() == kind => public_key,
                    _ => return Err("it answered no such public key".to_owned()),
                };
                self.prove(device, version, &public_key).await?;
                let spki = spki(&public_key).ok_or("it answered a public key that is none")?;
                Ok(Some(spki))
            }
            Kind::Secret(kind) => {
                let order = Order::GenerateSecret { cka_id, label, kind };
                self.devices.order(device, order).await.map_err(said)?;
                Ok(None)
            }
        }
    }

    /// Brings a version into every device of its group and has each prove it.
    pub(super) async fn spread(
        &self,
        id: &KeyId,
        number: u32,
        at: OffsetDateTime,
    ) -> Result<Value, CeremonyError> {
        let (key, version) = self.version(id, number).await?;
        if !matches!(version.state, KeyState::Pending | KeyState::Active) {
            return Err(CeremonyError::Act("only a pending or active version is spread"));
        }
        if version.copies.is_empty() || version.spread == Spread::PerDevice {
            self.make(id, number, at).await?;
        }
        let (key, version) = (key, self.version(id, number).await?.1);
        if version.spread == Spread::PerDevice {
            return Ok(json!({"version": number, "proved": self.prove_all(id, number, &[]).await?}));
        }
        let kind = kind(&key.algorithm, key.purpose)?;
        let (mut holders, mut lacking, mut failed) = (Vec::new(), Vec::new(), BTreeMap::new());
        for device in self.devices.members(&key.group) {
            match self.holds(&device, &version.cka_id).await {
                Ok(true) => holders.push(device),
                Ok(false) => lacking.push(device),
                Err(why) => drop(failed.insert(device, why)),
            }
        }
        let mut spread_to = Vec::new();
        for device in lacking {
            match self.hand_on(&holders, &device, &key, &version, kind).await {
                Ok(()) => spread_to.push(device),
                Err(why) => drop(failed.insert(device, why)),
            }
        }
        if let Some(public_key) = public_key(&version) {
            for device in holders {
                if let Err(why) = self.prove(&device, &version, &public_key).await {
                    failed.insert(device, why);
                }
            }
        }
        all_or(failed, json!({"version": number, "spread_to": spread_to}))
    }

    /// Has one of the holders hand the key on to a device.
    async fn hand_on(
        &self,
        holders: &[DeviceId],
        to: &DeviceId,
        key: &KeyRecord,
        version: &KeyVersion,
        kind: Kind,
    ) -> Result<(), Why> {
        let mut last = "no device holds the key to hand it on".to_owned();
        for from in holders {
            let handed = match kind {
                Kind::Secret(kind) => self.send_secret(from, to, key, version, kind).await,
                Kind::Pair(_) if version.spread == Spread::Wrap => {
                    self.send_pair(from, to, key, version).await
                }
                Kind::Pair(_) => return Err("the vendor's own cloning has not brought it here".to_owned()),
            };
            match handed {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn send_pair(
        &self,
        from: &DeviceId,
        to: &DeviceId,
        key: &KeyRecord,
        version: &KeyVersion,
    ) -> Result<(), Why> {
        let wrapping = version.wrapping_key.as_ref().ok_or("the register names no wrapping key")?;
        let found = self.version(&wrapping.id, wrapping.version).await;
        let wrapping = found.map_err(|error| error.to_string())?.1.cka_id;
        let public_key = public_key(version).ok_or("the public key is not known")?;
        let order = Order::WrapOut { cka_id: version.cka_id.clone(), wrapping: wrapping.clone() };
        let blob = match self.devices.order(from, order).await.map_err(said)? {
            Answer::Wrapped { blob, .. } => blob,
            _ => return Err(format!("{from} answered no wrapped key")),
        };
        let digest = fresh_digest();
        let order = Order::UnwrapIn {
            blob,
            wrapping,
            cka_id: version.cka_id.clone(),
            label: key.label.clone(),
            public_key: public_key.clone(),
            extractable: false,
            digest,
        };
        let answer = self.devices.order(to, order).await.map_err(said)?;
        accepts(&public_key, &digest, &answer)
    }

    /// Sends a secret key under a one-time key of the device that is to have it.
    async fn send_secret(
        &self,
        from: &DeviceId,
        to: &DeviceId,
        key: &KeyRecord,
        version: &KeyVersion,
        kind: SecretKind,
    ) -> Result<(), Why> {
        let cka_id = version.cka_id.clone();
        let transport = [&cka_id[..], b"#transport"].concat();
        let order = Order::Transport { cka_id: transport.clone() };
        let public_key = match self.devices.order(to, order).await.map_err(said)? {
            Answer::PublicKey(public_key) => public_key,
            _ => return Err("it answered no transport key".to_owned()),
        };
        let order = Order::WrapFor { cka_id: cka_id.clone(), transport: public_key };
        let blob = match self.devices.order(from, order).await.map_err(said)? {
            Answer::Wrapped { blob, .. } => blob,
            _ => return Err(format!("{from} answered no wrapped key")),
        };
        let order = Order::Install { blob, transport, cka_id, label: key.label.clone(), kind };
        self.devices.order(to, order).await.map_err(said).map(drop)
    }

    /// Has every copy proved by the devices that hold it, each device of the group but those `without`; answers
    /// them. Copies of secret keys prove nothing here: they are there or not.
    pub(super) async fn prove_all(
        &self,
        id: &KeyId,
        number: u32,
        without: &[DeviceId],
    ) -> Result<Vec<DeviceId>, CeremonyError> {
        let (key, version) = self.version(id, number).await?;
        let (mut proved, mut failed) = (Vec::new(), BTreeMap::new());
        let mut devices = self.devices.members(&key.group);
        devices.retain(|device| !without.contains(device));
        for device in devices {
            let copy = match version.spread {
                Spread::PerDevice => version.copy(Some(&device)),
                Spread::Wrap | Spread::Clone => version.copy(None),
            };
            let Some(copy) = copy else {
                failed.insert(device, "it has no copy".to_owned());
                continue;
            };
            let outcome = match copy.public_key.as_deref().and_then(from_spki) {
                Some(public_key) => self.prove(&device, &version, &public_key).await,
                None => self.holds(&device, &version.cka_id).await.and_then(|holds| {
                    if holds { Ok(()) } else { Err("it does not hold the key".to_owned()) }
                }),
            };
            match outcome {
                Ok(()) => proved.push(device),
                Err(why) => drop(failed.insert(device, why)),
            }
        }
        match (failed.is_empty(), proved.is_empty()) {
            (true, false) => Ok(proved),
            (true, true) => Err(CeremonyError::Act("no device is left to prove the version")),
            (false, _) => Err(CeremonyError::Devices(failed)),
        }
    }

    /// Removes a version from all devices; the register says destroyed once each has said so itself.
    pub(super) async fn destroy(
        &self,
        id: &KeyId,
        number: u32,
        erased: &[DeviceId],
        at: OffsetDateTime,
    ) -> Result<Value, CeremonyError> {
        let (key, version) = self.version(id, number).await?;
        if !matches!(version.state, KeyState::Pending | KeyState::Retired) {
            return Err(CeremonyError::Act("only a pending or retired version is destroyed"));
        }
        let mut devices = self.devices.members(&key.group);
        for device in version.copies.iter().filter_map(|copy| copy.device.clone()) {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices.retain(|device| !erased.contains(device));
        let (mut removed_from, mut failed) = (Vec::new(), BTreeMap::new());
        for device in devices {
            match self.destroy_in(&device, &version.cka_id).await {
                Ok(true) => removed_from.push(device),
                Ok(false) => {}
                Err(why) => drop(failed.insert(device, why)),
            }
        }
        let result =
            all_or(failed, json!({"version": number, "removed_from": removed_from, "erased": erased}))?;
        self.store.destroy_key_version(id, number, at).await?;
        Ok(result)
    }

    /// Whether there was anything to remove.
    async fn destroy_in(&self, device: &DeviceId, cka_id: &[u8]) -> Result<bool, Why> {
        if !self.shows(device, cka_id).await? {
            return Ok(false);
        }
        self.devices.order(device, Order::Destroy { cka_id: cka_id.to_vec() }).await.map_err(said)?;
        match self.shows(device, cka_id).await? {
            true => Err("it still shows the key".to_owned()),
            false => Ok(true),
        }
    }

    /// Has a device sign something fresh with the version.
    async fn prove(
        &self,
        device: &DeviceId,
        version: &KeyVersion,
        public_key: &PublicKey,
    ) -> Result<(), Why> {
        let digest = fresh_digest();
        let order = Order::Sign { cka_id: version.cka_id.clone(), algorithm: usual(public_key), digest };
        let answer = self.devices.order(device, order).await.map_err(said)?;
        accepts(public_key, &digest, &answer)
    }

    async fn holds(&self, device: &DeviceId, cka_id: &[u8]) -> Result<bool, Why> {
        self.has(device, cka_id, |class| matches!(class, PRIVATE_KEY | SECRET_KEY)).await
    }

    async fn shows(&self, device: &DeviceId, cka_id: &[u8]) -> Result<bool, Why> {
        self.has(device, cka_id, |_| true).await
    }

    async fn has(&self, device: &DeviceId, cka_id: &[u8], class: fn(u64) -> bool) -> Result<bool, Why> {
        match self.devices.order(device, Order::Inventory).await.map_err(said)? {
            Answer::Objects(objects) => {
                Ok(objects.iter().any(|object| object.cka_id == cka_id && class(object.class)))
            }
            _ => Err("it answered no inventory".to_owned()),
        }
    }
}

/// Whether an answer is the key's signature over the digest.
fn accepts(public_key: &PublicKey, digest: &[u8; 32], answer: &Answer) -> Result<(), Why> {
    match answer {
        Answer::Octets(signature) => match public_key.canonical(usual(public_key), digest, signature) {
            Some(_) => Ok(()),
            None => Err("its signature does not verify".to_owned()),
        },
        _ => Err("it answered no signature".to_owned()),
    }
}

/// What nobody can have signed before.
fn fresh_digest() -> [u8; 32] {
    std::array::from_fn(|_| fastrand::u8(..))
}

/// The public key of the copy that is the same in every device.
fn public_key(version: &KeyVersion) -> Option<PublicKey> {
    version.copy(None)?.public_key.as_deref().and_then(from_spki)
}

pub(super) fn from_spki(der: &[u8]) -> Option<PublicKey> {
    device_key(&formats::PublicKey::from_spki_der(der).ok()?)
}

pub(crate) fn spki(key: &PublicKey) -> Option<Vec<u8>> {
    let key = match key {
        PublicKey::Sm2(point) => formats::PublicKey::sm2_from_sec1(point),
        PublicKey::P256(point) => formats::PublicKey::p256_from_sec1(point),
        PublicKey::Rsa { modulus, exponent } => formats::PublicKey::rsa_from_parts(modulus, exponent),
    };
    Some(key.ok()?.spki_der())
}
