//! Data keys: made once, given back by the devices, and what happens to rows that somebody else wrote.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::{AccountName, AppId, GroupId, KeyId, Secret};
use store::{
    App, AppState, Cell, Claim, Claimed, DeviceKey, DeviceSecrets, ExistingKey, IdempotencyId, KeptAnswer,
    KeyPurpose, Material, NewAccount, NewCredential, NewKey, Role, Spread, Store, StoreError, UnlockError,
    Unlocked, VersionPlan,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;
use zeroize::Zeroizing;

on_both_databases! {
    a_site_without_a_key_in_its_devices_stays_unprotected,
    the_first_unlock_makes_a_data_key_and_codes_what_is_there,
    until_it_is_unlocked_nothing_is_sealed_and_nothing_written_that_needs_a_code,
    devices_with_another_key_do_not_open_it,
    a_new_version_of_the_key_in_the_devices_takes_the_data_key_over,
    data_keys_that_were_deleted_are_not_made_anew_over_altered_rows,
    the_next_data_key_is_used_when_its_time_has_come_and_rows_are_protected_anew,
    a_renewal_goes_by_batches_between_which_others_write_and_goes_on_where_it_was_cut_off,
    a_renewal_that_is_killed_is_taken_up_again_until_all_is_under_the_new_data_key,
    a_data_key_that_is_gone_at_the_start_is_not_made_anew,
    a_key_that_was_altered_by_sql_is_not_used,
    a_custodian_that_was_altered_or_entered_by_sql_confirms_nothing,
    an_app_or_credential_that_was_altered_or_entered_by_sql_is_not_used,
    shared_secrets_and_contacts_are_sealed,
    taking_power_away_gives_no_row_a_good_code_that_had_none,
    an_answer_that_may_name_people_is_sealed_while_it_is_kept,
    whatever_kind_of_row_has_a_code_tells_that_there_was_a_data_key,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const CELL: Cell<'_> = Cell { table: "t", column: "c", row: "r" };

/// Devices that hold the same keys: what they give depends on the key, its version and the text.
struct Devices(u8);

impl DeviceSecrets for Devices {
    async fn derive(&self, key: &DeviceKey, text: &str, _: bool) -> Result<Zeroizing<[u8; 32]>, String> {
        let mut octets = [self.0; 32];
        for (at, octet) in key.cka_id.iter().chain(text.as_bytes()).enumerate() {
            octets[at % 32] = octets[at % 32].wrapping_mul(31).wrapping_add(*octet);
        }
        Ok(Zeroizing::new(octets))
    }
}

/// Devices that are all down.
struct Nobody;

impl DeviceSecrets for Nobody {
    async fn derive(&self, _: &DeviceKey, _: &str, _: bool) -> Result<Zeroizing<[u8; 32]>, String> {
        Err("all down".to_owned())
    }
}

fn key(id: &str, algorithm: &str, purpose: KeyPurpose) -> ExistingKey {
    ExistingKey {
        id: KeyId::parse(id).unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: algorithm.into(),
        purpose,
        cka_id: id.as_bytes().to_vec(),
        label: id.into(),
        certificate_chain: String::new(),
    }
}

/// A store with a key to wrap under, a service key and a custodian.
async fn site(database: &Database) -> Store {
    let store = database.create().await;
    store.insert_key(&key("sys-mac", "hmac-sha256", KeyPurpose::Kek), AT).await.unwrap();
    store.insert_key(&key("stamp", "sm2", KeyPurpose::Service), AT).await.unwrap();
    store.add_custodian("a", "correct horse battery", AT).await.unwrap();
    store
}

async fn reopened(database: &Database) -> Store {
    let store = Store::open(database.access()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn ids(keys: &[store::KeyRecord]) -> Vec<&str> {
    keys.iter().map(|key| key.id.as_str()).collect()
}

async fn a_site_without_a_key_in_its_devices_stays_unprotected(database: &Database) {
    let store = database.create().await;
    store.insert_key(&key("portal-mac", "hmac-sha256", KeyPurpose::Kek), AT).await.unwrap();
    assert_eq!(store.unlock(&Devices(1), AT).await.unwrap(), Unlocked::Unprotected);
    assert!(!store.protection().is_locked());
    assert!(matches!(store.protection().seal(CELL, b"x"), Err(StoreError::Locked)));
}

async fn the_first_unlock_makes_a_data_key_and_codes_what_is_there(database: &Database) {
    let store = site(database).await;
    let created = store.unlock(&Devices(1), AT).await.unwrap();
    assert!(matches!(created, Unlocked::Created { rows: 3, .. }), "{created:?}");
    assert_eq!(ids(&store.keys().await.unwrap()), ["stamp", "sys-mac"]);
    assert!(store.verify_custodian("a", "correct horse battery").await.unwrap());
    let sealed = store.protection().seal(CELL, b"canary-5d0f").unwrap();

    let again = reopened(database).await;
    assert!(again.protection().is_locked());
    assert_eq!(again.unlock(&Devices(1), AT).await.unwrap(), Unlocked::Opened);
    assert!(again.protection().is_locked(), "whoever loaded something before has to load it again first");
    again.protection().release();
    assert!(!again.protection().is_locked());
    assert_eq!(&**again.protection().open(CELL, &sealed).unwrap(), b"canary-5d0f");
    // What is written now has its code at once.
    again.add_custodian("b", "correct horse battery", AT).await.unwrap();
    again.retire_key_version(&KeyId::parse("stamp").unwrap(), 1, AT).await.unwrap();
    assert_eq!(store.custodians().await.unwrap().len(), 2);
    assert_eq!(ids(&store.keys().await.unwrap()), ["stamp", "sys-mac"]);
    assert_eq!(store.protection().refused_rows() + again.protection().refused_rows(), 0);
}

async fn until_it_is_unlocked_nothing_is_sealed_and_nothing_written_that_needs_a_code(database: &Database) {
    site(database).await.unlock(&Devices(1), AT).await.unwrap();
    let store = reopened(database).await;
    let failed = store.unlock(&Nobody, AT).await.unwrap_err();
    assert!(matches!(failed, UnlockError::Devices(_)), "{failed:?}");
    assert!(store.protection().is_locked());
    assert!(matches!(store.protection().seal(CELL, b"x"), Err(StoreError::Locked)));
    let refused = store.add_custodian("b", "correct horse battery", AT).await;
    assert!(matches!(refused, Err(StoreError::Locked)), "{refused:?}");
    let refused = store.insert_key(&key("more", "sm2", KeyPurpose::Service), AT).await;
    assert!(matches!(refused, Err(StoreError::Locked)), "{refused:?}");
    // The devices have to know which keys they hold before they can open anything.
    assert_eq!(ids(&store.keys().await.unwrap()), ["stamp", "sys-mac"]);
    assert_eq!(store.unlock(&Devices(1), AT).await.unwrap(), Unlocked::Opened);
    store.add_custodian("b", "correct horse battery", AT).await.unwrap();
}

async fn devices_with_another_key_do_not_open_it(database: &Database) {
    site(database).await.unlock(&Devices(1), AT).await.unwrap();
    let store = reopened(database).await;
    let error = store.unlock(&Devices(2), AT).await.unwrap_err();
    assert!(matches!(error, UnlockError::NotOpened(1)), "{error:?}");
    assert!(store.protection().is_locked());
}

async fn a_new_version_of_the_key_in_the_devices_takes_the_data_key_over(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let sealed = store.protection().seal(CELL, b"x").unwrap();
    let mac = KeyId::parse("sys-mac").unwrap();
    let plan = VersionPlan { spread: Spread::Clone, wrapping_key: None };
    store.add_key_version(&mac, &plan, AT).await.unwrap();
    store.record_key_copy(&mac, 2, None, None, AT).await.unwrap();
    store.activate_key_version(&mac, 2, AT, None).await.unwrap();
    let early = store.destroy_key_version(&mac, 1, AT).await.unwrap_err();
    assert!(early.to_string().contains("a data key is wrapped under it"), "{early:?}");

    let rewrapped = store.unlock(&Devices(1), AT).await.unwrap();
    assert!(matches!(&rewrapped, Unlocked::Rewrapped { under } if under.version == 2), "{rewrapped:?}");
    store.destroy_key_version(&mac, 1, AT).await.unwrap();
    let again = reopened(database).await;
    assert_eq!(again.unlock(&Devices(1), AT).await.unwrap(), Unlocked::Opened);
    assert_eq!(&**again.protection().open(CELL, &sealed).unwrap(), b"x");
}

async fn data_keys_that_were_deleted_are_not_made_anew_over_altered_rows(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let mut raw = database.raw().await;
    let on = if database.is_sqlite() { "" } else { " ON data_keys" };
    raw.execute(&format!("DROP TRIGGER data_keys_no_delete{on}")).await.unwrap();
    raw.execute("DELETE FROM data_keys").await.unwrap();
    raw.execute("UPDATE keys SET label = 'other' WHERE id = 'stamp'").await.unwrap();
    let again = store.unlock(&Devices(1), AT).await;
    assert!(matches!(again, Err(UnlockError::Gone)), "{again:?}");
    assert_eq!(ids(&store.keys().await.unwrap()), ["sys-mac"], "the altered row stays altered");
}

async fn the_next_data_key_is_used_when_its_time_has_come_and_rows_are_protected_anew(database: &Database) {
    let after = |seconds| AT + std::time::Duration::from_secs(seconds);
    let store = site(database).await;
    assert!(matches!(
        store.make_data_key(&Devices(1), AT).await,
        Err(UnlockError::Store(StoreError::Locked))
    ));
    store.unlock(&Devices(1), AT).await.unwrap();
    store.add_custodian("b", "correct horse battery", AT).await.unwrap();
    let sealed = store.protection().seal(CELL, b"canary").unwrap();
    let other = reopened(database).await;
    other.unlock(&Devices(1), AT).await.unwrap();

    let failed = store.make_data_key(&Nobody, AT).await.unwrap_err();
    assert!(matches!(failed, UnlockError::Devices(_)), "{failed:?}");
    let next = store.make_data_key(&Devices(1), AT).await.unwrap();
    assert_eq!((next.version, next.used_from), (2, after(60)));
    // The others learn of it before it is used, and nobody makes a third.
    for gateway in [&store, &other] {
        assert_eq!(gateway.unlock(&Devices(1), after(5)).await.unwrap(), Unlocked::Opened);
        assert_eq!(gateway.protection().version().unwrap(), 1);
        let third = gateway.make_data_key(&Devices(1), after(6)).await.unwrap_err();
        assert!(matches!(third, UnlockError::Store(StoreError::AlreadyExists { .. })), "{third:?}");
    }
    // No device is asked for what is in memory.
    assert_eq!(store.unlock(&Nobody, after(60)).await.unwrap(), Unlocked::Switched { version: 2 });
    assert_eq!(store.protection().version().unwrap(), 2);
    assert!(store.protection().is_outdated(&sealed));
    assert_eq!(&**store.protection().open(CELL, &sealed).unwrap(), b"canary");

    // A row that somebody altered does not get a good code.
    database.raw().await.execute("UPDATE custodians SET enabled = FALSE WHERE name = 'b'").await.unwrap();
    assert_eq!(store.renew_protection().await.unwrap(), 3);
    assert_eq!(store.renew_protection().await.unwrap(), 0);
    let late = reopened(database).await;
    assert_eq!(late.unlock(&Devices(1), after(61)).await.unwrap(), Unlocked::Opened);
    assert_eq!(late.protection().version().unwrap(), 2);
    for gateway in [&store, &other, &late] {
        assert_eq!(ids(&gateway.keys().await.unwrap()), ["stamp", "sys-mac"]);
        let custodians = gateway.custodians().await.unwrap();
        assert_eq!(custodians.len(), 1, "{custodians:?}");
        assert!(gateway.verify_custodian("a", "correct horse battery").await.unwrap());
    }
}

/// The versions of the data keys under which values of a column stand, by what is before each.
async fn versions(database: &Database, column: &str, from: &str) -> Vec<String> {
    let head = match database.is_sqlite() {
        true => format!("hex(substr({column}, 1, 4))"),
        false => format!("encode(substr({column}, 1, 4), 'hex')"),
    };
    let select =
        format!("SELECT {head} FROM (SELECT {column} FROM {from}) AS them WHERE {column} IS NOT NULL");
    let mut found = database.raw().await.texts(&select).await;
    found.sort();
    found.dedup();
    found
}

async fn a_renewal_goes_by_batches_between_which_others_write_and_goes_on_where_it_was_cut_off(
    database: &Database,
) {
    const APPS: u32 = 1201;
    let later = AT + std::time::Duration::from_secs(61);
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let name = |number| format!("app-{number:04}");
    for number in 0..APPS {
        let mut app = App::new(app_id(&name(number)), "app");
        app.contacts = vec![format!("person {number}")];
        store.insert_app(&app, &[], AT).await.unwrap();
    }
    store.make_data_key(&Devices(1), AT).await.unwrap();
    store.unlock(&Devices(1), later).await.unwrap();
    let mut raw = database.raw().await;
    let (stop, go_on) = match database {
        Database::Sqlite(_) => (
            "CREATE TRIGGER stops BEFORE UPDATE ON apps WHEN NEW.id = 'app-0700'
             BEGIN SELECT RAISE(ABORT, 'power cut'); END",
            "DROP TRIGGER stops",
        ),
        Database::Postgres(_) => (
            "CREATE TRIGGER stops BEFORE UPDATE ON apps FOR EACH ROW WHEN (NEW.id = 'app-0700')
             EXECUTE FUNCTION refuse('power cut')",
            "DROP TRIGGER stops ON apps",
        ),
    };
    raw.execute(stop).await.unwrap();
    let error = store.renew_protection().await.unwrap_err();
    assert!(matches!(error, StoreError::Query(_)), "{error:?}");
    raw.execute(go_on).await.unwrap();
    let new = "SELECT id FROM apps WHERE substr(code, 1, 4) = x'00000002' ORDER BY id";
    let new = new.replace("x'", if database.is_sqlite() { "x'" } else { "'\\x" });
    let done = raw.texts(&new).await;
    let left = APPS as usize - done.len();
    assert_eq!(done.last().unwrap(), "app-0499", "what was begun is gone, what was done before it is there");

    // Others write meanwhile, to what was done, is being done and will be; more than one batch is left.
    let gateway = reopened(database).await;
    gateway.unlock(&Devices(1), later).await.unwrap();
    let writing = async {
        for number in (0..APPS).step_by(25) {
            gateway.set_app_state(&app_id(&name(number)), AppState::Disabled, "closed", later).await.unwrap();
        }
        let app = App::new(app_id("later"), "app");
        gateway.insert_app(&app, &[], later).await.unwrap();
    };
    let (renewed, ()) = tokio::join!(store.renew_protection(), writing);
    let renewed = renewed.unwrap();
    assert!((1..=left as u64).contains(&renewed), "{renewed} of {left}: what was done is not done again");
    assert_eq!(store.renew_protection().await.unwrap(), 0);
    assert_eq!(versions(database, "code", "apps").await, ["00000002"]);
    assert_eq!(versions(database, "contacts", "apps WHERE id <> 'later'").await, ["00000002"]);
    let known = store.registered_apps().await.unwrap();
    assert_eq!(known.len(), APPS as usize + 1);
    for known in known {
        let Some(number) = known.app.id.as_str().strip_prefix("app-") else { continue };
        let number: u32 = number.parse().unwrap();
        let expected = if number.is_multiple_of(25) { AppState::Disabled } else { AppState::Enabled };
        assert_eq!((known.app.state, &known.app.contacts[..]), (expected, &[format!("person {number}")][..]));
    }
}

async fn a_renewal_that_is_killed_is_taken_up_again_until_all_is_under_the_new_data_key(database: &Database) {
    let later = AT + std::time::Duration::from_secs(61);
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let secret = |at: u8| Material::HmacSm3(Secret::new(vec![at; 32]));
    for number in 0..40 {
        let mut app = App::new(app_id(&format!("app-{number}")), "app");
        app.contacts = vec![format!("person {number}")];
        store.insert_app(&app, &[credential(&format!("c-{number}"), secret(number))], AT).await.unwrap();
    }
    store.make_data_key(&Devices(1), AT).await.unwrap();
    store.unlock(&Devices(1), later).await.unwrap();
    database.raw().await.execute("UPDATE apps SET scopes = '[\"apps\"]' WHERE id = 'app-7'").await.unwrap();

    // Ended anywhere, as a killed process ends: what was not committed is gone with its connection.
    let mut polls = 0_u32;
    loop {
        let gateway = reopened(database).await;
        gateway.unlock(&Devices(1), later).await.unwrap();
        assert_eq!(gateway.protection().version().unwrap(), 2);
        let known = gateway.registered_apps().await.unwrap();
        assert_eq!(known.len(), 39, "all but the altered one are used at every moment");
        for app in &known {
            let number: u8 = app.app.id.as_str()[4..].parse().unwrap();
            assert_eq!(app.app.contacts, [format!("person {number}")]);
            let Material::HmacSm3(held) = &app.credentials[0].material else { panic!("{app:?}") };
            assert_eq!(held.expose(), &vec![number; 32]);
        }
        let mut left = polls;
        let mut work = std::pin::pin!(gateway.renew_protection());
        let done = std::future::poll_fn(|context| match work.as_mut().poll(context) {
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                left -= 1;
                std::task::Poll::Pending
            }
            ready => ready.map(Some),
        });
        match done.await {
            None => polls = polls * 2 + 1,
            Some(rows) => {
                rows.unwrap(); // how many were left depends on where the last one ended
                break;
            }
        }
    }
    assert!(polls > 0, "it was ended at least once");
    for (column, from) in [
        ("code", "keys"),
        ("code", "custodians"),
        ("code", "app_credentials"),
        ("material", "app_credentials"),
        ("code", "apps WHERE id <> 'app-7'"),
        ("contacts", "apps WHERE id <> 'app-7'"),
    ] {
        assert_eq!(versions(database, column, from).await, ["00000002"], "{column} of {from}");
    }
    assert_eq!(store.registered_apps().await.unwrap().len(), 39, "the altered one is as it was");
}

async fn a_data_key_that_is_gone_at_the_start_is_not_made_anew(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    drop(store);
    let mut raw = database.raw().await;
    let on = if database.is_sqlite() { "" } else { " ON data_keys" };
    raw.execute(&format!("DROP TRIGGER data_keys_no_delete{on}")).await.unwrap();
    raw.execute("DELETE FROM data_keys").await.unwrap();
    raw.execute("UPDATE keys SET label = 'other' WHERE id = 'stamp'").await.unwrap();
    let again = reopened(database).await.unlock(&Devices(1), AT).await;
    assert!(matches!(again, Err(UnlockError::Gone)), "{again:?}");

    // Also where whoever did it took the codes away: the audit log says that there was one.
    for table in ["keys", "custodians"] {
        raw.execute(&format!("UPDATE {table} SET code = NULL")).await.unwrap();
    }
    let entry = br#"{"action":"data_key.create","outcome":"ok"}"#;
    let hex: String = entry.iter().map(|octet| format!("{octet:02x}")).collect();
    raw.execute(&format!(
        "INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash) VALUES (1, 0, 0, x'{hex}', x'{}')",
        "00".repeat(32)
    ))
    .await
    .unwrap();
    let again = reopened(database).await.unlock(&Devices(1), AT).await;
    assert!(matches!(again, Err(UnlockError::Gone)), "{again:?}");
}

async fn a_key_that_was_altered_by_sql_is_not_used(database: &Database) {
    let changes = [
        "UPDATE key_copies SET certificate_chain = 'other' WHERE key_id = 'stamp'",
        "UPDATE key_versions SET retires_at = 1 WHERE key_id = 'stamp'",
        "UPDATE keys SET label = 'other' WHERE id = 'stamp'",
        "UPDATE keys SET code = NULL WHERE id = 'stamp'",
        "INSERT INTO key_copies (key_id, version, device, certificate_chain, created_at)
         VALUES ('stamp', 1, 'd9', '', 0)",
    ];
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let stamp = KeyId::parse("stamp").unwrap();
    let mut raw = database.raw().await;
    for (at, change) in changes.iter().enumerate() {
        raw.execute(change).await.unwrap();
        assert_eq!(ids(&store.keys().await.unwrap()), ["sys-mac"], "{change}");
        assert!(matches!(store.key(&stamp).await, Err(StoreError::Altered { .. })), "{change}");
        let act = store.retire_key_version(&stamp, 1, AT).await;
        assert!(matches!(act, Err(StoreError::Altered { .. })), "an act must not mend it: {change}");
        assert_eq!(store.protection().refused_rows(), 3 * (at as u64 + 1));
    }
    let new = NewKey {
        id: KeyId::parse("other").unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Service,
        label: "other".into(),
    };
    let plan = VersionPlan { spread: Spread::Clone, wrapping_key: None };
    store.create_key(&new, &plan, AT).await.unwrap();
    assert_eq!(ids(&store.keys().await.unwrap()), ["other", "sys-mac"], "the others go on");
}

async fn a_custodian_that_was_altered_or_entered_by_sql_confirms_nothing(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    store.enable_custodian("a", false).await.unwrap();
    let mut raw = database.raw().await;
    raw.execute(
        "INSERT INTO custodians (name, secret_hash, enabled, created_at, revision, code)
         SELECT 'b', secret_hash, TRUE, created_at, revision, code FROM custodians WHERE name = 'a'",
    )
    .await
    .unwrap();
    raw.execute("UPDATE custodians SET enabled = TRUE WHERE name = 'a'").await.unwrap();
    assert!(store.custodians().await.unwrap().is_empty());
    for name in ["a", "b"] {
        assert!(!store.verify_custodian(name, "correct horse battery").await.unwrap(), "{name}");
        let act = store.enable_custodian(name, true).await;
        assert!(matches!(act, Err(StoreError::Altered { .. })), "{name}: {act:?}");
    }
}

fn app_id(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

fn credential(id: &str, material: Material) -> NewCredential {
    NewCredential { id: id.into(), material, label: String::new(), not_before: AT, not_after: None }
}

/// The apps that are used, each with its credentials that are.
async fn apps(store: &Store) -> Vec<String> {
    let apps = store.registered_apps().await.unwrap();
    let shown = apps.iter().map(|known| {
        let credentials: Vec<_> = known.credentials.iter().map(|held| held.id.as_str()).collect();
        format!("{}:{}", known.app.id, credentials.join(","))
    });
    shown.collect()
}

async fn an_app_or_credential_that_was_altered_or_entered_by_sql_is_not_used(database: &Database) {
    let store = site(database).await;
    let key = |id| credential(id, Material::Sm2(vec![1]));
    store.insert_app(&App::new(app_id("window"), "window"), &[key("w1")], AT).await.unwrap();
    store.insert_app(&App::new(app_id("office"), "office"), &[key("o1"), key("o2")], AT).await.unwrap();
    let created = store.unlock(&Devices(1), AT).await.unwrap();
    assert!(matches!(created, Unlocked::Created { rows: 8, .. }), "{created:?}");
    assert_eq!(apps(&store).await, ["office:o1,o2", "window:w1"]);

    let mut raw = database.raw().await;
    for (change, left) in [
        ("UPDATE app_credentials SET not_after = 1 WHERE id = 'o1'", ["office:o2", "window:w1"].as_slice()),
        ("UPDATE app_credentials SET code = NULL WHERE id = 'o2'", &["office:", "window:w1"]),
        (
            "INSERT INTO app_credentials (id, app, kind, material, label, not_before, created_at, revision, code)
             SELECT 'w2', app, kind, x'02', label, not_before, created_at, revision, code FROM app_credentials
             WHERE id = 'w1'",
            &["office:", "window:w1"],
        ),
        ("UPDATE apps SET scopes = '[\"signatures\"]' WHERE id = 'window'", &["office:"]),
        (
            "INSERT INTO apps (id, name, scopes, key_ids, group_ids, fields, state, created_at, changed_at)
             VALUES ('own', 'own', '[\"apps\"]', '[]', '[]', '[]', 'enabled', 0, 0)",
            &["office:"],
        ),
        ("UPDATE apps SET scopes = 'no JSON' WHERE id = 'own'", &["office:"]),
    ] {
        raw.execute(change).await.unwrap();
        assert_eq!(apps(&store).await, left, "{change}");
    }
    let altered =
        |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Altered { .. })), "{done:?}");
    let window = app_id("window");
    altered(store.set_app_state(&window, AppState::Enabled, "r", AT).await);
    altered(store.update_app(&App::new(window.clone(), "window"), AT).await);
    altered(store.set_app_keys(&window, &[].into(), AT).await);
    altered(store.add_credential(&app_id("office"), &key("o3"), Some(("o1", AT)), AT).await);
    assert_eq!(apps(&store).await, ["office:"], "no act mends what was altered");
    // What takes power away is done all the same.
    store.freeze_app(&window, "r", AT).await.unwrap();
    store.revoke_credential(&app_id("office"), "o1", "r", AT).await.unwrap();
    let known = store.registered_apps().await.unwrap();
    assert!(known.iter().all(|known| known.app.id != window));
    assert!(known[0].credentials.iter().all(|held| !held.holds_at(AT)));
}

async fn taking_power_away_gives_no_row_a_good_code_that_had_none(database: &Database) {
    let store = site(database).await;
    let key = |id| credential(id, Material::Sm2(vec![1]));
    store.insert_app(&App::new(app_id("window"), "window"), &[key("w1"), key("w2")], AT).await.unwrap();
    store.unlock(&Devices(1), AT).await.unwrap();
    let mut raw = database.raw().await;
    for (id, revoked_at) in
        [("own", "NULL, NULL"), ("never", "9000000000000000000, 'gone'"), ("then", "5, 'gone'")]
    {
        let insert = format!(
            "INSERT INTO app_credentials (id, app, kind, material, label, not_before, created_at, revision,
             revoked_at, revoked_reason)
             SELECT '{id}', app, kind, x'02', label, not_before, created_at, revision, {revoked_at}
             FROM app_credentials WHERE id = 'w1'"
        );
        raw.execute(&insert).await.unwrap();
    }
    // A time beyond the calendar is no empty column: what was revoked that way does not hold again.
    raw.execute(
        "UPDATE app_credentials SET revoked_at = 9000000000000000000, revoked_reason = 'gone' WHERE id = 'w2'",
    )
    .await
    .unwrap();
    assert_eq!(apps(&store).await, ["window:w1"]);

    let window = app_id("window");
    for id in ["own", "never", "then", "w2"] {
        store.revoke_credential(&window, id, "r", AT).await.unwrap();
    }
    store.freeze_app(&window, "r", AT).await.unwrap();
    store.set_app_state(&window, AppState::Enabled, "r", AT).await.unwrap();
    assert_eq!(apps(&store).await, ["window:w1"], "only what the gateway wrote is known");
    let known = store.registered_apps().await.unwrap();
    assert!(known[0].credentials.iter().all(|held| !held.holds_at(AT)));
}

