//! Changes that wait for a second person: decided once, sealed, coded, brought to their end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use store::{ApprovalState, DataKey, DataKeys, Decision, NewApproval, Room, Store, StoreError, Terms};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    what_is_asked_for_comes_back_and_is_sealed,
    of_many_who_decide_at_once_one_does,
    after_its_time_nobody_decides_and_it_expires_once,
    a_row_that_was_altered_is_not_decided_or_shown,
    an_approved_change_of_a_lost_gateway_is_taken_over_once,
    what_has_ended_stays_ended,
    of_what_has_ended_the_remainder_is_kept,
    without_a_data_key_nothing_is_asked_for,
    an_approved_change_keeps_others_of_its_subject_waiting,
    no_more_wait_than_may,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

fn unlock(store: &Store) {
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
}

async fn open(database: &Database) -> Store {
    let store = database.create().await;
    unlock(&store);
    store
}

async fn ask(store: &Store, id: &str) -> Result<(), StoreError> {
    ask_for(store, id, "app.create", "window", AT.into()).await
}

async fn ask_for(
    store: &Store,
    id: &str,
    action: &str,
    subject: &str,
    terms: Terms,
) -> Result<(), StoreError> {
    let new = NewApproval {
        id,
        action,
        subject,
        content: b"the contact is 13800000000",
        reason: "as agreed",
        asked_by: "person:a",
        expires_at: AT + Duration::HOUR,
    };
    store.ask_approval(&new, terms).await
}

fn whole(_: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    None
}

fn approved(by: &str) -> Decision<'_> {
    Decision { state: ApprovalState::Approved, by, reason: "checked", outcome: None }
}

async fn what_is_asked_for_comes_back_and_is_sealed(database: &Database) {
    let store = open(database).await;
    ask(&store, "a1").await.unwrap();
    let error = ask(&store, "a1").await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { what: "approval", .. }), "{error:?}");
    let found = store.approval("a1").await.unwrap();
    assert_eq!((found.state, found.asked_at, found.decided.is_none()), (ApprovalState::Pending, AT, true));
    assert_eq!(found.content.as_slice(), b"the contact is 13800000000");
    assert!(!format!("{found:?}").contains("contact"), "{found:?}");
    for nobody in ["a2", "", "a\0"] {
        let error = store.approval(nobody).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "approval", .. }), "{error:?}");
    }
    assert_eq!(store.approvals(Some(ApprovalState::Pending)).await.unwrap().len(), 1);
    assert_eq!(store.approvals(Some(ApprovalState::Done)).await.unwrap().len(), 0);
    assert_eq!(store.approvals(None).await.unwrap().len(), 1);
    store.close().await;
    let stored = database.contents();
    assert!(!stored.windows(11).any(|window| window == b"13800000000"));
}

async fn of_many_who_decide_at_once_one_does(database: &Database) {
    let store = open(database).await;
    ask(&store, "a1").await.unwrap();
    let deciding: Vec<_> = (0..8)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let by = format!("person:{number}");
                let rejects = Decision { state: ApprovalState::Rejected, ..approved(&by) };
                let decision = if number % 2 == 0 { approved(&by) } else { rejects };
                store.decide_approval("a1", decision, AT, whole).await.map(|decided| (by, decided))
            })
        })
        .collect();
    let mut decided = Vec::new();
    for one in deciding {
        match one.await.unwrap() {
            Ok(one) => decided.push(one),
            Err(error) => {
                assert!(matches!(error, StoreError::NotAllowed { what: "approval", .. }), "{error:?}")
            }
        }
    }
    let [(by, approval)] = decided.as_slice() else { panic!("{decided:?}") };
    assert_eq!(approval.decided.as_ref().unwrap().0, *by);
    assert_eq!(store.approval("a1").await.unwrap().state, approval.state);
}

async fn after_its_time_nobody_decides_and_it_expires_once(database: &Database) {
    let store = open(database).await;
    ask(&store, "a1").await.unwrap();
    ask(&store, "a2").await.unwrap();
    let end = AT + Duration::HOUR;
    store.decide_approval("a2", approved("person:b"), end - Duration::SECOND, whole).await.unwrap();
    assert!(store.expire_approvals(end - Duration::SECOND, whole).await.unwrap().is_empty());
    let error = store.decide_approval("a1", approved("person:b"), end, whole).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAllowed { state: "expired", .. }), "{error:?}");
    let expired = store.expire_approvals(end, whole).await.unwrap();
    let expired: Vec<_> = expired.iter().map(|approval| (approval.id.as_str(), approval.state)).collect();
    assert_eq!(expired, [("a1", ApprovalState::Expired)]);
    assert!(store.expire_approvals(end, whole).await.unwrap().is_empty());
    assert_eq!(store.approvals(Some(ApprovalState::Pending)).await.unwrap().len(), 0);
}

