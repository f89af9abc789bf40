#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::multiples::{KEY_WIDTH, Multiples};
use crate::verify::{verify, verify_by_rustcrypto, verify_together, verify_with};
use crate::{PublicKey, Signature, Sm2Error};

/// What a [`Verifier`] may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierOptions {
    /// Whose arithmetic it is.
    pub implementation: Implementation,
    /// How much memory the tables of keys may take together, in bytes; one takes 86 KiB.
    pub table_bytes: usize,
    /// At which use of a key its table is made. Making one costs as much as some five
    /// verifications without it.
    pub table_after: u32,
}

impl Default for VerifierOptions {
    fn default() -> Self {
        Self { implementation: Implementation::Windowed, table_bytes: 128 << 20, table_after: 24 }
    }
}

/// Whose arithmetic verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// This crate's, with tables of multiples.
    Windowed,
    /// That of RustCrypto's `sm2`, several times slower: an independent way out.
    RustCrypto,
}

/// One question to [`Verifier::verify_batch`].
#[derive(Clone, Copy, Debug)]
pub struct Verification<'a> {
    /// Whose signature it should be.
    pub key: &'a PublicKey,
    /// What should be signed: [`e()`](crate::e()).
    pub e: &'a [u8; 32],
    /// The signature.
    pub signature: &'a Signature,
}

/// Verifies signatures, faster under keys that come often.
///
/// A key that has come [`table_after`](VerifierOptions::table_after) times gets a table of its
/// multiples; the keys used last keep theirs. So a stream of keys that never come again costs no
/// more than [`verify`](crate::verify()) does and a bounded amount of memory.
pub struct Verifier {
    options: VerifierOptions,
    keys: Mutex<Keys>,
}

type Coordinates = [u8; 64];
type Table = Multiples<KEY_WIDTH>;

struct Keys {
    tables: LruCache<Coordinates, Arc<Table>, RandomState>,
    /// What `tables` takes.
    bytes: usize,
    /// How often keys without a table have come; at most [`COUNTED`] keys.
    uses: LruCache<Coordinates, u32, RandomState>,
}

/// Signatures of a batch whose points are summed up together: as many as fit a second-level cache with all their terms.
const TOGETHER: usize = 32;

/// Fewer are not worth the inversions.
const FEWEST_TOGETHER: usize = 8;

/// Keys whose uses are counted: enough that a few thousand keys in turn all reach their table.
const COUNTED: usize = 16_384;

impl Verifier {
    /// A verifier that has seen no key.
    pub fn new(options: VerifierOptions) -> Self {
        let keys = Keys {
            tables: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
            uses: LruCache::unbounded_with_hasher(RandomState::new()),
        };
        Self { options, keys: Mutex::new(keys) }
    }

    /// Is `signature` the one of `key` over `e` (GB/T 32918.2, 7.1 from step B5 on)?
    ///
    /// # Errors
    /// [`Sm2Error::Mismatch`] when it is not.
    pub fn verify(&self, key: &PublicKey, e: &[u8; 32], signature: &Signature) -> Result<(), Sm2Error> {
        match self.options.implementation {
            Implementation::Windowed => match self.table(key) {
                Some(table) => verify_with(&table, e, signature),
                None => verify(key, e, signature),
            },
            Implementation::RustCrypto => verify_by_rustcrypto(key, e, signature),
        }
    }

    /// The answers of [`Verifier::verify`] to each of `verifications`, in their order; quicker together than one by one.
    pub fn verify_batch(&self, verifications: &[Verification<'_>]) -> Vec<Result<(), Sm2Error>> {
        verifications.chunks(TOGETHER).flat_map(|some| self.verify_some(some)).collect()
    }

    fn verify_some(&self, some: &[Verification<'_>]) -> Vec<Result<(), Sm2Error>> {
        if some.len() < FEWEST_TOGETHER || self.options.implementation != Implementation::Windowed {
            return some.iter().map(|one| self.verify(one.key, one.e, one.signature)).collect();
        }
        let tables: Vec<_> = some.iter().map(|one| self.table(one.key)).collect();
        let tabled = some
            .iter()
            .zip(&tables)
            .filter_map(|(one, table)| Some((&**table.as_ref()?, one.e, one.signature)));
        let mut together = verify_together(&tabled.collect::<Vec<_>>()).into_iter();
        let answer = |(one, table): (&Verification<'_>, &Option<_>)| match table {
            Some(_) => together.next().unwrap_or(Err(Sm2Error::Mismatch)),
            None => verify(one.key, one.e, one.signature),
        };
        some.iter().zip(&tables).map(answer).collect()
    }

    /// How many keys have a table, and how many bytes these tables take.
    pub fn tables(&self) -> (usize, usize) {
        let keys = self.keys();
        (keys.tables.len(), keys.bytes)
    }

    /// The table of `key`, made now if it is due.
    fn table(&self, key: &PublicKey) -> Option<Arc<Table>> {
        let coordinates = key.coordinates();
        {
            let mut keys = self.keys();
            if let Some(table) = keys.tables.get(coordinates) {
                return Some(Arc::clone(table));
            }
            if Table::BYTES > self.options.table_bytes || !keys.count(coordinates, self.options.table_after) {
                return None;
            }
        }
        // Others use the key without a table meanwhile; only who counted the last use comes here.
        let table = Arc::new(Table::of(key.point()));
        self.keys().insert(coordinates, Arc::clone(&table), self.options.table_bytes);
        Some(table)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // Nothing panics in the middle of a change.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Counts a use of a key without a table: is it time for one?
    fn count(&mut self, key: &Coordinates, due: u32) -> bool {
        let uses = self.uses.get_or_insert_mut_ref(key, || 0);
        *uses += 1;
        if *uses >= due {
            self.uses.pop(key);
            return true;
        }
        if self.uses.len() > COUNTED {
            self.uses.pop_lru();
        }
        false
    }

    fn insert(&mut self, key: &Coordinates, table: Arc<Table>, limit: usize) {
        if self.tables.put(*key, table).is_none() {
            self.bytes += Table::BYTES;
        }
        while self.bytes > limit && self.tables.pop_lru().is_some() {
            self.bytes -= Table::BYTES;
        }
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new(VerifierOptions::default())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, bytes) = self.tables();
        write!(f, "Verifier({:?}, {keys} tables of {bytes} bytes)", self.options)
    }
}
