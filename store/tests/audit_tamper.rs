//! Whoever owns the database file and the archive changes them behind the gateway's back: each change is found, and the
//! first broken entry is named. The log of these tests has 1,300 entries, so five full tiles and a tail of 20, and a
//! checkpoint every 100 entries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit_support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_support::{Kept, SoftSigner, anybody};
use sqlx::{AssertSqlSafe, Connection, Row};
use store::{
    Archive, ExportOrder, JudgedKey, Store, Verification, VerifyOrder, checkpoint_text, signed_note,
    verify_export,
};
use tempfile::TempDir;
use time::OffsetDateTime;

const SIZE: u64 = 1300;

fn database(folder: &Path) -> PathBuf {
    folder.join("gateway.db")
}

async fn open(file: &Path) -> Store {
    Store::create(&format!("sqlite://{}", file.display())).await.unwrap()
}

/// The log that tampering starts from; archived up to entry 512 if asked for.
async fn log(archived: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::start(
        open(&database(folder.path())).await,
        &SoftSigner::new(7),
        100,
        Duration::from_secs(3600),
    )
    .await;
    for from in (0..SIZE).step_by(100) {
        kept.append(from..from + 100).await;
        kept.until_signed(from + 100).await;
    }
    let record = kept.record();
    let store = kept.finish().await;
    if archived {
        let archive = archive(folder.path());
        let late = OffsetDateTime::now_utc() + time::Duration::HOUR;
        // Entries 512 and later stay: an archive run in the midst of a log's life.
        let mut raw = raw(folder.path()).await;
        run(
            &mut raw,
            &[
                "DROP TRIGGER audit_entries_no_update",
                "UPDATE audit_entries SET written_at = 0 WHERE idx < 600",
            ],
        )
        .await;
        let before = late - time::Duration::days(1);
        let segment = store.archive_audit(&record, &archive, before).await.unwrap().unwrap();
        assert_eq!((segment.start, segment.until), (0, 512));
        assert_eq!(store.archive_audit(&record, &archive, before).await.unwrap(), None);
    }
    store.close().await;
    folder
}

fn archive(folder: &Path) -> Archive {
    Archive::folder(&folder.join("archive")).unwrap()
}

async fn raw(folder: &Path) -> sqlx::SqliteConnection {
    sqlx::SqliteConnection::connect(&format!("sqlite://{}", database(folder).display())).await.unwrap()
}

async fn run(raw: &mut sqlx::SqliteConnection, statements: &[&str]) {
    for statement in statements {
        sqlx::query(AssertSqlSafe((*statement).to_owned())).execute(&mut *raw).await.unwrap();
    }
}

/// Drops every trigger, as whoever tampers would, and runs the statements.
async fn tamper(folder: &Path, statements: &[&str]) {
    let mut raw = raw(folder).await;
    let triggers = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .fetch_all(&mut raw)
        .await
        .unwrap();
    for row in triggers {
        let name: String = row.get(0);
        run(&mut raw, &[&format!("DROP TRIGGER {name}")]).await;
    }
    run(&mut raw, &["PRAGMA foreign_keys = OFF"]).await;
    run(&mut raw, statements).await;
}

async fn verified(
    folder: &Path,
    notes: &[String],
    judge: &(dyn Fn(&str, &formats::PublicKey, &str) -> JudgedKey + Sync),
) -> Verification {
    let store = open(&database(folder)).await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let archive = folder.join("archive").exists().then(|| archive(folder));
    let order = VerifyOrder { archive: archive.as_ref(), notes, judge };
    store.verify_audit(&record, &order, |_, _| {}).await.unwrap()
}

async fn verify(folder: &Path) -> Verification {
    verified(folder, &[], &anybody).await
}

/// A copy of a log, to be tampered with.
fn copy(of: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let command =
        std::process::Command::new("cp").arg("-r").arg(of.path().join(".")).arg(copy.path()).status();
    assert!(command.unwrap().success());
    copy
}

/// Exactly this finding first, with this entry as the first broken one.
fn assert_broken(found: &Verification, code: &str, first: Option<u64>, what: &str) {
    assert!(!found.intact, "{what}: not noticed");
    assert_eq!((found.findings[0].code, found.first_broken), (code, first), "{what}: {found:?}");
}

