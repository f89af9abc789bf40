//! Old rows with their old codes, put back.
//!
//! A code says that a gateway wrote the row, not that it is the newest that was written: whoever kept a row can undo by SQL
//! what took its power away. No mark in the database tells, as it would be put back too. So each gateway remembers outside
//! the database the highest revision that it saw of each row; revisions only grow (docs/adr/0043).

mod changes;
mod memory;

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::AssertSqlSafe;
use time::{Duration, OffsetDateTime};

use self::memory::{Memory, Seen};
use crate::audit::memory_stem;
use crate::database::{Row, query};
use crate::{DEFAULT_REPLICA, Store, StoreError};

/// A table whose rows are remembered.
struct Watched {
    table: &'static str,
    /// By what codes name its rows.
    id: &'static str,
    life: Life,
}

/// How long a row of a table is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// For good.
    Stays,
    /// Until it is removed, and a later row of the same name goes on with its revisions.
    Goes,
    /// Until it is removed, and it is of no use after the time in this column.
    Ends(&'static str),
}

/// Of signing policies the app's row names the version in force, of stamp templates the template's.
const WATCHED: [Watched; 11] = [
    Watched { table: "keys", id: "id", life: Life::Stays },
    Watched { table: "custodians", id: "name", life: Life::Stays },
    Watched { table: "apps", id: "id", life: Life::Stays },
    Watched { table: "app_credentials", id: "id", life: Life::Stays },
    Watched { table: "accounts", id: "name", life: Life::Stays },
    Watched { table: "account_sessions", id: "id", life: Life::Ends("expires_at") },
    Watched { table: "seals", id: "id", life: Life::Stays },
    Watched { table: "mandates", id: "id", life: Life::Stays },
    Watched { table: "stamp_templates", id: "id", life: Life::Stays },
    Watched { table: "webhooks", id: "app", life: Life::Goes },
    Watched { table: "approvals", id: "id", life: Life::Stays },
];

/// How long a row that is gone is remembered after it was of use: clocks differ.
const MARGIN: Duration = Duration::DAY;

/// The least revisions that rows are used with, by table and id.
pub(super) type Revisions = BTreeMap<String, i64>;

/// How the memory of a table's row is named.
pub(super) fn name(table: &str, id: &str) -> String {
    format!("{table} {id}")
}

/// What a look found of a row.
#[derive(Clone, Copy)]
struct Found {
    revision: i64,
    until: Option<i64>,
}

/// One gateway's memory of the highest revision of each row.
pub struct RegisterWatch {
    store: Store,
    memory: Memory,
    /// From where on writes were not seen; none: all rows are to be read.
    since: Option<i64>,
}

impl RegisterWatch {
    /// Reads what the gateway remembers from the folder that it keeps outside the database, in a file named after it.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`].
    pub fn open(store: &Store, folder: &Path) -> Result<Self, StoreError> {
        let stem = memory_stem(store.replica().unwrap_or(DEFAULT_REPLICA));
        let memory = Memory::open(folder.join(format!("{stem}.revisions.json")))?;
        Ok(Self { store: store.clone(), memory, since: None })
    }

    /// Holds the rows that were written since the last look against what was seen of them before, as the database says which
    /// those are; all rows the first time, and where that cannot be believed. Answers as [`look_at_all`](Self::look_at_all).
    ///
    /// # Errors
    /// The database or the folder fails.
    pub async fn look(&mut self, at: OffsetDateTime) -> Result<usize, StoreError> {
        let Some(since) = self.since else { return self.look_at_all(at).await };
        let span = match changes::since(&self.store, since).await {
            Ok(span) if span.next >= since => span,
            // What was noted is gone, or older than it was.
            Ok(_) | Err(_) => return self.look_at_all(at).await,
        };
        let mut news = 0;
        if span.is_written {
            let tables = changes::tables(&self.store, span).await?;
            for watched in WATCHED.iter().filter(|watched| tables.iter().any(|table| table == watched.table))
            {
                for (name, found) in self.written(watched, span).await? {
                    news += self.judge(watched.life, name, found);
                }
            }
        }
        self.memory.keep().await?;
        self.since = Some(span.next);
        Ok(news)
    }

