//! Integrating systems, what each may do, and since when or until when.
//!
//! What an app proves itself by is in `credentials.rs`. Every change of either raises the register's revision in the
//! same transaction, so that a replica sees by one row whether it has to read anew.

use std::collections::BTreeSet;
use std::fmt;

use config::{AppId, GroupId, KeyId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::credentials::all_credentials;
use crate::database::{Connection, Row, instant, query};
use crate::words::words;
use crate::{Credential, NewCredential, Store, StoreError};

pub(crate) const APP: &str = "app";

words! {
    /// Whether an app is served.
    AppState {
        /// It is.
        Enabled = "enabled",
        /// It is not, by its own or an operator's wish.
        Disabled = "disabled",
        /// It is not, because something is wrong with it or with whoever uses its credentials.
        Locked = "locked",
    }
}

/// How many requests an app may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// A caller of the gateway. `Debug` shows no contacts.
#[derive(Clone, PartialEq, Eq)]
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
    /// Names of the metered packages it may draw on.
    pub packages: BTreeSet<String>,
    /// How the people behind it are reached, a line each.
    pub contacts: Vec<String>,
    /// How often it may call; without one only the site's limits apply.
    pub rate: Option<Rate>,
    /// Since when it is served.
    pub not_before: Option<OffsetDateTime>,
    /// Until when it is served.
    pub not_after: Option<OffsetDateTime>,
    /// Whether it is served.
    pub state: AppState,
    /// Why it is in that state; empty where nobody said.
    pub reason: String,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("keys", &self.keys)
            .field("groups", &self.groups)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl App {
    /// An enabled app that may do nothing yet.
    #[must_use]
    pub fn new(id: AppId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            scopes: BTreeSet::new(),
            keys: BTreeSet::new(),
            groups: BTreeSet::new(),
            fields: BTreeSet::new(),
            packages: BTreeSet::new(),
            contacts: Vec::new(),
            rate: None,
            not_before: None,
            not_after: None,
            state: AppState::Enabled,
            reason: String::new(),
        }
    }
}

/// An app with all credentials it ever had.
#[derive(Debug, Clone)]
pub struct RegisteredApp {
    /// The app.
    pub app: App,
    /// By age, revoked and expired ones included.
    pub credentials: Vec<Credential>,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// When it or its state was changed last.
    pub changed_at: OffsetDateTime,
}

const COLUMNS: &str =
    "id, name, scopes, key_ids, group_ids, fields, packages, contacts, rate, burst, not_before,
    not_after, state, reason, created_at, changed_at";

impl Store {
    /// Adds an app with what it proves itself by.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the id, or what alone says who a caller is, is taken.
    pub async fn insert_app(
        &self,
        app: &App,
        credentials: &[NewCredential],
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let (rate, burst) = rate_columns(app.rate);
        query(
            "INSERT INTO apps (id, name, scopes, key_ids, group_ids, fields, packages, contacts, rate, burst,
                 not_before, not_after, state, reason, created_at, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)",
        )
        .bind(app.id.as_str())
        .bind(&app.name)
        .bind(json_array(&app.scopes))
        .bind(json_array(&app.keys))
        .bind(json_array(&app.groups))
        .bind(json_array(&app.fields))
        .bind(json_array(&app.packages))
        .bind(contacts_column(app))
        .bind(rate)
        .bind(burst)
        .bind(app.not_before.map(OffsetDateTime::unix_timestamp))
        .bind(app.not_after.map(OffsetDateTime::unix_timestamp))
        .bind(app.state.as_str())
        .bind(&app.reason)
        .bind(at.unix_timestamp())
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(APP, app.id.as_str(), error))?;
        for credential in credentials {
            self.insert_credential(&mut transaction, &app.id, credential, at).await?;
        }
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says anew what an app is called, may do and how often; its state and credentials stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn update_app(&self, app: &App, at: OffsetDateTime) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let (rate, burst) = rate_columns(app.rate);
        let updated = query(
            "UPDATE apps SET name = $2, scopes = $3, key_ids = $4, group_ids = $5, fields = $6, packages = $7,
                 contacts = $8, rate = $9, burst = $10, not_before = $11, not_after = $12, changed_at = $13
             WHERE id = $1",
        )
        .bind(app.id.as_str())
        .bind(&app.name)
        .bind(json_array(&app.scopes))
        .bind(json_array(&app.keys))
        .bind(json_array(&app.groups))
        .bind(json_array(&app.fields))
        .bind(json_array(&app.packages))
        .bind(contacts_column(app))
        .bind(rate)
        .bind(burst)
        .bind(app.not_before.map(OffsetDateTime::unix_timestamp))
        .bind(app.not_after.map(OffsetDateTime::unix_timestamp))
        .bind(at.unix_timestamp())
        .execute(&mut *transaction)
        .await?;
        found(updated.rows_affected(), APP, app.id.as_str())?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says anew which keys an app may use by name; groups it may use stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_app_keys(&self, id: &AppId, keys: &BTreeSet<KeyId>) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let updated = query("UPDATE apps SET key_ids = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(json_array(keys))
            .execute(&mut *transaction)
            .await?;
        found(updated.rows_affected(), APP, id.as_str())?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Has an app served, or no longer, and says why.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_app_state(
        &self,
        id: &AppId,
        state: AppState,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        write_state(&mut transaction, id, state, reason, at).await?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Locks an app and revokes every credential it has; answers how many those were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn freeze_app(&self, id: &AppId, reason: &str, at: OffsetDateTime) -> Result<u64, StoreError> {
        let mut transaction = self.begin_write().await?;
        write_state(&mut transaction, id, AppState::Locked, reason, at).await?;
        let revoked = query(
            "UPDATE app_credentials SET revoked_at = $2, revoked_reason = $3
             WHERE app = $1 AND revoked_at IS NULL",
        )
        .bind(id.as_str())
        .bind(at.unix_timestamp())
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(revoked.rows_affected())
    }

    /// All apps in the order of their ids, with their credentials; without any that cannot be read.
    pub async fn registered_apps(&self) -> Result<Vec<RegisteredApp>, StoreError> {
        let mut reading = self.begin_read().await?;
        let mut credentials = all_credentials(&mut reading).await?;
        let rows = query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM apps ORDER BY id")))
            .fetch_all(&mut *reading)
            .await?;
        let mut apps = Vec::with_capacity(rows.len());
        for row in &rows {
            match AppRow::read(row) {
                Ok(AppRow { app, created_at, changed_at }) => {
                    let credentials = credentials.remove(app.id.as_str()).unwrap_or_default();
                    apps.push(RegisteredApp { app, credentials, created_at, changed_at });
                }
                Err(error) => unreadable(error)?,
            }
        }
        Ok(apps)
    }

    /// All apps in the order of their ids.
    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        Ok(self.registered_apps().await?.into_iter().map(|registered| registered.app).collect())
    }

    /// A number that is another after every change of an app or a credential.
    pub async fn app_revision(&self) -> Result<i64, StoreError> {
        let row = query("SELECT revision FROM app_register").fetch_one(self.readers()).await?;
        Ok(row.try_get("revision")?)
    }
}

