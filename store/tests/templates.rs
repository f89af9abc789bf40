//! Stamp templates: versions that are never changed, and a row that says which one is in force.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeSet;

use config::{AppId, TemplateId};
use store::{
    AuditEntry, AuditLog, DataKey, DataKeys, NewStampTemplate, RegisterWatch, Room, Store, StoreError,
    TemplateChange, TemplateState, Terms,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    versions_follow_one_another_and_older_ones_stay,
    a_version_that_was_to_replace_another_one_is_refused,
    a_change_and_its_record_are_both_there_or_neither,
    of_two_who_change_a_template_at_once_one_does,
    a_template_is_disabled_and_enabled_and_keeps_its_version,
    versions_and_templates_are_never_changed_nor_forgotten,
    what_was_altered_or_put_back_is_not_used,
    another_data_key_takes_templates_over,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

fn id(name: &str) -> TemplateId {
    TemplateId::parse(name).unwrap()
}

fn unlock(store: &Store) {
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
}

async fn set(store: &Store, name: &str, stamp: &str, replaces: u32) -> Result<u32, StoreError> {
    set_on(store, name, stamp, replaces, Terms::from(AT)).await
}

async fn set_on(
    store: &Store,
    name: &str,
    stamp: &str,
    replaces: u32,
    terms: Terms,
) -> Result<u32, StoreError> {
    let (id, apps) = (id(name), BTreeSet::from([AppId::parse("one").unwrap()]));
    let apps = Some(&apps).filter(|_| replaces > 0);
    let (description, reason, actor) = ("on the last page", "as agreed", "person:a");
    let new = NewStampTemplate { id: &id, description, apps, stamp, reason, actor, replaces };
    let change = store.set_stamp_template(&new, terms).await?;
    let version = change.version();
    append(store, change).await.map(|_| version)
}

fn entry() -> AuditEntry {
    AuditEntry {
        action: "stamp_template.set".to_owned(),
        actor: "person:a".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "r".to_owned(),
        result_digest: None,
        subject: None,
    }
}

/// Makes a change with its record; answers where that stands.
async fn append(store: &Store, change: TemplateChange) -> Result<u64, StoreError> {
    let (log, writer) = AuditLog::start(store).await.unwrap();
    let appended = log.append_stamp_template(entry(), change).await;
    writer.finish().await;
    appended
}

async fn versions_follow_one_another_and_older_ones_stay(database: &Database) {
    let store = database.create().await;
    assert_eq!(set(&store, "contract", r#"{"n":1}"#, 0).await.unwrap(), 1);
    assert_eq!(set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap(), 2);
    assert_eq!(set(&store, "another", "{}", 0).await.unwrap(), 1);
    store.close().await;
    let store = Store::open(database.access()).await.unwrap();
    assert_eq!(store.stamp_template_ids().await.unwrap(), [id("another"), id("contract")]);
    let found = store.stamp_template(&id("contract")).await.unwrap();
    assert_eq!((found.state, found.current.version), (TemplateState::Enabled, 2));
    assert_eq!((found.current.stamp.as_str(), found.current.at), (r#"{"n":2}"#, AT));
    assert_eq!(found.current.apps.unwrap().len(), 1);
    let first = store.stamp_template_version(&id("contract"), 1).await.unwrap();
    assert_eq!((first.stamp.as_str(), first.apps), (r#"{"n":1}"#, None));
    for missing in [
        store.stamp_template_version(&id("contract"), 3).await,
        store.stamp_template_version(&id("none"), 1).await,
    ] {
        assert!(matches!(missing, Err(StoreError::NotFound { what: "stamp template", .. })), "{missing:?}");
    }
}

async fn a_version_that_was_to_replace_another_one_is_refused(database: &Database) {
    let store = database.create().await;
    let changed = |error: &StoreError| {
        matches!(error, StoreError::NotAllowed { what: "stamp template", state: "changed", .. })
    };
    assert!(changed(&set(&store, "contract", "{}", 1).await.unwrap_err()));
    set(&store, "contract", "{}", 0).await.unwrap();
    for replaces in [0, 2] {
        assert!(changed(&set(&store, "contract", "{}", replaces).await.unwrap_err()), "{replaces}");
    }
    // What was decided on another state of it.
    let error = set_on(&store, "contract", "{}", 1, Terms::from(AT).since(Some(7))).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error:?}");
    let terms = Terms::from(AT).within(Room::of(1));
    let error = set_on(&store, "another", "{}", 0, terms).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { what: "stamp template", .. }), "{error:?}");
    assert_eq!(set_on(&store, "contract", "{}", 1, terms).await.unwrap(), 2, "that is no further one");
}

async fn a_change_and_its_record_are_both_there_or_neither(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    set(&store, "contract", r#"{"n":1}"#, 0).await.unwrap();
    let contract = id("contract");
    let recorded = store.audit_entries(0, 10).await.unwrap().len();
    // The register refuses what is prepared well.
    let mut raw = database.raw().await;
    let (stop, go_on) = match database {
        Database::Sqlite(_) => (
            "CREATE TRIGGER stops BEFORE INSERT ON stamp_template_versions WHEN NEW.version = 2
             BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER stops",
        ),
        Database::Postgres(_) => (
            "CREATE TRIGGER stops BEFORE INSERT ON stamp_template_versions FOR EACH ROW
             WHEN (NEW.version = 2) EXECUTE FUNCTION refuse('no')",
            "DROP TRIGGER stops ON stamp_template_versions",
        ),
    };
    raw.execute(stop).await.unwrap();
    let error = set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::AuditUnavailable), "{error:?}");
    assert_eq!(store.audit_entries(0, 10).await.unwrap().len(), recorded, "no entry without the change");
    assert_eq!(store.stamp_template(&contract).await.unwrap().current.version, 1);
    raw.execute(go_on).await.unwrap();
    // The log refuses the entry: the template is as it was.
    let stop = match database {
        Database::Sqlite(_) => {
            "CREATE TRIGGER stops BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
        Database::Postgres(_) => {
            "CREATE TRIGGER stops BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse('no')"
        }
    };
    raw.execute(stop).await.unwrap();
    let error = set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::AuditUnavailable), "{error:?}");
    assert_eq!(store.stamp_template(&contract).await.unwrap().current.version, 1);
    let missing = store.stamp_template_version(&contract, 2).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    raw.execute(if database.is_sqlite() {
        "DROP TRIGGER stops"
    } else {
        "DROP TRIGGER stops ON audit_entries"
    })
    .await
    .unwrap();
    assert_eq!(set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap(), 2);
    assert_eq!(store.audit_entries(0, 10).await.unwrap().len(), recorded + 1);
}

async fn of_two_who_change_a_template_at_once_one_does(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    let contract = id("contract");
    let first = |stamp: &'static str| NewStampTemplate {
        id: &contract,
        description: "on the last page",
        apps: None,
        stamp,
        reason: "as agreed",
        actor: "person:a",
        replaces: 0,
    };
    let terms = Terms::from(AT).within(Room::of(1));
    let one = store.set_stamp_template(&first("{}"), terms).await.unwrap();
    let other = store.set_stamp_template(&first("[]"), terms).await.unwrap();
    let further = NewStampTemplate { id: &id("further"), ..first("{}") };
    let further = store.set_stamp_template(&further, terms).await.unwrap();
    append(&store, one).await.unwrap();
    for late in [other, further] {
        let error = append(&store, late).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAllowed { state: "changed", .. }), "{error:?}");
    }
    let disable = || store.set_stamp_template_state(&contract, TemplateState::Disabled, "r", "person:b", AT);
    let (one, other) = (disable().await.unwrap(), disable().await.unwrap());
    append(&store, one).await.unwrap();
    let error = append(&store, other).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAllowed { state: "changed", .. }), "{error:?}");
    assert_eq!(store.audit_entries(0, 10).await.unwrap().len(), 2, "what was not done has no entry");
    assert_eq!(store.stamp_template_ids().await.unwrap(), [id("contract")]);
    assert_eq!(store.stamp_template(&contract).await.unwrap().current.stamp, "{}");
}

