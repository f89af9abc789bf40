//! A new data key in place of one that was used for long, or that somebody may have seen.
//!
//! It is made first and used later: by then every gateway on the database has it in memory, and none meets a row whose
//! code it cannot check. Then every row is protected under it. Older data keys stay: a backup needs them.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::Protection;
use super::data_keys::{DeviceSecrets, UnlockError, insert_data_key, new_data_key};
use crate::database::{Connection, Row, query};
use crate::{Store, StoreError};

/// How long a new data key is there before it is used: gateways look for one every few seconds.
const NOTICE: Duration = Duration::from_secs(60);

/// Most rows that are protected anew in one transaction: others write in between.
const BATCH: u32 = 500;

/// Kinds of rows that a data key protects.
#[derive(Clone, Copy)]
enum Protected {
    Keys,
    Mandates,
    Custodians,
    Apps,
    Credentials,
    Accounts,
    Sessions,
    Policies,
    Approvals,
    Seals,
    Templates,
    TemplateVersions,
    Webhooks,
    LoginSecrets,
}

const PROTECTED: [Protected; 14] = [
    Protected::Keys,
    Protected::Mandates,
    Protected::Custodians,
    Protected::Apps,
    Protected::Credentials,
    Protected::Accounts,
    Protected::Sessions,
    Protected::Policies,
    Protected::Approvals,
    Protected::Seals,
    Protected::Templates,
    Protected::TemplateVersions,
    Protected::Webhooks,
    Protected::LoginSecrets,
];

impl Protected {
    fn table(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Mandates => "mandates",
            Self::Custodians => "custodians",
            Self::Apps => "apps",
            Self::Credentials => "app_credentials",
            Self::Accounts => "accounts",
            Self::Sessions => "account_sessions",
            Self::Policies => "signing_policies",
            Self::Approvals => "approvals",
            Self::Seals => "seals",
            Self::Templates => "stamp_templates",
            Self::TemplateVersions => "stamp_template_versions",
            Self::Webhooks => "webhooks",
            Self::LoginSecrets => "oidc_secrets",
        }
    }
}

impl Protected {
    /// What names its rows, in the order that batches go by.
    fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Custodians | Self::Accounts | Self::LoginSecrets => ("name", None),
            Self::Webhooks => ("app", None),
            Self::Policies => ("app", Some("version")),
            Self::TemplateVersions => ("template", Some("version")),
            Self::Keys
            | Self::Mandates
            | Self::Apps
            | Self::Credentials
            | Self::Sessions
            | Self::Approvals
            | Self::Seals
            | Self::Templates => ("id", None),
        }
    }

    async fn renew(
        self,
        connection: &mut Connection<'_>,
        protection: &Protection,
        batch: &Batch,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Keys => crate::keys::renew(connection, protection, batch).await,
            Self::Mandates => crate::mandates::renew(connection, protection, batch).await,
            Self::Custodians => crate::custodians::renew(connection, protection, batch).await,
            Self::Apps => crate::apps::renew(connection, protection, batch).await,
            Self::Credentials => crate::credentials::renew(connection, protection, batch).await,
            Self::Accounts => crate::accounts::renew(connection, protection, batch).await,
            Self::Sessions => crate::accounts::renew_sessions(connection, protection, batch).await,
            Self::Policies => crate::policies::renew(connection, protection, batch).await,
            Self::Approvals => crate::approvals::renew(connection, protection, batch).await,
            Self::Seals => crate::seals::renew(connection, protection, batch).await,
            Self::Templates => crate::templates::renew(connection, protection, batch).await,
            Self::TemplateVersions => crate::templates::renew_versions(connection, protection, batch).await,
            Self::Webhooks => crate::webhooks::renew(connection, protection, batch).await,
            Self::LoginSecrets => crate::oidc::renew(connection, protection, batch).await,
        }
    }
}

/// What a row is named by: its id, and the version where there are several.
#[derive(Clone, Default)]
struct Name(String, i64);

/// Rows of a table that follow each other by their names, as many as are protected anew in one transaction.
pub(crate) struct Batch {
    kind: Protected,
    after: Name,
    names: Vec<Name>,
}

