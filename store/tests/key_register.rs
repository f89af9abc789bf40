//! The life of keys, their versions and copies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::LazyLock;

use certs_test::{Options, Sandbox};
use config::{DeviceId, GroupId, KeyId};
use formats::Certificate;
use sqlx::Connection as _;
use store::{
    ExistingKey, KeyPurpose, KeyState, KeyVersion, NewKey, Spread, Store, StoreError, VersionPlan,
    WrappingKey,
};
use support::{Database, Raw, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    a_key_goes_from_pending_to_destroyed_and_nothing_of_it_is_lost,
    a_new_version_takes_over_and_the_old_one_retires_after_the_overlap,
    devices_that_export_nothing_have_a_copy_and_a_certificate_each,
    a_certificate_for_another_key_expired_broken_or_out_of_order_is_not_installed,
    what_contradicts_itself_or_is_not_there_is_refused,
    a_wrapping_key_needs_neither_public_key_nor_certificate,
    no_statement_deletes_a_key_or_turns_its_life_back,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| certs_test::generate(&Options { seed: [7; 32], at: AT }).unwrap());

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn device(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

/// The chain of a sandbox key as PEM, and the key itself.
fn certified(service: &str) -> (String, Vec<u8>) {
    let service = SANDBOX.services.iter().find(|found| found.id == service).unwrap();
    let chain: Vec<_> = service.chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let public_key = chain[0].public_key().unwrap().spki_der();
    (chain.iter().map(Certificate::to_pem).collect(), public_key)
}

fn new(name: &str) -> NewKey {
    NewKey {
        id: id(name),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Service,
        label: name.into(),
    }
}

fn cloned() -> VersionPlan {
    VersionPlan { spread: Spread::Clone, wrapping_key: None }
}

fn per_device() -> VersionPlan {
    VersionPlan { spread: Spread::PerDevice, wrapping_key: None }
}

fn refused(result: Result<KeyVersion, StoreError>) -> (&'static str, &'static str) {
    match result {
        Err(StoreError::NotAllowed { state, reason, .. }) => (state, reason),
        Err(other) => panic!("refused for another reason: {other:?}"),
        Ok(version) => panic!("not refused: {version:?}"),
    }
}

fn unacceptable(result: Result<KeyVersion, StoreError>) -> &'static str {
    match result {
        Err(StoreError::Unacceptable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Takes the next version of `stamp` to where it can be activated.
async fn ready(store: &Store, number: u32, service: &str) {
    let (chain, public_key) = certified(service);
    store.record_key_copy(&id("stamp"), number, None, Some(&public_key), AT).await.unwrap();
    store.install_certificate(&id("stamp"), number, None, &chain, AT).await.unwrap();
}

async fn a_key_goes_from_pending_to_destroyed_and_nothing_of_it_is_lost(database: &Database) {
    let store = database.create().await;
    let (chain, public_key) = certified("demo-sm2");
    let stamp = id("stamp");
    let plan = VersionPlan {
        spread: Spread::Wrap,
        wrapping_key: Some(WrappingKey { id: id("sys-kek"), version: 2 }),
    };
    let entered = store.create_key(&new("stamp"), &plan, AT).await.unwrap();
    assert_eq!((entered.version, entered.state, &entered.cka_id[..]), (1, KeyState::Pending, &b"stamp"[..]));
    assert_eq!(entered.wrapping_key, plan.wrapping_key);

    let lacking = store.activate_key_version(&stamp, 1, AT, None).await;
    assert_eq!(refused(lacking), ("pending", "no device holds it yet"));
    store.record_key_copy(&stamp, 1, None, None, AT).await.unwrap();
    let lacking = store.activate_key_version(&stamp, 1, AT, None).await;
    assert_eq!(refused(lacking), ("pending", "the public key of a copy is not known"));
    for _ in 0..2 {
        // The second time nothing changes: a ceremony that is taken up again records what is recorded.
        store.record_key_copy(&stamp, 1, None, Some(&public_key), AT).await.unwrap();
    }
    let lacking = store.activate_key_version(&stamp, 1, AT, None).await;
    assert_eq!(refused(lacking), ("pending", "a copy has no certificate"));
    store.install_certificate(&stamp, 1, None, &chain, AT).await.unwrap();

    let active = store.activate_key_version(&stamp, 1, AT, None).await.unwrap();
    assert_eq!((active.state, active.activates_at), (KeyState::Active, Some(AT)));
    assert_eq!(refused(store.destroy_key_version(&stamp, 1, AT).await).0, "active");
    let later = AT + Duration::days(1);
    let retired = store.retire_key_version(&stamp, 1, later).await.unwrap();
    assert_eq!((retired.state, retired.retires_at), (KeyState::Retired, Some(later)));
    assert_eq!(refused(store.install_certificate(&stamp, 1, None, &chain, AT).await).0, "retired");
    let destroyed = store.destroy_key_version(&stamp, 1, later).await.unwrap();
    assert_eq!((destroyed.state, destroyed.destroyed_at), (KeyState::Destroyed, Some(later)));
    assert_eq!(refused(store.activate_key_version(&stamp, 1, AT, None).await).0, "destroyed");
    assert_eq!(refused(store.retire_key_version(&stamp, 1, AT).await).0, "destroyed");

    let left = store.key(&stamp).await.unwrap().unwrap();
    let copy = left.version(1).unwrap().copy(None).unwrap();
    assert_eq!((&copy.certificate_chain, copy.public_key.as_ref()), (&chain, Some(&public_key)));
}

async fn a_new_version_takes_over_and_the_old_one_retires_after_the_overlap(database: &Database) {
    let store = database.create().await;
    let stamp = id("stamp");
    store.create_key(&new("stamp"), &cloned(), AT).await.unwrap();
    ready(&store, 1, "demo-sm2").await;
    store.activate_key_version(&stamp, 1, AT, None).await.unwrap();

    let second = store.add_key_version(&stamp, &cloned(), AT).await.unwrap();
    assert_eq!((second.version, &second.cka_id[..]), (2, &b"stamp#2"[..]));
    let third = store.add_key_version(&stamp, &cloned(), AT).await;
    assert_eq!(refused(third), ("pending", "a key has one pending version at most"));
    ready(&store, 2, "portal-sm2").await;
    let until = AT + Duration::days(30);
    let early = store.activate_key_version(&stamp, 2, AT, Some(AT - Duration::seconds(1))).await;
    assert_eq!(unacceptable(early), "the overlap ends before it begins");
    store.activate_key_version(&stamp, 2, AT, Some(until)).await.unwrap();

    let key = store.key(&stamp).await.unwrap().unwrap();
    let states: Vec<_> = key.versions.iter().map(|v| (v.version, v.state, v.retires_at)).collect();
    assert_eq!(states, [(1, KeyState::Retiring, Some(until)), (2, KeyState::Active, None)]);
    let early = store.retire_key_version(&stamp, 1, until - Duration::seconds(1)).await;
    assert_eq!(refused(early), ("retiring", "its overlap has not ended"));
    store.retire_key_version(&stamp, 1, until).await.unwrap();

    store.add_key_version(&stamp, &cloned(), until).await.unwrap();
    ready(&store, 3, "front-sm2").await;
    store.activate_key_version(&stamp, 3, until, None).await.unwrap();
    let key = store.key(&stamp).await.unwrap().unwrap();
    let states: Vec<_> = key.versions.iter().map(|v| v.state).collect();
    assert_eq!(states, [KeyState::Retired, KeyState::Retired, KeyState::Active]);
}

async fn devices_that_export_nothing_have_a_copy_and_a_certificate_each(database: &Database) {
    let store = database.create().await;
    let stamp = id("stamp");
    store.create_key(&new("stamp"), &per_device(), AT).await.unwrap();
    for (name, service) in [("d1", "demo-sm2"), ("d2", "portal-sm2")] {
        let (chain, public_key) = certified(service);
        store.record_key_copy(&stamp, 1, Some(&device(name)), Some(&public_key), AT).await.unwrap();
        store.install_certificate(&stamp, 1, Some(&device(name)), &chain, AT).await.unwrap();
    }
    let (_, third) = certified("front-sm2");
    let whole_group = store.record_key_copy(&stamp, 1, None, Some(&third), AT).await;
    assert_eq!(refused(whole_group).1, "its copies are of the other kind");
    store.activate_key_version(&stamp, 1, AT, None).await.unwrap();
    // A device that joins later.
    store.record_key_copy(&stamp, 1, Some(&device("d3")), Some(&third), AT).await.unwrap();
    let other = store.record_key_copy(&stamp, 1, Some(&device("d1")), Some(&third), AT).await;
    assert_eq!(refused(other).1, "the copy is there with another public key");

    let key = store.key(&stamp).await.unwrap().unwrap();
    let copies: Vec<_> = key.versions[0].copies.iter().map(|copy| copy.device.clone().unwrap()).collect();
    assert_eq!(copies, ["d1", "d2", "d3"].map(device));
    assert_eq!(key.versions[0].copy(Some(&device("d3"))).unwrap().certificate_chain, "");
}

async fn a_certificate_for_another_key_expired_broken_or_out_of_order_is_not_installed(database: &Database) {
    let store = database.create().await;
    let (chain, public_key) = certified("demo-sm2");
    let stamp = id("stamp");
    store.create_key(&new("stamp"), &cloned(), AT).await.unwrap();
    let missing = store.install_certificate(&stamp, 1, None, &chain, AT).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { what: "copy of key", .. }), "{missing:?}");
    store.record_key_copy(&stamp, 1, None, Some(&public_key), AT).await.unwrap();

    let (other, _) = certified("portal-sm2");
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let doubled = format!("{leaf}{leaf}");
    for (given, at, reason) in [
        (&other[..], AT, "the certificate speaks for another public key"),
        (&chain, AT + Duration::days(40_000), "a certificate has expired"),
        (&doubled, AT, "its certificates are not each issued by the next"),
        ("", AT, "there is no certificate in what was given"),
        (
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            AT,
            "its certificates cannot be read",
        ),
    ] {
        assert_eq!(unacceptable(store.install_certificate(&stamp, 1, None, given, at).await), reason);
    }
    let untouched = store.key(&stamp).await.unwrap().unwrap();
    assert_eq!(untouched.versions[0].copies[0].certificate_chain, "");
}

async fn what_contradicts_itself_or_is_not_there_is_refused(database: &Database) {
    let store = database.create().await;
    let bare_wrap = VersionPlan { spread: Spread::Wrap, wrapping_key: None };
    assert!(unacceptable(store.create_key(&new("stamp"), &bare_wrap, AT).await).contains("wrapping key"));
    assert!(store.key(&id("stamp")).await.unwrap().is_none(), "a refused key leaves nothing behind");

    store.create_key(&new("stamp"), &cloned(), AT).await.unwrap();
    let twice = store.create_key(&new("stamp"), &cloned(), AT).await.unwrap_err();
    assert!(matches!(twice, StoreError::AlreadyExists { .. }), "{twice:?}");
    let (_, p256) = certified("demo-p256");
    let wrong_kind = store.record_key_copy(&id("stamp"), 1, None, Some(&p256), AT).await;
    assert_eq!(unacceptable(wrong_kind), "its public key is not of its algorithm");
    let garbage = store.record_key_copy(&id("stamp"), 1, None, Some(b"key"), AT).await;
    assert_eq!(unacceptable(garbage), "its public key cannot be read");
    for missing in [
        store.add_key_version(&id("nothing"), &cloned(), AT).await,
        store.record_key_copy(&id("stamp"), 2, None, None, AT).await,
        store.activate_key_version(&id("stamp"), 0, AT, None).await,
        store.retire_key_version(&id("nothing"), 1, AT).await,
    ] {
        assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    }
}

async fn a_wrapping_key_needs_neither_public_key_nor_certificate(database: &Database) {
    let store = database.create().await;
    let kek = NewKey { algorithm: "aes256".into(), purpose: KeyPurpose::Kek, ..new("sys-kek") };
    store.create_key(&kek, &cloned(), AT).await.unwrap();
    store.record_key_copy(&kek.id, 1, None, None, AT).await.unwrap();
    let active = store.activate_key_version(&kek.id, 1, AT, None).await.unwrap();
    assert_eq!(active.state, KeyState::Active);
}

async fn no_statement_deletes_a_key_or_turns_its_life_back(database: &Database) {
    let store = database.create().await;
    let (certificate_chain, _) = certified("demo-sm2");
    let existing = ExistingKey {
        id: id("stamp"),
        group: GroupId::parse("bureau").unwrap(),
        algorithm: "sm2".into(),
        purpose: KeyPurpose::Service,
        cka_id: b"stamp".to_vec(),
        label: "stamp".into(),
        certificate_chain,
    };
    store.insert_key(&existing, AT).await.unwrap();
    store.retire_key_version(&id("stamp"), 1, AT).await.unwrap();
    let before = store.keys().await.unwrap();
    let mut raw = database.raw().await;
    for (statement, words) in [
        ("DELETE FROM keys", "a key is never deleted"),
        ("DELETE FROM key_versions", "a version of a key is never deleted"),
        ("DELETE FROM key_copies", "a copy of a key is never deleted"),
        ("UPDATE key_versions SET state = 'active'", "a version of a key does not go back"),
        ("UPDATE key_versions SET state = 'pending'", "a version of a key does not go back"),
        ("UPDATE key_versions SET cka_id = x'01'", "how a version of a key is found is fixed at creation"),
        ("UPDATE key_copies SET public_key = x'01'", "the public key of a copy does not change"),
        ("UPDATE keys SET group_id = 'portal'", "the purpose of a key is fixed at creation"),
    ] {
        raw.refused(statement, &[words]).await;
    }
    assert_eq!(store.keys().await.unwrap(), before);
}

#[tokio::test]
async fn keys_of_the_first_schema_become_active_versions_that_keep_their_certificates() {
    let database = Database::sqlite();
    let (chain, _) = certified("demo-sm2");
    // The first migration alone, as the first release applied it.
    let first = tempfile::tempdir().unwrap();
    let name = "0001_initial.sql";
    std::fs::copy(format!("migrations/sqlite/{name}"), first.path().join(name)).unwrap();
    let Raw::Sqlite(mut raw) = database.raw().await else { panic!("a SQLite file") };
    sqlx::migrate::Migrator::new(first.path()).await.unwrap().run(&mut raw).await.unwrap();
    for (key, purpose) in [("stamp", "service"), ("sys-audit", "audit")] {
        sqlx::query("INSERT INTO keys VALUES ($1, 'bureau', 'sm2', $2, $3, 'a label', $4)")
            .bind(key)
            .bind(purpose)
            .bind(key.as_bytes())
            .bind(if key == "stamp" { &chain } else { "" })
            .execute(&mut raw)
            .await
            .unwrap();
    }
    raw.close().await.unwrap();

    let store = Store::open(database.access()).await.unwrap();
    store.migrate().await.unwrap();
    let keys = store.keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["stamp", "sys-audit"]);
    let [version] = &keys[0].versions[..] else { panic!("one version") };
    assert_eq!((keys[0].purpose, keys[0].label.as_str()), (KeyPurpose::Service, "a label"));
    assert_eq!((version.version, version.state, version.spread), (1, KeyState::Active, Spread::Clone));
    assert_eq!(version.cka_id, b"stamp");
    assert_eq!(version.copy(None).unwrap().certificate_chain, chain);
    // Its rules came along.
    let refused = database.raw().await.execute("UPDATE keys SET purpose = 'seal'").await.unwrap_err();
    assert!(refused.to_string().contains("fixed at creation"), "{refused}");
    let second = store.add_key_version(&id("stamp"), &cloned(), AT).await.unwrap();
    assert_eq!(second.cka_id, b"stamp#2");
}
