use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SPANS: [(u64, u64); 3] = [(60, 10), (3_600, 300), (86_400, 3_600)];

/// Waits of all sizes, from none to more than a day, and latencies likewise.
fn records() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let wait = prop_oneof![
        6 => 0u64..2_000,
        3 => 0u64..60_000,
        2 => 0u64..3_600_000,
        1 => 0u64..100_000_000,
    ];
    let micros = prop_oneof![0u64..10, 0u64..10_000, 0u64..200_000_000, Just(u64::MAX)];
    vec((wait, micros), 0..120)
}

/// What a list of all records says of the last slots.
fn slots_since(now_ms: u64, span: u64, width: u64) -> u64 {
    let width = width * 1_000;
    (now_ms / width + 1).saturating_sub(span * 1_000 / width) * width
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_summary_says_what_a_sorted_list_says(records in records(), after in 0u64..100_000) {
        let origin = Instant::now();
        let mut window = Window::new(origin);
        let mut list = Vec::new();
        let mut ms = 0;
        for (wait, micros) in records {
            ms += wait;
            window.record(origin + Duration::from_millis(ms), micros);
            list.push((ms, micros.clamp(1, LONGEST)));
        }
        ms += after;
        for (span, width) in SPANS {
            let since = slots_since(ms, span, width);
            let mut values: Vec<u64> =
                list.iter().filter(|(at, _)| *at >= since).map(|(_, micros)| *micros).collect();
            values.sort_unstable();
            let got = window.summary(origin + Duration::from_millis(ms), Duration::from_secs(span));
            prop_assert_eq!(got.count, values.len() as u64);
            prop_assert_eq!(got.max_us, values.last().copied().unwrap_or(0));
            for (quantile, got) in [(0.5, got.p50_us), (0.9, got.p90_us), (0.99, got.p99_us)] {
                let place = ((values.len() as f64 * quantile).ceil() as usize).max(1) - 1;
                let exact = values.get(place).copied().unwrap_or(0);
                prop_assert!(
                    got >= exact && got as f64 <= exact as f64 * 1.01,
                    "{got} for {exact} at {quantile} of {span} s"
                );
            }
            let seconds = ((ms - since) as f64 / 1_000.0).max(1.0);
            prop_assert!((got.rate * seconds - values.len() as f64).abs() < 1e-6);
        }
    }

    #[test]
    fn memory_stays_within_what_is_said(records in records()) {
        let origin = Instant::now();
        let mut window = Window::new(origin);
        let mut ms = 0;
        for (wait, micros) in records {
            ms += wait;
            window.record(origin + Duration::from_millis(ms), micros);
        }
        let slots = window.spans.spans.iter().flat_map(|slots| &slots.slots);
        let sizes: Vec<usize> =
            slots.map(|(_, latencies)| latencies.histogram.distinct_values() * size_of::<u32>()).collect();
        prop_assert!(sizes.len() <= 42);
        prop_assert!(sizes.iter().all(|size| *size <= 10_752), "{sizes:?}");
    }

    #[test]
    fn errors_are_counted_by_code_and_none_is_lost(
        notes in vec((0u64..400_000, 0u32..50), 0..400),
    ) {
        let origin = Instant::now();
        let mut tally = Tally::new(origin);
        let mut list = Vec::new();
        let mut ms = 0;
        for (wait, code) in notes {
            ms += wait / 100;
            tally.note(origin + Duration::from_millis(ms), &format!("E{code}"));
            list.push((ms, format!("E{code}")));
        }
        for (span, width) in SPANS {
            let since = slots_since(ms, span, width);
            let seen: Vec<_> = list.iter().filter(|(at, _)| *at >= since).collect();
            let got = tally.summary(origin + Duration::from_millis(ms), Duration::from_secs(span));
            prop_assert_eq!(got.iter().map(|code| code.count).sum::<u64>(), seen.len() as u64);
            prop_assert!(got.len() <= CODES + 1);
            let named = got.iter().filter(|code| code.code != OTHER);
            prop_assert!(named.clone().is_sorted_by(|a, b| a.count >= b.count));
            let complete = got.iter().all(|code| code.code != OTHER);
            for CodeCount { code, count } in named {
                let exact = seen.iter().filter(|(_, seen)| seen == code).count() as u64;
                prop_assert!(*count == exact || !complete && *count < exact, "{count} of {exact} {code}");
            }
        }
    }

    #[test]
    fn the_time_in_all_states_is_the_time_there_was(
        notes in vec((0u64..100_000, 0usize..7), 0..200),
        after in 0u64..100_000,
    ) {
        use State::{Degraded, Down, Draining, Maintenance, Quarantined, Ready, Starting};
        let states = [Starting, Ready, Degraded, Draining, Maintenance, Down, Quarantined];
        let origin = Instant::now();
        let mut log = StateLog::new(origin, Starting);
        let mut list = vec![(0, Starting)];
        let mut ms = 0;
        for (wait, state) in notes {
            ms += wait;
            log.note(origin + Duration::from_millis(ms), states[state]);
            if list.last().unwrap().1 != states[state] {
                list.push((ms, states[state]));
            }
        }
        ms += after;
        let got = log.summary(origin + Duration::from_millis(ms));
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        let (since, state) = *list.last().unwrap();
        prop_assert_eq!(got.state, state);
        prop_assert!((got.seconds - seconds(ms - since)).abs() < 1e-6);
        prop_assert_eq!(got.changed, list.len() as u64 - 1);
        prop_assert_eq!(got.changes.len(), (list.len() - 1).min(64));
        for (change, pair) in got.changes.iter().zip(list.windows(2).rev()) {
            prop_assert_eq!((change.from, change.to), (pair[0].1, pair[1].1));
            prop_assert!((change.seconds_ago - seconds(ms - pair[1].0)).abs() < 1e-6);
        }
        for state in states {
            let ends = list.iter().skip(1).map(|(at, _)| *at).chain([ms]);
            let stays = list.iter().zip(ends).filter(|((_, stay), _)| *stay == state);
            let exact: u64 = stays.map(|((from, _), to)| to - from).sum();
            let times: Vec<_> = got.times.iter().filter(|time| time.state == state).collect();
            prop_assert_eq!(times.len(), usize::from(list.iter().any(|(_, stay)| *stay == state)));
            prop_assert!(times.iter().all(|time| (time.seconds - seconds(exact)).abs() < 1e-6));
        }
    }
}

