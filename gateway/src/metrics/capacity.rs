//! How much the parts that work is waiting for have to do.

use super::Metrics;
use super::labels::{GroupLabel, PoolLabel};
use crate::state::Gateway;

impl Metrics {
    /// How much groups and database have to do.
    pub(super) fn take_capacity(&self, gateway: &Gateway) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for gauge in [&self.group_load, &self.group_load_peak, &self.group_queue, &self.group_queue_peak] {
            gauge.clear();
        }
        for group in gateway.fleet.groups() {
            let label = GroupLabel { group: group.id.to_string() };
            self.group_load.get_or_create(&label).set(whole(group.load));
            self.group_load_peak.get_or_create(&label).set(whole(group.load_peak));
            self.group_queue.get_or_create(&label).set(whole(group.queued));
            self.group_queue_peak.get_or_create(&label).set(whole(group.queued_peak));
        }
        for figures in gateway.store.pools() {
            let label = PoolLabel { pool: figures.pool };
            self.pool_size.get_or_create(&label).set(i64::from(figures.size));
            self.pool_in_use.get_or_create(&label).set(i64::from(figures.in_use));
        }
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.slow_statements.set(count(self.slow.statements()));
        self.slow_acquires.set(count(self.slow.acquires()));
        self.audit_waiting.set(whole(gateway.audit.waiting()));
    }
}
