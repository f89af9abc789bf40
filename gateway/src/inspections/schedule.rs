//! When inspections are due. A time of a schedule has a slot, which names it however often a gateway starts and however its
//! clock is set: what was missed while no gateway ran is made once, as soon as one runs, and only the last of what was missed.

use config::Inspections;
use store::Occasion;
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// How long before a time that matters an inspection is made.
const BEFORE: Duration = Duration::DAY;

/// An inspection that a schedule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) occasion: Occasion,
    /// Names it for good.
    pub(super) slot: String,
    /// Since when it is due.
    pub(super) at: OffsetDateTime,
}

/// The last time of each schedule that has come, by the site's time. Those of more weight come first.
pub(super) fn due(rules: &Inspections, offset: UtcOffset, now: OffsetDateTime) -> Vec<Due> {
    let mut found = Vec::new();
    for moment in &rules.key_moments {
        let since = *moment - BEFORE;
        if (since..*moment).contains(&now) {
            let slot = moment.to_offset(UtcOffset::UTC).unix_timestamp().to_string();
            found.push(Due { occasion: Occasion::KeyMoment, slot, at: since });
        }
    }
    let Some(time) = rules.at else { return found };
    let at = |day: Date| PrimitiveDateTime::new(day, time).assume_offset(offset);
    let local = now.to_offset(offset);
    let today = local.date();
    // The last day whose time has come.
    let Some(day) = (if at(today) <= now { Some(today) } else { today.previous_day() }) else { return found };
    if rules.quarterly {
        let first = |day: Date| {
            let month = (u8::from(day.month()) - 1) / 3 * 3 + 1;
            Month::try_from(month).ok().and_then(|month| Date::from_calendar_date(day.year(), month, 1).ok())
        };
        // The quarter of that day began on it or before it.
        if let Some(begin) = first(day) {
            let slot = format!("{}-Q{}", begin.year(), u8::from(begin.month()).div_ceil(3));
            found.push(Due { occasion: Occasion::Quarterly, slot, at: at(begin) });
        }
    }
    if rules.weekly {
        let monday = day - Duration::days(day.weekday().number_days_from_monday().into());
        let (year, week, _) = monday.to_iso_week_date();
        let slot = format!("{year}-W{week:02}");
        found.push(Due { occasion: Occasion::Weekly, slot, at: at(monday) });
    }
    if rules.daily {
        found.push(Due { occasion: Occasion::Daily, slot: day.to_string(), at: at(day) });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::macros::{datetime, offset, time};

    use super::*;

    fn rules() -> Inspections {
        Inspections { at: Some(time!(06:30)), ..Inspections::default() }
    }

    fn slots(rules: &Inspections, now: OffsetDateTime) -> Vec<String> {
        due(rules, offset!(+8), now).into_iter().map(|due| due.slot).collect()
    }

    #[test]
    fn a_day_begins_with_the_sites_time_and_not_before() {
        let before = datetime!(2026-11-23 06:29:59 +8);
        assert_eq!(slots(&rules(), before), ["2026-Q4", "2026-W47", "2026-11-22"]);
        let monday = datetime!(2026-11-23 06:30 +8);
        assert_eq!(slots(&rules(), monday), ["2026-Q4", "2026-W48", "2026-11-23"]);
        assert_eq!(slots(&rules(), monday.to_offset(UtcOffset::UTC)), slots(&rules(), monday));
    }

    #[test]
    fn nothing_is_due_without_a_time_of_the_day_and_what_is_turned_off_is_not() {
        let now = datetime!(2026-11-23 12:00 +8);
        assert_eq!(slots(&Inspections::default(), now), [""; 0]);
        let only = Inspections { daily: false, weekly: false, ..rules() };
        assert_eq!(slots(&only, now), ["2026-Q4"]);
    }

    #[test]
    fn three_years_have_twelve_quarters_and_each_day_one_inspection() {
        let mut now = datetime!(2024-01-01 00:00 UTC);
        let mut first: BTreeMap<(Occasion, String), OffsetDateTime> = BTreeMap::new();
        // Looked at each twenty minutes, over a leap day and three ends of years.
        while now < datetime!(2027-01-01 00:00 UTC) {
            for due in due(&rules(), offset!(+8), now) {
                assert!(due.at <= now && now - due.at < Duration::days(93), "{due:?} at {now}");
                first.entry((due.occasion, due.slot)).or_insert(now);
            }
            now += Duration::minutes(20);
        }
        let of = |occasion| first.keys().filter(|(of, _)| *of == occasion).count();
        // And those of the first day of 2027, which begins at the site before it does in UTC.
        assert_eq!(of(Occasion::Daily), 1_096 + 1);
        assert_eq!(of(Occasion::Weekly), 157);
        assert_eq!(of(Occasion::Quarterly), 12 + 1);
        // Each is due when its time comes: within one look of 06:30 at the site.
        for ((occasion, slot), at) in first.iter().filter(|(_, at)| **at > datetime!(2024-01-01 00:00 UTC)) {
            let local = at.to_offset(offset!(+8)).time();
            assert!((time!(06:30)..time!(06:50)).contains(&local), "{occasion} {slot} at {at}");
        }
    }

    #[test]
    fn after_weeks_without_a_gateway_the_last_of_each_is_due_and_no_other() {
        let back = datetime!(2026-10-13 11:00 +8);
        assert_eq!(slots(&rules(), back), ["2026-Q4", "2026-W42", "2026-10-13"]);
    }

    #[test]
    fn a_time_that_matters_has_its_inspection_in_the_day_before_and_none_when_it_is_over() {
        let moment = datetime!(2027-01-04 08:00 +8);
        let rules = Inspections { key_moments: vec![moment], ..Inspections::default() };
        let at = |now| due(&rules, offset!(+8), now).len();
        assert_eq!(at(moment - Duration::DAY - Duration::SECOND), 0);
        assert_eq!(at(moment - Duration::DAY), 1);
        assert_eq!(at(moment - Duration::SECOND), 1);
        assert_eq!(at(moment), 0);
        let found = due(&rules, offset!(+8), moment - Duration::HOUR);
        assert_eq!((found[0].occasion, found[0].slot.as_str()), (Occasion::KeyMoment, "1799020800"));
    }
}
