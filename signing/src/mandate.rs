//! The keys of standing mandates: made in a device, kept outside wrapped, and unwrapped by a device of their group for each
//! signature (or still in it from an earlier one). Nothing here decides who may use one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use config::{AppId, DeviceId, GroupId, KeyId, OwnName};
use formats::csr::{self, KeyUsages, RequestPlan};
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use hsm_driver::{Ask, Fleet, KeyKind, Signed};
use store::{
    DeviceKey, DeviceSecrets, KeyPurpose, KeyState, Mandate, MandateUse, StampMandate, Store, WrappedKey,
    WrappingKey,
};
use time::OffsetDateTime;

use crate::ceremony::spki;
use crate::keys::device_key;
use crate::sign::{Made, Prepared, device_algorithm};
use crate::{Caller, SignOrder, SigningCopy, SigningDesk, SigningError, WrappedKeySeal};

/// What the key of outer codes is derived by.
const OUTER_CODE: &str = "license-gateway outer code of wrapped keys";
/// Algorithms of the keys in the devices that wrap, and that outer codes come from.
const WRAPS: &str = "aes256";
const CODES: &str = "hmac-sha256";

/// Outer codes' keys, by the version of the key in the devices that they come from.
type CodeKeys = BTreeMap<(KeyId, u32), Arc<WrappedKeySeal>>;

/// Makes and finds the keys of mandates. Clones share what they remember.
#[derive(Clone)]
pub struct MandateKeys {
    fleet: Arc<Fleet>,
    store: Store,
    /// As many as there are versions of such keys in the devices.
    codes: Arc<Mutex<CodeKeys>>,
    /// Whom the devices' lines know it by.
    name: AppId,
}

/// A key that was made, wrapped, with its outer code.
#[derive(Debug)]
pub struct MintedKey {
    /// The key.
    pub key: WrappedKey,
    /// From which key of the devices the outer code comes.
    pub code_key: WrappingKey,
}

/// A certification request for a mandate's key.
#[derive(Debug)]
pub struct MandateRequest {
    /// PKCS #10, PEM.
    pub pem: String,
    /// The device that signed it.
    pub device: DeviceId,
    /// What it signed.
    pub digest: [u8; 32],
    /// SM3 of the request, hexadecimal.
    pub sm3: String,
}

/// A mandate's key, ready to sign once in the enterprise's name. `Debug` shows the mandate's number only.
#[derive(Clone)]
pub struct MandateSigner {
    key: hsm_driver::WrappedKey,
    pub(crate) copy: SigningCopy,
    pub(crate) wanted: MandateUse,
    pub(crate) named: StampMandate,
}

impl std::fmt::Debug for MandateSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MandateSigner").field(&self.named.number).finish()
    }
}

impl MandateSigner {
    /// What record and answers call its key.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.copy.driver_key
    }

    /// Behind which wall its key is unwrapped.
    pub(crate) fn group(&self) -> &GroupId {
        &self.key.group
    }

    /// The key's certificate, then those above it.
    #[must_use]
    pub fn chain(&self) -> &[formats::Certificate] {
        &self.copy.chain
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        own_algorithm(&self.copy.public_key)
    }
}

