//! When a delivery that failed is tried again: a pure function of how often and for how long it was tried.

use std::time::Duration;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3600);
/// Attempts that are made at most, however short the pauses are.
const MOST_ATTEMPTS: u32 = 100;

/// How long, and how often, a delivery is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The pause after the first failure; each further one is twice as long, up to an hour.
    pub first: Duration,
    /// How long it is tried.
    pub give_up: Duration,
}

impl Patience {
    /// The pause before the next attempt after `attempts` failed ones within `age`, or none where there is to be no more.
    ///
    /// `asked` is how long the other side wants to be left alone; `chance`, from 0 to 1, spreads those that failed
    /// together by a quarter of the pause either way.
    #[must_use]
    pub fn pause(
        &self,
        attempts: u32,
        age: Duration,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        if attempts >= MOST_ATTEMPTS || age >= self.give_up {
            return None;
        }
        let doubled = 2_u32.checked_pow(attempts.saturating_sub(1)).and_then(|by| self.first.checked_mul(by));
        let pause = doubled.unwrap_or(LONGEST).min(LONGEST).mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0);
        Some(pause.max(asked.unwrap_or_default().min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience =
        Patience { first: Duration::from_secs(5), give_up: Duration::from_secs(86_400) };

    #[test]
    fn pauses_double_up_to_an_hour_and_end_with_the_time() {
        let pause =
            |attempts| PATIENCE.pause(attempts, Duration::ZERO, None, 0.5).map(|pause| pause.as_secs());
        let pauses: Vec<_> = (1..13).map(pause).collect();
        let wanted = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600].map(Some);
        assert_eq!(pauses, wanted);
        assert_eq!(PATIENCE.pause(1, Duration::from_secs(86_400), None, 0.5), None);
        assert_eq!(PATIENCE.pause(MOST_ATTEMPTS, Duration::ZERO, None, 0.5), None);
    }

    #[test]
    fn who_asks_to_be_left_alone_is_but_not_for_ever() {
        let asked = |seconds| PATIENCE.pause(1, Duration::ZERO, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(asked(60), Some(Duration::from_secs(60)));
        assert_eq!(asked(1), Some(Duration::from_millis(3750)));
        assert_eq!(asked(u64::MAX), Some(LONGEST));
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_or_shorter_than_it_may_be(
            attempts in 1_u32..200, age in 0_u64..200_000, chance in 0.0_f64..=1.0,
        ) {
            let pause = PATIENCE.pause(attempts, Duration::from_secs(age), None, chance);
            prop_assert_eq!(pause.is_none(), attempts >= MOST_ATTEMPTS || age >= 86_400);
            if let Some(pause) = pause {
                prop_assert!(pause >= PATIENCE.first.mul_f64(0.75) && pause <= LONGEST.mul_f64(1.25));
            }
        }
    }
}
