//! What processes cost, from `/proc`: processor time and memory of the gateway and its workers, and how busy the
//! machine was with others.

use std::fs;
use std::io;

use serde_json::{Value, json};

/// Linux shows processor time to programs in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// `gateway`, or the last argument of a child: the device a worker serves.
    pub(crate) name: String,
    parent: u32,
    /// Processor seconds so far, user and system.
    pub(crate) cpu: f64,
    /// The same of its children that ended.
    ended: f64,
    /// Resident memory now and at its highest, KiB.
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

/// A process and its children, and the machine, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) root: Process,
    pub(crate) children: Vec<Process>,
    /// Processor seconds of this process.
    own: f64,
    /// Processor seconds of everything on the machine.
    machine: f64,
    /// Processor seconds the hypervisor gave to others.
    stolen: f64,
}

/// What a run cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    /// Processor seconds of the process itself.
    pub(crate) root: f64,
    /// Of its children, those that ended included.
    pub(crate) children: f64,
    /// Of the load generator.
    pub(crate) generator: f64,
    /// Of everything else on the machine.
    pub(crate) others: f64,
    /// Kept from this machine by its hypervisor.
    pub(crate) stolen: f64,
}

impl Snapshot {
    pub(crate) fn take(pid: u32) -> io::Result<Self> {
        let root = Process::read(pid)?;
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(other) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end between the listing and the reading.
            if let Ok(process) = Process::read(other)
                && process.parent == pid
            {
                children.push(process);
            }
        }
        children.sort_by(|a, b| a.name.cmp(&b.name));
        let (machine, stolen) = machine()?;
        Ok(Self { root, children, own: Process::read(std::process::id())?.cpu, machine, stolen })
    }

    pub(crate) fn until(&self, later: &Self) -> Cost {
        let children = |at: &Self| at.root.ended + at.children.iter().map(|child| child.cpu).sum::<f64>();
        let root = later.root.cpu - self.root.cpu;
        let children = (children(later) - children(self)).max(0.0);
        let generator = later.own - self.own;
        let others = (later.machine - self.machine - root - children - generator).max(0.0);
        Cost { root, children, generator, others, stolen: later.stolen - self.stolen }
    }

    pub(crate) fn memory(&self) -> Value {
        let one = |process: &Process| json!({"name": process.name, "pid": process.pid, "rss_kib": process.resident, "peak_kib": process.peak});
        json!({"gateway": one(&self.root), "workers": self.children.iter().map(one).collect::<Vec<_>>()})
    }
}

impl Cost {
    /// Of the process and its children: what the service costs.
    pub(crate) fn service(&self) -> f64 {
        self.root + self.children
    }

    /// The share of all processors that was used or stolen in so many seconds.
    pub(crate) fn machine_busy(&self, seconds: f64) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        (self.service() + self.generator + self.others + self.stolen) / seconds / processors
    }
}

impl Process {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name may itself hold blanks and brackets.
        let (_, fields) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
        let number = |index| fields.split(' ').nth(index).and_then(|field| field.parse::<u64>().ok());
        let seconds = |first| {
            let ticks = number(first).unwrap_or_default() + number(first + 1).unwrap_or_default();
            ticks as f64 / TICKS_PER_SECOND
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let arguments = fs::read(format!("/proc/{pid}/cmdline"))?;
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let words: Vec<&str> = arguments.split('\0').filter(|word| !word.is_empty()).collect();
        let worker = words.contains(&"hsm-worker");
        Ok(Self {
            pid,
            name: words.last().filter(|_| worker).copied().unwrap_or("gateway").to_owned(),
            parent: number(1).and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            cpu: seconds(11),
            ended: seconds(13),
            resident: kib("VmRSS:"),
            peak: kib("VmHWM:"),
        })
    }
}

/// Processor seconds the machine spent and was denied, since it started.
fn machine() -> io::Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let &[user, nice, system, _, _, irq, softirq, steal, ..] = fields.as_slice() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(((user + nice + system + irq + softirq) / TICKS_PER_SECOND, steal / TICKS_PER_SECOND))
}
