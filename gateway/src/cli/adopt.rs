//! `license-gateway audit adopt`: an operator says that a log which ends earlier than the gateway remembers is the one to go on
//! with, because a backup was put back. With no gateway running; the act is the log's next entry.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use config::Config;
use serde_json::json;
use store::{AuditEntry, AuditLog, Departure, Store};
use time::OffsetDateTime;

use super::table;
use crate::error::with_causes;
use crate::{admin, audit, database, request_id};

type Failure = String;

/// How the act is on record.
const ACT: &str = "audit.adopt";

/// What the operator says.
pub(super) struct AdoptOrder<'o> {
    pub(super) reason: &'o str,
    /// Nobody is asked.
    pub(super) yes: bool,
    pub(super) json: bool,
}

/// Shows what differs, asks, puts it on record and lets signing go on.
pub(super) async fn adopt(path: &Path, order: &AdoptOrder<'_>) -> Result<ExitCode, Failure> {
    let length = order.reason.trim().chars().count();
    if !(1..=500).contains(&length) || order.reason.chars().any(char::is_control) {
        return Err("--reason must be 1 to 500 characters in one line".to_owned());
    }
    let config = Config::load(path).map_err(|error| error.to_string())?;
    // Nobody else writes this log meanwhile: neither a gateway on the same file nor one of the same name.
    let _only_one = database::lock(&config.database).map_err(|error| with_causes(&error))?;
    let access = database::access(&config.database).map_err(|error| with_causes(&error))?;
    let store = Store::open(access).await.map_err(|error| with_causes(&error))?;
    let replica = &config.site.replica;
    let membership = store.join(replica, OffsetDateTime::now_utc()).await;
    let _membership = membership.map_err(|error| with_causes(&error))?;
    let folder = config.folder.join(audit::GUARD);
    if !folder.is_dir() {
        return Err(format!("{} is not there: nothing is remembered that could differ", folder.display()));
    }
    let started = AuditLog::start_guarded(&store, replica, &folder).await;
    let (log, writer) = started.map_err(|error| with_causes(&error))?;
    let done = adopt_in(&log, order).await;
    writer.finish().await;
    store.close().await;
    done
}

async fn adopt_in(log: &AuditLog, order: &AdoptOrder<'_>) -> Result<ExitCode, Failure> {
    let Some(departure) = log.departure().await.map_err(|error| with_causes(&error))? else {
        tell(order, &json!({"adopted": false, "differs": false}), |out| {
            writeln!(out, "the log leads on from what the gateway remembers: there is nothing to adopt")
        });
        return Ok(ExitCode::SUCCESS);
    };
    if !order.json {
        let _ = show(&departure, &mut std::io::stdout().lock()); // a closed pipe is no failure
    }
    if !order.yes && !confirmed() {
        return Err("not adopted: nothing was changed (say adopt, or give --yes)".to_owned());
    }
    let entry = AuditEntry {
        action: ACT.to_owned(),
        actor: admin::whoever_runs_this(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: (departure.remembered > 0).then(|| crate::apps::sm3_hex(departure.note.as_bytes())),
        key: None,
        outcome: "ok".to_owned(),
        request_id: request_id::new(),
        result_digest: None,
        subject: Some(format!(
            "{} entries in place of a checkpoint over {}: {}",
            departure.entries, departure.remembered, order.reason
        )),
    };
    let (index, aside) = log.adopt(entry).await.map_err(|error| with_causes(&error))?;
    let aside = aside.map(|path| path.display().to_string());
    let told = json!({
        "adopted": true, "differs": true, "reason": departure.reason, "remembered": departure.remembered,
        "entries": departure.entries, "audit_index": index, "checkpoint": aside,
    });
    tell(order, &told, |out| {
        writeln!(out, "adopted: audit entry {index}; the gateway signs from there on when it starts")?;
        writeln!(out, "the checkpoint that was remembered: {}", table::plain(&aside.unwrap_or_default()))
    });
    Ok(ExitCode::SUCCESS)
}

fn show(departure: &Departure, out: &mut impl Write) -> std::io::Result<()> {
    let Departure { reason, remembered, entries, signed, foreign, .. } = departure;
    writeln!(out, "what does not fit    {}", table::plain(reason))?;
    writeln!(out, "remembered           a checkpoint over {remembered} entries")?;
    writeln!(out, "in the database      {entries} entries, {signed} of them under a checkpoint")?;
    if let Some(foreign) = foreign {
        writeln!(out, "NOT THIS GATEWAY'S   {}", table::plain(foreign))?;
    }
    writeln!(
        out,
        "If you put a backup back, this is right. If not, somebody else changed the log: keep everything as it is."
    )
}

/// Asks whoever is at the terminal.
fn confirmed() -> bool {
    let _ = write!(std::io::stdout(), "Say adopt to go on with the log as it is: "); // seen or not
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "adopt"
}

fn tell(
    order: &AdoptOrder<'_>,
    json: &serde_json::Value,
    words: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<()>,
) {
    let mut out = std::io::stdout().lock();
    let _ = if order.json { writeln!(out, "{json:#}") } else { words(&mut out) }; // a closed pipe is no failure
}
