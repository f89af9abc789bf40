//! What the gateway and its workers hold of the machine: processes, threads, descriptors, memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde_json::{Value, json};

use crate::process::Snapshot;

/// Counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// The gateway's children, ended ones that nobody has waited for included.
    pub(crate) children: usize,
    pub(crate) gateway: Held,
    /// All children together.
    pub(crate) workers: Held,
    /// What the gateway's descriptors are: files by name, others by kind.
    open: BTreeMap<String, usize>,
}

/// Of one process or several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Resident memory in KiB; shown, not compared.
    pub(crate) resident: u64,
}

impl Footprint {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let snapshot = Snapshot::take(pid)?;
        let mut workers = Held::default();
        for child in &snapshot.children {
            // A child that has just ended holds nothing, and still counts as a child.
            let held = Held::of(child.pid, child.resident).unwrap_or_default();
            workers.threads += held.threads;
            workers.descriptors += held.descriptors;
            workers.resident += held.resident;
        }
        let gateway = Held::of(pid, snapshot.root.resident)?;
        Ok(Self { children: snapshot.children.len(), gateway, workers, open: open(pid)? })
    }

    /// The gateway's descriptors of which there are more than `before`.
    pub(crate) fn more_than(&self, before: &Self) -> Vec<String> {
        let more = self.open.iter().filter_map(|(what, count)| {
            let then = before.open.get(what).copied().unwrap_or_default();
            (*count > then).then(|| format!("{what}: {then} before, {count} now"))
        });
        more.collect()
    }

    /// Whether nothing has been kept since `before`.
    pub(crate) fn is_back_to(&self, before: &Self) -> bool {
        let within =
            |now: Held, then: Held| now.threads <= then.threads && now.descriptors <= then.descriptors;
        self.children == before.children
            && within(self.gateway, before.gateway)
            && within(self.workers, before.workers)
    }

    /// As a line under [`Footprint::heading`].
    pub(crate) fn line(&self, when: &str) -> String {
        let held =
            |held: Held| format!("{:>8} {:>12} {:>6}", held.threads, held.descriptors, held.resident >> 10);
        format!("{when:<8}{:>8} |{} |{}", self.children, held(self.gateway), held(self.workers))
    }

    /// Two lines above [`Footprint::line`]; memory is in MiB.
    pub(crate) fn heading() -> String {
        let held = format!("{:>8} {:>12} {:>6}", "threads", "descriptors", "MiB");
        format!(
            "{:<17}|{:<28} |{:<28}\n{:<8}{:>8} |{held} |{held}",
            "", "  gateway", "  workers", "", "workers"
        )
    }

    pub(crate) fn json(&self) -> Value {
        let held = |held: Held| json!({"threads": held.threads, "descriptors": held.descriptors, "rss_kib": held.resident});
        json!({"children": self.children, "gateway": held(self.gateway), "workers": held(self.workers)})
    }
}

impl Held {
    fn of(pid: u32, resident: u64) -> io::Result<Self> {
        let count = |what: &str| Ok::<_, io::Error>(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
        Ok(Self { threads: count("task")?, descriptors: count("fd")?, resident })
    }
}

/// Sockets and pipes have a number of their own behind a colon, which says nothing.
fn open(pid: u32) -> io::Result<BTreeMap<String, usize>> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is closed meanwhile is not open.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let what = target.split(":[").next().unwrap_or_default();
        *open.entry(what.to_owned()).or_default() += 1;
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_descriptor_or_process_more_is_not_back() {
        let held = Held { threads: 3, descriptors: 9, resident: 100 };
        let before = Footprint { children: 9, gateway: held, workers: held, open: BTreeMap::new() };
        let larger = Held { resident: 999, ..held };
        assert!(Footprint { gateway: larger, workers: larger, ..before.clone() }.is_back_to(&before));
        for worse in [Held { threads: 4, ..held }, Held { descriptors: 10, ..held }] {
            assert!(!Footprint { gateway: worse, ..before.clone() }.is_back_to(&before));
            assert!(!Footprint { workers: worse, ..before.clone() }.is_back_to(&before));
        }
        assert!(!Footprint { children: 10, ..before.clone() }.is_back_to(&before));
        assert!(!Footprint { children: 8, ..before.clone() }.is_back_to(&before));
    }

    #[test]
    fn opened_files_are_counted() {
        let before = Footprint::of(std::process::id()).unwrap();
        // Many, because other tests of this program open and close theirs meanwhile.
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = Footprint::of(std::process::id()).unwrap();
        drop(files);
        assert!(after.gateway.descriptors > before.gateway.descriptors + 100);
        assert!(after.more_than(&before).iter().any(|what| what.contains("/stat: 0 before, 200 now")));
        assert!(before.gateway.threads >= 1);
    }
}
