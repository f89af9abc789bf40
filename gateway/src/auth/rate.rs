//! How often an app may call: a token bucket for each app with a rate.
//!
//! Each replica counts by itself. With N replicas that share an app's calls, N times the rate is let through at most;
//! a balancer that spreads calls evenly makes it so, one that holds an app to one replica keeps it to the rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::AppId;
use store::{App, Rate};

use crate::problem::Problem;

/// The buckets of apps with a rate; there are no more than such apps.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<AppId, Bucket>>);

struct Bucket {
    rate: Rate,
    /// Calls that may be made at once, as of `at`.
    tokens: f64,
    at: Instant,
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
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || Bucket { rate, tokens: f64::from(rate.burst), at: now };
        let bucket = buckets.entry(app.clone()).or_insert_with(full);
        if bucket.rate != rate {
            bucket.rate = rate;
            bucket.tokens = bucket.tokens.min(f64::from(rate.burst));
        }
        let refill = now.saturating_duration_since(bucket.at).as_secs_f64() * f64::from(rate.per_second);
        bucket.tokens = (bucket.tokens + refill).min(f64::from(rate.burst));
        bucket.at = now.max(bucket.at);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - bucket.tokens) / f64::from(rate.per_second)))
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
