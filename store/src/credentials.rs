//! What apps prove themselves by. An app may have several credentials at a time, so that one is replaced while the
//! other still holds; a revoked one stays in the register and never comes back.
//!
//! Of an API key its digest is stored; of a certificate its digest or its names; of a key pair the public key; a
//! shared secret is sealed.

use std::collections::HashMap;
use std::fmt;

use config::{AppId, Secret};
use serde_json::json;
use sm3::{Digest, Sm3};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::apps::{self, APP, found, raise_revision, unusable};
use crate::database::{Connection, Row, instant, query};
use crate::deliveries::{Notice, notify};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::terms::{Room, Terms, counted};
use crate::words::words;
use crate::{Store, StoreError};

const CREDENTIAL: &str = "credential";

words! {
    /// How a credential proves something.
    CredentialKind {
        /// The key itself is shown; in a sandbox only.
        ApiKey = "api-key",
        /// A shared secret, HMAC with SM3.
        HmacSm3 = "hmac-sm3",
        /// A shared secret, HMAC with SHA-256.
        HmacSha256 = "hmac-sha256",
        /// An SM2 key pair.
        Sm2 = "sm2",
        /// A P-256 key pair, ECDSA with SHA-256.
        P256 = "p256",
        /// Exactly this TLS client certificate.
        Certificate = "certificate",
        /// Every TLS client certificate of this issuer for this subject.
        CertificateName = "certificate-name",
    }
}

/// What a credential is checked against.
#[derive(Debug, Clone)]
pub enum Material {
    /// SM3 of the API key.
    ApiKey([u8; 32]),
    /// The shared secret of HMAC with SM3.
    HmacSm3(Secret<Vec<u8>>),
    /// The shared secret of HMAC with SHA-256.
    HmacSha256(Secret<Vec<u8>>),
    /// SubjectPublicKeyInfo of an SM2 key, DER.
    Sm2(Vec<u8>),
    /// SubjectPublicKeyInfo of a P-256 key, DER.
    P256(Vec<u8>),
    /// SHA-256 of the certificate's DER, as RFC 8705 has it.
    Certificate([u8; 32]),
    /// Names in DER.
    CertificateName {
        /// Who must have issued it.
        issuer: Vec<u8>,
        /// Whom it must be for.
        subject: Vec<u8>,
    },
}

impl Material {
    /// What an API key is stored as.
    #[must_use]
    pub fn of_api_key(key: &str) -> Self {
        Self::ApiKey(Sm3::digest(key.as_bytes()).into())
    }

    /// How it proves something.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::ApiKey(_) => CredentialKind::ApiKey,
            Self::HmacSm3(_) => CredentialKind::HmacSm3,
            Self::HmacSha256(_) => CredentialKind::HmacSha256,
            Self::Sm2(_) => CredentialKind::Sm2,
            Self::P256(_) => CredentialKind::P256,
            Self::Certificate(_) => CredentialKind::Certificate,
            Self::CertificateName { .. } => CredentialKind::CertificateName,
        }
    }

    fn columns(&self) -> (&[u8], Option<&[u8]>) {
        match self {
            Self::ApiKey(digest) | Self::Certificate(digest) => (digest, None),
            Self::HmacSm3(secret) | Self::HmacSha256(secret) => (secret.expose(), None),
            Self::Sm2(key) | Self::P256(key) => (key, None),
            Self::CertificateName { issuer, subject } => (issuer, Some(subject)),
        }
    }

    fn from_columns(kind: CredentialKind, material: Vec<u8>, subject: Option<Vec<u8>>) -> Option<Self> {
        Some(match kind {
            CredentialKind::ApiKey => Self::ApiKey(material.try_into().ok()?),
            CredentialKind::HmacSm3 => Self::HmacSm3(Secret::new(material)),
            CredentialKind::HmacSha256 => Self::HmacSha256(Secret::new(material)),
            CredentialKind::Sm2 => Self::Sm2(material),
            CredentialKind::P256 => Self::P256(material),
            CredentialKind::Certificate => Self::Certificate(material.try_into().ok()?),
            CredentialKind::CertificateName => Self::CertificateName { issuer: material, subject: subject? },
        })
    }
}

/// A credential to be entered.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Its id: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// What it is checked against.
    pub material: Material,
    /// For people.
    pub label: String,
    /// Since when it proves something.
    pub not_before: OffsetDateTime,
    /// Until when.
    pub not_after: Option<OffsetDateTime>,
}

