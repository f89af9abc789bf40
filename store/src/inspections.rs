//! Inspections (巡检): which were begun, by whom, and what they found.
//!
//! One is made at a time, over all gateways on the database. An inspection of a schedule is named by its slot, such as a date:
//! whoever begins it first makes it, and nobody makes it again. One that its gateway lost is begun anew when its lease has run
//! out, under the same slot.

use time::{Duration, OffsetDateTime};

use crate::database::{Row, instant, query};
use crate::words::words;
use crate::{Dialect, Store, StoreError};

const INSPECTION: &str = "inspection";

/// After so long an inspection that has not ended counts as lost.
const LEASE: Duration = Duration::minutes(15);

/// Until when a lease may run that somebody took by now: one beyond that was taken by a clock that was wrong, and holds nothing up.
fn farthest(now: i64) -> i64 {
    now.saturating_add(2 * LEASE.whole_seconds())
}

words! {
    /// Why an inspection is made.
    Occasion {
        /// Each day.
        Daily = "daily",
        /// Each week.
        Weekly = "weekly",
        /// Each quarter of a year.
        Quarterly = "quarterly",
        /// Before a time that matters (重要时刻保障).
        KeyMoment = "key_moment",
        /// Somebody asked for it.
        OnDemand = "on_demand",
    }
}

words! {
    /// How far an inspection is.
    InspectionState {
        /// Being made.
        Running = "running",
        /// Made.
        Done = "done",
        /// Lost with its gateway, or broken off.
        Failed = "failed",
        /// A time of a schedule for which none is owed.
        Skipped = "skipped",
    }
}

/// An inspection to begin.
#[derive(Debug, Clone)]
pub struct NewInspection<'a> {
    /// Its number.
    pub id: &'a str,
    /// Why it is made.
    pub occasion: Occasion,
    /// Which time of the schedule; none if somebody asked for it.
    pub slot: Option<&'a str>,
    /// Names whoever makes it; never the same twice.
    pub holder: &'a str,
    /// The gateway that makes it.
    pub replica: &'a str,
    /// Who asked for it.
    pub actor: &'a str,
    /// Why, in words.
    pub reason: &'a str,
    /// Now.
    pub at: OffsetDateTime,
    /// Seconds that have to pass between the beginnings of two.
    pub apart: i64,
}

/// Whether an inspection began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Yes, under this number: another one than that which was asked for where a lost one is made anew.
    Here(String),
    /// This one is being made, here or at another gateway.
    Running(String),
    /// The last one began so lately that there are seconds to wait.
    TooSoon(i64),
    /// That of this slot was made, or is not owed.
    Made,
}

/// What came of an inspection.
#[derive(Debug, Clone)]
pub struct InspectionEnd<'a> {
    /// Its number.
    pub id: &'a str,
    /// Who makes it.
    pub holder: &'a str,
    /// When it ended.
    pub at: OffsetDateTime,
    /// What was found, JSON.
    pub results: &'a str,
    /// The worst of it.
    pub grade: &'a str,
    /// How much of it came out how, JSON.
    pub counts: &'a str,
    /// How each check stands now, JSON.
    pub standing: &'a str,
    /// Where its outcome is on record.
    pub audit_index: u64,
    /// The report, PDF; none if it could not be set.
    pub report: Option<&'a [u8]>,
    /// The number of the report's stamp, or why it has none.
    pub stamp: Result<&'a str, &'a str>,
}

/// An inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its number.
    pub id: String,
    /// Why it is made.
    pub occasion: Occasion,
    /// Which time of the schedule.
    pub slot: Option<String>,
    /// How far it is.
    pub state: InspectionState,
    /// The gateway that makes it.
    pub replica: String,
    /// Who asked for it.
    pub actor: String,
    /// Why, in words.
    pub reason: String,
    /// When it began; whole seconds, as all times here.
    pub began_at: OffsetDateTime,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// What was found, JSON, once it is done; none in a list, which it would make long.
    pub results: Option<String>,
    /// The worst of it.
    pub grade: Option<String>,
    /// How much of it came out how, JSON.
    pub counts: Option<String>,
    /// Where its outcome is on record.
    pub audit_index: Option<u64>,
    /// Whether there is a report.
    pub has_report: bool,
    /// The number of the report's stamp.
    pub stamp: Option<String>,
    /// Why it has none.
    pub unsigned: Option<String>,
}

