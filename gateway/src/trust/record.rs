//! What has become of the attempts to reach a source, for operators.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use config::SourceUrl;
use time::OffsetDateTime;

use super::fetch::Failure;

/// What a fetch brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something newer.
    Taken,
    /// What was there already.
    Unchanged,
}

/// The attempts at one source.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Record>);

/// What is remembered of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Record {
    pub(super) last: Option<OffsetDateTime>,
    pub(super) last_success: Option<OffsetDateTime>,
    /// In a row, up to now.
    pub(super) failures: u32,
    /// The last attempt's, if it failed.
    pub(super) failure: Option<Failure>,
    /// Attempts since the start, by what came of them.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Record {
    /// What the last attempt came to.
    pub(super) fn outcome(&self) -> &'static str {
        match (&self.failure, self.last) {
            (Some(failure), _) => failure.code,
            (None, Some(_)) => "ok",
            (None, None) => "none",
        }
    }
}

impl Attempts {
    fn record(&self) -> MutexGuard<'_, Record> {
        // Nothing panics in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> Record {
        self.record().clone()
    }

    pub(super) fn succeeded(&self, outcome: Outcome) {
        let word = match outcome {
            Outcome::Taken => "taken",
            Outcome::Unchanged => "unchanged",
        };
        let now = OffsetDateTime::now_utc();
        let mut record = self.record();
        (record.last, record.last_success, record.failures, record.failure) = (Some(now), Some(now), 0, None);
        *record.counts.entry(word).or_default() += 1;
    }

    /// Says so in the log; answers how many failures in a row there are now.
    pub(super) fn failed(&self, url: &SourceUrl, failure: &Failure) -> u32 {
        let mut record = self.record();
        record.last = Some(OffsetDateTime::now_utc());
        record.failures = record.failures.saturating_add(1);
        record.failure = Some(failure.clone());
        *record.counts.entry(failure.code).or_default() += 1;
        let failures = record.failures;
        drop(record);
        let Failure { code, detail } = failure;
        if failure.is_suspicious() {
            tracing::error!(%url, code, detail, failures, "a source of revocations sent what must not be taken");
        } else {
            tracing::warn!(%url, code, detail, failures, "a source of revocations gave nothing");
        }
        failures
    }
}
