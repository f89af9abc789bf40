//! What signs a person in from one request to the next: sessions, and personal access tokens for programs. The token
//! itself is with the person; its digest is stored. Every request reads the row, so that what ended on one replica has
//! ended on all.

use std::collections::BTreeSet;

use config::AccountName;
use sqlx::AssertSqlSafe;
use time::{Duration, OffsetDateTime};

use super::row::{AccountRow, COLUMNS as ACCOUNT_COLUMNS, text};
use super::{ACCOUNT, Account, AccountState, Grounds, Proofs, second_factor};
use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::terms::counted;
use crate::words::words;
use crate::{Store, StoreError, Terms};

const SESSION: &str = "session";
/// When a person was here last is written at most so often.
const SEEN_EVERY: Duration = Duration::HOUR;
/// Sign-ins of an account that wait for the second factor at a time.
const MOST_PENDING: i64 = 16;

words! {
    /// What a session is good for.
    SessionKind {
        /// The password was right and the second factor is awaited: for nothing else.
        Pending = "pending",
        /// A person is signed in.
        Session = "session",
        /// A program acts for the person: a personal access token.
        Token = "token",
    }
}

/// What signs a person in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, which is no secret.
    pub id: String,
    /// Whose it is.
    pub account: AccountName,
    /// What it is good for.
    pub kind: SessionKind,
    /// The name of a token; where a session was begun from.
    pub label: String,
    /// Of a token: what it may be used for, whatever else the person may do.
    pub scopes: Option<BTreeSet<String>>,
    /// The person has shown a second factor in it.
    pub second_factor: bool,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it was used last, to the minute or finer.
    pub used_at: OffsetDateTime,
    /// When it ends whatever happens.
    pub expires_at: OffsetDateTime,
    /// When, and why, it ended.
    pub ended: Option<(OffsetDateTime, String)>,
}

/// A session to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: AccountName,
    /// What it is good for.
    pub kind: SessionKind,
    /// SM3 of the token.
    pub digest: [u8; 32],
    /// The name of a token; where a session is begun from.
    pub label: String,
    /// Of a token: what it may be used for.
    pub scopes: Option<BTreeSet<String>>,
    /// The person has shown a second factor.
    pub second_factor: bool,
    /// When it ends whatever happens.
    pub expires_at: OffsetDateTime,
}

