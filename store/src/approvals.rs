//! Changes that wait for a second person's word: what was asked for, what was said to it, what came of it.
//!
//! Whoever decides does so inside the transaction that looks at the state, so that of two who decide at the same time,
//! at whichever gateway, one does. What is asked for is sealed, and every row carries a code: nobody with the database
//! alone makes a request that nobody made, or approves one.

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::terms::{Terms, counted};
use crate::words::words;
use crate::{Store, StoreError};

const APPROVAL: &str = "approval";
/// The state, in [`StoreError::NotAllowed`], of a change whose subject is being changed.
const SUBJECT_BUSY: &str = "subject busy";
/// Most of them in one answer.
const PAGE: i64 = 1000;
const COLUMNS: &str =
    "id, action, subject, content, reason, asked_by, asked_at, expires_at, state, decided_by,
    decided_at, decision, carried_by, carried_at, finished_at, outcome, revision, code";

words! {
    /// How far it is.
    ApprovalState {
        /// Waits for somebody to decide.
        Pending = "pending",
        /// Is being carried out.
        Approved = "approved",
        /// Was carried out.
        Done = "done",
        /// Was approved and could not be carried out; nothing was changed, or nobody knows.
        Failed = "failed",
        /// Somebody said no.
        Rejected = "rejected",
        /// Whoever asked for it no longer does.
        Withdrawn = "withdrawn",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

/// A change that is asked for.
pub struct NewApproval<'a> {
    /// Its id.
    pub id: &'a str,
    /// As the audit log names the act.
    pub action: &'a str,
    /// What it is done to.
    pub subject: &'a str,
    /// The act, and how things stand: sealed.
    pub content: &'a [u8],
    /// Why.
    pub reason: &'a str,
    /// By whom, as the audit log names people and apps.
    pub asked_by: &'a str,
    /// Until when somebody may decide.
    pub expires_at: OffsetDateTime,
}

/// A change that was asked for. `Debug` shows nothing of its content.
#[derive(Clone)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// As the audit log names the act.
    pub action: String,
    /// What it is done to.
    pub subject: String,
    /// The act, and how things stood when it was asked for.
    pub content: Zeroizing<Vec<u8>>,
    /// Why.
    pub reason: String,
    /// By whom, as the audit log names people and apps.
    pub asked_by: String,
    /// When.
    pub asked_at: OffsetDateTime,
    /// Until when somebody may decide.
    pub expires_at: OffsetDateTime,
    /// How far it is.
    pub state: ApprovalState,
    /// Who decided, when, and why so.
    pub decided: Option<(String, OffsetDateTime, String)>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// `ok`, or the code of what went wrong.
    pub outcome: Option<String>,
}

impl std::fmt::Debug for Approval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approval")
            .field("id", &self.id)
            .field("action", &self.action)
            .field("subject", &self.subject)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What is said to a change that waits.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// `Approved`, `Rejected`, `Withdrawn`, or `Failed` where it can no longer be approved.
    pub state: ApprovalState,
    /// Who says it, as the audit log names people.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The code of why it failed, if it did.
    pub outcome: Option<&'a str>,
}

/// What is left of a content once the change has ended; nothing where that is all of it. Secrets in it are of no use then.
pub type Remainder = fn(&[u8]) -> Option<Zeroizing<Vec<u8>>>;

