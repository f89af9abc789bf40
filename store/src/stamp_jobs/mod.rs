//! Documents that are stamped many at a time: what was ordered, who is at it, and what came of each.
//!
//! A gateway claims a document for a while (`work.rs`). What comes of it is written by who still holds it and nobody else:
//! of a stamp in the transaction that puts it on record ([`crate::AuditLog::append_job_stamp`]). So a document has one
//! stamp on record or none, and at every moment the database knows which.

mod uploads;
mod work;

use config::AppId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use uploads::{Upload, UploadRoom};
pub use work::{ClaimedDocument, DocumentEnd, StampedDocument};

use crate::blobs::Blob;
use crate::database::{Connection, Row, instant, query};
use crate::policy_counts::{DayLimit, take_all};
use crate::protection::{Cell, Protection};
use crate::words::words;
use crate::{Store, StoreError};

const JOB: &str = "stamp job";
const DOCUMENT: &str = "stamp job document";
const COLUMNS: &str = "id, app, kind, total, state, created_at, cancelled_at, finished_at";
/// Documents that are entered by one statement.
const ENTERED: usize = 100;

words! {
    /// What a job makes.
    JobKind {
        /// Stamps on documents that its app sent.
        Stamps = "stamps",
        /// Query certificates (打印查询证明), of which the gateway sets the documents.
        QueryCertificates = "query_certificates",
    }
}

words! {
    /// How far a job is.
    StampJobState {
        /// Some of its documents have not ended.
        Running = "running",
        /// All of them have.
        Finished = "finished",
    }
}

words! {
    /// How far a document of a job is.
    DocumentState {
        /// Its turn has not come, or it is tried again.
        Waiting = "waiting",
        /// A gateway is at it.
        Working = "working",
        /// Its stamp is on record.
        Stamped = "stamped",
        /// It has no stamp, and will have none.
        Failed = "failed",
        /// It had not begun when the job was cancelled.
        Cancelled = "cancelled",
    }
}

/// A job to be.
pub struct NewStampJob<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose.
    pub app: &'a AppId,
    /// What it makes.
    pub kind: JobKind,
    /// What each of its documents counts for that can be made something of; it is given back when nothing comes of one.
    pub counted: Option<DayLimit<'a>>,
    /// Of the request that ordered it.
    pub request_id: &'a str,
    /// JSON: what all documents' orders have in common.
    pub defaults: &'a [u8],
    /// Its documents, of which there is one at least.
    pub documents: &'a [NewDocument],
}

/// A document of a job to be.
pub struct NewDocument {
    /// What it is.
    pub order: DocumentOrder,
    /// Why it will not be stamped, if that is known already.
    pub failed: Option<Failure>,
}

/// Why a document has no stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// A document as it was ordered. `Debug` would show what it says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentOrder {
    /// What its owner calls it.
    pub name: String,
    /// JSON: what is ordered beyond the job's defaults.
    pub order: String,
    /// What is stamped; none of a digest.
    pub source: Option<Source>,
}

/// A document that is kept until it is stamped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its blob.
    pub blob: String,
    /// Its octets.
    pub octets: u64,
    /// SM3 over them, hexadecimal.
    pub sm3: String,
}

impl Source {
    /// A document that is kept.
    #[must_use]
    pub fn of(blob: &Blob) -> Self {
        Self { blob: blob.name.clone(), octets: blob.octets, sm3: hex::encode(blob.sm3) }
    }

