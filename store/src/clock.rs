//! By which time what is kept counts as over.
//!
//! What is removed cannot be had back, and a clock can be set: by hand, by a time server that lies, by a virtual machine
//! that goes on after a pause. So what is kept for a time is held against the clock that only ever goes on, and what is
//! removed against the database's server too. A time that lags only keeps things longer.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::database::{Dialect, query};
use crate::{Store, StoreError};

/// So far the wall clock may be ahead of the steady one since the start: clocks are set by seconds, not by minutes.
const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the system clock, which can be set.
    pub wall: OffsetDateTime,
    /// By the one that only ever goes on.
    pub steady: Instant,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall: OffsetDateTime::now_utc(), steady: Instant::now() }
    }

    /// By the wall clock of a later moment, but not later than the steady clock lets it be.
    fn reckoned(self, now: Self) -> OffsetDateTime {
        let passed = now.steady.saturating_duration_since(self.steady);
        now.wall.min(self.wall.saturating_add(time::Duration::try_from(passed + LEEWAY).unwrap_or_default()))
    }
}

impl Store {
    /// The time by which something that is kept may count as over: the wall clock's, but not far ahead of what has passed
    /// since the store was opened.
    #[must_use]
    pub fn reckoned(&self, now: Moment) -> OffsetDateTime {
        self.opened().reckoned(now)
    }

    /// The time by which rows may be removed for good: [`Store::reckoned`], and not later than it is at the database's
    /// server, by which other gateways' rows count too.
    ///
    /// # Errors
    /// The database fails; then nothing is to be removed.
    pub async fn time_to_remove(&self, now: Moment) -> Result<OffsetDateTime, StoreError> {
        let reckoned = self.reckoned(now);
        Ok(self.server_time().await?.map_or(reckoned, |server| server.min(reckoned)))
    }

    /// How far the clock of the database's server is ahead of this machine's; nothing where both are one machine.
    ///
    /// # Errors
    /// The database fails.
    pub async fn server_clock_offset(&self) -> Result<Option<time::Duration>, StoreError> {
        let asked = Moment::now();
        let Some(server) = self.server_time().await? else { return Ok(None) };
        // By the steady clock: one that is set meanwhile does not count twice.
        let half = time::Duration::try_from(asked.steady.elapsed() / 2).unwrap_or_default();
        Ok(Some(server - (asked.wall + half)))
    }

    async fn server_time(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let text = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS millis";
        let row = query(text).fetch_one(self.readers()).await?;
        let millis: i64 = row.try_get("millis")?;
        let corrupt = |_| StoreError::Corrupt {
            what: "clock",
            id: "the database's server".to_owned(),
            column: "millis",
        };
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).map(Some).map_err(corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_lets_nothing_be_over_sooner() {
        let start = Moment::now();
        let after = |wall: time::Duration, steady: u64| {
            let now = Moment { wall: start.wall + wall, steady: start.steady + Duration::from_secs(steady) };
            start.reckoned(now) - start.wall
        };
        let hour = time::Duration::hours(1);
        assert_eq!(after(hour, 3600), hour);
        assert_eq!(after(hour + time::Duration::minutes(4), 3600), hour + time::Duration::minutes(4));
        assert_eq!(after(time::Duration::days(26_000), 3600), hour + time::Duration::minutes(5));
        assert_eq!(after(-hour, 3600), -hour, "a clock that is set back only keeps things longer");
    }
}
