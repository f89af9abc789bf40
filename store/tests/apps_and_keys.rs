//! Apps, their API keys, and the keys in devices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::{AppId, GroupId, KeyId};
use store::{
    App, AppState, ExistingKey, KeyPurpose, KeyRecord, KeyState, Material, NewCredential, Rate, Store,
    StoreError,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    an_api_key_finds_its_own_app_and_nothing_else_does,
    an_api_key_is_nowhere_in_what_is_stored,
    a_taken_app_id_or_api_key_is_refused,
    an_app_that_would_be_taken_for_the_gateway_is_neither_entered_nor_read,
    keys_of_every_purpose_come_back_as_they_went_in,
    two_keys_of_a_group_cannot_share_a_cka_id,
    an_unknown_algorithm_or_an_empty_cka_id_is_refused,
    the_purpose_of_a_key_cannot_be_changed_even_by_sql,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn app(id: &str) -> App {
    App {
        scopes: ["licenses:verify".to_owned(), "signatures".to_owned()].into(),
        keys: [KeyId::parse("demo-sm2").unwrap()].into(),
        groups: [GroupId::parse("bureau").unwrap()].into(),
        fields: ["name".to_owned()].into(),
        packages: ["sms".to_owned()].into(),
        rate: Some(Rate { per_second: 20, burst: 40 }),
        not_before: Some(AT),
        not_after: Some(AT + Duration::days(365)),
        state: AppState::Disabled,
        reason: "not yet".to_owned(),
        ..App::new(AppId::parse(id).unwrap(), "省局行政审批系统")
    }
}

/// An API key as a credential.
fn api_key(id: &str, key: &str) -> NewCredential {
    NewCredential {
        id: id.to_owned(),
        material: Material::of_api_key(key),
        label: String::new(),
        not_before: AT,
        not_after: None,
    }
}

async fn by_api_key(store: &Store, key: &str) -> Option<App> {
    let Material::ApiKey(wanted) = Material::of_api_key(key) else { unreachable!() };
    let is_it = |credential: &store::Credential| matches!(credential.material, Material::ApiKey(digest) if digest == wanted);
    let apps = store.registered_apps().await.unwrap();
    apps.into_iter().find(|known| known.credentials.iter().any(is_it)).map(|known| known.app)
}

fn key(id: &str, cka_id: &[u8], purpose: KeyPurpose) -> ExistingKey {
    ExistingKey {
        id: KeyId::parse(id).unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: "sm2".into(),
        purpose,
        cka_id: cka_id.into(),
        label: id.into(),
        certificate_chain: String::new(),
    }
}

async fn an_api_key_finds_its_own_app_and_nothing_else_does(database: &Database) {
    let store = database.create().await;
    store.insert_app(&app("approval"), &[api_key("a", "k-approval")], AT).await.unwrap();
    store.insert_app(&app("window"), &[api_key("b", "k-window")], AT).await.unwrap();
    store.insert_app(&app("keyless"), &[], AT).await.unwrap();

    assert_eq!(by_api_key(&store, "k-window").await, Some(app("window")));
    for wrong in ["", "k-windo", "K-window", "k-window ", "window"] {
        assert_eq!(by_api_key(&store, wrong).await, None, "{wrong:?}");
    }
    let ids: Vec<_> = store.apps().await.unwrap().into_iter().map(|app| app.id.to_string()).collect();
    assert_eq!(ids, ["approval", "keyless", "window"]);
}

async fn an_api_key_is_nowhere_in_what_is_stored(database: &Database) {
    let store = database.create().await;
    store.insert_app(&app("window"), &[api_key("a", "canary-3f1c99a0")], AT).await.unwrap();
    let stored = database.contents();
    assert!(!stored.windows(15).any(|window| window == b"canary-3f1c99a0"));
    assert!(stored.windows(6).any(|window| window == b"window"), "the app itself must be there");
}

async fn a_taken_app_id_or_api_key_is_refused(database: &Database) {
    let store = database.create().await;
    store.insert_app(&app("window"), &[api_key("window", "k")], AT).await.unwrap();
    for (id, key) in [("window", "other"), ("other", "k")] {
        let error = store.insert_app(&app(id), &[api_key(id, key)], AT).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::AlreadyExists { id: refused, .. } if refused == id),
            "{error:?}"
        );
    }
    assert_eq!(store.apps().await.unwrap().len(), 1);
}

