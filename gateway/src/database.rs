//! The way to the database that the configuration names.

use std::fs::File;
use std::path::{Path, PathBuf};

use config::{Database, Secret};
use store::DatabaseAccess;
use zeroize::Zeroizing;

use crate::error::StartupError;

/// The address with its password, which is read at each start.
pub(crate) fn access(database: &Database) -> Result<DatabaseAccess, StartupError> {
    let access = DatabaseAccess::new(&database.url).with_slow_statements(database.slow_statement);
    match &database.password_file {
        Some(path) => Ok(access.with_password(first_line(path)?)),
        None => Ok(access),
    }
}

fn first_line(path: &Path) -> Result<Secret<String>, StartupError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| StartupError::file(path, error))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(Secret::new(password.to_owned())),
        _ => Err(StartupError::file(path, "no password on its first line")),
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
