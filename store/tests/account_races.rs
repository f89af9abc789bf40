//! People: what was judged and is not so any more when it is acted on, and what several gateways do at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::people_support;
use crate::support;

use config::Secret;
use people_support::{
    AT, PASSWORD, account, begin, digest, has_ended, is_right, name, open, proofs, session, with_account,
    with_factor,
};
use store::{
    AccountState, AuditEntry, AuditLog, DataKey, DataKeys, Factor, Grounds, Room, SessionKind, Store,
    StoreError, Terms, UnusedAccount,
};
use support::{Database, on_both_databases};
use time::{Duration, OffsetDateTime};

on_both_databases! {
    what_was_shown_counts_only_as_long_as_it_is_the_accounts,
    what_is_shown_goes_on_to_count_under_another_data_key,
    nothing_is_done_in_a_session_that_has_ended_meanwhile,
    of_tokens_that_are_made_together_no_more_are_made_than_there_is_room_for,
    sign_ins_that_wait_for_a_code_do_not_pile_up,
    of_many_gateways_one_turns_an_unused_account_off,
    whoever_comes_back_in_time_is_not_turned_off,
    an_account_is_turned_off_with_its_entry_or_not_at_all,
    an_account_that_cannot_be_judged_holds_no_other_entry_up,
}

/// Somebody has shown password and code, and is let in after something else has happened to the account, within the same
/// second too.
async fn what_was_shown_counts_only_as_long_as_it_is_the_accounts(database: &Database) {
    let store = with_factor(database).await;
    let who = name("wang.lei");
    let mut password = PASSWORD;
    for act in 0..6 {
        let proofs = &proofs(&store, password).await;
        let code = Factor::Code { step: 1000 + act };
        match act {
            0 => drop(store.change_password(&who, "Zw4nzig!Moorhuhn", 0, None, AT).await.unwrap()),
            // The same one again is another one: it was given by somebody else.
            1 => drop(store.reset_password(&who, password, AT + Duration::DAY, 0, AT).await.unwrap()),
            2 => drop(store.reset_second_factor(&who, AT).await.unwrap()),
            3 | 4 => {
                let secret = Secret::new(vec![u8::try_from(act).unwrap(); 20]);
                store.begin_second_factor(&who, secret.expose(), None).await.unwrap();
                drop(store.confirm_second_factor(&who, (&secret, 1), &[], None, AT).await.unwrap());
            }
            _ => drop(store.set_account_state(&who, AccountState::Disabled, "left", AT).await.unwrap()),
        }
        if act == 0 {
            password = "Zw4nzig!Moorhuhn";
        }
        let state = if act == 5 { "disabled" } else { "changed" };
        for (kind, factor) in [(SessionKind::Session, Some(&code)), (SessionKind::Pending, None)] {
            let grounds = Grounds::Shown { proofs, factor };
            let refused = store.begin_session(&session("late", kind), grounds, AT).await;
            let as_said = matches!(&refused, Err(StoreError::NotAllowed { state: is, .. }) if *is == state);
            assert!(as_said, "{act} {kind:?}: {refused:?}");
            assert!(store.session(&digest("late")).await.unwrap().is_none());
        }
    }
}

async fn what_is_shown_goes_on_to_count_under_another_data_key(database: &Database) {
    let store = with_factor(database).await;
    let proofs = &proofs(&store, PASSWORD).await;
    let both = vec![DataKey::new(1, &[7; 32]), DataKey::new(2, &[6; 32])];
    store.protection().unlock(DataKeys::new(both).unwrap());
    assert_eq!(store.renew_protection().await.unwrap(), 1);
    let grounds = Grounds::Shown { proofs, factor: Some(&Factor::Code { step: 101 }) };
    store.begin_session(&session("one", SessionKind::Session), grounds, AT).await.unwrap();
}

