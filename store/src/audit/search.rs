//! Reading the log: by place, and by what entries say.

use time::{Duration, OffsetDateTime};

use super::{AuditEntry, LogId, StoredEntry, corrupt, read_number, stored};
use crate::database::{Row, query};
use crate::{Store, StoreError};

/// Most entries in one answer of [`Store::audit_entries`], and rows read in one go.
const PAGE: u32 = 1000;
/// Most entries that one search looks at; the next one goes on from there.
const SCAN: u32 = 20_000;
/// An entry is written at most so long after the time it speaks of.
const LATEST: Duration = Duration::minutes(5);

/// Which entries are wanted. What is left out does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Not before this time.
    pub from: Option<OffsetDateTime>,
    /// Before this time.
    pub until: Option<OffsetDateTime>,
    /// By whom.
    pub actor: Option<String>,
    /// What was asked for; a word that ends in `.` stands for all actions that begin with it.
    pub action: Option<String>,
    /// With which key, whatever its version and copy.
    pub key: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// What it was done to.
    pub subject: Option<String>,
    /// Under which request.
    pub request_id: Option<String>,
    /// The oldest first instead of the newest.
    pub oldest_first: bool,
    /// Where to go on: [`AuditPage::next`].
    pub cursor: Option<u64>,
    /// Most entries in the answer.
    pub limit: u32,
}

/// Some of the entries that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// What was found. A page that is not full need not be the last: a search looks at a bounded number of entries.
    pub items: Vec<(u64, AuditEntry)>,
    /// Where the next page begins; nothing when this was the last.
    pub next: Option<u64>,
}

impl AuditQuery {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let action = self.action.as_deref().is_none_or(|action| {
            if action.ends_with('.') { entry.action.starts_with(action) } else { entry.action == action }
        });
        let key = self.key.as_deref().is_none_or(|key| {
            let rest = entry.key.as_deref().and_then(|found| found.strip_prefix(key));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(".v"))
        });
        action
            && key
            && self.from.is_none_or(|from| entry.at >= from)
            && self.until.is_none_or(|until| entry.at < until)
            && is(&self.actor, Some(&entry.actor))
            && is(&self.outcome, Some(&entry.outcome))
            && is(&self.subject, entry.subject.as_deref())
            && is(&self.request_id, Some(&entry.request_id))
    }
}

impl Store {
    /// Audit entries of the first log from `from` on, at most `limit` and at most 1,000.
    pub async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        self.audit_entries_of(LogId(1), from, limit).await
    }

    /// Audit entries of a log from `from` on, at most `limit` and at most 1,000; the archive's are not among them.
    pub async fn audit_entries_of(
        &self,
        log: LogId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let text = "SELECT idx, written_at, entry, leaf_hash FROM audit_entries
            WHERE log = $1 AND idx >= $2 ORDER BY idx LIMIT $3";
        let query = query(text).bind(log.0).bind(from).bind(i64::from(limit.min(PAGE)));
        query.fetch_all(self.readers()).await?.iter().map(read_entry).collect()
    }

    /// One audit entry of a log, if the database has it.
    pub async fn audit_entry(&self, log: LogId, index: u64) -> Result<Option<StoredEntry>, StoreError> {
        let found = self.audit_entries_of(log, index, 1).await?;
        Ok(found.into_iter().next().filter(|entry| entry.index == index))
    }

    /// How many entries a log has.
    pub async fn audit_size(&self, log: LogId) -> Result<u64, StoreError> {
        let last = query("SELECT coalesce(max(idx) + 1, 0) FROM audit_entries WHERE log = $1");
        read_number(last.bind(log.0).fetch_one(self.readers()).await?.try_get(0)?, "idx")
    }

    /// Looks for entries that are in the database.
    pub async fn search_audit(&self, log: LogId, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let (first, end) = self.range_of(log, query).await?;
        let limit = query.limit.clamp(1, PAGE) as usize;
        let (mut items, mut looked_at) = (Vec::new(), 0);
        // The next place to look at: going down, the one below `place`.
        let mut place = match (query.cursor, query.oldest_first) {
            (Some(cursor), true) => cursor.max(first),
            (Some(cursor), false) => cursor.min(end),
            (None, true) => first,
            (None, false) => end,
        };
        while looked_at < SCAN {
            let (low, high) = if query.oldest_first {
                (place, end.min(place.saturating_add(PAGE.into())))
            } else {
                (first.max(place.saturating_sub(PAGE.into())), place)
            };
            if low >= high {
                return Ok(AuditPage { items, next: None });
            }
            let mut rows = self.audit_entries_of(log, low, u32::try_from(high - low).unwrap_or(PAGE)).await?;
            if !query.oldest_first {
                rows.reverse();
            }
            for row in rows {
                looked_at += 1;
                place = if query.oldest_first { row.index + 1 } else { row.index };
                let entry: AuditEntry =
                    serde_json::from_slice(&row.entry).map_err(|_| corrupt(row.index, "entry"))?;
                if query.wants(&entry) {
                    items.push((row.index, entry));
                    if items.len() == limit {
                        return Ok(AuditPage { items, next: Some(place) });
                    }
                }
            }
            place = if query.oldest_first { high } else { low };
        }
        Ok(AuditPage { items, next: Some(place) })
    }

    /// Where entries of the wanted time stand: from the first place to before the second.
    async fn range_of(&self, log: LogId, query: &AuditQuery) -> Result<(u64, u64), StoreError> {
        let size = self.audit_size(log).await?;
        let begin = self.audit_entries_of(log, 0, 1).await?.first().map_or(size, |entry| entry.index);
        let first = match query.from {
            // A second, because the time of writing has no fractions.
            Some(from) => self.first_written(log, from.unix_timestamp() - 1, begin, size).await?,
            None => begin,
        };
        let end = match query.until.and_then(|until| until.checked_add(LATEST)) {
            Some(until) => self.first_written(log, until.unix_timestamp() + 1, first, size).await?,
            None => size,
        };
        Ok((first, end))
    }

    /// The first entry of `low..high` that was written at this time or later: `written_at` never goes back.
    pub(super) async fn first_written(
        &self,
        log: LogId,
        at: i64,
        low: u64,
        high: u64,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = query("SELECT written_at FROM audit_entries WHERE log = $1 AND idx = $2");
            let row = row.bind(log.0).bind(stored(middle)).fetch_optional(self.readers()).await?;
            // A hole is for the verifier to complain about.
            let written_at: i64 = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(at);
            if written_at < at { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

fn read_entry(row: &Row) -> Result<StoredEntry, StoreError> {
    let index: i64 = row.try_get("idx")?;
    Ok(StoredEntry {
        index: read_number(index, "idx")?,
        written_at: row.try_get("written_at")?,
        entry: row.try_get("entry")?,
        leaf_hash: row
            .try_get::<&[u8], _>("leaf_hash")?
            .try_into()
            .map_err(|_| corrupt(index, "leaf_hash"))?,
    })
}
