//! Where apps are told what concerns them: an address and a secret for each. Whoever changes the address reads what an
//! app is told, so that every row carries a code; the secret is sealed.

use config::{AppId, Secret};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::apps::{self, unusable};
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::terms::Terms;
use crate::{Store, StoreError};

pub(crate) const WEBHOOK: &str = "webhook";
const COLUMNS: &str = "app, id, url, secret, set_at, revision, code";

/// A webhook to be registered.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Of this registration.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Of HMAC-SHA256.
    pub secret: Secret<Vec<u8>>,
}

/// Where an app is told what concerns it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The app.
    pub app: AppId,
    /// Of this registration.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Of HMAC-SHA256.
    pub secret: Secret<Vec<u8>>,
    /// Since when; whole seconds are kept.
    pub set_at: OffsetDateTime,
}

impl Store {
    /// Registers an app's webhook, in place of the one that it had: what is on its way goes to the new address.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an app that there is not; [`StoreError::Changed`]; [`StoreError::Locked`] without a data
    /// key.
    pub async fn set_webhook(
        &self,
        app: &AppId,
        new: &NewWebhook,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let terms = terms.into();
        let secret = self.protection().seal(secret_of(app.as_str()), new.secret.expose())?;
        let mut transaction = self.begin_write().await?;
        apps::judge(&mut transaction, self.protection(), app).await?;
        terms.hold_in_register(&mut transaction, WEBHOOK, app.as_str()).await?;
        // One that comes after one that was removed begins above all its revisions: else it would look put back.
        query(
            "INSERT INTO webhooks (app, id, url, secret, set_at, revision)
             VALUES ($1, $2, $3, $4, $5, (SELECT revision FROM app_register))
             ON CONFLICT (app) DO UPDATE SET id = excluded.id, url = excluded.url, secret = excluded.secret,
                 set_at = excluded.set_at",
        )
        .bind(app.as_str())
        .bind(&new.id)
        .bind(&new.url)
        .bind(secret)
        .bind(terms.at.unix_timestamp())
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(WEBHOOK, app.as_str(), error))?;
        code(&mut transaction, self.protection(), app.as_str()).await?;
        // What somebody approved while the app was told elsewhere is not what is there now.
        apps::raise_revision(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes an app's webhook away. What is on its way there has nowhere to go from then on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is none.
    pub async fn remove_webhook(&self, app: &AppId) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let missing = || StoreError::NotFound { what: WEBHOOK, id: app.to_string() };
        let row = row_of(&mut transaction, app.as_str()).await?.ok_or_else(missing)?;
        // Also of a row that is not as a gateway wrote it: its revision may be remembered. Half of all numbers stay.
        let revision = row.try_get::<i64, _>("revision")?.min(i64::MAX / 2);
        let delete = query("DELETE FROM webhooks WHERE app = $1").bind(app.as_str());
        delete.execute(&mut *transaction).await?;
        // The next one of the app begins above it: see `set_webhook`.
        apps::raise_revision_above(&mut transaction, revision).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// An app's webhook, if it has one.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when the row is not as a gateway wrote it; [`StoreError::Locked`] without a data key.
    pub async fn webhook(&self, app: &AppId) -> Result<Option<Webhook>, StoreError> {
        let row = row_of(&mut *self.begin_read().await?, app.as_str()).await?;
        row.map(|row| WebhookRow::read(&row)?.judged(self.protection())).transpose()
    }
}

/// Whether an app has one.
pub(crate) async fn is_registered(connection: &mut Connection<'_>, app: &AppId) -> Result<bool, StoreError> {
    let found = query("SELECT 1 FROM webhooks WHERE app = $1").bind(app.as_str());
    Ok(found.fetch_optional(connection).await?.is_some())
}

/// Where a secret stands.
fn secret_of(app: &str) -> Cell<'_> {
    Cell { table: "webhooks", column: "secret", row: app }
}

/// A row with the code over it.
struct WebhookRow {
    app: AppId,
    id: String,
    url: String,
    secret: Vec<u8>,
    set_at: OffsetDateTime,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl WebhookRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let app: String = row.try_get("app")?;
        let corrupt = |column| StoreError::Corrupt { what: WEBHOOK, id: app.clone(), column };
        Ok(Self {
            app: AppId::parse(&app).map_err(|_| corrupt("app"))?,
            id: row.try_get("id")?,
            url: row.try_get("url")?,
            secret: row.try_get("secret")?,
            set_at: instant(row, "set_at")?.ok_or_else(|| corrupt("set_at"))?,
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
        })
    }

    fn image(&self, revision: i64) -> RowImage {
        RowImage::new("webhooks", self.app.as_str(), revision)
            .text("id", &self.id)
            .text("url", &self.url)
            .octets_or_null("secret", Some(&self.secret))
            .integer("set_at", self.set_at.unix_timestamp())
    }

    /// Its revision; refuses a row that was altered.
    fn judged_revision(&self, protection: &Protection) -> Result<i64, StoreError> {
        protection.check(&self.image(self.revision), self.code.as_deref().unwrap_or_default())?;
        Ok(self.revision)
    }

    /// With its secret opened; refuses a row that was altered.
    fn judged(self, protection: &Protection) -> Result<Webhook, StoreError> {
        self.judged_revision(protection)?;
        let secret = protection.open(secret_of(self.app.as_str()), &self.secret)?;
        let Self { app, id, url, set_at, .. } = self;
        Ok(Webhook { app, id, url, secret: Secret::new(secret.to_vec()), set_at })
    }
}

async fn row_of(connection: &mut Connection<'_>, app: &str) -> Result<Option<Row>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM webhooks WHERE app = $1");
    Ok(query(AssertSqlSafe(select)).bind(app).fetch_optional(connection).await?)
}

/// Protects every row with a good code anew that another data key protects; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let row = WebhookRow::read(row).and_then(|row| row.judged_revision(protection).map(|_| row));
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                unusable(error)?;
                continue;
            }
        };
        let protected = [row.code.as_deref(), Some(row.secret.as_slice())];
        if protected.into_iter().flatten().any(|stored| protection.is_outdated(stored)) {
            query("UPDATE webhooks SET secret = $2 WHERE app = $1")
                .bind(row.app.as_str())
                .bind(protection.reseal(secret_of(row.app.as_str()), &row.secret)?)
                .execute(&mut *connection)
                .await?;
            code(connection, protection, row.app.as_str()).await?;
            renewed += 1;
        }
    }
    Ok(renewed)
}

/// Gives a row that was written the code over it as it is now.
async fn code(connection: &mut Connection<'_>, protection: &Protection, app: &str) -> Result<(), StoreError> {
    let row = row_of(connection, app).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: WEBHOOK, id: app.to_owned() })?;
    let row = WebhookRow::read(&row)?;
    let revision = row.revision + 1;
    query("UPDATE webhooks SET revision = $2, code = $3 WHERE app = $1")
        .bind(app)
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}
