//! How many signatures of a mandate are taken, for all gateways on the database together: each is taken in the transaction that
//! records the intention to make it, and given back in the one that records that it was not made. A gateway that dies between
//! the two leaves it taken: nobody knows whether the key signed.

use std::sync::{Arc, OnceLock};

use config::MandateNumber;

use super::{MandateChange, MandateRefusal, MandateState};
use crate::audit::LogId;
use crate::database::{Connection, query};
use crate::{Store, StoreError};

/// A signature of a mandate, which counts once for each item where it is over a list.
#[derive(Debug, Clone)]
pub struct MandateUse {
    /// Of which.
    pub mandate: MandateNumber,
    /// The version that was looked at: if the mandate has another one, nothing is taken.
    pub version: u32,
    /// The day of the site, counted from 1970-01-01.
    pub day: i64,
    /// Most on that day.
    pub per_day: u64,
    /// Most in all.
    pub in_all: u64,
    /// How often it counts: at least once.
    pub count: u32,
}

/// How many signatures of a mandate are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenOfMandate {
    /// On the day.
    pub on_day: u64,
    /// Ever.
    pub in_all: u64,
}

/// What is done to a mandate in the transaction of an entry.
#[derive(Debug)]
pub(crate) enum MandateWork {
    /// Changes it.
    Change(Box<MandateChange>),
    /// Takes what a signature counts, or says why not.
    Take(MandateUse, Arc<OnceLock<MandateRefusal>>),
    /// Gives it back.
    GiveBack(MandateUse),
}

impl MandateWork {
    /// Does it within the entry's transaction; answers whether it is done, and the entry to be written.
    pub(crate) async fn write(&self, connection: &mut Connection<'_>) -> Result<bool, sqlx::Error> {
        match self {
            Self::Change(change) => change.write(connection).await,
            Self::Take(wanted, refused) => match wanted.take(connection).await? {
                None => Ok(true),
                Some(refusal) => {
                    let _ = refused.set(refusal); // nobody else sets it
                    Ok(false)
                }
            },
            Self::GiveBack(unused) => {
                unused.give_back(connection).await?;
                Ok(true)
            }
        }
    }

    /// Says in the register where it is on record.
    pub(crate) async fn note(
        &self,
        connection: &mut Connection<'_>,
        log: LogId,
        index: i64,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Change(change) => change.note(connection, log, index).await,
            Self::Take(..) | Self::GiveBack(_) => Ok(()),
        }
    }
}

impl MandateUse {
    async fn take(&self, connection: &mut Connection<'_>) -> Result<Option<MandateRefusal>, sqlx::Error> {
        let row = query("SELECT state, version FROM mandates WHERE id = $1")
            .bind(self.mandate.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let (state, version) = match &row {
            Some(row) => (row.try_get::<String, _>("state")?, row.try_get::<u32, _>("version")?),
            None => return Ok(Some(MandateRefusal::Ended)),
        };
        match MandateState::parse(&state) {
            Some(MandateState::Active) if version == self.version => {}
            Some(MandateState::Suspended) => return Ok(Some(MandateRefusal::Suspended)),
            Some(MandateState::Ended) => return Ok(Some(MandateRefusal::Ended)),
            // Also one that was suspended and resumed since it was looked at: whoever asks again will see it so.
            Some(MandateState::Active | MandateState::Draft) | None => {
                return Ok(Some(MandateRefusal::NotActive));
            }
        }
        let taken = taken(connection, &self.mandate, self.day).await?;
        let count = u64::from(self.count);
        if taken.in_all.saturating_add(count) > self.in_all {
            return Ok(Some(MandateRefusal::UsedUp(self.in_all)));
        }
        if taken.on_day.saturating_add(count) > self.per_day {
            return Ok(Some(MandateRefusal::UsedUpToday(self.per_day)));
        }
        query(
            "INSERT INTO mandate_uses (mandate, day, taken) VALUES ($1, $2, $3)
             ON CONFLICT (mandate, day) DO UPDATE SET taken = mandate_uses.taken + $3",
        )
        .bind(self.mandate.as_str())
        .bind(self.day)
        .bind(i64::from(self.count))
        .execute(connection)
        .await?;
        Ok(None)
    }

    async fn give_back(&self, connection: &mut Connection<'_>) -> Result<(), sqlx::Error> {
        query("UPDATE mandate_uses SET taken = taken - $3 WHERE mandate = $1 AND day = $2 AND taken >= $3")
            .bind(self.mandate.as_str())
            .bind(self.day)
            .bind(i64::from(self.count))
            .execute(connection)
            .await?;
        Ok(())
    }
}

async fn taken(
    connection: &mut Connection<'_>,
    mandate: &MandateNumber,
    day: i64,
) -> Result<TakenOfMandate, sqlx::Error> {
    let row = query(
        "SELECT CAST(COALESCE(SUM(taken), 0) AS BIGINT) AS in_all,
             CAST(COALESCE(SUM(CASE WHEN day = $2 THEN taken ELSE 0 END), 0) AS BIGINT) AS on_day
         FROM mandate_uses WHERE mandate = $1",
    )
    .bind(mandate.as_str())
    .bind(day)
    .fetch_one(connection)
    .await?;
    let count = |column| Ok::<_, sqlx::Error>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
    Ok(TakenOfMandate { on_day: count("on_day")?, in_all: count("in_all")? })
}

impl Store {
    /// How many signatures of a mandate are taken: on a day of the site, counted from 1970-01-01, and in all.
    ///
    /// # Errors
    /// The database fails.
    pub async fn taken_of_mandate(
        &self,
        mandate: &MandateNumber,
        day: i64,
    ) -> Result<TakenOfMandate, StoreError> {
        Ok(taken(&mut *self.begin_read().await?, mandate, day).await?)
    }
}
