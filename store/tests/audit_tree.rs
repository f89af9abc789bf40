//! Checkpoints and proofs of a log in its database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::audit_support;
use crate::support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use audit_support::{Kept, SoftSigner, entry};
use store::{AuditLog, AuditQuery, Note, is_consistent, leaf_hash, root_from_inclusion, root_of};
use support::{Database, on_both_databases};

on_both_databases! {
    every_proof_from_the_database_leads_to_the_root_that_was_signed,
    a_lone_entry_is_signed_after_the_interval_and_no_checkpoint_comes_without_a_new_entry,
    entries_go_on_while_nobody_can_sign_and_are_signed_when_somebody_can,
    a_log_without_a_tree_gets_the_same_one_at_its_next_start,
    each_replica_has_a_log_of_its_own_in_one_database,
    a_search_finds_what_entries_say_and_goes_on_where_it_ended,
}

const LONG: Duration = Duration::from_secs(3600);

async fn every_proof_from_the_database_leads_to_the_root_that_was_signed(database: &Database) {
    let signer = SoftSigner::new(7);
    let kept = Kept::start(database.create().await, &signer, 1000, LONG).await;
    kept.append(0..1000).await;
    kept.until_signed(1000).await;
    kept.append(1000..1300).await;
    let (log, record) = (kept.log.clone(), kept.record());
    let store = kept.finish().await;

    let mut leaves = Vec::new();
    for from in [0, 1000] {
        leaves.extend(log.entries(from, 1000).await.unwrap().iter().map(|entry| leaf_hash(&entry.entry)));
    }
    let checkpoints = store.audit_checkpoints(record.id, 0, 100).await.unwrap();
    let sizes: Vec<_> = checkpoints.iter().map(|checkpoint| checkpoint.size).collect();
    assert_eq!(*sizes.last().unwrap(), 1300, "{sizes:?}: a stop signs what is there");
    for checkpoint in &checkpoints {
        let note = Note::parse(&checkpoint.note).unwrap();
        assert!(note.is_signed_by(&signer.public_key()));
        assert!(!note.is_signed_by(&SoftSigner::new(8).public_key()));
        let size = usize::try_from(note.size).unwrap();
        assert_eq!(
            (&note.origin, note.size, note.root),
            (&record.origin, checkpoint.size, root_of(&leaves[..size]))
        );
    }
    let signers = store.audit_signers(record.id).await.unwrap();
    assert_eq!((signers.len(), &signers[0].public_key), (1, &signer.public_key().spki_der()));

    let root = root_of(&leaves);
    for index in [0, 1, 255, 256, 511, 512, 1023, 1024, 1279, 1280, 1299] {
        for size in [index + 1, 1280, 1300] {
            if size <= index {
                continue;
            }
            let path = store.audit_inclusion(record.id, index, size).await.unwrap();
            let (leaf, at) = (&leaves[usize::try_from(index).unwrap()], usize::try_from(size).unwrap());
            assert_eq!(
                root_from_inclusion(leaf, index, size, &path),
                Some(root_of(&leaves[..at])),
                "{index} in {size}"
            );
            let path = store.audit_consistency(record.id, size, 1300).await.unwrap();
            assert!(is_consistent((size, &root_of(&leaves[..at])), (1300, &root), &path), "{size}");
        }
    }
    assert!(store.audit_inclusion(record.id, 1300, 1300).await.is_err());
    assert!(store.audit_inclusion(record.id, 0, 1301).await.is_err());
    assert!(store.audit_consistency(record.id, 1301, 1300).await.is_err());
}

async fn a_lone_entry_is_signed_after_the_interval_and_no_checkpoint_comes_without_a_new_entry(
    database: &Database,
) {
    let mut kept =
        Kept::start(database.create().await, &SoftSigner::new(7), 1000, Duration::from_millis(20)).await;
    kept.append(0..1).await;
    kept.until_signed(1).await;
    let first = kept.made.recv().await.unwrap();
    assert_eq!(first.size, 1);
    kept.append(1..2).await;
    kept.until_signed(2).await;
    assert_eq!(kept.made.recv().await.unwrap().size, 2, "one checkpoint for each lone entry");
    let record = kept.record();
    let store = kept.finish().await;
    assert_eq!(store.audit_checkpoints(record.id, 0, 10).await.unwrap().len(), 2);
    // A later start has nothing to sign either.
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1, Duration::from_millis(1)).await;
    assert_eq!(kept.signed.borrow().size, 2);
    let store = kept.finish().await;
    assert_eq!(store.audit_checkpoints(record.id, 0, 10).await.unwrap().len(), 2);
}

async fn entries_go_on_while_nobody_can_sign_and_are_signed_when_somebody_can(database: &Database) {
    let signer = SoftSigner::new(7);
    signer.fails.store(true, Ordering::Relaxed);
    let kept = Kept::start(database.create().await, &signer, 10, Duration::from_millis(20)).await;
    kept.append(0..50).await;
    let mut signed = kept.signed.clone();
    let unsigned = signed.wait_for(|signed| signed.unsigned.is_some()).await.unwrap().clone();
    assert_eq!((unsigned.size, unsigned.unsigned.unwrap().reason.as_str()), (0, "no device"));
    kept.append(50..60).await;
    signer.fails.store(false, Ordering::Relaxed);
    kept.until_signed(60).await;
    assert_eq!(kept.signed.borrow().unsigned, None);
    signer.fails.store(true, Ordering::Relaxed);
    kept.append(60..61).await;
    let record = kept.record();
    let store = kept.finish().await;
    let last = store.audit_checkpoint(record.id, None).await.unwrap().unwrap();
    assert_eq!(last.size, 60, "the stop went on without a signature");
}

