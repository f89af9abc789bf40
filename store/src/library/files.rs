//! The files of licenses (公示版): which there are of an entity, and their contents beside the database, called by
//! their digests.
//!
//! Contents are as they are published, so they are not sealed. They are read a part at a time, and each part is held against
//! its digest in the database before anybody has it: what was changed or lost on the disk is an error, never other octets.

use std::path::Path;
use std::sync::Arc;

use formats::license_file::FileForm;
use formats::uscc::Uscc;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use sm3::{Digest, Sm3};
use time::OffsetDateTime;

use crate::blobs::failed;
use crate::database::{Row, instant, query};
use crate::{Store, StoreError};

const LICENSE_FILE: &str = "license file";
/// Octets that are held against a digest together.
const PART: usize = 1 << 20;
/// Files of an entity that are listed.
const MOST_LISTED: i64 = 200;

/// A file of a license, as the library has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenseFile {
    /// Whose license it shows.
    pub uscc: Uscc,
    /// OFD or PDF.
    pub form: FileForm,
    /// What its contents are.
    pub contents: Contents,
    /// The name it came under.
    pub source: String,
    /// When it came into the library.
    pub added_at: OffsetDateTime,
    /// Since when it is not delivered any more.
    pub removed_at: Option<OffsetDateTime>,
}

/// What octets are, without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// SM3 over them.
    pub digest: [u8; 32],
    /// How many.
    pub octets: u64,
    /// SM3 of each MiB of them.
    parts: Vec<[u8; 32]>,
}

/// What became of a file that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOutcome {
    /// It is the newest one of its entity and form now.
    Added,
    /// It was there; nothing changed.
    Known,
}

/// Where the contents of license files are kept.
#[derive(Clone)]
pub struct LicenseFiles(Arc<dyn ObjectStore>);

impl Contents {
    /// What these octets are.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let parts = octets.chunks(PART).map(|part| Sm3::digest(part).into()).collect();
        Self { digest: Sm3::digest(octets).into(), octets: octets.len() as u64, parts }
    }

    /// The digest as text, which is what the contents are called.
    #[must_use]
    pub fn name(&self) -> String {
        hex::encode(self.digest)
    }

    /// Octets of a part; the last one may have fewer.
    pub const PART: u64 = PART as u64;

    /// How many parts they have.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.parts.len() as u64
    }
}

impl LicenseFiles {
    /// Contents in a folder, which is made if there is none.
    ///
    /// # Errors
    /// [`StoreError::Blobs`]: the folder cannot be made or read.
    pub fn folder(path: &Path) -> Result<Self, StoreError> {
        let made = std::fs::create_dir_all(path);
        made.map_err(|error| StoreError::Blobs { reason: format!("{}: {error}", path.display()) })?;
        let folder = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(&error))?;
        // What a row names must be on disk as surely as the row.
        Ok(Self(Arc::new(folder.with_fsync(true))))
    }

    /// Writes contents, whole or not at all; those that were there are written anew.
    ///
    /// # Errors
    /// [`StoreError::Blobs`].
    pub async fn put(&self, contents: &Contents, octets: Vec<u8>) -> Result<(), StoreError> {
        let put = self.0.put(&at(contents), PutPayload::from(octets)).await;
        put.map(drop).map_err(|error| failed(&error))
    }

    /// Whether something of the right size is there.
    ///
    /// # Errors
    /// [`StoreError::Blobs`].
    pub async fn has(&self, contents: &Contents) -> Result<bool, StoreError> {
        match self.0.head(&at(contents)).await {
            Ok(found) => Ok(found.size == contents.octets),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }

    /// One part, as it was written.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what is not there or not as it was; [`StoreError::Blobs`] if that cannot be told.
    pub async fn part(&self, contents: &Contents, part: u64) -> Result<Vec<u8>, StoreError> {
        let altered = || StoreError::Altered { what: LICENSE_FILE, id: contents.name() };
        let wanted = usize::try_from(part).ok().and_then(|part| contents.parts.get(part).copied());
        let wanted = wanted.ok_or_else(altered)?;
        let start = part * Contents::PART;
        let range = start..contents.octets.min(start + Contents::PART);
        let octets = match self.0.get_range(&at(contents), range).await {
            Ok(octets) => octets,
            // One that was cut off has no such range.
            Err(_) if !self.has(contents).await? => return Err(altered()),
            Err(error) => return Err(failed(&error)),
        };
        let held = tokio::task::spawn_blocking(move || {
            let same = <[u8; 32]>::from(Sm3::digest(&octets)) == wanted;
            same.then(|| octets.to_vec())
        });
        held.await.map_err(|_| StoreError::Interrupted)?.ok_or_else(altered)
    }
}

