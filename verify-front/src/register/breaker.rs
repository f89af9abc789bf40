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

impl Breaker {
    pub(super) fn new(most_failures: u32, pause: Duration) -> Self {
        Self { most_failures, pause, failures: 0, open_until: None, trying: false }
    }

    /// Whether a question may be asked now; one that is has to be said to have succeeded, failed or been given up.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until || self.trying => false,
            Some(_) => {
                self.trying = true;
                true
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        (self.failures, self.open_until, self.trying) = (0, None, false);
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.most_failures {
            self.open_until = Some(now + self.pause);
            self.trying = false;
        }
    }

    pub(super) fn given_up(&mut self) {
        self.trying = false;
    }

    /// Whether it is being left alone.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn it_opens_at_the_last_failure_in_a_row_and_not_before() {
        let (mut breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        for _ in 0..2 {
            assert!(breaker.admit(now));
            breaker.failed(now);
        }
        breaker.succeeded();
        for _ in 0..3 {
            assert!(breaker.admit(now));
            breaker.failed(now);
        }
        assert!(breaker.is_open() && !breaker.admit(now) && !breaker.admit(now + PAUSE / 2));
    }

    #[test]
    fn after_the_pause_one_finds_out_for_all() {
        let (mut breaker, begin) = (Breaker::new(1, PAUSE), Instant::now());
        breaker.failed(begin);
        let later = begin + PAUSE;
        assert!(breaker.admit(later) && !breaker.admit(later), "one at a time");
        breaker.failed(later);
        assert!(!breaker.admit(later + PAUSE / 2) && breaker.admit(later + PAUSE));
        breaker.given_up();
        assert!(breaker.admit(later + PAUSE), "one that was given up says nothing");
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admit(later + PAUSE) && breaker.admit(later + PAUSE));
    }
}
