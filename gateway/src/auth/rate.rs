//! How often an app may call: a token bucket for each app with a rate.
//!
//! Replicas on one database tell each other every [`TELL`] what they let through ([`share`]), and each takes from its own
//! bucket what the others took from theirs. In a time T all N of them let through at most
//! rate × T + N × burst + (N − 1) × rate × [`TELL`]: the rate holds over time, only a burst counts once for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::AppId;
use store::{App, Rate, RateUse, Store, StoreError};

use super::Callers;
use crate::error::with_causes;
use crate::problem::Problem;

/// How often replicas tell each other.
pub(crate) const TELL: Duration = Duration::from_millis(200);
/// How long to wait before listening anew.
const PAUSE: Duration = Duration::from_millis(500);
/// A bucket owes at most as much as this many of the others may have taken unheard. Whoever tells more is wrong.
const MOST_OTHERS: f64 = 16.0;

/// The buckets of apps with a rate; there are no more than such apps.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<AppId, Bucket>>);

struct Bucket {
    rate: Rate,
    /// Calls that may be made at once, as of `at`. Less than none when other replicas let more through meanwhile.
    tokens: f64,
    at: Instant,
    /// Calls let through that the other replicas were not told of.
    untold: u32,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.rate.per_second);
        self.tokens = (self.tokens + refill).min(f64::from(self.rate.burst));
        self.at = now.max(self.at);
    }
}

impl Rates {
    /// Counts a call, unless it is one too many.
    pub(crate) fn admit(&self, app: &App) -> Result<(), Problem> {
        let Some(rate) = app.rate else { return Ok(()) };
        match self.take(&app.id, rate, Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(Problem::rate_limited(rate, wait)),
        }
    }

    /// Takes a token; where there is none, says when there will be one.
    fn take(&self, app: &AppId, rate: Rate, now: Instant) -> Option<Duration> {
        let mut buckets = self.buckets();
        let full = || Bucket { rate, tokens: f64::from(rate.burst), at: now, untold: 0 };
        let bucket = buckets.entry(app.clone()).or_insert_with(full);
        if bucket.rate != rate {
            bucket.rate = rate;
            bucket.tokens = bucket.tokens.min(f64::from(rate.burst));
        }
        bucket.refill(now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.untold = bucket.untold.saturating_add(1);
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - bucket.tokens) / f64::from(rate.per_second)))
    }

    /// What was let through since this was asked last.
    fn untold(&self) -> Vec<(AppId, u32)> {
        let mut buckets = self.buckets();
        let used = buckets.iter_mut().filter(|(_, bucket)| bucket.untold > 0);
        used.map(|(app, bucket)| (app.clone(), std::mem::take(&mut bucket.untold))).collect()
    }

    /// Another replica let calls through. For an app that has not called here since the start it is not remembered.
    fn others_took(&self, used: &[(AppId, u32)], now: Instant) {
        let mut buckets = self.buckets();
        for (app, count) in used {
            let Some(bucket) = buckets.get_mut(app) else { continue };
            bucket.refill(now);
            let Rate { per_second, burst } = bucket.rate;
            let least = -MOST_OTHERS * (f64::from(burst) + f64::from(per_second) * TELL.as_secs_f64());
            bucket.tokens = (bucket.tokens - f64::from(*count)).max(least);
        }
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<AppId, Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the other replicas what is let through here, and hears it of them. Runs until it is dropped.
pub(crate) async fn share(store: Store, callers: Arc<Callers>) {
    loop {
        let error = match store.rate_use().await {
            Ok(heard) => exchange(&store, &callers.rates, heard).await,
            Err(error) => error,
        };
        tracing::warn!(error = %with_causes(&error), "replicas do not hear of each other's calls");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn exchange(store: &Store, rates: &Rates, mut heard: RateUse) -> StoreError {
    let mut telling = tokio::time::interval(TELL);
    telling.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = telling.tick() => {
                if let Err(error) = store.tell_rate_use(&rates.untold()).await {
                    return error;
                }
            }
            used = heard.next() => match used {
                Ok(used) => rates.others_took(&used, Instant::now()),
                Err(error) => return error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    fn taken(rates: &Rates, app: &str, at: Instant) -> usize {
        let app = AppId::parse(app).unwrap();
        (0..100).take_while(|_| rates.take(&app, RATE, at).is_none()).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(taken(&rates, "one", start), 3);
        assert_eq!(taken(&rates, "other", start), 3, "each app has its own");
        assert_eq!(taken(&rates, "one", start + Duration::from_millis(201)), 2);
        assert_eq!(
            taken(&rates, "one", start + Duration::from_secs(60)),
            3,
            "a pause saves up a burst, no more"
        );
    }

    #[test]
    fn what_one_replica_lets_through_another_does_not() {
        let (first, second, start) = (Rates::default(), Rates::default(), Instant::now());
        let step = Duration::from_millis(200);
        let mut passed = 0;
        for round in 0..100 {
            let now = start + step * round;
            passed += taken(&first, "one", now) + taken(&second, "one", now);
            let (told, heard) = (first.untold(), second.untold());
            second.others_took(&told, now);
            first.others_took(&heard, now);
            assert_eq!(first.untold(), [], "it is told once");
        }
        // 99 steps at 10 a second, two bursts, and what passed before it was told.
        let most = 198 + 2 * 3 + 2;
        assert!((198..=most).contains(&passed), "{passed} of {most}");
        second.others_took(&[(AppId::parse("one").unwrap(), u32::MAX)], start + step * 100);
        let later = start + step * 100 + Duration::from_secs(9);
        assert_eq!(taken(&second, "one", later), 3, "whoever tells too much does not end an app's calls");
    }

    #[test]
    fn whoever_is_refused_learns_how_long_to_wait() {
        let (rates, start) = (Rates::default(), Instant::now());
        let app = AppId::parse("one").unwrap();
        assert_eq!(taken(&rates, "one", start), 3);
        let wait = rates.take(&app, RATE, start).unwrap();
        assert!(wait <= Duration::from_millis(101), "{wait:?}");
        assert_eq!(rates.take(&app, RATE, start + wait), None);
    }

    #[test]
    fn a_smaller_rate_holds_at_once() {
        let (rates, start) = (Rates::default(), Instant::now());
        let app = AppId::parse("one").unwrap();
        assert_eq!(rates.take(&app, RATE, start), None);
        let smaller = Rate { per_second: 1, burst: 1 };
        assert_eq!(rates.take(&app, smaller, start), None);
        assert!(rates.take(&app, smaller, start).is_some());
    }
}
