//! What was found for certificates that come again, each finding with the span of time for which it holds.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use lru::LruCache;
use time::OffsetDateTime;

use super::Usage;
use super::span::Span;
use crate::verdict::{Finding, Judgement};
use crate::x509::Certificate;

/// What a store remembers unless it is told otherwise, octets.
const LIMIT: usize = 8 << 20;

/// Spans kept of one question: now, and some past times.
const MOST_SPANS: usize = 8;

/// What a question takes beside its spans, octets, generously.
const QUESTION_BYTES: usize = size_of::<Question>() + 160;

/// How much a trust store remembers of what it has judged, and how often that helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Certificates, by usage, about which something is known.
    pub certificates: usize,
    /// Octets taken.
    pub bytes: usize,
    /// Judgements that were remembered.
    pub hits: u64,
    /// Judgements that had to be made.
    pub misses: u64,
}

/// All that a judgement depends on beside the trust store and the time. A memory belongs to one store, which never
/// changes, so there is nothing of it that could be out of date.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// SHA-256 over leaf and additional intermediates in their order, each with its length.
    certificates: [u8; 32],
    usage: Usage,
}

/// Judgements by what was asked, those used last.
pub(super) struct Memory {
    limit: usize,
    known: Mutex<Known>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Known {
    judgements: LruCache<Question, Vec<Remembered>, RandomState>,
    bytes: usize,
}

struct Remembered {
    span: Span,
    judgement: Arc<Judgement>,
}

impl Question {
    pub(super) fn new(leaf: &Certificate, extra_intermediates: &[Certificate], usage: Usage) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for certificate in std::iter::once(leaf).chain(extra_intermediates) {
            context.update(&(certificate.der().len() as u64).to_be_bytes());
            context.update(certificate.der());
        }
        let mut certificates = [0; 32];
        certificates.copy_from_slice(context.finish().as_ref());
        Self { certificates, usage }
    }
}

impl Memory {
    /// An empty one that takes `limit` octets at most; with 0 it remembers nothing.
    pub(super) fn new(limit: usize) -> Self {
        let judgements = LruCache::unbounded_with_hasher(RandomState::new());
        Self { limit, known: Mutex::new(Known { judgements, bytes: 0 }), hits: 0.into(), misses: 0.into() }
    }

    /// As large a one that remembers nothing yet.
    pub(super) fn emptied(&self) -> Arc<Self> {
        Arc::new(Self::new(self.limit))
    }

    /// What is known to hold at a time, or what `judge` finds, which is then known.
    pub(super) fn judgement(
        &self,
        question: Question,
        at: OffsetDateTime,
        judge: impl FnOnce() -> (Judgement, Span),
    ) -> Judgement {
        if let Some(judgement) = self.known().find(&question, at) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Judgement::clone(&judgement);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let (judgement, span) = judge();
        let remembered = Remembered { span, judgement: Arc::new(judgement.clone()) };
        self.known().keep(question, remembered, self.limit);
        judgement
    }

    pub(super) fn usage(&self) -> MemoryUse {
        let known = self.known();
        MemoryUse {
            certificates: known.judgements.len(),
            bytes: known.bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics in the middle of a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&mut self, question: &Question, at: OffsetDateTime) -> Option<Arc<Judgement>> {
        let spans = self.judgements.get_mut(question)?;
        let place = spans.iter().position(|remembered| remembered.span.contains(at))?;
        // The one used last stands first.
        spans[..=place].rotate_right(1);
        Some(Arc::clone(&spans[0].judgement))
    }

    fn keep(&mut self, question: Question, new: Remembered, limit: usize) {
        if QUESTION_BYTES + new.bytes() > limit {
            return;
        }
        if !self.judgements.contains(&question) {
            self.bytes += QUESTION_BYTES;
        }
        let spans = self.judgements.get_or_insert_mut(question, Vec::new);
        // Another thread may have found the same meanwhile.
        if spans.iter().any(|known| known.span == new.span) {
            return;
        }
        if spans.len() == MOST_SPANS {
            self.bytes -= spans.pop().map_or(0, |least| least.bytes());
        }
        self.bytes += new.bytes();
        spans.insert(0, new);
        while self.bytes > limit
            && let Some((_, spans)) = self.judgements.pop_lru()
        {
            self.bytes -= QUESTION_BYTES + spans.iter().map(Remembered::bytes).sum::<usize>();
        }
    }
}

impl Remembered {
    /// What it takes, octets.
    fn bytes(&self) -> usize {
        let findings = self.judgement.findings.iter();
        let findings: usize = findings.map(|finding| size_of::<Finding>() + finding.detail.len()).sum();
        // A list may have room for as much again.
        2 * size_of::<Self>() + size_of::<Judgement>() + 2 * findings
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({:?})", self.usage())
    }
}
