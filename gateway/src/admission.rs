//! How many requests may be worked on, and for whom: the site's bound for all, and within it a share for each app,
//! so that one app that asks for everything does not keep the others out.
//!
//! An app may hold up to [`GREED`] times what is free after everybody's requests. One busy app alone thus gets four
//! fifths of the places, two get four ninths each, and however many are busy there is room for one that comes now and
//! then. Nobody has to be configured for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use config::AppId;

/// How many times the free places an app may hold.
const GREED: usize = 4;

/// The requests that are worked on.
#[derive(Default)]
pub(crate) struct Admission {
    all: AtomicUsize,
    admitted: Mutex<Admitted>,
}

/// Of those the ones whose app is known.
#[derive(Default)]
struct Admitted {
    total: usize,
    by_app: HashMap<AppId, usize>,
}

/// A request's place; it is free again when this is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    limit: usize,
    app: Mutex<Option<AppId>>,
}

impl Admission {
    /// A place for a request of which nothing is known yet; none when all `limit` are taken.
    pub(crate) fn arrive(self: &Arc<Self>, limit: usize) -> Option<Place> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= limit {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place { admission: Arc::clone(self), limit, app: Mutex::default() })
    }

    /// How many requests are worked on.
    pub(crate) fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, Admitted> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The request turned out to be this app's. False when the app holds its share already.
    pub(crate) fn claim(&self, app: &AppId) -> bool {
        let mut whose = self.app.lock().unwrap_or_else(PoisonError::into_inner);
        if whose.is_some() {
            return true; // asked twice in one request
        }
        let mut admitted = self.admission.admitted();
        let free = self.limit.saturating_sub(admitted.total);
        let held = admitted.by_app.get(app).copied().unwrap_or(0);
        if held >= free.saturating_mul(GREED) {
            return false;
        }
        admitted.total += 1;
        admitted.by_app.insert(app.clone(), held + 1);
        *whose = Some(app.clone());
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.all.fetch_sub(1, Ordering::Relaxed);
        let app = self.app.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(app) = app {
            let mut admitted = self.admission.admitted();
            admitted.total -= 1;
            if let Entry::Occupied(mut entry) = admitted.by_app.entry(app) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::parse(name).unwrap()
    }

    /// As many places as the app gets when it asks for all.
    fn take_all(admission: &Arc<Admission>, limit: usize, name: &str) -> Vec<Place> {
        let claimed = |place: &Place| place.claim(&app(name));
        (0..limit).map_while(|_| admission.arrive(limit)).take_while(claimed).collect()
    }

    #[test]
    fn a_greedy_app_leaves_a_fifth_to_others_and_two_leave_a_ninth() {
        let admission = Arc::<Admission>::default();
        let first = take_all(&admission, 900, "noisy");
        assert_eq!(first.len(), 720);
        let second = take_all(&admission, 900, "noisy-too");
        assert_eq!(second.len(), 144, "what is free goes by fifths while the first holds on");
        let quiet = admission.arrive(900).unwrap();
        assert!(quiet.claim(&app("quiet")));
        // The first may not take again what it gives back while others hold much.
        drop(first);
        let again = take_all(&admission, 900, "noisy");
        assert_eq!(again.len(), 604);
        assert_eq!(admission.count(), 604 + 144 + 1);
    }

    #[test]
    fn the_bound_holds_for_all_and_nothing_is_left_behind() {
        let admission = Arc::<Admission>::default();
        let alone = take_all(&admission, 4, "only");
        assert_eq!(alone.len(), 4, "a small site is not cut smaller");
        assert!(admission.arrive(4).is_none());
        drop(alone);
        assert_eq!(admission.count(), 0);
        assert!(admission.admitted().by_app.is_empty() && admission.admitted().total == 0);
    }
}