fn claim(key: &str) -> Claim {
    Claim {
        id: IdempotencyId { actor: "office".into(), route: "POST /v1/admin/apps".into(), key: key.into() },
        fingerprint: [1; 32],
        request_id: "r".into(),
        instance: "gateway-1/a".into(),
        holder: format!("holder of {key}"),
        repeatable: false,
        lease: std::time::Duration::from_secs(60),
    }
}

async fn an_answer_that_may_name_people_is_sealed_while_it_is_kept(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let answer = KeptAnswer { status: 201, headers: vec![], body: b"canary-90ab".to_vec() };
    assert_eq!(store.claim_idempotency(&claim("k"), AT).await.unwrap(), Claimed::Ours);
    assert!(store.keep_answer(&claim("k"), &answer).await.unwrap());
    assert_eq!(store.claim_idempotency(&claim("k"), AT).await.unwrap(), Claimed::Answered(answer));
    let stored = database.contents();
    for shown in
        ["canary-90ab".to_owned(), "canary-90ab".bytes().map(|octet| format!("{octet:02x}")).collect()]
    {
        assert!(!stored.windows(shown.len()).any(|window| window == shown.as_bytes()), "{shown}");
    }
    // Another key's answer in its place is not taken for it.
    assert_eq!(store.claim_idempotency(&claim("l"), AT).await.unwrap(), Claimed::Ours);
    let other = KeptAnswer { status: 201, headers: vec![], body: b"other".to_vec() };
    assert!(store.keep_answer(&claim("l"), &other).await.unwrap());
    let moved = "UPDATE idempotency_keys SET answer = (SELECT answer FROM idempotency_keys WHERE key = 'l')
                 WHERE key = 'k'";
    database.raw().await.execute(moved).await.unwrap();
    let found = store.claim_idempotency(&claim("k"), AT).await;
    assert!(matches!(found, Err(StoreError::Altered { .. })), "{found:?}");
}

