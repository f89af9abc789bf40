//! How the register of registration statuses is asked.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use verify_front::RegisterFigures;

use super::labels::Outcome;

/// Gauges over the questions.
#[derive(Default)]
pub(super) struct StatusGauges {
    questions: Family<Outcome, Gauge>,
    in_flight: Gauge,
    paused: Gauge,
}

impl StatusGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "status_questions",
            "Questions for registration statuses since the start, by what came of them",
            self.questions.clone(),
        );
        registry.register(
            "status_questions_in_flight",
            "Questions to the national service under way",
            self.in_flight.clone(),
        );
        registry.register(
            "status_register_paused",
            "1 while the national service is left alone because it failed",
            self.paused.clone(),
        );
    }

    pub(super) fn take(&self, figures: &RegisterFigures) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let kept = [("answered", &figures.answered), ("cached", &figures.cached)];
        let kept = kept.map(|(outcome, number)| (outcome, number.load(Ordering::Relaxed)));
        for (outcome, number) in kept.into_iter().chain(figures.failed()) {
            self.questions.get_or_create(&Outcome { outcome }).set(whole(number));
        }
        self.in_flight.set(whole(figures.in_flight()));
        self.paused.set(figures.is_paused().into());
    }
}