fn swap(a: u64, b: u64) -> Vec<String> {
    vec![
        "PRAGMA ignore_check_constraints = ON".to_owned(),
        format!("UPDATE audit_entries SET idx = -1 WHERE idx = {a}"),
        format!("UPDATE audit_entries SET idx = {a} WHERE idx = {b}"),
        format!("UPDATE audit_entries SET idx = {b} WHERE idx = -1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_deletion_reordering_and_truncation_in_the_database_is_found() {
    let good = log(false).await;
    let intact = verify(good.path()).await;
    assert!(intact.intact, "{intact:?}");
    assert_eq!((intact.until, intact.signed, intact.unsigned, intact.checkpoints), (SIZE, SIZE, 0, 13));

    const EDIT: &str =
        "UPDATE audit_entries SET entry = CAST(replace(CAST(entry AS TEXT), '\"d1\"', '\"d9\"') AS BLOB)";
    let edit = |which: u64| format!("{EDIT} WHERE idx = {which}");
    // A thorough forger makes the hash beside the entry fit: SM3 is not among SQLite's functions, so it comes from here.
    let forged = |index: u64| {
        let mut entry = audit_support::entry(index);
        entry.device = Some("d9".into());
        let entry = entry.canonical_json().unwrap();
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        format!(
            "UPDATE audit_entries SET entry = x'{}', leaf_hash = x'{}' WHERE idx = {index}",
            hex(&entry),
            hex(&store::leaf_hash(&entry))
        )
    };
    let cases: Vec<(&str, Vec<String>, &str, Option<u64>)> = vec![
        ("an edited entry", vec![edit(700)], "entry_changed", Some(700)),
        ("an edited entry of the tail", vec![edit(1290)], "entry_changed", Some(1290)),
        ("an entry edited with its hash", vec![forged(700)], "entries_differ_from_checkpoint", Some(700)),
        // No tile holds the tail's hashes: one of those after the last good checkpoint.
        ("an entry of the tail edited with its hash", vec![forged(1290)], "entries_differ_from_checkpoint", Some(1200)),
        ("a deleted entry", vec!["DELETE FROM audit_entries WHERE idx = 5".into()], "entry_missing", Some(5)),
        ("a deleted begin", vec!["DELETE FROM audit_entries WHERE idx < 3".into()], "entry_missing", Some(0)),
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
        ("two entries in each other's place", swap(400, 410), "entries_differ_from_checkpoint", Some(400)),
        ("two of the tail in each other's place", swap(1285, 1286), "entries_differ_from_checkpoint", Some(1200)),
        ("a tail that was cut off", vec!["DELETE FROM audit_entries WHERE idx >= 1250".into()], "entry_missing", Some(1250)),
        (
            "a tail that was cut off with its checkpoints",
            vec![
                "DELETE FROM audit_entries WHERE idx >= 1150".into(),
                "DELETE FROM audit_checkpoints WHERE size > 1100".into(),
            ],
            "entry_missing",
            Some(1150),
        ),
        ("everything deleted", vec!["DELETE FROM audit_entries".into()], "entry_missing", Some(0)),
        ("another hash beside an entry", vec!["UPDATE audit_entries SET leaf_hash = zeroblob(32) WHERE idx = 9".into()], "entry_changed", Some(9)),
        ("a changed tile", vec!["UPDATE audit_tiles SET hashes = zeroblob(8192) WHERE level = 0 AND number = 1".into()], "tile_changed", None),
        ("a changed root of a tile", vec!["UPDATE audit_tiles SET root = zeroblob(32) WHERE level = 0 AND number = 2".into()], "tile_changed", None),
        (
            "a checkpoint over something else",
            vec!["UPDATE audit_checkpoints SET note = replace(note, char(10) || '500' || char(10), char(10) || '501' || char(10)) WHERE size = 500".into()],
            "checkpoint_invalid",
            None,
        ),
        ("a checkpoint that is no text", vec!["UPDATE audit_checkpoints SET note = 'x' WHERE size = 500".into()], "checkpoint_unreadable", None),
    ];
    for (what, statements, code, first) in cases {
        let bad = copy(&good);
        let statements: Vec<_> = statements.iter().map(String::as_str).collect();
        tamper(bad.path(), &statements).await;
        assert_broken(&verify(bad.path()).await, code, first, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_with_all_its_traces_is_found_by_a_checkpoint_known_elsewhere() {
    let good = log(false).await;
    let store = open(&database(good.path())).await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let known = store.audit_checkpoint(record.id, None).await.unwrap().unwrap().note;
    store.close().await;
    let statements = [
        "DELETE FROM audit_entries WHERE idx >= 1000",
        "DELETE FROM audit_tiles WHERE number >= 3",
        "DELETE FROM audit_checkpoints WHERE size > 1000",
    ];
    tamper(good.path(), &statements).await;
    let without = verify(good.path()).await;
    assert!(without.intact, "nothing that is left says so: {without:?}");
    let with = verified(good.path(), &[known], &anybody).await;
    assert_broken(&with, "entry_missing", Some(1000), "a cut that a known checkpoint covers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_written_anew_under_another_key_is_found_by_whoever_knows_the_key() {
    let folder = log(false).await;
    let (good, forger) = (SoftSigner::new(7), SoftSigner::new(9));
    let store = open(&database(folder.path())).await;
    let record = store.audit_logs().await.unwrap().remove(0);
    let root = store.audit_root(record.id, SIZE).await.unwrap();
    store.close().await;
    let text = checkpoint_text(&record.origin, SIZE, &root, audit_support::AT);
    let note = signed_note(&text, &record.origin, &forger.public_key(), &forger.sign_text(&text));
    let hex: String = forger.public_key().spki_der().iter().map(|octet| format!("{octet:02x}")).collect();
    tamper(
        folder.path(),
        &[
            "DELETE FROM audit_checkpoints WHERE size < 1300",
            &format!("UPDATE audit_checkpoints SET note = '{note}'"),
            &format!("UPDATE audit_signers SET public_key = x'{hex}'"),
        ],
    )
    .await;
    assert!(verify(folder.path()).await.intact, "without knowing the key it is a good log");
    let judge = |name: &str, key: &formats::PublicKey, _: &str| JudgedKey {
        name: name.to_owned(),
        trusted: Some(key.spki_der() == good.public_key().spki_der()),
        detail: String::new(),
    };
    assert_broken(&verified(folder.path(), &[], &judge).await, "signer_not_trusted", None, "a forger's key");
}

/// The archive's one file, changed line by line.
fn change_archive(folder: &Path, change: impl Fn(&mut Vec<String>)) {
    let find = std::process::Command::new("find")
        .arg(folder.join("archive"))
        .args(["-name", "*.jsonl"])
        .output()
        .unwrap();
    let file = PathBuf::from(String::from_utf8(find.stdout).unwrap().trim());
    let mut lines: Vec<_> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_deletion_reordering_and_truncation_in_the_archive_is_found() {
    let good = log(true).await;
    let intact = verify(good.path()).await;
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
    for (what, change, code, first) in cases {
        let bad = copy(&good);
        change_archive(bad.path(), change);
        assert_broken(&verify(bad.path()).await, code, first, what);
    }
    let bad = copy(&good);
    std::fs::remove_dir_all(bad.path().join("archive/audit")).unwrap();
    assert_broken(&verify(bad.path()).await, "entry_missing", Some(0), "a file that is gone");
    let bad = copy(&good);
    tamper(bad.path(), &["UPDATE audit_segments SET removed_at = 1"]).await;
    assert_broken(
        &verify(bad.path()).await,
        "removal_not_recorded",
        Some(0),
        "a removal that nobody recorded",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_over_its_archive_and_what_was_not_archived_cannot_be_deleted() {
    let folder = log(true).await;
    let kept = Kept::start(
        open(&database(folder.path())).await,
        &SoftSigner::new(7),
        100,
        Duration::from_secs(3600),
    )
    .await;
    kept.append(SIZE..SIZE + 50).await;
    let record = kept.record();
    let path = kept.store.audit_inclusion(record.id, 3, SIZE).await.unwrap();
    assert_eq!(path.len(), 11, "a proof over archived entries needs nothing of the archive");
    let archived = kept.store.archived_entry(record.id, &archive(folder.path()), 3).await.unwrap();
    assert!(archived.is_some() && kept.store.audit_entry(record.id, 3).await.unwrap().is_none());
    let store = kept.finish().await;
    store.close().await;
    let mut raw = raw(folder.path()).await;
    for statement in [
        "DELETE FROM audit_entries WHERE idx = 512",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_segments",
        "UPDATE audit_segments SET until = 1024",
        "INSERT INTO audit_segments (log, start, until, name, digest, written_at, archived_at) VALUES (1, 768, 1024, 'x', zeroblob(32), 0, 0)",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_checkpoints SET note = ''",
        "INSERT INTO audit_checkpoints (log, size, at, signer, note) VALUES (1, 7, 0, 1, '')",
        "UPDATE audit_tiles SET root = zeroblob(32)",
        "DELETE FROM audit_tiles",
    ] {
        assert!(
            sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut raw).await.is_err(),
            "{statement}"
        );
    }
    let found = verify(folder.path()).await;
    assert!(found.intact && found.until == SIZE + 50, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_verified_as_a_whole_and_in_parts_and_no_change_to_it_goes_unnoticed() {
    let folder = log(true).await;
    let store = open(&database(folder.path())).await;
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
        ("another checkpoint", edited(&part, 2, "\\n1300\\n", "\\n1200\\n"), "checkpoint_invalid", Some(500)),
    ] {
        assert_broken(&judge(&text).unwrap(), code, first, what);
    }
    assert!(judge("{}").is_err() && judge("").is_err());
    assert!(judge(&edited(&whole, 0, "\"version\":1", "\"version\":2")).is_err());
}