async fn shared_secrets_and_contacts_are_sealed(database: &Database) {
    let store = site(database).await;
    let secret = || Material::HmacSm3(Secret::new(b"canary-1b7e-a secret of 32 octets".to_vec()));
    let mut window = App::new(app_id("window"), "window");
    window.contacts = vec!["canary-77c2 值班室".to_owned()];
    // Without a data key there is nothing to seal under.
    let refused = store.insert_app(&window, &[], AT).await;
    assert!(matches!(refused, Err(StoreError::Locked)), "{refused:?}");
    store.unlock(&Devices(1), AT).await.unwrap();
    store.insert_app(&window, &[credential("h", secret())], AT).await.unwrap();

    let exposed = |store: Store| async move {
        let known = store.registered_apps().await.unwrap().remove(0);
        let secrets = known.credentials.iter().map(|held| match &held.material {
            Material::HmacSm3(secret) => secret.expose().clone(),
            other => panic!("{other:?}"),
        });
        (secrets.collect::<Vec<_>>(), known.app.contacts)
    };
    let Material::HmacSm3(wanted) = secret() else { unreachable!() };
    assert_eq!(exposed(store.clone()).await, (vec![wanted.expose().clone()], window.contacts.clone()));
    let stored = database.contents();
    for canary in ["canary-1b7e", "canary-77c2"] {
        let octets: String = canary.bytes().map(|octet| format!("{octet:02x}")).collect();
        for shown in [canary.as_bytes(), octets.as_bytes()] {
            assert!(
                !stored.windows(shown.len()).any(|window| window == shown),
                "{canary} is in the database"
            );
        }
    }

    let again = reopened(database).await;
    assert_eq!(exposed(again.clone()).await, (vec![], vec![]), "locked");
    let refused = again.add_credential(&window.id, &credential("i", secret()), None, AT).await;
    assert!(matches!(refused, Err(StoreError::Locked)), "{refused:?}");
    again.unlock(&Devices(1), AT).await.unwrap();
    assert_eq!(exposed(again).await, (vec![wanted.expose().clone()], window.contacts));
}

async fn whatever_kind_of_row_has_a_code_tells_that_there_was_a_data_key(database: &Database) {
    let store = site(database).await;
    store.unlock(&Devices(1), AT).await.unwrap();
    let (name, roles) = (AccountName::parse("wang.lei").unwrap(), [Role::Operator].into());
    let account = NewAccount {
        name: &name,
        display_name: "n",
        roles: &roles,
        password: "kT7-vepo-Quag",
        one_time_until: None,
    };
    store.insert_account(&account, AT).await.unwrap();
    drop(store);
    let mut raw = database.raw().await;
    let on = if database.is_sqlite() { "" } else { " ON data_keys" };
    raw.execute(&format!("DROP TRIGGER data_keys_no_delete{on}")).await.unwrap();
    raw.execute("DELETE FROM data_keys").await.unwrap();
    for table in ["keys", "custodians", "apps", "app_credentials"] {
        raw.execute(&format!("UPDATE {table} SET code = NULL")).await.unwrap();
    }
    // Nothing is on record here, and only the account has a code.
    let again = reopened(database).await.unlock(&Devices(1), AT).await;
    assert!(matches!(again, Err(UnlockError::Gone)), "{again:?}");
}
