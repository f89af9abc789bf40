//! What is stored so that the database alone tells nobody and nobody with the database alone can change it unseen.
//!
//! Three uses, each with a key of its own that is derived from the site's *data key* (docs/adr/0013):
//! - a secret or personal field is a [`sealed`](Protection::seal) cell, SM4-GCM bound to its table, column and row;
//! - what has to be found again has an [index](Protection::index) beside it, HMAC-SM3 of the value;
//! - a row that grants power carries a [code](Protection::code) over all of it, HMAC-SM3, checked whenever it is
//!   loaded.
//!
//! Data keys have versions; every stored value names the version it was made under. They are in memory only, and
//! only once a device has given them: until then every use is refused with [`StoreError::Locked`].

mod data_keys;
mod keys;
mod put_back;
mod rotation;
mod row;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use data_keys::{DATA_KEY_CREATED, DeviceKey, DeviceSecrets, UnlockError, Unlocked};
pub(crate) use data_keys::{is_protected, wraps_a_data_key};
pub use keys::{DataKey, DataKeys};
pub use put_back::RegisterWatch;
use put_back::Revisions;
pub(crate) use rotation::Batch;
pub use rotation::{NextDataKey, protected_tables};
pub use row::RowImage;
use zeroize::Zeroizing;

use crate::StoreError;
use crate::database::Connection;

/// Most altered rows that are told apart; further ones are counted only.
const MOST_ALTERED: usize = 1000;
/// Octets of the version at the head of each protected value, big-endian.
const VERSION: usize = 4;

/// The place of a protected value. A value that is moved to another place does not open there.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// Its table.
    pub table: &'static str,
    /// Its column.
    pub column: &'static str,
    /// The id of its row.
    pub row: &'a str,
}

/// The protection of one database. Clones share the keys.
#[derive(Clone, Default)]
pub struct Protection(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<Option<Arc<DataKeys>>>,
    /// Nothing may be done yet by what is stored.
    locked: AtomicBool,
    refused: AtomicU64,
    altered: Mutex<Altered>,
    /// Of rows of which an older one was put back: the revision that they have at least.
    lowest: RwLock<Revisions>,
    /// How often that was news.
    put_back: AtomicU64,
}

/// Rows that were refused, by table and id: each is reported once.
#[derive(Default)]
struct Altered {
    known: BTreeSet<String>,
    unreported: Vec<String>,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection").field("unlocked", &self.is_unlocked()).finish_non_exhaustive()
    }
}

impl Protection {
    /// Takes the keys into use, in place of those it had.
    pub fn unlock(&self, keys: DataKeys) {
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    /// Has what is stored count as locked until [`release`](Self::release): what is loaded before the keys are here
    /// cannot be judged.
    pub fn lock(&self) {
        self.0.locked.store(!self.is_unlocked(), Ordering::Release);
    }

    /// Has what is stored count as open: the keys are here, or there are none, and what was loaded without them has
    /// been loaded again.
    pub fn release(&self) {
        self.0.locked.store(false, Ordering::Release);
    }

    /// Whether nothing may be done yet by what is stored.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.locked.load(Ordering::Acquire)
    }

    /// Whether there are keys. Without any, what is stored is either [locked](Self::is_locked) or has never been
    /// protected.
    #[must_use]
    pub fn is_unlocked(&self) -> bool {
        self.keys().is_ok()
    }

