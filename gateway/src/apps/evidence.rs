//! What is kept of an app that is frozen: its entry in the register, its part of the audit log, and where to look in
//! the log, in a folder of their own whose digest goes into the audit log.
//!
//! To keep it is an act of its own, `app.evidence`: the freeze waits for nothing of it. `manifest.json` names every other
//! file with its SM3; the outcome of the act names the manifest's. Whoever changes a file later changes one of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use config::AppId;
use serde_json::{Value, json};
use store::{Archive, LogId, Store, leaf_hash};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use tracing::Instrument;

use super::AppResponse;
use super::act::{AppOrder, record, sm3_hex};
use crate::error::with_causes;
use crate::state::Gateway;

/// How far back an app's audit entries are copied; older ones stay in the audit log.
const REACH: Duration = Duration::days(30);
/// Entries stand in the order in which they came, not of the times they speak of: those may differ by so much.
const DISORDER: Duration = Duration::hours(1);
/// Most entries that are copied from one log, the newest; the rest stay in the audit log.
const MOST: usize = 50_000;
/// How long the logs are read. What could not be read by then stays in the audit log.
const LONGEST: StdDuration = StdDuration::from_secs(120);

/// What the record calls the act.
const ACT: &str = "app.evidence";

/// Begins to keep the evidence on an app that has just been frozen, in the folder that this answers; what comes of it is
/// put on record.
pub(super) fn keep(gateway: &Gateway, app: &AppId, order: &Arc<AppOrder>, at: OffsetDateTime) -> PathBuf {
    let (gateway, app, order) = (gateway.clone(), app.clone(), Arc::clone(order));
    let name = format!("{app}-{}-{}", at.unix_timestamp(), order.request_id);
    let folder = gateway.config.folder.join("evidence").join(&name);
    let place = folder.clone();
    let act = async move {
        let said = format!("{app}: evidence/{name}");
        if let Err(problem) = record(&gateway, &order, ACT, ("intended", &said), None).await {
            tracing::error!(app = %app, code = problem.code(), "evidence is not on record as intended");
        }
        let kept = gather(&gateway, &app, &order, &folder, at).await;
        let (outcome, digest) = match kept {
            Ok(digest) => {
                tracing::warn!(app = %app, folder = %folder.display(), digest, "evidence on a frozen app is kept");
                ("ok", Some(digest))
            }
            Err(error) => {
                tracing::error!(app = %app, folder = %folder.display(), error, "evidence on a frozen app could not be kept");
                ("evidence_failed", None)
            }
        };
        if let Err(problem) = record(&gateway, &order, ACT, (outcome, &said), digest).await {
            tracing::error!(app = %app, code = problem.code(), "evidence on a frozen app is not on record");
        }
    };
    tokio::spawn(act.in_current_span());
    place
}

/// Reads and writes it. Answers the SM3 of its manifest, hexadecimal; the error is for the log.
async fn gather(
    gateway: &Gateway,
    app: &AppId,
    order: &AppOrder,
    folder: &Path,
    at: OffsetDateTime,
) -> Result<String, String> {
    let register = gateway.callers.apps.register().await.map_err(|error| with_causes(&error))?;
    let mut known = register.app(app).map(|known| json!(AppResponse::new(known))).unwrap_or_default();
    if let Some(members) = known.as_object_mut() {
        members.remove("contacts"); // people, whom the register keeps sealed
    }
    let walk = Walk {
        store: &gateway.store,
        archive: gateway.auditing.archive.as_ref(),
        app,
        since: at - REACH,
        until: Instant::now() + LONGEST,
    };
    let (mut found, mut stopped) = (Vec::new(), Vec::new());
    for log in gateway.store.audit_logs().await.map_err(|error| with_causes(&error))? {
        let part = walk.of(log.id).await;
        found.extend(part.entries.into_iter().map(|entry| (log.origin.clone(), entry)));
        stopped.extend(
            part.stopped.map(|(before, why)| json!({"log": log.origin, "before": before, "why": why})),
        );
    }
    let time = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let about = json!({
        "app": app.as_str(),
        "frozen_at": time(at),
        "frozen_by": order.actor,
        "reason": order.reason,
        "request_id": order.request_id,
        "audit_entries": {
            "count": found.len(),
            "complete": stopped.is_empty(),
            "since": time(at - REACH),
            "stopped": stopped,
        },
        "log": {
            "process": std::process::id(),
            "where": "the standard error of this process; each line names the request_id of its request",
            "requests": "requests.txt",
        },
    });
    let folder = folder.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let requests: BTreeSet<&str> =
            found.iter().filter_map(|(_, found)| found.entry["request_id"].as_str()).collect();
        let lines = found.iter().map(|(log, Found { index, leaf_hash, entry })| {
            let line = json!({"log": log, "index": index, "leaf_hash": leaf_hash, "entry": entry});
            format!("{line}\n")
        });
        let files = [
            ("app.json", format!("{known:#}\n")),
            ("audit.jsonl", lines.collect::<String>()),
            ("requests.txt", requests.into_iter().map(|id| format!("{id}\n")).collect()),
        ];
        write(&folder, &files, about)
    });
    let digest = written.await.map_err(|error| error.to_string())?;
    digest.map_err(|error| with_causes(&error))
}

