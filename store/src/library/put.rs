//! Many entities at once: one statement each for what is there, what comes and what it is found by. The rows go in as one
//! JSON text, which both databases take apart themselves; a statement with thousands of parameters would be slower and
//! is bounded.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use time::OffsetDateTime;

use super::{ENTITY, EntityRecord, entity_from_row, names};
use crate::StoreError;
use crate::database::{Connection, Dialect, query};

/// What became of an entity that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not known.
    Added,
    /// Something of it was.
    Changed,
    /// All of it was known.
    Unchanged,
    /// What is known is of a later time, and stays.
    Outdated,
    /// The same import has had it before; the first one stays.
    Repeated,
}

/// A row as it goes in.
#[derive(Serialize)]
struct Row<'e> {
    id: i64,
    uscc: &'e str,
    name: &'e str,
    entity_type: &'e str,
    status: i64,
    flags: String,
    status_as_of: i64,
    face: String,
    import_id: Option<i64>,
}

#[derive(Serialize)]
struct Words {
    id: i64,
    words: String,
}

/// Puts entities in the place of what is known of them; for an import, unless it is outdated or repeated.
pub(super) async fn put(
    connection: &mut Connection<'_>,
    dialect: Dialect,
    entities: &[EntityRecord],
    import: Option<i64>,
    at: OffsetDateTime,
) -> Result<Vec<Outcome>, StoreError> {
    if let Some(entity) = entities.iter().find(|entity| has_nul(entity)) {
        let nul = sqlx::Error::Encode("a text holds U+0000".into());
        return Err(StoreError::from_insert(ENTITY, entity.uscc.as_str(), nul));
    }
    let known = known(connection, dialect, entities).await?;
    let mut last: i64 =
        query("SELECT coalesce(max(id), 0) FROM entities").fetch_one(&mut *connection).await?.try_get(0)?;
    let (mut outcomes, mut rows, mut replaced, mut found_anew) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for entity in entities {
        let uscc = entity.uscc.as_str();
        let there = known.get(uscc);
        let had_before = there.is_some_and(|there| there.import == import);
        let outcome = match there {
            _ if !seen.insert(uscc) || (import.is_some() && had_before) => Outcome::Repeated,
            None => Outcome::Added,
            Some(there) if there.entity == *entity => Outcome::Unchanged,
            Some(there) if import.is_some() && entity.status_as_of < there.entity.status_as_of => {
                Outcome::Outdated
            }
            Some(_) => Outcome::Changed,
        };
        outcomes.push(outcome);
        // What is outdated was in the import all the same.
        let kept = match (outcome, there) {
            (Outcome::Repeated, _) => continue,
            (Outcome::Outdated, Some(there)) => &there.entity,
            _ => entity,
        };
        let id = there.map_or_else(
            || {
                last += 1;
                last
            },
            |there| there.id,
        );
        if let Some(Known { entity: before, .. }) = there.filter(|_| outcome == Outcome::Changed)
            && (before.status, &before.flags) != (entity.status, &entity.flags)
        {
            replaced.push(id);
        }
        let is_found_as_before =
            there.is_some_and(|there| (&there.entity.name, there.entity.status) == (&kept.name, kept.status));
        if !is_found_as_before {
            found_anew.push(Words { id, words: names::words(&kept.name, kept.status) });
        }
        rows.push(row(id, kept, import));
    }
    write(connection, dialect, (&rows, &replaced, &found_anew), at).await?;
    Ok(outcomes)
}

fn row(id: i64, entity: &EntityRecord, import_id: Option<i64>) -> Row<'_> {
    let flags: serde_json::Value = entity.flags.iter().map(String::as_str).collect();
    Row {
        id,
        uscc: entity.uscc.as_str(),
        name: &entity.name,
        entity_type: &entity.entity_type,
        status: entity.status,
        flags: flags.to_string(),
        status_as_of: entity.status_as_of.unix_timestamp(),
        face: json(&entity.face),
        import_id,
    }
}

/// PostgreSQL can hold no U+0000, in whichever text it stands.
fn has_nul(entity: &EntityRecord) -> bool {
    let nul = |text: &String| text.contains('\0');
    nul(&entity.name) || nul(&entity.entity_type) || entity.flags.iter().any(nul)
}

/// An entity that is there.
struct Known {
    id: i64,
    entity: EntityRecord,
    import: Option<i64>,
}

async fn known(
    connection: &mut Connection<'_>,
    dialect: Dialect,
    entities: &[EntityRecord],
) -> Result<HashMap<String, Known>, StoreError> {
    let select = match dialect {
        // CROSS JOIN has SQLite look up each wanted one, and not go through the register.
        Dialect::Sqlite => {
            "SELECT e.id, uscc, name, entity_type, status, flags, status_as_of, face, import_id
             FROM json_each($1) AS wanted CROSS JOIN entities AS e ON e.uscc = wanted.value"
        }
        Dialect::Postgres => {
            "SELECT e.id, uscc, name, entity_type, status, flags, status_as_of, face, import_id
             FROM json_array_elements_text($1::json) AS wanted (code) JOIN entities AS e ON e.uscc = wanted.code"
        }
    };
    let wanted: Vec<&str> = entities.iter().map(|entity| entity.uscc.as_str()).collect();
    let rows = query(select).bind(json(&wanted)).fetch_all(&mut *connection).await?;
    let known = rows.iter().map(|row| {
        let entity = entity_from_row(row)?;
        let known = Known { id: row.try_get("id")?, import: row.try_get("import_id")?, entity };
        Ok((known.entity.uscc.to_string(), known))
    });
    known.collect()
}

