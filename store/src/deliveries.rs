//! What is on its way to apps: a queue that outlives the gateway that put something into it.
//!
//! A notice goes into the transaction of what it tells ([`notify`]): it is told if it happened, and only then. A gateway
//! claims what is due for a while; one that is lost gives it back by the end of its lease, so that a notice is told at
//! least once, and by two gateways only where the first one did not say in time what came of it.

use std::fmt;
use std::time::Duration;

use config::AppId;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Cell, Protection};
use crate::words::words;
use crate::{Store, StoreError, webhooks};

const DELIVERY: &str = "delivery";
/// Most of them in one answer.
const PAGE: i64 = 1000;
/// Most that wait for one app; a further one is dead at once.
const MOST_WAITING: i64 = 10_000;
const COLUMNS: &str = "id, app, kind, state, attempts, created_at, since, due_at, ended_at, error, status";

words! {
    /// How far a delivery is.
    DeliveryState {
        /// It is tried, or will be.
        Waiting = "waiting",
        /// The other side took it.
        Delivered = "delivered",
        /// It is not tried any more, unless somebody wants it.
        Dead = "dead",
    }
}

/// The kind of what goes out as it is, and not as webhooks recommend: the receipt (二维码回执) of the national front's protocol.
pub const RECEIPT: &str = "compat.receipt";

/// What an app is to be told. `Debug` does not show it.
#[derive(Clone)]
pub struct Notice {
    /// The delivery's.
    pub id: String,
    /// Whom.
    pub app: AppId,
    /// Of which kind, such as `app.alarm`.
    pub kind: &'static str,
    /// What.
    pub data: Value,
}

/// A delivery without what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id; the same in every attempt.
    pub id: String,
    /// Whom.
    pub app: AppId,
    /// Of which kind.
    pub kind: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried, since it was put into the queue or sent again.
    pub attempts: u32,
    /// When it was put into the queue; whole seconds.
    pub created_at: OffsetDateTime,
    /// Since when it is tried: later than that if it was sent again.
    pub since: OffsetDateTime,
    /// When it is tried next, if it waits.
    pub due_at: Option<OffsetDateTime>,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// The code of why the last attempt failed.
    pub error: Option<String>,
    /// The HTTP status of the last answer.
    pub status: Option<u16>,
}

/// A delivery to be tried now.
pub struct ClaimedDelivery {
    /// It, this attempt counted.
    pub delivery: Delivery,
    /// JSON, octet by octet the same in every attempt. It may hold what is personal.
    pub body: Zeroizing<Vec<u8>>,
}