/// An entry that concerns the app.
struct Found {
    index: u64,
    /// Hexadecimal.
    leaf_hash: String,
    entry: Value,
}

/// What was found in one log.
#[derive(Default)]
struct Part {
    /// Oldest first.
    entries: Vec<Found>,
    /// Before which entry the walk ended too early, and why.
    stopped: Option<(u64, String)>,
}

/// A walk through logs from their ends.
struct Walk<'w> {
    store: &'w Store,
    archive: Option<&'w Archive>,
    app: &'w AppId,
    since: OffsetDateTime,
    until: Instant,
}

impl Walk<'_> {
    /// The app's entries of one gateway's log, and those about it, from the database and the archive.
    async fn of(&self, log: LogId) -> Part {
        let mut part = Part::default();
        let mut end = match self.store.audit_size(log).await {
            Ok(size) => size,
            Err(error) => return Part { stopped: Some((0, with_causes(&error))), ..part },
        };
        while end > 0 {
            let read = self.store.audit_before(log, self.archive, end);
            let page = match tokio::time::timeout_at(self.until, read).await {
                Err(_) => Err(format!("the time for it, {} s, was over", LONGEST.as_secs())),
                Ok(Err(error)) => Err(with_causes(&error)),
                Ok(Ok(Err(gone))) => Err(gone.to_owned()),
                Ok(Ok(Ok(page))) => Ok(page),
            };
            let judged = match page {
                Ok(page) => {
                    let (app, since, room) = (self.app.clone(), self.since, MOST - part.entries.len());
                    // Thousands of entries are read: not where other requests wait for it.
                    let judged = tokio::task::spawn_blocking(move || judge(page, &app, since, room));
                    judged.await.map_err(|error| error.to_string())
                }
                Err(why) => Err(why),
            };
            match judged {
                Err(why) => {
                    part.stopped = Some((end, why));
                    break;
                }
                Ok(judged) => {
                    part.entries.extend(judged.found);
                    if judged.done {
                        break;
                    }
                    if part.entries.len() == MOST {
                        part.stopped = Some((judged.from, format!("there are more than {MOST}")));
                        break;
                    }
                    end = judged.from;
                }
            }
        }
        part.entries.reverse();
        part
    }
}

/// What came of some entries in a row.
struct Judged {
    /// The entries that concern the app, newest first.
    found: Vec<Found>,
    /// The oldest entry that was looked at.
    from: u64,
    /// All before are too old.
    done: bool,
}

fn judge(page: Vec<(u64, Vec<u8>)>, app: &AppId, since: OffsetDateTime, room: usize) -> Judged {
    let mut judged = Judged { found: Vec::new(), from: 0, done: false };
    for (index, octets) in page.into_iter().rev() {
        judged.from = index;
        // An entry is canonical JSON, as it was written here; the log's verification says if one is not.
        let entry: Value = serde_json::from_slice(&octets).unwrap_or_default();
        let at = entry["at"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        if at.is_some_and(|at| at < since - DISORDER) {
            judged.done = true;
            break;
        }
        if concerns(&entry, app) && at.is_none_or(|at| at >= since) {
            judged.found.push(Found { index, leaf_hash: hex::encode(leaf_hash(&octets)), entry });
        }
        if judged.found.len() == room {
            break;
        }
    }
    judged
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
