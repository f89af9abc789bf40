//! Usage statistics (应用情况统计): how often each app used what, by day, business item, result and region.
//!
//! They are counted from the audit logs and from nothing else, each entry once: how far a log is counted moves in the
//! transaction that adds what its entries count for. So they can be counted again at any time, and come out the same.

mod measure;

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

pub use measure::{UsageKey, usage_day};

use crate::audit::{Archive, ArchiveError, LogId};
use crate::database::{Row, query};
use crate::words::words;
use crate::{Store, StoreError};

/// Entries that are counted in one transaction, about.
const AT_ONCE: usize = 16_384;
/// Most rows of one answer: one more than a page, which tells whether there are more.
const PAGE: u32 = 1001;
/// Differences that a recount tells one by one.
const MOST_TOLD: usize = 100;

const USAGE: &str = "usage statistics";

words! {
    /// By what uses are kept apart.
    UsageColumn {
        /// The day, in China Standard Time.
        Day = "day",
        /// Who used it.
        App = "app",
        /// What was asked for, as the log has it.
        Action = "action",
        /// What for.
        Flow = "flow",
        /// The business item.
        Item = "item",
        /// How it ended.
        Result = "result",
        /// Where the license's holder is registered.
        Region = "region",
    }
}

/// Which uses are wanted, and kept apart by what.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// The first day: [`usage_day`].
    pub from: i64,
    /// The last day.
    pub to: i64,
    /// By what they are kept apart, in this order; together where nothing is named.
    pub by: Vec<UsageColumn>,
    /// Of this app.
    pub app: Option<String>,
    /// What was asked for; a word that ends in `.` stands for all actions that begin with it.
    pub action: Option<String>,
    /// Of this business item.
    pub item: Option<String>,
    /// That ended so.
    pub result: Option<String>,
    /// In this division, or a part of it: its first digits.
    pub region: Option<String>,
    /// Rows to pass over.
    pub offset: u32,
    /// Most rows in the answer, 1,001 at most.
    pub limit: u32,
}

/// How often what is the same in the columns that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// What it is in each of the columns, in the order they were asked for; a day as its number.
    pub values: Vec<String>,
    /// How often.
    pub uses: u64,
}

/// What became of the entries that were to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// So many were counted; there may be more.
    Entries(u64),
    /// There were none.
    Nothing,
    /// Somebody else was counting.
    Forestalled,
    /// The next one is not there now: it is in an archive that cannot be read here.
    Waiting,
}

/// How far a log is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageProgress {
    /// Which log.
    pub log: LogId,
    /// How many of its entries, from the first.
    pub counted: u64,
}

/// A count that is not what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDifference {
    /// What was used.
    pub key: UsageKey,
    /// How often by the statistics.
    pub counted: u64,
    /// How often by the log.
    pub recounted: u64,
}

/// What counting the logs again came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recount {
    /// Entries that were read.
    pub entries: u64,
    /// Uses that they came to.
    pub uses: u64,
    /// The first day of which all entries are still there; days before it are not judged. None where all are.
    pub since: Option<i64>,
    /// How many counts differ.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<UsageDifference>,
}

type Uses = BTreeMap<UsageKey, u64>;

impl Store {
    /// Counts entries of a log that are not counted yet, some thousands at a time.
    ///
    /// # Errors
    /// The database; the archive, where entries came there before they were counted.
    pub async fn count_usage(&self, log: LogId, archive: Option<&Archive>) -> Result<Counted, ArchiveError> {
        let from = self.usage_progress_of(log).await?;
        let (mut uses, mut next) = (Uses::new(), from);
        while next.saturating_sub(from) < AT_ONCE as u64 {
            let entries = self.audit_range(log, archive, next, u64::MAX).await?;
            // Entries that were removed as their time was over are not missed; others are.
            let is_next = entries.first().is_some_and(|(first, _)| *first == next);
            if !is_next && self.audit_segment_of(log, next).await?.is_some() {
                if next == from {
                    return Ok(Counted::Waiting);
                }
                break;
            }
            if entries.is_empty() {
                break;
            }
            for (index, entry) in &entries {
                add(&mut uses, *index, entry)?;
                next = index + 1;
            }
        }
        if next == from {
            return Ok(Counted::Nothing);
        }
        Ok(match self.add_usage(log, (from, next), &uses).await? {
            true => Counted::Entries(next - from),
            false => Counted::Forestalled,
        })
    }

