//! Which keys exist, what each is for and how a device finds it.

use std::fmt;
use std::str::FromStr;

use config::{GroupId, KeyId};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError};

const KEY: &str = "key";

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

/// A logical key: the same key in every device of its group that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The group whose devices hold it.
    pub group: GroupId,
    /// `sm2`, `p256` or `rsa2048`.
    pub algorithm: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// CKA_ID of its objects; one key per id and group.
    pub cka_id: Vec<u8>,
    /// CKA_LABEL of its objects.
    pub label: String,
    /// PEM certificates, the key's own first; empty when it has none.
    pub certificate_chain: String,
}

impl Store {
    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when its id, or its CKA_ID within the group, is taken;
    /// [`StoreError::RuleBroken`] for an unknown algorithm or an empty CKA_ID.
    pub async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO keys (id, group_id, algorithm, purpose, cka_id, label, certificate_chain)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(key.id.as_str())
        .bind(key.group.as_str())
        .bind(&key.algorithm)
        .bind(key.purpose.as_str())
        .bind(&key.cka_id)
        .bind(&key.label)
        .bind(&key.certificate_chain)
        .execute(self.writer())
        .await
        .map_err(|error| StoreError::from_insert(KEY, key.id.as_str(), error))?;
        Ok(())
    }

    /// All keys in the order of their ids.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, group_id, algorithm, purpose, cka_id, label, certificate_chain FROM keys ORDER BY id",
        )
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(key_from_row).collect()
    }
}

fn key_from_row(row: &SqliteRow) -> Result<KeyRecord, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: KEY, id: id.clone(), column };
    Ok(KeyRecord {
        id: KeyId::parse(&id).map_err(|_| corrupt("id"))?,
        group: GroupId::parse(row.try_get("group_id")?).map_err(|_| corrupt("group_id"))?,
        algorithm: row.try_get("algorithm")?,
        purpose: row.try_get::<&str, _>("purpose")?.parse().map_err(|_| corrupt("purpose"))?,
        cka_id: row.try_get("cka_id")?,
        label: row.try_get("label")?,
        certificate_chain: row.try_get("certificate_chain")?,
    })
}
