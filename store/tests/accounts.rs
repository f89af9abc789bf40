//! People: passwords, second factors, sessions, tries, and what an altered row is worth.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::people_support;
use crate::support;

use std::collections::BTreeSet;

use config::Secret;
use people_support::{
    AT, PASSWORD, account, begin, begin_by, digest, has_ended, insert, is_right, name, open, proofs, session,
    with_account, with_factor,
};
use store::{
    AccountState, DataKey, DataKeys, Factor, Grounds, NewAccount, PasswordCheck, Patience, Role, Room,
    SessionKind, Store, StoreError, Terms, Tried, Try,
};
use support::{Database, on_both_databases};
use time::Duration;

on_both_databases! {
    a_password_is_its_accounts_and_nobody_elses,
    without_a_data_key_there_is_no_account,
    the_database_alone_shows_no_password_and_no_secret,
    a_password_used_before_is_not_taken_again,
    roles_that_are_not_for_one_person_are_refused,
    a_name_is_given_once,
    a_code_counts_once_over_all_replicas,
    a_recovery_code_counts_once,
    a_factor_counts_only_when_it_was_confirmed,
    a_session_that_ended_stays_ended,
    whatever_changes_what_a_person_is_proved_by_ends_the_sessions,
    a_disabled_account_begins_no_session,
    an_account_that_was_altered_signs_nobody_in,
    a_session_that_was_altered_counts_for_nothing,
    a_session_cannot_be_made_in_the_database,
    under_a_new_data_key_everything_goes_on,
    tries_are_counted_for_names_that_nobody_has_too,
    a_pause_ends_and_success_forgets,
    tries_of_one_kind_are_none_of_another,
    the_use_of_a_right_is_noted_once_and_never_goes_back,
    what_was_decided_on_an_older_row_changes_no_account,
    no_more_accounts_are_made_than_may_be,
}

const PATIENCE: Patience = Patience { tries: 3, pause: Duration::MINUTE, longest: Duration::HOUR };

async fn a_password_is_its_accounts_and_nobody_elses(database: &Database) {
    let store = with_account(database).await;
    assert!(is_right(&store, "wang.lei", PASSWORD).await);
    for (who, password) in [
        ("wang.lei", "kT7-vepo-Quah"),
        ("wang.lei", ""),
        ("wang.lei", "kT7-vepo-Quag "),
        ("li.na", PASSWORD),
        ("Wang.lei", PASSWORD),
    ] {
        assert!(!is_right(&store, who, password).await, "{who} {password}");
    }
    let wrong = store.check_password(Some(&name("wang.lei")), "x").await.unwrap();
    assert!(matches!(wrong, PasswordCheck::Wrong { known: true }));
    let unknown = store.check_password(Some(&name("li.na")), "x").await.unwrap();
    assert!(matches!(unknown, PasswordCheck::Wrong { known: false }));
}

async fn without_a_data_key_there_is_no_account(database: &Database) {
    let store = database.create().await;
    assert!(matches!(insert(&store, "wang.lei", &[]).await, Err(StoreError::Locked)));
    assert!(store.count_accounts().await.unwrap() == 0);
}

async fn the_database_alone_shows_no_password_and_no_secret(database: &Database) {
    let store = with_factor(database).await;
    store.count_try(Tried::SignIn("canary-typed-as-name"), PATIENCE, AT).await.unwrap();
    store.close().await;
    let contents = database.contents();
    let holds = |text: &[u8]| contents.windows(text.len()).any(|part| part == text);
    for secret in [
        PASSWORD.as_bytes(),
        "王磊".as_bytes(),
        b"$argon2id$",
        &[9; 20],
        b"AAAA0000BBBB1111",
        b"canary-typed-as-name",
    ] {
        assert!(!holds(secret), "{}", String::from_utf8_lossy(secret));
    }
    assert!(holds(b"wang.lei"), "the content is what is looked at");
}

