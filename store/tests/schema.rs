//! Opening, creating and migrating databases.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeSet;

use config::{AppId, Secret};
use store::{App, DatabaseAccess, Store, StoreError};
use support::{Database, Postgres, on_both_databases};
use time::OffsetDateTime;

on_both_databases! {
    migrating_twice_changes_nothing,
    reopening_and_creating_again_keep_the_data,
    a_schema_from_a_newer_release_is_refused_by_open_and_create,
    a_migration_that_was_changed_after_it_was_applied_is_refused,
    eight_that_start_together_migrate_once,
    a_text_with_nul_breaks_a_rule_and_is_found_nowhere,
}

fn app(id: &str) -> App {
    App::new(AppId::parse(id).unwrap(), "窗口登记业务系统")
}

async fn migrating_twice_changes_nothing(database: &Database) {
    let store = database.create().await;
    store.insert_app(&app("window"), &[], OffsetDateTime::UNIX_EPOCH).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.apps().await.unwrap(), [app("window")]);
}

async fn reopening_and_creating_again_keep_the_data(database: &Database) {
    let store = database.create().await;
    store.insert_app(&app("window"), &[], OffsetDateTime::UNIX_EPOCH).await.unwrap();
    store.close().await;

    let reopened = Store::open(database.access()).await.unwrap();
    assert_eq!(reopened.apps().await.unwrap(), [app("window")]);
    reopened.close().await;
    let created_again = database.create().await;
    assert_eq!(created_again.apps().await.unwrap(), [app("window")]);
}

async fn a_schema_from_a_newer_release_is_refused_by_open_and_create(database: &Database) {
    database.create().await.close().await;
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                  VALUES (9001, 'from the future', TRUE, x'00', 1)";
    database.raw().await.execute(insert).await.unwrap();

    for result in [Store::open(database.access()).await, Store::create(database.access()).await] {
        let error = result.err().unwrap();
        assert!(matches!(error, StoreError::SchemaTooNew { found: 9001, .. }), "{error:?}");
        assert!(error.to_string().contains("9001"), "{error}");
    }
}

async fn a_migration_that_was_changed_after_it_was_applied_is_refused(database: &Database) {
    database.create().await.close().await;
    let change = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1";
    database.raw().await.execute(change).await.unwrap();
    let store = Store::open(database.access()).await.unwrap();
    let error = store.migrate().await.err().unwrap();
    assert!(matches!(error, StoreError::Migration(_)), "{error:?}");
}

async fn eight_that_start_together_migrate_once(database: &Database) {
    // A SQLite file is one gateway's own, so only the server has to stand this; the file must not break either.
    let together = if database.is_sqlite() { 1 } else { 8 };
    let starts: Vec<_> = (0..together)
        .map(|_| {
            let access = database.access();
            tokio::spawn(async move { Store::create(access).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let store = Store::open(database.access()).await.unwrap();
    store.insert_app(&app("window"), &[], OffsetDateTime::UNIX_EPOCH).await.unwrap();
}

async fn a_text_with_nul_breaks_a_rule_and_is_found_nowhere(database: &Database) {
    let store = database.create().await;
    let mut odd = app("window");
    odd.name = "a\0b".into();
    let error = store.insert_app(&odd, &[], OffsetDateTime::UNIX_EPOCH).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    assert!(store.apps().await.unwrap().is_empty());
    assert!(!store.verify_custodian("a\0b", "correct horse battery").await.unwrap());
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |dialect: &str| {
        let files = std::fs::read_dir(format!("migrations/{dialect}")).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn opening_a_file_that_is_not_there_creates_none() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
    let error = Store::open(&url).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("gateway.db"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_url_of_another_database_is_refused_without_repeating_it() {
    for url in ["mysql://gateway:hunter2@db/gateway", "sqlite::memory:", "sqlite://:memory:", "gateway.db"] {
        let error = Store::create(url).await.err().unwrap();
        assert!(matches!(error, StoreError::UnsupportedUrl), "{url}: {error:?}");
        assert!(!format!("{error}{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.db");
    std::fs::write(&file, "not a database, long enough to be read as one".repeat(99)).unwrap();
    let error = Store::open(format!("sqlite://{}", file.display()).as_str()).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_refuses_says_why_and_no_error_holds_the_password() {
    let database = Database::postgres();
    let wrong = DatabaseAccess::new(database.url()).with_password(Secret::new("hunter2".to_owned()));
    assert!(!format!("{wrong:?}").contains("hunter2"));
    let error = Store::open(wrong).await.err().unwrap();
    let StoreError::Open { path, source } = &error else { panic!("{error:?}") };
    assert!(path.to_string_lossy().contains("127.0.0.1"), "{error}");
    assert!(source.to_string().contains("password authentication failed"), "{source}");
    assert!(!format!("{error}{error:?}").contains("hunter2"));

    let nowhere = DatabaseAccess::new("postgres://gateway@127.0.0.1:1/gateway");
    let error = Store::open(nowhere).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_loses_what_it_confirms_is_refused() {
    let server = Postgres::start();
    let name = server.database();
    let access = || {
        let password = Secret::new(server.password().to_owned());
        DatabaseAccess::new(server.url(&name)).with_password(password)
    };
    // What a session asks for goes before what the server does otherwise.
    server.query("postgres", "ALTER SYSTEM SET synchronous_commit = off");
    server.query("postgres", "ALTER SYSTEM SET lock_timeout = 1");
    server.query("postgres", "SELECT pg_reload_conf()");
    Store::create(access()).await.unwrap().close().await;

    server.query("postgres", "ALTER SYSTEM SET fsync = off");
    server.query("postgres", "SELECT pg_reload_conf()");
    let refused = async || match Store::open(access()).await {
        Err(StoreError::UnfitServer { reason }) => Some(reason),
        Err(error) => panic!("{error:?}"),
        Ok(store) => {
            store.close().await;
            None
        }
    };
    // A reload takes effect a moment later.
    let mut reason = refused().await;
    for _ in 0..12_000 {
        if reason.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        reason = refused().await;
    }
    assert!(reason.unwrap().contains("fsync"), "{reason:?}");
}
