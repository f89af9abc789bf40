//! Sessions of people who scan a QR code with their license (扫码). A session is advanced in the transaction of the audit log's
//! entry about it, by a statement that names the version it rests on: of all who act at once, at whichever gateway, one does.
//! What is asked and what was confirmed is sealed for its session and app.

use config::AppId;
use serde_json::Value;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::database::{Connection, Pool, Row, instant, query};
use crate::deliveries::{self, Notice};
use crate::oidc::LoginChange;
use crate::protection::{Cell, Protection};
use crate::words::words;
use crate::{Store, StoreError};

const SESSION: &str = "session";
const CHANNEL: &str = "license_gateway_sessions";

words! {
    /// What a session is for.
    ScanFlow {
        /// To be let in (扫码登录).
        Login = "login",
        /// To be let in and to sign a digest at once (扫码登录和协同签名).
        LoginSign = "login_sign",
        /// To sign a digest (协同签名).
        Sign = "sign",
        /// To let the app read data (授权).
        Authorise = "authorise",
    }
}

words! {
    /// How far a session is.
    ScanState {
        /// Its QR code is shown.
        Created = "created",
        /// A phone has scanned it.
        Scanned = "scanned",
        /// Its holder agreed, by the license's key.
        Confirmed = "confirmed",
        /// The app has the result.
        Consumed = "consumed",
        /// The holder refused.
        Rejected = "rejected",
        /// The app gave it up.
        Cancelled = "cancelled",
        /// Its time was over.
        Expired = "expired",
        /// The app showed another QR code in its place.
        Replaced = "replaced",
    }
}

impl ScanState {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Created | Self::Scanned | Self::Confirmed)
    }
}

/// A session.
#[derive(Clone)]
pub struct ScanSession {
    /// Its id, which the QR code has.
    pub id: String,
    /// Who asked.
    pub app: AppId,
    /// What for.
    pub flow: ScanFlow,
    /// How far it is.
    pub state: ScanState,
    /// Counts its states, from 1.
    pub version: u32,
    /// What is asked, JSON; none when its time is over.
    pub terms: Option<Zeroizing<Vec<u8>>>,
    /// SM3 of the secret of the phone that scanned it.
    pub phone: Option<[u8; 32]>,
    /// What was confirmed, JSON; none before, and when its time is over.
    pub result: Option<Zeroizing<Vec<u8>>>,
    /// Which session took its place.
    pub replaced_by: Option<String>,
    /// Whose login it is; none of one that the app began itself.
    pub login: Option<String>,
    /// When it was asked for; whole seconds.
    pub created_at: OffsetDateTime,
    /// When its state ends by itself; whole seconds.
    pub expires_at: OffsetDateTime,
    /// Since when it is in its state; whole seconds.
    pub changed_at: OffsetDateTime,
}

/// How far a session is, without what is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanProgress {
    /// Who asked.
    pub app: AppId,
    /// How far it is.
    pub state: ScanState,
    /// Counts its states.
    pub version: u32,
    /// SM3 of the secret of the phone that scanned it.
    pub phone: Option<[u8; 32]>,
    /// Which session took its place.
    pub replaced_by: Option<String>,
    /// Whose login it is; none of one that the app began itself.
    pub login: Option<String>,
    /// When its state ends by itself.
    pub expires_at: OffsetDateTime,
}

/// What becomes of a session.
pub struct ScanStep {
    /// Its next state.
    pub to: ScanState,
    /// The phone that scans it, SM3 of its secret.
    pub phone: Option<[u8; 32]>,
    /// What is confirmed.
    pub result: Option<Zeroizing<Vec<u8>>>,
    /// Which session takes its place.
    pub replaced_by: Option<String>,
    /// When the next state ends by itself, if not with this one.
    pub expires_at: Option<OffsetDateTime>,
    /// What the app is told, and of which kind.
    pub notice: Option<(&'static str, Value)>,
}

impl ScanStep {
    /// To this state, and nothing besides.
    #[must_use]
    pub fn to(to: ScanState) -> Self {
        Self { to, phone: None, result: None, replaced_by: None, expires_at: None, notice: None }
    }
}

/// A change of sessions that is ready to be made with its entry in the audit log.
pub struct ScanChange {
    about: String,
    new: Option<NewRow>,
    step: Option<Prepared>,
    /// What goes with it, or not at all.
    login: Option<LoginChange>,
}

struct NewRow {
    id: String,
    app: AppId,
    flow: ScanFlow,
    terms: Vec<u8>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

struct Prepared {
    id: String,
    rests_on: u32,
    step: ScanStep,
    result: Option<Vec<u8>>,
    notice: Option<Notice>,
    at: OffsetDateTime,
}

/// Where changes of sessions at other gateways are heard of.
pub struct ScanChanges(Option<PgListener>);

impl ScanChanges {
    /// Waits for the next change; none where any may have been missed. On SQLite there is none.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer any more; listen anew then.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        Ok(listener.try_recv().await?.map(|notification| notification.payload().to_owned()))
    }
}

impl Store {
    /// Prepares a new session, which takes the place of another if there is one to be replaced.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub fn new_scan(
        &self,
        (id, app): (&str, &AppId),
        flow: ScanFlow,
        terms: &[u8],
        (created_at, expires_at): (OffsetDateTime, OffsetDateTime),
        replaces: Option<&ScanSession>,
    ) -> Result<ScanChange, StoreError> {
        let sealed = self.protection().seal(terms_of(&place(id, app)), terms)?;
        let step = replaces.map(|old| {
            let step = ScanStep { replaced_by: Some(id.to_owned()), ..ScanStep::to(ScanState::Replaced) };
            let (rests_on, id) = (old.version, old.id.clone());
            Prepared { id, rests_on, step, result: None, notice: None, at: created_at }
        });
        let new = NewRow { id: id.to_owned(), app: app.clone(), flow, terms: sealed, created_at, expires_at };
        Ok(ScanChange { about: id.to_owned(), new: Some(new), step, login: None })
    }

