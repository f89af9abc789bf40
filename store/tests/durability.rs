//! What was answered is on disk: seen from outside the process, by killing and by tracing it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use store::{AuditEntry, AuditLog, Store, leaf_hash};
use support::{Database, on_both_databases, server};

on_both_databases! {
    every_answered_entry_survives_a_kill_and_the_log_goes_on,
}

/// The program that appends.
const APPENDER: &str = env!("CARGO_BIN_EXE_audit-append");

/// The program, about to append to a database.
fn appender(database: &Database, tasks: &str, each: &str) -> Command {
    let mut command = Command::new(APPENDER);
    if let Database::Postgres(_) = database {
        command.env("PGPASSWORD", server().password());
    }
    command.args([&database.url(), tasks, each]).stdout(Stdio::piped());
    command
}

async fn every_answered_entry_survives_a_kill_and_the_log_goes_on(database: &Database) {
    let mut child = appender(database, "64", "1000000").spawn().unwrap();
    let mut answered = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while answered.len() < 3000 {
        answered.extend(answer(&lines.next().expect("the appender runs until it is killed").unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said between the last line read and its death counts too.
    answered.extend(lines.map_while(Result::ok).filter_map(|line| answer(&line)));

    let store = Store::open(database.access()).await.unwrap();
    let mut stored = Vec::new();
    loop {
        let page = store.audit_entries(stored.len() as u64, 1000).await.unwrap();
        if page.is_empty() {
            break;
        }
        stored.extend(page);
    }
    for (index, request_id) in &answered {
        let found = &stored[usize::try_from(*index).unwrap()];
        assert_eq!((found.index, found.leaf_hash), (*index, leaf_hash(&found.entry)));
        let entry: AuditEntry = serde_json::from_slice(&found.entry).unwrap();
        assert_eq!(&entry.request_id, request_id);
    }

    let (log, writer) = AuditLog::start(&store).await.unwrap();
    let next: AuditEntry = serde_json::from_slice(&stored[0].entry).unwrap();
    let index = log.append(next).await.unwrap();
    writer.finish().await;
    // A server may still have finished what the killed program had begun.
    assert!(index >= stored.len() as u64, "{index} {}", stored.len());
    assert_eq!(store.audit_entries(index, 10).await.unwrap().len(), 1, "it is the last");
}

fn answer(line: &str) -> Option<(u64, String)> {
    let (index, request_id) = line.strip_prefix("answered ")?.split_once(' ')?;
    Some((index.parse().ok()?, request_id.to_owned()))
}

#[test]
fn the_write_ahead_log_is_synced_between_every_append_and_its_answer() {
    const APPENDS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
    let trace = folder.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=write,fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(APPENDER)
        .args([&url, "1", &APPENDS.to_string()])
        .stdout(Stdio::null())
        .status()
        .expect("this test needs strace: apt-get install strace");
    assert!(status.success(), "{status}");

    let trace = std::fs::read_to_string(&trace).unwrap();
    let mut answered = 0;
    let (mut started, mut synced) = (false, false);
    for line in trace.lines() {
        let is_sync = line.contains("fsync(") || line.contains("fdatasync(");
        if line.contains(&format!("\"append 0-{answered}\\n\"")) {
            (started, synced) = (false, false);
        } else if is_sync && line.contains("gateway.db-wal>") {
            started = true;
            synced |= line.ends_with("= 0");
        } else if line.contains("sync resumed>") {
            synced |= started && line.ends_with("= 0");
        } else if line.contains(&format!("\"answered {answered} 0-{answered}\\n\"")) {
            assert!(synced, "entry {answered} was answered before it was on disk");
            answered += 1;
        }
    }
    assert_eq!(answered, APPENDS, "the trace does not show every answer");
}

#[tokio::test]
async fn the_server_syncs_its_write_ahead_log_for_every_append() {
    const APPENDS: u64 = 20;
    let database = Database::postgres();
    database.create().await.close().await;
    let syncs =
        || server().query("postgres", "SELECT wal_sync FROM pg_stat_wal").trim().parse::<u64>().unwrap();
    let before = syncs();
    let status = appender(&database, "1", &APPENDS.to_string()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
    // A session's counts are added up when it ends, which the server notices in its own time.
    for _ in 0..6_000 {
        if syncs() >= before + APPENDS {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} syncs for {APPENDS} appends", syncs() - before);
}
