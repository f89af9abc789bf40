//! Credentials of apps, their rotation, and nonces.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeSet;

use config::AppId;
use store::{
    App, AppState, Credential, Material, NewCredential, NewPolicy, NonceSpace, Nonces, Room, Store,
    StoreError, Terms,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    credentials_of_every_kind_come_back_as_they_went_in,
    what_alone_says_who_a_caller_is_says_it_of_one_app,
    a_credential_ends_once_and_for_good,
    a_frozen_app_is_locked_and_keeps_no_credential,
    every_change_raises_the_revision,
    a_nonce_is_new_once_also_among_many_at_a_time,
    a_nonce_is_remembered_over_a_restart_and_forgotten_when_it_has_expired,
    what_was_decided_on_an_older_register_changes_no_app,
    of_many_at_once_no_more_get_in_than_there_is_room_for,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

fn id(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn credential(name: &str, material: Material) -> NewCredential {
    NewCredential {
        id: name.to_owned(),
        material,
        label: "for tests".to_owned(),
        not_before: AT,
        not_after: None,
    }
}

async fn credentials(store: &Store, app: &str) -> Vec<Credential> {
    let apps = store.registered_apps().await.unwrap();
    apps.into_iter().find(|known| known.app.id == id(app)).unwrap().credentials
}

async fn with_apps(database: &Database) -> Store {
    let store = database.create().await;
    for name in ["one", "other"] {
        store.insert_app(&App::new(id(name), name), &[], AT).await.unwrap();
    }
    store
}

async fn credentials_of_every_kind_come_back_as_they_went_in(database: &Database) {
    let store = with_apps(database).await;
    let materials = [
        Material::of_api_key("k"),
        Material::Sm2(vec![1, 2]),
        Material::P256(vec![3]),
        Material::Certificate([4; 32]),
        Material::CertificateName { issuer: vec![5], subject: vec![6] },
    ];
    for (number, material) in materials.iter().enumerate() {
        store
            .add_credential(&id("one"), &credential(&format!("c{number}"), material.clone()), None, AT)
            .await
            .unwrap();
    }
    let found = credentials(&store, "one").await;
    for (found, wanted) in found.iter().zip(&materials) {
        assert_eq!(format!("{:?}", found.material), format!("{wanted:?}"));
        assert!(found.holds_at(AT) && !found.holds_at(AT - Duration::SECOND));
    }
    assert_eq!(found.len(), materials.len());
    assert!(credentials(&store, "other").await.is_empty());
}

async fn what_alone_says_who_a_caller_is_says_it_of_one_app(database: &Database) {
    let store = with_apps(database).await;
    let materials = [
        Material::of_api_key("k"),
        Material::Certificate([4; 32]),
        Material::CertificateName { issuer: vec![5], subject: vec![6] },
    ];
    for (number, material) in materials.iter().enumerate() {
        let (first, second) = (format!("a{number}"), format!("b{number}"));
        store.add_credential(&id("one"), &credential(&first, material.clone()), None, AT).await.unwrap();
        let error = store
            .add_credential(&id("other"), &credential(&second, material.clone()), None, AT)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "credential", .. }), "{error:?}");
    }
    // A certificate that was taken away can be given to another; an API key is known to too many by then.
    store.revoke_credential(&id("one"), "a1", "moved", AT).await.unwrap();
    store.add_credential(&id("other"), &credential("b1", materials[1].clone()), None, AT).await.unwrap();
    store.revoke_credential(&id("one"), "a0", "moved", AT).await.unwrap();
    assert!(
        store.add_credential(&id("other"), &credential("b0", materials[0].clone()), None, AT).await.is_err()
    );
}

