//! Data keys at rest: made, wrapped under a key in the devices, unwrapped at the start, wrapped anew when that key
//! has a new version.
//!
//! Every device can compute a MAC under a key that never leaves it; not all of them wrap or encrypt alike. So a
//! device gives 32 octets that only the devices of its group can compute, and under these the data key is wrapped
//! with SM4-GCM, bound to its version and to the key in the devices.

use config::{GroupId, KeyId};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::keys::{DataKey, DataKeys};
use super::row;
use crate::database::{Connection, Dialect, query};
use crate::{KeyPurpose, KeyState, Store, StoreError, WrappingKey};

const DATA_KEY: &str = "data key";
/// What the audit log calls the making of the first one.
pub const DATA_KEY_CREATED: &str = "data_key.create";
/// The algorithm of a key under which devices compute MACs.
const MAC_ALGORITHM: &str = "hmac-sha256";

/// A key in the devices that data keys can be wrapped under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// The group whose devices hold it.
    pub group: GroupId,
    /// The key and its version.
    pub key: WrappingKey,
    /// CKA_ID of its objects.
    pub cka_id: Vec<u8>,
}

/// The devices, as far as data keys need them.
pub trait DeviceSecrets: Sync {
    /// 32 octets that only devices with the key can compute, the same each time for the same text.
    ///
    /// # Errors
    /// Why no device gave them. With `agreed` also that two devices gave different ones.
    fn derive(
        &self,
        key: &DeviceKey,
        text: &str,
        agreed: bool,
    ) -> impl Future<Output = Result<Zeroizing<[u8; 32]>, String>> + Send;
}

/// What [`Store::unlock`] found or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlocked {
    /// There is no data key, and no key in the devices to wrap one under.
    Unprotected,
    /// The first data key was made, and so many rows that were there before got their code.
    Created {
        /// Under this key in the devices.
        under: WrappingKey,
        /// Rows that got their first code.
        rows: u64,
    },
    /// The data keys were unwrapped.
    Opened,
    /// New values are made under this version of the data key from now on.
    Switched {
        /// The version.
        version: u32,
    },
    /// They were, and were wrapped anew under the newest version of the key in the devices.
    Rewrapped {
        /// Under this one.
        under: WrappingKey,
    },
}

/// Why the data keys are not there.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// No device helped.
    #[error("no device gives the data key: {0}")]
    Devices(String),
    /// What a device gave does not open the data key: it holds another key, or the row was altered.
    #[error("what a device gave does not open data key {0}")]
    NotOpened(u32),
    /// The data keys that were there are not in the database any more.
    #[error("the data keys are gone from the database")]
    Gone,
    /// The key it is wrapped under is not in the register.
    #[error("data key {version} is wrapped under {key} version {key_version}, which is not in the register")]
    NoWrappingKey {
        /// The data key's version.
        version: u32,
        /// The key in the devices.
        key: KeyId,
        /// Its version.
        key_version: u32,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) struct Wrapped {
    pub(super) version: u32,
    /// From when on new values are made under it, Unix seconds.
    used_from: i64,
    group: GroupId,
    under: WrappingKey,
    octets: Vec<u8>,
}

impl Store {
    /// Brings the data keys into memory with the help of the devices; makes the first one where there is none. To be
    /// called until it succeeds, and again whenever the key register has changed; no device is asked if nothing has.
    ///
    /// # Errors
    /// [`UnlockError`]; what is stored stays locked.
    pub async fn unlock(
        &self,
        devices: &impl DeviceSecrets,
        at: OffsetDateTime,
    ) -> Result<Unlocked, UnlockError> {
        let newest = self.newest_device_key().await?;
        let mut stored = self.wrapped_data_keys().await?;
        if stored.is_empty() {
            if self.protection().is_unlocked() {
                // They were there: whoever took them away would have every altered row coded anew.
                return Err(UnlockError::Gone);
            }
            let Some(newest) = &newest else { return Ok(Unlocked::Unprotected) };
            if let Some(rows) = self.create_data_key(devices, newest, at).await? {
                return Ok(Unlocked::Created { under: newest.key.clone(), rows });
            }
            stored = self.wrapped_data_keys().await?; // another gateway was faster
        }
        let is_newest = |wrapped: &Wrapped| newest.as_ref().is_none_or(|newest| wrapped.under == newest.key);
        // The first one is used from the beginning.
        let due = stored.iter().filter(|wrapped| wrapped.used_from <= at.unix_timestamp());
        let used = due.map(|wrapped| wrapped.version).max().unwrap_or(1);
        if stored.iter().all(|wrapped| is_newest(wrapped) && self.protection().has(wrapped.version)) {
            if self.protection().version().is_ok_and(|now| now != used) {
                self.protection().use_version(used);
                return Ok(Unlocked::Switched { version: used });
            }
            return Ok(Unlocked::Opened);
        }
        let mut keys = Vec::with_capacity(stored.len());
        let mut secrets = Vec::with_capacity(stored.len());
        for wrapped in &stored {
            let secret = self.unwrap_data_key(devices, wrapped).await?;
            keys.push(DataKey::new(wrapped.version, &secret));
            secrets.push(secret);
        }
        if let Some(keys) = DataKeys::new(keys) {
            self.protection().unlock(keys.using(used));
        }
        match newest {
            Some(newest) if stored.iter().any(|wrapped| wrapped.under != newest.key) => {
                for (wrapped, secret) in stored.iter().zip(&secrets) {
                    self.rewrap(devices, wrapped, secret, &newest).await?;
                }
                Ok(Unlocked::Rewrapped { under: newest.key })
            }
            _ => Ok(Unlocked::Opened),
        }
    }

