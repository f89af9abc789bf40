//! Documents on their way through the gateway, in a folder (or another object store) beside the database, sealed.
//!
//! A blob is written and read in parts, so that none is held whole for that. Each part is sealed for its blob, its owner
//! and its place, the last one as the last: no part can be moved, left out or given to somebody else. Nothing names a
//! blob before it is whole; one that nothing names is a leftover of a gateway that was killed, and is removed by its age.

use std::path::Path;
use std::sync::Arc;

use config::AppId;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use sm3::{Digest, Sm3};
use time::OffsetDateTime;

use crate::StoreError;
use crate::protection::{Cell, Protection};

/// Octets of a part.
const PART: usize = 1 << 20;
/// How much longer a sealed part is: version, nonce and tag.
const SEALING: usize = 4 + 12 + 16;

/// Where blobs are kept.
#[derive(Clone)]
pub struct Blobs {
    place: Arc<dyn ObjectStore>,
    protection: Protection,
}

/// A whole blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name, which no other has.
    pub name: String,
    /// Whose it is: it opens for nobody else.
    pub app: AppId,
    /// Its octets.
    pub octets: u64,
    /// SM3 over them.
    pub sm3: [u8; 32],
}

/// A blob that is being written. Dropped before [`finish`](Self::finish) it leaves nothing that anybody would find.
pub struct BlobWriter {
    upload: Option<Box<dyn MultipartUpload>>,
    protection: Protection,
    name: String,
    app: AppId,
    part: u64,
    buffer: Vec<u8>,
    octets: u64,
    digest: Sm3,
}

pub(crate) fn failed(error: &object_store::Error) -> StoreError {
    StoreError::Blobs { reason: crate::error::with_causes(error) }
}

