//! Idempotency keys: who may carry a request out, and what the others learn.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use config::AppId;
use store::{
    AuditEntry, AuditLog, Claim, Claimed, DataKey, DataKeys, IdempotencyId, Keeping, KeptAnswer, Moment,
    NonceSpace, Nonces, Store, StoreError, UnplacedAnswer,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    of_many_at_once_one_carries_the_request_out,
    what_was_answered_is_answered_again_and_another_request_is_not,
    a_released_key_is_free_and_an_unresolved_one_is_not,
    an_abandoned_key_is_taken_over_only_where_that_does_no_harm,
    a_run_that_is_over_holds_no_key,
    an_answer_is_kept_with_its_entry_or_neither_is,
    an_answer_that_is_kept_with_its_entry_is_sealed_and_says_where_the_entry_stands,
    a_fingerprint_is_kept_under_a_code_and_known_under_any_data_key,
    claims_that_wait_together_are_written_together,
    who_goes_away_before_it_has_its_key_leaves_it_free,
    a_claim_whose_answer_was_lost_is_its_own,
    a_claim_that_was_made_after_its_claimer_was_refused_is_given_back,
    what_is_over_is_forgotten_and_nothing_else,
    a_clock_that_jumps_forward_forgets_nothing_and_frees_no_key,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const LEASE: Duration = Duration::from_secs(40);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn claim(key: &str, holder: &str) -> Claim {
    Claim {
        id: IdempotencyId { actor: "app".into(), route: "POST /v1/signatures".into(), key: key.into() },
        fingerprint: [7; 32],
        request_id: format!("request-{holder}"),
        instance: "one/first".into(),
        holder: holder.into(),
        repeatable: true,
        lease: LEASE,
    }
}

fn kept(text: &str) -> KeptAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    KeptAnswer { status: 201, headers, body: text.as_bytes().to_vec() }
}

async fn of_many_at_once_one_carries_the_request_out(database: &Database) {
    let store = database.create().await;
    let claims = (0..32).map(|number| {
        let store = store.clone();
        tokio::spawn(
            async move { store.claim_idempotency(&claim("a", &number.to_string()), AT).await.unwrap() },
        )
    });
    let mut ours = 0;
    for claimed in claims.collect::<Vec<_>>() {
        match claimed.await.unwrap() {
            Claimed::Ours => ours += 1,
            other => assert_eq!(other, Claimed::Running),
        }
    }
    assert_eq!(ours, 1);
    assert_eq!(store.claim_idempotency(&claim("b", "x"), AT).await.unwrap(), Claimed::Ours, "another key");
}

async fn what_was_answered_is_answered_again_and_another_request_is_not(database: &Database) {
    let store = database.create().await;
    let first = claim("a", "first");
    assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Ours);
    assert!(store.keep_answer(&first, &kept("{}")).await.unwrap());
    let again =
        store.claim_idempotency(&claim("a", "again"), AT + DAY - Duration::from_secs(1)).await.unwrap();
    assert_eq!(again, Claimed::Answered(kept("{}")));
    let other = Claim { fingerprint: [8; 32], ..claim("a", "other") };
    assert_eq!(store.claim_idempotency(&other, AT).await.unwrap(), Claimed::Mismatch);
    assert!(!store.keep_answer(&first, &kept("later")).await.unwrap(), "an answer stays as it is");
    assert_eq!(
        store.claim_idempotency(&other, AT + DAY).await.unwrap(),
        Claimed::Ours,
        "after a day it is free"
    );
}

