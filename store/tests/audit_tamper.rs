//! Whoever owns the database and the archive changes them behind the gateway's back: each change is found, and the first
//! broken entry is named. The log of these tests has 1,300 entries, so five full tiles and a tail of 20, and a checkpoint
//! every 100 entries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::audit_support;
use crate::support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_support::{Kept, SoftSigner, anybody};
use formats::PublicKey;
use store::{
    Archive, ExportOrder, JudgedKey, Note, Store, Verification, VerifyOrder, checkpoint_text, signed_note,
    verify_export,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;

on_both_databases! {
    every_edit_deletion_reordering_and_truncation_in_the_database_is_found,
    what_was_cut_off_with_all_its_traces_is_found_by_a_checkpoint_known_elsewhere,
    a_log_written_anew_under_another_key_is_found_by_whoever_knows_the_key,
    every_edit_deletion_reordering_and_truncation_in_the_archive_is_found,
    a_log_is_intact_also_while_its_entries_are_moved_into_the_archive,
    the_log_goes_on_over_its_archive_and_what_was_not_archived_cannot_be_deleted,
    an_export_is_verified_as_a_whole_and_in_parts_and_no_change_to_it_goes_unnoticed,
}

const SIZE: u64 = 1300;
const NEVER: Duration = Duration::from_secs(3600);

/// Writes the log that tampering starts from.
async fn write_log(database: &Database) {
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 100, NEVER).await;
    for from in (0..SIZE).step_by(100) {
        kept.append(from..from + 100).await;
        kept.until_signed(from + 100).await;
    }
    kept.finish().await.close().await;
}

/// The same, its first 512 entries in an archive.
async fn write_archived_log(database: &Database, folder: &Path) {
    write_log(database).await;
    let entries_stay = match database {
        Database::Sqlite(_) => "DROP TRIGGER audit_entries_no_update",
        Database::Postgres(_) => "DROP TRIGGER audit_entries_no_change ON audit_entries",
    };
    let mut raw = database.raw().await;
    for statement in [entries_stay, &written_when_it_happened(600)] {
        raw.execute(statement).await.unwrap();
    }
    let store = database.create().await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let (archive, old) = (archive(folder), OffsetDateTime::now_utc() - time::Duration::DAY);
    let segment = store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    assert_eq!((segment.start, segment.until), (0, 512));
    assert_eq!(store.archive_audit(&record, &archive, old).await.unwrap(), None);
    store.close().await;
}

/// Makes the first entries as old as they say they are.
fn written_when_it_happened(until: u64) -> String {
    format!(
        "UPDATE audit_entries SET written_at = {} WHERE idx < {until}",
        audit_support::AT.unix_timestamp()
    )
}

fn archive(folder: &Path) -> Archive {
    Archive::folder(folder).unwrap()
}

