//! The tree as the database keeps it: full tiles in a table, the edge in the entries themselves. A proof reads two tiles
//! of each level, whatever the log's size.

use super::tree::{Edge, Hash, TILE, Tile, Tiles};
use super::{LogId, corrupt, stored};
use crate::database::{Connection, DedicatedConnection, Executor, Row, query};
use crate::{Store, StoreError};

/// Entries whose hashes are read in one go when tiles are made anew.
const CHUNK: u64 = 16 * TILE;

impl Store {
    /// The root of the first `size` entries of a log.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it has fewer.
    pub async fn audit_root(&self, log: LogId, size: u64) -> Result<Hash, StoreError> {
        let tiles = self.load_tiles(log, size.saturating_sub(1), size).await?;
        tiles.root(size).map_err(missing)
    }

    /// The inclusion proof of entry `index` in the tree of `size` entries, RFC 9162 section 2.1.3.1.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the log has fewer entries, or `index` is not below `size`.
    pub async fn audit_inclusion(&self, log: LogId, index: u64, size: u64) -> Result<Vec<Hash>, StoreError> {
        if index >= size {
            return Err(StoreError::NotFound { what: "audit entry", id: index.to_string() });
        }
        self.load_tiles(log, index, size).await?.inclusion(index, size).map_err(missing)
    }

    /// The consistency proof between the trees of `first` and `second` entries, RFC 9162 section 2.1.4.1.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the log has fewer entries than `second`, or `second` is below `first`.
    pub async fn audit_consistency(
        &self,
        log: LogId,
        first: u64,
        second: u64,
    ) -> Result<Vec<Hash>, StoreError> {
        if first > second {
            return Err(StoreError::NotFound { what: "audit entry", id: first.to_string() });
        }
        let tiles = self.load_tiles(log, first.saturating_sub(1), second).await?;
        tiles.consistency(first, second).map_err(missing)
    }

    /// The hash of an entry, which stays when the entry itself has gone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the log has no such entry.
    pub async fn audit_leaf(&self, log: LogId, index: u64) -> Result<Hash, StoreError> {
        let within = index % TILE;
        let tile = self.audit_tile(log, 0, index / TILE, within + 1).await?;
        let hash = usize::try_from(within).ok().and_then(|within| tile.get(within)).copied();
        hash.ok_or_else(|| corrupt(index, "leaf_hash"))
    }

    /// The tiles that a proof about an index and a size needs.
    async fn load_tiles(&self, log: LogId, index: u64, size: u64) -> Result<Tiles, StoreError> {
        let mut tiles = Tiles::default();
        self.add_tiles(log, index, size, &mut tiles).await?;
        Ok(tiles)
    }

    /// Adds the tiles that a proof needs and that are not there yet.
    pub(crate) async fn add_tiles(
        &self,
        log: LogId,
        index: u64,
        size: u64,
        tiles: &mut Tiles,
    ) -> Result<(), StoreError> {
        for (level, number, hashes) in Tiles::needed(index, size) {
            if !tiles.holds(level, number, hashes) {
                let tile = self.audit_tile(log, level, number, hashes).await?;
                tiles.insert(level, number, tile);
            }
        }
        Ok(())
    }

    /// The first `hashes` hashes of a tile.
    pub(crate) async fn audit_tile(
        &self,
        log: LogId,
        level: u32,
        number: u64,
        hashes: u64,
    ) -> Result<Vec<Hash>, StoreError> {
        let full = query("SELECT hashes FROM audit_tiles WHERE log = $1 AND level = $2 AND number = $3")
            .bind(log.0)
            .bind(i64::from(level))
            .bind(stored(number))
            .fetch_optional(self.readers())
            .await?;
        let kept = match full {
            Some(row) => split_hashes(row.try_get("hashes")?).ok_or_else(|| corrupt(number, "hashes"))?,
            None => edge_of(self.readers(), log, level, number * TILE, hashes).await?,
        };
        let wanted = usize::try_from(hashes).ok().and_then(|wanted| kept.get(..wanted));
        let wanted = wanted.ok_or_else(|| StoreError::NotFound {
            what: "audit entry",
            id: ((number * TILE + hashes) << (8 * level)).saturating_sub(1).to_string(),
        })?;
        Ok(wanted.to_vec())
    }
}