    /// The first active key by name that is there to compute MACs for the gateway itself.
    pub(super) async fn newest_device_key(&self) -> Result<Option<DeviceKey>, StoreError> {
        let keys = self.keys().await?;
        Ok(keys.into_iter().find_map(|key| {
            let fits = key.purpose == KeyPurpose::Kek && key.algorithm == MAC_ALGORITHM;
            // A group's own name goes before: `sys-mac` is the site's, `portal-mac` another group's.
            let is_ours = fits && key.id.as_str().starts_with("sys-");
            let active = key.version_in(KeyState::Active).filter(|_| is_ours)?;
            let (version, cka_id) = (active.version, active.cka_id.clone());
            Some(DeviceKey {
                group: key.group.clone(),
                key: WrappingKey { id: key.id.clone(), version },
                cka_id,
            })
        }))
    }

    pub(super) async fn wrapped_data_keys(&self) -> Result<Vec<Wrapped>, StoreError> {
        let rows = query(
            "SELECT version, used_from, group_id, wrapping_key, wrapping_key_version, wrapped FROM data_keys
             ORDER BY version",
        )
        .fetch_all(self.readers())
        .await?;
        let wrapped = rows.iter().map(|row| {
            let version: u32 = row.try_get("version")?;
            let corrupt = |column| StoreError::Corrupt { what: DATA_KEY, id: version.to_string(), column };
            Ok(Wrapped {
                version,
                used_from: row.try_get("used_from")?,
                group: GroupId::parse(row.try_get("group_id")?).map_err(|_| corrupt("group_id"))?,
                under: WrappingKey {
                    id: KeyId::parse(row.try_get("wrapping_key")?).map_err(|_| corrupt("wrapping_key"))?,
                    version: row.try_get("wrapping_key_version")?,
                },
                octets: row.try_get("wrapped")?,
            })
        });
        wrapped.collect()
    }

    /// Makes the first data key and codes every row there is, in one transaction: from then on a row without a code
    /// is an altered one. Answers nothing when another gateway has made it in the meantime.
    async fn create_data_key(
        &self,
        devices: &impl DeviceSecrets,
        under: &DeviceKey,
        at: OffsetDateTime,
    ) -> Result<Option<u64>, UnlockError> {
        const FIRST: u32 = 1;
        let (secret, octets) = new_data_key(devices, under, FIRST).await?;
        let Some(keys) = DataKeys::new(vec![DataKey::new(FIRST, &secret)]) else { return Ok(None) };

        let mut transaction = self.begin_write().await.map_err(StoreError::from)?;
        if is_protected(&mut transaction).await.map_err(StoreError::from)? {
            return Ok(None);
        }
        if was_protected(&mut transaction, self.dialect()).await.map_err(StoreError::from)? {
            return Err(UnlockError::Gone);
        }
        insert_data_key(&mut transaction, FIRST, under, octets, (at, at)).await?;
        let fresh = super::Protection::default();
        fresh.unlock(keys.clone());
        let mut rows = crate::keys::code_all(&mut transaction, &fresh).await?;
        rows += crate::custodians::code_all(&mut transaction, &fresh).await?;
        rows += crate::apps::code_all(&mut transaction, &fresh).await?;
        rows += crate::policies::code_all(&mut transaction, &fresh).await?;
        rows += crate::seals::code_all(&mut transaction, &fresh).await?;
        rows += crate::templates::code_all(&mut transaction, &fresh).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.protection().unlock(keys);
        Ok(Some(rows))
    }

    async fn unwrap_data_key(
        &self,
        devices: &impl DeviceSecrets,
        wrapped: &Wrapped,
    ) -> Result<Zeroizing<[u8; 32]>, UnlockError> {
        let key = self.key_unchecked(&wrapped.under.id).await?;
        let version = key.as_ref().and_then(|key| key.version(wrapped.under.version));
        let version = version.ok_or_else(|| UnlockError::NoWrappingKey {
            version: wrapped.version,
            key: wrapped.under.id.clone(),
            key_version: wrapped.under.version,
        })?;
        let (group, key, cka_id) = (wrapped.group.clone(), wrapped.under.clone(), version.cka_id.clone());
        let wrapping = wrapping(devices, &DeviceKey { group, key, cka_id }, wrapped.version, false).await?;
        let secret = wrapping.decrypt(&bound_to(wrapped.version, &wrapped.under), &wrapped.octets);
        let secret = secret.and_then(|secret| Some(Zeroizing::new(<[u8; 32]>::try_from(&secret[..]).ok()?)));
        secret.ok_or(UnlockError::NotOpened(wrapped.version))
    }

