//! Evidence of stamps: due from the stamp's transaction on, taken by one gateway at a time, never changed, on either database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::stamps::{entry, stamp};
use crate::support;

use std::time::Duration;

use store::{AuditLog, EvidenceItems, Hash, NewEvidence, PutOffEvidence, Stamp, Store, StoreError};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    evidence_is_due_with_its_stamp_and_each_record_is_added_once,
    what_is_named_while_it_is_removed_comes_back,
    what_is_over_is_forgotten_and_what_nothing_names_is_removed,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);
const LEASE: Duration = Duration::from_secs(60);

async fn stamped(store: &Store, ids: &[&str]) {
    let (log, _writer) = AuditLog::start(store).await.unwrap();
    for id in ids {
        let stamp = Stamp { template: None, signatures: Vec::new(), ..stamp(id) };
        log.append_stamp(entry(id), stamp, None).await.unwrap();
    }
}

fn record(stamp: &str, number: usize, text: &str, items: Vec<Hash>) -> NewEvidence {
    NewEvidence {
        stamp: stamp.to_owned(),
        core: "core".to_owned(),
        number,
        record: text.to_owned(),
        items,
        due_at: AT + time::Duration::days(100),
    }
}

async fn evidence_is_due_with_its_stamp_and_each_record_is_added_once(database: &Database) {
    let store = database.create().await;
    stamped(&store, &["one", "two"]).await;
    assert_eq!(store.evidence("one").await.unwrap(), None);
    assert_eq!(store.evidence_figures(AT).await.unwrap(), (2, 0));
    let before = store.claim_evidence("a", LEASE, 10, AT - Duration::from_secs(1)).await.unwrap();
    assert!(before.is_empty(), "nothing is due yet: {before:?}");

    let first = store.claim_evidence("a", LEASE, 1, AT).await.unwrap();
    let second = store.claim_evidence("b", LEASE, 10, AT).await.unwrap();
    let names =
        |claimed: &[store::DueEvidence]| claimed.iter().map(|one| one.stamp.clone()).collect::<Vec<_>>();
    assert_eq!((names(&first), names(&second)), (vec!["one".to_owned()], vec!["two".to_owned()]));
    assert!(store.claim_evidence("c", LEASE, 10, AT).await.unwrap().is_empty(), "both are held");

    // What is put off comes again when it is due, and says how often it was tried; whoever does not hold it puts nothing off.
    let put_off = |due_at, was_tried| [PutOffEvidence { stamp: "two".to_owned(), due_at, was_tried }];
    store.put_off_evidence("b", &put_off(AT, false)).await.unwrap();
    store.put_off_evidence("b", &put_off(AT + LEASE, true)).await.unwrap();
    let again = store.claim_evidence("b", LEASE, 10, AT).await.unwrap();
    assert_eq!((names(&again), again[0].tries), (vec!["two".to_owned()], 0), "nobody came to it");
    store.put_off_evidence("b", &put_off(AT + LEASE, true)).await.unwrap();
    // The first gateway was lost: when its claim has ended another one takes both, and it comes back too late.
    let later = AT + LEASE;
    let taken = store.claim_evidence("c", LEASE, 10, later).await.unwrap();
    let tries: Vec<_> = taken.iter().map(|one| (one.stamp.as_str(), one.tries)).collect();
    assert_eq!(tries, [("one", 0), ("two", 1)]);
    assert_eq!(store.add_evidence("a", &[record("one", 0, "late", Vec::new())]).await.unwrap(), 0);
    let new = [record("one", 0, "first", vec![[1; 32]]), record("two", 0, "first", vec![[1; 32]])];
    assert_eq!(store.add_evidence("c", &new).await.unwrap(), 2);
    assert_eq!(store.add_evidence("c", &new).await.unwrap(), 0, "they are let go of");
    let kept = store.evidence("one").await.unwrap().unwrap();
    assert_eq!((kept.core.as_str(), &kept.records[..]), ("core", &["first".to_owned()][..]));
    assert_eq!((kept.items, kept.due_at), (vec![[1; 32]], AT + time::Duration::days(100)));
    assert_eq!(store.evidence_figures(later).await.unwrap(), (0, 0));

    // A renewal, under what is there.
    let due = AT + time::Duration::days(100);
    assert_eq!(store.evidence_figures(due).await.unwrap(), (0, 2));
    let claimed = store.claim_evidence("d", LEASE, 1, due).await.unwrap();
    assert_eq!(
        (claimed[0].core.as_deref(), &claimed[0].records[..]),
        (Some("core"), &["first".to_owned()][..])
    );
    assert_eq!(store.add_evidence("d", &[record("one", 0, "again", Vec::new())]).await.unwrap(), 0);
    assert_eq!(store.add_evidence("d", &[record("one", 1, "second", vec![[2; 32]])]).await.unwrap(), 1);
    let kept = store.evidence("one").await.unwrap().unwrap();
    assert_eq!(
        (kept.records, kept.items),
        (vec!["first".to_owned(), "second".to_owned()], vec![[1; 32], [2; 32]])
    );

    let mut raw = database.raw().await;
    for statement in [
        "UPDATE stamp_evidence_records SET record = 'other'",
        "UPDATE stamp_evidence SET core = 'other'",
        "UPDATE stamp_evidence SET core = NULL",
    ] {
        assert!(raw.execute(statement).await.is_err(), "{statement}");
    }
}

