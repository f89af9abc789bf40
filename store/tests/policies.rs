//! Versions of what apps may sign, and the counts of a day.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::AppId;
use store::{App, AppPolicy, DataKey, DataKeys, NewPolicy, Store, StoreError};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    versions_follow_one_another_and_the_newest_holds,
    a_version_that_was_to_replace_another_one_is_refused,
    a_version_is_never_changed_or_removed,
    what_was_altered_does_not_hold_and_nothing_else_does_in_its_place,
    a_change_of_the_app_leaves_its_policy,
    a_days_count_ends_at_the_limit_whoever_takes,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

fn id(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

async fn with_app(database: &Database) -> Store {
    let store = database.create().await;
    store.insert_app(&App::new(id("one"), "one"), &[], AT).await.unwrap();
    store
}

async fn set(store: &Store, rules: &str, replaces: Option<u32>) -> Result<u32, StoreError> {
    let app = id("one");
    let new = NewPolicy { app: &app, rules, reason: "as agreed", actor: "person:a", replaces };
    store.set_policy(&new, AT).await
}

async fn held(store: &Store) -> AppPolicy {
    let mut apps = store.registered_apps().await.unwrap();
    assert_eq!(apps.len(), 1, "the app itself is sound");
    apps.remove(0).policy
}

fn unlock(store: &Store) {
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
}

async fn versions_follow_one_another_and_the_newest_holds(database: &Database) {
    let store = with_app(database).await;
    assert_eq!(held(&store).await, AppPolicy::None);
    let before = store.app_revision().await.unwrap();
    assert_eq!(set(&store, "[1]", None).await.unwrap(), 1);
    assert_eq!(set(&store, "[2]", Some(1)).await.unwrap(), 2);
    assert_eq!(store.app_revision().await.unwrap(), before + 2, "whoever holds the register learns of it");
    let AppPolicy::InForce(policy) = held(&store).await else { panic!("it holds") };
    assert_eq!((policy.version, policy.rules.as_str(), policy.at), (2, "[2]", AT));
    assert_eq!((policy.reason.as_str(), policy.actor.as_str()), ("as agreed", "person:a"));
    let versions = store.policy_versions(&id("one")).await.unwrap();
    let rules: Vec<_> = versions.iter().map(|version| version.rules.as_str()).collect();
    assert_eq!(rules, ["[2]", "[1]"]);
    assert!(store.policy_versions(&id("other")).await.unwrap().is_empty());
}

async fn a_version_that_was_to_replace_another_one_is_refused(database: &Database) {
    let store = with_app(database).await;
    assert_eq!(set(&store, "[1]", Some(0)).await.unwrap(), 1);
    for replaces in [0, 2] {
        let error = set(&store, "[2]", Some(replaces)).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAllowed { what: "policy", .. }), "{error:?}");
    }
    let other = id("other");
    let new = NewPolicy { app: &other, rules: "[]", reason: "", actor: "", replaces: None };
    let error = store.set_policy(&new, AT).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "app", .. }), "{error:?}");
}

async fn a_version_is_never_changed_or_removed(database: &Database) {
    let store = with_app(database).await;
    set(&store, "[1]", None).await.unwrap();
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE signing_policies SET rules = '[]'",
        "UPDATE signing_policies SET version = 7",
        "DELETE FROM signing_policies",
    ] {
        raw.execute(statement).await.expect_err(statement);
    }
}

async fn what_was_altered_does_not_hold_and_nothing_else_does_in_its_place(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    store.insert_app(&App::new(id("one"), "one"), &[], AT).await.unwrap();
    set(&store, "[1]", None).await.unwrap();
    set(&store, "[2]", None).await.unwrap();
    assert!(matches!(held(&store).await, AppPolicy::InForce(policy) if policy.version == 2));
    let mut raw = database.raw().await;
    let unguard = if database.is_sqlite() {
        "DROP TRIGGER signing_policies_are_fixed; DROP TRIGGER signing_policies_no_delete"
    } else {
        "ALTER TABLE signing_policies DISABLE TRIGGER USER"
    };
    raw.execute(unguard).await.unwrap();
    raw.execute("UPDATE signing_policies SET rules = '[]' WHERE version = 2").await.unwrap();
    assert_eq!(held(&store).await, AppPolicy::Unusable);
    raw.execute("DELETE FROM signing_policies WHERE version = 2").await.unwrap();
    assert_eq!(held(&store).await, AppPolicy::Unusable);
    // An older version under the newer number.
    raw.execute("UPDATE signing_policies SET version = 2 WHERE version = 1").await.unwrap();
    assert_eq!(held(&store).await, AppPolicy::Unusable);
    raw.execute("UPDATE apps SET policy = NULL").await.unwrap();
    assert!(store.registered_apps().await.unwrap().is_empty(), "the app's row says which version holds");
}

async fn a_change_of_the_app_leaves_its_policy(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    store.insert_app(&App::new(id("one"), "one"), &[], AT).await.unwrap();
    set(&store, "[1]", None).await.unwrap();
    store.update_app(&App::new(id("one"), "another name"), AT).await.unwrap();
    store.set_app_keys(&id("one"), &Default::default(), AT).await.unwrap();
    store.freeze_app(&id("one"), "stolen", AT).await.unwrap();
    assert!(matches!(held(&store).await, AppPolicy::InForce(policy) if policy.version == 1));
}

async fn a_days_count_ends_at_the_limit_whoever_takes(database: &Database) {
    let store = database.create().await;
    let app = id("one");
    let rule = (&app, "window");
    assert_eq!(store.take_of_day(rule, 7, 4, 10).await.unwrap(), 4);
    let takes: Vec<_> = (0..6)
        .map(|_| {
            let (store, app) = (store.clone(), app.clone());
            tokio::spawn(async move { store.take_of_day((&app, "window"), 7, 4, 10).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for take in takes {
        taken += take.await.unwrap();
    }
    assert_eq!(taken, 6);
    assert_eq!(store.taken_of_day(rule, 7).await.unwrap(), 10);
    assert_eq!(store.take_of_day(rule, 7, 5, 12).await.unwrap(), 2, "a higher limit leaves some");
    assert_eq!(store.take_of_day(rule, 7, 5, 8).await.unwrap(), 0, "a lower one none");
    store.give_back_to_day(rule, 7, 5).await.unwrap();
    assert_eq!(store.taken_of_day(rule, 7).await.unwrap(), 7);
    store.give_back_to_day(rule, 7, 50).await.unwrap();
    assert_eq!(store.taken_of_day(rule, 7).await.unwrap(), 0);
    // Other rules, apps and days have their own.
    assert_eq!(store.take_of_day((&app, "other"), 7, 1, 1).await.unwrap(), 1);
    assert_eq!(store.take_of_day((&id("two"), "window"), 7, 1, 1).await.unwrap(), 1);
    assert_eq!(store.take_of_day(rule, 70, 1, 1).await.unwrap(), 1);
    assert_eq!(store.taken_of_day((&app, "other"), 7).await.unwrap(), 0, "old days are forgotten");
}
