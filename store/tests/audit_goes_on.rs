//! The log goes on after somebody changed it behind the gateway's back: what he did is never signed as the gateway's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::audit_support;
use crate::support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use audit_support::{AT, Kept, SoftSigner, anybody, entry};
use store::{
    Archive, ArchiveError, AuditEntry, AuditLog, LogRecord, REMOVAL, Store, Verification, VerifyOrder,
    Witness, checkpoint_text, leaf_hash, removal_subject, signed_note,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;

on_both_databases! {
    a_rewritten_past_is_not_signed_after_a_restart,
    a_rewritten_past_does_not_lead_from_the_checkpoint_that_was_left,
    a_log_under_another_name_is_not_this_gateways,
    an_entry_with_a_code_under_another_secret_is_not_this_gateways,
    what_an_operator_adopts_is_signed_again_and_nothing_else,
    a_checkpoint_that_cannot_be_remembered_is_signed_and_said_to_be,
    an_entry_that_somebody_inserts_under_a_running_gateway_is_never_signed,
    an_entry_that_somebody_appends_while_the_gateway_is_down_is_not_signed,
    a_database_that_was_put_back_as_a_whole_is_noticed,
    what_a_gateway_wrote_and_nobody_signed_is_signed_after_a_restart,
    failed_commits_do_not_make_a_log_an_altered_one,
    a_log_that_is_cut_below_its_last_checkpoint_under_a_running_gateway_says_so,
    entries_from_before_there_were_codes_are_signed,
    a_checkpoint_that_covers_more_than_there_is_stops_signing_and_says_so,
    a_checkpoint_by_a_key_that_is_not_the_sites_is_not_gone_by,
    an_entry_leaves_for_the_archive_by_its_own_time_only,
    the_end_of_an_archived_range_is_what_its_last_entry_says,
    each_removed_range_has_to_be_recorded_by_the_gateway_itself,
    what_was_removed_before_its_time_is_found_by_the_times_in_the_log,
    heads_of_other_logs_are_believed_by_their_signatures_and_remembered_in_the_own_log,
}

const NEVER: Duration = Duration::from_secs(3600);

/// Drops every trigger, as whoever tampers would, and runs the statements.
async fn tamper(database: &Database, statements: &[String]) {
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

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A statement that puts another entry in the place of one, with the hash that fits.
fn forged(index: u64) -> String {
    let entry = AuditEntry { device: Some("d9".into()), ..entry(index) }.canonical_json().unwrap();
    let hash = hex(&leaf_hash(&entry));
    format!("UPDATE audit_entries SET entry = x'{}', leaf_hash = x'{hash}' WHERE idx = {index}", hex(&entry))
}

/// A removal some days after the last entry of its range.
fn removal(actor: &str, (from, until): (u64, u64), days: i64) -> AuditEntry {
    let at = AT + time::Duration::days(days);
    AuditEntry {
        action: REMOVAL.into(),
        actor: actor.into(),
        at,
        outcome: "intended".into(),
        subject: Some(removal_subject(from, until, AT)),
        ..entry("removal")
    }
}

/// A statement that appends an entry of somebody else's.
fn appended(index: u64, entry: AuditEntry) -> String {
    let entry = entry.canonical_json().unwrap();
    format!(
        "INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash)
         VALUES (1, {index}, 1714950489, x'{}', x'{}')",
        hex(&entry),
        hex(&leaf_hash(&entry))
    )
}

/// A log with checkpoints over 10 and over 300 entries, by a gateway that has this folder.
async fn write_log(database: &Database, folder: &Path) {
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder).await;
    kept.append(0..10).await;
    kept.until_signed(10).await;
    kept.append(10..300).await;
    kept.until_signed(300).await;
    kept.finish().await.close().await;
}

/// Starts the gateway again and has it write an entry: answers why it signs nothing, and what it signed last.
async fn goes_on(database: &Database, folder: &Path) -> (String, u64) {
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder).await;
    let reason = kept.until_altered().await;
    kept.append(1000..1001).await;
    let record = kept.record();
    let store = kept.finish().await;
    let newest = store.audit_checkpoint(record.id, None).await.unwrap();
    store.close().await;
    (reason, newest.map_or(0, |newest| newest.size))
}