async fn a_template_is_disabled_and_enabled_and_keeps_its_version(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    set(&store, "contract", "{}", 0).await.unwrap();
    let contract = id("contract");
    let to = async |state| {
        let change = store.set_stamp_template_state(&contract, state, "moved", "person:b", AT).await?;
        append(&store, change).await
    };
    to(TemplateState::Disabled).await.unwrap();
    let error = to(TemplateState::Disabled).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAllowed { state: "disabled", .. }), "{error:?}");
    set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap();
    let found = store.stamp_template(&contract).await.unwrap();
    assert_eq!(
        (found.state, found.current.version),
        (TemplateState::Disabled, 2),
        "a new version lets nobody in"
    );
    to(TemplateState::Enabled).await.unwrap();
    let found = store.stamp_template(&contract).await.unwrap();
    assert_eq!(
        (found.state, found.actor.as_str(), found.reason.as_str()),
        (TemplateState::Enabled, "person:b", "moved")
    );
    assert_eq!(found.current.actor, "person:a");
}

async fn versions_and_templates_are_never_changed_nor_forgotten(database: &Database) {
    let store = database.create().await;
    set(&store, "contract", "{}", 0).await.unwrap();
    set(&store, "contract", "{}", 1).await.unwrap();
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE stamp_template_versions SET stamp = '[]'",
        "UPDATE stamp_template_versions SET apps = NULL",
        "DELETE FROM stamp_template_versions",
        "UPDATE stamp_templates SET version = 1",
        "UPDATE stamp_templates SET id = 'other'",
        "DELETE FROM stamp_templates",
    ] {
        raw.execute(statement).await.expect_err(statement);
    }
}

