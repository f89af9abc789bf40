//! The register of stamps: what the log does not vouch for is not shown, on either database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::{AppId, KeyId, TemplateId};
use store::{
    AuditEntry, AuditLog, STAMP, Stamp, StampMandate, StampSignature, StampTemplateUse, Store, StoreError,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::task::JoinSet;

on_both_databases! {
    a_row_changed_in_any_column_is_found_out,
    a_row_is_proved_also_when_its_entry_is_gone_and_one_put_there_is_not,
    of_stamps_of_one_number_that_are_made_at_once_one_is_on_record,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn mandate() -> StampMandate {
    let text = str::to_owned;
    let (enterprise, name) = (text("91610131MA6UTEST00"), text("西安市测试秦风贸易有限公司"));
    StampMandate { enterprise, name, number: text("M-1"), purpose: text("合同") }
}

fn signature(key: &str, mandate: Option<StampMandate>) -> StampSignature {
    StampSignature {
        audit_index: 3,
        certificate: vec![0x30, 0],
        field: "Signature1".to_owned(),
        key: KeyId::parse(key).unwrap(),
        level: "B-B".to_owned(),
        mandate,
    }
}

pub(crate) fn stamp(id: &str) -> Stamp {
    Stamp {
        list: None,
        id: id.to_owned(),
        check_code: format!("code of {id}"),
        format: "pdf".to_owned(),
        level: "B-B".to_owned(),
        app: AppId::parse("window").unwrap(),
        key: KeyId::parse("demo-p256").unwrap(),
        at: AT,
        certificate: vec![0x30, 0],
        field: "Signature1".to_owned(),
        input_digest: [1; 32],
        result_digest: [2; 32],
        octets: 4_096,
        mandate: None,
        template: Some(StampTemplateUse { id: TemplateId::parse("contract").unwrap(), version: 2 }),
        signatures: vec![signature("demo-p256", None), signature("mandate.M-1", Some(mandate()))],
    }
}

pub(crate) fn entry(subject: &str) -> AuditEntry {
    AuditEntry {
        action: "stamp.pdf".to_owned(),
        actor: "window".to_owned(),
        at: AT,
        device: None,
        input_digest: Some(hex::encode([1; 32])),
        key: Some("demo-p256".to_owned()),
        outcome: "ok".to_owned(),
        request_id: "request".to_owned(),
        result_digest: Some(hex::encode([2; 32])),
        subject: Some(subject.to_owned()),
    }
}

fn is_altered(error: &StoreError) -> bool {
    matches!(error, StoreError::Altered { what: "stamp", .. })
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

async fn a_row_changed_in_any_column_is_found_out(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    log.append(entry("something else")).await.unwrap();
    let index = log.append_stamp(entry("one"), stamp("one"), None).await.unwrap();
    let shown = store.stamp("one").await.unwrap().unwrap();
    assert_eq!((&shown.stamp, shown.audit_index), (&stamp("one"), index));
    assert_eq!(store.stamp_of_code("code of one").await.unwrap().unwrap().stamp, stamp("one"));
    assert_eq!(store.stamp("two").await.unwrap(), None);

    drop_triggers(database).await;
    let mut raw = database.raw().await;
    for (column, altered) in [
        ("check_code", "'another'"),
        ("format", "'digest'"),
        ("level", "'B-LTA'"),
        ("app", "'another'"),
        ("key", "'demo-sm2'"),
        ("stamped_at", "0"),
        ("certificate", "x'3000ff'"),
        ("field", "'Signature2'"),
        ("input_digest", "result_digest"),
        ("result_digest", "input_digest"),
        ("octets", "4097"),
        ("template", "NULL"),
        ("template", r#"'{"id":"contract","version":1}'"#),
        ("signatures", "NULL"),
        ("signatures", "replace(signatures, 'M-1', 'M-2')"),
        ("signatures", "'[]'"),
        ("idx", "0"),
        ("entry", "x'7b7d'"),
    ] {
        raw.execute("CREATE TABLE aside AS SELECT * FROM stamps").await.unwrap();
        raw.execute(&format!("UPDATE stamps SET {column} = {altered}")).await.unwrap();
        let found = store.stamp("one").await;
        assert!(found.as_ref().is_err_and(is_altered), "{column}: {found:?}");
        raw.execute("DELETE FROM stamps; INSERT INTO stamps SELECT * FROM aside; DROP TABLE aside")
            .await
            .unwrap();
        assert!(store.stamp("one").await.unwrap().is_some(), "{column} is as it was");
    }
    writer.finish().await;
    store.close().await;
}

async fn a_row_is_proved_also_when_its_entry_is_gone_and_one_put_there_is_not(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    log.append_stamp(entry("one"), stamp("one"), None).await.unwrap();
    let appends = (0..300).map(|_| log.append(entry("something else")));
    for appended in appends.collect::<Vec<_>>() {
        appended.await.unwrap();
    }
    writer.finish().await;

    // The time of the first tile's entries is over; of one of them somebody says that it was a stamp.
    drop_triggers(database).await;
    let mut raw = database.raw().await;
    raw.execute("DELETE FROM audit_entries WHERE idx < 256").await.unwrap();
    raw.execute(
        "INSERT INTO stamps (id, check_code, format, level, app, key, stamped_at, certificate, field, input_digest,
             result_digest, octets, log, idx, entry)
         SELECT 'forged', 'forged', format, level, app, key, stamped_at, certificate, field, input_digest,
             result_digest, octets, log, 7, entry FROM stamps",
    )
    .await
    .unwrap();
    assert_eq!(shown(&store, "one").await.unwrap(), Some(stamp("one")));
    assert!(shown(&store, "forged").await.is_err_and(|error| is_altered(&error)));

    // Neither with an entry made for it: the log keeps the hash of the one that was there.
    let made = hex::encode(serde_json::to_vec(&entry("forged")).unwrap());
    raw.execute(&format!("UPDATE stamps SET entry = x'{made}' WHERE id = 'forged'")).await.unwrap();
    assert!(shown(&store, "forged").await.is_err_and(|error| is_altered(&error)));
    // Nor where no entry ever was.
    raw.execute("UPDATE stamps SET idx = 100000 WHERE id = 'forged'").await.unwrap();
    assert!(shown(&store, "forged").await.is_err_and(|error| is_altered(&error)));
    store.close().await;
}

async fn of_stamps_of_one_number_that_are_made_at_once_one_is_on_record(database: &Database) {
    let store = database.create().await;
    let (first, first_writer) = AuditLog::start_for(&store, "first").await.unwrap();
    let (second, second_writer) = AuditLog::start_for(&store, "second").await.unwrap();
    let mut making = JoinSet::new();
    for number in 0..16 {
        let log = if number % 2 == 0 { first.clone() } else { second.clone() };
        making.spawn(async move { log.append_stamp(entry("one"), stamp("one"), None).await });
    }
    let (made, late): (Vec<_>, Vec<_>) = making.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), late.len()), (1, 15));
    for late in late {
        let error = late.unwrap_err();
        assert!(matches!(&error, StoreError::Changed { what: STAMP, id } if id == "one"), "{error:?}");
    }
    assert_eq!(store.stamp("one").await.unwrap().unwrap().stamp, stamp("one"));
    let entries = database.raw().await.texts("SELECT CAST(idx AS TEXT) FROM audit_entries").await;
    assert_eq!(entries.len(), 1, "what was not made is not on record as made");
    // Nor is it in anybody's way.
    second.append_stamp(entry("two"), stamp("two"), None).await.unwrap();
    first_writer.finish().await;
    second_writer.finish().await;
    store.close().await;
}

async fn shown(store: &Store, id: &str) -> Result<Option<Stamp>, StoreError> {
    Ok(store.stamp(id).await?.map(|recorded| recorded.stamp))
}
