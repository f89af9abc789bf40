//! Integrating systems, what each may do, and since when or until when.
//!
//! What an app proves itself by is in `credentials.rs`. Every change of either raises the register's revision in the
//! same transaction, so that a replica sees by one row whether it has to read anew.

use std::collections::BTreeSet;
use std::fmt;

use config::{AppId, GroupId, KeyId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::credentials::{self, all_credentials};
use crate::database::{Connection, Row, instant, query};
use crate::deliveries::{Notice, notify};
use crate::oidc::OidcClient;
use crate::policies::{AppPolicy, policies_in_force};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::terms::{Terms, counted};
use crate::words::words;
use crate::{Credential, NewCredential, Store, StoreError};

pub(crate) const APP: &str = "app";
/// The notice that an app is served, or is not, from now on.
const STATE_CHANGED: &str = "app.state_changed";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Requests a second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// A caller of the gateway. `Debug` shows no contacts; what is serialised has them, and is to be sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How people log in to it with their license, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcClient>,
    /// How often it may call; without one only the site's limits apply.
    pub rate: Option<Rate>,
    /// Since when it is served.
    #[serde(with = "time::serde::timestamp::option")]
    pub not_before: Option<OffsetDateTime>,
    /// Until when it is served.
    #[serde(with = "time::serde::timestamp::option")]
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
            oidc: None,
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
    /// When it, its keys or its state were changed last.
    pub changed_at: OffsetDateTime,
    /// What it may sign.
    pub policy: AppPolicy,
}

const COLUMNS: &str = "id, name, scopes, key_ids, group_ids, fields, packages, contacts, oidc, rate, burst,
    not_before, not_after, state, reason, created_at, changed_at, policy, revision, code";