async fn a_credential_ends_once_and_for_good(database: &Database) {
    let store = with_apps(database).await;
    let add = async |name: &str, replaces| {
        let new = credential(name, Material::Sm2(vec![1]));
        store.add_credential(&id("one"), &new, replaces, AT).await
    };
    let end = AT + Duration::HOUR;
    add("c", None).await.unwrap();
    add("d", Some(("c", end))).await.unwrap();
    add("e", Some(("c", end + Duration::HOUR))).await.unwrap();
    let first = async || credentials(&store, "one").await.into_iter().find(|held| held.id == "c").unwrap();
    let held = first().await;
    assert!(held.holds_at(end - Duration::SECOND) && !held.holds_at(end), "the earlier end counts");
    store.revoke_credential(&id("one"), "c", "first", AT).await.unwrap();
    store.revoke_credential(&id("one"), "c", "second", AT + Duration::HOUR).await.unwrap();
    assert_eq!(first().await.revoked, Some((AT, "first".to_owned())));
    for (app, name) in [("other", "c"), ("one", "none")] {
        let error = store.revoke_credential(&id(app), name, "r", AT).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "credential", .. }), "{error:?}");
    }
    let error = add("f", Some(("none", end))).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "credential", .. }), "{error:?}");
    assert_eq!(credentials(&store, "one").await.len(), 3, "with nothing to replace nothing is entered");
    let new = credential("g", Material::Sm2(vec![1]));
    let error = store.add_credential(&id("none"), &new, None, AT).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "app", .. }), "{error:?}");
}

async fn a_frozen_app_is_locked_and_keeps_no_credential(database: &Database) {
    let store = with_apps(database).await;
    for (app, name) in [("one", "a"), ("one", "b"), ("other", "c")] {
        store.add_credential(&id(app), &credential(name, Material::Sm2(vec![1])), None, AT).await.unwrap();
    }
    assert_eq!(store.freeze_app(&id("one"), "attack", AT).await.unwrap(), 2);
    let apps = store.apps().await.unwrap();
    assert_eq!((apps[0].state, apps[0].reason.as_str()), (AppState::Locked, "attack"));
    assert_eq!(apps[1].state, AppState::Enabled);
    assert!(credentials(&store, "one").await.iter().all(|held| !held.holds_at(AT)));
    assert!(credentials(&store, "other").await[0].holds_at(AT));
}

async fn every_change_raises_the_revision(database: &Database) {
    let store = with_apps(database).await;
    let mut last = store.app_revision().await.unwrap();
    let mut raised = async |what: &str| {
        let now = store.app_revision().await.unwrap();
        assert!(now > last, "{what}");
        last = now;
    };
    store.add_credential(&id("one"), &credential("c", Material::Sm2(vec![1])), None, AT).await.unwrap();
    raised("add").await;
    let next = credential("d", Material::Sm2(vec![1]));
    store.add_credential(&id("one"), &next, Some(("c", AT)), AT).await.unwrap();
    raised("replace").await;
    store.revoke_credential(&id("one"), "c", "r", AT).await.unwrap();
    raised("revoke").await;
    store.set_app_state(&id("one"), AppState::Disabled, "r", AT).await.unwrap();
    raised("state").await;
    store.update_app(&App::new(id("one"), "another name"), AT).await.unwrap();
    raised("change").await;
    store.set_app_keys(&id("one"), &[].into(), AT).await.unwrap();
    raised("keys").await;
    store.freeze_app(&id("one"), "r", AT).await.unwrap();
    raised("freeze").await;
    assert_eq!(store.apps().await.unwrap()[0].state, AppState::Locked, "a change does not unlock");
}

async fn a_nonce_is_new_once_also_among_many_at_a_time(database: &Database) {
    let store = database.create().await;
    // Two guards are two replicas.
    let (one, one_writer) = Nonces::start(&store).await.unwrap();
    let (other, other_writer) = Nonces::start(&store).await.unwrap();
    let end = OffsetDateTime::now_utc() + Duration::HOUR;
    let mut tries = tokio::task::JoinSet::new();
    for round in 0..200 {
        for guard in [&one, &other, &one] {
            let guard = guard.clone();
            tries.spawn(async move {
                guard
                    .first_use(NonceSpace::Request, &id("app"), &format!("nonce-{round}"), end)
                    .await
                    .unwrap()
            });
        }
    }
    let first = tries.join_all().await.into_iter().filter(|first| *first).count();
    assert_eq!(first, 200);
    for (space, app) in [(NonceSpace::Assertion, "app"), (NonceSpace::Request, "app-2")] {
        assert!(one.first_use(space, &id(app), "nonce-1", end).await.unwrap(), "{space} {app} is apart");
    }
    one_writer.finish().await;
    other_writer.finish().await;
    let error = one.first_use(NonceSpace::Request, &id("app"), "late", end).await.unwrap_err();
    assert!(matches!(error, StoreError::NoncesUnavailable), "{error:?}");
}