async fn a_released_key_is_free_and_an_unresolved_one_is_not(database: &Database) {
    let store = database.create().await;
    let first = Claim { repeatable: false, ..claim("a", "first") };
    assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Ours);
    store.release_idempotency(&claim("a", "a stranger")).await.unwrap();
    let second = Claim { repeatable: false, ..claim("a", "second") };
    assert_eq!(store.claim_idempotency(&second, AT).await.unwrap(), Claimed::Running);
    store.release_idempotency(&first).await.unwrap();
    assert_eq!(store.claim_idempotency(&second, AT).await.unwrap(), Claimed::Ours);
    store.leave_unresolved(&second).await.unwrap();
    let third =
        store.claim_idempotency(&Claim { repeatable: false, ..claim("a", "third") }, AT).await.unwrap();
    assert_eq!(third, Claimed::Unresolved("request-second".into()));
}

async fn an_abandoned_key_is_taken_over_only_where_that_does_no_harm(database: &Database) {
    let store = database.create().await;
    for (key, repeatable) in [("harmless", true), ("an act", false)] {
        let first = Claim { repeatable, ..claim(key, "first") };
        assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Ours);
        let second = Claim { repeatable, ..claim(key, "second") };
        let early = AT + LEASE - Duration::from_secs(1);
        assert_eq!(store.claim_idempotency(&second, early).await.unwrap(), Claimed::Running, "{key}");
        let claimed = store.claim_idempotency(&second, AT + LEASE).await.unwrap();
        if repeatable {
            assert_eq!(claimed, Claimed::Ours);
            assert!(!store.keep_answer(&first, &kept("late")).await.unwrap(), "it lost its key");
            assert!(store.keep_answer(&second, &kept("{}")).await.unwrap());
        } else {
            assert_eq!(claimed, Claimed::Unresolved("request-first".into()));
            assert!(store.keep_answer(&first, &kept("late")).await.unwrap(), "nobody took its key");
        }
    }
}

async fn a_run_that_is_over_holds_no_key(database: &Database) {
    let store = database.create().await;
    let first = store.join("one", AT).await.unwrap();
    for key in ["again", "elsewhere"] {
        assert_eq!(store.claim_idempotency(&claim(key, "first"), AT).await.unwrap(), Claimed::Ours);
    }
    let act = Claim { repeatable: false, ..claim("an act", "first") };
    assert_eq!(store.claim_idempotency(&act, AT).await.unwrap(), Claimed::Ours);
    let of = |instance: &str, claim: Claim| Claim { instance: instance.into(), ..claim };

    // A SQLite file has one gateway at a time, so another one's run is over at once; a server's may go on.
    let elsewhere = of("two/first", claim("elsewhere", "second"));
    let act = of("two/first", Claim { holder: "second".into(), ..act });
    if database.is_sqlite() {
        assert_eq!(store.claim_idempotency(&elsewhere, AT).await.unwrap(), Claimed::Ours);
    } else {
        assert_eq!(store.claim_idempotency(&elsewhere, AT).await.unwrap(), Claimed::Running);
        assert_eq!(store.claim_idempotency(&act, AT).await.unwrap(), Claimed::Running);
        // As when its process was killed: the server gives the name free.
        drop(first);
        becomes_ours(&store, &elsewhere).await;
        let waits = store.claim_idempotency(&act, AT).await.unwrap();
        assert_eq!(waits, Claimed::Running, "it might yet be on its way");
    }
    // The next run under the same name knows that the one before is over.
    let again = of("one/second", claim("again", "second"));
    assert_eq!(store.claim_idempotency(&again, AT).await.unwrap(), Claimed::Ours);
    let act = of("one/second", act);
    let told = store.claim_idempotency(&act, AT).await.unwrap();
    assert_eq!(told, Claimed::Unresolved("request-first".into()));
}

