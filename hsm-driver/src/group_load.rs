//! How much the devices of a group have to do, all together: now, and at most since the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of things going on, and the highest it has been.
#[derive(Debug, Default)]
pub(crate) struct Level {
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// One of them; it ends when this is dropped.
pub(crate) struct Raised(Arc<Level>);

/// The figures of a group; a device that takes another's place goes on with them.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupLoad {
    /// Attempts that wait or are being worked on.
    pub(crate) load: Arc<Level>,
    /// Attempts that wait for a worker.
    pub(crate) waiting: Arc<Level>,
}

impl Level {
    pub(crate) fn raise(level: &Arc<Self>) -> Raised {
        let now = level.now.fetch_add(1, Ordering::Relaxed) + 1;
        level.peak.fetch_max(now, Ordering::Relaxed);
        Raised(Arc::clone(level))
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_stays_when_the_level_falls() {
        let level = Arc::new(Level::default());
        let raised: Vec<_> = (0..3).map(|_| Level::raise(&level)).collect();
        assert_eq!((level.now(), level.peak()), (3, 3));
        drop(raised);
        let one = Level::raise(&level);
        assert_eq!((level.now(), level.peak()), (1, 3));
        drop(one);
        assert_eq!((level.now(), level.peak()), (0, 3));
    }
}
