//! When a register that fails is left alone, and when it is tried again. Time is an argument.

use std::time::{Duration, Instant};

/// Lets questions through until too many failed in a row; then none for a while, then one to find out.
#[derive(Debug)]
pub(super) struct Breaker {
    most_failures: u32,
    pause: Duration,
    failures: u32,
    /// Until when nothing is asked, while it is open.
    open_until: Option<Instant>,
    /// Whether the one that finds out is under way.
    trying: bool,
}

/// As which question one was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// While the register is not left alone.
    AsAny,
    /// As the one that finds out whether it answers again.
    ToFindOut,
}

impl Breaker {
    pub(super) fn new(most_failures: u32, pause: Duration) -> Self {
        Self { most_failures, pause, failures: 0, open_until: None, trying: false }
    }

    /// Whether a question may be asked now, and as which; what becomes of it has to be said.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admitted> {
        match self.open_until {
            None => Some(Admitted::AsAny),
            Some(until) if now < until || self.trying => None,
            Some(_) => {
                self.trying = true;
                Some(Admitted::ToFindOut)
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        (self.failures, self.open_until, self.trying) = (0, None, false);
    }

    pub(super) fn failed(&mut self, admitted: Admitted, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.most_failures {
            self.open_until = Some(now + self.pause);
        }
        self.given_up(admitted);
    }

    /// It says neither that the register answers nor that it does not.
    pub(super) fn given_up(&mut self, admitted: Admitted) {
        if admitted == Admitted::ToFindOut {
            self.trying = false;
        }
    }

    /// Whether it is being left alone.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn it_opens_at_the_last_failure_in_a_row_and_not_before() {
        let (mut breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        for _ in 0..2 {
            let admitted = breaker.admit(now).unwrap();
            breaker.failed(admitted, now);
        }
        breaker.succeeded();
        for _ in 0..3 {
            let admitted = breaker.admit(now).unwrap();
            breaker.failed(admitted, now);
        }
        assert!(
            breaker.is_open() && breaker.admit(now).is_none() && breaker.admit(now + PAUSE / 2).is_none()
        );
    }

    #[test]
    fn after_the_pause_one_finds_out_for_all() {
        let (mut breaker, begin) = (Breaker::new(1, PAUSE), Instant::now());
        let [first, second, third] = [(); 3].map(|()| breaker.admit(begin).unwrap());
        breaker.failed(first, begin);
        let later = begin + PAUSE;
        assert_eq!(breaker.admit(later), Some(Admitted::ToFindOut));
        // Those that were under way before are not the one that finds out.
        breaker.given_up(second);
        assert_eq!(breaker.admit(later), None, "one at a time");
        breaker.failed(third, begin);
        assert_eq!(breaker.admit(later), None, "one at a time");
        breaker.failed(Admitted::ToFindOut, later);
        assert_eq!(breaker.admit(later + PAUSE / 2), None);
        let admitted = breaker.admit(later + PAUSE).unwrap();
        breaker.given_up(admitted);
        assert!(breaker.admit(later + PAUSE).is_some(), "one that was given up says nothing");
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!([(); 2].map(|()| breaker.admit(later + PAUSE)), [Some(Admitted::AsAny); 2]);
    }
}
