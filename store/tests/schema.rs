//! Opening, creating and migrating database files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use config::AppId;
use sqlx::{Connection, SqliteConnection};
use store::{App, Store, StoreError};
use tempfile::TempDir;

fn database(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("gateway.db").display())
}

fn app(id: &str) -> App {
    App {
        id: AppId::parse(id).unwrap(),
        name: "窗口登记业务系统".into(),
        scopes: BTreeSet::new(),
        keys: BTreeSet::new(),
        groups: BTreeSet::new(),
        fields: BTreeSet::new(),
        enabled: true,
    }
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&database(&folder)).await.unwrap();
    store.insert_app(&app("window"), None).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.apps().await.unwrap(), [app("window")]);
}

#[tokio::test]
async fn reopening_and_creating_again_keep_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&database(&folder)).await.unwrap();
    store.insert_app(&app("window"), None).await.unwrap();
    store.close().await;

    let reopened = Store::open(&database(&folder)).await.unwrap();
    assert_eq!(reopened.apps().await.unwrap(), [app("window")]);
    reopened.close().await;
    let created_again = Store::create(&database(&folder)).await.unwrap();
    assert_eq!(created_again.apps().await.unwrap(), [app("window")]);
}

#[tokio::test]
async fn opening_a_file_that_is_not_there_creates_none() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(&database(&folder)).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("gateway.db"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_schema_from_a_newer_release_is_refused_by_open_and_create() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(&database(&folder)).await.unwrap().close().await;
    let mut raw = SqliteConnection::connect(&database(&folder)).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9001, 'from the future', TRUE, x'00', 1)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();

    for result in [Store::open(&database(&folder)).await, Store::create(&database(&folder)).await] {
        let error = result.err().unwrap();
        assert!(matches!(error, StoreError::SchemaTooNew { found: 9001, .. }), "{error:?}");
        assert!(error.to_string().contains("9001"), "{error}");
    }
}

#[tokio::test]
async fn a_url_of_another_database_is_refused_without_repeating_it() {
    for url in ["postgres://gateway:hunter2@db/gateway", "sqlite::memory:", "sqlite://:memory:", "gateway.db"]
    {
        let error = Store::create(url).await.err().unwrap();
        assert!(matches!(error, StoreError::UnsupportedUrl), "{url}: {error:?}");
        assert!(!format!("{error}{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("gateway.db"),
        "not a database, long enough to be read as one".repeat(99),
    )
    .unwrap();
    let error = Store::open(&database(&folder)).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}
