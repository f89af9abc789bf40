//! Custodians and the ceremonies they confirm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use serde_json::json;
use store::{Ceremony, CeremonyState, NewCeremony, Store, StoreError};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    a_ceremony_is_carried_out_once_after_enough_different_custodians_confirmed_it,
    of_confirmations_and_starts_that_come_together_each_counts_once,
    a_ceremony_past_its_time_is_neither_confirmed_nor_started,
    more_custodians_than_there_are_or_none_are_refused,
    what_was_confirmed_cannot_be_changed_even_by_sql,
    only_an_enabled_custodian_with_the_right_secret_is_verified,
    a_custodians_secret_is_stored_as_an_argon2id_hash_with_a_salt_of_its_own,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

/// A store with custodians who need no secret: their hashes are none.
async fn store(database: &Database, custodians: &[&str]) -> Store {
    let store = database.create().await;
    let mut raw = database.raw().await;
    for name in custodians {
        let insert = format!(
            "INSERT INTO custodians (name, secret_hash, enabled, created_at) VALUES ('{name}', 'no hash', TRUE, 0)"
        );
        raw.execute(&insert).await.unwrap();
    }
    store
}

fn new(needed: u32) -> NewCeremony {
    NewCeremony {
        action: "key.create".into(),
        parameters: json!({"key": "seal-1", "group": "bureau"}),
        reason: "first seal key".into(),
        begun_by: "operator".into(),
        begun_at: AT,
        expires_at: AT + Duration::hours(1),
        needed,
    }
}

fn state_of<T>(result: Result<T, StoreError>) -> &'static str {
    match result {
        Err(StoreError::NotAllowed { what: "ceremony", state, .. }) => state,
        Err(other) => panic!("refused for another reason: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn a_ceremony_is_carried_out_once_after_enough_different_custodians_confirmed_it(database: &Database) {
    let store = store(database, &["a", "b", "c"]).await;
    let opened = store.open_ceremony(&new(2)).await.unwrap();
    assert_eq!((opened.state, opened.needed, opened.custodians), (CeremonyState::Open, 2, 3));
    assert_eq!(opened.parameters, new(2).parameters);
    let id = opened.id;
    assert_eq!(state_of(store.start_ceremony(id, AT).await), "open");

    assert_eq!(store.confirm_ceremony(id, "a", AT).await.unwrap().state, CeremonyState::Open);
    let twice = store.confirm_ceremony(id, "a", AT).await.unwrap_err();
    assert!(matches!(twice, StoreError::AlreadyExists { .. }), "{twice:?}");
    assert_eq!(state_of(store.confirm_ceremony(id, "stranger", AT).await), "open");
    let confirmed = store.confirm_ceremony(id, "c", AT + Duration::minutes(1)).await.unwrap();
    assert_eq!(confirmed.state, CeremonyState::Confirmed);
    let who: Vec<_> = confirmed.confirmations.iter().map(|c| (c.custodian.as_str(), c.at)).collect();
    assert_eq!(who, [("a", AT), ("c", AT + Duration::minutes(1))]);
    assert_eq!(state_of(store.confirm_ceremony(id, "b", AT).await), "confirmed");
    assert_eq!(state_of(store.finish_ceremony(id, true, &json!({}), AT).await), "confirmed");

    store.start_ceremony(id, AT).await.unwrap();
    assert_eq!(state_of(store.start_ceremony(id, AT).await), "confirmed");
    let done = store.finish_ceremony(id, true, &json!({"devices": ["d1"]}), AT).await.unwrap();
    assert_eq!((done.state, done.result), (CeremonyState::Done, Some(json!({"devices": ["d1"]}))));
    assert_eq!(state_of(store.start_ceremony(id, AT).await), "done");
    assert_eq!(state_of(store.finish_ceremony(id, false, &json!({}), AT).await), "done");
}

async fn of_confirmations_and_starts_that_come_together_each_counts_once(database: &Database) {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let store = store(database, &NAMES).await;
    let id = store.open_ceremony(&new(5)).await.unwrap().id;
    let confirms: Vec<_> = NAMES
        .iter()
        .chain(&NAMES)
        .map(|name| {
            let store = store.clone();
            tokio::spawn(async move { store.confirm_ceremony(id, name, AT).await })
        })
        .collect();
    let mut last: Vec<Ceremony> = Vec::new();
    let mut accepted = 0;
    for confirm in confirms {
        if let Ok(ceremony) = confirm.await.unwrap() {
            accepted += 1;
            last.extend((ceremony.state == CeremonyState::Confirmed).then_some(ceremony));
        }
    }
    assert_eq!(accepted, 5, "whoever comes after the last one needed is refused");
    assert_eq!(last.len(), 1, "one confirmation is the last");
    assert_eq!(last[0].confirmations.len(), 5);

    let starts: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.start_ceremony(id, AT).await.is_ok() })
        })
        .collect();
    let mut started = 0;
    for start in starts {
        started += usize::from(start.await.unwrap());
    }
    assert_eq!(started, 1);
}

