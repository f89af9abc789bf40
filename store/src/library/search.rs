//! Finding entities by their names, and going through all of them.

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::names::NamePattern;
use super::{EntityRecord, entity_from_row};
use crate::database::{Dialect, Row, instant, query};
use crate::{Store, StoreError};
use formats::uscc::Uscc;

/// Most entities of a page.
pub const LARGEST_PAGE: u32 = 50;
/// Entities looked at for one page at most: what has all words need not have them in the right order.
const MOST_LOOKED_AT: usize = 1000;
/// Entities asked for at a time, once the first ones do not fill a page.
const STEP: usize = 200;

/// Whose names are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameQuery {
    /// What their names contain or begin with.
    pub pattern: NamePattern,
    /// Only those of this registration status.
    pub status: Option<i64>,
    /// From where on: [`NamePage::next`] of the page before.
    pub after: Option<i64>,
    /// Entities at most, 1 to [`LARGEST_PAGE`].
    pub limit: u32,
}

/// Entities that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePage {
    /// In the order they came into the library.
    pub entities: Vec<EntityRecord>,
    /// From where on there may be more; there may be although this page is not full.
    pub next: Option<i64>,
}

/// What the register said of an entity before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Registration status.
    pub status: i64,
    /// What was on file beside it.
    pub flags: Vec<String>,
    /// When the register said so.
    pub as_of: OffsetDateTime,
    /// When it was replaced here.
    pub replaced_at: OffsetDateTime,
}

impl Store {
    /// A page of the entities with such a name. What it takes is bounded, whatever is looked for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn find_by_name(&self, wanted: &NameQuery) -> Result<NamePage, StoreError> {
        let words = wanted.pattern.words(wanted.status);
        let (select, words) = match self.dialect() {
            Dialect::Sqlite => (
                "SELECT e.id, uscc, name, entity_type, status, flags, status_as_of, face
                 FROM entity_search CROSS JOIN entities AS e ON e.id = entity_search.rowid
                 WHERE entity_search MATCH $1 AND entity_search.rowid > $2 ORDER BY entity_search.rowid LIMIT $3",
                words.join(" AND "),
            ),
            Dialect::Postgres => (
                "SELECT e.id, uscc, name, entity_type, status, flags, status_as_of, face
                 FROM entity_search JOIN entities AS e ON e.id = entity_search.id
                 WHERE entity_search.grams @@ $1::tsquery AND entity_search.id > $2
                 ORDER BY entity_search.id LIMIT $3",
                words.join(" & "),
            ),
        };
        let limit = wanted.limit.clamp(1, LARGEST_PAGE) as usize;
        let (mut entities, mut after, mut looked_at) = (Vec::new(), wanted.after.unwrap_or(0), 0);
        // One more than fits says whether there is more.
        let mut step = limit + 1;
        loop {
            let asked = i64::try_from(step).unwrap_or(i64::MAX);
            let select = query(select).bind(&words).bind(after).bind(asked).planned_anew();
            let rows = select.fetch_all(self.readers()).await?;
            for row in &rows {
                let entity = entity_from_row(row)?;
                if wanted.pattern.fits(&entity.name) {
                    if entities.len() == limit {
                        return Ok(NamePage { entities, next: Some(after) });
                    }
                    entities.push(entity);
                }
                after = row.try_get("id")?;
            }
            looked_at += rows.len();
            if rows.len() < step {
                return Ok(NamePage { entities, next: None });
            }
            if looked_at >= MOST_LOOKED_AT {
                return Ok(NamePage { entities, next: Some(after) });
            }
            step = STEP;
        }
    }

    /// What the register said of an entity before, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn entity_history(&self, uscc: &Uscc) -> Result<Vec<Former>, StoreError> {
        let rows = query(
            "SELECT h.status, h.flags, h.as_of, h.replaced_at FROM entity_history AS h
             JOIN entities AS e ON e.id = h.entity WHERE e.uscc = $1 ORDER BY h.replaced_at DESC, h.as_of DESC",
        )
        .bind(uscc.as_str())
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|row| former_from_row(row, uscc)).collect()
    }

    /// The next entities in the order of their codes, for going through all of them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn entities_after(
        &self,
        after: Option<&Uscc>,
        limit: u32,
    ) -> Result<Vec<EntityRecord>, StoreError> {
        let rows = query(
            "SELECT uscc, name, entity_type, status, flags, status_as_of, face FROM entities
             WHERE uscc > $1 ORDER BY uscc LIMIT $2",
        )
        .bind(after.map_or("", Uscc::as_str))
        .bind(limit)
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(entity_from_row).collect()
    }

    /// How many entities there are by registration status, and by kind.
    ///
    /// # Errors
    /// The database fails.
    pub async fn library_counts(&self) -> Result<LibraryCounts, StoreError> {
        let mut transaction = self.begin_read().await?;
        let mut counts = LibraryCounts::default();
        for column in ["status", "entity_type"] {
            let text = match column {
                "status" => "CAST(status AS TEXT)",
                other => other,
            };
            // Two fixed names.
            let select = format!(
                "SELECT {text} AS kind, count(*) AS count FROM entities GROUP BY {column} ORDER BY 1"
            );
            let rows = query(AssertSqlSafe(select)).fetch_all(&mut *transaction).await?;
            let counted = rows.iter().map(|row| Ok((row.try_get("kind")?, row.try_get("count")?)));
            let counted: Vec<(String, i64)> = counted.collect::<Result<_, sqlx::Error>>()?;
            match column {
                "status" => counts.by_status = counted,
                _ => counts.by_type = counted,
            }
        }
        Ok(counts)
    }
}

/// How many entities there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LibraryCounts {
    /// By registration status.
    pub by_status: Vec<(String, i64)>,
    /// By kind of entity.
    pub by_type: Vec<(String, i64)>,
}

fn former_from_row(row: &Row, uscc: &Uscc) -> Result<Former, StoreError> {
    let corrupt = |column| StoreError::Corrupt { what: "former status", id: uscc.to_string(), column };
    Ok(Former {
        status: row.try_get("status")?,
        flags: serde_json::from_str(row.try_get("flags")?).map_err(|_| corrupt("flags"))?,
        as_of: instant(row, "as_of")?.ok_or_else(|| corrupt("as_of"))?,
        replaced_at: instant(row, "replaced_at")?.ok_or_else(|| corrupt("replaced_at"))?,
    })
}
