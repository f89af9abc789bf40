//! Documents that apps sent to be stamped: called by what they are, each app's for itself.

use config::AppId;
use time::OffsetDateTime;

use crate::blobs::Blob;
use crate::database::{Row, instant, query};
use crate::{Store, StoreError};

pub(super) const UPLOAD: &str = "upload";

/// A document that an app sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where it is kept, and its digest.
    pub blob: Blob,
    /// Until when it is there at least; whole seconds.
    pub expires_at: OffsetDateTime,
}

/// How much of an app's uploads is kept at a time.
#[derive(Debug, Clone, Copy)]
pub struct UploadRoom {
    /// Octets.
    pub octets: u64,
    /// Uploads.
    pub count: u64,
}

impl Store {
    /// Keeps documents of one app that were written, until then; all of them or none. Answers of each what it is found by
    /// and whether it is new: one that the app sent before lives longer, and the blob that came now is not wanted.
    ///
    /// # Errors
    /// [`StoreError::Full`] where the app's room does not hold them.
    pub async fn keep_uploads(
        &self,
        blobs: &[Blob],
        room: UploadRoom,
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<(Upload, bool)>, StoreError> {
        let Some(app) = blobs.first().map(|blob| &blob.app) else { return Ok(Vec::new()) };
        let mut transaction = self.begin_write().await?;
        let used = query(USED).bind(app.as_str()).fetch_one(&mut *transaction).await?;
        let (mut octets, mut count) = read_used(&used)?;
        let mut kept = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let sm3 = hex::encode(blob.sm3);
            let extended = query(
                "UPDATE uploads SET expires_at = CASE WHEN expires_at > $3 THEN expires_at ELSE $3 END
                 WHERE app = $1 AND sm3 = $2 RETURNING sm3, octets, blob, expires_at",
            );
            let extended = extended.bind(app.as_str()).bind(&sm3).bind(expires_at.unix_timestamp());
            if let Some(row) = extended.fetch_optional(&mut *transaction).await? {
                kept.push((read(app, &row)?, false));
                continue;
            }
            (octets, count) = (octets.saturating_add(blob.octets), count + 1);
            if octets > room.octets || count > room.count {
                let most = usize::try_from(room.octets).unwrap_or(usize::MAX);
                return Err(StoreError::Full { what: UPLOAD, most, in_force: true });
            }
            query(
                "INSERT INTO uploads (app, sm3, octets, blob, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(app.as_str())
            .bind(&sm3)
            .bind(i64::try_from(blob.octets).unwrap_or(i64::MAX))
            .bind(&blob.name)
            .bind(now.unix_timestamp())
            .bind(expires_at.unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert(UPLOAD, &sm3, error))?;
            let expires_at = expires_at.replace_nanosecond(0).unwrap_or(expires_at);
            kept.push((Upload { blob: blob.clone(), expires_at }, true));
        }
        transaction.commit().await?;
        Ok(kept)
    }

    /// How many octets of an app are kept, and how many uploads.
    pub async fn upload_use(&self, app: &AppId) -> Result<(u64, u64), StoreError> {
        read_used(&query(USED).bind(app.as_str()).fetch_one(self.readers()).await?)
    }

    /// An app's document of this digest, hexadecimal, if its time is not over.
    pub async fn upload(
        &self,
        app: &AppId,
        sm3: &str,
        now: OffsetDateTime,
    ) -> Result<Option<Upload>, StoreError> {
        if sm3.contains('\0') {
            return Ok(None); // PostgreSQL takes none
        }
        let row = query(
            "SELECT sm3, octets, blob, expires_at FROM uploads WHERE app = $1 AND sm3 = $2 AND expires_at > $3",
        )
        .bind(app.as_str())
        .bind(sm3)
        .bind(now.unix_timestamp())
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(|row| read(app, row)).transpose()
    }

    /// Forgets documents whose time is over and that no job waits for, some at a time; answers their blobs.
    pub async fn forget_uploads(&self, now: OffsetDateTime) -> Result<Vec<String>, StoreError> {
        const MOST: i64 = 500;
        let mut transaction = self.begin_write().await?;
        let rows = query(
            "DELETE FROM uploads WHERE blob IN (
                 SELECT blob FROM uploads u WHERE u.expires_at <= $1 AND NOT EXISTS (
                     SELECT 1 FROM stamp_job_documents d
                     WHERE d.source = u.blob AND d.state IN ('waiting', 'working')
                 ) ORDER BY u.expires_at LIMIT $2
             ) RETURNING blob",
        );
        let rows = rows.bind(now.unix_timestamp()).bind(MOST).fetch_all(&mut *transaction).await?;
        let blobs = rows.iter().map(|row| row.try_get("blob")).collect::<Result<_, _>>()?;
        transaction.commit().await?;
        Ok(blobs)
    }
}

const USED: &str =
    "SELECT CAST(COALESCE(sum(octets), 0) AS BIGINT) AS octets, count(*) AS n FROM uploads WHERE app = $1";

fn read_used(row: &Row) -> Result<(u64, u64), StoreError> {
    let count = |column| Ok::<_, StoreError>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
    Ok((count("octets")?, count("n")?))
}

fn read(app: &AppId, row: &Row) -> Result<Upload, StoreError> {
    let name: String = row.try_get("sm3")?;
    let corrupt = |column| StoreError::Corrupt { what: UPLOAD, id: name.clone(), column };
    let mut sm3 = [0; 32];
    hex::decode_to_slice(&name, &mut sm3).map_err(|_| corrupt("sm3"))?;
    let octets = u64::try_from(row.try_get::<i64, _>("octets")?).map_err(|_| corrupt("octets"))?;
    let expires_at = instant(row, "expires_at")?.ok_or_else(|| corrupt("expires_at"))?;
    Ok(Upload { blob: Blob { name: row.try_get("blob")?, app: app.clone(), octets, sm3 }, expires_at })
}
