use std::time::Duration;

use crate::read::Section;

/// A rule on how callers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmRule {
    /// A caller comes from a network that it never came from.
    NewNetwork,
    /// It comes at an hour of the day at which it never came.
    UnusualHour,
    /// It asks far more often than it usually does.
    Burst,
    /// It reads very many license faces.
    BulkRead,
    /// It is refused very often.
    Refusals,
    /// One credential is used in two networks at once.
    TwoPlaces,
}

impl AlarmRule {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NewNetwork, Self::UnusualHour, Self::Burst, Self::BulkRead, Self::Refusals, Self::TwoPlaces];

    /// Its name in the configuration, in figures and on record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewNetwork => "new_network",
            Self::UnusualHour => "unusual_hour",
            Self::Burst => "burst",
            Self::BulkRead => "bulk_read",
            Self::Refusals => "refusals",
            Self::TwoPlaces => "two_places",
        }
    }
}

/// When callers' behaviour is told to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarms {
    /// How long a caller is watched before its habits are known. Default 7 days.
    pub learn: Duration,
    /// A minute with so many times the requests of a usual one is a burst. Default 10.
    pub burst_factor: u32,
    /// Fewer requests a minute are never a burst. Default 600.
    pub burst_at_least: u32,
    /// More faces read within an hour are bulk reads. Default 1,000.
    pub bulk_reads: u32,
    /// More refusals within a minute are many. Default 100.
    pub refusals: u32,
    /// The same alarm about the same caller is not raised again for so long. Default 1 h.
    pub hold: Duration,
    /// In the order of [`AlarmRule::ALL`]: whether the rule is off.
    off: [bool; AlarmRule::ALL.len()],
}

impl Alarms {
    /// Whether a rule is looked at.
    #[must_use]
    pub fn watches(&self, rule: AlarmRule) -> bool {
        !self.off[rule as usize]
    }

    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let mut number = |name, default, least| {
            u32::try_from(section.integer(name, default, least..=1_000_000)).unwrap_or(u32::MAX)
        };
        let burst_factor = number("burst_factor", 10, 2);
        let burst_at_least = number("burst_at_least", 600, 1);
        let bulk_reads = number("bulk_reads", 1000, 1);
        let refusals = number("refusals", 100, 1);
        let learn = Duration::from_secs(section.integer("learn_days", 7, 0..=90) * 86_400);
        let hold = Duration::from_secs(section.integer("hold_minutes", 60, 1..=1440) * 60);
        let mut off = [false; AlarmRule::ALL.len()];
        for name in section.strings("off", "rules") {
            match AlarmRule::ALL.iter().position(|rule| rule.as_str() == name) {
                Some(place) => off[place] = true,
                None => {
                    let known = AlarmRule::ALL.map(AlarmRule::as_str).join(", ");
                    section.mistake("off", &format!("there is no rule {name:?}; there are {known}"));
                }
            }
        }
        Self { learn, burst_factor, burst_at_least, bulk_reads, refusals, hold, off }
    }
}
