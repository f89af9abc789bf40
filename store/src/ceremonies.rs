//! Key ceremonies: what is to be done, who confirmed it, what came of it.
//!
//! A ceremony is open until as many custodians as it needs have confirmed exactly these parameters; then it is
//! carried out once. Confirmations are counted inside the transaction that adds one, so two that come at the same
//! time cannot both be the last.

use serde_json::Value;
use time::OffsetDateTime;

use crate::custodians::is_enabled;
use crate::database::{Connection, Row, instant, query};
use crate::words::words;
use crate::{Store, StoreError};

const CEREMONY: &str = "ceremony";
/// Most ceremonies in one answer of [`Store::ceremonies`].
const PAGE: u32 = 1000;

words! {
    /// How far a ceremony is.
    CeremonyState {
        /// Waits for confirmations.
        Open = "open",
        /// Has them; may be carried out, or is being carried out.
        Confirmed = "confirmed",
        /// Carried out.
        Done = "done",
        /// Carried out in part or not at all; it is not taken up again.
        Failed = "failed",
        /// Its time passed before it was begun to be carried out.
        Expired = "expired",
    }
}

/// A ceremony to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCeremony {
    /// What is to be done.
    pub action: String,
    /// To what and how: what the custodians confirm. Holds no secret.
    pub parameters: Value,
    /// Why.
    pub reason: String,
    /// Who began it.
    pub begun_by: String,
    /// When.
    pub begun_at: OffsetDateTime,
    /// From when on it can neither be confirmed nor carried out.
    pub expires_at: OffsetDateTime,
    /// How many custodians must confirm it.
    pub needed: u32,
}

/// A ceremony as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// Its number.
    pub id: i64,
    /// What is to be done.
    pub action: String,
    /// To what and how.
    pub parameters: Value,
    /// Why.
    pub reason: String,
    /// Who began it.
    pub begun_by: String,
    /// When.
    pub begun_at: OffsetDateTime,
    /// From when on it can neither be confirmed nor carried out.
    pub expires_at: OffsetDateTime,
    /// How many custodians must confirm it.
    pub needed: u32,
    /// Of how many, when it began.
    pub custodians: u32,
    /// How far it is.
    pub state: CeremonyState,
    /// When somebody began to carry it out.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// What came of it.
    pub result: Option<Value>,
    /// Who confirmed it, in the order of their names.
    pub confirmations: Vec<Confirmation>,
}

/// A custodian's confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Who.
    pub custodian: String,
    /// When.
    pub at: OffsetDateTime,
}

