//! Whether this machine's clock is to be believed, by what time servers said of it.
//!
//! Between two answers of a server the system clock is held against the one that only ever goes on: a clock that is set
//! is noticed at once, not at the next answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use store::Moment;

/// What is asked of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRules {
    /// How far it may be off, uncertainty included.
    pub max_offset: Duration,
    /// How old a server's answer may be.
    pub max_age: Duration,
    /// Whether a clock of which too little is known is not believed.
    pub required: bool,
}

/// What a server said.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How far its clock is ahead of this machine's, in seconds.
    pub offset: f64,
    /// How long the question took; half of it is uncertain. In seconds.
    pub round_trip: f64,
    /// How far it is from a reference clock.
    pub stratum: u8,
    /// When it was asked.
    pub at: Moment,
}

/// How it stands with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trusted {
    /// Most of the servers say that it is right.
    Reliable,
    /// Half or more of the servers that answered say that it is wrong.
    Off,
    /// Too few answered lately.
    Unknown,
    /// There are no servers.
    Unwatched,
}

impl Trusted {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reliable, Self::Off, Self::Unknown, Self::Unwatched];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reliable => "reliable",
            Self::Off => "off",
            Self::Unknown => "unknown",
            Self::Unwatched => "unwatched",
        }
    }
}

/// What is known of the clock at one moment.
#[derive(Debug, Clone)]
pub struct ClockState {
    /// The verdict.
    pub trusted: Trusted,
    /// How far the servers' clocks are ahead of this machine's, the median of those that answered lately, in seconds.
    pub offset: Option<f64>,
    /// How old the newest answer is.
    pub age: Option<Duration>,
    /// Each server.
    pub servers: Vec<ServerState>,
}

/// What is known of one server.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// As it is configured.
    pub name: String,
    /// How far its clock is ahead of this machine's as it is now, in seconds.
    pub offset: Option<f64>,
    /// How long its last answer took, in seconds.
    pub round_trip: Option<f64>,
    /// How far it said to be from a reference clock.
    pub stratum: Option<u8>,
    /// How old its last answer is.
    pub age: Option<Duration>,
    /// Whether the answer counts.
    pub fresh: bool,
    /// Attempts in a row that failed, up to now.
    pub failures: u32,
    /// Why the last one did.
    pub error: Option<String>,
}

/// What servers said of this machine's clock.
pub struct Clock(Mutex<Vec<Server>>);

struct Server {
    name: String,
    sample: Option<Sample>,
    failures: u32,
    error: Option<String>,
}

impl Clock {
    /// A clock of which nothing is known yet; each server has a say.
    #[must_use]
    pub fn new(servers: impl IntoIterator<Item = String>) -> Self {
        let server = |name| Server { name, sample: None, failures: 0, error: None };
        Self(Mutex::new(servers.into_iter().map(server).collect()))
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server answered, or did not.
    pub fn note(&self, place: usize, answer: Result<Sample, String>) {
        let mut servers = self.servers();
        let Some(server) = servers.get_mut(place) else { return };
        match answer {
            Ok(sample) => (server.sample, server.failures, server.error) = (Some(sample), 0, None),
            Err(error) => {
                (server.failures, server.error) = (server.failures.saturating_add(1), Some(error));
            }
        }
    }

    /// What is known at `now`.
    #[must_use]
    pub fn state(&self, now: Moment, rules: &ClockRules) -> ClockState {
        let servers = self.servers();
        let (mut offsets, mut right, mut wrong, mut newest) = (Vec::new(), 0, 0, None);
        let mut states = Vec::with_capacity(servers.len());
        for server in servers.iter() {
            let known = server.sample.map(|sample| (sample, sample.age(now), sample.offset_at(now)));
            let fresh = known.is_some_and(|(_, age, _)| age <= rules.max_age);
            if let Some((sample, age, offset)) = known.filter(|_| fresh) {
                offsets.push(offset);
                newest = Some(newest.map_or(age, |other: Duration| other.min(age)));
                // Not "greater than": what is no number is no right time.
                if offset.abs() + sample.round_trip / 2.0 <= rules.max_offset.as_secs_f64() {
                    right += 1;
                } else {
                    wrong += 1;
                }
            }
            states.push(ServerState {
                name: server.name.clone(),
                offset: known.map(|(_, _, offset)| offset),
                round_trip: known.map(|(sample, ..)| sample.round_trip),
                stratum: known.map(|(sample, ..)| sample.stratum),
                age: known.map(|(_, age, _)| age),
                fresh,
                failures: server.failures,
                error: server.error.clone(),
            });
        }
        let trusted = match servers.len() {
            0 => Trusted::Unwatched,
            all if right * 2 > all => Trusted::Reliable,
            _ if wrong > 0 && wrong * 2 >= right + wrong => Trusted::Off,
            _ => Trusted::Unknown,
        };
        offsets.sort_by(f64::total_cmp);
        let offset = offsets.get(offsets.len() / 2).copied();
        ClockState { trusted, offset, age: newest, servers: states }
    }
}

impl Sample {
    fn age(&self, now: Moment) -> Duration {
        now.steady.saturating_duration_since(self.at.steady)
    }