impl Store {
    /// Has a change wait for a second person.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key: what is asked for is sealed; [`StoreError::Full`] when as many wait as
    /// may.
    pub async fn ask_approval(
        &self,
        new: &NewApproval<'_>,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let Terms { at, room, .. } = terms.into();
        let content = self.protection().seal(content_of(new.id), new.content)?;
        let mut transaction = self.begin_write().await?;
        if let Some(room) = room {
            let waiting = query("SELECT count(*) AS n FROM approvals WHERE state = 'pending'");
            let waiting = counted(&waiting.fetch_one(&mut *transaction).await?)?;
            room.admit(APPROVAL, waiting, waiting)?;
        }
        query(
            "INSERT INTO approvals (id, action, subject, content, reason, asked_by, asked_at, expires_at, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending')",
        )
        .bind(new.id)
        .bind(new.action)
        .bind(new.subject)
        .bind(content)
        .bind(new.reason)
        .bind(new.asked_by)
        .bind(at.unix_timestamp())
        .bind(new.expires_at.unix_timestamp())
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(APPROVAL, new.id, error))?;
        code(&mut transaction, self.protection(), new.id).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Decides about a change that waits. Approved it is this gateway's to carry out; else it has ended, and the remainder
    /// of its content is kept.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it was decided, or its time has passed, or while another
    /// approved change of the same subject is being carried out; [`StoreError::Altered`] when the row is not as a gateway wrote it.
    pub async fn decide_approval(
        &self,
        id: &str,
        decision: Decision<'_>,
        at: OffsetDateTime,
        remainder: Remainder,
    ) -> Result<Approval, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = find(&mut transaction, self.protection(), id).await?;
        let refused =
            |state, reason| StoreError::NotAllowed { what: APPROVAL, id: id.to_owned(), state, reason };
        if row.approval.state != ApprovalState::Pending {
            return Err(refused(row.approval.state.as_str(), "it was decided"));
        }
        if at >= row.approval.expires_at {
            return Err(refused("expired", "its time has passed"));
        }
        let carries = decision.state == ApprovalState::Approved;
        if carries && is_being_changed(&mut transaction, self.protection(), &row.approval).await? {
            return Err(refused(SUBJECT_BUSY, "another approved change of the same subject is under way"));
        }
        query(
            "UPDATE approvals SET state = $2, decided_by = $3, decided_at = $4, decision = $5, carried_by = $6,
                 carried_at = $7, finished_at = $8, outcome = $9 WHERE id = $1",
        )
        .bind(id)
        .bind(decision.state.as_str())
        .bind(decision.by)
        .bind(at.unix_timestamp())
        .bind(decision.reason)
        .bind(carries.then(|| self.replica().unwrap_or_default()))
        .bind(carries.then(|| at.unix_timestamp()))
        .bind((!carries).then(|| at.unix_timestamp()))
        .bind(decision.outcome)
        .execute(&mut *transaction)
        .await?;
        if !carries {
            leave(&mut transaction, self.protection(), &row.approval, remainder).await?;
        }
        code(&mut transaction, self.protection(), id).await?;
        let decided = find(&mut transaction, self.protection(), id).await?;
        transaction.commit().await?;
        Ok(decided.approval)
    }

    /// Says what came of a change that was approved, and keeps the remainder of its content.
    ///
    /// # Errors
    /// As [`Store::decide_approval`]; [`StoreError::NotAllowed`] also when it has ended.
    pub async fn finish_approval(
        &self,
        id: &str,
        outcome: &str,
        at: OffsetDateTime,
        remainder: Remainder,
    ) -> Result<Approval, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = find(&mut transaction, self.protection(), id).await?;
        if row.approval.state != ApprovalState::Approved {
            let state = row.approval.state.as_str();
            return Err(StoreError::NotAllowed {
                what: APPROVAL,
                id: id.to_owned(),
                state,
                reason: "it has ended",
            });
        }
        let state = if outcome == "ok" { ApprovalState::Done } else { ApprovalState::Failed };
        query("UPDATE approvals SET state = $2, finished_at = $3, outcome = $4 WHERE id = $1")
            .bind(id)
            .bind(state.as_str())
            .bind(at.unix_timestamp())
            .bind(outcome)
            .execute(&mut *transaction)
            .await?;
        leave(&mut transaction, self.protection(), &row.approval, remainder).await?;
        code(&mut transaction, self.protection(), id).await?;
        let finished = find(&mut transaction, self.protection(), id).await?;
        transaction.commit().await?;
        Ok(finished.approval)
    }

    /// Ends the changes that nobody decided about in time, keeps the remainder of their contents, and answers them: those
    /// that were ended before the database failed, too.
    pub async fn expire_approvals(
        &self,
        at: OffsetDateTime,
        remainder: Remainder,
    ) -> Result<Vec<Approval>, StoreError> {
        let statement =
            format!("SELECT {COLUMNS} FROM approvals WHERE state = 'pending' AND expires_at <= $1 LIMIT $2");
        let due = query(AssertSqlSafe(statement))
            .bind(at.unix_timestamp())
            .bind(PAGE)
            .fetch_all(self.readers())
            .await?;
        let mut expired = Vec::with_capacity(due.len());
        for row in &due {
            match self.expire_approval(row.try_get("id")?, at, remainder).await {
                Ok(approval) => expired.extend(approval),
                Err(error) if expired.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the rest of the changes that wait for approval is looked at later");
                    break;
                }
            }
        }
        Ok(expired)
    }

    async fn expire_approval(
        &self,
        id: &str,
        at: OffsetDateTime,
        remainder: Remainder,
    ) -> Result<Option<Approval>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = match find(&mut transaction, self.protection(), id).await {
            Ok(row) => row,
            Err(error) => return unusable(error).map(|()| None),
        };
        if row.approval.state != ApprovalState::Pending {
            return Ok(None); // another gateway was faster
        }
        query("UPDATE approvals SET state = 'expired', finished_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at.unix_timestamp())
            .execute(&mut *transaction)
            .await?;
        leave(&mut transaction, self.protection(), &row.approval, remainder).await?;
        code(&mut transaction, self.protection(), id).await?;
        let expired = find(&mut transaction, self.protection(), id).await?.approval;
        transaction.commit().await?;
        Ok(Some(expired))
    }

    /// Takes over the changes that were approved and that a gateway which is no more had begun to carry out, for this
    /// one to bring to their end; `is_ours` tells those that this one is carrying out.
    pub async fn take_over_approvals(
        &self,
        now: OffsetDateTime,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Vec<Approval>, StoreError> {
        let alive = self.replicas(now).await?;
        let ours = self.replica().unwrap_or_default();
        let statement =
            format!("SELECT {COLUMNS} FROM approvals WHERE state = 'approved' ORDER BY asked_at LIMIT $1");
        let rows = query(AssertSqlSafe(statement)).bind(PAGE).fetch_all(self.readers()).await?;
        let mut taken = Vec::new();
        for row in &rows {
            let id: String = row.try_get("id")?;
            let mut transaction = self.begin_write().await?;
            let row = match find(&mut transaction, self.protection(), &id).await {
                Ok(row) => row,
                Err(error) => {
                    unusable(error)?;
                    continue;
                }
            };
            let carrier = row.carried.as_ref();
            let is_carried = carrier
                .is_some_and(|(name, _)| if name == ours { is_ours(&id) } else { alive.contains(name) });
            if row.approval.state != ApprovalState::Approved || is_carried {
                continue;
            }
            query("UPDATE approvals SET carried_by = $2, carried_at = $3 WHERE id = $1")
                .bind(&id)
                .bind(ours)
                .bind(now.unix_timestamp())
                .execute(&mut *transaction)
                .await?;
            code(&mut transaction, self.protection(), &id).await?;
            transaction.commit().await?;
            taken.push(row.approval);
        }
        Ok(taken)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] when the row is not as a gateway wrote it.
    pub async fn approval(&self, id: &str) -> Result<Approval, StoreError> {
        Ok(find(&mut *self.begin_read().await?, self.protection(), id).await?.approval)
    }

    /// The latest, in one state or any, newest first, at most 1,000; without any that cannot be read or was altered.
    pub async fn approvals(&self, state: Option<ApprovalState>) -> Result<Vec<Approval>, StoreError> {
        let statement = format!(
            "SELECT {COLUMNS} FROM approvals WHERE $1 IS NULL OR state = $1 ORDER BY asked_at DESC, id LIMIT $2"
        );
        let rows = query(AssertSqlSafe(statement))
            .bind(state.map(ApprovalState::as_str))
            .bind(PAGE)
            .fetch_all(self.readers())
            .await?;
        let mut approvals = Vec::with_capacity(rows.len());
        for row in &rows {
            match ApprovalRow::judged(row, self.protection()) {
                Ok(row) => approvals.push(row.approval),
                Err(error) => unusable(error)?,
            }
        }
        Ok(approvals)
    }
}

