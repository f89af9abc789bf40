//! Token buckets of whoever is told apart by a name or an address, without a register of them.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

/// Names that are remembered; whoever was seen longest ago is forgotten, and begins with a full burst again.
pub(crate) const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// How often somebody may ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Times a second.
    pub(crate) rate: f64,
    /// Times at once.
    pub(crate) burst: f64,
}

/// A bucket for each.
pub(crate) struct Buckets<K>(Mutex<LruCache<K, Bucket>>);

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq> Default for Buckets<K> {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// Takes a token; where there is none, says when there will be one.
    pub(crate) fn take(&self, whose: K, pace: Pace, now: Instant) -> Option<Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert_mut(whose, || Bucket { tokens: pace.burst, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * pace.rate).min(pace.burst);
        bucket.at = now.max(bucket.at);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - bucket.tokens) / pace.rate))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
