//! The site's keys as the signing services know them.
//!
//! A key's active version signs; earlier ones are kept for those who verify. A version has one copy for the whole
//! group or one per device, and each copy is a key of its own to the devices' driver.

use std::collections::{BTreeMap, BTreeSet};

use config::{DeviceId, GroupId, KeyId, NameError};
use formats::{Certificate, PublicKey};
use hsm_driver::KeySpec;
use store::{KeyPurpose, KeyRecord, KeyState};
use time::{Duration, OffsetDateTime};

use crate::SigningError;

/// One key: what it is for and which certificates speak for it. The private half lives in devices only.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Its name.
    pub id: KeyId,
    /// The wall it lives behind.
    pub group: GroupId,
    /// Its one purpose.
    pub purpose: KeyPurpose,
    /// The version that signs; it has a copy at least.
    pub current: SigningVersion,
    /// Versions that signed before, oldest first.
    pub earlier: Vec<SigningVersion>,
}

/// One version of a key.
#[derive(Debug, Clone)]
pub struct SigningVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when it signs, or signed.
    pub activates_at: Option<OffsetDateTime>,
    /// Until when it signed.
    pub retires_at: Option<OffsetDateTime>,
    /// Its copies that can be used, in the order of their devices.
    pub copies: Vec<SigningCopy>,
}

/// One copy of a version.
#[derive(Debug, Clone)]
pub struct SigningCopy {
    /// What the devices' driver calls it.
    pub driver_key: KeyId,
    /// The one device that holds it; none when it is the same in every device of the group.
    pub device: Option<DeviceId>,
    /// The public key that its certificate names.
    pub public_key: PublicKey,
    /// Certificates, the copy's own first; empty when it has none.
    pub chain: Vec<Certificate>,
}

/// A certificate of an active version whose time runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// The device whose copy it is, if copies differ.
    pub device: Option<DeviceId>,
    /// Subject of the certificate of the copy's chain that ends first, RFC 4514.
    pub subject: String,
    /// When it ends; it may have ended already.
    pub not_after: OffsetDateTime,
}

/// The keys of a site that can sign.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, SigningKey>,
    idle: BTreeMap<KeyId, IdleKey>,
    specs: Vec<KeySpec>,
}

/// A key of the register that cannot sign now.
#[derive(Debug)]
struct IdleKey {
    group: GroupId,
    purpose: KeyPurpose,
    /// Whether it should be able to: it has an active version, which cannot be used.
    broken: bool,
}

/// What the devices' driver calls a copy: `ID` for the first version where all devices hold the same, `ID.vN` for
/// later ones, `ID.vN.DEVICE` for a copy that one device alone holds.
///
/// # Errors
/// [`NameError`] when that is longer than a name may be.
pub fn driver_key(id: &KeyId, version: u32, device: Option<&DeviceId>) -> Result<KeyId, NameError> {
    match (version, device) {
        (1, None) => Ok(id.clone()),
        (_, None) => KeyId::parse(&format!("{id}.v{version}")),
        (_, Some(device)) => KeyId::parse(&format!("{id}.v{version}.{device}")),
    }
}

impl KeyRing {
    /// Reads the register. A copy that cannot sign, such as one without the certificate that its purpose demands,
    /// costs that copy only: it is left out and answered as a [`SigningError::Register`] that names its key. A key
    /// without a copy that can sign is in the ring by its name only, and symmetric keys are not.
    #[must_use]
    pub fn load(records: Vec<KeyRecord>) -> (Self, Vec<SigningError>) {
        let mut loading = Loading::default();
        for record in records.iter().filter(|record| !record.is_symmetric()) {
            loading.add(record);
        }
        (loading.ring, loading.left_out)
    }

    /// A key that can sign, by name.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&SigningKey> {
        self.keys.get(id)
    }

    /// Behind which wall a key lives, also one that cannot sign now.
    #[must_use]
    pub fn group(&self, id: &KeyId) -> Option<&GroupId> {
        let signing = self.keys.get(id).map(|key| &key.group);
        signing.or_else(|| self.idle.get(id).map(|key| &key.group))
    }

    /// A key that callers may sign with.
    ///
    /// # Errors
    /// [`SigningError::UnknownKey`], [`SigningError::NotAServiceKey`], [`SigningError::NotActive`], and
    /// [`SigningError::Register`] for one whose active version cannot be used.
    pub fn service_key(&self, id: &KeyId) -> Result<&SigningKey, SigningError> {
        let (signing, idle) = (self.keys.get(id), self.idle.get(id));
        let purpose = signing.map(|key| key.purpose).or(idle.map(|key| key.purpose));
        if purpose.is_some_and(|purpose| purpose != KeyPurpose::Service) {
            return Err(SigningError::NotAServiceKey(id.clone()));
        }
        signing.ok_or_else(|| match idle {
            None => SigningError::UnknownKey(id.clone()),
            Some(IdleKey { broken: false, .. }) => SigningError::NotActive(id.clone()),
            Some(IdleKey { broken: true, .. }) => {
                let reason = "no copy of its active version can be used".to_owned();
                SigningError::Register { key: id.clone(), reason }
            }
        })
    }

    /// All keys that can sign, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.values()
    }

    /// What the fleet has to know: also of versions that are pending, so that devices prove them before they sign,
    /// and of retiring ones.
    #[must_use]
    pub fn specs(&self) -> Vec<KeySpec> {
        self.specs.clone()
    }

    /// The active versions' certificates that end within `within` of `at` or have ended, the soonest first; one for
    /// each copy.
    #[must_use]
    pub fn expiring(&self, at: OffsetDateTime, within: Duration) -> Vec<Expiring> {
        let limit = at.saturating_add(within);
        let mut found: Vec<_> = self
            .iter()
            .flat_map(|key| key.current.copies.iter().map(move |copy| (key, copy)))
            .filter_map(|(key, copy)| {
                let first = copy.chain.iter().min_by_key(|certificate| certificate.not_after())?;
                (first.not_after() <= limit).then(|| Expiring {
                    key: key.id.clone(),
                    version: key.current.version,
                    device: copy.device.clone(),
                    subject: first.subject(),
                    not_after: first.not_after(),
                })
            })
            .collect();
        found.sort_by(|a, b| (a.not_after, &a.key, &a.device).cmp(&(b.not_after, &b.key, &b.device)));
        found
    }
}

