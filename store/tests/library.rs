//! The license library.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use formats::uscc::Uscc;
use serde_json::json;
use store::{EntityRecord, LicenseRecord, StoreError};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    an_entity_comes_back_as_it_went_in_and_a_second_upsert_replaces_it,
    an_unknown_entity_is_none_and_an_unknown_status_code_is_refused,
    a_new_current_license_takes_the_place_of_the_old_one,
    a_refused_license_leaves_the_current_one_in_place,
}

const AS_OF: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn entity(uscc: &str) -> EntityRecord {
    let serde_json::Value::Object(face) = json!({"name": "样例有限公司", "domicile": "西安市"})
    else {
        panic!("an object")
    };
    EntityRecord {
        uscc: Uscc::parse_sandbox(uscc).unwrap(),
        name: "样例有限公司".into(),
        entity_type: "有限责任公司".into(),
        status: 1,
        flags: vec!["经营异常名录".into()],
        status_as_of: AS_OF,
        face,
    }
}

fn license(uscc: &str, serial: &str, current: bool) -> LicenseRecord {
    LicenseRecord {
        serial: serial.into(),
        uscc: Uscc::parse_sandbox(uscc).unwrap(),
        certificate: vec![0x30, 0x00],
        not_before: AS_OF,
        not_after: AS_OF + time::Duration::days(1826),
        current,
    }
}

const REAL: &str = "91350100M000100Y43";
const TEST: &str = "ZZJGD1609314154606";

async fn an_entity_comes_back_as_it_went_in_and_a_second_upsert_replaces_it(database: &Database) {
    let store = database.create().await;
    for uscc in [REAL, TEST] {
        let mut wanted = entity(uscc);
        store.upsert_entity(&wanted).await.unwrap();
        assert_eq!(store.entity(&wanted.uscc).await.unwrap().as_ref(), Some(&wanted));

        wanted.status = 4;
        wanted.flags.clear();
        wanted.status_as_of += time::Duration::days(1);
        store.upsert_entity(&wanted).await.unwrap();
        assert_eq!(store.entity(&wanted.uscc).await.unwrap(), Some(wanted));
    }
}

async fn an_unknown_entity_is_none_and_an_unknown_status_code_is_refused(database: &Database) {
    let store = database.create().await;
    let mut unknown = entity(REAL);
    unknown.status = 7;
    let error = store.upsert_entity(&unknown).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    assert_eq!(store.entity(&unknown.uscc).await.unwrap(), None);
}

async fn a_new_current_license_takes_the_place_of_the_old_one(database: &Database) {
    let store = database.create().await;
    let owner = entity(REAL);
    store.upsert_entity(&owner).await.unwrap();
    store.insert_license(&license(REAL, "1", true)).await.unwrap();
    store.insert_license(&license(REAL, "0", false)).await.unwrap();
    assert_eq!(store.license_by_uscc(&owner.uscc).await.unwrap(), Some(license(REAL, "1", true)));

    store.insert_license(&license(REAL, "2", true)).await.unwrap();
    assert_eq!(store.license_by_uscc(&owner.uscc).await.unwrap(), Some(license(REAL, "2", true)));
    assert_eq!(store.license_by_serial("1").await.unwrap(), Some(license(REAL, "1", false)));
}

async fn a_refused_license_leaves_the_current_one_in_place(database: &Database) {
    let store = database.create().await;
    store.upsert_entity(&entity(REAL)).await.unwrap();
    store.insert_license(&license(REAL, "old", false)).await.unwrap();
    store.insert_license(&license(REAL, "now", true)).await.unwrap();

    let again = store.insert_license(&license(REAL, "old", true)).await.unwrap_err();
    assert!(matches!(again, StoreError::AlreadyExists { .. }), "{again:?}");
    let stranger = store.insert_license(&license(TEST, "new", true)).await.unwrap_err();
    assert!(matches!(stranger, StoreError::MissingReference { .. }), "{stranger:?}");
    let current = store.license_by_uscc(&entity(REAL).uscc).await.unwrap();
    assert_eq!(current, Some(license(REAL, "now", true)));
}