async fn a_row_that_was_altered_is_not_decided_or_shown(database: &Database) {
    let store = open(database).await;
    let mut raw = database.raw().await;
    let unguard = if database.is_sqlite() {
        "DROP TRIGGER approvals_are_fixed; DROP TRIGGER approvals_do_not_go_back"
    } else {
        "ALTER TABLE approvals DISABLE TRIGGER USER"
    };
    raw.execute(unguard).await.unwrap();
    ask(&store, "good").await.unwrap();
    for (number, change) in [
        "subject = 'another'",
        "asked_by = 'person:z'",
        "expires_at = 4102444800",
        "state = 'approved', decided_by = 'person:z', decided_at = 1, carried_by = 'gone', carried_at = 1",
        "content = (SELECT content FROM approvals WHERE id = 'good')",
        "revision = 7",
        "code = NULL",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a{number}");
        ask(&store, &id).await.unwrap();
        raw.execute(&format!("UPDATE approvals SET {change} WHERE id = '{id}'")).await.unwrap();
        for error in [
            store.approval(&id).await.unwrap_err(),
            store.decide_approval(&id, approved("person:b"), AT, whole).await.unwrap_err(),
            store.finish_approval(&id, "ok", AT, whole).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Altered { .. }), "{change}: {error:?}");
        }
    }
    let shown = store.approvals(None).await.unwrap();
    assert_eq!(shown.iter().map(|approval| approval.id.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(store.take_over_approvals(AT, |_| false).await.unwrap().is_empty());
    // A whole row under another id is nobody's either.
    raw.execute(
        "INSERT INTO approvals SELECT 'copied', action, subject, content, reason, asked_by, asked_at, expires_at,
             state, decided_by, decided_at, decision, carried_by, carried_at, finished_at, outcome, revision, code
         FROM approvals WHERE id = 'good'",
    )
    .await
    .unwrap();
    assert!(matches!(store.approval("copied").await.unwrap_err(), StoreError::Altered { .. }));
}

async fn an_approved_change_of_a_lost_gateway_is_taken_over_once(database: &Database) {
    let lost = open(database).await;
    let membership = lost.join("lost", AT).await.unwrap();
    let approve = async |id: &str| {
        ask(&lost, id).await.unwrap();
        lost.decide_approval(id, approved("person:b"), AT, whole).await.unwrap();
    };
    // One after the other: of several approved changes of one subject one is carried out at a time.
    approve("a2").await;
    lost.finish_approval("a2", "ok", AT, whole).await.unwrap();
    approve("a1").await;
    let ids = |taken: Vec<store::Approval>| taken.into_iter().map(|approval| approval.id).collect::<Vec<_>>();
    let at_work = |id: &str| id == "a1";
    assert!(lost.take_over_approvals(AT, at_work).await.unwrap().is_empty(), "it is being carried out");
    if !database.is_sqlite() {
        let other = Store::open(database.access()).await.unwrap();
        unlock(&other);
        let there = other.join("other", AT).await.unwrap();
        assert!(other.take_over_approvals(AT, |_| false).await.unwrap().is_empty(), "that gateway is there");
        membership.leave().await.unwrap();
        assert_eq!(ids(other.take_over_approvals(AT, |_| false).await.unwrap()), ["a1"]);
        let third = Store::open(database.access()).await.unwrap();
        unlock(&third);
        third.join("third", AT).await.unwrap();
        assert!(third.take_over_approvals(AT, |_| false).await.unwrap().is_empty(), "another one has it");
        drop(there);
    } else {
        drop(membership);
        assert_eq!(
            ids(lost.take_over_approvals(AT, |_| false).await.unwrap()),
            ["a1"],
            "from an earlier run"
        );
    }
    lost.finish_approval("a1", "ok", AT, whole).await.unwrap();
    assert!(lost.take_over_approvals(AT, |_| false).await.unwrap().is_empty());
}

async fn what_has_ended_stays_ended(database: &Database) {
    let store = open(database).await;
    for (id, state) in
        [("a1", ApprovalState::Rejected), ("a2", ApprovalState::Withdrawn), ("a3", ApprovalState::Failed)]
    {
        ask(&store, id).await.unwrap();
        let outcome = (state == ApprovalState::Failed).then_some("approval_stale");
        let decision = Decision { state, outcome, ..approved("person:b") };
        let decided = store.decide_approval(id, decision, AT, whole).await.unwrap();
        assert_eq!(
            (decided.state, decided.finished_at, decided.outcome.as_deref()),
            (state, Some(AT), outcome)
        );
        store.finish_approval(id, "ok", AT, whole).await.unwrap_err();
    }
    ask(&store, "a4").await.unwrap();
    store.finish_approval("a4", "ok", AT, whole).await.unwrap_err();
    store.decide_approval("a4", approved("person:b"), AT, whole).await.unwrap();
    assert_eq!(
        store.finish_approval("a4", "app_exists", AT, whole).await.unwrap().state,
        ApprovalState::Failed
    );
    store.finish_approval("a4", "ok", AT, whole).await.unwrap_err();
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE approvals SET state = 'pending' WHERE id = 'a1'",
        "UPDATE approvals SET state = 'approved' WHERE id = 'a4'",
        "UPDATE approvals SET reason = 'other' WHERE id = 'a1'",
        "DELETE FROM approvals",
    ] {
        raw.execute(statement).await.expect_err(statement);
    }
}

