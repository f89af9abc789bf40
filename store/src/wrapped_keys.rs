//! Keys kept outside the devices, wrapped by a key inside them.
//!
//! A row is what the wrapping device gave and a code over it (`mac`) that `signing` makes and checks; this file
//! knows nothing of either. A destroyed key leaves its row and loses its blob.

use config::{GroupId, KeyId};
use time::OffsetDateTime;

use crate::database::{Connection, Query, Row, instant, query};
use crate::{Store, StoreError, WrappingKey};

const WRAPPED_KEY: &str = "wrapped key";
/// Most keys in one answer of [`Store::wrapped_keys_of`].
const PAGE: u32 = 1000;

/// A wrapped key. `Debug` shows no blob.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is: the id of a person or an enterprise, as the caller keeps it.
    pub owner: String,
    /// The group whose devices can unwrap it.
    pub group: GroupId,
    /// What it is wrapped under.
    pub wrapping_key: WrappingKey,
    /// `sm2`, `p256` or `rsa2048`.
    pub algorithm: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// What the device gave; empty once the key is destroyed.
    pub blob: Vec<u8>,
    /// The code over all of the above.
    pub mac: [u8; 32],
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Since when it cannot be used.
    pub destroyed_at: Option<OffsetDateTime>,
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrappedKey")
            .field("id", &self.id)
            .field("group", &self.group)
            .field("wrapping_key", &self.wrapping_key)
            .field("algorithm", &self.algorithm)
            .field("destroyed_at", &self.destroyed_at)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Adds a wrapped key.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a known id; [`StoreError::RuleBroken`] for an unknown algorithm, an
    /// empty owner, public key or blob.
    pub async fn insert_wrapped_key(&self, key: &WrappedKey) -> Result<(), StoreError> {
        let inserted = insertion(key).execute(self.writer()).await;
        inserted.map_err(|error| StoreError::from_insert(WRAPPED_KEY, key.id.as_str(), error))?;
        Ok(())
    }

    /// A wrapped key by its id, destroyed ones included.
    pub async fn wrapped_key(&self, id: &KeyId) -> Result<Option<WrappedKey>, StoreError> {
        let row = query("SELECT * FROM wrapped_keys WHERE key_id = $1")
            .bind(id.as_str())
            .fetch_optional(self.readers())
            .await?;
        row.as_ref().map(wrapped_from_row).transpose()
    }

    /// The keys of an owner in the order of their ids, destroyed ones included, at most 1,000, those after
    /// `after` if it is given.
    pub async fn wrapped_keys_of(
        &self,
        owner: &str,
        after: Option<&KeyId>,
    ) -> Result<Vec<WrappedKey>, StoreError> {
        let rows =
            query("SELECT * FROM wrapped_keys WHERE owner = $1 AND key_id > $2 ORDER BY key_id LIMIT $3")
                .bind(owner)
                .bind(after.map_or("", KeyId::as_str))
                .bind(i64::from(PAGE))
                .fetch_all(self.readers())
                .await?;
        rows.iter().map(wrapped_from_row).collect()
    }

    /// Destroys a wrapped key: its blob is gone, its row says since when.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it is destroyed already.
    pub async fn destroy_wrapped_key(&self, id: &KeyId, at: OffsetDateTime) -> Result<(), StoreError> {
        let destroyed = destruction(id, at).execute(self.writer()).await?;
        if destroyed.rows_affected() == 1 {
            return Ok(());
        }
        let (what, id_text) = (WRAPPED_KEY, id.to_string());
        Err(match self.wrapped_key(id).await? {
            Some(_) => {
                let reason = "it cannot be destroyed twice";
                StoreError::NotAllowed { what, id: id_text, state: "destroyed", reason }
            }
            None => StoreError::NotFound { what, id: id_text },
        })
    }
}

/// The statement that adds a wrapped key.
pub(crate) fn insertion(key: &WrappedKey) -> Query<'_> {
    query(
        "INSERT INTO wrapped_keys (key_id, owner, group_id, wrapping_key, wrapping_key_version, algorithm,
             public_key, blob, mac, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(key.id.as_str())
    .bind(&key.owner)
    .bind(key.group.as_str())
    .bind(key.wrapping_key.id.as_str())
    .bind(key.wrapping_key.version)
    .bind(&key.algorithm)
    .bind(&key.public_key)
    .bind(&key.blob)
    .bind(&key.mac[..])
    .bind(key.created_at.unix_timestamp())
}

/// The statement that destroys a wrapped key, if it is not destroyed yet.
pub(crate) fn destruction(id: &KeyId, at: OffsetDateTime) -> Query<'_> {
    query("UPDATE wrapped_keys SET blob = $3, destroyed_at = $2 WHERE key_id = $1 AND destroyed_at IS NULL")
        .bind(id.as_str())
        .bind(at.unix_timestamp())
        .bind(&[][..])
}

/// Whether a wrapped key that is not destroyed could not be used without this version of a key in the devices.
pub(crate) async fn rests_on_key(
    connection: &mut Connection<'_>,
    key: &KeyId,
    version: u32,
) -> Result<bool, sqlx::Error> {
    let found = query(
        "SELECT 1 FROM wrapped_keys
         WHERE wrapping_key = $1 AND wrapping_key_version = $2 AND destroyed_at IS NULL LIMIT 1",
    )
    .bind(key.as_str())
    .bind(version)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

fn wrapped_from_row(row: &Row) -> Result<WrappedKey, StoreError> {
    let id: String = row.try_get("key_id")?;
    let corrupt = |column| StoreError::Corrupt { what: WRAPPED_KEY, id: id.clone(), column };
    Ok(WrappedKey {
        id: KeyId::parse(&id).map_err(|_| corrupt("key_id"))?,
        owner: row.try_get("owner")?,
        group: GroupId::parse(row.try_get("group_id")?).map_err(|_| corrupt("group_id"))?,
        wrapping_key: WrappingKey {
            id: KeyId::parse(row.try_get("wrapping_key")?).map_err(|_| corrupt("wrapping_key"))?,
            version: row.try_get("wrapping_key_version")?,
        },
        algorithm: row.try_get("algorithm")?,
        public_key: row.try_get("public_key")?,
        blob: row.try_get("blob")?,
        mac: row.try_get::<&[u8], _>("mac")?.try_into().map_err(|_| corrupt("mac"))?,
        created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
        destroyed_at: instant(row, "destroyed_at")?,
    })
}
