//! Sessions of people who scan with their license.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use store::ScanState;

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// What became of them, and who waits.
#[derive(Default)]
pub(super) struct SessionFigures {
    states: Family<StateLabel, Counter>,
    waiting: Gauge,
}

impl SessionFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("sessions", "Sessions that came to a state at this gateway", self.states.clone());
        registry.register(
            "sessions_waiting",
            "Apps' requests that wait for a session at this gateway",
            self.waiting.clone(),
        );
    }

    pub(super) fn take(&self, waiting: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl Metrics {
    /// A session came to a state.
    pub(crate) fn session(&self, state: ScanState) {
        self.sessions.states.get_or_create(&StateLabel { state: state.as_str() }).inc();
    }
}