async fn record_of(store: &Store) -> LogRecord {
    store.audit_logs().await.unwrap().remove(0)
}

async fn verified(database: &Database, archive: Option<&Archive>) -> Verification {
    let store = database.create().await;
    let record = record_of(&store).await;
    let order = VerifyOrder { archive, notes: &[], judge: &anybody };
    let found = store.verify_audit(&record, &order, |_, _| {}).await.unwrap();
    store.close().await;
    found
}

/// Everything that a thorough forger does: the entry, its hash, no tile and no checkpoint that tells of what was there.
fn rewritten() -> Vec<String> {
    let mut statements = vec![forged(17), "DELETE FROM audit_tiles".to_owned()];
    statements.push("DELETE FROM audit_checkpoints WHERE size > 17".to_owned());
    statements
}

async fn a_rewritten_past_is_not_signed_after_a_restart(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    tamper(database, &rewritten()).await;
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("remembers"), "{reason}");
    assert!(signed <= 17, "{signed}");
    let found = verified(database, None).await;
    assert!(found.unsigned >= 284, "nobody signed for it: {found:?}");

    // Also where what was remembered is gone: the entry has not the gateway's code.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "checkpoint") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("did not write entry 17"), "{reason}");
    assert!(signed <= 17, "{signed}");
}

async fn a_rewritten_past_does_not_lead_from_the_checkpoint_that_was_left(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    tamper(database, &[forged(17), "DELETE FROM audit_tiles".to_owned()]).await;
    // A gateway that remembers nothing.
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1, NEVER).await;
    let reason = kept.until_altered().await;
    assert!(reason.contains("the newest checkpoint, over 300 entries"), "{reason}");
    kept.append(300..301).await;
    let record = kept.record();
    let store = kept.finish().await;
    assert_eq!(store.audit_checkpoint(record.id, None).await.unwrap().unwrap().size, 300);
    store.close().await;
}

async fn a_log_under_another_name_is_not_this_gateways(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    let renamed = "UPDATE audit_logs SET origin = 'license-gateway/audit/00112233445566778899aabbccddeeff'";
    let mut statements = rewritten();
    statements.extend([renamed.to_owned(), "DELETE FROM audit_checkpoints".to_owned()]);
    tamper(database, &statements).await;
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("the name license-gateway/audit/0011"), "{reason}");
    assert_eq!(signed, 0, "nobody signs it anew");

    // Nor one that is another replica's by now, nor where no checkpoint was remembered and no entry has a code.
    tamper(
        database,
        &[
            "UPDATE audit_logs SET replica = 'other'".to_owned(),
            "UPDATE audit_entries SET code = NULL".to_owned(),
        ],
    )
    .await;
    std::fs::remove_file(folder.path().join("gateway.checkpoint")).unwrap();
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("another log's"), "{reason}");
    assert_eq!(signed, 0);
}

async fn an_entry_with_a_code_under_another_secret_is_not_this_gateways(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let signer = SoftSigner::new(7);
    signer.fails.store(true, Ordering::Relaxed);
    let kept = Kept::start_guarded(database.create().await, &signer, folder.path()).await;
    kept.append(0..3).await;
    kept.finish().await.close().await;
    let kept_key = std::fs::read(folder.path().join("gateway.key")).unwrap();
    // The folder was lost, nothing is remembered: codes that are there have to fit all the same.
    std::fs::remove_file(folder.path().join("gateway.key")).unwrap();
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("did not write entry 0"), "{reason}");
    assert_eq!(signed, 0);
    std::fs::write(folder.path().join("gateway.key"), kept_key).unwrap();
    let (reason, _) = goes_on(database, folder.path()).await;
    assert!(reason.contains("did not write entry 3"), "those before are its own again: {reason}");
}

/// Takes the log as it is for the gateway's that has this folder; answers how many entries it has then.
async fn adopt(database: &Database, folder: &Path) -> u64 {
    let store = database.create().await;
    let (log, writer) = AuditLog::start_guarded(&store, "gateway", folder).await.unwrap();
    assert!(log.departure().await.unwrap().is_some());
    log.adopt(entry("adopted")).await.unwrap();
    let size = log.tree_head().await.unwrap().size;
    writer.finish().await;
    store.close().await;
    size
}

