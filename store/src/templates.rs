//! Templates that say what stamps look like and where they go, in versions that are never changed. The template's row, under
//! its own code, says which version is in force and whether it may be used.
//!
//! What a version says of stamps is not this crate's to know: it is kept as the text in which it was given.

mod change;

use std::collections::BTreeSet;

pub use change::TemplateChange;
use config::{AppId, TemplateId};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::words::words;
use crate::{Store, StoreError};

const TEMPLATE: &str = "stamp template";
const COLUMNS: &str = "id, state, version, reason, actor, changed_at, revision, code";
const VERSION_COLUMNS: &str =
    "template, version, description, apps, stamp, reason, actor, at, revision, code";

words! {
    /// Whether a template may be used.
    TemplateState {
        /// It may.
        Enabled = "enabled",
        /// It may not, for now.
        Disabled = "disabled",
    }
}

/// A template, with the version in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampTemplate {
    /// Its id.
    pub id: TemplateId,
    /// Whether it may be used.
    pub state: TemplateState,
    /// What is in force.
    pub current: TemplateVersion,
    /// Why it was changed last.
    pub reason: String,
    /// By whom, as the audit log names people and apps.
    pub actor: String,
    /// When.
    pub changed_at: OffsetDateTime,
    /// Grows with every change.
    pub revision: i64,
}

/// A version of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// From 1 on, without gaps.
    pub version: u32,
    /// What it is for.
    pub description: String,
    /// Who may use it; every app that stamps, if it is not said.
    pub apps: Option<BTreeSet<AppId>>,
    /// What it says of a stamp: JSON.
    pub stamp: String,
    /// Why it was set.
    pub reason: String,
    /// By whom, as the audit log names people and apps.
    pub actor: String,
    /// When.
    pub at: OffsetDateTime,
}

/// A version that is to take the place of what is in force, or the first one of a template.
#[derive(Debug)]
pub struct NewStampTemplate<'t> {
    /// The template.
    pub id: &'t TemplateId,
    /// What it is for.
    pub description: &'t str,
    /// Who may use it; every app that stamps, if it is not said.
    pub apps: Option<&'t BTreeSet<AppId>>,
    /// What it says of a stamp: JSON.
    pub stamp: &'t str,
    /// Why.
    pub reason: &'t str,
    /// Who sets it, as the audit log names people and apps.
    pub actor: &'t str,
    /// The version that must be in force until then, 0 for none.
    pub replaces: u32,
}

impl Store {
    /// A template, with the version in force.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] when a row of it is not as a gateway wrote it.
    pub async fn stamp_template(&self, id: &TemplateId) -> Result<StampTemplate, StoreError> {
        let (mut reading, protection) = (self.begin_read().await?, self.protection());
        let row = find(&mut reading, protection, id).await?;
        let current = find_version(&mut reading, protection, id, row.version).await?;
        let TemplateRow { id, state, reason, actor, changed_at, revision, .. } = row;
        Ok(StampTemplate { id, state, current, reason, actor, changed_at, revision })
    }

    /// A version of a template, in force or not.
    ///
    /// # Errors
    /// As of [`Store::stamp_template`].
    pub async fn stamp_template_version(
        &self,
        id: &TemplateId,
        version: u32,
    ) -> Result<TemplateVersion, StoreError> {
        find_version(&mut *self.begin_read().await?, self.protection(), id, version).await
    }

    /// The ids of all templates, in order.
    pub async fn stamp_template_ids(&self) -> Result<Vec<TemplateId>, StoreError> {
        let rows = query("SELECT id FROM stamp_templates ORDER BY id").fetch_all(self.readers()).await?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: String = row.try_get("id")?;
            match TemplateId::parse(&id).map_err(|_| StoreError::Corrupt { what: TEMPLATE, id, column: "id" })
            {
                Ok(id) => ids.push(id),
                Err(error) => unusable(error)?,
            }
        }
        Ok(ids)
    }
}

