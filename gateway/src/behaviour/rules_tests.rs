use super::*;

/// Monday, 8:00 UTC.
const START: i64 = 1_700_467_200;

fn limits(toml: &str) -> Alarms {
    let text = format!("{}\n[alarms]\n{toml}\n", include_str!("../../../config/examples/site.toml"));
    config::Config::parse(&text, std::path::Path::new("/nowhere"))
        .unwrap_or_else(|error| panic!("{error:?}"))
        .alarms
}

fn seen(at: i64, address: &str) -> Seen {
    Seen {
        at,
        actor: "portal".to_owned(),
        proved: true,
        network: Some(Network::of(address.parse().unwrap())),
        credential: Some("key-1".to_owned()),
        refused: false,
        face: false,
        missed: false,
    }
}

fn rules(alarms: &[Alarm]) -> Vec<AlarmRule> {
    alarms.iter().map(|alarm| alarm.rule).collect()
}

/// A watcher that has seen the portal at its address for nine days, every minute from 8:00 to 8:09.
fn used_to(limits: &Alarms) -> (Watcher, i64) {
    let mut watcher = Watcher::new();
    for day in 0..9 {
        for minute in 0..10 {
            let at = START + day * DAY + minute * MINUTE;
            assert_eq!(watcher.saw(limits, &seen(at, "192.0.2.7")), [], "day {day}, minute {minute}");
        }
    }
    (watcher, START + 9 * DAY)
}

#[test]
fn a_network_is_new_once_and_only_to_a_caller_whose_habits_are_known() {
    let limits = limits("");
    let (mut watcher, at) = used_to(&limits);
    assert_eq!(watcher.saw(&limits, &seen(at, "192.0.2.99")), [], "the same network");
    let alarms = watcher.saw(&limits, &seen(at, "198.51.100.1"));
    assert_eq!(rules(&alarms), [AlarmRule::NewNetwork]);
    assert_eq!(alarms[0].detail, "from 198.51.100.0/24, where it never was");
    assert_eq!(alarms[0].actor, "portal");
    let later = at + 2 * HOUR; // quiet is over
    let alarms = watcher.saw(&limits, &seen(later, "198.51.100.1"));
    assert_eq!(rules(&alarms), [AlarmRule::UnusualHour], "it is known now");
    let mut fresh = Watcher::new();
    assert_eq!(fresh.saw(&limits, &seen(START, "192.0.2.1")), []);
    assert_eq!(fresh.saw(&limits, &seen(START + DAY, "198.51.100.1")), [], "it is being learnt");
}

#[test]
fn an_hour_is_unusual_at_which_the_caller_never_came() {
    let limits = limits("");
    let (mut watcher, at) = used_to(&limits);
    let night = at + 18 * HOUR;
    let alarms = watcher.saw(&limits, &seen(night, "192.0.2.7"));
    assert_eq!(rules(&alarms), [AlarmRule::UnusualHour]);
    assert_eq!(alarms[0].detail, "never before between 2:00 and 2:59 UTC");
    assert_eq!(watcher.saw(&limits, &seen(night + DAY, "192.0.2.7")), [], "it did now");
    let long_after = at + (FORGOTTEN + 1) * DAY;
    assert_eq!(
        rules(&watcher.saw(&limits, &seen(long_after, "192.0.2.7"))),
        [AlarmRule::UnusualHour],
        "forgotten"
    );
}

#[test]
fn a_burst_is_measured_by_what_the_caller_usually_does_and_does_not_make_itself_usual() {
    let limits = limits("burst_factor = 5\nburst_at_least = 20");
    let mut watcher = Watcher::new();
    let minute = |watcher: &mut Watcher, at: i64, times: i64| -> Vec<Alarm> {
        (0..times).flat_map(|n| watcher.saw(&limits, &seen(at + n % 60, "192.0.2.7"))).collect()
    };
    for day in 0..8 {
        for number in 0..50 {
            assert_eq!(minute(&mut watcher, START + day * DAY + number * MINUTE, 10), []);
        }
    }
    let at = START + 8 * DAY;
    assert_eq!(minute(&mut watcher, at, 45), [], "less than five times the usual");
    let alarms = minute(&mut watcher, at + 10 * MINUTE, 200);
    assert_eq!(rules(&alarms), [AlarmRule::Burst], "once");
    assert_eq!(alarms[0].detail, "53 requests in a minute, usually 11");
    for number in 11..20 {
        minute(&mut watcher, at + number * MINUTE, 200);
    }
    let alarms = minute(&mut watcher, at + 59 * MINUTE + DAY, 200);
    assert_eq!(rules(&alarms), [AlarmRule::Burst], "ten minutes of it are not what is usual");
}

