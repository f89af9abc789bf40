//! How often a group's devices may be asked again: retries are a share of what callers ask, so that a group in
//! trouble is not asked many times over. Pure, so that it can be tested without a clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetSize {
    /// Retries each first attempt pays for, to three decimals; less than 0 counts as 0.
    pub(crate) ratio: f64,
    /// Retries that can be saved up; a new budget has them.
    pub(crate) burst: u32,
    /// Retries allowed per second whatever the traffic.
    pub(crate) per_second: u32,
}

impl Default for BudgetSize {
    fn default() -> Self {
        Self { ratio: 0.2, burst: 1_000, per_second: 10 }
    }
}

/// What one retry takes, in the unit of the balance.
const RETRY: i64 = 1_000;

/// What the floor allows at once is what it allows in this time, nanoseconds.
const FLOOR_SPAN: u64 = 1_000_000_000;

/// The retries of one group. Callers on all threads share it without a lock.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    deposit: i64,
    most: i64,
    /// Thousandths of a retry, 0 to `most`.
    balance: AtomicI64,
    /// Nanoseconds of the floor's time that one retry uses up; `None` without a floor.
    step: Option<u64>,
    /// Up to where the floor's time is used up, nanoseconds after `origin`.
    used: AtomicU64,
    /// One span before the budget was made: a new floor is a full one.
    origin: Instant,
}

impl RetryBudget {
    /// A full budget.
    pub(crate) fn new(size: BudgetSize, now: Instant) -> Self {
        let most = i64::from(size.burst) * RETRY;
        Self {
            // The cast turns nonsense into 0 and what is too much into the maximum.
            deposit: ((size.ratio * RETRY as f64).round() as i64).clamp(0, most),
            most,
            balance: AtomicI64::new(most),
            step: FLOOR_SPAN.checked_div(u64::from(size.per_second)),
            used: AtomicU64::new(0),
            origin: now,
        }
    }

    /// Notes a first attempt.
    pub(crate) fn deposit(&self) {
        let paid = |balance: i64| (balance < self.most).then(|| (balance + self.deposit).min(self.most));
        // Full, as on a good day, it is only read: threads do not take the line of the cache from each other.
        let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
    }

    /// Whether a retry may be made now; if so it is counted. What time allows is used before what was saved.
    #[must_use]
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        self.withdraw_floor(now) || self.withdraw_saved()
    }

    fn withdraw_saved(&self) -> bool {
        let taken = |balance: i64| (balance >= RETRY).then(|| balance - RETRY);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// The floor is a stretch of time at most one span long that ends now; a retry takes a step from its start.
    fn withdraw_floor(&self, now: Instant) -> bool {
        let Some(step) = self.step else { return false };
        let since = now.saturating_duration_since(self.origin) + Duration::from_nanos(FLOOR_SPAN);
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let taken = |used: u64| {
            let end = used.max(now - FLOOR_SPAN) + step;
            (end <= now).then_some(end)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Retries saved up, rounded down.
    #[cfg(test)]
    pub(crate) fn saved(&self) -> u64 {
        u64::try_from(self.balance.load(Ordering::Relaxed) / RETRY).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        First,
        Retry,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::First),
            4 => Just(Step::Retry),
            1 => (0u64..2_000).prop_map(Step::Wait),
        ];
        vec(step, 0..400)
    }

    fn sizes() -> impl Strategy<Value = BudgetSize> {
        (0.0f64..1.5, 0u32..20, 0u32..20).prop_map(|(ratio, burst, per_second)| BudgetSize {
            ratio: (ratio * 1000.0).round() / 1000.0,
            burst,
            per_second,
        })
    }

    proptest! {
        #[test]
        fn retries_stay_within_a_share_of_first_attempts_and_never_below_the_floor(
            size in sizes(),
            steps in steps(),
        ) {
            let start = Instant::now();
            let mut now = start;
            let budget = RetryBudget::new(size, now);
            let (mut firsts, mut retries) = (0u32, 0u32);
            let mut lately: Vec<Instant> = Vec::new(); // retries of the last second
            for step in steps {
                match step {
                    Step::First => {
                        firsts += 1;
                        budget.deposit();
                    }
                    Step::Wait(millis) => now += Duration::from_millis(millis),
                    Step::Retry => {
                        lately.retain(|at| now - *at <= Duration::from_secs(1));
                        let saved = budget.saved();
                        if budget.withdraw(now) {
                            retries += 1;
                            lately.push(now);
                        } else {
                            prop_assert_eq!(saved, 0, "refused with something saved");
                            prop_assert!(
                                lately.len() >= size.per_second as usize,
                                "refused after {} in a second", lately.len()
                            );
                        }
                    }
                }
                prop_assert!(budget.saved() <= u64::from(size.burst));
            }
            let seconds = (now - start).as_secs_f64();
            let most = f64::from(size.burst)
                + size.ratio * f64::from(firsts)
                + f64::from(size.per_second) * (seconds + 1.0);
            prop_assert!(f64::from(retries) <= most + 1e-6, "{retries} of {most}");
        }

        #[test]
        fn everything_that_was_paid_for_can_be_spent(ratio in 1u32..1_000, firsts in 0u32..500) {
            let now = Instant::now();
            let size = BudgetSize { ratio: f64::from(ratio) / 1000.0, burst: 1_000, per_second: 0 };
            let budget = RetryBudget::new(size, now);
            (0..1_000).for_each(|_| assert!(budget.withdraw(now)));
            assert!(!budget.withdraw(now));
            (0..firsts).for_each(|_| budget.deposit());
            let mut retries = 0;
            while budget.withdraw(now) {
                retries += 1;
            }
            prop_assert_eq!(retries, ratio * firsts / 1_000);
        }

        #[test]
        fn odd_sizes_are_harmless(ratio in any::<f64>(), burst in any::<u32>(), per_second in any::<u32>()) {
            let now = Instant::now();
            let budget = RetryBudget::new(BudgetSize { ratio, burst, per_second }, now);
            (0..10).for_each(|_| budget.deposit());
            let _ = budget.withdraw(now);
            prop_assert!(budget.saved() <= u64::from(burst));
        }
    }

    #[test]
    fn without_traffic_time_alone_pays_for_ten_a_second() {
        let start = Instant::now();
        let budget = RetryBudget::new(BudgetSize { burst: 0, ..BudgetSize::default() }, start);
        let in_second = |second: u64| {
            let at = |tick: u64| start + Duration::from_millis(second * 1000 + tick * 10);
            (0..100).filter(|tick| budget.withdraw(at(*tick))).count()
        };
        // The first second has the full floor and what comes in.
        assert_eq!(in_second(0), 19);
        assert_eq!([in_second(1), in_second(2), in_second(60)], [10, 10, 19]);
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let now = Instant::now();
        let size = BudgetSize { ratio: 0.5, burst: 300, per_second: 7 };
        let budget = RetryBudget::new(size, now);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..200).filter(|_| budget.withdraw(now)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 307);
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| (0..50).for_each(|_| budget.deposit()))));
        });
        assert_eq!(budget.saved(), 100);
    }
}
