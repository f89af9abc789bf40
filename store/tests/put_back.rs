//! Old rows with their old codes, put back by SQL: a gateway remembers outside the database what it saw of each row.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::AppId;
use store::{App, AppState, DataKey, DataKeys, Material, NewCredential, RegisterWatch, Store, StoreError};
use support::{Database, Raw, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    a_frozen_app_that_was_put_back_as_it_was_is_not_used,
    a_row_that_was_put_back_while_the_gateway_was_down_is_not_used,
    a_row_that_is_gone_is_told,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const BOTH: [&str; 2] = ["app_credentials w1", "apps window"];

fn window() -> AppId {
    AppId::parse("window").unwrap()
}

fn unlocked(store: Store) -> Store {
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[7; 32])]).unwrap());
    store
}

async fn site(database: &Database) -> Store {
    let store = unlocked(database.create().await);
    let credential = NewCredential {
        id: "w1".to_owned(),
        material: Material::P256(vec![4; 65]),
        label: String::new(),
        not_before: AT,
        not_after: None,
    };
    store.insert_app(&App::new(window(), "window"), &[credential], AT).await.unwrap();
    store
}

/// Keeps the rows as they are now, as whoever reads the database can.
async fn keep(raw: &mut Raw) {
    for table in ["apps", "app_credentials"] {
        raw.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await.unwrap();
    }
}

/// Puts back what was kept, as whoever may do anything to the database can.
async fn put_back(database: &Database, raw: &mut Raw) {
    let triggers = match database {
        Database::Sqlite(_) => "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'",
        Database::Postgres(_) => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
        }
    };
    for drop in raw.texts(triggers).await {
        raw.execute(&drop).await.unwrap();
    }
    for statement in [
        "DELETE FROM app_credentials",
        "DELETE FROM apps",
        "INSERT INTO apps SELECT * FROM kept_apps",
        "INSERT INTO app_credentials SELECT * FROM kept_app_credentials",
        "UPDATE app_register SET revision = revision + 1",
    ] {
        raw.execute(statement).await.unwrap();
    }
}

/// Whether the app is served by its credential.
async fn is_served(store: &Store) -> bool {
    let known = store.registered_apps().await.unwrap();
    known.iter().any(|known| {
        known.app.state == AppState::Enabled && known.credentials.iter().any(|held| held.holds_at(AT))
    })
}

async fn a_frozen_app_that_was_put_back_as_it_was_is_not_used(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut raw = database.raw().await;
    keep(&mut raw).await;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    assert_eq!(watch.look().await.unwrap(), 0);
    store.freeze_app(&window(), "stolen", AT).await.unwrap();
    assert_eq!(watch.look().await.unwrap(), 0, "what the gateway writes is no news");
    assert!(!is_served(&store).await);

    put_back(database, &mut raw).await;
    assert!(is_served(&store).await, "the codes alone do not tell");
    assert_eq!(watch.look().await.unwrap(), 2);
    assert!(!is_served(&store).await);
    assert_eq!(store.protection().newly_altered(), BOTH);
    assert_eq!(watch.look().await.unwrap(), 0, "each is told once");
    let refused = store.set_app_state(&window(), AppState::Enabled, "r", AT).await;
    assert!(matches!(refused, Err(StoreError::Altered { .. })), "no act gives it a newer code: {refused:?}");
    assert!(store.protection().refused_rows() > 0);
}

async fn a_row_that_was_put_back_while_the_gateway_was_down_is_not_used(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut raw = database.raw().await;
    keep(&mut raw).await;
    store.freeze_app(&window(), "stolen", AT).await.unwrap();
    RegisterWatch::open(&store, folder.path()).unwrap().look().await.unwrap();
    store.close().await;
    put_back(database, &mut raw).await;

    let store = database.create().await;
    assert_eq!(RegisterWatch::open(&store, folder.path()).unwrap().look().await.unwrap(), 2);
    let store = unlocked(store);
    assert!(!is_served(&store).await);
    assert_eq!(store.protection().newly_altered(), BOTH);
    store.close().await;
    // The right rows again: as from a newer backup.
    let other = tempfile::tempdir().unwrap();
    let store = unlocked(database.create().await);
    assert_eq!(RegisterWatch::open(&store, other.path()).unwrap().look().await.unwrap(), 0);
    assert!(is_served(&store).await, "who remembers nothing cannot tell");
}

async fn a_row_that_is_gone_is_told(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut raw = database.raw().await;
    keep(&mut raw).await;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    assert_eq!(watch.look().await.unwrap(), 0);
    raw.execute("DELETE FROM kept_app_credentials").await.unwrap();
    put_back(database, &mut raw).await;
    assert_eq!(watch.look().await.unwrap(), 1);
    assert_eq!(store.protection().newly_altered(), ["app_credentials w1"]);
}