pub(crate) async fn raise_revision(connection: &mut Connection<'_>) -> Result<(), StoreError> {
    query("UPDATE app_register SET revision = revision + 1").execute(connection).await?;
    Ok(())
}

async fn write_state(
    connection: &mut Connection<'_>,
    id: &AppId,
    state: AppState,
    reason: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let updated = query("UPDATE apps SET state = $2, reason = $3, changed_at = $4 WHERE id = $1")
        .bind(id.as_str())
        .bind(state.as_str())
        .bind(reason)
        .bind(at.unix_timestamp())
        .execute(connection)
        .await?;
    found(updated.rows_affected(), APP, id.as_str())
}

pub(crate) fn found(rows: u64, what: &'static str, id: &str) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound { what, id: id.to_owned() }) } else { Ok(()) }
}

fn rate_columns(rate: Option<Rate>) -> (Option<i64>, Option<i64>) {
    (rate.map(|rate| i64::from(rate.per_second)), rate.map(|rate| i64::from(rate.burst)))
}

/// An app as stored.
struct AppRow {
    app: App,
    created_at: OffsetDateTime,
    changed_at: OffsetDateTime,
}

impl AppRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let app = app_from_row(row)?;
        let at = |column| {
            let corrupt = || StoreError::Corrupt { what: APP, id: app.id.to_string(), column };
            instant(row, column)?.ok_or_else(corrupt)
        };
        let (created_at, changed_at) = (at("created_at")?, at("changed_at")?);
        Ok(Self { app, created_at, changed_at })
    }
}

/// Passes over a row that cannot be read, and says so: one spoilt row must not shut every caller out.
pub(crate) fn unreadable(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Corrupt { what, ref id, column } => {
            tracing::error!(what, id, column, "a row of the register cannot be read; it is not used");
            Ok(())
        }
        other => Err(other),
    }
}

fn app_from_row(row: &Row) -> Result<App, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: APP, id: id.clone(), column };
    let number = |column| -> Result<Option<u32>, StoreError> {
        let number: Option<i64> = row.try_get(column)?;
        number.map(|number| u32::try_from(number).map_err(|_| corrupt(column))).transpose()
    };
    let rate = match (number("rate")?, number("burst")?) {
        (Some(per_second), Some(burst)) => Some(Rate { per_second, burst }),
        _ => None,
    };
    let state: String = row.try_get("state")?;
    Ok(App {
        id: AppId::parse(&id).map_err(|_| corrupt("id"))?,
        name: row.try_get("name")?,
        scopes: set(row.try_get("scopes")?).ok_or_else(|| corrupt("scopes"))?,
        keys: set(row.try_get("key_ids")?).ok_or_else(|| corrupt("key_ids"))?,
        groups: set(row.try_get("group_ids")?).ok_or_else(|| corrupt("group_ids"))?,
        fields: set(row.try_get("fields")?).ok_or_else(|| corrupt("fields"))?,
        packages: set(row.try_get("packages")?).ok_or_else(|| corrupt("packages"))?,
        contacts: contacts_from(row.try_get("contacts")?).ok_or_else(|| corrupt("contacts"))?,
        rate,
        not_before: instant(row, "not_before")?,
        not_after: instant(row, "not_after")?,
        state: AppState::parse(&state).ok_or_else(|| corrupt("state"))?,
        reason: row.try_get("reason")?,
    })
}

fn contacts_column(app: &App) -> Option<Vec<u8>> {
    (!app.contacts.is_empty()).then(|| json_array(&app.contacts).into_bytes())
}

fn contacts_from(column: Option<Vec<u8>>) -> Option<Vec<String>> {
    column.map_or_else(|| Some(Vec::new()), |json| serde_json::from_slice(&json).ok())
}

fn json_array(names: &impl Serialize) -> String {
    serde_json::to_string(names).expect("strings are always JSON")
}

fn set<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}