async fn a_password_used_before_is_not_taken_again(database: &Database) {
    let store = with_account(database).await;
    let who = name("wang.lei");
    let passwords = ["Nie3wieder%Regen", "Zw4nzig!Moorhuhn", "b9d4-c07e-6F1a"];
    for (number, password) in passwords.iter().enumerate() {
        let at = AT + Duration::hours(number as i64 + 1);
        let changed = store.change_password(&who, password, 2, None, at).await.unwrap();
        assert_eq!((changed.password_set_at, changed.one_time_until), (at, None));
        assert!(is_right(&store, "wang.lei", password).await);
    }
    for used in &passwords {
        let refused = store.change_password(&who, used, 2, None, AT).await;
        assert!(matches!(refused, Err(StoreError::NotAllowed { state: "password", .. })), "{used}");
    }
    // The first one was so long ago that it is forgotten.
    store.change_password(&who, PASSWORD, 2, None, AT).await.unwrap();
}

async fn roles_that_are_not_for_one_person_are_refused(database: &Database) {
    let store = open(database).await;
    for (number, roles) in [
        &[Role::SystemAdmin, Role::SecurityAdmin][..],
        &[Role::SystemAdmin, Role::AuditAdmin],
        &[Role::SecurityAdmin, Role::AuditAdmin],
        &[Role::AuditAdmin, Role::Operator],
    ]
    .into_iter()
    .enumerate()
    {
        let refused = insert(&store, &format!("p{number}"), roles).await;
        assert!(matches!(refused, Err(StoreError::Unacceptable { .. })), "{roles:?}");
    }
    insert(&store, "wang.lei", &[Role::SecurityAdmin]).await.unwrap();
    let both = BTreeSet::from([Role::SecurityAdmin, Role::SystemAdmin]);
    let refused = store.change_account(&name("wang.lei"), "王磊", &both, AT).await;
    assert!(matches!(refused, Err(StoreError::Unacceptable { .. })));
    assert_eq!(account(&store).await.roles, BTreeSet::from([Role::SecurityAdmin]));
}

async fn a_name_is_given_once(database: &Database) {
    let store = with_account(database).await;
    store.set_account_state(&name("wang.lei"), AccountState::Disabled, "left", AT).await.unwrap();
    let again = insert(&store, "wang.lei", &[]).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    let removed = database.raw().await.execute("DELETE FROM accounts").await;
    assert!(removed.is_err(), "an account is never deleted");
}

async fn a_code_counts_once_over_all_replicas(database: &Database) {
    let store = with_factor(database).await;
    // A SQLite file is one gateway's own: there the replicas are two tasks.
    let other = if database.is_sqlite() { store.clone() } else { open(database).await };
    let proofs = proofs(&store, PASSWORD).await;
    for step in 101..111 {
        let code = Factor::Code { step };
        let begun = |store: Store, id: String| {
            let (code, proofs) = (code.clone(), proofs.clone());
            tokio::spawn(async move {
                let session = session(&id, SessionKind::Session);
                let grounds = Grounds::Shown { proofs: &proofs, factor: Some(&code) };
                store.begin_session(&session, grounds, AT).await
            })
        };
        let (one, two) =
            tokio::join!(begun(store.clone(), format!("a{step}")), begun(other.clone(), format!("b{step}")));
        let outcomes = [one.unwrap(), two.unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{step}");
        let refused = outcomes.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(refused, StoreError::NotAllowed { state: "code", .. }), "{refused:?}");
    }
    let earlier = store.use_factor(&name("wang.lei"), &Factor::Code { step: 105 }).await;
    assert!(matches!(earlier, Err(StoreError::NotAllowed { .. })), "one step back counts no more either");
    assert_eq!(store.sessions(&name("wang.lei")).await.unwrap().len(), 10);
}

async fn a_recovery_code_counts_once(database: &Database) {
    let store = with_factor(database).await;
    assert_eq!(account(&store).await.recovery_codes_left, 2);
    let code = Factor::Recovery(Secret::new("AAAA0000BBBB1111".to_owned()));
    assert_eq!(store.use_factor(&name("wang.lei"), &code).await.unwrap().recovery_codes_left, 1);
    for used in [code, Factor::Recovery(Secret::new(String::new()))] {
        let again = store.use_factor(&name("wang.lei"), &used).await;
        assert!(matches!(again, Err(StoreError::NotAllowed { .. })));
    }
}

