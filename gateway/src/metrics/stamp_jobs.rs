//! Documents that are stamped many at a time.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::Outcome;
use crate::stamp_jobs::Figures;

/// Gauges over jobs' documents.
#[derive(Default)]
pub(super) struct StampJobGauges {
    attempts: Family<Outcome, Gauge>,
    waiting: Gauge,
    working: Gauge,
}

impl StampJobGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "stamp_job_attempts",
            "Attempts to stamp a document of a job since start, by what came of them",
            self.attempts.clone(),
        );
        registry.register("stamp_job_documents_waiting", "Documents of jobs that wait", self.waiting.clone());
        registry.register(
            "stamp_job_documents_working",
            "Documents of jobs that are worked on",
            self.working.clone(),
        );
    }

    pub(super) fn take(&self, figures: &Figures) {
        let read = |number: &std::sync::atomic::AtomicU64| {
            i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
        };
        for (outcome, number) in
            [("stamped", &figures.stamped), ("failed", &figures.failed), ("again", &figures.again)]
        {
            self.attempts.get_or_create(&Outcome { outcome }).set(read(number));
        }
        self.waiting.set(read(&figures.waiting));
        self.working.set(read(&figures.working));
    }
}
