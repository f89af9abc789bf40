//! A device's health as a pure state machine: events in, state out, no clock and no I/O.

use serde::Serialize;

/// What a device is fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its worker is coming up.
    Starting,
    /// Proved by real signatures; takes work.
    Ready,
    /// Takes work, but its last calls failed.
    Degraded,
    /// Finishes what it has and takes no more.
    Draining,
    /// Taken out by an operator.
    Maintenance,
    /// Cannot be used now; probed until it can.
    Down,
    /// Gave a wrong result; stays out until an operator resumes it.
    Quarantined,
}

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A worker is being started.
    WorkerStarting,
    /// The worker is up and every key it holds was proved by a signature.
    Proved,
    /// The worker ended or never came up.
    WorkerLost,
    /// A call was answered well.
    Success,
    /// A call failed in a way that speaks against the device.
    Failure,
    /// A signature that is not one.
    WrongResult,
    /// An operator wants it out of service.
    Drain,
    /// It has nothing left to do.
    Emptied,
    /// An operator wants it out of service at once.
    Maintain,
    /// An operator wants it back.
    Resume,
    /// An operator wants it back out of quarantine.
    Release,
}

/// Failures in a row that take a device out.
const OPEN_AFTER: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    state: State,
    failures: u32,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { state: State::Starting, failures: 0 }
    }

    pub(crate) fn state(self) -> State {
        self.state
    }

    /// Whether requests may go there.
    pub(crate) fn takes_work(self) -> bool {
        matches!(self.state, State::Ready | State::Degraded)
    }

    pub(crate) fn on(&mut self, event: Event) {
        use State::{Degraded, Down, Draining, Maintenance, Quarantined, Ready, Starting};
        self.failures = match event {
            Event::Failure => self.failures.saturating_add(1),
            Event::Success | Event::Proved | Event::WorkerStarting => 0,
            Event::WorkerLost
            | Event::WrongResult
            | Event::Drain
            | Event::Emptied
            | Event::Maintain
            | Event::Resume
            | Event::Release => self.failures,
        };
        self.state = match (self.state, event) {
            (_, Event::WrongResult) => Quarantined,
            // Back in service only after a signature that verifies, or a sign of life of a device that has no key: until then it
            // counts as down.
            (Draining | Maintenance, Event::Resume) => Down,
            (Quarantined, Event::Release) => Down,
            (Quarantined, _) => Quarantined,
            (Draining, Event::Emptied) | (_, Event::Maintain) => Maintenance,
            (Draining | Maintenance, _) => self.state,
            (_, Event::Drain) => Draining,
            (_, Event::Emptied | Event::Resume | Event::Release) => self.state,
            (_, Event::WorkerLost) => Down,
            (Down, Event::WorkerStarting) => Down, // still down to the world until it is proved
            (_, Event::WorkerStarting) => Starting,
            (_, Event::Proved) => Ready,
            (Ready | Degraded, Event::Success) => Ready,
            (Ready | Degraded, Event::Failure) if self.failures >= OPEN_AFTER => Down,
            (Ready | Degraded, Event::Failure) => Degraded,
            (Starting | Down, Event::Success | Event::Failure) => self.state,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(events: &[Event]) -> State {
        let mut health = Health::new();
        events.iter().for_each(|event| health.on(*event));
        health.state()
    }

    #[test]
    fn a_device_takes_work_only_after_it_was_proved() {
        assert_eq!(after(&[]), State::Starting);
        assert_eq!(after(&[Event::Success]), State::Starting);
        assert_eq!(after(&[Event::Proved]), State::Ready);
        assert!(!Health::new().takes_work());
    }

    #[test]
    fn three_failures_in_a_row_take_it_out_and_only_proof_brings_it_back() {
        use Event::{Failure, Proved, Success};
        assert_eq!(after(&[Proved, Failure, Failure]), State::Degraded);
        assert_eq!(after(&[Proved, Failure, Failure, Success, Failure]), State::Degraded);
        assert_eq!(after(&[Proved, Failure, Failure, Success]), State::Ready);
        assert_eq!(after(&[Proved, Failure, Failure, Failure]), State::Down);
        assert_eq!(after(&[Proved, Failure, Failure, Failure, Success]), State::Down);
        assert_eq!(after(&[Proved, Failure, Failure, Failure, Proved]), State::Ready);
    }

    #[test]
    fn a_wrong_result_quarantines_for_good() {
        use Event::{Proved, Success, WorkerLost, WorkerStarting, WrongResult};
        for later in [Proved, Success, WorkerLost, WorkerStarting, Event::Resume, Event::Maintain] {
            assert_eq!(after(&[Proved, WrongResult, later]), State::Quarantined);
        }
    }

    #[test]
    fn a_drained_device_rests_in_maintenance_and_returns_by_proof_only() {
        use Event::{Drain, Emptied, Failure, Proved, Resume, Success, WorkerLost, WorkerStarting};
        assert_eq!(after(&[Proved, Drain]), State::Draining);
        for meanwhile in [Success, Failure, Proved, WorkerLost, WorkerStarting, Drain] {
            assert_eq!(after(&[Proved, Drain, meanwhile]), State::Draining);
            assert_eq!(after(&[Proved, Drain, Emptied, meanwhile]), State::Maintenance);
        }
        assert_eq!(after(&[Proved, Drain, Emptied, Resume]), State::Down);
        assert_eq!(after(&[Proved, Drain, Emptied, Resume, Proved]), State::Ready);
        assert_eq!(after(&[Proved, Event::WrongResult, Event::Release]), State::Down);
        assert_eq!(after(&[Proved, Drain, Emptied, Event::Release]), State::Maintenance);
        assert_eq!(after(&[Proved, Event::Maintain]), State::Maintenance);
        assert_eq!(after(&[Proved, Drain, Event::Maintain, Resume, Proved]), State::Ready);
        assert_eq!(after(&[Proved, Event::WrongResult, Drain]), State::Quarantined);
        assert_eq!(after(&[Proved, Emptied, Resume]), State::Ready);
    }

    #[test]
    fn a_lost_worker_is_down_until_its_successor_is_proved() {
        use Event::{Proved, WorkerLost, WorkerStarting};
        assert_eq!(after(&[Proved, WorkerLost]), State::Down);
        assert_eq!(after(&[Proved, WorkerLost, WorkerStarting]), State::Down);
        assert_eq!(after(&[Proved, WorkerLost, WorkerStarting, Proved]), State::Ready);
    }
}