fn missing(tile: super::tree::MissingTile) -> StoreError {
    StoreError::NotFound { what: "tile of the audit log", id: tile.to_string() }
}

/// The hashes that stand one after the other in a column.
pub(crate) fn split_hashes(octets: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = octets.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Hashes of a level, `from` on, where no full tile holds them.
async fn edge_of<'c>(
    on: impl Into<Executor<'c>>,
    log: LogId,
    level: u32,
    from: u64,
    most: u64,
) -> Result<Vec<Hash>, StoreError> {
    let rows = match level.checked_sub(1) {
        None => {
            let text = "SELECT leaf_hash AS hash FROM audit_entries
                WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
            let query = query(text).bind(log.0).bind(stored(from)).bind(stored(from + most));
            query.fetch_all(on).await?
        }
        Some(below) => {
            let text = "SELECT root AS hash FROM audit_tiles
                WHERE log = $1 AND number >= $2 AND number < $3 AND level = $4 ORDER BY number";
            let query = query(text).bind(log.0).bind(stored(from)).bind(stored(from + most));
            query.bind(i64::from(below)).fetch_all(on).await?
        }
    };
    let read =
        |row: &Row| Hash::try_from(row.try_get::<&[u8], _>("hash")?).map_err(|_| corrupt(from, "leaf_hash"));
    rows.iter().map(read).collect()
}

/// Where a log ends: the edge of its tree, and when its last entry was written.
pub(crate) struct End {
    pub(crate) edge: Edge,
    pub(crate) written_at: i64,
}

/// Reads a log's end; tiles that are missing below it, as in a log from before there were any, are made on the way.
pub(crate) async fn load_end(connection: &mut DedicatedConnection, log: LogId) -> Result<End, StoreError> {
    let mut transaction = connection.begin_write().await?;
    let last = query("SELECT idx, written_at FROM audit_entries WHERE log = $1 ORDER BY idx DESC LIMIT 1")
        .bind(log.0)
        .fetch_optional(&mut *transaction)
        .await?;
    let (size, written_at) = match last {
        Some(row) => (super::read_number(row.try_get("idx")?, "idx")? + 1, row.try_get("written_at")?),
        None => (0, 0),
    };
    let tiles: i64 = query("SELECT count(*) FROM audit_tiles WHERE log = $1 AND level = 0")
        .bind(log.0)
        .fetch_one(&mut *transaction)
        .await?
        .try_get(0)?;
    let tiles = super::read_number(tiles, "number")?;
    let mut levels = vec![Vec::new()];
    let mut above = tiles;
    let mut level = 1;
    while above > 0 {
        let begin = above - above % TILE;
        levels.push(edge_of(&mut *transaction, log, level, begin, above - begin).await?);
        above /= TILE;
        level += 1;
    }
    transaction.commit().await?;
    let mut edge = Edge::new(tiles * TILE, levels);
    if size > edge.size() + CHUNK {
        tracing::info!(entries = size, "making the tree of an audit log that has none yet");
    }
    while edge.size() < size {
        let mut transaction = connection.begin_write().await?;
        let leaves = edge_of(&mut *transaction, log, 0, edge.size(), CHUNK).await?;
        if leaves.is_empty() {
            return Err(corrupt(edge.size(), "idx"));
        }
        let mut full = Vec::new();
        for leaf in leaves {
            edge.push(leaf, &mut full);
        }
        insert_tiles(&mut transaction, log, &full).await?;
        transaction.commit().await?;
    }
    Ok(End { edge, written_at })
}

pub(crate) async fn insert_tiles(
    connection: &mut Connection<'_>,
    log: LogId,
    tiles: &[Tile],
) -> Result<(), sqlx::Error> {
    for tile in tiles {
        query("INSERT INTO audit_tiles (log, level, number, root, hashes) VALUES ($1, $2, $3, $4, $5)")
            .bind(log.0)
            .bind(i64::from(tile.level))
            .bind(stored(tile.number))
            .bind(&tile.root[..])
            .bind(tile.hashes.as_flattened())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
