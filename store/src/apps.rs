//! Integrating systems and what each may do.

use std::collections::BTreeSet;

use config::{AppId, GroupId, KeyId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sm3::{Digest, Sm3};

use crate::database::{Row, query};
use crate::{Store, StoreError};

const APP: &str = "app";

/// A caller of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// What people call it.
    pub name: String,
    /// Names of the operations it may call.
    pub scopes: BTreeSet<String>,
    /// Keys it may use.
    pub keys: BTreeSet<KeyId>,
    /// Groups whose keys it may use.
    pub groups: BTreeSet<GroupId>,
    /// License face fields it may see; `*` stands for all.
    pub fields: BTreeSet<String>,
    /// A disabled app is refused everything.
    pub enabled: bool,
}

impl Store {
    /// Adds an app, with an API key where it has one. Only the SM3 digest of the key is stored.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the id or the API key is taken.
    pub async fn insert_app(&self, app: &App, api_key: Option<&str>) -> Result<(), StoreError> {
        query(
            "INSERT INTO apps (id, name, api_key_digest, scopes, key_ids, group_ids, fields, enabled)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(app.id.as_str())
        .bind(&app.name)
        .bind(api_key.map(api_key_digest))
        .bind(json_array(&app.scopes))
        .bind(json_array(&app.keys))
        .bind(json_array(&app.groups))
        .bind(json_array(&app.fields))
        .bind(app.enabled)
        .execute(self.writer())
        .await
        .map_err(|error| StoreError::from_insert(APP, app.id.as_str(), error))?;
        Ok(())
    }

    /// The app this API key belongs to, disabled ones included.
    pub async fn app_by_api_key(&self, api_key: &str) -> Result<Option<App>, StoreError> {
        let row = query(
            "SELECT id, name, scopes, key_ids, group_ids, fields, enabled FROM apps WHERE api_key_digest = $1",
        )
        .bind(api_key_digest(api_key))
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(app_from_row).transpose()
    }

    /// Says anew which keys an app may use by name; groups it may use stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_app_keys(&self, id: &AppId, keys: &BTreeSet<KeyId>) -> Result<(), StoreError> {
        let updated = query("UPDATE apps SET key_ids = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(json_array(keys))
            .execute(self.writer())
            .await?;
        match updated.rows_affected() {
            0 => Err(StoreError::NotFound { what: APP, id: id.to_string() }),
            _ => Ok(()),
        }
    }

    /// All apps in the order of their ids.
    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        let rows =
            query("SELECT id, name, scopes, key_ids, group_ids, fields, enabled FROM apps ORDER BY id")
                .fetch_all(self.readers())
                .await?;
        rows.iter().map(app_from_row).collect()
    }
}

fn api_key_digest(api_key: &str) -> Vec<u8> {
    Sm3::digest(api_key.as_bytes()).to_vec()
}

fn app_from_row(row: &Row) -> Result<App, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: APP, id: id.clone(), column };
    Ok(App {
        id: AppId::parse(&id).map_err(|_| corrupt("id"))?,
        name: row.try_get("name")?,
        scopes: set(row.try_get("scopes")?).ok_or_else(|| corrupt("scopes"))?,
        keys: set(row.try_get("key_ids")?).ok_or_else(|| corrupt("key_ids"))?,
        groups: set(row.try_get("group_ids")?).ok_or_else(|| corrupt("group_ids"))?,
        fields: set(row.try_get("fields")?).ok_or_else(|| corrupt("fields"))?,
        enabled: row.try_get("enabled")?,
    })
}

fn json_array<T: Serialize>(names: &BTreeSet<T>) -> String {
    serde_json::to_string(names).expect("a set of strings is always JSON")
}

fn set<T: DeserializeOwned + Ord>(json: &str) -> Option<BTreeSet<T>> {
    serde_json::from_str(json).ok()
}
