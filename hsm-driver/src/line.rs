//! The line in front of a device: many callers put work in, its supervisor takes it out.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::queue::{Evicted, FairQueue, Full};

/// Why a line did not take an item; it is given back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused<T> {
    /// See [`FairQueue::push`].
    #[error("the queue is full")]
    Full(T),
    /// Nobody takes from it any more.
    #[error("the queue is closed")]
    Closed(T),
}

/// A fair, bounded queue between callers and one supervisor (or more: each item goes to one of them).
#[derive(Debug)]
pub(crate) struct Line<K, T> {
    inner: Mutex<Inner<K, T>>,
    /// Holds a permit whenever something changed since a supervisor last went to wait.
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K, T> {
    queue: FairQueue<K, T>,
    closed: bool,
}

impl<K: Hash + Eq + Clone, T> Line<K, T> {
    /// A line for at most `capacity` items of all callers together.
    pub(crate) fn new(capacity: usize) -> Self {
        let inner = Inner { queue: FairQueue::new(capacity), closed: false };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in without waiting. An item that had to make room for it comes back, to be refused.
    ///
    /// # Errors
    /// The line is closed, or full and its caller's share used up.
    pub(crate) fn try_push(&self, key: K, item: T) -> Result<Option<Evicted<T>>, Refused<T>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed(item));
        }
        let evicted = inner.queue.push(key, item).map_err(|Full(item)| Refused::Full(item))?;
        drop(inner);
        self.changed.notify_one();
        Ok(evicted)
    }

    /// Waits for work, takes up to `room` items, one of each caller in turn, and appends them to `out`. How
    /// many it took: 0 means that the line is closed and empty, or that there is no room. Safe to cancel:
    /// nothing is taken before it returns.
    pub(crate) async fn pop_many(&self, out: &mut Vec<T>, room: usize) -> usize {
        loop {
            {
                let mut inner = self.lock();
                let taken = inner.queue.pop_many(room, out);
                if taken > 0 || inner.closed || room == 0 {
                    return taken;
                }
            }
            // A push since the look above has left its permit.
            self.changed.notified().await;
        }
    }

    /// Takes everything that waits, at once.
    pub(crate) fn drain(&self) -> Vec<T> {
        self.lock().queue.drain()
    }

    /// Takes no more items. What is in it can still be taken out, and should be: nobody else answers it.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        // One permit is kept for a supervisor that comes later; those that wait now are all woken.
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Changes how many items it takes; what is in it stays.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.lock().queue.set_capacity(capacity);
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    /// Whether the line's next pop would have to wait.
    async fn waits(line: &Line<u8, u32>) -> bool {
        let mut out = Vec::new();
        let mut pop = std::pin::pin!(line.pop_many(&mut out, 1));
        std::future::poll_fn(|context| Poll::Ready(pop.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn work_put_in_before_or_while_somebody_waits_reaches_it() {
        let line = Arc::new(Line::new(8));
        assert_eq!(line.try_push(1, 10), Ok(None));
        assert_eq!(line.try_push(1, 11), Ok(None));
        assert_eq!(line.try_push(2, 20), Ok(None));
        let mut out = Vec::new();
        assert_eq!(line.pop_many(&mut out, 2).await, 2);
        assert_eq!(out, [10, 20]);
        assert_eq!(line.pop_many(&mut out, 9).await, 1);
        assert!(waits(&line).await);
        let waiting = tokio::spawn({
            let line = Arc::clone(&line);
            async move {
                let mut out = Vec::new();
                line.pop_many(&mut out, 4).await;
                out
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(line.try_push(3, 30), Ok(None));
        assert_eq!(waiting.await.unwrap(), [30]);
    }

    #[tokio::test]
    async fn a_pop_that_is_given_up_loses_nothing() {
        let line = Line::new(8);
        let mut out = Vec::new();
        {
            // Woken by a push, then dropped before it looks again.
            let mut pop = std::pin::pin!(line.pop_many(&mut out, 1));
            let first = std::future::poll_fn(|context| Poll::Ready(pop.as_mut().poll(context))).await;
            assert!(first.is_pending());
            assert_eq!(line.try_push(1, 1), Ok(None));
        }
        assert_eq!(line.len(), 1);
        assert_eq!(line.pop_many(&mut out, 1).await, 1);
        assert_eq!(out, [1]);
    }

    #[tokio::test]
    async fn no_room_takes_nothing_and_does_not_wait() {
        let line = Line::new(8);
        let mut out = Vec::new();
        assert_eq!(line.pop_many(&mut out, 0).await, 0);
        assert_eq!(line.try_push(1, 1), Ok(None));
        assert_eq!(line.pop_many(&mut out, 0).await, 0);
        assert_eq!(line.len(), 1);
    }

    #[tokio::test]
    async fn a_closed_line_refuses_gives_out_what_it_has_and_ends() {
        let line = Arc::new(Line::<u8, u32>::new(2));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let line = Arc::clone(&line);
                tokio::spawn(async move { line.pop_many(&mut Vec::new(), 1).await })
            })
            .collect();
        tokio::task::yield_now().await;
        line.close();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), 0);
        }
        let line = Line::new(2);
        assert_eq!(line.try_push(1, 1), Ok(None));
        assert_eq!(line.try_push(1, 2), Ok(None));
        assert_eq!(line.try_push(1, 3), Err(Refused::Full(3)));
        assert_eq!(line.try_push(2, 4), Ok(Some(Evicted(2))));
        line.close();
        assert_eq!(line.try_push(3, 5), Err(Refused::Closed(5)));
        let mut out = Vec::new();
        assert_eq!(line.pop_many(&mut out, 1).await, 1);
        assert_eq!(line.drain(), [4]);
        assert_eq!(line.pop_many(&mut out, 1).await, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_threads_and_given_up_pops_lose_and_double_nothing() {
        const CALLERS: u32 = 4;
        const EACH: u32 = 2_000;
        let line = Arc::new(Line::new(64));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let line = Arc::clone(&line);
                tokio::spawn(async move {
                    let mut lost = 0;
                    for number in 0..EACH {
                        match line.try_push(caller, caller * EACH + number) {
                            Ok(None) => {}
                            Ok(Some(Evicted(_))) => lost += 1,
                            Err(_) => {
                                lost += 1;
                                tokio::task::yield_now().await;
                            }
                        }
                    }
                    lost
                })
            })
            .collect();
        let supervisor = tokio::spawn({
            let line = Arc::clone(&line);
            async move {
                let mut out = Vec::new();
                loop {
                    tokio::select! {
                        taken = line.pop_many(&mut out, 5) => if taken == 0 { return out },
                        () = tokio::task::yield_now() => {}
                    }
                }
            }
        });
        let mut lost = 0;
        for caller in callers {
            lost += caller.await.unwrap();
        }
        line.close();
        let mut out = supervisor.await.unwrap();
        let taken = out.len();
        out.sort_unstable();
        out.dedup();
        assert_eq!(out.len(), taken, "doubled");
        assert_eq!(taken + lost, (CALLERS * EACH) as usize);
    }
}
