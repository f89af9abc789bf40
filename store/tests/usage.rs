//! Usage statistics: each entry of the log counts once, whoever counts and whenever, and counting again comes out the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::audit_support::{Kept, SoftSigner, entry};
use crate::support::{Database, on_both_databases};

use store::{
    Archive, ArchiveError, AuditEntry, Counted, LogId, Recount, Store, StoreError, UsageColumn, UsageKey,
    UsageQuery, usage_day,
};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    entries_count_once_whoever_counts,
    uses_are_told_by_what_is_asked_for,
    entries_that_went_into_the_archive_are_counted_from_there,
    what_was_removed_when_its_time_was_over_is_not_held_against_the_counts,
    a_count_that_was_changed_is_found,
}

const SEVENTH: OffsetDateTime = datetime!(2026-10-07 12:00 +8);
const EIGHTH: OffsetDateTime = datetime!(2026-10-08 12:00 +8);
const CODE: &str = "91350100M000100Y43";

fn used(at: OffsetDateTime, actor: &str, action: &str, outcome: &str, subject: &str) -> AuditEntry {
    AuditEntry {
        at,
        actor: actor.to_owned(),
        action: action.to_owned(),
        outcome: outcome.to_owned(),
        subject: Some(subject.to_owned()),
        ..entry(subject)
    }
}

async fn kept(database: &Database) -> Kept {
    let never = Duration::from_secs(3600);
    Kept::start(database.create().await, &SoftSigner::new(7), 1000, never).await
}