async fn what_an_operator_adopts_is_signed_again_and_nothing_else(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    let signer = SoftSigner::new(7);
    signer.fails.store(true, Ordering::Relaxed);
    let kept = Kept::start_guarded(database.create().await, &signer, folder.path()).await;
    kept.append(300..303).await;
    kept.finish().await.close().await;
    // The folder was lost with the host.
    let lost = tempfile::tempdir().unwrap();
    let (reason, signed) = goes_on(database, lost.path()).await;
    assert!(reason.contains("did not write entry 300"), "{reason}");
    assert_eq!(signed, 300);
    assert_eq!(adopt(database, lost.path()).await, 305);
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), lost.path()).await;
    kept.until_signed(305).await;
    assert!(kept.log.departure().await.unwrap().is_none());
    kept.finish().await.close().await;

    // So is one that the database gives another name; what changes after the act is not.
    let renamed = "UPDATE audit_logs SET origin = 'license-gateway/audit/00112233445566778899aabbccddeeff'";
    tamper(database, &[renamed.to_owned(), "DELETE FROM audit_checkpoints".to_owned()]).await;
    assert_eq!(adopt(database, lost.path()).await, 306);
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), lost.path()).await;
    kept.until_signed(306).await;
    kept.finish().await.close().await;
    tamper(
        database,
        &["DELETE FROM audit_checkpoints".to_owned(), forged(17), "DELETE FROM audit_tiles".to_owned()],
    )
    .await;
    std::fs::remove_file(lost.path().join("gateway.checkpoint")).unwrap();
    let (reason, _) = goes_on(database, lost.path()).await;
    assert!(reason.contains("the log that was adopted"), "{reason}");
}

async fn a_checkpoint_that_cannot_be_remembered_is_signed_and_said_to_be(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("gateway.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    kept.append(0..3).await;
    kept.until_signed(3).await;
    let since = kept.signed.borrow().unremembered_since;
    assert!(since.is_some());
    kept.append(3..4).await;
    kept.until_signed(4).await;
    assert_eq!(kept.signed.borrow().unremembered_since, since, "since the first");
    std::fs::remove_dir(&in_the_way).unwrap();
    kept.append(4..5).await;
    kept.until_signed(5).await;
    assert_eq!(kept.signed.borrow().unremembered_since, None);
    kept.finish().await.close().await;
}

async fn an_entry_that_somebody_inserts_under_a_running_gateway_is_never_signed(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let signer = SoftSigner::new(7);
    let kept = Kept::start_guarded(database.create().await, &signer, folder.path()).await;
    kept.append(0..5).await;
    kept.until_signed(5).await;
    let mut raw = database.raw().await;
    raw.execute(&appended(5, removal("gateway", (0, 16384), 183))).await.unwrap();
    assert!(kept.log.append(entry(6)).await.is_err(), "its place is taken");
    assert_eq!(kept.log.append(entry(7)).await.unwrap(), 6, "entries go on");
    let reason = kept.until_altered().await;
    assert!(reason.contains("6 entries"), "{reason}");
    assert!(kept.log.tree_head().await.is_err());
    let record = kept.record();
    let store = kept.finish().await;
    assert_eq!(store.audit_checkpoint(record.id, None).await.unwrap().unwrap().size, 5);
    store.close().await;
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("did not write entry 5"), "{reason}");
    assert_eq!(signed, 5, "nor after a restart");
}

async fn an_entry_that_somebody_appends_while_the_gateway_is_down_is_not_signed(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    database.raw().await.execute(&appended(300, entry("forged"))).await.unwrap();
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("did not write entry 300"), "{reason}");
    assert_eq!(signed, 300);
}

async fn a_database_that_was_put_back_as_a_whole_is_noticed(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    tamper(
        database,
        &[
            "DELETE FROM audit_entries WHERE idx >= 10".to_owned(),
            "DELETE FROM audit_tiles".to_owned(),
            "DELETE FROM audit_checkpoints WHERE size > 10".to_owned(),
        ],
    )
    .await;
    assert!(verified(database, None).await.intact, "nothing in the database says so");
    let (reason, signed) = goes_on(database, folder.path()).await;
    assert!(reason.contains("covers 300 entries, and there are 10"), "{reason}");
    assert_eq!(signed, 10);
}