async fn a_ceremony_past_its_time_is_neither_confirmed_nor_started(database: &Database) {
    let store = store(database, &["a", "b"]).await;
    let late = AT + Duration::hours(1);
    let open = store.open_ceremony(&new(1)).await.unwrap().id;
    assert_eq!(state_of(store.confirm_ceremony(open, "a", late).await), "expired");
    assert_eq!(store.ceremony(open).await.unwrap().unwrap().state, CeremonyState::Expired);

    let confirmed = store.open_ceremony(&new(1)).await.unwrap().id;
    store.confirm_ceremony(confirmed, "a", AT).await.unwrap();
    assert_eq!(state_of(store.start_ceremony(confirmed, late).await), "expired");

    let begun = store.open_ceremony(&new(1)).await.unwrap().id;
    store.confirm_ceremony(begun, "a", AT).await.unwrap();
    store.start_ceremony(begun, AT).await.unwrap();
    store.open_ceremony(&new(2)).await.unwrap();
    assert_eq!(store.expire_ceremonies(late - Duration::seconds(1)).await.unwrap(), 0);
    assert_eq!(store.expire_ceremonies(late).await.unwrap(), 1, "what was begun is not cut off");
    store.finish_ceremony(begun, false, &json!({"reason": "d3 is gone"}), late).await.unwrap();

    let states: Vec<_> = store.ceremonies(None).await.unwrap().into_iter().map(|c| c.state).collect();
    let (expired, failed) = (CeremonyState::Expired, CeremonyState::Failed);
    assert_eq!(states, [expired, failed, expired, expired]);
    assert_eq!(store.ceremonies(Some(failed)).await.unwrap()[0].id, begun);
}

async fn more_custodians_than_there_are_or_none_are_refused(database: &Database) {
    let store = store(database, &["a", "b"]).await;
    store.enable_custodian("b", false).await.unwrap();
    for needed in [0, 2] {
        let error = store.open_ceremony(&new(needed)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unacceptable { .. }), "{error:?}");
    }
    let id = store.open_ceremony(&new(1)).await.unwrap().id;
    assert_eq!(state_of(store.confirm_ceremony(id, "b", AT).await), "open");
    let no_reason = NewCeremony { reason: String::new(), ..new(1) };
    let error = store.open_ceremony(&no_reason).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    let unknown = store.confirm_ceremony(99, "a", AT).await.unwrap_err();
    assert!(matches!(unknown, StoreError::NotFound { .. }), "{unknown:?}");
}

async fn what_was_confirmed_cannot_be_changed_even_by_sql(database: &Database) {
    let store = store(database, &["a", "b"]).await;
    let id = store.open_ceremony(&new(2)).await.unwrap().id;
    store.confirm_ceremony(id, "a", AT).await.unwrap();
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE ceremonies SET parameters = '{}'",
        "UPDATE ceremonies SET needed = 1",
        "UPDATE ceremony_confirmations SET custodian = 'b'",
        "DELETE FROM ceremony_confirmations",
        "DELETE FROM ceremonies",
    ] {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
}

async fn only_an_enabled_custodian_with_the_right_secret_is_verified(database: &Database) {
    let store = store(database, &[]).await;
    store.add_custodian("a", "correct horse battery", AT).await.unwrap();
    assert!(store.verify_custodian("a", "correct horse battery").await.unwrap());
    for (name, secret) in [("a", "correct horse batterz"), ("a", ""), ("b", "correct horse battery")] {
        assert!(!store.verify_custodian(name, secret).await.unwrap(), "{name} {secret}");
    }
    store.enable_custodian("a", false).await.unwrap();
    assert!(!store.verify_custodian("a", "correct horse battery").await.unwrap());
    assert!(!store.custodians().await.unwrap()[0].enabled);

    let short = store.add_custodian("c", "too short", AT).await.unwrap_err();
    assert!(matches!(short, StoreError::Unacceptable { .. }), "{short:?}");
    assert!(!format!("{short} {short:?}").contains("too short"), "{short:?}");
    let taken = store.add_custodian("a", "correct horse battery", AT).await.unwrap_err();
    assert!(matches!(taken, StoreError::AlreadyExists { .. }), "{taken:?}");
    let nobody = store.enable_custodian("b", true).await.unwrap_err();
    assert!(matches!(nobody, StoreError::NotFound { .. }), "{nobody:?}");
}

async fn a_custodians_secret_is_stored_as_an_argon2id_hash_with_a_salt_of_its_own(database: &Database) {
    let store = store(database, &[]).await;
    for name in ["a", "b"] {
        store.add_custodian(name, "correct horse battery", AT).await.unwrap();
    }
    let mut raw = database.raw().await;
    let hashes = raw.texts("SELECT secret_hash FROM custodians").await;
    assert!(hashes.iter().all(|hash| hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")), "{hashes:?}");
    assert_ne!(hashes[0], hashes[1]);
}