async fn a_nonce_is_remembered_over_a_restart_and_forgotten_when_it_has_expired(database: &Database) {
    let now = OffsetDateTime::now_utc();
    let uses = [("kept", now + Duration::HOUR), ("expired", now - Duration::HOUR)];
    for first in [true, false] {
        let store = database.create().await;
        let (nonces, writer) = Nonces::start(&store).await.unwrap();
        for (nonce, end) in uses {
            let is_first = nonces.first_use(NonceSpace::Request, &id("app"), nonce, end).await.unwrap();
            assert_eq!(is_first, first || nonce == "expired", "{nonce}");
        }
        writer.finish().await;
        store.close().await;
    }
}

async fn what_was_decided_on_an_older_register_changes_no_app(database: &Database) {
    let store = with_apps(database).await;
    let one = id("one");
    let seen = Terms::from(AT).since(Some(store.app_revision().await.unwrap()));
    store.set_app_state(&one, AppState::Locked, "attack", AT).await.unwrap();
    let policy = NewPolicy { app: &one, rules: "[]", reason: "r", actor: "a", replaces: None };
    let key = credential("c", Material::Sm2(vec![1]));
    for refused in [
        store.set_app_state(&one, AppState::Enabled, "as approved", seen).await,
        store.update_app(&App::new(one.clone(), "another name"), seen).await,
        store.set_app_keys(&one, &BTreeSet::new(), seen).await,
        store.add_credential(&one, &key, None, seen).await,
        store.set_policy(&policy, seen).await.map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    }
    let app = store.apps().await.unwrap().swap_remove(0);
    assert_eq!((app.state, app.reason.as_str(), app.name.as_str()), (AppState::Locked, "attack", "one"));
    assert!(credentials(&store, "one").await.is_empty());
    let seen = Terms::from(AT).since(Some(store.app_revision().await.unwrap()));
    store.set_app_state(&one, AppState::Enabled, "as approved", seen).await.unwrap();
    store.set_app_state(&one, AppState::Enabled, "twice", seen).await.unwrap_err();
}

async fn of_many_at_once_no_more_get_in_than_there_is_room_for(database: &Database) {
    let store = with_apps(database).await;
    let few = Terms::from(AT).within(Room { in_force: 2, ever: 3 });
    let at_once = |first: u8| {
        let adding: Vec<_> = (first..first + 8)
            .map(|number| {
                let (store, name) = (store.clone(), format!("c{number}"));
                let new = credential(&name, Material::Sm2(vec![number]));
                tokio::spawn(async move { (store.add_credential(&id("one"), &new, None, few).await, name) })
            })
            .collect();
        async move {
            let mut entered = Vec::new();
            for adding in adding {
                match adding.await.unwrap() {
                    (Ok(()), name) => entered.push(name),
                    (Err(error), _) => assert!(matches!(error, StoreError::Full { .. }), "{error:?}"),
                }
            }
            entered
        }
    };
    let entered = at_once(0).await;
    assert_eq!(entered.len(), 2, "in force at a time");
    let other = credential("p", Material::P256(vec![1]));
    store.add_credential(&id("other"), &other, None, few).await.unwrap();
    store.revoke_credential(&id("one"), &entered[0], "r", AT).await.unwrap();
    store.revoke_credential(&id("one"), &entered[1], "r", AT).await.unwrap();
    assert_eq!(at_once(100).await.len(), 1, "three at all");

    let entering: Vec<_> = (0..6)
        .map(|number| {
            let (store, app) = (store.clone(), App::new(id(&format!("app-{number}")), "app"));
            let terms = Terms::from(AT).within(Room::of(4));
            tokio::spawn(async move { store.insert_app(&app, &[], terms).await })
        })
        .collect();
    for entering in entering {
        let entered = entering.await.unwrap();
        assert!(
            matches!(entered, Ok(()) | Err(StoreError::Full { what: "app", most: 4, .. })),
            "{entered:?}"
        );
    }
    assert_eq!(store.apps().await.unwrap().len(), 4);
}