/// Whether another approved change of the same subject is being carried out: until that has ended nobody knows how the
/// subject stands.
async fn is_being_changed(
    connection: &mut Connection<'_>,
    protection: &Protection,
    wanted: &Approval,
) -> Result<bool, StoreError> {
    let statement =
        format!("SELECT {COLUMNS} FROM approvals WHERE state = 'approved' AND subject = $1 AND id <> $2");
    let rows =
        query(AssertSqlSafe(statement)).bind(&wanted.subject).bind(&wanted.id).fetch_all(connection).await?;
    // An app and an account may have the same name, a seal's number too.
    let register = |approval: &Approval| {
        let names = ["account.", "seal."].into_iter().find(|name| approval.action.starts_with(name));
        names.unwrap_or("app.")
    };
    for row in &rows {
        match ApprovalRow::judged(row, protection) {
            Ok(other) if register(&other.approval) == register(wanted) => return Ok(true),
            Ok(_) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(false)
}

/// Where what is asked for stands.
fn content_of(id: &str) -> Cell<'_> {
    Cell { table: "approvals", column: "content", row: id }
}

/// A row with the code over it.
struct ApprovalRow {
    approval: Approval,
    sealed: Vec<u8>,
    /// Which replica carries it out, since when.
    carried: Option<(String, i64)>,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl ApprovalRow {
    /// Reads a row and opens its content; refuses one that was altered.
    fn judged(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let mut read = Self::read(row)?;
        protection.check(&read.image(read.revision), read.code.as_deref().unwrap_or_default())?;
        read.approval.content = protection.open(content_of(&read.approval.id), &read.sealed)?;
        Ok(read)
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: APPROVAL, id: id.clone(), column };
        let at = |column| -> Result<OffsetDateTime, StoreError> {
            instant(row, column)?.ok_or_else(|| corrupt(column))
        };
        let state: String = row.try_get("state")?;
        let decided = match row.try_get::<Option<String>, _>("decided_by")? {
            Some(by) => {
                let reason: Option<String> = row.try_get("decision")?;
                Some((by, at("decided_at")?, reason.unwrap_or_default()))
            }
            None => None,
        };
        let carried: Option<String> = row.try_get("carried_by")?;
        let since: Option<i64> = row.try_get("carried_at")?;
        Ok(Self {
            approval: Approval {
                action: row.try_get("action")?,
                subject: row.try_get("subject")?,
                content: Zeroizing::default(),
                reason: row.try_get("reason")?,
                asked_by: row.try_get("asked_by")?,
                asked_at: at("asked_at")?,
                expires_at: at("expires_at")?,
                state: ApprovalState::parse(&state).ok_or_else(|| corrupt("state"))?,
                decided,
                finished_at: instant(row, "finished_at")?,
                outcome: row.try_get("outcome")?,
                id: id.clone(),
            },
            sealed: row.try_get("content")?,
            carried: carried.zip(since),
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
        })
    }

    fn image(&self, revision: i64) -> RowImage {
        let Approval {
            id,
            action,
            subject,
            content: _,
            reason,
            asked_by,
            asked_at,
            expires_at,
            state,
            decided,
            finished_at,
            outcome,
        } = &self.approval;
        let carried = self.carried.as_ref();
        RowImage::new("approvals", id, revision)
            .text("action", action)
            .text("subject", subject)
            .octets_or_null("content", Some(&self.sealed))
            .text("reason", reason)
            .text("asked_by", asked_by)
            .integer("asked_at", asked_at.unix_timestamp())
            .integer("expires_at", expires_at.unix_timestamp())
            .text("state", state.as_str())
            .text_or_null("decided_by", decided.as_ref().map(|(by, ..)| by.as_str()))
            .integer_or_null("decided_at", decided.as_ref().map(|(_, at, _)| at.unix_timestamp()))
            .text_or_null("decision", decided.as_ref().map(|(.., reason)| reason.as_str()))
            .text_or_null("carried_by", carried.map(|(by, _)| by.as_str()))
            .integer_or_null("carried_at", carried.map(|(_, since)| *since))
            .integer_or_null("finished_at", finished_at.map(OffsetDateTime::unix_timestamp))
            .text_or_null("outcome", outcome.as_deref())
    }
}

async fn row_of(connection: &mut Connection<'_>, id: &str) -> Result<Row, StoreError> {
    // No id holds one, and PostgreSQL takes none.
    let possible = if id.contains('\0') { "" } else { id };
    let found = query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM approvals WHERE id = $1")))
        .bind(possible)
        .fetch_optional(connection)
        .await?;
    found.ok_or_else(|| StoreError::NotFound { what: APPROVAL, id: id.to_owned() })
}

async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &str,
) -> Result<ApprovalRow, StoreError> {
    ApprovalRow::judged(&row_of(connection, id).await?, protection)
}