/// Drops every trigger, as whoever tampers would, and runs the statements.
async fn tamper(database: &Database, statements: &[&str]) {
    let mut raw = database.raw().await;
    let triggers = match database {
        Database::Sqlite(_) => "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'",
        Database::Postgres(_) => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
        }
    };
    for drop in raw.texts(triggers).await {
        raw.execute(&drop).await.unwrap();
    }
    for statement in statements {
        raw.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn verified(
    database: &Database,
    folder: Option<&Path>,
    notes: &[String],
    judge: &(dyn Fn(&str, &PublicKey, &str) -> JudgedKey + Sync),
) -> Verification {
    let store = database.create().await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let archive = folder.map(archive);
    let order = VerifyOrder { archive: archive.as_ref(), notes, judge };
    let found = store.verify_audit(&record, &order, |_, _| {}).await.unwrap();
    store.close().await;
    found
}

async fn verify(database: &Database) -> Verification {
    verified(database, None, &[], &anybody).await
}

async fn verify_archived(database: &Database, folder: &Path) -> Verification {
    verified(database, Some(folder), &[], &anybody).await
}

/// The note of the checkpoint that covers so many entries.
async fn note(store: &Store, size: u64) -> String {
    let record = store.audit_logs().await.unwrap().remove(0);
    store.audit_checkpoint(record.id, Some(size)).await.unwrap().unwrap().note
}

/// Exactly this finding first, with this entry as the first broken one.
fn assert_broken(found: &Verification, code: &str, first: Option<u64>, what: &str) {
    assert!(!found.intact, "{what}: not noticed");
    assert_eq!((found.findings[0].code, found.first_broken), (code, first), "{what}: {found:?}");
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Another entry in the place of one, and, if the forger is thorough, the hash beside it made to fit.
fn forged(index: u64, hash_too: bool) -> Vec<String> {
    let mut entry = audit_support::entry(index);
    entry.device = Some("d9".into());
    let entry = entry.canonical_json().unwrap();
    let hash =
        if hash_too { format!(", leaf_hash = x'{}'", hex(&store::leaf_hash(&entry))) } else { String::new() };
    vec![format!("UPDATE audit_entries SET entry = x'{}'{hash} WHERE idx = {index}", hex(&entry))]
}

fn swapped(a: u64, b: u64) -> Vec<String> {
    vec![
        format!("UPDATE audit_entries SET idx = 100000 WHERE idx = {a}"),
        format!("UPDATE audit_entries SET idx = {a} WHERE idx = {b}"),
        format!("UPDATE audit_entries SET idx = {b} WHERE idx = 100000"),
    ]
}

async fn every_edit_deletion_reordering_and_truncation_in_the_database_is_found(good: &Database) {
    write_log(good).await;
    let intact = verify(good).await;
    assert!(intact.intact, "{intact:?}");
    assert_eq!((intact.until, intact.signed, intact.unsigned, intact.checkpoints), (SIZE, SIZE, 0, 13));

    let store = good.create().await;
    let other_size = note(&store, 500).await.replace("\n500\n", "\n501\n");
    store.close().await;
    let (no_hash, no_hashes) = ("00".repeat(32), "00".repeat(8192));
    let one = |statement: &str| vec![statement.to_owned()];
    let cases: Vec<(&str, Vec<String>, &str, Option<u64>)> = vec![
        ("an edited entry", forged(700, false), "entry_changed", Some(700)),
        ("an edited entry of the tail", forged(1290, false), "entry_changed", Some(1290)),
        ("an entry edited with its hash", forged(700, true), "entries_differ_from_checkpoint", Some(700)),
        // No tile holds the tail's hashes: one of those after the last good checkpoint.
        (
            "an entry of the tail edited with its hash",
            forged(1290, true),
            "entries_differ_from_checkpoint",
            Some(1200),
        ),
        ("a deleted entry", one("DELETE FROM audit_entries WHERE idx = 5"), "entry_missing", Some(5)),
        ("a deleted begin", one("DELETE FROM audit_entries WHERE idx < 3"), "entry_missing", Some(0)),
        (
            "a deletion that was closed up",
            vec![
                "DELETE FROM audit_entries WHERE idx = 300".into(),
                "UPDATE audit_entries SET idx = idx + 100000 WHERE idx > 300".into(),
                "UPDATE audit_entries SET idx = idx - 100001 WHERE idx > 100000".into(),
            ],
            "entries_differ_from_checkpoint",
            Some(300),
        ),
        ("two entries in each other's place", swapped(400, 410), "entries_differ_from_checkpoint", Some(400)),
        (
            "two of the tail in each other's place",
            swapped(1285, 1286),
            "entries_differ_from_checkpoint",
            Some(1200),
        ),
        (
            "a tail that was cut off",
            one("DELETE FROM audit_entries WHERE idx >= 1250"),
            "entry_missing",
            Some(1250),
        ),
        (
            "a tail that was cut off with its checkpoints",
            vec![
                "DELETE FROM audit_entries WHERE idx >= 1150".into(),
                "DELETE FROM audit_checkpoints WHERE size > 1100".into(),
            ],
            "entry_missing",
            Some(1150),
        ),
        ("everything deleted", one("DELETE FROM audit_entries"), "entry_missing", Some(0)),
        (
            "another hash beside an entry",
            vec![format!("UPDATE audit_entries SET leaf_hash = x'{no_hash}' WHERE idx = 9")],
            "entry_changed",
            Some(9),
        ),
        (
            "a changed tile",
            vec![format!("UPDATE audit_tiles SET hashes = x'{no_hashes}' WHERE level = 0 AND number = 1")],
            "tile_changed",
            None,
        ),
        (
            "a changed root of a tile",
            vec![format!("UPDATE audit_tiles SET root = x'{no_hash}' WHERE level = 0 AND number = 2")],
            "tile_changed",
            None,
        ),
        (
            "a checkpoint over something else",
            vec![format!("UPDATE audit_checkpoints SET note = '{other_size}' WHERE size = 500")],
            "checkpoint_invalid",
            None,
        ),
        (
            "a checkpoint that is no note",
            one("UPDATE audit_checkpoints SET note = 'none' WHERE size = 500"),
            "checkpoint_unreadable",
            None,
        ),
    ];
    for (what, statements, code, first) in cases {
        let bad = good.copy();
        let statements: Vec<_> = statements.iter().map(String::as_str).collect();
        tamper(&bad, &statements).await;
        assert_broken(&verify(&bad).await, code, first, what);
    }
}

async fn what_was_cut_off_with_all_its_traces_is_found_by_a_checkpoint_known_elsewhere(database: &Database) {
    write_log(database).await;
    let store = database.create().await;
    let known = note(&store, SIZE).await;
    store.close().await;
    let statements = [
        "DELETE FROM audit_entries WHERE idx >= 1000",
        "DELETE FROM audit_tiles WHERE number >= 3",
        "DELETE FROM audit_checkpoints WHERE size > 1000",
    ];
    tamper(database, &statements).await;
    let without = verify(database).await;
    assert!(without.intact, "nothing that is left says so: {without:?}");
    let with = verified(database, None, &[known], &anybody).await;
    assert_broken(&with, "entry_missing", Some(1000), "a cut that a known checkpoint covers");
}

async fn a_log_written_anew_under_another_key_is_found_by_whoever_knows_the_key(database: &Database) {
    write_log(database).await;
    let (good, forger) = (SoftSigner::new(7), SoftSigner::new(9));
    let store = database.create().await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let root = store.audit_root(record.id, SIZE).await.unwrap();
    store.close().await;
    let text = checkpoint_text(&record.origin, SIZE, &root, audit_support::AT);
    let note = signed_note(&text, &record.origin, &forger.public_key(), &forger.sign_text(&text));
    assert!(Note::parse(&note).unwrap().is_signed_by(&forger.public_key()));
    let statements = [
        "DELETE FROM audit_checkpoints WHERE size < 1300",
        &format!("UPDATE audit_checkpoints SET note = '{note}'"),
        &format!("UPDATE audit_signers SET public_key = x'{}'", hex(&forger.public_key().spki_der())),
    ];
    tamper(database, &statements).await;
    assert!(verify(database).await.intact, "without knowing the key it is a good log");
    let judge = |name: &str, key: &PublicKey, _: &str| JudgedKey {
        name: name.to_owned(),
        trusted: Some(key.spki_der() == good.public_key().spki_der()),
        detail: String::new(),
    };
    let found = verified(database, None, &[], &judge).await;
    assert_broken(&found, "signer_not_trusted", None, "a forger's key");
}

/// The archive's one file.
fn archived_file(folder: &Path) -> PathBuf {
    folder.join("audit/1/000000000000-000000000512.jsonl")
}

async fn a_log_is_intact_also_while_its_entries_are_moved_into_the_archive(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database).await;
    let entries_stay = match database {
        Database::Sqlite(_) => "DROP TRIGGER audit_entries_no_update",
        Database::Postgres(_) => "DROP TRIGGER audit_entries_no_change ON audit_entries",
    };
    let mut raw = database.raw().await;
    for statement in [entries_stay, &written_when_it_happened(1290)] {
        raw.execute(statement).await.unwrap();
    }
    let store = database.create().await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let archive = archive(folder.path());
    let order = VerifyOrder { archive: Some(&archive), notes: &[], judge: &anybody };
    let old = OffsetDateTime::now_utc() - time::Duration::DAY;
    // After the first thousand was read from the database, its successors are where they were not before.
    let mut moved = None;
    let found = store.verify_audit(&record, &order, |read, _| {
        if moved.is_none() {
            let work = store.archive_audit(&record, &archive, old);
            let segment = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
            moved = Some((read, segment.unwrap().unwrap().until));
        }
    });
    let found = found.await.unwrap();
    assert_eq!(moved, Some((1000, 1280)));
    assert!(found.intact, "{:?}", found.findings);
    assert_eq!((found.until, found.unsigned), (SIZE, 0));
    store.close().await;
}

async fn every_edit_deletion_reordering_and_truncation_in_the_archive_is_found(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_archived_log(database, folder.path()).await;
    let intact = verify_archived(database, folder.path()).await;
    assert!(intact.intact, "{intact:?}");
    assert_eq!((intact.until, intact.signed), (SIZE, SIZE));

    // The first line is the head: entry N stands in line N + 1.
    type Change = fn(&mut Vec<String>);
    let cases: [(&str, Change, &str, Option<u64>); 6] = [
        (
            "an edit",
            |lines| lines[101] = lines[101].replace("d1", "d9"),
            "entries_differ_from_checkpoint",
            Some(100),
        ),
        ("a deletion", |lines| drop(lines.remove(41)), "entry_missing", Some(40)),
        (
            "a reordering",
            |lines| {
                let [a, b] = [
                    lines[301].replace("\"index\":300", "\"index\":301"),
                    lines[302].replace("\"index\":301", "\"index\":300"),
                ];
                (lines[301], lines[302]) = (b, a);
            },
            "entries_differ_from_checkpoint",
            Some(300),
        ),
        ("a truncation", |lines| lines.truncate(500), "entry_missing", Some(499)),
        ("a line that is none", |lines| lines[8] = "{".to_owned(), "entry_changed", Some(7)),
        (
            "something beside the entries",
            |lines| lines[0] = lines[0].replace("\"size\":512", "\"size\":513"),
            "archive_changed",
            None,
        ),
    ];
    let file = archived_file(folder.path());
    let good = std::fs::read_to_string(&file).unwrap();
    for (what, change, code, first) in cases {
        let mut lines: Vec<_> = good.lines().map(str::to_owned).collect();
        change(&mut lines);
        let bad: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_ne!(bad, good, "{what}");
        std::fs::write(&file, bad).unwrap();
        assert_broken(&verify_archived(database, folder.path()).await, code, first, what);
    }
    std::fs::remove_file(&file).unwrap();
    let found = verify_archived(database, folder.path()).await;
    assert_broken(&found, "entry_missing", Some(0), "a file that is gone");
    std::fs::write(&file, &good).unwrap();
    assert!(verify_archived(database, folder.path()).await.intact, "the file is back");
    let found = verify(database).await;
    assert_broken(&found, "archive_missing", Some(0), "nobody said where the archive is");
    tamper(database, &["UPDATE audit_segments SET removed_at = 1"]).await;
    let found = verify_archived(database, folder.path()).await;
    assert_broken(&found, "removal_not_recorded", Some(0), "a removal that nobody recorded");
}

async fn the_log_goes_on_over_its_archive_and_what_was_not_archived_cannot_be_deleted(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_archived_log(database, folder.path()).await;
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 100, NEVER).await;
    kept.append(SIZE..SIZE + 50).await;
    let record = kept.record();
    let path = kept.store.audit_inclusion(record.id, 3, SIZE).await.unwrap();
    assert_eq!(path.len(), 11, "a proof over archived entries needs nothing of the archive");
    let archived = kept.store.archived_entry(record.id, &archive(folder.path()), 3).await.unwrap();
    assert!(archived.is_some() && kept.store.audit_entry(record.id, 3).await.unwrap().is_none());
    kept.finish().await.close().await;
    let mut raw = database.raw().await;
    let zero = format!("x'{}'", "00".repeat(32));
    let segment = format!(
        "INSERT INTO audit_segments (log, start, until, name, digest, written_at, archived_at)
         VALUES (1, 768, 1024, 'y', {zero}, 0, 0)"
    );
    let tile = format!("UPDATE audit_tiles SET root = {zero}");
    for (statement, words) in [
        ("DELETE FROM audit_entries WHERE idx = 512", "append-only"),
        ("DELETE FROM audit_entries", "append-only"),
        ("DELETE FROM audit_segments", "never forgotten"),
        ("UPDATE audit_segments SET until = 1024", "what was archived does not change"),
        (segment.as_str(), "the archive grows by the next entry only"),
        ("DELETE FROM audit_checkpoints", "the newest checkpoint stays"),
        ("UPDATE audit_checkpoints SET note = ''", "a checkpoint does not change"),
        (
            "INSERT INTO audit_checkpoints (log, size, at, signer, note) VALUES (1, 7, 0, 1, '')",
            "a checkpoint covers more than the one before",
        ),
        (tile.as_str(), "a tile does not change"),
        ("DELETE FROM audit_tiles", "is never deleted"),
        ("UPDATE audit_signers SET name = 'z'", "who signed does not change"),
        ("DELETE FROM audit_logs", "is never deleted"),
    ] {
        raw.refused(statement, &[words]).await;
    }
    let found = verify_archived(database, folder.path()).await;
    assert!(found.intact && found.until == SIZE + 50, "{found:?}");
}