/// A template as stored, with the code over the row.
#[derive(Debug)]
struct TemplateRow {
    id: TemplateId,
    state: TemplateState,
    version: u32,
    reason: String,
    actor: String,
    changed_at: OffsetDateTime,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl TemplateRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: TEMPLATE, id: id.clone(), column };
        let state: String = row.try_get("state")?;
        Ok(Self {
            state: TemplateState::parse(&state).ok_or_else(|| corrupt("state"))?,
            version: row.try_get("version")?,
            reason: row.try_get("reason")?,
            actor: row.try_get("actor")?,
            changed_at: instant(row, "changed_at")?.ok_or_else(|| corrupt("changed_at"))?,
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
            id: TemplateId::parse(&id).map_err(|_| corrupt("id"))?,
        })
    }

    fn image(&self, revision: i64) -> RowImage {
        RowImage::new("stamp_templates", self.id.as_str(), revision)
            .text("state", self.state.as_str())
            .integer("version", self.version.into())
            .text("reason", &self.reason)
            .text("actor", &self.actor)
            .integer("changed_at", self.changed_at.unix_timestamp())
    }

    /// Refuses a row that was altered. Without a data key nothing is judged.
    fn judge(self, protection: &Protection) -> Result<Self, StoreError> {
        judge(protection, &self.image(self.revision), self.code.as_deref())?;
        Ok(self)
    }

    /// Writes the row, with its code.
    async fn write(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
        is_new: bool,
    ) -> Result<(), StoreError> {
        let statement = match is_new {
            true => {
                "INSERT INTO stamp_templates (id, state, version, reason, actor, changed_at, revision, code)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            }
            false => {
                "UPDATE stamp_templates SET state = $2, version = $3, reason = $4, actor = $5, changed_at = $6,
                     revision = $7, code = $8 WHERE id = $1"
            }
        };
        let code = code(connection, protection, &self.image(self.revision)).await?;
        query(statement)
            .bind(self.id.as_str())
            .bind(self.state.as_str())
            .bind(self.version)
            .bind(&self.reason)
            .bind(&self.actor)
            .bind(self.changed_at.unix_timestamp())
            .bind(self.revision)
            .bind(code)
            .execute(connection)
            .await
            .map_err(|error| StoreError::from_insert(TEMPLATE, self.id.as_str(), error))?;
        Ok(())
    }
}

/// A version as stored, with the code over the row.
#[derive(Debug)]
struct VersionRow {
    template: TemplateId,
    version: TemplateVersion,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl VersionRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("template")?;
        let corrupt = |column| StoreError::Corrupt { what: TEMPLATE, id: id.clone(), column };
        let apps: Option<String> = row.try_get("apps")?;
        let apps = apps.map(|apps| serde_json::from_str(&apps)).transpose();
        let version = TemplateVersion {
            version: row.try_get("version")?,
            description: row.try_get("description")?,
            apps: apps.map_err(|_| corrupt("apps"))?,
            stamp: row.try_get("stamp")?,
            reason: row.try_get("reason")?,
            actor: row.try_get("actor")?,
            at: instant(row, "at")?.ok_or_else(|| corrupt("at"))?,
        };
        let template = TemplateId::parse(&id).map_err(|_| corrupt("template"))?;
        Ok(Self { template, version, revision: row.try_get("revision")?, code: row.try_get("code")? })
    }

    /// As they are stored.
    fn apps(&self) -> Option<String> {
        let apps = self.version.apps.as_ref();
        apps.map(|apps| serde_json::to_string(apps).expect("names are JSON"))
    }

    fn image(&self, revision: i64) -> RowImage {
        let version = &self.version;
        RowImage::new("stamp_template_versions", self.template.as_str(), revision)
            .integer("version", version.version.into())
            .text("description", &version.description)
            .text_or_null("apps", self.apps().as_deref())
            .text("stamp", &version.stamp)
            .text("reason", &version.reason)
            .text("actor", &version.actor)
            .integer("at", version.at.unix_timestamp())
    }

    fn judge(self, protection: &Protection) -> Result<Self, StoreError> {
        judge(protection, &self.image(self.revision), self.code.as_deref())?;
        Ok(self)
    }

    async fn insert(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        let version = &self.version;
        let code = code(connection, protection, &self.image(self.revision)).await?;
        query(
            "INSERT INTO stamp_template_versions
                 (template, version, description, apps, stamp, reason, actor, at, revision, code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(self.template.as_str())
        .bind(version.version)
        .bind(&version.description)
        .bind(self.apps())
        .bind(&version.stamp)
        .bind(&version.reason)
        .bind(&version.actor)
        .bind(version.at.unix_timestamp())
        .bind(self.revision)
        .bind(code)
        .execute(connection)
        .await
        .map_err(|error| StoreError::from_insert(TEMPLATE, self.template.as_str(), error))?;
        Ok(())
    }

    /// Gives it a code under the data key in use.
    async fn recode(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        let revision = self.revision + 1;
        query(
            "UPDATE stamp_template_versions SET revision = $3, code = $4 WHERE template = $1 AND version = $2",
        )
        .bind(self.template.as_str())
        .bind(self.version.version)
        .bind(revision)
        .bind(protection.code(&self.image(revision))?)
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn judge(protection: &Protection, image: &RowImage, code: Option<&[u8]>) -> Result<(), StoreError> {
    match protection.is_unlocked() {
        true => protection.check(image, code.unwrap_or_default()),
        false => Ok(()),
    }
}

async fn code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    image: &RowImage,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(match protection.codes_rows(connection).await? {
        true => Some(protection.code(image)?),
        false => None,
    })
}

async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &TemplateId,
) -> Result<TemplateRow, StoreError> {
    let statement = format!("SELECT {COLUMNS} FROM stamp_templates WHERE id = $1");
    let row = query(AssertSqlSafe(statement)).bind(id.as_str()).fetch_optional(connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: TEMPLATE, id: id.to_string() })?;
    TemplateRow::read(&row)?.judge(protection)
}