async fn of_tokens_that_are_made_together_no_more_are_made_than_there_is_room_for(database: &Database) {
    let store = with_factor(database).await;
    begin(&store, "one").await;
    let making = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let token = session(&format!("token-{number}"), SessionKind::Token);
            let terms = Terms::from(AT).within(Room::of(3));
            store.begin_session(&token, Grounds::Within("one"), terms).await
        })
    });
    let mut made = 0;
    for outcome in making.collect::<Vec<_>>() {
        match outcome.await.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert!(matches!(error, StoreError::Full { most: 3, .. }), "{error:?}"),
        }
    }
    assert_eq!(made, 3);
    let held = store.sessions(&name("wang.lei")).await.unwrap();
    assert_eq!(held.iter().filter(|held| held.kind == SessionKind::Token).count(), 3);
}

async fn sign_ins_that_wait_for_a_code_do_not_pile_up(database: &Database) {
    let store = with_factor(database).await;
    let proofs = &proofs(&store, PASSWORD).await;
    for number in 0..20 {
        let pending = session(&format!("pending-{number:02}"), SessionKind::Pending);
        let at = AT + Duration::SECOND * number;
        store.begin_session(&pending, Grounds::Shown { proofs, factor: None }, at).await.unwrap();
    }
    let mut left = Vec::new();
    for number in 0..20 {
        if store.session(&digest(&format!("pending-{number:02}"))).await.unwrap().is_some() {
            left.push(number);
        }
    }
    assert_eq!(left, (4..20).collect::<Vec<_>>());
}

/// A request was let through as of a session; then an administrator ended it, say by resetting the password, because
/// somebody else has got hold of it. What the request does comes too late.
async fn nothing_is_done_in_a_session_that_has_ended_meanwhile(database: &Database) {
    let store = with_factor(database).await;
    let who = name("wang.lei");
    begin(&store, "one").await;
    store.begin_second_factor(&who, &[8; 20], Some("one")).await.unwrap();
    store.end_sessions(&who, None, "stolen", AT).await.unwrap();
    let before = account(&store).await;
    let token = session("token", SessionKind::Token);
    let codes = [Secret::new("EEEE4444FFFF5555".to_owned())];
    let (within, secret) = (Some("one"), Secret::new(vec![8; 20]));
    for (what, outcome) in [
        ("token", store.begin_session(&token, Grounds::Within("one"), AT).await),
        ("password", store.change_password(&who, "Zw4nzig!Moorhuhn", 0, within, AT).await.map(drop)),
        ("begin", store.begin_second_factor(&who, &[7; 20], within).await),
        ("confirm", store.confirm_second_factor(&who, (&secret, 200), &codes, within, AT).await.map(drop)),
        ("codes", store.set_recovery_codes(&who, &codes, within).await.map(drop)),
    ] {
        let ended = matches!(outcome, Err(StoreError::NotAllowed { what: "session", state: "ended", .. }));
        assert!(ended, "{what}: {outcome:?}");
    }
    assert_eq!(account(&store).await, before);
    assert!(is_right(&store, "wang.lei", PASSWORD).await);
    assert!(store.session(&digest("token")).await.unwrap().is_none());
    let secret = |pending| {
        let (store, who) = (store.clone(), who.clone());
        async move { store.second_factor(&who, pending).await.unwrap().unwrap().secret.expose()[0] }
    };
    assert_eq!((secret(false).await, secret(true).await), (9, 8));
    // Nobody acts in another's session either.
    let strangers = store.change_password(&who, "Zw4nzig!Moorhuhn", 0, Some("two"), AT).await;
    assert!(matches!(strangers, Err(StoreError::NotFound { what: "session", .. })));
}

const LATER: OffsetDateTime = AT.saturating_add(Duration::days(90));

fn sleeper() -> UnusedAccount {
    UnusedAccount { name: name("wang.lei"), last_use: AT, reason: "unused for 90 days".to_owned(), at: LATER }
}

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: "gateway".to_owned(),
        at: LATER,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "one".to_owned(),
        result_digest: None,
        subject: None,
    }
}

async fn is_on(store: &Store) -> bool {
    account(store).await.state == AccountState::Enabled
}

