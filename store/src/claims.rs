//! Claims of idempotency keys that arrive together share one durable write, as entries of the audit log do.
//!
//! One task inserts what is waiting in one statement. It inserts only: a key that is taken is looked at by whoever asked,
//! one statement for one key. So a statement that holds several keys waits for none that somebody holds who waits for
//! one of them: among themselves such statements take keys in their order.

use std::collections::HashSet;
use std::sync::OnceLock;

use sqlx::AssertSqlSafe;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Pool, Turns, query};
use crate::idempotency::{self, Times};
use crate::{Claim, Store, StoreError};

/// Most claims that may wait; the next one is refused.
const QUEUE: usize = 4096;
/// Most claims in one statement; a power of two.
const MOST: usize = 64;
/// Longest time a statement may take.
const LONGEST_INSERT: std::time::Duration = std::time::Duration::from_secs(10);
/// When keys whose claim was not answered are given back, each after the one before: the first time the database may be
/// away, or still at it.
const GIVE_BACK: [std::time::Duration; 4] = [
    std::time::Duration::ZERO,
    std::time::Duration::from_secs(1),
    std::time::Duration::from_secs(5),
    std::time::Duration::from_secs(20),
];
/// Parameters of one row.
const COLUMNS: usize = 9;

/// Where claims wait. The task that writes is started by the first one and ends with the store.
#[derive(Default)]
pub(crate) struct ClaimQueue(OnceLock<mpsc::Sender<Work>>);

enum Work {
    Claim(Waiting),
    /// A key whose claimer went away before it learned that it has it.
    Release(Claim),
}

struct Waiting {
    claim: Claim,
    times: Times,
    answer: oneshot::Sender<Option<Grant>>,
}

/// A key that was free and is claimed. Dropped without [`Grant::take`] it gives the key back.
struct Grant {
    claim: Option<Claim>,
    back: mpsc::WeakSender<Work>,
}

impl Grant {
    fn take(mut self) {
        self.claim = None;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let (Some(claim), Some(back)) = (self.claim.take(), self.back.upgrade()) {
            let _ = back.try_send(Work::Release(claim)); // where there is no room the lease runs out
        }
    }
}

impl Store {
    /// Claims a key that nobody has. False if somebody has it, or had it until lately.
    pub(crate) async fn claim_free(&self, claim: &Claim, times: Times) -> Result<bool, StoreError> {
        let queue = self.claims().0.get_or_init(|| {
            let (queue, work) = mpsc::channel(QUEUE);
            let task =
                Task { pool: self.writer().clone(), turns: self.turns().clone(), back: queue.downgrade() };
            tokio::spawn(task.run(work));
            queue
        });
        let (answer, granted) = oneshot::channel();
        let waiting = Waiting { claim: claim.clone(), times, answer };
        queue.try_send(Work::Claim(waiting)).map_err(|_| StoreError::ClaimsUnavailable)?;
        match granted.await.map_err(|_| StoreError::ClaimsUnavailable)? {
            Some(grant) => {
                grant.take();
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

struct Task {
    pool: Pool,
    turns: Turns,
    back: mpsc::WeakSender<Work>,
}

impl Task {
    async fn run(self, mut queue: mpsc::Receiver<Work>) {
        let mut taken = Vec::with_capacity(MOST);
        while queue.recv_many(&mut taken, MOST).await > 0 {
            let mut claims = Vec::with_capacity(taken.len());
            for work in taken.drain(..) {
                match work {
                    Work::Claim(waiting) if waiting.answer.is_closed() => {} // nobody waits for it any more
                    Work::Claim(waiting) => claims.push(waiting),
                    Work::Release(claim) => self.release(&claim).await,
                }
            }
            if !claims.is_empty() {
                self.claim(claims).await;
            }
        }
    }

    /// Answers claims; on failure the waiters learn it by their dropped channels.
    async fn claim(&self, mut claims: Vec<Waiting>) {
        claims.sort_by(|one, other| one.claim.id.cmp(&other.claim.id));
        // A server that vanished without a word must not hold the others for as long as the system waits for it.
        let insert = tokio::time::timeout(LONGEST_INSERT, self.insert(&claims));
        match insert.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(inserted) => {
                for Waiting { claim, answer, .. } in claims {
                    let ours = inserted.contains(&claim.holder);
                    let grant = ours.then(|| Grant { claim: Some(claim), back: self.back.clone() });
                    let _ = answer.send(grant); // a grant that nobody takes gives the key back
                }
            }
            Err(error) => {
                tracing::error!(%error, claims = claims.len(), "idempotency keys could not be claimed");
                tokio::spawn(give_back(self.pool.clone(), claims));
            }
        }
    }

    /// The holders of those whose key was free.
    async fn insert(&self, claims: &[Waiting]) -> Result<HashSet<String>, sqlx::Error> {
        // Few different statements, prepared once each: the last row fills one up, and is inserted once.
        let rows = claims.len().next_power_of_two();
        let last = claims.len() - 1;
        let mut insert = query(AssertSqlSafe(statement(rows)));
        for Waiting { claim, times, .. } in (0..rows).map(|row| &claims[row.min(last)]) {
            insert = insert
                .bind(&claim.id.actor)
                .bind(&claim.id.route)
                .bind(&claim.id.key)
                .bind(&claim.fingerprint[..])
                .bind(&claim.instance)
                .bind(times.leased_until)
                .bind(&claim.request_id)
                .bind(times.expires_at)
                .bind(&claim.holder);
        }
        let _turn = self.turns.take().await;
        let inserted = insert.fetch_all(&self.pool).await?;
        inserted.iter().map(|row| row.try_get("holder")).collect()
    }

    async fn release(&self, claim: &Claim) {
        if let Err(error) = idempotency::release_in(&self.pool, claim).await {
            tracing::warn!(%error, "an idempotency key that nobody waits for is held until its lease ends");
        }
    }
}

/// Gives keys back whose claim was not answered: it may have been made, or be made yet, and whoever waited has been told
/// that it was not.
async fn give_back(pool: Pool, claims: Vec<Waiting>) {
    let claims: Vec<_> = claims.into_iter().map(|waiting| waiting.claim).collect(); // tells those who wait
    for pause in GIVE_BACK {
        tokio::time::sleep(pause).await;
        for claim in &claims {
            if let Err(error) = idempotency::release_in(&pool, claim).await {
                tracing::warn!(%error, "idempotency keys that nobody has are held for now");
                break;
            }
        }
    }
}

fn statement(rows: usize) -> String {
    let row = |row: usize| {
        let places: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        // The state stands between the columns that are bound.
        format!("({}, 'running')", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO idempotency_keys
             (actor, route, key, fingerprint, instance, leased_until, request_id, expires_at, holder, state)
         VALUES {}
         ON CONFLICT (actor, route, key) DO NOTHING
         RETURNING holder",
        rows.join(", ")
    )
}
