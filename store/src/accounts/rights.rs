//! When a person or an app used what it may do: for the review of rights, to the day.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::database::{instant, query};
use crate::{Store, StoreError};

impl Store {
    /// Notes that a scope was used by whom the audit log calls `holder`.
    pub async fn note_right(&self, holder: &str, scope: &str, at: OffsetDateTime) -> Result<(), StoreError> {
        query(
            "INSERT INTO rights_used (holder, scope, used_at) VALUES ($1, $2, $3)
             ON CONFLICT (holder, scope) DO UPDATE SET used_at = $3 WHERE rights_used.used_at < $3",
        )
        .bind(holder)
        .bind(scope)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// When each scope was used last, by holder.
    pub async fn rights_used(&self) -> Result<HashMap<String, HashMap<String, OffsetDateTime>>, StoreError> {
        let rows = query("SELECT holder, scope, used_at FROM rights_used").fetch_all(self.readers()).await?;
        let mut used: HashMap<String, HashMap<String, OffsetDateTime>> = HashMap::new();
        for row in &rows {
            if let Some(at) = instant(row, "used_at")? {
                used.entry(row.try_get("holder")?).or_default().insert(row.try_get("scope")?, at);
            }
        }
        Ok(used)
    }
}