    /// Where this app's document is kept; none if its digest is none.
    #[must_use]
    pub fn of_app(&self, app: &AppId) -> Option<Blob> {
        let mut sm3 = [0; 32];
        hex::decode_to_slice(&self.sm3, &mut sm3).ok()?;
        Some(Blob { name: self.blob.clone(), app: app.clone(), octets: self.octets, sm3 })
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampJob {
    /// Its id.
    pub id: String,
    /// Whose.
    pub app: AppId,
    /// What it makes.
    pub kind: JobKind,
    /// Of how many documents.
    pub total: u32,
    /// How far it is.
    pub state: StampJobState,
    /// When it was ordered; whole seconds, like the others.
    pub created_at: OffsetDateTime,
    /// When it was cancelled.
    pub cancelled_at: Option<OffsetDateTime>,
    /// When the last of its documents ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// A job's documents by their states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentCounts {
    /// Not begun, or to be tried again.
    pub waiting: u64,
    /// Begun.
    pub working: u64,
    /// With a stamp on record.
    pub stamped: u64,
    /// Without one for good.
    pub failed: u64,
    /// Not begun before the job was cancelled.
    pub cancelled: u64,
}

/// What is known of a document of a job.
#[derive(Clone, PartialEq, Eq)]
pub struct JobDocument {
    /// Its number, from 1 on.
    pub n: u32,
    /// What its owner calls it.
    pub name: String,
    /// How far it is.
    pub state: DocumentState,
    /// Its stamp's number.
    pub stamp_id: Option<String>,
    /// Its stamp's check code.
    pub check_code: Option<String>,
    /// What came of it.
    pub result: Option<Blob>,
    /// Why it failed, or why it is tried again.
    pub failure: Option<Failure>,
}

impl Store {
    /// Enters a job, with its documents.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key: documents are orders that name people. [`StoreError::Full`] while the app
    /// has `most` running, and where its day has not as many left as are counted; then nothing is. [`StoreError::NotFound`]
    /// of an upload that has gone meanwhile.
    pub async fn insert_stamp_job(
        &self,
        job: &NewStampJob<'_>,
        most: usize,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let &NewStampJob { id, app, kind, counted, request_id, defaults, documents } = job;
        let mut sealed = Vec::with_capacity(documents.len());
        for (document, n) in documents.iter().zip(1..) {
            let body = Zeroizing::new(serde_json::to_vec(&document.order).unwrap_or_default());
            let detail = match &document.failed {
                Some(Failure { detail, .. }) => Some(seal_detail(self.protection(), id, n, detail)?),
                None => None,
            };
            sealed.push((n, self.protection().seal(body_of(&place(id, n, app)), &body)?, detail, document));
        }
        let defaults = self.protection().seal(defaults_of(&format!("{id} {app}")), defaults)?;
        let mut transaction = self.begin_write().await?;
        let running = query("SELECT count(*) AS n FROM stamp_jobs WHERE app = $1 AND state = 'running'");
        let running = running.bind(app.as_str()).fetch_one(&mut *transaction).await?;
        if usize::try_from(running.try_get::<i64, _>("n")?).unwrap_or(0) >= most {
            return Err(StoreError::Full { what: JOB, most, in_force: true });
        }
        if let Some(limit) = counted {
            let wanted = documents.iter().filter(|document| document.failed.is_none()).count();
            take_all(&mut transaction, app, wanted as u64, limit).await?;
        }
        query(
            "INSERT INTO stamp_jobs (id, app, request_id, defaults, total, state, created_at, kind, counted, counted_day)
             VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9)",
        )
        .bind(id)
        .bind(app.as_str())
        .bind(request_id)
        .bind(defaults)
        .bind(i64::try_from(documents.len()).unwrap_or(i64::MAX))
        .bind(now.unix_timestamp())
        .bind(kind.as_str())
        .bind(counted.map(|limit| limit.rule))
        .bind(counted.map(|limit| limit.day))
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(JOB, id, error))?;
        for document in documents.iter().filter(|document| document.failed.is_none()) {
            let Some(source) = &document.order.source else { continue };
            let held = query("SELECT 1 FROM uploads WHERE blob = $1").bind(&source.blob);
            if held.fetch_optional(&mut *transaction).await?.is_none() {
                return Err(StoreError::NotFound { what: uploads::UPLOAD, id: source.sm3.clone() });
            }
        }
        // Many at a time: everybody else who writes waits meanwhile.
        for some in sealed.chunks(ENTERED) {
            let rows: Vec<_> = (0..some.len()).map(values).collect();
            let insert = format!(
                "INSERT INTO stamp_job_documents (job, n, body, source, state, due_at, error, detail) VALUES {}",
                rows.join(", ")
            );
            let mut insert = query(sqlx::AssertSqlSafe(insert));
            for (n, body, detail, document) in some {
                insert = insert
                    .bind(id)
                    .bind(*n)
                    .bind(body)
                    .bind(document.order.source.as_ref().map(|source| source.blob.as_str()))
                    .bind(if document.failed.is_some() { "failed" } else { "waiting" })
                    .bind(milliseconds(now))
                    .bind(document.failed.as_ref().map(|failed| failed.code.as_str()))
                    .bind(detail.as_deref());
            }
            insert.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// One of them, with what became of its documents.
    pub async fn stamp_job(&self, id: &str) -> Result<Option<(StampJob, DocumentCounts)>, StoreError> {
        if id.contains('\0') {
            return Ok(None); // no id holds one, and PostgreSQL takes none
        }
        let mut transaction = self.begin_read().await?;
        match find(&mut transaction, id).await? {
            None => Ok(None),
            Some(job) => Ok(Some((job, counts(&mut transaction, id).await?))),
        }
    }

    /// The latest of a kind, of one app or of any, the newest first.
    pub async fn stamp_jobs(
        &self,
        kind: JobKind,
        app: Option<&AppId>,
        most: u32,
    ) -> Result<Vec<StampJob>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM stamp_jobs WHERE kind = $1 AND ($2 IS NULL OR app = $2)
             ORDER BY created_at DESC, id LIMIT $3"
        );
        let rows = query(sqlx::AssertSqlSafe(select))
            .bind(kind.as_str())
            .bind(app.map(AppId::as_str))
            .bind(i64::from(most))
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(read).collect()
    }

