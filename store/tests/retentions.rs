//! Licenses that are retained: kept with their entry, sealed, found again, proved by the log, ended in time, on either database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::AppId;
use sm3::{Digest, Sm3};
use store::{
    AuditEntry, AuditLog, Blob, Blobs, DataKey, DataKeys, EvidenceItems, Retained, RetentionQuery, Store,
    StoreError, retention_subject,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    what_was_retained_is_kept_sealed_with_its_entry_and_found_out_when_changed,
    retentions_are_found_by_business_and_license_page_by_page,
    a_file_is_there_as_long_as_a_retention_of_it_is,
    what_licenses_were_judged_by_stays_while_a_retention_names_it,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const USCC: &str = "91610131MA7B0TQ47T";
const RECORD: &[u8] = "{\"name\":\"西安市某某有限公司\"}".as_bytes();

fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

async fn unlocked(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    store
}

fn blob(whose: &str, content: &str) -> Blob {
    let name = format!("blob of {whose} with {content}");
    Blob { name, app: app(whose), octets: content.len() as u64, sm3: Sm3::digest(content).into() }
}

fn new<'a>(id: &'a str, biz_no: &'a str, file: Blob, made_at: OffsetDateTime) -> Retained<'a> {
    let keep_until = made_at + Duration::days(30);
    Retained { id, biz_no, uscc: Some(USCC), record: RECORD, file, items: Vec::new(), made_at, keep_until }
}

fn entry(new: &Retained<'_>) -> AuditEntry {
    AuditEntry {
        action: "retention.create".to_owned(),
        actor: new.file.app.to_string(),
        at: new.made_at,
        device: None,
        input_digest: Some(hex::encode(new.file.sm3)),
        key: None,
        outcome: "ok".to_owned(),
        request_id: "request".to_owned(),
        result_digest: Some(hex::encode(Sm3::digest(new.record))),
        subject: Some(retention_subject(new.id, new.uscc)),
    }
}

async fn keep(store: &Store, log: &AuditLog, new: Retained<'_>) -> Result<u64, StoreError> {
    let entry = entry(&new);
    log.append_retention(entry, store.new_retention(new).unwrap(), None).await
}

fn all() -> RetentionQuery<'static> {
    RetentionQuery { app: None, biz_no: None, uscc: None, before: None, now: AT, limit: 100 }
}

async fn found(store: &Store, wanted: &RetentionQuery<'_>) -> Vec<String> {
    store.retentions(wanted).await.unwrap().into_iter().map(|kept| kept.id).collect()
}

async fn drop_triggers(database: &Database) {
    let mut raw = database.raw().await;
    let triggers = match database {
        Database::Sqlite(_) => "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'",
        Database::Postgres(_) => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
        }
    };
    for drop in raw.texts(triggers).await {
        raw.execute(&drop).await.unwrap();
    }
}

async fn what_was_retained_is_kept_sealed_with_its_entry_and_found_out_when_changed(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let first = keep(&store, &log, new("one", "case 1", blob("window", "a"), AT)).await.unwrap();
    keep(&store, &log, new("two", "case 2", blob("window", "b"), AT)).await.unwrap();
    let again = keep(&store, &log, new("one", "case 3", blob("window", "c"), AT)).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { what: "retention", .. })), "{again:?}");
    let third = keep(&store, &log, new("three", "case 3", blob("window", "c"), AT)).await.unwrap();
    assert_eq!(third, first + 2, "what was not kept has no entry");

    let kept = store.retention("one").await.unwrap().unwrap();
    assert_eq!((kept.app.as_str(), kept.uscc.as_deref(), kept.made_at), ("window", Some(USCC), AT));
    assert_eq!((kept.keep_until, kept.audit_index), (AT + Duration::days(30), first));
    assert_eq!(kept.record.as_ref().unwrap().as_slice(), RECORD);
    assert_eq!(kept.digest[..], Sm3::digest(RECORD)[..]);
    assert_eq!(store.retained_file(&kept).await.unwrap(), Some(blob("window", "a")));
    for nobody in ["four", "", "\0"] {
        assert!(store.retention(nobody).await.unwrap().is_none());
    }

    let mut raw = database.raw().await;
    let hexadecimal = |column: &str| match database {
        Database::Sqlite(_) => format!("lower(hex({column}))"),
        Database::Postgres(_) => format!("encode({column}, 'hex')"),
    };
    for (column, content) in [("record", "name"), ("biz", "case 1")] {
        let select = format!("SELECT {} FROM retentions WHERE id = 'one'", hexadecimal(column));
        let stored = raw.texts(&select).await;
        assert!(stored[0].len() > 64 && !stored[0].contains(&hex::encode(content)), "{stored:?}");
    }
    for statement in [
        "UPDATE retentions SET uscc = 'another', record = NULL",
        "UPDATE retentions SET keep_until = 0, record = NULL",
        "UPDATE retentions SET record = entry",
        "DELETE FROM retentions",
    ] {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
    drop_triggers(database).await;
    let other = hex::encode([7; 32]);
    let literal = match database {
        Database::Sqlite(_) => format!("x'{other}'"),
        Database::Postgres(_) => format!("'\\x{other}'"),
    };
    for (column, altered) in [
        ("app", "'another'"),
        ("uscc", "'another'"),
        ("uscc", "NULL"),
        ("made_at", "0"),
        ("record", "(SELECT r.record FROM retentions r WHERE r.id = 'two')"),
        ("digest", literal.as_str()),
        ("file", "(SELECT r.file FROM retentions r WHERE r.id = 'two')"),
        ("idx", "1000"),
        ("entry", "(SELECT r.entry FROM retentions r WHERE r.id = 'two')"),
    ] {
        raw.execute("CREATE TABLE aside AS SELECT * FROM retentions WHERE id = 'one'").await.unwrap();
        raw.execute(&format!("UPDATE retentions SET {column} = {altered} WHERE id = 'one'")).await.unwrap();
        let altered = store.retention("one").await;
        assert!(matches!(altered, Err(StoreError::Altered { .. })), "{column}");
        raw.execute("DELETE FROM retentions WHERE id = 'one'").await.unwrap();
        raw.execute("INSERT INTO retentions SELECT * FROM aside").await.unwrap();
        raw.execute("DROP TABLE aside").await.unwrap();
        assert!(store.retention("one").await.unwrap().is_some(), "{column} is as it was");
    }
    writer.finish().await;
    store.close().await;
}

