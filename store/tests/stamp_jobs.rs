//! Documents stamped many at a time: kept sealed, claimed by one at a time, and ended once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use config::{AppId, KeyId};
use store::{
    App, AuditEntry, AuditLog, Blob, Blobs, ClaimedDocument, DataKey, DataKeys, DayLimit, DocumentEnd,
    DocumentOrder, DocumentState, Failure, JobKind, NewDocument, NewStampJob, Source, Stamp, StampJobState,
    StampedDocument, Store, StoreError, UploadRoom,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    a_blob_comes_back_to_its_owner_and_not_when_it_was_altered,
    uploads_are_called_by_what_they_are_and_bounded,
    apps_take_turns_and_each_document_is_one_ones,
    a_stamp_is_on_record_by_who_holds_the_document_and_nobody_else,
    what_was_altered_or_lost_too_often_is_given_up,
    what_cannot_be_opened_for_want_of_its_key_is_let_go_at_once_and_tried_again,
    a_job_is_cancelled_finished_and_forgotten,
    what_counts_for_a_day_is_taken_with_the_order_and_given_back_by_what_ends_without_a_stamp,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
const LEASE: Duration = Duration::from_secs(120);
const ROOM: UploadRoom = UploadRoom { octets: 1_000, count: 10 };

fn id(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

async fn with_apps(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    for app in ["one", "two"] {
        store.insert_app(&App::new(id(app), app), &[], AT).await.unwrap();
    }
    store
}

fn digest_of(name: &str) -> NewDocument {
    let order = DocumentOrder { name: name.to_owned(), order: "{}".to_owned(), source: None };
    NewDocument { order, failed: None }
}

async fn insert(store: &Store, job: &str, app: &str, documents: &[NewDocument]) -> Result<(), StoreError> {
    let app = id(app);
    let (kind, counted) = (JobKind::Stamps, None);
    let new =
        NewStampJob { id: job, app: &app, kind, counted, request_id: "request", defaults: b"{}", documents };
    store.insert_stamp_job(&new, 2, AT).await
}

const COUNTED: DayLimit<'_> = DayLimit { rule: "certificates:", day: 20_000, limit: 250 };

async fn insert_counted(store: &Store, job: &str, documents: &[NewDocument]) -> Result<(), StoreError> {
    let new = NewStampJob {
        id: job,
        app: &id("one"),
        kind: JobKind::QueryCertificates,
        counted: Some(COUNTED),
        request_id: "request",
        defaults: b"{}",
        documents,
    };
    store.insert_stamp_job(&new, 3, AT).await
}

async fn claim(store: &Store, at: OffsetDateTime) -> Option<ClaimedDocument> {
    store.claim_document("gateway/run", LEASE, at).await.unwrap()
}

fn blob(app: &str, name: &str, octets: u64) -> Blob {
    let mut sm3 = [0; 32];
    sm3[..name.len()].copy_from_slice(name.as_bytes());
    Blob { name: format!("blob {name} {octets}"), app: id(app), octets, sm3 }
}

fn stamped(document: &ClaimedDocument) -> StampedDocument {
    StampedDocument {
        job: document.job.clone(),
        n: document.n,
        holder: document.holder.clone(),
        attempt: document.attempt,
        result: blob("one", "result", 10),
    }
}

fn failure(code: &str) -> Failure {
    Failure { code: code.to_owned(), detail: "为何".to_owned() }
}

async fn record(log: &AuditLog, stamp: &str, document: StampedDocument) -> Result<u64, StoreError> {
    let entry = AuditEntry {
        action: "stamp.digest".to_owned(),
        actor: "one".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "request".to_owned(),
        result_digest: None,
        subject: Some(stamp.to_owned()),
    };
    let stamp = Stamp {
        id: stamp.to_owned(),
        check_code: format!("code of {stamp}"),
        format: "digest".to_owned(),
        level: "B-B".to_owned(),
        app: id("one"),
        key: KeyId::parse("demo-p256").unwrap(),
        at: AT,
        certificate: vec![0x30, 0],
        field: String::new(),
        input_digest: [1; 32],
        result_digest: [2; 32],
        octets: 10,
        mandate: None,
        template: None,
        list: None,
        signatures: Vec::new(),
    };
    log.append_job_stamp(entry, stamp, document).await
}

async fn a_blob_comes_back_to_its_owner_and_not_when_it_was_altered(database: &Database) {
    let store = with_apps(database).await;
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(folder.path(), store.protection()).unwrap();
    let mebibyte = 1_usize << 20;
    for length in [0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 3 * mebibyte] {
        let octets: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let blob = blobs.write(&id("one"), &octets).await.unwrap();
        assert_eq!(blob.octets, length as u64);
        assert_eq!(blobs.read(&blob).await.unwrap(), octets, "{length}");
        let theirs = Blob { app: id("two"), ..blob.clone() };
        assert!(matches!(blobs.read(&theirs).await, Err(StoreError::Altered { .. })));
        if length > mebibyte {
            // The first part alone is not the whole of it.
            let cut = Blob { octets: mebibyte as u64, ..blob.clone() };
            assert!(matches!(blobs.read(&cut).await, Err(StoreError::Altered { .. })), "{length}");
        }
        let path = folder.path().join("documents").join(&blob.name);
        let mut stored = std::fs::read(&path).unwrap();
        assert!(length < 100 || !stored.windows(64).any(|window| window == &octets[..64]), "it is sealed");
        let middle = stored.len() / 2;
        stored[middle] ^= 1;
        std::fs::write(&path, stored).unwrap();
        assert!(matches!(blobs.read(&blob).await, Err(StoreError::Altered { .. })));
        blobs.remove(&blob.name).await.unwrap();
        blobs.remove(&blob.name).await.unwrap();
        assert!(matches!(blobs.read(&blob).await, Err(StoreError::Blobs { .. })));
    }
    let written = blobs.write(&id("one"), b"left").await.unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(blobs.older_than(now - time::Duration::HOUR).await.unwrap(), Vec::<String>::new());
    assert_eq!(blobs.older_than(now + time::Duration::HOUR).await.unwrap(), [written.name]);
    drop(blobs.writer(&id("one")).await.unwrap());
}

async fn uploads_are_called_by_what_they_are_and_bounded(database: &Database) {
    let store = with_apps(database).await;
    let keep = async |blob: Blob, until: i64| {
        let until = AT + time::Duration::seconds(until);
        store.keep_uploads(&[blob], ROOM, until, AT).await.map(|mut kept| kept.remove(0))
    };
    let (first, is_new) = keep(blob("one", "a", 600), 100).await.unwrap();
    assert!(is_new);
    let other = Blob { name: "another blob".to_owned(), ..blob("one", "a", 600) };
    let (second, is_new) = keep(other, 200).await.unwrap();
    assert_eq!((second.blob, is_new), (first.blob.clone(), false), "the same document is the same upload");
    assert!(matches!(keep(blob("one", "b", 401), 100).await, Err(StoreError::Full { what: "upload", .. })));
    keep(blob("two", "a", 900), 100).await.unwrap();
    let both = [blob("one", "c", 300), blob("one", "d", 300)];
    let kept = store.keep_uploads(&both, ROOM, AT, AT).await;
    assert!(matches!(kept, Err(StoreError::Full { .. })));
    assert_eq!(store.upload_use(&id("one")).await.unwrap(), (600, 1), "all of them or none");

    let sm3 = hex::encode(first.blob.sm3);
    let at = |seconds: i64| AT + time::Duration::seconds(seconds);
    assert_eq!(store.upload(&id("one"), &sm3, at(150)).await.unwrap().unwrap().blob, first.blob);
    assert!(store.upload(&id("one"), &sm3, at(200)).await.unwrap().is_none());
    assert!(store.upload(&id("one"), "\0", AT).await.unwrap().is_none());
    // A job that waits for a document keeps it.
    let waiting = [NewDocument {
        order: DocumentOrder { source: Some(Source::of(&first.blob)), ..digest_of("x").order },
        failed: None,
    }];
    insert(&store, "job", "one", &waiting).await.unwrap();
    assert_eq!(store.forget_uploads(at(300)).await.unwrap(), ["blob a 900"]);
    assert!(store.is_blob_named(&first.blob.name).await.unwrap());
    store.cancel_stamp_job("job", AT).await.unwrap();
    assert_eq!(store.forget_uploads(at(300)).await.unwrap(), std::slice::from_ref(&first.blob.name));
    assert!(!store.is_blob_named(&first.blob.name).await.unwrap());
    let gone = insert(&store, "late", "one", &waiting).await;
    assert!(matches!(gone, Err(StoreError::NotFound { what: "upload", .. })), "{gone:?}");
    assert!(store.stamp_job("late").await.unwrap().is_none());
}

async fn apps_take_turns_and_each_document_is_one_ones(database: &Database) {
    let store = with_apps(database).await;
    let many: Vec<_> = (0..6).map(|number| digest_of(&format!("{number}"))).collect();
    insert(&store, "large", "one", &many).await.unwrap();
    insert(&store, "second", "one", &many[..1]).await.unwrap();
    insert(&store, "small", "two", &many[..2]).await.unwrap();
    let full = insert(&store, "third", "one", &many[..1]).await;
    assert!(matches!(full, Err(StoreError::Full { what: "stamp job", most: 2, .. })));
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        claims.spawn(async move { claim(&store, AT).await.map(|claimed| (claimed.job, claimed.n)) });
    }
    let mut turns: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
    turns.sort();
    let turn = |job: &str, n: u32| (job.to_owned(), n);
    let wanted = [turn("large", 1), turn("second", 1), turn("small", 1), turn("small", 2)];
    assert_eq!(turns, wanted, "so do the jobs of an app");
    let mut left = 0;
    while claim(&store, AT).await.is_some() {
        left += 1;
    }
    assert_eq!(left, 5);
    assert!(claim(&store, AT + LEASE - Duration::from_secs(1)).await.is_none(), "they are held");
    assert!(claim(&store, AT + LEASE).await.is_some());
}

async fn a_stamp_is_on_record_by_who_holds_the_document_and_nobody_else(database: &Database) {
    let store = with_apps(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    insert(&store, "job", "one", &[digest_of("张三的合同")]).await.unwrap();
    assert!(!database.contents().windows(6).any(|octets| octets == "张三".as_bytes()), "names are sealed");
    let first = claim(&store, AT).await.unwrap();
    assert!(!format!("{first:?}").contains("张三"));
    let later = AT + LEASE;
    let second = claim(&store, later).await.unwrap();
    assert_eq!((second.n, second.attempt), (1, 2));
    let late = record(&log, "stamp-one", stamped(&first)).await;
    assert!(matches!(late, Err(StoreError::Changed { .. })), "{late:?}");
    assert!(!store.end_document(&first, &DocumentEnd::Failed(failure("late"))).await.unwrap());
    assert!(store.stamp("stamp-one").await.unwrap().is_none());
    assert_eq!(log.entries(0, 10).await.unwrap().len(), 0, "nothing says so either");

    record(&log, "stamp-two", stamped(&second)).await.unwrap();
    assert!(store.stamp("stamp-two").await.unwrap().is_some());
    let (job, counts) = store.stamp_job("job").await.unwrap().unwrap();
    assert_eq!((job.state, counts.stamped), (StampJobState::Running, 1));
    let document = store.stamp_job_documents(&job, 0, 10).await.unwrap().remove(0);
    assert_eq!((document.name.as_str(), document.state), ("张三的合同", DocumentState::Stamped));
    assert_eq!(document.stamp_id.as_deref(), Some("stamp-two"));
    assert_eq!(document.check_code.as_deref(), Some("code of stamp-two"));
    assert_eq!(document.result.unwrap(), blob("one", "result", 10));
    assert!(record(&log, "stamp-three", stamped(&second)).await.is_err(), "once");
    assert!(claim(&store, later + LEASE).await.is_none());
    assert_eq!(log.entries(0, 10).await.unwrap().len(), 1);
    let mut raw = database.raw().await;
    let again = "UPDATE stamp_job_documents SET state = 'waiting', stamp_id = NULL, result = NULL";
    assert!(raw.execute(again).await.is_err(), "what came of it is never changed");
    drop(raw);
    writer.finish().await;
}

async fn what_was_altered_or_lost_too_often_is_given_up(database: &Database) {
    let store = with_apps(database).await;
    insert(&store, "job", "one", &[digest_of("a"), digest_of("b")]).await.unwrap();
    let mut at = AT;
    for lost in 0..3 {
        let holder = format!("gateway/{lost}");
        let claimed = store.claim_document(&holder, LEASE, at).await.unwrap().unwrap();
        assert_eq!(claimed.n, 1);
        // The next run of the same gateway need not wait for the lease.
        assert_eq!(store.release_lost_documents(&holder, at).await.unwrap(), 0, "its own it keeps");
        at += Duration::from_secs(1);
        assert_eq!(store.release_lost_documents("gateway/next", at).await.unwrap(), 1);
    }
    let claimed = store.claim_document("gateway/last", LEASE, at).await.unwrap().unwrap();
    assert_eq!(claimed.n, 2, "it is given up, and the others go on at once");
    let again =
        DocumentEnd::Again { due_at: at + LEASE, failure: failure("devices_unavailable"), has_signed: false };
    assert!(store.end_document(&claimed, &again).await.unwrap());
    let (job, _) = store.stamp_job("job").await.unwrap().unwrap();
    let documents = store.stamp_job_documents(&job, 0, 10).await.unwrap();
    let codes = documents.iter().map(|document| document.failure.as_ref().unwrap().code.as_str());
    assert_eq!(codes.collect::<Vec<_>>(), ["abandoned", "devices_unavailable"]);

    // An order of one app is none of another's, whoever writes it into the database.
    let mut raw = database.raw().await;
    let triggers = match database {
        Database::Sqlite(_) => "DROP TRIGGER stamp_jobs_are_fixed",
        Database::Postgres(_) => "DROP TRIGGER stamp_jobs_are_fixed ON stamp_jobs",
    };
    raw.execute(triggers).await.unwrap();
    raw.execute("UPDATE stamp_jobs SET app = 'two'").await.unwrap();
    drop(raw);
    assert!(claim(&store, at + LEASE).await.is_none());
    let (_, counts) = store.stamp_job("job").await.unwrap().unwrap();
    assert_eq!(counts.failed, 2);
}

async fn what_cannot_be_opened_for_want_of_its_key_is_let_go_at_once_and_tried_again(database: &Database) {
    let store = with_apps(database).await;
    insert(&store, "job", "one", &[digest_of("a")]).await.unwrap();
    let keys = |versions: &[u32]| {
        let keys = versions.iter().map(|version| DataKey::new(*version, &[*version as u8; 32]));
        DataKeys::new(keys.collect()).unwrap()
    };
    let state = || async {
        let (job, _) = store.stamp_job("job").await.unwrap().unwrap();
        // Whoever has the keys sees it.
        store.protection().unlock(keys(&[1, 2]));
        let found = store.stamp_job_documents(&job, 0, 10).await.unwrap().remove(0);
        store.protection().unlock(keys(&[2]));
        let failure = found.failure.unwrap();
        assert!(failure.detail.contains("data key"), "{failure:?}");
        (found.state, failure.code)
    };
    store.protection().unlock(keys(&[2]));
    assert!(claim(&store, AT).await.is_none());
    assert_eq!(state().await, (DocumentState::Waiting, "data_locked".to_owned()));
    // A gateway that has the key need not wait for the lease.
    store.protection().unlock(keys(&[1, 2]));
    let soon = AT + Duration::from_secs(2);
    assert!(claim(&store, soon - Duration::from_millis(1)).await.is_none(), "not at once again");
    let claimed = claim(&store, soon).await.unwrap();
    assert_eq!((claimed.n, claimed.attempt), (1, 2));
    let again =
        DocumentEnd::Again { due_at: soon, failure: failure("devices_unavailable"), has_signed: false };
    assert!(store.end_document(&claimed, &again).await.unwrap());

    // Not for ever.
    store.protection().unlock(keys(&[2]));
    let day = Duration::from_secs(24 * 3600);
    assert!(claim(&store, AT + day - Duration::from_secs(1)).await.is_none());
    assert_eq!(state().await.0, DocumentState::Waiting);
    assert!(claim(&store, AT + day + Duration::from_secs(60)).await.is_none());
    assert_eq!(state().await, (DocumentState::Failed, "data_locked".to_owned()));
}

async fn a_job_is_cancelled_finished_and_forgotten(database: &Database) {
    let store = with_apps(database).await;
    let documents = [digest_of("a"), digest_of("b"), digest_of("c")];
    insert(&store, "job", "one", &documents).await.unwrap();
    let (first, second) = (claim(&store, AT).await.unwrap(), claim(&store, AT).await.unwrap());
    assert_eq!(store.cancel_stamp_job("job", AT).await.unwrap(), Some(1));
    assert!(!store.finish_stamp_job("job", AT).await.unwrap(), "two are worked on");
    // What would have been tried again is not.
    let again = DocumentEnd::Again { due_at: AT, failure: failure("devices_unavailable"), has_signed: false };
    assert!(store.end_document(&first, &again).await.unwrap());
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    record(&log, "stamp", stamped(&second)).await.unwrap();
    assert_eq!(store.stamp_jobs_to_finish().await.unwrap(), ["job"]);
    let done = tokio::join!(store.finish_stamp_job("job", AT), store.finish_stamp_job("job", AT));
    assert_ne!(done.0.unwrap(), done.1.unwrap(), "one of two says so");
    let (job, counts) = store.stamp_job("job").await.unwrap().unwrap();
    assert_eq!((job.state, counts.cancelled, counts.stamped), (StampJobState::Finished, 2, 1));
    assert_eq!(store.cancel_stamp_job("job", AT).await.unwrap(), None);
    let after = AT + Duration::from_secs(1);
    assert_eq!(store.stamp_jobs_finished_before(AT, 10).await.unwrap(), []);
    assert_eq!(store.stamp_jobs_finished_before(after, 10).await.unwrap(), [job]);
    assert!(store.is_blob_named("blob result 10").await.unwrap());
    assert_eq!(store.forget_stamp_job("job").await.unwrap(), ["blob result 10"]);
    assert!(store.stamp_job("job").await.unwrap().is_none());
    assert!(store.stamp("stamp").await.unwrap().is_some(), "the register keeps it");
    writer.finish().await;
}

async fn what_counts_for_a_day_is_taken_with_the_order_and_given_back_by_what_ends_without_a_stamp(
    database: &Database,
) {
    let store = with_apps(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let app = id("one");
    let taken = async || store.taken_of_day((&app, COUNTED.rule), COUNTED.day).await.unwrap();
    let mut documents: Vec<_> = (0..204).map(|number| digest_of(&number.to_string())).collect();
    documents[203].failed = Some(failure("uscc_invalid"));
    insert_counted(&store, "first", &documents).await.unwrap();
    assert_eq!(taken().await, 203, "what cannot be made something of does not count");
    let refused = insert_counted(&store, "second", &documents[..50]).await;
    assert!(
        matches!(refused, Err(StoreError::Full { what: "count of a day", most: 250, .. })),
        "{refused:?}"
    );
    assert_eq!(taken().await, 203, "all of it or nothing");
    assert!(store.stamp_job("second").await.unwrap().is_none());
    insert(&store, "of another kind", "one", &documents[..47]).await.unwrap();
    insert_counted(&store, "third", &documents[..47]).await.unwrap();
    assert_eq!(taken().await, 250);
    let listed = store.stamp_jobs(JobKind::QueryCertificates, Some(&app), 10).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["first", "third"]);
    store.cancel_stamp_job("of another kind", AT).await.unwrap();
    assert_eq!(taken().await, 250, "another kind's are not counted");
    store.cancel_stamp_job("third", AT).await.unwrap();
    assert_eq!(taken().await, 203);

    // The documents come in their order, whole and once.
    let (job, counts) = store.stamp_job("first").await.unwrap().unwrap();
    assert_eq!(
        (job.kind, job.total, counts.waiting, counts.failed),
        (JobKind::QueryCertificates, 204, 203, 1)
    );
    let names = store.stamp_job_documents(&job, 0, 1_000).await.unwrap();
    let names: Vec<_> = names.into_iter().map(|document| document.name).collect();
    assert_eq!(names, (0..204).map(|number| number.to_string()).collect::<Vec<_>>());
    let one = claim(&store, AT).await.unwrap();
    assert_eq!((one.n, one.kind), (1, JobKind::QueryCertificates));
    record(&log, "stamp", stamped(&one)).await.unwrap();
    assert_eq!(taken().await, 203, "one that was made stays counted");
    let two = claim(&store, AT).await.unwrap();
    let again =
        |has_signed| DocumentEnd::Again { due_at: AT, failure: failure("agency_not_ready"), has_signed };
    assert!(store.end_document(&two, &again(false)).await.unwrap());
    assert_eq!(taken().await, 203, "one that is tried again is");
    let two = claim(&store, AT).await.unwrap();
    assert_eq!((two.attempt, two.spent), (2, 0));
    assert!(store.end_document(&two, &again(true)).await.unwrap());
    let two = claim(&store, AT).await.unwrap();
    assert_eq!((two.attempt, two.spent), (3, 1), "what keys signed for is counted");
    let failed = DocumentEnd::Failed(failure("license_unknown"));
    assert!(store.end_document(&two, &failed).await.unwrap());
    assert!(!store.end_document(&two, &failed).await.unwrap());
    assert_eq!(taken().await, 202, "given back once");
    // Gateways are lost over the third, until it is given up; it is given back with that.
    let mut at = AT;
    while claim(&store, at).await.is_some_and(|claimed| claimed.n == 3) {
        at += LEASE;
    }
    assert_eq!(taken().await, 201);
    // Those that are worked on when their job is cancelled count until they end.
    store.cancel_stamp_job("first", AT).await.unwrap();
    assert_eq!(taken().await, 2);
    let held = store.stamp_job_documents(&job, 3, 1).await.unwrap();
    assert_eq!(held[0].state, DocumentState::Working);
    assert!(store.taken_of_day((&id("two"), COUNTED.rule), COUNTED.day).await.unwrap() == 0);
    writer.finish().await;
    store.close().await;
}
