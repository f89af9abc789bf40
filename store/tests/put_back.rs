//! Old rows with their old codes, put back by SQL: a gateway remembers outside the database what it saw of each row.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::people_support;
use crate::support;

use config::{AppId, Secret};
use store::{
    App, AppState, ApprovalState, DataKey, DataKeys, Decision, Material, NewApproval, NewCredential,
    NewWebhook, RegisterWatch, Store, StoreError,
};
use support::{Database, Raw, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    a_frozen_app_that_was_put_back_as_it_was_is_not_used,
    a_row_that_was_put_back_while_the_gateway_was_down_is_not_used,
    a_row_that_is_gone_is_told,
    a_row_that_was_put_back_with_the_gateways_triggers_there_is_found_by_the_next_look,
    a_row_that_was_put_back_with_an_old_counter_or_the_newest_is_found,
    a_look_reads_what_was_written_and_no_more,
    a_session_that_ended_does_not_come_back,
    what_is_over_is_forgotten,
    an_approval_that_was_decided_or_carried_out_does_not_wait_again,
    a_webhook_that_was_changed_or_removed_does_not_come_back_and_a_new_one_is_none_of_those,
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

/// Takes away the triggers that would refuse it, as whoever may do anything to the database can: all, or not those that note
/// what was written.
async fn drop_triggers(database: &Database, raw: &mut Raw, but_noting: bool) {
    let (triggers, noting) = match database {
        Database::Sqlite(_) => (
            "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'",
            " AND sql NOT LIKE '%row_changes%'",
        ),
        Database::Postgres(_) => (
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal",
            " AND tgname NOT LIKE '%_are_noted'",
        ),
    };
    for drop in raw.texts(&format!("{triggers}{}", if but_noting { noting } else { "" })).await {
        raw.execute(&drop).await.unwrap();
    }
}

/// Puts back what was kept, as whoever may do anything to the database can.
async fn put_back(database: &Database, raw: &mut Raw) {
    drop_triggers(database, raw, false).await;
    put_back_rows(raw).await;
}

async fn put_back_rows(raw: &mut Raw) {
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
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 0);
    store.freeze_app(&window(), "stolen", AT).await.unwrap();
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 0, "what the gateway writes is no news");
    assert!(!is_served(&store).await);

    put_back(database, &mut raw).await;
    assert!(is_served(&store).await, "the codes alone do not tell");
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 2);
    assert!(!is_served(&store).await);
    assert_eq!(store.protection().newly_altered(), BOTH);
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 0, "each is told once");
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
    RegisterWatch::open(&store, folder.path()).unwrap().look_at_all(AT).await.unwrap();
    store.close().await;
    put_back(database, &mut raw).await;

    let store = database.create().await;
    assert_eq!(RegisterWatch::open(&store, folder.path()).unwrap().look_at_all(AT).await.unwrap(), 2);
    let store = unlocked(store);
    assert!(!is_served(&store).await);
    assert_eq!(store.protection().newly_altered(), BOTH);
    store.close().await;
    // The right rows again: as from a newer backup.
    let other = tempfile::tempdir().unwrap();
    let store = unlocked(database.create().await);
    assert_eq!(RegisterWatch::open(&store, other.path()).unwrap().look_at_all(AT).await.unwrap(), 0);
    assert!(is_served(&store).await, "who remembers nothing cannot tell");
}

async fn a_row_that_is_gone_is_told(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut raw = database.raw().await;
    keep(&mut raw).await;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 0);
    raw.execute("DELETE FROM kept_app_credentials").await.unwrap();
    put_back(database, &mut raw).await;
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 1);
    assert_eq!(store.protection().newly_altered(), ["app_credentials w1"]);
}

