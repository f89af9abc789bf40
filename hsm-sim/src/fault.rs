//! Breakdowns on command: a small TOML file that a test rewrites while the module runs.
//!
//! The file is looked at no more often than every ten milliseconds, and read again only when its modification time
//! or length changed. An absent file means a healthy device. A file that cannot be understood also does, so that a
//! half-written one never wedges a run; writers that care rename a complete file into place.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::Deserialize;

use crate::error::{Error, Result};

const LOOK_EVERY: Duration = Duration::from_millis(10);
const LONGEST_LATENCY_MS: f64 = 3_600_000.0;

/// What is broken, as the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breakdown {
    /// Milliseconds that every cryptographic operation takes on top; 0 to 3,600,000.
    pub latency_ms: f64,
    /// The network to the device is gone.
    pub unreachable: bool,
}

impl Breakdown {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }

    fn latency(self) -> Duration {
        if self.latency_ms > 0.0 {
            Duration::from_secs_f64(self.latency_ms.min(LONGEST_LATENCY_MS) / 1_000.0)
        } else {
            Duration::ZERO
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    stamp: Option<(SystemTime, u64)>,
    breakdown: Breakdown,
}

/// The fault file under watch.
#[derive(Debug)]
pub struct Faults {
    path: Option<PathBuf>,
    started: Instant,
    /// Microseconds after `started` before which nobody need look again.
    next_look: AtomicU64,
    seen: RwLock<Seen>,
}

impl Faults {
    /// Watches a file; none means no faults ever.
    pub fn watch(path: Option<PathBuf>) -> Self {
        let seen = Seen { stamp: None, breakdown: Breakdown::default() };
        Self { path, started: Instant::now(), next_look: AtomicU64::new(0), seen: RwLock::new(seen) }
    }

    /// Stands for crossing the network to the device.
    pub fn reach(&self) -> Result<()> {
        if self.current().unreachable { Err(Error::DeviceError) } else { Ok(()) }
    }

    /// Stands for the device's own time on one cryptographic operation. Callers hold no lock.
    pub fn work(&self) {
        let latency = self.current().latency();
        if !latency.is_zero() {
            std::thread::sleep(latency);
        }
    }

    fn current(&self) -> Breakdown {
        let Some(path) = &self.path else { return Breakdown::default() };
        let now = self.started.elapsed().as_micros() as u64;
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now + LOOK_EVERY.as_micros() as u64;
        // One thread wins the look; the others go by what was seen last.
        if now >= due
            && self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.look(path);
        }
        self.seen.read().unwrap_or_else(|poisoned| poisoned.into_inner()).breakdown
    }

    fn look(&self, path: &Path) {
        let stamp = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        let mut seen = self.seen.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if stamp != seen.stamp {
            let breakdown = if stamp.is_some() { Breakdown::read(path) } else { Breakdown::default() };
            *seen = Seen { stamp, breakdown };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_in_the_file_is_a_healthy_device() {
        for text in ["unreachable = ", "latency_ms = 'x'", "latency_ms = -4.0", "latency_ms = nan"] {
            let breakdown: Breakdown = toml::from_str(text).unwrap_or_default();
            assert_eq!((breakdown.latency(), breakdown.unreachable), (Duration::ZERO, false), "{text}");
        }
    }

    #[test]
    fn a_rewritten_file_is_noticed_and_a_removed_one_heals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fault.toml");
        let faults = Faults::watch(Some(path.clone()));
        assert_eq!(faults.reach(), Ok(()));
        fs::write(&path, "unreachable = true\n").unwrap();
        std::thread::sleep(LOOK_EVERY * 2);
        assert_eq!(faults.reach(), Err(Error::DeviceError));
        fs::remove_file(&path).unwrap();
        std::thread::sleep(LOOK_EVERY * 2);
        assert_eq!(faults.reach(), Ok(()));
    }
}