/// A credential of an app.
#[derive(Clone)]
pub struct Credential {
    /// Its id.
    pub id: String,
    /// What it is checked against.
    pub material: Material,
    /// For people.
    pub label: String,
    /// Since when it proves something.
    pub not_before: OffsetDateTime,
    /// Until when.
    pub not_after: Option<OffsetDateTime>,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// Since when, and why, it proves nothing any more.
    pub revoked: Option<(OffsetDateTime, String)>,
}

impl Credential {
    /// Whether it proves something at this time.
    #[must_use]
    pub fn holds_at(&self, at: OffsetDateTime) -> bool {
        self.revoked.is_none() && self.not_before <= at && self.not_after.is_none_or(|end| at < end)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("kind", &self.material.kind())
            .field("revoked", &self.revoked.is_some())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Adds a credential to an app. Those it has stay, but the one that it replaces: that ends at the time given, or
    /// earlier if it would have anyway; a revoked one stays revoked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown app, or when it has no credential to be replaced by that id;
    /// [`StoreError::AlreadyExists`] when the id, an API key or a certificate is taken; [`StoreError::Full`];
    /// [`StoreError::Changed`]. Nothing is changed then.
    pub async fn add_credential(
        &self,
        app: &AppId,
        credential: &NewCredential,
        replaces: Option<(&str, OffsetDateTime)>,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let terms = terms.into();
        let mut transaction = self.begin_write().await?;
        apps::judge(&mut transaction, self.protection(), app).await?;
        terms.hold_in_register(&mut transaction, APP, app.as_str()).await?;
        if let Some((replaced, _)) = replaces {
            judge(&mut transaction, self.protection(), app, replaced).await?;
        }
        if let Some(room) = terms.room {
            admit(&mut transaction, room, app, credential.material.kind(), terms.at).await?;
        }
        self.insert_credential(&mut transaction, app, credential, terms.at).await?;
        if let Some((replaced, end)) = replaces {
            write_end(&mut transaction, app, replaced, end).await?;
            code(&mut transaction, self.protection(), app.as_str(), replaced).await?;
        }
        raise_revision(&mut transaction).await?;
        let added = json!({
            "app": app, "credential": credential.id, "kind": credential.material.kind(),
            "replaces": replaces.map(|(replaced, _)| replaced),
        });
        let told = Notice::new(app, "app.credential_added", added)?;
        notify(&mut transaction, self.protection(), &told, terms.at).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) async fn insert_credential(
        &self,
        connection: &mut Connection<'_>,
        app: &AppId,
        credential: &NewCredential,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let (material, subject) = credential.material.columns();
        let sealed = match credential.material.kind() {
            CredentialKind::HmacSm3 | CredentialKind::HmacSha256 => {
                Some(self.protection().seal(secret_of(&credential.id), material)?)
            }
            _ => None,
        };
        query(
            "INSERT INTO app_credentials (id, app, kind, material, subject, label, not_before, not_after, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&credential.id)
        .bind(app.as_str())
        .bind(credential.material.kind().as_str())
        .bind(sealed.as_deref().unwrap_or(material))
        .bind(subject)
        .bind(&credential.label)
        .bind(credential.not_before.unix_timestamp())
        .bind(credential.not_after.map(OffsetDateTime::unix_timestamp))
        .bind(at.unix_timestamp())
        .execute(&mut *connection)
        .await
        .map_err(|error| StoreError::from_insert(CREDENTIAL, &credential.id, error))?;
        code(connection, self.protection(), app.as_str(), &credential.id).await
    }

    /// Takes a credential out of use for good. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the app has no such credential.
    pub async fn revoke_credential(
        &self,
        app: &AppId,
        id: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let known = query("SELECT revoked_at FROM app_credentials WHERE app = $1 AND id = $2")
            .bind(app.as_str())
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        if known.is_none() {
            return Err(StoreError::NotFound { what: CREDENTIAL, id: id.to_owned() });
        }
        // One that was altered is revoked too, but gets no good code for that.
        let sound = match judge(&mut transaction, self.protection(), app, id).await {
            Ok(()) => true,
            Err(error) => unusable(error).map(|()| false)?,
        };
        query(
            "UPDATE app_credentials SET revoked_at = $3, revoked_reason = $4
             WHERE app = $1 AND id = $2 AND revoked_at IS NULL",
        )
        .bind(app.as_str())
        .bind(id)
        .bind(at.unix_timestamp())
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
        if sound {
            code(&mut transaction, self.protection(), app.as_str(), id).await?;
        }
        raise_revision(&mut transaction).await?;
        let told = Notice::new(app, "app.credential_revoked", json!({"app": app, "credential": id}))?;
        notify(&mut transaction, self.protection(), &told, at).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Every credential by its app, oldest first; without any that cannot be read or was altered outside the gateway.
pub(crate) async fn all_credentials(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<HashMap<String, Vec<Credential>>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM app_credentials ORDER BY app, created_at, id");
    let rows = query(AssertSqlSafe(select)).fetch_all(connection).await?;
    let mut credentials: HashMap<String, Vec<Credential>> = HashMap::new();
    for row in &rows {
        let usable = CredentialRow::read(row).and_then(|stored| {
            stored.judge(protection)?;
            Ok((stored.app.clone(), stored.credential(protection)?))
        });
        match usable {
            Ok((app, Some(credential))) => credentials.entry(app).or_default().push(credential),
            Ok((_, None)) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(credentials)
}

const COLUMNS: &str =
    "id, app, kind, material, subject, label, not_before, not_after, created_at, revoked_at,
    revoked_reason, revision, code";

/// Where the secret of a credential stands.
fn secret_of(id: &str) -> Cell<'_> {
    Cell { table: "app_credentials", column: "material", row: id }
}

/// A credential as stored, with the code over the row.
struct CredentialRow {
    id: String,
    app: String,
    kind: CredentialKind,
    material: Vec<u8>,
    subject: Option<Vec<u8>>,
    label: String,
    not_before: OffsetDateTime,
    not_after: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
    revoked_reason: Option<String>,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl CredentialRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: CREDENTIAL, id: id.clone(), column };
        let kind: String = row.try_get("kind")?;
        Ok(Self {
            app: row.try_get("app")?,
            kind: CredentialKind::parse(&kind).ok_or_else(|| corrupt("kind"))?,
            material: row.try_get("material")?,
            subject: row.try_get("subject")?,
            label: row.try_get("label")?,
            not_before: instant(row, "not_before")?.ok_or_else(|| corrupt("not_before"))?,
            not_after: instant(row, "not_after")?,
            created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
            revoked_at: instant(row, "revoked_at")?,
            revoked_reason: row.try_get("revoked_reason")?,
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
            id,
        })
    }

    fn image(&self, revision: i64) -> RowImage {
        let seconds = |at: Option<OffsetDateTime>| at.map(OffsetDateTime::unix_timestamp);
        RowImage::new("app_credentials", &self.id, revision)
            .text("app", &self.app)
            .text("kind", self.kind.as_str())
            .octets_or_null("material", Some(&self.material))
            .octets_or_null("subject", self.subject.as_deref())
            .text("label", &self.label)
            .integer("not_before", self.not_before.unix_timestamp())
            .integer_or_null("not_after", seconds(self.not_after))
            .integer("created_at", self.created_at.unix_timestamp())
            .integer_or_null("revoked_at", seconds(self.revoked_at))
            .text_or_null("revoked_reason", self.revoked_reason.as_deref())
    }

    /// Refuses a row that was altered. Without a data key nothing is judged.
    fn judge(&self, protection: &Protection) -> Result<(), StoreError> {
        if !protection.is_unlocked() {
            return Ok(());
        }
        protection.check(&self.image(self.revision), self.code.as_deref().unwrap_or_default())
    }

    /// Whether its material is a secret, and so sealed.
    fn is_sealed(&self) -> bool {
        matches!(self.kind, CredentialKind::HmacSm3 | CredentialKind::HmacSha256)
    }

    /// The row with its secret sealed anew, if another data key protects any of it.
    fn renewed(mut self, protection: &Protection) -> Result<Option<Self>, StoreError> {
        let outdated_code = self.code.as_deref().is_some_and(|code| protection.is_outdated(code));
        let outdated_secret = self.is_sealed() && protection.is_outdated(&self.material);
        if !outdated_code && !outdated_secret {
            return Ok(None);
        }
        self.judge(protection)?; // what was altered must not get a good code
        if self.is_sealed() {
            self.material = protection.reseal(secret_of(&self.id), &self.material)?;
        }
        Ok(Some(self))
    }

    /// For use, its secret opened; none while the secret cannot be opened, so that nothing else is taken for it.
    fn credential(self, protection: &Protection) -> Result<Option<Credential>, StoreError> {
        let corrupt = StoreError::Corrupt { what: CREDENTIAL, id: self.id.clone(), column: "material" };
        let material = if self.is_sealed() {
            match protection.open(secret_of(&self.id), &self.material) {
                Ok(secret) => secret.to_vec(),
                Err(error) => {
                    tracing::warn!(credential = self.id, %error, "a shared secret cannot be opened");
                    return Ok(None);
                }
            }
        } else {
            self.material
        };
        Ok(Some(Credential {
            material: Material::from_columns(self.kind, material, self.subject).ok_or(corrupt)?,
            id: self.id,
            label: self.label,
            not_before: self.not_before,
            not_after: self.not_after,
            created_at: self.created_at,
            revoked: self.revoked_at.map(|at| (at, self.revoked_reason.unwrap_or_default())),
        }))
    }
}

/// Gives a credential that was written the code over the row as it is now. One that had been altered before keeps
/// failing: whoever changes it reads it first.
async fn code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    app: &str,
    id: &str,
) -> Result<(), StoreError> {
    if !protection.codes_rows(connection).await? {
        return Ok(());
    }
    let select = format!("SELECT {COLUMNS} FROM app_credentials WHERE app = $1 AND id = $2");
    let row = query(AssertSqlSafe(select)).bind(app).bind(id).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => write_code(connection, protection, &CredentialRow::read(&row)?).await,
        None => Ok(()),
    }
}

/// The credentials of an app whose rows nobody altered.
pub(crate) async fn sound_of(
    connection: &mut Connection<'_>,
    protection: &Protection,
    app: &AppId,
) -> Result<Vec<String>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM app_credentials WHERE app = $1");
    let mut sound = Vec::new();
    for row in query(AssertSqlSafe(select)).bind(app.as_str()).fetch_all(&mut *connection).await? {
        match CredentialRow::read(&row).and_then(|stored| stored.judge(protection).map(|()| stored.id)) {
            Ok(id) => sound.push(id),
            Err(error) => unusable(error)?,
        }
    }
    Ok(sound)
}

