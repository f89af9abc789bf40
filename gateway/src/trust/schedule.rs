//! When a source is asked again. `chance` is from 0 to 1: sources of many gateways shall not be asked in step.

use std::time::Duration;

use time::OffsetDateTime;

/// How patient a source's job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The longest wait after a success.
    pub(super) refresh: Duration,
    /// The wait after the first failure.
    pub(super) retry: Duration,
}

impl Pace {
    /// Before nine tenths of the time until the successor is due have passed; when that is over, as after a failure.
    pub(super) fn after_success(
        self,
        now: OffsetDateTime,
        next_update: Option<OffsetDateTime>,
        chance: f64,
    ) -> Duration {
        let left = next_update.map(|next| Duration::try_from(next - now).unwrap_or_default());
        let until_due = left.map_or(self.refresh, |left| left.mul_f64(0.9).max(self.retry));
        until_due.min(self.refresh).mul_f64(0.9 + 0.1 * chance)
    }

    /// Doubles with each failure in a row, up to `refresh`.
    pub(super) fn after_failure(self, failures: u32, chance: f64) -> Duration {
        let doubled = self.retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.refresh.max(self.retry)).mul_f64(0.75 + 0.5 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

    proptest! {
        #[test]
        fn a_source_is_asked_before_its_successor_is_due(
            left in 1u64..10_000_000, refresh in 1u64..10_000_000, chance in 0.0..1.0,
        ) {
            let pace = Pace { refresh: Duration::from_secs(refresh), retry: Duration::from_millis(10) };
            let next = NOW + Duration::from_secs(left);
            let wait = pace.after_success(NOW, Some(next), chance);
            prop_assert!(NOW + wait < next && wait <= pace.refresh, "{wait:?}");
            prop_assert!(wait >= Duration::from_secs(left.min(refresh)).mul_f64(0.8), "{wait:?}");
        }

        #[test]
        fn failures_wait_longer_each_time_and_never_much_longer_than_a_refresh(
            failures in 1u32..100, chance in 0.0..1.0,
        ) {
            let pace = Pace { refresh: Duration::from_secs(3_600), retry: Duration::from_secs(10) };
            let wait = pace.after_failure(failures, chance);
            prop_assert!(wait >= Duration::from_millis(7_500) && wait <= Duration::from_secs(4_500), "{wait:?}");
            prop_assert!(pace.after_failure(failures + 1, chance) >= wait);
        }
    }

    #[test]
    fn what_is_overdue_already_is_not_asked_for_without_a_pause() {
        let pace = Pace { refresh: Duration::from_secs(3_600), retry: Duration::from_secs(10) };
        let wait = pace.after_success(NOW, Some(NOW - Duration::from_secs(5)), 0.5);
        assert!(wait >= Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
    }
}
