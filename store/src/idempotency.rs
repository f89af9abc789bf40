//! Requests that are carried out once, however often they are sent: what came under which `Idempotency-Key`, and what
//! was answered. All replicas share it, and it outlives them.
//!
//! A request that is carried out holds its key by a lease in the name of one run of one gateway. Who finds a lease
//! that has run out, or one of a run that is over, takes the key over if doing it again does no harm, and is told that
//! the outcome is unknown if it might. An answer is kept only by who still holds the key, so that of two who believe
//! they do, one fails before its answer leaves.

use std::time::Duration;

use time::OffsetDateTime;

use crate::database::{Dialect, Executor, Row, query};
use crate::{Store, StoreError};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest answer that is kept, octets.
pub const LARGEST_ANSWER: usize = 4 << 20;
/// Most expired keys removed at a time.
const SWEPT: i64 = 5_000;

/// What identifies a request: its caller's key on a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// SM3 over everything that makes it this request and no other.
    pub fingerprint: [u8; 32],
    /// Its request id.
    pub request_id: String,
    /// The run of a gateway that it came to.
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

/// An answer as it is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Names and values of the header fields that are part of it.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Store {
    /// Claims a key for a request, or tells what became of the request that has it.
    ///
    /// # Errors
    /// The database fails; then nothing may be carried out.
    pub async fn claim_idempotency(&self, claim: &Claim, now: OffsetDateTime) -> Result<Claimed, StoreError> {
        let Claim { id, fingerprint, request_id, instance, holder, repeatable, lease } = claim;
        let now = now.unix_timestamp();
        let after = |time: Duration| now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        // A SQLite database has one gateway at a time: another one's run is over.
        let alone = self.dialect() == Dialect::Sqlite;
        let claimed = query(
            "INSERT INTO idempotency_keys
                 (actor, route, key, fingerprint, state, instance, leased_until, request_id, expires_at, holder)
             VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, $9)
             ON CONFLICT (actor, route, key) DO UPDATE SET
                 fingerprint = excluded.fingerprint, state = 'running', instance = excluded.instance,
                 leased_until = excluded.leased_until, request_id = excluded.request_id,
                 expires_at = excluded.expires_at, holder = excluded.holder,
                 status = NULL, headers = NULL, answer = NULL
             WHERE idempotency_keys.expires_at <= $10
                 OR ($11 AND idempotency_keys.state = 'running'
                     AND idempotency_keys.fingerprint = excluded.fingerprint
                     AND (idempotency_keys.leased_until <= $10
                          OR ($12 AND idempotency_keys.instance <> excluded.instance)))",
        )
        .bind(&id.actor)
        .bind(&id.route)
        .bind(&id.key)
        .bind(&fingerprint[..])
        .bind(instance)
        .bind(after(*lease))
        .bind(request_id)
        .bind(after(KEPT))
        .bind(holder)
        .bind(now)
        .bind(*repeatable)
        .bind(alone)
        .execute(self.writer())
        .await?;
        if claimed.rows_affected() == 1 {
            return Ok(Claimed::Ours);
        }
        let row = query(
            "SELECT fingerprint, state, instance, leased_until, request_id, status, headers, answer
             FROM idempotency_keys WHERE actor = $1 AND route = $2 AND key = $3",
        )
        .bind(&id.actor)
        .bind(&id.route)
        .bind(&id.key)
        .fetch_optional(self.readers())
        .await?;
        // Given back in between: it is free when it is asked for again.
        let Some(row) = row else { return Ok(Claimed::Running) };
        if row.try_get::<&[u8], _>("fingerprint")? != fingerprint {
            return Ok(Claimed::Mismatch);
        }
        let corrupt = |column| StoreError::Corrupt { what: "idempotency key", id: id.key.clone(), column };
        match row.try_get("state")? {
            "answered" => answer(&row).ok_or_else(|| corrupt("answer")).map(Claimed::Answered),
            "running" => {
                let over = alone && row.try_get::<&str, _>("instance")? != instance;
                let abandoned = over || row.try_get::<i64, _>("leased_until")? <= now;
                let began = row.try_get("request_id")?;
                Ok(if abandoned { Claimed::Unresolved(began) } else { Claimed::Running })
            }
            _ => Err(corrupt("state")),
        }
    }

    /// Keeps the answer of a request that holds its key. False if it does not hold it any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn keep_answer(&self, claim: &Claim, answer: &KeptAnswer) -> Result<bool, StoreError> {
        Ok(keep_in(self.writer(), claim, answer).await?)
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
        query(
            "DELETE FROM idempotency_keys
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

fn answer(row: &Row) -> Option<KeptAnswer> {
    Some(KeptAnswer {
        status: row.try_get::<i64, _>("status").ok()?.try_into().ok()?,
        headers: serde_json::from_str(row.try_get("headers").ok()?).ok()?,
        body: row.try_get("answer").ok()?,
    })
}

/// Keeps an answer, also within somebody else's transaction; false if the key is not held any more.
pub(crate) async fn keep_in<'c>(
    on: impl Into<Executor<'c>>,
    claim: &Claim,
    answer: &KeptAnswer,
) -> Result<bool, sqlx::Error> {
    let headers =
        serde_json::to_string(&answer.headers).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let done = query(
        "UPDATE idempotency_keys SET state = 'answered', status = $5, headers = $6, answer = $7
         WHERE actor = $1 AND route = $2 AND key = $3 AND holder = $4 AND state = 'running'",
    )
    .bind(&claim.id.actor)
    .bind(&claim.id.route)
    .bind(&claim.id.key)
    .bind(&claim.holder)
    .bind(i64::from(answer.status))
    .bind(headers)
    .bind(&answer.body)
    .execute(on)
    .await?;
    Ok(done.rows_affected() == 1)
}
