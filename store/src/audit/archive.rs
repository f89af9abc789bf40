//! Old entries in a folder (or another object store) instead of the database: whole tiles of them, a file for each range.
//! Their hashes stay in the database, so proofs do not know the difference.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formats::scheme::HashAlgorithm;
use lru::LruCache;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt};
use time::OffsetDateTime;

use super::export::{Line, parse_line};
use super::tree::{Hash, TILE, leaf_hash, root_from_inclusion};
use super::{AuditEntry, LogId, LogRecord, StoredEntry, TreeHead, corrupt, read_number, stored};
use crate::database::{Row, query};
use crate::{Moment, Store, StoreError};

/// Most entries of one file.
const SEGMENT: u64 = 64 * TILE;
/// An entry is not written longer than this before the time it speaks of: clocks are set by seconds, not by minutes.
const EARLIEST: time::Duration = time::Duration::minutes(10);
/// Rows deleted in one transaction: the database's one writer is not held up for long.
const DELETE: u64 = 4 * TILE;

/// Files that were read lately and are held, at most, and their octets if they are more than one.
const MOST_RECENT: usize = 8;
const MOST_HELD: usize = 32 << 20;

/// Where old entries are kept. Its clones share what was read lately.
#[derive(Clone)]
pub struct Archive {
    blobs: Arc<dyn ObjectStore>,
    recent: Arc<Recent>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.blobs.fmt(f)
    }
}

/// Files that were read lately, by their digests: a thousand requests for entries of one file cost one read.
struct Recent {
    files: Mutex<LruCache<Hash, Arc<Opened>>>,
    /// Held by whoever reads a file: the others find it read.
    reading: tokio::sync::Mutex<()>,
}

/// A file that is as it was written, and where its lines begin.
struct Opened {
    text: String,
    lines: Vec<usize>,
}

impl Opened {
    /// Nothing if it is not the file with this digest.
    fn of(octets: Vec<u8>, digest: Hash) -> Option<Self> {
        let text =
            (HashAlgorithm::Sm3.digest(&octets) == digest).then(|| String::from_utf8(octets).ok())??;
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect();
        Some(Self { text, lines })
    }

    /// The entry with this place in the log, of a file that begins at `start`.
    fn entry(&self, start: u64, index: u64) -> Option<Vec<u8>> {
        // Below the line that says which log it is, in order and without a gap.
        let line = usize::try_from(index.checked_sub(start)?).ok()?.checked_add(1)?;
        let text = self.text.get(*self.lines.get(line)?..)?.lines().next()?;
        match parse_line(text) {
            Ok(Line::Entry { index: at, entry, .. }) if at == index => Some(entry.into_bytes()),
            _ => None,
        }
    }

    fn entries(&self) -> Vec<(u64, Vec<u8>)> {
        let entry = |line| match parse_line(line) {
            Ok(Line::Entry { index, entry, .. }) => Some((index, entry.into_bytes())),
            _ => None,
        };
        self.text.lines().filter_map(entry).collect()
    }
}