async fn of_many_gateways_one_turns_an_unused_account_off(database: &Database) {
    let store = with_account(database).await;
    begin(&store, "one").await;
    let mut logs = Vec::new();
    for replica in ["a", "b", "c"] {
        // A SQLite file is one gateway's own: there the replicas are three logs.
        let store = if database.is_sqlite() { store.clone() } else { open(database).await };
        logs.push(AuditLog::start_for(&store, replica).await.unwrap());
    }
    // Twice each: a round that takes long meets the next one.
    let rounds: Vec<_> = logs.iter().chain(&logs).map(|(log, _)| log.clone()).collect();
    let rounds = rounds.into_iter().map(|log| {
        tokio::spawn(
            async move { log.append_turning_off(entry("account.disable"), sleeper()).await.unwrap() },
        )
    });
    let mut done = Vec::new();
    for round in rounds.collect::<Vec<_>>() {
        done.extend(round.await.unwrap());
    }
    assert_eq!(done, [0], "one says so, in a log that was empty");
    let mut entries = 0;
    for (log, writer) in logs {
        entries += log.entries(0, 10).await.unwrap().len();
        writer.finish().await;
    }
    assert_eq!(entries, 1);
    let account = account(&store).await;
    assert_eq!((account.state, account.changed_at), (AccountState::Disabled, LATER));
    assert_eq!(account.reason, "unused for 90 days");
    assert!(has_ended(&store, "one").await);
}

async fn whoever_comes_back_in_time_is_not_turned_off(database: &Database) {
    let store = with_account(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    // Between the look at all accounts and the act the person has signed in.
    let proofs = &proofs(&store, PASSWORD).await;
    let back = session("back", SessionKind::Session);
    let at = AT + Duration::SECOND;
    store.begin_session(&back, Grounds::Shown { proofs, factor: None }, at).await.unwrap();
    let (others, done) =
        tokio::join!(log.append(entry("other")), log.append_turning_off(entry("account.disable"), sleeper()));
    assert_eq!((others.unwrap(), done.unwrap()), (0, None));
    assert!(is_on(&store).await && !has_ended(&store, "back").await);
    assert_eq!(log.append(entry("next")).await.unwrap(), 1, "the log has no gap");
    writer.finish().await;
}

async fn an_account_is_turned_off_with_its_entry_or_not_at_all(database: &Database) {
    let store = with_account(database).await;
    begin(&store, "one").await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let disk_full = match database {
        Database::Sqlite(_) => {
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries
             BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        }
        Database::Postgres(_) => {
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries FOR EACH ROW
             EXECUTE FUNCTION refuse('disk full')"
        }
    };
    let mut raw = database.raw().await;
    raw.execute(disk_full).await.unwrap();
    let failed = log.append_turning_off(entry("account.disable"), sleeper()).await;
    assert!(matches!(failed, Err(StoreError::AuditUnavailable)), "{failed:?}");
    assert!(is_on(&store).await && !has_ended(&store, "one").await);
    let drop_it = if database.is_sqlite() {
        "DROP TRIGGER disk_full"
    } else {
        "DROP TRIGGER disk_full ON audit_entries"
    };
    raw.execute(drop_it).await.unwrap();
    assert_eq!(log.append_turning_off(entry("account.disable"), sleeper()).await.unwrap(), Some(0));
    assert!(!is_on(&store).await && has_ended(&store, "one").await);
    writer.finish().await;
    // What nobody records turns accounts off all the same.
    store.set_account_state(&name("wang.lei"), AccountState::Enabled, "back", AT).await.unwrap();
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let log = log.discarding();
    assert!(log.append_turning_off(entry("account.disable"), sleeper()).await.unwrap().is_some());
    assert!(!is_on(&store).await);
    assert_eq!(log.append_turning_off(entry("account.disable"), sleeper()).await.unwrap(), None);
    writer.finish().await;
}

async fn an_account_that_cannot_be_judged_holds_no_other_entry_up(database: &Database) {
    let store = with_account(database).await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    database.raw().await.execute("UPDATE accounts SET reason = 'y'").await.unwrap();
    let (others, done) =
        tokio::join!(log.append(entry("other")), log.append_turning_off(entry("account.disable"), sleeper()));
    assert_eq!((others.unwrap(), done.unwrap()), (0, None));
    writer.finish().await;
}
