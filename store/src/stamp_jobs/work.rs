//! Who is at which document, and what comes of it.

use std::fmt;
use std::time::Duration;

use config::AppId;
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    DocumentCounts, DocumentOrder, Failure, JobKind, StampJob, counts, defaults_of, find, give_back,
    milliseconds, open_order, seal_detail,
};
use crate::blobs::Blob;
use crate::database::{Connection, Dialect, query};
use crate::deliveries::notify;
use crate::{Notice, Store, StoreError};

/// A document at which a gateway was lost so often is left alone: it may be what loses them.
const MOST_LOST: i64 = 3;

/// What cannot be opened here and now is tried again for so long, from the order on: another gateway may have the data key,
/// or this one get it.
const OPENED_WITHIN: time::Duration = time::Duration::hours(24);
/// The longest pause between two attempts to open it, seconds.
const LONGEST_PAUSE: u64 = 60;

/// A document that this run of the gateway holds. `Debug` does not show what was ordered.
pub struct ClaimedDocument {
    /// Its job.
    pub job: String,
    /// Its number.
    pub n: u32,
    /// Whose.
    pub app: AppId,
    /// What is made of it.
    pub kind: JobKind,
    /// Of the request that ordered the job.
    pub request_id: String,
    /// When that was.
    pub ordered_at: OffsetDateTime,
    /// JSON: what all the job's orders have in common.
    pub defaults: Zeroizing<Vec<u8>>,
    /// What is ordered.
    pub order: DocumentOrder,
    /// Who holds it.
    pub holder: String,
    /// Which attempt this is.
    pub attempt: u32,
    /// In so many of those before keys signed.
    pub spent: u32,
}

impl fmt::Debug for ClaimedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedDocument")
            .field("job", &self.job)
            .field("n", &self.n)
            .field("holder", &self.holder)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A document whose stamp goes on record.
#[derive(Debug, Clone)]
pub struct StampedDocument {
    /// Its job.
    pub job: String,
    /// Its number.
    pub n: u32,
    /// Who holds it.
    pub holder: String,
    /// In which attempt.
    pub attempt: u32,
    /// What came of it, on disk.
    pub result: Blob,
}

/// What came of an attempt that made no stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentEnd {
    /// It is to be tried again.
    Again {
        /// When.
        due_at: OffsetDateTime,
        /// Why.
        failure: Failure,
        /// Whether keys signed in this attempt.
        has_signed: bool,
    },
    /// It will not be stamped.
    Failed(Failure),
}

/// Which attempt at which document ends.
#[derive(Clone, Copy)]
struct Held<'h> {
    job: &'h str,
    n: i64,
    holder: &'h str,
    attempt: i64,
}

impl StampedDocument {
    /// Notes the stamp within the transaction that puts it on record; false where somebody else holds the document by
    /// now: then that stamp is not to be.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection<'_>,
        stamp: &str,
    ) -> Result<bool, StoreError> {
        let written = query(
            "UPDATE stamp_job_documents SET state = 'stamped', stamp_id = $5, result = $6, result_octets = $7,
                 result_sm3 = $8, holder = NULL, error = NULL, detail = NULL
             WHERE job = $1 AND n = $2 AND holder = $3 AND attempts = $4 AND state = 'working'",
        )
        .bind(&self.job)
        .bind(i64::from(self.n))
        .bind(&self.holder)
        .bind(i64::from(self.attempt))
        .bind(stamp)
        .bind(&self.result.name)
        .bind(i64::try_from(self.result.octets).unwrap_or(i64::MAX))
        .bind(&self.result.sm3[..])
        .execute(connection)
        .await?;
        Ok(written.rows_affected() == 1)
    }
}

/// Whether a document of the job `j` is due at $1.
const IS_DUE: &str = "EXISTS (SELECT 1 FROM stamp_job_documents d
     WHERE d.job = j.id AND d.state IN ('waiting', 'working') AND d.due_at <= $1)";
/// So many documents in a row are looked at, of which nothing can be made here, until others of the work have their turn.
const MOST_SET_ASIDE: usize = 64;

/// What was found to be done.
enum Claimed {
    Document(Box<ClaimedDocument>),
    /// A document that there is nothing to be made of here, or now.
    SetAside,
    None,
}