/// What the database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseFigures {
    /// What it takes on disk.
    pub octets: u64,
    /// Connections to its server and how many whoever is no superuser may open; none of SQLite, which has no server.
    pub connections: Option<(u64, u64)>,
    /// Migrations that were applied.
    pub migrations: u64,
}

const COLUMNS: &str =
    "id, occasion, slot, state, replica, actor, reason, began_at, ended_at, grade, counts, audit_index,
    CAST(CASE WHEN report IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_report, stamp, unsigned";

impl Store {
    /// Begins an inspection, if none is being made and that of its slot was not.
    pub async fn begin_inspection(&self, new: &NewInspection<'_>) -> Result<Begun, StoreError> {
        let now = new.at.unix_timestamp();
        let mut transaction = self.begin_write().await?;
        let mut lost = None;
        if let Some(slot) = new.slot {
            let found =
                query("SELECT id, state, leased_until FROM inspections WHERE occasion = $1 AND slot = $2")
                    .bind(new.occasion.as_str())
                    .bind(slot)
                    .fetch_optional(&mut *transaction)
                    .await?;
            if let Some(row) = found {
                let (id, until): (String, i64) = (row.try_get("id")?, row.try_get("leased_until")?);
                if row.try_get::<&str, _>("state")? != InspectionState::Running.as_str() {
                    return Ok(Begun::Made);
                }
                if until > now && until <= farthest(now) {
                    return Ok(Begun::Running(id));
                }
                lost = Some(id);
            }
        }
        let running = query(
            "SELECT id FROM inspections WHERE state = 'running' AND leased_until > $1 AND leased_until <= $2 LIMIT 1",
        )
        .bind(now)
        .bind(farthest(now))
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = running {
            return Ok(Begun::Running(row.try_get("id")?));
        }
        let last: Option<i64> = query("SELECT max(began_at) FROM inspections WHERE state <> 'skipped'")
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        // One from the future, by a clock that was set back, holds nothing up.
        let wait = last.filter(|last| *last <= now).map_or(0, |last| last + new.apart - now);
        if wait > 0 {
            return Ok(Begun::TooSoon(wait));
        }
        query(
            "UPDATE inspections SET state = 'failed', ended_at = $1
             WHERE state = 'running' AND (leased_until <= $1 OR leased_until > $2) AND slot IS NULL",
        )
        .bind(now)
        .bind(farthest(now))
        .execute(&mut *transaction)
        .await?;
        let id = lost.as_deref().unwrap_or(new.id);
        let begin = if lost.is_some() {
            "UPDATE inspections SET occasion = $2, slot = $3, holder = $4, replica = $5, actor = $6, reason = $7,
                 began_at = $8, leased_until = $9 WHERE id = $1"
        } else {
            "INSERT INTO inspections
                 (id, occasion, slot, state, holder, replica, actor, reason, began_at, leased_until)
             VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9)"
        };
        query(begin)
            .bind(id)
            .bind(new.occasion.as_str())
            .bind(new.slot)
            .bind(new.holder)
            .bind(new.replica)
            .bind(new.actor)
            .bind(new.reason)
            .bind(now)
            .bind((new.at + LEASE).unix_timestamp())
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::from_insert(INSPECTION, id, error))?;
        transaction.commit().await?;
        Ok(Begun::Here(id.to_owned()))
    }

    /// Ends an inspection; false if it is another's by now.
    pub async fn finish_inspection(&self, end: &InspectionEnd<'_>) -> Result<bool, StoreError> {
        let ended = query(
            "UPDATE inspections SET state = 'done', ended_at = $3, results = $4, standing = $5, audit_index = $6,
                 report = $7, stamp = $8, unsigned = $9, grade = $10, counts = $11
             WHERE id = $1 AND holder = $2 AND state = 'running'",
        )
        .bind(end.id)
        .bind(end.holder)
        .bind(end.at.unix_timestamp())
        .bind(end.results)
        .bind(end.standing)
        .bind(i64::try_from(end.audit_index).unwrap_or(i64::MAX))
        .bind(end.report)
        .bind(end.stamp.ok())
        .bind(end.stamp.err())
        .bind(end.grade)
        .bind(end.counts)
        .execute(self.writer())
        .await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Gives back an inspection that could not be begun on record: one of a schedule is owed again, another one has failed.
    pub async fn give_inspection_back(
        &self,
        id: &str,
        holder: &str,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE inspections SET leased_until = $3,
                 state = CASE WHEN slot IS NULL THEN 'failed' ELSE state END,
                 ended_at = CASE WHEN slot IS NULL THEN $3 ELSE ended_at END
             WHERE id = $1 AND holder = $2 AND state = 'running'",
        )
        .bind(id)
        .bind(holder)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// Gives up what a gateway was making when it ended: whoever asked by a schedule gets it anew, at once.
    pub async fn abandon_inspections(&self, replica: &str, at: OffsetDateTime) -> Result<u64, StoreError> {
        let abandoned = query(
            "UPDATE inspections SET leased_until = $2,
                 state = CASE WHEN slot IS NULL THEN 'failed' ELSE state END,
                 ended_at = CASE WHEN slot IS NULL THEN $2 ELSE ended_at END
             WHERE replica = $1 AND state = 'running'",
        )
        .bind(replica)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(abandoned.rows_affected())
    }

    /// Notes that nothing is owed for a time of a schedule; nothing changes where something is known of it.
    pub async fn skip_inspection(
        &self,
        id: &str,
        (occasion, slot): (Occasion, &str),
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO inspections (id, occasion, slot, state, holder, replica, actor, reason, began_at, leased_until)
             VALUES ($1, $2, $3, 'skipped', '', '', '', '', $4, $4) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(occasion.as_str())
        .bind(slot)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// Whether a schedule has begun: something is known of one of its times.
    pub async fn has_inspections_of(&self, occasion: Occasion) -> Result<bool, StoreError> {
        let found = query("SELECT 1 FROM inspections WHERE occasion = $1 AND slot IS NOT NULL LIMIT 1")
            .bind(occasion.as_str())
            .fetch_optional(self.readers())
            .await?;
        Ok(found.is_some())
    }

    /// Whether something is to be done for a time of a schedule: nothing is known of it, or who made it was lost.
    pub async fn owes_inspection(
        &self,
        occasion: Occasion,
        slot: &str,
        at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let settled = query(
            "SELECT 1 FROM inspections
             WHERE occasion = $1 AND slot = $2
                 AND (state <> 'running' OR (leased_until > $3 AND leased_until <= $4))",
        )
        .bind(occasion.as_str())
        .bind(slot)
        .bind(at.unix_timestamp())
        .bind(farthest(at.unix_timestamp()))
        .fetch_optional(self.readers())
        .await?;
        Ok(settled.is_none())
    }

    /// Ends those that were lost and that nobody makes anew: of a person, or of a time of a schedule that is not among `current`.
    /// Answers how many there were.
    pub async fn end_lost_inspections(
        &self,
        current: &[(Occasion, &str)],
        at: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let now = at.unix_timestamp();
        let rows = query(
            "SELECT id, holder, occasion, slot FROM inspections
             WHERE state = 'running' AND (leased_until <= $1 OR leased_until > $2)",
        )
        .bind(now)
        .bind(farthest(now))
        .fetch_all(self.readers())
        .await?;
        let mut ended = 0;
        for row in rows {
            let (id, holder): (String, String) = (row.try_get("id")?, row.try_get("holder")?);
            let (occasion, slot): (String, Option<String>) = (row.try_get("occasion")?, row.try_get("slot")?);
            let is_current = |(of, name): &(Occasion, &str)| {
                of.as_str() == occasion && slot.as_deref().is_some_and(|slot| slot == *name)
            };
            if current.iter().any(is_current) {
                continue;
            }
            let done = query(
                "UPDATE inspections SET state = 'failed', ended_at = $3
                 WHERE id = $1 AND holder = $2 AND state = 'running'
                     AND (leased_until <= $3 OR leased_until > $4)",
            )
            .bind(id)
            .bind(holder)
            .bind(now)
            .bind(farthest(now))
            .execute(self.writer())
            .await?;
            ended += done.rows_affected();
        }
        Ok(ended)
    }

    /// Inspections, the newest first, at most `limit` that began no later than the one called `after`, without it; without results.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such one.
    pub async fn inspections(&self, after: Option<&str>, limit: u32) -> Result<Vec<Inspection>, StoreError> {
        let (began, id) = match after {
            None => (i64::MAX, String::new()),
            Some(after) => {
                let before = self.inspection(after).await?;
                (before.began_at.unix_timestamp(), before.id)
            }
        };
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, CAST(NULL AS TEXT) AS results FROM inspections
             WHERE state <> 'skipped' AND (began_at < $1 OR (began_at = $1 AND id < $2))
             ORDER BY began_at DESC, id DESC LIMIT $3"
        )))
        .bind(began)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(read).collect()
    }

    /// An inspection by its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn inspection(&self, id: &str) -> Result<Inspection, StoreError> {
        let none = || StoreError::NotFound { what: INSPECTION, id: id.to_owned() };
        if id.contains('\0') {
            return Err(none());
        }
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, results FROM inspections WHERE id = $1 AND state <> 'skipped'"
        )))
        .bind(id)
        .fetch_optional(self.readers())
        .await?;
        read(&row.ok_or_else(none)?)
    }

    /// The report of an inspection, PDF.
    pub async fn inspection_report(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = query("SELECT report FROM inspections WHERE id = $1")
            .bind(id)
            .fetch_optional(self.readers())
            .await?;
        Ok(row.map(|row| row.try_get("report")).transpose()?.flatten())
    }

    /// How each check stood after the last inspection that ended by now, JSON; none before the first.
    pub async fn inspection_standing(&self, now: OffsetDateTime) -> Result<Option<String>, StoreError> {
        let row = query(
            "SELECT standing FROM inspections WHERE state = 'done' AND ended_at <= $1
             ORDER BY ended_at DESC, id DESC LIMIT 1",
        )
        .bind(now.unix_timestamp())
        .fetch_optional(self.readers())
        .await?;
        Ok(row.map(|row| row.try_get("standing")).transpose()?.flatten())
    }

    /// Forgets inspections that began before a time. What a schedule owes is not forgotten: of each the last stays.
    pub async fn forget_inspections(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let forgotten = query(
            "DELETE FROM inspections WHERE began_at < $1 AND state <> 'running' AND NOT (slot IS NOT NULL
                 AND began_at = (SELECT max(o.began_at) FROM inspections o
                     WHERE o.occasion = inspections.occasion AND o.slot IS NOT NULL))",
        )
        .bind(before.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(forgotten.rows_affected())
    }

    /// What the database says of itself.
    pub async fn database_figures(&self) -> Result<DatabaseFigures, StoreError> {
        let migrations: i64 = query("SELECT count(*) FROM _sqlx_migrations WHERE success")
            .fetch_one(self.readers())
            .await?
            .try_get(0)?;
        let whole = |number: i64| u64::try_from(number).unwrap_or_default();
        let (octets, connections) = match self.dialect() {
            Dialect::Sqlite => {
                let row = query("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
                    .fetch_one(self.readers())
                    .await?;
                (row.try_get::<i64, _>(0)?, None)
            }
            Dialect::Postgres => {
                let row = query(
                    // pg_stat_activity shows a role without rights its own connections only.
                    "SELECT pg_database_size(current_database()) AS size,
                         (SELECT coalesce(sum(numbackends), 0)::BIGINT FROM pg_stat_database) AS used,
                         current_setting('max_connections')::BIGINT
                             - current_setting('superuser_reserved_connections')::BIGINT AS most",
                )
                .fetch_one(self.readers())
                .await?;
                let used: (i64, i64) = (row.try_get("used")?, row.try_get("most")?);
                (row.try_get("size")?, Some((whole(used.0), whole(used.1))))
            }
        };
        Ok(DatabaseFigures { octets: whole(octets), connections, migrations: whole(migrations) })
    }
}

fn read(row: &Row) -> Result<Inspection, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: INSPECTION, id: id.clone(), column };
    let audit_index: Option<i64> = row.try_get("audit_index")?;
    Ok(Inspection {
        occasion: Occasion::parse(row.try_get("occasion")?).ok_or_else(|| corrupt("occasion"))?,
        slot: row.try_get("slot")?,
        state: InspectionState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
        replica: row.try_get("replica")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        began_at: instant(row, "began_at")?.ok_or_else(|| corrupt("began_at"))?,
        ended_at: instant(row, "ended_at")?,
        results: row.try_get("results")?,
        grade: row.try_get("grade")?,
        counts: row.try_get("counts")?,
        audit_index: audit_index.and_then(|index| u64::try_from(index).ok()),
        has_report: row.try_get::<i64, _>("has_report")? == 1,
        stamp: row.try_get("stamp")?,
        unsigned: row.try_get("unsigned")?,
        id,
    })
}
