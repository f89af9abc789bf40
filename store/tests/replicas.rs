//! Gateways on one database: names, signs of life, changes and devices that are out of service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use config::{AppId, DeviceId, GroupId, KeyId};
use serde_json::json;
use store::{
    App, CeremonyState, Change, Changes, ExistingKey, Hold, KeyPurpose, Material, NewCeremony, NewCredential,
    Store, StoreError,
};
use support::{Database, on_both_databases, server};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    a_device_is_held_until_it_is_released,
    a_replica_counts_as_running_for_half_a_minute_after_its_last_sign_of_life,
    what_a_replica_that_died_had_begun_is_abandoned_and_nothing_else,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
/// More than any test machine needs for a notification.
const SOON: Duration = Duration::from_secs(60);

fn device(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

async fn a_device_is_held_until_it_is_released(database: &Database) {
    let store = database.create().await;
    store.hold_device(&device("d2"), Hold::Draining, AT).await.unwrap();
    store.hold_device(&device("d1"), Hold::Draining, AT).await.unwrap();
    store.hold_device(&device("d2"), Hold::Maintenance, AT).await.unwrap();
    let holds = store.device_holds().await.unwrap();
    assert_eq!(holds, [(device("d1"), Hold::Draining), (device("d2"), Hold::Maintenance)]);
    store.release_device(&device("d2")).await.unwrap();
    store.release_device(&device("d9")).await.unwrap();
    assert_eq!(store.device_holds().await.unwrap(), [(device("d1"), Hold::Draining)]);
}

async fn a_replica_counts_as_running_for_half_a_minute_after_its_last_sign_of_life(database: &Database) {
    let store = database.create().await;
    let mut first = store.join("first", AT).await.unwrap();
    let second = store.join("second", AT).await.unwrap();
    first.beat(AT + Duration::from_secs(20)).await.unwrap();
    let running = async |seconds| store.replicas(AT + Duration::from_secs(seconds)).await.unwrap();
    assert_eq!(running(20).await, ["first", "second"]);
    assert_eq!(running(30).await, ["first"]);
    assert!(running(50).await.is_empty());
    second.leave().await.unwrap();
    assert_eq!(running(20).await, ["first"]);
    let nameless = store.join("", AT).await.err().unwrap();
    assert!(matches!(nameless, StoreError::RuleBroken { .. }), "{nameless:?}");
}

async fn what_a_replica_that_died_had_begun_is_abandoned_and_nothing_else(database: &Database) {
    let store = database.create().await;
    store.add_custodian("a", "correct horse battery", AT).await.unwrap();
    let membership = store.join("first", AT).await.unwrap();
    let new = NewCeremony {
        action: "key.create".into(),
        parameters: json!({}),
        reason: "a reason".into(),
        begun_by: "operator".into(),
        begun_at: AT,
        expires_at: AT + time::Duration::hours(1),
        needed: 1,
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = store.open_ceremony(&new).await.unwrap().id;
        assert_eq!(store.confirm_ceremony(id, "a", AT).await.unwrap().state, CeremonyState::Confirmed);
        ids.push(id);
    }
    store.start_ceremony(ids[0], AT).await.unwrap();
    assert!(store.abandoned_ceremonies(AT, AT).await.unwrap().is_empty(), "it is being carried out");

    let other = Store::open(database.access()).await.unwrap();
    other.join("second", AT).await.unwrap();
    assert!(other.abandoned_ceremonies(AT, AT).await.unwrap().is_empty(), "the first one lives");
    let found = |ceremonies: Vec<store::Ceremony>| ceremonies.into_iter().map(|c| c.id).collect::<Vec<_>>();
    let later = AT + Duration::from_secs(31);
    assert_eq!(found(other.abandoned_ceremonies(AT, later).await.unwrap()), ids[..1]);
    // The same name started anew.
    assert_eq!(found(store.abandoned_ceremonies(later, later).await.unwrap()), ids[..1]);
    drop(membership);
}

async fn next(changes: &mut Changes) -> Change {
    tokio::time::timeout(SOON, changes.next()).await.expect("a change is told").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_changes_the_other_hears_of() {
    let database = Database::postgres();
    let (store, other) = (database.create().await, Store::open(database.access()).await.unwrap());
    let mut changes = other.changes().await.unwrap();
    store.hold_device(&device("d1"), Hold::Draining, AT).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Devices);
    let key = ExistingKey {
        id: KeyId::parse("stamp").unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Service,
        cka_id: b"stamp".to_vec(),
        label: "stamp".into(),
        certificate_chain: String::new(),
    };
    store.insert_key(&key, AT).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Keys);
    assert!(store.insert_key(&key, AT).await.is_err(), "what is rolled back is not told");
    let window = AppId::parse("window").unwrap();
    store.insert_app(&App::new(window.clone(), "window"), &[], AT).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Apps);
    let credential = NewCredential {
        id: "c".into(),
        material: Material::Sm2(vec![1]),
        label: String::new(),
        not_before: AT,
        not_after: None,
    };
    store.add_credential(&window, &credential, None, AT).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Apps);
    store.revoke_credential(&window, "c", "test", AT).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Apps);
    // A connection that was lost may have missed something.
    database.cut_connections();
    assert_eq!(next(&mut changes).await, Change::Anything);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_belongs_to_one_gateway_and_is_taken_again_after_a_lost_connection() {
    let database = Database::postgres();
    let (store, other) = (database.create().await, Store::open(database.access()).await.unwrap());
    let mut first = store.join("first", AT).await.unwrap();
    let taken = other.join("first", AT).await.err().unwrap();
    assert!(matches!(taken, StoreError::AlreadyExists { what: "replica", .. }), "{taken:?}");

    database.cut_connections();
    first.beat(AT).await.unwrap();
    let taken = other.join("first", AT).await.err().unwrap();
    assert!(matches!(taken, StoreError::AlreadyExists { .. }), "{taken:?}");
    first.leave().await.unwrap();
    other.join("first", AT).await.unwrap();
    assert!(server().log().contains("terminating connection"), "the connections were cut");
}
