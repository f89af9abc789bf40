//! How much those may ask for at `/tsa` who do not prove to be an app.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use config::Timestamps;

use crate::auth::bucket::{Buckets, Pace};
use crate::auth::throttle;
use crate::problem::Problem;

/// Strangers' requests.
#[derive(Default)]
pub(super) struct Strangers {
    working: AtomicUsize,
    buckets: Buckets<IpAddr>,
}

/// A stranger's request that is worked on.
pub(super) struct Place(Arc<Strangers>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Strangers {
    /// Lets a request in, if there are not too many, from everywhere or from its address.
    pub(super) fn admit(self: &Arc<Self>, limits: &Timestamps, address: IpAddr) -> Result<Place, Problem> {
        if let Some(wait) = self.take(limits, throttle::source(address), Instant::now()) {
            return Err(Problem::too_many_timestamps(wait));
        }
        if self.working.fetch_add(1, Ordering::Relaxed) >= limits.public_in_flight {
            self.working.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::overloaded());
        }
        Ok(Place(Arc::clone(self)))
    }

    fn take(&self, limits: &Timestamps, source: IpAddr, now: Instant) -> Option<Duration> {
        let pace = Pace { rate: limits.public_rate.into(), burst: limits.public_burst.into() };
        self.buckets.take(source, pace, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::bucket::REMEMBERED;

    fn limits() -> Timestamps {
        let text = "[site]\nsandbox = true\n[server]\nhttp = \"127.0.0.1:1\"\n[database]\nurl = \"sqlite://x\"\n\
                    [timestamps]\npolicies = [\"1.2.3\"]\npublic = true\npublic_rate = 10\npublic_burst = 3\n\
                    public_in_flight = 2\n[[device]]\nid = \"d\"\ngroup = \"g\"\nmodule = \"m\"\ntoken = \"t\"\n\
                    pin_file = \"p\"\n";
        config::Config::parse(text, std::path::Path::new("/site")).unwrap().timestamps
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_burst_and_then_the_rate() {
        let (strangers, limits, now) = (Strangers::default(), limits(), Instant::now());
        let taken = |from: &str, at| {
            (0..100)
                .take_while(|_| strangers.take(&limits, throttle::source(address(from)), at).is_none())
                .count()
        };
        assert_eq!(taken("192.0.2.1", now), 3);
        assert_eq!(taken("192.0.2.2", now), 3, "each address has its own");
        assert_eq!(taken("192.0.2.1", now + Duration::from_millis(201)), 2);
        assert_eq!(taken("2001:db8::1", now), 3);
        assert_eq!(taken("2001:db8::2", now), 0, "one network");
        assert_eq!(taken("2001:db8:0:1::2", now), 3);
    }

    #[test]
    fn no_more_are_worked_on_than_may_be_and_places_come_back() {
        let (strangers, limits) = (Arc::<Strangers>::default(), limits());
        let first = strangers.admit(&limits, address("192.0.2.1")).unwrap();
        let _second = strangers.admit(&limits, address("192.0.2.2")).unwrap();
        let third = strangers.admit(&limits, address("192.0.2.3"));
        assert_eq!(third.err().unwrap().code(), "overloaded");
        drop(first);
        assert!(strangers.admit(&limits, address("192.0.2.3")).is_ok());
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let (strangers, limits, now) = (Strangers::default(), limits(), Instant::now());
        for number in 0..10_000_u32 {
            strangers.take(&limits, IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(strangers.buckets.len(), REMEMBERED.get());
    }
}
