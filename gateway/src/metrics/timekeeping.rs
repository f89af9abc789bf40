//! Figures of timestamps and of the clock behind them.

use signing::{ClockState, Trusted};

use super::Metrics;
use super::labels::{Because, ClockLabel, Form};

impl Metrics {
    pub(super) fn register_timestamps(&mut self) {
        let registry = &mut self.registry;
        registry.register("timestamps", "Timestamps delivered, by form", self.timestamps.clone());
        registry.register(
            "timestamp_refusals",
            "Requests for timestamps that got none, by RFC 3161's word for why",
            self.timestamp_refusals.clone(),
        );
        registry.register("clock_state", "1 for how it stands with the clock", self.clock_state.clone());
        registry.register(
            "clock_offset_seconds",
            "How far time servers' clocks are ahead of this one; NaN while none has answered lately",
            self.clock_offset.clone(),
        );
        registry.register(
            "clock_age_seconds",
            "Time since a time server answered; NaN while none has answered lately",
            self.clock_age.clone(),
        );
        self.database_clock_offset.set(f64::NAN);
        registry.register(
            "database_clock_offset_seconds",
            "How far the clock of the database's server is ahead of this one; NaN with SQLite",
            self.database_clock_offset.clone(),
        );
    }

    pub(super) fn take_clock(&self, state: &ClockState) {
        for trusted in Trusted::ALL {
            let label = ClockLabel { state: trusted.name() };
            self.clock_state.get_or_create(&label).set(i64::from(trusted == state.trusted));
        }
        self.clock_offset.set(state.offset.unwrap_or(f64::NAN));
        self.clock_age.set(state.age.map_or(f64::NAN, |age| age.as_secs_f64()));
    }

    /// What the database's server says of the time.
    pub(crate) fn database_clock(&self, ahead: time::Duration) {
        self.database_clock_offset.set(ahead.as_seconds_f64());
    }

    /// A timestamp left: by its form, or `outside`.
    pub(crate) fn timestamp(&self, form: &'static str) {
        self.timestamps.get_or_create(&Form { form }).inc();
    }

    /// A request for a timestamp got none.
    pub(crate) fn timestamp_refused(&self, cause: &'static str) {
        self.timestamp_refusals.get_or_create(&Because { cause }).inc();
    }
}