async fn a_factor_counts_only_when_it_was_confirmed(database: &Database) {
    let store = with_account(database).await;
    let who = name("wang.lei");
    let code = store.use_factor(&who, &Factor::Code { step: 100 }).await;
    assert!(matches!(code, Err(StoreError::NotAllowed { .. })));
    let (secret, other) = (Secret::new(vec![9; 20]), Secret::new(vec![8; 20]));
    let nothing = store.confirm_second_factor(&who, (&secret, 1), &[], None, AT).await;
    assert!(matches!(nothing, Err(StoreError::NotAllowed { state: "complete", .. })));
    store.begin_second_factor(&who, &[9; 20], None).await.unwrap();
    assert!(store.second_factor(&who, false).await.unwrap().is_none());
    assert_eq!(store.second_factor(&who, true).await.unwrap().unwrap().secret.expose(), &[9; 20]);
    // A code of a secret that another one took the place of since confirms nothing.
    let replaced = store.confirm_second_factor(&who, (&other, 100), &[], None, AT).await;
    assert!(matches!(replaced, Err(StoreError::NotAllowed { state: "complete", .. })), "{replaced:?}");
    store.confirm_second_factor(&who, (&secret, 100), &[], None, AT).await.unwrap();
    // Another one that is begun leaves the one that counts as it is.
    store.begin_second_factor(&who, &[8; 20], None).await.unwrap();
    let known = store.second_factor(&who, false).await.unwrap().unwrap();
    assert_eq!((known.secret.expose().as_slice(), known.last_step), (&[9; 20][..], 100));
}

async fn a_session_that_ended_stays_ended(database: &Database) {
    let store = with_account(database).await;
    let who = name("wang.lei");
    begin(&store, "one").await;
    begin(&store, "two").await;
    assert!(!has_ended(&store, "one").await);
    store.end_session(&who, "one", "signed out", AT).await.unwrap();
    assert!(has_ended(&store, "one").await && !has_ended(&store, "two").await);
    let revived = "UPDATE account_sessions SET ended_at = NULL, ended_reason = NULL WHERE id = 'one'";
    assert!(database.raw().await.execute(revived).await.is_err());
    let ids: Vec<_> = store.sessions(&who).await.unwrap().into_iter().map(|session| session.id).collect();
    assert_eq!(ids, ["two"]);
    // What was replaced once is replaced by nothing else.
    let next = session("three", SessionKind::Session);
    let in_place = Grounds::InPlaceOf { session: "two", factor: None };
    store.begin_session(&next, in_place, AT).await.unwrap();
    let fourth = session("four", SessionKind::Session);
    let again = store.begin_session(&fourth, in_place, AT).await;
    assert!(matches!(again, Err(StoreError::NotAllowed { .. })));
    assert!(store.session(&digest("four")).await.unwrap().is_none());
    let strangers = store.end_session(&name("li.na"), "three", "x", AT).await;
    assert!(matches!(strangers, Err(StoreError::NotFound { .. })), "nobody ends what is another's");
}

async fn whatever_changes_what_a_person_is_proved_by_ends_the_sessions(database: &Database) {
    let store = with_factor(database).await;
    let who = name("wang.lei");
    let (mut number, until) = (0, AT + Duration::DAY);
    let mut fresh = || {
        number += 1;
        format!("s{number}")
    };
    for act in 0..6 {
        let (kept, other) = (fresh(), fresh());
        begin_by(&store, &kept, [PASSWORD, "Zw4nzig!Moorhuhn", "Other-7vepo-1"][act.min(2)]).await;
        let token = session(&other, SessionKind::Token);
        store.begin_session(&token, Grounds::Within(&kept), AT).await.unwrap();
        let keeps = match act {
            0 => store.change_password(&who, "Zw4nzig!Moorhuhn", 0, Some(&kept), AT).await.map(|_| true),
            1 => store.reset_password(&who, "Other-7vepo-1", until, 0, AT).await.map(|_| false),
            2 => store.reset_second_factor(&who, AT).await.map(|_| false),
            3 => {
                let secret = Secret::new(vec![3; 20]);
                store.begin_second_factor(&who, secret.expose(), Some(&kept)).await.unwrap();
                store.confirm_second_factor(&who, (&secret, 1), &[], Some(&kept), AT).await.map(|_| true)
            }
            4 => store.end_sessions(&who, None, "x", AT).await.map(|_| false),
            _ => store.set_account_state(&who, AccountState::Disabled, "left", AT).await.map(|_| false),
        };
        assert_eq!(!has_ended(&store, &kept).await, keeps.unwrap(), "{act}");
        assert!(has_ended(&store, &other).await, "{act}");
    }
}

