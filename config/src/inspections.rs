use time::{OffsetDateTime, Time};

use crate::KeyId;
use crate::read::Section;

/// When inspections (巡检) are made by themselves, and who signs their reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspections {
    /// At which time of the site's day those of a schedule are due; none if there are none.
    pub at: Option<Time>,
    /// Whether one is made each day. Default true, with `at`.
    pub daily: bool,
    /// Whether one is made each Monday. Default true, with `at`.
    pub weekly: bool,
    /// Whether one is made on the first day of each quarter of the year. Default true, with `at`.
    pub quarterly: bool,
    /// Times that matter (重要时刻); one is made a day before each.
    pub key_moments: Vec<OffsetDateTime>,
    /// The service key that signs reports; none if they are not signed.
    pub key: Option<KeyId>,
    /// For how many days inspections are kept. Default 1,100.
    pub retention_days: u32,
}

impl Default for Inspections {
    fn default() -> Self {
        Self {
            at: None,
            daily: true,
            weekly: true,
            quarterly: true,
            key_moments: Vec::new(),
            key: None,
            retention_days: RETENTION,
        }
    }
}

/// Three years of quarterly ones.
const RETENTION: u32 = 1_100;

impl Inspections {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let at = section.has("at").then(|| section.parsed("at", time_of_day)).flatten();
        let moments = section.strings("key_moments", "times");
        let read =
            |text: &String| OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
        let key_moments: Vec<_> = moments.iter().filter_map(|text| read(text).ok()).collect();
        if key_moments.len() < moments.len() {
            section.mistake(
                "key_moments",
                "must be times as RFC 3339 has them, such as 2026-12-31T08:00:00+08:00",
            );
        }
        Self {
            at,
            daily: section.boolean("daily", true),
            weekly: section.boolean("weekly", true),
            quarterly: section.boolean("quarterly", true),
            key_moments,
            key: section.has("key").then(|| section.parsed("key", KeyId::parse)).flatten(),
            retention_days: u32::try_from(section.integer("retention_days", RETENTION.into(), 100..=36_500))
                .unwrap_or(RETENTION),
        }
    }
}

fn time_of_day(text: &str) -> Result<Time, &'static str> {
    const WRONG: &str = "must be a time of the day such as \"06:30\"";
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5).ok_or(WRONG)?;
    let number =
        |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok());
    let (hour, minute) = (number(hour).flatten().ok_or(WRONG)?, number(minute).flatten().ok_or(WRONG)?);
    Time::from_hms(hour, minute, 0).map_err(|_| WRONG)
}