impl Store {
    /// Adds an app with what it proves itself by.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the id, or what alone says who a caller is, is taken;
    /// [`StoreError::Unacceptable`] for an id that the gateway has for itself; [`StoreError::Full`].
    pub async fn insert_app(
        &self,
        app: &App,
        credentials: &[NewCredential],
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let Terms { at, room, .. } = terms.into();
        if app.id.reserved_as().is_some() {
            let reason = "the gateway calls itself so";
            return Err(StoreError::Unacceptable { what: APP, id: app.id.to_string(), reason });
        }
        let mut transaction = self.begin_write().await?;
        if let Some(room) = room {
            let row = query("SELECT count(*) AS n FROM apps").fetch_one(&mut *transaction).await?;
            let there = counted(&row)?;
            room.admit(APP, there, there)?;
        }
        let (rate, burst) = rate_columns(app.rate);
        query(
            "INSERT INTO apps (id, name, scopes, key_ids, group_ids, fields, packages, contacts, rate, burst,
                 not_before, not_after, state, reason, created_at, changed_at, oidc)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16)",
        )
        .bind(app.id.as_str())
        .bind(&app.name)
        .bind(json_array(&app.scopes))
        .bind(json_array(&app.keys))
        .bind(json_array(&app.groups))
        .bind(json_array(&app.fields))
        .bind(json_array(&app.packages))
        .bind(self.sealed_contacts(app)?)
        .bind(rate)
        .bind(burst)
        .bind(app.not_before.map(OffsetDateTime::unix_timestamp))
        .bind(app.not_after.map(OffsetDateTime::unix_timestamp))
        .bind(app.state.as_str())
        .bind(&app.reason)
        .bind(at.unix_timestamp())
        .bind(oidc_column(app))
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(APP, app.id.as_str(), error))?;
        code(&mut transaction, self.protection(), &app.id).await?;
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
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn update_app(&self, app: &App, terms: impl Into<Terms>) -> Result<(), StoreError> {
        let terms = terms.into();
        let mut transaction = self.begin_write().await?;
        judge(&mut transaction, self.protection(), &app.id).await?;
        terms.hold_in_register(&mut transaction, APP, app.id.as_str()).await?;
        let (rate, burst) = rate_columns(app.rate);
        let updated = query(
            "UPDATE apps SET name = $2, scopes = $3, key_ids = $4, group_ids = $5, fields = $6, packages = $7,
                 contacts = $8, rate = $9, burst = $10, not_before = $11, not_after = $12, changed_at = $13,
                 oidc = $14
             WHERE id = $1",
        )
        .bind(app.id.as_str())
        .bind(&app.name)
        .bind(json_array(&app.scopes))
        .bind(json_array(&app.keys))
        .bind(json_array(&app.groups))
        .bind(json_array(&app.fields))
        .bind(json_array(&app.packages))
        .bind(self.sealed_contacts(app)?)
        .bind(rate)
        .bind(burst)
        .bind(app.not_before.map(OffsetDateTime::unix_timestamp))
        .bind(app.not_after.map(OffsetDateTime::unix_timestamp))
        .bind(terms.at.unix_timestamp())
        .bind(oidc_column(app))
        .execute(&mut *transaction)
        .await?;
        found(updated.rows_affected(), APP, app.id.as_str())?;
        code(&mut transaction, self.protection(), &app.id).await?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says anew which keys an app may use by name; groups it may use stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn set_app_keys(
        &self,
        id: &AppId,
        keys: &BTreeSet<KeyId>,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let terms = terms.into();
        let mut transaction = self.begin_write().await?;
        judge(&mut transaction, self.protection(), id).await?;
        terms.hold_in_register(&mut transaction, APP, id.as_str()).await?;
        let updated = query("UPDATE apps SET key_ids = $2, changed_at = $3 WHERE id = $1")
            .bind(id.as_str())
            .bind(json_array(keys))
            .bind(terms.at.unix_timestamp())
            .execute(&mut *transaction)
            .await?;
        found(updated.rows_affected(), APP, id.as_str())?;
        code(&mut transaction, self.protection(), id).await?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Has an app served, or no longer, and says why.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn set_app_state(
        &self,
        id: &AppId,
        state: AppState,
        reason: &str,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let terms = terms.into();
        let mut transaction = self.begin_write().await?;
        judge(&mut transaction, self.protection(), id).await?;
        terms.hold_in_register(&mut transaction, APP, id.as_str()).await?;
        write_state(&mut transaction, id, state, reason, terms.at).await?;
        code(&mut transaction, self.protection(), id).await?;
        raise_revision(&mut transaction).await?;
        let told = Notice::new(id, STATE_CHANGED, json!({"app": id, "state": state}))?;
        notify(&mut transaction, self.protection(), &told, terms.at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Locks an app and revokes every credential it has; answers how many those were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn freeze_app(&self, id: &AppId, reason: &str, at: OffsetDateTime) -> Result<u64, StoreError> {
        let mut transaction = self.begin_write().await?;
        // An app that was altered is frozen too, but gets no good code for that.
        let known = judge(&mut transaction, self.protection(), id).await.is_ok();
        write_state(&mut transaction, id, AppState::Locked, reason, at).await?;
        if known {
            code(&mut transaction, self.protection(), id).await?;
        }
        let sound = credentials::sound_of(&mut transaction, self.protection(), id).await?;
        let revoked = query(
            "UPDATE app_credentials SET revoked_at = $2, revoked_reason = $3
             WHERE app = $1 AND revoked_at IS NULL",
        )
        .bind(id.as_str())
        .bind(at.unix_timestamp())
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
        credentials::code_these(&mut transaction, self.protection(), id, &sound).await?;
        raise_revision(&mut transaction).await?;
        let told = Notice::new(id, STATE_CHANGED, json!({"app": id, "state": AppState::Locked}))?;
        notify(&mut transaction, self.protection(), &told, at).await?;
        transaction.commit().await?;
        Ok(revoked.rows_affected())
    }

    /// All apps in the order of their ids, with their credentials; without any that cannot be read or was altered
    /// outside the gateway.
    pub async fn registered_apps(&self) -> Result<Vec<RegisteredApp>, StoreError> {
        let mut reading = self.begin_read().await?;
        let mut credentials = all_credentials(&mut reading, self.protection()).await?;
        let mut policies = policies_in_force(&mut reading, self.protection()).await?;
        let rows = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM apps ORDER BY id")))
            .fetch_all(&mut *reading)
            .await?;
        let mut apps = Vec::with_capacity(rows.len());
        for row in &rows {
            let stored = AppRow::read(row, self.protection());
            match stored.and_then(|stored| stored.judge(self.protection()).map(|()| stored)) {
                Ok(AppRow { app, created_at, changed_at, policy, .. }) => {
                    let credentials = credentials.remove(app.id.as_str()).unwrap_or_default();
                    // Without the version that is said to be in force nobody knows what the app may sign.
                    let policy = policy.map_or(AppPolicy::None, |version| {
                        let found = policies.remove(app.id.as_str());
                        found
                            .filter(|found| found.version == version)
                            .map_or(AppPolicy::Unusable, AppPolicy::InForce)
                    });
                    apps.push(RegisteredApp { app, credentials, created_at, changed_at, policy });
                }
                Err(error) => unusable(error)?,
            }
        }
        Ok(apps)
    }

    /// The contacts as they are stored: they name people.
    fn sealed_contacts(&self, app: &App) -> Result<Option<Vec<u8>>, StoreError> {
        if app.contacts.is_empty() {
            return Ok(None);
        }
        self.protection().seal(contacts_of(&app.id), json_array(&app.contacts).as_bytes()).map(Some)
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

/// The same, to above a revision of what is named by an app and goes on with the register's revision.
pub(crate) async fn raise_revision_above(
    connection: &mut Connection<'_>,
    revision: i64,
) -> Result<(), StoreError> {
    query("UPDATE app_register SET revision = CASE WHEN revision < $1 THEN $1 ELSE revision END + 1")
        .bind(revision)
        .execute(connection)
        .await?;
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

/// How people log in to an app, as it is stored.
fn oidc_column(app: &App) -> Option<String> {
    app.oidc.as_ref().map(json_array)
}

/// Where the contacts of an app stand.
fn contacts_of(app: &AppId) -> Cell<'_> {
    Cell { table: "apps", column: "contacts", row: app.as_str() }
}

/// An app as stored, with the code over the row.
pub(crate) struct AppRow {
    app: App,
    created_at: OffsetDateTime,
    changed_at: OffsetDateTime,
    /// Sealed.
    contacts: Option<Vec<u8>>,
    /// The version of its signing policy that is in force.
    pub(crate) policy: Option<u32>,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl AppRow {
    fn read(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let contacts: Option<Vec<u8>> = row.try_get("contacts")?;
        let app = app_from_row(row, contacts.as_deref(), protection)?;
        let at = |column| {
            let corrupt = || StoreError::Corrupt { what: APP, id: app.id.to_string(), column };
            instant(row, column)?.ok_or_else(corrupt)
        };
        let (created_at, changed_at) = (at("created_at")?, at("changed_at")?);
        let policy: Option<i64> = row.try_get("policy")?;
        let corrupt = |_| StoreError::Corrupt { what: APP, id: app.id.to_string(), column: "policy" };
        let policy = policy.map(u32::try_from).transpose().map_err(corrupt)?;
        let (revision, code) = (row.try_get("revision")?, row.try_get("code")?);
        Ok(Self { app, created_at, changed_at, contacts, policy, revision, code })
    }

    fn image(&self, revision: i64) -> RowImage {
        let (app, (rate, burst)) = (&self.app, rate_columns(self.app.rate));
        let image = RowImage::new("apps", app.id.as_str(), revision)
            .text("name", &app.name)
            .text("scopes", &json_array(&app.scopes))
            .text("key_ids", &json_array(&app.keys))
            .text("group_ids", &json_array(&app.groups))
            .text("fields", &json_array(&app.fields))
            .text("packages", &json_array(&app.packages))
            .octets_or_null("contacts", self.contacts.as_deref())
            .integer_or_null("rate", rate)
            .integer_or_null("burst", burst)
            .integer_or_null("not_before", app.not_before.map(OffsetDateTime::unix_timestamp))
            .integer_or_null("not_after", app.not_after.map(OffsetDateTime::unix_timestamp))
            .text("state", app.state.as_str())
            .text("reason", &app.reason)
            .integer("created_at", self.created_at.unix_timestamp())
            .integer("changed_at", self.changed_at.unix_timestamp());
        // Codes from before there were policies and logins stay good for apps that have none.
        let image = match self.policy {
            Some(version) => image.integer("policy", version.into()),
            None => image,
        };
        match oidc_column(app) {
            Some(oidc) => image.text("oidc", &oidc),
            None => image,
        }
    }

    /// Refuses a row that was altered. Without a data key nothing is judged.
    fn judge(&self, protection: &Protection) -> Result<(), StoreError> {
        if !protection.is_unlocked() {
            return Ok(());
        }
        protection.check(&self.image(self.revision), self.code.as_deref().unwrap_or_default())
    }

    /// The row with what is sealed in it sealed anew, if another data key protects any of it.
    fn renewed(mut self, protection: &Protection) -> Result<Option<Self>, StoreError> {
        let protected = [self.code.as_deref(), self.contacts.as_deref()];
        if !protected.into_iter().flatten().any(|stored| protection.is_outdated(stored)) {
            return Ok(None);
        }
        self.judge(protection)?; // what was altered must not get a good code
        if let Some(sealed) = &mut self.contacts {
            *sealed = protection.reseal(contacts_of(&self.app.id), sealed)?;
        }
        Ok(Some(self))
    }
}

async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &AppId,
) -> Result<Option<AppRow>, StoreError> {
    let row = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM apps WHERE id = $1")))
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| AppRow::read(row, protection)).transpose()
}

/// Refuses to change an app that was altered: that must not get a good code.
pub(crate) async fn judge(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &AppId,
) -> Result<AppRow, StoreError> {
    match find(connection, protection, id).await? {
        Some(row) => row.judge(protection).map(|()| row),
        None => Err(StoreError::NotFound { what: APP, id: id.to_string() }),
    }
}

/// Gives an app that was written the code over the row as it is now.
pub(crate) async fn code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &AppId,
) -> Result<(), StoreError> {
    if protection.codes_rows(connection).await?
        && let Some(row) = find(connection, protection, id).await?
    {
        write_code(connection, protection, &row).await?;
    }
    Ok(())
}

/// Gives every app and credential the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let rows =
        query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM apps"))).fetch_all(&mut *connection).await?;
    for row in &rows {
        write_code(connection, protection, &AppRow::read(row, protection)?).await?;
    }
    Ok(rows.len() as u64 + credentials::code_all(connection, protection).await?)
}

/// Protects every app with a good code anew that another data key protects; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let row = AppRow::read(row, protection);
        match row.and_then(|row| row.renewed(protection)) {
            Ok(Some(row)) => {
                query("UPDATE apps SET contacts = $2 WHERE id = $1")
                    .bind(row.app.id.as_str())
                    .bind(row.contacts.as_deref())
                    .execute(&mut *connection)
                    .await?;
                write_code(connection, protection, &row).await?;
                renewed += 1;
            }
            Ok(None) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

async fn write_code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &AppRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE apps SET revision = $2, code = $3 WHERE id = $1")
        .bind(row.app.id.as_str())
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Passes over a row that cannot be read or was altered, which is said elsewhere too: one spoilt row must not shut
/// every caller out.
pub(crate) fn unusable(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Corrupt { .. } => {
            tracing::error!(%error, "a row of the register cannot be read; it is not used");
            Ok(())
        }
        StoreError::Altered { .. } => Ok(()),
        other => Err(other),
    }
}

fn app_from_row(row: &Row, contacts: Option<&[u8]>, protection: &Protection) -> Result<App, StoreError> {
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
    // One that the gateway would be mistaken for is not used either, however it came here.
    let app = AppId::parse_registered(&id).map_err(|_| corrupt("id"))?;
    // What cannot be opened now is not shown; whether it was altered says the code over the row.
    let opened = contacts.and_then(|sealed| protection.open(contacts_of(&app), sealed).ok());
    let contacts = opened.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    let oidc: Option<String> = row.try_get("oidc")?;
    let oidc = oidc.map(|json| set(&json).ok_or_else(|| corrupt("oidc"))).transpose()?;
    Ok(App {
        id: app,
        name: row.try_get("name")?,
        scopes: set(row.try_get("scopes")?).ok_or_else(|| corrupt("scopes"))?,
        keys: set(row.try_get("key_ids")?).ok_or_else(|| corrupt("key_ids"))?,
        groups: set(row.try_get("group_ids")?).ok_or_else(|| corrupt("group_ids"))?,
        fields: set(row.try_get("fields")?).ok_or_else(|| corrupt("fields"))?,
        packages: set(row.try_get("packages")?).ok_or_else(|| corrupt("packages"))?,
        contacts,
        oidc,
        rate,
        not_before: instant(row, "not_before")?,
        not_after: instant(row, "not_after")?,
        state: AppState::parse(&state).ok_or_else(|| corrupt("state"))?,
        reason: row.try_get("reason")?,
    })
}

fn json_array(names: &impl Serialize) -> String {
    serde_json::to_string(names).expect("strings are always JSON")
}

fn set<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}
