//! What is kept of an app that is frozen: its entry in the register, its part of the audit log, and where to look in
//! the log, in a folder of their own whose digest goes into the audit log.
//!
//! `manifest.json` names every other file with its SM3; the audit entry `app.freeze` names the manifest's. Whoever
//! changes a file later changes one of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use config::AppId;
use serde_json::{Value, json};
use store::{LogRecord, StoredEntry};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::AppResponse;
use super::act::{AppOrder, Evidence, sm3_hex};
use crate::problem::Problem;
use crate::state::Gateway;

/// How far back an app's audit entries are copied; older ones stay in the audit log.
const REACH: Duration = Duration::days(30);
/// Most entries that are copied from one log, the newest; the rest stay in the audit log.
const MOST: usize = 50_000;
/// Audit entries read at a time.
const PAGE: u64 = 1000;

/// Keeps the evidence on an app that has just been frozen.
///
/// # Errors
/// It could not be read or written.
pub(super) async fn freeze(
    gateway: &Gateway,
    app: &AppId,
    order: &AppOrder,
    at: OffsetDateTime,
) -> Result<Evidence, Problem> {
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let mut known = register.app(app).map(|known| json!(AppResponse::new(known))).unwrap_or_default();
    if let Some(members) = known.as_object_mut() {
        members.remove("contacts"); // people, whom the register keeps sealed
    }
    let (mut entries, mut complete) = (Vec::new(), true);
    for log in gateway.store.audit_logs().await.map_err(|error| Problem::database(&error))? {
        let found = entries_of(gateway, &log, app, at - REACH).await?;
        complete &= found.len() < MOST;
        entries.extend(found.into_iter().map(|found| (log.origin.clone(), found)));
    }
    let requests: BTreeSet<&str> =
        entries.iter().filter_map(|(_, (_, entry))| entry["request_id"].as_str()).collect();
    let lines = entries.iter().map(|(log, (stored, entry))| {
        let leaf_hash = hex::encode(stored.leaf_hash);
        let line = json!({"log": log, "index": stored.index, "leaf_hash": leaf_hash, "entry": entry});
        format!("{line}\n")
    });
    let folder = gateway.config.folder.join("evidence");
    let time = at.unix_timestamp();
    let folder = folder.join(format!("{app}-{time}-{}", order.request_id));
    let files = [
        ("app.json", format!("{known:#}\n")),
        ("audit.jsonl", lines.collect::<String>()),
        ("requests.txt", requests.into_iter().map(|id| format!("{id}\n")).collect()),
    ];
    let about = json!({
        "app": app.as_str(),
        "frozen_at": at.format(&Rfc3339).unwrap_or_default(),
        "frozen_by": order.actor,
        "reason": order.reason,
        "request_id": order.request_id,
        "audit_entries": {"count": entries.len(), "complete": complete, "since": (at - REACH).format(&Rfc3339).unwrap_or_default()},
        "log": {
            "process": std::process::id(),
            "where": "the standard error of this process; each line names the request_id of its request",
            "requests": "requests.txt",
        },
    });
    let writing = folder.clone();
    let written = tokio::task::spawn_blocking(move || write(&writing, &files, about)).await;
    let digest = written.map_err(std::io::Error::other).and_then(|digest| digest);
    let digest = digest.map_err(|error| Problem::evidence_failed(&error))?;
    tracing::warn!(app = %app, folder = %folder.display(), digest, "an app is frozen");
    Ok(Evidence { folder, digest })
}

/// The app's entries of one gateway's log, and those about it, since a time; oldest first. The log is read from its end
/// to where its archive begins.
async fn entries_of(
    gateway: &Gateway,
    log: &LogRecord,
    app: &AppId,
    since: OffsetDateTime,
) -> Result<Vec<(StoredEntry, Value)>, Problem> {
    let unreadable = |error| Problem::database(&error);
    let mut found = Vec::new();
    let mut end = gateway.store.audit_size(log.id).await.map_err(unreadable)?;
    'pages: while end > 0 {
        let start = end.saturating_sub(PAGE);
        let page = u32::try_from(end - start).unwrap_or(u32::MAX);
        let stored = gateway.store.audit_entries_of(log.id, start, page).await.map_err(unreadable)?;
        // Where the first entries are archived, later ones come in their place.
        let stored: Vec<_> = stored.into_iter().filter(|stored| stored.index < end).collect();
        if stored.is_empty() {
            break;
        }
        for stored in stored.into_iter().rev() {
            if stored.written_at < since.unix_timestamp() {
                break 'pages;
            }
            let entry: Value = serde_json::from_slice(&stored.entry).unwrap_or_default();
            if concerns(&entry, app) {
                found.push((stored, entry));
            }
            if found.len() == MOST {
                break 'pages;
            }
        }
        end = start;
    }
    found.reverse();
    Ok(found)
}

/// Whether an entry is by the app, by somebody who claimed to be it, or about it: such a subject begins with its id.
fn concerns(entry: &Value, app: &AppId) -> bool {
    let about = || {
        let subject = entry["subject"].as_str().unwrap_or_default();
        let action = entry["action"].as_str().unwrap_or_default();
        action.starts_with("app.") && subject.split(':').next() == Some(app.as_str())
    };
    let actor = entry["actor"].as_str().unwrap_or_default();
    let claimed = || actor.strip_prefix("unproved:").and_then(|claim| claim.split(':').next());
    actor == app.as_str() || claimed() == Some(app.as_str()) || about()
}

/// Writes the folder whole: beside its place first, so that a half-written one is never taken for evidence.
fn write(folder: &Path, files: &[(&str, String)], mut about: Value) -> std::io::Result<String> {
    let mut partial = folder.file_name().unwrap_or_default().to_owned();
    partial.push(".partial"); // an app's id may have dots
    let partial: PathBuf = folder.with_file_name(partial);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&partial)?;
    let mut names = Vec::new();
    for (name, text) in files {
        put(&partial.join(name), text.as_bytes())?;
        names.push(json!({"name": name, "sm3": sm3_hex(text.as_bytes())}));
    }
    about["files"] = Value::Array(names);
    let manifest = format!("{about:#}\n");
    put(&partial.join("manifest.json"), manifest.as_bytes())?;
    fs::rename(&partial, folder)?;
    fs::File::open(folder.parent().unwrap_or(folder))?.sync_all()?;
    Ok(sm3_hex(manifest.as_bytes()))
}

/// Writes a file that nobody is to change.
fn put(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_one_folder_does_not_hinder_another() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("app.json", "{}\n".to_owned())];
        fs::create_dir(folder.path().join("gov.partial")).unwrap();
        fs::write(folder.path().join("gov.partial/app.json"), "half").unwrap();
        for name in ["gov.two-1-r", "gov.three-1-r.5"] {
            write(&folder.path().join(name), &files, json!({})).unwrap();
            assert_eq!(fs::read_to_string(folder.path().join(name).join("app.json")).unwrap(), "{}\n");
        }
    }
}
