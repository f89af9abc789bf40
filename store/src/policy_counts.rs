//! How many signatures of a rule a day has left, for all gateways on the database together. What a gateway takes is on
//! disk before it uses it, so that no crash and no restart lets more through than the rule says.

use config::AppId;

use crate::database::{Connection, query};
use crate::{Store, StoreError};

/// Counts are kept so many days, for whoever asks how much was used.
const KEPT_DAYS: i64 = 62;

const COUNT: &str = "count of a day";

/// What a number of things counts for, of which an app has so many on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayLimit<'a> {
    /// The rule; with a colon where it is of no signing policy.
    pub rule: &'a str,
    /// Counted from 1970-01-01.
    pub day: i64,
    /// How many there are.
    pub limit: u64,
}

/// Takes so many of a day, or none.
///
/// # Errors
/// [`StoreError::Full`] where there are not as many left.
pub(crate) async fn take_all(
    connection: &mut Connection<'_>,
    app: &AppId,
    wanted: u64,
    DayLimit { rule, day, limit }: DayLimit<'_>,
) -> Result<(), StoreError> {
    let granted = take(connection, (app, rule), day, wanted, limit).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    if granted == wanted { Ok(()) } else { Err(StoreError::Full { what: COUNT, most, in_force: true }) }
}

/// Takes up to so many of a day.
async fn take(
    connection: &mut Connection<'_>,
    (app, rule): (&AppId, &str),
    day: i64,
    wanted: u64,
    limit: u64,
) -> Result<u64, StoreError> {
    let row = query("SELECT taken FROM policy_counts WHERE app = $1 AND rule = $2 AND day = $3")
        .bind(app.as_str())
        .bind(rule)
        .bind(day)
        .fetch_optional(&mut *connection)
        .await?;
    let before: Option<i64> = row.map(|row| row.try_get("taken")).transpose()?;
    let taken = u64::try_from(before.unwrap_or(0)).unwrap_or(0);
    let granted = wanted.min(limit.saturating_sub(taken));
    if granted == 0 {
        return Ok(0);
    }
    query(
        "INSERT INTO policy_counts (app, rule, day, taken) VALUES ($1, $2, $3, $4)
         ON CONFLICT (app, rule, day) DO UPDATE SET taken = policy_counts.taken + excluded.taken",
    )
    .bind(app.as_str())
    .bind(rule)
    .bind(day)
    .bind(signed(granted)) // beside what others give back meanwhile
    .execute(&mut *connection)
    .await?;
    if before.is_none() {
        query("DELETE FROM policy_counts WHERE day < $1")
            .bind(day - KEPT_DAYS)
            .execute(&mut *connection)
            .await?;
    }
    Ok(granted)
}

impl Store {
    /// Takes up to `wanted` of the `limit` that a rule has on a day, counted from 1970-01-01; answers how many there
    /// were.
    pub async fn take_of_day(
        &self,
        (app, rule): (&AppId, &str),
        day: i64,
        wanted: u64,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin_write().await?;
        let granted = take(&mut transaction, (app, rule), day, wanted, limit).await?;
        if granted > 0 {
            transaction.commit().await?;
        }
        Ok(granted)
    }

    /// Gives back what was taken and not used.
    pub async fn give_back_to_day(
        &self,
        (app, rule): (&AppId, &str),
        day: i64,
        unused: u64,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE policy_counts SET taken = CASE WHEN taken > $4 THEN taken - $4 ELSE 0 END
             WHERE app = $1 AND rule = $2 AND day = $3",
        )
        .bind(app.as_str())
        .bind(rule)
        .bind(day)
        .bind(signed(unused))
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// How many gateways have taken of a rule on a day: those that were used, and those they hold for later.
    pub async fn taken_of_day(&self, (app, rule): (&AppId, &str), day: i64) -> Result<u64, StoreError> {
        let row = query("SELECT taken FROM policy_counts WHERE app = $1 AND rule = $2 AND day = $3")
            .bind(app.as_str())
            .bind(rule)
            .bind(day)
            .fetch_optional(self.readers())
            .await?;
        let taken: Option<i64> = row.map(|row| row.try_get("taken")).transpose()?;
        Ok(u64::try_from(taken.unwrap_or(0)).unwrap_or(0))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
