//! The audit log: dense, grouped, append-only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use store::{AuditEntry, AuditLog, StoreError, leaf_hash};
use support::{Database, on_both_databases};
use time::macros::datetime;

on_both_databases! {
    two_thousand_concurrent_appends_get_dense_indices_in_far_fewer_commits,
    where_many_requests_are_under_way_more_of_them_share_a_commit,
    the_log_goes_on_where_it_ended,
    finishing_writes_what_waits_and_refuses_what_comes_later,
    a_full_queue_refuses_at_once_and_loses_nothing_it_took,
    a_failed_commit_is_an_error_to_its_waiters_and_leaves_no_gap,
    nothing_in_the_log_can_be_changed_removed_replaced_or_skipped,
}

fn entry(request_id: impl ToString) -> AuditEntry {
    AuditEntry {
        action: "sign".into(),
        actor: "窗口".into(),
        at: datetime!(2024-05-06 07:08:09.5 +08:00),
        device: Some("d1".into()),
        input_digest: Some("00ff".into()),
        key: Some("demo-sm2".into()),
        outcome: "ok".into(),
        request_id: request_id.to_string(),
        result_digest: None,
        subject: None,
    }
}

async fn two_thousand_concurrent_appends_get_dense_indices_in_far_fewer_commits(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let appends: Vec<_> = (0..2000_u64)
        .map(|n| {
            let log = log.clone();
            tokio::spawn(async move { (log.append(entry(n)).await.unwrap(), n.to_string()) })
        })
        .collect();
    let mut answered = BTreeMap::new();
    for append in appends {
        let (index, request_id) = append.await.unwrap();
        assert_eq!(answered.insert(index, request_id), None, "index {index} given out twice");
    }
    assert!(answered.keys().copied().eq(0..2000));
    assert_eq!(log.appended(), 2000);
    assert!((1..=200).contains(&log.commits()), "{} commits", log.commits());

    let stored = [log.entries(0, 9999).await.unwrap(), log.entries(1000, 9999).await.unwrap()].concat();
    assert_eq!(stored.len(), 2000, "a page holds at most 1,000");
    for (stored, (index, request_id)) in stored.iter().zip(&answered) {
        assert_eq!(stored.index, *index);
        assert_eq!(stored.leaf_hash, leaf_hash(&stored.entry));
        let read: AuditEntry = serde_json::from_slice(&stored.entry).unwrap();
        assert_eq!(read, entry(request_id));
    }
    writer.finish().await;
}

/// As gateways do under load: everybody appends, works on, and appends again.
async fn where_many_requests_are_under_way_more_of_them_share_a_commit(database: &Database) {
    const CALLERS: u64 = 64;
    const EACH: u64 = 25;
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    log.under_way().store(64, Ordering::Relaxed);
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut indices = Vec::new();
                for n in 0..EACH {
                    indices.push(log.append(entry(caller * EACH + n)).await.unwrap());
                    tokio::time::sleep(Duration::from_micros(100 * caller)).await;
                }
                indices
            })
        })
        .collect();
    let mut indices = Vec::new();
    for caller in callers {
        indices.extend(caller.await.unwrap());
    }
    indices.sort_unstable();
    assert!(indices.into_iter().eq(0..CALLERS * EACH), "each index is given out once");
    // One who is left alone is answered as well.
    assert_eq!(log.append(entry("alone")).await.unwrap(), CALLERS * EACH);
    assert!(log.commits() < CALLERS * EACH / 2, "{} commits", log.commits());
    writer.finish().await;
}

