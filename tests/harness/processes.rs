//! Processes of the site, through `/proc` and `kill`.

use std::path::Path;
use std::process::Command;

/// A worker process: the vendor's module and one device behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Process id.
    pub pid: u32,
    /// Its command line, blanks between the arguments.
    pub command: String,
}

impl Worker {
    /// Whether it is this device's worker.
    pub fn serves(&self, device: &str) -> bool {
        self.command.split([' ', '=', ':']).any(|word| word == device)
    }
}

/// The children of `parent` that are device workers.
pub(crate) fn workers(parent: u32) -> Vec<Worker> {
    let entries = std::fs::read_dir("/proc").expect("/proc lists processes");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .filter_map(|pid| Some(Worker { pid, command: command_of(pid)? }))
        .filter(|worker| worker.command.contains("hsm-worker"))
        .collect()
}

/// Whether the process exists and is not a zombie.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !fields.starts_with('Z'))
}

/// Sends a signal by name (`TERM`, `KILL`); a process that is gone is not an error.
pub fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).output();
    kill.expect("kill(1) can be run");
}

fn parent_of(pid: u32) -> Option<u32> {
    stat(pid)?.split(' ').nth(1)?.parse().ok()
}

/// The fields after the command name, which may itself hold blanks and brackets: state, parent, …
fn stat(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.to_owned())
}

fn command_of(pid: u32) -> Option<String> {
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}