    /// Holds every row against what was seen of it before, whatever the database says of what was written. One with a lower
    /// revision, or that is gone and stays, is refused from then on, whatever its code says, and counted among the altered
    /// ones. Answers how many are so since the last time.
    ///
    /// # Errors
    /// The database or the folder fails.
    pub async fn look_at_all(&mut self, at: OffsetDateTime) -> Result<usize, StoreError> {
        // Before the rows: what is written in between is read twice, not missed.
        let span = changes::since(&self.store, self.since.unwrap_or(0)).await;
        let mut all = BTreeMap::new();
        for watched in &WATCHED {
            for (name, found) in self.rows(watched).await? {
                all.insert(name, (watched.life, Some(found)));
            }
        }
        for name in self.memory.names() {
            if !all.contains_key(name)
                && let Some(watched) = WATCHED.iter().find(|watched| watched.names(name))
            {
                all.insert(name.clone(), (watched.life, None));
            }
        }
        let mut news = 0;
        for (name, (life, found)) in all {
            news += self.judge(life, name, found);
        }
        self.memory.forget((at - MARGIN).unix_timestamp());
        self.memory.keep().await?;
        self.since = span.ok().map(|span| span.next);
        Ok(news)
    }

    /// All rows of a table.
    async fn rows(&self, watched: &Watched) -> Result<Vec<(String, Found)>, StoreError> {
        let Watched { table, id, .. } = watched;
        let until = watched.until();
        let select = format!("SELECT {id} AS id, revision, {until} AS until FROM {table}");
        let rows = query(AssertSqlSafe(select)).fetch_all(self.store.readers()).await?;
        let read = |row: &Row| {
            let found = Found { revision: row.try_get("revision")?, until: row.try_get("until")? };
            Ok((name(table, row.try_get("id")?), found))
        };
        rows.iter().map(read).collect()
    }

    /// The rows of a table that were written in a span, and of those that are gone only the names.
    async fn written(
        &self,
        watched: &Watched,
        span: changes::Span,
    ) -> Result<Vec<(String, Option<Found>)>, StoreError> {
        let Watched { table, id, .. } = watched;
        let until = watched.until();
        let select = format!(
            "SELECT noted.id AS id, revision, {until} AS until
             FROM row_changes AS noted LEFT JOIN {table} AS there ON there.{id} = noted.id
             WHERE noted.kind = $1 AND noted.change >= $2 AND noted.change < $3"
        );
        let select = query(AssertSqlSafe(select)).bind(*table).bind(span.since).bind(span.end);
        let rows = select.fetch_all(self.store.readers()).await?;
        let read = |row: &Row| {
            let until = row.try_get("until")?;
            let revision: Option<i64> = row.try_get("revision")?;
            let found = revision.map(|revision| Found { revision, until });
            Ok((name(table, row.try_get("id")?), found))
        };
        rows.iter().map(read).collect()
    }

    /// Holds a row against what was seen of it; 1 if it is older and that is news.
    fn judge(&mut self, life: Life, name: String, found: Option<Found>) -> usize {
        let (seen, refuses_below) = match (self.memory.get(&name), found) {
            (None, None) => return 0,
            (None, Some(Found { revision, until })) => (Seen { revision, until, gone: false }, None),
            (Some(seen), None) if life == Life::Stays => (seen, Some(seen.revision)),
            (Some(seen), None) => (Seen { gone: true, ..seen }, None),
            (Some(seen), Some(found)) => {
                // What was removed does not come back; another of its name has a higher revision.
                let least = seen.revision.saturating_add(i64::from(seen.gone));
                if found.revision < least {
                    (seen, Some(least))
                } else {
                    // Whoever writes an earlier end beside the gateway is not to have it forgotten before its time.
                    let until = seen.until.max(found.until);
                    (Seen { revision: found.revision, until, gone: false }, None)
                }
            }
        };
        let news = refuses_below.is_some_and(|least| self.store.protection().refuse_below(&name, least));
        self.memory.set(name, seen);
        usize::from(news)
    }
}

impl Watched {
    /// What says until when a row is of use.
    fn until(&self) -> &'static str {
        match self.life {
            Life::Ends(column) => column,
            Life::Stays | Life::Goes => "CAST(NULL AS BIGINT)",
        }
    }

    /// Whether this is the name of the memory of one of its rows.
    fn names(&self, name: &str) -> bool {
        name.strip_prefix(self.table).is_some_and(|rest| rest.starts_with(' '))
    }
}
