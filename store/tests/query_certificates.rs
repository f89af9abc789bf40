//! What query certificates certified: kept sealed, proved by the log, taken away in time, on either database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::AppId;
use sm3::{Digest, Sm3};
use store::{AuditEntry, AuditLog, DataKey, DataKeys, NewSnapshot, Store, StoreError, snapshot_subject};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    what_was_certified_is_kept_sealed_and_found_out_when_changed,
    a_snapshot_is_taken_away_when_its_time_is_over_and_its_digest_stays,
    a_number_is_given_once_among_a_million,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const USCC: &str = "91610131MA7B0TQ47T";
const SNAPSHOT: &[u8] = "{\"name\":\"西安市某某有限公司\"}".as_bytes();

fn entry(id: &str) -> AuditEntry {
    AuditEntry {
        action: "query_certificate.snapshot".to_owned(),
        actor: "window".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "request".to_owned(),
        result_digest: Some(hex::encode(Sm3::digest(SNAPSHOT))),
        subject: Some(snapshot_subject(id, USCC)),
    }
}

async fn keep(store: &Store, log: &AuditLog, id: &str) -> Result<(), StoreError> {
    let audit_index = log.append(entry(id)).await.unwrap();
    let app = AppId::parse("window").unwrap();
    let new = NewSnapshot {
        id,
        app: &app,
        uscc: USCC,
        snapshot: SNAPSHOT,
        entry: entry(id),
        log: log.record().id,
        audit_index,
    };
    store.keep_snapshot(new).await
}

async fn unlocked(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    store
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

async fn what_was_certified_is_kept_sealed_and_found_out_when_changed(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    log.append(entry("something else")).await.unwrap();
    keep(&store, &log, "one").await.unwrap();
    keep(&store, &log, "two").await.unwrap();
    let again = keep(&store, &log, "one").await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    let kept = store.kept_snapshot("one").await.unwrap().unwrap();
    assert_eq!((kept.app.as_str(), kept.uscc.as_str(), kept.made_at), ("window", USCC, AT));
    assert_eq!(kept.snapshot.as_ref().unwrap().as_slice(), SNAPSHOT);
    assert_eq!(kept.digest[..], Sm3::digest(SNAPSHOT)[..]);
    assert!(store.kept_snapshot("three").await.unwrap().is_none());

    let mut raw = database.raw().await;
    let hexadecimal = match database {
        Database::Sqlite(_) => "lower(hex(snapshot))",
        Database::Postgres(_) => "encode(snapshot, 'hex')",
    };
    let stored = raw.texts(&format!("SELECT {hexadecimal} FROM query_certificates WHERE id = 'one'")).await;
    assert!(stored[0].len() > 2 * SNAPSHOT.len() && !stored[0].contains(&hex::encode("name")), "{stored:?}");
    for statement in [
        "UPDATE query_certificates SET uscc = 'another', snapshot = NULL",
        "UPDATE query_certificates SET snapshot = entry",
        "DELETE FROM query_certificates",
    ] {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
    drop_triggers(database).await;
    for (column, altered) in [
        ("app", "'another'"),
        ("uscc", "'another'"),
        ("made_at", "0"),
        ("snapshot", "(SELECT snapshot FROM query_certificates WHERE id = 'two')"),
        ("digest", "(SELECT digest FROM aside_digest)"),
        ("idx", "0"),
        ("entry", "snapshot"),
    ] {
        raw.execute("CREATE TABLE aside AS SELECT * FROM query_certificates").await.unwrap();
        raw.execute(&format!("CREATE TABLE aside_digest (digest {})", database_blob(database)))
            .await
            .unwrap();
        let other = hex::encode([7; 32]);
        let literal = match database {
            Database::Sqlite(_) => format!("x'{other}'"),
            Database::Postgres(_) => format!("'\\x{other}'"),
        };
        raw.execute(&format!("INSERT INTO aside_digest VALUES ({literal})")).await.unwrap();
        raw.execute(&format!("UPDATE query_certificates SET {column} = {altered} WHERE id = 'one'"))
            .await
            .unwrap();
        let found = store.kept_snapshot("one").await;
        assert!(matches!(found, Err(StoreError::Altered { .. })), "{column}");
        raw.execute("DELETE FROM query_certificates; INSERT INTO query_certificates SELECT * FROM aside")
            .await
            .unwrap();
        raw.execute("DROP TABLE aside; DROP TABLE aside_digest").await.unwrap();
        assert!(store.kept_snapshot("one").await.unwrap().is_some(), "{column} is as it was");
    }
    writer.finish().await;
    store.close().await;
}

fn database_blob(database: &Database) -> &'static str {
    match database {
        Database::Sqlite(_) => "BLOB",
        Database::Postgres(_) => "BYTEA",
    }
}

async fn a_snapshot_is_taken_away_when_its_time_is_over_and_its_digest_stays(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    keep(&store, &log, "one").await.unwrap();
    assert_eq!(store.forget_snapshots(AT).await.unwrap(), 0, "not before its time");
    assert_eq!(store.forget_snapshots(AT + Duration::SECOND).await.unwrap(), 1);
    assert_eq!(store.forget_snapshots(AT + Duration::SECOND).await.unwrap(), 0);
    let kept = store.kept_snapshot("one").await.unwrap().unwrap();
    assert!(kept.snapshot.is_none());
    assert_eq!(kept.digest[..], Sm3::digest(SNAPSHOT)[..]);
    writer.finish().await;
    store.close().await;
}

async fn a_number_is_given_once_among_a_million(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let mut raw = database.raw().await;
    let (numbers, number, octets) = match database {
        Database::Sqlite(_) => (
            "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 1000000)",
            "printf('20240506-%010d', i)",
            "zeroblob(32)",
        ),
        Database::Postgres(_) => (
            "WITH numbers (i) AS (SELECT generate_series(1, 1000000))",
            "'20240506-' || lpad(i::text, 10, '0')",
            "decode(repeat('A', 43) || '=', 'base64')",
        ),
    };
    raw.execute(&format!(
        "{numbers} INSERT INTO query_certificates (id, app, uscc, made_at, snapshot, digest, log, idx, entry)
         SELECT {number}, 'window', '{USCC}', 1, NULL, {octets}, 1000, i, {octets} FROM numbers"
    ))
    .await
    .unwrap();
    for taken in ["20240506-0000000001", "20240506-0000777777", "20240506-0001000000"] {
        let again = keep(&store, &log, taken).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{taken}: {again:?}");
    }
    // Who draws the same number at the same time has it once.
    let mut drawing = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, log) = (store.clone(), log.clone());
        drawing.spawn(async move { keep(&store, &log, "20240506-0001000001").await });
    }
    let drawn = drawing.join_all().await;
    assert_eq!(drawn.iter().filter(|drawn| drawn.is_ok()).count(), 1, "{drawn:?}");
    assert_eq!(
        raw.texts("SELECT CAST(count(DISTINCT id) AS TEXT) FROM query_certificates").await,
        ["1000001"]
    );
    assert!(store.kept_snapshot("20240506-0001000001").await.unwrap().is_some());
    writer.finish().await;
    store.close().await;
}