    /// The offset now: what the system clock was set by since then is taken off.
    fn offset_at(&self, now: Moment) -> f64 {
        let passed = (now.wall - self.at.wall).as_seconds_f64();
        self.offset - (passed - self.age(now).as_secs_f64())
    }
}

impl ClockState {
    /// Whether tokens may be made by it.
    ///
    /// # Errors
    /// Why not.
    pub fn believed(&self, rules: &ClockRules) -> Result<(), &'static str> {
        match self.trusted {
            Trusted::Reliable => Ok(()),
            Trusted::Off => Err("time servers say that it is off"),
            Trusted::Unknown if rules.required => Err("too few time servers have answered lately"),
            Trusted::Unwatched if rules.required => Err("there are no time servers"),
            Trusted::Unknown | Trusted::Unwatched => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ClockRules = ClockRules {
        max_offset: Duration::from_millis(500),
        max_age: Duration::from_secs(60),
        required: true,
    };

    fn clock(offsets: &[Option<f64>], at: Moment) -> Clock {
        let clock = Clock::new((0..offsets.len()).map(|number| format!("server-{number}")));
        for (place, offset) in offsets.iter().enumerate() {
            let sample = offset.map(|offset| Sample { offset, round_trip: 0.02, stratum: 2, at });
            clock.note(place, sample.ok_or_else(|| "timeout".to_owned()));
        }
        clock
    }

    fn trusted(offsets: &[Option<f64>]) -> Trusted {
        let now = Moment::now();
        clock(offsets, now).state(now, &RULES).trusted
    }

    #[test]
    fn most_of_the_servers_decide_and_one_that_lies_is_outvoted() {
        for (offsets, expected) in [
            (&[][..], Trusted::Unwatched),
            (&[Some(0.1)], Trusted::Reliable),
            (&[Some(-0.1)], Trusted::Reliable),
            (&[Some(0.6)], Trusted::Off),
            (&[Some(-0.6)], Trusted::Off),
            (&[Some(f64::NAN)], Trusted::Off),
            (&[None], Trusted::Unknown),
            (&[Some(0.1), Some(9.0), Some(-0.2)], Trusted::Reliable),
            (&[Some(0.1), Some(9.0)], Trusted::Off),
            (&[Some(9.0), Some(9.0), Some(0.1)], Trusted::Off),
            (&[Some(0.1), None, None], Trusted::Unknown),
            (&[Some(0.1), Some(0.1), None], Trusted::Reliable),
            (&[Some(9.0), None, None], Trusted::Off),
        ] {
            assert_eq!(trusted(offsets), expected, "{offsets:?}");
        }
    }

    #[test]
    fn half_of_the_way_counts_as_uncertain() {
        let now = Moment::now();
        let state = |round_trip| {
            let clock = Clock::new(["server".to_owned()]);
            clock.note(0, Ok(Sample { offset: 0.4, round_trip, stratum: 1, at: now }));
            clock.state(now, &RULES).trusted
        };
        assert_eq!((state(0.19), state(0.21)), (Trusted::Reliable, Trusted::Off));
    }

    #[test]
    fn answers_grow_old() {
        let now = Moment::now();
        let clock = clock(&[Some(0.1)], now);
        let after = |seconds| {
            let passed = Duration::from_secs(seconds);
            clock.state(Moment { wall: now.wall + passed, steady: now.steady + passed }, &RULES)
        };
        assert_eq!(after(60).trusted, Trusted::Reliable);
        assert_eq!(after(60).age, Some(Duration::from_secs(60)));
        let state = after(61);
        assert_eq!((state.trusted, state.offset), (Trusted::Unknown, None));
        assert!(state.believed(&RULES).is_err());
        assert!(state.believed(&ClockRules { required: false, ..RULES }).is_ok());
        assert!(state.servers[0].offset.is_some(), "what was known last is shown all the same");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_before_the_next_answer() {
        let now = Moment::now();
        let clock = clock(&[Some(0.1)], now);
        let step = |seconds: f64| {
            let passed = Duration::from_secs(10);
            let wall = now.wall + passed + time::Duration::seconds_f64(seconds);
            clock.state(Moment { wall, steady: now.steady + passed }, &RULES)
        };
        assert_eq!(step(0.0).trusted, Trusted::Reliable);
        let state = step(3600.0);
        assert_eq!(state.trusted, Trusted::Off);
        assert!((state.offset.unwrap() - (0.1 - 3600.0)).abs() < 1e-6, "{state:?}");
        assert_eq!(step(-3600.0).trusted, Trusted::Off);
        assert!(state.believed(&ClockRules { required: false, ..RULES }).is_err(), "known to be wrong");
    }

    #[test]
    fn a_failure_keeps_the_last_answer_and_is_told() {
        let now = Moment::now();
        let clock = clock(&[Some(0.1)], now);
        clock.note(0, Err("timeout".to_owned()));
        clock.note(0, Err("timeout".to_owned()));
        clock.note(9, Err("nobody".to_owned()));
        let state = clock.state(now, &RULES);
        assert_eq!(state.trusted, Trusted::Reliable);
        assert_eq!((state.servers[0].failures, state.servers[0].error.as_deref()), (2, Some("timeout")));
    }
}