/// Protects every row with a good code anew that another data key protects; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let row = match ApprovalRow::judged(row, protection) {
            Ok(row) => row,
            Err(error) => {
                unusable(error)?;
                continue;
            }
        };
        let protected = [row.code.as_deref(), Some(row.sealed.as_slice())];
        if protected.into_iter().flatten().any(|stored| protection.is_outdated(stored)) {
            let id = row.approval.id.as_str();
            query("UPDATE approvals SET content = $2 WHERE id = $1")
                .bind(id)
                .bind(protection.reseal(content_of(id), &row.sealed)?)
                .execute(&mut *connection)
                .await?;
            code(connection, protection, id).await?;
            renewed += 1;
        }
    }
    Ok(renewed)
}

/// Keeps of an ended change's content what is left of it.
async fn leave(
    connection: &mut Connection<'_>,
    protection: &Protection,
    approval: &Approval,
    remainder: Remainder,
) -> Result<(), StoreError> {
    let Some(left) = remainder(&approval.content) else { return Ok(()) };
    query("UPDATE approvals SET content = $2 WHERE id = $1")
        .bind(&approval.id)
        .bind(protection.seal(content_of(&approval.id), &left)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a row that was written the code over it as it is now.
async fn code(connection: &mut Connection<'_>, protection: &Protection, id: &str) -> Result<(), StoreError> {
    let row = ApprovalRow::read(&row_of(connection, id).await?)?;
    let revision = row.revision + 1;
    query("UPDATE approvals SET revision = $2, code = $3 WHERE id = $1")
        .bind(id)
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}