impl Blobs {
    /// Blobs in a folder, which is made if there is none. What is kept there is sealed by the store's data key.
    ///
    /// # Errors
    /// [`StoreError::Blobs`]: the folder cannot be made or read.
    pub fn folder(path: &Path, protection: &Protection) -> Result<Self, StoreError> {
        let made = std::fs::create_dir_all(path);
        made.map_err(|error| StoreError::Blobs { reason: format!("{}: {error}", path.display()) })?;
        let folder = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(&error))?;
        // What a row names must be on disk as surely as the row.
        Ok(Self { place: Arc::new(folder.with_fsync(true)), protection: protection.clone() })
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key; [`StoreError::Blobs`].
    pub async fn writer(&self, app: &AppId) -> Result<BlobWriter, StoreError> {
        self.protection.version()?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| StoreError::Interrupted)?;
        let name = hex::encode(random);
        let upload = self.place.put_multipart(&at(&name)).await.map_err(|error| failed(&error))?;
        Ok(BlobWriter {
            upload: Some(upload),
            protection: self.protection.clone(),
            name,
            app: app.clone(),
            part: 0,
            buffer: Vec::with_capacity(PART),
            octets: 0,
            digest: Sm3::new(),
        })
    }

    /// Writes a blob of octets that are at hand.
    ///
    /// # Errors
    /// As of [`Self::writer`].
    pub async fn write(&self, app: &AppId, octets: &[u8]) -> Result<Blob, StoreError> {
        let mut writer = self.writer(app).await?;
        writer.write(octets).await?;
        writer.finish().await
    }

    /// How many parts a blob has.
    #[must_use]
    pub fn parts(blob: &Blob) -> u64 {
        blob.octets.div_ceil(PART as u64).max(1)
    }

    /// One of its parts.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what is not as it was written; [`StoreError::Blobs`] of what is not there.
    pub async fn part(&self, blob: &Blob, part: u64) -> Result<Vec<u8>, StoreError> {
        let sealed = (PART + SEALING) as u64;
        let is_last = part + 1 == Self::parts(blob);
        let length = if is_last { blob.octets - part * PART as u64 } else { PART as u64 };
        let range = part * sealed..part * sealed + length + SEALING as u64;
        let octets = self.place.get_range(&at(&blob.name), range).await.map_err(|error| failed(&error))?;
        let (protection, place) = (self.protection.clone(), place(blob, part, is_last));
        let opened = tokio::task::spawn_blocking(move || protection.open(cell(&place), &octets));
        Ok(opened.await.map_err(|_| StoreError::Interrupted)??.to_vec())
    }

    /// All of it.
    ///
    /// # Errors
    /// As of [`Self::part`].
    pub async fn read(&self, blob: &Blob) -> Result<Vec<u8>, StoreError> {
        let mut octets = Vec::with_capacity(usize::try_from(blob.octets).unwrap_or(0));
        for part in 0..Self::parts(blob) {
            octets.extend_from_slice(&self.part(blob, part).await?);
        }
        Ok(octets)
    }

    /// Removes a blob; one that is gone is removed.
    ///
    /// # Errors
    /// [`StoreError::Blobs`].
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.place.delete(&at(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The names of those that were written before.
    ///
    /// # Errors
    /// [`StoreError::Blobs`].
    pub async fn older_than(&self, before: OffsetDateTime) -> Result<Vec<String>, StoreError> {
        let listed = self.place.list_with_delimiter(Some(&Name::from(FOLDER))).await;
        let objects = listed.map_err(|error| failed(&error))?.objects.into_iter();
        let old = objects.filter(|object| object.last_modified.timestamp() < before.unix_timestamp());
        Ok(old.filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }
}

impl BlobWriter {
    /// Octets so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds octets.
    ///
    /// # Errors
    /// As of [`Blobs::writer`].
    pub async fn write(&mut self, mut octets: &[u8]) -> Result<(), StoreError> {
        while !octets.is_empty() {
            if self.buffer.len() == PART {
                self.put(false).await?; // there is more: this is not the last
            }
            let (now, later) = octets.split_at(octets.len().min(PART - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            octets = later;
        }
        Ok(())
    }

    /// The blob, which is on disk.
    ///
    /// # Errors
    /// As of [`Blobs::writer`].
    pub async fn finish(mut self) -> Result<Blob, StoreError> {
        self.put(true).await?;
        if let Some(mut upload) = self.upload.take() {
            upload.complete().await.map_err(|error| failed(&error))?;
        }
        let sm3 = self.digest.clone().finalize().into();
        Ok(Blob { name: self.name.clone(), app: self.app.clone(), octets: self.octets, sm3 })
    }

    async fn put(&mut self, is_last: bool) -> Result<(), StoreError> {
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(if is_last { 0 } else { PART }));
        self.octets += part.len() as u64;
        let blob = Blob { name: self.name.clone(), app: self.app.clone(), octets: 0, sm3: [0; 32] };
        let place = place(&blob, self.part, is_last);
        self.part += 1;
        let (protection, mut digest) = (self.protection.clone(), std::mem::take(&mut self.digest));
        let sealing = tokio::task::spawn_blocking(move || {
            digest.update(&part);
            (protection.seal(cell(&place), &part), digest)
        });
        let (sealed, digest) = sealing.await.map_err(|_| StoreError::Interrupted)?;
        self.digest = digest;
        let Some(upload) = self.upload.as_mut() else { return Err(StoreError::Interrupted) };
        upload.put_part(PutPayload::from(sealed?)).await.map_err(|error| failed(&error))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // What stays because this fails has a name that nothing reads.
            runtime.spawn(async move { upload.abort().await });
        }
    }
}

/// Blobs have a folder of their own in the place.
const FOLDER: &str = "documents";

fn at(name: &str) -> Name {
    Name::from_iter([FOLDER, name])
}

fn place(blob: &Blob, part: u64, is_last: bool) -> String {
    format!("{} {} {part}{}", blob.app, blob.name, if is_last { " last" } else { "" })
}

fn cell(place: &str) -> Cell<'_> {
    Cell { table: "blobs", column: "part", row: place }
}
