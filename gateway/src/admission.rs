//! How many requests may be worked on, and for whom: the site's bound for all, and within it a share for each app,
//! so that one app that asks for everything does not keep the others out.
//!
//! An app may hold up to [`GREED`] times what is free after everybody's requests. One busy app alone thus gets four
//! fifths of the places, two get four ninths each, and however many are busy there is room for one that comes now and
//! then. Nobody has to be configured for it.
//!
//! Of whom no app is known yet (or ever will be) each source may hold a quarter of all places, and all sources at which
//! no app has proved itself before three quarters: who sends requests that never end, from however many addresses,
//! keeps out nobody who has been here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use config::AppId;
use lru::LruCache;

/// How many times the free places an app may hold.
const GREED: usize = 4;
/// What part of all places one source may hold for requests whose app is not known.
const OF_STRANGERS: usize = 4;
/// That many it may hold in any case.
const FEW: usize = 64;
/// What part of all places is left to sources at which apps proved themselves.
const FOR_THE_KNOWN: usize = 4;
/// Sources that are known so, those seen last.
const MOST_KNOWN: usize = 65_536;

/// The requests that are worked on.
#[derive(Default)]
pub(crate) struct Admission {
    all: Arc<AtomicUsize>,
    admitted: Mutex<Admitted>,
}

/// Whose they are: of an app, or of strangers at a source.
struct Admitted {
    total: usize,
    by_app: HashMap<AppId, usize>,
    strangers: HashMap<IpAddr, usize>,
    /// Of the strangers, those at sources that are not known.
    unknown: usize,
    /// Where apps proved themselves.
    known: LruCache<IpAddr, ()>,
}

impl Default for Admitted {
    fn default() -> Self {
        Self {
            total: 0,
            by_app: HashMap::new(),
            strangers: HashMap::new(),
            unknown: 0,
            known: LruCache::new(NonZeroUsize::new(MOST_KNOWN).expect("it is not 0")),
        }
    }
}

impl Admitted {
    /// Takes a stranger in, unless there are too many.
    fn enter(&mut self, limit: usize, source: IpAddr, most_of_one: usize) -> Option<Stranger> {
        let unknown = self.known.get(&source).is_none();
        let held = self.strangers.get(&source).copied().unwrap_or(0);
        let most_unknown = (limit - limit / FOR_THE_KNOWN).max(FEW);
        if held >= most_of_one || (unknown && self.unknown >= most_unknown) {
            return None;
        }
        self.strangers.insert(source, held + 1);
        self.unknown += usize::from(unknown);
        Some(Stranger { source, unknown })
    }

    fn leave(&mut self, stranger: Stranger) {
        release(&mut self.strangers, stranger.source);
        self.unknown -= usize::from(stranger.unknown);
    }
}

/// One less of these.
pub(crate) fn release<K: Eq + Hash>(counts: &mut HashMap<K, usize>, whose: K) {
    if let Entry::Occupied(mut entry) = counts.entry(whose) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

/// Whose a place is.
enum Whose {
    Stranger(Option<Stranger>),
    App(AppId),
    /// It was given back.
    Nobody,
}

/// Somebody at a source, which was not known when he came, or was.
#[derive(Clone, Copy)]
struct Stranger {
    source: IpAddr,
    unknown: bool,
}

/// A request's place; it is free again when this is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    limit: usize,
    whose: Mutex<Whose>,
}

impl Admission {
    /// A place for a request of which only the source is known yet; none when all `limit` are taken, or the source, or
    /// sources like it, hold their part without saying for whom.
    pub(crate) fn arrive(self: &Arc<Self>, limit: usize, source: Option<IpAddr>) -> Option<Place> {
        self.arrive_by(limit, source, (limit / OF_STRANGERS).max(FEW))
    }

