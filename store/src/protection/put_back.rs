//! Old rows with their old codes, put back.
//!
//! A code says that a gateway wrote a row, not that it is the newest that was written: whoever kept a row can undo by SQL
//! what took its power away. No mark in the database tells, as it would be put back too. So each gateway remembers outside
//! the database the highest revision that it saw of each row; revisions only grow (docs/adr/0043).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::AssertSqlSafe;

use crate::audit::memory_stem;
use crate::database::query;
use crate::{DEFAULT_REPLICA, Store, StoreError};

/// Tables with rows that stay for good, and by what their codes name the rows. Of signing policies the app's row names the
/// version in force, of stamp templates the template's; sessions and webhooks go, and approvals come and end by the thousand.
const WATCHED: [(&str, &str); 8] = [
    ("keys", "id"),
    ("custodians", "name"),
    ("apps", "id"),
    ("app_credentials", "id"),
    ("accounts", "name"),
    ("seals", "id"),
    ("mandates", "id"),
    ("stamp_templates", "id"),
];

/// Revisions by table and id.
pub(super) type Revisions = BTreeMap<String, i64>;

/// How the memory of a table's row is named.
pub(super) fn name(table: &str, id: &str) -> String {
    format!("{table} {id}")
}

/// One gateway's memory of the highest revision of each row.
pub struct RegisterWatch {
    store: Store,
    path: PathBuf,
    highest: Revisions,
    /// Whether the file has less.
    unsaved: bool,
}

impl RegisterWatch {
    /// Reads what the gateway remembers from the folder that it keeps outside the database, in a file named after it.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`].
    pub fn open(store: &Store, folder: &Path) -> Result<Self, StoreError> {
        let path = folder
            .join(format!("{}.revisions.json", memory_stem(store.replica().unwrap_or(DEFAULT_REPLICA))));
        let highest = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Revisions::new()),
            Err(error) => Err(error),
        };
        let highest = highest.map_err(|source| StoreError::AuditGuard { path: path.clone(), source })?;
        Ok(Self { store: store.clone(), path, highest, unsaved: false })
    }

    /// Holds every row against what was seen of it before. One with a lower revision, or that is gone, is refused from then
    /// on, whatever its code says, and counted among the altered ones. Answers how many are so since the last time.
    ///
    /// # Errors
    /// The database or the folder fails.
    pub async fn look(&mut self) -> Result<usize, StoreError> {
        let mut found = Revisions::new();
        for (table, id) in WATCHED {
            let rows = query(AssertSqlSafe(format!("SELECT {id} AS id, revision FROM {table}")));
            for row in rows.fetch_all(self.store.readers()).await? {
                found.insert(name(table, row.try_get("id")?), row.try_get("revision")?);
            }
        }
        let put_back =
            |(row, highest): &(&String, &i64)| found.get(*row).is_none_or(|found| found < *highest);
        let put_back = self.highest.iter().filter(put_back);
        let news =
            put_back.filter(|(row, highest)| self.store.protection().refuse_below(row, **highest)).count();
        for (row, revision) in found {
            let highest = self.highest.entry(row).or_insert(i64::MIN);
            self.unsaved |= *highest < revision;
            *highest = revision.max(*highest);
        }
        if self.unsaved {
            self.keep().await?;
            self.unsaved = false;
        }
        Ok(news)
    }

    async fn keep(&self) -> Result<(), StoreError> {
        let (path, json) = (self.path.clone(), serde_json::to_vec(&self.highest).map_err(io::Error::from));
        let written = tokio::task::spawn_blocking(move || {
            let new = path.with_extension("new");
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&json?)?;
            file.sync_data()?;
            fs::rename(&new, &path)
        });
        let written = written.await.map_err(|_| StoreError::Interrupted)?;
        written.map_err(|source| StoreError::AuditGuard { path: self.path.clone(), source })
    }
}
