//! What inspections found, and what they judge the gateway's own answers by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use formats::inspection_report::Grade;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use super::Metrics;
use super::labels::TlsFile;
use crate::inspections::Finding;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckGrade {
    check: String,
    grade: &'static str,
}

/// Figures of inspections.
#[derive(Default)]
pub(crate) struct InspectionFigures {
    checks: Family<CheckGrade, Gauge>,
    alarms: Family<CheckGrade, Counter>,
    last: Gauge,
    answered: AtomicU64,
    failed: AtomicU64,
    /// How many there had been when inspections were kept, the oldest first.
    marks: Mutex<VecDeque<Mark>>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    answers: (u64, u64),
}

/// What is asked of no business: by whoever watches the gateway, and by browsers that show the console.
fn is_watching(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics") || route.starts_with("/console")
}

/// Answers are judged over this time at least, so that inspections one after the other do not each judge a few.
const LEAST: Duration = Duration::from_secs(3_600);

impl InspectionFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "inspection_checks",
            "Findings of the last inspection that this gateway made, by check and how they came out",
            self.checks.clone(),
        );
        registry.register(
            "inspection_alarms",
            "Checks that were worse than at the inspection before, by check and how they came out",
            self.alarms.clone(),
        );
        registry.register(
            "inspection_last_seconds",
            "Unix time at which this gateway last ended an inspection; 0 before the first",
            self.last.clone(),
        );
    }

    /// Something was answered.
    pub(super) fn answered(&self, route: &str, status: u16) {
        if is_watching(route) {
            return;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        if status >= 500 {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers since the start, and those of them with a status of 500 or more.
    fn answers(&self) -> (u64, u64) {
        // In this order one that comes between counts as answered, and never as failed alone.
        let failed = self.failed.load(Ordering::Relaxed);
        (self.answered.load(Ordering::Relaxed).max(failed), failed)
    }

    /// The same since the last inspection that was kept an hour ago or earlier; since the start without such a one.
    pub(crate) fn answers_since_last(&self, now: Instant) -> (u64, u64) {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let old = marks.iter().rev().find(|mark| now.saturating_duration_since(mark.at) >= LEAST);
        let (before, failed_before) = old.map_or((0, 0), |mark| mark.answers);
        let (answered, failed) = self.answers();
        (answered.saturating_sub(before), failed.saturating_sub(failed_before))
    }

    /// An inspection that judged the answers so far was kept.
    fn mark(&self, now: Instant) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those that are old enough only the last one is asked for any more.
        while marks.get(1).is_some_and(|next| now.saturating_duration_since(next.at) >= LEAST) {
            marks.pop_front();
        }
        marks.push_back(Mark { at: now, answers: self.answers() });
    }

    /// An inspection ended.
    pub(crate) fn made(&self, at: OffsetDateTime, findings: &[Finding]) {
        self.checks.clear();
        for finding in findings {
            let label = CheckGrade { check: finding.code().to_owned(), grade: finding.grade().as_str() };
            self.checks.get_or_create(&label).inc();
        }
        self.last.set(at.unix_timestamp());
        self.mark(Instant::now());
    }

    /// A check got worse.
    pub(crate) fn alarmed(&self, check: &str, grade: Grade) {
        let label = CheckGrade { check: check.to_owned(), grade: grade.as_str() };
        self.alarms.get_or_create(&label).inc();
    }
}

impl Metrics {
    /// When the listeners' certificate ends; none while they show none.
    pub(crate) fn listener_until(&self) -> Option<OffsetDateTime> {
        let until = self.tls_until.get(&TlsFile { what: "certificate" })?.get();
        OffsetDateTime::from_unix_timestamp(until).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_over_an_hour_at_least_and_those_to_watchers_are_none() {
        let (figures, start) = (InspectionFigures::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let answer = |count: u32, status| (0..count).for_each(|_| figures.answered("/v1/signatures", status));
        for route in ["/livez", "/readyz", "/metrics", "/console/", "/console/{file}"] {
            figures.answered(route, 503);
        }
        assert_eq!(figures.answers_since_last(at(0)), (0, 0));
        answer(10, 201);
        answer(2, 503);
        assert_eq!(figures.answers_since_last(at(1)), (12, 2));
        figures.mark(at(1));
        answer(5, 201);
        // One of a minute before takes nothing away, and one that was not kept neither.
        assert_eq!(figures.answers_since_last(at(2)), (17, 2));
        assert_eq!(figures.answers_since_last(at(60)), (17, 2));
        assert_eq!(figures.answers_since_last(at(61)), (5, 0));
        figures.mark(at(61));
        answer(1, 500);
        assert_eq!(figures.answers_since_last(at(62)), (6, 1));
        assert_eq!(figures.answers_since_last(at(200)), (1, 1));
        (200..300).for_each(|minute| figures.mark(at(minute)));
        assert!(figures.marks.lock().unwrap().len() <= 62);
    }
}