async fn what_a_gateway_wrote_and_nobody_signed_is_signed_after_a_restart(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    let signer = SoftSigner::new(7);
    signer.fails.store(true, Ordering::Relaxed);
    let kept = Kept::start_guarded(database.create().await, &signer, folder.path()).await;
    kept.append(300..310).await;
    kept.finish().await.close().await;
    signer.fails.store(false, Ordering::Relaxed);
    let kept = Kept::start_guarded(database.create().await, &signer, folder.path()).await;
    kept.until_signed(310).await;
    kept.append(310..311).await;
    kept.until_signed(311).await;
    assert_eq!(kept.signed.borrow().unsigned, None);
    kept.finish().await.close().await;
    assert!(verified(database, None).await.intact);
}

/// Statements by which commits of entries fail, and do no more.
fn full_and_free(database: &Database) -> (&'static str, &'static str) {
    match database {
        Database::Sqlite(_) => (
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'full'); END",
            "DROP TRIGGER disk_full",
        ),
        Database::Postgres(_) => (
            "CREATE TRIGGER disk_full BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse('full')",
            "DROP TRIGGER disk_full ON audit_entries",
        ),
    }
}

async fn a_log_that_is_cut_below_its_last_checkpoint_under_a_running_gateway_says_so(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    kept.append(0..10).await;
    kept.until_signed(10).await;
    let cut = ["DELETE FROM audit_entries WHERE idx >= 5", "DELETE FROM audit_checkpoints WHERE size > 5"];
    tamper(database, &cut.map(str::to_owned)).await;
    // Whatever makes the writer open another connection.
    let (full, free) = full_and_free(database);
    let mut raw = database.raw().await;
    raw.execute(full).await.unwrap();
    assert!(kept.log.append(entry("lost")).await.is_err());
    raw.execute(free).await.unwrap();
    assert_eq!(kept.log.append(entry("after")).await.unwrap(), 5, "entries go on");
    let reason = kept.until_altered().await;
    assert!(reason.contains("5 entries is not the one of 10"), "{reason}");
    assert_eq!(kept.signed.borrow().size, 10);
    kept.finish().await.close().await;
}

async fn failed_commits_do_not_make_a_log_an_altered_one(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    kept.append(0..3).await;
    let mut raw = database.raw().await;
    let (full, free) = full_and_free(database);
    for round in 0..3 {
        raw.execute(full).await.unwrap();
        assert!(kept.log.append(entry("lost")).await.is_err());
        raw.execute(free).await.unwrap();
        assert_eq!(kept.log.append(entry(round)).await.unwrap(), 3 + round);
    }
    kept.until_signed(6).await;
    assert!(kept.log.tree_head().await.is_ok());
    kept.finish().await.close().await;
}

async fn entries_from_before_there_were_codes_are_signed(database: &Database) {
    let (log, writer) = AuditLog::start(&database.create().await).await.unwrap();
    for n in 0..3 {
        log.append(entry(n)).await.unwrap();
    }
    writer.finish().await;
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    kept.until_signed(3).await;
    kept.finish().await.close().await;
}

async fn a_checkpoint_that_covers_more_than_there_is_stops_signing_and_says_so(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    kept.append(0..3).await;
    kept.until_signed(3).await;
    let too_large = "INSERT INTO audit_checkpoints (log, size, at, signer, note)
        SELECT log, 4611686018427387904, at, signer, note FROM audit_checkpoints WHERE size = 3";
    database.raw().await.execute(too_large).await.unwrap();
    kept.append(3..4).await;
    let reason = kept.until_altered().await;
    assert!(reason.contains("another checkpoint"), "{reason}");
    assert_eq!(kept.signed.borrow().size, 3, "what is unsigned counts as unsigned");
    kept.finish().await.close().await;
    let kept = Kept::start_guarded(database.create().await, &SoftSigner::new(7), folder.path()).await;
    assert!(kept.signed.borrow().size <= 4);
    kept.until_altered().await;
    kept.finish().await.close().await;
}