fn entry(request_id: &str) -> AuditEntry {
    AuditEntry {
        action: "signature.raw".into(),
        actor: "app".into(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".into(),
        request_id: request_id.into(),
        result_digest: None,
        subject: None,
    }
}

async fn an_answer_is_kept_with_its_entry_or_neither_is(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let keeping = |claim: Claim| {
        let answer = UnplacedAnswer { answer: kept("entry  is its own"), index_at: Some(6) };
        Some(Keeping { claim: Arc::new(claim), answer })
    };
    let (held, lost) = (claim("held", "first"), claim("lost", "first"));
    for claim in [&held, &lost] {
        assert_eq!(store.claim_idempotency(claim, AT).await.unwrap(), Claimed::Ours);
    }
    store.release_idempotency(&lost).await.unwrap();
    // All in one batch or in several: the one without its key takes no place.
    let (before, refused, with_key, after) = tokio::join!(
        log.append(entry("before")),
        log.append_keeping(entry("lost"), keeping(lost)),
        log.append_keeping(entry("held"), keeping(held)),
        log.append(entry("after")),
    );
    assert!(matches!(refused, Err(StoreError::AuditUnavailable)));
    let with_key = with_key.unwrap();
    let mut given = [before.unwrap(), with_key, after.unwrap()];
    given.sort_unstable();
    assert_eq!(given, [0, 1, 2]);
    let answered = store.claim_idempotency(&claim("held", "again"), AT).await.unwrap();
    assert_eq!(answered, Claimed::Answered(kept(&format!("entry {with_key} is its own"))));
    let stored = log.entries(0, 10).await.unwrap();
    assert!(stored.iter().all(|stored| !String::from_utf8_lossy(&stored.entry).contains("lost")));
    writer.finish().await;
}

async fn a_fingerprint_is_kept_under_a_code_and_known_under_any_data_key(database: &Database) {
    let store = database.create().await;
    let keys = |newest| DataKeys::new((1..=newest).map(|n| DataKey::new(n, &[7; 32])).collect()).unwrap();
    let held = |claimed| assert_eq!(claimed, Claimed::Running);
    // From before there was a data key.
    assert_eq!(store.claim_idempotency(&claim("old", "1"), AT).await.unwrap(), Claimed::Ours);
    store.protection().unlock(keys(1));
    held(store.claim_idempotency(&claim("old", "2"), AT).await.unwrap());
    assert_eq!(store.claim_idempotency(&claim("new", "3"), AT).await.unwrap(), Claimed::Ours);
    let mut raw = database.raw().await;
    let hex = if database.is_sqlite() { "hex(fingerprint)" } else { "encode(fingerprint, 'hex')" };
    let kept = raw.texts(&format!("SELECT {hex} FROM idempotency_keys ORDER BY key")).await;
    assert_eq!(kept.iter().map(|kept| *kept == "07".repeat(32)).collect::<Vec<_>>(), [false, true]);
    store.protection().unlock(keys(2));
    held(store.claim_idempotency(&claim("new", "4"), AT).await.unwrap());
    let other = Claim { fingerprint: [8; 32], ..claim("new", "5") };
    assert_eq!(store.claim_idempotency(&other, AT).await.unwrap(), Claimed::Mismatch);
}

async fn an_answer_that_is_kept_with_its_entry_is_sealed_and_says_where_the_entry_stands(
    database: &Database,
) {
    const HEAD: &str = r#"{"audit_index":"#;
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[7; 32])]).unwrap());
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    log.append(entry("before")).await.unwrap();
    // One is sealed at once, one beside the threads that serve.
    for (key, octets) in [("small", 100), ("large", 300_000)] {
        let body =
            |index: &str| format!("{HEAD}{index},\"document\":\"{}\"}}", "canary-c0de".repeat(octets / 10));
        let answer = KeptAnswer { status: 201, headers: vec![], body: body("").into_bytes() };
        let answer = UnplacedAnswer { answer, index_at: Some(HEAD.len()) };
        assert_eq!(store.claim_idempotency(&claim(key, "h"), AT).await.unwrap(), Claimed::Ours);
        let keeping = Keeping { claim: claim(key, "h").into(), answer };
        let index = log.append_keeping(entry(key), Some(keeping)).await.unwrap();
        let Claimed::Answered(kept) = store.claim_idempotency(&claim(key, "h"), AT).await.unwrap() else {
            panic!("{key} is not answered")
        };
        assert_eq!(String::from_utf8(kept.body).unwrap(), body(&index.to_string()));
    }
    let stored = database.contents();
    for shown in
        ["canary-c0de".to_owned(), "canary-c0de".bytes().map(|octet| format!("{octet:02x}")).collect()]
    {
        assert!(!stored.windows(shown.len()).any(|window| window == shown.as_bytes()), "{shown}");
    }
    for (key, changed) in [("small", "index_at = index_at - 1"), ("large", "status = 200")] {
        let change = format!("UPDATE idempotency_keys SET {changed} WHERE key = '{key}'");
        database.raw().await.execute(&change).await.unwrap();
        let found = store.claim_idempotency(&claim(key, "h"), AT).await;
        assert!(matches!(found, Err(StoreError::Altered { .. })), "{changed}: {found:?}");
    }
    writer.finish().await;
}

