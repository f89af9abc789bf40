//! Breakdowns on command: a small TOML file that a test rewrites while the module runs.
//!
//! The file is looked at no more often than every ten milliseconds, and read again only when its modification time,
//! length or inode changed. An absent or empty file means a healthy device. A file that cannot be understood
//! changes nothing: a fault in a fault file must neither heal a device nor break it. Reading a file anew, even one
//! with the same text, starts all counters anew.

mod entry;
mod random;
mod return_value;

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use cryptoki_sys::CK_RV;
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

pub(crate) use self::entry::{Action, Entry, Fault, Moment};
use self::{entry::RawEntry, random::Latency};
use crate::{
    error::{Error, Result},
    function::Function,
    lock::{lock, read, write},
};

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The file as written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawBreakdown {
    latency_ms: Latency,
    throughput: Option<f64>,
    session_limit: Option<usize>,
    unreachable: bool,
    seed: Option<u64>,
    fault: Vec<RawEntry>,
}

/// What is broken.
#[derive(Debug, Default)]
pub(crate) struct Breakdown {
    latency: Latency,
    /// The time between two operations of a device that does so many a second.
    pace: Option<Duration>,
    /// The most sessions the device really takes.
    pub(crate) session_limit: Option<usize>,
    unreachable: bool,
    seed: u64,
    /// The entries, in the order of the file.
    pub(crate) faults: Vec<Fault>,
    drawn: AtomicU64,
    /// When the device will have done what waits for it.
    busy_until: Mutex<Option<Instant>>,
}

impl Breakdown {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let raw: RawBreakdown = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            format!("line {line}: {}", error.message().replace('\n', ", "))
        })?;
        raw.latency_ms.check()?;
        let pace = match raw.throughput {
            None => None,
            // One operation an hour is slow enough.
            Some(rate) if rate.is_finite() && rate >= 1.0 / 3_600.0 => {
                Some(Duration::from_secs_f64(1.0 / rate))
            }
            Some(_) => return Err("throughput must be at least one operation an hour".into()),
        };
        let seed = raw.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        let fault = |(i, raw): (usize, RawEntry)| {
            let entry = raw.check().map_err(|message| format!("fault {}: {message}", i + 1))?;
            Ok(Fault::new(entry, seed, i as u64 + 1))
        };
        Ok(Self {
            latency: raw.latency_ms,
            pace,
            session_limit: raw.session_limit,
            unreachable: raw.unreachable,
            seed,
            faults: raw
                .fault
                .into_iter()
                .enumerate()
                .map(fault)
                .collect::<std::result::Result<_, String>>()?,
            drawn: AtomicU64::new(0),
            busy_until: Mutex::new(None),
        })
    }

    /// Standing faults that have begun.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.stands())
    }

    /// Takes the next place in the device's queue; how long until the work is done.
    fn queue(&self) -> Duration {
        let Some(pace) = self.pace else { return Duration::ZERO };
        let now = Instant::now();
        let mut busy_until = lock(&self.busy_until);
        let done = busy_until.map_or(now, |until| until.max(now)) + pace;
        *busy_until = Some(done);
        done - now
    }

    fn latency(&self) -> Duration {
        if self.latency.is_none() {
            return Duration::ZERO;
        }
        let n = self.drawn.fetch_add(2, Ordering::Relaxed);
        self.latency.sample([n, n + 1].map(|n| random::draw(self.seed, 0, n)))
    }
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { modified: metadata.modified().ok(), len: metadata.len(), inode: metadata.ino() }
    }
}

#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    breakdown: Arc<Breakdown>,
}

/// The fault file under watch. It outlives `C_Finalize`, and so do its counters.
#[derive(Debug)]
pub struct Faults {
    path: Option<PathBuf>,
    started: Instant,
    /// Microseconds after `started` before which nobody need look again.
    next_look: AtomicU64,
    seen: RwLock<Seen>,
    until_reinit: AtomicBool,
    until_restart: AtomicBool,
}

