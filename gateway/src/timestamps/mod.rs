//! Timestamps: the site's authority as JSON (`/v1/timestamps`) and as RFC 3161 has it (`/tsa`), the clock behind it,
//! and an authority outside.

pub(crate) mod clock;
mod documents;
pub(crate) mod order;
mod outside;
mod public;
pub(crate) mod tsa;
pub(crate) mod verify;

use std::sync::Arc;

use config::Config;
use formats::oid::ObjectIdentifier;
use signing::{
    Asker, Clock, ClockRules, ClockState, Moment, Serials, SystemDesk, TimestampDesk, TimestampRules, Trusted,
};
use store::{AuditLog, Store};

use crate::auth::Authenticated;
use crate::error::StartupError;
use crate::problem::Problem;
use crate::trust::Fetcher;

pub(crate) use documents::source;
use outside::OutsideDesk;
use public::Strangers;

/// What outlives reloads of the configuration.
pub(crate) struct Timekeeping {
    serials: Arc<Serials>,
    clock: Arc<Clock>,
    outside: Option<OutsideDesk>,
    strangers: Arc<Strangers>,
}

/// The clock, and what is asked of it.
pub(crate) struct WatchedClock {
    clock: Arc<Clock>,
    rules: ClockRules,
}

impl WatchedClock {
    /// Whether the time servers agree with it.
    ///
    /// # Errors
    /// Why it is not to be believed.
    pub(crate) fn believed(&self) -> Result<(), &'static str> {
        self.clock.state(Moment::now(), &self.rules).believed(&self.rules)
    }

    /// Whether time servers say that it is wrong.
    pub(crate) fn is_off(&self) -> bool {
        self.clock.state(Moment::now(), &self.rules).trusted == Trusted::Off
    }
}

/// The timestamps of a gateway: as its configuration has them.
pub(crate) struct Timestamps {
    own: Option<TimestampDesk>,
    outside: Option<OutsideDesk>,
    clock: Arc<Clock>,
    rules: ClockRules,
    strangers: Arc<Strangers>,
}

impl Timekeeping {
    /// Asks nobody yet. `fetcher` reaches the authority outside.
    ///
    /// # Errors
    /// Which of its roots cannot be read.
    pub(crate) fn new(config: &Config, store: Store, fetcher: Fetcher) -> Result<Self, StartupError> {
        let servers = config.timestamps.clock.servers.iter().map(ToString::to_string);
        let outside = config.timestamps.outside.as_ref();
        Ok(Self {
            serials: Arc::new(Serials::new(store)),
            clock: Arc::new(Clock::new(servers)),
            outside: outside.map(|outside| OutsideDesk::new(outside, fetcher)).transpose()?,
            strangers: Arc::default(),
        })
    }

    /// The clock for acts that cannot be undone.
    pub(crate) fn watch(&self, config: &Config) -> WatchedClock {
        let watch = &config.timestamps.clock;
        // Without servers nothing more can be known of it; with some, they have to have answered.
        let required = !watch.servers.is_empty();
        let rules = ClockRules { max_offset: watch.max_offset, max_age: watch.max_age, required };
        WatchedClock { clock: Arc::clone(&self.clock), rules }
    }

    pub(crate) fn clock(&self) -> Arc<Clock> {
        Arc::clone(&self.clock)
    }

    /// Timestamps as a configuration has them.
    pub(crate) fn configured(&self, config: &Config, system: &SystemDesk, audit: &AuditLog) -> Timestamps {
        let timestamps = &config.timestamps;
        let clock = &timestamps.clock;
        let rules =
            ClockRules { max_offset: clock.max_offset, max_age: clock.max_age, required: clock.required };
        // The configuration lets nothing through that is no identifier.
        let policies = timestamps.policies.iter();
        let policies: Vec<_> = policies.filter_map(|policy| policy.as_str().parse().ok()).collect();
        let own = (!policies.is_empty()).then(|| {
            let rules = TimestampRules {
                policies,
                accuracy: timestamps.accuracy,
                ordering: timestamps.ordering,
                clock: rules,
            };
            let (serials, clock) = (Arc::clone(&self.serials), Arc::clone(&self.clock));
            TimestampDesk::new(system.clone(), audit.clone(), serials, clock, rules)
        });
        Timestamps {
            own,
            outside: self.outside.clone(),
            clock: Arc::clone(&self.clock),
            rules,
            strangers: Arc::clone(&self.strangers),
        }
    }
}

impl Timestamps {
    /// The site's own authority, if it is one.
    pub(crate) fn own(&self) -> Result<&TimestampDesk, Problem> {
        self.own.as_ref().ok_or_else(Problem::timestamps_off)
    }

    /// How it stands with the clock.
    pub(crate) fn clock_state(&self) -> ClockState {
        self.clock.state(Moment::now(), &self.rules)
    }
}

impl Authenticated {
    /// Who asks, as timestamps are recorded.
    pub(crate) fn asker(&self) -> Asker {
        let caller = self.caller();
        Asker {
            line: caller.app,
            actor: self.actor(),
            request_id: caller.request_id,
            deadline: caller.deadline,
        }
    }
}

/// A policy as callers write it.
pub(crate) fn policy(text: &str) -> Result<ObjectIdentifier, &'static str> {
    text.parse().map_err(|_| "must be an object identifier such as 1.2.3.4")
}
