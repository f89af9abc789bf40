//! What each device did, minute by minute, later by the quarter of an hour.
//!
//! Recent minutes are kept as they came; [`Store::downsample_device_history`] merges older ones and drops the
//! oldest. Times are kept in whole seconds and begin on multiples of their span since 1970.

use std::collections::BTreeMap;
use std::time::Duration;

use config::DeviceId;
use time::OffsetDateTime;

use crate::database::{Connection, Row, query};
use crate::{Store, StoreError};

const DEVICE: &str = "history of device";
const MINUTE: i64 = 60;
const QUARTER: i64 = 900;

/// What a device did in some span of time.
///
/// The percentiles of merged spans are estimates: p50 and p90 are means weighted by the signatures, p99 is the
/// largest of the parts' and so never too small. The other figures are exact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceFigures {
    /// The state at the end of the span, one of the words of `hsm-driver`.
    pub state: String,
    /// Seconds in each state.
    pub seconds_in: BTreeMap<String, u32>,
    /// Signatures delivered.
    pub signed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// How often each error occurred, by its code.
    pub errors: BTreeMap<String, u64>,
    /// Median time of a signature in the device, microseconds; 0 with none.
    pub p50_us: u64,
    /// 90th percentile, microseconds.
    pub p90_us: u64,
    /// 99th percentile, microseconds.
    pub p99_us: u64,
    /// The slowest, microseconds.
    pub max_us: u64,
    /// Most requests in flight and waiting.
    pub max_load: u64,
    /// Sessions in use at the end of the span.
    pub lanes: u64,
    /// Workers started.
    pub worker_starts: u64,
    /// Workers lost.
    pub crashes: u64,
    /// Outcome of the last self-test in the span: `passed` or the code of its failure.
    pub self_test: Option<String>,
}

/// What a device did in the minute that holds `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMinute {
    /// The device.
    pub device: DeviceId,
    /// Any time within the minute.
    pub at: OffsetDateTime,
    /// What it did.
    pub figures: DeviceFigures,
}

/// What a device did from `start` on for the span's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpan {
    /// When the span begins.
    pub start: OffsetDateTime,
    /// How long it is: the step asked for, or a quarter of an hour where nothing finer is kept.
    pub length: Duration,
    /// What the device did.
    pub figures: DeviceFigures,
}

/// What one run of [`Store::downsample_device_history`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Downsampled {
    /// Minutes that went into quarters of an hour.
    pub merged: u64,
    /// Rows that were past their time.
    pub dropped: u64,
}