impl MandateKeys {
    /// Over a fleet and the register of wrapped keys.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, store: Store) -> Self {
        let name = AppId::of(OwnName::System);
        Self { fleet, store, codes: Arc::default(), name }
    }

    /// Makes a key pair in a device of the group and wraps it. It is not stored yet.
    ///
    /// # Errors
    /// [`SigningError::NoSystemKey`] where the group has no active key that wraps, or none that outer codes come from;
    /// [`SigningError::Device`], [`SigningError::OuterCode`], [`SigningError::Database`].
    pub async fn mint(
        &self,
        devices: &impl DeviceSecrets,
        id: &KeyId,
        owner: &str,
        (group, kind): (&GroupId, KeyKind),
        at: OffsetDateTime,
    ) -> Result<MintedKey, SigningError> {
        let (wrapping, coding) = (self.of_group(group, WRAPS).await?, self.of_group(group, CODES).await?);
        let code = self.outer_code(devices, &coding, true).await?;
        let made = self.fleet.generate_wrapped(id, group, kind, &wrapping.cka_id).await?;
        let broken = || broken(id, "the device gave no public key");
        let mut key = WrappedKey {
            id: id.clone(),
            owner: owner.to_owned(),
            group: group.clone(),
            wrapping_key: wrapping.key,
            algorithm: kind.as_str().to_owned(),
            public_key: spki(&made.public_key).ok_or_else(broken)?,
            blob: made.blob,
            mac: [0; 32],
            created_at: at,
            destroyed_at: None,
        };
        key.mac = code.code(&key);
        Ok(MintedKey { key, code_key: coding.key })
    }

    /// The mandate's key, checked to be what was stored, for one signature. The devices are asked at most for the key of the
    /// outer code, and that once.
    ///
    /// # Errors
    /// [`SigningError::Register`] for a key that is not the mandate's, was altered or destroyed, or rests on a key that is
    /// gone; [`SigningError::OuterCode`], [`SigningError::Database`].
    pub async fn signer(
        &self,
        devices: &impl DeviceSecrets,
        mandate: &Mandate,
        wanted: MandateUse,
        purpose: &str,
    ) -> Result<MandateSigner, SigningError> {
        let (key, public_key) = self.open(devices, mandate).await?;
        let copy = SigningCopy {
            driver_key: mandate.key.clone(),
            device: None,
            public_key,
            chain: mandate.certificates.clone(),
        };
        let named = StampMandate {
            enterprise: mandate.enterprise.to_string(),
            name: mandate.name.clone(),
            number: mandate.id.to_string(),
            purpose: purpose.to_owned(),
        };
        Ok(MandateSigner { key, copy, wanted, named })
    }

    /// A certification request for the mandate's key, signed by the key itself.
    ///
    /// # Errors
    /// As of [`signer`](Self::signer); [`SigningError::Format`] for a name that is none (RFC 4514),
    /// [`SigningError::Device`].
    pub async fn request(
        &self,
        devices: &impl DeviceSecrets,
        mandate: &Mandate,
        subject: String,
    ) -> Result<MandateRequest, SigningError> {
        let (key, public_key) = self.open(devices, mandate).await?;
        let algorithm = own_algorithm(&public_key);
        let pending = csr::prepare(RequestPlan {
            subject,
            public_key,
            algorithm,
            extensions: vec![csr::key_usage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation)?],
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
        })?;
        let digest = pending.digest();
        let algorithm = device_algorithm(algorithm);
        let ask = Ask { caller: &self.name, key: &mandate.key, algorithm, digest, deadline: None };
        let Signed { signature, device, .. } = self.fleet.sign_wrapped(&key, ask).await?;
        let request = pending.finish(&signature)?;
        let sm3 = hex::encode(HashAlgorithm::Sm3.digest(request.der()));
        Ok(MandateRequest { pem: request.to_pem(), device, digest, sm3 })
    }

    /// Finds a mandate's key and checks it against its outer code.
    async fn open(
        &self,
        devices: &impl DeviceSecrets,
        mandate: &Mandate,
    ) -> Result<(hsm_driver::WrappedKey, PublicKey), SigningError> {
        let id = &mandate.key;
        let stored = self.store.wrapped_key(id).await.map_err(SigningError::Database)?;
        let stored = stored.ok_or_else(|| broken(id, "there is no such wrapped key"))?;
        if stored.owner != mandate.id.as_str() {
            return Err(broken(id, "it is another mandate's"));
        }
        let code = self.version(&mandate.code_key, &stored.group, id).await?;
        let code = self.outer_code(devices, &code, false).await?;
        code.check(&stored).map_err(|error| broken(id, &error.to_string()))?;
        let wrapping = self.version(&stored.wrapping_key, &stored.group, id).await?;
        let public_key = PublicKey::from_spki_der(&stored.public_key)?;
        let key = hsm_driver::WrappedKey {
            group: stored.group,
            wrapping: wrapping.cka_id,
            blob: stored.blob,
            public_key: device_key(&public_key).ok_or_else(|| broken(id, "no device has such keys"))?,
        };
        Ok((key, public_key))
    }

    /// The group's active key that wraps, or that outer codes come from: the first by name.
    async fn of_group(&self, group: &GroupId, algorithm: &str) -> Result<DeviceKey, SigningError> {
        let keys = self.store.keys().await.map_err(SigningError::Database)?;
        let found = keys.into_iter().find_map(|key| {
            let fits = key.purpose == KeyPurpose::Kek && key.algorithm == algorithm && key.group == *group;
            let active = key.version_in(KeyState::Active).filter(|_| fits)?;
            let (version, cka_id) = (active.version, active.cka_id.clone());
            Some(DeviceKey { group: group.clone(), key: WrappingKey { id: key.id, version }, cka_id })
        });
        found.ok_or(SigningError::NoSystemKey(KeyPurpose::Kek))
    }

    /// A version of a key in the devices that `id` rests on.
    async fn version(
        &self,
        key: &WrappingKey,
        group: &GroupId,
        id: &KeyId,
    ) -> Result<DeviceKey, SigningError> {
        let record = self.store.key(&key.id).await.map_err(SigningError::Database)?;
        let found = record.as_ref().and_then(|record| record.version(key.version));
        let found = found.filter(|version| version.state != KeyState::Destroyed);
        let found = found.ok_or_else(|| broken(id, "the key in the devices that it rests on is gone"))?;
        Ok(DeviceKey { group: group.clone(), key: key.clone(), cka_id: found.cka_id.clone() })
    }

    async fn outer_code(
        &self,
        devices: &impl DeviceSecrets,
        key: &DeviceKey,
        agreed: bool,
    ) -> Result<Arc<WrappedKeySeal>, SigningError> {
        let known = || self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (key.key.id.clone(), key.key.version);
        if let Some(code) = known().get(&place) {
            return Ok(Arc::clone(code));
        }
        let secret = devices.derive(key, OUTER_CODE, agreed).await.map_err(SigningError::OuterCode)?;
        let code = Arc::new(WrappedKeySeal::new(secret));
        known().insert(place, Arc::clone(&code));
        Ok(code)
    }
}