async fn a_checkpoint_by_a_key_that_is_not_the_sites_is_not_gone_by(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_log(database, folder.path()).await;
    let forger = SoftSigner::new(9);
    tamper(database, &rewritten()).await;
    let (log, writer) = AuditLog::start(&database.create().await).await.unwrap();
    let (head, origin) = (log.tree_head().await.unwrap(), log.record().origin.clone());
    writer.finish().await;
    let text = checkpoint_text(&origin, head.size, &head.root, AT);
    let note = signed_note(&text, &origin, &forger.public_key(), &forger.sign_text(&text));
    let key = hex(&forger.public_key().spki_der());
    tamper(
        database,
        &[
            format!("UPDATE audit_signers SET public_key = x'{key}'"),
            format!(
                "INSERT INTO audit_checkpoints (log, size, at, signer, note) VALUES (1, 300, 0, 1, '{note}')"
            ),
        ],
    )
    .await;
    // A gateway that remembers nothing: the register decides whose key it is.
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1, NEVER).await;
    let reason = kept.until_altered().await;
    assert!(reason.contains("no audit key of the site"), "{reason}");
    kept.finish().await.close().await;
}

/// A log of 1,300 signed entries, the first of them as old as they say.
async fn old_log(database: &Database, old: u64) {
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1000, NEVER).await;
    kept.append(0..1300).await;
    kept.finish().await.close().await;
    tamper(database, &[written_at(AT.unix_timestamp(), old)]).await;
}

fn written_at(at: i64, until: u64) -> String {
    format!("UPDATE audit_entries SET written_at = {at} WHERE idx < {until}")
}

async fn an_entry_leaves_for_the_archive_by_its_own_time_only(database: &Database) {
    let kept = Kept::start(database.create().await, &SoftSigner::new(7), 1000, NEVER).await;
    kept.append(0..256).await;
    let now = OffsetDateTime::now_utc();
    for n in 256..520_u64 {
        kept.log.append(AuditEntry { at: now, ..entry(n) }).await.unwrap();
    }
    kept.finish().await.close().await;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(folder.path()).unwrap();
    let store = database.create().await;
    let record = record_of(&store).await;
    let old = now - time::Duration::DAY;
    tamper(database, &[written_at(old.unix_timestamp() - 10, 520)]).await;
    let refused = store.archive_audit(&record, &archive, old).await;
    assert!(matches!(refused, Err(ArchiveError::Misdated(256))), "{refused:?}");
    // As young as they say they are, they stay.
    let statement =
        format!("UPDATE audit_entries SET written_at = {} WHERE idx >= 256", now.unix_timestamp());
    tamper(database, &[statement]).await;
    let moved = store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    assert_eq!((moved.start, moved.until), (0, 256));
    assert_eq!(store.archive_audit(&record, &archive, old).await.unwrap(), None);
    store.close().await;
}