    /// The version new values are made under.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub fn version(&self) -> Result<u32, StoreError> {
        Ok(self.keys()?.used().version())
    }

    /// Makes new values under this version from now on.
    pub(crate) fn use_version(&self, version: u32) {
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = keys.take().map(|keys| Arc::new(DataKeys::clone(&keys).using(version)));
    }

    /// Whether a stored value was made under a data key that is not here.
    pub(crate) fn lacks_key_of(&self, stored: &[u8]) -> bool {
        split(stored).is_some_and(|(version, _)| !self.has(version))
    }

    /// Whether the key of this version is here.
    pub(crate) fn has(&self, version: u32) -> bool {
        self.keys().is_ok_and(|keys| keys.version(version).is_some())
    }

    /// Rows refused since the start because their code was not theirs.
    #[must_use]
    pub fn refused_rows(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The rows refused since the last call that had not been refused before, as table and id.
    #[must_use]
    pub fn newly_altered(&self) -> Vec<String> {
        std::mem::take(&mut self.0.altered.lock().unwrap_or_else(PoisonError::into_inner).unreported)
    }

    /// Encrypts a value for its place.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; [`StoreError::Interrupted`] when the system gives no random numbers.
    pub fn seal(&self, cell: Cell<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let keys = self.keys()?;
        let key = keys.used();
        let mut sealed = key.version().to_be_bytes().to_vec();
        sealed.extend(key.encrypt(&additional_data(cell, key.version()), value)?);
        Ok(sealed)
    }

    /// Decrypts the value of a place.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; [`StoreError::Altered`] when it was not sealed for this place, or its data key is
    /// not there any more.
    pub fn open(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let keys = self.keys()?;
        let opened = split(sealed).and_then(|(version, sealed)| {
            keys.version(version)?.decrypt(&additional_data(cell, version), sealed)
        });
        opened.ok_or_else(|| StoreError::Altered { what: cell.table, id: cell.row.to_owned() })
    }

    /// The same value of the same place, encrypted under the data key in use.
    ///
    /// # Errors
    /// As of [`open`](Self::open) and [`seal`](Self::seal).
    pub fn reseal(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.seal(cell, &self.open(cell, sealed)?)
    }

    /// Whether a stored value was made under another data key than new ones and should be written anew when its row
    /// is.
    #[must_use]
    pub fn is_outdated(&self, stored: &[u8]) -> bool {
        let used = self.version().ok();
        split(stored).is_some_and(|(version, _)| used.is_some_and(|used| version != used))
    }

    /// What a value is found by: the same for the same value in the same column, and telling nothing of it. Values
    /// that mean the same have to be brought into one form first.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub fn index(
        &self,
        table: &'static str,
        column: &'static str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        Ok(index_under(self.keys()?.used(), table, column, value))
    }

    /// What a value may be found by, under every data key in use, newest first.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub fn indexes(
        &self,
        table: &'static str,
        column: &'static str,
        value: &[u8],
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.keys()?.newest_first().map(|key| index_under(key, table, column, value)).collect())
    }

    /// The code over a row that grants power.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub fn code(&self, row: &RowImage) -> Result<Vec<u8>, StoreError> {
        let keys = self.keys()?;
        let key = keys.used();
        Ok([&key.version().to_be_bytes()[..], &key.row_code(row.octets())].concat())
    }

    /// Whether rows that are written get a code now.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when they should and there are no keys.
    pub(crate) async fn codes_rows(&self, connection: &mut Connection<'_>) -> Result<bool, StoreError> {
        match self.is_unlocked() {
            true => Ok(true),
            false if is_protected(connection).await? => Err(StoreError::Locked),
            false => Ok(false),
        }
    }

    /// Checks a row that was loaded. A row that fails is counted, and must not be used.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; [`StoreError::Altered`] when the row is not as this gateway wrote it.
    pub fn check(&self, row: &RowImage, code: &[u8]) -> Result<(), StoreError> {
        let keys = self.keys()?;
        let right = split(code).is_some_and(|(version, code)| {
            keys.version(version).is_some_and(|key| key.row_code_is(row.octets(), code))
        });
        if right && !self.is_put_back(row) {
            return Ok(());
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        self.report(put_back::name(row.table(), row.id()));
        Err(StoreError::Altered { what: row.table(), id: row.id().to_owned() })
    }

    /// Refuses a row below this revision from now on; false if that is known.
    fn refuse_below(&self, row: &str, revision: i64) -> bool {
        let mut lowest = self.0.lowest.write().unwrap_or_else(PoisonError::into_inner);
        let known = lowest.insert(row.to_owned(), revision) == Some(revision);
        drop(lowest);
        if !known {
            self.0.put_back.fetch_add(1, Ordering::Relaxed);
            self.report(row.to_owned());
        }
        !known
    }

    /// How often a row was found to be older than it was seen. What was read before such a find is to be read again.
    #[must_use]
    pub fn put_back_rows(&self) -> u64 {
        self.0.put_back.load(Ordering::Relaxed)
    }

    fn is_put_back(&self, row: &RowImage) -> bool {
        let lowest = self.0.lowest.read().unwrap_or_else(PoisonError::into_inner);
        // Nobody pays for a name while there is none, which is always.
        !lowest.is_empty()
            && lowest
                .get(&put_back::name(row.table(), row.id()))
                .is_some_and(|lowest| row.revision() < *lowest)
    }

    fn report(&self, row: String) {
        let mut altered = self.0.altered.lock().unwrap_or_else(PoisonError::into_inner);
        if altered.known.len() < MOST_ALTERED && altered.known.insert(row.clone()) {
            tracing::error!(row, "a row was altered outside the gateway; it is not used");
            altered.unreported.push(row);
        }
    }

    fn keys(&self) -> Result<Arc<DataKeys>, StoreError> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone().ok_or(StoreError::Locked)
    }
}

fn split(stored: &[u8]) -> Option<(u32, &[u8])> {
    let (version, rest) = stored.split_first_chunk::<VERSION>()?;
    Some((u32::from_be_bytes(*version), rest))
}

fn index_under(key: &DataKey, table: &str, column: &str, value: &[u8]) -> Vec<u8> {
    [&key.version().to_be_bytes()[..], &key.index(&[table.as_bytes(), column.as_bytes(), value])].concat()
}

/// Where a sealed value belongs and under which version: no octet can move from one part to the next.
fn additional_data(cell: Cell<'_>, version: u32) -> Vec<u8> {
    let mut data = version.to_be_bytes().to_vec();
    for part in [cell.table, cell.column, cell.row] {
        row::push(&mut data, part.as_bytes());
    }
    data
}