    /// The same of few places, of which a source holds no more than so many.
    pub(crate) fn arrive_by(
        self: &Arc<Self>,
        limit: usize,
        source: Option<IpAddr>,
        most_of_one: usize,
    ) -> Option<Place> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= limit {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut stranger = None;
        if let Some(source) = source {
            stranger = self.admitted().enter(limit, source, most_of_one);
            if stranger.is_none() {
                self.all.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(Place { admission: Arc::clone(self), limit, whose: Mutex::new(Whose::Stranger(stranger)) })
    }

    /// Counts all in `all`, for others to see.
    pub(crate) fn counting_in(all: Arc<AtomicUsize>) -> Self {
        Self { all, admitted: Mutex::default() }
    }

    /// How many requests are worked on.
    pub(crate) fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Has a place back.
    fn leave(&self, whose: Whose) {
        let mut admitted = self.admitted();
        match whose {
            Whose::Nobody => return,
            Whose::Stranger(None) => {}
            Whose::Stranger(Some(stranger)) => admitted.leave(stranger),
            Whose::App(app) => {
                admitted.total -= 1;
                release(&mut admitted.by_app, app);
            }
        }
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, Admitted> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The request turned out to be this app's. False when the app holds its share already.
    pub(crate) fn claim(&self, app: &AppId) -> bool {
        let mut whose = self.whose.lock().unwrap_or_else(PoisonError::into_inner);
        let Whose::Stranger(stranger) = *whose else { return true }; // asked twice in one request
        let mut admitted = self.admission.admitted();
        let free = self.limit.saturating_sub(admitted.total);
        let held = admitted.by_app.get(app).copied().unwrap_or(0);
        if held >= free.saturating_mul(GREED) {
            return false;
        }
        admitted.total += 1;
        admitted.by_app.insert(app.clone(), held + 1);
        if let Some(stranger) = stranger {
            admitted.leave(stranger);
            admitted.known.put(stranger.source, ());
        }
        *whose = Whose::App(app.clone());
        true
    }

    /// Gives it back before the answer is there: whoever only waits takes no place from those who have work.
    pub(crate) fn give_back(&self) {
        let mut whose = self.whose.lock().unwrap_or_else(PoisonError::into_inner);
        let had = std::mem::replace(&mut *whose, Whose::Nobody);
        drop(whose);
        self.admission.leave(had);
    }

    /// Whether nobody proved to be an app for it.
    pub(crate) fn is_a_strangers(&self) -> bool {
        matches!(*self.whose.lock().unwrap_or_else(PoisonError::into_inner), Whose::Stranger(_))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let whose = self.whose.get_mut().unwrap_or_else(PoisonError::into_inner);
        let had = std::mem::replace(whose, Whose::Nobody);
        self.admission.leave(had);
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
        (0..limit).map_while(|_| admission.arrive(limit, None)).take_while(claimed).collect()
    }

    #[test]
    fn a_greedy_app_leaves_a_fifth_to_others_and_two_leave_a_ninth() {
        let admission = Arc::<Admission>::default();
        let first = take_all(&admission, 900, "noisy");
        assert_eq!(first.len(), 720);
        let second = take_all(&admission, 900, "noisy-too");
        assert_eq!(second.len(), 144, "what is free goes by fifths while the first holds on");
        let quiet = admission.arrive(900, None).unwrap();
        assert!(quiet.claim(&app("quiet")));
        // The first may not take again what it gives back while others hold much.
        drop(first);
        let again = take_all(&admission, 900, "noisy");
        assert_eq!(again.len(), 604);
        assert_eq!(admission.count(), 604 + 144 + 1);
    }

    #[test]
    fn a_place_that_is_given_back_is_free_once() {
        let admission = Arc::<Admission>::default();
        let places = take_all(&admission, 100, "one");
        let held = places.len();
        places[0].give_back();
        places[0].give_back();
        assert_eq!(admission.count(), held - 1);
        let again = admission.arrive(100, None).unwrap();
        assert!(again.claim(&app("one")));
        drop((places, again));
        assert_eq!(admission.count(), 0);
        assert_eq!(take_all(&admission, 100, "one").len(), held);
    }

    #[test]
    fn the_bound_holds_for_all_and_nothing_is_left_behind() {
        let admission = Arc::<Admission>::default();
        let alone = take_all(&admission, 4, "only");
        assert_eq!(alone.len(), 4, "a small site is not cut smaller");
        assert!(admission.arrive(4, None).is_none());
        drop(alone);
        assert_eq!(admission.count(), 0);
        assert!(admission.admitted().by_app.is_empty() && admission.admitted().total == 0);
    }

    #[test]
    fn of_few_places_a_source_holds_its_part_alone() {
        let admission = Arc::<Admission>::default();
        let source = |last| Some(IpAddr::from([192, 0, 2, last]));
        let held: Vec<_> = (0..8).map_while(|_| admission.arrive_by(8, source(1), 2)).collect();
        assert_eq!(held.len(), 2);
        let others: Vec<_> = (2..20).filter_map(|last| admission.arrive_by(8, source(last), 2)).collect();
        assert_eq!(others.len(), 6);
        drop(held);
        assert!(admission.arrive_by(8, source(1), 2).is_some(), "given back");
        drop(others);
        assert_eq!((admission.count(), admission.admitted().unknown), (0, 0));
    }

    #[test]
    fn a_source_that_never_says_who_it_is_leaves_the_places_to_others() {
        let admission = Arc::<Admission>::default();
        let source = |last| Some(IpAddr::from([192, 0, 2, last]));
        let stuck: Vec<_> = (0..800).map_while(|_| admission.arrive(800, source(1))).collect();
        assert_eq!(stuck.len(), 200);
        let other = admission.arrive(800, source(2)).expect("another source");
        assert!(other.claim(&app("window")));
        // Who proves to be an app takes none of the source's part: many may come by one address.
        let proved: Vec<_> = (0..300)
            .map(|_| admission.arrive(800, source(2)).filter(|place| place.claim(&app("window"))).unwrap())
            .collect();
        assert_eq!(admission.count(), 200 + 1 + 300);
        drop((stuck, other, proved));
        assert_eq!((admission.count(), admission.admitted().unknown), (0, 0));
        assert!(admission.admitted().strangers.is_empty() && admission.admitted().by_app.is_empty());
        assert_eq!(
            (0..80).map_while(|_| admission.arrive(80, source(1))).count(),
            80,
            "each given back at once"
        );
    }

    #[test]
    fn strangers_at_many_sources_leave_a_quarter_to_those_where_an_app_has_been() {
        let admission = Arc::<Admission>::default();
        let source = |last| Some(IpAddr::from([192, 0, 2, last]));
        assert!(admission.arrive(800, source(1)).unwrap().claim(&app("window")));
        let stuck: Vec<_> = (10..110)
            .flat_map(|last| (0..100).map(move |_| last))
            .filter_map(|last| admission.arrive(800, source(last)))
            .collect();
        assert_eq!(stuck.len(), 600);
        assert!(admission.arrive(800, source(2)).is_none(), "nobody was known there");
        let served: Vec<_> = (0..150).filter_map(|_| admission.arrive(800, source(1))).collect();
        assert!(served.len() == 150 && served.iter().all(|place| place.claim(&app("window"))));
        drop((stuck, served));
        assert!(admission.arrive(800, source(2)).is_some(), "all given back");
        assert_eq!(admission.admitted().unknown, 0);
    }
}
