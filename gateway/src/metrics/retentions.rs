//! Licenses that apps keep as they were shown.

use formats::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MadeLabel {
    source: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What was retained, and what came of the asking for it.
#[derive(Default)]
pub(super) struct RetentionFigures {
    made: Family<MadeLabel, Counter>,
    files: Family<OutcomeLabel, Counter>,
}

impl RetentionFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "retentions",
            "Licenses retained, by where they came from and how they were judged",
            self.made.clone(),
        );
        registry.register(
            "retained_files",
            "Files of retentions asked for and found, by what came of it",
            self.files.clone(),
        );
    }
}

impl Metrics {
    /// A license was retained.
    pub(crate) fn retention(&self, source: &'static str, verdict: Verdict) {
        self.retentions.made.get_or_create(&MadeLabel { source, verdict: verdict.name() }).inc();
    }

    /// The file of a retention was asked for.
    pub(crate) fn retained_file(&self, outcome: &'static str) {
        self.retentions.files.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