/// Spread over folders: there are millions.
fn at(contents: &Contents) -> Name {
    let name = contents.name();
    Name::from_iter([&name[..2], &name[2..4], &name])
}

impl Store {
    /// Enters files whose contents are written, all of them or none, in their order. Answers what became of each.
    ///
    /// # Errors
    /// [`StoreError::MissingReference`] for an entity that is not known.
    pub async fn add_license_files(&self, files: &[LicenseFile]) -> Result<Vec<FileOutcome>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut outcomes = Vec::with_capacity(files.len());
        for file in files {
            let name = file.contents.name();
            let added = query(
                "INSERT INTO license_files (uscc, kind, digest, octets, parts, source, added_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (digest) DO NOTHING",
            )
            .bind(file.uscc.as_str())
            .bind(file.form.name())
            .bind(&name)
            .bind(i64::try_from(file.contents.octets).unwrap_or(i64::MAX))
            .bind(file.contents.parts.concat())
            .bind(&file.source)
            .bind(file.added_at.unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert(LICENSE_FILE, &name, error))?;
            outcomes.push(if added.rows_affected() == 1 { FileOutcome::Added } else { FileOutcome::Known });
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    /// The file with these contents, delivered or not.
    pub async fn license_file_of(&self, digest: &[u8; 32]) -> Result<Option<LicenseFile>, StoreError> {
        let row = query("SELECT * FROM license_files WHERE digest = $1")
            .bind(hex::encode(digest))
            .fetch_optional(self.readers())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// An entity's file of a form: that of this digest, else the newest that is delivered. If all that there were have been
    /// removed, the newest of those.
    pub async fn license_file(
        &self,
        uscc: &Uscc,
        form: FileForm,
        digest: Option<&[u8; 32]>,
    ) -> Result<Option<LicenseFile>, StoreError> {
        let row = query(
            "SELECT * FROM license_files WHERE uscc = $1 AND kind = $2 AND ($3 = '' OR digest = $3)
             ORDER BY CASE WHEN removed_at IS NULL THEN 0 ELSE 1 END, id DESC LIMIT 1",
        )
        .bind(uscc.as_str())
        .bind(form.name())
        .bind(digest.map(hex::encode).unwrap_or_default())
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The files of an entity that are delivered, the newest first.
    pub async fn license_files(&self, uscc: &Uscc) -> Result<Vec<LicenseFile>, StoreError> {
        let rows = query(
            "SELECT * FROM license_files WHERE uscc = $1 AND removed_at IS NULL ORDER BY id DESC LIMIT $2",
        )
        .bind(uscc.as_str())
        .bind(MOST_LISTED)
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(read).collect()
    }

    /// Has a file not delivered any more; its contents stay. Answers whether it was until now.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove_license_file(
        &self,
        digest: &[u8; 32],
        at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let removed =
            query("UPDATE license_files SET removed_at = $2 WHERE digest = $1 AND removed_at IS NULL")
                .bind(hex::encode(digest))
                .bind(at.unix_timestamp())
                .execute(self.writer())
                .await?;
        Ok(removed.rows_affected() == 1)
    }
}

fn read(row: &Row) -> Result<LicenseFile, StoreError> {
    let name: String = row.try_get("digest")?;
    let corrupt = |column| StoreError::Corrupt { what: LICENSE_FILE, id: name.clone(), column };
    let mut digest = [0; 32];
    hex::decode_to_slice(&name, &mut digest).map_err(|_| corrupt("digest"))?;
    let octets = u64::try_from(row.try_get::<i64, _>("octets")?).map_err(|_| corrupt("octets"))?;
    let (parts, rest) = row.try_get::<&[u8], _>("parts")?.as_chunks::<32>();
    if !rest.is_empty() || parts.len() as u64 != octets.div_ceil(Contents::PART) {
        return Err(corrupt("parts"));
    }
    Ok(LicenseFile {
        uscc: Uscc::parse_sandbox(row.try_get("uscc")?).map_err(|_| corrupt("uscc"))?,
        form: FileForm::of_name(row.try_get("kind")?).ok_or_else(|| corrupt("kind"))?,
        contents: Contents { digest, octets, parts: parts.to_vec() },
        source: row.try_get("source")?,
        added_at: instant(row, "added_at")?.ok_or_else(|| corrupt("added_at"))?,
        removed_at: instant(row, "removed_at")?,
    })
}
