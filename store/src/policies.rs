//! What apps may sign, in versions that are never changed. The app's row, under its own code, says which version is in
//! force, so that nobody who can write to the database brings an older one back or takes a policy away unseen.
//!
//! What the rules say is not this crate's to know: they are kept as the text in which they were given.

use std::collections::HashMap;

use config::AppId;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::apps::{self, raise_revision, unusable};
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::terms::Terms;
use crate::{Store, StoreError};

pub(crate) const POLICY: &str = "policy";

/// What an app may sign, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppPolicy {
    /// Nothing is said: the site's default holds.
    None,
    /// This is said.
    InForce(PolicyVersion),
    /// Something is said that cannot be read, or was altered outside the gateway: nobody knows what.
    Unusable,
}

/// A version of an app's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The app.
    pub app: AppId,
    /// From 1 on, without gaps.
    pub version: u32,
    /// JSON.
    pub rules: String,
    /// Why.
    pub reason: String,
    /// Who set it, as the audit log names people and apps.
    pub actor: String,
    /// When.
    pub at: OffsetDateTime,
}

/// A policy that is to take the place of what holds.
#[derive(Debug)]
pub struct NewPolicy<'p> {
    /// The app.
    pub app: &'p AppId,
    /// JSON.
    pub rules: &'p str,
    /// Why.
    pub reason: &'p str,
    /// Who sets it, as the audit log names people and apps.
    pub actor: &'p str,
    /// The version that must be in force until then, 0 for none; whichever there is, if it is not said.
    pub replaces: Option<u32>,
}

const COLUMNS: &str = "app, version, rules, reason, actor, at, revision, code";

impl Store {
    /// Has a policy hold for an app; answers its version.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an app that there is not; [`StoreError::NotAllowed`] when another version is in
    /// force than the one that was to be replaced; [`StoreError::Changed`].
    pub async fn set_policy(&self, new: &NewPolicy<'_>, terms: impl Into<Terms>) -> Result<u32, StoreError> {
        let terms = terms.into();
        let at = terms.at;
        let mut transaction = self.begin_write().await?;
        let held = apps::judge(&mut transaction, self.protection(), new.app).await?.policy.unwrap_or(0);
        terms.hold_in_register(&mut transaction, POLICY, new.app.as_str()).await?;
        if new.replaces.is_some_and(|expected| expected != held) {
            return Err(StoreError::NotAllowed {
                what: POLICY,
                id: new.app.to_string(),
                state: "changed",
                reason: "another version is in force than the one that was to be replaced",
            });
        }
        let mut row = PolicyRow {
            policy: PolicyVersion {
                app: new.app.clone(),
                version: held + 1,
                rules: new.rules.to_owned(),
                reason: new.reason.to_owned(),
                actor: new.actor.to_owned(),
                at,
            },
            revision: 1,
            code: None,
        };
        if self.protection().codes_rows(&mut transaction).await? {
            row.code = Some(self.protection().code(&row.image(row.revision))?);
        }
        let PolicyRow { policy, revision, code } = row;
        query(
            "INSERT INTO signing_policies (app, version, rules, reason, actor, at, revision, code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(policy.app.as_str())
        .bind(policy.version)
        .bind(&policy.rules)
        .bind(&policy.reason)
        .bind(&policy.actor)
        .bind(at.unix_timestamp())
        .bind(revision)
        .bind(code)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(POLICY, new.app.as_str(), error))?;
        query("UPDATE apps SET policy = $2 WHERE id = $1")
            .bind(new.app.as_str())
            .bind(policy.version)
            .execute(&mut *transaction)
            .await?;
        apps::code(&mut transaction, self.protection(), new.app).await?;
        raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(policy.version)
    }

    /// All versions of an app's policy, the newest first; without any that cannot be read or was altered outside the
    /// gateway.
    pub async fn policy_versions(&self, app: &AppId) -> Result<Vec<PolicyVersion>, StoreError> {
        let statement =
            format!("SELECT {COLUMNS} FROM signing_policies WHERE app = $1 ORDER BY version DESC");
        let rows = query(AssertSqlSafe(statement)).bind(app.as_str()).fetch_all(self.readers()).await?;
        usable(&rows, self.protection())
    }
}

/// The versions that apps' rows name, by app; without any that cannot be read or was altered.
pub(crate) async fn policies_in_force(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<HashMap<String, PolicyVersion>, StoreError> {
    let rows = query(
        "SELECT p.app, p.version, p.rules, p.reason, p.actor, p.at, p.revision, p.code FROM signing_policies p
         JOIN apps a ON a.id = p.app AND a.policy = p.version",
    )
    .fetch_all(connection)
    .await?;
    let policies = usable(&rows, protection)?;
    Ok(policies.into_iter().map(|policy| (policy.app.to_string(), policy)).collect())
}

fn usable(rows: &[Row], protection: &Protection) -> Result<Vec<PolicyVersion>, StoreError> {
    let mut policies = Vec::with_capacity(rows.len());
    for row in rows {
        match PolicyRow::read(row).and_then(|row| row.judge(protection).map(|()| row)) {
            Ok(row) => policies.push(row.policy),
            Err(error) => unusable(error)?,
        }
    }
    Ok(policies)
}

/// A version as stored, with the code over the row.
struct PolicyRow {
    policy: PolicyVersion,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl PolicyRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let app: String = row.try_get("app")?;
        let corrupt = |column| StoreError::Corrupt { what: POLICY, id: app.clone(), column };
        let policy = PolicyVersion {
            app: AppId::parse(&app).map_err(|_| corrupt("app"))?,
            version: row.try_get("version")?,
            rules: row.try_get("rules")?,
            reason: row.try_get("reason")?,
            actor: row.try_get("actor")?,
            at: instant(row, "at")?.ok_or_else(|| corrupt("at"))?,
        };
        Ok(Self { policy, revision: row.try_get("revision")?, code: row.try_get("code")? })
    }

    fn image(&self, revision: i64) -> RowImage {
        let policy = &self.policy;
        RowImage::new("signing_policies", policy.app.as_str(), revision)
            .integer("version", policy.version.into())
            .text("rules", &policy.rules)
            .text("reason", &policy.reason)
            .text("actor", &policy.actor)
            .integer("at", policy.at.unix_timestamp())
    }

    /// Refuses a row that was altered. Without a data key nothing is judged.
    fn judge(&self, protection: &Protection) -> Result<(), StoreError> {
        if !protection.is_unlocked() {
            return Ok(());
        }
        protection.check(&self.image(self.revision), self.code.as_deref().unwrap_or_default())
    }
}

/// Gives every version the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let rows = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM signing_policies")))
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        write_code(connection, protection, &PolicyRow::read(row)?).await?;
    }
    Ok(rows.len() as u64)
}

/// Gives every version with a good code under another data key one under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        match PolicyRow::read(row) {
            Ok(row) if row.code.as_deref().is_some_and(|code| protection.is_outdated(code)) => {
                if row.judge(protection).is_ok() {
                    write_code(connection, protection, &row).await?;
                    renewed += 1;
                }
            }
            Ok(_) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

async fn write_code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &PolicyRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE signing_policies SET revision = $3, code = $4 WHERE app = $1 AND version = $2")
        .bind(row.policy.app.as_str())
        .bind(row.policy.version)
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}