async fn a_disabled_account_begins_no_session(database: &Database) {
    let store = with_account(database).await;
    let who = name("wang.lei");
    let proofs = &proofs(&store, PASSWORD).await;
    let grounds = Grounds::Shown { proofs, factor: None };
    store.set_account_state(&who, AccountState::Disabled, "left", AT).await.unwrap();
    let refused = store.begin_session(&session("one", SessionKind::Session), grounds, AT).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { .. })));
    store.set_account_state(&who, AccountState::Enabled, "back", AT).await.unwrap();
    begin(&store, "one").await;
    assert_eq!(account(&store).await.last_seen_at, Some(AT));
}

async fn an_account_that_was_altered_signs_nobody_in(database: &Database) {
    for change in [
        r#"roles = '["security-admin"]'"#,
        "state = 'enabled', reason = ''",
        "one_time_until = NULL",
        "recovery_codes = '[\"00\"]'",
        "totp_step = 0",
        "totp_secret = NULL, totp_since = NULL",
        "password_set_at = 1999999999",
        "password = x'00'",
        "revision = revision + 1",
        "code = x'00'",
    ] {
        let copy = with_factor_copy(database, change).await;
        let store = open(&copy).await;
        assert!(!is_right(&store, "wang.lei", PASSWORD).await, "{change}");
        assert!(store.accounts().await.unwrap().is_empty(), "{change}");
        let altered = store.account(&name("wang.lei")).await;
        assert!(matches!(altered, Err(StoreError::Altered { .. })), "{change}: {altered:?}");
        assert!(store.session(&digest("one")).await.unwrap().is_none(), "{change}");
        let token = session("two", SessionKind::Token);
        let begun = store.begin_session(&token, Grounds::Within("one"), AT).await;
        assert!(matches!(begun, Err(StoreError::Altered { .. })), "{change}");
        // Nothing that the gateway does later makes it good.
        let enabled = store.set_account_state(&name("wang.lei"), AccountState::Enabled, "", AT).await;
        assert!(matches!(enabled, Err(StoreError::Altered { .. })), "{change}");
        assert!(store.protection().refused_rows() > 0);
        store.close().await;
    }
}

/// A database of its own for each change: a row is altered once.
async fn with_factor_copy(database: &Database, change: &str) -> Database {
    let copy = if database.is_sqlite() { Database::sqlite() } else { Database::postgres() };
    let store = with_factor(&copy).await;
    begin(&store, "one").await;
    if change.starts_with("state") {
        let who = name("wang.lei");
        store.set_account_state(&who, AccountState::Disabled, "left", AT).await.unwrap();
    }
    store.close().await;
    copy.raw().await.execute(&format!("UPDATE accounts SET {change}")).await.unwrap();
    copy
}

async fn a_session_that_was_altered_counts_for_nothing(database: &Database) {
    let store = with_account(database).await;
    for (id, change) in [("a", "used_at = 1999999999"), ("b", "label = 'y'"), ("c", "revision = 7")] {
        begin(&store, id).await;
        assert!(store.session(&digest(id)).await.unwrap().is_some());
        let update = format!("UPDATE account_sessions SET {change} WHERE id = '{id}'");
        database.raw().await.execute(&update).await.unwrap();
        assert!(store.session(&digest(id)).await.unwrap().is_none(), "{change}");
    }
    begin(&store, "d").await;
    // What it is worth cannot be changed at all.
    for change in [
        "expires_at = 1999999999",
        "account = 'other'",
        "kind = 'token'",
        "second_factor = NOT second_factor",
    ] {
        let update = format!("UPDATE account_sessions SET {change} WHERE id = 'd'");
        assert!(database.raw().await.execute(&update).await.is_err(), "{change}");
    }
    let ids: Vec<_> = store.sessions(&name("wang.lei")).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(ids, ["d"]);
}