async fn retentions_are_found_by_business_and_license_page_by_page(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    for (id, whose, biz_no, minutes) in [
        ("a", "window", "case 1", 0),
        ("b", "window", "case 1", 1),
        ("c", "window", "case 2", 1),
        ("d", "portal", "case 1", 2),
    ] {
        keep(&store, &log, new(id, biz_no, blob(whose, "x"), AT + Duration::minutes(minutes))).await.unwrap();
    }
    let unread = Retained { uscc: None, ..new("e", "case 9", blob("portal", "y"), AT + Duration::HOUR) };
    keep(&store, &log, unread).await.unwrap();
    let (window, portal) = (app("window"), app("portal"));
    let of = |app, biz_no| RetentionQuery { app, biz_no, ..all() };
    assert_eq!(found(&store, &all()).await, ["e", "d", "c", "b", "a"]);
    assert_eq!(found(&store, &of(Some(&window), None)).await, ["c", "b", "a"]);
    assert_eq!(found(&store, &of(Some(&window), Some("case 1"))).await, ["b", "a"]);
    assert_eq!(found(&store, &of(Some(&portal), Some("case 1"))).await, ["d"]);
    assert_eq!(found(&store, &of(Some(&portal), Some("case 2"))).await, Vec::<String>::new());
    assert_eq!(found(&store, &of(None, Some("case 1"))).await, Vec::<String>::new(), "whose number is it?");
    let licensed = RetentionQuery { uscc: Some(USCC), ..of(Some(&portal), None) };
    assert_eq!(found(&store, &licensed).await, ["d"]);
    // A page ends in the middle of a second.
    let page = RetentionQuery { limit: 1, ..of(Some(&window), None) };
    assert_eq!(found(&store, &page).await, ["c"]);
    let behind = |id| Some(((AT + Duration::MINUTE).unix_timestamp(), id));
    assert_eq!(found(&store, &RetentionQuery { before: behind("c"), ..page.clone() }).await, ["b"]);
    let rest = RetentionQuery { before: behind("b"), limit: 9, ..page };
    assert_eq!(found(&store, &rest).await, ["a"]);
    // Numbers are found under every data key that there was.
    let keys = vec![DataKey::new(1, &[1; 32]), DataKey::new(2, &[2; 32])];
    store.protection().unlock(DataKeys::new(keys).unwrap());
    keep(&store, &log, new("f", "case 1", blob("window", "x"), AT + Duration::DAY)).await.unwrap();
    assert_eq!(found(&store, &of(Some(&window), Some("case 1"))).await, ["f", "b", "a"]);
    let first = RetentionQuery { limit: 2, ..of(Some(&window), Some("case 1")) };
    assert_eq!(found(&store, &first).await, ["f", "b"]);
    // None whose time is over.
    let later = RetentionQuery { now: AT + Duration::days(30) + Duration::MINUTE, ..all() };
    assert_eq!(found(&store, &later).await, ["f", "e", "d"]);
    writer.finish().await;
    store.close().await;
}

