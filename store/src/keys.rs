//! Which keys exist, what each is for and how a device finds it.
//!
//! A logical key has versions, of which at most one is active, and a version has copies: one that is the same in
//! every device of the group, or one of its own for each device. Nothing of it is ever deleted. How a version gets
//! from one state to the next is in `key_life.rs`.

use std::fmt;
use std::str::FromStr;

use config::{DeviceId, GroupId, KeyId};
use formats::Certificate;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::words::words;
use crate::{Store, StoreError};

pub(crate) const KEY: &str = "key";

/// The one thing a key is for, fixed when it is created. Callers reach only `Service` keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// Signs what callers send.
    Service,
    /// Proves a listener's identity.
    Tls,
    /// Signs access tokens.
    Token,
    /// Signs audit checkpoints.
    Audit,
    /// Signs timestamps.
    Tsa,
    /// Signs an agency's seal.
    Seal,
    /// Signs certificates.
    Ca,
    /// Wraps other keys.
    Kek,
    /// Belongs to a person.
    Personal,
    /// The front's system key, which signs QR payloads.
    Front,
}

/// A text names no key purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key purpose is one of service, tls, token, audit, tsa, seal, ca, kek, personal, front")]
pub struct UnknownPurpose;

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [KeyPurpose; 10] = [
        KeyPurpose::Service,
        KeyPurpose::Tls,
        KeyPurpose::Token,
        KeyPurpose::Audit,
        KeyPurpose::Tsa,
        KeyPurpose::Seal,
        KeyPurpose::Ca,
        KeyPurpose::Kek,
        KeyPurpose::Personal,
        KeyPurpose::Front,
    ];

    /// The word for it in the database, in configuration and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeyPurpose::Service => "service",
            KeyPurpose::Tls => "tls",
            KeyPurpose::Token => "token",
            KeyPurpose::Audit => "audit",
            KeyPurpose::Tsa => "tsa",
            KeyPurpose::Seal => "seal",
            KeyPurpose::Ca => "ca",
            KeyPurpose::Kek => "kek",
            KeyPurpose::Personal => "personal",
            KeyPurpose::Front => "front",
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyPurpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or(UnknownPurpose)
    }
}

words! {
    /// Where a version of a key is in its life. It never goes back.
    KeyState {
        /// Made, or being made, and not yet signing.
        Pending = "pending",
        /// The version that signs.
        Active = "active",
        /// Replaced, still in the devices until its overlap ends.
        Retiring = "retiring",
        /// Out of use; its signatures are still verified.
        Retired = "retired",
        /// No device holds it any more.
        Destroyed = "destroyed",
    }
}

words! {
    /// How the devices of a group come to hold a version of a key.
    Spread {
        /// Made in one device, wrapped under a common key and unwrapped in the others.
        Wrap = "wrap",
        /// Copied by the vendor's own means.
        Clone = "clone",
        /// Not at all: each device makes its own, with a certificate of its own.
        PerDevice = "per-device",
    }
}

/// A version of a wrapping key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappingKey {
    /// The wrapping key.
    pub id: KeyId,
    /// Its version, from 1.
    pub version: u32,
}

/// A logical key with all its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The group whose devices hold it.
    pub group: GroupId,
    /// `sm2`, `p256`, `rsa2048`, or of a secret key `sm4`, `aes256`, `hmac-sha256`.
    pub algorithm: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// CKA_LABEL of its objects.
    pub label: String,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// Oldest first, never empty.
    pub versions: Vec<KeyVersion>,
}

/// One version of a logical key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// How the devices come to hold it.
    pub spread: Spread,
    /// CKA_ID of its objects; one version of one key per id and group.
    pub cka_id: Vec<u8>,
    /// What it was wrapped under for spreading.
    pub wrapping_key: Option<WrappingKey>,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// Since when it signs.
    pub activates_at: Option<OffsetDateTime>,
    /// Until when it overlaps with its successor; once it is retired, when that was.
    pub retires_at: Option<OffsetDateTime>,
    /// Since when no device holds it.
    pub destroyed_at: Option<OffsetDateTime>,
    /// In the order of their devices.
    pub copies: Vec<KeyCopy>,
}