impl DeviceFigures {
    /// Adds the figures of a later part of the same span.
    pub fn merge(&mut self, later: DeviceFigures) {
        let weigh = |mine: u64, other: u64| {
            let (before, after) = (u128::from(self.signed), u128::from(later.signed));
            let sum = u128::from(mine) * before + u128::from(other) * after;
            sum.checked_div(before + after)
                .and_then(|mean| u64::try_from(mean).ok())
                .unwrap_or(mine.max(other))
        };
        (self.p50_us, self.p90_us) = (weigh(self.p50_us, later.p50_us), weigh(self.p90_us, later.p90_us));
        self.p99_us = self.p99_us.max(later.p99_us);
        self.max_us = self.max_us.max(later.max_us);
        self.max_load = self.max_load.max(later.max_load);
        for (state, seconds) in later.seconds_in {
            let sum = self.seconds_in.entry(state).or_default();
            *sum = sum.saturating_add(seconds);
        }
        for (code, count) in later.errors {
            let sum = self.errors.entry(code).or_default();
            *sum = sum.saturating_add(count);
        }
        for (sum, more) in [
            (&mut self.signed, later.signed),
            (&mut self.failed, later.failed),
            (&mut self.worker_starts, later.worker_starts),
            (&mut self.crashes, later.crashes),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.state = later.state;
        self.lanes = later.lanes;
        self.self_test = later.self_test.or(self.self_test.take());
    }
}

impl Store {
    /// Records minutes, all or none. A minute that is there already, as after a restart within it, is added to.
    ///
    /// # Errors
    /// [`StoreError::RuleBroken`] for a word that is no state of a device.
    pub async fn record_device_minutes(&self, minutes: &[DeviceMinute]) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        for minute in minutes {
            let start = begin_of(minute.at.unix_timestamp(), MINUTE);
            add(&mut transaction, minute.device.as_str(), MINUTE, start, minute.figures.clone()).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What a device did in spans of `step` that begin in `from..to`, oldest first; spans of which nothing is
    /// known are left out. A step is at least a minute; spans begin on multiples of the step since 1970.
    pub async fn device_history(
        &self,
        device: &DeviceId,
        from: OffsetDateTime,
        to: OffsetDateTime,
        step: Duration,
    ) -> Result<Vec<DeviceSpan>, StoreError> {
        let step = seconds(step).max(MINUTE);
        let rows = query(
            "SELECT * FROM device_history WHERE device = $1 AND span IN (60, 900) AND start >= $2 AND start < $3
             ORDER BY start, span DESC",
        )
        .bind(device.as_str())
        .bind(end_of(from.unix_timestamp(), step))
        .bind(end_of(to.unix_timestamp(), step))
        .fetch_all(self.readers())
        .await?;
        let mut spans: Vec<DeviceSpan> = Vec::new();
        for row in &rows {
            let (span, start): (i64, i64) = (row.try_get("span")?, row.try_get("start")?);
            let figures = figures(row, device.as_str())?;
            let start = begin_of(start, step);
            let corrupt = || StoreError::Corrupt { what: DEVICE, id: device.to_string(), column: "start" };
            let start = OffsetDateTime::from_unix_timestamp(start).map_err(|_| corrupt())?;
            match spans.last_mut().filter(|last| last.start == start) {
                Some(last) => last.figures.merge(figures),
                None => {
                    let length = Duration::from_secs(step.max(span).unsigned_abs());
                    spans.push(DeviceSpan { start, length, figures });
                }
            }
        }
        Ok(spans)
    }

    /// Merges minutes older than `keep_minutes` into quarters of an hour and drops what is older than
    /// `keep_total`. Each quarter is a transaction of its own, so that others can write in between.
    pub async fn downsample_device_history(
        &self,
        now: OffsetDateTime,
        keep_minutes: Duration,
        keep_total: Duration,
    ) -> Result<Downsampled, StoreError> {
        let now = now.unix_timestamp();
        let mut done = Downsampled::default();
        let oldest = now.saturating_sub(seconds(keep_total));
        let dropped = query("DELETE FROM device_history WHERE span IN (60, 900) AND start + span <= $1")
            .bind(oldest)
            .execute(self.writer())
            .await?;
        done.dropped = dropped.rows_affected();
        // Only whole quarters: a minute that comes late is added to its quarter in the next run.
        let limit = begin_of(now.saturating_sub(seconds(keep_minutes)), QUARTER);
        loop {
            let mut transaction = self.begin_write().await?;
            let next: Option<i64> =
                query("SELECT min(start) FROM device_history WHERE span = 60 AND start < $1")
                    .bind(limit)
                    .fetch_one(&mut *transaction)
                    .await?
                    .try_get(0)?;
            let Some(next) = next else { break };
            done.merged += merge_quarter(&mut transaction, begin_of(next, QUARTER)).await?;
            transaction.commit().await?;
        }
        Ok(done)
    }
}

/// Moves the minutes of one quarter of an hour into its row, for each device that has some.
async fn merge_quarter(connection: &mut Connection<'_>, start: i64) -> Result<u64, StoreError> {
    let minutes = "span = 60 AND start >= $1 AND start < $1 + 900";
    let select = format!("SELECT * FROM device_history WHERE {minutes} ORDER BY device, start");
    let rows = query(sqlx::AssertSqlSafe(select)).bind(start).fetch_all(&mut *connection).await?;
    let mut by_device: BTreeMap<String, DeviceFigures> = BTreeMap::new();
    for row in &rows {
        let device: String = row.try_get("device")?;
        let later = figures(row, &device)?;
        match by_device.get_mut(&device) {
            Some(sum) => sum.merge(later),
            None => drop(by_device.insert(device, later)),
        }
    }
    for (device, figures) in by_device {
        add(connection, &device, QUARTER, start, figures).await?;
    }
    let delete = format!("DELETE FROM device_history WHERE {minutes}");
    let deleted = query(sqlx::AssertSqlSafe(delete)).bind(start).execute(connection).await?;
    Ok(deleted.rows_affected())
}

/// Writes a row, or adds to the one that is there.
async fn add(
    connection: &mut Connection<'_>,
    device: &str,
    span: i64,
    start: i64,
    mut new: DeviceFigures,
) -> Result<(), StoreError> {
    let there = query("SELECT * FROM device_history WHERE device = $1 AND span = $2 AND start = $3")
        .bind(device)
        .bind(span)
        .bind(start)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = there {
        let mut sum = figures(&row, device)?;
        sum.merge(new);
        new = sum;
    }
    query(
        "INSERT INTO device_history (device, span, start, state, seconds_in, signed, failed, errors, p50_us,
             p90_us, p99_us, max_us, max_load, lanes, worker_starts, crashes, self_test)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (device, span, start) DO UPDATE SET state = excluded.state,
             seconds_in = excluded.seconds_in, signed = excluded.signed, failed = excluded.failed,
             errors = excluded.errors, p50_us = excluded.p50_us, p90_us = excluded.p90_us,
             p99_us = excluded.p99_us, max_us = excluded.max_us, max_load = excluded.max_load,
             lanes = excluded.lanes, worker_starts = excluded.worker_starts, crashes = excluded.crashes,
             self_test = excluded.self_test",
    )
    .bind(device)
    .bind(span)
    .bind(start)
    .bind(&new.state)
    .bind(json(&new.seconds_in))
    .bind(integer(new.signed))
    .bind(integer(new.failed))
    .bind(json(&new.errors))
    .bind(integer(new.p50_us))
    .bind(integer(new.p90_us))
    .bind(integer(new.p99_us))
    .bind(integer(new.max_us))
    .bind(integer(new.max_load))
    .bind(integer(new.lanes))
    .bind(integer(new.worker_starts))
    .bind(integer(new.crashes))
    .bind(&new.self_test)
    .execute(connection)
    .await
    .map_err(|error| StoreError::from_insert(DEVICE, device, error))?;
    Ok(())
}

fn figures(row: &Row, device: &str) -> Result<DeviceFigures, StoreError> {
    let corrupt = |column| StoreError::Corrupt { what: DEVICE, id: device.to_owned(), column };
    let count = |column| u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt(column));
    Ok(DeviceFigures {
        state: row.try_get("state")?,
        seconds_in: serde_json::from_str(row.try_get("seconds_in")?).map_err(|_| corrupt("seconds_in"))?,
        signed: count("signed")?,
        failed: count("failed")?,
        errors: serde_json::from_str(row.try_get("errors")?).map_err(|_| corrupt("errors"))?,
        p50_us: count("p50_us")?,
        p90_us: count("p90_us")?,
        p99_us: count("p99_us")?,
        max_us: count("max_us")?,
        max_load: count("max_load")?,
        lanes: count("lanes")?,
        worker_starts: count("worker_starts")?,
        crashes: count("crashes")?,
        self_test: row.try_get("self_test")?,
    })
}

fn json<T: serde::Serialize>(counts: &BTreeMap<String, T>) -> String {
    serde_json::to_string(counts).expect("a map from strings to numbers is always JSON")
}

/// What no counter reaches is cut rather than refused.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

/// The multiple of `span` at or before a time.
fn begin_of(at: i64, span: i64) -> i64 {
    at.div_euclid(span).saturating_mul(span)
}

/// The multiple of `span` at or after a time.
fn end_of(at: i64, span: i64) -> i64 {
    begin_of(at.saturating_add(span - 1), span)
}