/// How much is claimed.
#[derive(Debug, Clone, Copy)]
pub struct ClaimLimits {
    /// At most so many now.
    pub most: u32,
    /// At most so many of an app at a time, over all gateways: one that is slow leaves the others their share.
    pub per_app: u32,
    /// For so long.
    pub lease: Duration,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// The other side took it.
    Delivered,
    /// It is to be tried again.
    Again {
        /// When.
        due_at: OffsetDateTime,
        /// Why.
        error: &'static str,
    },
    /// It is not to be tried again.
    Dead {
        /// Why.
        error: &'static str,
    },
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("id", &self.id)
            .field("app", &self.app)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Notice {
    /// A notice with an id of its own.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`] when the system gives no random numbers.
    pub fn new(app: &AppId, kind: &'static str, data: Value) -> Result<Self, StoreError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| StoreError::Interrupted)?;
        Ok(Self { id: format!("msg_{}", hex::encode(random)), app: app.clone(), kind, data })
    }

    /// As it goes out: the payload that Standard Webhooks recommends, but for a receipt.
    fn body(&self, at: OffsetDateTime) -> Vec<u8> {
        if self.kind == RECEIPT {
            return self.data.to_string().into_bytes();
        }
        let timestamp = at.format(&Rfc3339).unwrap_or_default(); // a time of this system has a year of four digits
        json!({"type": self.kind, "timestamp": timestamp, "data": self.data}).to_string().into_bytes()
    }
}

/// Has an app told, within the transaction of what it is told. Answers whether it has a webhook to be told at.
pub(crate) async fn notify(
    connection: &mut Connection<'_>,
    protection: &Protection,
    notice: &Notice,
    at: OffsetDateTime,
) -> Result<bool, StoreError> {
    if !webhooks::is_registered(connection, &notice.app).await? {
        return Ok(false);
    }
    let Notice { id, app, kind, .. } = notice;
    let body = protection.seal(body_of(&place(id, app)), &notice.body(at))?;
    let waiting = query("SELECT count(*) AS n FROM deliveries WHERE app = $1 AND state = 'waiting'")
        .bind(app.as_str())
        .fetch_one(&mut *connection)
        .await?;
    let full = waiting.try_get::<i64, _>("n")? >= MOST_WAITING;
    let state = if full { DeliveryState::Dead } else { DeliveryState::Waiting };
    query(
        "INSERT INTO deliveries (id, app, kind, body, state, created_at, since, due_at, ended_at, error)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(app.as_str())
    .bind(*kind)
    .bind(body)
    .bind(state.as_str())
    .bind(at.unix_timestamp())
    .bind(milliseconds(at))
    .bind(full.then(|| at.unix_timestamp()))
    .bind(full.then_some("queue_full"))
    .execute(connection)
    .await
    .map_err(|error| StoreError::from_insert(DELIVERY, id, error))?;
    Ok(true)
}

impl Store {
    /// Has an app told something that has no transaction of its own. Answers whether it has a webhook to be told at.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key: what is told is sealed.
    pub async fn notify(&self, notice: &Notice, at: OffsetDateTime) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let told = notify(&mut transaction, self.protection(), notice, at).await?;
        transaction.commit().await?;
        Ok(told)
    }

    /// Claims deliveries that are due, those of each app in turn, in the name of this run of the gateway.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub async fn claim_deliveries(
        &self,
        holder: &str,
        limits: ClaimLimits,
        now: OffsetDateTime,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let due = "SELECT 1 FROM deliveries WHERE state = 'waiting' AND due_at <= $1 LIMIT 1";
        if query(due).bind(milliseconds(now)).fetch_optional(self.readers()).await?.is_none() {
            return Ok(Vec::new()); // who only looks takes no turn of those who write
        }
        self.protection().version()?;
        let mut transaction = self.begin_write().await?;
        let due = query(
            "WITH busy AS (
                 SELECT app, count(*) AS n FROM deliveries
                 WHERE state = 'waiting' AND holder IS NOT NULL AND due_at > $1 GROUP BY app
             ), due AS (
                 SELECT id, app, due_at, row_number() OVER (PARTITION BY app ORDER BY due_at, id) AS turn
                 FROM deliveries WHERE state = 'waiting' AND due_at <= $1
             )
             SELECT due.id FROM due LEFT JOIN busy ON busy.app = due.app
             WHERE due.turn + COALESCE(busy.n, 0) <= $2
             ORDER BY due.turn + COALESCE(busy.n, 0), due.due_at, due.id LIMIT $3",
        )
        .bind(milliseconds(now))
        .bind(i64::from(limits.per_app))
        .bind(i64::from(limits.most))
        .fetch_all(&mut *transaction)
        .await?;
        let mut claimed = Vec::with_capacity(due.len());
        for row in &due {
            let id: String = row.try_get("id")?;
            query("UPDATE deliveries SET holder = $2, due_at = $3, attempts = attempts + 1 WHERE id = $1")
                .bind(&id)
                .bind(holder)
                .bind(milliseconds(now + limits.lease))
                .execute(&mut *transaction)
                .await?;
            let (delivery, sealed) = match find(&mut transaction, &id).await {
                Err(error @ StoreError::Corrupt { .. }) => {
                    unusable(error)?;
                    set_aside(&mut transaction, &id, now).await?;
                    continue;
                }
                found => found?,
            };
            match self.protection().open(body_of(&place(&id, &delivery.app)), &sealed) {
                Ok(body) => claimed.push(ClaimedDelivery { delivery, body }),
                Err(StoreError::Altered { .. }) => {
                    tracing::error!(id, "a delivery was altered outside the gateway; it is not sent");
                    let dead = Attempted::Dead { error: "altered" };
                    write_outcome(&mut transaction, &delivery, holder, dead, None, now).await?;
                }
                Err(error) => return Err(error),
            }
        }
        transaction.commit().await?;
        Ok(claimed)
    }

    /// Says what came of an attempt; false where the delivery is no longer this run's, or ended.
    pub async fn attempted_delivery(
        &self,
        delivery: &Delivery,
        holder: &str,
        outcome: Attempted,
        status: Option<u16>,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let written = write_outcome(&mut transaction, delivery, holder, outcome, status, now).await?;
        transaction.commit().await?;
        Ok(written)
    }

    /// Has a dead delivery tried anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] for one that is not dead.
    pub async fn resend_delivery(&self, id: &str, now: OffsetDateTime) -> Result<Delivery, StoreError> {
        let mut transaction = self.begin_write().await?;
        let (delivery, _) = find(&mut transaction, id).await?;
        if delivery.state != DeliveryState::Dead {
            return Err(StoreError::NotAllowed {
                what: DELIVERY,
                id: id.to_owned(),
                state: delivery.state.as_str(),
                reason: "only a dead one is sent again",
            });
        }
        query(
            "UPDATE deliveries SET state = 'waiting', attempts = 0, since = $2, due_at = $3, holder = NULL,
                 ended_at = NULL WHERE id = $1",
        )
        .bind(id)
        .bind(now.unix_timestamp())
        .bind(milliseconds(now))
        .execute(&mut *transaction)
        .await?;
        let (delivery, _) = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(delivery)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delivery(&self, id: &str) -> Result<Delivery, StoreError> {
        Ok(find(&mut *self.begin_read().await?, id).await?.0)
    }

    /// The latest, of one app or any, in one state or any, newest first, at most 1,000; without any that cannot be read.
    pub async fn deliveries(
        &self,
        app: Option<&AppId>,
        state: Option<DeliveryState>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE ($1 IS NULL OR app = $1) AND ($2 IS NULL OR state = $2)
             ORDER BY created_at DESC, id LIMIT $3"
        );
        let rows = query(AssertSqlSafe(select))
            .bind(app.map(AppId::as_str))
            .bind(state.map(DeliveryState::as_str))
            .bind(PAGE)
            .fetch_all(self.readers())
            .await?;
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(row) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => unusable(error)?,
            }
        }
        Ok(deliveries)
    }

    /// How many wait, and how many are dead.
    pub async fn delivery_counts(&self) -> Result<(u64, u64), StoreError> {
        let row = query(
            "SELECT (SELECT count(*) FROM deliveries WHERE state = 'waiting') AS waiting,
                 (SELECT count(*) FROM deliveries WHERE state = 'dead') AS dead",
        )
        .fetch_one(self.readers())
        .await?;
        let count = |column| Ok::<_, StoreError>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
        Ok((count("waiting")?, count("dead")?))
    }

    /// Forgets what ended before; answers how many those were.
    pub async fn forget_deliveries(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let forgotten = query(
            // Nothing ends before it is created: by that there is an index.
            "DELETE FROM deliveries WHERE created_at < $1 AND state <> 'waiting' AND ended_at < $1",
        )
        .bind(before.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(forgotten.rows_affected())
    }
}