impl Batch {
    /// The rows that come after a name; none behind the last one.
    async fn after(
        connection: &mut Connection<'_>,
        kind: Protected,
        after: Name,
    ) -> Result<Option<Self>, StoreError> {
        let table = kind.table();
        let select = match kind.names() {
            (id, None) => format!("SELECT {id} AS id FROM {table} WHERE {id} > $1 ORDER BY {id} LIMIT $2"),
            (id, Some(version)) => format!(
                "SELECT {id} AS id, {version} AS version FROM {table} WHERE ({id}, {version}) > ($1, $3)
                 ORDER BY {id}, {version} LIMIT $2"
            ),
        };
        let select = query(AssertSqlSafe(select)).bind(&after.0).bind(BATCH);
        let (_, version) = kind.names();
        let select = if version.is_some() { select.bind(after.1) } else { select };
        let rows = select.fetch_all(connection).await?;
        let name = |row: &Row| {
            let version = version.map_or(Ok(0), |_| row.try_get("version"))?;
            Ok::<_, StoreError>(Name(row.try_get("id")?, version))
        };
        let names = rows.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        Ok((!names.is_empty()).then_some(Self { kind, after, names }))
    }

    /// The rows' ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|Name(id, _)| id.as_str())
    }

    /// These columns of the rows, within the transaction that the batch was begun in.
    pub(crate) async fn rows(
        &self,
        connection: &mut Connection<'_>,
        columns: &str,
    ) -> Result<Vec<Row>, StoreError> {
        let Some(last) = self.names.last() else { return Ok(Vec::new()) };
        let table = self.kind.table();
        let (select, versioned) = match self.kind.names() {
            (id, None) => {
                (format!("SELECT {columns} FROM {table} WHERE {id} > $1 AND {id} <= $2 ORDER BY {id}"), false)
            }
            (id, Some(version)) => (
                format!(
                    "SELECT {columns} FROM {table}
                     WHERE ({id}, {version}) > ($1, $3) AND ({id}, {version}) <= ($2, $4) ORDER BY {id}, {version}"
                ),
                true,
            ),
        };
        let select = query(AssertSqlSafe(select)).bind(&self.after.0).bind(&last.0);
        let select = if versioned { select.bind(self.after.1).bind(last.1) } else { select };
        Ok(select.fetch_all(connection).await?)
    }

    fn last(mut self) -> Option<Name> {
        self.names.pop()
    }
}

/// The tables whose rows have codes, which a new data key takes over; every table with codes is to be one.
pub fn protected_tables() -> impl Iterator<Item = &'static str> {
    let coded = PROTECTED.into_iter().filter(|kind| !matches!(kind, Protected::LoginSecrets)); // sealed only
    coded.map(Protected::table)
}

/// A data key that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextDataKey {
    /// Its version.
    pub version: u32,
    /// From when on it is used.
    pub used_from: OffsetDateTime,
}

impl Store {
    /// Makes the next data key. It is taken into use by [`Store::unlock`] when its time has come.
    ///
    /// # Errors
    /// [`UnlockError`]; [`StoreError::Locked`] where there is no data key yet; [`StoreError::AlreadyExists`] while one
    /// waits for its time.
    pub async fn make_data_key(
        &self,
        devices: &impl DeviceSecrets,
        at: OffsetDateTime,
    ) -> Result<NextDataKey, UnlockError> {
        let (Some(under), Some(newest)) =
            (self.newest_device_key().await?, self.wrapped_data_keys().await?.pop())
        else {
            return Err(StoreError::Locked.into());
        };
        if self.protection().version()? != newest.version {
            let id = newest.version.to_string();
            return Err(StoreError::AlreadyExists { what: "data key", id }.into());
        }
        let next = NextDataKey { version: newest.version + 1, used_from: at + NOTICE };
        let (_, octets) = new_data_key(devices, &under, next.version).await?;
        let mut transaction = self.begin_write().await.map_err(StoreError::from)?;
        let times = (at, next.used_from);
        let inserted = insert_data_key(&mut transaction, next.version, &under, octets, times).await;
        inserted.map_err(|error| match error {
            // Another gateway was faster.
            StoreError::Query(error) => StoreError::from_insert("data key", &next.version.to_string(), error),
            error => error,
        })?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(next)
    }

    /// Protects anew, under the data key in use, every row that another one protects: what is sealed in it is sealed
    /// anew and the row gets its code. A row whose code is wrong keeps it. Answers how many rows those were.
    ///
    /// It goes by batches, each in a transaction of its own, between which others write: what they write is under the data
    /// key in use. A gateway that is killed leaves whole batches undone; whoever calls this again does the rest.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; the database fails.
    pub async fn renew_protection(&self) -> Result<u64, StoreError> {
        let protection = self.protection();
        protection.version()?;
        let mut rows = 0;
        for kind in PROTECTED {
            let mut after = Some(Name::default());
            while let Some(done) = after {
                let mut transaction = self.begin_write().await?;
                let batch = Batch::after(&mut transaction, kind, done).await?;
                if let Some(batch) = &batch {
                    rows += kind.renew(&mut transaction, protection, batch).await?;
                }
                transaction.commit().await?;
                after = batch.and_then(Batch::last);
            }
        }
        Ok(rows)
    }
}