impl Store {
    /// Begins a session of an enabled account, in one transaction with all that it takes: its grounds are judged again, the
    /// factor is used up, and the session that it replaces ends.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when the account is disabled, the factor does not count, password or second factor are
    /// others than those that were judged, or the session in whose place or within which it begins has ended: nothing is
    /// changed then. [`StoreError::Full`] where the terms leave room for so many of its kind. [`StoreError::NotFound`] for an
    /// unknown account.
    pub async fn begin_session(
        &self,
        session: &NewSession,
        grounds: Grounds<'_>,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let terms = terms.into();
        let at = terms.at;
        let (protection, name) = (self.protection(), &session.account);
        let mut transaction = self.begin_write().await?;
        let mut account = AccountRow::of(&mut transaction, protection, name).await?;
        if account.account.state != AccountState::Enabled {
            return Err(not_allowed(ACCOUNT, name.as_str(), "disabled", "it may not sign in"));
        }
        let factor = match grounds {
            Grounds::Shown { proofs, factor } => {
                if Proofs::of(&account, protection)? != *proofs {
                    let reason = "password or second factor are others than those that were shown";
                    return Err(not_allowed(ACCOUNT, name.as_str(), "changed", reason));
                }
                factor
            }
            Grounds::InPlaceOf { session: id, factor } => {
                let mut replaced = SessionRow::of(&mut transaction, protection, name, id).await?;
                if !replaced.end("replaced", at) {
                    return Err(not_allowed(SESSION, id, "ended", "it was replaced before"));
                }
                replaced.save(&mut transaction, protection).await?;
                factor
            }
            Grounds::Within(id) => {
                goes_on(&mut transaction, protection, name, Some(id)).await?;
                None
            }
        };
        if let Some(factor) = factor {
            second_factor::use_up(&mut account, factor)?;
        }
        if session.kind == SessionKind::Session {
            account.account.last_seen_at = Some(at);
        }
        account.save(&mut transaction, protection).await?;
        if let Some(room) = terms.room {
            let held = query(
                "SELECT count(*) AS n FROM account_sessions
                 WHERE account = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > $3",
            );
            let held = held.bind(name.as_str()).bind(session.kind.as_str()).bind(at.unix_timestamp());
            let held = counted(&held.fetch_one(&mut *transaction).await?)?;
            room.admit(SESSION, held, held)?;
        }
        if session.kind == SessionKind::Pending {
            forget_pending(&mut transaction, name, at).await?;
        }
        SessionRow::new(session, at).insert(&mut transaction, protection).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The session that a token's digest stands for, and its account, as they are now: both as this gateway wrote them,
    /// whether or not they still hold.
    ///
    /// # Errors
    /// The database or the data key is not there. What was altered is not found.
    pub async fn session(&self, digest: &[u8; 32]) -> Result<Option<(Session, Account)>, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM account_sessions WHERE digest = $1"));
        let row = query(select).bind(digest.as_slice()).fetch_optional(self.readers()).await?;
        let Some(row) = row else { return Ok(None) };
        let found = match SessionRow::judged(&row, self.protection()) {
            Ok(found) => found.session,
            Err(error) => return unusable(error).map(|()| None),
        };
        let select = AssertSqlSafe(format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE name = $1"));
        let row = query(select).bind(found.account.as_str()).fetch_one(self.readers()).await?;
        match AccountRow::judged(&row, self.protection()) {
            Ok(account) => Ok(Some((found, account.account))),
            Err(error) => unusable(error).map(|()| None),
        }
    }

    /// Remembers that a session was used, if that was written longer ago than `every`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn touch_session(
        &self,
        session: &Session,
        every: std::time::Duration,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        if at - session.used_at < every {
            return Ok(());
        }
        let mut transaction = self.begin_write().await?;
        let mut row =
            SessionRow::of(&mut transaction, self.protection(), &session.account, &session.id).await?;
        if row.session.ended.is_some() || at - row.session.used_at < every {
            return Ok(());
        }
        row.session.used_at = at;
        row.save(&mut transaction, self.protection()).await?;
        let mut account = AccountRow::of(&mut transaction, self.protection(), &session.account).await?;
        if account.account.last_seen_at.is_none_or(|seen| at - seen >= SEEN_EVERY) {
            account.account.last_seen_at = Some(at);
            account.save(&mut transaction, self.protection()).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The sessions and tokens of an account that have not ended, newest first; without any that was altered.
    pub async fn sessions(&self, account: &AccountName) -> Result<Vec<Session>, StoreError> {
        let select = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM account_sessions WHERE account = $1 AND ended_at IS NULL AND kind <> 'pending'
             ORDER BY created_at DESC, id"
        ));
        let rows = query(select).bind(account.as_str()).fetch_all(self.readers()).await?;
        self.sound(&rows)
    }