async fn a_session_cannot_be_made_in_the_database(database: &Database) {
    let store = with_account(database).await;
    begin(&store, "one").await;
    // Another token's digest under the code of a session that there is.
    let copied = "INSERT INTO account_sessions (id, account, kind, digest, label, second_factor, created_at, used_at,
            expires_at, revision, code)
        SELECT 'two', account, kind, x'6666666666666666666666666666666666666666666666666666666666666666', label,
            second_factor, created_at, used_at, expires_at, revision, code FROM account_sessions";
    database.raw().await.execute(copied).await.unwrap();
    assert!(store.session(&[0x66; 32]).await.unwrap().is_none());
    assert!(store.session(&digest("one")).await.unwrap().is_some());
}

async fn under_a_new_data_key_everything_goes_on(database: &Database) {
    let store = with_factor(database).await;
    begin(&store, "one").await;
    store.begin_second_factor(&name("wang.lei"), &[8; 20], None).await.unwrap();
    begin(&store, "altered").await;
    let change = "UPDATE account_sessions SET label = 'y' WHERE id = 'altered'";
    database.raw().await.execute(change).await.unwrap();
    let both = || vec![DataKey::new(1, &[7; 32]), DataKey::new(2, &[6; 32])];
    store.protection().unlock(DataKeys::new(both()).unwrap());
    assert!(is_right(&store, "wang.lei", PASSWORD).await, "also before anything is renewed");
    assert_eq!(store.renew_protection().await.unwrap(), 2);
    assert_eq!(store.renew_protection().await.unwrap(), 0);
    // The first data key is not needed any more.
    store.protection().unlock(DataKeys::new(vec![DataKey::new(2, &[6; 32])]).unwrap());
    assert!(is_right(&store, "wang.lei", PASSWORD).await);
    assert_eq!(account(&store).await.display_name, "王磊");
    let secret = |pending| {
        let store = store.clone();
        async move { store.second_factor(&name("wang.lei"), pending).await.unwrap().unwrap().secret }
    };
    assert_eq!((secret(false).await.expose()[0], secret(true).await.expose()[0]), (9, 8));
    assert!(store.session(&digest("one")).await.unwrap().is_some());
    assert!(store.session(&digest("altered")).await.unwrap().is_none(), "what was altered got no good code");
}

async fn tries_are_counted_for_names_that_nobody_has_too(database: &Database) {
    let store = with_account(database).await;
    for who in ["wang.lei", "nobody", "王磊 \u{0}"] {
        for number in 1..=3 {
            let tried = store.count_try(Tried::SignIn(who), PATIENCE, AT).await.unwrap();
            assert_eq!(tried, Try::Counted { last: number == 3 }, "{who}");
        }
        let paused = store.count_try(Tried::SignIn(who), PATIENCE, AT).await.unwrap();
        assert_eq!(paused, Try::Paused(AT + Duration::MINUTE), "{who}");
    }
    assert_eq!(
        store.count_try(Tried::SignIn("another"), PATIENCE, AT).await.unwrap(),
        Try::Counted { last: false }
    );
    // Many at a time are no way around the count.
    let many = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.count_try(Tried::SignIn("flooded"), PATIENCE, AT).await.unwrap() })
    });
    let mut judged = 0;
    for tried in many.collect::<Vec<_>>() {
        judged += usize::from(matches!(tried.await.unwrap(), Try::Counted { .. }));
    }
    assert_eq!(judged, 3);
}

async fn a_pause_ends_and_success_forgets(database: &Database) {
    let store = open(database).await;
    let (mut at, li) = (AT, Tried::SignIn("li"));
    for pause in [Duration::MINUTE, Duration::minutes(2), Duration::minutes(4)] {
        while let Try::Counted { .. } = store.count_try(li, PATIENCE, at).await.unwrap() {}
        let paused = store.count_try(li, PATIENCE, at + pause - Duration::SECOND).await.unwrap();
        assert_eq!(paused, Try::Paused(at + pause), "it grows");
        at += pause;
    }
    store.clear_tries(li).await.unwrap();
    assert_eq!(store.count_try(li, PATIENCE, at).await.unwrap(), Try::Counted { last: false });
    store.forgive_try(li, at).await.unwrap();
    for number in 1..=3 {
        let tried = store.count_try(li, PATIENCE, at).await.unwrap();
        assert_eq!(tried, Try::Counted { last: number == 3 }, "what was right is not counted");
    }
    assert_eq!(store.forget_tries(at + Duration::HOUR).await.unwrap(), 0);
    assert_eq!(store.forget_tries(at + Duration::days(2)).await.unwrap(), 1);
}

