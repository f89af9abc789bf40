//! The way to the database that the configuration names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Database, Secret};
use store::{DatabaseAccess, Store};
use zeroize::Zeroizing;

use crate::error::{StartupError, with_causes};
use crate::metrics::Metrics;

/// How often the clock of the database's server is asked.
const CLOCK: Duration = Duration::from_secs(30);
/// How far it may be from this machine's.
const LARGEST_OFFSET: time::Duration = time::Duration::minutes(2);

/// The address with its password, which is read at each start.
pub(crate) fn access(database: &Database) -> Result<DatabaseAccess, StartupError> {
    let access = DatabaseAccess::new(&database.url).with_slow_statements(database.slow_statement);
    match &database.password_file {
        Some(path) => Ok(access.with_password(first_line(path)?)),
        None => Ok(access),
    }
}

/// A secret that stands on the first line of a file.
pub(crate) fn first_line(path: &Path) -> Result<Secret<String>, StartupError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| StartupError::file(path, error))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(Secret::new(password.to_owned())),
        _ => Err(StartupError::file(path, "no secret on its first line")),
    }
}

/// A SQLite file belongs to one gateway: a second on the same file is refused. The lock ends with the process,
/// however that ends. A PostgreSQL server is shared.
pub(crate) fn lock(database: &Database) -> Result<Option<File>, StartupError> {
    let Some(file) = database.url.strip_prefix("sqlite://") else { return Ok(None) };
    let path = PathBuf::from(format!("{file}.lock"));
    let lock = File::create(&path).map_err(|error| StartupError::file(&path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(error) => {
            Err(StartupError::file(&path, format!("another gateway runs on this database ({error})")))
        }
    }
}

/// Holds this machine's clock against that of the database's server, by which other gateways' rows count too, until it is
/// dropped. One that is minutes off is told, loudly, and not more: nobody here knows which of the two is wrong, and a
/// server's that is would end every gateway's work.
pub(crate) async fn watch_clock(store: Store, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(CLOCK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut off = false;
    loop {
        tick.tick().await;
        let ahead = match store.server_clock_offset().await {
            Ok(Some(ahead)) => ahead,
            Ok(None) => return, // a file has no clock of its own
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "the database's server was not asked for its clock");
                continue;
            }
        };
        metrics.database_clock(ahead);
        let (was, seconds) = (off, ahead.whole_seconds());
        off = ahead.abs() > LARGEST_OFFSET;
        match (was, off) {
            (false, true) => {
                tracing::error!(
                    seconds,
                    "the clock of the database's server is ahead of this machine's by this much"
                );
            }
            (true, false) => tracing::info!(seconds, "this machine's clock and the database's agree again"),
            (true, true) | (false, false) => {}
        }
    }
}
