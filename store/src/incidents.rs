//! Incidents (故障事件) and their steps. What a step means the crate `maintenance` knows; here each is a text that stays. A step goes into
//! the transaction of its entry in the audit log, and rests on the version that whoever made it had seen.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::database::{Connection, Row, instant, query};
use crate::{Store, StoreError};

const INCIDENT: &str = "incident";

/// A step of an incident, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentStep {
    /// When; whole seconds.
    pub at: OffsetDateTime,
    /// By whom.
    pub actor: String,
    /// What was done, JSON.
    pub said: String,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentRow {
    /// Its number.
    pub id: String,
    /// What it is of.
    pub system: String,
    /// How far it is.
    pub state: String,
    /// What names those that are the same again.
    pub signature: Option<String>,
    /// How many steps there are.
    pub version: u32,
    /// Which promises were warned of, or told to be missed: bits.
    pub told: u32,
    /// How often an alarm came again while it was open.
    pub seen: u64,
    /// When it last did; whole seconds.
    pub seen_at: Option<OffsetDateTime>,
    /// Its steps, in their order.
    pub steps: Vec<IncidentStep>,
}

/// An incident to be opened.
#[derive(Debug, Clone)]
pub struct NewIncident {
    /// Its number.
    pub id: String,
    /// What it is of.
    pub system: String,
    /// What names those that are the same again: of one there is one open.
    pub signature: Option<String>,
    /// Its first step.
    pub step: IncidentStep,
}

/// What becomes of an incident by a step.
#[derive(Debug, Clone)]
pub struct IncidentAdvance {
    /// Its number.
    pub id: String,
    /// The version that whoever makes the step had seen.
    pub version: u32,
    /// How far it is then.
    pub state: String,
    /// How grave it is then, 1 to 4.
    pub level: Option<u8>,
    /// Whether that is its end.
    pub is_closed: bool,
    /// The step.
    pub step: IncidentStep,
}

/// A change of an incident that is made with its entry in the audit log.
#[derive(Debug)]
pub enum IncidentChange {
    /// Opens it.
    Open(NewIncident),
    /// Takes it a step further.
    Advance(IncidentAdvance),
    /// Notes that somebody was told of these promises, once over all gateways.
    Told {
        /// Its number.
        id: String,
        /// Bits.
        of: u32,
    },
}

/// Which incidents.
#[derive(Debug, Clone, Default)]
pub struct IncidentQuery<'a> {
    /// Those that are open, or closed.
    pub open: Option<bool>,
    /// Those of a system.
    pub system: Option<&'a str>,
    /// Those that are the same.
    pub signature: Option<&'a str>,
    /// Those accepted from then on.
    pub from: Option<OffsetDateTime>,
    /// Those accepted before.
    pub before: Option<OffsetDateTime>,
    /// Those accepted before this one.
    pub after: Option<&'a str>,
}

impl IncidentChange {
    fn id(&self) -> &str {
        match self {
            Self::Open(new) => &new.id,
            Self::Advance(advance) => &advance.id,
            Self::Told { id, .. } => id,
        }
    }

    /// What it is when somebody else came first.
    pub(crate) fn refused(&self) -> StoreError {
        let id = self.id().to_owned();
        match self {
            Self::Open(_) => StoreError::AlreadyExists { what: INCIDENT, id },
            Self::Advance(_) | Self::Told { .. } => StoreError::Changed { what: INCIDENT, id },
        }
    }

    /// Makes it; false if another change came first: then nothing must be kept of it.
    pub(crate) async fn write(&self, connection: &mut Connection<'_>) -> Result<bool, StoreError> {
        let (changed, number, step) = match self {
            Self::Open(new) => {
                let done = query(
                    "INSERT INTO incidents (id, system, state, signature, version, accepted_at)
                     VALUES ($1, $2, 'accepted', $3, 1, $4) ON CONFLICT DO NOTHING",
                )
                .bind(&new.id)
                .bind(&new.system)
                .bind(&new.signature)
                .bind(new.step.at.unix_timestamp())
                .execute(&mut *connection)
                .await?;
                (done, 1, Some(&new.step))
            }
            Self::Advance(advance) => {
                let closed_at = advance.is_closed.then(|| advance.step.at.unix_timestamp());
                let done = query(
                    "UPDATE incidents SET version = version + 1, state = $3, level = $4, closed_at = $5
                     WHERE id = $1 AND version = $2 AND closed_at IS NULL",
                )
                .bind(&advance.id)
                .bind(i64::from(advance.version))
                .bind(&advance.state)
                .bind(advance.level.map(i64::from))
                .bind(closed_at)
                .execute(&mut *connection)
                .await?;
                (done, i64::from(advance.version) + 1, Some(&advance.step))
            }
            Self::Told { id, of } => {
                let done = query(
                    "UPDATE incidents SET told = told | $2 WHERE id = $1 AND told & $2 = 0 AND closed_at IS NULL",
                )
                .bind(id)
                .bind(i64::from(*of))
                .execute(&mut *connection)
                .await?;
                (done, 0, None)
            }
        };
        if changed.rows_affected() != 1 {
            return Ok(false);
        }
        if let Some(step) = step {
            query(
                "INSERT INTO incident_steps (incident, number, at, actor, said) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(self.id())
            .bind(number)
            .bind(step.at.unix_timestamp())
            .bind(&step.actor)
            .bind(&step.said)
            .execute(&mut *connection)
            .await?;
        }
        Ok(true)
    }
}

impl Store {
    /// An incident with its steps.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn incident(&self, id: &str) -> Result<IncidentRow, StoreError> {
        // No number holds one, and PostgreSQL takes none.
        let possible = if id.contains('\0') { "" } else { id };
        let mut reading = self.begin_read().await?;
        let row = query("SELECT * FROM incidents WHERE id = $1")
            .bind(possible)
            .fetch_optional(&mut *reading)
            .await?;
        let row = row.ok_or_else(|| StoreError::NotFound { what: INCIDENT, id: id.to_owned() })?;
        let steps = query("SELECT * FROM incident_steps WHERE incident = $1 ORDER BY number")
            .bind(possible)
            .fetch_all(&mut *reading)
            .await?;
        read(&row, &mut steps_of(&steps)?)
    }

