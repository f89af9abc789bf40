//! Serial numbers of tokens, and their times where order is promised.

use std::sync::{Mutex as SyncMutex, PoisonError};

use store::{Store, StoreError, TimestampBlock};
use time::OffsetDateTime;
use tokio::sync::{Mutex, oneshot};

/// Numbers taken from the database at a time; what is left of them when the gateway ends is never given.
const BLOCK: u32 = 1_024;

/// Gives serial numbers. A number is the database's counter, shared by all gateways on it, with 64 random bits behind
/// it, new for each: a database that was restored from a backup counts again, but into other numbers.
pub struct Serials {
    store: Store,
    block: Mutex<TimestampBlock>,
    /// Who waits for a number with a time.
    waiting: SyncMutex<Vec<oneshot::Sender<(u64, u64)>>>,
    /// Whoever holds it asks the database for all who wait.
    asking: Mutex<()>,
}

impl Serials {
    /// Takes no number yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            block: Mutex::new(TimestampBlock { first_serial: 0, count: 0, first_time_us: None }),
            waiting: SyncMutex::default(),
            asking: Mutex::default(),
        }
    }

    /// A number that no other token has.
    pub(super) async fn next(&self) -> Result<u128, StoreError> {
        let mut block = self.block.lock().await;
        if block.count == 0 {
            *block = self.store.take_serials(BLOCK).await?;
        }
        let number = block.first_serial;
        (block.first_serial, block.count) = (number + 1, block.count - 1);
        Ok(salted(number))
    }

    /// A number that no other token has, and a time after that of every token before, of whichever gateway. Those who
    /// come together share one statement.
    pub(super) async fn next_ordered(&self) -> Result<(u128, OffsetDateTime), StoreError> {
        let (give, mut given) = oneshot::channel();
        self.waiting().push(give);
        let asked = tokio::select! {
            biased;
            given = &mut given => given,
            asked = self.ask() => match asked {
                Ok(()) => given.await,
                Err(error) => return Err(error),
            },
        };
        // Whoever asked for all was given none, and has said why.
        let (number, micros) = asked.map_err(|_| StoreError::Interrupted)?;
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
        let column = "latest_us";
        let id = || "timestamps".to_owned();
        let time = time.map_err(|_| StoreError::Corrupt { what: "counter", id: id(), column })?;
        Ok((salted(number), time))
    }

    async fn ask(&self) -> Result<(), StoreError> {
        let _asking = self.asking.lock().await;
        let mut taken = Taken { serials: self, waiting: std::mem::take(&mut *self.waiting()) };
        taken.waiting.retain(|give| !give.is_closed());
        let Ok(count) = u32::try_from(taken.waiting.len()) else { return Err(StoreError::Interrupted) };
        if count == 0 {
            return Ok(());
        }
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let block = match self.store.take_ordered(count, u64::try_from(now).unwrap_or(0)).await {
            Ok(block) => block,
            Err(error) => {
                taken.waiting.clear(); // one answer for all: they do not try one after the other
                return Err(error);
            }
        };
        let first_time = block.first_time_us.unwrap_or(0);
        for (place, give) in (0_u64..).zip(taken.waiting.drain(..)) {
            let _ = give.send((block.first_serial + place, first_time + place)); // whoever is gone needs none
        }
        Ok(())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<oneshot::Sender<(u64, u64)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who are being asked for. Who asks for them may have been given a number meanwhile, and goes: then they wait on,
/// and one of them asks.
struct Taken<'s> {
    serials: &'s Serials,
    waiting: Vec<oneshot::Sender<(u64, u64)>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.serials.waiting().append(&mut self.waiting);
    }
}

fn salted(number: u64) -> u128 {
    u128::from(number) << 64 | u128::from(fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use store::DatabaseAccess;

    use super::*;

    #[tokio::test]
    async fn who_asks_for_all_and_goes_away_leaves_the_others_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(DatabaseAccess::new(url)).await.expect("a database");
        let serials = Serials::new(store.clone());
        let (give, mut given) = oneshot::channel();
        serials.waiting().push(give);
        {
            let mut asking = Box::pin(serials.ask());
            let polled = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
            assert!(serials.waiting().is_empty(), "it asks for whoever waits");
        }
        assert!(matches!(given.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "still waiting");
        serials.ask().await.expect("numbers");
        assert!(given.try_recv().is_ok());
        store.close().await;
    }
}
