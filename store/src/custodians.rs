//! The people who confirm key ceremonies, each by a secret of their own.
//!
//! Only an Argon2id hash of a secret is stored. A wrong name costs as much as a wrong secret, so that trying
//! names tells nothing.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::{Store, StoreError};

const CUSTODIAN: &str = "custodian";
/// Fewer characters are guessed too soon.
const SHORTEST_SECRET: usize = 12;
/// What a hash is computed with when there is none to compare with.
const NOBODY: &[u8] = b"no such custodian";

/// Someone who may confirm key ceremonies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    /// The name to confirm under, 1 to 64 characters.
    pub name: String,
    /// A disabled custodian confirms nothing.
    pub enabled: bool,
    /// When the custodian was entered.
    pub created_at: OffsetDateTime,
}

impl Store {
    /// Enters a custodian, enabled.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a known name; [`StoreError::RuleBroken`] for one that is empty or too
    /// long; [`StoreError::Unacceptable`] for a secret of fewer than twelve characters.
    pub async fn add_custodian(
        &self,
        name: &str,
        secret: &str,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let unacceptable = |reason| StoreError::Unacceptable { what: CUSTODIAN, id: name.to_owned(), reason };
        if secret.chars().count() < SHORTEST_SECRET {
            return Err(unacceptable("a secret has twelve characters at least"));
        }
        let secret = Zeroizing::new(secret.to_owned());
        let hash: Result<PasswordHash, _> =
            self.compute(move || Argon2::default().hash_password(secret.as_bytes())).await?;
        let hash = hash.map_err(|_| unacceptable("its secret cannot be hashed"))?;
        let mut transaction = self.begin_write().await?;
        query("INSERT INTO custodians (name, secret_hash, enabled, created_at) VALUES ($1, $2, TRUE, $3)")
            .bind(name)
            .bind(hash.to_string())
            .bind(at.unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert(CUSTODIAN, name, error))?;
        code(&mut transaction, self.protection(), name).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Lets a custodian confirm, or no longer; what was confirmed stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn enable_custodian(&self, name: &str, enabled: bool) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let found = find(&mut transaction, name).await?;
        let found = found.ok_or_else(|| StoreError::NotFound { what: CUSTODIAN, id: name.to_owned() })?;
        found.judge(self.protection())?; // what was altered must not get a good code
        query("UPDATE custodians SET enabled = $2 WHERE name = $1")
            .bind(name)
            .bind(enabled)
            .execute(&mut *transaction)
            .await?;
        code(&mut transaction, self.protection(), name).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// All custodians in the order of their names, without any that was altered outside the gateway.
    pub async fn custodians(&self) -> Result<Vec<Custodian>, StoreError> {
        let rows = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM custodians ORDER BY name")))
            .fetch_all(self.readers())
            .await?;
        let mut custodians = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = from_row(row)?;
            if row.judge(self.protection()).is_ok() {
                custodians.push(row.custodian);
            }
        }
        Ok(custodians)
    }

    /// Whether this is an enabled custodian's secret. An unknown name and a disabled custodian take the same work
    /// as a wrong secret. Counting failures is the caller's part.
    pub async fn verify_custodian(&self, name: &str, secret: &str) -> Result<bool, StoreError> {
        let possible = if name.contains('\0') { "" } else { name }; // no name is empty
        let row = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM custodians WHERE name = $1")))
            .bind(possible)
            .fetch_optional(self.readers())
            .await?;
        let row = row.as_ref().map(from_row).transpose()?;
        let row = row.filter(|row| row.judge(self.protection()).is_ok());
        let (hash, enabled) = match row {
            Some(row) => (Some(row.secret_hash), row.custodian.enabled),
            None => (None, false),
        };
        let secret = Zeroizing::new(secret.to_owned());
        let matches = self.compute(move || verify(hash.as_deref(), secret.as_bytes())).await?;
        match matches {
            Some(matches) => Ok(matches && enabled),
            None => Err(StoreError::Corrupt { what: CUSTODIAN, id: name.to_owned(), column: "secret_hash" }),
        }
    }
}

const COLUMNS: &str = "name, secret_hash, enabled, created_at, revision, code";

/// A custodian as stored, with the code over the row.
struct CustodianRow {
    custodian: Custodian,
    secret_hash: String,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl CustodianRow {
    fn image(&self, revision: i64) -> RowImage {
        RowImage::new("custodians", &self.custodian.name, revision)
            .text("secret_hash", &self.secret_hash)
            .boolean("enabled", self.custodian.enabled)
            .integer("created_at", self.custodian.created_at.unix_timestamp())
    }

    /// Refuses a row that was altered. Without a data key nothing is judged.
    fn judge(&self, protection: &Protection) -> Result<(), StoreError> {
        if !protection.is_unlocked() {
            return Ok(());
        }
        protection.check(&self.image(self.revision), self.code.as_deref().unwrap_or_default())
    }
}

fn from_row(row: &Row) -> Result<CustodianRow, StoreError> {
    let name: String = row.try_get("name")?;
    let created_at = instant(row, "created_at")?.ok_or_else(|| StoreError::Corrupt {
        what: CUSTODIAN,
        id: name.clone(),
        column: "created_at",
    })?;
    Ok(CustodianRow {
        custodian: Custodian { name, enabled: row.try_get("enabled")?, created_at },
        secret_hash: row.try_get("secret_hash")?,
        revision: row.try_get("revision")?,
        code: row.try_get("code")?,
    })
}

async fn find(connection: &mut Connection<'_>, name: &str) -> Result<Option<CustodianRow>, StoreError> {
    let row = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM custodians WHERE name = $1")))
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(from_row).transpose()
}

/// Whether this is an enabled custodian, within a transaction.
pub(crate) async fn is_enabled(
    connection: &mut Connection<'_>,
    protection: &Protection,
    name: &str,
) -> Result<bool, StoreError> {
    let found = find(connection, name).await?;
    Ok(found.is_some_and(|row| row.custodian.enabled && row.judge(protection).is_ok()))
}

/// Gives a custodian that was written the code over the row as it is now.
async fn code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    name: &str,
) -> Result<(), StoreError> {
    if !protection.codes_rows(connection).await? {
        return Ok(());
    }
    match find(connection, name).await? {
        Some(row) => write_code(connection, protection, &row).await,
        None => Ok(()),
    }
}

/// Gives every custodian the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let rows =
        query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM custodians"))).fetch_all(&mut *connection).await?;
    for row in &rows {
        write_code(connection, protection, &from_row(row)?).await?;
    }
    Ok(rows.len() as u64)
}

/// Gives every custodian with a good code under another data key one under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let row = from_row(row)?;
        let outdated = row.code.as_deref().is_some_and(|code| protection.is_outdated(code));
        if outdated && row.judge(protection).is_ok() {
            write_code(connection, protection, &row).await?;
            renewed += 1;
        }
    }
    Ok(renewed)
}

async fn write_code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &CustodianRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE custodians SET revision = $2, code = $3 WHERE name = $1")
        .bind(&row.custodian.name)
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a secret belongs to a hash; none for a hash that cannot be read.
fn verify(hash: Option<&str>, secret: &[u8]) -> Option<bool> {
    let argon2 = Argon2::default();
    let Some(hash) = hash else {
        let computed: Result<PasswordHash, _> = argon2.hash_password_with_salt(secret, NOBODY);
        // Looked at, so that no compiler leaves the work out.
        drop(std::hint::black_box(computed));
        return Some(false);
    };
    Some(argon2.verify_password(secret, &PasswordHash::new(hash).ok()?).is_ok())
}