async fn append(kept: &Kept, entries: impl IntoIterator<Item = AuditEntry>) {
    let tasks = entries.into_iter().map(|entry| {
        let log = kept.log.clone();
        tokio::spawn(async move { log.append(entry).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Counts what there is; answers how many entries.
async fn count(store: &Store, log: LogId, archive: Option<&Archive>) -> u64 {
    let mut all = 0;
    loop {
        match store.count_usage(log, archive).await.unwrap() {
            Counted::Entries(entries) => all += entries,
            Counted::Forestalled => {}
            Counted::Nothing => return all,
            Counted::Waiting => panic!("everything is there"),
        }
    }
}

fn all_days() -> UsageQuery {
    UsageQuery { from: 0, to: i64::from(u32::MAX), limit: 1000, ..UsageQuery::default() }
}

async fn told(store: &Store, wanted: UsageQuery) -> Vec<String> {
    let rows = store.usage(&wanted).await.unwrap().into_iter();
    rows.map(|row| format!("{} {}", row.values.join(" "), row.uses).trim().to_owned()).collect()
}

async fn recount(store: &Store, archive: Option<&Archive>) -> Recount {
    store.recount_usage(archive, &mut |_, _| {}).await.unwrap()
}

async fn entries_count_once_whoever_counts(database: &Database) {
    let kept = kept(database).await;
    let log = kept.record().id;
    assert_eq!(kept.store.count_usage(log, None).await.unwrap(), Counted::Nothing);
    for round in 1..=3_u64 {
        append(&kept, (0..700).map(|_| used(SEVENTH, "portal", "signature.raw", "ok", ""))).await;
        let counting = (0..4).map(|_| {
            let store = kept.store.clone();
            tokio::spawn(async move { count(&store, log, None).await })
        });
        let mut counted = 0;
        for one in counting.collect::<Vec<_>>() {
            counted += one.await.unwrap();
        }
        assert_eq!(counted, 700);
        assert_eq!(told(&kept.store, all_days()).await, [format!("{}", 700 * round)]);
    }
    let progress = kept.store.usage_progress().await.unwrap();
    assert_eq!(progress.iter().map(|log| log.counted).collect::<Vec<_>>(), [2100]);
    let again = recount(&kept.store, None).await;
    assert_eq!((again.entries, again.uses, again.differing, again.since), (2100, 2100, 0, None));
    kept.finish().await.close().await;
}

async fn uses_are_told_by_what_is_asked_for(database: &Database) {
    let kept = kept(database).await;
    append(
        &kept,
        [
            used(SEVENTH, "portal", "license.face", "ok", CODE),
            used(EIGHTH, "portal", "license.face", "ok", CODE),
            used(EIGHTH, "portal", "license.status", "license_unknown", CODE),
            used(EIGHTH, "tax", "license.verify-batch", "ok", "30 licenses"),
            used(EIGHTH, "tax", "session.consume", "ok", &format!("s {CODE} for tax sign_in annual")),
            used(EIGHTH, "license-gateway", "session.expire", "ok", "t for portal sign_in annual"),
            used(EIGHTH, "person:anna", "app.create", "ok", "portal"),
        ],
    )
    .await;
    assert_eq!(count(&kept.store, kept.record().id, None).await, 7);
    let ask = async |by: &[UsageColumn], change: &dyn Fn(&mut UsageQuery)| {
        let mut wanted = UsageQuery { by: by.to_vec(), ..all_days() };
        change(&mut wanted);
        told(&kept.store, wanted).await
    };
    use UsageColumn::{Action, App, Day, Flow, Item, Region, Result};
    let (seventh, eighth) = (usage_day(SEVENTH), usage_day(EIGHTH));
    assert_eq!(ask(&[App], &|_| {}).await, ["portal 4", "tax 31"]);
    assert_eq!(ask(&[Day], &|_| {}).await, [format!("{seventh} 1"), format!("{eighth} 34")]);
    assert_eq!(ask(&[Day], &|wanted| wanted.to = seventh).await, [format!("{seventh} 1")]);
    assert_eq!(ask(&[], &|wanted| wanted.from = eighth).await, ["34"]);
    assert_eq!(
        ask(&[Action, Result], &|wanted| wanted.action = Some("license.".to_owned())).await,
        ["license.face ok 2", "license.status license_unknown 1", "license.verify-batch ok 30"]
    );
    assert_eq!(ask(&[App], &|wanted| wanted.action = Some("license.face".to_owned())).await, ["portal 2"]);
    assert_eq!(ask(&[App], &|wanted| wanted.result = Some("license_unknown".to_owned())).await, ["portal 1"]);
    let item = |wanted: &mut UsageQuery| wanted.item = Some("annual".to_owned());
    assert_eq!(
        ask(&[App, Action, Flow, Item], &item).await,
        ["portal session.expire sign_in annual 1", "tax session.consume sign_in annual 1"]
    );
    assert_eq!(ask(&[Region], &|wanted| wanted.region = Some("35".to_owned())).await, ["350100 4"]);
    assert!(ask(&[Region], &|wanted| wanted.region = Some("51".to_owned())).await.is_empty());
    assert!(ask(&[], &|wanted| wanted.app = Some("none".to_owned())).await.is_empty());
    // Page by page the rows come one after the other.
    let page = |offset| move |wanted: &mut UsageQuery| (wanted.offset, wanted.limit) = (offset, 1);
    assert_eq!(ask(&[App], &page(0)).await, ["portal 4"]);
    assert_eq!(ask(&[App], &page(1)).await, ["tax 31"]);
    assert!(ask(&[App], &page(2)).await.is_empty());
    assert_eq!(recount(&kept.store, None).await.uses, 35);
    kept.finish().await.close().await;
}

/// A log of 600 entries of two days; the first 512 are in the archive.
async fn archived(database: &Database, folder: &std::path::Path) -> (Store, LogId, Archive) {
    let kept = kept(database).await;
    append(&kept, (0..300).map(|_| used(SEVENTH, "portal", "signature.raw", "ok", ""))).await;
    append(&kept, (0..300).map(|_| used(EIGHTH, "portal", "signature.raw", "ok", ""))).await;
    let record = kept.record();
    let store = kept.finish().await;
    let archive = Archive::folder(folder).unwrap();
    let later = OffsetDateTime::now_utc() + time::Duration::HOUR;
    let moved = store.archive_audit(&record, &archive, later).await.unwrap().unwrap();
    assert_eq!((moved.start, moved.until), (0, 512));
    (store, record.id, archive)
}

async fn entries_that_went_into_the_archive_are_counted_from_there(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let (store, log, archive) = archived(database, folder.path()).await;
    // Where the archive is not to be read nothing is passed over.
    assert_eq!(store.count_usage(log, None).await.unwrap(), Counted::Waiting);
    assert_eq!(count(&store, log, Some(&archive)).await, 600);
    let by_day = UsageQuery { by: vec![UsageColumn::Day], ..all_days() };
    let (seventh, eighth) = (usage_day(SEVENTH), usage_day(EIGHTH));
    assert_eq!(told(&store, by_day).await, [format!("{seventh} 300"), format!("{eighth} 300")]);
    let again = recount(&store, Some(&archive)).await;
    assert_eq!((again.entries, again.uses, again.differing, again.since), (600, 600, 0, None));
    let unread = store.recount_usage(None, &mut |_, _| {}).await;
    assert!(matches!(unread, Err(ArchiveError::Store(StoreError::NotFound { .. }))), "{unread:?}");
    store.close().await;
}

async fn what_was_removed_when_its_time_was_over_is_not_held_against_the_counts(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let (store, log, archive) = archived(database, folder.path()).await;
    assert_eq!(count(&store, log, Some(&archive)).await, 600);
    let segment = store.audit_segments(log).await.unwrap().remove(0);
    store.remove_segment(log, &archive, &segment).await.unwrap();
    let again = recount(&store, Some(&archive)).await;
    // Of the eighth of October only a part is there.
    assert_eq!((again.entries, again.differing, again.since), (88, 0, Some(usage_day(EIGHTH) + 1)));
    assert_eq!(told(&store, all_days()).await, ["600"], "what was counted stays");
    store.close().await;
}

async fn a_count_that_was_changed_is_found(database: &Database) {
    let kept = kept(database).await;
    append(&kept, (0..5).map(|_| used(SEVENTH, "portal", "signature.raw", "ok", ""))).await;
    append(&kept, [used(EIGHTH, "taxes", "license.face", "ok", CODE)]).await;
    count(&kept.store, kept.record().id, None).await;
    let store = kept.finish().await;
    let mut raw = database.raw().await;
    raw.execute("UPDATE usage_counts SET uses = 7 WHERE app = 'portal'").await.unwrap();
    raw.execute("DELETE FROM usage_counts WHERE app = 'taxes'").await.unwrap();
    raw.execute(
        "INSERT INTO usage_counts (day, app, action, flow, item, result, region, uses)
         VALUES (1, 'nobody', 'license.face', '', '', 'ok', '', 3)",
    )
    .await
    .unwrap();
    let again = recount(&store, None).await;
    assert_eq!((again.entries, again.uses, again.differing), (6, 6, 3));
    let differs = |app: &str| {
        let is = |key: &UsageKey| key.app == app;
        let found = again.differences.iter().find(|difference| is(&difference.key)).unwrap();
        (found.counted, found.recounted)
    };
    assert_eq!((differs("portal"), differs("taxes"), differs("nobody")), ((7, 5), (0, 1), (3, 0)));
    store.close().await;
}