type Claiming = Pin<Box<dyn Future<Output = Claimed>>>;

/// Claims that have begun to wait.
async fn begun(store: &Store, claims: impl IntoIterator<Item = Claim>) -> Vec<Claiming> {
    let mut begun: Vec<Claiming> = claims
        .into_iter()
        .map(|claim| {
            let store = store.clone();
            Box::pin(async move { store.claim_idempotency(&claim, AT).await.unwrap() }) as Claiming
        })
        .collect();
    std::future::poll_fn(|context| {
        for claiming in &mut begun {
            assert!(claiming.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    begun
}

/// Claims this key as soon as it is free.
async fn becomes_ours(store: &Store, claim: &Claim) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while store.claim_idempotency(claim, AT).await.unwrap() != Claimed::Ours {
        assert!(std::time::Instant::now() < until, "the key was not given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn claims_that_wait_together_are_written_together(database: &Database) {
    const TOGETHER: u64 = 64;
    let store = database.create().await;
    let mut raw = database.raw().await;
    raw.block_writers("idempotency_keys").await;
    let claims = (0..TOGETHER).map(|number| claim(&format!("key-{}", number / 2), &number.to_string()));
    let claims = begun(&store, claims).await;
    raw.release().await;
    let mut ours = 0;
    for claimed in claims {
        match claimed.await {
            Claimed::Ours => ours += 1,
            other => assert_eq!(other, Claimed::Running),
        }
    }
    assert_eq!(ours, TOGETHER / 2, "of two for each key one has it");
    // PostgreSQL tells of each row which transaction inserted it.
    if !database.is_sqlite() {
        let inserting = "SELECT count(DISTINCT xmin::text)::text FROM idempotency_keys";
        let written: u64 = raw.texts(inserting).await[0].parse().unwrap();
        assert!(written < TOGETHER / 4, "{written} transactions for {TOGETHER} claims");
    }
}

async fn who_goes_away_before_it_has_its_key_leaves_it_free(database: &Database) {
    let store = database.create().await;
    let mut raw = database.raw().await;
    raw.block_writers("idempotency_keys").await;
    drop(begun(&store, (0..8).map(|number| claim(&format!("key-{number}"), "gone"))).await);
    raw.release().await;
    for number in 0..8 {
        becomes_ours(&store, &claim(&format!("key-{number}"), "next")).await;
    }
}

async fn a_claim_that_was_made_after_its_claimer_was_refused_is_given_back(database: &Database) {
    let store = database.create().await;
    let mut raw = database.raw().await;
    // Longer than anybody waits for it.
    let dawdle = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
                      AS 'BEGIN PERFORM pg_sleep(11); RETURN NEW; END';
                  CREATE TRIGGER dawdle BEFORE INSERT ON idempotency_keys
                      FOR EACH ROW EXECUTE FUNCTION dawdle()";
    match database {
        Database::Sqlite(_) => raw.block_writers("idempotency_keys").await,
        Database::Postgres(_) => raw.execute(dawdle).await.unwrap(),
    }
    let refused = store.claim_idempotency(&claim("a", "first"), AT).await;
    assert!(matches!(refused, Err(StoreError::ClaimsUnavailable)), "{refused:?}");
    match database {
        Database::Sqlite(_) => raw.release().await,
        // It waits until the statement that was given up has been done.
        Database::Postgres(_) => raw.execute("DROP TRIGGER dawdle ON idempotency_keys").await.unwrap(),
    }
    becomes_ours(&store, &Claim { repeatable: false, ..claim("a", "second") }).await;
}

async fn a_claim_whose_answer_was_lost_is_its_own(database: &Database) {
    let store = database.create().await;
    let first = claim("a", "first");
    assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Ours);
    assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Ours);
    assert_eq!(store.claim_idempotency(&claim("a", "second"), AT).await.unwrap(), Claimed::Running);
    assert!(store.keep_answer(&first, &kept("{}")).await.unwrap());
    assert_eq!(store.claim_idempotency(&first, AT).await.unwrap(), Claimed::Answered(kept("{}")));
}

async fn a_clock_that_jumps_forward_forgets_nothing_and_frees_no_key(database: &Database) {
    let store = database.create().await;
    let here = Moment::now();
    let first = claim("a", "first");
    assert_eq!(store.claim_idempotency(&first, here.wall).await.unwrap(), Claimed::Ours);
    assert!(store.keep_answer(&first, &kept("{}")).await.unwrap());
    let (nonces, writer) = Nonces::start(&store).await.unwrap();
    let (app, until) = (AppId::parse("app").unwrap(), here.wall + 2 * DAY);
    assert!(nonces.first_use(NonceSpace::Request, &app, "n", until).await.unwrap());

    // As when a virtual machine goes on with a year that is not now.
    let years = Moment { wall: here.wall + 36_500 * DAY, ..here };
    let now = store.time_to_remove(years).await.unwrap();
    assert!(now - here.wall < Duration::from_secs(600), "{now}");
    assert_eq!(store.forget_idempotency(now).await.unwrap(), 0);
    assert_eq!(store.forget_nonces(now).await.unwrap(), 0);
    let again = store.claim_idempotency(&claim("a", "again"), store.reckoned(years)).await.unwrap();
    assert_eq!(again, Claimed::Answered(kept("{}")));
    // With the steady clock too far ahead, as after a start by a wrong clock, the server's still counts.
    let both = Moment { wall: years.wall, steady: here.steady + 36_500 * DAY };
    let now = store.time_to_remove(both).await.unwrap();
    assert_eq!(now - here.wall < Duration::from_secs(600), !database.is_sqlite(), "{now}");
    // Time that did pass counts.
    let passed = Moment { wall: here.wall + DAY, steady: here.steady + DAY };
    assert_eq!(store.reckoned(passed), here.wall + DAY);
    assert_eq!(store.forget_idempotency(here.wall + DAY).await.unwrap(), 1);
    assert_eq!(store.forget_nonces(here.wall + 3 * DAY).await.unwrap(), 1);
    let offset = store.server_clock_offset().await.unwrap();
    assert_eq!(offset.is_some(), !database.is_sqlite());
    assert!(offset.is_none_or(|offset| offset.abs() < Duration::from_secs(60)), "one machine: {offset:?}");
    writer.finish().await;
}

async fn what_is_over_is_forgotten_and_nothing_else(database: &Database) {
    let store = database.create().await;
    for (key, at) in [("old", AT), ("new", AT + Duration::from_secs(10))] {
        assert_eq!(store.claim_idempotency(&claim(key, key), at).await.unwrap(), Claimed::Ours);
    }
    assert_eq!(store.forget_idempotency(AT + DAY - Duration::from_secs(1)).await.unwrap(), 0);
    assert_eq!(store.forget_idempotency(AT + DAY).await.unwrap(), 1);
    let other = Claim { fingerprint: [8; 32], ..claim("new", "x") };
    assert_eq!(store.claim_idempotency(&other, AT + DAY).await.unwrap(), Claimed::Mismatch);
}
