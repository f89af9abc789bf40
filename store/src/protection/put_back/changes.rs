//! What was written since, as the database's triggers noted it: a hint by which a look reads little. Nothing rests on it:
//! who notes nothing, or notes it wrongly, is found by the next look at all rows.

use crate::database::{Dialect, query};
use crate::{Store, StoreError};

/// A span of writes: those from `since` on whose mark is below `end`. A span that begins with another's `next` has all
/// that the other could not see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since: i64,
    pub(super) end: i64,
    /// Where the next one begins.
    pub(super) next: i64,
    /// Whether anything is in it.
    pub(super) is_written: bool,
}

/// The writes since a mark.
///
/// # Errors
/// The database fails, or what it noted cannot be read.
pub(super) async fn since(store: &Store, since: i64) -> Result<Span, StoreError> {
    match store.dialect() {
        // Marks are numbers in the order of writes, of which one goes on at a time.
        Dialect::Sqlite => {
            let row = query("SELECT coalesce(max(change), 0) AS last FROM row_changes");
            let last: i64 = row.fetch_one(store.readers()).await?.try_get("last")?;
            let next = last.saturating_add(1);
            Ok(Span { since, end: i64::MAX, next, is_written: next > since })
        }
        // Marks are transactions. Those below the oldest that goes on have ended, and are seen or never will be. Marks from
        // beyond the newest are of another server, whose dump this is.
        Dialect::Postgres => {
            let select = query(
                "SELECT s.low, s.high,
                     EXISTS (SELECT 1 FROM row_changes WHERE change >= $1 AND change < s.high) AS written
                 FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT AS low,
                           pg_snapshot_xmax(pg_current_snapshot())::TEXT::BIGINT AS high) AS s",
            );
            let row = select.bind(since).fetch_one(store.readers()).await?;
            Ok(Span {
                since,
                end: row.try_get("high")?,
                next: row.try_get("low")?,
                is_written: row.try_get("written")?,
            })
        }
    }
}

/// The tables with rows in a span.
pub(super) async fn tables(store: &Store, span: Span) -> Result<Vec<String>, StoreError> {
    let rows = query("SELECT DISTINCT kind FROM row_changes WHERE change >= $1 AND change < $2")
        .bind(span.since)
        .bind(span.end)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| Ok(row.try_get("kind")?)).collect()
}