impl SigningDesk {
    /// Has a signature made by a mandate's key, or refused by the devices, as [`SigningDesk::make`] does by a service key. That it is
    /// going to be used is on record, and one of the mandate's signatures taken, before; whoever does not use it gives it back.
    ///
    /// # Errors
    /// What the order is refused for before a device is asked.
    pub(crate) async fn signed_by(
        &self,
        caller: &Caller,
        order: &SignOrder,
        signer: &MandateSigner,
    ) -> Result<Made, SigningError> {
        let copy = &signer.copy;
        if !copy.public_key.supports(order.algorithm) {
            return Err(SigningError::AlgorithmMismatch {
                key: copy.driver_key.clone(),
                algorithm: order.algorithm,
            });
        }
        let prepared = Prepared::of(&copy.driver_key, copy, order, caller.at)?;
        let digest = prepared.digest();
        let ask = Ask {
            caller: &caller.app,
            key: &copy.driver_key,
            algorithm: device_algorithm(order.algorithm),
            digest,
            deadline: caller.deadline,
        };
        let signed = match self.fleet.sign_wrapped(&signer.key, ask).await {
            Ok(Signed { device, signature, .. }) => match prepared.finish(signature) {
                Ok(signature) => Ok((device, signature)),
                Err(error) => Err((Some(device), error.into())),
            },
            Err(error) => Err((None, error.into())),
        };
        Ok(Made {
            key: copy.driver_key.clone(),
            version: 1,
            certificate: copy.chain.first().cloned(),
            digest,
            signed,
        })
    }
}

fn own_algorithm(key: &PublicKey) -> Algorithm {
    let own = Algorithm::ALL.into_iter().find(|algorithm| key.supports(*algorithm));
    own.unwrap_or(Algorithm::Sm2Sm3) // which signs with no other key: the order is refused then
}

fn broken(key: &KeyId, reason: &str) -> SigningError {
    SigningError::Register { key: key.clone(), reason: reason.to_owned() }
}