    /// Incidents with their steps, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the one that they come after is not there.
    pub async fn incidents(
        &self,
        which: &IncidentQuery<'_>,
        limit: u32,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        const WANTED: &str = "FROM incidents
             WHERE (accepted_at < $1 OR (accepted_at = $1 AND id < $2))
                 AND ($3 = '' OR system = $3)
                 AND ($4 = '' OR signature = $4)
                 AND ($5 = 2 OR ($5 = 1) = (closed_at IS NULL))
                 AND accepted_at >= $6 AND accepted_at < $7
             ORDER BY accepted_at DESC, id DESC LIMIT $8";
        let seconds = |at: Option<OffsetDateTime>, otherwise| {
            at.map_or(otherwise, |at: OffsetDateTime| at.unix_timestamp())
        };
        let (mut before, mut id) = (i64::MAX, String::new());
        if let Some(after) = which.after {
            let row = self.incident(after).await?;
            (before, id) = (seconds(row.steps.first().map(|step| step.at), 0), row.id);
        }
        let wanted = |text: String| {
            query(AssertSqlSafe(text))
                .bind(before)
                .bind(&id)
                .bind(which.system.unwrap_or_default())
                .bind(which.signature.unwrap_or_default())
                .bind(which.open.map_or(2_i64, i64::from))
                .bind(seconds(which.from, i64::MIN))
                .bind(seconds(which.before, i64::MAX))
                .bind(i64::from(limit))
        };
        // Of one picture, so that each has as many steps as its version says.
        let mut reading = self.begin_read().await?;
        let rows = wanted(format!("SELECT * {WANTED}")).fetch_all(&mut *reading).await?;
        let steps = format!(
            "SELECT * FROM incident_steps WHERE incident IN (SELECT id {WANTED}) ORDER BY incident, number"
        );
        let steps = wanted(steps).fetch_all(&mut *reading).await?;
        let mut steps = steps_of(&steps)?;
        rows.iter().map(|row| read(row, &mut steps)).collect()
    }

    /// The open incident that has a signature, if there is one, after counting that it was seen again.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn incident_seen(
        &self,
        signature: &str,
        at: OffsetDateTime,
    ) -> Result<Option<String>, StoreError> {
        let row = query(
            "UPDATE incidents SET seen = seen + 1, seen_at = $2
             WHERE signature = $1 AND closed_at IS NULL RETURNING id",
        )
        .bind(signature)
        .bind(at.unix_timestamp())
        .fetch_optional(self.writer())
        .await?;
        Ok(row.map(|row| row.try_get("id")).transpose()?)
    }
}

/// Steps by their incidents, in their order.
fn steps_of(rows: &[Row]) -> Result<BTreeMap<String, Vec<IncidentStep>>, StoreError> {
    let mut steps = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        let id: String = row.try_get("incident")?;
        let corrupt = |_| StoreError::Corrupt { what: INCIDENT, id: id.clone(), column: "at" };
        let step = IncidentStep {
            at: OffsetDateTime::from_unix_timestamp(row.try_get("at")?).map_err(corrupt)?,
            actor: row.try_get("actor")?,
            said: row.try_get("said")?,
        };
        steps.entry(id).or_default().push(step);
    }
    Ok(steps)
}

/// An incident, which takes its steps.
fn read(row: &Row, steps: &mut BTreeMap<String, Vec<IncidentStep>>) -> Result<IncidentRow, StoreError> {
    let id: String = row.try_get("id")?;
    let whole = |column| -> Result<u32, StoreError> {
        let corrupt = |_| StoreError::Corrupt { what: INCIDENT, id: id.clone(), column };
        u32::try_from(row.try_get::<i64, _>(column)?).map_err(corrupt)
    };
    Ok(IncidentRow {
        system: row.try_get("system")?,
        state: row.try_get("state")?,
        signature: row.try_get("signature")?,
        version: whole("version")?,
        told: whole("told")?,
        seen: u64::from(whole("seen")?),
        seen_at: instant(row, "seen_at")?,
        steps: steps.remove(&id).unwrap_or_default(),
        id,
    })
}