async fn tries_of_one_kind_are_none_of_another(database: &Database) {
    let store = open(database).await;
    let who = name("li");
    let [at_the_door, password, code, alone] = Tried::all_of(&who);
    let count = |tried| store.count_try(tried, PATIENCE, AT);
    let pause = || async { while let Try::Counted { .. } = count(at_the_door).await.unwrap() {} };
    pause().await;
    assert_eq!(
        count(password).await.unwrap(),
        Try::Counted { last: false },
        "a stranger keeps nobody from it"
    );
    for number in 1..=3 {
        assert_eq!(count(code).await.unwrap(), Try::Counted { last: number == 3 });
        // A right password, however often, gives no code more.
        store.clear_tries(password).await.unwrap();
    }
    assert!(matches!(count(code).await.unwrap(), Try::Paused(_)));
    assert_eq!(count(alone).await.unwrap(), Try::Counted { last: false });
    // Whatever is typed as a name is counted as a name.
    for typed in ["own_code", "own_code:li", "own:li", "code", "li\u{0}own_code", "password_alone:li"] {
        assert_eq!(count(Tried::SignIn(typed)).await.unwrap(), Try::Counted { last: false }, "{typed}");
    }
    for tried in Tried::all_of(&who) {
        store.clear_tries(tried).await.unwrap();
        assert_eq!(count(tried).await.unwrap(), Try::Counted { last: false });
    }
}

async fn the_use_of_a_right_is_noted_once_and_never_goes_back(database: &Database) {
    let store = open(database).await;
    for at in [AT, AT + Duration::DAY, AT] {
        store.note_right("person:li", "audit", at).await.unwrap();
    }
    let used = store.rights_used().await.unwrap();
    assert_eq!(used["person:li"]["audit"], AT + Duration::DAY);
}

async fn what_was_decided_on_an_older_row_changes_no_account(database: &Database) {
    let store = with_factor(database).await;
    let who = name("wang.lei");
    let seen = Terms::from(AT).since(Some(account(&store).await.revision));
    store.set_account_state(&who, AccountState::Disabled, "left", AT).await.unwrap();
    let roles = BTreeSet::from([Role::SystemAdmin]);
    for refused in [
        store.set_account_state(&who, AccountState::Enabled, "as approved", seen).await,
        store.change_account(&who, "王磊", &roles, seen).await,
        store.reset_password(&who, "Other-7vepo-1", AT + Duration::DAY, 0, seen).await,
        store.reset_second_factor(&who, seen).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Changed { what: "account", .. })), "{refused:?}");
    }
    let found = account(&store).await;
    assert_eq!((found.state, found.roles.len()), (AccountState::Disabled, 1));
    assert!(found.second_factor_since.is_some());
    let seen = Terms::from(AT).since(Some(found.revision));
    store.set_account_state(&who, AccountState::Enabled, "as approved", seen).await.unwrap();
}

async fn no_more_accounts_are_made_than_may_be(database: &Database) {
    let store = with_account(database).await;
    let making: Vec<_> = (0..4)
        .map(|number| {
            let (store, who) = (store.clone(), format!("person.{number}"));
            tokio::spawn(async move {
                let (name, roles) = (name(&who), BTreeSet::from([Role::Operator]));
                let one_time_until = Some(AT + Duration::DAY);
                let account = NewAccount {
                    name: &name,
                    display_name: "王磊",
                    roles: &roles,
                    password: PASSWORD,
                    one_time_until,
                };
                store.insert_account(&account, Terms::from(AT).within(Room::of(2))).await
            })
        })
        .collect();
    for making in making {
        let made = making.await.unwrap();
        assert!(matches!(made, Ok(()) | Err(StoreError::Full { what: "account", most: 2, .. })), "{made:?}");
    }
    assert_eq!(store.accounts().await.unwrap().len(), 2);
}
