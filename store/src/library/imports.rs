//! Imports of the register: part after part, each of which is in the library together with how far the import has come, so
//! that one that is killed goes on where it was.

use time::OffsetDateTime;

use super::EntityRecord;
use super::put::{Outcome, put};
use crate::database::{Dialect, Row, instant, query};
use crate::{Store, StoreError};

const IMPORT: &str = "import";

/// An import of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its number.
    pub id: i64,
    /// The file's name.
    pub source: String,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When all of the file was taken.
    pub finished_at: Option<OffsetDateTime>,
    /// How far it has come.
    pub place: Place,
    /// What became of the rows.
    pub counts: Counts,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Octets before it.
    pub position: i64,
    /// Lines before it.
    pub line: i64,
    /// SM3 of the octets before it, hexadecimal.
    pub digest: String,
}

/// What became of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entities that were not known.
    pub added: i64,
    /// Entities of which something was.
    pub changed: i64,
    /// Entities of which all was.
    pub unchanged: i64,
    /// Rows of an earlier time than what is known.
    pub outdated: i64,
    /// Rows that were kept out: bad ones, and such of entities that the import had before.
    pub refused: i64,
}

impl Counts {
    fn count(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Added => &mut self.added,
            Outcome::Changed => &mut self.changed,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Outdated => &mut self.outdated,
            Outcome::Repeated => &mut self.refused,
        };
        *counter += 1;
    }
}

impl Store {
    /// Begins an import of a file.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin_import(
        &self,
        source: &str,
        place: Place,
        at: OffsetDateTime,
    ) -> Result<Import, StoreError> {
        let mut transaction = self.begin_write().await?;
        let next = query("SELECT coalesce(max(id), 0) + 1 FROM library_imports");
        let id: i64 = next.fetch_one(&mut *transaction).await?.try_get(0)?;
        query(
            "INSERT INTO library_imports (id, source, started_at, position, line, digest, added, changed, unchanged,
                 outdated, refused)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0)",
        )
        .bind(id)
        .bind(source)
        .bind(at.unix_timestamp())
        .bind(place.position)
        .bind(place.line)
        .bind(&place.digest)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(IMPORT, source, error))?;
        transaction.commit().await?;
        let (source, started_at) = (source.to_owned(), at);
        Ok(Import { id, source, started_at, finished_at: None, place, counts: Counts::default() })
    }

    /// The latest import of a file that was broken off.
    ///
    /// # Errors
    /// The database fails.
    pub async fn unfinished_import(&self, source: &str) -> Result<Option<Import>, StoreError> {
        let row = query(
            "SELECT id, source, started_at, finished_at, position, line, digest, added, changed, unchanged, outdated,
                 refused
             FROM library_imports WHERE source = $1 AND finished_at IS NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(source)
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(import_from_row).transpose()
    }

    /// The latest imports, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn imports(&self) -> Result<Vec<Import>, StoreError> {
        let rows = query(
            "SELECT id, source, started_at, finished_at, position, line, digest, added, changed, unchanged, outdated,
                 refused
             FROM library_imports ORDER BY id DESC LIMIT 100",
        )
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(import_from_row).collect()
    }

    /// Takes the next part of an import: its entities, and that the file is taken up to `place`, with `refused` bad
    /// rows. All of it is there or nothing.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when somebody else goes on with the same import; [`StoreError::RuleBroken`].
    pub async fn import_part(
        &self,
        import: &mut Import,
        entities: &[EntityRecord],
        refused: i64,
        place: Place,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let at = OffsetDateTime::now_utc();
        let outcomes = put(&mut transaction, self.dialect(), entities, Some(import.id), at).await?;
        let mut counts = import.counts;
        outcomes.iter().for_each(|outcome| counts.count(*outcome));
        counts.refused += refused;
        let moved = query(
            "UPDATE library_imports SET position = $3, line = $4, digest = $5, added = $6, changed = $7,
                 unchanged = $8, outdated = $9, refused = $10
             WHERE id = $1 AND position = $2 AND finished_at IS NULL",
        )
        .bind(import.id)
        .bind(import.place.position)
        .bind(place.position)
        .bind(place.line)
        .bind(&place.digest)
        .bind(counts.added)
        .bind(counts.changed)
        .bind(counts.unchanged)
        .bind(counts.outdated)
        .bind(counts.refused)
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Changed { what: IMPORT, id: import.id.to_string() });
        }
        transaction.commit().await?;
        (import.counts, import.place) = (counts, place);
        Ok(outcomes)
    }

    /// Notes that all of the file was taken.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when somebody else goes on with the same import.
    pub async fn finish_import(&self, import: &mut Import, at: OffsetDateTime) -> Result<(), StoreError> {
        let finished = query(
            "UPDATE library_imports SET finished_at = $3 WHERE id = $1 AND position = $2 AND finished_at IS NULL",
        )
        .bind(import.id)
        .bind(import.place.position)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        if finished.rows_affected() != 1 {
            return Err(StoreError::Changed { what: IMPORT, id: import.id.to_string() });
        }
        import.finished_at = Some(at);
        Ok(())
    }

    /// Has PostgreSQL look at what it holds now, so that it finds the shortest ways to it: after much was imported. SQLite
    /// is told the ways.
    ///
    /// # Errors
    /// The database fails.
    pub async fn measure_library(&self) -> Result<(), StoreError> {
        if self.dialect() == Dialect::Postgres {
            query("ANALYZE entities, entity_search").execute(self.writer()).await?;
        }
        Ok(())
    }
}

fn import_from_row(row: &Row) -> Result<Import, StoreError> {
    let id: i64 = row.try_get("id")?;
    let corrupt = || StoreError::Corrupt { what: IMPORT, id: id.to_string(), column: "started_at" };
    Ok(Import {
        id,
        source: row.try_get("source")?,
        started_at: instant(row, "started_at")?.ok_or_else(corrupt)?,
        finished_at: instant(row, "finished_at")?,
        place: Place {
            position: row.try_get("position")?,
            line: row.try_get("line")?,
            digest: row.try_get("digest")?,
        },
        counts: Counts {
            added: row.try_get("added")?,
            changed: row.try_get("changed")?,
            unchanged: row.try_get("unchanged")?,
            outdated: row.try_get("outdated")?,
            refused: row.try_get("refused")?,
        },
    })
}