async fn a_row_that_was_put_back_with_the_gateways_triggers_there_is_found_by_the_next_look(
    database: &Database,
) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut raw = database.raw().await;
    keep(&mut raw).await;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "the first look is at all rows");
    store.freeze_app(&window(), "stolen", AT).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0);
    drop_triggers(database, &mut raw, true).await;
    put_back_rows(&mut raw).await;
    assert_eq!(watch.look(AT).await.unwrap(), 2);
    let mut altered = store.protection().newly_altered();
    altered.sort();
    assert_eq!(altered, BOTH);
    assert!(!is_served(&store).await);
    raw.execute("DELETE FROM app_credentials").await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "one that is refused is no news when it is gone");
}

/// Looks until all that was written is behind the watch. Of PostgreSQL a look goes on at the oldest transaction of the whole
/// server, where other tests have theirs.
async fn settled(database: &Database, watch: &mut RegisterWatch, raw: &mut Raw) {
    let begun = std::time::Instant::now();
    loop {
        let behind = match database {
            Database::Sqlite(_) => true,
            Database::Postgres(_) => {
                let ended = "SELECT (coalesce(max(change), 0) < pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT)::TEXT
                             FROM row_changes";
                raw.texts(ended).await == ["true"]
            }
        };
        watch.look(AT).await.unwrap();
        if behind {
            return;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(90), "a transaction goes on and on");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn a_row_that_was_put_back_with_an_old_counter_or_the_newest_is_found(database: &Database) {
    for newest in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let database = &if database.is_sqlite() { Database::sqlite() } else { Database::postgres() };
        let store = site(database).await;
        let mut raw = database.raw().await;
        keep(&mut raw).await;
        raw.execute("CREATE TABLE kept_row_changes AS SELECT * FROM row_changes").await.unwrap();
        let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
        watch.look(AT).await.unwrap();
        store.freeze_app(&window(), "stolen", AT).await.unwrap();
        settled(database, &mut watch, &mut raw).await;
        put_back(database, &mut raw).await;
        if !newest {
            raw.execute("DELETE FROM row_changes").await.unwrap();
            raw.execute("INSERT INTO row_changes SELECT * FROM kept_row_changes").await.unwrap();
        }
        // Numbers that went back are seen on SQLite; PostgreSQL's transactions go on whatever stands in the table.
        let at_once = watch.look(AT).await.unwrap();
        assert_eq!(at_once, if database.is_sqlite() && !newest { 2 } else { 0 });
        assert_eq!(at_once + watch.look_at_all(AT).await.unwrap(), 2, "{newest}");
        assert!(!is_served(&store).await);
        raw.execute("DROP TABLE row_changes").await.unwrap();
        assert_eq!(watch.look(AT).await.unwrap(), 0, "without what is noted all rows are read");
        store.close().await;
    }
}

async fn a_look_reads_what_was_written_and_no_more(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let other = AppId::parse("other").unwrap();
    store.insert_app(&App::new(other.clone(), "other"), &[], AT).await.unwrap();
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    let mut raw = database.raw().await;
    settled(database, &mut watch, &mut raw).await;
    drop_triggers(database, &mut raw, false).await;
    raw.execute("UPDATE apps SET revision = revision - 1").await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "nothing was noted, and nothing is read");
    let noted = match database {
        Database::Sqlite(_) => {
            "INSERT INTO row_changes (kind, id) VALUES ('apps', 'other-2'), ('nothing', 'row')"
        }
        Database::Postgres(_) => {
            "INSERT INTO row_changes (kind, id, change)
             SELECT kind, id, pg_current_xact_id()::TEXT::BIGINT
             FROM (VALUES ('apps', 'other-2'), ('nothing', 'row')) AS noted (kind, id)"
        }
    };
    raw.execute(noted).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "rows that there are not were never seen");
    let noted = match database {
        Database::Sqlite(_) => {
            "DELETE FROM row_changes WHERE id = 'other'; INSERT INTO row_changes (kind, id) VALUES ('apps', 'other')"
        }
        Database::Postgres(_) => {
            "UPDATE row_changes SET change = pg_current_xact_id()::TEXT::BIGINT WHERE id = 'other'"
        }
    };
    raw.execute(noted).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 1);
    assert_eq!(store.protection().newly_altered(), ["apps other"]);
    assert_eq!(watch.look_at_all(AT).await.unwrap(), 1);
    assert_eq!(store.protection().newly_altered(), ["apps window"]);
}

