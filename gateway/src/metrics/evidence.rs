//! Evidence that stamps are verified with later.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::labels::Outcome;

/// Figures of evidence: `first` of stamps that had none, `renewal` of others.
#[derive(Default)]
pub(super) struct EvidenceFigures {
    added: Family<Outcome, Counter>,
    due: Family<Outcome, Gauge>,
}

impl EvidenceFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("stamp_evidence", "Stamps whose evidence was taken or renewed", self.added.clone());
        registry.register(
            "stamp_evidence_due",
            "Stamps whose evidence is due, over all gateways",
            self.due.clone(),
        );
    }
}

impl Metrics {
    /// Evidence was taken of so many stamps, and renewed of so many.
    pub(crate) fn evidence_added(&self, first: usize, renewed: usize) {
        for (outcome, number) in [("first", first), ("renewal", renewed)] {
            self.evidence.added.get_or_create(&Outcome { outcome }).inc_by(number as u64);
        }
    }

    /// So many stamps wait for their first evidence, and so many for a renewal.
    pub(crate) fn evidence_due(&self, (first, renewals): (u64, u64)) {
        for (outcome, number) in [("first", first), ("renewal", renewals)] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.evidence.due.get_or_create(&Outcome { outcome }).set(number);
        }
    }
}
