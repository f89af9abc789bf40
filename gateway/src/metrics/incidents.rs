//! Incidents: how many are open, and what becomes of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabel {
    level: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: String,
}

/// Figures of incidents.
#[derive(Default)]
pub(super) struct IncidentFigures {
    open: Family<LevelLabel, Gauge>,
    steps: Family<StepLabel, Counter>,
}

impl IncidentFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "incidents_open",
            "Open incidents over all gateways, by level; those that are not graded count as of the first",
            self.open.clone(),
        );
        registry.register(
            "incident_steps",
            "Steps of incidents that were made at this gateway, and promises that it warned of or told to be missed",
            self.steps.clone(),
        );
    }
}

impl Metrics {
    /// A step was made.
    pub(crate) fn incident_step(&self, step: &str) {
        self.incidents.steps.get_or_create(&StepLabel { step: step.to_owned() }).inc();
    }

    /// So many are open, of the first to the fourth level.
    pub(crate) fn incidents_open(&self, open: [usize; 4]) {
        for (level, open) in (1..).zip(open) {
            let open = i64::try_from(open).unwrap_or(i64::MAX);
            self.incidents.open.get_or_create(&LevelLabel { level }).set(open);
        }
    }
}
