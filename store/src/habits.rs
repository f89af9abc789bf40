//! What callers usually do, as far as gateways have learnt it: a text for each that the gateway makes and reads.

use time::OffsetDateTime;

use crate::database::query;
use crate::{Store, StoreError};

impl Store {
    /// The habits of at most so many callers, those seen last first, each with the caller's name on record.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn habits(&self, most: u32) -> Result<Vec<(String, String)>, StoreError> {
        let rows = query("SELECT actor, habits FROM caller_habits ORDER BY changed_at DESC LIMIT $1")
            .bind(i64::from(most))
            .fetch_all(self.readers())
            .await?;
        let read = |row: &crate::database::Row| Ok((row.try_get("actor")?, row.try_get("habits")?));
        rows.iter().map(read).collect()
    }

    /// Keeps habits, all or none. Those of a caller that are there already, as another gateway wrote them, are merged
    /// with by `merge` (there, own); answers what is there then where it is not what was given.
    ///
    /// # Errors
    /// The database does not answer; [`StoreError::RuleBroken`] for an actor without a name or with one that is too long.
    pub async fn merge_habits(
        &self,
        own: &[(String, String)],
        at: OffsetDateTime,
        merge: impl Fn(&str, &str) -> String + Send + Sync,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut other = Vec::new();
        for (actor, habits) in own {
            let kept = query("SELECT habits FROM caller_habits WHERE actor = $1")
                .bind(actor)
                .fetch_optional(&mut *transaction)
                .await?;
            let text = match kept {
                None => habits.clone(),
                Some(row) => {
                    let text = merge(row.try_get("habits")?, habits);
                    if text != *habits {
                        other.push((actor.clone(), text.clone()));
                    }
                    text
                }
            };
            query(
                "INSERT INTO caller_habits (actor, habits, changed_at) VALUES ($1, $2, $3)
                 ON CONFLICT (actor) DO UPDATE SET habits = excluded.habits, changed_at = excluded.changed_at",
            )
            .bind(actor)
            .bind(text)
            .bind(at.unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert("habits", actor, error))?;
        }
        transaction.commit().await?;
        Ok(other)
    }

    /// Forgets the habits of callers who were not seen since.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn forget_habits(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let forget = query("DELETE FROM caller_habits WHERE changed_at < $1").bind(before.unix_timestamp());
        Ok(forget.execute(self.writer()).await?.rows_affected())
    }
}