async fn what_is_named_while_it_is_removed_comes_back(database: &Database) {
    let store = database.create().await;
    stamped(&store, &["one", "two"]).await;
    let folder = tempfile::tempdir().unwrap();
    let items = EvidenceItems::folder(folder.path()).unwrap();
    let now = OffsetDateTime::now_utc();
    let later = now + time::Duration::DAY;
    store.claim_evidence("a", LEASE, 2, AT).await.unwrap();
    // Written long ago and found there; then the sweep comes, and only then it is named.
    let (first, second) =
        (items.put(b"first".to_vec(), now).await.unwrap(), items.put(b"second".to_vec(), now).await.unwrap());
    assert_eq!(items.remove_unnamed(&store, later, later).await.unwrap(), 0);
    store.add_evidence("a", &[record("one", 0, "first", vec![first])]).await.unwrap();
    // This one is written anew as well, as it was not to be found.
    assert_eq!(items.put(b"second".to_vec(), later).await.unwrap(), second);
    store.add_evidence("a", &[record("two", 0, "second", vec![second])]).await.unwrap();
    // What is aside is damaged; it does not take the place of what is not.
    let aside = std::fs::read_dir(folder.path().join("aside")).unwrap().map(|file| file.unwrap().path());
    let of_second = hex::encode(second);
    let aside = aside.into_iter().find(|path| path.to_str().unwrap().contains(&of_second)).unwrap();
    std::fs::write(aside, b"sec").unwrap();
    for hours in 0..4 {
        let at = later + time::Duration::HOUR * hours;
        assert_eq!(items.remove_unnamed(&store, at, at).await.unwrap(), 0);
        assert_eq!(items.get(&first).await.unwrap(), b"first");
        assert_eq!(items.get(&second).await.unwrap(), b"second");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("aside")).unwrap().count(), 0);
}

async fn what_is_over_is_forgotten_and_what_nothing_names_is_removed(database: &Database) {
    let store = database.create().await;
    stamped(&store, &["one"]).await;
    let folder = tempfile::tempdir().unwrap();
    let items = EvidenceItems::folder(folder.path()).unwrap();
    let now = OffsetDateTime::now_utc();
    let (named, unnamed) = (
        items.put(b"named".to_vec(), now).await.unwrap(),
        items.put(b"unnamed".to_vec(), now).await.unwrap(),
    );
    assert_eq!(items.put(b"named".to_vec(), now).await.unwrap(), named, "the same is the same");
    store.claim_evidence("a", LEASE, 1, AT).await.unwrap();
    store.add_evidence("a", &[record("one", 0, "first", vec![named])]).await.unwrap();

    let sweep = async |at: OffsetDateTime| items.remove_unnamed(&store, at, at).await.unwrap();
    assert_eq!(sweep(now - time::Duration::DAY).await, 0, "they are new");
    let later = now + time::Duration::DAY;
    assert_eq!(sweep(later).await, 0, "it is set aside");
    assert_eq!(items.get(&unnamed).await.unwrap(), b"unnamed", "and there for who was about to name it");
    assert_eq!(sweep(later + time::Duration::MINUTE).await, 0);
    assert_eq!(sweep(later + time::Duration::HOUR).await, 1);
    assert_eq!(items.get(&named).await.unwrap(), b"named");
    assert!(matches!(items.get(&unnamed).await, Err(StoreError::Blobs { .. })));
    std::fs::write(folder.path().join("items").join(hex::encode(named)), b"other").unwrap();
    assert!(matches!(items.get(&named).await, Err(StoreError::Altered { .. })));

    assert_eq!(store.forget_evidence(AT, 10).await.unwrap(), 0, "its time is not over");
    assert_eq!(store.forget_evidence(AT + Duration::from_secs(1), 10).await.unwrap(), 1);
    assert_eq!(store.evidence("one").await.unwrap(), None);
    assert_eq!((sweep(later).await, sweep(later + time::Duration::HOUR).await), (0, 1));
    assert!(store.stamp("one").await.unwrap().is_some(), "the register keeps the stamp");
}