async fn an_export_is_verified_as_a_whole_and_in_parts_and_no_change_to_it_goes_unnoticed(
    database: &Database,
) {
    let folder = tempfile::tempdir().unwrap();
    write_archived_log(database, folder.path()).await;
    let store = database.create().await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let export = async |from, until, proofs| {
        let (mut out, order) = (Vec::new(), ExportOrder { from, until, proofs });
        let archive = archive(folder.path());
        store.export_audit(&record, Some(&archive), &order, &mut out, |_, _| {}).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let judge = |text: &str| {
        let lines: Vec<_> = text.lines().map(|line| Ok(line.to_owned())).collect();
        verify_export(lines.into_iter(), &anybody, |_, _| {})
    };
    for (from, until, proofs) in
        [(0, None, true), (0, None, false), (500, Some(530), true), (1299, None, true), (7, Some(7), true)]
    {
        let found = judge(&export(from, until, proofs).await).unwrap();
        assert!(found.intact, "{found:?}");
        assert_eq!((found.from, found.until), (from, until.unwrap_or(SIZE)));
    }
    let order = ExportOrder { from: 0, until: Some(SIZE + 1), proofs: true };
    assert!(store.export_audit(&record, None, &order, &mut Vec::<u8>::new(), |_, _| {}).await.is_err());

    let (whole, part) = (export(0, None, false).await, export(500, Some(530), true).await);
    let bare = export(500, Some(530), false).await;
    let edited = |text: &str, line: usize, from: &str, to: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert!(lines[line].contains(from), "{}", lines[line]);
        lines[line] = lines[line].replace(from, to);
        lines.join("\n")
    };
    let without = |text: &str, line: usize| {
        let mut lines: Vec<_> = text.lines().collect();
        lines.remove(line);
        lines.join("\n")
    };
    // Three lines come before the entries.
    for (what, text, code, first) in [
        ("an edit", edited(&whole, 3 + 42, "d1", "d9"), "entries_differ_from_checkpoint", Some(0)),
        ("an edit of a part", edited(&part, 3 + 4, "d1", "d9"), "entry_changed", Some(504)),
        ("a deletion", without(&whole, 3 + 42), "entry_missing", Some(42)),
        ("a deletion in a part", without(&part, 3 + 4), "entry_missing", Some(504)),
        ("the end cut off", without(&part, 3 + 30), "entry_missing", Some(530)),
        ("a part without proofs", bare, "malformed", Some(500)),
        (
            "an edit, and nothing that is signed",
            edited(&without(&without(&whole, 2), 1), 1 + 42, "d1", "d9"),
            "checkpoint_missing",
            Some(0),
        ),
        ("another checkpoint", edited(&part, 2, "\\n1300\\n", "\\n1200\\n"), "checkpoint_invalid", Some(500)),
    ] {
        assert_broken(&judge(&text).unwrap(), code, first, what);
    }
    assert!(judge("{}").is_err() && judge("").is_err());
    assert!(judge(&edited(&whole, 0, "\"version\":1", "\"version\":2")).is_err());
    store.close().await;
}
