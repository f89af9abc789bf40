//! Serial numbers and times of timestamps: none is given twice, over all gateways on the database and over their
//! crashes. What a gateway took and did not use is lost.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::database::{Dialect, query};
use crate::{Moment, Store, StoreError};

/// So far a gateway's clock may be ahead.
const LEEWAY: Duration = Duration::from_secs(60);
/// What is said of one that is further.
const AHEAD: &str = "it is far ahead of the database's, or was set";

/// Serial numbers that belong to whoever took them, and times for as many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampBlock {
    /// The first of the numbers; the others follow it.
    pub first_serial: u64,
    /// How many there are.
    pub count: u32,
    /// The time of the first token, in Unix microseconds, of each other one a microsecond later: later than that of
    /// any block taken before. Nothing if no times were asked for.
    pub first_time_us: Option<u64>,
}

impl Store {
    /// Takes serial numbers; they are taken when this returns, on disk.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn take_serials(&self, count: u32) -> Result<TimestampBlock, StoreError> {
        self.take_block(count, None).await
    }

    /// Takes serial numbers, and times that begin with `now_us` or after the latest time taken, whichever is later.
    ///
    /// # Errors
    /// The database does not answer; [`StoreError::NotAllowed`] for a time that is far ahead of the database's server, or of
    /// what has passed since the start: the latest time never goes back, and every gateway would have to wait for it.
    pub async fn take_ordered(&self, count: u32, now_us: u64) -> Result<TimestampBlock, StoreError> {
        self.take_block(count, Some(now_us)).await
    }

    async fn take_block(&self, count: u32, now_us: Option<u64>) -> Result<TimestampBlock, StoreError> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let times = match now_us {
            // The latest is the one before the first, or the last one taken.
            Some(now) => whole(now.saturating_sub(1)),
            None => -1,
        };
        let latest = (self.reckoned(Moment::now()) + LEEWAY).unix_timestamp_nanos() / 1_000;
        let latest = i64::try_from(latest).unwrap_or(i64::MAX);
        let bound = match self.dialect() {
            Dialect::Sqlite => "$3".to_owned(), // its clock is this one
            Dialect::Postgres => {
                let micros = LEEWAY.as_micros();
                format!(
                    "LEAST($3, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) + {micros})"
                )
            }
        };
        let take = format!(
            "UPDATE timestamp_counter SET next_serial = next_serial + $1,
                 latest_us = CASE WHEN $2 < 0 THEN latest_us
                     ELSE CASE WHEN latest_us > $2 THEN latest_us ELSE $2 END + $1 END
             WHERE one = 1 AND $2 <= {bound} RETURNING next_serial, latest_us"
        );
        let take = query(AssertSqlSafe(take)).bind(count).bind(times).bind(latest);
        let _turn = self.turns().take().await;
        let ahead = || StoreError::NotAllowed {
            what: "clock",
            id: "this gateway".to_owned(),
            state: "ahead",
            reason: AHEAD,
        };
        let row = take.fetch_optional(self.writer()).await?.ok_or_else(ahead)?;
        let number = |column| -> Result<u64, StoreError> {
            let corrupt = || StoreError::Corrupt { what: "counter", id: "timestamps".to_owned(), column };
            let end = u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt())?;
            end.checked_sub(u64::from(count)).ok_or_else(corrupt)
        };
        let first_time_us = match now_us {
            Some(_) => Some(number("latest_us")? + 1),
            None => None,
        };
        Ok(TimestampBlock { first_serial: number("next_serial")?, count, first_time_us })
    }
}
