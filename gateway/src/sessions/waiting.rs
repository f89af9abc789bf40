//! Who waits for which session, and what wakes them: a step at this gateway, or the database's word of one at another. Nobody
//! who waits asks the database again and again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::AppId;
use store::{ScanState, ScanStep, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use verify_front::SessionEvent;

use super::steps::{self, Record};
use crate::admission::release;
use crate::problem::Problem;
use crate::state::Gateway;

/// Most that wait at a time at this gateway.
const MOST: usize = 8192;
/// Most of them of one app.
const MOST_OF_APP: usize = 4096;
/// Most browsers that wait besides, in which somebody logs in: anybody can have one.
const MOST_BROWSERS: usize = 4096;
/// Most of them of one source, and for one login.
const MOST_OF_SOURCE: usize = 512;
const MOST_OF_LOGIN: usize = 4;
/// How long to wait before listening again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked for sessions whose time is over; so many each time.
const SWEEP: Duration = Duration::from_secs(1);
const SWEPT: u32 = 256;
/// So many at a time: their steps share a durable write.
const AT_ONCE: usize = 64;
/// What a session is refused by that is not what was kept.
const BROKEN: &str = "session_broken";
/// How often it is looked for sessions that have been kept long enough.
const FORGET: u32 = 600;
/// How often it is looked for logins that nobody scanned, and how long such a one stays: so long its browser is told that it is over.
const FORGET_UNSCANNED: u32 = 10;
const UNSCANNED_STAYS: time::Duration = time::Duration::minutes(2);
/// How long it is known what a device asked with, so that one that asks late or twice is told.
const DEVICES_STAY: time::Duration = time::Duration::minutes(20);
/// How long an ended session keeps what it says, and how long the rest of it stays.
const KEPT: time::Duration = time::Duration::hours(24);
const STAYS: time::Duration = time::Duration::days(30);

/// All who wait.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    by_session: HashMap<String, (watch::Sender<()>, usize)>,
    by_app: HashMap<AppId, usize>,
    total: usize,
    by_source: HashMap<IpAddr, usize>,
    browsers: usize,
    closed: bool,
}

/// For whom somebody waits.
enum Whose {
    /// An app, for its session.
    App(AppId),
    /// A browser, for its login; at this source if that is an address.
    Browser(Option<IpAddr>),
}

/// Somebody who waits.
pub(crate) struct Waiter {
    waiting: Arc<Waiting>,
    session: String,
    whose: Whose,
    woken: watch::Receiver<()>,
}

impl Waiting {
    /// A place to wait; none where too many wait.
    pub(crate) fn enter(self: &Arc<Self>, session: &str, app: &AppId) -> Option<Waiter> {
        let mut waiters = self.waiters();
        let of_app = waiters.by_app.get(app).copied().unwrap_or(0);
        if waiters.total >= MOST || of_app >= MOST_OF_APP {
            return None;
        }
        waiters.total += 1;
        waiters.by_app.insert(app.clone(), of_app + 1);
        Some(self.entered(waiters, session, Whose::App(app.clone())))
    }

    /// A place for a browser to wait for its login's session; none where too many do. They take no app's place.
    pub(crate) fn enter_browser(self: &Arc<Self>, session: &str, source: Option<IpAddr>) -> Option<Waiter> {
        let mut waiters = self.waiters();
        let of_source = source.and_then(|source| waiters.by_source.get(&source).copied()).unwrap_or(0);
        let of_login = waiters.by_session.get(session).map_or(0, |(_, count)| *count);
        if waiters.browsers >= MOST_BROWSERS || of_source >= MOST_OF_SOURCE || of_login >= MOST_OF_LOGIN {
            return None;
        }
        waiters.browsers += 1;
        if let Some(source) = source {
            waiters.by_source.insert(source, of_source + 1);
        }
        Some(self.entered(waiters, session, Whose::Browser(source)))
    }

    fn entered(
        self: &Arc<Self>,
        mut waiters: MutexGuard<'_, Waiters>,
        session: &str,
        whose: Whose,
    ) -> Waiter {
        let (sender, count) =
            waiters.by_session.entry(session.to_owned()).or_insert_with(|| (watch::Sender::new(()), 0));
        *count += 1;
        let woken = sender.subscribe();
        drop(waiters);
        Waiter { waiting: Arc::clone(self), session: session.to_owned(), whose, woken }
    }