    /// A job's documents behind the one of this number, at most so many.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what is not as it was ordered; [`StoreError::Locked`].
    pub async fn stamp_job_documents(
        &self,
        job: &StampJob,
        behind: u32,
        most: u32,
    ) -> Result<Vec<JobDocument>, StoreError> {
        let rows = query(
            "SELECT d.n, d.body, d.state, d.stamp_id, s.check_code, d.result, d.result_octets, d.result_sm3, d.error, d.detail
             FROM stamp_job_documents d LEFT JOIN stamps s ON s.id = d.stamp_id
             WHERE d.job = $1 AND d.n > $2 ORDER BY d.n LIMIT $3",
        )
        .bind(&job.id)
        .bind(i64::from(behind))
        .bind(i64::from(most))
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|row| self.read_document(job, row)).collect()
    }

    /// What a job of a kind keeps of a stamp's document.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]; the database fails.
    pub async fn stamped_blob(&self, kind: JobKind, stamp: &str) -> Result<Option<Blob>, StoreError> {
        let kept = query(
            "SELECT d.result, d.result_octets, d.result_sm3, j.app
             FROM stamp_job_documents d JOIN stamp_jobs j ON j.id = d.job
             WHERE d.stamp_id = $1 AND j.kind = $2 AND d.result IS NOT NULL",
        );
        let Some(row) = kept.bind(stamp).bind(kind.as_str()).fetch_optional(self.readers()).await? else {
            return Ok(None);
        };
        let corrupt = |column| StoreError::Corrupt { what: DOCUMENT, id: stamp.to_owned(), column };
        let octets = u64::try_from(row.try_get::<i64, _>("result_octets")?);
        let sm3 = row.try_get::<&[u8], _>("result_sm3")?.try_into();
        Ok(Some(Blob {
            name: row.try_get("result")?,
            app: AppId::parse_registered(row.try_get("app")?).map_err(|_| corrupt("app"))?,
            octets: octets.map_err(|_| corrupt("result_octets"))?,
            sm3: sm3.map_err(|_| corrupt("result_sm3"))?,
        }))
    }

    fn read_document(&self, job: &StampJob, row: &Row) -> Result<JobDocument, StoreError> {
        let corrupt = |column| StoreError::Corrupt { what: DOCUMENT, id: job.id.clone(), column };
        let n: i64 = row.try_get("n")?;
        let order = open_order(self.protection(), &job.id, n, &job.app, row.try_get("body")?)?;
        let state: &str = row.try_get("state")?;
        let result = match row.try_get::<Option<String>, _>("result")? {
            None => None,
            Some(name) => {
                let octets = u64::try_from(row.try_get::<i64, _>("result_octets")?);
                let sm3 = row.try_get::<&[u8], _>("result_sm3")?.try_into();
                let (octets, sm3) =
                    (octets.map_err(|_| corrupt("result_octets"))?, sm3.map_err(|_| corrupt("result_sm3"))?);
                Some(Blob { name, app: job.app.clone(), octets, sm3 })
            }
        };
        let failure = match row.try_get::<Option<String>, _>("error")? {
            None => None,
            Some(code) => {
                let place = format!("{} {n}", job.id);
                let sealed: Option<&[u8]> = row.try_get("detail")?;
                let detail =
                    sealed.map(|sealed| self.protection().open(detail_of(&place), sealed)).transpose()?;
                // Who could open nothing could seal nothing: the code alone says why.
                let detail = detail.map(|detail| String::from_utf8_lossy(&detail).into_owned());
                Some(Failure { code, detail: detail.unwrap_or_default() })
            }
        };
        Ok(JobDocument {
            n: u32::try_from(n).map_err(|_| corrupt("n"))?,
            name: order.name,
            state: DocumentState::parse(state).ok_or_else(|| corrupt("state"))?,
            stamp_id: row.try_get("stamp_id")?,
            check_code: row.try_get("check_code")?,
            result,
            failure,
        })
    }

    /// Cancels what has not begun; answers how many documents those were, or nothing of a job that has finished.
    pub async fn cancel_stamp_job(&self, id: &str, now: OffsetDateTime) -> Result<Option<u64>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let job = query(
            "UPDATE stamp_jobs SET cancelled_at = COALESCE(cancelled_at, $2) WHERE id = $1 AND state = 'running'",
        );
        let job = job.bind(id).bind(now.unix_timestamp()).execute(&mut *transaction).await?;
        if job.rows_affected() == 0 {
            return Ok(None);
        }
        let cancelled = query(
            "UPDATE stamp_job_documents SET state = 'cancelled', holder = NULL, error = NULL, detail = NULL
             WHERE job = $1 AND state = 'waiting'",
        );
        let cancelled = cancelled.bind(id).execute(&mut *transaction).await?.rows_affected();
        give_back(&mut transaction, id, cancelled).await?;
        transaction.commit().await?;
        Ok(Some(cancelled))
    }

    /// Those that finished before, some at a time.
    pub async fn stamp_jobs_finished_before(
        &self,
        before: OffsetDateTime,
        most: u32,
    ) -> Result<Vec<StampJob>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM stamp_jobs WHERE finished_at < $1 ORDER BY finished_at, id LIMIT $2"
        );
        let rows = query(sqlx::AssertSqlSafe(select))
            .bind(before.unix_timestamp())
            .bind(i64::from(most))
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(read).collect()
    }

    /// Forgets a job that has finished; answers the blobs of its results, which nothing names any more.
    pub async fn forget_stamp_job(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let results = query(
            "SELECT result FROM stamp_job_documents d JOIN stamp_jobs j ON j.id = d.job
             WHERE j.id = $1 AND j.state = 'finished' AND d.result IS NOT NULL",
        );
        let results = results.bind(id).fetch_all(&mut *transaction).await?;
        let results = results.iter().map(|row| row.try_get("result")).collect::<Result<_, _>>()?;
        for delete in [
            "DELETE FROM stamp_job_documents
             WHERE job IN (SELECT id FROM stamp_jobs WHERE id = $1 AND state = 'finished')",
            "DELETE FROM stamp_jobs WHERE id = $1 AND state = 'finished'",
        ] {
            query(delete).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(results)
    }

    /// Of these blobs, those that an upload or the result of a job is.
    pub async fn is_blob_named(&self, name: &str) -> Result<bool, StoreError> {
        let named = query(
            "SELECT 1 FROM uploads WHERE blob = $1
             UNION ALL SELECT 1 FROM stamp_job_documents WHERE result = $1",
        );
        Ok(named.bind(name).fetch_optional(self.readers()).await?.is_some())
    }

    /// How many documents wait, and how many are worked on.
    pub async fn stamp_job_figures(&self) -> Result<(u64, u64), StoreError> {
        let row = query(
            "SELECT (SELECT count(*) FROM stamp_job_documents WHERE state = 'waiting') AS waiting,
                 (SELECT count(*) FROM stamp_job_documents WHERE state = 'working') AS working",
        );
        let row = row.fetch_one(self.readers()).await?;
        let count = |column| Ok::<_, StoreError>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
        Ok((count("waiting")?, count("working")?))
    }
}