async fn the_end_of_an_archived_range_is_what_its_last_entry_says(database: &Database) {
    old_log(database, 600).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(folder.path()).unwrap();
    let store = database.create().await;
    let record = record_of(&store).await;
    let old = OffsetDateTime::now_utc() - time::Duration::DAY;
    store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let head = log.tree_head().await.unwrap();
    writer.finish().await;
    tamper(database, &["UPDATE audit_segments SET written_at = 0".to_owned()]).await;
    let segment = store.audit_segments(record.id).await.unwrap().remove(0);
    assert_eq!(segment.written_at, 0);
    assert_eq!(store.segment_end(record.id, &archive, &segment, head).await.unwrap(), Some(AT));

    // An older entry in the file, and the register made to agree.
    let path = folder.path().join(&segment.name);
    let text = std::fs::read_to_string(&path).unwrap().replace("2024-05-05T23", "1999-05-05T23");
    std::fs::write(&path, &text).unwrap();
    let digest = hex(&<sm3::Sm3 as sm3::Digest>::digest(&text));
    tamper(database, &[format!("UPDATE audit_segments SET digest = x'{digest}'")]).await;
    let segment = store.audit_segments(record.id).await.unwrap().remove(0);
    let refused = store.segment_end(record.id, &archive, &segment, head).await;
    assert!(matches!(refused, Err(ArchiveError::Broken(511))), "{refused:?}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(store.segment_end(record.id, &archive, &segment, head).await.unwrap(), None);
    store.close().await;
}

async fn each_removed_range_has_to_be_recorded_by_the_gateway_itself(database: &Database) {
    old_log(database, 600).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(folder.path()).unwrap();
    let store = database.create().await;
    let record = record_of(&store).await;
    let old = OffsetDateTime::now_utc() - time::Duration::DAY;
    store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    tamper(database, &[written_at(AT.unix_timestamp(), 1100)]).await;
    store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    let kept = Kept::start(store, &SoftSigner::new(7), 1, Duration::from_millis(1)).await;
    kept.log.append(removal("gateway", (0, 512), 183)).await.unwrap();
    kept.log.append(removal("portal", (512, 1024), 183)).await.unwrap();
    kept.finish().await.close().await;
    let removed = |start: u64| format!("UPDATE audit_segments SET removed_at = 1 WHERE start = {start}");
    let back = "UPDATE audit_segments SET removed_at = NULL".to_owned();
    for (statements, first) in [
        (vec![removed(0)], None),
        (vec![back.clone(), removed(512)], Some(512)),
        (vec![removed(0)], Some(512)),
    ] {
        tamper(database, &statements).await;
        let found = verified(database, Some(&archive)).await;
        assert_eq!((found.intact, found.first_broken), (first.is_none(), first), "{found:?}");
        assert!(found.findings.iter().all(|finding| finding.code == "removal_not_recorded"), "{found:?}");
    }
}

async fn what_was_removed_before_its_time_is_found_by_the_times_in_the_log(database: &Database) {
    old_log(database, 600).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::folder(folder.path()).unwrap();
    let store = database.create().await;
    let record = record_of(&store).await;
    let old = OffsetDateTime::now_utc() - time::Duration::DAY;
    store.archive_audit(&record, &archive, old).await.unwrap().unwrap();
    tamper(database, &["UPDATE audit_segments SET removed_at = 1".to_owned()]).await;
    let unsaid = AuditEntry { subject: Some("0 before 512".into()), ..removal("gateway", (0, 512), 400) };
    let early = removal("gateway", (0, 512), 182);
    for (entry, found) in
        [(early, "182 days old"), (unsaid, "how old"), (removal("gateway", (0, 512), 183), "")]
    {
        let kept =
            Kept::start(database.create().await, &SoftSigner::new(7), 1, Duration::from_millis(1)).await;
        kept.log.append(entry).await.unwrap();
        kept.finish().await.close().await;
        let verified = verified(database, Some(&archive)).await;
        let findings: Vec<_> = verified.findings.iter().map(|broken| (broken.code, broken.entry)).collect();
        match found {
            "" => assert!(verified.intact, "{verified:?}"),
            said => {
                assert_eq!(findings, [("removal_too_early", Some(0))], "{verified:?}");
                assert!(verified.findings[0].detail.contains(said), "{verified:?}");
            }
        }
    }
    store.close().await;
}

async fn heads_of_other_logs_are_believed_by_their_signatures_and_remembered_in_the_own_log(
    database: &Database,
) {
    let signer = SoftSigner::new(7);
    let kept = Kept::start(database.create().await, &signer, 1, Duration::from_millis(1)).await;
    kept.append(0..3).await;
    kept.until_signed(3).await;
    let other = kept.record();
    let store = kept.finish().await;
    let (log, writer) = AuditLog::start_for(&store, "second").await.unwrap();
    let own = log.record().id;
    let keys = [signer.public_key().spki_der()];
    let heads = store.audit_heads_beside(own, &keys).await.unwrap();
    let head = heads[0].1.clone().unwrap();
    assert_eq!((heads.len(), head.size, &head.origin), (1, 3, &other.origin));
    let stranger = [SoftSigner::new(9).public_key().spki_der()];
    assert_eq!(store.audit_heads_beside(own, &stranger).await.unwrap(), [(other, None)]);

    assert_eq!(store.audit_heads_vouched(own).await.unwrap(), []);
    let earlier = Witness { size: 1, ..head.clone() };
    for head in [&earlier, &head] {
        log.append(head.entry(AT, "r".to_owned())).await.unwrap();
    }
    let by_somebody =
        AuditEntry { actor: "portal".into(), ..Witness { size: 9, ..head.clone() }.entry(AT, "r".into()) };
    log.append(by_somebody).await.unwrap();
    writer.finish().await;
    assert_eq!(store.audit_heads_vouched(own).await.unwrap(), [head], "the last one, by the gateway itself");
    store.close().await;
}