/// One copy of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCopy {
    /// The one device that holds it; none for the copy that is the same in every device of the group.
    pub device: Option<DeviceId>,
    /// SubjectPublicKeyInfo, DER; none for a symmetric key and as long as it is not known.
    pub public_key: Option<Vec<u8>>,
    /// PEM certificates, the key's own first; empty when it has none.
    pub certificate_chain: String,
    /// When it was entered.
    pub created_at: OffsetDateTime,
}

/// A key that the devices of its group hold already, all the same, and that is to be used from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingKey {
    /// Its id.
    pub id: KeyId,
    /// The group whose devices hold it.
    pub group: GroupId,
    /// `sm2`, `p256`, `rsa2048`, or of a secret key `sm4`, `aes256`, `hmac-sha256`.
    pub algorithm: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// CKA_ID of its objects.
    pub cka_id: Vec<u8>,
    /// CKA_LABEL of its objects.
    pub label: String,
    /// PEM certificates, the key's own first; empty when it has none.
    pub certificate_chain: String,
}

impl KeyRecord {
    /// A version by its number.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&KeyVersion> {
        self.versions.iter().find(|version| version.version == number)
    }

    /// The version in a state of which there is one at most: pending or active.
    #[must_use]
    pub fn version_in(&self, state: KeyState) -> Option<&KeyVersion> {
        self.versions.iter().find(|version| version.state == state)
    }
}

impl KeyVersion {
    /// The copy of a device, or with none the copy that is the same in every device of the group.
    #[must_use]
    pub fn copy(&self, device: Option<&DeviceId>) -> Option<&KeyCopy> {
        self.copies.iter().find(|copy| copy.device.as_ref() == device)
    }
}

/// How the keys of a purpose stand: see [`Store::key_standing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStanding {
    revisions: Vec<(String, i64)>,
    data_key: u32,
    put_back: u64,
}

impl Store {
    /// Adds a key that is in the devices already: its version 1 is active at once.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when its id, or its CKA_ID within the group, is taken;
    /// [`StoreError::RuleBroken`] for an unknown algorithm or an empty CKA_ID.
    pub async fn insert_key(&self, key: &ExistingKey, at: OffsetDateTime) -> Result<(), StoreError> {
        let at = at.unix_timestamp();
        let mut transaction = self.begin_write().await?;
        let name = (&key.id, &key.group);
        insert_logical(&mut transaction, name, &key.algorithm, key.purpose, &key.label, at).await?;
        query(
            "INSERT INTO key_versions (key_id, group_id, version, state, spread, cka_id, created_at, activates_at)
             VALUES ($1, $2, 1, 'active', 'clone', $3, $4, $4)",
        )
        .bind(key.id.as_str())
        .bind(key.group.as_str())
        .bind(&key.cka_id)
        .bind(at)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(KEY, key.id.as_str(), error))?;
        // A chain that cannot be read costs this key only: who loads the register says so.
        let public_key = Certificate::many_from_pem(&key.certificate_chain)
            .ok()
            .and_then(|chain| chain.first()?.public_key().ok())
            .map(|key| key.spki_der());
        query(
            "INSERT INTO key_copies (key_id, version, device, public_key, certificate_chain, created_at)
             VALUES ($1, 1, '', $2, $3, $4)",
        )
        .bind(key.id.as_str())
        .bind(public_key)
        .bind(&key.certificate_chain)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        code(&mut transaction, self.protection(), &key.id).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// All keys in the order of their ids. A key that was altered outside the gateway is left out, and reported in
    /// the log; while the store is locked nothing is judged.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut transaction = self.begin_read().await?; // one picture, not three
        let rows = read(&mut transaction, None).await?;
        Ok(rows.into_iter().filter_map(|row| row.judged(self.protection()).ok()).collect())
    }

    /// How the keys of a purpose stand, for who remembers what he read of them: as long as this is the same, so are they. None
    /// while rows have no codes, and so no revisions.
    ///
    /// # Errors
    /// The database fails.
    pub async fn key_standing(&self, purpose: KeyPurpose) -> Result<Option<KeyStanding>, StoreError> {
        let Ok(data_key) = self.protection().version() else { return Ok(None) };
        let put_back = self.protection().put_back_rows();
        let select = query("SELECT id, revision FROM keys WHERE purpose = $1 ORDER BY id");
        let rows = select.bind(purpose.as_str()).fetch_all(self.readers()).await?;
        let read = |row: &Row| Ok::<_, StoreError>((row.try_get("id")?, row.try_get("revision")?));
        let revisions = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Some(KeyStanding { revisions, data_key, put_back }))
    }

    /// A key by its id.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when it was altered outside the gateway.
    pub async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let mut transaction = self.begin_read().await?;
        let row = read(&mut transaction, Some(id)).await?.pop();
        row.map(|row| row.judged(self.protection())).transpose()
    }

    /// A key as its row says it is, for finding what opens the data key that the row would be judged with.
    pub(crate) async fn key_unchecked(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let mut transaction = self.begin_read().await?;
        Ok(read(&mut transaction, Some(id)).await?.pop().map(|row| row.record))
    }
}