impl Store {
    /// Opens a ceremony.
    ///
    /// # Errors
    /// [`StoreError::Unacceptable`] when more custodians are needed than are enabled, or none;
    /// [`StoreError::RuleBroken`] without an action or a reason, or when it expires before it begins.
    pub async fn open_ceremony(&self, new: &NewCeremony) -> Result<Ceremony, StoreError> {
        let unacceptable =
            |reason| StoreError::Unacceptable { what: CEREMONY, id: new.action.clone(), reason };
        if new.needed == 0 {
            return Err(unacceptable("it needs one custodian at least"));
        }
        let mut transaction = self.begin_write().await?;
        let enabled: u32 = query("SELECT count(*) FROM custodians WHERE enabled")
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        if new.needed > enabled {
            return Err(unacceptable("it needs more custodians than there are"));
        }
        let id: i64 = query(
            "INSERT INTO ceremonies (action, parameters, reason, begun_by, begun_at, expires_at, needed,
                 custodians, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open') RETURNING id",
        )
        .bind(&new.action)
        .bind(new.parameters.to_string())
        .bind(&new.reason)
        .bind(&new.begun_by)
        .bind(new.begun_at.unix_timestamp())
        .bind(new.expires_at.unix_timestamp())
        .bind(new.needed)
        .bind(enabled)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(CEREMONY, &new.action, error))?
        .try_get(0)?;
        let opened = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(opened)
    }

    /// Confirms a ceremony in a custodian's name; that the custodian's secret was given is the caller's part.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it is not open, when its time has passed (then it
    /// is expired from now on), and for a custodian who is unknown or disabled; [`StoreError::AlreadyExists`] for
    /// a custodian who has confirmed it.
    pub async fn confirm_ceremony(
        &self,
        id: i64,
        custodian: &str,
        at: OffsetDateTime,
    ) -> Result<Ceremony, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ceremony = find(&mut transaction, id).await?;
        if ceremony.state == CeremonyState::Open && ceremony.expires_at <= at {
            expire(&mut transaction, at, Some(id)).await?;
            transaction.commit().await?;
            return Err(refusal(&ceremony, CeremonyState::Expired, "its time has passed"));
        }
        if ceremony.state != CeremonyState::Open {
            return Err(refusal(&ceremony, ceremony.state, "only an open ceremony can be confirmed"));
        }
        if !is_enabled(&mut transaction, self.protection(), custodian).await? {
            return Err(refusal(&ceremony, ceremony.state, "whoever confirms it is no enabled custodian"));
        }
        query("INSERT INTO ceremony_confirmations (ceremony, custodian, at) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(custodian)
            .bind(at.unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert("confirmation", custodian, error))?;
        query(
            "UPDATE ceremonies SET state = 'confirmed' WHERE id = $1
                 AND needed <= (SELECT count(*) FROM ceremony_confirmations WHERE ceremony = $1)",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        let now = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(now)
    }

    /// Begins to carry a confirmed ceremony out: whoever gets this answer does it, and nobody else can.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it is not confirmed, is being carried out already
    /// or its time has passed.
    pub async fn start_ceremony(&self, id: i64, at: OffsetDateTime) -> Result<Ceremony, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ceremony = find(&mut transaction, id).await?;
        if ceremony.state != CeremonyState::Confirmed {
            return Err(refusal(&ceremony, ceremony.state, "only a confirmed ceremony can be carried out"));
        }
        if ceremony.started_at.is_some() {
            return Err(refusal(&ceremony, ceremony.state, "it is being carried out already"));
        }
        if ceremony.expires_at <= at {
            expire(&mut transaction, at, Some(id)).await?;
            transaction.commit().await?;
            return Err(refusal(&ceremony, CeremonyState::Expired, "its time has passed"));
        }
        query("UPDATE ceremonies SET started_at = $2, carried_by = $3 WHERE id = $1")
            .bind(id)
            .bind(at.unix_timestamp())
            .bind(self.replica())
            .execute(&mut *transaction)
            .await?;
        let now = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(now)
    }

    /// Ends a ceremony as failed that nobody has begun to carry out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it has ended, is being carried out or its time has
    /// passed.
    pub async fn call_off_ceremony(
        &self,
        id: i64,
        result: &Value,
        at: OffsetDateTime,
    ) -> Result<Ceremony, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ceremony = find(&mut transaction, id).await?;
        match ceremony.state {
            CeremonyState::Open | CeremonyState::Confirmed => {}
            ended => return Err(refusal(&ceremony, ended, "it has ended")),
        }
        if ceremony.started_at.is_some() {
            return Err(refusal(&ceremony, ceremony.state, "it is being carried out"));
        }
        if ceremony.expires_at <= at {
            expire(&mut transaction, at, Some(id)).await?;
            transaction.commit().await?;
            return Err(refusal(&ceremony, CeremonyState::Expired, "its time has passed"));
        }
        let now = end(&mut transaction, id, CeremonyState::Failed, result, at).await?;
        transaction.commit().await?;
        Ok(now)
    }

    /// Ends a ceremony: done after it was started, failed from open and confirmed too, as after a gateway stopped.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it has ended, or is to be done without having
    /// been started.
    pub async fn finish_ceremony(
        &self,
        id: i64,
        done: bool,
        result: &Value,
        at: OffsetDateTime,
    ) -> Result<Ceremony, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ceremony = find(&mut transaction, id).await?;
        match ceremony.state {
            CeremonyState::Open | CeremonyState::Confirmed if !done => {}
            CeremonyState::Confirmed if ceremony.started_at.is_some() => {}
            CeremonyState::Open | CeremonyState::Confirmed => {
                return Err(refusal(&ceremony, ceremony.state, "nobody has begun to carry it out"));
            }
            ended => return Err(refusal(&ceremony, ended, "it has ended")),
        }
        let state = if done { CeremonyState::Done } else { CeremonyState::Failed };
        let now = end(&mut transaction, id, state, result, at).await?;
        transaction.commit().await?;
        Ok(now)
    }

    /// Ends all ceremonies whose time has passed and that nobody has begun to carry out; answers how many.
    pub async fn expire_ceremonies(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let mut transaction = self.begin_write().await?;
        let expired = expire(&mut transaction, now, None).await?;
        transaction.commit().await?;
        Ok(expired)
    }

    /// Ceremonies that this replica had begun to carry out before it joined, and those begun by replicas that give no
    /// sign of life: nobody goes on with them. A confirmed ceremony that nobody has begun is not among them.
    pub async fn abandoned_ceremonies(
        &self,
        joined_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<Ceremony>, StoreError> {
        let alive = self.replicas(now).await?;
        let mut transaction = self.begin_read().await?;
        let rows = query(
            "SELECT * FROM ceremonies WHERE state = 'confirmed' AND started_at IS NOT NULL ORDER BY id LIMIT $1",
        )
        .bind(i64::from(PAGE))
        .fetch_all(&mut *transaction)
        .await?;
        let mut abandoned = Vec::new();
        for row in &rows {
            let ceremony = from_row(&mut transaction, row).await?;
            let by: Option<String> = row.try_get("carried_by")?;
            let is_carried = match by.as_deref() {
                None => false, // begun by a release that knew no replicas
                Some(name) if Some(name) == self.replica() => ceremony.started_at >= Some(joined_at),
                Some(name) => alive.iter().any(|replica| replica == name),
            };
            if !is_carried {
                abandoned.push(ceremony);
            }
        }
        Ok(abandoned)
    }

    /// A ceremony by its number.
    pub async fn ceremony(&self, id: i64) -> Result<Option<Ceremony>, StoreError> {
        let mut transaction = self.begin_read().await?;
        match find(&mut transaction, id).await {
            Ok(ceremony) => Ok(Some(ceremony)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The latest ceremonies, in one state or any, newest first, at most 1,000.
    pub async fn ceremonies(&self, state: Option<CeremonyState>) -> Result<Vec<Ceremony>, StoreError> {
        let mut transaction = self.begin_read().await?;
        let rows = query("SELECT * FROM ceremonies WHERE $1 IS NULL OR state = $1 ORDER BY id DESC LIMIT $2")
            .bind(state.map(CeremonyState::as_str))
            .bind(i64::from(PAGE))
            .fetch_all(&mut *transaction)
            .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.push(from_row(&mut transaction, row).await?);
        }
        Ok(all)
    }
}

async fn end(
    connection: &mut Connection<'_>,
    id: i64,
    state: CeremonyState,
    result: &Value,
    at: OffsetDateTime,
) -> Result<Ceremony, StoreError> {
    query("UPDATE ceremonies SET state = $2, result = $3, finished_at = $4 WHERE id = $1")
        .bind(id)
        .bind(state.as_str())
        .bind(result.to_string())
        .bind(at.unix_timestamp())
        .execute(&mut *connection)
        .await?;
    find(connection, id).await
}

/// Marks what is past its time and not begun: this one, or all.
async fn expire(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    only: Option<i64>,
) -> Result<u64, sqlx::Error> {
    let expired = query(
        "UPDATE ceremonies SET state = 'expired', finished_at = $1
         WHERE state IN ('open', 'confirmed') AND started_at IS NULL AND expires_at <= $1
             AND ($2 IS NULL OR id = $2)",
    )
    .bind(now.unix_timestamp())
    .bind(only)
    .execute(connection)
    .await?;
    Ok(expired.rows_affected())
}

async fn find(connection: &mut Connection<'_>, id: i64) -> Result<Ceremony, StoreError> {
    let row = query("SELECT * FROM ceremonies WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| StoreError::NotFound { what: CEREMONY, id: id.to_string() })?;
    from_row(connection, &row).await
}

async fn from_row(connection: &mut Connection<'_>, row: &Row) -> Result<Ceremony, StoreError> {
    let id: i64 = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: CEREMONY, id: id.to_string(), column };
    let json = |text: &str, column| serde_json::from_str::<Value>(text).map_err(|_| corrupt(column));
    let confirmations =
        query("SELECT custodian, at FROM ceremony_confirmations WHERE ceremony = $1 ORDER BY custodian")
            .bind(id)
            .fetch_all(connection)
            .await?;
    let confirmations = confirmations.iter().map(|row| {
        let at = instant(row, "at")?.ok_or_else(|| corrupt("confirmations"))?;
        Ok::<_, StoreError>(Confirmation { custodian: row.try_get("custodian")?, at })
    });
    Ok(Ceremony {
        action: row.try_get("action")?,
        parameters: json(row.try_get("parameters")?, "parameters")?,
        reason: row.try_get("reason")?,
        begun_by: row.try_get("begun_by")?,
        begun_at: instant(row, "begun_at")?.ok_or_else(|| corrupt("begun_at"))?,
        expires_at: instant(row, "expires_at")?.ok_or_else(|| corrupt("expires_at"))?,
        needed: row.try_get("needed")?,
        custodians: row.try_get("custodians")?,
        state: CeremonyState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
        started_at: instant(row, "started_at")?,
        finished_at: instant(row, "finished_at")?,
        result: row.try_get::<Option<&str>, _>("result")?.map(|text| json(text, "result")).transpose()?,
        confirmations: confirmations.collect::<Result<_, _>>()?,
        id,
    })
}

fn refusal(ceremony: &Ceremony, state: CeremonyState, reason: &'static str) -> StoreError {
    let (id, state) = (ceremony.id.to_string(), state.as_str());
    StoreError::NotAllowed { what: CEREMONY, id, state, reason }
}