/// PostgreSQL takes a new table for a small one until it is analysed: the rules of the log must not read all of it then.
#[tokio::test]
async fn an_append_reads_as_little_of_a_long_log_as_of_a_short_one() {
    const APPENDS: u64 = 300;
    let database = Database::postgres();
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    for n in 0..APPENDS {
        log.append(entry(n)).await.unwrap();
    }
    writer.finish().await;
    store.close().await;
    let mut raw = database.raw().await;
    let read = "SELECT (sum(seq_tup_read) + sum(idx_tup_fetch))::text FROM pg_stat_user_tables
                WHERE relname LIKE 'audit_%' UNION ALL
                SELECT sum(idx_tup_read)::text FROM pg_stat_user_indexes WHERE relname LIKE 'audit_%'
                UNION ALL SELECT sum(n_tup_ins)::text FROM pg_stat_user_tables WHERE relname = 'audit_entries'";
    // A session's counts are added up when it ends, which the server notices in its own time.
    for _ in 0..6_000 {
        let figures: Vec<u64> = raw.texts(read).await.iter().map(|figure| figure.parse().unwrap()).collect();
        if figures[2] == APPENDS {
            assert!(
                figures[0] + figures[1] < 10 * APPENDS,
                "{figures:?} of rows and index entries, for inserts"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server has not counted the appends");
}

#[tokio::test]
async fn an_entry_is_stored_as_canonical_json_under_its_leaf_hash() {
    let stored = entry("r\"1\n").canonical_json().unwrap();
    assert_eq!(
        std::str::from_utf8(&stored).unwrap(),
        r#"{"action":"sign","actor":"窗口","at":"2024-05-05T23:08:09.5Z","device":"d1","input_digest":"00ff","key":"demo-sm2","outcome":"ok","request_id":"r\"1\n"}"#
    );
    // RFC 9162, 2.1.1: a leaf is hashed with 0x00 before it.
    assert_eq!(leaf_hash(b"abc"), <[u8; 32]>::from(<sm3::Sm3 as sm3::Digest>::digest(b"\0abc")));
}

async fn the_log_goes_on_where_it_ended(database: &Database) {
    let store = database.create().await;
    for index in 0..3 {
        let (log, writer) = AuditLog::start(&store).await.unwrap();
        assert_eq!(log.append(entry(index)).await.unwrap(), index);
        writer.finish().await;
    }
    assert_eq!(store.audit_entries(1, 1).await.unwrap()[0].index, 1);
    assert!(store.audit_entries(3, 10).await.unwrap().is_empty());
    assert!(store.audit_entries(u64::MAX, 10).await.unwrap().is_empty());
}

async fn finishing_writes_what_waits_and_refuses_what_comes_later(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let mut blocker = database.raw().await;
    blocker.block_writers("audit_entries").await;
    // Each is asked once, and so is in the queue or with the writer before the end begins.
    let mut appends: Vec<_> = (0..1000).map(|n| Box::pin(log.append(entry(n)))).collect();
    for append in &mut appends {
        assert!(asked(append.as_mut()).await.is_pending());
    }
    let finish = tokio::spawn(writer.finish());
    blocker.release().await;
    finish.await.unwrap();
    for append in appends {
        append.await.unwrap();
    }
    assert_eq!(log.appended(), 1000);
    assert!(matches!(log.append(entry("late")).await, Err(StoreError::AuditUnavailable)));
}

async fn a_full_queue_refuses_at_once_and_loses_nothing_it_took(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let mut blocker = database.raw().await;
    blocker.block_writers("audit_entries").await;
    let appends: Vec<_> = (0..6000)
        .map(|n| {
            let log = log.clone();
            tokio::spawn(async move { log.append(entry(n)).await })
        })
        .collect();
    // The refused ones end while the database is still locked.
    until(|| appends.iter().filter(|append| append.is_finished()).count() >= 6000 - 4096 - 512).await;
    blocker.release().await;
    let mut taken = Vec::new();
    for append in appends {
        match append.await.unwrap() {
            Ok(index) => taken.push(index),
            Err(error) => assert!(matches!(error, StoreError::AuditUnavailable), "{error:?}"),
        }
    }
    taken.sort_unstable();
    assert!(taken.len() >= 4096, "{}", taken.len());
    assert!(taken.iter().copied().eq(0..taken.len() as u64));
    writer.finish().await;
}

async fn a_failed_commit_is_an_error_to_its_waiters_and_leaves_no_gap(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    assert_eq!(log.append(entry("before")).await.unwrap(), 0);

    let mut raw = database.raw().await;
    let disk_full = match database {
        Database::Sqlite(_) => {
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries WHEN NEW.idx >= 3
             BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        }
        Database::Postgres(_) => {
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries FOR EACH ROW WHEN (NEW.idx >= 3)
             EXECUTE FUNCTION refuse('disk full')"
        }
    };
    raw.execute(disk_full).await.unwrap();
    // Waiting together behind a lock, they become one batch: the rows before the failing one go with it.
    raw.block_writers("audit_entries").await;
    let mut lone = Box::pin(log.append(entry("lone")));
    assert!(asked(lone.as_mut()).await.is_pending());
    until(|| log.waiting() == 0).await;
    let batch: Vec<_> = (0..100)
        .map(|n| {
            let log = log.clone();
            tokio::spawn(async move { log.append(entry(n)).await })
        })
        .collect();
    until(|| log.waiting() == 100).await;
    raw.release().await;
    assert_eq!(lone.await.unwrap(), 1);
    for append in batch {
        assert!(matches!(append.await.unwrap(), Err(StoreError::AuditUnavailable)));
    }

    let drop_trigger = match database {
        Database::Sqlite(_) => "DROP TRIGGER disk_full",
        Database::Postgres(_) => "DROP TRIGGER disk_full ON audit_entries",
    };
    raw.execute(drop_trigger).await.unwrap();
    assert_eq!(log.append(entry("after")).await.unwrap(), 2);
    assert_eq!(log.entries(0, 10).await.unwrap().len(), 3);
    writer.finish().await;
}

async fn nothing_in_the_log_can_be_changed_removed_replaced_or_skipped(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    for n in 0..3 {
        log.append(entry(n)).await.unwrap();
    }
    writer.finish().await;
    let before = store.audit_entries(0, 10).await.unwrap();
    let mut raw = database.raw().await;
    let hash = "0".repeat(64);
    let inserting = |verb: &str, values: &str| {
        format!("{verb} INTO audit_entries (log, idx, written_at, entry, leaf_hash) VALUES {values}")
    };
    let one = format!("(1, 1, 0, x'00', x'{hash}')");
    let replacing = match database {
        // Deletes without firing triggers for deletions.
        Database::Sqlite(_) => inserting("INSERT OR REPLACE", &one),
        Database::Postgres(_) => "TRUNCATE audit_entries".to_owned(),
    };
    let changing = inserting("INSERT", &one) + " ON CONFLICT (log, idx) DO UPDATE SET entry = x'00'";
    let fixed = ["audit_entries is append-only", "audit_entries grows by the next index only"];
    for statement in [
        "UPDATE audit_entries SET entry = x'00' WHERE idx = 1",
        "UPDATE audit_entries SET idx = 9 WHERE idx = 2",
        "DELETE FROM audit_entries WHERE idx = 2",
        "DELETE FROM audit_entries",
        &replacing,
        &changing,
        &inserting("INSERT", &format!("(1, 4, 0, x'00', x'{hash}')")),
        &inserting("INSERT", &format!("(1, 3, 0, x'', x'{hash}'), (1, 5, 0, x'', x'{hash}')")),
    ] {
        raw.refused(statement, &fixed).await;
    }
    let below = inserting("INSERT", &format!("(1, -1, 0, x'00', x'{hash}')"));
    raw.refused(&below, &[fixed[1], "audit_entries_idx_check"]).await;
    raw.refused(&inserting("INSERT", &format!("(1, 3, 0, x'00', x'00{hash}')")), &["leaf_hash"]).await;
    assert_eq!(store.audit_entries(0, 10).await.unwrap(), before);
}

/// Waits for a condition, with a bound.
/// What a future says when it is asked once.
async fn asked<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    panic!("the awaited condition did not come about");
}