    /// Adds what entries count for; not where somebody counted them meanwhile.
    async fn add_usage(&self, log: LogId, (from, to): (u64, u64), uses: &Uses) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        query("INSERT INTO usage_progress (log, counted) VALUES ($1, 0) ON CONFLICT (log) DO NOTHING")
            .bind(log.0)
            .execute(&mut *transaction)
            .await?;
        let moved = query("UPDATE usage_progress SET counted = $2 WHERE log = $1 AND counted = $3")
            .bind(log.0)
            .bind(stored(to))
            .bind(stored(from))
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        for (key, count) in uses {
            query(
                "INSERT INTO usage_counts (day, app, action, flow, item, result, region, uses)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (day, app, action, flow, item, result, region)
                 DO UPDATE SET uses = usage_counts.uses + excluded.uses",
            )
            .bind(key.day)
            .bind(&key.app)
            .bind(&key.action)
            .bind(&key.flow)
            .bind(&key.item)
            .bind(&key.result)
            .bind(&key.region)
            .bind(stored(*count))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn usage_progress_of(&self, log: LogId) -> Result<u64, StoreError> {
        let row = query("SELECT counted FROM usage_progress WHERE log = $1").bind(log.0);
        let row = row.fetch_optional(self.readers()).await?;
        row.map_or(Ok(0), |row| number(&row, "counted"))
    }

    /// How far each log is counted.
    pub async fn usage_progress(&self) -> Result<Vec<UsageProgress>, StoreError> {
        let rows = query("SELECT log, counted FROM usage_progress ORDER BY log");
        let rows = rows.fetch_all(self.readers()).await?;
        let read = |row: &Row| {
            Ok::<_, StoreError>(UsageProgress {
                log: LogId(row.try_get("log")?),
                counted: number(row, "counted")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// How often what was used, in the order of the columns that were asked for.
    pub async fn usage(&self, wanted: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let columns: Vec<_> = wanted.by.iter().map(|column| column.as_str()).collect();
        let named = columns.join(", ");
        let grouped = match &columns[..] {
            [] => String::new(), // all together is one row, or none where there is nothing
            _ => format!("GROUP BY {named} ORDER BY {named}"),
        };
        let separator = if columns.is_empty() { "" } else { ", " };
        // The names of columns are words of this program; what callers say is bound.
        let text = format!(
            "SELECT {named}{separator}CAST(sum(uses) AS BIGINT) AS uses FROM usage_counts
             WHERE day BETWEEN $1 AND $2 AND ($3 IS NULL OR app = $3)
               AND ($4 IS NULL OR action = $4 OR (substr($4, length($4)) = '.' AND substr(action, 1, length($4)) = $4))
               AND ($5 IS NULL OR item = $5) AND ($6 IS NULL OR result = $6)
               AND ($7 IS NULL OR substr(region, 1, length($7)) = $7)
             {grouped} LIMIT $8 OFFSET $9"
        );
        let rows = query(AssertSqlSafe(text))
            .bind(wanted.from)
            .bind(wanted.to)
            .bind(&wanted.app)
            .bind(&wanted.action)
            .bind(&wanted.item)
            .bind(&wanted.result)
            .bind(&wanted.region)
            .bind(wanted.limit.min(PAGE))
            .bind(wanted.offset)
            .fetch_all(self.readers())
            .await?;
        let mut told = Vec::with_capacity(rows.len());
        for row in &rows {
            let uses: Option<i64> = row.try_get("uses")?;
            let Some(uses) = uses else { continue };
            let mut values = Vec::with_capacity(wanted.by.len());
            for column in &wanted.by {
                values.push(match column {
                    UsageColumn::Day => {
                        let day: i64 = row.try_get(column.as_str())?;
                        day.to_string()
                    }
                    _ => row.try_get(column.as_str())?,
                });
            }
            let uses = u64::try_from(uses).map_err(|_| corrupt("uses"))?;
            told.push(UsageRow { values, uses });
        }
        Ok(told)
    }

    /// Counts all logs again as far as they are counted, and holds the statistics against it. What is counted meanwhile is
    /// left out: it begins anew then.
    ///
    /// # Errors
    /// The database; the archive. [`StoreError::NotFound`] where an entry is in an archive that is not here; [`StoreError::Changed`] where counting never paused for as long as it took.
    pub async fn recount_usage(
        &self,
        archive: Option<&Archive>,
        done: &mut dyn FnMut(u64, u64),
    ) -> Result<Recount, ArchiveError> {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let before = self.usage_progress().await?;
            let counted = self.all_usage().await?;
            if self.usage_progress().await? == before {
                return self.recount(&before, counted, archive, done).await;
            }
        }
        Err(StoreError::Changed { what: USAGE, id: String::new() }.into())
    }

    async fn recount(
        &self,
        logs: &[UsageProgress],
        counted: Uses,
        archive: Option<&Archive>,
        done: &mut dyn FnMut(u64, u64),
    ) -> Result<Recount, ArchiveError> {
        let all: u64 = logs.iter().map(|log| log.counted).sum();
        let (mut found, mut recount) = (Uses::new(), Recount::default());
        for UsageProgress { log, counted } in logs {
            // When the last entry was written of those that were removed just before.
            let (mut next, mut gone) = (0, None);
            while next < *counted {
                if let Some(removed) = self.audit_segment_over(*log, next).await?
                    && removed.removed_at.is_some()
                {
                    (gone, next) = (Some(removed.written_at), removed.until);
                    continue;
                }
                let entries = self.audit_range(*log, archive, next, *counted).await?;
                let Some((first, entry)) = entries.first().filter(|(first, _)| *first == next) else {
                    // In an archive that is not here, or gone from it.
                    return Err(StoreError::NotFound { what: "audit entry", id: next.to_string() }.into());
                };
                if gone.take().is_some() {
                    let day = measure::day_of(entry).map_err(|_| broken(*first))?;
                    recount.since = recount.since.max(Some(day + 1));
                }
                for (index, entry) in &entries {
                    add(&mut found, *index, entry)?;
                    (next, recount.entries) = (index + 1, recount.entries + 1);
                }
                done(recount.entries, all);
            }
            if let Some(written_at) = gone {
                let at = OffsetDateTime::from_unix_timestamp(written_at).map_err(|_| broken(next))?;
                recount.since = recount.since.max(Some(usage_day(at) + 1));
            }
        }
        recount.uses = found.values().sum();
        let judged = |key: &UsageKey| recount.since.is_none_or(|since| key.day >= since);
        let differs = |key: &UsageKey| {
            let of = |uses: &Uses| uses.get(key).copied().unwrap_or(0);
            let (counted, recounted) = (of(&counted), of(&found));
            (counted != recounted).then(|| UsageDifference { key: key.clone(), counted, recounted })
        };
        let unfound = counted.keys().filter(|key| !found.contains_key(key));
        let differences: Vec<_> =
            found.keys().chain(unfound).filter(|key| judged(key)).filter_map(differs).collect();
        recount.differing = differences.len() as u64;
        recount.differences = differences.into_iter().take(MOST_TOLD).collect();
        Ok(recount)
    }

    async fn all_usage(&self) -> Result<Uses, StoreError> {
        let rows = query("SELECT day, app, action, flow, item, result, region, uses FROM usage_counts");
        let rows = rows.fetch_all(self.readers()).await?;
        let read = |row: &Row| {
            let key = UsageKey {
                day: row.try_get("day")?,
                app: row.try_get("app")?,
                action: row.try_get("action")?,
                flow: row.try_get("flow")?,
                item: row.try_get("item")?,
                result: row.try_get("result")?,
                region: row.try_get("region")?,
            };
            Ok::<_, StoreError>((key, number(row, "uses")?))
        };
        rows.iter().map(read).collect()
    }
}

fn add(uses: &mut Uses, index: u64, entry: &[u8]) -> Result<(), ArchiveError> {
    for (key, count) in measure::uses_of(entry).map_err(|_| broken(index))? {
        let sum = uses.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(())
}

fn broken(index: u64) -> ArchiveError {
    StoreError::Corrupt { what: "audit log", id: index.to_string(), column: "entry" }.into()
}

fn number(row: &Row, column: &'static str) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| corrupt(column))
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt { what: USAGE, id: String::new(), column }
}

fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
