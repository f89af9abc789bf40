//! The people who confirm key ceremonies, each by a secret of their own.
//!
//! Only an Argon2id hash of a secret is stored. A wrong name costs as much as a wrong secret, so that trying
//! names tells nothing.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::database::{instant, query};
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
        query("INSERT INTO custodians (name, secret_hash, enabled, created_at) VALUES ($1, $2, TRUE, $3)")
            .bind(name)
            .bind(hash.to_string())
            .bind(at.unix_timestamp())
            .execute(self.writer())
            .await
            .map_err(|error| StoreError::from_insert(CUSTODIAN, name, error))?;
        Ok(())
    }

    /// Lets a custodian confirm, or no longer; what was confirmed stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn enable_custodian(&self, name: &str, enabled: bool) -> Result<(), StoreError> {
        let updated = query("UPDATE custodians SET enabled = $2 WHERE name = $1")
            .bind(name)
            .bind(enabled)
            .execute(self.writer())
            .await?;
        match updated.rows_affected() {
            0 => Err(StoreError::NotFound { what: CUSTODIAN, id: name.to_owned() }),
            _ => Ok(()),
        }
    }

    /// All custodians in the order of their names.
    pub async fn custodians(&self) -> Result<Vec<Custodian>, StoreError> {
        let rows = query("SELECT name, enabled, created_at FROM custodians ORDER BY name")
            .fetch_all(self.readers())
            .await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let created_at = instant(row, "created_at")?.ok_or_else(|| StoreError::Corrupt {
                    what: CUSTODIAN,
                    id: name.clone(),
                    column: "created_at",
                })?;
                Ok(Custodian { name, enabled: row.try_get("enabled")?, created_at })
            })
            .collect()
    }

    /// Whether this is an enabled custodian's secret. An unknown name and a disabled custodian take the same work
    /// as a wrong secret. Counting failures is the caller's part.
    pub async fn verify_custodian(&self, name: &str, secret: &str) -> Result<bool, StoreError> {
        let possible = if name.contains('\0') { "" } else { name }; // no name is empty
        let row = query("SELECT secret_hash, enabled FROM custodians WHERE name = $1")
            .bind(possible)
            .fetch_optional(self.readers())
            .await?;
        let (hash, enabled) = match row {
            Some(row) => (Some(row.try_get::<String, _>("secret_hash")?), row.try_get("enabled")?),
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