impl SigningKey {
    /// The copy that stands for the key where only one can be shown: of the active version the first.
    #[must_use]
    pub fn shown(&self) -> &SigningCopy {
        // A key without a copy does not get into a ring.
        &self.current.copies[0]
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &SigningVersion> {
        self.earlier.iter().chain([&self.current])
    }
}

impl SigningCopy {
    /// All certificates as PEM, the copy's own first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }
}

#[derive(Default)]
struct Loading {
    ring: KeyRing,
    left_out: Vec<SigningError>,
    names: BTreeSet<KeyId>,
}

impl Loading {
    fn add(&mut self, record: &KeyRecord) {
        let mut versions = Vec::new();
        for version in &record.versions {
            let mut copies = Vec::new();
            for copy in &version.copies {
                // A copy in the making, or given up while it was, is no news.
                let unmade = copy.public_key.is_none() && copy.certificate_chain.is_empty();
                if version.state != KeyState::Active && unmade {
                    continue;
                }
                match self.copy(record, version, copy) {
                    Ok(copy) => copies.push(copy),
                    Err(reason) => {
                        let whose = version.version;
                        let reason = match &copy.device {
                            Some(device) => format!("version {whose} in {device}: {reason}"),
                            None => format!("version {whose}: {reason}"),
                        };
                        self.left_out.push(SigningError::Register { key: record.id.clone(), reason });
                    }
                }
            }
            if version.copies.is_empty() && version.state == KeyState::Active {
                let reason = format!("version {}: no device holds it", version.version);
                self.left_out.push(SigningError::Register { key: record.id.clone(), reason });
            }
            if version.activates_at.is_some() && !copies.is_empty() {
                versions.push(SigningVersion {
                    version: version.version,
                    state: version.state,
                    activates_at: version.activates_at,
                    retires_at: version.retires_at,
                    copies,
                });
            }
        }
        if let Some(index) = versions.iter().position(|version| version.state == KeyState::Active) {
            let key = SigningKey {
                id: record.id.clone(),
                group: record.group.clone(),
                purpose: record.purpose,
                current: versions.remove(index),
                earlier: versions,
            };
            self.ring.keys.insert(key.id.clone(), key);
        } else {
            let broken = record.version_in(KeyState::Active).is_some();
            let idle = IdleKey { group: record.group.clone(), purpose: record.purpose, broken };
            self.ring.idle.insert(record.id.clone(), idle);
        }
    }

    fn copy(
        &mut self,
        record: &KeyRecord,
        version: &store::KeyVersion,
        copy: &store::KeyCopy,
    ) -> Result<SigningCopy, String> {
        let chain = Certificate::many_from_pem(&copy.certificate_chain).map_err(|error| error.to_string())?;
        let certified = chain.first().map(Certificate::public_key).transpose();
        let certified = certified.map_err(|error| error.to_string())?;
        let registered = copy.public_key.as_deref().map(PublicKey::from_spki_der).transpose();
        let registered = registered.map_err(|error| error.to_string())?;
        let public_key = match (registered, certified) {
            (Some(key), Some(certified)) if key.spki_der() != certified.spki_der() => {
                return Err("its certificate speaks for another public key".to_owned());
            }
            (Some(key), None) if record.purpose.needs_certificate() && version.state == KeyState::Active => {
                drop(key);
                return Err("it has no certificate".to_owned());
            }
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => return Err("it has neither public key nor certificate".to_owned()),
        };
        let named = driver_key(&record.id, version.version, copy.device.as_ref());
        let driver_key = named.map_err(|_| "its name in the devices is too long".to_owned())?;
        if matches!(version.state, KeyState::Pending | KeyState::Active | KeyState::Retiring) {
            let spec = KeySpec {
                id: driver_key.clone(),
                group: record.group.clone(),
                cka_id: version.cka_id.clone(),
                devices: copy.device.clone().map(|device| vec![device]),
                public_key: device_key(&public_key)
                    .ok_or_else(|| format!("devices do not sign with {} keys", public_key.kind()))?,
            };
            if !self.names.insert(driver_key.clone()) {
                return Err(format!("another key is called {driver_key} too"));
            }
            self.ring.specs.push(spec);
        }
        Ok(SigningCopy { driver_key, device: copy.device.clone(), public_key, chain })
    }
}

pub(crate) fn device_key(public_key: &PublicKey) -> Option<hsm_driver::PublicKey> {
    match public_key {
        PublicKey::Sm2(point) => Some(hsm_driver::PublicKey::Sm2(point.to_sec1().to_vec())),
        PublicKey::P256(point) => Some(hsm_driver::PublicKey::P256(point.as_sec1().to_vec())),
        PublicKey::Rsa(key) => hsm_driver::PublicKey::rsa_from_pkcs1(key.as_pkcs1()),
        PublicKey::P384(_) => None,
    }
}
