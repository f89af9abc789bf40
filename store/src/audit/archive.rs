//! Old entries in a folder (or another object store) instead of the database: whole tiles of them, a file for each range.
//! Their hashes stay in the database, so proofs do not know the difference.

use std::path::Path;
use std::sync::Arc;

use formats::scheme::HashAlgorithm;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt};
use time::OffsetDateTime;

use super::export::{Line, parse_line};
use super::tree::{Hash, TILE, leaf_hash};
use super::{LogId, LogRecord, StoredEntry, corrupt, read_number, stored};
use crate::database::{Row, query};
use crate::{Store, StoreError};

/// Most entries of one file.
const SEGMENT: u64 = 64 * TILE;
/// Rows deleted in one transaction: the database's one writer is not held up for long.
const DELETE: u64 = 4 * TILE;

/// Where old entries are kept.
#[derive(Debug, Clone)]
pub struct Archive(Arc<dyn ObjectStore>);

/// A range of entries that is in the archive, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its first entry.
    pub start: u64,
    /// The first entry after it.
    pub until: u64,
    /// The file's name in the archive.
    pub name: String,
    /// SM3 of the file.
    pub digest: Hash,
    /// When its last entry was written, in Unix seconds.
    pub written_at: i64,
    /// When the file was removed because its time was over, in Unix seconds.
    pub removed_at: Option<i64>,
}

/// Why the archive did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder or object store.
    #[error("the archive failed")]
    Blob(#[from] object_store::Error),
    /// The database.
    #[error("the archive's register failed")]
    Store(#[from] StoreError),
    /// What was read is not what was written.
    #[error("{name} in the archive is not as it was written")]
    Changed {
        /// The file.
        name: String,
    },
    /// An entry does not fit the tree: it is left where it is.
    #[error("entry {0} of the audit log is broken and is not archived")]
    Broken(u64),
}

impl From<sqlx::Error> for ArchiveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Archive {
    /// An archive in a folder, which is made if there is none.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn folder(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |error| object_store::Error::Generic { store: "folder", source: Box::new(error) };
        std::fs::create_dir_all(path).map_err(failed)?;
        // Entries leave the database for it: it has to be on disk as surely as they were.
        Ok(Self(Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true))))
    }

    /// A segment's file as it is now, and whether that is as it was written.
    pub(crate) async fn read(&self, segment: &Segment) -> Result<(Vec<u8>, bool), ArchiveError> {
        let octets = self.0.get(&Name::from(segment.name.as_str())).await?.bytes().await?;
        let as_written = HashAlgorithm::Sm3.digest(&octets) == segment.digest;
        Ok((octets.into(), as_written))
    }

    /// A segment's file, if it is as it was written.
    async fn unchanged(&self, segment: &Segment) -> Result<Vec<u8>, ArchiveError> {
        match self.read(segment).await? {
            (octets, true) => Ok(octets),
            (_, false) => Err(ArchiveError::Changed { name: segment.name.clone() }),
        }
    }

    /// The entries of a segment.
    ///
    /// # Errors
    /// The file is gone, or is not as it was written.
    pub async fn entries(&self, segment: &Segment) -> Result<Vec<(u64, Vec<u8>)>, ArchiveError> {
        let octets = self.unchanged(segment).await?;
        let mut entries = Vec::new();
        // The digest holds: every line is one that was written here.
        for line in String::from_utf8_lossy(&octets).lines() {
            if let Ok(Line::Entry { index, entry, .. }) = parse_line(line) {
                entries.push((index, entry.into_bytes()));
            }
        }
        Ok(entries)
    }
}

impl Store {
    /// What of a log was archived, in order.
    pub async fn audit_segments(&self, log: LogId) -> Result<Vec<Segment>, StoreError> {
        let text = "SELECT start, until, name, digest, written_at, removed_at FROM audit_segments
            WHERE log = $1 ORDER BY start";
        let rows = query(text).bind(log.0).fetch_all(self.readers()).await?;
        rows.iter().map(read_segment).collect()
    }

    /// The archived range that an entry is in, unless its time was over.
    pub(crate) async fn audit_segment_of(
        &self,
        log: LogId,
        index: u64,
    ) -> Result<Option<Segment>, StoreError> {
        let text = "SELECT start, until, name, digest, written_at, removed_at FROM audit_segments
            WHERE log = $1 AND start <= $2 AND until > $2 AND removed_at IS NULL";
        let row = query(text).bind(log.0).bind(stored(index)).fetch_optional(self.readers()).await?;
        row.as_ref().map(read_segment).transpose()
    }