async fn a_file_is_there_as_long_as_a_retention_of_it_is(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(folder.path(), store.protection()).unwrap();
    let first = blobs.write(&app("window"), b"license").await.unwrap();
    let second = blobs.write(&app("window"), b"license").await.unwrap();
    let theirs = blobs.write(&app("portal"), b"license").await.unwrap();
    keep(&store, &log, new("one", "1", first.clone(), AT)).await.unwrap();
    assert!(store.is_retained(&first.name).await.unwrap());
    keep(&store, &log, new("two", "2", second.clone(), AT + Duration::DAY)).await.unwrap();
    keep(&store, &log, new("three", "3", theirs.clone(), AT)).await.unwrap();
    // What was written last is what both have; what was there before is nobody's.
    assert!(!store.is_retained(&first.name).await.unwrap());
    for id in ["one", "two"] {
        let kept = store.retention(id).await.unwrap().unwrap();
        let file = store.retained_file(&kept).await.unwrap().unwrap();
        assert_eq!(file, second, "{id}");
        assert_eq!(blobs.read(&file).await.unwrap(), b"license");
    }
    let due = async |at| -> Vec<String> {
        let due = store.due_retentions(at, None, 10).await.unwrap();
        due.into_iter().map(|due| due.id).collect()
    };
    assert_eq!(due(AT + Duration::days(30) - Duration::SECOND).await, Vec::<String>::new());
    assert_eq!(due(AT + Duration::days(30)).await, ["one", "three"]);
    // In parts, the next one after the last of the one before.
    let mut last: Option<store::DueRetention> = None;
    for id in ["one", "three", "two"] {
        let part = store.due_retentions(AT + Duration::days(31), last.as_ref(), 1).await.unwrap();
        assert_eq!(part.iter().map(|due| &due.id[..]).collect::<Vec<_>>(), [id]);
        last = part.into_iter().next();
    }
    assert!(store.due_retentions(AT + Duration::days(31), last.as_ref(), 1).await.unwrap().is_empty());
    assert!(store.end_retention("one").await.unwrap());
    assert!(!store.end_retention("one").await.unwrap(), "it has ended");
    assert_eq!(due(AT + Duration::days(31)).await, ["three", "two"]);
    let ended = store.retention("one").await.unwrap().unwrap();
    assert!(ended.record.is_none());
    assert_eq!(ended.digest[..], Sm3::digest(RECORD)[..], "that there was one stays proved");
    let kept = store.retention("two").await.unwrap().unwrap();
    assert_eq!(store.retained_file(&kept).await.unwrap(), Some(second.clone()));
    assert!(store.end_retention("two").await.unwrap());
    assert!(!store.is_retained(&second.name).await.unwrap());
    assert!(store.is_retained(&theirs.name).await.unwrap(), "another app's file is its own");
    assert_eq!(store.retained_file(&kept).await.unwrap(), None);
    // Of those who end it and those who retain the same at once, whoever retains has it.
    for round in 0..20 {
        let (held, fresh) = (format!("held {round}"), format!("fresh {round}"));
        let before = blobs.write(&app("window"), b"license").await.unwrap();
        let after = blobs.write(&app("window"), b"license").await.unwrap();
        keep(&store, &log, new(&held, "4", before, AT)).await.unwrap();
        let (ended, kept) =
            tokio::join!(store.end_retention(&held), keep(&store, &log, new(&fresh, "5", after.clone(), AT)));
        assert!(ended.unwrap() && kept.is_ok());
        let kept = store.retention(&fresh).await.unwrap().unwrap();
        assert_eq!(store.retained_file(&kept).await.unwrap(), Some(after), "{round}");
        store.end_retention(&fresh).await.unwrap();
    }
    writer.finish().await;
    store.close().await;
}

async fn what_licenses_were_judged_by_stays_while_a_retention_names_it(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let items = EvidenceItems::folder(folder.path()).unwrap();
    let now = OffsetDateTime::now_utc();
    let (list, other) =
        (items.put(b"a list".to_vec(), now).await.unwrap(), items.put(b"b".to_vec(), now).await.unwrap());
    let judged = Retained { items: vec![list, list], ..new("one", "1", blob("window", "a"), AT) };
    keep(&store, &log, judged).await.unwrap();
    assert_eq!(store.retention_items("one").await.unwrap(), [list]);
    let sweep = |at: OffsetDateTime| items.remove_unnamed(&store, at + Duration::HOUR, at);
    assert_eq!(sweep(now).await.unwrap() + sweep(now + Duration::HOUR).await.unwrap(), 1);
    assert_eq!(items.get(&list).await.unwrap(), b"a list");
    assert!(items.get(&other).await.is_err());
    assert!(store.end_retention("one").await.unwrap());
    assert_eq!(store.retention_items("one").await.unwrap(), Vec::<[u8; 32]>::new());
    assert_eq!(sweep(now).await.unwrap() + sweep(now + Duration::HOUR).await.unwrap(), 1);
    assert!(items.get(&list).await.is_err());
    writer.finish().await;
    store.close().await;
}
