//! What is on its way to apps.

use std::sync::atomic::Ordering;

use outbound::Figures;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::Outcome;

/// Gauges over the queue.
#[derive(Default)]
pub(super) struct DeliveryGauges {
    attempts: Family<Outcome, Gauge>,
    waiting: Gauge,
    dead: Gauge,
}

impl DeliveryGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "delivery_attempts",
            "Attempts to deliver to apps since start, by what came of them",
            self.attempts.clone(),
        );
        registry.register("deliveries_waiting", "Deliveries to apps that wait", self.waiting.clone());
        registry.register("deliveries_dead", "Deliveries to apps that were given up", self.dead.clone());
    }

    pub(super) fn take(&self, figures: &Figures) {
        let read = |number: &std::sync::atomic::AtomicU64| {
            i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
        };
        for (outcome, number) in
            [("delivered", &figures.delivered), ("failed", &figures.failed), ("dead", &figures.dead)]
        {
            self.attempts.get_or_create(&Outcome { outcome }).set(read(number));
        }
        self.waiting.set(read(&figures.waiting));
        self.dead.set(read(&figures.lying));
    }
}