    /// An entry from the archive; nothing if it was never there or its time was over.
    ///
    /// # Errors
    /// See [`Archive::entries`].
    pub async fn archived_entry(
        &self,
        log: LogId,
        archive: &Archive,
        index: u64,
    ) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(segment) = self.audit_segment_of(log, index).await? else { return Ok(None) };
        let entries = archive.entries(&segment).await?;
        Ok(entries.into_iter().find(|(at, _)| *at == index).map(|(_, entry)| entry))
    }

    /// Moves the oldest entries that were written before `before` into the archive: whole tiles, signed ones only, at most
    /// one file. Answers what it moved; nothing when nothing is old enough.
    ///
    /// # Errors
    /// The archive, the database, or [`ArchiveError::Broken`]. An entry leaves the database only after its file was read
    /// back and is registered.
    pub async fn archive_audit(
        &self,
        log: &LogRecord,
        archive: &Archive,
        before: OffsetDateTime,
    ) -> Result<Option<Segment>, ArchiveError> {
        let start = self.audit_segments(log.id).await?.last().map_or(0, |last| last.until);
        self.delete_archived(log.id, start).await?; // what a crash left
        let signed = self.audit_checkpoint(log.id, None).await?.map_or(0, |checkpoint| checkpoint.size);
        let size = self.audit_size(log.id).await?;
        let old = self.first_written(log.id, before.unix_timestamp(), start, size).await?;
        // The newest entry stays: the log goes on from it.
        let until = old.min(signed).min(size.saturating_sub(1)).min(start + SEGMENT) / TILE * TILE;
        if until <= start {
            return Ok(None);
        }
        let (mut text, mut written_at) = (Line::log(&log.origin, start, until, until).text(), 0);
        let mut next = start;
        while next < until {
            let tile = self.audit_tile(log.id, 0, next / TILE, TILE).await?;
            let rows = self.audit_entries_of(log.id, next, TILE as u32).await?;
            for (place, hash) in (next..).zip(&tile) {
                let row = rows.get(usize::try_from(place - next).unwrap_or(usize::MAX));
                let row = row.filter(|row| row.index == place && leaf_hash(&row.entry) == *hash);
                let StoredEntry { entry, written_at: at, .. } = row.ok_or(ArchiveError::Broken(place))?;
                let entry = String::from_utf8(entry.clone()).map_err(|_| ArchiveError::Broken(place))?;
                text.push_str(&Line::Entry { index: place, entry, proof: None }.text());
                written_at = *at;
            }
            next += TILE;
        }
        text.push_str(&Line::End { entries: until - start }.text());
        let digest = HashAlgorithm::Sm3.digest(text.as_bytes());
        let segment = Segment {
            start,
            until,
            name: format!("audit/{}/{start:012}-{until:012}.jsonl", log.id),
            digest: digest.try_into().map_err(|_| corrupt(start, "digest"))?,
            written_at,
            removed_at: None,
        };
        archive.0.put(&Name::from(segment.name.as_str()), text.into_bytes().into()).await?;
        archive.unchanged(&segment).await?;
        query(
            "INSERT INTO audit_segments (log, start, until, name, digest, written_at, archived_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(log.id.0)
        .bind(stored(start))
        .bind(stored(until))
        .bind(&segment.name)
        .bind(&segment.digest[..])
        .bind(segment.written_at)
        .bind(OffsetDateTime::now_utc().unix_timestamp())
        .execute(self.writer())
        .await?;
        self.delete_archived(log.id, until).await?;
        Ok(Some(segment))
    }

    async fn delete_archived(&self, log: LogId, until: u64) -> Result<(), StoreError> {
        loop {
            let rows = self.audit_entries_of(log, 0, 1).await?;
            let Some(first) = rows.first().map(|row| row.index).filter(|first| *first < until) else {
                return Ok(());
            };
            query("DELETE FROM audit_entries WHERE log = $1 AND idx < $2")
                .bind(log.0)
                .bind(stored(until.min(first + DELETE)))
                .execute(self.writer())
                .await?;
        }
    }

    /// Removes a file whose time is over; its hashes and its row stay. That it is going to be removed has to be on record
    /// before.
    ///
    /// # Errors
    /// The archive or the database.
    pub async fn remove_segment(
        &self,
        log: LogId,
        archive: &Archive,
        segment: &Segment,
    ) -> Result<(), ArchiveError> {
        match archive.0.delete(&Name::from(segment.name.as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        query(
            "UPDATE audit_segments SET removed_at = $1 WHERE log = $2 AND start = $3 AND removed_at IS NULL",
        )
        .bind(OffsetDateTime::now_utc().unix_timestamp())
        .bind(log.0)
        .bind(stored(segment.start))
        .execute(self.writer())
        .await?;
        Ok(())
    }
}

fn read_segment(row: &Row) -> Result<Segment, StoreError> {
    let start = read_number(row.try_get("start")?, "start")?;
    Ok(Segment {
        start,
        until: read_number(row.try_get("until")?, "until")?,
        name: row.try_get("name")?,
        digest: row.try_get::<&[u8], _>("digest")?.try_into().map_err(|_| corrupt(start, "digest"))?,
        written_at: row.try_get("written_at")?,
        removed_at: row.try_get("removed_at")?,
    })
}
