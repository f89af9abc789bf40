//! What devices did, minute by minute and later by the quarter of an hour.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use config::DeviceId;
use store::{DeviceFigures, DeviceMinute, DeviceSpan, Downsampled, Store, StoreError};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    a_minute_comes_back_as_it_went_in_from_its_own_device_and_time_only,
    a_minute_that_was_cut_by_a_restart_is_added_up,
    a_coarser_step_adds_minutes_up_and_leaves_gaps_out,
    old_minutes_become_quarters_with_the_same_sums_and_the_oldest_go,
    an_unknown_state_refuses_all_minutes_of_the_call,
}

const NOON: OffsetDateTime = datetime!(2024-05-06 12:00 UTC);
const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(900);
const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);
const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

fn device(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

/// A minute in which `signed` signatures took `p50` to `10 × p50` microseconds.
fn minute(id: &str, at: OffsetDateTime, signed: u64, p50: u64) -> DeviceMinute {
    let figures = DeviceFigures {
        state: "ready".into(),
        seconds_in: [("ready".into(), 60)].into(),
        signed,
        failed: 1,
        errors: [("CKR_DEVICE_ERROR".into(), 1)].into(),
        p50_us: p50,
        p90_us: 2 * p50,
        p99_us: 5 * p50,
        max_us: 10 * p50,
        max_load: signed,
        lanes: 4,
        worker_starts: 0,
        crashes: 0,
        self_test: None,
    };
    DeviceMinute { device: device(id), at, figures }
}

async fn all(store: &Store, id: &str, step: Duration) -> Vec<DeviceSpan> {
    let (from, to) = (NOON - NINETY_DAYS * 2, NOON + NINETY_DAYS * 2);
    store.device_history(&device(id), from, to, step).await.unwrap()
}

async fn a_minute_comes_back_as_it_went_in_from_its_own_device_and_time_only(database: &Database) {
    let store = database.create().await;
    let mut first = minute("d1", NOON + Duration::from_secs(59), 10, 100);
    first.figures.self_test = Some("passed".into());
    let second = minute("d1", NOON + MINUTE, 20, 200);
    let other = minute("d2", NOON, 30, 300);
    store.record_device_minutes(&[first.clone(), second.clone(), other]).await.unwrap();

    let wanted = [(NOON, first.figures.clone()), (NOON + MINUTE, second.figures)]
        .map(|(start, figures)| DeviceSpan { start, length: MINUTE, figures });
    assert_eq!(all(&store, "d1", MINUTE).await, wanted);
    let d1 = device("d1");
    let range = |from, to| store.device_history(&d1, from, to, MINUTE);
    assert_eq!(range(NOON, NOON + MINUTE).await.unwrap(), wanted[..1], "the end is not in the range");
    assert_eq!(range(NOON + MINUTE, NOON + 2 * MINUTE).await.unwrap(), wanted[1..]);
    assert_eq!(all(&store, "d3", MINUTE).await, []);
}

async fn a_minute_that_was_cut_by_a_restart_is_added_up(database: &Database) {
    let store = database.create().await;
    let mut before = minute("d1", NOON, 30, 100);
    before.figures.seconds_in = [("ready".into(), 20)].into();
    before.figures.self_test = Some("passed".into());
    let mut after = minute("d1", NOON, 10, 500);
    after.figures.seconds_in = [("starting".into(), 5), ("ready".into(), 30)].into();
    after.figures.state = "degraded".into();
    after.figures.errors = [("CKR_DEVICE_ERROR".into(), 2), ("timed_out".into(), 1)].into();
    after.figures.worker_starts = 1;
    store.record_device_minutes(&[before]).await.unwrap();
    store.record_device_minutes(&[after]).await.unwrap();

    let [whole] = &all(&store, "d1", MINUTE).await[..] else { panic!("one minute") };
    let figures = &whole.figures;
    assert_eq!((figures.signed, figures.failed, figures.worker_starts), (40, 2, 1));
    assert_eq!(figures.seconds_in, [("ready".to_owned(), 50), ("starting".to_owned(), 5)].into());
    assert_eq!(figures.errors, [("CKR_DEVICE_ERROR".to_owned(), 3), ("timed_out".to_owned(), 1)].into());
    // 30 of 100 µs and 10 of 500 µs: the mean of the medians is 200 µs.
    assert_eq!((figures.p50_us, figures.p90_us), (200, 400));
    assert_eq!((figures.p99_us, figures.max_us, figures.max_load), (2500, 5000, 30));
    assert_eq!((figures.state.as_str(), figures.self_test.as_deref()), ("degraded", Some("passed")));
}

async fn a_coarser_step_adds_minutes_up_and_leaves_gaps_out(database: &Database) {
    let store = database.create().await;
    let minutes: Vec<_> =
        [0, 1, 4, 5, 20].map(|n| minute("d1", NOON + n * MINUTE, u64::from(n) + 1, 100)).into();
    store.record_device_minutes(&minutes).await.unwrap();
    let spans = all(&store, "d1", 5 * MINUTE).await;
    let facts: Vec<_> = spans.iter().map(|span| (span.start, span.length, span.figures.signed)).collect();
    let five = 5 * MINUTE;
    assert_eq!(facts, [(NOON, five, 8), (NOON + five, five, 6), (NOON + 4 * five, five, 21)]);
}

#[tokio::test]
async fn a_minute_no_signature_fell_into_does_not_shift_the_percentiles() {
    let mut busy = minute("d1", NOON, 10, 100).figures;
    busy.merge(DeviceFigures { state: "ready".into(), ..DeviceFigures::default() });
    assert_eq!((busy.p50_us, busy.p90_us, busy.p99_us), (100, 200, 500));
}

async fn old_minutes_become_quarters_with_the_same_sums_and_the_oldest_go(database: &Database) {
    let store = database.create().await;
    let ancient = NOON - NINETY_DAYS - QUARTER;
    // An hour that ends two days ago, of which the last quarter is still within the two days.
    let old = (0..60).map(|n| minute("d1", NOON - TWO_DAYS - 45 * MINUTE + n * MINUTE, 2, 100));
    let recent = (0..3).map(|n| minute("d1", NOON - n * MINUTE, 3, 100));
    let others = [minute("d1", ancient, 7, 100), minute("d2", NOON - TWO_DAYS - MINUTE, 5, 100)];
    let minutes: Vec<_> = old.chain(recent).chain(others).collect();
    store.record_device_minutes(&minutes).await.unwrap();

    let done = store.downsample_device_history(NOON, TWO_DAYS, NINETY_DAYS).await.unwrap();
    assert_eq!(done, Downsampled { merged: 46, dropped: 1 });
    let spans = all(&store, "d1", MINUTE).await;
    let quarters: Vec<_> = spans.iter().filter(|span| span.length == QUARTER).collect();
    assert_eq!(quarters.len(), 3);
    for (quarter, start) in quarters.iter().zip([45, 30, 15].map(|ago| NOON - TWO_DAYS - ago * MINUTE)) {
        assert_eq!((quarter.start, quarter.figures.signed), (start, 30));
        assert_eq!(quarter.figures.seconds_in["ready"], 900);
    }
    assert_eq!(spans.len() - 3, 15 + 3, "minutes of the last two days stay minutes");
    assert_eq!(all(&store, "d2", MINUTE).await[0].figures.signed, 5);

    let again = store.downsample_device_history(NOON, TWO_DAYS, NINETY_DAYS).await.unwrap();
    assert_eq!(again, Downsampled::default());
    // A minute that comes late joins its quarter.
    store.record_device_minutes(&[minute("d1", NOON - TWO_DAYS - MINUTE, 4, 100)]).await.unwrap();
    let late = store.downsample_device_history(NOON, TWO_DAYS, NINETY_DAYS).await.unwrap();
    assert_eq!(late.merged, 1);
    let hours = all(&store, "d1", 4 * QUARTER).await;
    assert_eq!(hours.iter().map(|hour| hour.figures.signed).sum::<u64>(), 120 + 9 + 4);
}

async fn an_unknown_state_refuses_all_minutes_of_the_call(database: &Database) {
    let store = database.create().await;
    let mut odd = minute("d1", NOON + MINUTE, 1, 1);
    odd.figures.state = "sleeping".into();
    let error = store.record_device_minutes(&[minute("d1", NOON, 1, 1), odd]).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    assert_eq!(all(&store, "d1", MINUTE).await, []);
}
