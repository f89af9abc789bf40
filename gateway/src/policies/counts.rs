//! How many signatures a rule has left today. A gateway takes some from the database at a time and uses them without
//! asking again: a thousand takings a day at most, whatever the limit.
//!
//! Over all gateways together never more than the limit is let through. What a gateway has taken and not used is out of
//! the others' reach until it stops or the day ends, and is lost if it crashes: a thousandth of the limit for each, and
//! what came back because it could not be signed. Of a limit up to a thousand a gateway holds nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::AppId;
use store::{Store, StoreError};
use tokio::sync::OwnedMutexGuard;
use tracing::Instrument;

/// A limit is taken in so many parts.
const PARTS: u64 = 1000;
/// So long it is believed that a day's signatures are used up: others may have given some back since.
const BELIEVED: Duration = Duration::from_secs(1);

/// What an app's rule has on a day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Counted {
    pub(crate) app: AppId,
    pub(crate) rule: String,
    /// Since 1970-01-01, in the site's time.
    pub(crate) day: i64,
    pub(crate) limit: u64,
}

/// What this gateway has taken.
pub(crate) struct DayCounts {
    store: Store,
    held: Mutex<HashMap<(AppId, String), Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    stock: Mutex<Stock>,
    /// Whoever takes more from the database holds it; the others wait for what that brings.
    taking: Arc<tokio::sync::Mutex<()>>,
}

/// What was taken for a request. It goes back if nobody is there any more to use it, before others have their turn.
struct Taken {
    slot: Arc<Slot>,
    of: Counted,
    count: u64,
    _turn: OwnedMutexGuard<()>,
}

impl Taken {
    fn keep(mut self) -> u64 {
        std::mem::take(&mut self.count)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.slot.stock().give_back(&self.of, self.count);
    }
}

#[derive(Default)]
struct Stock {
    day: i64,
    limit: u64,
    left: u64,
    /// When the database had nothing more.
    spent: Option<Instant>,
}

impl Slot {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// Uses up to `wanted`, if that is all that can be said without the database.
    fn take(&mut self, of: &Counted, wanted: u64) -> Option<u64> {
        if (self.day, self.limit) != (of.day, of.limit) {
            return None;
        }
        let spent = self.spent.is_some_and(|since| since.elapsed() < BELIEVED);
        (self.left >= wanted || spent).then(|| self.use_up(wanted))
    }

    fn use_up(&mut self, wanted: u64) -> u64 {
        let taken = wanted.min(self.left);
        self.left -= taken;
        taken
    }

    fn give_back(&mut self, of: &Counted, unused: u64) {
        if (self.day, self.limit) == (of.day, of.limit) {
            self.left += unused;
        }
    }
}

impl DayCounts {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// Uses up to `wanted` of what is left; answers how many there were.
    ///
    /// # Errors
    /// The database does not say: then nothing may be signed.
    pub(crate) async fn take(&self, of: &Counted, wanted: u64) -> Result<u64, StoreError> {
        let slot = self.slot(of);
        if let Some(taken) = slot.stock().take(of, wanted) {
            return Ok(taken);
        }
        let turn = Arc::clone(&slot.taking).lock_owned().await;
        if let Some(taken) = slot.stock().take(of, wanted) {
            return Ok(taken);
        }
        // In a task of its own: what the database gave does not get lost with a caller that hangs up.
        let taking = fill(self.store.clone(), slot, of.clone(), wanted, turn);
        let taken = tokio::spawn(taking.in_current_span()).await.map_err(|_| StoreError::Interrupted)??;
        Ok(taken.keep())
    }

    /// Gives back what was taken for signatures that were not made.
    pub(crate) fn give_back(&self, of: &Counted, unused: u64) {
        self.slot(of).stock().give_back(of, unused);
    }

    /// How many are used on a day by all gateways, as far as this one can know: what others hold counts as used.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn used(&self, of: &Counted) -> Result<u64, StoreError> {
        let taken = self.store.taken_of_day((&of.app, &of.rule), of.day).await?;
        let held = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.get(&(of.app.clone(), of.rule.clone())).cloned()
        };
        let left = held.map_or(0, |slot| {
            let stock = slot.stock();
            if stock.day == of.day { stock.left } else { 0 }
        });
        Ok(taken.saturating_sub(left))
    }

    /// Gives everything back that was not used: the gateway stops.
    pub(crate) async fn finish(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for ((app, rule), slot) in held {
            let (day, left) = {
                let mut stock = slot.stock();
                (stock.day, std::mem::take(&mut stock.left))
            };
            if left > 0
                && let Err(error) = self.store.give_back_to_day((&app, &rule), day, left).await
            {
                tracing::warn!(%app, rule, left, %error, "signatures of the day that were not used are not given back");
            }
        }
    }

    fn slot(&self, of: &Counted) -> Arc<Slot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (of.app.clone(), of.rule.clone());
        if let Some(slot) = held.get(&place) {
            return Arc::clone(slot);
        }
        // Nobody uses those of other days any more; whoever is at one still has it.
        held.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.stock().day >= of.day);
        Arc::clone(held.entry(place).or_default())
    }
}

