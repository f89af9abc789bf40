//! What one gateway saw of each row, in a file that grows by what it saw anew: one JSON object a line, each later one over
//! those before it. A line that was cut off was never relied on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Lines are brought together when they hold as many rows as there are, and this many more.
const SLACK: usize = 1000;

/// What was seen of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub(super) struct Seen {
    /// The highest revision.
    pub(super) revision: i64,
    /// Until when the row could be of use, in Unix seconds; none: for good.
    pub(super) until: Option<i64>,
    /// It was removed, as rows of its kind are when they are over.
    pub(super) gone: bool,
}

/// In the file rows that stay are a number.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Stays(i64),
    Goes(i64, Option<i64>, bool),
}

impl From<Kept> for Seen {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Stays(revision) => Self { revision, until: None, gone: false },
            Kept::Goes(revision, until, gone) => Self { revision, until, gone },
        }
    }
}

impl From<Seen> for Kept {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen { revision, until: None, gone: false } => Self::Stays(revision),
            Seen { revision, until, gone } => Self::Goes(revision, until, gone),
        }
    }
}

type Rows = BTreeMap<String, Seen>;

/// The memory and its file.
pub(super) struct Memory {
    path: PathBuf,
    rows: Rows,
    /// What the file does not have.
    unsaved: Rows,
    /// Rows in the file's lines, each as often as it is there; none when the file is to be written anew.
    lines: Option<usize>,
}

impl Memory {
    /// What a file holds; nothing where there is none.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`].
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Rows::new(), None)),
            read => read.and_then(|octets| rows_of(&octets)),
        };
        match read {
            Ok((rows, lines)) => Ok(Self { path, rows, unsaved: Rows::new(), lines }),
            Err(source) => Err(StoreError::AuditGuard { path, source }),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Seen> {
        self.rows.get(name).copied()
    }

    /// Remembers what is seen of a row now.
    pub(super) fn set(&mut self, name: String, seen: Seen) {
        if self.rows.get(&name) != Some(&seen) {
            self.unsaved.insert(name.clone(), seen);
            self.rows.insert(name, seen);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.rows.keys()
    }

    /// Forgets the rows that are gone and were of use until before a time, in Unix seconds.
    pub(super) fn forget(&mut self, before: i64) {
        let is_over = |seen: &Seen| seen.gone && seen.until.is_some_and(|until| until < before);
        let known = self.rows.len();
        self.rows.retain(|_, seen| !is_over(seen));
        self.unsaved.retain(|_, seen| !is_over(seen));
        // The file has them until it is written anew, and they are over for whoever reads it.
        if self.lines.is_some_and(|lines| known != self.rows.len() && lines > self.rows.len() + SLACK) {
            self.lines = None;
        }
    }

    /// Brings the file to what is remembered.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`]; what was not kept is tried again.
    pub(super) async fn keep(&mut self) -> Result<(), StoreError> {
        if self.unsaved.is_empty() && self.lines.is_some() {
            return Ok(());
        }
        let new = self.unsaved.len();
        let lines = self.lines.map(|lines| lines + new).filter(|lines| *lines <= 2 * self.rows.len() + SLACK);
        let rows = if lines.is_some() { &self.unsaved } else { &self.rows };
        let (path, line) = (self.path.clone(), line_of(rows));
        self.lines = None; // whatever a failure leaves in the file is not built upon
        let appends = lines.is_some();
        let written = tokio::task::spawn_blocking(move || write(&path, &line?, appends)).await;
        match written.map_err(|_| StoreError::Interrupted)? {
            Ok(()) => {
                self.lines = Some(lines.unwrap_or(self.rows.len()));
                self.unsaved.clear();
                Ok(())
            }
            Err(source) => Err(StoreError::AuditGuard { path: self.path.clone(), source }),
        }
    }
}

fn line_of(rows: &Rows) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(rows)?;
    line.push(b'\n');
    Ok(line)
}

/// The rows, and how many the lines have of them, if nothing is wrong with the last one.
fn rows_of(octets: &[u8]) -> io::Result<(Rows, Option<usize>)> {
    let mut rows = Rows::new();
    let mut lines = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let read: Rows = match serde_json::from_slice(line) {
            Ok(read) => read,
            Err(_) if !line.ends_with(b"\n") && lines > 0 => {
                tracing::warn!("the last line about rows that were seen was cut off; it is left out");
                return Ok((rows, None));
            }
            Err(error) => return Err(error.into()),
        };
        lines += read.len();
        rows.extend(read);
    }
    Ok((rows, octets.ends_with(b"\n").then_some(lines)))
}

fn write(path: &Path, line: &[u8], appends: bool) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    if appends {
        // Somebody who took the file away has what was in it set aside, so that it is not begun with a part.
        let mut file = options.append(true).open(path)?;
        file.write_all(line)?;
        return file.sync_data();
    }
    let new = path.with_extension("new");
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(line)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const STAYS: Seen = Seen { revision: 3, until: None, gone: false };
    const GOES: Seen = Seen { revision: 4, until: Some(1000), gone: true };

    #[tokio::test]
    async fn a_file_grows_by_what_is_new_and_a_line_that_was_cut_off_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.revisions.json");
        let mut memory = Memory::open(path.clone()).unwrap();
        memory.set("apps a".to_owned(), STAYS);
        memory.keep().await.unwrap();
        memory.set("account_sessions s".to_owned(), GOES);
        memory.keep().await.unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, "{\"apps a\":3}\n{\"account_sessions s\":[4,1000,true]}\n");
        memory.keep().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), written, "nothing is new");

        fs::write(&path, format!("{written}{{\"apps a\":9")).unwrap();
        let mut read = Memory::open(path.clone()).unwrap();
        assert_eq!((read.get("apps a"), read.get("account_sessions s")), (Some(STAYS), Some(GOES)));
        read.set("apps b".to_owned(), STAYS);
        read.keep().await.unwrap();
        let all = "{\"account_sessions s\":[4,1000,true],\"apps a\":3,\"apps b\":3}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), all, "nothing is put behind half a line");

        fs::write(&path, "{\"apps a\":9\n{\"apps a\":3}\n").unwrap();
        assert!(Memory::open(path).is_err(), "a whole line that says nothing was not cut off");
    }

    #[tokio::test]
    async fn a_file_of_one_object_without_an_end_of_line_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.revisions.json");
        fs::write(&path, "{\"apps a\":3}").unwrap();
        let mut memory = Memory::open(path.clone()).unwrap();
        assert_eq!(memory.get("apps a"), Some(STAYS));
        memory.keep().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"apps a\":3}\n");
    }

    #[tokio::test]
    async fn a_file_does_not_grow_without_end_and_what_is_over_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.revisions.json");
        let mut memory = Memory::open(path.clone()).unwrap();
        memory.set("account_sessions s".to_owned(), GOES);
        for revision in 0..=3000 {
            memory.set("apps a".to_owned(), Seen { revision, ..STAYS });
            memory.keep().await.unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SLACK + 5, "{lines}");
        memory.forget(1000);
        assert_eq!(memory.get("account_sessions s"), Some(GOES), "it was of use until then");
        memory.forget(1001);
        assert_eq!(memory.get("account_sessions s"), None);
        assert_eq!(memory.get("apps a").unwrap().revision, 3000);
    }
}