/// Gives credentials of an app the code over their rows as they are now.
pub(crate) async fn code_these(
    connection: &mut Connection<'_>,
    protection: &Protection,
    app: &AppId,
    ids: &[String],
) -> Result<(), StoreError> {
    for id in ids {
        code(connection, protection, app.as_str(), id).await?;
    }
    Ok(())
}

/// Refuses to change a credential that was altered: that must not get a good code.
async fn judge(
    connection: &mut Connection<'_>,
    protection: &Protection,
    app: &AppId,
    id: &str,
) -> Result<(), StoreError> {
    let select = format!("SELECT {COLUMNS} FROM app_credentials WHERE app = $1 AND id = $2");
    let row = query(AssertSqlSafe(select)).bind(app.as_str()).bind(id).fetch_optional(connection).await?;
    match row {
        Some(row) => CredentialRow::read(&row)?.judge(protection),
        None => Err(StoreError::NotFound { what: CREDENTIAL, id: id.to_owned() }),
    }
}

/// Gives every credential the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM app_credentials");
    let rows = query(AssertSqlSafe(select)).fetch_all(&mut *connection).await?;
    for row in &rows {
        write_code(connection, protection, &CredentialRow::read(row)?).await?;
    }
    Ok(rows.len() as u64)
}

/// Protects every credential with a good code anew that another data key protects; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let row = CredentialRow::read(row);
        match row.and_then(|row| row.renewed(protection)) {
            Ok(Some(row)) => {
                query("UPDATE app_credentials SET material = $2 WHERE id = $1")
                    .bind(&row.id)
                    .bind(&row.material)
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
    row: &CredentialRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE app_credentials SET revision = $2, code = $3 WHERE id = $1")
        .bind(&row.id)
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses one more credential than an app may have.
async fn admit(
    connection: &mut Connection<'_>,
    room: Room,
    app: &AppId,
    kind: CredentialKind,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let ever = query("SELECT count(*) AS n FROM app_credentials WHERE app = $1")
        .bind(app.as_str())
        .fetch_one(&mut *connection)
        .await?;
    let in_force = query(
        "SELECT count(*) AS n FROM app_credentials
         WHERE app = $1 AND kind = $2 AND revoked_at IS NULL AND (not_after IS NULL OR not_after > $3)",
    )
    .bind(app.as_str())
    .bind(kind.as_str())
    .bind(at.unix_timestamp())
    .fetch_one(connection)
    .await?;
    room.admit(CREDENTIAL, counted(&in_force)?, counted(&ever)?)
}

async fn write_end(
    connection: &mut Connection<'_>,
    app: &AppId,
    id: &str,
    end: OffsetDateTime,
) -> Result<(), StoreError> {
    let updated = query(
        "UPDATE app_credentials SET not_after = CASE WHEN not_after < $3 THEN not_after ELSE $3 END
         WHERE app = $1 AND id = $2",
    )
    .bind(app.as_str())
    .bind(id)
    .bind(end.unix_timestamp())
    .execute(connection)
    .await?;
    found(updated.rows_affected(), CREDENTIAL, id)
}
