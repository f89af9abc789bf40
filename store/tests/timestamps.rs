//! Serial numbers and times of timestamps are given once, in order, on either database.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use crate::support;

use std::collections::BTreeSet;

use store::{StoreError, TimestampBlock};
use support::{Database, on_both_databases};

on_both_databases! {
    blocks_follow_each_other_also_over_a_restart,
    ordered_times_go_on_from_the_latest_whatever_the_clock_says,
    many_at_once_get_blocks_that_do_not_meet,
    the_counter_never_goes_back_and_is_never_deleted,
    a_clock_that_is_far_ahead_takes_no_time_and_stops_nobody,
}

async fn blocks_follow_each_other_also_over_a_restart(database: &Database) {
    let store = database.create().await;
    let first = store.take_serials(100).await.unwrap();
    assert_eq!(first, TimestampBlock { first_serial: 1, count: 100, first_time_us: None });
    store.close().await;
    let store = database.create().await;
    assert_eq!(store.take_serials(1).await.unwrap().first_serial, 101, "what was not used is lost");
    assert_eq!(store.take_serials(1).await.unwrap().first_serial, 102);
}

async fn ordered_times_go_on_from_the_latest_whatever_the_clock_says(database: &Database) {
    let store = database.create().await;
    let taken = async |count, now| {
        let block = store.take_ordered(count, now).await.unwrap();
        (block.first_serial, block.first_time_us.unwrap())
    };
    assert_eq!(taken(3, 1_000_000).await, (1, 1_000_000));
    assert_eq!(taken(1, 1_000_000).await, (4, 1_000_003), "1,000,002 was the last one");
    assert_eq!(taken(1, 5).await, (5, 1_000_004), "a clock that went back");
    assert_eq!(store.take_serials(10).await.unwrap().first_serial, 6);
    assert_eq!(taken(2, 2_000_000).await, (16, 2_000_000));
    store.close().await;
    let store = database.create().await;
    assert_eq!(store.take_ordered(1, 0).await.unwrap().first_time_us, Some(2_000_002), "after a restart");
}

async fn a_clock_that_is_far_ahead_takes_no_time_and_stops_nobody(database: &Database) {
    let store = database.create().await;
    let now = || u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap();
    let year = 365 * 24 * 3600 * 1_000_000;
    let refused = store.take_ordered(1, now() + year).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { what: "clock", .. })), "{refused:?}");
    let taken = store.take_ordered(1, now()).await.unwrap();
    assert_eq!(taken.first_serial, 1, "nothing was taken");
    assert!(taken.first_time_us.unwrap() < now() + 120_000_000);
}

async fn many_at_once_get_blocks_that_do_not_meet(database: &Database) {
    // Two gateways share a server; a file is one gateway's.
    let first = database.create().await;
    let second = if database.is_sqlite() { first.clone() } else { database.create().await };
    let tasks: Vec<_> = (0..40_u32)
        .map(|number| {
            let store = if number % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move {
                let mut blocks = Vec::new();
                for count in 1..5 {
                    blocks.push(match number % 3 {
                        0 => store.take_serials(count).await.unwrap(),
                        _ => store.take_ordered(count, 7).await.unwrap(),
                    });
                }
                blocks
            })
        })
        .collect();
    let (mut serials, mut times, mut given, mut timed) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    for task in tasks {
        for block in task.await.unwrap() {
            given += u64::from(block.count);
            serials.extend((0..u64::from(block.count)).map(|offset| block.first_serial + offset));
            if let Some(first) = block.first_time_us {
                timed += u64::from(block.count);
                times.extend((0..u64::from(block.count)).map(|offset| first + offset));
            }
        }
    }
    assert_eq!((serials.len() as u64, times.len() as u64), (given, timed), "none twice");
    assert_eq!(serials.last(), Some(&given));
}

async fn the_counter_never_goes_back_and_is_never_deleted(database: &Database) {
    let store = database.create().await;
    store.take_ordered(10, 1_000).await.unwrap();
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE timestamp_counter SET next_serial = next_serial - 1",
        "UPDATE timestamp_counter SET latest_us = latest_us - 1",
        "DELETE FROM timestamp_counter",
    ] {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
    assert_eq!(store.take_serials(1).await.unwrap().first_serial, 11);
}
