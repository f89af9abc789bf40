//! Requests for logins that apps pushed (RFC 9126). They are kept as digests of their names, sealed, and fetched once by the app that
//! pushed them.

use config::AppId;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::database::query;
use crate::protection::Cell;
use crate::{Store, StoreError};

/// A request to be kept until a browser comes with its name.
pub struct NewPushed<'p> {
    /// SM3 of its name.
    pub digest: [u8; 32],
    /// Who pushes it.
    pub app: &'p AppId,
    /// What is asked, JSON.
    pub request: &'p [u8],
    /// From when until when it holds; whole seconds.
    pub times: (OffsetDateTime, OffsetDateTime),
    /// How many of the app, and of all apps, may hold at a time.
    pub most: (u32, u32),
}

impl Store {
    /// Keeps a request; false if as many hold as may.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key; [`StoreError::Query`] when the database does not answer.
    pub async fn push_request(&self, new: &NewPushed<'_>) -> Result<bool, StoreError> {
        let place = place(&new.digest, new.app);
        let request = self.protection().seal(request_of(&place), new.request)?;
        let kept = query(
            "INSERT INTO oidc_pushed (digest, app, request, ends_at)
             SELECT $1, $2, $3, $4
             WHERE (SELECT COUNT(*) FROM oidc_pushed WHERE app = $2 AND ends_at > $5) < $6
             AND (SELECT COUNT(*) FROM oidc_pushed WHERE ends_at > $5) < $7",
        )
        .bind(&new.digest[..])
        .bind(new.app.as_str())
        .bind(request)
        .bind(new.times.1.unix_timestamp())
        .bind(new.times.0.unix_timestamp())
        .bind(i64::from(new.most.0))
        .bind(i64::from(new.most.1))
        .execute(self.writer())
        .await?;
        Ok(kept.rows_affected() == 1)
    }

    /// Takes the request of this name that an app pushed; none if it pushed none, it was taken before or its time is over.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what was not sealed for it; [`StoreError::Locked`] without a data key.
    pub async fn take_pushed(
        &self,
        digest: &[u8; 32],
        app: &AppId,
        at: OffsetDateTime,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        // What belongs to somebody else stays where it is.
        let taken = query(
            "DELETE FROM oidc_pushed WHERE digest = $1 AND app = $2 AND ends_at > $3 RETURNING request",
        )
        .bind(&digest[..])
        .bind(app.as_str())
        .bind(at.unix_timestamp())
        .fetch_optional(self.writer())
        .await?;
        let Some(row) = taken else { return Ok(None) };
        let sealed: Vec<u8> = row.try_get("request")?;
        let place = place(digest, app);
        self.protection().open(request_of(&place), &sealed).map(Some)
    }

    /// Takes away requests whose time was over before one. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn forget_pushed(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let removed = query("DELETE FROM oidc_pushed WHERE ends_at < $1").bind(before.unix_timestamp());
        Ok(removed.execute(self.writer()).await?.rows_affected())
    }
}

/// A request opens under its own name and for its own app only.
fn request_of(place: &str) -> Cell<'_> {
    Cell { table: "oidc_pushed", column: "request", row: place }
}

fn place(digest: &[u8; 32], app: &AppId) -> String {
    format!("{} {app}", hex::encode(digest))
}
