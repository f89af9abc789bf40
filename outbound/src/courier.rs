//! The task that delivers: it claims what is due, tries it, and says what came of it. Several gateways do so at one queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::{Attempted, ClaimLimits, ClaimedDelivery, RECEIPT, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::{Message, Reply, TIMEOUT};
use crate::webhook::{SystemSigner, signatures, signed_content};
use crate::{Client, Patience};

/// Attempts at a time.
const MOST: usize = 32;
/// Attempts at a time for one app, over all gateways.
const PER_APP: u32 = 4;
/// How long an attempt is this gateway's: it has ended by then, with its signature and its record.
const LEASE: Duration = Duration::from_secs(30);
/// How long a signature may take.
const SIGNING: Duration = Duration::from_secs(8);
/// How often it is looked for what is due.
const ROUND: Duration = Duration::from_millis(500);
/// In rounds: how often it is counted, and forgotten what ended long ago.
const SWEEP: u64 = 20;
/// How long what ended is kept.
const KEPT: time::Duration = time::Duration::days(30);

const _: () = assert!(TIMEOUT.as_secs() + SIGNING.as_secs() < LEASE.as_secs());

/// What the courier did since its start, and what it found in the queue.
#[derive(Debug, Default)]
pub struct Figures {
    /// Attempts that the other side took.
    pub delivered: AtomicU64,
    /// Attempts that failed and are made again.
    pub failed: AtomicU64,
    /// Deliveries that were given up.
    pub dead: AtomicU64,
    /// What waits, of all gateways; it is some seconds old.
    pub waiting: AtomicU64,
    /// What is dead and could be sent again, of all gateways; it is some seconds old.
    pub lying: AtomicU64,
}

/// Delivers what is in the queue.
pub struct Courier {
    parts: Arc<Parts>,
}

struct Parts {
    store: Store,
    client: Client,
    signer: Arc<dyn SystemSigner>,
    patience: Patience,
    /// This run of the gateway.
    holder: String,
    figures: Arc<Figures>,
}

impl Courier {
    /// A courier in the name of this run of the gateway; `signer` makes the signatures with the site's SM2 key.
    #[must_use]
    pub fn new(
        store: Store,
        client: Client,
        signer: Arc<dyn SystemSigner>,
        patience: Patience,
        figures: Arc<Figures>,
    ) -> Self {
        let holder = format!("{:032x}", fastrand::u128(..));
        Self { parts: Arc::new(Parts { store, client, signer, patience, holder, figures }) }
    }

    /// Delivers until it is told to stop; what is under way then is brought to its end.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u64;
        loop {
            let ended = async {
                // Whoever could say so is gone: that is the end, too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            tokio::select! {
                () = ended => break,
                _ = rounds.tick() => {
                    if round.is_multiple_of(SWEEP) {
                        self.parts.sweep().await;
                    }
                    round += 1;
                }
                Some(_) = under_way.join_next() => {}
            }
            let free = MOST - under_way.len().min(MOST);
            if free > 0 && self.parts.store.protection().is_unlocked() {
                for claimed in self.parts.claim(free).await {
                    let parts = Arc::clone(&self.parts);
                    under_way.spawn(async move { parts.deliver(claimed).await });
                }
            }
        }
        while under_way.join_next().await.is_some() {}
    }
}