    /// The personal access tokens of all accounts that have not ended; without any that was altered.
    pub async fn tokens(&self) -> Result<Vec<Session>, StoreError> {
        let select = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM account_sessions WHERE ended_at IS NULL AND kind = 'token'
             ORDER BY account, created_at DESC, id"
        ));
        let rows = query(select).fetch_all(self.readers()).await?;
        self.sound(&rows)
    }

    fn sound(&self, rows: &[Row]) -> Result<Vec<Session>, StoreError> {
        let mut sessions = Vec::with_capacity(rows.len());
        for row in rows {
            match SessionRow::judged(row, self.protection()) {
                Ok(row) => sessions.push(row.session),
                Err(error) => unusable(error)?,
            }
        }
        Ok(sessions)
    }

    /// Ends a session; one that has ended stays as it ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such session.
    pub async fn end_session(
        &self,
        account: &AccountName,
        id: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut row = SessionRow::of(&mut transaction, self.protection(), account, id).await?;
        if row.end(reason, at) {
            row.save(&mut transaction, self.protection()).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Ends all sessions and tokens of an account but one; answers how many those were.
    pub async fn end_sessions(
        &self,
        account: &AccountName,
        keep: Option<&str>,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ended = end_all(&mut transaction, self.protection(), account, keep, reason, at).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Removes sessions that ended or expired before a time: what they did is in the audit log.
    pub async fn forget_sessions(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        // Of those that were removed the last time nobody has to hear any more.
        query(
            "DELETE FROM row_changes WHERE kind = 'account_sessions'
                 AND NOT EXISTS (SELECT 1 FROM account_sessions AS there WHERE there.id = row_changes.id)",
        )
        .execute(self.writer())
        .await?;
        let removed = query("DELETE FROM account_sessions WHERE ended_at < $1 OR expires_at < $1")
            .bind(before.unix_timestamp())
            .execute(self.writer())
            .await?;
        Ok(removed.rows_affected())
    }
}

/// Leaves room for one more sign-in that waits for its second factor: whoever has the password alone fills nothing.
async fn forget_pending(
    connection: &mut Connection<'_>,
    account: &AccountName,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    query(
        "DELETE FROM account_sessions WHERE account = $1 AND kind = 'pending' AND (expires_at <= $2 OR id NOT IN
             (SELECT id FROM account_sessions WHERE account = $1 AND kind = 'pending'
              ORDER BY created_at DESC, id LIMIT $3))",
    )
    .bind(account.as_str())
    .bind(at.unix_timestamp())
    .bind(MOST_PENDING - 1)
    .execute(connection)
    .await?;
    Ok(())
}

/// Within a transaction: the session that something is done in has not ended meanwhile. Nothing is judged of what is done
/// without one.
pub(super) async fn goes_on(
    connection: &mut Connection<'_>,
    protection: &Protection,
    account: &AccountName,
    within: Option<&str>,
) -> Result<(), StoreError> {
    let Some(id) = within else { return Ok(()) };
    match SessionRow::of(connection, protection, account, id).await?.session.ended {
        None => Ok(()),
        Some(_) => Err(not_allowed(SESSION, id, "ended", "what is done in it is done no more")),
    }
}

/// Ends what an account is signed in by, within a transaction.
pub(super) async fn end_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
    account: &AccountName,
    keep: Option<&str>,
    reason: &str,
    at: OffsetDateTime,
) -> Result<u64, StoreError> {
    let select = AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM account_sessions WHERE account = $1 AND ended_at IS NULL"
    ));
    let rows = query(select).bind(account.as_str()).fetch_all(&mut *connection).await?;
    let mut ended = 0;
    for row in &rows {
        // One that was altered is used by nobody, and must not get a good code for ending.
        let Ok(mut row) = SessionRow::judged(row, protection) else { continue };
        if keep != Some(row.session.id.as_str()) && row.end(reason, at) {
            row.save(connection, protection).await?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Gives every session with a good code that is of another data key one of the data key in use; answers how many those
/// were.
pub(crate) async fn renew_sessions(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let code: Vec<u8> = row.try_get("code")?;
        if !protection.is_outdated(&code) {
            continue;
        }
        match SessionRow::judged(row, protection) {
            Ok(mut row) => {
                row.save(connection, protection).await?;
                renewed += 1;
            }
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

fn not_allowed(what: &'static str, id: &str, state: &'static str, reason: &'static str) -> StoreError {
    StoreError::NotAllowed { what, id: id.to_owned(), state, reason }
}

const COLUMNS: &str =
    "id, account, kind, digest, label, scopes, second_factor, created_at, used_at, expires_at,
    ended_at, ended_reason, revision, code";

/// A session as stored, with the code over the row.
struct SessionRow {
    session: Session,
    digest: Vec<u8>,
    revision: i64,
}

impl SessionRow {
    fn new(new: &NewSession, at: OffsetDateTime) -> Self {
        let session = Session {
            id: new.id.clone(),
            account: new.account.clone(),
            kind: new.kind,
            label: new.label.clone(),
            scopes: new.scopes.clone(),
            second_factor: new.second_factor,
            created_at: at,
            used_at: at,
            expires_at: new.expires_at,
            ended: None,
        };
        Self { session, digest: new.digest.to_vec(), revision: 0 }
    }

    fn judged(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: SESSION, id: id.clone(), column };
        let at = |column| instant(row, column)?.ok_or_else(|| corrupt(column));
        let (account, kind): (String, String) = (row.try_get("account")?, row.try_get("kind")?);
        let scopes: Option<String> = row.try_get("scopes")?;
        let scopes = scopes.map(|list| serde_json::from_str(&list).map_err(|_| corrupt("scopes")));
        let reason: Option<String> = row.try_get("ended_reason")?;
        let session = Session {
            account: AccountName::parse(&account).map_err(|_| corrupt("account"))?,
            kind: SessionKind::parse(&kind).ok_or_else(|| corrupt("kind"))?,
            label: row.try_get("label")?,
            scopes: scopes.transpose()?,
            second_factor: row.try_get("second_factor")?,
            created_at: at("created_at")?,
            used_at: at("used_at")?,
            expires_at: at("expires_at")?,
            ended: instant(row, "ended_at")?.zip(reason),
            id: id.clone(),
        };
        let (digest, revision) = (row.try_get("digest")?, row.try_get("revision")?);
        let code: Vec<u8> = row.try_get("code")?;
        let read = Self { session, digest, revision };
        protection.check(&read.image(revision), &code)?;
        Ok(read)
    }

    async fn of(
        connection: &mut Connection<'_>,
        protection: &Protection,
        account: &AccountName,
        id: &str,
    ) -> Result<Self, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM account_sessions WHERE account = $1 AND id = $2");
        let possible = if id.contains('\0') { "" } else { id }; // no id is empty
        let row =
            query(AssertSqlSafe(select)).bind(account.as_str()).bind(possible).fetch_optional(connection);
        match row.await? {
            Some(row) => Self::judged(&row, protection),
            None => Err(StoreError::NotFound { what: SESSION, id: id.to_owned() }),
        }
    }

    /// False if it had ended before.
    fn end(&mut self, reason: &str, at: OffsetDateTime) -> bool {
        let goes_on = self.session.ended.is_none();
        if goes_on {
            self.session.ended = Some((at, reason.to_owned()));
        }
        goes_on
    }

    fn image(&self, revision: i64) -> RowImage {
        let session = &self.session;
        let ended = session.ended.as_ref();
        RowImage::new("account_sessions", &session.id, revision)
            .text("account", session.account.as_str())
            .text("kind", session.kind.as_str())
            .octets_or_null("digest", Some(&self.digest))
            .text("label", &session.label)
            .text_or_null("scopes", session.scopes.as_ref().map(text).as_deref())
            .boolean("second_factor", session.second_factor)
            .integer("created_at", session.created_at.unix_timestamp())
            .integer("used_at", session.used_at.unix_timestamp())
            .integer("expires_at", session.expires_at.unix_timestamp())
            .integer_or_null("ended_at", ended.map(|(at, _)| at.unix_timestamp()))
            .text_or_null("ended_reason", ended.map(|(_, reason)| reason.as_str()))
    }

    async fn insert(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        let session = &self.session;
        query(
            "INSERT INTO account_sessions (id, account, kind, digest, label, scopes, second_factor, created_at,
                 used_at, expires_at, revision, code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11)",
        )
        .bind(&session.id)
        .bind(session.account.as_str())
        .bind(session.kind.as_str())
        .bind(&self.digest)
        .bind(&session.label)
        .bind(session.scopes.as_ref().map(text))
        .bind(session.second_factor)
        .bind(session.created_at.unix_timestamp())
        .bind(session.expires_at.unix_timestamp())
        .bind(self.revision)
        .bind(protection.code(&self.image(self.revision))?)
        .execute(connection)
        .await
        .map_err(|error| StoreError::from_insert(SESSION, &session.id, error))?;
        Ok(())
    }

    async fn save(
        &mut self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        self.revision += 1;
        let ended = self.session.ended.as_ref();
        query(
            "UPDATE account_sessions SET used_at = $2, ended_at = $3, ended_reason = $4, revision = $5, code = $6
             WHERE id = $1",
        )
        .bind(&self.session.id)
        .bind(self.session.used_at.unix_timestamp())
        .bind(ended.map(|(at, _)| at.unix_timestamp()))
        .bind(ended.map(|(_, reason)| reason.as_str()))
        .bind(self.revision)
        .bind(protection.code(&self.image(self.revision))?)
        .execute(connection)
        .await?;
        Ok(())
    }
}
