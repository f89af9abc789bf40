//! Whether what was promised is kept. A clock runs at all hours, and stands while somebody is on the way, however such times
//! overlap.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

/// Of a promise, the share of its time after which those are warned who have to keep it: 45 minutes of an hour (M032).
const WARNED: (i32, i32) = (3, 4);

/// How a promise stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// There is time.
    Running,
    /// Three quarters of it are over.
    Warned,
    /// It is over, and what was promised is not done.
    Overdue,
    /// Done in time.
    Met,
    /// Done, and late.
    Late,
}

/// A promise and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// How much time there is.
    pub allowed: Duration,
    /// When those are warned who have to keep it.
    pub warned_at: OffsetDateTime,
    /// Until when it has to be done.
    pub due: OffsetDateTime,
    /// When it was done.
    pub done_at: Option<OffsetDateTime>,
    /// How it stands.
    pub standing: Standing,
}

impl Clock {
    /// A promise of so much time from then on, as it stands now. Of the times that do not count only what lies within its own counts
    /// for nothing.
    pub(crate) fn of(
        (since, allowed): (OffsetDateTime, Duration),
        pauses: &[(OffsetDateTime, OffsetDateTime)],
        done_at: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Self {
        let due = after(since, allowed, pauses);
        let warned_at = after(since, allowed * WARNED.0 / WARNED.1, pauses);
        let standing = match done_at {
            Some(at) if at <= due => Standing::Met,
            Some(_) => Standing::Late,
            None if now > due => Standing::Overdue,
            None if now >= warned_at => Standing::Warned,
            None => Standing::Running,
        };
        Self { allowed, warned_at, due, done_at, standing }
    }
}

/// When so much time is over from then on, without what does not count.
fn after(
    since: OffsetDateTime,
    allowed: Duration,
    pauses: &[(OffsetDateTime, OffsetDateTime)],
) -> OffsetDateTime {
    let mut pauses = pauses.to_vec();
    pauses.sort_unstable();
    let (mut at, mut left) = (since, allowed);
    for (from, until) in pauses {
        // What lies before, or within another that was counted, is over.
        let from = from.max(at);
        if until <= from {
            continue;
        }
        if from - at >= left {
            break;
        }
        left -= from - at;
        at = until;
    }
    at + left
}

/// How many of the promises that fell due were kept (M003).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimelyRate {
    /// Kept in time.
    pub met: u32,
    /// Kept late, or overdue.
    pub missed: u32,
    /// Still in time.
    pub open: u32,
}

impl TimelyRate {
    /// Counts one.
    pub fn count(&mut self, standing: Standing) {
        match standing {
            Standing::Met => self.met += 1,
            Standing::Late | Standing::Overdue => self.missed += 1,
            Standing::Running | Standing::Warned => self.open += 1,
        }
    }

    /// Of those that fell due the share that was kept, 0 to 1; none where none did.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        let decided = self.met + self.missed;
        (decided > 0).then(|| f64::from(self.met) / f64::from(decided))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const BEGIN: OffsetDateTime = datetime!(2026-05-06 08:00 UTC);

    fn at(minute: i64) -> OffsetDateTime {
        BEGIN + Duration::minutes(minute)
    }

    #[test]
    fn times_that_do_not_count_are_counted_once_and_only_within_the_clock() {
        for (pauses, due) in [
            (&[][..], 60),
            (&[(10, 20)][..], 70),
            (&[(10, 20), (15, 30)][..], 80), // one goes over into the other
            (&[(10, 40), (15, 20)][..], 90), // one lies in the other
            (&[(15, 20), (10, 40)][..], 90), // whichever was told first
            (&[(10, 20), (20, 30)][..], 80), // one follows the other
            (&[(10, 20), (10, 20)][..], 70), // one was told twice
            (&[(-30, -10)][..], 60),         // before anything was promised
            (&[(-10, 10)][..], 70),          // partly before
            (&[(60, 90)][..], 60),           // when it was due already
            (&[(59, 90)][..], 91),           // a minute before
            (&[(50, 55), (64, 70), (71, 80)][..], 71), // each puts the next one in its time
            (&[(20, 20), (30, 25)][..], 60), // none at all
        ] {
            let told: Vec<_> = pauses.iter().map(|(from, until)| (at(*from), at(*until))).collect();
            assert_eq!(after(BEGIN, Duration::HOUR, &told), at(due), "{pauses:?}");
        }
    }

    #[test]
    fn it_is_warned_at_three_quarters_and_over_after_its_last_moment() {
        let clock =
            |done: Option<i64>, now| Clock::of((BEGIN, Duration::HOUR), &[], done.map(at), at(now)).standing;
        assert_eq!(clock(None, 44), Standing::Running);
        assert_eq!(clock(None, 45), Standing::Warned);
        assert_eq!(clock(None, 60), Standing::Warned, "the whole hour");
        assert_eq!(clock(None, 61), Standing::Overdue);
        assert_eq!(clock(Some(60), 300), Standing::Met);
        assert_eq!(clock(Some(61), 300), Standing::Late);
        let travelled = Clock::of((BEGIN, Duration::HOUR), &[(at(30), at(60))], None, at(74));
        assert_eq!((travelled.warned_at, travelled.due), (at(75), at(90)));
        assert_eq!(travelled.standing, Standing::Running);
    }

    #[test]
    fn a_rate_is_of_those_that_fell_due() {
        let mut rate = TimelyRate::default();
        assert_eq!(rate.rate(), None);
        for standing in [Standing::Running, Standing::Warned, Standing::Met, Standing::Met, Standing::Met] {
            rate.count(standing);
        }
        assert_eq!(rate.rate(), Some(1.0));
        rate.count(Standing::Late);
        assert_eq!(rate.rate(), Some(0.75));
        rate.count(Standing::Overdue);
        assert_eq!((rate.rate(), rate.open), (Some(0.6), 2));
    }
}