/// A key as it is stored, with the code over it.
pub(crate) struct KeyRow {
    pub(crate) record: KeyRecord,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl KeyRow {
    /// The key, unless its code is wrong. Without a data key nothing is judged.
    pub(crate) fn judged(self, protection: &Protection) -> Result<KeyRecord, StoreError> {
        if protection.is_unlocked() {
            protection
                .check(&image(&self.record, self.revision), self.code.as_deref().unwrap_or_default())?;
        }
        Ok(self.record)
    }
}

/// All of a key that says what may be done with it.
fn image(key: &KeyRecord, revision: i64) -> RowImage {
    let seconds = |at: OffsetDateTime| at.unix_timestamp();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut image = RowImage::new("keys", key.id.as_str(), revision)
        .text("group", key.group.as_str())
        .text("algorithm", &key.algorithm)
        .text("purpose", key.purpose.as_str())
        .text("label", &key.label)
        .integer("created_at", seconds(key.created_at))
        .integer("versions", number(key.versions.len()));
    for version in &key.versions {
        image = image
            .integer("version", version.version.into())
            .text("state", version.state.as_str())
            .text("spread", version.spread.as_str())
            .octets_or_null("cka_id", Some(&version.cka_id))
            .text_or_null("wrapping_key", version.wrapping_key.as_ref().map(|key| key.id.as_str()))
            .integer_or_null(
                "wrapping_key_version",
                version.wrapping_key.as_ref().map(|key| key.version.into()),
            )
            .integer("created_at", seconds(version.created_at))
            .integer_or_null("activates_at", version.activates_at.map(seconds))
            .integer_or_null("retires_at", version.retires_at.map(seconds))
            .integer_or_null("destroyed_at", version.destroyed_at.map(seconds))
            .integer("copies", number(version.copies.len()));
        for copy in &version.copies {
            image = image
                .text_or_null("device", copy.device.as_ref().map(DeviceId::as_str))
                .octets_or_null("public_key", copy.public_key.as_deref())
                .text("certificate_chain", &copy.certificate_chain)
                .integer("created_at", seconds(copy.created_at));
        }
    }
    image
}

/// Gives a key that was written the code over it as it is now. Every function that writes a key ends with this.
pub(crate) async fn code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &KeyId,
) -> Result<(), StoreError> {
    if !protection.codes_rows(connection).await? {
        return Ok(());
    }
    match read(connection, Some(id)).await?.pop() {
        Some(row) => write_code(connection, protection, &row).await,
        None => Ok(()),
    }
}

/// Gives every key its first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let rows = read(connection, None).await?;
    for row in &rows {
        write_code(connection, protection, row).await?;
    }
    Ok(rows.len() as u64)
}

/// Gives every key with a good code under another data key one under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let mut renewed = 0;
    for id in batch.ids() {
        let Ok(id) = KeyId::parse(id) else { continue };
        for row in read(connection, Some(&id)).await? {
            let code = row.code.as_deref().unwrap_or_default();
            if protection.is_outdated(code)
                && protection.check(&image(&row.record, row.revision), code).is_ok()
            {
                write_code(connection, protection, &row).await?;
                renewed += 1;
            }
        }
    }
    Ok(renewed)
}