async fn of_what_has_ended_the_remainder_is_kept(database: &Database) {
    fn remainder(content: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        assert_eq!(content, b"the contact is 13800000000");
        Some(b"somebody".to_vec().into())
    }
    let store = open(database).await;
    for id in ["a1", "a2", "a3"] {
        ask(&store, id).await.unwrap();
    }
    let content = async |id| store.approval(id).await.unwrap().content.to_vec();
    store.decide_approval("a1", approved("person:b"), AT, remainder).await.unwrap();
    assert_eq!(content("a1").await, b"the contact is 13800000000", "it is to be carried out");
    store.finish_approval("a1", "ok", AT, remainder).await.unwrap();
    let rejected = Decision { state: ApprovalState::Rejected, ..approved("person:b") };
    let answered = store.decide_approval("a2", rejected, AT, remainder).await.unwrap();
    assert_eq!(answered.content.as_slice(), b"somebody");
    assert_eq!(store.expire_approvals(AT + Duration::HOUR, remainder).await.unwrap().len(), 1);
    for id in ["a1", "a2", "a3"] {
        assert_eq!(content(id).await, b"somebody", "{id}");
    }
}

async fn without_a_data_key_nothing_is_asked_for(database: &Database) {
    let store = database.create().await;
    assert!(matches!(ask(&store, "a1").await.unwrap_err(), StoreError::Locked));
    assert!(store.approvals(None).await.unwrap().is_empty());
}

async fn an_approved_change_keeps_others_of_its_subject_waiting(database: &Database) {
    let store = open(database).await;
    let waiting: Vec<_> = (0..6).map(|number| format!("a{number}")).collect();
    for id in &waiting {
        ask(&store, id).await.unwrap();
    }
    ask_for(&store, "b", "app.keys", "office", AT.into()).await.unwrap();
    ask_for(&store, "c", "account.enable", "window", AT.into()).await.unwrap();
    let deciding: Vec<_> = waiting
        .iter()
        .map(|id| {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.decide_approval(&id, approved("person:b"), AT, whole).await })
        })
        .collect();
    let mut under_way = Vec::new();
    for deciding in deciding {
        match deciding.await.unwrap() {
            Ok(approval) => under_way.push(approval.id),
            Err(StoreError::NotAllowed { state: "subject busy", .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(under_way.len(), 1, "{under_way:?}");
    for elsewhere in ["b", "c"] {
        store.decide_approval(elsewhere, approved("person:b"), AT, whole).await.unwrap();
    }
    let other = waiting.iter().find(|id| **id != under_way[0]).unwrap();
    assert_eq!(store.approval(other).await.unwrap().state, ApprovalState::Pending);
    let rejected = Decision { state: ApprovalState::Rejected, ..approved("person:b") };
    store
        .decide_approval(waiting.iter().rfind(|id| **id != under_way[0]).unwrap(), rejected, AT, whole)
        .await
        .unwrap();
    store.finish_approval(&under_way[0], "ok", AT, whole).await.unwrap();
    store.decide_approval(other, approved("person:b"), AT, whole).await.unwrap();
}

async fn no_more_wait_than_may(database: &Database) {
    let store = open(database).await;
    let asking: Vec<_> = (0..6)
        .map(|number| {
            let (store, terms) = (store.clone(), Terms::from(AT).within(Room::of(2)));
            tokio::spawn(async move {
                ask_for(&store, &format!("a{number}"), "app.create", "window", terms).await
            })
        })
        .collect();
    for asking in asking {
        let asked = asking.await.unwrap();
        assert!(
            matches!(asked, Ok(()) | Err(StoreError::Full { what: "approval", most: 2, .. })),
            "{asked:?}"
        );
    }
    let waiting = store.approvals(Some(ApprovalState::Pending)).await.unwrap();
    assert_eq!(waiting.len(), 2);
    let rejected = Decision { state: ApprovalState::Rejected, ..approved("person:b") };
    store.decide_approval(&waiting[0].id, rejected, AT, whole).await.unwrap();
    ask_for(&store, "b", "app.create", "window", Terms::from(AT).within(Room::of(2))).await.unwrap();
}
