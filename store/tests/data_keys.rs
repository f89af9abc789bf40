//! Data keys: made once, given back by the devices, and what happens to rows that somebody else wrote.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use config::{AppId, GroupId, KeyId, Secret};
use store::{
    App, AppState, Cell, DeviceKey, DeviceSecrets, ExistingKey, KeyPurpose, Material, NewCredential, NewKey,
    Spread, Store, StoreError, UnlockError, Unlocked, VersionPlan,
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
    a_key_that_was_altered_by_sql_is_not_used,
    a_custodian_that_was_altered_or_entered_by_sql_confirms_nothing,
    an_app_or_credential_that_was_altered_or_entered_by_sql_is_not_used,
    shared_secrets_and_contacts_are_sealed,
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
    altered(store.set_app_keys(&window, &[].into()).await);
    altered(store.add_credential(&app_id("office"), &key("o3"), Some(("o1", AT)), AT).await);
    assert_eq!(apps(&store).await, ["office:"], "no act mends what was altered");
    // What takes power away is done all the same.
    store.freeze_app(&window, "r", AT).await.unwrap();
    store.revoke_credential(&app_id("office"), "o1", "r", AT).await.unwrap();
    let known = store.registered_apps().await.unwrap();
    assert!(known.iter().all(|known| known.app.id != window));
    assert!(known[0].credentials.iter().all(|held| !held.holds_at(AT)));
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