async fn a_session_that_ended_does_not_come_back(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = people_support::with_account(database).await;
    let name = people_support::name("wang.lei");
    for id in ["one", "two"] {
        people_support::begin(&store, id).await;
    }
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    watch.look(AT).await.unwrap();
    let mut raw = database.raw().await;
    raw.execute("CREATE TABLE kept AS SELECT * FROM account_sessions").await.unwrap();
    let at = people_support::AT;
    for id in ["one", "two"] {
        store.end_session(&name, id, "lost", at).await.unwrap();
    }
    watch.look(AT).await.unwrap();
    // One is still there, and one was forgotten.
    raw.execute("DELETE FROM account_sessions WHERE id = 'two'").await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "sessions go");
    assert!(store.protection().newly_altered().is_empty());
    drop_triggers(database, &mut raw, true).await;
    raw.execute("DELETE FROM account_sessions").await.unwrap();
    raw.execute("INSERT INTO account_sessions SELECT * FROM kept").await.unwrap();
    for id in ["one", "two"] {
        let (session, _) = store.session(&people_support::digest(id)).await.unwrap().unwrap();
        assert!(session.ended.is_none(), "the code alone does not tell");
    }
    assert_eq!(watch.look(AT).await.unwrap(), 2);
    for id in ["one", "two"] {
        assert!(store.session(&people_support::digest(id)).await.unwrap().is_none());
    }
    assert_eq!(store.protection().newly_altered(), ["account_sessions one", "account_sessions two"]);
    store.close().await;
    // Also after a restart.
    let store = people_support::open(database).await;
    assert_eq!(RegisterWatch::open(&store, folder.path()).unwrap().look(AT).await.unwrap(), 2);
    assert!(store.session(&people_support::digest("two")).await.unwrap().is_none());
}

async fn what_is_over_is_forgotten(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = people_support::with_account(database).await;
    people_support::begin(&store, "one").await;
    let file = folder.path().join("gateway.revisions.json");
    let remembered = || std::fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    let at = people_support::AT;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    watch.look(at).await.unwrap();
    assert!(remembered().contains("account_sessions one"));
    let mut raw = database.raw().await;
    // Who has it end earlier in the row gets nothing forgotten.
    drop_triggers(database, &mut raw, true).await;
    raw.execute("CREATE TABLE kept AS SELECT * FROM account_sessions").await.unwrap();
    raw.execute("UPDATE account_sessions SET expires_at = 5").await.unwrap();
    watch.look(at).await.unwrap();
    raw.execute("DELETE FROM account_sessions").await.unwrap();
    watch.look(at).await.unwrap();
    watch.look_at_all(at + Duration::HOUR).await.unwrap();
    raw.execute("INSERT INTO account_sessions SELECT * FROM kept").await.unwrap();
    assert_eq!(watch.look(at).await.unwrap(), 1, "it is remembered as long as it would hold");
    raw.execute("DELETE FROM account_sessions").await.unwrap();
    watch.look_at_all(at + Duration::DAY * 3).await.unwrap();
    raw.execute("CREATE TABLE noted AS SELECT id FROM row_changes WHERE kind = 'account_sessions'")
        .await
        .unwrap();
    assert_eq!(raw.texts("SELECT id FROM noted").await, ["one"]);
    store.forget_sessions(at).await.unwrap();
    assert!(raw.texts("SELECT id FROM row_changes WHERE kind = 'account_sessions'").await.is_empty());
    raw.execute("INSERT INTO account_sessions SELECT * FROM kept").await.unwrap();
    assert_eq!(watch.look(at).await.unwrap(), 0, "by then it is over by what its code covers");
}

fn whole(_: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    None
}