impl Parts {
    async fn claim(&self, most: usize) -> Vec<ClaimedDelivery> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let limits = ClaimLimits { most, per_app: PER_APP, lease: LEASE };
        let claimed = self.store.claim_deliveries(&self.holder, limits, OffsetDateTime::now_utc()).await;
        claimed.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is to be delivered could not be looked at");
            Vec::new()
        })
    }

    async fn deliver(&self, claimed: ClaimedDelivery) {
        let delivery = &claimed.delivery;
        let reply = match self.attempt(&claimed).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(id = delivery.id, %error, "a delivery could not be tried");
                return; // the lease ends
            }
        };
        let now = OffsetDateTime::now_utc();
        let age = Duration::try_from(now - delivery.since).unwrap_or_default();
        let (outcome, status) = match reply {
            Reply::Taken(status) => (Attempted::Delivered, Some(status)),
            Reply::Gone(status) => (Attempted::Dead { error: "gone" }, Some(status)),
            Reply::Failed { error, status, wait } => {
                let pause = self.patience.pause(delivery.attempts, age, wait, fastrand::f64());
                // Where there is no address there will be none by itself.
                let pause = pause.filter(|_| error != NO_WEBHOOK);
                (
                    pause.map_or(Attempted::Dead { error }, |pause| Attempted::Again {
                        due_at: now + pause,
                        error,
                    }),
                    status,
                )
            }
        };
        match self.store.attempted_delivery(delivery, &self.holder, outcome, status, now).await {
            Ok(true) => self.count(&claimed, outcome),
            Ok(false) => tracing::warn!(id = delivery.id, "a delivery took longer than its lease"),
            Err(error) => {
                tracing::warn!(id = delivery.id, %error, "what came of a delivery is not on record; it is made again");
            }
        }
    }

    /// One attempt, where the app's webhook is now.
    async fn attempt(&self, claimed: &ClaimedDelivery) -> Result<Reply, StoreError> {
        let ClaimedDelivery { delivery, body } = claimed;
        let failed = |error| Ok(Reply::Failed { error, status: None, wait: None });
        let webhook = match self.store.webhook(&delivery.app).await {
            Ok(Some(webhook)) => webhook,
            Ok(None) => return failed(NO_WEBHOOK),
            Err(StoreError::Altered { .. } | StoreError::Corrupt { .. }) => return failed("webhook_altered"),
            Err(error) => return Err(error),
        };
        let timestamp = OffsetDateTime::now_utc().unix_timestamp();
        let content = signed_content(&delivery.id, timestamp, body);
        let sm2 = match tokio::time::timeout(SIGNING, self.signer.sign(&content)).await {
            Ok(Ok(signature)) => signature,
            Ok(Err(error)) => {
                tracing::warn!(id = delivery.id, %error, "a delivery waits for its signature");
                return failed("not_signed");
            }
            Err(_) => return failed("not_signed"),
        };
        let signatures = signatures(webhook.secret.expose(), &content, sm2.as_deref());
        let is_receipt = delivery.kind == RECEIPT;
        let message = Message { id: &delivery.id, timestamp, signatures, body: body.to_vec(), is_receipt };
        Ok(self.client.send(&webhook.url, message).await)
    }

    fn count(&self, claimed: &ClaimedDelivery, outcome: Attempted) {
        let delivery = &claimed.delivery;
        let (id, app, kind) = (&delivery.id, delivery.app.as_str(), &delivery.kind);
        let figures = &self.figures;
        match outcome {
            Attempted::Delivered => {
                figures.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(id, app, kind, attempts = delivery.attempts, "delivered");
            }
            Attempted::Again { error, .. } => {
                figures.failed.fetch_add(1, Ordering::Relaxed);
                tracing::info!(id, app, kind, attempts = delivery.attempts, error, "not delivered yet");
            }
            Attempted::Dead { error } => {
                figures.dead.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(id, app, kind, attempts = delivery.attempts, error, "a delivery was given up");
            }
        }
    }

    async fn sweep(&self) {
        let work = async {
            self.store.forget_deliveries(OffsetDateTime::now_utc() - KEPT).await?;
            self.store.delivery_counts().await
        };
        match work.await {
            Ok((waiting, dead)) => {
                self.figures.waiting.store(waiting, Ordering::Relaxed);
                self.figures.lying.store(dead, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "deliveries could not be counted"),
        }
    }
}

/// Why an app without a webhook is told nothing.
const NO_WEBHOOK: &str = "no_webhook";
