//! Requests that are carried out once, however often they are sent: what came under which `Idempotency-Key`, and what
//! was answered. All replicas share it, and it outlives them.
//!
//! A request that is carried out holds its key by a lease in the name of one run of one gateway. Who finds a lease
//! that has run out, or one of a run that is over (`claims.rs` has the way in), takes the key over if doing it again does no harm, and is told that
//! the outcome is unknown if it might. An answer is kept only by who still holds the key, so that of two who believe
//! they do, one fails before its answer leaves.

mod answer;

use std::time::Duration;

use time::OffsetDateTime;

use crate::database::{Dialect, Executor, query};
use crate::{Store, StoreError};

pub(crate) use answer::StoredAnswer;
pub use answer::{KeptAnswer, UnplacedAnswer};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest answer that is kept, octets.
pub const LARGEST_ANSWER: usize = 4 << 20;
/// Most expired keys removed at a time.
const SWEPT: i64 = 5_000;

/// What identifies a request: its caller's key on a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyId {
    /// Who sent it, as the audit log has it.
    pub actor: String,
    /// Method and pattern of the path.
    pub route: String,
    /// The value of `Idempotency-Key`, 1 to 255 characters.
    pub key: String,
}

/// A request that is about to be carried out.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What identifies it.
    pub id: IdempotencyId,
    /// SM3 over everything that makes it this request and no other. It is kept under a code of the data key.
    pub fingerprint: [u8; 32],
    /// Its request id.
    pub request_id: String,
    /// The run of a gateway that it came to: `NAME/RUN`, the replica's name and what no other run has.
    pub instance: String,
    /// This claim and no other, 128 random bits.
    pub holder: String,
    /// Whether carrying it out again does no harm while no answer is kept.
    pub repeatable: bool,
    /// How long it may be at it before it counts as abandoned.
    pub lease: Duration,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is to be carried out, by whoever claimed it.
    Ours,
    /// It was carried out.
    Answered(KeptAnswer),
    /// It is being carried out.
    Running,
    /// Another request came under this key.
    Mismatch,
    /// It was begun, by the request of this id, and nobody knows how it ended.
    Unresolved(String),
}

/// Until when a claim counts, Unix seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    now: i64,
    pub(crate) leased_until: i64,
    pub(crate) expires_at: i64,
}

impl Times {
    fn of(claim: &Claim, now: OffsetDateTime) -> Self {
        let now = now.unix_timestamp();
        let after = |time: Duration| now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        Self { now, leased_until: after(claim.lease), expires_at: after(KEPT) }
    }
}

/// What a key that somebody has means to who asks for it.
enum Found {
    Settled(Claimed),
    /// It is begun in the name of this run of a gateway, which may be over.
    Begun {
        instance: String,
        holder: String,
        leased_until: i64,
        request_id: String,
    },
    /// Its time is over.
    Expired {
        holder: String,
    },
}

impl Store {
    /// Claims a key for a request, or tells what became of the request that has it.
    ///
    /// # Errors
    /// The database fails; then nothing may be carried out.
    pub async fn claim_idempotency(&self, claim: &Claim, now: OffsetDateTime) -> Result<Claimed, StoreError> {
        let times = Times::of(claim, now);
        let alike = self.fingerprints(&claim.fingerprint);
        let claim = &Claim { fingerprint: alike[0], ..claim.clone() };
        if self.claim_free(claim, times).await? {
            return Ok(Claimed::Ours);
        }
        let holder = match self.look_at(claim, &alike, times.now).await? {
            Found::Settled(claimed) => return Ok(claimed),
            Found::Expired { holder } => holder,
            // Claimed before, by a statement whose answer was lost.
            Found::Begun { holder, .. } if holder == claim.holder => return Ok(Claimed::Ours),
            Found::Begun { instance, holder, leased_until, request_id } => {
                let over = leased_until <= times.now || self.run_is_over(&instance, claim).await?;
                match (over, claim.repeatable) {
                    (false, _) => return Ok(Claimed::Running),
                    (true, false) => return Ok(Claimed::Unresolved(request_id)),
                    (true, true) => holder,
                }
            }
        };
        let ours = self.take_over(claim, times, &holder).await?;
        Ok(if ours { Claimed::Ours } else { Claimed::Running }) // somebody else was faster
    }

    /// A fingerprint as it may be kept, the way it is kept now first: with a code of the data key, as bodies may hold
    /// passwords and numbers of identity cards, at which whoever has the database alone could guess otherwise. Plain only
    /// without a data key.
    fn fingerprints(&self, plain: &[u8; 32]) -> Vec<[u8; 32]> {
        let (protection, table, column) = (self.protection(), "idempotency_keys", "fingerprint");
        // By the key in use: not every gateway may know the newest yet.
        let kept = protection.index(table, column, plain).ok();
        let others = protection.indexes(table, column, plain).unwrap_or_default();
        // Without the version in front: it is compared with all.
        let coded = kept.iter().chain(&others).filter_map(|code| code.last_chunk().copied());
        coded.chain([*plain]).collect()
    }

