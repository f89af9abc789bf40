//! What was answered is on disk: seen from outside the process, by killing and by tracing it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use store::{AuditEntry, AuditLog, Store, leaf_hash};
use tempfile::TempDir;

/// The program that appends.
const APPENDER: &str = env!("CARGO_BIN_EXE_audit-append");

fn url(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("gateway.db").display())
}

#[tokio::test]
async fn every_answered_entry_survives_a_kill_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        Command::new(APPENDER).args([&url(&folder), "64", "1000000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut answered = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while answered.len() < 3000 {
        answered.extend(answer(&lines.next().expect("the appender runs until it is killed").unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said between the last line read and its death counts too.
    answered.extend(lines.map_while(Result::ok).filter_map(|line| answer(&line)));

    let store = Store::open(&url(&folder)).await.unwrap();
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
    assert_eq!(log.append(next).await.unwrap(), stored.len() as u64);
    writer.finish().await;
}

fn answer(line: &str) -> Option<(u64, String)> {
    let (index, request_id) = line.strip_prefix("answered ")?.split_once(' ')?;
    Some((index.parse().ok()?, request_id.to_owned()))
}

#[test]
fn the_write_ahead_log_is_synced_between_every_append_and_its_answer() {
    const APPENDS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=write,fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(APPENDER)
        .args([&url(&folder), "1", &APPENDS.to_string()])
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