#[test]
fn few_requests_are_no_burst_however_seldom_the_caller_comes() {
    let limits = limits("");
    let (mut watcher, at) = used_to(&limits);
    for n in 0..600 {
        assert_eq!(watcher.saw(&limits, &seen(at + n % 60, "192.0.2.7")), []);
    }
    assert_eq!(rules(&watcher.saw(&limits, &seen(at + 59, "192.0.2.7"))), [AlarmRule::Burst]);
}

#[test]
fn bulk_reads_and_refusals_are_told_of_every_caller_from_its_first_day() {
    let limits = limits("bulk_reads = 5\nrefusals = 3");
    let mut watcher = Watcher::new();
    let read = Seen { face: true, ..seen(START, "192.0.2.7") };
    for _ in 0..5 {
        assert_eq!(watcher.saw(&limits, &read), []);
    }
    assert_eq!(rules(&watcher.saw(&limits, &read)), [AlarmRule::BulkRead]);
    assert_eq!(watcher.saw(&limits, &read), [], "it has been said");
    let next = Seen { at: START + HOUR, ..read };
    assert_eq!(watcher.saw(&limits, &next), [], "another hour");

    let refused = Seen { refused: true, ..seen(START, "192.0.2.7") };
    let stranger =
        Seen { actor: "anonymous:192.0.2.9".to_owned(), proved: false, credential: None, ..refused.clone() };
    for who in [refused, stranger] {
        for n in 0..3 {
            assert_eq!(watcher.saw(&limits, &Seen { at: START + n, ..who.clone() }), []);
        }
        assert_eq!(watcher.saw(&limits, &Seen { at: START + 60, ..who.clone() }), [], "another minute");
        for n in 0..2 {
            assert_eq!(watcher.saw(&limits, &Seen { at: START + 61 + n, ..who.clone() }), []);
        }
        let alarms = watcher.saw(&limits, &Seen { at: START + 70, ..who.clone() });
        assert_eq!(rules(&alarms), [AlarmRule::Refusals]);
        assert_eq!(alarms[0].detail, "4 refusals within a minute");
    }
}

#[test]
fn a_credential_is_in_two_places_when_it_comes_back_at_once_from_a_network_that_is_not_long_known() {
    let limits = limits("");
    let mut watcher = Watcher::new();
    let (here, there) = ("192.0.2.7", "198.51.100.1");
    assert_eq!(watcher.saw(&limits, &seen(START, here)), []);
    assert_eq!(watcher.saw(&limits, &seen(START + 10, there)), [], "it may have moved");
    let alarms = watcher.saw(&limits, &seen(START + 20, here));
    assert_eq!(rules(&alarms), [AlarmRule::TwoPlaces]);
    assert_eq!(alarms[0].detail, "key-1 in 192.0.2.0/24 and 198.51.100.0/24 at once");
    // Another credential of the same caller elsewhere is no contradiction.
    let other = Seen { credential: Some("key-2".to_owned()), ..seen(START + HOUR + 10, there) };
    for request in [seen(START + HOUR, here), other, seen(START + HOUR + 20, here)] {
        assert_eq!(watcher.saw(&limits, &request), []);
    }
    // Slowly to and fro is moving.
    for (place, at) in [(here, 3 * HOUR), (there, 3 * HOUR + 61), (here, 3 * HOUR + 122)] {
        assert_eq!(watcher.saw(&limits, &seen(START + at, place)), []);
    }
    // Two sites of one caller, each known for a day.
    for (place, at) in [(here, 2 * DAY), (there, 2 * DAY + 1), (here, 2 * DAY + 2)] {
        assert_eq!(watcher.saw(&limits, &seen(START + at, place)), []);
    }
}

#[test]
fn a_rule_that_is_off_says_nothing_and_one_that_spoke_keeps_quiet_for_a_while() {
    let quiet = limits("off = [\"new_network\"]");
    let (mut watcher, at) = used_to(&quiet);
    assert_eq!(watcher.saw(&quiet, &seen(at, "198.51.100.1")), []);
    let limits = limits("hold_minutes = 10");
    let (mut watcher, at) = used_to(&limits);
    assert_eq!(rules(&watcher.saw(&limits, &seen(at, "198.51.100.1"))), [AlarmRule::NewNetwork]);
    assert_eq!(watcher.saw(&limits, &seen(at + 599, "203.0.113.1")), []);
    assert_eq!(rules(&watcher.saw(&limits, &seen(at + 600, "203.0.114.1"))), [AlarmRule::NewNetwork]);
}