    /// Prepares a session's next state.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub fn scan_step(
        &self,
        session: &ScanSession,
        step: ScanStep,
        at: OffsetDateTime,
    ) -> Result<ScanChange, StoreError> {
        let seal = |result: &Zeroizing<Vec<u8>>| {
            self.protection().seal(result_of(&place(&session.id, &session.app)), result)
        };
        let result = step.result.as_ref().map(seal).transpose()?;
        let notice = match &step.notice {
            Some((kind, data)) => Some(Notice::new(&session.app, kind, data.clone())?),
            None => None,
        };
        let (id, rests_on) = (session.id.clone(), session.version);
        let step = Some(Prepared { id, rests_on, step, result, notice, at });
        Ok(ScanChange { about: session.id.clone(), new: None, step, login: None })
    }

    /// A session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] of what was not sealed for it; [`StoreError::Locked`].
    pub async fn scan_session(&self, id: &str) -> Result<ScanSession, StoreError> {
        let row = self.scan_row(id).await?;
        let progress = read(id, &row)?;
        let corrupt = |column| StoreError::Corrupt { what: SESSION, id: id.to_owned(), column };
        let at = |column| -> Result<OffsetDateTime, StoreError> {
            instant(&row, column)?.ok_or_else(|| corrupt(column))
        };
        let place = place(id, &progress.app);
        let opened = |cell: Cell<'_>| -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
            let sealed: Option<Vec<u8>> = row.try_get(cell.column)?;
            sealed.map(|sealed| self.protection().open(cell, &sealed)).transpose()
        };
        Ok(ScanSession {
            id: id.to_owned(),
            flow: ScanFlow::parse(row.try_get("flow")?).ok_or_else(|| corrupt("flow"))?,
            terms: opened(terms_of(&place))?,
            result: opened(result_of(&place))?,
            created_at: at("created_at")?,
            changed_at: at("changed_at")?,
            app: progress.app,
            state: progress.state,
            version: progress.version,
            phone: progress.phone,
            replaced_by: progress.replaced_by,
            login: progress.login,
            expires_at: progress.expires_at,
        })
    }

    /// How far a session is: nothing is opened for that.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn scan_progress(&self, id: &str) -> Result<ScanProgress, StoreError> {
        read(id, &self.scan_row(id).await?)
    }

    /// Sessions whose state's time is over, those first that wait longest; without logins that nobody scanned.
    pub async fn due_scans(&self, now: OffsetDateTime, most: u32) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT id FROM scan_sessions WHERE state IN ('created', 'scanned', 'confirmed') AND expires_at <= $1
                 AND (login IS NULL OR state <> 'created')
             ORDER BY expires_at, id LIMIT $2",
        )
        .bind(now.unix_timestamp())
        .bind(most)
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Takes away what ended sessions say before a time, and the sessions themselves before an earlier one. Answers how many
    /// of both there were.
    pub async fn forget_scans(
        &self,
        contents: OffsetDateTime,
        rows: OffsetDateTime,
    ) -> Result<(u64, u64), StoreError> {
        let emptied = query(
            "UPDATE scan_sessions SET terms = NULL, result = NULL, phone = NULL
             WHERE changed_at < $1 AND terms IS NOT NULL AND state NOT IN ('created', 'scanned', 'confirmed')",
        )
        .bind(contents.unix_timestamp())
        .execute(self.writer())
        .await?;
        let removed = query(
            "DELETE FROM scan_sessions
             WHERE changed_at < $1 AND state NOT IN ('created', 'scanned', 'confirmed')",
        )
        .bind(rows.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok((emptied.rows_affected(), removed.rows_affected()))
    }

    /// Begins to listen to changes of sessions. What changed before is not told.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer.
    pub async fn scan_changes(&self) -> Result<ScanChanges, StoreError> {
        let Pool::Postgres(pool) = self.readers() else { return Ok(ScanChanges(None)) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(ScanChanges(Some(listener)))
    }

    async fn scan_row(&self, id: &str) -> Result<Row, StoreError> {
        // No id holds one, and PostgreSQL takes none.
        let possible = if id.contains('\0') { "" } else { id };
        let found = query("SELECT * FROM scan_sessions WHERE id = $1").bind(possible);
        let found = found.fetch_optional(self.readers()).await?;
        found.ok_or_else(|| StoreError::NotFound { what: SESSION, id: id.to_owned() })
    }
}

impl ScanChange {
    /// The same, with a change of the login that it is for: both are made, or neither.
    #[must_use]
    pub fn with(self, login: LoginChange) -> Self {
        Self { login: Some(login), ..self }
    }

    /// What it is when somebody else came first.
    pub(crate) fn refused(&self) -> StoreError {
        StoreError::Changed { what: SESSION, id: self.about.clone() }
    }

    /// Makes it, and has the app told; false if another change came first: then nothing must be kept of it.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<bool, StoreError> {
        if let Some(new) = &self.new {
            query(
                "INSERT INTO scan_sessions
                     (id, app, flow, state, version, terms, created_at, expires_at, changed_at, login)
                 VALUES ($1, $2, $3, 'created', 1, $4, $5, $6, $5, $7)",
            )
            .bind(&new.id)
            .bind(new.app.as_str())
            .bind(new.flow.as_str())
            .bind(&new.terms)
            .bind(new.created_at.unix_timestamp())
            .bind(new.expires_at.unix_timestamp())
            .bind(self.login.as_ref().map(LoginChange::login))
            .execute(&mut *connection)
            .await
            .map_err(|error| StoreError::from_insert(SESSION, &new.id, error))?;
        }
        let Some(prepared) = &self.step else { return self.write_login(connection).await };
        let Prepared { id, rests_on, step, result, notice, at } = prepared;
        let advanced = query(
            "UPDATE scan_sessions SET state = $3, version = version + 1, changed_at = $4,
                 phone = COALESCE($5, phone), result = COALESCE($6, result),
                 replaced_by = COALESCE($7, replaced_by), expires_at = COALESCE($8, expires_at)
             WHERE id = $1 AND version = $2",
        )
        .bind(id)
        .bind(*rests_on)
        .bind(step.to.as_str())
        .bind(at.unix_timestamp())
        .bind(step.phone.as_ref().map(|phone| phone.to_vec()))
        .bind(result.clone())
        .bind(&step.replaced_by)
        .bind(step.expires_at.map(OffsetDateTime::unix_timestamp))
        .execute(&mut *connection)
        .await?;
        if advanced.rows_affected() != 1 {
            return Ok(false);
        }
        if let Some(notice) = notice {
            deliveries::notify(connection, protection, notice, *at).await?;
        }
        self.write_login(connection).await
    }

    async fn write_login(&self, connection: &mut Connection<'_>) -> Result<bool, StoreError> {
        match &self.login {
            Some(login) => login.write(connection).await,
            None => Ok(true),
        }
    }
}

/// What a session holds opens under its own id and for its own app only.
fn terms_of(place: &str) -> Cell<'_> {
    Cell { table: "scan_sessions", column: "terms", row: place }
}

fn result_of(place: &str) -> Cell<'_> {
    Cell { table: "scan_sessions", column: "result", row: place }
}

fn place(id: &str, app: &AppId) -> String {
    format!("{id} {app}")
}

fn read(id: &str, row: &Row) -> Result<ScanProgress, StoreError> {
    let corrupt = |column| StoreError::Corrupt { what: SESSION, id: id.to_owned(), column };
    let phone: Option<Vec<u8>> = row.try_get("phone")?;
    Ok(ScanProgress {
        app: AppId::parse(row.try_get("app")?).map_err(|_| corrupt("app"))?,
        state: ScanState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
        version: u32::try_from(row.try_get::<i64, _>("version")?).map_err(|_| corrupt("version"))?,
        phone: phone.map(TryInto::try_into).transpose().map_err(|_| corrupt("phone"))?,
        replaced_by: row.try_get("replaced_by")?,
        login: row.try_get("login")?,
        expires_at: instant(row, "expires_at")?.ok_or_else(|| corrupt("expires_at"))?,
    })
}