    /// A session may be further.
    pub(crate) fn wake(&self, session: &str) {
        if let Some((sender, _)) = self.waiters().by_session.get(session) {
            sender.send_replace(());
        }
    }

    /// Any session may be further.
    fn wake_all(&self) {
        for (sender, _) in self.waiters().by_session.values() {
            sender.send_replace(());
        }
    }

    /// Nobody waits any more: the gateway stops.
    pub(crate) fn close(&self) {
        self.waiters().closed = true;
        self.wake_all();
    }

    /// How many of apps wait.
    pub(crate) fn count(&self) -> usize {
        self.waiters().total
    }

    /// How many browsers wait.
    pub(crate) fn browsers(&self) -> usize {
        self.waiters().browsers
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// From here on it is woken by what happens. To be said before it is looked how far the session is.
    pub(crate) fn mark(&mut self) {
        self.woken.mark_unchanged();
    }

    /// Waits for a step, but no longer than a time. Whether there may have been one.
    pub(crate) async fn wait(&mut self, most: Duration) -> bool {
        tokio::time::timeout(most, self.woken.changed()).await.is_ok()
    }

    /// Whether the gateway stops.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.waiters().closed
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.waiting.waiters();
        match &self.whose {
            Whose::App(app) => {
                waiters.total -= 1;
                release(&mut waiters.by_app, app.clone());
            }
            Whose::Browser(source) => {
                waiters.browsers -= 1;
                if let Some(source) = source {
                    release(&mut waiters.by_source, *source);
                }
            }
        }
        if let Entry::Occupied(mut entry) = waiters.by_session.entry(self.session.clone()) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

/// Hears of steps at other gateways, until it is dropped.
pub(crate) async fn follow(store: Store, waiting: Arc<Waiting>) {
    loop {
        let listened = async {
            let mut changes = store.scan_changes().await?;
            waiting.wake_all(); // what was missed before somebody listened
            loop {
                match changes.next().await? {
                    Some(session) => waiting.wake(&session),
                    None => waiting.wake_all(),
                }
            }
        };
        let ended: Result<(), StoreError> = listened.await;
        if let Err(error) = ended {
            tracing::warn!(%error, "steps of sessions at other gateways are not heard of");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends sessions whose time is over, and takes away what is kept no longer, until it is dropped.
pub(crate) async fn sweep(gateways: watch::Receiver<Option<Gateway>>) {
    let mut rounds = tokio::time::interval(SWEEP);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    let mut broken = BTreeSet::new();
    loop {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        if gateway.store.protection().is_locked() {
            continue;
        }
        if let Err(error) = expire(&gateway, &mut broken).await {
            tracing::warn!(%error, "sessions whose time is over could not be looked for");
        }
        if round.is_multiple_of(FORGET_UNSCANNED) {
            let before = OffsetDateTime::now_utc() - UNSCANNED_STAYS;
            if let Err(error) = gateway.store.forget_unscanned_logins(before).await {
                tracing::warn!(%error, "logins that nobody scanned stay for now");
            }
        }
        round = (round + 1) % FORGET;
        if round == 1 {
            let now = OffsetDateTime::now_utc();
            if let Err(error) = gateway.store.forget_logins(now).await {
                tracing::warn!(%error, "logins that are over stay for now");
            }
            if let Err(error) = gateway.store.forget_devices(now - DEVICES_STAY).await {
                tracing::warn!(%error, "codes of devices that are over stay for now");
            }
            if let Err(error) = gateway.store.forget_pushed(now).await {
                tracing::warn!(%error, "requests that were pushed and are over stay for now");
            }
            if let Err(error) = gateway.store.forget_scans(now - KEPT, now - STAYS).await {
                tracing::warn!(%error, "sessions that are kept no longer stay for now");
            }
        }
    }
}

/// Ends what is due, but for what cannot be read: that is told once, and stands in nobody's way.
async fn expire(gateway: &Gateway, broken: &mut BTreeSet<String>) -> Result<(), StoreError> {
    let most = SWEPT.saturating_add(u32::try_from(broken.len()).unwrap_or(u32::MAX));
    let due = gateway.store.due_scans(OffsetDateTime::now_utc(), most).await?;
    let mut under_way = JoinSet::new();
    let mut failed = Vec::new();
    for id in due.into_iter().filter(|id| !broken.contains(id)) {
        if under_way.len() >= AT_ONCE {
            failed.extend(under_way.join_next().await.and_then(Result::ok).flatten());
        }
        let gateway = gateway.clone();
        under_way.spawn(async move { end(&gateway, &id).await.err().map(|problem| (id, problem.code())) });
    }
    while let Some(ended) = under_way.join_next().await {
        failed.extend(ended.ok().flatten());
    }
    for (session, code) in failed {
        let is_broken = code == BROKEN;
        // Another gateway, or a phone, may have come first: that is no fault.
        if is_broken || !code.starts_with("session_") {
            tracing::warn!(session, code, "a session whose time is over could not be ended");
        }
        if is_broken {
            broken.insert(session);
        }
    }
    Ok(())
}

async fn end(gateway: &Gateway, id: &str) -> Result<(), Problem> {
    let find = || steps::found(gateway, id);
    let step = |session: &store::ScanSession| {
        let notice = steps::notice(session, ScanState::Expired);
        Ok(ScanStep { notice, ..ScanStep::to(ScanState::Expired) })
    };
    let record = || Record::of("license-gateway".to_owned(), "session.expire", id);
    steps::advance(gateway, find, SessionEvent::Expire, step, record, || None).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_step_between_looking_and_waiting_is_not_missed() {
        let waiting = Arc::<Waiting>::default();
        let mut waiter = waiting.enter("one", &app("a")).unwrap();
        let mut other = waiting.enter("two", &app("a")).unwrap();
        waiter.mark();
        waiting.wake("one");
        assert!(waiter.wait(Duration::from_secs(60)).await);
        assert!(!other.wait(Duration::ZERO).await, "it is about another session");
        waiting.close();
        assert!(other.wait(Duration::from_secs(60)).await && other.is_over());
    }

    #[test]
    fn those_who_wait_are_bounded_and_leave_nothing_behind() {
        let waiting = Arc::<Waiting>::default();
        let greedy: Vec<_> = std::iter::from_fn(|| waiting.enter("one", &app("greedy"))).take(MOST).collect();
        assert_eq!(greedy.len(), MOST_OF_APP);
        let others: Vec<_> = (0..MOST)
            .map_while(|number| waiting.enter(&number.to_string(), &app(&format!("app-{}", number % 7))))
            .collect();
        assert_eq!(others.len(), MOST - MOST_OF_APP);
        assert_eq!(waiting.count(), MOST);
        drop((greedy, others));
        assert_eq!(waiting.count(), 0);
        assert!(waiting.waiters().by_session.is_empty() && waiting.waiters().by_app.is_empty());
    }

    #[test]
    fn browsers_take_no_apps_place_and_no_source_or_login_takes_all_of_theirs() {
        let waiting = Arc::<Waiting>::default();
        let source = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        let enter = |login: usize, from: u8| waiting.enter_browser(&login.to_string(), source(from));
        let of_one: Vec<_> = std::iter::from_fn(|| enter(0, 1)).take(MOST_BROWSERS).collect();
        assert_eq!(of_one.len(), MOST_OF_LOGIN);
        let at_one: Vec<_> = (1..MOST_BROWSERS).map_while(|login| enter(login, 1)).collect();
        assert_eq!(at_one.len(), MOST_OF_SOURCE - MOST_OF_LOGIN);
        let others: Vec<_> = (0..MOST_BROWSERS)
            .filter_map(|login| enter(MOST_BROWSERS + login, 2 + u8::try_from(login % 16).unwrap()))
            .collect();
        assert_eq!(others.len(), MOST_BROWSERS - MOST_OF_SOURCE);
        assert_eq!((waiting.browsers(), waiting.count()), (MOST_BROWSERS, 0));
        assert!(waiting.enter("an app's", &app("a")).is_some());
        drop((of_one, at_one, others));
        assert_eq!(waiting.browsers(), 0);
        assert!(waiting.waiters().by_session.is_empty() && waiting.waiters().by_source.is_empty());
    }
}