/// Gives back to its day what was counted for documents of a job of which nothing will come.
async fn give_back(connection: &mut Connection<'_>, job: &str, documents: u64) -> Result<(), StoreError> {
    if documents == 0 {
        return Ok(());
    }
    query(
        "UPDATE policy_counts SET taken = CASE WHEN taken > $2 THEN taken - $2 ELSE 0 END
         WHERE EXISTS (
             SELECT 1 FROM stamp_jobs j
             WHERE j.id = $1 AND j.app = policy_counts.app AND j.counted = policy_counts.rule
                 AND j.counted_day = policy_counts.day
         )",
    )
    .bind(job)
    .bind(i64::try_from(documents).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

/// The parameters of the row in this place, of eight columns.
fn values(row: usize) -> String {
    let places: Vec<_> = (1..=8).map(|column| format!("${}", 8 * row + column)).collect();
    format!("({})", places.join(", "))
}

async fn find(connection: &mut Connection<'_>, id: &str) -> Result<Option<StampJob>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM stamp_jobs WHERE id = $1");
    let row = query(sqlx::AssertSqlSafe(select)).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

async fn counts(connection: &mut Connection<'_>, job: &str) -> Result<DocumentCounts, StoreError> {
    let select = "SELECT state, count(*) AS n FROM stamp_job_documents WHERE job = $1 GROUP BY state";
    let mut counts = DocumentCounts::default();
    for row in query(select).bind(job).fetch_all(connection).await? {
        let corrupt = || StoreError::Corrupt { what: DOCUMENT, id: job.to_owned(), column: "state" };
        let count = match DocumentState::parse(row.try_get("state")?).ok_or_else(corrupt)? {
            DocumentState::Waiting => &mut counts.waiting,
            DocumentState::Working => &mut counts.working,
            DocumentState::Stamped => &mut counts.stamped,
            DocumentState::Failed => &mut counts.failed,
            DocumentState::Cancelled => &mut counts.cancelled,
        };
        *count = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0);
    }
    Ok(counts)
}

fn read(row: &Row) -> Result<StampJob, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: JOB, id: id.clone(), column };
    Ok(StampJob {
        app: AppId::parse(row.try_get("app")?).map_err(|_| corrupt("app"))?,
        kind: JobKind::parse(row.try_get("kind")?).ok_or_else(|| corrupt("kind"))?,
        total: u32::try_from(row.try_get::<i64, _>("total")?).map_err(|_| corrupt("total"))?,
        state: StampJobState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
        created_at: instant(row, "created_at")?.ok_or_else(|| corrupt("created_at"))?,
        cancelled_at: instant(row, "cancelled_at")?,
        finished_at: instant(row, "finished_at")?,
        id: id.clone(),
    })
}

/// Where an order stands: it opens for its own place and app only.
fn place(job: &str, n: i64, app: &AppId) -> String {
    format!("{job} {n} {app}")
}

fn body_of(place: &str) -> Cell<'_> {
    Cell { table: "stamp_job_documents", column: "body", row: place }
}

fn detail_of(place: &str) -> Cell<'_> {
    Cell { table: "stamp_job_documents", column: "detail", row: place }
}

fn defaults_of(place: &str) -> Cell<'_> {
    Cell { table: "stamp_jobs", column: "defaults", row: place }
}

fn seal_detail(protection: &Protection, job: &str, n: i64, detail: &str) -> Result<Vec<u8>, StoreError> {
    protection.seal(detail_of(&format!("{job} {n}")), detail.as_bytes())
}

fn open_order(
    protection: &Protection,
    job: &str,
    n: i64,
    app: &AppId,
    sealed: &[u8],
) -> Result<DocumentOrder, StoreError> {
    let opened = protection.open(body_of(&place(job, n, app)), sealed)?;
    let corrupt = |_| StoreError::Corrupt { what: DOCUMENT, id: format!("{job} {n}"), column: "body" };
    serde_json::from_slice(&opened).map_err(corrupt)
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