#[test]
fn what_is_older_than_the_while_is_gone_and_a_late_record_is_not_lost() {
    let origin = Instant::now();
    let at = |seconds| origin + Duration::from_secs(seconds);
    let mut window = Window::new(origin);
    (0..100).for_each(|_| window.record(at(1), 1_000));
    window.record(at(65), 50_000);
    window.record(at(62), 70_000); // from a thread that was held up
    let minute = window.summary(at(66), Duration::from_secs(60));
    assert_eq!((minute.count, minute.max_us, minute.p50_us), (2, 70_000, minute.p50_us));
    assert!((50_000..50_500).contains(&minute.p50_us));
    assert_eq!(window.summary(at(66), Duration::from_secs(3_600)).count, 102);
    assert_eq!(window.summary(at(4_000), Duration::from_secs(3_600)).count, 0);
    assert_eq!(window.summary(at(4_000), Duration::from_secs(1 << 40)).count, 102);
}

#[test]
fn a_rare_code_beyond_the_bound_is_counted_as_other() {
    let origin = Instant::now();
    let mut tally = Tally::new(origin);
    for code in 0..CODES {
        (0..2).for_each(|_| tally.note(origin, &format!("CKR 0x{code:08X}")));
    }
    (0..3).for_each(|code| tally.note(origin, &format!("late {code}")));
    tally.note(origin, "CKR 0x00000005");
    let got = tally.summary(origin, Duration::from_secs(60));
    assert_eq!(got.len(), CODES + 1);
    assert_eq!(got[0], CodeCount { code: "CKR 0x00000005".to_owned(), count: 3 });
    assert_eq!(got[CODES], CodeCount { code: OTHER.to_owned(), count: 3 });
}

#[test]
fn summaries_are_written_in_plain_names() {
    let origin = Instant::now();
    let at = |seconds| origin + Duration::from_secs(seconds);
    let mut window = Window::new(origin);
    window.record(at(4), 7);
    let summary = serde_json::to_value(window.summary(at(4), Duration::from_secs(60))).unwrap();
    assert_eq!(
        summary,
        serde_json::json!({"count": 1, "p50_us": 7, "p90_us": 7, "p99_us": 7, "max_us": 7, "rate": 0.25})
    );
    let mut log = StateLog::new(origin, State::Starting);
    log.note(at(2), State::Ready);
    let history = serde_json::to_value(log.summary(at(5))).unwrap();
    assert_eq!(
        history,
        serde_json::json!({
            "state": "ready",
            "seconds": 3.0,
            "times": [{"state": "starting", "seconds": 2.0}, {"state": "ready", "seconds": 3.0}],
            "changed": 1,
            "changes": [{"from": "starting", "to": "ready", "seconds_ago": 3.0}],
        })
    );
}
