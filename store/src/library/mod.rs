//! The license library: what the register says of an entity, and the licenses issued to it with their files; finding
//! entities by name, importing the register.
//!
//! Times are kept in whole seconds. A test identity in the library reads back as what it is: whether a site
//! admits test identities is decided where they enter, not here.

mod files;
mod imports;
mod names;
mod put;
mod search;

use formats::uscc::Uscc;
use serde_json::{Map, Value};
use time::OffsetDateTime;

pub use files::{Contents, FileOutcome, LicenseFile, LicenseFiles};
pub use imports::{Counts, Import, Place};
pub use names::NamePattern;
pub use put::Outcome;
pub use search::{Former, LARGEST_PAGE, LibraryCounts, NamePage, NameQuery};

use crate::database::{Row, instant, query};
use crate::{Store, StoreError};

const ENTITY: &str = "entity";
const LICENSE: &str = "license";

/// What the register says of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityRecord {
    /// Unified social credit code (统一社会信用代码).
    pub uscc: Uscc,
    /// Registered name (名称).
    pub name: String,
    /// Kind of entity as printed on the license (照面企业类型).
    pub entity_type: String,
    /// Registration status: 1 to 6, or 9.
    pub status: i64,
    /// What is on file beside the status, such as 经营异常名录.
    pub flags: Vec<String>,
    /// When the register said so.
    pub status_as_of: OffsetDateTime,
    /// Face fields (照面信息) by name.
    pub face: Map<String, Value>,
}

/// An issued license.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenseRecord {
    /// Serial number of its certificate (执照序列号).
    pub serial: String,
    /// Whose it is.
    pub uscc: Uscc,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Start of validity.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
    /// Whether it is the entity's license now; at most one is.
    pub current: bool,
}

impl Store {
    /// Adds an entity or replaces what is known of it.
    ///
    /// # Errors
    /// [`StoreError::RuleBroken`] for an unknown status code.
    pub async fn upsert_entity(&self, entity: &EntityRecord) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let at = OffsetDateTime::now_utc();
        put::put(&mut transaction, self.dialect(), std::slice::from_ref(entity), None, at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Has every entity found by its name that was there before names were: once, after a migration.
    pub(crate) async fn index_names(&self) -> Result<(), StoreError> {
        if put::is_unindexed(&mut *self.begin_read().await?).await? {
            let mut transaction = self.begin_write().await?;
            put::index_all(&mut transaction, self.dialect()).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// What the register says of this entity.
    pub async fn entity(&self, uscc: &Uscc) -> Result<Option<EntityRecord>, StoreError> {
        let row = query(
            "SELECT uscc, name, entity_type, status, flags, status_as_of, face FROM entities WHERE uscc = $1",
        )
        .bind(uscc.as_str())
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(entity_from_row).transpose()
    }

    /// Adds a license. A current one takes the place of the entity's current license.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a known serial, [`StoreError::MissingReference`] for an unknown
    /// entity; neither changes anything.
    pub async fn insert_license(&self, license: &LicenseRecord) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        if license.current {
            query("UPDATE licenses SET current = FALSE WHERE uscc = $1 AND current")
                .bind(license.uscc.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        query(
            "INSERT INTO licenses (serial, uscc, certificate, not_before, not_after, current)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&license.serial)
        .bind(license.uscc.as_str())
        .bind(&license.certificate)
        .bind(license.not_before.unix_timestamp())
        .bind(license.not_after.unix_timestamp())
        .bind(license.current)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(LICENSE, &license.serial, error))?;
        transaction.commit().await?;
        Ok(())
    }

    /// The entity's current license.
    pub async fn license_by_uscc(&self, uscc: &Uscc) -> Result<Option<LicenseRecord>, StoreError> {
        let row = query(
            "SELECT serial, uscc, certificate, not_before, not_after, current FROM licenses
             WHERE uscc = $1 AND current",
        )
        .bind(uscc.as_str())
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(license_from_row).transpose()
    }

    /// A license by the serial number of its certificate.
    pub async fn license_by_serial(&self, serial: &str) -> Result<Option<LicenseRecord>, StoreError> {
        let row = query(
            "SELECT serial, uscc, certificate, not_before, not_after, current FROM licenses WHERE serial = $1",
        )
        .bind(serial)
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(license_from_row).transpose()
    }
}

fn entity_from_row(row: &Row) -> Result<EntityRecord, StoreError> {
    let id: String = row.try_get("uscc")?;
    let corrupt = |column| StoreError::Corrupt { what: ENTITY, id: id.clone(), column };
    Ok(EntityRecord {
        uscc: Uscc::parse_sandbox(&id).map_err(|_| corrupt("uscc"))?,
        name: row.try_get("name")?,
        entity_type: row.try_get("entity_type")?,
        status: row.try_get("status")?,
        flags: serde_json::from_str(row.try_get("flags")?).map_err(|_| corrupt("flags"))?,
        status_as_of: instant(row, "status_as_of")?.ok_or_else(|| corrupt("status_as_of"))?,
        face: serde_json::from_str(row.try_get("face")?).map_err(|_| corrupt("face"))?,
    })
}

fn license_from_row(row: &Row) -> Result<LicenseRecord, StoreError> {
    let serial: String = row.try_get("serial")?;
    let corrupt = |column| StoreError::Corrupt { what: LICENSE, id: serial.clone(), column };
    Ok(LicenseRecord {
        uscc: Uscc::parse_sandbox(row.try_get("uscc")?).map_err(|_| corrupt("uscc"))?,
        certificate: row.try_get("certificate")?,
        not_before: instant(row, "not_before")?.ok_or_else(|| corrupt("not_before"))?,
        not_after: instant(row, "not_after")?.ok_or_else(|| corrupt("not_after"))?,
        current: row.try_get("current")?,
        serial,
    })
}