impl Faults {
    /// Watches a file; none means no faults ever.
    pub fn watch(path: Option<PathBuf>) -> Self {
        Self {
            path,
            started: Instant::now(),
            next_look: AtomicU64::new(0),
            seen: RwLock::new(Seen { stamp: None, breakdown: Arc::default() }),
            until_reinit: AtomicBool::new(false),
            until_restart: AtomicBool::new(false),
        }
    }

    /// The file under watch.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Stands for crossing the network to the device.
    pub(crate) fn reach(&self, breakdown: &Breakdown) -> Result<()> {
        let stuck = self.until_reinit.load(Ordering::Acquire) || self.until_restart.load(Ordering::Acquire);
        if stuck || breakdown.unreachable { Err(Error::DeviceError) } else { Ok(()) }
    }

    /// Stands for the device's own time on one cryptographic operation. Callers hold no lock.
    pub fn work(&self) {
        let breakdown = self.current();
        let duration = breakdown.queue() + breakdown.latency();
        if !duration.is_zero() {
            thread::sleep(duration);
        }
    }

    /// What happens to `C_Initialize`, before there is a module.
    pub(crate) fn before_initialize(&self) -> std::result::Result<(), CK_RV> {
        for fault in &self.current().faults {
            let before = fault.entry.action.moment() == Moment::Before;
            if before && fault.concerns(Function::Initialize, None, Vec::new) && fault.strikes() {
                self.strike(&fault.entry)?;
            }
        }
        self.until_reinit.store(false, Ordering::Release);
        Ok(())
    }