/// Where what a delivery says stands: it opens under its own id and for its own app only.
fn body_of(place: &str) -> Cell<'_> {
    Cell { table: "deliveries", column: "body", row: place }
}

fn place(id: &str, app: &AppId) -> String {
    format!("{id} {app}")
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Only who holds it says what came of it, and of this attempt only: another one may have begun since.
async fn write_outcome(
    connection: &mut Connection<'_>,
    delivery: &Delivery,
    holder: &str,
    outcome: Attempted,
    status: Option<u16>,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let (state, due_at, error) = match outcome {
        Attempted::Delivered => (DeliveryState::Delivered, now, None),
        Attempted::Again { due_at, error } => (DeliveryState::Waiting, due_at, Some(error)),
        Attempted::Dead { error } => (DeliveryState::Dead, now, Some(error)),
    };
    let ended = (state != DeliveryState::Waiting).then(|| now.unix_timestamp());
    let written = query(
        "UPDATE deliveries SET state = $4, due_at = $5, holder = NULL, ended_at = $6, error = $7, status = $8
         WHERE id = $1 AND holder = $2 AND attempts = $3 AND state = 'waiting'",
    )
    .bind(&delivery.id)
    .bind(holder)
    .bind(i64::from(delivery.attempts))
    .bind(state.as_str())
    .bind(milliseconds(due_at))
    .bind(ended)
    .bind(error)
    .bind(status.map(i64::from))
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Has a row that cannot be read wait no more: the others are delivered.
async fn set_aside(connection: &mut Connection<'_>, id: &str, now: OffsetDateTime) -> Result<(), StoreError> {
    query(
        "UPDATE deliveries SET state = 'dead', holder = NULL, ended_at = $2, error = 'altered'
         WHERE id = $1 AND state = 'waiting'",
    )
    .bind(id)
    .bind(now.unix_timestamp())
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(connection: &mut Connection<'_>, id: &str) -> Result<(Delivery, Vec<u8>), StoreError> {
    // No id holds one, and PostgreSQL takes none.
    let possible = if id.contains('\0') { "" } else { id };
    let found = query(AssertSqlSafe(format!("SELECT {COLUMNS}, body FROM deliveries WHERE id = $1")))
        .bind(possible)
        .fetch_optional(connection)
        .await?;
    let row = found.ok_or_else(|| StoreError::NotFound { what: DELIVERY, id: id.to_owned() })?;
    Ok((read(&row)?, row.try_get("body")?))
}

fn read(row: &Row) -> Result<Delivery, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: DELIVERY, id: id.clone(), column };
    let (app, state): (&str, &str) = (row.try_get("app")?, row.try_get("state")?);
    let at = |column| -> Result<OffsetDateTime, StoreError> {
        instant(row, column)?.ok_or_else(|| corrupt(column))
    };
    let state = DeliveryState::parse(state).ok_or_else(|| corrupt("state"))?;
    let due = i128::from(row.try_get::<i64, _>("due_at")?) * 1_000_000;
    let due = OffsetDateTime::from_unix_timestamp_nanos(due).map_err(|_| corrupt("due_at"))?;
    let status: Option<i64> = row.try_get("status")?;
    Ok(Delivery {
        app: AppId::parse(app).map_err(|_| corrupt("app"))?,
        kind: row.try_get("kind")?,
        state,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).map_err(|_| corrupt("attempts"))?,
        created_at: at("created_at")?,
        since: at("since")?,
        due_at: (state == DeliveryState::Waiting).then_some(due),
        ended_at: instant(row, "ended_at")?,
        error: row.try_get("error")?,
        status: status.map(u16::try_from).transpose().map_err(|_| corrupt("status"))?,
        id: id.clone(),
    })
}