impl Store {
    /// Claims the next document, in the name of this run of the gateway: of the app that was served longest ago, the
    /// job that was, or the oldest, that has one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub async fn claim_document(
        &self,
        holder: &str,
        lease: Duration,
        now: OffsetDateTime,
    ) -> Result<Option<ClaimedDocument>, StoreError> {
        let any = format!("SELECT 1 FROM stamp_jobs j WHERE j.state = 'running' AND {IS_DUE} LIMIT 1");
        let any = query(sqlx::AssertSqlSafe(any)).bind(milliseconds(now));
        if any.fetch_optional(self.readers()).await?.is_none() {
            return Ok(None); // who only looks takes no turn of those who write
        }
        self.protection().version()?;
        // What is set aside is not what everybody else waits behind.
        for _ in 0..MOST_SET_ASIDE {
            match self.claim_next(holder, lease, now).await? {
                Claimed::Document(document) => return Ok(Some(*document)),
                Claimed::SetAside => {}
                Claimed::None => break,
            }
        }
        Ok(None)
    }

    async fn claim_next(
        &self,
        holder: &str,
        lease: Duration,
        now: OffsetDateTime,
    ) -> Result<Claimed, StoreError> {
        let mut transaction = self.begin_write().await?;
        let next = format!(
            "SELECT j.id, j.app, j.request_id, j.defaults FROM stamp_jobs j WHERE j.state = 'running' AND {IS_DUE}
             ORDER BY (SELECT max(k.served) FROM stamp_jobs k WHERE k.app = j.app AND k.state = 'running'),
                 j.served, j.created_at, j.id LIMIT 1"
        );
        let next = query(sqlx::AssertSqlSafe(next)).bind(milliseconds(now));
        let Some(row) = next.fetch_optional(&mut *transaction).await? else { return Ok(Claimed::None) };
        let (job, request_id) = (row.try_get::<String, _>("id")?, row.try_get("request_id")?);
        let sealed: Vec<u8> = row.try_get("defaults")?;
        let Some(found) = find(&mut transaction, &job).await? else { return Ok(Claimed::None) };
        let document = query(
            "SELECT n, body, state, attempts, lost, spent FROM stamp_job_documents
             WHERE job = $1 AND state IN ('waiting', 'working') AND due_at <= $2 ORDER BY n LIMIT 1",
        );
        let document = document.bind(&job).bind(milliseconds(now)).fetch_one(&mut *transaction).await?;
        let n: i64 = document.try_get("n")?;
        let attempt = document.try_get::<i64, _>("attempts")? + 1;
        let was_lost = document.try_get::<&str, _>("state")? == "working";
        let lost = document.try_get::<i64, _>("lost")? + i64::from(was_lost);
        let (app, kind) = (found.app, found.kind);
        let failure = |code: &str, detail: &str| Failure { code: code.to_owned(), detail: detail.to_owned() };
        if lost >= MOST_LOST {
            let detail = "a gateway was lost each time it was tried; nothing is on record as its stamp";
            self.give_up(&mut transaction, &job, n, &failure("abandoned", detail)).await?;
            transaction.commit().await?;
            return Ok(Claimed::SetAside);
        }
        let claimed = query(
            "UPDATE stamp_job_documents SET state = 'working', holder = $3, due_at = $4, attempts = $5, lost = $6
             WHERE job = $1 AND n = $2 AND attempts = $5 - 1 AND state IN ('waiting', 'working')",
        )
        .bind(&job)
        .bind(n)
        .bind(holder)
        .bind(milliseconds(now + lease))
        .bind(attempt)
        .bind(lost)
        .execute(&mut *transaction)
        .await?;
        if claimed.rows_affected() == 0 {
            return Ok(Claimed::SetAside); // its stamp came on record in between
        }
        query("UPDATE stamp_jobs SET served = (SELECT max(served) FROM stamp_jobs) + 1 WHERE id = $1")
            .bind(&job)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        // Pictures in defaults are large: nobody who writes waits while they are opened.
        let open = || {
            let body: &[u8] = document.try_get("body")?;
            // Not altered: sealed under a data key that another gateway has by now, or that this one lost.
            if [&sealed[..], body].iter().any(|sealed| self.protection().lacks_key_of(sealed)) {
                return Err(StoreError::Locked);
            }
            let defaults = self.protection().open(defaults_of(&format!("{job} {app}")), &sealed)?;
            Ok((defaults, open_order(self.protection(), &job, n, &app, body)?))
        };
        let opened = open();
        let (defaults, order) = match opened {
            Ok(opened) => opened,
            Err(StoreError::Altered { .. } | StoreError::Corrupt { .. }) => {
                tracing::error!(job, n, "an order was altered outside the gateway; it is not carried out");
                let failure = failure("data_altered", "what was ordered was altered outside the gateway");
                let mut transaction = self.begin_write().await?;
                self.give_up(&mut transaction, &job, n, &failure).await?;
                transaction.commit().await?;
                return Ok(Claimed::SetAside);
            }
            Err(error) => {
                tracing::warn!(job, n, %error, "an order could not be opened here");
                let failure =
                    failure("data_locked", "what was ordered could not be opened for want of its data key");
                let end = match now - found.created_at < OPENED_WITHIN {
                    true => {
                        let seconds = 1_u64 << attempt.clamp(0, 16);
                        let due_at = now + Duration::from_secs(seconds.min(LONGEST_PAUSE));
                        DocumentEnd::Again { due_at, failure, has_signed: false }
                    }
                    false => DocumentEnd::Failed(failure),
                };
                self.end_held(Held { job: &job, n, holder, attempt }, &end).await?;
                return Ok(Claimed::SetAside);
            }
        };
        let narrow = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Claimed::Document(Box::new(ClaimedDocument {
            job,
            n: narrow(n),
            app,
            kind,
            request_id,
            ordered_at: found.created_at,
            defaults,
            order,
            holder: holder.to_owned(),
            attempt: narrow(attempt),
            spent: narrow(document.try_get("spent")?),
        })))
    }

    async fn give_up(
        &self,
        connection: &mut Connection<'_>,
        job: &str,
        n: i64,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let detail = seal_detail(self.protection(), job, n, &failure.detail)?;
        let given_up = query(
            "UPDATE stamp_job_documents SET state = 'failed', holder = NULL, error = $3, detail = $4
             WHERE job = $1 AND n = $2 AND state IN ('waiting', 'working')",
        )
        .bind(job)
        .bind(n)
        .bind(&failure.code)
        .bind(detail)
        .execute(&mut *connection)
        .await?;
        give_back(connection, job, given_up.rows_affected()).await
    }

    /// Says what came of an attempt that made no stamp; false where somebody else holds the document by now. One that was
    /// to be tried again is cancelled if its job was.
    pub async fn end_document(
        &self,
        document: &ClaimedDocument,
        end: &DocumentEnd,
    ) -> Result<bool, StoreError> {
        let ClaimedDocument { job, n, holder, attempt, .. } = document;
        self.end_held(Held { job, n: i64::from(*n), holder, attempt: i64::from(*attempt) }, end).await
    }

    async fn end_held(&self, held: Held<'_>, end: &DocumentEnd) -> Result<bool, StoreError> {
        let Held { job, n, holder, attempt } = held;
        let (state, due_at, failure, has_signed) = match end {
            DocumentEnd::Again { due_at, failure, has_signed } => {
                ("waiting", Some(milliseconds(*due_at)), failure, *has_signed)
            }
            DocumentEnd::Failed(failure) => ("failed", None, failure, false),
        };
        let detail = match seal_detail(self.protection(), job, n, &failure.detail) {
            Err(StoreError::Locked) => None, // the code says as much
            sealed => Some(sealed?),
        };
        let mut transaction = self.begin_write().await?;
        let cancelled = "SELECT 1 FROM stamp_jobs WHERE id = $1 AND cancelled_at IS NOT NULL";
        let cancelled = query(cancelled).bind(job).fetch_optional(&mut *transaction).await?;
        let state = if state == "waiting" && cancelled.is_some() { "cancelled" } else { state };
        let written = query(
            "UPDATE stamp_job_documents SET state = $5, due_at = COALESCE($6, due_at), holder = NULL, error = $7, detail = $8,
                 spent = spent + $9
             WHERE job = $1 AND n = $2 AND holder = $3 AND attempts = $4 AND state = 'working'",
        )
        .bind(job)
        .bind(n)
        .bind(holder)
        .bind(attempt)
        .bind(state)
        .bind(due_at)
        .bind(&failure.code)
        .bind(detail)
        .bind(i64::from(has_signed))
        .execute(&mut *transaction)
        .await?;
        if state != "waiting" {
            give_back(&mut transaction, job, written.rows_affected()).await?;
        }
        transaction.commit().await?;
        Ok(written.rows_affected() == 1)
    }

    /// Notes a stamp where nothing is recorded.
    pub(crate) async fn stamped_unrecorded(
        &self,
        document: &StampedDocument,
        stamp: &str,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let written = document.write(&mut transaction, stamp).await?;
        transaction.commit().await?;
        Ok(written)
    }

    /// Lets others have at once what runs of gateways hold that are over; answers how many documents those were.
    /// `instance` is this run: `NAME/RUN`.
    pub async fn release_lost_documents(
        &self,
        instance: &str,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let holders = "SELECT DISTINCT holder FROM stamp_job_documents WHERE state = 'working'";
        let mut released = 0;
        for row in query(holders).fetch_all(self.readers()).await? {
            let Some(holder) =
                row.try_get::<Option<String>, _>("holder")?.filter(|holder| holder != instance)
            else {
                continue;
            };
            let name = |instance: &str| instance.rsplit_once('/').map(|(name, _)| name.to_owned());
            let over = match name(&holder) {
                // One gateway at a time has the file, and one run at a time the name.
                _ if self.dialect() == Dialect::Sqlite => true,
                theirs if theirs == name(instance) => true,
                Some(theirs) => !self.holds_name(&theirs).await?,
                None => false, // its lease will run out
            };
            if over {
                let release = "UPDATE stamp_job_documents SET due_at = $2 WHERE state = 'working' AND holder = $1 AND due_at > $2";
                let done =
                    query(release).bind(&holder).bind(milliseconds(now)).execute(self.writer()).await?;
                released += done.rows_affected();
            }
        }
        Ok(released)
    }

    /// Running jobs of which every document has ended: some gateway was lost before it could say so.
    pub async fn stamp_jobs_to_finish(&self) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT id FROM stamp_jobs j WHERE j.state = 'running' AND NOT EXISTS (
                 SELECT 1 FROM stamp_job_documents d WHERE d.job = j.id AND d.state IN ('waiting', 'working')
             )",
        );
        let rows = rows.fetch_all(self.readers()).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Finishes a job of which every document has ended, and has its app told; false where one has not, or somebody else
    /// was faster.
    pub async fn finish_stamp_job(&self, id: &str, now: OffsetDateTime) -> Result<bool, StoreError> {
        let open =
            "SELECT 1 FROM stamp_job_documents WHERE job = $1 AND state IN ('waiting', 'working') LIMIT 1";
        if query(open).bind(id).fetch_optional(self.readers()).await?.is_some() {
            return Ok(false); // who only looks takes no turn of those who write
        }
        let mut transaction = self.begin_write().await?;
        let finished = query(
            "UPDATE stamp_jobs SET state = 'finished', finished_at = $2
             WHERE id = $1 AND state = 'running' AND NOT EXISTS (
                 SELECT 1 FROM stamp_job_documents d WHERE d.job = $1 AND d.state IN ('waiting', 'working')
             )",
        );
        let finished = finished.bind(id).bind(now.unix_timestamp()).execute(&mut *transaction).await?;
        if finished.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(job) = find(&mut transaction, id).await? {
            let counts = counts(&mut transaction, id).await?;
            let (kind, data) = told(&job, &counts);
            notify(&mut transaction, self.protection(), &Notice::new(&job.app, kind, data)?, now).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// What an app is told when all documents of a job have ended.
fn told(job: &StampJob, counts: &DocumentCounts) -> (&'static str, Value) {
    let (kind, made) = match job.kind {
        JobKind::Stamps => ("stamps.finished", "stamped"),
        JobKind::QueryCertificates => ("query_certificates.finished", "made"),
    };
    let DocumentCounts { stamped, failed, cancelled, .. } = *counts;
    let data =
        json!({"job": job.id, "total": job.total, made: stamped, "failed": failed, "cancelled": cancelled});
    (kind, data)
}