async fn find_version(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &TemplateId,
    version: u32,
) -> Result<TemplateVersion, StoreError> {
    let statement =
        format!("SELECT {VERSION_COLUMNS} FROM stamp_template_versions WHERE template = $1 AND version = $2");
    let row =
        query(AssertSqlSafe(statement)).bind(id.as_str()).bind(version).fetch_optional(connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: TEMPLATE, id: id.to_string() })?;
    Ok(VersionRow::read(&row)?.judge(protection)?.version)
}

async fn all(connection: &mut Connection<'_>) -> Result<Vec<Row>, StoreError> {
    let statement = format!("SELECT {COLUMNS} FROM stamp_templates");
    Ok(query(AssertSqlSafe(statement)).fetch_all(connection).await?)
}

async fn all_versions(connection: &mut Connection<'_>) -> Result<Vec<Row>, StoreError> {
    let statement = format!("SELECT {VERSION_COLUMNS} FROM stamp_template_versions");
    Ok(query(AssertSqlSafe(statement)).fetch_all(connection).await?)
}

async fn recode(
    connection: &mut Connection<'_>,
    protection: &Protection,
    mut row: TemplateRow,
) -> Result<(), StoreError> {
    row.revision += 1;
    row.write(connection, protection, false).await
}

/// Gives every template and every version the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let (templates, versions) = (all(connection).await?, all_versions(connection).await?);
    for row in &templates {
        recode(connection, protection, TemplateRow::read(row)?).await?;
    }
    for row in &versions {
        VersionRow::read(row)?.recode(connection, protection).await?;
    }
    Ok((templates.len() + versions.len()) as u64)
}

/// Gives every template with a good code under another data key one under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let mut renewed = 0;
    for row in batch.rows(connection, COLUMNS).await? {
        match TemplateRow::read(&row).and_then(|row| row.judge(protection)) {
            Ok(row) if row.code.as_deref().is_some_and(|code| protection.is_outdated(code)) => {
                recode(connection, protection, row).await?;
                renewed += 1;
            }
            Ok(_) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

/// The same for versions.
pub(crate) async fn renew_versions(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let mut renewed = 0;
    for row in batch.rows(connection, VERSION_COLUMNS).await? {
        match VersionRow::read(&row).and_then(|row| row.judge(protection)) {
            Ok(row) if row.code.as_deref().is_some_and(|code| protection.is_outdated(code)) => {
                row.recode(connection, protection).await?;
                renewed += 1;
            }
            Ok(_) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}
