//! Keys kept outside the devices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::{GroupId, KeyId};
use store::{StoreError, WrappedKey, WrappingKey};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    wrapped_keys_come_back_as_they_went_in_and_by_owner,
    a_destroyed_key_keeps_its_row_loses_its_blob_and_stays_destroyed,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn wrapped(name: &str, owner: &str) -> WrappedKey {
    WrappedKey {
        id: id(name),
        owner: owner.into(),
        group: GroupId::parse("bureau").unwrap(),
        wrapping_key: WrappingKey { id: id("sys-kek"), version: 3 },
        algorithm: "sm2".into(),
        public_key: vec![0x30, 0x59],
        blob: b"canary-blob-77".to_vec(),
        mac: [9; 32],
        created_at: AT,
        destroyed_at: None,
    }
}

async fn wrapped_keys_come_back_as_they_went_in_and_by_owner(database: &Database) {
    let store = database.create().await;
    for (name, owner) in [("p-2", "person-1"), ("p-1", "person-1"), ("p-3", "person-2")] {
        store.insert_wrapped_key(&wrapped(name, owner)).await.unwrap();
    }
    assert_eq!(store.wrapped_key(&id("p-3")).await.unwrap(), Some(wrapped("p-3", "person-2")));
    assert_eq!(store.wrapped_key(&id("p-4")).await.unwrap(), None);
    let all = store.wrapped_keys_of("person-1", None).await.unwrap();
    assert_eq!(all, [wrapped("p-1", "person-1"), wrapped("p-2", "person-1")]);
    assert_eq!(store.wrapped_keys_of("person-1", Some(&id("p-1"))).await.unwrap(), all[1..]);

    let again = store.insert_wrapped_key(&wrapped("p-1", "person-9")).await.unwrap_err();
    assert!(matches!(again, StoreError::AlreadyExists { .. }), "{again:?}");
    let empty = WrappedKey { blob: Vec::new(), ..wrapped("p-5", "person-1") };
    let error = store.insert_wrapped_key(&empty).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
}

async fn a_destroyed_key_keeps_its_row_loses_its_blob_and_stays_destroyed(database: &Database) {
    let store = database.create().await;
    store.insert_wrapped_key(&wrapped("p-1", "person-1")).await.unwrap();
    store.destroy_wrapped_key(&id("p-1"), AT).await.unwrap();
    let left = store.wrapped_key(&id("p-1")).await.unwrap().unwrap();
    let wanted = WrappedKey { blob: Vec::new(), destroyed_at: Some(AT), ..wrapped("p-1", "person-1") };
    assert_eq!(left, wanted);

    let twice = store.destroy_wrapped_key(&id("p-1"), AT).await.unwrap_err();
    assert!(matches!(twice, StoreError::NotAllowed { state: "destroyed", .. }), "{twice:?}");
    let unknown = store.destroy_wrapped_key(&id("p-2"), AT).await.unwrap_err();
    assert!(matches!(unknown, StoreError::NotFound { .. }), "{unknown:?}");
    let mut raw = database.raw().await;
    for statement in ["UPDATE wrapped_keys SET blob = x'01', destroyed_at = NULL", "DELETE FROM wrapped_keys"]
    {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
}

#[test]
fn debug_output_shows_neither_blob_nor_owner() {
    let shown = format!("{:?}", wrapped("p-1", "person-1"));
    assert!(
        shown.contains("p-1") && !shown.contains("99, 97, 110") && !shown.contains("person-1"),
        "{shown}"
    );
}