impl Recent {
    fn new() -> Self {
        let most = NonZeroUsize::new(MOST_RECENT).expect("it is not 0");
        Self { files: Mutex::new(LruCache::new(most)), reading: tokio::sync::Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, LruCache<Hash, Arc<Opened>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, digest: &Hash) -> Option<Arc<Opened>> {
        self.files().get(digest).cloned()
    }

    fn keep(&self, digest: Hash, opened: Arc<Opened>) {
        let mut files = self.files();
        files.put(digest, opened);
        let held = |files: &LruCache<Hash, Arc<Opened>>| -> usize {
            files.iter().map(|(_, opened)| opened.text.len()).sum()
        };
        while files.len() > 1 && held(&files) > MOST_HELD {
            files.pop_lru();
        }
    }
}

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
    /// What the database says of when an entry was written is not what the entry says: it is left where it is.
    #[error("entry {0} of the audit log was written before the time it speaks of and is not archived")]
    Misdated(u64),
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
        let blobs = Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true));
        Ok(Self { blobs, recent: Arc::new(Recent::new()) })
    }

    async fn octets(&self, segment: &Segment) -> Result<Vec<u8>, ArchiveError> {
        Ok(self.blobs.get(&Name::from(segment.name.as_str())).await?.bytes().await?.into())
    }

    /// A segment's file as it is now, and whether that is as it was written; for a thread that may take its time.
    pub(crate) async fn read(&self, segment: &Segment) -> Result<(Vec<u8>, bool), ArchiveError> {
        let octets = self.octets(segment).await?;
        let same = HashAlgorithm::Sm3.digest(&octets) == segment.digest;
        Ok((octets, same))
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

    /// The archived range that an entry is in or was.
    pub(crate) async fn audit_segment_over(
        &self,
        log: LogId,
        index: u64,
    ) -> Result<Option<Segment>, StoreError> {
        let text = "SELECT start, until, name, digest, written_at, removed_at FROM audit_segments
            WHERE log = $1 AND start <= $2 AND until > $2";
        let row = query(text).bind(log.0).bind(stored(index)).fetch_optional(self.readers()).await?;
        row.as_ref().map(read_segment).transpose()
    }

    /// The archived range that an entry is in, unless its time was over.
    pub(crate) async fn audit_segment_of(
        &self,
        log: LogId,
        index: u64,
    ) -> Result<Option<Segment>, StoreError> {
        Ok(self.audit_segment_over(log, index).await?.filter(|segment| segment.removed_at.is_none()))
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
        Ok(self.segment_opened(archive, &segment).await?.entry(segment.start, index))
    }

    /// Whether an entry is in the archive and its file would have to be read for it.
    pub async fn needs_archive_read(
        &self,
        log: LogId,
        archive: &Archive,
        index: u64,
    ) -> Result<bool, StoreError> {
        let segment = self.audit_segment_of(log, index).await?;
        Ok(segment.is_some_and(|segment| archive.recent.find(&segment.digest).is_none()))
    }

    /// The entries of a segment.
    ///
    /// # Errors
    /// The file is gone, or is not as it was written.
    pub(crate) async fn archived_entries(
        &self,
        archive: &Archive,
        segment: &Segment,
    ) -> Result<Vec<(u64, Vec<u8>)>, ArchiveError> {
        let opened = self.segment_opened(archive, segment).await?;
        Ok(self.compute(move || opened.entries()).await?)
    }

    /// A segment's file, if it is as it was written: the one that is held, or one that is read now.
    async fn segment_opened(
        &self,
        archive: &Archive,
        segment: &Segment,
    ) -> Result<Arc<Opened>, ArchiveError> {
        let Archive { recent, .. } = archive;
        if let Some(opened) = recent.find(&segment.digest) {
            return Ok(opened);
        }
        let _reading = recent.reading.lock().await;
        if let Some(opened) = recent.find(&segment.digest) {
            return Ok(opened); // whoever was before wanted it too
        }
        let opened = Arc::new(self.segment_as_it_is(archive, segment).await?);
        recent.keep(segment.digest, Arc::clone(&opened));
        Ok(opened)
    }

    /// A segment's file as it is now, if that is as it was written.
    async fn segment_as_it_is(&self, archive: &Archive, segment: &Segment) -> Result<Opened, ArchiveError> {
        // The place is taken before the file is read: memory holds as many files as there are places.
        let place = self.computing_place().await?;
        let (octets, digest) = (archive.octets(segment).await?, segment.digest);
        let opened = Self::compute_in(place, move || Opened::of(octets, digest)).await?;
        opened.ok_or_else(|| ArchiveError::Changed { name: segment.name.clone() })
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
        let most = old.min(signed).min(size.saturating_sub(1)).min(start + SEGMENT) / TILE * TILE;
        let (mut entries, mut written_at, mut until) = (String::new(), 0, start);
        while until < most {
            let tile = self.audit_tile(log.id, 0, until / TILE, TILE).await?;
            let rows = self.audit_entries_of(log.id, until, TILE as u32).await?;
            let old = self.compute(move || old_tile(until, &tile, &rows, before)).await??;
            let Some((text, at)) = old else { break };
            entries.push_str(&text);
            (written_at, until) = (at, until + TILE);
        }
        if until == start {
            return Ok(None);
        }
        let mut text = Line::log(&log.origin, start, until, until).text();
        text.push_str(&entries);
        text.push_str(&Line::End { entries: until - start }.text());
        let (text, digest) = self
            .compute(move || {
                let digest = HashAlgorithm::Sm3.digest(text.as_bytes());
                (text, digest)
            })
            .await?;
        let segment = Segment {
            start,
            until,
            name: format!("audit/{}/{start:012}-{until:012}.jsonl", log.id),
            digest: digest.try_into().map_err(|_| corrupt(start, "digest"))?,
            written_at,
            removed_at: None,
        };
        archive.blobs.put(&Name::from(segment.name.as_str()), text.into_bytes().into()).await?;
        let (octets, digest) = (archive.octets(&segment).await?, segment.digest);
        if self.compute(move || HashAlgorithm::Sm3.digest(&octets) != digest).await? {
            return Err(ArchiveError::Changed { name: segment.name });
        }
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

    /// When the last entry of an archived range happened, by the entry itself: it has to be in the tree that the log's
    /// writer holds, whatever the database says of it. Nothing when the file is gone.
    ///
    /// # Errors
    /// The archive, the database, or [`ArchiveError::Broken`].
    pub async fn segment_end(
        &self,
        log: LogId,
        archive: &Archive,
        segment: &Segment,
        head: TreeHead,
    ) -> Result<Option<OffsetDateTime>, ArchiveError> {
        let last = segment.until - 1;
        // The file itself, not what is remembered of it: it is going to be removed.
        let entry = match self.segment_as_it_is(archive, segment).await {
            Err(ArchiveError::Blob(object_store::Error::NotFound { .. })) => return Ok(None),
            opened => opened?.entry(segment.start, last).ok_or(ArchiveError::Broken(last))?,
        };
        let path = self.audit_inclusion(log, last, head.size).await?;
        let root = root_from_inclusion(&leaf_hash(&entry), last, head.size, &path);
        let said = said_at(&entry).filter(|_| root == Some(head.root));
        said.map(Some).ok_or(ArchiveError::Broken(last))
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
        match archive.blobs.delete(&Name::from(segment.name.as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        query(
            "UPDATE audit_segments SET removed_at = $1 WHERE log = $2 AND start = $3 AND removed_at IS NULL",
        )
        .bind(self.reckoned(Moment::now()).unix_timestamp())
        .bind(log.0)
        .bind(stored(segment.start))
        .execute(self.writer())
        .await?;
        Ok(())
    }
}

/// The lines of a tile's entries and when the last of them was written, if all of them speak of a time before `before`.
fn old_tile(
    start: u64,
    tile: &[Hash],
    rows: &[StoredEntry],
    before: OffsetDateTime,
) -> Result<Option<(String, i64)>, ArchiveError> {
    let (mut text, mut written_at) = (String::new(), 0);
    for (place, hash) in (start..).zip(tile) {
        let row = rows.get(usize::try_from(place - start).unwrap_or(usize::MAX));
        let row = row.filter(|row| row.index == place && leaf_hash(&row.entry) == *hash);
        let StoredEntry { entry, written_at: at, .. } = row.ok_or(ArchiveError::Broken(place))?;
        // What is hashed decides: `written_at` can be changed beside it.
        let said = said_at(entry).ok_or(ArchiveError::Broken(place))?;
        if *at < said.unix_timestamp() - EARLIEST.whole_seconds() {
            return Err(ArchiveError::Misdated(place));
        }
        if said >= before {
            return Ok(None);
        }
        let entry = String::from_utf8(entry.clone()).map_err(|_| ArchiveError::Broken(place))?;
        text.push_str(&Line::Entry { index: place, entry, proof: None }.text());
        written_at = *at;
    }
    Ok(Some((text, written_at)))
}

fn said_at(entry: &[u8]) -> Option<OffsetDateTime> {
    serde_json::from_slice::<AuditEntry>(entry).ok().map(|entry| entry.at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DatabaseAccess;

    #[tokio::test]
    async fn a_file_is_not_read_before_there_is_a_place_to_work_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(DatabaseAccess::new(url)).await.unwrap();
        let log = store.audit_log_of("gateway").await.unwrap();
        let archive = Archive::folder(&folder.path().join("archive")).unwrap();
        let entry = Line::Entry { index: 0, entry: "{}".to_owned(), proof: None };
        let text = Line::log(&log.origin, 0, TILE, TILE).text() + &entry.text();
        query(
            "INSERT INTO audit_segments (log, start, until, name, digest, written_at, archived_at)
             VALUES ($1, 0, 256, 'file', $2, 0, 0)",
        )
        .bind(log.id.0)
        .bind(&HashAlgorithm::Sm3.digest(text.as_bytes())[..])
        .execute(store.writer())
        .await
        .unwrap();

        let places = (store.computing_place().await.unwrap(), store.computing_place().await.unwrap());
        let reading = tokio::spawn({
            let (store, archive) = (store.clone(), archive.clone());
            async move { store.archived_entry(log.id, &archive, 0).await }
        });
        for _ in 0..1000 {
            assert!(
                store.audit_segment_over(log.id, 0).await.unwrap().is_some(),
                "time for the other to go on"
            );
        }
        assert!(!reading.is_finished(), "it waits");
        // Whoever had read it by now would have found none.
        archive.blobs.put(&Name::from("file"), text.into_bytes().into()).await.unwrap();
        drop(places);
        assert_eq!(reading.await.unwrap().unwrap().as_deref(), Some(&b"{}"[..]));

        // Read once: what is asked for again does not depend on the file any more.
        assert!(!store.needs_archive_read(log.id, &archive, 0).await.unwrap());
        archive.blobs.delete(&Name::from("file")).await.unwrap();
        let many = (0..1000).map(|_| {
            let (store, archive) = (store.clone(), archive.clone());
            tokio::spawn(async move { store.archived_entry(log.id, &archive, 0).await.unwrap().unwrap() })
        });
        for again in many.collect::<Vec<_>>() {
            assert_eq!(again.await.unwrap(), b"{}");
        }
        // A file of another digest is another file, and so is one in an archive that was not read yet.
        query("DROP TRIGGER audit_segments_are_fixed").execute(store.writer()).await.unwrap();
        query("UPDATE audit_segments SET digest = $1")
            .bind(&[0; 32][..])
            .execute(store.writer())
            .await
            .unwrap();
        assert!(store.needs_archive_read(log.id, &archive, 0).await.unwrap());
        assert!(store.archived_entry(log.id, &archive, 0).await.is_err());
        store.close().await;
    }
}