    /// Does what needs no module. Callers hold no lock, since this may take for ever.
    pub(crate) fn strike(&self, entry: &Entry) -> std::result::Result<(), CK_RV> {
        match entry.action {
            Action::Error(rv) => return Err(rv),
            Action::Hang(longest) => self.hang(entry, longest),
            Action::Delay(duration) => thread::sleep(duration),
            Action::Crash => std::process::abort(),
            Action::Segfault => die_of_segv(),
            Action::Exit => std::process::exit(1),
            Action::OnlyReinit => {
                self.until_reinit.store(true, Ordering::Release);
                return Err(Error::DeviceError.rv());
            }
            Action::OnlyRestart => {
                self.until_restart.store(true, Ordering::Release);
                return Err(Error::DeviceError.rv());
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until no entry of the file says the same, or so long.
    pub(crate) fn hang(&self, entry: &Entry, longest: Option<Duration>) {
        let start = Instant::now();
        let goes_on = || self.current().faults.iter().any(|fault| fault.entry == *entry);
        while longest.is_none_or(|longest| start.elapsed() < longest) && goes_on() {
            thread::sleep(longest.map_or(LOOK_EVERY, |longest| LOOK_EVERY.min(longest)));
        }
    }

    /// What is broken now.
    pub(crate) fn current(&self) -> Arc<Breakdown> {
        if let Some(path) = &self.path {
            let now = self.started.elapsed().as_micros() as u64;
            let due = self.next_look.load(Ordering::Relaxed);
            let next = now + LOOK_EVERY.as_micros() as u64;
            // One thread wins the look; the others go by what was seen last.
            if now >= due
                && self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                self.look(path);
            }
        }
        read(&self.seen).breakdown.clone()
    }

    fn look(&self, path: &Path) {
        let stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp == read(&self.seen).stamp {
            return;
        }
        // The stamp of the open file, since another may have been renamed into its place meanwhile.
        let text = File::open(path).and_then(|mut file| {
            let (stamp, mut text) = (Stamp::of(&file.metadata()?), String::new());
            file.read_to_string(&mut text)?;
            Ok((stamp, text))
        });
        let (stamp, breakdown) = match text {
            Ok((stamp, text)) => (Some(stamp), Breakdown::parse(&text)),
            Err(_) if stamp.is_none() => (None, Ok(Breakdown::default())),
            Err(error) => (stamp, Err(error.to_string())),
        };
        let mut seen = write(&self.seen);
        seen.stamp = stamp;
        match breakdown {
            Ok(breakdown) => seen.breakdown = Arc::new(breakdown),
            Err(message) => complain(path, &message),
        }
    }
}

#[allow(clippy::print_stderr, reason = "a fault that does not happen would otherwise be a riddle")]
fn complain(path: &Path, message: &str) {
    eprintln!("hsm-sim: {}: {message}; what was broken before stays so", path.display());
}

fn die_of_segv() {
    // A handler of the program's own may take the first one.
    while kill_process(getpid(), Signal::SEGV).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> (tempfile::TempDir, PathBuf, Faults) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fault.toml");
        let faults = Faults::watch(Some(path.clone()));
        (folder, path, faults)
    }

    fn set(path: &Path, text: &str) {
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
        thread::sleep(LOOK_EVERY * 2);
    }

    #[test]
    fn a_rewritten_file_is_noticed_and_a_removed_one_heals() {
        let (_folder, path, faults) = watched();
        assert_eq!(faults.reach(&faults.current()), Ok(()));
        set(&path, "unreachable = true\n");
        assert_eq!(faults.reach(&faults.current()), Err(Error::DeviceError));
        set(&path, "");
        assert_eq!(faults.reach(&faults.current()), Ok(()));
        set(&path, "unreachable = true\n");
        assert_eq!(faults.reach(&faults.current()), Err(Error::DeviceError));
        fs::remove_file(&path).unwrap();
        thread::sleep(LOOK_EVERY * 2);
        assert_eq!(faults.reach(&faults.current()), Ok(()));
    }

    #[test]
    fn nonsense_in_the_file_changes_nothing() {
        let (_folder, path, faults) = watched();
        for nonsense in [
            "unreachable = ",
            "latency_ms = 'x'",
            "latency_ms = -4.0",
            "latency_ms = { distribution = 'zipf', s = 1.0 }",
            "latency_ms = { distribution = 'normal', mean = 1.0 }",
            "throughput = 0",
            "session_limit = -1",
            "lateny_ms = 3",
            "[[fault]]\nfunction = 'C_Sign'",
            "[[fault]]\naction = 'hang'\nfunction = 'C_Sing'",
        ] {
            set(&path, nonsense);
            assert_eq!(faults.reach(&faults.current()), Ok(()), "{nonsense}");
        }
        set(&path, "unreachable = true");
        assert_eq!(faults.reach(&faults.current()), Err(Error::DeviceError));
        set(&path, "unreachable = maybe");
        assert_eq!(faults.reach(&faults.current()), Err(Error::DeviceError));
    }

    #[test]
    fn what_is_wrong_fits_on_one_line() {
        let message = Breakdown::parse("seed = 1\nthroughput = 'fast'\n").unwrap_err();
        assert!(message.starts_with("line 2: ") && !message.contains('\n'), "{message}");
        let message = Breakdown::parse("[[fault]]\naction = 'exit'\n[[fault]]\naction = 'x'\n").unwrap_err();
        assert_eq!(message, "fault 2: unknown action \"x\"");
    }

    #[test]
    fn the_readmes_example_is_a_fault_file() {
        let (_, section) = include_str!("../../README.md").split_once("## Fault file").unwrap();
        let example = section.split("```").nth(1).unwrap().strip_prefix("toml").unwrap();
        let breakdown = Breakdown::parse(example).unwrap();
        assert_eq!((breakdown.faults.len(), breakdown.seed), (2, 7));
    }

    #[test]
    fn a_latency_may_be_a_whole_number() {
        assert_eq!(Breakdown::parse("latency_ms = 60000").unwrap().latency(), Duration::from_secs(60));
        assert_eq!(Breakdown::parse("latency_ms = 2.5").unwrap().latency(), Duration::from_micros(2_500));
    }

    #[test]
    fn a_device_with_a_queue_serves_one_after_the_other() {
        let breakdown = Breakdown::parse("throughput = 100").unwrap();
        let waits: Vec<_> = (0..5).map(|_| breakdown.queue().as_millis()).collect();
        for (i, wait) in waits.iter().enumerate() {
            let whole = 10 * (i as u128 + 1);
            assert!((whole - 5..=whole).contains(wait), "{waits:?}");
        }
    }
}