async fn write(
    connection: &mut Connection<'_>,
    dialect: Dialect,
    (rows, replaced, found_anew): (&[Row<'_>], &[i64], &[Words]),
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    if !replaced.is_empty() {
        let keep = match dialect {
            Dialect::Sqlite => {
                "INSERT INTO entity_history (entity, status, flags, as_of, replaced_at)
                 SELECT id, status, flags, status_as_of, $2 FROM entities
                 WHERE id IN (SELECT value FROM json_each($1))"
            }
            Dialect::Postgres => {
                "INSERT INTO entity_history (entity, status, flags, as_of, replaced_at)
                 SELECT id, status, flags, status_as_of, $2 FROM entities
                 WHERE id IN (SELECT value::BIGINT FROM json_array_elements_text($1::json))"
            }
        };
        query(keep).bind(json(&replaced)).bind(at.unix_timestamp()).execute(&mut *connection).await?;
    }
    let Some(first) = rows.first() else { return Ok(()) };
    let insert = match dialect {
        Dialect::Sqlite => {
            "INSERT INTO entities (id, uscc, name, entity_type, status, flags, status_as_of, face, import_id)
             SELECT value ->> 'id', value ->> 'uscc', value ->> 'name', value ->> 'entity_type', value ->> 'status',
                 value ->> 'flags', value ->> 'status_as_of', value ->> 'face', value ->> 'import_id'
             FROM json_each($1) WHERE TRUE
             ON CONFLICT (uscc) DO UPDATE SET name = excluded.name, entity_type = excluded.entity_type,
                 status = excluded.status, flags = excluded.flags, status_as_of = excluded.status_as_of,
                 face = excluded.face, import_id = excluded.import_id"
        }
        Dialect::Postgres => {
            "INSERT INTO entities (id, uscc, name, entity_type, status, flags, status_as_of, face, import_id)
             SELECT id, uscc, name, entity_type, status, flags, status_as_of, face, import_id
             FROM json_to_recordset($1::json) AS offered (id BIGINT, uscc TEXT, name TEXT, entity_type TEXT,
                 status BIGINT, flags TEXT, status_as_of BIGINT, face TEXT, import_id BIGINT)
             ON CONFLICT (uscc) DO UPDATE SET name = excluded.name, entity_type = excluded.entity_type,
                 status = excluded.status, flags = excluded.flags, status_as_of = excluded.status_as_of,
                 face = excluded.face, import_id = excluded.import_id"
        }
    };
    let inserted = query(insert).bind(json(&rows)).execute(&mut *connection).await;
    inserted.map_err(|error| StoreError::from_insert(ENTITY, first.uscc, error))?;
    index(connection, dialect, found_anew).await
}

/// Puts words under which entities are found in the place of those there are.
async fn index(connection: &mut Connection<'_>, dialect: Dialect, words: &[Words]) -> Result<(), StoreError> {
    if words.is_empty() {
        return Ok(());
    }
    let rows = json(&words);
    let insert = match dialect {
        Dialect::Sqlite => {
            let delete =
                "DELETE FROM entity_search WHERE rowid IN (SELECT value ->> 'id' FROM json_each($1))";
            query(delete).bind(&rows).execute(&mut *connection).await?;
            "INSERT INTO entity_search (rowid, grams) SELECT value ->> 'id', value ->> 'words' FROM json_each($1)"
        }
        Dialect::Postgres => {
            "INSERT INTO entity_search (id, grams)
             SELECT id, to_tsvector('simple', words)
             FROM json_to_recordset($1::json) AS offered (id BIGINT, words TEXT)
             ON CONFLICT (id) DO UPDATE SET grams = excluded.grams"
        }
    };
    query(insert).bind(&rows).execute(&mut *connection).await?;
    Ok(())
}

/// Has every entity found that was there before there was an index; of several gateways one does it.
pub(super) async fn index_all(connection: &mut Connection<'_>, dialect: Dialect) -> Result<(), StoreError> {
    const PART: usize = 1000;
    if !is_unindexed(connection).await? {
        return Ok(()); // another gateway did it meanwhile
    }
    let mut after = 0_i64;
    loop {
        let page = "SELECT id, name, status FROM entities WHERE id > $1 ORDER BY id LIMIT 1000";
        let rows = query(page).bind(after).fetch_all(&mut *connection).await?;
        let mut words = Vec::with_capacity(rows.len());
        for row in &rows {
            after = row.try_get("id")?;
            words
                .push(Words { id: after, words: names::words(row.try_get("name")?, row.try_get("status")?) });
        }
        index(connection, dialect, &words).await?;
        if rows.len() < PART {
            return Ok(());
        }
    }
}

/// Whether there are entities and none of them is found by its name.
pub(super) async fn is_unindexed(connection: &mut Connection<'_>) -> Result<bool, StoreError> {
    let unindexed = "SELECT 1 FROM entities WHERE NOT EXISTS (SELECT 1 FROM entity_search) LIMIT 1";
    Ok(query(unindexed).fetch_optional(&mut *connection).await?.is_some())
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default() // texts and numbers: always JSON
}