/// Takes more from the database into the stock, and up to `wanted` of that.
async fn fill(
    store: Store,
    slot: Arc<Slot>,
    of: Counted,
    wanted: u64,
    turn: OwnedMutexGuard<()>,
) -> Result<Taken, StoreError> {
    let rule = (&of.app, of.rule.as_str());
    let (day, returned) = {
        let mut stock = slot.stock();
        let returned = if stock.limit == of.limit { 0 } else { std::mem::take(&mut stock.left) };
        let day = stock.day;
        if day != of.day || returned > 0 {
            stock.left = 0; // yesterday's are of no use today
        }
        (stock.day, stock.limit) = (of.day, of.limit);
        stock.spent = None;
        (day, returned)
    };
    if returned > 0 && day == of.day {
        store.give_back_to_day(rule, day, returned).await?;
    }
    let missing = wanted - slot.stock().left.min(wanted);
    let more = missing.max(of.limit / PARTS).max(1);
    let brought = store.take_of_day(rule, of.day, more, of.limit).await?;
    let count = {
        let mut stock = slot.stock();
        stock.left += brought;
        if brought < more {
            stock.spent = Some(Instant::now());
        }
        stock.use_up(wanted)
    };
    Ok(Taken { slot, of, count, _turn: turn })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    const DAY: i64 = 20_000;

    fn of(limit: u64) -> Counted {
        Counted { app: AppId::parse("app").unwrap(), rule: "rule".to_owned(), day: DAY, limit }
    }

    async fn store(folder: &tempfile::TempDir) -> Store {
        Store::create(format!("sqlite://{}", folder.path().join("gateway.db").display()).as_str())
            .await
            .unwrap()
    }

    /// What is let through, by as many as ask at once, until nobody gets any.
    async fn drain(counts: &Arc<DayCounts>, of: &Counted) -> u64 {
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (counts, of) = (Arc::clone(counts), of.clone());
            asking.spawn(async move {
                let mut taken = 0;
                loop {
                    match counts.take(&of, number % 3 + 1).await.unwrap() {
                        0 => return taken,
                        more => taken += more,
                    }
                }
            });
        }
        asking.join_all().await.into_iter().sum()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn gateways_let_through_what_there_is_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let gateways = [(); 3].map(|()| Arc::new(DayCounts::new(store.clone())));
        for limit in [1, 7, 1000] {
            let of = Counted { rule: format!("r{limit}"), ..of(limit) };
            let [one, two, three] = &gateways;
            let (one, two, three) = tokio::join!(drain(one, &of), drain(two, &of), drain(three, &of));
            assert_eq!(one + two + three, limit);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_gateways_hold_is_a_thousandth_each_and_comes_back_when_they_stop() {
        const LIMIT: u64 = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let of = of(LIMIT);
        let (idle, busy) = (DayCounts::new(store.clone()), Arc::new(DayCounts::new(store.clone())));
        assert_eq!(idle.take(&of, 1).await.unwrap(), 1);
        assert_eq!(idle.used(&of).await.unwrap(), 1, "what it holds itself is not used");
        let through = drain(&busy, &of).await;
        assert_eq!(through, LIMIT - LIMIT / PARTS, "the idle one holds a thousandth");
        idle.finish().await;
        assert_eq!(busy.used(&of).await.unwrap(), LIMIT - LIMIT / PARTS + 1);
        let later = Arc::new(DayCounts::new(store.clone()));
        assert_eq!(drain(&later, &of).await, LIMIT / PARTS - 1);
        // The next day begins anew, also for who was told that nothing is left.
        let next = Counted { day: DAY + 1, ..of };
        assert_eq!(later.take(&next, 5).await.unwrap(), 5);
        assert_eq!(later.used(&next).await.unwrap(), 5);
    }

    /// What comes of a future that is dropped when it has to wait once more than `waits` times.
    async fn unless_dropped<T>(waits: usize, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut waited) = (pin!(future), 0);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if waited == waits => Poll::Ready(None),
            Poll::Pending => {
                waited += 1;
                Poll::Pending
            }
        })
        .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_lost_with_a_caller_that_hangs_up_wherever_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let counts = DayCounts::new(store(&folder).await);
        for waits in 0.. {
            let of = Counted { rule: format!("r{waits}"), ..of(3) };
            match unless_dropped(waits, counts.take(&of, 3)).await {
                None => assert_eq!(counts.take(&of, 3).await.unwrap(), 3, "dropped after {waits}"),
                Some(taken) => {
                    assert_eq!(taken.unwrap(), 3);
                    assert!(waits > 0, "it waits for the database");
                    break;
                }
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_signed_comes_back_and_a_lower_limit_holds_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let counts = DayCounts::new(store(&folder).await);
        assert_eq!(counts.take(&of(3), 3).await.unwrap(), 3);
        assert_eq!(counts.take(&of(3), 1).await.unwrap(), 0);
        counts.give_back(&of(3), 2);
        assert_eq!(counts.take(&of(3), 5).await.unwrap(), 2);
        assert_eq!(counts.take(&of(2), 1).await.unwrap(), 0);
        assert_eq!(counts.take(&of(10), 10).await.unwrap(), 7);
    }
}