async fn write_code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &KeyRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE keys SET revision = $2, code = $3 WHERE id = $1")
        .bind(row.record.id.as_str())
        .bind(revision)
        .bind(protection.code(&image(&row.record, revision))?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn insert_logical(
    connection: &mut Connection<'_>,
    (id, group): (&KeyId, &GroupId),
    algorithm: &str,
    purpose: KeyPurpose,
    label: &str,
    at: i64,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO keys (id, group_id, algorithm, purpose, label, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.as_str())
    .bind(group.as_str())
    .bind(algorithm)
    .bind(purpose.as_str())
    .bind(label)
    .bind(at)
    .execute(connection)
    .await
    .map_err(|error| StoreError::from_insert(KEY, id.as_str(), error))?;
    Ok(())
}

/// Reads all keys, or the one with this id.
pub(crate) async fn read(
    connection: &mut Connection<'_>,
    only: Option<&KeyId>,
) -> Result<Vec<KeyRow>, StoreError> {
    let only = only.map(KeyId::as_str);
    let rows = query(
        "SELECT id, group_id, algorithm, purpose, label, created_at, revision, code FROM keys
         WHERE $1 IS NULL OR id = $1 ORDER BY id",
    )
    .bind(only)
    .fetch_all(&mut *connection)
    .await?;
    let mut keys = rows.iter().map(key_from_row).collect::<Result<Vec<_>, _>>()?;
    let versions = query(
        "SELECT key_id, version, state, spread, cka_id, wrapping_key, wrapping_key_version, created_at,
             activates_at, retires_at, destroyed_at
         FROM key_versions WHERE $1 IS NULL OR key_id = $1 ORDER BY key_id, version",
    )
    .bind(only)
    .fetch_all(&mut *connection)
    .await?;
    for row in &versions {
        let (id, version) = version_from_row(row)?;
        // Foreign keys see to it that there is one.
        if let Ok(key) = keys.binary_search_by(|key| key.record.id.as_str().cmp(&id)) {
            keys[key].record.versions.push(version);
        }
    }
    let copies = query(
        "SELECT key_id, version, device, public_key, certificate_chain, created_at FROM key_copies
         WHERE $1 IS NULL OR key_id = $1 ORDER BY key_id, version, device",
    )
    .bind(only)
    .fetch_all(connection)
    .await?;
    for row in &copies {
        let (id, version, copy) = copy_from_row(row)?;
        if let Ok(key) = keys.binary_search_by(|key| key.record.id.as_str().cmp(&id))
            && let Some(version) = keys[key].record.versions.iter_mut().find(|found| found.version == version)
        {
            version.copies.push(copy);
        }
    }
    Ok(keys)
}

fn key_from_row(row: &Row) -> Result<KeyRow, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: KEY, id: id.clone(), column };
    let record = KeyRecord {
        id: KeyId::parse(&id).map_err(|_| corrupt("id"))?,
        group: GroupId::parse(row.try_get("group_id")?).map_err(|_| corrupt("group_id"))?,
        algorithm: row.try_get("algorithm")?,
        purpose: row.try_get::<&str, _>("purpose")?.parse().map_err(|_| corrupt("purpose"))?,
        label: row.try_get("label")?,
        created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
        versions: Vec::new(),
    };
    Ok(KeyRow { record, revision: row.try_get("revision")?, code: row.try_get("code")? })
}

fn version_from_row(row: &Row) -> Result<(String, KeyVersion), StoreError> {
    let id: String = row.try_get("key_id")?;
    let corrupt = |column| StoreError::Corrupt { what: KEY, id: id.clone(), column };
    let wrapping_key = match row.try_get::<Option<&str>, _>("wrapping_key")? {
        Some(wrapping) => Some(WrappingKey {
            id: KeyId::parse(wrapping).map_err(|_| corrupt("wrapping_key"))?,
            version: row.try_get("wrapping_key_version")?,
        }),
        None => None,
    };
    let version = KeyVersion {
        version: row.try_get("version")?,
        state: KeyState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
        spread: Spread::parse(row.try_get("spread")?).ok_or_else(|| corrupt("spread"))?,
        cka_id: row.try_get("cka_id")?,
        wrapping_key,
        created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
        activates_at: instant(row, "activates_at")?,
        retires_at: instant(row, "retires_at")?,
        destroyed_at: instant(row, "destroyed_at")?,
        copies: Vec::new(),
    };
    Ok((id, version))
}

fn copy_from_row(row: &Row) -> Result<(String, u32, KeyCopy), StoreError> {
    let id: String = row.try_get("key_id")?;
    let corrupt = |column| StoreError::Corrupt { what: KEY, id: id.clone(), column };
    let device = match row.try_get("device")? {
        "" => None,
        device => Some(DeviceId::parse(device).map_err(|_| corrupt("device"))?),
    };
    let copy = KeyCopy {
        device,
        public_key: row.try_get("public_key")?,
        certificate_chain: row.try_get("certificate_chain")?,
        created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
    };
    Ok((id, row.try_get("version")?, copy))
}
