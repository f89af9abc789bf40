//! What inspections found, and what they judge the gateway's own answers by.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

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
    pub(super) fn answered(&self, status: u16) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if status >= 500 {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers since this was asked last, and those of them with a status of 500 or more.
    pub(crate) fn answers_since_last(&self) -> (u64, u64) {
        // In this order an answer that comes between counts as answered at the latest next time, and never as failed alone.
        let failed = self.failed.swap(0, Ordering::Relaxed);
        (self.answered.swap(0, Ordering::Relaxed).max(failed), failed)
    }

    /// An inspection ended.
    pub(crate) fn made(&self, at: OffsetDateTime, findings: &[Finding]) {
        self.checks.clear();
        for finding in findings {
            let label = CheckGrade { check: finding.code().to_owned(), grade: finding.grade().as_str() };
            self.checks.get_or_create(&label).inc();
        }
        self.last.set(at.unix_timestamp());
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