    async fn rewrap(
        &self,
        devices: &impl DeviceSecrets,
        wrapped: &Wrapped,
        secret: &[u8; 32],
        newest: &DeviceKey,
    ) -> Result<(), UnlockError> {
        let wrapping = wrapping(devices, newest, wrapped.version, true).await?;
        let octets = wrapping.encrypt(&bound_to(wrapped.version, &newest.key), secret)?;
        query(
            "UPDATE data_keys SET group_id = $2, wrapping_key = $3, wrapping_key_version = $4, wrapped = $5
             WHERE version = $1",
        )
        .bind(wrapped.version)
        .bind(newest.group.as_str())
        .bind(newest.key.id.as_str())
        .bind(newest.key.version)
        .bind(octets)
        .execute(self.writer())
        .await
        .map_err(StoreError::from)?;
        Ok(())
    }
}

/// A new data key, and the same wrapped.
pub(super) async fn new_data_key(
    devices: &impl DeviceSecrets,
    under: &DeviceKey,
    version: u32,
) -> Result<(Zeroizing<[u8; 32]>, Vec<u8>), UnlockError> {
    let wrapping = wrapping(devices, under, version, true).await?;
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut secret[..]).map_err(|_| StoreError::Interrupted)?;
    let octets = wrapping.encrypt(&bound_to(version, &under.key), &secret[..])?;
    Ok((secret, octets))
}

/// Stores a wrapped data key that was made at the first of two times and is used from the second on.
pub(super) async fn insert_data_key(
    connection: &mut Connection<'_>,
    version: u32,
    under: &DeviceKey,
    octets: Vec<u8>,
    (made, used_from): (OffsetDateTime, OffsetDateTime),
) -> Result<(), StoreError> {
    query(
        "INSERT INTO data_keys
             (version, group_id, wrapping_key, wrapping_key_version, wrapped, created_at, used_from)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(version)
    .bind(under.group.as_str())
    .bind(under.key.id.as_str())
    .bind(under.key.version)
    .bind(octets)
    .bind(made.unix_timestamp())
    .bind(used_from.unix_timestamp())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether there is a data key.
pub(crate) async fn is_protected(connection: &mut Connection<'_>) -> Result<bool, sqlx::Error> {
    Ok(query("SELECT 1 FROM data_keys").fetch_optional(connection).await?.is_some())
}

/// Whether there has been a data key, by what is left of one: codes over rows, or that it was made in the audit log.
/// Where it is gone, whoever took it away would have every row that he altered coded anew.
async fn was_protected(connection: &mut Connection<'_>, dialect: Dialect) -> Result<bool, sqlx::Error> {
    // The text cannot stand within another string of an entry: its quotation marks would have a backslash before.
    let recorded = match dialect {
        Dialect::Sqlite => "instr(entry, CAST($1 AS BLOB)) > 0",
        Dialect::Postgres => "position(convert_to($1, 'UTF8') IN entry) > 0",
    };
    let coded = super::protected_tables()
        .map(|table| format!("EXISTS (SELECT 1 FROM {table} WHERE code IS NOT NULL) OR "))
        .collect::<String>();
    let left = format!("SELECT 1 WHERE {coded}EXISTS (SELECT 1 FROM audit_entries WHERE {recorded})");
    let marker = format!("\"action\":\"{DATA_KEY_CREATED}\"");
    Ok(query(AssertSqlSafe(left)).bind(marker).fetch_optional(connection).await?.is_some())
}

/// Whether a data key could not be opened without this version of a key in the devices.
pub(crate) async fn wraps_a_data_key(
    connection: &mut Connection<'_>,
    key: &KeyId,
    version: u32,
) -> Result<bool, sqlx::Error> {
    let found = query("SELECT 1 FROM data_keys WHERE wrapping_key = $1 AND wrapping_key_version = $2")
        .bind(key.as_str())
        .bind(version)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// What a data key is wrapped under, from what a device gives.
async fn wrapping(
    devices: &impl DeviceSecrets,
    under: &DeviceKey,
    version: u32,
    agreed: bool,
) -> Result<DataKey, UnlockError> {
    let text = format!("license-gateway data key {version}");
    let secret = devices.derive(under, &text, agreed).await.map_err(UnlockError::Devices)?;
    Ok(DataKey::new(version, &secret))
}

/// What a wrapped data key is bound to.
fn bound_to(version: u32, under: &WrappingKey) -> Vec<u8> {
    let mut data = b"license-gateway wrapped data key".to_vec();
    data.extend_from_slice(&version.to_be_bytes());
    row::push(&mut data, under.id.as_str().as_bytes());
    data.extend_from_slice(&under.version.to_be_bytes());
    data
}