async fn an_app_that_would_be_taken_for_the_gateway_is_neither_entered_nor_read(database: &Database) {
    let store = database.create().await;
    for id in ["gateway", "Trust_Fi1es", "person.wang.lei"] {
        let error = store.insert_app(&app(id), &[], AT).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unacceptable { what: "app", id: refused, .. } if refused == id));
    }
    store.insert_app(&app("window"), &[api_key("window", "k")], AT).await.unwrap();
    store.insert_app(&app("other"), &[], AT).await.unwrap();
    database.raw().await.execute("UPDATE apps SET id = 'Gateway' WHERE id = 'other'").await.unwrap();
    let ids: Vec<_> = store.apps().await.unwrap().into_iter().map(|app| app.id.to_string()).collect();
    assert_eq!(ids, ["window"]);
    let id = AppId::parse("Gateway").unwrap();
    let read = store.set_app_state(&id, AppState::Enabled, "", AT).await.unwrap_err();
    assert!(matches!(read, StoreError::Corrupt { what: "app", column: "id", .. }), "{read:?}");
}

async fn keys_of_every_purpose_come_back_as_they_went_in(database: &Database) {
    let store = database.create().await;
    let mut wanted: Vec<_> =
        KeyPurpose::ALL.into_iter().enumerate().map(|(n, p)| key(p.as_str(), &[n as u8], p)).collect();
    for key in &wanted {
        store.insert_key(key, AT).await.unwrap();
    }
    wanted.sort_by(|a, b| a.id.cmp(&b.id));
    let found = store.keys().await.unwrap();
    assert!(found.iter().all(|key| key.created_at == AT && key.label == key.id.as_str()));
    let facts = |key: &KeyRecord| {
        let active = key.version_in(KeyState::Active).unwrap();
        assert_eq!((active.version, active.activates_at), (1, Some(AT)));
        assert!(active.copy(None).unwrap().certificate_chain.is_empty());
        ExistingKey {
            id: key.id.clone(),
            group: key.group.clone(),
            algorithm: key.algorithm.clone(),
            purpose: key.purpose,
            cka_id: active.cka_id.clone(),
            label: key.label.clone(),
            certificate_chain: String::new(),
        }
    };
    assert_eq!(found.iter().map(facts).collect::<Vec<_>>(), wanted);
}

async fn two_keys_of_a_group_cannot_share_a_cka_id(database: &Database) {
    let store = database.create().await;
    store.insert_key(&key("first", b"1", KeyPurpose::Service), AT).await.unwrap();
    let error = store.insert_key(&key("second", b"1", KeyPurpose::Tsa), AT).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");

    let mut elsewhere = key("third", b"1", KeyPurpose::Service);
    elsewhere.group = GroupId::parse("portal").unwrap();
    store.insert_key(&elsewhere, AT).await.unwrap();
}

async fn an_unknown_algorithm_or_an_empty_cka_id_is_refused(database: &Database) {
    let store = database.create().await;
    let unknown = ExistingKey { algorithm: "dsa".into(), ..key("a", b"1", KeyPurpose::Service) };
    for bad in [unknown, key("b", b"", KeyPurpose::Service)] {
        let error = store.insert_key(&bad, AT).await.unwrap_err();
        assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    }
}

async fn the_purpose_of_a_key_cannot_be_changed_even_by_sql(database: &Database) {
    let store = database.create().await;
    store.insert_key(&key("seal", b"1", KeyPurpose::Seal), AT).await.unwrap();
    let mut raw = database.raw().await;
    let refused = raw.execute("UPDATE keys SET purpose = 'service'").await.unwrap_err();
    assert!(refused.to_string().contains("fixed at creation"), "{refused}");
    assert_eq!(store.keys().await.unwrap()[0].purpose, KeyPurpose::Seal);
}

#[test]
fn an_unknown_purpose_does_not_parse() {
    assert_eq!("service".parse(), Ok(KeyPurpose::Service));
    assert!("Service".parse::<KeyPurpose>().is_err());
}