async fn an_approval_that_was_decided_or_carried_out_does_not_wait_again(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let store = unlocked(database.create().await);
    for id in ["carried", "refused"] {
        let new = NewApproval {
            id,
            action: "app.create",
            subject: id,
            content: b"{}",
            reason: "as agreed",
            asked_by: "person:a",
            expires_at: AT + Duration::HOUR,
        };
        store.ask_approval(&new, AT).await.unwrap();
    }
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    watch.look(AT).await.unwrap();
    let mut raw = database.raw().await;
    raw.execute("CREATE TABLE kept AS SELECT * FROM approvals").await.unwrap();
    let said = |state| Decision { state, by: "person:b", reason: "seen", outcome: None };
    store.decide_approval("refused", said(ApprovalState::Rejected), AT, whole).await.unwrap();
    store.decide_approval("carried", said(ApprovalState::Approved), AT, whole).await.unwrap();
    watch.look(AT).await.unwrap();
    raw.execute("CREATE TABLE approved AS SELECT * FROM approvals WHERE id = 'carried'").await.unwrap();
    store.finish_approval("carried", "ok", AT, whole).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0);
    drop_triggers(database, &mut raw, true).await;
    for (table, put_back) in [("approved", &["carried"][..]), ("kept", &["carried", "refused"])] {
        raw.execute(&format!("DELETE FROM approvals WHERE id IN (SELECT id FROM {table})")).await.unwrap();
        raw.execute(&format!("INSERT INTO approvals SELECT * FROM {table}")).await.unwrap();
        watch.look(AT).await.unwrap();
        for id in put_back {
            let decided = store.decide_approval(id, said(ApprovalState::Approved), AT, whole).await;
            assert!(matches!(decided, Err(StoreError::Altered { .. })), "{id}: {decided:?}");
        }
        assert!(store.take_over_approvals(AT, |_| false).await.unwrap().is_empty());
    }
    assert_eq!(store.protection().newly_altered(), ["approvals carried", "approvals refused"]);
}

async fn a_webhook_that_was_changed_or_removed_does_not_come_back_and_a_new_one_is_none_of_those(
    database: &Database,
) {
    let folder = tempfile::tempdir().unwrap();
    let store = site(database).await;
    let mut watch = RegisterWatch::open(&store, folder.path()).unwrap();
    watch.look(AT).await.unwrap();
    let webhook = |id: &str| NewWebhook {
        id: id.to_owned(),
        url: format!("https://{id}.example/notices"),
        secret: Secret::new(b"a secret of thirty-two octets ...".to_vec()),
    };
    let mut raw = database.raw().await;
    store.set_webhook(&window(), &webhook("first"), AT).await.unwrap();
    watch.look(AT).await.unwrap();
    raw.execute("CREATE TABLE kept AS SELECT * FROM webhooks").await.unwrap();
    store.set_webhook(&window(), &webhook("second"), AT).await.unwrap();
    watch.look(AT).await.unwrap();
    store.remove_webhook(&window()).await.unwrap();
    // Whether or not it was seen to be gone, another one of the same app is no older one.
    store.set_webhook(&window(), &webhook("third"), AT).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0);
    assert_eq!(store.webhook(&window()).await.unwrap().unwrap().id, "third");
    raw.execute("CREATE TABLE third AS SELECT * FROM webhooks").await.unwrap();
    store.remove_webhook(&window()).await.unwrap();
    assert_eq!(watch.look(AT).await.unwrap(), 0, "webhooks are removed");
    for kept in ["kept", "third"] {
        raw.execute("DELETE FROM webhooks").await.unwrap();
        raw.execute(&format!("INSERT INTO webhooks SELECT * FROM {kept}")).await.unwrap();
        watch.look(AT).await.unwrap();
        let refused = store.webhook(&window()).await;
        assert!(matches!(refused, Err(StoreError::Altered { .. })), "{kept}: {refused:?}");
    }
    assert_eq!(store.protection().newly_altered(), ["webhooks window"]);
    raw.execute("DELETE FROM webhooks").await.unwrap();
    watch.look(AT).await.unwrap();
    store.set_webhook(&window(), &webhook("fourth"), AT).await.unwrap();
    watch.look(AT).await.unwrap();
    assert_eq!(store.webhook(&window()).await.unwrap().unwrap().id, "fourth");
}