async fn a_log_without_a_tree_gets_the_same_one_at_its_next_start(database: &Database) {
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1000, LONG).await;
    kept.append(0..700).await;
    let record = kept.record();
    let store = kept.finish().await;
    let root = store.audit_root(record.id, 700).await.unwrap();
    store.close().await;
    let mut raw = database.raw().await;
    let drop_trigger = match database {
        Database::Sqlite(_) => "DROP TRIGGER audit_tiles_no_delete",
        Database::Postgres(_) => "DROP TRIGGER audit_tiles_no_change ON audit_tiles",
    };
    for statement in [drop_trigger, "DELETE FROM audit_tiles"] {
        raw.execute(statement).await.unwrap();
    }
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    assert_eq!(log.append(entry("after")).await.unwrap(), 700);
    assert_eq!(store.audit_root(record.id, 700).await.unwrap(), root);
    let path = store.audit_consistency(record.id, 700, 701).await.unwrap();
    let newer = store.audit_root(record.id, 701).await.unwrap();
    assert!(is_consistent((700, &root), (701, &newer), &path));
    writer.finish().await;
}

async fn each_replica_has_a_log_of_its_own_in_one_database(database: &Database) {
    let store = database.create().await;
    let (east, east_writer) = AuditLog::start_for(&store, "east").await.unwrap();
    let (west, west_writer) = AuditLog::start_for(&store, "west").await.unwrap();
    for n in 0..3 {
        assert_eq!(east.append(entry(n)).await.unwrap(), n);
        assert_eq!(west.append(entry(format!("w{n}"))).await.unwrap(), n);
    }
    assert_ne!(east.record().origin, west.record().origin);
    assert_ne!(
        store.audit_root(east.record().id, 3).await.unwrap(),
        store.audit_root(west.record().id, 3).await.unwrap()
    );
    assert_eq!(store.audit_logs().await.unwrap().len(), 2);
    east_writer.finish().await;
    west_writer.finish().await;
    let (again, writer) = AuditLog::start_for(&store, "east").await.unwrap();
    assert_eq!(again.record(), east.record());
    writer.finish().await;
}

async fn a_search_finds_what_entries_say_and_goes_on_where_it_ended(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let now = time::OffsetDateTime::now_utc();
    for n in 0..300_u64 {
        let mut entry = entry(n);
        entry.at = now;
        entry.actor = ["portal", "window"][usize::from(n % 3 == 0)].to_owned();
        entry.action = if n % 10 == 0 { "device.drain".to_owned() } else { "signature.raw".to_owned() };
        entry.key =
            Some(["demo-sm2", "demo-sm2.v2", "demo-sm2x"][usize::try_from(n % 3).unwrap()].to_owned());
        entry.subject = Some(format!("s{}", n % 7));
        log.append(entry).await.unwrap();
    }
    let id = log.record().id;
    let all = async |query: AuditQuery| {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.search_audit(id, &AuditQuery { cursor, ..query.clone() }).await.unwrap();
            assert!(page.items.len() <= query.limit as usize);
            found.extend(page.items.into_iter().map(|(index, _)| index));
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    };
    let query = || AuditQuery { limit: 7, ..AuditQuery::default() };
    let text = |text: &str| Some(text.to_owned());
    let descending: Vec<_> = (0..300).rev().collect();
    assert_eq!(all(query()).await, descending);
    assert_eq!(all(AuditQuery { oldest_first: true, ..query() }).await, (0..300).collect::<Vec<_>>());
    let of = |wanted: fn(&u64) -> bool| descending.iter().copied().filter(wanted).collect::<Vec<_>>();
    assert_eq!(all(AuditQuery { actor: text("window"), ..query() }).await, of(|n| n % 3 == 0));
    assert_eq!(all(AuditQuery { action: text("device."), ..query() }).await, of(|n| n % 10 == 0));
    assert_eq!(all(AuditQuery { key: text("demo-sm2"), ..query() }).await, of(|n| n % 3 < 2));
    assert_eq!(
        all(AuditQuery { key: text("demo-sm2.v2"), subject: text("s1"), ..query() }).await,
        of(|n| n % 3 == 1 && n % 7 == 1)
    );
    assert_eq!(all(AuditQuery { request_id: text("17"), ..query() }).await, [17]);
    assert!(all(AuditQuery { outcome: text("no"), ..query() }).await.is_empty());
    let (minute, hour) = (time::Duration::MINUTE, time::Duration::HOUR);
    let span = |from, until| AuditQuery { from: Some(from), until: Some(until), ..query() };
    assert_eq!(all(span(now - minute, now + minute)).await, descending);
    assert!(all(span(now - hour, now - minute)).await.is_empty());
    assert!(all(span(now + minute, now + hour)).await.is_empty());
    writer.finish().await;
}