    async fn look_at(&self, claim: &Claim, alike: &[[u8; 32]], now: i64) -> Result<Found, StoreError> {
        let id = &claim.id;
        let row = query(
            "SELECT fingerprint, state, instance, leased_until, request_id, expires_at, holder, status, headers, answer,
                 sealed, index_at, audit_index
             FROM idempotency_keys WHERE actor = $1 AND route = $2 AND key = $3",
        )
        .bind(&id.actor)
        .bind(&id.route)
        .bind(&id.key)
        .fetch_optional(self.readers())
        .await?;
        // Given back in between: it is free when it is asked for again.
        let Some(row) = row else { return Ok(Found::Settled(Claimed::Running)) };
        if row.try_get::<i64, _>("expires_at")? <= now {
            return Ok(Found::Expired { holder: row.try_get("holder")? });
        }
        let fingerprint = row.try_get::<&[u8], _>("fingerprint")?;
        if !alike.iter().any(|alike| alike == fingerprint) {
            return Ok(Found::Settled(Claimed::Mismatch));
        }
        match row.try_get("state")? {
            "answered" => Ok(Found::Settled(Claimed::Answered(self.kept_answer(id, &row)?))),
            "running" => Ok(Found::Begun {
                instance: row.try_get("instance")?,
                holder: row.try_get("holder")?,
                leased_until: row.try_get("leased_until")?,
                request_id: row.try_get("request_id")?,
            }),
            _ => Err(StoreError::Corrupt { what: "idempotency key", id: id.key.clone(), column: "state" }),
        }
    }

    /// Whether the run of a gateway that began a request is over. One that only lost its connection may look as if it
    /// were: what it still does under a key that was taken over is not recorded and does not leave.
    async fn run_is_over(&self, instance: &str, claim: &Claim) -> Result<bool, StoreError> {
        if instance == claim.instance {
            return Ok(false);
        }
        if self.dialect() == Dialect::Sqlite {
            return Ok(true); // one gateway at a time has the file
        }
        let Some((replica, _)) = instance.rsplit_once('/') else { return Ok(false) };
        let ours = claim.instance.rsplit_once('/').is_some_and(|(ours, _)| ours == replica);
        // Of an act that might be on its way nobody says so while its lease lasts.
        Ok(ours || (claim.repeatable && !self.holds_name(replica).await?))
    }

    /// Takes a key over from the claim that has it.
    async fn take_over(&self, claim: &Claim, times: Times, from: &str) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE idempotency_keys SET
                 fingerprint = $4, state = 'running', instance = $5, leased_until = $6, request_id = $7,
                 expires_at = $8, holder = $9, status = NULL, headers = NULL, answer = NULL,
                 sealed = FALSE, index_at = NULL, audit_index = NULL
             WHERE actor = $1 AND route = $2 AND key = $3 AND holder = $10
                 AND (state = 'running' OR expires_at <= $11)",
        )
        .bind(&claim.id.actor)
        .bind(&claim.id.route)
        .bind(&claim.id.key)
        .bind(&claim.fingerprint[..])
        .bind(&claim.instance)
        .bind(times.leased_until)
        .bind(&claim.request_id)
        .bind(times.expires_at)
        .bind(&claim.holder)
        .bind(from)
        .bind(times.now)
        .execute(self.writer())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Keeps the answer of a request that holds its key, sealed. False if it does not hold it any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn keep_answer(&self, claim: &Claim, answer: &KeptAnswer) -> Result<bool, StoreError> {
        let stored = self.stored_answer(claim, answer.clone().into()).await?;
        Ok(stored.keep(self.writer(), claim, None).await?)
    }

    /// Ends a claim on an act that broke off: nobody knows how far it came, and whoever asks again is told so.
    ///
    /// # Errors
    /// The database fails; the lease will run out.
    pub async fn leave_unresolved(&self, claim: &Claim) -> Result<(), StoreError> {
        query(
            "UPDATE idempotency_keys SET leased_until = 0
             WHERE actor = $1 AND route = $2 AND key = $3 AND holder = $4 AND state = 'running'",
        )
        .bind(&claim.id.actor)
        .bind(&claim.id.route)
        .bind(&claim.id.key)
        .bind(&claim.holder)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// Gives a key back whose request came to nothing.
    ///
    /// # Errors
    /// The database fails; the lease will run out.
    pub async fn release_idempotency(&self, claim: &Claim) -> Result<(), StoreError> {
        Ok(release_in(self.writer(), claim).await?)
    }

    /// Removes keys whose time is over, some at a time; answers how many.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_idempotency(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let done = query(
            "DELETE FROM idempotency_keys WHERE (actor, route, key) IN
             (SELECT actor, route, key FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        )
        .bind(now.unix_timestamp())
        .bind(SWEPT)
        .execute(self.writer())
        .await?;
        Ok(done.rows_affected())
    }
}

/// Gives a key back that is still held.
pub(crate) async fn release_in<'c>(on: impl Into<Executor<'c>>, claim: &Claim) -> Result<(), sqlx::Error> {
    query(
        "DELETE FROM idempotency_keys
         WHERE actor = $1 AND route = $2 AND key = $3 AND holder = $4 AND state = 'running'",
    )
    .bind(&claim.id.actor)
    .bind(&claim.id.route)
    .bind(&claim.id.key)
    .bind(&claim.holder)
    .execute(on)
    .await?;
    Ok(())
}
