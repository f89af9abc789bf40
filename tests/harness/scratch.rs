//! A folder for one test, and the foreign programs that work in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary folder; goes with the value.
pub struct Scratch {
    folder: tempfile::TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    /// It ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Both outputs as text, for looking into and for messages.
    pub text: String,
}

impl Scratch {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and says where it is.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("the scratch folder can be written");
        path
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `openssl` in this folder with blank-separated arguments.
    pub fn openssl(&self, arguments: &str) -> Ran {
        Ran::of(Command::new("openssl").args(arguments.split_whitespace()).current_dir(self.path()))
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Ran {
    /// Runs a command to its end; a command that cannot be started fails the test.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        Self { ok: output.status.success(), stdout: output.stdout, text }
    }

    /// This run, if it ended with 0; panics with what it printed otherwise.
    #[track_caller]
    pub fn expect(self, what: &str) -> Self {
        assert!(self.ok, "{what}: {}", self.text);
        self
    }
}