#[test]
fn memory_is_bounded_whoever_comes() {
    let limits = limits("");
    let mut watcher = Watcher::new();
    for n in 0..u32::try_from(MOST_CALLERS + 10).unwrap() {
        watcher.saw(&limits, &Seen { actor: format!("app-{n}"), ..seen(START, "192.0.2.7") });
        let stranger = Seen {
            actor: format!("anonymous:{n}"),
            proved: false,
            refused: true,
            ..seen(START, "192.0.2.7")
        };
        watcher.saw(&limits, &stranger);
    }
    assert_eq!((watcher.callers.len(), watcher.strangers.len()), (MOST_CALLERS, MOST_STRANGERS));
    for n in 0..200_u8 {
        let place = Seen { credential: Some(format!("c-{n}")), ..seen(START, &format!("192.0.{n}.1")) };
        watcher.saw(&limits, &place);
    }
    let portal = watcher.callers.get("portal").unwrap();
    assert_eq!((portal.habits.networks.len(), portal.places.len()), (MOST_NETWORKS, MOST_PLACES));
}

#[test]
fn what_is_kept_is_taken_up_by_another_gateway_and_merged() {
    let limits = limits("");
    let (mut watcher, at) = used_to(&limits);
    let kept = watcher.changed(usize::MAX);
    assert_eq!(kept.len(), 1);
    assert!(watcher.changed(usize::MAX).is_empty(), "nothing new");
    watcher.put_back(kept.iter().map(|(actor, _)| actor.clone()));
    assert_eq!(watcher.changed(usize::MAX), kept);
    let json = serde_json::to_string(&kept[0].1).unwrap();
    let mut other = Watcher::new();
    other.saw(&limits, &seen(at - 60, "203.0.113.1"));
    other.learn("portal", &serde_json::from_str(&json).unwrap());
    assert_eq!(other.saw(&limits, &seen(at, "192.0.2.7")), [], "known there");
    assert_eq!(rules(&other.saw(&limits, &seen(at, "198.51.100.1"))), [AlarmRule::NewNetwork]);
}

#[test]
fn asking_for_faces_of_no_license_is_reading_in_bulk() {
    let limits = limits("bulk_reads = 5");
    let mut watcher = Watcher::new();
    let one = seen(START, "192.0.2.1");
    for _ in 0..2 {
        assert_eq!(watcher.saw(&limits, &Seen { face: true, ..one.clone() }), []);
    }
    let missed = Seen { missed: true, ..one.clone() };
    for _ in 0..3 {
        assert_eq!(watcher.saw(&limits, &missed), []);
    }
    let alarms = watcher.saw(&limits, &missed);
    assert_eq!(rules(&alarms), [AlarmRule::BulkRead]);
    assert_eq!(alarms[0].detail, "2 license faces read within an hour, and 4 of no license");
}

#[test]
fn a_clock_that_was_set_back_neither_fills_an_old_span_nor_silences_a_rule() {
    let limits = limits("refusals = 3\nhold_minutes = 10");
    let mut watcher = Watcher::new();
    let refused = |at| Seen { refused: true, ..seen(at, "192.0.2.1") };
    let times = |watcher: &mut Watcher, at, times: usize| -> Vec<AlarmRule> {
        (0..times).flat_map(|_| rules(&watcher.saw(&limits, &refused(at)))).collect()
    };
    assert_eq!(times(&mut watcher, START + DAY, 4), [AlarmRule::Refusals]);
    // A day back: what was counted in the future does not count now.
    assert_eq!(times(&mut watcher, START, 3), []);
    assert_eq!(times(&mut watcher, START, 1), [], "it has just been said");
    let later = START + 11 * MINUTE;
    assert_eq!(
        times(&mut watcher, later, 4),
        [AlarmRule::Refusals],
        "quiet for as long as is usual, not for a day"
    );
    // By a few seconds over the edge of a minute: that is no other minute.
    assert_eq!(times(&mut watcher, later + DAY, 3), []);
    assert_eq!(times(&mut watcher, later + DAY - 30, 1), [AlarmRule::Refusals]);
}