async fn what_was_altered_or_put_back_is_not_used(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    let folder = tempfile::tempdir().unwrap();
    for name in ["contract", "other", "third"] {
        set(&store, name, r#"{"n":1}"#, 0).await.unwrap();
    }
    let mut raw = database.raw().await;
    raw.execute("CREATE TABLE kept AS SELECT * FROM stamp_templates").await.unwrap();
    let change =
        store.set_stamp_template_state(&id("third"), TemplateState::Disabled, "lost", "person:a", AT).await;
    append(&store, change.unwrap()).await.unwrap();
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    watch.look_at_all(AT).await.unwrap();
    let triggers = match database {
        Database::Sqlite(_) => "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'",
        Database::Postgres(_) => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
        }
    };
    for drop in raw.texts(triggers).await {
        raw.execute(&drop).await.unwrap();
    }
    let altered = async |name: &str| {
        let error = store.stamp_template(&id(name)).await.unwrap_err();
        assert!(matches!(error, StoreError::Altered { .. }), "{name}: {error:?}");
    };
    raw.execute("UPDATE stamp_template_versions SET stamp = '{\"n\":2}' WHERE template = 'contract'")
        .await
        .unwrap();
    altered("contract").await;
    // A good version of another template.
    raw.execute("UPDATE stamp_template_versions SET template = 'other' WHERE template = 'third'")
        .await
        .expect_err("taken");
    raw.execute("UPDATE stamp_templates SET state = 'disabled' WHERE id = 'other'").await.unwrap();
    altered("other").await;
    raw.execute("DELETE FROM stamp_template_versions WHERE template = 'other'").await.unwrap();
    raw.execute("UPDATE stamp_template_versions SET template = 'other' WHERE template = 'third'")
        .await
        .unwrap();
    raw.execute("UPDATE stamp_templates SET state = 'enabled' WHERE id = 'other'").await.unwrap();
    altered("other").await;
    // As it was before somebody disabled it, with the code of then.
    raw.execute("UPDATE stamp_template_versions SET template = 'third' WHERE template = 'other'")
        .await
        .unwrap();
    raw.execute(
        "UPDATE stamp_templates SET state = 'enabled', revision = 1,
             reason = (SELECT reason FROM kept WHERE kept.id = stamp_templates.id),
             actor = (SELECT actor FROM kept WHERE kept.id = stamp_templates.id),
             code = (SELECT code FROM kept WHERE kept.id = stamp_templates.id) WHERE id = 'third'",
    )
    .await
    .unwrap();
    assert_eq!(
        store.stamp_template(&id("third")).await.unwrap().state,
        TemplateState::Enabled,
        "by its code alone"
    );
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 1);
    altered("third").await;
}

async fn another_data_key_takes_templates_over(database: &Database) {
    let store = database.create().await;
    unlock(&store);
    set(&store, "contract", r#"{"n":1}"#, 0).await.unwrap();
    set(&store, "contract", r#"{"n":2}"#, 1).await.unwrap();
    let both = || vec![DataKey::new(1, &[1; 32]), DataKey::new(2, &[2; 32])];
    store.protection().unlock(DataKeys::new(both()).unwrap());
    assert_eq!(store.renew_protection().await.unwrap(), 3, "the template and two versions");
    assert_eq!(store.renew_protection().await.unwrap(), 0);
    store.protection().unlock(DataKeys::new(vec![DataKey::new(2, &[2; 32])]).unwrap());
    assert_eq!(store.stamp_template(&id("contract")).await.unwrap().current.stamp, r#"{"n":2}"#);
    assert_eq!(store.stamp_template_version(&id("contract"), 1).await.unwrap().stamp, r#"{"n":1}"#);
}
